//! Ids that were chosen to be mistaken for each other: either the edge refuses one of a pair, or every store keeps the two
//! apart.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use crate::action::Permission;
use crate::audit::EmbeddedAudit;
use crate::broker::{Broker, EmbeddedBroker, Ending, Limits, Published, Settlement, Standing};
use crate::capability::World;
use crate::grant::Envelope;
use crate::ids::{MessageId, TenantId, UserId};
use crate::ledger::{Applied, EmbeddedLedger, Ledger, PauseGeneration, Run, Work};
use crate::rate_limit::{Limiter, Rate, RateLimits};
use crate::testing::{Bench, credit, message_id, tenant};

/// Well-formed ids that begin with, end with or read like one another.
const NEIGHBOURS: &[&str] =
    &["t", "t-", "t--", "-t", "-", "--", "t-1", "t-10", "t-1-0", "t-01", "t1", "t10", "1", "10", "0"];

/// What an attacker makes of an id so that someone down the line takes it for another.
fn disguises(id: &str) -> Vec<String> {
    let first = &id[..1];
    vec![
        id.to_uppercase(),
        format!(" {id}"),
        format!("{id} "),
        format!("{id}."),
        format!("{id}\0"),
        format!("{id}\0x"),
        format!("{id}\n"),
        format!("{id}/"),
        format!("./{id}"),
        format!("../{id}"),
        format!("x/../{id}"),
        format!("{id}\\x"),
        format!("%{:02x}{}", first.as_bytes()[0], &id[1..]),
        format!("{id}%00"),
        format!("{id}' or '1'='1"),
        format!("{id}; drop table limits"),
        format!("{id}--;"),
        format!("{id}/*"),
        format!("{id}_"),
        format!("{id}%"),
        format!("{id}*"),
        format!("{id}:"),
        format!("{id}|"),
        format!("{id}\u{200b}"),
        format!("{id}\u{feff}"),
        format!("\u{202e}{id}"),
        format!("{id}\u{301}"),
        id.replace('-', "\u{2010}") + "\u{2010}",
        id.replace('t', "\u{0442}") + "\u{0442}",
        id.replace('1', "\u{ff11}") + "\u{ff11}",
        format!("{id}\u{e9}"),
        format!("{id}e\u{301}"),
        format!("{id}{}", "x".repeat(64)),
    ]
}

#[test]
fn every_disguise_of_an_id_is_refused_at_the_edge() {
    for id in NEIGHBOURS {
        assert_eq!(tenant(id).as_str(), *id);
        for disguise in disguises(id).iter().filter(|disguise| disguise != id) {
            let digits = id.chars().all(|c| !c.is_ascii_lowercase()) && *disguise == id.to_uppercase();
            assert!(digits || TenantId::parse(disguise).is_err(), "{disguise:?} passes for a tenant");
            assert!(digits || MessageId::parse(disguise).is_err(), "{disguise:?} passes for a message");
        }
    }
}

fn ids() -> impl Strategy<Value = String> {
    prop_oneof![
        proptest::sample::select(NEIGHBOURS).prop_map(str::to_owned),
        "[t1-]{1,4}",
        "[a-z0-9-]{1,63}",
        (proptest::sample::select(NEIGHBOURS), any::<proptest::sample::Index>()).prop_map(|(id, index)| {
            let all = disguises(id);
            all[index.index(all.len())].clone()
        }),
        any::<String>(),
    ]
}

proptest! {
    /// What is parsed is the text itself, never a repaired form of it: so two texts are one id only if they are equal.
    #[test]
    fn two_texts_are_one_id_only_if_they_are_equal(one in ids(), other in ids()) {
        if let (Ok(one_id), Ok(other_id)) = (TenantId::parse(&one), TenantId::parse(&other)) {
            prop_assert_eq!(one_id.as_str(), one.as_str());
            prop_assert_eq!(one_id == other_id, one == other);
        }
    }
}

fn limits() -> BTreeMap<&'static str, u64> {
    (1..).zip(NEIGHBOURS).map(|(amount, id)| (*id, amount)).collect()
}

async fn ledger_with_all(world: &World, bench: &Bench) -> EmbeddedLedger {
    let ledger = EmbeddedLedger::open(world, bench.keys()).await.unwrap();
    ledger.learn(bench.authority.in_force_now(), tokio::time::Instant::now());
    for (name, amount) in limits() {
        // One message id in every tenant: it is the key of deduplication within a tenant only.
        let work = Work {
            command: bench.credit(name, "t-1", amount).await,
            decision: bench.permit(name, Permission::IssueCredit),
            position: crate::broker::Position { epoch: 1, sequence: amount },
        };
        let applied = ledger.apply(&Run::new(vec![work]).unwrap()).await.unwrap();
        assert!(matches!(applied[..], [Applied::Now(_)]), "{name}: {applied:?}");
    }
    ledger
}

#[tokio::test]
async fn in_the_ledger_and_the_audit_log_each_has_its_own_and_nothing_else() {
    let bench = Bench::with_tenants(NEIGHBOURS).await;
    let ledger = ledger_with_all(&bench.world, &bench).await;
    ledger.pause(&bench.pause("t-1").await, PauseGeneration(1)).await.unwrap();
    for (name, amount) in limits() {
        let read = bench.read(name).await;
        let state = ledger.state(&read).await.unwrap();
        assert_eq!((state.version, &state.credits), (1, &BTreeMap::from([("EUR".to_owned(), amount)])), "{name}");
        assert_eq!(state.pause_generation.is_paused(), name == "t-1", "{name}");
        let known = ledger.outcome(&read, &message_id("t-1"), Duration::ZERO).await.unwrap();
        assert_eq!(known.unwrap().version, 1, "{name}");
        assert_eq!(ledger.outcome(&read, &message_id("t-10"), Duration::ZERO).await.unwrap(), None, "{name}");
    }
    let (ledger, audit) = (Arc::new(ledger), Arc::new(EmbeddedAudit::open(&bench.world).await.unwrap()));
    let relaying = tokio::spawn(crate::audit::relay(ledger.outgoing(), audit.clone(), bench.world.clock.clone()));
    while audit.len().unwrap() < NEIGHBOURS.len() as u64 {
        tokio::task::yield_now().await;
    }
    relaying.abort();
    let logged = audit.entries().unwrap().into_iter().map(|entry| {
        assert_eq!(entry.body, credit(entry.tenant_id.as_str(), "t-1", limits()[entry.tenant_id.as_str()]));
        entry.tenant_id.to_string()
    });
    assert_eq!(logged.collect::<BTreeSet<_>>().len(), NEIGHBOURS.len());
}

#[tokio::test(start_paused = true)]
async fn in_the_broker_each_has_its_own_lane_dedup_pause_and_dead_letters() {
    let bench = Bench::new().await;
    let broker = EmbeddedBroker::open(&bench.world, Limits::default()).await.unwrap();
    for name in NEIGHBOURS {
        for id in NEIGHBOURS {
            // The body tells whose it is: a duplicate or a conflict here would be another tenant's, or another id's.
            let envelope = Envelope { body: format!("{name}/{id}").into(), grant: "grant".into(), trace: None };
            let published = broker.publish(&tenant(name), &message_id(id), envelope).await.unwrap();
            assert!(matches!(published, Published::Accepted { .. }), "{name}/{id}: {published:?}");
        }
    }
    broker.pause(&tenant("t-1"), PauseGeneration(1)).await.unwrap();
    let mut seen: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    loop {
        let deliveries = broker.fetch(64, Duration::ZERO).await.unwrap();
        if deliveries.is_empty() {
            break;
        }
        for delivery in deliveries {
            let name = delivery.lease.tenant.to_string();
            for message in &delivery.messages {
                assert_eq!(message.envelope.body, format!("{name}/{}", message.message_id));
                assert!(seen.entry(name.clone()).or_default().insert(message.message_id.to_string()));
            }
            // Of `t` everything is put aside, of the others everything is done.
            let ended = delivery.messages.iter().map(|_| match name.as_str() {
                "t" => Ending::DeadLetter { reason: "poison".into() },
                _ => Ending::Done,
            });
            let settlement = Settlement { ended: ended.collect(), ..Settlement::default() };
            assert!(broker.settle(&delivery.lease, settlement).await.unwrap());
        }
    }
    assert_eq!(seen.len(), NEIGHBOURS.len() - 1, "only the paused tenant got nothing");
    assert!(!seen.contains_key("t-1") && seen.values().all(|ids| ids.len() == NEIGHBOURS.len()), "{seen:?}");
    for name in NEIGHBOURS {
        for id in NEIGHBOURS {
            let standing = broker.standing(&tenant(name), &message_id(id)).await.unwrap().unwrap().standing;
            let right = match *name {
                "t" => matches!(standing, Standing::DeadLettered { .. }),
                "t-1" => matches!(standing, Standing::Pending),
                _ => matches!(standing, Standing::Settled),
            };
            assert!(right, "{name}/{id}: {standing:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn each_has_a_rate_limit_bucket_of_its_own() {
    let one = Rate::new(1, 1);
    let limiter = Limiter::new(&RateLimits { tenant: one, user: one, source: one });
    tokio::time::advance(Duration::from_secs(2)).await;
    for name in NEIGHBOURS {
        let user = UserId::parse(name).unwrap();
        assert!(limiter.command(&tenant(name), &user).is_ok(), "{name} pays for another");
        assert!(limiter.command(&tenant(name), &user).is_err(), "{name} has no limit");
    }
}
