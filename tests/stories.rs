//! The two example tests of the design that Tenantry comes from (requirements T1 and T2), under their names, through the
//! whole system: HTTP, producer, auth, broker, consumer, ledger and audit, each on its own simulated host.

use serde_json::{Value, json};
use tenantry_reports::verdict::Verdict;
use tenantry_sim::engine::dice::Dice;
use tenantry_sim::tenantry::canary;
use tenantry_sim::tenantry::cast::{Cast, Part};
use tenantry_sim::tenantry::model::Ask;
use tenantry_sim::tenantry::run::{Ended, Setup};
use tenantry_sim::tenantry::workload::{Act, Command, Forgery, Trick};
use tenantry_system::ids::{TenantId, UserId};

const SEEDS: std::ops::RangeInclusive<u64> = 1..=5;

/// What tenant B's limit is before anyone reaches for it.
const ORIGINAL_BILLING_LIMIT_B: u64 = 5000;

/// user-a administers tenant A, user-b tenant B.
fn cast() -> Cast {
    Cast::of(&[("user-a", "tenant-a", Part::Admin), ("user-b", "tenant-b", Part::Admin)])
}

fn command(id: &str, user: &str, tenant: &str, ask: Ask) -> Command {
    let (operator, tenant) = (UserId::parse(user).unwrap(), TenantId::parse(tenant).unwrap());
    let allowed = ask.allowed(cast().part(&operator, &tenant));
    Command { message_id: id.into(), operator, tenant, ask, allowed }
}

fn api_requests(new_limit: u64) -> Ask {
    Ask::UpdateLimit { limit_type: "api_requests".into(), new_limit, expected_version: None }
}

fn every_ask(seed: u64) -> [Ask; 10] {
    let secret = format!("{}-of-nobody", canary::prefix(&Dice::new(seed)));
    [
        api_requests(10_000),
        Ask::Grant { entitlement: "sso".into() },
        Ask::Revoke { entitlement: "sso".into() },
        Ask::Credit { amount_minor: 100, currency: "EUR".into() },
        Ask::Store { credential: "stripe".into(), secret },
        Ask::Rotate,
        Ask::Erase,
        Ask::ChangePlan { plan: "business".into() },
        Ask::Suspend,
        Ask::Resume,
    ]
}

/// How tenant B came to its limit: two commands, so that there is an order to keep.
fn history_of_b() -> Vec<(u64, Act)> {
    let set = |id, limit| Act::Send(command(id, "user-b", "tenant-b", api_requests(limit)));
    vec![(0, set("m-b-1", 1)), (200, set("m-b-2", ORIGINAL_BILLING_LIMIT_B))]
}

/// What the API reads back of a tenant at the end.
fn limits(ended: &Ended, tenant: &str) -> Value {
    let path = format!("/v1/tenants/{tenant}/limits ");
    let read = ended.trace.iter().rfind(|entry| entry.kind == "api.read" && entry.detail.starts_with(&path));
    let read = &read.expect("the limits were read back").detail[path.len()..];
    serde_json::from_str(read).expect("the API answers JSON")
}

#[test]
fn test_cross_tenant_access_attempt() {
    assert_eq!(tenantry_system::action::REGISTRY.len(), every_ask(1).len(), "an action is not tried here");
    for seed in SEEDS {
        for ask in every_ask(seed) {
            let attempt = command("m-1", "user-a", "tenant-b", ask.clone());
            assert!(!attempt.allowed);
            // Past the producer's authorization too: a genuine grant for tenant A beside a body for tenant B.
            let forged = |trick| Forgery {
                command: Command { message_id: format!("f-{trick:?}").to_lowercase(), ..attempt.clone() },
                own_tenant: TenantId::parse("tenant-a").unwrap(),
                trick,
            };
            let mut acts = history_of_b();
            acts.push((400, Act::Send(attempt.clone())));
            // A forger who puts a secret in clear into the broker betrays only their own: G9 would say so of the canary.
            let tricks = [Trick::OthersGrant, Trick::AlienSignature, Trick::WrongLane, Trick::SwappedBody];
            let tricks = if matches!(ask, Ask::Store { .. }) { &[][..] } else { &tricks[..] };
            acts.extend((500..).step_by(100).zip(tricks).map(|(at, trick)| (at, Act::Forge(forged(*trick)))));
            let ended = Setup::story("cross_tenant_access_attempt", seed, cast(), acts).run(true);
            let record = &ended.finished.record;
            assert_eq!(record.verdict, Verdict::Pass, "seed {seed}, {ask:?}: {record:#?}");
            assert_eq!(record.commands.attempts_refused, 1, "seed {seed}, {ask:?}");
            assert_eq!(
                (record.commands.applied, record.commands.dead_lettered),
                (2, tricks.len() as u64),
                "seed {seed}, {ask:?}"
            );
            assert!(ended.trace.iter().any(|entry| entry.kind == "api.answer" && entry.detail == "m-1 403"));
            let (limits_b, versions) =
                (json!({ "api_requests": ORIGINAL_BILLING_LIMIT_B }), json!({ "api_requests": 2 }));
            let expected = json!({
                "tenant_id": "tenant-b", "version": 2, "limits": limits_b, "limit_versions": versions,
            });
            assert_eq!(limits(&ended, "tenant-b"), expected, "seed {seed}, {ask:?}");
        }
    }
}

#[test]
fn test_billing_limit_update_tenant_a() {
    for seed in SEEDS {
        let mut acts = history_of_b();
        acts.push((400, Act::Send(command("m-1", "user-a", "tenant-a", api_requests(10_000)))));
        let ended = Setup::story("billing_limit_update_tenant_a", seed, cast(), acts).run(true);
        let record = &ended.finished.record;
        assert_eq!(record.verdict, Verdict::Pass, "seed {seed}: {record:#?}");
        let expected = |tenant: &str, limit: u64, version: u64| {
            let (limits, versions) = (json!({ "api_requests": limit }), json!({ "api_requests": version }));
            json!({ "tenant_id": tenant, "version": version, "limits": limits, "limit_versions": versions })
        };
        assert_eq!(limits(&ended, "tenant-a"), expected("tenant-a", 10_000, 1), "seed {seed}");
        assert_eq!(limits(&ended, "tenant-b"), expected("tenant-b", ORIGINAL_BILLING_LIMIT_B, 2), "seed {seed}");
    }
}
