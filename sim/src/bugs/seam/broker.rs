//! A broker with a defect.

use std::time::Duration;

use async_trait::async_trait;
use tenantry_system::broker::{
    Broker, DeadLetter, Delivery, Lease, LetterSummary, MessageStatus, Published, Settlement, Triage, Triaged,
};
use tenantry_system::call::CallError;
use tenantry_system::grant::{Envelope, GrantToken};
use tenantry_system::ids::{MessageId, TenantId};
use tenantry_system::ledger::PauseGeneration;

use super::Bent;

/// As [`Broker`]; what is not said otherwise the one behind it answers.
#[async_trait]
pub trait BentBroker: Send + Sync + 'static {
    /// The one behind it.
    fn inner(&self) -> &dyn Broker;

    /// See [`Broker::publish`].
    async fn publish(
        &self,
        tenant: &TenantId,
        message_id: &MessageId,
        envelope: Envelope,
    ) -> Result<Published, CallError> {
        self.inner().publish(tenant, message_id, envelope).await
    }

    /// See [`Broker::fetch`].
    async fn fetch(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>, CallError> {
        self.inner().fetch(max, wait).await
    }

    /// See [`Broker::settle`].
    async fn settle(&self, lease: &Lease, settlement: Settlement) -> Result<bool, CallError> {
        self.inner().settle(lease, settlement).await
    }

    /// See [`Broker::pause`].
    async fn pause(&self, tenant: &TenantId, generation: PauseGeneration) -> Result<PauseGeneration, CallError> {
        self.inner().pause(tenant, generation).await
    }

    /// See [`Broker::replay`].
    async fn replay(
        &self,
        tenant: &TenantId,
        message_id: &MessageId,
        triage: &Triage,
        grant: GrantToken,
    ) -> Result<Triaged, CallError> {
        self.inner().replay(tenant, message_id, triage, grant).await
    }

    /// See [`Broker::discard`].
    async fn discard(&self, tenant: &TenantId, message_id: &MessageId, triage: &Triage) -> Result<Triaged, CallError> {
        self.inner().discard(tenant, message_id, triage).await
    }
}

#[async_trait]
impl<T: BentBroker> Broker for Bent<T> {
    async fn publish(
        &self,
        tenant: &TenantId,
        message_id: &MessageId,
        envelope: Envelope,
    ) -> Result<Published, CallError> {
        self.0.publish(tenant, message_id, envelope).await
    }

    async fn fetch(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>, CallError> {
        self.0.fetch(max, wait).await
    }

    async fn settle(&self, lease: &Lease, settlement: Settlement) -> Result<bool, CallError> {
        self.0.settle(lease, settlement).await
    }

    async fn standing(&self, tenant: &TenantId, message_id: &MessageId) -> Result<Option<MessageStatus>, CallError> {
        self.0.inner().standing(tenant, message_id).await
    }

    async fn pause(&self, tenant: &TenantId, generation: PauseGeneration) -> Result<PauseGeneration, CallError> {
        self.0.pause(tenant, generation).await
    }

    async fn dead_letters(
        &self,
        tenant: &TenantId,
        after: Option<&MessageId>,
        max: usize,
    ) -> Result<Vec<LetterSummary>, CallError> {
        self.0.inner().dead_letters(tenant, after, max).await
    }

    async fn dead_letter(&self, tenant: &TenantId, message_id: &MessageId) -> Result<Option<DeadLetter>, CallError> {
        self.0.inner().dead_letter(tenant, message_id).await
    }

    async fn replay(
        &self,
        tenant: &TenantId,
        message_id: &MessageId,
        triage: &Triage,
        grant: GrantToken,
    ) -> Result<Triaged, CallError> {
        self.0.replay(tenant, message_id, triage, grant).await
    }

    async fn discard(&self, tenant: &TenantId, message_id: &MessageId, triage: &Triage) -> Result<Triaged, CallError> {
        self.0.discard(tenant, message_id, triage).await
    }
}
