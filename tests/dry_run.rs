//! Operators who look before they act are told what then happens, through the whole system while services crash; and
//! nothing of the attack catalogue goes past the second pair of eyes.

use tenantry_reports::verdict::Verdict;
use tenantry_sim::tenantry::run::Setup;
use tenantry_tests::scenario;

#[test]
fn what_a_dry_run_announced_is_what_happened_unless_something_came_before() {
    for seed in 1..=2 {
        let record = Setup::expand(&scenario("dry_run"), seed).run(false).finished.record;
        assert_eq!(record.verdict, Verdict::Pass, "seed {seed}: {record:#?}");
        let kept = record.invariants.iter().find(|invariant| invariant.name == "G6-dry-run").expect("it is checked");
        assert!(kept.compared > 20, "seed {seed}: {kept:?}");
    }
}

#[test]
fn what_takes_two_takes_effect_only_by_two_while_roles_go_and_auth_loses_power() {
    for seed in 1..=2 {
        let record = Setup::expand(&scenario("four_eyes"), seed).run(false).finished.record;
        assert_eq!(record.verdict, Verdict::Pass, "seed {seed}: {record:#?}");
        let kept = record.invariants.iter().find(|invariant| invariant.name == "G2-four-eyes").expect("it is checked");
        assert!(kept.compared > 50, "seed {seed}: {kept:?}");
        assert!(record.marks.contains_key("approved") && record.marks.contains_key("not_approved"), "{record:#?}");
    }
}
