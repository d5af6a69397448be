//! `tenantry run`: scenarios x seeds, over all cores, judged.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::ops::{ControlFlow, RangeInclusive};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tenantry_reports::suite::{Keep, Summing};
use tenantry_reports::verdict::SuiteVerdict;
use tenantry_sim::bugs::Bug;
use tenantry_sim::engine::hunt::{Ended, hunt};
use tenantry_sim::engine::trace::TraceEntry;
use tenantry_sim::tenantry::marks;

use super::find::{Found, find, sometimes, source};
use super::folder::Folder;
use super::hunt::time;
use super::output::{Outputs, build, reproduce, setup, threads, write};
use super::progress::Progress;
use super::seeds;
use super::shard::{Shard, share};
use super::stop;
use super::unfinished::{hung, panicked};

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
    #[arg(long, value_name = "NAME", value_parser = super::bugs::named(), hide_possible_values = true)]
    bug: Option<Bug>,
    /// Run on after a violation, and let all promises say what they have to say of the whole; without it a run is over as
    /// soon as one is seen to be broken.
    #[arg(long)]
    to_the_end: bool,
    /// Give a run up that has not ended after this time, and call it hung.
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "5m")]
    hang: Duration,
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
    pub(super) fn execute(self) -> Result<u8, miette::Report> {
        let scenarios: Vec<Arc<Found>> = find(&self.scenarios)?.into_iter().map(Arc::new).collect();
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
        let runs: Vec<(Arc<Found>, u64, bool)> = scenarios
            .iter()
            .flat_map(|found| of_scenario(found).map(move |(seed, double)| (found.clone(), seed, double)))
            .collect();
        self.shard.map_or(Ok(()), |shard| shard.check(runs.len() as u64))?;
        let runs: Vec<_> = share(self.shard, runs.into_iter()).collect();
        let (keep_trace, bug, to_the_end) = (self.trace.is_some(), self.bug, self.to_the_end);
        let run = move |(_, (found, seed, double)): &(usize, (Arc<Found>, u64, bool))| {
            let setup = setup(found, *seed, bug, to_the_end);
            let mut ended = setup.run(keep_trace);
            let differs = double.then(|| setup.differs(&ended.finished.record.digest)).flatten();
            ended.finished.record.reproduce = reproduce(found, *seed, bug, to_the_end);
            (ended, differs)
        };
        let mut progress = Progress::new(Some(runs.len() as u64));
        let (mut trace, mut ends) = (Vec::new(), BTreeMap::new());
        let jobs = runs.iter().cloned().enumerate().take_while(|_| !stop::asked());
        hunt(jobs, threads(self.jobs), self.hang, run, |(index, (found, seed, _)), ended| {
            let (finished, differs) = match ended {
                Ended::Done((ended, differs)) => {
                    trace = ended.trace;
                    (ended.finished, differs)
                }
                Ended::Panicked(why) => (panicked(&found, seed, reproduce(&found, seed, bug, to_the_end), &why), None),
                Ended::Hung(after) => (hung(&found, seed, &reproduce(&found, seed, bug, to_the_end), after), None),
            };
            progress.ended(&finished.record);
            ends.insert(index, (finished, differs));
            ControlFlow::Continue(())
        });
        progress.end();
        if let Some(path) = &self.trace {
            write_trace(path, &trace)?;
        }
        let (asked, not_started) = (runs.len(), runs.len() - ends.len());
        let (mut summing, mut differences) = (Summing::new(Keep::All), Vec::new());
        // In the order in which they were asked for, whichever ended first.
        for (index, (finished, differs)) in ends {
            let (found, seed, _) = &runs[index];
            let told = |told| format!("{} seed {seed} is not the same twice: {told}.", found.scenario.name);
            differences.extend(differs.map(told));
            summing.take(finished);
        }
        let all = || scenarios.iter().map(|found| &**found);
        let sometimes = sometimes(all());
        // A mark that some seed of many reaches need not be reached by the one that is being looked into, nor by one
        // machine's few of them.
        let mut suite = match self.seed.is_some() || self.shard.is_some() || not_started > 0 {
            true => summing.finish_part(build(), &sometimes),
            false => summing.finish(build(), &sometimes),
        };
        suite.read_from(|name| source(all(), name));
        suite.declare_marks(marks::ALL.iter().map(|mark| mark.name));
        suite.shard = self.shard.map(|shard| shard.record(&format!("run {seeds:?}"), all()));
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
        differences.into_iter().for_each(|told| suite.worsen(SuiteVerdict::Nondeterministic, told));
        self.folder.write(&suite, all(), self.bug, self.to_the_end)?;
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
