//! The consumer: takes what the broker leases, makes sure it is allowed, and has the ledger apply it.
//!
//! It trusts nothing it reads. The grant is verified against the body, auth is asked again whether the operator may still
//! do this, and only then is the ledger called - which verifies the grant once more. Whatever is unknown is tried again:
//! applying twice is applying once.

mod decide;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::auth::Authority;
use crate::broker::{Broker, Delivery, Settlement};
use crate::capability::Clock;
use crate::grant::Verifier;
use crate::ledger::Ledger;

use decide::{Step, after_apply, after_verify};

/// Commands in work at once. Each waits for a shared commit: many at once make few commits.
const IN_FLIGHT_MAX: usize = 64;

/// One command may be worked on this long; then it comes again. Shorter than a lease, so that there is still a word.
const PROCESS_MAX: Duration = Duration::from_secs(4);

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
        // What was cut off in the middle of the ledger's call is unknown: applying it again is safe, and tells.
        let settlement = timeout(PROCESS_MAX, self.process(&delivery)).await.unwrap_or(Settlement::Retry);
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

#[cfg(test)]
mod tests {
    use async_trait::async_trait;

    use super::*;
    use crate::action::Permission;
    use crate::auth::{Decision, Denied, GrantRequest};
    use crate::broker::{EmbeddedBroker, Limits, Published, Standing};
    use crate::call::CallError;
    use crate::grant::GrantToken;
    use crate::ids::{TenantId, UserId};
    use crate::jws::PublicKeys;
    use crate::ledger::EmbeddedLedger;
    use crate::testing::{Bench, credit, message_id, tenant};

    /// Auth that gave grants, and at the effect answers something else.
    struct ChangedMind {
        inner: Arc<dyn Authority>,
        now: Result<Decision, CallError>,
    }

    #[async_trait]
    impl Authority for ChangedMind {
        async fn grant(&self, request: &GrantRequest) -> Result<Result<GrantToken, Denied>, CallError> {
            self.inner.grant(request).await
        }
        async fn recheck(&self, _: &UserId, _: &TenantId, _: Permission) -> Result<Decision, CallError> {
            self.now.clone()
        }
        async fn keys(&self) -> Result<PublicKeys, CallError> {
            self.inner.keys().await
        }
    }

    /// Publishes one credit, lets a consumer handle it whose auth now says `now`, and returns broker and ledger.
    async fn handled(bench: &Bench, now: Result<Decision, CallError>) -> (Arc<EmbeddedBroker>, Arc<EmbeddedLedger>) {
        let broker = Arc::new(EmbeddedBroker::open(&bench.world, Limits::default()).await.unwrap());
        let ledger = Arc::new(EmbeddedLedger::open(&bench.world).await.unwrap());
        let envelope = bench.envelope("acme", "m-1", credit("acme", "m-1", 5)).await;
        let published = broker.publish(&tenant("acme"), &message_id("m-1"), envelope).await;
        assert_eq!(published, Ok(Published::Accepted { sequence: 1 }));
        let authority = Arc::new(ChangedMind { inner: bench.authority.clone(), now });
        let consumer = Consumer::new(broker.clone(), authority, ledger.clone(), bench.world.clock.clone());
        let delivery = broker.fetch(1, Duration::ZERO).await.unwrap().remove(0);
        Arc::new(consumer).handle(delivery).await;
        (broker, ledger)
    }

    #[tokio::test]
    async fn what_was_allowed_when_it_was_sent_is_asked_again_at_the_effect() {
        let bench = Bench::new().await;
        let deny = Decision::Deny { revision: 2, reason: "the role was taken away".into() };
        let (broker, ledger) = handled(&bench, Ok(deny)).await;
        let state = ledger.state(&bench.read("acme").await).await.unwrap();
        assert_eq!((state.version, state.credits.len()), (1, 0), "an outcome, and no effect");
        let outcome = ledger.outcome(&bench.read("acme").await, &message_id("m-1"), Duration::ZERO).await.unwrap();
        assert_eq!(outcome.unwrap().verdict.unwrap_err().code, "forbidden");
        let standing = broker.standing(&tenant("acme"), &message_id("m-1")).await.unwrap();
        assert_eq!(standing, Some(Standing::Settled));
    }

    #[tokio::test]
    async fn without_an_answer_from_auth_nothing_takes_effect_and_the_command_waits() {
        let bench = Bench::new().await;
        let (broker, ledger) = handled(&bench, Err(CallError::unknown("auth is cut off"))).await;
        assert_eq!(ledger.state(&bench.read("acme").await).await.unwrap().version, 0);
        assert_eq!(broker.depth(), 1);
    }

    #[tokio::test]
    async fn a_permitted_command_is_applied_and_settled() {
        let bench = Bench::new().await;
        let (broker, ledger) = handled(&bench, Ok(Decision::Permit { revision: 1 })).await;
        assert_eq!(ledger.state(&bench.read("acme").await).await.unwrap().credits["EUR"], 5);
        assert_eq!(broker.depth(), 0);
    }
}
