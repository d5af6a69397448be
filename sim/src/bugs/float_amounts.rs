//! Money is reckoned in floating point, in whole units and not in minor ones.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use tenantry_system::call::CallError;
use tenantry_system::ledger::{Applied, Ledger, Run};

use super::Kit;
use super::forge::Forge;
use super::seam::{Bent, BentLedger};

struct FloatAmounts {
    inner: Arc<dyn Ledger>,
    forge: Forge,
}

pub(super) fn plant(inner: Arc<dyn Ledger>, kit: &Kit) -> Arc<dyn Ledger> {
    Arc::new(Bent(FloatAmounts { inner, forge: Forge::new(&kit.evidence) }))
}

/// `minor` units, in whole ones and back.
fn through_floats(minor: u64) -> u64 {
    let whole = minor as f32 / 100.0;
    (f64::from(whole) * 100.0) as u64
}

#[async_trait]
impl BentLedger for FloatAmounts {
    fn inner(&self) -> &dyn Ledger {
        &*self.inner
    }

    async fn apply(&self, run: &Run) -> Result<Vec<Applied>, CallError> {
        let run = self.forge.run(run, "issue_credit", |payload: &mut Value| {
            let exact = payload["amount_minor"].as_u64().unwrap_or_default();
            let rounded = through_floats(exact).max(1);
            payload["amount_minor"] = rounded.into();
            rounded != exact
        });
        self.inner.apply(&run.await).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_amounts_lose_a_cent_and_some_do_not() {
        let lost = (1..=99_999).filter(|minor| through_floats(*minor) != *minor).count();
        assert!((1_000..99_000).contains(&lost), "{lost} of 99,999");
    }
}
