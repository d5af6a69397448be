//! A scenario file: what runs, for how long, on what network and disk, and what goes wrong when.
//!
//! The engine owns the sections every service has in common; `[topology]` and `[workload]` belong to the hosted half,
//! which gives their types and checks their values through [`Section`]. Nothing is guessed: unknown keys, impossible
//! values and misspelt hosts are errors that point at their place and say what would be right.
//!
//! A file is read twice over: serde takes the shape, with the place of every value that is judged later; then the
//! checks here turn it into a [`Scenario`] in which only what makes sense can be said.

use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::engine::chaos::{Chaos, RawChaos};
use crate::engine::dice::Dice;
use crate::engine::fault::Fault;
use crate::engine::scenario_error::{ScenarioError, SectionError, from_toml, one_of};
use crate::engine::scenario_fault::RawFault;
use crate::engine::scenario_plan::{Names, RawPlan, Spelt, World};
use crate::engine::spanned::Spanned;

/// The longest that chaos or drain may take, in virtual milliseconds: one hour, which is minutes of real time.
pub(super) const PHASE_MS_MAX: u64 = 3_600_000;
/// The coarsest tick, in virtual milliseconds: timers are no finer than it.
const TICK_MS_MAX: u64 = 100;
/// The slowest link or sync, in virtual milliseconds: one minute.
pub(super) const DELAY_MS_MAX: u64 = 60_000;

/// Whether a kind of fault, by its name, is one that can happen to a host.
pub type Suits = fn(kind: &str, host: &str) -> bool;

/// A section that belongs to the hosted half. Keep a `Spanned` round each value that `check` may refuse, and
/// `#[serde(deny_unknown_fields)]` on the type.
pub trait Section: DeserializeOwned {
    /// Refuses values that make no sense, each with its span.
    ///
    /// # Errors
    /// The first such value.
    fn check(&self) -> Result<(), SectionError>;

    /// The marks a run can reach, so that a misspelt `sometimes` is an error instead of never seen. `None` leaves them
    /// unchecked. Only the workload is asked.
    fn known_marks() -> Option<Vec<String>> {
        None
    }

    /// The kinds of events that a run's trace can have, for faults that wait for one. `None` leaves them unchecked. Only the
    /// workload is asked.
    fn known_events() -> Option<Vec<String>> {
        None
    }
}

/// The section that says what the hosted half does.
pub trait Work: Section {
    /// One thing that it does, as `[plan]` spells it out.
    type Act: DeserializeOwned;

    /// Whether a kind of fault that names one host, by the kind's name, is one that can happen to `host`: only a broker has
    /// redelivery storms. It is asked when a scenario is read and when chaos is drawn.
    fn suits(_kind: &str, _host: &str) -> bool {
        true
    }

    /// Refuses values that make no sense beside a `[plan]`, by which nothing is drawn that the plan says.
    ///
    /// # Errors
    /// The first such value.
    fn check_beside_plan(&self) -> Result<(), SectionError> {
        self.check()
    }

    /// What a `[plan]` may guard, and what may be planted by one.
    fn known_names() -> Names {
        Names::default()
    }

    /// Refuses an act that makes no sense with `seed`.
    ///
    /// # Errors
    /// What is wrong, and what would be right.
    fn check_act(&self, seed: u64, act: &Self::Act) -> Result<(), (String, String)>;

    /// The name of what comes into the world by an act, if it has one: no two of a plan may bring the same.
    fn brings(_act: &Self::Act) -> Option<&str> {
        None
    }
}

/// A checked scenario. `T` is the hosted half's topology, `W` its workload.
#[derive(Debug, Clone)]
pub struct Scenario<T, W: Work> {
    /// The file's stem.
    pub name: String,
    /// What it shows, in a sentence.
    pub description: String,
    /// How long workload and faults may run, in virtual time; every fault is healed by then.
    pub duration: Duration,
    /// How long after that everything may take to end, in virtual time.
    pub drain: Duration,
    /// Marks that must be reached at least once over a suite's seeds.
    pub sometimes: Vec<String>,
    /// The simulated network.
    pub network: Network,
    /// The simulated disks.
    pub disk: Disk,
    /// The hosted half's hosts.
    pub topology: T,
    /// The hosted half's work.
    pub workload: W,
    /// What goes wrong, in the order of the file.
    pub faults: Vec<Fault>,
    /// What goes wrong beside that, drawn for each seed.
    pub chaos: Option<Chaos>,
    /// What happens, spelt out: then no act is drawn. Its faults come beside `faults`.
    pub plan: Option<Spelt<W::Act>>,
}

/// The simulated network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// One-way latency in virtual milliseconds, drawn once per link and seed. 1 to 4 when the file is silent.
    pub latency_ms: RangeInclusive<u64>,
    /// Virtual milliseconds per step. 1 when the file is silent.
    pub tick_ms: u64,
}

/// The simulated disks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// How long a sync takes in virtual milliseconds. 1 to 4 when the file is silent.
    pub sync_ms: RangeInclusive<u64>,
    /// A control: syncs say done and make nothing durable.
    pub lying_sync: bool,
}

impl<T: Section + Default, W: Work> Scenario<T, W> {
    /// Reads a scenario. `file_name` is for errors, and its stem must be the scenario's name. `known_hosts` names every
    /// host that topology and workload make, for faults to act on.
    ///
    /// # Errors
    /// The first thing that is wrong, with its place.
    pub fn parse(
        file_name: &str,
        text: &str,
        known_hosts: impl Fn(&T, &W) -> Vec<String>,
    ) -> Result<Self, ScenarioError> {
        toml::from_str(text)
            .map_err(|error| from_toml(&error, text))
            .and_then(|raw| check(raw, file_name, known_hosts))
            .map_err(|error| error.in_file(file_name, text))
    }
}

impl<T, W: Work> Scenario<T, W> {
    /// What goes wrong with this seed: what the file spells out, then what its plan does, or its chaos draws, on wires only
    /// where `talk` says that two hosts do.
    pub fn faults(&self, dice: &Dice, talk: impl Fn(&str, &str) -> bool) -> Vec<Fault> {
        let duration_ms = u64::try_from(self.duration.as_millis()).expect("at most an hour");
        let more = match (&self.plan, &self.chaos) {
            (Some(spelt), _) => spelt.faults.clone(),
            (None, Some(chaos)) => chaos.draw(dice, duration_ms, talk, W::suits),
            (None, None) => Vec::new(),
        };
        self.faults.iter().cloned().chain(more).collect()
    }
}

// As written. What its docs say, and its fields', editors show.
/// What runs, for how long, and what goes wrong when.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, bound = "T: DeserializeOwned + Default, W: Work")]
#[schemars(title = "Scenario", bound = "T: JsonSchema + Default, W: Work + JsonSchema")]
pub(super) struct Raw<T, W: Work> {
    /// As the file is called, without `.toml`.
    name: Spanned<String>,
    /// What it shows, in a sentence.
    description: String,
    /// How long work and faults may take, in virtual milliseconds.
    duration_ms: Spanned<u64>,
    /// How long everything may take to end after that, in virtual milliseconds.
    #[serde(default = "drain_ms")]
    drain_ms: Spanned<u64>,
    /// Marks that at least one seed must reach, or the run is inconclusive.
    #[serde(default)]
    sometimes: Vec<Spanned<String>>,
    /// The simulated network.
    #[serde(default)]
    network: RawNetwork,
    /// The simulated disks.
    #[serde(default)]
    disk: RawDisk,
    /// Which hosts there are.
    #[serde(default)]
    topology: T,
    /// What is done, by whom.
    workload: W,
    /// What goes wrong when.
    #[serde(default, rename = "fault")]
    faults: Vec<RawFault>,
    /// What happens, spelt out: then nothing is drawn.
    #[schemars(with = "Option<RawPlan<serde_json::Value>>")]
    plan: Option<RawPlan<W::Act>>,
    /// Faults that are drawn for each seed.
    chaos: Option<RawChaos>,
}

#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct RawNetwork {
    /// One-way latency in virtual milliseconds, drawn once per link and seed.
    latency_ms: Spanned<MinMax>,
    /// Virtual milliseconds per step, 1 to 100.
    tick_ms: Spanned<u64>,
}

#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct RawDisk {
    /// How long a sync takes in virtual milliseconds.
    sync_ms: Spanned<MinMax>,
    /// A control: syncs say done and make nothing durable.
    lying_sync: bool,
}

#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MinMax {
    pub(super) min: u64,
    pub(super) max: u64,
}

impl Default for RawNetwork {
    fn default() -> Self {
        Self { latency_ms: unwritten(MinMax { min: 1, max: 4 }), tick_ms: unwritten(1) }
    }
}

impl Default for RawDisk {
    fn default() -> Self {
        Self { sync_ms: unwritten(MinMax { min: 1, max: 4 }), lying_sync: false }
    }
}

fn drain_ms() -> Spanned<u64> {
    unwritten(10_000)
}

/// A default: it stands nowhere in the file, and no check refuses it.
pub(super) fn unwritten<V>(value: V) -> Spanned<V> {
    Spanned::new(0..0, value)
}

fn check<T: Section, W: Work>(
    raw: Raw<T, W>,
    file_name: &str,
    known_hosts: impl Fn(&T, &W) -> Vec<String>,
) -> Result<Scenario<T, W>, SectionError> {
    check_name(&raw.name, file_name)?;
    let duration_ms = within(&raw.duration_ms, 1, PHASE_MS_MAX, "duration_ms")?;
    let drain_ms = within(&raw.drain_ms, 1, PHASE_MS_MAX, "drain_ms")?;
    check_marks(&raw.sometimes, W::known_marks())?;
    let network = Network {
        latency_ms: range(&raw.network.latency_ms, "latency_ms")?,
        tick_ms: within(&raw.network.tick_ms, 1, TICK_MS_MAX, "tick_ms")?,
    };
    let disk = Disk { sync_ms: range(&raw.disk.sync_ms, "sync_ms")?, lying_sync: raw.disk.lying_sync };
    raw.topology.check()?;
    match raw.plan {
        Some(_) => raw.workload.check_beside_plan()?,
        None => raw.workload.check()?,
    }
    let hosts = known_hosts(&raw.topology, &raw.workload);
    let events = W::known_events();
    let checked = |fault: &RawFault| fault.check(&hosts, W::suits, events.as_deref(), duration_ms);
    let faults = raw.faults.iter().map(checked).collect::<Result<_, _>>()?;
    let chaos = raw.chaos.as_ref().map(|chaos| chaos.check(&hosts, W::suits, duration_ms)).transpose()?;
    let times = (duration_ms, duration_ms + drain_ms);
    let check_act = |seed, act: &W::Act| raw.workload.check_act(seed, act);
    let world = World { hosts: &hosts, suits: W::suits, events: events.as_deref() };
    let acts = (check_act, W::brings as fn(&W::Act) -> Option<&str>);
    let plan = raw.plan.map(|plan| plan.check(world, &W::known_names(), times, acts)).transpose()?;
    Ok(Scenario {
        name: raw.name.into_inner(),
        description: raw.description,
        duration: Duration::from_millis(duration_ms),
        drain: Duration::from_millis(drain_ms),
        sometimes: raw.sometimes.into_iter().map(Spanned::into_inner).collect(),
        network,
        disk,
        topology: raw.topology,
        workload: raw.workload,
        faults,
        chaos,
        plan,
    })
}

fn check_name(name: &Spanned<String>, file_name: &str) -> Result<(), SectionError> {
    let stem = Path::new(file_name).file_stem().unwrap_or_default().to_string_lossy();
    if *name.get_ref() == stem {
        return Ok(());
    }
    let message = format!("the scenario {:?} stands in a file of another name", name.get_ref());
    Err(SectionError::new(name.span(), message, format!("write name = {stem:?}, or rename the file")))
}

fn check_marks(sometimes: &[Spanned<String>], known: Option<Vec<String>>) -> Result<(), SectionError> {
    let Some(known) = known else { return Ok(()) };
    match sometimes.iter().find(|mark| !known.contains(mark.get_ref())) {
        None => Ok(()),
        Some(mark) => {
            let (span, name) = (mark.span(), mark.get_ref());
            Err(SectionError::new(span, format!("no run reaches a mark {name:?}"), one_of(name, "marks", &known)))
        }
    }
}

fn within(value: &Spanned<u64>, min: u64, max: u64, name: &str) -> Result<u64, SectionError> {
    if (min..=max).contains(value.get_ref()) {
        return Ok(*value.get_ref());
    }
    let message = format!("{name} is {}", value.get_ref());
    Err(SectionError::new(value.span(), message, format!("{name} is at least {min} and at most {max}")))
}

fn range(value: &Spanned<MinMax>, name: &str) -> Result<RangeInclusive<u64>, SectionError> {
    let MinMax { min, max } = *value.get_ref();
    if min <= max && max <= DELAY_MS_MAX {
        return Ok(min..=max);
    }
    let message = format!("{name} reaches from {min} to {max}");
    let help = format!("write {name} = {{ min = A, max = B }} with A <= B <= {DELAY_MS_MAX}");
    Err(SectionError::new(value.span(), message, help))
}

#[cfg(test)]
#[path = "scenario_tests.rs"]
mod tests;
