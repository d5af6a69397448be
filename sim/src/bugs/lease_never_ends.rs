//! A run whose consumer has died stays theirs for ever.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tenantry_system::broker::{Broker, Delivery, Lease, Settlement};
use tenantry_system::call::CallError;
use tenantry_system::ids::TenantId;
use tenantry_system::ledger::PauseGeneration;

use super::Kit;
use super::seam::{Bent, BentBroker};

struct LeaseNeverEnds {
    inner: Arc<dyn Broker>,
    /// It notes on its disk whose runs are out.
    kit: Kit,
}

pub(super) fn plant(inner: Arc<dyn Broker>, kit: &Kit) -> Arc<dyn Broker> {
    Arc::new(Bent(LeaseNeverEnds { inner, kit: kit.clone() }))
}

impl LeaseNeverEnds {
    fn end(&self, tenant: &TenantId) {
        self.kit.notes().remove(tenant.as_str());
    }
}

#[async_trait]
impl BentBroker for LeaseNeverEnds {
    fn inner(&self) -> &dyn Broker {
        &*self.inner
    }

    async fn fetch(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>, CallError> {
        let mut deliveries = self.inner.fetch(max, wait).await?;
        let mut out = self.kit.notes();
        deliveries.retain(|delivery| out.insert(delivery.lease.tenant.to_string(), 1).is_none());
        Ok(deliveries)
    }

    async fn settle(&self, lease: &Lease, settlement: Settlement) -> Result<bool, CallError> {
        let settled = self.inner.settle(lease, settlement).await;
        self.end(&lease.tenant);
        settled
    }

    async fn pause(&self, tenant: &TenantId, generation: PauseGeneration) -> Result<PauseGeneration, CallError> {
        let paused = self.inner.pause(tenant, generation).await;
        self.end(tenant);
        paused
    }
}
