//! A network with a defect.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use tenantry_system::capability::{BoxStream, Channel, Incoming, Listener, Network};
use tenantry_system::rights::Role;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Bent;

/// What is done to each chunk that was read.
pub type OnRead = fn(&mut [u8]);

/// As [`Network`]; what is not said otherwise the one behind it does.
#[async_trait]
pub trait BentNetwork: Send + Sync + 'static {
    /// The one behind it.
    fn inner(&self) -> &Arc<dyn Network>;

    /// See [`Network::connect`].
    async fn connect(&self, address: &str, server: Role) -> io::Result<Channel> {
        self.inner().connect(address, server).await
    }

    /// How streams are read that anyone has opened to a public address.
    fn public(&self) -> Option<OnRead> {
        None
    }

    /// How streams are read that were opened to someone outside.
    fn outside(&self) -> Option<OnRead> {
        None
    }
}

#[async_trait]
impl<T: BentNetwork> Network for Bent<T> {
    async fn bind(&self, address: &str) -> io::Result<Box<dyn Listener>> {
        self.0.inner().bind(address).await
    }

    async fn bind_public(&self, address: &str) -> io::Result<Box<dyn Listener>> {
        let inner = self.0.inner().bind_public(address).await?;
        Ok(match self.0.public() {
            Some(on_read) => Box::new(BentListener { inner, on_read }),
            None => inner,
        })
    }

    async fn connect(&self, address: &str, server: Role) -> io::Result<Channel> {
        self.0.connect(address, server).await
    }

    async fn connect_outside(&self, address: &str) -> io::Result<BoxStream> {
        let inner = self.0.inner().connect_outside(address).await?;
        Ok(match self.0.outside() {
            Some(on_read) => Box::new(BentStream { inner, on_read }),
            None => inner,
        })
    }
}

struct BentListener {
    inner: Box<dyn Listener>,
    on_read: OnRead,
}

#[async_trait]
impl Listener for BentListener {
    async fn accept(&self) -> io::Result<Incoming> {
        let (incoming, on_read) = (self.inner.accept().await?, self.on_read);
        Ok(Incoming::new(incoming.peer.clone(), async move {
            let channel = incoming.open().await?;
            Ok(Channel { stream: Box::new(BentStream { inner: channel.stream, on_read }), ..channel })
        }))
    }

    fn local_address(&self) -> String {
        self.inner.local_address()
    }
}

/// A stream that is read otherwise than it was written.
struct BentStream {
    inner: BoxStream,
    on_read: OnRead,
}

impl AsyncRead for BentStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        (self.on_read)(&mut buf.filled_mut()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for BentStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
