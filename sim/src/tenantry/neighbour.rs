//! The nearest passing run: the plan less one entry. Where the two part, one has what the other lacks, and that is usually
//! the explanation.

use tenantry_reports::record::RunRecord;

use super::run::Setup;
use super::shrink::violates;
use super::story::{shortened, told_act};
use crate::engine::plan::{Entry, What};
use crate::engine::suite::run_all;
use crate::engine::trace::{TraceEntry, first_difference};

/// Entries that are taken out, one at a time: of longer plans the last so many, faults first. A run keeps all its events.
const TRIED_MAX: usize = 24;

/// Letters of one event.
const LINE_MAX: usize = 200;

/// Telling events of each side.
const EVENTS_MAX: usize = 8;

/// A run that passes, beside one that does not.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Neighbour {
    /// The entry that it lacks, in words.
    pub without: String,
    /// The index of the first event that differs.
    pub event: usize,
    /// When that is, in virtual milliseconds.
    pub at_ms: u64,
    /// What happens from there on in the failing run and not in the passing one.
    pub only_here: Vec<String>,
    /// And the other way round.
    pub only_there: Vec<String>,
}

/// The run beside `setup`, which has this `trace`, that does not violate `invariant` and parts from it last.
#[must_use]
pub fn nearest(setup: &Setup, trace: &[TraceEntry], invariant: &str, threads: usize) -> Option<Neighbour> {
    let mut tried: Vec<usize> = (0..setup.plan.entries.len()).filter(|index| !setup.is_heal(*index)).collect();
    // Faults first, then what comes last.
    tried.sort_by_key(|index| (setup.act(*index).is_some(), std::cmp::Reverse(*index)));
    tried.truncate(TRIED_MAX);
    let beside = |index: &usize| {
        let ended = setup.without(*index).run(true);
        let passes = !violates(&ended.finished.record, invariant) && sound(&ended.finished.record);
        let event = first_difference(trace, &ended.trace).filter(|_| passes)?;
        Some((event, compare(&setup.plan.entries[*index], event, trace, &ended.trace)))
    };
    let found = run_all(&tried, threads, beside, |_, _, _| {});
    found.into_iter().flatten().max_by_key(|(event, _)| *event).map(|(_, neighbour)| neighbour)
}

fn sound(record: &RunRecord) -> bool {
    record.error.is_none()
}

fn compare(
    without: &Entry<super::workload::Act>,
    event: usize,
    here: &[TraceEntry],
    there: &[TraceEntry],
) -> Neighbour {
    let at_us = here.get(event).or(there.get(event)).map_or(0, |event| event.at_us);
    // A run that is over at its violation says nothing of what would have come later, and that is no news of the other.
    let end_us = here.last().map_or(0, |event| event.at_us);
    let there = &there[..there.partition_point(|event| event.at_us <= end_us).max(event)];
    let only = |one: &[TraceEntry], other: &[TraceEntry]| {
        let is_new = |event: &&TraceEntry| !other.iter().any(|seen| same(event, seen));
        let told = one.iter().skip(event).filter(|event| is_telling(event)).filter(is_new);
        told.take(EVENTS_MAX).map(|event| shortened(&event.to_string(), LINE_MAX)).collect()
    };
    let what = match &without.what {
        What::Fault(fault) | What::Heal(fault) => fault.kind.to_string(),
        What::Act(act) => told_act(act),
    };
    Neighbour {
        without: format!("{what} at {} ms", without.at_ms),
        event,
        at_ms: at_us / 1000,
        only_here: only(here, there),
        only_there: only(there, here),
    }
}

/// What moved in time only is the same.
fn same(one: &TraceEntry, other: &TraceEntry) -> bool {
    (&one.host, &one.kind, &one.detail) == (&other.host, &other.kind, &other.detail)
}

/// Bytes and syncs tell a person little.
fn is_telling(event: &TraceEntry) -> bool {
    !matches!(event.kind, "net.in" | "net.out" | "net.accept" | "disk.synced" | "ledger.reconciled" | "api.read")
}
