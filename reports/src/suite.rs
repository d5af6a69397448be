//! All runs of one call of the harness, summed up per scenario and judged as a whole.
//!
//! Two things can only be judged here. A `sometimes` mark need not be reached by every seed, but by one of them; and
//! latencies are merged as distributions, since percentiles of percentiles mean nothing.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::latency::{LatencySummary, VirtualLatency};
use crate::record::{Commands, RunRecord};
use crate::text::grouped;
use crate::verdict::{SuiteVerdict, Verdict};

/// Version of the JSON document. It changes when a field's meaning does.
pub const VERSION: u32 = 1;

/// Runs with a kind of fault in their plans from which on it is held against the scenario that none of them felt it: fewer may
/// have had bad luck.
pub const EFFECT_SEEDS_MIN: u64 = 10;

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
    /// Which part of a whole this is; absent if it is the whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<Shard>,
    /// The worst of all.
    pub verdict: SuiteVerdict,
    /// The process's exit code.
    pub exit_code: u8,
    /// Why the verdict is worse than the runs' own, in sentences.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
    /// What else there is to say of the whole, in sentences: what it proves, how it was run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// How often each mark that the harness declares was reached, or held, over all runs of all scenarios: zero if never.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub marks: BTreeMap<String, u64>,
    /// Those of them that no run of any scenario reached.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub marks_never: Vec<String>,
    /// One for each scenario, in the order in which they first ran.
    pub summary: Vec<ScenarioSummary>,
    /// Every run, in the order in which they were asked for; of a hunt the first that did not pass.
    pub runs: Vec<RunRecord>,
}

/// The build whose results these are: digests of two builds need not agree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Build {
    /// The harness's version.
    pub version: String,
    /// `release` or `debug`.
    pub profile: String,
    /// Processor and operating system, as `x86_64-linux`.
    pub target: String,
    /// The commit it was built from, if the build was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
}

/// One of several calls, on as many machines, that share the runs between them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// The how-manieth, from 1.
    pub index: u32,
    /// Of how many.
    pub of: u32,
    /// Digest of what was shared out. Shards of one whole agree on it; whatever has another is no part of that whole.
    pub whole: String,
}

/// What a scenario was read from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Source {
    /// The file, as the command line found it.
    pub file: String,
    /// Digest of its text: another text is another scenario, whatever its name.
    pub digest: String,
}

/// One scenario over all its seeds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScenarioSummary {
    /// Its name.
    pub scenario: String,
    /// What it was read from, if the harness says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// How many seeds ran.
    pub seeds: u64,
    /// The lowest of them.
    #[serde(default)]
    pub seed_min: u64,
    /// The highest.
    #[serde(default)]
    pub seed_max: u64,
    /// How many of them passed.
    pub passed: u64,
    /// How many were over with their first violation. What they did not come to, such as a mark or a fault, they say nothing of.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cut_short: u64,
    /// How many ended with each verdict; those that none ended with are not there.
    #[serde(default)]
    pub verdicts: BTreeMap<Verdict, u64>,
    /// How much each invariant compared, over all seeds.
    #[serde(default)]
    pub compared: BTreeMap<String, u64>,
    /// The worst run's verdict; inconclusive at best if a `sometimes` was never seen, or a fault never felt.
    pub verdict: Verdict,
    /// Marks that some seed must reach.
    #[serde(default)]
    pub sometimes: Vec<String>,
    /// Those of them that none reached; empty in a part of a whole, which has no say in it.
    pub sometimes_never: Vec<String>,
    /// How many faults of each kind that the plans had were felt by anyone.
    #[serde(default)]
    pub fault_effects: BTreeMap<String, u64>,
    /// How many seeds had a fault of each kind in their plans.
    #[serde(default)]
    pub fault_seeds: BTreeMap<String, u64>,
    /// Kinds of faults that the plans had and that changed nothing in any seed, if enough seeds had them to tell.
    #[serde(default)]
    pub faults_never_felt: Vec<String>,
    /// How often each mark was reached, over all seeds.
    #[serde(default)]
    pub marks: BTreeMap<String, u64>,
    /// How the commands of all seeds ended.
    pub commands: Commands,
    /// How many faults of each kind changed something.
    pub faults: BTreeMap<String, u64>,
    /// The latencies of all seeds in one distribution.
    pub latency_virtual_ms: LatencySummary,
    /// That distribution itself, to be merged.
    #[serde(default)]
    pub latency_virtual_ms_counts: VirtualLatency,
}

/// Which runs are kept whole, beside being summed up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// All.
    All,
    /// The first so many that did not pass: a hunt takes more runs than anyone reads.
    Bad(usize),
}

/// Sums up runs one by one as they end.
#[derive(Debug)]
pub struct Summing {
    keep: Keep,
    /// In the order in which they first ran.
    scenarios: Vec<Sum>,
    runs: Vec<RunRecord>,
}

impl Summing {
    /// Nothing has run yet.
    pub fn new(keep: Keep) -> Self {
        Self { keep, scenarios: Vec::new(), runs: Vec::new() }
    }

    /// Takes a run that has ended.
    pub fn take(&mut self, run: FinishedRun) {
        let FinishedRun { record, latency } = run;
        let index = self.scenarios.iter().position(|sum| sum.scenario == record.scenario);
        let index = index.unwrap_or_else(|| {
            self.scenarios.push(Sum::new(&record.scenario));
            self.scenarios.len() - 1
        });
        self.scenarios[index].take(&record, &latency);
        let kept = match self.keep {
            Keep::All => true,
            Keep::Bad(most) => record.verdict != Verdict::Pass && self.runs.len() < most,
        };
        if kept {
            self.runs.push(record);
        }
    }

    /// How many have ended.
    pub fn seeds(&self) -> u64 {
        self.scenarios.iter().map(Sum::seeds).sum()
    }

    /// How many have ended and not passed.
    pub fn bad(&self) -> u64 {
        self.scenarios.iter().map(|sum| sum.seeds() - sum.ended(Verdict::Pass)).sum()
    }

    /// Judges them. `sometimes` gives the marks each scenario must reach in at least one seed.
    pub fn finish(self, build: Build, sometimes: &BTreeMap<String, Vec<String>>) -> SuiteRecord {
        let mut suite = self.finish_part(build, sometimes);
        suite.judge_whole();
        suite
    }

    /// Judges them as a part of a whole: `sometimes` is written down, and judged by whoever has the whole.
    pub fn finish_part(self, build: Build, sometimes: &BTreeMap<String, Vec<String>>) -> SuiteRecord {
        let finished = |sum: Sum| {
            let marks = sometimes.get(&sum.scenario).cloned().unwrap_or_default();
            sum.finish(marks)
        };
        let summary = self.scenarios.into_iter().map(finished).collect();
        SuiteRecord::of(build, summary, self.runs)
    }
}

/// What the runs of one scenario sum up to.
#[derive(Debug)]
struct Sum {
    scenario: String,
    verdicts: BTreeMap<Verdict, u64>,
    cut_short: u64,
    compared: BTreeMap<String, u64>,
    seed_min: u64,
    seed_max: u64,
    marks: BTreeMap<String, u64>,
    commands: Commands,
    faults: BTreeMap<String, u64>,
    fault_effects: BTreeMap<String, u64>,
    /// How many runs had each kind of fault in their plans.
    fault_seeds: BTreeMap<String, u64>,
    latency: VirtualLatency,
}

impl Sum {
    fn new(scenario: &str) -> Self {
        let (verdicts, compared, marks) = Default::default();
        let (commands, faults, fault_effects, fault_seeds) = Default::default();
        let ((seed_min, seed_max), latency) = ((u64::MAX, 0), VirtualLatency::new());
        let scenario = scenario.to_owned();
        Self {
            scenario,
            verdicts,
            cut_short: 0,
            compared,
            seed_min,
            seed_max,
            marks,
            commands,
            faults,
            fault_effects,
            fault_seeds,
            latency,
        }
    }

    fn take(&mut self, record: &RunRecord, latency: &VirtualLatency) {
        *self.verdicts.entry(record.verdict).or_default() += 1;
        self.cut_short += u64::from(record.cut_short);
        (self.seed_min, self.seed_max) = (self.seed_min.min(record.seed), self.seed_max.max(record.seed));
        for invariant in &record.invariants {
            *self.compared.entry(invariant.name.clone()).or_default() += invariant.compared;
        }
        add(&mut self.marks, &record.marks);
        self.commands.add(&record.commands);
        add(&mut self.faults, &record.faults);
        add(&mut self.fault_effects, &record.fault_effects);
        for kind in record.fault_effects.keys().filter(|_| !record.cut_short) {
            *self.fault_seeds.entry(kind.clone()).or_default() += 1;
        }
        self.latency.merge(latency);
    }

    fn ended(&self, verdict: Verdict) -> u64 {
        self.verdicts.get(&verdict).copied().unwrap_or(0)
    }

    fn seeds(&self) -> u64 {
        self.verdicts.values().sum()
    }

    fn finish(self, sometimes: Vec<String>) -> ScenarioSummary {
        ScenarioSummary {
            seeds: self.seeds(),
            passed: self.ended(Verdict::Pass),
            cut_short: self.cut_short,
            verdict: self.verdicts.keys().next_back().copied().unwrap_or(Verdict::Inconclusive),
            latency_virtual_ms: self.latency.summary(),
            latency_virtual_ms_counts: self.latency,
            scenario: self.scenario,
            source: None,
            seed_min: self.seed_min,
            seed_max: self.seed_max,
            verdicts: self.verdicts,
            compared: self.compared,
            sometimes,
            sometimes_never: Vec::new(),
            fault_effects: self.fault_effects,
            fault_seeds: self.fault_seeds,
            faults_never_felt: Vec::new(),
            marks: self.marks,
            commands: self.commands,
            faults: self.faults,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde calls takes a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Adds counts to counts, name by name.
pub(crate) fn add<K: Clone + Ord>(to: &mut BTreeMap<K, u64>, counts: &BTreeMap<K, u64>) {
    for (name, count) in counts {
        *to.entry(name.clone()).or_default() += count;
    }
}

impl SuiteRecord {
    /// Sums up and judges `runs`. `sometimes` gives the marks each scenario must reach in at least one seed.
    pub fn new(build: Build, runs: Vec<FinishedRun>, sometimes: &BTreeMap<String, Vec<String>>) -> Self {
        let mut summing = Summing::new(Keep::All);
        runs.into_iter().for_each(|run| summing.take(run));
        summing.finish(build, sometimes)
    }

    /// What `summary` and `runs` come to by themselves; what must be reached sometimes is not looked at.
    pub(crate) fn of(build: Build, summary: Vec<ScenarioSummary>, runs: Vec<RunRecord>) -> Self {
        // Nothing ran: nothing is proved.
        let worst = summary.iter().map(|scenario| scenario.verdict).max().unwrap_or(Verdict::Inconclusive);
        let verdict = SuiteVerdict::from(worst);
        let (reasons, notes, exit_code) = (Vec::new(), Vec::new(), verdict.exit_code());
        let (marks, marks_never) = Default::default();
        let shard = None;
        Self { version: VERSION, build, shard, verdict, exit_code, reasons, notes, marks, marks_never, summary, runs }
    }

    /// Judges what must be reached sometimes, and what must be felt: whoever calls it says that this is the whole.
    pub(crate) fn judge_whole(&mut self) {
        for scenario in &mut self.summary {
            let reached = |mark: &String| scenario.marks.get(mark).is_some_and(|count| *count > 0);
            let whole = scenario.seeds > scenario.cut_short;
            let never = scenario.sometimes.iter().filter(|mark| whole && !reached(mark));
            scenario.sometimes_never = never.cloned().collect();
            let seeds = &scenario.fault_seeds;
            let enough = |kind: &String| seeds.get(kind).is_some_and(|seeds| *seeds >= EFFECT_SEEDS_MIN);
            let unfelt = scenario.fault_effects.iter().filter(|(kind, count)| **count == 0 && enough(kind));
            scenario.faults_never_felt = unfelt.map(|(kind, _)| kind.clone()).collect();
            if !scenario.sometimes_never.is_empty() || !scenario.faults_never_felt.is_empty() {
                scenario.verdict = scenario.verdict.max(Verdict::Inconclusive);
                self.verdict = self.verdict.max(scenario.verdict.into());
            }
        }
        self.exit_code = self.verdict.exit_code();
        for kind in self.never_felt_by_any() {
            self.worsen(
                SuiteVerdict::Inconclusive,
                format!("Nobody in any scenario ever felt a fault of kind {kind}."),
            );
        }
    }

    /// Kinds of faults that changed nothing in any seed of any scenario, though enough seeds of all together had them to tell.
    fn never_felt_by_any(&self) -> Vec<String> {
        let (mut seeds, mut felt) = (BTreeMap::new(), BTreeMap::new());
        for scenario in &self.summary {
            add(&mut seeds, &scenario.fault_seeds);
            add(&mut felt, &scenario.fault_effects);
        }
        let is_told = |kind: &String| self.summary.iter().any(|scenario| scenario.faults_never_felt.contains(kind));
        let unfelt = seeds.into_iter().filter(|(kind, seeds)| {
            *seeds >= EFFECT_SEEDS_MIN && felt.get(kind).is_none_or(|count| *count == 0) && !is_told(kind)
        });
        unfelt.map(|(kind, _)| kind).collect()
    }

    /// Says what each scenario, by its name, was read from.
    pub fn read_from(&mut self, source: impl Fn(&str) -> Option<Source>) {
        self.summary.iter_mut().for_each(|scenario| scenario.source = source(&scenario.scenario));
    }

    /// Says which marks there are, and counts each over all scenarios: those that none reached are worth a look, for what they
    /// stand for was not tested.
    pub fn declare_marks<'m>(&mut self, declared: impl Iterator<Item = &'m str>) {
        let reached = |mark: &str| self.summary.iter().filter_map(|scenario| scenario.marks.get(mark)).sum();
        self.marks = declared.map(|mark| (mark.to_owned(), reached(mark))).collect();
        let never = self.marks.iter().filter(|(_, count)| **count == 0);
        self.marks_never = never.map(|(mark, _)| mark.clone()).collect();
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
        self.summary.iter().flat_map(|scenario| scenario.compared.values()).sum()
    }

    /// How many runs there were.
    pub fn seeds(&self) -> u64 {
        self.summary.iter().map(|scenario| scenario.seeds).sum()
    }

    /// How many of them ended with `verdict`.
    pub fn ended(&self, verdict: Verdict) -> u64 {
        self.summary.iter().filter_map(|scenario| scenario.verdicts.get(&verdict)).sum()
    }

    /// Of how many seeds of one scenario fewer than one would not pass, with 95 % confidence, if all that were tried did:
    /// the rule of three, for the scenario with the fewest seeds. `None`: some did not pass, or too few were tried.
    pub fn fewer_than_one_in(&self) -> Option<u64> {
        let least = self.summary.iter().map(|scenario| scenario.seeds).min()?;
        let all = self.summary.iter().all(|scenario| scenario.passed == scenario.seeds);
        Some(least / 3).filter(|one_in| all && *one_in > 0)
    }

    /// What a green suite proves, in a sentence; `None` as in [`SuiteRecord::fewer_than_one_in`].
    pub fn proved(&self) -> Option<String> {
        let one_in = grouped(self.fewer_than_one_in()?);
        let of = if self.summary.len() == 1 { "it" } else { "any one of the scenarios" };
        Some(format!("With 95 % confidence fewer than 1 seed in {one_in} breaks {of} (rule of three)."))
    }

    /// The runs that did not pass, as far as they are kept, in the order in which to look at them: the broken before the
    /// inconclusive; each scenario's first before any scenario's second, for many seeds of one often say the same.
    /// Otherwise in the order they ran, so that the first is the one to reproduce.
    pub fn bad_runs(&self) -> Vec<&RunRecord> {
        let mut bad: Vec<&RunRecord> = self.runs.iter().filter(|run| run.verdict != Verdict::Pass).collect();
        let mut told: BTreeMap<(bool, &str), usize> = BTreeMap::new();
        bad.sort_by_cached_key(|run| {
            let inconclusive = run.verdict < Verdict::Violated;
            let rank = told.entry((inconclusive, &run.scenario)).or_default();
            *rank += 1;
            (inconclusive, *rank)
        });
        bad
    }

    /// The run to look at first: the first that failed or was violated, else the first that did not pass.
    pub fn first_bad_run(&self) -> Option<&RunRecord> {
        let broken = self.runs.iter().find(|run| run.verdict >= Verdict::Violated);
        broken.or_else(|| self.runs.iter().find(|run| run.verdict != Verdict::Pass))
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
    fn a_run_that_was_cut_short_says_nothing_of_what_it_did_not_come_to() {
        let cut = |seed| {
            let mut run = samples::violated("calm", seed);
            (run.record.cut_short, run.record.violated_at_ms) = (true, Some(700));
            run.record.fault_effects = BTreeMap::from([("hold".to_owned(), 0)]);
            run
        };
        let suite = |runs| SuiteRecord::new(samples::build(), runs, &needs("calm", "redelivered"));
        let cut_only = suite((1..=EFFECT_SEEDS_MIN).map(cut).collect());
        let calm = &cut_only.summary[0];
        assert_eq!((cut_only.exit_code, calm.cut_short), (1, EFFECT_SEEDS_MIN));
        assert!(calm.sometimes_never.is_empty() && calm.faults_never_felt.is_empty(), "{calm:?}");
        assert!(crate::text::render(&cut_only).contains("first seen to be violated at 700 ms, and over with that\n"));
        let beside_a_whole = suite(vec![cut(1), samples::passed("calm", 2)]);
        assert_eq!(beside_a_whole.summary[0].sometimes_never, ["redelivered"]);
    }

    #[test]
    fn marks_are_counted_over_all_scenarios_and_those_that_none_reached_are_named() {
        let runs = vec![samples::marked("calm", 1, "resent"), samples::marked("storm", 1, "resent")];
        let mut suite = SuiteRecord::new(samples::build(), runs, &BTreeMap::new());
        suite.declare_marks(["paused", "resent"].into_iter());
        assert_eq!(suite.marks, [("paused".to_owned(), 0), ("resent".to_owned(), 6)].into());
        assert_eq!((&suite.marks_never[..], suite.exit_code), (&["paused".to_owned()][..], 0));
        let told = "\nMarks: 1 of 2 reached; never paused.\n";
        assert!(crate::text::render(&suite).contains(told), "{}", crate::text::render(&suite));
        assert!(crate::markdown::render(&suite).contains("; never paused"));
        suite.summary.pop();
        suite.declare_marks(["paused", "resent"].into_iter());
        assert!(!crate::text::render(&suite).contains("never"), "one scenario is not to reach all there is");
    }

    #[test]
    fn a_kind_of_fault_that_nobody_felt_in_many_seeds_makes_them_inconclusive_and_in_few_not() {
        let runs = |seeds: std::ops::RangeInclusive<u64>, hold: u64| {
            seeds.map(move |seed| {
                let mut run = samples::passed("calm", seed);
                run.record.fault_effects =
                    BTreeMap::from([("crash".to_owned(), u64::from(seed == 3)), ("hold".to_owned(), hold)]);
                run
            })
        };
        let suite = |runs: Vec<_>| SuiteRecord::new(samples::build(), runs, &BTreeMap::new());
        let few = suite(runs(1..=EFFECT_SEEDS_MIN - 1, 0).collect());
        assert_eq!((few.exit_code, few.summary[0].faults_never_felt.len()), (0, 0));
        let many = suite(runs(1..=EFFECT_SEEDS_MIN, 0).collect());
        assert_eq!((many.exit_code, &many.summary[0].faults_never_felt), (4, &vec!["hold".to_owned()]));
        assert!(crate::text::render(&many).contains("calm: faults that nobody ever felt: hold."));
        let felt = suite(runs(1..=EFFECT_SEEDS_MIN - 1, 0).chain(runs(20..=20, 1)).collect());
        let rare = (20..=80).map(|seed| samples::passed("calm", seed)).chain(runs(1..=EFFECT_SEEDS_MIN - 1, 0));
        assert_eq!(suite(rare.collect()).exit_code, 0, "most seeds of a swarm never had it");
        assert_eq!((felt.exit_code, felt.summary[0].fault_effects["hold"]), (0, 1));
    }

    #[test]
    fn a_kind_that_nobody_felt_in_many_seeds_of_several_scenarios_makes_the_whole_inconclusive() {
        let runs = |scenario: &'static str, felt: u64| {
            (1..EFFECT_SEEDS_MIN).map(move |seed| {
                let mut run = samples::passed(scenario, seed);
                run.record.fault_effects = BTreeMap::from([("hold".to_owned(), felt)]);
                run
            })
        };
        let suite = |of_storm: u64| {
            let runs = runs("calm", 0).chain(runs("storm", of_storm)).collect();
            SuiteRecord::new(samples::build(), runs, &BTreeMap::new())
        };
        let unfelt = suite(0);
        assert_eq!((unfelt.verdict, unfelt.exit_code), (SuiteVerdict::Inconclusive, 4));
        assert_eq!(unfelt.reasons, ["Nobody in any scenario ever felt a fault of kind hold."]);
        assert_eq!((suite(1).exit_code, suite(1).reasons.len()), (0, 0), "one scenario's seeds are enough");
    }

    #[test]
    fn a_part_writes_down_what_must_be_reached_and_has_no_say_in_it() {
        let mut summing = Summing::new(Keep::All);
        summing.take(samples::marked("calm", 4, "resent"));
        let suite = summing.finish_part(samples::build(), &needs("calm", "redelivered"));
        let calm = &suite.summary[0];
        assert_eq!((suite.verdict, &calm.sometimes_never[..]), (SuiteVerdict::Pass, &[][..]));
        assert_eq!(
            (&calm.sometimes[..], &calm.marks),
            (&["redelivered".to_owned()][..], &[("resent".into(), 3)].into())
        );
        assert_eq!((calm.seed_min, calm.seed_max), (4, 4));
    }

    #[test]
    fn a_hunt_sums_up_all_and_keeps_the_first_that_did_not_pass() {
        let mut summing = Summing::new(Keep::Bad(2));
        (1..=90).for_each(|seed| summing.take(samples::passed("calm", seed)));
        let passing = Summing::new(Keep::All).finish(samples::build(), &BTreeMap::new());
        assert_eq!(passing.fewer_than_one_in(), None, "nothing ran");
        (91..=93).for_each(|seed| summing.take(samples::violated("calm", seed)));
        assert_eq!((summing.seeds(), summing.bad()), (93, 3));
        let suite = summing.finish(samples::build(), &BTreeMap::new());
        assert_eq!(suite.runs.iter().map(|run| run.seed).collect::<Vec<_>>(), [91, 92]);
        assert_eq!((suite.seeds(), suite.ended(Verdict::Violated), suite.exit_code), (93, 3, 1));
        assert_eq!((suite.compared(), suite.fewer_than_one_in()), (93 * 2400, None));
    }

    #[test]
    fn three_over_the_seeds_of_the_scenario_with_the_fewest_is_what_a_green_run_proves() {
        let runs = (1..=300).map(|seed| samples::passed("calm", seed));
        let runs: Vec<_> = runs.chain((1..=30).map(|seed| samples::passed("storm", seed))).collect();
        assert_eq!(SuiteRecord::new(samples::build(), runs, &BTreeMap::new()).fewer_than_one_in(), Some(10));
        let two = vec![samples::passed("calm", 1), samples::passed("calm", 2)];
        assert_eq!(SuiteRecord::new(samples::build(), two, &BTreeMap::new()).fewer_than_one_in(), None);
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
