//! R4: what the system says it did is what it did, and a command has one trace however often it went out.
//!
//! A process that dies takes along at most what it had not counted yet of its last commit, and an answer that nobody waited
//! for any more is seen by its server only: so where a host has died, its counts are bounds.

use tenantry_system::audit::{Code, StepKind};
use tenantry_system::monitor::{Answer, AppliedEnd, DeadReason, PublishEnd, Route};
use tenantry_system::rights::Role;

use super::{Case, Finding};

/// The spans of a command behind the broker.
const BEHIND_THE_BROKER: [&str; 3] = ["queue.wait", "consumer.decide", "ledger.apply"];

pub(super) fn check(case: &Case<'_>) -> Finding {
    let mut finding = Finding::new("R4-monitor");
    let (measured, kept) = (&case.kept.measured, case.kept);
    // `counted` and what `was`: equal, or not more where the host may have forgotten.
    let mut equal = |host: &str, what: &str, counted: u64, was: u64| {
        let holds = if measured.lived_once(host) { counted == was } else { counted <= was };
        finding.compared += counted.max(was);
        finding.forbid(!holds, || format!("the metrics of the {host} count {counted} {what}, and there are {was}"));
    };
    let applied = |end| measured.sum("ledger", |metrics| metrics.applied.get(end));
    let outcomes = |ok: bool| kept.outcomes.values().filter(|outcome| outcome.verdict.is_ok() == ok).count() as u64;
    equal("ledger", "commands applied", applied(AppliedEnd::Applied), outcomes(true));
    equal("ledger", "commands rejected", applied(AppliedEnd::Rejected), outcomes(false));
    let dead = |reason| measured.sum("broker", |metrics| metrics.dead_letters.get(reason));
    // Those that were dealt with since are no letters any more.
    let replayed = kept.steps.iter().filter(|(_, step)| step.kind == StepKind::Replayed).count();
    let aside = kept.dead_letters + (kept.discarded.len() + replayed) as u64;
    equal("broker", "dead letters", dead(DeadReason::Refused) + dead(DeadReason::Silent), aside);

    // `seen` by someone else, of what was `counted`: not more, if nobody has forgotten.
    let mut at_most = |host: &str, what: &str, counted: u64, seen: u64| {
        let holds = !measured.lived_once(host) || seen <= counted;
        finding.compared += seen;
        finding.forbid(!holds, || format!("{seen} {what} were seen, and the metrics of the {host} count {counted}"));
    };
    let taken_in: usize = case.seen.taken_in.values().map(Vec::len).sum();
    let accepted = measured.sum("broker", |metrics| metrics.publishes.get(PublishEnd::Accepted));
    at_most("broker", "messages taken in", accepted, taken_in as u64);
    let confirmed = [Answer::Ok, Answer::Accepted]
        .map(|answer| measured.sum("producer", |metrics| metrics.http_requests.get((Route::Submit, answer))));
    let told = case.seen.clients.values().filter(|client| client.accepted_at.is_some()).count();
    at_most("producer", "commands confirmed", confirmed.iter().sum(), told as u64);
    for role in Role::ALL {
        for code in Code::ALL {
            let logged = kept.attempts.iter().filter(|(_, attempt)| (attempt.service, attempt.code) == (role, code));
            let counted = measured.sum_of_all(|metrics| metrics.refusals.get((role, code)));
            let logged = logged.count() as u64;
            // A refusal is counted before it is on its way to the log: no life can have forgotten one that is there.
            finding.compared += logged;
            finding.forbid(logged > counted, || {
                format!("{logged} attempts of {code:?} at the {role} are on record, and its metrics count {counted}")
            });
        }
    }

    // What was forged came without a trace.
    let traced = |id: &str| !case.seen.forged.contains(id);
    for (tenant, message_id) in kept.outcomes.keys().filter(|(_, id)| traced(id.as_str())) {
        for name in BEHIND_THE_BROKER {
            let traces = measured.traces.get(&(message_id.to_string(), name)).map_or(0, |traces| traces.len());
            // Whoever cut a process off in the middle of a span has cut that off, too; but never made two of one.
            let hosts = ["broker", "ledger"].iter().all(|host| measured.lived_once(host));
            let holds = traces == 1 || (traces == 0 && !hosts);
            finding.expect(holds, || format!("{message_id} of {tenant} has {traces} traces with a span {name}"));
        }
    }
    finding
}
