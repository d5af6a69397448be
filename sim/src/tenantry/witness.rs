//! What was seen of every command's way from outside, call by call: what the audit log's steps are compared with.
//!
//! Counted by the decorators around broker and ledger, as the engines answered. A call whose caller went away, or whose
//! process died, has no answer and may have done its work all the same: so calls are counted beside answers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tenantry_system::ids::{MessageId, TenantId, UserId};

/// No pause before a retry is as short as this.
const HURRY: Duration = Duration::from_millis(30);

/// A message, as the broker and the ledger know it.
pub type Message = (TenantId, MessageId);

/// Calls about one message, and those of them that were answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Calls {
    /// Begun.
    pub begun: u64,
    /// Answered, whatever the answer.
    pub answered: u64,
    /// Answered "that is new, and done".
    pub done: u64,
    /// Answered "that had been done before".
    pub repeated: u64,
}

impl Calls {
    /// How many have no answer.
    #[must_use]
    pub fn open(&self) -> u64 {
        self.begun - self.answered
    }
}

/// What operators had done to one dead letter, at the broker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Triages {
    /// Replays.
    pub replay: Calls,
    /// In whose names the broker was asked to replay it.
    pub replayers: BTreeSet<UserId>,
    /// Discards.
    pub discard: Calls,
}

/// All that was seen.
#[derive(Debug, Default)]
pub struct Witness {
    /// Publishes, at the broker.
    pub published: BTreeMap<Message, Calls>,
    /// The attempts under which each message was seen to go out.
    pub delivered: BTreeMap<Message, BTreeSet<u64>>,
    /// When each message went out last, and how often that was sooner after the time before than any pause is long.
    pub hurried: BTreeMap<Message, (Duration, u64)>,
    /// Commands brought to the ledger.
    pub applied: BTreeMap<Message, Calls>,
    /// What was done to dead letters, at the broker.
    pub triaged: BTreeMap<Message, Triages>,
    /// How often an operator was shown a tenant's credentials.
    pub credentials_read: BTreeMap<TenantId, u64>,
}

impl Witness {
    /// A publish of a message begins.
    pub fn publish(&mut self, tenant: &TenantId, message_id: &MessageId) -> &mut Calls {
        self.published.entry((tenant.clone(), message_id.clone())).or_default()
    }

    /// Something is done to a dead letter.
    pub fn triage(&mut self, tenant: &TenantId, message_id: &MessageId) -> &mut Triages {
        self.triaged.entry((tenant.clone(), message_id.clone())).or_default()
    }

    /// A command is brought to the ledger.
    pub fn apply(&mut self, tenant: &TenantId, message_id: &MessageId) -> &mut Calls {
        self.applied.entry((tenant.clone(), message_id.clone())).or_default()
    }

    /// A message went out.
    pub fn deliver(&mut self, tenant: &TenantId, message_id: &MessageId, attempt: u32) {
        let (message, now) = ((tenant.clone(), message_id.clone()), super::world::now());
        let (last, hurried) = self.hurried.entry(message.clone()).or_insert((now, 0));
        *hurried += u64::from(attempt > 1 && now < *last + HURRY);
        *last = now;
        self.delivered.entry(message).or_default().insert(attempt.into());
    }
}
