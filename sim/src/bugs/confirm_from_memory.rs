//! A publish is confirmed while it is still in memory, and stored when there is time for it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tenantry_system::broker::{Broker, Published};
use tenantry_system::call::CallError;
use tenantry_system::grant::Envelope;
use tenantry_system::ids::{MessageId, TenantId};
use tokio::time::sleep;

use super::Kit;
use super::seam::{Bent, BentBroker};

/// A message is stored so much later: a batch's worth.
const LATER: Duration = Duration::from_millis(100);

struct ConfirmFromMemory(Arc<dyn Broker>);

pub(super) fn plant(inner: Arc<dyn Broker>, _: &Kit) -> Arc<dyn Broker> {
    Arc::new(Bent(ConfirmFromMemory(inner)))
}

#[async_trait]
impl BentBroker for ConfirmFromMemory {
    fn inner(&self) -> &dyn Broker {
        &*self.0
    }

    async fn publish(
        &self,
        tenant: &TenantId,
        message_id: &MessageId,
        envelope: Envelope,
    ) -> Result<Published, CallError> {
        // What is known has its own answer.
        if self.0.standing(tenant, message_id).await?.is_some() {
            return self.0.publish(tenant, message_id, envelope).await;
        }
        let (broker, tenant, message_id) = (self.0.clone(), tenant.clone(), message_id.clone());
        tokio::spawn(async move {
            sleep(LATER).await;
            broker.publish(&tenant, &message_id, envelope).await
        });
        Ok(Published::Accepted { sequence: 0 })
    }
}
