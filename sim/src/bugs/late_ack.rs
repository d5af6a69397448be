//! A settlement that comes late settles whatever is out by then: only the tenant is compared, and not the lease.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tenantry_system::broker::{Broker, Delivery, Lease, Settlement};
use tenantry_system::call::CallError;

use super::Kit;
use super::seam::{Bent, BentBroker};

struct LateAck {
    inner: Arc<dyn Broker>,
    /// It notes which lease is out.
    kit: Kit,
}

pub(super) fn plant(inner: Arc<dyn Broker>, kit: &Kit) -> Arc<dyn Broker> {
    Arc::new(Bent(LateAck { inner, kit: kit.clone() }))
}

#[async_trait]
impl BentBroker for LateAck {
    fn inner(&self) -> &dyn Broker {
        &*self.inner
    }

    async fn fetch(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>, CallError> {
        let deliveries = self.inner.fetch(max, wait).await?;
        let out = deliveries.iter().map(|delivery| (delivery.lease.tenant.to_string(), delivery.lease.token));
        self.kit.notes().extend(out);
        Ok(deliveries)
    }

    async fn settle(&self, lease: &Lease, settlement: Settlement) -> Result<bool, CallError> {
        let out = self.kit.notes().get(lease.tenant.as_str()).copied();
        let lease = Lease { tenant: lease.tenant.clone(), token: out.unwrap_or(lease.token) };
        self.inner.settle(&lease, settlement).await
    }
}
