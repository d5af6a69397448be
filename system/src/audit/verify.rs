//! Verifies an export offline: with the public key, and the checkpoint that someone kept from an earlier day.
//!
//! ```text
//! key -> checkpoint -> root -> hashes (tiles) -> records (lines)
//!        old checkpoint -> the root over the first entries
//! ```
//!
//! Everything is checked from left to right. If something does not fit, the hashes say where: which line is not what was
//! hashed, which is missing, which stands elsewhere, or which tile was changed though the lines are right. Takes 96 bytes of
//! memory for each entry.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::{self, BufRead, Read};

use serde::Serialize;

use super::embedded::RECORDS_FROM;
use super::export::{CHECKPOINT, Folder, RECORDS};
use crate::tlog::{Checkpoint, CheckpointError, ENTRY_BYTES_MAX, Frontier, Hash, LogKey, NoteError, Tile, leaf_hash};

/// Violations that are listed; the rest is counted.
const LISTED_MAX: usize = 100;

/// The longest checkpoint that is read, in bytes: longer than any is.
const CHECKPOINT_BYTES_MAX: u64 = 64 * 1024 + 1;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A record, or a hash, is not the one that was signed.
    FlippedBit,
    /// The end is missing.
    CutTail,
    /// Records in the middle are missing.
    Gap,
    /// Something stands where something else should.
    Reorder,
    /// A record stands twice.
    Duplicate,
    /// A record that was never logged.
    Added,
    /// Another history than the one that was signed.
    Fork,
    /// Signed in the key's name, by someone else.
    BadSignature,
    /// Signed by others only.
    OtherKey,
    /// Another log's.
    OtherOrigin,
    /// A file that should be there is not.
    MissingFile,
    /// A file that is not what it should be at all.
    Malformed,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// What.
    pub kind: Kind,
    /// In which file.
    pub file: String,
    /// The entry's place in the log, from 1, where it is about one.
    pub place: Option<u64>,
    /// In words.
    pub detail: String,
}

/// What a verification has found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// The log's name.
    pub origin: String,
    /// How many entries the checkpoint is over.
    pub size: u64,
    /// The root that was signed, in hexadecimal.
    pub root: String,
    /// How many records are there and were compared.
    pub records: u64,
    /// How many entries before them are there by their hash only: their time to be kept was over.
    pub hash_only: u64,
    /// The size of the old checkpoint that the log was held against.
    pub since: Option<u64>,
    /// What is wrong: at most a hundred are listed.
    pub violations: Vec<Violation>,
    /// How many there are.
    pub violations_total: u64,
}

impl Verified {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.violations_total == 0
    }

    fn violate(&mut self, kind: Kind, file: impl ToString, place: Option<u64>, detail: impl Into<String>) {
        self.violations_total += 1;
        if self.violations.len() < LISTED_MAX {
            self.violations.push(Violation { kind, file: file.to_string(), place, detail: detail.into() });
        }
    }

    fn disbelieve(&mut self, file: &str, error: &CheckpointError) {
        let kind = match error {
            CheckpointError::Note(NoteError::BadSignature(_)) => Kind::BadSignature,
            CheckpointError::Note(NoteError::OtherKey { .. }) => Kind::OtherKey,
            CheckpointError::OtherOrigin { .. } => Kind::OtherOrigin,
            CheckpointError::Note(NoteError::Malformed(_)) | CheckpointError::Malformed(_) => Kind::Malformed,
        };
        self.violate(kind, file, None, error.to_string());
    }
}

/// Verifies the export in `folder` against `key`, and against the checkpoint `since` if there is one.
///
/// # Errors
/// When a file that is there can't be read: then nothing is known.
pub fn verify(folder: &dyn Folder, key: &LogKey, since: Option<&str>) -> io::Result<Verified> {
    let mut verified = Verified::default();
    let Some(file) = folder.open(CHECKPOINT)? else {
        verified.violate(Kind::MissingFile, CHECKPOINT, None, "an export has its checkpoint beside its records");
        return Ok(verified);
    };
    let mut note = Vec::new();
    file.take(CHECKPOINT_BYTES_MAX).read_to_end(&mut note)?;
    let checkpoint = match Checkpoint::open(&String::from_utf8_lossy(&note), key) {
        Ok(checkpoint) => checkpoint,
        Err(error) => {
            verified.disbelieve(CHECKPOINT, &error);
            return Ok(verified);
        }
    };
    (verified.origin, verified.size) = (checkpoint.origin.clone(), checkpoint.size);
    verified.root = hex::encode(checkpoint.root);
    let since = match since.map(|note| Checkpoint::open(note, key)) {
        None => None,
        Some(Err(error)) => {
            verified.disbelieve("the old checkpoint", &error);
            None
        }
        Some(Ok(old)) => {
            verified.since = Some(old.size);
            if old.size > checkpoint.size {
                let detail = format!("the old checkpoint has {} entries, this one {}", old.size, checkpoint.size);
                verified.violate(Kind::CutTail, CHECKPOINT, Some(checkpoint.size + 1), detail);
            }
            Some(old).filter(|old| old.size <= checkpoint.size)
        }
    };
    let tiles = Tiles::read(folder, checkpoint.size, &mut verified)?;
    let lines = Lines::read(folder, records_from(&checkpoint), &mut verified)?;
    verified.records = lines.hashes.len() as u64;
    verified.hash_only = lines.first - 1;
    let hashed = tiles.leaves();
    if let Some(tree) = Tree::signed(hashed.as_deref(), &lines, &checkpoint) {
        tiles.compare(&tree, &mut verified);
        lines.compare(&tree.levels[0], &mut verified);
        if let Some(old) = since {
            let Ok(edge) = Frontier::at(old.size, &|level, index| tree.read(level, index));
            if edge.root() != old.root {
                let detail =
                    format!("its first {} entries are others than those the old checkpoint was signed over", old.size);
                verified.violate(Kind::Fork, CHECKPOINT, None, detail);
            }
        }
    } else if let Some(hashed) = hashed {
        let found = verified.violations_total;
        lines.compare(&hashed, &mut verified);
        if found == verified.violations_total {
            let detail = "records and hashes agree with each other, and not with the root that was signed";
            verified.violate(Kind::Fork, CHECKPOINT, None, detail);
        } else {
            verified.violate(
                Kind::Fork,
                CHECKPOINT,
                None,
                "neither the records nor the hashes make the root that was signed",
            );
        }
        tiles.compare(&Tree::of(&hashed), &mut verified);
    }
    Ok(verified)
}

/// A whole tree: the hashes of its tiles, level by level, and its root.
struct Tree {
    levels: Vec<Vec<Hash>>,
    root: Hash,
}

impl Tree {
    fn of(leaves: &[Hash]) -> Self {
        let (mut levels, mut edge) = (vec![Vec::with_capacity(leaves.len())], Frontier::default());
        for leaf in leaves {
            let kept = |level: u8, _, hash| {
                let level = usize::from(level);
                if levels.len() == level {
                    levels.push(Vec::new());
                }
                levels[level].push(hash);
                Ok(())
            };
            let Ok(()) = edge.append::<Infallible>(*leaf, kept);
        }
        Self { levels, root: edge.root() }
    }

    /// The tree that was signed, made of the tiles; or else of the lines, and where there are none of the tiles.
    fn signed(hashed: Option<&[Hash]>, lines: &Lines, checkpoint: &Checkpoint) -> Option<Self> {
        let is_signed = |tree: &Self| tree.levels[0].len() as u64 == checkpoint.size && tree.root == checkpoint.root;
        if let Some(tree) = hashed.map(Self::of).filter(is_signed) {
            return Some(tree);
        }
        let before = usize::try_from(lines.first - 1).ok()?;
        let before = if before == 0 { &[][..] } else { hashed?.get(..before)? };
        Some(Self::of(&[before, &lines.hashes].concat())).filter(is_signed)
    }

    fn read(&self, level: u8, index: u64) -> Result<Hash, Infallible> {
        Ok(self.levels[usize::from(level)][index as usize])
    }

    /// The bytes of `tile`.
    fn bytes(&self, tile: &Tile) -> Vec<u8> {
        let first = tile.first() as usize;
        let hashes = self
            .levels
            .get(usize::from(tile.level))
            .and_then(|level| level.get(first..first + usize::from(tile.width)));
        hashes.unwrap_or_default().concat()
    }
}

/// The export's tiles: `None` where one is missing or not of its length.
struct Tiles(Vec<(Tile, Option<Vec<u8>>)>);

impl Tiles {
    fn read(folder: &dyn Folder, size: u64, verified: &mut Verified) -> io::Result<Self> {
        let mut tiles = Vec::new();
        for tile in Tile::all(size) {
            let place = (tile.level == 0).then(|| tile.first() + 1);
            let wanted = usize::from(tile.width) * size_of::<Hash>();
            let Some(file) = folder.open(&tile.to_string())? else {
                verified.violate(Kind::MissingFile, tile, place, "a tile of the tree is missing");
                // Of a log that is not there at all, one word is enough.
                if verified.violations_total > LISTED_MAX as u64 {
                    return Ok(Self(tiles));
                }
                tiles.push((tile, None));
                continue;
            };
            let mut bytes = Vec::with_capacity(wanted);
            let read = file.take(wanted as u64 + 1).read_to_end(&mut bytes)?;
            if read != wanted {
                let than = if read < wanted { "shorter" } else { "longer" };
                verified.violate(
                    Kind::Malformed,
                    tile,
                    place,
                    format!("it is {than} than the {wanted} bytes that it should have"),
                );
            }
            tiles.push((tile, (read == wanted).then_some(bytes)));
        }
        Ok(Self(tiles))
    }

    /// The hashes of the entries, if they are all there.
    fn leaves(&self) -> Option<Vec<Hash>> {
        let tiles = self.0.iter().filter(|(tile, _)| tile.level == 0);
        let tiles = tiles.map(|(_, bytes)| bytes.as_deref()).collect::<Option<Vec<_>>>()?;
        Some(tiles.into_iter().flat_map(|bytes| bytes.as_chunks().0).copied().collect())
    }

    /// Names each tile that is not the tree's.
    fn compare(&self, tree: &Tree, verified: &mut Verified) {
        for (tile, bytes) in &self.0 {
            let (Some(bytes), right) = (bytes, tree.bytes(tile)) else { continue };
            let differs = bytes
                .chunks(size_of::<Hash>())
                .zip(right.chunks(size_of::<Hash>()))
                .position(|(is, should)| is != should);
            let Some(at) = differs else { continue };
            let (first, same_level) = (tile.first(), self.0.iter().filter(|(other, _)| other.level == tile.level));
            let place = (tile.level == 0).then_some(first + at as u64 + 1);
            match same_level.map(|(other, _)| other).find(|other| *other != tile && tree.bytes(other) == *bytes) {
                Some(other) => {
                    let place = (tile.level == 0).then_some(first + 1);
                    verified.violate(Kind::Reorder, tile, place, format!("it has the hashes that belong into {other}"));
                }
                None => {
                    let detail = format!("its hash {at}, counted from 0, is not the one that was signed");
                    verified.violate(Kind::FlippedBit, tile, place, detail);
                }
            }
        }
    }
}

/// The place of the first record that should be there, as the checkpoint says: retention took those before.
fn records_from(checkpoint: &Checkpoint) -> u64 {
    let told = checkpoint.extension.as_deref().and_then(|line| line.strip_prefix(RECORDS_FROM)?.trim().parse().ok());
    told.unwrap_or(1).clamp(1, checkpoint.size.saturating_add(1))
}

/// The records' hashes, in the order of the lines.
struct Lines {
    hashes: Vec<Hash>,
    /// The place of the first that should be there.
    first: u64,
}

impl Lines {
    fn read(folder: &dyn Folder, first: u64, verified: &mut Verified) -> io::Result<Self> {
        let (mut hashes, mut line) = (Vec::new(), Vec::new());
        let Some(mut file) = folder.open(RECORDS)? else {
            verified.violate(Kind::MissingFile, RECORDS, None, "there are no records at all");
            return Ok(Self { hashes, first });
        };
        loop {
            line.clear();
            // With the line's end, and one more to see that it is too long.
            if (&mut file).take(ENTRY_BYTES_MAX as u64 + 2).read_until(b'\n', &mut line)? == 0 {
                break;
            }
            if line.pop_if(|last| *last == b'\n').is_none() {
                let what = "the line ends without its end, or is longer than any record";
                verified.violate(Kind::Malformed, RECORDS, None, format!("line {}: {what}", hashes.len() + 1));
            }
            hashes.push(leaf_hash(&line));
            if hashes.len() as u64 > verified.size.saturating_add(LISTED_MAX as u64) {
                break;
            }
        }
        Ok(Self { hashes, first })
    }

    /// Holds the lines against the hashes that they should have, and names what became of each that is not as it should.
    fn compare(&self, hashed: &[Hash], verified: &mut Verified) {
        let begin = self.first as usize - 1;
        if hashed.get(begin..) == Some(&self.hashes) {
            return;
        }
        let places: BTreeMap<&Hash, u64> = hashed.iter().zip(1..).collect();
        let found: Vec<Option<u64>> = self.hashes.iter().map(|hash| places.get(hash).copied()).collect();
        let mut there: BTreeMap<u64, usize> = BTreeMap::new();
        for place in found.iter().flatten() {
            *there.entry(*place).or_default() += 1;
        }
        let mut next = self.first;
        let mut seen = BTreeMap::new();
        for (line, place) in (1_u64..).zip(&found) {
            match *place {
                Some(place) if seen.insert(place, line).is_some() => {
                    verified.violate(
                        Kind::Duplicate,
                        RECORDS,
                        Some(place),
                        format!("entry {place} stands again in line {line}"),
                    );
                }
                Some(place) if place < next => {
                    let detail = format!("entry {place} stands in line {line}, after entries that came later");
                    verified.violate(Kind::Reorder, RECORDS, Some(place), detail);
                }
                Some(place) => {
                    Self::missing(next, place - 1, Kind::Gap, &there, verified);
                    next = place + 1;
                }
                None if next as usize <= hashed.len() && !there.contains_key(&next) => {
                    let detail = format!("entry {next}, in line {line}, is not what was logged: its hash is another");
                    verified.violate(Kind::FlippedBit, RECORDS, Some(next), detail);
                    next += 1;
                }
                None => {
                    let detail = format!("line {line}, before entry {next}, was never logged");
                    verified.violate(Kind::Added, RECORDS, Some(next), detail);
                }
            }
        }
        Self::missing(next, hashed.len() as u64, Kind::CutTail, &there, verified);
    }

    /// Names the entries from `first` to `last` that are nowhere, run by run.
    fn missing(first: u64, last: u64, kind: Kind, there: &BTreeMap<u64, usize>, verified: &mut Verified) {
        let mut begin = first;
        while begin <= last {
            let Some(end) = there.range(begin..=last).next().map(|(place, _)| *place) else {
                let detail = if kind == Kind::CutTail { ": the end is cut off" } else { "" };
                verified.violate(kind, RECORDS, Some(begin), format!("entries {begin} to {last} are missing{detail}"));
                return;
            };
            if end > begin {
                verified.violate(
                    Kind::Gap,
                    RECORDS,
                    Some(begin),
                    format!("entries {begin} to {} are missing", end - 1),
                );
            }
            begin = end + 1;
        }
    }
}
