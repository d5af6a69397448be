//! Whatever comes to the producer is written into its log, for people who look for errors.

use std::sync::Arc;

use tenantry_system::capability::{Network, World};

use super::Kit;
use super::seam::{Bent, BentNetwork, OnRead};

struct Logged(Arc<dyn Network>);

pub(super) fn plant(world: World, _: &Kit) -> World {
    World { network: Arc::new(Bent(Logged(world.network))), ..world }
}

impl BentNetwork for Logged {
    fn inner(&self) -> &Arc<dyn Network> {
        &self.0
    }

    fn public(&self) -> Option<OnRead> {
        Some(|chunk| tracing::debug!(read = %String::from_utf8_lossy(chunk), "a request"))
    }
}
