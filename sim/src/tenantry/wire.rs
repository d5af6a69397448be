//! turmoil's network, as one life of a host's process has it: its connections end with it, in their order; they can be reset;
//! and while the process is stopped nothing goes in or out.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker, ready};

use async_trait::async_trait;
use tenantry_system::capability::{BoxStream, Channel, Incoming, Listener, Network};
use tenantry_system::rights::Role;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::world::{Handle, host_and_port};

/// Where whoever wants to go on waits while the process is stopped. Timers run on meanwhile, and what they start ends up
/// here: seen from outside that is a stopped process; inside, one whose timers fired on time and not late.
#[derive(Clone, Default)]
pub(super) struct Gate(Arc<Mutex<Vec<Waker>>>);

impl Gate {
    /// Wakes all who wait, in the order in which they came.
    pub(super) fn open(&self) {
        let waiting = std::mem::take(&mut *self.0.lock().expect("no holder panics"));
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Ready unless the process is stopped.
    fn poll(&self, handle: &Handle, cx: &Context<'_>) -> Poll<()> {
        if !handle.is_paused() {
            return Poll::Ready(());
        }
        let mut waiting = self.0.lock().expect("no holder panics");
        if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Waits until the process is not stopped.
    pub(super) async fn pass(&self, handle: &Handle) {
        poll_fn(|cx| self.poll(handle, cx)).await;
    }
}

/// turmoil's network.
pub(super) struct SimNetwork {
    pub(super) host: Arc<str>,
    pub(super) life: Life,
}

/// The open streams of one life of a process, in the order in which they were opened. A runtime that is dropped drops its
/// tasks by the numbers tokio gave them, which it counts over all runtimes of the whole process: without this, peers would
/// see a killed host's connections end in an order that depends on what ran before.
#[derive(Clone)]
pub(super) struct Life {
    handle: Handle,
    gate: Gate,
    streams: Arc<Mutex<Streams>>,
}

#[derive(Default)]
struct Streams {
    opened: u64,
    open: BTreeMap<u64, Slot>,
}

/// A stream, until it is closed.
type Slot = Arc<Mutex<End>>;

/// One end of a stream.
struct End {
    peer: Box<str>,
    stream: Option<turmoil::net::TcpStream>,
    /// It was reset: whoever uses it next learns of it.
    reset: bool,
    /// Who waits at it, reading and writing.
    waiting: [Option<Waker>; 2],
}

impl Life {
    pub(super) fn of(handle: &Handle, gate: &Gate) -> Self {
        Self { handle: handle.clone(), gate: gate.clone(), streams: Arc::default() }
    }

    /// How many streams are open.
    pub(super) fn open(&self) -> u64 {
        self.streams.lock().expect("no holder panics").open.len() as u64
    }

    /// Resets all streams to `peer`, and says how many those are.
    pub(super) fn reset(&self, peer: &str) -> u64 {
        let streams = self.streams.lock().expect("no holder panics");
        let mut broken = 0;
        for slot in streams.open.values() {
            let mut end = slot.lock().expect("no holder panics");
            if &*end.peer == peer && end.stream.is_some() {
                end.reset = true;
                broken += 1;
                end.waiting.iter_mut().filter_map(Option::take).for_each(Waker::wake);
            }
        }
        broken
    }

    fn add(&self, stream: turmoil::net::TcpStream, peer: &str) -> (u64, Slot) {
        let mut streams = self.streams.lock().expect("no holder panics");
        streams.opened += 1;
        let end = End { peer: peer.into(), stream: Some(stream), reset: false, waiting: [None, None] };
        let (number, slot) = (streams.opened, Arc::new(Mutex::new(end)));
        streams.open.insert(number, slot.clone());
        (number, slot)
    }

    /// Closes a stream; if the process is dead, all of them, in their order.
    fn close(&self, number: u64) {
        let mut streams = self.streams.lock().expect("no holder panics");
        let closing: Vec<Slot> = if self.handle.is_live() {
            streams.open.remove(&number).into_iter().collect()
        } else {
            std::mem::take(&mut streams.open).into_values().collect()
        };
        drop(streams);
        for slot in closing {
            drop(slot.lock().expect("no holder panics").stream.take());
        }
    }
}

#[async_trait]
impl Network for SimNetwork {
    async fn bind(&self, address: &str) -> io::Result<Box<dyn Listener>> {
        let (_, port) = host_and_port(address)?;
        let inner = turmoil::net::TcpListener::bind(("0.0.0.0", port)).await?;
        Ok(Box::new(SimListener { inner, host: self.host.clone(), life: self.life.clone() }))
    }

    async fn connect(&self, address: &str, _: Role) -> io::Result<Channel> {
        Ok(Channel::plain(self.connect_outside(address).await?))
    }

    async fn connect_outside(&self, address: &str) -> io::Result<BoxStream> {
        let (peer, port) = host_and_port(address)?;
        self.life.gate.pass(&self.life.handle).await;
        self.life.handle.sends(peer);
        let opened = turmoil::net::TcpStream::connect((peer, port)).await?;
        Ok(Box::new(Held::new(opened, peer, &self.life)))
    }
}

struct SimListener {
    inner: turmoil::net::TcpListener,
    host: Arc<str>,
    life: Life,
}

#[async_trait]
impl Listener for SimListener {
    async fn accept(&self) -> io::Result<Incoming> {
        self.life.gate.pass(&self.life.handle).await;
        let (inner, peer): (_, SocketAddr) = self.inner.accept().await?;
        let peer = turmoil::reverse_lookup(peer.ip()).unwrap_or_else(|| peer.ip().to_string());
        let held = Held::new(inner, &peer, &self.life);
        self.life.gate.pass(&self.life.handle).await;
        Ok(Incoming::plain(peer, held))
    }

    fn local_address(&self) -> String {
        self.host.to_string()
    }
}

/// A stream that ends with its process.
struct Held {
    number: u64,
    peer: Box<str>,
    slot: Slot,
    life: Life,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.life.close(self.number);
    }
}

/// Which way a stream is used.
#[derive(Clone, Copy)]
enum Way {
    Reading,
    Writing,
}

impl Held {
    fn new(inner: turmoil::net::TcpStream, peer: &str, life: &Life) -> Self {
        let (number, slot) = life.add(inner, peer);
        Self { number, peer: peer.into(), slot, life: life.clone() }
    }

    /// Polls the stream, while there is one and the process is not stopped.
    fn poll<T>(
        &self,
        way: Way,
        cx: &mut Context<'_>,
        poll: impl FnOnce(Pin<&mut turmoil::net::TcpStream>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if self.life.gate.poll(&self.life.handle, cx).is_pending() {
            return Poll::Pending;
        }
        let End { stream, reset, waiting, .. } = &mut *self.slot.lock().expect("no holder panics");
        if *reset {
            // Dropped here, where its host is: turmoil must know whose it was.
            drop(stream.take());
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let Some(stream) = stream.as_mut() else { return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())) };
        let polled = poll(Pin::new(stream), cx);
        if polled.is_pending() {
            waiting[way as usize] = Some(cx.waker().clone());
        }
        polled
    }
}

impl AsyncRead for Held {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.poll(Way::Reading, cx, |stream, cx| stream.poll_read(cx, buf))
    }
}

impl AsyncWrite for Held {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(self.poll(Way::Writing, cx, |stream, cx| stream.poll_write(cx, data)))?;
        self.life.handle.sends(&self.peer);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(Way::Writing, cx, |stream, cx| stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(Way::Writing, cx, |stream, cx| stream.poll_shutdown(cx))
    }
}
