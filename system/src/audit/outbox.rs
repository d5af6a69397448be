//! Durable outboxes: events wait in the store whose transactions they tell of, until the audit log has them.
//!
//! An event is written in the very transaction that makes it true, numbered without gaps under the name of its store, and
//! relayed in order, again and again, until the log has confirmed it; then its row goes with the next commit. The log
//! passes over what it already has. So an outage of either side delays events, and neither loses nor doubles one.
//!
//! A store has a random name of its own for life: one that began anew, because its disk was lost, is another source, and
//! no gap in the old one's numbers.
//!
//! [`WAITING_MAX`] events may wait. Then the service takes no new work, and says that it is overloaded: what can't be put
//! on record does not happen. What is in work already may still end, and whatever takes rights away always may.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redb::{ReadTransaction, ReadableTable, Table, TableDefinition, WriteTransaction};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::{Audit, Event};
use crate::call::CallError;
use crate::capability::{Clock, World};
use crate::monitor::{Label, Outlet};
use crate::rights::Role;
use crate::store::{Machine, Snapshots, Store, decode, encode};

/// number, from 1 -> [`Event`]: taken out once the audit log has it.
const EVENTS: TableDefinition<u64, &[u8]> = TableDefinition::new("outbox");
/// One row: the last number of [`EVENTS`]. The table forgets its rows; this does not.
const LAST: TableDefinition<(), u64> = TableDefinition::new("outbox_last");
/// One row: what tells this store from every other of its service.
const SOURCE: TableDefinition<(), u64> = TableDefinition::new("outbox_source");

/// Events that may wait for the log. A step takes some 150 bytes, a decision its body and some 300: at a hundred commands a
/// second an outage of an hour is bridged, and takes some 200 MB of disk.
pub const WAITING_MAX: u64 = 1_000_000;

/// Bytes of events in one append, the last event's excepted: with it, it fits a frame.
const BATCH_BYTES: usize = 256 * 1024;

/// Events in one append: the log's commit must not take long.
const BATCH_MAX: usize = 1024;

/// Relays send what waits at the multiples of this time, in milliseconds by their clocks, and a full batch at once. An append
/// costs the log a sync, however much is in it, and all that come together cost one: so all services send together.
const BEAT_MS: i64 = 50;

/// Whoever waits for the log to have all looks this often.
const LOOK: Duration = Duration::from_millis(10);

/// The pause after a failed append doubles from the first to the second.
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// What a store's machine knows of its outbox; the events themselves are rows of the store.
pub(crate) struct Outbox {
    service: Role,
    /// The name under which the log numbers them.
    source: String,
    /// The log has them up to this number.
    relayed: AtomicU64,
    /// The last that was written; a moment before it is durable.
    last: AtomicU64,
    /// There may be more than there were.
    grew: Notify,
}

impl Outbox {
    /// The outbox of the store that is being opened, of `service`; `fresh` names it if it is new.
    pub(crate) fn load(within: &WriteTransaction, service: Role, fresh: u64) -> Result<Arc<Self>, redb::Error> {
        let mut source = within.open_table(SOURCE)?;
        let kept = source.get(())?.map(|kept| kept.value());
        let name = kept.unwrap_or(fresh);
        source.insert((), name)?;
        let last = within.open_table(LAST)?.get(())?.map_or(0, |last| last.value());
        // What was relayed and is not struck off yet is sent once more, and passed over.
        let oldest = within.open_table(EVENTS)?.first()?.map(|(number, _)| number.value());
        let relayed = oldest.map_or(last, |oldest| oldest - 1);
        let (relayed, last, grew) = (relayed.into(), last.into(), Notify::new());
        grew.notify_one();
        Ok(Arc::new(Self { service, source: format!("{service}/{name:016x}"), relayed, last, grew }))
    }

    /// Opens it for the commit under way, which strikes off what was relayed.
    pub(crate) fn open<'t>(&'t self, within: &'t WriteTransaction) -> Result<Writing<'t>, redb::Error> {
        let mut rows = within.open_table(EVENTS)?;
        rows.retain_in(..=self.relayed.load(Ordering::Acquire), |_, _| false)?;
        Ok(Writing { outbox: self, rows, within, last: self.last.load(Ordering::Acquire) })
    }

    /// Tells the relay, once a commit is durable.
    pub(crate) fn committed(&self) {
        self.grew.notify_one();
    }

    /// How many events wait for the log.
    pub(crate) fn waiting(&self) -> u64 {
        self.last.load(Ordering::Acquire).saturating_sub(self.relayed.load(Ordering::Acquire))
    }

    /// Whether no new work may be taken.
    pub(crate) fn is_full(&self) -> bool {
        self.waiting() >= WAITING_MAX
    }

    /// When the oldest event that waits happened, in milliseconds since the Unix epoch, as `read` shows it.
    pub(crate) fn oldest_unix_ms(&self, read: &ReadTransaction) -> Result<Option<i64>, redb::Error> {
        let from = self.relayed.load(Ordering::Acquire) + 1;
        let oldest = read.open_table(EVENTS)?.range(from..)?.next().transpose()?;
        oldest.map(|(_, event)| Ok(decode::<Event>(event.value())?.at_unix_ms())).transpose()
    }

    /// As if the log had been away for so long that no more may wait.
    #[cfg(test)]
    pub(crate) fn fill(&self) {
        self.last.store(self.relayed.load(Ordering::Acquire) + WAITING_MAX, Ordering::Release);
    }

    /// That there is room for new work.
    ///
    /// # Errors
    /// When there is none: nothing was done then.
    pub(crate) fn has_room(&self) -> Result<(), CallError> {
        match self.is_full() {
            true => Err(CallError::failed(format!("overloaded: {WAITING_MAX} events wait for the audit log"))),
            false => Ok(()),
        }
    }
}

/// Has the world's monitor look at what waits in `store`: how much, since when, and whether more may.
pub(crate) fn watched<M: Machine>(world: &World, store: &Store<M>, outbox: &Arc<Outbox>, outlet: Outlet) {
    let (service, full) = (outbox.service, Arc::downgrade(outbox));
    world.monitor.health.needed(format!("{} outbox of {service}", outlet.value()), move || {
        std::future::ready(full.upgrade().map_or(Ok(()), |outbox| outbox.has_room().map_err(|error| error.to_string())))
    });
    let (looked_at, reader, clock) = (Arc::downgrade(outbox), store.reader(), world.clock.clone());
    world.monitor.probe(move |metrics| {
        let Some(outbox) = looked_at.upgrade() else { return };
        // What can't be read stays as it was: the store's own check tells of it.
        let Some(Ok(oldest)) = reader().map(|read| outbox.oldest_unix_ms(&read)) else { return };
        metrics.outbox_events.set((service, outlet), outbox.waiting() as f64);
        let age_ms = oldest.map_or(0, |oldest| (clock.now().as_millisecond() - oldest).max(0));
        metrics.outbox_age.set((service, outlet), age_ms as f64 / 1000.0);
    });
}

/// An outbox, open for one commit.
pub(crate) struct Writing<'t> {
    outbox: &'t Outbox,
    rows: Table<'t, u64, &'static [u8]>,
    within: &'t WriteTransaction,
    last: u64,
}

impl Writing<'_> {
    /// Writes `event` under the next number.
    pub(crate) fn push(&mut self, event: &Event) -> Result<(), redb::Error> {
        self.last += 1;
        self.rows.insert(self.last, encode(event).as_slice())?;
        Ok(())
    }

    /// Keeps how far the numbers have come: the last act of a commit on it.
    pub(crate) fn finish(self) -> Result<(), redb::Error> {
        if self.last > self.outbox.last.load(Ordering::Acquire) {
            self.within.open_table(LAST)?.insert((), self.last)?;
            // Should the commit fail, the store and this with it are at their end.
            self.outbox.last.store(self.last, Ordering::Release);
        }
        Ok(())
    }
}

/// A store's outbox as its relay sees it.
#[derive(Clone)]
pub struct Outgoing {
    outbox: Arc<Outbox>,
    snapshots: Snapshots,
}

/// Events on their way to the log.
struct Batch {
    /// The first one's number.
    first: u64,
    events: Vec<Event>,
    /// The number of the newest there ever was.
    newest: u64,
}

impl Outgoing {
    /// What waits in `store`.
    pub(crate) fn new<M: Machine>(store: &Store<M>, outbox: &Arc<Outbox>) -> Self {
        Self { outbox: outbox.clone(), snapshots: store.snapshots() }
    }

    /// How many events wait for the log.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.outbox.waiting()
    }

    /// All that waits, oldest first, for the tests of whoever writes it.
    #[cfg(test)]
    pub(crate) fn events(&self) -> Vec<Event> {
        self.batch().unwrap().map(|batch| batch.events).unwrap_or_default()
    }

    /// All steps that wait, each in a few words.
    #[cfg(test)]
    pub(crate) fn steps(&self) -> Vec<String> {
        let told = |event| match event {
            Event::Step(step) => {
                let whose =
                    step.message_id.map_or_else(|| step.tenant.map(|t| t.to_string()), |id| Some(id.to_string()));
                Some(format!("{} {} {}", step.kind, whose.unwrap_or_else(|| "-".into()), step.number))
            }
            Event::Decided(_) | Event::Refused(_) | Event::Raised(_) => None,
        };
        self.events().into_iter().filter_map(told).collect()
    }

    /// Waits until the log has all, `within` at most: the last act before a graceful stop. What it has not by then is on
    /// disk, and goes there after the next start.
    pub async fn flush(&self, within: Duration) {
        let relayed = async {
            while self.waiting() > 0 {
                sleep(LOOK).await;
            }
        };
        if timeout(within, relayed).await.is_err() {
            let (source, waiting) = (&self.outbox.source, self.waiting());
            tracing::warn!(
                source,
                waiting,
                "the audit log could not be told of all before the stop; the rest waits on disk"
            );
        }
    }

    /// The oldest events that the log may not have, if there are any.
    fn batch(&self) -> Result<Option<Batch>, redb::Error> {
        let read = self.snapshots.read()?;
        let newest = read.open_table(LAST)?.get(())?.map_or(0, |last| last.value());
        let (mut first, mut events, mut size) = (None, Vec::new(), 0);
        for row in read.open_table(EVENTS)?.range(self.outbox.relayed.load(Ordering::Acquire) + 1..)? {
            if size >= BATCH_BYTES || events.len() >= BATCH_MAX {
                break;
            }
            let (number, event) = row?;
            first.get_or_insert(number.value());
            size += event.value().len();
            events.push(decode(event.value())?);
        }
        Ok(first.map(|first| Batch { first, events, newest }))
    }
}

/// Waits for the next of the moments at which relays send.
async fn beat(clock: &dyn Clock) {
    let wait_ms = BEAT_MS - clock.now().as_millisecond().rem_euclid(BEAT_MS);
    sleep(Duration::from_millis(wait_ms.unsigned_abs())).await;
}

/// Relays to `audit`, for ever.
pub async fn relay(outgoing: Outgoing, audit: Arc<dyn Audit>, clock: Arc<dyn Clock>) {
    let (source, mut backoff) = (&outgoing.outbox.source, BACKOFF_MIN);
    loop {
        let batch = match outgoing.batch() {
            Ok(batch) => batch,
            Err(error) => {
                tracing::error!(%error, source, "failed to read the outbox");
                sleep(BACKOFF_MAX).await;
                continue;
            }
        };
        let Some(Batch { first, events, newest }) = batch else {
            outgoing.outbox.grew.notified().await;
            beat(&*clock).await;
            continue;
        };
        let is_all = first + events.len() as u64 > newest;
        match audit.append(source, first, events).await {
            Ok(last) if last <= newest => {
                outgoing.outbox.relayed.fetch_max(last, Ordering::AcqRel);
                backoff = BACKOFF_MIN;
                if is_all {
                    beat(&*clock).await;
                }
            }
            Ok(last) => {
                tracing::error!(
                    source,
                    last,
                    newest,
                    "the audit log has events of a later store than this one: was its folder replaced by an older one? Nothing \
                     is relayed until both are of one history"
                );
                sleep(BACKOFF_MAX).await;
            }
            // Nothing but a person mends this.
            Err(CallError::Failed(why)) if why.contains("are missing") => {
                tracing::error!(
                    why,
                    source,
                    "the audit log has lost events that this store no longer has: was its file removed, or replaced by an older \
                     copy? Put the newest back, or have it go on without them: `accept_gaps = true` under [audit]"
                );
                sleep(BACKOFF_MAX).await;
            }
            Err(error) => {
                tracing::warn!(%error, source, first, "failed to append to the audit log; the events stay in the outbox");
                sleep(backoff).await;
                backoff = (backoff * 2).min(BACKOFF_MAX);
            }
        }
    }
}
