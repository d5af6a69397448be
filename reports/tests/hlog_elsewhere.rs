//! A histogram log as another's tool reads it: HdrHistogram's own port to Python. Needs `hdrh-python`, see `.ci/hdrhistogram`.

#![expect(clippy::disallowed_methods, reason = "a log is a file; what must last is elsewhere")]

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tenantry_reports::latency::VirtualLatency;
use tenantry_reports::report::{RunReport, StageLatency};
use tenantry_reports::{hlog, samples};

/// What the other tool finds in the log of `report`.
fn read(report: &RunReport) -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("run.hlog");
    fs::write(&log, hlog::render(report).unwrap()).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/read_hlog.py");
    let output = Command::new("hdrh-python").arg(script).arg(&log).output().unwrap_or_else(|error| {
        panic!(
            "hdrh-python: {error}; run `.ci/hdrhistogram`, which makes it, and put the folder that it prints into PATH"
        )
    });
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What it must find of `latency`.
fn figures(latency: &VirtualLatency) -> [u64; 5] {
    let of = latency.summary();
    [of.count, of.p50, of.p90, of.p99, of.max]
}

fn found(line: &Value) -> [u64; 5] {
    ["count", "p50", "p90", "p99", "max"].map(|name| line[name].as_u64().unwrap_or_else(|| panic!("{name} in {line}")))
}

fn tag(of: &StageLatency) -> String {
    match (&of.tenant, &of.action) {
        (Some(tenant), _) => format!("{}.tenant.{tenant}", of.stage.name()),
        (None, Some(action)) => format!("{}.action.{action}", of.stage.name()),
        (None, None) => of.stage.name().to_owned(),
    }
}

#[test]
fn another_tool_reads_the_same_counts_and_percentiles() {
    for report in [samples::report::passed(), samples::report::violated()] {
        let lines = read(&report);
        let (tagged, intervals): (Vec<_>, Vec<_>) = lines.iter().partition(|line| line["tag"].is_string());
        assert_eq!(tagged.len(), report.latency.len());
        for of in &report.latency {
            let tag = tag(of);
            let line = tagged.iter().find(|line| line["tag"] == *tag).unwrap_or_else(|| panic!("{tag} is missing"));
            assert_eq!(found(line), figures(&of.counts_virtual_ms), "{tag}");
        }
        assert_eq!(intervals.len(), report.series.intervals.len());
        let mut commands = 0;
        for (line, interval) in intervals.iter().zip(&report.series.intervals) {
            assert_eq!(line["from_ms"], interval.from_ms.0);
            assert_eq!(found(line), figures(&interval.latency_virtual_ms), "{line}");
            commands += found(line)[0];
        }
        assert!(commands > 400, "{commands} commands are a log of nothing");
    }
}
