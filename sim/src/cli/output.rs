//! What the subcommands that run scenarios have in common: how many at once, and where results go.

use std::io::Write;
use std::num::NonZeroUsize;
use std::path::Path;

use tenantry_reports::suite::{Build, SuiteRecord};
use tenantry_reports::{json, text};
use tenantry_sim::bugs::Bug;

use super::find::Found;

/// Seeds at once: as many as were asked for, or as there are cores.
pub(super) fn threads(jobs: Option<NonZeroUsize>) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    jobs.map_or(cores, NonZeroUsize::get)
}

/// The command line that runs one seed again: called as this process was, so that it can be pasted where its line was.
pub(super) fn reproduce(found: &Found, seed: u64, bug: Option<Bug>) -> String {
    let program = std::env::args().next().unwrap_or_else(|| "tenantry".into());
    let planted = bug.map(|bug| format!(" --bug {}", bug.name())).unwrap_or_default();
    format!("{program} run {} --seed {seed}{planted}", quoted(&found.called))
}

/// Tells of `suite` on stdout: as text, or, where `json_to` is `-`, as JSON. Another `json_to` is a file for the JSON.
pub(super) fn report(suite: &SuiteRecord, json_to: Option<&Path>) -> Result<(), miette::Report> {
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
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    if word.chars().all(plain) { word.into() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

pub(super) fn build() -> Build {
    Build {
        version: env!("CARGO_PKG_VERSION").into(),
        profile: if cfg!(debug_assertions) { "debug" } else { "release" }.into(),
        target: format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
    }
}

#[expect(clippy::disallowed_methods, reason = "a report is not the system's data: it can be made again from its seed")]
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), miette::Report> {
    std::fs::write(path, bytes).map_err(|error| miette::miette!("failed to write {}: {error}", path.display()))
}
