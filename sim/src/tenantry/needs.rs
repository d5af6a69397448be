//! Which acts make sense: without which others, and with which cast. What shrinking must not tear apart, and what a person
//! who edits a plan may get wrong.
//!
//! A command that is sent again needs one that was sent before: alone it would be judged as something nobody planned,
//! and the judge's confusion would look like the violation that is being made small.

use std::collections::BTreeSet;

use serde_json::Value;
use tenantry_system::ids::{MessageId, TenantId, UserId};

use super::cast::Cast;
use super::model::Ask;
use super::workload::{Act, Trick};
use crate::engine::scenario_error::one_of;

/// For each of `acts` whether all that it needs is among them.
#[must_use]
pub fn supported(acts: &[&Act]) -> Vec<bool> {
    let brought: BTreeSet<&str> = acts.iter().filter_map(|act| brings(act)).collect();
    let secrets = acts.iter().any(
        |act| matches!(act, Act::Send(command) | Act::TryAndSend(command) if matches!(command.ask, Ask::Store { .. })),
    );
    let is_supported = |act: &&Act| match act {
        Act::Resend(command) | Act::ReuseId(command) => brought.contains(command.message_id.as_str()),
        Act::Triage(triage) => brought.contains(triage.message_id.as_str()),
        Act::Forge(forgery) => forgery.trick != Trick::MovedCiphertext || secrets,
        _ => true,
    };
    acts.iter().map(is_supported).collect()
}

/// The message that comes into the world by `act`.
fn brings(act: &Act) -> Option<&str> {
    match act {
        Act::Send(command) | Act::TryAndSend(command) => Some(&command.message_id),
        Act::Forge(forgery) => Some(&forgery.command.message_id),
        _ => None,
    }
}

/// Whether `act`, which someone may have written by hand, is one of `cast`'s: it names only who is there, and allows what
/// the cast allows.
///
/// # Errors
/// What is wrong, and what would be right.
pub fn fits(cast: &Cast, act: &Act) -> Result<(), (String, String)> {
    let value =
        serde_json::to_value(act).map_err(|error| (error.to_string(), "write it as shrinking does".to_owned()))?;
    names_fit(cast, &value)?;
    let (Act::Send(command) | Act::TryAndSend(command) | Act::Resend(command) | Act::ReuseId(command)) = act else {
        return Ok(());
    };
    let may = command.ask.allowed(cast.part(&command.operator, &command.tenant));
    if command.allowed == may {
        return Ok(());
    }
    let (verb, operator, tenant) = (if may { "may" } else { "may not" }, &command.operator, &command.tenant);
    Err((format!("with this seed {operator} {verb} do this on {tenant}"), format!("write allowed = {may}")))
}

fn names_fit(cast: &Cast, value: &Value) -> Result<(), (String, String)> {
    let Value::Object(fields) = value else { return Ok(()) };
    for (key, value) in fields {
        let known: Vec<&str> = match key.as_str() {
            "operator" => cast.operators.iter().map(UserId::as_str).collect(),
            "tenant" | "own_tenant" => cast.tenants.iter().map(TenantId::as_str).collect(),
            _ => Vec::new(),
        };
        match value {
            Value::String(name) if !known.is_empty() && !known.contains(&name.as_str()) => {
                return Err((format!("there is no {key} {name:?} with this seed"), one_of(name, "names", &known)));
            }
            Value::String(id) if key == "message_id" => {
                let wrong = |error| (format!("{id:?} is no message id: {error}"), "write one such as m-1".to_owned());
                MessageId::parse(id).map_err(wrong)?;
            }
            value => names_fit(cast, value)?,
        }
    }
    Ok(())
}
