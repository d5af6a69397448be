//! What a consumer gives back is taken for done.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tenantry_system::broker::{Broker, Delivery, Ending, Lease, Settlement};
use tenantry_system::call::CallError;

use super::Kit;
use super::seam::{Bent, BentBroker};

struct NackIsAck {
    inner: Arc<dyn Broker>,
    /// How many messages each lease is on.
    lengths: Mutex<BTreeMap<u64, usize>>,
}

pub(super) fn plant(inner: Arc<dyn Broker>, _: &Kit) -> Arc<dyn Broker> {
    Arc::new(Bent(NackIsAck { inner, lengths: Mutex::default() }))
}

#[async_trait]
impl BentBroker for NackIsAck {
    fn inner(&self) -> &dyn Broker {
        &*self.inner
    }

    async fn fetch(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>, CallError> {
        let deliveries = self.inner.fetch(max, wait).await?;
        let lengths = deliveries.iter().map(|delivery| (delivery.lease.token, delivery.messages.len()));
        self.lengths.lock().expect("no holder panics").extend(lengths);
        Ok(deliveries)
    }

    async fn settle(&self, lease: &Lease, mut settlement: Settlement) -> Result<bool, CallError> {
        let length = self.lengths.lock().expect("no holder panics").remove(&lease.token);
        settlement.ended.resize(length.unwrap_or(settlement.ended.len()), Ending::Done);
        self.inner.settle(lease, settlement).await
    }
}
