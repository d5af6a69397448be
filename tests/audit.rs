//! `tenantryd audit`: a live log is exported, verified elsewhere, spoilt, and verified again.

use std::path::Path;

use serde_json::Value;
use tenantry_tests::{credit, tenantryd, up, write_file};
use tokio::runtime::Runtime;

/// Runs `tenantryd audit` with `arguments`; its exit code and what it printed.
fn audit(arguments: &[&str]) -> (i32, String) {
    let run = tenantryd(&[&["audit"], arguments].concat());
    let said = String::from_utf8_lossy(&run.stdout).into_owned() + &String::from_utf8_lossy(&run.stderr);
    (run.status.code().expect("it ended by itself"), said)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path that is text")
}

/// Has `count` credits decided by a system over `data`, and stops it.
fn decide(data: &Path, round: &str, count: usize) {
    let (process, panel) = up(data);
    Runtime::new().unwrap().block_on(async {
        for number in 0..count {
            let id = format!("{round}-{number}");
            assert_eq!(panel.post(&credit(&id, 1)).await.expect("an answer").status, 202);
            assert_eq!(panel.status("acme", &id, 8000).await.expect("an answer").body["status"], "applied");
        }
        // On record, too: searched for by an operator.
        let is_there = async || {
            let found = panel.get("/v1/audit/events?tenant=acme&action=issue_credit").await.expect("an answer").body;
            (found["events"].as_array().map(Vec::len) >= Some(count)).then_some(())
        };
        tenantry_tests::eventually("the decisions are on record", std::time::Duration::from_secs(10), is_there).await;
        let checkpoint = panel.get("/v1/audit/tile/0/000").await.expect("an answer");
        assert_eq!(checkpoint.status, 404, "a full tile of a small tree");
    });
    assert!(process.stop(), "a graceful stop ends well");
}

#[test]
fn an_export_verifies_offline_and_says_what_is_wrong_with_it_once_it_was_touched() {
    let folder = tempfile::tempdir().unwrap();
    let (data, old, new) = (folder.path().join("data"), folder.path().join("old"), folder.path().join("new"));
    decide(&data, "first", 3);
    let (code, said) = audit(&["export", "--data", text(&data), "--out", text(&old)]);
    assert_eq!(code, 0, "{said}");
    decide(&data, "second", 4);
    assert_eq!(audit(&["export", "--data", text(&data), "--out", text(&new)]).0, 0);
    let (_, key) = audit(&["key", "--data", text(&data)]);
    let (key, since) = (key.trim(), old.join("checkpoint"));

    let verify = ["verify", "--export", text(&new), "--key", key, "--since", text(&since)];
    let (code, said) = audit(&verify);
    assert!(code == 0 && said.starts_with("OK tenantry.internal/audit/"), "{code}: {said}");
    let path = new.join("entries.jsonl");
    let sound = std::fs::read_to_string(&path).unwrap();
    let (before, now) =
        (std::fs::read_to_string(old.join("entries.jsonl")).unwrap().lines().count(), sound.lines().count());
    // Three and four commands: each was published, delivered and decided.
    assert!(before >= 9 && now >= before + 12, "{before} and {now} entries");
    let told = format!("{now} entries, grown from the old checkpoint's {before}, {now} with their records");
    assert!(said.contains(&told), "{said}");

    let (code, lines) = audit(&["search", "--data", text(&data), "--tenant", "acme", "--message", "second-2"]);
    let records: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let line = |record: &Value| sound.lines().nth(record["place"].as_u64().unwrap() as usize - 1).unwrap();
    assert!(code == 0 && records.len() == 3, "{code}: {lines}");
    assert!(records.iter().all(|record| line(record).contains("second-2")), "{lines}");

    write_file(&path, &sound.replacen("first-1", "first-9", 1));
    let (code, said) = audit(&verify);
    let place = sound.lines().position(|line| line.contains("first-1")).unwrap() + 1;
    let told = format!("VIOLATED flipped bit, entries.jsonl: entry {place}, in line {place}");
    assert!(code == 1 && said.contains(&told), "{code}: {said}");
    let (code, said) = audit(&[&verify[..], &["--json"]].concat());
    let told: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
    assert_eq!(
        (code, &told["violations"][0]["kind"], &told["violations_total"]),
        (1, &"flipped_bit".into(), &1.into())
    );
    write_file(&path, &sound);

    // An old export is a log that was cut, for whoever knows a later checkpoint.
    let later = new.join("checkpoint");
    let (code, said) = audit(&["verify", "--export", text(&old), "--key", key, "--since", text(&later)]);
    assert!(code == 1 && said.contains("VIOLATED cut tail"), "{code}: {said}");

    for (arguments, why) in [
        (vec!["verify", "--export", text(&new), "--key", "no key"], "--key is no log's key"),
        (vec!["verify", "--export", "/nowhere", "--key", key], "/nowhere is no folder"),
        (vec!["verify", "--export", text(&new)], "--key <KEY>"),
        (vec!["export", "--data", text(&data), "--out", text(&new)], "failed to create the folder"),
        (vec!["key", "--data", "/nowhere"], "there is no audit log in /nowhere/audit"),
    ] {
        let (code, said) = audit(&arguments);
        assert!(code == 2 && said.contains(why), "{arguments:?}: {code}: {said}");
    }
}
