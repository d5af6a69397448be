//! What happened in a run, and one short digest of all of it.
//!
//! Two runs of one seed must have the same digest, to the last event, on any machine. The digest is rolled up as events
//! arrive, so that a hunt over thousands of seeds keeps no events at all; a second run that keeps them can name the
//! first event that differs. Only plaintext facts belong here, never ciphertext or wall time: those differ between
//! equal runs.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::engine::chain::Chain;
use crate::engine::fault::When;

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
    chain: Chain,
    /// `None` when only the digest is wanted.
    entries: Option<Vec<TraceEntry>>,
    /// What faults wait for, with how often it happened.
    awaited: Vec<(When, u64)>,
    /// Numbers of those that have come to pass and nobody was told of, with their times.
    came: Vec<(usize, Duration)>,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TraceEntry {
    /// Virtual microseconds since the simulation began.
    pub at_us: u64,
    /// Where it happened: a host's name, or the harness's own.
    pub host: String,
    /// What sort of event it is.
    pub kind: &'static str,
    /// The rest, in words or as JSON.
    pub detail: String,
}

impl Trace {
    /// An empty trace. With `keep`, [`Trace::entries`] returns all events; else only the digest and count are kept.
    pub fn new(keep: bool) -> Self {
        let (hasher, entries) = (Sha256::new(), keep.then(Vec::new));
        let (events, chain, awaited, came) = (0, Chain::default(), Vec::new(), Vec::new());
        let inner = Inner { hasher, events, chain, entries, awaited, came };
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
        let Inner { awaited, came, chain, hasher, events, .. } = &mut *inner;
        chain.take(*events, || {
            let digest = hasher.clone().finalize();
            u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]])
        });
        for (number, (when, count)) in awaited.iter_mut().enumerate() {
            if when.event == kind && when.of.as_ref().is_none_or(|of| has_word(detail, of)) {
                *count += 1;
                if *count == when.nth {
                    came.push((number, at));
                }
            }
        }
        if let Some(entries) = &mut inner.entries {
            entries.push(TraceEntry { at_us, host: host.to_owned(), kind, detail: detail.to_owned() });
        }
    }

    /// Looks out for these events from now on.
    pub(super) fn await_all(&self, awaited: Vec<When>) {
        self.lock().awaited = awaited.into_iter().map(|when| (when, 0)).collect();
    }

    /// Numbers of those that came to pass since the last call, with their times.
    pub(super) fn came(&self) -> Vec<(usize, Duration)> {
        std::mem::take(&mut self.lock().came)
    }

    /// Digest of all events so far: the first 32 hex characters of a SHA-256.
    pub fn digest(&self) -> String {
        let mut digest = hex::encode(self.lock().hasher.clone().finalize());
        digest.truncate(DIGEST_CHARS);
        digest
    }

    /// Digests of its beginnings.
    pub fn chain(&self) -> Chain {
        self.lock().chain.clone()
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

/// Whether `word` stands in `text` whole: `t-1` does not stand in `t-11`.
fn has_word(text: &str, word: &str) -> bool {
    let of_word = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    text.split(|c| !of_word(c)).any(|part| part == word)
}

impl fmt::Display for TraceEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at_us, host, kind, detail } = self;
        write!(f, "{}.{:03} ms {host} {kind} {detail}", at_us / 1000, at_us % 1000)
    }
}

/// Index of the first event in which two traces differ; `None` when they are equal. Where one is the other's beginning,
/// it is the index of the first event that only the longer one has.
pub fn first_difference<E: PartialEq>(a: &[E], b: &[E]) -> Option<usize> {
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
    fn an_awaited_event_comes_once_at_its_number_and_only_with_its_word() {
        let trace = Trace::new(false);
        let when = |of: Option<&str>, nth| When { event: "leased".into(), of: of.map(Into::into), nth, after_ms: 0 };
        trace.await_all(vec![when(Some("t-1"), 2), when(None, 3)]);
        let leased = |ms, detail| trace.record(Duration::from_millis(ms), "broker", "leased", detail);
        leased(1, "Lease { tenant: TenantId(\"t-1\") }");
        leased(2, "Lease { tenant: TenantId(\"t-11\") }");
        assert_eq!(trace.came(), []);
        trace.record(Duration::from_millis(3), "broker", "settled", "t-1");
        leased(4, "t-1");
        assert_eq!(trace.came(), [(0, Duration::from_millis(4)), (1, Duration::from_millis(4))]);
        leased(5, "t-1");
        assert_eq!(trace.came(), []);
    }

    #[test]
    fn chains_of_equal_beginnings_agree_and_their_links_are_those_of_the_digest() {
        let run = |other: u64| {
            let trace = Trace::new(false);
            (0..64)
                .for_each(|event| trace.record(Duration::ZERO, "host", "kind", if event < other { "a" } else { "b" }));
            trace
        };
        let (one, other) = (run(64), run(40));
        assert_eq!(one.chain().parting(&other.chain()), Some(32..48));
        assert_eq!(one.chain().parting(&run(64).chain()), None);
        assert!(one.chain().to_string().ends_with(&one.digest()[..8]));
    }

    #[test]
    fn the_first_differing_event_is_named() {
        let (a, b) = (sample(true, "m-1").entries(), sample(true, "m-2").entries());
        assert_eq!(first_difference(&a, &a), None);
        assert_eq!(first_difference(&a, &b), Some(1));
        assert_eq!(first_difference(&a[..1], &a), Some(1), "the longer trace's first extra event");
    }
}
