//! The broker: keeps commands in order per tenant, fairly between tenants, until someone has dealt with them.
//!
//! A message is confirmed once it is durable. What is delivered is a *run*: the oldest messages of one tenant, in order,
//! under one lease. What is not settled before the lease ends is delivered again, so a consumer sees each message at least
//! once, and the ledger's deduplication makes that once. Within a tenant only one run is ever out: order is worth more
//! than speed here, and a run is what makes it fast all the same.
//!
//! The trait asks for no more than RabbitMQ, JetStream or Kafka can give: a place in an order, at-least-once delivery, one
//! consumer per tenant at a time. `conformance` holds what every implementation must do.

#[cfg(test)]
mod conformance;
mod dead_letters;
mod embedded;
mod lane;
mod recent;
pub(crate) mod remote;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::call::CallError;
use crate::grant::{Envelope, GrantToken};
use crate::ids::{MessageId, TenantId};
use crate::ledger::PauseGeneration;
use crate::message::BodyHash;

pub use dead_letters::{DeadLetter, LETTERS_PAGE_MAX, LetterSummary, Triage, Triaged};
pub use embedded::EmbeddedBroker;
pub use lane::{Lanes, Limits};
pub use remote::{BrokerService, RemoteBroker};

/// The most messages in one run: more gain little, and one transaction must not hold the ledger for long.
pub const RUN_MAX: usize = 64;

/// The longest reason that is kept of a settlement, in bytes.
const REASON_BYTES_MAX: usize = 1024;

/// Where messages wait.
#[async_trait]
pub trait Broker: Send + Sync + 'static {
    /// Takes a message into its tenant's lane. Answers once it is durable. Doing it again changes nothing.
    async fn publish(
        &self,
        tenant: &TenantId,
        message_id: &MessageId,
        envelope: Envelope,
    ) -> Result<Published, CallError>;

    /// Leases runs of up to `max` messages in all, each run of another tenant, waiting up to `wait` for the first.
    async fn fetch(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>, CallError>;

    /// Ends a lease. `false`: the lease had ended before, and nothing changed.
    async fn settle(&self, lease: &Lease, settlement: Settlement) -> Result<bool, CallError>;

    /// What became of a message here. `None`: it was never confirmed, or settled so long ago that only the ledger knows.
    async fn standing(&self, tenant: &TenantId, message_id: &MessageId) -> Result<Option<MessageStatus>, CallError>;

    /// Pauses a tenant or resumes it, by the ledger's `generation`; one that is not later than the last changes nothing.
    /// Answers once that is durable with the generation it stands at: from then on nothing of a paused tenant goes out, and
    /// no lease on anything of it holds. Messages are taken and kept meanwhile.
    async fn pause(&self, tenant: &TenantId, generation: PauseGeneration) -> Result<PauseGeneration, CallError>;

    /// The tenant's dead letters by their ids, from the first after `after`: at most `max`, at most [`LETTERS_PAGE_MAX`]. A
    /// full page may have others behind it.
    async fn dead_letters(
        &self,
        tenant: &TenantId,
        after: Option<&MessageId>,
        max: usize,
    ) -> Result<Vec<LetterSummary>, CallError>;

    /// One dead letter. `None`: there is none of this id, or no longer.
    async fn dead_letter(&self, tenant: &TenantId, message_id: &MessageId) -> Result<Option<DeadLetter>, CallError>;

    /// Has a dead letter wait again, at the end of its tenant's order, under the same id, with the same bytes and with
    /// `grant`. Answers once that is durable. Doing it again changes nothing.
    async fn replay(
        &self,
        tenant: &TenantId,
        message_id: &MessageId,
        triage: &Triage,
        grant: GrantToken,
    ) -> Result<Triaged, CallError>;

    /// Gives a dead letter up for good. Answers once that is durable. Doing it again changes nothing, and neither its id nor
    /// its bytes are ever taken in again.
    async fn discard(&self, tenant: &TenantId, message_id: &MessageId, triage: &Triage) -> Result<Triaged, CallError>;
}

/// The answer to a publish.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Published {
    /// Durable, at this place.
    Accepted {
        /// The place in the broker's order; it grows within a tenant, with gaps.
        sequence: u64,
    },
    /// The same message had been accepted before, at this place.
    Duplicate {
        /// The place in the broker's order.
        sequence: u64,
    },
    /// Another body had been accepted under this id: refused.
    Conflict,
    /// The tenant's lane is full: refused, try again later.
    Overloaded {
        /// When to try again, in milliseconds.
        retry_after_ms: u64,
    },
}

/// A message's place in the order of all messages of its tenant. Each start of a broker begins a later epoch, so that what
/// it delivers comes after all that was delivered before - even if it had to start from nothing, or from an older file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Position {
    /// Of the broker that delivers it: when it started, in milliseconds since the Unix epoch, or later.
    pub epoch: u64,
    /// In its store, from 1.
    pub sequence: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.epoch, self.sequence)
    }
}

/// The right to settle one run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The run's tenant.
    pub tenant: TenantId,
    /// Tells this delivery from every other.
    pub token: u64,
}

/// The oldest messages of one tenant, in order, handed out under a lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// The right to settle them.
    pub lease: Lease,
    /// At least one, at most [`RUN_MAX`].
    pub messages: Vec<Delivered>,
}

/// One message of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivered {
    /// Its place in the order.
    pub position: Position,
    /// Its id.
    pub message_id: MessageId,
    /// From 1; more than 1 is a redelivery.
    pub attempt: u32,
    /// When it was published, in milliseconds since the Unix epoch, by the broker's clock.
    pub published_at_unix_ms: i64,
    /// What was published.
    pub envelope: Envelope,
}

/// How a run ended: its first messages for good, whatever is left not yet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settlement {
    /// How the first messages ended, in their order.
    pub ended: Vec<Ending>,
    /// Why the others come again, if there are others.
    pub again: Again,
}

/// How a message ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    /// Dealt with for good. Needs no sync of its own: forgotten in a crash, the message merely comes again.
    Done,
    /// Never: keep it aside, with the reason. Durable before the settlement is answered.
    DeadLetter {
        /// Why, for those who look at it.
        reason: String,
    },
}

/// Not now: the messages come again, after a pause.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Again {
    /// Why, for those who look at a message that keeps coming.
    pub reason: String,
    /// How long to pause, in milliseconds. Without it the pause grows with every attempt.
    pub after_ms: Option<u64>,
}

/// Keeps of a reason what people need.
fn cut_reason(reason: &mut String) {
    reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX));
}

impl Settlement {
    /// Keeps of each reason what people need: it is stored with the message.
    pub(crate) fn cut_reasons(&mut self) {
        let reasons = self.ended.iter_mut().filter_map(|ending| match ending {
            Ending::Done => None,
            Ending::DeadLetter { reason } => Some(reason),
        });
        reasons.chain([&mut self.again.reason]).for_each(cut_reason);
    }

    /// All comes again, after a pause that grows.
    #[must_use]
    pub fn again(reason: impl Into<String>) -> Self {
        Self { ended: Vec::new(), again: Again { reason: reason.into(), after_ms: None } }
    }
}

/// One delivery that settled nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// When it was leased, in milliseconds since the Unix epoch, by the broker's clock.
    pub leased_at_unix_ms: i64,
    /// How it ended.
    pub end: AttemptEnd,
}

/// How a delivery ended that settled nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AttemptEnd {
    /// The lease ran out without a word.
    Silent,
    /// The consumer gave it back, with a reason.
    Again(String),
}

/// A message, as far as the broker knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageStatus {
    /// SHA-256 of its body: which of all that may be published under its id it is.
    pub body_sha256: BodyHash,
    /// What became of it.
    pub standing: Standing,
}

/// What became of a message, as far as the broker knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    /// Waiting or out under a lease.
    Pending,
    /// Dealt with.
    Settled,
    /// Kept aside.
    DeadLettered {
        /// Why.
        reason: String,
    },
    /// Put aside, and given up for good by an operator.
    Discarded {
        /// Why.
        reason: String,
    },
}
