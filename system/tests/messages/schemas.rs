//! The served schemas say what the parser does: of every example, and of examples bent in every way we could think of.

use std::collections::BTreeMap;

use jsonschema::Validator;
use serde_json::{Value, json};
use tenantry_system::action::REGISTRY;
use tenantry_system::schema;

use super::{SEED_EXAMPLE, message, parse};

fn validators() -> BTreeMap<&'static str, Validator> {
    let validator = |(name, schema): (&'static str, schemars::Schema)| {
        let options = jsonschema::draft202012::options().should_validate_formats(true);
        (name, options.build(&schema.into()).unwrap())
    };
    schema::all().into_iter().map(validator).collect()
}

#[test]
fn the_schemas_are_what_clients_have_been_given() {
    for (name, schema) in schema::all() {
        insta::assert_snapshot!(format!("schema_{name}"), format!("{:#}", Value::from(schema)));
    }
}

#[test]
fn every_schema_is_one_of_draft_2020_12_with_an_id_of_its_own_and_lets_no_unknown_field_through() {
    let mut ids = Vec::new();
    for (name, schema) in schema::all() {
        let schema = Value::from(schema);
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema", "{name}");
        assert_eq!(schema["additionalProperties"], false, "{name}");
        assert!(jsonschema::meta::is_valid(&schema), "{name}");
        ids.push(schema["$id"].as_str().unwrap().to_owned());
    }
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), REGISTRY.len() + 1);
}

#[test]
fn every_example_is_right_by_parser_and_schema() {
    let validators = validators();
    for spec in REGISTRY {
        let payload: Value = serde_json::from_str(spec.example).unwrap();
        assert!(validators[spec.name].is_valid(&payload), "{}: {payload}", spec.name);
        let whole = message(spec.name, spec.example);
        parse(whole.as_str()).unwrap_or_else(|refusal| panic!("{}: {refusal}", spec.name));
        assert!(validators["message"].is_valid(&serde_json::from_str(&whole).unwrap()), "{whole}");
    }
    assert!(validators["message"].is_valid(&serde_json::from_str(SEED_EXAMPLE).unwrap()));
}

/// What any value is replaced by.
fn values() -> Vec<Value> {
    let mut values = vec![json!(null), json!(true), json!([]), json!({}), json!([1]), json!({"a": 1})];
    let texts = [
        "",
        "a",
        "A",
        "eur",
        "EUR",
        "EURO",
        "EU\u{20ac}",
        "seats",
        "a-b",
        "a_b",
        "a.b",
        "..",
        "a\n",
        "\na",
        "a b",
        "a\0",
        "\u{0430}",
        "\u{e9}",
        "e\u{301}",
        "%2e",
        "a/b",
        "a'--",
        "issue_credit",
        "update_billing_limit",
        "none",
        "2024-10-27T10:00:00Z",
        "2024-10-27T10:00:00.5Z",
        "2024-10-27T10:00:00.123456789Z",
        "2024-02-29T00:00:00Z",
        "2023-02-29T00:00:00Z",
        "2024-10-27T24:00:00Z",
        "2016-12-31T23:59:60Z",
        "1969-12-31T23:59:59Z",
        "1970-01-01T00:00:00Z",
        "2024-10-27T10:00:00.Z",
        "2024-10-27T10:00:00z",
        "2024-10-27T10:00:00+00:00",
        "9999-12-30T00:00:00Z",
        "2024-10-27T10:00:00Z\n",
    ];
    values.extend(texts.map(Value::from));
    values.extend([62, 63, 64, 1000].map(|length| Value::from("x".repeat(length))));
    let edges = [0, 1, 1_000_000, 1_000_000_000, 1_000_000_000_000, (1 << 53) - 1, u64::MAX];
    for edge in edges {
        values.extend([json!(edge.saturating_sub(1)), json!(edge), json!(edge.saturating_add(1))]);
    }
    values.extend([json!(-1), json!(i64::MIN), json!(0.5), json!(1.5e300)]);
    values
}

/// Every object that differs from `object` in one member: replaced, gone, or one more.
fn bent(object: &Value) -> Vec<Value> {
    let mut all = Vec::new();
    let names: Vec<_> = object.as_object().unwrap().keys().cloned().collect();
    let also = ["expected_version", "schema_version", "limit_type", "tenant_id", "extra", ""];
    for name in names.iter().map(String::as_str).chain(also) {
        for value in values() {
            let mut changed = object.clone();
            changed[name] = value;
            all.push(changed);
        }
        let mut without = object.clone();
        without.as_object_mut().unwrap().remove(name);
        all.push(without);
    }
    all
}

/// Where parser and schema differ, and why that can't be helped. What else differs is a fault.
const DIFFERENCES: &[(&str, &str)] =
    &[("9999-12-31T23:59:59Z", "the calendar's last day is a day to JSON Schema; our instants end a day before")];

#[test]
fn parser_and_schema_agree_on_every_bent_example() {
    let validators = validators();
    let (mut agreed, mut accepted, mut wrong) = (0, 0, Vec::new());
    let mut compare = |schema: &str, by_schema: &Value, whole: &str| {
        let (valid, parsed) = (validators[schema].is_valid(by_schema), parse(whole));
        if valid == parsed.is_ok() {
            agreed += 1;
            accepted += usize::from(valid);
        } else if !DIFFERENCES.iter().any(|(value, _)| whole.contains(value)) {
            wrong.push(format!("{schema} says {valid}, the parser {:?}: {whole}", parsed.map(|_| "yes")));
        }
    };
    for spec in REGISTRY {
        let payload: Value = serde_json::from_str(spec.example).unwrap();
        let payloads = bent(&payload).into_iter().chain(values());
        let mut twice = Vec::new();
        for payload in payloads {
            let whole = message(spec.name, &payload.to_string());
            compare(spec.name, &payload, &whole);
            compare("message", &serde_json::from_str(&whole).unwrap(), &whole);
            if payload.is_object() && payload.get("limit_type").is_some_and(|name| name == "seats") {
                twice.extend(bent(&payload));
            }
        }
        for payload in twice {
            compare(spec.name, &payload, &message(spec.name, &payload.to_string()));
        }
        let whole: Value = serde_json::from_str(&message(spec.name, spec.example)).unwrap();
        for whole in bent(&whole) {
            compare("message", &whole, &whole.to_string());
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), wrong.len() + agreed, wrong.join("\n"));
    assert!(accepted > 200 && agreed > 10 * accepted, "{accepted} accepted of {agreed}");
}

/// What JSON Schema can't say, because it looks at values and not at their text: the parser is the stricter one.
#[test]
fn what_no_schema_can_say_is_refused_by_the_parser_alone() {
    let validators = validators();
    let credit = |payload: &str| message("issue_credit", payload);
    let stricter = [
        ("a key given twice", credit(r#"{"amount_minor": 1, "amount_minor": 1, "currency": "EUR"}"#)),
        ("a whole number with a fraction", credit(r#"{"amount_minor": 1.0, "currency": "EUR"}"#)),
        ("a whole number with an exponent", credit(r#"{"amount_minor": 1e3, "currency": "EUR"}"#)),
        ("a body that is too long", credit(r#"{"amount_minor": 1, "currency": "EUR"}"#) + &" ".repeat(65_536)),
        ("the last day of the calendar", SEED_EXAMPLE.replace("2024-10-27T10:00:00", "9999-12-31T23:59:59")),
    ];
    for (name, body) in stricter {
        assert!(validators["message"].is_valid(&serde_json::from_str(&body).unwrap()), "{name}: {body}");
        assert!(parse(body).is_err(), "{name}");
    }
}
