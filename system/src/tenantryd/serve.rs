//! `tenantryd serve ROLE`: one role in this process, the others across the network.

use std::sync::Arc;

use tenantry_system::audit::EmbeddedAudit;
use tenantry_system::auth::EmbeddedAuthority;
use tenantry_system::broker::{EmbeddedBroker, Limits};
use tenantry_system::capability::World;
use tenantry_system::ledger::EmbeddedLedger;
use tenantry_system::rights::Role;
use tenantry_system::role;
use tokio_util::sync::CancellationToken;

use crate::config::{Alerts, Config};
use crate::{development, keys, policies, store_failed};

/// Runs `role` until `stop`, or until its store fails.
pub(crate) async fn run(role: Role, config: &Config, stop: CancellationToken) -> anyhow::Result<()> {
    let (at, data) = (&config.addresses, &config.data);
    // First: a role that can't prove who it is must not touch its data.
    let network = keys::network(config, role)?;
    let monitor = config.monitor.monitor(&format!("tenantry-{role}"))?;
    let world = World { network, monitor, ..World::real(&data.join(role.name()))? };
    config.monitor.serve(role, &world.monitor).await?;
    tracing::info!(?role, data = %data.display(), ?at, encrypted = config.tls.is_some(), "starting");
    let reporter = async || role::reporter(&world, at, role).await;
    match role {
        Role::Producer => {
            let (limits, keys) = (&config.rate_limits, config.keys()?);
            role::serve_producer(&world, at, limits, keys, reporter().await?, stop).await?;
        }
        Role::Consumer => role::run_consumer(&world, at, &config.rate_limits, reporter().await?, stop).await?,
        Role::Broker => {
            let broker = Arc::new(EmbeddedBroker::open(&world, Limits::default()).await?);
            let reporter = reporter().await?;
            tokio::select! {
                served = role::serve_broker(&world, at, broker.clone(), broker.clone(), reporter, stop) => served?,
                why = broker.failed() => return Err(store_failed("broker", &why)),
            }
        }
        Role::Auth => {
            let (identity, policies) = (config.identity(), policies::load(data)?);
            if development::is_meant(&identity, data) {
                development::provider(data)?;
            }
            let authority = EmbeddedAuthority::open(&world, identity.trusted()?, policies).await?;
            let reporter = reporter().await?;
            let auth = Arc::new(authority.reporting(reporter.clone()));
            tokio::select! {
                served = role::serve_authority(&world, at, auth.clone(), auth.clone(), reporter, stop) => served?,
                why = auth.failed() => return Err(store_failed("auth", &why)),
                () = policies::keep(&auth, data, config.grant_key_days.get()) => {}
            }
        }
        Role::Ledger => {
            let ledger = Arc::new(EmbeddedLedger::open_with(&world, config.keys()?, config.ledger.settings()?).await?);
            let reporter = reporter().await?;
            tokio::select! {
                served = role::serve_ledger(&world, at, ledger.clone(), ledger.clone(), reporter, stop) => served?,
                why = ledger.failed() => return Err(store_failed("ledger", &why)),
            }
        }
        Role::Audit => {
            let webhook = config.alerts.webhook()?;
            let audit =
                Arc::new(EmbeddedAudit::open_watched(&world, config.audit.clone(), config.alerts.watch()?).await?);
            tokio::select! {
                served = role::serve_audit(&world, at, audit.clone(), stop) => served?,
                why = audit.failed() => return Err(store_failed("audit log", &why)),
                () = Alerts::attend(&audit, webhook, &world) => {}
            }
        }
    }
    tracing::info!(?role, "stopped");
    Ok(())
}
