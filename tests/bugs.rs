//! Every planted bug is found by the promise that it breaks, in the standard chaos; and the harness says so as it should.

use serde_json::Value;
use tenantry_sim::bugs::{Bug, Hunted, Limits, hunt};
use tenantry_sim::engine::suite::run_all;
use tenantry_tests::{scenario, tenantry};

/// Seeds that one bug may take; most take one or two.
const SEEDS: u64 = 200;

/// Seeds that one bug may take in a scenario made for it.
const SEEDS_ELSEWHERE: u64 = 10;

#[test]
fn every_planted_bug_is_found_by_the_promise_that_it_breaks() {
    let (chaos, bugs): (_, Vec<Bug>) = (scenario("chaos"), Bug::all().collect());
    let threads = std::thread::available_parallelism().map_or(1, Into::into);
    let limits = Limits { from: 1, seeds: SEEDS, hang: std::time::Duration::from_secs(120) };
    let hunted = run_all(&bugs, threads, |bug| hunt(*bug, &chaos, &limits), |_, _, _| {});
    let survived = hunted.iter().filter(|hunted| hunted.found.is_none());
    let told: Vec<_> = survived.map(|Hunted { bug, violated, story, .. }| (bug, violated, story)).collect();
    assert!(told.is_empty(), "not found within {SEEDS} seeds: {told:#?}");
    let mut seeds: Vec<u64> = hunted.iter().filter_map(|hunted| Some(hunted.found.as_ref()?.0)).collect();
    seeds.sort_unstable();
    assert!(seeds[seeds.len() / 2] <= 20, "half of them take longer than {seeds:?}");
}

#[test]
fn what_chaos_can_not_find_is_found_in_its_own_scenario() {
    let bugs: Vec<Bug> = Bug::elsewhere().collect();
    let threads = std::thread::available_parallelism().map_or(1, Into::into);
    let limits = Limits { from: 1, seeds: SEEDS_ELSEWHERE, hang: std::time::Duration::from_secs(120) };
    let hunted = run_all(&bugs, threads, |bug| hunt(*bug, &scenario(bug.scenario()), &limits), |_, _, _| {});
    let survived = hunted.iter().filter(|hunted| hunted.found.is_none());
    let told: Vec<_> = survived.map(|Hunted { bug, violated, story, .. }| (bug, violated, story)).collect();
    assert!(told.is_empty(), "not found within {SEEDS_ELSEWHERE} seeds: {told:#?}");
}

#[test]
fn the_command_line_tells_of_one_bug_as_json_and_of_a_clean_house() {
    let output = tenantry(&["bugs", "float-amounts", "--clean", "1", "--shrink", "40", "--json", "-"]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{told}");
    let json: Value = serde_json::from_slice(&output.stdout).expect("one JSON document");
    let bug = &json["bugs"][0];
    assert_eq!((&bug["name"], &bug["found"]), (&"float-amounts".into(), &true.into()), "{json}");
    assert_eq!(bug["invariant"], "G6-billing", "{json}");
    assert!(bug["seeds_to_find"].as_u64() >= Some(1) && bug["shrunk_entries"].as_u64() >= Some(1), "{json}");
    assert_eq!((&json["clean"]["seeds"], &json["clean"]["violations"]), (&1.into(), &0.into()), "{json}");
}

#[test]
fn a_bug_that_is_not_found_is_a_failure_and_one_that_is_not_there_a_usage_error() {
    // Nobody follows a stream here.
    let output = tenantry(&["bugs", "stream-skips", "--scenario", "smoke", "--seeds", "1", "--clean", "0"]);
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("stream-skips survived"), "{told}");
    let output = tenantry(&["bugs", "stream-skipped"]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("stream-skips"), "{told}");
}
