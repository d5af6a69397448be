//! Two sides of records: what shifted from base to new, how far, and how sure that is.
//!
//! Virtual runs are paired by seed: both sides ran the same scenario with the same faults and the same commands, so what differs
//! is what was changed. Wall runs are paired by time: each with the one of the other side that ran right before or after it.
//! A pair is resampled whole (`bootstrap.rs`), and a shift is told with its interval, never as a bare ratio.
//!
//! Of each scenario one figure decides, which is named beforehand: the gate. The intervals of all gates hold together with 95 %
//! (Bonferroni), so that a suite of thirty scenarios does not cry wolf more often than one. All other figures are told with an
//! interval of their own, of which one in twenty is off, and decide nothing. There are three answers, as everywhere: slower by the
//! tolerance or more; surely not slower by as much; or too few runs to say, with how many it would take.
//!
//! The two times have types of their own ([`Length`]): a comparison, a sentence and an axis are of one of them.

mod bootstrap;
#[cfg(test)]
mod calm_tests;
mod judge;
mod length;
pub mod markdown;
mod side;
#[cfg(test)]
mod tests;
pub mod text;
mod wall;

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use bootstrap::PAIRS_MIN;
pub use judge::compare;
pub(crate) use judge::words as stage_words;
pub use length::{Length, VirtualLength, WallLength};
pub use side::{CompareError, Record, Side};
pub use wall::{WallGenerator, WallRun, WallStage};

use crate::record::Commands;
use crate::suite::{Build, Source};
use crate::verdict::Verdict;

/// Version of the document. It changes when a field's meaning does.
pub const VERSION: u32 = 1;

/// How sure intervals are, in percent: each for itself, and those of the gates together.
pub const SURE_PERCENT: u8 = 95;

/// What is to be compared how.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Method {
    /// The percentile that decides.
    pub gate: Percentile,
    /// By how much it may be slower, in percent of the base's.
    pub tolerance_percent: f64,
    /// What the draws of the bootstrap are decided by.
    pub seed: u64,
}

impl Default for Method {
    fn default() -> Self {
        Self { gate: Percentile::P99, tolerance_percent: 5.0, seed: 1 }
    }
}

/// A comparison of either time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "time", rename_all = "snake_case")]
#[schemars(title = "Tenantry comparison")]
pub enum Compared {
    /// Of simulations.
    Virtual(Comparison<VirtualLength>),
    /// Of live systems.
    Wall(Comparison<WallLength>),
}

/// What shifted between two sides, in one of the two times.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Comparison<L> {
    /// Version of this document: [`VERSION`].
    pub version: u32,
    /// What it was compared with.
    pub base: SideRecord,
    /// What was compared.
    pub new: SideRecord,
    /// How.
    pub method: Method,
    /// The worst of all.
    pub verdict: CompareVerdict,
    /// The process's exit code.
    pub exit_code: u8,
    /// What else there is to say of the whole, in sentences.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Each scenario that both sides ran, in the base's order.
    pub scenarios: Vec<ScenarioComparison<L>>,
}

/// One side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SideRecord {
    /// What its records were read from.
    pub files: Vec<String>,
    /// What ran.
    pub build: Build,
    /// How many runs of it were compared.
    pub runs: u64,
}

/// One scenario on both sides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ScenarioComparison<L> {
    /// Its name.
    pub scenario: String,
    /// What the base read it from, if its record says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// Runs on each side that are paired.
    pub pairs: u64,
    /// Pairs that are the same to the last event.
    pub same: u64,
    /// How it is judged.
    pub verdict: CompareVerdict,
    /// Why, in a sentence.
    pub reason: String,
    /// How the base's commands ended.
    pub commands_base: Commands,
    /// How the new ones did.
    pub commands_new: Commands,
    /// Pairs whose runs are judged otherwise than each other.
    pub changed: Vec<Changed>,
    /// What shifted.
    pub latency: Vec<Row<L>>,
}

/// A pair whose runs are judged otherwise than each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Changed {
    /// The seed of both.
    pub seed: u64,
    /// How the base's run ended.
    pub base: Verdict,
    /// How the new one did.
    pub new: Verdict,
    /// Invariants that the new one violates.
    pub violated: Vec<String>,
    /// The command line that runs the new one again.
    pub reproduce: String,
}

/// One figure on both sides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Row<L> {
    /// The part of a command's way.
    pub stage: String,
    /// Which figure.
    pub percentile: Percentile,
    /// Whether it decides.
    pub gate: bool,
    /// Samples on the side that has fewer.
    pub samples: u64,
    /// The base's, in milliseconds of the document's time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_ms: Option<L>,
    /// The new one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_ms: Option<L>,
    /// How far it shifted, if that can be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shift: Option<Shift<L>>,
    /// What that says.
    pub says: Says,
    /// Why there is no shift, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub untold: Option<String>,
}

/// How far a figure shifted. More is slower.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Shift<L> {
    /// New less base, in milliseconds of the document's time.
    pub by_ms: L,
    /// The lower end of its interval.
    pub low_ms: L,
    /// The upper end.
    pub high_ms: L,
    /// The shift in percent of the base's figure; absent if that is nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by_percent: Option<f64>,
    /// The lower end in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub low_percent: Option<f64>,
    /// The upper end in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub high_percent: Option<f64>,
    /// The smallest shift that so many pairs would have shown in four of five such comparisons.
    pub detectable_ms: L,
}

/// What a figure says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Says {
    /// Every pair's samples are the same.
    Same,
    /// The interval lies above nothing.
    Slower,
    /// It lies below.
    Faster,
    /// It holds nothing: no shift was seen.
    NoDifference,
    /// It has no interval.
    Untold,
}

/// A figure of a distribution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Percentile {
    /// The median.
    P50,
    /// Nine in ten took at most as long.
    P90,
    /// 99 in 100.
    P99,
    /// 999 in 1,000.
    P999,
    /// The slowest. It has no interval: the slowest of a sample says little of the next one's.
    Max,
}

impl Percentile {
    /// Those that have an interval.
    pub const QUANTILES: [Self; 4] = [Self::P50, Self::P90, Self::P99, Self::P999];

    /// The share that took at most as long.
    #[must_use]
    pub fn quantile(self) -> f64 {
        match self {
            Self::P50 => 0.5,
            Self::P90 => 0.9,
            Self::P99 => 0.99,
            Self::P999 => 0.999,
            Self::Max => 1.0,
        }
    }

    /// Samples that its shift takes: of ten at least it must be known that they are slower.
    #[must_use]
    pub fn samples_needed(self) -> u64 {
        match self {
            Self::P50 => 20,
            Self::P90 => 100,
            Self::P99 => 1_000,
            Self::P999 => 10_000,
            Self::Max => 1,
        }
    }
}

impl fmt::Display for Percentile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::P50 => "p50",
            Self::P90 => "p90",
            Self::P99 => "p99",
            Self::P999 => "p99.9",
            Self::Max => "max",
        })
    }
}

impl FromStr for Percentile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::QUANTILES.into_iter().find(|percentile| percentile.to_string() == text);
        found.ok_or_else(|| format!("{text:?} decides nothing; write p50, p90, p99 or p99.9"))
    }
}

/// The verdict on a comparison, from the best to the worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CompareVerdict {
    /// Every pair is the same to the last event.
    Same,
    /// Surely not slower by the tolerance or more.
    Pass,
    /// Too few runs to say.
    Inconclusive,
    /// Slower by the tolerance or more, which is not by chance.
    Regression,
    /// A seed that was not violated is.
    Violated,
    /// The harness failed at a seed at which it did not.
    Failed,
}

impl CompareVerdict {
    /// The process's exit code for it.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Same | Self::Pass => 0,
            Self::Violated => 1,
            Self::Regression => 3,
            Self::Inconclusive => 4,
            Self::Failed => 70,
        }
    }
}

impl fmt::Display for CompareVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Same => "the same",
            Self::Pass => "no regression",
            Self::Inconclusive => "inconclusive",
            Self::Regression => "regression",
            Self::Violated => "violated",
            Self::Failed => "failed",
        })
    }
}

impl Compared {
    /// The process's exit code.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Virtual(of) => of.exit_code,
            Self::Wall(of) => of.exit_code,
        }
    }

    /// As text, for people at a terminal.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Virtual(of) => text::render(of),
            Self::Wall(of) => text::render(of),
        }
    }

    /// As Markdown, for a summary page.
    #[must_use]
    pub fn markdown(&self) -> String {
        match self {
            Self::Virtual(of) => markdown::render(of),
            Self::Wall(of) => markdown::render(of),
        }
    }

    /// As one JSON document, indented, with a newline at its end.
    #[must_use]
    pub fn json(&self) -> String {
        let mut json =
            serde_json::to_string_pretty(self).expect("a comparison has only string keys and finite numbers");
        json.push('\n');
        json
    }
}
