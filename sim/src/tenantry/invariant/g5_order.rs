//! G5: one tenant's commands take effect in the order in which they were confirmed.
//!
//! Judged by the operators' clocks alone: if one command's "accepted" had come before another was sent, it must have
//! taken effect before it. Whatever the broker numbered them is no evidence.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Case, Finding};

pub(super) fn check(case: &Case<'_>) -> Finding {
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
            let Some(client) = case.seen.clients.get(id) else { continue };
            if let Some((accepted_at, later)) = earliest {
                finding.expect(accepted_at >= client.sent_at, || {
                    format!(
                        "{tenant}: {later} was accepted at {} ms, {id} sent at {} ms took effect before it",
                        accepted_at.as_millis(),
                        client.sent_at.as_millis()
                    )
                });
            }
            if let Some(accepted_at) = client.accepted_at {
                earliest = Some(earliest.map_or((accepted_at, id), |known| known.min((accepted_at, id))));
            }
        }
    }
    finding
}
