//! Byte streams between processes. Addresses are `host:port` strings: a name means something else in each network.
//!
//! A network may know more of a peer than its address: one that authenticates (see [`crate::tls`]) says which role the peer
//! has proven to be, and for how long that holds. A plain one says nothing.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep_until};

use crate::rights::Role;

/// A connected, ordered, reliable stream of bytes in both directions.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A stream whose kind is no longer of interest.
pub type BoxStream = Box<dyn Stream>;

/// An open stream, and what is known of who is at its other end.
pub struct Channel {
    /// The stream.
    pub stream: BoxStream,
    /// The role that the peer has proven to be; `None` if it was not asked for a proof.
    pub role: Option<Role>,
    /// Until when that holds.
    pub expiry: Expiry,
}

impl Channel {
    /// A stream of whose other end nothing is known.
    pub fn plain(stream: impl Stream + 'static) -> Self {
        Self { stream: Box::new(stream), role: None, expiry: Expiry::NEVER }
    }
}

/// When a channel must not be used any longer, if ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expiry {
    ends: Option<Instant>,
    retires: Option<Instant>,
}

/// What is under way on a channel when it retires may take this long to end: longer than any call.
const DRAIN_MAX: Duration = Duration::from_secs(60);

impl Expiry {
    /// Never.
    pub const NEVER: Self = Self { ends: None, retires: None };

    /// In so long. A channel that lives briefly retires after two thirds of its life.
    #[must_use]
    pub fn within(left: Duration) -> Self {
        let now = Instant::now();
        Self { ends: Some(now + left), retires: Some(now + left - DRAIN_MAX.min(left / 3)) }
    }

    /// Whether nothing new should be begun on the channel, so that what is under way ends before the channel does.
    #[must_use]
    pub fn retired(&self) -> bool {
        self.retires.is_some_and(|at| at <= Instant::now())
    }

    /// Returns once the channel must not be used any longer.
    pub async fn passed(self) {
        match self.ends {
            Some(at) => sleep_until(at).await,
            None => std::future::pending().await,
        }
    }
}

/// Someone who has connected, and has not proven anything yet.
pub struct Incoming {
    /// The peer's address as text, for logs.
    pub peer: String,
    opening: Pin<Box<dyn Future<Output = io::Result<Channel>> + Send>>,
}

impl Incoming {
    /// A peer whose channel is what `opening` returns; it has a deadline of its own.
    pub fn new(peer: String, opening: impl Future<Output = io::Result<Channel>> + Send + 'static) -> Self {
        Self { peer, opening: Box::pin(opening) }
    }

    /// A peer at the other end of `stream` of whom no proof is wanted.
    pub fn plain(peer: String, stream: impl Stream + 'static) -> Self {
        Self::new(peer, async move { Ok(Channel::plain(stream)) })
    }

    /// Does what must be done before the stream can be used. Not part of accepting: a peer that is slow at it must hold up
    /// nobody else.
    ///
    /// # Errors
    /// Why the peer was refused.
    pub async fn open(self) -> io::Result<Channel> {
        self.opening.await
    }
}

/// Binds and connects.
#[async_trait]
pub trait Network: Send + Sync + 'static {
    /// Starts to accept streams of services at `address`. If this network authenticates, those without a proof are refused.
    async fn bind(&self, address: &str) -> io::Result<Box<dyn Listener>>;

    /// Starts to accept streams of anyone at `address`, whoever they are.
    async fn bind_public(&self, address: &str) -> io::Result<Box<dyn Listener>> {
        self.bind(address).await
    }

    /// Opens a stream to `address`, where `server` should be; if this network authenticates, anyone else there is refused.
    /// The caller sets the deadline.
    async fn connect(&self, address: &str, server: Role) -> io::Result<Channel>;

    /// Opens a stream to someone outside of the system, such as an identity provider: neither encrypted nor authenticated
    /// by this network. The caller sets the deadline.
    async fn connect_outside(&self, address: &str) -> io::Result<BoxStream>;
}

/// Accepts streams.
#[async_trait]
pub trait Listener: Send + Sync {
    /// The next one who connects.
    async fn accept(&self) -> io::Result<Incoming>;
    /// Where it listens: differs from what was asked for when the port was 0.
    fn local_address(&self) -> String;
}

/// Plain TCP with Nagle's algorithm off: frames are written whole.
#[derive(Debug, Clone, Copy)]
pub struct Tcp;

#[async_trait]
impl Network for Tcp {
    #[expect(clippy::disallowed_methods, reason = "the one place where production binds a socket")]
    async fn bind(&self, address: &str) -> io::Result<Box<dyn Listener>> {
        let listener = TcpListener::bind(address)
            .await
            .map_err(|error| io::Error::new(error.kind(), format!("failed to listen at {address}: {error}")))?;
        Ok(Box::new(listener))
    }

    async fn connect(&self, address: &str, _: Role) -> io::Result<Channel> {
        Ok(Channel::plain(self.connect_outside(address).await?))
    }

    #[expect(clippy::disallowed_methods, reason = "the one place where production opens a socket")]
    async fn connect_outside(&self, address: &str) -> io::Result<BoxStream> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Box::new(stream))
    }
}

#[async_trait]
impl Listener for TcpListener {
    async fn accept(&self) -> io::Result<Incoming> {
        let (stream, peer) = TcpListener::accept(self).await?;
        stream.set_nodelay(true)?;
        Ok(Incoming::plain(peer.to_string(), stream))
    }

    fn local_address(&self) -> String {
        self.local_addr().map_or_else(|error| format!("unknown: {error}"), |address| address.to_string())
    }
}

/// A network inside one process, for tests: streams that can be cut without a word.
#[cfg(test)]
pub(crate) mod testing {
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    use tokio::io::{DuplexStream, duplex};
    use tokio::sync::mpsc;

    use super::*;

    #[derive(Default)]
    pub(crate) struct InMemory {
        listeners: Mutex<BTreeMap<String, mpsc::UnboundedSender<DuplexStream>>>,
    }

    struct InMemoryListener {
        accepted: tokio::sync::Mutex<mpsc::UnboundedReceiver<DuplexStream>>,
        address: String,
    }

    #[async_trait]
    impl Network for InMemory {
        async fn bind(&self, address: &str) -> io::Result<Box<dyn Listener>> {
            let (sender, accepted) = mpsc::unbounded_channel();
            self.listeners.lock().unwrap().insert(address.into(), sender);
            Ok(Box::new(InMemoryListener { accepted: accepted.into(), address: address.into() }))
        }

        async fn connect(&self, address: &str, _: Role) -> io::Result<Channel> {
            Ok(Channel::plain(self.connect_outside(address).await?))
        }

        async fn connect_outside(&self, address: &str) -> io::Result<BoxStream> {
            let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
            let (ours, theirs) = duplex(64 * 1024);
            let listeners = self.listeners.lock().unwrap();
            listeners.get(address).ok_or_else(refused)?.send(theirs).map_err(|_| refused())?;
            Ok(Box::new(ours))
        }
    }

    #[async_trait]
    impl Listener for InMemoryListener {
        async fn accept(&self) -> io::Result<Incoming> {
            match self.accepted.lock().await.recv().await {
                Some(stream) => Ok(Incoming::plain("in memory".into(), stream)),
                None => std::future::pending().await,
            }
        }

        fn local_address(&self) -> String {
            self.address.clone()
        }
    }
}
