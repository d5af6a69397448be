//! The system for real: processes, TCP, files and `kill -9`.

use std::time::Duration;

use serde_json::{Value, json};
use tenantry_system::capability::{Clock, SystemClock};
use tenantry_tests::{Cluster, Panel, ROLES, credit, eventually, up};
use tokio::runtime::Runtime;

/// What is confirmed takes effect within this time, whichever role had to come up first.
const EFFECT_MAX: Duration = Duration::from_secs(30);

/// What an operator reads at `path`.
async fn read(panel: &Panel, path: &str) -> Value {
    panel.get(path).await.expect("an answer").body
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
            let outcome = panel.status("acme", &id, 8000).await.expect("an answer").body;
            assert_eq!(outcome["status"], "applied", "{id}: {outcome}");
            after_the_kill += i32::from(outcome["decided_at_unix_ms"].as_i64() >= Some(restarts[round + 1]));
            let again = panel.post(&credit(&id, 1)).await.expect("an answer");
            assert_eq!((again.status.as_u16(), &again.body["duplicate"]), (200, &json!(true)), "{id}");
        }
        let credits = read(&panel, "/v1/tenants/acme/credits").await;
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
        let told = "operator dev-operator holds no role on tenant initech, and no policy permits issue_credit to them";
        assert_eq!(refused.body["detail"], told, "in the words for a tenant that exists");
        let hidden = read(&panel, "/v1/tenants/initech/credits").await;
        assert_eq!(hidden["status"], 403);
        panel.token.pop();
        assert_eq!(panel.post(&credit("m-1", 1)).await.expect("an answer").status, 401);
    });
}

#[test]
fn roles_in_processes_of_their_own_survive_the_death_of_any_of_them() {
    let mut cluster = Cluster::new(None);
    for role in ROLES {
        cluster.start(role);
    }
    Runtime::new().unwrap().block_on(async {
        let panel = cluster.panel("dev-operator").await;
        for role in ROLES {
            // Sent again until it is confirmed: roles come up in any order, and one of them has just died.
            eventually("a command is confirmed", EFFECT_MAX, async || {
                let answer = panel.post(&credit(&format!("m-{role}"), 1)).await.ok()?;
                matches!(answer.status.as_u16(), 200 | 202).then_some(())
            })
            .await;
            cluster.kill(role);
            cluster.start(role);
        }
        for role in ROLES {
            eventually("a confirmed command takes effect", EFFECT_MAX, async || {
                let answer = panel.status("acme", &format!("m-{role}"), 2000).await.ok()?;
                (answer.body["status"] == "applied").then_some(())
            })
            .await;
        }
        let credits = read(&panel, "/v1/tenants/acme/credits").await;
        assert_eq!(credits["credits_minor"], json!({"EUR": ROLES.len()}), "{credits}");
    });
    cluster.stop();
}
