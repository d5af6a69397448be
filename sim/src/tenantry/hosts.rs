//! Every role on a host of its own: the composition roots of the simulation.
//!
//! The same engines and the same serving functions as `tenantryd serve`; only the world differs, and broker and ledger
//! are watched. As there, a process whose store can't be opened or has failed ends; here that is [`Died`], and the runner
//! is the supervisor that starts it again.

use std::error::Error;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tenantry_system::attack::{self, Checks, Outcome, Relics, Target};
use tenantry_system::audit::{EmbeddedAudit, LogSettings, Reporter};
use tenantry_system::auth::EmbeddedAuthority;
use tenantry_system::broker::{EmbeddedBroker, Limits};
use tenantry_system::capability::World;
use tenantry_system::ledger::{EmbeddedLedger, Report, Settings};
use tenantry_system::rate_limit::RateLimits;
use tenantry_system::rights::Role;
use tenantry_system::role::{self, Addresses};
use tenantry_system::secret::KeySet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::burst::Burst;
use super::cast::Cast;
use super::evidence::Evidence;
use super::idp::{Idp, Rotation};
use super::office::Office;
use super::operators::Operators;
use super::storm::Handed;
use super::watch::WatchedBroker;
use super::workload::{Act, Forgery, Timed};
use super::world::Worlds;
use super::{adversary, followers, idp, operators, receiver};
use crate::bugs::Kit;
use crate::engine::runner::{Died, Host, Software};

/// What all hosts are built from.
#[derive(Clone)]
pub struct House {
    /// The worlds of the hosts.
    pub worlds: Worlds,
    /// Where everything is written down.
    pub evidence: Evidence,
    /// Whose tokens auth believes.
    pub provider: Idp,
    /// Where each role is found.
    pub at: Arc<Addresses>,
    /// How often one may ask.
    pub limits: RateLimits,
    /// What is planted, if anything is.
    pub kit: Kit,
    /// What the audit log is watched by, as a file would say it.
    pub alert_rules: Arc<str>,
    /// Whether a webhook is told of alerts.
    pub webhook: bool,
    /// What runaway scripts send.
    pub bursts: Arc<[Burst]>,
    /// The keys that wrap tenants' data keys, at producer and ledger.
    pub keys: Arc<KeySet>,
}

/// Where the roles are found in a simulation: by their hosts' names.
#[must_use]
pub fn addresses() -> Addresses {
    let at = |role: &str| format!("{role}:7000");
    Addresses {
        producer: at("producer"),
        broker: at("broker"),
        auth: at("auth"),
        ledger: at("ledger"),
        audit: at("audit"),
    }
}

/// How often the attacker looks for what auth granted long ago.
const RELICS_POLL: Duration = Duration::from_millis(20);

/// Under faults a report may never come: all of an attack's are waited for this long.
const INEXACT_DEADLINE: Duration = Duration::from_secs(1);

/// The ledger compares its tenants with their outcomes this often: while commands are in work, between crashes, and after.
const RECONCILE_EVERY: Duration = Duration::from_millis(500);

/// How often the audit log looks whether anything has waited too long.
pub const LOOK_EVERY: Duration = Duration::from_millis(250);

type Ended = Result<(), Box<dyn Error>>;

impl House {
    /// All hosts: one of each role, `consumers`, the operators with `acts`, the identity provider with `rotations` if it has
    /// a host, and the adversary with `forgeries` if any. Auth goes by what `office` makes of the cast.
    #[must_use]
    pub fn hosts(
        &self,
        consumers: &[String],
        cast: &Cast,
        acts: Timed<Act>,
        rotations: Timed<Rotation>,
        forgeries: Timed<Forgery>,
        office: Timed<Act>,
    ) -> Vec<Host> {
        let takes_two = acts.iter().any(|(_, act)| matches!(act, Act::Pair(_)));
        let office = Arc::new(Office::new(cast.directory(), &office, takes_two));
        let mut hosts = vec![
            self.host("broker", broker),
            self.host("auth", move |house, world| auth(house, world, office.clone())),
            self.host("ledger", ledger),
            self.host("audit", audit),
            self.host("producer", |house, world| async move {
                let reporter = house.reporter("producer", &world, Role::Producer).await?;
                let (limits, keys) = (house.kit.limits(house.limits), house.keys.clone());
                Ok(role::serve_producer(&world, &house.at, &limits, keys, reporter, never()).await.map_err(died)?)
            }),
        ];
        for consumer in consumers {
            let name = consumer.clone();
            hosts.push(self.host(consumer, move |house, world| {
                let name = name.clone();
                async move {
                    let reporter = house.reporter(&name, &world, Role::Consumer).await?;
                    Ok(role::run_consumer(&world, &house.at, &house.limits, reporter, never()).await.map_err(died)?)
                }
            }));
        }
        let cast = cast.clone();
        hosts.push(self.host(operators::HOST, move |house, world| {
            let (weather, bursts) = (house.worlds.weather(), house.bursts.clone());
            let (provider, evidence) = (&house.provider, house.evidence);
            let operators = Operators::new(&world, &house.at.producer, provider, &cast, evidence, weather);
            let (acts, cast) = (acts.clone(), cast.clone());
            async move {
                Arc::new(operators).run(acts, &bursts, cast).await;
                Ok(())
            }
        }));
        if self.provider.is_hosted() {
            hosts.push(
                self.host(idp::HOST, move |house, world| house.provider.run(world, rotations.clone(), house.evidence)),
            );
        }
        if self.webhook {
            hosts.push(self.host(receiver::HOST, |house, world| receiver::run(world, house.evidence)));
        }
        if !forgeries.is_empty() {
            hosts.push(self.host(adversary::HOST, move |house, world| {
                let forgeries = forgeries.clone();
                async move {
                    adversary::run(world, house.at, house.provider, house.evidence, forgeries).await;
                    Ok(())
                }
            }));
        }
        hosts
    }

    /// The host of those who follow live streams.
    #[must_use]
    pub fn followers(&self) -> Host {
        self.host(followers::HOST, |house, world| async move {
            followers::run(world, house.at.producer.clone(), house.provider, house.evidence).await;
            Ok(())
        })
    }

    /// The host from which the whole attack catalogue is tried; each attempt must be on record `exact`ly once.
    #[must_use]
    pub fn attacker(&self, exact: bool) -> Host {
        self.host(adversary::HOST, move |house, world| async move {
            let relics = loop {
                let kept = house.evidence.seen().relics.clone();
                match kept {
                    Some(relics) => break relics,
                    None => sleep(RELICS_POLL).await,
                }
            };
            let deadline = if exact { Checks::default().deadline } else { INEXACT_DEADLINE };
            let observer = Arc::new(house.evidence.clone());
            let target =
                Target { world, at: (*house.at).clone(), provider: house.provider.provider(), relics, observer };
            let tried = attack::run(&target, Checks { exact, deadline }).await;
            for Outcome { attack, entry, action, verdict, .. } in tried.iter().flat_map(|table| &table.0) {
                let told = format!("{attack} by {} with {action:?}: {verdict:?}", entry.name());
                house.evidence.record(adversary::HOST, "attack", &told);
            }
            house.evidence.seen().catalogue = Some(tried);
            Ok(())
        })
    }

    /// The reporter of `host`, for one life of its process.
    async fn reporter(&self, host: &str, world: &World, role: Role) -> Result<Reporter, Died> {
        let reporter = role::reporter(world, &self.at, role).await.map_err(died)?;
        self.evidence.seen().engines.reporters.insert(host.to_owned(), reporter.clone());
        Ok(reporter)
    }

    fn host<F>(&self, name: &str, software: impl Fn(House, World) -> F + 'static) -> Host
    where
        F: Future<Output = Ended> + 'static,
    {
        let (house, host) = (self.clone(), name.to_owned());
        let start = move || -> Software {
            let world = house.kit.world(&host, house.worlds.start(&host));
            house.evidence.record(&host, "host.start", "");
            let (software, worlds, host) = (software(house.clone(), world), house.worlds.clone(), host.clone());
            Box::pin(async move {
                tokio::select! {
                    biased;
                    ended = software => ended,
                    () = worlds.keep_certified(&host) => unreachable!("it is kept up for ever"),
                    () = worlds.poisoned(&host) => Err(Died("it was handed a message that kills it".into()).into()),
                }
            })
        };
        Host { name: name.into(), start: Box::new(start) }
    }
}

/// A simulated process is never stopped, only crashed.
fn never() -> CancellationToken {
    CancellationToken::new()
}

/// What a process ends with whose store can't be opened, or has failed.
fn died(error: io::Error) -> Died {
    Died(error.to_string())
}

async fn broker(house: House, world: World) -> Ended {
    let engine = Arc::new(EmbeddedBroker::open(&world, Limits::default()).await.map_err(died)?);
    house.evidence.seen().engines.broker = Some(engine.clone());
    let inner = house.kit.broker(engine.clone());
    let (evidence, handed) = (house.evidence.clone(), Arc::new(Handed::default()));
    let watched = WatchedBroker { inner: inner.clone(), evidence: evidence.clone(), handed: handed.clone() };
    let reporter = house.reporter("broker", &world, Role::Broker).await?;
    let served = role::serve_broker(&world, &house.at, engine.clone(), Arc::new(watched), reporter, never());
    tokio::select! {
        biased;
        why = engine.failed() => Err(Died(format!("the broker's store failed: {why}")).into()),
        served = served => Ok(served.map_err(died)?),
        () = handed.storm(&house.worlds, &*inner, &evidence) => unreachable!("a storm never ends the broker"),
    }
}

async fn auth(house: House, world: World, office: Arc<Office>) -> Ended {
    let evidence = &house.evidence;
    let since = super::world::now();
    let gone = office.gone(since);
    evidence.seen().revocations.begin(&gone);
    let opened = EmbeddedAuthority::open(&world, house.provider.trusted(), office.policies(&gone)).await;
    let reporter = house.reporter("auth", &world, Role::Auth).await?;
    let engine = Arc::new(opened.map_err(died)?.reporting(reporter.clone()));
    evidence.seen().engines.auth = Some(engine.clone());
    let planned = evidence.seen().catalogue_planned && evidence.seen().relics.is_none();
    if planned {
        evidence.seen().relics = Some(Relics::of(&engine, &*world.clock));
    }
    evidence.seen().revocations.in_force(&gone, engine.in_force_now().revision);
    let authority = house.kit.authority(engine.clone());
    let served = role::serve_authority(&world, &house.at, engine.clone(), authority, reporter, never());
    tokio::select! {
        biased;
        why = engine.failed() => Err(Died(format!("auth's store failed: {why}")).into()),
        served = served => Ok(served.map_err(died)?),
        () = office.work(since, &engine, evidence) => unreachable!("the office never closes"),
    }
}

async fn ledger(house: House, world: World) -> Ended {
    let evidence = house.evidence.clone();
    let on_report = Arc::new(move |report: &Report| evidence.reconciled(report));
    let settings = Settings { reconcile_every: RECONCILE_EVERY, on_report, ..Settings::default() };
    let opened = EmbeddedLedger::open_with(&world, house.keys.clone(), settings).await;
    let engine = Arc::new(opened.map_err(died)?);
    house.evidence.seen().engines.ledger = Some(engine.clone());
    let inner = house.kit.ledger(engine.clone());
    let watched = Arc::new(super::watch::WatchedLedger::new(engine.clone(), inner, house.evidence.clone()));
    let answers = house.kit.ledger_answers(watched);
    let reporter = house.reporter("ledger", &world, Role::Ledger).await?;
    let served = role::serve_ledger(&world, &house.at, engine.clone(), answers, reporter, never());
    tokio::select! {
        biased;
        why = engine.failed() => Err(Died(format!("the ledger's store failed: {why}")).into()),
        served = served => Ok(served.map_err(died)?),
    }
}

async fn audit(house: House, world: World) -> Ended {
    let watch = house.kit.watching(&house.alert_rules);
    let watch = watch.map_err(|error| Died(format!("the rules can't be used: {error}")))?;
    let opened = EmbeddedAudit::open_watched(&world, LogSettings::default(), watch).await;
    let engine = Arc::new(opened.map_err(died)?);
    {
        let mut seen = house.evidence.seen();
        seen.engines.audit = Some(engine.clone());
        seen.keep_checkpoint();
    }
    let served = house.kit.audit(engine.clone());
    tokio::select! {
        biased;
        why = engine.failed() => Err(Died(format!("the audit log's store failed: {why}")).into()),
        served = role::serve_audit(&world, &house.at, served, never()) => Ok(served.map_err(died)?),
        () = engine.watch(LOOK_EVERY) => unreachable!("the log looks for ever"),
        () = webhook(&house, &engine, &world) => unreachable!("alerts are told for ever"),
    }
}

/// Tells the receiver of alerts, if there is one.
async fn webhook(house: &House, engine: &EmbeddedAudit, world: &World) {
    match house.webhook {
        true => receiver::webhook(world.network.clone()).run(engine, world).await,
        false => std::future::pending().await,
    }
}
