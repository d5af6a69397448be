//! G12: the same scenario and seed give the same trace, to the last event, in any process. Runs first in CI: if this
//! fails, nothing else means anything.

use serde_json::Value;
use tenantry_tests::tenantry;

/// The scenarios that between them reach every kind of fault but rot, which ends a run, and the seeds to run them with.
const SCENARIOS: [&str; 20] = [
    "audit_power_loss",
    "partition_consumer_ledger",
    "redelivery",
    "cross_tenant_attempt",
    "disk_trouble",
    "pause",
    "runaway_script",
    "mutual_tls",
    "revocation",
    "credentials",
    "billing",
    "identity_provider",
    "audit_outage",
    "attack_catalogue",
    "attack_catalogue_faults",
    "alerts",
    "dead_letters",
    "dry_run",
    "four_eyes",
    "live_stream",
];
const SEEDS: &str = "11..13";

/// (scenario, seed, digest) of every run of a fresh process.
fn digests(seeds: &str, jobs: &str) -> Vec<(String, u64, String)> {
    let mut arguments = vec!["run"];
    arguments.extend(SCENARIOS);
    arguments.extend(["--seeds", seeds, "--jobs", jobs, "--json", "-"]);
    let output = tenantry(&arguments);
    let record: Value = serde_json::from_slice(&output.stdout).expect("one JSON document");
    let run = |run: &Value| {
        let text = |key: &str| run[key].as_str().expect(key).to_owned();
        (text("scenario"), run["seed"].as_u64().expect("a seed"), text("digest"))
    };
    record["runs"].as_array().expect("runs").iter().map(run).collect()
}

#[test]
fn a_seed_gives_the_same_digest_in_two_fresh_processes() {
    let (first, second) = (digests(SEEDS, "2"), digests(SEEDS, "1"));
    assert_eq!(first.len(), SCENARIOS.len() * 3);
    assert_eq!(first, second);
}

#[test]
fn every_scenario_and_every_seed_gives_a_digest_of_its_own() {
    let mut digests: Vec<_> = digests(SEEDS, "2").into_iter().map(|(.., digest)| digest).collect();
    let runs = digests.len();
    digests.sort();
    digests.dedup();
    assert_eq!(digests.len(), runs, "two runs that differ in scenario or seed have one digest");
}
