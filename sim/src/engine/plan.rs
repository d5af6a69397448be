//! What happens when: the explicit list a scenario and a seed expand to.
//!
//! Replay, shrinking and reports work on this list, not on the scenario: it can be written down, cut, and run again. It
//! holds the harness's own faults, and commands of the hosted half, whose type the engine does not know.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::engine::fault::Fault;

/// All that happens in one run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan<C> {
    /// Seed of every decision the plan does not spell out.
    pub seed: u64,
    /// Name of the scenario it came from.
    pub scenario: String,
    /// Sorted by time; at one instant heals come first, then faults, then commands.
    pub entries: Vec<Entry<C>>,
}

/// One thing that happens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry<C> {
    /// Virtual milliseconds since the simulation began; of a fault that waits for an event, 0.
    pub at_ms: u64,
    /// What happens.
    pub what: What<C>,
}

/// What an entry does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What<C> {
    /// A fault begins.
    Fault(Fault),
    /// A fault ends. It says nothing its fault does not; it stands here so that the list reads as a story.
    Heal(Fault),
    /// The hosted half does something.
    Act(C),
}

impl<C: Clone> Plan<C> {
    /// Expands faults and timed commands, each in any order, into one sorted list. Equal times keep the order given.
    pub fn new(seed: u64, scenario: &str, faults: &[Fault], acts: impl IntoIterator<Item = (u64, C)>) -> Self {
        // When one that waits for an event heals, nobody knows yet.
        let healed = |fault: &&Fault| !fault.kind.is_instant() && fault.when.is_none();
        let heals = faults.iter().filter(healed).map(|fault| (fault.ends(), What::Heal(fault.clone())));
        let begins = faults.iter().map(|fault| (fault.at, What::Fault(fault.clone())));
        let acts = acts.into_iter().map(|(at_ms, act)| (Duration::from_millis(at_ms), What::Act(act)));
        let entry = |(at, what): (Duration, What<C>)| {
            let at_ms = u64::try_from(at.as_millis()).expect("a plan's times fit into 64 bits of milliseconds");
            Entry { at_ms, what }
        };
        let mut entries: Vec<_> = heals.chain(begins).chain(acts).map(entry).collect();
        entries.sort_by_key(|entry| entry.at_ms);
        Self { seed, scenario: scenario.to_owned(), entries }
    }

    /// The faults, in the order in which they begin: what the runner takes.
    pub fn faults(&self) -> Vec<Fault> {
        let fault = |entry: &Entry<C>| match &entry.what {
            What::Fault(fault) => Some(fault.clone()),
            What::Heal(_) | What::Act(_) => None,
        };
        self.entries.iter().filter_map(fault).collect()
    }

    /// The hosted half's commands with their times in virtual milliseconds, in order.
    pub fn acts(&self) -> impl Iterator<Item = (u64, &C)> {
        self.entries.iter().filter_map(|entry| match &entry.what {
            What::Act(act) => Some((entry.at_ms, act)),
            What::Fault(_) | What::Heal(_) => None,
        })
    }
}

impl<C: Clone + PartialEq> Plan<C> {
    /// The plan with only those entries that `keep` is true for; it sees faults and commands, and a heal goes with its
    /// fault. Nothing else moves: this is the step a shrinker takes.
    pub fn retain(&self, mut keep: impl FnMut(usize, &Entry<C>) -> bool) -> Self {
        let kept = |(index, entry): (usize, &Entry<C>)| match entry.what {
            What::Heal(_) => None,
            What::Fault(_) | What::Act(_) => keep(index, entry).then(|| entry.clone()),
        };
        let entries = self.entries.iter().enumerate().filter_map(kept).collect();
        let shrunk = Self { seed: self.seed, scenario: self.scenario.clone(), entries };
        let acts: Vec<_> = shrunk.acts().map(|(at_ms, act)| (at_ms, act.clone())).collect();
        Self::new(self.seed, &self.scenario, &shrunk.faults(), acts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::fault::FaultKind;

    fn crash(host: &str, at: u64, for_: u64) -> Fault {
        let kind = FaultKind::Crash { host: host.into() };
        Fault { at: Duration::from_millis(at), for_: Duration::from_millis(for_), kind, when: None }
    }

    fn plan() -> Plan<String> {
        let bounce = Fault { kind: FaultKind::Bounce { host: "c".into() }, ..crash("c", 5, 0) };
        let acts = [(20, "second".to_owned()), (10, "first".to_owned()), (20, "third".to_owned())];
        Plan::new(7, "story", &[crash("b", 20, 10), crash("a", 10, 10), bounce], acts)
    }

    fn told(plan: &Plan<String>) -> Vec<String> {
        let tell = |entry: &Entry<String>| match &entry.what {
            What::Fault(fault) => format!("{} {}", entry.at_ms, fault.kind),
            What::Heal(fault) => format!("{} heal {}", entry.at_ms, fault.kind),
            What::Act(act) => format!("{} {act}", entry.at_ms),
        };
        plan.entries.iter().map(tell).collect()
    }

    #[test]
    fn a_plan_reads_as_a_story() {
        let story = [
            "5 bounce c",
            "10 crash a",
            "10 first",
            "20 heal crash a",
            "20 crash b",
            "20 second",
            "20 third",
            "30 heal crash b",
        ];
        assert_eq!(told(&plan()), story);
        assert_eq!(plan().faults().len(), 3);
        assert_eq!(plan().acts().map(|(at_ms, act)| (at_ms, act.as_str())).next(), Some((10, "first")));
    }

    #[test]
    fn a_plan_survives_being_written_down() {
        let json = serde_json::to_string(&plan()).unwrap();
        assert_eq!(serde_json::from_str::<Plan<String>>(&json).unwrap(), plan());
    }

    #[test]
    fn taking_a_fault_away_takes_its_heal_and_nothing_else() {
        let shrunk =
            plan().retain(|_, entry| !matches!(&entry.what, What::Fault(fault) if fault.kind.hosts() == ["a"]));
        let mut expected = told(&plan());
        expected.retain(|line| !line.ends_with("crash a"));
        assert_eq!(told(&shrunk), expected);
        assert_eq!(plan().retain(|_, _| true), plan());
    }
}
