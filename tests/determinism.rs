//! G12: the same scenario and seed give the same trace, to the last event, in any process. Runs first in CI: if this
//! fails, nothing else means anything.

use std::collections::BTreeSet;

use serde_json::Value;
use tenantry_sim::engine::fault::KINDS;
use tenantry_tests::tenantry;

const SEEDS: &str = "11..13";

/// Rot ends a run: a store that refuses its file is an end of its own, tried elsewhere.
const NOT_HERE: [&str; 1] = ["bit_rot"];

fn keys(counts: &Value) -> impl Iterator<Item = &str> {
    counts.as_object().into_iter().flatten().map(|(kind, _)| kind.as_str())
}

/// (scenario, seed, digest) of every run of a fresh process.
fn digests(seeds: &str, jobs: &str) -> Vec<(String, u64, String)> {
    let output = tenantry(&["run", "--seeds", seeds, "--jobs", jobs, "--json", "-"]);
    let record: Value = serde_json::from_slice(&output.stdout).expect("one JSON document");
    // Runs that fail alike prove nothing, and neither do calm ones.
    assert_ne!(record["verdict"], "failed", "{}", record["runs"]);
    let felt = record["summary"].as_array().expect("scenarios").iter().flat_map(|one| keys(&one["faults"]));
    let felt: BTreeSet<_> = felt.collect();
    let missing: Vec<_> = KINDS.iter().filter(|kind| !felt.contains(**kind)).collect();
    assert_eq!(missing, NOT_HERE.iter().collect::<Vec<_>>(), "kinds of faults that no run had");
    let run = |run: &Value| {
        let text = |key: &str| run[key].as_str().expect(key).to_owned();
        (text("scenario"), run["seed"].as_u64().expect("a seed"), text("digest"))
    };
    record["runs"].as_array().expect("runs").iter().map(run).collect()
}

#[test]
fn a_seed_gives_the_same_digest_in_two_fresh_processes() {
    let (first, second) = (digests(SEEDS, "2"), digests(SEEDS, "1"));
    assert!(first.len() >= 3 * 27, "only {} runs", first.len());
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
