//! A run told in full: its report, made from its setup and its trace after it has ended.
//!
//! Nothing is measured for it that the run did not see anyway: a run whose events were not kept is run again with them, and is
//! the same to the last event. Commands' ways are read in `ways.rs`, messages in `messages.rs`, faults and lives in `windows.rs`.

mod messages;
mod ways;
mod windows;

use std::collections::{BTreeMap, BTreeSet};

use tenantry_reports::causal::{CausalTrace, Tracing};
use tenantry_reports::report::{
    Attack, Conditions, EntryIs, Fairness, PlanEntry, PlanRecord, RunReport, TenantShare, TimeBase, VERSION, Violation,
};
use tenantry_reports::suite::{Build, Source};
use tenantry_reports::time::{VirtualMs, VirtualUs};

use self::ways::Ways;
use super::run::{Ended, Setup};
use super::story::{command, find, shortened, told_act, violations as words_of, words};
use super::workload::{Act, Command};
use crate::engine::fault::Fault;
use crate::engine::plan::What;

/// Messages and events that are listed; a run has some ten thousand.
const LISTED_MAX: usize = 500_000;

/// Letters of an event's text.
const TEXT_MAX: usize = 240;

/// Letters of a plan entry's sentence.
const SENTENCE_MAX: usize = 240;

/// Events in conflict that are named of one violation: the last ones.
const CONFLICT_MAX: usize = 100;

/// What a run does not know of itself.
#[derive(Debug, Clone)]
pub struct About {
    /// The build that ran it.
    pub build: Build,
    /// What the scenario says of itself.
    pub description: String,
    /// What the scenario was read from.
    pub source: Option<Source>,
}

/// The report of `ended`, a run of `setup` with its events kept.
#[must_use]
pub fn of(setup: &Setup, ended: &Ended, about: About) -> RunReport {
    let record = ended.finished.record.clone();
    let end = VirtualUs::from(VirtualMs(record.virtual_ms));
    let sent: BTreeMap<&str, &Command> = setup.plan.acts().filter_map(|(_, act)| named(act)).collect();
    let ways = Ways::read(setup, &ended.trace);
    let plan = plan(setup);
    let faults = windows::faults(&ended.trace, &ended.felt, &plan.entries, end);
    let mut tracing = Tracing::new([]);
    messages::add(ended, &faults, end, &mut tracing);
    for event in ended.trace.iter().filter(|event| !matches!(event.kind, "net.in" | "net.out")) {
        let ids: BTreeSet<&str> = words(&event.detail).filter(|word| sent.contains_key(word)).collect();
        let ids: Vec<String> = ids.into_iter().map(str::to_owned).collect();
        tracing.event(VirtualUs(event.at_us), &event.host, event.kind, shortened(&event.detail, TEXT_MAX), &ids);
    }
    let trace = tracing.finish(LISTED_MAX);
    let violations = record.invariants.iter().filter(|found| found.violations_total > 0);
    let violations = violations.flat_map(|found| {
        let told = words_of(&record, &found.name);
        told.into_iter().map(|words| violation(&found.name, words, &sent, &trace, end)).collect::<Vec<_>>()
    });
    RunReport {
        version: VERSION,
        time: TimeBase::Virtual,
        build: about.build,
        conditions: conditions(setup, about.description, about.source, &ended.trace),
        lives: windows::lives(&ended.trace),
        latency: ways.latency(),
        series: ways.series(VirtualMs(record.virtual_ms)),
        refusals: ways.refusals(record.commands.dead_lettered),
        attacks: attacks(setup, &ways, &ended.trace),
        fairness: fairness(setup, &ways),
        violations: violations.collect(),
        plan,
        faults,
        trace,
        record,
    }
}

/// The entries of a setup's plan, to be shown beside those of another.
#[must_use]
pub fn plan_entries(setup: &Setup) -> Vec<PlanEntry> {
    plan(setup).entries
}

fn named(act: &Act) -> Option<(&str, &Command)> {
    command(act).map(|command| (command.message_id.as_str(), command))
}

fn conditions(
    setup: &Setup,
    description: String,
    source: Option<Source>,
    trace: &[crate::engine::trace::TraceEntry],
) -> Conditions {
    let hosts: BTreeSet<&str> = trace.iter().map(|event| event.host.as_str()).collect();
    let mut tenants: Vec<String> = setup.cast.tenants.iter().map(ToString::to_string).collect();
    tenants.sort();
    Conditions {
        description,
        source,
        hosts: hosts.into_iter().map(str::to_owned).collect(),
        tenants,
        tick_ms: VirtualMs(setup.tick_ms),
        link_ms_min: VirtualMs(*setup.latency_ms.start()),
        link_ms_max: VirtualMs(*setup.latency_ms.end()),
        sync_ms_min: VirtualMs(*setup.sync_ms.start()),
        sync_ms_max: VirtualMs(*setup.sync_ms.end()),
        tls: setup.tls,
        healed_at: VirtualMs::of(setup.duration),
        drain: VirtualMs::of(setup.drain),
        bug: setup.bug.map(|bug| bug.name().to_owned()),
    }
}

fn plan(setup: &Setup) -> PlanRecord {
    let entries = setup.plan.entries.iter().filter_map(|entry| match &entry.what {
        What::Fault(fault) => Some(of_fault(entry.at_ms, fault)),
        What::Act(act) => Some(of_act(entry.at_ms, act)),
        What::Heal(_) => None,
    });
    let entries = (1..).zip(entries).map(|(number, entry)| PlanEntry { number, ..entry }).collect();
    PlanRecord { entries, original: None }
}

fn of_fault(at_ms: u64, fault: &Fault) -> PlanEntry {
    let waits_for = fault.when.as_ref().map(|when| {
        let of = when.of.as_ref().map(|of| format!(" of {of}")).unwrap_or_default();
        format!("{} ms after {} no. {}{of}", when.after_ms, when.event, when.nth)
    });
    let for_ms = (!fault.kind.is_instant()).then(|| VirtualMs::of(fault.for_));
    let lasts = for_ms.map(|ms| format!(" for {ms}")).unwrap_or_default();
    let waits = waits_for.as_ref().map(|waits| format!(", {waits}")).unwrap_or_default();
    PlanEntry {
        number: 0,
        at_ms: VirtualMs(at_ms),
        for_ms,
        is: EntryIs::Fault,
        kind: fault.kind.name().to_owned(),
        hosts: fault.kind.hosts().into_iter().map(str::to_owned).collect(),
        tenant: None,
        command: None,
        sentence: format!("{}{lasts}{waits}", fault.kind),
        waits_for,
    }
}

fn of_act(at_ms: u64, act: &Act) -> PlanEntry {
    let value = serde_json::to_value(act).unwrap_or_default();
    let kind = match &value {
        serde_json::Value::Object(fields) => fields.keys().next().cloned().unwrap_or_default(),
        other => other.as_str().unwrap_or_default().to_owned(),
    };
    PlanEntry {
        number: 0,
        at_ms: VirtualMs(at_ms),
        for_ms: None,
        is: EntryIs::Act,
        kind,
        hosts: Vec::new(),
        tenant: find(&value, "tenant").map(str::to_owned),
        command: find(&value, "message_id").map(str::to_owned),
        waits_for: None,
        sentence: shortened(&told_act(act), SENTENCE_MAX),
    }
}

/// What a violation is about: the commands that its words name, or all of the tenants' that they name.
fn violation(
    invariant: &str,
    told: String,
    sent: &BTreeMap<&str, &Command>,
    trace: &CausalTrace,
    end: VirtualUs,
) -> Violation {
    let said: BTreeSet<&str> = words(&told).collect();
    let mut commands: BTreeSet<&str> = sent.keys().copied().filter(|id| said.contains(id)).collect();
    let mut tenants: BTreeSet<&str> = sent.values().map(|command| command.tenant.as_str()).collect();
    tenants.retain(|tenant| said.contains(tenant));
    if commands.is_empty() {
        let of_tenants = sent.iter().filter(|(_, command)| tenants.contains(command.tenant.as_str()));
        commands = of_tenants.map(|(id, _)| *id).collect();
    }
    tenants.extend(commands.iter().map(|id| sent[id].tenant.as_str()));
    let concerned = |kind: Option<&str>| -> Vec<u32> {
        let about = |(place, event): (usize, &tenantry_reports::causal::HostEvent)| {
            let of_kind = kind.is_none_or(|kind| trace.word(event.kind) == kind);
            let named = || event.commands.iter().any(|id| commands.contains(trace.command(*id)));
            (of_kind && named()).then_some(place as u32)
        };
        trace.events.iter().enumerate().filter_map(about).collect()
    };
    // What collides collides in the ledger, if it came that far.
    let mut events = concerned(Some("ledger.applied"));
    if events.is_empty() {
        events = concerned(None);
    }
    events.drain(..events.len().saturating_sub(CONFLICT_MAX));
    let at_us = events.last().map_or(end, |place| trace.events[*place as usize].at);
    let commands = commands.into_iter().map(str::to_owned).collect();
    let tenants = tenants.into_iter().map(str::to_owned).collect();
    Violation { invariant: invariant.to_owned(), commands, tenants, events, at_us, words: told }
}

/// The catalogue's attacks, each with the ways in that it was tried at, and forgeries by trick. One that had no effect was refused.
fn attacks(setup: &Setup, ways: &Ways, trace: &[crate::engine::trace::TraceEntry]) -> Vec<Attack> {
    let mut attacks: BTreeMap<String, Attack> = BTreeMap::new();
    for event in trace.iter().filter(|event| event.kind == "attack") {
        let Some((kind, verdict)) = catalogued(&event.detail) else { continue };
        if verdict.starts_with("NotApplicable") {
            continue;
        }
        let fresh = || Attack { kind: kind.to_owned(), tried: 0, refused: 0 };
        let attack = attacks.entry(kind.to_owned()).or_insert_with(fresh);
        attack.tried += 1;
        attack.refused += u64::from(!verdict.starts_with("Breach"));
    }
    for (_, act) in setup.plan.acts() {
        let Act::Forge(forgery) = act else { continue };
        let id = forgery.command.message_id.as_str();
        if !ways.forged.contains(id) {
            continue;
        }
        let kind = serde_json::to_value(forgery.trick).unwrap_or_default();
        let kind = kind.as_str().unwrap_or("forged").to_owned();
        let attack = attacks.entry(kind.clone()).or_insert_with(|| Attack { kind, tried: 0, refused: 0 });
        attack.tried += 1;
        attack.refused += u64::from(!ways.took_effect.contains(id));
    }
    attacks.into_values().collect()
}

/// An attack of the catalogue and what became of it, of an event's `ATTACK by ENTRY with ACTION: VERDICT`.
fn catalogued(detail: &str) -> Option<(&str, &str)> {
    let (kind, rest) = detail.split_once(" by ")?;
    let (_, verdict) = rest.split_once(" with ")?.1.split_once(": ")?;
    Some((kind, verdict))
}

fn fairness(setup: &Setup, ways: &Ways) -> Fairness {
    let shares: BTreeMap<&str, TenantShare> = ways.shares();
    let quiet_p99_ms_max = setup.quiet_p99_ms_max.map(VirtualMs);
    // Where there is a bound on the quiet ones, the first of the cast is the one that is not.
    let noisy = quiet_p99_ms_max.and_then(|_| setup.cast.tenants.first()).map(|tenant| tenant.as_str());
    let share = |(tenant, share): (&str, TenantShare)| TenantShare { noisy: noisy == Some(tenant), ..share };
    Fairness { tenants: shares.into_iter().map(share).collect(), quiet_p99_ms_max }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attack_of_the_catalogue_is_read_with_what_became_of_it() {
        let told = r#"forged tenant by HTTP with Some("issue_credit"): Breach("acme: 1 -> 2")"#;
        assert_eq!(catalogued(told), Some(("forged tenant", r#"Breach("acme: 1 -> 2")"#)));
        assert_eq!(catalogued("wrong audience by the broker with None: Refused"), Some(("wrong audience", "Refused")));
        assert_eq!(catalogued("nothing of the kind"), None);
    }
}
