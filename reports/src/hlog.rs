//! A run's latencies as a histogram log, which HdrHistogram's own tools read, in any language.
//!
//! Without a tag stand the intervals of [`crate::report::Series`]: from when commands were meant to be sent to their effect. Under a
//! tag stands each distribution of the whole run: `sent_to_confirmed`, `sent_to_confirmed.tenant.acme`,
//! `sent_to_confirmed.action.issue_credit`. Values are virtual milliseconds, and timestamps virtual seconds since the
//! simulation began.

use std::io;
use std::time::Duration;

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, IntervalLogWriterError, Tag};

use crate::load::{LoadReport, WallStageLatency};
use crate::report::{RunReport, StageLatency};
use crate::time::VIRTUAL_TIME;
use crate::wall::WALL_TIME;

/// Why a log could not be made.
#[derive(Debug, thiserror::Error)]
#[error("a histogram log can't be written: {0}")]
pub struct HlogError(String);

impl From<io::Error> for HlogError {
    fn from(error: io::Error) -> Self {
        Self(error.to_string())
    }
}

/// The log.
///
/// # Errors
/// When a histogram can't be encoded, which would be a defect of its library.
pub fn render(report: &RunReport) -> Result<String, HlogError> {
    let mut bytes = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    let unencoded = |error: IntervalLogWriterError<_>| HlogError(format!("{error:?}"));
    let name = format!("{}, seed {}", report.record.scenario, report.record.seed);
    let mut log = IntervalLogWriterBuilder::new()
        .add_comment(&format!("[Tenantry: {name}]"))
        .add_comment(&format!("[Virtual milliseconds: {VIRTUAL_TIME}; no wall time]"))
        .begin_log_with(&mut bytes, &mut serializer)?;
    let length = Duration::from_millis(report.series.interval_ms.0);
    for interval in &report.series.intervals {
        let from = Duration::from_millis(interval.from_ms.0);
        log.write_histogram(interval.latency_virtual_ms.histogram(), from, length, None).map_err(unencoded)?;
    }
    let whole = Duration::from_millis(report.record.virtual_ms);
    for latency in &report.latency {
        let name = tag(latency);
        let tag = Tag::new(&name).ok_or_else(|| HlogError(format!("{name:?} is no tag")))?;
        log.write_histogram(latency.counts_virtual_ms.histogram(), Duration::ZERO, whole, Some(tag))
            .map_err(unencoded)?;
    }
    String::from_utf8(bytes).map_err(|error| HlogError(error.to_string()))
}

/// The log of a load: values are wall microseconds, timestamps wall seconds since the load began. Without a tag stand the
/// intervals: the total of commands by when they were meant to be sent, warm-up and all. Under a tag stand the whole load's
/// stages after the warm-up.
///
/// # Errors
/// When a histogram can't be encoded, which would be a defect of its library.
pub fn render_load(report: &LoadReport) -> Result<String, HlogError> {
    let mut bytes = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    let unencoded = |error: IntervalLogWriterError<_>| HlogError(format!("{error:?}"));
    let mut log = IntervalLogWriterBuilder::new()
        .add_comment(&format!("[Tenantry: load of {}, seed {}]", report.scenario, report.seed))
        .add_comment(&format!("[Wall microseconds: {WALL_TIME}]"))
        .begin_log_with(&mut bytes, &mut serializer)?;
    let length = Duration::from_millis(report.series.interval_ms.0);
    for interval in &report.series.intervals {
        let from = Duration::from_millis(interval.from_ms.0);
        log.write_histogram(interval.total_wall_us.histogram(), from, length, None).map_err(unencoded)?;
    }
    let whole = Duration::from_millis(report.plan.duration_ms.0);
    let warm_up = Duration::from_millis(report.plan.warm_up_ms.0);
    for latency in &report.latency {
        let WallStageLatency { stage, tenant, action, counts_wall_us, .. } = latency;
        let name = tagged(stage.name(), tenant.as_deref(), action.as_deref());
        let tag = Tag::new(&name).ok_or_else(|| HlogError(format!("{name:?} is no tag")))?;
        log.write_histogram(counts_wall_us.histogram(), warm_up, whole.saturating_sub(warm_up), Some(tag))
            .map_err(unencoded)?;
    }
    String::from_utf8(bytes).map_err(|error| HlogError(error.to_string()))
}

/// What a distribution is called. Names of tenants and actions have no letter that a tag may not have.
fn tag(latency: &StageLatency) -> String {
    tagged(latency.stage.name(), latency.tenant.as_deref(), latency.action.as_deref())
}

fn tagged(stage: &str, tenant: Option<&str>, action: Option<&str>) -> String {
    match (tenant, action) {
        (Some(tenant), _) => format!("{stage}.tenant.{tenant}"),
        (None, Some(action)) => format!("{stage}.action.{action}"),
        (None, None) => stage.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use hdrhistogram::Histogram;
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    use super::*;
    use crate::report::Stage;
    use crate::samples;

    #[test]
    fn what_is_written_has_every_interval_and_every_stage() {
        let report = samples::report::violated();
        let log = render(&report).unwrap();
        let mut deserializer = Deserializer::new();
        let (mut intervals, mut stages) = (0, Vec::new());
        for entry in IntervalLogIterator::new(log.as_bytes()) {
            let LogEntry::Interval(interval) = entry.unwrap() else { continue };
            let Some(tag) = interval.tag() else {
                intervals += 1;
                continue;
            };
            let encoded = interval.encoded_histogram();
            let histogram: Histogram<u64> = {
                use base64::Engine as _;
                let bytes = base64::engine::general_purpose::STANDARD.decode(encoded).unwrap();
                deserializer.deserialize(&mut &bytes[..]).unwrap()
            };
            stages.push((tag.as_str().to_owned(), histogram.len(), histogram.max()));
        }
        assert_eq!(intervals, report.series.intervals.len());
        assert_eq!(stages.len(), report.latency.len());
        let whole = &report.stage(Stage::SentToEffect).unwrap().counts_virtual_ms;
        let found = stages.iter().find(|(tag, ..)| tag == "sent_to_effect").unwrap();
        assert_eq!((found.1, found.2), (whole.count(), whole.histogram().max()));
    }
}
