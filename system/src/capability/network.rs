//! Byte streams between processes. Addresses are `host:port` strings: a name means something else in each network.

use std::io;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

/// A connected, ordered, reliable stream of bytes in both directions.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A stream whose kind is no longer of interest.
pub type BoxStream = Box<dyn Stream>;

/// Binds and connects.
#[async_trait]
pub trait Network: Send + Sync + 'static {
    /// Starts to accept streams at `address`.
    async fn bind(&self, address: &str) -> io::Result<Box<dyn Listener>>;
    /// Opens a stream to `address`. The caller sets the deadline.
    async fn connect(&self, address: &str) -> io::Result<BoxStream>;
}

/// Accepts streams.
#[async_trait]
pub trait Listener: Send + Sync {
    /// The next stream, with the peer's address as text for logs.
    async fn accept(&self) -> io::Result<(BoxStream, String)>;
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

    #[expect(clippy::disallowed_methods, reason = "the one place where production opens a socket")]
    async fn connect(&self, address: &str) -> io::Result<BoxStream> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Box::new(stream))
    }
}

#[async_trait]
impl Listener for TcpListener {
    async fn accept(&self) -> io::Result<(BoxStream, String)> {
        let (stream, peer) = TcpListener::accept(self).await?;
        stream.set_nodelay(true)?;
        Ok((Box::new(stream), peer.to_string()))
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

        async fn connect(&self, address: &str) -> io::Result<BoxStream> {
            let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
            let (ours, theirs) = duplex(64 * 1024);
            let listeners = self.listeners.lock().unwrap();
            listeners.get(address).ok_or_else(refused)?.send(theirs).map_err(|_| refused())?;
            Ok(Box::new(ours))
        }
    }

    #[async_trait]
    impl Listener for InMemoryListener {
        async fn accept(&self) -> io::Result<(BoxStream, String)> {
            match self.accepted.lock().await.recv().await {
                Some(stream) => Ok((Box::new(stream), "in memory".into())),
                None => std::future::pending().await,
            }
        }

        fn local_address(&self) -> String {
            self.address.clone()
        }
    }
}
