//! G2, of what takes two: every effect rests on an approval, by another person, of exactly that message, which had not been
//! withdrawn and whose approver had not lost their right longer than the stated bound before. What was sent without, edited,
//! withdrawn or approved alone has none. And whoever has the approval, and both kept their right, is not refused.

use tenantry_system::ids::MessageId;

use super::{Case, Finding};
use crate::tenantry::approvers::Way;

/// What was seen while running.
pub(super) fn beginning(case: &Case<'_>) -> Finding {
    let mut finding = Finding::new("G2-four-eyes");
    finding.violations.extend(case.seen.four_eyes.violations.iter().cloned());
    finding
}

pub(super) fn check(case: &Case<'_>) -> Finding {
    let mut finding = beginning(case);
    let (seen, revocations) = (&case.seen.four_eyes, &case.seen.revocations);
    for (id, paired) in &seen.planned {
        let command = &paired.command;
        let effect = seen.effects.get(id);
        if paired.way != Way::Approved {
            finding.compared += u64::from(effect.is_some() || seen.sent.contains_key(id));
            finding.forbid(effect.is_some(), || format!("{id} took effect, and this is how it was sent: {paired:?}"));
            continue;
        }
        let given = seen.given.get(id);
        if let Some((body, at)) = effect {
            let rests = given.is_some_and(|(approved, since)| approved == body && since <= at);
            let other = paired.approver.as_ref().is_some_and(|by| *by != command.operator);
            finding.expect(rests && other, || {
                format!("{id} took effect at {at:?}, as {}; approved was {given:?}", hex::encode(body))
            });
            // On record with whoever it was.
            let logged = case.kept.audit.iter().find(|entry| entry.message_id.as_str() == id);
            let named = logged.and_then(|entry| entry.approved_by.as_ref());
            finding.expect(logged.is_none() || named == paired.approver.as_ref(), || {
                format!("{id} was approved by {:?}, on record is {named:?}", paired.approver)
            });
        }
        let Some((from, until)) = seen.sent.get(id) else { continue };
        let Ok(message_id) = MessageId::parse(id) else { continue };
        let outcome = case.kept.outcomes.get(&(command.tenant.clone(), message_id.clone()));
        let ended = outcome.map(|_| case.seen.witness.effect(&command.tenant, &message_id).1);
        let (from, until) = (*from, ended.unwrap_or(*until));
        let lost = [Some(&command.operator), paired.approver.as_ref()].into_iter().flatten();
        let lost = lost.into_iter().any(|user| revocations.within(user, &command.tenant, from, until));
        let refused = case.seen.clients.get(id).is_some_and(|client| client.refused == Some(403))
            || outcome.is_some_and(|outcome| outcome.verdict.as_ref().is_err_and(|why| why.code == "forbidden"));
        finding.expect(lost || !refused, || {
            format!("{id} was approved as {given:?} and refused between {from:?} and {until:?}: {outcome:?}")
        });
    }
    finding
}
