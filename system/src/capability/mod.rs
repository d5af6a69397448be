//! What the outside world is: four capabilities.
//!
//! Every service takes what it needs from the world through its constructor, as small object-safe traits, so that the
//! very same service runs over TCP and real files or inside a seeded simulation. `Arc<dyn _>` rather than generics: no
//! service grows a type parameter for its surroundings, and wrappers compose.
//!
//! Timers are not here: they come from `tokio::time`, which a simulation advances itself.

mod clock;
mod disk;
mod entropy;
mod network;

use std::sync::Arc;

use crate::monitor::Monitor;

pub use clock::{Clock, SystemClock};
pub use disk::{Disk, DiskFile, Job, RealDisk, file_error};
pub use entropy::{Entropy, OsEntropy};
#[cfg(test)]
pub(crate) use network::testing::InMemory;
pub use network::{BoxStream, Channel, Expiry, Incoming, Listener, Network, Stream, Tcp};

/// The whole outside world of one process: what a composition root hands to the services it builds.
#[derive(Clone)]
pub struct World {
    /// Byte streams to and from others.
    pub network: Arc<dyn Network>,
    /// What must last.
    pub disk: Arc<dyn Disk>,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// Random bytes.
    pub entropy: Arc<dyn Entropy>,
    /// Where the process tells of itself. It is no capability, for nothing comes of it; but it is one per process.
    pub monitor: Monitor,
}

impl World {
    /// The production world, not encrypted: TCP, files under `folder`, the system clock, the operating system's entropy.
    ///
    /// # Errors
    /// When the folder can't be created or written, with its path in the message.
    pub fn real(folder: &std::path::Path) -> std::io::Result<Self> {
        Ok(Self {
            network: Arc::new(Tcp),
            disk: Arc::new(RealDisk::open(folder)?),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(OsEntropy),
            monitor: Monitor::default(),
        })
    }
}
