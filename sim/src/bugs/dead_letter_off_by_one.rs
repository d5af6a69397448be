//! Of a run with a poison message, the one behind it is put aside.

use std::sync::Arc;

use async_trait::async_trait;
use tenantry_system::broker::{Broker, Lease, Settlement};
use tenantry_system::call::CallError;

use super::Kit;
use super::seam::{Bent, BentBroker};

struct DeadLetterOffByOne(Arc<dyn Broker>);

pub(super) fn plant(inner: Arc<dyn Broker>, _: &Kit) -> Arc<dyn Broker> {
    Arc::new(Bent(DeadLetterOffByOne(inner)))
}

#[async_trait]
impl BentBroker for DeadLetterOffByOne {
    fn inner(&self) -> &dyn Broker {
        &*self.0
    }

    async fn settle(&self, lease: &Lease, mut settlement: Settlement) -> Result<bool, CallError> {
        if !settlement.ended.is_empty() {
            settlement.ended.rotate_right(1);
        }
        self.0.settle(lease, settlement).await
    }
}
