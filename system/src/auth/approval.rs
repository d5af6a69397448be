//! Four eyes: what policy marks as dangerous takes a second person's approval, of exactly this command.
//!
//! An operator asks with the very message that they will send, another reads it and approves it by its hash. The approval
//! is for this body alone - tenant, message id and requester stand in it - and ends with its time, when someone withdraws
//! it, and when the approver may approve no longer. It must hold when the command is granted and once more when it takes
//! effect, so that a command which waited in the queue beyond the end of its approval is rejected. It permits nothing by
//! itself: policies see it, as `context.approval`. That it takes another person than the requester does not stand in the
//! policies: nothing they say permits it.
//!
//! Of a command with a secret, what is approved is the message with the secret sealed, and what is kept to be read has the
//! ciphertext's hash in its place. Sealed anew under another data key it is another message: after a rotation, ask anew.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::break_glass;
use crate::ids::{MessageId, TenantId, UserId};
use crate::message::{BodyHash, quoted};

/// The longest life of an approval from when it is asked for, in minutes: that of a grant, a week.
pub const APPROVAL_MINUTES_MAX: u64 = 7 * 24 * 60;

/// How long one lives if nobody says, in minutes.
pub const APPROVAL_MINUTES: u64 = 60;

/// The longest message that can be approved, in bytes: someone must read it.
pub const APPROVAL_BODY_BYTES_MAX: usize = 16 * 1024;

/// Approvals that may be open at once.
pub(super) const OPEN_MAX: usize = 1000;

/// And of one requester.
pub(super) const OPEN_OF_ONE_MAX: usize = 100;

/// One approval, waiting or given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// By which it is approved and withdrawn.
    pub number: u64,
    /// On which tenant.
    pub tenant: TenantId,
    /// Who asked, and sends the command.
    pub requester: UserId,
    /// What for.
    pub action: String,
    /// Under which id.
    pub message_id: MessageId,
    /// SHA-256 of the message as it is published.
    pub body_sha256: BodyHash,
    /// The message, to be read: of a secret only the ciphertext's hash. Empty in lists.
    pub body: Bytes,
    /// Why.
    pub reason: String,
    /// When it was asked for, in seconds since the Unix epoch.
    pub asked_at: i64,
    /// When it ends, approved or not, in seconds since the Unix epoch.
    pub expires_at: i64,
    /// The second person, and when they approved, in seconds since the Unix epoch.
    pub approved: Option<(UserId, i64)>,
}

/// What can be asked about approvals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ApprovalRequest {
    /// To have a command approved. Asked again for the same message, it is the same approval.
    Ask {
        /// The message exactly as it will be published.
        body: Bytes,
        /// Why.
        reason: String,
        /// For how long, from now on.
        minutes: u64,
    },
    /// The second person's word.
    Approve {
        /// Which.
        number: u64,
        /// What they have read: the hash of it.
        body_sha256: BodyHash,
    },
    /// The end before its time.
    Withdraw {
        /// Which.
        number: u64,
    },
    /// One, with its message.
    Show {
        /// Which.
        number: u64,
    },
    /// Those that are open, of which the asker may know.
    List,
}

/// What is wrong with what is asked for, if anything: the field, and what would be right.
#[must_use]
pub fn problem(reason: &str, minutes: u64, body: &[u8]) -> Option<(&'static str, String)> {
    if let Some(wrong) = break_glass::problem(reason, 1) {
        return Some(wrong);
    }
    if !(1..=APPROVAL_MINUTES_MAX).contains(&minutes) {
        let right = format!("is {}; must be 1 to {APPROVAL_MINUTES_MAX}", quoted(&minutes.to_string()));
        return Some(("minutes", right));
    }
    let len = body.len();
    let long =
        || format!("is {len} bytes long; at most {APPROVAL_BODY_BYTES_MAX} can be approved: someone must read it");
    (len > APPROVAL_BODY_BYTES_MAX).then(|| ("", long()))
}

/// All that are open.
#[derive(Debug, Clone, Default)]
pub(super) struct Approvals(pub(super) BTreeMap<u64, Arc<Approval>>);

impl Approvals {
    /// Those whose time is not over at `now`.
    pub(super) fn open(&self, now: i64) -> impl Iterator<Item = &Arc<Approval>> {
        self.0.values().filter(move |open| now < open.expires_at)
    }

    /// Of exactly the command of `user` on `tenant` whose body has this hash.
    pub(super) fn of(
        &self,
        user: &UserId,
        tenant: &TenantId,
        body_sha256: &BodyHash,
        now: i64,
    ) -> Option<&Arc<Approval>> {
        let is = |open: &&Arc<Approval>| {
            open.requester == *user && open.tenant == *tenant && open.body_sha256 == *body_sha256
        };
        self.open(now).find(is)
    }

    /// Whether one is open for another body under this id.
    pub(super) fn is_for_another(
        &self,
        tenant: &TenantId,
        message_id: &MessageId,
        body_sha256: &BodyHash,
        now: i64,
    ) -> bool {
        let same = |open: &Arc<Approval>| open.tenant == *tenant && open.message_id == *message_id;
        self.open(now).any(|open| same(open) && open.body_sha256 != *body_sha256)
    }

    /// When the next of them ends.
    pub(super) fn next_end(&self) -> Option<i64> {
        self.0.values().map(|open| open.expires_at).min()
    }

    /// Those that have ended by `now`.
    pub(super) fn ended(&self, now: i64) -> Vec<u64> {
        self.0.iter().filter(|(_, open)| open.expires_at <= now).map(|(number, _)| *number).collect()
    }
}
