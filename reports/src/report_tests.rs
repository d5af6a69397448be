//! What the report's document promises to those who read it.

use serde_json::Value;

use super::*;
use crate::samples::report::{passed, violated};

fn errors(document: &Value) -> Vec<String> {
    let validator = jsonschema::draft202012::new(&serde_json::to_value(RunReport::schema()).unwrap()).unwrap();
    validator.iter_errors(document).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

#[test]
fn a_report_survives_being_written_down_and_is_what_its_schema_says() {
    for report in [passed(), violated()] {
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(errors(&json), Vec::<String>::new());
        assert_eq!(serde_json::from_value::<RunReport>(json).unwrap(), report);
    }
}

#[test]
fn the_schema_refuses_what_is_no_report() {
    let right = serde_json::to_value(violated()).unwrap();
    let bent = |pointer: &str, value: Value| {
        let mut json = right.clone();
        *json.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer} is missing")) = value;
        json
    };
    for (pointer, value) in [
        ("/time", "wall".into()),
        ("/record/verdict", "fine".into()),
        ("/latency/0/stage", "sent".into()),
        ("/latency/0/counts_virtual_ms", "14x3".into()),
        ("/series/intervals/0/sent", (-1).into()),
        ("/trace/messages/0", serde_json::json!([1, 2, 3])),
        ("/faults/0/from_us", "soon".into()),
    ] {
        assert!(!errors(&bent(pointer, value)).is_empty(), "a bent {pointer} is valid");
    }
}

#[test]
fn a_row_of_the_trace_is_short_and_its_places_are_named() {
    let json = serde_json::to_value(violated().trace).unwrap();
    assert_eq!(json["messages"][0].as_array().unwrap().len(), json["message_columns"].as_array().unwrap().len());
    assert_eq!(json["events"][0].as_array().unwrap().len(), json["event_columns"].as_array().unwrap().len());
}

#[test]
fn half_a_million_events_are_written_and_read() {
    use crate::causal::{Sent, Tracing};
    let mut tracing = Tracing::new(["a", "b"]);
    let ids: Vec<String> = (0..1000).map(|number| format!("m-{number}")).collect();
    for number in 0..250_000_usize {
        let (sent_at, commands) = (VirtualUs(number as u64), std::slice::from_ref(&ids[number % 1000]));
        let received_at = Some(VirtualUs(number as u64 + 2));
        tracing.message(&Sent { from: "a", to: "b", sent_at, received_at, lost: None, carries: "apply", commands });
        tracing.event(sent_at, "b", "ledger.applied", "acme m-1 takes effect".into(), commands);
    }
    let trace = tracing.finish(400_000);
    assert_eq!((trace.messages.len(), trace.events.len(), trace.left_out), (200_000, 200_000, 100_000));
    let json = serde_json::to_vec(&trace).unwrap();
    assert!(json.len() < 25_000_000, "{} bytes", json.len());
    assert_eq!(serde_json::from_slice::<CausalTrace>(&json).unwrap(), trace);
}
