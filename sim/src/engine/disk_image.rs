//! The heart of the simulated disk: what a process sees, what would survive a power loss, and the operations between.
//!
//! A file has two contents. `current` is what the running process reads, the operating system's page cache; `durable`
//! is what the platter has. Between them stands a log of writes, lengths and syncs. The half that hosts a service runs
//! a commit, lets the virtual sync time pass, and then calls [`DiskImage::promote`]; a power loss before that meets
//! bytes that were synced but not yet durable, which is where recovery code is wrong if it is wrong.
//!
//! A power loss keeps everything before one sync that the dice choose among those not yet promoted, and of the epoch
//! after it a random subset of 512-byte sectors. Sectors are decided by file and sector number, never by the order in
//! which a library happened to write them. Everything here is pure: no async, no clock. The `epoch` counts kills and
//! power losses; handles opened in an older epoch must err, and the hosted half sees to that.
//!
//! A disk that is full refuses what would make a file longer; one that fails refuses every write, change of length, new
//! file and sync, and also the promotion of what it had accepted: a sync is done only when its time has passed. Then it is
//! open which of the syncs under way were the last to work, as it is after a power loss. Kinder than some real systems:
//! what a failed sync left behind stays to be synced, while Linux may mark it clean and never write it.
//!
//! A torn write is a sync that the disk gave up halfway, as when it is reset: of what was to be durable the platter has got a
//! part, chosen as at a power loss, the commit fails, and the system forgets what it could not write, as Linux does. Whoever
//! was told of it can write no more through the files that they have open, and reads what they wrote, from the page cache.
//! The process that is started after them finds what lies on the platter. Here alone it can do so in the same breath, with
//! the network up: a process that took "failed" for "not done", or went on as if nothing were, is found out.
//!
//! Rot turns bits over in both contents at once, so that it is there whatever happens next. A running process that holds
//! a page in a cache of its own does not see it until it reads the file again; if it writes that place anew, the rot is
//! gone. One that reads it gets the wrong bits without an error, as from a real disk whose own checksum failed to notice.
//! After a kill the next process finds it. After a power loss too, except where a write was on its way to that place:
//! then the platter holds the write, which never rotted. Whether anyone notices is for the software's checksums to say.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::ops::Range;

use crate::engine::dice::Dice;
use crate::engine::disks::DiskState;

/// What a disk writes whole or not at all, in bytes.
pub const SECTOR: usize = 512;

/// Bits that one rot turns over, fewer where two draws meet: enough that one of them often hits something in use.
const ROT_BITS: u64 = 3;

/// The disk of one host: named files, created empty by [`DiskImage::create`].
#[derive(Debug, Default)]
pub struct DiskImage {
    files: BTreeMap<String, FileImage>,
    epoch: u64,
    refused: u64,
    /// How many commits were torn.
    torn: u64,
    /// What decides the next torn write, until there was one.
    to_tear: Option<Dice>,
    /// The running process was told of a torn write.
    is_torn: bool,
    /// Bytes that have rotted and were not written since.
    rotten: BTreeSet<(String, usize)>,
    state: DiskState,
    /// A control for tests of tests: syncs say done, and promotion promotes nothing. Order is still kept, so that a
    /// store opens after a power loss and is merely old: exactly what a check on lost confirmations must notice.
    pub lying_sync: bool,
}

#[derive(Debug, Default)]
struct FileImage {
    current: Vec<u8>,
    durable: Vec<u8>,
    log: Vec<Op>,
}

#[derive(Debug)]
enum Op {
    Write { offset: usize, data: Vec<u8> },
    SetLen(usize),
    Sync,
}

/// What a power loss took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Loss {
    /// Files whose content is no longer what the process last saw.
    pub files: u64,
    /// Bytes in which they differ, counting a changed length as that many bytes.
    pub bytes_lost: u64,
}

/// A bit that rotted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Flip {
    /// In which file.
    pub file: String,
    /// In which byte of it.
    pub offset: usize,
    /// Which bit of the byte, 0 the lowest.
    pub bit: u8,
}

impl fmt::Display for Flip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} byte {} bit {}", self.file, self.offset, self.bit)
    }
}

impl DiskImage {
    /// An empty, honest disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates the file `name` empty if it is absent. The name itself is durable at once, as an honest `open` syncs it.
    ///
    /// # Errors
    /// When it is absent and the disk is full or failing.
    pub fn create(&mut self, name: &str) -> io::Result<()> {
        if !self.files.contains_key(name) {
            self.admit("create", name, true)?;
            self.files.insert(name.to_owned(), FileImage::default());
        }
        Ok(())
    }

    /// Names of all files, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// How many operations a full or failing disk has refused.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// How many commits were torn.
    pub fn torn(&self) -> u64 {
        self.torn
    }

    /// How the disk is while faults last.
    pub fn state(&self) -> DiskState {
        self.state
    }

    /// Faults begin or heal. If from now on a write is to be torn, `dice` decide how.
    pub fn set_state(&mut self, state: DiskState, dice: &Dice) {
        if !state.tearing {
            self.to_tear = None;
        } else if !self.state.tearing {
            self.to_tear = Some(*dice);
        }
        self.state = state;
    }

    /// How often the process was killed or the power was lost. A handle of an older epoch must err.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether anything of these `len` bytes has rotted.
    pub fn is_rotten(&self, name: &str, offset: u64, len: usize) -> bool {
        let Ok(bytes) = span(offset, len) else { return false };
        self.rotten.iter().any(|(file, byte)| file == name && bytes.contains(byte))
    }

    /// Length in bytes as the process sees it.
    ///
    /// # Errors
    /// `NotFound` when there is no such file, as everywhere below.
    pub fn len(&self, name: &str) -> io::Result<u64> {
        Ok(self.file(name)?.current.len() as u64)
    }

    /// Fills `out` from `offset`.
    ///
    /// # Errors
    /// `UnexpectedEof` when the file ends before `out` is full.
    pub fn read(&self, name: &str, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let file = self.file(name)?;
        let bytes = span(offset, out.len())?;
        let Some(content) = file.current.get(bytes.clone()) else {
            let message = format!("failed to read bytes {bytes:?} of {name}, which has {}", file.current.len());
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
        };
        out.copy_from_slice(content);
        Ok(())
    }

    /// Writes all of `data` at `offset`, with zeros between the old end and `offset`.
    ///
    /// # Errors
    /// `StorageFull` when the disk is full and the file would grow, an error without a kind when the disk fails, as
    /// everywhere below. Then nothing has changed.
    pub fn write(&mut self, name: &str, offset: u64, data: &[u8]) -> io::Result<()> {
        let Range { start: offset, end } = span(offset, data.len())?;
        self.admit("write", name, end > self.file(name)?.current.len())?;
        self.file_mut(name)?.perform(Op::Write { offset, data: data.to_vec() });
        self.rotten.retain(|(file, byte)| file != name || !(offset..end).contains(byte));
        Ok(())
    }

    /// Cuts the file, or extends it with zeros, to `len` bytes.
    pub fn set_len(&mut self, name: &str, len: u64) -> io::Result<()> {
        let len = span(len, 0)?.start;
        self.admit("set the length of", name, len > self.file(name)?.current.len())?;
        self.file_mut(name)?.perform(Op::SetLen(len));
        Ok(())
    }

    /// Marks all that was written before as to be durable. It is durable only once promoted.
    pub fn sync(&mut self, name: &str) -> io::Result<()> {
        self.admit("sync", name, false)?;
        self.file_mut(name)?.perform(Op::Sync);
        Ok(())
    }

    /// Makes durable what stands before the last sync; the sync time has passed. A lying disk does nothing here.
    ///
    /// # Errors
    /// When the disk fails, or tears what it writes, and there is anything to make durable: it began to while it was syncing.
    pub fn promote(&mut self, name: &str) -> io::Result<()> {
        if self.file(name)?.log.iter().any(|op| matches!(op, Op::Sync)) {
            self.admit("sync", name, false)?;
            self.tear_if_due(name)?;
        } else if self.is_torn {
            // What it had waited for went with the write that was torn.
            self.admit("sync", name, false)?;
        }
        let lying = self.lying_sync;
        let file = self.file_mut(name)?;
        if !lying && let Some(last) = file.log.iter().rposition(|op| matches!(op, Op::Sync)) {
            for op in file.log.drain(..=last) {
                op.apply(&mut file.durable);
            }
        }
        Ok(())
    }

    /// [`DiskImage::promote`] of every file.
    pub fn promote_all(&mut self) -> io::Result<()> {
        let names: Vec<String> = self.files.keys().cloned().collect();
        names.iter().try_for_each(|name| self.promote(name))
    }

    /// Bytes written and not yet durable, over all files. Bytes overwritten twice count twice.
    pub fn pending_bytes(&self) -> u64 {
        self.files.values().flat_map(|file| &file.log).map(Op::bytes).sum()
    }

    /// The process was killed. The operating system lives on and keeps its page cache: nothing is lost, but handles of
    /// the dead process err from here on.
    pub fn crash(&mut self) {
        self.epoch += 1;
        if std::mem::take(&mut self.is_torn) {
            for file in self.files.values_mut() {
                file.current.clone_from(&file.durable);
                file.log.clear();
            }
        }
    }

    /// Leaves of all that was to be durable what the dice have it, if that is due, and fails.
    fn tear_if_due(&mut self, name: &str) -> io::Result<()> {
        let Some(dice) = self.to_tear.take() else { return Ok(()) };
        self.torn += 1;
        self.is_torn = true;
        for (name, file) in &mut self.files {
            file.durable = file.after_power_loss(name, &dice, self.torn);
            file.log.clear();
        }
        Err(io::Error::other(format!("failed to sync {name}: input/output error, after a part of it was written")))
    }

    /// The power was lost: each file becomes what the dice left of it. `counter` tells one loss from the next.
    pub fn power_loss(&mut self, dice: &Dice, counter: u64) -> Loss {
        self.epoch += 1;
        self.is_torn = false;
        let mut loss = Loss::default();
        for (name, file) in &mut self.files {
            let survives = file.after_power_loss(name, dice, counter);
            let lost = difference(&file.current, &survives);
            loss.files += u64::from(lost > 0);
            loss.bytes_lost += lost;
            *file = FileImage { current: survives.clone(), durable: survives, log: Vec::new() };
        }
        loss
    }

    /// Turns over up to `ROT_BITS` bits at places that the dice choose, a long file's more often than a short one's, and
    /// says which. `counter` tells one rot from the next.
    pub fn rot(&mut self, dice: &Dice, counter: u64) -> BTreeSet<Flip> {
        let bits: u64 = self.files.values().map(|file| file.current.len() as u64 * 8).sum();
        let draws = if bits == 0 { 0 } else { ROT_BITS };
        let flips: BTreeSet<Flip> = (0..draws)
            .map(|draw| self.nth_bit(dice.range("disk.rot", &draw.to_string(), counter, 0..=bits - 1)))
            .collect();
        for flip in &flips {
            self.rotten.insert((flip.file.clone(), flip.offset));
            let file = self.files.get_mut(&flip.file).expect("the bit was found in it");
            for content in [&mut file.current, &mut file.durable] {
                if let Some(byte) = content.get_mut(flip.offset) {
                    *byte ^= 1 << flip.bit;
                }
            }
        }
        flips
    }

    /// The bit number `nth` of all files' contents, one after the other in the order of their names.
    fn nth_bit(&self, mut nth: u64) -> Flip {
        for (name, file) in &self.files {
            let bits = file.current.len() as u64 * 8;
            if nth < bits {
                return Flip { file: name.clone(), offset: (nth / 8) as usize, bit: (nth % 8) as u8 };
            }
            nth -= bits;
        }
        unreachable!("a bit {nth} past the end of the last file");
    }

    /// Refuses what the disk's state does not let happen, and counts it.
    fn admit(&mut self, verb: &str, name: &str, grows: bool) -> io::Result<()> {
        let error = if self.is_torn {
            io::Error::other(format!("failed to {verb} {name}: input/output error at a write before"))
        } else if self.state.failing {
            io::Error::other(format!("failed to {verb} {name}: input/output error"))
        } else if self.state.full && grows {
            io::Error::new(io::ErrorKind::StorageFull, format!("failed to {verb} {name}: no space left on device"))
        } else {
            return Ok(());
        };
        self.refused += 1;
        Err(error)
    }

    fn file(&self, name: &str) -> io::Result<&FileImage> {
        self.files.get(name).ok_or_else(|| absent(name))
    }

    fn file_mut(&mut self, name: &str) -> io::Result<&mut FileImage> {
        self.files.get_mut(name).ok_or_else(|| absent(name))
    }
}

impl FileImage {
    fn perform(&mut self, op: Op) {
        op.apply(&mut self.current);
        self.log.push(op);
    }

    fn after_power_loss(&self, name: &str, dice: &Dice, counter: u64) -> Vec<u8> {
        let syncs: Vec<usize> =
            self.log.iter().enumerate().filter(|(_, op)| matches!(op, Op::Sync)).map(|(index, _)| index).collect();
        let chosen = dice.range("disk.sync", name, counter, 0..=syncs.len() as u64) as usize;
        // Zero is "before the first"; else the whole epochs end just after the chosen sync.
        let torn_from = if chosen == 0 { 0 } else { syncs[chosen - 1] + 1 };
        let torn_to = syncs.get(chosen).copied().unwrap_or(self.log.len());

        let mut old = self.durable.clone();
        self.log[..torn_from].iter().for_each(|op| op.apply(&mut old));
        let mut new = old.clone();
        self.log[torn_from..torn_to].iter().for_each(|op| op.apply(&mut new));
        tear(name, dice, counter, old, &new)
    }
}

/// A mix of `old` and `new`, sector by sector and for the length apart, as the dice have it.
fn tear(name: &str, dice: &Dice, counter: u64, old: Vec<u8>, new: &[u8]) -> Vec<u8> {
    let mut mix = old;
    if mix.len() != new.len() && dice.chance("disk.length", name, counter, 0.5) {
        mix.resize(new.len(), 0);
    }
    for (sector, content) in new.chunks(SECTOR).enumerate() {
        let start = sector * SECTOR;
        let end = start + content.len();
        // Past the old end only zeros are no write: they are what a longer length looks like, and that was decided
        // above.
        let mut padded = mix.get(start..end.min(mix.len())).unwrap_or_default().iter().chain(std::iter::repeat(&0));
        let untouched = content.iter().all(|byte| padded.next() == Some(byte));
        if untouched || !dice.chance("disk.sector", &format!("{name}/{sector}"), counter, 0.5) {
            continue;
        }
        if mix.len() < end {
            mix.resize(end, 0);
        }
        mix[start..end].copy_from_slice(content);
    }
    mix
}

impl Op {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write { offset, data } => {
                let end = offset + data.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
                content[*offset..end].copy_from_slice(data);
            }
            Self::SetLen(len) => content.resize(*len, 0),
            Self::Sync => {}
        }
    }

    fn bytes(&self) -> u64 {
        match self {
            Self::Write { data, .. } => data.len() as u64,
            Self::SetLen(_) | Self::Sync => 0,
        }
    }
}

fn difference(a: &[u8], b: &[u8]) -> u64 {
    let changed = a.iter().zip(b).filter(|(a, b)| a != b).count();
    (changed + a.len().abs_diff(b.len())) as u64
}

/// The largest file, in bytes: far above any run's needs, and low enough that a wild offset errs instead of taking all
/// memory.
const FILE_MAX: usize = 4 << 30;

fn span(offset: u64, len: usize) -> io::Result<Range<usize>> {
    let start = usize::try_from(offset).ok().filter(|&start| start <= FILE_MAX);
    let end = start.and_then(|start| start.checked_add(len)).filter(|&end| end <= FILE_MAX);
    match (start, end) {
        (Some(start), Some(end)) => Ok(start..end),
        _ => Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("failed to reach {len} bytes at {offset}"))),
    }
}

fn absent(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("failed to find the file {name}"))
}

#[cfg(test)]
#[path = "disk_image_tests.rs"]
mod tests;
