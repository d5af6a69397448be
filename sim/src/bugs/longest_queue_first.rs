//! Whoever has most waiting goes first: a flood holds everybody else up.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tenantry_system::broker::{Again, Broker, Delivery, Lease, Published, Settlement};
use tenantry_system::call::CallError;
use tenantry_system::grant::Envelope;
use tenantry_system::ids::{MessageId, TenantId};

use super::Kit;
use super::seam::{Bent, BentBroker};

/// A flood is so many times what another has waiting, and more.
const FLOOD: u64 = 4;

/// Whoever is held up is looked at again after this long, in milliseconds.
const LATER_MS: u64 = 100;

struct LongestQueueFirst {
    inner: Arc<dyn Broker>,
    /// It notes how much of each tenant's waits.
    kit: Kit,
}

pub(super) fn plant(inner: Arc<dyn Broker>, kit: &Kit) -> Arc<dyn Broker> {
    Arc::new(Bent(LongestQueueFirst { inner, kit: kit.clone() }))
}

#[async_trait]
impl BentBroker for LongestQueueFirst {
    fn inner(&self) -> &dyn Broker {
        &*self.inner
    }

    async fn publish(
        &self,
        tenant: &TenantId,
        message_id: &MessageId,
        envelope: Envelope,
    ) -> Result<Published, CallError> {
        let published = self.inner.publish(tenant, message_id, envelope).await?;
        if matches!(published, Published::Accepted { .. }) {
            *self.kit.notes().entry(tenant.to_string()).or_default() += 1;
        }
        Ok(published)
    }

    async fn fetch(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>, CallError> {
        let mut first = Vec::new();
        for delivery in self.inner.fetch(max, wait).await? {
            let (own, most) = {
                let notes = self.kit.notes();
                let own = notes.get(delivery.lease.tenant.as_str()).copied().unwrap_or(0);
                (own, notes.values().max().copied().unwrap_or(0))
            };
            if own.saturating_mul(FLOOD) < most {
                let again = Again { reason: "others have more waiting".into(), after_ms: Some(LATER_MS) };
                self.inner.settle(&delivery.lease, Settlement { ended: Vec::new(), again }).await?;
            } else {
                first.push(delivery);
            }
        }
        Ok(first)
    }

    async fn settle(&self, lease: &Lease, settlement: Settlement) -> Result<bool, CallError> {
        let ended = settlement.ended.len() as u64;
        let settled = self.inner.settle(lease, settlement).await?;
        if settled && let Some(waiting) = self.kit.notes().get_mut(lease.tenant.as_str()) {
            *waiting = waiting.saturating_sub(ended);
        }
        Ok(settled)
    }
}
