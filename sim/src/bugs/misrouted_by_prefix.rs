//! A tenant that the ledger does not know yet is looked up by the beginning of its name.

use std::sync::Arc;

use async_trait::async_trait;
use tenantry_system::call::CallError;
use tenantry_system::ids::TenantId;
use tenantry_system::ledger::{Applied, Ledger, Run};

use super::Kit;
use super::forge::Forge;
use super::seam::{Bent, BentLedger};

struct MisroutedByPrefix {
    inner: Arc<dyn Ledger>,
    kit: Kit,
    forge: Forge,
}

pub(super) fn plant(inner: Arc<dyn Ledger>, kit: &Kit) -> Arc<dyn Ledger> {
    Arc::new(Bent(MisroutedByPrefix { inner, forge: Forge::new(&kit.evidence), kit: kit.clone() }))
}

impl MisroutedByPrefix {
    /// The known tenant whose name `tenant` begins with, if it is none that is known.
    fn nearest(&self, tenant: &TenantId) -> Option<String> {
        let mut known = self.kit.notes();
        if known.insert(tenant.to_string(), 1).is_some() {
            return None;
        }
        let other = |known: &&String| **known != tenant.as_str() && tenant.as_str().starts_with(known.as_str());
        known.keys().find(other).cloned()
    }
}

#[async_trait]
impl BentLedger for MisroutedByPrefix {
    fn inner(&self) -> &dyn Ledger {
        &*self.inner
    }

    async fn apply(&self, run: &Run) -> Result<Vec<Applied>, CallError> {
        let Some(nearest) = self.nearest(run.scope().tenant()) else { return self.inner.apply(run).await };
        let mut works = Vec::new();
        for work in run.works() {
            let to = |message: &mut serde_json::Value| message["tenant_id"] = nearest.as_str().into();
            works.extend(self.forge.work(work, to).await);
        }
        match Run::new(works) {
            Ok(misrouted) => self.inner.apply(&misrouted).await,
            Err(_) => self.inner.apply(run).await,
        }
    }
}
