//! A live stream asks the audit log for something else than its tenant's next records.

use std::sync::Arc;

use async_trait::async_trait;
use tenantry_system::audit::{Audit, Found, Query};
use tenantry_system::call::CallError;

use super::Kit;
use super::seam::{Bent, BentAudit};

struct StreamBent {
    inner: Arc<dyn Audit>,
    bend: fn(&mut Query),
}

/// It forgets whose stream it is.
pub(super) fn everyones(inner: Arc<dyn Audit>, _: &Kit) -> Arc<dyn Audit> {
    Arc::new(Bent(StreamBent { inner, bend: |query| query.tenant = None }))
}

/// It goes on one place too far.
pub(super) fn skipping(inner: Arc<dyn Audit>, _: &Kit) -> Arc<dyn Audit> {
    Arc::new(Bent(StreamBent { inner, bend: |query| query.after += 1 }))
}

#[async_trait]
impl BentAudit for StreamBent {
    fn inner(&self) -> &dyn Audit {
        &*self.inner
    }

    async fn search(&self, query: &Query) -> Result<Found, CallError> {
        let mut query = query.clone();
        if query.bare {
            (self.bend)(&mut query);
        }
        self.inner.search(&query).await
    }
}
