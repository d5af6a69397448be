//! `tenantryd reconcile`: compares what tenants have with what their outcomes made of it, in the files of a ledger that does
//! not run.

use std::io::Write;

use anyhow::{Context, anyhow, bail};
use tenantry_system::capability::World;
use tenantry_system::ids::TenantId;
use tenantry_system::ledger::{EmbeddedLedger, Report};
use tenantry_system::rights::Role;

use crate::config::Config;

/// Prints what is found, about `tenant` or about all.
pub(crate) async fn run(config: &Config, tenant: Option<&str>, json: bool) -> anyhow::Result<()> {
    let tenant = tenant.map(TenantId::parse).transpose().context("failed to read --tenant")?;
    let folder = config.data.join(Role::Ledger.name());
    if !folder.is_dir() {
        bail!("there is no ledger in {}; name its data folder with --data", config.data.display());
    }
    let opened = EmbeddedLedger::open_with(&World::real(&folder)?, config.keys()?, config.ledger.settings()?).await;
    let ledger =
        opened.context("a running ledger reconciles by itself; GET /v1/tenants/TENANT/reconciliation asks it")?;
    let report = match &tenant {
        Some(tenant) => ledger.reconcile_tenant(tenant).await,
        None => ledger.reconcile_all().await,
    };
    let mut stdout = std::io::stdout().lock();
    let Report { tenants, rows, discrepancies, untold } = &report;
    if json {
        writeln!(stdout, "{}", serde_json::to_string_pretty(&report)?)?;
    } else {
        discrepancies.iter().try_for_each(|discrepancy| writeln!(stdout, "{discrepancy}"))?;
        let count = discrepancies.len() as u64 + untold;
        writeln!(stdout, "tenants {tenants}, rows compared {rows}, discrepancies {count}")?;
    }
    match discrepancies.len() {
        0 => Ok(()),
        count => Err(anyhow!("{} rows are not what they should be", count as u64 + untold)),
    }
}
