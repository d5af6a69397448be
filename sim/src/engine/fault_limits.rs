//! What the numbers of a fault may be: one list, whether a scenario file writes the fault or a plan spells it out.

use crate::engine::fault::{FaultKind, When};
use crate::engine::scenario::DELAY_MS_MAX;
use crate::engine::scenario_error::one_of;

/// How far a clock may be off, in milliseconds: an hour, which is what a wrong time zone makes of it.
const OFFSET_MS_MAX: i64 = 3_600_000;

/// The most commands of one burst.
const BURST_MAX: u64 = 10_000;

/// A value that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Senseless {
    /// Whose value.
    pub(super) key: &'static str,
    /// What is wrong.
    pub(super) message: String,
    /// What would be right.
    pub(super) help: String,
}

/// Refuses numbers that a fault of this kind, which lasts `for_ms`, can't have.
pub(super) fn check_numbers(kind: &FaultKind, for_ms: u64) -> Result<(), Senseless> {
    use FaultKind as Kind;
    match *kind {
        Kind::SlowLink { latency_ms, .. } => within("latency_ms", latency_ms, DELAY_MS_MAX),
        Kind::FrameDrop { percent, .. }
        | Kind::FrameDuplicate { percent, .. }
        | Kind::FrameReorder { percent, .. }
        | Kind::FrameCorrupt { percent, .. }
        | Kind::Poison { percent, .. } => within("percent", percent, 100),
        Kind::FrameDelay { percent, delay_ms, .. } => {
            within("percent", percent, 100).and_then(|()| within("delay_ms", delay_ms, DELAY_MS_MAX))
        }
        Kind::RestartLoop { up_ms, .. } => within("up_ms", up_ms, DELAY_MS_MAX),
        Kind::DiskSlow { sync_ms, .. } => within("sync_ms", sync_ms, DELAY_MS_MAX),
        Kind::Burst { commands, .. } => within("commands", commands, BURST_MAX),
        Kind::ClockJump { offset_ms, .. } => check_offset(offset_ms),
        Kind::ClockSkew { offset_ms, .. } => {
            check_offset(offset_ms)?;
            let most = for_ms.saturating_sub(1) / 2;
            let help = format!("within {for_ms} ms a clock that never goes back is off by at most {most} ms");
            match offset_ms.unsigned_abs() <= most {
                true => Ok(()),
                false => Err(Senseless { key: "offset_ms", message: format!("offset_ms is {offset_ms}"), help }),
            }
        }
        _ => Ok(()),
    }
}

/// Refuses an event that nothing can wait for. Where `events` are given, there is no other.
pub(super) fn check_when(when: &When, events: Option<&[String]>, duration_ms: u64) -> Result<(), Senseless> {
    let refuse = |key, message, help: String| Err(Senseless { key, message, help });
    let When { event, nth, after_ms, .. } = when;
    if let Some(events) = events.filter(|events| !events.contains(event)) {
        return refuse("event", format!("no run has an event {event:?}"), one_of(event, "events", events));
    }
    if *nth == 0 {
        return refuse("nth", "nth is 0".into(), "nth counts from 1".into());
    }
    if *after_ms > duration_ms {
        let help = format!("after_ms is at most duration_ms = {duration_ms}");
        return refuse("after_ms", format!("after_ms is {after_ms}"), help);
    }
    Ok(())
}

fn within(key: &'static str, given: u64, most: u64) -> Result<(), Senseless> {
    if (1..=most).contains(&given) {
        return Ok(());
    }
    let help = format!("{key} is at least 1 and at most {most}");
    Err(Senseless { key, message: format!("{key} is {given}"), help })
}

fn check_offset(offset_ms: i64) -> Result<(), Senseless> {
    if offset_ms != 0 && (-OFFSET_MS_MAX..=OFFSET_MS_MAX).contains(&offset_ms) {
        return Ok(());
    }
    let help = format!("offset_ms is at least -{OFFSET_MS_MAX} and at most {OFFSET_MS_MAX}, and not 0");
    Err(Senseless { key: "offset_ms", message: format!("offset_ms is {offset_ms}"), help })
}
