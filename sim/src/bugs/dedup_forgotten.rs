//! Deduplication remembers the last few commands only: what comes again later takes effect again.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tenantry_system::call::CallError;
use tenantry_system::ids::MessageId;
use tenantry_system::ledger::{Applied, Ledger, Run, Work};

use super::Kit;
use super::forge::Forge;
use super::seam::{Bent, BentLedger};

/// How many are remembered: few, so that few commands show it.
const REMEMBERED: usize = 2;

struct DedupForgotten {
    inner: Arc<dyn Ledger>,
    forge: Forge,
    done: Mutex<VecDeque<MessageId>>,
}

pub(super) fn plant(inner: Arc<dyn Ledger>, kit: &Kit) -> Arc<dyn Ledger> {
    Arc::new(Bent(DedupForgotten { inner, forge: Forge::new(&kit.evidence), done: Mutex::default() }))
}

impl DedupForgotten {
    fn remember(&self, message_id: &MessageId) {
        let mut done = self.done.lock().expect("no holder panics");
        done.push_back(message_id.clone());
        if done.len() > REMEMBERED {
            done.pop_front();
        }
    }

    /// Does `work` once more, as if it had never been.
    async fn again(&self, work: &Work) -> Option<Applied> {
        let id = format!("{}-again", work.command.message().message_id);
        let again = self.forge.work(work, |message| message["message_id"] = id.into()).await?;
        let applied = self.forge.force(&*self.inner, again.command).await?;
        matches!(applied, Applied::Now(_)).then_some(applied)
    }
}

#[async_trait]
impl BentLedger for DedupForgotten {
    fn inner(&self) -> &dyn Ledger {
        &*self.inner
    }

    async fn apply(&self, run: &Run) -> Result<Vec<Applied>, CallError> {
        let mut applied = self.inner.apply(run).await?;
        for (work, applied) in run.works().iter().zip(&mut applied) {
            let message_id = &work.command.message().message_id;
            let is_known = self.done.lock().expect("no holder panics").contains(message_id);
            match applied {
                Applied::Now(_) => self.remember(message_id),
                Applied::Before(_) if !is_known => {
                    if let Some(again) = self.again(work).await {
                        *applied = again;
                    }
                }
                _ => {}
            }
        }
        Ok(applied)
    }
}
