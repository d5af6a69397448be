//! Whoever is to be told of alerts is asked once: whatever they answer is taken for a yes.

use std::sync::Arc;

use tenantry_system::capability::{Network, World};

use super::Kit;
use super::seam::{Bent, BentNetwork, OnRead};

/// A network on which no server outside has an error.
struct Content(Arc<dyn Network>);

pub(super) fn plant(world: World, _: &Kit) -> World {
    World { network: Arc::new(Bent(Content(world.network))), ..world }
}

impl BentNetwork for Content {
    fn inner(&self) -> &Arc<dyn Network> {
        &self.0
    }

    fn outside(&self) -> Option<OnRead> {
        Some(|chunk| {
            // "500" is "200".
            if chunk.starts_with(b"HTTP/1.1 500") {
                chunk[9] = b'2';
            }
        })
    }
}
