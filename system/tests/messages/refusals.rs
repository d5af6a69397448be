//! The corpus of refusals: bodies that are no message, the field each is refused for, and what the sender is told.

use tenantry_system::message::{MAX_BODY_BYTES, Refusal};

use super::{SEED_EXAMPLE, message, parse};

/// The seed example with the first `from` replaced.
fn with(from: &str, to: &str) -> Vec<u8> {
    assert!(SEED_EXAMPLE.contains(from), "{from} is not in the example");
    SEED_EXAMPLE.replacen(from, to, 1).into()
}

/// The seed example with other text for its tenant.
fn tenant(json: &str) -> Vec<u8> {
    with(r#""tenant-123""#, json)
}

fn limit(json: &str) -> Vec<u8> {
    with("10000", json)
}

fn time(text: &str) -> Vec<u8> {
    with("2024-10-27T10:00:00Z", text)
}

/// An `issue_credit` with this payload.
fn credit(payload: &str) -> Vec<u8> {
    message("issue_credit", payload).into()
}

/// The seed example with bytes, rather than text, for its tenant.
fn raw(bytes: &[u8]) -> Vec<u8> {
    let place = SEED_EXAMPLE.find("tenant-123").unwrap();
    [&SEED_EXAMPLE.as_bytes()[..place], bytes, &SEED_EXAMPLE.as_bytes()[place + 10..]].concat()
}

/// (name, body, field, part of what is wrong).
type Row = (&'static str, Vec<u8>, &'static str, &'static str);

const WHOLE: &str = "must be a whole number from 0 to 1000000000000, without fraction or exponent";
const RIGHT_TIME: &str = "must be an RFC 3339 instant in UTC such as 2024-10-27T10:00:00Z";
const LETTERS: &str = "allowed are lowercase ASCII letters, digits and '-'";

#[expect(clippy::too_many_lines, reason = "a table")]
fn table() -> Vec<Row> {
    let deep = |levels| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
    let payload = |json: &str| with("{\n\"limit_type\": \"api_requests\",\n\"new_limit\": 10000\n}", json);
    vec![
        // The whole body.
        ("nothing", Vec::new(), "", "must be a JSON object"),
        ("blanks", b" \n\t".to_vec(), "", "must be a JSON object"),
        ("an empty object", b"{}".to_vec(), "tenant_id", "is missing"),
        ("null", b"null".to_vec(), "", "must be a JSON object"),
        (
            "an array of the values",
            br#"["acme", "ana", "issue_credit", {}, "m-1", "2024-10-27T10:00:00Z"]"#.to_vec(),
            "",
            "must be a JSON object",
        ),
        ("a byte order mark", [b"\xef\xbb\xbf", SEED_EXAMPLE.as_bytes()].concat(), "", "byte order mark"),
        ("UTF-16", SEED_EXAMPLE.encode_utf16().flat_map(u16::to_le_bytes).collect(), "", "is no JSON"),
        ("cut off", SEED_EXAMPLE.as_bytes()[..60].to_vec(), "", "is no JSON: EOF"),
        ("two messages", [SEED_EXAMPLE, SEED_EXAMPLE].concat().into(), "", "is no JSON: trailing characters"),
        ("a NUL after it", [SEED_EXAMPLE.as_bytes(), b"\0"].concat(), "", "is no JSON: trailing characters"),
        ("a comma too many", with("00Z\"\n}", "00Z\",\n}"), "", "is no JSON: trailing comma"),
        ("a comment", with("{\n", "{ // hi\n"), "", "is no JSON: key must be a string"),
        ("single quotes", with("\"tenant_id\"", "'tenant_id'"), "", "is no JSON: key must be a string"),
        ("too long", format!("{SEED_EXAMPLE}{}", " ".repeat(MAX_BODY_BYTES)).into(), "", "the limit is 65536"),
        ("deep arrays alone", deep(30_000).into(), "", "must be a JSON object"),
        // Fields that should not be there, are missing, or are there twice.
        (
            "an unknown field",
            with("{\n", "{\"note\": 1,"),
            "note",
            "is unknown; known is one of `tenant_id`, `user_id`",
        ),
        ("a field in capitals", with("\"tenant_id\"", "\"TENANT_ID\""), "TENANT_ID", "is unknown"),
        ("a field with a blank", with("\"tenant_id\"", "\"tenant_id \""), "tenant_id ", "is unknown"),
        ("an empty field name", with("{\n", "{\"\": 1,"), "", "is unknown; known is one of"),
        ("a field of prototypes", with("{\n", "{\"__proto__\": {},"), "__proto__", "is unknown"),
        ("no user", with("\"user_id\": \"user-456\",", ""), "user_id", "is missing"),
        ("no action", with("\"action\": \"update_billing_limit\",", ""), "action", "is missing"),
        ("no payload", message("issue_credit", "{}").replace("\"payload\":{},", "").into(), "payload", "is missing"),
        ("no message id", with("\"message_id\": \"msg-789\",", ""), "message_id", "is missing"),
        ("no timestamp", with(",\n\"timestamp\": \"2024-10-27T10:00:00Z\"", ""), "timestamp", "is missing"),
        ("two tenants", with("\"user_id\"", "\"tenant_id\": \"acme\", \"user_id\""), "tenant_id", "is given twice"),
        (
            "two equal tenants",
            with("\"user_id\"", "\"tenant_id\": \"tenant-123\", \"user_id\""),
            "tenant_id",
            "is given twice",
        ),
        (
            "two tenants, one escaped",
            with("\"user_id\"", r#""tenant\u005fid": "acme", "user_id""#),
            "tenant_id",
            "is given twice",
        ),
        ("two users", with("\"action\"", "\"user_id\": \"root\", \"action\""), "user_id", "is given twice"),
        ("two actions", with("\"payload\"", "\"action\": \"issue_credit\", \"payload\""), "action", "is given twice"),
        ("two payloads", with("\"message_id\"", "\"payload\": {}, \"message_id\""), "payload", "is given twice"),
        (
            "two message ids",
            with("\"timestamp\"", "\"message_id\": \"m-2\", \"timestamp\""),
            "message_id",
            "is given twice",
        ),
        (
            "two limit types",
            with("\"new_limit\"", "\"limit_type\": \"seats\", \"new_limit\""),
            "payload.limit_type",
            "is given twice",
        ),
        ("two limits, one escaped", with("10000", r#"1, "new\u005flimit": 2"#), "payload.new_limit", "is given twice"),
        // Identifiers.
        ("an empty tenant", tenant(r#""""#), "tenant_id", "must be 1 to 63 characters long, not 0"),
        (
            "a long tenant",
            tenant(&format!("\"{}\"", "a".repeat(64))),
            "tenant_id",
            "must be 1 to 63 characters long, not 64",
        ),
        ("64 KiB of tenant", tenant(&format!("\"{}\"", "a".repeat(60_000))), "tenant_id", "not 60000"),
        ("a capital", tenant(r#""Tenant-123""#), "tenant_id", LETTERS),
        ("a blank before", tenant(r#"" tenant-123""#), "tenant_id", LETTERS),
        ("a blank after", tenant(r#""tenant-123 ""#), "tenant_id", LETTERS),
        ("an underscore", tenant(r#""tenant_123""#), "tenant_id", LETTERS),
        ("a path", tenant(r#""../tenant-9""#), "tenant_id", LETTERS),
        ("an escaped slash", tenant(r#""a\/b""#), "tenant_id", "has '/' as character 2"),
        ("SQL", tenant(r#""a'; drop table limits;--""#), "tenant_id", LETTERS),
        ("percent encoding", tenant(r#""tenant%2d123""#), "tenant_id", LETTERS),
        ("a Cyrillic look-alike", tenant("\"\u{0442}enant-123\""), "tenant_id", "as character 1"),
        ("a full-width digit", tenant("\"tenant-12\u{ff13}\""), "tenant_id", LETTERS),
        ("a zero-width joiner", tenant("\"tenant\u{200d}-123\""), "tenant_id", LETTERS),
        ("a right-to-left override", tenant("\"\u{202e}tenant\""), "tenant_id", LETTERS),
        ("an escaped NUL", tenant(r#""tenant-123\u0000""#), "tenant_id", "has '\\0' as character 11"),
        ("a bare NUL", raw(b"tenant\0"), "tenant_id", "is no JSON: control character"),
        ("a bare line feed", raw(b"tenant\n"), "tenant_id", "is no JSON: control character"),
        ("a lone surrogate", tenant(r#""\ud800""#), "tenant_id", "is no JSON"),
        (
            "surrogates the wrong way round",
            tenant(r#""\udc00\ud800""#),
            "tenant_id",
            "is no JSON: lone leading surrogate",
        ),
        ("an unknown escape", tenant(r#""\x41""#), "tenant_id", "is no JSON: invalid escape"),
        ("a byte that is no UTF-8", raw(b"tenant\xff"), "tenant_id", "is no JSON: invalid unicode code point"),
        ("an overlong encoding", raw(b"tenant\xc0\xad123"), "tenant_id", "is no JSON: invalid unicode code point"),
        ("an encoded surrogate", raw(b"\xed\xa0\x80"), "tenant_id", "is no JSON: invalid unicode code point"),
        ("a number for a tenant", tenant("123"), "tenant_id", "must be a string, not a number"),
        ("null for a tenant", tenant("null"), "tenant_id", "must be a string, not null"),
        ("an array for a tenant", tenant(r#"["tenant-123"]"#), "tenant_id", "must be a string, not an array"),
        ("an object for a tenant", tenant(r#"{"$ne": ""}"#), "tenant_id", "must be a string, not an object"),
        ("deep arrays for a tenant", tenant(&deep(30_000)), "tenant_id", "must be a string, not an array"),
        ("a blank in the user", with("user-456", "user 456"), "user_id", LETTERS),
        ("a number for a message id", with("\"msg-789\"", "789"), "message_id", "must be a string, not a number"),
        ("a colon in the message id", with("msg-789", "msg:789"), "message_id", LETTERS),
        // The action and its payload.
        (
            "an unknown action",
            with("update_billing_limit", "drop_table"),
            "action",
            "\"drop_table\" is unknown; known are update_billing_limit",
        ),
        ("an action in capitals", with("update_billing_limit", "Update_Billing_Limit"), "action", "is unknown"),
        ("a list for an action", with("\"update_billing_limit\"", "[]"), "action", "must be a string, not an array"),
        ("null for a payload", payload("null"), "payload", "must be a JSON object"),
        ("a text for a payload", payload(r#""{}""#), "payload", "must be a JSON object"),
        ("an array for a payload", payload(r#"["api_requests", 10000]"#), "payload", "must be a JSON object"),
        ("an empty payload", payload("{}"), "payload.limit_type", "is missing"),
        (
            "an unknown field in it",
            with("10000", "10000, \"unit\": \"a\""),
            "payload.unit",
            "is unknown; known is one of `limit_type`",
        ),
        ("a tenant in it", with("10000", "10000, \"tenant_id\": \"acme\""), "payload.tenant_id", "is unknown"),
        (
            "deep arrays in it",
            payload(&format!("{{\"limit_type\": {}}}", deep(8))),
            "payload",
            "nests 9 levels deep; the limit is 8",
        ),
        (
            "deeper than any stack",
            payload(&format!("{{\"limit_type\": {}}}", deep(30_000))),
            "payload",
            "nests 30001 levels deep",
        ),
        (
            "deep objects in it",
            payload(&format!("{}1{}", "{\"a\":".repeat(9_000), "}".repeat(9_000))),
            "payload",
            "nests 9000 levels deep",
        ),
        (
            "an object for a name",
            with("\"api_requests\"", "{\"a\": {}}"),
            "payload.limit_type",
            "must be a string, not an object",
        ),
        ("a capital in a name", with("api_requests", "API"), "payload.limit_type", "has 'A' as character 1"),
        (
            "bad UTF-8 in it",
            [b"{\"payload\": {\"a\": \"\xff\"}".as_slice(), b"}"].concat(),
            "payload",
            "is no JSON: invalid unicode code point",
        ),
        ("a lone surrogate in it", with("api_requests", r"\ud800"), "payload.limit_type", "is no JSON"),
        ("no limit", with(",\n\"new_limit\": 10000", ""), "payload.new_limit", "is missing"),
        (
            "an empty entitlement",
            message("grant_entitlement", r#"{"entitlement": ""}"#).into(),
            "payload.entitlement",
            "must be 1 to 63",
        ),
        ("no entitlement", message("revoke_entitlement", "{}").into(), "payload.entitlement", "is missing"),
        (
            "a credit of another case",
            credit(r#"{"amount_minor": 1, "currency": "eur"}"#),
            "payload.currency",
            "three capital letters such as EUR",
        ),
        (
            "a currency that is none",
            credit(r#"{"amount_minor": 1, "currency": "\u20ac"}"#),
            "payload.currency",
            "three capital letters",
        ),
        (
            "no credit",
            credit(r#"{"amount_minor": 0, "currency": "EUR"}"#),
            "payload.amount_minor",
            "is 0; must be a whole number from 1 to 1000000000",
        ),
        (
            "too much credit",
            credit(r#"{"amount_minor": 1000000001, "currency": "EUR"}"#),
            "payload.amount_minor",
            "is 1000000001; must be",
        ),
        (
            "a currency that there is not",
            credit(r#"{"amount_minor": 1, "currency": "EUX"}"#),
            "payload.currency",
            "is EUX, which is no currency of ISO 4217",
        ),
        (
            "a limit's currency that there is not",
            with("10000", r#"10000, "currency": "XXX""#),
            "payload.currency",
            "is XXX, which is no currency of ISO 4217",
        ),
        // Numbers.
        ("a fraction", limit("10000.5"), "payload.new_limit", WHOLE),
        ("a fraction of nothing", limit("10000.0"), "payload.new_limit", WHOLE),
        ("an exponent", limit("1e5"), "payload.new_limit", WHOLE),
        ("a capital exponent", limit("1E5"), "payload.new_limit", WHOLE),
        ("beyond any float", limit("1e400"), "payload.new_limit", "is no JSON: number out of range"),
        ("a negative number", limit("-1"), "payload.new_limit", WHOLE),
        ("a negative nothing", limit("-0"), "payload.new_limit", WHOLE),
        ("a leading zero", limit("007"), "payload", "is no JSON: invalid number"),
        ("a leading plus", limit("+7"), "payload", "is no JSON: expected value"),
        ("hexadecimal", limit("0x7"), "payload", "is no JSON"),
        ("not a number", limit("NaN"), "payload", "is no JSON"),
        ("infinity", limit("Infinity"), "payload", "is no JSON"),
        ("above the ceiling", limit("1000000000001"), "payload.new_limit", "is 1000000000001; must be a whole number"),
        ("2^53 + 1", limit("9007199254740993"), "payload.new_limit", WHOLE),
        ("2^64", limit("18446744073709551616"), "payload.new_limit", WHOLE),
        ("a thousand digits", limit(&"9".repeat(1000)), "payload.new_limit", "number out of range"),
        ("a number as text", limit("\"10000\""), "payload.new_limit", "without fraction or exponent, not a string"),
        ("true for a number", limit("true"), "payload.new_limit", "not true or false"),
        ("null for a number", limit("null"), "payload.new_limit", "not null"),
        (
            "a version beyond 2^53",
            limit("1, \"expected_version\": 9007199254740992"),
            "payload.expected_version",
            "must be a whole number from 0 to 9007199254740991",
        ),
        ("null for an absent field", limit("1, \"expected_version\": null"), "payload.expected_version", "not null"),
        ("a later schema", with("{\n", "{\"schema_version\": 2,"), "schema_version", "is 2; must be the number 1"),
        ("schema 0", with("{\n", "{\"schema_version\": 0,"), "schema_version", "is 0; must be the number 1"),
        ("schema 1.0", with("{\n", "{\"schema_version\": 1.0,"), "schema_version", "must be the number 1"),
        (
            "a null schema",
            with("{\n", "{\"schema_version\": null,"),
            "schema_version",
            "must be the number 1, not null",
        ),
        // Timestamps.
        ("a blank for T", time("2024-10-27 10:00:00Z"), "timestamp", RIGHT_TIME),
        ("small letters", time("2024-10-27t10:00:00z"), "timestamp", RIGHT_TIME),
        ("another zone", time("2024-10-27T12:00:00+02:00"), "timestamp", RIGHT_TIME),
        ("UTC as an offset", time("2024-10-27T10:00:00+00:00"), "timestamp", RIGHT_TIME),
        ("no zone", time("2024-10-27T10:00:00"), "timestamp", RIGHT_TIME),
        ("a day", time("2024-10-27"), "timestamp", RIGHT_TIME),
        ("a comma for the point", time("2024-10-27T10:00:00,5Z"), "timestamp", RIGHT_TIME),
        ("a point without digits", time("2024-10-27T10:00:00.Z"), "timestamp", RIGHT_TIME),
        ("ten digits of a second", time("2024-10-27T10:00:00.0123456789Z"), "timestamp", RIGHT_TIME),
        ("the 13th month", time("2024-13-27T10:00:00Z"), "timestamp", "there is no such day or hour"),
        ("the 30th of February", time("2024-02-30T10:00:00Z"), "timestamp", "there is no such day or hour"),
        ("the 29th of February in a common year", time("2023-02-29T10:00:00Z"), "timestamp", "there is no such day"),
        ("the 25th hour", time("2024-10-27T24:00:00Z"), "timestamp", "there is no such day or hour"),
        ("the 61st minute", time("2024-10-27T10:60:00Z"), "timestamp", "there is no such day or hour"),
        ("a leap second", time("2016-12-31T23:59:60Z"), "timestamp", "leap seconds are not taken"),
        ("the 62nd second", time("2016-12-31T23:59:61Z"), "timestamp", "there is no such day or hour"),
        ("the year 0", time("0000-01-01T00:00:00Z"), "timestamp", "from 1970 on"),
        ("before 1970", time("1969-12-31T23:59:59Z"), "timestamp", "from 1970 on"),
        ("the year 10000", time("10000-01-01T00:00:00Z"), "timestamp", RIGHT_TIME),
        ("the last instant of 9999", time("9999-12-31T23:59:59Z"), "timestamp", "there is no such day or hour"),
        ("a negative year", time("-2024-10-27T10:00:00Z"), "timestamp", RIGHT_TIME),
        ("digits of another script", time("\u{0662}\u{0660}\u{0662}\u{0664}-10-27T10:00:00Z"), "timestamp", RIGHT_TIME),
        (
            "seconds since 1970",
            with("\"2024-10-27T10:00:00Z\"", "1730023200"),
            "timestamp",
            "must be a string, not a number",
        ),
        ("a NUL in it", time(r"2024-10-27T10:00:00\u0000Z"), "timestamp", RIGHT_TIME),
        ("a long one", time(&"2".repeat(50_000)), "timestamp", RIGHT_TIME),
    ]
}

#[test]
fn every_refusal_names_the_field_and_says_what_is_wrong() {
    let mut wrong = Vec::new();
    for (name, body, field, problem) in table() {
        match parse(body) {
            Err(refusal) if refusal.field == field && refusal.problem.contains(problem) => {}
            Err(refusal) => wrong.push(format!("{name}: wanted {field:?}, {problem:?}; got {refusal:?}")),
            Ok(_) => wrong.push(format!("{name}: was accepted")),
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), table().len(), wrong.join("\n"));
}

#[test]
fn every_row_of_the_table_has_a_name_of_its_own() {
    let names: std::collections::BTreeSet<_> = table().into_iter().map(|row| row.0).collect();
    assert_eq!(names.len(), table().len());
    assert!(names.len() >= 60);
}

#[test]
fn no_refusal_speaks_rust_or_is_long() {
    for (name, body, ..) in table() {
        let Refusal { field, problem } = parse(body).unwrap_err();
        for word in ["u64", "i64", "f64", "struct ", "sequence", "map", "floating point", "`Option`", "RawValue"] {
            assert!(!problem.contains(word), "{name}: {problem}");
        }
        assert!(problem.len() <= 250 && field.len() <= 250, "{name}: {field}: {problem}");
    }
}

/// A payload field may hold a secret: whatever is wrong with it, the error that goes to logs and dead letters is silent
/// about its value.
#[test]
fn no_value_of_a_payload_is_ever_repeated() {
    const SECRET: &str = "hunter2hunter2";
    let number = "4711471147114711";
    for action in ["update_billing_limit", "grant_entitlement", "issue_credit", "none-such"] {
        for field in ["limit_type", "new_limit", "entitlement", "amount_minor", "currency", "secret"] {
            for value in [
                format!("\"{SECRET}\\u0000\""),
                format!("\"{SECRET}, expected u64 at line 1 column 1\""),
                format!("[\"{SECRET}\"]"),
                format!("{{\"a\": \"{SECRET}\"}}"),
                format!("-{number}"),
                format!("{number}.5"),
            ] {
                let payload = format!("{{\"limit_type\": \"seats\", \"{field}\": {value}}}");
                let refusal = parse(message(action, &payload)).unwrap_err().to_string();
                assert!(!refusal.contains("hunter2"), "{action}, {field}: {refusal}");
                assert!(!refusal.contains("4711"), "{action}, {field}: {refusal}");
            }
        }
    }
}

#[test]
fn a_long_or_unprintable_field_name_is_cut_and_escaped() {
    let long = parse(with("{\n", &format!("{{\"{}\": 1,", "n".repeat(50_000)))).unwrap_err();
    assert_eq!(long.field, format!("{}\u{2026}", "n".repeat(40)));
    assert!(long.problem.starts_with("is unknown; known is one of"), "{long}");
    let bell = parse(with("{\n", "{\"\\u0007\\u001b[31m`, expected nothing\": 1,")).unwrap_err();
    assert_eq!(bell.field, "\\u{7}\\u{1b}[31m`, expected nothing");
    assert!(bell.problem.starts_with("is unknown; known is one of `tenant_id`"), "{bell}");
}
