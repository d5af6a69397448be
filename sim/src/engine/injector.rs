//! Decides what to do to hosts, wires and disks as virtual time passes; the runner does it.
//!
//! It keeps the set of faults that are open. What begins or heals is answered with [`Step`]s: set this wire, kill that
//! host, take its power, start it. A host is down as long as any open fault keeps it down, so overlapping crashes kill
//! it once and start it once. A fault that changes nothing - a crash of a host already down - is noted but not counted
//! as fired: a scenario whose faults never bite must not look tested.
//!
//! It is the supervisor too, for whether a host is down must be known in one place: a process that died of itself is down
//! for [`RESTART_PAUSE`] and is then started again, unless a fault keeps its host down by then; if one does, its heal starts
//! it. It never gives up: a process that dies at every start dies once per pause, until what it dies of has healed.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::engine::disks::{self, DiskState, Disks};
use crate::engine::fault::{Fault, FaultKind};
use crate::engine::links::{self, Wire, Wires};

/// How long a process that died of itself stays down, in virtual time. Supervisors wait about this long (systemd 100 ms,
/// unless told otherwise) so that one which dies at each start does not take the machine; here it also bounds how often
/// that happens in a run.
pub const RESTART_PAUSE: Duration = Duration::from_millis(200);

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
    /// Bring the host's disk into this state.
    Disk(String, DiskState),
    /// This fault has begun and is over: let the host's disk rot. It has fired if there was anything to rot.
    Rot(Fault),
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
    disks: Disks,
    /// Hosts whose process died of itself, and when the supervisor starts it again.
    pausing: BTreeMap<String, Duration>,
}

/// What comes due; at one instant in this order.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    /// The open fault of this index heals.
    Heal(usize),
    /// This host's pause is over.
    Restart(String),
    /// The next fault begins.
    Begin,
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
        let (to_come, open) = (to_come.into(), Vec::new());
        Ok(Self { hosts, to_come, open, wires: Wires::new(), disks: Disks::new(), pausing: BTreeMap::new() })
    }

    /// What must happen before the step that starts at virtual time `now`: all that came due since the last call, in
    /// the order of its times, and at one instant heals before restarts before begins.
    pub fn advance(&mut self, now: Duration) -> Vec<Step> {
        let mut steps = Vec::new();
        while let Some(due) = self.next_due(now) {
            match due {
                Due::Heal(index) => self.heal(index, &mut steps),
                Due::Restart(host) => {
                    self.pausing.remove(&host);
                    self.start_unless_down(&host, &mut steps);
                }
                Due::Begin => self.begin_next(&mut steps),
            }
        }
        steps
    }

    /// Heals all that is open and forgets all that was to come: the safety phase is over. Restarts that came due by `now`
    /// go on, for the supervisor is no fault.
    pub fn heal_all(&mut self, now: Duration) -> Vec<Step> {
        self.to_come.clear();
        let mut steps = Vec::new();
        while !self.open.is_empty() {
            self.heal(0, &mut steps);
        }
        steps.extend(self.advance(now));
        steps
    }

    /// What must happen because the process of `host`, which was up, died of itself in the step that ended at `now`.
    pub fn died(&mut self, host: &str, now: Duration) -> Step {
        self.pausing.insert(host.to_owned(), now + RESTART_PAUSE);
        Step::Kill(host.to_owned())
    }

    /// True when no fault is open.
    pub fn is_calm(&self) -> bool {
        self.open.is_empty()
    }

    /// What comes due first, if it does by `now`; of several faults that heal at one instant, the one that began first.
    fn next_due(&self, now: Duration) -> Option<Due> {
        let heals = self.open.iter().enumerate().map(|(index, fault)| (fault.ends(), Due::Heal(index)));
        let restarts = self.pausing.iter().map(|(host, at)| (*at, Due::Restart(host.clone())));
        let begins = self.to_come.front().map(|fault| (fault.at, Due::Begin));
        heals.chain(restarts).chain(begins).filter(|(at, _)| *at <= now).min().map(|(_, due)| due)
    }

    fn begin_next(&mut self, steps: &mut Vec<Step>) {
        let Some(fault) = self.to_come.pop_front() else { return };
        if let FaultKind::BitRot { .. } = fault.kind {
            // Whether there is anything to rot only the disk knows.
            steps.push(Step::Rot(fault));
            return;
        }
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
            self.set_disks(&mut doing);
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
        steps.push(Step::Begun { fault, fired });
        steps.extend(doing);
    }

    fn heal(&mut self, index: usize, steps: &mut Vec<Step>) {
        let fault = self.open.remove(index);
        self.rewire(steps);
        self.set_disks(steps);
        if let Some(host) = fault.kind.keeps_down() {
            self.start_unless_down(host, steps);
        }
        steps.push(Step::Healed(fault));
    }

    fn start_unless_down(&self, host: &str, steps: &mut Vec<Step>) {
        if !self.is_down(host) {
            steps.push(Step::Start(host.to_owned()));
        }
    }

    fn rewire(&mut self, steps: &mut Vec<Step>) {
        let wires = links::wires(&self.hosts, self.open.iter().map(|fault| &fault.kind));
        let changes = links::changes(&self.wires, &wires);
        steps.extend(changes.into_iter().map(|(a, b, wire)| Step::Wire(a, b, wire)));
        self.wires = wires;
    }

    fn set_disks(&mut self, steps: &mut Vec<Step>) {
        let disks = disks::disks(self.open.iter().map(|fault| &fault.kind));
        let changes = disks::changes(&self.disks, &disks);
        steps.extend(changes.into_iter().map(|(host, state)| Step::Disk(host, state)));
        self.disks = disks;
    }

    fn is_down(&self, host: &str) -> bool {
        self.pausing.contains_key(host) || self.open.iter().any(|fault| fault.kind.keeps_down() == Some(host))
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
            Step::Disk(host, state) if *state == DiskState::default() => Some(format!("sound {host}")),
            Step::Disk(host, DiskState { sync_ms, full, failing }) => {
                Some(format!("disk {host} {}{}{}", sync_ms.unwrap_or(0), u8::from(*full), u8::from(*failing)))
            }
            Step::Rot(fault) => Some(format!("rot {}", fault.kind.hosts()[0])),
            Step::Begun { .. } | Step::Healed(_) => None,
        };
        steps.iter().filter_map(tell).collect()
    }

    /// How many faults changed something.
    fn fired(steps: &[Step]) -> usize {
        steps.iter().filter(|step| matches!(step, Step::Begun { fired: true, .. })).count()
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
        let (first, second) = (injector.advance(ms(10)), injector.advance(ms(15)));
        assert_eq!((told(&first), fired(&first)), (vec!["kill b".to_owned()], 1));
        assert_eq!((told(&second), fired(&second)), (vec![], 0));
        assert_eq!(told(&injector.advance(ms(30))), [""; 0], "the second crash still keeps it down");
        assert_eq!(told(&injector.advance(ms(35))), ["start b"]);
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
        let bounce = injector.advance(ms(20));
        assert_eq!((told(&bounce), fired(&bounce)), (vec![], 0));
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
        let steps = injector.advance(ms(20));
        assert_eq!((told(&steps), fired(&steps)), (vec!["start b".to_owned(), "kill b".to_owned()], 1));
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
        assert_eq!(told(&injector.heal_all(ms(10))), ["open ab", "open bc", "start b"]);
        assert_eq!(told(&injector.advance(ms(1000))), [""; 0]);
    }

    #[test]
    fn a_disk_stays_full_until_the_last_fault_that_fills_it_heals_and_only_the_first_counts() {
        let full = FaultKind::DiskFull { host: "b".into() };
        let mut injector = injector(&[fault(10, 10, full.clone()), fault(15, 10, full)]);
        let (first, second) = (injector.advance(ms(10)), injector.advance(ms(15)));
        assert_eq!((told(&first), fired(&first)), (vec!["disk b 010".to_owned()], 1));
        assert_eq!((told(&second), fired(&second)), (vec![], 0));
        assert_eq!(told(&injector.advance(ms(20))), [""; 0]);
        assert_eq!(told(&injector.advance(ms(25))), ["sound b"]);
    }

    #[test]
    fn of_two_slow_faults_the_slower_counts_while_both_last() {
        let slow = |sync_ms| FaultKind::DiskSlow { host: "b".into(), sync_ms };
        let mut injector = injector(&[fault(10, 20, slow(50)), fault(15, 5, slow(80))]);
        assert_eq!(told(&injector.advance(ms(10))), ["disk b 5000"]);
        assert_eq!(told(&injector.advance(ms(15))), ["disk b 8000"]);
        assert_eq!(told(&injector.advance(ms(20))), ["disk b 5000"]);
        assert_eq!(told(&injector.advance(ms(30))), ["sound b"]);
    }

    #[test]
    fn rot_happens_once_and_leaves_nothing_to_heal() {
        let mut injector = injector(&[fault(10, 0, FaultKind::BitRot { host: "b".into() })]);
        assert_eq!(told(&injector.advance(ms(10))), ["rot b"]);
        assert!(injector.is_calm());
        assert_eq!(injector.advance(ms(1000)), []);
    }

    #[test]
    fn a_process_that_died_is_started_after_the_pause_also_once_all_is_healed() {
        let mut injector = injector(&[]);
        for start in [ms(10), ms(500)] {
            assert_eq!(told(&[injector.died("b", start)]), ["kill b"]);
            assert_eq!(told(&injector.advance(start + RESTART_PAUSE - ms(1))), [""; 0]);
            assert_eq!(told(&injector.heal_all(start + RESTART_PAUSE)), ["start b"]);
        }
    }

    #[test]
    fn a_fault_that_keeps_the_host_down_outlasts_the_supervisors_pause_and_its_heal_starts_the_process() {
        let mut injector = injector(&[power_loss(50, 500)]);
        injector.died("b", ms(10));
        assert_eq!(told(&injector.advance(ms(50))), ["cut ab", "cut bc", "dark b"], "there is nothing left to kill");
        assert_eq!(told(&injector.advance(ms(300))), [""; 0]);
        assert_eq!(told(&injector.advance(ms(550))), ["open ab", "open bc", "start b"]);
    }

    #[test]
    fn a_crash_that_heals_within_the_pause_leaves_the_start_to_the_supervisor() {
        let mut injector = injector(&[crash(50, 10)]);
        injector.died("b", ms(10));
        assert_eq!(told(&injector.advance(ms(100))), [""; 0]);
        assert_eq!(told(&injector.advance(ms(210))), ["start b"]);
    }

    #[test]
    fn an_unknown_host_is_named() {
        let faults = [fault(0, 0, FaultKind::Crash { host: "z".into() })];
        assert_eq!(Injector::new(vec!["a".into()], &faults).unwrap_err(), "z");
    }
}
