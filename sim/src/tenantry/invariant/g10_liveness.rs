//! G10: once faults have healed, every command has its answer and every accepted one ends, by the deadline; queues drain,
//! and nothing is tried again without a pause.

use super::{Case, Finding};

/// What can't be dealt with comes again after a pause, at least where it is the message's own trouble: a broker that starts
/// anew and a tenant that is resumed send out at once what had been out, and that is no more often than this.
const HURRIED_MAX: u64 = 5;

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
    let depth = case.kept.waiting.len();
    finding.forbid(depth > 0, || format!("{depth} messages still wait at {by} ms"));
    let (outcomes, logged) = (case.kept.outcomes.len() as u64, case.kept.audit.len() as u64);
    finding.expect_equal(outcomes, logged, || format!("{outcomes} outcomes, but {logged} audit entries at {by} ms"));
    let (forged, planned) = (case.seen.forged.len() as u64, case.seen.forgeries as u64);
    finding.expect_equal(forged, planned, || format!("the adversary got {forged} of {planned} messages in by {by} ms"));
    let forged = (case.seen.forged.len() - case.seen.moved.len()) as u64;
    let decided = case.kept.outcomes.keys().filter(|(_, id)| case.forged(id.as_str()).is_some()).count();
    let (dead, gone) = (case.kept.dead_letters, (decided + case.kept.discarded.len()) as u64);
    finding.expect_equal(forged, dead + gone, || {
        format!("{forged} forged messages, but {dead} dead letters and {gone} dealt with at {by} ms")
    });
    for ((tenant, id), (_, hurried)) in &case.seen.witness.hurried {
        finding
            .expect(*hurried <= HURRIED_MAX, || format!("{id} of {tenant} came again without a pause {hurried} times"));
    }
    let (told, triages) = (case.seen.triaged.len() as u64, case.seen.triages as u64);
    finding.expect_equal(told, triages, || format!("{told} of {triages} dead letters were dealt with by {by} ms"));
    let unmet = || if case.unmet.is_empty() { String::new() } else { format!(": not {}", case.unmet.join(", not ")) };
    finding.forbid(!case.quiet_by_deadline, || format!("not everything had come to rest by {by} ms{}", unmet()));
    finding
}
