//! Runs and suites made by hand, for tests of whoever shows them.

pub mod compare;
pub mod load;
pub mod report;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::latency::{VirtualCounts, VirtualLatency};
use crate::record::{Commands, InvariantRecord, RunRecord};
use crate::report::Stage;
use crate::suite::{Build, FinishedRun, SuiteRecord};
use crate::verdict::Verdict;

/// The build that all of them are of.
#[must_use]
pub fn build() -> Build {
    Build { version: "0.1.0".into(), profile: "release".into(), target: "x86_64-linux".into(), commit: None }
}

fn run(scenario: &str, seed: u64, invariants: Vec<InvariantRecord>, error: Option<&str>) -> FinishedRun {
    let mut latency = VirtualLatency::new();
    (0..100).for_each(|index| latency.record(Duration::from_millis(4 + seed + index % 20)));
    let record = RunRecord {
        scenario: scenario.into(),
        seed,
        verdict: Verdict::of(&invariants, error),
        digest: format!("{seed:032x}"),
        virtual_ms: 2_345,
        wall_ms: 51,
        commands: Commands { accepted: 1_100, applied: 1_050, rejected: 48, dead_lettered: 2, attempts_refused: 7 },
        faults: BTreeMap::new(),
        fault_effects: BTreeMap::new(),
        marks: BTreeMap::new(),
        invariants,
        latency_virtual_ms: latency.summary(),
        stages_virtual_ms_counts: [(Stage::SentToEffect, VirtualCounts::from(&latency))].into(),
        error: error.map(str::to_owned),
        violated_at_ms: None,
        cut_short: false,
        digest_chain: None,
        reproduce: format!("tenantry run {scenario} --seed {seed}"),
    };
    FinishedRun { record, latency }
}

fn invariants(compared: u64) -> Vec<InvariantRecord> {
    ["G1-isolation", "G3-one-outcome"].map(|name| InvariantRecord { compared, ..InvariantRecord::new(name) }).to_vec()
}

/// A run that passed.
#[must_use]
pub fn passed(scenario: &str, seed: u64) -> FinishedRun {
    run(scenario, seed, invariants(1_200), None)
}

/// One that passed and reached a mark three times.
#[must_use]
pub fn marked(scenario: &str, seed: u64, mark: &str) -> FinishedRun {
    let mut run = passed(scenario, seed);
    run.record.marks.insert(mark.into(), 3);
    run
}

/// One that violates isolation twelve times, of which ten are told, under two kinds of faults.
#[must_use]
pub fn violated(scenario: &str, seed: u64) -> FinishedRun {
    let mut invariants = invariants(1_200);
    (0..12).for_each(|index| invariants[0].violate(format!("m-{index} of acme changed the limit of globex")));
    let mut run = run(scenario, seed, invariants, None);
    run.record.faults = BTreeMap::from([("partition".into(), 2), ("power_loss".into(), 1)]);
    run
}

/// One whose invariants compared nothing.
#[must_use]
pub fn blind(scenario: &str, seed: u64) -> FinishedRun {
    run(scenario, seed, invariants(0), None)
}

/// One in which a host panicked.
#[must_use]
pub fn failed(scenario: &str, seed: u64) -> FinishedRun {
    run(scenario, seed, invariants(10), Some("broker panicked: lane of acme is gone at broker/lane.rs:71"))
}

/// Two scenarios that passed, one with a fault.
#[must_use]
pub fn passing_suite() -> SuiteRecord {
    let mut runs = vec![passed("calm", 1), passed("calm", 2), passed("power_loss_broker", 1)];
    let mut last = marked("power_loss_broker", 2, "redelivered");
    last.record.faults = BTreeMap::from([("power_loss".into(), 1)]);
    runs.push(last);
    let sometimes = BTreeMap::from([("power_loss_broker".to_owned(), vec!["redelivered".to_owned()])]);
    SuiteRecord::new(build(), runs, &sometimes)
}

/// Three scenarios with every verdict there is.
#[must_use]
pub fn failing_suite() -> SuiteRecord {
    let runs = vec![
        passed("calm", 1),
        blind("calm", 2),
        violated("partition_consumer_ledger", 7),
        passed("partition_consumer_ledger", 8),
        failed("power_loss_broker", 3),
    ];
    let sometimes = BTreeMap::from([("partition_consumer_ledger".to_owned(), vec!["redelivered".to_owned()])]);
    SuiteRecord::new(build(), runs, &sometimes)
}
