//! G6, of dry runs: where nothing else of the tenant's had its outcome in between, the command does exactly what was
//! announced. What the announcement itself may have changed, the model of G6 and the witnesses of G1 and G3 would see.

use serde_json::Value;

use super::{Case, Finding};

pub(super) fn check(case: &Case<'_>) -> Finding {
    let mut finding = Finding::new("G6-dry-run");
    let outcomes = case.outcomes_by_message();
    for (id, announced) in &case.seen.announced {
        // Another body under its id, or a right that is gone: it is not the command that was tried.
        if case.reused_first(id).is_some() {
            continue;
        }
        let Some([(tenant, outcome)]) = outcomes.get(id.as_str()).map(Vec::as_slice) else { continue };
        finding.expect(announced["tenant_id"] == tenant.as_str(), || {
            format!("{id} of {tenant} was announced for {}", announced["tenant_id"])
        });
        if announced["version"] != outcome.version - 1 || announced["rules_version"] != outcome.rules_version {
            continue;
        }
        let done = match &outcome.verdict {
            Err(rejection) if rejection.code == "forbidden" => continue,
            Ok(changes) => ("apply", unsealed(serde_json::to_value(changes).unwrap_or_default())),
            Err(rejection) => ("reject", Value::from(rejection.code.clone())),
        };
        let told = match announced["would"].as_str() {
            Some("apply") => ("apply", announced["changes"].clone()),
            Some("reject") => ("reject", announced["reason"]["code"].clone()),
            _ => ("nothing", Value::Null),
        };
        finding.expect(told == done, || format!("{id} of {tenant}: {told:?} was announced, and {done:?} was done"));
    }
    finding
}

/// Without the hash of a ciphertext, which is not known before there is one.
fn unsealed(mut changes: Value) -> Value {
    for change in changes.as_array_mut().into_iter().flatten() {
        if let Some(hash) = change.pointer_mut("/store_credential/sealed_sha256") {
            *hash = "".into();
        }
    }
    changes
}
