//! How a run, and a suite of runs, is judged; and the exit code that says so.
//!
//! The order is that of harm: the worst decides. A harness that broke outranks everything, for then nothing else can be
//! believed; a run that differs from its own repetition comes next, for the same reason.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::record::InvariantRecord;

/// Exit code of a usage error or a scenario that can't be read. No record has it: nothing ran.
pub const EXIT_USAGE: u8 = 2;

/// The verdict on one run, from the best to the worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Every invariant compared something, and all of it held.
    Pass,
    /// An invariant compared nothing: it proved nothing.
    Inconclusive,
    /// An invariant was violated.
    Violated,
    /// The harness itself failed: a panic, a host's error, or no end in time.
    Failed,
}

impl Verdict {
    /// Judges a run by its invariants and by the harness's own error, if it had one.
    pub fn of(invariants: &[InvariantRecord], error: Option<&str>) -> Self {
        if error.is_some() {
            Self::Failed
        } else if invariants.iter().any(|invariant| invariant.violations_total > 0) {
            Self::Violated
        } else if invariants.is_empty() || invariants.iter().any(|invariant| invariant.compared == 0) {
            Self::Inconclusive
        } else {
            Self::Pass
        }
    }

    /// The process's exit code for it.
    pub fn exit_code(self) -> u8 {
        SuiteVerdict::from(self).exit_code()
    }
}

/// The verdict on a suite, from the best to the worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SuiteVerdict {
    /// Every run passed, and every `sometimes` was seen.
    Pass,
    /// A threshold was missed, or a figure got worse than it was.
    Threshold,
    /// An invariant compared nothing in some run, a `sometimes` was never seen, or nothing ran.
    Inconclusive,
    /// An invariant was violated.
    Violated,
    /// Two runs of one seed differed.
    Nondeterministic,
    /// The harness itself failed.
    Failed,
}

impl SuiteVerdict {
    /// The process's exit code for it.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Pass => 0,
            Self::Violated => 1,
            Self::Threshold => 3,
            Self::Inconclusive => 4,
            Self::Nondeterministic => 5,
            Self::Failed => 70,
        }
    }
}

impl From<Verdict> for SuiteVerdict {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Pass => Self::Pass,
            Verdict::Inconclusive => Self::Inconclusive,
            Verdict::Violated => Self::Violated,
            Verdict::Failed => Self::Failed,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        SuiteVerdict::from(*self).fmt(f)
    }
}

impl fmt::Display for SuiteVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pass => "pass",
            Self::Threshold => "threshold",
            Self::Inconclusive => "inconclusive",
            Self::Violated => "violated",
            Self::Nondeterministic => "nondeterministic",
            Self::Failed => "failed",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invariant(compared: u64, violated: bool) -> InvariantRecord {
        let mut invariant = InvariantRecord::new("G1-isolation");
        invariant.compared = compared;
        if violated {
            invariant.violate("acme touched globex");
        }
        invariant
    }

    #[test]
    fn the_worst_decides_and_comparing_nothing_is_no_pass() {
        assert_eq!(Verdict::of(&[invariant(5, false)], None), Verdict::Pass);
        assert_eq!(Verdict::of(&[], None), Verdict::Inconclusive);
        assert_eq!(Verdict::of(&[invariant(5, false), invariant(0, false)], None), Verdict::Inconclusive);
        assert_eq!(Verdict::of(&[invariant(0, false), invariant(5, true)], None), Verdict::Violated);
        assert_eq!(Verdict::of(&[invariant(5, true)], Some("broker panicked")), Verdict::Failed);
    }

    #[test]
    fn exit_codes_rank_70_5_1_4_3_0() {
        use SuiteVerdict::*;
        let mut all = [Threshold, Failed, Violated, Pass, Nondeterministic, Inconclusive];
        all.sort();
        all.reverse();
        assert_eq!(all.map(SuiteVerdict::exit_code), [70, 5, 1, 4, 3, 0]);
    }
}
