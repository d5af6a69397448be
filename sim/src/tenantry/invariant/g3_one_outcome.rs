//! G3: every accepted command has exactly one outcome, applied or rejected, and every witness agrees. What operators send is
//! sound, so that none of it may end as a dead letter: those are the adversary's, and `letters` judges them.

use std::collections::BTreeMap;

use super::{Case, Finding};
use crate::tenantry::workload::Command;

/// Whether a body that was logged is the one that was sent, byte for byte; of a secret, that there is its ciphertext's hash.
fn same_body(logged: &[u8], sent: &[u8]) -> bool {
    let read = |bytes| serde_json::from_slice::<serde_json::Value>(bytes).unwrap_or_default();
    let (mut kept, mut asked) = (read(logged), read(sent));
    match (kept.pointer_mut("/payload/secret"), asked.pointer_mut("/payload/secret")) {
        (Some(kept_secret), Some(secret)) if kept_secret.get("sealed_sha256").is_some() => {
            (*kept_secret, *secret) = Default::default();
            kept == asked
        }
        _ => logged == sent,
    }
}

/// Whether what took effect did so once: no future makes a second time good.
pub(super) fn beginning(case: &Case<'_>) -> Finding {
    let mut finding = Finding::new("G3-one-outcome");
    for (id, effects) in &case.seen.effects {
        let asked = case.seen.commands.get(id).map(|command| &command.ask);
        let at: Vec<_> = effects.iter().map(|at| format!("{} ms", at.as_millis())).collect();
        finding.expect(effects.len() == 1, || format!("{id}, {asked:?}, took effect at {}", at.join(" and again at ")));
    }
    finding
}

pub(super) fn check(case: &Case<'_>) -> Finding {
    let mut finding = beginning(case);
    let outcomes_by_message = case.outcomes_by_message();
    for (id, client) in &case.seen.clients {
        let Some(command) = case.seen.commands.get(id) else { continue };
        if client.accepted_at.is_none() {
            continue;
        }
        let outcomes = outcomes_by_message.get(id.as_str()).map_or(&[][..], Vec::as_slice);
        finding.expect(outcomes.len() == 1, || {
            format!("{id}: {} outcomes, reported as {:?}", outcomes.len(), client.reported)
        });
        let [(tenant, outcome)] = outcomes[..] else { continue };
        finding.expect(*tenant == command.tenant, || format!("{id}: its outcome stands at tenant {tenant}"));
        let kept = if outcome.verdict.is_ok() { "applied" } else { "rejected" };
        let reported = client.reported.as_deref();
        finding.expect(reported == Some(kept), || format!("{id}: the ledger says {kept}, the API says {reported:?}"));
    }
    // A tenant's history has no gap and no double: its versions are 1, 2, 3, ...
    let mut versions: BTreeMap<_, Vec<u64>> = BTreeMap::new();
    for ((tenant, _), outcome) in &case.kept.outcomes {
        versions.entry(tenant).or_default().push(outcome.version);
    }
    for (tenant, mut versions) in versions {
        versions.sort_unstable();
        let odd = (1..).zip(&versions).find(|(should, is)| should != *is);
        finding.expect(odd.is_none(), || format!("{tenant}: its history goes wrong at (should be, is) {odd:?}"));
    }
    // The audit log has one entry for each outcome, and they say the same.
    let mut logged: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for entry in &case.kept.audit {
        logged.entry((entry.tenant_id.clone(), entry.message_id.clone())).or_default().push(entry);
    }
    for (key, outcome) in &case.kept.outcomes {
        let entries = logged.remove(key).unwrap_or_default();
        finding.expect(entries.len() == 1, || format!("{key:?}: {} audit entries", entries.len()));
        let code = outcome.verdict.as_ref().map_or_else(|rejection| rejection.code.as_str(), |_| "applied");
        let id = key.1.as_str();
        let Some(command) = case.seen.commands.get(id).or_else(|| case.forged(id)) else { continue };
        let ask = case.reused_first(&command.message_id).unwrap_or(&command.ask);
        let sent = Command { ask: ask.clone(), ..command.clone() };
        for entry in entries {
            let told = (&entry.user_id, entry.action.as_str(), entry.outcome.as_str());
            let should = (&command.operator, ask.wire().0, sent.body());
            let agrees = told == (should.0, should.1, code) && same_body(&entry.body, should.2.as_bytes());
            finding.expect(agrees, || format!("{key:?}: the audit log says {entry:?}, not {should:?} and {code}"));
        }
    }
    finding.forbid(!logged.is_empty(), || format!("audit entries of nothing in the ledger: {:?}", logged.keys()));
    finding
}
