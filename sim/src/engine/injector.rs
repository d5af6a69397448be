//! Decides what to do to hosts, wires and disks as virtual time passes; the runner does it.
//!
//! It keeps the set of faults that are open. What begins or heals is answered with [`Step`]s: set this wire, kill that
//! host, take its power, start it. A host is down as long as any open fault keeps it down, so overlapping crashes kill
//! it once and start it once. A fault that changes nothing - a crash of a host already down - is noted but not counted
//! as fired: a scenario whose faults never bite must not look tested.
//!
//! It is the supervisor too, for whether a host is down must be known in one place: a process that died of itself is down
//! for [`RESTART_PAUSE`] and is then started again, unless a fault keeps its host down by then; if one does, its heal starts
//! it. It never gives up: a process that dies at every start dies once per pause, until what it dies of has healed. A restart
//! loop is no more than that: a process that dies again and again, each time that it has been up for a while.
//!
//! A fault that waits for an event is told of it by the runner, and has its time from then on.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::engine::disks::{self, DiskState, Disks};
use crate::engine::fault::{Fault, FaultKind, When};
use crate::engine::links::{self, Latencies, Wire, Wires};

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
    /// Give the wire between two hosts this one-way latency in virtual milliseconds, or its own again.
    Latency(String, String, Option<u64>),
    /// This fault has begun and is over: break the connections between its hosts. It has fired if there were any.
    Reset(Fault),
    /// Let the host's process go on.
    Resume(String),
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
    /// Those that wait for an event, until it has come.
    waiting: Vec<Option<Fault>>,
    open: Vec<Fault>,
    wires: Wires,
    latencies: Latencies,
    disks: Disks,
    /// Hosts whose process died of itself, and when the supervisor starts it again.
    pausing: BTreeMap<String, Duration>,
    /// Hosts whose process is up in a restart loop, and when it is killed again.
    looping: BTreeMap<String, Duration>,
}

/// What comes due; at one instant in this order.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    /// The open fault of this index heals.
    Heal(usize),
    /// This host's pause is over.
    Restart(String),
    /// This host's process has been up for long enough.
    Again(String),
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
        let (waiting, mut to_come): (Vec<_>, Vec<_>) = faults.iter().cloned().partition(|fault| fault.when.is_some());
        // Stable: faults of one instant begin in the order the plan has them.
        to_come.sort_by_key(|fault| fault.at);
        let (to_come, waiting) = (to_come.into(), waiting.into_iter().map(Some).collect());
        let (open, wires, latencies, disks) = Default::default();
        let (pausing, looping) = Default::default();
        Ok(Self { hosts, to_come, waiting, open, wires, latencies, disks, pausing, looping })
    }

    /// What faults wait for, in the order of the plan.
    pub fn awaited(&self) -> Vec<When> {
        self.waiting.iter().flatten().filter_map(|fault| fault.when.clone()).collect()
    }

    /// What the fault of this number among [`Injector::awaited`] has waited for came to pass at `at`.
    pub fn came(&mut self, number: usize, at: Duration) {
        let Some(mut fault) = self.waiting.get_mut(number).and_then(Option::take) else { return };
        fault.at = at + Duration::from_millis(fault.when.as_ref().map_or(0, |when| when.after_ms));
        let place = self.to_come.partition_point(|other| other.at <= fault.at);
        self.to_come.insert(place, fault);
    }

    /// What must happen before the step that starts at virtual time `now`: all that came due since the last call, in
    /// the order of its times, and at one instant heals before restarts before begins.
    pub fn advance(&mut self, now: Duration) -> Vec<Step> {
        let mut steps = Vec::new();
        while let Some(due) = self.next_due(now) {
            match due {
                Due::Heal(index) => self.heal(index, self.open[index].ends(), &mut steps),
                Due::Restart(host) => {
                    let at = self.pausing.remove(&host).unwrap_or(now);
                    self.start_unless_down(&host, at, &mut steps);
                }
                Due::Again(host) => {
                    let at = self.looping.remove(&host).unwrap_or(now);
                    if !self.is_down(&host) {
                        steps.push(self.died(&host, at));
                    }
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
        self.waiting.clear();
        let mut steps = Vec::new();
        while !self.open.is_empty() {
            self.heal(0, now, &mut steps);
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
        let agains = self.looping.iter().map(|(host, at)| (*at, Due::Again(host.clone())));
        heals.chain(restarts).chain(agains).chain(begins).filter(|(at, _)| *at <= now).min().map(|(_, due)| due)
    }

    fn begin_next(&mut self, steps: &mut Vec<Step>) {
        let Some(fault) = self.to_come.pop_front() else { return };
        if let FaultKind::BitRot { .. } = fault.kind {
            // Whether there is anything to rot only the disk knows.
            steps.push(Step::Rot(fault));
            return;
        }
        if let FaultKind::ConnectionReset { .. } = fault.kind {
            // Whether there is any only the hosts know.
            steps.push(Step::Reset(fault));
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
                FaultKind::RestartLoop { host, up_ms } if self.is_down(host) => {
                    // Whatever keeps it down ends some time, and it is up then for as long as ever.
                    self.looping.insert(host.clone(), fault.at + Duration::from_millis(*up_ms));
                }
                FaultKind::RestartLoop { host, .. } => doing.push(self.died(host, fault.at)),
                _ => {}
            }
        }
        let fired = !doing.is_empty() || fault.kind.is_weather();
        steps.push(Step::Begun { fault, fired });
        steps.extend(doing);
    }

    /// Heals the open fault of this index at `now`.
    fn heal(&mut self, index: usize, now: Duration, steps: &mut Vec<Step>) {
        let fault = self.open.remove(index);
        self.rewire(steps);
        self.set_disks(steps);
        if let Some(host) = fault.kind.keeps_down() {
            self.start_unless_down(host, now, steps);
        }
        match &fault.kind {
            FaultKind::RestartLoop { host, .. } if self.loop_of(host).is_none() => drop(self.looping.remove(host)),
            FaultKind::Pause { host } if !self.open.iter().any(|open| open.kind == fault.kind) => {
                steps.push(Step::Resume(host.clone()));
            }
            _ => {}
        }
        steps.push(Step::Healed(fault));
    }

    fn start_unless_down(&mut self, host: &str, now: Duration, steps: &mut Vec<Step>) {
        if self.is_down(host) {
            return;
        }
        steps.push(Step::Start(host.to_owned()));
        if let Some(up_ms) = self.loop_of(host) {
            self.looping.insert(host.to_owned(), now + Duration::from_millis(up_ms));
        }
    }

    /// How long the process of `host` is up between two kills, if it is in a restart loop; of several, the shortest.
    fn loop_of(&self, host: &str) -> Option<u64> {
        let up_ms = |open: &Fault| match &open.kind {
            FaultKind::RestartLoop { host: of, up_ms } if of == host => Some(*up_ms),
            _ => None,
        };
        self.open.iter().filter_map(up_ms).min()
    }

    fn rewire(&mut self, steps: &mut Vec<Step>) {
        let wires = links::wires(&self.hosts, self.open.iter().map(|fault| &fault.kind));
        let changes = links::changes(&self.wires, &wires);
        steps.extend(changes.into_iter().map(|(a, b, wire)| Step::Wire(a, b, wire.unwrap_or_default())));
        self.wires = wires;
        let latencies = links::latencies(self.open.iter().map(|fault| &fault.kind));
        let changes = links::changes(&self.latencies, &latencies);
        steps.extend(changes.into_iter().map(|(a, b, ms)| Step::Latency(a, b, ms)));
        self.latencies = latencies;
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
#[path = "injector_tests.rs"]
mod tests;
