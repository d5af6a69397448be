//! What chunks on the wire carry, for reports: which call, and about which commands.
//!
//! The trace knows a chunk by its digest only, for its digest covers no more than that. Where a run is to be told in full,
//! what could be read of each is kept beside it, under that digest.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tenantry_system::rpc::Frame;

/// A frame's length stands before it, in this many bytes.
const LENGTH: usize = 4;

/// Commands that are named of one chunk: as many as one lease has at most.
const IDS_MAX: usize = 64;

/// What can be asked of each service, in the order of its protocol: the first byte of a request.
const CALLS: [(&str, &[&str]); 4] = [
    ("auth", &["grant", "recheck", "keys", "in force", "break glass", "approvals", "operator"]),
    (
        "broker",
        &["publish", "fetch", "settle", "standing", "pause", "dead letters", "dead letter", "replay", "discard"],
    ),
    ("ledger", &["apply", "outcome", "dry run", "state", "journal", "reconcile", "pause", "data keys"]),
    ("audit", &["append", "events", "alerts", "search alerts", "search", "checkpoint", "tile"]),
];

/// What one chunk carries.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Carries {
    /// In words: `publish`, `HTTP 202`, `heartbeat`.
    pub words: String,
    /// Ids of the commands that can be read in it.
    pub commands: Vec<String>,
}

/// What chunks carry, by their digests as the trace has them; nothing unless it is wanted.
#[derive(Debug, Clone, Default)]
pub struct Carried(Option<Arc<Mutex<BTreeMap<String, Carries>>>>);

impl Carried {
    /// One that keeps something, if it is `wanted`.
    #[must_use]
    pub fn new(wanted: bool) -> Self {
        Self(wanted.then(Arc::default))
    }

    /// A chunk goes out to `peer`.
    pub fn note(&self, peer: &str, chunk: &[u8], digest: &str) {
        let Some(chunks) = &self.0 else { return };
        chunks.lock().expect("no holder panics").insert(digest.to_owned(), read(peer, chunk));
    }

    /// All that was noted.
    ///
    /// # Panics
    /// Never: no holder panics.
    #[must_use]
    pub fn all(&self) -> BTreeMap<String, Carries> {
        self.0.as_ref().map_or_else(BTreeMap::new, |chunks| chunks.lock().expect("no holder panics").clone())
    }
}

/// What a chunk to `peer` carries, as far as it can be read.
fn read(peer: &str, chunk: &[u8]) -> Carries {
    let commands = ids(chunk).into_iter().take(IDS_MAX).collect();
    let words = http(chunk).unwrap_or_else(|| frames(peer, chunk));
    Carries { words, commands }
}

/// The first line of an HTTP message, without what differs from one to the next.
fn http(chunk: &[u8]) -> Option<String> {
    let line = chunk.split(|byte| *byte == b'\r').next()?;
    let line = std::str::from_utf8(line).ok()?;
    let mut parts = line.split(' ');
    match (parts.next()?, parts.next()?) {
        ("HTTP/1.1", status) => Some(format!("HTTP {status}")),
        (method @ ("GET" | "POST" | "PUT" | "DELETE"), path) => {
            let path = path.split('?').next().unwrap_or(path);
            let kept: Vec<_> = path.split('/').take(3).collect();
            Some(format!("{method} {}", kept.join("/")))
        }
        _ => None,
    }
}

/// What the frames in a chunk ask, each sort once.
fn frames(peer: &str, chunk: &[u8]) -> String {
    let mut told: Vec<String> = Vec::new();
    let mut rest = chunk;
    while let Some((length, after)) = rest.split_first_chunk::<LENGTH>() {
        let Some((frame, next)) = after.split_at_checked(u32::from_be_bytes(*length) as usize) else { break };
        rest = next;
        let words = match Frame::decode(Bytes::copy_from_slice(frame)) {
            Ok(Frame::Hello { .. }) => "hello".to_owned(),
            Ok(Frame::Refused(_)) => "refused".to_owned(),
            Ok(Frame::Heartbeat) => HEARTBEAT.to_owned(),
            Ok(Frame::Request { body, .. }) => call(peer, body.first().copied()),
            Ok(Frame::Reply { .. }) => "reply".to_owned(),
            _ => "what nobody can read".to_owned(),
        };
        if !told.contains(&words) {
            told.push(words);
        }
    }
    if told.len() > 1 {
        told.retain(|words| words != HEARTBEAT);
    }
    if told.is_empty() { "a part of something".to_owned() } else { told.join(", ") }
}

/// What a message is called that says nothing but that its sender lives.
pub const HEARTBEAT: &str = "heartbeat";

fn call(peer: &str, kind: Option<u8>) -> String {
    let calls = CALLS.iter().find(|(service, _)| *service == peer).map_or(&[][..], |(_, calls)| calls);
    let named = kind.and_then(|kind| calls.get(usize::from(kind)));
    named.map_or_else(|| "a call".to_owned(), |name| (*name).to_owned())
}

/// The ids of the messages whose JSON can be read in `bytes`, and of a command that a path names.
fn ids(bytes: &[u8]) -> BTreeSet<String> {
    let after = |key: &'static [u8]| {
        let starts = bytes.windows(key.len()).enumerate().filter(move |(_, part)| *part == key);
        starts.map(move |(at, _)| at + key.len())
    };
    let id = |start: usize| {
        let of_id = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let id: Vec<u8> = bytes[start..].iter().take(64).take_while(of_id).copied().collect();
        String::from_utf8(id).ok().filter(|id| !id.is_empty())
    };
    after(b"\"message_id\":\"").chain(after(b"/commands/")).filter_map(id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(frames: &[Frame]) -> Vec<u8> {
        let one = |frame: &Frame| {
            let encoded = frame.encode();
            [&(encoded.len() as u32).to_be_bytes()[..], &encoded].concat()
        };
        frames.iter().flat_map(one).collect()
    }

    fn told(peer: &str, chunk: &[u8]) -> (String, Vec<String>) {
        let Carries { words, commands } = read(peer, chunk);
        (words, commands)
    }

    #[test]
    fn a_chunk_says_what_it_asks_and_about_which_commands() {
        let body = Bytes::from_static(b"\x00..{\"message_id\":\"m-7\",\"x\":1}");
        let publish = Frame::Request { id: 1, deadline_ms: 9, body };
        assert_eq!(told("broker", &framed(&[Frame::Heartbeat, publish])), ("publish".into(), vec!["m-7".into()]));
        assert_eq!(told("broker", &framed(&[Frame::Heartbeat])), (HEARTBEAT.into(), vec![]));
        let posted = b"POST /v1/commands HTTP/1.1\r\nhost: x\r\n\r\n{\"message_id\":\"m-1\"}";
        assert_eq!(told("producer", posted), ("POST /v1/commands".into(), vec!["m-1".into()]));
        let asked = b"GET /v1/commands/m-2?wait_ms=1 HTTP/1.1\r\n\r\n";
        assert_eq!(told("producer", asked), ("GET /v1/commands".into(), vec!["m-2".into()]));
        assert_eq!(told("operators", b"HTTP/1.1 202 Accepted\r\n\r\n"), ("HTTP 202".into(), vec![]));
    }

    #[test]
    fn nothing_is_kept_unless_it_is_wanted() {
        let (off, on) = (Carried::default(), Carried::new(true));
        [&off, &on].iter().for_each(|carried| carried.note("auth", b"x", "ab"));
        assert_eq!((off.all().len(), on.all().len()), (0, 1));
    }
}
