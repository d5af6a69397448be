//! G10: once faults have healed, every command has its answer and every accepted one ends, by the deadline; queues drain,
//! and nothing is tried again without a pause.

use super::{Case, Finding};

/// A message that can't be dealt with comes again after pauses that grow: in the longest outage of a scenario no more often
/// than this. One that comes more often is tried without a pause.
const DELIVERIES_MAX: u64 = 64;

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
    let forged = (case.seen.forged.len() - case.seen.moved.len()) as u64;
    let decided = case.kept.outcomes.keys().filter(|(_, id)| case.forged(id.as_str()).is_some()).count();
    let (dead, gone) = (case.kept.dead_letters, (decided + case.kept.discarded.len()) as u64);
    finding.expect(forged == dead + gone, || {
        format!("{forged} forged messages, but {dead} dead letters and {gone} dealt with at {by} ms")
    });
    for ((tenant, id), attempts) in &case.seen.witness.delivered {
        let most = attempts.last().copied().unwrap_or(0);
        finding.expect(most <= DELIVERIES_MAX, || format!("{id} of {tenant} was delivered {most} times by {by} ms"));
    }
    let (told, triages) = (case.seen.triaged.len(), case.seen.triages);
    finding.expect(told == triages, || format!("{told} of {triages} dead letters were dealt with by {by} ms"));
    finding.expect(case.quiet_by_deadline, || format!("not everything had come to rest by {by} ms"));
    finding
}
