//! Run reports made by hand: one that broke a promise under a partition and a power loss, one that passed.
//!
//! Nothing ran for them. A rule of thumb takes the place of a simulation: each command goes the way that commands go, later
//! where a fault is in its way, so that all parts of a report agree with each other.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::causal::{Sent, Tracing};
use crate::latency::VirtualLatency;
use crate::record::{Commands, InvariantRecord, RunRecord};
use crate::report::{
    Attack, Conditions, EntryIs, Fairness, FaultWindow, HostLife, INTERVALS, Interval, PlanEntry, PlanRecord, Refusal,
    RefusedAt, RunReport, Series, Stage, StageLatency, TenantShare, TimeBase, VERSION, Violation,
};
use crate::suite::Source;
use crate::time::{VirtualMs, VirtualUs};
use crate::verdict::Verdict;

const HOSTS: [&str; 7] = ["audit", "auth", "broker", "consumer", "ledger", "operators", "producer"];
const TENANTS: [&str; 4] = ["acme", "globex", "initech", "umbrella"];
const ACTIONS: [&str; 3] = ["update_billing_limit", "grant_entitlement", "issue_credit"];
/// Consumer and ledger don't hear each other.
const CUT: (u64, u64) = (1_200, 2_100);
/// The broker is dark.
const DARK: (u64, u64) = (2_900, 3_300);
const END_MS: u64 = 6_000;
const HEALED_MS: u64 = 4_000;

/// One command's times in virtual milliseconds.
struct Way {
    id: String,
    tenant: &'static str,
    action: &'static str,
    sent: u64,
    confirmed: u64,
    delivered: u64,
    effect: u64,
    known: u64,
    rejected: bool,
    /// It was handed out before the fault that was in its way, and again after it.
    again: bool,
}

/// A run that violates two promises.
#[must_use]
pub fn violated() -> RunReport {
    made("partition_and_power_loss", 7, true)
}

/// The same without a violation, without faults, and without a plan that it was shrunk from.
#[must_use]
pub fn passed() -> RunReport {
    made("smoke", 1, false)
}

/// Commands that come ever more slowly or fast; umbrella floods.
fn ways(faults: bool) -> Vec<Way> {
    let mut ways = Vec::new();
    for number in 0..480_u64 {
        // A cheap way of looking random that is the same on every machine.
        let noise = |of: u64, below: u64| (number.wrapping_mul(2_654_435_761).wrapping_add(of * 97) >> 7) % below;
        let tenant = if number % 2 == 0 { "umbrella" } else { TENANTS[(number as usize / 2) % 3] };
        let sent = 40 + number * 8;
        let mut confirmed = sent + 9 + noise(1, 7);
        if faults && (DARK.0..DARK.1).contains(&confirmed) {
            confirmed = DARK.1 + 20 + noise(2, 60);
        }
        let queue = if tenant == "umbrella" { 10 + noise(3, 90) } else { noise(3, 6) };
        let mut delivered = confirmed + queue;
        let mut effect = delivered + 11 + noise(4, 9);
        let again = faults && delivered < CUT.1 && effect >= CUT.0;
        if again {
            effect = CUT.1 + 30 + noise(5, 240);
        }
        if faults && (DARK.0..DARK.1).contains(&delivered) {
            delivered = DARK.1 + 5 + noise(6, 40);
            effect = delivered + 12 + noise(4, 9);
        }
        let action = ACTIONS[number as usize % 3];
        let (id, known, rejected) = (format!("m-{number}"), effect + 6 + noise(7, 5), number % 29 == 11);
        ways.push(Way { id, tenant, action, sent, confirmed, delivered, effect, known, rejected, again });
    }
    ways
}

fn made(scenario: &str, seed: u64, faults: bool) -> RunReport {
    let ways = ways(faults);
    let mut trace = Tracing::new(HOSTS);
    for host in HOSTS {
        trace.event(VirtualUs(0), host, "host.start", String::new(), &[]);
    }
    for way in &ways {
        story(way, &mut trace);
    }
    if faults {
        fault_events(&mut trace);
    }
    (0..900).for_each(|_| trace.heartbeat());
    let trace = trace.finish(usize::MAX);
    let mut invariants: Vec<_> = ["G1-isolation", "G3-one-outcome", "G4-nothing-lost", "G5-order", "G10-liveness"]
        .map(InvariantRecord::new)
        .into();
    invariants.iter_mut().for_each(|invariant| invariant.compared = 480);
    let mut violations = Vec::new();
    if faults {
        let told = [
            (1, "m-150 of umbrella took effect twice: at 2,199 ms and at 2,204 ms", "umbrella", &["m-150"][..]),
            (
                3,
                "m-153 of globex took effect before m-147, which was confirmed before it",
                "globex",
                &["m-147", "m-153"],
            ),
        ];
        for (index, words, tenant, commands) in told {
            invariants[index].violate(words);
            let named = |number: &u32| commands.contains(&trace.command(*number));
            let about = |(place, event): (usize, &crate::causal::HostEvent)| {
                let effect = trace.word(event.kind) == "ledger.applied" && event.commands.iter().any(named);
                effect.then_some(place as u32)
            };
            let events: Vec<u32> = trace.events.iter().enumerate().filter_map(about).collect();
            let at_us = events.last().map_or(VirtualMs(END_MS).into(), |place| trace.events[*place as usize].at);
            violations.push(Violation {
                invariant: invariants[index].name.clone(),
                words: words.into(),
                commands: commands.iter().map(|id| (*id).to_owned()).collect(),
                tenants: vec![tenant.into()],
                events,
                at_us,
            });
        }
    }
    let latency = latency(&ways);
    let rejected = ways.iter().filter(|way| way.rejected).count() as u64;
    let all = latency.iter().find(|of| of.stage == Stage::SentToEffect).expect("it is there");
    let counted = |kinds: &[(&str, u64)]| kinds.iter().map(|(kind, count)| ((*kind).to_owned(), *count)).collect();
    let fault_counts: BTreeMap<String, u64> =
        if faults { counted(&[("partition", 1), ("power_loss", 1), ("disk_slow", 1)]) } else { BTreeMap::new() };
    let record = RunRecord {
        verdict: Verdict::of(&invariants, None),
        digest: format!("{seed:032x}"),
        virtual_ms: END_MS,
        wall_ms: 71,
        commands: Commands { accepted: 480, applied: 480 - rejected, rejected, dead_lettered: 0, attempts_refused: 6 },
        fault_effects: if faults {
            counted(&[("partition", 1), ("power_loss", 1), ("disk_slow", 0)])
        } else {
            BTreeMap::new()
        },
        faults: fault_counts,
        marks: counted(&[("redelivered", 90), ("duplicate_apply", 3), ("run_of_several", 44)]),
        latency_virtual_ms: all.counts_virtual_ms.summary(),
        stages_virtual_ms_counts: BTreeMap::new(),
        invariants,
        error: None,
        violated_at_ms: None,
        cut_short: false,
        digest_chain: None,
        reproduce: format!("tenantry run {scenario} --seed {seed}"),
        scenario: scenario.into(),
        seed,
    };
    RunReport {
        version: VERSION,
        time: TimeBase::Virtual,
        build: super::build(),
        record,
        conditions: conditions(),
        plan: plan(&ways, faults),
        faults: if faults { windows() } else { Vec::new() },
        lives: lives(faults),
        latency,
        series: series(&ways),
        refusals: vec![
            Refusal { at: RefusedAt::Door, reason: "429".into(), count: 31 },
            Refusal { at: RefusedAt::Door, reason: "403".into(), count: 6 },
            Refusal { at: RefusedAt::Ledger, reason: "outside_guardrail".into(), count: rejected },
        ],
        attacks: vec![
            Attack { kind: "others_grant".into(), tried: 3, refused: 3 },
            Attack { kind: "swapped_body".into(), tried: 4, refused: 4 },
            Attack { kind: "wrong_lane".into(), tried: 2, refused: 2 },
        ],
        fairness: fairness(&ways),
        violations,
        trace,
    }
}

/// The messages and events of one command.
fn story(way: &Way, trace: &mut Tracing) {
    let ids = std::slice::from_ref(&way.id);
    let us = |ms: u64| VirtualUs(ms * 1000);
    let mut message = |from, to, sent: u64, received: Option<u64>, lost, carries| {
        let (sent_at, received_at) = (us(sent), received.map(us));
        trace.message(&Sent { from, to, sent_at, received_at, lost, carries, commands: ids });
    };
    message("operators", "producer", way.sent, Some(way.sent + 2), None, "POST /v1/commands");
    message("producer", "auth", way.sent + 2, Some(way.sent + 3), None, "issue");
    message("auth", "producer", way.sent + 3, Some(way.sent + 4), None, "reply to issue");
    message("producer", "broker", way.confirmed - 5, Some(way.confirmed - 4), None, "publish");
    message("broker", "producer", way.confirmed - 2, Some(way.confirmed - 1), None, "reply to publish");
    message("producer", "operators", way.confirmed - 1, Some(way.confirmed), None, "HTTP 202");
    message("broker", "consumer", way.delivered, Some(way.delivered + 2), None, "reply to fetch");
    if way.again {
        let lost = Some("partition consumer <-> ledger");
        message("consumer", "ledger", way.delivered + 4, None, lost, "apply");
    }
    message("consumer", "ledger", way.effect - 5, Some(way.effect - 3), None, "apply");
    message("ledger", "consumer", way.effect, Some(way.effect + 2), None, "reply to apply");
    message("consumer", "broker", way.effect + 2, Some(way.effect + 3), None, "settle");
    message("ledger", "audit", way.effect + 3, Some(way.effect + 5), None, "append");
    let Way { tenant, id, action, .. } = way;
    let what = if way.rejected { "is rejected" } else { "takes effect" };
    trace.event(us(way.confirmed - 2), "broker", "broker.published", format!("{tenant} {id} Accepted"), ids);
    trace.event(us(way.confirmed), "operators", "api.answer", format!("{id} 202"), ids);
    trace.event(us(way.delivered), "broker", "broker.leased", format!("{tenant} {id} attempt 1"), ids);
    if way.again {
        trace.event(us(way.effect - 8), "broker", "broker.leased", format!("{tenant} {id} attempt 2"), ids);
    }
    trace.event(us(way.effect), "ledger", "ledger.applied", format!("{tenant} {id}: {action} {what}"), ids);
    if id == "m-150" {
        trace.event(us(way.effect + 5), "ledger", "ledger.applied", format!("{tenant} {id}: {action} {what}"), ids);
    }
}

fn fault_events(trace: &mut Tracing) {
    for window in windows() {
        trace.event(window.from_us, "harness", "fault.begin", window.words.clone(), &[]);
        trace.event(window.to_us, "harness", "fault.end", window.words, &[]);
    }
    trace.event(VirtualUs(DARK.0 * 1000), "broker", "power.lost", "20480 bytes".into(), &[]);
    trace.event(VirtualUs(DARK.1 * 1000), "broker", "host.start", String::new(), &[]);
}

fn windows() -> Vec<FaultWindow> {
    let window = |entry, kind: &str, hosts: &[&str], (from, to): (u64, u64), felt| FaultWindow {
        entry: Some(entry),
        kind: kind.into(),
        hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
        from_us: VirtualUs(from * 1000),
        to_us: VirtualUs(to * 1000),
        felt,
        words: format!("{kind} {}", hosts.join(" <-> ")),
    };
    vec![
        window(1, "partition", &["consumer", "ledger"], CUT, 214),
        window(2, "power_loss", &["broker"], DARK, 12),
        window(3, "disk_slow", &["audit"], (3_400, 3_600), 0),
    ]
}

fn lives(faults: bool) -> Vec<HostLife> {
    let life = |host: &str| HostLife { host: host.into(), from_us: VirtualUs(0), to_us: None, ended_by: None };
    let mut lives: Vec<_> = HOSTS.map(life).into();
    if faults {
        let broker = lives.iter_mut().find(|life| life.host == "broker").expect("it is there");
        (broker.to_us, broker.ended_by) = (Some(VirtualUs(DARK.0 * 1000)), Some("power_loss".into()));
        lives.insert(3, HostLife { from_us: VirtualUs(DARK.1 * 1000), ..life("broker") });
    }
    lives
}

fn conditions() -> Conditions {
    Conditions {
        description: "Consumer and ledger can't hear each other, then the broker loses power.".into(),
        source: Some(Source { file: "scenarios/partition_and_power_loss.toml".into(), digest: "0a1b2c".into() }),
        hosts: HOSTS.map(str::to_owned).into(),
        tenants: TENANTS.map(str::to_owned).into(),
        tick_ms: VirtualMs(1),
        link_ms_min: VirtualMs(1),
        link_ms_max: VirtualMs(4),
        sync_ms_min: VirtualMs(1),
        sync_ms_max: VirtualMs(4),
        tls: true,
        healed_at: VirtualMs(HEALED_MS),
        drain: VirtualMs(10_000),
        bug: None,
    }
}

fn plan(ways: &[Way], faults: bool) -> PlanRecord {
    let fault = |window: FaultWindow| PlanEntry {
        number: 0,
        at_ms: window.from_us.ms(),
        for_ms: Some(VirtualMs((window.to_us.0 - window.from_us.0) / 1000)),
        is: EntryIs::Fault,
        kind: window.kind,
        hosts: window.hosts,
        tenant: None,
        command: None,
        waits_for: None,
        sentence: window.words,
    };
    let act = |way: &Way| PlanEntry {
        number: 0,
        at_ms: VirtualMs(way.sent),
        for_ms: None,
        is: EntryIs::Act,
        kind: "send".into(),
        hosts: Vec::new(),
        tenant: Some(way.tenant.into()),
        command: Some(way.id.clone()),
        waits_for: None,
        sentence: format!("sends {} by ann for {}: {} {{\"limit\":100}}", way.id, way.tenant, way.action),
    };
    let numbered = |entries: Vec<PlanEntry>| -> Vec<PlanEntry> {
        (1..).zip(entries).map(|(number, entry)| PlanEntry { number, ..entry }).collect()
    };
    let acts: Vec<_> = ways.iter().map(act).collect();
    if !faults {
        return PlanRecord { entries: numbered(acts), original: None };
    }
    let all: Vec<_> = windows().into_iter().map(fault).chain(acts).collect();
    let few: BTreeSet<_> = ["m-147", "m-150", "m-153"].into();
    let kept = |entry: &PlanEntry| match &entry.command {
        Some(id) => few.contains(id.as_str()),
        None => entry.kind == "partition",
    };
    let entries = all.iter().filter(|entry| kept(entry)).cloned().collect();
    PlanRecord { entries: numbered(entries), original: Some(numbered(all)) }
}

fn latency(ways: &[Way]) -> Vec<StageLatency> {
    let mut latencies = Vec::new();
    for stage in Stage::ALL {
        let of = |tenant: Option<&str>, action: Option<&str>| {
            let mut counts = VirtualLatency::new();
            let chosen = ways.iter().filter(|way| tenant.is_none_or(|tenant| way.tenant == tenant));
            for way in chosen.filter(|way| action.is_none_or(|action| way.action == action)) {
                counts.record(Duration::from_millis(match stage {
                    Stage::SentToConfirmed => way.confirmed - way.sent,
                    Stage::ConfirmedToDelivered => way.delivered - way.confirmed,
                    Stage::DeliveredToEffect => way.effect - way.delivered,
                    Stage::SentToEffect => way.effect - way.sent,
                    Stage::SentToKnown => way.known - way.sent,
                }));
            }
            StageLatency::new(stage, tenant, action, counts)
        };
        latencies.push(of(None, None));
        latencies.extend(TENANTS.map(|tenant| of(Some(tenant), None)));
        latencies.extend(ACTIONS.map(|action| of(None, Some(action))));
    }
    latencies
}

fn series(ways: &[Way]) -> Series {
    let length = END_MS / INTERVALS as u64;
    let interval = |index: usize| {
        let (from, to) = (index as u64 * length, (index as u64 + 1) * length);
        let within = |at: u64| (from..to).contains(&at);
        let count = |at: &dyn Fn(&Way) -> bool| ways.iter().filter(|way| at(way)).count() as u64;
        let mut latency_virtual_ms = VirtualLatency::new();
        let effects = ways.iter().filter(|way| within(way.effect));
        effects.for_each(|way| latency_virtual_ms.record(Duration::from_millis(way.effect - way.sent)));
        Interval {
            from_ms: VirtualMs(from),
            sent: count(&|way| within(way.sent)),
            confirmed: count(&|way| within(way.confirmed)),
            applied: count(&|way| within(way.effect) && !way.rejected),
            rejected: count(&|way| within(way.effect) && way.rejected),
            dead_lettered: 0,
            depth_max: count(&|way| way.confirmed < to && way.effect >= from),
            latency_virtual_ms,
        }
    };
    Series { interval_ms: VirtualMs(length), intervals: (0..INTERVALS).map(interval).collect() }
}

fn fairness(ways: &[Way]) -> Fairness {
    let share = |tenant: &str| {
        let own = || ways.iter().filter(move |way| way.tenant == tenant);
        let rejected = own().filter(|way| way.rejected).count() as u64;
        let mut latency_virtual_ms = VirtualLatency::new();
        own().for_each(|way| latency_virtual_ms.record(Duration::from_millis(way.effect - way.sent)));
        let sent = own().count() as u64;
        TenantShare {
            tenant: tenant.into(),
            noisy: tenant == "umbrella",
            sent,
            confirmed: sent,
            applied: sent - rejected,
            rejected,
            refused: 0,
            latency_virtual_ms,
        }
    };
    Fairness { tenants: TENANTS.map(share).into(), quiet_p99_ms_max: Some(VirtualMs(1_500)) }
}
