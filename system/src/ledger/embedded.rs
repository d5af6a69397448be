//! The ledger in redb: many commands share one physical commit, each decided before its first write.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use redb::{ReadableTable, Table, TableDefinition, WriteTransaction};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::keyspace::{self, Digest, Recorded, Tables, TenantTransaction};
use super::{Applied, Ledger, Outcome, PauseGeneration, Paused, Run, TenantState, Work};
use crate::action::{Declined, Rejection};
use crate::audit::AuditEntry;
use crate::auth::Decision;
use crate::call::CallError;
use crate::capability::{Clock, World};
use crate::grant::{TenantScope, VerifiedCommand, VerifiedPause, VerifiedRead};
use crate::ids::{MessageId, TenantId};
use crate::store::{Machine, Store, decode, encode};

/// number, from 1 -> [`AuditEntry`]: written with the effect, taken out once the audit log has it.
const OUTBOX: TableDefinition<u64, &[u8]> = TableDefinition::new("outbox");
/// One row: the outbox's last number. The table forgets its rows; this does not.
const OUTBOX_LAST: TableDefinition<(), u64> = TableDefinition::new("outbox_last");

/// The embedded, durable ledger.
pub struct EmbeddedLedger {
    store: Store<Books>,
}

impl EmbeddedLedger {
    /// Opens the ledger's database.
    ///
    /// # Errors
    /// When the database can't be opened.
    pub async fn open(world: &World) -> io::Result<Self> {
        let clock = world.clock.clone();
        Ok(Self {
            store: Store::open(world.disk.clone(), "ledger.redb", move |within| Books::load(within, clock)).await?,
        })
    }

    /// Returns when the store has failed, with the reason.
    pub async fn failed(&self) -> String {
        self.store.failed().await
    }

    /// Every tenant's state as committed: for reconciliation and for checking isolation, not for serving.
    pub fn every_state(&self) -> Result<BTreeMap<TenantId, TenantState>, redb::Error> {
        keyspace::states(&*self.store.read()?, None)
    }

    /// Every outcome of every tenant as committed: for reconciliation, not for serving.
    pub fn every_outcome(&self) -> Result<BTreeMap<(TenantId, MessageId), Outcome>, redb::Error> {
        keyspace::outcomes(&*self.store.read()?)
    }

    /// The digest of every tenant's rows as committed: what tells that nothing at all was changed.
    pub fn every_digest(&self) -> Result<BTreeMap<TenantId, Digest>, redb::Error> {
        keyspace::digests(&*self.store.read()?)
    }

    /// Audit entries that wait in the outbox, from the oldest: as many as it takes to reach `bytes`.
    pub(super) fn outbox(&self, bytes: usize) -> Result<Option<Waiting>, redb::Error> {
        let relayed = *self.store.machine().relayed.lock().expect("no holder panics");
        let read = self.store.read()?;
        let newest = read.open_table(OUTBOX_LAST)?.get(())?.map_or(0, |last| last.value());
        let (mut first, mut entries, mut size) = (None, Vec::new(), 0);
        for row in read.open_table(OUTBOX)?.range(relayed + 1..)? {
            if size >= bytes {
                break;
            }
            let (number, entry) = row?;
            first.get_or_insert(number.value());
            size += entry.value().len();
            entries.push(decode(entry.value())?);
        }
        Ok(first.map(|first| Waiting { first, entries, newest }))
    }

    /// The audit log has all entries up to `number`: they leave the outbox with the next commit.
    pub(super) fn relayed(&self, number: u64) {
        *self.store.machine().relayed.lock().expect("no holder panics") = number;
    }

    /// Returns once something may have entered the outbox since the last time.
    pub(super) async fn outbox_grew(&self) {
        self.store.machine().outbox_grew.notified().await;
    }

    fn committed_outcome(&self, read: &VerifiedRead, message_id: &MessageId) -> Result<Option<Outcome>, CallError> {
        let kept = self.store.read().and_then(|kept| keyspace::outcome(&kept, read.scope(), message_id));
        kept.map_err(CallError::failed)
    }
}

/// Audit entries that wait for the log.
pub(super) struct Waiting {
    /// The first one's number.
    pub(super) first: u64,
    /// They, in order.
    pub(super) entries: Vec<AuditEntry>,
    /// The number of the newest there ever was.
    pub(super) newest: u64,
}

#[async_trait]
impl Ledger for EmbeddedLedger {
    async fn apply(&self, run: &Run) -> Result<Vec<Applied>, CallError> {
        match self.store.execute(Command::Apply(run.clone())).await? {
            Answer::Applied(applied) => Ok(applied),
            answer => unreachable!("asked to apply, answered {answer:?}"),
        }
    }

    async fn outcome(
        &self,
        read: &VerifiedRead,
        message_id: &MessageId,
        wait: Duration,
    ) -> Result<Option<Outcome>, CallError> {
        let give_up = Instant::now() + wait;
        // Registered before looking, so that no commit slips in between.
        let awaited = self.store.machine().awaited.entry(read.scope().tenant(), message_id);
        loop {
            let committed = awaited.changed.notified();
            if let Some(outcome) = self.committed_outcome(read, message_id)? {
                return Ok(Some(outcome));
            }
            if timeout_at(give_up, committed).await.is_err() {
                return Ok(None);
            }
        }
    }

    async fn state(&self, read: &VerifiedRead) -> Result<TenantState, CallError> {
        let kept = self.store.read().and_then(|kept| keyspace::state(&kept, read.scope().tenant()));
        kept.map_err(CallError::failed)
    }

    async fn pause(&self, right: &VerifiedPause, to: PauseGeneration) -> Result<Paused, CallError> {
        match self.store.execute(Command::Pause(right.scope().clone(), to)).await? {
            Answer::Paused(paused) => Ok(paused),
            answer => unreachable!("asked to pause, answered {answer:?}"),
        }
    }
}

/// The state machine behind the store.
struct Books {
    clock: Arc<dyn Clock>,
    /// The audit log has the outbox's entries up to this number.
    relayed: Mutex<u64>,
    outbox_grew: Notify,
    awaited: Arc<Awaited>,
}

enum Command {
    Apply(Run),
    Pause(TenantScope, PauseGeneration),
}

#[derive(Debug)]
enum Answer {
    Applied(Vec<Applied>),
    Paused(Paused),
}

impl Books {
    fn load(within: &WriteTransaction, clock: Arc<dyn Clock>) -> Result<Self, redb::Error> {
        Tables::open(within)?;
        let outbox = within.open_table(OUTBOX)?;
        within.open_table(OUTBOX_LAST)?;
        let oldest = outbox.first()?.map(|(number, _)| number.value());
        let relayed = Mutex::new(oldest.unwrap_or(1) - 1);
        let books = Self { clock, relayed, outbox_grew: Notify::new(), awaited: Arc::default() };
        books.outbox_grew.notify_one();
        Ok(books)
    }

    /// Ends the commands of one run within the commit under way.
    fn apply(&self, tables: &mut Tables<'_>, outbox: &mut Outbox<'_>, run: &Run) -> Result<Vec<Applied>, redb::Error> {
        let mut tenant = tables.tenant(run.scope())?;
        let before = tenant.head.version;
        let applied: Result<_, _> = run.works().iter().map(|work| self.end(&mut tenant, outbox, work)).collect();
        if tenant.head.version > before {
            tenant.keep_head()?;
        }
        applied
    }

    /// Ends one command.
    fn end(
        &self,
        tenant: &mut TenantTransaction<'_, '_>,
        outbox: &mut Outbox<'_>,
        Work { command, decision, position }: &Work,
    ) -> Result<Applied, redb::Error> {
        let message = command.message();
        let body_hash = message.body_sha256();
        if let Some(recorded) = tenant.recorded(&message.message_id)? {
            let same = recorded.body_hash == body_hash;
            return Ok(if same { Applied::Before(recorded.outcome) } else { Applied::Conflict });
        }
        // In the effect's own transaction: no pause can come between this look and the effect.
        if tenant.head.pause.is_paused() {
            return Ok(Applied::Paused);
        }
        if *position <= tenant.head.position {
            return Ok(Applied::Overtaken { by: tenant.head.position });
        }
        let verdict = match decision {
            Decision::Permit { .. } => match message.action.decide(tenant) {
                Ok(changes) => Ok(changes),
                Err(Declined::Rejected(rejection)) => Err(rejection),
                Err(Declined::Unreadable(error)) => return Err(error),
            },
            Decision::Deny { reason, .. } => Err(Rejection::new("forbidden", reason.clone())),
        };
        let version = tenant.head.version + 1;
        for change in verdict.iter().flatten() {
            tenant.make(change, version)?;
        }
        (tenant.head.version, tenant.head.position) = (version, *position);
        let outcome = Outcome {
            verdict,
            version,
            at_unix_ms: self.clock.now().as_millisecond(),
            authority_revision: decision.revision(),
        };
        let recorded = Recorded { body_hash, outcome };
        tenant.record(&message.message_id, &recorded)?;
        outbox.push(&entry(command, &recorded.outcome))?;
        Ok(Applied::Now(recorded.outcome))
    }
}

/// The outbox, open for one commit.
struct Outbox<'t> {
    rows: Table<'t, u64, &'static [u8]>,
    last: u64,
}

impl Outbox<'_> {
    fn push(&mut self, entry: &AuditEntry) -> Result<(), redb::Error> {
        self.last += 1;
        self.rows.insert(self.last, encode(entry).as_slice())?;
        Ok(())
    }
}

impl Machine for Books {
    type Command = Command;
    type Answer = Answer;

    /// A run counts as many times as it has commands.
    fn weight(command: &Command) -> usize {
        match command {
            Command::Apply(run) => run.works().len(),
            Command::Pause(..) => 1,
        }
    }

    fn execute(&self, within: &WriteTransaction, batch: Vec<Command>) -> Result<Vec<Answer>, redb::Error> {
        let mut tables = Tables::open(within)?;
        let mut outbox_last = within.open_table(OUTBOX_LAST)?;
        let last = outbox_last.get(())?.map_or(0, |last| last.value());
        let mut outbox = Outbox { rows: within.open_table(OUTBOX)?, last };
        let relayed = *self.relayed.lock().expect("no holder panics");
        outbox.rows.retain_in(..=relayed, |_, _| false)?;
        let mut answers = Vec::with_capacity(batch.len());
        for command in &batch {
            answers.push(match command {
                Command::Apply(run) => Answer::Applied(self.apply(&mut tables, &mut outbox, run)?),
                Command::Pause(scope, to) => {
                    let mut tenant = tables.tenant(scope)?;
                    let next = *to == tenant.head.pause.next();
                    tenant.head.pause = if next { *to } else { tenant.head.pause };
                    let paused = Paused { generation: tenant.head.pause, version: tenant.head.version };
                    tenant.keep_head()?;
                    Answer::Paused(paused)
                }
            });
        }
        outbox_last.insert((), outbox.last)?;
        self.awaited.remember(&batch);
        Ok(answers)
    }

    fn committed(&self, _answers: &[Answer]) {
        self.outbox_grew.notify_one();
        self.awaited.tell();
    }
}

fn entry(command: &VerifiedCommand, outcome: &Outcome) -> AuditEntry {
    let message = command.message();
    let (code, detail) = match &outcome.verdict {
        Ok(changes) => ("applied", format!("{changes:?}")),
        Err(rejection) => (rejection.code.as_str(), rejection.detail.clone()),
    };
    AuditEntry {
        at_unix_ms: outcome.at_unix_ms,
        tenant_id: command.scope().tenant().clone(),
        user_id: message.user_id.clone(),
        action: message.action.name().into(),
        message_id: message.message_id.clone(),
        body: message.body.clone(),
        outcome: code.into(),
        detail,
        authority_revision: outcome.authority_revision,
    }
}

/// Who waits for which command's outcome: only they are woken by its commit.
#[derive(Default)]
struct Awaited {
    waiters: Mutex<BTreeMap<(TenantId, MessageId), Arc<Notify>>>,
    committing: Mutex<Vec<(TenantId, MessageId)>>,
}

/// One wait; leaves the list with its last waiter.
struct Awaiting {
    key: (TenantId, MessageId),
    changed: Arc<Notify>,
    list: Arc<Awaited>,
}

impl Awaited {
    fn entry(self: &Arc<Self>, tenant: &TenantId, message_id: &MessageId) -> Awaiting {
        let key = (tenant.clone(), message_id.clone());
        let changed = self.waiters.lock().expect("no holder panics").entry(key.clone()).or_default().clone();
        Awaiting { key, changed, list: self.clone() }
    }

    /// Notes which commands the commit under way ends.
    fn remember(&self, batch: &[Command]) {
        let runs = batch.iter().filter_map(|command| match command {
            Command::Apply(run) => Some(run),
            Command::Pause(..) => None,
        });
        let key =
            |Work { command, .. }: &Work| (command.scope().tenant().clone(), command.message().message_id.clone());
        *self.committing.lock().expect("no holder panics") = runs.flat_map(Run::works).map(key).collect();
    }

    fn tell(&self) {
        let waiters = self.waiters.lock().expect("no holder panics");
        for key in self.committing.lock().expect("no holder panics").drain(..) {
            if let Some(changed) = waiters.get(&key) {
                changed.notify_waiters();
            }
        }
    }
}

impl Drop for Awaiting {
    fn drop(&mut self) {
        let mut waiters = self.list.waiters.lock().expect("no holder panics");
        // Two: the list's and ours. Whoever else waits holds a third.
        if Arc::strong_count(&self.changed) <= 2 {
            waiters.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bench, message_id, tenant};

    #[tokio::test]
    async fn the_same_command_twice_in_one_commit_is_applied_once() {
        let bench = Bench::new().await;
        let ledger = EmbeddedLedger::open(&bench.world).await.unwrap();
        let run = bench.run("acme", "m-1", 5, 1).await;
        let (first, second) = tokio::join!(ledger.apply(&run), ledger.apply(&run));
        let (first, second) = (first.unwrap().remove(0), second.unwrap().remove(0));
        assert!(matches!((&first, &second), (Applied::Now(_), Applied::Before(_))), "{first:?} {second:?}");
        assert_eq!(ledger.state(&bench.read("acme").await).await.unwrap().credits["EUR"], 5);
    }

    #[tokio::test]
    async fn nothing_that_follows_a_pause_in_its_own_commit_takes_effect() {
        let bench = Bench::new().await;
        let ledger = EmbeddedLedger::open(&bench.world).await.unwrap();
        let (before, right, after) =
            (bench.run("acme", "m-1", 5, 1).await, bench.pause("acme").await, bench.run("acme", "m-2", 5, 2).await);
        let (before, paused, after) =
            tokio::join!(ledger.apply(&before), ledger.pause(&right, PauseGeneration(1)), ledger.apply(&after));
        assert!(matches!(before.unwrap()[0], Applied::Now(_)));
        assert_eq!((paused.unwrap().version, after.unwrap()), (1, vec![Applied::Paused]));
    }

    #[tokio::test]
    async fn no_waiter_is_left_behind() {
        let bench = Bench::new().await;
        let ledger = EmbeddedLedger::open(&bench.world).await.unwrap();
        let waited = ledger.outcome(&bench.read("acme").await, &message_id("m-1"), Duration::from_millis(1)).await;
        assert_eq!(waited.unwrap(), None);
        assert!(ledger.store.machine().awaited.waiters.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn the_outbox_is_read_in_order_and_forgets_what_was_relayed() {
        let bench = Bench::new().await;
        let ledger = EmbeddedLedger::open(&bench.world).await.unwrap();
        for (id, sequence) in [("m-1", 1), ("m-2", 2), ("m-3", 3)] {
            ledger.apply(&bench.run("acme", id, 1, sequence).await).await.unwrap();
        }
        ledger.relayed(2);
        let Waiting { first, entries, newest } = ledger.outbox(9999).unwrap().unwrap();
        assert_eq!((first, entries.len(), newest, &entries[0].message_id), (3, 1, 3, &message_id("m-3")));
        ledger.apply(&bench.run("globex", "m-4", 1, 4).await).await.unwrap();
        let Waiting { first, entries, .. } = ledger.outbox(9999).unwrap().unwrap();
        assert_eq!((first, entries.len(), &entries[1].tenant_id), (3, 2, &tenant("globex")));
        assert_eq!(ledger.outbox(1).unwrap().unwrap().entries.len(), 1, "a batch is bounded by its bytes");
    }
}
