//! A violation handed over: the scenario it was found in, with its plan spelt out.
//!
//! What the scenario says and shrinking did not touch is kept as it stands there, so that a section which this file does
//! not know goes along.

use tenantry_reports::record::RunRecord;
use tenantry_system::rate_limit::Rate;
use toml::{Table, Value};

use super::run::Setup;
use super::shrink::{Shrunk, Simpler};
use crate::engine::scenario_plan::{inline, spell};

/// Keys of `[workload]` by which nothing but acts is drawn: those are spelt out.
const DRAWN: [&str; 14] = [
    "approvals",
    "billing",
    "commands",
    "credentials",
    "cross_tenant",
    "dry_runs",
    "forged",
    "key_rotations",
    "noisy",
    "pauses",
    "resend",
    "reuse_id",
    "revocations",
    "triage",
];

/// What else of a scenario does not belong into it: what the plan says, and what is said anew.
const REPLACED: [&str; 8] = ["chaos", "description", "drain_ms", "duration_ms", "fault", "name", "plan", "sometimes"];

/// The name of the regression by which `scenario` with `seed` violated `invariant`: letters, digits and underscores.
#[must_use]
pub fn slug(scenario: &str, invariant: &str, seed: u64) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    format!("{scenario}_{invariant}_{seed}").chars().map(plain).collect()
}

/// The scenario file `name`.toml: `shrunk`, which violates `invariant` and came from the scenario that `text` says.
///
/// # Errors
/// When `text` is no TOML, or a section is no table.
pub fn write(text: &str, name: &str, invariant: &str, shrunk: &Shrunk) -> Result<String, String> {
    let mut table: Table = toml::from_str(text).map_err(|error| error.to_string())?;
    for key in REPLACED {
        table.remove(key);
    }
    let setup = &shrunk.setup;
    let workload = section(&mut table, "workload")?;
    for key in DRAWN {
        workload.remove(key);
    }
    for simpler in &shrunk.simpler {
        simplify(&mut table, *simpler, setup)?;
    }
    if setup.lying_sync {
        section(&mut table, "disk")?.insert("lying_sync".into(), true.into());
    }
    table.retain(|key, value| key == "workload" || value.as_table().is_none_or(|section| !section.is_empty()));

    let (scenario, seed) = (&setup.plan.scenario, setup.plan.seed);
    let Shrunk { entries, entries_before, runs, .. } = shrunk;
    let (duration_ms, drain_ms) = (setup.duration.as_millis(), setup.drain.as_millis());
    let mut file = format!(
        "# Made from {scenario} with seed {seed}: of {entries_before} entries {entries} are left, after {runs} runs.\n\
         name = {}\ndescription = {}\nduration_ms = {duration_ms}\ndrain_ms = {drain_ms}\n\n",
        inline(name),
        inline(&format!("{scenario} with seed {seed} violated {invariant} by what is left here.")),
    );
    for (key, value) in &table {
        file += &written(key, value)?;
    }
    let planted = setup.bug.map(|bug| bug.name());
    let RunRecord { digest, digest_chain: chain, .. } = &shrunk.record;
    Ok(file + &spell(&setup.plan, invariant, digest, chain.as_deref(), planted))
}

/// A section, with a line for each of its values as far as they fit into one.
fn written(name: &str, value: &Value) -> Result<String, String> {
    let of_one = |key: &str, value: &Value| match value {
        Value::Table(_) => Ok(format!("{key} = {}\n", inline(value))),
        _ => toml::to_string(&Table::from_iter([(key.to_owned(), value.clone())])).map_err(|error| error.to_string()),
    };
    match value {
        Value::Table(section) => {
            let lines: String = section.iter().map(|(key, value)| of_one(key, value)).collect::<Result<_, _>>()?;
            Ok(format!("[{name}]\n{lines}\n"))
        }
        // Of what this file does not know.
        _ => toml::to_string(&Table::from_iter([(name.to_owned(), value.clone())])).map_err(|error| error.to_string()),
    }
}

fn simplify(table: &mut Table, simpler: Simpler, setup: &Setup) -> Result<(), String> {
    let range = |of: &std::ops::RangeInclusive<u64>| {
        let number = |ms: u64| i64::try_from(ms).map(Value::from).map_err(|error| error.to_string());
        Ok::<_, String>(Value::from(Table::from_iter([
            ("min".into(), number(*of.start())?),
            ("max".into(), number(*of.end())?),
        ])))
    };
    match simpler {
        Simpler::NoTls => drop(section(table, "topology")?.remove("tls")),
        Simpler::OneConsumer => drop(section(table, "topology")?.remove("consumers")),
        Simpler::NoFollowers => drop(section(table, "workload")?.remove("followers")),
        Simpler::NoIdpHost => drop(section(table, "workload")?.remove("identity_rotations")),
        Simpler::FewerTenants => {
            let tenants = i64::try_from(setup.cast.tenants.len() - 1).map_err(|error| error.to_string())?;
            section(table, "workload")?.insert("tenants".into(), tenants.into());
        }
        Simpler::QuickLinks => drop(section(table, "network")?.insert("latency_ms".into(), range(&setup.latency_ms)?)),
        Simpler::QuickDisks => drop(section(table, "disk")?.insert("sync_ms".into(), range(&setup.sync_ms)?)),
        Simpler::TightLimits => {
            let Rate { per_second, burst } = setup.rate_limits.tenant;
            let rate = [("per_second", per_second), ("burst", burst)];
            let rate = rate.map(|(key, value)| (key.to_owned(), Value::from(i64::from(value.get()))));
            section(table, "topology")?.insert("tenant_rate".into(), Table::from_iter(rate).into());
        }
        // Those stand in the head and in the entries.
        Simpler::Sooner | Simpler::ShorterChaos | Simpler::ShorterDrain => {}
    }
    Ok(())
}

fn section<'t>(table: &'t mut Table, name: &str) -> Result<&'t mut Table, String> {
    let section = table.entry(name).or_insert_with(|| Value::Table(Table::new()));
    section.as_table_mut().ok_or_else(|| format!("[{name}] is no section"))
}
