//! When a violation became inevitable: the share of futures that end in it, over the time until which the past is kept.
//!
//! A future is drawn anew from a moment on: every entry that comes later comes at another time, and other dice decide all
//! that the plan does not spell out. Links keep their latency, for that was decided at the beginning.

use std::time::Duration;

use super::run::Setup;
use super::shrink::violates;
use crate::engine::dice::Dice;
use crate::engine::fault::Fault;
use crate::engine::plan::{Plan, What};
use crate::engine::suite::run_all;

/// Futures that are drawn from each moment.
pub const FUTURES: u64 = 20;

/// Moments that are looked at.
const MOMENTS_MAX: usize = 12;

/// How often it ends in the violation, from one moment on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Moment {
    /// Until here everything is as it was, in virtual milliseconds.
    pub at_ms: u64,
    /// So many futures violate the invariant,
    pub violated: u64,
    /// of so many.
    pub of: u64,
}

/// The share of futures that violate `invariant`, from the beginning, from each entry, and from moments in between to the
/// end of the run at `end_ms`.
#[must_use]
pub fn over_time(setup: &Setup, invariant: &str, end_ms: u64, threads: usize) -> Vec<Moment> {
    let moments = moments(setup, end_ms);
    let futures: Vec<_> = moments.iter().flat_map(|at_ms| (0..FUTURES).map(move |future| (*at_ms, future))).collect();
    let violated =
        |(at_ms, future): &(u64, u64)| violates(&setup.future(*at_ms, *future).run(false).finished.record, invariant);
    let ended = run_all(&futures, threads, violated, |_, _, _| {});
    let count = |at_ms: u64| {
        let of_moment = futures.iter().zip(&ended).filter(|((at, _), violated)| *at == at_ms && **violated);
        Moment { at_ms, violated: of_moment.count() as u64, of: FUTURES }
    };
    moments.iter().map(|at_ms| count(*at_ms)).collect()
}

/// The first moment from which on no future was without the violation.
#[must_use]
pub fn inevitable_from(moments: &[Moment]) -> Option<u64> {
    let certain = moments.iter().rev().take_while(|moment| moment.violated == moment.of);
    certain.last().map(|moment| moment.at_ms)
}

fn moments(setup: &Setup, end_ms: u64) -> Vec<u64> {
    let mut moments: Vec<u64> = setup.plan.entries.iter().map(|entry| entry.at_ms).filter(|at| *at < end_ms).collect();
    moments.extend([0, end_ms]);
    moments.sort_unstable();
    moments.dedup();
    while moments.len() > MOMENTS_MAX {
        // Those that stand nearest to their neighbours tell the least.
        let gap = |index: &usize| moments[index + 1] - moments[index - 1];
        let Some(index) = (1..moments.len() - 1).min_by_key(gap) else { break };
        moments.remove(index);
    }
    while moments.len() < MOMENTS_MAX {
        let gap = |index: &usize| (moments[index + 1] - moments[*index], std::cmp::Reverse(*index));
        let Some(index) = (0..moments.len() - 1).max_by_key(gap) else { break };
        let (from, to) = (moments[index], moments[index + 1]);
        if to - from < 4 {
            break;
        }
        moments.insert(index + 1, from.midpoint(to));
    }
    moments
}

impl Setup {
    /// The same past until `at_ms`, with the `future`th other future.
    fn future(&self, at_ms: u64, future: u64) -> Self {
        let seed = Dice::new(self.plan.seed).u64("future", &at_ms.to_string(), future);
        let dice = Dice::new(seed);
        let end_ms = u64::try_from(self.duration.as_millis()).unwrap_or(u64::MAX);
        // What is later than the end stays: nothing is drawn beyond it.
        let anew = |index: usize, at: u64, for_: u64| match end_ms.checked_sub(for_) {
            Some(last) if at > at_ms && last > at_ms => {
                dice.range("future.at", &index.to_string(), 0, at_ms + 1..=last)
            }
            _ => at,
        };
        let (mut faults, mut acts) = (Vec::new(), Vec::new());
        for (index, entry) in self.plan.entries.iter().enumerate() {
            match &entry.what {
                What::Fault(fault) => {
                    let for_ms = u64::try_from(fault.for_.as_millis()).unwrap_or(u64::MAX);
                    let at = Duration::from_millis(anew(index, entry.at_ms, for_ms));
                    faults.push(Fault { at, ..fault.clone() });
                }
                What::Act(act) => acts.push((anew(index, entry.at_ms, 0), act.clone())),
                What::Heal(_) => {}
            }
        }
        let plan = Plan::new(self.plan.seed, &self.plan.scenario, &faults, acts);
        // A run ends at its limit: the moment after is the first that can be another.
        let redrawn = Some((Duration::from_millis(at_ms.saturating_add(1)), seed));
        Self { plan, redrawn, ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inevitable_is_what_stays_certain_to_the_end() {
        let moment = |at_ms, violated| Moment { at_ms, violated, of: 20 };
        let risen = [moment(0, 20), moment(10, 3), moment(20, 20), moment(30, 20)];
        assert_eq!(inevitable_from(&risen), Some(20));
        assert_eq!(inevitable_from(&[moment(0, 3), moment(10, 19)]), None);
    }
}
