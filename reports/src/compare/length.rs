//! Lengths of time that were computed from many measured ones, in virtual or in wall time: two types that nothing mixes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which time a comparison is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Clock {
    /// Of a simulation: protocol delay, 1 ms steps.
    Virtual,
    /// Of a live system: what a clock on the wall showed.
    Wall,
}

/// A length of one of the two times, in milliseconds, with fractions. All figures of a comparison, and of each of its
/// charts, are of one such type.
pub trait Length: Copy + PartialEq + std::fmt::Debug + Serialize + for<'de> Deserialize<'de> + JsonSchema {
    /// The unit, as columns and axes name it.
    const UNIT: &'static str;
    /// What every figure and axis says of itself.
    const SAYS: &'static str;
    /// What one run is told from another by.
    const RUN: &'static str;

    /// So many milliseconds of this time.
    fn of_ms(ms: f64) -> Self;

    /// Its milliseconds.
    fn ms(self) -> f64;
}

/// A length of virtual time, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct VirtualLength(f64);

/// A length of wall time, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct WallLength(f64);

impl Length for VirtualLength {
    const UNIT: &'static str = "virtual ms";
    const SAYS: &'static str = "Virtual time: protocol delay, 1 ms steps: round trips, syncs and retries, not speed.";
    const RUN: &'static str = "seed";

    fn of_ms(ms: f64) -> Self {
        Self(rounded(ms))
    }

    fn ms(self) -> f64 {
        self.0
    }
}

impl Length for WallLength {
    const UNIT: &'static str = "wall ms";
    const SAYS: &'static str =
        "Wall time, as a live system's clients measured it: speed, on the machine and under the load that it ran with.";
    const RUN: &'static str = "run";

    fn of_ms(ms: f64) -> Self {
        Self(rounded(ms))
    }

    fn ms(self) -> f64 {
        self.0
    }
}

/// To a thousandth: finer is not measured, and the last digits of a sum are those of the machine.
pub(super) fn rounded(value: f64) -> f64 {
    let thousandths = (value * 1e3).round();
    // A shift of minus nothing is none.
    if thousandths == 0.0 { 0.0 } else { thousandths / 1e3 }
}
