//! One trace per command, from the operator's request to its effect (W3C Trace Context, OpenTelemetry's span names).
//!
//! ```text
//! POST /v1/commands                      SERVER    producer; child of the caller's span, if it named one
//!   auth.grant                           CLIENT    producer
//!   broker.publish                       PRODUCER  producer; travels in the envelope, and lies with the message
//!     queue.wait                         INTERNAL  broker; one for each delivery, with its attempt
//!       consumer.decide                  CONSUMER  consumer
//!         ledger.apply                   SERVER    ledger
//! ```
//!
//! A redelivery is another `queue.wait` under the same `broker.publish`: however often a command goes out, its trace is one.
//! An operator's retry is a request of its own, with a trace of its own; the command keeps that of the publish which was
//! taken in. The context is a hint, no proof: nothing is decided by it, and no grant covers it.
//!
//! Whether a trace is sampled is decided once, where it begins, by its id; what is not sampled costs two random numbers.
//! Spans name no tenant and no operator: they go to whoever runs the collector.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::capability::{Clock, Entropy};

/// Where in which trace something happens: W3C's `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceContext {
    /// The trace; never 0.
    pub trace_id: u128,
    /// The span that caused it; never 0.
    pub span_id: u64,
    /// Whether its spans are exported.
    pub sampled: bool,
}

impl TraceContext {
    /// Reads the value of a `traceparent` header. `None`: it is to be treated as if it were not there, as W3C has it.
    #[must_use]
    pub fn parse(header: &str) -> Option<Self> {
        let mut parts = header.splitn(5, '-');
        let mut hex = |digits: usize| {
            let part = parts.next()?;
            let lower = part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            (part.len() == digits && lower).then(|| u128::from_str_radix(part, 16).ok()).flatten()
        };
        let (version, trace_id, span_id, flags) = (hex(2)?, hex(32)?, hex(16)?, hex(2)?);
        // A later version may have more fields behind; this one has none, and 255 is none.
        let fits = version < 255 && (version > 0 || parts.next().is_none());
        let span_id = u64::try_from(span_id).ok()?;
        (fits && trace_id != 0 && span_id != 0).then_some(Self { trace_id, span_id, sampled: flags & 1 == 1 })
    }
}

/// As a `traceparent` header has it.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, u8::from(self.sampled))
    }
}

/// What part a span plays, numbered as in OTLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanKind {
    /// Nobody else takes part.
    Internal = 1,
    /// Answers a request.
    Server = 2,
    /// Waits for an answer.
    Client = 3,
    /// Hands a message over.
    Producer = 4,
    /// Deals with a message.
    Consumer = 5,
}

/// A span that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Its own place in its trace.
    pub context: TraceContext,
    /// The span above it.
    pub parent: Option<u64>,
    /// A stable name.
    pub name: &'static str,
    /// Its part.
    pub kind: SpanKind,
    /// When it began, in nanoseconds since the Unix epoch, by this service's clock.
    pub start_unix_ns: i128,
    /// How long it took, in nanoseconds.
    pub took_ns: u128,
    /// What else is known of it.
    pub attributes: Vec<(&'static str, String)>,
    /// Whether it ended as it should not.
    pub failed: bool,
}

/// Takes spans that have ended. It must not wait.
pub trait SpanSink: Send + Sync + 'static {
    /// Takes one, or drops it.
    fn take(&self, span: Span);
}

/// For tests.
impl SpanSink for std::sync::Mutex<Vec<Span>> {
    fn take(&self, span: Span) {
        self.lock().expect("no holder panics").push(span);
    }
}

/// Begins spans. Without parts it begins none, and no message gets a context.
#[derive(Clone, Default)]
pub struct Tracer(Option<Arc<Parts>>);

struct Parts {
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    /// Of the traces that begin here, those are sampled whose id's lowest 56 bits are below.
    sampled_below: u64,
    sink: Option<Arc<dyn SpanSink>>,
}

/// A span's id has this many random bits that a sampling decision may rest on (W3C Trace Context, level 2).
const RANDOM_BITS: u32 = 56;

impl Tracer {
    /// A tracer that samples `ratio` (0 to 1) of the traces that begin here. Without a `sink` contexts travel all the same.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>, ratio: f64, sink: Option<Arc<dyn SpanSink>>) -> Self {
        let sampled_below = (ratio.clamp(0.0, 1.0) * (1_u64 << RANDOM_BITS) as f64) as u64;
        Self(Some(Arc::new(Parts { clock, entropy, sampled_below, sink })))
    }

    /// Begins the span at which a trace comes in, under the caller's `traceparent` if it is one.
    #[must_use]
    pub fn enter(&self, name: &'static str, traceparent: Option<&str>) -> Started {
        let Some(parts) = &self.0 else { return Started::none() };
        if let Some(above) = traceparent.and_then(TraceContext::parse) {
            return self.start(name, SpanKind::Server, Some(above));
        }
        let mut bytes = [0; 16];
        parts.entropy.fill(&mut bytes);
        let trace_id = u128::from_le_bytes(bytes).max(1);
        let sampled = (trace_id as u64) & ((1 << RANDOM_BITS) - 1) < parts.sampled_below;
        let context = TraceContext { trace_id, span_id: parts.entropy.u64().max(1), sampled };
        Started::open(parts, name, SpanKind::Server, context, None)
    }

    /// Begins a span under `above`; without one there is none.
    #[must_use]
    pub fn start(&self, name: &'static str, kind: SpanKind, above: Option<TraceContext>) -> Started {
        let (Some(parts), Some(above)) = (&self.0, above) else { return Started { context: above, open: None } };
        if !above.sampled {
            return Started { context: Some(above), open: None };
        }
        let context = TraceContext { span_id: parts.entropy.u64().max(1), ..above };
        Started::open(parts, name, kind, context, Some(above.span_id))
    }
}

/// A span that has begun; it ends when it is dropped.
pub struct Started {
    /// What is caused by it has this context.
    pub context: Option<TraceContext>,
    open: Option<Box<Open>>,
}

struct Open {
    parts: Arc<Parts>,
    begun: Instant,
    span: Span,
}

impl Started {
    /// None at all.
    #[must_use]
    pub fn none() -> Self {
        Self { context: None, open: None }
    }

    fn open(
        parts: &Arc<Parts>,
        name: &'static str,
        kind: SpanKind,
        context: TraceContext,
        parent: Option<u64>,
    ) -> Self {
        let open = context.sampled.then(|| {
            let (start_unix_ns, attributes) = (parts.clock.now().as_nanosecond(), Vec::new());
            let span = Span { context, parent, name, kind, start_unix_ns, took_ns: 0, attributes, failed: false };
            Box::new(Open { parts: parts.clone(), begun: Instant::now(), span })
        });
        Self { context: Some(context), open }
    }

    /// Notes what is known of it.
    pub fn note(&mut self, attribute: &'static str, value: impl ToString) {
        if let Some(open) = &mut self.open {
            open.span.attributes.push((attribute, value.to_string()));
        }
    }

    /// It ends as it should not.
    pub fn fail(&mut self) {
        if let Some(open) = &mut self.open {
            open.span.failed = true;
        }
    }

    /// It began earlier, by the wall clock: what waits for long does so across restarts.
    pub fn began_at(&mut self, unix_ms: i64) {
        if let Some(Open { span, .. }) = self.open.as_deref_mut() {
            let start = i128::from(unix_ms) * 1_000_000;
            span.took_ns = u128::try_from(span.start_unix_ns - start).unwrap_or(0);
            span.start_unix_ns = start.min(span.start_unix_ns);
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if let Some(open) = self.open.take() {
            let Open { parts, begun, mut span } = *open;
            span.took_ns += begun.elapsed().as_nanos();
            if let Some(sink) = &parts.sink {
                sink.take(span);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::capability::{OsEntropy, SystemClock};

    const RIGHT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_traceparent_is_read_as_w3c_has_it_and_what_is_none_is_ignored() {
        let read = TraceContext::parse(RIGHT).unwrap();
        assert_eq!((read.to_string().as_str(), read.sampled), (RIGHT, true));
        assert!(!TraceContext::parse(&RIGHT.replace("-01", "-fe")).unwrap().sampled);
        assert_eq!(TraceContext::parse(&format!("cc{}-what-comes-later", &RIGHT[2..])), Some(read));
        for wrong in [
            "",
            "00",
            &format!("{RIGHT}-more"),
            &format!("ff{}", &RIGHT[2..]),
            &RIGHT.to_uppercase(),
            &RIGHT[..54],
            &RIGHT.replace("4bf9", "4bf+"),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
        ] {
            assert_eq!(TraceContext::parse(wrong), None, "{wrong}");
        }
    }

    fn tracer(ratio: f64) -> (Tracer, Arc<Mutex<Vec<Span>>>) {
        let sink = Arc::new(Mutex::new(Vec::new()));
        (Tracer::new(Arc::new(SystemClock), Arc::new(OsEntropy), ratio, Some(sink.clone())), sink)
    }

    #[tokio::test]
    async fn a_malformed_traceparent_begins_a_trace_of_its_own_and_a_right_one_is_gone_on_with() {
        let (tracer, spans) = tracer(1.0);
        drop(tracer.enter("http", Some("00-nonsense")));
        drop(tracer.enter("http", Some(RIGHT)));
        let spans = spans.lock().unwrap();
        assert_eq!(spans[0].parent, None);
        let above = TraceContext::parse(RIGHT).unwrap();
        assert_eq!((spans[1].context.trace_id, spans[1].parent), (above.trace_id, Some(above.span_id)));
        assert_ne!(spans[1].context.span_id, above.span_id);
    }

    #[tokio::test]
    async fn the_ratio_holds_for_what_begins_here_and_the_decision_for_all_below() {
        let (tracer, spans) = tracer(0.25);
        for _ in 0..4000 {
            let http = tracer.enter("http", None);
            drop(tracer.start("below", SpanKind::Client, http.context));
        }
        let spans = spans.lock().unwrap();
        let roots = spans.iter().filter(|span| span.parent.is_none()).count();
        // Six standard deviations of a coin like that.
        assert!((835..=1165).contains(&roots), "{roots} of 4000 at a ratio of a quarter");
        assert_eq!(spans.len(), 2 * roots, "a trace is sampled as a whole or not at all");
    }
}
