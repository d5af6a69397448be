//! The command line as machines and people meet it: exit codes, files, what GitHub is told.

use std::path::PathBuf;
use std::process::{Command, Output};

use roxmltree::Document;
use serde_json::Value;

/// A folder of scenarios and results.
struct Desk {
    folder: tempfile::TempDir,
}

/// How a call ended.
struct Ended {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Desk {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    fn json(&self, name: &str) -> Value {
        serde_json::from_str(&self.text(name)).unwrap()
    }

    #[expect(clippy::disallowed_methods, reason = "a test's own file")]
    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// Calls `tenantry` in this folder, with these variables beside its own.
    fn call(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Ended {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tenantry"));
        command.current_dir(self.folder.path()).args(arguments);
        for ours in ["GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "NO_COLOR", "CLICOLOR_FORCE", "FORCE_COLOR"] {
            command.env_remove(ours);
        }
        let Output { status, stdout, stderr } = command.envs(variables.iter().copied()).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ended { code: status.code().unwrap(), stdout: text(stdout), stderr: text(stderr) }
    }

    fn tenantry(&self, arguments: &[&str]) -> Ended {
        self.call(arguments, &[])
    }
}

/// A calm scenario; all that its seeds may miss are the marks `sometimes`.
fn calm(name: &str, sometimes: &str) -> String {
    format!(
        "name = {name:?}\ndescription = \"Calm.\"\nduration_ms = 300\nsometimes = [{sometimes}]\n\
         [workload]\ncommands = 10\nresend = 0.5\n"
    )
}

/// A disk that lies, and a power loss that shows it.
const LYING: &str = "name = \"lying\"\ndescription = \"What was confirmed is lost.\"\nduration_ms = 600\n\
                     [disk]\nlying_sync = true\n[workload]\ncommands = 30\n\
                     [[fault]]\nkind = \"power_loss\"\nhost = \"broker\"\nat_ms = 400\nfor_ms = 100\n";

/// What of a record is the same whoever ran it, and in however many parts.
fn comparable(mut record: Value) -> Value {
    for key in ["notes", "reasons"] {
        record.as_object_mut().unwrap().remove(key);
    }
    for run in record["runs"].as_array_mut().unwrap() {
        run["wall_ms"] = 0.into();
    }
    record
}

#[test]
fn shards_merge_to_the_record_of_one_machine() {
    let desk = Desk::new();
    desk.write("a.toml", &calm("a", "\"resend_recognised\""));
    desk.write("b.toml", &calm("b", ""));
    let whole = desk.tenantry(&["run", "a.toml", "b.toml", "--seeds", "1..3", "--json", "whole.json"]);
    assert_eq!(whole.code, 0, "{}{}", whole.stdout, whole.stderr);
    for index in ["1", "2"] {
        let (shard, file) = (format!("{index}/2"), format!("{index}.json"));
        let arguments = ["run", "a.toml", "b.toml", "--seeds", "1..3", "--shard", &shard, "--json", &file];
        let ended = desk.tenantry(&arguments);
        assert_eq!(ended.code, 0, "{}{}", ended.stdout, ended.stderr);
        assert!(ended.stdout.contains("3 runs: 3 passed"), "{}", ended.stdout);
        assert!(ended.stdout.contains(&format!("Shard {shard}: `tenantry merge` judges")), "{}", ended.stdout);
    }
    let merged = desk.tenantry(&["merge", "2.json", "1.json", "--json", "merged.json", "--junit", "merged.xml"]);
    assert_eq!(merged.code, 0, "{}{}", merged.stdout, merged.stderr);
    assert!(merged.stdout.contains("2 scenarios x 3 seeds: 6 passed."), "{}", merged.stdout);
    assert!(merged.stdout.contains("Merged from 2 records."), "{}", merged.stdout);
    let by_name = |mut record: Value| {
        record["summary"].as_array_mut().unwrap().sort_by_key(|scenario| scenario["scenario"].to_string());
        record["runs"].as_array_mut().unwrap().sort_by_key(|run| (run["scenario"].to_string(), run["seed"].as_u64()));
        comparable(record)
    };
    assert_eq!(by_name(desk.json("merged.json")), by_name(desk.json("whole.json")));
    let xml = desk.text("merged.xml");
    let document = Document::parse(&xml).unwrap();
    assert_eq!(document.root_element().attribute("tests"), Some("6"), "{xml}");

    // One of them twice, one of them missing, and a scenario that was changed in between.
    let twice = desk.tenantry(&["merge", "1.json", "1.json"]);
    assert!(twice.code == 2 && twice.stderr.contains("overlap: both are shard 1/2"), "{}", twice.stderr);
    let missing = desk.tenantry(&["merge", "1.json"]);
    assert!(missing.code == 4 && missing.stdout.contains("Of 2 shards these are missing: 2."), "{}", missing.stdout);
    desk.write("a.toml", &calm("a", ""));
    desk.tenantry(&["run", "a.toml", "--seeds", "9..9", "--json", "changed.json"]);
    let changed = desk.tenantry(&["merge", "1.json", "2.json", "changed.json"]);
    assert!(
        changed.code == 2 && changed.stderr.contains("1.json and changed.json ran different scenarios"),
        "{}",
        changed.stderr
    );
}

#[test]
fn a_hunt_is_shared_out_and_merged_like_a_run() {
    let desk = Desk::new();
    desk.write("a.toml", &calm("a", "\"process_died\""));
    for index in ["1", "2"] {
        let (shard, file) = (format!("{index}/2"), format!("{index}.json"));
        let ended = desk.tenantry(&["hunt", "a.toml", "--seeds", "6", "--shard", &shard, "--json", &file]);
        assert_eq!(ended.code, 0, "a part has no say in what must be reached: {}{}", ended.stdout, ended.stderr);
        assert_eq!(desk.json(&file)["summary"][0]["seeds"], 3);
    }
    let merged = desk.tenantry(&["merge", "1.json", "2.json"]);
    assert_eq!(merged.code, 4, "{}", merged.stdout);
    assert!(merged.stdout.contains("a: no seed ever reached process_died."), "{}", merged.stdout);
    assert!(merged.stdout.contains("fewer than 1 seed in 2 breaks it"), "{}", merged.stdout);
}

#[test]
fn what_is_violated_is_told_to_dashboards_and_to_github() {
    let desk = Desk::new();
    desk.write("lying.toml", LYING);
    let page = desk.path("page.md");
    let variables = [("GITHUB_ACTIONS", "true"), ("GITHUB_STEP_SUMMARY", page.to_str().unwrap())];
    let ended = desk.call(&["run", "lying.toml", "--seed", "1", "--junit", "lying.xml"], &variables);
    assert_eq!(ended.code, 1, "{}{}", ended.stdout, ended.stderr);
    let annotation = ended.stderr.lines().find(|line| line.starts_with("::error ")).unwrap_or_else(|| {
        panic!("nothing is annotated: {}", ended.stderr);
    });
    assert!(annotation.starts_with("::error title=lying%2C seed 1%3A violated,file=lying.toml::G"), "{annotation}");
    assert!(!ended.stdout.contains("::error"), "stdout is the report's: {}", ended.stdout);
    assert!(ended.stdout.trim_end().ends_with(" run lying.toml --seed 1"), "{}", ended.stdout);
    let xml = desk.text("lying.xml");
    let document = Document::parse(&xml).unwrap();
    let failure = document.descendants().find(|node| node.has_tag_name("failure")).unwrap();
    assert!(failure.text().unwrap().contains("G4-nothing-lost was violated"), "{xml}");
    assert!(failure.text().unwrap().trim_end().ends_with(" run lying.toml --seed 1"), "{xml}");
    assert!(desk.text("page.md").starts_with("## Tenantry: violated\n"), "{}", desk.text("page.md"));

    // A second step of the same job writes below, and elsewhere than on GitHub nobody is told.
    desk.call(&["merge", "nothing.json"], &variables);
    desk.write("a.toml", &calm("a", ""));
    assert_eq!(desk.call(&["run", "a.toml", "--seed", "1"], &variables).code, 0);
    assert!(desk.text("page.md").contains("\n## Tenantry: pass\n"), "{}", desk.text("page.md"));
    let quiet = desk.tenantry(&["run", "lying.toml", "--seed", "1"]);
    assert!(quiet.code == 1 && !quiet.stderr.contains("::"), "{}", quiet.stderr);
}

#[test]
fn what_is_wrongly_asked_ends_with_2_and_says_what_would_be_right() {
    let desk = Desk::new();
    desk.write("a.toml", &calm("a", ""));
    desk.write("text.json", "no record");
    for (arguments, why) in [
        (&["run", "a.toml", "--shard", "5/4"][..], "there is no shard 5 of 4"),
        (&["run", "a.toml", "--seeds", "1..3", "--shard", "1/4"], "3 runs can't be shared out to 4 shards"),
        (&["hunt", "a.toml", "--seeds", "3", "--shard", "1/4"], "3 runs can't be shared out to 4 shards"),
        (&["run", "a.toml", "--junit", "-"], "name a file"),
        (&["run", "a.toml", "--junit", "no/folder.xml"], "failed to write no/folder.xml"),
        (&["hunt", "a.toml", "--json", "no/folder.json"], "failed to write no/folder.json"),
        (&["merge", "absent.json"], "failed to read absent.json"),
        (&["merge", "text.json"], "text.json is no record of runs"),
        (&["merge"], "<RECORD>..."),
        (&["man", "--out", "no/folder"], "no/folder"),
        (&["completions", "cobol"], "bash"),
        (&["run", "a.toml", "--hang", "5"], "write a whole number and s, m or h"),
        (&["run", "a.toml", "--report", "a.toml"], "failed to write a.toml"),
        (&["bugs", "ack-before-commit", "ack-before-commit"], "ack-before-commit is named twice"),
        (&["bugs", "ack-before-comit"], "did you mean \"ack-before-commit\"?"),
    ] {
        let ended = desk.tenantry(arguments);
        assert!(ended.code == 2 && ended.stderr.contains(why), "{arguments:?}: {}: {}", ended.code, ended.stderr);
    }
}

#[test]
fn scenarios_completions_and_manual_pages_are_printed() {
    let desk = Desk::new();
    desk.write("lying.toml", LYING);
    let listed: Value = serde_json::from_str(&desk.tenantry(&["list", "lying.toml", "--json"]).stdout).unwrap();
    let lying = &listed["scenarios"][0];
    assert_eq!((&lying["name"], &lying["file"]), (&"lying".into(), &"lying.toml".into()));
    assert_eq!((&lying["duration_ms"], &lying["faults"]["power_loss"]), (&600.into(), &1.into()));

    let marks = desk.tenantry(&["list", "--marks"]).stdout;
    let redelivered = marks.lines().find(|line| line.contains("redelivered")).unwrap_or_else(|| panic!("{marks}"));
    assert!(
        redelivered.starts_with("sometimes ") && redelivered.ends_with("A message was delivered again."),
        "{marks}"
    );
    assert!(marks.lines().any(|line| line.starts_with("always ") && line.ends_with("(G1-isolation)")), "{marks}");
    let marks: Value = serde_json::from_str(&desk.tenantry(&["list", "--marks", "--json"]).stdout).unwrap();
    let rests = marks["marks"].as_array().unwrap().iter().find(|mark| mark["name"] == "broker_rests").unwrap();
    assert_eq!((&rests["sort"], &rests["invariant"]), (&"eventually".into(), &"G10-liveness".into()));

    let schema: Value = serde_json::from_str(&desk.tenantry(&["schema"]).stdout).unwrap();
    assert_eq!(schema["title"], "Scenario");

    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = desk.tenantry(&["completions", shell]);
        assert!(script.code == 0 && script.stdout.contains("shard"), "{shell}: {}", script.stdout);
    }
    let script = desk.tenantry(&["completions", "bash"]).stdout;
    let read = Command::new("bash").args(["-n", "-c", &script]).status().unwrap();
    assert!(read.success(), "bash can't read {script}");

    let page = desk.tenantry(&["man"]).stdout;
    assert!(page.contains(".TH tenantry 1") && page.contains("Exit codes"), "{page}");
    desk.tenantry(&["man", "--out", "."]);
    for page in ["tenantry.1", "tenantry-run.1", "tenantry-hunt.1", "tenantry-merge.1"] {
        assert!(desk.text(page).starts_with(".ie "), "{page}: {}", desk.text(page));
    }
}

#[test]
fn bugs_are_listed_for_machines_too() {
    let listed = Desk::new().tenantry(&["bugs", "--list", "--json", "-", "ack-before-commit"]);
    let listed: Value = serde_json::from_str(&listed.stdout).unwrap();
    assert_eq!(listed["bugs"].as_array().map(Vec::len), Some(1));
    let bug = &listed["bugs"][0];
    assert_eq!((&bug["name"], &bug["scenario"]), (&"ack-before-commit".into(), &"chaos".into()));
    assert!(bug["promise"].as_str().unwrap().starts_with('G') && bug["trap"].is_string() && bug["seams"].is_array());
}

#[test]
fn a_record_is_replayed_from_the_file_it_was_made_from_and_says_if_that_has_changed() {
    let desk = Desk::new();
    desk.write("a.toml", &calm("a", ""));
    assert_eq!(desk.tenantry(&["run", "a.toml", "--seed", "1", "--json", "a.json"]).code, 0);
    let replay = || desk.tenantry(&["replay", "a.json", "--seed", "1"]);
    let ended = replay();
    assert!(ended.code == 0 && !ended.stdout.contains("changed"), "{}{}", ended.stdout, ended.stderr);
    desk.write("a.toml", &format!("{}# Another word.\n", desk.text("a.toml")));
    let changed = "Mind that the scenario a.toml has changed since the record was made.\n";
    assert!(replay().stdout.contains(changed), "{}", replay().stdout);
}

#[test]
fn colours_are_for_who_wants_them() {
    let desk = Desk::new();
    let wrong = ["run", "absent"];
    let colourful = |variables: &[(&str, &str)]| desk.call(&wrong, variables).stderr.contains('\u{1b}');
    assert!(!colourful(&[]), "stderr is no terminal here");
    assert!(colourful(&[("CLICOLOR_FORCE", "1"), ("FORCE_COLOR", "1")]), "nothing to be switched off");
    assert!(!colourful(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]), "NO_COLOR has the last word");
}

#[test]
fn where_nobody_watches_a_counter_no_line_overwrites_itself() {
    let desk = Desk::new();
    desk.write("lying.toml", LYING);
    let ended = desk.tenantry(&["run", "lying.toml", "--seed", "1"]);
    assert_eq!(ended.stderr, "lying seed 1: violated\n");
}

/// What an error says, however it was broken into lines.
fn words(stderr: &str) -> String {
    stderr.replace(['│', '×'], " ").split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn two_records_are_compared_and_what_is_no_pair_is_refused() {
    let desk = Desk::new();
    desk.write("calm.toml", &calm("calm", ""));
    // The same scenario over slower links: what another build would be that has to wait longer.
    let slow = calm("calm", "").replace("[workload]", "[network]\nlatency_ms = { min = 7, max = 10 }\n[workload]");
    std::fs::create_dir(desk.path("slow")).unwrap();
    desk.write("slow/calm.toml", &slow);
    for (scenario, seeds, json) in [
        ("calm.toml", "1..12", "base.json"),
        ("calm.toml", "1..12", "again.json"),
        ("calm.toml", "13..24", "others.json"),
        ("slow/calm.toml", "1..12", "slow.json"),
    ] {
        let ended = desk.tenantry(&["run", scenario, "--seeds", seeds, "--json", json]);
        assert_eq!(ended.code, 0, "{}", ended.stderr);
    }
    let same = desk.tenantry(&["compare", "base.json", "again.json"]);
    assert_eq!(same.code, 0, "{}", same.stderr);
    assert!(
        same.stdout.starts_with("The same: all 12 pairs of 1 scenario are equal to the last event."),
        "{}",
        same.stdout
    );
    let others = desk.tenantry(&["compare", "base.json", "others.json"]);
    assert_eq!((others.code, others.stdout.as_str()), (2, ""));
    assert!(words(&others.stderr).contains("base has 12 from 1 to 12, new has 12 from 13 to 24"), "{}", others.stderr);
    let other = desk.tenantry(&["compare", "base.json", "slow.json"]);
    assert_eq!(other.code, 2);
    assert!(words(&other.stderr).contains("calm is another scenario on each side"), "{}", other.stderr);

    let (base, mut slow) = (desk.json("base.json"), desk.json("slow.json"));
    slow["summary"][0]["source"] = base["summary"][0]["source"].clone();
    desk.write("slow.json", &slow.to_string());
    let few = desk.tenantry(&["compare", "base.json", "slow.json"]);
    assert_eq!(few.code, 4, "{}", few.stdout);
    assert!(few.stdout.contains("it takes 1,000 commands, and there are"), "{}", few.stdout);
    let slower =
        desk.tenantry(&["compare", "base.json", "slow.json", "--gate", "p50", "--report", "told", "--json", "-"]);
    assert_eq!(slower.code, 3, "{}", slower.stdout);
    let told: Value = serde_json::from_str(&slower.stdout).unwrap();
    assert_eq!((&told["time"], &told["verdict"]), (&"virtual".into(), &"regression".into()));
    let rows = told["scenarios"][0]["latency"].as_array().unwrap();
    let gate = rows.iter().find(|row| row["gate"] == true).unwrap();
    // Six ms more at each of several hops.
    assert!(gate["shift"]["low_ms"].as_f64().unwrap() > 6.0, "{gate}");
    for file in ["index.html", "comparison.json", "summary.txt", "summary.md"] {
        assert!(desk.text(&format!("told/{file}")).contains("calm"), "{file}");
    }
    let back = desk.tenantry(&["compare", "slow.json", "base.json", "--gate", "p50"]);
    assert_eq!(back.code, 0, "the base comes first: {}", back.stdout);
    assert!(back.stdout.contains("faster"), "{}", back.stdout);
}

#[test]
fn what_is_no_record_is_refused_with_what_would_be_right() {
    let desk = Desk::new();
    desk.write("wrong.json", "{}");
    desk.write("base.json", "[1]");
    for (arguments, told) in [
        (["wrong.json", "wrong.json"], "wrong.json is no record of runs: it has neither runs nor one run in full"),
        (["base.json", "wrong.json"], "base.json is no record of runs"),
        (["gone.json", "wrong.json"], "there is no record or folder called gone.json"),
    ] {
        let ended = desk.tenantry(&["compare", arguments[0], arguments[1]]);
        assert_eq!(ended.code, 2, "{arguments:?}");
        assert!(words(&ended.stderr).contains(told), "{arguments:?}: {}", ended.stderr);
    }
}
