//! Tenants' rows, and the only way to reach them: through a scope.
//!
//! Every table's key begins with the tenant, as a component of its own: redb compares components by length and bytes, so
//! no tenant's keys are ever a prefix of another's. [`Tables`] opens them once per commit; [`Tables::tenant`] narrows
//! them to the one tenant of a verified scope, and what it returns can't name another.

use std::collections::BTreeMap;

use redb::{ReadTransaction, ReadableTable, Table, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{Outcome, PauseGeneration, TenantState};
use crate::action::{Change, Currency, TenantView};
use crate::broker::Position;
use crate::grant::TenantScope;
use crate::ids::{MessageId, Name, TenantId};
use crate::message::BodyHash;
use crate::store::{decode, encode, read_id};

/// (tenant, limit type) -> (value, the tenant's version at which it was set).
const LIMITS: TableDefinition<(&str, &str), (u64, u64)> = TableDefinition::new("limits");
/// (tenant, entitlement) -> held.
const ENTITLEMENTS: TableDefinition<(&str, &str), ()> = TableDefinition::new("entitlements");
/// (tenant, currency) -> minor units.
const CREDITS: TableDefinition<(&str, &str), u64> = TableDefinition::new("credits");
/// (tenant, message id) -> [`Recorded`]. Never forgotten: a message can come again as long as anyone keeps it.
const OUTCOMES: TableDefinition<(&str, &str), &[u8]> = TableDefinition::new("outcomes");
/// tenant -> how many outcomes it has, the place of the latest (epoch, sequence), the generation of its pauses.
const HEADS: TableDefinition<&str, (u64, u64, u64, u64)> = TableDefinition::new("heads");

/// An outcome, and the body it is the outcome of.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Recorded {
    pub(super) body_hash: BodyHash,
    pub(super) outcome: Outcome,
}

/// All tenants' tables, open for one commit.
pub(super) struct Tables<'t> {
    limits: Table<'t, (&'static str, &'static str), (u64, u64)>,
    entitlements: Table<'t, (&'static str, &'static str), ()>,
    credits: Table<'t, (&'static str, &'static str), u64>,
    outcomes: Table<'t, (&'static str, &'static str), &'static [u8]>,
    heads: Table<'t, &'static str, (u64, u64, u64, u64)>,
}

impl<'t> Tables<'t> {
    pub(super) fn open(within: &'t WriteTransaction) -> Result<Self, redb::Error> {
        Ok(Self {
            limits: within.open_table(LIMITS)?,
            entitlements: within.open_table(ENTITLEMENTS)?,
            credits: within.open_table(CREDITS)?,
            outcomes: within.open_table(OUTCOMES)?,
            heads: within.open_table(HEADS)?,
        })
    }

    /// The transaction of one tenant: the one that `scope` was verified for.
    pub(super) fn tenant<'a>(&'a mut self, scope: &'a TenantScope) -> Result<TenantTransaction<'a, 't>, redb::Error> {
        let tenant = scope.tenant().as_str();
        let head = self.heads.get(tenant)?.map_or_else(Head::default, |head| Head::from(head.value()));
        Ok(TenantTransaction { tables: self, tenant, head })
    }
}

/// Where a tenant's history stands.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Head {
    /// How many commands had an outcome.
    pub(super) version: u64,
    /// The place of the latest of them in the broker's order.
    pub(super) position: Position,
    /// Whether nothing may take effect.
    pub(super) pause: PauseGeneration,
}

impl From<(u64, u64, u64, u64)> for Head {
    fn from((version, epoch, sequence, pause): (u64, u64, u64, u64)) -> Self {
        Self { version, position: Position { epoch, sequence }, pause: PauseGeneration(pause) }
    }
}

/// One tenant's rows, to read and to write.
pub(super) struct TenantTransaction<'a, 't> {
    tables: &'a mut Tables<'t>,
    tenant: &'a str,
    /// Written back by [`TenantTransaction::keep_head`].
    pub(super) head: Head,
}

impl TenantTransaction<'_, '_> {
    pub(super) fn recorded(&self, message_id: &MessageId) -> Result<Option<Recorded>, redb::Error> {
        let row = self.tables.outcomes.get((self.tenant, message_id.as_str()))?;
        row.map(|row| decode(row.value())).transpose()
    }

    /// Makes a change of the command that is the tenant's number `version`.
    pub(super) fn make(&mut self, change: &Change, version: u64) -> Result<(), redb::Error> {
        match change {
            Change::SetLimit { limit_type, value } => {
                self.tables.limits.insert((self.tenant, limit_type.as_str()), (*value, version))?;
            }
            Change::GrantEntitlement { entitlement } => {
                self.tables.entitlements.insert((self.tenant, entitlement.as_str()), ())?;
            }
            Change::RevokeEntitlement { entitlement } => {
                self.tables.entitlements.remove((self.tenant, entitlement.as_str()))?;
            }
            Change::SetCredit { currency, balance_minor } => {
                self.tables.credits.insert((self.tenant, currency.as_str()), balance_minor)?;
            }
        }
        Ok(())
    }

    pub(super) fn record(&mut self, message_id: &MessageId, recorded: &Recorded) -> Result<(), redb::Error> {
        self.tables.outcomes.insert((self.tenant, message_id.as_str()), encode(recorded).as_slice())?;
        Ok(())
    }
}

impl TenantTransaction<'_, '_> {
    /// Makes the head's changes part of the transaction.
    pub(super) fn keep_head(self) -> Result<(), redb::Error> {
        let Head { version, position: Position { epoch, sequence }, pause } = self.head;
        self.tables.heads.insert(self.tenant, (version, epoch, sequence, pause.0))?;
        Ok(())
    }
}

impl TenantView for TenantTransaction<'_, '_> {
    fn limit_version(&self, limit_type: &Name) -> Result<u64, redb::Error> {
        Ok(self.tables.limits.get((self.tenant, limit_type.as_str()))?.map_or(0, |limit| limit.value().1))
    }

    fn has_entitlement(&self, entitlement: &Name) -> Result<bool, redb::Error> {
        Ok(self.tables.entitlements.get((self.tenant, entitlement.as_str()))?.is_some())
    }

    fn credit(&self, currency: &Currency) -> Result<u64, redb::Error> {
        Ok(self.tables.credits.get((self.tenant, currency.as_str()))?.map_or(0, |balance| balance.value()))
    }
}

/// The outcome of one command, as committed.
pub(super) fn outcome(
    read: &ReadTransaction,
    scope: &TenantScope,
    message_id: &MessageId,
) -> Result<Option<Outcome>, redb::Error> {
    let row = read.open_table(OUTCOMES)?.get((scope.tenant().as_str(), message_id.as_str()))?;
    Ok(row.map(|row| decode::<Recorded>(row.value())).transpose()?.map(|recorded| recorded.outcome))
}

/// The state of one tenant, as committed.
pub(super) fn state(read: &ReadTransaction, tenant: &TenantId) -> Result<TenantState, redb::Error> {
    Ok(states(read, Some(tenant))?.remove(tenant).unwrap_or_default())
}

/// The state of every tenant that has a row in any table, or of the one tenant given.
pub(super) fn states(
    read: &ReadTransaction,
    only: Option<&TenantId>,
) -> Result<BTreeMap<TenantId, TenantState>, redb::Error> {
    let (first, last) = span(only);
    let mut states: BTreeMap<TenantId, TenantState> = BTreeMap::new();
    for row in read.open_table(HEADS)?.range(first.0..=last.0)? {
        let (tenant, head) = row?;
        let state = of(&mut states, tenant.value())?;
        Head { version: state.version, pause: state.pause_generation, .. } = head.value().into();
    }
    for row in read.open_table(LIMITS)?.range(first..last)? {
        let (key, value) = row?;
        let ((tenant, limit_type), (value, version)) = (key.value(), value.value());
        let (state, limit_type) = (of(&mut states, tenant)?, read_id(Name::parse, limit_type)?);
        state.limits.insert(limit_type.clone(), value);
        state.limit_versions.insert(limit_type, version);
    }
    for row in read.open_table(ENTITLEMENTS)?.range(first..last)? {
        let (key, _) = row?;
        let (tenant, entitlement) = key.value();
        of(&mut states, tenant)?.entitlements.insert(read_id(Name::parse, entitlement)?);
    }
    for row in read.open_table(CREDITS)?.range(first..last)? {
        let (key, balance) = row?;
        let (tenant, currency) = key.value();
        of(&mut states, tenant)?.credits.insert(currency.to_owned(), balance.value());
    }
    Ok(states)
}

fn of<'s>(states: &'s mut BTreeMap<TenantId, TenantState>, tenant: &str) -> Result<&'s mut TenantState, redb::Error> {
    Ok(states.entry(read_id(TenantId::parse, tenant)?).or_default())
}

/// Every outcome of every tenant, as committed.
pub(super) fn outcomes(read: &ReadTransaction) -> Result<BTreeMap<(TenantId, MessageId), Outcome>, redb::Error> {
    let mut outcomes = BTreeMap::new();
    for row in read.open_table(OUTCOMES)?.iter()? {
        let (key, value) = row?;
        let (tenant, message_id) = key.value();
        let recorded: Recorded = decode(value.value())?;
        let key = (read_id(TenantId::parse, tenant)?, read_id(MessageId::parse, message_id)?);
        outcomes.insert(key, recorded.outcome);
    }
    Ok(outcomes)
}

/// SHA-256 over all rows of one tenant, in two parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest {
    /// Over limits, entitlements, credits and pauses: what commands are there to change.
    pub effects: [u8; 32],
    /// Over outcomes and the place reached: what any command leaves behind that is decided, were it a rejection.
    pub history: [u8; 32],
}

impl Digest {
    /// Of a tenant without any row.
    #[must_use]
    pub fn of_nothing() -> Self {
        let nothing = Sha256::new().finalize().into();
        Self { effects: nothing, history: nothing }
    }
}

/// The digest of every tenant that has a row in any table.
pub(super) fn digests(read: &ReadTransaction) -> Result<BTreeMap<TenantId, Digest>, redb::Error> {
    type Hashes = (Sha256, Sha256);
    let mut hashes: BTreeMap<String, Hashes> = BTreeMap::new();
    let of = |hashes: &'_ mut BTreeMap<String, Hashes>, tenant: &str, effects: bool, row: &[u8]| {
        let (of_effects, of_history) = hashes.entry(tenant.to_owned()).or_default();
        let hash = if effects { of_effects } else { of_history };
        // With its length before it, no row can pass for two.
        hash.update((row.len() as u64).to_le_bytes());
        hash.update(row);
    };
    for row in read.open_table(LIMITS)?.iter()? {
        let (key, value) = row?;
        let (tenant, name) = key.value();
        of(&mut hashes, tenant, true, &encode(&("limit", name, value.value())));
    }
    for row in read.open_table(ENTITLEMENTS)?.iter()? {
        let (key, _) = row?;
        let (tenant, name) = key.value();
        of(&mut hashes, tenant, true, &encode(&("entitlement", name)));
    }
    for row in read.open_table(CREDITS)?.iter()? {
        let (key, value) = row?;
        let (tenant, currency) = key.value();
        of(&mut hashes, tenant, true, &encode(&("credit", currency, value.value())));
    }
    for row in read.open_table(HEADS)?.iter()? {
        let (tenant, head) = row?;
        let (version, epoch, sequence, pause) = head.value();
        of(&mut hashes, tenant.value(), true, &encode(&("pause", pause)));
        of(&mut hashes, tenant.value(), false, &encode(&(version, epoch, sequence)));
    }
    for row in read.open_table(OUTCOMES)?.iter()? {
        let (key, value) = row?;
        let (tenant, message_id) = key.value();
        of(&mut hashes, tenant, false, &encode(&(message_id, value.value())));
    }
    let digest = |(tenant, (effects, history)): (String, Hashes)| {
        let digest = Digest { effects: effects.finalize().into(), history: history.finalize().into() };
        Ok((read_id(TenantId::parse, &tenant)?, digest))
    };
    hashes.into_iter().map(digest).collect()
}

/// The keys of one tenant and of no other, or of all: the grammar of identifiers begins after "" and ends before DEL.
fn span(only: Option<&TenantId>) -> ((&str, &str), (&str, &str)) {
    only.map_or((("", ""), ("\u{7f}", "")), |tenant| ((tenant.as_str(), ""), (tenant.as_str(), "\u{7f}")))
}
