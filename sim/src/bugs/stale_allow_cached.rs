//! Auth remembers what it once allowed, and asks its policies no more.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tenantry_system::action::Permission;
use tenantry_system::auth::{Authority, Decision, Verdict};
use tenantry_system::call::CallError;
use tenantry_system::ids::{TenantId, UserId};
use tenantry_system::message::BodyHash;

use super::Kit;
use super::forge::Forge;
use super::seam::{Bent, BentAuthority};

type Asked = (UserId, TenantId, Permission);

struct StaleAllowCached {
    inner: Arc<dyn Authority>,
    forge: Forge,
    allowed: Mutex<BTreeMap<Asked, Verdict>>,
}

pub(super) fn plant(inner: Arc<dyn Authority>, kit: &Kit) -> Arc<dyn Authority> {
    Arc::new(Bent(StaleAllowCached { inner, forge: Forge::new(&kit.evidence), allowed: Mutex::default() }))
}

#[async_trait]
impl BentAuthority for StaleAllowCached {
    fn inner(&self) -> &dyn Authority {
        &*self.inner
    }

    async fn recheck(
        &self,
        user: &UserId,
        tenant: &TenantId,
        permission: Permission,
        body: &BodyHash,
    ) -> Result<Decision, CallError> {
        let asked = (user.clone(), tenant.clone(), permission);
        let known = self.allowed.lock().expect("no holder panics").get(&asked).cloned();
        if let (Some(verdict), Some(now)) = (known, self.forge.in_force()) {
            return Ok(now.key.decide(user, tenant, permission, verdict, now.revision));
        }
        let decision = self.inner.recheck(user, tenant, permission, body).await?;
        if decision.approval.is_none() && matches!(decision.verdict, Verdict::Permit { .. }) {
            self.allowed.lock().expect("no holder panics").insert(asked, decision.verdict.clone());
        }
        Ok(decision)
    }
}
