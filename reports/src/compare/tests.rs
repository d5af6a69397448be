//! What is compared with what, what is refused, and how it is judged and told.

use super::*;
use crate::samples::compare::{compared, live, run, same, sides, suite, wall, walls, worse};
use crate::suite::{FinishedRun, SuiteRecord};

fn side(name: &str, record: SuiteRecord) -> Side {
    Side::of(name, vec![(name.to_owned(), Record::Suite(Box::new(record)))]).unwrap()
}

fn runs(scenario: &str, seeds: std::ops::RangeInclusive<u64>, side: u64, later: u64) -> Vec<FinishedRun> {
    seeds.map(|seed| run(scenario, seed, side, later)).collect()
}

fn refused(base: SuiteRecord, new: SuiteRecord) -> String {
    compare(&side("base.json", base), &side("new.json", new), Method::default()).unwrap_err().to_string()
}

fn of_virtual(compared: Compared) -> Comparison<VirtualLength> {
    let Compared::Virtual(of) = compared else { panic!("of wall time") };
    of
}

#[test]
fn a_comparison_that_found_much_reads_like_this() {
    insta::assert_snapshot!(worse().text());
}

#[test]
fn as_markdown_it_reads_like_this() {
    insta::assert_snapshot!(worse().markdown());
}

#[test]
fn one_of_live_systems_reads_like_this() {
    insta::assert_snapshot!(live().text());
}

#[test]
fn the_same_is_told_as_the_same() {
    let expected = "The same: all 20 pairs of 1 scenario are equal to the last event.\n\
                    Base: base.json, 0.1.0 release for x86_64-linux at c0ffee1, 20 runs.\n\
                    New:  new.json, 0.1.0 release for x86_64-linux at c0ffee2, 20 runs.\n\n\
                    smoke: the same\nThe same: 20 pairs with equal digests.\n";
    assert_eq!(same().text(), expected);
    assert_eq!(same().exit_code(), 0);
}

#[test]
fn a_comparison_survives_being_written_down_and_keeps_its_clock() {
    for compared in [worse(), same(), live()] {
        let json = compared.json();
        assert_eq!(serde_json::from_str::<Compared>(&json).unwrap(), compared, "{json}");
        let schema =
            jsonschema::draft202012::new(&serde_json::to_value(schemars::schema_for!(Compared)).unwrap()).unwrap();
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert!(schema.is_valid(&value), "{:?}", schema.iter_errors(&value).next().map(|error| error.to_string()));
        let clock = if matches!(compared, Compared::Wall(_)) { "wall" } else { "virtual" };
        assert_eq!(value["time"], clock);
    }
}

#[test]
fn no_sentence_is_of_both_times() {
    for (compared, other) in [(worse(), "wall"), (live(), "virtual")] {
        for told in [compared.text(), compared.markdown(), compared.json(), crate::html::compare(&compared)] {
            let body = told.split_once("<body>").map_or(told.as_str(), |(_, body)| body).to_lowercase();
            assert!(!body.contains(other), "{other} in {body}");
        }
    }
}

#[test]
fn each_verdict_has_its_exit_code_and_the_worst_decides() {
    let of = of_virtual(worse());
    let verdicts: Vec<_> = of.scenarios.iter().map(|scenario| (scenario.scenario.as_str(), scenario.verdict)).collect();
    let expected = [
        ("smoke", CompareVerdict::Regression),
        ("audit_outage", CompareVerdict::Pass),
        ("noisy_neighbour", CompareVerdict::Inconclusive),
        ("chaos", CompareVerdict::Violated),
        ("mutual_tls", CompareVerdict::Same),
    ];
    assert_eq!(verdicts, expected);
    assert_eq!((of.verdict, of.exit_code), (CompareVerdict::Violated, 1));
    let codes = expected.map(|(_, verdict)| verdict.exit_code());
    assert_eq!(codes, [3, 0, 4, 1, 0]);
}

#[test]
fn a_planted_shift_is_told_with_its_size() {
    let slower = |later| {
        let of =
            of_virtual(compared(suite("a", runs("smoke", 1..=40, 0, 0)), suite("b", runs("smoke", 1..=40, 1, later))));
        let row = of.scenarios[0].latency.iter().find(|row| row.gate).cloned().unwrap();
        (of.exit_code, row.says, row.shift.unwrap())
    };
    let (code, says, shift) = slower(6);
    assert_eq!((code, says), (3, Says::Slower));
    assert!(shift.low_ms.ms() > 3.0 && shift.high_ms.ms() < 9.0, "{shift:?}");
    let (code, says, _) = slower(1);
    assert!(code != 3 && says != Says::Faster, "{code} {says:?}: one ms is below the tolerance");
}

#[test]
fn the_order_of_the_sides_is_the_sign_of_the_shift() {
    let (slow, fast) = (suite("a", runs("smoke", 1..=40, 0, 6)), suite("b", runs("smoke", 1..=40, 1, 0)));
    let of = of_virtual(compared(slow, fast));
    let row = of.scenarios[0].latency.iter().find(|row| row.gate).unwrap();
    assert_eq!((row.says, of.exit_code), (Says::Faster, 0));
    assert!(row.shift.unwrap().by_ms.ms() < -3.0);
}

#[test]
fn too_few_runs_are_inconclusive_and_say_how_many_it_takes() {
    let few = compared(suite("a", runs("smoke", 1..=4, 0, 0)), suite("b", runs("smoke", 1..=4, 1, 0)));
    assert_eq!(few.exit_code(), 4);
    assert!(few.text().contains("it takes 1,000 commands, and there are 400"), "{}", few.text());
    let tight = Method { tolerance_percent: 1.5, ..Method::default() };
    let (base, new) = (suite("a", runs("smoke", 1..=40, 0, 0)), suite("b", runs("smoke", 1..=40, 1, 0)));
    let told = compare(&side("a", base), &side("b", new), tight).unwrap();
    assert_eq!(told.exit_code(), 4, "{}", told.text());
    assert!(told.text().contains("seeds a side"), "{}", told.text());
}

#[test]
fn a_seed_that_passed_and_now_is_violated_outranks_every_latency() {
    let of = of_virtual(worse());
    let changed = &of.scenarios[3].changed[0];
    assert_eq!((changed.seed, changed.violated.as_slice()), (7, &["G1-isolation".to_owned()][..]));
    let (base, new) = sides();
    let mended = of_virtual(compared(new, base));
    assert_eq!(mended.scenarios[3].changed.len(), 1, "a seed that is violated no more is told");
    assert!(mended.scenarios[3].verdict < CompareVerdict::Regression, "and is no harm");
}

#[test]
fn what_can_not_be_compared_is_refused_with_what_would_be_right() {
    let smoke = |seeds, side| suite("a", runs("smoke", seeds, side, 0));
    let told = refused(smoke(1..=5, 0), smoke(51..=55, 1));
    let expected = "smoke ran with other seeds on each side, so its runs can't be paired: base has 5 from 1 to 5, new has 5 from \
                    51 to 55; run both with the same --seeds";
    assert_eq!(told, expected);
    assert!(refused(smoke(1..=5, 0), smoke(1..=6, 1)).contains("other seeds"), "a part is no pair");
    let told = refused(smoke(1..=5, 0), suite("a", runs("chaos", 1..=5, 0, 0)));
    assert_eq!(told, "no scenario ran on both sides: base has smoke, new has chaos; run both with the same scenarios");
    let mut other = smoke(1..=5, 1);
    other.summary[0].source.as_mut().unwrap().digest = "e".into();
    assert!(
        refused(smoke(1..=5, 0), other)
            .contains("smoke is another scenario on each side: scenarios/smoke.toml has digest d-smoke")
    );
    let mut debug = smoke(1..=5, 1);
    debug.build.profile = "debug".into();
    assert!(
        refused(smoke(1..=5, 0), debug)
            .contains("base is a release x86_64-linux build and new a debug x86_64-linux one")
    );
    let refused = |mut record: SuiteRecord, bend: &dyn Fn(&mut SuiteRecord)| {
        bend(&mut record);
        Side::of("new.json", vec![("new.json".into(), Record::Suite(Box::new(record)))]).unwrap_err().to_string()
    };
    let told = refused(smoke(1..=5, 0), &|suite| drop(suite.runs.pop()));
    assert!(told.contains("new.json holds 4 of the 5 runs of smoke, as a hunt's record does"), "{told}");
    let told = refused(smoke(1..=5, 0), &|suite| suite.runs[2].stages_virtual_ms_counts.clear());
    assert!(told.contains("no distribution of the latencies of smoke, seed 3"), "{told}");
    let told = refused(smoke(1..=5, 0), &|suite| suite.version = 9);
    assert!(told.contains("a record of version 9"), "{told}");
    let told = refused(smoke(1..=5, 0), &|suite| suite.runs[2].seed = 2);
    assert!(told.contains("seed 2 of smoke more than once"), "{told}");
    assert!(Side::of("empty", Vec::new()).unwrap_err().to_string().contains("empty holds no record"));
    let (base, live) = (side("base.json", smoke(1..=5, 0)), walls(0).1);
    for (one, other) in [(&base, &live), (&live, &base)] {
        let told = compare(one, other, Method::default()).unwrap_err().to_string();
        assert!(told.starts_with("base.json is of virtual time and new-1.json"), "{told}");
    }
}

#[test]
fn a_scenario_that_only_one_side_has_is_named_and_holds_nothing_up() {
    let both = [runs("smoke", 1..=5, 0, 0), runs("chaos", 1..=5, 0, 0)].concat();
    let of = of_virtual(compared(suite("a", both), suite("b", runs("smoke", 1..=5, 0, 0))));
    assert_eq!(of.notes, ["Only base ran, so nothing is said of: chaos."]);
    assert_eq!((of.scenarios.len(), of.verdict), (1, CompareVerdict::Same));
}

#[test]
fn a_harness_that_failed_is_not_measured() {
    let with = |verdict| {
        let mut runs = runs("smoke", 1..=40, 0, 0);
        runs[3].record.verdict = verdict;
        runs[3].record.digest = String::new();
        suite("a", runs)
    };
    let of = of_virtual(compared(with(Verdict::Failed), with(Verdict::Failed)));
    assert_eq!((of.scenarios[0].same, of.scenarios[0].pairs), (39, 40), "what has no digest is like nothing");
    assert_eq!(compared(with(Verdict::Pass), with(Verdict::Failed)).exit_code(), 70);
}

#[test]
fn reports_of_single_runs_are_a_set() {
    let set = |later: bool| {
        let records = (1..=6).map(|seed| {
            let mut report = crate::samples::report::passed();
            report.record.seed = seed;
            report.record.digest = format!("{seed}{later}");
            (format!("{seed}.json"), Record::Run(Box::new(report)))
        });
        Side::of("reports", records.collect()).unwrap()
    };
    let of = of_virtual(compare(&set(false), &set(true), Method::default()).unwrap());
    let stages: std::collections::BTreeSet<_> = of.scenarios[0].latency.iter().map(|row| row.stage.clone()).collect();
    assert_eq!((stages.len(), of.scenarios[0].pairs, of.scenarios[0].same), (5, 6, 0));
    assert_eq!((of.verdict, of.scenarios[0].latency[0].says), (CompareVerdict::Pass, Says::Same));
}

#[test]
fn live_runs_take_turns_at_least_five_a_side() {
    assert_eq!(live().exit_code(), 3, "{}", live().text());
    let (base, new) = walls(0);
    let calm = compare(&base, &new, Method::default()).unwrap();
    assert_eq!(calm.exit_code(), 0, "{}", calm.text());
    let told = |base: &[u64], new: &[u64]| {
        let side = |name: &str, turns: &[u64]| {
            let records =
                turns.iter().map(|turn| (format!("{turn}.json"), Record::Wall(Box::new(wall(*turn, name, 0)))));
            Side::of(name, records.collect()).unwrap()
        };
        compare(&side("base", base), &side("new", new), Method::default())
            .map(|_| ())
            .map_err(|error| error.to_string())
    };
    let right = "run them in turn, best base, new, new, base, at least 5 of each";
    assert_eq!(told(&[0, 3, 4, 7, 8], &[1, 2, 5, 6, 9]), Ok(()), "base, new, new, base");
    assert_eq!(told(&[0, 2, 4, 6, 8], &[1, 3, 5, 7, 9]), Ok(()), "or base, new, base, new");
    let expected = format!("smoke ran 4 times as base and 4 times as new; {right}");
    assert_eq!(told(&[0, 2, 4, 6], &[1, 3, 5, 7]), Err(expected));
    let expected = format!("smoke did not take turns: in the order of time, runs 1 and 2 are both of base; {right}");
    assert_eq!(told(&[0, 1, 2, 3, 4], &[5, 6, 7, 8, 9]), Err(expected));
    let over = told(&[0, 2, 4, 6, 8], &[1, 3, 5, 6, 9]).unwrap_err();
    assert!(over.contains("was not over when one of"), "{over}");
}

#[test]
fn the_report_of_a_load_is_read_and_another_load_is_refused() {
    let json = r#"{ "version": 1, "time": "wall", "scenario": "smoke", "description": "", "seed": 1, "verdict": "threshold", "notes": [],
        "build": { "version": "0.1.0", "profile": "release", "target": "x86_64-linux" }, "began_unix_ms": 5, "ended_unix_ms": 9,
        "plan": { "rate": 200.0 }, "commands": { "accepted": 4, "applied": 4, "rejected": 0, "dead_lettered": 0 },
        "latency": [{ "stage": "total", "summary_wall_us": { "count": 3 }, "counts_wall_us": "1400*2 1500*1" },
                    { "stage": "total", "tenant": "acme", "counts_wall_us": "1400*1" }],
        "generator": { "waited_for_slot": 0, "bottleneck": "it had no processor left" }, "reproduce": "tenantry load smoke" }"#;
    let read: WallRun = serde_json::from_str(json).unwrap();
    assert_eq!(read.latency[0].counts_wall_us, [(1_400, 2), (1_500, 1)]);
    assert!(serde_json::from_str::<WallRun>(&json.replace("1400*2", "1400x2")).is_err());
    let side = |name: &str, rate: u64, stalled: bool| {
        let first = u64::from(name == "new");
        let runs = (0..5).map(|run| {
            let mut wall = wall(run * 2 + first, name, 0);
            wall.plan = serde_json::json!({ "rate": rate });
            wall.generator.bottleneck = stalled.then(|| "it had no processor left.".to_owned());
            (format!("{run}.json"), Record::Wall(Box::new(wall)))
        });
        Side::of(name, runs.collect()).unwrap()
    };
    let told = compare(&side("base", 200, false), &side("new", 300, false), Method::default()).unwrap_err().to_string();
    assert!(
        told.contains("base under {\"rate\":200}, new under {\"rate\":300}; run both builds under the same load"),
        "{told}"
    );
    let Compared::Wall(of) = compare(&side("base", 200, false), &side("new", 200, true), Method::default()).unwrap()
    else {
        panic!()
    };
    assert_eq!(of.notes, ["In 5 of 5 runs of new the generator itself was the bottleneck: it had no processor left."]);
}
