//! The audit log in redb: appended to, never changed.
//!
//! An append writes the records, the tree's new hashes, the rows of the search and a signed checkpoint in the transaction
//! that counts the source's events: so a checkpoint that anyone can see is over what is durable, and exactly once holds for
//! the tree too. The log's key is made with the log and kept in its file. At each start the newest checkpoint must be the
//! one of the tree that is there: a log that contradicts it is refused.

use std::io;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use redb::{ReadTransaction, ReadableTable, ReadableTableMetadata, Table, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::sleep;

use super::export::{Exported, Folder, export};
use super::search::{self, AlertQuery, Found, FoundAlerts, INDEX, Query};
use super::{Alert, Attempt, Audit, AuditEntry, Claimed, Code, Event, PAGE_MAX, Record, Step};
use crate::alerting::{Engine, Quiet, Raised, Rules, Watching};
use crate::call::CallError;
use crate::capability::{Clock, World};
use crate::monitor::Metrics;
use crate::rights::Role;
use crate::store::{Machine, Store, decode, encode};
use crate::tlog::{Checkpoint, Frontier, Hash, LogKey, Signer, TILE_WIDTH, Tile, leaf_hash};

/// place in the log, from 1 -> the bytes of its [`Record`].
pub(super) const ENTRIES: TableDefinition<u64, &[u8]> = TableDefinition::new("entries");
/// (tile level, index on it) -> the hash there.
pub(super) const HASHES: TableDefinition<(u8, u64), Hash> = TableDefinition::new("hashes");
/// One row: the tree's right edge, a [`Frontier`].
const EDGE: TableDefinition<(), &[u8]> = TableDefinition::new("edge");
/// One row: the newest checkpoint, a signed note.
const CHECKPOINT: TableDefinition<(), &str> = TableDefinition::new("checkpoint");
/// One row: the log's name, and the secret that its key follows from.
const IDENTITY: TableDefinition<(), (&str, [u8; 32])> = TableDefinition::new("identity");
/// place of the event that rang -> [`Alert`].
pub(super) const ALERTS: TableDefinition<u64, &[u8]> = TableDefinition::new("alerts");
/// [`Attempt::identity`] -> its place: another service may notice the same one.
const ATTEMPTS: TableDefinition<[u8; 16], u64> = TableDefinition::new("attempts");
/// source -> the last of its numbers in the log.
const SOURCES: TableDefinition<&str, u64> = TableDefinition::new("sources");
/// One row: decided, refused, steps.
const COUNTS: TableDefinition<(), (u64, u64, u64)> = TableDefinition::new("counts");

/// One row: the place up to which the webhook was told of alerts.
const TOLD: TableDefinition<(), u64> = TableDefinition::new("told");

/// What the line of a checkpoint begins with that says from which place on there are records.
pub(super) const RECORDS_FROM: &str = "records-from";

/// A page ends with the event that reaches this many bytes: with it, it fits a frame.
pub(super) const PAGE_BYTES: usize = 256 * 1024;

/// Entries that one commit, or a start, takes from the log because they are too old: more than a commit brings.
const EXPIRED_MAX: usize = 1024;

/// A start shows the rules at most so many entries again, from the newest back: a second or two of work.
const RECALL_MAX: usize = 300_000;

/// What is late stands behind what is newer: so many older entries in a row say that there is nothing new before them.
const OLDER_MAX: usize = 4096;

/// The source of what rules find; nobody else can append to it.
const RULES: &str = "rules";

/// How often the clock is asked whether anything has waited too long.
pub const LOOK_EVERY: Duration = Duration::from_secs(5);

const DAY_MS: i64 = 24 * 3600 * 1000;

/// How a log is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogSettings {
    /// The name that its checkpoints are of, best a domain and a path such as `example.com/tenantry`. Given once, when the
    /// log is begun: a log keeps its name. Without it one is drawn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// Records older than this many days lose their bytes and keep their hashes; without it they stay for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_days: Option<NonZeroU32>,
    /// Whether to go on where a source's events are missing, because this log was restored from an older copy or begun
    /// anew: what is missing is told by an event in its place, which rings. Without it such a source waits for ever.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub accept_gaps: bool,
}

/// The embedded, durable audit log.
pub struct EmbeddedAudit {
    store: Store<Log>,
}

/// How many events of each kind there are, and alerts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Decisions of the ledger.
    pub decided: u64,
    /// Refused attempts.
    pub refused: u64,
    /// Steps.
    pub steps: u64,
    /// Findings of rules.
    pub raised: u64,
    /// Alerts.
    pub alerts: u64,
}

impl EmbeddedAudit {
    /// Opens the log, which keeps everything.
    ///
    /// # Errors
    /// When the database can't be opened, or contradicts its newest checkpoint.
    pub async fn open(world: &World) -> io::Result<Self> {
        Self::open_with(world, LogSettings::default()).await
    }

    /// Opens the log, watched by the default rules.
    ///
    /// # Errors
    /// When the database can't be opened, contradicts its newest checkpoint, or is another log than `settings` say.
    pub async fn open_with(world: &World, settings: LogSettings) -> io::Result<Self> {
        Self::open_watched(world, settings, Box::new(Engine::new(&Rules::default()))).await
    }

    /// Opens the log, watched by `watch`.
    ///
    /// # Errors
    /// As [`EmbeddedAudit::open_with`].
    pub async fn open_watched(world: &World, settings: LogSettings, watch: Box<dyn Watching>) -> io::Result<Self> {
        let (entropy, clock, metrics) = (world.entropy.clone(), world.clock.clone(), world.monitor.metrics.clone());
        let draw = move || {
            let mut seed = [0; 32];
            entropy.fill(&mut seed);
            seed
        };
        let load = |within: &WriteTransaction| Log::load(within, settings, draw, clock, watch, metrics);
        Ok(Self { store: Store::open(world, Role::Audit, "audit.redb", load).await? })
    }

    /// Returns when the store has failed, with the reason.
    pub async fn failed(&self) -> String {
        self.store.failed().await
    }

    /// Looks every so often whether anything has waited too long, and raises it. Runs for ever.
    pub async fn watch(&self, every: Duration) {
        loop {
            sleep(every).await;
            let log = self.store.machine();
            // While the writer works it is about to commit anyway.
            let overdue = log.watch.try_lock().map(|watch| watch.overdue(log.clock.now().as_millisecond()));
            if overdue.is_ok_and(|overdue| overdue.is_empty()) {
                continue;
            }
            if let Err(error) = self.store.execute(Command::Raise).await {
                // It shows in `failed`, too.
                tracing::warn!(%error, "what has waited too long was not put on record");
            }
        }
    }

    /// The place up to which someone was told of alerts.
    pub(crate) fn told(&self) -> Result<u64, redb::Error> {
        Ok(self.store.read()?.open_table(TOLD)?.get(())?.map_or(0, |place| place.value()))
    }

    /// Whether someone was told of all alerts that there are.
    pub fn has_told_all(&self) -> Result<bool, redb::Error> {
        Ok(self.alert_page(self.told()?, 1)?.is_empty())
    }

    /// Notes that someone was told of all alerts up to `place`.
    pub(crate) async fn note_told(&self, place: u64) -> Result<(), CallError> {
        self.store.execute(Command::Told(place)).await?.map(drop).map_err(CallError::Failed)
    }

    /// Alerts up to `place`, oldest first: the newest `most` of them.
    pub(crate) fn alerts_up_to(&self, place: u64, most: usize) -> Result<Vec<Alert>, redb::Error> {
        let alerts = self.store.read()?.open_table(ALERTS)?;
        let newest = alerts.range(..=place)?.rev().take(most).map(|row| decode(row?.1.value()));
        let mut newest = newest.collect::<Result<Vec<_>, redb::Error>>()?;
        newest.reverse();
        Ok(newest)
    }

    /// The key that the log's checkpoints are signed with.
    #[must_use]
    pub fn key(&self) -> &LogKey {
        self.store.machine().signer.public()
    }

    /// How many events there were, those included that are hashes only.
    pub fn len(&self) -> Result<u64, redb::Error> {
        Ok(checkpoint_of(&*self.store.read()?)?.1)
    }

    /// True when nothing was logged yet.
    pub fn is_empty(&self) -> Result<bool, redb::Error> {
        Ok(self.len()? == 0)
    }

    /// How many events and alerts there are.
    pub fn counts(&self) -> Result<Counts, redb::Error> {
        let read = self.store.read()?;
        let (decided, refused, steps) = read.open_table(COUNTS)?.get(())?.map(|row| row.value()).unwrap_or_default();
        let raised = read.open_table(SOURCES)?.get(RULES)?.map_or(0, |last| last.value());
        Ok(Counts { decided, refused, steps, raised, alerts: read.open_table(ALERTS)?.len()? })
    }

    /// All decisions, oldest first. Reads the whole log: for verification, not for serving.
    pub fn entries(&self) -> Result<Vec<AuditEntry>, redb::Error> {
        let decided = |(_, event)| match event {
            Event::Decided(entry) => Some(entry),
            Event::Refused(_) | Event::Step(_) | Event::Raised(_) => None,
        };
        Ok(self.all()?.into_iter().filter_map(decided).collect())
    }

    /// All records, oldest first. Reads the whole log: for verification, not for serving.
    pub fn every_record(&self) -> Result<Vec<Record>, redb::Error> {
        let entries = self.store.read()?.open_table(ENTRIES)?;
        entries.iter()?.map(|row| Record::parse(row?.1.value()).map_err(unreadable)).collect()
    }

    /// All refused attempts with their places, oldest first. Reads the whole log: for verification, not for serving.
    pub fn attempts(&self) -> Result<Vec<(u64, Attempt)>, redb::Error> {
        let refused = |(place, event)| match event {
            Event::Decided(_) | Event::Step(_) | Event::Raised(_) => None,
            Event::Refused(attempt) => Some((place, attempt)),
        };
        Ok(self.all()?.into_iter().filter_map(refused).collect())
    }

    /// All steps with their places, oldest first. Reads the whole log: for verification, not for serving.
    pub fn steps(&self) -> Result<Vec<(u64, Step)>, redb::Error> {
        let step = |(place, event)| match event {
            Event::Decided(_) | Event::Refused(_) | Event::Raised(_) => None,
            Event::Step(step) => Some((place, step)),
        };
        Ok(self.all()?.into_iter().filter_map(step).collect())
    }

    /// All events with their places, oldest first. Reads the whole log: for verification, not for serving.
    pub fn every_event(&self) -> Result<Vec<(u64, Event)>, redb::Error> {
        self.all()
    }

    /// All alerts, oldest first. Reads them all: for verification, not for serving.
    pub fn every_alert(&self) -> Result<Vec<Alert>, redb::Error> {
        let read = self.store.read()?;
        read.open_table(ALERTS)?.iter()?.map(|row| decode(row?.1.value())).collect()
    }

    /// Writes everything that it takes to verify the log into `folder`; what is appended meanwhile is not in it.
    ///
    /// # Errors
    /// When the log can't be read or the folder can't be written.
    pub fn export(&self, folder: &mut dyn Folder) -> io::Result<Exported> {
        export(&*self.store.read().map_err(io::Error::other)?, folder)
    }

    /// The newest checkpoint.
    pub fn newest_checkpoint(&self) -> Result<String, redb::Error> {
        Ok(checkpoint_of(&*self.store.read()?)?.0)
    }

    fn all(&self) -> Result<Vec<(u64, Event)>, redb::Error> {
        let entries = self.store.read()?.open_table(ENTRIES)?;
        entries.iter()?.map(|row| event(row?)).collect()
    }

    fn page(&self, after: u64, max: usize) -> Result<Vec<(u64, Event)>, redb::Error> {
        let (mut page, mut bytes) = (Vec::new(), 0);
        for row in self.store.read()?.open_table(ENTRIES)?.range(after.saturating_add(1)..)? {
            if page.len() >= max.min(PAGE_MAX) || bytes >= PAGE_BYTES {
                break;
            }
            let row = row?;
            bytes += row.1.value().len();
            page.push(event(row)?);
        }
        Ok(page)
    }

    fn alert_page(&self, after: u64, max: usize) -> Result<Vec<Alert>, redb::Error> {
        let read = self.store.read()?;
        let alerts = read.open_table(ALERTS)?.range(after.saturating_add(1)..)?;
        alerts.take(max.min(PAGE_MAX)).map(|row| decode(row?.1.value())).collect()
    }
}

#[async_trait]
impl Audit for EmbeddedAudit {
    async fn append(&self, source: &str, first: u64, events: Vec<Event>) -> Result<u64, CallError> {
        let answer = self.store.execute(Command::Append { source: source.into(), first, events }).await?;
        answer.map(|Appended { last, .. }| last).map_err(CallError::Failed)
    }

    async fn events(&self, after: u64, max: usize) -> Result<Vec<(u64, Event)>, CallError> {
        self.page(after, max).map_err(CallError::failed)
    }

    async fn alerts(&self, after: u64, max: usize) -> Result<Vec<Alert>, CallError> {
        self.alert_page(after, max).map_err(CallError::failed)
    }

    async fn search_alerts(&self, query: &AlertQuery) -> Result<FoundAlerts, CallError> {
        let read = self.store.read().map_err(CallError::failed)?;
        search::search_alerts(&read, query).map_err(CallError::failed)
    }

    async fn search(&self, query: &Query) -> Result<Found, CallError> {
        let look = || search::search(&*self.store.read()?, query);
        search::follow(query, self.store.machine().grown.subscribe(), || look().map_err(CallError::failed)).await
    }

    async fn checkpoint(&self) -> Result<String, CallError> {
        self.newest_checkpoint().map_err(CallError::failed)
    }

    async fn tile(&self, tile: Tile) -> Result<Option<Bytes>, CallError> {
        let read = self.store.read().map_err(CallError::failed)?;
        Ok(tile_of(&read, tile).map_err(CallError::failed)?.map(Into::into))
    }
}

type Row<'a> = (redb::AccessGuard<'a, u64>, redb::AccessGuard<'a, &'static [u8]>);

fn event((place, entry): Row<'_>) -> Result<(u64, Event), redb::Error> {
    Ok((place.value(), Record::parse(entry.value()).map_err(unreadable)?.event))
}

/// The newest checkpoint, and the size of its log.
pub(super) fn checkpoint_of(read: &ReadTransaction) -> Result<(String, u64), redb::Error> {
    let checkpoint = read.open_table(CHECKPOINT)?.get(())?.map(|row| row.value().to_owned());
    let edge = edge_in(&read.open_table(EDGE)?)?;
    Ok((checkpoint.ok_or_else(|| damaged("it has no checkpoint"))?, edge.size()))
}

/// The bytes of `tile`, if the tree has all its hashes.
pub(super) fn tile_of(read: &ReadTransaction, tile: Tile) -> Result<Option<Vec<u8>>, redb::Error> {
    let first = tile.first();
    let rows =
        read.open_table(HASHES)?.range((tile.level, first)..(tile.level, first.saturating_add(tile.width.into())))?;
    let hashes = rows.map(|row| Ok(row?.1.value())).collect::<Result<Vec<_>, redb::Error>>()?;
    Ok((hashes.len() == usize::from(tile.width)).then(|| hashes.concat()))
}

/// One hash of a tile.
pub(super) fn hash_of(
    hashes: &impl ReadableTable<(u8, u64), Hash>,
    level: u8,
    index: u64,
) -> Result<Hash, redb::Error> {
    let found = hashes.get((level, index))?.map(|hash| hash.value());
    found.ok_or_else(|| damaged(&format!("it lacks the hash {index} of level {level}")))
}

fn edge_in(edges: &impl ReadableTable<(), &'static [u8]>) -> Result<Frontier, redb::Error> {
    let edge = edges.get(())?;
    let read = edge.map_or_else(|| Some(Frontier::default()), |edge| Frontier::from_bytes(edge.value()));
    read.ok_or_else(|| damaged("its edge is unreadable"))
}

/// The line of a checkpoint that says from which place on there are records; none where they begin with the first.
fn records_from(oldest: u64) -> Option<String> {
    (oldest > 1).then(|| format!("{RECORDS_FROM} {oldest}"))
}

fn damaged(what: &str) -> redb::Error {
    redb::Error::Corrupted(format!("the log is not as it was: {what}"))
}

pub(super) fn unreadable(error: serde_json::Error) -> redb::Error {
    damaged(&format!("an entry is unreadable: {error}"))
}

struct Log {
    signer: Signer,
    clock: Arc<dyn Clock>,
    keep_ms: Option<i64>,
    accept_gaps: bool,
    /// Told of every commit, once it can be seen.
    grown: watch::Sender<()>,
    /// Changed only by the writer, in the order of the log; a commit that fails ends the store, and it with it.
    watch: Mutex<Box<dyn Watching>>,
    /// What was said in this process's own log.
    told: Mutex<Quiet>,
    metrics: Arc<Metrics>,
}

enum Command {
    Append {
        source: String,
        first: u64,
        events: Vec<Event>,
    },
    /// What has waited too long by now is raised.
    Raise,
    /// Someone was told of all alerts up to this place.
    Told(u64),
}

/// What an append has brought.
struct Appended {
    /// The last number of its source.
    last: u64,
    /// What rang.
    alerts: Vec<Alert>,
}

/// What a transaction writes entries to.
struct Tables<'t> {
    entries: Table<'t, u64, &'static [u8]>,
    hashes: Table<'t, (u8, u64), Hash>,
    index: Table<'t, (u8, &'static str, &'static str, u64), i64>,
    alerts: Table<'t, u64, &'static [u8]>,
    edges: Table<'t, (), &'static [u8]>,
    checkpoints: Table<'t, (), &'static str>,
}

impl<'t> Tables<'t> {
    fn open(within: &'t WriteTransaction) -> Result<Self, redb::Error> {
        Ok(Self {
            entries: within.open_table(ENTRIES)?,
            hashes: within.open_table(HASHES)?,
            index: within.open_table(INDEX)?,
            alerts: within.open_table(ALERTS)?,
            edges: within.open_table(EDGE)?,
            checkpoints: within.open_table(CHECKPOINT)?,
        })
    }

    /// Writes a record, and what leads to it.
    fn append(&mut self, edge: &mut Frontier, record: &Record, bytes: &[u8]) -> Result<(), redb::Error> {
        self.entries.insert(record.place, bytes)?;
        edge.append(leaf_hash(bytes), |level, index, hash| -> Result<(), redb::Error> {
            self.hashes.insert((level, index), hash)?;
            Ok(())
        })?;
        search::insert(&mut self.index, record.place, &record.event)
    }

    /// Shows `watch` the end of the log, from about `horizon` on, in milliseconds since the Unix epoch.
    fn recall(&self, horizon: i64, watch: &mut dyn Watching) -> Result<(), redb::Error> {
        let (mut events, mut older) = (Vec::new(), 0);
        for row in self.entries.iter()?.rev().take(RECALL_MAX) {
            let (place, event) = event(row?)?;
            older = if event.at_unix_ms() < horizon { older + 1 } else { 0 };
            if older > OLDER_MAX {
                break;
            }
            events.push((place, event));
        }
        events.iter().rev().for_each(|(place, event)| watch.recall(*place, event));
        Ok(())
    }

    /// Takes the bytes of entries from before `horizon`, from the oldest on, and what leads to them; hashes stay. Whether
    /// there were any.
    fn forget(&mut self, horizon: i64) -> Result<bool, redb::Error> {
        for forgotten in 0..EXPIRED_MAX {
            let oldest = self.entries.first()?.map(|(_, entry)| Record::parse(entry.value()).map_err(unreadable));
            let oldest = oldest.transpose()?.filter(|record| record.event.at_unix_ms() < horizon);
            let Some(Record { place, event, .. }) = oldest else { return Ok(forgotten > 0) };
            search::remove(&mut self.index, place, &event)?;
            self.alerts.remove(place)?;
            self.entries.remove(place)?;
        }
        Ok(true)
    }

    /// The place of the oldest entry that has its bytes; the next one's where none has.
    fn oldest(&self, size: u64) -> Result<u64, redb::Error> {
        Ok(self.entries.first()?.map_or(size + 1, |(place, _)| place.value()))
    }

    /// Signs what `edge` is the edge of, and from where on there are records: what retention took is then told from what
    /// someone deleted.
    fn sign(&mut self, edge: &Frontier, signer: &Signer) -> Result<(), redb::Error> {
        let (origin, size) = (signer.public().name().to_owned(), edge.size());
        let extension = records_from(self.oldest(size)?);
        let checkpoint = Checkpoint { origin, size, root: edge.root(), extension }.sign(signer);
        self.edges.insert((), edge.to_bytes().as_slice())?;
        self.checkpoints.insert((), checkpoint.as_str())?;
        Ok(())
    }

    /// Compares the newest checkpoint with the edge, the edge with the hashes, and the newest hashes with their entries.
    fn check(&self, key: &LogKey) -> Result<(), redb::Error> {
        let edge = edge_in(&self.edges)?;
        let size = edge.size();
        let checkpoint = self.checkpoints.get(())?.ok_or_else(|| damaged("it has no checkpoint"))?;
        let checkpoint = Checkpoint::open(checkpoint.value(), key)
            .map_err(|error| damaged(&format!("of its newest checkpoint: {error}")))?;
        if (checkpoint.size, checkpoint.root) != (size, edge.root()) {
            let signed = checkpoint.size;
            return Err(damaged(&format!(
                "its newest checkpoint is of {signed} entries, and contradicts the {size} here"
            )));
        }
        if Frontier::at(size, &|level, index| hash_of(&self.hashes, level, index))? != edge {
            return Err(damaged("its hashes do not make the root that was signed"));
        }
        let mut expected = size;
        for row in self.entries.iter()?.rev().take(TILE_WIDTH as usize) {
            let (place, entry) = row?;
            if place.value() != expected || leaf_hash(entry.value()) != hash_of(&self.hashes, 0, expected - 1)? {
                return Err(damaged(&format!("entry {expected} is missing, or another than was hashed")));
            }
            expected -= 1;
        }
        let (oldest, held) = (self.oldest(size)?, self.entries.len()?);
        if oldest + held != size + 1 || checkpoint.extension != records_from(oldest) {
            return Err(damaged(&format!("it has {held} entries from {oldest} on, others than were signed")));
        }
        Ok(())
    }
}

impl Log {
    fn load(
        within: &WriteTransaction,
        settings: LogSettings,
        draw: impl FnOnce() -> [u8; 32],
        clock: Arc<dyn Clock>,
        mut watch: Box<dyn Watching>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, redb::Error> {
        within.open_table(ATTEMPTS)?;
        within.open_table(SOURCES)?;
        within.open_table(COUNTS)?;
        within.open_table(TOLD)?;
        let (signer, is_new) = Self::identity(within, settings.origin, draw)?;
        let keep_ms = settings.keep_days.map(|days| i64::from(days.get()) * DAY_MS);
        let mut tables = Tables::open(within)?;
        if is_new {
            tables.sign(&Frontier::default(), &signer)?;
        }
        tables.check(signer.public())?;
        let horizon = clock.now().as_millisecond().saturating_sub(watch.look_back_ms());
        tables.recall(horizon, &mut *watch)?;
        let (accept_gaps, watching, told) = (settings.accept_gaps, Mutex::new(watch), Mutex::default());
        let grown = watch::Sender::new(());
        let log = Self { signer, clock, keep_ms, accept_gaps, grown, watch: watching, told, metrics };
        if log.forget(&mut tables)? {
            let edge = edge_in(&tables.edges)?;
            tables.sign(&edge, &log.signer)?;
        }
        Ok(log)
    }

    /// The log's key, and whether it was made just now.
    fn identity(
        within: &WriteTransaction,
        origin: Option<String>,
        draw: impl FnOnce() -> [u8; 32],
    ) -> Result<(Signer, bool), redb::Error> {
        let refused = |why: String| redb::Error::Io(io::Error::other(why));
        let mut identities = within.open_table(IDENTITY)?;
        let kept = identities.get(())?.map(|row| (row.value().0.to_owned(), row.value().1));
        let (name, seed, is_new) = match (kept, origin) {
            (Some((name, _)), Some(origin)) if name != origin => {
                let why =
                    format!("it is the log {name:?}, not {origin:?}: a log keeps the origin that it was begun with");
                return Err(refused(why));
            }
            (Some((name, seed)), _) => (name, seed, false),
            (None, origin) => {
                let seed = draw();
                let own = |seed| hex::encode(&leaf_hash(seed)[..8]);
                (origin.unwrap_or_else(|| format!("tenantry.internal/audit/{}", own(&seed))), seed, true)
            }
        };
        let signer = Signer::from_seed(&name, &seed)
            .ok_or_else(|| refused(format!("origin is {name:?}; it must have a letter, no space and no plus sign")))?;
        if is_new {
            identities.insert((), (name.as_str(), seed))?;
        }
        Ok((signer, is_new))
    }

    fn watch(&self) -> MutexGuard<'_, Box<dyn Watching>> {
        self.watch.lock().expect("no holder panics")
    }

    fn forget(&self, tables: &mut Tables<'_>) -> Result<bool, redb::Error> {
        let Some(keep) = self.keep_ms else { return Ok(false) };
        tables.forget(self.clock.now().as_millisecond().saturating_sub(keep))
    }
}

impl Log {
    /// What stands for events that the log has lost, and that nobody has any more.
    fn missing(&self, source: &str, from: u64, to: u64) -> Event {
        let claimed = Claimed { message_id: Some(format!("{source}:{from}-{to}")), ..Claimed::default() };
        Event::Refused(Attempt {
            at_unix_ms: self.clock.now().as_millisecond(),
            service: Role::Audit,
            entry: "append".into(),
            code: Code::Gap,
            claimed,
            detail: format!(
                "events {from} to {to} of {source} are missing here: `accept_gaps` says to go on without them"
            ),
        })
    }
}

impl Machine for Log {
    type Command = Command;
    type Answer = Result<Appended, String>;

    fn weight(command: &Command) -> usize {
        match command {
            Command::Append { events, .. } => events.len(),
            Command::Raise | Command::Told(_) => 1,
        }
    }

    fn execute(&self, within: &WriteTransaction, batch: Vec<Command>) -> Result<Vec<Self::Answer>, redb::Error> {
        let tables = Tables::open(within)?;
        let (mut counts, sources) = (within.open_table(COUNTS)?, within.open_table(SOURCES)?);
        let mut attempts = within.open_table(ATTEMPTS)?;
        let (mut decided, mut refused, mut steps) = counts.get(())?.map(|row| row.value()).unwrap_or_default();
        let edge = edge_in(&tables.edges)?;
        let before = edge.size();
        let mut watch = self.watch();
        let mut writing = Writing { tables, sources, edge, watch: &mut **watch };
        let mut answers = Vec::with_capacity(batch.len());
        for command in batch {
            let (source, first, events) = match command {
                Command::Append { source, first, events } => (source, first, events),
                Command::Raise => {
                    let overdue = writing.watch.overdue(self.clock.now().as_millisecond());
                    let mut alerts = Vec::new();
                    writing.raise(overdue, &mut alerts)?;
                    answers.push(Ok(Appended { last: 0, alerts }));
                    continue;
                }
                Command::Told(place) => {
                    within.open_table(TOLD)?.insert((), place)?;
                    answers.push(Ok(Appended { last: 0, alerts: Vec::new() }));
                    continue;
                }
            };
            let had = writing.last(&source)?;
            let gap = first > had + 1;
            if gap && !self.accept_gaps {
                answers.push(Err(format!("{source}: event {first} came after {had}: those between are missing")));
                continue;
            }
            let (mut last, mut alerts, mut too_long) = (had, Vec::new(), None);
            let missing = gap.then(|| (first - 1, self.missing(&source, had + 1, first - 1)));
            for (number, event) in missing.into_iter().chain((first..).zip(events)) {
                if number <= had {
                    continue;
                }
                let place = writing.edge.size() + 1;
                let (record, bytes) = match Record::new(place, &source, number, event) {
                    Ok(made) => made,
                    Err(why) => {
                        too_long = Some(format!("{source}: {why}"));
                        break;
                    }
                };
                last = number;
                match &record.event {
                    Event::Decided(_) => decided += 1,
                    Event::Step(_) => steps += 1,
                    Event::Refused(attempt) => {
                        if let Some(identity) = attempt.identity() {
                            if attempts.get(identity)?.is_some() {
                                continue;
                            }
                            attempts.insert(identity, place)?;
                        }
                        refused += 1;
                    }
                    Event::Raised(_) => {}
                }
                writing.append(&record, &bytes, &mut alerts)?;
            }
            writing.sources.insert(source.as_str(), last)?;
            answers.push(too_long.map_or(Ok(Appended { last, alerts }), Err));
        }
        let Writing { mut tables, edge, .. } = writing;
        counts.insert((), (decided, refused, steps))?;
        if self.forget(&mut tables)? || edge.size() > before {
            tables.sign(&edge, &self.signer)?;
        }
        Ok(answers)
    }

    fn committed(&self, answers: &[Self::Answer]) {
        self.grown.send_replace(());
        for alert in answers.iter().flatten().flat_map(|appended| &appended.alerts) {
            self.metrics.alerts.inc(alert.severity);
            let Some(held_back) = self.told.lock().expect("no holder panics").tell(alert) else { continue };
            let Alert { place, severity, code, tenant, line, .. } = alert;
            let tenant = tenant.as_deref().unwrap_or("-");
            tracing::error!(place, ?severity, %code, ?tenant, line, held_back, "alert");
        }
    }
}

/// What one transaction appends to.
struct Writing<'a, 't> {
    tables: Tables<'t>,
    sources: Table<'t, &'static str, u64>,
    edge: Frontier,
    watch: &'a mut dyn Watching,
}

impl Writing<'_, '_> {
    /// The last number of `source` in the log.
    fn last(&self, source: &str) -> Result<u64, redb::Error> {
        Ok(self.sources.get(source)?.map_or(0, |last| last.value()))
    }

    /// Appends `record`, and behind it what rules find with it.
    fn append(&mut self, record: &Record, bytes: &[u8], alerts: &mut Vec<Alert>) -> Result<(), redb::Error> {
        self.tables.append(&mut self.edge, record, bytes)?;
        if let Some(alert) = record.event.alert(record.place) {
            self.tables.alerts.insert(record.place, encode(&alert).as_slice())?;
            alerts.push(alert);
        }
        let found = self.watch.see(record.place, &record.event);
        self.raise(found, alerts)
    }

    fn raise(&mut self, found: Vec<Raised>, alerts: &mut Vec<Alert>) -> Result<(), redb::Error> {
        for raised in found {
            let (place, number) = (self.edge.size() + 1, self.last(RULES)? + 1);
            let made = Record::new(place, RULES, number, Event::Raised(raised));
            let (record, bytes) = made.map_err(|why| redb::Error::Io(io::Error::other(why)))?;
            self.append(&record, &bytes, alerts)?;
            self.sources.insert(RULES, number)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{Claimed, Code, Severity, StepKind};
    use crate::ids::UserId;
    use crate::testing::{Bench, message_id, tenant};

    fn entry(id: &str, outcome: &str) -> Event {
        Event::Decided(AuditEntry {
            at_unix_ms: 0,
            tenant_id: tenant("acme"),
            user_id: UserId::parse("ana").unwrap(),
            replayed_by: None,
            action: "issue_credit".into(),
            message_id: message_id(id),
            body: "{}".into(),
            outcome: outcome.into(),
            detail: String::new(),
            authority_revision: 1,
            policies: Vec::new(),
            approved_by: None,
        })
    }

    fn attempt(service: Role, code: Code, id: &str) -> Event {
        let claimed = Claimed { message_id: Some(id.into()), body_sha256: Some([7; 32]), ..Claimed::tenant("acme") };
        let (entry, detail) = ("apply".into(), "no".into());
        Event::Refused(Attempt { at_unix_ms: 1, service, entry, code, claimed, detail })
    }

    #[tokio::test]
    async fn entries_sent_again_stand_once_and_a_gap_is_refused() {
        let bench = Bench::new().await;
        let audit = EmbeddedAudit::open(&bench.world).await.unwrap();
        let entry = |id| entry(id, "applied");
        assert_eq!(audit.append("ledger", 1, vec![entry("m-1"), entry("m-2")]).await, Ok(2));
        assert_eq!(audit.append("ledger", 2, vec![entry("m-2"), entry("m-3")]).await, Ok(3));
        assert_eq!(audit.append("ledger", 1, vec![entry("m-1")]).await, Ok(3));
        let gap = audit.append("ledger", 5, vec![entry("m-5")]).await.unwrap_err();
        assert!(matches!(&gap, CallError::Failed(why) if why.contains("event 5 came after 3")), "{gap}");
        // Another source has numbers of its own.
        assert_eq!(audit.append("auth", 1, vec![entry("m-1")]).await, Ok(1));
        let logged: Vec<_> = audit.entries().unwrap().into_iter().map(|entry| entry.message_id.to_string()).collect();
        assert_eq!(logged, ["m-1", "m-2", "m-3", "m-1"]);
    }

    #[tokio::test]
    async fn a_gap_that_is_accepted_is_told_in_its_place_and_rings() {
        let bench = Bench::new().await;
        let settings = LogSettings { accept_gaps: true, ..LogSettings::default() };
        let audit = EmbeddedAudit::open_with(&bench.world, settings).await.unwrap();
        let entry = |id| entry(id, "applied");
        assert_eq!(audit.append("ledger", 1, vec![entry("m-1")]).await, Ok(1));
        assert_eq!(audit.append("ledger", 5, vec![entry("m-5"), entry("m-6")]).await, Ok(6));
        assert_eq!(audit.append("ledger", 5, vec![entry("m-5")]).await, Ok(6), "once only");
        let attempts = audit.attempts().unwrap();
        let [(2, gap)] = &attempts[..] else { panic!("{attempts:?}") };
        assert!(gap.code == Code::Gap && gap.detail.starts_with("events 2 to 4 of ledger are missing"), "{gap:?}");
        let alerts = audit.alerts(0, 9).await.unwrap();
        assert_eq!(
            alerts.iter().map(|alert| (alert.place, alert.severity)).collect::<Vec<_>>(),
            [(2, Severity::Critical)]
        );
        assert_eq!(audit.counts().unwrap(), Counts { decided: 3, refused: 1, alerts: 1, ..Counts::default() });
    }

    #[tokio::test]
    async fn what_rings_has_one_alert_at_its_place_and_what_does_not_has_none() {
        let bench = Bench::new().await;
        let audit = EmbeddedAudit::open(&bench.world).await.unwrap();
        let events = vec![
            entry("m-1", "applied"),
            attempt(Role::Ledger, Code::SwappedBody, "m-2"),
            attempt(Role::Producer, Code::Malformed, "m-3"),
            entry("m-4", "forbidden"),
            Event::Step(Step::new(1, Role::Ledger, StepKind::Paused, 1)),
            entry("m-5", "sealed_for_another"),
            Event::Step(Step::new(1, Role::Auth, StepKind::BreakGlassAsked, 1)),
        ];
        audit.append("ledger", 1, events.clone()).await.unwrap();
        let alerts = audit.alerts(0, 9).await.unwrap();
        let told: Vec<_> = alerts.iter().map(|alert| (alert.place, alert.severity, alert.code.as_str())).collect();
        let (critical, warning) = (Severity::Critical, Severity::Warning);
        assert_eq!(
            told,
            [
                (2, critical, "swapped_body"),
                (4, warning, "forbidden"),
                (6, critical, "sealed_for_another"),
                (7, warning, "break_glass_asked")
            ]
        );
        assert_eq!(alerts[0].tenant.as_deref(), Some("acme"));
        assert_eq!(audit.counts().unwrap(), Counts { decided: 3, refused: 2, steps: 2, alerts: 4, raised: 0 });
        let page = audit.events(1, 2).await.unwrap();
        assert_eq!(page, [(2, events[1].clone()), (3, events[2].clone())]);
        assert_eq!(audit.alerts(2, 9).await.unwrap().len(), 3);
    }

    #[tokio::test]
    async fn an_attempt_that_several_notice_stands_once_and_rings_once() {
        let bench = Bench::new().await;
        let audit = EmbeddedAudit::open(&bench.world).await.unwrap();
        let noticed = |service| vec![attempt(service, Code::Overtaken, "m-1")];
        assert_eq!(audit.append("ledger/1", 1, noticed(Role::Ledger)).await, Ok(1));
        assert_eq!(audit.append("consumer/1", 1, noticed(Role::Consumer)).await, Ok(1));
        assert_eq!(audit.append("consumer/2", 1, noticed(Role::Consumer)).await, Ok(1));
        assert_eq!(audit.counts().unwrap(), Counts { refused: 1, alerts: 1, ..Counts::default() });
        // On the other side of the broker it is another attempt, and so is another message.
        assert_eq!(audit.append("auth/1", 1, noticed(Role::Auth)).await, Ok(1));
        audit.append("ledger/1", 2, vec![attempt(Role::Ledger, Code::Overtaken, "m-2")]).await.unwrap();
        assert_eq!(audit.counts().unwrap(), Counts { refused: 3, alerts: 3, ..Counts::default() });
    }
}
