//! Calls between services: framed, multiplexed, with deadline, heartbeat and reconnect.
//!
//! A frame is a length and its bytes; several calls share one connection. Every call has a deadline and three answers
//! (see [`crate::call`]). Both sides send heartbeats and give a silent connection up: a network that lost bytes once
//! wedges a stream for ever, and only silence tells. The next call connects anew.

mod client;
mod frame;
mod server;
mod writer;

use std::future::Future;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::call::CallError;

pub use client::Client;
pub use frame::{Frame, MAX_FRAME_BYTES};
pub use server::serve;

/// An idle side sends a heartbeat this often.
pub const HEARTBEAT: Duration = Duration::from_millis(250);

/// A side that heard nothing for this long gives the connection up.
pub const SILENCE_MAX: Duration = Duration::from_millis(1000);

/// Connecting may take this long.
pub const CONNECT_MAX: Duration = Duration::from_millis(500);

/// One service's requests and replies, and what answers them.
pub trait Service: Send + Sync + 'static {
    /// The service's name in the greeting and in errors.
    const NAME: &'static str;
    /// What can be asked.
    type Request: Serialize + DeserializeOwned + Send + 'static;
    /// What is answered.
    type Reply: Serialize + DeserializeOwned + Send + 'static;

    /// Answers one request. Dropped when the caller's deadline has passed.
    fn handle(&self, request: Self::Request) -> impl Future<Output = Result<Self::Reply, CallError>> + Send;
}
