//! Reports: how a service tells the audit log what it refused, and what it showed.
//!
//! A report is durable before whoever was refused is told: each service has a small store of its own for them, with an
//! [outbox](super::outbox), whether it keeps anything else or not. Reports that come together share a commit. A report that
//! can't be made durable - the disk has failed, or too many wait already - is an error, and the refusal is then answered
//! as an outage: what was tried is refused either way, and never as if it had not been tried. A disk that has failed ends
//! the process, as every store's does.
//!
//! What this can't give: an attempt whose process dies before the report is durable stands in no log. Nobody has had an
//! answer then, and nothing has happened; whoever tries again is on record.

use std::fmt::Display;
use std::future::pending;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use redb::WriteTransaction;
use tokio::task::JoinSet;

use super::outbox::{self, Outbox, Outgoing, relay};
use super::{Attempt, Audit, Claimed, Code, Event, Step};
use crate::call::CallError;
use crate::capability::{Clock, World};
use crate::monitor::{Monitor, Outlet};
use crate::rights::Role;
use crate::store::{Machine, Store};

/// Where a service reports what it refuses. Cheap to clone; its relay ends with the last clone.
#[derive(Clone, Default)]
pub struct Reporter(Option<Arc<Reports>>);

struct Reports {
    service: Role,
    clock: Arc<dyn Clock>,
    store: Store<Desk>,
    _relay: JoinSet<()>,
    monitor: Monitor,
}

impl Reporter {
    /// Logs, and tells no audit log: for tests, and for tools that have none.
    #[must_use]
    pub fn none() -> Self {
        Self(None)
    }

    /// A reporter of `service` to `audit`, whose reports wait on the disk of `world`.
    ///
    /// # Errors
    /// When its store can't be opened.
    pub async fn start(service: Role, world: &World, audit: Arc<dyn Audit>) -> io::Result<Self> {
        let (clock, monitor, fresh) = (world.clock.clone(), world.monitor.clone(), world.entropy.u64());
        let load = move |within: &WriteTransaction| Ok(Desk { outbox: Outbox::load(within, service, fresh)? });
        let store = Store::open(world, service, "outbox.redb", load).await?;
        outbox::watched(world, &store, &store.machine().outbox, Outlet::Reports);
        let mut relaying = JoinSet::new();
        relaying.spawn(relay(Outgoing::new(&store, &store.machine().outbox), audit, clock.clone()));
        Ok(Self(Some(Arc::new(Reports { service, clock, store, _relay: relaying, monitor }))))
    }

    /// Reports an attempt that was refused at `entry`, one of the service's doors. From the answer on it is durable.
    ///
    /// # Errors
    /// When it could not be made durable. Then the attempt is to be answered with this error: it is refused, and whoever
    /// tried it may try again.
    pub async fn attempt(&self, code: Code, entry: &str, claimed: Claimed, why: impl Display) -> Result<(), CallError> {
        let service = self.0.as_ref().map_or("-", |reports| reports.service.name());
        let tenant = claimed.tenant.as_deref().unwrap_or("-");
        tracing::error!(%code, service, entry, claimed_tenant = ?tenant, %why, "refused an attempt");
        let Some(reports) = &self.0 else { return Ok(()) };
        reports.monitor.metrics.refusals.inc((reports.service, code));
        let at_unix_ms = reports.clock.now().as_millisecond();
        let (service, entry, detail) = (reports.service, entry.to_owned(), why.to_string());
        let mut attempt = Attempt { at_unix_ms, service, entry, code, claimed, detail };
        attempt.cut();
        reports.keep(Event::Refused(attempt)).await
    }

    /// Reports a step of the service's own. From the answer on it is durable.
    ///
    /// # Errors
    /// When it could not be made durable: then the step is not to be taken.
    pub async fn step(&self, mut step: Step) -> Result<(), CallError> {
        let Some(reports) = &self.0 else { return Ok(()) };
        step.cut();
        reports.keep(Event::Step(step)).await
    }

    /// How many reports wait for the log.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.0.as_ref().map_or(0, |reports| reports.outbox().waiting())
    }

    /// As if the log had been away for so long that no more may wait.
    #[cfg(test)]
    pub(crate) fn fill(&self) {
        self.0.as_ref().expect("it has a store").outbox().fill();
    }

    /// Returns when its store has failed, with the reason; never where it has none.
    pub async fn failed(&self) -> String {
        match &self.0 {
            Some(reports) => reports.store.failed().await,
            None => pending().await,
        }
    }

    /// Waits until all is relayed, `within` at most: the last act before a graceful stop.
    pub async fn flush(&self, within: Duration) {
        if let Some(reports) = &self.0 {
            Outgoing::new(&reports.store, reports.outbox()).flush(within).await;
        }
    }
}

impl Reports {
    fn outbox(&self) -> &Arc<Outbox> {
        &self.store.machine().outbox
    }

    async fn keep(&self, event: Event) -> Result<(), CallError> {
        let kept = match self.outbox().has_room() {
            Ok(()) => self.store.execute(event).await,
            full => full,
        };
        kept.map_err(|error| {
            self.monitor.metrics.reports_dropped.inc(self.service);
            tracing::error!(%error, "a report could not be made durable: it stands in this process's log only");
            CallError::failed("this can't be put on record just now, and so it is not answered")
        })
    }
}

/// The state machine behind the store: nothing but its outbox.
struct Desk {
    outbox: Arc<Outbox>,
}

impl Machine for Desk {
    type Command = Event;
    type Answer = ();

    fn execute(&self, within: &WriteTransaction, batch: Vec<Event>) -> Result<Vec<()>, redb::Error> {
        let mut outbox = self.outbox.open(within)?;
        let written = batch.iter().map(|event| outbox.push(event)).collect::<Result<_, _>>()?;
        outbox.finish()?;
        Ok(written)
    }

    fn committed(&self, _: &[()]) {
        self.outbox.committed();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, Ordering};

    use async_trait::async_trait;
    use bytes::Bytes;

    use super::*;
    use crate::audit::{Alert, AlertQuery, EmbeddedAudit, Found, FoundAlerts, Query};
    use crate::testing::Bench;
    use crate::tlog::Tile;

    /// A log that can be away, forgets every other answer, and notes what it was asked.
    struct Shaky {
        log: EmbeddedAudit,
        away: AtomicBool,
        asked: Mutex<Vec<(String, u64, usize)>>,
    }

    #[async_trait]
    impl Audit for Shaky {
        async fn append(&self, source: &str, first: u64, events: Vec<Event>) -> Result<u64, CallError> {
            let asked = {
                let mut asked = self.asked.lock().unwrap();
                asked.push((source.into(), first, events.len()));
                asked.len()
            };
            if self.away.load(Ordering::Relaxed) {
                return Err(CallError::failed("away"));
            }
            let appended = self.log.append(source, first, events).await;
            if asked.is_multiple_of(2) { appended } else { Err(CallError::unknown("the answer was lost")) }
        }
        async fn events(&self, after: u64, max: usize) -> Result<Vec<(u64, Event)>, CallError> {
            self.log.events(after, max).await
        }
        async fn alerts(&self, after: u64, max: usize) -> Result<Vec<Alert>, CallError> {
            self.log.alerts(after, max).await
        }
        async fn search_alerts(&self, query: &AlertQuery) -> Result<FoundAlerts, CallError> {
            self.log.search_alerts(query).await
        }
        async fn search(&self, _: &Query) -> Result<Found, CallError> {
            Ok(Found::default())
        }
        async fn checkpoint(&self) -> Result<String, CallError> {
            Err(CallError::failed("none here"))
        }
        async fn tile(&self, _: Tile) -> Result<Option<Bytes>, CallError> {
            Ok(None)
        }
    }

    async fn shaky(bench: &Bench, away: bool) -> Arc<Shaky> {
        let log = EmbeddedAudit::open(&bench.world).await.unwrap();
        Arc::new(Shaky { log, away: away.into(), asked: Mutex::default() })
    }

    async fn start(bench: &Bench, audit: &Arc<Shaky>) -> Reporter {
        // The store's committer lets go of the file a moment after its reporter is dropped.
        loop {
            match Reporter::start(Role::Broker, &bench.world, audit.clone()).await {
                Ok(reporter) => return reporter,
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        }
    }

    async fn report(reporter: &Reporter, why: &str) -> Result<(), CallError> {
        reporter.attempt(Code::NoRight, "fetch", Claimed::default(), why).await
    }

    fn reasons(audit: &Shaky) -> Vec<String> {
        audit.log.attempts().unwrap().into_iter().map(|(_, attempt)| attempt.detail).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_sent_again_stands_once_in_order() {
        let bench = Bench::new().await;
        let audit = shaky(&bench, false).await;
        let reporter = start(&bench, &audit).await;
        for why in ["one", "two", "three"] {
            report(&reporter, why).await.unwrap();
        }
        reporter.flush(Duration::from_secs(10)).await;
        assert_eq!((reporter.waiting(), reasons(&audit)), (0, vec!["one".into(), "two".into(), "three".into()]));
        let asked = audit.asked.lock().unwrap().clone();
        assert!(asked.len() >= 2, "no answer was lost: {asked:?}");
        assert!(asked.iter().all(|(source, ..)| *source == asked[0].0 && source.starts_with("broker/")), "{asked:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_refused_during_an_outage_outlives_its_process() {
        let bench = Bench::new().await;
        let audit = shaky(&bench, true).await;
        let reporter = start(&bench, &audit).await;
        report(&reporter, "before the crash").await.unwrap();
        drop(reporter);
        let reporter = start(&bench, &audit).await;
        assert_eq!(reporter.waiting(), 1);
        report(&reporter, "after it").await.unwrap();
        audit.away.store(false, Ordering::Relaxed);
        reporter.flush(Duration::from_secs(10)).await;
        assert_eq!(reasons(&audit), ["before the crash", "after it"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_begins_anew_is_another_source_and_no_gap() {
        let (bench, other) = (Bench::new().await, Bench::new().await);
        let audit = shaky(&bench, false).await;
        for disk in [&bench, &other] {
            let reporter = start(disk, &audit).await;
            report(&reporter, "again from 1").await.unwrap();
            reporter.flush(Duration::from_secs(10)).await;
        }
        assert_eq!(reasons(&audit).len(), 2);
        let sources: std::collections::BTreeSet<_> =
            audit.asked.lock().unwrap().iter().map(|(source, ..)| source.clone()).collect();
        assert_eq!(sources.len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn what_finds_no_room_is_an_error_and_not_forgotten_in_silence() {
        let bench = Bench::new().await;
        let audit = shaky(&bench, true).await;
        let reporter = start(&bench, &audit).await;
        reporter.fill();
        let refused = report(&reporter, "one too many").await.unwrap_err().to_string();
        assert!(refused.contains("can't be put on record"), "{refused}");
    }
}
