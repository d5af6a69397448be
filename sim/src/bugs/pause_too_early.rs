//! A pause is confirmed while commands that are in work still take effect.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tenantry_system::call::CallError;
use tenantry_system::grant::VerifiedPause;
use tenantry_system::ledger::{Ledger, PauseGeneration, Paused};
use tokio::time::sleep;

use super::Kit;
use super::seam::{Bent, BentLedger};

/// Commands are in work no longer than this, one would think.
const LATER: Duration = Duration::from_millis(40);

struct PauseTooEarly {
    inner: Arc<dyn Ledger>,
    kit: Kit,
}

pub(super) fn plant(inner: Arc<dyn Ledger>, kit: &Kit) -> Arc<dyn Ledger> {
    Arc::new(Bent(PauseTooEarly { inner, kit: kit.clone() }))
}

#[async_trait]
impl BentLedger for PauseTooEarly {
    fn inner(&self) -> &dyn Ledger {
        &*self.inner
    }

    async fn pause(&self, right: &VerifiedPause, to: PauseGeneration) -> Result<Paused, CallError> {
        let engine = self.kit.evidence.seen().engines.ledger.clone();
        let states = engine.and_then(|engine| engine.every_state().ok()).unwrap_or_default();
        let state = states.get(right.scope().tenant()).cloned().unwrap_or_default();
        if !to.is_paused() || to != state.pause_generation.next() {
            return self.inner.pause(right, to).await;
        }
        let (ledger, right) = (self.inner.clone(), right.clone());
        tokio::spawn(async move {
            sleep(LATER).await;
            ledger.pause(&right, to).await
        });
        Ok(Paused { generation: to, version: state.version })
    }
}
