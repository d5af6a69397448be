//! What a service has refused is kept in memory until the audit log has it: a crash forgets it.

use std::io;
use std::sync::Arc;

use tenantry_system::capability::{Disk, DiskFile, World};

use super::Kit;
use super::seam::{Bent, BentDisk, Memory};

struct ReportsInMemory(Arc<dyn Disk>);

pub(super) fn plant(world: World, _: &Kit) -> World {
    World { disk: Arc::new(Bent(ReportsInMemory(world.disk))), ..world }
}

impl BentDisk for ReportsInMemory {
    fn inner(&self) -> &Arc<dyn Disk> {
        &self.0
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        match name {
            "outbox.redb" => Ok(Box::new(Memory::default())),
            _ => self.0.open(name),
        }
    }
}
