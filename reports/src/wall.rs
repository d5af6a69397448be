//! Wall time: what a clock on the wall showed while a live system was under load.
//!
//! It is speed, of one machine and under one load, where [`crate::time`] is protocol delay. The two have types of their own and
//! are never added, compared, or drawn on one axis.
//!
//! Written down, a distribution is one line of text, `1400*3 1500*97`: 1,400 microseconds three times, 1,500 97 times.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize, Serializer};

use crate::latency::samples_needed;
use crate::text::grouped;

/// What every figure and axis of wall time says of itself.
pub const WALL_TIME: &str = "wall time: speed, on this machine and under this load";

/// The longest latency that is told from longer ones, in microseconds: ten minutes, longer than any command is waited for.
const MAX_US: u64 = 600_000_000;
/// Significant digits: within a thousandth.
const DIGITS: u8 = 3;

/// Wall milliseconds, a point since the load began or a length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct WallMs(pub u64);

/// Wall microseconds, a length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct WallUs(pub u64);

impl WallMs {
    /// A duration in whole milliseconds; fractions are cut off.
    #[must_use]
    pub fn of(wall_time: Duration) -> Self {
        Self(u64::try_from(wall_time.as_millis()).unwrap_or(u64::MAX))
    }
}

impl WallUs {
    /// A duration in whole microseconds; fractions are cut off.
    #[must_use]
    pub fn of(wall_time: Duration) -> Self {
        Self(u64::try_from(wall_time.as_micros()).unwrap_or(u64::MAX))
    }
}

impl fmt::Display for WallMs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&match self.0 {
            ms @ 0..1_000 => format!("{ms} ms"),
            ms => {
                let told = format!("{}.{:02}", grouped(ms / 1000), ms % 1000 / 10);
                format!("{} s", told.trim_end_matches('0').trim_end_matches('.'))
            }
        })
    }
}

/// In milliseconds, with as many digits as are of use.
impl fmt::Display for WallUs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{} ms", in_ms(*self)))
    }
}

/// Milliseconds without their unit, for a column that names it: `0.42`, `4.2`, `42`, `4,200`.
#[must_use]
pub fn in_ms(WallUs(us): WallUs) -> String {
    match us {
        0..1_000 => format!("{}.{:02}", us / 1000, us % 1000 / 10),
        1_000..100_000 => format!("{}.{}", us / 1000, us % 1000 / 100),
        _ => grouped(us / 1000),
    }
}

/// A distribution of latencies in wall time.
#[derive(Debug, Clone, PartialEq)]
pub struct WallLatency {
    histogram: Histogram<u64>,
}

// A histogram holds whole numbers only.
impl Eq for WallLatency {}

/// What a report shows of a distribution, in wall microseconds: only what so many samples support. Absent is what they
/// don't; how many it would take says [`samples_needed`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct WallPercentiles {
    /// How many were measured.
    pub count: u64,
    /// The shortest took this long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<WallUs>,
    /// Half took at most this long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50: Option<WallUs>,
    /// Nine in ten took at most this long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p90: Option<WallUs>,
    /// 99 in 100 took at most this long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99: Option<WallUs>,
    /// 999 in 1,000 took at most this long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p999: Option<WallUs>,
    /// The longest took this long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<WallUs>,
}

impl Default for WallLatency {
    fn default() -> Self {
        // Grows with what it holds: there is one for each interval.
        Self { histogram: Histogram::new(DIGITS).expect("the number of digits is constant and valid") }
    }
}

impl WallLatency {
    /// An empty distribution.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one latency. Fractions of a microsecond are cut off; more than ten minutes counts as ten minutes.
    pub fn record(&mut self, wall_time: Duration) {
        self.record_us(WallUs::of(wall_time).0, 1);
    }

    fn record_us(&mut self, us: u64, times: u64) {
        self.histogram.record_n(us.min(MAX_US), times).expect("it grows up to the greatest length");
    }

    /// Adds all latencies of `other`.
    pub fn merge(&mut self, other: &Self) {
        self.histogram.add(&other.histogram).expect("it grows as far as the other did");
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// For a histogram log.
    pub(crate) fn histogram(&self) -> &Histogram<u64> {
        &self.histogram
    }

    /// The latency that a share of `quantile` does not exceed; `None` if too few samples support it.
    #[must_use]
    pub fn at(&self, quantile: f64) -> Option<WallUs> {
        (self.count() >= samples_needed(quantile)).then(|| WallUs(self.histogram.value_at_quantile(quantile)))
    }

    /// The longest; `None` if there is none.
    #[must_use]
    pub fn max(&self) -> Option<WallUs> {
        (self.count() > 0).then(|| WallUs(self.histogram.max()))
    }

    /// Its figures, as far as they are supported.
    #[must_use]
    pub fn percentiles(&self) -> WallPercentiles {
        WallPercentiles {
            count: self.count(),
            min: (self.count() > 0).then(|| WallUs(self.histogram.min())),
            p50: self.at(0.5),
            p90: self.at(0.9),
            p99: self.at(0.99),
            p999: self.at(0.999),
            max: self.max(),
        }
    }

    /// What was measured, the shortest first, as buckets tell lengths apart, and how often.
    pub fn counts(&self) -> impl Iterator<Item = (WallUs, u64)> + '_ {
        let buckets = self.histogram.iter_recorded();
        buckets.map(|bucket| (WallUs(bucket.value_iterated_to()), bucket.count_at_value()))
    }

    /// Reads `1400*3 1500*97`; `None` if it is not that.
    fn parse(text: &str) -> Option<Self> {
        let mut latency = Self::new();
        for pair in text.split_whitespace() {
            let (us, times) = pair.split_once('*')?;
            latency.record_us(us.parse().ok()?, times.parse().ok()?);
        }
        Some(latency)
    }
}

impl Serialize for WallLatency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let pairs = self.counts().map(|(us, times)| format!("{}*{times}", us.0));
        serializer.serialize_str(&pairs.collect::<Vec<_>>().join(" "))
    }
}

impl JsonSchema for WallLatency {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "WallLatency".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let what = "A distribution of latencies as wall microseconds*times, in ascending order: 1400*3 1500*97.";
        json_schema!({ "type": "string", "description": what, "pattern": "^([0-9]+\\*[0-9]+( [0-9]+\\*[0-9]+)*)?$" })
    }
}

impl<'de> Deserialize<'de> for WallLatency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text)
            .ok_or_else(|| D::Error::custom("a distribution is written as 1400*3 1500*97: microseconds*times"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(us: impl Iterator<Item = u64>) -> WallLatency {
        let mut latency = WallLatency::new();
        us.for_each(|us| latency.record(Duration::from_micros(us)));
        latency
    }

    #[test]
    fn a_percentile_is_told_of_as_many_samples_as_support_it() {
        let of_299 = of(1..=299).percentiles();
        assert_eq!((of_299.p90, of_299.p99), (Some(WallUs(270)), None));
        let of_300 = of(1..=300).percentiles();
        assert_eq!((of_300.p99, of_300.p999), (Some(WallUs(297)), None));
        assert_eq!(of(0..0).percentiles(), WallPercentiles::default());
    }

    #[test]
    fn a_distribution_survives_being_written_down() {
        assert_eq!(serde_json::to_string(&of([15, 14, 15].into_iter())).unwrap(), r#""14*1 15*2""#);
        for latency in [of(0..10_000), of([0, 1, 2047, 2049, 3_600_000, u64::MAX].into_iter()), of(0..0)] {
            let json = serde_json::to_string(&latency).unwrap();
            let read: WallLatency = serde_json::from_str(&json).unwrap();
            assert_eq!(read.counts().collect::<Vec<_>>(), latency.counts().collect::<Vec<_>>(), "{json}");
        }
        assert!(serde_json::from_str::<WallLatency>(r#""14""#).is_err());
    }

    #[test]
    fn a_merged_distribution_has_all_of_both() {
        let mut merged = of(1..=500);
        merged.merge(&of(500_001..=500_500));
        assert_eq!(merged.count(), 1_000);
        assert!(merged.max() >= Some(WallUs(500_500)), "{:?}", merged.max());
    }

    #[test]
    fn milliseconds_have_the_digits_that_are_of_use() {
        assert_eq!(
            [42, 420, 4_250, 42_900, 4_200_000].map(|us| in_ms(WallUs(us))),
            ["0.04", "0.42", "4.2", "42.9", "4,200"]
        );
        assert_eq!(
            [900, 1_250, 12_345, 20_000].map(|ms| WallMs(ms).to_string()),
            ["900 ms", "1.25 s", "12.34 s", "20 s"]
        );
    }
}
