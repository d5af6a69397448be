//! A command counts as done from when it was first tried, whether it was done or not.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tenantry_system::call::CallError;
use tenantry_system::ids::{MessageId, TenantId};
use tenantry_system::ledger::{Applied, Ledger, Outcome, Run};

use super::Kit;
use super::seam::{Bent, BentLedger};

struct DedupBeforeEffect {
    inner: Arc<dyn Ledger>,
    claimed: Mutex<BTreeSet<(TenantId, MessageId)>>,
}

pub(super) fn plant(inner: Arc<dyn Ledger>, _: &Kit) -> Arc<dyn Ledger> {
    Arc::new(Bent(DedupBeforeEffect { inner, claimed: Mutex::default() }))
}

#[async_trait]
impl BentLedger for DedupBeforeEffect {
    fn inner(&self) -> &dyn Ledger {
        &*self.inner
    }

    async fn apply(&self, run: &Run) -> Result<Vec<Applied>, CallError> {
        let mut known = Vec::new();
        {
            let mut claimed = self.claimed.lock().expect("no holder panics");
            for work in run.works() {
                let key = (run.scope().tenant().clone(), work.command.message().message_id.clone());
                known.push((!claimed.insert(key), work.command.message().body_sha256()));
            }
        }
        let mut applied = self.inner.apply(run).await?;
        for (applied, (known, body_sha256)) in applied.iter_mut().zip(known) {
            if known && !matches!(applied, Applied::Now(_) | Applied::Before(_)) {
                *applied = Applied::Before(Outcome {
                    body_sha256,
                    verdict: Ok(Vec::new()),
                    version: 0,
                    at_unix_ms: 0,
                    authority_revision: 0,
                    rules_version: 0,
                });
            }
        }
        Ok(applied)
    }
}
