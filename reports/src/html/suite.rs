//! The page of a suite: did it pass, what does that prove, which runs did not, what is slow, what was never tried.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::plot::ACCENT;
use super::scale::{float, unit};
use super::series::bar;
use super::shell::{Cell, absent, command, figure, page, section, table, words};
use super::{figures, ranges, reproduced, supported};
use crate::latency::VirtualPercentiles;
use crate::record::RunRecord;
use crate::suite::{ScenarioSummary, SuiteRecord};
use crate::text::{count, grouped, missed};
use crate::verdict::{SuiteVerdict, Verdict};

/// Runs that did not pass and are listed; the rest are counted.
const BAD_MAX: usize = 50;

/// Runs that are drawn one by one, of all scenarios together.
const DOTS_MAX: usize = 4_000;

/// Dots in a row of a scenario's strip.
const STRIP: usize = 25;

/// The page. `page_of` names the file of a run's own page, relative to this one, for those that have one.
pub fn render(suite: &SuiteRecord, page_of: impl Fn(&RunRecord) -> Option<String>) -> String {
    let pages = Pages { page_of: &page_of };
    let content = html! {
        header {
            p class="eyebrow" { "Tenantry \u{b7} report of " (count(suite.summary.len() as u64, "scenario")) ", " (count(suite.seeds(), "run")) }
            h1 { (verdict(suite)) }
            (proof(suite))
            (reproduce(suite))
            (figures(&[
                ("runs passed", format!("{} of {}", grouped(suite.ended(Verdict::Pass)), grouped(suite.seeds()))),
                ("facts compared", grouped(suite.compared())),
                ("commands accepted", grouped(suite.summary.iter().map(|scenario| scenario.commands.accepted).sum())),
                ("faults that changed something", grouped(suite.summary.iter().flat_map(|scenario| scenario.faults.values()).sum())),
            ]))
        }
        main {
            (section("wrong", "What did not pass", &wrong(suite, &pages)))
            (section("scenarios", "Scenarios", &scenarios(suite, &pages)))
            (section("latency", "Latency", &latency(suite)))
            (section("coverage", "What was tried", &coverage(suite)))
            (section("build", "Build", &build(suite)))
        }
    };
    page(&format!("Tenantry: {}", suite.verdict), &content)
}

/// Where the pages of runs are.
struct Pages<'p> {
    page_of: &'p dyn Fn(&RunRecord) -> Option<String>,
}

impl Pages<'_> {
    /// `text`, as a link to the run's page if it has one.
    fn link(&self, run: &RunRecord, text: &str) -> Markup {
        match (self.page_of)(run) {
            Some(file) => html! { a href=(file) { (text) } },
            None => html! { (text) },
        }
    }
}

/// The verdict in one sentence.
fn verdict(suite: &SuiteRecord) -> String {
    let (all, ended) = (suite.seeds(), |verdict| suite.ended(verdict));
    let of = match all {
        1 => "The run".to_owned(),
        _ => format!("of {}", count(all, "run")),
    };
    let some = |number: u64, what: &str| match all {
        1 => format!("{of} {what}."),
        _ => format!("{} {of} {what}.", grouped(number)),
    };
    match suite.verdict {
        _ if all == 0 => "Nothing ran, so nothing is proved.".to_owned(),
        SuiteVerdict::Pass if all == 1 => "The run passed: every invariant held.".to_owned(),
        SuiteVerdict::Pass => format!("All {} passed: every invariant held in every one.", count(all, "run")),
        SuiteVerdict::Threshold => "Every invariant held, but a threshold was missed.".to_owned(),
        SuiteVerdict::Inconclusive if ended(Verdict::Inconclusive) > 0 => {
            some(ended(Verdict::Inconclusive), "compared too little to prove anything")
        }
        SuiteVerdict::Inconclusive => "Every run passed, but not all that was to be tried came to pass.".to_owned(),
        SuiteVerdict::Violated => some(ended(Verdict::Violated), "broke an invariant"),
        SuiteVerdict::Nondeterministic => "Two runs of one seed differed, so no result can be believed.".to_owned(),
        SuiteVerdict::Failed if ended(Verdict::Failed) > 0 => {
            some(ended(Verdict::Failed), "failed in the harness itself, so nothing it says can be believed")
        }
        SuiteVerdict::Failed => "The harness itself failed, so nothing it says can be believed.".to_owned(),
    }
}

/// What that proves, and what else there is to say.
fn proof(suite: &SuiteRecord) -> Markup {
    // A hunt says it in its notes already.
    let proved = suite.proved().filter(|proved| !suite.notes.contains(proved));
    let unproved = match suite.verdict {
        SuiteVerdict::Pass if suite.proved().is_none() && suite.seeds() > 0 => {
            Some("Fewer than three seeds of some scenario ran: too few to say how rare a failure is.")
        }
        SuiteVerdict::Violated => Some(
            "One failure is a proof: with the same scenario, seed and build it happens every time, on any machine.",
        ),
        _ => None,
    };
    let sentences = suite.reasons.iter().chain(&suite.notes).map(String::as_str);
    html! {
        @for sentence in proved.iter().map(String::as_str).chain(unproved).chain(sentences) { p { (sentence) } }
    }
}

fn reproduce(suite: &SuiteRecord) -> Markup {
    match suite.first_bad_run() {
        Some(run) => html! {
            p { "See it again, to the last event, with" }
            (command(&run.reproduce))
        },
        None => match suite.runs.first() {
            Some(run) => html! {
                p { "Every run can be seen again, to the last event; the first with" }
                (command(&run.reproduce))
            },
            None => html! {},
        },
    }
}

fn wrong(suite: &SuiteRecord, pages: &Pages) -> Markup {
    let bad = suite.bad_runs();
    let missed: Vec<String> = suite.summary.iter().filter_map(missed).collect();
    if bad.is_empty() && missed.is_empty() && suite.seeds() == suite.ended(Verdict::Pass) {
        return html! { p { "Nothing: every run passed, and all that some seed had to reach was reached." } };
    }
    let untold = (suite.seeds() - suite.ended(Verdict::Pass)).saturating_sub(bad.len().min(BAD_MAX) as u64);
    html! {
        @for sentence in &missed { p { (sentence) } }
        @for run in bad.iter().take(BAD_MAX) {
            div class="violation" {
                h3 { (pages.link(run, &format!("{}, seed {}", run.scenario, run.seed))) ": " (run.verdict) }
                p { (first_words(run)) }
                (command(&run.reproduce))
            }
        }
        @if untold > 0 { p class="soft" { (grouped(untold)) " more did not pass." } }
    }
}

/// Why a run did not pass, in its own first words.
fn first_words(run: &RunRecord) -> String {
    if let Some(error) = &run.error {
        return ranges::shortened(error, 240);
    }
    let broken = run.invariants.iter().find(|invariant| invariant.violations_total > 0);
    let blind = || run.invariants.iter().find(|invariant| invariant.compared == 0);
    match (broken, blind()) {
        (Some(broken), _) => {
            let first = broken.violations.first().map_or("", String::as_str);
            ranges::shortened(&format!("{}: {first}", broken.name), 240)
        }
        (None, Some(blind)) => format!("{} compared nothing", blind.name),
        (None, None) => "no invariant was checked".to_owned(),
    }
}

fn scenarios(suite: &SuiteRecord, pages: &Pages) -> Markup {
    if suite.summary.is_empty() {
        return html! { p { "No scenario ran." } };
    }
    let mut runs: BTreeMap<&str, Vec<&RunRecord>> = BTreeMap::new();
    for run in &suite.runs {
        runs.entry(&run.scenario).or_default().push(run);
    }
    // Of a hunt only what failed is kept: a strip of that alone would look like a disaster.
    let complete = suite.runs.len() as u64 == suite.seeds() && suite.runs.len() <= DOTS_MAX;
    let mut head = vec!["scenario", "passed", "applied", "rejected", "dead-lettered", "faults"];
    if complete {
        head.insert(1, "each seed");
    }
    let row = |scenario: &ScenarioSummary| {
        let mut row = vec![
            words(&scenario.scenario),
            Cell::Words(html! { span class=[(scenario.verdict >= Verdict::Violated).then_some("bad")] {
                (grouped(scenario.passed)) " of " (grouped(scenario.seeds))
            } }),
            Cell::Number(scenario.commands.applied),
            Cell::Number(scenario.commands.rejected),
            Cell::Number(scenario.commands.dead_lettered),
            Cell::Number(scenario.faults.values().sum()),
        ];
        if complete {
            let runs = runs.get(scenario.scenario.as_str()).map_or(&[][..], Vec::as_slice);
            row.insert(1, Cell::Words(strip(&scenario.scenario, runs, pages)));
        }
        row
    };
    let rows: Vec<_> = suite.summary.iter().map(row).collect();
    html! {
        @if complete { p { "A square for each seed: pale if it passed, filled if it did not. A square leads to its run's page where there is one." } }
        @else { p { "Only runs that did not pass are kept one by one; the others are summed up." } }
        (table("Scenarios", &head, &rows))
    }
}

/// A square for each run.
fn strip(scenario: &str, runs: &[&RunRecord], pages: &Pages) -> Markup {
    const SIDE: f64 = 7.0;
    let columns = runs.len().clamp(1, STRIP);
    let (width, height) = (SIDE * float(columns as u64), SIDE * float(runs.len().div_ceil(STRIP).max(1) as u64));
    let square = |index: usize, run: &RunRecord| {
        let (x, y) = (SIDE * float((index % STRIP) as u64), SIDE * float((index / STRIP) as u64));
        let bad = run.verdict != Verdict::Pass;
        html! {
            rect x=(unit(x + 0.5)) y=(unit(y + 0.5)) width="5.5" height="5.5" class=[bad.then_some("band")]
                fill=(if bad { ACCENT } else { "currentColor" }) fill-opacity=(if bad { "1" } else { "0.22" }) {
                title { "seed " (run.seed) ": " (run.verdict) }
            }
        }
    };
    html! {
        svg xmlns="http://www.w3.org/2000/svg" width=(unit(width)) height=(unit(height)) viewBox={ "0 0 " (unit(width)) " " (unit(height)) }
            role="img" fill="currentColor" aria-label={ (scenario) ": " (passed_of(runs)) " seeds passed" } {
            @for (index, run) in runs.iter().enumerate() {
                @match (pages.page_of)(run) {
                    Some(file) => a href=(file) { (square(index, run)) },
                    None => (square(index, run)),
                }
            }
        }
    }
}

fn passed_of(runs: &[&RunRecord]) -> String {
    let passed = runs.iter().filter(|run| run.verdict == Verdict::Pass).count();
    format!("{} of {}", grouped(passed as u64), grouped(runs.len() as u64))
}

fn latency<'s>(suite: &'s SuiteRecord) -> Markup {
    let of = |scenario: &'s ScenarioSummary| (scenario.scenario.as_str(), supported(&scenario.latency_virtual_ms));
    let rows: Vec<(&str, VirtualPercentiles)> = suite.summary.iter().map(of).collect();
    if rows.iter().all(|(_, figures)| figures.count == 0) {
        return absent("From sending a command to its effect", "No command took effect, so none has a latency.");
    }
    let numbers: Vec<_> = rows.iter().map(|(name, figures)| super::latency_row(name, figures)).collect();
    let caption = "Protocol delay in virtual time, 1 ms steps: round trips, syncs and retries that a command waits for, not speed. \
                   Dot: half were faster. Line: to the 99th percentile. Tick: the slowest.";
    let drawing = ranges::chart("by-scenario", "Latency by scenario", caption, &rows);
    figure(
        "From sending a command to its effect",
        caption,
        &drawing,
        &table("Latency by scenario", &super::LATENCY_HEAD, &numbers),
    )
}

fn coverage(suite: &SuiteRecord) -> Markup {
    html! {
        div class="charts" {
            div { (faults(suite)) }
            div { (marks(suite)) }
        }
        h3 { "Invariants" }
        (invariants(suite))
    }
}

fn faults(suite: &SuiteRecord) -> Markup {
    #[derive(Default)]
    struct Kind {
        seeds: u64,
        changed: u64,
        felt: u64,
    }
    let mut kinds: BTreeMap<&str, Kind> = BTreeMap::new();
    for scenario in &suite.summary {
        scenario.faults.iter().for_each(|(kind, number)| kinds.entry(kind).or_default().changed += number);
        scenario.fault_effects.iter().for_each(|(kind, number)| kinds.entry(kind).or_default().felt += number);
        scenario.fault_seeds.iter().for_each(|(kind, number)| kinds.entry(kind).or_default().seeds += number);
    }
    if kinds.is_empty() {
        return html! { h3 { "Faults" } p class="soft" { "No scenario has a fault: this is how the system behaves undisturbed." } };
    }
    let most = kinds.values().map(|kind| kind.felt).max().unwrap_or(0);
    let rows: Vec<_> = kinds
        .iter()
        .map(|(name, kind)| {
            let felt = bar(kind.felt, most, false);
            vec![
                words(name),
                Cell::Number(kind.seeds),
                Cell::Number(kind.changed),
                Cell::Number(kind.felt),
                Cell::Words(felt),
            ]
        })
        .collect();
    html! {
        h3 { "Faults" }
        p class="soft" { "Felt: had a message, a commit or a connection in its way." }
        (table("Faults", &["kind", "seeds", "took hold", "felt", ""], &rows))
    }
}

fn marks(suite: &SuiteRecord) -> Markup {
    let mut marks: BTreeMap<&str, u64> = BTreeMap::new();
    for scenario in &suite.summary {
        scenario.marks.iter().for_each(|(mark, times)| *marks.entry(mark).or_default() += times);
        scenario.sometimes.iter().for_each(|mark| *marks.entry(mark).or_default() += 0);
    }
    // One scenario is not meant to reach all there is.
    if suite.summary.len() > 1 {
        suite.marks_never.iter().for_each(|mark| *marks.entry(mark).or_default() += 0);
    }
    let demanded = |mark: &str| suite.summary.iter().any(|scenario| scenario.sometimes.iter().any(|name| name == mark));
    if marks.is_empty() {
        return html! { h3 { "Marks" } p class="soft" { "No scenario names a mark, and none was reached." } };
    }
    let most = marks.values().max().copied().unwrap_or(0);
    let reached = |mark: &str, times: u64| match times {
        0 if demanded(mark) => html! { span class="bad" { "never" } },
        0 => html! { span class="soft" { "never" } },
        _ => bar(times, most, false),
    };
    let rows: Vec<_> = marks
        .iter()
        .map(|(mark, times)| vec![words(mark), Cell::Number(*times), Cell::Words(reached(mark, *times))])
        .collect();
    html! {
        h3 { "Marks" }
        p class="soft" { "States worth having been in, and how often runs were." }
        (table("Marks", &["mark", "times", ""], &rows))
    }
}

fn invariants(suite: &SuiteRecord) -> Markup {
    let mut compared: BTreeMap<&str, u64> = BTreeMap::new();
    for (name, number) in suite.summary.iter().flat_map(|scenario| &scenario.compared) {
        *compared.entry(name).or_default() += number;
    }
    let mut broken: BTreeMap<&str, u64> = BTreeMap::new();
    for invariant in suite.runs.iter().flat_map(|run| &run.invariants).filter(|found| found.violations_total > 0) {
        *broken.entry(&invariant.name).or_default() += 1;
    }
    if compared.is_empty() {
        return html! { p class="soft" { "No invariant was checked." } };
    }
    let rows: Vec<_> = compared
        .iter()
        .map(|(name, number)| {
            let seeds = match broken.get(name) {
                Some(seeds) => html! { span class="bad" { "broken in " (count(*seeds, "run")) } },
                None if *number == 0 => html! { span class="bad" { "compared nothing" } },
                None => html! { "held" },
            };
            vec![words(name), Cell::Number(*number), Cell::Words(seeds)]
        })
        .collect();
    table("Invariants", &["invariant", "facts compared", "and it"], &rows)
}

fn build(suite: &SuiteRecord) -> Markup {
    let mut rows = reproduced::build_rows(&suite.build);
    rows.push(vec![words("exit code"), words(suite.exit_code.to_string())]);
    if let Some(shard) = &suite.shard {
        rows.push(vec![words("part"), words(format!("{} of {} of {}", shard.index, shard.of, shard.whole))]);
    }
    for scenario in &suite.summary {
        if let Some(source) = &scenario.source {
            rows.push(vec![words(&scenario.scenario), words(format!("{}, digest {}", source.file, source.digest))]);
        }
    }
    table("Build", &["", ""], &rows)
}
