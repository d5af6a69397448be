//! Wall time. Durations and deadlines come from `tokio::time`; this is only for what people and tokens call "now".

use jiff::Timestamp;

/// Tells the wall time.
pub trait Clock: Send + Sync + 'static {
    /// The current instant, in UTC. It may jump either way: never subtract two of them to measure a delay.
    fn now(&self) -> Timestamp;

    /// Whole seconds since the Unix epoch: the unit of token times (RFC 7519 "NumericDate").
    fn unix_seconds(&self) -> i64 {
        self.now().as_second()
    }
}

/// The operating system's clock.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place where production reads the wall clock")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}
