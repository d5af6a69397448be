//! The system for real: processes, TCP, files and `kill -9`.

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tenantry_sim::tenantry::http::{Answer, HttpClient};
use tenantry_system::capability::{Clock, SystemClock, Tcp};
use tenantry_tests::{Process, write_file};
use tokio::runtime::Runtime;

/// An answer takes at most this long; a status waits for its outcome.
const DEADLINE: Duration = Duration::from_secs(10);

/// `tenantryd`, and a way to talk to it as the development operator.
struct Panel {
    client: HttpClient,
    token: String,
}

impl Panel {
    async fn post(&self, body: &Value) -> Result<Answer, String> {
        self.client.request("POST".parse().unwrap(), "/v1/commands", &self.token, body.to_string(), DEADLINE).await
    }

    async fn get(&self, path: &str) -> Value {
        let answer = self.client.request("GET".parse().unwrap(), path, &self.token, String::new(), DEADLINE).await;
        answer.expect("an answer").body
    }

    async fn status(&self, id: &str) -> Value {
        self.get(&format!("/v1/commands/{id}?tenant_id=acme&wait_ms=8000")).await
    }
}

fn credit(id: &str, amount_minor: u64) -> Value {
    json!({
        "tenant_id": "acme", "user_id": "dev-operator", "action": "issue_credit",
        "payload": {"amount_minor": amount_minor, "currency": "EUR"},
        "message_id": id, "timestamp": "2026-01-01T00:00:00Z",
    })
}

fn up(data: &Path) -> (Process, Panel) {
    let mut process = Process::tenantryd(&["up", "--data", data.to_str().unwrap(), "--listen", "127.0.0.1:0"]);
    let address =
        process.await_line(|line| Some(line.strip_prefix("Tenantry is up at http://")?.split_once(',')?.0.to_owned()));
    let token = process.await_line(|line| line.starts_with("eyJ").then(|| line.to_owned()));
    (process, Panel { client: HttpClient::new(Arc::new(Tcp), address), token })
}

#[test]
fn what_was_confirmed_before_a_kill_is_applied_once_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = Runtime::new().unwrap();
    let (rounds, each) = (4, 25);
    let mut restarts = Vec::new();
    for round in 0..rounds {
        let (process, panel) = up(folder.path());
        restarts.push(SystemClock.now().as_millisecond());
        runtime.block_on(async {
            // Together: few commits confirm them all, and then each takes effect in a commit of its own.
            let ids: Vec<_> = (0..each).map(|index| format!("m-{round}-{index}")).collect();
            let posts: Vec<_> = ids.iter().map(|id| credit(id, 1)).collect();
            for answer in futures_util::future::join_all(posts.iter().map(|body| panel.post(body))).await {
                let answer = answer.expect("an answer");
                assert_eq!(answer.status, 202, "{}", answer.body);
            }
        });
        // Right after the last 202.
        process.kill();
    }
    let (process, panel) = up(folder.path());
    restarts.push(SystemClock.now().as_millisecond());
    let mut after_the_kill = 0;
    runtime.block_on(async {
        for (round, index) in (0..rounds).flat_map(|round| (0..each).map(move |index| (round, index))) {
            let id = format!("m-{round}-{index}");
            let outcome = panel.status(&id).await;
            assert_eq!(outcome["status"], "applied", "{id}: {outcome}");
            after_the_kill += i32::from(outcome["decided_at_unix_ms"].as_i64() >= Some(restarts[round + 1]));
            let again = panel.post(&credit(&id, 1)).await.expect("an answer");
            assert_eq!((again.status.as_u16(), &again.body["duplicate"]), (200, &json!(true)), "{id}");
        }
        let credits = panel.get("/v1/tenants/acme/credits").await;
        assert_eq!(credits["credits_minor"], json!({"EUR": rounds * each}), "{credits}");
    });
    assert!(after_the_kill > 0, "every command had taken effect before the kill: the kill showed nothing");
    assert!(process.stop(), "a graceful stop ends well");
}

#[test]
fn an_operator_without_a_role_is_refused_with_the_reason_and_without_a_token_nobody_gets_in() {
    let folder = tempfile::tempdir().unwrap();
    let (_process, mut panel) = up(folder.path());
    Runtime::new().unwrap().block_on(async {
        let mut foreign = credit("m-1", 1);
        foreign["tenant_id"] = json!("initech");
        let refused = panel.post(&foreign).await.expect("an answer");
        assert_eq!(refused.status, 403);
        assert_eq!(refused.body["detail"], "operator dev-operator holds no role on tenant initech");
        let hidden = panel.get("/v1/tenants/initech/credits").await;
        assert_eq!(hidden["status"], 403);
        panel.token.pop();
        assert_eq!(panel.post(&credit("m-1", 1)).await.expect("an answer").status, 401);
    });
}

#[test]
fn roles_in_processes_of_their_own_survive_the_death_of_any_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let roles = ["auth", "broker", "ledger", "audit", "consumer", "producer"];
    let config = folder.path().join("tenantry.toml");
    let producer = free().to_string();
    let (broker, auth, ledger, audit) = (free(), free(), free(), free());
    let text = format!(
        "data = {data:?}\n[addresses]\nproducer = \"{producer}\"\nbroker = \"{broker}\"\nauth = \"{auth}\"\n\
         ledger = \"{ledger}\"\naudit = \"{audit}\"\n"
    );
    write_file(&config, &text);
    let serve = |role: &str| Process::tenantryd(&["serve", role, "--config", config.to_str().unwrap()]);
    let mut processes: Vec<_> = roles.iter().map(|role| serve(role)).collect();
    let token =
        Process::tenantryd(&["token", "--data", data.to_str().unwrap()]).await_line(|line| Some(line.to_owned()));
    let panel = Panel { client: HttpClient::new(Arc::new(Tcp), producer), token };
    Runtime::new().unwrap().block_on(async {
        for (index, role) in roles.iter().enumerate() {
            let id = format!("m-{index}");
            // Sent again until it is confirmed: roles come up in any order, and one of them has just died.
            let mut attempts = 0;
            loop {
                match panel.post(&credit(&id, 1)).await {
                    Ok(answer) if matches!(answer.status.as_u16(), 200 | 202) => break,
                    other => assert!(attempts < 100, "{id} after {attempts} attempts: {other:?}"),
                }
                attempts += 1;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            std::mem::replace(&mut processes[index], serve(role)).kill();
        }
        for index in 0..roles.len() {
            let id = format!("m-{index}");
            let mut status = json!(null);
            for _ in 0..100 {
                let path = format!("/v1/commands/{id}?tenant_id=acme&wait_ms=2000");
                let get = panel.client.request("GET".parse().unwrap(), &path, &panel.token, String::new(), DEADLINE);
                if let Ok(answer) = get.await {
                    status = answer.body["status"].clone();
                }
                if status == "applied" {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            assert_eq!(status, "applied", "{id}");
        }
        let credits = panel.get("/v1/tenants/acme/credits").await;
        assert_eq!(credits["credits_minor"], json!({"EUR": roles.len()}), "{credits}");
    });
    for process in processes {
        assert!(process.stop(), "a graceful stop ends well");
    }
}
