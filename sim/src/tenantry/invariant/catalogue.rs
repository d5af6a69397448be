//! G1, by the whole attack catalogue: no attempt changes anything, and without faults each is on record and rings once.

use super::{Case, Finding};

pub(super) fn check(case: &Case<'_>) -> Finding {
    let mut finding = Finding::new("G1-attack-catalogue");
    match &case.seen.catalogue {
        None => finding.forbid(true, || format!("the catalogue was not done by {} ms", case.deadline.as_millis())),
        Some(Err(why)) => finding.forbid(true, || format!("the catalogue could not be tried: {why}")),
        Some(Ok(table)) => {
            finding.compared += table.tried().0 as u64;
            finding.violations.extend(table.breaches().map(|breach| format!("{breach:?}")));
        }
    }
    finding
}
