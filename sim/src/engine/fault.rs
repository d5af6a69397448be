//! A timed fault: what goes wrong, for which hosts, when, and for how long.
//!
//! These are the faults that change hosts, wires and disks from outside. Their meaning stands in the injector; here is only
//! what a plan stores and a report names.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Names of all kinds, as scenarios spell them.
pub const KINDS: [&str; 10] = [
    "partition",
    "partition_oneway",
    "hold",
    "crash",
    "power_loss",
    "bounce",
    "disk_slow",
    "disk_full",
    "disk_error",
    "bit_rot",
];

/// One fault: it begins at `at` and is healed `for_` later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Virtual time since the simulation began; whole milliseconds.
    #[serde(rename = "at_ms", with = "milliseconds")]
    pub at: Duration,
    /// How long it lasts; whole milliseconds. Zero for what is over in an instant.
    #[serde(rename = "for_ms", with = "milliseconds")]
    pub for_: Duration,
    /// What goes wrong.
    pub kind: FaultKind,
}

/// What goes wrong. Hosts are named as the runner registered them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// Every message between `a` and `b` is dropped, those on their way included.
    Partition {
        /// One side.
        a: String,
        /// The other side.
        b: String,
    },
    /// Every message from `from` to `to` is dropped; the other direction works.
    PartitionOneway {
        /// Whose messages are dropped.
        from: String,
        /// Who misses them.
        to: String,
    },
    /// Messages between `a` and `b` wait and are delivered, in order, when it ends.
    Hold {
        /// One side.
        a: String,
        /// The other side.
        b: String,
    },
    /// The process is killed and later started again. Its connections are closed cleanly, and its disk loses nothing.
    Crash {
        /// Which one.
        host: String,
    },
    /// The host vanishes without a word, loses every byte that was not durable, and is later started again.
    PowerLoss {
        /// Which one.
        host: String,
    },
    /// The process is killed and started again in the same instant.
    Bounce {
        /// Which one.
        host: String,
    },
    /// Every commit on the host's disk takes this long.
    DiskSlow {
        /// Whose disk.
        host: String,
        /// Virtual milliseconds, instead of the drawn time.
        sync_ms: u64,
    },
    /// No file on the host's disk can grow; what is there can be overwritten.
    DiskFull {
        /// Whose disk.
        host: String,
    },
    /// Every write, change of length and sync on the host's disk fails and changes nothing; reads work.
    DiskError {
        /// Whose disk.
        host: String,
    },
    /// A few bits in the host's files turn over, for good. What that means stands in the disk image.
    BitRot {
        /// Whose disk.
        host: String,
    },
}

impl FaultKind {
    /// The kind as scenarios and reports spell it: one of [`KINDS`].
    pub fn name(&self) -> &'static str {
        match self {
            Self::Partition { .. } => "partition",
            Self::PartitionOneway { .. } => "partition_oneway",
            Self::Hold { .. } => "hold",
            Self::Crash { .. } => "crash",
            Self::PowerLoss { .. } => "power_loss",
            Self::Bounce { .. } => "bounce",
            Self::DiskSlow { .. } => "disk_slow",
            Self::DiskFull { .. } => "disk_full",
            Self::DiskError { .. } => "disk_error",
            Self::BitRot { .. } => "bit_rot",
        }
    }

    /// Whether the kind of this name acts on a wire between two hosts.
    pub fn is_of_wire(name: &str) -> bool {
        matches!(name, "partition" | "partition_oneway" | "hold")
    }

    /// Every host it names: one, or the two sides.
    pub fn hosts(&self) -> Vec<&str> {
        match self {
            Self::Partition { a, b } | Self::Hold { a, b } => vec![a, b],
            Self::PartitionOneway { from, to } => vec![from, to],
            Self::Crash { host }
            | Self::PowerLoss { host }
            | Self::Bounce { host }
            | Self::DiskSlow { host, .. }
            | Self::DiskFull { host }
            | Self::DiskError { host }
            | Self::BitRot { host } => vec![host],
        }
    }

    /// Whether it is over as soon as it has begun, so that there is nothing to heal.
    pub fn is_instant(&self) -> bool {
        matches!(self, Self::Bounce { .. } | Self::BitRot { .. })
    }

    /// The host that is down while this fault lasts, if it is of that sort.
    pub fn keeps_down(&self) -> Option<&str> {
        match self {
            Self::Crash { host } | Self::PowerLoss { host } => Some(host),
            _ => None,
        }
    }
}

impl Fault {
    /// When it is healed: virtual time since the simulation began.
    pub fn ends(&self) -> Duration {
        self.at + self.for_
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name();
        match self {
            Self::Partition { a, b } | Self::Hold { a, b } => write!(f, "{name} {a} <-> {b}"),
            Self::PartitionOneway { from, to } => write!(f, "{name} {from} -> {to}"),
            Self::DiskSlow { host, sync_ms } => write!(f, "{name} {host} to {sync_ms} ms"),
            Self::Crash { host }
            | Self::PowerLoss { host }
            | Self::Bounce { host }
            | Self::DiskFull { host }
            | Self::DiskError { host }
            | Self::BitRot { host } => write!(f, "{name} {host}"),
        }
    }
}

/// Durations as whole milliseconds, the unit of every file people read.
mod milliseconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(value.as_millis()).map_err(serde::ser::Error::custom)?)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_survives_being_written_down() {
        let fault = Fault {
            at: Duration::from_millis(300),
            for_: Duration::from_millis(400),
            kind: FaultKind::PartitionOneway { from: "consumer".into(), to: "ledger".into() },
        };
        let json = serde_json::to_string(&fault).unwrap();
        assert_eq!(json, r#"{"at_ms":300,"for_ms":400,"kind":{"partition_oneway":{"from":"consumer","to":"ledger"}}}"#);
        assert_eq!(serde_json::from_str::<Fault>(&json).unwrap(), fault);
        assert_eq!(fault.kind.to_string(), "partition_oneway consumer -> ledger");
        assert!(KINDS.contains(&fault.kind.name()));
    }
}
