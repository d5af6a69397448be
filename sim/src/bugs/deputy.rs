//! What an operator may not ask for, someone asks for in their place who may: the panel's own rights are lent to anyone.

use std::sync::Arc;

use async_trait::async_trait;
use tenantry_system::auth::{Authority, Denied, GrantRequest};
use tenantry_system::call::CallError;
use tenantry_system::capability::Clock;
use tenantry_system::grant::{GrantToken, Purpose};

use super::Kit;
use super::seam::{Bent, BentAuthority};
use crate::tenantry::world::SimClock;

struct Deputy {
    inner: Arc<dyn Authority>,
    kit: Kit,
    /// What it is done for.
    lends: fn(&Purpose) -> bool,
}

/// Commands are asked for by whoever may.
pub(super) fn commands(inner: Arc<dyn Authority>, kit: &Kit) -> Arc<dyn Authority> {
    let lends = |purpose: &Purpose| matches!(purpose, Purpose::Command { .. });
    Arc::new(Bent(Deputy { inner, kit: kit.clone(), lends }))
}

/// Dead letters are replayed by whoever may.
pub(super) fn replays(inner: Arc<dyn Authority>, kit: &Kit) -> Arc<dyn Authority> {
    let lends = |purpose: &Purpose| matches!(purpose, Purpose::Replay { .. });
    Arc::new(Bent(Deputy { inner, kit: kit.clone(), lends }))
}

#[async_trait]
impl BentAuthority for Deputy {
    fn inner(&self) -> &dyn Authority {
        &*self.inner
    }

    async fn grant(&self, request: &GrantRequest) -> Result<Result<GrantToken, Denied>, CallError> {
        let answer = self.inner.grant(request).await?;
        if !matches!(answer, Err(Denied::Forbidden(_))) || !(self.lends)(&request.purpose) {
            return Ok(answer);
        }
        for deputy in self.kit.operators() {
            let token = self.kit.provider.token(&deputy, SimClock::right().unix_seconds());
            let user = request.user.as_ref().map(|_| deputy);
            let lent = self.inner.grant(&GrantRequest { token, user, ..request.clone() }).await?;
            if lent.is_ok() {
                return Ok(lent);
            }
        }
        Ok(answer)
    }
}
