//! `tenantryd command`: commands of a running system, sent and followed.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Subcommand;
use serde_json::Value;
use tenantry_system::capability::file_error;
use tenantry_system::ids::{MessageId, TenantId};

use crate::client::{Access, print_json};
use crate::{dry_run, watch};

/// What can be done.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Send a command. Sent again, the same bytes change nothing.
    Send {
        /// The file of its message, as JSON; `-` for standard input.
        file: PathBuf,
        /// Then wait up to this many milliseconds for its outcome, at most 30000; exits with 1 if it is not applied by then,
        /// or if the outcome under its id is another command's.
        #[arg(long, value_name = "MILLISECONDS", value_parser = clap::value_parser!(u64).range(..=30_000))]
        wait: Option<u64>,
        #[command(flatten)]
        access: Access,
    },
    /// Say what a command would change, and change nothing.
    DryRun {
        /// The file of its message, as JSON; `-` for standard input.
        file: PathBuf,
        #[command(flatten)]
        access: Access,
    },
    /// Say what became of a command.
    Status {
        /// The command's message id.
        #[arg(value_parser = MessageId::parse)]
        message_id: MessageId,
        /// Its tenant: an id is unique within its tenant only.
        #[arg(long, value_parser = TenantId::parse)]
        tenant: TenantId,
        /// Wait up to this many milliseconds for its outcome, at most 30000.
        #[arg(long, value_name = "MILLISECONDS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=30_000))]
        wait: u64,
        #[command(flatten)]
        access: Access,
    },
    /// Follow what happens to a tenant's commands, a line each, until Ctrl-C; or to one command, until it has ended.
    ///
    /// With --json each line is one JSON document. A connection that breaks is made anew, and nothing is missed.
    Watch {
        /// The message id of the one command to follow, from its beginning.
        #[arg(value_parser = MessageId::parse)]
        message_id: Option<MessageId>,
        /// The tenant.
        #[arg(long, value_parser = TenantId::parse)]
        tenant: TenantId,
        /// Begin after this place in the audit log; 0 is its beginning. Without it a tenant is followed from now on.
        #[arg(long, value_name = "PLACE")]
        after: Option<u64>,
        #[command(flatten)]
        access: Access,
    },
}

/// Does it.
pub(crate) async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Send { file, wait, access } => {
            let api = access.api()?;
            let accepted = api.post_until_answered("/v1/commands", read_message(&file)?).await?;
            if let Some(wait) = wait {
                let at = accepted["status_url"].as_str().context("the answer names no status_url")?;
                let status = api.get(&format!("{at}&wait_ms={wait}")).await?;
                // What is told of another command is not told as the outcome of this one.
                if let Some(other) = of_another(&accepted, &status) {
                    bail!(other);
                }
                match access.json {
                    true => print_json(&status)?,
                    false => writeln!(std::io::stdout(), "{}", line(&status))?,
                }
                return match status["status"].as_str() {
                    Some("applied") => Ok(()),
                    other => bail!("the command is {}, not applied", other.unwrap_or("of no status")),
                };
            }
            if access.json {
                return print_json(&accepted);
            }
            let [tenant, id] = ["tenant_id", "message_id"].map(|name| accepted[name].as_str().unwrap_or_default());
            let again = if accepted["duplicate"] == true { ", as it was before" } else { "" };
            Ok(writeln!(std::io::stdout(), "{id} of {tenant}: accepted{again}")?)
        }
        Command::DryRun { file, access } => dry_run::run(&file, &access).await,
        Command::Status { message_id, tenant, wait, access } => {
            let path = format!("/v1/commands/{message_id}?tenant_id={tenant}&wait_ms={wait}");
            let status = access.api()?.get(&path).await?;
            if access.json {
                return print_json(&status);
            }
            Ok(writeln!(std::io::stdout(), "{}", line(&status))?)
        }
        Command::Watch { message_id, tenant, after, access } => {
            watch::run(&access, &tenant, message_id.as_ref(), after).await
        }
    }
}

/// What to say where `status`, under the id of the command that was `accepted`, is another one's.
///
/// A broker forgets what was settled long ago, and takes its id once more; the ledger never forgets.
fn of_another(accepted: &Value, status: &Value) -> Option<String> {
    let hash = |told: &Value| told["body_sha256"].as_str().map(str::to_owned);
    let (ours, theirs) = (hash(accepted)?, hash(status)?);
    let [tenant, id] = ["tenant_id", "message_id"].map(|name| accepted[name].as_str().unwrap_or_default());
    let told = || {
        format!(
            "{id} of {tenant} belongs to another command, which is {}: its message has the SHA-256 {theirs}, this one {ours}, \
             and changes nothing; send it under a message_id of its own",
            status["status"].as_str().unwrap_or("of no status")
        )
    };
    (ours != theirs).then(told)
}

/// The bytes of a message in `file`, or on standard input.
pub(crate) fn read_message(file: &Path) -> anyhow::Result<Vec<u8>> {
    if file != Path::new("-") {
        return Ok(std::fs::read(file).map_err(|error| file_error(&error, "read", file))?);
    }
    let mut text = Vec::new();
    std::io::stdin().read_to_end(&mut text).context("failed to read standard input")?;
    Ok(text)
}

/// A command's status in one line.
pub(crate) fn line(status: &Value) -> String {
    let text = |name: &str| status[name].as_str().unwrap_or_default();
    let told = format!("{} of {}: {}", text("message_id"), text("tenant_id"), text("status"));
    match (&status["changes"], &status["reason"]) {
        (Value::Null, Value::Null) => told,
        (Value::Null, Value::String(reason)) => format!("{told}: {reason}"),
        (Value::Null, reason) => {
            let word = |name: &str| reason[name].as_str().unwrap_or_default();
            format!("{told}: {}: {}", word("code"), word("detail"))
        }
        (changes, _) => format!("{told} at version {}: {changes}", status["version"]),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_outcome_of_another_body_is_not_told_as_this_ones() {
        let of = |hash: &str, status: &str| json!({"tenant_id": "acme", "message_id": "m-1", "body_sha256": hash, "status": status});
        assert_eq!(of_another(&of("ab", ""), &of("ab", "applied")), None);
        let told = of_another(&of("ab", ""), &of("cd", "applied")).unwrap();
        assert!(told.starts_with("m-1 of acme belongs to another command, which is applied"), "{told}");
        // A server of an earlier version does not tell.
        assert_eq!(of_another(&json!({}), &of("cd", "applied")), None);
    }
}
