//! Errors as RFC 9457 problem details: a stable `type` for programs, words for people.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::auth::Denied;
use crate::call::CallError;
use crate::grant::VerifyError;
use crate::message::Refusal;
use crate::rate_limit::Limited;

/// One kind of problem: its stable name, its status, and what it means.
pub(super) struct Kind {
    pub(super) name: &'static str,
    pub(super) status: u16,
    pub(super) about: &'static str,
}

/// Every kind there is.
pub(super) const KINDS: &[Kind] = &[
    kind("invalid", 400, "the request is not what it should be; `field` says where, if it is in one place"),
    kind("unauthenticated", 401, "there is no token, or one that is not believed"),
    kind("forbidden", 403, "the operator may not do this"),
    kind("approval-required", 403, "a second person must approve exactly this command first: `POST /v1/approvals`"),
    kind("no-such-resource", 404, "there is nothing under this path"),
    kind("no-such-command", 404, "the tenant has no such message"),
    kind("no-such-dead-letter", 404, "the tenant has no such dead letter, and never had"),
    kind("no-such-schema", 404, "there is no schema of this name"),
    kind("no-such-tile", 404, "this is no tile, or the tree has not grown to it"),
    kind("method-not-allowed", 405, "what is here is not asked with this method"),
    kind("body-too-slow", 408, "the body did not arrive in time"),
    kind("message-id-reused", 409, "another message of the tenant has this id"),
    kind("message-id-spent", 409, "a message of the tenant has this id, and which can't be told any more"),
    kind("no-dead-letter", 409, "it is no dead letter any more, and what was done with it is something else"),
    kind("another-letter", 409, "the dead letter is another than was looked at"),
    kind(
        "not-replayable",
        409,
        "the dead letter is no message that anybody could act on, or its id is another command's",
    ),
    kind("changed-meanwhile", 409, "someone else was faster; look, and ask again if need be"),
    kind("too-large", 413, "the body is larger than any may be"),
    kind("rate-limited", 429, "the address, the operator or the tenant asks too often"),
    kind("overloaded", 429, "too many commands of the tenant wait"),
    kind("too-many-streams", 429, "too many streams are open: of the process, the address or the operator"),
    kind("internal", 500, "something is wrong on our side"),
    kind("unavailable", 503, "a service can't be reached; nothing happened"),
    kind("outcome-unknown", 504, "it may have happened; the same request again is safe"),
    kind("half-done", 504, "a part of it has happened; the same request again does the rest"),
];

const fn kind(name: &'static str, status: u16, about: &'static str) -> Kind {
    Kind { name, status, about }
}

/// The `type` of the kind called `name`.
pub(super) fn urn(name: &str) -> String {
    format!("urn:tenantry:problem:{name}")
}

/// What clients are told to wait when a service can't be reached, in seconds.
const UNAVAILABLE_RETRY_SECONDS: u64 = 1;

/// One problem, as `application/problem+json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// `urn:tenantry:problem:` and a stable name.
    #[serde(rename = "type")]
    kind: String,
    title: &'static str,
    status: u16,
    /// What happened this time, and what would be right.
    detail: String,
    /// The offending field, as a dotted path, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    #[serde(skip)]
    retry_after_seconds: Option<u64>,
}

impl Problem {
    /// A problem called `name`, one of `KINDS`.
    pub fn new(status: StatusCode, name: &str, title: &'static str, detail: impl ToString) -> Self {
        debug_assert!(
            KINDS.iter().any(|kind| kind.name == name && kind.status == status.as_u16()),
            "{name}, a {status}, is not in KINDS"
        );
        let kind = urn(name);
        let (status, detail) = (status.as_u16(), detail.to_string());
        Self { kind, title, status, detail, field: None, retry_after_seconds: None }
    }

    /// Bad input: 400.
    pub fn invalid(field: &str, problem: impl ToString) -> Self {
        let mut invalid = Self::new(StatusCode::BAD_REQUEST, "invalid", "The request is not valid", problem);
        invalid.field = (!field.is_empty()).then(|| field.to_owned());
        invalid
    }

    /// Whether a body was larger than any may be.
    pub(super) fn is_too_large(&self) -> bool {
        self.status == StatusCode::PAYLOAD_TOO_LARGE.as_u16()
    }

    /// Whether the same request may be answered otherwise a little later: nobody has said no.
    pub(super) fn is_passing(&self) -> bool {
        self.status >= 500 || self.status == StatusCode::TOO_MANY_REQUESTS.as_u16()
    }

    /// What happened, in words.
    pub(super) fn detail(&self) -> &str {
        &self.detail
    }

    /// Says when to come back.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_seconds = Some(seconds);
        self
    }
}

impl From<Refusal> for Problem {
    fn from(Refusal { field, problem }: Refusal) -> Self {
        Self::invalid(&field, problem)
    }
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Unauthenticated(why) => {
                Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", "The operator is not authenticated", why)
            }
            Denied::ApprovalRequired(why) => {
                let detail = format!(
                    "{why}: have exactly this message approved with POST /v1/approvals, then send the same bytes again"
                );
                Self::new(StatusCode::FORBIDDEN, "approval-required", "A second person must approve this", detail)
            }
            Denied::Forbidden(why) => {
                Self::new(StatusCode::FORBIDDEN, "forbidden", "The operator may not do this", why)
            }
        }
    }
}

impl From<CallError> for Problem {
    fn from(error: CallError) -> Self {
        let problem = match error {
            CallError::Failed(why) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable",
                "Nothing happened; try again",
                format!("{why}; nothing was changed, send the same request again"),
            ),
            CallError::Unknown(why) => Self::new(
                StatusCode::GATEWAY_TIMEOUT,
                "outcome-unknown",
                "It may have happened; the same message again is safe",
                format!(
                    "{why}; it may have been accepted: send the same request again, a command with the same message_id"
                ),
            ),
        };
        problem.retry_after(UNAVAILABLE_RETRY_SECONDS)
    }
}

impl From<Limited> for Problem {
    fn from(limited: Limited) -> Self {
        // Never 0: who is told that asks again at once.
        let seconds = limited.retry_after.as_millis().div_ceil(1000).max(1) as u64;
        Self::new(StatusCode::TOO_MANY_REQUESTS, "rate-limited", "Too many requests", limited).retry_after(seconds)
    }
}

impl From<VerifyError> for Problem {
    /// Our own auth's grant did not verify: nothing the operator could mend.
    fn from(error: VerifyError) -> Self {
        match error {
            VerifyError::Unavailable(error) => error.into(),
            error => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Something is wrong on our side", error),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).expect("made from a status");
        let body = serde_json::to_vec(&self).expect("our own types become JSON");
        let mut response = (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response();
        if let Some(seconds) = self.retry_after_seconds {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            // RFC 9110: a 401 names the scheme it wants.
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
