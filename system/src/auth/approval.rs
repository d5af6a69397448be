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

/// Approvals that have ended and can still be looked at: the latest.
pub(super) const ENDED_MAX: usize = 1000;

/// One approval: waiting, given, or over.
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
    /// When auth first let the command through at its effect because of it, in seconds since the Unix epoch.
    pub used_at: Option<i64>,
    /// What ended it, and when, in seconds since the Unix epoch.
    pub ended: Option<(ApprovalEnd, i64)>,
    /// Whether it stood so before it was asked for: the request changed nothing. Said in answers alone.
    pub duplicate: bool,
}

/// What ended an approval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ApprovalEnd {
    /// Its time was over.
    Expired,
    /// This operator took it back.
    Withdrawn(UserId),
}

/// How an approval stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApprovalState {
    /// It waits for a second person.
    Pending,
    /// It was given, and the command may be sent.
    Approved,
    /// Auth has let the command through because of it; what became of that is the command's status.
    Used,
    /// Its time was over before it was of any use.
    Expired,
    /// It was taken back before it was of any use.
    Withdrawn,
}

impl ApprovalState {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Pending, Self::Approved, Self::Used, Self::Expired, Self::Withdrawn];

    /// Its stable name, for programs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Used => "used",
            Self::Expired => "expired",
            Self::Withdrawn => "withdrawn",
        }
    }
}

impl Approval {
    /// Whether it has neither ended nor outlived its time at `now`, in seconds since the Unix epoch.
    #[must_use]
    pub fn is_open(&self, now: i64) -> bool {
        self.ended.is_none() && now < self.expires_at
    }

    /// How it stands at `now`, in seconds since the Unix epoch. What it was used for stays so, whatever ended it then.
    #[must_use]
    pub fn state(&self, now: i64) -> ApprovalState {
        match &self.ended {
            _ if self.used_at.is_some() => ApprovalState::Used,
            Some((ApprovalEnd::Withdrawn(_), _)) => ApprovalState::Withdrawn,
            _ if !self.is_open(now) => ApprovalState::Expired,
            _ if self.approved.is_some() => ApprovalState::Approved,
            _ => ApprovalState::Pending,
        }
    }

    /// The same, as an answer to whoever has asked for what was so before.
    pub(super) fn again(&self) -> Self {
        Self { duplicate: true, ..self.clone() }
    }

    /// What an approval that is over has to say to whoever comes too late; nothing while it is open.
    pub(super) fn over(&self, now: i64) -> Option<String> {
        let number = self.number;
        match &self.ended {
            Some((ApprovalEnd::Withdrawn(by), _)) => Some(format!("approval {number} was withdrawn by {by}: ask anew")),
            _ if !self.is_open(now) => Some(format!("the time of approval {number} is over: ask anew")),
            _ => None,
        }
    }
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
    /// Those that are open and the latest that have ended, of which the asker may know.
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

/// All that are open, and the latest that have ended.
#[derive(Debug, Clone, Default)]
pub(super) struct Approvals(pub(super) BTreeMap<u64, Arc<Approval>>);

impl Approvals {
    /// Those whose time is not over at `now`.
    pub(super) fn open(&self, now: i64) -> impl Iterator<Item = &Arc<Approval>> {
        self.0.values().filter(move |open| open.is_open(now))
    }

    /// Those that nothing has ended yet, though their time may be over.
    fn unended(&self) -> impl Iterator<Item = &Arc<Approval>> {
        self.0.values().filter(|open| open.ended.is_none())
    }

    /// How many nothing has ended yet: all of them, and those of `user`.
    pub(super) fn count(&self, user: &UserId) -> (usize, usize) {
        (self.unended().count(), self.unended().filter(|open| open.requester == *user).count())
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
        self.unended().map(|open| open.expires_at).min()
    }

    /// Those whose time is over by `now`, and that are to be ended for it.
    pub(super) fn expired(&self, now: i64) -> Vec<u64> {
        self.unended().filter(|open| open.expires_at <= now).map(|open| open.number).collect()
    }

    /// The one that is to be forgotten: the oldest that has ended, if there are too many of those.
    pub(super) fn to_forget(&self) -> Option<u64> {
        let ended = || self.0.values().filter(|open| open.ended.is_some());
        (ended().count() > ENDED_MAX).then(|| ended().next().map(|oldest| oldest.number)).flatten()
    }
}
