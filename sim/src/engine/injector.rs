//! Decides what to do to hosts and wires as virtual time passes; the runner does it.
//!
//! It keeps the set of faults that are open. What begins or heals is answered with [`Step`]s: set this wire, kill that
//! host, take its power, start it. A host is down as long as any open fault keeps it down, so overlapping crashes kill
//! it once and start it once. A fault that changes nothing - a crash of a host already down - is noted but not counted
//! as fired: a scenario whose faults never bite must not look tested.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::engine::fault::{Fault, FaultKind};
use crate::engine::links::{self, Wire, Wires};

/// One thing the runner must do, in the order given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Bring the wire between two hosts, in the order of their names, into this state.
    Wire(String, String, Wire),
    /// Poison the host's disk handles, then drop its software.
    Kill(String),
    /// Let the host's disk forget what was not durable.
    LosePower(String),
    /// Start the host's software afresh.
    Start(String),
    /// Nothing to do: a fault has begun.
    Begun {
        /// Which one.
        fault: Fault,
        /// Whether it changed anything.
        fired: bool,
    },
    /// Nothing to do: a fault has healed.
    Healed(Fault),
}

/// The faults of one run: those to come and those open.
#[derive(Debug)]
pub struct Injector {
    hosts: Vec<String>,
    to_come: VecDeque<Fault>,
    open: Vec<Fault>,
    wires: Wires,
    fired: BTreeMap<&'static str, u64>,
}

impl Injector {
    /// An injector of `faults`, in any order, among `hosts`.
    ///
    /// # Errors
    /// The first name a fault uses that is not among `hosts`.
    pub fn new(hosts: Vec<String>, faults: &[Fault]) -> Result<Self, String> {
        let unknown = |name: &&str| !hosts.iter().any(|host| host == name);
        if let Some(name) = faults.iter().flat_map(|fault| fault.kind.hosts()).find(unknown) {
            return Err(name.to_owned());
        }
        let mut to_come = faults.to_vec();
        // Stable: faults of one instant begin in the order the plan has them.
        to_come.sort_by_key(|fault| fault.at);
        Ok(Self { hosts, to_come: to_come.into(), open: Vec::new(), wires: Wires::new(), fired: BTreeMap::new() })
    }

    /// What must happen before the step that starts at virtual time `now`: all that came due since the last call, in
    /// the order of its times, and at one instant heals before begins.
    pub fn advance(&mut self, now: Duration) -> Vec<Step> {
        let mut steps = Vec::new();
        loop {
            let heal = self.next_heal().filter(|(ends, _)| *ends <= now);
            let begin = self.to_come.front().map(|fault| fault.at).filter(|at| *at <= now);
            match (heal, begin) {
                (Some((ends, index)), at) if at.is_none_or(|at| ends <= at) => self.heal(index, &mut steps),
                (_, Some(_)) => self.begin_next(&mut steps),
                _ => return steps,
            }
        }
    }

    /// Heals all that is open and forgets all that was to come: the safety phase is over.
    pub fn heal_all(&mut self) -> Vec<Step> {
        self.to_come.clear();
        let mut steps = Vec::new();
        while !self.open.is_empty() {
            self.heal(0, &mut steps);
        }
        steps
    }

    /// True when no fault is open.
    pub fn is_calm(&self) -> bool {
        self.open.is_empty()
    }

    /// How many faults of each kind have changed something so far.
    pub fn fired(&self) -> &BTreeMap<&'static str, u64> {
        &self.fired
    }

    /// The open fault that ends first, by its end and index; of several, the one that began first.
    fn next_heal(&self) -> Option<(Duration, usize)> {
        self.open.iter().enumerate().map(|(index, fault)| (fault.ends(), index)).min()
    }

    fn begin_next(&mut self, steps: &mut Vec<Step>) {
        let Some(fault) = self.to_come.pop_front() else { return };
        let mut doing = Vec::new();
        if let FaultKind::Bounce { host } = &fault.kind {
            // Starting a host that an open crash keeps down would end that crash early.
            if !self.is_down(host) {
                doing.extend([Step::Kill(host.clone()), Step::Start(host.clone())]);
            }
        } else {
            let was_down = fault.kind.keeps_down().is_some_and(|host| self.is_down(host));
            let was_dark = self.open.iter().any(|open| open.kind == fault.kind);
            self.open.push(fault.clone());
            // Wires first: a host that loses power must be cut off before its sockets close, or its peers hear goodbye.
            self.rewire(&mut doing);
            match &fault.kind {
                FaultKind::Crash { host } if !was_down => doing.push(Step::Kill(host.clone())),
                FaultKind::PowerLoss { host } => {
                    if !was_down {
                        doing.push(Step::Kill(host.clone()));
                    }
                    // A process killed earlier left its bytes in the page cache: they go with the power.
                    if !was_dark {
                        doing.push(Step::LosePower(host.clone()));
                    }
                }
                _ => {}
            }
        }
        let fired = !doing.is_empty();
        if fired {
            *self.fired.entry(fault.kind.name()).or_default() += 1;
        }
        steps.push(Step::Begun { fault, fired });
        steps.extend(doing);
    }

    fn heal(&mut self, index: usize, steps: &mut Vec<Step>) {
        let fault = self.open.remove(index);
        self.rewire(steps);
        if let Some(host) = fault.kind.keeps_down().filter(|host| !self.is_down(host)) {
            steps.push(Step::Start(host.to_owned()));
        }
        steps.push(Step::Healed(fault));
    }

    fn rewire(&mut self, steps: &mut Vec<Step>) {
        let wires = links::wires(&self.hosts, self.open.iter().map(|fault| &fault.kind));
        let changes = links::changes(&self.wires, &wires);
        steps.extend(changes.into_iter().map(|(a, b, wire)| Step::Wire(a, b, wire)));
        self.wires = wires;
    }

    fn is_down(&self, host: &str) -> bool {
        self.open.iter().any(|fault| fault.kind.keeps_down() == Some(host))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::links::Direction;

    fn ms(value: u64) -> Duration {
        Duration::from_millis(value)
    }

    fn fault(at: u64, for_: u64, kind: FaultKind) -> Fault {
        Fault { at: ms(at), for_: ms(for_), kind }
    }

    fn crash(at: u64, for_: u64) -> Fault {
        fault(at, for_, FaultKind::Crash { host: "b".into() })
    }

    fn power_loss(at: u64, for_: u64) -> Fault {
        fault(at, for_, FaultKind::PowerLoss { host: "b".into() })
    }

    fn injector(faults: &[Fault]) -> Injector {
        Injector::new(["a", "b", "c"].map(String::from).to_vec(), faults).unwrap()
    }

    /// The steps that do something, told shortly.
    fn told(steps: &[Step]) -> Vec<String> {
        let wire = |a: &str, b: &str, wire: &Wire| match (wire.there, wire.back) {
            (Direction::Cut, Direction::Cut) => format!("cut {a}{b}"),
            (Direction::Open, Direction::Open) => format!("open {a}{b}"),
            other => format!("{a}{b} {other:?}"),
        };
        let tell = |step: &Step| match step {
            Step::Wire(a, b, state) => Some(wire(a, b, state)),
            Step::Kill(host) => Some(format!("kill {host}")),
            Step::LosePower(host) => Some(format!("dark {host}")),
            Step::Start(host) => Some(format!("start {host}")),
            Step::Begun { .. } | Step::Healed(_) => None,
        };
        steps.iter().filter_map(tell).collect()
    }

    #[test]
    fn power_loss_cuts_the_wires_before_it_kills_and_opens_them_before_it_starts() {
        let mut injector = injector(&[power_loss(10, 5)]);
        assert_eq!(told(&injector.advance(ms(9))), [""; 0]);
        assert_eq!(told(&injector.advance(ms(10))), ["cut ab", "cut bc", "kill b", "dark b"]);
        assert!(!injector.is_calm());
        assert_eq!(told(&injector.advance(ms(15))), ["open ab", "open bc", "start b"]);
        assert!(injector.is_calm());
    }

    #[test]
    fn two_overlapping_crashes_kill_once_and_start_once_and_only_one_counts() {
        let mut injector = injector(&[crash(10, 20), crash(15, 20)]);
        assert_eq!(told(&injector.advance(ms(10))), ["kill b"]);
        assert_eq!(told(&injector.advance(ms(15))), [""; 0]);
        assert_eq!(told(&injector.advance(ms(30))), [""; 0], "the second crash still keeps it down");
        assert_eq!(told(&injector.advance(ms(35))), ["start b"]);
        assert_eq!(injector.fired(), &BTreeMap::from([("crash", 1)]));
    }

    #[test]
    fn power_lost_while_down_still_loses_the_page_cache() {
        let mut injector = injector(&[crash(10, 50), power_loss(20, 10)]);
        injector.advance(ms(10));
        assert_eq!(told(&injector.advance(ms(20))), ["cut ab", "cut bc", "dark b"]);
        assert_eq!(told(&injector.advance(ms(30))), ["open ab", "open bc"], "the crash still keeps it down");
        assert_eq!(told(&injector.advance(ms(60))), ["start b"]);
    }

    #[test]
    fn a_bounce_of_a_host_that_is_down_neither_starts_it_nor_counts() {
        let mut injector = injector(&[crash(10, 50), fault(20, 0, FaultKind::Bounce { host: "b".into() })]);
        injector.advance(ms(10));
        assert_eq!(told(&injector.advance(ms(20))), [""; 0]);
        assert_eq!(injector.fired().get("bounce"), None);
    }

    #[test]
    fn a_wire_stays_cut_until_the_last_fault_that_cuts_it_heals() {
        let cut = FaultKind::Partition { a: "a".into(), b: "b".into() };
        let mut injector = injector(&[fault(10, 10, cut.clone()), fault(15, 10, cut)]);
        assert_eq!(told(&injector.advance(ms(10))), ["cut ab"]);
        assert_eq!(told(&injector.advance(ms(20))), [""; 0]);
        assert_eq!(told(&injector.advance(ms(25))), ["open ab"]);
    }

    #[test]
    fn a_heal_and_a_begin_of_one_instant_happen_in_that_order() {
        let mut injector = injector(&[crash(20, 10), crash(10, 10)]);
        injector.advance(ms(10));
        assert_eq!(told(&injector.advance(ms(20))), ["start b", "kill b"]);
        assert_eq!(injector.fired(), &BTreeMap::from([("crash", 2)]));
    }

    #[test]
    fn what_a_coarse_tick_skipped_over_happens_in_the_order_of_its_times() {
        let mut injector = injector(&[crash(11, 2), crash(15, 2)]);
        assert_eq!(told(&injector.advance(ms(20))), ["kill b", "start b", "kill b", "start b"]);
        assert!(injector.is_calm());
    }

    #[test]
    fn healing_all_ends_what_is_open_and_forgets_what_was_to_come() {
        let mut injector = injector(&[power_loss(10, 500), crash(300, 10)]);
        injector.advance(ms(10));
        assert_eq!(told(&injector.heal_all()), ["open ab", "open bc", "start b"]);
        assert_eq!(told(&injector.advance(ms(1000))), [""; 0]);
    }

    #[test]
    fn an_unknown_host_is_named() {
        let faults = [fault(0, 0, FaultKind::Crash { host: "z".into() })];
        assert_eq!(Injector::new(vec!["a".into()], &faults).unwrap_err(), "z");
    }
}
