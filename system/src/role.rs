//! The composition roots: how each role is put together from the world, and nothing else.
//!
//! A role opens what it keeps (`EmbeddedBroker::open` and its like), and offers it here. Kept apart, so that whoever
//! hosts a role can put a decorator in between: it sees the trait, not the engine.

use std::future::pending;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::audit::{Audit, AuditService, Outgoing, RemoteAudit, Reporter, relay};
use crate::auth::{Authority, AuthorityService, EmbeddedAuthority, RemoteAuthority};
use crate::broker::{Broker, BrokerService, EmbeddedBroker, RemoteBroker};
use crate::capability::World;
use crate::consumer::Consumer;
use crate::grant::Verifier;
use crate::ledger::{EmbeddedLedger, Ledger, LedgerService, RemoteLedger, follow, reconcile};
use crate::producer::{self, Producer};
use crate::rate_limit::RateLimits;
use crate::rights::Role;
use crate::rpc;
use crate::secret::KeyProvider;

/// At a graceful stop the audit log is told this long of what waits for it. Longer than one failed append, no longer than
/// a supervisor waits; what it has not heard by then is on disk.
pub const FLUSH_MAX: Duration = Duration::from_secs(3);

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

/// A reporter of `role` to the audit log, which tells it what `role` refuses. Its store is `outbox.redb` on the disk of
/// `world`: one per process.
///
/// # Errors
/// When its store can't be opened.
pub async fn reporter(world: &World, at: &Addresses, role: Role) -> io::Result<Reporter> {
    Reporter::start(role, world, remote_audit(world, at, role)).await
}

/// Runs until `served` ends, then waits a little until the audit log has what waits for it, in `reporter` and, if the role
/// keeps anything else, in `outgoing`. Meanwhile that is relayed for `role`.
///
/// # Errors
/// When the reporter's store has failed: a role that can't put on record what it refuses must not go on.
async fn reporting(
    world: &World,
    at: &Addresses,
    role: Role,
    outgoing: Option<Outgoing>,
    reporter: &Reporter,
    served: impl Future<Output = ()>,
) -> io::Result<()> {
    let ended = async {
        served.await;
        tokio::join!(reporter.flush(FLUSH_MAX), async {
            if let Some(outgoing) = &outgoing {
                outgoing.flush(FLUSH_MAX).await;
            }
        });
    };
    let relayed = async {
        match &outgoing {
            Some(outgoing) => relay(outgoing.clone(), remote_audit(world, at, role), world.clock.clone()).await,
            None => pending().await,
        }
    };
    tokio::select! {
        biased;
        () = ended => Ok(()),
        () = relayed => unreachable!("the relay runs for ever"),
        why = reporter.failed() => Err(io::Error::other(format!("the outbox of the {role} has failed: {why}"))),
    }
}

/// What a command's way needs, for `role`, which calls it.
fn remotes(world: &World, at: &Addresses, role: Role) -> (Arc<dyn Broker>, Arc<dyn Authority>, Arc<dyn Ledger>) {
    (remote_broker(world, at, role), remote_authority(world, at, role), remote_ledger(world, at, role))
}

/// Offers `broker` to the network until `stop`. `engine` is the broker without whatever was put around it: its outbox is
/// relayed to the audit log, and in the end what is lazy in it is made durable.
///
/// # Errors
/// When the address can't be listened at, the outbox fails, or the last commit does.
pub async fn serve_broker(
    world: &World,
    at: &Addresses,
    engine: Arc<EmbeddedBroker>,
    broker: Arc<dyn Broker>,
    reporter: Reporter,
    stop: CancellationToken,
) -> io::Result<()> {
    let listener = world.network.bind(&at.broker).await?;
    world.monitor.health.started(&stop);
    let service = BrokerService { broker, reporter: reporter.clone() };
    let mut flushed = Ok(());
    let served = async {
        rpc::serve(listener, Arc::new(service), stop).await;
        flushed = engine.flush().await;
    };
    reporting(world, at, Role::Broker, Some(engine.outgoing()), &reporter, served).await?;
    flushed.map_err(io::Error::other)
}

/// Offers `authority` to the network until `stop`; the outbox of `engine`, which it is put around, is relayed to the audit
/// log.
///
/// # Errors
/// When the address can't be listened at, or the outbox fails.
pub async fn serve_authority(
    world: &World,
    at: &Addresses,
    engine: Arc<EmbeddedAuthority>,
    authority: Arc<dyn Authority>,
    reporter: Reporter,
    stop: CancellationToken,
) -> io::Result<()> {
    let listener = world.network.bind(&at.auth).await?;
    world.monitor.health.started(&stop);
    let service = AuthorityService { authority, reporter: reporter.clone() };
    let served = rpc::serve(listener, Arc::new(service), stop);
    reporting(world, at, Role::Auth, Some(engine.outgoing()), &reporter, served).await
}

/// Offers `ledger` to the network until `stop`. `engine` - the ledger without whatever was put around it - follows auth,
/// its outbox is relayed to the audit log, and its tenants are reconciled.
///
/// # Errors
/// When the address can't be listened at, or the outbox fails.
pub async fn serve_ledger(
    world: &World,
    at: &Addresses,
    engine: Arc<EmbeddedLedger>,
    ledger: Arc<dyn Ledger>,
    reporter: Reporter,
    stop: CancellationToken,
) -> io::Result<()> {
    let listener = world.network.bind(&at.ledger).await?;
    let authority = remote_authority(world, at, Role::Ledger);
    let verifier = Verifier::new(authority.clone(), world.clock.clone());
    world.monitor.health.started(&stop);
    let service = LedgerService { ledger, verifier, reporter: reporter.clone() };
    let served = rpc::serve(listener, Arc::new(service), stop);
    tokio::select! {
        biased;
        ended = reporting(world, at, Role::Ledger, Some(engine.outgoing()), &reporter, served) => ended,
        () = follow(engine.clone(), authority) => unreachable!("the ledger follows auth for ever"),
        () = reconcile(engine) => unreachable!("tenants are reconciled for ever"),
    }
}

/// Offers `audit` to the network until `stop`. What it refuses itself it puts on record as everyone does.
///
/// # Errors
/// When the address can't be listened at, or its outbox can't be opened or fails.
pub async fn serve_audit(
    world: &World,
    at: &Addresses,
    audit: Arc<dyn Audit>,
    stop: CancellationToken,
) -> io::Result<()> {
    let listener = world.network.bind(&at.audit).await?;
    world.monitor.health.started(&stop);
    let reporter = Reporter::start(Role::Audit, world, audit.clone()).await?;
    let service = AuditService { audit, reporter: reporter.clone() };
    let served = rpc::serve(listener, Arc::new(service), stop);
    reporting(world, at, Role::Audit, None, &reporter, served).await
}

/// Consumes until `stop`.
///
/// # Errors
/// When the outbox fails.
pub async fn run_consumer(
    world: &World,
    at: &Addresses,
    limits: &RateLimits,
    reporter: Reporter,
    stop: CancellationToken,
) -> io::Result<()> {
    let (broker, authority, ledger) = remotes(world, at, Role::Consumer);
    let consumer = Consumer::new(broker, authority, ledger, world.clock.clone(), limits);
    world.monitor.health.started(&stop);
    let consumed = Arc::new(consumer.reporting(reporter.clone()).monitored(&world.monitor)).run(stop);
    reporting(world, at, Role::Consumer, None, &reporter, consumed).await
}

/// Offers the HTTP API until `stop`; `keys` unwraps the data keys that seal secrets.
///
/// # Errors
/// When the address can't be listened at, or the outbox fails.
pub async fn serve_producer(
    world: &World,
    at: &Addresses,
    limits: &RateLimits,
    keys: Arc<dyn KeyProvider>,
    reporter: Reporter,
    stop: CancellationToken,
) -> io::Result<()> {
    let (broker, authority, ledger) = remotes(world, at, Role::Producer);
    let producer = Producer::new(broker, authority, ledger, world.clock.clone(), limits, keys);
    let producer = producer.reporting(reporter.clone()).auditing(remote_audit(world, at, Role::Producer));
    let producer = producer.monitored(&world.monitor);
    let producer = Arc::new(producer);
    let listener = world.network.bind_public(&at.producer).await?;
    world.monitor.health.started(&stop);
    let served = producer::serve(listener, producer::router(producer), stop);
    reporting(world, at, Role::Producer, None, &reporter, served).await
}
