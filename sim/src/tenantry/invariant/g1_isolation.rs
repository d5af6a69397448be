//! G1: a command changes only the tenant its verified grant names, and nobody's without the right to it. Who has the right is
//! not refused but for a reason.

use serde_json::{Value, json};
use tenantry_system::ids::{MessageId, TenantId};
use tenantry_system::ledger::TenantState;

use super::{Case, Finding};
use crate::tenantry::evidence::Client;
use crate::tenantry::workload::Command;

/// What is as true of a run that is not over: nothing is said of messages that nobody is known to have sent yet.
pub(super) fn beginning(case: &Case<'_>) -> Finding {
    let mut finding = Finding::new("G1-isolation");
    // Seen while running: around every effect, no tenant changed that nobody was acting on.
    finding.compared += case.seen.isolation.compared;
    finding.violations.extend(case.seen.isolation.violations.iter().cloned());
    for (id, command) in &case.seen.commands {
        let client = &case.seen.clients.get(id);
        if !command.allowed {
            let accepted = client.is_some_and(|client| client.accepted_at.is_some());
            finding
                .expect(!accepted, || format!("{id}: {} may not do this, but was told 'accepted'", command.operator));
            let refused = client.and_then(|client| client.refused);
            finding.expect(refused.is_none_or(|status| status == 403), || format!("{id}: refused with {refused:?}"));
        } else if let Some(client) = client
            && let Some(status) = client.refused
        {
            let (operator, tenant) = (&command.operator, &command.tenant);
            finding.expect(has_reason(case, command, client, status), || {
                format!("{id}: {operator} may do this on {tenant}, and was refused with {status} for no reason")
            });
        }
    }
    for (tenant, message_id) in case.kept.outcomes.keys() {
        let id = message_id.as_str();
        let Some(command) = case.seen.commands.get(id) else {
            if case.seen.early.forged.contains(id) {
                finding.expect(is_replayed(case, tenant, message_id), || {
                    format!("{id}: nobody may have sent it, and {tenant} has its outcome")
                });
            }
            continue;
        };
        let right = command.tenant == *tenant && command.allowed;
        finding.expect(right, || {
            format!(
                "{id}: {} asked for {} (allowed: {}), and {tenant} has its outcome",
                command.operator, command.tenant, command.allowed
            )
        });
    }
    finding
}

pub(super) fn check(case: &Case<'_>) -> Finding {
    let mut finding = beginning(case);
    for (tenant, message_id) in case.kept.outcomes.keys() {
        let id = message_id.as_str();
        match case.seen.commands.get(id) {
            Some(_) => {}
            None if case.seen.early.forged.contains(id) || is_replayed(case, tenant, message_id) => {}
            // Genuine, but for a ciphertext that is not theirs: what becomes of it is G9's affair.
            None if case.seen.moved.contains(id) => {}
            None => finding.expect(false, || format!("{id}: nobody may have sent it, and {tenant} has its outcome")),
        }
    }
    check_reads(case, &mut finding);
    for tenant in case.kept.states.keys() {
        let known = case.cast.tenants.contains(tenant);
        finding.expect(known, || format!("the ledger has a tenant {tenant} that does not exist"));
    }
    finding
}

/// Whether there was a reason to refuse what its operator may do: a role that it rests on was away meanwhile, or its id was
/// another body's first. Whatever says "not now" is no refusal: it was asked again.
fn has_reason(case: &Case<'_>, command: &Command, client: &Client, status: u16) -> bool {
    let (id, until) = (&command.message_id, client.refused_at.unwrap_or(case.deadline));
    match status {
        403 => case.was_away(id, &command.operator, &command.tenant, client.sent_at, until),
        409 => case.reused_first(id).is_some() || case.seen.forged.contains(id),
        _ => false,
    }
}

/// Whether it was forged, and replayed by someone who answers for it: who that was, and whether they might, is judged there.
fn is_replayed(case: &Case<'_>, tenant: &TenantId, message_id: &MessageId) -> bool {
    case.forged(message_id.as_str()).is_some_and(|forged| forged.tenant == *tenant)
        && case.seen.witness.triaged.contains_key(&(tenant.clone(), message_id.clone()))
}

/// Whoever asked for a tenant was not shown another. Whether what they were shown is right is G6's affair.
fn check_reads(case: &Case<'_>, finding: &mut Finding) {
    let nothing = parts(&TenantState::default());
    let kept = || case.kept.states.iter().map(|(tenant, state)| (tenant, parts(state)));
    for (tenant, shown) in &case.seen.tenants_by_api {
        let own = case.kept.states.get(tenant).map_or_else(|| nothing.clone(), parts);
        for (index, part) in shown.iter().enumerate().filter(|(index, part)| **part != own[*index]) {
            let of = kept().find(|(_, other)| other[index] == *part && *part != nothing[index]);
            finding.expect(of.is_none(), || {
                let of = of.map(|(tenant, _)| tenant.as_str()).unwrap_or_default();
                format!("whoever read {tenant} was shown {part}, which is {of}'s")
            });
        }
        finding.compared += shown.len() as u64;
    }
}

/// A tenant's state as the API shows it, as far as a model knows it.
fn parts(state: &TenantState) -> [Value; 4] {
    let held: std::collections::BTreeSet<_> = state.entitlements.union(&state.plan_entitlements).collect();
    let keys = state.credentials.iter().map(|(name, kept)| (name.to_string(), json!(kept.data_key)));
    [json!(state.limits), json!(held), json!(state.credits), Value::Object(keys.collect())]
}
