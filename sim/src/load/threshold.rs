//! What is demanded of a load: `p99<50ms`, `outcome.p90<=1s`, `unanswered<0.1%`.
//!
//! A percentile is judged only if its samples support it. Else nothing is said, which is no pass: how many it would take is.

use std::fmt;
use std::str::FromStr;

use tenantry_reports::latency::samples_needed;
use tenantry_reports::load::{LoadReport, Threshold, WallStage};
use tenantry_reports::text::grouped;
use tenantry_reports::wall::WallUs;

/// One demand.
#[derive(Debug, Clone, PartialEq)]
pub struct Demand {
    text: String,
    of: Of,
    /// Whether the bound itself will do.
    or_equal: bool,
    /// Microseconds, or a share.
    bound: f64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Of {
    /// A stage's latency at this quantile; 1 is the longest.
    Latency(WallStage, f64),
    /// The share of commands that were given up.
    Unanswered,
    /// The share of commands that were refused though they were allowed.
    Refused,
}

const RIGHT: &str = "write one such as p99<50ms, outcome.p90<=1s or unanswered<0.1%: of total (without a name), \
                     schedule_delay, service_time or outcome p50, p90, p99, p99.9, p99.99 or max, in us, ms or s; or the \
                     share of unanswered or refused commands, in %";

const STATISTICS: [(&str, f64); 6] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999), ("max", 1.0)];

impl FromStr for Demand {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text).ok_or_else(|| format!("{text:?} is no threshold; {RIGHT}"))
    }
}

impl fmt::Display for Demand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Demand {
    fn parse(text: &str) -> Option<Self> {
        let text: String = text.split_whitespace().collect();
        let (of, bound) = text.split_once('<')?;
        let (bound, or_equal) = bound.strip_prefix('=').map_or((bound, false), |bound| (bound, true));
        let of = match of {
            "unanswered" => Of::Unanswered,
            "refused" => Of::Refused,
            of => {
                let stage = WallStage::ALL.into_iter().find(|stage| of.starts_with(&format!("{}.", stage.name())));
                let statistic = stage.map_or(of, |stage| &of[stage.name().len() + 1..]);
                let (_, quantile) = STATISTICS.into_iter().find(|(name, _)| *name == statistic)?;
                Of::Latency(stage.unwrap_or(WallStage::Total), quantile)
            }
        };
        let units: &[(&str, f64)] = match of {
            Of::Latency(..) => &[("us", 1.0), ("ms", 1e3), ("s", 1e6)],
            Of::Unanswered | Of::Refused => &[("%", 0.01)],
        };
        let (number, unit) = units.iter().find_map(|(unit, factor)| Some((bound.strip_suffix(unit)?, factor)))?;
        let number: f64 = number.parse().ok()?;
        let is_bound = number.is_finite() && number >= 0.0;
        is_bound.then(|| Self { of, or_equal, bound: number * unit, text: text.clone() })
    }

    /// Whether `report` meets it.
    #[must_use]
    pub fn judge(&self, report: &LoadReport) -> Threshold {
        let (measured, met) = match self.of {
            Of::Latency(stage, quantile) => self.latency(report, stage, quantile),
            Of::Unanswered => self.share(report, report.sending.unanswered),
            Of::Refused => self.share(report, report.refusals.iter().map(|refusal| refusal.count).sum()),
        };
        Threshold { demanded: self.text.clone(), measured, met }
    }

    fn latency(&self, report: &LoadReport, stage: WallStage, quantile: f64) -> (String, Option<bool>) {
        let Some(latency) = report.stage(stage) else { return ("nothing was measured".into(), None) };
        let latency = &latency.counts_wall_us;
        let is_max = quantile >= 1.0;
        match if is_max { latency.max() } else { latency.at(quantile) } {
            Some(WallUs(us)) => (WallUs(us).to_string(), Some(self.is_met(us as f64))),
            None => {
                let (needs, has) = (grouped(samples_needed(quantile)), grouped(latency.count()));
                (format!("needs {needs} samples, has {has}"), None)
            }
        }
    }

    fn share(&self, report: &LoadReport, count: u64) -> (String, Option<bool>) {
        match report.sending.intended {
            0 => ("nothing was sent".into(), None),
            all => {
                let share = count as f64 / all as f64;
                (format!("{:.2}% ({} of {})", share * 100.0, grouped(count), grouped(all)), Some(self.is_met(share)))
            }
        }
    }

    fn is_met(&self, value: f64) -> bool {
        if self.or_equal { value <= self.bound } else { value < self.bound }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tenantry_reports::load::WallStageLatency;
    use tenantry_reports::samples::load::load;
    use tenantry_reports::wall::WallLatency;

    use super::*;

    fn judged(demand: &str, samples: u64) -> Threshold {
        let mut report = load();
        let mut latency = WallLatency::new();
        (1..=samples).for_each(|ms| latency.record(Duration::from_millis(ms)));
        report.latency = vec![WallStageLatency::new(WallStage::Total, None, None, latency)];
        (report.sending.intended, report.sending.unanswered) = (1_000, 10);
        demand.parse::<Demand>().unwrap().judge(&report)
    }

    #[test]
    fn a_percentile_is_judged_only_if_its_samples_support_it() {
        assert_eq!(judged("p99<400ms", 300).met, Some(true));
        assert_eq!(judged("p99<200ms", 300).met, Some(false));
        let told = judged("p99<400ms", 299);
        assert_eq!((told.met, told.measured.as_str()), (None, "needs 300 samples, has 299"));
        assert_eq!(judged("p99.9 < 1s", 300).measured, "needs 3,000 samples, has 300");
        assert_eq!(judged("outcome.p50<1s", 300).met, None);
    }

    #[test]
    fn the_bound_itself_is_met_where_it_says_so() {
        assert_eq!(judged("max<=20.02ms", 20).met, Some(true));
        assert_eq!(judged("unanswered<1%", 20).met, Some(false));
        assert_eq!(judged("unanswered<=1%", 20).met, Some(true));
        assert_eq!(judged("total.p50<=10050us", 20).met, Some(true));
    }

    #[test]
    fn what_is_no_threshold_is_refused_with_one_that_is() {
        for wrong in
            ["", "p99", "p99<", "p99<50", "p99>50ms", "p98<5ms", "p99<-1ms", "p99<NaNms", "unanswered<5ms", "x.p99<1s"]
        {
            let told = wrong.parse::<Demand>().unwrap_err();
            assert!(told.contains("p99<50ms"), "{wrong}: {told}");
        }
    }
}
