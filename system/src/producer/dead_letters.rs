//! Dead letters over HTTP: looked at, replayed under the replaying operator's own authority, or given up.
//!
//! Whoever replays answers for what the letter does: it takes their right to the action and the right to deal with letters
//! now, and the first once more at the effect; its author need hold nothing any more. Both requests take the `place` and the
//! `body_sha256` that were looked at, and then do nothing to another letter. Of a sealed secret the hash of its ciphertext is
//! shown, as in the audit log.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::api::{Caller, merge, read_body, unchanged};
use super::openapi::{
    self, Endpoint, count, flag, id, nullable, number, object, one_of, query, reason, sha256, signed, text,
    with_optional,
};
use super::parameters::Parameters;
use super::{Problem, Producer};
use crate::action::SECRET_FIELD;
use crate::audit::{Claimed, Code};
use crate::auth::{GrantRequest, reason_problem};
use crate::broker::{AttemptEnd, DeadLetter, LETTERS_PAGE_MAX, LetterSummary, Standing, Triage, Triaged};
use crate::grant::{Envelope, Purpose, VerifiedRead};
use crate::ids::{MessageId, TenantId, UserId};
use crate::message::{BodyHash, Message, Refusal, body_sha256, strict_object};
use crate::secret::without_ciphertext;

pub(super) fn endpoints() -> Vec<Endpoint> {
    let endpoint = |endpoint: Endpoint| endpoint.tagged("Dead letters");
    let summary = object(json!({
        "message_id": id(), "place": count(), "user_id": nullable(text()), "action": nullable(text()),
        "body_sha256": sha256(), "reason": text(), "at_unix_ms": signed(), "deliveries": count(),
    }));
    let attempt = object(json!({"leased_at_unix_ms": signed(), "end": one_of(&["silent", "again"])}));
    let letter = object(json!({
        "tenant_id": id(), "message_id": id(), "place": count(), "body_sha256": sha256(), "reason": text(),
        "at_unix_ms": signed(), "deliveries": count(),
        "attempts": openapi::list(with_optional(attempt, json!({"reason": text()}))),
        "message": {"description": "As JSON; what is no JSON is text, and of a secret there is a hash."},
        "not_replayable": nullable(text()),
    }));
    let looked_at = json!({"place": count(), "body_sha256": sha256()});
    let asked = || with_optional(object(json!({"reason": reason()})), looked_at.clone());
    let of_letter = |properties: Value| {
        let mut all = json!({"tenant_id": id(), "message_id": id()});
        merge(&mut all, properties);
        object(all)
    };
    let listed = Endpoint::get("/v1/tenants/{tenant_id}/dead-letters", "listDeadLetters", list)
        .about("A tenant's dead letters, by their ids", "")
        .takes(query("after", id(), "The last of the page before."))
        .takes(query("limit", number(1, LETTERS_PAGE_MAX as u64), "Most letters of a page; 100 without it."))
        .answers(
            200,
            "A page; `next` is the `after` of the next one, null on the last.",
            object(json!({"tenant_id": id(), "dead_letters": openapi::list(summary), "next": nullable(id())})),
        );
    let shown = Endpoint::get("/v1/tenants/{tenant_id}/dead-letters/{message_id}", "readDeadLetter", show)
        .about("A dead letter: its message, its attempts, and why it lies there", "")
        .answers(200, "The letter", letter)
        .refuses(&["no-such-dead-letter"]);
    let replayed = Endpoint::post("/v1/tenants/{tenant_id}/dead-letters/{message_id}/replay", "replayDeadLetter", replay)
        .about(
            "Replay a dead letter",
            "The same message under the same id, at the end of its tenant's queue, under the authority of whoever replays it: \
             it takes their right to the action and `manage_dead_letters`. `place` and `body_sha256`, if they are given, are \
             those that were looked at: another letter stays as it is.",
        )
        .reads(asked())
        .answers(202, "It waits again, durably.", of_letter(json!({
            "sequence": count(), "replayed": flag(), "status_url": text(),
        })))
        .answers(200, "It waits or was dealt with already.", of_letter(json!({"replayed": flag(), "status": text()})))
        .refuses(&[
            "approval-required",
            "no-such-dead-letter",
            "no-dead-letter",
            "another-letter",
            "not-replayable",
            "overloaded",
            "outcome-unknown",
        ]);
    let discarded =
        Endpoint::post("/v1/tenants/{tenant_id}/dead-letters/{message_id}/discard", "discardDeadLetter", discard)
            .about("Give a dead letter up for good", "It takes `manage_dead_letters`. Its id can't be used again.")
            .reads(asked())
            .answers(
                200,
                "It is discarded, now or before.",
                with_optional(of_letter(json!({"discarded": flag()})), json!({"reason": text()})),
            )
            .refuses(&["no-such-dead-letter", "no-dead-letter", "another-letter", "outcome-unknown"]);
    [listed, shown, replayed, discarded].map(endpoint).into()
}

/// The query of a list: from which letter on, and how many.
#[derive(Debug, PartialEq, Eq)]
struct ListQuery {
    after: Option<MessageId>,
    limit: usize,
}

impl ListQuery {
    /// Reads the query of `uri`.
    fn parse(uri: &Uri) -> Result<Self, Refusal> {
        let mut given = Parameters::of(uri)?;
        let after = given.take("after", MessageId::parse)?;
        let limit = given.number("limit", 1, LETTERS_PAGE_MAX as u64)?;
        given.end()?;
        Ok(Self { after, limit: limit.map_or(LETTERS_PAGE_MAX, |limit| limit as usize) })
    }
}

async fn list(
    State(producer): State<Arc<Producer>>,
    path: Result<Path<String>, PathRejection>,
    uri: Uri,
    Caller { token }: Caller,
) -> Result<Json<Value>, Problem> {
    let Path(tenant) = path.map_err(|error| Problem::invalid("tenant_id", error.body_text()))?;
    let tenant = TenantId::parse(&tenant).map_err(|error| Problem::invalid("tenant_id", error))?;
    let ListQuery { after, limit } = ListQuery::parse(&uri)?;
    producer.read_scope(token, &tenant).await?;
    let letters = producer.broker.dead_letters(&tenant, after.as_ref(), limit).await.map_err(unchanged)?;
    // Where the next page begins; the last page may be a full one.
    let next = (letters.len() == limit).then(|| letters.last().map(|last| last.message_id.clone())).flatten();
    let letters: Vec<_> = letters.into_iter().map(line).collect();
    Ok(Json(json!({"tenant_id": tenant, "dead_letters": letters, "next": next})))
}

fn line(letter: LetterSummary) -> Value {
    let LetterSummary { position, message_id, user, action, body_sha256, reason, at_unix_ms, deliveries } = letter;
    json!({
        "message_id": message_id, "place": position.sequence, "user_id": user, "action": action,
        "body_sha256": hex::encode(body_sha256), "reason": reason, "at_unix_ms": at_unix_ms, "deliveries": deliveries,
    })
}

async fn show(
    State(producer): State<Arc<Producer>>,
    names: Names,
    Caller { token }: Caller,
) -> Result<Json<Value>, Problem> {
    let Names { tenant, message_id } = names;
    let (read, letter) = look(&producer, &token, &tenant, &message_id).await?;
    let letter = letter.ok_or_else(|| no_letter(&tenant, &message_id))?;
    let hash = body_sha256(&letter.envelope.body);
    let body = shown_body(&letter.envelope.body);
    let attempts: Vec<_> = letter
        .attempts
        .iter()
        .map(|attempt| match &attempt.end {
            AttemptEnd::Silent => json!({"leased_at_unix_ms": attempt.leased_at_unix_ms, "end": "silent"}),
            AttemptEnd::Again(reason) => {
                json!({"leased_at_unix_ms": attempt.leased_at_unix_ms, "end": "again", "reason": reason})
            }
        })
        .collect();
    let unreplayable = match readable(&tenant, &message_id, &letter) {
        Ok(_) => hopeless(&producer, &read, &message_id, hash).await?,
        Err(why) => Some(why),
    };
    Ok(Json(json!({
        "tenant_id": tenant, "message_id": message_id, "place": letter.position.sequence,
        "body_sha256": hex::encode(hash), "reason": letter.reason, "at_unix_ms": letter.at_unix_ms,
        "deliveries": letter.deliveries, "attempts": attempts, "message": body, "not_replayable": unreplayable,
    })))
}

/// A body for people: a message as JSON, anything else as text; never a secret in clear, whoever published it.
fn shown_body(body: &[u8]) -> Value {
    let kept = without_ciphertext(body);
    let (shown, stripped) = kept.as_ref().map_or((body, false), |kept| (&kept[..], true));
    let named = String::from_utf8_lossy(shown).contains(SECRET_FIELD);
    match serde_json::from_slice(shown) {
        Ok(json) if stripped || !named => json,
        _ if named => json!({"withheld": "it names a secret, and can't be read well enough to take that out"}),
        _ => Value::String(String::from_utf8_lossy(shown).into_owned()),
    }
}

/// What is asked to be done with a letter.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    reason: String,
    place: Option<u64>,
    body_sha256: Option<String>,
}

impl Asked {
    async fn read(request: Request) -> Result<Self, Problem> {
        let asked: Self = strict_object(&read_body(request.into_body()).await?, "")?;
        match reason_problem(&asked.reason) {
            Some(problem) => Err(Problem::invalid("reason", problem)),
            None => Ok(asked),
        }
    }

    /// The letter that is meant: the one that they looked at, if they say so, else the one that is there.
    fn triage(self, by: UserId, letter: &DeadLetter) -> Result<Triage, Problem> {
        let there = body_sha256(&letter.envelope.body);
        let named = self.body_sha256.map(|text| {
            let mut hash = BodyHash::default();
            let right = "must be a SHA-256 as 64 hexadecimal digits";
            hex::decode_to_slice(&text, &mut hash).map_err(|_| Problem::invalid("body_sha256", right))?;
            Ok::<_, Problem>(hash)
        });
        let body_sha256 = named.transpose()?.unwrap_or(there);
        let sequence = self.place.unwrap_or(letter.position.sequence);
        Ok(Triage { by, reason: self.reason, sequence, body_sha256 })
    }
}

async fn replay(
    State(producer): State<Arc<Producer>>,
    names: Names,
    Caller { token }: Caller,
    request: Request,
) -> Result<Response, Problem> {
    const ENTRY: &str = "POST /v1/tenants/{tenant_id}/dead-letters/{message_id}/replay";
    let asked = Asked::read(request).await?;
    let Names { tenant, message_id } = names;
    let (read, letter) = look(&producer, &token, &tenant, &message_id).await?;
    let Some(letter) = letter else { return not_a_letter(&producer, &tenant, &message_id, false).await };
    let triage = asked.triage(read.user().clone(), &letter)?;
    meant(&producer, ENTRY, &tenant, &message_id, &letter, &triage).await?;
    let unreplayable = |why| Problem::new(StatusCode::CONFLICT, "not-replayable", "It can't be replayed", why);
    let message = readable(&tenant, &message_id, &letter).map_err(unreplayable)?;
    if let Some(why) = hopeless(&producer, &read, &message_id, triage.body_sha256).await? {
        return Err(unreplayable(why));
    }
    let purpose = Purpose::Replay {
        action: message.action.name().into(),
        message_id: message_id.clone(),
        body_sha256: triage.body_sha256,
        author: message.user_id.clone(),
    };
    let grant = producer.grant(&GrantRequest { token, user: None, tenant: tenant.clone(), purpose }).await?;
    let command = producer.verifier.command(Envelope { grant, ..letter.envelope }).await?;
    producer.limiter.command(&tenant, command.actor())?;
    let (triage, grant) = (Triage { by: command.actor().clone(), ..triage }, command.envelope().grant.clone());
    match producer.broker.replay(&tenant, &message_id, &triage, grant).await? {
        Triaged::Done { sequence } => {
            tracing::warn!(%tenant, %message_id, operator = %triage.by, reason = triage.reason, "a dead letter is replayed");
            let location = format!("/v1/commands/{message_id}?tenant_id={tenant}");
            let body = json!({
                "tenant_id": tenant, "message_id": message_id, "sequence": sequence, "replayed": true,
                "status_url": location,
            });
            Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(body)).into_response())
        }
        Triaged::Stands(standing) => stands(&tenant, &message_id, standing, false),
        Triaged::Overloaded { retry_after_ms } => Err(overloaded(&tenant, retry_after_ms)),
    }
}

async fn discard(
    State(producer): State<Arc<Producer>>,
    names: Names,
    Caller { token }: Caller,
    request: Request,
) -> Result<Response, Problem> {
    const ENTRY: &str = "POST /v1/tenants/{tenant_id}/dead-letters/{message_id}/discard";
    let asked = Asked::read(request).await?;
    let Names { tenant, message_id } = names;
    let (read, letter) = look(&producer, &token, &tenant, &message_id).await?;
    let Some(letter) = letter else { return not_a_letter(&producer, &tenant, &message_id, true).await };
    let triage = asked.triage(read.user().clone(), &letter)?;
    meant(&producer, ENTRY, &tenant, &message_id, &letter, &triage).await?;
    let purpose = Purpose::Discard { message_id: message_id.clone(), body_sha256: triage.body_sha256 };
    let grant = producer.grant(&GrantRequest { token, user: None, tenant: tenant.clone(), purpose }).await?;
    let right = producer.verifier.discard(grant).await?;
    let triage = Triage { by: right.user().clone(), body_sha256: right.body_sha256(), ..triage };
    match producer.broker.discard(right.scope().tenant(), right.message_id(), &triage).await? {
        Triaged::Done { .. } => {
            tracing::warn!(%tenant, %message_id, operator = %triage.by, reason = triage.reason, "a dead letter is discarded");
            let body = json!({"tenant_id": tenant, "message_id": message_id, "discarded": true});
            Ok(Json(body).into_response())
        }
        Triaged::Stands(standing) => stands(&tenant, &message_id, standing, true),
        Triaged::Overloaded { retry_after_ms } => Err(overloaded(&tenant, retry_after_ms)),
    }
}

/// Who asks, with their right to read the tenant, and the letter.
async fn look(
    producer: &Producer,
    token: &str,
    tenant: &TenantId,
    message_id: &MessageId,
) -> Result<(VerifiedRead, Option<DeadLetter>), Problem> {
    let read = producer.read_scope(token.to_owned(), tenant).await?;
    let letter = producer.broker.dead_letter(read.scope().tenant(), message_id).await.map_err(unchanged)?;
    Ok((read, letter))
}

/// Refuses, on record, what is meant for another letter than the one that is there.
async fn meant(
    producer: &Producer,
    entry: &str,
    tenant: &TenantId,
    message_id: &MessageId,
    letter: &DeadLetter,
    triage: &Triage,
) -> Result<(), Problem> {
    let there = body_sha256(&letter.envelope.body);
    if (triage.sequence, triage.body_sha256) == (letter.position.sequence, there) {
        return Ok(());
    }
    let claimed = Claimed {
        user: Some(triage.by.to_string()),
        message_id: Some(message_id.to_string()),
        body_sha256: Some(triage.body_sha256),
        ..Claimed::tenant(tenant)
    };
    let problem = another_letter(tenant, message_id);
    producer.reporter.attempt(Code::Conflict, entry, claimed, problem.detail()).await?;
    Err(problem)
}

/// The letter as the message that can be replayed, or why it can't.
fn readable(tenant: &TenantId, message_id: &MessageId, letter: &DeadLetter) -> Result<Message, String> {
    let message = Message::parse(letter.envelope.body.clone())
        .map_err(|refusal| format!("its body is no message, and nobody could ever act on it: {refusal}; discard it"))?;
    if (&message.tenant_id, &message.message_id) != (tenant, message_id) {
        let of = format!("{} of tenant {}", message.message_id, message.tenant_id);
        return Err(format!("it lies under {message_id} of tenant {tenant}, but its body is {of}; discard it"));
    }
    Ok(message)
}

/// Why a letter of this hash could only die again, though it can be read: its id is another command's. Nothing else is known
/// before it is tried: its right is asked for anew, and a sealed secret opened, only behind the broker.
async fn hopeless(
    producer: &Producer,
    read: &VerifiedRead,
    message_id: &MessageId,
    body_sha256: BodyHash,
) -> Result<Option<String>, Problem> {
    let outcome = producer.ledger.outcome(read, message_id, Duration::ZERO).await.map_err(unchanged)?;
    let other = outcome.filter(|outcome| outcome.body_sha256 != body_sha256);
    Ok(other.map(|other| {
        let (tenant, version) = (read.scope().tenant(), other.version);
        format!(
            "another message {message_id} of tenant {tenant} has its outcome, since version {version}: this one could only \
             die again; discard it"
        )
    }))
}

/// What to say of what is no dead letter any more, or never was one.
async fn not_a_letter(
    producer: &Producer,
    tenant: &TenantId,
    message_id: &MessageId,
    discarding: bool,
) -> Result<Response, Problem> {
    let known = producer.broker.standing(tenant, message_id).await.map_err(unchanged)?;
    stands(tenant, message_id, known.map(|known| known.standing), discarding)
}

/// A request that was done before is answered so; what contradicts what was done is a conflict.
fn stands(
    tenant: &TenantId,
    message_id: &MessageId,
    standing: Option<Standing>,
    discarding: bool,
) -> Result<Response, Problem> {
    let conflict = |detail: String| Err(Problem::new(StatusCode::CONFLICT, "no-dead-letter", "No dead letter", detail));
    let status = match standing {
        None => return Err(no_letter(tenant, message_id)),
        Some(Standing::DeadLettered { .. }) => return Err(another_letter(tenant, message_id)),
        Some(Standing::Discarded { reason }) if discarding => {
            let body = json!({"tenant_id": tenant, "message_id": message_id, "discarded": false, "reason": reason});
            return Ok(Json(body).into_response());
        }
        Some(Standing::Discarded { reason }) => {
            return conflict(format!("{message_id} of tenant {tenant} was discarded, because of this: {reason}"));
        }
        Some(Standing::Pending) => "pending",
        Some(Standing::Settled) => "settled",
    };
    if discarding {
        return conflict(format!("{message_id} of tenant {tenant} is {status}: there is nothing to discard"));
    }
    Ok(Json(json!({"tenant_id": tenant, "message_id": message_id, "replayed": false, "status": status}))
        .into_response())
}

fn no_letter(tenant: &TenantId, message_id: &MessageId) -> Problem {
    let detail = format!("tenant {tenant} has no dead letter {message_id}");
    Problem::new(StatusCode::NOT_FOUND, "no-such-dead-letter", "No such dead letter", detail)
}

fn another_letter(tenant: &TenantId, message_id: &MessageId) -> Problem {
    let detail = format!("the dead letter {message_id} of tenant {tenant} is another than was looked at: look again");
    Problem::new(StatusCode::CONFLICT, "another-letter", "It is another letter", detail)
}

fn overloaded(tenant: &TenantId, retry_after_ms: u64) -> Problem {
    let detail = format!("too many commands of tenant {tenant} are waiting");
    let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "overloaded", "Too many commands wait", detail);
    problem.retry_after(retry_after_ms.div_ceil(1000))
}

/// The tenant and the message id of a path.
struct Names {
    tenant: TenantId,
    message_id: MessageId,
}

impl axum::extract::FromRequestParts<Arc<Producer>> for Names {
    type Rejection = Problem;

    async fn from_request_parts(
        parts: &mut axum::http::request::Parts,
        producer: &Arc<Producer>,
    ) -> Result<Self, Problem> {
        let path = Path::<(String, String)>::from_request_parts(parts, producer).await;
        let Path((tenant, message_id)) = path.map_err(|error| Problem::invalid("tenant_id", error.body_text()))?;
        let tenant = TenantId::parse(&tenant).map_err(|error| Problem::invalid("tenant_id", error))?;
        let message_id = MessageId::parse(&message_id).map_err(|error| Problem::invalid("message_id", error))?;
        Ok(Self { tenant, message_id })
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use http_body_util::BodyExt;
    use hyper::service::Service;
    use hyper_util::service::TowerToHyperService;

    use super::super::http::Source;
    use super::*;
    use crate::action::Permission;
    use crate::broker::{Broker, EmbeddedBroker, Ending, Limits, Position, Settlement};
    use crate::ledger::{EmbeddedLedger, Ledger, Run, Work};
    use crate::rate_limit::RateLimits;
    use crate::testing::{Bench, OPERATOR, credit, message_id, tenant};

    const LETTERS: &str = "/v1/tenants/acme/dead-letters";
    const REASON: &str = r#"{"reason":"the outage is over"}"#;

    /// The API of a broker with four dead letters of acme: a credit of eve's, one for globex, no message at all, and one that
    /// has a secret in clear.
    async fn api() -> (Bench, Arc<EmbeddedBroker>, Router) {
        let bench = Bench::new().await;
        let ledger = bench.ledger().await;
        api_over(bench, ledger).await
    }

    async fn api_over(bench: Bench, ledger: Arc<EmbeddedLedger>) -> (Bench, Arc<EmbeddedBroker>, Router) {
        let broker = Arc::new(EmbeddedBroker::open(&bench.world, Limits::default()).await.unwrap());
        let eves = credit("acme", "m-1", 5).replace(OPERATOR, "eve");
        let secret = eves.replace("m-1", "m-4").replace(r#""currency""#, r#""secret":"hunter2","currency""#);
        let bodies = [eves, credit("globex", "m-2", 5), "\u{1}no message".into(), secret];
        for (id, body) in ["m-1", "m-2", "m-3", "m-4"].into_iter().zip(bodies) {
            let envelope = Envelope { body: body.into(), grant: "forged".into(), trace: None };
            broker.publish(&tenant("acme"), &message_id(id), envelope).await.unwrap();
        }
        let run = broker.fetch(9, Duration::ZERO).await.unwrap().remove(0);
        let ended = vec![Ending::DeadLetter { reason: "the grant is refused".into() }; 4];
        assert!(broker.settle(&run.lease, Settlement { ended, ..Settlement::default() }).await.unwrap());
        let (auth, clock) = (bench.authority.clone(), bench.world.clock.clone());
        let producer = Producer::new(broker.clone(), auth, ledger, clock, &RateLimits::default(), bench.keys());
        let router = crate::producer::router(Arc::new(producer));
        // Buckets begin empty.
        tokio::time::sleep(Duration::from_secs(1)).await;
        (bench, broker, router)
    }

    async fn ask(router: &Router, method: &str, path: &str, token: &str, body: &str) -> (u16, Value) {
        let builder = Request::builder().method(method).uri(path).header("authorization", format!("Bearer {token}"));
        let mut request = builder.body(Body::from(body.to_owned())).unwrap();
        request.extensions_mut().insert(Source("127.0.0.1".into()));
        let answer = TowerToHyperService::new(router.clone()).call(request).await.unwrap();
        let (status, body) = (answer.status().as_u16(), answer.into_body().collect().await.unwrap().to_bytes());
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    #[tokio::test(start_paused = true)]
    async fn letters_are_listed_and_shown_without_any_secret() {
        let (bench, _broker, router) = api().await;
        let token = bench.token(OPERATOR);
        let get = async |path: &str| ask(&router, "GET", path, &token, "").await;
        let (status, page) = get(&format!("{LETTERS}?limit=3")).await;
        assert_eq!((status, &page["next"]), (200, &json!("m-3")), "{page}");
        let first = &page["dead_letters"][0];
        assert_eq!(
            (&first["message_id"], &first["user_id"], &first["action"]),
            (&json!("m-1"), &json!("eve"), &json!("issue_credit"))
        );
        let (_, rest) = get(&format!("{LETTERS}?after=m-3")).await;
        assert_eq!((rest["dead_letters"].as_array().unwrap().len(), &rest["next"]), (1, &Value::Null), "{rest}");
        let (_, shown) = get(&format!("{LETTERS}/m-1")).await;
        assert_eq!((&shown["message"]["user_id"], &shown["not_replayable"]), (&json!("eve"), &Value::Null), "{shown}");
        let (_, odd) = get(&format!("{LETTERS}/m-3")).await;
        assert!(
            odd["message"] == "\u{1}no message" && odd["not_replayable"].as_str().unwrap().contains("no message"),
            "{odd}"
        );
        let (status, secret) = get(&format!("{LETTERS}/m-4")).await;
        assert!(status == 200 && !secret.to_string().contains("hunter2"), "{secret}");
        assert_eq!(get(&format!("{LETTERS}/m-9")).await.0, 404);
        assert_eq!(get("/v1/tenants/initech/dead-letters").await.0, 403);
        assert_eq!(ask(&router, "GET", LETTERS, &bench.token("eve"), "").await.0, 403);
    }

    #[tokio::test(start_paused = true)]
    async fn a_letter_is_replayed_once_by_whoever_may_and_stays_its_authors() {
        let (bench, broker, router) = api().await;
        let (token, path) = (bench.token(OPERATOR), format!("{LETTERS}/m-1/replay"));
        let post = async |path: &str, body: &str| ask(&router, "POST", path, &token, body).await;
        for (body, field) in [
            ("{}", "reason"),
            (r#"{"reason":"short"}"#, "reason"),
            (r#"{"reason":"long enough","body_sha256":"x"}"#, "body_sha256"),
        ] {
            let (status, refused) = post(&path, body).await;
            assert_eq!((status, &refused["field"]), (400, &json!(field)), "{body}: {refused}");
        }
        let other = format!(r#"{{"reason":"the outage is over","body_sha256":"{}"}}"#, "00".repeat(32));
        assert_eq!(post(&path, &other).await.0, 409);
        assert_eq!(post(&path, r#"{"reason":"the outage is over","place":9}"#).await.0, 409);
        for id in ["m-2", "m-3"] {
            let (status, refused) = post(&format!("{LETTERS}/{id}/replay"), REASON).await;
            assert_eq!((status, &refused["type"]), (409, &json!("urn:tenantry:problem:not-replayable")), "{refused}");
        }
        assert_eq!(ask(&router, "POST", &path, &bench.token("eve"), REASON).await.0, 403, "its author may nothing");
        let (status, replayed) = post(&path, REASON).await;
        assert_eq!((status, &replayed["sequence"]), (202, &json!(5)), "{replayed}");
        let (status, again) = post(&path, REASON).await;
        assert_eq!((status, &again["replayed"], &again["status"]), (200, &json!(false), &json!("pending")), "{again}");
        let run = broker.fetch(9, Duration::ZERO).await.unwrap().remove(0);
        let command = bench.verifier.command(run.messages[0].envelope.clone()).await.unwrap();
        assert_eq!((command.actor().as_str(), command.message().user_id.as_str()), (OPERATOR, "eve"));
        assert_eq!(post(&format!("{LETTERS}/m-1/discard"), REASON).await.0, 409, "it waits");
    }

    #[tokio::test(start_paused = true)]
    async fn a_letter_whose_id_is_another_commands_is_not_replayed_to_die_again() {
        let bench = Bench::new().await;
        let ledger = bench.ledger().await;
        let command = bench.credit("acme", "m-1", 7).await;
        let (decision, position) = (bench.permit("acme", Permission::IssueCredit), Position { epoch: 1, sequence: 1 });
        ledger.apply(&Run::new(vec![Work { command, decision, position }]).unwrap()).await.unwrap();
        let (bench, _broker, router) = api_over(bench, ledger).await;
        let (token, path) = (bench.token(OPERATOR), format!("{LETTERS}/m-1"));
        let (_, shown) = ask(&router, "GET", &path, &token, "").await;
        let why = shown["not_replayable"].as_str().unwrap();
        assert!(why.contains("another message m-1 of tenant acme has its outcome, since version 1"), "{why}");
        let (status, refused) = ask(&router, "POST", &format!("{path}/replay"), &token, REASON).await;
        assert_eq!((status, &refused["type"]), (409, &json!("urn:tenantry:problem:not-replayable")), "{refused}");
        assert_eq!(ask(&router, "POST", &format!("{path}/discard"), &token, REASON).await.0, 200);
    }

    #[tokio::test(start_paused = true)]
    async fn a_letter_is_discarded_for_good() {
        let (bench, _broker, router) = api().await;
        let token = bench.token(OPERATOR);
        let post = async |path: &str| ask(&router, "POST", path, &token, REASON).await;
        for (id, discarded) in [("m-1", true), ("m-1", false), ("m-3", true)] {
            let (status, told) = post(&format!("{LETTERS}/{id}/discard")).await;
            assert_eq!((status, &told["discarded"]), (200, &json!(discarded)), "{told}");
        }
        assert_eq!(post(&format!("{LETTERS}/m-1/replay")).await.0, 409);
        assert_eq!(post(&format!("{LETTERS}/m-9/discard")).await.0, 404);
        let (_, status) = ask(&router, "GET", "/v1/commands/m-1?tenant_id=acme", &token, "").await;
        assert_eq!((&status["status"], &status["reason"]), (&json!("discarded"), &json!("the outage is over")));
        let eves = credit("acme", "m-1", 5).replace(OPERATOR, "eve");
        assert_eq!(status["body_sha256"], json!(hex::encode(body_sha256(eves.as_bytes()))));
    }

    #[test]
    fn a_wrong_page_is_refused_with_the_parameter() {
        for (query, field, problem) in [
            ("?after=M", "after", "as character 1"),
            ("?limit=0", "limit", "from 1 to 100"),
            ("?limit=101", "limit", "not \"101\""),
            ("?limit=%2B1", "limit", "must be a whole number"),
            ("?limit=1&limit=1", "limit", "is given twice"),
            ("?max=1", "max", "is unknown"),
        ] {
            let refused = ListQuery::parse(&format!("/{query}").try_into().unwrap()).expect_err(query);
            assert!(refused.field == field && refused.problem.contains(problem), "{query}: {refused}");
        }
    }
}
