//! The message: exactly the JSON of the panel's contract, read strictly.
//!
//! ```json
//! {"tenant_id": "tenant-123", "user_id": "user-456", "action": "update_billing_limit",
//!  "payload": {"limit_type": "api_requests", "new_limit": 10000},
//!  "message_id": "msg-789", "timestamp": "2024-10-27T10:00:00Z"}
//! ```
//!
//! `schema_version` may be given; absent means 1. Unknown fields, duplicate keys, ids outside the grammar, floats where
//! integers belong and oversized bodies are refused, each refusal naming the field: two readers of one body must never
//! disagree on which tenant it names. The bytes travel untouched from the operator to the audit log; what is parsed here
//! is only ever a reading of them.

use std::borrow::Cow;

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::action::{self, Action};
use crate::ids::{MessageId, TenantId, UserId};
use crate::secret::{CLEAR_MAX_BYTES, Secret};

/// The largest accepted body, in bytes. Payloads are a handful of fields; a frame must hold a batch of them.
pub const MAX_BODY_BYTES: usize = 64 * 1024;

/// The only schema version there is so far.
pub const SCHEMA_VERSION: u64 = 1;

/// Why a body is no message: the field, as a dotted path (empty for the whole body), and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Dotted path of the offending field, such as `payload.new_limit`.
    pub field: String,
    /// What is wrong with it.
    pub problem: String,
}

impl Refusal {
    /// A refusal of `field`.
    pub fn new(field: impl Into<String>, problem: impl ToString) -> Self {
        Self { field: field.into(), problem: problem.to_string() }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.field.is_empty() { f.write_str(&self.problem) } else { write!(f, "{}: {}", self.field, self.problem) }
    }
}

impl std::error::Error for Refusal {}

/// A message as read from its bytes. Nothing in it is proven: only a verified grant makes its tenant trustworthy.
#[derive(Clone)]
pub struct Message {
    /// The tenant it claims to act on.
    pub tenant_id: TenantId,
    /// The operator it claims to come from.
    pub user_id: UserId,
    /// What to do, with its payload.
    pub action: Action,
    /// Unique within the tenant; the key of deduplication.
    pub message_id: MessageId,
    /// When the panel says it was made.
    pub timestamp: Timestamp,
    /// The bytes it was read from.
    pub body: Bytes,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire<'a> {
    tenant_id: TenantId,
    user_id: UserId,
    #[serde(borrow)]
    action: Cow<'a, str>,
    #[serde(borrow)]
    payload: &'a RawValue,
    message_id: MessageId,
    #[serde(borrow)]
    timestamp: Cow<'a, str>,
    #[serde(default, deserialize_with = "given")]
    schema_version: Option<u64>,
}

/// A field that may be absent, but not null.
pub(crate) fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    u64::deserialize(deserializer).map(Some)
}

/// Without the body's bytes: what an operator sent may have a secret in it.
impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { tenant_id, user_id, action, message_id, timestamp, body } = self;
        write!(f, "Message({tenant_id} {user_id} {message_id} {timestamp} {action:?}, {} bytes)", body.len())
    }
}

impl Message {
    /// Reads `body` as it travels and is kept, any secret in it sealed.
    ///
    /// # Errors
    /// The first thing found wrong, with the field it was found in. A secret in clear is refused: nobody behind the
    /// producer may ever see one.
    pub fn parse(body: Bytes) -> Result<Self, Refusal> {
        let message = Self::read(body)?;
        match message.action.secret() {
            Some(Secret::Clear(_)) => Err(Refusal::new("payload.secret", "is in clear; it must be sealed here")),
            Some(Secret::Sealed(_)) | None => Ok(message),
        }
    }

    /// Reads `body` as an operator sends it, any secret in it in clear.
    ///
    /// # Errors
    /// As [`Message::parse`]; but here it is a sealed secret that is refused, for nobody but the producer may seal one.
    pub fn parse_submitted(body: Bytes) -> Result<Self, Refusal> {
        let message = Self::read(body)?;
        match message.action.secret() {
            Some(Secret::Sealed(_)) => {
                Err(Refusal::new("payload.secret", format!("must be a string of 1 to {CLEAR_MAX_BYTES} bytes")))
            }
            Some(Secret::Clear(_)) | None => Ok(message),
        }
    }

    fn read(body: Bytes) -> Result<Self, Refusal> {
        if body.len() > MAX_BODY_BYTES {
            return Err(Refusal::new("", format!("is {} bytes long; the limit is {MAX_BODY_BYTES}", body.len())));
        }
        let wire: Wire<'_> = strict_object(&body, "")?;
        let version = wire.schema_version.unwrap_or(SCHEMA_VERSION);
        if version != SCHEMA_VERSION {
            return Err(Refusal::new("schema_version", format!("is {version}; known is {SCHEMA_VERSION}")));
        }
        let timestamp = instant(&wire.timestamp).map_err(|problem| Refusal::new("timestamp", problem))?;
        let action = action::parse(&wire.action, wire.payload)?;
        let (tenant_id, user_id, message_id) = (wire.tenant_id, wire.user_id, wire.message_id);
        Ok(Self { tenant_id, user_id, action, message_id, timestamp, body })
    }

    /// SHA-256 of the body: what a grant is bound to, and what tells a retry from another command under the same id.
    #[must_use]
    pub fn body_sha256(&self) -> BodyHash {
        body_sha256(&self.body)
    }
}

/// SHA-256 of a body's bytes.
pub type BodyHash = [u8; 32];

/// Hashes a body's bytes.
#[must_use]
pub fn body_sha256(body: &[u8]) -> BodyHash {
    Sha256::digest(body).into()
}

/// Reads a JSON object into a struct. serde would also read an array of the fields' values, without any of their names.
pub(crate) fn strict_object<'a, T: Deserialize<'a>>(json: &'a [u8], prefix: &str) -> Result<T, Refusal> {
    match json.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'{') => strict_json(json, prefix),
        _ => Err(Refusal::new(prefix, "must be a JSON object")),
    }
}

/// Reads JSON into a type that denies unknown fields; the refusal names the field, below `prefix`.
pub(crate) fn strict_json<'a, T: Deserialize<'a>>(json: &'a [u8], prefix: &str) -> Result<T, Refusal> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let problem = error.inner().to_string();
        // serde finds these two after or before the field itself, so the path ends at what should have held it.
        let named = ["missing field `", "duplicate field `"].iter().find_map(|start| problem.strip_prefix(start));
        let named = named.and_then(|rest| rest.split('`').next());
        let path = error.path().to_string();
        let path = if path == "." { "" } else { &path };
        let parts = [prefix, path, named.unwrap_or("")];
        Refusal::new(parts.iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join("."), problem)
    })?;
    deserializer.end().map_err(|error| Refusal::new(prefix, error))?;
    Ok(value)
}

/// RFC 3339 in UTC with the letters `T` and `Z`, to at most nanoseconds: one way to write one instant.
fn instant(text: &str) -> Result<Timestamp, String> {
    let right = "must be an RFC 3339 instant in UTC such as 2024-10-27T10:00:00Z";
    let shaped = text.len() >= 20
        && text.len() <= 30
        && text.bytes().enumerate().all(|(index, byte)| match index {
            4 | 7 => byte == b'-',
            10 => byte == b'T',
            13 | 16 => byte == b':',
            19 if text.len() > 20 => byte == b'.',
            _ if index == text.len() - 1 => byte == b'Z',
            _ => byte.is_ascii_digit(),
        });
    if !shaped {
        return Err(format!("{right}, not {text:?}"));
    }
    text.parse().map_err(|error| format!("{right}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED_EXAMPLE: &str = r#"{
"tenant_id": "tenant-123",
"user_id": "user-456",
"action": "update_billing_limit",
"payload": {
"limit_type": "api_requests",
"new_limit": 10000
},
"message_id": "msg-789",
"timestamp": "2024-10-27T10:00:00Z"
}"#;

    fn refusal(body: &str) -> Refusal {
        Message::parse(Bytes::copy_from_slice(body.as_bytes())).expect_err(body)
    }

    #[test]
    fn the_seed_example_is_accepted_verbatim() {
        let message = Message::parse(Bytes::from_static(SEED_EXAMPLE.as_bytes())).unwrap();
        assert_eq!(message.tenant_id.as_str(), "tenant-123");
        assert_eq!(message.action.name(), "update_billing_limit");
        assert_eq!(message.body, SEED_EXAMPLE);
    }

    #[test]
    fn each_refusal_names_its_field() {
        let cases = [
            (r#""tenant-123""#, r#""Tenant-123""#, "tenant_id"),
            (r#""user-456""#, r#""user 456""#, "user_id"),
            (r#""msg-789""#, "789", "message_id"),
            ("update_billing_limit", "drop_table", "action"),
            ("10000", "10000.0", "payload.new_limit"),
            ("10000", "-1", "payload.new_limit"),
            ("10000", "18446744073709551616", "payload.new_limit"),
            ("10000", "9007199254740993000", "payload.new_limit"),
            ("api_requests", "API", "payload.limit_type"),
            ("2024-10-27T10:00:00Z", "2024-10-27 10:00:00Z", "timestamp"),
            ("2024-10-27T10:00:00Z", "2024-13-27T10:00:00Z", "timestamp"),
            ("2024-10-27T10:00:00Z", "2024-10-27T10:00:00+00:00", "timestamp"),
            (r#""new_limit""#, r#""limit_type": "b", "new_limit""#, "payload.limit_type"),
            (r#""new_limit": 10000"#, r#""limit_type": "b""#, "payload.limit_type"),
            (",\n\"new_limit\": 10000", "", "payload.new_limit"),
            (r#""user_id": "user-456","#, "", "user_id"),
            (r#""new_limit""#, r#""extra": 1, "new_limit""#, "payload.extra"),
            (r#""user_id""#, r#""tenant_id": "tenant-9", "user_id""#, "tenant_id"),
            (r#""user_id""#, r#""schema_version": 2, "user_id""#, "schema_version"),
            (r#""user_id""#, r#""note": "hi", "user_id""#, "note"),
            (r#""user_id""#, r#""schema_version": null, "user_id""#, "schema_version"),
            ("{\n\"limit_type\": \"api_requests\",\n\"new_limit\": 10000\n}", r#"["api_requests", 10000]"#, "payload"),
        ];
        for (from, to, field) in cases {
            assert!(SEED_EXAMPLE.contains(from), "{from} is not in the example");
            let refused = refusal(&SEED_EXAMPLE.replacen(from, to, 1));
            assert_eq!(refused.field, field, "{from} -> {to}: {refused}");
        }
    }

    #[test]
    fn bytes_after_the_message_bad_utf8_and_huge_bodies_are_refused() {
        assert!(refusal(&format!("{SEED_EXAMPLE} {{}}")).problem.contains("trailing"));
        let values = r#"["acme", "ana", "issue_credit", {"amount_minor": 1, "currency": "EUR"}, "m-1", "2024-10-27T10:00:00Z", 1]"#;
        assert_eq!(refusal(values).problem, "must be a JSON object");
        let mut bytes = SEED_EXAMPLE.as_bytes().to_vec();
        bytes[20] = 0xff;
        assert!(Message::parse(bytes.into()).is_err());
        let huge = format!("{SEED_EXAMPLE}{}", " ".repeat(MAX_BODY_BYTES));
        assert!(refusal(&huge).problem.contains("the limit is 65536"));
    }
}
