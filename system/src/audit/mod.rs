//! The audit log: what was decided about every command, what was refused and what simply happened, once, in order.
//!
//! Events reach it from durable outboxes (`outbox.rs`): decisions from the ledger's and steps (`step.rs`) from the store of whoever
//! took them, written in the very transaction that made them true; refused attempts from the [`Reporter`] of whoever
//! refused them. Each source numbers its events without gaps; the log takes the next number, passes over what it already
//! has, and refuses a gap: so however often an event is sent, it stands here exactly once.
//!
//! An event that rings has an alert, written in the same transaction: see [`Event::rings`].
//!
//! The log is tamper-evident: each event's record is an entry of a Merkle tree ([`crate::tlog`]), and every commit ends with
//! a signed checkpoint of it. An export can be verified elsewhere, by whoever has the public key and an old checkpoint.

#[cfg(test)]
mod alert_tests;
mod attempt;
mod embedded;
mod export;
pub(crate) mod outbox;
mod record;
pub(crate) mod remote;
mod report;
mod search;
mod step;
#[cfg(test)]
mod tamper_tests;
mod text;
mod verify;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::alerting::Raised;
use crate::call::CallError;
use crate::ids::{MessageId, TenantId, UserId};
use crate::rights::Role;
use crate::tlog::Tile;

pub use attempt::{APPROVALS, Attempt, Claimed, Code, Severity};
pub use embedded::{Counts, EmbeddedAudit, LOOK_EVERY, LogSettings};
pub use export::{Exported, Files, Folder};
pub use outbox::{Outgoing, WAITING_MAX, relay};
pub use record::Record;
pub use remote::{AuditService, RemoteAudit};
pub use report::Reporter;
pub use search::{AlertQuery, Found, FoundAlerts, FoundRecord, Query, SEARCH_WAIT_MAX_MS};
pub use step::{Step, StepKind};
pub use verify::{Kind, Verified, Violation, verify};

/// The most events or alerts that one question is answered with.
pub const PAGE_MAX: usize = 256;

/// Keeps events.
#[async_trait]
pub trait Audit: Send + Sync + 'static {
    /// Appends `events` of `source`, numbered `first`, `first + 1`, ...; answers once they are durable with the last
    /// number of that source in the log.
    ///
    /// # Errors
    /// [`CallError::Failed`] when `first` leaves a gap: events in between were lost at the source.
    async fn append(&self, source: &str, first: u64, events: Vec<Event>) -> Result<u64, CallError>;

    /// Events with their places in the log, oldest first, from the first one after the place `after`: at most `max`, at
    /// most [`PAGE_MAX`], and fewer where they are large. Places begin at 1; no events mean that there are no more.
    async fn events(&self, after: u64, max: usize) -> Result<Vec<(u64, Event)>, CallError>;

    /// Alerts, oldest first, of events after the place `after`; at most `max`, at most [`PAGE_MAX`].
    async fn alerts(&self, after: u64, max: usize) -> Result<Vec<Alert>, CallError>;

    /// The alerts that `query` asks for, oldest first.
    async fn search_alerts(&self, query: &AlertQuery) -> Result<FoundAlerts, CallError>;

    /// The records that `query` asks for, each with the proof that it stands in the log. Where there is none, and the query
    /// waits, as soon as there is one.
    async fn search(&self, query: &Query) -> Result<Found, CallError>;

    /// The newest checkpoint: a signed note over all that is durable.
    async fn checkpoint(&self) -> Result<String, CallError>;

    /// The hashes of a tile; none where the tree has no such tile.
    async fn tile(&self, tile: Tile) -> Result<Option<Bytes>, CallError>;
}

/// One thing that the log keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// The ledger has decided a command.
    Decided(AuditEntry),
    /// Someone was refused.
    Refused(Attempt),
    /// Something simply happened.
    Step(Step),
    /// A rule over all of these has fired. Told by the log itself, right behind the event that completed it.
    Raised(Raised),
}

/// What someone should look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// The place of its event in the log.
    pub place: u64,
    /// When it happened, in milliseconds since the Unix epoch.
    pub at_unix_ms: i64,
    /// How urgent it is.
    pub severity: Severity,
    /// What rang, by its stable name: a [`Code`], a [`StepKind`], or a rule's.
    pub code: String,
    /// The tenant that was reached for, as far as anyone knows.
    pub tenant: Option<String>,
    /// The operator who is said to have done it.
    pub user: Option<String>,
    /// One line for people.
    pub line: String,
}

/// What everybody may ask of an event, whatever it is. Of an attempt it is what was claimed.
impl Event {
    /// The tenant it is about.
    #[must_use]
    pub fn tenant(&self) -> Option<&str> {
        match self {
            Self::Decided(entry) => Some(entry.tenant_id.as_str()),
            Self::Refused(attempt) => attempt.claimed.tenant.as_deref(),
            Self::Step(step) => step.tenant.as_ref().map(|tenant| tenant.as_str()),
            Self::Raised(raised) => raised.tenant.as_deref(),
        }
    }

    /// Who acted.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        match self {
            Self::Decided(entry) => Some(entry.user_id.as_str()),
            Self::Refused(attempt) => attempt.claimed.user.as_deref(),
            Self::Step(step) => step.user.as_ref().map(|user| user.as_str()),
            Self::Raised(raised) => raised.user.as_deref(),
        }
    }

    /// What for.
    #[must_use]
    pub fn action(&self) -> Option<&str> {
        match self {
            Self::Decided(entry) => Some(&entry.action),
            Self::Refused(attempt) => attempt.claimed.action.as_deref(),
            Self::Step(step) => step.action.as_deref(),
            Self::Raised(_) => None,
        }
    }

    /// Of which message.
    #[must_use]
    pub fn message_id(&self) -> Option<&str> {
        match self {
            Self::Decided(entry) => Some(entry.message_id.as_str()),
            Self::Refused(attempt) => attempt.claimed.message_id.as_deref(),
            Self::Step(step) => step.message_id.as_ref().map(|id| id.as_str()),
            Self::Raised(_) => None,
        }
    }

    /// When it happened, in milliseconds since the Unix epoch, by the clock of whoever tells.
    #[must_use]
    pub fn at_unix_ms(&self) -> i64 {
        match self {
            Self::Decided(entry) => entry.at_unix_ms,
            Self::Refused(attempt) => attempt.at_unix_ms,
            Self::Step(step) => step.at_unix_ms,
            Self::Raised(raised) => raised.at_unix_ms,
        }
    }

    /// The message's body, of what has one.
    fn body_mut(&mut self) -> Option<&mut Bytes> {
        match self {
            Self::Decided(entry) => Some(&mut entry.body),
            Self::Refused(_) | Self::Step(_) | Self::Raised(_) => None,
        }
    }
}

impl Event {
    /// Whether the event rings, and how loud: attempts and steps as their tables say. Of the decisions those that authority
    /// refuses at the moment of the effect - it was allowed when it was sent, or someone went past the producer - and those
    /// on a secret that was sealed for something else: nobody moves a ciphertext by mistake.
    #[must_use]
    pub fn rings(&self) -> Option<Severity> {
        match self {
            Self::Refused(attempt) => attempt.rings(),
            Self::Decided(entry) => entry.code()?.rings(Role::Ledger),
            Self::Step(step) => step.kind.rings(),
            Self::Raised(raised) => Some(raised.severity),
        }
    }

    /// The alert of the event at `place`, if it rings.
    #[must_use]
    pub fn alert(&self, place: u64) -> Option<Alert> {
        let severity = self.rings()?;
        let (at_unix_ms, tenant, user) =
            (self.at_unix_ms(), self.tenant().map(str::to_owned), self.user().map(str::to_owned));
        let (code, line) = match self {
            Self::Refused(Attempt { service, entry, code, claimed, detail, .. }) => {
                let who = claimed.user.as_ref().map(|user| format!(" as {user:?}")).unwrap_or_default();
                (code.name(), format!("{service}, {entry}{who}: {detail}"))
            }
            Self::Decided(entry) => {
                let AuditEntry { user_id, action, message_id, detail, .. } = entry;
                let replayed = entry.replayed_by.as_ref().map(|by| format!(", replayed by {by}")).unwrap_or_default();
                (entry.code()?.name(), format!("ledger, {action} {message_id} of {user_id}{replayed}: {detail}"))
            }
            Self::Step(step) => (step.kind.name(), step.line()),
            Self::Raised(raised) => (raised.rule.as_str(), raised.line()),
        };
        Some(Alert { place, at_unix_ms, severity, code: code.into(), tenant, user, line })
    }
}

/// One decision about one command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// When it was decided, in milliseconds since the Unix epoch, by the ledger's clock.
    pub at_unix_ms: i64,
    /// The tenant, from the verified grant.
    pub tenant_id: TenantId,
    /// Who asked.
    pub user_id: UserId,
    /// Who had it replayed when it was a dead letter, and by whose authority it was decided then.
    pub replayed_by: Option<UserId>,
    /// For what.
    pub action: String,
    /// Under which id.
    pub message_id: MessageId,
    /// The message, byte for byte: the payload included. In the log a sealed secret is its hash, see [`Record`].
    #[serde(with = "text::body")]
    pub body: Bytes,
    /// `applied`, or the rejection's code.
    pub outcome: String,
    /// The changes made, or why there are none, in words.
    pub detail: String,
    /// The revision of authority under which it was decided.
    pub authority_revision: u64,
    /// The policies that permitted it; none where it was denied.
    pub policies: Vec<String>,
    /// The second person who approved it, where policy asks for one.
    pub approved_by: Option<UserId>,
}

impl AuditEntry {
    /// What kind of attempt the command was, where its outcome says that it was one.
    fn code(&self) -> Option<Code> {
        [Code::Forbidden, Code::SealedForAnother].into_iter().find(|code| code.name() == self.outcome)
    }
}
