//! Runs against live systems: what of them is compared, and in which order they must have run.
//!
//! A machine is not the same all day. So the two sides take turns - base, new, base, new, or base, new, new, base - and each
//! two neighbours are a pair: a slow hour then slows both of them. The second order is the better one: what gets slower and slower
//! all the while counts for neither.

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use serde_json::Value;

use crate::record::Commands;
use crate::suite::{Build, Source};
use crate::verdict::{SuiteVerdict, Verdict};

use super::bootstrap::{Counts, PAIRS_MIN};
use super::length::Clock;
use super::side::{CompareError, Run, Runs, Side};

/// Version of the document of a load that is read.
const VERSION: u32 = 1;

/// One run against a live system, as far as it is compared: read from the JSON report of a load.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct WallRun {
    /// Version of the document.
    pub version: u32,
    /// What ran.
    pub build: Build,
    /// The scenario whose workload it was.
    pub scenario: String,
    /// What that was read from.
    #[serde(default)]
    pub source: Option<Source>,
    /// How it was judged.
    pub verdict: SuiteVerdict,
    /// When its measured part began, in milliseconds since 1970.
    pub began_unix_ms: u64,
    /// When that ended.
    pub ended_unix_ms: u64,
    /// What was asked of the generator: another load is not comparable.
    pub plan: Value,
    /// How its commands ended.
    pub commands: Commands,
    /// Latencies by the part of the way.
    pub latency: Vec<WallStage>,
    /// How the generator itself did.
    pub generator: WallGenerator,
    /// The command line that runs it again.
    pub reproduce: String,
}

/// The latencies of one part of the way: of all commands, or of one tenant's or one action's.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct WallStage {
    /// Which part: the whole way is `total`.
    pub stage: String,
    /// Of this tenant's commands only.
    #[serde(default)]
    pub tenant: Option<String>,
    /// Of commands of this action only.
    #[serde(default)]
    pub action: Option<String>,
    /// Wall microseconds, ascending, with how many were measured; written as `1400*3 1500*97`.
    #[serde(deserialize_with = "written")]
    pub counts_wall_us: Vec<(u64, u64)>,
}

/// How the generator of a load did.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct WallGenerator {
    /// In words, if it was the bottleneck itself.
    #[serde(default)]
    pub bottleneck: Option<String>,
}

fn written<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<(u64, u64)>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let pair = |pair: &str| {
        let (us, times) = pair.split_once('*')?;
        Some((us.parse().ok()?, times.parse().ok()?))
    };
    let pairs: Option<Vec<(u64, u64)>> = text.split_whitespace().map(pair).collect();
    let mut pairs =
        pairs.ok_or_else(|| D::Error::custom("a distribution is written as 1400*3 1500*97: microseconds*times"))?;
    pairs.sort_unstable();
    Ok(pairs)
}

/// What the whole way is called: from when a command was meant to be sent until it was confirmed.
pub(super) const WHOLE: &str = "total";

/// Parts of the way in their order, as machines and as people read them.
pub(super) const STAGES: [(&str, &str); 4] = [
    (WHOLE, "intended -> confirmed"),
    ("schedule_delay", "intended -> sent"),
    ("service_time", "sent -> confirmed"),
    ("outcome", "intended -> outcome"),
];

pub(super) fn side(side: String, files: Vec<String>, mut walls: Vec<WallRun>) -> Result<Side, CompareError> {
    walls.sort_by_key(|run| run.began_unix_ms);
    let apart = |error: String| CompareError::Apart { side: side.clone(), error };
    let Some(first) = walls.first() else { return Err(CompareError::Empty(side)) };
    if let Some(found) = walls.iter().map(|run| run.version).find(|version| *version != VERSION) {
        return Err(CompareError::Version { side, found, known: VERSION });
    }
    let build = first.build.clone();
    if walls.iter().any(|run| run.build != build) {
        return Err(apart("they are of different builds".to_owned()));
    }
    let mut scenarios: Vec<Runs> = Vec::new();
    for wall in walls {
        let place = scenarios.iter().position(|runs| runs.scenario == wall.scenario).unwrap_or_else(|| {
            let (scenario, source) = (wall.scenario.clone(), wall.source.clone());
            scenarios.push(Runs { scenario, source, load: Some(wall.plan.clone()), runs: Vec::new() });
            scenarios.len() - 1
        });
        let of = &mut scenarios[place];
        if of.source != wall.source {
            return Err(apart(format!("they ran different scenarios under the name {:?}", of.scenario)));
        }
        if of.load.as_ref() != Some(&wall.plan) {
            return Err(apart(format!("their loads on {:?} are not the same", of.scenario)));
        }
        let whole = wall.latency.into_iter().filter(|of| of.tenant.is_none() && of.action.is_none());
        let stages: Vec<(String, Counts)> = whole.map(|of| (of.stage, of.counts_wall_us)).collect();
        let seed = of.runs.len() as u64 + 1;
        of.runs.push(Run {
            seed,
            verdict: match wall.verdict {
                // Its own thresholds are its own matter.
                SuiteVerdict::Pass | SuiteVerdict::Threshold => Verdict::Pass,
                SuiteVerdict::Inconclusive => Verdict::Inconclusive,
                SuiteVerdict::Violated => Verdict::Violated,
                SuiteVerdict::Nondeterministic | SuiteVerdict::Failed => Verdict::Failed,
            },
            violated: Vec::new(),
            digest: None,
            commands: wall.commands,
            reproduce: wall.reproduce,
            stages,
            bottleneck: wall.generator.bottleneck,
            span_ms: (wall.began_unix_ms, wall.ended_unix_ms),
        });
    }
    Ok(Side { files, build, clock: Clock::Wall, scenarios })
}

/// Refuses runs that did not take turns, or of which there are too few to say anything.
pub(super) fn check_turns(base: &Runs, new: &Runs) -> Result<(), CompareError> {
    let scenario = &base.scenario;
    let (ours, theirs) = (base.runs.len(), new.runs.len());
    if base.load != new.load {
        let words = |load: &Option<Value>| load.as_ref().map(Value::to_string).unwrap_or_default();
        let what = "run both builds under the same load";
        return Err(CompareError::Turns(format!(
            "{scenario} ran under another load on each side: base under {}, new under {}; {what}",
            words(&base.load),
            words(&new.load)
        )));
    }
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
