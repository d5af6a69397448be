//! What every broker must do, whatever engine stands behind the trait: one suite, run against each.
//!
//! Time is tokio's and paused, so that leases end when the test says so. What an engine promises beyond the trait - that a
//! confirm survives a crash - its own tests show.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{advance, sleep};

use super::{Again, Broker, Delivery, Ending, Limits, MessageStatus, Published, Settlement, Standing, Triage, Triaged};
use crate::grant::Envelope;
use crate::ids::UserId;
use crate::ledger::PauseGeneration;
use crate::message::body_sha256;
use crate::testing::{Bench, message_id, tenant};

/// A broker that keeps nothing yet and works by [`Limits::default`].
pub(super) type Subject = Arc<dyn Broker>;

const NO_WAIT: Duration = Duration::ZERO;

fn envelope(body: &str) -> Envelope {
    Envelope { body: body.to_owned().into(), grant: "grant".into(), trace: None }
}

async fn publish(broker: &Subject, name: &str, id: &str) -> u64 {
    match broker.publish(&tenant(name), &message_id(id), envelope(id)).await.unwrap() {
        Published::Accepted { sequence } => sequence,
        other => panic!("{name} {id}: {other:?}"),
    }
}

/// What can be had now, as "tenant: id id".
async fn fetched(broker: &Subject, max: usize) -> (Vec<String>, Vec<Delivery>) {
    let deliveries = broker.fetch(max, NO_WAIT).await.unwrap();
    let tell = |delivery: &Delivery| {
        let ids: Vec<_> = delivery.messages.iter().map(|message| message.message_id.to_string()).collect();
        format!("{}: {}", delivery.lease.tenant, ids.join(" "))
    };
    (deliveries.iter().map(tell).collect(), deliveries)
}

fn done(count: usize) -> Settlement {
    Settlement { ended: vec![Ending::Done; count], ..Settlement::default() }
}

fn dead(reason: &str) -> Settlement {
    Settlement { ended: vec![Ending::DeadLetter { reason: reason.into() }], ..Settlement::default() }
}

async fn standing(broker: &Subject, name: &str, id: &str) -> Option<Standing> {
    let known = broker.standing(&tenant(name), &message_id(id)).await.unwrap();
    known.map(|known| known.standing)
}

/// Runs the whole suite; each part gets a broker of its own.
pub(super) async fn conforms(make: impl AsyncFn() -> (Bench, Subject)) {
    macro_rules! run {
        ($($part:ident)*) => {$({
            let (_bench, broker) = make().await;
            $part(broker).await;
        })*};
    }
    run!(
        the_same_message_again_changes_nothing_and_another_body_under_its_id_is_refused
        a_tenants_messages_go_out_in_order_and_one_run_at_a_time
        what_is_not_dealt_with_comes_again_before_anything_behind_it
        a_pause_that_the_consumer_asks_for_is_kept
        a_lease_that_ran_out_settles_nothing_and_the_next_does
        a_dead_letter_says_why_and_lets_the_next_message_pass
        a_replayed_letter_waits_again_at_the_end_with_its_bytes_and_a_new_grant
        what_is_no_letter_any_more_is_not_replayed_and_stands_as_it_was
        a_discarded_letter_stays_known_for_good
        nobody_deals_with_another_letter_than_they_looked_at
        letters_are_listed_by_tenant_page_by_page
        a_paused_tenant_keeps_its_messages_and_loses_its_leases
        no_tenant_waits_for_another
        a_fetch_waits_for_what_comes
        whatever_is_given_back_everything_is_settled_once_and_in_order
    );
}

async fn the_same_message_again_changes_nothing_and_another_body_under_its_id_is_refused(broker: Subject) {
    let first = publish(&broker, "acme", "m-1").await;
    let second = publish(&broker, "acme", "m-2").await;
    assert!(first < second, "{second} came after {first}");
    let again = |body: &'static str| {
        let broker = broker.clone();
        async move { broker.publish(&tenant("acme"), &message_id("m-1"), envelope(body)).await.unwrap() }
    };
    assert_eq!(again("m-1").await, Published::Duplicate { sequence: first });
    assert_eq!(again("other").await, Published::Conflict);
    // The same id of another tenant is another message.
    publish(&broker, "globex", "m-1").await;
    let (_, deliveries) = fetched(&broker, 9).await;
    for delivery in &deliveries {
        assert!(broker.settle(&delivery.lease, done(delivery.messages.len())).await.unwrap());
    }
    // Settled is not forgotten.
    assert_eq!(again("m-1").await, Published::Duplicate { sequence: first });
    assert_eq!(again("other").await, Published::Conflict);
    assert!(fetched(&broker, 9).await.0.is_empty());
    assert_eq!(standing(&broker, "acme", "m-1").await, Some(Standing::Settled));
    assert_eq!(standing(&broker, "acme", "m-3").await, None);
}

async fn a_tenants_messages_go_out_in_order_and_one_run_at_a_time(broker: Subject) {
    for id in ["m-1", "m-2", "m-3"] {
        publish(&broker, "acme", id).await;
    }
    let (told, run) = fetched(&broker, 2).await;
    assert_eq!(told, ["acme: m-1 m-2"]);
    assert!(run[0].messages[0].position < run[0].messages[1].position);
    assert_eq!(run[0].messages[1].envelope, envelope("m-2"));
    assert_eq!(standing(&broker, "acme", "m-2").await, Some(Standing::Pending));
    assert!(fetched(&broker, 9).await.0.is_empty(), "two runs of one tenant were out");
    assert!(broker.settle(&run[0].lease, done(2)).await.unwrap());
    assert!(!broker.settle(&run[0].lease, done(2)).await.unwrap(), "a lease settled twice");
    assert_eq!(fetched(&broker, 9).await.0, ["acme: m-3"]);
}

async fn what_is_not_dealt_with_comes_again_before_anything_behind_it(broker: Subject) {
    for id in ["m-1", "m-2", "m-3"] {
        publish(&broker, "acme", id).await;
    }
    let (_, run) = fetched(&broker, 9).await;
    let again = Again { reason: "the ledger is down".into(), after_ms: None };
    let half = Settlement { ended: vec![Ending::Done], again };
    assert!(broker.settle(&run[0].lease, half).await.unwrap());
    publish(&broker, "acme", "m-4").await;
    assert!(fetched(&broker, 9).await.0.is_empty(), "it came again at once");
    advance(Limits::default().backoff_min * 2).await;
    let (told, run) = fetched(&broker, 9).await;
    assert_eq!(told, ["acme: m-2 m-3 m-4"]);
    let attempts: Vec<_> = run[0].messages.iter().map(|message| message.attempt).collect();
    assert_eq!(attempts, [2, 2, 1]);
}

async fn a_pause_that_the_consumer_asks_for_is_kept(broker: Subject) {
    publish(&broker, "acme", "m-1").await;
    let (_, run) = fetched(&broker, 9).await;
    let again = Again { reason: "too fast".into(), after_ms: Some(3_000) };
    assert!(broker.settle(&run[0].lease, Settlement { ended: Vec::new(), again }).await.unwrap());
    advance(Duration::from_millis(2_990)).await;
    assert!(fetched(&broker, 9).await.0.is_empty());
    advance(Duration::from_millis(20)).await;
    assert_eq!(fetched(&broker, 9).await.0, ["acme: m-1"]);
}

async fn a_lease_that_ran_out_settles_nothing_and_the_next_does(broker: Subject) {
    publish(&broker, "acme", "m-1").await;
    let (_, early) = fetched(&broker, 9).await;
    advance(Limits::default().lease).await;
    assert!(fetched(&broker, 9).await.0.is_empty(), "it came again at once");
    advance(Limits::default().backoff_max).await;
    let (told, late) = fetched(&broker, 9).await;
    assert_eq!((told, late[0].messages[0].attempt), (vec!["acme: m-1".to_owned()], 2));
    for settlement in [done(1), Settlement::again("too late"), dead("too late")] {
        assert!(
            !broker.settle(&early[0].lease, settlement).await.unwrap(),
            "a late settlement settled another's lease"
        );
    }
    assert_eq!(standing(&broker, "acme", "m-1").await, Some(Standing::Pending));
    assert!(broker.settle(&late[0].lease, done(1)).await.unwrap());
}

async fn a_dead_letter_says_why_and_lets_the_next_message_pass(broker: Subject) {
    publish(&broker, "acme", "m-1").await;
    publish(&broker, "acme", "m-2").await;
    let (_, run) = fetched(&broker, 1).await;
    assert!(broker.settle(&run[0].lease, dead("unreadable")).await.unwrap());
    let reason = "unreadable".to_owned();
    assert_eq!(standing(&broker, "acme", "m-1").await, Some(Standing::DeadLettered { reason }));
    let again = broker.publish(&tenant("acme"), &message_id("m-1"), envelope("m-1")).await.unwrap();
    assert!(matches!(again, Published::Duplicate { .. }), "{again:?}");
    assert_eq!(fetched(&broker, 9).await.0, ["acme: m-2"]);
}

/// Publishes `id` and puts it aside.
async fn put_aside(broker: &Subject, name: &str, id: &str) {
    publish(broker, name, id).await;
    let (_, run) = fetched(broker, 1).await;
    assert!(broker.settle(&run[0].lease, dead("unreadable")).await.unwrap());
}

/// What someone who has looked at the letter decides about it.
async fn looked(broker: &Subject, name: &str, id: &str) -> Triage {
    let letter = broker.dead_letter(&tenant(name), &message_id(id)).await.unwrap().expect("a dead letter");
    let (by, reason) = (UserId::parse("bob").unwrap(), "it was the other team's outage".to_owned());
    Triage { by, reason, sequence: letter.position.sequence, body_sha256: body_sha256(&letter.envelope.body) }
}

async fn replay(broker: &Subject, name: &str, id: &str, triage: &Triage) -> Triaged {
    broker.replay(&tenant(name), &message_id(id), triage, "bobs grant".into()).await.unwrap()
}

async fn discard(broker: &Subject, name: &str, id: &str, triage: &Triage) -> Triaged {
    broker.discard(&tenant(name), &message_id(id), triage).await.unwrap()
}

async fn a_replayed_letter_waits_again_at_the_end_with_its_bytes_and_a_new_grant(broker: Subject) {
    put_aside(&broker, "acme", "m-1").await;
    let before = publish(&broker, "acme", "m-2").await;
    let triage = looked(&broker, "acme", "m-1").await;
    let Triaged::Done { sequence } = replay(&broker, "acme", "m-1", &triage).await else { panic!("not replayed") };
    assert!(sequence > before, "it came in between, at {sequence}");
    assert_eq!(broker.dead_letter(&tenant("acme"), &message_id("m-1")).await.unwrap(), None, "it is still there, too");
    assert_eq!(standing(&broker, "acme", "m-1").await, Some(Standing::Pending));
    let again = broker.publish(&tenant("acme"), &message_id("m-1"), envelope("m-1")).await.unwrap();
    assert_eq!(again, Published::Duplicate { sequence });
    let (told, run) = fetched(&broker, 9).await;
    assert_eq!(told, ["acme: m-2 m-1"]);
    let replayed = &run[0].messages[1];
    assert_eq!((&replayed.envelope.body[..], &*replayed.envelope.grant), (&b"m-1"[..], "bobs grant"));
    assert_eq!((replayed.position.sequence, replayed.attempt), (sequence, 2), "its deliveries count on");
    assert!(broker.settle(&run[0].lease, done(2)).await.unwrap());
    assert_eq!(standing(&broker, "acme", "m-1").await, Some(Standing::Settled));
}

async fn what_is_no_letter_any_more_is_not_replayed_and_stands_as_it_was(broker: Subject) {
    put_aside(&broker, "acme", "m-1").await;
    let triage = looked(&broker, "acme", "m-1").await;
    let stands = async |as_what: Option<Standing>| {
        for triaged in [replay(&broker, "acme", "m-1", &triage).await, discard(&broker, "acme", "m-1", &triage).await] {
            assert_eq!(triaged, Triaged::Stands(as_what.clone()));
        }
    };
    assert!(matches!(replay(&broker, "acme", "m-1", &triage).await, Triaged::Done { .. }));
    stands(Some(Standing::Pending)).await;
    let (told, run) = fetched(&broker, 9).await;
    assert_eq!(told, ["acme: m-1"], "it waits twice");
    stands(Some(Standing::Pending)).await;
    assert!(broker.settle(&run[0].lease, done(1)).await.unwrap());
    stands(Some(Standing::Settled)).await;
    assert!(fetched(&broker, 9).await.0.is_empty(), "it came again");
    // The same id of another tenant is another's, and there is none.
    assert_eq!(replay(&broker, "globex", "m-1", &triage).await, Triaged::Stands(None));
}

async fn a_discarded_letter_stays_known_for_good(broker: Subject) {
    put_aside(&broker, "acme", "m-1").await;
    let triage = looked(&broker, "acme", "m-1").await;
    let Triaged::Done { sequence } = discard(&broker, "acme", "m-1", &triage).await else { panic!("not discarded") };
    assert_eq!(sequence, triage.sequence);
    let discarded = || Some(Standing::Discarded { reason: triage.reason.clone() });
    assert_eq!(standing(&broker, "acme", "m-1").await, discarded());
    assert_eq!(discard(&broker, "acme", "m-1", &triage).await, Triaged::Stands(discarded()));
    assert_eq!(replay(&broker, "acme", "m-1", &triage).await, Triaged::Stands(discarded()));
    for (body, answer) in [("m-1", Published::Duplicate { sequence }), ("other", Published::Conflict)] {
        let published = broker.publish(&tenant("acme"), &message_id("m-1"), envelope(body)).await.unwrap();
        assert_eq!(published, answer);
    }
    assert_eq!(standing(&broker, "acme", "m-1").await, discarded());
    assert!(fetched(&broker, 9).await.0.is_empty(), "it came back");
    assert_eq!(broker.dead_letters(&tenant("acme"), None, 9).await.unwrap(), []);
}

async fn nobody_deals_with_another_letter_than_they_looked_at(broker: Subject) {
    put_aside(&broker, "acme", "m-1").await;
    let triage = looked(&broker, "acme", "m-1").await;
    let letter = || Triaged::Stands(Some(Standing::DeadLettered { reason: "unreadable".into() }));
    let another = Triage { body_sha256: [7; 32], ..triage.clone() };
    assert_eq!(replay(&broker, "acme", "m-1", &another).await, letter());
    assert_eq!(discard(&broker, "acme", "m-1", &another).await, letter());
    // Replayed and dead again, it is another letter: what was asked of the first comes too late.
    assert!(matches!(replay(&broker, "acme", "m-1", &triage).await, Triaged::Done { .. }));
    let (_, run) = fetched(&broker, 1).await;
    assert!(broker.settle(&run[0].lease, dead("unreadable")).await.unwrap());
    assert_eq!(replay(&broker, "acme", "m-1", &triage).await, letter());
    assert_eq!(discard(&broker, "acme", "m-1", &triage).await, letter());
    let anew = looked(&broker, "acme", "m-1").await;
    assert!(matches!(replay(&broker, "acme", "m-1", &anew).await, Triaged::Done { .. }));
}

async fn letters_are_listed_by_tenant_page_by_page(broker: Subject) {
    for id in ["m-1", "m-2", "m-3"] {
        put_aside(&broker, "acme", id).await;
        put_aside(&broker, "acme-2", id).await;
    }
    let page = async |after: Option<&str>, max| {
        let after = after.map(message_id);
        let page = broker.dead_letters(&tenant("acme"), after.as_ref(), max).await.unwrap();
        page.iter().map(|letter| letter.message_id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(page(None, 2).await, ["m-1", "m-2"]);
    assert_eq!(page(Some("m-2"), 2).await, ["m-3"]);
    assert!(page(Some("m-3"), 2).await.is_empty());
    let letter = broker.dead_letters(&tenant("acme"), None, 1).await.unwrap().remove(0);
    assert_eq!((letter.reason.as_str(), letter.deliveries, letter.user), ("unreadable", 1, None));
    let whole = broker.dead_letter(&tenant("acme"), &message_id("m-1")).await.unwrap().unwrap();
    assert_eq!((letter.position, letter.body_sha256), (whole.position, body_sha256(&whole.envelope.body)));
}

async fn a_paused_tenant_keeps_its_messages_and_loses_its_leases(broker: Subject) {
    publish(&broker, "acme", "m-1").await;
    let (_, run) = fetched(&broker, 9).await;
    broker.pause(&tenant("acme"), PauseGeneration(1)).await.unwrap();
    assert!(!broker.settle(&run[0].lease, done(1)).await.unwrap(), "a lease of a paused tenant held");
    publish(&broker, "acme", "m-2").await;
    publish(&broker, "globex", "m-1").await;
    advance(Limits::default().lease * 2).await;
    assert_eq!(fetched(&broker, 9).await.0, ["globex: m-1"]);
    // Saying it twice is saying it once.
    broker.pause(&tenant("acme"), PauseGeneration(1)).await.unwrap();
    broker.pause(&tenant("acme"), PauseGeneration(2)).await.unwrap();
    // A pause that comes late was overruled before, and is told so.
    let stands = broker.pause(&tenant("acme"), PauseGeneration(1)).await.unwrap();
    assert_eq!(stands, PauseGeneration(2));
    assert_eq!(fetched(&broker, 9).await.0, ["acme: m-1 m-2"]);
}

async fn no_tenant_waits_for_another(broker: Subject) {
    for index in 0..200 {
        publish(&broker, "flood", &format!("m-{index}")).await;
    }
    publish(&broker, "quiet", "m-1").await;
    let (told, flood) = fetched(&broker, 10).await;
    assert_eq!((told.len(), flood[0].messages.len()), (1, 10));
    // The flood has waited longer, and has more; the quiet tenant has its turn all the same.
    assert!(broker.settle(&flood[0].lease, done(10)).await.unwrap());
    assert_eq!(fetched(&broker, 1).await.0, ["quiet: m-1"]);
}

async fn a_fetch_waits_for_what_comes(broker: Subject) {
    let (deliveries, ()) = tokio::join!(broker.fetch(9, Duration::from_secs(2)), async {
        sleep(Duration::from_millis(500)).await;
        publish(&broker, "acme", "m-1").await;
    });
    assert_eq!(deliveries.unwrap().len(), 1);
}

async fn whatever_is_given_back_everything_is_settled_once_and_in_order(broker: Subject) {
    let (tenants, each) = (5, 40);
    for index in 0..each {
        for name in 0..tenants {
            publish(&broker, &format!("t-{name}"), &format!("m-{index:03}")).await;
        }
    }
    let mut settled: BTreeMap<String, Vec<String>> = BTreeMap::new();
    // Two consumers that deal with some, give some back, and sometimes say nothing at all.
    for round in 0..10_000 {
        let deliveries = broker.fetch(7, Duration::from_secs(1)).await.unwrap();
        if deliveries.is_empty() && settled.values().map(Vec::len).sum::<usize>() == tenants * each {
            break;
        }
        for (index, delivery) in deliveries.into_iter().enumerate() {
            let count = delivery.messages.len();
            let ended = match (round + index) % 4 {
                0 => continue,
                1 => count / 2,
                _ => count,
            };
            let settlement = Settlement { again: Again { reason: "later".into(), after_ms: None }, ..done(ended) };
            if broker.settle(&delivery.lease, settlement).await.unwrap() {
                let ids = delivery.messages.iter().take(ended).map(|message| message.message_id.to_string());
                settled.entry(delivery.lease.tenant.to_string()).or_default().extend(ids);
            }
        }
    }
    let all: Vec<_> = (0..each).map(|index| format!("m-{index:03}")).collect();
    for name in 0..tenants {
        assert_eq!(settled.get(&format!("t-{name}")), Some(&all), "tenant t-{name}");
    }
}

mod implementations {
    use super::*;
    use async_trait::async_trait;

    use crate::broker::{BrokerService, DeadLetter, EmbeddedBroker, Lease, LetterSummary, RemoteBroker};
    use crate::call::CallError;
    use crate::grant::GrantToken;
    use crate::ids::{MessageId, TenantId};
    use crate::rights::Role;
    use crate::rpc;

    async fn embedded() -> (Bench, Subject) {
        let bench = Bench::new().await;
        let broker = EmbeddedBroker::open(&bench.world, Limits::default()).await.unwrap();
        (bench, Arc::new(broker))
    }

    #[tokio::test(start_paused = true)]
    async fn the_embedded_broker_conforms() {
        conforms(embedded).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_broker_across_the_network_conforms() {
        conforms(async || {
            let (bench, broker) = embedded().await;
            let network: Arc<dyn crate::capability::Network> = Arc::new(crate::capability::InMemory::default());
            let listener = network.bind("broker").await.unwrap();
            tokio::spawn(rpc::serve(
                listener,
                Arc::new(BrokerService { broker, reporter: crate::audit::Reporter::none() }),
                Default::default(),
            ));
            let client = |role| RemoteBroker::new(network.clone(), "broker", role);
            (bench, Arc::new(Across { producer: client(Role::Producer), consumer: client(Role::Consumer) }) as Subject)
        })
        .await;
    }

    /// Both parts that call a broker: neither may do the other's.
    struct Across {
        producer: RemoteBroker,
        consumer: RemoteBroker,
    }

    #[async_trait]
    impl Broker for Across {
        async fn publish(&self, tenant: &TenantId, id: &MessageId, envelope: Envelope) -> Result<Published, CallError> {
            self.producer.publish(tenant, id, envelope).await
        }
        async fn fetch(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>, CallError> {
            self.consumer.fetch(max, wait).await
        }
        async fn settle(&self, lease: &Lease, settlement: Settlement) -> Result<bool, CallError> {
            self.consumer.settle(lease, settlement).await
        }
        async fn standing(&self, tenant: &TenantId, id: &MessageId) -> Result<Option<MessageStatus>, CallError> {
            self.producer.standing(tenant, id).await
        }
        async fn pause(&self, tenant: &TenantId, generation: PauseGeneration) -> Result<PauseGeneration, CallError> {
            self.producer.pause(tenant, generation).await
        }
        async fn dead_letters(
            &self,
            tenant: &TenantId,
            after: Option<&MessageId>,
            max: usize,
        ) -> Result<Vec<LetterSummary>, CallError> {
            self.producer.dead_letters(tenant, after, max).await
        }
        async fn dead_letter(&self, tenant: &TenantId, id: &MessageId) -> Result<Option<DeadLetter>, CallError> {
            self.producer.dead_letter(tenant, id).await
        }
        async fn replay(
            &self,
            tenant: &TenantId,
            id: &MessageId,
            triage: &Triage,
            grant: GrantToken,
        ) -> Result<Triaged, CallError> {
            self.producer.replay(tenant, id, triage, grant).await
        }
        async fn discard(&self, tenant: &TenantId, id: &MessageId, triage: &Triage) -> Result<Triaged, CallError> {
            self.producer.discard(tenant, id, triage).await
        }
    }
}
