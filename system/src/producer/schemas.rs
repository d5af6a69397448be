//! The schemas, served: whoever writes a client can check a message before it is sent. They are no secret and want no
//! token.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::{StatusCode, header};
use bytes::Bytes;
use serde_json::{Value, json};

use super::Problem;
use super::openapi::{self, Endpoint, object, text};
use crate::message::quoted;
use crate::schema;

/// RFC 6839 and the JSON Schema specification, section 14.
const CONTENT_TYPE: &str = "application/schema+json";

/// The endpoints, with every schema written out once.
pub(super) fn endpoints() -> Vec<Endpoint> {
    let listed = list();
    let texts: Arc<BTreeMap<&'static str, Bytes>> = Arc::new(schema::all().into_iter().map(written).collect());
    let one = move |path: Result<Path<String>, PathRejection>| async move {
        let Path(name) = path.map_err(|error| Problem::invalid("name", error.body_text()))?;
        let text = texts.get(name.as_str()).cloned().ok_or_else(|| unknown(&name))?;
        Ok::<_, Problem>(([(header::CONTENT_TYPE, CONTENT_TYPE)], text))
    };
    let schema = object(json!({"name": text(), "id": text(), "url": text()}));
    vec![
        Endpoint::get("/v1/schemas", "listSchemas", move || async move { Json(listed) })
            .about("The JSON Schemas of what clients send", "")
            .tagged("Schemas")
            .open()
            .answers(200, "All of them", object(json!({"schemas": openapi::list(schema)}))),
        Endpoint::get("/v1/schemas/{name}", "readSchema", one)
            .about("One JSON Schema (draft 2020-12)", "Of the message, or of an action's payload.")
            .tagged("Schemas")
            .open()
            .answers_as(200, "The schema", CONTENT_TYPE, json!({"type": "object", "required": ["$schema", "$id"]}))
            .refuses(&["no-such-schema"]),
    ]
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::body::Body;
    use axum::http::Request;
    use http_body_util::BodyExt;
    use hyper::service::Service;
    use hyper_util::service::TowerToHyperService;

    use axum::Router;

    use super::*;
    use crate::action::REGISTRY;
    use crate::broker::{EmbeddedBroker, Limits};
    use crate::producer::Producer;
    use crate::producer::http::Source;
    use crate::rate_limit::{Rate, RateLimits};
    use crate::testing::Bench;

    /// The whole API as `address` meets it without a token: status, content type and body of a GET.
    async fn get(router: &Router, path: &str) -> (u16, String, Value) {
        let mut request = Request::get(path).body(Body::empty()).unwrap();
        request.extensions_mut().insert(Source("test".into()));
        let answer = TowerToHyperService::new(router.clone()).call(request).await.unwrap();
        let (status, kind) =
            (answer.status().as_u16(), answer.headers()[header::CONTENT_TYPE].to_str().unwrap().into());
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, kind, serde_json::from_slice(&body).unwrap())
    }

    async fn api(requests: u32) -> (Bench, Router) {
        let bench = Bench::new().await;
        let broker = Arc::new(EmbeddedBroker::open(&bench.world, Limits::default()).await.unwrap());
        let ledger = bench.ledger().await;
        let limits = RateLimits { source: Rate::new(1, requests), ..RateLimits::default() };
        let (auth, clock) = (bench.authority.clone(), bench.world.clock.clone());
        let router =
            crate::producer::router(Arc::new(Producer::new(broker, auth, ledger, clock, &limits, bench.keys())));
        tokio::time::advance(Duration::from_secs(requests.into())).await;
        (bench, router)
    }

    #[tokio::test(start_paused = true)]
    async fn every_schema_is_listed_and_served_to_whoever_asks() {
        let (_bench, router) = api(20).await;
        let (status, _, listed) = get(&router, "/v1/schemas").await;
        let listed = listed["schemas"].as_array().unwrap();
        assert_eq!((status, listed.len()), (200, REGISTRY.len() + 1));
        for entry in listed {
            let (status, kind, schema) = get(&router, entry["url"].as_str().unwrap()).await;
            assert_eq!((status, kind.as_str()), (200, CONTENT_TYPE));
            assert_eq!(schema["$id"], entry["id"]);
        }
        let (status, _, problem) = get(&router, "/v1/schemas/none").await;
        assert_eq!((status, &problem["type"]), (404, &"urn:tenantry:problem:no-such-schema".into()));
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_for_schemas_too_often_is_told_so() {
        let (_bench, router) = api(2).await;
        let mut answers = Vec::new();
        for path in ["/v1/schemas", "/v1/schemas/message", "/v1/schemas/message"] {
            answers.push(get(&router, path).await.0);
        }
        assert_eq!(answers, [200, 200, 429]);
    }
}
