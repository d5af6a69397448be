//! Billing through the whole system: what a suspension stops and what not, a plan's bounds, and the scenario that does all of
//! it between crashes.

use std::collections::BTreeSet;

use tenantry_reports::verdict::Verdict;
use tenantry_sim::tenantry::cast::{Cast, Part};
use tenantry_sim::tenantry::model::Ask;
use tenantry_sim::tenantry::run::Setup;
use tenantry_sim::tenantry::workload::{Act, Command};
use tenantry_tests::scenario;

fn seats(new_limit: u64) -> Ask {
    Ask::UpdateLimit { limit_type: "seats".into(), new_limit, expected_version: None }
}

#[test]
fn a_suspension_stops_every_effect_but_its_end_and_an_erasure_and_a_plan_bounds_limits() {
    let credit = || Ask::Credit { amount_minor: 100, currency: "EUR".into() };
    let plan = |plan: &str| Ask::ChangePlan { plan: plan.into() };
    let story = [
        (plan("free"), "applied"),
        (seats(6), "rejected"),
        (seats(5), "applied"),
        (Ask::Suspend, "applied"),
        (credit(), "rejected"),
        (plan("team"), "rejected"),
        (Ask::Erase, "applied"),
        (Ask::Resume, "applied"),
        (credit(), "applied"),
        (plan("team"), "applied"),
        (seats(6), "applied"),
        (plan("free"), "rejected"),
        (plan("gold"), "rejected"),
    ];
    let cast = Cast::of(&[("user-a", "tenant-a", Part::Admin), ("user-b", "tenant-b", Part::Admin)]);
    let acts = (0..).zip(&story).map(|(index, (ask, _))| {
        let (operator, tenant) = (cast.operators[0].clone(), cast.tenants[0].clone());
        let command = Command { message_id: format!("m-{index}"), operator, tenant, ask: ask.clone(), allowed: true };
        (index * 100, Act::Send(command))
    });
    let ended = Setup::story("billing", 1, cast.clone(), acts.collect()).run(true);
    let record = &ended.finished.record;
    assert_eq!(record.verdict, Verdict::Pass, "{record:#?}");
    for (index, (ask, status)) in story.iter().enumerate() {
        let (path, told) = (format!("/v1/commands/m-{index}?"), format!("\"status\":\"{status}\""));
        let read = ended.trace.iter().rfind(|entry| entry.kind == "api.read" && entry.detail.starts_with(&path));
        let read = &read.expect("its status was read").detail;
        assert!(read.contains(&told), "{ask:?} should be {status}: {read}");
    }
}

#[test]
fn between_crashes_the_books_balance_and_reconciliation_tells_nothing() {
    let scenario = scenario("billing");
    let mut reached = BTreeSet::new();
    for seed in 1..=3 {
        let record = Setup::expand(&scenario, seed).run(false).finished.record;
        assert_eq!(record.verdict, Verdict::Pass, "seed {seed}: {record:#?}");
        reached.extend(record.marks.into_keys());
    }
    for mark in ["reconciled", "plan_changed", "suspended", "rejected_as_suspended", "outside_guardrail"] {
        assert!(reached.contains(mark), "{mark} was not reached: {reached:?}");
    }
}
