//! G7: whoever follows a tenant sees exactly its records of the log, in order, from where they began to the last that they
//! saw - over all their connections, whatever died in between - and never one of another tenant. A run is not at rest before
//! that is the last there is, unless they may not see it: what a stream holds back for ever is G10's.

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

/// Whose each record is.
fn tenants_by_place<'a>(case: &'a Case<'_>) -> BTreeMap<u64, Option<&'a str>> {
    case.kept.events.iter().map(|(place, event)| (*place, event.tenant())).collect()
}
