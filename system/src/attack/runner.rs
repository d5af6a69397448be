//! Tries every cell, and looks at what became of it.
//!
//! One attack at a time, all its cells together: each has a message id of its own, so that every event in the audit log is
//! some cell's, and every tenant's digest is compared before and after. A digest that moved is laid at the door of the cell
//! whose message has an outcome, or of all of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep};

use super::attacker::{AGAIN_AFTER, Attacker, TRIES_MAX, persist};
use super::sign::{Sign, Tried};
use super::stage::{ATTACKER, HONEST, OWN, VICTIM};
use super::{Attack, Cell, Entry, Expected, Outcome, Relics, Table, Verdict, cells};
use crate::action::{REGISTRY, Spec};
use crate::audit::{Attempt, AuditEntry, EmbeddedAudit, Event};
use crate::auth::IdentityProvider;
use crate::call::CallError;
use crate::capability::World;
use crate::ids::TenantId;
use crate::ledger::{Digest, EmbeddedLedger};
use crate::rights::Role;
use crate::role::{Addresses, remote_authority, remote_broker};

/// Whether an event has come is asked this often.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What comes this long after everything has come, came too often.
const SETTLE: Duration = Duration::from_millis(300);

/// Looks at the system from inside. `None` while a store is down.
pub trait Observer: Send + Sync {
    /// The ledger.
    fn ledger(&self) -> Option<Arc<EmbeddedLedger>>;
    /// The audit log.
    fn audit(&self) -> Option<Arc<EmbeddedAudit>>;
}

/// What is attacked.
pub struct Target {
    /// Where the attacker stands.
    pub world: World,
    /// Where each role is found.
    pub at: Addresses,
    /// Who issues operators' tokens.
    pub provider: IdentityProvider,
    /// What the attacker found in old queues.
    pub relics: Relics,
    /// How the effects are seen.
    pub observer: Arc<dyn Observer>,
}

/// How strictly a run is judged.
#[derive(Debug, Clone, Copy)]
pub struct Checks {
    /// Whether each attempt must be on record and ring exactly once. Under faults a report may be lost with a process, and
    /// a call repeated: then only that nothing changes is judged.
    pub exact: bool,
    /// How long all cells of an attack may take to be dealt with.
    pub deadline: Duration,
}

/// A command that was published is decided within this time, whatever is cut off meanwhile.
const DECIDED_MAX: Duration = Duration::from_secs(20);

impl Default for Checks {
    fn default() -> Self {
        Self { exact: true, deadline: Duration::from_secs(20) }
    }
}

/// Tries the whole catalogue against `target`.
///
/// # Errors
/// When the system can't be used at all: honest commands must take effect before and after, or refusals prove nothing.
pub async fn run(target: &Target, checks: Checks) -> Result<Table, String> {
    run_some(target, checks, &Attack::ALL).await
}

/// Tries some attacks of the catalogue.
///
/// # Errors
/// As [`run`].
pub async fn run_some(target: &Target, checks: Checks, attacks: &[Attack]) -> Result<Table, String> {
    let mut attacker = Attacker::new(target).await?;
    let mut outcomes = Vec::new();
    // First what is published soon after it was granted, or it is refused for that alone.
    let (fresh, others): (Vec<_>, Vec<_>) =
        attacks.iter().partition(|attack| matches!(attack, Attack::RevokedRight | Attack::RevokedReplay));
    for attack in fresh.into_iter().chain(others).copied() {
        let (tried, skipped): (Vec<_>, Vec<_>) =
            cells().into_iter().filter(|cell| cell.attack == attack).partition(|cell| cell.expected.is_ok());
        for Cell { entry, action, expected, .. } in skipped {
            let verdict = Verdict::NotApplicable(expected.err().unwrap_or_default());
            outcomes.push(outcome(attack, entry, action, 0, verdict));
        }
        outcomes.extend(attacker.batch(&tried, checks).await?);
    }
    let mut table = Table(outcomes);
    match attacker.honest("z", HONEST, VICTIM).await {
        // What an attack has changed may be in the way of honest work: then it is the breach that tells.
        Err(_) if table.breaches().next().is_some() => return Ok(table),
        honest => honest?,
    }
    if checks.exact {
        sleep(SETTLE).await;
        let strays: Vec<_> = attacker.news().await?.into_iter().filter(|(_, event)| !is_honest(event)).collect();
        for (place, event) in attacker.strays.drain(..).chain(strays) {
            let verdict = Verdict::Breach(format!("an event that no attempt explains, at {place}: {event:?}"));
            table.0.push(outcome(Attack::ForgedAuditEntry, Entry::Audit, None, 1, verdict));
        }
    }
    Ok(table)
}

fn outcome(attack: Attack, entry: Entry, action: Option<&Spec>, tries: usize, verdict: Verdict) -> Outcome {
    let (attack, promise) = (attack.name(), attack.about().1);
    Outcome { attack, promise, entry, action: action.map(|spec| spec.name), tries, places: Vec::new(), verdict }
}

/// Commands of honest operators are decided while the catalogue runs: before it and after it.
fn is_honest(event: &Event) -> bool {
    matches!(event, Event::Decided(entry) if entry.message_id.as_str().starts_with("honest-"))
}

/// What is forged is published and delivered like everything else, and rules fire on many attempts: that is no attempt. One
/// who invents such a step is.
pub(super) fn is_step(event: &Event) -> bool {
    matches!(event, Event::Step(_) | Event::Raised(_))
}

impl<'a> Attacker<'a> {
    async fn new(target: &'a Target) -> Result<Self, String> {
        // Someone inside, where a client is who it says.
        let authority = remote_authority(&target.world, &target.at, Role::Producer);
        let broker = remote_broker(&target.world, &target.at, Role::Producer);
        let public = persist(async || authority.keys().await).await?;
        let mut attacker = Self { target, authority, broker, public, place: 0, strays: Vec::new() };
        attacker.honest("a", HONEST, VICTIM).await?;
        // The attacker's own tenant is like the victim's: with data keys of the same versions, for one thing.
        attacker.honest("own", ATTACKER, OWN).await?;
        attacker.pair().await?;
        Ok(attacker)
    }

    /// Has an operator do every action on their own tenant, and waits until each is applied: what can be refused is what can
    /// be done.
    async fn honest(&mut self, round: &str, user: &str, tenant: &str) -> Result<(), String> {
        // Secrets last: an erasure must not come between one and its retry.
        let (secret, open): (Vec<_>, Vec<_>) = REGISTRY.iter().partition(|spec| spec.has_secret());
        for spec in open.into_iter().chain(secret) {
            let id = self.honest_id(round, spec);
            let body = self.body(tenant, user, spec, &id);
            let answer = persist(async || match self.post(Some(self.token(user)), body.as_bytes()).await {
                Ok((status @ (200 | 202), _)) => Ok(status),
                other => Err(CallError::failed(format!("{other:?}"))),
            });
            answer.await.map_err(|error| format!("an honest {} is refused: {error}", spec.name))?;
            let decided = persist(async || {
                let ledger = self.target.observer.ledger().ok_or_else(|| CallError::failed("the ledger is down"))?;
                let outcomes = ledger.every_outcome().map_err(CallError::failed)?;
                let found = outcomes.into_iter().find(|((_, of), _)| of.as_str() == id);
                found.map(|(_, outcome)| outcome.verdict).ok_or_else(|| CallError::failed("no outcome yet"))
            });
            decided.await?.map_err(|rejection| format!("an honest {} is rejected: {rejection}", spec.name))?;
        }
        // Until they are on record, too: what comes after belongs to the attacks.
        let mut recorded = 0;
        for _ in 0..TRIES_MAX {
            for (place, event) in self.news().await? {
                match is_honest(&event) {
                    true => recorded += 1,
                    false => self.strays.push((place, event)),
                }
            }
            if recorded >= REGISTRY.len() {
                return Ok(());
            }
            sleep(AGAIN_AFTER).await;
        }
        Err(format!("only {recorded} of {} honest commands are on record", REGISTRY.len()))
    }

    /// Tries `cells`, all of one attack, and judges them.
    async fn batch(&mut self, cells: &[Cell], checks: Checks) -> Result<Vec<Outcome>, String> {
        if cells.is_empty() {
            return Ok(Vec::new());
        }
        let before = self.digests().await?;
        let tried = join_all(cells.iter().map(|cell| self.attempt(*cell))).await;
        let mut signs: Vec<(usize, Sign)> = Vec::new();
        let mut found: BTreeMap<usize, Vec<(u64, Event)>> = BTreeMap::new();
        let mut breaches: Vec<Option<String>> = Vec::new();
        for (index, tried) in tried.into_iter().enumerate() {
            let tried = tried.unwrap_or_else(|error| Tried { signs: Vec::new(), breach: Some(error) });
            signs.extend(tried.signs.into_iter().map(|sign| (index, sign)));
            breaches.push(tried.breach);
        }
        let tries: Vec<_> =
            (0..cells.len()).map(|cell| signs.iter().filter(|(of, _)| *of == cell).count().max(1)).collect();
        let (enough, give_up) = (Instant::now() + checks.deadline, Instant::now() + DECIDED_MAX.max(checks.deadline));
        // What is decided changes its tenant, if only by an outcome: it must not happen under the next attack's eyes.
        let decides = |signs: &[(usize, Sign)]| signs.iter().any(|(_, sign)| matches!(sign, Sign::Decided(_)));
        while !signs.is_empty() && Instant::now() < if decides(&signs) { give_up } else { enough } {
            for (place, event) in self.news().await? {
                match signs.iter().position(|(_, sign)| sign.fits(&event)) {
                    Some(sign) => found.entry(signs.swap_remove(sign).0).or_default().push((place, event)),
                    None => self.strays.push((place, event)),
                }
            }
            sleep(LOOK_EVERY).await;
        }
        let after = self.digests().await?;
        let guilty = self.guilty(cells).await?;
        let mut outcomes = Vec::new();
        for (index, cell) in cells.iter().enumerate() {
            let expected = cell.expected.unwrap_or(Expected::Refused);
            let events = found.remove(&index).unwrap_or_default();
            let mut breach = breaches[index].take();
            let missing: Vec<_> = signs.iter().filter(|(of, _)| *of == index).map(|(_, sign)| sign).collect();
            if checks.exact && !missing.is_empty() {
                breach.get_or_insert(format!("no event in the audit log is {missing:?}"));
            }
            if checks.exact {
                for (place, event) in &events {
                    // Who merely has no approval has done what every panel does first.
                    let rings = usize::from(cell.attack != Attack::ApprovalForAnother);
                    if self.alerts_at(*place).await? != rings {
                        breach.get_or_insert(format!("the event at {place} did not ring as it must: {event:?}"));
                    }
                }
            }
            let mine = guilty.is_empty() || guilty.contains(&index);
            // A rejection is an outcome of the tenant's own, and no effect.
            let home = match (expected, cell.attack) {
                (Expected::Rejected, Attack::MovedCiphertext) => Some(OWN),
                (Expected::Rejected, _) => Some(VICTIM),
                _ => None,
            };
            if let Some(moved) = moved(&before, &after, home).filter(|_| mine) {
                breach = Some(moved);
            }
            let places = events.iter().map(|(place, _)| *place).collect();
            let verdict = match (breach, expected, events.into_iter().next_back()) {
                (Some(breach), ..) => Verdict::Breach(breach),
                (None, Expected::Recognised, _) => Verdict::Recognised,
                (None, _, Some((_, event))) => refused(event),
                (None, ..) => Verdict::Refused { by: "-".into(), code: "-".into(), words: "not looked at".into() },
            };
            outcomes.push(Outcome { places, ..outcome(cell.attack, cell.entry, cell.action, tries[index], verdict) });
        }
        Ok(outcomes)
    }

    /// The cells whose messages have an outcome.
    async fn guilty(&self, cells: &[Cell]) -> Result<Vec<usize>, String> {
        let ledger = self.ledger().await?;
        let outcomes = ledger.every_outcome().map_err(|error| error.to_string())?;
        let acted = |cell: &Cell| {
            let id = cell.id();
            outcomes.keys().any(|(_, of)| of.as_str() == id || of.as_str().starts_with(&format!("{id}-")))
        };
        Ok(cells.iter().enumerate().filter(|(_, cell)| acted(cell)).map(|(index, _)| index).collect())
    }
}

fn refused(event: Event) -> Verdict {
    match event {
        Event::Refused(Attempt { service, code, detail, .. }) => {
            Verdict::Refused { by: service.name().into(), code: code.name().into(), words: detail }
        }
        Event::Decided(AuditEntry { outcome, detail, .. }) => {
            Verdict::Refused { by: Role::Ledger.name().into(), code: outcome, words: detail }
        }
        Event::Step(step) => {
            Verdict::Refused { by: step.service.name().into(), code: step.kind.name().into(), words: step.detail }
        }
        Event::Raised(raised) => {
            Verdict::Refused { by: Role::Audit.name().into(), code: raised.rule.to_string(), words: raised.detail }
        }
    }
}

/// What changed that must not have: of the tenant `home`, only effects.
fn moved(
    before: &BTreeMap<TenantId, Digest>,
    after: &BTreeMap<TenantId, Digest>,
    home: Option<&str>,
) -> Option<String> {
    let nothing = Digest::of_nothing();
    let of = |digests: &BTreeMap<TenantId, Digest>, tenant| digests.get(tenant).copied().unwrap_or(nothing);
    let changed = before.keys().chain(after.keys()).find(|tenant| {
        let (before, after) = (of(before, tenant), of(after, tenant));
        let decided = home == Some(tenant.as_str()) && before.effects == after.effects;
        before != after && !decided
    });
    changed.map(|tenant| format!("tenant {tenant} has changed"))
}
