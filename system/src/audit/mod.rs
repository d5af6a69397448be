//! The audit log: what was decided about every command, once, in order.
//!
//! Entries reach it from the ledger's outbox, which wrote them in the very transaction that made the effect. Each source
//! numbers its entries without gaps; the log takes the next number, passes over what it already has, and refuses a gap:
//! so however often an entry is sent, it stands here exactly once.

mod embedded;
pub(crate) mod remote;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::call::CallError;
use crate::ids::{MessageId, TenantId, UserId};

pub use embedded::EmbeddedAudit;
pub use remote::{AuditService, RemoteAudit};

/// Keeps entries.
#[async_trait]
pub trait Audit: Send + Sync + 'static {
    /// Appends `entries` of `source`, numbered `first`, `first + 1`, ...; answers once they are durable with the last
    /// number of that source in the log.
    ///
    /// # Errors
    /// [`CallError::Failed`] when `first` leaves a gap: entries in between were lost at the source.
    async fn append(&self, source: &str, first: u64, entries: Vec<AuditEntry>) -> Result<u64, CallError>;
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
