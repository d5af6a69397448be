//! The producer: the HTTP API of the panel.
//!
//! A command is answered with 202 once the broker has it durably; from then on it has exactly one outcome, which can be
//! asked and waited for. A retry with the same `message_id` and the same bytes changes nothing. Whoever asks too often is
//! told when to come back: an address before anything else is done, a user and a tenant once auth knows them.

mod alerts;
mod api;
mod approvals;
mod audit;
mod books;
mod break_glass;
mod dead_letters;
mod dry_run;
mod http;
mod openapi;
mod parameters;
mod problem;
mod schemas;
mod sealing;
mod stream;

use std::sync::Arc;

use crate::audit::{Audit, Reporter};
use crate::auth::Authority;
use crate::broker::Broker;
use crate::capability::Clock;
use crate::grant::Verifier;
use crate::ledger::Ledger;
use crate::monitor::Monitor;
use crate::rate_limit::{Limiter, RateLimits};
use crate::secret::{KeyCache, KeyProvider};

pub use api::{StatusQuery, WAIT_MAX_MS, router};
pub use http::serve;
pub(crate) use http::serve_bounded;
pub use openapi::document;
pub use problem::Problem;

/// What the API works with.
pub struct Producer {
    broker: Arc<dyn Broker>,
    authority: Arc<dyn Authority>,
    ledger: Arc<dyn Ledger>,
    verifier: Verifier,
    clock: Arc<dyn Clock>,
    limiter: Limiter,
    keys: KeyCache,
    reporter: Reporter,
    audit: Option<Arc<dyn Audit>>,
    monitor: Monitor,
    streams: Arc<stream::Streams>,
}

impl Producer {
    /// A producer between these services, which lets through what `limits` allow and seals secrets with the data keys that
    /// `keys` unwraps.
    #[must_use]
    pub fn new(
        broker: Arc<dyn Broker>,
        authority: Arc<dyn Authority>,
        ledger: Arc<dyn Ledger>,
        clock: Arc<dyn Clock>,
        limits: &RateLimits,
        keys: Arc<dyn KeyProvider>,
    ) -> Self {
        let verifier = Verifier::new(authority.clone(), clock.clone());
        let (limiter, keys) = (Limiter::new(limits), KeyCache::new(keys));
        let (reporter, monitor, audit) = (Reporter::none(), Monitor::default(), None);
        let streams = stream::Streams::new(&monitor);
        Self { broker, authority, ledger, verifier, clock, limiter, keys, reporter, audit, monitor, streams }
    }

    /// Reports what it refuses to `reporter`.
    #[must_use]
    pub fn reporting(self, reporter: Reporter) -> Self {
        Self { reporter, ..self }
    }

    /// Shows operators what is in `audit`.
    #[must_use]
    pub fn auditing(self, audit: Arc<dyn Audit>) -> Self {
        Self { audit: Some(audit), ..self }
    }

    /// Measures what it does in `monitor`.
    #[must_use]
    pub fn monitored(self, monitor: &Monitor) -> Self {
        let streams = stream::Streams::new(monitor);
        Self { limiter: self.limiter.monitored(monitor), monitor: monitor.clone(), streams, ..self }
    }
}
