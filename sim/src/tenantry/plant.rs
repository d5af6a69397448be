//! Controls: outboxes, streams and an auth with a defect, made from outside, for a harness that can't find one proves nothing.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tenantry_system::action::Permission;
use tenantry_system::alerting::{Engine, Raised, Watching};
use tenantry_system::audit::{Alert, AlertQuery, Audit, Event, Found, FoundAlerts, Query};
use tenantry_system::auth::{
    Approval, ApprovalRequest, Authority, BreakGlass, BreakGlassRequest, Decision, Denied, EmbeddedAuthority,
    GrantRequest, InForce, PlatformRight, Verdict,
};
use tenantry_system::call::CallError;
use tenantry_system::capability::{BoxStream, Channel, Clock, Listener, Network};
use tenantry_system::grant::GrantToken;
use tenantry_system::ids::{TenantId, UserId};
use tenantry_system::jws::PublicKeys;
use tenantry_system::message::BodyHash;
use tenantry_system::rights::Role;
use tenantry_system::tlog::Tile;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::idp::Idp;

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
    /// Auth takes an approval by whoever asked for it.
    TakesOwnApproval,
    /// What was approved once takes effect, whoever may approve it no longer.
    ForgetsApprovers,
    /// The webhook gives up after one try: whatever is answered, it takes it for a success.
    GivesUp,
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

/// An auth that is careless of approvals.
pub struct Careless {
    /// The engine.
    pub inner: Arc<EmbeddedAuthority>,
    /// In what way.
    pub plant: Plant,
    /// Whose word it takes for that of whoever approves alone.
    pub others: Vec<UserId>,
    /// Whose tokens auth believes.
    pub provider: Idp,
    /// Since when they hold.
    pub clock: Arc<dyn Clock>,
}

#[async_trait]
impl Authority for Careless {
    async fn grant(&self, request: &GrantRequest) -> Result<Result<GrantToken, Denied>, CallError> {
        self.inner.grant(request).await
    }

    async fn recheck(
        &self,
        user: &UserId,
        tenant: &TenantId,
        permission: Permission,
        body: &BodyHash,
    ) -> Result<Decision, CallError> {
        let decision = self.inner.recheck(user, tenant, permission, body).await?;
        if self.plant != Plant::ForgetsApprovers || matches!(decision.verdict, Verdict::Permit { .. }) {
            return Ok(decision);
        }
        let InForce { revision, key } = self.inner.in_force(0, Duration::ZERO).await?;
        let permit = Verdict::Permit { policies: Vec::new() };
        Ok(key.decide_on(user, tenant, permission, permit, decision.approval, revision))
    }

    async fn keys(&self) -> Result<PublicKeys, CallError> {
        self.inner.keys().await
    }

    async fn in_force(&self, known: u64, wait: Duration) -> Result<InForce, CallError> {
        self.inner.in_force(known, wait).await
    }

    async fn operator(&self, token: &str, right: Option<PlatformRight>) -> Result<Result<UserId, Denied>, CallError> {
        self.inner.operator(token, right).await
    }

    async fn break_glass(
        &self,
        token: &str,
        request: BreakGlassRequest,
    ) -> Result<Result<Vec<BreakGlass>, Denied>, CallError> {
        self.inner.break_glass(token, request).await
    }

    async fn approvals(
        &self,
        token: &str,
        request: ApprovalRequest,
    ) -> Result<Result<Vec<Approval>, Denied>, CallError> {
        let mut answered = self.inner.approvals(token, request.clone()).await?;
        if self.plant == Plant::TakesOwnApproval && matches!(request, ApprovalRequest::Approve { .. }) {
            for other in self.others.iter() {
                if answered.is_ok() {
                    break;
                }
                let token = self.provider.token(other, self.clock.unix_seconds());
                answered = self.inner.approvals(&token, request.clone()).await?;
            }
        }
        Ok(answered)
    }
}

/// A network on which no server outside has an error.
pub struct Content(pub Arc<dyn Network>);

#[async_trait]
impl Network for Content {
    async fn bind(&self, address: &str) -> io::Result<Box<dyn Listener>> {
        self.0.bind(address).await
    }

    async fn connect(&self, address: &str, server: Role) -> io::Result<Channel> {
        self.0.connect(address, server).await
    }

    async fn connect_outside(&self, address: &str) -> io::Result<BoxStream> {
        Ok(Box::new(Pleased(self.0.connect_outside(address).await?)))
    }
}

/// A stream on which "500" is "200".
struct Pleased(BoxStream);

impl AsyncRead for Pleased {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.0).poll_read(cx, buf))?;
        let chunk = &mut buf.filled_mut()[before..];
        if chunk.starts_with(b"HTTP/1.1 500") {
            chunk[9] = b'2';
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pleased {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
