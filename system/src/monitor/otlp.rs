//! Spans on their way to a collector: OTLP over HTTP, in its JSON encoding.
//!
//! A command never waits for it: spans go into a bounded queue, a task of its own sends them in batches, and what finds the
//! queue full, or a collector that does not take its batch in time, is dropped and counted. Nothing is sent twice: a
//! collector that is overloaded is not helped by it. At a stop, what was not yet sent is gone.
//!
//! The bodies are written here and not by OpenTelemetry's SDK, which lives in globals and brings an HTTP client of its own.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, header};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::metrics::{Metrics, SpanEnd};
use super::trace::{Span, SpanSink};
use crate::capability::Network;
use crate::outside::{Client, Url};

/// Spans that may wait to be sent: some seconds of a busy system, a few megabytes.
const QUEUE_MAX: usize = 8192;

/// Spans in one request: some 200 KiB.
const BATCH_MAX: usize = 512;

/// A batch that is not full is sent after this long.
const LINGER: Duration = Duration::from_millis(500);

/// A batch must be taken within this time.
const DEADLINE: Duration = Duration::from_secs(3);

/// Of a collector's answer, nothing is of interest but that it ends.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Where OTLP/HTTP takes traces.
const PATH: &str = "/v1/traces";

/// Sends spans to a collector.
pub struct Collector {
    queue: mpsc::Sender<Span>,
    metrics: Arc<Metrics>,
}

impl Collector {
    /// Where a collector is, such as `http://127.0.0.1:4318`.
    ///
    /// # Errors
    /// In words, with what would be right.
    pub fn url(text: &str) -> Result<Url, String> {
        let right = "write one such as http://127.0.0.1:4318";
        match Url::parse_any(text) {
            Ok(url) if url.is_plain_host() => Ok(url),
            _ => Err(format!("{text:?} is no http URL of a host and a port alone; {right}")),
        }
    }

    /// Sends spans of the service called `service` to `url` from now on.
    #[must_use]
    pub fn start(network: Arc<dyn Network>, url: Url, service: String, metrics: Arc<Metrics>) -> Arc<Self> {
        let (queue, spans) = mpsc::channel(QUEUE_MAX);
        tokio::spawn(export(Client::in_the_clear(network, url), service, metrics.clone(), spans));
        Arc::new(Self { queue, metrics })
    }
}

impl SpanSink for Collector {
    fn take(&self, span: Span) {
        if self.queue.try_send(span).is_err() {
            self.metrics.spans.inc(SpanEnd::Dropped);
        }
    }
}

/// Sends until the last sender has gone.
async fn export(collector: Client, service: String, metrics: Arc<Metrics>, mut spans: mpsc::Receiver<Span>) {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    while spans.recv_many(&mut batch, BATCH_MAX).await > 0 {
        if batch.len() < BATCH_MAX {
            sleep(LINGER).await;
            while batch.len() < BATCH_MAX
                && let Ok(span) = spans.try_recv()
            {
                batch.push(span);
            }
        }
        let sent = timeout(DEADLINE, send(&collector, body(&service, &batch))).await;
        let end = match sent.unwrap_or_else(|_| Err("it took too long".into())) {
            Ok(()) => SpanEnd::Exported,
            Err(why) => {
                tracing::debug!(
                    why,
                    url = %collector.url(),
                    spans = batch.len(),
                    "the collector did not take spans; they are dropped"
                );
                SpanEnd::Dropped
            }
        };
        metrics.spans.add(end, batch.len() as u64);
        batch.clear();
    }
}

async fn send(collector: &Client, body: Bytes) -> Result<(), String> {
    let request = Request::post(PATH)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(body))
        .map_err(|error| error.to_string())?;
    let answer = collector.send(request).await?;
    let status = answer.status();
    answer.whole(ANSWER_BYTES_MAX).await?;
    if status.is_success() { Ok(()) } else { Err(format!("it answered {status}")) }
}

/// An `ExportTraceServiceRequest` in JSON: ids in hexadecimal, 64-bit numbers as strings.
fn body(service: &str, spans: &[Span]) -> Bytes {
    let attribute = |key: &str, value: &str| json!({"key": key, "value": {"stringValue": value}});
    let span = |span: &Span| -> Value {
        let end_unix_ns = span.start_unix_ns + i128::try_from(span.took_ns).unwrap_or(i128::MAX / 2);
        json!({
            "traceId": format!("{:032x}", span.context.trace_id),
            "spanId": format!("{:016x}", span.context.span_id),
            "parentSpanId": span.parent.map_or_else(String::new, |parent| format!("{parent:016x}")),
            "name": span.name,
            "kind": span.kind as u8,
            "startTimeUnixNano": span.start_unix_ns.to_string(),
            "endTimeUnixNano": end_unix_ns.to_string(),
            "attributes": span.attributes.iter().map(|(key, value)| attribute(key, value)).collect::<Vec<_>>(),
            // Unset, or an error: what went well is for whoever reads it to say.
            "status": {"code": if span.failed { 2 } else { 0 }},
        })
    };
    let request = json!({"resourceSpans": [{
        "resource": {"attributes": [
            attribute("service.name", service),
            attribute("service.version", env!("CARGO_PKG_VERSION")),
        ]},
        "scopeSpans": [{
            "scope": {"name": "tenantry", "version": env!("CARGO_PKG_VERSION")},
            "spans": spans.iter().map(span).collect::<Vec<_>>(),
        }],
    }]});
    serde_json::to_vec(&request).expect("our own values become JSON").into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capability::InMemory;
    use crate::monitor::{SpanKind, TraceContext};

    fn span() -> Span {
        let context = TraceContext { trace_id: 1, span_id: 2, sampled: true };
        let attributes = vec![("messaging.message.id", "m-1".into())];
        let (start_unix_ns, took_ns) = (1_000, 500);
        let (name, kind) = ("queue.wait", SpanKind::Internal);
        Span { context, parent: Some(3), name, kind, start_unix_ns, took_ns, attributes, failed: true }
    }

    #[test]
    fn a_span_is_written_as_otlp_has_it() {
        let body: Value = serde_json::from_slice(&body("tenantry-broker", &[span()])).unwrap();
        let written = body.pointer("/resourceSpans/0/scopeSpans/0/spans/0").unwrap();
        let right = json!({
            "traceId": "00000000000000000000000000000001", "spanId": "0000000000000002",
            "parentSpanId": "0000000000000003", "name": "queue.wait", "kind": 1,
            "startTimeUnixNano": "1000", "endTimeUnixNano": "1500",
            "attributes": [{"key": "messaging.message.id", "value": {"stringValue": "m-1"}}], "status": {"code": 2},
        });
        assert_eq!(*written, right);
        let service = body.pointer("/resourceSpans/0/resource/attributes/0/value/stringValue").unwrap();
        assert_eq!(*service, json!("tenantry-broker"));
    }

    #[test]
    fn only_an_address_in_the_clear_is_taken_and_it_is_said_what_would_be_right() {
        assert!(Collector::url("http://127.0.0.1:4318").is_ok());
        for wrong in ["127.0.0.1:4318", "https://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces", "http://"] {
            assert!(Collector::url(wrong).unwrap_err().contains("http://127.0.0.1:4318"), "{wrong}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_collector_that_is_not_there_costs_spans_that_are_counted_and_holds_nobody_up() {
        let metrics = Arc::new(Metrics::default());
        let nowhere = Arc::new(InMemory::default());
        let collector =
            Collector::start(nowhere, Url::parse_any("http://collector").unwrap(), "test".into(), metrics.clone());
        (0..QUEUE_MAX + 3).for_each(|_| collector.take(span()));
        assert_eq!(metrics.spans.get(SpanEnd::Dropped), 3, "the queue is bounded");
        sleep(DEADLINE * 60).await;
        assert_eq!(metrics.spans.get(SpanEnd::Dropped), QUEUE_MAX as u64 + 3);
        assert_eq!(metrics.spans.get(SpanEnd::Exported), 0);
    }
}
