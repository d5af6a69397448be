//! G7: every step of every command stands in the audit log exactly once, with tenant, user, action and message; and nothing
//! stands there that did not happen.
//!
//! Compared are the log, what the stores hold, and what the decorators saw. A call without an answer may or may not have
//! done its work: where one was seen, one step more is right, too.

use std::collections::{BTreeMap, BTreeSet};

use tenantry_system::audit::{Step, StepKind};
use tenantry_system::ids::{MessageId, TenantId};
use tenantry_system::rights::Role;

use super::{Case, Finding};
use crate::tenantry::witness::{Calls, Message, Triages};
use crate::tenantry::workload::Triage;

/// The steps of each message, by their kind, in the order of the log.
type Steps<'a> = BTreeMap<(StepKind, Role), BTreeMap<Message, Vec<(u64, &'a Step)>>>;

pub(super) fn check(case: &Case<'_>) -> Finding {
    let mut finding = Finding::new("G7-steps-on-record");
    let mut steps = Steps::new();
    for (place, step) in &case.kept.steps {
        finding.expect(step.is_of(step.service), || format!("{step:?}: is not for the {} to tell", step.service));
        if let (Some(tenant), Some(id)) = (&step.tenant, &step.message_id) {
            let of = steps.entry((step.kind, step.service)).or_default();
            of.entry((tenant.clone(), id.clone())).or_default().push((*place, step));
        }
    }
    let of = |kind, role| steps.get(&(kind, role)).cloned().unwrap_or_default();
    let published = of(StepKind::Published, Role::Broker);
    check_published(case, &published, &mut finding);
    let delivered = of(StepKind::Delivered, Role::Broker);
    check_delivered(case, &published, &delivered, &mut finding);
    check_returned(&delivered, &of(StepKind::CameBack, Role::Broker), &mut finding);
    check_letters(case, &steps, &mut finding);
    check_triages(case, &steps, &mut finding);
    let witness = &case.seen.witness;
    for (role, calls) in [(Role::Broker, &witness.published), (Role::Ledger, &witness.applied)] {
        check_duplicates(calls, &of(StepKind::Duplicate, role), role, &mut finding);
    }
    check_pauses(case, &mut finding);
    check_policies(case, &mut finding);
    check_reads(case, &mut finding);
    check_alerts(case, &mut finding);
    finding
}

fn numbers(steps: &[(u64, &Step)]) -> Vec<u64> {
    steps.iter().map(|(_, step)| step.number).collect()
}

/// Once each what anyone was told is accepted, with what it says of itself; and nothing that nobody sent.
fn check_published(case: &Case<'_>, published: &BTreeMap<Message, Vec<(u64, &Step)>>, finding: &mut Finding) {
    let nothing = Calls::default();
    let seen = &case.seen.witness.published;
    for key in seen.keys().chain(published.keys()).collect::<BTreeSet<_>>() {
        let calls = seen.get(key).unwrap_or(&nothing);
        let count = published.get(key).map_or(0, Vec::len) as u64;
        let least = u64::from(calls.done + calls.repeated > 0);
        let most = u64::from(calls.done + calls.repeated + calls.open() > 0);
        finding.expect((least..=most).contains(&count), || {
            format!("{key:?}: published {count} times by the log, and the broker was seen to say {calls:?}")
        });
    }
    for (id, command) in &case.seen.commands {
        let accepted = case.seen.clients.get(id).is_some_and(|client| client.accepted_at.is_some());
        let key = MessageId::parse(id).ok().map(|id| (command.tenant.clone(), id));
        let found = key.and_then(|key| published.get(&key)).and_then(|steps| steps.first());
        finding.expect(!accepted || found.is_some(), || {
            format!("{id} was answered 202, and its publish is not on record")
        });
        let Some((_, step)) = found else { continue };
        let ask = case.reused_first(id).unwrap_or(&command.ask);
        let told = (step.user.as_ref(), step.action.as_deref(), step.body_sha256.is_some());
        // Under one of the operators' own names someone inside may have published something else.
        let forged = case.seen.forged.contains(id);
        finding.expect(forged || told == (Some(&command.operator), Some(ask.wire().0), true), || {
            format!("{id} of {}, a {}, was published as {step:?}", command.operator, ask.wire().0)
        });
    }
    for entry in &case.kept.audit {
        let key = (entry.tenant_id.clone(), entry.message_id.clone());
        let step = published.get(&key).and_then(|steps| steps.first());
        let hash = case.kept.decided.get(&key);
        finding.expect(step.is_some_and(|(_, step)| step.body_sha256.as_ref() == hash && hash.is_some()), || {
            format!("{} was decided, but published as {step:?}", entry.message_id)
        });
    }
}

/// Attempts from 1 without a gap, once each, after the publish, and no more of them than were seen; at least one of
/// whatever has ended.
fn check_delivered(
    case: &Case<'_>,
    published: &BTreeMap<Message, Vec<(u64, &Step)>>,
    delivered: &BTreeMap<Message, Vec<(u64, &Step)>>,
    finding: &mut Finding,
) {
    let (seen, none) = (&case.seen.witness.delivered, BTreeSet::new());
    // A delivery that a dying broker forgot came again under its number, or was given up with the message.
    let forgets = case.seen.killed.contains("broker") || !case.quiet_by_deadline;
    for (key, steps) in delivered {
        let attempts = numbers(steps);
        finding.expect(attempts.iter().copied().eq(1..=attempts.len() as u64), || {
            format!("{key:?}: delivered under the attempts {attempts:?} by the log")
        });
        let known = seen.get(key).unwrap_or(&none);
        let unseen = attempts.iter().find(|attempt| !known.contains(attempt));
        finding.expect(unseen.is_none(), || format!("{key:?}: attempt {unseen:?} is on record, and nobody saw it"));
        let first = published.get(key).and_then(|steps| steps.first()).map(|(place, _)| *place);
        finding.expect(first.is_some_and(|first| first < steps[0].0), || {
            format!("{key:?}: delivered at {}, published at {first:?}", steps[0].0)
        });
    }
    for (key, attempts) in seen {
        let logged = delivered.get(key).map(|steps| numbers(steps)).unwrap_or_default();
        finding.expect(forgets || attempts.iter().all(|attempt| logged.contains(attempt)), || {
            format!("{key:?}: went out under {attempts:?}, on record are {logged:?}")
        });
    }
    for key in case.kept.outcomes.keys().chain(&case.kept.letters_of).chain(&case.kept.discarded) {
        finding.expect(!case.quiet_by_deadline || delivered.contains_key(key), || {
            format!("{key:?} has ended, and no delivery of it is on record")
        });
    }
}

/// Of each delivery at most one return.
fn check_returned(
    delivered: &BTreeMap<Message, Vec<(u64, &Step)>>,
    returned: &BTreeMap<Message, Vec<(u64, &Step)>>,
    finding: &mut Finding,
) {
    for (key, steps) in returned {
        let (attempts, once): (_, BTreeSet<_>) = (numbers(steps), numbers(steps).into_iter().collect());
        let out = delivered.get(key).map(|steps| numbers(steps)).unwrap_or_default();
        finding.expect(once.len() == attempts.len() && once.iter().all(|attempt| out.contains(attempt)), || {
            format!("{key:?}: came back from {attempts:?}, and was delivered under {out:?}")
        });
    }
}

/// Each replay and each discard that was answered, once, by whoever asked for it; and nothing that nobody asked for.
fn check_triages(case: &Case<'_>, steps: &Steps<'_>, finding: &mut Finding) {
    let (nothing, none) = (Triages::default(), BTreeMap::new());
    let seen = &case.seen.witness.triaged;
    for kind in [StepKind::Replayed, StepKind::Discarded] {
        let logged = steps.get(&(kind, Role::Broker)).unwrap_or(&none);
        for key in seen.keys().chain(logged.keys()).collect::<BTreeSet<_>>() {
            let of = seen.get(key).unwrap_or(&nothing);
            let calls = if kind == StepKind::Replayed { of.replay } else { of.discard };
            let told = logged.get(key).map_or(&[][..], Vec::as_slice);
            let right = (calls.done..=calls.done + calls.open()).contains(&(told.len() as u64));
            finding.expect(right, || format!("{key:?}: {kind} {} times by the log, seen were {calls:?}", told.len()));
            for (_, step) in told {
                let operator = |triage: &Triage| step.user.as_ref() == Some(&triage.operator) && triage.allowed;
                let named = case.seen.triages_of(key).any(operator) && !step.detail.is_empty();
                finding.expect(named, || format!("{step:?}: nobody of that name was to do that"));
            }
        }
    }
}

/// As many as there are, and as many as there were and are no more, once each.
fn check_letters(case: &Case<'_>, steps: &Steps<'_>, finding: &mut Finding) {
    let aside = [StepKind::DeadLettered, StepKind::GivenUp].map(|kind| steps.get(&(kind, Role::Broker)));
    let logged: Vec<_> = aside
        .into_iter()
        .flatten()
        .flat_map(|of| of.iter().flat_map(|(key, steps)| std::iter::repeat_n(key, steps.len())))
        .collect();
    let count = |key| logged.iter().filter(|logged| **logged == key).count();
    let gone = |key: &Message| {
        let of = |kind| steps.get(&(kind, Role::Broker)).and_then(|of| of.get(key)).map_or(0, Vec::len);
        of(StepKind::Replayed) + of(StepKind::Discarded)
    };
    for key in case.kept.letters_of.iter().chain(logged.iter().copied()) {
        let kept = case.kept.letters_of.contains(key);
        finding.expect(count(key) == gone(key) + usize::from(kept), || {
            let (aside, gone) = (count(key), gone(key));
            format!(
                "{key:?}: {aside} times put aside and {gone} times dealt with by the log; it is a dead letter: {kept}"
            )
        });
    }
}

/// One for each answer that something is known, and at most one for each call that had none.
fn check_duplicates(
    calls: &BTreeMap<Message, Calls>,
    logged: &BTreeMap<Message, Vec<(u64, &Step)>>,
    role: Role,
    finding: &mut Finding,
) {
    let nothing = Calls::default();
    for key in calls.keys().chain(logged.keys()).collect::<BTreeSet<_>>() {
        let calls = calls.get(key).unwrap_or(&nothing);
        let count = logged.get(key).map_or(0, Vec::len) as u64;
        finding.expect((calls.repeated..=calls.repeated + calls.open()).contains(&count), || {
            format!("{key:?}: {count} duplicates at the {role} by the log, seen were {calls:?}")
        });
    }
}

/// Every generation of every tenant, once, in order.
fn check_pauses(case: &Case<'_>, finding: &mut Finding) {
    let mut logged: BTreeMap<&TenantId, Vec<u64>> = BTreeMap::new();
    for (_, step) in &case.kept.steps {
        let paused = match step.kind {
            StepKind::Paused => true,
            StepKind::Resumed => false,
            _ => continue,
        };
        finding.expect(step.user.is_some() && (step.number % 2 == 1) == paused, || format!("{step:?}: who did what?"));
        logged.entry(step.tenant.as_ref().expect("a pause is of a tenant")).or_default().push(step.number);
    }
    for (tenant, state) in &case.kept.states {
        let logged = logged.remove(tenant).unwrap_or_default();
        let should = 1..=state.pause_generation.0;
        finding.expect(logged.iter().copied().eq(should), || {
            format!("{tenant} stands at {:?}, and its pauses on record are {logged:?}", state.pause_generation)
        });
    }
    finding.forbid(!logged.is_empty(), || format!("pauses of nobody: {logged:?}"));
}

/// Every revision of authority, once, in order: policies that came into force, and the ends of what two people had permitted;
/// and no decision by one that is not there.
fn check_policies(case: &Case<'_>, finding: &mut Finding) {
    let (mut revision, mut permitted) = (0, BTreeSet::new());
    for (_, step) in &case.kept.steps {
        let emergency = matches!(step.kind, StepKind::BreakGlassApproved | StepKind::BreakGlassEnded)
            || step.kind == StepKind::BreakGlassExpired;
        let of = (emergency, step.number);
        match step.kind {
            StepKind::PoliciesChanged => {
                finding.expect(step.number == revision + 1, || format!("{step:?}: comes after revision {revision}"));
                revision = step.number;
            }
            StepKind::BreakGlassApproved | StepKind::Approved => drop(permitted.insert(of)),
            StepKind::BreakGlassEnded
            | StepKind::BreakGlassExpired
            | StepKind::ApprovalWithdrawn
            | StepKind::ApprovalExpired => revision += u64::from(permitted.remove(&of)),
            _ => {}
        }
    }
    let unknown = case.kept.outcomes.iter().find(|(_, outcome)| !(1..=revision).contains(&outcome.authority_revision));
    finding.compared += case.kept.outcomes.len() as u64;
    finding.forbid(unknown.is_some(), || {
        format!("{unknown:?}: decided by policies that are not on record, which end at revision {revision}")
    });
}

/// No tenant's credentials were shown more often than is on record.
fn check_reads(case: &Case<'_>, finding: &mut Finding) {
    for (tenant, shown) in &case.seen.witness.credentials_read {
        let read = |step: &Step| step.kind == StepKind::CredentialsRead && step.tenant.as_ref() == Some(tenant);
        let logged = case.kept.steps.iter().filter(|(_, step)| read(step)).count() as u64;
        finding.expect(logged >= *shown, || format!("{tenant}: credentials shown {shown} times, on record {logged}"));
    }
}

/// What rings has its alert, and what does not has none.
fn check_alerts(case: &Case<'_>, finding: &mut Finding) {
    let rung: BTreeSet<_> = case.kept.alerts.iter().map(|alert| alert.place).collect();
    for (place, step) in &case.kept.steps {
        finding.expect(step.kind.rings().is_some() == rung.contains(place), || {
            format!("{step:?}: an alert too few or too many")
        });
    }
}
