//! Latency in virtual time: protocol delay, in steps of one millisecond, not speed.
//!
//! Inside a simulation the code takes no time at all; what passes is the network's, the disk's and the timers' time. So
//! these figures show how many round trips, syncs and retries a command waits for, and say nothing of how fast a
//! machine is. Wall time, which does, must never mix with it: the two have types of their own.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// The longest latency that is told from longer ones: an hour of virtual milliseconds, the longest a phase may last.
const MAX_MS: u64 = 3_600_000;
/// Significant digits: exact below 2,048 ms, within a thousandth above.
const DIGITS: u8 = 3;

/// A distribution of latencies in virtual time.
#[derive(Debug, Clone, PartialEq)]
pub struct VirtualLatency {
    histogram: Histogram<u64>,
}

/// What a report shows of a distribution, in whole virtual milliseconds. All are zero when `count` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LatencySummary {
    /// How many were measured.
    pub count: u64,
    /// Half took at most this long.
    pub p50: u64,
    /// Nine in ten took at most this long.
    pub p90: u64,
    /// 99 in 100 took at most this long.
    pub p99: u64,
    /// 999 in 1,000 took at most this long.
    pub p999: u64,
    /// The longest took this long.
    pub max: u64,
}

impl Default for VirtualLatency {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, MAX_MS, DIGITS).expect("the bounds are constant and valid");
        Self { histogram }
    }
}

impl VirtualLatency {
    /// An empty distribution.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one latency. Fractions of a millisecond are cut off; more than an hour counts as an hour.
    pub fn record(&mut self, virtual_time: Duration) {
        self.histogram.saturating_record(u64::try_from(virtual_time.as_millis()).unwrap_or(u64::MAX));
    }

    /// Adds all latencies of `other`.
    pub fn merge(&mut self, other: &Self) {
        self.histogram.add(&other.histogram).expect("all have the same bounds");
    }

    /// Its figures.
    pub fn summary(&self) -> LatencySummary {
        if self.histogram.is_empty() {
            return LatencySummary::default();
        }
        let max = self.histogram.max();
        // A bucket's upper end may lie above everything that was recorded.
        let at = |quantile| self.histogram.value_at_quantile(quantile).min(max);
        LatencySummary { count: self.histogram.len(), p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(ms: impl Iterator<Item = u64>) -> VirtualLatency {
        let mut latency = VirtualLatency::new();
        ms.for_each(|ms| latency.record(Duration::from_millis(ms)));
        latency
    }

    #[test]
    fn quantiles_of_small_latencies_are_exact() {
        let expected = LatencySummary { count: 1000, p50: 500, p90: 900, p99: 990, p999: 999, max: 1000 };
        assert_eq!(of(1..=1000).summary(), expected);
    }

    #[test]
    fn merging_is_the_same_as_recording_all_in_one() {
        let mut merged = of(1..=500);
        merged.merge(&of(501..=1000));
        assert_eq!(merged.summary(), of(1..=1000).summary());
    }

    #[test]
    fn an_empty_distribution_is_all_zeros_and_an_endless_latency_counts_as_an_hour() {
        assert_eq!(VirtualLatency::new().summary(), LatencySummary::default());
        let endless = of([u64::MAX].into_iter()).summary();
        assert!((MAX_MS..MAX_MS + MAX_MS / 1000).contains(&endless.max), "{}", endless.max);
    }
}
