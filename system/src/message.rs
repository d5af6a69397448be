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
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::error::Category;
use serde_json::value::RawValue;
use serde_path_to_error::Segment;
use sha2::{Digest, Sha256};

use crate::action::{self, Action};
use crate::ids::{MessageId, TenantId, UserId};
use crate::secret::{CLEAR_MAX_BYTES, Secret, withhold_secret};
use crate::whole::Whole;

/// The largest accepted body, in bytes. Payloads are a handful of fields; a frame must hold a batch of them.
pub const MAX_BODY_BYTES: usize = 64 * 1024;

/// The only schema version there is so far.
pub const SCHEMA_VERSION: u64 = 1;

/// How deep a payload may nest: objects and arrays within each other, itself included. None needs more than two; what is
/// deeper is meant for someone's stack.
pub const MAX_PAYLOAD_DEPTH: usize = 8;

/// How much of what a sender wrote is quoted back to them, in characters. An error is to be read, and it is logged.
const QUOTED_MAX: usize = 40;

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

/// A command of the operations panel, on one tenant.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Tenantry message", transform = action::describe_payloads)]
pub(crate) struct Wire<'a> {
    /// The tenant to act on.
    tenant_id: TenantId,
    /// The operator who asks: the subject of the token it is sent with.
    user_id: UserId,
    /// What to do.
    #[serde(borrow)]
    #[schemars(schema_with = "action::names_schema")]
    action: Cow<'a, str>,
    /// The action's own fields.
    #[serde(borrow)]
    #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
    payload: &'a RawValue,
    /// Unique within the tenant; a retry reuses it.
    message_id: MessageId,
    /// When it was made.
    timestamp: Instant,
    /// The version of this schema; absent means 1.
    #[expect(dead_code, reason = "there is only one so far, and its type refuses any other")]
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "Whole<SCHEMA_VERSION, SCHEMA_VERSION>")]
    schema_version: Option<Whole<SCHEMA_VERSION, SCHEMA_VERSION>>,
}

/// A field that may be absent, but not null.
pub(crate) fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
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
            Some(Secret::Withheld) => Err(Refusal::new("payload.secret", "is withheld; it must be sealed here")),
            Some(Secret::Sealed(_)) | None => Ok(message),
        }
    }

    /// Reads `body` as it is shown to who only looks at it, any secret left out of it.
    ///
    /// # Errors
    /// As [`Message::parse`]; here any secret at all is refused.
    pub fn parse_withheld(body: Bytes) -> Result<Self, Refusal> {
        let message = Self::read(body)?;
        match message.action.secret() {
            Some(Secret::Clear(_) | Secret::Sealed(_)) => {
                Err(Refusal::new("payload.secret", "stands here; it must be left out"))
            }
            Some(Secret::Withheld) | None => Ok(message),
        }
    }

    /// The same message without its secret, if it has one.
    ///
    /// # Errors
    /// As [`Message::parse_withheld`]: never for a message that was read.
    pub(crate) fn withheld(&self) -> Result<Self, Refusal> {
        match self.action.secret() {
            None => Ok(self.clone()),
            Some(_) => Self::parse_withheld(withhold_secret(&self.body).unwrap_or_default()),
        }
    }

    /// Reads `body` as an operator sends it, any secret in it in clear.
    ///
    /// # Errors
    /// As [`Message::parse`]; but here it is a sealed secret that is refused, for nobody but the producer may seal one.
    pub fn parse_submitted(body: Bytes) -> Result<Self, Refusal> {
        let message = Self::read(body)?;
        match message.action.secret() {
            Some(secret @ (Secret::Sealed(_) | Secret::Withheld)) => {
                let is = if matches!(secret, Secret::Withheld) { "is withheld" } else { "is sealed already" };
                let problem = format!("{is}; must be a string of 1 to {CLEAR_MAX_BYTES} bytes");
                Err(Refusal::new("payload.secret", problem))
            }
            Some(Secret::Clear(_)) | None => Ok(message),
        }
    }

    fn read(body: Bytes) -> Result<Self, Refusal> {
        if body.len() > MAX_BODY_BYTES {
            return Err(Refusal::new("", format!("is {} bytes long; the limit is {MAX_BODY_BYTES}", body.len())));
        }
        let wire: Wire<'_> = strict_object(&body, "")?;
        let Wire { tenant_id, user_id, message_id, timestamp: Instant(timestamp), .. } = wire;
        let action = action::parse(&wire.action, wire.payload)?;
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
        Some(b'\xef') if json.starts_with(b"\xef\xbb\xbf") => {
            Err(Refusal::new(prefix, "must be a JSON object, without a byte order mark before it"))
        }
        _ => Err(Refusal::new(prefix, "must be a JSON object")),
    }
}

/// Reads JSON into a type that denies unknown fields; the refusal names the field, below `prefix`.
pub(crate) fn strict_json<'a, T: Deserialize<'a>>(json: &'a [u8], prefix: &str) -> Result<T, Refusal> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let (named, problem) = in_our_words(error.inner());
        // A key that could not be read has no name.
        let path = error.path().iter().filter(|part| !matches!(part, Segment::Unknown));
        let parts = std::iter::once(prefix.into()).chain(path.map(|part| shown(&part.to_string()))).chain([named]);
        let field = parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join(".");
        Refusal::new(field, problem)
    })?;
    deserializer.end().map_err(|error| Refusal::new(prefix, in_our_words(&error).1))?;
    // Of what a type passes over, serde_json does not look at the characters.
    std::str::from_utf8(json).map_err(|error| Refusal::new(prefix, format!("is no UTF-8: {error}")))?;
    Ok(value)
}

/// What serde_json found, without the names of Rust's types and without the value: it may be long, or a secret. Where the
/// error's path ends at what should have held a field, the field's name comes first.
fn in_our_words(error: &serde_json::Error) -> (String, String) {
    let place = format!(" at line {} column {}", error.line(), error.column());
    let text = error.to_string();
    if error.classify() != Category::Data {
        return (String::new(), format!("is no JSON: {text}"));
    }
    // The field is named, and a place in a payload would be counted from the payload's own beginning.
    let text = text.strip_suffix(&place).unwrap_or(&text);
    let name = |start| text.strip_prefix(start).and_then(|rest: &str| rest.split('`').next()).map(str::to_owned);
    let expected = |mark| text.rsplit_once(mark).map_or("nothing", |(_, expected)| expected);
    if let Some(name) = name("missing field `") {
        (name, "is missing".into())
    } else if let Some(name) = name("duplicate field `") {
        (name, "is given twice".into())
    } else if text.starts_with("unknown field `") {
        (String::new(), format!("is unknown; known is {}", expected("`, expected ")))
    } else if text.starts_with("unknown variant `") {
        (String::new(), format!("is unknown; must be {}", expected("`, expected ")))
    } else if let Some(found) = text.strip_prefix("invalid type: ") {
        let expected = plain(expected(", expected "));
        match json_type(found) {
            // The number is what is wrong with it: too large, too small, or no whole one.
            "a number" if expected.contains("number") => (String::new(), format!("must be {expected}")),
            found => (String::new(), format!("must be {expected}, not {found}")),
        }
    } else if text.starts_with("invalid value: ") || text.starts_with("invalid length ") {
        (String::new(), format!("must be {}", plain(expected(", expected "))))
    } else {
        (String::new(), text.into())
    }
}

/// What serde expected, where it says so in Rust.
fn plain(expected: &str) -> &str {
    match expected {
        "i8" | "i16" | "i32" | "i64" | "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number",
        "a boolean" => "true or false",
        "a sequence" => "an array",
        expected if expected.starts_with("struct ") || expected == "a map" => "an object",
        expected if expected.starts_with("a tuple ") => "an array",
        expected => expected,
    }
}

/// What serde found, as JSON calls it.
fn json_type(found: &str) -> &'static str {
    let types = [
        ("string", "a string"),
        ("floating point", "a number"),
        ("integer", "a number"),
        ("number", "a number"),
        ("boolean", "true or false"),
        ("null", "null"),
        ("sequence", "an array"),
        ("map", "an object"),
    ];
    types.iter().find(|(start, _)| found.starts_with(start)).map_or("that", |(_, name)| name)
}

/// The beginning of what a sender wrote, fit to be shown.
pub(crate) fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(QUOTED_MAX).flat_map(char::escape_debug).collect();
    if text.chars().nth(QUOTED_MAX).is_some() {
        shown.push('\u{2026}');
    }
    shown
}

/// The same in quotation marks. Not for fields that may hold a secret.
pub(crate) fn quoted(text: &str) -> String {
    format!("\"{}\"", shown(text))
}

/// How deep a JSON text nests: objects and arrays within each other.
pub(crate) fn depth(json: &str) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0usize, 0, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// An instant as a message writes it.
struct Instant(Timestamp);

impl<'de> Deserialize<'de> for Instant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        instant(&text).map(Self).map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Instant {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Instant".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let pattern = "^(19[7-9][0-9]|[2-9][0-9]{3})-[0-9]{2}-[0-9]{2}\
            T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,9})?Z$";
        json_schema!({"type": "string", "format": "date-time", "pattern": pattern})
    }
}

/// RFC 3339 in UTC with the letters `T` and `Z`, from 1970 on, to at most nanoseconds. No leap second: a reader that knows
/// none would take it for the second before or after.
fn instant(text: &str) -> Result<Timestamp, String> {
    let right = "must be an RFC 3339 instant in UTC such as 2024-10-27T10:00:00Z";
    let shaped = text.len() >= 20
        && text.len() <= 30
        && text.len() != 21
        && text.bytes().enumerate().all(|(index, byte)| match index {
            4 | 7 => byte == b'-',
            10 => byte == b'T',
            13 | 16 => byte == b':',
            19 if text.len() > 20 => byte == b'.',
            _ if index == text.len() - 1 => byte == b'Z',
            _ => byte.is_ascii_digit(),
        });
    if !shaped {
        return Err(format!("{right}, not {}", quoted(text)));
    }
    if &text[17..19] == "60" {
        return Err(format!("{right}; leap seconds are not taken"));
    }
    if &text[..4] < "1970" {
        return Err(format!("{right}, from 1970 on"));
    }
    text.parse().map_err(|_| format!("{right}, not {}: there is no such day or hour", quoted(text)))
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

    #[test]
    fn bad_utf8_is_refused_even_where_nobody_looks() {
        #[derive(Debug, Deserialize)]
        struct Some {
            a: u8,
        }
        assert_eq!(strict_json::<Some>(br#"{"a": 1, "b": "c"}"#, "").unwrap().a, 1);
        let refused = strict_json::<Some>(b"{\"a\": 1, \"b\": \"\xff\"}", "").unwrap_err();
        assert!(refused.problem.starts_with("is no UTF-8"), "{refused}");
    }
}
