//! Emergency rights over HTTP: asked for by one operator, approved by another, ended by either or by the clock.
//!
//! | request | answer |
//! |---|---|
//! | `POST /v1/break-glass` with `{"tenant_id", "reason", "minutes"}` | 201 with its number; 400, 401, 403, 503, 504 |
//! | `POST /v1/break-glass/{number}/approve` | 200; 401, 403 (the requester, or no duty manager), 503, 504 |
//! | `POST /v1/break-glass/{number}/end` | 200; 401, 403, 503, 504 |
//! | `GET /v1/break-glass` | 200 with those that wait or are in force, of which the operator may know; 401, 503 |
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
use super::{Problem, Producer};
use crate::auth::{BreakGlass, BreakGlassRequest, break_glass_problem};
use crate::ids::TenantId;
use crate::message::strict_object;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ask {
    tenant_id: TenantId,
    reason: String,
    minutes: u64,
}

pub(super) async fn ask(
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

pub(super) async fn decide(
    State(producer): State<Arc<Producer>>,
    path: Result<Path<(u64, String)>, PathRejection>,
    Caller { token }: Caller,
) -> Result<Json<Value>, Problem> {
    let Path((number, verb)) = path.map_err(|error| Problem::invalid("number", error.body_text()))?;
    let request = match verb.as_str() {
        "approve" => BreakGlassRequest::Approve { number },
        "end" => BreakGlassRequest::End { number },
        _ => {
            let detail = format!("a break-glass is approved or ended; there is no {verb:?}");
            return Err(Problem::new(StatusCode::NOT_FOUND, "no-such-resource", "There is nothing here", detail));
        }
    };
    Ok(Json(only(&answer(&producer, &token, request).await?)))
}

pub(super) async fn list(
    State(producer): State<Arc<Producer>>,
    Caller { token }: Caller,
) -> Result<Json<Value>, Problem> {
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
