//! A second person's approval of a command that policy asks one for.
//!
//! What is approved are bytes: the body of the request is the command as it will be sent to `POST /v1/commands`, to the last
//! space, and all that is said beside it stands in the query. A secret is sealed first, and nobody is shown it. Every one
//! of these may be sent again.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, Uri};
use serde::Deserialize;
use serde_json::{Value, json};

use super::api::{Caller, merge, read_body};
use super::openapi::{
    self, Endpoint, count, flag, id, nullable, number, object, one_of, query, reason, required, sha256, signed, text,
};
use super::parameters::Parameters;
use super::{Problem, Producer, dry_run, sealing};
use crate::auth::{
    APPROVAL_MINUTES, APPROVAL_MINUTES_MAX, Approval, ApprovalEnd, ApprovalRequest, ApprovalState, approval_problem,
    reason_problem,
};
use crate::message::{BodyHash, Refusal, strict_object};
use crate::secret::Secret;

/// The door, as it is called in the audit log.
const ENTRY: &str = "POST /v1/approvals";

pub(super) fn endpoints() -> Vec<Endpoint> {
    let states = ApprovalState::ALL.map(ApprovalState::name);
    let described = || {
        json!({
            "number": count(), "tenant_id": id(), "requester": id(), "action": text(), "message_id": id(),
            "body_sha256": sha256(), "reason": text(), "state": one_of(&states),
            "asked_at_unix": signed(), "expires_at_unix": signed(),
            "approved_by": nullable(id()), "approved_at_unix": nullable(signed()), "used_at_unix": nullable(signed()),
            "withdrawn_by": nullable(id()), "ended_at_unix": nullable(signed()), "command": nullable(text()),
        })
    };
    let one = || object(described());
    // What was done before is done, and said to be so.
    let done = || {
        let mut properties = described();
        properties["duplicate"] = flag();
        object(properties)
    };
    let endpoint = |endpoint: Endpoint| endpoint.tagged("Dry runs and approvals");
    let ask = Endpoint::post("/v1/approvals", "askApproval", ask)
        .about(
            "Ask for a second person's approval of a command",
            "The body is the command as it will be sent, to the last byte. Asked again for the same body, the same approval \
             (`duplicate`). 409: a command of this id has its outcome.",
        )
        .takes(required("reason", reason(), "What the second person judges by."))
        .takes(query("minutes", number(1, APPROVAL_MINUTES_MAX), "For how long it is open; 60 without it."))
        .reads(json!({"$ref": "#/components/schemas/message"}))
        .answers(201, "It waits for a second person.", done())
        .refuses(&["forbidden", "approval-required", "message-id-reused", "outcome-unknown"]);
    let listed = Endpoint::get("/v1/approvals", "listApprovals", list)
        .about(
            "Approvals that are open",
            "Those of which the operator may know, without their commands. `state` is `pending`, `approved`, `used` once the \
             command was let through because of it, `expired` or `withdrawn`; the last two are listed with `ended=true` only, \
             and forgotten after the latest thousand.",
        )
        .takes(query("ended", one_of(&["true", "false"]), "Whether to list those that have ended, too; false without it."))
        .answers(200, "All of them", object(json!({"approvals": openapi::list(one())})))
        .refuses(&["outcome-unknown"]);
    let shown = Endpoint::get("/v1/approvals/{number}", "readApproval", show_one)
        .about("An approval with its command, to be read", "")
        .answers(200, "The approval", one())
        .refuses(&["forbidden", "outcome-unknown"]);
    let approve = Endpoint::post("/v1/approvals/{number}/approve", "approveCommand", approve)
        .about(
            "Approve a command",
            "By another person than who asked; `body_sha256` is the hash of what they have read.",
        )
        .reads(object(json!({"body_sha256": sha256()})))
        .answers(200, "It is approved, now or before (`duplicate`).", done())
        .refuses(&["forbidden", "outcome-unknown"]);
    let withdraw = Endpoint::post("/v1/approvals/{number}/withdraw", "withdrawApproval", withdraw)
        .about("Withdraw an approval, or the wish for one", "")
        .answers(200, "It is withdrawn, or has ended before (`duplicate`).", done())
        .refuses(&["forbidden", "outcome-unknown"]);
    [ask, listed, shown, approve, withdraw].map(endpoint).into()
}

/// The query of a wish: why, and for how many minutes.
#[derive(Debug, PartialEq, Eq)]
struct AskQuery {
    reason: String,
    minutes: u64,
}

impl AskQuery {
    /// Reads the query of `uri`.
    fn parse(uri: &Uri) -> Result<Self, Refusal> {
        let mut given = Parameters::of(uri)?;
        let reason = given.take("reason", |text| reason_problem(text).map_or_else(|| Ok(text.to_owned()), Err))?;
        let minutes = given.number("minutes", 1, APPROVAL_MINUTES_MAX)?;
        given.end()?;
        let missing = || Refusal::new("reason", "is missing: it is what the second person judges by, add ?reason=...");
        Ok(Self { reason: reason.ok_or_else(missing)?, minutes: minutes.unwrap_or(APPROVAL_MINUTES) })
    }
}

async fn ask(
    State(producer): State<Arc<Producer>>,
    uri: Uri,
    Caller { token }: Caller,
    request: Request,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let AskQuery { reason, minutes } = AskQuery::parse(&uri)?;
    let message = producer.submitted(read_body(request.into_body()).await?, ENTRY).await?;
    dry_run::must_be_open(&producer, token.clone(), &message).await?;
    let message = match message.action.secret() {
        Some(Secret::Clear(clear)) => sealing::sealed(&producer, token.clone(), &message, clear).await?,
        Some(Secret::Sealed(_) | Secret::Withheld) | None => message,
    };
    if let Some((field, problem)) = approval_problem(&reason, minutes, &message.body) {
        return Err(Problem::invalid(field, problem));
    }
    let asked = answer(&producer, &token, ApprovalRequest::Ask { body: message.body, reason, minutes }).await?;
    Ok((StatusCode::CREATED, Json(done(&producer, &asked))))
}

async fn list(
    State(producer): State<Arc<Producer>>,
    uri: Uri,
    Caller { token }: Caller,
) -> Result<Json<Value>, Problem> {
    let mut given = Parameters::of(&uri)?;
    let ended = given.take("ended", |text| match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err("must be true or false"),
    })?;
    given.end()?;
    let (known, now) = (answer(&producer, &token, ApprovalRequest::List).await?, producer.clock.unix_seconds());
    let listed = known.iter().filter(|known| ended == Some(true) || known.is_open(now));
    Ok(Json(json!({ "approvals": listed.map(|known| show(known, now)).collect::<Vec<_>>() })))
}

async fn show_one(
    State(producer): State<Arc<Producer>>,
    path: Result<Path<u64>, PathRejection>,
    Caller { token }: Caller,
) -> Result<Json<Value>, Problem> {
    let Path(number) = path.map_err(|error| Problem::invalid("number", error.body_text()))?;
    let shown = answer(&producer, &token, ApprovalRequest::Show { number }).await?;
    Ok(Json(shown.first().map_or(Value::Null, |shown| show(shown, producer.clock.unix_seconds()))))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Read {
    body_sha256: String,
}

async fn approve(
    State(producer): State<Arc<Producer>>,
    path: Result<Path<u64>, PathRejection>,
    Caller { token }: Caller,
    request: Request,
) -> Result<Json<Value>, Problem> {
    let Path(number) = path.map_err(|error| Problem::invalid("number", error.body_text()))?;
    let Read { body_sha256 } = strict_object(&read_body(request.into_body()).await?, "")?;
    let approve = ApprovalRequest::Approve { number, body_sha256: hash(&body_sha256)? };
    Ok(Json(done(&producer, &answer(&producer, &token, approve).await?)))
}

async fn withdraw(
    State(producer): State<Arc<Producer>>,
    path: Result<Path<u64>, PathRejection>,
    Caller { token }: Caller,
) -> Result<Json<Value>, Problem> {
    let Path(number) = path.map_err(|error| Problem::invalid("number", error.body_text()))?;
    Ok(Json(done(&producer, &answer(&producer, &token, ApprovalRequest::Withdraw { number }).await?)))
}

fn hash(text: &str) -> Result<BodyHash, Problem> {
    let mut hash = BodyHash::default();
    let problem = "must be the 64 hexadecimal digits that GET /v1/approvals/{number} shows beside the message";
    hex::decode_to_slice(text, &mut hash).map_err(|_| Problem::invalid("body_sha256", problem))?;
    Ok(hash)
}

async fn answer(producer: &Producer, token: &str, request: ApprovalRequest) -> Result<Vec<Approval>, Problem> {
    Ok(producer.authority.approvals(token, request).await??)
}

/// The one that was meant, as it stands now, and whether it stood so before.
fn done(producer: &Producer, meant: &[Approval]) -> Value {
    meant.first().map_or(Value::Null, |meant| {
        let mut shown = show(meant, producer.clock.unix_seconds());
        merge(&mut shown, json!({"duplicate": meant.duplicate}));
        shown
    })
}

fn show(open: &Approval, now: i64) -> Value {
    let approved = open.approved.as_ref();
    let withdrawn_by = open.ended.as_ref().and_then(|(end, _)| match end {
        ApprovalEnd::Withdrawn(by) => Some(by),
        ApprovalEnd::Expired => None,
    });
    let body = (!open.body.is_empty()).then(|| String::from_utf8_lossy(&open.body));
    json!({
        "number": open.number, "tenant_id": open.tenant, "requester": open.requester, "action": open.action,
        "message_id": open.message_id, "body_sha256": hex::encode(open.body_sha256), "reason": open.reason,
        "state": open.state(now).name(), "asked_at_unix": open.asked_at, "expires_at_unix": open.expires_at,
        "approved_by": approved.map(|(by, _)| by), "approved_at_unix": approved.map(|(_, at)| at),
        "used_at_unix": open.used_at, "withdrawn_by": withdrawn_by,
        "ended_at_unix": open.ended.as_ref().map(|(_, at)| at), "command": body,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_query_is_refused_with_the_parameter() {
        for (query, field) in [
            ("", "reason"),
            ("?minutes=5", "reason"),
            ("?reason=", "reason"),
            ("?reason=they%20have%20left&minutes=0", "minutes"),
            ("?reason=they%20have%20left&reason=a", "reason"),
            ("?reason=they%20have%20left&minutes=-5", "minutes"),
            ("?reason=they%20have%20left&minutes=%2B5", "minutes"),
            ("?reason=they%20have%20left&hours=5", "hours"),
        ] {
            let refused = AskQuery::parse(&format!("/v1/approvals{query}").try_into().unwrap()).expect_err(query);
            assert_eq!(refused.field, field, "{query}: {refused}");
        }
        let right = AskQuery::parse(&Uri::from_static("/?reason=the%20customer%20left")).unwrap();
        assert_eq!(right, AskQuery { reason: "the customer left".into(), minutes: APPROVAL_MINUTES });
    }

    #[test]
    fn only_64_hexadecimal_digits_are_a_hash() {
        assert_eq!(hash(&"0a".repeat(32)).unwrap(), [10; 32]);
        for text in ["", "0a", &"0a".repeat(33), &"0g".repeat(32)] {
            assert!(hash(text).is_err(), "{text}");
        }
    }
}
