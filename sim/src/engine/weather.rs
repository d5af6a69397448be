//! The faults that are open now, for those who live under them, and which of them were ever felt.
//!
//! The runner opens and closes them. Whoever hosts the services asks here what only they can do: whether a host is stopped,
//! how far its clock is off, what becomes of a frame. And they tell what they met: a chunk sent over a cut wire, a commit
//! on a slow disk. A fault that has begun has fired; one that someone met has had an effect. A scenario whose faults fire
//! where nobody is must not look tested.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::engine::dice::Dice;
use crate::engine::fault::{Fault, FaultKind};

/// How far a clock is off that runs fast or slow for the first half of `lasts` until it is off by `most_ms`, and as slow or
/// fast for the second until it is right again: as clocks are that drift and are slewed back, without a step.
fn drifted(most_ms: i64, since: Duration, lasts: Duration) -> i64 {
    let (since, lasts) = (since.min(lasts).as_millis() as i64, (lasts.as_millis() as i64).max(1));
    2 * most_ms * since.min(lasts - since) / lasts
}

/// Shared between the runner and all hosts of a run. Clones are the same weather.
#[derive(Debug, Clone, Default)]
pub struct Weather {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    open: Vec<Open>,
    effects: BTreeMap<&'static str, u64>,
    /// How often each fault was felt, in the order in which they began.
    felt: Vec<u64>,
}

#[derive(Debug)]
struct Open {
    fault: Fault,
    /// When it began in fact: a fault that waits for an event has no time of its own.
    began: Duration,
    /// Its place among all that began.
    place: usize,
}

/// What becomes of one frame. By default it goes its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fate {
    /// It never arrives.
    pub dropped: bool,
    /// It arrives twice.
    pub doubled: bool,
    /// It arrives as what no one can read.
    pub damaged: bool,
    /// It, and all behind it, arrive this much later.
    pub delay: Duration,
    /// It lets the next one pass.
    pub overtaken: bool,
}

impl Weather {
    /// A fault begins at `now`.
    pub(crate) fn begin(&self, fault: &Fault, now: Duration) {
        let Inner { open, felt, .. } = &mut *self.lock();
        open.push(Open { fault: fault.clone(), began: now, place: felt.len() });
        felt.push(0);
    }

    /// A fault is over.
    pub(crate) fn end(&self, fault: &Fault) {
        let mut inner = self.lock();
        if let Some(index) = inner.open.iter().position(|open| open.fault == *fault) {
            inner.open.remove(index);
        }
    }

    /// What is over in an instant is over; but what has rotted stays rotten.
    pub(super) fn end_instants(&self) {
        let over = |kind: &FaultKind| kind.is_instant() && !matches!(kind, FaultKind::BitRot { .. });
        self.lock().open.retain(|open| !over(&open.fault.kind));
    }

    /// How many faults of each kind were felt by anyone.
    pub fn effects(&self) -> BTreeMap<&'static str, u64> {
        self.lock().effects.clone()
    }

    /// How often each fault was felt, in the order in which they began.
    pub fn felt_each(&self) -> Vec<u64> {
        self.lock().felt.clone()
    }

    /// Someone felt the open faults of `host` that have one of these names.
    pub fn felt(&self, host: &str, kinds: &[&str]) {
        self.feel(|kind| kinds.contains(&kind.name()) && kind.hosts() == [host]);
    }

    /// Something is put on the wire from `from` to `to`, or wants to be: the faults of that wire are felt, and those by which
    /// `to` is away.
    pub fn sent(&self, from: &str, to: &str) {
        let either = |a: &str, b: &str| (a, b) == (from, to) || (b, a) == (from, to);
        self.feel(|kind| match kind {
            FaultKind::Partition { a, b } | FaultKind::Hold { a, b } | FaultKind::SlowLink { a, b, .. } => either(a, b),
            FaultKind::PartitionOneway { from: one, to: other } => (&**one, &**other) == (from, to),
            FaultKind::Pause { host }
            | FaultKind::Crash { host }
            | FaultKind::PowerLoss { host }
            | FaultKind::RestartLoop { host, .. } => host == to,
            _ => false,
        });
    }

    /// Whether the process of `host` is stopped, asked by whoever would go on if it were not.
    pub fn is_paused(&self, host: &str) -> bool {
        self.feel(|kind| matches!(kind, FaultKind::Pause { host: paused } if paused == host))
    }

    /// Whether the process of `host` answers nothing, asked by whoever has just asked it something.
    pub fn hangs(&self, host: &str) -> bool {
        self.feel(|kind| matches!(kind, FaultKind::Hang { host: hung } if hung == host))
    }

    /// Whether the process of `host` answers with an error, asked by whoever has just asked it something.
    pub fn refuses(&self, host: &str) -> bool {
        self.feel(|kind| matches!(kind, FaultKind::Refuse { host: refusing } if refusing == host))
    }

    /// Whether the broker on `host` can't keep to what it has handed out. Whoever takes something back says that it was
    /// [felt](Weather::felt).
    pub fn storms(&self, host: &str) -> bool {
        let storm = |open: &Open| matches!(&open.fault.kind, FaultKind::RedeliveryStorm { host: at } if at == host);
        self.lock().open.iter().any(storm)
    }

    /// Whether there are messages that the process of `host` dies of.
    pub fn has_poison(&self, host: &str) -> bool {
        let chokes = |open: &Open| matches!(&open.fault.kind, FaultKind::Poison { host: at, .. } if at == host);
        self.lock().open.iter().any(chokes)
    }

    /// Whether the process of `host` dies of being handed `message`. A message is as poisonous the next time, and to any other
    /// process that chokes on as many.
    pub fn poisons(&self, dice: &Dice, host: &str, message: &str) -> bool {
        self.feel(|kind| match kind {
            FaultKind::Poison { host: choking, percent } if choking == host => {
                dice.chance("poison", message, 0, *percent as f64 / 100.0)
            }
            _ => false,
        })
    }

    /// Whether this entry of the plan is open: the time of one that waited for an event is only known since that came.
    pub fn is_open(&self, fault: &Fault) -> bool {
        let is = |open: &Fault| match fault.when {
            Some(_) => (&open.when, &open.kind, open.for_) == (&fault.when, &fault.kind, fault.for_),
            None => open == fault,
        };
        self.lock().open.iter().any(|open| is(&open.fault))
    }

    /// By how many milliseconds the clock of `host` is ahead at `now`; below zero it is behind.
    pub fn clock_offset_ms(&self, host: &str, now: Duration) -> i64 {
        let mut offset = 0;
        self.each(|open| {
            let off = match &open.fault.kind {
                FaultKind::ClockJump { host: of, offset_ms } if of == host => *offset_ms,
                FaultKind::ClockSkew { host: of, offset_ms } if of == host => {
                    drifted(*offset_ms, now.saturating_sub(open.began), open.fault.for_)
                }
                _ => 0,
            };
            offset += off;
            off != 0
        });
        offset
    }

    /// What becomes of a frame from `from` to `to`. `entity` says what it is, and `counter` the how-manieth of that name on
    /// this wire: never its number on the wire, or a dropped frame's retry would decide anew about all that follow.
    pub fn fate(&self, dice: &Dice, from: &str, to: &str, entity: &str, counter: u64) -> Fate {
        let mut fate = Fate::default();
        let entity = format!("{from}>{to} {entity}");
        self.each(|open| {
            let kind = &open.fault.kind;
            let Some((a, b, percent)) = kind.of_frames() else { return false };
            let here = (a, b) == (from, to) || (b, a) == (from, to);
            if !here || !dice.chance(kind.name(), &entity, counter, percent as f64 / 100.0) {
                return false;
            }
            match kind {
                FaultKind::FrameDrop { .. } => fate.dropped = true,
                FaultKind::FrameDuplicate { .. } => fate.doubled = true,
                FaultKind::FrameCorrupt { .. } => fate.damaged = true,
                FaultKind::FrameDelay { delay_ms, .. } => {
                    let ms = dice.range("frame_delay.ms", &entity, counter, 1..=*delay_ms);
                    fate.delay = fate.delay.max(Duration::from_millis(ms));
                }
                _ => fate.overtaken = true,
            }
            true
        });
        fate
    }

    /// Whether any open fault is of that sort; those are felt.
    pub(super) fn feel(&self, sort: impl Fn(&FaultKind) -> bool) -> bool {
        let mut any = false;
        self.each(|open| {
            let of_it = sort(&open.fault.kind);
            any |= of_it;
            of_it
        });
        any
    }

    /// Shows `look` each open fault, in the order in which they began, and counts those that it says are felt.
    fn each(&self, mut look: impl FnMut(&Open) -> bool) {
        let Inner { open, effects, felt } = &mut *self.lock();
        for open in open {
            if look(open) {
                felt[open.place] += 1;
                if felt[open.place] == 1 {
                    *effects.entry(open.fault.kind.name()).or_default() += 1;
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A host that panicked elsewhere leaves it as it was: every update here is complete.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::fault::When;

    fn ms(value: u64) -> Duration {
        Duration::from_millis(value)
    }

    fn weather(kinds: &[FaultKind]) -> Weather {
        let weather = Weather::default();
        for kind in kinds {
            weather.begin(&Fault { at: ms(0), for_: ms(1000), kind: kind.clone(), when: None }, ms(100));
        }
        weather
    }

    fn dropping(percent: u64) -> FaultKind {
        FaultKind::FrameDrop { a: "a".into(), b: "b".into(), percent }
    }

    #[test]
    fn a_fault_counts_once_however_often_it_is_felt_and_not_at_all_where_nobody_is() {
        let oneway = FaultKind::PartitionOneway { from: "a".into(), to: "b".into() };
        let weather = weather(&[oneway, FaultKind::Hold { a: "b".into(), b: "c".into() }]);
        weather.sent("b", "a");
        assert!(weather.effects().is_empty(), "the other direction is open");
        weather.sent("a", "b");
        weather.sent("a", "b");
        assert_eq!(weather.effects(), BTreeMap::from([("partition_oneway", 1)]));
        weather.sent("c", "b");
        assert_eq!(weather.effects(), BTreeMap::from([("hold", 1), ("partition_oneway", 1)]));
    }

    #[test]
    fn what_is_over_is_not_felt() {
        let fault = Fault { at: ms(0), for_: ms(9), kind: FaultKind::DiskFull { host: "a".into() }, when: None };
        let weather = Weather::default();
        weather.begin(&fault, ms(0));
        weather.felt("b", &["disk_full"]);
        weather.felt("a", &["disk_slow"]);
        weather.end(&fault);
        weather.felt("a", &["disk_full"]);
        assert!(weather.effects().is_empty(), "{weather:?}");
    }

    #[test]
    fn an_entry_is_open_also_when_an_event_gave_it_its_time() {
        let when = When { event: "broker.published".into(), of: None, nth: 3, after_ms: 5 };
        let planned =
            Fault { at: ms(0), for_: ms(9), kind: FaultKind::DiskFull { host: "a".into() }, when: Some(when) };
        let weather = Weather::default();
        assert!(!weather.is_open(&planned));
        let came = Fault { at: ms(705), ..planned.clone() };
        weather.begin(&came, ms(705));
        assert!(weather.is_open(&planned));
        let timed = Fault { when: None, ..planned.clone() };
        assert!(!weather.is_open(&timed), "one that comes by the clock is another one");
        weather.end(&came);
        assert!(!weather.is_open(&planned));
        weather.begin(&timed, ms(0));
        assert!(weather.is_open(&timed) && !weather.is_open(&Fault { at: ms(1), ..timed }));
    }

    #[test]
    fn a_clock_that_jumps_is_off_at_once_and_one_that_drifts_is_right_at_both_ends() {
        let (host, other) = ("a".to_owned(), "b".to_owned());
        let weather = weather(&[
            FaultKind::ClockSkew { host, offset_ms: -400 },
            FaultKind::ClockJump { host: other, offset_ms: 250 },
        ]);
        let at = |since: u64| weather.clock_offset_ms("a", ms(100 + since));
        assert_eq!([0, 250, 500, 750, 1000].map(at), [0, -200, -400, -200, 0]);
        assert_eq!(weather.clock_offset_ms("b", ms(100)), 250);
        assert_eq!(weather.clock_offset_ms("c", ms(100)), 0);
        assert_eq!(weather.effects(), BTreeMap::from([("clock_jump", 1), ("clock_skew", 1)]));
    }

    #[test]
    fn a_service_that_hangs_or_refuses_is_felt_by_who_asks_it_and_a_poison_by_who_is_handed_it() {
        let host = || "a".to_owned();
        let weather = weather(&[
            FaultKind::Hang { host: host() },
            FaultKind::Refuse { host: "b".into() },
            FaultKind::Poison { host: host(), percent: 30 },
            FaultKind::Poison { host: "b".into(), percent: 60 },
        ]);
        assert!(!weather.hangs("b") && !weather.refuses("a") && !weather.has_poison("c"));
        assert!(weather.effects().is_empty(), "{:?}", weather.effects());
        assert!(weather.hangs("a") && weather.refuses("b"));
        let dice = Dice::new(3);
        let kills = |host| (0..200).filter(|id| weather.poisons(&dice, host, &format!("m-{id}"))).collect::<Vec<_>>();
        let (few, many) = (kills("a"), kills("b"));
        assert!((40..80).contains(&few.len()), "{} of 200 at 30 percent", few.len());
        assert!(few.iter().all(|id| many.contains(id)), "what kills one kills the other, which chokes on more");
        assert_eq!(weather.effects(), BTreeMap::from([("hang", 1), ("poison", 2), ("refuse", 1)]));
    }

    #[test]
    fn a_frames_fate_is_its_own_and_the_wires_share_none() {
        let (dice, half) = (Dice::new(1), weather(&[dropping(50)]));
        let dropped = |weather: &Weather, number: u64| weather.fate(&dice, "a", "b", "publish m-1", number).dropped;
        let of_half: Vec<_> = (0..200).map(|number| dropped(&half, number)).collect();
        let count = of_half.iter().filter(|dropped| **dropped).count();
        assert!((70..130).contains(&count), "{count} of 200 dropped at 50 percent");
        let again: Vec<_> = (0..200).rev().map(|number| dropped(&half, number)).rev().collect();
        assert_eq!(again, of_half, "whatever was asked before");
        assert!((0..200).all(|number| dropped(&weather(&[dropping(100)]), number)));
        assert_eq!(half.fate(&dice, "a", "c", "publish m-1", 0), Fate::default());
    }

    #[test]
    fn one_fault_of_frames_leaves_what_another_decides() {
        let delaying = FaultKind::FrameDelay { a: "b".into(), b: "a".into(), percent: 30, delay_ms: 40 };
        let (dice, alone, both) = (Dice::new(2), weather(&[dropping(30)]), weather(&[delaying, dropping(30)]));
        let mut delayed = 0;
        for number in 0..100 {
            let (alone, both) = (alone.fate(&dice, "a", "b", "x", number), both.fate(&dice, "a", "b", "x", number));
            assert_eq!(alone.dropped, both.dropped);
            assert!(both.delay <= ms(40));
            delayed += u32::from(both.delay > ms(0));
        }
        assert!(delayed > 10, "{delayed} delayed");
    }
}
