//! Whether what operators were told is what happened: every outcome and every tenant against the model.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use tenantry_sim::tenantry::model::Tenant;
use tenantry_tests::{Panel, eventually};

use crate::kills::Kill;
use crate::load::{Confirmed, TENANTS, Tally};

/// When nobody is killed any more, everything confirmed has an outcome within this time: a lease that a dead consumer
/// held, the longest pauses before a retry, and the backlog on a slow disk.
const DRAIN_MAX: Duration = Duration::from_secs(60);

/// Statuses asked for at once.
const ASKED_AT_ONCE: usize = 32;

/// The outcome of every confirmed command, in their order.
pub(crate) async fn outcomes(panel: &Panel, confirmed: &[Confirmed]) -> Vec<Value> {
    let outcome = async |command: &Confirmed| {
        eventually(&format!("{} of {} ends", command.id, command.tenant), DRAIN_MAX, async || {
            let answer = panel.status(command.tenant, &command.id, 2000).await.ok()?;
            assert_ne!(answer.status, 404, "{}, which was confirmed, is lost", command.id);
            (answer.status == 200 && answer.body["status"] != "pending").then_some(answer.body)
        })
        .await
    };
    stream::iter(confirmed).map(outcome).buffered(ASKED_AT_ONCE).collect().await
}

/// Compares it all.
pub(crate) async fn verdict(panel: &Panel, confirmed: &[Confirmed], outcomes: &[Value], kills: &[Kill], tally: &Tally) {
    let ended: Vec<_> = confirmed.iter().zip(outcomes).collect();
    for (command, outcome) in &ended {
        assert!(matches!(outcome["status"].as_str(), Some("applied" | "rejected")), "{}: {outcome}", command.id);
        if let Some(seen) = &command.seen {
            assert_eq!(*outcome, seen, "{} had another outcome before", command.id);
        }
    }
    for tenant in TENANTS {
        let of_tenant = ended.iter().filter(|(command, _)| command.tenant == tenant).copied();
        let history: BTreeMap<_, _> = of_tenant.clone().map(|of| (of.1["version"].as_u64().unwrap_or(0), of)).collect();
        let versions: Vec<_> = history.keys().copied().collect();
        let expected: Vec<_> = (1..=of_tenant.count() as u64).collect();
        assert_eq!(versions, expected, "{tenant}: each command has a place of its own in the tenant's history");
        in_order_of_confirmation(&history);
        let state = replay(tenant, &history);
        equal_to_the_model(panel, tenant, versions.len(), &state).await;
    }
    the_kills_mattered(&ended, kills, tally);
}

type History<'a> = BTreeMap<u64, (&'a Confirmed, &'a Value)>;

/// Whoever waited for a confirmation before sending the next command may rely on their order.
fn in_order_of_confirmation(history: &History<'_>) {
    let mut later: Option<&Confirmed> = None;
    for (command, _) in history.values().rev() {
        if let Some(later) = later {
            let (first, second) = (&later.id, &command.id);
            let after = command.sent_at_ms <= later.confirmed_at_ms;
            assert!(after, "{first} was confirmed before {second} was sent, and took effect after it");
        }
        if later.is_none_or(|later| command.confirmed_at_ms < later.confirmed_at_ms) {
            later = Some(command);
        }
    }
}

/// The tenant as the model has it after `history`, which must have gone as the model says.
fn replay(tenant: &str, history: &History<'_>) -> Tenant {
    let mut state = Tenant::default();
    for (version, (command, outcome)) in history {
        let applied = outcome["status"] == "applied";
        assert_eq!(state.apply(&command.ask, None), applied, "{tenant} at {version}: {:?} was {outcome}", command.ask);
    }
    state
}

async fn equal_to_the_model(panel: &Panel, tenant: &str, version: usize, state: &Tenant) {
    for (part, field, value) in [
        ("limits", "limits", json!(state.limits)),
        ("entitlements", "entitlements", json!(state.entitlements)),
        ("credits", "credits_minor", json!(state.credits)),
    ] {
        let told = panel.get(&format!("/v1/tenants/{tenant}/{part}")).await.expect("an answer").body;
        let told = (&told["tenant_id"], &told["version"], &told[field]);
        let should = (&json!(tenant), &json!(version), &value);
        assert_eq!(told, should, "left: what {tenant} has; right: what it should have");
    }
}

/// A run in which every request was answered at once and every effect came before the kill would show nothing.
fn the_kills_mattered(ended: &[(&Confirmed, &Value)], kills: &[Kill], tally: &Tally) {
    let mut survivors: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for kill in kills {
        let survived = ended.iter().filter(|(command, outcome)| {
            command.confirmed_at_ms < kill.at_ms && outcome["decided_at_unix_ms"].as_i64() >= Some(kill.restarted_at_ms)
        });
        survivors.entry(kill.role).or_default().extend(survived.map(|(command, _)| command.id.as_str()));
    }
    let survivors: BTreeMap<_, _> = survivors.into_iter().map(|(role, ids)| (role, ids.len())).collect();
    let rejected = ended.iter().filter(|(_, outcome)| outcome["status"] == "rejected").count();
    println!("{} kills, {} commands, {rejected} of them rejected", kills.len(), ended.len());
    println!("confirmed before a kill, in effect after the restart: {survivors:?}");
    println!("{tally:?}");
    for role in ["broker", "ledger"] {
        assert!(survivors[role] > 0, "no confirmed command waited for its effect while the {role} was dead");
    }
    let count = |counter: &AtomicU64| counter.load(Relaxed);
    assert!(count(&tally.failed) > 0, "no request was turned away: {tally:?}");
    assert!(count(&tally.cut) + count(&tally.unknown) > 0, "no request was left without an answer: {tally:?}");
    let others = [&tally.duplicates, &tally.conflicts, &tally.forbidden, &tally.seen];
    assert!(rejected > 0 && others.map(count).iter().all(|count| *count > 0), "not all was tried: {tally:?}");
}
