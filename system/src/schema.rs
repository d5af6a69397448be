//! JSON Schemas (draft 2020-12) of what clients send, generated from the very types that read it.
//!
//! A schema can't say everything that is checked: that no key is given twice, that a whole number is written without
//! fraction or exponent, how long the body is. Whoever is right by the schema may still be refused for these.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};

use crate::action::REGISTRY;
use crate::message::{SCHEMA_VERSION, Wire};

/// The name of the message's own schema; every other is named after its action.
pub const MESSAGE: &str = "message";

/// The schema of `T`.
#[must_use]
pub fn of<T: JsonSchema>() -> Schema {
    SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>()
}

/// Every schema with its name: the message's, then each action's payload's.
#[must_use]
pub fn all() -> Vec<(&'static str, Schema)> {
    let payloads = REGISTRY.iter().map(|spec| (spec.name, (spec.schema)()));
    let named = std::iter::once((MESSAGE, of::<Wire<'_>>())).chain(payloads);
    named.map(|(name, schema)| (name, identified(name, schema))).collect()
}

/// The schema's `$id`: the same wherever it is served from.
#[must_use]
pub fn id(name: &str) -> String {
    format!("urn:tenantry:schema:v{SCHEMA_VERSION}:{name}")
}

fn identified(name: &str, mut schema: Schema) -> Schema {
    schema.insert("$id".into(), id(name).into());
    schema
}
