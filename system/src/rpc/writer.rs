//! The writing half of a connection, the same on both sides: frames as they come, heartbeats while there are none.

use futures_util::SinkExt;
use tokio::io::WriteHalf;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_util::codec::FramedWrite;

use super::frame::codec;
use super::{Frame, HEARTBEAT, SILENCE_MAX};
use crate::capability::BoxStream;

/// Frames that are encoded before one flush: one segment for many.
const FLUSH_MAX: usize = 256;

/// Writes `first`, then whatever arrives in `frames`. Ends when the stream breaks or the senders are gone.
pub(super) async fn write_frames(
    stream: WriteHalf<BoxStream>,
    first: Option<Frame>,
    mut frames: mpsc::Receiver<Frame>,
) {
    let mut stream = FramedWrite::new(stream, codec());
    let mut ready: Vec<_> = first.into_iter().collect();
    loop {
        let write = async {
            for frame in ready.drain(..) {
                stream.feed(frame.encode()).await?;
            }
            SinkExt::<bytes::Bytes>::flush(&mut stream).await
        };
        // A peer that takes nothing is as gone as one that says nothing.
        if !matches!(timeout(SILENCE_MAX, write).await, Ok(Ok(()))) {
            return;
        }
        tokio::select! {
            biased;
            count = frames.recv_many(&mut ready, FLUSH_MAX) => if count == 0 { return },
            () = sleep(HEARTBEAT) => ready.push(Frame::Heartbeat),
        }
    }
}
