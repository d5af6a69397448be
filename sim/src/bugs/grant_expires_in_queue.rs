//! A grant lives as briefly as an ordinary token, and queues outlive it.

use std::sync::Arc;

use async_trait::async_trait;
use tenantry_system::auth::{Authority, Denied, GrantRequest};
use tenantry_system::call::CallError;
use tenantry_system::grant::{CLOCK_LEEWAY_SECONDS, GrantToken, Purpose};
use tenantry_system::jws::PublicKeys;

use super::Kit;
use super::forge::{Forge, claims};
use super::seam::{Bent, BentAuthority};

/// On the scale of a run, what an ordinary token's minutes are on that of an outage. What clocks may differ by comes on top.
const LIFE_SECONDS: i64 = 1;

struct GrantExpiresInQueue {
    inner: Arc<dyn Authority>,
    forge: Forge,
}

pub(super) fn plant(inner: Arc<dyn Authority>, kit: &Kit) -> Arc<dyn Authority> {
    Arc::new(Bent(GrantExpiresInQueue { inner, forge: Forge::new(&kit.evidence) }))
}

impl GrantExpiresInQueue {
    fn shortened(&self, grant: &str) -> Option<GrantToken> {
        let mut claims = claims(grant)?;
        claims["process_by"] = (claims["iat"].as_i64()? + LIFE_SECONDS - CLOCK_LEEWAY_SECONDS).into();
        Some(self.forge.sign(&claims))
    }
}

#[async_trait]
impl BentAuthority for GrantExpiresInQueue {
    fn inner(&self) -> &dyn Authority {
        &*self.inner
    }

    async fn grant(&self, request: &GrantRequest) -> Result<Result<GrantToken, Denied>, CallError> {
        let granted = self.inner.grant(request).await?;
        let is_command = matches!(request.purpose, Purpose::Command { .. });
        Ok(granted.map(|grant| if is_command { self.shortened(&grant).unwrap_or(grant) } else { grant }))
    }

    async fn keys(&self) -> Result<PublicKeys, CallError> {
        Ok(self.forge.among(&self.inner.keys().await?))
    }
}
