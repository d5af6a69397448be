//! What is done to hosts, wires and disks, and in which order.

use super::*;
use crate::engine::links::Direction;

fn ms(value: u64) -> Duration {
    Duration::from_millis(value)
}

fn fault(at: u64, for_: u64, kind: FaultKind) -> Fault {
    Fault { at: ms(at), for_: ms(for_), kind, when: None }
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
        Step::Disk(host, DiskState { sync_ms, full, failing, .. }) => {
            Some(format!("disk {host} {}{}{}", sync_ms.unwrap_or(0), u8::from(*full), u8::from(*failing)))
        }
        Step::Latency(a, b, Some(ms)) => Some(format!("slow {a}{b} {ms}")),
        Step::Latency(a, b, None) => Some(format!("quick {a}{b}")),
        Step::Reset(fault) => Some(format!("reset {}", fault.kind.hosts().concat())),
        Step::Resume(host) => Some(format!("resume {host}")),
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

#[test]
fn a_slow_link_is_slow_until_the_last_fault_that_slows_it_heals_and_stays_as_open_as_it_was() {
    let slow = |latency_ms| FaultKind::SlowLink { a: "b".into(), b: "a".into(), latency_ms };
    let mut injector = injector(&[fault(10, 10, slow(50)), fault(15, 10, slow(30))]);
    assert_eq!(told(&injector.advance(ms(10))), ["slow ab 50"]);
    assert_eq!(told(&injector.advance(ms(20))), ["slow ab 30"]);
    assert_eq!(told(&injector.advance(ms(25))), ["quick ab"]);
}

#[test]
fn a_restart_loop_kills_whenever_the_process_was_up_for_so_long_and_leaves_it_to_the_supervisor() {
    let up_ms = 70;
    let mut injector = injector(&[fault(10, 500, FaultKind::RestartLoop { host: "b".into(), up_ms })]);
    let pause = RESTART_PAUSE.as_millis() as u64;
    for round in 0..2 {
        let killed = 10 + round * (pause + up_ms);
        assert_eq!(told(&injector.advance(ms(killed - 1))), [""; 0]);
        assert_eq!(told(&injector.advance(ms(killed))), ["kill b"]);
        assert_eq!(told(&injector.advance(ms(killed + pause - 1))), [""; 0]);
        assert_eq!(told(&injector.advance(ms(killed + pause))), ["start b"]);
    }
    assert_eq!(told(&injector.advance(ms(5000))), [""; 0], "healed before it was up for so long");
}

#[test]
fn a_restart_loop_waits_for_a_crash_and_goes_on_after_it() {
    let restarts = fault(20, 900, FaultKind::RestartLoop { host: "b".into(), up_ms: 70 });
    let mut injector = injector(&[crash(10, 400), restarts]);
    let loops = |steps: &[Step]| steps.iter().any(|step| matches!(step, Step::Begun { fired: true, .. }));
    injector.advance(ms(10));
    assert!(!loops(&injector.advance(ms(20))), "there is nothing to kill");
    assert_eq!(told(&injector.advance(ms(410))), ["start b"]);
    assert_eq!(told(&injector.advance(ms(479))), [""; 0]);
    assert_eq!(told(&injector.advance(ms(480))), ["kill b"]);
}

#[test]
fn a_stopped_process_goes_on_when_the_last_fault_that_stops_it_heals() {
    let pause = FaultKind::Pause { host: "b".into() };
    let mut injector = injector(&[fault(10, 10, pause.clone()), fault(15, 10, pause)]);
    let begun = injector.advance(ms(15));
    assert_eq!((told(&begun), fired(&begun)), (vec![], 2));
    assert_eq!(told(&injector.advance(ms(20))), [""; 0]);
    assert_eq!(told(&injector.advance(ms(25))), ["resume b"]);
}

#[test]
fn a_fault_that_waits_begins_so_long_after_its_event_and_lasts_from_then_on() {
    let when = |after_ms| Some(When { event: "leased".into(), of: None, nth: 3, after_ms });
    let mut injector = injector(&[
        Fault { when: when(5), ..crash(0, 10) },
        crash(40, 10),
        Fault { when: when(0), ..fault(0, 9, FaultKind::DiskFull { host: "a".into() }) },
    ]);
    assert_eq!(injector.awaited().len(), 2);
    assert_eq!(told(&injector.advance(ms(20))), [""; 0]);
    injector.came(0, ms(20));
    assert_eq!(told(&injector.advance(ms(24))), [""; 0]);
    assert_eq!(told(&injector.advance(ms(25))), ["kill b"]);
    assert_eq!(told(&injector.advance(ms(40))), ["start b", "kill b"]);
    injector.came(0, ms(41));
    injector.came(1, ms(60));
    assert_eq!(told(&injector.advance(ms(61))), ["start b", "disk a 010"], "each comes once");
    assert_eq!(told(&injector.heal_all(ms(62))), ["sound a"]);
}
