//! `tenantry run`: scenarios x seeds, over all cores, judged.

use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use tenantry_reports::suite::{Keep, Summing};
use tenantry_reports::verdict::{EXIT_USAGE, SuiteVerdict};
use tenantry_sim::bugs::Bug;
use tenantry_sim::engine::suite::run_while;
use tenantry_sim::engine::trace::TraceEntry;
use tenantry_sim::tenantry::marks;
use tenantry_sim::tenantry::run::Ended;

use super::find::{Found, find, sometimes, source};
use super::folder::Folder;
use super::output::{Outputs, build, reproduce, setup, threads, write};
use super::progress::Progress;
use super::seeds;
use super::shard::{Shard, share};
use super::stop;

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
    /// Run on after a violation, and let all promises say what they have to say of the whole; without it a run is over as
    /// soon as one is seen to be broken.
    #[arg(long)]
    to_the_end: bool,
    /// Seeds at once [default: as many as there are cores].
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// Run only the I-th of N parts, such as 1/4, on this machine; `tenantry merge` makes one record of all.
    #[arg(long, value_name = "I/N")]
    shard: Option<Shard>,
    #[command(flatten)]
    outputs: Outputs,
    #[command(flatten)]
    folder: Folder,
    /// Run every seed twice, and name the first event that differs; without it the first seed of a scenario and every 50th
    /// are.
    #[arg(long)]
    double: bool,
    /// Write every event of one run, a line of JSON each, to this file; needs one scenario and --seed.
    #[arg(long, value_name = "FILE", requires = "seed", conflicts_with = "shard")]
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
        let inputs: Vec<_> = self.scenarios.iter().map(String::as_str).collect();
        self.outputs.check_beside(&[("--trace", self.trace.as_deref())], &inputs)?;
        self.folder.check()?;
        stop::listen();
        let seeds = self.seed.map_or_else(|| self.seeds.clone(), |seed| seed..=seed);
        let double = self.double;
        let of_scenario = |found: &'_ Found| {
            let doubled = move |(index, seed)| (seed, double || is_doubled(index as u64));
            found.seeds(seeds.clone()).enumerate().map(doubled)
        };
        let runs: Vec<(&Found, u64, bool)> = scenarios
            .iter()
            .flat_map(|found| of_scenario(found).map(move |(seed, double)| (found, seed, double)))
            .collect();
        self.shard.map_or(Ok(()), |shard| shard.check(runs.len() as u64))?;
        let runs: Vec<_> = share(self.shard, runs.into_iter()).collect();
        let threads = threads(self.jobs);
        let keep_trace = self.trace.is_some();
        let run = |(found, seed, double): &(&Found, u64, bool)| {
            let setup = setup(found, *seed, self.bug, self.to_the_end);
            let mut ended = setup.run(keep_trace);
            let differs = double.then(|| setup.differs(&ended.finished.record.digest)).flatten();
            ended.finished.record.reproduce = reproduce(found, *seed, self.bug, self.to_the_end);
            (ended, differs)
        };
        let progress = Mutex::new(Progress::new(Some(runs.len() as u64)));
        let lock = || progress.lock().unwrap_or_else(PoisonError::into_inner);
        let told = |_, _, (ended, _): &(Ended, _)| lock().ended(&ended.finished.record);
        let ended = run_while(&runs, threads, || !stop::asked(), run, told);
        lock().end();
        let asked = runs.len();
        let (runs, ended): (Vec<_>, Vec<_>) =
            runs.iter().zip(ended).filter_map(|(run, ended)| Some((run, ended?))).unzip();
        let (ended, differs): (Vec<Ended>, Vec<_>) = ended.into_iter().unzip();
        if let (Some(path), Some(first)) = (&self.trace, ended.first()) {
            write_trace(path, &first.trace)?;
        }
        let not_started = asked - ended.len();
        let mut summing = Summing::new(Keep::All);
        ended.into_iter().for_each(|ended| summing.take(ended.finished));
        let sometimes = sometimes(scenarios.iter());
        // A mark that some seed of many reaches need not be reached by the one that is being looked into, nor by one
        // machine's few of them.
        let mut suite = match self.seed.is_some() || self.shard.is_some() || not_started > 0 {
            true => summing.finish_part(build(), &sometimes),
            false => summing.finish(build(), &sometimes),
        };
        suite.read_from(|name| source(scenarios.iter(), name));
        suite.declare_marks(marks::ALL.iter().map(|mark| mark.name));
        suite.shard = self.shard.map(|shard| shard.record(&format!("run {seeds:?}"), scenarios.iter()));
        suite.notes.extend(self.shard.map(Shard::note));
        let own = scenarios.iter().filter(|found| found.scenario.plan.is_some()).count();
        if own > 0 {
            let what = if own == 1 { "regression" } else { "regressions" };
            suite.notes.push(format!("{own} {what} ran with the seed of the plan, whatever seeds were asked for."));
        }
        if not_started > 0 {
            let what = format!("It was stopped: {not_started} of {asked} runs were not started.");
            suite.worsen(SuiteVerdict::Inconclusive, what);
        }
        for ((found, seed, _), differs) in runs.iter().zip(differs) {
            if let Some(told) = differs {
                let what = format!("{} seed {seed} is not the same twice: {told}.", found.scenario.name);
                suite.worsen(SuiteVerdict::Nondeterministic, what);
            }
        }
        self.folder.write(&suite, scenarios.iter(), self.bug, self.to_the_end)?;
        self.outputs.report(&suite)?;
        Ok(suite.exit_code)
    }
}

/// Without `--double` the first seed of a scenario is run twice, and then one of so many.
const DOUBLED_OF: u64 = 50;

/// Whether the `index`th seed of a scenario is run twice though nobody asked.
pub(super) fn is_doubled(index: u64) -> bool {
    index.is_multiple_of(DOUBLED_OF)
}

pub(super) fn write_trace(path: &Path, trace: &[TraceEntry]) -> Result<(), miette::Report> {
    let mut lines = Vec::new();
    for entry in trace {
        serde_json::to_writer(&mut lines, entry).expect("our own types become JSON");
        lines.push(b'\n');
    }
    write(path, &lines)
}
