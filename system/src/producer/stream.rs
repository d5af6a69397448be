//! A tenant's live stream: its audit records as they are logged, as server-sent events.
//!
//! `GET /v1/tenants/{tenant_id}/events?message=ID&after=PLACE` answers `text/event-stream` (WHATWG HTML, 9.2): `event:` is
//! what happened, `data:` one JSON object ([`Told`]), `id:` its place in the log. Whoever comes back with `Last-Event-ID`
//! gets what follows that place: every record of the tenant once, in the order of the log. Without it and without `after`
//! the stream begins now; its first block says where that is.
//!
//! What is sent is what the log has durably, found by a search that waits: woken by the log's commits, nothing is polled.
//! The right to read is asked of auth at the start and every [`READ_AGAIN`]; it holds for [`RIGHT_HOLDS`] from when it was
//! asked for, and not a moment longer: whoever loses it, or an auth that can't be reached, ends the stream within that time.
//! An audit log that can't be reached keeps it silent, and after [`SILENCE_MAX`] ends it. The last event is `end`, whose data
//! are problem details that say why; a client that may come again does so with its last id.
//!
//! Bounds: [`STREAMS_MAX`] streams at once, so many of an address and of an operator, 429 beyond; one page of records is
//! under way, and a client that takes none is cut off by the server's write deadline. A stream ends at a graceful stop, when
//! its token or its connection's certificate expires, and when its client goes.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::unfold;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use super::api::{Caller, unchanged};
use super::books::tenant;
use super::http::{Ending, Source};
use super::openapi::{Endpoint, count, header_parameter, id, nullable, number, object, one_of, query, signed, text};
use super::parameters::{Parameters, whole};
use super::{Problem, Producer};
use crate::alerting::Raised;
use crate::audit::{
    Attempt, Audit, AuditEntry, Code, Event, Found, FoundRecord, Query, Record, Severity, Step, StepKind,
};
use crate::call::CallError;
use crate::grant::VerifiedRead;
use crate::ids::{MessageId, TenantId, UserId};
use crate::message::Refusal;
use crate::monitor::Monitor;
use crate::rights::Role;
use crate::whole::WHOLE_MAX;

/// Streams of one process at once: each may have one question open at the audit log, which takes 1024 of one caller.
pub(super) const STREAMS_MAX: usize = 256;

/// Streams of one network address at once; a proxy before the API is one.
pub(super) const STREAMS_PER_SOURCE_MAX: usize = 128;

/// Streams of one operator at once: tabs and scripts of one person.
pub(super) const STREAMS_PER_OPERATOR_MAX: usize = 16;

/// Auth is asked again this long after it was asked last.
pub(super) const READ_AGAIN: Duration = Duration::from_secs(5);

/// Nothing is sent on a right that was asked for longer ago than this.
pub(super) const RIGHT_HOLDS: Duration = Duration::from_secs(10);

/// A stream whose audit log has not answered for this long ends.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(30);

/// A comment is sent when nothing else was for this long: proxies keep what is not silent.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// One question to the audit log waits this long; a stop of the log waits for it.
const POLL_MS: u32 = 2_000;

/// After a question that failed - to auth, to the audit log - the next one waits this long.
const REST: Duration = Duration::from_millis(500);

/// Records of one page: as many as are read ahead of a client.
const PAGE: u32 = 64;

/// How soon a client may come again that found no room, or whose stream has ended, in seconds.
const COME_AGAIN_SECONDS: u64 = 1;

pub(super) fn endpoints() -> Vec<Endpoint> {
    let about = "Server-sent events (WHATWG HTML, 9.2), from now on: `event` is the kind of a record, `data` an `Event` of this \
                 document on one line, `id` its place in the audit log. Come again with `Last-Event-ID` and nothing is \
                 missing and nothing twice; the first block has an `id` for that, too. A comment is sent every 10 s where \
                 nothing else is. The last event is `end`, whose data is a `Problem` that says why: the right to read is \
                 asked for anew every 5 s, and nothing is sent on one that is older than 10 s. At most 16 streams of an \
                 operator, 128 of an address, 256 of a process.";
    let last = "The place of the last event that was seen: the stream goes on after it, whatever `after` says.";
    let stream = Endpoint::get("/v1/tenants/{tenant_id}/events", "followTenant", events)
        .about("A tenant's audit records as they are logged", about)
        .tagged("Live stream")
        .takes(query("message", id(), "Only the records of this message."))
        .takes(query("after", count(), "After this place in the log; 0 is from its beginning on, without it is now."))
        .takes(header_parameter(LAST_EVENT_ID, count(), last))
        .answers_as(200, "The stream, which has no end of its own", "text/event-stream", text())
        .refuses(&["too-many-streams"]);
    vec![stream]
}

/// The schema of an event's data.
pub(super) fn event_schema() -> Value {
    let words = |words: Vec<&str>| one_of(&words);
    let kinds = ["decided", "refused", "raised"].into_iter().chain(StepKind::ALL.iter().map(|kind| kind.name()));
    let service = words(Role::ALL.iter().map(|role| role.name()).collect());
    let code = words(Code::ALL.iter().map(|code| code.name()).collect());
    let described = |about: &str, mut schema: Value| {
        schema["description"] = about.into();
        schema
    };
    object(json!({
        "place": described("Its place in the audit log.", number(1, WHOLE_MAX)),
        "at_unix_ms": described("When it happened, by the clock of the service that tells.", signed()),
        "service": described("Who tells.", service),
        "kind": described("What happened: a decision, a refusal, what an alert rule has found, or a step by its name.", words(kinds.collect())),
        "tenant_id": described("The tenant.", text()),
        "user_id": described("Who acted; of what was refused, in whose name.", nullable(text())),
        "action": described("What for.", nullable(text())),
        "message_id": described("Of which message.", nullable(text())),
        "outcome": described("Of a decision: `applied`, or the rejection's code.", nullable(text())),
        "code": described("Of what was refused: what kind of attempt it was.", nullable(code)),
        "rule": described("Of what an alert rule has found: which rule.", nullable(text())),
        "number": described(
            "Of a step: which of its kind, such as the attempt of a delivery. Of what a rule has found: how many there were.",
            nullable(count()),
        ),
        "rings": described("How loud it rings, if it does.", nullable(one_of(&["warning", "critical"]))),
        "detail": described("In words.", text()),
    }))
}

/// One record, as its tenant's operators are told of it: no message body, no proof; the audit log's own search has both.
#[derive(Debug, Serialize)]
pub(super) struct Told<'a> {
    /// Its place in the audit log, from 1.
    place: u64,
    /// When it happened, in milliseconds since the Unix epoch, by the clock of the service that tells.
    at_unix_ms: i64,
    /// Who tells.
    service: Role,
    /// What happened: `decided`, `refused`, `raised` by an alert rule, or the name of a step such as `published`.
    kind: &'a str,
    /// The tenant.
    tenant_id: Option<&'a str>,
    /// Who acted; of what was refused, in whose name.
    user_id: Option<&'a str>,
    /// What for.
    action: Option<&'a str>,
    /// Of which message.
    message_id: Option<&'a str>,
    /// Of a decision: `applied`, or the rejection's code.
    outcome: Option<&'a str>,
    /// Of what was refused: what kind of attempt it was.
    code: Option<&'a str>,
    /// Of what an alert rule has found: which rule.
    rule: Option<&'a str>,
    /// Of a step: which of its kind, such as the attempt of a delivery. Of what a rule has found: how many there were.
    number: Option<u64>,
    /// How loud it rings, if it does.
    rings: Option<Severity>,
    /// In words.
    detail: &'a str,
}

impl<'a> Told<'a> {
    fn of(place: u64, event: &'a Event) -> Self {
        let (service, kind, outcome, code, number, detail) = match event {
            Event::Decided(AuditEntry { outcome, detail, .. }) => {
                (Role::Ledger, "decided", Some(outcome.as_str()), None, None, detail)
            }
            Event::Refused(Attempt { service, code, detail, .. }) => {
                (*service, "refused", None, Some(code.name()), None, detail)
            }
            Event::Step(Step { service, kind, number, detail, .. }) => {
                (*service, kind.name(), None, None, Some(*number), detail)
            }
            Event::Raised(Raised { count, detail, .. }) => (Role::Audit, "raised", None, None, Some(*count), detail),
        };
        let rule = match event {
            Event::Raised(raised) => Some(raised.rule.as_str()),
            Event::Decided(_) | Event::Refused(_) | Event::Step(_) => None,
        };
        Self {
            place,
            at_unix_ms: event.at_unix_ms(),
            service,
            kind,
            tenant_id: event.tenant(),
            user_id: event.user(),
            action: event.action(),
            message_id: event.message_id(),
            outcome,
            code,
            rule,
            number,
            rings: event.rings(),
            detail,
        }
    }

    /// As one block of the stream. JSON has no line break of its own.
    fn block(&self) -> String {
        let data = serde_json::to_string(self).expect("our own types become JSON");
        format!("id: {}\nevent: {}\ndata: {data}\n\n", self.place, self.kind)
    }
}

/// The query of a stream: of which message alone, and from where on.
#[derive(Debug, PartialEq, Eq)]
struct StreamQuery {
    message: Option<MessageId>,
    after: Option<u64>,
}

impl StreamQuery {
    /// Reads the query of `uri`, and `Last-Event-ID`, which has the last word: who comes back asks
    /// with the query that they began with.
    fn parse(uri: &Uri, headers: &HeaderMap) -> Result<Self, Refusal> {
        let mut given = Parameters::of(uri)?;
        let message = given.take("message", MessageId::parse)?;
        let mut after = given.number("after", 0, WHOLE_MAX)?;
        given.end()?;
        let mut last = headers.get_all(LAST_EVENT_ID).iter();
        match (last.next(), last.next()) {
            (None, _) => {}
            (Some(last), None) => {
                let place = whole(&String::from_utf8_lossy(last.as_bytes()), 0, WHOLE_MAX);
                after = Some(place.map_err(|problem| Refusal::new(LAST_EVENT_ID, problem))?);
            }
            (Some(_), Some(_)) => return Err(Refusal::new(LAST_EVENT_ID, "is given twice")),
        }
        Ok(Self { message, after })
    }
}

/// With which a client comes back.
const LAST_EVENT_ID: &str = "Last-Event-ID";

async fn events(
    State(producer): State<Arc<Producer>>,
    path: Result<Path<String>, PathRejection>,
    uri: Uri,
    headers: HeaderMap,
    Extension(source): Extension<Source>,
    ending: Option<Extension<Ending>>,
    Caller { token }: Caller,
) -> Result<Response, Problem> {
    let tenant = tenant(path)?;
    let StreamQuery { message, after } = StreamQuery::parse(&uri, &headers)?;
    let mut slot = producer.streams.enter(source)?;
    let asked = Instant::now();
    let read = producer.read_scope(token.clone(), &tenant).await?;
    slot.of_operator(read.user())?;
    let audit = producer.audit.clone().ok_or_else(|| CallError::failed("no audit log is configured here"))?;
    // What is searched is what was verified.
    let tenant_id = Some(read.scope().tenant().to_string());
    let query = Query { tenant: tenant_id, message: message.map(|id| id.to_string()), ..Query::default() };
    // Nothing is looked at from the log's end on: this only says where that is.
    let end = audit.search(&Query { after: u64::MAX, ..query.clone() }).await.map_err(unchanged)?.size;
    let after = after.unwrap_or(end);
    if after > end {
        let problem =
            format!("is {after}, and the log has {end} entries: it is another log, or was restored; begin anew");
        return Err(Problem::invalid("after", problem));
    }
    let query = Query { after, max: PAGE, bare: true, wait_ms: POLL_MS, ..query };
    let expires = expires(&token).map(|at| {
        let left = u64::try_from(at.saturating_sub(producer.clock.unix_seconds())).unwrap_or(0);
        asked + Duration::from_secs(left)
    });
    let following = Following {
        begin: Some(format!("retry: {}\nid: {after}\n: here you are\n\n", COME_AGAIN_SECONDS * 1000)),
        producer,
        token,
        tenant,
        audit,
        query,
        asked,
        expires,
        recheck: None,
        poll: None,
        heard: asked,
        ending: ending.map(|Extension(ending)| ending).unwrap_or_default(),
        slot: Arc::new(slot),
        over: false,
    };
    let body = Body::from_stream(unfold(following, Following::next));
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        // A proxy that collects answers would hold them back for ever.
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((headers, body).into_response())
}

/// When a token that auth has just believed is over, in seconds since the Unix epoch. A stream that went on with it would be
/// refused by auth as an attack that it is not.
fn expires(token: &str) -> Option<i64> {
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: serde_json::Value = serde_json::from_slice(&claims).ok()?;
    claims.get("exp")?.as_i64()
}

/// An open stream.
struct Following {
    /// The first block, until it is sent.
    begin: Option<String>,
    producer: Arc<Producer>,
    token: String,
    tenant: TenantId,
    audit: Arc<dyn Audit>,
    /// The next question; its `after` is how far the stream has come.
    query: Query,
    /// When the right that holds was asked for.
    asked: Instant,
    /// When the token is over.
    expires: Option<Instant>,
    /// The question whether the right still holds, and when it was put.
    recheck: Option<BoxFuture<'static, (Instant, Result<VerifiedRead, Problem>)>>,
    poll: Option<BoxFuture<'static, Result<Found, CallError>>>,
    /// When the audit log has answered last.
    heard: Instant,
    ending: Ending,
    slot: Arc<Slot>,
    over: bool,
}

impl Following {
    /// The next block, and what follows it; none after the last.
    async fn next(mut self) -> Option<(Result<String, Infallible>, Self)> {
        if self.over {
            return None;
        }
        let block = match self.begin.take() {
            Some(block) => block,
            None => self.block().await,
        };
        Some((Ok(block), self))
    }

    async fn block(&mut self) -> String {
        let heartbeat = Instant::now() + HEARTBEAT;
        loop {
            let recheck = self.recheck.take().unwrap_or_else(|| self.ask_again(self.asked + READ_AGAIN));
            let poll = self.poll.take().unwrap_or_else(|| self.ask(Instant::now()));
            let (recheck, poll) = (self.recheck.insert(recheck), self.poll.insert(poll));
            let expired = async {
                match self.expires {
                    Some(at) => sleep_until(at).await,
                    None => pending().await,
                }
            };
            // In this order: what ends the stream comes before what it would send.
            tokio::select! {
                biased;
                () = self.ending.0.cancelled() => return self.end(stopping()),
                () = expired => return self.end(token_over()),
                () = sleep_until(self.asked + RIGHT_HOLDS) => return self.end(unconfirmed()),
                (asked, answer) = recheck => {
                    self.recheck = None;
                    match answer {
                        Ok(_) => self.asked = asked,
                        // Auth has not said no: what it said last holds for a while.
                        Err(problem) if problem.is_passing() => {
                            self.recheck = Some(self.ask_again(Instant::now() + REST));
                        }
                        Err(problem) => return self.end(problem),
                    }
                }
                found = poll => {
                    self.poll = None;
                    match found {
                        Ok(found) => {
                            self.heard = Instant::now();
                            match self.take(found) {
                                Ok(None) => {}
                                Ok(Some(block)) => return block,
                                Err(problem) => return self.end(problem),
                            }
                        }
                        Err(error) if self.heard.elapsed() >= SILENCE_MAX => return self.end(unchanged(error)),
                        Err(_) => self.poll = Some(self.ask(Instant::now() + REST)),
                    }
                }
                () = sleep_until(heartbeat) => return ":\n\n".into(),
            }
        }
    }

    /// The blocks of what was found, if any.
    fn take(&mut self, found: Found) -> Result<Option<String>, Problem> {
        let mut blocks = String::new();
        for FoundRecord { place, record, .. } in &found.records {
            let unreadable = |error| CallError::failed(format!("record {place} is unreadable: {error}"));
            let record = Record::parse(record).map_err(unreadable)?;
            blocks += &Told::of(*place, &record.event).block();
        }
        // With nothing left to go on with, all is looked at up to the log's end.
        self.query.after = found.next.unwrap_or(found.size).max(self.query.after);
        Ok((!blocks.is_empty()).then_some(blocks))
    }

    /// Asks auth at `at` whether the operator may still read.
    fn ask_again(&self, at: Instant) -> BoxFuture<'static, (Instant, Result<VerifiedRead, Problem>)> {
        let (producer, token, tenant) = (self.producer.clone(), self.token.clone(), self.tenant.clone());
        let ask = async move {
            sleep_until(at).await;
            let asked = Instant::now();
            (asked, producer.read_scope(token, &tenant).await)
        };
        ask.boxed()
    }

    /// Asks the audit log at `at` for what comes next. The question holds the stream's place: whoever opens streams and drops
    /// them leaves no more questions behind than there may be streams.
    fn ask(&self, at: Instant) -> BoxFuture<'static, Result<Found, CallError>> {
        let (audit, query, slot) = (self.audit.clone(), self.query.clone(), self.slot.clone());
        let ask = async move {
            sleep_until(at).await;
            let asked = tokio::spawn(async move {
                let found = audit.search(&query).await;
                drop(slot);
                found
            });
            asked.await.unwrap_or_else(|_| Err(CallError::failed("the question to the audit log has ended")))
        };
        ask.boxed()
    }

    /// The last block.
    fn end(&mut self, problem: Problem) -> String {
        self.over = true;
        let data = serde_json::to_string(&problem).expect("our own types become JSON");
        format!("event: end\ndata: {data}\n\n")
    }
}

fn stopping() -> Problem {
    let detail = "this process stops, or its certificate is renewed; come again with the last id";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "The stream has ended here", detail)
}

fn unconfirmed() -> Problem {
    let detail = format!(
        "auth has not confirmed for {} s that the operator may read this tenant; come again with the last id",
        RIGHT_HOLDS.as_secs()
    );
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Nobody can say whether this may be read", detail)
}

fn token_over() -> Problem {
    let detail = "the token of this stream is over; come again with a new one and the last id";
    Problem::new(StatusCode::UNAUTHORIZED, "unauthenticated", "The operator is not authenticated", detail)
}

/// The streams of this process.
pub(super) struct Streams {
    open: Mutex<Open>,
    monitor: Monitor,
}

#[derive(Default)]
struct Open {
    all: usize,
    sources: BTreeMap<Source, usize>,
    operators: BTreeMap<UserId, usize>,
}

impl Streams {
    /// None yet; counted in `monitor`.
    pub(super) fn new(monitor: &Monitor) -> Arc<Self> {
        monitor.metrics.streams.set((), 0.0);
        Arc::new(Self { open: Mutex::default(), monitor: monitor.clone() })
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        // Counts are whole after every step.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Room for one more from `source`.
    fn enter(self: &Arc<Self>, source: Source) -> Result<Slot, Problem> {
        let mut open = self.open();
        if open.all >= STREAMS_MAX {
            return Err(no_room(&format!("of this process {STREAMS_MAX} streams are open")));
        }
        let of_source = open.sources.entry(source.clone()).or_default();
        if *of_source >= STREAMS_PER_SOURCE_MAX {
            return Err(no_room(&format!("of your address {STREAMS_PER_SOURCE_MAX} streams are open")));
        }
        *of_source += 1;
        open.all += 1;
        self.monitor.metrics.streams.set((), open.all as f64);
        Ok(Slot { streams: self.clone(), source, operator: None })
    }
}

fn no_room(why: &str) -> Problem {
    let detail = format!("{why}; close some, or come again later");
    let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-many-streams", "Too many streams are open", detail);
    problem.retry_after(COME_AGAIN_SECONDS)
}

/// The place of one stream, given back when it is dropped.
struct Slot {
    streams: Arc<Streams>,
    source: Source,
    operator: Option<UserId>,
}

impl Slot {
    /// Counts it as `operator`'s, too.
    fn of_operator(&mut self, operator: &UserId) -> Result<(), Problem> {
        let mut open = self.streams.open();
        let of_operator = open.operators.entry(operator.clone()).or_default();
        if *of_operator >= STREAMS_PER_OPERATOR_MAX {
            return Err(no_room(&format!("of operator {operator} {STREAMS_PER_OPERATOR_MAX} streams are open")));
        }
        *of_operator += 1;
        self.operator = Some(operator.clone());
        Ok(())
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        fn leave<K: Ord>(counts: &mut BTreeMap<K, usize>, key: &K) {
            if let Some(count) = counts.get_mut(key) {
                *count -= 1;
                if *count == 0 {
                    counts.remove(key);
                }
            }
        }
        let mut open = self.streams.open();
        open.all -= 1;
        leave(&mut open.sources, &self.source);
        if let Some(operator) = &self.operator {
            leave(&mut open.operators, operator);
        }
        self.streams.monitor.metrics.streams.set((), open.all as f64);
    }
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
