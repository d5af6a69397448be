//! G10: once faults have healed, every command has its answer and every accepted one ends, by the deadline; queues drain.

use super::{Case, Finding};

pub(super) fn check(case: &Case<'_>) -> Finding {
    let mut finding = Finding::new("G10-liveness");
    let by = case.deadline.as_millis();
    for id in case.seen.commands.keys() {
        let client = case.seen.clients.get(id);
        let answered = client.is_some_and(|client| client.accepted_at.is_some() || client.refused.is_some());
        finding.expect(answered, || format!("{id}: its operator had no answer by {by} ms"));
        if client.is_some_and(|client| client.accepted_at.is_some()) {
            let ended = client.is_some_and(|client| client.reported.is_some());
            finding.expect(ended, || format!("{id}: accepted, but without an outcome by {by} ms"));
        }
    }
    let depth = case.kept.depth;
    finding.expect(depth == 0, || format!("{depth} messages still wait at {by} ms"));
    let (outcomes, logged) = (case.kept.outcomes.len(), case.kept.audit.len());
    finding.expect(outcomes == logged, || format!("{outcomes} outcomes, but {logged} audit entries at {by} ms"));
    let (forged, planned) = (case.seen.forged.len(), case.seen.forgeries);
    finding.expect(forged == planned, || format!("the adversary got {forged} of {planned} messages in by {by} ms"));
    let (forged, dead) = ((case.seen.forged.len() - case.seen.moved.len()) as u64, case.kept.dead_letters);
    finding.expect(forged == dead, || format!("{forged} forged messages, but {dead} dead letters at {by} ms"));
    finding.expect(case.quiet_by_deadline, || format!("not everything had come to rest by {by} ms"));
    finding
}
