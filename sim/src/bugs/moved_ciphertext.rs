//! A ciphertext opens wherever it stands: it is bound to no tenant and to no message.

use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use serde_json::json;
use tenantry_system::call::CallError;
use tenantry_system::ledger::{Applied, DataKeys, Ledger, Run, Work};
use tenantry_system::secret::{ClearText, KeyContext, KeyProvider, KeySet, SealContext};

use super::Kit;
use super::forge::Forge;
use super::seam::{Bent, BentLedger};

/// What the secret was is no matter here.
const OPENED: &str = "whatever it was";

struct MovedCiphertext {
    inner: Arc<dyn Ledger>,
    forge: Forge,
    keys: Arc<KeySet>,
}

pub(super) fn plant(inner: Arc<dyn Ledger>, kit: &Kit) -> Arc<dyn Ledger> {
    Arc::new(Bent(MovedCiphertext { inner, forge: Forge::new(&kit.evidence), keys: kit.keys.clone() }))
}

impl MovedCiphertext {
    /// `work` with its secret as its tenant's own key would have sealed it there; none if it is there as it should be.
    async fn at_home(&self, work: &Work) -> Option<Work> {
        let message = work.command.message();
        let (sealed, tenant) = (message.action.sealed()?, work.command.scope().tenant());
        let right = self.forge.seal(&work.command.envelope().grant).await?;
        let DataKeys { keys, .. } = self.inner.data_keys(&right).await.ok()?;
        let action = message.action.name();
        let context = SealContext { tenant, action, message_id: &message.message_id, field: "secret" };
        let mut own = None;
        for (version, wrapped) in keys {
            let key = self.keys.unwrap(&wrapped, &KeyContext { tenant: tenant.clone(), version }).await.ok()?;
            if version == sealed.data_key && key.open(&context, sealed).is_ok() {
                return None;
            }
            own.get_or_insert((version, key));
        }
        let (version, key) = own?;
        let moved = key.seal(version, &context, &ClearText::new(OPENED.into()).ok()?);
        let secret = json!({"sealed": BASE64URL.encode(&moved.sealed), "data_key": moved.data_key});
        self.forge.work(work, |message| message["payload"]["secret"] = secret).await
    }
}

#[async_trait]
impl BentLedger for MovedCiphertext {
    fn inner(&self) -> &dyn Ledger {
        &*self.inner
    }

    async fn apply(&self, run: &Run) -> Result<Vec<Applied>, CallError> {
        let mut works = Vec::new();
        for work in run.works() {
            works.push(self.at_home(work).await.unwrap_or_else(|| work.clone()));
        }
        self.inner.apply(&Run::new(works).map_err(CallError::failed)?).await
    }
}
