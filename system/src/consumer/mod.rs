//! The consumer: takes what the broker leases, makes sure it is allowed, and has the ledger apply it.
//!
//! It trusts nothing it reads. The grant is verified against the body, auth is asked again whether the operator may still
//! do this, and only then is the ledger called - which verifies the grant once more. Whatever is unknown is tried again:
//! applying twice is applying once.

mod decide;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::auth::Authority;
use crate::broker::{Broker, Delivery, Settlement};
use crate::capability::Clock;
use crate::grant::Verifier;
use crate::ledger::Ledger;

use decide::{Step, after_apply, after_verify};

/// Commands in work at once. Each waits for a shared commit: many at once make few commits.
const IN_FLIGHT_MAX: usize = 64;

/// A fetch waits this long for something to do.
const FETCH_WAIT: Duration = Duration::from_secs(2);

/// The pause after a failed fetch doubles from the first to the second.
const BACKOFF_MIN: Duration = Duration::from_millis(20);
const BACKOFF_MAX: Duration = Duration::from_millis(500);

/// What a consumer works with.
pub struct Consumer {
    broker: Arc<dyn Broker>,
    authority: Arc<dyn Authority>,
    ledger: Arc<dyn Ledger>,
    verifier: Verifier,
}

impl Consumer {
    /// A consumer between these services.
    #[must_use]
    pub fn new(
        broker: Arc<dyn Broker>,
        authority: Arc<dyn Authority>,
        ledger: Arc<dyn Ledger>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let verifier = Verifier::new(authority.clone(), clock);
        Self { broker, authority, ledger, verifier }
    }

    /// Works until `stop` is cancelled, then ends what is in work and returns.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut in_work = JoinSet::new();
        let mut backoff = BACKOFF_MIN;
        while !stop.is_cancelled() {
            while in_work.try_join_next().is_some() {}
            if in_work.len() >= IN_FLIGHT_MAX {
                in_work.join_next().await;
                continue;
            }
            let fetched = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                fetched = self.broker.fetch(IN_FLIGHT_MAX - in_work.len(), FETCH_WAIT) => fetched,
            };
            match fetched {
                Ok(deliveries) => {
                    backoff = BACKOFF_MIN;
                    for delivery in deliveries {
                        in_work.spawn(self.clone().handle(delivery));
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "failed to fetch");
                    sleep(backoff).await;
                    backoff = (backoff * 2).min(BACKOFF_MAX);
                }
            }
        }
        while in_work.join_next().await.is_some() {}
    }

    async fn handle(self: Arc<Self>, delivery: Delivery) {
        let settlement = self.process(&delivery).await;
        if let Settlement::DeadLetter { reason } = &settlement {
            tracing::error!(tenant = %delivery.lease.tenant, message_id = %delivery.message_id, reason, "dead letter");
        }
        // Not settled is not lost: the lease runs out, the message comes again, and its outcome is found.
        if let Err(error) = self.broker.settle(&delivery.lease, settlement).await {
            tracing::warn!(%error, message_id = %delivery.message_id, "failed to settle");
        }
    }

    /// Everything between a delivery and its settlement.
    async fn process(&self, delivery: &Delivery) -> Settlement {
        let verified = self.verifier.command(delivery.envelope.clone()).await;
        let command = match after_verify(verified, delivery) {
            Step::Continue(command) => command,
            Step::Settle(settlement) => return settlement,
        };
        let message = command.message();
        let tenant = command.scope().tenant();
        let decision = match self.authority.recheck(&message.user_id, tenant, message.action.permission()).await {
            Ok(decision) => decision,
            // Closed: without an answer from auth nothing takes effect.
            Err(error) => {
                tracing::warn!(%error, %tenant, "failed to ask auth; the command waits");
                return Settlement::Retry;
            }
        };
        after_apply(self.ledger.apply(&command, &decision).await)
    }
}
