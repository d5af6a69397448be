//! The composition roots: how each role is put together from the world, and nothing else.
//!
//! A role opens what it keeps (`EmbeddedBroker::open` and its like), and offers it here. Kept apart, so that whoever
//! hosts a role can put a decorator in between: it sees the trait, not the engine.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::audit::{Audit, AuditService, RemoteAudit, Reporter};
use crate::auth::{Authority, AuthorityService, RemoteAuthority};
use crate::broker::{Broker, BrokerService, RemoteBroker};
use crate::capability::World;
use crate::consumer::Consumer;
use crate::grant::Verifier;
use crate::ledger::{EmbeddedLedger, Ledger, LedgerService, RemoteLedger, follow, relay};
use crate::producer::{self, Producer};
use crate::rate_limit::RateLimits;
use crate::rights::Role;
use crate::rpc;
use crate::secret::KeyProvider;

/// At a graceful stop the audit log is told this long of what was refused. Longer than one failed append, no longer than
/// a supervisor waits.
const FLUSH_MAX: Duration = Duration::from_secs(3);

/// Where each role listens, as `host:port`. Each role needs to know only those it calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Addresses {
    /// HTTP, for operators.
    pub producer: String,
    /// Frames.
    pub broker: String,
    /// Frames.
    pub auth: String,
    /// Frames.
    pub ledger: String,
    /// Frames.
    pub audit: String,
}

impl Default for Addresses {
    fn default() -> Self {
        let at = |port: u16| format!("127.0.0.1:{port}");
        Self { producer: at(7070), broker: at(7071), auth: at(7072), ledger: at(7073), audit: at(7074) }
    }
}

/// A broker for `role`, which calls it.
#[must_use]
pub fn remote_broker(world: &World, at: &Addresses, role: Role) -> Arc<dyn Broker> {
    Arc::new(RemoteBroker::new(world.network.clone(), &at.broker, role).monitored(&world.monitor))
}

/// Auth for `role`, which calls it.
#[must_use]
pub fn remote_authority(world: &World, at: &Addresses, role: Role) -> Arc<dyn Authority> {
    Arc::new(RemoteAuthority::new(world.network.clone(), &at.auth, role).monitored(&world.monitor))
}

/// A ledger for `role`, which calls it.
#[must_use]
pub fn remote_ledger(world: &World, at: &Addresses, role: Role) -> Arc<dyn Ledger> {
    Arc::new(RemoteLedger::new(world.network.clone(), &at.ledger, role).monitored(&world.monitor))
}

/// An audit log for `role`, which calls it.
#[must_use]
pub fn remote_audit(world: &World, at: &Addresses, role: Role) -> Arc<dyn Audit> {
    Arc::new(RemoteAudit::new(world.network.clone(), &at.audit, role).monitored(&world.monitor))
}

/// A reporter of `role` to the audit log, which tells it what `role` refuses.
#[must_use]
pub fn reporter(world: &World, at: &Addresses, role: Role) -> Reporter {
    Reporter::start(role, world, remote_audit(world, at, role))
}

/// What a command's way needs, for `role`, which calls it.
fn remotes(world: &World, at: &Addresses, role: Role) -> (Arc<dyn Broker>, Arc<dyn Authority>, Arc<dyn Ledger>) {
    (remote_broker(world, at, role), remote_authority(world, at, role), remote_ledger(world, at, role))
}

/// Offers `broker` to the network until `stop`.
///
/// # Errors
/// When the address can't be listened at.
pub async fn serve_broker(
    world: &World,
    at: &Addresses,
    broker: Arc<dyn Broker>,
    stop: CancellationToken,
) -> io::Result<()> {
    let listener = world.network.bind(&at.broker).await?;
    let reporter = reporter(world, at, Role::Broker);
    world.monitor.health.started(&stop);
    rpc::serve(listener, Arc::new(BrokerService { broker, reporter: reporter.clone() }), stop).await;
    reporter.flush(FLUSH_MAX).await;
    Ok(())
}

/// Offers `authority` to the network until `stop`.
///
/// # Errors
/// When the address can't be listened at.
pub async fn serve_authority(
    world: &World,
    at: &Addresses,
    authority: Arc<dyn Authority>,
    stop: CancellationToken,
) -> io::Result<()> {
    let listener = world.network.bind(&at.auth).await?;
    let reporter = reporter(world, at, Role::Auth);
    world.monitor.health.started(&stop);
    rpc::serve(listener, Arc::new(AuthorityService { authority, reporter: reporter.clone() }), stop).await;
    reporter.flush(FLUSH_MAX).await;
    Ok(())
}

/// Offers `ledger` to the network until `stop`. `engine` - the ledger without whatever was put around it - follows auth,
/// and its outbox is relayed to the audit log.
///
/// # Errors
/// When the address can't be listened at.
pub async fn serve_ledger(
    world: &World,
    at: &Addresses,
    engine: Arc<EmbeddedLedger>,
    ledger: Arc<dyn Ledger>,
    stop: CancellationToken,
) -> io::Result<()> {
    let listener = world.network.bind(&at.ledger).await?;
    let authority = remote_authority(world, at, Role::Ledger);
    let verifier = Verifier::new(authority.clone(), world.clock.clone());
    let reporter = reporter(world, at, Role::Ledger);
    world.monitor.health.started(&stop);
    let service = LedgerService { ledger, verifier, reporter: reporter.clone() };
    let served = async {
        rpc::serve(listener, Arc::new(service), stop).await;
        reporter.flush(FLUSH_MAX).await;
    };
    tokio::select! {
        biased;
        () = served => Ok(()),
        () = follow(engine.clone(), authority) => unreachable!("the ledger follows auth for ever"),
        () = relay(engine, remote_audit(world, at, Role::Ledger)) => unreachable!("the relay runs for ever"),
    }
}

/// Offers `audit` to the network until `stop`.
///
/// # Errors
/// When the address can't be listened at.
pub async fn serve_audit(
    world: &World,
    at: &Addresses,
    audit: Arc<dyn Audit>,
    stop: CancellationToken,
) -> io::Result<()> {
    let listener = world.network.bind(&at.audit).await?;
    let reporter = Reporter::start(Role::Audit, world, audit.clone());
    world.monitor.health.started(&stop);
    rpc::serve(listener, Arc::new(AuditService { audit, reporter: reporter.clone() }), stop).await;
    reporter.flush(FLUSH_MAX).await;
    Ok(())
}

/// Consumes until `stop`.
pub async fn run_consumer(world: &World, at: &Addresses, limits: &RateLimits, stop: CancellationToken) {
    let (broker, authority, ledger) = remotes(world, at, Role::Consumer);
    let reporter = reporter(world, at, Role::Consumer);
    let consumer = Consumer::new(broker, authority, ledger, world.clock.clone(), limits);
    world.monitor.health.started(&stop);
    Arc::new(consumer.reporting(reporter.clone()).monitored(&world.monitor)).run(stop).await;
    reporter.flush(FLUSH_MAX).await;
}

/// Offers the HTTP API until `stop`; `keys` unwraps the data keys that seal secrets.
///
/// # Errors
/// When the address can't be listened at.
pub async fn serve_producer(
    world: &World,
    at: &Addresses,
    limits: &RateLimits,
    keys: Arc<dyn KeyProvider>,
    stop: CancellationToken,
) -> io::Result<()> {
    let (broker, authority, ledger) = remotes(world, at, Role::Producer);
    let reporter = reporter(world, at, Role::Producer);
    let producer = Producer::new(broker, authority, ledger, world.clock.clone(), limits, keys);
    let producer = Arc::new(producer.reporting(reporter.clone()).monitored(&world.monitor));
    let listener = world.network.bind_public(&at.producer).await?;
    world.monitor.health.started(&stop);
    producer::serve(listener, producer::router(producer), stop).await;
    reporter.flush(FLUSH_MAX).await;
    Ok(())
}
