//! `tenantry load`: the scenario's commands against a live system, at their times, in wall time.
//!
//! Against a system of its own, on loopback and over a folder that is thrown away, unless `--url` names another one.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use tenantry_reports::load::{LoadPlan, LoadReport, SearchStep, Target, VERSION, WallStage, WallTimeBase};
use tenantry_reports::verdict::SuiteVerdict;
use tenantry_reports::wall::WallMs;
use tenantry_reports::{hlog, html, load_text};
use tenantry_sim::engine::dice::Dice;
use tenantry_sim::load::arrivals::{Arrivals, COMMANDS_MAX, Shape};
use tenantry_sim::load::cluster::{Cluster, ClusterError};
use tenantry_sim::load::drive::{Driven, Limits, Live, drive};
use tenantry_sim::load::http::Api;
use tenantry_sim::load::kill::{self, Gone, Kill};
use tenantry_sim::load::measure::Sent;
use tenantry_sim::load::shots::{self, Shot};
use tenantry_sim::load::threshold::Demand;
use tenantry_sim::load::{judge, search};
use tenantry_sim::tenantry::cast::Cast;
use tenantry_system::capability::{Clock, SystemClock};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::find::{Found, find_one};
use super::live::Board;
use super::output::{build, check_files, check_folder, print, quoted, write};
use super::processor;

mod attach;

/// Requests under way at once; a server has room for a thousand connections, and as many ask for outcomes.
const IN_FLIGHT_MAX: u64 = 500;

/// A load begins so much later than it is ready: its first command is not late.
const LEAD: Duration = Duration::from_millis(50);

/// What to send, where to, and what to demand.
#[derive(clap::Args)]
pub(super) struct Load {
    /// The scenario whose commands are sent: a name or a file. Its faults and attacks are for simulations.
    scenario: String,
    /// Commands a second; of a ramp, at its beginning.
    #[arg(long, value_name = "N", default_value = "100", value_parser = rate)]
    rate: f64,
    /// How arrivals are spread.
    #[arg(long, value_enum, default_value = "poisson")]
    shape: ShapeName,
    /// Commands a second at the end of a ramp, which needs it.
    #[arg(long, value_name = "N", value_parser = rate, required_if_eq("shape", "ramp"))]
    to: Option<f64>,
    /// Commands of a burst.
    #[arg(long, value_name = "N", default_value = "50", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    burst: u64,
    /// Seconds from burst to burst.
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds)]
    burst_every: Duration,
    /// For how many seconds commands come, at most an hour.
    #[arg(long = "for", value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    duration: Duration,
    /// What is meant to be sent in the first so many seconds is in no latency.
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = kill_seconds)]
    warm_up: Duration,
    /// The seed of times and commands.
    #[arg(long, value_name = "N", default_value = "1")]
    seed: u64,
    /// Requests under way at once; what finds no free place waits, and its wait counts.
    #[arg(long, value_name = "N", default_value = "256", value_parser = clap::value_parser!(u64).range(1..=IN_FLIGHT_MAX))]
    in_flight: u64,
    /// A command without a final answer is given up so many seconds after it was meant to be sent.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    deadline: Duration,
    /// Share of the confirmed commands whose outcome is asked for, 0 to 1: a request more for each.
    #[arg(long, value_name = "SHARE", default_value = "1", value_parser = share)]
    follow: f64,
    /// What is demanded, such as p99<50ms, outcome.p90<=1s or unanswered<0.1%; exit code 3 if it is not met.
    #[arg(long = "threshold", value_name = "DEMAND")]
    thresholds: Vec<Demand>,
    /// Look for the highest rate, from --rate to this one, that meets every --threshold, of which it takes one at least; each is tried for as long as --for says.
    #[arg(long, value_name = "N", value_parser = rate, requires = "thresholds")]
    find_max: Option<f64>,
    /// Rates that are tried at most.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=i64::from(search::STEPS_MAX)))]
    steps: u32,
    /// Kill a role, as `kill -9` does, so many seconds after the begin, and start it again a second, or DOWN seconds, later:
    /// broker@5 or broker@5+0.5. Only of a system that the load started.
    #[arg(long = "kill", value_name = "ROLE@SECONDS[+DOWN]", conflicts_with_all = ["url", "find_max"])]
    kills: Vec<Kill>,
    /// The `tenantryd` to start [default: the one beside this program, or else in the PATH].
    #[arg(long, value_name = "FILE", conflicts_with = "url")]
    tenantryd: Option<PathBuf>,
    #[command(flatten)]
    attached: attach::Attached,
    /// Write the record as JSON to this file; `-` is stdout, instead of the text.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the report into this folder: a page, the text, the record, and the histograms for HdrHistogram's tools.
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ShapeName {
    /// Always the same gap.
    Constant,
    /// Gaps as of many people who know nothing of each other.
    Poisson,
    /// The same, at a rate that changes evenly from --rate to --to.
    Ramp,
    /// The same, and again and again --burst commands at once.
    Bursts,
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| (0.1..=100_000.0).contains(rate));
    rate.ok_or_else(|| "it is a number of commands a second, from 0.1 to 100000".to_owned())
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "it is a share from 0 to 1".to_owned())
}

fn kill_seconds(text: &str) -> Result<Duration, String> {
    let seconds = kill::seconds(text).filter(|seconds| *seconds <= Duration::from_secs(3_600));
    seconds.ok_or_else(|| "it is a number of seconds, such as 2 or 0.5, up to 3600".to_owned())
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = kill_seconds(text)?;
    if seconds < Duration::from_millis(100) { Err("it is at least 0.1 seconds".to_owned()) } else { Ok(seconds) }
}

/// What is loaded.
struct System {
    /// It ends with this.
    cluster: Option<Cluster>,
    api: Arc<Api>,
    cast: Cast,
    words: String,
}

/// Why there is no report.
enum Failure {
    Usage(miette::Report),
    Internal(miette::Report),
}

impl From<miette::Report> for Failure {
    fn from(report: miette::Report) -> Self {
        Self::Usage(report)
    }
}

impl From<ClusterError> for Failure {
    fn from(error: ClusterError) -> Self {
        Self::Internal(miette::miette!("{error}"))
    }
}

impl Load {
    pub(super) fn execute(self) -> Result<u8, miette::Report> {
        match self.try_execute() {
            Ok(exit_code) => Ok(exit_code),
            Err(Failure::Usage(report)) => Err(report),
            Err(Failure::Internal(report)) => {
                anstream::eprintln!("{report:?}");
                Ok(SuiteVerdict::Failed.exit_code())
            }
        }
    }

    fn try_execute(self) -> Result<u8, Failure> {
        let found = find_one(&self.scenario)?;
        self.check(&found)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Failure::Internal(miette::miette!("there is no runtime: {error}")))?;
        let report = runtime.block_on(self.load(&found))?;
        self.write(&report)?;
        Ok(report.verdict.exit_code())
    }

    /// Refuses what can't be done, before anything is started.
    fn check(&self, found: &Found) -> Result<(), miette::Report> {
        let workload = &found.scenario.workload;
        if *workload.commands.get_ref() == 0 {
            let help = "name a scenario whose [workload] has commands, such as smoke";
            return Err(miette::miette!(help = help, "{} has no commands to send", found.scenario.name));
        }
        if self.warm_up >= self.duration {
            let (warm_up, duration) = (self.warm_up.as_secs_f64(), self.duration.as_secs_f64());
            let help = "load for longer with --for, or warm up for less with --warm-up";
            return Err(miette::miette!(help = help, "nothing is left of {duration} s after {warm_up} s to warm up"));
        }
        let most = self.find_max.unwrap_or(self.rate);
        if most < self.rate {
            return Err(miette::miette!("--find-max {most} is less than --rate {}, the least to try", self.rate));
        }
        let expected = self.arrivals(most).expected();
        // A Poisson process may bring some more than it is expected to.
        if expected > COMMANDS_MAX as f64 * 0.98 {
            let help = "load for less time, or at a lower rate";
            return Err(miette::miette!(help = help, "{expected:.0} commands are more than {COMMANDS_MAX}"));
        }
        kill::check(&self.kills, self.duration).map_err(|why| miette::miette!("failed to use --kill: {why}"))?;
        self.attached.check()?;
        check_files(&[("--json", self.json.as_deref())], &[&self.scenario])?;
        if let Some(folder) = &self.report {
            check_folder(folder, "index.html")?;
        }
        Ok(())
    }

    fn arrivals(&self, rate: f64) -> Arrivals {
        let shape = match self.shape {
            ShapeName::Constant => Shape::Constant,
            ShapeName::Poisson => Shape::Poisson,
            ShapeName::Ramp => Shape::Ramp { to: self.to.unwrap_or(self.rate) },
            ShapeName::Bursts => Shape::Bursts { size: self.burst, every: self.burst_every },
        };
        Arrivals { shape, rate: self.rate, duration: self.duration }.scaled(rate / self.rate)
    }

    async fn load(&self, found: &Found) -> Result<LoadReport, Failure> {
        let stop = stop_on_signal();
        let mut system = self.system(found, &stop).await?;
        let Some(most) = self.find_max else {
            return self.step(found, &mut system, self.rate, &stop, 0).await;
        };
        let mut steps: Vec<SearchStep> = Vec::new();
        let mut last = None;
        while let Some(rate) = search::next(&steps, self.rate, most, self.steps) {
            let report = self.step(found, &mut system, rate, &stop, steps.len()).await?;
            steps.push(SearchStep {
                rate,
                met: judge::all_met(&report.thresholds),
                total_wall_us: report.stage(WallStage::Total).map(|of| of.summary_wall_us).unwrap_or_default(),
                bottleneck: report.generator.bottleneck.clone(),
            });
            let broken = report.verdict >= SuiteVerdict::Violated;
            last = Some(report);
            if broken || stop.is_cancelled() {
                break;
            }
        }
        let mut report = last.ok_or_else(|| Failure::Internal(miette::miette!("no rate was tried")))?;
        let found = search::summed(steps);
        judge::search(&mut report, &found);
        report.search = Some(found);
        Ok(report)
    }

    /// The system to load, up and answering.
    async fn system(&self, found: &Found, stop: &CancellationToken) -> Result<System, Failure> {
        if let Some(attached) = self.attached.system()? {
            if !attached.api.is_up(Duration::from_secs(5)).await {
                let help = "start it with `tenantryd up`, or leave --url out: a load then starts a system of its own";
                return Err(miette::miette!(help = help, "nobody answers at {}/healthz", attached.words).into());
            }
            return Ok(attached);
        }
        let workload = &found.scenario.workload;
        let cast = Cast::draw(&Dice::new(self.seed), *workload.tenants.get_ref(), *workload.operators.get_ref());
        let tenantryd = self.tenantryd.clone().unwrap_or_else(beside);
        let mut cluster = Cluster::start(&tenantryd, &cast).map_err(|error| {
            let help = "build it with `cargo build --release --bins`, or name it with --tenantryd";
            Failure::Usage(miette::miette!(help = help, "{error}"))
        })?;
        let api = cluster.api(&cast, stop).await?;
        let words = "a system of its own, each of six roles a process".to_owned();
        Ok(System { cluster: Some(cluster), api: Arc::new(api), cast, words })
    }

    /// One load at one rate.
    async fn step(
        &self,
        found: &Found,
        system: &mut System,
        rate: f64,
        stop: &CancellationToken,
        step: usize,
    ) -> Result<LoadReport, Failure> {
        let (arrivals, dice) = (self.arrivals(rate), Dice::new(self.seed));
        let named = SystemClock.now().as_millisecond();
        let shots: Arc<[Shot]> = {
            let (workload, times) = (&found.scenario.workload, arrivals.draw(&dice));
            let load = format!("load-{named:x}-{step}");
            shots::draw(&dice, workload, &system.cast, &times, &load, self.follow).into()
        };
        let limits = Limits { in_flight_max: self.in_flight as usize, deadline: self.deadline };
        let live = Arc::new(Live::default());
        let (used, woke) = (processor::used(), Instant::now());
        let began_unix_ms = SystemClock.now().as_millisecond();
        let begun = Instant::now() + LEAD;
        let board = Board::new(&found.scenario.name, &arrivals, &self.kills, live.clone(), begun);
        let board = tokio::spawn(board.show(stop.clone()));
        let driving = drive(system.api.clone(), shots.clone(), limits, begun, live, stop.clone());
        let killing = async {
            match &mut system.cluster {
                Some(cluster) => kill::run(cluster, &self.kills, begun, stop).await,
                None => Ok(Vec::new()),
            }
        };
        let (driven, gone) = tokio::join!(driving, killing);
        let ended_unix_ms = SystemClock.now().as_millisecond();
        let processor_share = used.zip(processor::used()).map(|(before, after)| {
            let used = after.saturating_sub(before);
            used.as_secs_f64() / woke.elapsed().as_secs_f64().max(0.001)
        });
        board.abort();
        // It clears the board where it is aborted.
        let _ = board.await;
        let failed = match (&gone, &mut system.cluster) {
            (Err(error), _) => Some(error.to_string()),
            (Ok(_), Some(cluster)) => cluster.check().err().map(|error| error.to_string()),
            (Ok(_), None) => None,
        };
        let sent = Sent {
            shots: &shots,
            driven: &driven,
            warm_up: self.warm_up,
            duration: self.duration,
            processor_share,
            in_flight_max: limits.in_flight_max,
        };
        let measured = |at: i64| u64::try_from(at).unwrap_or_default();
        let from = measured(began_unix_ms) + WallMs::of(LEAD + self.warm_up).0;
        let times = (from, measured(ended_unix_ms).max(from));
        Ok(self.report(found, system, &arrivals, &sent, &gone.unwrap_or_default(), times, failed.as_deref()))
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of a report, each from elsewhere")]
    fn report(
        &self,
        found: &Found,
        system: &System,
        arrivals: &Arrivals,
        sent: &Sent<'_>,
        gone: &[Gone],
        (began_unix_ms, ended_unix_ms): (u64, u64),
        failed: Option<&str>,
    ) -> LoadReport {
        let Driven { stopped, followed_late, .. } = *sent.driven;
        let mut report = LoadReport {
            version: VERSION,
            time: WallTimeBase::Wall,
            build: build(),
            scenario: found.scenario.name.clone(),
            description: found.scenario.description.clone(),
            source: Some(found.source.clone()),
            seed: self.seed,
            verdict: SuiteVerdict::Pass,
            notes: Vec::new(),
            began_unix_ms,
            ended_unix_ms,
            plan: LoadPlan {
                arrivals: arrivals.words(),
                rate: arrivals.rate_mean(),
                duration_ms: WallMs::of(self.duration),
                warm_up_ms: WallMs::of(self.warm_up),
                in_flight_max: self.in_flight,
                deadline_ms: WallMs::of(self.deadline),
                followed: self.follow,
            },
            target: Target {
                own: system.cluster.is_some(),
                words: system.words.clone(),
                cores: std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64),
            },
            commands: sent.commands(),
            sending: sent.sending(),
            latency: sent.latency(),
            series: sent.series(),
            faults: sent.faults(gone),
            refusals: sent.refusals(),
            thresholds: Vec::new(),
            generator: sent.generator(),
            search: None,
            reproduce: reproduce(std::env::args()),
        };
        report.thresholds = self.thresholds.iter().map(|demand| demand.judge(&report)).collect();
        let circumstances = judge::Circumstances { failed, stopped, followed_late, own: system.cluster.is_some() };
        judge::load(&mut report, &circumstances);
        report
    }

    fn write(&self, report: &LoadReport) -> Result<(), miette::Report> {
        let mut json = serde_json::to_string_pretty(report).map_err(|error| miette::miette!("no JSON: {error}"))?;
        json.push('\n');
        let text = load_text::render(report);
        if let Some(folder) = &self.report {
            let log = hlog::render_load(report).map_err(|error| miette::miette!("{error}"))?;
            write(&folder.join("index.html"), html::load(report).as_bytes())?;
            write(&folder.join("record.json"), json.as_bytes())?;
            write(&folder.join("summary.txt"), text.as_bytes())?;
            write(&folder.join("load.hlog"), log.as_bytes())?;
        }
        match &self.json {
            Some(path) if path == Path::new("-") => print(&json),
            Some(path) => {
                write(path, json.as_bytes())?;
                print(&text)
            }
            None => print(&text),
        }
    }
}

/// The command line that loads as `called` did, and writes over nothing that it wrote.
fn reproduce(called: impl Iterator<Item = String>) -> String {
    let mut words = Vec::new();
    let mut is_path = false;
    for word in called {
        let is_output = |name: &str| word == name || word.starts_with(&format!("{name}="));
        match (is_path, is_output("--report") || is_output("--json")) {
            (false, false) => words.push(quoted(&word)),
            (true, _) => is_path = false,
            (false, true) => is_path = !word.contains('='),
        }
    }
    words.join(" ")
}

/// The `tenantryd` that was built with this program, or else the one in the PATH.
fn beside() -> PathBuf {
    let own = std::env::current_exe().ok().map(|own| own.with_file_name("tenantryd"));
    own.filter(|path| path.is_file()).unwrap_or_else(|| "tenantryd".into())
}

/// Cancelled by Ctrl-C or SIGTERM: what was measured until then is told. The second ends the process at once; what it started
/// ends with it.
fn stop_on_signal() -> CancellationToken {
    use tokio::signal::unix::{SignalKind, signal};

    /// What a shell says of a process that SIGINT ended.
    const EXIT_INTERRUPTED: i32 = 130;

    let stop = CancellationToken::new();
    let (interrupt, terminate) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    // Where the system lets nobody listen, a signal ends the process at once, as ever.
    if let (Ok(mut interrupt), Ok(mut terminate)) = (interrupt, terminate) {
        let signalled = stop.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    biased;
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                if signalled.is_cancelled() {
                    std::process::exit(EXIT_INTERRUPTED);
                }
                signalled.cancel();
            }
        });
    }
    stop
}

#[cfg(test)]
mod tests {
    use super::reproduce;

    #[test]
    fn whoever_loads_again_writes_over_nothing() {
        let of = |line: &str| reproduce(line.split(' ').map(str::to_owned));
        assert_eq!(of("tenantry load smoke --report a --rate 9 --json b"), "tenantry load smoke --rate 9");
        assert_eq!(of("tenantry load smoke --json=- --report=a --seed 2"), "tenantry load smoke --seed 2");
    }
}
