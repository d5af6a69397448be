//! The monitor: what this process measures, how it is, and the traces that go through it.
//!
//! It is a value that comes with the [`World`](crate::capability::World), never a global: many simulated processes live in
//! one. It counts with atomics and waits for nobody.
//!
//! | file | what |
//! |---|---|
//! | `metrics.rs` | every metric there is |
//! | `metric.rs` | counters, gauges and histograms, and their text |
//! | `health.rs` | whether this process lives, and can do its part |
//! | `trace.rs` | one trace per command (W3C Trace Context) |
//! | `otlp.rs` | spans on their way to a collector (OpenTelemetry) |
//! | `ops.rs` | the address where all of it is asked for |

mod health;
mod metric;
mod metrics;
mod ops;
mod otlp;
mod trace;

use std::sync::{Arc, Mutex};

pub use health::{Checked, Health, Verdict};
pub use metric::{Counter, Durations, Family, Gauge, Histogram, Label, Labels, Sizes};
pub use metrics::{
    Answer, AppliedEnd, CallEnd, DeadReason, DeliveryKind, HandledEnd, LaneClass, LimitKind, Metrics, Outlet,
    PublishEnd, Route, SERIES_MAX, SettleEnd, SpanEnd, Stage, TriageEnd, WebhookEnd,
};
pub use ops::serve;
pub use otlp::Collector;
pub use trace::{Span, SpanKind, SpanSink, Started, TraceContext, Tracer};

type Probe = Box<dyn Fn(&Metrics) + Send>;

/// What one process tells of itself. Cheap to clone.
#[derive(Clone, Default)]
pub struct Monitor {
    /// What it counts.
    pub metrics: Arc<Metrics>,
    /// How it is.
    pub health: Health,
    /// The traces that go through it.
    pub tracer: Tracer,
    probes: Arc<Mutex<Vec<Probe>>>,
}

impl Monitor {
    /// One that counts in `metrics` and traces with `tracer`.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>, tracer: Tracer) -> Self {
        Self { metrics, tracer, ..Self::default() }
    }

    /// Has `probe` set gauges before each scrape: what is known anyway need not be kept up to date in between.
    pub fn probe(&self, probe: impl Fn(&Metrics) + Send + 'static) {
        self.probes.lock().expect("no holder panics").push(Box::new(probe));
    }

    /// All metrics as they are now, in Prometheus' text format.
    #[must_use]
    pub fn scrape(&self) -> String {
        self.probes.lock().expect("no holder panics").iter().for_each(|probe| probe(&self.metrics));
        self.metrics.render()
    }
}
