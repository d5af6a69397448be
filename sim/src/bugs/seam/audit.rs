//! An audit log with a defect.

use async_trait::async_trait;
use bytes::Bytes;
use tenantry_system::audit::{Alert, AlertQuery, Audit, Event, Found, FoundAlerts, Query};
use tenantry_system::call::CallError;
use tenantry_system::tlog::Tile;

use super::Bent;

/// As [`Audit`]; what is not said otherwise the one behind it answers.
#[async_trait]
pub trait BentAudit: Send + Sync + 'static {
    /// The one behind it.
    fn inner(&self) -> &dyn Audit;

    /// See [`Audit::append`].
    async fn append(&self, source: &str, first: u64, events: Vec<Event>) -> Result<u64, CallError> {
        self.inner().append(source, first, events).await
    }

    /// See [`Audit::search`].
    async fn search(&self, query: &Query) -> Result<Found, CallError> {
        self.inner().search(query).await
    }
}

#[async_trait]
impl<T: BentAudit> Audit for Bent<T> {
    async fn append(&self, source: &str, first: u64, events: Vec<Event>) -> Result<u64, CallError> {
        self.0.append(source, first, events).await
    }

    async fn events(&self, after: u64, max: usize) -> Result<Vec<(u64, Event)>, CallError> {
        self.0.inner().events(after, max).await
    }

    async fn alerts(&self, after: u64, max: usize) -> Result<Vec<Alert>, CallError> {
        self.0.inner().alerts(after, max).await
    }

    async fn search_alerts(&self, query: &AlertQuery) -> Result<FoundAlerts, CallError> {
        self.0.inner().search_alerts(query).await
    }

    async fn search(&self, query: &Query) -> Result<Found, CallError> {
        self.0.search(query).await
    }

    async fn checkpoint(&self) -> Result<String, CallError> {
        self.0.inner().checkpoint().await
    }

    async fn tile(&self, tile: Tile) -> Result<Option<Bytes>, CallError> {
        self.0.inner().tile(tile).await
    }
}
