//! What waits for the audit log is sent newest first.

use std::sync::Arc;

use async_trait::async_trait;
use tenantry_system::audit::{Audit, Event};
use tenantry_system::call::CallError;

use super::Kit;
use super::seam::{Bent, BentAudit};

struct RelaysOutOfOrder(Arc<dyn Audit>);

pub(super) fn plant(inner: Arc<dyn Audit>, _: &Kit) -> Arc<dyn Audit> {
    Arc::new(Bent(RelaysOutOfOrder(inner)))
}

#[async_trait]
impl BentAudit for RelaysOutOfOrder {
    fn inner(&self) -> &dyn Audit {
        &*self.0
    }

    async fn append(&self, source: &str, first: u64, mut events: Vec<Event>) -> Result<u64, CallError> {
        events.reverse();
        self.0.append(source, first, events).await
    }
}
