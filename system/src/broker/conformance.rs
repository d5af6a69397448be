//! What every broker must do, whatever engine stands behind the trait: one suite, run against each.
//!
//! Time is tokio's and paused, so that leases end when the test says so. What an engine promises beyond the trait - that a
//! confirm survives a crash - its own tests show.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{advance, sleep};

use super::{Again, Broker, Delivery, Ending, Limits, Published, Settlement, Standing};
use crate::grant::Envelope;
use crate::ledger::PauseGeneration;
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
    broker.standing(&tenant(name), &message_id(id)).await.unwrap()
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

    use crate::broker::{BrokerService, EmbeddedBroker, Lease, RemoteBroker};
    use crate::call::CallError;
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
        async fn standing(&self, tenant: &TenantId, id: &MessageId) -> Result<Option<Standing>, CallError> {
            self.producer.standing(tenant, id).await
        }
        async fn pause(&self, tenant: &TenantId, generation: PauseGeneration) -> Result<PauseGeneration, CallError> {
            self.producer.pause(tenant, generation).await
        }
    }
}
