//! A failure is found, made small, kept as a regression, and told: by the command line, as CI and people use it.

use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;
use tenantry_tests::{tenantry, write_file};

/// Disks whose syncs make nothing durable, and four faults of which one shows it.
const LYING: &str = r#"
name = "lying"
description = "Syncs make nothing durable."
duration_ms = 1500

[disk]
lying_sync = true

[topology]
consumers = 2
tls = true

[workload]
commands = 60
resend = 0.2

[[fault]]
kind = "hold"
between = ["consumer-1", "broker"]
at_ms = 200
for_ms = 100

[[fault]]
kind = "bounce"
host = "auth"
at_ms = 400

[[fault]]
kind = "power_loss"
host = "ledger"
at_ms = 900
for_ms = 100

[[fault]]
kind = "crash"
host = "consumer-2"
at_ms = 1100
for_ms = 200
"#;

struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    fn new() -> Self {
        let files = Self { folder: tempfile::tempdir().unwrap() };
        write_file(&files.path("lying.toml"), LYING);
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The regression that shrinking the scenario leaves, and what was said of it.
    fn shrunk(&self) -> (PathBuf, Value) {
        let out = self.path("kept.toml");
        let (lying, out_text) = (self.path("lying.toml"), out.display().to_string());
        let said = run(&["shrink", text(&lying), "--seed", "1", "--out", &out_text, "--json", "-"]);
        assert_eq!(said.status.code(), Some(1), "{}", String::from_utf8_lossy(&said.stderr));
        (out, serde_json::from_slice(&said.stdout).unwrap())
    }
}

fn run(arguments: &[&str]) -> Output {
    tenantry(arguments)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn json(arguments: &[&str]) -> (Option<i32>, Value) {
    let output = run(&[arguments, &["--json", "-"]].concat());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}")))
}

#[test]
fn a_failure_becomes_a_few_entries_that_fail_for_ever_until_they_are_fixed() {
    let files = Files::new();
    let (kept, shrunk) = files.shrunk();
    let (entries, before) = (shrunk["entries"].as_u64().unwrap(), shrunk["entries_before"].as_u64().unwrap());
    assert!(entries <= 3 && before > 60 && shrunk["is_minimal"] == true, "{shrunk:#}");
    assert!(shrunk["plan"].to_string().contains("power_loss ledger"), "{shrunk:#}");

    // It runs with its own seed whatever is asked for, and the line that reproduces it names no other.
    let (code, suite) = json(&["run", text(&kept), "--seeds", "7..9"]);
    let runs = suite["runs"].as_array().unwrap();
    assert_eq!((code, runs.len(), &runs[0]["seed"]), (Some(1), 1, &1.into()), "{suite:#}");
    assert_eq!(runs[0]["digest"], shrunk["digest"]);
    assert!(runs[0]["reproduce"].as_str().unwrap().ends_with("kept.toml"), "{suite:#}");
    assert!(suite["notes"].to_string().contains("1 regression ran with the seed of the plan"), "{suite:#}");

    let (code, told) = json(&["replay", text(&kept), "--inevitable"]);
    assert_eq!((code, &told["outcome"]), (Some(1), &"same".into()), "{told:#}");
    let story = told["story"].to_string();
    for word in ["FAULT power_loss ledger", "sends m-", "takes effect", "healed", "the end  G"] {
        assert!(story.contains(word), "no {word:?} in {told:#}");
    }
    let neighbour = &told["neighbour"];
    assert!(neighbour["event"].as_u64().unwrap() > 0, "{told:#}");
    assert!(neighbour["only_here"].as_array().unwrap().len() + neighbour["only_there"].as_array().unwrap().len() > 0);
    // At the end all is decided; and what has not happened yet is not.
    let moments = told["inevitable"].as_array().unwrap();
    assert_eq!(moments.last().unwrap()["violated"], 20, "{told:#}");
    assert!(moments[0]["at_ms"] == 0 && told["inevitable_from_ms"].as_u64().unwrap() > 0, "{told:#}");

    // Whoever edits it is told where they are wrong.
    let spelt = std::fs::read_to_string(&kept).unwrap();
    write_file(&kept, &spelt.replace("tenant = \"t-", "tenant = \"x-"));
    let said = run(&["run", text(&kept)]);
    let why = String::from_utf8_lossy(&said.stderr).into_owned();
    let line = spelt.lines().position(|line| line.starts_with("act = ")).unwrap() + 1;
    assert_eq!(said.status.code(), Some(2), "{why}");
    assert!(why.contains(&format!("kept.toml:{line}:7")) && why.contains("there is no tenant \"x-"), "{why}");

    // Another run than the one that was recorded, and none.
    write_file(&kept, &spelt.replace("digest = \"", "digest = \"0"));
    let (code, told) = json(&["replay", text(&kept)]);
    assert_eq!((code, &told["outcome"]), (Some(5), &"diverged".into()), "{told:#}");
    write_file(&kept, &spelt.replace("lying_sync = true", "lying_sync = false"));
    let (code, told) = json(&["replay", text(&kept)]);
    assert_eq!((code, &told["outcome"]), (Some(0), &"fixed".into()), "{told:#}");
    assert_eq!(run(&["run", text(&kept)]).status.code(), Some(0), "what it guards was compared, and holds");
}

#[test]
fn a_record_is_replayed_and_a_run_parts_from_another_at_a_named_event() {
    let files = Files::new();
    let (lying, record, trace) = (files.path("lying.toml"), files.path("record.json"), files.path("trace.jsonl"));
    let kept = run(&["run", text(&lying), "--seed", "1", "--json", text(&record), "--trace", text(&trace)]);
    assert_eq!(kept.status.code(), Some(1));
    let (code, told) = json(&["replay", text(&record), "--against", text(&trace)]);
    assert_eq!((code, &told["outcome"]), (Some(1), &"same".into()), "{told:#}");
    assert!(told["story"].as_array().unwrap().len() > 3, "{told:#}");

    let (code, told) = json(&["replay", text(&lying), "--seed", "2", "--against", text(&trace)]);
    assert_eq!((code, &told["outcome"]), (Some(5), &"diverged".into()), "{told:#}");
    assert!(told["diverged_at"].as_str().unwrap().starts_with("event "), "{told:#}");
}

#[test]
fn a_seed_is_run_twice_if_asked_and_a_passing_one_has_nothing_to_be_made_small() {
    let said = run(&["run", "smoke", "--seeds", "1..2", "--double"]);
    assert_eq!(said.status.code(), Some(0), "{}", String::from_utf8_lossy(&said.stdout));
    let said = run(&["shrink", "smoke", "--seed", "1"]);
    let told = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.status.code() == Some(0) && told.contains("does not violate anything"), "{told}");
    let said = run(&["shrink", "smoke"]);
    assert_eq!(said.status.code(), Some(2), "a scenario has no seed of its own");
}
