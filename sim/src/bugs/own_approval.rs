//! Four eyes are two: whoever asks for an approval may give it, for their word is taken for another's.

use std::sync::Arc;

use async_trait::async_trait;
use tenantry_system::auth::{Approval, ApprovalRequest, Authority, Denied};
use tenantry_system::call::CallError;
use tenantry_system::capability::Clock;

use super::Kit;
use super::seam::{Bent, BentAuthority};
use crate::tenantry::world::SimClock;

struct Lenient {
    inner: Arc<dyn Authority>,
    kit: Kit,
}

pub(super) fn plant(inner: Arc<dyn Authority>, kit: &Kit) -> Arc<dyn Authority> {
    Arc::new(Bent(Lenient { inner, kit: kit.clone() }))
}

#[async_trait]
impl BentAuthority for Lenient {
    fn inner(&self) -> &dyn Authority {
        &*self.inner
    }

    async fn approvals(
        &self,
        token: &str,
        request: ApprovalRequest,
    ) -> Result<Result<Vec<Approval>, Denied>, CallError> {
        let mut answered = self.inner.approvals(token, request.clone()).await?;
        if answered.is_ok() || !matches!(request, ApprovalRequest::Approve { .. }) {
            return Ok(answered);
        }
        for other in self.kit.operators() {
            let token = self.kit.provider.token(&other, SimClock::right().unix_seconds());
            answered = self.inner.approvals(&token, request.clone()).await?;
            if answered.is_ok() {
                break;
            }
        }
        Ok(answered)
    }
}
