//! Compares two sides: figure by figure, then scenario by scenario by its gate.

use std::collections::BTreeSet;

use crate::record::Commands;
use crate::report::Stage;
use crate::suite::Build;
use crate::text::{count, grouped};
use crate::verdict::Verdict;

use super::bootstrap::{PAIRS_MIN, Pair, Statistic, Untold, quantiles, shifts};
use super::length::{Clock, Length, VirtualLength, WallLength, rounded};
use super::side::{CompareError, Run, Runs, Side};
use super::wall::{STAGES, WHOLE, check_turns};
use super::{
    Changed, CompareVerdict, Compared, Comparison, Method, Percentile, Row, SURE_PERCENT, Says, ScenarioComparison,
    Shift, SideRecord, VERSION,
};

/// How long a step is in milliseconds, and what stands for a side: short runs are pooled, long ones have figures of their own.
trait Steps: Length {
    const STEP_MS: f64;
    const STATISTIC: Statistic;
    /// The part of the way whose gate decides: all of it.
    fn whole() -> &'static str;
}

impl Steps for VirtualLength {
    const STEP_MS: f64 = 1.0;
    const STATISTIC: Statistic = Statistic::Pooled;

    fn whole() -> &'static str {
        Stage::SentToEffect.name()
    }
}

impl Steps for WallLength {
    const STEP_MS: f64 = 1e-3;
    const STATISTIC: Statistic = Statistic::OfEach;

    fn whole() -> &'static str {
        WHOLE
    }
}

/// What shifted from `base` to `new`.
///
/// # Errors
/// If they can't be compared: other clocks, seeds, scenarios, build flags. The error says what would be right.
pub fn compare(base: &Side, new: &Side, method: Method) -> Result<Compared, CompareError> {
    let flags = |build: &Build| format!("{} {}", build.profile, build.target);
    let named = |side: &Side| side.files.join(", ");
    match (base.clock, new.clock) {
        (Clock::Virtual, Clock::Wall) => {
            return Err(CompareError::Clocks { of_virtual: named(base), of_wall: named(new) });
        }
        (Clock::Wall, Clock::Virtual) => {
            return Err(CompareError::Clocks { of_virtual: named(new), of_wall: named(base) });
        }
        _ => {}
    }
    if flags(&base.build) != flags(&new.build) {
        return Err(CompareError::Builds { base: flags(&base.build), new: flags(&new.build) });
    }
    let find = |runs: &Runs| new.scenarios.iter().find(|other| other.scenario == runs.scenario);
    let both: Vec<(&Runs, &Runs)> = base.scenarios.iter().filter_map(|runs| Some((runs, find(runs)?))).collect();
    if both.is_empty() {
        let names =
            |side: &Side| side.scenarios.iter().map(|runs| runs.scenario.as_str()).collect::<Vec<_>>().join(", ");
        return Err(CompareError::NothingInCommon { base: names(base), new: names(new) });
    }
    for (base, new) in &both {
        check_source(base, new)?;
    }
    match base.clock {
        Clock::Virtual => {
            both.iter().try_for_each(|(base, new)| check_seeds(base, new))?;
            Ok(Compared::Virtual(Comparing { base, new, both, method }.all()))
        }
        Clock::Wall => {
            both.iter().try_for_each(|(base, new)| check_turns(base, new))?;
            Ok(Compared::Wall(Comparing { base, new, both, method }.all()))
        }
    }
}

fn check_source(base: &Runs, new: &Runs) -> Result<(), CompareError> {
    let (Some(old), Some(now)) = (&base.source, &new.source) else { return Ok(()) };
    if old.digest == now.digest {
        return Ok(());
    }
    Err(CompareError::Scenario {
        scenario: base.scenario.clone(),
        base: old.file.clone(),
        base_digest: old.digest.clone(),
        new: now.file.clone(),
        new_digest: now.digest.clone(),
    })
}

fn check_seeds(base: &Runs, new: &Runs) -> Result<(), CompareError> {
    let seeds = |runs: &Runs| runs.runs.iter().map(|run| run.seed).collect::<Vec<_>>();
    if seeds(base) == seeds(new) {
        return Ok(());
    }
    let told = |runs: &Runs| match seeds(runs).as_slice() {
        [] => "none".to_owned(),
        [one] => one.to_string(),
        [first, .., last] => format!("{} from {first} to {last}", grouped(runs.runs.len() as u64)),
    };
    Err(CompareError::Seeds { scenario: base.scenario.clone(), base: told(base), new: told(new) })
}

struct Comparing<'s> {
    base: &'s Side,
    new: &'s Side,
    both: Vec<(&'s Runs, &'s Runs)>,
    method: Method,
}

impl Comparing<'_> {
    fn all<L: Steps>(&self) -> Comparison<L> {
        let gates = self.both.len() as f64;
        let scenarios: Vec<ScenarioComparison<L>> =
            self.both.iter().map(|(base, new)| self.scenario(base, new, gates)).collect();
        let verdict = scenarios.iter().map(|of| of.verdict).max().unwrap_or(CompareVerdict::Inconclusive);
        let side = |side: &Side| {
            let own = |runs: &&Runs| self.both.iter().any(|(both, _)| both.scenario == runs.scenario);
            let runs = side.scenarios.iter().filter(own).map(|runs| runs.runs.len() as u64).sum();
            SideRecord { files: side.files.clone(), build: side.build.clone(), runs }
        };
        Comparison {
            version: VERSION,
            base: side(self.base),
            new: side(self.new),
            method: self.method,
            verdict,
            exit_code: verdict.exit_code(),
            notes: self.notes(),
            scenarios,
        }
    }

    /// Scenarios that only one side has, and generators that were the bottleneck.
    fn notes(&self) -> Vec<String> {
        let only = |side: &Side, which: &str| {
            let own = side.scenarios.iter().map(|runs| runs.scenario.as_str());
            let own: Vec<_> = own.filter(|name| !self.both.iter().any(|(both, _)| both.scenario == *name)).collect();
            (!own.is_empty()).then(|| format!("Only {which} ran, so nothing is said of: {}.", own.join(", ")))
        };
        let stalled = |side: &Side, which: &str| {
            let all = || side.scenarios.iter().flat_map(|runs| &runs.runs);
            let (number, of) = (all().filter(|run| run.bottleneck.is_some()).count(), all().count());
            let first = all().find_map(|run| run.bottleneck.as_deref())?;
            Some(format!("In {number} of {of} runs of {which} the generator itself was the bottleneck: {first}"))
        };
        let told = [only(self.base, "base"), only(self.new, "new")];
        told.into_iter().chain([stalled(self.base, "base"), stalled(self.new, "new")]).flatten().collect()
    }

    fn scenario<L: Steps>(&self, base: &Runs, new: &Runs, gates: f64) -> ScenarioComparison<L> {
        let pairs: Vec<(&Run, &Run)> = base.runs.iter().zip(&new.runs).collect();
        let is_same = |(base, new): &&(&Run, &Run)| base.digest.is_some() && base.digest == new.digest;
        let same = pairs.iter().filter(is_same).count() as u64;
        let sum = |runs: &Runs| {
            let mut commands = Commands::default();
            runs.runs.iter().for_each(|run| commands.add(&run.commands));
            commands
        };
        let changed: Vec<Changed> =
            pairs.iter().filter(|(base, new)| base.verdict != new.verdict).map(changed).collect();
        // Where the harness failed, nothing it measured is believed.
        let measured: Vec<(&Run, &Run)> = pairs
            .iter()
            .copied()
            .filter(|(base, new)| ![base.verdict, new.verdict].contains(&Verdict::Failed))
            .collect();
        let names: BTreeSet<&str> = measured
            .iter()
            .flat_map(|(base, new)| base.stages.iter().chain(&new.stages))
            .map(|(name, _)| name.as_str())
            .collect();
        let mut latency = Vec::new();
        for stage in in_order(&names) {
            latency.extend(self.rows::<L>(stage, &measured, gates));
        }
        let (verdict, reason) = self.judge(&pairs, same, &changed, &latency);
        ScenarioComparison {
            scenario: base.scenario.clone(),
            source: base.source.clone(),
            pairs: pairs.len() as u64,
            same,
            verdict,
            reason,
            commands_base: sum(base),
            commands_new: sum(new),
            changed,
            latency,
        }
    }

    /// All figures of one part of the way.
    fn rows<L: Steps>(&self, stage: &str, runs: &[(&Run, &Run)], gates: f64) -> Vec<Row<L>> {
        let counts = |run: &Run| {
            run.stages.iter().find(|(name, _)| name == stage).map(|(_, counts)| counts.clone()).unwrap_or_default()
        };
        let pairs: Vec<Pair> = runs.iter().map(|(base, new)| Pair { base: counts(base), new: counts(new) }).collect();
        let samples_of = |counts: &[(u64, u64)]| counts.iter().map(|(_, times)| times).sum::<u64>();
        let each = || pairs.iter().map(|pair| (samples_of(&pair.base), samples_of(&pair.new)));
        let samples = match L::STATISTIC {
            Statistic::Pooled => each().map(|of| of.0).sum::<u64>().min(each().map(|of| of.1).sum()),
            // Each run has to carry its own.
            Statistic::OfEach => each().map(|(base, new)| base.min(new)).min().unwrap_or(0),
        };
        let is_same = pairs.iter().all(|pair| pair.base == pair.new);
        let is_gate = |percentile| percentile == self.method.gate && stage == L::whole();
        let told: Vec<Percentile> =
            Percentile::QUANTILES.into_iter().filter(|percentile| samples >= percentile.samples_needed()).collect();
        let alpha = 1.0 - f64::from(SURE_PERCENT) / 100.0;
        let wanted = |percentile: &Percentile| {
            let alpha = if is_gate(*percentile) { alpha / gates } else { alpha };
            (percentile.quantile(), 1.0 - alpha)
        };
        let wanted: Vec<(f64, f64)> = told.iter().map(wanted).collect();
        let shifts = if is_same { Vec::new() } else { shifts(&pairs, &wanted, L::STATISTIC, self.method.seed) };
        let mut rows = Vec::new();
        for percentile in Percentile::QUANTILES {
            let gate = is_gate(percentile);
            let place = told.iter().position(|known| *known == percentile);
            let mut row = Row {
                stage: stage.to_owned(),
                percentile,
                gate,
                samples,
                base_ms: None,
                new_ms: None,
                shift: None,
                says: Says::Untold,
                untold: None,
            };
            let Some(place) = place else {
                let needed = grouped(percentile.samples_needed());
                let of = if L::STATISTIC == Statistic::OfEach { " in each run" } else { "" };
                row.untold = Some(format!("it takes {needed} commands{of}, and there are {}", grouped(samples)));
                rows.push(row);
                continue;
            };
            if let Some((base, new)) = quantiles(&pairs, percentile.quantile(), L::STATISTIC) {
                (row.base_ms, row.new_ms) = (Some(length::<L>(base)), Some(length::<L>(new)));
            }
            match shifts.get(place) {
                None => row.says = Says::Same,
                Some(Ok(shift)) => {
                    row.says = match () {
                        () if shift.low > 0.0 => Says::Slower,
                        () if shift.high < 0.0 => Says::Faster,
                        () => Says::NoDifference,
                    };
                    let percent = |steps: f64| (shift.base > 0.0).then(|| rounded(steps / shift.base * 100.0));
                    row.shift = Some(Shift {
                        by_ms: length(shift.by()),
                        low_ms: length(shift.low),
                        high_ms: length(shift.high),
                        by_percent: percent(shift.by()),
                        low_percent: percent(shift.low),
                        high_percent: percent(shift.high),
                        detectable_ms: length(shift.detectable),
                    });
                }
                Some(Err(untold)) => row.untold = Some(why(*untold, L::RUN, pairs.len())),
            }
            rows.push(row);
        }
        rows.extend(slowest(stage, &pairs, samples, is_same));
        rows
    }

    /// How a scenario is judged, and why, in a sentence.
    fn judge<L: Steps>(
        &self,
        pairs: &[(&Run, &Run)],
        same: u64,
        changed: &[Changed],
        rows: &[Row<L>],
    ) -> (CompareVerdict, String) {
        let all = pairs.len() as u64;
        let worst = changed.iter().filter(|pair| pair.new > pair.base).map(|pair| (pair.new, pair.seed));
        if let Some((worst, seed)) = worst.max_by_key(|(verdict, seed)| (*verdict, std::cmp::Reverse(*seed))) {
            let run = L::RUN;
            match worst {
                Verdict::Failed => {
                    return (
                        CompareVerdict::Failed,
                        format!("The harness failed at {run} {seed}, at which it did not before."),
                    );
                }
                Verdict::Violated => {
                    return (
                        CompareVerdict::Violated,
                        format!("New violates an invariant at {run} {seed}, and base did not."),
                    );
                }
                Verdict::Inconclusive | Verdict::Pass => {}
            }
        }
        if same == all && all > 0 {
            return (CompareVerdict::Same, format!("The same: {} with equal digests.", count(all, "pair")));
        }
        let Some(row) = rows.iter().find(|row| row.gate) else {
            return (
                CompareVerdict::Inconclusive,
                "No command took effect on either side, so there is nothing to compare.".to_owned(),
            );
        };
        let (gate, tolerance) = (format!("{} of {}", row.percentile, words(&row.stage)), self.method.tolerance_percent);
        if row.says == Says::Same {
            return (
                CompareVerdict::Pass,
                format!("{gate}: every pair has the same latencies, though not the same events."),
            );
        }
        let Some(shift) = &row.shift else {
            let why = row.untold.as_deref().unwrap_or("it has no samples");
            return (CompareVerdict::Inconclusive, format!("{gate} can't be compared: {why}."));
        };
        let (by, high) = (shift.by_percent.unwrap_or(f64::INFINITY), shift.high_percent.unwrap_or(f64::INFINITY));
        let told = format!(
            "{gate} shifted by {}, {SURE_PERCENT} % sure: {}",
            super::text::shift::<L>(shift),
            super::text::interval(shift)
        );
        match row.says {
            Says::Slower if by >= tolerance => {
                (CompareVerdict::Regression, format!("{told}. The tolerance is {tolerance} %."))
            }
            _ if high <= tolerance => {
                (CompareVerdict::Pass, format!("{told}. {tolerance} % or more slower is ruled out."))
            }
            _ => {
                let needed = pairs_needed(pairs.len(), by, high, tolerance);
                let more = needed.map(|needed| format!(" It takes about {} a side.", count(needed, L::RUN)));
                let more = more.unwrap_or_default();
                (CompareVerdict::Inconclusive, format!("{told}. That does not rule out {tolerance} %.{more}"))
            }
        }
    }
}

/// Runs a side after which an interval as this one would rule the tolerance out: its half shrinks by the root.
fn pairs_needed(pairs: usize, by: f64, high: f64, tolerance: f64) -> Option<u64> {
    let (half, room) = (high - by, tolerance - by.max(0.0));
    let needed = (pairs as f64 * (half / room).powi(2)).ceil();
    // To two digits: it is an estimate.
    let digits = 10_f64.powf((needed.max(1.0).log10() - 1.0).floor().max(0.0));
    (room > 0.0 && needed.is_finite() && needed < 1e7).then(|| ((needed / digits).ceil() * digits) as u64)
}

fn changed((base, new): &(&Run, &Run)) -> Changed {
    Changed {
        seed: new.seed,
        base: base.verdict,
        new: new.verdict,
        violated: new.violated.clone(),
        reproduce: new.reproduce.clone(),
    }
}

/// The slowest of each side: facts, and no inference.
fn slowest<L: Steps>(stage: &str, pairs: &[Pair], samples: u64, is_same: bool) -> Option<Row<L>> {
    let last = |counts: &[(u64, u64)]| counts.last().map(|(step, _)| *step as f64);
    let base = pairs.iter().filter_map(|pair| last(&pair.base)).reduce(f64::max)?;
    let new = pairs.iter().filter_map(|pair| last(&pair.new)).reduce(f64::max)?;
    Some(Row {
        stage: stage.to_owned(),
        percentile: Percentile::Max,
        gate: false,
        samples,
        base_ms: Some(length(base)),
        new_ms: Some(length(new)),
        shift: None,
        says: if is_same { Says::Same } else { Says::Untold },
        untold: (!is_same).then(|| "the slowest of a sample says little of the next".to_owned()),
    })
}

fn why(untold: Untold, run: &str, pairs: usize) -> String {
    match untold {
        Untold::Nothing => "a side has no samples".to_owned(),
        Untold::FewPairs => format!("it takes {PAIRS_MIN} {run}s a side, and there are {pairs}"),
        Untold::FewRuns(of) => {
            format!(
                "what is slower comes from {of:.1} {run}s of {pairs}, by their weight: other {run}s may have none of it"
            )
        }
    }
}

fn length<L: Steps>(steps: f64) -> L {
    L::of_ms(steps * L::STEP_MS)
}

/// Parts of the way in its order, those with other names after them.
fn in_order<'n>(names: &BTreeSet<&'n str>) -> Vec<&'n str> {
    let known: Vec<&str> = Stage::ALL.iter().map(|stage| stage.name()).chain(STAGES.map(|(name, _)| name)).collect();
    let place = |name: &str| known.iter().position(|known| *known == name).unwrap_or(known.len());
    let mut names: Vec<&str> = names.iter().copied().collect();
    names.sort_by_key(|name| place(name));
    names
}

/// A part of the way, as people read it.
pub(crate) fn words(stage: &str) -> String {
    let all = Stage::ALL.map(|stage| (stage.name(), stage.words()));
    let known = all.iter().chain(&STAGES).find(|(name, _)| *name == stage);
    known.map_or_else(|| stage.replace('_', " "), |(_, words)| (*words).to_owned())
}
