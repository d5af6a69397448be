//! `tenantry replay`: a violation once more, told as a story, and whether it is the same, another, or gone.
//!
//! How near it can be said where a run parts from the one that was recorded depends on what was kept of that. With its
//! events (`--against`) the first that differs is named, with both sides. A regression and a record have a chain of
//! digests: with it so many events at the beginning are known to be the same, the first that differs is one of the few up to
//! the next link, and this run's are told. With its digest alone it is known that they part, and no more. All that holds
//! in another build, too, which may have mended the violation or merely moved an event.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use serde::Serialize;
use tenantry_reports::record::RunRecord;
use tenantry_reports::suite::{Source, SuiteRecord, VERSION};
use tenantry_reports::verdict::{SuiteVerdict, Verdict};
use tenantry_sim::bugs::Bug;
use tenantry_sim::engine::chain::Chain;
use tenantry_sim::engine::double::Parting;
use tenantry_sim::engine::trace::TraceEntry;
use tenantry_sim::tenantry::early::Until;
use tenantry_sim::tenantry::inevitable::{Moment, inevitable_from, over_time};
use tenantry_sim::tenantry::neighbour::{Neighbour, nearest};
use tenantry_sim::tenantry::run::{Ended, Setup};
use tenantry_sim::tenantry::shrink::violates;
use tenantry_sim::tenantry::story::{shortened, tell};

use super::find::{Found, find_one};
use super::folder::Folder;
use super::output::{TO_THE_END, check_files, print, reproduce, setup, threads, write};
use super::run::write_trace;
use super::shrink::{broken, entries, invariant_named, seed_of};

/// Letters of one line of the text; the JSON has all.
const LINE_MAX: usize = 400;

/// Plans of at most so many entries are set beside their neighbours unasked: each is a run.
const NEIGHBOURS_MAX: usize = 12;

/// What to run again.
#[derive(clap::Args)]
pub(super) struct Replay {
    /// A regression's file, a scenario's name or file, or a record (*.json) that `run` or `hunt` wrote.
    what: String,
    /// Which seed: of a scenario that has none of its own, or of a record with several runs.
    #[arg(long)]
    seed: Option<u64>,
    /// With this bug planted, as a record may say of itself: see `tenantry bugs --list`.
    #[arg(long, value_name = "NAME", value_parser = super::bugs::named(), hide_possible_values = true)]
    bug: Option<Bug>,
    /// Run on after a violation; a record says of itself whether it did.
    #[arg(long)]
    to_the_end: bool,
    /// The invariant to tell of [default: the one that a regression guards, or the first that is broken].
    #[arg(long, value_name = "NAME", value_parser = invariant_named(), hide_possible_values = true)]
    invariant: Option<String>,
    /// Compare with the events of an earlier run that `--trace` wrote.
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// Write every event, a line of JSON each, to this file.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Draw the future anew from several moments on, and say when the violation became inevitable.
    #[arg(long)]
    inevitable: bool,
    /// Set it beside the nearest run that passes, also if its plan is long.
    #[arg(long)]
    neighbour: bool,
    /// Runs at once [default: as many as there are cores].
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// Write what was found as JSON to this file; `-` is stdout, instead of the text.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    folder: Folder,
}

/// What is run again, and what was recorded of it.
struct Recorded {
    found: Found,
    seed: u64,
    digest: Option<String>,
    /// The digests of its beginnings.
    chain: Option<Chain>,
    /// The invariant that was broken.
    invariant: Option<String>,
    /// What was planted.
    bug: Option<Bug>,
    /// In which way its scenario is another by now.
    other: Option<String>,
    /// Whether it went on after a violation.
    to_the_end: bool,
}

/// How it ended this time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    /// As before, to the last event.
    Same,
    /// Otherwise than before.
    Diverged,
    /// The violation is gone, and there is no other.
    Fixed,
    /// The violation is gone, but something else is wrong now.
    Otherwise,
    /// Nothing is violated, and nothing was said to be.
    Passes,
}

/// All that is told.
#[derive(Serialize)]
struct Told {
    scenario: String,
    seed: u64,
    invariant: Option<String>,
    /// In which way the scenario is another than the one that was recorded; absent if it is the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    scenario_changed: Option<String>,
    outcome: Outcome,
    verdict: Verdict,
    digest: String,
    recorded_digest: Option<String>,
    /// Where it parted from the earlier run, if its events are known.
    diverged_at: Option<String>,
    /// Where it did, if only the digests of the earlier run's beginnings are.
    diverged_within: Option<Within>,
    plan: Vec<String>,
    story: Vec<String>,
    neighbour: Option<Neighbour>,
    inevitable: Vec<Moment>,
    inevitable_from_ms: Option<u64>,
    exit_code: u8,
}

/// Between which events this run parted from one of which there are no events, but a chain of digests.
#[derive(Serialize)]
struct Within {
    /// So many events at the beginning are the same.
    same: u64,
    /// The first that differs comes before this one; none if it comes after all that the chain tells of.
    before: Option<u64>,
    /// What this run has from there on.
    events: Vec<String>,
}

impl Replay {
    pub(super) fn execute(self) -> Result<u8, miette::Report> {
        let recorded = self.recorded()?;
        let against = self.against.as_deref().map(read_trace).transpose()?;
        check_files(&[("--json", self.json.as_deref()), ("--trace", self.trace.as_deref())], &[&self.what])?;
        let threads = threads(self.jobs);
        let bug = self.bug.or(recorded.bug);
        let to_the_end = recorded.to_the_end || self.to_the_end;
        let setup = setup(&recorded.found, recorded.seed, bug, to_the_end);
        let asked = self.invariant.clone().filter(|_| recorded.digest.is_none());
        let setup = Setup { until: asked.map_or(setup.until.clone(), Until::Violation), ..setup };
        self.folder.check()?;
        let mut ended = setup.run(true);
        ended.finished.record.reproduce = reproduce(&recorded.found, recorded.seed, bug, to_the_end);
        self.folder.write_one(&recorded.found, &setup, &ended)?;
        let (record, trace) = (&ended.finished.record, &ended.trace);
        if let Some(path) = &self.trace {
            write_trace(path, trace)?;
        }
        let invariant = self.invariant.clone().or_else(|| recorded.invariant.clone()).or_else(|| broken(record, None));
        // A run that never broke it can't be said to be mended.
        let was_broken = recorded.invariant.is_some() && recorded.invariant == invariant;
        let violated = invariant.as_deref().filter(|invariant| violates(record, invariant));
        let parting = against.as_ref().and_then(|events| parting(events, trace));
        // That a run is the same twice is what all the rest stands on.
        let differs = setup.differs(&record.digest);
        let is_other = recorded.digest.as_ref().is_some_and(|digest| *digest != record.digest);
        let outcome = match violated {
            _ if differs.is_some() => Outcome::Diverged,
            None if was_broken && record.verdict >= Verdict::Violated => Outcome::Otherwise,
            None if was_broken => Outcome::Fixed,
            _ if parting.is_some() || is_other => Outcome::Diverged,
            None if recorded.digest.is_none() && against.is_none() => Outcome::Passes,
            _ => Outcome::Same,
        };
        let within = recorded.chain.as_ref().filter(|_| is_other).map(|chain| within(chain, &ended));
        let plan = entries(&setup);
        // Runs beside it are over at the violation that is looked into, not at another.
        let until = invariant.clone().map_or(setup.until.clone(), Until::Violation);
        let setup = Setup { until, ..setup };
        let beside = violated.filter(|_| self.neighbour || plan.len() <= NEIGHBOURS_MAX);
        let ahead = violated.filter(|_| self.inevitable);
        let inevitable = ahead.map_or(Vec::new(), |invariant| over_time(&setup, invariant, record.virtual_ms, threads));
        let told = Told {
            scenario: record.scenario.clone(),
            seed: recorded.seed,
            outcome,
            verdict: record.verdict,
            digest: record.digest.clone(),
            recorded_digest: recorded.digest,
            scenario_changed: recorded.other,
            diverged_within: within.filter(|_| differs.is_none() && parting.is_none()),
            diverged_at: differs.or(parting),
            story: violated.map_or(Vec::new(), |invariant| tell(&setup, trace, record, invariant)),
            neighbour: beside.and_then(|invariant| nearest(&setup, trace, invariant, threads)),
            inevitable_from_ms: inevitable_from(&inevitable),
            inevitable,
            plan,
            exit_code: match outcome {
                Outcome::Diverged => SuiteVerdict::Nondeterministic.exit_code(),
                Outcome::Fixed => 0,
                Outcome::Same | Outcome::Passes | Outcome::Otherwise => record.verdict.exit_code(),
            },
            invariant,
        };
        let document = serde_json::to_string_pretty(&told).expect("our own types become JSON") + "\n";
        match self.json.as_deref() {
            Some(path) if path == Path::new("-") => print(&document)?,
            path => {
                if let Some(path) = path {
                    write(path, document.as_bytes())?;
                }
                print(&text(&told))?;
            }
        }
        Ok(told.exit_code)
    }

    fn recorded(&self) -> Result<Recorded, miette::Report> {
        if Path::new(&self.what).extension().is_some_and(|extension| extension == "json") {
            return self.of_record();
        }
        let found = find_one(&self.what)?;
        let seed = seed_of(&found, self.seed)?;
        let spelt = found.scenario.plan.as_ref();
        let (digest, invariant) =
            (spelt.and_then(|spelt| spelt.digest.clone()), spelt.and_then(|spelt| spelt.guards.clone()));
        let chain = spelt.and_then(|spelt| spelt.chain.clone());
        Ok(Recorded { found, seed, digest, chain, invariant, bug: None, to_the_end: false, other: None })
    }

    fn of_record(&self) -> Result<Recorded, miette::Report> {
        let text = std::fs::read_to_string(&self.what)
            .map_err(|error| miette::miette!("failed to read {}: {error}", self.what))?;
        let suite: SuiteRecord = serde_json::from_str(&text).map_err(|error| {
            miette::miette!(help = "give what `tenantry run --json FILE` wrote", "{} is no record: {error}", self.what)
        })?;
        if suite.version != VERSION {
            let (what, is) = (&self.what, suite.version);
            return Err(miette::miette!("{what} is a record of version {is}; this build reads version {VERSION}"));
        }
        let wanted: Vec<&RunRecord> = match self.seed {
            Some(seed) => suite.runs.iter().filter(|run| run.seed == seed).collect(),
            None => suite.runs.iter().filter(|run| run.verdict >= Verdict::Violated).collect(),
        };
        let run = match wanted[..] {
            [run] => run,
            [first, _, ..] if self.seed.is_none() => first,
            [] => {
                let help = "give the --seed of a run that it has";
                let none = if self.seed.is_some() { "has no run of that seed" } else { "has no run that failed" };
                return Err(miette::miette!(help = help, "{} {none}", self.what));
            }
            _ => return Err(miette::miette!("{} has that seed in several scenarios: name one instead", self.what)),
        };
        // A scenario that is not the project's is called by its file in the line that reproduces it.
        let after = |word: &str| run.reproduce.split_whitespace().skip_while(|said| *said != word).nth(1);
        let (called, bug) = (after("run"), after("--bug").and_then(Bug::find));
        let source = suite.summary.iter().find(|sum| sum.scenario == run.scenario).and_then(|sum| sum.source.as_ref());
        let file = source.map(|source| source.file.as_str()).filter(|file| Path::new(file).is_file());
        let found = match file {
            Some(file) => find_one(file)?,
            None => find_one(&run.scenario).or_else(|error| match called {
                Some(file) => find_one(file.trim_matches('\'')),
                None => Err(error),
            })?,
        };
        let other = source.and_then(|source| other(source, &found.source));
        let (digest, invariant) = (Some(run.digest.clone()), broken(run, None));
        let to_the_end = run.reproduce.contains(TO_THE_END);
        let chain = run.digest_chain.as_ref().and_then(|chain| chain.parse().ok());
        Ok(Recorded { found, seed: run.seed, digest, chain, invariant, bug, to_the_end, other })
    }
}

/// In which way the scenario `is` another than the one that a record `was` made from, if it is: then nothing that differs in
/// the run says anything of the system.
fn other(was: &Source, is: &Source) -> Option<String> {
    let (Source { file: from, digest: before }, Source { file, digest }) = (was, is);
    match (before == digest, from == file) {
        (true, _) => None,
        (false, true) => Some(format!("the scenario {file} has changed since the record was made")),
        (false, false) => Some(format!("the record was made from {from}, and this is another scenario: {file}")),
    }
}

/// The events that `--trace` wrote, a line each.
fn read_trace(path: &Path) -> Result<Vec<String>, miette::Report> {
    let text =
        std::fs::read_to_string(path).map_err(|error| miette::miette!("failed to read {}: {error}", path.display()))?;
    let is_event = |line: &&str| {
        let event: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
        ["at_us", "host", "kind", "detail"].iter().all(|key| event.get(key).is_some())
    };
    let wrong = text.lines().position(|line| !is_event(&line)).or(text.is_empty().then_some(0));
    if let Some(line) = wrong {
        let help = "give what `tenantry run --trace FILE` wrote";
        return Err(miette::miette!(help = help, "{} is no trace: line {} is no event", path.display(), line + 1));
    }
    Ok(text.lines().map(str::to_owned).collect())
}

/// Where this run parts from the one whose events are in those lines.
fn parting(against: &[String], trace: &[TraceEntry]) -> Option<String> {
    let line = |event| serde_json::to_string(event).expect("our own types become JSON");
    let lines: Vec<String> = trace.iter().map(line).collect();
    Parting::of(against, &lines).map(|parting| parting.to_string())
}

/// Events that are told of where two runs part.
const WITHIN_MAX: usize = 24;

/// Where this run parts from the one that had `chain`: as near as the digests tell.
fn within(chain: &Chain, ended: &Ended) -> Within {
    let range = ended.chain.parting(chain);
    let same = range.as_ref().map_or_else(|| ended.chain.shared(chain), |range| range.start);
    let before = range.map(|range| range.end);
    let count = before.map_or(WITHIN_MAX, |before| (before - same) as usize);
    let events = ended.trace.iter().skip(same as usize).take(count).map(ToString::to_string).collect();
    Within { same, before, events }
}

fn text(told: &Told) -> String {
    let mut text = format!("{} seed {}", told.scenario, told.seed);
    match (&told.invariant, told.story.is_empty()) {
        (Some(invariant), false) => text += &format!(" violates {invariant}:\n"),
        (Some(invariant), true) => text += &format!(" does not violate {invariant}.\n"),
        (None, _) => text += " violates nothing.\n",
    }
    told.story.iter().for_each(|line| text += &format!("{}\n", shortened(line, LINE_MAX)));
    if let Some(Neighbour { without, event, at_ms, only_here, only_there }) = &told.neighbour {
        text += &format!("\nWithout \"{without}\" it passes. The two part at event {event}, at {at_ms} ms.\n");
        for (side, events) in [("only in the run that fails", only_here), ("only in the run that passes", only_there)] {
            text += &format!("  {side}:\n");
            events.iter().for_each(|event| text += &format!("    {event}\n"));
            if events.is_empty() {
                text += "    nothing but what happens at another time in the other\n";
            }
        }
    }
    if !told.inevitable.is_empty() {
        text += "\nWith the future drawn anew from a moment on:\n";
        for Moment { at_ms, violated, of } in &told.inevitable {
            text += &format!("{at_ms:>7} ms  {violated:>2} of {of} violate it\n");
        }
        text += &match told.inevitable_from_ms {
            Some(at_ms) => format!("It is inevitable from {at_ms} ms on.\n"),
            None => "It never becomes inevitable.\n".to_owned(),
        };
    }
    text += "\n";
    let digests = match &told.recorded_digest {
        Some(recorded) if *recorded != told.digest => format!(" Its digest is {}, and was {recorded}.", told.digest),
        _ => String::new(),
    };
    if let Some(other) = &told.scenario_changed {
        text += &format!("Mind that {other}.\n");
    }
    text += &match (told.outcome, &told.diverged_at) {
        (Outcome::Same, _) => "same: as before, to the last event.\n".to_owned(),
        (Outcome::Fixed, _) => format!("fixed: the violation is gone.{digests}\n{}", within_text(told)),
        (Outcome::Otherwise, _) => {
            let now = told.verdict;
            format!("otherwise: that violation is gone, but the run is {now} now.{digests}\n{}", within_text(told))
        }
        (Outcome::Passes, _) if told.verdict == Verdict::Pass => "It passes.\n".to_owned(),
        (Outcome::Passes, _) => format!("It is {}, which nobody had said it was not.\n", told.verdict),
        (Outcome::Diverged, Some(parting)) => format!("diverged at {parting}.{digests}\n"),
        (Outcome::Diverged, None) => {
            let against = "For the first event that differs give its events to --against.";
            format!("diverged.{digests} {against}\n{}", within_text(told))
        }
    };
    text
}

fn within_text(told: &Told) -> String {
    let Some(Within { same, before, events }) = &told.diverged_within else { return String::new() };
    let until = before.map_or_else(|| "on".to_owned(), |before| format!("to {}", before - 1));
    let mut text =
        format!("The first {same} events are the same; one of those from {same} {until} is the first that differs.\n");
    let told = events.iter().take(WITHIN_MAX);
    told.for_each(|event| text += &format!("    {}\n", shortened(event, LINE_MAX)));
    let untold = events.len().saturating_sub(WITHIN_MAX);
    if untold > 0 {
        text += &format!("    and {untold} more; --trace FILE writes all\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_another_scenario_is_told_from_one_whose_file_was_moved() {
        let source = |file: &str, digest: &str| Source { file: file.into(), digest: digest.into() };
        let was = source("scenarios/a.toml", "1");
        assert_eq!((other(&was, &was), other(&was, &source("b/a.toml", "1"))), (None, None));
        let changed = other(&was, &source("scenarios/a.toml", "2")).unwrap();
        assert_eq!(changed, "the scenario scenarios/a.toml has changed since the record was made");
        let another = other(&was, &source("b/a.toml", "2")).unwrap();
        assert_eq!(another, "the record was made from scenarios/a.toml, and this is another scenario: b/a.toml");
    }
}
