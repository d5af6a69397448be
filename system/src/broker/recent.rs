//! Which messages the broker has had: recognises a publish that was sent again.
//!
//! Exact for what waits; for what was settled it remembers the last [`SETTLED_MAX`]. A repeat that comes later is taken
//! once more, and the ledger, which never forgets, finds its outcome: so this is no promise's last line, and may be
//! bounded. In memory, because a table in the order of ids would cost a page per message; what must outlive a restart is
//! written in the order of time.

use std::collections::{BTreeMap, VecDeque};

use sha2::{Digest, Sha256};

use crate::ids::{MessageId, TenantId};
use crate::message::BodyHash;

/// Settled messages that are remembered: some 25 MB, and at 200 commands a second 22 minutes.
pub(super) const SETTLED_MAX: usize = 1 << 18;

/// A message's identity: the first half of a SHA-256 over its tenant and id. No two that anyone can find are equal.
pub(super) type Key = [u8; 16];

/// The key of a message. The grammar of identifiers has no NUL: no pair reads like another.
pub(super) fn key(tenant: &TenantId, message_id: &MessageId) -> Key {
    let mut hash = Sha256::new();
    hash.update(tenant.as_str());
    hash.update([0]);
    hash.update(message_id.as_str());
    hash.finalize()[..16].try_into().expect("half of 32 bytes")
}

/// What is known of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) sequence: u64,
    pub(super) body_hash: BodyHash,
}

/// All that are known.
#[derive(Debug, Default)]
pub(super) struct Recent {
    known: BTreeMap<Key, Known>,
    settled: VecDeque<(u64, Key)>,
}

impl Recent {
    pub(super) fn get(&self, key: &Key) -> Option<Known> {
        self.known.get(key).copied()
    }

    /// How many are known.
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    pub(super) fn insert(&mut self, key: Key, known: Known) {
        self.known.insert(key, known);
    }

    /// Remembers `key` as settled under `number`, which grows with every call, and returns the number that is forgotten in
    /// exchange.
    pub(super) fn settle(&mut self, number: u64, key: Key) -> Option<u64> {
        self.settled.push_back((number, key));
        if self.settled.len() <= SETTLED_MAX {
            return None;
        }
        let (forgotten, key) = self.settled.pop_front()?;
        self.known.remove(&key);
        Some(forgotten)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_settled_longest_ago_is_forgotten_first_and_only_beyond_the_bound() {
        let mut recent = Recent::default();
        let key = |number: u64| {
            let mut key = Key::default();
            key[..8].copy_from_slice(&number.to_le_bytes());
            key
        };
        let bound = SETTLED_MAX as u64;
        for number in 1..=bound {
            recent.insert(key(number), Known { sequence: number, body_hash: [0; 32] });
            assert_eq!(recent.settle(number, key(number)), None);
        }
        recent.insert(key(bound + 1), Known { sequence: bound + 1, body_hash: [0; 32] });
        assert_eq!(recent.settle(bound + 1, key(bound + 1)), Some(1));
        assert_eq!(recent.get(&key(1)), None);
        assert_eq!(recent.get(&key(2)).map(|known| known.sequence), Some(2));
    }

    #[test]
    fn no_pair_of_ids_reads_like_another() {
        let tenant = |text| TenantId::parse(text).unwrap();
        let id = |text| MessageId::parse(text).unwrap();
        assert_ne!(key(&tenant("t-1"), &id("0-m")), key(&tenant("t-10"), &id("m")));
        assert_ne!(key(&tenant("t"), &id("1m")), key(&tenant("t1"), &id("m")));
    }
}
