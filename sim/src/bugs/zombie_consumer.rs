//! A consumer that slept through the end of its lease writes what it had in work over whatever came after it: neither the
//! place in the order nor the outcome that is there already stops it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tenantry_system::call::CallError;
use tenantry_system::ids::TenantId;
use tenantry_system::ledger::{Applied, Ledger, Run, Work};

use super::Kit;
use super::forge::Forge;
use super::seam::{Bent, BentLedger};

struct ZombieConsumer {
    inner: Arc<dyn Ledger>,
    forge: Forge,
    /// How far each tenant's history has come.
    latest: Mutex<BTreeMap<TenantId, u64>>,
}

pub(super) fn plant(inner: Arc<dyn Ledger>, kit: &Kit) -> Arc<dyn Ledger> {
    Arc::new(Bent(ZombieConsumer { inner, forge: Forge::new(&kit.evidence), latest: Mutex::default() }))
}

impl ZombieConsumer {
    /// Whether others of the tenant's have had their outcome after the one of this `version`.
    fn is_past(&self, tenant: &TenantId, version: u64) -> bool {
        let mut latest = self.latest.lock().expect("no holder panics");
        let latest = latest.entry(tenant.clone()).or_default();
        *latest = version.max(*latest);
        version < *latest
    }

    /// Does `work` once more, behind all that came after it.
    async fn overwrite(&self, work: &Work) {
        let id = format!("{}-again", work.command.message().message_id);
        if let Some(again) = self.forge.work(work, |message| message["message_id"] = id.into()).await {
            self.forge.force(&*self.inner, again.command).await;
        }
    }
}

#[async_trait]
impl BentLedger for ZombieConsumer {
    fn inner(&self) -> &dyn Ledger {
        &*self.inner
    }

    async fn apply(&self, run: &Run) -> Result<Vec<Applied>, CallError> {
        let applied = self.inner.apply(run).await?;
        for (work, applied) in run.works().iter().zip(&applied) {
            if let Applied::Now(outcome) | Applied::Before(outcome) = applied
                && self.is_past(run.scope().tenant(), outcome.version)
            {
                self.overwrite(work).await;
            }
        }
        Ok(applied)
    }
}
