//! Hosts services in turmoil, steps virtual time, and does to them what the injector decides.
//!
//! A run has two phases: in the first faults begin and heal, in the second all is healed and everything must end. After
//! every step the caller is asked whether it is done. A panic or an error on any host ends the run as a value that
//! names the host; so does a run that never gets done, by a limit on virtual time.
//!
//! A process may also die by its own decision, as one does whose disk failed: its main future ends with [`Died`]. That does
//! not end the run. The host is killed as by a crash, and a supervisor starts it again (see the injector). Between the
//! decision and the kill the rest of the step passes, in which its tasks live on, as threads do while a process exits.
//!
//! All that varies between two runs of one scenario comes from the seed: each link's latency, the order in which hosts
//! are registered (deliveries of one tick follow it), turmoil's own generator and tokio's.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt;
use std::ops::RangeInclusive;
use std::pin::Pin;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use turmoil::Sim;

use crate::engine::dice::Dice;
use crate::engine::disk_image::Flip;
use crate::engine::disks::DiskState;
use crate::engine::fault::Fault;
use crate::engine::injector::{Injector, Step};
use crate::engine::links::{Direction, Wire};
use crate::engine::panics;
use crate::engine::trace::Trace;
use crate::engine::weather::Weather;

/// Segments a simulated TCP connection buffers. turmoil panics on more, and its default of 64 is one busy moment.
const TCP_CAPACITY: usize = 4096;

/// The main future of a host's software.
pub type Software = Pin<Box<dyn Future<Output = Result<(), Box<dyn Error>>>>>;

/// A service to be hosted.
pub struct Host {
    /// Its name in the simulated network, in faults, and in the trace.
    pub name: String,
    /// Builds its software; called at the beginning and after each crash. A future that returns `Ok` has merely nothing
    /// more to do: the tasks it spawned live on. One that returns [`Died`] is killed and started again; any other error
    /// ends the run.
    pub start: Box<dyn Fn() -> Software>,
}

impl Host {
    /// A host whose software is made by `start`, each time from a clone of `state`: what lies outside of its process, such as
    /// a disk.
    pub fn new<S: Clone + 'static, F: Future<Output = Result<(), Box<dyn Error>>> + 'static>(
        name: &str,
        state: S,
        start: impl Fn(S) -> F + 'static,
    ) -> Self {
        Self { name: name.to_owned(), start: Box::new(move || Box::pin(start(state.clone()))) }
    }
}

/// The error with which a host's main future says that its process gives up and hopes for a fresh start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Died(
    /// Why, for the trace.
    pub String,
);

/// What a simulation is made from.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Decides everything that is not spelled out.
    pub seed: u64,
    /// Virtual milliseconds per step, at least 1. An idle host costs about 1.5 us of real time per step.
    pub tick_ms: u64,
    /// One-way latency of a link in virtual milliseconds, drawn once per link.
    pub latency_ms: RangeInclusive<u64>,
    /// The run ends as out of time when this much virtual time has passed.
    pub limit: Duration,
    /// Wall time at which the simulation begins; a constant, or digests differ from day to day.
    pub epoch: SystemTime,
    /// What the hosts live under: the runner opens and closes faults there.
    pub weather: Weather,
}

impl Settings {
    /// Settings that suit most: a tick of 1 ms, links of 1 to 4 ms, and a constant epoch in 2023.
    pub fn new(seed: u64, limit: Duration) -> Self {
        let epoch = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        Self { seed, tick_ms: 1, latency_ms: 1..=4, limit, epoch, weather: Weather::default() }
    }
}

/// The hosts' machines, as far as faults reach past the process: their disks. The half that hosts the services implements
/// it.
pub trait Machines {
    /// The software of `host` is about to be dropped. Its disk handles must err from now on: destructors write, and a
    /// dead process does not. Returns how many of its connections break.
    fn before_crash(&mut self, host: &str) -> u64;

    /// The power of `host` is gone at the virtual time `now`: its disk forgets what was not durable. Returns the bytes lost.
    fn power_loss(&mut self, host: &str, now: Duration) -> u64;

    /// The disk of `host` is in this state from now on; it may not have been started yet.
    fn set_disk(&mut self, host: &str, state: DiskState);

    /// A few bits on the disk of `host` turn over at the virtual time `now`. Returns which: none if it is empty.
    fn rot(&mut self, host: &str, now: Duration) -> BTreeSet<Flip>;

    /// Every connection between `a` and `b` breaks at both ends. Returns how many there were.
    fn reset(&mut self, a: &str, b: &str) -> u64;

    /// The process of `host`, which was stopped as long as the weather said so, goes on.
    fn resume(&mut self, host: &str);
}

/// Where a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Faults begin and heal.
    Chaos,
    /// All is healed, for good: what was accepted must end.
    Drain,
}

/// How a run ended that broke nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunEnd {
    /// The caller said it was done.
    Done,
    /// The limit of virtual time was reached before.
    OutOfTime,
}

/// What ended a run from inside. The simulation must not be stepped again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// Something panicked.
    #[error("{} panicked: {message}", .host.as_deref().unwrap_or("the harness"))]
    Panicked {
        /// On which host, if it was on one.
        host: Option<String>,
        /// The panic's text, with file and line.
        message: String,
    },
    /// A host's main future returned an error.
    #[error("{host} ended with an error: {message}")]
    HostFailed {
        /// Which one.
        host: String,
        /// The error and its causes.
        message: String,
    },
    /// A fault names a host that does not exist.
    #[error("a fault names the unknown host {host:?}")]
    UnknownHost {
        /// The name.
        host: String,
    },
}

/// Hosts in a simulated network, and its virtual time.
pub struct Simulation {
    sim: Sim<'static>,
    hosts: Vec<String>,
    limit: Duration,
    weather: Weather,
    /// Each wire's own one-way latency.
    latencies: BTreeMap<(String, String), Duration>,
    fired: BTreeMap<&'static str, u64>,
    bytes_lost: u64,
    deaths: u64,
    last_death: Option<(String, Died)>,
    died: DiedHere,
}

/// Who died in the step under way, and of what.
type DiedHere = Rc<RefCell<BTreeMap<String, Died>>>;

impl Simulation {
    /// A simulation of `hosts`. None of them runs before [`Simulation::run`]. One at a time per thread.
    ///
    /// # Panics
    /// When two hosts have one name, the tick is zero, or the latency range is empty.
    pub fn new(settings: &Settings, hosts: Vec<Host>) -> Self {
        assert!(settings.tick_ms >= 1, "a tick of {} ms: clocks go wrong below 1", settings.tick_ms);
        panics::forget_runtimes();
        let dice = Dice::new(settings.seed);
        let latency = Duration::from_millis(*settings.latency_ms.end());
        let mut sim = turmoil::Builder::new()
            .rng_seed(dice.u64("runner.turmoil", "", 0))
            .epoch(settings.epoch)
            .tick_duration(Duration::from_millis(settings.tick_ms))
            // The limit is ours to check: turmoil's own ends only runs that have clients.
            .simulation_duration(Duration::MAX)
            .min_message_latency(latency)
            .max_message_latency(latency)
            // turmoil's loss rate flushes whole links: it is no packet loss.
            .fail_rate(0.0)
            .tcp_capacity(TCP_CAPACITY)
            .enable_random_order()
            .build();
        let mut shuffled = hosts;
        // Sorted by a draw of each host's own: one host less leaves the others in their order.
        shuffled.sort_by_cached_key(|host| (dice.u64("runner.order", &host.name, 0), host.name.clone()));
        let mut names: Vec<String> = shuffled.iter().map(|host| host.name.clone()).collect();
        let died = DiedHere::default();
        for host in shuffled {
            register(&mut sim, host, died.clone());
        }
        names.sort();
        let mut latencies = BTreeMap::new();
        for (index, a) in names.iter().enumerate() {
            for b in &names[index + 1..] {
                assert_ne!(a, b, "two hosts have one name");
                let ms = dice.range("runner.latency", &format!("{a}|{b}"), 0, settings.latency_ms.clone());
                sim.set_link_latency(a.as_str(), b.as_str(), Duration::from_millis(ms));
                latencies.insert((a.clone(), b.clone()), Duration::from_millis(ms));
            }
        }
        let (fired, limit, weather) = (BTreeMap::new(), settings.limit, settings.weather.clone());
        let (bytes_lost, deaths, last_death) = (0, 0, None);
        Self { sim, hosts: names, limit, weather, latencies, fired, bytes_lost, deaths, last_death, died }
    }

    /// Virtual time since the simulation began.
    pub fn elapsed(&self) -> Duration {
        self.sim.elapsed()
    }

    /// How many faults of each kind changed something.
    pub fn fired(&self) -> &BTreeMap<&'static str, u64> {
        &self.fired
    }

    /// How many faults of each kind were felt by anyone.
    pub fn effects(&self) -> BTreeMap<&'static str, u64> {
        self.weather.effects()
    }

    /// Bytes that power losses took, over all hosts.
    pub fn bytes_lost(&self) -> u64 {
        self.bytes_lost
    }

    /// How often a process died of itself, over all hosts.
    pub fn deaths(&self) -> u64 {
        self.deaths
    }

    /// The process that died of itself last, by its host, and why.
    pub fn last_death(&self) -> Option<&(String, Died)> {
        self.last_death.as_ref()
    }

    /// Steps virtual time until `done` says so. At `heal_by` whatever is still open is healed and nothing begins any
    /// more. `done` is asked after every step, with the virtual time then and the phase the step was in. Faults stand
    /// in `trace` as `fault.begin`, `fault.end`, `power.lost` and `disk.rotted`, a process that died as `host.died`.
    ///
    /// # Errors
    /// When a host panicked or failed, or a fault names a host that does not exist.
    pub fn run(
        &mut self,
        faults: &[Fault],
        machines: &mut dyn Machines,
        trace: &Trace,
        heal_by: Duration,
        done: &mut dyn FnMut(Duration, Phase) -> bool,
    ) -> Result<RunEnd, RunError> {
        let unknown = |host| RunError::UnknownHost { host };
        let mut injector = Injector::new(self.hosts.clone(), faults).map_err(unknown)?;
        trace.await_all(injector.awaited());
        loop {
            let now = self.sim.elapsed();
            trace.came().into_iter().for_each(|(number, at)| injector.came(number, at));
            let steps = if now < heal_by { injector.advance(now) } else { injector.heal_all(now) };
            self.guarded(|simulation| {
                steps.into_iter().for_each(|step| simulation.perform(step, machines, trace));
                simulation.weather.end_instants();
                simulation.sim.step()?;
                simulation.bury(&mut injector, machines, trace);
                Ok(())
            })?;
            let phase = if now < heal_by { Phase::Chaos } else { Phase::Drain };
            if done(self.sim.elapsed(), phase) {
                return Ok(RunEnd::Done);
            }
            if self.sim.elapsed() >= self.limit {
                return Ok(RunEnd::OutOfTime);
            }
        }
    }

    /// Runs `work`; a panic in it, or a host's error out of it, becomes ours.
    fn guarded(&mut self, work: impl FnOnce(&mut Self) -> turmoil::Result) -> Result<(), RunError> {
        match panics::catch(|| work(self)) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(match error.downcast::<HostError>() {
                Ok(error) => RunError::HostFailed { host: error.host, message: error.message },
                Err(error) => RunError::Panicked { host: None, message: told(&*error) },
            }),
            Err(panics::Caught { host, message }) => Err(RunError::Panicked { host, message }),
        }
    }

    /// Kills the hosts whose process died in the step that has just ended, in the order of their names.
    fn bury(&mut self, injector: &mut Injector, machines: &mut dyn Machines, trace: &Trace) {
        let now = self.sim.elapsed();
        for (host, why) in self.died.take() {
            trace.record(now, &host, "host.died", &why.0);
            self.perform(injector.died(&host, now), machines, trace);
            self.deaths += 1;
            self.last_death = Some((host, why));
        }
    }

    fn perform(&mut self, step: Step, machines: &mut dyn Machines, trace: &Trace) {
        let now = self.sim.elapsed();
        match step {
            Step::Wire(a, b, wire) => self.set_wire(&a, &b, wire),
            Step::Kill(host) => {
                let broken = machines.before_crash(&host);
                self.sim.crash(host.as_str());
                if broken > 0 {
                    self.weather.felt(&host, &["crash", "power_loss", "bounce", "restart_loop"]);
                }
            }
            Step::LosePower(host) => {
                let bytes = machines.power_loss(&host, now);
                self.bytes_lost += bytes;
                if bytes > 0 {
                    self.weather.felt(&host, &["power_loss"]);
                }
                trace.record(now, &host, "power.lost", &format!("{bytes} bytes"));
            }
            Step::Start(host) => self.sim.bounce(host.as_str()),
            Step::Disk(host, state) => machines.set_disk(&host, state),
            Step::Latency(a, b, ms) => {
                let own = self.latencies.get(&(a.clone(), b.clone())).copied().unwrap_or_default();
                self.sim.set_link_latency(a.as_str(), b.as_str(), ms.map_or(own, Duration::from_millis));
            }
            Step::Resume(host) => machines.resume(&host),
            Step::Reset(fault) => {
                let broken = machines.reset(fault.kind.hosts()[0], fault.kind.hosts()[1]);
                self.begun(&fault, broken > 0, trace);
                if broken > 0 {
                    self.weather.feel(|kind| *kind == fault.kind);
                }
            }
            Step::Rot(fault) => {
                let host = fault.kind.hosts()[0];
                let flips = machines.rot(host, now);
                self.begun(&fault, !flips.is_empty(), trace);
                flips.iter().for_each(|flip| trace.record(now, host, "disk.rotted", &flip.to_string()));
            }
            Step::Begun { fault, fired } => self.begun(&fault, fired, trace),
            Step::Healed(fault) => {
                self.weather.end(&fault);
                trace.record(now, fault.kind.hosts()[0], "fault.end", &fault.kind.to_string());
            }
        }
    }

    fn begun(&mut self, fault: &Fault, fired: bool, trace: &Trace) {
        self.weather.begin(fault, self.sim.elapsed());
        let idle = if fired { "" } else { " (changes nothing)" };
        trace.record(self.sim.elapsed(), fault.kind.hosts()[0], "fault.begin", &format!("{}{idle}", fault.kind));
        if fired {
            *self.fired.entry(fault.kind.name()).or_default() += 1;
        }
    }

    /// Brings a wire into a state from any other. `release` opens both directions and delivers what was held, which
    /// `repair` would leave waiting for ever; cutting one direction afterwards drops what is on its way there.
    fn set_wire(&self, a: &str, b: &str, wire: Wire) {
        let sim = &self.sim;
        match (wire.there, wire.back) {
            (Direction::Cut, Direction::Cut) => sim.partition(a, b),
            (Direction::Held, _) | (_, Direction::Held) => sim.hold(a, b),
            _ => sim.release(a, b),
        }
        match (wire.there, wire.back) {
            (Direction::Cut, Direction::Open | Direction::Held) => sim.partition_oneway(a, b),
            (Direction::Open | Direction::Held, Direction::Cut) => sim.partition_oneway(b, a),
            _ => {}
        }
    }
}

impl fmt::Debug for Simulation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulation")
            .field("hosts", &self.hosts)
            .field("elapsed", &self.elapsed())
            .finish_non_exhaustive()
    }
}

/// A host's error with its name: turmoil passes an error on without saying whose it is.
#[derive(Debug, thiserror::Error)]
#[error("{host}: {message}")]
struct HostError {
    host: String,
    message: String,
}

fn register(sim: &mut Sim<'static>, host: Host, died: DiedHere) {
    let Host { name, start } = host;
    let (label, start) = (name.clone(), Rc::new(start));
    sim.host(name, move || {
        let (label, start, died) = (label.clone(), Rc::clone(&start), died.clone());
        async move {
            panics::name_runtime(&label);
            if let Err(error) = start().await {
                let why = error.downcast::<Died>().map_err(|error| told(&*error));
                match why {
                    // turmoil would end the run on an error: the runner looks here after the step, and kills the host.
                    Ok(why) => drop(died.borrow_mut().insert(label, *why)),
                    Err(message) => return Err(HostError { host: label, message }.into()),
                }
            }
            // A host whose main future has returned is never stepped again, and its tasks would freeze unseen.
            std::future::pending().await
        }
    });
}

/// An error with its causes, in one line.
fn told(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

#[cfg(test)]
#[path = "runner_tests.rs"]
mod tests;
