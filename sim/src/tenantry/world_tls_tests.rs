//! Who is not let in, in a simulated house: a real broker, and an adversary who tries to publish as the producer.

use std::future::pending;

use tenantry_system::audit::Reporter;
use tenantry_system::broker::{Broker, EmbeddedBroker, Limits, Published, RemoteBroker};
use tenantry_system::grant::Envelope;
use tenantry_system::ids::{MessageId, TenantId};
use tenantry_system::role::{self, Addresses};
use tenantry_system::tls::Credentials;

use super::*;
use crate::engine::runner::{Host, RunEnd, Settings, Simulation, Software};
use crate::tenantry::adversary::HOST as ADVERSARY;
use crate::tenantry::hosts::addresses;

/// What one attempt came to.
type Tried = (&'static str, String);

/// One host's software, which ends with the simulation.
fn host(name: &str, start: impl Fn() -> Software + 'static) -> Host {
    Host { name: name.into(), start: Box::new(start) }
}

struct Adversary {
    worlds: Worlds,
    at: Addresses,
    tried: Arc<Mutex<Vec<Tried>>>,
}

impl Adversary {
    /// turmoil's network without anything around it.
    fn plain(&self) -> Arc<dyn Network> {
        let mut hosts = self.worlds.lock();
        let image = self.worlds.hosted(&mut hosts, ADVERSARY).image.clone();
        let epoch = image.lock().unwrap().epoch();
        let (host, weather): (Arc<str>, _) = (ADVERSARY.into(), Weather::default());
        let handle = Handle { image, epoch, host: host.clone(), weather };
        Arc::new(SimNetwork { host, life: Life::of(&handle, &Gate::default()) })
    }

    fn with(&self, credentials: Credentials) -> Arc<dyn Network> {
        Arc::new(Tls::new(self.plain(), credentials))
    }

    /// Publishes a message called `what` as the producer, by `network`.
    async fn publish(&self, what: &'static str, network: Arc<dyn Network>) {
        let broker = RemoteBroker::new(network, &self.at.broker, Role::Producer);
        let (tenant, id) = (TenantId::parse("acme").unwrap(), MessageId::parse(what).unwrap());
        let envelope = Envelope { body: "body".into(), grant: "grant".into(), trace: None };
        let told = match broker.publish(&tenant, &id, envelope).await {
            Ok(Published::Accepted { .. }) => "accepted".into(),
            Ok(other) => format!("{other:?}"),
            Err(error) => error.to_string(),
        };
        self.tried.lock().unwrap().push((what, told));
    }

    async fn run(self) {
        let pki = self.worlds.pki.clone().expect("an encrypted house");
        let entropy = self.worlds.entropy("test.tls", "", 0);
        let (day, second) = (Duration::from_secs(24 * 3600), Duration::from_secs(1));
        let foreign = Pki::new(Arc::new(SimClock::right()), &self.worlds.entropy("test.tls", "", 1));
        let expired = self.with(pki.issue_for(Some(Role::Producer), second, &entropy));
        tokio::time::sleep(2 * second).await;

        self.publish("plain", self.plain()).await;
        self.publish("nobody", self.with(pki.issue_for(None, day, &entropy))).await;
        self.publish("foreign", self.with(foreign.issue_for(Some(Role::Producer), day, &entropy))).await;
        self.publish("expired", expired).await;
        self.publish("consumer", self.with(pki.issue_for(Some(Role::Consumer), day, &entropy))).await;
        let producers = self.with(pki.issue_for(Some(Role::Producer), day, &entropy));
        self.publish("producer", producers.clone()).await;
        let poser = producers.connect(&self.at.broker, Role::Ledger).await.err().map(|error| error.to_string());
        self.tried.lock().unwrap().push(("poser", poser.unwrap_or_default()));
        pending().await
    }
}

fn told(seed: u64) -> (Vec<Tried>, usize) {
    let (dice, trace) = (Dice::new(seed), Trace::new(false));
    let worlds = Worlds::new(dice, trace.clone(), 1..=2, false).encrypted();
    let (tried, depth): (Arc<Mutex<Vec<Tried>>>, Arc<Mutex<usize>>) = Default::default();
    let (broker_worlds, broker_depth) = (worlds.clone(), depth.clone());
    let broker = host("broker", move || {
        let (world, depth) = (broker_worlds.start("broker"), broker_depth.clone());
        Box::pin(async move {
            let engine = Arc::new(EmbeddedBroker::open(&world, Limits::default()).await?);
            let watched = engine.clone();
            tokio::spawn(async move {
                loop {
                    *depth.lock().unwrap() = watched.depth();
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            });
            let (at, reporter) = (addresses(), Reporter::none());
            Ok(role::serve_broker(&world, &at, engine.clone(), engine, reporter, Default::default()).await?)
        })
    });
    let (adversary_worlds, adversary_tried) = (worlds.clone(), tried.clone());
    let adversary = host(ADVERSARY, move || {
        let (worlds, tried) = (adversary_worlds.clone(), adversary_tried.clone());
        Box::pin(async move {
            Adversary { worlds, at: addresses(), tried }.run().await;
            Ok(())
        })
    });
    let limit = Duration::from_secs(30);
    let settings = Settings { seed, tick_ms: 1, latency_ms: 1..=4, limit, epoch: epoch(), weather: Weather::default() };
    let mut simulation = Simulation::new(&settings, vec![broker, adversary]);
    let mut until = None;
    let mut done = |now: Duration, _| {
        if tried.lock().unwrap().len() == 7 {
            until.get_or_insert(now + Duration::from_millis(100));
        }
        until.is_some_and(|until| until <= now)
    };
    let end = simulation.run(&[], &mut worlds.clone(), &trace, limit, &mut done);
    assert_eq!(end, Ok(RunEnd::Done), "seed {seed}");
    let (tried, depth) = (tried.lock().unwrap().clone(), *depth.lock().unwrap());
    (tried, depth)
}

#[test]
fn only_the_producers_own_certificate_publishes_and_the_broker_is_nobody_else() {
    for seed in 1..=3 {
        let (tried, depth) = told(seed);
        let untrusted = "of no authority that is trusted here";
        let reasons = [
            ("plain", "frame size too big"),
            ("nobody", "CertificateRequired"),
            ("foreign", untrusted),
            ("expired", "xpired"),
            ("consumer", "the certificate is the consumer's, the greeting says producer"),
            ("producer", "accepted"),
            ("poser", "not valid for name \"ledger.tenantry.internal\""),
        ];
        for ((what, told), (expected, reason)) in tried.iter().zip(reasons) {
            assert_eq!(*what, expected);
            assert!(told.contains(reason), "seed {seed}: {what}: {told}");
        }
        assert_eq!((tried.len(), depth), (7, 1), "seed {seed}: only the producer's message is there");
    }
}
