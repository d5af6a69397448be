//! `tenantryd command` and `tenantryd tenant` against a running system, as people and scripts use them.

use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tenantry_tests::{Panel, Process, binary, credit, tenantryd, up};
use tokio::runtime::Runtime;
use tokio::time::Instant;

/// A system, and `tenantryd` asking it.
struct Asked {
    process: Process,
    panel: Panel,
    _folder: tempfile::TempDir,
}

impl Asked {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (process, panel) = up(folder.path());
        Self { process, panel, _folder: folder }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary("tenantryd"));
        command.args(arguments).env("TENANTRY_TOKEN", &self.panel.token);
        command.env("TENANTRY_URL", format!("http://{}", self.panel.address()));
        command
    }

    /// Exit code, stdout and stderr.
    fn run(&self, arguments: &[&str], input: &str) -> (i32, String, String) {
        let mut command = self.command(arguments);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (status.code().expect("it ended by itself"), text(stdout), text(stderr))
    }
}

#[test]
fn a_command_is_sent_followed_and_read_back() {
    let asked = Asked::new();
    let body = credit("m-1", 1250).to_string();
    let (code, said, why) = asked.run(&["command", "send", "-", "--wait", "20000"], &body);
    assert!(code == 0 && said.starts_with("m-1 of acme: applied at version 1"), "{code}: {said}{why}");
    let (code, said, _) = asked.run(&["command", "send", "-", "--json"], &body);
    let told: Value = serde_json::from_str(&said).unwrap();
    assert!(code == 0 && told["duplicate"] == true, "{said}");

    // One that has ended is told from its beginning, and the watch ends with it.
    let (code, said, why) = asked.run(&["command", "watch", "--tenant", "acme", "m-1"], "");
    let words: Vec<_> = said.lines().map(|line| line.split_whitespace().nth(1).unwrap()).collect();
    // What the broker tells and what the ledger tells come to the log each in its time.
    assert!(code == 0 && words.last() == Some(&"applied"), "{said}{why}");
    assert!(!said.contains('\u{1b}'), "colours are for terminals: {said}");
    let (_, said, _) = asked.run(&["command", "watch", "--tenant", "acme", "m-1", "--json"], "");
    let events: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(events.iter().all(|event| event["message_id"] == "m-1" && event["tenant_id"] == "acme"), "{said}");
    assert!(events.windows(2).all(|two| two[0]["place"].as_u64() < two[1]["place"].as_u64()), "{said}");

    let (code, said, _) = asked.run(&["tenant", "show", "acme"], "");
    assert!(code == 0 && said.contains("credit EUR  1250 minor units\n"), "{said}");
    let widths: Vec<_> = said.lines().map(|line| line.find("  ").unwrap()).collect();
    assert!(said.starts_with("tenant ") && widths.iter().all(|width| *width > 0), "{said}");
    let (_, said, _) = asked.run(&["tenant", "show", "acme", "--json"], "");
    let shown: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&shown["credits_minor"]["EUR"], &shown["paused"]), (&1250.into(), &false.into()), "{said}");

    let (code, said, _) = asked.run(&["tenant", "pause", "acme"], "");
    assert!(code == 0 && said == "acme is paused: nothing takes effect\n", "{said}");
    let (code, said, why) = asked.run(&["command", "send", "-", "--wait", "100"], &credit("m-2", 1).to_string());
    assert!(code == 1 && said == "m-2 of acme: pending\n" && why.contains("is pending, not applied"), "{said}{why}");
    assert!(asked.run(&["tenant", "show", "acme"], "").1.contains("paused"));
    assert_eq!(asked.run(&["tenant", "resume", "acme"], "").0, 0);
    assert_eq!(asked.run(&["command", "status", "m-2", "--tenant", "acme", "--wait", "20000"], "").0, 0);

    // Refused with 1, wrongly asked with 2; the words are the API's.
    for (arguments, code, word) in [
        (&["command", "status", "m-9", "--tenant", "acme"][..], 1, "has no message m-9"),
        (&["command", "watch", "--tenant", "initech"], 1, "403"),
        (&["tenant", "show", "initech"], 1, "403"),
        (&["command", "watch", "--tenant", "Globex"], 2, "has 'G' as character 1"),
        (&["command", "status", "m-1", "--tenant", "acme", "--wait", "30001"], 2, "30001"),
        (&["command", "watch", "--tenant", "acme", "--after", "999999"], 1, "it is another log"),
    ] {
        let (ended, _, why) = asked.run(arguments, "");
        assert!(ended == code && why.contains(word), "{arguments:?}: {ended}: {why}");
    }
    assert!(asked.process.stop(), "a graceful stop ends well");
}

#[test]
fn a_watch_goes_on_while_things_happen_and_a_stop_does_not_wait_for_it() {
    let asked = Asked::new();
    let mut watch = asked.command(&["command", "watch", "--tenant", "acme", "--json", "--after", "0"]);
    watch.stderr(Stdio::null());
    let mut watch = Process::start(watch);
    let runtime = Runtime::new().unwrap();
    for number in 0..3 {
        let id = format!("w-{number}");
        let sent = runtime.block_on(asked.panel.post(credit(&id, 1))).expect("an answer");
        assert_eq!(sent.status, 202);
        let decided = watch.await_line(|line| {
            let event: Value = serde_json::from_str(line).unwrap();
            (event["kind"] == "decided").then_some(event)
        });
        assert_eq!((&decided["message_id"], &decided["outcome"]), (&id.into(), &"applied".into()));
    }
    let begun = Instant::now();
    assert!(asked.process.stop(), "a graceful stop ends well");
    // Connections that do not end are cut after five seconds: the stream was told to end.
    assert!(begun.elapsed() < Duration::from_millis(4500), "the stop took {:?}", begun.elapsed());
}

#[test]
fn the_document_is_printed_without_a_running_system() {
    let printed = tenantryd(&["openapi"]);
    let document: Value = serde_json::from_slice(&printed.stdout).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
}
