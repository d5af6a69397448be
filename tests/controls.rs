//! Controls: what must fail, so that passing means something; and errors that must point at their place.

use std::time::Duration;

use tenantry_reports::verdict::Verdict;
use tenantry_sim::bugs::{Bug, Limits, hunt};
use tenantry_sim::engine::fault::{Fault, FaultKind};
use tenantry_sim::tenantry::run::Setup;
use tenantry_tests::{scenario, tenantry, write_file};

#[test]
fn a_disk_that_lies_about_syncs_loses_confirmed_commands_and_g4_says_so() {
    let mut lying = scenario("broker_power_loss");
    lying.disk.lying_sync = true;
    for seed in 1..=3 {
        let record = Setup::expand(&lying, seed).run(false).finished.record;
        assert_eq!(record.verdict, Verdict::Violated, "seed {seed}: {record:#?}");
        let lost =
            record.invariants.iter().find(|invariant| invariant.name == "G4-nothing-lost").expect("G4 is checked");
        assert!(lost.violations_total > 0, "seed {seed}: {record:#?}");
    }
}

#[test]
fn a_secret_in_a_log_line_is_found_and_g9_says_so() {
    let credentials = scenario("credentials");
    let mut leaky = Setup::expand(&credentials, 1);
    leaky.bug = Bug::find("secret-in-log");
    let record = leaky.run(false).finished.record;
    assert_eq!(record.verdict, Verdict::Violated, "{record:#?}");
    let violated: Vec<_> = record.invariants.iter().filter(|invariant| invariant.violations_total > 0).collect();
    let names: Vec<_> = violated.iter().map(|invariant| invariant.name.as_str()).collect();
    assert_eq!(names, ["G9-confidentiality"], "{record:#?}");
}

#[test]
fn power_that_fails_while_a_store_is_first_made_leaves_one_that_opens() {
    let mut calm = scenario("smoke");
    calm.disk.sync_ms = 8..=8;
    let mut lossy = 0;
    for (seed, host) in (1..=8).flat_map(|seed| ["broker", "ledger", "audit", "auth"].map(|host| (seed, host))) {
        let (at, for_) = (Duration::from_millis(seed), Duration::from_millis(20));
        calm.faults = vec![Fault { at, for_, kind: FaultKind::PowerLoss { host: host.into() }, when: None }];
        let record = Setup::expand(&calm, seed).run(false).finished.record;
        assert_eq!(record.verdict, Verdict::Pass, "seed {seed}, {host}: {record:#?}");
        lossy += usize::from(record.marks.contains_key("unsynced_bytes_lost"));
    }
    assert!(lossy >= 16, "only {lossy} of 32 power losses lost anything");
}

#[test]
fn a_broker_that_forgets_what_became_of_a_letter_is_found() {
    let mut lying = scenario("dead_letters");
    lying.disk.lying_sync = true;
    let forgotten = |seed| {
        let record = Setup::expand(&lying, seed).run(false).finished.record;
        let of = |name: &str| {
            record.invariants.iter().filter(|found| found.name == name).map(|found| found.violations_total).sum()
        };
        let (letters, lost): (u64, u64) = (of("G3-dead-letters"), of("G4-nothing-lost"));
        letters + lost
    };
    assert!((1..=3).map(forgotten).sum::<u64>() > 0);
}

/// How often `name` is violated with `bug` in the scenario `planted_in`.
fn violations(planted_in: &str, bug: &str, name: &str) -> u64 {
    let mut planted = Setup::expand(&scenario(planted_in), 1);
    planted.bug = Some(Bug::find(bug).expect("a bug of the table"));
    let record = planted.run(false).finished.record;
    assert_eq!(record.verdict, Verdict::Violated, "{record:#?}");
    record.invariants.iter().find(|invariant| invariant.name == name).map_or(0, |found| found.violations_total)
}

#[test]
fn an_outbox_that_forgets_on_a_crash_lacks_refusals_and_g7_says_so() {
    assert!(violations("audit_outage", "reports-in-memory", "G7-attempts-on-record") > 0);
}

#[test]
fn an_outbox_that_relays_twice_under_new_numbers_doubles_steps_and_g7_says_so() {
    assert!(violations("smoke", "relays-twice", "G7-steps-on-record") > 0);
}

#[test]
fn a_stream_that_forgets_its_tenant_or_goes_on_too_far_is_found_and_g7_says_so() {
    let sound = Setup::expand(&scenario("live_stream"), 1).run(false).finished.record;
    assert_eq!(sound.verdict, Verdict::Pass, "{sound:#?}");
    assert!(violations("live_stream", "stream-of-everyone", "G7-stream") > 0);
    assert!(violations("live_stream", "stream-skips", "G7-stream") > 0);
}

#[test]
fn rules_that_begin_anew_with_the_log_ring_twice_and_g7_says_so() {
    assert!(violations("alerts", "rules-forget", "G7-alerts") > 0);
}

#[test]
fn rules_that_fire_below_their_thresholds_are_seen_by_g7() {
    assert!(violations("alerts", "rules-fire-below", "G7-alerts") > 0);
}

#[test]
fn an_auth_that_takes_ones_own_approval_or_that_of_someone_who_is_gone_is_seen_by_g2() {
    // Not in every seed someone is gone just then.
    for bug in ["own-approval", "approvers-forgotten"] {
        let hunted = hunt(
            Bug::find(bug).expect("a bug of the table"),
            &scenario("four_eyes"),
            &Limits { from: 1, seeds: 10, hang: Duration::from_secs(120) },
        );
        assert!(hunted.found.is_some(), "{bug}: {hunted:?}");
    }
}

#[test]
fn a_webhook_that_gives_up_after_one_try_loses_alerts_and_g7_says_so() {
    assert!(violations("alerts", "webhook-gives-up", "G7-webhook") > 0);
}

#[test]
fn a_run_that_has_no_time_to_drain_is_a_violation_of_liveness() {
    let mut hasty = scenario("partition_consumer_ledger");
    hasty.drain = Duration::from_millis(1);
    let record = Setup::expand(&hasty, 1).run(false).finished.record;
    assert_eq!(record.verdict, Verdict::Violated);
    assert!(record.invariants.iter().any(|i| i.name == "G10-liveness" && i.violations_total > 0), "{record:#?}");
}

#[test]
fn a_scenario_error_points_at_line_and_column_and_says_what_would_be_right() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("typo.toml");
    let text = "name = \"typo\"\ndescription = \"A host that is not there.\"\nduration_ms = 1000\n\n[workload]\n\
                commands = 10\n\n[[fault]]\nkind = \"crash\"\nhost = \"borker\"\nat_ms = 10\nfor_ms = 10\n";
    write_file(&path, text);
    let output = tenantry(&["run", path.to_str().expect("a path")]);
    let told = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("typo.toml:10:8"), "{told}");
    assert!(told.contains("did you mean \"broker\"?"), "{told}");
}

#[test]
fn an_unknown_scenario_is_a_usage_error_that_names_the_nearest() {
    let output = tenantry(&["run", "smoke_"]);
    let told = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("did you mean \"smoke\"?"), "{told}");
}
