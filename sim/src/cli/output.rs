//! What the subcommands that run scenarios have in common: how many at once, and where results go.

use std::fs::OpenOptions;
use std::io::Write;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use tenantry_reports::suite::{Build, SuiteRecord};
use tenantry_reports::verdict::EXIT_USAGE;
use tenantry_reports::{json, junit, text};
use tenantry_sim::bugs::Bug;
use tenantry_sim::tenantry::early::Until;
use tenantry_sim::tenantry::run::Setup;

use super::find::Found;
use super::github;

/// Where a record goes, beside the text on stdout.
#[derive(clap::Args)]
pub(super) struct Outputs {
    /// Write the record as JSON to this file; `-` is stdout, instead of the text. That of a hunt has the first runs that did
    /// not pass, and the sum of all.
    #[arg(long, value_name = "FILE")]
    pub(super) json: Option<PathBuf>,
    /// Write the results as JUnit XML to this file: a test suite for each scenario, a test case for each seed.
    #[arg(long, value_name = "FILE")]
    pub(super) junit: Option<PathBuf>,
}

impl Outputs {
    /// Refuses files that can't be written, before the work of hours would be lost to it.
    pub(super) fn check(&self) -> Result<(), miette::Report> {
        let stdout = Path::new("-");
        if self.junit.as_deref() == Some(stdout) {
            return Err(miette::miette!("--junit writes to a file: stdout is the report's; name a file"));
        }
        for path in self.json.iter().chain(&self.junit).filter(|path| *path != stdout) {
            OpenOptions::new().append(true).create(true).open(path).map_err(|error| unwritten(path, &error))?;
        }
        Ok(())
    }

    /// Tells of `suite` wherever it was asked for.
    pub(super) fn report(&self, suite: &SuiteRecord) -> Result<(), miette::Report> {
        if let Some(path) = &self.junit {
            write(path, junit::render(suite).as_bytes())?;
        }
        report(suite, self.json.as_deref())
    }
}

/// Seeds at once: as many as were asked for, or as there are cores.
pub(super) fn threads(jobs: Option<NonZeroUsize>) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    jobs.map_or(cores, NonZeroUsize::get)
}

/// How a line says that its run goes on after a violation.
pub(super) const TO_THE_END: &str = " --to-the-end";

/// A run as the command line asks for it.
pub(super) fn setup(found: &Found, seed: u64, bug: Option<Bug>, to_the_end: bool) -> Setup {
    let setup = Setup { bug, ..Setup::expand(&found.scenario, seed) };
    if to_the_end { Setup { until: Until::End, ..setup } } else { setup.to_the_first_violation() }
}

/// The command line that runs one seed again: called as this process was, so that it can be pasted where its line was.
pub(super) fn reproduce(found: &Found, seed: u64, bug: Option<Bug>, to_the_end: bool) -> String {
    // One whose plan is spelt out has its seed in it.
    let seed = if found.scenario.plan.is_some() { String::new() } else { format!(" --seed {seed}") };
    let planted = bug.map(|bug| format!(" --bug {}", bug.name())).unwrap_or_default();
    let end = if to_the_end { TO_THE_END } else { "" };
    format!("{} run {}{seed}{planted}{end}", program(), quoted(&found.called))
}

/// This process as it was called.
pub(super) fn program() -> String {
    std::env::args().next().unwrap_or_else(|| "tenantry".into())
}

/// Tells of `suite` on stdout: as text, or, where `json_to` is `-`, as JSON. Another `json_to` is a file for the JSON. GitHub
/// is told before: the last line is the report's.
pub(super) fn report(suite: &SuiteRecord, json_to: Option<&Path>) -> Result<(), miette::Report> {
    github::tell(suite);
    match json_to {
        Some(path) if path == Path::new("-") => print(&json::render(suite)),
        path => {
            if let Some(path) = path {
                write(path, json::render(suite).as_bytes())?;
            }
            print(&text::render(suite))
        }
    }
}

/// Writes to stdout. A reader that closed the pipe has read enough.
pub(super) fn print(text: &str) -> Result<(), miette::Report> {
    let mut stdout = anstream::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(miette::miette!("failed to write the report: {error}"))
        }
        _ => Ok(()),
    }
}

/// Writes to stdout, and returns the exit code.
pub(super) fn print_or_usage(text: &str) -> u8 {
    match print(text) {
        Ok(()) => 0,
        Err(report) => {
            anstream::eprintln!("{report:?}");
            EXIT_USAGE
        }
    }
}

/// A word as a shell takes it.
pub(super) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    if word.chars().all(plain) { word.into() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

pub(super) fn build() -> Build {
    Build {
        version: env!("CARGO_PKG_VERSION").into(),
        profile: if cfg!(debug_assertions) { "debug" } else { "release" }.into(),
        target: format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
        // GitHub's runners say it; a build by hand says nothing, rather than a commit that its files may not be of.
        commit: option_env!("GITHUB_SHA").map(str::to_owned),
    }
}

#[expect(clippy::disallowed_methods, reason = "a report is not the system's data: it can be made again from its seed")]
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), miette::Report> {
    std::fs::write(path, bytes).map_err(|error| unwritten(path, &error))
}

fn unwritten(path: &Path, error: &std::io::Error) -> miette::Report {
    miette::miette!("failed to write {}: {error}", path.display())
}
