//! What the subcommands that run scenarios have in common: how many at once, and where results go.

use std::fs::OpenOptions;
use std::io::Write;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use tenantry_reports::suite::{Build, SuiteRecord};
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
        self.check_beside(&[], &[])
    }

    /// The same, beside other `files` that are written and `inputs` that are read.
    pub(super) fn check_beside(&self, files: &[To<'_>], inputs: &[&str]) -> Result<(), miette::Report> {
        if self.junit.as_deref() == Some(Path::new("-")) {
            return Err(miette::miette!("--junit writes to a file: stdout is the report's; name a file"));
        }
        let own = [("--json", self.json.as_deref()), ("--junit", self.junit.as_deref())];
        check_files(&[&own[..], files].concat(), inputs)
    }

    /// Tells of `suite` wherever it was asked for.
    pub(super) fn report(&self, suite: &SuiteRecord) -> Result<(), miette::Report> {
        if let Some(path) = &self.junit {
            write(path, junit::render(suite).as_bytes())?;
        }
        report(suite, self.json.as_deref())
    }
}

/// An argument by which a file is written, and that file, if it was given.
pub(super) type To<'a> = (&'a str, Option<&'a Path>);

/// Makes the folder of `--report`, and refuses one in which `file` can't be written.
pub(super) fn check_folder(folder: &Path, file: &str) -> Result<(), miette::Report> {
    std::fs::create_dir_all(folder).map_err(|error| unwritten(folder, &error))?;
    check_files(&[("--report", Some(&folder.join(file)))], &[])
}

/// Refuses files that can't be written, that two arguments name, or that are read: before the work of hours would be lost.
pub(super) fn check_files(files: &[To<'_>], inputs: &[&str]) -> Result<(), miette::Report> {
    let mut known: Vec<(PathBuf, String)> = Vec::new();
    for input in inputs.iter().filter(|input| Path::new(input).is_file()) {
        known.extend(std::fs::canonicalize(input).map(|path| (path, "what is read".to_owned())));
    }
    for (argument, path) in files.iter().filter_map(|(argument, path)| Some((argument, (*path)?))) {
        if path == Path::new("-") {
            continue;
        }
        let is_new = !path.exists();
        OpenOptions::new().append(true).create(true).open(path).map_err(|error| unwritten(path, &error))?;
        let whole = std::fs::canonicalize(path).map_err(|error| unwritten(path, &error))?;
        if is_new {
            // It was made to see whether it can be. If it stays, it is empty and says so.
            let _ = std::fs::remove_file(path);
        }
        // What is no file, such as /dev/null, takes everything.
        let same = known.iter().find(|(known, _)| *known == whole && (is_new || whole.is_file()));
        if let Some((_, other)) = same {
            let help = "give each a file of its own";
            return Err(miette::miette!(help = help, "{argument} would overwrite {other}: {}", path.display()));
        }
        known.push((whole, format!("that of {argument}")));
    }
    Ok(())
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
    let setup = Setup::expand(&found.scenario, seed).with(bug);
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

/// Writes a file whole or not at all: what was there before stays until all of it is written.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), miette::Report> {
    // A device or a pipe is written to, not replaced.
    let replaced = !path.exists() || path.is_file();
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let written = match replaced {
        true => put(&partial, bytes).and_then(|()| std::fs::rename(&partial, path)),
        false => put(path, bytes),
    };
    written.map_err(|error| {
        // What is left of it is nobody's: the first error is the one to tell.
        let _ = replaced.then(|| std::fs::remove_file(&partial));
        unwritten(path, &error)
    })
}

#[expect(clippy::disallowed_methods, reason = "a report is not the system's data: it can be made again from its seed")]
fn put(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    std::fs::write(path, bytes)
}

fn unwritten(path: &Path, error: &std::io::Error) -> miette::Report {
    miette::miette!(help = "name one that can be written", "failed to write {}: {error}", path.display())
}
