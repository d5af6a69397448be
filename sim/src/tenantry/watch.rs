//! Decorators around broker and ledger, on their own hosts: they see every call as the engine answers it, and change
//! nothing.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tenantry_system::auth::Decision;
use tenantry_system::broker::{Broker, Delivery, EmbeddedBroker, Lease, Published, Settlement, Standing};
use tenantry_system::call::CallError;
use tenantry_system::grant::{Envelope, VerifiedCommand, VerifiedRead};
use tenantry_system::ids::{MessageId, TenantId};
use tenantry_system::ledger::{Applied, EmbeddedLedger, Ledger, Outcome, TenantState};

use super::evidence::Evidence;

/// A broker that is watched.
pub struct WatchedBroker {
    /// The engine.
    pub inner: Arc<EmbeddedBroker>,
    /// Where it is written down.
    pub evidence: Evidence,
}

#[async_trait]
impl Broker for WatchedBroker {
    async fn publish(
        &self,
        tenant: &TenantId,
        message_id: &MessageId,
        envelope: Envelope,
    ) -> Result<Published, CallError> {
        let published = self.inner.publish(tenant, message_id, envelope).await;
        self.evidence.record("broker", "broker.published", &format!("{tenant} {message_id} {published:?}"));
        if matches!(published, Ok(Published::Duplicate { .. })) {
            self.evidence.mark("duplicate_publish");
        }
        published
    }

    async fn fetch(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>, CallError> {
        let fetched = self.inner.fetch(max, wait).await;
        for delivery in fetched.iter().flatten() {
            let Delivery { lease, message_id, attempt, .. } = delivery;
            self.evidence.record("broker", "broker.leased", &format!("{lease:?} {message_id} attempt {attempt}"));
            if *attempt > 1 {
                self.evidence.mark("redelivered");
            }
        }
        fetched
    }

    async fn settle(&self, lease: &Lease, settlement: Settlement) -> Result<bool, CallError> {
        let what = match &settlement {
            Settlement::Done => "done",
            Settlement::Retry => "retry",
            Settlement::DeadLetter { .. } => "dead_lettered",
        };
        let settled = self.inner.settle(lease, settlement).await;
        self.evidence.record("broker", "broker.settled", &format!("{lease:?} {what} {settled:?}"));
        match settled {
            Ok(true) if what != "done" => self.evidence.mark(what),
            Ok(false) => self.evidence.mark("late_settlement"),
            _ => {}
        }
        settled
    }

    async fn standing(&self, tenant: &TenantId, message_id: &MessageId) -> Result<Option<Standing>, CallError> {
        self.inner.standing(tenant, message_id).await
    }
}

/// A ledger that is watched: around every effect, every tenant's state is compared.
pub struct WatchedLedger {
    /// The engine.
    pub inner: Arc<EmbeddedLedger>,
    /// Where it is written down.
    pub evidence: Evidence,
}

impl WatchedLedger {
    /// Watches `inner` from its start on.
    #[must_use]
    pub fn new(inner: Arc<EmbeddedLedger>, evidence: Evidence) -> Self {
        let states = inner.every_state().expect("a store that was just opened can be read");
        evidence.seen().isolation.restarted(states);
        Self { inner, evidence }
    }
}

#[async_trait]
impl Ledger for WatchedLedger {
    async fn apply(&self, command: &VerifiedCommand, decision: &Decision) -> Result<Applied, CallError> {
        let (tenant, message_id) = (command.scope().tenant(), &command.message().message_id);
        self.evidence.seen().isolation.begin(tenant);
        let applied = self.inner.apply(command, decision).await;
        self.evidence.record("ledger", "ledger.applied", &format!("{tenant} {message_id} {applied:?}"));
        match &applied {
            Ok(Applied::Now(_)) => {
                let now = super::world::now();
                self.evidence.seen().effects.entry(message_id.to_string()).or_default().push(now);
            }
            Ok(Applied::Before(_)) => self.evidence.mark("duplicate_apply"),
            Ok(Applied::Conflict) => self.evidence.mark("conflict_at_ledger"),
            Err(_) => {}
        }
        // A store that can't be read shows at the end, where it is an error of its own.
        if let Ok(states) = self.inner.every_state() {
            self.evidence.seen().isolation.end(tenant, states, message_id.as_str());
        }
        applied
    }

    async fn outcome(
        &self,
        read: &VerifiedRead,
        message_id: &MessageId,
        wait: Duration,
    ) -> Result<Option<Outcome>, CallError> {
        self.inner.outcome(read, message_id, wait).await
    }

    async fn state(&self, read: &VerifiedRead) -> Result<TenantState, CallError> {
        self.inner.state(read).await
    }
}
