//! The tree while it grows: what an append needs, and no more.

use super::{Hash, TILE_HEIGHT, empty_root, node_hash, subtree};

/// The right edge of a tree: the roots of the perfect subtrees that its entries make, the largest first. One for each bit
/// of its size, so a few hundred bytes, whatever the size.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    roots: Vec<Hash>,
}

impl Frontier {
    /// The edge of a tree of `size` entries whose tiles' hashes `read` knows, by level and index.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn at<E>(size: u64, read: &impl Fn(u8, u64) -> Result<Hash, E>) -> Result<Self, E> {
        let (mut roots, mut begin) = (Vec::new(), 0);
        for height in (0..64).rev().filter(|height| size >> height & 1 == 1) {
            roots.push(subtree(height, begin >> height, read)?);
            begin += 1 << height;
        }
        Ok(Self { size, roots })
    }

    /// How many entries there are.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The tree's root.
    #[must_use]
    pub fn root(&self) -> Hash {
        let joined = self.roots.iter().rev().copied().reduce(|right, left| node_hash(&left, &right));
        joined.unwrap_or_else(empty_root)
    }

    /// Appends an entry by its hash. `kept` is told of every hash that stands in a tile, once it is known: its tile level,
    /// its index on it, the hash.
    ///
    /// # Errors
    /// Those of `kept`; then the tree is not to be used any more.
    pub fn append<E>(&mut self, leaf: Hash, mut kept: impl FnMut(u8, u64, Hash) -> Result<(), E>) -> Result<(), E> {
        let (mut height, mut index, mut hash) = (0, self.size, leaf);
        kept(0, index, hash)?;
        while index & 1 == 1 {
            let left = self.roots.pop().expect("one root for each bit of the size");
            hash = node_hash(&left, &hash);
            (height, index) = (height + 1, index >> 1);
            if height % TILE_HEIGHT == 0 {
                kept(height / TILE_HEIGHT, index, hash)?;
            }
        }
        self.roots.push(hash);
        self.size += 1;
        Ok(())
    }

    /// As bytes, to be kept.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.size.to_be_bytes().to_vec();
        bytes.extend(self.roots.iter().flatten());
        bytes
    }

    /// From its bytes; `None` if they are not those of an edge.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (size, roots) = bytes.split_first_chunk()?;
        let size = u64::from_be_bytes(*size);
        let (roots, rest) = roots.as_chunks();
        let whole = rest.is_empty() && roots.len() == size.count_ones() as usize;
        whole.then(|| Self { size, roots: roots.to_vec() })
    }
}
