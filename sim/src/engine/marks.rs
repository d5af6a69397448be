//! Marks: what a run says of itself while it goes on, by names that are declared in one place.
//!
//! There are three sorts, and each means something else if it fails. A *sometimes* is worth having reached: no run has to,
//! but one of a suite's, or its faults never met what they are there for. An *eventually* must hold when a run ends, or
//! the run hangs. An *always* must hold each time a run passes it; the first time it does not, whoever steps the run can
//! end it, for nothing that comes later makes it good.
//!
//! The hosted half declares its marks as constants: then a misspelt one does not compile, and a scenario that names one is
//! checked against the same list. Nobody judges here. An *always* and an *eventually* carry the name of the check that
//! says the same at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What a mark means for a run that has it, or lacks it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sort {
    /// Some run of a suite reaches it.
    Sometimes,
    /// It holds when a run ends.
    Eventually,
    /// It holds whenever a run passes it.
    Always,
}

impl Sort {
    /// In a word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sometimes => "sometimes",
            Self::Eventually => "eventually",
            Self::Always => "always",
        }
    }
}

/// A mark, as it is declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Its name in scenarios and records: lowercase, with underscores.
    pub name: &'static str,
    /// What it means.
    pub sort: Sort,
    /// The check that says at the end what this says at once; none of a sometimes.
    pub promise: Option<&'static str>,
    /// What it says when it is reached or holds, in a sentence.
    pub means: &'static str,
}

impl Mark {
    /// What some run reaches.
    #[must_use]
    pub const fn sometimes(name: &'static str, means: &'static str) -> Self {
        Self { name, sort: Sort::Sometimes, promise: None, means }
    }

    /// What holds when a run ends, or `promise` is broken.
    #[must_use]
    pub const fn eventually(name: &'static str, promise: &'static str, means: &'static str) -> Self {
        Self { name, sort: Sort::Eventually, promise: Some(promise), means }
    }

    /// What holds whenever a run passes it, or `promise` is broken.
    #[must_use]
    pub const fn always(name: &'static str, promise: &'static str, means: &'static str) -> Self {
        Self { name, sort: Sort::Always, promise: Some(promise), means }
    }
}

/// An always that did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Which.
    pub mark: Mark,
    /// When that was seen, in virtual time since the simulation began.
    pub at: Duration,
    /// In words.
    pub why: String,
}

/// The marks of one run. Clones write to the same.
#[derive(Debug, Clone, Default)]
pub struct Marks(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    counts: BTreeMap<&'static str, u64>,
    /// Those that did not hold once: what follows from that is not told again.
    broken: BTreeSet<&'static str>,
    /// What broke and nobody asked for yet.
    news: Vec<Broken>,
}

impl Marks {
    /// A sometimes was reached `times` more.
    #[track_caller]
    pub fn reach(&self, mark: Mark, times: u64) {
        self.count(mark, Sort::Sometimes, times);
    }

    /// An eventually holds, now that the run ends.
    #[track_caller]
    pub fn hold(&self, mark: Mark) {
        self.count(mark, Sort::Eventually, 1);
    }

    /// An always is passed at `at`, and either `holds` or does not, as `otherwise` says. While all is well it costs a count;
    /// of one that did not hold, only the first time is told.
    #[track_caller]
    pub fn always(&self, mark: Mark, at: Duration, holds: bool, otherwise: impl FnOnce() -> String) {
        if holds {
            return self.count(mark, Sort::Always, 1);
        }
        let mut inner = self.lock();
        if inner.broken.insert(mark.name) {
            inner.news.push(Broken { mark, at, why: otherwise() });
        }
    }

    /// What broke since the last call, in order.
    #[must_use]
    pub fn news(&self) -> Vec<Broken> {
        std::mem::take(&mut self.lock().news)
    }

    /// How often each was reached, or held. One that was not is not there.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<String, u64> {
        self.lock().counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    }

    #[track_caller]
    fn count(&self, mark: Mark, sort: Sort, times: u64) {
        assert_eq!(mark.sort, sort, "the mark {:?} is declared as {}", mark.name, mark.sort.name());
        if times > 0 {
            *self.lock().counts.entry(mark.name).or_default() += times;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A host that panicked elsewhere leaves marks worth reading: every update here is complete.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETRIED: Mark = Mark::sometimes("retried", "Someone tried again.");
    const DRAINED: Mark = Mark::eventually("drained", "liveness", "Nothing waits.");
    const IN_ORDER: Mark = Mark::always("in_order", "order", "Numbers rise.");

    #[test]
    fn what_is_reached_and_what_holds_is_counted_and_what_is_not_is_not_there() {
        let marks = Marks::default();
        marks.reach(RETRIED, 2);
        marks.clone().reach(RETRIED, 1);
        marks.hold(DRAINED);
        assert_eq!(marks.counts(), [("drained".to_owned(), 1), ("retried".to_owned(), 3)].into());
        marks.reach(Mark::sometimes("never", ""), 0);
        assert_eq!(marks.counts().len(), 2);
    }

    #[test]
    fn an_always_is_told_once_with_the_instant_it_first_did_not_hold() {
        let marks = Marks::default();
        let pass =
            |ms, holds| marks.always(IN_ORDER, Duration::from_millis(ms), holds, || format!("at {ms} it came again"));
        pass(1, true);
        pass(2, false);
        pass(3, false);
        let told = Broken { mark: IN_ORDER, at: Duration::from_millis(2), why: "at 2 it came again".into() };
        assert_eq!((marks.news(), marks.news()), (vec![told], Vec::new()));
        pass(4, false);
        assert_eq!(marks.news(), []);
        assert_eq!(marks.counts(), [("in_order".to_owned(), 1)].into(), "as often as it held");
    }

    #[test]
    #[should_panic(expected = "the mark \"drained\" is declared as eventually")]
    fn a_mark_of_another_sort_is_no_mark() {
        Marks::default().reach(DRAINED, 1);
    }
}
