//! Runs against live systems: what of them is compared, and in which order they must have run.
//!
//! A machine is not the same all day. So the two sides take turns - base, new, base, new, or base, new, new, base - and each
//! two neighbours are a pair: a slow hour then slows both of them. The second order is the better one: what gets slower and slower
//! all the while counts for neither.

use std::collections::BTreeMap;

use crate::record::Commands;
use crate::suite::{Build, Source};
use crate::verdict::Verdict;

use super::bootstrap::{Counts, PAIRS_MIN};
use super::length::Clock;
use super::side::{CompareError, Run, Runs, Side};

/// One run against a live system, as far as it is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WallRun {
    /// What ran.
    pub build: Build,
    /// The scenario whose workload it was.
    pub scenario: String,
    /// What that was read from.
    pub source: Option<Source>,
    /// How it was judged.
    pub verdict: Verdict,
    /// When its measured part began, in milliseconds since 1970.
    pub began_unix_ms: u64,
    /// When that ended.
    pub ended_unix_ms: u64,
    /// How its commands ended.
    pub commands: Commands,
    /// Latencies in wall microseconds, ascending, with how many were measured, by the part of the way: the whole way under
    /// `total`.
    pub latency_wall_us: BTreeMap<String, Vec<(u64, u64)>>,
    /// The command line that runs it again.
    pub reproduce: String,
}

/// What the whole way is called: from when a command was meant to be sent to its end.
pub(super) const WHOLE: &str = "total";

pub(super) fn side(side: String, files: Vec<String>, mut walls: Vec<WallRun>) -> Result<Side, CompareError> {
    walls.sort_by_key(|run| run.began_unix_ms);
    let apart = |error: String| CompareError::Apart { side: side.clone(), error };
    let Some(first) = walls.first() else { return Err(CompareError::Empty(side)) };
    let build = first.build.clone();
    if walls.iter().any(|run| run.build != build) {
        return Err(apart("they are of different builds".to_owned()));
    }
    let mut scenarios: Vec<Runs> = Vec::new();
    for wall in walls {
        let place = scenarios.iter().position(|runs| runs.scenario == wall.scenario).unwrap_or_else(|| {
            let (scenario, source) = (wall.scenario.clone(), wall.source.clone());
            scenarios.push(Runs { scenario, source, runs: Vec::new() });
            scenarios.len() - 1
        });
        let of = &mut scenarios[place];
        if of.source != wall.source {
            return Err(apart(format!("they ran different scenarios under the name {:?}", of.scenario)));
        }
        let stages: Vec<(String, Counts)> = wall.latency_wall_us.into_iter().collect();
        let seed = of.runs.len() as u64 + 1;
        of.runs.push(Run {
            seed,
            verdict: wall.verdict,
            violated: Vec::new(),
            digest: None,
            commands: wall.commands,
            reproduce: wall.reproduce,
            stages,
            span_ms: (wall.began_unix_ms, wall.ended_unix_ms),
        });
    }
    Ok(Side { files, build, clock: Clock::Wall, scenarios })
}

/// Refuses runs that did not take turns, or of which there are too few to say anything.
pub(super) fn check_turns(base: &Runs, new: &Runs) -> Result<(), CompareError> {
    let scenario = &base.scenario;
    let (ours, theirs) = (base.runs.len(), new.runs.len());
    let right = format!("run them in turn, best base, new, new, base, at least {PAIRS_MIN} of each");
    if ours != theirs || ours < PAIRS_MIN {
        let what = format!("{scenario} ran {ours} times as base and {theirs} times as new; {right}");
        return Err(CompareError::Turns(what));
    }
    let of = |runs: &Runs, side| runs.runs.iter().map(|run| (run.span_ms, side)).collect::<Vec<_>>();
    let mut all = [of(base, "base"), of(new, "new")].concat();
    all.sort_unstable();
    for two in all.windows(2) {
        let ((before, after), (one, other)) = ((two[0].0, two[1].0), (two[0].1, two[1].1));
        if after.0 < before.1 {
            let what = format!(
                "{scenario}: a run of {one} was not over when one of {other} began; {right}, one after the other"
            );
            return Err(CompareError::Turns(what));
        }
    }
    for (place, two) in all.chunks(2).enumerate() {
        if two[0].1 == two[1].1 {
            let (first, side) = (2 * place + 1, two[0].1);
            let what = format!(
                "{scenario} did not take turns: in the order of time, runs {first} and {} are both of {side}; {right}",
                first + 1
            );
            return Err(CompareError::Turns(what));
        }
    }
    Ok(())
}
