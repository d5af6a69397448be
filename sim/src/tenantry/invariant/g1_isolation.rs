//! G1: a command changes only the tenant its verified grant names, and nobody's without the right to it.

use super::{Case, Finding};

pub(super) fn check(case: &Case<'_>) -> Finding {
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
        }
    }
    for (tenant, message_id) in case.kept.outcomes.keys() {
        let id = message_id.as_str();
        match case.seen.commands.get(id) {
            Some(command) => {
                let right = command.tenant == *tenant && command.allowed;
                finding.expect(right, || {
                    format!(
                        "{id}: {} asked for {} (allowed: {}), and {tenant} has its outcome",
                        command.operator, command.tenant, command.allowed
                    )
                });
            }
            // Forged, and replayed by someone who answers for it: who that was, and whether they might, is judged there.
            None if case.forged(id).is_some_and(|forged| forged.tenant == *tenant)
                && case.seen.witness.triaged.contains_key(&(tenant.clone(), message_id.clone())) => {}
            // Genuine, but for a ciphertext that is not theirs: what becomes of it is G9's affair.
            None if case.seen.moved.contains(id) => {}
            None => finding.expect(false, || format!("{id}: nobody may have sent it, and {tenant} has its outcome")),
        }
    }
    for tenant in case.kept.states.keys() {
        let known = case.cast.tenants.contains(tenant);
        finding.expect(known, || format!("the ledger has a tenant {tenant} that does not exist"));
    }
    finding
}
