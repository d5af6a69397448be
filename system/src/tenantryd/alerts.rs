//! `tenantryd alerts`: what rang, of a running system, and the rules by which it does.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;
use serde_json::{Value, json};
use tenantry_system::alerting::DEFAULT_RULES;
use tenantry_system::ids::TenantId;
use tokio::time::sleep;

use crate::client::{Access, print_json};
use crate::config::read_alert_rules;

/// How often a running system is asked again.
const POLL: Duration = Duration::from_secs(2);

/// Alerts that are asked for at once.
const PAGE: usize = 256;

/// What can be done.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Print alerts, oldest first: of one tenant, or of all for whom the policies permit `watch_alerts`.
    List {
        /// Only this tenant's: whoever may read the tenant may see them.
        #[arg(long, value_parser = TenantId::parse)]
        tenant: Option<TenantId>,
        /// Only those of this severity.
        #[arg(long, value_parser = ["warning", "critical"])]
        severity: Option<String>,
        /// Only those after this place in the log.
        #[arg(long, default_value_t = 0)]
        after: u64,
        /// Go on until stopped; with `--json`, a line for each.
        #[arg(long)]
        follow: bool,
        #[command(flatten)]
        access: Access,
    },
    /// Say whether a file of rules can be used, or what is wrong with it.
    Check {
        /// The file.
        file: PathBuf,
    },
    /// Print the rules that a new installation starts from. `[alerts] rules = "FILE"` in the configuration uses others, and
    /// `webhook` there says where alerts are POSTed to.
    Default,
}

/// Does it.
pub(crate) async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::List { tenant, severity, mut after, follow, access } => {
            let (api, mut all) = (access.api()?, Vec::new());
            loop {
                let tenant = tenant.as_ref().map(|tenant| format!("&tenant={tenant}")).unwrap_or_default();
                let severity = severity.as_ref().map(|severity| format!("&severity={severity}")).unwrap_or_default();
                let path = format!("/v1/alerts?after={after}&limit={PAGE}{tenant}{severity}");
                let mut page = api.get(&path).await?;
                let alerts = page["alerts"].as_array_mut().map(std::mem::take).unwrap_or_default();
                after = alerts.last().and_then(|alert| alert["place"].as_u64()).unwrap_or(after);
                for alert in alerts {
                    match (access.json, follow) {
                        (true, false) => all.push(alert),
                        (true, true) => writeln!(std::io::stdout(), "{alert}")?,
                        (false, _) => writeln!(std::io::stdout(), "{}", line(&alert))?,
                    }
                }
                match page["next"].as_u64() {
                    Some(next) => after = next,
                    None if follow => sleep(POLL).await,
                    None => break,
                }
            }
            if access.json && !follow { print_json(&json!({ "alerts": all })) } else { Ok(()) }
        }
        Command::Check { file } => {
            let rules = read_alert_rules(&file)?;
            let file = file.display();
            let told = match rules.len() {
                0 => format!(
                    "{file} can be used, but has no rule: nothing would ring but refused attacks; \
                     `tenantryd alerts default` prints rules to start from"
                ),
                1 => format!("{file} can be used: 1 rule"),
                rules => format!("{file} can be used: {rules} rules"),
            };
            Ok(writeln!(std::io::stdout(), "{told}")?)
        }
        Command::Default => Ok(write!(std::io::stdout(), "{DEFAULT_RULES}")?),
    }
}

/// One line for people.
fn line(alert: &Value) -> String {
    let text = |name: &str| alert[name].as_str().unwrap_or("-");
    let (at, severity, code, tenant) = (text("at"), text("severity"), text("code"), text("tenant"));
    format!("{:>8}  {at}  {severity:<8}  {code:<22}  {tenant:<16}  {}", alert["place"], text("line"))
}
