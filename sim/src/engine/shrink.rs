//! Makes a failure small: delta debugging (Zeller and Hildebrandt, 2002) over anything that can be left out.
//!
//! A [`Search`] asks whether candidates still fail. It runs several at once, but answers as if it had asked one after the
//! other: what comes out, and how much of the budget that took, is the same for any number of threads. It never runs one
//! candidate twice. [`minimise`] leaves out as much of a list as it can: first halves, at last single items.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::suite::run_all;

/// How much may be tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Candidates that are run, at most. With several threads as many more, less one, may be run in vain.
    pub runs: u64,
    /// Candidates that are run at once; at least one.
    pub threads: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { runs: 500, threads: 1 }
    }
}

/// Asks whether candidates still fail, within a budget.
pub struct Search<'a, C> {
    fails: &'a (dyn Fn(&C) -> bool + Sync),
    limits: Limits,
    known: BTreeMap<C, bool>,
    /// Those whose answer was used: what one thread alone would have run.
    asked: BTreeSet<C>,
    cut_short: bool,
}

impl<'a, C: Clone + Ord + Send + Sync> Search<'a, C> {
    /// `fails` runs a candidate: always with the same answer, on a thread of its own. A candidate in which it panics is
    /// one that does not fail: another failure is not the one looked for.
    pub fn new(limits: Limits, fails: &'a (dyn Fn(&C) -> bool + Sync)) -> Self {
        Self { fails, limits, known: BTreeMap::new(), asked: BTreeSet::new(), cut_short: false }
    }

    /// The first of `candidates` that fails, if one does before the budget is spent.
    pub fn first(&mut self, candidates: &[C]) -> Option<usize> {
        for (index, candidate) in candidates.iter().enumerate() {
            if !self.asked.contains(candidate) {
                if self.runs() >= self.limits.runs {
                    self.cut_short = true;
                    return None;
                }
                self.asked.insert(candidate.clone());
            }
            if !self.known.contains_key(candidate) {
                self.run_from(&candidates[index..]);
            }
            if self.known[candidate] {
                return Some(index);
            }
        }
        None
    }

    /// Runs the first of `candidates`, and with it as many as there are threads for: one of them may be needed next.
    fn run_from(&mut self, candidates: &[C]) {
        let mut batch: Vec<&C> = Vec::new();
        let threads = self.limits.threads.max(1);
        for candidate in candidates {
            if batch.len() < threads && !self.known.contains_key(candidate) && !batch.contains(&candidate) {
                batch.push(candidate);
            }
        }
        let fails = |candidate: &&C| catch_unwind(AssertUnwindSafe(|| (self.fails)(candidate))).unwrap_or(false);
        let answers = run_all(&batch, threads, fails, |_, _, _| {});
        let answered: Vec<_> = batch.into_iter().cloned().zip(answers).collect();
        self.known.extend(answered);
    }

    /// How many candidates were asked about; one asked about again counts once.
    pub fn runs(&self) -> u64 {
        self.asked.len() as u64
    }

    /// Whether a question was left open because the budget was spent: then there may be something smaller.
    pub fn was_cut_short(&self) -> bool {
        self.cut_short
    }
}

/// Leaves out of `items`, a list that fails, as many as it can, so that what is left still fails; `candidate` makes the
/// candidate of a list. Within the budget no single item can be left out of the result.
///
/// Where a few of `n` items are to blame this takes some `2 log2(n)` runs for each of them.
pub fn minimise<C: Clone + Ord + Send + Sync, I: Clone>(
    search: &mut Search<'_, C>,
    mut items: Vec<I>,
    candidate: impl Fn(&[I]) -> C,
) -> Vec<I> {
    let mut size = items.len();
    loop {
        let mut removed = false;
        // From the end: what comes last can't have caused what came before.
        let mut end = items.len();
        while end > 0 {
            let starts: Vec<usize> = (0..end).rev().step_by(size).map(|last| (last + 1).saturating_sub(size)).collect();
            let without = |(index, start): (usize, &usize)| {
                let chunk_end = end - index * size;
                candidate(&[&items[..*start], &items[chunk_end..]].concat())
            };
            let candidates: Vec<C> = starts.iter().enumerate().map(without).collect();
            let Some(index) = search.first(&candidates) else { break };
            let (start, chunk_end) = (starts[index], end - index * size);
            items.drain(start..chunk_end);
            removed = true;
            end = start;
        }
        match (size, removed) {
            (0 | 1, false) => return items,
            // Without one item another may have become needless.
            (1, true) => {}
            _ => size = size.div_ceil(2),
        }
        if search.was_cut_short() {
            return items;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use proptest::prelude::*;

    use super::*;

    /// What is left of `count` items, how many runs it took, and whether it was cut short.
    fn shrunk(count: u32, limits: Limits, fails: impl Fn(&[u32]) -> bool + Sync) -> (Vec<u32>, u64, bool) {
        let asks = |candidate: &Vec<u32>| fails(candidate);
        let mut search = Search::new(limits, &asks);
        let left = minimise(&mut search, (0..count).collect(), <[u32]>::to_vec);
        (left, search.runs(), search.was_cut_short())
    }

    fn all_of<'a>(culprits: &'a [u32]) -> impl Fn(&[u32]) -> bool + 'a {
        |items| culprits.iter().all(|culprit| items.contains(culprit))
    }

    #[test]
    fn three_of_three_hundred_are_found_in_fewer_than_sixty_runs() {
        let (left, runs, cut_short) = shrunk(300, Limits::default(), all_of(&[17, 18, 250]));
        assert_eq!((left, cut_short), (vec![17, 18, 250], false));
        assert!(runs < 60, "{runs} runs");
    }

    #[test]
    fn what_fails_by_itself_needs_nothing_and_what_needs_all_keeps_all() {
        assert_eq!(shrunk(40, Limits::default(), |_| true).0, Vec::<u32>::new());
        assert_eq!(shrunk(20, Limits::default(), |items| items.len() == 20).0.len(), 20);
        assert_eq!(shrunk(0, Limits::default(), |_| true).0, Vec::<u32>::new());
    }

    #[test]
    fn a_candidate_that_panics_is_not_the_failure_looked_for() {
        let fails = |items: &[u32]| {
            assert!(items.contains(&3), "another failure");
            items.contains(&5)
        };
        assert_eq!(shrunk(10, Limits::default(), fails).0, [3, 5]);
    }

    #[test]
    fn no_candidate_is_run_twice_and_the_budget_holds() {
        let runs = AtomicU64::new(0);
        let fails = |items: &[u32]| {
            runs.fetch_add(1, Ordering::Relaxed);
            all_of(&[1, 30, 60, 90])(items)
        };
        let (left, asked, cut_short) = shrunk(100, Limits { runs: 20, threads: 1 }, fails);
        assert!(cut_short && asked == 20 && runs.load(Ordering::Relaxed) == 20);
        assert!(all_of(&[1, 30, 60, 90])(&left) && left.len() < 100, "{left:?}");
    }

    proptest! {
        #[test]
        fn the_result_fails_is_minimal_and_is_the_same_on_any_number_of_threads(
            culprits in proptest::collection::btree_set(0_u32..60, 0..5), odd: bool, runs in 1_u64..200,
        ) {
            let culprits: Vec<u32> = culprits.into_iter().collect();
            // If `odd`, by the wrong number of items it does not fail either: not every part of a failure is one.
            let fails = |items: &[u32]| all_of(&culprits)(items) && !(odd && items.len() % 3 == 1);
            prop_assume!(fails(&(0..60).collect::<Vec<_>>()));
            let alone = shrunk(60, Limits { runs, threads: 1 }, fails);
            prop_assert!(fails(&alone.0) && alone.1 <= runs);
            if !alone.2 {
                for index in 0..alone.0.len() {
                    let mut less = alone.0.clone();
                    less.remove(index);
                    prop_assert!(!fails(&less), "{:?} without {index} fails too", alone.0);
                }
            }
            prop_assert_eq!(&shrunk(60, Limits { runs, threads: 3 }, fails), &alone);
        }
    }
}
