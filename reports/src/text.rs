//! A suite as plain text, for people at a terminal.
//!
//! The first line is the verdict; then one line per scenario; then whatever is wrong, in words. If a run did not pass,
//! the last line is the command that reproduces the first that matters, ready to be copied. No colours: whoever owns
//! the terminal adds them.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::latency::LatencySummary;
use crate::record::{InvariantRecord, RunRecord};
use crate::suite::{ScenarioSummary, SuiteRecord};
use crate::verdict::{SuiteVerdict, Verdict};

/// Runs told in detail; the rest are counted. One bug often breaks every seed, and says the same each time.
pub(crate) const DETAILED_RUNS: usize = 10;

/// The text, with a newline at its end.
pub fn render(suite: &SuiteRecord) -> String {
    let mut out = String::new();
    headline(suite, &mut out);
    if !suite.summary.is_empty() {
        out.push('\n');
        table(&suite.summary, &mut out);
    }
    never_reached(&suite.summary, &mut out);
    if let Some(told) = marks(suite) {
        out.extend(["\n", &told]);
    }
    details(suite, &mut out);
    if let Some(run) = suite.first_bad_run() {
        let _ = write!(out, "\nReproduce it with:\n{}\n", run.reproduce);
    }
    out
}

/// The verdict in lines: what ran and how it ended.
pub(crate) fn headline(suite: &SuiteRecord, out: &mut String) {
    let runs = count(suite.seeds(), "run");
    let scenarios = count(suite.summary.len() as u64, "scenario");
    let seeds: BTreeSet<u64> = suite.summary.iter().map(|scenario| scenario.seeds).collect();
    let what = match seeds.iter().next() {
        Some(&each) if seeds.len() == 1 => format!("{scenarios} x {}", count(each, "seed")),
        _ => format!("{scenarios}, {runs}"),
    };
    let counted = [
        (Verdict::Pass, "passed"),
        (Verdict::Violated, "violated"),
        (Verdict::Inconclusive, "inconclusive"),
        (Verdict::Failed, "failed"),
    ]
    .into_iter()
    .map(|(verdict, word)| (suite.ended(verdict), word))
    .filter(|(number, word)| *number > 0 || *word == "passed")
    .map(|(number, word)| format!("{} {word}", grouped(number)))
    .collect::<Vec<_>>()
    .join(", ");
    let invariants: BTreeSet<&String> = suite.summary.iter().flat_map(|scenario| scenario.compared.keys()).collect();
    let (compared, over) = (count(suite.compared(), "comparison"), count(invariants.len() as u64, "invariant"));
    let _ = writeln!(out, "{what}: {counted}. {compared} over {over}.");
    if suite.verdict != SuiteVerdict::Pass {
        let _ = writeln!(out, "Verdict: {} (exit code {}).", suite.verdict, suite.exit_code);
    }
    let sentences = suite.reasons.iter().chain(&suite.notes);
    sentences.for_each(|sentence| out.extend([sentence.as_str(), "\n"]));
}

/// Columns: the first and last are words and stand left, those between are numbers and stand right.
pub(crate) const HEADER: [&str; 10] =
    ["scenario", "passed", "applied", "rejected", "dead-lettered", "p50 ms", "p90 ms", "p99 ms", "max ms", "faults"];

fn table(scenarios: &[ScenarioSummary], out: &mut String) {
    let rows: Vec<[String; 10]> = std::iter::once(HEADER.map(str::to_owned)).chain(scenarios.iter().map(row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: [usize; 10] = std::array::from_fn(width);
    for row in &rows {
        let mut line = format!("{:<1$}", row[0], widths[0]);
        for column in 1..HEADER.len() - 1 {
            let _ = write!(line, "  {:>1$}", row[column], widths[column]);
        }
        let _ = write!(line, "  {}", row[HEADER.len() - 1]);
        out.extend([line.trim_end(), "\n"]);
    }
    out.push_str("Latencies are virtual: protocol delay from sending to effect, not speed.\n");
}

/// A scenario's cells under [`HEADER`].
pub(crate) fn row(scenario: &ScenarioSummary) -> [String; 10] {
    let LatencySummary { count, p50, p90, p99, max, .. } = scenario.latency_virtual_ms;
    // A latency of nothing is no latency of zero.
    let ms = |value: u64| if count == 0 { "-".to_owned() } else { grouped(value) };
    let faults: Vec<_> = scenario.faults.iter().map(|(kind, number)| format!("{kind} {}", grouped(*number))).collect();
    [
        scenario.scenario.clone(),
        format!("{}/{}", grouped(scenario.passed), grouped(scenario.seeds)),
        grouped(scenario.commands.applied),
        grouped(scenario.commands.rejected),
        grouped(scenario.commands.dead_lettered),
        ms(p50),
        ms(p90),
        ms(p99),
        ms(max),
        if faults.is_empty() { "none".to_owned() } else { faults.join(", ") },
    ]
}

fn never_reached(scenarios: &[ScenarioSummary], out: &mut String) {
    scenarios.iter().filter_map(missed).for_each(|sentence| out.extend(["\n", &sentence, "\n"]));
}

/// Which marks a scenario demands and no seed reached, and which faults nobody felt in any, in a sentence.
pub(crate) fn missed(scenario: &ScenarioSummary) -> Option<String> {
    let told = [
        ("no seed ever reached ", &scenario.sometimes_never),
        ("faults that nobody ever felt: ", &scenario.faults_never_felt),
    ];
    let told =
        told.iter().filter(|(_, names)| !names.is_empty()).map(|(what, names)| format!("{what}{}", names.join(", ")));
    let told: Vec<_> = told.collect();
    (!told.is_empty()).then(|| format!("{}: {}.", scenario.scenario, told.join("; ")))
}

/// Letters of a line that lists marks.
const MARKS_LINE: usize = 120;

/// How many marks the runs of several scenarios reached, and which none did, in lines; how often each was is in the record. One
/// scenario is not meant to reach all there is.
pub(crate) fn marks(suite: &SuiteRecord) -> Option<String> {
    if suite.marks.is_empty() || suite.summary.len() < 2 {
        return None;
    }
    let (all, never) = (suite.marks.len(), &suite.marks_never);
    let mut told = format!("Marks: {} of {all} reached", all - never.len());
    let mut length = told.len();
    for (index, name) in never.iter().enumerate() {
        told += if index == 0 { "; never" } else { "," };
        if length + name.len() > MARKS_LINE {
            (told, length) = (told + "\n ", 0);
        }
        told.extend([" ", name]);
        length += name.len() + 2;
    }
    Some(told + ".\n")
}

fn details(suite: &SuiteRecord, out: &mut String) {
    for run in suite.bad_runs().into_iter().take(DETAILED_RUNS) {
        let _ = write!(out, "\n{}, seed {}: {}\n", run.scenario, run.seed, run.verdict);
        run_details(run).lines().for_each(|line| out.extend(["  ", line, "\n"]));
    }
    if let Some(untold) = untold_runs(suite) {
        out.extend(["\n", &untold, "\n"]);
    }
}

/// How many runs did not pass beside those that are told in detail, in a sentence.
pub(crate) fn untold_runs(suite: &SuiteRecord) -> Option<String> {
    let untold = (suite.seeds() - suite.ended(Verdict::Pass)).saturating_sub(DETAILED_RUNS as u64);
    (untold > 0).then(|| format!("{} more did not pass.", grouped(untold)))
}

/// What an invariant did not look at, in lines.
pub(crate) fn skipped(invariant: &InvariantRecord) -> String {
    invariant.skipped.iter().map(|what| format!("{} skipped {what}\n", invariant.name)).collect()
}

/// What is wrong with a run, in lines.
pub(crate) fn run_details(run: &RunRecord) -> String {
    let mut out = String::new();
    if let Some(error) = &run.error {
        let _ = writeln!(out, "{error}");
    }
    if let Some(at_ms) = run.violated_at_ms {
        let over = if run.cut_short { ", and over with that" } else { "" };
        let _ = writeln!(out, "first seen to be violated at {} ms{over}", grouped(at_ms));
    }
    for invariant in &run.invariants {
        if invariant.violations_total > 0 {
            let (times, of) = (count(invariant.violations_total, "time"), count(invariant.compared, "comparison"));
            let _ = writeln!(out, "{} was violated {times} in {of}:", invariant.name);
            invariant.violations.iter().for_each(|words| out.extend(["  ", words, "\n"]));
            let untold = invariant.violations_total.saturating_sub(invariant.violations.len() as u64);
            if untold > 0 {
                let _ = writeln!(out, "  and {} more", grouped(untold));
            }
        } else if invariant.compared == 0 {
            let _ = writeln!(out, "{} compared nothing", invariant.name);
        }
        out.push_str(&skipped(invariant));
    }
    if run.invariants.is_empty() && run.error.is_none() {
        out.push_str("no invariant was checked\n");
    }
    out
}

/// A number and its noun: `1 seed`, `1,200 seeds`.
#[must_use]
pub fn count(number: u64, noun: &str) -> String {
    format!("{} {noun}{}", grouped(number), if number == 1 { "" } else { "s" })
}

/// A number with a comma between thousands: `1,200`.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::samples;

    #[test]
    fn a_passing_suite_reads_like_this() {
        insta::assert_snapshot!(render(&samples::passing_suite()));
    }

    #[test]
    fn a_failing_suite_reads_like_this() {
        insta::assert_snapshot!(render(&samples::failing_suite()));
    }

    #[test]
    fn the_last_line_of_a_failure_is_the_command_that_reproduces_it() {
        let text = render(&samples::failing_suite());
        assert_eq!(text.lines().last(), Some("tenantry run partition_consumer_ledger --seed 7"));
    }

    #[test]
    fn of_many_broken_runs_the_first_are_told_and_the_rest_counted() {
        let runs = (0..13).map(|seed| samples::failed("storm", seed)).collect();
        let text = render(&SuiteRecord::new(samples::build(), runs, &BTreeMap::new()));
        assert_eq!(text.matches("broker panicked").count(), DETAILED_RUNS, "{text}");
        assert!(text.contains("\n3 more did not pass.\n"), "{text}");
    }

    #[test]
    fn every_broken_scenario_is_told_before_another_seed_of_the_first() {
        let runs = (0..12).map(|seed| samples::failed("calm", seed)).chain([samples::failed("storm", 1)]).collect();
        let text = render(&SuiteRecord::new(samples::build(), runs, &BTreeMap::new()));
        let at = |what: &str| text.find(what).unwrap_or_else(|| panic!("{what} is not told in {text}"));
        assert!(at("calm, seed 0") < at("storm, seed 1") && at("storm, seed 1") < at("calm, seed 1"), "{text}");
    }

    #[test]
    fn a_suite_of_nothing_says_so() {
        let text = render(&SuiteRecord::new(samples::build(), Vec::new(), &BTreeMap::new()));
        let expected = "0 scenarios, 0 runs: 0 passed. 0 comparisons over 0 invariants.\n\
                        Verdict: inconclusive (exit code 4).\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn thousands_are_grouped() {
        assert_eq!([0, 999, 1_000, 412_000, 1_234_567].map(grouped), ["0", "999", "1,000", "412,000", "1,234,567"]);
    }
}
