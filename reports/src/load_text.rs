//! A load as plain text, for people at a terminal: was it good enough, what was slow, for whom, and during which kill.
//!
//! A percentile that its samples don't support is not printed: a line says how many it needs, and how many there are.

use std::fmt::Write;

use crate::latency::samples_needed;
use crate::load::{Killed, LoadReport, Recovery, WallStage, WallStageLatency};
use crate::text::{count, grouped};
use crate::verdict::SuiteVerdict;
use crate::wall::{WALL_TIME, WallPercentiles, WallUs, in_ms};

/// Columns of the table of latencies.
const HEADER: [&str; 9] = ["stage", "of", "count", "min", "p50", "p90", "p99", "p99.9", "max"];

/// Stands for a percentile that its samples don't support.
const UNSUPPORTED: &str = "-";

/// The percentiles of the table.
const NAMED: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];

/// The text, with a newline at its end. If the load did not pass, the last line is the command that runs it again.
#[must_use]
pub fn render(report: &LoadReport) -> String {
    let mut out = format!("load of {}, seed {}: {}\n", report.scenario, report.seed, report.verdict);
    report.notes.iter().for_each(|note| out.extend(["  ", note, "\n"]));
    sending(report, &mut out);
    search(report, &mut out);
    latencies(report, &mut out);
    generator(report, &mut out);
    for killed in &report.faults {
        let _ = writeln!(out, "{}", fault(killed));
    }
    refusals(report, &mut out);
    thresholds(report, &mut out);
    if report.verdict != SuiteVerdict::Pass {
        let _ = write!(out, "\nReproduce it with:\n{}\n", report.reproduce);
    }
    out
}

fn sending(report: &LoadReport, out: &mut String) {
    let (plan, sending, commands) = (&report.plan, &report.sending, &report.commands);
    let _ = writeln!(
        out,
        "\nTo {}: {}, for {}, the first {} of them to warm up.",
        report.target.words, plan.arrivals, plan.duration_ms, plan.warm_up_ms
    );
    let _ = writeln!(
        out,
        "{}: {} confirmed, {} refused ({} of them rightly: nobody may send them), {} given up after {}; sent again {}.",
        count(sending.intended, "command"),
        grouped(commands.accepted),
        grouped(commands.attempts_refused),
        grouped(sending.refused_rightly),
        grouped(sending.unanswered),
        plan.deadline_ms,
        count(sending.resent, "time")
    );
    if plan.followed > 0.0 {
        let _ = writeln!(
            out,
            "Of {:.0} % of the confirmed the outcome was asked for: {} applied, {} rejected, {} dead-lettered, {} not seen.",
            plan.followed * 100.0,
            grouped(commands.applied),
            grouped(commands.rejected),
            grouped(commands.dead_lettered),
            grouped(sending.outcome_unseen)
        );
    }
}

fn search(report: &LoadReport, out: &mut String) {
    let Some(search) = &report.search else { return };
    let demanded: Vec<_> = report.thresholds.iter().map(|threshold| threshold.demanded.as_str()).collect();
    let _ = writeln!(out, "\nThe highest rate that meets {}:", demanded.join(" and "));
    for step in &search.steps {
        let met = match step.met {
            Some(true) => "met",
            Some(false) => "missed",
            None => "can't be told",
        };
        let p99 = step
            .total_wall_us
            .p99
            .map_or_else(|| format!("{} samples", grouped(step.total_wall_us.count)), |p99| format!("total p99 {p99}"));
        let own = step.bottleneck.as_ref().map(|_| ", the generator's own bottleneck").unwrap_or_default();
        let _ = writeln!(out, "  {:>8} a second: {met}, {p99}{own}", step.rate);
    }
    let _ = writeln!(out, "{} All below is of the last step.", found(report).unwrap_or_default());
}

/// What a search found, in a sentence.
pub(crate) fn found(report: &LoadReport) -> Option<String> {
    let search = report.search.as_ref()?;
    Some(match (search.highest_met, search.lowest_missed) {
        (Some(met), Some(missed)) => format!("{met} commands a second meet it, {missed} do not."),
        (Some(met), None) => format!("{met} commands a second, the most that was asked for, meet it."),
        (None, Some(missed)) => format!("Not even {missed} commands a second, the least that was asked for, meet it."),
        (None, None) => "No rate was tried to its end.".to_owned(),
    })
}

fn latencies(report: &LoadReport, out: &mut String) {
    let of_stage = |stage| report.stage(stage).into_iter().chain(report.tenants(stage)).chain(report.actions(stage));
    let stages: Vec<&WallStageLatency> = WallStage::ALL
        .into_iter()
        .flat_map(|stage| match stage {
            // By tenant and action the whole way will do.
            WallStage::Total | WallStage::Outcome => of_stage(stage).collect::<Vec<_>>(),
            WallStage::ScheduleDelay | WallStage::ServiceTime => report.stage(stage).into_iter().collect(),
        })
        .collect();
    if stages.is_empty() {
        out.push_str("\nNo command came so far that anything could be measured.\n");
        return;
    }
    let _ = writeln!(out, "\nLatency in ms, {WALL_TIME}; from when a command was meant to be sent.");
    let mut rows = vec![HEADER.map(str::to_owned)];
    rows.extend(stages.iter().map(|latency| row(latency)));
    let widths: [usize; HEADER.len()] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default());
    for row in &rows {
        let mut line = format!("{:<2$}  {:<3$}", row[0], row[1], widths[0], widths[1]);
        for column in 2..HEADER.len() {
            let _ = write!(line, "  {:>1$}", row[column], widths[column]);
        }
        out.extend([line.trim_end(), "\n"]);
    }
    for line in unsupported(report) {
        let _ = writeln!(out, "{line}");
    }
}

/// What the samples over all commands don't support, in sentences; and, if only a tenant's or an action's don't, what those need.
pub(crate) fn unsupported(report: &LoadReport) -> Vec<String> {
    let missing = |latency: &WallStageLatency| {
        let count = latency.summary_wall_us.count;
        NAMED.into_iter().find(|(_, quantile)| count < samples_needed(*quantile)).map(|missing| (missing, count))
    };
    type Lack<'l> = (&'l str, f64, u64);
    let mut whole: Vec<(Lack<'_>, Vec<&str>)> = Vec::new();
    for (stage, ((name, quantile), count)) in
        WallStage::ALL.into_iter().filter_map(|stage| Some((stage, missing(report.stage(stage)?)?)))
    {
        // Stages that lack the same are named together.
        match whole.iter_mut().find(|(lack, _)| *lack == (name, quantile, count)) {
            Some((_, stages)) => stages.push(stage.words()),
            None => whole.push(((name, quantile, count), vec![stage.words()])),
        }
    }
    let mut told: Vec<_> = whole
        .iter()
        .map(|((name, quantile, count), stages)| {
            let (needs, has) = (grouped(samples_needed(*quantile)), grouped(*count));
            format!("{name} needs {needs} samples, has {has}: {}.", stages.join(", "))
        })
        .collect();
    if told.is_empty() && report.latency.iter().any(|latency| missing(latency).is_some()) {
        let needs = NAMED.map(|(name, quantile)| format!("{name} {}", grouped(samples_needed(quantile))));
        told.push(format!("{UNSUPPORTED} is what too few samples don't support; it needs {}.", needs.join(", ")));
    }
    told
}

fn row(latency: &WallStageLatency) -> [String; HEADER.len()] {
    let WallPercentiles { count, min, p50, p90, p99, p999, max } = latency.summary_wall_us;
    let of = latency.tenant.as_ref().or(latency.action.as_ref());
    let ms = |value: Option<WallUs>| value.map_or_else(|| UNSUPPORTED.to_owned(), in_ms);
    let of = of.map_or("all", String::as_str).to_owned();
    [latency.stage.words().to_owned(), of, grouped(count), ms(min), ms(p50), ms(p90), ms(p99), ms(p999), ms(max)]
}

fn generator(report: &LoadReport, out: &mut String) {
    let generator = &report.generator;
    let share = generator.processor_share.map(|share| format!("{:.0} % of a processor, ", share * 100.0));
    let late = woke(&generator.late_wall_us);
    let _ = writeln!(
        out,
        "\nThe generator: {}woke {late}, at most {} requests under way of {}, {} waited for a free place.",
        share.unwrap_or_default(),
        grouped(generator.in_flight_max),
        grouped(report.plan.in_flight_max),
        grouped(generator.waited_for_slot)
    );
    if let Some(bottleneck) = &generator.bottleneck {
        let _ =
            writeln!(out, "IT WAS THE BOTTLENECK ITSELF: {bottleneck}. The figures say more of it than of the system.");
    }
}

/// How late the generator woke.
pub(crate) fn woke(late: &WallPercentiles) -> String {
    match (late.p99, late.max) {
        (Some(p99), _) => format!("at most {p99} late for 99 in 100"),
        (None, Some(max)) => format!("at most {max} late"),
        (None, None) => "never".to_owned(),
    }
}

/// One kill, in a sentence.
pub(crate) fn fault(killed: &Killed) -> String {
    let felt = |recovery: Recovery| match recovery {
        Recovery::Unknown => "with too few before it to compare".to_owned(),
        Recovery::NotFelt => "felt nothing".to_owned(),
        Recovery::After(ms) => format!("as fast as before {ms} after the kill"),
        Recovery::Never => "not as fast as before until the end, or the next kill".to_owned(),
    };
    let (confirmations, outcomes) = (felt(killed.confirmations), felt(killed.outcomes));
    let Killed { role, from_ms, to_ms, .. } = killed;
    format!(
        "{role} was killed at {from_ms} and started again at {to_ms}: confirmations {confirmations}; outcomes {outcomes}."
    )
}

fn refusals(report: &LoadReport, out: &mut String) {
    if !report.refusals.is_empty() {
        out.push_str("\nRefused though it was allowed; in no latency:\n");
    }
    for refusal in &report.refusals {
        let _ = writeln!(out, "  {}: {}", refusal.reason, grouped(refusal.count));
    }
}

fn thresholds(report: &LoadReport, out: &mut String) {
    if !report.thresholds.is_empty() {
        out.push_str("\nThresholds:\n");
    }
    for threshold in &report.thresholds {
        let met = match threshold.met {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "can't be told",
        };
        let _ = writeln!(out, "  {}: {met}, {}", threshold.demanded, threshold.measured);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::load::{load, searched};

    #[test]
    fn a_load_that_missed_a_threshold_reads_like_this() {
        insta::assert_snapshot!(render(&load()));
    }

    #[test]
    fn a_search_reads_like_this() {
        insta::assert_snapshot!(render(&searched()));
    }

    #[test]
    fn a_percentile_without_its_samples_is_not_printed_and_says_what_it_needs() {
        let text = render(&load());
        let total =
            text.lines().find(|line| line.starts_with("intended -> confirmed") && line.contains(" all ")).unwrap();
        assert_eq!(total.split_whitespace().filter(|word| *word == "-").count(), 1, "{text}");
        assert!(text.contains("p99.9 needs 3,000 samples, has 1,800: intended -> confirmed, "), "{text}");
    }

    #[test]
    fn no_word_of_virtual_time_stands_in_it() {
        assert!(!render(&load()).contains("virtual") && !render(&searched()).contains("virtual"));
    }
}
