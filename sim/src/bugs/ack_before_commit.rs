//! Commands are answered as applied before the ledger has them: the consumer acknowledges what may never happen.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tenantry_system::call::CallError;
use tenantry_system::ledger::{Applied, Ledger, Outcome, Run, Work};
use tokio::time::sleep;

use super::Kit;
use super::seam::{Bent, BentLedger};

/// The transaction begins so much later: whatever else there was to do.
const LATER: Duration = Duration::from_millis(100);

struct AckBeforeCommit(Arc<dyn Ledger>);

pub(super) fn plant(inner: Arc<dyn Ledger>, _: &Kit) -> Arc<dyn Ledger> {
    Arc::new(Bent(AckBeforeCommit(inner)))
}

#[async_trait]
impl BentLedger for AckBeforeCommit {
    fn inner(&self) -> &dyn Ledger {
        &*self.0
    }

    async fn apply(&self, run: &Run) -> Result<Vec<Applied>, CallError> {
        let (ledger, later) = (self.0.clone(), run.clone());
        tokio::spawn(async move {
            sleep(LATER).await;
            ledger.apply(&later).await
        });
        let hoped = |work: &Work| {
            Applied::Now(Outcome {
                body_sha256: work.command.message().body_sha256(),
                verdict: Ok(Vec::new()),
                version: 0,
                at_unix_ms: 0,
                authority_revision: 0,
                rules_version: 0,
            })
        };
        Ok(run.works().iter().map(hoped).collect())
    }
}
