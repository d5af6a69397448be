//! Emergency rights over HTTP: asked for by one operator, approved by another, ended by either or by the clock.
//!
//! A request that had no answer is asked about with GET before it is sent again: asking twice is asking for two.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::api::{Caller, read_body};
use super::openapi::{self, Endpoint, count, id, nullable, number, object, signed, text};
use super::{Problem, Producer};
use crate::auth::{BreakGlass, BreakGlassRequest, MINUTES_MAX, REASON_MAX, REASON_MIN, break_glass_problem};
use crate::ids::TenantId;
use crate::message::strict_object;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ask {
    tenant_id: TenantId,
    reason: String,
    minutes: u64,
}

pub(super) fn endpoints() -> Vec<Endpoint> {
    let one = || {
        object(json!({
            "number": count(), "tenant_id": id(), "requester": id(), "reason": text(), "minutes": count(),
            "asked_at_unix": signed(), "approved_by": nullable(id()), "approved_at_unix": nullable(signed()),
            "ends_at_unix": nullable(signed()),
        }))
    };
    let endpoint = |endpoint: Endpoint| endpoint.tagged("Break-glass");
    let ask = Endpoint::post("/v1/break-glass", "askBreakGlass", ask)
        .about("Ask for an emergency right", "A request that had no answer is asked about before it is sent again.")
        .reads(object(json!({
            "tenant_id": id(), "minutes": number(1, MINUTES_MAX),
            "reason": {"type": "string", "minLength": REASON_MIN, "maxLength": REASON_MAX},
        })))
        .answers(201, "It waits for a second person.", one())
        .refuses(&["forbidden", "outcome-unknown"]);
    let approve = Endpoint::post("/v1/break-glass/{number}/approve", "approveBreakGlass", approve)
        .about("Give an emergency right", "By a duty manager other than who asked for it.")
        .answers(200, "It is in force.", one())
        .refuses(&["forbidden", "outcome-unknown"]);
    let end = Endpoint::post("/v1/break-glass/{number}/end", "endBreakGlass", end)
        .about("End an emergency right", "By either of the two.")
        .answers(200, "It has ended.", one())
        .refuses(&["forbidden", "outcome-unknown"]);
    let all = Endpoint::get("/v1/break-glass", "listBreakGlass", list)
        .about("Emergency rights that wait or are in force", "Those of which the operator may know.")
        .answers(200, "All of them", object(json!({"break_glass": openapi::list(one())})))
        .refuses(&["outcome-unknown"]);
    [ask, approve, end, all].map(endpoint).into()
}

async fn ask(
    State(producer): State<Arc<Producer>>,
    Caller { token }: Caller,
    request: Request,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let Ask { tenant_id: tenant, reason, minutes } = strict_object(&read_body(request.into_body()).await?, "")?;
    if let Some((field, problem)) = break_glass_problem(&reason, minutes) {
        return Err(Problem::invalid(field, problem));
    }
    let asked = answer(&producer, &token, BreakGlassRequest::Ask { tenant, reason, minutes }).await?;
    Ok((StatusCode::CREATED, Json(only(&asked))))
}

async fn approve(
    State(producer): State<Arc<Producer>>,
    path: Result<Path<u64>, PathRejection>,
    Caller { token }: Caller,
) -> Result<Json<Value>, Problem> {
    let number = number_of(path)?;
    Ok(Json(only(&answer(&producer, &token, BreakGlassRequest::Approve { number }).await?)))
}

async fn end(
    State(producer): State<Arc<Producer>>,
    path: Result<Path<u64>, PathRejection>,
    Caller { token }: Caller,
) -> Result<Json<Value>, Problem> {
    let number = number_of(path)?;
    Ok(Json(only(&answer(&producer, &token, BreakGlassRequest::End { number }).await?)))
}

fn number_of(path: Result<Path<u64>, PathRejection>) -> Result<u64, Problem> {
    path.map(|Path(number)| number).map_err(|error| Problem::invalid("number", error.body_text()))
}

async fn list(State(producer): State<Arc<Producer>>, Caller { token }: Caller) -> Result<Json<Value>, Problem> {
    let open = answer(&producer, &token, BreakGlassRequest::List).await?;
    Ok(Json(json!({ "break_glass": open.iter().map(show).collect::<Vec<_>>() })))
}

async fn answer(producer: &Producer, token: &str, request: BreakGlassRequest) -> Result<Vec<BreakGlass>, Problem> {
    Ok(producer.authority.break_glass(token, request).await??)
}

/// The one that was meant.
fn only(meant: &[BreakGlass]) -> Value {
    meant.first().map_or(Value::Null, show)
}

fn show(open: &BreakGlass) -> Value {
    let approved = open.approved.as_ref();
    json!({
        "number": open.number, "tenant_id": open.tenant, "requester": open.requester, "reason": open.reason,
        "minutes": open.minutes, "asked_at_unix": open.asked_at, "approved_by": approved.map(|(by, _)| by),
        "approved_at_unix": approved.map(|(_, at)| at), "ends_at_unix": open.ends_at(),
    })
}
