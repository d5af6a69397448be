//! Tiles: the tree's hashes in files that never change once they are full (C2SP `tlog-tiles`).
//!
//! A tile of level L has 256 hashes of subtrees that are 8 L high; what is between two levels is made of them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How many levels of the tree a tile spans.
pub const TILE_HEIGHT: u8 = 8;

/// How many hashes a full tile has.
pub const TILE_WIDTH: u64 = 1 << TILE_HEIGHT;

/// The highest level of a tree whose size has 64 bits.
const LEVEL_MAX: u8 = 63;

/// Where a tile stands, and how many hashes it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Tile {
    /// 0 has the entries' hashes.
    pub level: u8,
    /// Its place on its level, from 0.
    pub index: u64,
    /// 1 to 256; less than 256 only in the last tile of its level.
    pub width: u16,
}

impl Tile {
    /// Every tile of a tree of `size` entries, level by level.
    pub fn all(size: u64) -> impl Iterator<Item = Self> {
        let levels = (0..).map(move |level: u8| (level, size >> (u32::from(TILE_HEIGHT * level)).min(63)));
        let there = levels.take_while(|(level, hashes)| *hashes > 0 && u32::from(TILE_HEIGHT * level) < 64);
        there.flat_map(|(level, hashes)| {
            (0..hashes.div_ceil(TILE_WIDTH)).map(move |index| {
                let width = (hashes - index * TILE_WIDTH).min(TILE_WIDTH) as u16;
                Self { level, index, width }
            })
        })
    }

    /// The index on its level of its first hash.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.index.saturating_mul(TILE_WIDTH)
    }

    /// Reads a path, such as `tile/0/x001/234.p/5`; `None` if it is not written exactly as it should be.
    #[must_use]
    pub fn parse(path: &str) -> Option<Self> {
        let (level, rest) = path.strip_prefix("tile/")?.split_once('/')?;
        let (number, width) = match rest.split_once(".p/") {
            Some((number, width)) => (number, width.parse().ok()?),
            None => (rest, TILE_WIDTH as u16),
        };
        let mut index: u64 = 0;
        for group in number.split('/') {
            index = index.checked_mul(1000)?.checked_add(group.trim_start_matches('x').parse().ok()?)?;
        }
        let tile = Self { level: level.parse().ok()?, index, width };
        let sound = tile.level <= LEVEL_MAX && tile.index < u64::MAX / TILE_WIDTH && tile.width >= 1;
        // One spelling for each: no leading zeros, no sign, no full tile that says it is partial.
        (sound && tile.to_string() == path).then_some(tile)
    }
}

impl fmt::Display for Tile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut groups = vec![format!("{:03}", self.index % 1000)];
        let mut rest = self.index / 1000;
        while rest > 0 {
            groups.push(format!("x{:03}", rest % 1000));
            rest /= 1000;
        }
        groups.reverse();
        write!(f, "tile/{}/{}", self.level, groups.join("/"))?;
        if u64::from(self.width) < TILE_WIDTH { write!(f, ".p/{}", self.width) } else { Ok(()) }
    }
}
