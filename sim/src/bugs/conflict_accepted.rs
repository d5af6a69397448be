//! Another body under a known message id is taken for a retry, and answered as accepted.

use std::sync::Arc;

use async_trait::async_trait;
use tenantry_system::broker::{Broker, Published};
use tenantry_system::call::CallError;
use tenantry_system::grant::Envelope;
use tenantry_system::ids::{MessageId, TenantId};

use super::Kit;
use super::seam::{Bent, BentBroker};

struct ConflictAccepted(Arc<dyn Broker>);

pub(super) fn plant(inner: Arc<dyn Broker>, _: &Kit) -> Arc<dyn Broker> {
    Arc::new(Bent(ConflictAccepted(inner)))
}

#[async_trait]
impl BentBroker for ConflictAccepted {
    fn inner(&self) -> &dyn Broker {
        &*self.0
    }

    async fn publish(
        &self,
        tenant: &TenantId,
        message_id: &MessageId,
        envelope: Envelope,
    ) -> Result<Published, CallError> {
        match self.0.publish(tenant, message_id, envelope).await? {
            Published::Conflict => Ok(Published::Duplicate { sequence: 0 }),
            published => Ok(published),
        }
    }
}
