//! Canaries: every secret of a run begins with a text that is nowhere else, and everything that leaves a process is
//! searched for it - in clear, in base64 and in hexadecimal. JSON leaves its characters as they are.
//!
//! On the operators' own way to the producer the secrets are in clear, and there the search must find them: a search that
//! finds nothing there proves nothing elsewhere.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use aho_corasick::AhoCorasick;
use aho_corasick::packed::Searcher;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::engine::dice::Dice;

/// Leaks that are told; more are counted by none.
const LEAKS_MAX: usize = 20;

/// Where the secrets are in clear, and must be found.
pub const OPERATORS_HOP: &str = "operators' hop";

/// What every secret of a run begins with.
#[must_use]
pub fn prefix(dice: &Dice) -> String {
    format!("canary-{:016x}", dice.u64("workload.canary", "", 0))
}

/// The search of one run, shared by all that is searched.
#[derive(Clone)]
pub struct Canaries {
    needles: Arc<Needles>,
    found: Arc<Mutex<Found>>,
}

/// All forms of the text.
struct Needles {
    automaton: AhoCorasick,
    /// The same, 32 bytes at a time: three times as fast, where the processor can.
    vectors: Option<Searcher>,
}

impl Needles {
    fn are_in(&self, bytes: &[u8]) -> bool {
        let found = self.vectors.as_ref().map(|vectors| vectors.find(bytes).is_some());
        found.unwrap_or_else(|| self.automaton.is_match(bytes))
    }
}

/// What the search has come to.
#[derive(Debug, Default)]
pub struct Found {
    /// Bytes searched, by the sort of place.
    pub searched: BTreeMap<&'static str, u64>,
    /// Where a canary was that may be nowhere.
    pub leaks: Vec<String>,
    /// How often one was found where it may be.
    pub expected: u64,
}

/// The end of what was searched last: a canary may lie across two chunks.
#[derive(Debug, Default)]
pub struct Tail(Vec<u8>);

impl Canaries {
    /// A search for the canaries of the run that `dice` draws.
    #[must_use]
    pub fn new(dice: &Dice) -> Self {
        let prefix = prefix(dice);
        let mut needles = vec![prefix.clone().into_bytes()];
        // A text inside another begins at any of base64's three phases; what its neighbours spoil is cut off.
        for phase in 0..3 {
            let shifted = [&vec![0; phase][..], prefix.as_bytes()].concat();
            let sure = (phase * 8).div_ceil(6)..(shifted.len() * 8) / 6;
            needles.push(STANDARD_NO_PAD.encode(&shifted)[sure.clone()].into());
            needles.push(URL_SAFE_NO_PAD.encode(&shifted)[sure].into());
        }
        needles.extend([hex::encode(&prefix).into_bytes(), hex::encode_upper(&prefix).into_bytes()]);
        // As a list of numbers, which is how a Debug form shows bytes.
        needles.push(prefix.bytes().map(|byte| byte.to_string()).collect::<Vec<_>>().join(", ").into_bytes());
        let automaton = AhoCorasick::new(&needles).expect("a dozen short texts are no too large automaton");
        Self { needles: Needles { automaton, vectors: Searcher::new(&needles) }.into(), found: Arc::default() }
    }

    /// Searches `bytes`, in a place of the sort `place`; `at` says where exactly.
    pub fn search(&self, place: &'static str, bytes: &[u8], at: impl FnOnce() -> String) {
        let hit = self.needles.are_in(bytes);
        let mut found = self.found();
        *found.searched.entry(place).or_default() += bytes.len() as u64;
        if hit && place == OPERATORS_HOP {
            found.expected += 1;
        } else if hit && found.leaks.len() < LEAKS_MAX {
            found.leaks.push(format!("{place}: {}", at()));
        }
    }

    /// Searches a chunk of a stream, whose last chunk ended with `tail`.
    pub fn search_chunk(&self, place: &'static str, tail: &mut Tail, chunk: &[u8], at: impl FnOnce() -> String) {
        tail.0.extend_from_slice(chunk);
        self.search(place, &tail.0, at);
        let cut = tail.0.len().saturating_sub(self.needles.automaton.max_pattern_len() - 1);
        tail.0.drain(..cut);
    }

    /// What the search has come to.
    ///
    /// # Panics
    /// When a holder panicked: then the run is over anyway.
    pub fn found(&self) -> MutexGuard<'_, Found> {
        self.found.lock().expect("no holder panics")
    }
}

/// Every log line that the system's code writes, searched. For the time of a run and its thread only.
pub struct Logs(pub Canaries);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        use fmt::Write as _;
        // Writing to a string can't fail.
        let _ = write!(self.0, "{}={value:?} ", field.name());
    }
}

impl Subscriber for Logs {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("tenantry")
    }
    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut line = Line(String::new());
        span.record(&mut line);
        self.0.search("log", line.0.as_bytes(), || line.0.clone());
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, values: &Record<'_>) {
        let mut line = Line(String::new());
        values.record(&mut line);
        self.0.search("log", line.0.as_bytes(), || line.0.clone());
    }
    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.search("log", line.0.as_bytes(), || line.0.clone());
    }
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaks(bytes: &[u8]) -> usize {
        let canaries = Canaries::new(&Dice::new(7));
        canaries.search("disk", bytes, String::new);
        canaries.found().leaks.len()
    }

    #[test]
    fn a_canary_is_found_in_every_form_and_wherever_it_begins() {
        let canary = prefix(&Dice::new(7));
        assert_eq!(leaks(b"nothing to be seen"), 0);
        assert_eq!(leaks(prefix(&Dice::new(8)).as_bytes()), 0, "another run's canary");
        for before in ["", "a", "ab", "abc"] {
            let text = format!("{before}{canary}-5\u{e9}\"");
            let forms = [
                text.clone(),
                serde_json::to_string(&text).unwrap(),
                STANDARD_NO_PAD.encode(&text),
                URL_SAFE_NO_PAD.encode(&text),
                hex::encode(&text),
                hex::encode_upper(&text),
                format!("{:?}", text.as_bytes()),
            ];
            for form in forms {
                assert_eq!(leaks(form.as_bytes()), 1, "{form}");
            }
        }
    }

    #[test]
    fn a_canary_across_two_chunks_is_found() {
        let (canaries, mut tail) = (Canaries::new(&Dice::new(7)), Tail::default());
        let canary = prefix(&Dice::new(7));
        let (one, other) = canary.split_at(9);
        canaries.search_chunk("wire", &mut tail, one.as_bytes(), String::new);
        assert_eq!(canaries.found().leaks.len(), 0);
        canaries.search_chunk("wire", &mut tail, other.as_bytes(), String::new);
        assert_eq!(canaries.found().leaks.len(), 1);
    }

    #[test]
    fn a_log_line_of_the_system_is_searched() {
        let canaries = Canaries::new(&Dice::new(7));
        let secret = prefix(&Dice::new(7));
        tracing::subscriber::with_default(Logs(canaries.clone()), || {
            tracing::warn!(target: "tenantry_system::producer", secret, "a leak");
            tracing::warn!(target: "tenantry_system::producer", "a line without one");
        });
        assert_eq!(canaries.found().leaks.len(), 1);
        assert!(canaries.found().searched["log"] > 0);
    }
}
