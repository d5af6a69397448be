//! The broker across the network: its requests, the server's side and the caller's side.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{Broker, Delivery, Lease, Published, Settlement, Standing};
use crate::call::CallError;
use crate::capability::Network;
use crate::grant::Envelope;
use crate::ids::{MessageId, TenantId};
use crate::ledger::PauseGeneration;
use crate::rights::Role;
use crate::rpc::{Client, Service};

/// What must be durable waits for one or two syncs; a busy disk takes milliseconds each.
const DURABLE_DEADLINE: Duration = Duration::from_secs(2);
/// Everything else is memory, or a read.
const DEADLINE: Duration = Duration::from_secs(1);

/// What can be asked of a broker: one variant per method of its trait.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    Publish { tenant: TenantId, message_id: MessageId, envelope: Envelope },
    Fetch { max: u32, wait_ms: u32 },
    Settle { lease: Lease, settlement: Settlement },
    Standing { tenant: TenantId, message_id: MessageId },
    Pause { tenant: TenantId, generation: PauseGeneration },
}

/// What it answers.
#[derive(Debug, Serialize, Deserialize)]
pub enum Reply {
    Published(Published),
    Fetched(Vec<Delivery>),
    Settled(bool),
    Standing(Option<Standing>),
    Paused(PauseGeneration),
}

/// Offers any broker to the network.
pub struct BrokerService(pub Arc<dyn Broker>);

impl Service for BrokerService {
    const ROLE: Role = Role::Broker;
    type Request = Request;
    type Reply = Reply;

    fn may(client: Role, request: &Request) -> bool {
        match request {
            Request::Publish { .. } | Request::Standing { .. } | Request::Pause { .. } => client == Role::Producer,
            Request::Fetch { .. } | Request::Settle { .. } => client == Role::Consumer,
        }
    }

    async fn handle(&self, request: Request) -> Result<Reply, CallError> {
        match request {
            Request::Publish { tenant, message_id, envelope } => {
                self.0.publish(&tenant, &message_id, envelope).await.map(Reply::Published)
            }
            Request::Fetch { max, wait_ms } => {
                self.0.fetch(max as usize, Duration::from_millis(wait_ms.into())).await.map(Reply::Fetched)
            }
            Request::Settle { lease, settlement } => self.0.settle(&lease, settlement).await.map(Reply::Settled),
            Request::Standing { tenant, message_id } => {
                self.0.standing(&tenant, &message_id).await.map(Reply::Standing)
            }
            Request::Pause { tenant, generation } => self.0.pause(&tenant, generation).await.map(Reply::Paused),
        }
    }
}

/// A broker somewhere else.
pub struct RemoteBroker {
    client: Client<BrokerService>,
}

impl RemoteBroker {
    /// The broker at `address`, for the part of `role`.
    #[must_use]
    pub fn new(network: Arc<dyn Network>, address: &str, role: Role) -> Self {
        Self { client: Client::new(network, address, role) }
    }
}

#[async_trait]
impl Broker for RemoteBroker {
    async fn publish(
        &self,
        tenant: &TenantId,
        message_id: &MessageId,
        envelope: Envelope,
    ) -> Result<Published, CallError> {
        let request = Request::Publish { tenant: tenant.clone(), message_id: message_id.clone(), envelope };
        match self.client.call(&request, DURABLE_DEADLINE).await? {
            Reply::Published(published) => Ok(published),
            reply => Err(self.client.unexpected(&reply)),
        }
    }

    async fn fetch(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>, CallError> {
        let wait_ms = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX);
        let request = Request::Fetch { max: u32::try_from(max).unwrap_or(u32::MAX), wait_ms };
        match self.client.call(&request, wait + DEADLINE).await? {
            Reply::Fetched(deliveries) => Ok(deliveries),
            reply => Err(self.client.unexpected(&reply)),
        }
    }

    async fn settle(&self, lease: &Lease, settlement: Settlement) -> Result<bool, CallError> {
        let request = Request::Settle { lease: lease.clone(), settlement };
        match self.client.call(&request, DURABLE_DEADLINE).await? {
            Reply::Settled(settled) => Ok(settled),
            reply => Err(self.client.unexpected(&reply)),
        }
    }

    async fn standing(&self, tenant: &TenantId, message_id: &MessageId) -> Result<Option<Standing>, CallError> {
        let request = Request::Standing { tenant: tenant.clone(), message_id: message_id.clone() };
        match self.client.call(&request, DEADLINE).await? {
            Reply::Standing(standing) => Ok(standing),
            reply => Err(self.client.unexpected(&reply)),
        }
    }

    async fn pause(&self, tenant: &TenantId, generation: PauseGeneration) -> Result<PauseGeneration, CallError> {
        match self.client.call(&Request::Pause { tenant: tenant.clone(), generation }, DURABLE_DEADLINE).await? {
            Reply::Paused(generation) => Ok(generation),
            reply => Err(self.client.unexpected(&reply)),
        }
    }
}
