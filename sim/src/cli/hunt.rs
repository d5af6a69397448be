//! `tenantry hunt`: seed after seed, over all cores, until one does not pass or the time is up.
//!
//! A seed that hangs, or one in which the harness itself panics, is a finding like a violation: it is told with the line
//! that runs it again. Memory that grows with the number of seeds is one, too.

use std::num::{NonZeroU64, NonZeroUsize};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tenantry_reports::suite::{Keep, Summing};
use tenantry_reports::text::grouped;
use tenantry_reports::verdict::{SuiteVerdict, Verdict};
use tenantry_sim::bugs::Bug;
use tenantry_sim::engine::hunt::{Ended, hunt};
use tenantry_sim::tenantry::marks;

use super::find::{Found, find, sometimes, source};
use super::folder::Folder;
use super::output::{Outputs, build, reproduce, setup, threads};
use super::progress::Progress;
use super::run::is_doubled;
use super::shard::{Shard, share};
use super::stop;
use super::unfinished::{hung, panicked};

/// Runs that did not pass and are told of one by one; the rest are counted.
const BAD_KEPT: usize = 100;

/// Memory is looked at once so many seeds have run, when every thread has had some, and from there on may grow by so much.
const WARM_SEEDS: u64 = 500;
const GROWTH_MAX_KIB: u64 = 128 * 1024;

/// What to hunt in.
#[derive(clap::Args)]
pub(super) struct Hunt {
    /// Scenario names, files or folders; all in `scenarios/` without any. Each seed runs in every one of them.
    scenarios: Vec<String>,
    /// The first seed.
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    from: u64,
    /// End after so many seeds.
    #[arg(long, value_name = "N")]
    seeds: Option<NonZeroU64>,
    /// End after this time, such as 60s, 10m or 2h; seeds under way are ended [default without --seeds: 60s].
    #[arg(long = "for", value_name = "TIME", value_parser = time)]
    time: Option<Duration>,
    /// Go on after a seed that does not pass.
    #[arg(long)]
    keep_going: bool,
    /// Give a run up that has not ended after this time, and call it hung.
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "5m")]
    hang: Duration,
    /// Run every seed twice; without it the first one and every 50th are.
    #[arg(long)]
    double: bool,
    /// With this bug planted: see `tenantry bugs --list`.
    #[arg(long, value_name = "NAME", value_parser = super::bugs::named(), hide_possible_values = true)]
    bug: Option<Bug>,
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
}

impl Hunt {
    pub(super) fn execute(self) -> Result<u8, miette::Report> {
        let mut scenarios: Vec<Arc<Found>> = find(&self.scenarios)?.into_iter().map(Arc::new).collect();
        // A plan that is spelt out has one seed: there is nothing to hunt for.
        scenarios.retain(|found| found.scenario.plan.is_none());
        if scenarios.is_empty() {
            return Err(miette::miette!(help = "use `tenantry run`", "a plan that is spelt out has one seed"));
        }
        self.outputs.check()?;
        self.folder.check()?;
        stop::listen();
        let begun = now();
        let time = self.time.or(self.seeds.is_none().then_some(Duration::from_secs(60)));
        let end = time.and_then(|time| begun.checked_add(time));
        let last = self.seeds.map_or(u64::MAX, |seeds| self.from.saturating_add(seeds.get() - 1));
        let each_seed = (self.from..=last).flat_map(|seed| scenarios.iter().map(move |found| (found.clone(), seed)));
        if let (Some(shard), Some(seeds)) = (self.shard, self.seeds) {
            shard.check(seeds.get().saturating_mul(scenarios.len() as u64))?;
        }
        let jobs = share(self.shard, each_seed).take_while(|_| end.is_none_or(|end| now() < end) && !stop::asked());
        let (double, from, bug) = (self.double, self.from, self.bug);
        let run = move |(found, seed): &(Arc<Found>, u64)| {
            let setup = setup(found, *seed, bug, false);
            let mut finished = setup.run(false).finished;
            let double = double || is_doubled(seed - from);
            let differs = double.then(|| setup.differs(&finished.record.digest)).flatten();
            finished.record.reproduce = reproduce(found, *seed, bug, false);
            (finished, differs)
        };
        let mut differences = Vec::new();
        let (mut summing, mut progress) = (Summing::new(Keep::Bad(BAD_KEPT)), Progress::new(None));
        let (mut warm_kib, mut cut_short) = (None, false);
        hunt(jobs, threads(self.jobs), self.hang, run, |(found, seed), ended| {
            let (finished, differs) = match ended {
                Ended::Done(done) => done,
                Ended::Panicked(why) => (panicked(&found, seed, reproduce(&found, seed, bug, false), &why), None),
                Ended::Hung(after) => (hung(&found, seed, &reproduce(&found, seed, bug, false), after), None),
            };
            let bad = finished.record.verdict >= Verdict::Violated || differs.is_some();
            let name = &found.scenario.name;
            differences.extend(differs.map(|told| format!("{name} seed {seed} is not the same twice: {told}.")));
            progress.ended(&finished.record);
            summing.take(finished);
            if summing.seeds() == WARM_SEEDS {
                warm_kib = resident_kib();
            }
            cut_short |= bad && !self.keep_going;
            if cut_short { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        progress.end();
        let all = || scenarios.iter().map(|found| &**found);
        let (runs, sometimes) = (summing.seeds(), sometimes(all()));
        // Cut short by a finding, it says nothing of what later seeds would have reached; a shard nothing of other machines'.
        let mut suite = match cut_short || self.shard.is_some() || stop::asked() {
            true => summing.finish_part(build(), &sometimes),
            false => summing.finish(build(), &sometimes),
        };
        differences.into_iter().for_each(|told| suite.worsen(SuiteVerdict::Nondeterministic, told));
        suite.read_from(|name| source(all(), name));
        suite.declare_marks(marks::ALL.iter().map(|mark| mark.name));
        suite.shard = self.shard.map(|shard| shard.record(&format!("hunt {}..={last}", self.from), all()));
        suite.notes.extend(self.shard.map(Shard::note));
        suite.notes.extend(suite.proved());
        if stop::asked() {
            suite.worsen(SuiteVerdict::Inconclusive, "It was stopped before its time.".to_owned());
        }
        let took = begun.elapsed();
        let rate = runs as f64 * 60.0 / took.as_secs_f64().max(0.001);
        suite.notes.push(format!("{} s, {} runs a minute.", took.as_secs(), grouped(rate as u64)));
        if let (Some(warm), Some(now)) = (warm_kib, resident_kib()) {
            let (since, mib) = (grouped(WARM_SEEDS), |kib: u64| kib / 1024);
            let told = format!("Memory: {} MiB after {since} runs, {} MiB after all.", mib(warm), mib(now));
            match now.saturating_sub(warm) > GROWTH_MAX_KIB {
                true => suite.worsen(SuiteVerdict::Failed, format!("{told} That is a leak.")),
                false => suite.notes.push(told),
            }
        }
        self.folder.write(&suite, all(), self.bug, false)?;
        self.outputs.report(&suite)?;
        Ok(suite.exit_code)
    }
}

/// Memory that this process holds, in KiB; `None` where the system does not say.
fn resident_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}

/// Reads a time such as `60s`, `10m` or `2h`.
pub(super) fn time(text: &str) -> Result<Duration, String> {
    let right = "write a whole number and s, m or h, such as 60s";
    let units = [('s', 1), ('m', 60), ('h', 3600)];
    let (unit, seconds) = units.into_iter().find(|(unit, _)| text.ends_with(*unit)).ok_or(right)?;
    let number: u64 = text.trim_end_matches(unit).parse().map_err(|_| format!("{text:?} is no time; {right}"))?;
    let seconds = number.checked_mul(seconds).filter(|seconds| (1..=31_536_000).contains(seconds));
    seconds.map(Duration::from_secs).ok_or_else(|| format!("{text} is not between 1s and a year"))
}

#[expect(clippy::disallowed_methods, reason = "a hunt ends after real time; nothing in a run sees it")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_number_and_a_unit() {
        assert_eq!(time("60s"), Ok(Duration::from_secs(60)));
        assert_eq!((time("2m"), time("1h")), (Ok(Duration::from_secs(120)), Ok(Duration::from_secs(3600))));
        for wrong in ["", "s", "60", "-1s", "1.5h", "0s", "9999999999h", "60 s", "1d"] {
            assert!(time(wrong).is_err(), "{wrong:?} was accepted");
        }
    }
}
