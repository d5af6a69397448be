//! `tenantryd tenant`: what a tenant of a running system has, and its pause.

use std::fmt::Write as _;
use std::io::Write;

use clap::Subcommand;
use serde_json::{Map, Value};
use tenantry_system::ids::TenantId;

use crate::client::{Access, print_json};

/// What can be done.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Show its limits, entitlements, plan and credits, and whether it is suspended or paused.
    Show {
        /// The tenant.
        #[arg(value_parser = TenantId::parse)]
        tenant: TenantId,
        #[command(flatten)]
        access: Access,
    },
    /// Let nothing take effect on it: commands are accepted and wait. Done once nothing more does.
    Pause {
        /// The tenant.
        #[arg(value_parser = TenantId::parse)]
        tenant: TenantId,
        #[command(flatten)]
        access: Access,
    },
    /// Let commands take effect on it again.
    Resume {
        /// The tenant.
        #[arg(value_parser = TenantId::parse)]
        tenant: TenantId,
        #[command(flatten)]
        access: Access,
    },
}

/// What is asked for, part by part: the API shows them one at a time.
const PARTS: [&str; 6] = ["limits", "entitlements", "plan", "credits", "suspension", "paused"];

/// Does it.
pub(crate) async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Show { tenant, access } => {
            let (api, mut shown) = (access.api()?, Map::new());
            for part in PARTS {
                // What the plan carries is called `entitlements` there, too, and told by the entitlements as `of_plan`.
                let Value::Object(told) = api.get(&format!("/v1/tenants/{tenant}/{part}")).await? else { continue };
                shown.extend(told.into_iter().filter(|(name, _)| part != "plan" || name != "entitlements"));
            }
            let shown = Value::Object(shown);
            if access.json {
                return print_json(&shown);
            }
            Ok(write!(std::io::stdout(), "{}", text(&shown))?)
        }
        Command::Pause { tenant, access } => set(&tenant, true, &access).await,
        Command::Resume { tenant, access } => set(&tenant, false, &access).await,
    }
}

async fn set(tenant: &TenantId, paused: bool, access: &Access) -> anyhow::Result<()> {
    let body = serde_json::json!({ "paused": paused }).to_string();
    let told = access.api()?.put(&format!("/v1/tenants/{tenant}/paused"), body).await?;
    if access.json {
        return print_json(&told);
    }
    let now = if paused { "paused: nothing takes effect" } else { "resumed: commands take effect" };
    Ok(writeln!(std::io::stdout(), "{tenant} is {now}")?)
}

/// What a tenant has, a line each.
fn text(shown: &Value) -> String {
    let mut lines = vec![("tenant".to_owned(), plain(&shown["tenant_id"]))];
    let standing = match (&shown["paused"], &shown["suspension"]) {
        (Value::Bool(true), _) => "paused".to_owned(),
        (_, Value::Null) => "in force".to_owned(),
        (_, suspension) => {
            format!("suspended since version {}: {}", suspension["version"], plain(&suspension["reason"]))
        }
    };
    lines.push(("standing".into(), standing));
    lines.push(("version".into(), plain(&shown["version"])));
    lines.push(("plan".into(), plain(&shown["plan"])));
    for (name, value) in shown["limits"].as_object().into_iter().flatten() {
        let since = format!("{} since version {}", plain(value), plain(&shown["limit_versions"][name]));
        lines.push((format!("limit {name}"), since));
    }
    for (currency, amount) in shown["credits_minor"].as_object().into_iter().flatten() {
        lines.push((format!("credit {currency}"), format!("{} minor units", plain(amount))));
    }
    let of_plan = shown["of_plan"].as_array().cloned().unwrap_or_default();
    for entitlement in shown["entitlements"].as_array().into_iter().flatten() {
        let origin = if of_plan.contains(entitlement) { "by the plan" } else { "granted" };
        lines.push((format!("entitlement {}", plain(entitlement)), origin.into()));
    }
    let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    lines.iter().fold(String::new(), |mut text, (name, value)| {
        let _ = writeln!(text, "{name:width$}  {value}");
        text
    })
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
