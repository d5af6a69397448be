//! The contract with whoever sends messages: what is taken for ever, what is refused and why, and what the served schemas
//! say of both.

mod golden;
mod refusals;
mod schemas;

use bytes::Bytes;
use tenantry_system::message::{Message, Refusal};

/// The example with which it all began.
const SEED_EXAMPLE: &str = include_str!("../golden/v1/seed_example.json");

/// As the producer reads it.
fn parse(body: impl Into<Vec<u8>>) -> Result<Message, Refusal> {
    Message::parse_submitted(Bytes::from(body.into()))
}

/// As everybody behind the producer reads it.
fn as_queued(body: impl Into<Vec<u8>>) -> Result<Message, Refusal> {
    Message::parse(Bytes::from(body.into()))
}

/// A message with this action and payload.
fn message(action: &str, payload: &str) -> String {
    format!(
        r#"{{"tenant_id":"acme","user_id":"ana","action":"{action}","payload":{payload},"message_id":"m-1","timestamp":"2026-01-01T00:00:00Z"}}"#
    )
}
