//! What can't be done now is tried again at once, without end.

use std::sync::Arc;

use async_trait::async_trait;
use tenantry_system::broker::{Broker, Lease, Settlement};
use tenantry_system::call::CallError;

use super::Kit;
use super::seam::{Bent, BentBroker};

struct InstantRetry(Arc<dyn Broker>);

pub(super) fn plant(inner: Arc<dyn Broker>, _: &Kit) -> Arc<dyn Broker> {
    Arc::new(Bent(InstantRetry(inner)))
}

#[async_trait]
impl BentBroker for InstantRetry {
    fn inner(&self) -> &dyn Broker {
        &*self.0
    }

    async fn settle(&self, lease: &Lease, mut settlement: Settlement) -> Result<bool, CallError> {
        settlement.again.after_ms = Some(0);
        self.0.settle(lease, settlement).await
    }
}
