//! One run in full: what a report of it is made of.
//!
//! A [`RunRecord`] says how a run ended; this says how it got there. It is a document of its own, with a version and a JSON
//! Schema, to be read by others as well. All of it but the record's `wall_ms` is a function of scenario, seed and build, and
//! all its times are virtual: protocol delay, 1 ms steps.

use std::collections::BTreeSet;

use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};

use crate::causal::CausalTrace;
use crate::latency::{VirtualLatency, VirtualPercentiles};
use crate::record::RunRecord;
use crate::suite::{Build, Source};
use crate::time::{VirtualMs, VirtualUs};

/// Version of the document. It changes when a field's meaning does.
pub const VERSION: u32 = 1;

/// How many intervals a run is cut into.
pub const INTERVALS: usize = 60;

/// One run in full.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "Tenantry run report")]
pub struct RunReport {
    /// Version of this document: [`VERSION`].
    pub version: u32,
    /// Which time its times are of.
    pub time: TimeBase,
    /// What ran.
    pub build: Build,
    /// How it ended.
    pub record: RunRecord,
    /// What it ran in.
    pub conditions: Conditions,
    /// What was to happen when.
    pub plan: PlanRecord,
    /// When which fault was there in fact, in the order in which they began.
    pub faults: Vec<FaultWindow>,
    /// Every life of every host's process, by host and time.
    pub lives: Vec<HostLife>,
    /// Latencies of every stage: over all commands, per tenant, and per action.
    pub latency: Vec<StageLatency>,
    /// The run in intervals of equal length.
    pub series: Series,
    /// What was refused, by where and why.
    pub refusals: Vec<Refusal>,
    /// Attacks, by kind.
    pub attacks: Vec<Attack>,
    /// What each tenant had of it.
    pub fairness: Fairness,
    /// The violations that the record tells in words, with what each is about.
    pub violations: Vec<Violation>,
    /// Messages and events.
    pub trace: CausalTrace,
}

/// The time that a document's times are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TimeBase {
    /// Of a simulation: protocol delay, 1 ms steps.
    Virtual,
}

/// What a run ran in.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Conditions {
    /// What the scenario says of itself.
    #[serde(default)]
    pub description: String,
    /// What the scenario was read from, if the harness says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// Hosts, in the order of their names.
    pub hosts: Vec<String>,
    /// Tenants, in the order of their names.
    pub tenants: Vec<String>,
    /// Virtual milliseconds per step: no time is told finer.
    pub tick_ms: VirtualMs,
    /// The least one-way latency of a link.
    pub link_ms_min: VirtualMs,
    /// The most.
    pub link_ms_max: VirtualMs,
    /// The least a commit takes.
    pub sync_ms_min: VirtualMs,
    /// The most.
    pub sync_ms_max: VirtualMs,
    /// Whether channels were encrypted, and proved who was at their ends.
    pub tls: bool,
    /// When all faults were healed.
    pub healed_at: VirtualMs,
    /// How long everything had to end after that.
    pub drain: VirtualMs,
    /// The bug that was planted, if one was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bug: Option<String>,
}

/// What was to happen.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct PlanRecord {
    /// The plan that ran.
    pub entries: Vec<PlanEntry>,
    /// The one it was shrunk from, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original: Option<Vec<PlanEntry>>,
}

/// One entry of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlanEntry {
    /// Its number, from 1.
    pub number: u32,
    /// When it is due; of a fault that waits for an event, 0.
    pub at_ms: VirtualMs,
    /// How long it lasts; absent for what is over in an instant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_ms: Option<VirtualMs>,
    /// Who does it.
    pub is: EntryIs,
    /// Which fault or which act: `power_loss`, `send`.
    pub kind: String,
    /// The hosts that a fault is about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// The tenant that an act is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The command that an act is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// What a fault waits for, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
    /// All of it in one sentence.
    pub sentence: String,
}

/// Who does what a plan says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EntryIs {
    /// The harness.
    Fault,
    /// Those who use the system, or attack it.
    Act,
}

/// A fault while it was there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FaultWindow {
    /// The number of its entry in the plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<u32>,
    /// Its kind.
    pub kind: String,
    /// The hosts it was about.
    pub hosts: Vec<String>,
    /// When it began.
    pub from_us: VirtualUs,
    /// When it was over; the same for what is over in an instant.
    pub to_us: VirtualUs,
    /// How often someone felt it. Zero: it was there and nobody noticed.
    pub felt: u64,
    /// In words.
    pub words: String,
}

/// One life of a host's process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HostLife {
    /// The host.
    pub host: String,
    /// When it started.
    pub from_us: VirtualUs,
    /// When it ended; absent if it lived on to the end of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_us: Option<VirtualUs>,
    /// What ended it: the kind of the fault, or `died` and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_by: Option<String>,
}

/// A part of a command's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// From when it was meant to be sent first until the operator had the 202.
    SentToConfirmed,
    /// From the 202 until the broker handed it out first; nothing if it was handed out before.
    ConfirmedToDelivered,
    /// From when it was handed out first until the ledger gave it its outcome.
    DeliveredToEffect,
    /// From when it was meant to be sent first until the ledger gave it its outcome.
    SentToEffect,
    /// From when it was meant to be sent first until someone who looks on was told of its outcome.
    SentToKnown,
}

impl Stage {
    /// All, in the order of a command's way; the whole ways come last.
    pub const ALL: [Self; 5] = [
        Self::SentToConfirmed,
        Self::ConfirmedToDelivered,
        Self::DeliveredToEffect,
        Self::SentToEffect,
        Self::SentToKnown,
    ];

    /// As machines read it: its name in JSON, and its tag in a histogram log.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::SentToConfirmed => "sent_to_confirmed",
            Self::ConfirmedToDelivered => "confirmed_to_delivered",
            Self::DeliveredToEffect => "delivered_to_effect",
            Self::SentToEffect => "sent_to_effect",
            Self::SentToKnown => "sent_to_known",
        }
    }

    /// As people read it.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::SentToConfirmed => "sent -> confirmed",
            Self::ConfirmedToDelivered => "confirmed -> delivered",
            Self::DeliveredToEffect => "delivered -> effect",
            Self::SentToEffect => "sent -> effect",
            Self::SentToKnown => "sent -> known",
        }
    }
}

/// The latencies of one stage: of all commands, or of one tenant's or one action's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StageLatency {
    /// The part of the way.
    pub stage: Stage,
    /// Of this tenant's commands only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Of commands of this action only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// The figures that so many samples support, in virtual milliseconds.
    pub summary_virtual_ms: VirtualPercentiles,
    /// The distribution, in virtual milliseconds.
    pub counts_virtual_ms: VirtualLatency,
}

impl StageLatency {
    /// With the figures of `counts`.
    #[must_use]
    pub fn new(stage: Stage, tenant: Option<&str>, action: Option<&str>, counts: VirtualLatency) -> Self {
        let (tenant, action) = (tenant.map(str::to_owned), action.map(str::to_owned));
        Self { stage, tenant, action, summary_virtual_ms: counts.percentiles(), counts_virtual_ms: counts }
    }
}

/// A run in intervals of equal length.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Series {
    /// How long an interval is.
    pub interval_ms: VirtualMs,
    /// In their order, the first from 0.
    pub intervals: Vec<Interval>,
}

/// One interval.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Interval {
    /// When it begins.
    pub from_ms: VirtualMs,
    /// Commands that were to be sent in it.
    pub sent: u64,
    /// Commands that were confirmed in it.
    pub confirmed: u64,
    /// Commands that took effect in it.
    pub applied: u64,
    /// Commands that the ledger refused in it.
    pub rejected: u64,
    /// Commands that became dead letters in it.
    pub dead_lettered: u64,
    /// Messages that waited at the broker or were out from it, at most.
    pub depth_max: u64,
    /// Of commands that took effect in it, from when they were meant to be sent, in virtual milliseconds.
    pub latency_virtual_ms: VirtualLatency,
}

/// What was refused for one reason.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Refusal {
    /// Where.
    pub at: RefusedAt,
    /// Why: a status, a code.
    pub reason: String,
    /// How often.
    pub count: u64,
}

/// Where a command can be refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RefusedAt {
    /// By the producer, before it was confirmed: for good, or to be tried again.
    Door,
    /// By the ledger, as its outcome.
    Ledger,
    /// Put aside as a dead letter.
    DeadLetter,
}

/// Attacks of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Attack {
    /// The kind.
    pub kind: String,
    /// How often it was tried.
    pub tried: u64,
    /// How often it was refused, or came to nothing.
    pub refused: u64,
}

/// What each tenant had of a run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Fairness {
    /// By the tenants' names.
    pub tenants: Vec<TenantShare>,
    /// The bound on the quiet tenants' 99th percentile, if the scenario has one, in virtual milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet_p99_ms_max: Option<VirtualMs>,
}

/// What one tenant had of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TenantShare {
    /// The tenant.
    pub tenant: String,
    /// Whether it is the one that floods.
    #[serde(default)]
    pub noisy: bool,
    /// Commands that were to be sent.
    pub sent: u64,
    /// Of those, confirmed.
    pub confirmed: u64,
    /// Of those, applied.
    pub applied: u64,
    /// Or rejected.
    pub rejected: u64,
    /// Refused at the door for good.
    pub refused: u64,
    /// From when they were meant to be sent to their effect, in virtual milliseconds.
    pub latency_virtual_ms: VirtualLatency,
}

/// A violation and what it is about, so that a diagram can be cropped to its causal past.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Violation {
    /// The invariant, which begins with its promise.
    pub invariant: String,
    /// What is wrong, in words.
    pub words: String,
    /// Ids of the commands that it names, or of all of its tenants' where it names none.
    pub commands: Vec<String>,
    /// Tenants that it names, or whose commands it does.
    pub tenants: Vec<String>,
    /// The events in conflict: places in the trace's `events`, in their order. The last is where it could be seen first.
    pub events: Vec<u32>,
    /// The time of the last of them, or of the end of the run.
    pub at_us: VirtualUs,
}

impl RunReport {
    /// The JSON Schema of the document.
    #[must_use]
    pub fn schema() -> Schema {
        schemars::schema_for!(Self)
    }

    /// The latencies of `stage` over all commands; `None` if none came that far.
    #[must_use]
    pub fn stage(&self, stage: Stage) -> Option<&StageLatency> {
        self.latency.iter().find(|of| of.stage == stage && of.tenant.is_none() && of.action.is_none())
    }

    /// The latencies of `stage` for each tenant, in the order of their names.
    pub fn tenants(&self, stage: Stage) -> impl Iterator<Item = &StageLatency> {
        self.latency.iter().filter(move |of| of.stage == stage && of.tenant.is_some())
    }

    /// The latencies of `stage` for each action, in the order of their names.
    pub fn actions(&self, stage: Stage) -> impl Iterator<Item = &StageLatency> {
        self.latency.iter().filter(move |of| of.stage == stage && of.action.is_some())
    }

    /// Kinds of faults, attacks and marks that it has seen, for lists of what was covered.
    #[must_use]
    pub fn kinds_of_faults(&self) -> BTreeSet<&str> {
        self.faults.iter().map(|window| window.kind.as_str()).collect()
    }
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
