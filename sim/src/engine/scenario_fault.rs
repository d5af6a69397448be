//! `[[fault]]` of a scenario file: one flat table for all kinds, checked into a [`Fault`].
//!
//! The table is flat because serde's tagged enums forget where a value stood. Which keys a kind takes is therefore
//! judged here, by one list, with the place of every key at hand.

use std::ops::Range;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::engine::fault::{Fault, FaultKind, KINDS};
use crate::engine::scenario::DELAY_MS_MAX;
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
    at_ms: Spanned<u64>,
    for_ms: Option<Spanned<u64>>,
    sync_ms: Option<Spanned<u64>>,
}

/// Keys a kind takes beside `kind` and `at_ms`: all of them are needed, and no other is allowed.
fn keys(kind: &str) -> &'static [&'static str] {
    match kind {
        "partition" | "hold" => &["between", "for_ms"],
        "partition_oneway" => &["from", "to", "for_ms"],
        "bounce" | "bit_rot" => &["host"],
        "disk_slow" => &["host", "for_ms", "sync_ms"],
        _ => &["host", "for_ms"],
    }
}

impl RawFault {
    /// The fault it says, if it makes sense among `hosts` and is healed within `duration_ms`.
    pub(super) fn check(&self, hosts: &[String], duration_ms: u64) -> Result<Fault, SectionError> {
        let kind = self.kind.get_ref().as_str();
        if !KINDS.contains(&kind) {
            let message = format!("there is no fault {kind:?}");
            return Err(SectionError::new(self.kind.span(), message, one_of(kind, "kinds", &KINDS)));
        }
        self.check_keys(kind)?;
        let kind = self.kind_among(hosts)?;
        let (at_ms, for_ms) = self.times(duration_ms)?;
        Ok(Fault { at: Duration::from_millis(at_ms), for_: Duration::from_millis(for_ms), kind })
    }

    fn check_keys(&self, kind: &str) -> Result<(), SectionError> {
        let given: [(&str, Option<Range<usize>>); 6] = [
            ("between", self.between.as_ref().map(Spanned::span)),
            ("from", self.from.as_ref().map(Spanned::span)),
            ("to", self.to.as_ref().map(Spanned::span)),
            ("host", self.host.as_ref().map(Spanned::span)),
            ("for_ms", self.for_ms.as_ref().map(Spanned::span)),
            ("sync_ms", self.sync_ms.as_ref().map(Spanned::span)),
        ];
        let takes = keys(kind);
        let help = format!("a {kind} takes at_ms, {}", takes.join(", "));
        for (key, span) in given {
            let wanted = takes.contains(&key);
            match span {
                Some(span) if !wanted => return Err(SectionError::new(span, format!("a {kind} takes no {key}"), help)),
                None if wanted => {
                    return Err(SectionError::new(self.kind.span(), format!("this {kind} lacks {key}"), help));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn kind_among(&self, hosts: &[String]) -> Result<FaultKind, SectionError> {
        let known = |name: &Spanned<String>| known_host(name, hosts);
        let (host, from, to) = (self.host.as_ref(), self.from.as_ref(), self.to.as_ref());
        match (self.kind.get_ref().as_str(), host, from, to, &self.between) {
            ("crash", Some(host), ..) => Ok(FaultKind::Crash { host: known(host)? }),
            ("power_loss", Some(host), ..) => Ok(FaultKind::PowerLoss { host: known(host)? }),
            ("bounce", Some(host), ..) => Ok(FaultKind::Bounce { host: known(host)? }),
            ("disk_slow", Some(host), ..) => {
                Ok(FaultKind::DiskSlow { host: known(host)?, sync_ms: self.slow_sync_ms()? })
            }
            ("disk_full", Some(host), ..) => Ok(FaultKind::DiskFull { host: known(host)? }),
            ("disk_error", Some(host), ..) => Ok(FaultKind::DiskError { host: known(host)? }),
            ("bit_rot", Some(host), ..) => Ok(FaultKind::BitRot { host: known(host)? }),
            ("partition_oneway", _, Some(from), Some(to), _) => {
                let (from, to) = two_sides(from, to, to.span(), hosts)?;
                Ok(FaultKind::PartitionOneway { from, to })
            }
            (kind, .., Some(between)) => {
                let [a, b] = &between.get_ref()[..] else {
                    let message = format!("{} names for the two sides of a {kind}", between.get_ref().len());
                    return Err(SectionError::new(between.span(), message, "write between = [\"one\", \"other\"]"));
                };
                let (a, b) = two_sides(a, b, between.span(), hosts)?;
                Ok(if kind == "hold" { FaultKind::Hold { a, b } } else { FaultKind::Partition { a, b } })
            }
            (kind, ..) => unreachable!("the keys of a {kind} were checked before"),
        }
    }

    fn slow_sync_ms(&self) -> Result<u64, SectionError> {
        let written = self.sync_ms.as_ref().expect("the keys of a disk_slow were checked before");
        match *written.get_ref() {
            sync_ms @ 1..=DELAY_MS_MAX => Ok(sync_ms),
            sync_ms => {
                let help = format!("sync_ms is at least 1 and at most {DELAY_MS_MAX}");
                Err(SectionError::new(written.span(), format!("sync_ms is {sync_ms}"), help))
            }
        }
    }

    fn times(&self, duration_ms: u64) -> Result<(u64, u64), SectionError> {
        let at_ms = *self.at_ms.get_ref();
        let for_ms = self.for_ms.as_ref().map_or(0, |for_ms| *for_ms.get_ref());
        if let Some(written) = self.for_ms.as_ref().filter(|_| for_ms == 0) {
            return Err(SectionError::new(written.span(), "a fault of no duration", "for_ms is at least 1"));
        }
        if at_ms.checked_add(for_ms).is_some_and(|end| end <= duration_ms) {
            return Ok((at_ms, for_ms));
        }
        // Whichever of the two is too large by itself is the one to mark; else the length, as it can always be cut.
        let late = if at_ms >= duration_ms { None } else { self.for_ms.as_ref() };
        let message = format!("this fault is over at {at_ms} + {for_ms} ms, after the scenario's {duration_ms}");
        let help =
            format!("at_ms + for_ms is at most duration_ms = {duration_ms}, so that all is healed before the drain");
        Err(SectionError::new(late.map_or(self.at_ms.span(), Spanned::span), message, help))
    }
}

fn known_host(name: &Spanned<String>, hosts: &[String]) -> Result<String, SectionError> {
    let host = name.get_ref();
    if hosts.contains(host) {
        return Ok(host.clone());
    }
    Err(SectionError::new(name.span(), format!("there is no host {host:?}"), one_of(host, "hosts", hosts)))
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
