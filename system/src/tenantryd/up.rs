//! `tenantryd up`: every role in one process, wired directly, each with a disk folder of its own.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use futures_util::future::{join, join_all, select_all};
use tenantry_system::action::Permission;
use tenantry_system::audit::{EmbeddedAudit, Reporter, relay};
use tenantry_system::auth::{Ask, Authority, EmbeddedAuthority, Policies, Ruling};
use tenantry_system::broker::{Broker, EmbeddedBroker, Limits};
use tenantry_system::capability::{Clock, World};
use tenantry_system::consumer::Consumer;
use tenantry_system::ids::{Name, TenantId, UserId};
use tenantry_system::ledger::{EmbeddedLedger, Ledger, follow, reconcile};
use tenantry_system::producer::{self, Producer};
use tenantry_system::rights::Role;
use tenantry_system::role::FLUSH_MAX;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::{Alerts, Config};
use crate::{development, keys, policies, store_failed};

/// Runs until `stop`, or until a store fails.
pub(crate) async fn run(config: &Config, stop: CancellationToken) -> anyhow::Result<()> {
    let Config { data, rate_limits, .. } = config;
    let listen = &config.addresses.producer;
    config.must_be_safe(listen)?;
    let network = keys::network(config, Role::Producer)?;
    let monitor = config.monitor.monitor("tenantry")?;
    let world = |role: Role| -> std::io::Result<World> {
        Ok(World { monitor: monitor.clone(), ..World::real(&data.join(role.name()))? })
    };
    let (broker_world, auth_world) = (world(Role::Broker)?, world(Role::Auth)?);
    let audit_world = world(Role::Audit)?;
    config.monitor.serve(Role::Producer, &monitor).await?;
    let identity = config.identity();
    if development::is_meant(&identity, data) {
        development::provider(data)?;
    }
    let (watch, webhook) = (config.alerts.watch()?, config.alerts.webhook()?);
    let audit = Arc::new(EmbeddedAudit::open_watched(&audit_world, config.audit.clone(), watch).await?);
    // What no service of its own refuses here, for all are wired directly: auth, the consumer and the API are left.
    let reporter = async |role, world: &World| Reporter::start(role, world, audit.clone()).await;
    let reporters = [
        reporter(Role::Auth, &auth_world).await?,
        reporter(Role::Producer, &world(Role::Producer)?).await?,
        reporter(Role::Consumer, &world(Role::Consumer)?).await?,
    ];
    let [auth_reports, api_reports, consumer_reports] = reporters.clone();
    let engine = EmbeddedAuthority::open(&auth_world, identity.trusted()?, policies::load(data)?).await?;
    let engine = Arc::new(engine.reporting(auth_reports));
    let authority: Arc<dyn Authority> = engine.clone();
    let keys = config.keys()?;
    let ledger =
        Arc::new(EmbeddedLedger::open_with(&world(Role::Ledger)?, keys.clone(), config.ledger.settings()?).await?);
    let broker = Arc::new(EmbeddedBroker::open(&broker_world, Limits::default()).await?);
    let clock = broker_world.clock.clone();
    let (to_broker, to_ledger): (Arc<dyn Broker>, Arc<dyn Ledger>) = (broker.clone(), ledger.clone());

    let listener = network.bind_public(listen).await.context("choose another address with --listen")?;
    let (scheme, curl) = match &config.tls {
        Some(tls) => ("https", format!("curl -sS --cacert {}", tls.of(Role::Producer)[0].display())),
        None => ("http", "curl -sS".into()),
    };
    let url = format!("{scheme}://{}", listener.local_address());
    if development::is_meant(&identity, data) {
        print_welcome(data, &url, &curl, &engine.policies(), &*clock)?;
    } else {
        print_address(data, &url, &identity.issuer)?;
    }

    let api = Producer::new(to_broker.clone(), authority.clone(), to_ledger.clone(), clock.clone(), rate_limits, keys);
    let api = Arc::new(api.reporting(api_reports).auditing(audit.clone()).monitored(&monitor));
    // Each is told to stop below, in turn, and not by `stop` itself: what ends before it is told to has failed.
    let (http_stop, consumer_stop) = (CancellationToken::new(), CancellationToken::new());
    let mut http = tokio::spawn(producer::serve(listener, producer::router(api), http_stop.clone()));
    let consumer = Consumer::new(to_broker, authority.clone(), to_ledger, clock, rate_limits);
    let consumer = Arc::new(consumer.reporting(consumer_reports).monitored(&monitor));
    let mut consumer = tokio::spawn(consumer.run(consumer_stop.clone()));
    let outboxes = [ledger.outgoing(), broker.outgoing(), engine.outgoing()];
    let mut relays = JoinSet::new();
    for outgoing in outboxes.clone() {
        relays.spawn(relay(outgoing, audit.clone(), audit_world.clock.clone()));
    }
    let mut follow = tokio::spawn(follow(ledger.clone(), authority));
    let mut reconcile = tokio::spawn(reconcile(ledger.clone()));

    monitor.health.started(&stop);

    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        why = broker.failed() => return Err(store_failed("broker", &why)),
        why = ledger.failed() => return Err(store_failed("ledger", &why)),
        why = audit.failed() => return Err(store_failed("audit log", &why)),
        () = Alerts::attend(&audit, webhook, &audit_world) => {}
        why = engine.failed() => return Err(store_failed("auth", &why)),
        (why, ..) = select_all(reporters.iter().map(|reporter| Box::pin(reporter.failed()))) => {
            return Err(store_failed("outbox", &why));
        }
        () = policies::keep(&engine, data, config.grant_key_days.get()) => {}
        // None of them ends before it is told to: what is left would confirm commands that nobody deals with.
        ended = &mut http => bail!("the HTTP server ended: {ended:?}"),
        ended = &mut consumer => bail!("the consumer ended: {ended:?}"),
        ended = relays.join_next() => bail!("an audit relay ended: {ended:?}"),
        ended = &mut follow => bail!("the ledger follows auth no longer: {ended:?}"),
        ended = &mut reconcile => bail!("tenants are reconciled no longer: {ended:?}"),
    }
    // In the order of a command's way: first nothing new comes in, then what is in work ends.
    http_stop.cancel();
    http.await?;
    consumer_stop.cancel();
    consumer.await?;
    follow.abort();
    reconcile.abort();
    broker.flush().await?;
    let told = outboxes.iter().map(|outgoing| outgoing.flush(FLUSH_MAX));
    let reported = reporters.iter().map(|reporter| reporter.flush(FLUSH_MAX));
    join(join_all(told), join_all(reported)).await;
    drop(relays);
    eprintln!("stopped");
    Ok(())
}

/// What there is to say where operators come from elsewhere.
fn print_address(data: &Path, url: &str, issuer: &str) -> anyhow::Result<()> {
    let data = data.display();
    let mut stdout = std::io::stdout().lock();
    writeln!(
        stdout,
        "Tenantry is up at {url}, data in {data}; stop it with Ctrl-C.\n\n\
         Operators come with tokens of {issuer}; what they may do stands in {data}/operators.toml and {data}/policies.cedar."
    )?;
    Ok(stdout.flush()?)
}

fn print_welcome(data: &Path, url: &str, curl: &str, policies: &Policies, clock: &dyn Clock) -> anyhow::Result<()> {
    let operator = UserId::parse(development::OPERATOR)?;
    let roles: Vec<_> = policies.directory().roles_of(&operator).collect();
    let joined = |roles: &BTreeSet<Name>| roles.iter().map(Name::as_str).collect::<Vec<_>>().join(" and ");
    let told: Vec<_> = roles.iter().map(|(tenant, roles)| format!("{} of tenant {tenant}", joined(roles))).collect();
    let told = if told.is_empty() { "without any role".into() } else { told.join(", ") };
    let able = |(tenant, _): &&(&TenantId, _)| {
        let ask = Ask::Permission(Permission::ManageLimits, None, None);
        matches!(policies.rule(&operator, tenant, ask, clock.now()), Ruling::Permit(_))
    };
    let tenant = roles.iter().find(able).map_or(development::TENANT, |(tenant, _)| tenant.as_str());
    let operator = operator.as_str();
    let token = development::token(data, operator)?;
    let timestamp = clock.now().round(jiff::Unit::Second)?;
    // Another id at each start: the last one's body, with its timestamp, is another.
    let id = format!("msg-{}", clock.unix_seconds());
    let data = data.display();
    let mut stdout = std::io::stdout().lock();
    writeln!(
        stdout,
        r#"Tenantry is up at {url}, data in {data}; stop it with Ctrl-C.

The development operator is {operator}, {told}
(see {data}/operators.toml and {data}/policies.cedar). Their token, for 12 hours; `tenantryd token` prints another:

{token}

Send a first command, wait for its outcome, read the new limit back:

{curl} {url}/v1/commands -H 'Authorization: Bearer {token}' -d '{{"tenant_id": "{tenant}", "user_id": "{operator}", "action": "update_billing_limit", "payload": {{"limit_type": "api_requests", "new_limit": 10000}}, "message_id": "{id}", "timestamp": "{timestamp}"}}'

{curl} '{url}/v1/commands/{id}?tenant_id={tenant}&wait_ms=5000' -H 'Authorization: Bearer {token}'

{curl} {url}/v1/tenants/{tenant}/limits -H 'Authorization: Bearer {token}'
"#
    )?;
    Ok(stdout.flush()?)
}
