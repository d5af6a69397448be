//! Tries every cell, and looks at what became of it.
//!
//! One attack at a time, all its cells together: each has a message id of its own, so that every event in the audit log is
//! some cell's, and every tenant's digest is compared before and after. A digest that moved is laid at the door of the cell
//! whose message has an outcome, or of all of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep, timeout};

use super::stage::{ATTACKER, BYSTANDER, FORMER, HONEST, OWN, VICTIM, message_id, tenant_id, user_id};
use super::{Alias, Attack, Cell, Entry, Expected, Hostile, Outcome, Relics, Table, Verdict, arsenal, cells};
use crate::action::{Permission, REGISTRY, Spec};
use crate::audit::remote::Request as AuditRequest;
use crate::audit::{Attempt, Audit, AuditEntry, AuditService, Claimed, Code, EmbeddedAudit, Event, Step, StepKind};
use crate::auth::remote::Request as AuthRequest;
use crate::auth::{
    Authority, AuthorityService, BreakGlassRequest, Decision, DecisionKey, GrantRequest, IdentityProvider,
    Verdict as Ruled,
};
use crate::broker::remote::Request as BrokerRequest;
use crate::broker::{Broker, BrokerService, Lease, Position, Published, Settlement, Standing};
use crate::call::CallError;
use crate::capability::World;
use crate::grant::{Envelope, GrantToken, Purpose};
use crate::ids::TenantId;
use crate::jws::PublicKeys;
use crate::ledger::remote::{Reply as LedgerReply, Request as LedgerRequest};
use crate::ledger::{Applied, Digest, EmbeddedLedger, LedgerService, PauseGeneration};
use crate::message::{BodyHash, Message, body_sha256};
use crate::rights::Role;
use crate::role::{Addresses, remote_authority, remote_broker};
use crate::rpc::{Client, Service};
use crate::secret::replace_secret;

/// A call may take this long.
const CALL_MAX: Duration = Duration::from_secs(2);

/// What has no answer is tried again after this long, so often: an unknown key is refused for good only once auth was asked.
const AGAIN_AFTER: Duration = Duration::from_millis(20);
const TRIES_MAX: usize = 750;

/// Whether an event has come is asked this often.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What comes this long after everything has come, came too often.
const SETTLE: Duration = Duration::from_millis(300);

/// What auth says to whoever has no role on a tenant.
const NO_ROLE: &str = "holds no role on tenant";

/// A token lives this long, in seconds.
const TOKEN_SECONDS: i64 = 3600;

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

impl Default for Checks {
    fn default() -> Self {
        Self { exact: true, deadline: Duration::from_secs(20) }
    }
}

/// How the one event of an attempt is known among others.
#[derive(Debug)]
enum Sign {
    /// A message that came under this name.
    Named(String),
    /// A body, refused at one of these.
    Body(BodyHash, &'static [Role]),
    /// A body, refused by the producer, or a grant for it or for its sealing, by auth.
    Asked(BodyHash, String),
    /// A grant asked for a message of this id.
    Granted(String),
    /// A door of a service, and words of the refusal.
    Door(Role, &'static str, String),
    /// A decision on the message of this id.
    Decided(String),
}

impl Sign {
    fn fits(&self, event: &Event) -> bool {
        match (self, event) {
            (Self::Decided(id), Event::Decided(entry)) => entry.message_id.as_str() == id,
            (Self::Decided(_), _) | (_, Event::Decided(_) | Event::Step(_)) => false,
            (Self::Named(name), Event::Refused(attempt)) => {
                let inside = matches!(attempt.service, Role::Consumer | Role::Broker);
                inside && attempt.claimed.message_id.as_ref() == Some(name)
            }
            (Self::Body(hash, by), Event::Refused(attempt)) => {
                by.contains(&attempt.service) && attempt.claimed.body_sha256 == Some(*hash)
            }
            (Self::Asked(hash, id), Event::Refused(attempt)) => match attempt.service {
                Role::Producer => attempt.claimed.body_sha256 == Some(*hash),
                Role::Auth => attempt.claimed.message_id.as_ref() == Some(id),
                _ => false,
            },
            (Self::Granted(id), Event::Refused(attempt)) => {
                attempt.service == Role::Auth && attempt.claimed.message_id.as_ref() == Some(id)
            }
            (Self::Door(service, entry, words), Event::Refused(attempt)) => {
                attempt.service == *service && attempt.entry == *entry && attempt.detail.contains(words)
            }
        }
    }
}

/// What was done in a cell: what must be seen of it, and what was seen at once that must not be.
#[derive(Debug, Default)]
struct Tried {
    signs: Vec<Sign>,
    breach: Option<String>,
}

/// What an attacker sends.
struct Shot {
    body: Bytes,
    grant: GrantToken,
    lane: TenantId,
    name: String,
    /// `None`: no token at all.
    token: Option<String>,
    /// For auth: in whose name, for which tenant.
    user: &'static str,
    tenant: String,
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
    let (fresh, others): (Vec<_>, Vec<_>) = attacks.iter().partition(|attack| **attack == Attack::RevokedRight);
    for attack in fresh.into_iter().chain(others).copied() {
        let (tried, skipped): (Vec<_>, Vec<_>) =
            cells().into_iter().filter(|cell| cell.attack == attack).partition(|cell| cell.expected.is_ok());
        for Cell { entry, action, expected, .. } in skipped {
            let verdict = Verdict::NotApplicable(expected.err().unwrap_or_default());
            outcomes.push(outcome(attack, entry, action, 0, verdict));
        }
        outcomes.extend(attacker.batch(&tried, checks).await?);
    }
    attacker.honest("z", HONEST, VICTIM).await?;
    let mut table = Table(outcomes);
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

/// What is forged is published and delivered like everything else: that is no attempt. One who invents such a step is.
fn is_step(event: &Event) -> bool {
    matches!(event, Event::Step(_))
}

struct Attacker<'a> {
    target: &'a Target,
    authority: Arc<dyn Authority>,
    broker: Arc<dyn Broker>,
    public: PublicKeys,
    /// The place of the last event that was looked at.
    place: u64,
    strays: Vec<(u64, Event)>,
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
        let give_up = Instant::now() + checks.deadline;
        while !signs.is_empty() && Instant::now() < give_up {
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
                    if self.alerts_at(*place).await? != 1 {
                        breach.get_or_insert(format!("the event at {place} did not ring: {event:?}"));
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

    /// Commits the attempts of `cell`.
    async fn attempt(&self, cell: Cell) -> Result<Tried, String> {
        match (cell.attack, cell.entry) {
            (Attack::RoleWithoutRight, entry) => Ok(self.roles(entry).await),
            (Attack::ForgedAuditEntry, _) => self.forged_entries().await,
            (Attack::AuditGap, _) => self.gap().await,
            (Attack::CommandGrantToRead, _) => self.read_with_a_commands_grant().await,
            (Attack::ReplayedMessage, _) => self.replay(cell).await,
            (Attack::ReadAnother, Entry::Http) => Ok(self.read_over_http().await),
            (Attack::ReadAnother, Entry::Auth) => self.ask_to_read().await,
            (Attack::ReadAnother, _) => self.read_with_a_forged_grant().await,
            (_, entry) => {
                let shot = self.shot(cell).await?;
                match entry {
                    Entry::Http => self.over_http(cell, &shot).await,
                    Entry::Broker => {
                        let mut tried = self.publish(&shot.lane, &shot.name, &shot).await?;
                        if cell.expected == Ok(Expected::Rejected) {
                            tried.signs = vec![Sign::Decided(shot.name.clone())];
                        }
                        Ok(tried)
                    }
                    Entry::DeadLetter => self.dead_letter(cell, &shot).await,
                    Entry::Ledger => self.at_the_ledger(cell, &shot).await,
                    Entry::Auth => self.at_auth(cell, &shot).await,
                    Entry::Audit => unreachable!("no command goes to the audit log"),
                }
            }
        }
    }

    /// What is sent in `cell`.
    async fn shot(&self, cell: Cell) -> Result<Shot, String> {
        let (spec, id) = (cell.action.ok_or("a command has an action")?, cell.id());
        let own = self.body_at(cell.entry, OWN, ATTACKER, spec, &id);
        let http = matches!(cell.entry, Entry::Http | Entry::Auth);
        let mut shot = Shot {
            body: own.clone().into(),
            grant: "".into(),
            lane: tenant_id(VICTIM),
            name: id.clone(),
            token: Some(self.token(ATTACKER)),
            user: ATTACKER,
            tenant: VICTIM.into(),
        };
        let victims = self.body_at(cell.entry, VICTIM, HONEST, spec, &id);
        let own_grant = async || self.grant(ATTACKER, OWN, spec, &id, own.as_bytes()).await;
        match cell.attack {
            Attack::ForgedTenant => {
                shot.body = self.body_at(cell.entry, VICTIM, ATTACKER, spec, &id).into();
                shot.grant = own_grant().await?;
            }
            Attack::StolenGrant if http => (shot.body, shot.user) = (victims.into(), HONEST),
            Attack::StolenGrant => {
                shot.grant = self.grant(HONEST, VICTIM, spec, &id, victims.as_bytes()).await?;
                shot.body = self.body_at(cell.entry, VICTIM, ATTACKER, spec, &id).into();
            }
            Attack::SwappedBody => {
                shot.grant = own_grant().await?;
                shot.body = own.replacen('{', r#"{"schema_version":1,"#, 1).into();
                shot.lane = tenant_id(OWN);
            }
            Attack::ReplayedGrant => {
                shot.grant = own_grant().await?;
                shot.name = format!("{id}-other");
                shot.body = self.body_at(cell.entry, OWN, ATTACKER, spec, &shot.name).into();
                shot.lane = tenant_id(OWN);
            }
            Attack::ExpiredGrant | Attack::RevokedRight if http => {
                let former = cell.attack == Attack::RevokedRight;
                let now = self.target.world.clock.unix_seconds();
                shot.user = if former { FORMER } else { ATTACKER };
                let since = if former { now } else { now - 2 * TOKEN_SECONDS };
                shot.token = Some(self.target.provider.token(&user_id(shot.user), since, TOKEN_SECONDS));
                shot.tenant = if former { VICTIM.into() } else { OWN.into() };
                shot.body = self.body_at(cell.entry, &shot.tenant, shot.user, spec, &id).into();
            }
            Attack::ExpiredGrant | Attack::RevokedRight => {
                let relic = self.target.relics.get(cell.attack, cell.entry, spec.name);
                let Envelope { body, grant, .. } = relic.ok_or("no such relic was kept")?.clone();
                let expired = cell.attack == Attack::ExpiredGrant;
                (shot.body, shot.grant, shot.lane) = (body, grant, tenant_id(if expired { OWN } else { VICTIM }));
            }
            Attack::WrongAudience if http => {
                (shot.token, shot.tenant) = (Some(own_grant().await?.to_string()), OWN.into());
            }
            Attack::WrongAudience => (shot.grant, shot.lane) = (self.token(ATTACKER).into(), tenant_id(OWN)),
            Attack::ReadGrant => {
                (shot.grant, shot.lane) = (self.ask(ATTACKER, OWN, Purpose::Read).await?, tenant_id(OWN))
            }
            Attack::AlienSignature | Attack::AlgorithmNone | Attack::AlgorithmHs256 | Attack::UnknownKey => {
                let (body, hash) = (victims, cell.attack);
                let sha256 = hex::encode(body_sha256(body.as_bytes()));
                let genuine = own_grant().await?;
                shot.grant = arsenal::forge(&genuine, hash, &self.public, |claims| {
                    (claims["tenant"], claims["sub"]) = (VICTIM.into(), HONEST.into());
                    claims["purpose"]["command"]["body_sha256"] = sha256.into();
                })
                .into();
                let token = self.token(ATTACKER);
                let forged = arsenal::forge(&token, cell.attack, &self.public, |claims| claims["sub"] = HONEST.into());
                (shot.token, shot.user, shot.body) = (Some(forged), HONEST, body.into());
            }
            Attack::ForgedDecision => {
                shot.grant = self.grant(HONEST, VICTIM, spec, &id, victims.as_bytes()).await?;
                (shot.body, shot.user) = (victims.into(), HONEST);
            }
            Attack::NoGrant => (shot.body, shot.token, shot.user) = (victims.into(), None, HONEST),
            Attack::GarbageGrant => {
                (shot.body, shot.grant, shot.user) = (victims.into(), "e30.e30.garbage".into(), HONEST);
                shot.token = Some("e30.e30.garbage".into());
            }
            Attack::Lookalike(alias) => {
                shot.tenant = alias.spell(VICTIM);
                shot.body = self.body_at(cell.entry, &shot.tenant, ATTACKER, spec, &id).into();
                shot.grant = own_grant().await?;
                shot.lane = tenant_id(if alias == Alias::Prefix { &shot.tenant } else { VICTIM });
            }
            Attack::WrongLane => shot.grant = own_grant().await?,
            Attack::WrongName => {
                (shot.grant, shot.lane, shot.name) = (own_grant().await?, tenant_id(OWN), format!("{id}-other"));
            }
            Attack::Hostile(hostile) => {
                shot.body = arsenal::spoil(&own, hostile, VICTIM);
                // Auth never sees a body: a grant for these very bytes is to be had.
                shot.grant = self.grant(ATTACKER, OWN, spec, &id, &shot.body).await?;
                shot.lane = tenant_id(OWN);
            }
            Attack::PositionPast => {
                shot.grant = self.grant(HONEST, VICTIM, spec, &id, victims.as_bytes()).await?;
                shot.body = victims.into();
            }
            Attack::PositionFuture => {
                let id = self.honest_id("a", spec);
                shot.body = self.recorded(&id).await?;
                shot.grant = self.grant(HONEST, VICTIM, spec, &id, &shot.body).await?;
            }
            Attack::MovedCiphertext => {
                let sent = self.honest_id("a", spec);
                let victims = Message::parse(self.recorded(&sent).await?).map_err(|refusal| refusal.to_string())?;
                let sealed = victims.action.sealed().ok_or("what the victim sent is not sealed")?;
                let moved = arsenal::with_secret(&self.body(OWN, ATTACKER, spec, &id), sealed);
                if !http {
                    shot.grant = self.grant(ATTACKER, OWN, spec, &id, moved.as_bytes()).await?;
                }
                (shot.body, shot.lane) = (moved.into(), tenant_id(OWN));
            }
            other => return Err(format!("{} has no shot", other.name())),
        }
        Ok(shot)
    }

    async fn over_http(&self, cell: Cell, shot: &Shot) -> Result<Tried, String> {
        const COMMANDS: &str = "POST /v1/commands";
        let answer = self.post(shot.token.clone(), &shot.body).await;
        let breach = match answer {
            Ok((status @ 200..300, said)) => Some(format!("the API answered {status}: {said}")),
            // The server hung up on a body it would not read, or is down: the audit log tells.
            Ok(_) | Err(_) => None,
        };
        let sign = match cell.attack {
            Attack::NoGrant => Sign::Door(Role::Producer, COMMANDS, "Authorization".into()),
            Attack::Hostile(Hostile::Huge) => Sign::Door(Role::Producer, COMMANDS, "at most".into()),
            _ => Sign::Asked(body_sha256(&shot.body), cell.id()),
        };
        Ok(Tried { signs: vec![sign], breach })
    }

    async fn publish(&self, lane: &TenantId, name: &str, shot: &Shot) -> Result<Tried, String> {
        let envelope = Envelope { body: shot.body.clone(), grant: shot.grant.clone(), trace: None };
        let id = message_id(name);
        persist(async || match self.broker.publish(lane, &id, envelope.clone()).await {
            Err(CallError::Failed(why)) if why.contains("are taken") => Ok(Published::Conflict),
            other => other,
        })
        .await?;
        Ok(Tried { signs: vec![Sign::Named(name.into())], breach: None })
    }

    /// Has the broker put it aside, and publishes the same envelope again.
    async fn dead_letter(&self, cell: Cell, shot: &Shot) -> Result<Tried, String> {
        let mut tried = self.publish(&shot.lane, &shot.name, shot).await?;
        if cell.expected == Ok(Expected::Rejected) {
            return Ok(Tried { signs: vec![Sign::Decided(shot.name.clone())], ..tried });
        }
        let id = message_id(&shot.name);
        let dead = persist(async || match self.broker.standing(&shot.lane, &id).await? {
            Some(Standing::DeadLettered { .. }) => Ok(true),
            Some(Standing::Settled) => Ok(false),
            standing => Err(CallError::failed(format!("it is {standing:?} still"))),
        });
        if !dead.await? {
            tried.breach = Some("it was dealt with, not put aside".into());
            return Ok(tried);
        }
        // Under its own name it is known, and nothing happens; so under another.
        let again = self.publish(&shot.lane, &shot.name, shot).await;
        again?;
        tried.signs.extend(self.publish(&shot.lane, &format!("{}-again", shot.name), shot).await?.signs);
        Ok(tried)
    }

    async fn at_the_ledger(&self, cell: Cell, shot: &Shot) -> Result<Tried, String> {
        let position = match cell.attack {
            // No broker's: before everything that ever was.
            Attack::PositionPast => Position { epoch: 0, sequence: 1 },
            _ => Position { epoch: u64::MAX, sequence: u64::MAX },
        };
        let applied = self.apply(shot, position).await?;
        let recognised = cell.expected == Ok(Expected::Recognised);
        let breach = match &applied {
            Applied::Before(_) if recognised => None,
            Applied::Refused(_) | Applied::Overtaken { .. } if !recognised => None,
            Applied::Forged if cell.attack == Attack::ForgedDecision => None,
            other => Some(format!("the ledger answered {other:?}")),
        };
        let sign = Sign::Body(body_sha256(&shot.body), &[Role::Ledger]);
        Ok(Tried { signs: if recognised { Vec::new() } else { vec![sign] }, breach })
    }

    async fn apply(&self, shot: &Shot, position: Position) -> Result<Applied, String> {
        let client = self.client::<LedgerService>(&self.target.at.ledger, Role::Consumer);
        persist(async || {
            let envelope = Envelope { body: shot.body.clone(), grant: shot.grant.clone(), trace: None };
            let run = vec![(envelope, self.invented_permit(shot), position)];
            match client.call(&LedgerRequest::Apply { run }, CALL_MAX).await? {
                LedgerReply::Applied(mut applied) if applied.len() == 1 => Ok(applied.remove(0)),
                other => Err(CallError::failed(format!("{other:?}"))),
            }
        })
        .await
    }

    /// A permit that auth never gave: of a revision beyond all others, under a key of the attacker's.
    fn invented_permit(&self, shot: &Shot) -> Decision {
        let message = Message::parse(shot.body.clone());
        let permission = message.map_or(Permission::Read, |message| message.action.permission());
        let tenant = TenantId::parse(&shot.tenant).unwrap_or_else(|_| tenant_id(VICTIM));
        let key = DecisionKey::generate(&*self.target.world.entropy);
        let verdict = Ruled::Permit { policies: vec!["admin-manages-everything".into()] };
        key.decide(&user_id(shot.user), &tenant, permission, verdict, u64::MAX)
    }

    async fn at_auth(&self, cell: Cell, shot: &Shot) -> Result<Tried, String> {
        let (spec, id) = (cell.action.ok_or("a command has an action")?, cell.id());
        let purpose = Purpose::Command {
            action: spec.name.into(),
            message_id: message_id(&id),
            body_sha256: body_sha256(&shot.body),
        };
        let (token, user) = (shot.token.clone().unwrap_or_default(), Some(user_id(shot.user)));
        let request = GrantRequest { token, user, tenant: tenant_id(&shot.tenant), purpose };
        let granted = persist(async || self.authority.grant(&request).await).await?;
        let breach = granted.is_ok().then(|| "auth granted it".to_owned());
        Ok(Tried { signs: vec![Sign::Granted(id)], breach })
    }

    /// What an honest operator sent comes again.
    async fn replay(&self, cell: Cell) -> Result<Tried, String> {
        let spec = cell.action.ok_or("a command has an action")?;
        let id = self.honest_id("a", spec);
        let body = match cell.entry {
            Entry::Http => self.body(VICTIM, HONEST, spec, &id).into(),
            _ => self.recorded(&id).await?,
        };
        let (grant, lane) = (self.grant(HONEST, VICTIM, spec, &id, &body).await?, tenant_id(VICTIM));
        let envelope = Envelope { body: body.clone(), grant, trace: None };
        let breach = match cell.entry {
            Entry::Http => match self.post(Some(self.token(HONEST)), &body).await {
                Ok((200, _)) => None,
                other => Some(format!("a retry was answered {other:?}")),
            },
            Entry::Broker => {
                match persist(async || self.broker.publish(&lane, &message_id(&id), envelope.clone()).await).await? {
                    Published::Duplicate { .. } => None,
                    other => Some(format!("the broker took a duplicate as {other:?}")),
                }
            }
            _ => {
                let Envelope { body, grant, .. } = envelope;
                let (tenant, token) = (VICTIM.to_owned(), None);
                let shot = Shot { body, grant, lane, name: id, token, user: HONEST, tenant };
                match self.apply(&shot, Position { epoch: u64::MAX, sequence: u64::MAX - 1 }).await? {
                    Applied::Before(_) => None,
                    other => Some(format!("the ledger took a duplicate as {other:?}")),
                }
            }
        };
        Ok(Tried { signs: Vec::new(), breach })
    }

    /// Every role asks everything of the service at `entry` that it has no right to.
    async fn roles(&self, entry: Entry) -> Tried {
        let at = &self.target.at;
        match entry {
            Entry::Broker => self.ask_all::<BrokerService>(&at.broker, Role::Broker, broker_requests).await,
            Entry::Ledger => self.ask_all::<LedgerService>(&at.ledger, Role::Ledger, ledger_requests).await,
            Entry::Auth => self.ask_all::<AuthorityService>(&at.auth, Role::Auth, auth_requests).await,
            _ => self.ask_all::<AuditService>(&at.audit, Role::Audit, audit_requests).await,
        }
    }

    async fn ask_all<S: Service>(&self, address: &str, service: Role, requests: fn() -> Vec<S::Request>) -> Tried {
        let mut tried = Tried::default();
        for role in Role::ALL {
            let client = self.client::<S>(address, role);
            for request in requests().into_iter().filter(|request| !S::may(role, request)) {
                let (entry, _) = S::claims(&request);
                match persist_refusal(&client, &request).await {
                    true => tried.signs.push(Sign::Door(service, entry, format!("the {role} role"))),
                    false => tried.breach = Some(format!("the {role} role asked {entry}, and was not refused")),
                }
            }
        }
        tried
    }

    async fn forged_entries(&self) -> Result<Tried, String> {
        let mut tried = Tried::default();
        let attempt = self.invented(Role::Consumer);
        for (role, source, event) in [
            (Role::Consumer, "ledger", Event::Decided(invented_decision())),
            (Role::Consumer, "consumer/invented", Event::Decided(invented_decision())),
            (Role::Auth, "auth/invented", Event::Refused(attempt.clone())),
            (Role::Broker, "consumer/invented", Event::Refused(attempt)),
            (Role::Producer, "producer/invented", Event::Step(Step::new(0, Role::Broker, StepKind::Published, 1))),
            (Role::Consumer, "consumer/invented", Event::Step(Step::new(0, Role::Consumer, StepKind::Delivered, 1))),
        ] {
            let client = self.client::<AuditService>(&self.target.at.audit, role);
            let request = AuditRequest::Append { source: source.into(), first: 1, events: vec![event] };
            match persist_refusal(&client, &request).await {
                true => tried.signs.push(Sign::Door(Role::Audit, "append", format!("the {role} role"))),
                false => tried.breach = Some(format!("the {role} role appended to {source}, and was not refused")),
            }
        }
        Ok(tried)
    }

    async fn gap(&self) -> Result<Tried, String> {
        let client = self.client::<AuditService>(&self.target.at.audit, Role::Producer);
        let events = vec![Event::Refused(self.invented(Role::Producer))];
        let request = AuditRequest::Append { source: "producer/gap".into(), first: 7, events };
        let breach = (!persist_refusal(&client, &request).await).then(|| "a gap was taken".to_owned());
        Ok(Tried { signs: vec![Sign::Door(Role::Audit, "append", "missing".into())], breach })
    }

    async fn read_with_a_commands_grant(&self) -> Result<Tried, String> {
        let spec = &REGISTRY[0];
        let body = self.body(OWN, ATTACKER, spec, "x-read");
        let grant = self.grant(ATTACKER, OWN, spec, "x-read", body.as_bytes()).await?;
        Ok(self
            .ask_the_ledger([
                LedgerRequest::State { grant: grant.clone() },
                LedgerRequest::Outcome { grant: grant.clone(), message_id: message_id("x-read"), wait_ms: 0 },
                LedgerRequest::Journal { grant: grant.clone(), from: 0, max: 1 },
                LedgerRequest::Reconcile { grant: grant.clone() },
                LedgerRequest::Pause { grant: grant.clone(), to: PauseGeneration(1) },
                LedgerRequest::DataKeys { grant },
            ])
            .await)
    }

    /// Whatever the API shows of a tenant, and its pause, with the attacker's own token.
    async fn read_over_http(&self) -> Tried {
        let mut tried = Tried::default();
        let parts = [
            "limits",
            "entitlements",
            "plan",
            "credits",
            "credentials",
            "paused",
            "suspension",
            "journal",
            "reconciliation",
        ];
        let mut requests: Vec<_> =
            parts.iter().map(|part| ("GET", format!("/v1/tenants/{VICTIM}/{part}"), "")).collect();
        let command = self.honest_id("a", &REGISTRY[0]);
        requests.push(("GET", format!("/v1/audit/events?tenant={VICTIM}"), ""));
        requests.push(("GET", format!("/v1/commands/{command}?tenant_id={VICTIM}"), ""));
        requests.push(("PUT", format!("/v1/tenants/{VICTIM}/paused"), r#"{"paused":true}"#));
        for (method, path, body) in requests {
            let token = Some(self.token(ATTACKER));
            let answer = persist(async || match self.send(method, &path, token.clone(), body.as_bytes()).await {
                Ok((503 | 504, said)) | Err(said) => Err(CallError::failed(said)),
                Ok(answered) => Ok(answered),
            });
            match answer.await {
                Ok((403, _)) => tried.signs.push(Sign::Door(Role::Auth, "grant", NO_ROLE.into())),
                other => tried.breach = Some(format!("{method} {path} was answered {other:?}")),
            }
        }
        tried
    }

    /// The grants that a reader of the victim's would have.
    async fn ask_to_read(&self) -> Result<Tried, String> {
        let mut tried = Tried::default();
        for purpose in [Purpose::Read, Purpose::Pause, self.sealing()] {
            let request = GrantRequest { token: self.token(ATTACKER), user: None, tenant: tenant_id(VICTIM), purpose };
            match persist(async || self.authority.grant(&request).await).await? {
                Err(_) => tried.signs.push(Sign::Door(Role::Auth, "grant", NO_ROLE.into())),
                Ok(_) => tried.breach = Some("auth granted it".into()),
            }
        }
        Ok(tried)
    }

    /// The attacker's own grants to read and to pause, bent to the victim.
    async fn read_with_a_forged_grant(&self) -> Result<Tried, String> {
        let bent = async |purpose| {
            let genuine = self.ask(ATTACKER, OWN, purpose).await?;
            let forged = arsenal::forge(&genuine, Attack::AlienSignature, &self.public, |claims| {
                claims["tenant"] = VICTIM.into();
            });
            Ok::<GrantToken, String>(forged.into())
        };
        let message_id = message_id(&self.honest_id("a", &REGISTRY[0]));
        Ok(self
            .ask_the_ledger([
                LedgerRequest::State { grant: bent(Purpose::Read).await? },
                LedgerRequest::Outcome { grant: bent(Purpose::Read).await?, message_id, wait_ms: 0 },
                LedgerRequest::Journal { grant: bent(Purpose::Read).await?, from: 0, max: 1 },
                LedgerRequest::Reconcile { grant: bent(Purpose::Read).await? },
                LedgerRequest::Pause { grant: bent(Purpose::Pause).await?, to: PauseGeneration(1) },
                LedgerRequest::DataKeys { grant: bent(self.sealing()).await? },
            ])
            .await)
    }

    /// The right to a tenant's data keys.
    fn sealing(&self) -> Purpose {
        Purpose::Seal { action: "store_credential".into(), message_id: message_id("x-seal") }
    }

    /// Asks the ledger what it must refuse because of the grant.
    async fn ask_the_ledger(&self, requests: [LedgerRequest; 6]) -> Tried {
        let client = self.client::<LedgerService>(&self.target.at.ledger, Role::Producer);
        let mut tried = Tried::default();
        for request in requests {
            let (entry, _) = LedgerService::claims(&request);
            match persist_refusal(&client, &request).await {
                true => tried.signs.push(Sign::Door(Role::Ledger, entry, String::new())),
                false => tried.breach = Some(format!("{entry} was answered")),
            }
        }
        tried
    }

    fn invented(&self, service: Role) -> Attempt {
        let (claimed, detail) = (Claimed::tenant(BYSTANDER), "invented".to_owned());
        Attempt { at_unix_ms: 0, service, entry: "invented".into(), code: Code::NoRight, claimed, detail }
    }

    fn client<S: Service>(&self, address: &str, role: Role) -> Client<S> {
        Client::new(self.target.world.network.clone(), address, role)
    }

    fn body(&self, tenant: &str, user: &str, spec: &Spec, id: &str) -> String {
        // One instant for all: what comes again must be the same bytes.
        arsenal::body(tenant, user, spec, id, &self.instant())
    }

    fn body_at(&self, entry: Entry, tenant: &str, user: &str, spec: &Spec, id: &str) -> String {
        arsenal::body_at(entry, tenant, user, spec, id, &self.instant())
    }

    /// The body of a decided message, as it came out of the queue.
    async fn recorded(&self, id: &str) -> Result<Bytes, String> {
        persist(async || {
            let audit = self.target.observer.audit().ok_or_else(|| CallError::failed("the audit log is down"))?;
            let entries = audit.entries().map_err(CallError::failed)?;
            let found = entries.into_iter().find(|entry| entry.message_id.as_str() == id);
            let entry = found.ok_or_else(|| CallError::failed("not on record yet"))?;
            // Of a secret the record has only a hash; whoever stole the ledger's disk has the ciphertext.
            let ledger = self.target.observer.ledger().ok_or_else(|| CallError::failed("the ledger is down"))?;
            let sealed = ledger.every_ciphertext().map_err(CallError::failed)?;
            let sealed = sealed.get(&(entry.tenant_id, entry.message_id));
            Ok(sealed.and_then(|sealed| replace_secret(&entry.body, sealed)).unwrap_or(entry.body))
        })
        .await
    }

    fn instant(&self) -> String {
        let hour = self.target.world.clock.unix_seconds() / 3600 * 3600;
        jiff::Timestamp::from_second(hour).unwrap_or_default().to_string()
    }

    fn honest_id(&self, round: &str, spec: &Spec) -> String {
        format!("honest-{round}-{}", spec.name.replace('_', "-"))
    }

    fn token(&self, user: &str) -> String {
        self.target.provider.token(&user_id(user), self.target.world.clock.unix_seconds(), TOKEN_SECONDS)
    }

    async fn grant(&self, user: &str, tenant: &str, spec: &Spec, id: &str, body: &[u8]) -> Result<GrantToken, String> {
        let (action, message_id) = (spec.name.into(), message_id(id));
        self.ask(user, tenant, Purpose::Command { action, message_id, body_sha256: body_sha256(body) }).await
    }

    async fn ask(&self, user: &str, tenant: &str, purpose: Purpose) -> Result<GrantToken, String> {
        let (token, user) = (self.token(user), Some(user_id(user)));
        let request = GrantRequest { token, user, tenant: tenant_id(tenant), purpose };
        let granted = persist(async || self.authority.grant(&request).await).await?;
        granted.map_err(|denied| format!("auth denies what the stage allows: {denied}"))
    }

    async fn post(&self, token: Option<String>, body: &[u8]) -> Result<(u16, String), String> {
        self.send("POST", "/v1/commands", token, body).await
    }

    /// Sends a request as it is: no client library would send some of them.
    async fn send(
        &self,
        method: &str,
        path: &str,
        token: Option<String>,
        body: &[u8],
    ) -> Result<(u16, String), String> {
        let address = &self.target.at.producer;
        let authorization = token.map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{authorization}content-length: {}\r\n\r\n",
            body.len()
        );
        let exchange = async {
            let stream = self.target.world.network.connect(address, Role::Producer).await;
            let mut stream = stream.map_err(|error| error.to_string())?.stream;
            // A server that will not read it all may hang up before: what it said is read all the same.
            let _ = stream.write_all(&[head.as_bytes(), body].concat()).await;
            let mut said = Vec::new();
            let read = stream.read_to_end(&mut said).await;
            let text = String::from_utf8_lossy(&said).into_owned();
            let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
            let words = text.split_once("\r\n\r\n").map_or_else(String::new, |(_, body)| body.to_owned());
            status.map(|status| (status, words)).ok_or_else(|| format!("no answer: {read:?}"))
        };
        timeout(CALL_MAX, exchange).await.unwrap_or_else(|_| Err("no answer in time".into()))
    }

    async fn ledger(&self) -> Result<Arc<EmbeddedLedger>, String> {
        persist(async || self.target.observer.ledger().ok_or_else(|| CallError::failed("the ledger is down"))).await
    }

    async fn digests(&self) -> Result<BTreeMap<TenantId, Digest>, String> {
        self.ledger().await?.every_digest().map_err(|error| error.to_string())
    }

    async fn audit(&self) -> Result<Arc<EmbeddedAudit>, String> {
        persist(async || self.target.observer.audit().ok_or_else(|| CallError::failed("the audit log is down"))).await
    }

    /// Events since the last look.
    async fn news(&mut self) -> Result<Vec<(u64, Event)>, String> {
        let (audit, mut news) = (self.audit().await?, Vec::new());
        loop {
            let page = audit.events(self.place, usize::MAX).await.map_err(|error| error.to_string())?;
            let Some((last, _)) = page.last() else { return Ok(news) };
            self.place = *last;
            news.extend(page.into_iter().filter(|(_, event)| !is_step(event)));
        }
    }

    async fn alerts_at(&self, place: u64) -> Result<usize, String> {
        let alerts = self.audit().await?.alerts(place - 1, 1).await.map_err(|error| error.to_string())?;
        Ok(alerts.iter().filter(|alert| alert.place == place).count())
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

/// Asks until there is an answer.
async fn persist<T>(mut ask: impl AsyncFnMut() -> Result<T, CallError>) -> Result<T, String> {
    let mut tries = 1;
    loop {
        match ask().await {
            Ok(answer) => return Ok(answer),
            Err(error) if tries >= TRIES_MAX => return Err(format!("after {tries} tries: {error}")),
            Err(_) => tries += 1,
        }
        sleep(AGAIN_AFTER).await;
    }
}

/// Asks what must be refused, until there is an answer; whether it was refused.
async fn persist_refusal<S: Service>(client: &Client<S>, request: &S::Request) -> bool {
    let refused = persist(async || match client.call(request, CALL_MAX).await {
        Ok(_) => Ok(false),
        Err(CallError::Failed(why)) if !why.contains(" at ") => Ok(true),
        Err(error) => Err(error),
    });
    refused.await.unwrap_or(false)
}

fn invented_decision() -> AuditEntry {
    AuditEntry {
        at_unix_ms: 0,
        tenant_id: tenant_id(BYSTANDER),
        user_id: user_id(HONEST),
        action: REGISTRY[0].name.into(),
        message_id: message_id("invented"),
        body: Bytes::new(),
        outcome: "applied".into(),
        detail: String::new(),
        authority_revision: 1,
        policies: Vec::new(),
    }
}

// One of each; a test fails if one is left out.
pub(super) fn broker_requests() -> Vec<BrokerRequest> {
    let (tenant, message_id) = (tenant_id(BYSTANDER), message_id("x-role"));
    let envelope = Envelope { body: Bytes::new(), grant: "".into(), trace: None };
    let lease = Lease { tenant: tenant.clone(), token: 1 };
    vec![
        BrokerRequest::Publish { tenant: tenant.clone(), message_id: message_id.clone(), envelope },
        BrokerRequest::Fetch { max: 1, wait_ms: 0 },
        BrokerRequest::Settle { lease, settlement: Settlement::again("") },
        BrokerRequest::Standing { tenant: tenant.clone(), message_id },
        BrokerRequest::Pause { tenant, generation: PauseGeneration(1) },
    ]
}

pub(super) fn ledger_requests() -> Vec<LedgerRequest> {
    vec![
        LedgerRequest::Apply { run: Vec::new() },
        LedgerRequest::Outcome { grant: "".into(), message_id: message_id("x-role"), wait_ms: 0 },
        LedgerRequest::State { grant: "".into() },
        LedgerRequest::Journal { grant: "".into(), from: 0, max: 1 },
        LedgerRequest::Reconcile { grant: "".into() },
        LedgerRequest::Pause { grant: "".into(), to: PauseGeneration(1) },
        LedgerRequest::DataKeys { grant: "".into() },
    ]
}

pub(super) fn auth_requests() -> Vec<AuthRequest> {
    let (user, tenant) = (user_id(HONEST), tenant_id(BYSTANDER));
    let request = GrantRequest { token: String::new(), user: None, tenant: tenant.clone(), purpose: Purpose::Read };
    vec![
        AuthRequest::Grant(request),
        AuthRequest::Recheck { user, tenant, permission: Permission::Read },
        AuthRequest::Keys,
        AuthRequest::InForce { known: 0, wait_ms: 0 },
        AuthRequest::BreakGlass { token: String::new(), request: BreakGlassRequest::List },
    ]
}

pub(super) fn audit_requests() -> Vec<AuditRequest> {
    let decided = Event::Decided(invented_decision());
    vec![
        AuditRequest::Append { source: "ledger".into(), first: 1, events: vec![decided] },
        AuditRequest::Events { after: 0, max: 1 },
        AuditRequest::Alerts { after: 0, max: 1 },
    ]
}
