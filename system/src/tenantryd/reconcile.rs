//! `tenantryd reconcile`: compares what tenants have with what their outcomes made of it, in the files of a ledger that does
//! not run.

use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use anyhow::{Context, anyhow, bail};
use tenantry_system::capability::World;
use tenantry_system::ids::TenantId;
use tenantry_system::ledger::{EmbeddedLedger, Report};
use tenantry_system::rights::Role;

use crate::config::Config;

/// What it exits with when something differs; with [`UNKNOWN`] when that can't be told.
const DIFFERS: u8 = 1;
const UNKNOWN: u8 = 2;

/// Prints what is found, about `tenant` or about all.
pub(crate) async fn run(config: &Config, tenant: Option<&str>, json: bool) -> ExitCode {
    match compare(config, tenant, json).await {
        Ok(0) => ExitCode::SUCCESS,
        Ok(count) => {
            eprintln!("error: {count} rows are not what they should be");
            DIFFERS.into()
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            UNKNOWN.into()
        }
    }
}

async fn compare(config: &Config, tenant: Option<&str>, json: bool) -> anyhow::Result<u64> {
    let tenant = tenant.map(TenantId::parse).transpose().context("failed to read --tenant")?;
    let folder = config.data.join(Role::Ledger.name());
    if !folder.is_dir() {
        bail!("there is no ledger in {}; name its data folder with --data", config.data.display());
    }
    let opened = EmbeddedLedger::open_with(&World::real(&folder)?, config.keys()?, config.ledger.settings()?).await;
    let ledger = opened.map_err(|error| match error.kind() {
        ErrorKind::ResourceBusy => {
            anyhow!("{error}; a running ledger reconciles by itself, GET /v1/tenants/TENANT/reconciliation asks it")
        }
        _ => error.into(),
    })?;
    if let Some(tenant) = &tenant
        && !ledger.every_state()?.contains_key(tenant)
    {
        bail!("the ledger has nothing of tenant {tenant}");
    }
    let report = match &tenant {
        Some(tenant) => ledger.reconcile_tenant(tenant).await,
        None => ledger.reconcile_all().await,
    };
    let mut stdout = std::io::stdout().lock();
    let Report { tenants, rows, discrepancies, .. } = &report;
    let count = report.found();
    if json {
        writeln!(stdout, "{}", serde_json::to_string_pretty(&report)?)?;
    } else {
        discrepancies.iter().try_for_each(|discrepancy| writeln!(stdout, "{discrepancy}"))?;
        writeln!(stdout, "tenants {tenants}, rows compared {rows}, discrepancies {count}")?;
    }
    Ok(count)
}
