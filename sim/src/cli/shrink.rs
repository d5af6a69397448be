//! `tenantry shrink`: the fewest faults and acts that still break the same invariant, kept as a regression.

use std::io::Write;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};

use serde_json::json;
use tenantry_reports::record::RunRecord;
use tenantry_sim::bugs::Bug;
use tenantry_sim::engine::plan::What;
use tenantry_sim::tenantry::early::Until;
use tenantry_sim::tenantry::invariant::NAMES;
use tenantry_sim::tenantry::regression;
use tenantry_sim::tenantry::run::Setup;
use tenantry_sim::tenantry::shrink::{HARNESS, Limits, Shrunk, shrink_telling};
use tenantry_sim::tenantry::story::{shortened, told_act, violations};

use super::find::{Found, REGRESSIONS, find_one, read};
use super::folder::Folder;
use super::named::Named;
use super::output::{check_files, print, program, quoted, setup, threads, write};

/// What to make small.
#[derive(clap::Args)]
pub(super) struct Shrink {
    /// A scenario's name or file.
    scenario: String,
    /// The seed that violates an invariant; a scenario whose plan is spelt out has its own.
    #[arg(long)]
    seed: Option<u64>,
    /// With this bug planted: see `tenantry bugs --list`.
    #[arg(long, value_name = "NAME", value_parser = super::bugs::named(), hide_possible_values = true)]
    bug: Option<Bug>,
    /// The invariant that must stay broken, such as G4-nothing-lost; `harness` is a panic [default: the first that is].
    #[arg(long, value_name = "NAME", value_parser = invariant_named(), hide_possible_values = true)]
    invariant: Option<String>,
    /// Write the regression to this file; its name becomes the scenario's [default: in `scenarios/regressions`].
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Candidates that are run, at most.
    #[arg(long, value_name = "N", default_value = "500")]
    runs: NonZeroU64,
    /// Candidates at once [default: as many as there are cores].
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// Write what was found as JSON to this file; `-` is stdout, instead of the text.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write what is left in full into this folder, as `run --report` does, its plan beside the one it was shrunk from.
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
}

impl Shrink {
    pub(super) fn execute(self) -> Result<u8, miette::Report> {
        let found = find_one(&self.scenario)?;
        let seed = seed_of(&found, self.seed)?;
        self.check()?;
        let folder = Folder::at(self.report.clone());
        folder.check()?;
        let setup = setup(&found, seed, self.bug, false);
        let until = self.invariant.clone().map_or(setup.until.clone(), Until::Violation);
        let setup = Setup { until, ..setup };
        let record = setup.run(false).finished.record;
        let Some(invariant) = broken(&record, self.invariant.as_deref()) else {
            let what = self.invariant.as_deref().unwrap_or("anything");
            return told(&format!("{} seed {seed} does not violate {what}: nothing to make small\n", record.scenario));
        };
        let limits = Limits { runs: self.runs.get(), threads: threads(self.jobs) };
        let shrunk = shrink_telling(&setup, &invariant, &limits, &|entries, runs| {
            // Nobody may be reading the progress; the results are elsewhere.
            let _ = writeln!(std::io::stderr(), "{entries} entries are left after {runs} runs");
        });
        let file = self.write(&found, seed, &invariant, &shrunk)?;
        let kept = read(&file)?;
        folder.write_shrunk(&kept, &setup, &Setup::expand(&kept.scenario, seed).with(self.bug))?;
        let replay = format!("{} replay {}", program(), quoted(&file.display().to_string()));
        let entries = entries(&shrunk.setup);
        let simpler: Vec<_> = shrunk.simpler.iter().map(|simpler| simpler.told()).collect();
        let violated = violations(&shrunk.record, &invariant);
        let document = json!({
            "scenario": found.scenario.name, "seed": seed, "invariant": invariant, "entries": shrunk.entries,
            "entries_before": shrunk.entries_before, "runs": shrunk.runs, "is_minimal": shrunk.is_minimal,
            "simpler": simpler, "plan": entries, "violations": violated, "digest": shrunk.record.digest,
            "file": file.display().to_string(), "reproduce": replay,
        });
        let document = format!("{document:#}\n");
        match self.json.as_deref() {
            Some(path) if path == Path::new("-") => print(&document)?,
            path => {
                if let Some(path) = path {
                    write(path, document.as_bytes())?;
                }
                print(&text(&found, seed, &invariant, &shrunk, &entries, &simpler, &violated))?;
                print(&format!("\nWritten to {}. Run it again and be told its story:\n{replay}\n", file.display()))?;
            }
        }
        Ok(shrunk.record.verdict.exit_code())
    }

    /// Where a regression is kept if nobody says where: beside an earlier one of that name, not in its place.
    fn kept(&self, found: &Found, seed: u64, invariant: &str) -> PathBuf {
        let slug = regression::slug(&found.scenario.name, invariant, seed);
        let slug = self.bug.map_or(slug.clone(), |bug| format!("{slug}_{}", bug.name().replace('-', "_")));
        let named = |number: u64| match number {
            1 => slug.clone(),
            _ => format!("{slug}_{number}"),
        };
        let file = |number| Path::new(REGRESSIONS).join(named(number)).with_extension("toml");
        (1..).map(file).find(|file| !file.exists()).expect("some number is free")
    }

    /// Refuses what can't be written, before the work is done.
    fn check(&self) -> Result<(), miette::Report> {
        if let Some(out) = self.out.as_deref().filter(|out| out.extension().is_none_or(|extension| extension != "toml"))
        {
            let help = "a regression is a scenario file: name it *.toml";
            return Err(miette::miette!(help = help, "--out {} is no scenario file's name", out.display()));
        }
        check_files(&[("--out", self.out.as_deref()), ("--json", self.json.as_deref())], &[&self.scenario])
    }

    /// Writes the regression and makes sure that what was written is what was found.
    fn write(&self, found: &Found, seed: u64, invariant: &str, shrunk: &Shrunk) -> Result<PathBuf, miette::Report> {
        let file = self.out.clone().unwrap_or_else(|| self.kept(found, seed, invariant));
        let name = file.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let name = name.ok_or_else(|| miette::miette!("--out {} names no file", file.display()))?;
        if self.out.is_none() {
            std::fs::create_dir_all(REGRESSIONS)
                .map_err(|error| miette::miette!("failed to make the folder {REGRESSIONS}: {error}"))?;
        }
        let text = regression::write(&found.text, &name, invariant, shrunk)
            .map_err(|why| miette::miette!("failed to spell the regression out: {why}"))?;
        write(&file, text.as_bytes())?;
        let again = Setup::expand(&read(&file)?.scenario, seed).with(self.bug);
        let again = again.run(false).finished.record;
        if again.digest != shrunk.record.digest {
            let (was, is, file) = (&shrunk.record.digest, &again.digest, file.display());
            return Err(miette::miette!("{file} was written, but is another run: its digest is {is}, not {was}"));
        }
        Ok(file)
    }
}

/// An invariant's name, or `harness`.
pub(super) fn invariant_named() -> Named<String> {
    let find = |name: &str| NAMES.into_iter().chain([HARNESS]).find(|known| *known == name).map(str::to_owned);
    Named { sort: "invariant", names: NAMES.into_iter().chain([HARNESS]).collect(), find }
}

/// The seed that was asked for, or that the plan has.
pub(super) fn seed_of(found: &Found, asked: Option<u64>) -> Result<u64, miette::Report> {
    let own = found.scenario.plan.as_ref().map(|spelt| spelt.seed);
    own.or(asked).ok_or_else(|| miette::miette!("{} has no seed of its own: give --seed", found.called))
}

/// The invariant that `record` broke: the one that was asked for, or the first.
pub(super) fn broken(record: &RunRecord, asked: Option<&str>) -> Option<String> {
    let harness = record.error.iter().map(|_| HARNESS);
    let violated = record.invariants.iter().filter(|found| found.violations_total > 0).map(|found| found.name.as_str());
    let mut broken = harness.chain(violated).filter(|name| asked.is_none_or(|asked| asked == *name));
    broken.next().map(str::to_owned)
}

/// A plan's entries in words, with their times.
pub(super) fn entries(setup: &Setup) -> Vec<String> {
    let told = |what: &What<_>| match what {
        What::Fault(fault) if fault.kind.is_instant() => Some(fault.kind.to_string()),
        What::Fault(fault) => Some(format!("{} for {} ms", fault.kind, fault.for_.as_millis())),
        What::Act(act) => Some(told_act(act)),
        What::Heal(_) => None,
    };
    setup
        .plan
        .entries
        .iter()
        .filter_map(|entry| Some(format!("{:>7} ms  {}", entry.at_ms, told(&entry.what)?)))
        .collect()
}

fn text(
    found: &Found,
    seed: u64,
    invariant: &str,
    shrunk: &Shrunk,
    entries: &[String],
    simpler: &[&str],
    violated: &[String],
) -> String {
    let Shrunk { entries: left, entries_before, runs, is_minimal, .. } = shrunk;
    let name = &found.scenario.name;
    let mut text = format!(
        "{name} seed {seed} violates {invariant}: of {entries_before} entries {left} are enough ({runs} runs).\n"
    );
    entries.iter().for_each(|entry| text += &format!("{entry}\n"));
    violated.iter().take(3).for_each(|violation| text += &format!("    the end  {}\n", shortened(violation, 400)));
    if !simpler.is_empty() {
        text += &format!("Simpler than the scenario: {}.\n", simpler.join(", "));
    }
    if !is_minimal {
        text += "The budget was spent before it was known that no entry can be left out: give more --runs.\n";
    }
    text
}

fn told(text: &str) -> Result<u8, miette::Report> {
    print(text)?;
    Ok(0)
}
