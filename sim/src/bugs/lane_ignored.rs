//! A message acts on the tenant that its body names, whatever lane it lay in.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use tenantry_system::broker::{Broker, Delivery, Lease, Settlement};
use tenantry_system::call::CallError;
use tenantry_system::ids::TenantId;

use super::Kit;
use super::seam::{Bent, BentBroker};

struct LaneIgnored {
    inner: Arc<dyn Broker>,
    /// Whose lane each lease is of that was given out as another's.
    lanes: Mutex<BTreeMap<u64, TenantId>>,
}

pub(super) fn plant(inner: Arc<dyn Broker>, _: &Kit) -> Arc<dyn Broker> {
    Arc::new(Bent(LaneIgnored { inner, lanes: Mutex::default() }))
}

fn named(body: &[u8]) -> Option<TenantId> {
    let message: Value = serde_json::from_slice(body).ok()?;
    TenantId::parse(message["tenant_id"].as_str()?).ok()
}

#[async_trait]
impl BentBroker for LaneIgnored {
    fn inner(&self) -> &dyn Broker {
        &*self.inner
    }

    async fn fetch(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>, CallError> {
        let mut deliveries = self.inner.fetch(max, wait).await?;
        for Delivery { lease, messages } in &mut deliveries {
            let Some(named) = named(&messages[0].envelope.body).filter(|named| *named != lease.tenant) else {
                continue;
            };
            // A run is of one tenant: those behind it come again.
            messages.truncate(1);
            let lane = std::mem::replace(&mut lease.tenant, named);
            self.lanes.lock().expect("no holder panics").insert(lease.token, lane);
        }
        Ok(deliveries)
    }

    async fn settle(&self, lease: &Lease, settlement: Settlement) -> Result<bool, CallError> {
        let lane = self.lanes.lock().expect("no holder panics").remove(&lease.token);
        let lease = Lease { tenant: lane.unwrap_or_else(|| lease.tenant.clone()), token: lease.token };
        self.inner.settle(&lease, settlement).await
    }
}
