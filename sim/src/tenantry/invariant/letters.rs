//! G3, G4 and G2 of dead letters: each ends in one way - it lies there, is given up, or waits again and has its outcome; what
//! an operator was told has happened and is kept; and what a replayed letter does, it does by the authority of whoever
//! replayed it, who is on record beside its author.

use std::collections::BTreeMap;

use tenantry_system::ids::{MessageId, TenantId};

use super::{Case, Finding};
use crate::tenantry::cast::Part;
use crate::tenantry::triage::Told;

pub(super) fn check(case: &Case<'_>) -> Finding {
    let mut finding = Finding::new("G3-dead-letters");
    let (kept, seen) = (case.kept, case.seen);
    let ends = |key: &(TenantId, MessageId)| {
        [kept.outcomes.contains_key(key), kept.letters_of.contains(key), kept.discarded.contains(key)]
    };
    for key in kept.letters_of.iter().chain(&kept.discarded) {
        let ends = ends(key);
        finding.expect(ends.iter().filter(|end| **end).count() == 1, || {
            format!("{key:?}: (has an outcome, is a dead letter, is discarded) is {ends:?}")
        });
    }
    let mut told: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (triage, was_told, ..) in &seen.triaged {
        let Ok(id) = MessageId::parse(&triage.message_id) else { continue };
        told.entry((triage.tenant.clone(), id)).or_default().push(*was_told);
        // Who may read learns of a letter that is gone that it is; what is there they must not deal with.
        let right =
            if triage.allowed { *was_told != Told::Refused } else { matches!(was_told, Told::Refused | Told::TooLate) };
        finding.expect(right, || {
            format!(
                "{} of {} was told {was_told:?}, and may (by the cast): {}",
                triage.operator, triage.tenant, triage.allowed
            )
        });
    }
    for (key, told) in &told {
        let [outcome, letter, discarded] = ends(key);
        finding.expect(!told.contains(&Told::Discarded) || discarded, || {
            format!("{key:?}: an operator was told that it is discarded, and it is not")
        });
        finding.expect(
            // It may have died again, and been given up by another.
            !told.contains(&Told::Replayed) || outcome || letter || discarded || kept.waiting.contains(key),
            || {
                format!(
                    "{key:?}: an operator was told that it is replayed, and it has neither an outcome nor lies there"
                )
            },
        );
    }
    // What was forged has an outcome only because someone has replayed it, who might, and who is on record.
    let logged = |key: &(TenantId, MessageId)| {
        kept.audit.iter().find(|entry| (&entry.tenant_id, &entry.message_id) == (&key.0, &key.1))
    };
    for key in kept.outcomes.keys() {
        let by = logged(key).and_then(|entry| entry.replayed_by.clone());
        let Some(forged) = case.forged(key.1.as_str()) else {
            finding.expect(by.is_none(), || format!("{key:?} was never a dead letter, and was replayed by {by:?}"));
            continue;
        };
        let replayers = seen.witness.triaged.get(key).map(|of| of.replayers.clone()).unwrap_or_default();
        finding.expect(by.as_ref().is_some_and(|by| replayers.contains(by)), || {
            format!("{key:?}: decided by the authority of {by:?}; replayed was it by {replayers:?}")
        });
        let may = by.as_ref().is_some_and(|by| case.cast.part(by, &key.0) == Some(Part::Admin));
        finding.expect(may && forged.tenant == key.0, || format!("{key:?}: {by:?} may not have this replayed there"));
        let author = logged(key).map(|entry| entry.user_id.clone());
        finding.expect(author.as_ref() == Some(&forged.operator), || {
            format!("{key:?} of {}: on record as {author:?}'s", forged.operator)
        });
    }
    finding
}
