//! What was granted once is permitted at its effect, whoever had approved it and may no longer.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tenantry_system::action::Permission;
use tenantry_system::auth::{Authority, Decision, InForce, Verdict};
use tenantry_system::call::CallError;
use tenantry_system::ids::{TenantId, UserId};
use tenantry_system::message::BodyHash;

use super::Kit;
use super::seam::{Bent, BentAuthority};

struct Forgetful(Arc<dyn Authority>);

pub(super) fn plant(inner: Arc<dyn Authority>, _: &Kit) -> Arc<dyn Authority> {
    Arc::new(Bent(Forgetful(inner)))
}

#[async_trait]
impl BentAuthority for Forgetful {
    fn inner(&self) -> &dyn Authority {
        &*self.0
    }

    async fn recheck(
        &self,
        user: &UserId,
        tenant: &TenantId,
        permission: Permission,
        body: &BodyHash,
    ) -> Result<Decision, CallError> {
        let decision = self.0.recheck(user, tenant, permission, body).await?;
        if matches!(decision.verdict, Verdict::Permit { .. }) {
            return Ok(decision);
        }
        let InForce { revision, key } = self.0.in_force(0, Duration::ZERO).await?;
        let permit = Verdict::Permit { policies: Vec::new() };
        Ok(key.decide_on(user, tenant, permission, permit, decision.approval, revision))
    }
}
