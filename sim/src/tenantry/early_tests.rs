//! A run that is over at its first violation says the same as one that goes on to its end, only sooner.

use super::super::run::Setup;
use super::super::section::{self, Scenario};
use super::*;
use crate::bugs::Bug;
use tenantry_reports::record::RunRecord;

/// A little of everything, and consumers that crash: what is out then is delivered again.
const BUSY: &str = r#"
name = "busy"
description = "A little of everything."
duration_ms = 1600
drain_ms = 12000
[network]
tick_ms = 2
[topology]
consumers = 2
[workload]
tenants = 3
operators = 4
commands = 50
cross_tenant = 0.1
resend = 0.3
forged = 8
credentials = 0.2
billing = 0.3
dry_runs = 0.4
revocations = 6
pauses = 6
followers = 2
[[fault]]
kind = "crash"
host = "consumer-1"
at_ms = 500
for_ms = 100
[[fault]]
kind = "crash"
host = "consumer-2"
at_ms = 900
for_ms = 100
"#;

/// Bugs that are seen while a run goes on, of each promise that is watched.
const SEEN_EARLY: [&str; 6] = [
    "signature-unchecked",
    "pause-too-early",
    "dedup-forgotten",
    "expected-version-ignored",
    "stream-of-everyone",
    "secret-in-log",
];

fn setup(seed: u64, bug: Option<Bug>) -> Setup {
    let scenario = Scenario::parse("busy.toml", BUSY, section::hosts).expect("a sound scenario");
    Setup { bug, ..Setup::expand(&scenario, seed) }
}

fn run(setup: &Setup, until: Until) -> RunRecord {
    Setup { until, ..setup.clone() }.run(false).finished.record
}

fn violated(record: &RunRecord) -> Vec<&str> {
    assert_eq!(record.error, None);
    let violated = record.invariants.iter().filter(|found| found.violations_total > 0);
    violated.map(|found| found.name.as_str()).collect()
}

#[test]
fn a_run_cut_short_violates_what_it_would_at_its_end_and_says_when() {
    for name in SEEN_EARLY {
        let bug = Bug::find(name).expect("a bug of the table");
        let found = (1..=8).find_map(|seed| {
            let setup = setup(seed, Some(bug));
            let whole = run(&setup, Until::End);
            violated(&whole).contains(&bug.promise()).then_some((setup, whole))
        });
        let (setup, whole) = found.unwrap_or_else(|| panic!("{name} is not found in 8 seeds"));
        let seed = setup.plan.seed;
        for until in [Until::AnyViolation, Until::Violation(bug.promise().into())] {
            let cut = run(&setup, until.clone());
            let (early, late) = (violated(&cut), violated(&whole));
            let told = format!("{name}, seed {seed}, {until:?}: {early:?} at {:?}, {late:?}", cut.violated_at_ms);
            assert!(!early.is_empty() && early.iter().all(|name| late.contains(name)), "{told}");
            assert!(until == Until::AnyViolation || early.contains(&bug.promise()), "{told}");
            assert!(cut.virtual_ms < whole.virtual_ms, "{told}: {} and {} ms", cut.virtual_ms, whole.virtual_ms);
            let at = cut.violated_at_ms.unwrap_or_else(|| panic!("{told}"));
            assert!(at <= cut.virtual_ms && whole.violated_at_ms.is_some_and(|whole| whole <= at), "{told}");
        }
    }
}

#[test]
fn what_only_the_end_can_tell_ends_no_run_early() {
    let bug = Bug::find("dead-letter-lost").expect("a bug of the table");
    let setup = setup(1, Some(bug));
    let (whole, cut) = (run(&setup, Until::End), run(&setup, Until::AnyViolation));
    assert!(violated(&whole).contains(&"G4-nothing-lost"), "{:?}", violated(&whole));
    assert_eq!((violated(&cut), &cut.digest), (violated(&whole), &whole.digest));
    assert_eq!(cut.violated_at_ms, None);
}

#[test]
fn a_sound_run_is_the_same_however_it_is_watched_and_passes_every_mark_that_must_hold() {
    let (whole, cut) = (run(&setup(3, None), Until::End), run(&setup(3, None), Until::AnyViolation));
    assert_eq!((violated(&whole), &whole.digest, &whole.marks), (Vec::new(), &cut.digest, &cut.marks));
    for mark in marks::ALL.iter().filter(|mark| mark.promise.is_some()) {
        // Nobody sends what takes two here, tells a webhook, or tries the catalogue.
        let apart = [marks::EFFECT_OF_TWO, marks::ALERTS_TOLD, marks::ATTACKS_TRIED].contains(mark);
        assert_eq!(whole.marks.contains_key(mark.name), !apart, "{}: {:?}", mark.name, whole.marks);
    }
}

#[test]
fn more_than_a_rate_allows_and_a_run_that_another_holds_ring_at_once() {
    use crate::engine::trace::Trace;
    use tenantry_system::broker::Lease;
    let (evidence, tenant) = (Evidence::new(Trace::new(false)), TenantId::parse("acme").unwrap());
    let rung = || evidence.marks.news().iter().map(|broken| broken.mark.name).collect::<Vec<_>>();
    evidence.seen().early.rate = Some(Rate::new(10, 20));
    let take_in = |id: &str| {
        evidence.seen().let_through.insert(id.to_owned(), vec![Duration::ZERO]);
        evidence.watch_intake(&tenant, id);
    };
    (0..20).for_each(|number| take_in(&format!("m-{number}")));
    evidence.watch_intake(&tenant, "past the producer");
    assert_eq!(rung(), Vec::<&str>::new(), "a burst of twenty is allowed");
    take_in("m-20");
    assert_eq!(rung(), ["rate_held"]);
    let settle = |token| {
        let lease = Lease { tenant: tenant.clone(), token };
        let leases = &mut evidence.seen().witness.leases;
        let was_over = leases.is_over(&lease);
        leases.settled(&lease, was_over, true);
    };
    for token in [1, 2] {
        evidence.seen().witness.leases.out(&Lease { tenant: tenant.clone(), token });
    }
    settle(2);
    evidence.watch_settlement();
    assert_eq!(rung(), Vec::<&str>::new());
    settle(1);
    evidence.watch_settlement();
    assert_eq!(rung(), ["run_settled_by_holder"]);
}

/// What rings and is not confirmed ends nothing; what can't be judged yet is judged later.
#[test]
fn an_alarm_is_believed_when_the_promise_says_the_same() {
    use crate::engine::trace::Trace;
    let (evidence, ms) = (Evidence::new(Trace::new(false)), Duration::from_millis);
    let ring = |mark| evidence.marks.always(mark, ms(5), false, || "it rang".into());
    let said = |name, violations: &[&str]| {
        let violations = violations.iter().map(|text| (*text).to_owned()).collect();
        Some(Cut {
            findings: vec![Finding { name, compared: 1, violations, skipped: Vec::new() }],
            kept: Kept::default(),
        })
    };
    let mut alarm = Alarm::new(Until::AnyViolation);
    assert!(!alarm.is_over(ms(4), &evidence, true, |_| panic!("nothing rang")));
    ring(marks::EFFECT_IN_ORDER);
    assert!(!alarm.is_over(ms(6), &evidence, false, |_| said("G5-order", &[])), "a false alarm");
    assert!(!alarm.is_over(ms(7), &evidence, true, |_| panic!("it was judged")));
    ring(marks::EFFECT_ONCE);
    assert!(!alarm.is_over(ms(8), &evidence, false, |_| None), "a host is down");
    assert!(!alarm.is_over(ms(9), &evidence, false, |_| panic!("not at every step")));
    assert!(alarm.is_over(ms(10), &evidence, true, |_| said("G3-one-outcome", &["twice"])));
    let findings = alarm.cut.take().map(|cut| cut.findings).unwrap();
    assert_eq!(alarm.seen_at(&findings), Some(ms(5)));
    let mut deaf = Alarm::new(Until::Violation("G1-isolation".into()));
    let other = Evidence::new(Trace::new(false));
    other.marks.always(marks::EFFECT_ONCE, ms(5), false, String::new);
    assert!(!deaf.is_over(ms(6), &other, true, |_| panic!("another promise's")));
    assert_eq!(deaf.seen_at(&findings), Some(ms(5)), "but when it was is known");
}
