//! `tenantry replay`: a violation once more, told as a story, and whether it is the same, another, or gone.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use serde::Serialize;
use tenantry_reports::record::RunRecord;
use tenantry_reports::suite::{Source, SuiteRecord, VERSION};
use tenantry_reports::verdict::{SuiteVerdict, Verdict};
use tenantry_sim::bugs::Bug;
use tenantry_sim::engine::double::Parting;
use tenantry_sim::engine::trace::TraceEntry;
use tenantry_sim::tenantry::inevitable::{Moment, inevitable_from, over_time};
use tenantry_sim::tenantry::neighbour::{Neighbour, nearest};
use tenantry_sim::tenantry::run::Setup;
use tenantry_sim::tenantry::shrink::violates;
use tenantry_sim::tenantry::story::{shortened, tell};

use super::find::{Found, find_one};
use super::folder::Folder;
use super::output::{check_files, print, reproduce, threads, write};
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
    /// The invariant that was broken.
    invariant: Option<String>,
    /// What was planted.
    bug: Option<Bug>,
    /// In which way its scenario is another by now.
    other: Option<String>,
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
    plan: Vec<String>,
    story: Vec<String>,
    neighbour: Option<Neighbour>,
    inevitable: Vec<Moment>,
    inevitable_from_ms: Option<u64>,
    exit_code: u8,
}

impl Replay {
    pub(super) fn execute(self) -> Result<u8, miette::Report> {
        let recorded = self.recorded()?;
        let against = self.against.as_deref().map(read_trace).transpose()?;
        check_files(&[("--json", self.json.as_deref()), ("--trace", self.trace.as_deref())], &[&self.what])?;
        let threads = threads(self.jobs);
        let bug = self.bug.or(recorded.bug);
        let setup = Setup::expand(&recorded.found.scenario, recorded.seed).with(bug);
        self.folder.check()?;
        let mut ended = setup.run(true);
        ended.finished.record.reproduce = reproduce(&recorded.found, recorded.seed, bug);
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
        let plan = entries(&setup);
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
        Ok(Recorded { found, seed, digest, invariant, bug: None, other: None })
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
        let invariant = broken(run, None);
        Ok(Recorded { found, seed: run.seed, digest: Some(run.digest.clone()), invariant, bug, other })
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
        (Outcome::Fixed, _) => format!("fixed: the violation is gone.{digests}\n"),
        (Outcome::Otherwise, _) => {
            format!("otherwise: that violation is gone, but the run is {} now.{digests}\n", told.verdict)
        }
        (Outcome::Passes, _) if told.verdict == Verdict::Pass => "It passes.\n".to_owned(),
        (Outcome::Passes, _) => format!("It is {}, which nobody had said it was not.\n", told.verdict),
        (Outcome::Diverged, Some(parting)) => format!("diverged at {parting}.{digests}\n"),
        (Outcome::Diverged, None) => {
            format!("diverged.{digests} For the first event that differs give its events to --against.\n")
        }
    };
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
