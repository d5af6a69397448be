//! The company's identity provider in simulations: it rotates its keys, and is away for less and for longer than they may be
//! used without it.

use std::time::Duration;

use tenantry_reports::verdict::Verdict;
use tenantry_sim::engine::fault::{Fault, FaultKind};
use tenantry_sim::tenantry::idp::{FRESHNESS, HOST};
use tenantry_sim::tenantry::run::{Ended, Setup};
use tenantry_sim::tenantry::section::Scenario;
use tenantry_tests::scenario_as;

/// The scenario, without the commands that are to be refused.
fn scenario() -> Scenario {
    scenario_as("identity_provider", |text| text.replace("cross_tenant = 0.1\n", ""))
}

/// How many times an operator was answered `status`, as text, between two virtual times.
fn answers(ended: &Ended, status: &str, from: Duration, to: Duration) -> usize {
    let within = |at_us: u64| (from..to).contains(&Duration::from_micros(at_us));
    let told = |detail: &str| detail.split(' ').nth(1) == Some(status);
    ended.trace.iter().filter(|entry| entry.kind == "api.answer" && told(&entry.detail) && within(entry.at_us)).count()
}

#[test]
fn rotations_and_outages_within_the_bound_refuse_no_valid_command() {
    let mut dropped = 0;
    for seed in 1..=20 {
        let record = Setup::expand(&scenario(), seed).run(false).finished.record;
        assert_eq!(record.verdict, Verdict::Pass, "seed {seed}: {record:#?}");
        assert_eq!(record.commands.attempts_refused, 0, "seed {seed}: {record:#?}");
        dropped += record.marks.get("identity_key_dropped").copied().unwrap_or(0);
    }
    assert!(dropped >= 20, "only {dropped} keys were dropped: the rotations showed little");
}

#[test]
fn an_outage_over_the_bound_closes_and_loses_nothing() {
    let mut long = scenario();
    let (at, for_) = (Duration::from_millis(500), Duration::from_millis(6000));
    long.faults = vec![Fault { at, for_, kind: FaultKind::Crash { host: HOST.into() }, when: None }];
    for seed in 1..=5 {
        let ended = Setup::expand(&long, seed).run(true);
        let record = &ended.finished.record;
        assert_eq!(record.verdict, Verdict::Pass, "seed {seed}: {record:#?}");
        assert_eq!(record.commands.attempts_refused, 0, "seed {seed}: {record:#?}");
        assert_eq!(record.commands.accepted, 150, "seed {seed}: {record:#?}");
        // No key is older than the bound when it is used: a reading may have begun just before the crash.
        let closed = at + FRESHNESS.stale_max + Duration::from_millis(100);
        assert_eq!(answers(&ended, "202", closed, at + for_), 0, "seed {seed}");
        assert!(answers(&ended, "503", closed, at + for_) > 0, "seed {seed}: nobody met the closed door");
    }
}
