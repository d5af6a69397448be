//! The audit log over HTTP: for whoever wants to look something up, and for whoever wants to check the log.
//!
//! Checkpoint and tiles tell nothing of any tenant, only how many entries there are: any operator may read them. Whole bundles of
//! entries are not served, for they hold every tenant's: who may see all exports them, where the log is kept.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::api::{Caller, unchanged};
use super::openapi::{self, Endpoint, count, id, nullable, number, object, query, required, text};
use super::parameters::Parameters;
use super::{Problem, Producer};
use crate::audit::{Audit, FoundRecord, PAGE_MAX, Query};
use crate::call::CallError;
use crate::ids::TenantId;
use crate::message::{Refusal, quoted};
use crate::tlog::{TILE_WIDTH, Tile};
use crate::whole::WHOLE_MAX;

/// Records in an answer, unless the request says otherwise.
const LIMIT: u32 = 50;

pub(super) fn endpoints() -> Vec<Endpoint> {
    let found = object(json!({
        "place": number(1, WHOLE_MAX),
        "record": {"type": "object", "required": ["place", "source", "number", "event"]},
        "leaf": text(), "proof": openapi::list(text()),
    }));
    let page = object(json!({"checkpoint": text(), "events": openapi::list(found), "next": nullable(count())}));
    let endpoints = [
        Endpoint::get("/v1/audit/events", "searchAudit", events)
            .about(
                "A tenant's records, each with its proof",
                "Oldest first. `leaf` is the record's text as it was hashed; `proof` are hashes in base64 that lead from it, \
                 at `place - 1`, to the root of `checkpoint` (RFC 9162, 2.1.3).",
            )
            .takes(required("tenant", id(), "The tenant."))
            .takes(query("user", text(), "Who acted."))
            .takes(query("action", text(), "What for."))
            .takes(query("message", text(), "Of which message."))
            .takes(query("from", openapi::instant(), "Not before this instant."))
            .takes(query("to", openapi::instant(), "Before this instant."))
            .takes(query("after", count(), "After this place; 0 without it."))
            .takes(query("limit", number(1, PAGE_MAX as u64), "Most records of a page; 50 without it."))
            .answers(200, "A page; `next` is the `after` of the next one, null on the last.", page)
            .refuses(&["forbidden"]),
        Endpoint::get("/v1/audit/checkpoint", "readCheckpoint", checkpoint)
            .about("The log's newest checkpoint", "A signed note (C2SP tlog-checkpoint) over all that is durable.")
            .answers_as(200, "The note", "text/plain", text()),
        Endpoint::get("/v1/audit/tile/{*path}", "readTile", tile)
            .about("Hashes of the log's tree", "C2SP tlog-tiles; a full tile never changes. Bundles of entries are not served.")
            .answers_as(200, "32 bytes each", "application/octet-stream", json!({"type": "string", "format": "binary"}))
            .refuses(&["no-such-tile"]),
    ];
    endpoints.map(|endpoint| endpoint.tagged("Audit")).into()
}

async fn events(
    State(producer): State<Arc<Producer>>,
    uri: Uri,
    Caller { token }: Caller,
) -> Result<Json<Value>, Problem> {
    let (tenant, query) = parse(&uri)?;
    let read = producer.read_scope(token, &tenant).await?;
    // What is searched is what was verified.
    let query = Query { tenant: Some(read.scope().tenant().to_string()), ..query };
    let found = producer.audit()?.search(&query).await.map_err(unchanged)?;
    let events = found.records.into_iter().map(show).collect::<Result<Vec<_>, _>>();
    let events = events.map_err(|error| CallError::failed(format!("a record is unreadable: {error}")))?;
    Ok(Json(json!({ "checkpoint": found.checkpoint, "events": events, "next": found.next })))
}

fn show(FoundRecord { place, record, proof }: FoundRecord) -> serde_json::Result<Value> {
    let proof: Vec<_> = proof.iter().map(|hash| BASE64.encode(hash)).collect();
    let read: Value = serde_json::from_slice(&record)?;
    // What was hashed is the text: as a string it reaches whoever checks it as it is.
    Ok(json!({ "place": place, "record": read, "leaf": String::from_utf8_lossy(&record), "proof": proof }))
}

async fn checkpoint(State(producer): State<Arc<Producer>>, Caller { token }: Caller) -> Result<Response, Problem> {
    producer.must_be_operator(&token).await?;
    let checkpoint = producer.audit()?.checkpoint().await.map_err(unchanged)?;
    let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, checkpoint).into_response())
}

async fn tile(
    State(producer): State<Arc<Producer>>,
    path: Result<Path<String>, PathRejection>,
    Caller { token }: Caller,
) -> Result<Response, Problem> {
    let Path(path) = path.map_err(|error| Problem::invalid("path", error.body_text()))?;
    producer.must_be_operator(&token).await?;
    let none = |detail: String| Problem::new(StatusCode::NOT_FOUND, "no-such-tile", "There is no such tile", detail);
    let tile = Tile::parse(&format!("tile/{path}"))
        .ok_or_else(|| none(format!("{} is no tile; one is such as 0/x001/234 or 0/000.p/5", quoted(&path))))?;
    let hashes = producer.audit()?.tile(tile).await.map_err(unchanged)?;
    let hashes = hashes.ok_or_else(|| none(format!("the tree has not grown to {tile} yet")))?;
    // What is full never changes; what is not is a part of it for ever.
    let full = u64::from(tile.width) == TILE_WIDTH;
    let cache = if full { "private, immutable, max-age=604800" } else { "private, max-age=60" };
    let headers = [(header::CONTENT_TYPE, "application/octet-stream"), (header::CACHE_CONTROL, cache)];
    Ok((headers, hashes).into_response())
}

impl Producer {
    pub(super) fn audit(&self) -> Result<&dyn Audit, CallError> {
        self.audit.as_deref().ok_or_else(|| CallError::failed("no audit log is configured here"))
    }

    /// Whether auth knows whose token this is. What they may do is another question: this is for what is no tenant's.
    async fn must_be_operator(&self, token: &str) -> Result<(), Problem> {
        self.authority.operator(token, None).await.map_err(unchanged)??;
        Ok(())
    }
}

/// Reads the query of `uri`.
fn parse(uri: &Uri) -> Result<(TenantId, Query), Refusal> {
    let mut given = Parameters::of(uri)?;
    let tenant = given.take("tenant", TenantId::parse)?;
    let query = Query {
        user: given.text("user")?,
        action: given.text("action")?,
        message: given.text("message")?,
        from_unix_ms: given.take("from", moment)?,
        to_unix_ms: given.take("to", moment)?,
        after: given.number("after", 0, WHOLE_MAX)?.unwrap_or(0),
        max: given.number("limit", 1, PAGE_MAX as u64)?.map_or(LIMIT, |limit| limit as u32),
        ..Query::default()
    };
    given.end()?;
    let missing = "is missing: records are searched tenant by tenant, add ?tenant=...";
    Ok((tenant.ok_or_else(|| Refusal::new("tenant", missing))?, query))
}

fn moment(text: &str) -> Result<i64, String> {
    let read: Option<Timestamp> = text.parse().ok();
    let right = || format!("must be an instant such as 2026-01-31T12:00:00Z, not {}", quoted(text));
    read.map(Timestamp::as_millisecond).ok_or_else(right)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::Router;
    use axum::body::Body;
    use axum::extract::Request;
    use http_body_util::BodyExt;
    use hyper::service::Service;
    use hyper_util::service::TowerToHyperService;

    use super::super::http::Source;
    use super::*;
    use crate::audit::{AuditEntry, EmbeddedAudit, Event};
    use crate::broker::{EmbeddedBroker, Limits};
    use crate::ids::UserId;
    use crate::rate_limit::RateLimits;
    use crate::testing::{Bench, OPERATOR, credit, message_id, tenant};
    use crate::tlog::{Checkpoint, Hash, inclusion_proof_holds, leaf_hash};

    /// The API of a log with 300 decisions, every third of them on globex.
    async fn api() -> (Bench, Arc<EmbeddedAudit>, Router) {
        let bench = Bench::new().await;
        let audit = Arc::new(EmbeddedAudit::open(&bench.world).await.unwrap());
        let decided = |number: i64| {
            let (name, id) = (if number % 3 == 0 { "globex" } else { "acme" }, format!("m-{number}"));
            Event::Decided(AuditEntry {
                at_unix_ms: number * 1000,
                tenant_id: tenant(name),
                user_id: UserId::parse(if number % 2 == 0 { "ana" } else { "bob" }).unwrap(),
                replayed_by: None,
                action: "issue_credit".into(),
                message_id: message_id(&id),
                body: credit(name, &id, 5).into(),
                outcome: "applied".into(),
                detail: String::new(),
                authority_revision: 1,
                policies: Vec::new(),
                approved_by: None,
            })
        };
        audit.append("ledger", 1, (1..=300).map(decided).collect()).await.unwrap();
        let broker = Arc::new(EmbeddedBroker::open(&bench.world, Limits::default()).await.unwrap());
        let (auth, clock) = (bench.authority.clone(), bench.world.clock.clone());
        let producer = Producer::new(broker, auth, bench.ledger().await, clock, &RateLimits::default(), bench.keys());
        let router = crate::producer::router(Arc::new(producer.auditing(audit.clone())));
        tokio::time::advance(Duration::from_secs(60)).await;
        (bench, audit, router)
    }

    async fn get(router: &Router, token: &str, path: &str) -> (u16, Vec<u8>) {
        let mut request =
            Request::get(path).header("authorization", format!("Bearer {token}")).body(Body::empty()).unwrap();
        request.extensions_mut().insert(Source("here".into()));
        let answer = TowerToHyperService::new(router.clone()).call(request).await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.into_body().collect().await.unwrap().to_bytes().to_vec())
    }

    async fn found(router: &Router, token: &str, query: &str) -> (Vec<u64>, Value) {
        let (status, body) = get(router, token, &format!("/v1/audit/events?{query}")).await;
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(status, 200, "{query}: {body}");
        let events = body["events"].as_array().unwrap();
        (events.iter().map(|event| event["place"].as_u64().unwrap()).collect(), body)
    }

    #[tokio::test(start_paused = true)]
    async fn records_are_found_by_whatever_is_known_of_them_page_by_page() {
        let (bench, _, router) = api().await;
        let token = bench.token(OPERATOR);
        let cases: [(&str, &[u64]); 6] = [
            ("tenant=acme&limit=3", &[1, 2, 4]),
            ("tenant=acme&limit=3&after=4", &[5, 7, 8]),
            ("tenant=acme&user=ana&limit=3", &[2, 4, 8]),
            ("tenant=acme&message=m-7", &[7]),
            ("tenant=globex&from=1970-01-01T00:04:51Z&to=1970-01-01T00:05:00Z", &[291, 294, 297]),
            ("tenant=globex&message=m-7", &[]),
        ];
        for (query, places) in cases {
            assert_eq!(found(&router, &token, query).await.0, places, "{query}");
        }
        let (mut all, mut after) = (Vec::new(), json!(0));
        while after != Value::Null {
            let (places, body) = found(&router, &token, &format!("tenant=acme&limit=64&after={after}")).await;
            all.extend(places);
            after = body["next"].clone();
        }
        assert_eq!(all, (1..=300).filter(|place| place % 3 != 0).collect::<Vec<u64>>());
    }

    #[tokio::test(start_paused = true)]
    async fn every_record_comes_with_a_proof_that_holds_and_the_tiles_make_the_root() {
        let (bench, audit, router) = api().await;
        let token = bench.token(OPERATOR);
        let (places, body) = found(&router, &token, "tenant=acme&limit=99").await;
        let checkpoint = Checkpoint::open(body["checkpoint"].as_str().unwrap(), audit.key()).unwrap();
        assert_eq!((places.len(), checkpoint.size), (99, 300));
        for event in body["events"].as_array().unwrap() {
            let hash = |text: &Value| Hash::try_from(BASE64.decode(text.as_str().unwrap()).unwrap()).unwrap();
            let proof: Vec<_> = event["proof"].as_array().unwrap().iter().map(hash).collect();
            let (leaf, index) = (event["leaf"].as_str().unwrap(), event["place"].as_u64().unwrap() - 1);
            assert_eq!(serde_json::from_str::<Value>(leaf).unwrap(), event["record"]);
            assert!(inclusion_proof_holds(&proof, index, leaf_hash(leaf.as_bytes()), 300, &checkpoint.root));
        }
        let (_, note) = get(&router, &token, "/v1/audit/checkpoint").await;
        assert_eq!(String::from_utf8(note).unwrap(), body["checkpoint"].as_str().unwrap());
        let (full, rest) = (
            get(&router, &token, "/v1/audit/tile/0/000").await,
            get(&router, &token, "/v1/audit/tile/0/001.p/44").await,
        );
        assert_eq!((full.0, full.1.len(), rest.0, rest.1.len()), (200, 256 * 32, 200, 44 * 32));
        assert_eq!(get(&router, &token, "/v1/audit/tile/0/001").await.0, 404);
        assert_eq!(get(&router, &token, "/v1/audit/tile/entries/000").await.0, 404);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_reads_another_tenants_records_nor_anything_without_a_token() {
        let (bench, _, router) = api().await;
        let stranger = bench.token("mallory");
        assert_eq!(get(&router, &stranger, "/v1/audit/events?tenant=acme").await.0, 403);
        assert_eq!(get(&router, &stranger, "/v1/audit/checkpoint").await.0, 200, "it tells nothing of any tenant");
        for path in ["/v1/audit/events?tenant=acme", "/v1/audit/checkpoint", "/v1/audit/tile/0/000"] {
            assert_eq!(get(&router, "no.such.token", path).await.0, 401, "{path}");
        }
        let token = bench.token(OPERATOR);
        for query in
            ["", "tenant=acme&tenant=acme", "tenant=acme&who=ana", "tenant=acme&limit=0", "tenant=acme&from=now"]
        {
            let (status, body) = get(&router, &token, &format!("/v1/audit/events?{query}")).await;
            let body: Value = serde_json::from_slice(&body).unwrap();
            assert!(status == 400 && body["field"].is_string(), "{query}: {body}");
        }
    }
}
