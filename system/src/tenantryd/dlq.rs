//! `tenantryd dlq`: the dead letters of a running system, looked at, replayed or discarded.

use std::io::Write;

use clap::Subcommand;
use serde_json::{Value, json};
use tenantry_system::ids::{MessageId, TenantId};

use crate::client::{Access, Api, print_json};

/// What can be done.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// List a tenant's dead letters.
    List {
        /// The tenant.
        #[arg(long, value_parser = TenantId::parse)]
        tenant: TenantId,
        /// Begin behind this message id.
        #[arg(long, value_name = "MESSAGE_ID", value_parser = MessageId::parse)]
        after: Option<MessageId>,
        /// At most so many, 1 to 100.
        #[arg(long, default_value_t = 100)]
        limit: usize,
        #[command(flatten)]
        access: Access,
    },
    /// Show one dead letter: its message, why it was put aside, and how it was tried.
    Show {
        #[command(flatten)]
        letter: Letter,
        #[command(flatten)]
        access: Access,
    },
    /// Have a dead letter wait again, under your own authority: you need the permission that it asks for.
    ///
    /// The letter that lies there now is looked at first; should another have taken its place, nothing happens.
    Replay {
        #[command(flatten)]
        letter: Letter,
        /// Why, in 10 to 500 characters: it is put on record.
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        access: Access,
    },
    /// Give a dead letter up for good.
    Discard {
        #[command(flatten)]
        letter: Letter,
        /// Why, in 10 to 500 characters: it is put on record.
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        access: Access,
    },
}

/// One letter.
#[derive(clap::Args)]
pub(crate) struct Letter {
    /// Its message id.
    #[arg(value_parser = MessageId::parse)]
    message_id: MessageId,
    /// Its tenant: an id is unique within its tenant only.
    #[arg(long, value_parser = TenantId::parse)]
    tenant: TenantId,
}

impl Letter {
    fn path(&self) -> String {
        format!("/v1/tenants/{}/dead-letters/{}", self.tenant, self.message_id)
    }

    /// Does `verb` to the letter that lies there now.
    async fn deal(&self, api: &Api, verb: &str, reason: &str) -> anyhow::Result<Value> {
        let mut request = json!({ "reason": reason });
        // What is no letter any more is the API's to judge.
        if let Ok(looked_at) = api.get(&self.path()).await {
            request["place"] = looked_at["place"].clone();
            request["body_sha256"] = looked_at["body_sha256"].clone();
        }
        api.post(&format!("{}/{verb}", self.path()), request.to_string()).await
    }
}

/// Does it.
pub(crate) async fn run(command: Command) -> anyhow::Result<()> {
    let (answer, told, json) = match command {
        Command::List { tenant, after, limit, access } => {
            let after = after.map(|after| format!("&after={after}")).unwrap_or_default();
            let path = format!("/v1/tenants/{tenant}/dead-letters?limit={limit}{after}");
            let page = access.api()?.get(&path).await?;
            let told = list(&page);
            (page, told, access.json)
        }
        Command::Show { letter, access } => {
            let shown = access.api()?.get(&letter.path()).await?;
            let told = show(&shown)?;
            (shown, told, access.json)
        }
        Command::Replay { letter, reason, access } => {
            let answer = letter.deal(&access.api()?, "replay", &reason).await?;
            let told = match answer["replayed"] == true {
                true => format!("waits again, at place {}", answer["sequence"]),
                false => format!("is no dead letter any more: {}", text(&answer, "status")),
            };
            (answer, format!("{} of {}: {told}\n", letter.message_id, letter.tenant), access.json)
        }
        Command::Discard { letter, reason, access } => {
            let answer = letter.deal(&access.api()?, "discard", &reason).await?;
            let told = if answer["discarded"] == true { "discarded" } else { "was discarded before" };
            (answer, format!("{} of {}: {told}\n", letter.message_id, letter.tenant), access.json)
        }
    };
    if json {
        return print_json(&answer);
    }
    Ok(write!(std::io::stdout(), "{told}")?)
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or("-")
}

/// A page, a line for each letter.
fn list(page: &Value) -> String {
    let letters = page["dead_letters"].as_array().map_or(&[][..], Vec::as_slice);
    let mut told = String::new();
    for letter in letters {
        let [id, action, user, reason] = ["message_id", "action", "user_id", "reason"].map(|name| text(letter, name));
        told += &format!("{id}  {action} of {user}, delivered {} times: {reason}\n", letter["deliveries"]);
    }
    match page["next"].as_str() {
        Some(next) => told + &format!("there may be more: --after {next}\n"),
        None if letters.is_empty() => "no dead letters\n".into(),
        None => told,
    }
}

/// One letter, with the message below it.
fn show(letter: &Value) -> anyhow::Result<String> {
    let mut told =
        format!("{} of {}: {}\n", text(letter, "message_id"), text(letter, "tenant_id"), text(letter, "reason"));
    told += &format!("place {}, SHA-256 {}\n", letter["place"], text(letter, "body_sha256"));
    for attempt in letter["attempts"].as_array().into_iter().flatten() {
        told += &format!(
            "attempt at {}: {} {}\n",
            attempt["leased_at_unix_ms"],
            text(attempt, "end"),
            attempt["reason"].as_str().unwrap_or_default()
        );
    }
    told += &format!("delivered {} times in all\n", letter["deliveries"]);
    if let Some(why) = letter["not_replayable"].as_str() {
        told += &format!("can't be replayed: {why}\n");
    }
    Ok(told + &serde_json::to_string_pretty(&letter["message"])? + "\n")
}
