//! A settlement that comes late settles whatever run of its tenant is out by then.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tenantry_system::broker::{Broker, Delivery, Lease, Settlement};
use tenantry_system::call::CallError;
use tenantry_system::ids::TenantId;

use super::Kit;
use super::seam::{Bent, BentBroker};

struct LateAck {
    inner: Arc<dyn Broker>,
    out: Mutex<BTreeMap<TenantId, u64>>,
}

pub(super) fn plant(inner: Arc<dyn Broker>, _: &Kit) -> Arc<dyn Broker> {
    Arc::new(Bent(LateAck { inner, out: Mutex::default() }))
}

#[async_trait]
impl BentBroker for LateAck {
    fn inner(&self) -> &dyn Broker {
        &*self.inner
    }

    async fn fetch(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>, CallError> {
        let deliveries = self.inner.fetch(max, wait).await?;
        let leases = deliveries.iter().map(|Delivery { lease, .. }| (lease.tenant.clone(), lease.token));
        self.out.lock().expect("no holder panics").extend(leases);
        Ok(deliveries)
    }

    async fn settle(&self, lease: &Lease, settlement: Settlement) -> Result<bool, CallError> {
        let token = self.out.lock().expect("no holder panics").get(&lease.tenant).copied();
        let lease = Lease { token: token.unwrap_or(lease.token), ..lease.clone() };
        self.inner.settle(&lease, settlement).await
    }
}
