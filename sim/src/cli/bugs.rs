//! `tenantry bugs`: hunts every planted bug, shows which promise each was found by, and that nothing rings without one.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use tenantry_reports::text::grouped;
use tenantry_reports::verdict::{SuiteVerdict, Verdict};
use tenantry_sim::bugs::{Bug, CHAOS, Hunted, Limits, hunt};
use tenantry_sim::engine::shrink::Limits as Budget;
use tenantry_sim::engine::suite::run_all;
use tenantry_sim::tenantry::run::Setup;
use tenantry_sim::tenantry::section::Scenario;
use tenantry_sim::tenantry::shrink::shrink;

use super::find::{Found, find};
use super::named::Named;
use super::output::{check_files, print, threads, write};

/// What stands in the place of a figure that there is none of.
const NONE: &str = "-";

/// A run that takes longer, in real time, is given up.
const HANG: Duration = Duration::from_secs(300);

/// A finding of so few entries is small. A race may leave more behind: taking anything away makes all else come sooner, and
/// what met no longer meets. Then another finding often does better.
const SMALL: usize = 5;

/// So many findings of a bug are made small, at most, until one is.
const FINDINGS_MAX: usize = 3;

/// Which bugs to hunt, and how far.
#[derive(clap::Args)]
pub(super) struct Bugs {
    /// Names of bugs; all of them without any.
    #[arg(value_parser = named(), hide_possible_values = true)]
    bugs: Vec<Bug>,
    /// Give a bug up after so many seeds.
    #[arg(long, value_name = "N", default_value = "200")]
    seeds: NonZeroU64,
    /// Hunt in this scenario [default: each bug's own, which is `chaos` for most].
    #[arg(long, value_name = "SCENARIO")]
    scenario: Option<String>,
    /// So many seeds without any bug, none of which may find anything.
    #[arg(long, value_name = "N", default_value_t = 200)]
    clean: u64,
    /// Runs that making one finding small may take; 0 leaves it as it is. Where more than 5 entries are left of one, the next
    /// is tried, up to three.
    #[arg(long, value_name = "N", default_value_t = 300)]
    shrink: u64,
    /// Bugs at once [default: as many as there are cores].
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// Write the result as JSON to this file; `-` is stdout, instead of the text.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Only list the bugs.
    #[arg(long)]
    list: bool,
}

/// Finds a bug by its name.
pub(super) fn named() -> Named<Bug> {
    let names = Bug::all().chain(Bug::elsewhere()).map(Bug::name).collect();
    Named { sort: "bug", names, find: Bug::find }
}

/// A hunt that is over.
struct Told {
    hunted: Hunted,
    /// Faults and acts that are left, and how many there were; none if it was not made small.
    shrunk: Option<(usize, usize)>,
}

/// What came of runs without any bug.
struct Clean {
    seeds: u64,
    violations: u64,
    first: Option<String>,
    /// Runs in which an invariant compared nothing: those say nothing.
    inconclusive: u64,
}

impl Bugs {
    pub(super) fn execute(self) -> Result<u8, miette::Report> {
        check_files(&[("--json", self.json.as_deref())], &[])?;
        let bugs: Vec<Bug> = if self.bugs.is_empty() { Bug::all().collect() } else { self.bugs.clone() };
        if let Some(twice) = (1..bugs.len()).find(|index| bugs[..*index].contains(&bugs[*index])) {
            let (help, name) = ("name each once", bugs[twice].name());
            return Err(miette::miette!(help = help, "{name} is named twice"));
        }
        if self.list {
            self.tell(&listed(&bugs), &list(&bugs))?;
            return Ok(0);
        }
        let given = self.scenario.as_deref();
        let mut scenarios = BTreeMap::new();
        for name in bugs.iter().map(|bug| given.unwrap_or(bug.scenario())).chain([given.unwrap_or(CHAOS)]) {
            if !scenarios.contains_key(name) {
                scenarios.insert(name, one(name)?);
            }
        }
        let (threads, scenario) = (threads(self.jobs), &scenarios[given.unwrap_or(CHAOS)]);
        let own = |bug: &Bug| &scenarios[given.unwrap_or(bug.scenario())];
        let told = run_all(&bugs, threads, |bug| self.hunt(*bug, own(bug)), progress);
        let seeds: Vec<u64> = (1..=self.clean).collect();
        let ended = run_all(&seeds, threads, |seed| alarm(scenario, *seed), |done, of, _| counted(done, of, "clean"));
        let inconclusive = ended.iter().filter(|(verdict, _)| *verdict == Verdict::Inconclusive).count() as u64;
        let alarms: Vec<_> = ended.into_iter().filter_map(|(_, alarm)| alarm).collect();
        let (violations, first) = (alarms.len() as u64, alarms.into_iter().next());
        let clean = Clean { seeds: self.clean, violations, first, inconclusive };
        let (json, text) = (as_json(&told, &clean), as_text(&told, &clean, given));
        self.tell(&json, &text)?;
        let all = told.iter().all(|told| told.hunted.found.is_some());
        let verdict = match (all && clean.violations == 0, clean.inconclusive) {
            (true, 0) => SuiteVerdict::Pass,
            (true, _) => SuiteVerdict::Inconclusive,
            (false, _) => SuiteVerdict::Violated,
        };
        Ok(verdict.exit_code())
    }

    /// Prints the text, and writes the document where it was asked for.
    fn tell(&self, json: &Value, text: &str) -> Result<(), miette::Report> {
        match self.json.as_deref() {
            Some(path) if path == std::path::Path::new("-") => return print(&format!("{json:#}\n")),
            Some(path) => write(path, format!("{json:#}\n").as_bytes())?,
            None => {}
        }
        print(text)
    }

    /// Hunts one bug, and makes small what was found.
    fn hunt(&self, bug: Bug, scenario: &Scenario) -> Told {
        let from = |from| Limits { from, seeds: self.seeds.get().saturating_sub(from - 1), hang: HANG };
        let hunted = hunt(bug, scenario, &from(1));
        let (mut smallest, mut found) = (None, hunted.found.clone().filter(|_| self.shrink > 0));
        for findings in 1..=FINDINGS_MAX {
            let Some((_, setup)) = found.take() else { break };
            let shrunk = shrink(&setup, bug.promise(), &Budget { runs: self.shrink, threads: 1 });
            let shrunk = (shrunk.entries, shrunk.entries_before);
            smallest = Some(smallest.map_or(shrunk, |smallest: (usize, usize)| smallest.min(shrunk)));
            if shrunk.0 > SMALL && findings < FINDINGS_MAX {
                found = hunt(bug, scenario, &from(setup.plan.seed + 1)).found;
            }
        }
        Told { hunted, shrunk: smallest }
    }
}

/// The one scenario of this name.
fn one(name: &str) -> Result<Scenario, miette::Report> {
    let mut found = find(&[name.to_owned()])?;
    match (found.pop(), found.len()) {
        (Some(Found { scenario, .. }), 0) => Ok(scenario),
        (_, others) => Err(miette::miette!("--scenario takes one scenario, and {name:?} are {}", others + 1)),
    }
}

/// How a run without any bug ended, and what it rang for, if it did.
fn alarm(scenario: &Scenario, seed: u64) -> (Verdict, Option<String>) {
    let record = Setup::expand(scenario, seed).to_the_first_violation().run(false).finished.record;
    let violated = record.invariants.iter().find(|invariant| invariant.violations_total > 0);
    let rang = match record.verdict {
        Verdict::Failed => Some(format!("seed {seed}: {}", record.error.unwrap_or_default())),
        Verdict::Violated => violated
            .map(|by| format!("seed {seed}: {}: {}", by.name, by.violations.first().map_or(NONE, String::as_str))),
        Verdict::Pass | Verdict::Inconclusive => None,
    };
    (record.verdict, rang)
}

fn list(bugs: &[Bug]) -> String {
    let row = |bug: &Bug| {
        let seams: Vec<_> = bug.seams().iter().map(|seam| seam.name()).collect();
        let (name, promise, seams, scenario) = (bug.name(), bug.promise(), seams.join(", "), bug.scenario());
        format!("{name:<28} {promise:<22} {seams:<18} {scenario:<16} {}\n", bug.trap())
    };
    bugs.iter().map(row).collect()
}

fn listed(bugs: &[Bug]) -> Value {
    let bug = |bug: &Bug| {
        let seams: Vec<_> = bug.seams().iter().map(|seam| seam.name()).collect();
        let (name, promise, scenario, trap) = (bug.name(), bug.promise(), bug.scenario(), bug.trap());
        json!({"name": name, "promise": promise, "seams": seams, "scenario": scenario, "trap": trap})
    };
    json!({"bugs": bugs.iter().map(bug).collect::<Vec<_>>()})
}

fn as_json(told: &[Told], clean: &Clean) -> Value {
    let bug = |Told { hunted, shrunk }: &Told| {
        let found = hunted.found.as_ref();
        json!({
            "name": hunted.bug.name(),
            "found": found.is_some(),
            "invariant": found.map(|_| hunted.bug.promise()),
            "seeds_to_find": found.map(|(seeds, _)| seeds),
            "shrunk_entries": shrunk.map(|(entries, _)| entries),
            "entries": shrunk.map(|(_, before)| before),
            "promise": hunted.bug.promise(),
            "trap": hunted.bug.trap(),
            "scenario": hunted.bug.scenario(),
            "violated": hunted.violated,
            "story": hunted.story,
        })
    };
    let bugs: Vec<_> = told.iter().map(bug).collect();
    json!({"bugs": bugs, "clean": {"seeds": clean.seeds, "violations": clean.violations, "first": clean.first, "inconclusive": clean.inconclusive}})
}

fn as_text(told: &[Told], clean: &Clean, scenario: Option<&str>) -> String {
    let found = told.iter().filter(|told| told.hunted.found.is_some()).count();
    let mut text = format!("{found} of {} bugs found in {}.\n\n", told.len(), scenario.unwrap_or("their scenarios"));
    text += &format!("{:<28} {:<22} {:>6} {:>8}  {}\n", "bug", "found by", "seeds", "entries", "also violated");
    for Told { hunted, shrunk } in told {
        let (bug, found) = (hunted.bug, hunted.found.as_ref());
        let others = hunted.violated.iter().filter(|name| *name != bug.promise());
        let others: Vec<_> = others.map(String::as_str).collect();
        let number = |number: Option<String>| number.unwrap_or_else(|| NONE.into());
        text += &format!(
            "{:<28} {:<22} {:>6} {:>8}  {}\n",
            bug.name(),
            found.map_or("NOT FOUND", |_| bug.promise()),
            number(found.map(|(seeds, _)| grouped(*seeds))),
            number(shrunk.map(|(entries, _)| grouped(entries as u64))),
            others.join(", "),
        );
    }
    for Told { hunted, .. } in told.iter().filter(|told| told.hunted.found.is_none()) {
        let story = hunted.story.as_deref().unwrap_or("nothing was violated");
        text += &format!("\n{} survived: {} {story}\n", hunted.bug.name(), hunted.bug.trap());
    }
    let alarms = clean.violations;
    text += &format!("\n{} seeds without a bug: {} rang", grouped(clean.seeds), grouped(alarms));
    if clean.inconclusive > 0 {
        text += &format!(", {} were inconclusive", grouped(clean.inconclusive));
    }
    text += ".\n";
    if let Some(first) = &clean.first {
        text += &format!("The first: {first}\n");
    }
    text
}

fn progress(done: usize, of: usize, told: &Told) {
    let Told { hunted, shrunk } = told;
    let what = match (&hunted.found, shrunk) {
        (Some((seeds, _)), Some((entries, _))) => format!("found in {seeds} seeds, {entries} entries"),
        (Some((seeds, _)), None) => format!("found in {seeds} seeds"),
        (None, _) => "NOT FOUND".into(),
    };
    // Nobody may be reading the progress; the results are elsewhere.
    let _ = writeln!(std::io::stderr().lock(), "{done}/{of} {} {what}", hunted.bug.name());
}

/// A counter that overwrites itself, where there is a terminal.
fn counted(done: usize, of: usize, what: &str) {
    let mut stderr = std::io::stderr().lock();
    if stderr.is_terminal() {
        let end = if done == of { "\n" } else { "" };
        let _ = write!(stderr, "\r\x1b[K{done}/{of} {what}{end}");
    }
}
