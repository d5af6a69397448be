//! A change that was to be made only if nobody had been faster is made anyway.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use tenantry_system::call::CallError;
use tenantry_system::ledger::{Applied, Ledger, Run};

use super::Kit;
use super::forge::Forge;
use super::seam::{Bent, BentLedger};

struct ExpectedVersionIgnored {
    inner: Arc<dyn Ledger>,
    forge: Forge,
}

pub(super) fn plant(inner: Arc<dyn Ledger>, kit: &Kit) -> Arc<dyn Ledger> {
    Arc::new(Bent(ExpectedVersionIgnored { inner, forge: Forge::new(&kit.evidence) }))
}

#[async_trait]
impl BentLedger for ExpectedVersionIgnored {
    fn inner(&self) -> &dyn Ledger {
        &*self.inner
    }

    async fn apply(&self, run: &Run) -> Result<Vec<Applied>, CallError> {
        let run = self.forge.run(run, "update_billing_limit", |payload: &mut Value| {
            payload.as_object_mut().and_then(|payload| payload.remove("expected_version")).is_some()
        });
        self.inner.apply(&run.await).await
    }
}
