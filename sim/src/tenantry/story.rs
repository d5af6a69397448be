//! What happened around a violation, in order and in words: who, when, which message, which fault.
//!
//! Told from the plan, which knows what was meant, and from the trace, which knows what became of it. Only what concerns
//! the messages that the violation names; where it names none, those of its tenants; where it names nobody, all. Faults and
//! deaths concern everyone.

use std::collections::BTreeSet;

use serde_json::Value;
use tenantry_reports::record::RunRecord;

use super::run::Setup;
use super::shrink::HARNESS;
use super::workload::{Act, Command};
use crate::engine::plan::What;
use crate::engine::trace::TraceEntry;

/// Lines of a story; of a longer one what lies in the middle and names no message in question is counted.
const LINES_MAX: usize = 60;

/// Letters of one line.
const LINE_MAX: usize = 200;

/// Violations that are told.
const VIOLATIONS_MAX: usize = 3;

/// Messages and tenants that are told of.
struct Concern {
    messages: BTreeSet<String>,
    tenants: BTreeSet<String>,
}

/// The story of `record`, a run of `setup` with this `trace`, up to its violation of `invariant`: a line each.
#[must_use]
pub fn tell(setup: &Setup, trace: &[TraceEntry], record: &RunRecord, invariant: &str) -> Vec<String> {
    let violations = violations(record, invariant);
    let concern = Concern::of(setup, &violations);
    // Of one instant, what was planned comes before what came of it.
    let mut lines: Vec<(u64, u8, String)> = Vec::new();
    for entry in &setup.plan.entries {
        if let What::Act(act) = &entry.what
            && concern.has_act(act)
        {
            lines.push((entry.at_ms * 1000, 0, told_act(act)));
        }
    }
    let mut leases = BTreeSet::new();
    for event in trace {
        if let Some(told) = told_event(event, &concern, &mut leases) {
            lines.push((event.at_us, 1, told));
        }
    }
    lines.sort_by_key(|(at_us, order, _)| (*at_us, *order));
    let mut story: Vec<String> =
        lines.iter().map(|(at_us, _, told)| format!("{:>7} ms  {}", at_us / 1000, shortened(told, LINE_MAX))).collect();
    let (half, end) = (LINES_MAX / 2, story.len().saturating_sub(LINES_MAX / 2));
    let mut left_out = story.len().saturating_sub(LINES_MAX);
    let mut index = half;
    let mut kept = Vec::new();
    for (at, line) in story.drain(..).enumerate() {
        if left_out > 0 && (half..end).contains(&at) && !concern.has(&line) {
            left_out -= 1;
            index = kept.len();
        } else {
            kept.push(line);
        }
    }
    let gone = lines.len() - kept.len();
    if gone > 0 {
        kept.insert(index, format!("            ({gone} lines of other matters)"));
    }
    let mut story = kept;
    story.extend(
        violations.iter().take(VIOLATIONS_MAX).map(|violation| format!("    the end  {invariant}: {violation}")),
    );
    story
}

/// How `invariant` was violated, in words.
#[must_use]
pub fn violations(record: &RunRecord, invariant: &str) -> Vec<String> {
    match invariant {
        HARNESS => record.error.iter().cloned().collect(),
        _ => record
            .invariants
            .iter()
            .filter(|found| found.name == invariant)
            .flat_map(|found| found.violations.clone())
            .collect(),
    }
}

impl Concern {
    fn of(setup: &Setup, violations: &[String]) -> Self {
        let said: BTreeSet<&str> = violations.iter().take(VIOLATIONS_MAX).flat_map(|text| words(text)).collect();
        let sent: Vec<_> = setup.plan.acts().filter_map(|(_, act)| command(act)).collect();
        let named = |command: &&&Command| said.contains(command.message_id.as_str());
        let id = |command: &&Command| command.message_id.clone();
        let mut messages: BTreeSet<String> = sent.iter().filter(named).map(id).collect();
        let tenants = setup.cast.tenants.iter().map(|tenant| tenant.as_str()).filter(|tenant| said.contains(tenant));
        let mut tenants: BTreeSet<String> = tenants.map(str::to_owned).collect();
        if messages.is_empty() && !tenants.is_empty() {
            messages = sent.iter().filter(|command| tenants.contains(command.tenant.as_str())).map(id).collect();
        }
        if messages.is_empty() && tenants.is_empty() {
            messages = sent.iter().map(id).collect();
            tenants = setup.cast.tenants.iter().map(ToString::to_string).collect();
        }
        tenants.extend(
            sent.iter().filter(|command| messages.contains(&command.message_id)).map(|sent| sent.tenant.to_string()),
        );
        Self { messages, tenants }
    }

    fn has_act(&self, act: &Act) -> bool {
        match command(act) {
            Some(command) => self.messages.contains(&command.message_id),
            None => {
                let value = serde_json::to_value(act).unwrap_or_default();
                let said = |key: &str| find(&value, key);
                let message = said("message_id").is_some_and(|id| self.messages.contains(id));
                // An act on all, such as the rotation of a key, concerns everyone.
                message || said("tenant").is_none_or(|tenant| self.tenants.contains(tenant))
            }
        }
    }

    fn has(&self, detail: &str) -> bool {
        words(detail).any(|word| self.messages.contains(word))
    }

    fn has_tenant(&self, detail: &str) -> bool {
        words(detail).any(|word| self.tenants.contains(word))
    }
}

/// The words of a text, as far as they could be names.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_').filter(|word| !word.is_empty())
}

pub(super) fn command(act: &Act) -> Option<&Command> {
    match act {
        Act::Send(command) | Act::TryAndSend(command) | Act::Resend(command) | Act::ReuseId(command) => Some(command),
        Act::Forge(forgery) => Some(&forgery.command),
        Act::Pair(paired) => Some(&paired.command),
        _ => None,
    }
}

/// The first text under `key`, however deep.
pub(super) fn find<'v>(value: &'v Value, key: &str) -> Option<&'v str> {
    let fields = value.as_object()?;
    fields.get(key).and_then(Value::as_str).or_else(|| fields.values().find_map(|value| find(value, key)))
}

/// What someone is about to do.
#[must_use]
pub fn told_act(act: &Act) -> String {
    let asks = |command: &Command| {
        let Command { message_id, operator, tenant, ask, allowed } = command;
        let (action, payload) = ask.wire();
        let may = if *allowed { "" } else { ", which they may not" };
        format!("{message_id} by {operator} for {tenant}: {action} {payload}{may}")
    };
    match act {
        Act::Send(command) => format!("sends {}", asks(command)),
        Act::TryAndSend(command) => format!("tries and sends {}", asks(command)),
        Act::Resend(command) => format!("sends again {}", asks(command)),
        Act::ReuseId(command) => format!("sends another body as {}", asks(command)),
        Act::Pair(paired) => {
            format!("in pairs ({:?}, with {:?}) {}", paired.way, paired.approver, asks(&paired.command))
        }
        Act::Forge(forgery) => format!("forges by {:?} {}", forgery.trick, asks(&forgery.command)),
        other => serde_json::to_value(other).map_or_else(|error| error.to_string(), |value| value.to_string()),
    }
}

/// What happened, if it concerns the violation. `leases` are those under which a message that does was handed out.
fn told_event(event: &TraceEntry, concern: &Concern, leases: &mut BTreeSet<String>) -> Option<String> {
    let TraceEntry { at_us, host, kind, detail } = event;
    let of_message = || concern.has(detail);
    match *kind {
        "fault.begin" => Some(format!("FAULT {detail}")),
        "fault.end" => Some(format!("healed: {detail}")),
        "power.lost" => Some(format!("{host} loses {detail} that were not durable")),
        "disk.rotted" => Some(format!("{host}'s disk rots: {detail}")),
        "host.died" => Some(format!("{host} dies: {detail}")),
        // At the beginning all do.
        "host.start" => (*at_us > 0).then(|| format!("{host} starts again")),
        "api.answer" => of_message().then(|| format!("the operator is told of {}", answer(detail))),
        "broker.leased" => {
            let (lease, rest) = detail.split_once(" } ").unwrap_or((detail, ""));
            of_message().then(|| {
                leases.insert(lease.to_owned());
                format!("the broker hands out {rest}")
            })
        }
        "broker.settled" => {
            let (lease, rest) = detail.split_once(" } ").unwrap_or((detail, ""));
            leases.contains(lease).then(|| format!("its lease is settled: {rest}"))
        }
        "broker.published" => of_message().then(|| format!("the broker answers: {detail}")),
        "ledger.applied" => of_message().then(|| format!("the ledger says of {}", applied(detail))),
        "net.in" | "net.out" | "net.connect" | "net.accept" | "disk.synced" | "ledger.reconciled" | "api.read" => None,
        "broker.paused" | "ledger.paused" | "api.paused" => {
            concern.has_tenant(detail).then(|| format!("{host}: {kind} {detail}"))
        }
        "auth.reloaded" | "auth.rotated" | "idp.rotated" | "idp.dropped" => Some(format!("{host}: {kind} {detail}")),
        _ => of_message().then(|| format!("{host}: {kind} {detail}")),
    }
}

/// `m-1 202` in words.
fn answer(detail: &str) -> String {
    match detail.split_once(' ') {
        Some((id, "200" | "202")) => format!("{id}: accepted ({detail})"),
        Some((id, told)) => format!("{id}: {told}"),
        None => detail.to_owned(),
    }
}

/// What the ledger did, without the whole outcome.
fn applied(detail: &str) -> String {
    let mut parts = detail.splitn(3, ' ');
    let (Some(tenant), Some(id), Some(told)) = (parts.next(), parts.next(), parts.next()) else {
        return detail.to_owned();
    };
    let told = match told {
        _ if told.starts_with("Now(") && told.contains("verdict: Ok") => "it takes effect",
        _ if told.starts_with("Now(") => "it is rejected",
        _ if told.starts_with("Before(") => "it had its outcome before",
        _ => told,
    };
    format!("{id} of {tenant}: {told}")
}

/// The first `letters` of a line.
#[must_use]
pub fn shortened(line: &str, letters: usize) -> String {
    match line.char_indices().nth(letters) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line.to_owned(),
    }
}
