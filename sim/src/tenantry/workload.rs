//! Who asks for what, and when: the hosted half of a plan, drawn from scenario and seed.
//!
//! An open loop: a command's time is drawn over the whole duration (which makes arrivals a Poisson process of that many)
//! and does not wait for the system. Each draw is keyed by the command's number, so that leaving one out leaves every
//! other as it was.

use serde::{Deserialize, Serialize};
use tenantry_system::ids::{TenantId, UserId};

use super::approvers::{self, Paired};
use super::cast::{Cast, Part};
use super::idp::Rotation;
use super::model::Ask;
use super::section::Workload;
use crate::engine::dice::Dice;

/// A re-send comes this much later, in virtual milliseconds: before, while and after the first is dealt with.
const RESEND_AFTER_MS: std::ops::RangeInclusive<u64> = 1..=800;

/// A pause lasts this long, in virtual milliseconds: less than a lease and more.
const PAUSE_MS: std::ops::RangeInclusive<u64> = 50..=1500;

/// A role is gone for this long, in virtual milliseconds: while its commands are on their way, and after.
const REVOKED_MS: std::ops::RangeInclusive<u64> = 200..=2500;
/// A key of the identity provider's is dropped this long after the next one came, in virtual milliseconds: operators have
/// new tokens by then.
const DROP_AFTER_MS: std::ops::RangeInclusive<u64> = 1200..=2000;

/// Someone deals with a dead letter this much later than it was sent, in virtual milliseconds: before it is put aside, and
/// after.
const TRIAGE_AFTER_MS: std::ops::RangeInclusive<u64> = 10..=2500;

/// Things with their times, in virtual milliseconds since the simulation began.
pub type Timed<T> = Vec<(u64, T)>;

/// One thing that someone does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// An operator sends a command, again and again until there is an answer.
    Send(Command),
    /// An operator looks at what a command would change, and then sends it.
    TryAndSend(Command),
    /// Two operators see to a command that takes two; or one does alone.
    Pair(Paired),
    /// The same bytes once more.
    Resend(Command),
    /// Another body under the same id; `command` is what it asks for.
    ReuseId(Command),
    /// Someone inside puts a message into the broker.
    Forge(Forgery),
    /// An operator pauses a tenant, and resumes it.
    Pause(Pause),
    /// An operator deals with a dead letter that the adversary has left.
    Triage(Triage),
    /// Someone takes a role away, and gives it back.
    Revoke(Revocation),
    /// Auth makes a new key for grants.
    RotateKey,
    /// The identity provider gets a new key.
    Rotate(Rotation),
}

/// What is done with one dead letter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Triage {
    /// Who deals with it.
    pub operator: UserId,
    /// In which tenant's lane it was put aside.
    pub tenant: TenantId,
    /// Which.
    pub message_id: String,
    /// What they do.
    pub verb: Verb,
    /// Whether the model says they may.
    pub allowed: bool,
}

/// What can be done with a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// Have it wait again.
    Replay,
    /// Give it up.
    Discard,
}

impl Verb {
    /// As the API spells it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Replay => "replay",
            Self::Discard => "discard",
        }
    }
}

/// A role that is taken away for a while.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Revocation {
    /// Whose.
    pub operator: UserId,
    /// On which tenant.
    pub tenant: TenantId,
    /// For how long, in virtual milliseconds.
    pub for_ms: u64,
}

/// A pause of one tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// Who: an admin of the tenant.
    pub operator: UserId,
    /// Of which tenant.
    pub tenant: TenantId,
    /// For how long, from when it was confirmed, in virtual milliseconds.
    pub for_ms: u64,
}

/// One command of one operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// Unique over the whole run, though the system only asks for unique within a tenant.
    pub message_id: String,
    /// Who asks.
    pub operator: UserId,
    /// For which tenant.
    pub tenant: TenantId,
    /// For what.
    pub ask: Ask,
    /// Whether the model says they may.
    pub allowed: bool,
}

/// A message that skips the producer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forgery {
    /// What its body says: for the victim, in the attacker's name.
    pub command: Command,
    /// A tenant the attacker does have a role on: where the real grant comes from.
    pub own_tenant: TenantId,
    /// How it is done.
    pub trick: Trick,
}

/// The tricks of someone who can publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trick {
    /// A genuine grant for the attacker's own tenant beside a body for the victim.
    OthersGrant,
    /// A genuine grant beside another body of the same command, in the attacker's own lane: only the body's hash tells.
    SwappedBody,
    /// A grant that names the victim and a key that auth does have, signed with another: only the signature tells.
    AlienSignature,
    /// A genuine command of the attacker's own tenant in the victim's lane: the misrouted message.
    WrongLane,
    /// A secret that was sealed for another tenant or message, in a genuine command of the attacker's own tenant.
    MovedCiphertext,
    /// A genuine grant to read the attacker's own tenant beside a command for it: only what the grant is for tells.
    ReadGrant,
    /// A grant that names the victim and says that it needs no signature.
    NoAlgorithm,
    /// A body that names two tenants under one key, in the attacker's own lane, with a genuine grant for these very bytes.
    DuplicateKey,
    /// A body that spells the attacker's own tenant otherwise, with a genuine grant for these very bytes.
    LookAlike,
}

impl Forgery {
    /// The message that is published.
    #[must_use]
    pub fn published(&self) -> Command {
        let own = Command { tenant: self.own_tenant.clone(), ..self.command.clone() };
        match self.trick {
            Trick::AlienSignature | Trick::NoAlgorithm | Trick::OthersGrant => self.command.clone(),
            Trick::WrongLane | Trick::MovedCiphertext | Trick::ReadGrant | Trick::DuplicateKey | Trick::LookAlike => {
                own
            }
            Trick::SwappedBody => Command { ask: own.ask.another(), ..own },
        }
    }

    /// Whose lane it is put into.
    #[must_use]
    pub fn lane(&self) -> &TenantId {
        match self.trick {
            Trick::SwappedBody | Trick::MovedCiphertext | Trick::ReadGrant | Trick::DuplicateKey | Trick::LookAlike => {
                &self.own_tenant
            }
            Trick::OthersGrant | Trick::AlienSignature | Trick::NoAlgorithm | Trick::WrongLane => &self.command.tenant,
        }
    }
}

/// In turns. A ciphertext is only to be had where there are secrets.
const TRICKS: [Trick; 9] = [
    Trick::OthersGrant,
    Trick::SwappedBody,
    Trick::AlienSignature,
    Trick::WrongLane,
    Trick::MovedCiphertext,
    Trick::ReadGrant,
    Trick::NoAlgorithm,
    Trick::DuplicateKey,
    Trick::LookAlike,
];

/// The acts of `workload`, over `duration_ms` of virtual time.
#[must_use]
pub fn draw(dice: &Dice, workload: &Workload, cast: &Cast, duration_ms: u64) -> Timed<Act> {
    let mut acts = Vec::new();
    for index in 0..*workload.commands.get_ref() {
        let entity = index.to_string();
        let at = dice.range("workload.at", &entity, 0, 0..=duration_ms);
        let secret = dice.chance("workload.credentials", &entity, 0, *workload.credentials.get_ref());
        let billing = dice.chance("workload.billing", &entity, 0, *workload.billing.get_ref());
        let ask = match (secret, billing) {
            (true, _) => draw_secret_ask(dice, &entity),
            (false, true) => draw_billing_ask(dice, &entity),
            (false, false) => draw_ask(dice, &entity, 0),
        };
        let allowed = !dice.chance("workload.cross_tenant", &entity, 0, *workload.cross_tenant.get_ref());
        let noisy = *workload.noisy.get_ref();
        // The noisy tenant has `noisy` shares, each other one.
        let share = noisy / (noisy + *workload.tenants.get_ref() as f64 - 1.0);
        let loud = noisy > 1.0 && dice.chance("workload.noisy", &entity, 0, share);
        let among = match (noisy > 1.0, loud) {
            (false, _) => &cast.tenants[..],
            (true, true) => &cast.tenants[..1],
            (true, false) => &cast.tenants[1.min(cast.tenants.len() - 2)..],
        };
        let (operator, tenant) = draw_pair(dice, &entity, cast, among, &ask, allowed);
        let command = Command { message_id: format!("m-{index}"), operator, tenant, ask, allowed };
        let later = |stream| at + dice.range(stream, &entity, 1, RESEND_AFTER_MS);
        if dice.chance("workload.resend", &entity, 0, *workload.resend.get_ref()) {
            acts.push((later("workload.resend"), Act::Resend(command.clone())));
        }
        if allowed && dice.chance("workload.reuse_id", &entity, 0, *workload.reuse_id.get_ref()) {
            // Another amount of credit differs from whatever was asked for first.
            let other = Ask::Credit { amount_minor: 777_000 + index, currency: "EUR".into() };
            if other.allowed(cast.part(&command.operator, &command.tenant)) {
                let reuse = Command { ask: other, ..command.clone() };
                acts.push((later("workload.reuse_id"), Act::ReuseId(reuse)));
            }
        }
        // Whoever may not send it may not try it either: that is one attempt, and not two.
        let tries = allowed && dice.chance("workload.dry_runs", &entity, 0, *workload.dry_runs.get_ref());
        acts.push((at, if tries { Act::TryAndSend(command) } else { Act::Send(command) }));
    }
    let secrets = *workload.credentials.get_ref() > 0.0;
    let tricks: Vec<_> = TRICKS.into_iter().filter(|trick| secrets || *trick != Trick::MovedCiphertext).collect();
    for index in 0..*workload.forged.get_ref() {
        let entity = format!("forged-{index}");
        let at = dice.range("workload.at", &entity, 0, 0..=duration_ms);
        let trick = tricks[index as usize % tricks.len()];
        let ask = match trick {
            Trick::MovedCiphertext => Ask::Store { credential: "stripe".into(), secret: "-".into() },
            _ => draw_ask(dice, &entity, 0),
        };
        let (operator, victim) = draw_pair(dice, &entity, cast, &cast.tenants, &ask, false);
        let own = cast.tenants.iter().filter(|tenant| ask.allowed(cast.part(&operator, tenant)));
        // The attacker needs a grant to start from; an operator who may do this nowhere has none.
        let own: Vec<_> = own.cloned().collect();
        if own.is_empty() {
            continue;
        }
        let chosen = dice.range("workload.own_tenant", &entity, 0, 0..=own.len() as u64 - 1) as usize;
        let own_tenant = own[chosen].clone();
        let command = Command { message_id: format!("f-{index}"), operator, tenant: victim, ask, allowed: false };
        let forgery = Forgery { command, own_tenant, trick };
        if trick != Trick::MovedCiphertext {
            draw_triage(dice, &entity, workload, cast, &forgery, at, &mut acts);
        }
        acts.push((at, Act::Forge(forgery)));
    }
    for index in 0..*workload.pauses.get_ref() {
        let entity = format!("pause-{index}");
        let at = dice.range("workload.at", &entity, 0, 0..=duration_ms);
        // Every tenant but the last has an admin.
        let chosen = dice.range("workload.paused", &entity, 0, 0..=cast.tenants.len() as u64 - 2) as usize;
        let tenant = cast.tenants[chosen].clone();
        let operator = first_admin(cast, &tenant).expect("every tenant but the last has an admin").clone();
        acts.push((
            at,
            Act::Pause(Pause { operator, tenant, for_ms: dice.range("workload.pause", &entity, 0, PAUSE_MS) }),
        ));
    }
    for index in 0..*workload.revocations.get_ref() {
        let entity = format!("revocation-{index}");
        let held = cast.roles.iter().flat_map(|(operator, on)| on.keys().map(move |tenant| (operator, tenant)));
        // Whoever pauses must be able to resume.
        let pauses = *workload.pauses.get_ref() > 0;
        let held: Vec<_> =
            held.filter(|(operator, tenant)| !pauses || first_admin(cast, tenant) != Some(*operator)).collect();
        if held.is_empty() {
            break;
        }
        let chosen = dice.range("workload.revoked", &entity, 0, 0..=held.len() as u64 - 1) as usize;
        let (operator, tenant) = (held[chosen].0.clone(), held[chosen].1.clone());
        let for_ms = dice.range("workload.revocation", &entity, 0, REVOKED_MS);
        let at = dice.range("workload.at", &entity, 0, 0..=duration_ms.saturating_sub(for_ms));
        acts.push((at, Act::Revoke(Revocation { operator, tenant, for_ms })));
    }
    for index in 0..*workload.key_rotations.get_ref() {
        let at = dice.range("workload.at", &format!("key-rotation-{index}"), 0, 0..=duration_ms);
        acts.push((at, Act::RotateKey));
    }
    let rotations = *workload.identity_rotations.get_ref();
    for index in 0..rotations {
        let entity = format!("rotation-{index}");
        // Each within its share of the time: keys come one after another.
        let share = duration_ms / rotations;
        let at = index * share + dice.range("workload.at", &entity, 0, 0..=share);
        let drop_after_ms = dice.range("workload.drop_after", &entity, 0, DROP_AFTER_MS);
        acts.push((at, Act::Rotate(Rotation { drop_after_ms })));
    }
    approvers::pair(dice, cast, *workload.approvals.get_ref(), &mut acts);
    acts
}

/// Who pauses `tenant`.
fn first_admin<'a>(cast: &'a Cast, tenant: &TenantId) -> Option<&'a UserId> {
    cast.operators.iter().find(|operator| cast.part(operator, tenant) == Some(Part::Admin))
}

/// What becomes of the dead letter that `forgery` leaves: an admin of its lane deals with it, sometimes two at once, and
/// sometimes someone else tries first.
fn draw_triage(
    dice: &Dice,
    entity: &str,
    workload: &Workload,
    cast: &Cast,
    forgery: &Forgery,
    at: u64,
    acts: &mut Timed<Act>,
) {
    if !dice.chance("workload.triage", entity, 0, *workload.triage.get_ref()) {
        return;
    }
    let (tenant, message_id) = (forgery.lane(), &forgery.command.message_id);
    let (may, may_not): (Vec<_>, Vec<_>) =
        cast.operators.iter().partition(|operator| cast.part(operator, tenant) == Some(Part::Admin));
    let mut deal = |among: &[&UserId], allowed, counter| {
        let Some(last) = (among.len() as u64).checked_sub(1) else { return };
        let operator = among[dice.range("workload.triage_by", entity, counter, 0..=last) as usize].clone();
        let replay = dice.chance("workload.triage_verb", entity, counter, 0.7);
        let verb = if replay { Verb::Replay } else { Verb::Discard };
        let later = dice.range("workload.triage_at", entity, counter, TRIAGE_AFTER_MS);
        let (tenant, message_id) = (tenant.clone(), message_id.clone());
        acts.push((at + later, Act::Triage(Triage { operator, tenant, message_id, verb, allowed })));
    };
    if may.is_empty() {
        return;
    }
    deal(&may, true, 0);
    if dice.chance("workload.triage_twice", entity, 0, 0.3) {
        deal(&may, true, 1);
    }
    if dice.chance("workload.triage_refused", entity, 0, 0.3) {
        deal(&may_not, false, 2);
    }
}

fn draw_ask(dice: &Dice, entity: &str, counter: u64) -> Ask {
    let number = |stream, max| dice.range(stream, entity, counter, 0..=max);
    let entitlement = || ["sso", "audit-export", "api"][number("workload.entitlement", 2) as usize].to_owned();
    match number("workload.action", 9) {
        0..=3 => Ask::UpdateLimit {
            limit_type: ["api_requests", "seats"][number("workload.limit", 1) as usize].to_owned(),
            new_limit: 1 + number("workload.new_limit", 999_999),
            // Often wrong, sometimes right: what counts is that system and model agree on which.
            expected_version: (number("workload.expects", 3) == 0).then(|| number("workload.expected", 3)),
        },
        4..=5 => Ask::Grant { entitlement: entitlement() },
        6 => Ask::Revoke { entitlement: entitlement() },
        _ => Ask::Credit {
            amount_minor: 1 + number("workload.amount", 99_999),
            currency: ["EUR", "USD"][number("workload.currency", 1) as usize].to_owned(),
        },
    }
}

/// Plans, suspensions and their ends, and limits around the edges of their guardrails.
fn draw_billing_ask(dice: &Dice, entity: &str) -> Ask {
    let number = |stream, max| dice.range(stream, entity, 0, 0..=max);
    match number("workload.billing_action", 9) {
        0..=2 => Ask::ChangePlan {
            plan: ["free", "team", "business", "gold"][number("workload.plan", 3) as usize].to_owned(),
        },
        3 => Ask::Suspend,
        4..=5 => Ask::Resume,
        6..=7 => Ask::UpdateLimit {
            limit_type: "seats".into(),
            new_limit: [0, 1, 5, 6, 500, 501, 1_000_000, 1_000_001][number("workload.seats", 7) as usize],
            expected_version: None,
        },
        _ => Ask::Spend {
            new_limit: [0, 100, 12_345, 1_000_000_000, 1_000_000_100][number("workload.spend", 4) as usize],
            currency: ["EUR", "EUR", "EUR", "USD"][number("workload.spend_currency", 3) as usize].to_owned(),
        },
    }
}

/// Mostly secrets, each with the run's canary; now and then a rotation, and seldom an erasure.
fn draw_secret_ask(dice: &Dice, entity: &str) -> Ask {
    let number = |stream, max| dice.range(stream, entity, 0, 0..=max);
    match number("workload.secret_action", 11) {
        0..=1 => Ask::Rotate,
        2 => Ask::Erase,
        _ => Ask::Store {
            credential: ["stripe", "smtp", "s3"][number("workload.credential", 2) as usize].to_owned(),
            // With what JSON must escape, and what is no ASCII.
            secret: format!("{}-{entity} \"\\ \u{e9}", super::canary::prefix(dice)),
        },
    }
}

/// An operator and one of the tenants `among` for which the model says that `ask` is, or is not, allowed.
fn draw_pair(
    dice: &Dice,
    entity: &str,
    cast: &Cast,
    among: &[TenantId],
    ask: &Ask,
    allowed: bool,
) -> (UserId, TenantId) {
    let pairs = cast.operators.iter().flat_map(|operator| among.iter().map(move |tenant| (operator, tenant)));
    let fitting: Vec<_> =
        pairs.filter(|(operator, tenant)| ask.allowed(cast.part(operator, tenant)) == allowed).collect();
    let Some(last) = (fitting.len() as u64).checked_sub(1) else {
        // Everyone may do this there. Somewhere nobody may: the last tenant has no operator at all.
        return draw_pair(dice, entity, cast, &cast.tenants, ask, allowed);
    };
    let (operator, tenant) = fitting[dice.range("workload.pair", entity, 0, 0..=last) as usize];
    (operator.clone(), tenant.clone())
}

impl Command {
    /// The message's bytes: the panel's JSON.
    #[must_use]
    pub fn body(&self) -> String {
        let (action, payload) = self.ask.wire();
        // Fixed: the system only asks that it is no instant of the future.
        let message = serde_json::json!({
            "tenant_id": self.tenant, "user_id": self.operator, "action": action, "payload": payload,
            "message_id": self.message_id, "timestamp": "2025-12-31T23:59:59Z",
        });
        message.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workload(commands: u64) -> Workload {
        toml::from_str(&format!("commands = {commands}\ncross_tenant = 0.3\nresend = 0.3\nforged = 8")).unwrap()
    }

    #[test]
    fn fewer_commands_leave_the_others_as_they_were() {
        let dice = Dice::new(7);
        let cast = Cast::draw(&dice, 4, 3);
        let all = draw(&dice, &workload(50), &cast, 1000);
        let fewer = draw(&dice, &workload(20), &cast, 1000);
        assert!(fewer.iter().all(|act| all.contains(act)));
    }

    #[test]
    fn a_noisy_tenant_on_which_everyone_may_do_everything_leaves_the_forbidden_to_others() {
        let text = "commands = 200\ntenants = 2\nnoisy = 50.0\ncross_tenant = 0.5";
        let workload: Workload = toml::from_str(text).unwrap();
        for seed in 0..50 {
            let dice = Dice::new(seed);
            assert_eq!(draw(&dice, &workload, &Cast::draw(&dice, 2, 2), 1000).len(), 200);
        }
    }

    #[test]
    fn what_is_not_allowed_is_so_by_the_cast() {
        for seed in 0..20 {
            let dice = Dice::new(seed);
            let cast = Cast::draw(&dice, 4, 3);
            for (_, act) in draw(&dice, &workload(50), &cast, 1000) {
                let (Act::Send(command) | Act::TryAndSend(command) | Act::Resend(command) | Act::ReuseId(command)) =
                    act
                else {
                    continue;
                };
                assert_eq!(command.allowed, command.ask.allowed(cast.part(&command.operator, &command.tenant)));
            }
        }
    }
}
