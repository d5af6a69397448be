//! G4: after the "accepted", whatever crashes, the command is kept: it has an outcome, waits, or is a dead letter. So is
//! whatever someone inside has had confirmed. And no run is settled by anyone but its holder.

use std::collections::BTreeSet;

use super::{Case, Finding};

/// What was seen while running.
pub(super) fn beginning(case: &Case<'_>) -> Finding {
    let mut finding = Finding::new("G4-nothing-lost");
    // Whoever settles a run must hold it, for what another has in work would be taken for done.
    finding.compared += case.seen.witness.leases.compared;
    finding.violations.extend(case.seen.witness.leases.violations.iter().cloned());
    finding
}

pub(super) fn check(case: &Case<'_>) -> Finding {
    let mut finding = beginning(case);
    let outcomes_by_message = case.outcomes_by_message();
    for (id, client) in &case.seen.clients {
        let (Some(accepted_at), Some(command)) = (client.accepted_at, case.seen.commands.get(id)) else { continue };
        let outcomes = outcomes_by_message.get(id.as_str());
        let has_outcome = outcomes.is_some_and(|outcomes| outcomes.iter().any(|(at, _)| **at == command.tenant));
        finding.expect(has_outcome || case.is_kept(&command.tenant, id), || {
            format!("{id}: accepted at {} ms, now {:?}", accepted_at.as_millis(), client.reported)
        });
    }
    // The broker confirms to anyone: also to whoever goes past the producer. What is refused is kept, to be looked at.
    let kept = case.kept;
    let kept = kept.outcomes.keys().chain(&kept.waiting).chain(&kept.letters_of).chain(&kept.discarded);
    let kept: BTreeSet<&str> = kept.map(|(_, id)| id.as_str()).collect();
    for id in &case.seen.forged {
        finding.expect(kept.contains(id.as_str()), || {
            format!("{id}: the broker took it in, and it has no outcome, does not wait and is no dead letter")
        });
    }
    finding
}
