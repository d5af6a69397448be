//! Dead letters: messages that were put aside, and what operators do with them.
//!
//! A letter ends in one of two ways, each in one transaction. It is *replayed*: it leaves its table and waits again at the
//! end of its tenant's order, with the same id, the same bytes and a new grant, of whoever replays it. The silences that
//! count against it begin anew; its deliveries count on, for the audit log tells them by their number. Or it is *discarded*:
//! a small tombstone stays for good, so that its id stands for no other body, ever.
//!
//! Both name the letter they mean by its place: what was replayed and has died again is another letter, and a request that
//! was held up on its way does nothing to it.

use std::collections::BTreeMap;
use std::ops::Bound;

use redb::{ReadableTable, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};

use super::lane::Queued;
use super::recent::{Known, Recent, key};
use super::{Attempt, Position, Standing};
use crate::audit::{Step, StepKind};
use crate::grant::{Envelope, GrantToken};
use crate::ids::{MessageId, TenantId, UserId};
use crate::message::{BodyHash, body_sha256};
use crate::rights::Role;
use crate::store::{decode, encode, read_id};

/// (tenant, message id) -> [`DeadLetter`].
pub(super) const DEAD_LETTERS: TableDefinition<(&str, &str), &[u8]> = TableDefinition::new("dead_letters");
/// (tenant, message id) -> [`Tombstone`].
const DISCARDED: TableDefinition<(&str, &str), &[u8]> = TableDefinition::new("discarded");

/// The most letters that one question is answered with: with the longest reasons they fit a frame.
pub const LETTERS_PAGE_MAX: usize = 100;

/// A message that was put aside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Its place in the order.
    pub position: Position,
    /// What was published.
    pub envelope: Envelope,
    /// Why it was put aside.
    pub reason: String,
    /// When, in milliseconds since the Unix epoch, by the broker's clock.
    pub at_unix_ms: i64,
    /// How often it was delivered, the last time included.
    pub deliveries: u32,
    /// The deliveries before the last, the latest of them, since it was published or replayed.
    pub attempts: Vec<Attempt>,
}

/// What a list shows of a dead letter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LetterSummary {
    /// Its place in the order.
    pub position: Position,
    /// Under which name it was published.
    pub message_id: MessageId,
    /// In whose name, as its body says.
    pub user: Option<UserId>,
    /// What for, as its body says.
    pub action: Option<String>,
    /// SHA-256 of its body.
    pub body_sha256: BodyHash,
    /// Why it was put aside.
    pub reason: String,
    /// When, in milliseconds since the Unix epoch, by the broker's clock.
    pub at_unix_ms: i64,
    /// How often it was delivered.
    pub deliveries: u32,
}

/// What someone decides about one dead letter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Triage {
    /// Who.
    pub by: UserId,
    /// Why.
    pub reason: String,
    /// Which: the place of the letter that they looked at.
    pub sequence: u64,
    /// SHA-256 of its body.
    pub body_sha256: BodyHash,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Triaged {
    /// Done, and durable.
    Done {
        /// The place in the order: its new one if it was replayed, the one it had if it was discarded.
        sequence: u64,
    },
    /// There is no such letter, or no longer; nothing changed. The message of this id stands so, if there is one. That it is
    /// dead lettered means: another letter than was meant.
    Stands(Option<Standing>),
    /// The tenant's lane is full: nothing changed, try again later.
    Overloaded {
        /// When to try again, in milliseconds.
        retry_after_ms: u64,
    },
}

/// What stays of a discarded letter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tombstone {
    pub(super) sequence: u64,
    pub(super) body_hash: BodyHash,
    pub(super) at_unix_ms: i64,
    pub(super) by: UserId,
    pub(super) reason: String,
}

impl Tombstone {
    pub(super) fn standing(&self) -> Standing {
        Standing::Discarded { reason: self.reason.clone() }
    }
}

/// A message, as tables name it.
pub(super) type Name = (TenantId, MessageId);

/// What there is on disk under a name.
#[derive(Debug)]
enum Kept {
    Letter(Box<DeadLetter>),
    Discarded(Tombstone),
    /// It is a letter no longer, once the commit under way is durable.
    Replayed,
}

/// The dead letters that a batch names, and what it makes of them.
#[derive(Debug, Default)]
pub(super) struct Letters {
    found: BTreeMap<Name, Kept>,
    put_aside: Vec<(Name, DeadLetter)>,
    /// Those that are gone, and what stays of them.
    ended: Vec<(Name, Option<Tombstone>)>,
}

impl DeadLetter {
    /// Whether it is the one that was looked at.
    pub(super) fn is_meant(&self, triage: &Triage) -> bool {
        self.position.sequence == triage.sequence && body_sha256(&self.envelope.body) == triage.body_sha256
    }

    /// The message that waits again at this place, under `grant`, from `unix_ms` on. Its trace goes on.
    pub(super) fn replayed(&self, (tenant, id): &Name, grant: GrantToken, sequence: u64, unix_ms: i64) -> Queued {
        let hash = body_sha256(&self.envelope.body);
        let envelope = Envelope { grant, ..self.envelope.clone() };
        let mut message = Queued::new(key(tenant, id), hash, id.clone(), unix_ms, envelope);
        message.sequence = sequence;
        message.restore((self.deliveries, Vec::new()));
        message
    }

    /// What it takes, roughly.
    pub(super) fn bytes(&self) -> usize {
        self.envelope.body.len() + self.envelope.grant.len()
    }

    fn summary(self, message_id: MessageId) -> LetterSummary {
        let body_sha256 = body_sha256(&self.envelope.body);
        let (user, action) = Queued::named(&self.envelope.body);
        let Self { position, reason, at_unix_ms, deliveries, .. } = self;
        let action = action.map(str::to_owned);
        LetterSummary { position, message_id, user, action, body_sha256, reason, at_unix_ms, deliveries }
    }
}

impl Triage {
    /// That it was done to the message of this name; `number` is its place.
    pub(super) fn step(
        &self,
        (tenant, message_id): &Name,
        kind: StepKind,
        number: u64,
        action: Option<&'static str>,
    ) -> Step {
        Step {
            tenant: Some(tenant.clone()),
            user: Some(self.by.clone()),
            action: action.map(str::to_owned),
            message_id: Some(message_id.clone()),
            body_sha256: Some(self.body_sha256),
            detail: self.reason.clone(),
            ..Step::new(0, Role::Broker, kind, number)
        }
    }

    /// What stays of the letter that it is about.
    pub(super) fn tombstone(&self, at_unix_ms: i64) -> Tombstone {
        let Self { by, reason, sequence, body_sha256 } = self.clone();
        Tombstone { sequence, body_hash: body_sha256, at_unix_ms, by, reason }
    }
}

impl Letters {
    /// What is kept under each of `names`.
    pub(super) fn find<'n>(
        within: &WriteTransaction,
        names: impl Iterator<Item = &'n Name>,
    ) -> Result<Self, redb::Error> {
        let (mut names, mut letters) = (names.peekable(), Self::default());
        if names.peek().is_none() {
            return Ok(letters);
        }
        let (kept, stones) = (within.open_table(DEAD_LETTERS)?, within.open_table(DISCARDED)?);
        for name in names {
            let row = (name.0.as_str(), name.1.as_str());
            let found = match kept.get(row)? {
                Some(letter) => Some(Kept::Letter(decode(letter.value())?)),
                None => stones.get(row)?.map(|stone| decode(stone.value())).transpose()?.map(Kept::Discarded),
            };
            letters.found.extend(found.map(|found| (name.clone(), found)));
        }
        Ok(letters)
    }

    /// The letter of this name, if it is the one that was looked at.
    pub(super) fn meant(&self, name: &Name, triage: &Triage) -> Option<DeadLetter> {
        match self.found.get(name)? {
            Kept::Letter(letter) if letter.is_meant(triage) => Some((**letter).clone()),
            _ => None,
        }
    }

    /// What became of the message of this name, as far as the tables tell; of one that was replayed or put aside just now
    /// they don't.
    pub(super) fn standing(&self, name: &Name) -> Option<Standing> {
        Some(match self.found.get(name)? {
            Kept::Letter(letter) => Standing::DeadLettered { reason: letter.reason.clone() },
            Kept::Discarded(stone) => stone.standing(),
            Kept::Replayed => Standing::Pending,
        })
    }

    /// A message is put aside.
    pub(super) fn put_aside(&mut self, name: Name, letter: DeadLetter) {
        self.put_aside.push((name, letter));
    }

    /// A letter was replayed, or discarded and this stays of it.
    pub(super) fn end(&mut self, name: Name, stone: Option<Tombstone>) {
        let kept = stone.clone().map_or(Kept::Replayed, Kept::Discarded);
        self.found.insert(name.clone(), kept);
        self.ended.push((name, stone));
    }

    /// Writes what became of them.
    pub(super) fn write(&self, within: &WriteTransaction) -> Result<(), redb::Error> {
        if self.put_aside.is_empty() && self.ended.is_empty() {
            return Ok(());
        }
        let (mut letters, mut stones) = (within.open_table(DEAD_LETTERS)?, within.open_table(DISCARDED)?);
        for ((tenant, message_id), stone) in &self.ended {
            let row = (tenant.as_str(), message_id.as_str());
            letters.remove(row)?;
            if let Some(stone) = stone {
                stones.insert(row, encode(stone).as_slice())?;
            }
        }
        for ((tenant, message_id), letter) in &self.put_aside {
            letters.insert((tenant.as_str(), message_id.as_str()), encode(letter).as_slice())?;
        }
        Ok(())
    }
}

/// Opens the tables, has `recent` know whatever is in them, and returns how many bytes the letters have.
pub(super) fn load(within: &WriteTransaction, recent: &mut Recent) -> Result<usize, redb::Error> {
    let mut bytes = 0;
    for row in within.open_table(DEAD_LETTERS)?.iter()? {
        let (name, letter) = row?;
        bytes += letter.value().len();
        let letter: DeadLetter = decode(letter.value())?;
        let known = Known { sequence: letter.position.sequence, body_hash: body_sha256(&letter.envelope.body) };
        let (tenant, message_id) = read_name(name.value())?;
        recent.insert(key(&tenant, &message_id), known);
    }
    for row in within.open_table(DISCARDED)?.iter()? {
        let (name, stone) = row?;
        let Tombstone { sequence, body_hash, .. } = decode(stone.value())?;
        let (tenant, message_id) = read_name(name.value())?;
        recent.insert(key(&tenant, &message_id), Known { sequence, body_hash });
    }
    Ok(bytes)
}

/// One letter.
pub(super) fn one(
    read: &redb::ReadTransaction,
    tenant: &TenantId,
    message_id: &MessageId,
) -> Result<Option<DeadLetter>, redb::Error> {
    let row = read.open_table(DEAD_LETTERS)?.get((tenant.as_str(), message_id.as_str()))?;
    row.map(|row| decode(row.value())).transpose()
}

/// What stays of one that was discarded.
pub(super) fn tombstone(
    read: &redb::ReadTransaction,
    tenant: &TenantId,
    message_id: &MessageId,
) -> Result<Option<Tombstone>, redb::Error> {
    let row = read.open_table(DISCARDED)?.get((tenant.as_str(), message_id.as_str()))?;
    row.map(|row| decode(row.value())).transpose()
}

/// Letters of `tenant`, by their ids, from the first after `after`: at most `max`, at most [`LETTERS_PAGE_MAX`].
pub(super) fn page(
    read: &redb::ReadTransaction,
    tenant: &TenantId,
    after: Option<&MessageId>,
    max: usize,
) -> Result<Vec<LetterSummary>, redb::Error> {
    let table = read.open_table(DEAD_LETTERS)?;
    // No id is empty: the first of the tenant comes after that.
    let from = (tenant.as_str(), after.map_or("", |id| id.as_str()));
    let mut page = Vec::new();
    for row in table.range::<(&str, &str)>((Bound::Excluded(from), Bound::Unbounded))? {
        let (name, letter) = row?;
        let (of, message_id) = name.value();
        if of != tenant.as_str() || page.len() == max.min(LETTERS_PAGE_MAX) {
            break;
        }
        let letter: DeadLetter = decode(letter.value())?;
        page.push(letter.summary(read_id(MessageId::parse, message_id)?));
    }
    Ok(page)
}

/// Every name in a table of letters.
pub(super) fn every_name(read: &redb::ReadTransaction, discarded: bool) -> Result<Vec<Name>, redb::Error> {
    let table = read.open_table(if discarded { DISCARDED } else { DEAD_LETTERS })?;
    let mut names = Vec::new();
    for row in table.iter()? {
        names.push(read_name(row?.0.value())?);
    }
    Ok(names)
}

fn read_name((tenant, message_id): (&str, &str)) -> Result<Name, redb::Error> {
    Ok((read_id(TenantId::parse, tenant)?, read_id(MessageId::parse, message_id)?))
}
