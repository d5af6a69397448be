//! G7: whoever follows a tenant sees exactly its records of the log, in order, from where they began to the last that they
//! saw - over all their connections, whatever died in between - and never one of another tenant.

use std::collections::BTreeMap;

use super::{Case, Finding};

pub(super) fn check(case: &Case<'_>) -> Finding {
    let mut finding = Finding::new("G7-stream");
    let log = tenants_by_place(case);
    for followed in &case.seen.followed {
        let (who, tenant) = (&followed.operator, followed.tenant.as_str());
        finding.violations.extend(followed.broken.iter().map(|what| format!("{who} on {tenant}: no event: {what}")));
        for (place, told) in &followed.events {
            let of = log.get(place).copied().flatten();
            finding.expect(of == Some(tenant) && told == tenant, || {
                format!("{who}, who follows {tenant}, saw {place} of {told}, and it is of {of:?}")
            });
        }
        let (Some(begin), Some((last, _))) = (followed.begin, followed.events.last()) else { continue };
        let should = log.range(begin + 1..=*last).filter(|(_, of)| **of == Some(tenant)).map(|(place, _)| *place);
        let (should, saw): (Vec<u64>, Vec<_>) = (should.collect(), followed.events.iter().map(|(at, _)| *at).collect());
        finding.expect(should == saw, || {
            let missing: Vec<_> = should.iter().filter(|place| !saw.contains(place)).collect();
            format!("{who} on {tenant}, from {begin} to {last}: missing are {missing:?}, seen {saw:?}")
        });
    }
    finding
}

/// Whose each record is. What is no step and no attempt is a decision, and these stand in the order of the log.
fn tenants_by_place<'a>(case: &'a Case<'_>) -> BTreeMap<u64, Option<&'a str>> {
    let steps = case.kept.steps.iter().map(|(place, step)| (*place, step.tenant.as_ref().map(|of| of.as_str())));
    let attempts = case.kept.attempts.iter().map(|(place, attempt)| (*place, attempt.claimed.tenant.as_deref()));
    let mut tenants: BTreeMap<_, _> = steps.chain(attempts).collect();
    let size = (tenants.len() + case.kept.audit.len()) as u64;
    let left: Vec<_> = (1..=size).filter(|place| !tenants.contains_key(place)).collect();
    tenants.extend(left.into_iter().zip(case.kept.audit.iter().map(|entry| Some(entry.tenant_id.as_str()))));
    tenants
}
