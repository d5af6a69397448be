//! What is kept of one run: one scenario with one seed.
//!
//! Its JSON is law: scripts, dashboards and later versions of the harness read it. Fields may be added, never renamed
//! and never given another meaning. All of it but `wall_ms` is a function of scenario, seed and build.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::latency::{LatencySummary, VirtualCounts};
use crate::report::Stage;
use crate::verdict::Verdict;

/// Violations of one invariant that a record tells in words; the rest are counted.
pub const VIOLATIONS_KEPT: usize = 10;

/// One run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunRecord {
    /// The scenario's name.
    pub scenario: String,
    /// The seed every decision came from.
    pub seed: u64,
    /// How it is judged.
    pub verdict: Verdict,
    /// Digest of the trace: equal for equal scenario, seed and build.
    pub digest: String,
    /// How much virtual time passed, in milliseconds.
    pub virtual_ms: u64,
    /// How much real time it took, in milliseconds. No two runs agree on it.
    pub wall_ms: u64,
    /// How the commands ended.
    pub commands: Commands,
    /// How many faults of each kind changed something.
    pub faults: BTreeMap<String, u64>,
    /// How many faults of each kind that the plan has were felt: had a message in their way, a commit, a connection. Zero for
    /// those that nobody met, or that never began.
    #[serde(default)]
    pub fault_effects: BTreeMap<String, u64>,
    /// How often each mark was reached.
    pub marks: BTreeMap<String, u64>,
    /// What was checked.
    pub invariants: Vec<InvariantRecord>,
    /// From sending a command to its effect, in virtual milliseconds: protocol delay, not speed.
    pub latency_virtual_ms: LatencySummary,
    /// The distributions behind it, by the part of a command's way, in virtual milliseconds: what runs are compared by.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub stages_virtual_ms_counts: BTreeMap<Stage, VirtualCounts>,
    /// What failed in the harness itself; absent unless the verdict is `failed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// When the first violation was seen while the run went on, in virtual milliseconds since it began; absent if there was
    /// none, or if it showed only at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub violated_at_ms: Option<u64>,
    /// Whether the run was over with that: then nothing later is known, and what only the end can tell was not asked.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut_short: bool,
    /// Digests of the trace's beginnings, after every so many events: to within a few events they tell where a run in another
    /// build parts from this one. Absent of runs that passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest_chain: Option<String>,
    /// The command line that runs it again.
    pub reproduce: String,
}

/// How the commands of a run ended, counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Commands {
    /// Confirmed to the operator.
    pub accepted: u64,
    /// Took effect.
    pub applied: u64,
    /// Refused when it was processed.
    pub rejected: u64,
    /// Messages that lie among the dead letters at the end, refused for good or given up: also those that went past the
    /// producer, which nobody had confirmed to an operator.
    pub dead_lettered: u64,
    /// Attempts that were refused before they were accepted; they are no commands.
    #[serde(default)]
    pub attempts_refused: u64,
}

impl Commands {
    /// Adds the counts of another run.
    pub fn add(&mut self, other: &Self) {
        self.accepted += other.accepted;
        self.applied += other.applied;
        self.rejected += other.rejected;
        self.dead_lettered += other.dead_lettered;
        self.attempts_refused += other.attempts_refused;
    }
}

/// One invariant over one run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InvariantRecord {
    /// Its name, which begins with its promise: `G1-isolation`.
    pub name: String,
    /// How many facts it compared. Zero proves nothing.
    pub compared: u64,
    /// What was violated, in words; at most [`VIOLATIONS_KEPT`], the first ones.
    pub violations: Vec<String>,
    /// How often it was violated.
    #[serde(default)]
    pub violations_total: u64,
    /// What was to be compared and could not be, in words; absent where there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<String>,
}

impl InvariantRecord {
    /// An invariant that has compared nothing yet.
    pub fn new(name: &str) -> Self {
        let (violations, skipped) = Default::default();
        Self { name: name.to_owned(), compared: 0, violations, violations_total: 0, skipped }
    }

    /// Counts a violation, and keeps its words if there is room.
    pub fn violate(&mut self, what: impl Into<String>) {
        self.violations_total += 1;
        if self.violations.len() < VIOLATIONS_KEPT {
            self.violations.push(what.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn a_record_survives_being_written_down() {
        let record = samples::violated("partition", 7).record;
        let json = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<RunRecord>(&json).unwrap(), record);
    }

    #[test]
    fn a_record_has_every_field_the_law_names() {
        let json = serde_json::to_value(samples::passed("calm", 1).record).unwrap();
        let names = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        let has = |value: &serde_json::Value, wanted: &[&str]| {
            wanted
                .iter()
                .for_each(|name| assert!(value.get(name).is_some(), "{name} is missing in {:?}", names(value)));
        };
        has(&json, &["scenario", "seed", "verdict", "digest", "virtual_ms", "wall_ms", "commands", "faults", "marks"]);
        has(&json, &["fault_effects"]);
        has(&json, &["invariants", "latency_virtual_ms", "reproduce"]);
        has(&json["commands"], &["accepted", "applied", "rejected", "dead_lettered"]);
        has(&json["invariants"][0], &["name", "compared", "violations"]);
        has(&json["latency_virtual_ms"], &["count", "p50", "p90", "p99", "p999", "max"]);
        assert_eq!(json["verdict"], "pass");
        assert_eq!(json.get("error"), None);
    }

    #[test]
    fn only_the_first_violations_are_told_but_all_are_counted() {
        let mut invariant = InvariantRecord::new("G1-isolation");
        (0..25).for_each(|number| invariant.violate(format!("violation {number}")));
        assert_eq!(invariant.violations.len(), VIOLATIONS_KEPT);
        assert_eq!(invariant.violations_total, 25);
    }
}
