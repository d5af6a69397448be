//! The audit log across the network.
//!
//! Every service may append, but only as itself: to a source that begins with its name, attempts that it refused, and steps
//! of its own kinds. Decisions are the ledger's alone.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Alert, AlertQuery, Audit, Claimed, Code, Event, Found, FoundAlerts, Query, Reporter, SEARCH_WAIT_MAX_MS};
use crate::call::CallError;
use crate::capability::Network;
use crate::monitor::Monitor;
use crate::rights::Role;
use crate::rpc::{Client, Service};
use crate::tlog::Tile;

/// An append waits for one or two syncs.
const DEADLINE: Duration = Duration::from_secs(2);

/// What can be asked of an audit log: one variant per method of its trait.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    Append { source: String, first: u64, events: Vec<Event> },
    Events { after: u64, max: u32 },
    Alerts { after: u64, max: u32 },
    SearchAlerts(AlertQuery),
    Search(Query),
    Checkpoint,
    Tile(Tile),
}

/// What it answers.
#[derive(Debug, Serialize, Deserialize)]
pub enum Reply {
    Appended(u64),
    Events(Vec<(u64, Event)>),
    Alerts(Vec<Alert>),
    FoundAlerts(FoundAlerts),
    Found(Found),
    Checkpoint(String),
    Tile(Option<Bytes>),
}

/// Offers any audit log to the network.
pub struct AuditService {
    /// The log.
    pub audit: Arc<dyn Audit>,
    /// Where it reports what it refuses: itself.
    pub reporter: Reporter,
}

impl Service for AuditService {
    const ROLE: Role = Role::Audit;
    type Request = Request;
    type Reply = Reply;

    fn may(client: Role, request: &Request) -> bool {
        match request {
            Request::Append { source, events, .. } => {
                let own =
                    source.strip_prefix(client.name()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
                own && events.iter().all(|event| match event {
                    Event::Decided(_) => client == Role::Ledger,
                    Event::Refused(attempt) => attempt.service == client,
                    Event::Step(step) => step.is_of(client),
                    // What rules find, the log itself tells.
                    Event::Raised(_) => false,
                })
            }
            Request::SearchAlerts(_) | Request::Search(_) | Request::Checkpoint | Request::Tile(_) => {
                client == Role::Producer
            }
            // The whole log is read where it lies, by who keeps it.
            Request::Events { .. } | Request::Alerts { .. } => false,
        }
    }

    async fn handle(&self, request: Request) -> Result<Reply, CallError> {
        match request {
            Request::Append { source, first, mut events } => {
                for event in &mut events {
                    match event {
                        Event::Refused(attempt) => attempt.cut(),
                        Event::Step(step) => step.cut(),
                        Event::Decided(_) | Event::Raised(_) => {}
                    }
                }
                let appended = self.audit.append(&source, first, events).await;
                if let Err(CallError::Failed(why)) = &appended
                    && why.contains("are missing")
                {
                    // Whoever leaves a gap asks again and again: it is one attempt by its source and number.
                    let message_id = Some(format!("{source}:{first}"));
                    let claimed = Claimed { message_id, body_sha256: Some([0; 32]), ..Claimed::default() };
                    self.reporter.attempt(Code::Gap, "append", claimed, why).await?;
                }
                appended.map(Reply::Appended)
            }
            Request::Events { after, max } => self.audit.events(after, max as usize).await.map(Reply::Events),
            Request::Alerts { after, max } => self.audit.alerts(after, max as usize).await.map(Reply::Alerts),
            Request::SearchAlerts(query) => self.audit.search_alerts(&query).await.map(Reply::FoundAlerts),
            Request::Search(query) => self.audit.search(&query).await.map(Reply::Found),
            Request::Checkpoint => self.audit.checkpoint().await.map(Reply::Checkpoint),
            Request::Tile(tile) => self.audit.tile(tile).await.map(Reply::Tile),
        }
    }

    fn reporter(&self) -> Reporter {
        self.reporter.clone()
    }

    fn claims(request: &Request) -> (&'static str, Claimed) {
        match request {
            Request::Append { .. } => ("append", Claimed::default()),
            Request::Events { .. } => ("events", Claimed::default()),
            Request::Alerts { .. } => ("alerts", Claimed::default()),
            Request::SearchAlerts(AlertQuery { tenant, .. }) => {
                ("search_alerts", Claimed { tenant: tenant.clone(), ..Claimed::default() })
            }
            Request::Search(Query { tenant, .. }) => {
                ("search", Claimed { tenant: tenant.clone(), ..Claimed::default() })
            }
            Request::Checkpoint => ("checkpoint", Claimed::default()),
            Request::Tile(_) => ("tile", Claimed::default()),
        }
    }
}

/// An audit log somewhere else.
pub struct RemoteAudit {
    client: Client<AuditService>,
}

impl RemoteAudit {
    /// The audit log at `address`, for the part of `role`.
    #[must_use]
    pub fn new(network: Arc<dyn Network>, address: &str, role: Role) -> Self {
        Self { client: Client::new(network, address, role) }
    }

    /// Counts its calls in `monitor`, which tells from then on whether the log is there. Nobody's readiness needs it: while it
    /// is away everyone goes on, as long as their outboxes have room.
    #[must_use]
    pub fn monitored(self, monitor: &Monitor) -> Self {
        Self { client: self.client.noted(monitor) }
    }
}

#[async_trait]
impl Audit for RemoteAudit {
    async fn append(&self, source: &str, first: u64, events: Vec<Event>) -> Result<u64, CallError> {
        match self.client.call(&Request::Append { source: source.into(), first, events }, DEADLINE).await? {
            Reply::Appended(last) => Ok(last),
            reply => Err(self.client.unexpected(&reply)),
        }
    }

    async fn events(&self, after: u64, max: usize) -> Result<Vec<(u64, Event)>, CallError> {
        let max = u32::try_from(max).unwrap_or(u32::MAX);
        match self.client.call(&Request::Events { after, max }, DEADLINE).await? {
            Reply::Events(events) => Ok(events),
            reply => Err(self.client.unexpected(&reply)),
        }
    }

    async fn alerts(&self, after: u64, max: usize) -> Result<Vec<Alert>, CallError> {
        let max = u32::try_from(max).unwrap_or(u32::MAX);
        match self.client.call(&Request::Alerts { after, max }, DEADLINE).await? {
            Reply::Alerts(alerts) => Ok(alerts),
            reply => Err(self.client.unexpected(&reply)),
        }
    }

    async fn search_alerts(&self, query: &AlertQuery) -> Result<FoundAlerts, CallError> {
        match self.client.call(&Request::SearchAlerts(query.clone()), DEADLINE).await? {
            Reply::FoundAlerts(found) => Ok(found),
            reply => Err(self.client.unexpected(&reply)),
        }
    }

    async fn search(&self, query: &Query) -> Result<Found, CallError> {
        let wait = Duration::from_millis(query.wait_ms.min(SEARCH_WAIT_MAX_MS).into());
        match self.client.call(&Request::Search(query.clone()), wait + DEADLINE).await? {
            Reply::Found(found) => Ok(found),
            reply => Err(self.client.unexpected(&reply)),
        }
    }

    async fn checkpoint(&self) -> Result<String, CallError> {
        match self.client.call(&Request::Checkpoint, DEADLINE).await? {
            Reply::Checkpoint(checkpoint) => Ok(checkpoint),
            reply => Err(self.client.unexpected(&reply)),
        }
    }

    async fn tile(&self, tile: Tile) -> Result<Option<Bytes>, CallError> {
        match self.client.call(&Request::Tile(tile), DEADLINE).await? {
            Reply::Tile(hashes) => Ok(hashes),
            reply => Err(self.client.unexpected(&reply)),
        }
    }
}
