//! Makes one record of several: of the shards of one call on many machines, or of calls over different seeds.
//!
//! What is merged must be of one build and of the same scenario files, and no run may be counted twice. The shards of one
//! call share its runs out and can't overlap; of any other two records the seeds of each scenario must lie apart. Verdicts
//! are made anew: a mark is reached if any part reached it, and percentiles are those of all latencies together.

use std::collections::{BTreeMap, BTreeSet};

use crate::record::RunRecord;
use crate::suite::{Build, ScenarioSummary, Shard, SuiteRecord, VERSION, add};
use crate::text::count;
use crate::verdict::SuiteVerdict;

/// A record, and the file it was read from.
#[derive(Debug, Clone)]
pub struct Part {
    /// The file, for errors.
    pub file: String,
    /// What stood in it.
    pub record: SuiteRecord,
}

/// Why records can't be merged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// There is none.
    #[error("there is no record to merge")]
    Nothing,
    /// A field may mean something else there.
    #[error("{file} is a record of version {version}, and this is a reader of version {VERSION}")]
    Version {
        /// The record's file.
        file: String,
        /// Its version.
        version: u32,
    },
    /// A seed may end otherwise in another build.
    #[error("{a} and {b} are of different builds: {build_a} and {build_b}")]
    Builds {
        /// The first record's file.
        a: String,
        /// The file that differs.
        b: String,
        /// The first record's build.
        build_a: String,
        /// The other's.
        build_b: String,
    },
    /// A scenario was another when it ran.
    #[error("{a} and {b} ran different scenarios under the name {scenario:?}")]
    Scenario {
        /// The first record's file.
        a: String,
        /// The file that differs.
        b: String,
        /// The scenario's name.
        scenario: String,
    },
    /// A run would be counted twice.
    #[error("{a} and {b} overlap: {what}")]
    Overlap {
        /// The first record's file.
        a: String,
        /// The file that overlaps it.
        b: String,
        /// In what.
        what: String,
    },
    /// It was written before there was anything to merge.
    #[error("{file} has no distribution of the latencies of {scenario}, so it can't be merged")]
    NoCounts {
        /// The record's file.
        file: String,
        /// The scenario's name.
        scenario: String,
    },
}

/// Merges `parts`, in any order, and judges what they come to together.
///
/// # Errors
/// When they do not belong together, or count a run twice.
pub fn merge(mut parts: Vec<Part>) -> Result<SuiteRecord, MergeError> {
    // So that nobody can tell in which order they came. What may be merged is never alike in all of that.
    parts.sort_by_cached_key(|Part { file, record }| {
        let shard = record.shard.as_ref().map(|shard| (shard.whole.clone(), shard.of, shard.index));
        let seeds = record.summary.iter().map(|scenario| (scenario.seed_min, scenario.scenario.clone()));
        (shard.is_none(), shard, seeds.collect::<Vec<_>>(), file.clone())
    });
    check(&parts)?;
    let build = parts.first().ok_or(MergeError::Nothing)?.record.build.clone();
    let (mut summary, mut runs): (Vec<ScenarioSummary>, Vec<RunRecord>) = Default::default();
    for scenario in parts.iter().flat_map(|part| &part.record.summary) {
        match summary.iter_mut().find(|sum| sum.scenario == scenario.scenario) {
            Some(sum) => take(sum, scenario),
            None => summary.push(scenario.clone()),
        }
    }
    for sum in &mut summary {
        sum.latency_virtual_ms = sum.latency_virtual_ms_counts.summary();
        // A part's own is overtaken: the runs' verdicts are, and what must be reached is judged below.
        sum.verdict = sum.verdicts.keys().next_back().copied().unwrap_or(sum.verdict);
    }
    let (missing, worst) = (missing(&parts), reasons(&parts));
    let declared: BTreeSet<String> = parts.iter().flat_map(|part| part.record.marks.keys().cloned()).collect();
    let told = format!("Merged from {}.", count(parts.len() as u64, "record"));
    parts.into_iter().for_each(|part| runs.extend(part.record.runs));
    let place = |run: &RunRecord| summary.iter().position(|sum| sum.scenario == run.scenario);
    runs.sort_by_cached_key(|run| (place(run), run.seed));
    let mut suite = SuiteRecord::of(build, summary, runs);
    suite.judge_whole();
    suite.declare_marks(declared.iter().map(String::as_str));
    worst.into_iter().for_each(|(verdict, reason)| suite.worsen(verdict, reason));
    missing.into_iter().for_each(|reason| suite.worsen(SuiteVerdict::Inconclusive, reason));
    suite.notes = std::iter::once(told).chain(suite.proved()).collect();
    Ok(suite)
}

/// Adds what a part has of a scenario to the sum of the parts before.
fn take(sum: &mut ScenarioSummary, part: &ScenarioSummary) {
    sum.seeds += part.seeds;
    sum.passed += part.passed;
    sum.cut_short += part.cut_short;
    (sum.seed_min, sum.seed_max) = (sum.seed_min.min(part.seed_min), sum.seed_max.max(part.seed_max));
    add(&mut sum.verdicts, &part.verdicts);
    add(&mut sum.compared, &part.compared);
    add(&mut sum.marks, &part.marks);
    add(&mut sum.faults, &part.faults);
    add(&mut sum.fault_effects, &part.fault_effects);
    add(&mut sum.fault_seeds, &part.fault_seeds);
    sum.commands.add(&part.commands);
    sum.latency_virtual_ms_counts.merge(&part.latency_virtual_ms_counts);
    // A call for one seed demands no mark.
    let news: Vec<_> = part.sometimes.iter().filter(|mark| !sum.sometimes.contains(mark)).cloned().collect();
    sum.sometimes.extend(news);
}

/// What made a part's verdict worse than its runs': a leak, a threshold.
fn reasons(parts: &[Part]) -> Vec<(SuiteVerdict, String)> {
    let of = |part: &Part| {
        let (file, verdict) = (part.file.clone(), part.record.verdict);
        part.record.reasons.iter().map(move |reason| (verdict, format!("{file}: {reason}"))).collect::<Vec<_>>()
    };
    parts.iter().flat_map(of).collect()
}

/// The shards that are not there, in a sentence for each whole: what they would have found nobody knows.
fn missing(parts: &[Part]) -> Vec<String> {
    let mut there: BTreeMap<(&str, u32), Vec<u32>> = BTreeMap::new();
    for Shard { index, of, whole } in parts.iter().filter_map(|part| part.record.shard.as_ref()) {
        there.entry((whole, *of)).or_default().push(*index);
    }
    let missed = |((_, of), there): ((&str, u32), Vec<u32>)| {
        let missed: Vec<_> = (1..=of).filter(|index| !there.contains(index)).map(|index| index.to_string()).collect();
        (!missed.is_empty()).then(|| format!("Of {of} shards these are missing: {}.", missed.join(", ")))
    };
    there.into_iter().filter_map(missed).collect()
}

fn check(parts: &[Part]) -> Result<(), MergeError> {
    for (index, part) in parts.iter().enumerate() {
        let (file, record) = (&part.file, &part.record);
        if record.version != VERSION {
            return Err(MergeError::Version { file: file.clone(), version: record.version });
        }
        for scenario in &record.summary {
            if scenario.latency_virtual_ms_counts.summary() != scenario.latency_virtual_ms {
                return Err(MergeError::NoCounts { file: file.clone(), scenario: scenario.scenario.clone() });
            }
        }
        parts[..index].iter().try_for_each(|before| check_pair(before, part))?;
    }
    Ok(())
}

fn check_pair(before: &Part, part: &Part) -> Result<(), MergeError> {
    let (a, b) = (before.file.clone(), part.file.clone());
    let (one, other) = (&before.record, &part.record);
    if one.build != other.build {
        return Err(MergeError::Builds { a, b, build_a: told(&one.build), build_b: told(&other.build) });
    }
    let both = || one.summary.iter().flat_map(|x| other.summary.iter().map(move |y| (x, y)));
    let same = || both().filter(|(x, y)| x.scenario == y.scenario);
    if let Some((x, _)) = same().find(|(x, y)| digest(x) != digest(y)) {
        return Err(MergeError::Scenario { a, b, scenario: x.scenario.clone() });
    }
    match (&one.shard, &other.shard) {
        // Two shares of one whole.
        (Some(x), Some(y)) if (&x.whole, x.of) == (&y.whole, y.of) => match x.index == y.index {
            true => Err(MergeError::Overlap { a, b, what: format!("both are shard {}/{}", x.index, x.of) }),
            false => Ok(()),
        },
        _ => match same().find(|(x, y)| x.seed_min <= y.seed_max && y.seed_min <= x.seed_max) {
            None => Ok(()),
            Some((x, y)) => {
                let seeds = |of: &ScenarioSummary| format!("{}..{}", of.seed_min, of.seed_max);
                let what = format!("seeds {} and {} of {}", seeds(x), seeds(y), x.scenario);
                Err(MergeError::Overlap { a, b, what })
            }
        },
    }
}

fn digest(scenario: &ScenarioSummary) -> Option<&str> {
    scenario.source.as_ref().map(|source| source.digest.as_str())
}

/// A build in a few words.
fn told(build: &Build) -> String {
    let commit = build.commit.as_ref().map(|commit| format!(" at {commit}")).unwrap_or_default();
    format!("{} {} for {}{commit}", build.version, build.profile, build.target)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;
    use crate::suite::{FinishedRun, Keep, Source, Summing};
    use crate::verdict::Verdict;

    fn needs() -> BTreeMap<String, Vec<String>> {
        BTreeMap::from([("calm".to_owned(), vec!["redelivered".to_owned()])])
    }

    fn part(file: &str, shard: Option<(u32, u32)>, runs: Vec<FinishedRun>) -> Part {
        let mut summing = Summing::new(Keep::All);
        runs.into_iter().for_each(|run| summing.take(run));
        let mut record = match shard {
            Some(_) => summing.finish_part(samples::build(), &needs()),
            None => summing.finish(samples::build(), &needs()),
        };
        record.shard = shard.map(|(index, of)| Shard { index, of, whole: "abc".into() });
        for scenario in &mut record.summary {
            scenario.source = Some(Source { file: "scenarios/x.toml".into(), digest: "1".into() });
        }
        Part { file: file.into(), record }
    }

    fn thirds() -> Vec<Part> {
        vec![
            part("1.json", Some((1, 3)), vec![samples::passed("calm", 1), samples::violated("storm", 2)]),
            part("2.json", Some((2, 3)), vec![samples::passed("calm", 2), samples::passed("storm", 3)]),
            part("3.json", Some((3, 3)), vec![samples::marked("calm", 3, "redelivered"), samples::passed("storm", 1)]),
        ]
    }

    #[test]
    fn shards_in_any_order_merge_to_what_one_machine_would_have_written() {
        let runs = [samples::passed("calm", 1), samples::passed("calm", 2), samples::marked("calm", 3, "redelivered")];
        let storms = [samples::passed("storm", 1), samples::violated("storm", 2), samples::passed("storm", 3)];
        let whole = part("whole.json", None, runs.into_iter().chain(storms).collect()).record;
        let mut parts = thirds();
        for _ in 0..3 {
            parts.rotate_left(1);
            let mut merged = merge(parts.clone()).unwrap();
            assert_eq!(merged.notes, ["Merged from 3 records."]);
            merged.notes.clear();
            assert_eq!(merged, whole);
        }
    }

    #[test]
    fn a_mark_that_one_shard_reached_is_reached_and_one_that_none_did_is_not() {
        let calm = |seed, index| part(&format!("{index}.json"), Some((index, 2)), vec![samples::passed("calm", seed)]);
        let merged = merge(vec![calm(1, 1), calm(2, 2)]).unwrap();
        assert_eq!((merged.verdict, merged.exit_code), (SuiteVerdict::Inconclusive, 4));
        assert_eq!(merged.summary[0].sometimes_never, ["redelivered"]);
        let reached = part("2.json", Some((2, 2)), vec![samples::marked("calm", 2, "redelivered")]);
        assert_eq!(merge(vec![calm(1, 1), reached]).unwrap().exit_code, 0);
    }

    #[test]
    fn a_mark_that_one_record_missed_by_itself_is_judged_anew() {
        let missed = part("a.json", None, vec![samples::passed("calm", 1)]);
        assert_eq!(missed.record.exit_code, 4);
        let reached = part("b.json", None, vec![samples::marked("calm", 2, "redelivered")]);
        assert_eq!(merge(vec![missed, reached]).unwrap().exit_code, 0);
    }

    #[test]
    fn a_missing_shard_is_no_pass() {
        let mut parts = thirds();
        parts.remove(0);
        let merged = merge(parts).unwrap();
        assert_eq!((merged.verdict, merged.exit_code), (SuiteVerdict::Inconclusive, 4));
        assert_eq!(merged.reasons, ["Of 3 shards these are missing: 1."]);
    }

    #[test]
    fn what_made_a_part_worse_than_its_runs_makes_the_whole_worse() {
        let mut parts = thirds();
        parts[1].record.worsen(SuiteVerdict::Failed, "That is a leak.");
        let merged = merge(parts).unwrap();
        assert_eq!((merged.exit_code, &merged.reasons[..]), (70, &["2.json: That is a leak.".to_owned()][..]));
    }

    #[test]
    fn what_does_not_belong_together_is_refused() {
        let refused = |change: &dyn Fn(&mut Vec<Part>)| {
            let mut parts = thirds();
            change(&mut parts);
            merge(parts).unwrap_err().to_string()
        };
        assert_eq!(refused(&Vec::clear), "there is no record to merge");
        let told = refused(&|parts| parts[2].record.build.commit = Some("c0ffee".into()));
        let expected = "1.json and 3.json are of different builds: 0.1.0 release for x86_64-linux and \
                        0.1.0 release for x86_64-linux at c0ffee";
        assert_eq!(told, expected);
        let told = refused(&|parts| parts[2].record.shard.as_mut().unwrap().index = 2);
        assert_eq!(told, "2.json and 3.json overlap: both are shard 2/3");
        let told = refused(&|parts| {
            parts[1].record.shard.as_mut().unwrap().whole = "def".into();
            parts[1].record.summary[0].seed_min = 1;
        });
        assert_eq!(told, "1.json and 2.json overlap: seeds 1..1 and 1..2 of calm");
        let told = refused(&|parts| parts[1].record.summary[0].source.as_mut().unwrap().digest = "2".into());
        assert_eq!(told, "1.json and 2.json ran different scenarios under the name \"calm\"");
        let told = refused(&|parts| parts[0].record.summary[1].latency_virtual_ms_counts = Default::default());
        assert_eq!(told, "1.json has no distribution of the latencies of storm, so it can't be merged");
        let told = refused(&|parts| parts[0].record.version = 2);
        assert_eq!(told, "1.json is a record of version 2, and this is a reader of version 1");
    }

    #[test]
    fn records_over_seeds_that_lie_apart_merge_and_others_do_not() {
        let seeds = |file, seeds: &[u64]| {
            part(file, None, seeds.iter().map(|seed| samples::marked("calm", *seed, "redelivered")).collect())
        };
        let merged = merge(vec![seeds("a.json", &[1, 2, 3]), seeds("b.json", &[10, 4])]).unwrap();
        let calm = &merged.summary[0];
        assert_eq!((calm.seeds, calm.seed_min, calm.seed_max, merged.exit_code), (5, 1, 10, 0));
        assert_eq!(merged.runs.iter().map(|run| run.seed).collect::<Vec<_>>(), [1, 2, 3, 4, 10]);
        assert!(merged.runs.iter().all(|run| run.verdict == Verdict::Pass));
        let storm = part("c.json", None, vec![samples::violated("storm", 7), samples::passed("calm", 20)]);
        let mut parts = vec![seeds("a.json", &[1, 2, 3]), seeds("b.json", &[10, 4]), storm];
        parts[0].record.worsen(SuiteVerdict::Failed, "That is a leak.");
        parts[2].record.worsen(SuiteVerdict::Threshold, "That is slow.");
        let merged = merge(parts.clone()).unwrap();
        for turn in 0..6 {
            parts.rotate_left(1);
            if turn == 3 {
                parts.swap(0, 1);
            }
            assert_eq!(merge(parts.clone()).unwrap(), merged);
        }
        let mut twice = vec![seeds("a.json", &[1]), seeds("b.json", &[1])];
        let told = merge(twice.clone()).unwrap_err();
        twice.swap(0, 1);
        assert_eq!(merge(twice).unwrap_err(), told, "errors are the same, too");
        let told = merge(vec![seeds("a.json", &[1, 2, 3]), seeds("b.json", &[3])]).unwrap_err().to_string();
        assert_eq!(told, "a.json and b.json overlap: seeds 1..3 and 3..3 of calm");
    }
}
