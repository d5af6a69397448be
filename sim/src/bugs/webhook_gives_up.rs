//! Whoever is to be told of alerts is asked once: whatever they answer is taken for a yes.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use tenantry_system::capability::{BoxStream, Channel, Listener, Network, World};
use tenantry_system::rights::Role;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Kit;

/// A network on which no server outside has an error.
struct Content(Arc<dyn Network>);

pub(super) fn plant(world: World, _: &Kit) -> World {
    World { network: Arc::new(Content(world.network)), ..world }
}

#[async_trait]
impl Network for Content {
    async fn bind(&self, address: &str) -> io::Result<Box<dyn Listener>> {
        self.0.bind(address).await
    }

    async fn connect(&self, address: &str, server: Role) -> io::Result<Channel> {
        self.0.connect(address, server).await
    }

    async fn connect_outside(&self, address: &str) -> io::Result<BoxStream> {
        Ok(Box::new(Pleased(self.0.connect_outside(address).await?)))
    }
}

/// A stream on which "500" is "200".
struct Pleased(BoxStream);

impl AsyncRead for Pleased {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.0).poll_read(cx, buf))?;
        let chunk = &mut buf.filled_mut()[before..];
        if chunk.starts_with(b"HTTP/1.1 500") {
            chunk[9] = b'2';
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pleased {
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
