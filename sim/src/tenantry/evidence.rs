//! What was seen, by whom: the only thing invariants judge by, together with the plan.
//!
//! Hosts, operators and decorators write here while the simulation runs; each also goes into the trace, so that the
//! digest covers it. What the system keeps is read once at the end, from its stores and over its API.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tenantry_system::attack::{Observer, Relics, Table};
use tenantry_system::audit::{Alert, Attempt, AuditEntry, EmbeddedAudit, Event, Files, Record, Reporter, Step, verify};
use tenantry_system::auth::EmbeddedAuthority;
use tenantry_system::broker::EmbeddedBroker;
use tenantry_system::ids::{MessageId, TenantId, UserId};
use tenantry_system::ledger::{EmbeddedLedger, Outcome, PauseGeneration, Report, STALE_MAX, TenantState, Transaction};
use tenantry_system::message::{BodyHash, body_sha256};

use super::approvers::FourEyes;
use super::canary::Canaries;
use super::early::Effects;
use super::followers::Followed;
use super::marks;
use super::measured::Measured;
use super::model::Ask;
use super::receiver::Received;
use super::triage::Told;
use super::witness::Witness;
use super::workload::{Command, Triage};
use crate::engine::marks::{Mark, Marks};
use crate::engine::trace::Trace;

/// Events of the trace that faults can wait for. Where one is of a tenant or of a message, its detail has that as a word of its
/// own, which `when.of` looks for; of a process, a disk or a fault it has neither.
pub const EVENTS: &[&str] = &[
    "api.answer",
    "auth.reloaded",
    "auth.rotated",
    "broker.discarded",
    "broker.leased",
    "broker.paused",
    "broker.published",
    "broker.replayed",
    "broker.settled",
    "broker.taken_back",
    "disk.synced",
    "disk.torn",
    "fault.begin",
    "fault.end",
    "forged",
    "host.died",
    "host.start",
    "ledger.applied",
    "ledger.paused",
    "ledger.reconciled",
];

/// Shared between all hosts of a run, which all live on one thread.
#[derive(Clone)]
pub struct Evidence {
    /// Every event, in order.
    pub trace: Trace,
    /// What the run says of itself while it goes on.
    pub marks: Marks,
    seen: Arc<Mutex<Seen>>,
}

/// All that was seen.
#[derive(Default)]
pub struct Seen {
    /// What each command's operator was told, by message id.
    pub clients: BTreeMap<String, Client>,
    /// When the ledger was seen to give a command an outcome it had not had, by message id. Once each, if all is well.
    pub effects: BTreeMap<String, Vec<Duration>>,
    /// What is kept of effects, to know the next by.
    pub early: Effects,
    /// Violations of isolation seen while running, and how much was compared.
    pub isolation: Isolation,
    /// Messages that the adversary got into the broker.
    pub forged: BTreeSet<String>,
    /// Those of them that are genuine but for a ciphertext sealed for something else: they end with a "no" on record.
    pub moved: BTreeSet<String>,
    /// Secrets as they came to the broker, with the tenant they were sealed for.
    pub sealed: Vec<(TenantId, serde_json::Value)>,
    /// The search for secrets in clear, where the plan has secrets.
    pub canaries: Option<Canaries>,
    /// How many the plan has them forge.
    pub forgeries: usize,
    /// What stands in the messages that they forge, by message id: the plan's.
    pub forged_bodies: BTreeMap<String, Command>,
    /// What operators were told of the dead letters that they dealt with: when they began to ask, and when they knew.
    pub triaged: Vec<(Triage, Told, Duration, Duration)>,
    /// How many the plan has them deal with.
    pub triages: usize,
    /// What was seen of tenants while they were paused.
    pub pauses: Pauses,
    /// What was seen of operators whose role was taken away.
    pub revocations: Revocations,
    /// What the ledger's own reconciliations found while the system ran.
    pub reconciled: Reconciled,
    /// Which messages that it had not had the broker took in, and when, by tenant.
    pub taken_in: BTreeMap<TenantId, Vec<(String, Duration)>>,
    /// Each tenant's last place in the audit log when that had this size.
    pub(super) last_places: (u64, BTreeMap<String, u64>),
    /// Since when each one who sends a message may have been let through by the producer: not while they were told to wait.
    pub let_through: BTreeMap<String, Vec<Duration>>,
    /// How far clocks are off at most, by the plan's faults.
    pub clocks_off: Duration,
    /// What was seen of commands that take two.
    pub four_eyes: FourEyes,
    /// Every command that operators send, by message id: the plan's.
    pub commands: BTreeMap<String, Command>,
    /// What a dry run answered just before the command was sent, by message id.
    pub announced: BTreeMap<String, serde_json::Value>,
    /// Whether anyone is to try a command before it is sent.
    pub dry_runs_planned: bool,
    /// What was asked first under an id that was used for two bodies, where it was not the plan's first.
    pub reused_first: BTreeMap<String, Ask>,
    /// What was asked under an id that was used for two bodies, and refused; but not at the first attempt, perhaps.
    pub reused_unsure: BTreeMap<String, Command>,
    /// `limits`, `entitlements`, `credits_minor` and `credentials` of each tenant, as the API said at the end.
    pub tenants_by_api: BTreeMap<TenantId, [serde_json::Value; 4]>,
    /// The operators have all their answers and have read everything back.
    pub operators_done: bool,
    /// Whether the attack catalogue is tried.
    pub catalogue_planned: bool,
    /// What auth granted long ago, for the catalogue.
    pub relics: Option<Relics>,
    /// What became of the catalogue, or why it could not be tried.
    pub catalogue: Option<Result<Table, String>>,
    /// Hosts that were killed: what they had in memory is gone.
    pub killed: BTreeSet<String>,
    /// What was seen of every command's way.
    pub witness: Witness,
    /// What those who follow a tenant's live stream saw.
    pub followed: Vec<Followed>,
    /// What the audit log is watched by.
    pub alert_rules: String,
    /// Whether a webhook is told of alerts, and what came to it.
    pub webhook: bool,
    /// In the order in which it came.
    pub received: Vec<Received>,
    /// How many hosts keep an outbox of what they refuse.
    pub reporting: usize,
    /// The stores of the running hosts, to be read at the end.
    pub engines: Engines,
    /// Checkpoints of the audit log that were seen: at each of its starts, before each of its crashes, at the heal.
    pub checkpoints: BTreeSet<String>,
}

/// What one command's operator was told.
#[derive(Debug, Clone, Default)]
pub struct Client {
    /// When it was meant to be sent first.
    pub sent_at: Duration,
    /// When the first answer "accepted" came.
    pub accepted_at: Option<Duration>,
    /// The status of a final refusal.
    pub refused: Option<u16>,
    /// When that came.
    pub refused_at: Option<Duration>,
    /// What the API said of it at the end.
    pub reported: Option<String>,
}

/// Every tenant's state around every effect.
#[derive(Default)]
pub struct Isolation {
    known: BTreeMap<TenantId, TenantState>,
    /// How many commands are in work on a tenant that may have ended since its state was last compared: one whose caller went
    /// away counts on, for it may still take effect.
    open: BTreeMap<TenantId, u64>,
    /// How often a tenant may have been paused or resumed in all.
    pausing: BTreeMap<TenantId, u64>,
    /// Tenants compared with what they were before.
    pub compared: u64,
    /// Tenants that changed while nobody acted on them.
    pub violations: Vec<String>,
}

/// What the ledger's own reconciliations found.
#[derive(Default)]
pub struct Reconciled {
    /// Cycles that compared anything.
    pub cycles: u64,
    /// What they told, in words: the system bends nothing by itself, so each is a false alarm or a fault.
    pub discrepancies: Vec<String>,
}

/// Tenants that are paused, by their version when that was durable.
#[derive(Default)]
pub struct Pauses {
    paused: BTreeMap<TenantId, u64>,
    /// Versions compared.
    pub compared: u64,
    /// Effects on a tenant that was paused.
    pub violations: Vec<String>,
}

impl Pauses {
    /// The ledger has confirmed that `tenant` is paused at `version`.
    pub fn begin(&mut self, tenant: &TenantId, version: u64) {
        self.paused.entry(tenant.clone()).or_insert(version);
    }

    /// Someone begins to resume `tenant`: from here on it may go on at any moment.
    pub fn end(&mut self, tenant: &TenantId) {
        self.paused.remove(tenant);
    }

    /// Compares paused tenants with what they are now.
    pub fn look(&mut self, states: &BTreeMap<TenantId, TenantState>) {
        for (tenant, paused_at) in &self.paused {
            self.compared += 1;
            let version = states.get(tenant).map_or(0, |state| state.version);
            if version != *paused_at {
                let what = format!("tenant {tenant}, paused at version {paused_at}, has come to {version}");
                self.violations.push(what);
            }
        }
    }
}

/// Roles that are taken away, since when auth goes by it and at which revision.
#[derive(Default)]
pub struct Revocations {
    gone: BTreeMap<(UserId, TenantId), (Duration, u64)>,
    /// From when to when each role may have been away: from before auth went by it, until nobody can go by it any more.
    away: BTreeMap<(UserId, TenantId), Vec<(Duration, Duration)>>,
    /// Effects compared.
    pub compared: u64,
    /// Effects without authority.
    pub violations: Vec<String>,
}

impl Revocations {
    /// From now on auth may go by a directory in which only `gone` are taken away: the others may act again.
    pub fn begin(&mut self, gone: &BTreeSet<(UserId, TenantId)>) {
        self.gone.retain(|pair, _| gone.contains(pair));
        for pair in gone {
            let spans = self.away.entry(pair.clone()).or_default();
            if spans.last().is_none_or(|(_, until)| *until != Duration::MAX) {
                spans.push((super::world::now(), Duration::MAX));
            }
        }
    }

    /// Auth goes by that directory, at `revision`.
    pub fn in_force(&mut self, gone: &BTreeSet<(UserId, TenantId)>, revision: u64) {
        let now = super::world::now();
        for pair in gone {
            self.gone.entry(pair.clone()).or_insert((now, revision));
        }
        for (_, spans) in self.away.iter_mut().filter(|(pair, _)| !gone.contains(*pair)) {
            if let Some((_, until)) = spans.last_mut().filter(|(_, until)| *until == Duration::MAX) {
                *until = now + STALE_MAX;
            }
        }
    }

    /// Whether the role was, or was about to be, away at `at`.
    #[must_use]
    pub fn explains(&self, operator: &UserId, tenant: &TenantId, at: Duration) -> bool {
        let spans = self.away.get(&(operator.clone(), tenant.clone()));
        spans.into_iter().flatten().any(|(from, until)| (*from..=*until).contains(&at))
    }

    /// Whether the role was away at any time between `from` and `until`, or was about to be.
    #[must_use]
    pub fn within(&self, operator: &UserId, tenant: &TenantId, from: Duration, until: Duration) -> bool {
        let spans = self.away.get(&(operator.clone(), tenant.clone()));
        spans.into_iter().flatten().any(|(begin, end)| *begin <= until && from <= *end)
    }

    /// Whether the role was ever away.
    #[must_use]
    pub fn ever(&self, operator: &UserId, tenant: &TenantId) -> bool {
        self.away.contains_key(&(operator.clone(), tenant.clone()))
    }

    /// A command of `operator` on `tenant` was applied at `at`, on a decision of `revision`, by a ledger that knew of
    /// revision `known` before.
    pub fn applied(&mut self, operator: &UserId, tenant: &TenantId, at: Duration, revision: u64, known: u64) {
        self.compared += 1;
        if revision < known {
            let what = format!("applied on a decision of revision {revision}, though the ledger knew of {known}");
            self.violations.push(format!("{operator} on {tenant}: {what}"));
        }
        let lacking = self.lacking(operator, tenant, at, revision);
        self.violations.extend(lacking);
    }

    /// What is wrong with an effect at `at`, on a decision of `revision`, that rests on the role of `operator` on `tenant`.
    #[must_use]
    pub fn lacking(&self, operator: &UserId, tenant: &TenantId, at: Duration, revision: u64) -> Option<String> {
        let (since, gone_at) = self.gone.get(&(operator.clone(), tenant.clone()))?;
        let late = at > *since + STALE_MAX;
        (revision >= *gone_at || late).then(|| {
            let after = at.saturating_sub(*since).as_millis();
            let what = format!("applied {after} ms after their role was taken away, at revision {gone_at}");
            format!("{operator} on {tenant}: {what}, on a decision of revision {revision}")
        })
    }
}

/// The stores of the running hosts.
#[derive(Default)]
pub struct Engines {
    /// Of the broker's host, while it is up.
    pub broker: Option<Arc<EmbeddedBroker>>,
    /// Of the ledger's host, while it is up.
    pub ledger: Option<Arc<EmbeddedLedger>>,
    /// Of the audit's host, while it is up.
    pub audit: Option<Arc<EmbeddedAudit>>,
    /// Of auth's host, while it is up.
    pub auth: Option<Arc<EmbeddedAuthority>>,
    /// Of every host that is up: what it refused.
    pub reporters: BTreeMap<String, Reporter>,
}

impl Engines {
    /// `host` is about to die: how much of what its stores tell of, and of what it refused, waits for the audit log. They are
    /// held no longer.
    pub fn leave(&mut self, host: &str) -> (u64, u64) {
        let reports = self.reporters.remove(host).map_or(0, |reporter| reporter.waiting());
        let events = match host {
            "broker" => self.broker.take().map(|broker| broker.outgoing()),
            "ledger" => self.ledger.take().map(|ledger| ledger.outgoing()),
            "auth" => self.auth.take().map(|auth| auth.outgoing()),
            _ => {
                self.audit.take_if(|_| host == "audit");
                None
            }
        };
        (events.map_or(0, |outgoing| outgoing.waiting()), reports)
    }
}

/// What the stores hold at the end.
#[derive(Debug, Default)]
pub struct Kept {
    /// Every outcome in the ledger.
    pub outcomes: BTreeMap<(TenantId, MessageId), Outcome>,
    /// Every tenant in the ledger.
    pub states: BTreeMap<TenantId, TenantState>,
    /// Every tenant's journal.
    pub journals: BTreeMap<TenantId, Vec<Transaction>>,
    /// The decisions in the audit log.
    pub audit: Vec<AuditEntry>,
    /// The hashes of the messages that they are on.
    pub decided: BTreeMap<(TenantId, MessageId), BodyHash>,
    /// The refused attempts in the audit log, with their places.
    pub attempts: Vec<(u64, Attempt)>,
    /// The steps in the audit log, with their places.
    pub steps: Vec<(u64, Step)>,
    /// The alerts in the audit log.
    pub alerts: Vec<Alert>,
    /// All that stands in the audit log, with its places.
    pub events: Vec<(u64, Event)>,
    /// What the verification of the audit log's export said.
    pub log: LogCheck,
    /// How many dead letters.
    pub dead_letters: u64,
    /// Whose they are.
    pub letters_of: BTreeSet<(TenantId, MessageId)>,
    /// Those that were discarded.
    pub discarded: BTreeSet<(TenantId, MessageId)>,
    /// What the dead letters say, where secrets are searched for.
    pub letters: BTreeMap<(TenantId, MessageId), String>,
    /// Those that still wait, or are out.
    pub waiting: BTreeSet<(TenantId, MessageId)>,
    /// What the system has measured of itself.
    pub measured: Measured,
}

/// A verification of the audit log as somebody else would do it.
#[derive(Debug, Default)]
pub struct LogCheck {
    /// How many records and checkpoints were compared.
    pub compared: u64,
    /// What does not fit.
    pub violations: Vec<String>,
}

impl LogCheck {
    /// Exports the log, and verifies the export against each of `checkpoints` by the key that the log began with.
    fn of(audit: &EmbeddedAudit, checkpoints: &BTreeSet<String>) -> std::io::Result<Self> {
        let (mut export, mut check) = (Files::default(), Self::default());
        audit.export(&mut export)?;
        for checkpoint in checkpoints {
            let verified = verify(&export, audit.key(), Some(checkpoint))?;
            check.compared += 1 + verified.records;
            check
                .violations
                .extend(verified.violations.iter().map(|found| format!("{}: {}", found.file, found.detail)));
        }
        Ok(check)
    }
}

impl Observer for Evidence {
    fn ledger(&self) -> Option<Arc<EmbeddedLedger>> {
        self.seen().engines.ledger.clone()
    }

    fn audit(&self) -> Option<Arc<EmbeddedAudit>> {
        self.seen().engines.audit.clone()
    }
}

impl Evidence {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(trace: Trace) -> Self {
        Self { trace, marks: Marks::default(), seen: Arc::default() }
    }

    /// What was seen so far.
    ///
    /// # Panics
    /// When a holder panicked: then the run is over anyway.
    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("no holder panics")
    }

    /// Writes an event into the trace at the simulation's present.
    pub fn record(&self, host: &str, kind: &'static str, detail: &str) {
        self.trace.record(super::world::now(), host, kind, detail);
    }

    /// The ledger has compared all its tenants with their outcomes once more.
    pub fn reconciled(&self, report: &Report) {
        let Report { tenants, rows, discrepancies, untold } = report;
        let found = discrepancies.len() as u64 + untold;
        self.record("ledger", "ledger.reconciled", &format!("tenants {tenants}, rows {rows}, discrepancies {found}"));
        if *rows > 0 {
            self.mark(marks::RECONCILED);
            self.seen().reconciled.cycles += 1;
        }
        self.seen().reconciled.discrepancies.extend(discrepancies.iter().map(ToString::to_string));
    }

    /// Counts something worth having reached.
    #[track_caller]
    pub fn mark(&self, mark: Mark) {
        self.marks.reach(mark, 1);
    }
}

impl Seen {
    /// Keeps the audit log's newest checkpoint, as whoever asked for it just now would.
    pub fn keep_checkpoint(&mut self) {
        let newest = self.engines.audit.as_ref().and_then(|audit| audit.newest_checkpoint().ok());
        self.checkpoints.extend(newest);
    }

    /// What operators were to do with the dead letter of this name, as far as they have an answer.
    pub fn triages_of(&self, (tenant, id): &(TenantId, MessageId)) -> impl Iterator<Item = &Triage> {
        let named = move |triage: &&Triage| (&triage.tenant, triage.message_id.as_str()) == (tenant, id.as_str());
        self.triaged.iter().map(|(triage, ..)| triage).filter(named)
    }

    /// Reads what the stores hold.
    ///
    /// # Errors
    /// When a host is down or a store can't be read: then nothing can be judged.
    pub fn kept(&self) -> Result<Kept, String> {
        let down = |role: &str| format!("the {role} is down at the end");
        let broker = self.engines.broker.as_ref().ok_or_else(|| down("broker"))?;
        let ledger = self.engines.ledger.as_ref().ok_or_else(|| down("ledger"))?;
        let audit = self.engines.audit.as_ref().ok_or_else(|| down("audit"))?;
        let letters_of: BTreeSet<_> = broker.every_dead_letter().map_err(unreadable)?.into_iter().collect();
        let mut letters = BTreeMap::new();
        for key in letters_of.iter().filter(|_| self.canaries.is_some()) {
            if let Some(letter) = broker.kept_letter(&key.0, &key.1).map_err(unreadable)? {
                letters.insert(key.clone(), format!("{letter:?}"));
            }
        }
        let (mut entries, mut attempts, mut steps, mut events) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut decided = BTreeMap::new();
        for Record { place, body_sha256: hash, event, .. } in audit.every_record().map_err(unreadable)? {
            match &event {
                Event::Decided(entry) => {
                    let hash = hash.unwrap_or_else(|| body_sha256(&entry.body));
                    decided.insert((entry.tenant_id.clone(), entry.message_id.clone()), hash);
                    entries.push(entry.clone());
                }
                Event::Refused(attempt) => attempts.push((place, attempt.clone())),
                Event::Step(step) => steps.push((place, step.clone())),
                Event::Raised(_) => {}
            }
            events.push((place, event));
        }
        Ok(Kept {
            letters,
            outcomes: ledger.every_outcome().map_err(unreadable)?,
            states: ledger.every_state().map_err(unreadable)?,
            journals: ledger.every_journal().map_err(unreadable)?,
            audit: entries,
            decided,
            attempts,
            steps,
            events,
            alerts: audit.every_alert().map_err(unreadable)?,
            letters_of,
            discarded: broker.every_discarded().map_err(unreadable)?.into_iter().collect(),
            log: LogCheck::of(audit, &self.checkpoints).map_err(unreadable)?,
            dead_letters: broker.dead_letters_kept().map_err(unreadable)?,
            waiting: broker.every_waiting().map_err(unreadable)?.into_iter().collect(),
            measured: Measured::default(),
        })
    }
}

fn unreadable(error: impl std::fmt::Display) -> String {
    format!("a store can't be read: {error}")
}

impl Isolation {
    /// Someone begins to act on `tenant` with `count` commands.
    pub fn begin(&mut self, tenant: &TenantId, count: usize) {
        *self.open.entry(tenant.clone()).or_default() += count as u64;
    }

    /// Someone has acted on `tenant` with `count` commands, of which `message_id` is the first; `states` is every tenant as
    /// it is now.
    pub fn end(&mut self, tenant: &TenantId, count: usize, states: BTreeMap<TenantId, TenantState>, message_id: &str) {
        self.compare(states, message_id);
        if let Some(calls) = self.open.get_mut(tenant) {
            *calls -= count as u64;
            if *calls == 0 {
                self.open.remove(tenant);
            }
        }
    }

    /// Nobody knows what became of an act that had begun: it counts on, for it may still take effect.
    pub fn left_open(&mut self, states: BTreeMap<TenantId, TenantState>, message_id: &str) {
        self.compare(states, message_id);
    }

    /// Someone begins to pause or to resume `tenant`. Whether that holds is [`Pauses`]' affair; here it only explains why
    /// the tenant is another than before.
    pub fn pause(&mut self, tenant: &TenantId) {
        *self.pausing.entry(tenant.clone()).or_default() += 1;
    }

    /// The ledger has started anew: whoever was acting has either acted or not.
    pub fn restarted(&mut self, states: BTreeMap<TenantId, TenantState>) {
        self.compare(states, "a restart");
        self.open.clear();
    }

    fn compare(&mut self, states: BTreeMap<TenantId, TenantState>, cause: &str) {
        let tenants: BTreeSet<_> = states.keys().chain(self.known.keys()).cloned().collect();
        let nothing = TenantState::default();
        for tenant in tenants {
            self.compared += 1;
            let (before, after) =
                (self.known.get(&tenant).unwrap_or(&nothing), states.get(&tenant).unwrap_or(&nothing));
            // Without a command that ended, not a byte may differ; and no more may have ended than were called for.
            let open = self.open.get(&tenant).copied().unwrap_or(0);
            let ended = after.version.checked_sub(before.version);
            let pauses = self.pausing.get(&tenant).copied().unwrap_or(0);
            let paused = TenantState { pause_generation: after.pause_generation, ..before.clone() };
            let right = (before == after || paused == *after || ended.is_some_and(|ended| ended >= 1 && ended <= open))
                && (before.pause_generation..=PauseGeneration(pauses)).contains(&after.pause_generation);
            if !right {
                let what = format!("tenant {tenant}, with {open} calls on it, went from {before:?} to {after:?}");
                self.violations.push(format!("around {cause}, {what}"));
            }
        }
        self.known = states;
    }
}
