//! Makes a violation small: the fewest faults and acts, on the simplest stage, that still break the same invariant.
//!
//! Every decision of a run is keyed by what is decided and not by when it is asked for, so what is left out takes nothing
//! else with it but its own consequences. Each candidate is a whole run. The same invariant must break, by its name; and a
//! system that came to rest before must still do so, for one that hangs breaks most invariants for no reason of its own.

use std::collections::BTreeSet;
use std::time::Duration;

use tenantry_reports::record::RunRecord;
use tenantry_system::rate_limit::Rate;

use super::cast::Cast;
use super::early::Until;
use super::idp;
use super::needs::supported;
use super::run::Setup;
use super::workload::{Act, Timed};
use crate::engine::dice::Dice;
use crate::engine::fault::{Fault, FaultKind};
use crate::engine::plan::{Plan, What};
use crate::engine::shrink::{Search, minimise};

pub use crate::engine::shrink::Limits;

/// The name that stands for no invariant, but for a panic or an error of the harness itself.
pub const HARNESS: &str = "harness";

/// The invariant that everything ends.
const LIVENESS: &str = "G10-liveness";

/// The invariant of limits. Where another breaks, a tighter limit only makes everything slower.
const FAIR_SHARE: &str = "G8-fair-share";

/// As tight as a limit can be.
const TIGHT: Rate = Rate::new(1, 1);

/// The system has this long to start, in virtual milliseconds, before anything happens in a plan that is moved to the
/// beginning.
const START_MS: u64 = 200;

/// A run that never comes to rest is given up so much after its heal: longer than any deadline or pause before a retry.
const DRAIN_MIN: Duration = Duration::from_secs(5);

/// A violation that was made small.
#[derive(Debug, Clone)]
pub struct Shrunk {
    /// What still violates it.
    pub setup: Setup,
    /// How many faults and acts are left.
    pub entries: usize,
    /// How many there were.
    pub entries_before: usize,
    /// What was simplified besides.
    pub simpler: Vec<Simpler>,
    /// How many runs it took.
    pub runs: u64,
    /// Whether no single entry can be left out: false if the budget was spent before that was known.
    pub is_minimal: bool,
    /// The record of what is left.
    pub record: RunRecord,
}

impl Shrunk {
    /// Whether there was anything to be made small: whether the run violated the invariant at all.
    #[must_use]
    pub fn is_violated(&self, invariant: &str) -> bool {
        violates(&self.record, invariant)
    }
}

/// A simplification of the stage on which a plan is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Simpler {
    /// Channels are in the clear.
    NoTls,
    /// Nobody follows live streams.
    NoFollowers,
    /// One consumer; faults of any consumer are its.
    OneConsumer,
    /// The identity provider has no host, so no faults and no rotations.
    NoIdpHost,
    /// No tenants beside those of the plan.
    FewerTenants,
    /// Every link is as quick as the quickest.
    QuickLinks,
    /// Every sync is as quick as the quickest.
    QuickDisks,
    /// Whatever happens begins soon after the start.
    Sooner,
    /// The heal comes when the last entry is over.
    ShorterChaos,
    /// A run that does not come to rest is given up sooner.
    ShorterDrain,
    /// One command a second and tenant is allowed, one at a time: fewer break a limit that nobody keeps.
    TightLimits,
}

impl Simpler {
    /// First those that make runs quicker.
    const ALL: [Self; 11] = [
        Self::NoTls,
        Self::NoFollowers,
        Self::OneConsumer,
        Self::NoIdpHost,
        Self::FewerTenants,
        Self::TightLimits,
        Self::ShorterDrain,
        Self::Sooner,
        Self::ShorterChaos,
        Self::QuickLinks,
        Self::QuickDisks,
    ];

    /// As people read it.
    #[must_use]
    pub fn told(self) -> &'static str {
        match self {
            Self::NoTls => "no TLS",
            Self::NoFollowers => "no followers",
            Self::OneConsumer => "one consumer",
            Self::NoIdpHost => "no host for the identity provider",
            Self::FewerTenants => "no tenants beside those of the plan",
            Self::QuickLinks => "every link as quick as the quickest",
            Self::QuickDisks => "every sync as quick as the quickest",
            Self::Sooner => "moved to the beginning",
            Self::ShorterChaos => "healed when the last entry is over",
            Self::ShorterDrain => "given up sooner",
            Self::TightLimits => "one command a second and tenant",
        }
    }
}

/// Makes `setup`, a run that violates `invariant`, as small as it can within `limits`. `invariant` may be [`HARNESS`]. If
/// the run does not violate it, that is all that comes back: see [`Shrunk::is_violated`].
#[must_use]
pub fn shrink(setup: &Setup, invariant: &str, limits: &Limits) -> Shrunk {
    shrink_telling(setup, invariant, limits, &|_, _| {})
}

/// The same, and tells `progress` now and then how many entries are left after how many runs.
#[must_use]
pub fn shrink_telling(setup: &Setup, invariant: &str, limits: &Limits, progress: &dyn Fn(usize, u64)) -> Shrunk {
    // What comes after the violation, or breaks another promise before it, is not looked for.
    let setup = &Setup { until: Until::Violation(invariant.to_owned()), ..setup.clone() };
    let record = setup.run(false).finished.record;
    let symptom = Symptom::of(&record, invariant);
    let all: Vec<usize> = (0..setup.plan.entries.len()).collect();
    let (acts, faults): (Vec<_>, Vec<_>) =
        all.into_iter().filter(|index| !setup.is_heal(*index)).partition(|index| setup.act(*index).is_some());
    let entries_before = acts.len() + faults.len();
    let mut left = Cut { acts, faults, simpler: BTreeSet::new() };
    let mut shrunk = Shrunk {
        setup: setup.clone(),
        entries: entries_before,
        entries_before,
        simpler: Vec::new(),
        runs: 1,
        is_minimal: false,
        record,
    };
    if !shrunk.is_violated(invariant) {
        return shrunk;
    }
    let fails = |cut: &Cut| symptom.shows(&setup.cut(cut).run(false).finished.record);
    let mut search = Search::new(Limits { runs: limits.runs.saturating_sub(2), ..*limits }, &fails);
    loop {
        let before = left.clone();
        for simpler in Simpler::ALL {
            let mut simplified = left.clone();
            let is_new = simplified.simpler.insert(simpler) && symptom.permits(simpler) && setup.allows(&left, simpler);
            if is_new && search.first(std::slice::from_ref(&simplified)).is_some() {
                left = simplified;
            }
        }
        let acts = std::mem::take(&mut left.acts);
        let with_acts = |acts: &[usize]| setup.sound(Cut { acts: acts.to_vec(), ..left.clone() });
        let fewest = minimise(&mut search, acts, with_acts);
        left = with_acts(&fewest);
        progress(left.acts.len() + left.faults.len(), search.runs());
        let faults = std::mem::take(&mut left.faults);
        let with_faults = |faults: &[usize]| Cut { faults: faults.to_vec(), ..left.clone() };
        let fewest = minimise(&mut search, faults, with_faults);
        left = with_faults(&fewest);
        progress(left.acts.len() + left.faults.len(), search.runs());
        if left == before || search.was_cut_short() {
            break;
        }
    }
    shrunk.setup = setup.cut(&left);
    shrunk.entries = shrunk.setup.plan.faults().len() + shrunk.setup.plan.acts().count();
    shrunk.is_minimal = !search.was_cut_short();
    shrunk.runs = search.runs() + 2;
    shrunk.record = shrunk.setup.run(false).finished.record;
    shrunk.simpler = left.simpler.into_iter().collect();
    shrunk
}

/// Whether `record` is of a run that violated `invariant`.
#[must_use]
pub fn violates(record: &RunRecord, invariant: &str) -> bool {
    match invariant {
        HARNESS => record.error.is_some(),
        _ => record.invariants.iter().any(|found| found.name == invariant && found.violations_total > 0),
    }
}

/// What is looked for in a candidate's record.
struct Symptom {
    invariant: String,
    /// The run came to rest: a candidate must, too.
    rests: bool,
    /// The harness's error was a panic.
    panicked: bool,
}

impl Symptom {
    fn of(record: &RunRecord, invariant: &str) -> Self {
        let rests = !violates(record, LIVENESS) && !violates(record, HARNESS);
        Self { invariant: invariant.to_owned(), rests, panicked: panicked(record) }
    }

    fn shows(&self, record: &RunRecord) -> bool {
        violates(record, &self.invariant)
            && panicked(record) == self.panicked
            && (!self.rests || !violates(record, LIVENESS))
    }

    /// To give a run up sooner helps only where it does not come to rest, and would itself violate liveness.
    fn permits(&self, simpler: Simpler) -> bool {
        match simpler {
            Simpler::ShorterDrain => !self.rests && self.invariant != LIVENESS,
            Simpler::TightLimits => self.invariant == FAIR_SHARE,
            _ => true,
        }
    }
}

fn panicked(record: &RunRecord) -> bool {
    record.error.as_ref().is_some_and(|error| error.contains("panicked"))
}

/// A part of a setup: the entries that are left, by their places in its plan, and how the stage was simplified.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Cut {
    acts: Vec<usize>,
    faults: Vec<usize>,
    simpler: BTreeSet<Simpler>,
}

impl Setup {
    /// The same without one entry, and without those that make no sense without it.
    pub(super) fn without(&self, index: usize) -> Self {
        let all = (0..self.plan.entries.len()).filter(|other| *other != index && !self.is_heal(*other));
        let (acts, faults) = all.partition(|index| self.act(*index).is_some());
        self.cut(&self.sound(Cut { acts, faults, simpler: BTreeSet::new() }))
    }

    pub(super) fn is_heal(&self, index: usize) -> bool {
        matches!(self.plan.entries[index].what, What::Heal(_))
    }

    pub(super) fn act(&self, index: usize) -> Option<&Act> {
        match &self.plan.entries[index].what {
            What::Act(act) => Some(act),
            What::Fault(_) | What::Heal(_) => None,
        }
    }

    /// `cut` without the acts that make no sense in it.
    fn sound(&self, mut cut: Cut) -> Cut {
        let acts: Vec<&Act> = cut.acts.iter().filter_map(|index| self.act(*index)).collect();
        let mut is_supported = supported(&acts).into_iter();
        cut.acts.retain(|_| is_supported.next() == Some(true));
        cut
    }

    /// Whether it makes any difference to what is left.
    fn allows(&self, left: &Cut, with: Simpler) -> bool {
        match with {
            Simpler::NoTls => self.tls,
            Simpler::NoFollowers => !self.followers.is_empty(),
            Simpler::OneConsumer => self.consumers.len() > 1,
            Simpler::NoIdpHost => self.idp_hosted,
            Simpler::FewerTenants => {
                let now = self.cut(left);
                now.fewer_tenants().tenants.len() < now.cast.tenants.len()
            }
            Simpler::QuickLinks => self.latency_ms.start() < self.latency_ms.end(),
            Simpler::QuickDisks => self.sync_ms.start() < self.sync_ms.end(),
            Simpler::Sooner | Simpler::ShorterChaos => {
                let mut simpler = left.clone();
                simpler.simpler.insert(with);
                let (now, then) = (self.cut(left), self.cut(&simpler));
                (now.plan, now.duration) != (then.plan, then.duration)
            }
            Simpler::ShorterDrain => self.drain > DRAIN_MIN,
            Simpler::TightLimits => self.rate_limits.tenant != TIGHT,
        }
    }

    /// The part of it that `cut` says.
    fn cut(&self, cut: &Cut) -> Self {
        let mut part = self.clone();
        let mut acts: Timed<Act> = Vec::new();
        let mut faults: Vec<Fault> = Vec::new();
        for index in cut.acts.iter().chain(&cut.faults) {
            let entry = &self.plan.entries[*index];
            match &entry.what {
                What::Act(act) => acts.push((entry.at_ms, act.clone())),
                What::Fault(fault) => faults.push(fault.clone()),
                What::Heal(_) => {}
            }
        }
        for simpler in &cut.simpler {
            part.simplify(*simpler, &mut acts, &mut faults);
        }
        part.plan = Plan::new(self.plan.seed, &self.plan.scenario, &faults, acts);
        // By what is left, so after all else.
        if cut.simpler.contains(&Simpler::FewerTenants) {
            part.cast = part.fewer_tenants();
        }
        if cut.simpler.contains(&Simpler::ShorterChaos) {
            let end = part.plan.entries.last().map_or(0, |entry| entry.at_ms);
            part.duration = part.duration.min(Duration::from_millis(end + 1));
        }
        part
    }

    fn simplify(&mut self, simpler: Simpler, acts: &mut Timed<Act>, faults: &mut Vec<Fault>) {
        match simpler {
            Simpler::NoTls => self.tls = false,
            Simpler::NoFollowers => self.followers.clear(),
            Simpler::OneConsumer => {
                self.consumers = vec!["consumer".into()];
                let one = |host: &str| if host.starts_with("consumer-") { "consumer".into() } else { host.to_owned() };
                faults.iter_mut().for_each(|fault| fault.kind = renamed(&fault.kind, &one));
                // Between two consumers there is nothing to be cut any more.
                faults.retain(|fault| fault.kind.hosts().iter().filter(|host| **host == "consumer").count() < 2);
            }
            Simpler::NoIdpHost => {
                self.idp_hosted = false;
                acts.retain(|(_, act)| !matches!(act, Act::Rotate(_)));
                faults.retain(|fault| !fault.kind.hosts().contains(&idp::HOST));
            }
            Simpler::QuickLinks => self.latency_ms = *self.latency_ms.start()..=*self.latency_ms.start(),
            Simpler::QuickDisks => self.sync_ms = *self.sync_ms.start()..=*self.sync_ms.start(),
            Simpler::Sooner => {
                let begins = faults.iter().map(|fault| fault.at.as_millis() as u64);
                // What stands at the very beginning, or has no time of its own, stays there.
                let first = begins.chain(acts.iter().map(|(at, _)| *at)).filter(|at| *at > 0).min().unwrap_or(0);
                let sooner = first.saturating_sub(START_MS);
                acts.iter_mut().for_each(|(at, _)| *at = at.saturating_sub(sooner));
                let sooner = Duration::from_millis(sooner);
                faults.iter_mut().for_each(|fault| fault.at = fault.at.saturating_sub(sooner));
            }
            Simpler::ShorterDrain => self.drain = self.drain.min(DRAIN_MIN),
            Simpler::TightLimits => self.rate_limits.tenant = TIGHT,
            Simpler::FewerTenants | Simpler::ShorterChaos => {}
        }
    }

    /// The cast with no more tenants than the plan names, and the one that nobody may act on. Only a cast that was drawn, of
    /// which fewer tenants change no role, and whom nobody follows.
    fn fewer_tenants(&self) -> Cast {
        let dice = Dice::new(self.plan.seed);
        let (tenants, operators) = (self.cast.tenants.len().saturating_sub(1), self.cast.operators.len());
        let draw = |tenants: usize| Cast::draw(&dice, tenants as u64, operators as u64);
        if self.catalogue || !self.followers.is_empty() || operators == 0 || self.cast != draw(tenants) {
            return self.cast.clone();
        }
        let acts = self.plan.acts().map(|(_, act)| serde_json::to_value(act).expect("acts are data"));
        let acts: Vec<_> = acts.collect();
        let is_named = |index: &usize| acts.iter().any(|act| names(act, self.cast.tenants[*index].as_str()));
        let last_named = (0..=tenants).rev().find(is_named);
        draw(last_named.map_or(1, |index| index + 1).min(tenants))
    }
}

/// Whether `name` stands anywhere in `value`.
fn names(value: &serde_json::Value, name: &str) -> bool {
    match value {
        serde_json::Value::String(text) => text == name,
        serde_json::Value::Array(values) => values.iter().any(|value| names(value, name)),
        serde_json::Value::Object(fields) => fields.values().any(|value| names(value, name)),
        _ => false,
    }
}

/// `kind` on hosts of other names. By way of its serialised form: so there is no list of kinds to be kept up.
fn renamed(kind: &FaultKind, rename: &dyn Fn(&str) -> String) -> FaultKind {
    fn rename_in(value: &mut serde_json::Value, rename: &dyn Fn(&str) -> String) {
        match value {
            serde_json::Value::String(text) => *text = rename(text),
            serde_json::Value::Array(values) => values.iter_mut().for_each(|value| rename_in(value, rename)),
            serde_json::Value::Object(fields) => fields.values_mut().for_each(|value| rename_in(value, rename)),
            _ => {}
        }
    }
    let mut value = serde_json::to_value(kind).expect("a fault is data");
    rename_in(&mut value, rename);
    serde_json::from_value(value).expect("only names were changed")
}

#[cfg(test)]
#[path = "shrink_tests.rs"]
mod tests;
