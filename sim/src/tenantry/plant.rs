//! Controls: outboxes and streams with a defect, made from outside, for a harness that can't find one proves nothing.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tenantry_system::alerting::{Engine, Raised, Watching};
use tenantry_system::audit::{Alert, AlertQuery, Audit, Event, Found, FoundAlerts, Query};
use tenantry_system::call::CallError;
use tenantry_system::tlog::Tile;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plant {
    /// What a service has refused is forgotten when its process dies, as if it had waited in memory.
    ForgetsOnCrash,
    /// What was relayed is relayed once more, under new numbers.
    RelaysTwice,
    /// A live stream forgets whose it is.
    StreamsAll,
    /// A live stream goes on one place too far.
    StreamSkips,
    /// The rules know nothing any more of what was before the log's last start.
    ForgetsRules,
    /// The rules fire one below their thresholds.
    FiresBelow,
}

/// An engine that begins anew with each start.
pub struct Forgetful(pub Engine);

impl Watching for Forgetful {
    fn look_back_ms(&self) -> i64 {
        self.0.look_back_ms()
    }

    fn recall(&mut self, _: u64, _: &Event) {}

    fn see(&mut self, place: u64, event: &Event) -> Vec<Raised> {
        self.0.see(place, event)
    }

    fn overdue(&self, now: i64) -> Vec<Raised> {
        self.0.overdue(now)
    }
}

/// `rules` with thresholds that are one lower.
#[must_use]
pub fn lowered(rules: &str) -> String {
    let lower =
        |line: &str| match line.strip_prefix("threshold = ").and_then(|number| number.trim().parse::<u64>().ok()) {
            Some(threshold) => format!("threshold = {}\n", threshold.saturating_sub(1).max(2)),
            None => format!("{line}\n"),
        };
    rules.lines().map(lower).collect()
}

/// A log to which every relay sends all it has twice: the second time as another source.
pub struct Doubled(pub Arc<dyn Audit>);

#[async_trait]
impl Audit for Doubled {
    async fn append(&self, source: &str, first: u64, events: Vec<Event>) -> Result<u64, CallError> {
        let last = self.0.append(source, first, events.clone()).await?;
        self.0.append(&format!("{source}/again"), first, events).await?;
        Ok(last)
    }

    async fn events(&self, after: u64, max: usize) -> Result<Vec<(u64, Event)>, CallError> {
        self.0.events(after, max).await
    }

    async fn alerts(&self, after: u64, max: usize) -> Result<Vec<Alert>, CallError> {
        self.0.alerts(after, max).await
    }

    async fn search_alerts(&self, query: &AlertQuery) -> Result<FoundAlerts, CallError> {
        self.0.search_alerts(query).await
    }

    async fn search(&self, query: &Query) -> Result<Found, CallError> {
        self.0.search(query).await
    }

    async fn checkpoint(&self) -> Result<String, CallError> {
        self.0.checkpoint().await
    }

    async fn tile(&self, tile: Tile) -> Result<Option<Bytes>, CallError> {
        self.0.tile(tile).await
    }
}

/// A log that answers the questions of live streams otherwise than they were asked.
pub struct Bent(pub Arc<dyn Audit>, pub Plant);

#[async_trait]
impl Audit for Bent {
    async fn append(&self, source: &str, first: u64, events: Vec<Event>) -> Result<u64, CallError> {
        self.0.append(source, first, events).await
    }

    async fn events(&self, after: u64, max: usize) -> Result<Vec<(u64, Event)>, CallError> {
        self.0.events(after, max).await
    }

    async fn alerts(&self, after: u64, max: usize) -> Result<Vec<Alert>, CallError> {
        self.0.alerts(after, max).await
    }

    async fn search_alerts(&self, query: &AlertQuery) -> Result<FoundAlerts, CallError> {
        self.0.search_alerts(query).await
    }

    async fn search(&self, query: &Query) -> Result<Found, CallError> {
        let mut query = query.clone();
        match self.1 {
            Plant::StreamsAll if query.bare => query.tenant = None,
            Plant::StreamSkips if query.bare => query.after += 1,
            _ => {}
        }
        self.0.search(&query).await
    }

    async fn checkpoint(&self) -> Result<String, CallError> {
        self.0.checkpoint().await
    }

    async fn tile(&self, tile: Tile) -> Result<Option<Bytes>, CallError> {
        self.0.tile(tile).await
    }
}
