//! Whoever asks what became of a command is told what became of the one that was asked about before it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tenantry_system::call::CallError;
use tenantry_system::grant::VerifiedRead;
use tenantry_system::ids::MessageId;
use tenantry_system::ledger::{Ledger, Outcome};

use super::Kit;
use super::seam::{Bent, BentLedger};

struct AnswersSwapped {
    inner: Arc<dyn Ledger>,
    last: Mutex<Option<Outcome>>,
}

pub(super) fn plant(inner: Arc<dyn Ledger>, _: &Kit) -> Arc<dyn Ledger> {
    Arc::new(Bent(AnswersSwapped { inner, last: Mutex::default() }))
}

#[async_trait]
impl BentLedger for AnswersSwapped {
    fn inner(&self) -> &dyn Ledger {
        &*self.inner
    }

    async fn outcome(
        &self,
        read: &VerifiedRead,
        message_id: &MessageId,
        wait: Duration,
    ) -> Result<Option<Outcome>, CallError> {
        let Some(outcome) = self.inner.outcome(read, message_id, wait).await? else { return Ok(None) };
        let before = self.last.lock().expect("no holder panics").replace(outcome.clone());
        Ok(Some(before.unwrap_or(outcome)))
    }
}
