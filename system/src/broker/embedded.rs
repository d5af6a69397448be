//! The broker of one machine: lanes in memory, messages in redb, group commit in between.
//!
//! What a restart needs is on disk - messages, the index that recognises a retry, dead letters - and what it can do
//! without is not: leases and attempts. After a crash everything unsettled simply goes out again.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use redb::{ReadableTable, ReadableTableMetadata, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::lane::{Exhausted, Lanes, Limits};
use super::{Broker, Delivery, Lease, Published, Settlement, Standing};
use crate::call::CallError;
use crate::capability::{Entropy, World};
use crate::grant::Envelope;
use crate::ids::{MessageId, TenantId};
use crate::jws::MAX_TOKEN_BYTES;
use crate::message::{BodyHash, MAX_BODY_BYTES, body_sha256};
use crate::store::{Machine, Store, decode, encode, read_id};

/// (tenant, sequence) -> [`Stored`].
const MESSAGES: TableDefinition<(&str, u64), &[u8]> = TableDefinition::new("messages");
/// (tenant, message id) -> (sequence, body hash). Outlives the message: a retry may come long after.
const INDEX: TableDefinition<(&str, &str), (u64, BodyHash)> = TableDefinition::new("index");
/// tenant -> the last sequence given out.
const SEQUENCES: TableDefinition<&str, u64> = TableDefinition::new("sequences");
/// (tenant, sequence) -> [`DeadLetter`].
const DEAD_LETTERS: TableDefinition<(&str, u64), &[u8]> = TableDefinition::new("dead_letters");

/// Settled messages are struck off in the next commit, whoever causes it; if nobody does, after this long.
const SETTLED_FLUSH: Duration = Duration::from_millis(200);

/// Messages in one fetch: that many of the largest bodies, with their grants, fit one frame.
const FETCH_MAX: usize = 12;

/// What an overloaded tenant is told to wait, in milliseconds.
const OVERLOAD_RETRY_MS: u64 = 500;

#[derive(Serialize, Deserialize)]
struct Stored {
    message_id: MessageId,
    envelope: Envelope,
}

/// A message that was put aside, with the reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct DeadLetter {
    message_id: MessageId,
    envelope: Envelope,
    reason: String,
}

/// The embedded, durable broker.
pub struct EmbeddedBroker {
    store: Arc<Store<Mailroom>>,
    entropy: Arc<dyn Entropy>,
    _flusher: JoinSet<()>,
}

impl EmbeddedBroker {
    /// Opens the broker's database and takes up every message that was not settled.
    ///
    /// # Errors
    /// When the database can't be opened.
    pub async fn open(world: &World, limits: Limits) -> io::Result<Self> {
        let store =
            Store::open(world.disk.clone(), "broker.redb", move |within| Mailroom::load(within, limits)).await?;
        let store = Arc::new(store);
        let mut flusher = JoinSet::new();
        flusher.spawn(flush_settled(store.clone()));
        Ok(Self { store, entropy: world.entropy.clone(), _flusher: flusher })
    }

    /// Returns when the store has failed, with the reason.
    pub async fn failed(&self) -> String {
        self.store.failed().await
    }

    /// Makes all settlements durable: the last act before a graceful stop.
    pub async fn flush(&self) -> Result<(), CallError> {
        self.store.execute(Command::Flush).await.map(drop)
    }

    /// Messages that wait or are out, of all tenants.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.store.machine().lock().lanes.total()
    }

    /// How many messages were put aside.
    pub fn dead_letters(&self) -> Result<u64, redb::Error> {
        Ok(self.store.read().open_table(DEAD_LETTERS)?.len()?)
    }

    async fn put_aside(&self, lease: &Lease, reason: String) -> Result<bool, CallError> {
        match self.store.execute(Command::PutAside { lease: lease.clone(), reason }).await? {
            Answer::PutAside { lease } => Ok(lease.is_some()),
            answer => unreachable!("asked to put aside, answered {answer:?}"),
        }
    }

    fn look_up(&self, tenant: &TenantId, message_id: &MessageId) -> Result<Option<Standing>, redb::Error> {
        let read = self.store.read();
        let Some(indexed) = read.open_table(INDEX)?.get((tenant.as_str(), message_id.as_str()))? else {
            return Ok(None);
        };
        let (sequence, _) = indexed.value();
        let key = (tenant.as_str(), sequence);
        if let Some(letter) = read.open_table(DEAD_LETTERS)?.get(key)? {
            let letter: DeadLetter = decode(letter.value())?;
            return Ok(Some(Standing::DeadLettered { reason: letter.reason }));
        }
        let settled = self.store.machine().lock().settled.iter().any(|(t, s)| (t, *s) == (tenant, sequence));
        let pending = !settled && read.open_table(MESSAGES)?.get(key)?.is_some();
        Ok(Some(if pending { Standing::Pending } else { Standing::Settled }))
    }

    fn lease_now(&self, max: usize) -> (Vec<Delivery>, Vec<Exhausted>, Option<Instant>) {
        let mut state = self.store.machine().lock();
        let (deliveries, exhausted) = state.lanes.lease(max, Instant::now(), || self.entropy.u64());
        (deliveries, exhausted, state.lanes.next_change())
    }
}

#[async_trait]
impl Broker for EmbeddedBroker {
    async fn publish(
        &self,
        tenant: &TenantId,
        message_id: &MessageId,
        envelope: Envelope,
    ) -> Result<Published, CallError> {
        // Whoever can publish must not be able to make a batch that no frame holds: others' messages travel in it.
        let (body, grant) = (envelope.body.len(), envelope.grant.len());
        if body > MAX_BODY_BYTES || grant > MAX_TOKEN_BYTES {
            let limits = format!("at most {MAX_BODY_BYTES} and {MAX_TOKEN_BYTES} are taken");
            return Err(CallError::failed(format!("a body of {body} bytes with a grant of {grant}: {limits}")));
        }
        let (tenant, message_id) = (tenant.clone(), message_id.clone());
        let body_hash = body_sha256(&envelope.body);
        match self.store.execute(Command::Publish { tenant, message_id, envelope, body_hash }).await? {
            Answer::Accepted { sequence, .. } => Ok(Published::Accepted { sequence }),
            Answer::Duplicate { sequence } => Ok(Published::Duplicate { sequence }),
            Answer::Conflict => Ok(Published::Conflict),
            Answer::Overloaded => Ok(Published::Overloaded { retry_after_ms: OVERLOAD_RETRY_MS }),
            answer => unreachable!("asked to publish, answered {answer:?}"),
        }
    }

    async fn fetch(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>, CallError> {
        let machine = self.store.machine();
        let give_up = Instant::now() + wait;
        let max = max.min(FETCH_MAX);
        loop {
            // Before looking, so that nothing can arrive unnoticed between the look and the wait.
            let changed = machine.changed.notified();
            let (deliveries, exhausted, next_change) = self.lease_now(max);
            for Exhausted { lease, attempts } in exhausted {
                self.put_aside(&lease, format!("delivered {attempts} times without any word from a consumer")).await?;
            }
            if !deliveries.is_empty() || Instant::now() >= give_up {
                return Ok(deliveries);
            }
            let wake = next_change.map_or(give_up, |at| at.min(give_up));
            tokio::select! {
                biased;
                () = changed => {}
                () = sleep_until(wake) => {}
            }
        }
    }

    async fn settle(&self, lease: &Lease, settlement: Settlement) -> Result<bool, CallError> {
        let machine = self.store.machine();
        let settled = match settlement {
            Settlement::DeadLetter { reason } => return self.put_aside(lease, reason).await,
            Settlement::Done => {
                let mut state = machine.lock();
                let removed = state.lanes.remove(lease, Instant::now());
                if removed {
                    state.settled.push((lease.tenant.clone(), lease.sequence));
                }
                removed
            }
            Settlement::Retry => machine.lock().lanes.retry(lease, Instant::now()),
        };
        machine.changed.notify_waiters();
        machine.settled.notify_one();
        Ok(settled)
    }

    async fn standing(&self, tenant: &TenantId, message_id: &MessageId) -> Result<Option<Standing>, CallError> {
        self.look_up(tenant, message_id).map_err(CallError::failed)
    }
}

/// Commits settlements that no other commit has taken along.
async fn flush_settled(store: Arc<Store<Mailroom>>) {
    loop {
        store.machine().settled.notified().await;
        sleep(SETTLED_FLUSH).await;
        let pending = !store.machine().lock().settled.is_empty();
        if pending && store.execute(Command::Flush).await.is_err() {
            return;
        }
    }
}

/// The state machine behind the store.
struct Mailroom {
    state: Mutex<State>,
    /// A message can go out that could not before.
    changed: Notify,
    /// Something was settled.
    settled: Notify,
}

struct State {
    lanes: Lanes,
    /// Settled, but still on disk: struck off by the next commit.
    settled: Vec<(TenantId, u64)>,
}

enum Command {
    Publish { tenant: TenantId, message_id: MessageId, envelope: Envelope, body_hash: BodyHash },
    PutAside { lease: Lease, reason: String },
    Flush,
}

#[derive(Debug)]
enum Answer {
    Accepted { tenant: TenantId, sequence: u64, message_id: MessageId, envelope: Envelope },
    Duplicate { sequence: u64 },
    Conflict,
    Overloaded,
    PutAside { lease: Option<Lease> },
    Flushed,
}

impl Mailroom {
    fn load(within: &WriteTransaction, limits: Limits) -> Result<Self, redb::Error> {
        let mut lanes = Lanes::new(limits);
        for entry in within.open_table(MESSAGES)?.iter()? {
            let (key, value) = entry?;
            let (tenant, sequence) = key.value();
            let stored: Stored = decode(value.value())?;
            lanes.push(&read_id(TenantId::parse, tenant)?, sequence, stored.message_id, stored.envelope);
        }
        within.open_table(INDEX)?;
        within.open_table(SEQUENCES)?;
        within.open_table(DEAD_LETTERS)?;
        let state = Mutex::new(State { lanes, settled: Vec::new() });
        Ok(Self { state, changed: Notify::new(), settled: Notify::new() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder panics")
    }
}

impl Machine for Mailroom {
    type Command = Command;
    type Answer = Answer;

    fn execute(&self, within: &WriteTransaction, batch: Vec<Command>) -> Result<Vec<Answer>, redb::Error> {
        let mut messages = within.open_table(MESSAGES)?;
        let mut index = within.open_table(INDEX)?;
        let mut sequences = within.open_table(SEQUENCES)?;
        let mut dead_letters = within.open_table(DEAD_LETTERS)?;
        let settled = std::mem::take(&mut self.lock().settled);
        for (tenant, sequence) in &settled {
            messages.remove((tenant.as_str(), *sequence))?;
        }
        let mut answers = Vec::with_capacity(batch.len());
        let mut accepted: BTreeMap<TenantId, usize> = BTreeMap::new();
        for command in batch {
            answers.push(match command {
                Command::Publish { tenant, message_id, envelope, body_hash } => {
                    let indexed = index.get((tenant.as_str(), message_id.as_str()))?.map(|found| found.value());
                    match indexed {
                        Some((sequence, hash)) if hash == body_hash => Answer::Duplicate { sequence },
                        Some(_) => Answer::Conflict,
                        // Only after a retry was recognised: what was confirmed once is confirmed, however full it is.
                        None if self.lock().lanes.is_full(&tenant, accepted.get(&tenant).copied().unwrap_or(0)) => {
                            Answer::Overloaded
                        }
                        None => {
                            *accepted.entry(tenant.clone()).or_default() += 1;
                            let sequence = sequences.get(tenant.as_str())?.map_or(0, |last| last.value()) + 1;
                            sequences.insert(tenant.as_str(), sequence)?;
                            index.insert((tenant.as_str(), message_id.as_str()), (sequence, body_hash))?;
                            let stored = Stored { message_id, envelope };
                            messages.insert((tenant.as_str(), sequence), encode(&stored).as_slice())?;
                            let Stored { message_id, envelope } = stored;
                            Answer::Accepted { tenant, sequence, message_id, envelope }
                        }
                    }
                }
                // Decided here, on the writer: a lease that ended while the command waited must not count.
                Command::PutAside { lease, .. } if !self.lock().lanes.holds(&lease, Instant::now()) => {
                    Answer::PutAside { lease: None }
                }
                Command::PutAside { lease, reason } => {
                    let key = (lease.tenant.as_str(), lease.sequence);
                    let stored = messages.remove(key)?.map(|stored| decode::<Stored>(stored.value())).transpose()?;
                    if let Some(Stored { message_id, envelope }) = stored {
                        let letter = DeadLetter { message_id, envelope, reason };
                        dead_letters.insert(key, encode(&letter).as_slice())?;
                    }
                    Answer::PutAside { lease: Some(lease) }
                }
                Command::Flush => Answer::Flushed,
            });
        }
        Ok(answers)
    }

    fn committed(&self, answers: &[Answer]) {
        let mut state = self.lock();
        for answer in answers {
            match answer {
                Answer::Accepted { tenant, sequence, message_id, envelope } => {
                    state.lanes.push(tenant, *sequence, message_id.clone(), envelope.clone());
                }
                // It holds no longer only if it ran out during the commit; then the message is gone all the same, and
                // the redelivery that may be under way finds its outcome in the ledger.
                Answer::PutAside { lease: Some(lease) } => state.lanes.forget(lease),
                Answer::PutAside { lease: None }
                | Answer::Duplicate { .. }
                | Answer::Conflict
                | Answer::Overloaded
                | Answer::Flushed => {}
            }
        }
        drop(state);
        self.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bench, message_id, tenant};

    const NO_WAIT: Duration = Duration::ZERO;

    fn envelope(body: &'static str) -> Envelope {
        Envelope { body: body.into(), grant: "grant".into() }
    }

    async fn open(bench: &Bench) -> EmbeddedBroker {
        EmbeddedBroker::open(&bench.world, Limits::default()).await.unwrap()
    }

    async fn publish(broker: &EmbeddedBroker, name: &str, id: &str, body: &'static str) -> Published {
        broker.publish(&tenant(name), &message_id(id), envelope(body)).await.unwrap()
    }

    #[tokio::test]
    async fn the_same_message_again_changes_nothing_and_another_body_under_its_id_is_refused() {
        let bench = Bench::new().await;
        let broker = open(&bench).await;
        assert_eq!(publish(&broker, "acme", "m-1", "body").await, Published::Accepted { sequence: 1 });
        assert_eq!(publish(&broker, "acme", "m-1", "body").await, Published::Duplicate { sequence: 1 });
        assert_eq!(publish(&broker, "acme", "m-1", "other").await, Published::Conflict);
        // The same id of another tenant is another message.
        assert_eq!(publish(&broker, "globex", "m-1", "other").await, Published::Accepted { sequence: 1 });
        assert_eq!(broker.depth(), 2);
    }

    #[tokio::test]
    async fn a_restart_brings_back_what_was_not_settled_and_forgets_what_was() {
        let bench = Bench::new().await;
        let broker = open(&bench).await;
        for id in ["m-1", "m-2", "m-3"] {
            publish(&broker, "acme", id, "body").await;
        }
        let first = broker.fetch(1, NO_WAIT).await.unwrap().remove(0);
        assert!(broker.settle(&first.lease, Settlement::Done).await.unwrap());
        assert_eq!(broker.fetch(1, NO_WAIT).await.unwrap()[0].message_id, message_id("m-2"));
        broker.flush().await.unwrap();
        drop(broker);

        let broker = reopen(&bench).await;
        let again = broker.fetch(1, NO_WAIT).await.unwrap().remove(0);
        assert_eq!((again.message_id, again.attempt), (message_id("m-2"), 1));
        assert!(!broker.settle(&first.lease, Settlement::Done).await.unwrap(), "a lease does not outlive the broker");
        assert_eq!(publish(&broker, "acme", "m-1", "body").await, Published::Duplicate { sequence: 1 });
        let acme = tenant("acme");
        assert_eq!(broker.standing(&acme, &message_id("m-1")).await.unwrap(), Some(Standing::Settled));
        assert_eq!(broker.standing(&acme, &message_id("m-3")).await.unwrap(), Some(Standing::Pending));
        assert_eq!(broker.standing(&acme, &message_id("m-4")).await.unwrap(), None);
    }

    /// The store's committer lets go of the file a moment after the broker is dropped.
    async fn reopen(bench: &Bench) -> EmbeddedBroker {
        loop {
            match EmbeddedBroker::open(&bench.world, Limits::default()).await {
                Ok(broker) => return broker,
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        }
    }

    #[tokio::test]
    async fn a_dead_letter_is_kept_with_its_reason_and_lets_the_next_message_pass() {
        let bench = Bench::new().await;
        let broker = open(&bench).await;
        publish(&broker, "acme", "m-1", "poison").await;
        publish(&broker, "acme", "m-2", "body").await;
        let poison = broker.fetch(1, NO_WAIT).await.unwrap().remove(0);
        assert!(broker.fetch(1, NO_WAIT).await.unwrap().is_empty());
        let reason = "unreadable".to_owned();
        assert!(broker.settle(&poison.lease, Settlement::DeadLetter { reason: reason.clone() }).await.unwrap());
        let standing = broker.standing(&tenant("acme"), &message_id("m-1")).await.unwrap();
        assert_eq!(standing, Some(Standing::DeadLettered { reason }));
        assert_eq!(broker.dead_letters().unwrap(), 1);
        assert_eq!(broker.fetch(1, NO_WAIT).await.unwrap()[0].message_id, message_id("m-2"));
    }

    #[tokio::test]
    async fn what_no_frame_could_carry_together_with_others_is_refused_and_did_not_happen() {
        let bench = Bench::new().await;
        let broker = open(&bench).await;
        let huge = Envelope { body: vec![b'x'; MAX_BODY_BYTES + 1].into(), grant: "grant".into() };
        let refused = broker.publish(&tenant("acme"), &message_id("m-1"), huge).await;
        assert!(matches!(refused, Err(CallError::Failed(_))), "{refused:?}");
        assert_eq!(broker.standing(&tenant("acme"), &message_id("m-1")).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_full_lane_pushes_back_and_other_tenants_do_not_feel_it() {
        let bench = Bench::new().await;
        let limits = Limits { depth_max: 1, ..Limits::default() };
        let broker = EmbeddedBroker::open(&bench.world, limits).await.unwrap();
        publish(&broker, "acme", "m-1", "body").await;
        assert!(matches!(publish(&broker, "acme", "m-2", "body").await, Published::Overloaded { .. }));
        assert_eq!(publish(&broker, "acme", "m-1", "body").await, Published::Duplicate { sequence: 1 });
        assert!(matches!(publish(&broker, "globex", "m-1", "body").await, Published::Accepted { .. }));
    }
}
