//! A timed fault: what goes wrong, for which hosts, when, and for how long.
//!
//! These are the faults that change hosts, wires and disks from outside. Their meaning stands in the injector; here is only
//! what a plan stores and a report names.

use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Names of all kinds, as scenarios spell them.
pub const KINDS: [&str; 27] = [
    "partition",
    "partition_oneway",
    "hold",
    "slow_link",
    "connection_reset",
    "frame_drop",
    "frame_duplicate",
    "frame_delay",
    "frame_reorder",
    "frame_corrupt",
    "crash",
    "power_loss",
    "bounce",
    "restart_loop",
    "pause",
    "hang",
    "refuse",
    "disk_slow",
    "disk_full",
    "disk_error",
    "disk_torn_write",
    "bit_rot",
    "clock_skew",
    "clock_jump",
    "redelivery_storm",
    "poison",
    "burst",
];

/// One fault: it begins at `at` and is healed `for_` later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Virtual time since the simulation began; whole milliseconds.
    #[serde(rename = "at_ms", with = "milliseconds")]
    #[schemars(with = "u64")]
    pub at: Duration,
    /// How long it lasts; whole milliseconds. Zero for what is over in an instant.
    #[serde(rename = "for_ms", with = "milliseconds")]
    #[schemars(with = "u64")]
    pub for_: Duration,
    /// What goes wrong.
    pub kind: FaultKind,
    /// What it waits for. If for anything, it has no time of its own: `at` says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<When>,
}

/// The event that a fault waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct When {
    /// Its kind, as the trace names it.
    pub event: String,
    /// A word that stands in its detail, whole: a tenant, an id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
    /// The how-manieth such event, from 1.
    pub nth: u64,
    /// How long after it the fault begins, in virtual milliseconds; at the earliest with the next step.
    pub after_ms: u64,
}

/// What goes wrong. Hosts are named as the runner registered them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
    /// Messages between `a` and `b` take this long.
    SlowLink {
        /// One side.
        a: String,
        /// The other side.
        b: String,
        /// One-way latency in virtual milliseconds, instead of the drawn one.
        latency_ms: u64,
    },
    /// Every connection between `a` and `b` breaks, at both ends at once; what was on its way is lost.
    ConnectionReset {
        /// One side.
        a: String,
        /// The other side.
        b: String,
    },
    /// Frames between `a` and `b` get lost.
    FrameDrop {
        /// One side.
        a: String,
        /// The other side.
        b: String,
        /// Of a hundred frames, how many.
        percent: u64,
    },
    /// Frames between `a` and `b` arrive twice.
    FrameDuplicate {
        /// One side.
        a: String,
        /// The other side.
        b: String,
        /// Of a hundred frames, how many.
        percent: u64,
    },
    /// Frames between `a` and `b`, and all behind them, arrive later.
    FrameDelay {
        /// One side.
        a: String,
        /// The other side.
        b: String,
        /// Of a hundred frames, how many.
        percent: u64,
        /// By at most so many virtual milliseconds.
        delay_ms: u64,
    },
    /// Frames between `a` and `b` are overtaken by the next.
    FrameReorder {
        /// One side.
        a: String,
        /// The other side.
        b: String,
        /// Of a hundred frames, how many.
        percent: u64,
    },
    /// Frames between `a` and `b` arrive as nothing that can be read.
    FrameCorrupt {
        /// One side.
        a: String,
        /// The other side.
        b: String,
        /// Of a hundred frames, how many.
        percent: u64,
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
    /// The process is killed again and again, each time that it has been up for a while; its supervisor starts it.
    RestartLoop {
        /// Which one.
        host: String,
        /// How long it is up between two kills, in virtual milliseconds.
        up_ms: u64,
    },
    /// The process is stopped and later goes on: meanwhile it hears, says and stores nothing, and knows nothing of it.
    Pause {
        /// Which one.
        host: String,
    },
    /// The process takes connections and says that it is there, and answers nothing that it is asked meanwhile.
    Hang {
        /// Which one.
        host: String,
    },
    /// The process answers whatever it is asked at once: with an error.
    Refuse {
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
    /// The next commit on the host's disk reaches the platter only in part and fails; then nothing can be written until the
    /// process is started again, from what lies there. What that means stands in the disk image.
    DiskTornWrite {
        /// Whose disk.
        host: String,
    },
    /// A few bits in the host's files turn over, for good. What that means stands in the disk image.
    BitRot {
        /// Whose disk.
        host: String,
    },
    /// The host's clock runs fast or slow until it is off by so much, and is slewed back: right at both ends, no step.
    ClockSkew {
        /// Whose clock.
        host: String,
        /// How far it is ahead at most, in milliseconds; below zero, behind.
        offset_ms: i64,
    },
    /// The host's clock steps, and steps back when it is over.
    ClockJump {
        /// Whose clock.
        host: String,
        /// How far it is ahead, in milliseconds; below zero, behind.
        offset_ms: i64,
    },
    /// The broker on the host takes back whatever is handed out, again and again, and hands it out anew.
    RedeliveryStorm {
        /// Where the broker is.
        host: String,
    },
    /// Some messages kill the process on the host whenever they are handed to it.
    Poison {
        /// Whose process dies.
        host: String,
        /// Of a hundred messages, how many do.
        percent: u64,
    },
    /// A runaway script sends commands of one tenant to the host, one after another without a pause.
    Burst {
        /// Who is asked.
        host: String,
        /// How many, spread evenly over the fault's time.
        commands: u64,
    },
}

impl FaultKind {
    /// The kind as scenarios and reports spell it: one of [`KINDS`].
    pub fn name(&self) -> &'static str {
        match self {
            Self::Partition { .. } => "partition",
            Self::PartitionOneway { .. } => "partition_oneway",
            Self::Hold { .. } => "hold",
            Self::SlowLink { .. } => "slow_link",
            Self::ConnectionReset { .. } => "connection_reset",
            Self::FrameDrop { .. } => "frame_drop",
            Self::FrameDuplicate { .. } => "frame_duplicate",
            Self::FrameDelay { .. } => "frame_delay",
            Self::FrameReorder { .. } => "frame_reorder",
            Self::FrameCorrupt { .. } => "frame_corrupt",
            Self::Crash { .. } => "crash",
            Self::PowerLoss { .. } => "power_loss",
            Self::Bounce { .. } => "bounce",
            Self::RestartLoop { .. } => "restart_loop",
            Self::Pause { .. } => "pause",
            Self::Hang { .. } => "hang",
            Self::Refuse { .. } => "refuse",
            Self::DiskSlow { .. } => "disk_slow",
            Self::DiskFull { .. } => "disk_full",
            Self::DiskError { .. } => "disk_error",
            Self::DiskTornWrite { .. } => "disk_torn_write",
            Self::BitRot { .. } => "bit_rot",
            Self::ClockSkew { .. } => "clock_skew",
            Self::ClockJump { .. } => "clock_jump",
            Self::RedeliveryStorm { .. } => "redelivery_storm",
            Self::Poison { .. } => "poison",
            Self::Burst { .. } => "burst",
        }
    }

    /// Whether the kind of this name acts on a wire between two hosts.
    pub fn is_of_wire(name: &str) -> bool {
        matches!(name, "partition" | "partition_oneway" | "hold" | "slow_link" | "connection_reset")
            || name.starts_with("frame_")
    }

    /// Every host it names: one, or the two sides.
    pub fn hosts(&self) -> Vec<&str> {
        match self {
            Self::Partition { a, b }
            | Self::Hold { a, b }
            | Self::SlowLink { a, b, .. }
            | Self::ConnectionReset { a, b }
            | Self::FrameDrop { a, b, .. }
            | Self::FrameDuplicate { a, b, .. }
            | Self::FrameDelay { a, b, .. }
            | Self::FrameReorder { a, b, .. }
            | Self::FrameCorrupt { a, b, .. } => vec![a, b],
            Self::PartitionOneway { from, to } => vec![from, to],
            Self::Crash { host }
            | Self::PowerLoss { host }
            | Self::Bounce { host }
            | Self::RestartLoop { host, .. }
            | Self::Pause { host }
            | Self::Hang { host }
            | Self::Refuse { host }
            | Self::DiskSlow { host, .. }
            | Self::DiskFull { host }
            | Self::DiskError { host }
            | Self::DiskTornWrite { host }
            | Self::BitRot { host }
            | Self::ClockSkew { host, .. }
            | Self::ClockJump { host, .. }
            | Self::RedeliveryStorm { host }
            | Self::Poison { host, .. }
            | Self::Burst { host, .. } => vec![host],
        }
    }

    /// Whether it is over as soon as it has begun, so that there is nothing to heal.
    pub fn is_instant(&self) -> bool {
        matches!(self, Self::Bounce { .. } | Self::BitRot { .. } | Self::ConnectionReset { .. })
    }

    /// The two sides of the wire and the percentage, if it acts on single frames.
    pub fn of_frames(&self) -> Option<(&str, &str, u64)> {
        match self {
            Self::FrameDrop { a, b, percent }
            | Self::FrameDuplicate { a, b, percent }
            | Self::FrameDelay { a, b, percent, .. }
            | Self::FrameReorder { a, b, percent }
            | Self::FrameCorrupt { a, b, percent } => Some((a, b, *percent)),
            _ => None,
        }
    }

    /// How far it puts a clock off, forwards or backwards, if it does.
    pub fn offset(&self) -> Option<Duration> {
        match self {
            Self::ClockSkew { offset_ms, .. } | Self::ClockJump { offset_ms, .. } => {
                Some(Duration::from_millis(offset_ms.unsigned_abs()))
            }
            _ => None,
        }
    }

    /// Whether all there is to it happens to those who ask the [weather](crate::engine::weather) about it.
    pub fn is_weather(&self) -> bool {
        let clock = matches!(self, Self::ClockSkew { .. } | Self::ClockJump { .. });
        let process = matches!(self, Self::Pause { .. } | Self::Hang { .. } | Self::Refuse { .. });
        let messages = matches!(self, Self::RedeliveryStorm { .. } | Self::Poison { .. } | Self::Burst { .. });
        clock || process || messages || self.of_frames().is_some()
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
        write!(f, "{}", self.name())?;
        match self {
            Self::PartitionOneway { from, to } => write!(f, " {from} -> {to}"),
            _ => write!(f, " {}", self.hosts().join(" <-> ")),
        }?;
        match self {
            Self::DiskSlow { sync_ms: ms, .. } | Self::SlowLink { latency_ms: ms, .. } => write!(f, " to {ms} ms"),
            Self::RestartLoop { up_ms, .. } => write!(f, " up for {up_ms} ms"),
            Self::ClockSkew { offset_ms, .. } | Self::ClockJump { offset_ms, .. } => write!(f, " by {offset_ms} ms"),
            Self::FrameDelay { percent, delay_ms, .. } => write!(f, " {percent} % by up to {delay_ms} ms"),
            Self::FrameDrop { percent, .. }
            | Self::FrameDuplicate { percent, .. }
            | Self::FrameReorder { percent, .. }
            | Self::FrameCorrupt { percent, .. }
            | Self::Poison { percent, .. } => write!(f, " {percent} %"),
            Self::Burst { commands, .. } => write!(f, " of {commands} commands"),
            _ => Ok(()),
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
            when: None,
        };
        let json = serde_json::to_string(&fault).unwrap();
        assert_eq!(json, r#"{"at_ms":300,"for_ms":400,"kind":{"partition_oneway":{"from":"consumer","to":"ledger"}}}"#);
        assert_eq!(serde_json::from_str::<Fault>(&json).unwrap(), fault);
        assert_eq!(fault.kind.to_string(), "partition_oneway consumer -> ledger");
        assert!(KINDS.contains(&fault.kind.name()));
    }

    #[test]
    fn a_fault_that_waits_for_an_event_says_for_which() {
        let when = When { event: "leased".into(), of: Some("t-1".into()), nth: 3, after_ms: 5 };
        let kind = FaultKind::FrameDelay { a: "a".into(), b: "b".into(), percent: 30, delay_ms: 40 };
        let fault = Fault { at: Duration::ZERO, for_: Duration::from_millis(9), kind, when: Some(when) };
        let json = serde_json::to_string(&fault).unwrap();
        assert!(json.ends_with(r#""when":{"event":"leased","of":"t-1","nth":3,"after_ms":5}}"#), "{json}");
        assert_eq!(serde_json::from_str::<Fault>(&json).unwrap(), fault);
        assert_eq!(fault.kind.to_string(), "frame_delay a <-> b 30 % by up to 40 ms");
    }
}
