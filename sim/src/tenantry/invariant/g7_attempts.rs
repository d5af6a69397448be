//! G7: every attempt that was refused stands in the audit log exactly once and rings exactly once; what nobody did wrong
//! does neither.
//!
//! Whoever was told that they are refused is on record, whatever died meanwhile: a report is durable before its answer.

use std::collections::BTreeMap;

use tenantry_system::audit::{APPROVALS, Attempt, Code};
use tenantry_system::ids::{TenantId, UserId};
use tenantry_system::rights::Role;

use super::{Case, Finding};
use crate::tenantry::approvers::Paired;
use crate::tenantry::workload::{Command, Triage};
use crate::tenantry::world::since_epoch;

/// Whether a role that `command` rests on was, or was about to be, away when `attempt` was refused: an instant of a host's
/// clock, which may have been off.
fn was_away(case: &Case<'_>, command: &Command, attempt: &Attempt) -> bool {
    let (at, off) = (since_epoch(attempt.at_unix_ms), case.seen.clocks_off);
    case.was_away(&command.message_id, &command.operator, &command.tenant, at.saturating_sub(off), at + off)
}

/// Whether what rang was brought about: by a command or a forgery that it names, by someone who may do less than they had
/// tried, or by a role that was away. Faults alone bring nothing about that rings.
fn has_cause(case: &Case<'_>, attempt: &Attempt) -> bool {
    let (seen, claimed) = (case.seen, &attempt.claimed);
    let named =
        |id: &String| seen.commands.contains_key(id) || seen.forged.contains(id) || seen.forged_bodies.contains_key(id);
    if claimed.message_id.as_ref().is_some_and(named) {
        return true;
    }
    let user = claimed.user.as_deref().and_then(|user| UserId::parse(user).ok());
    let tenant = claimed.tenant.as_deref().and_then(|tenant| TenantId::parse(tenant).ok());
    let (Some(user), Some(tenant)) = (user, tenant) else { return false };
    let (at, off) = (since_epoch(attempt.at_unix_ms), seen.clocks_off);
    let paired = |paired: &Paired| {
        paired.command.tenant == tenant && (paired.command.operator == user || paired.approver.as_ref() == Some(&user))
    };
    let tried = |triage: &Triage| !triage.allowed && triage.operator == user && triage.tenant == tenant;
    seen.revocations.within(&user, &tenant, at.saturating_sub(off), at + off)
        || attempt.entry == APPROVALS && seen.four_eyes.planned.values().any(paired)
        || seen.triaged.iter().any(|(triage, ..)| tried(triage))
}

pub(super) fn check(case: &Case<'_>) -> Finding {
    let mut finding = Finding::new("G7-attempts-on-record");
    let mut by_message: BTreeMap<&str, Vec<&Attempt>> = BTreeMap::new();
    for (_, attempt) in &case.kept.attempts {
        by_message.entry(attempt.claimed.message_id.as_deref().unwrap_or_default()).or_default().push(attempt);
    }
    let stands = |id: &str, side: fn(Role) -> bool| {
        // What could not be checked is no refusal: it was answered so, and asked again.
        // And to ask for an approval, or to give one, is not yet to send.
        let counts = |attempt: &&&Attempt| {
            side(attempt.service) && attempt.code != Code::Unchecked && attempt.entry != APPROVALS
        };
        by_message.get(id).into_iter().flatten().filter(counts).count()
    };
    for (id, command) in case.seen.commands.iter().filter(|(_, command)| !command.allowed) {
        let refused = case.seen.clients.get(id).and_then(|client| client.refused) == Some(403);
        let (count, least) = (stands(id, |service| service == Role::Auth), u64::from(refused));
        // Sent again after the little they may was taken away, it is another attempt: of one without any role.
        let most = 1 + u64::from(case.seen.revocations.ever(&command.operator, &command.tenant));
        finding.expect((least..=most).contains(&(count as u64)), || {
            let all = by_message.get(id.as_str());
            format!("{id}: {} was refused, and {count} attempts of it are on record, of {all:?}", command.operator)
        });
    }
    for id in &case.seen.forged {
        let count = stands(id, |service| matches!(service, Role::Consumer | Role::Ledger));
        // A moved ciphertext is a genuine command but for that: it has an outcome instead.
        let least = usize::from(!case.seen.moved.contains(id));
        finding.expect((least..=1).contains(&count), || {
            format!("{id}: it was forged, and {count} attempts of it are on record")
        });
    }
    for (id, command) in case.seen.commands.iter().filter(|(_, command)| command.allowed) {
        // An id that is used for two bodies is refused, and so is a token for whose key nobody could ask, both without
        // ringing; nothing else that operators do is an attempt.
        // Whose role was taken away for a while is refused, and on record, while it is gone; and not before, nor after.
        let accuses = |attempt: &&&Attempt| {
            !matches!(attempt.code, Code::Conflict | Code::Unchecked) && !was_away(case, command, attempt)
        };
        let accused = by_message.get(id.as_str()).into_iter().flatten().find(accuses);
        finding.expect(accused.is_none(), || format!("{id} was an honest command, and is on record as {accused:?}"));
    }
    for (_, attempt) in case.kept.attempts.iter().filter(|(_, attempt)| attempt.rings().is_some()) {
        finding.expect(has_cause(case, attempt), || format!("{attempt:?} rang, and nobody did anything of the sort"));
    }
    let ringing = case.kept.attempts.iter().filter(|(_, attempt)| attempt.rings().is_some()).map(|(place, _)| *place);
    let rung = case.kept.alerts.iter().filter(|alert| case.kept.attempts.iter().any(|(at, _)| *at == alert.place));
    let (ringing, rung): (Vec<_>, Vec<_>) = (ringing.collect(), rung.map(|alert| alert.place).collect());
    finding.compared += ringing.len().max(rung.len()) as u64;
    finding
        .forbid(ringing != rung, || format!("attempts at {ringing:?} ring, and there are alerts of those at {rung:?}"));
    finding
}
