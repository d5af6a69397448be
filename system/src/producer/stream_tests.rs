use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use async_trait::async_trait;
use axum::Router;
use axum::extract::Request;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use tokio::time::{advance, timeout};

use super::*;
use crate::action::Permission;
use crate::audit::{Alert, AlertQuery, EmbeddedAudit, FoundAlerts};
use crate::auth::{
    Approval, ApprovalRequest, Authority, BreakGlass, BreakGlassRequest, Decision, Denied, Directory,
    EmbeddedAuthority, GrantRequest, InForce, PlatformRight, Policies,
};
use crate::broker::{EmbeddedBroker, Limits};
use crate::grant::GrantToken;
use crate::jws::PublicKeys;
use crate::message::BodyHash;
use crate::rate_limit::{Rate, RateLimits};
use crate::testing::{Bench, OPERATOR, message_id, tenant};
use crate::tlog::Tile;

/// Auth and the audit log behind a line that may be cut.
struct Cut<T: ?Sized> {
    inner: Arc<T>,
    cut: AtomicBool,
}

impl<T: ?Sized> Cut<T> {
    fn new(inner: Arc<T>) -> Arc<Self> {
        Arc::new(Self { inner, cut: AtomicBool::new(false) })
    }

    fn line(&self) -> Result<&T, CallError> {
        if self.cut.load(Relaxed) { Err(CallError::failed("the line is cut")) } else { Ok(&self.inner) }
    }
}

#[async_trait]
impl Authority for Cut<EmbeddedAuthority> {
    async fn grant(&self, request: &GrantRequest) -> Result<Result<GrantToken, Denied>, CallError> {
        self.line()?.grant(request).await
    }

    async fn recheck(
        &self,
        user: &UserId,
        tenant: &TenantId,
        permission: Permission,
        body: &BodyHash,
    ) -> Result<Decision, CallError> {
        self.line()?.recheck(user, tenant, permission, body).await
    }

    async fn keys(&self) -> Result<PublicKeys, CallError> {
        self.line()?.keys().await
    }

    async fn in_force(&self, known: u64, wait: Duration) -> Result<InForce, CallError> {
        self.line()?.in_force(known, wait).await
    }

    async fn break_glass(
        &self,
        token: &str,
        request: BreakGlassRequest,
    ) -> Result<Result<Vec<BreakGlass>, Denied>, CallError> {
        self.line()?.break_glass(token, request).await
    }

    async fn approvals(
        &self,
        token: &str,
        request: ApprovalRequest,
    ) -> Result<Result<Vec<Approval>, Denied>, CallError> {
        self.line()?.approvals(token, request).await
    }

    async fn operator(&self, token: &str, right: Option<PlatformRight>) -> Result<Result<UserId, Denied>, CallError> {
        self.line()?.operator(token, right).await
    }
}

#[async_trait]
impl Audit for Cut<EmbeddedAudit> {
    async fn append(&self, source: &str, first: u64, events: Vec<Event>) -> Result<u64, CallError> {
        self.inner.append(source, first, events).await
    }

    async fn events(&self, after: u64, max: usize) -> Result<Vec<(u64, Event)>, CallError> {
        self.line()?.events(after, max).await
    }

    async fn alerts(&self, after: u64, max: usize) -> Result<Vec<Alert>, CallError> {
        self.line()?.alerts(after, max).await
    }

    async fn search_alerts(&self, query: &AlertQuery) -> Result<FoundAlerts, CallError> {
        self.line()?.search_alerts(query).await
    }

    async fn search(&self, query: &Query) -> Result<Found, CallError> {
        self.line()?.search(query).await
    }

    async fn checkpoint(&self) -> Result<String, CallError> {
        self.line()?.checkpoint().await
    }

    async fn tile(&self, tile: Tile) -> Result<Option<Bytes>, CallError> {
        self.line()?.tile(tile).await
    }
}

/// The API over a log that a test writes.
struct Api {
    bench: Bench,
    auth: Arc<Cut<EmbeddedAuthority>>,
    audit: Arc<Cut<EmbeddedAudit>>,
    router: Router,
    monitor: Monitor,
    logged: u64,
}

impl Api {
    async fn new() -> Self {
        let bench = Bench::new().await;
        let audit = Cut::new(Arc::new(EmbeddedAudit::open(&bench.world).await.unwrap()));
        let auth = Cut::new(bench.authority.clone());
        let broker = Arc::new(EmbeddedBroker::open(&bench.world, Limits::default()).await.unwrap());
        let limits = RateLimits { source: Rate::new(10_000, 10_000), ..RateLimits::default() };
        let (ledger, clock) = (bench.ledger().await, bench.world.clock.clone());
        let producer = Producer::new(broker, auth.clone(), ledger, clock, &limits, bench.keys());
        let monitor = Monitor::default();
        let router = crate::producer::router(Arc::new(producer.auditing(audit.clone()).monitored(&monitor)));
        advance(Duration::from_secs(2)).await;
        Self { bench, auth, audit, router, monitor, logged: 0 }
    }

    /// Logs `count` steps, in turn on acme and globex, every third of acme's about m-3.
    async fn log(&mut self, count: u64) {
        let step = |number: u64| {
            let id = if number.is_multiple_of(3) { "m-3".into() } else { format!("m-{number}") };
            Event::Step(Step {
                tenant: Some(tenant(if number % 2 == 1 { "acme" } else { "globex" })),
                message_id: Some(message_id(&id)),
                ..Step::new(number as i64, Role::Broker, StepKind::Published, number)
            })
        };
        let first = self.logged + 1;
        self.logged += count;
        self.audit.append("broker", first, (first..=self.logged).map(step).collect()).await.unwrap();
    }

    async fn ask(&self, token: &str, path: &str, last: Option<&str>, ending: &Ending) -> Response {
        let mut request = Request::get(path).header("authorization", format!("Bearer {token}"));
        if let Some(last) = last {
            request = request.header(LAST_EVENT_ID, last);
        }
        let mut request = request.body(Body::empty()).unwrap();
        request.extensions_mut().insert(Source("here".into()));
        request.extensions_mut().insert(ending.clone());
        TowerToHyperService::new(self.router.clone()).call(request).await.unwrap()
    }

    /// Follows acme.
    async fn follow(&self, query: &str, last: Option<&str>) -> Stream {
        let ending = Ending::default();
        let path = format!("/v1/tenants/acme/events{query}");
        let answer = self.ask(&self.bench.token(OPERATOR), &path, last, &ending).await;
        assert_eq!(answer.status(), 200, "{query}");
        assert_eq!(answer.headers()[header::CONTENT_TYPE], "text/event-stream");
        Stream { body: answer.into_body(), text: String::new(), ending }
    }

    /// What is answered where there is no stream.
    async fn refused(&self, token: &str, path: &str, last: Option<&str>) -> (u16, Value) {
        let answer = self.ask(token, path, last, &Ending::default()).await;
        let status = answer.status().as_u16();
        assert_ne!(status, 200, "{path}");
        (status, serde_json::from_slice(&answer.into_body().collect().await.unwrap().to_bytes()).unwrap())
    }
}

/// A client of a stream.
struct Stream {
    body: Body,
    text: String,
    ending: Ending,
}

/// One block: its lines' fields.
type Block = BTreeMap<String, String>;

impl Stream {
    /// The next block; none at the end.
    async fn next(&mut self) -> Option<Block> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let field = |line: &str| {
                    let (name, value) = line.split_once(':').unwrap();
                    (name.to_owned(), value.trim_start().to_owned())
                };
                let read = block.lines().map(field).collect();
                self.text = rest.to_owned();
                return Some(read);
            }
            let frame = self.body.frame().await?.unwrap();
            self.text += std::str::from_utf8(&frame.into_data().unwrap()).unwrap();
        }
    }

    /// The next event, heartbeats and the first block left out.
    async fn event(&mut self) -> (String, Value) {
        loop {
            let block = self.next().await.expect("an event");
            if let Some(data) = block.get("data") {
                return (block["event"].clone(), serde_json::from_str(data).unwrap());
            }
        }
    }

    /// The places of the next `count` events.
    async fn places(&mut self, count: usize) -> Vec<u64> {
        let mut places = Vec::new();
        for _ in 0..count {
            places.push(self.event().await.1["place"].as_u64().unwrap());
        }
        places
    }

    /// Nothing but comments for so long.
    async fn silent(&mut self, time: Duration) {
        let told = timeout(time, self.event()).await;
        assert!(told.is_err(), "{told:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_begins_now_with_a_word_and_has_each_record_of_its_tenant_as_it_is_logged() {
    let mut api = Api::new().await;
    api.log(5).await;
    let mut stream = api.follow("", None).await;
    let first = timeout(Duration::from_millis(1), stream.next()).await.expect("at once").unwrap();
    assert_eq!((first["id"].as_str(), first.get("data")), ("5", None), "{first:?}");
    stream.silent(Duration::from_secs(25)).await;
    api.log(4).await;
    let at = Instant::now();
    let (kind, data) = stream.event().await;
    assert_eq!((kind.as_str(), &data["place"], &data["tenant_id"]), ("published", &7.into(), &"acme".into()));
    assert_eq!(stream.places(1).await, [9]);
    assert_eq!(Instant::now(), at, "a commit wakes it, no clock");
    assert_eq!(api.monitor.metrics.streams.get(()), Some(1.0));
    drop(stream);
    advance(Duration::from_secs(3)).await;
    tokio::task::yield_now().await;
    assert_eq!(api.monitor.metrics.streams.get(()), Some(0.0));
}

#[tokio::test(start_paused = true)]
async fn whoever_comes_back_with_the_last_id_misses_nothing_and_has_nothing_twice() {
    let mut api = Api::new().await;
    api.log(501).await;
    let (mut seen, mut last) = (Vec::new(), None::<String>);
    for round in 0..9 {
        // The query is that of the first time: the last id has the last word.
        let mut stream = api.follow("?after=0", last.as_deref()).await;
        let places = stream.places(17 + round).await;
        last = places.last().map(u64::to_string);
        seen.extend(places);
        // Logged while nobody listens.
        api.log(2).await;
    }
    let acme: Vec<_> = (1..).step_by(2).take(seen.len()).collect();
    assert_eq!(seen, acme);
    // The first block's id is a place to come back with, before there was an event.
    let begin = api.follow("", None).await.next().await.unwrap()["id"].clone();
    api.log(2).await;
    assert_eq!(api.follow("", Some(&begin)).await.places(1).await, [api.logged - (api.logged + 1) % 2]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_one_message_has_its_records_only() {
    let mut api = Api::new().await;
    api.log(30).await;
    let mut stream = api.follow("?message=m-3&after=0", None).await;
    assert_eq!(stream.places(5).await, [3, 9, 15, 21, 27]);
    api.log(6).await;
    assert_eq!(stream.places(1).await, [33]);
}

#[tokio::test(start_paused = true)]
async fn who_may_read_no_longer_is_told_so_within_the_bound_and_sees_nothing_after() {
    let mut api = Api::new().await;
    let mut stream = api.follow("", None).await;
    stream.silent(Duration::from_secs(7)).await;
    let nobody = Policies::default_over(Directory::new([]).unwrap());
    api.bench.authority.reload(nobody).await.unwrap();
    let gone = Instant::now();
    let (kind, problem) = stream.event().await;
    assert_eq!((kind.as_str(), &problem["type"]), ("end", &"urn:tenantry:problem:forbidden".into()), "{problem}");
    assert!(gone.elapsed() <= READ_AGAIN, "{:?}", gone.elapsed());
    api.log(3).await;
    assert_eq!(stream.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn while_auth_is_silent_the_last_word_holds_for_a_while_and_no_longer() {
    let mut api = Api::new().await;
    let mut stream = api.follow("", None).await;
    stream.silent(Duration::from_secs(6)).await;
    api.auth.cut.store(true, Relaxed);
    stream.silent(Duration::from_secs(3)).await;
    api.log(1).await;
    assert_eq!(stream.places(1).await, [1], "what auth said last still holds");
    let (cut, (kind, problem)) = (Instant::now(), stream.event().await);
    assert_eq!((kind.as_str(), &problem["status"]), ("end", &503.into()), "{problem}");
    assert!(cut.elapsed() <= RIGHT_HOLDS, "{:?}", cut.elapsed());
    assert_eq!(stream.next().await, None);
    // It heals in time: then nobody notices.
    api.auth.cut.store(false, Relaxed);
    let mut stream = api.follow("", None).await;
    stream.silent(Duration::from_secs(4)).await;
    api.auth.cut.store(true, Relaxed);
    stream.silent(Duration::from_secs(3)).await;
    api.auth.cut.store(false, Relaxed);
    stream.silent(Duration::from_secs(30)).await;
    api.log(2).await;
    assert_eq!(stream.places(1).await, [3]);
}

#[tokio::test(start_paused = true)]
async fn an_audit_log_that_does_not_answer_keeps_the_stream_silent_and_then_ends_it() {
    let mut api = Api::new().await;
    let mut stream = api.follow("", None).await;
    stream.silent(Duration::from_secs(1)).await;
    api.audit.cut.store(true, Relaxed);
    api.log(2).await;
    assert_eq!(stream.places(1).await, [1], "the question that is under way still has its answer");
    api.log(2).await;
    stream.silent(SILENCE_MAX / 2).await;
    api.audit.cut.store(false, Relaxed);
    assert_eq!(stream.places(1).await, [3], "late, and not lost");
    api.audit.cut.store(true, Relaxed);
    let (cut, (kind, problem)) = (Instant::now(), stream.event().await);
    assert_eq!((kind.as_str(), &problem["status"]), ("end", &503.into()), "{problem}");
    assert!(cut.elapsed() <= SILENCE_MAX + REST, "{:?}", cut.elapsed());
    let (status, _) = api.refused(&api.bench.token(OPERATOR), "/v1/tenants/acme/events", None).await;
    assert_eq!(status, 503);
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_every_stream_at_once_and_says_so() {
    let api = Api::new().await;
    let mut stream = api.follow("", None).await;
    stream.silent(Duration::from_secs(1)).await;
    stream.ending.0.cancel();
    let (at, (kind, problem)) = (Instant::now(), stream.event().await);
    assert_eq!((kind.as_str(), &problem["status"], at.elapsed()), ("end", &503.into(), Duration::ZERO));
    assert_eq!(stream.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_with_its_token_before_auth_would_call_it_an_attack() {
    let api = Api::new().await;
    let mut stream = api.follow("", None).await;
    let (begun, (kind, problem)) = (Instant::now(), stream.event().await);
    // The bench's tokens hold for a minute.
    assert_eq!((kind.as_str(), &problem["status"]), ("end", &401.into()), "{problem}");
    assert!((59..=60).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn streams_are_bounded_of_an_operator_an_address_and_a_process() {
    let api = Api::new().await;
    let token = api.bench.token(OPERATOR);
    let mut open = Vec::new();
    for _ in 0..STREAMS_PER_OPERATOR_MAX {
        open.push(api.follow("", None).await);
    }
    let (status, problem) = api.refused(&token, "/v1/tenants/acme/events", None).await;
    assert_eq!((status, &problem["type"]), (429, &"urn:tenantry:problem:too-many-streams".into()), "{problem}");
    open.pop();
    open.push(api.follow("", None).await);

    let streams = Streams::new(&Monitor::default());
    let address = |number: usize| Source(format!("192.0.2.{number}").into());
    let mut slots: Vec<_> = (0..STREAMS_PER_SOURCE_MAX).map(|_| streams.enter(address(1)).unwrap()).collect();
    assert!(streams.enter(address(1)).is_err());
    slots.extend((0..STREAMS_MAX - STREAMS_PER_SOURCE_MAX).map(|number| streams.enter(address(2 + number)).unwrap()));
    assert!(streams.enter(address(2)).is_err());
    slots.pop();
    assert!(streams.enter(address(2)).is_ok());
    drop(slots);
    assert!(streams.open().sources.is_empty() && streams.open().all == 0);
}

#[tokio::test(start_paused = true)]
async fn nobody_opens_a_stream_of_another_tenant_or_with_a_wrong_question() {
    let mut api = Api::new().await;
    api.log(3).await;
    let (token, stranger) = (api.bench.token(OPERATOR), api.bench.token("mallory"));
    for (token, path, status) in [
        (token.as_str(), "/v1/tenants/initech/events", 403),
        (&stranger, "/v1/tenants/acme/events", 403),
        ("no.such.token", "/v1/tenants/acme/events", 401),
    ] {
        assert_eq!(api.refused(token, path, None).await.0, status, "{path}");
    }
    for (query, last, field) in [
        ("?after=-1", None, "after"),
        ("?after=4", None, "after"),
        ("?after=1&after=1", None, "after"),
        ("?message=no%20id", None, "message"),
        ("?tenant=globex", None, "tenant"),
        ("", Some("new"), LAST_EVENT_ID),
        ("?after=0", Some("4"), "after"),
    ] {
        let path = format!("/v1/tenants/acme/events{query}");
        let (status, problem) = api.refused(&token, &path, last).await;
        assert_eq!((status, &problem["field"]), (400, &field.into()), "{query}: {problem}");
    }
}
