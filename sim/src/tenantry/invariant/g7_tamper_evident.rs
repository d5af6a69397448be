//! G7: the log's export verifies offline, with its public key alone, against every checkpoint that anyone saw in the run -
//! before crashes and power losses of its host, too: what was signed was durable, and stands for ever.

use super::{Case, Finding};

pub(super) fn check(case: &Case<'_>) -> Finding {
    let mut finding = Finding::new("G7-tamper-evident");
    finding.compared = case.kept.log.compared;
    finding.violations.extend(case.kept.log.violations.iter().cloned());
    finding
}
