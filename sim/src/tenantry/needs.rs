//! Which acts make sense: without which others, and with which cast. What shrinking must not tear apart, and what a person
//! who edits a plan may get wrong.
//!
//! A command that is sent again needs one that was sent before: alone it would be judged as something nobody planned,
//! and the judge's confusion would look like the violation that is being made small.

use std::collections::BTreeSet;

use serde_json::Value;
use tenantry_system::ids::{MessageId, TenantId, UserId};

use super::approvers::{Paired, Way};
use super::cast::{Cast, Part};
use super::model::Ask;
use super::workload::{Act, Command, Forgery, Triage, Trick};
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

/// The message that comes into the world by `act`, if one does.
#[must_use]
pub fn brings(act: &Act) -> Option<&str> {
    match act {
        Act::Send(command) | Act::TryAndSend(command) | Act::Pair(Paired { command, .. }) => Some(&command.message_id),
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
    stand_fits(cast, act)?;
    let by_cast = |command: &Command| command.ask.allowed(cast.part(&command.operator, &command.tenant));
    let (command, may) = match act {
        Act::Send(command) | Act::TryAndSend(command) | Act::Resend(command) | Act::ReuseId(command) => {
            (command, by_cast(command))
        }
        Act::Pair(Paired { command, way, .. }) => (command, *way == Way::Approved && by_cast(command)),
        _ => return Ok(()),
    };
    if command.allowed == may {
        return Ok(());
    }
    let (verb, operator, tenant) = (if may { "may" } else { "may not" }, &command.operator, &command.tenant);
    Err((format!("with this seed {operator} {verb} do this on {tenant}"), format!("write allowed = {may}")))
}

/// Refuses someone who does what only others can: then the run would end in an error that says nothing of the system.
fn stand_fits(cast: &Cast, act: &Act) -> Result<(), (String, String)> {
    let admins = |tenant: &TenantId| {
        let is_admin = |user: &&UserId| cast.part(user, tenant) == Some(Part::Admin);
        cast.operators.iter().filter(is_admin).map(UserId::as_str).collect::<Vec<_>>()
    };
    let admin = |user: &UserId, tenant: &TenantId| {
        let admins = admins(tenant);
        match admins.contains(&user.as_str()) {
            true => Ok(()),
            false => Err((format!("with this seed {user} is no admin of {tenant}"), one_of("", "admins", &admins))),
        }
    };
    match act {
        Act::Pause(pause) => admin(&pause.operator, &pause.tenant),
        Act::Triage(Triage { operator, tenant, allowed, .. }) => {
            let may = admin(operator, tenant).is_ok();
            let verb = if may { "may" } else { "may not" };
            match *allowed == may {
                true => Ok(()),
                false => Err((
                    format!("with this seed {operator} {verb} deal with dead letters of {tenant}"),
                    format!("write allowed = {may}"),
                )),
            }
        }
        Act::Pair(Paired { command, way, approver, .. }) => match approver {
            Some(by) if *by == command.operator => {
                Err((format!("{by} can't approve their own"), one_of("", "admins", &admins(&command.tenant))))
            }
            Some(by) => admin(by, &command.tenant),
            None if *way == Way::Approved => {
                Err(("approved by nobody".to_owned(), one_of("", "admins", &admins(&command.tenant))))
            }
            None => Ok(()),
        },
        Act::Forge(Forgery { command, own_tenant, .. }) => {
            match command.ask.allowed(cast.part(&command.operator, own_tenant)) {
                true => Ok(()),
                false => Err((
                    format!("with this seed {} may not do this on {own_tenant}", command.operator),
                    "name an own_tenant on which they may: a forgery begins with a genuine grant".to_owned(),
                )),
            }
        }
        _ => Ok(()),
    }
}

fn names_fit(cast: &Cast, value: &Value) -> Result<(), (String, String)> {
    let Value::Object(fields) = value else { return Ok(()) };
    for (key, value) in fields {
        let known: Vec<&str> = match key.as_str() {
            "operator" | "approver" => cast.operators.iter().map(UserId::as_str).collect(),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tenantry::workload::{Pause, Verb};

    fn cast() -> Cast {
        Cast::of(&[("ana", "acme", Part::Admin), ("bob", "globex", Part::Admin), ("eve", "acme", Part::Billing)])
    }

    fn user(name: &str) -> UserId {
        UserId::parse(name).unwrap()
    }

    fn acme() -> TenantId {
        TenantId::parse("acme").unwrap()
    }

    fn refused(act: Act) -> Option<(String, String)> {
        fits(&cast(), &act).err()
    }

    #[test]
    fn only_an_admin_pauses_deals_with_letters_and_approves_what_is_anothers() {
        let pause = |name: &str| Act::Pause(Pause { operator: user(name), tenant: acme(), for_ms: 5 });
        assert_eq!(refused(pause("ana")), None);
        let (what, right) = refused(pause("eve")).unwrap();
        assert_eq!(what, "with this seed eve is no admin of acme");
        assert!(right.contains("ana") && !right.contains("bob"), "{right}");

        let triage = |name: &str, allowed| {
            let (tenant, message_id) = (acme(), "f-1".to_owned());
            Act::Triage(Triage { operator: user(name), tenant, message_id, verb: Verb::Replay, allowed })
        };
        assert_eq!((refused(triage("ana", true)), refused(triage("eve", false))), (None, None));
        assert_eq!(refused(triage("eve", true)).unwrap().1, "write allowed = false");

        let ask = Ask::Credit { amount_minor: 1, currency: "EUR".into() };
        let command = Command { message_id: "m-1".into(), operator: user("eve"), tenant: acme(), ask, allowed: true };
        let pair = |approver: Option<&str>| {
            let (command, approver) = (command.clone(), approver.map(user));
            Act::Pair(Paired { command, way: Way::Approved, approver, read_ms: 1, send_after_ms: 1 })
        };
        assert_eq!(refused(pair(Some("ana"))), None);
        for wrong in [None, Some("eve"), Some("bob")] {
            assert!(refused(pair(wrong)).is_some(), "{wrong:?}");
        }

        let forge = |own: &str| {
            let command = Command { allowed: false, operator: user("bob"), ..command.clone() };
            Act::Forge(Forgery { command, own_tenant: TenantId::parse(own).unwrap(), trick: Trick::WrongLane })
        };
        assert_eq!(refused(forge("globex")), None);
        assert!(refused(forge("acme")).unwrap().0.contains("bob may not do this on acme"));
    }
}
