//! Trying a command does it.

use std::sync::Arc;

use async_trait::async_trait;
use tenantry_system::call::CallError;
use tenantry_system::grant::{Envelope, VerifiedDryRun};
use tenantry_system::ledger::{DryRun, Ledger};

use super::Kit;
use super::forge::Forge;
use super::seam::{Bent, BentLedger};

struct DryRunActs {
    inner: Arc<dyn Ledger>,
    forge: Forge,
}

pub(super) fn plant(inner: Arc<dyn Ledger>, kit: &Kit) -> Arc<dyn Ledger> {
    Arc::new(Bent(DryRunActs { inner, forge: Forge::new(&kit.evidence) }))
}

#[async_trait]
impl BentLedger for DryRunActs {
    fn inner(&self) -> &dyn Ledger {
        &*self.inner
    }

    async fn dry_run(&self, right: &VerifiedDryRun) -> Result<DryRun, CallError> {
        let seen = self.inner.dry_run(right).await?;
        let envelope = Envelope { body: right.message().body.clone(), grant: right.grant().clone(), trace: None };
        if let Some(command) = self.forge.verified(&envelope).await {
            self.forge.force(&*self.inner, command).await;
        }
        Ok(seen)
    }
}
