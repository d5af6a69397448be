//! Latency in virtual time: protocol delay, in steps of one millisecond, not speed.
//!
//! Inside a simulation the code takes no time at all; what passes is the network's, the disk's and the timers' time. So
//! these figures show how many round trips, syncs and retries a command waits for, and say nothing of how fast a
//! machine is. Wall time, which does, must never mix with it: the two have types of their own.
//!
//! Written down, a distribution is one line of text, `14*3 15*97`: 14 ms three times, 15 ms 97 times. So a record can be
//! merged with another later, as percentiles can't. [`VirtualCounts`] holds just that.

use std::borrow::Cow;
use std::time::Duration;

use hdrhistogram::Histogram;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize, Serializer};

use crate::time::VirtualMs;

/// The longest latency that is told from longer ones: an hour of virtual milliseconds, the longest a phase may last.
const MAX_MS: u64 = 3_600_000;
/// Significant digits: exact below 2,048 ms, within a thousandth above.
const DIGITS: u8 = 3;

/// A distribution of latencies in virtual time.
#[derive(Debug, Clone, PartialEq)]
pub struct VirtualLatency {
    histogram: Histogram<u64>,
}

// A histogram holds whole numbers only.
impl Eq for VirtualLatency {}

/// A distribution as it is written down, and no larger: a [`VirtualLatency`] is ready for whatever comes and takes 100 KiB for it,
/// too much to be kept of each of ten thousand runs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VirtualCounts {
    /// Lengths, ascending, and how many of each were measured.
    counts: Vec<(VirtualMs, u64)>,
}

impl VirtualCounts {
    /// Lengths in virtual milliseconds, ascending, each with how many were measured.
    #[must_use]
    pub fn counts(&self) -> &[(VirtualMs, u64)] {
        &self.counts
    }
}

impl From<&VirtualLatency> for VirtualCounts {
    fn from(latency: &VirtualLatency) -> Self {
        Self { counts: latency.counts().collect() }
    }
}

/// What a report shows of a distribution, in whole virtual milliseconds. All are zero when `count` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
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

/// A quantile is told only of so many samples that, at 95 % confidence, at least one lies above it: by the rule of three,
/// three times one over what lies above. 6 for the median, 30, 300 and 3,000 for p90, p99 and p99.9.
#[must_use]
pub fn samples_needed(quantile: f64) -> u64 {
    // Rounded first: 1 - 0.999 is a little more than a thousandth.
    let above_in_a_million = ((1.0 - quantile) * 1e6).round().max(1.0) as u64;
    3_000_000_u64.div_ceil(above_in_a_million)
}

/// What a report of one run shows of a distribution, in virtual milliseconds: only what so many samples support. Absent is
/// what they don't; how many it would take says [`samples_needed`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct VirtualPercentiles {
    /// How many were measured.
    pub count: u64,
    /// The shortest took this long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<VirtualMs>,
    /// Half took at most this long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50: Option<VirtualMs>,
    /// Nine in ten took at most this long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p90: Option<VirtualMs>,
    /// 99 in 100 took at most this long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99: Option<VirtualMs>,
    /// 999 in 1,000 took at most this long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p999: Option<VirtualMs>,
    /// The longest took this long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<VirtualMs>,
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

    /// Its figures, as far as so many samples support them.
    #[must_use]
    pub fn percentiles(&self) -> VirtualPercentiles {
        let count = self.histogram.len();
        let some = |ms: u64| (count > 0).then_some(VirtualMs(ms));
        let at = |quantile| self.quantile(quantile);
        VirtualPercentiles {
            count,
            min: some(self.histogram.min()),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: some(self.histogram.max()),
        }
    }

    /// How long so many took at most, if so many samples support it: see [`samples_needed`].
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> Option<VirtualMs> {
        let supported = self.histogram.len() >= samples_needed(quantile);
        // A bucket's upper end may lie above everything that was recorded.
        supported.then(|| VirtualMs(self.histogram.value_at_quantile(quantile).min(self.histogram.max())))
    }

    /// The histogram it is, of milliseconds.
    pub(crate) fn histogram(&self) -> &Histogram<u64> {
        &self.histogram
    }

    /// How many were measured.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// How many of each length were measured, the shortest first: lengths in virtual milliseconds, as buckets tell them apart.
    pub fn counts(&self) -> impl Iterator<Item = (VirtualMs, u64)> + '_ {
        let buckets = self.histogram.iter_recorded();
        buckets.map(|bucket| (VirtualMs(bucket.value_iterated_to()), bucket.count_at_value()))
    }

    /// Reads `14*3 15*97`; `None` if it is not that.
    fn parse(text: &str) -> Option<Self> {
        let mut latency = Self::new();
        for pair in text.split_whitespace() {
            let (ms, times) = pair.split_once('*')?;
            latency.histogram.saturating_record_n(ms.parse().ok()?, times.parse().ok()?);
        }
        Some(latency)
    }
}

impl Serialize for VirtualLatency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&written(self.counts()))
    }
}

/// `14*3 15*97`.
fn written(counts: impl Iterator<Item = (VirtualMs, u64)>) -> String {
    counts.map(|(ms, times)| format!("{}*{times}", ms.0)).collect::<Vec<_>>().join(" ")
}

impl Serialize for VirtualCounts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&written(self.counts.iter().copied()))
    }
}

impl<'de> Deserialize<'de> for VirtualCounts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Read as every other distribution is: in order, and in the same buckets.
        VirtualLatency::deserialize(deserializer).map(|latency| Self::from(&latency))
    }
}

impl JsonSchema for VirtualCounts {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "VirtualCounts".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        VirtualLatency::json_schema(generator)
    }
}

impl JsonSchema for VirtualLatency {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "VirtualLatency".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let what = "A distribution of latencies as virtual milliseconds*times, in ascending order: 14*3 15*97.";
        json_schema!({ "type": "string", "description": what, "pattern": "^([0-9]+\\*[0-9]+( [0-9]+\\*[0-9]+)*)?$" })
    }
}

impl<'de> Deserialize<'de> for VirtualLatency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text)
            .ok_or_else(|| D::Error::custom("a distribution is written as 14*3 15*97: milliseconds*times"))
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
    fn a_distribution_survives_being_written_down() {
        assert_eq!(serde_json::to_string(&of([15, 14, 15].into_iter())).unwrap(), r#""14*1 15*2""#);
        for latency in [of(0..10_000), of([0, 1, 2047, 2048, 2049, 3_600_000, u64::MAX].into_iter()), of(0..0)] {
            let json = serde_json::to_string(&latency).unwrap();
            assert_eq!(serde_json::from_str::<VirtualLatency>(&json).unwrap(), latency, "{json}");
        }
        let counts = VirtualCounts::from(&of([15, 14, 15].into_iter()));
        assert_eq!(serde_json::to_string(&counts).unwrap(), r#""14*1 15*2""#);
        assert_eq!(serde_json::from_str::<VirtualCounts>(r#""15*2 14*1""#).unwrap(), counts);
        for wrong in [r#""14""#, r#""14*""#, r#""14*x""#, r#""-1*2""#, "7"] {
            assert!(serde_json::from_str::<VirtualLatency>(wrong).is_err(), "{wrong} was accepted");
        }
    }

    #[test]
    fn an_empty_distribution_is_all_zeros_and_an_endless_latency_counts_as_an_hour() {
        assert_eq!(VirtualLatency::new().summary(), LatencySummary::default());
        let endless = of([u64::MAX].into_iter()).summary();
        assert!((MAX_MS..MAX_MS + MAX_MS / 1000).contains(&endless.max), "{}", endless.max);
    }
}
