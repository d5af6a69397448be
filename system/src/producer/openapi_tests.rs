use std::collections::BTreeSet;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use http_body_util::BodyExt;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use jsonschema::Validator;
use tokio::time::advance;

use super::*;
use crate::action::Permission;
use crate::audit::{EmbeddedAudit, Event, Step, StepKind};
use crate::auth::{Directory, Policies};
use crate::broker::{Broker, EmbeddedBroker, Ending, Limits, Position, Settlement};
use crate::grant::Envelope;
use crate::ledger::{Ledger, Run, Work};
use crate::message::{MAX_BODY_BYTES, body_sha256};
use crate::producer::http::Source;
use crate::rate_limit::{Rate, RateLimits};
use crate::rights::Role;
use crate::testing::{Bench, OPERATOR, asking, credit, message_id, tenant};

const METHODS: [&str; 3] = ["get", "post", "put"];

/// Every operation of `document`: path, method, operation.
fn operations(document: &Value) -> Vec<(&str, &str, &Value)> {
    let paths = document["paths"].as_object().unwrap().iter();
    paths
        .flat_map(|(path, item)| {
            METHODS.into_iter().filter_map(move |method| Some((path.as_str(), method, item.get(method)?)))
        })
        .collect()
}

/// Ana administers acme and globex; olaf may ask for emergency rights, dan approves them.
const DIRECTORY: &str = r#"
    tenants = ["acme", "globex"]
    team = [{ name = "on-call", members = ["olaf"] }, { name = "duty-managers", members = ["dan"] }]
    binding = [
        { user = "ana", tenant = "acme", role = "admin" },
        { user = "ana", tenant = "globex", role = "admin" },
    ]
"#;

/// A server that answers, and the document that says how.
struct Api {
    bench: Bench,
    router: Router,
    document: Value,
    /// Operations that were seen to answer well, by id and status.
    seen: BTreeSet<(String, u16)>,
}

impl Api {
    async fn new() -> Self {
        let bench = Bench::new().await;
        bench.authority.reload(Policies::default_over(Directory::parse(DIRECTORY).unwrap())).await.unwrap();
        let audit = Arc::new(EmbeddedAudit::open(&bench.world).await.unwrap());
        let step = |number| {
            let step = Step::new(number as i64, Role::Broker, StepKind::Published, number);
            Event::Step(Step { tenant: Some(tenant("acme")), message_id: Some(message_id("m-1")), ..step })
        };
        crate::audit::Audit::append(&*audit, "broker", 1, (1..=256).map(step).collect()).await.unwrap();
        let broker = Arc::new(EmbeddedBroker::open(&bench.world, Limits::default()).await.unwrap());
        for id in ["d-1", "d-2"] {
            let envelope = Envelope { body: credit("acme", id, 5).into(), grant: "forged".into(), trace: None };
            broker.publish(&tenant("acme"), &message_id(id), envelope).await.unwrap();
        }
        let letters = broker.fetch(9, Duration::ZERO).await.unwrap().remove(0);
        let ended = vec![Ending::DeadLetter { reason: "the grant is refused".into() }; 2];
        broker.settle(&letters.lease, Settlement { ended, ..Settlement::default() }).await.unwrap();
        let ledger = bench.ledger().await;
        let run = |id: &'static str, sequence, permit: bool| {
            let bench = &bench;
            async move {
                let decision = match permit {
                    true => bench.permit("acme", Permission::IssueCredit),
                    false => bench.deny("acme", "no"),
                };
                let command = bench.credit("acme", id, 5).await;
                Run::new(vec![Work { command, decision, position: Position { epoch: 1, sequence } }]).unwrap()
            }
        };
        ledger.apply(&run("m-1", 1, true).await).await.unwrap();
        ledger.apply(&run("m-2", 2, false).await).await.unwrap();
        let limits = RateLimits { source: Rate::new(50, 50), ..RateLimits::default() };
        let (auth, clock) = (bench.authority.clone(), bench.world.clock.clone());
        let producer = Producer::new(broker, auth, ledger, clock, &limits, bench.keys()).auditing(audit);
        let router = crate::producer::router(Arc::new(producer));
        advance(Duration::from_secs(2)).await;
        let document = document();
        Self { bench, router, document, seen: BTreeSet::new() }
    }

    async fn send(&self, method: &str, path: &str, token: Option<&str>, body: &str) -> axum::response::Response {
        let mut request = Request::builder().method(method.to_uppercase().as_str()).uri(path);
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let mut request = request.body(Body::from(body.to_owned())).unwrap();
        request.extensions_mut().insert(Source("here".into()));
        TowerToHyperService::new(self.router.clone()).call(request).await.unwrap()
    }

    /// What is answered, which must be `status` and what the document says of `template`.
    async fn check(
        &mut self,
        (method, template, path): (&str, &str, &str),
        token: Option<&str>,
        body: &str,
        status: u16,
    ) {
        // Each gets its share, but for those that are to get none.
        advance(Duration::from_millis(100)).await;
        let answer = self.send(method, path, token, body).await;
        self.judge((method, template, path), answer, status).await;
    }

    async fn judge(
        &mut self,
        (method, template, path): (&str, &str, &str),
        answer: axum::response::Response,
        status: u16,
    ) {
        let at = format!("{method} {path}");
        let kind = answer.headers()[header::CONTENT_TYPE].to_str().unwrap().split(';').next().unwrap().to_owned();
        let told = answer.status().as_u16();
        let retry = answer.headers().contains_key(header::RETRY_AFTER);
        let body = match kind.as_str() {
            "text/event-stream" => Bytes::new(),
            _ => answer.into_body().collect().await.unwrap().to_bytes(),
        };
        let shown = String::from_utf8_lossy(&body);
        assert_eq!(told, status, "{at}: {shown}");
        let operation = &self.document["paths"][template][method];
        let response = &operation["responses"][status.to_string()];
        assert!(response.is_object(), "{at}: {status} is not in the document: {shown}");
        let listed = response["content"].as_object().unwrap();
        let schema =
            listed.get(&kind).unwrap_or_else(|| panic!("{at}: {kind} is not in the document"))["schema"].clone();
        assert!(!retry || response["headers"]["Retry-After"].is_object(), "{at}: Retry-After is not in the document");
        if kind.ends_with("json") {
            let body: Value = serde_json::from_slice(&body).unwrap();
            let wrong: Vec<_> = self.validator(schema).iter_errors(&body).map(|error| error.to_string()).collect();
            assert!(wrong.is_empty(), "{at}: {wrong:?}: {body}");
        }
        if status < 300 {
            self.seen.insert((operation["operationId"].as_str().unwrap().to_owned(), status));
        }
    }

    /// A validator of a schema that stands in the document.
    fn validator(&self, schema: Value) -> Validator {
        validator(&json!({"allOf": [schema], "components": self.document["components"]}))
    }
}

fn validator(schema: &Value) -> Validator {
    jsonschema::draft202012::options().build(schema).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn the_document_is_one_of_openapi_and_says_it_all() {
    let document = document();
    let schema: Value = serde_json::from_str(include_str!("../../tests/openapi/schema-3.1.json")).unwrap();
    let wrong: Vec<_> = validator(&schema).iter_errors(&document).map(|error| error.to_string()).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    let (mut ids, mut types) = (BTreeSet::new(), String::new());
    for (path, method, operation) in operations(&document) {
        assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{method} {path}: its id is another's, too");
        assert!(operation["summary"].as_str().is_some_and(|summary| !summary.is_empty()), "{method} {path}: what for?");
        let tag = operation["tags"][0].as_str().unwrap();
        assert!(TAGS.iter().any(|(name, _)| *name == tag), "{method} {path}: {tag} is no tag");
        types += &operation["responses"].to_string();
    }
    for kind in KINDS.iter().filter(|kind| !matches!(kind.name, "no-such-resource" | "method-not-allowed")) {
        assert!(types.contains(&format!("{:?}", urn(kind.name))), "{} comes from nowhere", kind.name);
    }
    assert!(DESCRIPTION.contains(&MAX_BODY_BYTES.to_string()));
    // Every schema of it can be used, its references resolved.
    for name in document["components"]["schemas"].as_object().unwrap().keys() {
        let whole = json!({"$ref": format!("#/components/schemas/{name}"), "components": document["components"]});
        validator(&whole);
    }
}

#[tokio::test(start_paused = true)]
async fn every_path_of_the_document_answers_and_it_is_served_to_whoever_asks() {
    let mut api = Api::new().await;
    let document = api.document.clone();
    for (path, method, _) in operations(&document) {
        let asked = filled(path);
        let answer = api.send(method, &asked, None, "{}").await;
        assert!(!matches!(answer.status().as_u16(), 404 | 405), "{method} {asked}: {}", answer.status());
    }
    let served = api.send("get", PATH, None, "").await.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(serde_json::from_slice::<Value>(&served).unwrap(), document);
    api.check(("get", PATH, PATH), None, "", 200).await;
    let nowhere = api.send("get", "/v1/tenants/acme/nothing", None, "").await;
    assert_eq!(nowhere.status(), 404);
    assert_eq!(api.send("put", "/v1/tenants/acme/limits", None, "").await.status(), 405);
}

/// The path of an operation, with a name of the right kind in each place.
fn filled(path: &str) -> String {
    let asked = path.replace("{tenant_id}", "acme").replace("{name}", "message").replace("{path}", "0/000");
    asked.replace("{message_id}", "m-1").replace("{number}", "1")
}

#[tokio::test(start_paused = true)]
async fn every_row_that_wants_a_token_refuses_what_stands_in_its_query_and_not_in_the_document() {
    let api = Api::new().await;
    let token = api.bench.token(OPERATOR);
    let mut refused = 0;
    for (path, method, operation) in operations(&api.document) {
        if operation["security"] == json!([]) {
            continue;
        }
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        let known = parameters.filter(|parameter| parameter["in"] == "query");
        let known = known.map(|parameter| parameter["name"].as_str().unwrap());
        let mut wrong = vec![("dry_run=true".to_owned(), "dry_run", "is unknown")];
        for name in known {
            wrong.push((format!("{name}=%zz"), name, "can't be read"));
            wrong.push((format!("{name}=1&{name}=1"), name, "is given twice"));
            wrong.push((format!("{name}="), name, ""));
        }
        for (query, field, problem) in wrong {
            advance(Duration::from_millis(100)).await;
            let answer = api.send(method, &format!("{}?{query}", filled(path)), Some(&token), "{}").await;
            let status = answer.status().as_u16();
            let told = answer.into_body().collect().await.unwrap().to_bytes();
            let told: Value = serde_json::from_slice(&told).unwrap();
            let right = told["detail"].as_str().is_some_and(|detail| detail.contains(problem));
            assert!(status == 400 && told["field"] == field && right, "{method} {path}?{query}: {told}");
            refused += 1;
        }
    }
    assert!(refused > 80, "{refused}");
}

#[tokio::test(start_paused = true)]
async fn every_answer_is_what_its_row_says() {
    let mut api = Api::new().await;
    let (ana, mallory) = (api.bench.token(OPERATOR), api.bench.token("mallory"));
    let (ana, mallory) = (Some(ana.as_str()), Some(mallory.as_str()));
    let none = Some("no.such.token");

    let send = ("post", "/v1/commands", "/v1/commands");
    let body = credit("acme", "m-9", 7);
    api.check(send, ana, &body, 202).await;
    api.check(send, ana, &body, 200).await;
    api.check(send, ana, &credit("acme", "m-9", 8), 409).await;
    api.check(send, ana, "{}", 400).await;
    api.check(send, none, &body, 401).await;
    api.check(send, None, &body, 401).await;
    api.check(send, ana, &credit("initech", "m-9", 7), 403).await;
    api.check(send, ana, &"x".repeat(MAX_BODY_BYTES + 1), 413).await;

    let command = "/v1/commands/{message_id}";
    for (id, query, token, status) in [
        ("m-1", "?tenant_id=acme", ana, 200),
        ("m-2", "?tenant_id=acme", ana, 200),
        ("m-9", "?tenant_id=acme&wait_ms=10", ana, 200),
        ("m-8", "?tenant_id=acme", ana, 404),
        ("m-1", "", ana, 400),
        ("M", "?tenant_id=acme", ana, 400),
        ("m-1", "?tenant_id=acme", none, 401),
        ("m-1", "?tenant_id=acme", mallory, 403),
    ] {
        api.check(("get", command, &format!("/v1/commands/{id}{query}")), token, "", status).await;
    }

    let parts = ["limits", "entitlements", "plan", "suspension", "credits", "paused", "credentials", "journal"];
    for part in parts.into_iter().chain(["reconciliation", "events"]) {
        let template = format!("/v1/tenants/{{tenant_id}}/{part}");
        for (name, token, status) in
            [("acme", ana, 200), ("acme", mallory, 403), ("acme", none, 401), ("acme", None, 401), ("Acme", ana, 400)]
        {
            api.check(("get", &template, &format!("/v1/tenants/{name}/{part}")), token, "", status).await;
        }
    }
    let paused = ("put", "/v1/tenants/{tenant_id}/paused", "/v1/tenants/acme/paused");
    for (token, body, status) in [
        (ana, r#"{"paused": true}"#, 200),
        (ana, r#"{"paused": false}"#, 200),
        (ana, r#"{"paused": 1}"#, 400),
        (mallory, r#"{"paused": true}"#, 403),
        (none, r#"{"paused": true}"#, 401),
    ] {
        api.check(paused, token, body, status).await;
    }

    let glass = ("post", "/v1/break-glass", "/v1/break-glass");
    let wish = r#"{"tenant_id": "acme", "reason": "the pager rang at night", "minutes": 30}"#;
    let [olaf, dan] = ["olaf", "dan"].map(|name| api.bench.token(name));
    let (olaf, dan) = (Some(olaf.as_str()), Some(dan.as_str()));
    api.check(glass, olaf, wish, 201).await;
    api.check(glass, ana, wish, 403).await;
    api.check(glass, olaf, "{}", 400).await;
    api.check(glass, none, wish, 401).await;
    api.check(("get", glass.1, glass.2), ana, "", 200).await;
    for verb in ["approve", "end"] {
        let template = format!("/v1/break-glass/{{number}}/{verb}");
        api.check(("post", &template, &format!("/v1/break-glass/one/{verb}")), ana, "", 400).await;
        api.check(("post", &template, &format!("/v1/break-glass/1/{verb}")), none, "", 401).await;
    }
    // Nobody approves their own.
    api.check(("post", "/v1/break-glass/{number}/approve", "/v1/break-glass/1/approve"), olaf, "", 403).await;
    api.check(("post", "/v1/break-glass/{number}/approve", "/v1/break-glass/1/approve"), dan, "", 200).await;
    api.check(("get", glass.1, glass.2), dan, "", 200).await;
    api.check(("post", "/v1/break-glass/{number}/end", "/v1/break-glass/1/end"), olaf, "", 200).await;

    let dry = ("post", "/v1/dry-runs", "/v1/dry-runs");
    api.check(dry, ana, &credit("acme", "m-20", 7), 200).await;
    api.check(dry, ana, &asking("acme", "m-20", "resume_tenant", r#"{"reason": "paid"}"#), 200).await;
    api.check(dry, ana, &credit("acme", "m-1", 5), 409).await;
    api.check(dry, ana, "{}", 400).await;
    api.check(dry, none, &credit("acme", "m-20", 7), 401).await;
    api.check(dry, ana, &credit("initech", "m-20", 7), 403).await;

    let erase = asking("acme", "m-21", "erase_tenant_secrets", "{}");
    api.check(send, ana, &erase, 403).await;
    let wish = ("post", "/v1/approvals", "/v1/approvals?reason=the%20customer%20left");
    api.check(wish, ana, &erase, 201).await;
    api.check(wish, ana, &erase, 201).await;
    api.check(wish, ana, &credit("acme", "m-1", 5), 409).await;
    api.check(("post", wish.1, wish.1), ana, &erase, 400).await;
    api.check(wish, none, &erase, 401).await;
    api.check(wish, mallory, &erase, 403).await;
    api.check(("get", wish.1, wish.1), ana, "", 200).await;
    let one = ("get", "/v1/approvals/{number}", "/v1/approvals/1");
    api.check(one, dan, "", 200).await;
    api.check(one, mallory, "", 403).await;
    let approve = ("post", "/v1/approvals/{number}/approve", "/v1/approvals/1/approve");
    let read = |body: &str| format!(r#"{{"body_sha256": "{}"}}"#, hex::encode(body_sha256(body.as_bytes())));
    // Nobody approves their own, and nobody what they have not read.
    api.check(approve, ana, &read(&erase), 403).await;
    api.check(approve, dan, &read("another"), 403).await;
    api.check(approve, dan, "{}", 400).await;
    api.check(approve, dan, &read(&erase), 200).await;
    api.check(approve, dan, &read(&erase), 200).await;
    api.check(dry, ana, &erase, 200).await;
    api.check(send, ana, &erase, 202).await;
    let withdraw = ("post", "/v1/approvals/{number}/withdraw", "/v1/approvals/1/withdraw");
    api.check(withdraw, mallory, "", 403).await;
    api.check(withdraw, ana, "", 200).await;
    api.check(withdraw, ana, "", 200).await;
    api.check(approve, dan, &read(&erase), 403).await;
    api.check(("get", wish.1, "/v1/approvals?ended=true"), dan, "", 200).await;
    api.check(("get", wish.1, "/v1/approvals?ended=perhaps"), dan, "", 400).await;

    let letters = "/v1/tenants/{tenant_id}/dead-letters";
    let (letter, at) = (format!("{letters}/{{message_id}}"), "/v1/tenants/acme/dead-letters");
    api.check(("get", letters, at), ana, "", 200).await;
    api.check(("get", letters, at), mallory, "", 403).await;
    api.check(("get", &letter, &format!("{at}/d-1")), ana, "", 200).await;
    api.check(("get", &letter, &format!("{at}/d-9")), ana, "", 404).await;
    let because = r#"{"reason": "the outage is over"}"#;
    for (verb, id, token, body, status) in [
        ("replay", "d-1", ana, "{}", 400),
        ("replay", "d-1", mallory, because, 403),
        ("replay", "d-1", none, because, 401),
        ("replay", "d-1", ana, because, 202),
        ("replay", "d-1", ana, because, 200),
        ("replay", "d-9", ana, because, 404),
        ("discard", "d-1", ana, because, 409),
        ("discard", "d-2", ana, because, 200),
        ("discard", "d-2", ana, because, 200),
        ("replay", "d-2", ana, because, 409),
    ] {
        api.check(("post", &format!("{letter}/{verb}"), &format!("{at}/{id}/{verb}")), token, body, status).await;
    }

    let alerts = "/v1/alerts";
    for (query, token, status) in [
        ("?tenant=acme&severity=critical", ana, 200),
        ("", olaf, 200),
        ("", ana, 403),
        ("?severity=loud", olaf, 400),
        ("?tenant=acme", mallory, 403),
        ("", none, 401),
    ] {
        api.check(("get", alerts, &format!("{alerts}{query}")), token, "", status).await;
    }

    let search = "/v1/audit/events";
    for (query, token, status) in [
        ("?tenant=acme&limit=3", ana, 200),
        ("", ana, 400),
        ("?tenant=acme", mallory, 403),
        ("?tenant=acme", none, 401),
    ] {
        api.check(("get", search, &format!("{search}{query}")), token, "", status).await;
    }
    api.check(("get", "/v1/audit/checkpoint", "/v1/audit/checkpoint"), ana, "", 200).await;
    api.check(("get", "/v1/audit/checkpoint", "/v1/audit/checkpoint"), none, "", 401).await;
    let tile = "/v1/audit/tile/{path}";
    for (path, token, status) in [("0/000", ana, 200), ("0/001", ana, 404), ("x", ana, 404), ("0/000", none, 401)] {
        api.check(("get", tile, &format!("/v1/audit/tile/{path}")), token, "", status).await;
    }
    api.check(("get", "/v1/schemas", "/v1/schemas"), None, "", 200).await;
    api.check(("get", "/v1/schemas/{name}", "/v1/schemas/message"), None, "", 200).await;
    api.check(("get", "/v1/schemas/{name}", "/v1/schemas/none"), None, "", 404).await;
    api.check(("get", "/healthz", "/healthz"), None, "", 200).await;
    api.check(("get", PATH, PATH), None, "", 200).await;

    // Whoever asks too often is told so as the document says, whatever they ask.
    while api.send("get", "/v1/schemas", None, "").await.status() == 200 {}
    for (template, path) in
        [("/v1/schemas", "/v1/schemas"), ("/v1/tenants/{tenant_id}/events", "/v1/tenants/acme/events")]
    {
        let answer = api.send("get", path, ana, "").await;
        api.judge(("get", template, path), answer, 429).await;
    }

    let good = |operation: &Value| -> Vec<u16> {
        let statuses = operation["responses"].as_object().unwrap().keys().map(|status| status.parse().unwrap());
        statuses.filter(|status| *status < 300).collect()
    };
    for (path, method, operation) in operations(&api.document) {
        for status in good(operation) {
            let id = operation["operationId"].as_str().unwrap();
            assert!(
                api.seen.contains(&(id.to_owned(), status)),
                "{method} {path}: {status} was never seen: ask for it above"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn which_message_an_id_stands_for_is_told_when_it_is_sent_and_with_its_status() {
    let api = Api::new().await;
    let token = api.bench.token(OPERATOR);
    let ask = async |method: &str, path: &str, body: &str| -> Value {
        advance(Duration::from_millis(100)).await;
        let answer = api.send(method, path, Some(&token), body).await.into_body().collect().await.unwrap();
        serde_json::from_slice(&answer.to_bytes()).unwrap()
    };
    let hash = |body: &str| json!(hex::encode(body_sha256(body.as_bytes())));
    let sent = credit("acme", "m-9", 7);
    let (first, again) = (ask("post", "/v1/commands", &sent).await, ask("post", "/v1/commands", &sent).await);
    assert_eq!((&first["duplicate"], &first["body_sha256"]), (&json!(false), &hash(&sent)), "{first}");
    assert_eq!((&again["duplicate"], &again["body_sha256"]), (&json!(true), &hash(&sent)), "{again}");
    for (id, body, status) in [
        ("m-9", sent, "pending"),
        ("m-1", credit("acme", "m-1", 5), "applied"),
        ("m-2", credit("acme", "m-2", 5), "rejected"),
        ("d-1", credit("acme", "d-1", 5), "dead_lettered"),
    ] {
        let told = ask("get", &format!("/v1/commands/{id}?tenant_id=acme"), "").await;
        assert_eq!((&told["status"], &told["body_sha256"]), (&json!(status), &hash(&body)), "{told}");
    }
    let secret = asking("acme", "m-10", "store_credential", r#"{"credential": "stripe", "secret": "hunter2"}"#);
    let (first, again) = (ask("post", "/v1/commands", &secret).await, ask("post", "/v1/commands", &secret).await);
    assert_ne!(first["body_sha256"], hash(&secret), "it is the sealed message's: {first}");
    assert_eq!(first["body_sha256"], again["body_sha256"], "{again}");
    let told = ask("get", "/v1/commands/m-10?tenant_id=acme", "").await;
    assert_eq!(told["body_sha256"], first["body_sha256"], "{told}");
}

#[tokio::test(start_paused = true)]
async fn an_approval_that_was_given_is_seen_by_a_dry_run_and_none_is_asked_for_what_is_done() {
    let api = Api::new().await;
    let token = api.bench.token(OPERATOR);
    let ask = async |method: &str, path: &str, token: &str, body: &str| -> (u16, Value) {
        advance(Duration::from_millis(100)).await;
        let answer = api.send(method, path, Some(token), body).await;
        let status = answer.status().as_u16();
        (status, serde_json::from_slice(&answer.into_body().collect().await.unwrap().to_bytes()).unwrap())
    };
    let (erase, wish) =
        (asking("acme", "m-21", "erase_tenant_secrets", "{}"), "/v1/approvals?reason=they%20have%20left");
    let dry = async || {
        let (_, told) = ask("post", "/v1/dry-runs", &token, &erase).await;
        (told["needs_approval"].clone(), told["approved_by"].clone())
    };
    assert_eq!(dry().await, (json!(true), Value::Null));
    let (_, open) = ask("post", wish, &token, &erase).await;
    assert_eq!((&open["state"], &open["duplicate"]), (&json!("pending"), &json!(false)), "{open}");
    let (_, open) = ask("post", wish, &token, &erase).await;
    assert_eq!((&open["number"], &open["duplicate"]), (&json!(1), &json!(true)), "{open}");
    assert_eq!(dry().await, (json!(true), Value::Null), "asked for is not approved");
    let (dan, read) = (api.bench.token("dan"), json!({"body_sha256": open["body_sha256"]}).to_string());
    for before in [false, true] {
        let (_, given) = ask("post", "/v1/approvals/1/approve", &dan, &read).await;
        assert_eq!((&given["state"], &given["duplicate"]), (&json!("approved"), &json!(before)), "{given}");
    }
    assert_eq!(dry().await, (json!(false), json!("dan")));
    for before in [false, true] {
        let (_, ended) = ask("post", "/v1/approvals/1/withdraw", &dan, "").await;
        assert_eq!((&ended["state"], &ended["duplicate"]), (&json!("withdrawn"), &json!(before)), "{ended}");
    }
    assert_eq!(dry().await, (json!(true), Value::Null));
    let listed =
        async |query: &str| ask("get", &format!("/v1/approvals{query}"), &dan, "").await.1["approvals"].clone();
    assert_eq!(listed("").await, json!([]));
    assert_eq!(listed("?ended=true").await[0]["withdrawn_by"], "dan");
    let (status, refused) = ask("post", wish, &token, &credit("acme", "m-1", 9)).await;
    let words = refused["detail"].as_str().unwrap();
    assert!(status == 409 && words.contains("has an outcome for a message m-1"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn an_event_of_the_stream_is_what_the_document_says() {
    let api = Api::new().await;
    let token = api.bench.token(OPERATOR);
    let mut body = api.send("get", "/v1/tenants/acme/events?after=0", Some(&token), "").await.into_body();
    let mut text = String::new();
    while !text.contains("data: ") {
        let frame = body.frame().await.unwrap().unwrap();
        text += std::str::from_utf8(&frame.into_data().unwrap()).unwrap();
    }
    let schema = api.validator(json!({"$ref": "#/components/schemas/Event"}));
    let events: Vec<Value> =
        text.lines().filter_map(|line| Some(serde_json::from_str(line.strip_prefix("data: ")?).unwrap())).collect();
    assert!(!events.is_empty() && events.iter().all(|event| schema.is_valid(event)), "{events:?}");
}
