//! Comparisons made by hand, and the sides they are of.

use std::collections::BTreeMap;

use crate::compare::{Compared, Method, Record, Side, WallGenerator, WallRun, WallStage, compare};
use crate::latency::{VirtualCounts, VirtualLatency};
use crate::record::Commands;
use crate::report::Stage;
use crate::suite::{Build, FinishedRun, Source, SuiteRecord};
use crate::verdict::{SuiteVerdict, Verdict};

/// A number that looks random and is the same on every machine.
fn noise(of: u64, below: u64) -> u64 {
    let mut mixed = of.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)) % below
}

/// A run of 100 commands, in which `side` is chance and all of them take `later` milliseconds more.
#[must_use]
pub fn run(scenario: &str, seed: u64, side: u64, later: u64) -> FinishedRun {
    let mut run = super::passed(scenario, seed);
    let (mut confirmed, mut effect) = (VirtualLatency::new(), VirtualLatency::new());
    for number in 0..100 {
        // What the seed brings is the same on both sides; of what chance brings, a part is.
        let shared = noise(seed * 1_000 + number, 12) + noise(seed, 6);
        let own = noise((side + 1) * 1_000_000 + seed * 1_000 + number, 6);
        let tail = if noise(seed * 77 + number, 25) == 0 { 20 + noise(seed + number, 40) } else { 0 };
        let ms = std::time::Duration::from_millis;
        confirmed.record(ms(9 + own));
        effect.record(ms(18 + shared + own + tail + later));
    }
    run.record.latency_virtual_ms = effect.summary();
    run.record.stages_virtual_ms_counts = [(Stage::SentToConfirmed, &confirmed), (Stage::SentToEffect, &effect)]
        .map(|(stage, of)| (stage, VirtualCounts::from(of)))
        .into();
    run.record.digest = format!("{:032x}", seed * 16 + side);
    run.latency = effect;
    run
}

/// A record of `runs`, of the build at `commit`.
#[must_use]
pub fn suite(commit: &str, runs: Vec<FinishedRun>) -> SuiteRecord {
    let build = Build { commit: Some(commit.into()), ..super::build() };
    let mut suite = SuiteRecord::new(build, runs, &BTreeMap::new());
    suite.read_from(|name| Some(Source { file: format!("scenarios/{name}.toml"), digest: format!("d-{name}") }));
    suite
}

/// Both of a comparison in which one scenario is slower by 6 ms, one is as it was, one has too few runs, one violates a promise at a
/// seed at which it did not, and one is the same.
#[must_use]
pub fn sides() -> (SuiteRecord, SuiteRecord) {
    let of = |side: u64, later: u64| -> Vec<FinishedRun> {
        let smoke = (1..=40).map(|seed| run("smoke", seed, side, later));
        let calm = (1..=40).map(|seed| run("audit_outage", seed, side, 0));
        let few = (1..=5).map(|seed| run("noisy_neighbour", seed, side, 0));
        let same = (1..=5).map(|seed| run("mutual_tls", seed, 0, 0));
        let mut broken: Vec<_> = (1..=40).map(|seed| run("chaos", seed, side, 0)).collect();
        if side > 0 {
            let invariant = &mut broken[6].record.invariants[0];
            invariant.violate("m-12 of acme changed the limit of globex");
            broken[6].record.verdict = Verdict::Violated;
        }
        smoke.chain(calm).chain(few).chain(broken).chain(same).collect()
    };
    (suite("c0ffee1", of(0, 0)), suite("c0ffee2", of(1, 6)))
}

/// Sides of the two records.
///
/// # Panics
/// If they are none.
#[must_use]
pub fn compared(base: SuiteRecord, new: SuiteRecord) -> Compared {
    let side =
        |name: &str, record| Side::of(name, vec![(name.to_owned(), Record::Suite(Box::new(record)))]).expect("a side");
    compare(&side("base.json", base), &side("new.json", new), Method::default()).expect("they can be compared")
}

/// A comparison with every verdict in it.
#[must_use]
pub fn worse() -> Compared {
    let (base, new) = sides();
    compared(base, new)
}

/// One in which nothing differs but the build.
#[must_use]
pub fn same() -> Compared {
    let runs = || (1..=20).map(|seed| run("smoke", seed, 0, 0)).collect();
    compared(suite("c0ffee1", runs()), suite("c0ffee2", runs()))
}

/// One run against a live system, the `turn`-th of all, of which commands take `later_us` more.
#[must_use]
pub fn wall(turn: u64, commit: &str, later_us: u64) -> WallRun {
    let drift = turn * 15;
    let counts = |from: u64, spread: u64| -> Vec<(u64, u64)> {
        let mut counts = BTreeMap::new();
        for number in 0..4_000 {
            let tail = if number % 50 == 0 { noise(turn * 99_991 + number, 600) } else { 0 };
            let us = from + drift + noise(turn * 1_000_003 + number, spread) + tail;
            *counts.entry(us / 10 * 10).or_default() += 1;
        }
        counts.into_iter().collect()
    };
    let stage =
        |stage: &str, counts_wall_us| WallStage { stage: stage.into(), tenant: None, action: None, counts_wall_us };
    WallRun {
        version: 1,
        build: Build { commit: Some(commit.into()), ..super::build() },
        scenario: "smoke".into(),
        source: Some(Source { file: "scenarios/smoke.toml".into(), digest: "d-smoke".into() }),
        verdict: SuiteVerdict::Pass,
        began_unix_ms: 1_790_000_000_000 + turn * 40_000,
        ended_unix_ms: 1_790_000_000_000 + turn * 40_000 + 30_000,
        plan: serde_json::json!({ "arrivals": "200 a second, Poisson", "rate": 200.0 }),
        commands: Commands { accepted: 4_000, applied: 4_000, ..Commands::default() },
        latency: vec![
            stage("total", counts(2_120 + later_us, 920)),
            stage("schedule_delay", counts(5, 30)),
            stage("service_time", counts(2_100 + later_us, 900)),
        ],
        generator: WallGenerator::default(),
        reproduce: "tenantry load smoke --rate 200".into(),
    }
}

/// Both sides of a comparison of six live runs each, which took turns.
///
///
/// # Panics
/// If the records are no side.
#[must_use]
pub fn walls(later_us: u64) -> (Side, Side) {
    let side = |name: &str, commit: &str, first: u64, later_us| {
        // Base, new, new, base: so a machine that gets slower and slower counts for neither.
        let turns = (0..6).map(|run| run * 2 + (run + first) % 2);
        let records =
            turns.map(|turn| (format!("{name}-{turn}.json"), Record::Wall(Box::new(wall(turn, commit, later_us)))));
        Side::of(name, records.collect()).expect("a side")
    };
    (side("base", "c0ffee1", 0, 0), side("new", "c0ffee2", 1, later_us))
}

/// A comparison of live systems in which the new one is slower by 300 microseconds.
///
/// # Panics
/// If the sides can't be compared.
#[must_use]
pub fn live() -> Compared {
    let (base, new) = walls(300);
    compare(&base, &new, Method::default()).expect("they can be compared")
}
