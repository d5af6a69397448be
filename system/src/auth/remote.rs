//! The auth service across the network.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{
    Approval, ApprovalRequest, Authority, BreakGlass, BreakGlassRequest, Decision, Denied, GrantRequest, InForce,
    PlatformRight,
};
use crate::action::Permission;
use crate::audit::{self, Claimed, Reporter};
use crate::call::CallError;
use crate::capability::Network;
use crate::grant::GrantToken;
use crate::ids::{TenantId, UserId};
use crate::jws::PublicKeys;
use crate::message::BodyHash;
use crate::monitor::Monitor;
use crate::rights::Role;
use crate::rpc::{Client, Service};

/// Auth works in memory.
const DEADLINE: Duration = Duration::from_secs(1);
/// What must be durable waits for one or two syncs.
const DURABLE_DEADLINE: Duration = Duration::from_secs(2);

/// What can be asked of auth: one variant per method of its trait.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    Grant(GrantRequest),
    Recheck { user: UserId, tenant: TenantId, permission: Permission, body: BodyHash },
    Keys,
    InForce { known: u64, wait_ms: u32 },
    BreakGlass { token: String, request: BreakGlassRequest },
    Approvals { token: String, request: ApprovalRequest },
    Operator { token: String, right: Option<PlatformRight> },
}

/// What it answers.
#[derive(Debug, Serialize, Deserialize)]
pub enum Reply {
    Granted(Result<GrantToken, Denied>),
    Decided(Decision),
    Keys(PublicKeys),
    InForce(InForce),
    BreakGlass(Result<Vec<BreakGlass>, Denied>),
    Approvals(Result<Vec<Approval>, Denied>),
    Operator(Result<UserId, Denied>),
}

/// Offers any auth service to the network.
pub struct AuthorityService {
    /// Auth.
    pub authority: Arc<dyn Authority>,
    /// Where it reports what it refuses.
    pub reporter: Reporter,
}

impl Service for AuthorityService {
    const ROLE: Role = Role::Auth;
    type Request = Request;
    type Reply = Reply;

    fn may(client: Role, request: &Request) -> bool {
        match request {
            Request::Grant(_) | Request::BreakGlass { .. } | Request::Approvals { .. } | Request::Operator { .. } => {
                client == Role::Producer
            }
            Request::InForce { .. } => client == Role::Ledger,
            Request::Recheck { .. } => client == Role::Consumer,
            Request::Keys => matches!(client, Role::Producer | Role::Consumer | Role::Ledger),
        }
    }

    async fn handle(&self, request: Request) -> Result<Reply, CallError> {
        match request {
            Request::Grant(request) => self.authority.grant(&request).await.map(Reply::Granted),
            Request::Recheck { user, tenant, permission, body } => {
                self.authority.recheck(&user, &tenant, permission, &body).await.map(Reply::Decided)
            }
            Request::Keys => self.authority.keys().await.map(Reply::Keys),
            Request::InForce { known, wait_ms } => {
                self.authority.in_force(known, Duration::from_millis(wait_ms.into())).await.map(Reply::InForce)
            }
            Request::BreakGlass { token, request } => {
                self.authority.break_glass(&token, request).await.map(Reply::BreakGlass)
            }
            Request::Approvals { token, request } => {
                self.authority.approvals(&token, request).await.map(Reply::Approvals)
            }
            Request::Operator { token, right } => self.authority.operator(&token, right).await.map(Reply::Operator),
        }
    }

    fn reporter(&self) -> Reporter {
        self.reporter.clone()
    }

    fn claims(request: &Request) -> (&'static str, Claimed) {
        match request {
            Request::Grant(request) => ("grant", request.claimed()),
            Request::Recheck { user, tenant, .. } => {
                ("recheck", Claimed { user: Some(user.to_string()), ..Claimed::tenant(tenant) })
            }
            Request::Keys => ("keys", Claimed::default()),
            Request::InForce { .. } => ("in_force", Claimed::default()),
            Request::BreakGlass { .. } => ("break_glass", Claimed::default()),
            Request::Approvals { .. } => (audit::APPROVALS, Claimed::default()),
            Request::Operator { .. } => ("operator", Claimed::default()),
        }
    }
}

/// An auth service somewhere else.
pub struct RemoteAuthority {
    client: Client<AuthorityService>,
}

impl RemoteAuthority {
    /// The auth service at `address`, for the part of `role`.
    #[must_use]
    pub fn new(network: Arc<dyn Network>, address: &str, role: Role) -> Self {
        Self { client: Client::new(network, address, role) }
    }

    /// Counts its calls in `monitor`, whose readiness needs the other side from then on.
    #[must_use]
    pub fn monitored(self, monitor: &Monitor) -> Self {
        Self { client: self.client.monitored(monitor) }
    }
}

#[async_trait]
impl Authority for RemoteAuthority {
    async fn grant(&self, request: &GrantRequest) -> Result<Result<GrantToken, Denied>, CallError> {
        match self.client.call(&Request::Grant(request.clone()), DEADLINE).await? {
            Reply::Granted(granted) => Ok(granted),
            reply => Err(self.client.unexpected(&reply)),
        }
    }

    async fn recheck(
        &self,
        user: &UserId,
        tenant: &TenantId,
        permission: Permission,
        body: &BodyHash,
    ) -> Result<Decision, CallError> {
        let request = Request::Recheck { user: user.clone(), tenant: tenant.clone(), permission, body: *body };
        match self.client.call(&request, DEADLINE).await? {
            Reply::Decided(decision) => Ok(decision),
            reply => Err(self.client.unexpected(&reply)),
        }
    }

    async fn keys(&self) -> Result<PublicKeys, CallError> {
        match self.client.call(&Request::Keys, DEADLINE).await? {
            Reply::Keys(keys) => Ok(keys),
            reply => Err(self.client.unexpected(&reply)),
        }
    }

    async fn in_force(&self, known: u64, wait: Duration) -> Result<InForce, CallError> {
        let wait_ms = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX);
        match self.client.call(&Request::InForce { known, wait_ms }, wait + DEADLINE).await? {
            Reply::InForce(standing) => Ok(standing),
            reply => Err(self.client.unexpected(&reply)),
        }
    }

    async fn operator(&self, token: &str, right: Option<PlatformRight>) -> Result<Result<UserId, Denied>, CallError> {
        match self.client.call(&Request::Operator { token: token.into(), right }, DEADLINE).await? {
            Reply::Operator(answered) => Ok(answered),
            reply => Err(self.client.unexpected(&reply)),
        }
    }

    async fn break_glass(
        &self,
        token: &str,
        request: BreakGlassRequest,
    ) -> Result<Result<Vec<BreakGlass>, Denied>, CallError> {
        match self.client.call(&Request::BreakGlass { token: token.into(), request }, DURABLE_DEADLINE).await? {
            Reply::BreakGlass(answered) => Ok(answered),
            reply => Err(self.client.unexpected(&reply)),
        }
    }

    async fn approvals(
        &self,
        token: &str,
        request: ApprovalRequest,
    ) -> Result<Result<Vec<Approval>, Denied>, CallError> {
        match self.client.call(&Request::Approvals { token: token.into(), request }, DURABLE_DEADLINE).await? {
            Reply::Approvals(answered) => Ok(answered),
            reply => Err(self.client.unexpected(&reply)),
        }
    }
}
