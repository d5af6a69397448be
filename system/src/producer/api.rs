//! The API's router, the endpoints of commands and of a tenant's state, and what every request goes through.
//!
//! What there is to ask, how it is answered and with which errors stands in the rows of [`endpoints`], and is served as an
//! OpenAPI document: see [`super::openapi`].

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, Path, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::http::Source;
use super::openapi::{
    Endpoint, count, flag, id, list, map, nullable, number, object, one_of, query, required, sha256, signed, text,
};
use super::parameters::Parameters;
use super::{
    Problem, Producer, alerts, approvals, audit, books, break_glass, dead_letters, dry_run, openapi, schemas, sealing,
    stream,
};
use crate::audit::{Claimed, Code, Step, StepKind};
use crate::auth::{Denied, GrantRequest};
use crate::broker::{MessageStatus, Published, Standing};
use crate::call::CallError;
use crate::grant::{Envelope, GrantToken, Purpose, VerifiedRead};
use crate::ids::{MessageId, TenantId};
use crate::ledger::{PauseGeneration, Paused, TenantState};
use crate::message::{BodyHash, MAX_BODY_BYTES, Message, Refusal, strict_object};
use crate::monitor::{Answer, Route, SpanKind, Stage, Started, TraceContext};
use crate::rate_limit::Limited;
use crate::rights::Role;
use crate::secret::Secret;

/// The longest wait for an outcome, in milliseconds: shorter than what proxies cut.
pub const WAIT_MAX_MS: u64 = 30_000;

/// The door that commands come to, as it is called in the audit log.
const SUBMIT: &str = "POST /v1/commands";

/// Whether the process serves.
const HEALTH: &str = "/healthz";

/// How far a message's timestamp may lie ahead of our clock, in seconds.
const FUTURE_MAX_SECONDS: i64 = 300;

/// While waiting for an outcome, the broker is asked this often whether there will be none.
const DEAD_LETTER_CHECK: Duration = Duration::from_millis(500);

/// A body must arrive within this time.
const BODY_DEADLINE: Duration = Duration::from_secs(10);

/// The API's routes over `producer`.
pub fn router(producer: Arc<Producer>) -> Router {
    /// The same in every life of a producer, schemas and all.
    static ROUTES: LazyLock<Router<Arc<Producer>>> = LazyLock::new(|| openapi::routes(endpoints()));
    ROUTES
        .clone()
        .fallback(|| async {
            let detail = format!("GET {} lists what there is", openapi::PATH);
            Problem::new(StatusCode::NOT_FOUND, "no-such-resource", "There is nothing here", detail)
        })
        .method_not_allowed_fallback(|| async {
            let detail = format!("GET {} says how everything is asked; a tenant is changed by commands", openapi::PATH);
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "Not with this method", detail)
        })
        .with_state(producer.clone())
        .layer(from_fn_with_state(producer.clone(), take_body))
        .layer(from_fn_with_state(producer, measured))
}

/// Every endpoint there is, each file's beside its handlers.
pub(super) fn endpoints() -> Vec<Endpoint> {
    let own = [commands(), tenants(), vec![health()]];
    let others = [
        dry_run::endpoints(),
        approvals::endpoints(),
        dead_letters::endpoints(),
        books::endpoints(),
        stream::endpoints(),
        break_glass::endpoints(),
        audit::endpoints(),
        alerts::endpoints(),
        schemas::endpoints(),
    ];
    own.into_iter().chain(others).flatten().collect()
}

fn commands() -> Vec<Endpoint> {
    let accepted = object(json!({
        "tenant_id": id(), "message_id": id(), "sequence": count(), "duplicate": flag(), "status_url": text(),
        "body_sha256": sha256(),
    }));
    let rejection = object(json!({"code": text(), "detail": text()}));
    let decided = |status: &str, name: &str, what: Value| {
        let mut properties = json!({
            "tenant_id": id(), "message_id": id(), "body_sha256": sha256(), "status": one_of(&[status]),
            "version": count(), "decided_at_unix_ms": signed(), "rules_version": count(),
        });
        properties[name] = what;
        object(properties)
    };
    let undecided = |statuses: &[&str], more: Value| {
        let mut properties =
            json!({"tenant_id": id(), "message_id": id(), "body_sha256": sha256(), "status": one_of(statuses)});
        merge(&mut properties, more);
        object(properties)
    };
    let waiting = undecided(&["pending"], json!({}));
    let aside = undecided(&["dead_lettered", "discarded"], json!({"reason": text()}));
    let status = json!({"oneOf": [
        decided("applied", "changes", list(json!({"type": "object", "minProperties": 1, "maxProperties": 1}))),
        decided("rejected", "reason", rejection), waiting, aside,
    ]});
    vec![
        Endpoint::post("/v1/commands", "sendCommand", submit)
            .about(
                "Send a command",
                "Answered once it is durable; from then on it has exactly one outcome. The same bytes under the same \
                 `message_id` change nothing and are answered with 200. `body_sha256` is the hash of the message as it is \
                 published, any secret in it sealed. A W3C `traceparent` is gone on with.",
            )
            .tagged("Commands")
            .reads(json!({"$ref": "#/components/schemas/message"}))
            .answers(202, "It is durable; its status is at `status_url`.", accepted.clone())
            .answers(200, "It was accepted before: this is a retry.", accepted)
            .refuses(&[
                "forbidden",
                "approval-required",
                "message-id-reused",
                "message-id-spent",
                "overloaded",
                "outcome-unknown",
            ]),
        Endpoint::get("/v1/commands/{message_id}", "readCommand", status_of)
            .about(
                "What became of a command",
                "Of one that is applied the changes, of one that is rejected or put aside the reason. `version` is the \
                 command's place in the tenant's history. `body_sha256` is the hash of the message that has this id, any \
                 secret in it sealed: if it is another than `POST /v1/commands` has told, the id was used before and this \
                 is the status of that other command.",
            )
            .tagged("Commands")
            .takes(required("tenant_id", id(), "Its tenant: an id is unique within its tenant only."))
            .takes(query("wait_ms", number(0, WAIT_MAX_MS), "Milliseconds to wait for its outcome; 0 without it."))
            .answers(200, "Its status", status)
            .refuses(&["forbidden", "no-such-command"]),
    ]
}

/// How a part of a tenant's state is shown.
type Show = fn(&TenantState) -> Value;

/// The parts of a tenant's state that can be read.
fn tenants() -> Vec<Endpoint> {
    let part = |path, id, about, properties: Value, show: Show| {
        let handler =
            move |State(producer): State<Arc<Producer>>,
                  path: Result<Path<String>, PathRejection>,
                  Caller { token }: Caller| async move { shown_part(&producer, path, token, show).await };
        Endpoint::get(path, id, handler).about(about, "").answers(200, "The tenant's own", of_tenant(properties))
    };
    let set = Endpoint::put("/v1/tenants/{tenant_id}/paused", "pauseTenant", set)
        .about(
            "Pause a tenant, or resume it",
            "Answered once nothing more takes effect, or all goes on. Commands that come meanwhile are accepted and wait.",
        )
        .reads(object(json!({"paused": flag()})))
        .answers(200, "It is as was asked.", of_tenant(json!({"paused": flag()})))
        .refuses(&["changed-meanwhile", "half-done", "outcome-unknown"]);
    let credential = object(json!({
        "data_key": count(), "message_id": id(), "version": count(), "sealed_sha256": text(),
    }));
    let credentials = Endpoint::get("/v1/tenants/{tenant_id}/credentials", "readCredentials", credentials)
        .about("What may be known of a tenant's credentials", "Never the secrets; that it was read goes on record.")
        .answers(
            200,
            "The tenant's own, by name",
            of_tenant(json!({"credentials": map(credential), "data_key": count()})),
        );
    let suspension = nullable(object(json!({"reason": text(), "version": count()})));
    vec![
        part(
            "/v1/tenants/{tenant_id}/limits",
            "readLimits",
            "A tenant's limits, each in its own unit, with the version that set it last",
            json!({"limits": map(count()), "limit_versions": map(count())}),
            |state| json!({ "limits": state.limits, "limit_versions": state.limit_versions }),
        ),
        part(
            "/v1/tenants/{tenant_id}/entitlements",
            "readEntitlements",
            "A tenant's entitlements: granted, carried by its plan, and both together",
            json!({"entitlements": list(text()), "granted": list(text()), "of_plan": list(text())}),
            |state| {
                let held: BTreeSet<_> = state.entitlements.union(&state.plan_entitlements).collect();
                json!({ "entitlements": held, "granted": state.entitlements, "of_plan": state.plan_entitlements })
            },
        ),
        part(
            "/v1/tenants/{tenant_id}/plan",
            "readPlan",
            "The plan that a tenant is on, and what it carries",
            json!({"plan": nullable(text()), "entitlements": list(text())}),
            |state| json!({ "plan": state.plan, "entitlements": state.plan_entitlements }),
        ),
        part(
            "/v1/tenants/{tenant_id}/suspension",
            "readSuspension",
            "Whether a tenant is suspended, why, and since which version",
            json!({"suspended": flag(), "suspension": suspension}),
            |state| json!({ "suspended": state.suspension.is_some(), "suspension": state.suspension }),
        ),
        part(
            "/v1/tenants/{tenant_id}/credits",
            "readCredits",
            "A tenant's credit, in minor units of each currency",
            json!({"credits_minor": map(count())}),
            |state| json!({ "credits_minor": state.credits }),
        ),
        part(
            "/v1/tenants/{tenant_id}/paused",
            "readPaused",
            "Whether a tenant is paused",
            json!({"paused": flag()}),
            |state| json!({ "paused": state.pause_generation.is_paused() }),
        ),
        credentials,
        set,
    ]
}

/// What is told of a tenant: its id, its version, and `properties`.
fn of_tenant(properties: Value) -> Value {
    let mut all = json!({"tenant_id": id(), "version": count()});
    merge(&mut all, properties);
    object(all)
}

fn health() -> Endpoint {
    Endpoint::get(HEALTH, "readHealth", || async { Json(json!({"status": "ok"})) })
        .about("Whether the process serves", "Never limited.")
        .tagged("Health")
        .open()
        .answers(200, "It does.", object(json!({"status": one_of(&["ok"])})))
}

/// W3C Trace Context's header, of requests and of our answers to them.
const TRACEPARENT: &str = "traceparent";

/// The trace that a request belongs to.
#[derive(Clone, Copy)]
struct Traced(Option<TraceContext>);

/// Counts and times every request, whatever became of it. A command begins a trace here, or goes on with its sender's, and
/// the answer says which it is.
async fn measured(State(producer): State<Arc<Producer>>, mut request: Request, next: Next) -> Response {
    let (route, begun) = (route(request.method(), request.uri().path()), Instant::now());
    let mut span = match route {
        Route::Submit => {
            let mut given = request.headers().get_all(TRACEPARENT).iter();
            // Several are none, as W3C has it.
            let alone = given.next().filter(|_| given.next().is_none());
            producer.monitor.tracer.enter(SUBMIT, alone.and_then(|value| value.to_str().ok()))
        }
        _ => Started::none(),
    };
    request.extensions_mut().insert(Traced(span.context));
    let mut response = next.run(request).await;
    let status = response.status().as_u16();
    producer.monitor.metrics.http_requests.inc((route, Answer::of(status)));
    producer.monitor.metrics.http_duration.observe(route, begun.elapsed().as_secs_f64());
    span.note("http.request.method", "POST");
    span.note("http.route", "/v1/commands");
    span.note("http.response.status_code", status);
    if status >= 500 {
        span.fail();
    }
    if let Some(context) = span.context {
        let value = HeaderValue::try_from(context.to_string()).expect("hexadecimal digits");
        response.headers_mut().insert(TRACEPARENT, value);
    }
    response
}

/// What is asked. A path that is none of ours must not become a series of its own.
fn route(method: &Method, path: &str) -> Route {
    let Some(rest) = path.strip_prefix("/v1/") else {
        return if path == HEALTH { Route::Health } else { Route::Other };
    };
    let mut parts = rest.split('/');
    match (parts.next().unwrap_or_default(), parts.nth(1)) {
        ("commands", _) if method == Method::POST => Route::Submit,
        ("commands", _) => Route::Status,
        ("tenants", Some("dead-letters")) => Route::DeadLetters,
        ("tenants", Some("events")) => Route::Stream,
        ("tenants", _) => Route::Tenant,
        ("dry-runs", _) => Route::DryRun,
        ("approvals", _) => Route::Approvals,
        ("break-glass", _) => Route::BreakGlass,
        ("audit", _) => Route::Audit,
        ("alerts", _) => Route::Alerts,
        ("schemas" | "openapi.json", _) => Route::Schemas,
        _ => Route::Other,
    }
}

async fn submit(
    State(producer): State<Arc<Producer>>,
    Caller { token }: Caller,
    request: Request,
) -> Result<Response, Problem> {
    let trace = request.extensions().get().and_then(|Traced(trace)| *trace);
    let body = read_body(request.into_body()).await?;
    let message = producer.submitted(body, SUBMIT).await?;
    let (tenant, message_id) = (&message.tenant_id, &message.message_id);
    let (published, hash) = match message.action.secret() {
        Some(Secret::Clear(clear)) => sealing::publish(&producer, token, &message, clear, trace).await?,
        Some(Secret::Sealed(_) | Secret::Withheld) | None => {
            let grant = producer.command_grant(token, &message, trace).await?;
            // Only now: before auth has said who this is, anyone could spend another's share.
            producer.limiter.command(tenant, &message.user_id)?;
            (producer.publish_granted(&message, grant, trace).await?, message.body_sha256())
        }
    };
    match published {
        Published::Accepted { sequence } => Ok(accepted(StatusCode::ACCEPTED, &message, sequence, hash)),
        Published::Duplicate { sequence } => Ok(accepted(StatusCode::OK, &message, sequence, hash)),
        Published::Conflict => {
            let why =
                format!("tenant {tenant} already has a message {message_id} with another body; use a new message_id");
            producer.reporter.attempt(Code::Conflict, SUBMIT, Claimed::of(&message), &why).await?;
            Err(Problem::new(StatusCode::CONFLICT, "message-id-reused", "Another message has this id", why))
        }
        Published::Overloaded { retry_after_ms } => {
            let detail = format!("too many commands of tenant {tenant} are waiting");
            let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "overloaded", "Too many commands wait", detail);
            Err(problem.retry_after(retry_after_ms.div_ceil(1000)))
        }
    }
}

/// Says that `message` is durable; what was published has the hash `body_sha256`.
fn accepted(status: StatusCode, message: &Message, sequence: u64, body_sha256: BodyHash) -> Response {
    let (tenant, id, duplicate) = (&message.tenant_id, &message.message_id, status == StatusCode::OK);
    let location = format!("/v1/commands/{id}?tenant_id={tenant}");
    let body = json!({
        "tenant_id": tenant, "message_id": id, "sequence": sequence, "duplicate": duplicate, "status_url": location,
        "body_sha256": hex::encode(body_sha256),
    });
    (status, [(header::LOCATION, location)], Json(body)).into_response()
}

/// The query of a command's status: whose command, and how long to wait for its outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusQuery {
    /// The tenant.
    pub tenant_id: TenantId,
    /// Milliseconds; 0 if none were given, at most [`WAIT_MAX_MS`].
    pub wait_ms: u64,
}

impl StatusQuery {
    /// Reads the query of `uri`, as strictly as a body: every parameter is known, readable and given once.
    ///
    /// # Errors
    /// The first parameter found wrong.
    pub fn parse(uri: &Uri) -> Result<Self, Refusal> {
        let mut given = Parameters::of(uri)?;
        let tenant_id = given.take("tenant_id", TenantId::parse)?;
        let wait_ms = given.number("wait_ms", 0, WAIT_MAX_MS)?.unwrap_or(0);
        given.end()?;
        let missing = "is missing: a message id is unique within its tenant only, add ?tenant_id=...";
        Ok(Self { tenant_id: tenant_id.ok_or_else(|| Refusal::new("tenant_id", missing))?, wait_ms })
    }
}

async fn status_of(
    State(producer): State<Arc<Producer>>,
    path: Result<Path<String>, PathRejection>,
    uri: Uri,
    Caller { token }: Caller,
) -> Result<Json<Value>, Problem> {
    let Path(message_id) = path.map_err(|error| Problem::invalid("message_id", error.body_text()))?;
    let StatusQuery { tenant_id: tenant, wait_ms } = StatusQuery::parse(&uri)?;
    let message_id = MessageId::parse(&message_id).map_err(|error| Problem::invalid("message_id", error))?;
    let read = producer.read_scope(token, &tenant).await?;
    let give_up = Instant::now() + Duration::from_millis(wait_ms);
    loop {
        let wait = (give_up - Instant::now()).min(DEAD_LETTER_CHECK);
        if let Some(outcome) = producer.ledger.outcome(&read, &message_id, wait).await.map_err(unchanged)? {
            let (status, detail) = match outcome.verdict {
                Ok(changes) => ("applied", json!({ "changes": changes })),
                Err(rejection) => ("rejected", json!({ "reason": rejection })),
            };
            let mut body = json!({
                "tenant_id": tenant, "message_id": message_id, "body_sha256": hex::encode(outcome.body_sha256),
                "status": status, "version": outcome.version, "decided_at_unix_ms": outcome.at_unix_ms, "rules_version": outcome.rules_version,
            });
            merge(&mut body, detail);
            return Ok(Json(body));
        }
        let known = producer.broker.standing(&tenant, &message_id).await.map_err(unchanged)?;
        let MessageStatus { body_sha256, standing } = known.ok_or_else(|| {
            let detail = format!("tenant {tenant} has no message {message_id}");
            Problem::new(StatusCode::NOT_FOUND, "no-such-command", "No such command", detail)
        })?;
        let standing = match standing {
            Standing::DeadLettered { reason } => json!({"status": "dead_lettered", "reason": reason}),
            Standing::Discarded { reason } => json!({"status": "discarded", "reason": reason}),
            // Settled: the outcome was written between the two questions, so the next turn finds it.
            Standing::Pending | Standing::Settled if Instant::now() < give_up => continue,
            Standing::Pending | Standing::Settled => json!({"status": "pending"}),
        };
        let mut body = json!({"tenant_id": tenant, "message_id": message_id, "body_sha256": hex::encode(body_sha256)});
        merge(&mut body, standing);
        return Ok(Json(body));
    }
}

pub(super) fn merge(body: &mut Value, more: Value) {
    if let (Value::Object(body), Value::Object(more)) = (body, more) {
        body.extend(more);
    }
}

/// One part of the state of the tenant that the path names.
async fn shown_part(
    producer: &Producer,
    path: Result<Path<String>, PathRejection>,
    token: String,
    show: Show,
) -> Result<Json<Value>, Problem> {
    let tenant = books::tenant(path)?;
    let read = producer.read_scope(token, &tenant).await?;
    let state = producer.ledger.state(&read).await.map_err(unchanged)?;
    let mut body = json!({"tenant_id": tenant, "version": state.version});
    merge(&mut body, show(&state));
    Ok(Json(body))
}

async fn credentials(
    State(producer): State<Arc<Producer>>,
    path: Result<Path<String>, PathRejection>,
    Caller { token }: Caller,
) -> Result<Json<Value>, Problem> {
    let tenant = books::tenant(path)?;
    let read = producer.read_scope(token, &tenant).await?;
    let state = producer.ledger.state(&read).await.map_err(unchanged)?;
    let at_unix_ms = producer.clock.now().as_millisecond();
    let step = Step::new(at_unix_ms, Role::Producer, StepKind::CredentialsRead, state.version);
    let (of, user) = (Some(tenant.clone()), Some(read.user().clone()));
    producer.reporter.step(Step { tenant: of, user, ..step }).await?;
    let (version, credentials, data_key) = (state.version, state.credentials, state.data_key);
    Ok(Json(json!({"tenant_id": tenant, "version": version, "credentials": credentials, "data_key": data_key})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pause {
    paused: bool,
}

/// Pauses a tenant, or resumes it. First in the ledger, where no effect can slip past it; then in the broker, so that
/// nothing is sent out in vain. Cut off in between it is half done: nothing takes effect that should not, and the same
/// request again does the rest. A request that was held up on its way undoes nothing that was decided after it.
async fn set(
    State(producer): State<Arc<Producer>>,
    path: Result<Path<String>, PathRejection>,
    Caller { token }: Caller,
    request: Request,
) -> Result<Json<Value>, Problem> {
    let tenant = books::tenant(path)?;
    let Pause { paused } = strict_object(&read_body(request.into_body()).await?, "")?;
    let request = GrantRequest { token, user: None, tenant: tenant.clone(), purpose: Purpose::Pause };
    let right = producer.verifier.pause(producer.grant(&request).await?).await?;
    // None is ever asked to become the first: this only says how the tenant stands, to whoever may pause it.
    let standing = producer.ledger.pause(&right, PauseGeneration::default()).await.map_err(unchanged)?;
    let seen = standing.generation;
    let to = if seen.is_paused() == paused { seen } else { seen.next() };
    let Paused { generation, version } = producer.ledger.pause(&right, to).await?;
    // The broker knows a later one only if it was once beside another ledger: then its word counts.
    if generation != to || in_broker(&producer, &tenant, generation).await? != generation {
        let detail =
            format!("someone else has paused or resumed tenant {tenant} meanwhile; look, and ask again if need be");
        return Err(Problem::new(StatusCode::CONFLICT, "changed-meanwhile", "Changed meanwhile", detail));
    }
    tracing::warn!(%tenant, operator = %right.user(), paused, version, "an operator has paused or resumed the tenant");
    Ok(Json(json!({"tenant_id": tenant, "paused": paused, "version": version})))
}

/// The broker's part. The ledger's is done by now, so whatever keeps the broker from it, something has happened.
async fn in_broker(
    producer: &Producer,
    tenant: &TenantId,
    generation: PauseGeneration,
) -> Result<PauseGeneration, Problem> {
    producer.broker.pause(tenant, generation).await.map_err(|error| {
        let done = if generation.is_paused() { "nothing takes effect any more" } else { "effects are allowed again" };
        let detail = format!("{done}, but the broker did not confirm it ({error}): send the same request again");
        let title = "Half done; the same request again does the rest";
        Problem::new(StatusCode::GATEWAY_TIMEOUT, "half-done", title, detail).retry_after(1)
    })
}

/// Lets in only who may ask just now, and reads a request's body before anything is answered: a connection on which a body is
/// left unread can't carry the next request.
async fn take_body(State(producer): State<Arc<Producer>>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let admitted = admit(&producer, &parts);
    match (read_body(body).await, admitted) {
        (Ok(body), Ok(())) => next.run(Request::from_parts(parts, body.into())).await,
        (Ok(_), Err(limited)) => Problem::from(limited).into_response(),
        (Err(mut problem), admitted) => {
            // Whoever may not ask just now fills no record either.
            if admitted.is_ok() && problem.is_too_large() {
                let entry = format!("{} {}", parts.method, parts.uri.path());
                let reported =
                    producer.reporter.attempt(Code::HostileBody, &entry, Claimed::default(), problem.detail()).await;
                problem = reported.err().map_or(problem, Problem::from);
            }
            let mut refused = problem.into_response();
            refused.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            refused
        }
    }
}

/// Whether the address that a request came from may ask just now. Whether the process serves, anyone may ask.
fn admit(producer: &Producer, parts: &Parts) -> Result<(), Limited> {
    if parts.uri.path() == HEALTH {
        return Ok(());
    }
    let Source(source) = parts.extensions.get().expect("the server notes where a request came from");
    // A stop must come through whatever else this address asks: it has a bucket of its own.
    let stop = parts.method == Method::PUT;
    producer.limiter.request(&if stop { format!("{source} (pausing)") } else { source.to_string() })
}

/// Someone who brings a token.
pub(super) struct Caller {
    pub(super) token: String,
}

impl FromRequestParts<Arc<Producer>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, producer: &Arc<Producer>) -> Result<Self, Problem> {
        match bearer(&parts.headers) {
            Ok(token) => Ok(Self { token }),
            Err(denied) => {
                let entry = format!("{} {}", parts.method, parts.uri.path());
                producer.reporter.attempt(Code::Unauthenticated, &entry, Claimed::default(), &denied).await?;
                Err(denied.into())
            }
        }
    }
}

impl Producer {
    /// The right to read `tenant`, if the token's operator has it.
    pub(super) async fn read_scope(&self, token: String, tenant: &TenantId) -> Result<VerifiedRead, Problem> {
        let request = GrantRequest { token, user: None, tenant: tenant.clone(), purpose: Purpose::Read };
        let grant = self.grant(&request).await?;
        Ok(self.verifier.read(grant).await?)
    }

    /// The message that an operator sent to `entry`.
    pub(super) async fn submitted(&self, body: Bytes, entry: &str) -> Result<Message, Problem> {
        let message = match Message::parse_submitted(body.clone()) {
            Ok(message) => message,
            Err(refusal) => {
                let claimed = Claimed::of_body(&body);
                self.reporter.attempt(Code::of_body(&refusal), entry, claimed, &refusal).await?;
                return Err(refusal.into());
            }
        };
        let ahead = message.timestamp.as_second() - self.clock.unix_seconds();
        if ahead > FUTURE_MAX_SECONDS {
            let problem =
                format!("lies {ahead} s in the future; at most {FUTURE_MAX_SECONDS} s are allowed for clocks");
            return Err(Problem::invalid("timestamp", problem));
        }
        Ok(message)
    }

    /// A grant for exactly this command.
    async fn command_grant(
        &self,
        token: String,
        message: &Message,
        trace: Option<TraceContext>,
    ) -> Result<GrantToken, Problem> {
        let mut span = self.monitor.tracer.start("auth.grant", SpanKind::Client, trace);
        let begun = Instant::now();
        let request = GrantRequest {
            token,
            user: Some(message.user_id.clone()),
            tenant: message.tenant_id.clone(),
            purpose: Purpose::command(message),
        };
        let granted = self.grant(&request).await;
        self.monitor.metrics.stage.observe(Stage::AuthGrant, begun.elapsed().as_secs_f64());
        granted.inspect_err(|_| span.fail())
    }

    async fn publish_granted(
        &self,
        message: &Message,
        grant: GrantToken,
        trace: Option<TraceContext>,
    ) -> Result<Published, Problem> {
        let mut span = self.monitor.tracer.start("broker.publish", SpanKind::Producer, trace);
        span.note("messaging.system", "tenantry");
        span.note("messaging.operation.type", "send");
        span.note("messaging.message.id", &message.message_id);
        let begun = Instant::now();
        let envelope = Envelope { body: message.body.clone(), grant, trace: span.context };
        let published = self.broker.publish(&message.tenant_id, &message.message_id, envelope).await;
        self.monitor.metrics.stage.observe(Stage::PublishConfirm, begun.elapsed().as_secs_f64());
        Ok(published.inspect_err(|_| span.fail())?)
    }

    /// Has exactly this command granted, and publishes it.
    pub(super) async fn publish(
        &self,
        token: String,
        message: &Message,
        trace: Option<TraceContext>,
    ) -> Result<Published, Problem> {
        let grant = self.command_grant(token, message, trace).await?;
        self.publish_granted(message, grant, trace).await
    }

    /// A grant from auth. Whatever became of a question that had no answer, nothing was changed by it.
    pub(super) async fn grant(&self, request: &GrantRequest) -> Result<GrantToken, Problem> {
        Ok(self.authority.grant(request).await.map_err(unchanged)??)
    }
}

/// The error of a call that only asks: it may or may not have been answered, but nothing can have happened.
pub(super) fn unchanged(error: CallError) -> Problem {
    CallError::failed(error).into()
}

/// The token of `Authorization: Bearer` (RFC 6750).
fn bearer(headers: &HeaderMap) -> Result<String, Denied> {
    let refused = Denied::Unauthenticated;
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(refused("send exactly one header `Authorization: Bearer TOKEN`".into()));
    };
    let parts = value.to_str().ok().and_then(|value| value.split_once(' '));
    // RFC 9110: the scheme's letter case does not matter, nor how many spaces follow it.
    let token = parts.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token.trim_start());
    token.map(str::to_owned).ok_or_else(|| refused("the Authorization header must be `Bearer TOKEN`".into()))
}

pub(super) async fn read_body(body: Body) -> Result<Bytes, Problem> {
    let collected =
        tokio::time::timeout(BODY_DEADLINE, http_body_util::Limited::new(body, MAX_BODY_BYTES).collect()).await;
    match collected {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too-large",
            "The body is too large",
            format!("a message has at most {MAX_BODY_BYTES} bytes"),
        )),
        Ok(Err(error)) => Err(Problem::invalid("", format!("the body could not be read: {error}"))),
        Err(_) => Err(Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "body-too-slow",
            "The body did not arrive in time",
            format!("it must arrive within {} s", BODY_DEADLINE.as_secs()),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::EmbeddedBroker;
    use crate::rate_limit::RateLimits;
    use crate::testing::{Bench, credit};

    #[tokio::test(start_paused = true)]
    async fn what_lies_further_in_the_future_than_clocks_may_be_off_is_refused() {
        let bench = Bench::new().await;
        let broker = Arc::new(EmbeddedBroker::open(&bench.world, Default::default()).await.unwrap());
        let (authority, ledger, clock) = (bench.authority.clone(), bench.ledger().await, bench.world.clock.clone());
        let now = clock.unix_seconds();
        let producer = Producer::new(broker, authority, ledger, clock, &RateLimits::default(), bench.keys());
        for (ahead, refused) in [(FUTURE_MAX_SECONDS, false), (FUTURE_MAX_SECONDS + 1, true)] {
            let mut body: Value = serde_json::from_str(&credit("acme", "m-1", 5)).unwrap();
            body["timestamp"] = jiff::Timestamp::from_second(now + ahead).unwrap().to_string().into();
            let submitted = producer.submitted(body.to_string().into(), "a test").await;
            let told = submitted.err().map(|problem| format!("{problem:?}"));
            assert_eq!(told.as_ref().map(|told| told.contains("timestamp")), refused.then_some(true), "{told:?}");
        }
    }

    #[test]
    fn every_endpoint_is_counted_under_a_name_and_what_is_none_of_ours_under_one_for_all() {
        for endpoint in endpoints() {
            let path = endpoint.path();
            assert_ne!(route(&Method::GET, path), Route::Other, "{path}");
        }
        for (path, counted) in [
            ("/v1/tenants/acme/dead-letters/m-1/replay", Route::DeadLetters),
            ("/v1/tenants/acme/events", Route::Stream),
            ("/v1/tenants/events", Route::Tenant),
            ("/v1/tenants/acme/plan", Route::Tenant),
            ("/v1/audit/tile/0/000", Route::Audit),
            ("/v1/approvals/1/approve", Route::Approvals),
            ("/v1/nothing", Route::Other),
            ("/v2/commands", Route::Other),
            ("/healthz/x", Route::Other),
        ] {
            assert_eq!(route(&Method::GET, path), counted, "{path}");
        }
    }

    #[test]
    fn a_wrong_query_is_refused_with_the_parameter() {
        let cases = [
            ("", "tenant_id", "is missing"),
            ("?", "tenant_id", "is missing"),
            ("?wait_ms=5", "tenant_id", "is missing"),
            ("?tenant_id=", "tenant_id", "1 to 63"),
            ("?tenant_id=Acme", "tenant_id", "has 'A' as character 1"),
            ("?tenant_id=acme%00", "tenant_id", "as character 5"),
            ("?tenant_id=%ff", "tenant_id", "can't be read"),
            ("?tenant_id=acme&tenant_id=acme", "tenant_id", "is given twice"),
            ("?tenant_id=acme&tenant%5Fid=globex", "tenant_id", "is given twice"),
            ("?tenant_id=acme&wait_ms=1&wait_ms=2", "wait_ms", "is given twice"),
            ("?tenant_id=acme&wait_ms=", "wait_ms", "must be a whole number from 0 to 30000"),
            ("?tenant_id=acme&wait_ms=%2B5", "wait_ms", "must be a whole number"),
            ("?tenant_id=acme&wait_ms=-1", "wait_ms", "must be a whole number"),
            ("?tenant_id=acme&wait_ms=1.5", "wait_ms", "must be a whole number"),
            ("?tenant_id=acme&wait_ms=30001", "wait_ms", "not \"30001\""),
            ("?tenant_id=acme&wait_ms=99999999999999999999", "wait_ms", "must be a whole number"),
            ("?tenant_id=acme&Wait_ms=5", "Wait_ms", "is unknown"),
        ];
        for (query, field, problem) in cases {
            let uri = format!("/v1/commands/m-1{query}").try_into().unwrap();
            let refused = StatusQuery::parse(&uri).expect_err(query);
            assert!(refused.field == field && refused.problem.contains(problem), "{query}: {refused}");
        }
        let right = StatusQuery::parse(&Uri::from_static("/?tenant_id=acme&wait_ms=30000")).unwrap();
        assert_eq!((right.tenant_id.as_str(), right.wait_ms), ("acme", WAIT_MAX_MS));
    }
}
