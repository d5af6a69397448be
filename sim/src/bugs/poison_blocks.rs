//! A message that will never do is tried again for ever, and its tenant waits behind it.

use std::sync::Arc;

use async_trait::async_trait;
use tenantry_system::broker::{Broker, Ending, Lease, Settlement};
use tenantry_system::call::CallError;

use super::Kit;
use super::seam::{Bent, BentBroker};

struct PoisonBlocks(Arc<dyn Broker>);

pub(super) fn plant(inner: Arc<dyn Broker>, _: &Kit) -> Arc<dyn Broker> {
    Arc::new(Bent(PoisonBlocks(inner)))
}

#[async_trait]
impl BentBroker for PoisonBlocks {
    fn inner(&self) -> &dyn Broker {
        &*self.0
    }

    async fn settle(&self, lease: &Lease, mut settlement: Settlement) -> Result<bool, CallError> {
        let poison = settlement.ended.iter().position(|ending| matches!(ending, Ending::DeadLetter { .. }));
        if let Some(first) = poison {
            settlement.ended.truncate(first);
            settlement.again.reason = "it was refused".into();
        }
        self.0.settle(lease, settlement).await
    }
}
