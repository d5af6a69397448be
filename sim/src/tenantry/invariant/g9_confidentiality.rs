//! G9: a secret appears in clear on no wire, disk, log, dead letter or audit entry; what is sealed opens for no other
//! tenant or message. Wires, disks and logs were searched while the run went on, see [`crate::tenantry::canary`].

use super::{Case, Finding};
use crate::tenantry::canary::OPERATORS_HOP;
use crate::tenantry::model::Ask;

/// What has to have been searched.
const PLACES: [&str; 4] = ["wire", "disk", "log", "audit"];

/// What was found while running.
pub(super) fn beginning(case: &Case<'_>) -> Finding {
    let mut finding = Finding::new("G9-confidentiality");
    let Some(canaries) = &case.seen.canaries else { return finding };
    let found = canaries.found();
    finding.compared +=
        found.searched.iter().filter(|(place, _)| **place != OPERATORS_HOP).map(|(_, n)| n).sum::<u64>();
    finding.violations.extend(found.leaks.iter().map(|leak| format!("a secret in clear in {leak}")));
    finding
}

pub(super) fn check(case: &Case<'_>) -> Finding {
    let Some(canaries) = &case.seen.canaries else { return Finding::new("G9-confidentiality") };
    for entry in &case.kept.audit {
        let text = format!("{} {} {}", String::from_utf8_lossy(&entry.body), entry.outcome, entry.detail);
        canaries.search("audit", text.as_bytes(), || format!("the entry of {}", entry.message_id));
    }
    for (id, letter) in &case.kept.letters {
        canaries.search("dead letter", letter.as_bytes(), || format!("{id:?}"));
    }
    for (id, outcome) in &case.kept.outcomes {
        canaries.search("outcome", format!("{outcome:?}").as_bytes(), || format!("{id:?}"));
    }
    let mut finding = beginning(case);
    let found = canaries.found();
    let drawn = case.seen.commands.values().filter(|command| matches!(command.ask, Ask::Store { .. })).count();
    finding.forbid(drawn == 0, || "no secret was sent".into());
    finding.forbid(found.expected == 0, || format!("no canary was found on the {OPERATORS_HOP}: the search is blind"));
    for place in PLACES {
        let bytes = found.searched.get(place).copied().unwrap_or(0);
        finding.forbid(bytes == 0, || format!("not a byte was searched: {place}"));
    }
    // What was moved has its outcome, and that is "no": because it was moved, or for what is looked at before that.
    for ((tenant, id), outcome) in &case.kept.outcomes {
        if case.seen.moved.contains(id.as_str()) {
            let code = outcome.verdict.as_ref().err().map(|rejection| rejection.code.as_str());
            // What a tenant is suspended for, or its operator may no longer do, is told before anyone looks at the ciphertext.
            let refused =
                matches!(code, Some("sealed_for_another" | "secret_erased" | "tenant_suspended" | "forbidden"));
            finding.expect(refused, || format!("{tenant} {id}: a ciphertext that was moved ended as {outcome:?}"));
        }
    }
    finding
}
