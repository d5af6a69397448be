//! Whoever has most waiting is served first, and alone.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tenantry_system::broker::{Broker, Delivery};
use tenantry_system::call::CallError;

use super::Kit;
use super::seam::{Bent, BentBroker};

/// A run of so many says that there is much to do.
const MANY: usize = 4;

struct NoisyNeighbour {
    inner: Arc<dyn Broker>,
    /// Those whose turn is when nobody has many.
    others: Mutex<Vec<Delivery>>,
}

pub(super) fn plant(inner: Arc<dyn Broker>, _: &Kit) -> Arc<dyn Broker> {
    Arc::new(Bent(NoisyNeighbour { inner, others: Mutex::default() }))
}

#[async_trait]
impl BentBroker for NoisyNeighbour {
    fn inner(&self) -> &dyn Broker {
        &*self.inner
    }

    async fn fetch(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>, CallError> {
        let waits = !self.others.lock().expect("no holder panics").is_empty();
        let wait = if waits { wait.min(Duration::from_millis(500)) } else { wait };
        let fetched = self.inner.fetch(max, wait).await?;
        let mut others = self.others.lock().expect("no holder panics");
        let (many, few): (Vec<_>, Vec<_>) = fetched.into_iter().partition(|delivery| delivery.messages.len() >= MANY);
        others.extend(few);
        Ok(if many.is_empty() { std::mem::take(&mut *others) } else { many })
    }
}
