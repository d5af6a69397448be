//! A load against a live system: what was sent when, how long it took, and whether that was good enough.
//!
//! An open loop: a command's time comes from the plan and not from the system's answers. So latency counts from when a command
//! was MEANT to be sent, and a stall shows in all that would have been sent during it (no "coordinated omission"). Schedule
//! delay, service time and their sum are kept apart.
//!
//! The document has a version and a JSON Schema. All its times are of the wall; [`crate::report`] is of virtual time.

use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};

use crate::record::Commands;
use crate::report::Refusal;
use crate::suite::{Build, Source};
use crate::verdict::SuiteVerdict;
use crate::wall::{WallLatency, WallMs, WallPercentiles};

/// Version of the document. It changes when a field's meaning does.
pub const VERSION: u32 = 1;

/// One load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "Tenantry load report")]
pub struct LoadReport {
    /// Version of this document: [`VERSION`].
    pub version: u32,
    /// Which time its times are of.
    pub time: WallTimeBase,
    /// What sent the load.
    pub build: Build,
    /// The scenario whose workload it was.
    pub scenario: String,
    /// What the scenario says of itself.
    pub description: String,
    /// What it was read from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// The seed of times and commands.
    pub seed: u64,
    /// How it is judged.
    pub verdict: SuiteVerdict,
    /// Why, and what else must be known to read it, a sentence each.
    pub notes: Vec<String>,
    /// When its measured part began, in milliseconds since 1970.
    pub began_unix_ms: u64,
    /// When the last answer was in.
    pub ended_unix_ms: u64,
    /// What was asked of the generator.
    pub plan: LoadPlan,
    /// What it was sent to.
    pub target: Target,
    /// How the commands ended, warm-up and all.
    pub commands: Commands,
    /// What became of what was to be sent, warm-up and all.
    pub sending: Sending,
    /// Latencies after the warm-up: over all commands, per tenant, and per action.
    pub latency: Vec<WallStageLatency>,
    /// The load in intervals of equal length, warm-up and all.
    pub series: WallSeries,
    /// Roles that were killed.
    pub faults: Vec<Killed>,
    /// What was refused, by where and why.
    pub refusals: Vec<Refusal>,
    /// What was demanded, and whether it was met.
    pub thresholds: Vec<Threshold>,
    /// How the generator itself did.
    pub generator: Generator,
    /// The search for the highest rate, if there was one; all else is then of its last step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search: Option<Search>,
    /// The command line that runs it again.
    pub reproduce: String,
}

/// The time that a document's times are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WallTimeBase {
    /// Of the wall: speed, on one machine and under one load.
    Wall,
}

/// What was asked of the generator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LoadPlan {
    /// When commands come, in words: `200 a second, Poisson`.
    pub arrivals: String,
    /// Commands a second, on average.
    pub rate: f64,
    /// For how long they come.
    pub duration_ms: WallMs,
    /// What is meant to be sent before this is left out of all latencies.
    pub warm_up_ms: WallMs,
    /// Requests under way at once, at most.
    pub in_flight_max: u64,
    /// A command that is not confirmed within this time of when it was meant to be sent is given up.
    pub deadline_ms: WallMs,
    /// Share of the confirmed commands that are followed to their outcome.
    pub followed: f64,
}

/// What it was sent to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Target {
    /// Whether the load started it.
    pub own: bool,
    /// In words.
    pub words: String,
    /// Processors of the machine that the load came from.
    pub cores: u64,
}

/// What became of what was to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Sending {
    /// Commands that were to be sent.
    pub intended: u64,
    /// Of those, sent at least once.
    pub sent: u64,
    /// Times that a command was sent once more, for there was no final answer.
    pub resent: u64,
    /// Commands that were given up without a final answer. They count in the latencies, with the time they were waited for.
    pub unanswered: u64,
    /// Commands that nobody may send, and that were refused, as they must be.
    pub refused_rightly: u64,
    /// Commands that nobody may send, and that were confirmed all the same.
    pub accepted_wrongly: u64,
    /// Confirmed commands that were to be followed and whose outcome was not seen.
    pub outcome_unseen: u64,
}

/// A part of a command's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WallStage {
    /// From when it was meant to be sent until it was confirmed.
    Total,
    /// From when it was meant to be sent until it was sent: the generator's delay.
    ScheduleDelay,
    /// From when it was sent first until it was confirmed. Alone it hides what a stall does to all who wait behind it.
    ServiceTime,
    /// From when it was meant to be sent until its operator, who waited for it, was told of its outcome.
    Outcome,
}

impl WallStage {
    /// All, the one that counts first.
    pub const ALL: [Self; 4] = [Self::Total, Self::ScheduleDelay, Self::ServiceTime, Self::Outcome];

    /// As machines read it: its name in JSON and in thresholds, and its tag in a histogram log.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Total => "total",
            Self::ScheduleDelay => "schedule_delay",
            Self::ServiceTime => "service_time",
            Self::Outcome => "outcome",
        }
    }

    /// As people read it.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Total => "intended -> confirmed",
            Self::ScheduleDelay => "intended -> sent",
            Self::ServiceTime => "sent -> confirmed",
            Self::Outcome => "intended -> outcome",
        }
    }
}

/// The latencies of one stage: of all commands, or of one tenant's or one action's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WallStageLatency {
    /// The part of the way.
    pub stage: WallStage,
    /// Of this tenant's commands only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Of commands of this action only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// The figures that so many samples support, in wall microseconds.
    pub summary_wall_us: WallPercentiles,
    /// The distribution, in wall microseconds.
    pub counts_wall_us: WallLatency,
}

impl WallStageLatency {
    /// With the figures of `counts`.
    #[must_use]
    pub fn new(stage: WallStage, tenant: Option<&str>, action: Option<&str>, counts: WallLatency) -> Self {
        let (tenant, action) = (tenant.map(str::to_owned), action.map(str::to_owned));
        Self { stage, tenant, action, summary_wall_us: counts.percentiles(), counts_wall_us: counts }
    }
}

/// A load in intervals of equal length.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct WallSeries {
    /// How long an interval is.
    pub interval_ms: WallMs,
    /// In their order, the first from 0.
    pub intervals: Vec<WallInterval>,
}

impl WallSeries {
    /// Where it ends.
    #[must_use]
    pub fn until(&self) -> WallMs {
        WallMs(self.interval_ms.0.saturating_mul(self.intervals.len() as u64))
    }
}

/// One interval. A command counts in the one in which it was meant to be sent, except where it says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct WallInterval {
    /// When it begins.
    pub from_ms: WallMs,
    /// Commands that were meant to be sent in it.
    pub intended: u64,
    /// Commands that were confirmed in it, whenever they were sent.
    pub confirmed: u64,
    /// Commands whose outcome was seen in it, whenever they were sent.
    pub outcomes: u64,
    /// Of those meant to be sent in it, given up without an answer.
    pub unanswered: u64,
    /// Requests for a confirmation that were under way at once, at most.
    pub in_flight_max: u64,
    /// From when commands were meant to be sent until they were confirmed, or given up.
    pub total_wall_us: WallLatency,
    /// From when commands were meant to be sent until their outcome was known.
    pub outcome_wall_us: WallLatency,
}

/// A role that was killed and started again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Killed {
    /// Which.
    pub role: String,
    /// When.
    pub from_ms: WallMs,
    /// When it was started again; the end of the load if it was not.
    pub to_ms: WallMs,
    /// What commands felt of it before they were confirmed.
    pub confirmations: Recovery,
    /// What they felt of it before their outcome was known.
    pub outcomes: Recovery,
}

/// What was felt of a fault, and until when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Recovery {
    /// There is nothing to compare with: too few were measured before it.
    Unknown,
    /// No interval after it was slower than usual.
    NotFelt,
    /// Since the kill this long, commands were again as fast as before it: of no later interval was one in ten slower than twice
    /// the 90th percentile from before.
    After(WallMs),
    /// Not until the load ended, or the next kill.
    Never,
}

/// Something that was demanded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Threshold {
    /// As it was given: `p99<50ms`.
    pub demanded: String,
    /// What was measured, in words; why nothing can be said, if so.
    pub measured: String,
    /// Whether it is met; absent if too few samples were taken to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub met: Option<bool>,
}

/// How the generator itself did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Generator {
    /// How late it woke for a command, apart from waiting for a free slot: its own slowness, in wall microseconds.
    pub late_wall_us: WallPercentiles,
    /// Commands that had to wait, for as many requests as may be were under way.
    pub waited_for_slot: u64,
    /// Requests under way at once, at most.
    pub in_flight_max: u64,
    /// Share of one processor that it used; absent where the operating system does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processor_share: Option<f64>,
    /// In words, if it was the bottleneck itself: then the figures say more of it than of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bottleneck: Option<String>,
}

/// The search for the highest rate that meets all thresholds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Search {
    /// Every rate that was tried, in order.
    pub steps: Vec<SearchStep>,
    /// The highest that met them, in commands a second; absent if none did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub highest_met: Option<f64>,
    /// The lowest that did not; absent if all did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lowest_missed: Option<f64>,
}

/// One rate that was tried.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SearchStep {
    /// Commands a second.
    pub rate: f64,
    /// Whether all thresholds were met; absent if that can't be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub met: Option<bool>,
    /// The totals, in wall microseconds.
    pub total_wall_us: WallPercentiles,
    /// The generator's own fault, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bottleneck: Option<String>,
}

impl LoadReport {
    /// The JSON Schema of the document.
    #[must_use]
    pub fn schema() -> Schema {
        schemars::schema_for!(Self)
    }

    /// The latencies of `stage` over all commands; `None` if none came that far.
    #[must_use]
    pub fn stage(&self, stage: WallStage) -> Option<&WallStageLatency> {
        self.latency.iter().find(|of| of.stage == stage && of.tenant.is_none() && of.action.is_none())
    }

    /// The latencies of `stage` for each tenant, in the order of their names.
    pub fn tenants(&self, stage: WallStage) -> impl Iterator<Item = &WallStageLatency> {
        self.latency.iter().filter(move |of| of.stage == stage && of.tenant.is_some())
    }

    /// The latencies of `stage` for each action, in the order of their names.
    pub fn actions(&self, stage: WallStage) -> impl Iterator<Item = &WallStageLatency> {
        self.latency.iter().filter(move |of| of.stage == stage && of.action.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::load::load;

    #[test]
    fn a_report_survives_being_written_down_and_follows_its_schema() {
        let report = load();
        let json = serde_json::to_value(&report).unwrap();
        let read: LoadReport = serde_json::from_value(json.clone()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), json);
        let schema = serde_json::to_value(LoadReport::schema()).unwrap();
        let validator = jsonschema::validator_for(&schema).unwrap();
        assert!(validator.is_valid(&json), "{:?}", validator.iter_errors(&json).next());
        assert_eq!(json["time"], "wall");
    }
}
