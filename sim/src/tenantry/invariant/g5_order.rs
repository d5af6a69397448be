//! G5: one tenant's commands take effect in the order in which they were confirmed.
//!
//! Judged by the operators' clocks alone: if one command's "accepted" had come before another was sent, it must have
//! taken effect before it. Whatever the broker numbered them is no evidence.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Case, Finding};
use crate::tenantry::triage::Told;

/// What holds of a run that is not over: nothing is said of letters, which may be replayed once more.
pub(super) fn beginning(case: &Case<'_>) -> Finding {
    compare(case, &BTreeMap::new())
}

pub(super) fn check(case: &Case<'_>) -> Finding {
    // A replayed letter has its place in the order from its replay on.
    let mut replayed: BTreeMap<&str, (Duration, Option<Duration>)> = BTreeMap::new();
    for (triage, _, began, knew) in case.seen.triaged.iter().filter(|(_, told, ..)| *told == Told::Replayed) {
        let (sent_at, accepted_at) = replayed.entry(&triage.message_id).or_insert((*began, None));
        *sent_at = (*sent_at).min(*began);
        *accepted_at = Some(accepted_at.map_or(*knew, |known: Duration| known.max(*knew)));
    }
    compare(case, &replayed)
}

/// Compares every tenant's effects, with when those that were replayed were sent and confirmed.
fn compare(case: &Case<'_>, replayed: &BTreeMap<&str, (Duration, Option<Duration>)>) -> Finding {
    let mut finding = Finding::new("G5-order");
    let mut histories: BTreeMap<_, Vec<(u64, &str)>> = BTreeMap::new();
    for ((tenant, message_id), outcome) in &case.kept.outcomes {
        histories.entry(tenant).or_default().push((outcome.version, message_id.as_str()));
    }
    for (tenant, mut history) in histories {
        history.sort_unstable();
        // From the last effect backwards: the earliest "accepted" among all later effects.
        let mut earliest: Option<(Duration, &str)> = None;
        for (_, id) in history.into_iter().rev() {
            let client = case.seen.clients.get(id).map(|client| (client.sent_at, client.accepted_at));
            let Some((sent_at, confirmed_at)) = client.or_else(|| replayed.get(id).copied()) else { continue };
            if let Some((accepted_at, later)) = earliest {
                finding.expect(accepted_at >= sent_at, || {
                    format!(
                        "{tenant}: {later} was accepted at {} ms, {id} sent at {} ms took effect before it",
                        accepted_at.as_millis(),
                        sent_at.as_millis()
                    )
                });
            }
            if let Some(accepted_at) = confirmed_at {
                earliest = Some(earliest.map_or((accepted_at, id), |known| known.min((accepted_at, id))));
            }
        }
    }
    finding
}
