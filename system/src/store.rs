//! Group commit: a redb database on a `Disk`, written by one state machine.
//!
//! Whatever arrives during one sync shares the next. A caller hands over a command and gets its answer only after the
//! commit that holds it is durable; commands are executed in the order they came. Storage errors end the store: what a
//! disk lost once must not be written round, so every later call fails until the process starts anew and recovers.
//!
//! redb gives a file's free pages to new rows, but never back to the disk. What forgets most of what it once kept - a broker
//! after a flood - is compacted when its file has become much larger than what is in it, between two commits.
//!
//! A disk may also return other bits than it was given. redb keeps a checksum of every page but looks at none when it
//! reads, and a limit with a flipped bit looks like any other limit. So the whole file is checked once, at each start, and
//! a damaged one is refused. That takes a quarter of a second per 100 MB which the page cache holds, and the time to read
//! the file where it does not; without it an open takes milliseconds. Two things it does not see: bits that turn over
//! while the process runs, until it starts the next time; and bits of the last commit before a crash, for a commit whose
//! pages do not verify is what a power loss leaves of one that was never confirmed, and is rolled back as such.

use std::io;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use redb::{
    Database, ReadTransaction, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition, WriteTransaction,
};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::call::CallError;
use crate::capability::{Disk, DiskFile, World};
use crate::ids::IdError;
use crate::monitor::Monitor;
use crate::rights::Role;

/// The weight of commands at which a commit is begun. Beyond 512 rows a commit redb gains little, and the first of them
/// waits long.
const BATCH_MAX: usize = 512;

/// Commands that may wait for the commit under way; further callers wait for room.
const QUEUE_MAX: usize = 4096;

/// redb's page cache, in bytes. What matters here are the tables' ends, and these stay hot.
const CACHE_BYTES: usize = 64 * 1024 * 1024;

/// The length of a database that redb has just made, in bytes; one in use soon grows past it, and is then never taken for
/// half made.
const FRESH_BYTES_MAX: u64 = 72 * 1024;

/// Of the rows that this build writes; changes with the shape of any of them, for neither redb nor postcard could tell.
const FORMAT: u32 = 5;

/// One row: [`FORMAT`] of the build that made the file.
const FORMAT_TABLE: TableDefinition<(), u32> = TableDefinition::new("format");

/// After a compaction, or an attempt at one, there is none for this long: it holds up all commits.
const COMPACT_PAUSE: Duration = Duration::from_secs(10);

/// What a store executes. Shared state for readers lives in the machine, behind its own lock.
pub trait Machine: Send + Sync + 'static {
    /// What can be asked.
    type Command: Send + 'static;
    /// What is answered.
    type Answer: Send + 'static;

    /// How much of a commit a command takes: about as many rows as it has to write.
    fn weight(_command: &Self::Command) -> usize {
        1
    }

    /// Executes `batch` in order within one transaction and answers each. Blocking; runs on the disk's writer.
    ///
    /// Several commands share the transaction, so each must be decided before its first write: there is no way back but
    /// failing them all.
    fn execute(&self, within: &WriteTransaction, batch: Vec<Self::Command>) -> Result<Vec<Self::Answer>, redb::Error>;

    /// Whether the commit just made leaves something to be done on the disk.
    fn is_unfinished(&self) -> bool {
        false
    }

    /// What must be done on the disk once the commit is durable, and before anyone learns of it. A crash may come before it:
    /// then whoever opens the store the next time does it. Blocking; runs on the disk's writer.
    ///
    /// # Errors
    /// Of the disk: then the store takes no more commands.
    fn finish(&self) -> io::Result<()> {
        Ok(())
    }

    /// Told once the batch is durable, before anyone is answered.
    fn committed(&self, answers: &[Self::Answer]);

    /// The length in bytes beyond which the file is worth a compaction, by what is kept in it. `None`: what never forgets
    /// is never compacted.
    fn compact_beyond(&self) -> Option<u64> {
        None
    }

    /// Told after a compaction.
    fn compacted(&self) {}
}

/// The latest durable snapshot. There is none while the file is compacted, nor after that has failed.
type Visible = Arc<RwLock<Option<Arc<ReadTransaction>>>>;

/// Consistent views of what is durable in one store.
#[derive(Clone)]
pub struct Snapshots(Visible);

impl Snapshots {
    /// As [`Store::read`].
    ///
    /// # Errors
    /// While the file is compacted: try again.
    pub fn read(&self) -> Result<Arc<ReadTransaction>, redb::Error> {
        let visible = self.0.read().expect("no holder panics").clone();
        visible.ok_or_else(|| redb::Error::Io(io::Error::new(io::ErrorKind::WouldBlock, "the file is being compacted")))
    }
}

type Queued<M> = (<M as Machine>::Command, oneshot::Sender<Result<<M as Machine>::Answer, CallError>>);

/// A database, its machine, and the queue of commands in between.
pub struct Store<M: Machine> {
    machine: Arc<M>,
    visible: Visible,
    queue: mpsc::Sender<Queued<M>>,
    failure: watch::Receiver<Option<String>>,
}

impl<M: Machine> Store<M> {
    /// Opens the database `name` of `owner` on the world's disk, recovering it if need be, lets `load` prepare its tables
    /// and build the machine from them, and starts the committer, which ends with the store.
    ///
    /// # Errors
    /// When the file can't be opened or is no sound database; the message names the file and says what to do.
    pub async fn open(
        world: &World,
        owner: Role,
        name: &str,
        load: impl FnOnce(&WriteTransaction) -> Result<M, redb::Error> + Send + 'static,
    ) -> io::Result<Self> {
        let (disk, monitor) = (world.disk.clone(), world.monitor.clone());
        let file: Arc<dyn DiskFile> = disk.open(name)?.into();
        clear_half_made(&*file)?;
        let backend = Backend(file.clone());
        let opened = in_job(&*disk, move || -> Result<Result<(Database, M), u32>, redb::Error> {
            let mut builder = Database::builder();
            builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
            let database = builder.create_with_backend(backend)?;
            let transaction = database.begin_write()?;
            if let Some(format) = foreign_format(&transaction)? {
                return Ok(Err(format));
            }
            let machine = load(&transaction)?;
            transaction.commit()?;
            Ok(Ok((database, machine)))
        });
        let opened = opened.await?.map_err(|error| unopened(name, &error))?;
        let (database, machine) = opened.map_err(|format| foreign(name, format))?;
        let machine = Arc::new(machine);
        let (queue, commands) = mpsc::channel(QUEUE_MAX);
        let (failed, failure) = watch::channel(None);
        let begin_read = database.begin_read().map_err(io::Error::other)?;
        let visible: Visible = Arc::new(RwLock::new(Some(Arc::new(begin_read))));
        let committer = Committer {
            disk,
            file,
            database: Some(Arc::new(database)),
            machine: machine.clone(),
            visible: visible.clone(),
            monitor: monitor.clone(),
            owner,
        };
        let health = failure.clone();
        monitor.health.vital(format!("store of {owner}"), move || match &*health.borrow() {
            Some(why) => Err(format!("it has failed and takes no more: {why}")),
            // Whoever waits for a store that ended without a word waits in vain, too.
            None if health.has_changed().is_err() => Err("its committer has ended".into()),
            None => Ok(()),
        });
        tokio::spawn(committer.run(commands, failed));
        Ok(Self { machine, visible, queue, failure })
    }

    /// Executes `command` and returns its answer once it is durable.
    pub async fn execute(&self, command: M::Command) -> Result<M::Answer, CallError> {
        let (answer, answered) = oneshot::channel();
        // Why it failed is for whoever runs it; callers would learn of paths that are none of their business.
        let refused = || {
            CallError::failed(if self.failure.borrow().is_some() {
                "the store has failed"
            } else {
                "the store is closed"
            })
        };
        self.queue.send((command, answer)).await.map_err(|_| refused())?;
        answered.await.unwrap_or_else(|_| Err(CallError::unknown("the store ended before the commit was confirmed")))
    }

    /// The machine, for its shared state.
    #[must_use]
    pub fn machine(&self) -> &Arc<M> {
        &self.machine
    }

    /// A consistent view of what is durable. A commit is not seen before it is: nobody may act on what a power loss could
    /// still take back. Not to be kept: it keeps the pages of rows that were removed since.
    ///
    /// # Errors
    /// While the file is compacted: try again.
    pub fn read(&self) -> Result<Arc<ReadTransaction>, redb::Error> {
        self.snapshots().read()
    }

    /// What is durable, for someone who reads it again and again.
    #[must_use]
    pub fn snapshots(&self) -> Snapshots {
        Snapshots(self.visible.clone())
    }

    /// The same view for whoever looks now and then, and keeps nothing open: there is none once the store is gone.
    pub(crate) fn reader(&self) -> impl Fn() -> Option<Arc<ReadTransaction>> + Send + 'static {
        let visible = Arc::downgrade(&self.visible);
        move || visible.upgrade()?.read().expect("no holder panics").clone()
    }

    /// Returns when the store has failed, with the reason; never otherwise.
    pub async fn failed(&self) -> String {
        let mut failure = self.failure.clone();
        match failure.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().expect("waited for a reason"),
            // Nobody can wait for a store that is being dropped, so the committer has panicked.
            Err(_) => "the committer has ended".into(),
        }
    }
}

/// Makes commits of commands, one after the other.
struct Committer<M: Machine> {
    disk: Arc<dyn Disk>,
    file: Arc<dyn DiskFile>,
    /// `None` only while the file is compacted, which takes it whole.
    database: Option<Arc<Database>>,
    machine: Arc<M>,
    visible: Visible,
    monitor: Monitor,
    owner: Role,
}

impl<M: Machine> Committer<M> {
    async fn run(mut self, mut commands: mpsc::Receiver<Queued<M>>, failed: watch::Sender<Option<String>>) {
        let mut compact_from = Instant::now();
        while let Some(first) = commands.recv().await {
            let mut weight = M::weight(&first.0);
            let mut queued = vec![first];
            while weight < BATCH_MAX
                && let Ok(next) = commands.try_recv()
            {
                weight += M::weight(&next.0);
                queued.push(next);
            }
            let (batch, callers): (Vec<_>, Vec<_>) = queued.into_iter().unzip();
            let (begun, together) = (Instant::now(), batch.len());
            let committed = self.commit(batch).await;
            self.monitor.metrics.commit.observe(self.owner, begun.elapsed().as_secs_f64());
            self.monitor.metrics.commit_commands.observe(self.owner, together as f64);
            match committed {
                Ok(answers) => {
                    assert_eq!(answers.len(), callers.len(), "a machine answers each command");
                    self.machine.committed(&answers);
                    for (caller, answer) in callers.into_iter().zip(answers) {
                        // A caller that went away no longer wants its answer.
                        let _ = caller.send(Ok(answer));
                    }
                }
                Err(failure) => {
                    tracing::error!(%failure, "a commit failed: the store takes no more commands until it is opened anew");
                    failed.send_replace(Some(failure));
                    for caller in callers {
                        let _ = caller.send(Err(CallError::unknown("the commit failed")));
                    }
                    return;
                }
            }
            if Instant::now() >= compact_from && self.is_worth_compacting() {
                if let Err(failure) = self.compact().await {
                    tracing::error!(%failure, "a compaction failed: the store takes no more commands until it is opened anew");
                    failed.send_replace(Some(failure));
                    return;
                }
                compact_from = Instant::now() + COMPACT_PAUSE;
            }
        }
    }

    /// Commits `batch`, and shows what it wrote to readers.
    async fn commit(&mut self, batch: Vec<M::Command>) -> Result<Vec<M::Answer>, String> {
        let (database, machine) = (self.database().clone(), self.machine.clone());
        let job = move || -> Result<Vec<M::Answer>, redb::Error> {
            let transaction = database.begin_write()?;
            let answers = machine.execute(&transaction, batch)?;
            transaction.commit()?;
            Ok(answers)
        };
        let answers = in_job(&*self.disk, job).await.map_err(told)?.map_err(told)?;
        if self.machine.is_unfinished() {
            let machine = self.machine.clone();
            in_job(&*self.disk, move || machine.finish()).await.map_err(told)?.map_err(told)?;
        }
        let durable = self.database().begin_read().map_err(told)?;
        *self.visible.write().expect("no holder panics") = Some(Arc::new(durable));
        Ok(answers)
    }

    fn is_worth_compacting(&self) -> bool {
        let beyond = self.machine.compact_beyond();
        // A length that can't be had shows in the next commit.
        beyond.is_some_and(|beyond| self.file.len().is_ok_and(|len| len > beyond))
    }

    /// Gives the file's free pages back to the disk. Readers are told to try again; a crash in the middle leaves the file as it was, or
    /// compacted in part.
    async fn compact(&mut self) -> Result<(), String> {
        let before = self.file.len().map_err(told)?;
        let (database, visible) = (self.database.take(), self.visible.clone());
        let mut database = database.expect("given back by every job");
        let job = move || -> Result<(Arc<Database>, bool), redb::Error> {
            let show = |snapshot| *visible.write().expect("no holder panics") = snapshot;
            show(None);
            // Ours is the only one by now: the committer gave up its own, and waits.
            let compacted = match Arc::get_mut(&mut database).map(Database::compact) {
                Some(Ok(compacted)) => compacted,
                // A reader holds a snapshot still: another time.
                None | Some(Err(redb::CompactionError::TransactionInProgress)) => false,
                Some(Err(error)) => return Err(error.into()),
            };
            show(Some(Arc::new(database.begin_read()?)));
            Ok((database, compacted))
        };
        let (database, compacted) = in_job(&*self.disk, job).await.map_err(told)?.map_err(told)?;
        self.database = Some(database);
        if compacted {
            let after = self.file.len().map_err(told)?;
            tracing::info!(before, after, "compacted a store's file, in bytes");
            self.machine.compacted();
        }
        Ok(())
    }

    fn database(&self) -> &Arc<Database> {
        self.database.as_ref().expect("given back by every job")
    }
}

fn told(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Runs `work` as a disk job and brings its result back.
pub(crate) async fn in_job<T: Send + 'static>(
    disk: &dyn Disk,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let (done, result) = oneshot::channel();
    // The receiver waits below; it can only be gone when this whole call was dropped.
    disk.run(Box::new(move || drop(done.send(work())))).await?;
    result.await.map_err(|_| io::Error::other("the disk dropped a job"))
}

/// The format of a file that another build's rows are in, before any of them is read as something else.
fn foreign_format(within: &WriteTransaction) -> Result<Option<u32>, redb::Error> {
    let is_new = within.list_tables()?.next().is_none();
    let mut table = within.open_table(FORMAT_TABLE)?;
    let kept = table.get(())?.map(|kept| kept.value());
    match kept {
        Some(FORMAT) => Ok(None),
        None if is_new => {
            table.insert((), FORMAT)?;
            Ok(None)
        }
        // Format 1 did not say so.
        other => Ok(Some(other.unwrap_or(1))),
    }
}

/// Why a file of `format` can't be opened, and what to do.
fn foreign(name: &str, format: u32) -> io::Error {
    let problem = format!("its format is {format}, this build reads and writes {FORMAT}");
    let advice = "start the build that wrote it, or put it aside to begin without what is in it";
    io::Error::new(io::ErrorKind::InvalidData, format!("failed to open {name}: {problem}; {advice}"))
}

/// Why `name` can't be opened, and what to do if it is the file's fault and not the disk's.
fn unopened(name: &str, error: &redb::Error) -> io::Error {
    let damaged = match error {
        redb::Error::Corrupted(_) | redb::Error::UpgradeRequired(_) => true,
        redb::Error::Io(error) => matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof),
        _ => false,
    };
    if !damaged {
        return io::Error::other(format!("failed to open {name}: {error}"));
    }
    let advice = "the file is damaged or was never this role's: put it aside and restore it from a copy. The audit log \
                  tells which commands the copy lacks; for the audit log itself, the ledger's outcomes do";
    io::Error::new(io::ErrorKind::InvalidData, format!("failed to open {name}: {error}; {advice}"))
}

/// Empties a file whose first making was cut short by a crash: redb writes its magic number last, and takes a file that
/// has bytes but begins with zeros for a foreign one. Nothing can have been confirmed from it. A longer file that begins
/// with zeros is damaged, and left to redb to refuse.
fn clear_half_made(file: &dyn DiskFile) -> io::Result<()> {
    let mut magic = [0; 9];
    let len = file.len()?;
    if len > 0 && len <= FRESH_BYTES_MAX {
        let known = magic.len().min(usize::try_from(len).unwrap_or(usize::MAX));
        file.read(0, &mut magic[..known])?;
        if magic == [0; 9] {
            file.set_len(0)?;
        }
    }
    Ok(())
}

/// redb's view of a [`DiskFile`].
#[derive(Debug)]
struct Backend(Arc<dyn DiskFile>);

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.0.sync()
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }
}

/// A row's bytes.
///
/// # Panics
/// Never for our own types: they hold nothing postcard can't write.
pub(crate) fn encode(value: &impl Serialize) -> Vec<u8> {
    postcard::to_stdvec(value).expect("our own types become bytes")
}

/// A row from its bytes.
///
/// # Errors
/// The bytes are not what this build writes: the database is damaged or foreign.
pub(crate) fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, redb::Error> {
    postcard::from_bytes(bytes).map_err(|error| redb::Error::Corrupted(format!("an unreadable row: {error}")))
}

/// An identifier from a row's key; the same errors as [`decode`].
pub(crate) fn read_id<T>(parse: impl FnOnce(&str) -> Result<T, IdError>, text: &str) -> Result<T, redb::Error> {
    parse(text).map_err(|error| redb::Error::Corrupted(format!("a row under {text:?}, which {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capability::{RealDisk, World};

    struct Nothing;

    impl Machine for Nothing {
        type Command = ();
        type Answer = ();
        fn execute(&self, _: &WriteTransaction, batch: Vec<()>) -> Result<Vec<()>, redb::Error> {
            Ok(batch)
        }
        fn committed(&self, _: &[()]) {}
    }

    async fn open(folder: &std::path::Path) -> io::Result<Store<Nothing>> {
        Store::open(&World::real(folder)?, Role::Broker, "test.redb", |_| Ok(Nothing)).await
    }

    #[tokio::test]
    async fn a_file_of_another_build_is_refused_and_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("test.redb");
        // As the first format was: rows, and not a word of whose they are.
        let rows: TableDefinition<u64, u64> = TableDefinition::new("rows");
        let made = Database::create(&path).unwrap();
        let transaction = made.begin_write().unwrap();
        transaction.open_table(rows).unwrap().insert(1, 1).unwrap();
        transaction.commit().unwrap();
        drop(made);
        let Err(refused) = open(folder.path()).await else { panic!("another build's rows were taken for ours") };
        let why = refused.to_string();
        assert!(why.contains("test.redb: its format is 1, this build reads and writes 5"), "{why}");
        let kept = Database::open(&path).unwrap().begin_read().unwrap().list_tables().unwrap().count();
        assert_eq!(kept, 1, "a refused file was changed");
    }

    #[tokio::test]
    async fn a_file_whose_making_was_cut_short_is_begun_anew_and_a_spoilt_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let disk = RealDisk::open(folder.path()).unwrap();
        let file = disk.open("test.redb").unwrap();
        let made = Database::builder().create_with_backend(Backend(file.into())).unwrap();
        let fresh = folder.path().join("test.redb").metadata().unwrap().len();
        assert!(fresh <= FRESH_BYTES_MAX, "redb makes a database of {fresh} bytes");
        drop(made);

        let half_made = disk.open("test.redb").unwrap();
        half_made.write(0, &[0; 512]).unwrap();
        half_made.set_len(FRESH_BYTES_MAX).unwrap();
        drop(half_made);
        drop(open(folder.path()).await.unwrap());

        let spoilt = loop {
            // The store's committer lets go of the file a moment after the store is dropped.
            match disk.open("test.redb") {
                Ok(file) => break file,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        spoilt.write(0, &[0; 512]).unwrap();
        spoilt.set_len(FRESH_BYTES_MAX + 1).unwrap();
        drop(spoilt);
        let Err(refused) = open(folder.path()).await else { panic!("a spoilt database was begun anew") };
        assert!(refused.to_string().contains("failed to open test.redb"), "{refused}");
        assert!(refused.to_string().contains("restore it from a copy"), "{refused}");
    }
}
