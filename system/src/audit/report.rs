//! Reports: how a service tells the audit log what it refused, without ever making a request wait for it.
//!
//! A report goes into a bounded queue in memory; a task of its own relays the queue to the log, in order, again and again
//! until it is confirmed. The log numbers events by source, and a source is one life of one service (`consumer/` and a
//! random number), so what is sent twice stands once. What this does not do: a process that dies takes along what it had
//! not relayed, and a queue that is full refuses more; the first shows in its log lines only, the second is counted and
//! logged as an error. Durable outboxes in every service come later.

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::{Attempt, Audit, Claimed, Code, Event};
use crate::capability::{Clock, World};
use crate::monitor::Monitor;
use crate::rights::Role;

/// Reports that wait to be relayed. An attempt takes half a kilobyte: with this many an outage of the log is bridged for
/// seconds of an attack, and costs a megabyte.
const QUEUE_MAX: usize = 2048;

/// Events in one append: some 64 KiB.
const BATCH_MAX: usize = 128;

/// The pause after a failed append doubles from the first to the second.
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// Where a service reports what it refuses. Cheap to clone; the relay ends with the last clone, once all is relayed.
#[derive(Clone, Default)]
pub struct Reporter(Option<Arc<Reports>>);

struct Reports {
    service: Role,
    clock: Arc<dyn Clock>,
    queue: mpsc::Sender<Event>,
    waiting: Arc<AtomicU64>,
    dropped: AtomicU64,
    monitor: Monitor,
}

impl Reporter {
    /// Logs, and tells no audit log: for tests, and for tools that have none.
    #[must_use]
    pub fn none() -> Self {
        Self(None)
    }

    /// A reporter of `service` to `audit`.
    #[must_use]
    pub fn start(service: Role, world: &World, audit: Arc<dyn Audit>) -> Self {
        let (queue, events) = mpsc::channel(QUEUE_MAX);
        let waiting = Arc::new(AtomicU64::new(0));
        let source = format!("{service}/{:016x}", world.entropy.u64());
        tokio::spawn(relay(source, events, audit, waiting.clone()));
        let (clock, monitor) = (world.clock.clone(), world.monitor.clone());
        Self(Some(Arc::new(Reports { service, clock, queue, waiting, dropped: 0.into(), monitor })))
    }

    /// Reports an attempt that was refused at `entry`, one of the service's doors.
    pub fn attempt(&self, code: Code, entry: &str, claimed: Claimed, why: impl Display) {
        let service = self.0.as_ref().map_or("-", |reports| reports.service.name());
        let tenant = claimed.tenant.as_deref().unwrap_or("-");
        tracing::error!(%code, service, entry, claimed_tenant = ?tenant, %why, "refused an attempt");
        let Some(reports) = &self.0 else { return };
        reports.monitor.metrics.refusals.inc((reports.service, code));
        let at_unix_ms = reports.clock.now().as_millisecond();
        let (service, entry, detail) = (reports.service, entry.to_owned(), why.to_string());
        let mut attempt = Attempt { at_unix_ms, service, entry, code, claimed, detail };
        attempt.cut();
        reports.push(Event::Refused(attempt));
    }

    /// How many reports found the queue full, and are lost to the log.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.0.as_ref().map_or(0, |reports| reports.dropped.load(Ordering::Relaxed))
    }

    /// Waits until all is relayed, `within` at most: the last act before a graceful stop.
    pub async fn flush(&self, within: Duration) {
        let Some(reports) = &self.0 else { return };
        let relayed = async {
            while reports.waiting.load(Ordering::Acquire) > 0 {
                sleep(BACKOFF_MIN / 10).await;
            }
        };
        if timeout(within, relayed).await.is_err() {
            let waiting = reports.waiting.load(Ordering::Acquire);
            tracing::error!(waiting, "the audit log could not be told of all refused attempts before the stop");
        }
    }
}

impl Reports {
    fn push(&self, event: Event) {
        self.waiting.fetch_add(1, Ordering::AcqRel);
        if self.queue.try_send(event).is_err() {
            self.waiting.fetch_sub(1, Ordering::AcqRel);
            let dropped = self.dropped.fetch_add(1, Ordering::Relaxed) + 1;
            self.monitor.metrics.reports_dropped.inc(self.service);
            tracing::error!(
                dropped,
                "the queue to the audit log is full: this attempt stands in this process's log only"
            );
        }
    }
}

/// Relays until all reporters are gone and all is relayed.
async fn relay(source: String, mut events: mpsc::Receiver<Event>, audit: Arc<dyn Audit>, waiting: Arc<AtomicU64>) {
    let (mut first, mut batch) = (1, Vec::with_capacity(BATCH_MAX));
    while events.recv_many(&mut batch, BATCH_MAX).await > 0 {
        let last = first + batch.len() as u64 - 1;
        let mut backoff = BACKOFF_MIN;
        loop {
            match audit.append(&source, first, batch.clone()).await {
                Ok(stands) if stands >= last => break,
                Ok(stands) => tracing::error!(stands, last, "the audit log confirmed less than it was told"),
                Err(error) => tracing::warn!(%error, first, "failed to report to the audit log; asking again"),
            }
            sleep(backoff).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
        waiting.fetch_sub(batch.len() as u64, Ordering::AcqRel);
        first = last + 1;
        batch.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;

    use super::*;
    use crate::audit::Alert;
    use crate::call::CallError;
    use crate::testing::Bench;

    /// A log that takes an append at the third time it is asked, and notes what it was asked.
    #[derive(Default)]
    struct Slow {
        asked: Mutex<Vec<(String, u64, usize)>>,
        closed: bool,
    }

    #[async_trait]
    impl Audit for Slow {
        async fn append(&self, source: &str, first: u64, events: Vec<Event>) -> Result<u64, CallError> {
            let mut asked = self.asked.lock().unwrap();
            asked.push((source.into(), first, events.len()));
            if self.closed || !asked.len().is_multiple_of(3) {
                return Err(CallError::unknown("busy"));
            }
            Ok(first + events.len() as u64 - 1)
        }
        async fn events(&self, _: u64, _: usize) -> Result<Vec<(u64, Event)>, CallError> {
            Ok(Vec::new())
        }
        async fn alerts(&self, _: u64, _: usize) -> Result<Vec<Alert>, CallError> {
            Ok(Vec::new())
        }
    }

    fn report(reporter: &Reporter) {
        reporter.attempt(Code::NoRight, "fetch", Claimed::default(), "a test");
    }

    #[tokio::test(start_paused = true)]
    async fn reports_are_sent_again_under_their_numbers_until_they_stand() {
        let bench = Bench::new().await;
        let audit = Arc::new(Slow::default());
        let reporter = Reporter::start(Role::Broker, &bench.world, audit.clone());
        report(&reporter);
        report(&reporter);
        reporter.flush(Duration::from_secs(10)).await;
        report(&reporter);
        reporter.flush(Duration::from_secs(10)).await;
        let asked = audit.asked.lock().unwrap().clone();
        let numbers: Vec<_> = asked.iter().map(|(_, first, count)| (*first, *count)).collect();
        assert_eq!(numbers, [(1, 2), (1, 2), (1, 2), (3, 1), (3, 1), (3, 1)]);
        assert!(asked.iter().all(|(source, ..)| *source == asked[0].0 && source.starts_with("broker/")), "{asked:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_holds_nobody_up_and_is_counted() {
        let bench = Bench::new().await;
        let audit = Arc::new(Slow { closed: true, ..Slow::default() });
        let reporter = Reporter::start(Role::Broker, &bench.world, audit);
        (0..QUEUE_MAX + 3).for_each(|_| report(&reporter));
        assert_eq!(reporter.dropped(), 3);
    }
}
