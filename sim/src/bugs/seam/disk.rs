//! A disk with a defect, and a file that is none.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use tenantry_system::capability::{Disk, DiskFile, Job};

use super::Bent;

/// As [`Disk`]; what is not said otherwise the one behind it does.
#[async_trait]
pub trait BentDisk: Send + Sync + 'static {
    /// The one behind it.
    fn inner(&self) -> &Arc<dyn Disk>;

    /// See [`Disk::open`].
    ///
    /// # Errors
    /// As there.
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        self.inner().open(name)
    }

    /// See [`Disk::run`].
    async fn run(&self, job: Job) -> io::Result<()> {
        self.inner().run(job).await
    }
}

#[async_trait]
impl<T: BentDisk> Disk for Bent<T> {
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        self.0.open(name)
    }

    async fn run(&self, job: Job) -> io::Result<()> {
        self.0.run(job).await
    }
}

/// A file that dies with its process.
#[derive(Debug, Default)]
pub struct Memory(Mutex<Vec<u8>>);

impl Memory {
    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().expect("no holder panics")
    }
}

fn place(offset: u64) -> usize {
    usize::try_from(offset).expect("what lies in memory has an address")
}

impl DiskFile for Memory {
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let (bytes, from) = (self.bytes(), place(offset));
        let read = bytes.get(from..from + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(read);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let (mut bytes, from) = (self.bytes(), place(offset));
        let long = bytes.len().max(from + data.len());
        bytes.resize(long, 0);
        bytes[from..from + data.len()].copy_from_slice(data);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.bytes().resize(place(len), 0);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}
