//! Four eyes: where the plan says so, credit takes a second person's approval. Operators ask, another approves exactly that
//! message, and it is sent; and some send without, or what was not approved, or approve alone.

use std::collections::BTreeMap;
use std::time::Duration;

use hyper::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tenantry_system::ids::{TenantId, UserId};
use tenantry_system::message::{BodyHash, body_sha256};
use tokio::time::sleep;

use super::cast::{Cast, Part};
use super::evidence::Revocations;
use super::marks;
use super::model::Ask;
use super::operators::{HOST, Operators};
use super::workload::{Act, Command, Timed};
use crate::engine::dice::Dice;

/// What auth goes by beside its other policies.
pub const TAKES_TWO: &str = r#"
@id("credit-takes-two")
forbid (principal, action == Action::"issue_credit", resource)
unless { context has approval && context.approval.by != principal };
"#;

/// Someone reads for this long before they approve, in virtual milliseconds.
const READ_MS: std::ops::RangeInclusive<u64> = 1..=600;

/// And this much later it is sent.
const SEND_AFTER_MS: std::ops::RangeInclusive<u64> = 0..=900;

/// The pause before someone asks again whose role is gone for a while.
const AGAIN: Duration = Duration::from_millis(250);

/// A command that takes two.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paired {
    /// As it is sent; allowed only if it was approved.
    pub command: Command,
    /// How they go about it.
    pub way: Way,
    /// The second person, where there is one.
    pub approver: Option<UserId>,
    /// How long that one reads, in virtual milliseconds.
    pub read_ms: u64,
    /// How much later it is sent, in virtual milliseconds.
    pub send_after_ms: u64,
}

/// The ways of someone who needs another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// Asked for, approved, sent.
    Approved,
    /// Sent without asking.
    Unasked,
    /// Asked for; sent, though nobody has approved it.
    Unanswered,
    /// Another message is sent than the one that was approved.
    Edited,
    /// Approved by whoever asked.
    Alone,
    /// Approved and withdrawn, and sent all the same.
    Withdrawn,
}

/// Those that must be refused; the first of them take no second person.
const WRONG: [Way; 5] = [Way::Unasked, Way::Unanswered, Way::Alone, Way::Edited, Way::Withdrawn];

/// What was seen of commands that take two.
#[derive(Debug, Default)]
pub struct FourEyes {
    /// All of them, by message id: the plan's.
    pub planned: BTreeMap<String, Paired>,
    /// What was approved under an id: the message, and when the approver began to say so.
    pub given: BTreeMap<String, (BodyHash, Duration)>,
    /// From when to when each was being sent.
    pub sent: BTreeMap<String, (Duration, Duration)>,
    /// The body of each that took effect, and when.
    pub effects: BTreeMap<String, (BodyHash, Duration)>,
    /// What was answered otherwise than it must be, and effects without the authority of whoever approved.
    pub violations: Vec<String>,
}

impl FourEyes {
    /// Who approves what is sent under `id`.
    #[must_use]
    pub fn approver(&self, id: &str) -> Option<&UserId> {
        self.planned.get(id)?.approver.as_ref()
    }

    /// A command took effect, on a decision of `revision`.
    pub fn applied(
        &mut self,
        revocations: &Revocations,
        (tenant, id): (&TenantId, &str),
        body: BodyHash,
        at: Duration,
        revision: u64,
    ) {
        let Some(paired) = self.planned.get(id) else { return };
        self.effects.insert(id.to_owned(), (body, at));
        let lacking = paired.approver.as_ref().and_then(|by| revocations.lacking(by, tenant, at, revision));
        self.violations.extend(lacking.map(|what| format!("{id}, by its approver: {what}")));
    }
}

/// Has the commands among `acts` that give credit take two; of those that may, `share` do so properly. What is sent once
/// more would be another story: of them nothing is.
pub fn pair(dice: &Dice, cast: &Cast, share: f64, acts: &mut Timed<Act>) {
    if share == 0.0 {
        return;
    }
    let takes_two = |command: &Command| command.allowed && matches!(command.ask, Ask::Credit { .. });
    acts.retain(|(_, act)| !matches!(act, Act::Resend(command) if takes_two(command)));
    for (_, act) in acts {
        if let Act::Send(command) | Act::TryAndSend(command) = act
            && takes_two(command)
        {
            *act = Act::Pair(draw(dice, cast, share, command.clone()));
        }
    }
}

fn draw(dice: &Dice, cast: &Cast, share: f64, mut command: Command) -> Paired {
    let entity = command.message_id.clone();
    let number = |stream, range| dice.range(stream, &entity, 0, range);
    let admin = |by: &&UserId| **by != command.operator && cast.part(by, &command.tenant) == Some(Part::Admin);
    let others: Vec<_> = cast.operators.iter().filter(admin).collect();
    let chosen = others.len().checked_sub(1).map(|last| number("approvers.by", 0..=last as u64) as usize);
    let approver = chosen.map(|chosen| others[chosen].clone());
    let wrong = if approver.is_some() { &WRONG[..] } else { &WRONG[..3] };
    let way = match approver.is_some() && dice.chance("approvers.right", &entity, 0, share) {
        true => Way::Approved,
        false => wrong[number("approvers.way", 0..=wrong.len() as u64 - 1) as usize],
    };
    command.allowed = way == Way::Approved;
    let (read_ms, send_after_ms) = (number("approvers.read", READ_MS), number("approvers.send_after", SEND_AFTER_MS));
    Paired { command, way, approver, read_ms, send_after_ms }
}

impl Operators {
    /// Does what the plan says of a command that takes two.
    pub(super) async fn in_pairs(&self, paired: &Paired) {
        let Paired { command, way, approver, read_ms, send_after_ms } = paired;
        let asked = match way {
            Way::Edited => Command { ask: command.ask.another(), ..command.clone() },
            _ => command.clone(),
        };
        if *way != Way::Unasked {
            let path = "/v1/approvals?reason=asked%20for%20in%20a%20simulation";
            let open = self.until(path, &command.operator, &asked.body(), 201).await;
            sleep(Duration::from_millis(*read_ms)).await;
            let path = format!("/v1/approvals/{}", open["number"]);
            let by = if *way == Way::Alone { Some(&command.operator) } else { approver.as_ref() };
            if let Some(by) = by.filter(|_| *way != Way::Unanswered) {
                self.approve(&path, by, &asked, *way).await;
            }
            if *way == Way::Withdrawn {
                self.until(&format!("{path}/withdraw"), &command.operator, "", 200).await;
            }
        }
        sleep(Duration::from_millis(*send_after_ms)).await;
        let begun = super::world::now();
        self.send(command, begun).await;
        let ended = super::world::now();
        self.evidence.seen().four_eyes.sent.insert(command.message_id.clone(), (begun, ended));
        self.evidence.mark(match way {
            Way::Approved => marks::APPROVED,
            _ => marks::NOT_APPROVED,
        });
    }

    /// `by` approves the message `asked` for, which they know: not the hash they are shown, but that of what they read.
    async fn approve(&self, path: &str, by: &UserId, asked: &Command, way: Way) {
        let hash = body_sha256(asked.body().as_bytes());
        let (path, read) = (format!("{path}/approve"), json!({ "body_sha256": hex::encode(hash) }).to_string());
        if way == Way::Alone {
            let answer = self.request(Method::POST, &path, by, &read, |_| {}).await;
            if answer.status != 403 {
                let what = format!("{by} approved their own {}: {}", asked.message_id, answer.status);
                self.evidence.seen().four_eyes.violations.push(what);
            }
            return;
        }
        let begun = super::world::now();
        self.until(&path, by, &read, 200).await;
        self.evidence.seen().four_eyes.given.insert(asked.message_id.clone(), (hash, begun));
    }

    /// Asks until it is answered `right`: whoever may not just now may later. Anything else the system owes an explanation for.
    async fn until(&self, path: &str, by: &UserId, body: &str, right: u16) -> serde_json::Value {
        loop {
            let answer = self.request(Method::POST, path, by, body, |_| {}).await;
            self.evidence.record(HOST, "api.approval", &format!("{path} by {by}: {} {}", answer.status, answer.body));
            match answer.status.as_u16() {
                status if status == right => return answer.body,
                // The answer to the first time was lost: of one's own, nothing but its end can be unknown.
                403 if path.ends_with("/withdraw") => return answer.body,
                403 => sleep(AGAIN).await,
                status => panic!("{path} by {by} was answered {status}: {}", answer.body),
            }
        }
    }
}
