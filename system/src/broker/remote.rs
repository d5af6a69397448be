//! The broker across the network: its requests, the server's side and the caller's side.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::embedded::is_oversized;
use super::{
    Broker, DeadLetter, Delivery, LETTERS_PAGE_MAX, Lease, LetterSummary, MessageStatus, Published, Settlement, Triage,
    Triaged,
};
use crate::audit::{Claimed, Code, Reporter};
use crate::call::CallError;
use crate::capability::Network;
use crate::grant::{Envelope, GrantToken};
use crate::ids::{MessageId, TenantId};
use crate::ledger::PauseGeneration;
use crate::message::body_sha256;
use crate::monitor::Monitor;
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
    DeadLetters { tenant: TenantId, after: Option<MessageId>, max: u32 },
    DeadLetter { tenant: TenantId, message_id: MessageId },
    Replay { tenant: TenantId, message_id: MessageId, triage: Triage, grant: GrantToken },
    Discard { tenant: TenantId, message_id: MessageId, triage: Triage },
}

/// What it answers.
#[derive(Debug, Serialize, Deserialize)]
pub enum Reply {
    Published(Published),
    Fetched(Vec<Delivery>),
    Settled(bool),
    Standing(Option<MessageStatus>),
    Paused(PauseGeneration),
    DeadLetters(Vec<LetterSummary>),
    DeadLetter(Option<DeadLetter>),
    Triaged(Triaged),
}

/// Offers any broker to the network.
pub struct BrokerService {
    /// The broker.
    pub broker: Arc<dyn Broker>,
    /// Where it reports what it refuses.
    pub reporter: Reporter,
}

impl Service for BrokerService {
    const ROLE: Role = Role::Broker;
    type Request = Request;
    type Reply = Reply;

    fn may(client: Role, request: &Request) -> bool {
        match request {
            Request::Publish { .. } | Request::Standing { .. } | Request::Pause { .. } => client == Role::Producer,
            Request::DeadLetters { .. } | Request::DeadLetter { .. } => client == Role::Producer,
            Request::Replay { .. } | Request::Discard { .. } => client == Role::Producer,
            Request::Fetch { .. } | Request::Settle { .. } => client == Role::Consumer,
        }
    }

    async fn handle(&self, request: Request) -> Result<Reply, CallError> {
        match request {
            Request::Publish { tenant, message_id, envelope } => {
                let claimed = || claimed(&tenant, &message_id, &envelope);
                let published = self.broker.publish(&tenant, &message_id, envelope.clone()).await;
                match &published {
                    Ok(Published::Conflict) => {
                        let why = "another message has this id";
                        self.reporter.attempt(Code::Conflict, "publish", claimed(), why).await?;
                    }
                    Err(CallError::Failed(why)) if is_oversized(&envelope) => {
                        self.reporter.attempt(Code::HostileBody, "publish", claimed(), why).await?;
                    }
                    _ => {}
                }
                published.map(Reply::Published)
            }
            Request::Fetch { max, wait_ms } => {
                self.broker.fetch(max as usize, Duration::from_millis(wait_ms.into())).await.map(Reply::Fetched)
            }
            Request::Settle { lease, settlement } => self.broker.settle(&lease, settlement).await.map(Reply::Settled),
            Request::Standing { tenant, message_id } => {
                self.broker.standing(&tenant, &message_id).await.map(Reply::Standing)
            }
            Request::Pause { tenant, generation } => self.broker.pause(&tenant, generation).await.map(Reply::Paused),
            Request::DeadLetters { tenant, after, max } => {
                self.broker.dead_letters(&tenant, after.as_ref(), max as usize).await.map(Reply::DeadLetters)
            }
            Request::DeadLetter { tenant, message_id } => {
                self.broker.dead_letter(&tenant, &message_id).await.map(Reply::DeadLetter)
            }
            Request::Replay { tenant, message_id, triage, grant } => {
                self.broker.replay(&tenant, &message_id, &triage, grant).await.map(Reply::Triaged)
            }
            Request::Discard { tenant, message_id, triage } => {
                self.broker.discard(&tenant, &message_id, &triage).await.map(Reply::Triaged)
            }
        }
    }

    fn reporter(&self) -> Reporter {
        self.reporter.clone()
    }

    fn claims(request: &Request) -> (&'static str, Claimed) {
        match request {
            Request::Publish { tenant, message_id, envelope } => ("publish", claimed(tenant, message_id, envelope)),
            Request::Fetch { .. } => ("fetch", Claimed::default()),
            Request::Settle { lease, .. } => ("settle", Claimed::tenant(&lease.tenant)),
            Request::Standing { tenant, message_id } => {
                ("standing", Claimed { message_id: Some(message_id.to_string()), ..Claimed::tenant(tenant) })
            }
            Request::Pause { tenant, .. } => ("pause", Claimed::tenant(tenant)),
            Request::DeadLetters { tenant, .. } => ("dead_letters", Claimed::tenant(tenant)),
            Request::DeadLetter { tenant, message_id } => {
                ("dead_letter", Claimed { message_id: Some(message_id.to_string()), ..Claimed::tenant(tenant) })
            }
            Request::Replay { tenant, message_id, triage, .. } => ("replay", triaged(tenant, message_id, triage)),
            Request::Discard { tenant, message_id, triage } => ("discard", triaged(tenant, message_id, triage)),
        }
    }
}

/// What a message claims that is to be published: its lane and its name count, whatever its body says.
fn claimed(tenant: &TenantId, message_id: &MessageId, envelope: &Envelope) -> Claimed {
    let (tenant, message_id) = (Some(tenant.to_string()), Some(message_id.to_string()));
    Claimed { tenant, message_id, body_sha256: Some(body_sha256(&envelope.body)), ..Claimed::default() }
}

/// What is claimed about a dead letter that is to be dealt with.
fn triaged(tenant: &TenantId, message_id: &MessageId, triage: &Triage) -> Claimed {
    Claimed {
        user: Some(triage.by.to_string()),
        message_id: Some(message_id.to_string()),
        body_sha256: Some(triage.body_sha256),
        ..Claimed::tenant(tenant)
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

    /// Counts its calls in `monitor`, whose readiness needs the other side from then on.
    #[must_use]
    pub fn monitored(self, monitor: &Monitor) -> Self {
        Self { client: self.client.monitored(monitor) }
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

    async fn standing(&self, tenant: &TenantId, message_id: &MessageId) -> Result<Option<MessageStatus>, CallError> {
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

    async fn dead_letters(
        &self,
        tenant: &TenantId,
        after: Option<&MessageId>,
        max: usize,
    ) -> Result<Vec<LetterSummary>, CallError> {
        let max = max.min(LETTERS_PAGE_MAX) as u32;
        let request = Request::DeadLetters { tenant: tenant.clone(), after: after.cloned(), max };
        match self.client.call(&request, DEADLINE).await? {
            Reply::DeadLetters(page) => Ok(page),
            reply => Err(self.client.unexpected(&reply)),
        }
    }

    async fn dead_letter(&self, tenant: &TenantId, message_id: &MessageId) -> Result<Option<DeadLetter>, CallError> {
        let request = Request::DeadLetter { tenant: tenant.clone(), message_id: message_id.clone() };
        match self.client.call(&request, DEADLINE).await? {
            Reply::DeadLetter(letter) => Ok(letter),
            reply => Err(self.client.unexpected(&reply)),
        }
    }

    async fn replay(
        &self,
        tenant: &TenantId,
        message_id: &MessageId,
        triage: &Triage,
        grant: GrantToken,
    ) -> Result<Triaged, CallError> {
        let (tenant, message_id, triage) = (tenant.clone(), message_id.clone(), triage.clone());
        match self.client.call(&Request::Replay { tenant, message_id, triage, grant }, DURABLE_DEADLINE).await? {
            Reply::Triaged(triaged) => Ok(triaged),
            reply => Err(self.client.unexpected(&reply)),
        }
    }

    async fn discard(&self, tenant: &TenantId, message_id: &MessageId, triage: &Triage) -> Result<Triaged, CallError> {
        let (tenant, message_id, triage) = (tenant.clone(), message_id.clone(), triage.clone());
        match self.client.call(&Request::Discard { tenant, message_id, triage }, DURABLE_DEADLINE).await? {
            Reply::Triaged(triaged) => Ok(triaged),
            reply => Err(self.client.unexpected(&reply)),
        }
    }
}
