//! What the system tells of itself, to the tools that ask for it: promtool, a supervisor, an OpenTelemetry collector.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tenantry_system::capability::{Network, Tcp};
use tenantry_system::monitor::{Family, Metrics};
use tenantry_tests::{Cluster, ROLES, credit, eventually, root};
use tokio::runtime::Runtime;

/// Whatever was started or killed is noticed within this time.
const NOTICED_MAX: Duration = Duration::from_secs(30);

/// promtool's answer to `arguments` with `input`; it must be content.
fn promtool(arguments: &[&str], input: &str) -> String {
    let mut command = Command::new("promtool");
    command.current_dir(root().join("system/monitoring")).args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = command.spawn().unwrap_or_else(|error| {
        panic!(
            "promtool: {error}; it comes with `apt-get install prometheus`, or put `.ci/promtool`'s folder into PATH"
        )
    });
    running.stdin.take().expect("it is piped").write_all(input.as_bytes()).expect("promtool reads");
    let ended = running.wait_with_output().expect("promtool ends");
    let told = String::from_utf8_lossy(&ended.stdout).into_owned() + &String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "promtool {arguments:?}:\n{told}");
    told
}

fn file(name: &str) -> String {
    std::fs::read_to_string(root().join("system/monitoring").join(name)).expect("a file of the project's")
}

/// Status and text of what `address` answers at `path`.
async fn get(address: &str, path: &str) -> Option<(u16, String)> {
    let stream = Tcp.connect_outside(address).await.ok()?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
    tokio::spawn(connection);
    let request = Request::get(path).header("host", address).body(Empty::<Bytes>::new()).expect("a request");
    let response = sender.send_request(request).await.ok()?;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.ok()?.to_bytes();
    Some((status, String::from_utf8_lossy(&body).into_owned()))
}

/// Waits until `role` says at `/readyz` that it is `ready`, and about `check` that it is as it should be or not.
async fn await_ready(cluster: &Cluster, role: &str, ready: bool, check: &str) -> Value {
    let what = format!("{role} says ready: {ready}, {check}: {ready}");
    eventually(&what, NOTICED_MAX, async || {
        let (status, body) = get(cluster.monitor(role), "/readyz").await?;
        let body: Value = serde_json::from_str(&body).expect("JSON");
        let of_check = body["checks"].as_array()?.iter().find(|checked| checked["check"] == check)?.clone();
        (status == if ready { 200 } else { 503 } && of_check["ok"] == ready).then_some(of_check)
    })
    .await
}

#[test]
fn each_role_says_what_it_lacks_and_when_it_has_it_again() {
    let mut cluster = Cluster::new(None);
    ROLES.iter().for_each(|role| cluster.start(role));
    Runtime::new().unwrap().block_on(async {
        for role in ROLES {
            await_ready(&cluster, role, true, "serving").await;
        }
        for (killed, noticing, check) in [
            ("broker", "producer", "broker"),
            ("ledger", "consumer", "ledger"),
            ("auth", "ledger", "auth heard by the ledger"),
        ] {
            cluster.kill(killed);
            let told = await_ready(&cluster, noticing, false, check).await;
            assert!(told["why"].as_str().is_some_and(|why| !why.is_empty()), "{told}");
            // It lives, and nobody should start it anew for what another lacks.
            assert_eq!(get(cluster.monitor(noticing), "/healthz").await.expect("an answer").0, 200);
            cluster.start(killed);
            await_ready(&cluster, noticing, true, check).await;
        }
        // Without the audit log all go on, and say that it is not there.
        cluster.kill("audit");
        eventually("the ledger misses the audit log", NOTICED_MAX, async || {
            let (status, body) = get(cluster.monitor("ledger"), "/readyz").await?;
            let body: Value = serde_json::from_str(&body).expect("JSON");
            let told = body["checks"].as_array()?.iter().find(|checked| checked["check"] == "audit")?.clone();
            (status == 200 && told["ok"] == false && told["needed"] == false).then_some(())
        })
        .await;
        cluster.start("audit");
        // What is asked for here is not for the public.
        let panel = cluster.panel("dev-operator").await;
        for path in ["/metrics", "/readyz"] {
            assert_eq!(panel.get(path).await.expect("an answer").status, 404, "{path}");
        }
    });
    cluster.stop();
}

/// Takes what is sent to `/v1/traces`, and returns its address.
async fn collector(spans: Arc<Mutex<Vec<Value>>>) -> String {
    let listener = Tcp.bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_address();
    tokio::spawn(async move {
        loop {
            let channel = listener.accept().await.expect("a connection").open().await.expect("plain");
            let spans = spans.clone();
            let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                let spans = spans.clone();
                async move {
                    assert_eq!(request.uri().path(), "/v1/traces");
                    let body = request.into_body().collect().await.expect("a whole body").to_bytes();
                    let body: Value = serde_json::from_slice(&body).expect("JSON");
                    let mut spans = spans.lock().unwrap();
                    for resource in body["resourceSpans"].as_array().expect("OTLP") {
                        let service = &resource["resource"]["attributes"][0]["value"]["stringValue"];
                        for span in resource["scopeSpans"][0]["spans"].as_array().expect("OTLP") {
                            let mut span = span.clone();
                            span["service"] = service.clone();
                            spans.push(span);
                        }
                    }
                    Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("{}"))))
                }
            });
            tokio::spawn(
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(channel.stream), service),
            );
        }
    });
    address
}

#[test]
fn a_command_is_one_trace_through_all_processes_and_its_metrics_please_promtool() {
    let runtime = Runtime::new().unwrap();
    let spans = Arc::new(Mutex::new(Vec::new()));
    let address = runtime.block_on(collector(spans.clone()));
    let mut cluster = Cluster::traced(&format!("http://{address}"));
    ROLES.iter().for_each(|role| cluster.start(role));
    let (trace, caller) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
    runtime.block_on(async {
        let panel = cluster.panel("dev-operator").await;
        for role in ROLES {
            await_ready(&cluster, role, true, "serving").await;
        }
        let told = post_traced(cluster.address("producer"), &panel.token, &credit("m-1", 5), trace, caller).await;
        assert!(told.starts_with(&format!("00-{trace}-")) && told.ends_with("-01"), "{told}");
        let outcome = panel.status("acme", "m-1", 8000).await.expect("an answer").body;
        assert_eq!(outcome["status"], "applied", "{outcome}");

        let of_it = eventually("all spans of the command arrive", NOTICED_MAX, async || {
            let spans = spans.lock().unwrap();
            let of_it: Vec<_> = spans.iter().filter(|span| span["traceId"] == trace).cloned().collect();
            (of_it.len() >= 6).then_some(of_it)
        })
        .await;
        let by_name: BTreeMap<_, _> = of_it.iter().map(|span| (span["name"].as_str().unwrap(), span)).collect();
        let tree = [
            ("POST /v1/commands", None, "tenantry-producer"),
            ("auth.grant", Some("POST /v1/commands"), "tenantry-producer"),
            ("broker.publish", Some("POST /v1/commands"), "tenantry-producer"),
            ("queue.wait", Some("broker.publish"), "tenantry-broker"),
            ("consumer.decide", Some("queue.wait"), "tenantry-consumer"),
            ("ledger.apply", Some("consumer.decide"), "tenantry-ledger"),
        ];
        assert_eq!(by_name.keys().copied().collect::<BTreeSet<_>>(), tree.map(|(name, ..)| name).into());
        for (name, above, service) in tree {
            let above = above.map_or(json!(caller), |above| by_name[above]["spanId"].clone());
            assert_eq!(
                (&by_name[name]["parentSpanId"], &by_name[name]["service"]),
                (&above, &json!(service)),
                "{name}"
            );
        }

        for role in ROLES {
            let (status, text) = get(cluster.monitor(role), "/metrics").await.expect("metrics");
            assert_eq!(status, 200);
            promtool(&["check", "metrics"], &text);
        }
        let value = async |role: &str, series: &str| {
            let (_, text) = get(cluster.monitor(role), "/metrics").await.expect("metrics");
            let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse::<f64>().ok());
            line.unwrap_or_else(|| panic!("no {series} in\n{text}"))
        };
        for (role, series) in [
            ("producer", "tenantry_http_requests_total{route=\"submit\",status=\"202\"}"),
            ("broker", "tenantry_broker_publishes_total{answer=\"accepted\"}"),
            ("broker", "tenantry_broker_deliveries_total{delivery=\"first\"}"),
            ("ledger", "tenantry_ledger_commands_total{outcome=\"applied\"}"),
            ("consumer", "tenantry_stage_duration_seconds_count{stage=\"end_to_end\"}"),
        ] {
            assert_eq!(value(role, series).await, 1.0, "{role}: {series}");
        }
        assert!(value("ledger", "tenantry_ledger_authority_age_seconds").await < 5.0);
        assert!(value("broker", "tenantry_trace_spans_total{end=\"exported\"}").await >= 1.0);
        assert_eq!(value("broker", "tenantry_broker_messages{lane=\"ready\"}").await, 0.0);
    });
    cluster.stop();
}

/// Sends a command within a trace, and returns the trace of the answer.
async fn post_traced(address: &str, token: &str, body: &Value, trace: &str, caller: &str) -> String {
    let stream = Tcp.connect_outside(address).await.expect("the producer listens");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("HTTP");
    tokio::spawn(connection);
    let request = Request::post("/v1/commands")
        .header("host", address)
        .header("authorization", format!("Bearer {token}"))
        .header("traceparent", format!("00-{trace}-{caller}-01"))
        .body(Full::new(Bytes::from(body.to_string())))
        .expect("a request");
    let response = sender.send_request(request).await.expect("an answer");
    assert_eq!(response.status(), 202);
    response.headers()["traceparent"].to_str().expect("text").to_owned()
}

#[test]
fn the_alert_rules_fire_at_their_thresholds_and_are_silent_below() {
    promtool(&["check", "rules", "alerts.yaml"], "");
    promtool(&["test", "rules", "alerts.test.yaml"], "");
    let (rules, tests) = (file("alerts.yaml"), file("alerts.test.yaml"));
    let alerts: Vec<_> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 10, "{alerts:?}");
    for alert in alerts {
        for kind in ["fires", "is silent"] {
            assert!(tests.contains(&format!("- name: {alert} {kind}\n")), "no test shows that {alert} {kind}");
        }
    }
    let kept = |what: &str| rules.lines().filter(|line| line.trim().starts_with(what)).count();
    assert_eq!(kept("runbook: \""), kept("- alert: "), "a rule has no runbook");
}

/// Every metric named in `text` with what its selector, if any, says.
fn named(text: &str) -> Vec<(&str, &str)> {
    let is_name = |c: char| c.is_ascii_lowercase() || c == '_';
    let starts = text.match_indices("tenantry_").chain(text.match_indices("process_"));
    starts
        .map(|(at, _)| {
            let rest = &text[at..];
            let (name, behind) = rest.split_at(rest.find(|c| !is_name(c)).unwrap_or(rest.len()));
            let selector = behind.strip_prefix('{').and_then(|behind| behind.split('}').next());
            (name, selector.unwrap_or_default())
        })
        .collect()
}

#[test]
fn rules_and_dashboard_name_only_metrics_and_labels_that_there_are() {
    let metrics = Metrics::default();
    let families: BTreeMap<_, &dyn Family> =
        metrics.families().into_iter().map(|family| (family.name(), family)).collect();
    let dashboard = file("dashboard.json");
    let panels: Value = serde_json::from_str(&dashboard).expect("JSON");
    assert!(panels["panels"].as_array().is_some_and(|panels| panels.len() > 10));
    // Within JSON, quotes are escaped.
    for (name, text) in [("alerts.yaml", file("alerts.yaml")), ("dashboard.json", dashboard.replace("\\\"", "\""))] {
        let found = named(&text);
        assert!(found.len() > 10, "{name} names {found:?}");
        for (metric, selector) in found {
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| metric.strip_suffix(suffix));
            let family = families.get(metric).or_else(|| families.get(base?));
            let family = family.unwrap_or_else(|| panic!("{name}: there is no metric {metric}"));
            let known = family.labels().join(",");
            for wanted in selector.split(',').filter(|part| !part.is_empty() && !part.starts_with("job=")) {
                let (label, values) = wanted.split_once('=').expect("a matcher");
                for value in values.trim_start_matches('~').trim_matches('"').split('|') {
                    let exact = format!("{label}=\"{value}\"");
                    assert!(known.split(',').any(|known| known == exact), "{name}: {metric} has no {exact}");
                }
            }
        }
    }
}

#[test]
fn what_is_told_stays_on_this_machine() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("tenantry.toml");
    for (text, why) in [
        ("[monitor.listen]\nbroker = \"0.0.0.0:9465\"\n", "0.0.0.0:9465 is not a loopback address"),
        ("[monitor]\notlp = \"http://10.0.0.7:4318\"\n", "10.0.0.7:4318 is not a loopback address"),
        ("[monitor]\notlp = \"https://127.0.0.1:4318\"\n", "write one such as http://127.0.0.1:4318"),
        ("[monitor]\nsampled = 2.0\n", "must be from 0 to 1"),
    ] {
        tenantry_tests::write_file(&config, &format!("data = {:?}\n{text}", folder.path().join("data")));
        let ended = tenantry_tests::tenantryd(&["serve", "broker", "--config", config.to_str().unwrap()]);
        let told = String::from_utf8_lossy(&ended.stderr);
        assert!(!ended.status.success() && told.contains(why), "{text}: {told}");
    }
}
