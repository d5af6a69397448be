//! Points of virtual time, for everything that a simulation reports.
//!
//! Virtual time is the network's, the disk's and the timers': it moves in steps of a millisecond or two, and code takes none
//! of it. What it shows is protocol delay. The wall time of a live system is another quantity and will have types of its own:
//! the two are never added, compared, or drawn on one axis.

use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What every figure and axis of virtual time says of itself.
pub const VIRTUAL_TIME: &str = "protocol delay, 1 ms steps";

/// Virtual milliseconds, a point since the simulation began or a length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct VirtualMs(pub u64);

/// Virtual microseconds since the simulation began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct VirtualUs(pub u64);

impl VirtualMs {
    /// A virtual duration in whole milliseconds; fractions are cut off.
    #[must_use]
    pub fn of(virtual_time: Duration) -> Self {
        Self(u64::try_from(virtual_time.as_millis()).unwrap_or(u64::MAX))
    }
}

impl VirtualUs {
    /// A virtual duration in whole microseconds; fractions are cut off.
    #[must_use]
    pub fn of(virtual_time: Duration) -> Self {
        Self(u64::try_from(virtual_time.as_micros()).unwrap_or(u64::MAX))
    }

    /// The millisecond it lies in.
    #[must_use]
    pub fn ms(self) -> VirtualMs {
        VirtualMs(self.0 / 1000)
    }
}

impl From<VirtualMs> for VirtualUs {
    fn from(ms: VirtualMs) -> Self {
        Self(ms.0.saturating_mul(1000))
    }
}

impl fmt::Display for VirtualMs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", crate::text::grouped(self.0))
    }
}

impl fmt::Display for VirtualUs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 % 1000 {
            0 => self.ms().fmt(f),
            us => write!(f, "{}.{us:03} ms", crate::text::grouped(self.0 / 1000)),
        }
    }
}
