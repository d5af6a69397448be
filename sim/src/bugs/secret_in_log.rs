//! Whatever comes to the producer is written into its log, for people who look for errors.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use tenantry_system::capability::{BoxStream, Channel, Incoming, Listener, Network, World};
use tenantry_system::rights::Role;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Kit;

struct Logged(Arc<dyn Network>);

pub(super) fn plant(world: World, _: &Kit) -> World {
    World { network: Arc::new(Logged(world.network)), ..world }
}

#[async_trait]
impl Network for Logged {
    async fn bind(&self, address: &str) -> io::Result<Box<dyn Listener>> {
        self.0.bind(address).await
    }

    async fn bind_public(&self, address: &str) -> io::Result<Box<dyn Listener>> {
        Ok(Box::new(LoggedListener(self.0.bind_public(address).await?)))
    }

    async fn connect(&self, address: &str, server: Role) -> io::Result<Channel> {
        self.0.connect(address, server).await
    }

    async fn connect_outside(&self, address: &str) -> io::Result<BoxStream> {
        self.0.connect_outside(address).await
    }
}

struct LoggedListener(Box<dyn Listener>);

#[async_trait]
impl Listener for LoggedListener {
    async fn accept(&self) -> io::Result<Incoming> {
        let incoming = self.0.accept().await?;
        Ok(Incoming::new(incoming.peer.clone(), async move {
            let channel = incoming.open().await?;
            Ok(Channel { stream: Box::new(LoggedStream(channel.stream)), ..channel })
        }))
    }

    fn local_address(&self) -> String {
        self.0.local_address()
    }
}

struct LoggedStream(BoxStream);

impl AsyncRead for LoggedStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.0).poll_read(cx, buf))?;
        tracing::debug!(read = %String::from_utf8_lossy(&buf.filled()[before..]), "a request");
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for LoggedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
