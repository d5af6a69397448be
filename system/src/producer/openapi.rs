//! The API as data: one row per endpoint, from which both the router and the OpenAPI document (3.1) are made. There is no
//! route without its row, and no row without its route.
//!
//! A row stands beside its handler. To add an endpoint, write it in the `endpoints()` of the handler's file - or a new
//! file's, named in [`super::api::endpoints`] - such as
//!
//! ```text
//! Endpoint::get("/v1/tenants/{tenant_id}/letters/{number}", "readLetter", read)
//!     .about("One dead letter", "Words, units and limits, if the summary does not say it all.")
//!     .takes(query("max", number(1, 64), "Most letters of an answer; 64 without it."))
//!     .answers(200, "The letter", object(json!({"tenant_id": id(), "reason": text()})))
//!     .refuses(&["no-such-letter"])
//! ```
//!
//! and nothing else, but: a path parameter that is new, in [`path_parameter`]; a problem that is new, in `KINDS` of
//! `problem.rs`; a tag that is new, in [`TAGS`]. `refuses` names only what the handler itself refuses: a wrong request, a
//! token that is not believed, no right to the tenant, too many requests and a service that can't be reached can come from
//! any row that can meet them, and are added. The test module asks every row of a server, and fails where an answer is not
//! what its row says.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use axum::handler::Handler;
use axum::http::Method;
use axum::http::header;
use axum::middleware::from_fn;
use axum::routing::{MethodFilter, MethodRouter, on};
use axum::{Router, http::StatusCode};
use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::Producer;
use super::parameters::refuse_all;
use super::problem::{KINDS, urn};
use crate::auth::{REASON_MAX, REASON_MIN};
use crate::ids::MAX_ID_BYTES;
use crate::schema;
use crate::whole::WHOLE_MAX;

/// Where the document is served.
pub(super) const PATH: &str = "/v1/openapi.json";

/// What any request may be refused with, but for the health check.
const ANY: &[&str] = &["invalid", "body-too-slow", "too-large", "rate-limited"];

/// What a request with a token may be refused with besides.
const WITH_TOKEN: &[&str] = &["unauthenticated", "internal", "unavailable"];

/// The groups that operations are shown in.
const TAGS: &[(&str, &str)] = &[
    ("Commands", "Send a command and learn what became of it."),
    ("Tenants", "What a tenant has: limits, entitlements, plan, credits, credentials; pause and resume it."),
    (
        "Dry runs and approvals",
        "What a command would change; and a second person's approval where policy asks for one.",
    ),
    ("Dead letters", "Commands that were put aside: looked at, replayed under one's own authority, discarded."),
    ("Live stream", "A tenant's audit records as they are logged, as server-sent events."),
    ("Audit", "The tamper-evident log: records with proofs, checkpoints, tiles of its tree."),
    ("Break-glass", "Emergency rights, for which it takes two."),
    ("Schemas", "What clients send, as JSON Schema, and this document."),
    ("Health", "Whether the process serves."),
];

const DESCRIPTION: &str = "\
The operations panel's API. A command changes one tenant: it is accepted with 202 once it is durable, has exactly one \
outcome from then on, and may be sent again, the same bytes under the same `message_id`, as often as it takes.\n\n\
**Units**: amounts of money in minor units of their currency; times in milliseconds since the Unix epoch (`..._unix_ms`) or \
seconds (`..._unix`), waits in milliseconds. Whole numbers are below 2^53.\n\n\
**Limits**: a request's body has at most 65536 bytes and arrives within 10 s, its head too. Requests are limited per network \
address, commands also per operator and per tenant: 429 says in `Retry-After`, in seconds, when to come again.\n\n\
**Errors** are problem details (RFC 9457): `type` is stable and for programs, `detail` is for people, `field` names what is \
wrong with the request. 503 means that nothing happened, 504 that it may have: the same request again is safe, for a command \
under its `message_id`.";

/// The document as it is served: made when somebody first asks.
static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| format!("{:#}\n", document()).into());

/// One row: how an endpoint is asked, how it answers, and who answers.
pub(super) struct Endpoint {
    method: Method,
    path: &'static str,
    id: &'static str,
    tag: &'static str,
    summary: &'static str,
    description: &'static str,
    parameters: Vec<Value>,
    body: Option<Value>,
    answers: Vec<Answered>,
    refuses: &'static [&'static str],
    open: bool,
    handler: MethodRouter<Arc<Producer>>,
}

/// A good answer.
struct Answered {
    status: u16,
    description: &'static str,
    kind: &'static str,
    schema: Value,
}

impl Endpoint {
    /// A GET of `path`, as the router writes it, called `id` by generated clients.
    pub(super) fn get<H, T>(path: &'static str, id: &'static str, handler: H) -> Self
    where
        H: Handler<T, Arc<Producer>>,
        T: 'static,
    {
        Self::new(Method::GET, path, id, on(MethodFilter::GET, handler))
    }

    /// A POST.
    pub(super) fn post<H, T>(path: &'static str, id: &'static str, handler: H) -> Self
    where
        H: Handler<T, Arc<Producer>>,
        T: 'static,
    {
        Self::new(Method::POST, path, id, on(MethodFilter::POST, handler))
    }

    /// A PUT.
    pub(super) fn put<H, T>(path: &'static str, id: &'static str, handler: H) -> Self
    where
        H: Handler<T, Arc<Producer>>,
        T: 'static,
    {
        Self::new(Method::PUT, path, id, on(MethodFilter::PUT, handler))
    }

    fn new(method: Method, path: &'static str, id: &'static str, handler: MethodRouter<Arc<Producer>>) -> Self {
        let (tag, summary, description) = ("Tenants", "", "");
        let (parameters, answers, body) = (Vec::new(), Vec::new(), None);
        let (refuses, open): (&[&str], _) = (&[], false);
        Self { method, path, id, tag, summary, description, parameters, body, answers, refuses, open, handler }
    }

    /// What it is for: in a line, and whatever else there is to say.
    pub(super) fn about(self, summary: &'static str, description: &'static str) -> Self {
        Self { summary, description, ..self }
    }

    /// Shown among the [`TAGS`] called `tag`; without it among the tenants.
    pub(super) fn tagged(self, tag: &'static str) -> Self {
        Self { tag, ..self }
    }

    /// Takes `parameter` besides those of its path.
    pub(super) fn takes(mut self, parameter: Value) -> Self {
        self.parameters.push(parameter);
        self
    }

    /// Takes a JSON body of `schema`.
    pub(super) fn reads(self, schema: Value) -> Self {
        Self { body: Some(schema), ..self }
    }

    /// Answers with JSON of `schema`.
    pub(super) fn answers(self, status: u16, description: &'static str, schema: Value) -> Self {
        self.answers_as(status, description, "application/json", schema)
    }

    /// Answers with a body of the content type `kind`.
    pub(super) fn answers_as(
        mut self,
        status: u16,
        description: &'static str,
        kind: &'static str,
        schema: Value,
    ) -> Self {
        self.answers.push(Answered { status, description, kind, schema });
        self
    }

    /// Refuses with these problems, besides what any like it may refuse with.
    pub(super) fn refuses(self, refuses: &'static [&'static str]) -> Self {
        Self { refuses, ..self }
    }

    /// Wants no token.
    pub(super) fn open(self) -> Self {
        Self { open: true, ..self }
    }

    /// The path, as the router writes it.
    #[cfg(test)]
    pub(super) fn path(&self) -> &'static str {
        self.path
    }

    /// The path as the document has it. A parameter that takes the rest of a path is one like any other there.
    fn documented_path(&self) -> String {
        self.path.replace("{*", "{")
    }

    fn path_parameters(&self) -> impl Iterator<Item = &'static str> {
        let names = self.path.split('{').skip(1).filter_map(|rest| rest.split_once('}'));
        names.map(|(name, _)| name.trim_start_matches('*'))
    }

    fn operation(&self) -> Value {
        let own = self.path_parameters().map(path_parameter);
        let parameters: Vec<_> = own.chain(self.parameters.iter().cloned()).collect();
        let mut operation = Map::new();
        operation.insert("operationId".into(), self.id.into());
        operation.insert("tags".into(), json!([self.tag]));
        operation.insert("summary".into(), self.summary.into());
        if !self.description.is_empty() {
            operation.insert("description".into(), self.description.into());
        }
        if !parameters.is_empty() {
            operation.insert("parameters".into(), parameters.into());
        }
        if let Some(schema) = &self.body {
            let content = json!({"application/json": {"schema": schema}});
            operation.insert("requestBody".into(), json!({"required": true, "content": content}));
        }
        if self.open {
            operation.insert("security".into(), json!([]));
        }
        operation.insert("responses".into(), self.responses());
        operation.into()
    }

    fn problems(&self) -> Vec<&'static str> {
        let with_token = if self.open { &[][..] } else { WITH_TOKEN };
        let of_tenant = self.path.contains("{tenant_id}") && !self.open;
        let forbidden: &[&str] = if of_tenant { &["forbidden"] } else { &[] };
        [ANY, with_token, forbidden, self.refuses].concat()
    }

    fn responses(&self) -> Value {
        let mut responses = BTreeMap::new();
        for Answered { status, description, kind, schema } in &self.answers {
            let content = Map::from_iter([((*kind).to_owned(), json!({ "schema": schema }))]);
            let mut response = json!({"description": description, "content": content});
            if matches!(self.id, "sendCommand") {
                response["headers"] = json!({
                    "Location": {"description": "Where its status is.", "schema": {"type": "string"}},
                    "traceparent": {"description": "W3C Trace Context of the command.", "schema": {"type": "string"}},
                });
            }
            responses.insert(status.to_string(), response);
        }
        let problems = self.problems();
        for (status, kinds) in by_status(&problems) {
            let told: Vec<_> = kinds.iter().map(|kind| format!("`{}`: {}.", urn(kind.name), kind.about)).collect();
            let types: Vec<_> = kinds.iter().map(|kind| urn(kind.name)).collect();
            let schema = json!({
                "allOf": [{"$ref": "#/components/schemas/Problem"}],
                "properties": {"type": {"enum": types}, "status": {"const": status}},
            });
            let content = json!({"application/problem+json": {"schema": schema}});
            let mut response = json!({"description": told.join(" "), "content": content});
            if matches!(status, 429 | 503 | 504) {
                response["headers"] = json!({"Retry-After": {
                    "description": "When to come again, in seconds.", "schema": {"type": "integer", "minimum": 1},
                }});
            }
            responses.insert(status.to_string(), response);
        }
        json!(responses)
    }
}

/// The kinds of problem called `names`, by their status.
fn by_status(names: &[&'static str]) -> BTreeMap<u16, Vec<&'static super::problem::Kind>> {
    let mut kinds: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for name in names {
        let kind = KINDS.iter().find(|kind| kind.name == *name);
        let kind = kind.unwrap_or_else(|| panic!("{name} is no problem of problem.rs"));
        kinds.entry(kind.status).or_default().push(kind);
    }
    kinds
}

/// The routes of `endpoints`, and the one of their document.
pub(super) fn routes(endpoints: Vec<Endpoint>) -> Router<Arc<Producer>> {
    let endpoints = complete(endpoints);
    let served = || async { ([(header::CONTENT_TYPE, "application/json")], DOCUMENT.clone()) };
    let mut router = Router::new();
    for Endpoint { method, path, handler, parameters, open, .. } in endpoints {
        let filter = MethodFilter::try_from(method).expect("one of GET, POST and PUT");
        let handler = if path == PATH { on(filter, served) } else { handler };
        // What is open to everyone is asked by probes and caches, which put marks of their own behind the `?`.
        let bare = !open && parameters.iter().all(|parameter| parameter["in"] != "query");
        let handler = if bare { handler.route_layer(from_fn(refuse_all)) } else { handler };
        router = router.route(path, handler);
    }
    router
}

/// The OpenAPI document of the whole API.
#[must_use]
pub fn document() -> Value {
    document_of(&complete(super::api::endpoints()))
}

/// All rows, with the document's own.
fn complete(mut endpoints: Vec<Endpoint>) -> Vec<Endpoint> {
    // Whoever answers is put in by `routes`: the document is of all rows, this one too.
    let own = Endpoint::get(PATH, "readOpenApi", || async { StatusCode::NOT_FOUND })
        .about("This document", "OpenAPI 3.1.")
        .tagged("Schemas")
        .open()
        .answers(200, "The document", json!({"type": "object", "required": ["openapi", "info", "paths"]}));
    endpoints.push(own);
    endpoints
}

fn document_of(endpoints: &[Endpoint]) -> Value {
    let mut paths = Map::new();
    for endpoint in endpoints {
        let item = paths.entry(endpoint.documented_path()).or_insert_with(|| json!({}));
        item[endpoint.method.as_str().to_ascii_lowercase()] = endpoint.operation();
    }
    let tags: Vec<_> = TAGS.iter().map(|(name, about)| json!({"name": name, "description": about})).collect();
    let mut schemas: Map<_, _> =
        schema::all().into_iter().map(|(name, schema)| (name.into(), component(schema.into()))).collect();
    schemas.insert("Problem".into(), problem());
    schemas.insert("Event".into(), super::stream::event_schema());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Tenantry", "version": env!("CARGO_PKG_VERSION"), "description": DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": tags,
        "security": [{"operator": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"operator": {
                "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
                "description": "The operator's token, of the identity provider that auth trusts.",
            }},
            "schemas": schemas,
        },
    })
}

/// A schema as a component of the document, whose parts are components like it: few readers follow a schema that is a
/// document of its own within another.
fn component(mut schema: Value) -> Value {
    if let Value::Object(schema) = &mut schema {
        for own in ["$id", "$schema", "$defs"] {
            schema.remove(own);
        }
    }
    refer(&mut schema);
    schema
}

fn refer(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            if let Some(Value::String(to)) = members.get_mut("$ref") {
                *to = to.replace("#/$defs/", "#/components/schemas/");
            }
            members.values_mut().for_each(refer);
        }
        Value::Array(items) => items.iter_mut().for_each(refer),
        _ => {}
    }
}

/// The schema of problem details.
fn problem() -> Value {
    let types: Vec<_> = KINDS.iter().map(|kind| urn(kind.name)).collect();
    json!({
        "type": "object", "additionalProperties": false, "required": ["type", "title", "status", "detail"],
        "description": "RFC 9457.",
        "properties": {
            "type": {"type": "string", "enum": types, "description": "Stable, for programs."},
            "title": {"type": "string", "description": "The kind of problem, in words."},
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "detail": {"type": "string", "description": "What happened this time, and what would be right."},
            "field": {"type": "string", "description": "What of the request is wrong, as a dotted path."},
        },
    })
}

/// A path parameter by its name.
fn path_parameter(name: &'static str) -> Value {
    let (about, schema) = match name {
        "tenant_id" => ("The tenant.", id()),
        "message_id" => ("The command's id, unique within its tenant only.", id()),
        "number" => ("The number that it was given when it was asked for.", number(0, WHOLE_MAX)),
        "name" => ("`message`, or an action.", text()),
        "path" => (
            "The tile: level, `/`, number, as C2SP tlog-tiles writes them, such as `0/x001/234` or `0/000.p/5`. Its \
             slashes are not escaped.",
            text(),
        ),
        other => panic!("{{{other}}} is no path parameter that is known here"),
    };
    json!({"name": name, "in": "path", "required": true, "description": about, "schema": schema})
}

/// A parameter of the query that may be left out.
pub(super) fn query(name: &'static str, schema: Value, about: &'static str) -> Value {
    json!({"name": name, "in": "query", "required": false, "description": about, "schema": schema})
}

/// A parameter of the query that must be there.
pub(super) fn required(name: &'static str, schema: Value, about: &'static str) -> Value {
    json!({"name": name, "in": "query", "required": true, "description": about, "schema": schema})
}

/// A header that may be left out.
pub(super) fn header_parameter(name: &'static str, schema: Value, about: &'static str) -> Value {
    json!({"name": name, "in": "header", "required": false, "description": about, "schema": schema})
}

/// An object that has all of `properties` and no others.
pub(super) fn object(properties: Value) -> Value {
    let names: Vec<_> = properties.as_object().into_iter().flat_map(|of| of.keys().cloned()).collect();
    json!({"type": "object", "additionalProperties": false, "required": names, "properties": properties})
}

/// Names with what each has.
pub(super) fn map(of: Value) -> Value {
    json!({"type": "object", "additionalProperties": of})
}

/// A list.
pub(super) fn list(of: Value) -> Value {
    json!({"type": "array", "items": of})
}

/// That, or null.
pub(super) fn nullable(schema: Value) -> Value {
    json!({"anyOf": [schema, {"type": "null"}]})
}

/// One of these words.
pub(super) fn one_of(words: &[&str]) -> Value {
    json!({"type": "string", "enum": words})
}

/// A whole number, both bounds included.
pub(super) fn number(least: u64, most: u64) -> Value {
    json!({"type": "integer", "minimum": least, "maximum": most})
}

/// A count, a version, an amount: any whole number from 0.
pub(super) fn count() -> Value {
    number(0, WHOLE_MAX)
}

/// A whole number that may be negative.
pub(super) fn signed() -> Value {
    json!({"type": "integer"})
}

/// Any text.
pub(super) fn text() -> Value {
    json!({"type": "string"})
}

/// A SHA-256, in hexadecimal.
pub(super) fn sha256() -> Value {
    json!({"type": "string", "pattern": "^[0-9a-f]{64}$"})
}

/// Why somebody asks for something that others will look at.
pub(super) fn reason() -> Value {
    json!({"type": "string", "minLength": REASON_MIN, "maxLength": REASON_MAX})
}

/// What may be left out of `object`, besides.
pub(super) fn with_optional(mut object: Value, properties: Value) -> Value {
    for (name, schema) in properties.as_object().into_iter().flatten() {
        object["properties"][name] = schema.clone();
    }
    object
}

/// True or false.
pub(super) fn flag() -> Value {
    json!({"type": "boolean"})
}

/// An instant as RFC 3339 writes it.
pub(super) fn instant() -> Value {
    json!({"type": "string", "format": "date-time"})
}

/// An identifier of a tenant, a user or a message.
pub(super) fn id() -> Value {
    let pattern = format!("^[a-z0-9-]{{1,{MAX_ID_BYTES}}}$");
    json!({"type": "string", "minLength": 1, "maxLength": MAX_ID_BYTES, "pattern": pattern})
}

#[cfg(test)]
#[path = "openapi_tests.rs"]
mod tests;
