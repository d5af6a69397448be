//! The one place where wrapped data keys lie: a file of slots that are overwritten when a key is destroyed.
//!
//! redb copies a page before it changes it and leaves the old one to be used again some day, so a row that was removed is
//! still in the file, for months perhaps. A wrapped key must not be: whoever has it and the key that wraps it opens all
//! that it ever sealed. So the keys lie apart, a sector each, and never anywhere else in the ledger's folder; redb keeps
//! which of them count, by their hash.
//!
//! A key is written and synced here before redb records it, and overwritten here after redb has durably forgotten it. So
//! whatever a crash leaves half done looks the same at the next start: a slot that no row knows, and that is overwritten.
//! A row without its slot can't come from a crash: then the file is damaged or another's, and is refused.
//!
//! What overwriting can't reach: blocks that a solid-state disk or a copying file system keeps of the old content, and
//! copies that were made of the file. See SECURITY.md for what to do about them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::capability::{Disk, DiskFile};
use crate::ids::TenantId;
use crate::secret::{KeyContext, KeyVersion, WrappedKey};
use crate::store::in_job;

/// The file's name on the ledger's disk.
pub(super) const FILE: &str = "ledger.keys";

/// What a disk writes whole or not at all, in bytes.
const SLOT: usize = 512;

/// SHA-256 of what follows, in bytes.
const HASH: usize = 32;

/// The hash of a slot's content: what redb knows a key by. Of 256 random bits in a wrapping, so it tells nothing of them.
pub(super) type SlotHash = [u8; HASH];

/// What a slot holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Record {
    tenant: TenantId,
    version: KeyVersion,
    wrapped: WrappedKey,
}

/// The file, and what is in it.
#[derive(Debug)]
pub(super) struct KeyFile {
    file: Arc<dyn DiskFile>,
    slots: Mutex<Slots>,
}

#[derive(Debug, Default)]
struct Slots {
    kept: BTreeMap<SlotHash, (u64, WrappedKey)>,
    /// Neither empty nor whole: what a power loss left of a write.
    broken: BTreeSet<u64>,
    free: BTreeSet<u64>,
    count: u64,
}

impl KeyFile {
    /// Reads the file on `disk`; an absent one is an empty one.
    ///
    /// # Errors
    /// The disk's.
    pub(super) fn open(disk: &dyn Disk) -> io::Result<Self> {
        let file: Arc<dyn DiskFile> = disk.open(FILE)?.into();
        let len = usize::try_from(file.len()?).map_err(io::Error::other)?;
        let mut bytes = vec![0; len];
        file.read(0, &mut bytes)?;
        let mut slots = Slots::default();
        for slot in bytes.chunks(SLOT) {
            let number = slots.count;
            slots.count += 1;
            match read(slot) {
                Some((hash, record)) => drop(slots.kept.insert(hash, (number, record.wrapped))),
                None if slot.iter().all(|byte| *byte == 0) => drop(slots.free.insert(number)),
                None => drop(slots.broken.insert(number)),
            }
        }
        Ok(Self { file, slots: Mutex::new(slots) })
    }

    /// Makes the file what redb has recorded: overwrites all else.
    ///
    /// # Errors
    /// When a key that was recorded is not there, or the disk fails.
    pub(super) async fn reconcile(
        self: &Arc<Self>,
        disk: &dyn Disk,
        recorded: &BTreeMap<(TenantId, KeyVersion), SlotHash>,
    ) -> io::Result<()> {
        let (mut strays, broken): (Vec<u64>, _) = {
            let slots = self.slots();
            for ((tenant, version), hash) in recorded {
                if !slots.kept.contains_key(hash) {
                    let problem = format!("data key {version} of tenant {tenant} is missing in {FILE}");
                    let advice = "the file is damaged or belongs to another ledger: restore it with ledger.redb, from one \
                                  copy; without it their secrets open for nobody";
                    return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{problem}; {advice}")));
                }
            }
            let known: BTreeSet<_> = recorded.values().collect();
            let strays = slots.kept.iter().filter(|(hash, _)| !known.contains(hash)).map(|(_, (number, _))| *number);
            (strays.collect(), slots.broken.clone())
        };
        strays.extend(broken);
        if strays.is_empty() {
            return Ok(());
        }
        tracing::info!(slots = strays.len(), "overwriting key slots that a crash left");
        let keys = self.clone();
        in_job(disk, move || keys.overwrite(&strays)).await?
    }

    /// Writes a key into a slot of its own. It counts once redb has recorded its hash.
    ///
    /// # Errors
    /// When it does not fit a slot, or the disk fails.
    pub(super) async fn put(
        self: &Arc<Self>,
        disk: &dyn Disk,
        context: &KeyContext,
        wrapped: WrappedKey,
    ) -> io::Result<SlotHash> {
        let record = Record { tenant: context.tenant.clone(), version: context.version, wrapped: wrapped.clone() };
        let (hash, bytes) = write(&record)?;
        let number = {
            let mut slots = self.slots();
            slots.free.pop_first().unwrap_or_else(|| {
                slots.count += 1;
                slots.count - 1
            })
        };
        let file = self.file.clone();
        let job = move || file.write(number * SLOT as u64, &bytes).and_then(|()| file.sync());
        let written = in_job(disk, job).await.and_then(|written| written);
        let mut slots = self.slots();
        match written {
            Ok(()) => {
                slots.kept.insert(hash, (number, wrapped));
                Ok(hash)
            }
            Err(error) => {
                // Whatever is there now, the next key is written over it.
                slots.free.insert(number);
                Err(error)
            }
        }
    }

    /// The key that redb has recorded as `hash`; `None` if it was destroyed since.
    pub(super) fn get(&self, hash: &SlotHash) -> Option<WrappedKey> {
        self.slots().kept.get(hash).map(|(_, wrapped)| wrapped.clone())
    }

    /// Destroys keys that redb has durably forgotten. Blocking.
    ///
    /// # Errors
    /// The disk's: then the next start has it to do.
    pub(super) fn destroy(&self, hashes: &[SlotHash]) -> io::Result<()> {
        let numbers: Vec<u64> = {
            let slots = self.slots();
            hashes.iter().filter_map(|hash| slots.kept.get(hash)).map(|(number, _)| *number).collect()
        };
        self.overwrite(&numbers)
    }

    fn overwrite(&self, numbers: &[u64]) -> io::Result<()> {
        for number in numbers {
            self.file.write(number * SLOT as u64, &[0; SLOT])?;
        }
        self.file.sync()?;
        let mut slots = self.slots();
        slots.kept.retain(|_, (number, _)| !numbers.contains(number));
        slots.broken.retain(|number| !numbers.contains(number));
        slots.free.extend(numbers);
        Ok(())
    }

    fn slots(&self) -> std::sync::MutexGuard<'_, Slots> {
        self.slots.lock().expect("no holder panics")
    }
}

fn write(record: &Record) -> io::Result<(SlotHash, Vec<u8>)> {
    let content = postcard::to_stdvec(record).map_err(io::Error::other)?;
    if content.len() > SLOT - HASH {
        let problem =
            format!("a wrapped key takes {} bytes with its names; a slot has room for {}", content.len(), SLOT - HASH);
        return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
    }
    let mut slot = vec![0; SLOT];
    slot[HASH..][..content.len()].copy_from_slice(&content);
    let hash: SlotHash = Sha256::digest(&slot[HASH..]).into();
    slot[..HASH].copy_from_slice(&hash);
    Ok((hash, slot))
}

fn read(slot: &[u8]) -> Option<(SlotHash, Record)> {
    let (hash, content) = slot.split_at_checked(HASH)?;
    let hash: SlotHash = hash.try_into().ok()?;
    if slot.len() != SLOT || SlotHash::from(Sha256::digest(content)) != hash {
        return None;
    }
    // Behind the record there are only zeros; postcard leaves what it does not need.
    postcard::take_from_bytes(content).ok().map(|(record, _)| (hash, record))
}
