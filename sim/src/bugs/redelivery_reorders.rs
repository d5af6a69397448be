//! What is delivered again comes in another order.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tenantry_system::broker::{Broker, Delivery};
use tenantry_system::call::CallError;

use super::Kit;
use super::seam::{Bent, BentBroker};

struct RedeliveryReorders(Arc<dyn Broker>);

pub(super) fn plant(inner: Arc<dyn Broker>, _: &Kit) -> Arc<dyn Broker> {
    Arc::new(Bent(RedeliveryReorders(inner)))
}

#[async_trait]
impl BentBroker for RedeliveryReorders {
    fn inner(&self) -> &dyn Broker {
        &*self.0
    }

    async fn fetch(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>, CallError> {
        let mut deliveries = self.0.fetch(max, wait).await?;
        for Delivery { messages, .. } in &mut deliveries {
            if messages.iter().any(|message| message.attempt > 1) {
                // Their places stay, so that nobody behind the broker can tell.
                let places: Vec<_> = messages.iter().map(|message| message.position).collect();
                messages.reverse();
                messages.iter_mut().zip(places).for_each(|(message, place)| message.position = place);
            }
        }
        Ok(deliveries)
    }
}
