//! The promises, one file each, judged by what was seen and by what the stores hold at the end.
//!
//! Each says how much it compared: a check that compared nothing proves nothing, and makes the run inconclusive.

mod g10_liveness;
mod g1_isolation;
mod g3_one_outcome;
mod g4_nothing_lost;
mod g5_order;
mod g6_billing;

use std::time::Duration;

use super::cast::Cast;
use super::evidence::{Kept, Seen};

/// All there is to judge by.
pub struct Case<'a> {
    /// Who was there.
    pub cast: &'a Cast,
    /// What was seen.
    pub seen: &'a Seen,
    /// What the stores hold.
    pub kept: &'a Kept,
    /// Whether everything came to rest before the deadline, and when the run ended.
    pub quiet_by_deadline: bool,
    /// The deadline, in virtual time since the simulation began.
    pub deadline: Duration,
}

/// What one invariant found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Begins with its promise, like `G1-isolation`.
    pub name: &'static str,
    /// How much was compared.
    pub compared: u64,
    /// What was violated, in words.
    pub violations: Vec<String>,
}

impl Finding {
    fn new(name: &'static str) -> Self {
        Self { name, compared: 0, violations: Vec::new() }
    }

    /// Compares once.
    fn expect(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        self.compared += 1;
        if !holds {
            self.violations.push(otherwise());
        }
    }
}

/// Judges by every invariant there is.
#[must_use]
pub fn judge(case: &Case<'_>) -> Vec<Finding> {
    [
        g1_isolation::check,
        g3_one_outcome::check,
        g4_nothing_lost::check,
        g5_order::check,
        g6_billing::check,
        g10_liveness::check,
    ]
    .iter()
    .map(|check| check(case))
    .collect()
}
