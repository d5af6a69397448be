//! The schemas, served: whoever writes a client can check a message before it is sent. They are no secret and want no
//! token.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::{StatusCode, header};
use axum::routing::get;
use axum::{Json, Router};
use bytes::Bytes;
use serde_json::{Value, json};

use super::api::Anyone;
use super::{Problem, Producer};
use crate::message::quoted;
use crate::schema;

/// RFC 6839 and the JSON Schema specification, section 14.
const CONTENT_TYPE: &str = "application/schema+json";

/// The routes, with every schema written out once.
pub(super) fn routes() -> Router<Arc<Producer>> {
    let listed = list();
    let texts: Arc<BTreeMap<&'static str, Bytes>> = Arc::new(schema::all().into_iter().map(written).collect());
    let one = move |_: Anyone, path: Result<Path<String>, PathRejection>| async move {
        let Path(name) = path.map_err(|error| Problem::invalid("name", error.body_text()))?;
        let text = texts.get(name.as_str()).cloned().ok_or_else(|| unknown(&name))?;
        Ok::<_, Problem>(([(header::CONTENT_TYPE, CONTENT_TYPE)], text))
    };
    Router::new()
        .route("/v1/schemas", get(move |_: Anyone| async move { Json(listed) }))
        .route("/v1/schemas/{name}", get(one))
}

fn written((name, schema): (&'static str, schemars::Schema)) -> (&'static str, Bytes) {
    (name, format!("{:#}\n", Value::from(schema)).into())
}

fn list() -> Value {
    let schemas = schema::all()
        .into_iter()
        .map(|(name, _)| json!({"name": name, "id": schema::id(name), "url": format!("/v1/schemas/{name}")}));
    json!({ "schemas": schemas.collect::<Vec<_>>() })
}

fn unknown(name: &str) -> Problem {
    let detail = format!("there is no schema {}; GET /v1/schemas lists them", quoted(name));
    Problem::new(StatusCode::NOT_FOUND, "no-such-schema", "There is no such schema", detail)
}
