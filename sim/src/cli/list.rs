//! `tenantry list`: which scenarios there are, and what each shows.

use std::collections::BTreeMap;

use serde::Serialize;
use tenantry_sim::engine::marks::Mark;
use tenantry_sim::tenantry::marks;

use super::find::{Found, find};
use super::output::print;

/// What to list.
#[derive(clap::Args)]
pub(super) struct List {
    /// Scenario names, files or folders; all in `scenarios/` without any.
    scenarios: Vec<String>,
    /// Print a JSON document, with a scenario's file, times, faults and marks beside its name and description.
    #[arg(long)]
    json: bool,
    /// List the marks instead: what a run can reach, what must hold in the end, and what must hold always.
    #[arg(long, conflicts_with = "scenarios")]
    marks: bool,
}

/// A scenario as the document has it.
#[derive(Serialize)]
struct Listed<'a> {
    name: &'a str,
    file: &'a str,
    description: &'a str,
    /// How long workload and faults may run, and everything may take to end after that.
    duration_ms: u64,
    drain_ms: u64,
    /// How many timed faults of each kind.
    faults: BTreeMap<&'static str, u64>,
    /// Marks that some seed must reach.
    sometimes: &'a [String],
}

impl List {
    pub(super) fn execute(self) -> Result<u8, miette::Report> {
        let listed = match (self.marks, self.json) {
            (true, true) => marks_document(),
            (true, false) => marks_lines(),
            (false, true) => document(&find(&self.scenarios)?),
            (false, false) => lines(&find(&self.scenarios)?),
        };
        print(&listed).map(|()| 0)
    }
}

/// A line each, the sorts one after another.
fn marks_lines() -> String {
    let mut sorted: Vec<_> = marks::ALL.iter().collect();
    sorted.sort_by_key(|mark| mark.sort);
    let width = sorted.iter().map(|mark| mark.name.len()).max().unwrap_or(0);
    let line = |mark: &&Mark| {
        let promise = mark.promise.map(|promise| format!(" ({promise})")).unwrap_or_default();
        format!("{:<10}  {:<width$}  {}{promise}\n", mark.sort.name(), mark.name, mark.means)
    };
    sorted.iter().map(line).collect()
}

fn marks_document() -> String {
    let listed = marks::ALL.iter().map(|Mark { name, sort, promise, means }| {
        serde_json::json!({ "name": name, "sort": sort.name(), "invariant": promise, "means": means })
    });
    let document = serde_json::json!({ "marks": listed.collect::<Vec<_>>() });
    format!("{document:#}\n")
}

fn lines(scenarios: &[Found]) -> String {
    let width = scenarios.iter().map(|found| found.scenario.name.len()).max().unwrap_or(0);
    let line = |Found { scenario, .. }: &Found| format!("{:width$}  {}\n", scenario.name, scenario.description);
    scenarios.iter().map(line).collect()
}

fn document(scenarios: &[Found]) -> String {
    let listed: Vec<_> = scenarios.iter().map(listed).collect();
    let document = serde_json::json!({ "scenarios": listed });
    format!("{document:#}\n")
}

fn listed(Found { scenario, source, .. }: &Found) -> Listed<'_> {
    let mut faults = BTreeMap::new();
    scenario.faults.iter().for_each(|fault| *faults.entry(fault.kind.name()).or_default() += 1);
    Listed {
        name: &scenario.name,
        file: &source.file,
        description: &scenario.description,
        duration_ms: scenario.duration.as_millis() as u64,
        drain_ms: scenario.drain.as_millis() as u64,
        faults,
        sometimes: &scenario.sometimes,
    }
}
