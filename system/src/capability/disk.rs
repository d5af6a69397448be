//! Named random-access files, and the place where blocking commits run.
//!
//! A commit is a [`Job`]: it writes and syncs, and blocks while it does. Production gives each disk one writer thread, so
//! that no async worker waits for a sync; reads happen where they are asked for, mostly from memory. A simulation runs the job at once, lets virtual time pass, and only
//! then counts what it synced as durable: a crash in between meets unsynced bytes, as it would for real.

use std::fmt::Debug;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use async_trait::async_trait;
use tokio::sync::oneshot;

/// Blocking work that ends with its writes synced.
pub type Job = Box<dyn FnOnce() + Send>;

/// Opens files and runs commit jobs.
#[async_trait]
pub trait Disk: Send + Sync + 'static {
    /// Opens the file `name`, creating it empty when absent. One process at a time may hold it.
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;

    /// Runs `job` and returns once it has ended and what it synced is durable. Jobs run one at a time, in order.
    ///
    /// # Errors
    /// When the disk can no longer run jobs. Then nothing is known about this one: it must not be acknowledged.
    async fn run(&self, job: Job) -> io::Result<()>;
}

/// One open file. Every call may block; errors are the operating system's.
pub trait DiskFile: Debug + Send + Sync + 'static {
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// True when the file has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Fills `out` from `offset`. Reading past the end is an error.
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;
    /// Writes all of `data` at `offset`.
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()>;
    /// Cuts, or extends with zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Returns when all that was written before is durable.
    fn sync(&self) -> io::Result<()>;
}

/// Real files in one folder, and a writer thread.
#[derive(Debug)]
pub struct RealDisk {
    folder: PathBuf,
    jobs: mpsc::Sender<(Job, oneshot::Sender<()>)>,
}

impl RealDisk {
    /// Opens `folder`, creating it when absent, and starts the writer thread, which ends with the disk.
    ///
    /// # Errors
    /// When the folder can't be created, with its path in the message.
    pub fn open(folder: &Path) -> io::Result<Self> {
        // For its owner alone: keys and customers' data lie in it.
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|error| file_error(&error, "create the folder", folder))?;
        let (jobs, queue) = mpsc::channel::<(Job, oneshot::Sender<()>)>();
        let writer = move || {
            for (job, done) in queue {
                job();
                // Whoever asked may have gone; the job's work stands all the same.
                let _ = done.send(());
            }
        };
        std::thread::Builder::new().name("disk-writer".into()).spawn(writer)?;
        Ok(Self { folder: folder.to_owned(), jobs })
    }
}

#[async_trait]
impl Disk for RealDisk {
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let path = self.folder.join(name);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|error| file_error(&error, "open", &path))?;
        match file.try_lock() {
            Ok(()) => {
                // The name itself must last too, or a power loss could take a file whose content was synced.
                let synced = File::open(&self.folder).and_then(|folder| folder.sync_all());
                synced.map_err(|error| file_error(&error, "sync the folder", &self.folder))?;
                Ok(Box::new(RealFile { file, path }))
            }
            Err(TryLockError::WouldBlock) => Err(io::Error::new(
                io::ErrorKind::ResourceBusy,
                format!("{} is in use by another process; stop it, or choose another data folder", path.display()),
            )),
            Err(TryLockError::Error(error)) => Err(file_error(&error, "lock", &path)),
        }
    }

    async fn run(&self, job: Job) -> io::Result<()> {
        let gone = || io::Error::other("the disk's writer thread has ended");
        let (done, ended) = oneshot::channel();
        self.jobs.send((job, done)).map_err(|_| gone())?;
        ended.await.map_err(|_| gone())
    }
}

/// An open file, and its path for errors.
#[derive(Debug)]
struct RealFile {
    file: File,
    path: PathBuf,
}

impl RealFile {
    fn named<T>(&self, verb: &str, done: io::Result<T>) -> io::Result<T> {
        done.map_err(|error| file_error(&error, verb, &self.path))
    }
}

impl DiskFile for RealFile {
    fn len(&self) -> io::Result<u64> {
        self.named("ask for the length of", self.file.metadata().map(|metadata| metadata.len()))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.named("read", self.file.read_exact_at(out, offset))
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.named("write", self.file.write_all_at(data, offset))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.named("resize", self.file.set_len(len))
    }

    fn sync(&self) -> io::Result<()> {
        self.named("sync", self.file.sync_data())
    }
}

/// `error` with what failed: to do what to which path. Where whoever runs the system can mend it, also what would be right.
#[must_use]
pub fn file_error(error: &io::Error, verb: &str, path: &Path) -> io::Error {
    use io::ErrorKind::{FileTooLarge, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    let right = match error.kind() {
        PermissionDenied => "; the user this runs as must own it, or be allowed to read and write it",
        StorageFull | QuotaExceeded => "; make room on its disk",
        FileTooLarge => "; raise the limit on the size of files (ulimit -f), or use a file system without one",
        ReadOnlyFilesystem => "; it must lie on a disk that can be written",
        _ => "",
    };
    io::Error::new(error.kind(), format!("failed to {verb} {}: {error}{right}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_process_is_told_that_the_file_is_in_use() {
        let folder = tempfile::tempdir().unwrap();
        let disk = RealDisk::open(folder.path()).unwrap();
        let _held = disk.open("broker.redb").unwrap();
        let error = disk.open("broker.redb").unwrap_err();
        assert!(error.to_string().contains("is in use by another process"), "{error}");
    }

    #[test]
    fn folder_and_files_are_their_owners_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data/broker");
        RealDisk::open(&data).unwrap().open("broker.redb").unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&data), mode(&data.join("broker.redb"))), (0o700, 0o600));
    }

    #[tokio::test]
    async fn a_job_that_panics_is_never_acknowledged_nor_is_any_after_it() {
        let folder = tempfile::tempdir().unwrap();
        let disk = RealDisk::open(folder.path()).unwrap();
        assert!(disk.run(Box::new(|| {})).await.is_ok());
        assert!(disk.run(Box::new(|| panic!("expected by this test"))).await.is_err());
        assert!(disk.run(Box::new(|| {})).await.is_err());
    }
}
