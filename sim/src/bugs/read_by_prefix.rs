//! Whoever asks for a tenant is shown the one whose name its name begins with, if that was asked for last.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tenantry_system::call::CallError;
use tenantry_system::grant::VerifiedRead;
use tenantry_system::ids::TenantId;
use tenantry_system::ledger::{Ledger, TenantState};

use super::Kit;
use super::forge::Forge;
use super::seam::{Bent, BentLedger};

struct ReadByPrefix {
    inner: Arc<dyn Ledger>,
    forge: Forge,
    last: Mutex<Option<TenantId>>,
}

pub(super) fn plant(inner: Arc<dyn Ledger>, kit: &Kit) -> Arc<dyn Ledger> {
    Arc::new(Bent(ReadByPrefix { inner, forge: Forge::new(&kit.evidence), last: Mutex::default() }))
}

#[async_trait]
impl BentLedger for ReadByPrefix {
    fn inner(&self) -> &dyn Ledger {
        &*self.inner
    }

    async fn state(&self, read: &VerifiedRead) -> Result<TenantState, CallError> {
        let tenant = read.scope().tenant();
        let last = self.last.lock().expect("no holder panics").replace(tenant.clone());
        let nearest = last.filter(|last| last != tenant && tenant.as_str().starts_with(last.as_str()));
        let misread = match nearest {
            Some(nearest) => self.forge.read(read, &nearest).await,
            None => None,
        };
        self.inner.state(misread.as_ref().unwrap_or(read)).await
    }
}
