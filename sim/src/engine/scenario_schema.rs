//! JSON Schema of scenario files, made from the types that are parsed, so that editors complete them and mark misspelt keys.
//!
//! It says which keys there are, what they take and what they are for. What hangs together - a fault's times within the
//! scenario's, a host that the topology has - the parser judges.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema, schema_for};
use serde_json::json;

use crate::engine::fault::KINDS;
use crate::engine::scenario::{Raw, Scenario, Section, Work};

/// The name of a kind of fault, where a file is read as any string.
pub(super) enum KindName {}

impl JsonSchema for KindName {
    fn schema_name() -> Cow<'static, str> {
        "KindName".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "enum": KINDS })
    }
}

impl<T: Section + Default + JsonSchema, W: Work + JsonSchema> Scenario<T, W> {
    /// The schema of a file that [`Scenario::parse`] reads.
    #[must_use]
    pub fn schema() -> Schema {
        let mut schema = schema_for!(Raw<T, W>);
        if let (Some(marks), Some(mark)) = (W::known_marks(), schema.pointer_mut("/properties/sometimes/items")) {
            *mark = json!({ "type": "string", "enum": marks });
        }
        schema
    }
}
