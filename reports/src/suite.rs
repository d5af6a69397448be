//! All runs of one call of the harness, summed up per scenario and judged as a whole.
//!
//! Two things can only be judged here. A `sometimes` mark need not be reached by every seed, but by one of them; and
//! latencies are merged as distributions, since percentiles of percentiles mean nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::latency::{LatencySummary, VirtualLatency};
use crate::record::{Commands, RunRecord};
use crate::verdict::{SuiteVerdict, Verdict};

/// Version of the JSON document. It changes when a field's meaning does.
pub const VERSION: u32 = 1;

/// A run's record, and its whole latency distribution for merging.
#[derive(Debug, Clone, PartialEq)]
pub struct FinishedRun {
    /// What is kept of it.
    pub record: RunRecord,
    /// Its latencies.
    pub latency: VirtualLatency,
}

/// All runs of one call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuiteRecord {
    /// Version of this document: [`VERSION`].
    pub version: u32,
    /// What ran.
    pub build: Build,
    /// The worst of all.
    pub verdict: SuiteVerdict,
    /// The process's exit code.
    pub exit_code: u8,
    /// Why the verdict is worse than the runs' own, in sentences.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
    /// One for each scenario, in the order in which they first ran.
    pub summary: Vec<ScenarioSummary>,
    /// Every run, in the order in which they were asked for.
    pub runs: Vec<RunRecord>,
}

/// The build whose results these are: digests of two builds need not agree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    /// The harness's version.
    pub version: String,
    /// `release` or `debug`.
    pub profile: String,
    /// Processor and operating system, as `x86_64-linux`.
    pub target: String,
}

/// One scenario over all its seeds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScenarioSummary {
    /// Its name.
    pub scenario: String,
    /// How many seeds ran.
    pub seeds: u64,
    /// How many of them passed.
    pub passed: u64,
    /// The worst run's verdict; inconclusive at best if a `sometimes` was never seen.
    pub verdict: Verdict,
    /// Marks that had to be reached by some seed and were reached by none.
    pub sometimes_never: Vec<String>,
    /// How the commands of all seeds ended.
    pub commands: Commands,
    /// How many faults of each kind changed something.
    pub faults: BTreeMap<String, u64>,
    /// The latencies of all seeds in one distribution.
    pub latency_virtual_ms: LatencySummary,
}

impl SuiteRecord {
    /// Sums up and judges `runs`. `sometimes` gives the marks each scenario must reach in at least one seed.
    pub fn new(build: Build, runs: Vec<FinishedRun>, sometimes: &BTreeMap<String, Vec<String>>) -> Self {
        let mut names: Vec<&str> = Vec::new();
        for run in &runs {
            if !names.contains(&run.record.scenario.as_str()) {
                names.push(&run.record.scenario);
            }
        }
        let summary: Vec<_> = names
            .into_iter()
            .map(|name| {
                let of_it: Vec<_> = runs.iter().filter(|run| run.record.scenario == name).collect();
                ScenarioSummary::new(name, &of_it, sometimes.get(name).map_or(&[][..], Vec::as_slice))
            })
            .collect();
        // Nothing ran: nothing is proved.
        let worst = summary.iter().map(|scenario| scenario.verdict).max().unwrap_or(Verdict::Inconclusive);
        let verdict = SuiteVerdict::from(worst);
        Self {
            version: VERSION,
            build,
            verdict,
            exit_code: verdict.exit_code(),
            reasons: Vec::new(),
            summary,
            runs: runs.into_iter().map(|run| run.record).collect(),
        }
    }

    /// Makes the verdict worse, never better, for a reason that no single run shows: a threshold, or two runs of one
    /// seed that differ. `reason` is a sentence.
    pub fn worsen(&mut self, verdict: SuiteVerdict, reason: impl Into<String>) {
        self.verdict = self.verdict.max(verdict);
        self.exit_code = self.verdict.exit_code();
        self.reasons.push(reason.into());
    }

    /// How many facts all invariants compared, over all runs.
    pub fn compared(&self) -> u64 {
        self.runs.iter().flat_map(|run| &run.invariants).map(|invariant| invariant.compared).sum()
    }

    /// The run to look at first: the first that failed or was violated, else the first that did not pass.
    pub fn first_bad_run(&self) -> Option<&RunRecord> {
        let broken = self.runs.iter().find(|run| run.verdict >= Verdict::Violated);
        broken.or_else(|| self.runs.iter().find(|run| run.verdict != Verdict::Pass))
    }
}

impl ScenarioSummary {
    fn new(scenario: &str, runs: &[&FinishedRun], sometimes: &[String]) -> Self {
        let (mut commands, mut latency) = (Commands::default(), VirtualLatency::new());
        let mut faults: BTreeMap<String, u64> = BTreeMap::new();
        for run in runs {
            commands.add(&run.record.commands);
            latency.merge(&run.latency);
            for (kind, count) in &run.record.faults {
                *faults.entry(kind.clone()).or_default() += count;
            }
        }
        let reached = |mark: &String| runs.iter().any(|run| run.record.marks.get(mark).is_some_and(|&count| count > 0));
        let sometimes_never: Vec<_> = sometimes.iter().filter(|mark| !reached(mark)).cloned().collect();
        let worst = runs.iter().map(|run| run.record.verdict).max().unwrap_or(Verdict::Inconclusive);
        let verdict = if sometimes_never.is_empty() { worst } else { worst.max(Verdict::Inconclusive) };
        Self {
            scenario: scenario.to_owned(),
            seeds: runs.len() as u64,
            passed: runs.iter().filter(|run| run.record.verdict == Verdict::Pass).count() as u64,
            verdict,
            sometimes_never,
            commands,
            faults,
            latency_virtual_ms: latency.summary(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    fn needs(scenario: &str, mark: &str) -> BTreeMap<String, Vec<String>> {
        BTreeMap::from([(scenario.to_owned(), vec![mark.to_owned()])])
    }

    #[test]
    fn a_sometimes_reached_by_one_seed_of_many_is_enough() {
        let runs = vec![samples::passed("calm", 1), samples::marked("calm", 2, "redelivered")];
        let suite = SuiteRecord::new(samples::build(), runs, &needs("calm", "redelivered"));
        assert_eq!((suite.verdict, suite.exit_code), (SuiteVerdict::Pass, 0));
    }

    #[test]
    fn a_sometimes_never_reached_makes_passing_runs_inconclusive() {
        let suite = SuiteRecord::new(samples::build(), vec![samples::passed("calm", 1)], &needs("calm", "redelivered"));
        assert_eq!((suite.verdict, suite.exit_code), (SuiteVerdict::Inconclusive, 4));
        assert_eq!(suite.summary[0].sometimes_never, ["redelivered"]);
        assert_eq!(suite.summary[0].passed, 1, "the runs themselves passed");
    }

    #[test]
    fn nothing_run_is_nothing_proved() {
        let suite = SuiteRecord::new(samples::build(), Vec::new(), &BTreeMap::new());
        assert_eq!(suite.verdict, SuiteVerdict::Inconclusive);
    }

    #[test]
    fn a_verdict_is_made_worse_but_never_better() {
        let mut suite = SuiteRecord::new(samples::build(), vec![samples::violated("calm", 1)], &BTreeMap::new());
        suite.worsen(SuiteVerdict::Threshold, "p99 is 80 ms, above 50.");
        assert_eq!(suite.exit_code, 1);
        suite.worsen(SuiteVerdict::Nondeterministic, "Seed 3 gave two digests.");
        assert_eq!(suite.exit_code, 5);
        assert_eq!(suite.reasons.len(), 2);
    }

    #[test]
    fn counts_are_summed_and_latencies_merged_per_scenario() {
        let runs = vec![samples::passed("calm", 1), samples::passed("storm", 1), samples::passed("calm", 2)];
        let suite = SuiteRecord::new(samples::build(), runs, &BTreeMap::new());
        let [calm, storm] = &suite.summary[..] else { panic!("two scenarios, in the order they ran") };
        assert_eq!((calm.scenario.as_str(), calm.seeds, storm.seeds), ("calm", 2, 1));
        assert_eq!(calm.commands.applied, 2 * storm.commands.applied);
        assert_eq!(calm.latency_virtual_ms.count, 2 * storm.latency_virtual_ms.count);
    }

    #[test]
    fn a_broken_run_is_looked_at_before_an_inconclusive_one() {
        let runs = vec![samples::passed("a", 1), samples::blind("b", 1), samples::violated("c", 1)];
        let mut suite = SuiteRecord::new(samples::build(), runs, &BTreeMap::new());
        assert_eq!(suite.first_bad_run().unwrap().scenario, "c");
        suite.runs.pop();
        assert_eq!(suite.first_bad_run().unwrap().scenario, "b");
    }
}
