//! G2: an operator's "stop" holds at the moment of effect: from the confirmed pause of a tenant until someone begins to
//! resume it no command on it has an outcome, whoever had it in work.

use super::{Case, Finding};

pub(super) fn check(case: &Case<'_>) -> Finding {
    let mut finding = Finding::new("G2-authority");
    // Seen while running: around every effect, and before each resume.
    finding.compared += case.seen.pauses.compared;
    finding.violations.extend(case.seen.pauses.violations.iter().cloned());
    finding
}
