//! Errors as RFC 9457 problem details: a stable `type` for programs, words for people.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::auth::Denied;
use crate::call::CallError;
use crate::grant::VerifyError;
use crate::message::Refusal;
use crate::rate_limit::Limited;

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
    /// A problem called `name`.
    pub fn new(status: StatusCode, name: &str, title: &'static str, detail: impl ToString) -> Self {
        let kind = format!("urn:tenantry:problem:{name}");
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
