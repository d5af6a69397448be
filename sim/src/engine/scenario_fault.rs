//! `[[fault]]` of a scenario file: one flat table for all kinds, checked into a [`Fault`].
//!
//! The table is flat because serde's tagged enums forget where a value stood. Which keys a kind takes is therefore
//! judged here, by one list, with the place of every key at hand.

use std::ops::Range;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::engine::fault::{Fault, FaultKind, KINDS, When};
use crate::engine::fault_limits::{Senseless, check_numbers, check_when};
use crate::engine::scenario::{Suits, unwritten};
use crate::engine::scenario_error::{SectionError, one_of};
use crate::engine::scenario_schema::KindName;
use crate::engine::spanned::Spanned;

/// A fault as written.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFault {
    /// What goes wrong.
    #[schemars(with = "KindName")]
    kind: Spanned<String>,
    between: Option<Spanned<Vec<Spanned<String>>>>,
    from: Option<Spanned<String>>,
    to: Option<Spanned<String>>,
    host: Option<Spanned<String>>,
    at_ms: Option<Spanned<u64>>,
    when: Option<Spanned<RawWhen>>,
    for_ms: Option<Spanned<u64>>,
    sync_ms: Option<Spanned<u64>>,
    latency_ms: Option<Spanned<u64>>,
    percent: Option<Spanned<u64>>,
    delay_ms: Option<Spanned<u64>>,
    up_ms: Option<Spanned<u64>>,
    commands: Option<Spanned<u64>>,
    offset_ms: Option<Spanned<i64>>,
}

/// The event that a fault waits for, as written.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RawWhen {
    event: Spanned<String>,
    of: Option<String>,
    #[serde(default = "first")]
    nth: Spanned<u64>,
    #[serde(default = "at_once")]
    after_ms: Spanned<u64>,
}

fn first() -> Spanned<u64> {
    unwritten(1)
}

fn at_once() -> Spanned<u64> {
    unwritten(0)
}

/// Keys a kind takes beside `kind` and `at_ms` or `when`: all of them are needed, and no other is allowed.
fn keys(kind: &str) -> &'static [&'static str] {
    match kind {
        "partition" | "hold" => &["between", "for_ms"],
        "partition_oneway" => &["from", "to", "for_ms"],
        "slow_link" => &["between", "for_ms", "latency_ms"],
        "connection_reset" => &["between"],
        "frame_delay" => &["between", "for_ms", "percent", "delay_ms"],
        "frame_drop" | "frame_duplicate" | "frame_reorder" | "frame_corrupt" => &["between", "for_ms", "percent"],
        "bounce" | "bit_rot" => &["host"],
        "restart_loop" => &["host", "for_ms", "up_ms"],
        "poison" => &["host", "for_ms", "percent"],
        "burst" => &["host", "for_ms", "commands"],
        "disk_slow" => &["host", "for_ms", "sync_ms"],
        "clock_skew" | "clock_jump" => &["host", "for_ms", "offset_ms"],
        _ => &["host", "for_ms"],
    }
}

impl RawFault {
    /// The fault it says, if it makes sense among `hosts`, `suits` its own and is healed within `duration_ms`. Where `events` are given, it
    /// can wait for no other.
    pub(super) fn check(
        &self,
        hosts: &[String],
        suits: Suits,
        events: Option<&[String]>,
        duration_ms: u64,
    ) -> Result<Fault, SectionError> {
        let kind = self.kind.get_ref().as_str();
        if !KINDS.contains(&kind) {
            let message = format!("there is no fault {kind:?}");
            return Err(SectionError::new(self.kind.span(), message, one_of(kind, "kinds", &KINDS)));
        }
        self.check_keys(kind)?;
        let kind = self.kind_among(hosts, suits)?;
        let for_ms = self.for_ms.as_ref().map_or(0, |for_ms| *for_ms.get_ref());
        check_numbers(&kind, for_ms).map_err(|Senseless { key, message, help }| {
            let span = self.spans().into_iter().find(|(name, _)| *name == key).and_then(|(_, span)| span);
            SectionError::new(span.unwrap_or(self.kind.span()), message, help)
        })?;
        let when = self.when.as_ref().map(|when| when.get_ref().check(events, duration_ms)).transpose()?;
        let (at_ms, for_ms) = self.times(duration_ms)?;
        Ok(Fault { at: Duration::from_millis(at_ms), for_: Duration::from_millis(for_ms), kind, when })
    }

    /// Where each key beside `kind`, `at_ms` and `when` stands, if it does.
    fn spans(&self) -> [(&'static str, Option<Range<usize>>); 12] {
        [
            ("between", self.between.as_ref().map(Spanned::span)),
            ("from", self.from.as_ref().map(Spanned::span)),
            ("to", self.to.as_ref().map(Spanned::span)),
            ("host", self.host.as_ref().map(Spanned::span)),
            ("for_ms", self.for_ms.as_ref().map(Spanned::span)),
            ("sync_ms", self.sync_ms.as_ref().map(Spanned::span)),
            ("latency_ms", self.latency_ms.as_ref().map(Spanned::span)),
            ("percent", self.percent.as_ref().map(Spanned::span)),
            ("delay_ms", self.delay_ms.as_ref().map(Spanned::span)),
            ("up_ms", self.up_ms.as_ref().map(Spanned::span)),
            ("commands", self.commands.as_ref().map(Spanned::span)),
            ("offset_ms", self.offset_ms.as_ref().map(Spanned::span)),
        ]
    }

    fn check_keys(&self, kind: &str) -> Result<(), SectionError> {
        let takes = keys(kind);
        let help = format!("a {kind} takes at_ms, {}", takes.join(", "));
        for (key, span) in self.spans() {
            let wanted = takes.contains(&key);
            match span {
                Some(span) if !wanted => return Err(SectionError::new(span, format!("a {kind} takes no {key}"), help)),
                None if wanted => {
                    return Err(SectionError::new(self.kind.span(), format!("this {kind} lacks {key}"), help));
                }
                _ => {}
            }
        }
        match (&self.at_ms, &self.when) {
            (None, None) => {
                let message = format!("this {kind} lacks at_ms");
                Err(SectionError::new(self.kind.span(), message, format!("{help}; or `when` instead of at_ms")))
            }
            (Some(_), Some(when)) => {
                let message = format!("a {kind} with a time and an event to wait for");
                Err(SectionError::new(when.span(), message, "give at_ms or when, not both"))
            }
            _ => Ok(()),
        }
    }

    fn kind_among(&self, hosts: &[String], suits: Suits) -> Result<FaultKind, SectionError> {
        let kind = self.kind.get_ref().as_str();
        if kind == "partition_oneway" {
            let (from, to) = (written(&self.from), written(&self.to));
            let (from, to) = two_sides(from, to, to.span(), hosts)?;
            return Ok(FaultKind::PartitionOneway { from, to });
        }
        if FaultKind::is_of_wire(kind) {
            return self.kind_between(kind, hosts);
        }
        let host = known_host(written(&self.host), hosts)?;
        let wrong = |(message, help)| SectionError::new(written(&self.host).span(), message, help);
        suited(kind, &host, hosts, suits).map_err(wrong)?;
        Ok(match kind {
            "crash" => FaultKind::Crash { host },
            "power_loss" => FaultKind::PowerLoss { host },
            "bounce" => FaultKind::Bounce { host },
            "restart_loop" => FaultKind::RestartLoop { host, up_ms: number(&self.up_ms) },
            "pause" => FaultKind::Pause { host },
            "hang" => FaultKind::Hang { host },
            "refuse" => FaultKind::Refuse { host },
            "disk_slow" => FaultKind::DiskSlow { host, sync_ms: number(&self.sync_ms) },
            "disk_full" => FaultKind::DiskFull { host },
            "disk_error" => FaultKind::DiskError { host },
            "disk_torn_write" => FaultKind::DiskTornWrite { host },
            "bit_rot" => FaultKind::BitRot { host },
            "clock_skew" => FaultKind::ClockSkew { host, offset_ms: *written(&self.offset_ms).get_ref() },
            "clock_jump" => FaultKind::ClockJump { host, offset_ms: *written(&self.offset_ms).get_ref() },
            "redelivery_storm" => FaultKind::RedeliveryStorm { host },
            "poison" => FaultKind::Poison { host, percent: number(&self.percent) },
            "burst" => FaultKind::Burst { host, commands: number(&self.commands) },
            kind => unreachable!("{kind} is among the kinds and can't be read"),
        })
    }

    /// A kind that names the two sides of a wire.
    fn kind_between(&self, kind: &str, hosts: &[String]) -> Result<FaultKind, SectionError> {
        let between = written(&self.between);
        let [a, b] = &between.get_ref()[..] else {
            let message = format!("{} names for the two sides of a {kind}", between.get_ref().len());
            return Err(SectionError::new(between.span(), message, "write between = [\"one\", \"other\"]"));
        };
        let (a, b) = two_sides(a, b, between.span(), hosts)?;
        let percent = || number(&self.percent);
        Ok(match kind {
            "partition" => FaultKind::Partition { a, b },
            "hold" => FaultKind::Hold { a, b },
            "slow_link" => FaultKind::SlowLink { a, b, latency_ms: number(&self.latency_ms) },
            "connection_reset" => FaultKind::ConnectionReset { a, b },
            "frame_drop" => FaultKind::FrameDrop { a, b, percent: percent() },
            "frame_duplicate" => FaultKind::FrameDuplicate { a, b, percent: percent() },
            "frame_delay" => FaultKind::FrameDelay { a, b, percent: percent(), delay_ms: number(&self.delay_ms) },
            "frame_reorder" => FaultKind::FrameReorder { a, b, percent: percent() },
            "frame_corrupt" => FaultKind::FrameCorrupt { a, b, percent: percent() },
            kind => unreachable!("{kind} is of a wire and can't be read"),
        })
    }

    fn times(&self, duration_ms: u64) -> Result<(u64, u64), SectionError> {
        let for_ms = self.for_ms.as_ref().map_or(0, |for_ms| *for_ms.get_ref());
        if let Some(written) = self.for_ms.as_ref().filter(|_| for_ms == 0) {
            return Err(SectionError::new(written.span(), "a fault of no duration", "for_ms is at least 1"));
        }
        // One that waits for an event has no time of its own; whatever it lasts, it is healed with all others.
        let at_ms = self.at_ms.as_ref().map_or(0, |at_ms| *at_ms.get_ref());
        if at_ms.checked_add(for_ms).is_some_and(|end| end <= duration_ms) {
            return Ok((at_ms, for_ms));
        }
        // Whichever of the two is too large by itself is the one to mark; else the length, as it can always be cut.
        let late = if at_ms >= duration_ms { None } else { self.for_ms.as_ref() };
        let span = late.or(self.at_ms.as_ref()).map_or(self.kind.span(), Spanned::span);
        let message = format!("this fault is over at {at_ms} + {for_ms} ms, after the scenario's {duration_ms}");
        let help =
            format!("at_ms + for_ms is at most duration_ms = {duration_ms}, so that all is healed before the drain");
        Err(SectionError::new(span, message, help))
    }
}

impl RawWhen {
    fn check(&self, events: Option<&[String]>, duration_ms: u64) -> Result<When, SectionError> {
        let Self { event, of, nth, after_ms } = self;
        let (name, of) = (event.get_ref().clone(), of.clone());
        let when = When { event: name, of, nth: *nth.get_ref(), after_ms: *after_ms.get_ref() };
        check_when(&when, events, duration_ms).map_err(|Senseless { key, message, help }| {
            let span = match key {
                "nth" => nth.span(),
                "after_ms" => after_ms.span(),
                _ => event.span(),
            };
            SectionError::new(span, message, help)
        })?;
        Ok(when)
    }
}

/// A number that the kind takes; whether it can be is judged later.
fn number(value: &Option<Spanned<u64>>) -> u64 {
    *written(value).get_ref()
}

/// The value of a key that the kind takes.
fn written<T>(value: &Option<T>) -> &T {
    value.as_ref().expect("the keys that a kind takes were checked before")
}

fn known_host(name: &Spanned<String>, hosts: &[String]) -> Result<String, SectionError> {
    let host = name.get_ref();
    if hosts.contains(host) {
        return Ok(host.clone());
    }
    Err(SectionError::new(name.span(), format!("there is no host {host:?}"), one_of(host, "hosts", hosts)))
}

/// Refuses a host to which faults of this kind don't happen: what is wrong, and what would be right.
pub(super) fn suited(kind: &str, host: &str, hosts: &[String], suits: Suits) -> Result<(), (String, String)> {
    if suits(kind, host) {
        return Ok(());
    }
    let suiting: Vec<_> = hosts.iter().filter(|host| suits(kind, host)).collect();
    Err((format!("a {kind} does not happen to {host:?}"), one_of("", "hosts for it", &suiting)))
}

fn two_sides(
    a: &Spanned<String>,
    b: &Spanned<String>,
    both: Range<usize>,
    hosts: &[String],
) -> Result<(String, String), SectionError> {
    let (one, other) = (known_host(a, hosts)?, known_host(b, hosts)?);
    if one == other {
        let message = format!("both sides are {one:?}");
        return Err(SectionError::new(both, message, one_of("", "hosts", hosts)));
    }
    Ok((one, other))
}
