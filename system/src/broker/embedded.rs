//! The broker of one machine: lanes in memory, messages in redb, group commit in between.
//!
//! Everything is written in the order of time: a message under the next number of all, not of its tenant's, so that a
//! commit touches the same few pages for a hundred tenants and for a hundred thousand. What a restart needs is on disk -
//! messages, how they came back, what was settled lately, dead letters, who is paused - and leases are not: after a crash
//! everything unsettled simply goes out again.
//!
//! Settlements are lazy: they ride the next commit, whoever causes it. A crash may forget them, and the messages come again.
//! What the audit log is to hear of a message is written in the commit that makes it true: that it was published with the
//! message itself; that it was delivered, and came back, with the end of that delivery.

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

use super::dead_letters::{self, DEAD_LETTERS, Letters, Name};
use super::lane::{Exhausted, Lanes, Limits, Queued};
use super::recent::{Key, Known, Recent, key};
use super::{
    Attempt, Broker, DeadLetter, Delivery, Ending, Lease, LetterSummary, MessageStatus, Published, Settlement,
    Standing, Triage, Triaged, cut_reason,
};
use crate::audit::outbox::{self, Outbox};
use crate::audit::{Event, Outgoing, Step, StepKind};
use crate::call::CallError;
use crate::capability::{Clock, Entropy, World};
use crate::grant::{Envelope, GrantToken};
use crate::ids::{MessageId, TenantId};
use crate::jws::MAX_TOKEN_BYTES;
use crate::ledger::PauseGeneration;
use crate::message::{BodyHash, MAX_BODY_BYTES, body_sha256};
use crate::monitor::{
    DeadReason, DeliveryKind, Label, LaneClass, Metrics, Monitor, Outlet, PublishEnd, SettleEnd, SpanKind, Stage,
    TriageEnd,
};
use crate::rights::Role;
use crate::store::{Machine, Store, decode, encode, read_id};

/// sequence -> [`Stored`].
const MESSAGES: TableDefinition<u64, &[u8]> = TableDefinition::new("messages");
/// sequence -> how often a message that came back was delivered, and its latest [`Attempt`]s.
const ATTEMPTS: TableDefinition<u64, &[u8]> = TableDefinition::new("attempts");
/// number, in the order of settling -> (key, sequence, body hash) of the messages settled last.
const SETTLED: TableDefinition<u64, (Key, u64, BodyHash)> = TableDefinition::new("settled");
/// tenant -> the last generation of its pauses, of tenants that were ever paused.
const PAUSES: TableDefinition<&str, u64> = TableDefinition::new("pauses");
/// One row: (the epoch, the last sequence, the last number of [`SETTLED`]).
const LAST: TableDefinition<(), (u64, u64, u64)> = TableDefinition::new("last");

/// Settled messages are struck off in the next commit, whoever causes it; if nobody does, after this long.
const SETTLED_FLUSH: Duration = Duration::from_millis(200);

/// The file is worth a compaction when it is this many times as large as what is kept.
const COMPACT_FACTOR: u64 = 4;

/// The ledger numbers pauses one by one; a broker that started from nothing catches up with so many at once.
const PAUSES_AHEAD_MAX: u64 = 1024;

/// What a row takes on disk beside a message's bytes, roughly.
const ROW_BYTES: u64 = 160;

/// What an overloaded tenant is told to wait, in milliseconds.
const OVERLOAD_RETRY_MS: u64 = 500;

#[derive(Serialize, Deserialize)]
struct Stored {
    tenant: TenantId,
    message_id: MessageId,
    published_at_unix_ms: i64,
    envelope: Envelope,
}

/// The embedded, durable broker.
pub struct EmbeddedBroker {
    store: Arc<Store<Mailroom>>,
    entropy: Arc<dyn Entropy>,
    clock: Arc<dyn Clock>,
    monitor: Monitor,
    _flusher: JoinSet<()>,
}

impl EmbeddedBroker {
    /// Opens the broker's database and takes up every message that was not settled.
    ///
    /// # Errors
    /// When the database can't be opened.
    pub async fn open(world: &World, limits: Limits) -> io::Result<Self> {
        let clock = world.clock.clone();
        let (load_clock, monitor, fresh) = (clock.clone(), world.monitor.clone(), world.entropy.u64());
        let load = move |within: &WriteTransaction| Mailroom::load(within, limits, load_clock, monitor, fresh);
        let store = Arc::new(Store::open(world, Role::Broker, "broker.redb", load).await?);
        outbox::watched(world, &store, &store.machine().outbox, Outlet::Store);
        let mut flusher = JoinSet::new();
        flusher.spawn(flush_settled(store.clone()));
        let (monitor, looked_at, its_clock) = (world.monitor.clone(), Arc::downgrade(&store), clock.clone());
        monitor.probe(move |metrics| {
            if let Some(store) = looked_at.upgrade() {
                look(&store, metrics, its_clock.now().as_millisecond());
            }
        });
        Ok(Self { store, entropy: world.entropy.clone(), clock, monitor, _flusher: flusher })
    }

    /// Returns when the store has failed, with the reason.
    pub async fn failed(&self) -> String {
        self.store.failed().await
    }

    /// Makes all settlements durable: the last act before a graceful stop.
    pub async fn flush(&self) -> Result<(), CallError> {
        self.store.execute(Command::Flush).await.map(drop)
    }

    /// What waits for the audit log.
    #[must_use]
    pub fn outgoing(&self) -> Outgoing {
        Outgoing::new(&self.store, &self.store.machine().outbox)
    }

    /// Messages that wait or are out, of all tenants.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.store.machine().lock().lanes.total()
    }

    /// Whether nothing waits or is out, and all that has happened is durable.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        let state = self.store.machine().lock();
        state.lanes.total() == 0 && !state.is_behind()
    }

    /// How often the file was compacted since the start.
    #[must_use]
    pub fn compactions(&self) -> u64 {
        self.store.machine().lock().compactions
    }

    /// How many messages were put aside.
    pub fn dead_letters_kept(&self) -> Result<u64, redb::Error> {
        Ok(self.store.read()?.open_table(DEAD_LETTERS)?.len()?)
    }

    /// A dead letter as committed: for checking, not for serving.
    pub fn kept_letter(&self, tenant: &TenantId, message_id: &MessageId) -> Result<Option<DeadLetter>, redb::Error> {
        dead_letters::one(&*self.store.read()?, tenant, message_id)
    }

    /// Every message that was put aside, by its tenant and id: for reconciliation, not for serving.
    pub fn every_dead_letter(&self) -> Result<Vec<(TenantId, MessageId)>, redb::Error> {
        dead_letters::every_name(&*self.store.read()?, false)
    }

    /// Every message that was discarded, by its tenant and id: for reconciliation, not for serving.
    pub fn every_discarded(&self) -> Result<Vec<(TenantId, MessageId)>, redb::Error> {
        dead_letters::every_name(&*self.store.read()?, true)
    }

    /// Every message that waits or is out, by its tenant and id: for reconciliation, not for serving.
    pub fn every_waiting(&self) -> Result<Vec<(TenantId, MessageId)>, redb::Error> {
        let read = self.store.read()?;
        let mut names = Vec::new();
        for row in read.open_table(MESSAGES)?.iter()? {
            let (sequence, stored) = row?;
            let Stored { tenant, message_id, .. } = decode(stored.value())?;
            // What was settled is struck off in a later commit.
            if self.store.machine().lock().lanes.contains(&tenant, sequence.value()) {
                names.push((tenant, message_id));
            }
        }
        Ok(names)
    }

    async fn triage(&self, name: Name, triage: &Triage, grant: Option<GrantToken>) -> Result<Triaged, CallError> {
        let (machine, mut triage) = (self.store.machine(), triage.clone());
        if machine.outbox.is_full() {
            return Ok(Triaged::Overloaded { retry_after_ms: OVERLOAD_RETRY_MS });
        }
        cut_reason(&mut triage.reason);
        match self.store.execute(Command::Triage { name, triage, grant }).await? {
            Answer::Triaged { triaged, .. } => Ok(triaged),
            answer => unreachable!("asked to deal with a dead letter, answered {answer:?}"),
        }
    }

    async fn settle_durably(&self, lease: &Lease, settlement: Settlement) -> Result<bool, CallError> {
        let (lease, why) = (lease.clone(), DeadReason::Refused);
        match self.store.execute(Command::Settle { lease, settlement, why }).await? {
            Answer::Settled { .. } => Ok(true),
            Answer::NotHeld => Ok(false),
            answer => unreachable!("asked to settle, answered {answer:?}"),
        }
    }

    fn look_up(&self, tenant: &TenantId, message_id: &MessageId) -> Result<Option<MessageStatus>, redb::Error> {
        let read = self.store.read()?;
        if let Some(letter) = dead_letters::one(&read, tenant, message_id)? {
            let body_sha256 = body_sha256(&letter.envelope.body);
            return Ok(Some(MessageStatus { body_sha256, standing: Standing::DeadLettered { reason: letter.reason } }));
        }
        if let Some(discarded) = dead_letters::tombstone(&read, tenant, message_id)? {
            return Ok(Some(MessageStatus { body_sha256: discarded.body_hash, standing: discarded.standing() }));
        }
        Ok(self.store.machine().lock().in_memory(tenant, &key(tenant, message_id)))
    }

    /// Counts what goes out, and ends its wait: each delivery is a span under the publish that its message came with.
    fn sent_out(&self, deliveries: &mut [Delivery]) {
        let now_unix_ms = self.clock.now().as_millisecond();
        let Metrics { deliveries: sent, stage, .. } = &*self.monitor.metrics;
        for message in deliveries.iter_mut().flat_map(|delivery| &mut delivery.messages) {
            sent.inc(if message.attempt > 1 { DeliveryKind::Again } else { DeliveryKind::First });
            stage.observe(Stage::QueueWait, (now_unix_ms - message.published_at_unix_ms) as f64 / 1000.0);
            let mut span = self.monitor.tracer.start("queue.wait", SpanKind::Internal, message.envelope.trace);
            span.began_at(message.published_at_unix_ms);
            span.note("messaging.system", "tenantry");
            span.note("messaging.message.id", &message.message_id);
            span.note("tenantry.attempt", message.attempt);
            message.envelope.trace = span.context;
        }
    }

    fn lease_now(&self, max: usize) -> (Vec<Delivery>, Vec<Exhausted>, Option<Instant>) {
        let unix_ms = self.clock.now().as_millisecond();
        let machine = self.store.machine();
        let mut state = machine.lock();
        // A delivery that can't be put on record must not happen.
        if machine.outbox.is_full() {
            return (Vec::new(), Vec::new(), None);
        }
        let (deliveries, exhausted) = state.lanes.lease(max, Instant::now(), unix_ms, || self.entropy.u64());
        if state.lanes.has_news() {
            machine.lazy.notify_one();
        }
        if !deliveries.is_empty() {
            // Whoever waits must learn when these leases run out.
            machine.changed.notify_waiters();
        }
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
        if is_oversized(&envelope) {
            let (body, grant) = (envelope.body.len(), envelope.grant.len());
            let limits = format!("at most {MAX_BODY_BYTES} and {MAX_TOKEN_BYTES} are taken");
            return Err(CallError::failed(format!("a body of {body} bytes with a grant of {grant}: {limits}")));
        }
        if self.store.machine().outbox.is_full() {
            return Ok(Published::Overloaded { retry_after_ms: OVERLOAD_RETRY_MS });
        }
        // Everything that needs no order is done here, before the one writer.
        let message = Queued::new(
            key(tenant, message_id),
            body_sha256(&envelope.body),
            message_id.clone(),
            self.clock.now().as_millisecond(),
            envelope,
        );
        match self.store.execute(Command::Publish { tenant: tenant.clone(), message }).await? {
            Answer::Accepted { sequence } => Ok(Published::Accepted { sequence }),
            Answer::Duplicate { sequence } => Ok(Published::Duplicate { sequence }),
            Answer::Conflict => Ok(Published::Conflict),
            Answer::Overloaded => Ok(Published::Overloaded { retry_after_ms: OVERLOAD_RETRY_MS }),
            answer => unreachable!("asked to publish, answered {answer:?}"),
        }
    }

    async fn fetch(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>, CallError> {
        let machine = self.store.machine();
        let give_up = Instant::now() + wait;
        loop {
            // Before looking, so that nothing can arrive unnoticed between the look and the wait.
            let changed = machine.changed.notified();
            let (mut deliveries, exhausted, next_change) = self.lease_now(max);
            for Exhausted { lease, deliveries: times } in exhausted {
                let reason = format!("delivered {times} times, at last without any word from a consumer");
                let settlement = Settlement { ended: vec![Ending::DeadLetter { reason }], ..Settlement::default() };
                let store = self.store.clone();
                // Not waited for: what is leased to this caller must reach it. If it fails, the lease runs out.
                let why = DeadReason::Silent;
                tokio::spawn(async move { store.execute(Command::Settle { lease, settlement, why }).await.map(drop) });
            }
            if !deliveries.is_empty() || Instant::now() >= give_up {
                self.sent_out(&mut deliveries);
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

    async fn settle(&self, lease: &Lease, mut settlement: Settlement) -> Result<bool, CallError> {
        settlement.cut_reasons();
        if settlement.ended.iter().any(|ending| matches!(ending, Ending::DeadLetter { .. })) {
            let settled = self.settle_durably(lease, settlement).await?;
            self.monitor.metrics.settlements.inc(if settled { SettleEnd::Settled } else { SettleEnd::Late });
            return Ok(settled);
        }
        let machine = self.store.machine();
        let settled = {
            let mut state = machine.lock();
            let settled = state.lanes.settle(lease, &settlement, Instant::now());
            let ended = settled.as_ref().map_or(&[][..], Vec::as_slice);
            state.settled.extend(ended.iter().map(Settled::from));
            settled.is_some()
        };
        machine.changed.notify_waiters();
        machine.lazy.notify_one();
        self.monitor.metrics.settlements.inc(if settled { SettleEnd::Settled } else { SettleEnd::Late });
        Ok(settled)
    }

    async fn standing(&self, tenant: &TenantId, message_id: &MessageId) -> Result<Option<MessageStatus>, CallError> {
        self.look_up(tenant, message_id).map_err(CallError::failed)
    }

    async fn pause(&self, tenant: &TenantId, generation: PauseGeneration) -> Result<PauseGeneration, CallError> {
        match self.store.execute(Command::Pause { tenant: tenant.clone(), generation }).await? {
            Answer::Paused { generation } | Answer::Resumed { generation, .. } => Ok(generation),
            answer => unreachable!("asked to pause, answered {answer:?}"),
        }
    }

    async fn dead_letters(
        &self,
        tenant: &TenantId,
        after: Option<&MessageId>,
        max: usize,
    ) -> Result<Vec<LetterSummary>, CallError> {
        let page = self.store.read().and_then(|read| dead_letters::page(&read, tenant, after, max));
        page.map_err(CallError::failed)
    }

    async fn dead_letter(&self, tenant: &TenantId, message_id: &MessageId) -> Result<Option<DeadLetter>, CallError> {
        let letter = self.store.read().and_then(|read| dead_letters::one(&read, tenant, message_id));
        letter.map_err(CallError::failed)
    }

    async fn replay(
        &self,
        tenant: &TenantId,
        message_id: &MessageId,
        triage: &Triage,
        grant: GrantToken,
    ) -> Result<Triaged, CallError> {
        if grant.len() > MAX_TOKEN_BYTES {
            let why = format!("a grant of {} bytes: at most {MAX_TOKEN_BYTES} are taken", grant.len());
            return Err(CallError::failed(why));
        }
        self.triage((tenant.clone(), message_id.clone()), triage, Some(grant)).await
    }

    async fn discard(&self, tenant: &TenantId, message_id: &MessageId, triage: &Triage) -> Result<Triaged, CallError> {
        self.triage((tenant.clone(), message_id.clone()), triage, None).await
    }
}

/// Whether it is larger than any message may be.
pub(super) fn is_oversized(envelope: &Envelope) -> bool {
    envelope.body.len() > MAX_BODY_BYTES || envelope.grant.len() > MAX_TOKEN_BYTES
}

/// Counts what is durable.
fn count(answer: &Answer, metrics: &Metrics) {
    match answer {
        Answer::Accepted { .. } => metrics.publishes.inc(PublishEnd::Accepted),
        Answer::Duplicate { .. } => metrics.publishes.inc(PublishEnd::Duplicate),
        Answer::Conflict => metrics.publishes.inc(PublishEnd::Conflict),
        Answer::Overloaded => metrics.publishes.inc(PublishEnd::Overloaded),
        Answer::Settled { settlement, ended, why, .. } => {
            let endings = settlement.ended.iter().take(ended.len());
            let dead = endings.filter(|ending| matches!(ending, Ending::DeadLetter { .. })).count();
            metrics.dead_letters.add(*why, dead as u64);
        }
        Answer::Triaged { triaged: Triaged::Done { .. }, end } => metrics.dead_letters_triaged.inc(*end),
        Answer::Triaged { .. } | Answer::NotHeld | Answer::Paused { .. } | Answer::Resumed { .. } | Answer::Flushed => {
        }
    }
}

/// Sets the gauges of `store`. It holds the lanes for as long as it takes to go through them: a millisecond for ten
/// thousand tenants.
fn look(store: &Store<Mailroom>, metrics: &Metrics, now_unix_ms: i64) {
    let (census, bytes) = {
        let state = store.machine().lock();
        (state.lanes.census(), state.lanes.total_bytes())
    };
    for (class, counted) in LaneClass::ALL.iter().zip(census) {
        metrics.lanes.set(*class, counted.lanes as f64);
        metrics.messages.set(*class, counted.messages as f64);
        let age_ms = counted.oldest_unix_ms.map_or(0, |oldest| (now_unix_ms - oldest).max(0));
        metrics.oldest.set(*class, age_ms as f64 / 1000.0);
    }
    metrics.queue_bytes.set((), bytes as f64);
    // While the file is compacted, what was known before stands.
    let dead = store.read().and_then(|read| Ok(read.open_table(DEAD_LETTERS)?.len()?));
    dead.into_iter().for_each(|dead| metrics.dead_letters_kept.set((), dead as f64));
}

/// Commits what is lazy and what no other commit has taken along.
async fn flush_settled(store: Arc<Store<Mailroom>>) {
    loop {
        store.machine().lazy.notified().await;
        sleep(SETTLED_FLUSH).await;
        if store.machine().lock().is_behind() && store.execute(Command::Flush).await.is_err() {
            return;
        }
    }
}

/// The state machine behind the store.
struct Mailroom {
    state: Mutex<State>,
    /// A message can go out that could not before.
    changed: Notify,
    /// There is something that the next commit should take along.
    lazy: Notify,
    clock: Arc<dyn Clock>,
    outbox: Arc<Outbox>,
    monitor: Monitor,
}

struct State {
    lanes: Lanes,
    recent: Recent,
    pauses: BTreeMap<TenantId, PauseGeneration>,
    /// Written, but not yet durable.
    arriving: Vec<(TenantId, Queued)>,
    /// Settled, but still on disk: struck off by the next commit.
    settled: Vec<Settled>,
    epoch: u64,
    last_sequence: u64,
    last_settled: u64,
    /// Bytes of dead letters.
    dead_bytes: usize,
    compact_from: u64,
    compactions: u64,
}

impl State {
    fn is_behind(&self) -> bool {
        !self.settled.is_empty() || self.lanes.has_news()
    }

    /// What became of a message that is neither a dead letter nor discarded.
    fn in_memory(&self, tenant: &TenantId, key: &Key) -> Option<MessageStatus> {
        self.recent.get(key).map(|Known { sequence, body_hash }| {
            let pending = self.lanes.contains(tenant, sequence);
            let standing = if pending { Standing::Pending } else { Standing::Settled };
            MessageStatus { body_sha256: body_hash, standing }
        })
    }
}

#[derive(Debug)]
struct Settled {
    key: Key,
    sequence: u64,
    body_hash: BodyHash,
    came_back: bool,
    /// It was put aside, and has its row elsewhere.
    dead: bool,
}

impl From<&Queued> for Settled {
    fn from(message: &Queued) -> Self {
        let Queued { key, sequence, body_hash, deliveries, .. } = message;
        // An earlier delivery is on record by its count.
        Self { key: *key, sequence: *sequence, body_hash: *body_hash, came_back: *deliveries > 1, dead: false }
    }
}

enum Command {
    Publish {
        tenant: TenantId,
        message: Queued,
    },
    /// `why` tells of what becomes a dead letter whether someone has refused it, or it met nothing but silence.
    Settle {
        lease: Lease,
        settlement: Settlement,
        why: DeadReason,
    },
    Pause {
        tenant: TenantId,
        generation: PauseGeneration,
    },
    /// Replays a dead letter with `grant`, or discards it.
    Triage {
        name: Name,
        triage: Triage,
        grant: Option<GrantToken>,
    },
    Flush,
}

#[derive(Debug)]
enum Answer {
    Accepted { sequence: u64 },
    Duplicate { sequence: u64 },
    Conflict,
    Overloaded,
    Settled { lease: Lease, settlement: Settlement, ended: Vec<Queued>, why: DeadReason },
    NotHeld,
    Paused { generation: PauseGeneration },
    Resumed { tenant: TenantId, generation: PauseGeneration },
    Triaged { triaged: Triaged, end: TriageEnd },
    Flushed,
}

/// What a batch makes of the state before anything is written: all decided under one lock, then written without it.
#[derive(Default)]
struct Decided {
    answers: Vec<Answer>,
    arrivals: Vec<(TenantId, Queued)>,
    letters: Letters,
    settled: Vec<Settled>,
    news: Vec<(u64, (u32, Vec<Attempt>))>,
    steps: Vec<Step>,
    pauses: Vec<(TenantId, PauseGeneration)>,
    last: (u64, u64, u64),
    settled_from: u64,
    forgotten: Vec<u64>,
}

impl Mailroom {
    fn load(
        within: &WriteTransaction,
        limits: Limits,
        clock: Arc<dyn Clock>,
        monitor: Monitor,
        fresh: u64,
    ) -> Result<Self, redb::Error> {
        let mut last = within.open_table(LAST)?;
        let kept = last.get(())?.map(|kept| kept.value());
        let now = u64::try_from(clock.now().as_millisecond()).unwrap_or(0);
        let (last_epoch, last_sequence, last_settled) = kept.unwrap_or_default();
        // Later than every start before, even if the file is an older one: what the ledger saw since then is behind.
        let epoch = now.max(last_epoch + 1);
        last.insert((), (epoch, last_sequence, last_settled))?;
        let (mut lanes, mut recent) = (Lanes::new(limits, epoch), Recent::default());
        let mut pauses = BTreeMap::new();
        for row in within.open_table(PAUSES)?.iter()? {
            let (tenant, generation) = row?;
            let (tenant, generation) = (read_id(TenantId::parse, tenant.value())?, PauseGeneration(generation.value()));
            lanes.pause(&tenant, generation.is_paused());
            pauses.insert(tenant, generation);
        }
        let attempts = within.open_table(ATTEMPTS)?;
        for row in within.open_table(MESSAGES)?.iter()? {
            let (sequence, stored) = row?;
            let Stored { tenant, message_id, published_at_unix_ms, envelope } = decode(stored.value())?;
            let hash = body_sha256(&envelope.body);
            let mut message = Queued::new(key(&tenant, &message_id), hash, message_id, published_at_unix_ms, envelope);
            message.sequence = sequence.value();
            if let Some(kept) = attempts.get(message.sequence)? {
                message.restore(decode(kept.value())?);
            }
            recent.insert(message.key, Known { sequence: message.sequence, body_hash: hash });
            lanes.push(&tenant, message);
        }
        for row in within.open_table(SETTLED)?.iter()? {
            let (number, settled) = row?;
            let (key, sequence, body_hash) = settled.value();
            recent.insert(key, Known { sequence, body_hash });
            recent.settle(number.value(), key);
        }
        let dead_bytes = dead_letters::load(within, &mut recent)?;
        let (arriving, settled) = (Vec::new(), Vec::new());
        let state = State {
            lanes,
            recent,
            pauses,
            arriving,
            settled,
            epoch,
            last_sequence,
            last_settled,
            dead_bytes,
            compact_from: limits.compact_from,
            compactions: 0,
        };
        let outbox = Outbox::load(within, Role::Broker, fresh)?;
        Ok(Self { state: Mutex::new(state), changed: Notify::new(), lazy: Notify::new(), clock, outbox, monitor })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder panics")
    }
}

impl State {
    /// Decides `batch` at `unix_ms`; `letters` is what is on disk of the dead letters that it names.
    fn decide(&mut self, batch: Vec<Command>, mut letters: Letters, unix_ms: i64) -> Decided {
        let mut decided = Decided { settled: std::mem::take(&mut self.settled), ..Decided::default() };
        let mut steps = Vec::new();
        // What this batch itself accepts: nobody else may see it before it is durable.
        let mut arriving: BTreeMap<Key, Known> = BTreeMap::new();
        let mut coming: BTreeMap<TenantId, (usize, usize)> = BTreeMap::new();
        for command in batch {
            let answer = match command {
                Command::Publish { tenant, mut message } => {
                    let known = self.recent.get(&message.key).or_else(|| arriving.get(&message.key).copied());
                    let (count, bytes) = coming.get(&tenant).copied().unwrap_or_default();
                    match known {
                        Some(known) if known.body_hash == message.body_hash => {
                            steps.push(message.step(&tenant, StepKind::Duplicate, known.sequence));
                            Answer::Duplicate { sequence: known.sequence }
                        }
                        Some(_) => Answer::Conflict,
                        // Only after a retry was recognised: what was confirmed once is confirmed, however full it is.
                        None if self.lanes.is_full(&tenant, count, bytes) => Answer::Overloaded,
                        None => {
                            self.last_sequence += 1;
                            message.sequence = self.last_sequence;
                            let known = Known { sequence: message.sequence, body_hash: message.body_hash };
                            arriving.insert(message.key, known);
                            coming.insert(tenant.clone(), (count + 1, bytes + message.bytes()));
                            steps.push(message.step(&tenant, StepKind::Published, message.sequence));
                            decided.arrivals.push((tenant, message));
                            Answer::Accepted { sequence: self.last_sequence }
                        }
                    }
                }
                // Decided here, on the writer: a lease that ended while the command waited must not count.
                Command::Settle { lease, settlement, why } => {
                    match self.lanes.hold(&lease, settlement.ended.len(), Instant::now()) {
                        None => Answer::NotHeld,
                        Some(ended) => {
                            for (message, ending) in ended.iter().zip(&settlement.ended) {
                                let Ending::DeadLetter { reason } = ending else { continue };
                                let letter = message.dead_letter(self.epoch, reason, unix_ms);
                                let kind = match why {
                                    DeadReason::Silent => StepKind::GivenUp,
                                    DeadReason::Refused => StepKind::DeadLettered,
                                };
                                let step = message.step(&lease.tenant, kind, message.deliveries.into());
                                steps.push(Step { detail: reason.clone(), ..step });
                                self.dead_bytes += message.bytes();
                                let name = (lease.tenant.clone(), message.message_id.clone());
                                letters.put_aside(name, letter);
                            }
                            decided.settled.extend(ended.iter().zip(&settlement.ended).map(|(message, ending)| {
                                let dead = matches!(ending, Ending::DeadLetter { .. });
                                Settled { dead, ..Settled::from(message) }
                            }));
                            Answer::Settled { lease, settlement, ended, why }
                        }
                    }
                }
                Command::Pause { tenant, generation } => {
                    let last = self.pauses.entry(tenant.clone()).or_default();
                    // An earlier one comes late, and was overruled. One far ahead is nobody's, and could never be overruled.
                    if generation > *last && generation.0 - last.0 <= PAUSES_AHEAD_MAX {
                        *last = generation;
                        decided.pauses.push((tenant.clone(), generation));
                    }
                    // Nothing more goes out from here on; what goes out again waits until that is durable.
                    let generation = *last;
                    if generation.is_paused() {
                        self.lanes.pause(&tenant, true);
                        Answer::Paused { generation }
                    } else {
                        Answer::Resumed { tenant, generation }
                    }
                }
                Command::Triage { name, triage, grant } => {
                    let end = if grant.is_some() { TriageEnd::Replayed } else { TriageEnd::Discarded };
                    let (count, bytes) = coming.get(&name.0).copied().unwrap_or_default();
                    let triaged = match (letters.meant(&name, &triage), grant) {
                        (None, _) => {
                            let memory = self.in_memory(&name.0, &key(&name.0, &name.1));
                            Triaged::Stands(letters.standing(&name).or(memory.map(|known| known.standing)))
                        }
                        (Some(_), Some(_)) if self.lanes.is_full(&name.0, count, bytes) => {
                            Triaged::Overloaded { retry_after_ms: OVERLOAD_RETRY_MS }
                        }
                        (Some(letter), Some(grant)) => {
                            self.last_sequence += 1;
                            let message = letter.replayed(&name, grant, self.last_sequence, unix_ms);
                            self.dead_bytes = self.dead_bytes.saturating_sub(message.bytes());
                            coming.insert(name.0.clone(), (count + 1, bytes + message.bytes()));
                            steps.push(triage.step(&name, StepKind::Replayed, message.sequence, message.action()));
                            decided.news.push((message.sequence, (message.deliveries, Vec::new())));
                            decided.arrivals.push((name.0.clone(), message));
                            letters.end(name, None);
                            Triaged::Done { sequence: self.last_sequence }
                        }
                        (Some(letter), None) => {
                            let sequence = letter.position.sequence;
                            self.dead_bytes = self.dead_bytes.saturating_sub(letter.bytes());
                            let (_, action) = Queued::named(&letter.envelope.body);
                            steps.push(triage.step(&name, StepKind::Discarded, sequence, action));
                            letters.end(name, Some(triage.tombstone(unix_ms)));
                            Triaged::Done { sequence }
                        }
                    };
                    Answer::Triaged { triaged, end }
                }
                Command::Flush => Answer::Flushed,
            };
            decided.answers.push(answer);
        }
        decided.steps = self.lanes.take_happened(unix_ms);
        decided.steps.extend(steps.into_iter().map(|step| Step { at_unix_ms: unix_ms, ..step }));
        decided.news.extend(self.lanes.take_news());
        // A dead letter stays known by its own table.
        decided.settled_from = self.last_settled;
        for settled in decided.settled.iter().filter(|settled| !settled.dead) {
            self.last_settled += 1;
            decided.forgotten.extend(self.recent.settle(self.last_settled, settled.key));
        }
        decided.letters = letters;
        decided.last = (self.epoch, self.last_sequence, self.last_settled);
        decided
    }
}

impl Machine for Mailroom {
    type Command = Command;
    type Answer = Answer;

    fn execute(&self, within: &WriteTransaction, batch: Vec<Command>) -> Result<Vec<Answer>, redb::Error> {
        let named = batch.iter().filter_map(|command| match command {
            Command::Triage { name, .. } => Some(name),
            _ => None,
        });
        let letters = Letters::find(within, named)?;
        let decided = self.lock().decide(batch, letters, self.clock.now().as_millisecond());
        let mut outbox = self.outbox.open(within)?;
        for step in decided.steps {
            outbox.push(&Event::Step(step))?;
        }
        outbox.finish()?;
        let mut messages = within.open_table(MESSAGES)?;
        for (tenant, message) in &decided.arrivals {
            let Queued { message_id, published_at_unix_ms, envelope, .. } = message.clone();
            let stored = Stored { tenant: tenant.clone(), message_id, published_at_unix_ms, envelope };
            messages.insert(message.sequence, encode(&stored).as_slice())?;
        }
        let (mut attempts, mut settled) = (within.open_table(ATTEMPTS)?, within.open_table(SETTLED)?);
        for (sequence, kept) in &decided.news {
            attempts.insert(sequence, encode(kept).as_slice())?;
        }
        let mut number = decided.settled_from;
        for &Settled { key, sequence, body_hash, came_back, dead } in &decided.settled {
            messages.remove(sequence)?;
            if came_back {
                attempts.remove(sequence)?;
            }
            if !dead {
                number += 1;
                settled.insert(number, (key, sequence, body_hash))?;
            }
        }
        for number in &decided.forgotten {
            settled.remove(number)?;
        }
        decided.letters.write(within)?;
        if !decided.pauses.is_empty() {
            let mut pauses = within.open_table(PAUSES)?;
            for (tenant, generation) in &decided.pauses {
                pauses.insert(tenant.as_str(), generation.0)?;
            }
        }
        within.open_table(LAST)?.insert((), decided.last)?;
        self.lock().arriving = decided.arrivals;
        Ok(decided.answers)
    }

    fn committed(&self, answers: &[Answer]) {
        answers.iter().for_each(|answer| count(answer, &self.monitor.metrics));
        let mut state = self.lock();
        for (tenant, message) in std::mem::take(&mut state.arriving) {
            state.recent.insert(message.key, Known { sequence: message.sequence, body_hash: message.body_hash });
            state.lanes.push(&tenant, message);
        }
        // First what ended, then who goes on: a tenant that was paused and resumed in this very commit is still paused while
        // the messages that ended are taken out.
        for answer in answers {
            if let Answer::Settled { lease, settlement, ended, .. } = answer {
                state.lanes.finish(lease, settlement, ended, Instant::now());
            }
        }
        for answer in answers {
            match answer {
                // Unless it was paused once more in the same commit.
                Answer::Resumed { tenant, .. } if !state.pauses[tenant].is_paused() => state.lanes.pause(tenant, false),
                _ => {}
            }
        }
        if state.lanes.has_news() {
            self.lazy.notify_one();
        }
        drop(state);
        self.changed.notify_waiters();
        self.outbox.committed();
    }

    fn compact_beyond(&self) -> Option<u64> {
        let state = self.lock();
        let events = usize::try_from(self.outbox.waiting()).unwrap_or(usize::MAX);
        let rows = state.lanes.total() + state.recent.len() + events;
        let bytes = state.lanes.total_bytes() + state.dead_bytes;
        Some(state.compact_from.max(COMPACT_FACTOR * (bytes as u64 + ROW_BYTES * rows as u64)))
    }

    fn compacted(&self) {
        self.lock().compactions += 1;
    }
}

#[cfg(test)]
#[path = "embedded_tests.rs"]
mod tests;
