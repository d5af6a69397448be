//! What was relayed to the audit log is relayed once more, under new numbers.

use std::sync::Arc;

use async_trait::async_trait;
use tenantry_system::audit::{Audit, Event};
use tenantry_system::call::CallError;

use super::Kit;
use super::seam::{Bent, BentAudit};

struct RelaysTwice(Arc<dyn Audit>);

pub(super) fn plant(inner: Arc<dyn Audit>, _: &Kit) -> Arc<dyn Audit> {
    Arc::new(Bent(RelaysTwice(inner)))
}

#[async_trait]
impl BentAudit for RelaysTwice {
    fn inner(&self) -> &dyn Audit {
        &*self.0
    }

    async fn append(&self, source: &str, first: u64, events: Vec<Event>) -> Result<u64, CallError> {
        let last = self.0.append(source, first, events.clone()).await?;
        self.0.append(&format!("{source}/again"), first, events).await?;
        Ok(last)
    }
}
