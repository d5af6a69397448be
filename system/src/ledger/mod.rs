//! The ledger: billing limits, entitlements and credits of every tenant, and the outcome of every command.
//!
//! A run of commands is applied in ONE transaction of ONE tenant: each with its effect, its outcome (which is also the
//! deduplication) and its audit entry, or none of it. The transaction is opened with a verified scope, never with an id:
//! there is no call that names a tenant by text. Applying the same command again finds its outcome and changes nothing, so
//! a caller that does not know whether it happened simply applies it again. Outcomes are never forgotten: a message can
//! come again as long as anyone keeps it.
//!
//! Each command carries its place in the broker's order, and the ledger remembers the latest that had an outcome: what
//! comes from behind that - a consumer that slept through the end of its lease, a message that was given up and passed by -
//! is refused, and overwrites nothing.

mod baseline;
#[cfg(test)]
mod conformance;
mod dry_run;
mod embedded;
mod fence;
mod journal;
mod key_file;
mod keyspace;
mod reconcile;
mod reconciler;
pub(crate) mod remote;
mod rulebook;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::action::{Change, Rejection, Suspension};
use crate::audit::Code;
use crate::auth::Decision;
use crate::broker::{Position, RUN_MAX};
use crate::call::CallError;
use crate::grant::{TenantScope, VerifiedCommand, VerifiedDryRun, VerifiedPause, VerifiedRead, VerifiedSeal};
use crate::ids::{MessageId, Name, TenantId};
use crate::message::BodyHash;
use crate::secret::{KeyVersion, WrappedKey};

pub use baseline::{BASELINE_BYTES_MAX, Baseline, BaselineError};
pub use dry_run::{Announced, Difference, DryRun, Origin};
pub use embedded::{EmbeddedLedger, Settings};
pub use fence::{STALE_MAX, follow};
pub use journal::{Account, JOURNAL_PAGE_MAX, Posting, Transaction};
pub use keyspace::Digest;
pub use reconcile::{Discrepancy, Report, Subject, TOLD_MAX};
pub use reconciler::reconcile;
pub use remote::{LedgerService, RemoteLedger};

/// Keeps tenants' state and commands' outcomes. What opens it is a verified right:
///
/// ```
/// use tenantry_system::{call::CallError, grant::VerifiedRead};
/// use tenantry_system::ledger::{Ledger, TenantState};
/// async fn state(ledger: &dyn Ledger, read: &VerifiedRead) -> Result<TenantState, CallError> {
///     ledger.state(read).await
/// }
/// ```
///
/// A bare id opens nothing, for reading or for writing:
///
/// ```compile_fail,E0308
/// use tenantry_system::{call::CallError, ids::TenantId};
/// use tenantry_system::ledger::{Ledger, TenantState};
/// async fn state(ledger: &dyn Ledger, read: &TenantId) -> Result<TenantState, CallError> {
///     ledger.state(read).await
/// }
/// ```
///
/// ```compile_fail,E0308
/// use tenantry_system::{call::CallError, ids::TenantId};
/// use tenantry_system::ledger::{Applied, Ledger};
/// async fn apply(ledger: &dyn Ledger, tenant: &TenantId) -> Result<Vec<Applied>, CallError> {
///     ledger.apply(tenant).await
/// }
/// ```
#[async_trait]
pub trait Ledger: Send + Sync + 'static {
    /// Ends the commands of `run`, in order: applies each, or records why not. Answers once that is durable, with as many
    /// answers as there are commands.
    async fn apply(&self, run: &Run) -> Result<Vec<Applied>, CallError>;

    /// The outcome of a command of the tenant that `read` is for, waiting up to `wait` for it.
    async fn outcome(
        &self,
        read: &VerifiedRead,
        message_id: &MessageId,
        wait: Duration,
    ) -> Result<Option<Outcome>, CallError>;

    /// What the command that `right` is for would change if it took effect now. Changes nothing.
    async fn dry_run(&self, right: &VerifiedDryRun) -> Result<DryRun, CallError>;

    /// The state of the tenant that `read` is for.
    async fn state(&self, read: &VerifiedRead) -> Result<TenantState, CallError>;

    /// Brings the tenant that `right` is for from one generation of pauses to the next, `to`; nothing else than the next is
    /// taken. Answers once it is durable with how the tenant stands then: from there on no command of a paused tenant has
    /// an outcome, whoever has it in work.
    async fn pause(&self, right: &VerifiedPause, to: PauseGeneration) -> Result<Paused, CallError>;

    /// The credits of the tenant that `read` is for, as transactions of the journal in the order of their versions, from
    /// the version `from`: at most `max`, at most [`JOURNAL_PAGE_MAX`]. None mean that there are no more.
    async fn journal(&self, read: &VerifiedRead, from: u64, max: usize) -> Result<Vec<Transaction>, CallError>;

    /// Compares what the tenant that `read` is for has with what its outcomes made of it, as of now.
    async fn reconcile(&self, read: &VerifiedRead) -> Result<Report, CallError>;

    /// The wrapped data keys of the tenant that `right` is for. If the version that seals has no key yet, one is made, and
    /// is durable before this answers.
    async fn data_keys(&self, right: &VerifiedSeal) -> Result<DataKeys, CallError>;
}

/// How many data keys a tenant's sealers are shown: that many rotations may lie between a command and its retry.
pub const DATA_KEYS_MAX: usize = 8;

/// A tenant's data keys, wrapped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataKeys {
    /// Newest first: the first seals, the others tell what they sealed before. 1 to [`DATA_KEYS_MAX`].
    pub keys: Vec<(KeyVersion, WrappedKey)>,
    /// Whether there were others that are erased.
    pub erased: bool,
}

/// How often a tenant was paused and resumed: an odd generation is a pause. Whoever pauses or resumes names the generation
/// that follows the one they saw, so that a request which comes late undoes nothing that was decided after it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PauseGeneration(pub u64);

impl PauseGeneration {
    /// Whether nothing may take effect.
    #[must_use]
    pub fn is_paused(self) -> bool {
        self.0 % 2 == 1
    }

    /// The one that follows.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// How a tenant stands after it was to be paused or resumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paused {
    /// The generation; another than was asked for if someone else was faster.
    pub generation: PauseGeneration,
    /// The tenant's version.
    pub version: u64,
}

/// Commands of one tenant in the order in which they are to take effect. There is no way to one but past the check that
/// they are of one tenant:
///
/// ```
/// use tenantry_system::ledger::{Run, RunError, Work};
/// fn run(works: Vec<Work>) -> Result<Run, RunError> {
///     Run::new(works)
/// }
/// ```
///
/// ```compile_fail,E0423
/// use tenantry_system::ledger::{Run, Work};
/// fn run(works: Vec<Work>) -> Run {
///     Run(works)
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Run(Vec<Work>);

/// A command to be ended.
#[derive(Debug, Clone)]
pub struct Work {
    /// What to do, and the scope to do it in.
    pub command: VerifiedCommand,
    /// What auth said to it just now.
    pub decision: Decision,
    /// Its place in the broker's order.
    pub position: Position,
}

/// Why commands are no run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// None, or too many.
    #[error("{0} commands are no run; one has 1 to {RUN_MAX}")]
    Length(usize),
    /// A transaction is of one tenant.
    #[error("commands of tenants {0} and {1} can't share a transaction")]
    Tenants(TenantId, TenantId),
    /// They would take effect in another order than was confirmed.
    #[error("place {0} comes after {1}")]
    Order(Position, Position),
}

impl Run {
    /// A run of `works`.
    ///
    /// # Errors
    /// When they can't share a transaction.
    pub fn new(works: Vec<Work>) -> Result<Self, RunError> {
        if works.is_empty() || works.len() > RUN_MAX {
            return Err(RunError::Length(works.len()));
        }
        for (one, next) in works.iter().zip(works.iter().skip(1)) {
            let (tenant, other) = (one.command.scope().tenant(), next.command.scope().tenant());
            if tenant != other {
                return Err(RunError::Tenants(tenant.clone(), other.clone()));
            }
            if one.position >= next.position {
                return Err(RunError::Order(next.position, one.position));
            }
        }
        Ok(Self(works))
    }

    /// The commands, in order; at least one.
    #[must_use]
    pub fn works(&self) -> &[Work] {
        &self.0
    }

    /// The right to touch the tenant of all of them.
    #[must_use]
    pub fn scope(&self) -> &TenantScope {
        self.0[0].command.scope()
    }
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
    /// A command of a later place has had its outcome: this one came too late, and nothing was done.
    Overtaken {
        /// The place of the latest command that had its outcome.
        by: Position,
    },
    /// The tenant is paused: nothing was done.
    Paused,
    /// The decision does not count here and now, because of this: nothing was done, and auth is to be asked again.
    Undecided(String),
    /// The decision is not auth's, or not on this: nothing was done.
    Forged,
    /// The ledger's own verification refuses it for good, because of this: nothing was done.
    Refused(String),
}

impl Applied {
    /// What kind of attempt the command at `position` was, and why it was refused; none if it was none, or one that the
    /// ledger's service has reported. A broker that is behind is trouble, and no attempt; but none is of epoch 0.
    #[must_use]
    pub fn attempt(&self, position: Position) -> Option<(Code, String)> {
        match self {
            Self::Conflict => {
                Some((Code::Conflict, "another body already has an outcome under this message id".into()))
            }
            Self::Overtaken { by } if by.epoch <= position.epoch || position.epoch == 0 => {
                let why = format!("it came after its place in the order: the tenant's history has reached {by}");
                Some((Code::Overtaken, why))
            }
            Self::Forged => Some((Code::ForgedDecision, "the decision beside it was not made by auth".into())),
            _ => None,
        }
    }
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// SHA-256 of the message that it is the outcome of: another one under the same id has none, and never will.
    pub body_sha256: BodyHash,
    /// Applied, with the changes made, or rejected.
    pub verdict: Result<Vec<Change>, Rejection>,
    /// How many of the tenant's commands had an outcome once this one had: its place in the tenant's history, from 1.
    pub version: u64,
    /// When, in milliseconds since the Unix epoch, by the ledger's clock.
    pub at_unix_ms: i64,
    /// The revision of authority under which it was decided.
    pub authority_revision: u64,
    /// The version of the billing rules that judged it.
    pub rules_version: u32,
}

/// All there is of one tenant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantState {
    /// How many commands had an outcome.
    pub version: u64,
    /// Whether nothing may take effect, and what changed that last.
    pub pause_generation: PauseGeneration,
    /// Limit type to value.
    pub limits: BTreeMap<Name, u64>,
    /// Limit type to the version at which it was set last: what `expected_version` is compared with.
    pub limit_versions: BTreeMap<Name, u64>,
    /// Entitlements granted, beside what the plan carries.
    pub entitlements: BTreeSet<Name>,
    /// The plan it is on.
    pub plan: Option<Name>,
    /// Entitlements that the plan carried when the tenant was put on it.
    pub plan_entitlements: BTreeSet<Name>,
    /// Why and since when its commands are rejected.
    pub suspension: Option<Suspension>,
    /// Currency to balance, in minor units.
    pub credits: BTreeMap<String, u64>,
    /// Credentials by name; the secrets themselves are shown to nobody.
    pub credentials: BTreeMap<Name, StoredCredential>,
    /// The version of the data key that seals from now on.
    pub data_key: KeyVersion,
}

/// What may be known of a stored credential.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredCredential {
    /// The version of the data key that sealed it.
    pub data_key: KeyVersion,
    /// The command that stored it.
    pub message_id: MessageId,
    /// The tenant's version at which it was stored.
    pub version: u64,
    /// SHA-256 of the ciphertext, in hexadecimal.
    pub sealed_sha256: String,
}
