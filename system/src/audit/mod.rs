//! The audit log: what was decided about every command and what was refused, once, in order.
//!
//! Decisions reach it from the ledger's outbox, which wrote them in the very transaction that made the effect; refused
//! attempts from the [`Reporter`] of whoever refused them. Each source numbers its events without gaps; the log takes the
//! next number, passes over what it already has, and refuses a gap: so however often an event is sent, it stands here
//! exactly once.
//!
//! An event that rings has an alert, written in the same transaction: see [`Event::rings`].

mod attempt;
mod embedded;
pub(crate) mod remote;
mod report;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::call::CallError;
use crate::ids::{MessageId, TenantId, UserId};
use crate::rights::Role;

pub use attempt::{Attempt, Claimed, Code, Severity};
pub use embedded::{Counts, EmbeddedAudit};
pub use remote::{AuditService, RemoteAudit};
pub use report::Reporter;

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

impl Event {
    /// Whether the event rings: an attempt as its table says, and a command whose rejection tells of one.
    #[must_use]
    pub fn rings(&self) -> Option<Severity> {
        match self {
            Self::Refused(attempt) => attempt.rings(),
            Self::Decided(entry) => Code::of_outcome(&entry.outcome)?.rings(Role::Ledger),
        }
    }

    /// The alert of the event at `place`, if it rings.
    #[must_use]
    pub fn alert(&self, place: u64) -> Option<Alert> {
        let severity = self.rings()?;
        Some(match self {
            Self::Refused(Attempt { at_unix_ms, service, entry, code, claimed, detail }) => {
                let who = claimed.user.as_ref().map(|user| format!(" as {user:?}")).unwrap_or_default();
                let line = format!("{service}, {entry}{who}: {detail}");
                Alert { place, at_unix_ms: *at_unix_ms, severity, code: *code, tenant: claimed.tenant.clone(), line }
            }
            Self::Decided(AuditEntry {
                at_unix_ms, tenant_id, user_id, action, message_id, outcome, detail, ..
            }) => {
                let line = format!("ledger, {action} {message_id} of {user_id}: {detail}");
                let (code, tenant) = (Code::of_outcome(outcome)?, Some(tenant_id.to_string()));
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
    /// The message, byte for byte: the payload included.
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
