//! The audit log across the network.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{Audit, AuditEntry};
use crate::call::CallError;
use crate::capability::Network;
use crate::rights::Role;
use crate::rpc::{Client, Service};

/// An append waits for one or two syncs.
const DEADLINE: Duration = Duration::from_secs(2);

/// The one thing that can be asked of an audit log; the answer is the last number it has.
#[derive(Debug, Serialize, Deserialize)]
pub struct Append {
    pub(crate) source: String,
    pub(crate) first: u64,
    pub(crate) entries: Vec<AuditEntry>,
}

/// Offers any audit log to the network.
pub struct AuditService(pub Arc<dyn Audit>);

impl Service for AuditService {
    const ROLE: Role = Role::Audit;
    type Request = Append;
    type Reply = u64;

    fn may(client: Role, _: &Append) -> bool {
        client == Role::Ledger
    }

    async fn handle(&self, Append { source, first, entries }: Append) -> Result<u64, CallError> {
        self.0.append(&source, first, entries).await
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
}

#[async_trait]
impl Audit for RemoteAudit {
    async fn append(&self, source: &str, first: u64, entries: Vec<AuditEntry>) -> Result<u64, CallError> {
        self.client.call(&Append { source: source.into(), first, entries }, DEADLINE).await
    }
}
