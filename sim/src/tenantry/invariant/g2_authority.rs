//! G2: what may take effect is decided at the moment of effect.
//!
//! From the confirmed pause of a tenant until someone begins to resume it no command on it has an outcome, whoever had it
//! in work. And no command is applied by a decision of an earlier revision of authority than the ledger knew of, nor of one
//! that had the role in question taken away already, nor later than the stated bound after that was in force. What is
//! rejected as forbidden was forbidden.

use tenantry_system::ids::{MessageId, TenantId, UserId};

use super::{Case, Finding};

/// What was seen while running.
pub(super) fn beginning(case: &Case<'_>) -> Finding {
    let mut finding = Finding::new("G2-authority");
    // Around every effect, and before each resume.
    finding.compared += case.seen.pauses.compared;
    finding.violations.extend(case.seen.pauses.violations.iter().cloned());
    let revocations = &case.seen.revocations;
    finding.compared += revocations.compared;
    finding.violations.extend(revocations.violations.iter().cloned());
    finding
}

pub(super) fn check(case: &Case<'_>) -> Finding {
    let mut finding = beginning(case);
    for ((tenant, message_id), outcome) in &case.kept.outcomes {
        if outcome.verdict.as_ref().is_err_and(|rejection| rejection.code == "forbidden")
            && let Some(actor) = actor(case, tenant, message_id)
        {
            // What the outcome says of when that was is the ledger's clock, which may be off.
            let (from, until) = case.seen.witness.effect(tenant, message_id);
            finding.expect(case.was_away(message_id.as_str(), actor, tenant, from, until), || {
                format!("{message_id}: {actor} was rejected on {tenant}, where nobody had taken their role")
            });
        }
    }
    finding
}

/// By whose authority a message was decided: of a replayed letter that of whoever replayed it.
fn actor<'c>(case: &'c Case<'_>, tenant: &TenantId, message_id: &MessageId) -> Option<&'c UserId> {
    let author = case.seen.commands.get(message_id.as_str()).map(|command| &command.operator);
    let logged = case.kept.audit.iter().find(|entry| (&entry.tenant_id, &entry.message_id) == (tenant, message_id));
    author.or_else(|| logged?.replayed_by.as_ref())
}
