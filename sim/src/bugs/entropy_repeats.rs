//! Whoever draws lease tokens draws the same ones after each restart.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tenantry_system::capability::{Entropy, World};

use super::Kit;

/// It counts from the same number in every life of the process.
struct EntropyRepeats(AtomicU64);

pub(super) fn plant(world: World, _: &Kit) -> World {
    World { entropy: Arc::new(EntropyRepeats(AtomicU64::new(1))), ..world }
}

impl Entropy for EntropyRepeats {
    fn fill(&self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            // Not the low bits alone: a key made of zeros is none.
            let number = self.0.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            chunk.copy_from_slice(&number.to_le_bytes()[..chunk.len()]);
        }
    }
}
