//! One side of a comparison: the runs of its records, and what makes them comparable with another's.

use serde_json::Value;

use crate::merge::{MergeError, Part, merge};
use crate::record::{Commands, RunRecord};
use crate::report::{RunReport, Stage};
use crate::suite::{Build, Source, SuiteRecord};
use crate::verdict::Verdict;

use super::bootstrap::Counts;
use super::length::Clock;
use super::wall::{self, WallRun};

/// A record that can be compared.
#[derive(Debug, Clone)]
pub enum Record {
    /// Of many simulated runs.
    Suite(Box<SuiteRecord>),
    /// Of one, in full.
    Run(Box<RunReport>),
    /// Of one against a live system.
    Wall(Box<WallRun>),
}

/// Why two sides can't be compared.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// There is no record.
    #[error(
        "{0} holds no record; name a file that `tenantry run` or `tenantry load` wrote with --json, or the folder of their --report"
    )]
    Empty(String),
    /// Records of one side do not belong together.
    #[error("the records of {side} do not belong together: {error}")]
    Apart {
        /// The side.
        side: String,
        /// Why.
        error: String,
    },
    /// Records of several kinds.
    #[error("{0} holds records of several kinds; compare records of one")]
    Mixed(String),
    /// One side ran in virtual time, the other in wall time.
    #[error(
        "{of_virtual} is of virtual time and {of_wall} of wall time: protocol delay and speed have nothing in common; compare \
         simulations with simulations, and live systems with live systems"
    )]
    Clocks {
        /// The simulated side.
        of_virtual: String,
        /// The live one.
        of_wall: String,
    },
    /// One side was built otherwise.
    #[error("base is a {base} build and new a {new} one; build both with the same profile for the same target")]
    Builds {
        /// How the base was built.
        base: String,
        /// How the new one was.
        new: String,
    },
    /// A record that has a scenario's sum and not its runs.
    #[error(
        "{side} holds {kept} of the {seeds} runs of {scenario}, as a hunt's record does; write one with `tenantry run --json`, \
         which keeps all"
    )]
    NotAll {
        /// The side.
        side: String,
        /// The scenario.
        scenario: String,
        /// Runs that are there.
        kept: u64,
        /// Runs that there were.
        seeds: u64,
    },
    /// A record from before runs kept their distributions.
    #[error(
        "{side} has no distribution of the latencies of {scenario}, seed {seed}; write the record anew with this version"
    )]
    NoCounts {
        /// The side.
        side: String,
        /// The scenario.
        scenario: String,
        /// The seed.
        seed: u64,
    },
    /// Another version of the document.
    #[error(
        "{side} holds a record of version {found}, and this is a reader of version {known}; read it with its own `tenantry`"
    )]
    Version {
        /// The side.
        side: String,
        /// Its version.
        found: u32,
        /// This one's.
        known: u32,
    },
    /// The scenario's file is another.
    #[error(
        "{scenario} is another scenario on each side: {base} has digest {base_digest}, {new} has {new_digest}; run both builds \
         with the same file"
    )]
    Scenario {
        /// The scenario.
        scenario: String,
        /// The base's file.
        base: String,
        /// Its digest.
        base_digest: String,
        /// The new one's file.
        new: String,
        /// Its digest.
        new_digest: String,
    },
    /// Other seeds.
    #[error(
        "{scenario} ran with other seeds on each side, so its runs can't be paired: base has {base}, new has {new}; run both \
         with the same --seeds"
    )]
    Seeds {
        /// The scenario.
        scenario: String,
        /// The base's seeds.
        base: String,
        /// The new one's.
        new: String,
    },
    /// One seed twice.
    #[error("{side} holds seed {seed} of {scenario} more than once; give each run once")]
    Twice {
        /// The side.
        side: String,
        /// The scenario.
        scenario: String,
        /// The seed.
        seed: u64,
    },
    /// They have nothing in common.
    #[error("no scenario ran on both sides: base has {base}, new has {new}; run both with the same scenarios")]
    NothingInCommon {
        /// The base's scenarios.
        base: String,
        /// The new one's.
        new: String,
    },
    /// Wall runs that do not take turns, or are of other loads.
    #[error("{0}")]
    Turns(String),
}

/// One side.
#[derive(Debug, Clone)]
pub struct Side {
    /// What its records were read from.
    pub(super) files: Vec<String>,
    pub(super) build: Build,
    pub(super) clock: Clock,
    pub(super) scenarios: Vec<Runs>,
}

/// The runs of one scenario, in the order in which they are paired.
#[derive(Debug, Clone)]
pub(super) struct Runs {
    pub(super) scenario: String,
    pub(super) source: Option<Source>,
    /// What was asked of the generator of a load, which must be the same on both sides.
    pub(super) load: Option<Value>,
    pub(super) runs: Vec<Run>,
}

/// What of a run is compared.
#[derive(Debug, Clone)]
pub(super) struct Run {
    /// The seed, or of a wall run its number.
    pub(super) seed: u64,
    pub(super) verdict: Verdict,
    pub(super) violated: Vec<String>,
    /// Equal digests are equal runs; of a wall run there is none.
    pub(super) digest: Option<String>,
    pub(super) commands: Commands,
    pub(super) reproduce: String,
    /// Latencies by the part of the way, in steps.
    pub(super) stages: Vec<(String, Counts)>,
    /// Of a wall run, why its generator and not the system was slow, if so.
    pub(super) bottleneck: Option<String>,
    /// When a wall run began and ended, in milliseconds since 1970.
    pub(super) span_ms: (u64, u64),
}

impl Side {
    /// The side called `name` on the command line, of `records` and the files that they were read from.
    ///
    /// # Errors
    /// If there is none, or they do not belong together.
    pub fn of(name: &str, records: Vec<(String, Record)>) -> Result<Self, CompareError> {
        let mut files = Vec::new();
        let (mut suites, mut runs, mut walls) = (Vec::new(), Vec::new(), Vec::new());
        for (file, record) in records {
            files.push(file.clone());
            match record {
                Record::Suite(record) => suites.push(Part { file, record: *record }),
                Record::Run(report) => runs.push(*report),
                Record::Wall(run) => walls.push(*run),
            }
        }
        let side = name.to_owned();
        match (suites.is_empty(), runs.is_empty(), walls.is_empty()) {
            (true, true, true) => Err(CompareError::Empty(side)),
            (false, true, true) => Self::of_suites(side, files, suites),
            (true, false, true) => Self::of_reports(side, files, runs),
            (true, true, false) => wall::side(side, files, walls),
            _ => Err(CompareError::Mixed(side)),
        }
    }

    fn of_suites(side: String, files: Vec<String>, mut suites: Vec<Part>) -> Result<Self, CompareError> {
        let known = crate::suite::VERSION;
        if let Some(part) = suites.iter().find(|part| part.record.version != known) {
            return Err(CompareError::Version { side, found: part.record.version, known });
        }
        let suite = match (suites.pop(), suites.is_empty()) {
            (Some(one), true) => one.record,
            (last, _) => {
                suites.extend(last);
                merge(suites)
                    .map_err(|error: MergeError| CompareError::Apart { side: side.clone(), error: error.to_string() })?
            }
        };
        let mut scenarios = Vec::new();
        for summary in &suite.summary {
            let own = || suite.runs.iter().filter(|run| run.scenario == summary.scenario);
            let kept = own().count() as u64;
            let scenario = summary.scenario.clone();
            if kept != summary.seeds {
                return Err(CompareError::NotAll { side, scenario, kept, seeds: summary.seeds });
            }
            let runs = own().map(|run| of_record(&side, run)).collect::<Result<Vec<_>, _>>()?;
            scenarios.push(Runs { scenario, source: summary.source.clone(), load: None, runs });
        }
        Self { files, build: suite.build, clock: Clock::Virtual, scenarios }.ordered(side)
    }

    fn of_reports(side: String, files: Vec<String>, reports: Vec<RunReport>) -> Result<Self, CompareError> {
        let known = crate::report::VERSION;
        let mut scenarios: Vec<Runs> = Vec::new();
        let build = reports.first().map(|report| report.build.clone());
        for report in reports {
            if report.version != known {
                return Err(CompareError::Version { side, found: report.version, known });
            }
            let (scenario, source) = (report.record.scenario.clone(), report.conditions.source.clone());
            let place = scenarios.iter().position(|runs| runs.scenario == scenario).unwrap_or_else(|| {
                scenarios.push(Runs {
                    scenario: scenario.clone(),
                    source: source.clone(),
                    load: None,
                    runs: Vec::new(),
                });
                scenarios.len() - 1
            });
            let apart = match (build.as_ref() == Some(&report.build), scenarios[place].source == source) {
                (false, _) => Some("they are of different builds".to_owned()),
                (_, false) => Some(format!("they ran different scenarios under the name {scenario:?}")),
                _ => None,
            };
            if let Some(error) = apart {
                return Err(CompareError::Apart { side, error });
            }
            let stages = Stage::ALL.into_iter().filter_map(|stage| {
                let counts = &report.stage(stage)?.counts_virtual_ms;
                Some((stage.name().to_owned(), counts.counts().map(|(ms, times)| (ms.0, times)).collect()))
            });
            let run = Run { stages: stages.collect(), ..of(&report.record) };
            scenarios[place].runs.push(run);
        }
        let build = build.ok_or_else(|| CompareError::Empty(side.clone()))?;
        Self { files, build, clock: Clock::Virtual, scenarios }.ordered(side)
    }

    /// With each scenario's runs in the order of their seeds.
    fn ordered(mut self, side: String) -> Result<Self, CompareError> {
        for Runs { scenario, runs, .. } in &mut self.scenarios {
            runs.sort_by_key(|run| run.seed);
            if let Some(twice) = runs.windows(2).find(|two| two[0].seed == two[1].seed) {
                return Err(CompareError::Twice { side, scenario: scenario.clone(), seed: twice[0].seed });
            }
        }
        Ok(self)
    }
}

fn of_record(side: &str, record: &RunRecord) -> Result<Run, CompareError> {
    let mut run = of(record);
    for (stage, counts) in &record.stages_virtual_ms_counts {
        let counts = counts.counts().iter().map(|(ms, times)| (ms.0, *times)).collect();
        run.stages.push((stage.name().to_owned(), counts));
    }
    if run.stages.is_empty() && record.latency_virtual_ms.count > 0 {
        let (side, scenario) = (side.to_owned(), record.scenario.clone());
        return Err(CompareError::NoCounts { side, scenario, seed: record.seed });
    }
    Ok(run)
}

fn of(record: &RunRecord) -> Run {
    let violated = record.invariants.iter().filter(|invariant| invariant.violations_total > 0);
    Run {
        seed: record.seed,
        verdict: record.verdict,
        violated: violated.map(|invariant| invariant.name.clone()).collect(),
        // A run that hung has none, and is like no other.
        digest: Some(record.digest.clone()).filter(|digest| !digest.is_empty()),
        commands: record.commands,
        reproduce: record.reproduce.clone(),
        stages: Vec::new(),
        bottleneck: None,
        span_ms: (0, 0),
    }
}
