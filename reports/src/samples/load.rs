//! A load by hand: Poisson arrivals for 20 s, the consumer and then the broker killed, one threshold missed.

use std::time::Duration;

use super::build;
use crate::load::{
    Generator, Killed, LoadPlan, LoadReport, Recovery, Search, SearchStep, Sending, Target, Threshold, VERSION,
    WallInterval, WallSeries, WallStage, WallStageLatency, WallTimeBase,
};
use crate::record::Commands;
use crate::report::{Refusal, RefusedAt};
use crate::verdict::SuiteVerdict;
use crate::wall::{WallLatency, WallMs};

const TENANTS: [&str; 3] = ["acme", "globex", "initech"];
const ACTIONS: [&str; 2] = ["issue_credit", "update_billing_limit"];

/// One command each 10 ms for 20 s. From 8 s on the consumer is gone for a second, from 14 s on the broker.
#[must_use]
pub fn load() -> LoadReport {
    let mut intervals: Vec<_> =
        (0..50).map(|index| WallInterval { from_ms: WallMs(index * 400), ..WallInterval::default() }).collect();
    let mut by: Vec<WallStageLatency> = Vec::new();
    let mut record = |stage: WallStage, command: u64, length: Duration| {
        let (tenant, action) = (TENANTS[command as usize % 3], ACTIONS[command as usize % 2]);
        for (tenant, action) in [(None, None), (Some(tenant), None), (None, Some(action))] {
            let is = |of: &&mut WallStageLatency| {
                of.stage == stage && of.tenant.as_deref() == tenant && of.action.as_deref() == action
            };
            match by.iter_mut().find(is) {
                Some(of) => of.counts_wall_us.record(length),
                None => {
                    let mut latency = WallLatency::new();
                    latency.record(length);
                    by.push(WallStageLatency::new(stage, tenant, action, latency));
                }
            }
        }
    };
    for command in 0..2_000 {
        let at = command * 10;
        // As dice would fall, and the same each time.
        let noise = Duration::from_micros(command * 7_919 % 3_000 + if command % 97 == 0 { 20_000 } else { 0 });
        let gone =
            |from: u64, until: u64| Duration::from_millis(if (from..until).contains(&at) { until - at } else { 0 });
        let delay = Duration::from_micros(300 + command * 31 % 900);
        let service = Duration::from_millis(3) + noise + gone(14_000, 15_300);
        let outcome = service + Duration::from_millis(5) + gone(8_000, 9_400);
        let interval = &mut intervals[(at / 400) as usize];
        interval.intended += 1;
        interval.confirmed += 1;
        interval.outcomes += 1;
        interval.in_flight_max = if gone(14_000, 15_300).is_zero() { 2 } else { (at - 13_990) / 10 };
        interval.total_wall_us.record(delay + service);
        interval.outcome_wall_us.record(delay + outcome);
        if at >= 2_000 {
            record(WallStage::Total, command, delay + service);
            record(WallStage::ScheduleDelay, command, delay);
            record(WallStage::ServiceTime, command, service);
            record(WallStage::Outcome, command, delay + outcome);
        }
    }
    by.iter_mut().for_each(|of| of.summary_wall_us = of.counts_wall_us.percentiles());
    by.sort_by(|one, other| (one.stage, &one.tenant, &one.action).cmp(&(other.stage, &other.tenant, &other.action)));
    let mut late = WallLatency::new();
    (0..2_000).for_each(|command| late.record(Duration::from_micros(200 + command % 900)));
    let killed = |role: &str, from, confirmations, outcomes| Killed {
        role: role.into(),
        from_ms: WallMs(from),
        to_ms: WallMs(from + 1_000),
        confirmations,
        outcomes,
    };
    LoadReport {
        version: VERSION,
        time: WallTimeBase::Wall,
        build: build(),
        scenario: "smoke".into(),
        description: "A calm second: every role at work, nothing goes wrong.".into(),
        source: None,
        seed: 1,
        verdict: SuiteVerdict::Threshold,
        notes: vec!["p99<50ms is not met: 1,124 ms.".into()],
        began_unix_ms: 1_767_225_602_000,
        ended_unix_ms: 1_767_225_620_100,
        plan: LoadPlan {
            arrivals: "100 a second, evenly spaced".into(),
            rate: 100.0,
            duration_ms: WallMs(20_000),
            warm_up_ms: WallMs(2_000),
            in_flight_max: 256,
            deadline_ms: WallMs(10_000),
            followed: 1.0,
        },
        target: Target { own: true, words: "a system of its own, each of six roles a process".into(), cores: 2 },
        commands: Commands { accepted: 2_000, applied: 1_910, rejected: 90, dead_lettered: 0, attempts_refused: 14 },
        sending: Sending { intended: 2_014, sent: 2_014, resent: 260, refused_rightly: 12, ..Sending::default() },
        latency: by,
        series: WallSeries { interval_ms: WallMs(400), intervals },
        faults: vec![
            killed("consumer", 8_000, Recovery::NotFelt, Recovery::After(WallMs(1_500))),
            killed("broker", 14_000, Recovery::After(WallMs(1_250)), Recovery::After(WallMs(1_500))),
        ],
        refusals: vec![Refusal { at: RefusedAt::Door, reason: "429 rate-limited".into(), count: 2 }],
        thresholds: vec![
            Threshold { demanded: "p99<50ms".into(), measured: "1,124 ms".into(), met: Some(false) },
            Threshold { demanded: "p99.99<1s".into(), measured: "needs 30,000 samples, has 1,800".into(), met: None },
            Threshold { demanded: "unanswered<0.1%".into(), measured: "0.00% (0 of 2,014)".into(), met: Some(true) },
        ],
        generator: Generator {
            late_wall_us: late.percentiles(),
            waited_for_slot: 0,
            in_flight_max: 130,
            processor_share: Some(0.11),
            bottleneck: None,
        },
        search: None,
        reproduce: "tenantry load smoke --rate 100 --seed 1".into(),
    }
}

/// The last step of a search, whose generator could not keep up.
#[must_use]
pub fn searched() -> LoadReport {
    let mut report = load();
    let bottleneck =
        "310 of 2,014 commands waited for a free place, with 256 requests under way; --in-flight allows more";
    report.generator.bottleneck = Some(bottleneck.into());
    report.faults.clear();
    let figures = report.latency[0].summary_wall_us;
    let step = |rate, met| SearchStep { rate, met: Some(met), total_wall_us: figures, bottleneck: None };
    let mut steps = vec![step(100.0, true), step(1_600.0, false), step(400.0, true), step(800.0, false)];
    steps[1].bottleneck = Some(bottleneck.into());
    report.search = Some(Search { steps, highest_met: Some(400.0), lowest_missed: Some(800.0) });
    report
}
