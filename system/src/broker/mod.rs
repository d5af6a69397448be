//! The broker: keeps commands in order per tenant, fairly between tenants, until someone has dealt with them.
//!
//! A message is confirmed once it is durable. It is delivered under a lease; what is not settled before the lease ends
//! is delivered again, so a consumer sees each message at least once, and the ledger's deduplication makes that once.
//! Within a tenant only the oldest message is ever out: order is worth more than speed here.

mod embedded;
mod lane;
mod remote;

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::call::CallError;
use crate::grant::Envelope;
use crate::ids::{MessageId, TenantId};

pub use embedded::EmbeddedBroker;
pub use lane::{Lanes, Limits};
pub use remote::{BrokerService, RemoteBroker};

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

    /// Leases up to `max` messages, of as many tenants, waiting up to `wait` for the first.
    async fn fetch(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>, CallError>;

    /// Ends a lease. `false`: the lease had ended before, and nothing changed.
    async fn settle(&self, lease: &Lease, settlement: Settlement) -> Result<bool, CallError>;

    /// What became of a message here. `None`: it was never confirmed.
    async fn standing(&self, tenant: &TenantId, message_id: &MessageId) -> Result<Option<Standing>, CallError>;
}

/// The answer to a publish.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Published {
    /// Durable, as the tenant's message number `sequence`, from 1.
    Accepted {
        /// The place in the tenant's order.
        sequence: u64,
    },
    /// The same message had been accepted before, under this number.
    Duplicate {
        /// The place in the tenant's order.
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

/// The right to settle one delivery of one message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The message's tenant.
    pub tenant: TenantId,
    /// The message's place in the tenant's order.
    pub sequence: u64,
    /// Tells this delivery from every other of the same message.
    pub token: u64,
}

/// One message, handed out under a lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// The right to settle it.
    pub lease: Lease,
    /// Its id.
    pub message_id: MessageId,
    /// From 1; more than 1 is a redelivery.
    pub attempt: u32,
    /// What was published.
    pub envelope: Envelope,
}

/// How a delivery ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Settlement {
    /// Dealt with for good. Needs no sync of its own: forgotten in a crash, the message merely comes again.
    Done,
    /// Not now: deliver it again after a pause that grows.
    Retry,
    /// Never: keep it aside, with the reason. Durable before it is answered.
    DeadLetter {
        /// Why, for those who look at it.
        reason: String,
    },
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
}
