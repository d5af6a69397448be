//! `tenantryd approvals`: a second person's approval of commands, asked for, read, given and taken back.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;

use clap::Subcommand;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::client::{Access, print_json};
use crate::command::read_message;

/// What can be done.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Ask for the approval of a command, before it is sent. It is of exactly these bytes.
    Ask {
        /// The file of its message, as JSON; `-` for standard input.
        file: PathBuf,
        /// Why: it is what the second person judges by.
        #[arg(long)]
        reason: String,
        /// For how many minutes from now on, at most a week's; in this time the command must have taken effect.
        #[arg(long, default_value_t = tenantry_system::auth::APPROVAL_MINUTES)]
        minutes: u64,
        #[command(flatten)]
        access: Access,
    },
    /// Show those that are open, of which you may know: whether they wait, were approved, or were used.
    List {
        /// Also the latest that have ended: used, expired or withdrawn.
        #[arg(long)]
        ended: bool,
        #[command(flatten)]
        access: Access,
    },
    /// Show one, with the message that it is of.
    Show {
        /// Its number.
        number: u64,
        #[command(flatten)]
        access: Access,
    },
    /// Approve what you have read. Not your own.
    Approve {
        /// Its number.
        number: u64,
        /// The hash that `show` printed beside the message.
        #[arg(long)]
        sha256: String,
        #[command(flatten)]
        access: Access,
    },
    /// Take a wish or an approval back.
    Withdraw {
        /// Its number.
        number: u64,
        #[command(flatten)]
        access: Access,
    },
}

/// Does it.
pub(crate) async fn run(command: Command) -> anyhow::Result<()> {
    let (access, answer) = match command {
        Command::Ask { file, reason, minutes, access } => {
            let path = format!("/v1/approvals?reason={}&minutes={minutes}", escaped(&reason));
            let answer = access.api()?.post(&path, read_message(&file)?).await?;
            (access, answer)
        }
        Command::List { ended, access } => {
            let answer = access.api()?.get(&format!("/v1/approvals?ended={ended}")).await?;
            (access, answer)
        }
        Command::Show { number, access } => {
            let answer = access.api()?.get(&format!("/v1/approvals/{number}")).await?;
            (access, answer)
        }
        Command::Approve { number, sha256, access } => {
            let body = json!({ "body_sha256": sha256 }).to_string();
            let answer = access.api()?.post(&format!("/v1/approvals/{number}/approve"), body).await?;
            (access, answer)
        }
        Command::Withdraw { number, access } => {
            let answer = access.api()?.post(&format!("/v1/approvals/{number}/withdraw"), "").await?;
            (access, answer)
        }
    };
    if access.json {
        return print_json(&answer);
    }
    let told = match answer["approvals"].as_array() {
        Some(open) if open.is_empty() => "none is open\n".to_owned(),
        Some(open) => open.iter().map(told).collect(),
        None => told(&answer),
    };
    Ok(write!(std::io::stdout(), "{told}")?)
}

/// One approval for people.
fn told(open: &Value) -> String {
    let text = |name: &str| open[name].as_str().unwrap_or_default();
    let by = |name: &str, what: &str| open[name].as_str().map(|by| format!("{what} by {by}")).unwrap_or_default();
    let at = |name: &str| {
        let at = open[name].as_i64().and_then(|at| Timestamp::from_second(at).ok());
        at.map(|at| format!(" at {at}")).unwrap_or_default()
    };
    let standing = match text("state") {
        "used" => format!("used{}, {}", at("used_at_unix"), by("approved_by", "approved")),
        "withdrawn" => by("withdrawn_by", "withdrawn") + &at("ended_at_unix"),
        "expired" => format!("expired{}", at("expires_at_unix")),
        "approved" => by("approved_by", "approved"),
        _ => "waits".into(),
    };
    let before = if open["duplicate"] == true { " (before: this changed nothing)" } else { "" };
    let mut told = format!(
        "{}: {standing}{before}; {} {} of {} on {}: {}\n",
        open["number"],
        text("action"),
        text("message_id"),
        text("requester"),
        text("tenant_id"),
        text("reason")
    );
    if let Some(command) = open["command"].as_str() {
        // A message is whoever's: what a terminal obeys is not shown to it.
        let shown: String = command.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect();
        writeln!(told, "{shown}\nsha256 {}", text("body_sha256")).expect("a string grows");
    }
    told
}

/// `text` for a query (RFC 3986).
fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |mut escaped, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => escaped.push(char::from(byte)),
            other => write!(escaped, "%{other:02X}").expect("a string grows"),
        }
        escaped
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_survives_the_query_and_a_message_is_shown_with_its_hash() {
        assert_eq!(escaped("50 % & más"), "50%20%25%20%26%20m%C3%A1s");
        let shown = told(
            &json!({"number": 4, "state": "pending", "tenant_id": "acme", "requester": "ana", "action": "erase_tenant_secrets",
            "message_id": "m-1", "reason": "they left", "approved_by": null, "command": "{\u{1b}}", "body_sha256": "ab"}),
        );
        let right = "4: waits; erase_tenant_secrets m-1 of ana on acme: they left\n{\u{fffd}}\nsha256 ab\n";
        assert_eq!(shown, right);
    }

    #[test]
    fn each_state_is_told_and_what_changed_nothing_too() {
        let of = |more: Value| {
            let mut open = json!({
                "number": 4, "tenant_id": "acme", "requester": "ana", "action": "issue_credit", "message_id": "m-1",
                "reason": "they left", "approved_by": "bob", "command": null, "expires_at_unix": 60,
            });
            for (name, value) in more.as_object().unwrap() {
                open[name] = value.clone();
            }
            told(&open).split("; ").next().unwrap().to_owned()
        };
        assert_eq!(of(json!({"state": "approved"})), "4: approved by bob");
        let again = of(json!({"state": "approved", "duplicate": true}));
        assert_eq!(again, "4: approved by bob (before: this changed nothing)");
        let used = of(json!({"state": "used", "used_at_unix": 5}));
        assert_eq!(used, "4: used at 1970-01-01T00:00:05Z, approved by bob");
        assert_eq!(of(json!({"state": "expired"})), "4: expired at 1970-01-01T00:01:00Z");
        let withdrawn = of(json!({"state": "withdrawn", "withdrawn_by": "dan", "ended_at_unix": 0}));
        assert_eq!(withdrawn, "4: withdrawn by dan at 1970-01-01T00:00:00Z");
    }
}
