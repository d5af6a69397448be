//! An export: everything that it takes to verify the log somewhere else, in files that others can read.
//!
//! | file | holds |
//! |---|---|
//! | `checkpoint` | the newest checkpoint, as a signed note (C2SP `tlog-checkpoint`) |
//! | `entries.jsonl` | a record a line, as it was hashed, without the line's end; those that retention took are not there |
//! | `tile/LEVEL/...` | the tree's hashes (C2SP `tlog-tiles`), of every entry that there ever was |

use std::collections::BTreeMap;
use std::io::{self, BufRead, Write};

use redb::{ReadTransaction, ReadableTable};
use serde::Serialize;

use super::embedded::{ENTRIES, checkpoint_of, tile_of};
use crate::tlog::Tile;

/// The name of the newest checkpoint's file.
pub(super) const CHECKPOINT: &str = "checkpoint";
/// The name of the records' file.
pub(super) const RECORDS: &str = "entries.jsonl";

/// Where an export is written to and read from.
pub trait Folder {
    /// Makes the file `path`, with the folders on its way.
    fn create(&mut self, path: &str) -> io::Result<Box<dyn Write + '_>>;

    /// Opens the file `path`; `None` if there is none.
    fn open(&self, path: &str) -> io::Result<Option<Box<dyn BufRead + '_>>>;
}

/// A folder in memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files(pub BTreeMap<String, Vec<u8>>);

impl Folder for Files {
    fn create(&mut self, path: &str) -> io::Result<Box<dyn Write + '_>> {
        self.0.insert(path.to_owned(), Vec::new());
        Ok(Box::new(self.0.get_mut(path).expect("just inserted")))
    }

    fn open(&self, path: &str) -> io::Result<Option<Box<dyn BufRead + '_>>> {
        Ok(self.0.get(path).map(|bytes| Box::new(bytes.as_slice()) as Box<dyn BufRead>))
    }
}

/// What an export has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Exported {
    /// The log's size.
    pub size: u64,
    /// How many records; of the others there are only the hashes.
    pub records: u64,
}

/// Writes everything in one snapshot into `folder`.
pub(super) fn export(read: &ReadTransaction, folder: &mut dyn Folder) -> io::Result<Exported> {
    let (checkpoint, size) = checkpoint_of(read).map_err(io::Error::other)?;
    for tile in Tile::all(size) {
        let hashes = tile_of(read, tile).map_err(io::Error::other)?;
        let hashes = hashes.ok_or_else(|| io::Error::other(format!("{tile} is not complete: the log is damaged")))?;
        write(folder, &tile.to_string(), |file| file.write_all(&hashes))?;
    }
    let mut records = 0;
    write(folder, RECORDS, |file| {
        let entries = read.open_table(ENTRIES).map_err(io::Error::other)?;
        for row in entries.iter().map_err(io::Error::other)? {
            let (_, entry) = row.map_err(io::Error::other)?;
            file.write_all(entry.value())?;
            file.write_all(b"\n")?;
            records += 1;
        }
        Ok(())
    })?;
    // Last: an export that was cut short has none.
    write(folder, CHECKPOINT, |file| file.write_all(checkpoint.as_bytes()))?;
    Ok(Exported { size, records })
}

fn write(folder: &mut dyn Folder, path: &str, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut file = folder.create(path)?;
    fill(&mut *file)?;
    file.flush()
}
