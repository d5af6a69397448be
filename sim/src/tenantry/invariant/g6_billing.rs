//! G6: limits, plans, entitlements, credits and suspensions equal an independent model's replay, in the ledger and over the
//! API; the books balance; and the ledger's own reconciliation, which runs all the while, has nothing to tell.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use tenantry_system::audit::AuditEntry;
use tenantry_system::ids::{MessageId, TenantId};
use tenantry_system::ledger::{Account, Outcome, Posting};

use super::{Case, Finding};
use crate::tenantry::model::{Ask, Tenant};

pub(super) fn check(case: &Case<'_>) -> Finding {
    let mut finding = Finding::new("G6-billing");
    let (mut histories, sealed_by) = (histories(case), sealed_by(case));
    for tenant in &case.cast.tenants {
        let mut model = Tenant::default();
        let history = histories.remove(tenant).unwrap_or_default();
        let of_tenant = (case.kept.states.contains_key(tenant), case.seen.tenants_by_api.contains_key(tenant));
        if history.is_empty() && of_tenant == (false, false) {
            continue;
        }
        for (message_id, outcome) in history {
            let Some(ask) = case.asked(message_id.as_str()) else {
                model.pass();
                continue;
            };
            let key = sealed_by.get(&(tenant, message_id)).copied();
            replay(&mut finding, &mut model, (tenant, message_id, outcome), ask, key);
        }
        let state = case.kept.states.get(tenant).cloned().unwrap_or_default();
        let text = |name: &tenantry_system::ids::Name| name.to_string();
        let limits: BTreeMap<_, _> = state.limits.iter().map(|(name, value)| (text(name), *value)).collect();
        finding.expect(limits == model.limits, || format!("{tenant}: limits {limits:?}, model {:?}", model.limits));
        let entitlements = state.entitlements.iter().map(text).collect();
        finding.expect(model.entitlements == entitlements, || {
            format!("{tenant}: entitlements {entitlements:?}, model {:?}", model.entitlements)
        });
        let carried: BTreeSet<_> = state.plan_entitlements.iter().map(text).collect();
        let plan = state.plan.as_ref().map(text);
        finding.expect((&plan, &carried) == (&model.plan, &model.carried()), || {
            format!("{tenant}: plan {plan:?} with {carried:?}, model {:?} with {:?}", model.plan, model.carried())
        });
        finding.expect(state.suspension.is_some() == model.suspended, || {
            format!("{tenant}: suspension {:?}, model {}", state.suspension, model.suspended)
        });
        balanced(&mut finding, case, tenant, &model);
        finding.expect(state.credits == model.credits, || {
            format!("{tenant}: credits {:?}, model {:?}", state.credits, model.credits)
        });
        let credentials: BTreeMap<_, _> =
            state.credentials.iter().map(|(name, kept)| (text(name), u64::from(kept.data_key.0))).collect();
        finding.expect(credentials == model.credentials, || {
            format!("{tenant}: credentials {credentials:?}, model {:?}", model.credentials)
        });
        let key = u64::from(state.data_key.0);
        finding.expect(key == model.key, || format!("{tenant}: data key {key}, model {}", model.key));
        if let Some(api) = case.seen.tenants_by_api.get(tenant) {
            let modelled = [json!(model.limits), json!(model.held()), json!(model.credits), json!(model.credentials)];
            finding.expect(*api == modelled, || format!("{tenant}: the API says {api:?}, the model {modelled:?}"));
        }
    }
    let told = &case.seen.reconciled;
    for _ in 0..told.cycles {
        finding.expect(true, String::new);
    }
    finding.violations.extend(told.discrepancies.iter().map(|drift| format!("reconciliation says: {drift}")));
    finding
}

/// Every tenant's outcomes, in their order.
fn histories<'c>(case: &'c Case<'_>) -> BTreeMap<&'c TenantId, Vec<(&'c MessageId, &'c Outcome)>> {
    let mut histories: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for ((tenant, message_id), outcome) in &case.kept.outcomes {
        histories.entry(tenant).or_default().push((message_id, outcome));
    }
    histories.values_mut().for_each(|history| history.sort_by_key(|(_, outcome)| outcome.version));
    histories
}

/// By which key each secret was sealed: only the message tells that the audit log has.
fn sealed_by<'c>(case: &'c Case<'_>) -> BTreeMap<(&'c TenantId, &'c MessageId), u64> {
    let key = |entry: &'c AuditEntry| {
        let body: serde_json::Value = serde_json::from_slice(&entry.body).unwrap_or_default();
        let key = body.pointer("/payload/secret/data_key").and_then(serde_json::Value::as_u64)?;
        Some(((&entry.tenant_id, &entry.message_id), key))
    };
    case.kept.audit.iter().filter_map(key).collect()
}

/// Compares one outcome with what the model does.
fn replay(
    finding: &mut Finding,
    model: &mut Tenant,
    (tenant, id, outcome): (&TenantId, &MessageId, &Outcome),
    ask: &Ask,
    key: Option<u64>,
) {
    if outcome.verdict.as_ref().is_err_and(|rejection| rejection.code == "forbidden") {
        // Whether it was is G2's affair; here it must have changed nothing.
        return model.pass();
    }
    let should = model.apply(ask, key);
    finding.expect(should == outcome.verdict.is_ok(), || {
        let verb = if should { "apply" } else { "reject" };
        format!("{tenant} {id}: the model would {verb} {ask:?}, the ledger has {:?}", outcome.verdict)
    });
}

/// The verdicts of a run that is not over: of each tenant up to the first that nobody can judge yet, such as a secret whose
/// key is not on record, or an id that was used for two bodies while its operators have no answer.
pub(super) fn beginning(case: &Case<'_>) -> Finding {
    let mut finding = Finding::new("G6-billing");
    let sealed_by = sealed_by(case);
    for (tenant, history) in histories(case) {
        let mut model = Tenant::default();
        for (message_id, outcome) in history {
            let id = message_id.as_str();
            let answered = case.seen.clients.get(id).is_some_and(|client| client.accepted_at.is_some());
            let Some(ask) = case.asked(id).filter(|_| answered && case.seen.commands.contains_key(id)) else { break };
            let key = sealed_by.get(&(tenant, message_id)).copied();
            if matches!(ask, Ask::Store { .. }) && key.is_none() {
                break;
            }
            replay(&mut finding, &mut model, (tenant, message_id, outcome), ask, key);
        }
    }
    finding
}

/// Each credit is in the journal, twice: what the tenant got, someone gave in the same transaction.
fn balanced(finding: &mut Finding, case: &Case<'_>, tenant: &TenantId, model: &Tenant) {
    let journal = case.kept.journals.get(tenant).map_or(&[][..], Vec::as_slice);
    let mut given = Vec::new();
    for transaction in journal {
        let mut sums = BTreeMap::new();
        for Posting { account, currency, amount_minor } in &transaction.postings {
            *sums.entry(currency.to_string()).or_insert(0) += amount_minor;
            if *account == Account::Credit {
                given.push((transaction.version, i128::from(*amount_minor), currency.to_string()));
            }
        }
        finding.expect(sums.values().all(|sum| *sum == 0), || {
            format!("{tenant}: the postings of version {} sum up to {sums:?}", transaction.version)
        });
    }
    let modelled = model.given.iter().map(|(version, amount, of)| (*version, i128::from(*amount), of.clone()));
    let modelled: Vec<_> = modelled.collect();
    finding.expect(given == modelled, || format!("{tenant}: credits {given:?} in the journal, model {modelled:?}"));
}
