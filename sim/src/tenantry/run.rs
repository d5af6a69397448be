//! One run: a scenario and a seed in, a judged record out.
//!
//! ```text
//! scenario + seed -> cast, plan -> hosts in the simulation -> chaos, heal, drain -> evidence -> invariants -> record
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use tenantry_reports::latency::VirtualLatency;
use tenantry_reports::record::{Commands, InvariantRecord, RunRecord};
use tenantry_reports::report::Stage;
use tenantry_reports::suite::FinishedRun;
use tenantry_reports::verdict::Verdict;
use tenantry_system::alerting::DEFAULT_RULES;
use tenantry_system::audit::Event;
use tenantry_system::ids::Name;
use tenantry_system::rate_limit::RateLimits;
use tenantry_system::secret::KeySet;

use super::approvers::Paired;
use super::burst;
use super::canary::{Canaries, Logs};
use super::carried::{Carried, Carries};
use super::cast::Cast;
use super::early::{Alarm, Cut, Until};
use super::evidence::{Evidence, Kept, Seen};
use super::followers::{self, Followed};
use super::hosts::{House, addresses};
use super::idp::{Idp, Rotation};
use super::invariant::{Case, Finding, judge, judge_beginning, seen_broken};
use super::marks;
use super::model::Ask;
use super::section::{self, Scenario};
use super::workload::{self, Act, Forgery, Timed, Trick};
use super::world::{Worlds, epoch};
use crate::bugs::{Bug, Kit};
use crate::engine::chain::Chain;
use crate::engine::dice::Dice;
use crate::engine::disk_image::Flip;
use crate::engine::disks::DiskState;
use crate::engine::double;
use crate::engine::fault::Fault;
use crate::engine::plan::Plan;
use crate::engine::runner::{Machines, Phase, RunEnd, Settings, Simulation};
use crate::engine::trace::{Trace, TraceEntry};
use crate::engine::weather::Weather;

/// Whether everything has come to rest is asked every so many steps: the answer reads three stores.
const QUIET_CHECK_STEPS: u64 = 16;

/// All that decides a run.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Who is there.
    pub cast: Cast,
    /// What happens when.
    pub plan: Plan<Act>,
    /// The consumers' hosts.
    pub consumers: Vec<String>,
    /// Whether channels are encrypted and prove who is at their ends.
    pub tls: bool,
    /// Whether the identity provider has a host of its own, and auth fetches its keys.
    pub idp_hosted: bool,
    /// How often one may ask.
    pub rate_limits: RateLimits,
    /// The bound on what the quiet tenants' commands may take, in virtual milliseconds, at the 99th percentile.
    pub quiet_p99_ms_max: Option<u64>,
    /// Whether the attack catalogue is tried, instead of commands.
    pub catalogue: bool,
    /// Who follows which tenant's live stream.
    pub followers: Vec<Followed>,
    /// One-way latency of links, in virtual milliseconds.
    pub latency_ms: RangeInclusive<u64>,
    /// Virtual milliseconds per step.
    pub tick_ms: u64,
    /// How long a sync takes, in virtual milliseconds.
    pub sync_ms: RangeInclusive<u64>,
    /// The control: syncs make nothing durable.
    pub lying_sync: bool,
    /// The bug that is planted, to be found.
    pub bug: Option<Bug>,
    /// The invariant that a regression is there for. This one must compare something; of the others, in a run that was made
    /// as small as can be, only those count that did.
    pub guards: Option<String>,
    /// How far it goes if a promise is seen to be broken meanwhile.
    pub until: Until,
    /// From when on another seed decides what the plan does not spell out.
    pub redrawn: Option<(Duration, u64)>,
    /// What the audit log is watched by, as a file would say it.
    pub alert_rules: Arc<str>,
    /// Whether a webhook is told of alerts.
    pub webhook: bool,
    /// When all faults are healed.
    pub duration: Duration,
    /// How long everything may take to end after that.
    pub drain: Duration,
}

/// A plan's acts: those of operators, of the identity provider, of the adversary, and of the office that auth goes by.
#[derive(Default)]
struct Parts {
    acts: Timed<Act>,
    rotations: Timed<Rotation>,
    forgeries: Timed<Forgery>,
    office: Timed<Act>,
}

/// How many faults of each kind fired, and of each kind in the plan how many were felt.
struct Faults {
    fired: BTreeMap<String, u64>,
    felt: BTreeMap<String, u64>,
}

/// A run that has ended.
#[derive(Debug)]
pub struct Ended {
    /// The record, and the latencies to merge.
    pub finished: FinishedRun,
    /// Every event, if it was asked for.
    pub trace: Vec<TraceEntry>,
    /// Digests of its beginnings.
    pub chain: Chain,
    /// What chunks on the wire carry, by their digests, if every event was asked for.
    pub carried: BTreeMap<String, Carries>,
    /// How often each fault was felt, in the order in which they began.
    pub felt: Vec<u64>,
}

impl Setup {
    /// Expands `scenario` with `seed`; one whose plan is spelt out has a seed of its own.
    #[must_use]
    pub fn expand(scenario: &Scenario, seed: u64) -> Self {
        let guards = scenario.plan.as_ref().and_then(|spelt| spelt.guards.clone());
        let seed = scenario.plan.as_ref().map_or(seed, |spelt| spelt.seed);
        let dice = Dice::new(seed);
        let (workload, duration_ms) = (&scenario.workload, scenario.duration.as_millis() as u64);
        let cast = workload.cast(&dice);
        let acts = match &scenario.plan {
            Some(spelt) => spelt.acts.clone(),
            None => workload::draw(&dice, workload, &cast, duration_ms),
        };
        let followers = followers::draw(&dice, &cast, *workload.followers.get_ref());
        Self {
            plan: Plan::new(seed, &scenario.name, &scenario.faults(&dice, section::talk), acts),
            cast,
            consumers: scenario.topology.consumer_hosts(),
            tls: scenario.topology.tls,
            idp_hosted: workload.rotates_identity(),
            rate_limits: scenario.topology.rate_limits(),
            quiet_p99_ms_max: workload.quiet_p99_ms_max.as_ref().map(|bound| *bound.get_ref()),
            catalogue: workload.catalogue,
            followers,
            latency_ms: scenario.network.latency_ms.clone(),
            tick_ms: scenario.network.tick_ms,
            sync_ms: scenario.disk.sync_ms.clone(),
            lying_sync: scenario.disk.lying_sync,
            bug: scenario.plan.as_ref().and_then(|spelt| Bug::find(spelt.planted.as_deref()?)),
            redrawn: None,
            // As it was when it was made small.
            until: guards.clone().map_or(Until::End, Until::Violation),
            guards,
            alert_rules: scenario.topology.alert_rules(),
            webhook: scenario.topology.webhook,
            duration: scenario.duration,
            drain: scenario.drain,
        }
    }

    /// A run without faults in which `cast` does `acts`, for tests that tell one story.
    #[must_use]
    pub fn story(name: &str, seed: u64, cast: Cast, acts: Timed<Act>) -> Self {
        let last = acts.iter().map(|(at, _)| *at).max().unwrap_or(0);
        Self {
            plan: Plan::new(seed, name, &[], acts),
            cast,
            consumers: vec!["consumer".into()],
            tls: false,
            idp_hosted: false,
            rate_limits: RateLimits::default(),
            quiet_p99_ms_max: None,
            catalogue: false,
            followers: Vec::new(),
            latency_ms: 1..=4,
            tick_ms: 1,
            sync_ms: 1..=4,
            lying_sync: false,
            bug: None,
            guards: None,
            until: Until::End,
            redrawn: None,
            alert_rules: DEFAULT_RULES.into(),
            webhook: false,
            duration: Duration::from_millis(last + 1),
            drain: Duration::from_secs(10),
        }
    }

    /// The same with `bug` planted, if one is given.
    #[must_use]
    pub fn with(self, bug: Option<Bug>) -> Self {
        Self { bug: bug.or(self.bug), ..self }
    }

    /// The same, over at its first violation; what guards an invariant waits for that one.
    #[must_use]
    pub fn to_the_first_violation(mut self) -> Self {
        if self.until == Until::End {
            self.until = Until::AnyViolation;
        }
        self
    }

    /// What the promises say of a run that is not over; none while a store can't be read.
    fn judge_so_far(&self, evidence: &Evidence) -> Option<Cut> {
        let seen = evidence.seen();
        let kept = seen.kept().ok()?;
        Some(Cut { findings: judge_beginning(&self.case(&seen, &kept, false, &[])), kept })
    }

    fn case<'c>(&'c self, seen: &'c Seen, kept: &'c Kept, quiet: bool, unmet: &'c [&'static str]) -> Case<'c> {
        Case {
            cast: &self.cast,
            seen,
            kept,
            rate_limits: &self.rate_limits,
            quiet_p99_ms_max: self.quiet_p99_ms_max,
            quiet_by_deadline: quiet,
            unmet,
            deadline: self.duration + self.drain,
        }
    }

    /// Runs it, keeping every event if `keep_trace`.
    #[must_use]
    pub fn run(&self, keep_trace: bool) -> Ended {
        let started = wall_now();
        let trace = Trace::new(keep_trace);
        let evidence = Evidence::new(trace.clone());
        let dice = Dice::new(self.plan.seed);
        let dice = self.redrawn.map_or(dice, |(from, seed)| dice.redrawn(from, seed));
        let canaries = self.has_secrets().then(|| Canaries::new(&dice));
        let (weather, faults) = (Weather::default(), self.plan.faults());
        let worlds = Worlds::new(dice, trace.clone(), self.sync_ms.clone(), self.lying_sync).searched(canaries.clone());
        let carried = Carried::new(keep_trace);
        let worlds = worlds.under(&weather, &faults).read_by(&carried);
        let worlds = if self.tls { worlds.encrypted() } else { worlds };
        let provider = Idp::new(worlds.start("identity-provider").entropy, self.idp_hosted);
        let keys = Arc::new(KeySet::generate(wrapping_key(), &*worlds.start("key-provider").entropy));
        let house = House {
            worlds: worlds.clone(),
            evidence: evidence.clone(),
            provider: provider.clone(),
            at: addresses().into(),
            limits: self.rate_limits,
            kit: Kit::new(self.bug, evidence.clone(), provider, keys.clone()),
            alert_rules: self.alert_rules.clone(),
            webhook: self.webhook,
            bursts: burst::draw(&dice, &self.cast, &faults, self.duration).into(),
            keys,
        };
        let Parts { acts, rotations, forgeries, office } = self.parts();
        let triages = acts.iter().filter(|(_, act)| matches!(act, Act::Triage(_))).count();
        let commands = acts.iter().filter_map(|(_, act)| match act {
            Act::Send(command) | Act::TryAndSend(command) | Act::Pair(Paired { command, .. }) => {
                Some((command.message_id.clone(), command.clone()))
            }
            _ => None,
        });
        let paired = acts.iter().filter_map(|(_, act)| match act {
            Act::Pair(paired) => Some((paired.command.message_id.clone(), paired.clone())),
            _ => None,
        });
        {
            let mut seen = evidence.seen();
            seen.commands = commands.collect();
            seen.four_eyes.planned = paired.collect();
            seen.clocks_off = faults.iter().filter_map(|fault| fault.kind.offset()).max().unwrap_or_default();
            seen.canaries = canaries.clone();
            seen.alert_rules = self.alert_rules.to_string();
            seen.webhook = self.webhook;
            seen.catalogue_planned = self.catalogue;
            seen.followed = self.followers.clone();
            seen.forgeries = forgeries.len();
            let body = |forgery: &Forgery| (forgery.command.message_id.clone(), forgery.published());
            seen.forged_bodies = forgeries.iter().map(|(_, forgery)| body(forgery)).collect();
            let nobodys = forgeries.iter().filter(|(_, forgery)| forgery.trick != Trick::MovedCiphertext);
            seen.early.forged = nobodys.map(|(_, forgery)| forgery.command.message_id.clone()).collect();
            seen.early.rate = Some(self.rate_limits.tenant);
            seen.triages = triages;
            seen.dry_runs_planned = acts.iter().any(|(_, act)| matches!(act, Act::TryAndSend(_)));
            // Producer, broker, auth and ledger; the audit log's own lies beside it.
            seen.reporting = 4 + self.consumers.len();
        }

        let deadline = self.duration + self.drain;
        let settings = Settings {
            seed: self.plan.seed,
            tick_ms: self.tick_ms,
            latency_ms: self.latency_ms.clone(),
            limit: deadline,
            epoch: epoch(),
            weather: weather.clone(),
        };
        let mut hosts = house.hosts(&self.consumers, &self.cast, acts, rotations, forgeries, office);
        if self.catalogue {
            hosts.push(house.attacker(faults.is_empty()));
        }
        if !self.followers.is_empty() {
            hosts.push(house.followers());
        }
        let mut simulation = Simulation::new(&settings, hosts);
        let mut machines = Watched { worlds: worlds.clone(), evidence: evidence.clone() };
        let mut steps = 0;
        let mut healed = false;
        let mut alarm = Alarm::new(self.until.clone());
        let mut done = |now: Duration, phase: Phase| {
            steps += 1;
            let is_checked = steps % QUIET_CHECK_STEPS == 0;
            if alarm.is_over(now, &evidence, is_checked, |evidence| self.judge_so_far(evidence)) {
                return true;
            }
            if phase == Phase::Drain && !std::mem::replace(&mut healed, true) {
                evidence.seen().keep_checkpoint();
            }
            phase == Phase::Drain && is_checked && evidence.seen().is_quiet()
        };
        let mut run = || simulation.run(&faults, &mut machines, &trace, self.duration, &mut done);
        let ran = match canaries {
            Some(canaries) => tracing::subscriber::with_default(Logs(canaries), run),
            None => run(),
        };
        worlds.search_disks();
        let mut seen = evidence.seen();
        let counted = [
            (marks::DISK_REFUSED, worlds.disk_refused()),
            (marks::DISK_TORN, worlds.disk_torn()),
            (marks::PROCESS_DIED, simulation.deaths()),
            (marks::UNSYNCED_BYTES_LOST, simulation.bytes_lost()),
        ];
        counted.into_iter().for_each(|(mark, count)| evidence.marks.reach(mark, count));
        let cut_short = alarm.cut.is_some();
        let judged = ran.map_err(|error| error.to_string()).and_then(|end| {
            if let Some(Cut { findings, kept }) = alarm.cut.take() {
                return Ok((findings, kept));
            }
            let mut kept = seen.kept().map_err(|error| match simulation.last_death() {
                Some((host, why)) => format!("{error}; the last to die was {host}: {why}"),
                None => error,
            })?;
            kept.measured = worlds.measured();
            let (held, unmet): (Vec<_>, Vec<_>) = seen.standing().partition(|(_, holds)| *holds);
            held.iter().for_each(|(mark, _)| evidence.marks.hold(*mark));
            let unmet: Vec<_> = unmet.iter().map(|(mark, _)| mark.name).collect();
            Ok((judge(&self.case(&seen, &kept, end == RunEnd::Done, &unmet)), kept))
        });
        if let Ok((_, kept)) = &judged {
            let fired = kept.events.iter().filter(|(_, event)| matches!(event, Event::Raised(_))).count();
            evidence.marks.reach(marks::RULE_FIRED, fired as u64);
        }
        let violated_at = judged.as_ref().ok().and_then(|(findings, _)| alarm.seen_at(findings));
        // The stores die before the simulation they live in, and quickly: nobody reads what their destructors would write.
        worlds.end();
        seen.engines = Default::default();
        let fired = simulation.fired().iter().map(|(kind, count)| ((*kind).to_owned(), *count)).collect();
        let felt = simulation.effects();
        let of = |fault: &Fault| (fault.kind.name().to_owned(), felt.get(fault.kind.name()).copied().unwrap_or(0));
        let faults = Faults { fired, felt: faults.iter().map(of).collect() };
        let virtual_ms = simulation.elapsed().as_millis() as u64;
        let wall_ms = (wall_now() - started).as_millis() as u64;
        let mut finished = self.record(judged, &seen, &trace, faults, virtual_ms, wall_ms);
        finished.record.marks = evidence.marks.counts();
        let is_bad = finished.record.verdict >= Verdict::Violated;
        finished.record.digest_chain = is_bad.then(|| trace.chain().to_string());
        finished.record.cut_short = cut_short;
        finished.record.violated_at_ms = violated_at.map(|at| at.as_millis() as u64);
        drop(seen);
        let (trace, chain) = (trace.entries(), trace.chain());
        Ended { finished, trace, chain, carried: carried.all(), felt: weather.felt_each() }
    }

    /// Runs it once more: how that was otherwise than the run that had `digest`, if it was.
    #[must_use]
    pub fn differs(&self, digest: &str) -> Option<String> {
        double::differs(digest, |keep_trace| {
            let ended = self.run(keep_trace);
            (ended.finished.record.digest, ended.trace)
        })
    }

    /// Whether the plan has secrets, to be searched for.
    fn has_secrets(&self) -> bool {
        self.plan.acts().any(|(_, act)| {
            matches!(act, Act::Send(command) | Act::TryAndSend(command) if matches!(command.ask, Ask::Store { .. }))
        })
    }

    /// The plan's acts, by whose they are.
    fn parts(&self) -> Parts {
        let mut parts = Parts::default();
        for (at, act) in self.plan.acts() {
            match act {
                Act::Forge(forgery) => parts.forgeries.push((at, forgery.clone())),
                Act::Rotate(rotation) => parts.rotations.push((at, rotation.clone())),
                Act::Revoke(_) | Act::RotateKey => parts.office.push((at, act.clone())),
                act => parts.acts.push((at, act.clone())),
            }
        }
        parts
    }

    fn record(
        &self,
        judged: Result<(Vec<Finding>, Kept), String>,
        seen: &Seen,
        trace: &Trace,
        faults: Faults,
        virtual_ms: u64,
        wall_ms: u64,
    ) -> FinishedRun {
        let (findings, kept, error) = match judged {
            Ok((findings, kept)) => (findings, kept, None),
            // What was seen to break before is broken all the same.
            Err(error) => (seen_broken(seen), Kept::default(), Some(error)),
        };
        let mut invariants: Vec<_> = findings.into_iter().map(invariant_record).collect();
        if let Some(guarded) = &self.guards {
            invariants.retain(|found| found.compared > 0 || found.name == *guarded);
            if !invariants.iter().any(|found| found.name == *guarded) {
                invariants.push(InvariantRecord::new(guarded));
            }
        }
        let mut confirmed = VirtualLatency::new();
        for client in seen.clients.values() {
            client.accepted_at.iter().for_each(|at| confirmed.record(at.saturating_sub(client.sent_at)));
        }
        let mut latency = VirtualLatency::new();
        for (id, effects) in &seen.effects {
            if let (Some(client), Some(effect)) = (seen.clients.get(id), effects.first()) {
                latency.record(effect.saturating_sub(client.sent_at));
            }
        }
        let clients = || seen.clients.values();
        let applied = kept.outcomes.values().filter(|outcome| outcome.verdict.is_ok()).count() as u64;
        let commands = Commands {
            accepted: clients().filter(|client| client.accepted_at.is_some()).count() as u64,
            applied,
            rejected: kept.outcomes.len() as u64 - applied,
            dead_lettered: kept.dead_letters,
            attempts_refused: clients().filter(|client| client.refused.is_some()).count() as u64,
        };
        let (scenario, seed) = (self.plan.scenario.clone(), self.plan.seed);
        let record = RunRecord {
            verdict: Verdict::of(&invariants, error.as_deref()),
            digest: trace.digest(),
            virtual_ms,
            wall_ms,
            commands,
            faults: faults.fired,
            fault_effects: faults.felt,
            // Counted beside what was seen.
            marks: BTreeMap::new(),
            invariants,
            latency_virtual_ms: latency.summary(),
            stages_virtual_ms_counts: [(Stage::SentToConfirmed, &confirmed), (Stage::SentToEffect, &latency)]
                .map(|(stage, latency)| (stage, latency.into()))
                .into(),
            error,
            violated_at_ms: None,
            cut_short: false,
            digest_chain: None,
            reproduce: format!("tenantry run {scenario} --seed {seed}"),
            scenario,
            seed,
        };
        FinishedRun { record, latency }
    }
}

/// The name of the key that wraps data keys in a simulation.
fn wrapping_key() -> Name {
    Name::parse("simulation-1").expect("a key's name")
}

fn invariant_record(finding: Finding) -> InvariantRecord {
    let mut record = InvariantRecord::new(finding.name);
    (record.compared, record.skipped) = (finding.compared, finding.skipped);
    finding.violations.into_iter().for_each(|violation| record.violate(violation));
    record
}

/// The hosts' machines, and what a dying process loses beside its hold on its disk: our hold on its stores.
struct Watched {
    worlds: Worlds,
    evidence: Evidence,
}

impl Machines for Watched {
    fn before_crash(&mut self, host: &str) -> u64 {
        if host == "audit" {
            self.evidence.seen().keep_checkpoint();
        }
        // First the disk: dropping a store writes, and a dead process does not.
        let broken = self.worlds.before_crash(host);
        let mut seen = self.evidence.seen();
        seen.killed.insert(host.to_owned());
        let (events, reports) = seen.engines.leave(host);
        drop(seen);
        if events > 0 {
            self.evidence.mark(marks::EVENTS_WAITED_AT_CRASH);
        }
        if reports > 0 {
            self.evidence.mark(marks::REPORTS_WAITED_AT_CRASH);
        }
        broken
    }

    fn power_loss(&mut self, host: &str, now: Duration) -> u64 {
        self.worlds.power_loss(host, now)
    }

    fn set_disk(&mut self, host: &str, state: DiskState) {
        self.worlds.set_disk(host, state);
    }

    fn rot(&mut self, host: &str, now: Duration) -> BTreeSet<Flip> {
        self.worlds.rot(host, now)
    }

    fn reset(&mut self, a: &str, b: &str) -> u64 {
        self.worlds.reset(a, b)
    }

    fn resume(&mut self, host: &str) {
        self.worlds.resume(host);
    }
}

#[expect(clippy::disallowed_methods, reason = "a record says how long the run took; nothing in the run sees it")]
fn wall_now() -> std::time::Instant {
    std::time::Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tenantry::cast::Part;

    #[test]
    fn a_run_that_ends_with_an_error_has_what_was_violated_before() {
        let setup = Setup::story("story", 1, Cast::of(&[("ana", "acme", Part::Admin)]), Vec::new());
        let mut seen = Seen::default();
        seen.isolation.violations.push("globex has changed".into());
        let faults = Faults { fired: BTreeMap::new(), felt: BTreeMap::new() };
        let ended = setup.record(Err("the ledger is down".into()), &seen, &Trace::new(false), faults, 5, 5).record;
        assert_eq!((ended.verdict, ended.error.as_deref()), (Verdict::Failed, Some("the ledger is down")));
        let [isolation] = &ended.invariants[..] else { panic!("{:?}", ended.invariants) };
        assert_eq!((isolation.name.as_str(), isolation.violations_total), ("G1-isolation", 1));
    }
}
