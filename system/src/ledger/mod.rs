//! The ledger: billing limits, entitlements and credits of every tenant, and the outcome of every command.
//!
//! A command is applied in ONE transaction of ONE tenant: effect, outcome (which is also the deduplication) and the
//! audit entry, or none of them. The transaction is opened with a verified scope, never with an id: there is no call
//! that names a tenant by text. Applying the same command again finds its outcome and changes nothing, so a caller that
//! does not know whether it happened simply applies it again.

mod embedded;
mod keyspace;
mod outbox;
mod remote;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::action::{Change, Rejection};
use crate::auth::Decision;
use crate::call::CallError;
use crate::grant::{VerifiedCommand, VerifiedRead};
use crate::ids::{MessageId, Name};

pub use embedded::EmbeddedLedger;
pub use outbox::relay;
pub use remote::{LedgerService, RemoteLedger};

/// Keeps tenants' state and commands' outcomes.
#[async_trait]
pub trait Ledger: Send + Sync + 'static {
    /// Ends `command` under the authority's `decision`: applies it, or records why not. Answers once that is durable.
    async fn apply(&self, command: &VerifiedCommand, decision: &Decision) -> Result<Applied, CallError>;

    /// The outcome of a command of the tenant that `read` is for, waiting up to `wait` for it.
    async fn outcome(
        &self,
        read: &VerifiedRead,
        message_id: &MessageId,
        wait: Duration,
    ) -> Result<Option<Outcome>, CallError>;

    /// The state of the tenant that `read` is for.
    async fn state(&self, read: &VerifiedRead) -> Result<TenantState, CallError>;
}

/// The answer to applying a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Applied {
    /// It has this outcome, from now on and for ever.
    Now(Outcome),
    /// It had this outcome already.
    Before(Outcome),
    /// Another body has an outcome under this id: nothing was done.
    Conflict,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Applied, with the changes made, or rejected.
    pub verdict: Result<Vec<Change>, Rejection>,
    /// How many of the tenant's commands had an outcome once this one had: its place in the tenant's history, from 1.
    pub version: u64,
    /// When, in milliseconds since the Unix epoch, by the ledger's clock.
    pub at_unix_ms: i64,
    /// The revision of authority under which it was decided.
    pub authority_revision: u64,
}

/// All there is of one tenant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantState {
    /// How many commands had an outcome.
    pub version: u64,
    /// Limit type to value.
    pub limits: BTreeMap<Name, u64>,
    /// Entitlements held.
    pub entitlements: BTreeSet<Name>,
    /// Currency to balance, in minor units.
    pub credits: BTreeMap<String, u64>,
}
