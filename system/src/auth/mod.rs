//! The auth service: who is this, and may they? It fails closed.
//!
//! It believes operators' tokens of the identity providers it was told to trust, asks Cedar policies what an operator may do
//! on a tenant, and signs grants. At the moment of effect it is asked again: a grant says that a command was allowed when it
//! was sent, a [`Decision`] says whether it is allowed now.

mod approval;
mod break_glass;
mod decision;
mod directory;
mod embedded;
pub mod oidc;
mod policy;
pub(crate) mod remote;

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::action::Permission;
use crate::audit::Claimed;
use crate::call::CallError;
use crate::grant::{GrantToken, Purpose};
use crate::ids::{TenantId, UserId};
use crate::jws::PublicKeys;
use crate::message::BodyHash;

pub use approval::{
    APPROVAL_BODY_BYTES_MAX, APPROVAL_MINUTES, APPROVAL_MINUTES_MAX, Approval, ApprovalEnd, ApprovalRequest,
    ApprovalState, problem as approval_problem,
};
pub use break_glass::{
    BreakGlass, BreakGlassRequest, MINUTES_MAX, REASON_MAX, REASON_MIN, problem as break_glass_problem, reason_problem,
};
pub use decision::{Approved, Decision, DecisionKey, InForce, Verdict};
pub use directory::{Binding, Directory, DirectoryError, Role, Segment, Team};
pub use embedded::{EmbeddedAuthority, PUBLISHED_BEFORE_SECONDS};
pub use oidc::{IdentityProvider, TrustedIssuer};
pub use policy::{
    Approved as SeenApproval, Ask, DEFAULT_POLICIES, Emergency, Policies, PolicyError, Ruling, SCHEMA,
    without as without_policy,
};
pub use remote::{AuthorityService, RemoteAuthority};

/// Authenticates, authorizes, signs.
#[async_trait]
pub trait Authority: Send + Sync + 'static {
    /// Checks an operator's token and signs a grant for what they ask, if they may.
    ///
    /// # Errors
    /// Also when the token can't be checked now, because the identity provider's keys can't be had.
    async fn grant(&self, request: &GrantRequest) -> Result<Result<GrantToken, Denied>, CallError>;

    /// Whether `user` holds `permission` on `tenant` at this moment, for the command whose body has the hash `body`.
    async fn recheck(
        &self,
        user: &UserId,
        tenant: &TenantId,
        permission: Permission,
        body: &BodyHash,
    ) -> Result<Decision, CallError>;

    /// The keys that verify grants.
    async fn keys(&self) -> Result<PublicKeys, CallError>;

    /// Where authority stands, once that is another revision than `known`, or when `wait` is over: for the ledger, which
    /// follows it.
    async fn in_force(&self, known: u64, wait: Duration) -> Result<InForce, CallError>;

    /// Who the operator of `token` is, if they hold `right`; without one, if anybody knows them.
    ///
    /// # Errors
    /// As for a grant.
    async fn operator(&self, token: &str, right: Option<PlatformRight>) -> Result<Result<UserId, Denied>, CallError>;

    /// Asks for an emergency right, approves, ends or lists them, for the operator of `token`; answers with those that were
    /// meant.
    async fn break_glass(
        &self,
        token: &str,
        request: BreakGlassRequest,
    ) -> Result<Result<Vec<BreakGlass>, Denied>, CallError>;

    /// Asks for a second person's approval of a command, gives, withdraws, shows or lists them, for the operator of
    /// `token`; answers with those that were meant.
    async fn approvals(
        &self,
        token: &str,
        request: ApprovalRequest,
    ) -> Result<Result<Vec<Approval>, Denied>, CallError>;
}

/// A right on the platform as a whole, and on no tenant of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlatformRight {
    /// To see every alert, whosever tenant it is of.
    WatchAlerts,
}

impl PlatformRight {
    /// What policies call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::WatchAlerts => "watch_alerts",
        }
    }
}

/// A wish for a grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantRequest {
    /// The operator's token, from the identity provider.
    pub token: String,
    /// Whom the message says it is from; must be the token's subject. `None` where the subject asks for themselves: to
    /// read, and for whatever is done with another one's dead letter.
    pub user: Option<UserId>,
    /// The tenant.
    pub tenant: TenantId,
    /// What for.
    pub purpose: Purpose,
}

impl GrantRequest {
    /// What it claims, for the record of a refusal.
    pub(crate) fn claimed(&self) -> Claimed {
        let user = self.user.as_ref().map(ToString::to_string);
        let claimed = Claimed { user, ..Claimed::tenant(&self.tenant) };
        match &self.purpose {
            Purpose::Command { action, message_id, body_sha256 }
            | Purpose::DryRun { action, message_id, body_sha256 }
            | Purpose::Replay { action, message_id, body_sha256, .. } => Claimed {
                action: Some(action.clone()),
                message_id: Some(message_id.to_string()),
                body_sha256: Some(*body_sha256),
                ..claimed
            },
            Purpose::Discard { message_id, body_sha256 } => Claimed {
                action: Some("discard".into()),
                message_id: Some(message_id.to_string()),
                body_sha256: Some(*body_sha256),
                ..claimed
            },
            Purpose::Read => Claimed { action: Some("read".into()), ..claimed },
            Purpose::Pause => Claimed { action: Some("pause".into()), ..claimed },
            Purpose::Seal { action, message_id } => {
                Claimed { action: Some(action.clone()), message_id: Some(message_id.to_string()), ..claimed }
            }
        }
    }
}

/// Why there is no grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Denied {
    /// We don't know who this is.
    #[error("{0}")]
    Unauthenticated(String),
    /// We do, and they may not.
    #[error("{0}")]
    Forbidden(String),
    /// They may once a second person has approved it.
    #[error("{0}; it takes a second person's approval")]
    ApprovalRequired(String),
}
