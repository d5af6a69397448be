//! `tenantryd command`: commands of a running system, sent and followed.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Subcommand;
use serde_json::Value;
use tenantry_system::capability::file_error;
use tenantry_system::ids::{MessageId, TenantId};

use crate::client::{Access, print_json};
use crate::dry_run;

/// What can be done.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Send a command. Sent again, the same bytes change nothing.
    Send {
        /// The file of its message, as JSON; `-` for standard input.
        file: PathBuf,
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
        #[arg(long, value_name = "MILLISECONDS", default_value_t = 0)]
        wait: u64,
        #[command(flatten)]
        access: Access,
    },
}

/// Does it.
pub(crate) async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Send { file, access } => {
            let accepted = access.api()?.post("/v1/commands", read_message(&file)?).await?;
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
    }
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
fn line(status: &Value) -> String {
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
