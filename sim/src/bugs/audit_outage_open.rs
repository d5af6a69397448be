//! While the audit log can't be reached, what should stand in it is dropped, and business goes on.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tenantry_system::audit::{Alert, AlertQuery, Audit, AuditService, Event, Found, FoundAlerts, Query, Reporter};
use tenantry_system::call::CallError;
use tenantry_system::capability::{Channel, Incoming, Listener, Network, World};
use tenantry_system::rights::Role;
use tenantry_system::rpc;
use tenantry_system::tlog::Tile;
use tokio::io::DuplexStream;
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::Kit;
use super::seam::{Bent, BentNetwork};

/// A log that is not there after so long is given up; less than a caller waits.
const PATIENCE: Duration = Duration::from_millis(200);

/// Then it is looked for again.
const AGAIN: Duration = Duration::from_millis(500);

/// Bytes on their way to nowhere.
const PIPE_BYTES: usize = 1 << 20;

struct FailsOpen {
    inner: Arc<dyn Network>,
    kit: Kit,
}

pub(super) fn plant(world: World, kit: &Kit) -> World {
    World { network: Arc::new(Bent(FailsOpen { inner: world.network, kit: kit.clone() })), ..world }
}

#[async_trait]
impl BentNetwork for FailsOpen {
    fn inner(&self) -> &Arc<dyn Network> {
        &self.inner
    }

    async fn connect(&self, address: &str, server: Role) -> io::Result<Channel> {
        let connected = self.inner.connect(address, server);
        if server != Role::Audit {
            return connected.await;
        }
        if let Ok(Ok(channel)) = timeout(PATIENCE, connected).await {
            return Ok(channel);
        }
        let (near, far) = tokio::io::duplex(PIPE_BYTES);
        let service = AuditService { audit: Arc::new(Nowhere(self.kit.clone())), reporter: Reporter::none() };
        tokio::spawn(async move {
            let served = rpc::serve(Box::new(Once(Mutex::new(Some(far)))), Arc::new(service), CancellationToken::new());
            tokio::select! {
                () = served => {}
                () = sleep(AGAIN) => {}
            }
        });
        Ok(Channel::plain(near))
    }
}

/// A listener to whom one has connected, and nobody else ever does.
struct Once(Mutex<Option<DuplexStream>>);

#[async_trait]
impl Listener for Once {
    async fn accept(&self) -> io::Result<Incoming> {
        match self.0.lock().await.take() {
            Some(stream) => Ok(Incoming::plain("nowhere".into(), stream)),
            None => std::future::pending().await,
        }
    }

    fn local_address(&self) -> String {
        "nowhere:0".into()
    }
}

/// A log that takes everything and keeps nothing. What it took is noted, so that the real one misses no numbers.
struct Nowhere(Kit);

fn away<T>() -> Result<T, CallError> {
    Err(CallError::failed("the audit log can't be reached"))
}

#[async_trait]
impl Audit for Nowhere {
    async fn append(&self, source: &str, first: u64, events: Vec<Event>) -> Result<u64, CallError> {
        let numbers = (first..).zip(&events).map(|(number, _)| number);
        self.0.notes().extend(numbers.map(|number| (super::audit_loses::lost(source, number), 1)));
        Ok(first + events.len() as u64 - 1)
    }

    async fn events(&self, _: u64, _: usize) -> Result<Vec<(u64, Event)>, CallError> {
        away()
    }

    async fn alerts(&self, _: u64, _: usize) -> Result<Vec<Alert>, CallError> {
        away()
    }

    async fn search_alerts(&self, _: &AlertQuery) -> Result<FoundAlerts, CallError> {
        away()
    }

    async fn search(&self, _: &Query) -> Result<Found, CallError> {
        away()
    }

    async fn checkpoint(&self) -> Result<String, CallError> {
        away()
    }

    async fn tile(&self, _: Tile) -> Result<Option<bytes::Bytes>, CallError> {
        away()
    }
}
