//! What is left out takes nothing else with it, and what is left is small and still wrong.

use super::*;
use crate::bugs::Bug;
use crate::engine::double::Parting;
use crate::engine::trace::{TraceEntry, first_difference};
use crate::tenantry::regression;
use crate::tenantry::section::{self, Scenario};

/// A scenario of three consumers whose disks lie, with five faults of which one is to blame.
const LYING: &str = r#"
name = "lying"
description = "Syncs make nothing durable."
duration_ms = 900
[network]
latency_ms = { min = 1, max = 3 }
[disk]
lying_sync = true
[topology]
consumers = 3
tls = true
[workload]
commands = 30
resend = 0.3
followers = 1
[[fault]]
kind = "hold"
between = ["consumer-1", "consumer-2"]
at_ms = 100
for_ms = 50
[[fault]]
kind = "crash"
host = "consumer-3"
at_ms = 200
for_ms = 50
[[fault]]
kind = "bounce"
host = "auth"
at_ms = 300
[[fault]]
kind = "power_loss"
host = "ledger"
at_ms = 700
for_ms = 50
[[fault]]
kind = "disk_slow"
host = "audit"
at_ms = 800
for_ms = 50
sync_ms = 9
"#;

fn setup(text: &str, seed: u64) -> Setup {
    let scenario = Scenario::parse("lying.toml", text, section::hosts).expect("a sound scenario");
    Setup::expand(&scenario, seed)
}

fn whole(setup: &Setup) -> Cut {
    let all = (0..setup.plan.entries.len()).filter(|index| !setup.is_heal(*index));
    let (acts, faults) = all.partition(|index| setup.act(*index).is_some());
    Cut { acts, faults, simpler: BTreeSet::new() }
}

fn before(trace: &[TraceEntry], at_ms: u64) -> &[TraceEntry] {
    &trace[..trace.partition_point(|event| event.at_us < at_ms * 1000)]
}

#[test]
fn leaving_out_an_entry_changes_nothing_before_it() {
    let setup = setup(&LYING.replace("lying_sync = true", "").replace("tls = true", ""), 3);
    let all = whole(&setup);
    let trace = setup.run(true).trace;
    // Of each sort one in the middle: by then a lot has been drawn.
    for index in [all.acts[all.acts.len() / 2], all.faults[2]] {
        let without = |list: &[usize]| list.iter().copied().filter(|other| *other != index).collect();
        let less = setup.cut(&Cut { acts: without(&all.acts), faults: without(&all.faults), ..all.clone() });
        assert_eq!(less.plan.entries.len(), setup.plan.entries.len() - 1, "a bounce and an act have no heal");
        assert!(less.plan.entries.iter().all(|entry| setup.plan.entries.contains(entry)));
        let (at_ms, other) = (setup.plan.entries[index].at_ms, less.run(true).trace);
        assert!(at_ms > 100 && before(&trace, at_ms).len() > 100);
        assert_eq!(Parting::of(before(&trace, at_ms), before(&other, at_ms)), None);
        assert!(first_difference(&trace, &other).is_some(), "it made a difference");
    }
}

#[test]
fn a_future_that_is_drawn_anew_has_the_same_past() {
    let setup = setup(&LYING.replace("lying_sync = true", "").replace("tls = true", ""), 3);
    let trace = setup.run(true).trace;
    let last_ms = setup.plan.entries.last().map(|entry| entry.at_ms).unwrap();
    // In the midst of it; and after all entries, where only the dice are others.
    for at_ms in [400, last_ms.min(850)] {
        let [one, other] = [0, 1].map(|future| setup.future(at_ms, future).run(true).trace);
        assert!(before(&trace, at_ms).len() > 200);
        assert_eq!(Parting::of(before(&trace, at_ms), before(&one, at_ms)), None, "at {at_ms} ms");
        assert!(first_difference(&trace, &one).is_some() && first_difference(&one, &other).is_some(), "at {at_ms} ms");
    }
    let dice_only = Setup { redrawn: Some((Duration::from_millis(400), 7)), ..setup.clone() }.run(true).trace;
    assert_eq!(Parting::of(before(&trace, 400), before(&dice_only, 400)), None);
    assert!(first_difference(&trace, &dice_only).is_some(), "syncs take other times");
}

#[test]
fn a_cut_of_everything_is_the_setup_itself() {
    let setup = setup(LYING, 3);
    assert_eq!(setup.cut(&whole(&setup)).plan, setup.plan);
}

#[test]
fn what_needs_a_command_goes_with_it() {
    let setup = setup(LYING, 3);
    let resent = |act: &Act| match act {
        Act::Resend(command) => Some(command.message_id.clone()),
        _ => None,
    };
    let all = whole(&setup);
    let resends: Vec<_> =
        all.acts.iter().copied().filter(|index| resent(setup.act(*index).unwrap()).is_some()).collect();
    assert!(resends.len() > 3);
    let left = setup.sound(Cut { acts: resends.clone(), ..all.clone() });
    assert!(left.acts.is_empty(), "nothing was sent that could be sent again");
    assert_eq!(setup.sound(all.clone()), all);
}

#[test]
fn a_simpler_stage_has_no_faults_of_what_is_not_there() {
    let setup = setup(LYING, 3);
    let simpler = Simpler::ALL.into_iter().filter(|simpler| *simpler != Simpler::Sooner).collect();
    let simple = setup.cut(&Cut { simpler, ..whole(&setup) });
    let faults: Vec<_> = simple.plan.faults().iter().map(|fault| fault.kind.to_string()).collect();
    let expected = ["crash consumer", "bounce auth", "power_loss ledger", "disk_slow audit to 9 ms"];
    assert_eq!(faults, expected, "between two consumers there is nothing to hold any more");
    assert_eq!(simple.consumers, ["consumer"]);
    assert!(!simple.tls && simple.followers.is_empty());
    assert_eq!((simple.latency_ms.clone(), simple.sync_ms.clone()), (1..=1, 1..=1));
    let last = simple.plan.entries.last().map(|entry| entry.at_ms).unwrap();
    assert_eq!(simple.duration, Duration::from_millis((last + 1).min(900)));
}

#[test]
fn moved_to_the_beginning_all_keep_their_distances() {
    let setup = setup(LYING, 3);
    let all = whole(&setup);
    let late = Cut { acts: Vec::new(), faults: all.faults[2..].to_vec(), simpler: [Simpler::Sooner].into() };
    let moved = setup.cut(&late).plan;
    let at: Vec<_> = moved.faults().iter().map(|fault| fault.at.as_millis()).collect();
    assert_eq!(at, [200, 600, 700]);
}

#[test]
fn tenants_that_the_plan_does_not_name_go_and_nobody_has_another_part() {
    let setup = setup(&LYING.replace("followers = 1", "tenants = 9"), 3);
    let all = whole(&setup);
    let of_first = |index: &&usize| names(&serde_json::to_value(setup.act(**index)).unwrap(), "t-1");
    let few = Cut { acts: all.acts.iter().filter(of_first).copied().collect(), ..all };
    let cast = setup.cut(&Cut { simpler: [Simpler::FewerTenants].into(), ..few }).cast;
    assert_eq!(cast.tenants.len(), 2, "the one of the plan, and one that nobody may act on");
    for operator in &cast.operators {
        assert_eq!(cast.part(operator, &cast.tenants[0]), setup.cast.part(operator, &cast.tenants[0]));
        assert_eq!(cast.part(operator, &cast.tenants[1]), None);
    }
}

#[test]
fn a_violation_of_hundreds_of_entries_comes_down_to_a_few() {
    let setup = setup(LYING, 1);
    let shrunk = shrink(&setup, "G4-nothing-lost", &Limits { runs: 150, threads: 2 });
    assert!(shrunk.is_violated("G4-nothing-lost"), "{:#?}", shrunk.record);
    let kinds: Vec<_> = shrunk.setup.plan.faults().iter().map(|fault| fault.kind.to_string()).collect();
    assert_eq!(kinds, ["power_loss ledger"]);
    assert_eq!(shrunk.entries, 2, "{:#?}", shrunk.setup.plan);
    assert!(shrunk.entries_before > 30 && shrunk.is_minimal);
    let (tls, consumers) = (shrunk.setup.tls, shrunk.setup.consumers.len());
    assert!(!tls && consumers == 1 && shrunk.setup.followers.is_empty(), "{:?}", shrunk.simpler);
}

#[test]
fn a_limit_that_nobody_keeps_comes_down_to_two_commands() {
    let text = r#"
name = "lying"
description = "Nobody keeps the limit."
duration_ms = 900
[topology]
tenant_rate = { per_second = 6, burst = 5 }
[workload]
commands = 40
tenants = 2
"#;
    let setup = Setup { bug: Bug::find("limiter-fails-open"), ..setup(text, 1) };
    let shrunk = shrink(&setup, "G8-fair-share", &Limits { runs: 100, threads: 2 });
    assert!(shrunk.is_violated("G8-fair-share"), "{:#?}", shrunk.record);
    assert_eq!(shrunk.entries, 2, "{:#?}", shrunk.setup.plan);
    assert!(shrunk.simpler.contains(&Simpler::TightLimits), "{:?}", shrunk.simpler);
}

#[test]
fn a_run_that_violates_nothing_comes_back_as_it_was() {
    let setup = setup(&LYING.replace("lying_sync = true", ""), 1);
    let sound = shrink(&setup, "G4-nothing-lost", &Limits::default());
    assert!(!sound.is_violated("G4-nothing-lost") && sound.runs == 1);
    assert_eq!(sound.setup.plan, setup.plan);
}

#[test]
fn a_regression_is_read_back_as_what_was_written() {
    let text = LYING.replace("tls = true", "tls = true\nuser_rate = { per_second = 900, burst = 900 }");
    let setup = setup(&text, 3);
    let all = whole(&setup);
    let simpler = Simpler::ALL.into_iter().collect();
    let left = setup.sound(Cut { acts: all.acts[..12].to_vec(), faults: all.faults[2..].to_vec(), simpler });
    let small = Setup { until: Until::Violation("G4-nothing-lost".into()), ..setup.cut(&left) };
    let record = small.run(false).finished.record;
    let (entries, entries_before, runs) = (0, 0, 0);
    let simpler = left.simpler.iter().copied().collect();
    let shrunk = Shrunk { setup: small, entries, entries_before, simpler, runs, is_minimal: true, record };
    let written = regression::write(&text, "kept", "G4-nothing-lost", &shrunk).unwrap();
    let read =
        Scenario::parse("kept.toml", &written, section::hosts).unwrap_or_else(|error| panic!("{error}\n{written}"));
    let again = Setup::expand(&read, 99);
    assert_eq!(again.plan.entries, shrunk.setup.plan.entries, "{written}");
    assert_eq!((again.plan.seed, &again.cast), (3, &shrunk.setup.cast));
    assert_eq!(again.rate_limits, shrunk.setup.rate_limits, "what shrinking does not know goes along");
    assert_eq!(again.guards.as_deref(), Some("G4-nothing-lost"));
    assert_eq!(again.run(false).finished.record.digest, shrunk.record.digest, "{written}");
}
