//! Finds scenarios: by name among the project's, as a file, or all of a folder.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tenantry_reports::suite::Source;
use tenantry_sim::tenantry::section::{self, Scenario};

/// Where scenarios are looked for by name.
const FOLDER: &str = "scenarios";

/// Where regressions are kept: scenarios whose plan is spelt out. There may be none.
pub(super) const REGRESSIONS: &str = "scenarios/regressions";

/// A scenario, and how the command line calls it.
pub(super) struct Found {
    pub(super) called: String,
    pub(super) scenario: Scenario,
    /// What its file says.
    pub(super) text: String,
    /// Where that stands, and its digest.
    pub(super) source: Source,
}

/// The marks that each scenario demands of some seed, by its name.
pub(super) fn sometimes<'a>(scenarios: impl Iterator<Item = &'a Found>) -> BTreeMap<String, Vec<String>> {
    scenarios.map(|Found { scenario, .. }| (scenario.name.clone(), scenario.sometimes.clone())).collect()
}

/// Where the scenario called `name` was found.
pub(super) fn source<'a>(mut scenarios: impl Iterator<Item = &'a Found>, name: &str) -> Option<Source> {
    scenarios.find(|found| found.scenario.name == name).map(|found| found.source.clone())
}

impl Found {
    /// The seeds to run it with, of those that were asked for: one whose plan is spelt out has one of its own.
    pub(super) fn seeds(&self, asked: RangeInclusive<u64>) -> RangeInclusive<u64> {
        self.scenario.plan.as_ref().map_or(asked, |spelt| spelt.seed..=spelt.seed)
    }
}

/// The scenarios that `wanted` names; all of the project's, and its regressions, if it names none.
pub(super) fn find(wanted: &[String]) -> Result<Vec<Found>, miette::Report> {
    let mut paths = Vec::new();
    if wanted.is_empty() {
        paths = files_in(Path::new(FOLDER))?;
        paths.extend(regressions()?);
    }
    for name in wanted {
        let path = Path::new(name);
        if path.is_dir() {
            paths.extend(files_in(path)?);
        } else if path.is_file() {
            paths.push(path.to_owned());
        } else {
            paths.push(by_name(name)?);
        }
    }
    // Named twice is meant once: the same seeds twice would count for more than they show.
    let mut seen = BTreeSet::new();
    paths.retain(|path| seen.insert(path.canonicalize().unwrap_or_else(|_| path.clone())));
    let found = paths.iter().map(|path| read(path)).collect::<Result<Vec<_>, _>>()?;
    let mut named = BTreeMap::new();
    for Found { scenario, source, .. } in &found {
        if let Some(other) = named.insert(&scenario.name, &source.file) {
            let help = "give each a name of its own: results are summed up by name";
            let (name, file) = (&scenario.name, &source.file);
            return Err(miette::miette!(help = help, "two scenarios are called {name:?}: {other} and {file}"));
        }
    }
    Ok(found)
}

/// The one scenario that `wanted` names.
pub(super) fn find_one(wanted: &str) -> Result<Found, miette::Report> {
    let mut found = find(&[wanted.to_owned()])?;
    match (found.pop(), found.len()) {
        (Some(one), 0) => Ok(one),
        (_, others) => Err(miette::miette!("{wanted} holds {} scenarios: name one", others + 1)),
    }
}

fn regressions() -> Result<Vec<PathBuf>, miette::Report> {
    let folder = Path::new(REGRESSIONS);
    if folder.is_dir() { toml_in(folder) } else { Ok(Vec::new()) }
}

fn by_name(name: &str) -> Result<PathBuf, miette::Report> {
    for folder in [FOLDER, REGRESSIONS] {
        let path = Path::new(folder).join(name).with_extension("toml");
        if path.is_file() {
            return Ok(path);
        }
    }
    // Outside of the project there is no such folder, and no scenario that could be meant.
    let scenarios = files_in(Path::new(FOLDER)).unwrap_or_default();
    let known: Vec<_> = scenarios
        .iter()
        .chain(&regressions().unwrap_or_default())
        .filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned()))
        .collect();
    let help = tenantry_sim::engine::scenario_error::one_of(name, "scenarios", &known);
    Err(miette::miette!(help = help, "there is no scenario, file or folder called {name:?}"))
}

/// The scenarios in `folder`, which must hold one.
fn files_in(folder: &Path) -> Result<Vec<PathBuf>, miette::Report> {
    let files = toml_in(folder)?;
    if files.is_empty() {
        return Err(miette::miette!("there is no scenario (*.toml) in {}", folder.display()));
    }
    Ok(files)
}

fn toml_in(folder: &Path) -> Result<Vec<PathBuf>, miette::Report> {
    let unreadable = |error: std::io::Error| {
        miette::miette!(
            help = "run it from the project's folder, or name a scenario file",
            "failed to read the folder {}: {error}",
            folder.display()
        )
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    // A folder lists its files in no order of its own.
    files.sort();
    Ok(files)
}

pub(super) fn read(path: &Path) -> Result<Found, miette::Report> {
    let shown = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| miette::miette!("failed to read {shown}: {error}"))?;
    let scenario = Scenario::parse(&shown, &text, section::hosts)?;
    let is_ours = path.parent().is_some_and(|folder| folder == Path::new(FOLDER) || folder == Path::new(REGRESSIONS));
    let called = if is_ours { scenario.name.clone() } else { shown.clone() };
    let digest = hex::encode(&Sha256::digest(&text)[..16]);
    Ok(Found { called, scenario, text, source: Source { file: shown, digest } })
}
