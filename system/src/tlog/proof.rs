//! Proofs: that an entry stands in a tree, and that a tree has only grown (RFC 9162, 2.1.3 and 2.1.4).
//!
//! Who makes one reads the hashes of tiles, by level and index; all others are made of these.

use super::{Hash, TILE_HEIGHT, node_hash};

/// The root of the perfect subtree of `height` that is the `index`th of its height.
///
/// # Errors
/// Those of `read`.
pub fn subtree<E>(height: u8, index: u64, read: &impl Fn(u8, u64) -> Result<Hash, E>) -> Result<Hash, E> {
    if height.is_multiple_of(TILE_HEIGHT) {
        return read(height / TILE_HEIGHT, index);
    }
    let (left, right) = (subtree(height - 1, index << 1, read)?, subtree(height - 1, index << 1 | 1, read)?);
    Ok(node_hash(&left, &right))
}

/// The root over the entries from `begin` to before `end`: a subtree, which may be the ragged one on the right.
///
/// # Errors
/// Those of `read`.
pub fn root_of_range<E>(begin: u64, end: u64, read: &impl Fn(u8, u64) -> Result<Hash, E>) -> Result<Hash, E> {
    let count = end - begin;
    if count.is_power_of_two() {
        let height = count.trailing_zeros() as u8;
        return subtree(height, begin >> height, read);
    }
    let middle = begin + split(count);
    Ok(node_hash(&root_of_range(begin, middle, read)?, &root_of_range(middle, end, read)?))
}

/// How many of `count` entries, at least two, stand in the left subtree: the largest power of two that is smaller.
fn split(count: u64) -> u64 {
    1 << (count - 1).ilog2()
}

/// What proves that the entry `index`, counted from 0, stands in the tree of `size` entries.
///
/// # Errors
/// Those of `read`.
///
/// # Panics
/// When there is no such entry.
pub fn inclusion_proof<E>(index: u64, size: u64, read: &impl Fn(u8, u64) -> Result<Hash, E>) -> Result<Vec<Hash>, E> {
    assert!(index < size, "entry {index} of a tree of {size}");
    let (mut begin, mut end, mut proof) = (0, size, Vec::new());
    while end - begin > 1 {
        let middle = begin + split(end - begin);
        if index < middle {
            proof.push(root_of_range(middle, end, read)?);
            end = middle;
        } else {
            proof.push(root_of_range(begin, middle, read)?);
            begin = middle;
        }
    }
    proof.reverse();
    Ok(proof)
}

/// Whether `proof` shows that `leaf` is the entry `index` of the tree of `size` entries with this `root`.
#[must_use]
pub fn inclusion_proof_holds(proof: &[Hash], index: u64, leaf: Hash, size: u64, root: &Hash) -> bool {
    if index >= size {
        return false;
    }
    let (mut at, mut last, mut hash) = (index, size - 1, leaf);
    for sibling in proof {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            hash = node_hash(sibling, &hash);
            // Where there is nothing on the right the hash stands for its parents too.
            while at & 1 == 0 && at != 0 {
                (at, last) = (at >> 1, last >> 1);
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    last == 0 && hash == *root
}

/// What proves that the tree of `new` entries begins with those of the tree of `old` entries.
///
/// # Errors
/// Those of `read`.
///
/// # Panics
/// When the old tree is empty or larger than the new one: from nothing there is nothing to prove.
pub fn consistency_proof<E>(old: u64, new: u64, read: &impl Fn(u8, u64) -> Result<Hash, E>) -> Result<Vec<Hash>, E> {
    assert!(0 < old && old <= new, "from a tree of {old} to one of {new}");
    let (mut begin, mut end, mut proof) = (0, new, Vec::new());
    while end != old {
        let middle = begin + split(end - begin);
        if old <= middle {
            proof.push(root_of_range(middle, end, read)?);
            end = middle;
        } else {
            proof.push(root_of_range(begin, middle, read)?);
            begin = middle;
        }
    }
    // The old tree itself needs no proof where it is a subtree from the first entry on: its root is known.
    if begin > 0 {
        proof.push(root_of_range(begin, end, read)?);
    }
    proof.reverse();
    Ok(proof)
}

/// Whether `proof` shows that the tree of `new` entries with `new_root` begins with that of `old` entries with `old_root`.
#[must_use]
pub fn consistency_proof_holds(proof: &[Hash], old: u64, old_root: &Hash, new: u64, new_root: &Hash) -> bool {
    if old == 0 || old > new {
        return false;
    }
    if old == new {
        return proof.is_empty() && old_root == new_root;
    }
    let mut proof = proof.iter();
    let first = if old.is_power_of_two() { Some(old_root) } else { proof.next() };
    let Some(first) = first else { return false };
    let (mut at, mut last) = (old - 1, new - 1);
    while at & 1 == 1 {
        (at, last) = (at >> 1, last >> 1);
    }
    let (mut of_old, mut of_new) = (*first, *first);
    for sibling in proof {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            (of_old, of_new) = (node_hash(sibling, &of_old), node_hash(sibling, &of_new));
            while at & 1 == 0 && at != 0 {
                (at, last) = (at >> 1, last >> 1);
            }
        } else {
            of_new = node_hash(&of_new, sibling);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    last == 0 && of_old == *old_root && of_new == *new_root
}
