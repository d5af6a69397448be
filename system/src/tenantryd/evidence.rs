//! `tenantryd evidence`: tries the whole attack catalogue against a system of its own, and writes down what became of it.
//!
//! Every role runs behind a loopback port of its own, with its files in a temporary folder; nothing of a running
//! installation is touched. What is written is a bundle for an audit: what was tried and refused, by which build.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use serde_json::json;
use sha2::{Digest, Sha256};
use tenantry_system::attack::{Checks, Stage, Table, run as try_all};
use tenantry_system::audit::Audit;
use tenantry_system::capability::{Clock, Network, SystemClock, Tcp, World, file_error};
use tenantry_system::rights::Role;
use tenantry_system::role::Addresses;
use tokio::time::timeout;

/// What this build is made of.
const LOCK: &str = include_str!("../../../Cargo.lock");

/// The catalogue takes seconds; whoever waits longer waits for something that hangs.
const RUN_MAX: Duration = Duration::from_secs(90);

/// A stop may take this long: as much as requests under way are given, and their reports.
const STOP_MAX: Duration = Duration::from_secs(15);

/// Runs the catalogue and writes the bundle into `out`; `false` if anything was breached.
pub(crate) async fn run(out: &Path) -> anyhow::Result<bool> {
    std::fs::create_dir_all(out).map_err(|error| file_error(&error, "create", out))?;
    let at_unix_ms = SystemClock.now().as_millisecond();
    let data = out.join(".stage");
    let bundle = timeout(RUN_MAX, collect(&data)).await;
    // It holds keys and tokens of nobody, and still does not belong into a bundle.
    std::fs::remove_dir_all(&data).map_err(|error| file_error(&error, "remove", &data))?;
    let (table, alerts) =
        bundle.map_err(|_| anyhow!("the catalogue was not done within {} s", RUN_MAX.as_secs()))??;
    let breached = table.breaches().count();
    let verdict = if breached == 0 { "PASS" } else { "BREACH" };
    let summary = format!("{verdict}: {}, {} alerts", table.summary(), alerts.lines().count());
    let versions = versions(at_unix_ms)?;
    let markdown = format!("# The attack catalogue\n\n{summary}\n\n{}", table.markdown());
    let files = [
        ("alerts.jsonl", alerts),
        ("catalogue.json", serde_json::to_string_pretty(&table.0)? + "\n"),
        ("catalogue.md", markdown.clone()),
        ("summary.txt", format!("{summary}\n")),
        ("versions.json", versions),
    ];
    let mut sums = String::new();
    for (name, text) in &files {
        write(&out.join(name), text)?;
        sums += &format!("{}  {name}\n", hex::encode(Sha256::digest(text)));
    }
    write(&out.join("SHA256SUMS"), &sums)?;
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{markdown}")?;
    for breach in table.breaches() {
        writeln!(stdout, "BREACH: {}", serde_json::to_string(breach)?)?;
    }
    writeln!(stdout, "{summary}\nthe bundle is in {}; `sha256sum -c SHA256SUMS` checks it", out.display())?;
    Ok(breached == 0)
}

/// What became of the catalogue, and every alert it caused, a line each.
async fn collect(data: &Path) -> anyhow::Result<(Table, String)> {
    let world = |role: Role| World::real(&data.join(role.name()));
    let stage = Stage::start(world, addresses().await?).await.context("failed to start a system to attack")?;
    let table = try_all(&stage.target, Checks::default()).await.map_err(|why| anyhow!("{why}"))?;
    let audit = stage.target.observer.audit().context("the audit log is down")?;
    let (mut lines, mut place) = (String::new(), 0);
    loop {
        let page = audit.alerts(place, usize::MAX).await?;
        let Some(last) = page.last() else { break };
        place = last.place;
        for alert in &page {
            lines += &serde_json::to_string(alert)?;
            lines.push('\n');
        }
    }
    drop(audit);
    match timeout(STOP_MAX, stage.stop()).await {
        Ok(stopped) => stopped.context("a role ended badly")?,
        Err(_) => bail!("the system did not stop within {} s", STOP_MAX.as_secs()),
    }
    Ok((table, lines))
}

/// Loopback addresses that nobody listens at.
async fn addresses() -> anyhow::Result<Addresses> {
    let mut held = Vec::new();
    for _ in 0..5 {
        held.push(Tcp.bind("127.0.0.1:0").await?);
    }
    // Held until all are known, so that none is given twice.
    let mut free = held.iter().map(|listener| listener.local_address());
    let mut next = || free.next().expect("as many as there are roles that listen");
    Ok(Addresses { producer: next(), broker: next(), auth: next(), ledger: next(), audit: next() })
}

/// The build, and every library in it with its version and checksum.
fn versions(at_unix_ms: i64) -> anyhow::Result<String> {
    let lock: toml::Table = LOCK.parse().context("Cargo.lock is no TOML")?;
    let text = |package: &toml::Value, key| package.get(key).and_then(toml::Value::as_str).map(str::to_owned);
    let packages: Vec<_> = lock.get("package").and_then(toml::Value::as_array).into_iter().flatten().collect();
    let dependency = |package: &&toml::Value| {
        let (name, version, checksum) = (text(package, "name"), text(package, "version"), text(package, "checksum"));
        json!({"name": name, "version": version, "sha256": checksum})
    };
    let dependencies: Vec<_> = packages.iter().map(dependency).collect();
    let versions = json!({
        "tenantryd": env!("CARGO_PKG_VERSION"),
        "at_unix_ms": at_unix_ms,
        "cargo_lock_sha256": hex::encode(Sha256::digest(LOCK)),
        "dependencies": dependencies,
    });
    Ok(serde_json::to_string_pretty(&versions)? + "\n")
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let written = File::create(path).and_then(|mut file| file.write_all(text.as_bytes()));
    Ok(written.map_err(|error| file_error(&error, "write", path))?)
}
