//! `tenantry load` as people run it: against a system of its own whose roles it kills, and against one that runs already.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use tenantry_reports::load::{LoadReport, Recovery, WallStage};
use tenantry_tests::{binary, eventually, root, up};
use tokio::runtime::Runtime;

/// What was killed is gone within this time.
const GONE_MAX: Duration = Duration::from_secs(10);

/// A load of the smoke scenario.
fn load(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary("tenantry"));
    command.current_dir(root()).args(["load", "smoke"]).args(arguments).env_remove("TENANTRY_TOKEN");
    command
}

/// Against a system of its own.
fn own(arguments: &[&str]) -> Command {
    let mut command = load(arguments);
    command.arg("--tenantryd").arg(binary("tenantryd"));
    command
}

fn ended(command: &mut Command) -> (Option<i32>, String, String) {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let pid = child.id();
    let Output { status, stdout, stderr } = child.wait_with_output().expect("it ends");
    assert_eq!(roles_of(pid), 0, "it left processes behind");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (status.code(), text(stdout), text(stderr))
}

/// How many processes run on the folder of the load `pid`.
fn roles_of(pid: u32) -> usize {
    let folder = format!("tenantry-load-{pid}-");
    let processes = std::fs::read_dir("/proc").expect("this system tells of its processes");
    let cmdlines = processes.filter_map(|entry| std::fs::read(entry.ok()?.path().join("cmdline")).ok());
    cmdlines.filter(|cmdline| String::from_utf8_lossy(cmdline).contains(&folder)).count()
}

fn record(path: &Path) -> LoadReport {
    serde_json::from_str(&std::fs::read_to_string(path).expect("a record")).expect("a record of this version")
}

#[test]
fn a_role_is_killed_under_load_and_comes_back_and_nothing_is_left_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report");
    let arguments = ["--rate", "60", "--for", "8", "--warm-up", "1.5", "--kill", "broker@4+0.5", "--follow", "0.5"];
    let mut command = own(&arguments);
    command.args(["--threshold", "unanswered<1%", "--report"]).arg(&report);
    let (code, told, why) = ended(&mut command);
    assert_eq!(code, Some(0), "{told}{why}");
    assert!(told.contains("broker was killed at 4"), "{told}");
    let record = record(&report.join("record.json"));
    // 480 are expected; their number is the seed's.
    assert!((380..580).contains(&record.sending.intended), "{:?}", record.sending);
    assert_eq!(record.sending.accepted_wrongly + record.sending.unanswered, 0, "{:?}", record.sending);
    assert!(record.sending.refused_rightly > 10 && record.refusals.is_empty(), "{:?}", record.refusals);
    assert_eq!(record.commands.accepted + record.sending.refused_rightly, record.sending.intended);
    // Half of a second without a broker: whoever came then waited.
    assert!(record.sending.resent > 5, "{:?}", record.sending);
    assert!(
        record.series.intervals.iter().any(|of| of.total_wall_us.max() > Some(tenantry_reports::wall::WallUs(300_000)))
    );
    let felt = record.faults[0].confirmations;
    assert!(matches!(felt, Recovery::After(_) | Recovery::Never), "{felt:?}");
    let outcomes = record.stage(WallStage::Outcome).expect("half of them were followed");
    assert!(outcomes.summary_wall_us.count > 80, "{:?}", outcomes.summary_wall_us);
    let page = std::fs::read_to_string(report.join("index.html")).unwrap();
    assert!(page.contains("class=\"band\"") && page.contains("wall time, s"), "the kill is not on the plot");
    let log = std::fs::read_to_string(report.join("load.hlog")).unwrap();
    assert!(log.contains("Tag=total,") && log.contains("Tag=schedule_delay,"), "{log}");
}

#[test]
fn a_threshold_decides_the_exit_code_and_too_few_samples_decide_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (process, panel) = up(folder.path());
    let url = format!("http://{}", panel.address());
    let attached = |threshold: &str| {
        let arguments = ["--rate", "60", "--for", "1.5", "--warm-up", "0.5", "--url", &url, "--threshold", threshold];
        ended(load(&arguments).env("TENANTRY_TOKEN", &panel.token))
    };
    let (code, told, why) = attached("p50<30s");
    assert_eq!(code, Some(0), "{told}{why}");
    assert!(told.contains("p99 needs 300 samples, has "), "{told}");
    let (code, told, _) = attached("p50<1us");
    assert_eq!(code, Some(3), "{told}");
    assert!(told.contains("p50<1us: MISSED, "), "{told}");
    assert!(told.trim_end().lines().last().unwrap().contains(" load smoke --rate 60 "), "{told}");
    let (code, told, _) = attached("p99.9<30s");
    assert_eq!(code, Some(4), "{told}");
    assert!(told.contains("p99.9<30s: can't be told, needs 3,000 samples, has "), "{told}");
    let nobody = ["--url", "http://127.0.0.1:1"];
    let (code, _, why) = ended(load(&nobody).env("TENANTRY_TOKEN", &panel.token));
    assert!(code == Some(2) && why.contains("nobody answers at"), "{why}");
    process.kill();
}

#[test]
fn what_a_killed_load_had_started_ends_with_it() {
    let mut child: Child =
        own(&["--for", "30"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
    let pid = child.id();
    Runtime::new().unwrap().block_on(async {
        eventually("all roles run", GONE_MAX, async || (roles_of(pid) >= 6).then_some(())).await;
        child.kill().expect("it runs");
        child.wait().expect("it was killed");
        eventually("all roles are gone", GONE_MAX, async || (roles_of(pid) == 0).then_some(())).await;
    });
    assert!(!std::env::temp_dir().join(format!("tenantry-load-{pid}-0")).exists(), "its folder is left");
}
