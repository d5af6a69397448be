//! From samples to figures: distributions after the warm-up, intervals over all, refusals, and the generator's own part.

use std::collections::BTreeMap;
use std::time::Duration;

use tenantry_reports::load::{
    Generator, Killed, Recovery, Sending, WallInterval, WallSeries, WallStage, WallStageLatency,
};
use tenantry_reports::record::Commands;
use tenantry_reports::report::{Refusal, RefusedAt};
use tenantry_reports::text::grouped;
use tenantry_reports::wall::{WallLatency, WallMs};

use super::drive::{Driven, Reply, Sample, Told};
use super::kill::Gone;
use super::recovery::{self, Point};
use super::shots::Shot;

/// Intervals of one load, about.
const INTERVALS: u64 = 60;

/// An interval is a whole number of these.
const INTERVAL_MS_MIN: u64 = 100;

/// A generator that wakes this late, for one command in a hundred, is too slow: timers alone are 1 to 2 ms late.
const LATE_US_MAX: u64 = 5_000;

/// Or uses this share of the one processor that its thread can use.
const PROCESSOR_SHARE_MAX: f64 = 0.85;

/// Or has more than one command in so many wait for a free place.
const WAITED_ONE_IN: u64 = 100;

/// What was sent, and what became of it.
pub struct Sent<'a> {
    /// In the order of arrivals.
    pub shots: &'a [Shot],
    /// What became of them.
    pub driven: &'a Driven,
    /// Commands that are meant to be sent before this are no part of any latency.
    pub warm_up: Duration,
    /// For how long commands came.
    pub duration: Duration,
    /// Share of one processor that the generator used.
    pub processor_share: Option<f64>,
    /// Requests at once, at most.
    pub in_flight_max: usize,
}

impl Sent<'_> {
    fn each(&self) -> impl Iterator<Item = (&Shot, &Sample)> {
        self.driven.samples.iter().map(|sample| (&self.shots[sample.shot], sample))
    }

    /// How the commands ended.
    #[must_use]
    pub fn commands(&self) -> Commands {
        let mut commands = Commands::default();
        for (_, sample) in self.each() {
            match sample.end {
                Reply::Confirmed => commands.accepted += 1,
                Reply::Refused(_) => commands.attempts_refused += 1,
                Reply::Again => {}
            }
            match sample.outcome {
                Some((_, Told::Applied)) => commands.applied += 1,
                Some((_, Told::Rejected)) => commands.rejected += 1,
                Some((_, Told::DeadLettered)) => commands.dead_lettered += 1,
                Some((_, Told::Unknown)) | None => {}
            }
        }
        commands
    }

    /// What became of what was to be sent.
    #[must_use]
    pub fn sending(&self) -> Sending {
        let mut sending = Sending { intended: self.driven.samples.len() as u64, ..Sending::default() };
        for (shot, sample) in self.each() {
            sending.sent += u64::from(sample.sent.is_some());
            sending.resent += sample.resent;
            sending.unanswered += u64::from(sample.end == Reply::Again);
            sending.refused_rightly += u64::from(is_rightly_refused(shot, sample));
            sending.accepted_wrongly += u64::from(!shot.allowed && sample.end == Reply::Confirmed);
            sending.outcome_unseen += u64::from(matches!(sample.outcome, Some((_, Told::Unknown))));
        }
        sending
    }

    /// What was refused though it was allowed.
    #[must_use]
    pub fn refusals(&self) -> Vec<Refusal> {
        let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
        for (shot, sample) in self.each() {
            if let (Reply::Refused(reason), false) = (&sample.end, is_rightly_refused(shot, sample)) {
                *counts.entry(reason).or_default() += 1;
            }
        }
        let refusal = |(reason, count): (&str, u64)| Refusal { at: RefusedAt::Door, reason: reason.to_owned(), count };
        counts.into_iter().map(refusal).collect()
    }

    /// Latencies of every stage after the warm-up: over all, per tenant, per action. Refusals are in none; what was given up is
    /// in the total and the outcome, with the time that it was waited for.
    #[must_use]
    pub fn latency(&self) -> Vec<WallStageLatency> {
        type Key<'k> = (WallStage, Option<&'k str>, Option<&'k str>);
        let mut by: BTreeMap<Key<'_>, WallLatency> = BTreeMap::new();
        for (shot, sample) in self.each().filter(|(shot, _)| shot.intended >= self.warm_up) {
            for (stage, length) in lengths(shot, sample) {
                for key in [(None, None), (Some(&*shot.tenant), None), (None, Some(shot.action))] {
                    by.entry((stage, key.0, key.1)).or_default().record(length);
                }
            }
        }
        let latency = |((stage, tenant, action), counts)| WallStageLatency::new(stage, tenant, action, counts);
        by.into_iter().map(latency).collect()
    }

    /// The load in intervals, up to the last answer.
    #[must_use]
    pub fn series(&self) -> WallSeries {
        let known = |sample: &Sample| sample.outcome.map_or(sample.ended, |(at, _)| at.max(sample.ended));
        let until = self.driven.samples.iter().map(known).max().unwrap_or_default();
        let until = until.max(if self.driven.stopped { until } else { self.duration });
        let until_ms = WallMs::of(until).0 + 1;
        let length = until_ms.div_ceil(INTERVALS).next_multiple_of(INTERVAL_MS_MIN);
        let count = until_ms.div_ceil(length);
        let mut intervals: Vec<_> = (0..count)
            .map(|index| WallInterval { from_ms: WallMs(index * length), ..WallInterval::default() })
            .collect();
        let place = |at: Duration| ((WallMs::of(at).0 / length) as usize).min(count as usize - 1);
        for (shot, sample) in self.each() {
            let of = &mut intervals[place(shot.intended)];
            of.intended += 1;
            of.unanswered += u64::from(sample.end == Reply::Again);
            for (stage, length) in lengths(shot, sample) {
                match stage {
                    WallStage::Total => of.total_wall_us.record(length),
                    WallStage::Outcome => of.outcome_wall_us.record(length),
                    WallStage::ScheduleDelay | WallStage::ServiceTime => {}
                }
            }
            intervals[place(sample.ended)].confirmed += u64::from(sample.end == Reply::Confirmed);
            if let Some((at, Told::Applied | Told::Rejected | Told::DeadLettered)) = sample.outcome {
                intervals[place(at)].outcomes += 1;
            }
        }
        self.under_way(|from, to, at_once| {
            (place(from)..=place(to)).for_each(|index| {
                let of = &mut intervals[index];
                of.in_flight_max = of.in_flight_max.max(at_once);
            });
        });
        WallSeries { interval_ms: WallMs(length), intervals }
    }

    /// Tells from when to when how many requests for a confirmation were under way.
    fn under_way(&self, mut tell: impl FnMut(Duration, Duration, u64)) {
        let sent = self.driven.samples.iter().filter_map(|sample| Some((sample.sent?, sample.ended)));
        // What ends makes room for what begins.
        let mut turns: Vec<_> = sent.flat_map(|(from, to)| [(from, 1_i64), (to, -1)]).collect();
        turns.sort_unstable();
        let mut at_once = 0_i64;
        for (index, (at, change)) in turns.iter().enumerate() {
            at_once += change;
            let until = turns.get(index + 1).map_or(*at, |(at, _)| *at);
            tell(*at, until, at_once.max(0) as u64);
        }
    }

    /// The kills, and how long each was felt.
    #[must_use]
    pub fn faults(&self, gone: &[Gone]) -> Vec<Killed> {
        let points = |length: fn(&Sample) -> Option<Option<Duration>>| -> Vec<Point> {
            let point = |(shot, sample): (&Shot, &Sample)| {
                let ended = length(sample)?;
                Some((shot.intended, ended.map(|ended| ended.saturating_sub(shot.intended))))
            };
            self.each().filter_map(point).collect()
        };
        let confirmations = points(|sample| match sample.end {
            Reply::Confirmed => Some(Some(sample.ended)),
            Reply::Again => Some(None),
            Reply::Refused(_) => None,
        });
        let outcomes = points(|sample| match sample.outcome? {
            (_, Told::Unknown) => Some(None),
            (at, _) => Some(Some(at)),
        });
        let first = gone.iter().map(|gone| gone.from).min().unwrap_or_default();
        let killed = |one: &Gone| {
            let next = gone.iter().map(|other| other.from).filter(|from| *from > one.from).min();
            let until = next.unwrap_or(self.duration);
            let judged =
                |points: &[Point]| -> Recovery { recovery::judge(points, self.warm_up, first, one.from, until) };
            Killed {
                role: one.role.name().to_owned(),
                from_ms: WallMs::of(one.from),
                to_ms: WallMs::of(one.to.min(self.duration)),
                confirmations: judged(&confirmations),
                outcomes: judged(&outcomes),
            }
        };
        gone.iter().map(killed).collect()
    }

    /// How the generator did.
    #[must_use]
    pub fn generator(&self) -> Generator {
        let mut in_flight_max = 0;
        self.under_way(|_, _, at_once| in_flight_max = in_flight_max.max(at_once));
        Generator {
            late_wall_us: self.driven.late.percentiles(),
            waited_for_slot: self.driven.waited_for_slot,
            in_flight_max,
            processor_share: self.processor_share,
            bottleneck: self.bottleneck(),
        }
    }

    fn bottleneck(&self) -> Option<String> {
        let (all, waited) = (self.driven.samples.len() as u64, self.driven.waited_for_slot);
        let late = &self.driven.late;
        // Of few commands as much as can be told: seldom late is no bottleneck.
        let typical = late.at(0.99).or_else(|| late.at(0.9)).or_else(|| late.max());
        if let Some(late) = typical.filter(|late| late.0 > LATE_US_MAX) {
            return Some(format!("it woke up to {late} late, of its own accord: it had too little of a processor"));
        }
        if let Some(share) = self.processor_share.filter(|share| *share > PROCESSOR_SHARE_MAX) {
            return Some(format!("it used {:.0} % of the one processor that it can use", share * 100.0));
        }
        (waited * WAITED_ONE_IN > all).then(|| {
            format!(
                "{} of {} commands waited for a free place, with {} requests under way; --in-flight allows more",
                grouped(waited),
                grouped(all),
                self.in_flight_max
            )
        })
    }
}

fn is_rightly_refused(shot: &Shot, sample: &Sample) -> bool {
    !shot.allowed && matches!(&sample.end, Reply::Refused(reason) if reason.starts_with("403"))
}

/// How long the stages of one command took, as far as it came.
fn lengths(shot: &Shot, sample: &Sample) -> Vec<(WallStage, Duration)> {
    if matches!(sample.end, Reply::Refused(_)) {
        return Vec::new();
    }
    let since = |at: Duration, from: Duration| at.saturating_sub(from);
    let mut lengths = vec![(WallStage::Total, since(sample.ended, shot.intended))];
    if let Some(sent) = sample.sent {
        lengths.push((WallStage::ScheduleDelay, since(sent, shot.intended)));
        if sample.end == Reply::Confirmed {
            lengths.push((WallStage::ServiceTime, since(sample.ended, sent)));
        }
    }
    lengths.extend(sample.outcome.map(|(at, _)| (WallStage::Outcome, since(at, shot.intended))));
    lengths
}

#[cfg(test)]
#[path = "measure_tests.rs"]
mod tests;
