//! A store's commit is answered before the disk has it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tenantry_system::capability::{Disk, Job, World};
use tokio::time::sleep;

use super::Kit;
use super::seam::{Bent, BentDisk};

/// What is written lies in a cache for so long.
const FLUSH: Duration = Duration::from_millis(400);

struct ConfirmBeforeSync(Arc<dyn Disk>);

pub(super) fn plant(world: World, _: &Kit) -> World {
    World { disk: Arc::new(Bent(ConfirmBeforeSync(world.disk))), ..world }
}

#[async_trait]
impl BentDisk for ConfirmBeforeSync {
    fn inner(&self) -> &Arc<dyn Disk> {
        &self.0
    }

    async fn run(&self, job: Job) -> io::Result<()> {
        job();
        let disk = self.0.clone();
        // It will be durable, a moment later; a disk that fails meanwhile is found by the next job.
        tokio::spawn(async move {
            sleep(FLUSH).await;
            disk.run(Box::new(|| {})).await
        });
        Ok(())
    }
}
