//! `tenantry compare`: what shifted between two records, how far, and how sure that is.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::IgnoredAny;
use tenantry_reports::compare::{Method, Percentile, Record, Side, compare};
use tenantry_reports::html;

use super::output::{check_files, check_folder, print, write};

/// What to compare.
#[derive(clap::Args)]
#[command(
    after_help = "Virtual runs are paired by seed: run both builds with the same scenarios and --seeds, each with --json, \
                        and name the base first. Exit codes: 0 not slower by the tolerance or more, 1 new violates an invariant \
                        where base did not, 2 not comparable, 3 slower by the tolerance or more, 4 too few runs to say, 70 the \
                        harness failed where it did not before."
)]
pub(super) struct Compare {
    /// What to compare with: a record that --json wrote, the folder of a --report, or a folder of records, such as of loads that
    /// took turns with those of NEW.
    #[arg(value_name = "BASE")]
    base: PathBuf,
    /// What to compare.
    #[arg(value_name = "NEW")]
    new: PathBuf,
    /// The percentile of the whole way that decides: p50, p90, p99 or p99.9.
    #[arg(long, value_name = "PERCENTILE", default_value = "p99")]
    gate: Percentile,
    /// By how much it may be slower: percent of the base's.
    #[arg(long, value_name = "PERCENT", value_parser = percent, default_value = "5%", allow_hyphen_values = true)]
    tolerance: f64,
    /// What the bootstrap's draws are decided by.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Write the comparison as JSON to this file; `-` is stdout, instead of the text.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write it into this folder as HTML, JSON, text and Markdown.
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
}

/// Reads `5%` or `5`.
fn percent(text: &str) -> Result<f64, String> {
    let right = "write percent from 0 to 1000, such as 5%";
    let number = text.strip_suffix('%').unwrap_or(text).trim_end();
    let percent: f64 = number.parse().map_err(|_| format!("{text:?} is no percentage; {right}"))?;
    if (0.0..=1_000.0).contains(&percent) { Ok(percent) } else { Err(format!("{text} is out of range; {right}")) }
}

impl Compare {
    pub(super) fn execute(self) -> Result<u8, miette::Report> {
        let (bases, news) = (files(&self.base)?, files(&self.new)?);
        self.check(bases.iter().chain(&news))?;
        let method = Method { gate: self.gate, tolerance_percent: self.tolerance, seed: self.seed };
        let (base, new) = (side(&self.base, bases)?, side(&self.new, news)?);
        let compared = compare(&base, &new, method).map_err(|error| miette::miette!("failed to compare: {error}"))?;
        if let Some(folder) = &self.report {
            let page = html::compare(&compared);
            for (name, content) in [
                ("index.html", page),
                ("comparison.json", compared.json()),
                ("summary.txt", compared.text()),
                ("summary.md", compared.markdown()),
            ] {
                write(&folder.join(name), content.as_bytes())?;
            }
        }
        match &self.json {
            Some(path) if path == Path::new("-") => print(&compared.json())?,
            path => {
                if let Some(path) = path {
                    write(path, compared.json().as_bytes())?;
                }
                print(&compared.text())?;
            }
        }
        Ok(compared.exit_code())
    }

    /// Refuses what can't be written, and what would overwrite a record that is read.
    fn check<'f>(&self, read: impl Iterator<Item = &'f PathBuf>) -> Result<(), miette::Report> {
        let inputs: Vec<String> = read.map(|path| path.display().to_string()).collect();
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        check_files(&[("--json", self.json.as_deref())], &inputs)?;
        let Some(folder) = &self.report else { return Ok(()) };
        check_folder(folder, "index.html")?;
        let same = |other: &&&Path| folder.canonicalize().ok() == other.canonicalize().ok();
        match [self.base.as_path(), self.new.as_path()].iter().find(same) {
            Some(other) => {
                let help = "give the comparison a folder of its own";
                Err(miette::miette!(help = help, "--report would overwrite what is read: {}", other.display()))
            }
            None => Ok(()),
        }
    }
}

/// The records that `path` names: itself, that of a report's folder, or all of a folder.
fn files(path: &Path) -> Result<Vec<PathBuf>, miette::Report> {
    let shown = path.display();
    let help = "name a file that `tenantry run` or `tenantry load` wrote with --json, or the folder of their --report";
    if !path.is_dir() {
        return match path.exists() {
            true => Ok(vec![path.to_owned()]),
            false => Err(miette::miette!(help = help, "there is no record or folder called {shown}")),
        };
    }
    let whole = path.join("record.json");
    if whole.is_file() {
        return Ok(vec![whole]);
    }
    let unreadable = |error: std::io::Error| miette::miette!("failed to read the folder {shown}: {error}");
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            files.push(path);
        }
    }
    files.sort();
    match files.is_empty() {
        true => Err(miette::miette!(help = help, "there is no record (*.json) in {shown}")),
        false => Ok(files),
    }
}

fn side(called: &Path, files: Vec<PathBuf>) -> Result<Side, miette::Report> {
    let read = |path: PathBuf| read(&path).map(|record| (path.display().to_string(), record));
    let records = files.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let name = called.display().to_string();
    Side::of(&name, records).map_err(|error| miette::miette!("failed to compare: {error}"))
}

/// What tells one kind of record from another.
#[derive(Deserialize)]
struct Kind {
    summary: Option<IgnoredAny>,
    record: Option<IgnoredAny>,
    time: Option<String>,
}

fn read(path: &Path) -> Result<Record, miette::Report> {
    let file = path.display();
    let text = std::fs::read(path).map_err(|error| miette::miette!("failed to read {file}: {error}"))?;
    let help = "name files that `tenantry run` or `tenantry load` wrote with --json or --report";
    let wrong = |error: serde_json::Error| miette::miette!(help = help, "{file} is no record of runs: {error}");
    let kind: Kind = serde_json::from_slice(&text).map_err(wrong)?;
    match kind {
        Kind { summary: Some(_), .. } => Ok(Record::Suite(serde_json::from_slice(&text).map_err(wrong)?)),
        Kind { record: Some(_), .. } => Ok(Record::Run(serde_json::from_slice(&text).map_err(wrong)?)),
        Kind { time: Some(time), .. } if time == "wall" => {
            Ok(Record::Wall(serde_json::from_slice(&text).map_err(wrong)?))
        }
        _ => Err(miette::miette!(help = help, "{file} is no record of runs: it has neither runs nor one run in full")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tolerance_is_percent_and_nonsense_is_refused() {
        assert_eq!([percent("5%"), percent("0"), percent("2.5 %")], [Ok(5.0), Ok(0.0), Ok(2.5)]);
        for wrong in ["", "%", "five", "-1%", "1001", "nan", "inf"] {
            assert!(percent(wrong).is_err(), "{wrong:?} was accepted");
        }
    }
}
