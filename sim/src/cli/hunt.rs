//! `tenantry hunt`: seed after seed, over all cores, until one does not pass or the time is up.
//!
//! A seed that hangs, or one in which the harness itself panics, is a finding like a violation: it is told with the line
//! that runs it again. Memory that grows with the number of seeds is one, too.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::num::{NonZeroU64, NonZeroUsize};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tenantry_reports::latency::VirtualLatency;
use tenantry_reports::record::{Commands, RunRecord};
use tenantry_reports::suite::{FinishedRun, Keep, SuiteRecord, Summing};
use tenantry_reports::text::grouped;
use tenantry_reports::verdict::{EXIT_USAGE, SuiteVerdict, Verdict};
use tenantry_sim::bugs::Bug;
use tenantry_sim::engine::hunt::{Ended, hunt};
use tenantry_sim::tenantry::run::Setup;

use super::find::{Found, find};
use super::output::{build, report, reproduce, threads};

/// Runs that did not pass and are told of one by one; the rest are counted.
const BAD_KEPT: usize = 100;

/// Where nobody watches a counter, a line is written this often.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// On a terminal the counter is written this often: a seed may take a few milliseconds.
const COUNT_EVERY: Duration = Duration::from_millis(100);

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
    /// With this bug planted: see `tenantry bugs --list`.
    #[arg(long, value_name = "NAME", value_parser = super::bugs::named)]
    bug: Option<Bug>,
    /// Seeds at once [default: as many as there are cores].
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// Write the record as JSON to this file; `-` is stdout, instead of the text. It has the first runs that did not pass,
    /// and the sum of all.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl Hunt {
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
        let scenarios: Vec<Arc<Found>> = find(&self.scenarios)?.into_iter().map(Arc::new).collect();
        let begun = now();
        let time = self.time.or(self.seeds.is_none().then_some(Duration::from_secs(60)));
        let end = time.and_then(|time| begun.checked_add(time));
        let last = self.seeds.map_or(u64::MAX, |seeds| self.from.saturating_add(seeds.get() - 1));
        let each_seed = (self.from..=last).flat_map(|seed| scenarios.iter().map(move |found| (found.clone(), seed)));
        let jobs = each_seed.take_while(|_| end.is_none_or(|end| now() < end));
        let bug = self.bug;
        let run = move |(found, seed): &(Arc<Found>, u64)| {
            let setup = Setup { bug, ..Setup::expand(&found.scenario, *seed) };
            let mut finished = setup.run(false).finished;
            finished.record.reproduce = reproduce(found, *seed, bug);
            finished
        };
        let (mut summing, mut progress) = (Summing::new(Keep::Bad(BAD_KEPT)), Progress::new(begun));
        let mut warm_kib = None;
        hunt(jobs, threads(self.jobs), self.hang, run, |(found, seed), ended| {
            let finished = match ended {
                Ended::Done(finished) => finished,
                Ended::Panicked(why) => failed(&found, seed, bug, format!("the harness panicked: {why}")),
                Ended::Hung(after) => failed(&found, seed, bug, format!("it hung: no end after {} s", after.as_secs())),
            };
            let bad = finished.record.verdict >= Verdict::Violated;
            progress.ended(&summing, &finished.record);
            summing.take(finished);
            if summing.seeds() == WARM_SEEDS {
                warm_kib = resident_kib();
            }
            if bad && !self.keep_going { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        progress.end();
        let names = scenarios.iter().map(|found| (found.scenario.name.clone(), found.scenario.sometimes.clone()));
        let complete = summing.bad() == 0;
        // Cut short by a finding, it says nothing of what later seeds would have reached.
        let sometimes: BTreeMap<_, _> = if complete { names.collect() } else { BTreeMap::new() };
        let runs = summing.seeds();
        let mut suite = summing.finish(build(), &sometimes);
        suite.notes.extend(proved(&suite));
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
        report(&suite, self.json.as_deref())?;
        Ok(suite.exit_code)
    }
}

/// What it proves that all passed.
fn proved(suite: &SuiteRecord) -> Option<String> {
    let one_in = grouped(suite.fewer_than_one_in()?);
    let of = if suite.summary.len() == 1 { "it" } else { "any one of the scenarios" };
    Some(format!("With 95 % confidence fewer than 1 seed in {one_in} breaks {of} (rule of three)."))
}

/// A run that has no record of its own.
fn failed(found: &Found, seed: u64, bug: Option<Bug>, error: String) -> FinishedRun {
    let latency = VirtualLatency::new();
    let record = RunRecord {
        scenario: found.scenario.name.clone(),
        seed,
        verdict: Verdict::Failed,
        digest: String::new(),
        virtual_ms: 0,
        wall_ms: 0,
        commands: Commands::default(),
        faults: BTreeMap::new(),
        marks: BTreeMap::new(),
        invariants: Vec::new(),
        latency_virtual_ms: latency.summary(),
        error: Some(error),
        reproduce: reproduce(found, seed, bug),
    };
    FinishedRun { record, latency }
}

/// Says on stderr how far it is: a counter that overwrites itself on a terminal, a line now and then elsewhere, and always
/// what did not pass.
struct Progress {
    begun: Instant,
    told: Instant,
    on_terminal: bool,
}

impl Progress {
    fn new(begun: Instant) -> Self {
        Self { begun, told: begun, on_terminal: std::io::stderr().is_terminal() }
    }

    /// `record` has ended, after those that are summed up already.
    fn ended(&mut self, before: &Summing, record: &RunRecord) {
        let mut stderr = std::io::stderr().lock();
        let passed = record.verdict == Verdict::Pass;
        // Nobody may be reading the progress; the results are elsewhere.
        let clear = if self.on_terminal { "\r\x1b[K" } else { "" };
        if !passed {
            let _ = writeln!(stderr, "{clear}{} seed {}: {}", record.scenario, record.seed, record.verdict);
        }
        let every = if self.on_terminal { COUNT_EVERY } else { LINE_EVERY };
        if self.told.elapsed() < every {
            return;
        }
        self.told = now();
        let (runs, bad) = (before.seeds() + 1, before.bad() + u64::from(!passed));
        let rate = runs as f64 * 60.0 / self.begun.elapsed().as_secs_f64();
        let line =
            format!("{} runs, {bad} bad, {} a minute, at seed {}", grouped(runs), grouped(rate as u64), record.seed);
        let _ = if self.on_terminal { write!(stderr, "{clear}{line}") } else { writeln!(stderr, "{line}") };
        let _ = stderr.flush();
    }

    fn end(&self) {
        if self.on_terminal {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

/// Memory that this process holds, in KiB; `None` where the system does not say.
fn resident_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}

/// Reads a time such as `60s`, `10m` or `2h`.
fn time(text: &str) -> Result<Duration, String> {
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
