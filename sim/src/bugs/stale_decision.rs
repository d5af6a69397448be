//! A decision that a revocation has overtaken counts all the same: between check and effect there is a gap.

use std::sync::Arc;

use async_trait::async_trait;
use tenantry_system::auth::InForce;
use tenantry_system::call::CallError;
use tenantry_system::ledger::{Applied, Ledger, Run, Work};

use super::Kit;
use super::forge::Forge;
use super::seam::{Bent, BentLedger};

struct StaleDecision {
    inner: Arc<dyn Ledger>,
    forge: Forge,
}

pub(super) fn plant(inner: Arc<dyn Ledger>, kit: &Kit) -> Arc<dyn Ledger> {
    Arc::new(Bent(StaleDecision { inner, forge: Forge::new(&kit.evidence) }))
}

impl StaleDecision {
    /// `work`, with what auth said to it, as if it had been said now.
    fn renewed(&self, work: &Work) -> Work {
        let Some(InForce { revision, key }) = self.forge.in_force() else { return work.clone() };
        let (command, decision) = (&work.command, &work.decision);
        let (user, tenant) = (command.actor(), command.scope().tenant());
        let (permission, verdict) = (command.message().action.permission(), decision.verdict.clone());
        let decision = key.decide_on(user, tenant, permission, verdict, decision.approval.clone(), revision);
        Work { decision, ..work.clone() }
    }
}

#[async_trait]
impl BentLedger for StaleDecision {
    fn inner(&self) -> &dyn Ledger {
        &*self.inner
    }

    async fn apply(&self, run: &Run) -> Result<Vec<Applied>, CallError> {
        let renewed = run.works().iter().map(|work| self.renewed(work)).collect();
        self.inner.apply(&Run::new(renewed).map_err(CallError::failed)?).await
    }
}
