//! The audit log: what was decided about every command and what was refused, once, in order.
//!
//! Decisions reach it from the ledger's outbox, which wrote them in the very transaction that made the effect; refused
//! attempts from the [`Reporter`] of whoever refused them. Each source numbers its events without gaps; the log takes the
//! next number, passes over what it already has, and refuses a gap: so however often an event is sent, it stands here
//! exactly once.
//!
//! An event that rings has an alert, written in the same transaction: see [`Event::rings`].
//!
//! The log is tamper-evident: each event's record is an entry of a Merkle tree ([`crate::tlog`]), and every commit ends with
//! a signed checkpoint of it. An export can be verified elsewhere, by whoever has the public key and an old checkpoint.

mod attempt;
mod embedded;
mod export;
mod record;
pub(crate) mod remote;
mod report;
mod search;
#[cfg(test)]
mod tamper_tests;
mod text;
mod verify;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::call::CallError;
use crate::ids::{MessageId, TenantId, UserId};
use crate::tlog::Tile;

pub use attempt::{Attempt, Claimed, Code, Severity};
pub use embedded::{Counts, EmbeddedAudit, LogSettings};
pub use export::{Exported, Files, Folder};
pub use record::Record;
pub use remote::{AuditService, RemoteAudit};
pub use report::Reporter;
pub use search::{Found, FoundRecord, Query};
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

    /// The records that `query` asks for, each with the proof that it stands in the log.
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
    /// What kind of event rang.
    pub code: Code,
    /// The tenant that was reached for, as far as anyone knows.
    pub tenant: Option<String>,
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
        }
    }

    /// Who acted.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        match self {
            Self::Decided(entry) => Some(entry.user_id.as_str()),
            Self::Refused(attempt) => attempt.claimed.user.as_deref(),
        }
    }

    /// What for.
    #[must_use]
    pub fn action(&self) -> Option<&str> {
        match self {
            Self::Decided(entry) => Some(&entry.action),
            Self::Refused(attempt) => attempt.claimed.action.as_deref(),
        }
    }

    /// Of which message.
    #[must_use]
    pub fn message_id(&self) -> Option<&str> {
        match self {
            Self::Decided(entry) => Some(entry.message_id.as_str()),
            Self::Refused(attempt) => attempt.claimed.message_id.as_deref(),
        }
    }

    /// When it happened, in milliseconds since the Unix epoch, by the clock of whoever tells.
    #[must_use]
    pub fn at_unix_ms(&self) -> i64 {
        match self {
            Self::Decided(entry) => entry.at_unix_ms,
            Self::Refused(attempt) => attempt.at_unix_ms,
        }
    }

    /// The message's body, of what has one.
    fn body_mut(&mut self) -> Option<&mut Bytes> {
        match self {
            Self::Decided(entry) => Some(&mut entry.body),
            Self::Refused(_) => None,
        }
    }
}

impl Event {
    /// Whether the event rings: an attempt as its table says, and a command that authority refuses at the moment of its
    /// effect - it was allowed when it was sent, or someone went past the producer.
    #[must_use]
    pub fn rings(&self) -> Option<Severity> {
        match self {
            Self::Refused(attempt) => attempt.rings(),
            Self::Decided(entry) => (entry.outcome == Code::Forbidden.name()).then_some(Severity::Warning),
        }
    }

    /// The alert of the event at `place`, if it rings.
    #[must_use]
    pub fn alert(&self, place: u64) -> Option<Alert> {
        let severity = self.rings()?;
        Some(match self {
            Self::Refused(Attempt { at_unix_ms, service, entry, code, claimed, detail }) => {
                let line = format!("{service}, {entry}: {detail}");
                Alert { place, at_unix_ms: *at_unix_ms, severity, code: *code, tenant: claimed.tenant.clone(), line }
            }
            Self::Decided(AuditEntry { at_unix_ms, tenant_id, user_id, action, message_id, detail, .. }) => {
                let line = format!("ledger, {action} {message_id} of {user_id}: {detail}");
                let (code, tenant) = (Code::Forbidden, Some(tenant_id.to_string()));
                Alert { place, at_unix_ms: *at_unix_ms, severity, code, tenant, line }
            }
        })
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
}
