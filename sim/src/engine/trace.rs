//! What happened in a run, and one short digest of all of it.
//!
//! Two runs of one seed must have the same digest, to the last event, on any machine. The digest is rolled up as events
//! arrive, so that a hunt over thousands of seeds keeps no events at all; a second run that keeps them can name the
//! first event that differs. Only plaintext facts belong here, never ciphertext or wall time: those differ between
//! equal runs.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Hex characters of a digest as people read it: 128 bits, enough to tell any two runs apart.
const DIGEST_CHARS: usize = 32;

/// The trace of one run. Clones write to the same trace.
#[derive(Debug, Clone)]
pub struct Trace {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    hasher: Sha256,
    events: u64,
    /// `None` when only the digest is wanted.
    entries: Option<Vec<TraceEntry>>,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceEntry {
    /// Virtual microseconds since the simulation began.
    pub at_us: u64,
    /// Where it happened: a host's name, or the harness's own.
    pub host: String,
    /// What sort of event it is.
    pub kind: Cow<'static, str>,
    /// The rest, in words or as JSON.
    pub detail: String,
}

impl Trace {
    /// An empty trace. With `keep`, [`Trace::entries`] returns all events; else only the digest and count are kept.
    pub fn new(keep: bool) -> Self {
        let inner = Inner { hasher: Sha256::new(), events: 0, entries: keep.then(Vec::new) };
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    /// Adds an event at the virtual time `at` since the simulation began. Anything below a microsecond is cut off.
    pub fn record(&self, at: Duration, host: &str, kind: &'static str, detail: &str) {
        let at_us = u64::try_from(at.as_micros()).expect("584,000 years fit into 64 bits of microseconds");
        let mut inner = self.lock();
        // Each field is preceded by its length, so that no two different events feed the same bytes.
        for field in [&at_us.to_le_bytes()[..], host.as_bytes(), kind.as_bytes(), detail.as_bytes()] {
            inner.hasher.update((field.len() as u64).to_le_bytes());
            inner.hasher.update(field);
        }
        inner.events += 1;
        if let Some(entries) = &mut inner.entries {
            entries.push(TraceEntry { at_us, host: host.to_owned(), kind: kind.into(), detail: detail.to_owned() });
        }
    }

    /// Digest of all events so far: the first 32 hex characters of a SHA-256.
    pub fn digest(&self) -> String {
        let mut digest = hex::encode(self.lock().hasher.clone().finalize());
        digest.truncate(DIGEST_CHARS);
        digest
    }

    /// How many events were recorded.
    pub fn events(&self) -> u64 {
        self.lock().events
    }

    /// All events in their order; empty unless the trace keeps them.
    pub fn entries(&self) -> Vec<TraceEntry> {
        self.lock().entries.clone().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A host that panicked elsewhere leaves a trace worth reading: every update here is complete.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for TraceEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at_us, host, kind, detail } = self;
        write!(f, "{}.{:03} ms {host} {kind} {detail}", at_us / 1000, at_us % 1000)
    }
}

/// Index of the first event in which two traces differ; `None` when they are equal. Where one is the other's beginning,
/// it is the index of the first event that only the longer one has.
pub fn first_difference(a: &[TraceEntry], b: &[TraceEntry]) -> Option<usize> {
    let shared = a.len().min(b.len());
    (0..shared).find(|&index| a[index] != b[index]).or((a.len() != b.len()).then_some(shared))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(keep: bool, detail: &str) -> Trace {
        let trace = Trace::new(keep);
        trace.record(Duration::from_millis(1), "broker", "published", "m-1");
        trace.record(Duration::from_millis(2), "consumer", "applied", detail);
        trace
    }

    #[test]
    fn equal_events_give_equal_digests_whether_kept_or_not() {
        let (kept, dropped) = (sample(true, "m-1"), sample(false, "m-1"));
        assert_eq!(kept.digest(), dropped.digest());
        assert_eq!(kept.digest().len(), 32);
        assert_eq!((kept.events(), dropped.events()), (2, 2));
        assert_eq!((kept.entries().len(), dropped.entries().len()), (2, 0));
    }

    #[test]
    fn the_digest_of_known_events_is_the_one_recorded_reports_carry() {
        assert_eq!(sample(false, "m-1").digest(), GOLDEN);
    }
    const GOLDEN: &str = "42bc63fb65138b922ac5bb0b24fedc79";

    #[test]
    fn text_that_moves_between_fields_changes_the_digest() {
        let (a, b) = (Trace::new(false), Trace::new(false));
        a.record(Duration::ZERO, "host", "kind", "xy");
        b.record(Duration::ZERO, "hostx", "kind", "y");
        assert_ne!(a.digest(), b.digest());
    }

    #[test]
    fn the_first_differing_event_is_named() {
        let (a, b) = (sample(true, "m-1").entries(), sample(true, "m-2").entries());
        assert_eq!(first_difference(&a, &a), None);
        assert_eq!(first_difference(&a, &b), Some(1));
        assert_eq!(first_difference(&a[..1], &a), Some(1), "the longer trace's first extra event");
    }
}
