//! What is refused is forgotten, not put aside.

use std::sync::Arc;

use async_trait::async_trait;
use tenantry_system::broker::{Broker, Ending, Lease, Settlement};
use tenantry_system::call::CallError;

use super::Kit;
use super::seam::{Bent, BentBroker};

struct DeadLetterLost(Arc<dyn Broker>);

pub(super) fn plant(inner: Arc<dyn Broker>, _: &Kit) -> Arc<dyn Broker> {
    Arc::new(Bent(DeadLetterLost(inner)))
}

#[async_trait]
impl BentBroker for DeadLetterLost {
    fn inner(&self) -> &dyn Broker {
        &*self.0
    }

    async fn settle(&self, lease: &Lease, mut settlement: Settlement) -> Result<bool, CallError> {
        settlement.ended.fill(Ending::Done);
        self.0.settle(lease, settlement).await
    }
}
