//! `tenantry run`: scenarios x seeds, over all cores, judged.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use tenantry_reports::suite::{FinishedRun, SuiteRecord};
use tenantry_reports::verdict::EXIT_USAGE;
use tenantry_sim::bugs::Bug;
use tenantry_sim::engine::suite::run_all;
use tenantry_sim::engine::trace::TraceEntry;
use tenantry_sim::tenantry::run::{Ended, Setup};

use super::find::{Found, find};
use super::output::{build, report, reproduce, threads, write};
use super::seeds;

/// What to run.
#[derive(clap::Args)]
pub(super) struct Run {
    /// Scenario names, files or folders; all in `scenarios/` without any.
    scenarios: Vec<String>,
    /// Run this one seed.
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Run these seeds, both ends included.
    #[arg(long, value_name = "A..B", value_parser = seeds::parse, default_value = "1..5")]
    seeds: RangeInclusive<u64>,
    /// With this bug planted: see `tenantry bugs --list`.
    #[arg(long, value_name = "NAME", value_parser = super::bugs::named)]
    bug: Option<Bug>,
    /// Seeds at once [default: as many as there are cores].
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// Write the record as JSON to this file; `-` is stdout, instead of the text.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write every event of one run, a line of JSON each, to this file; needs one scenario and --seed.
    #[arg(long, value_name = "FILE", requires = "seed")]
    trace: Option<PathBuf>,
}

impl Run {
    pub(super) fn execute(self) -> u8 {
        match self.try_execute() {
            Ok(exit_code) => exit_code,
            Err(report) => {
                anstream::eprintln!("{report:?}");
                EXIT_USAGE
            }
        }
    }

    fn try_execute(self) -> Result<u8, miette::Report> {
        let scenarios = find(&self.scenarios)?;
        if self.trace.is_some() && scenarios.len() != 1 {
            return Err(miette::miette!("--trace is of one run: name one scenario, not {}", scenarios.len()));
        }
        if self.trace.as_deref() == Some(Path::new("-")) {
            return Err(miette::miette!("--trace writes to a file: stdout is the report's; name a file"));
        }
        let seeds = self.seed.map_or_else(|| self.seeds.clone(), |seed| seed..=seed);
        let runs: Vec<(&Found, u64)> =
            scenarios.iter().flat_map(|scenario| seeds.clone().map(move |seed| (scenario, seed))).collect();
        let threads = threads(self.jobs);
        let keep_trace = self.trace.is_some();
        let run = |(found, seed): &(&Found, u64)| {
            let setup = Setup { bug: self.bug, ..Setup::expand(&found.scenario, *seed) };
            let mut ended = setup.run(keep_trace);
            ended.finished.record.reproduce = reproduce(found, *seed, self.bug);
            ended
        };
        let ended = run_all(&runs, threads, run, progress);
        if let Some(path) = &self.trace {
            write_trace(path, &ended[0].trace)?;
        }
        let sometimes =
            scenarios.iter().map(|Found { scenario, .. }| (scenario.name.clone(), scenario.sometimes.clone()));
        // A mark that some seed of many reaches need not be reached by the one that is being looked into.
        let sometimes: BTreeMap<_, _> = if self.seed.is_some() { BTreeMap::new() } else { sometimes.collect() };
        let finished: Vec<FinishedRun> = ended.into_iter().map(|ended| ended.finished).collect();
        let suite = SuiteRecord::new(build(), finished, &sometimes);
        report(&suite, self.json.as_deref())?;
        Ok(suite.exit_code)
    }
}

/// A counter that overwrites itself on a terminal; elsewhere only what did not pass is worth a line.
fn progress(done: usize, of: usize, ended: &Ended) {
    let record = &ended.finished.record;
    let mut stderr = std::io::stderr().lock();
    // Nobody may be reading the progress; the results are elsewhere.
    if stderr.is_terminal() {
        let end = if done == of { "\n" } else { "" };
        let _ = write!(stderr, "\r\x1b[K{done}/{of} {} seed {}: {}{end}", record.scenario, record.seed, record.verdict);
    } else if record.verdict.exit_code() != 0 {
        let _ = writeln!(stderr, "{done}/{of} {} seed {}: {}", record.scenario, record.seed, record.verdict);
    }
}

fn write_trace(path: &Path, trace: &[TraceEntry]) -> Result<(), miette::Report> {
    let mut lines = Vec::new();
    for entry in trace {
        serde_json::to_writer(&mut lines, entry).expect("our own types become JSON");
        lines.push(b'\n');
    }
    write(path, &lines)
}
