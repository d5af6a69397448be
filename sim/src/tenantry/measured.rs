//! What the system has measured of itself, kept beyond the lives of its processes: to be compared with what was.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use tenantry_system::monitor::{Metrics, Span, SpanSink};

/// The metrics and the traces of a run.
#[derive(Debug, Default)]
pub struct Measured {
    /// What each life of each host has counted.
    pub lives: BTreeMap<String, Vec<Arc<Metrics>>>,
    /// The traces in which a command was delivered, decided or applied, by the command's id and the span's name.
    pub traces: BTreeMap<(String, &'static str), BTreeSet<u128>>,
}

impl Measured {
    /// What `count` says of the metrics of `host`, over all its lives.
    #[must_use]
    pub fn sum(&self, host: &str, count: impl Fn(&Metrics) -> u64) -> u64 {
        self.lives.get(host).into_iter().flatten().map(|metrics| count(metrics)).sum()
    }

    /// The same, over all hosts.
    #[must_use]
    pub fn sum_of_all(&self, count: impl Fn(&Metrics) -> u64) -> u64 {
        self.lives.values().flatten().map(|metrics| count(metrics)).sum()
    }

    /// Whether `host` never died: then it has forgotten nothing that it counted.
    #[must_use]
    pub fn lived_once(&self, host: &str) -> bool {
        self.lives.get(host).is_some_and(|lives| lives.len() == 1)
    }
}

/// Takes every host's spans, and keeps of them which command was in which trace.
#[derive(Default)]
pub struct Spans(Mutex<BTreeMap<(String, &'static str), BTreeSet<u128>>>);

impl Spans {
    /// The traces, by the command's id and the span's name.
    ///
    /// # Panics
    /// Never: no holder panics.
    #[must_use]
    pub fn traces(&self) -> BTreeMap<(String, &'static str), BTreeSet<u128>> {
        self.0.lock().expect("no holder panics").clone()
    }
}

impl SpanSink for Spans {
    fn take(&self, Span { context, name, attributes, .. }: Span) {
        let named = attributes.into_iter().find(|(attribute, _)| *attribute == "messaging.message.id");
        if let Some((_, message_id)) = named {
            let mut traces = self.0.lock().expect("no holder panics");
            traces.entry((message_id, name)).or_default().insert(context.trace_id);
        }
    }
}
