//! Trouble with single frames of the calls between services: lost, doubled, late, overtaken, damaged. And with what they carry:
//! requests that a service leaves unanswered, or answers with an error; messages that kill whoever is handed them.
//!
//! It stands where a proxy between two services would: above encryption, on the way out, and it reads the frames. HTTP is
//! none of its business. What becomes of a frame is keyed by what it is - the kind of request and the messages it is about,
//! else its content - and by how often that was sent to this host before; never by its number on the connection.
//!
//! A service that hangs or refuses is one whose network is fine: connections open, heartbeats come, and requests on their way to
//! it get no answer, or at once an error that says that nothing was done. It does nothing of what it is asked meanwhile; what
//! it was asked before it answers. A message that kills is known by its id, wherever it is handed out.
//!
//! A damaged frame is one that nobody can read: its first byte is of no kind there is. Bits that turn over within a frame are
//! not tried: TLS and TCP have checksums for them, and this protocol, which runs inside of those, has none of its own.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker, ready};

use async_trait::async_trait;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use tenantry_system::call::CallError;
use tenantry_system::capability::{BoxStream, Channel, Incoming, Listener, Network};
use tenantry_system::rights::Role;
use tenantry_system::rpc::{Frame, MAX_FRAME_BYTES};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::engine::dice::Dice;
use crate::engine::fault::FaultKind;
use crate::engine::trace::Trace;
use crate::engine::weather::Weather;

/// A frame's length stands before it, in this many bytes.
const LENGTH: usize = 4;

/// Bytes that may wait behind a late frame; then the writer waits too.
const WAITING_MAX: usize = MAX_FRAME_BYTES;

/// A frame's name has the ids of at most so many messages.
const IDS_MAX: usize = 4;

/// Who hands out messages.
const BROKER: &str = "broker";

/// Whether a kind of fault acts here.
pub(super) fn acts(kind: &FaultKind) -> bool {
    let on_content = matches!(kind, FaultKind::Hang { .. } | FaultKind::Refuse { .. } | FaultKind::Poison { .. });
    on_content || kind.of_frames().is_some()
}

/// How often each frame of each name was sent.
pub(super) type Counts = Arc<Mutex<BTreeMap<String, u64>>>;

/// Who decides about the frames of one host.
#[derive(Clone)]
pub(super) struct Trouble {
    pub(super) host: Arc<str>,
    pub(super) dice: Dice,
    pub(super) weather: Weather,
    pub(super) trace: Trace,
    pub(super) counts: Counts,
    /// Told when the host's process is handed what kills it.
    pub(super) poisoned: Arc<Notify>,
}

/// A network whose calls have trouble with their frames.
pub(super) struct Troubled {
    inner: Arc<dyn Network>,
    trouble: Trouble,
}

impl Troubled {
    pub(super) fn new(inner: Arc<dyn Network>, trouble: Trouble) -> Self {
        Self { inner, trouble }
    }
}

#[async_trait]
impl Network for Troubled {
    async fn bind(&self, address: &str) -> io::Result<Box<dyn Listener>> {
        let (inner, trouble) = (self.inner.bind(address).await?, self.trouble.clone());
        Ok(Box::new(TroubledListener { inner, trouble }))
    }

    async fn bind_public(&self, address: &str) -> io::Result<Box<dyn Listener>> {
        self.inner.bind_public(address).await
    }

    async fn connect(&self, address: &str, server: Role) -> io::Result<Channel> {
        let channel = self.inner.connect(address, server).await?;
        // The producer is called over HTTP, and by nobody else.
        if server == Role::Producer {
            return Ok(channel);
        }
        let (peer, _) = super::world::host_and_port(address)?;
        Ok(troubled(channel, peer, &self.trouble))
    }

    async fn connect_outside(&self, address: &str) -> io::Result<BoxStream> {
        self.inner.connect_outside(address).await
    }
}

struct TroubledListener {
    inner: Box<dyn Listener>,
    trouble: Trouble,
}

#[async_trait]
impl Listener for TroubledListener {
    async fn accept(&self) -> io::Result<Incoming> {
        let incoming = self.inner.accept().await?;
        let (peer, trouble) = (incoming.peer.clone(), self.trouble.clone());
        Ok(Incoming::new(peer.clone(), async move { Ok(troubled(incoming.open().await?, &peer, &trouble)) }))
    }

    fn local_address(&self) -> String {
        self.inner.local_address()
    }
}

fn troubled(channel: Channel, peer: &str, trouble: &Trouble) -> Channel {
    let stream = Frames {
        inner: channel.stream,
        peer: peer.into(),
        trouble: trouble.clone(),
        going: Cutter::default(),
        coming: Cutter::default(),
        asked: BTreeMap::new(),
        refusals: VecDeque::new(),
        reader: None,
        waiting: VecDeque::new(),
        overtaken: None,
        timer: None,
    };
    Channel { stream: Box::new(stream), ..channel }
}

/// A stream that is cut into frames, each of which has its fate on the way out.
struct Frames {
    inner: BoxStream,
    peer: Box<str>,
    trouble: Trouble,
    going: Cutter,
    coming: Cutter,
    /// What was asked of us under each id, for the names of our replies.
    asked: BTreeMap<u64, String>,
    /// Frames on their way in that nobody sent, or what is left of them.
    refusals: VecDeque<Bytes>,
    /// Who waits for something to come in.
    reader: Option<Waker>,
    /// Frames on their way out, or what is left of them, with the time before which they don't go.
    waiting: VecDeque<(Instant, Bytes)>,
    /// It lets the next one pass.
    overtaken: Option<Bytes>,
    timer: Option<Pin<Box<Sleep>>>,
}

/// Cuts a stream of bytes into frames, each with its length before it.
#[derive(Default)]
struct Cutter(Vec<u8>);

impl Cutter {
    /// Whether the last frame is whole.
    fn is_between(&self) -> bool {
        self.0.is_empty()
    }

    /// The frames that are whole with `data`.
    fn cut(&mut self, data: &[u8]) -> Vec<Vec<u8>> {
        self.0.extend_from_slice(data);
        let mut frames = Vec::new();
        while let Some(length) = self.0.first_chunk::<LENGTH>() {
            let whole = LENGTH + u32::from_be_bytes(*length) as usize;
            if self.0.len() < whole {
                break;
            }
            let rest = self.0.split_off(whole);
            frames.push(std::mem::replace(&mut self.0, rest));
        }
        frames
    }
}

/// The ids of the messages that can be read in `content`.
fn ids(content: &[u8]) -> impl Iterator<Item = String> {
    const KEY: &[u8] = b"\"message_id\":\"";
    let starts = content.windows(KEY.len()).enumerate().filter(|(_, part)| *part == KEY).map(|(at, _)| at + KEY.len());
    starts.map(|at| {
        let id = content[at..].split(|byte| *byte == b'"').next().unwrap_or_default();
        String::from_utf8_lossy(id).into_owned()
    })
}

/// What a request is about: the kind of it, and the messages whose ids can be read in it; without any, all of its content.
fn name_of(request: &[u8]) -> String {
    let ids: Vec<_> = ids(request).take(IDS_MAX).collect();
    let kind = request.first().copied().unwrap_or_default();
    if ids.is_empty() {
        format!("{kind} {}", hex::encode(&Sha256::digest(request)[..8]))
    } else {
        format!("{kind} {}", ids.join(" "))
    }
}

impl Frames {
    /// What a frame on its way out is called; nothing of a greeting or a refusal, whose fate is a connection's.
    fn name(&mut self, frame: &[u8]) -> Option<String> {
        match Frame::decode(Bytes::copy_from_slice(&frame[LENGTH..])).ok()? {
            Frame::Hello { .. } | Frame::Refused(_) => None,
            Frame::Heartbeat => Some("heartbeat".into()),
            Frame::Request { body, .. } => Some(format!("request {}", name_of(&body))),
            Frame::Reply { id, .. } => {
                let asked = self.asked.remove(&id);
                Some(format!("reply to {}", asked.as_deref().unwrap_or("nothing")))
            }
        }
    }

    /// Whether a request to whoever does not answer requests just now is dealt with.
    fn is_left_unanswered(&mut self, frame: &[u8]) -> bool {
        let Ok(Frame::Request { id, body, .. }) = Frame::decode(Bytes::copy_from_slice(&frame[LENGTH..])) else {
            return false;
        };
        let Trouble { host, weather, trace, .. } = &self.trouble;
        let told = |kind| trace.record(super::world::now(), host, kind, &format!("{} {}", self.peer, name_of(&body)));
        if weather.hangs(&self.peer) {
            told("request.unanswered");
            return true;
        }
        if !weather.refuses(&self.peer) {
            return false;
        }
        told("request.refused");
        let reply: Result<(), _> = Err(CallError::failed(format!("{} is not available", self.peer)));
        let body = postcard::to_stdvec(&reply).expect("an error becomes bytes").into();
        let reply = Frame::Reply { id, body }.encode();
        let length = u32::try_from(reply.len()).expect("a short reply").to_be_bytes();
        self.refusals.push_back([&length[..], &reply].concat().into());
        self.reader.take().into_iter().for_each(Waker::wake);
        true
    }

    /// Looks whether a frame that has come in hands out what kills this process.
    fn taste(&self, frame: &[u8]) {
        let Trouble { host, dice, weather, trace, poisoned, .. } = &self.trouble;
        if &*self.peer != BROKER || !weather.has_poison(host) {
            return;
        }
        if let Some(id) = ids(frame).find(|id| weather.poisons(dice, host, id)) {
            trace.record(super::world::now(), host, "message.killed", &id);
            poisoned.notify_one();
        }
    }

    /// Sends a frame on its way, or not.
    fn send(&mut self, mut frame: Vec<u8>) {
        if self.is_left_unanswered(&frame) {
            return;
        }
        let named = self.name(&frame);
        let Trouble { host, dice, weather, trace, counts, .. } = &self.trouble;
        let fate = named.as_ref().map(|name| {
            let mut counts = counts.lock().expect("no holder panics");
            let count = counts.entry(format!("{} {name}", self.peer)).or_default();
            *count += 1;
            weather.fate(dice, host, &self.peer, name, *count)
        });
        let (fate, name) = (fate.unwrap_or_default(), named.unwrap_or_default());
        let told =
            |kind, more: &str| trace.record(super::world::now(), host, kind, &format!("{} {name}{more}", self.peer));
        if fate.dropped {
            told("frame.dropped", "");
            return;
        }
        if fate.damaged {
            told("frame.damaged", "");
            frame[LENGTH] = u8::MAX;
        }
        if !fate.delay.is_zero() {
            told("frame.late", &format!(" by {} ms", fate.delay.as_millis()));
        }
        let frame = Bytes::from(frame);
        if fate.overtaken && self.overtaken.is_none() {
            told("frame.overtaken", "");
            self.overtaken = Some(frame);
            return;
        }
        if fate.doubled {
            told("frame.doubled", "");
        }
        // Whatever is behind a late frame waits with it, as behind a lost segment that has to be sent again.
        let before = self.waiting.back().map_or_else(Instant::now, |(at, _)| *at);
        let at = before.max(Instant::now() + fate.delay);
        self.waiting.extend(fate.doubled.then(|| (at, frame.clone())));
        self.waiting.push_back((at, frame));
        self.waiting.extend(self.overtaken.take().map(|late| (at, late)));
    }

    /// Writes what may go. Ready when all of it went.
    fn poll_waiting(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some((at, frame)) = self.waiting.front_mut() {
            if *at > Instant::now() {
                let timer = self.timer.insert(Box::pin(sleep_until(*at)));
                ready!(timer.as_mut().poll(cx));
            }
            let written = ready!(Pin::new(&mut self.inner).poll_write(cx, frame))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let _ = frame.split_to(written);
            if frame.is_empty() {
                self.waiting.pop_front();
            }
        }
        self.timer = None;
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Frames {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        // One that was begun is read to its end, and none begins within another.
        if self.coming.is_between()
            && let Some(refusal) = self.refusals.front_mut()
        {
            let some = refusal.split_to(refusal.len().min(buf.remaining()));
            buf.put_slice(&some);
            if refusal.is_empty() {
                self.refusals.pop_front();
            }
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(cx, buf);
        if read.is_pending() {
            self.reader = Some(cx.waker().clone());
        }
        ready!(read)?;
        for frame in self.coming.cut(&buf.filled()[before..]) {
            self.taste(&frame);
            if let Ok(Frame::Request { id, body, .. }) = Frame::decode(Bytes::copy_from_slice(&frame[LENGTH..])) {
                let name = name_of(&body);
                self.asked.insert(id, name);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Frames {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        if self.waiting.iter().map(|(_, frame)| frame.len()).sum::<usize>() > WAITING_MAX {
            ready!(self.poll_waiting(cx))?;
        }
        for frame in self.going.cut(data) {
            self.send(frame);
        }
        if let Poll::Ready(Err(error)) = self.poll_waiting(cx) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(data.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_waiting(cx))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_waiting(cx))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::engine::fault::Fault;

    fn request(id: u64, body: &str) -> Vec<u8> {
        let frame = Frame::Request { id, deadline_ms: 9, body: Bytes::copy_from_slice(body.as_bytes()) }.encode();
        [&(frame.len() as u32).to_be_bytes()[..], &frame].concat()
    }

    /// What arrives at "b", of two requests and a heartbeat from "a", and after how many milliseconds all of it has.
    async fn arrives(kinds: &[FaultKind]) -> (Vec<String>, u128) {
        let weather = Weather::default();
        for kind in kinds {
            let (at, for_) = (Duration::ZERO, Duration::from_secs(9));
            weather.begin(&Fault { at, for_, kind: kind.clone(), when: None }, at);
        }
        let (near, mut far) = tokio::io::duplex(4096);
        let (dice, trace, poisoned) = (Dice::new(1), Trace::new(false), Arc::default());
        let trouble = Trouble { host: "a".into(), dice, weather, trace, counts: Counts::default(), poisoned };
        let mut channel = troubled(Channel::plain(near), "b", &trouble);
        let begun = Instant::now();
        let heartbeat = [&1_u32.to_be_bytes()[..], &Frame::Heartbeat.encode()].concat();
        let sent = [request(1, "one"), request(2, r#"{"message_id":"m-2"}"#), heartbeat].concat();
        // In pieces that are no frames.
        for piece in sent.chunks(7) {
            channel.stream.write_all(piece).await.unwrap();
        }
        channel.stream.flush().await.unwrap();
        channel.stream.shutdown().await.unwrap();
        let took = begun.elapsed().as_millis();
        drop(channel);
        let mut came = Vec::new();
        far.read_to_end(&mut came).await.unwrap();
        let told = |frame: Vec<u8>| match Frame::decode(Bytes::from(frame).slice(LENGTH..)) {
            Ok(Frame::Request { id, .. }) => id.to_string(),
            Ok(Frame::Heartbeat) => "heartbeat".to_owned(),
            other => format!("{}", other.is_ok()),
        };
        (Cutter::default().cut(&came).into_iter().map(told).collect(), took)
    }

    /// What "a" reads as answers to two requests to "b", one before and one after a word from "b" that came in two pieces.
    async fn answered(kind: FaultKind) -> Vec<Frame> {
        let weather = Weather::default();
        let (at, for_) = (Duration::ZERO, Duration::from_secs(9));
        weather.begin(&Fault { at, for_, kind, when: None }, at);
        let (near, mut far) = tokio::io::duplex(4096);
        let (dice, trace, poisoned) = (Dice::new(1), Trace::new(false), Arc::default());
        let trouble = Trouble { host: "a".into(), dice, weather, trace, counts: Counts::default(), poisoned };
        let mut stream = troubled(Channel::plain(near), "b", &trouble).stream;
        stream.write_all(&request(1, "one")).await.unwrap();
        let word = Frame::Reply { id: 7, body: Bytes::from_static(b"late") }.encode();
        let word = [&(word.len() as u32).to_be_bytes()[..], &word].concat();
        far.write_all(&word[..6]).await.unwrap();
        let mut came = Vec::new();
        let mut read = async |stream: &mut BoxStream| {
            let mut chunk = [0; 64];
            while let Ok(Ok(read)) = tokio::time::timeout(Duration::from_millis(9), stream.read(&mut chunk)).await {
                came.extend_from_slice(&chunk[..read]);
            }
        };
        read(&mut stream).await;
        stream.write_all(&request(2, "two")).await.unwrap();
        read(&mut stream).await;
        far.write_all(&word[6..]).await.unwrap();
        read(&mut stream).await;
        drop(stream);
        let mut sent = Vec::new();
        far.read_to_end(&mut sent).await.unwrap();
        assert!(sent.is_empty(), "nothing of it arrives: {sent:?}");
        let frames = Cutter::default().cut(&came).into_iter();
        frames.map(|frame| Frame::decode(Bytes::from(frame).slice(LENGTH..)).unwrap()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_read_as_an_answer_and_never_within_another_frame() {
        let frames = answered(FaultKind::Refuse { host: "b".into() }).await;
        assert_eq!(frames.len(), 3, "{frames:?}");
        let Frame::Reply { id: 1, body } = &frames[0] else { panic!("{frames:?}") };
        let answer: Result<u64, CallError> = postcard::from_bytes(body).unwrap();
        assert_eq!(answer, Err(CallError::failed("b is not available")), "it certainly did not happen");
        assert!(matches!(&frames[1], Frame::Reply { id: 7, .. }), "what had begun comes to its end first: {frames:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_hangs_is_asked_and_does_not_answer_and_is_heard() {
        assert_eq!(arrives(&[FaultKind::Hang { host: "b".into() }]).await.0, ["heartbeat"]);
        assert_eq!(arrives(&[FaultKind::Hang { host: "a".into() }]).await.0, ["1", "2", "heartbeat"]);
    }

    fn kind(name: &str) -> FaultKind {
        let (a, b, percent) = ("b".to_owned(), "a".to_owned(), 100);
        match name {
            "drop" => FaultKind::FrameDrop { a, b, percent },
            "duplicate" => FaultKind::FrameDuplicate { a, b, percent },
            "delay" => FaultKind::FrameDelay { a, b, percent, delay_ms: 40 },
            "reorder" => FaultKind::FrameReorder { a, b, percent },
            _ => FaultKind::FrameCorrupt { a, b, percent },
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_trouble_does_to_frames_what_it_says() {
        assert_eq!(arrives(&[]).await, (vec!["1".into(), "2".into(), "heartbeat".into()], 0));
        assert_eq!(arrives(&[kind("drop")]).await, (vec![], 0));
        assert_eq!(arrives(&[kind("duplicate")]).await.0, ["1", "1", "2", "2", "heartbeat", "heartbeat"]);
        assert_eq!(arrives(&[kind("reorder")]).await.0, ["2", "1"], "the last waits for one that overtakes it");
        assert_eq!(arrives(&[kind("corrupt")]).await.0, ["false", "false", "false"]);
        let (late, took) = arrives(&[kind("delay")]).await;
        assert_eq!(late, ["1", "2", "heartbeat"], "late, and in order");
        assert!((1..=40).contains(&took), "{took} ms");
    }

    #[test]
    fn a_request_is_called_by_its_messages_and_without_any_by_its_content() {
        assert_eq!(name_of(br#".{"message_id":"m-2"} and {"message_id":"m-3","x":1}"#), "46 m-2 m-3");
        assert_ne!(name_of(b"one"), name_of(b"two"));
    }
}
