//! Messages, put together from what one host wrote and another read.
//!
//! A chunk that was read is the oldest one of that content which was written to that host and not read yet. Where none is, it is
//! a part of one: a reader's buffer ends before a long chunk does, and the parts add up to it. What nobody read was lost; why,
//! the faults that were there say.

use std::collections::{BTreeMap, VecDeque};

use tenantry_reports::causal::{Sent, Tracing};
use tenantry_reports::report::FaultWindow;
use tenantry_reports::time::VirtualUs;

use super::super::carried::{Carries, HEARTBEAT};
use super::super::run::Ended;
use crate::engine::trace::TraceEntry;

/// What is written less than this before the end of a run may still be on its way, in virtual microseconds.
const ON_ITS_WAY_US: u64 = 100_000;

/// Parts of one chunk, at most: a chunk is written at once and no longer than a few buffers.
const PARTS_MAX: usize = 64;

/// A chunk that was written.
struct Chunk<'t> {
    from: &'t str,
    to: &'t str,
    at: u64,
    bytes: u64,
    digest: &'t str,
    received: Option<u64>,
}

/// Who wrote to whom.
type Pair<'t> = (&'t str, &'t str);

/// Adds all messages of `ended` to `tracing`.
pub(super) fn add(ended: &Ended, faults: &[FaultWindow], end: VirtualUs, tracing: &mut Tracing) {
    let nothing = Carries { words: "a part of something".into(), commands: Vec::new() };
    for chunk in chunks(&ended.trace) {
        let Carries { words, commands } = ended.carried.get(chunk.digest).unwrap_or(&nothing);
        if words == HEARTBEAT {
            tracing.heartbeat();
            continue;
        }
        let lost = chunk.received.is_none() && chunk.at + ON_ITS_WAY_US < end.0;
        let why = lost.then(|| why(&chunk, faults));
        tracing.message(&Sent {
            from: chunk.from,
            to: chunk.to,
            sent_at: VirtualUs(chunk.at),
            received_at: chunk.received.map(VirtualUs),
            lost: why.as_deref(),
            carries: words,
            commands,
        });
    }
}

fn chunks(trace: &[TraceEntry]) -> Vec<Chunk<'_>> {
    let mut chunks: Vec<Chunk> = Vec::new();
    let mut unread: BTreeMap<(Pair, &str), VecDeque<usize>> = BTreeMap::new();
    // Chunks of a pair in the order in which they were written, and what was read that was none.
    let mut written: BTreeMap<Pair, VecDeque<usize>> = BTreeMap::new();
    let mut parts: BTreeMap<Pair, VecDeque<u64>> = BTreeMap::new();
    for event in trace {
        let Some((peer, bytes, digest)) = parsed(event) else { continue };
        let (host, at) = (event.host.as_str(), event.at_us);
        if event.kind == "net.out" {
            let pair = (host, peer);
            unread.entry((pair, digest)).or_default().push_back(chunks.len());
            written.entry(pair).or_default().push_back(chunks.len());
            chunks.push(Chunk { from: host, to: peer, at, bytes, digest, received: None });
            continue;
        }
        let pair = (peer, host);
        if let Some(place) = unread.get_mut(&(pair, digest)).and_then(VecDeque::pop_front) {
            chunks[place].received = Some(at);
            continue;
        }
        let parts = parts.entry(pair).or_default();
        parts.push_back(bytes);
        if parts.len() > PARTS_MAX {
            parts.pop_front();
        }
        let written = written.entry(pair).or_default();
        while written.front().is_some_and(|place| chunks[*place].received.is_some()) {
            written.pop_front();
        }
        // The parts that came last, as many as add up to something.
        let mut sums = Vec::new();
        parts.iter().rev().fold(0, |sum, part| {
            sums.push(sum + part);
            sum + part
        });
        let whole = written.iter().find(|place| {
            let chunk = &chunks[**place];
            chunk.received.is_none() && sums.contains(&chunk.bytes)
        });
        if let Some(&place) = whole {
            chunks[place].received = Some(at);
            if let Some(of_it) = unread.get_mut(&(pair, chunks[place].digest)) {
                of_it.retain(|other| *other != place);
            }
            parts.clear();
        }
    }
    chunks
}

/// `broker 12 bytes 4994a892` of an event of the wire; `None` of others and of an end of stream.
fn parsed(event: &TraceEntry) -> Option<(&str, u64, &str)> {
    if !matches!(event.kind, "net.in" | "net.out") {
        return None;
    }
    let mut parts = event.detail.split(' ');
    let (peer, bytes) = (parts.next()?, parts.next()?.parse().ok()?);
    (bytes > 0).then_some((peer, bytes, parts.nth(1)?))
}

/// Why a chunk was never read: the fault that was there when it was on its way, or that its connection ended.
fn why(chunk: &Chunk<'_>, faults: &[FaultWindow]) -> String {
    let there = |fault: &&FaultWindow| {
        let when = fault.from_us.0 <= chunk.at + ON_ITS_WAY_US && chunk.at <= fault.to_us.0;
        let is = |host: &String| host == chunk.from || host == chunk.to;
        when && fault.felt > 0 && fault.hosts.iter().all(is) && !fault.kind.starts_with("disk")
    };
    faults.iter().find(there).map_or_else(|| "its connection ended".to_owned(), |fault| fault.words.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(ms: u64, host: &str, kind: &'static str, detail: &str) -> TraceEntry {
        TraceEntry { at_us: ms * 1000, host: host.into(), kind, detail: detail.into() }
    }

    fn told(trace: &[TraceEntry]) -> Vec<(u64, Option<u64>)> {
        chunks(trace).iter().map(|chunk| (chunk.at / 1000, chunk.received.map(|at| at / 1000))).collect()
    }

    #[test]
    fn a_chunk_is_read_once_and_the_oldest_of_equal_ones_first() {
        let trace = [
            wire(1, "a", "net.out", "b 9 bytes aa"),
            wire(2, "a", "net.out", "b 9 bytes aa"),
            wire(3, "b", "net.in", "a 9 bytes aa"),
            wire(4, "a", "net.in", "b 9 bytes aa"),
        ];
        assert_eq!(told(&trace), [(1, Some(3)), (2, None)], "and what came from elsewhere is not theirs");
    }

    #[test]
    fn parts_that_add_up_are_a_chunk() {
        let trace = [
            wire(1, "a", "net.out", "b 5 bytes cc"),
            wire(1, "a", "net.out", "b 1070 bytes aa"),
            wire(3, "b", "net.in", "a 263 bytes xx"),
            wire(4, "b", "net.in", "a 807 bytes yy"),
            wire(5, "b", "net.in", "a 0 bytes zz"),
        ];
        assert_eq!(told(&trace), [(1, None), (1, Some(4))]);
    }

    #[test]
    fn what_is_lost_names_the_fault_that_was_in_its_way() {
        let chunk = Chunk { from: "a", to: "b", at: 5_000, bytes: 9, digest: "aa", received: None };
        let fault = |hosts: &[&str], felt| FaultWindow {
            entry: None,
            kind: "partition".into(),
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
            from_us: VirtualUs(0),
            to_us: VirtualUs(6_000),
            felt,
            words: format!("partition {}", hosts.join(" <-> ")),
        };
        let faults = [fault(&["a", "c"], 3), fault(&["a", "b"], 0), fault(&["b", "a"], 1)];
        assert_eq!(why(&chunk, &faults), "partition b <-> a");
        assert_eq!(why(&chunk, &faults[..2]), "its connection ended");
    }
}
