//! A transparency log, as arithmetic: nothing here reads, writes or waits.
//!
//! A log is a Merkle tree over its entries (RFC 6962, RFC 9162). Its root says what stands in it, in 32 bytes; a checkpoint
//! is a signed root. Whoever keeps an old checkpoint can tell whether a log has only grown since, and whether an entry
//! stands in it, with a few hashes and without the other entries. Everything is in the formats of C2SP - `signed-note`,
//! `tlog-checkpoint`, `tlog-tiles` - so that verifiers written by others can check it; the tests hold it against theirs.

mod checkpoint;
mod note;
mod proof;
mod tile;
mod tree;

use sha2::{Digest, Sha256};

pub use checkpoint::{Checkpoint, CheckpointError};
pub use note::{LogKey, NoteError, Signer};
pub use proof::{
    consistency_proof, consistency_proof_holds, inclusion_proof, inclusion_proof_holds, root_of_range, subtree,
};
pub use tile::{TILE_HEIGHT, TILE_WIDTH, Tile};
pub use tree::Frontier;

/// A hash of the tree.
pub type Hash = [u8; 32];

/// The longest entry, in bytes: `tlog-tiles` counts them with 16 bits.
pub const ENTRY_BYTES_MAX: usize = u16::MAX as usize;

/// The root of no entries.
#[must_use]
pub fn empty_root() -> Hash {
    Sha256::digest([]).into()
}

/// The hash of an entry. What it is prefixed with keeps it apart from a node's (RFC 9162, 2.1.1).
#[must_use]
pub fn leaf_hash(entry: &[u8]) -> Hash {
    Sha256::new().chain_update([0]).chain_update(entry).finalize().into()
}

/// The hash of two subtrees.
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

#[cfg(test)]
mod tests;
