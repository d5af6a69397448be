use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::*;
use crate::action::Permission;
use crate::audit::{Alert, AlertQuery, Audit, Event, Found, FoundAlerts, Query, Step, StepKind};
use crate::auth::{
    Approval, ApprovalRequest, Authority, BreakGlass, BreakGlassRequest, Decision, Denied, GrantRequest, InForce,
    PlatformRight, Verdict,
};
use crate::call::CallError;
use crate::capability::World;
use crate::grant::{GrantToken, Purpose};
use crate::ids::{TenantId, UserId};
use crate::jws::PublicKeys;
use crate::message::BodyHash;
use crate::role::Addresses;
use crate::tlog::Tile;

/// A stage on loopback ports of its own.
async fn stage(folder: &std::path::Path, around: Around) -> Stage {
    let free = || {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().to_string()
    };
    let at = Addresses { producer: free(), broker: free(), auth: free(), ledger: free(), audit: free() };
    Stage::start_with(|role| World::real(&folder.join(role.name())), at, around).await.unwrap()
}

#[test]
fn every_attack_is_in_the_catalogue_once_and_every_cell_has_an_expectation_or_a_reason() {
    let names: BTreeSet<_> = Attack::ALL.iter().map(|attack| attack.name()).collect();
    assert_eq!(names.len(), Attack::ALL.len());
    let cells = cells();
    let ids: BTreeSet<_> = cells.iter().map(Cell::id).collect();
    assert_eq!(ids.len(), cells.len(), "two cells share a message id");
    for spec in action::REGISTRY {
        let tried = cells.iter().filter(|cell| cell.action.is_some_and(|action| action.name == spec.name));
        let entries: BTreeSet<_> = tried.filter(|cell| cell.expected.is_ok()).map(|cell| cell.entry).collect();
        assert_eq!(entries.len(), 5, "{} is attacked by {entries:?} only", spec.name);
    }
}

#[test]
fn every_example_is_a_payload_that_its_action_reads() {
    for spec in action::REGISTRY {
        let body = arsenal::body("acme", "ana", spec, "m-1", "2026-01-01T00:00:00Z");
        assert!(crate::message::Message::parse_submitted(body.into()).is_ok(), "{}", spec.name);
    }
}

/// How many kinds of request a service takes, as postcard numbers them: the first number that is none.
fn kinds<R: serde::de::DeserializeOwned>() -> usize {
    let known = |kind: &u8| match postcard::from_bytes::<R>(&[*kind]) {
        Ok(_) | Err(postcard::Error::DeserializeUnexpectedEnd) => true,
        Err(_) => false,
    };
    (0..).take_while(known).count()
}

fn listed<R: serde::Serialize>(requests: &[R]) -> usize {
    let kinds = requests.iter().map(|request| postcard::to_stdvec(request).unwrap()[0]);
    kinds.collect::<BTreeSet<_>>().len()
}

#[test]
fn every_request_of_every_service_is_asked_by_every_role() {
    use crate::{audit, auth, broker, ledger};
    assert_eq!(listed(&doors::broker_requests()), kinds::<broker::remote::Request>(), "of the broker");
    assert_eq!(listed(&doors::ledger_requests()), kinds::<ledger::remote::Request>(), "of the ledger");
    assert_eq!(listed(&doors::auth_requests()), kinds::<auth::remote::Request>(), "of auth");
    assert_eq!(listed(&doors::audit_requests()), kinds::<audit::remote::Request>(), "of the audit log");
    assert!(kinds::<broker::remote::Request>() >= 5, "the count counts nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_whole_catalogue_is_tried_and_refused() {
    let folder = tempfile::tempdir().unwrap();
    let stage = stage(folder.path(), Around::default()).await;
    let table = run(&stage.target, Checks::default()).await.unwrap();
    let breaches: Vec<_> = table.breaches().collect();
    assert!(breaches.is_empty(), "{} breaches: {breaches:#?}", breaches.len());
    let (tries, tried) = table.tried();
    assert!(tried > 300 && tries >= tried, "{}", table.summary());
    assert!(!table.markdown().contains("**not tried**"), "{}", table.markdown());
    stage.stop().await.unwrap();
}

/// Where some of the catalogue is breached in a system with a defect.
async fn breached(around: Around, attacks: &[Attack]) -> Vec<(String, Entry)> {
    let folder = tempfile::tempdir().unwrap();
    let stage = stage(folder.path(), around).await;
    let checks = Checks { deadline: Duration::from_secs(2), ..Checks::default() };
    let table = run_some(&stage.target, checks, attacks).await.unwrap();
    let mut breached: Vec<_> = table.breaches().map(|outcome| (outcome.attack.clone(), outcome.entry)).collect();
    breached.dedup();
    breached
}

/// A log that forgets what was refused.
struct Forgetful(Arc<dyn Audit>);

#[async_trait]
impl Audit for Forgetful {
    async fn append(&self, source: &str, first: u64, events: Vec<Event>) -> Result<u64, CallError> {
        // Something else stands in their place: the log refuses a gap.
        let forgotten = |event| match event {
            Event::Refused(attempt) => Event::Step(Step::new(0, attempt.service, StepKind::Published, 0)),
            other => other,
        };
        self.0.append(source, first, events.into_iter().map(forgotten).collect()).await
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_forgets_attempts_is_a_breach_in_every_cell_that_is_refused() {
    let around = Around { audit: |audit| Arc::new(Forgetful(audit)), ..Around::default() };
    let (swapped, replayed) = (Attack::SwappedBody, Attack::ReplayedMessage);
    let breached = breached(around, &[swapped, replayed]).await;
    let at = |entry| (swapped.name(), entry);
    assert_eq!(breached, [at(Entry::Broker), at(Entry::DeadLetter), at(Entry::Ledger)]);
}

/// Auth that signs whatever it is asked to, and does not recheck.
struct Obliging(Arc<dyn Authority>);

#[async_trait]
impl Authority for Obliging {
    async fn grant(&self, request: &GrantRequest) -> Result<Result<GrantToken, Denied>, CallError> {
        // A genuine grant, were it for another: of what it is for, only the producer hears.
        let own = GrantRequest { user: None, tenant: stage::tenant_id(stage::OWN), ..request.clone() };
        let asked = self.0.grant(request).await?;
        match asked {
            Ok(granted) => Ok(Ok(granted)),
            Err(_) => self.0.grant(&GrantRequest { purpose: Purpose::Read, ..own }).await,
        }
    }
    async fn recheck(
        &self,
        user: &UserId,
        tenant: &TenantId,
        permission: Permission,
        _: &BodyHash,
    ) -> Result<Decision, CallError> {
        let in_force = self.0.in_force(0, Duration::ZERO).await?;
        let permit = Verdict::Permit { policies: Vec::new() };
        Ok(in_force.key.decide(user, tenant, permission, permit, in_force.revision))
    }
    async fn in_force(&self, known: u64, wait: Duration) -> Result<InForce, CallError> {
        self.0.in_force(known, wait).await
    }
    async fn operator(&self, token: &str, right: Option<PlatformRight>) -> Result<Result<UserId, Denied>, CallError> {
        self.0.operator(token, right).await
    }
    async fn break_glass(
        &self,
        token: &str,
        request: BreakGlassRequest,
    ) -> Result<Result<Vec<BreakGlass>, Denied>, CallError> {
        self.0.break_glass(token, request).await
    }
    async fn approvals(
        &self,
        token: &str,
        request: ApprovalRequest,
    ) -> Result<Result<Vec<Approval>, Denied>, CallError> {
        self.0.approvals(token, request).await
    }
    async fn keys(&self) -> Result<PublicKeys, CallError> {
        self.0.keys().await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_auth_that_grants_everything_and_rechecks_nothing_is_a_breach() {
    let around = Around { authority: |authority| Arc::new(Obliging(authority)), ..Around::default() };
    let breached = breached(around, &[Attack::ForgedTenant, Attack::RevokedRight]).await;
    for cell in [
        (Attack::ForgedTenant, Entry::Http),
        (Attack::ForgedTenant, Entry::Auth),
        (Attack::RevokedRight, Entry::DeadLetter),
    ] {
        assert!(breached.contains(&(cell.0.name(), cell.1)), "{cell:?} is not among {breached:?}");
    }
    // What the consumer and the ledger verify for themselves still holds.
    assert!(!breached.contains(&(Attack::ForgedTenant.name(), Entry::Ledger)), "{breached:?}");
}
