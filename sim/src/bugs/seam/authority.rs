//! An auth service with a defect.

use std::time::Duration;

use async_trait::async_trait;
use tenantry_system::action::Permission;
use tenantry_system::auth::{
    Approval, ApprovalRequest, Authority, BreakGlass, BreakGlassRequest, Decision, Denied, GrantRequest, InForce,
    PlatformRight,
};
use tenantry_system::call::CallError;
use tenantry_system::grant::GrantToken;
use tenantry_system::ids::{TenantId, UserId};
use tenantry_system::jws::PublicKeys;
use tenantry_system::message::BodyHash;

use super::Bent;

/// As [`Authority`]; what is not said otherwise the one behind it answers.
#[async_trait]
pub trait BentAuthority: Send + Sync + 'static {
    /// The one behind it.
    fn inner(&self) -> &dyn Authority;

    /// See [`Authority::grant`].
    async fn grant(&self, request: &GrantRequest) -> Result<Result<GrantToken, Denied>, CallError> {
        self.inner().grant(request).await
    }

    /// See [`Authority::recheck`].
    async fn recheck(
        &self,
        user: &UserId,
        tenant: &TenantId,
        permission: Permission,
        body: &BodyHash,
    ) -> Result<Decision, CallError> {
        self.inner().recheck(user, tenant, permission, body).await
    }

    /// See [`Authority::keys`].
    async fn keys(&self) -> Result<PublicKeys, CallError> {
        self.inner().keys().await
    }

    /// See [`Authority::approvals`].
    async fn approvals(
        &self,
        token: &str,
        request: ApprovalRequest,
    ) -> Result<Result<Vec<Approval>, Denied>, CallError> {
        self.inner().approvals(token, request).await
    }
}

#[async_trait]
impl<T: BentAuthority> Authority for Bent<T> {
    async fn grant(&self, request: &GrantRequest) -> Result<Result<GrantToken, Denied>, CallError> {
        self.0.grant(request).await
    }

    async fn recheck(
        &self,
        user: &UserId,
        tenant: &TenantId,
        permission: Permission,
        body: &BodyHash,
    ) -> Result<Decision, CallError> {
        self.0.recheck(user, tenant, permission, body).await
    }

    async fn keys(&self) -> Result<PublicKeys, CallError> {
        self.0.keys().await
    }

    async fn in_force(&self, known: u64, wait: Duration) -> Result<InForce, CallError> {
        self.0.inner().in_force(known, wait).await
    }

    async fn operator(&self, token: &str, right: Option<PlatformRight>) -> Result<Result<UserId, Denied>, CallError> {
        self.0.inner().operator(token, right).await
    }

    async fn break_glass(
        &self,
        token: &str,
        request: BreakGlassRequest,
    ) -> Result<Result<Vec<BreakGlass>, Denied>, CallError> {
        self.0.inner().break_glass(token, request).await
    }

    async fn approvals(
        &self,
        token: &str,
        request: ApprovalRequest,
    ) -> Result<Result<Vec<Approval>, Denied>, CallError> {
        self.0.approvals(token, request).await
    }
}
