//! Tenants' rows, and the only way to reach them: through a scope.
//!
//! Every table's key begins with the tenant, as a component of its own: redb compares components by length and bytes, so
//! no tenant's keys are ever a prefix of another's. [`Tables`] opens them once per commit; [`Tables::tenant`] narrows
//! them to the one tenant of a verified scope, and what it returns can't name another.

use std::collections::BTreeMap;

use redb::{ReadTransaction, ReadableTable, ReadableTableMetadata, Table, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::key_file::SlotHash;
use super::{Outcome, PauseGeneration, StoredCredential, TenantState, baseline, journal};
use crate::action::{Change, Currency, Limit, Rejection, Suspension, TenantView};
use crate::billing::Rules;
use crate::broker::Position;
use crate::grant::TenantScope;
use crate::ids::{MessageId, Name, TenantId};
use crate::message::Message;
use crate::secret::{KeyVersion, NotOpened, Sealed};
use crate::store::{decode, encode, read_id};

/// (tenant, limit type) -> (value, the tenant's version at which it was set).
pub(super) const LIMITS: TableDefinition<(&str, &str), (u64, u64)> = TableDefinition::new("limits");
/// (tenant, entitlement) -> granted, beside what the plan carries.
pub(super) const ENTITLEMENTS: TableDefinition<(&str, &str), ()> = TableDefinition::new("entitlements");
/// tenant -> the plan it is on.
pub(super) const PLANS: TableDefinition<&str, &str> = TableDefinition::new("plans");
/// (tenant, entitlement) -> carried by the plan, as it was when the tenant was put on it.
pub(super) const PLAN_ENTITLEMENTS: TableDefinition<(&str, &str), ()> = TableDefinition::new("plan_entitlements");
/// tenant -> [`Suspension`], while it is suspended.
pub(super) const SUSPENSIONS: TableDefinition<&str, &[u8]> = TableDefinition::new("suspensions");
/// (tenant, currency) -> minor units: what the journal's postings to the tenant's credit sum up to.
pub(super) const CREDITS: TableDefinition<(&str, &str), u64> = TableDefinition::new("credits");
/// (tenant, credential) -> [`KeptCredential`].
pub(super) const CREDENTIALS: TableDefinition<(&str, &str), &[u8]> = TableDefinition::new("credentials");
/// (tenant, version) -> the data key's slot in the key file. The key itself is there and nowhere else.
const DATA_KEYS: TableDefinition<(&str, u32), SlotHash> = TableDefinition::new("data_keys");
/// tenant -> the version of the data key that seals from now on, and the first version that is not erased.
pub(super) const KEY_HEADS: TableDefinition<&str, (u32, u32)> = TableDefinition::new("key_heads");
/// (tenant, message id) -> [`Outcome`]. Never forgotten: a message can come again as long as anyone keeps it.
pub(super) const OUTCOMES: TableDefinition<(&str, &str), &[u8]> = TableDefinition::new("outcomes");
/// tenant -> how many outcomes it has, the place of the latest (epoch, sequence), the generation of its pauses.
pub(super) const HEADS: TableDefinition<&str, (u64, u64, u64, u64)> = TableDefinition::new("heads");
/// One row: how many rows [`HEADS`] and [`OUTCOMES`] have. A tenant of whom every row is gone leaves no other trace.
pub(super) const TOTALS: TableDefinition<(), (u64, u64)> = TableDefinition::new("totals");

/// How many there are of all tenants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) tenants: u64,
    pub(super) outcomes: u64,
}

impl From<(u64, u64)> for Totals {
    fn from((tenants, outcomes): (u64, u64)) -> Self {
        Self { tenants, outcomes }
    }
}

/// A credential as it is kept.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct KeptCredential {
    pub(super) sealed: Sealed,
    /// The command that stored it: what it is sealed for.
    pub(super) message_id: MessageId,
    /// The tenant's version at which it was stored.
    pub(super) version: u64,
}

/// All tenants' tables, open for one commit.
pub(super) struct Tables<'t> {
    limits: Table<'t, (&'static str, &'static str), (u64, u64)>,
    entitlements: Table<'t, (&'static str, &'static str), ()>,
    plans: Table<'t, &'static str, &'static str>,
    plan_entitlements: Table<'t, (&'static str, &'static str), ()>,
    suspensions: Table<'t, &'static str, &'static [u8]>,
    credits: Table<'t, (&'static str, &'static str), u64>,
    journal: journal::Rows<'t>,
    outcomes: Table<'t, (&'static str, &'static str), &'static [u8]>,
    heads: Table<'t, &'static str, (u64, u64, u64, u64)>,
    credentials: Table<'t, (&'static str, &'static str), &'static [u8]>,
    data_keys: Table<'t, (&'static str, u32), SlotHash>,
    key_heads: Table<'t, &'static str, (u32, u32)>,
    totals: Table<'t, (), (u64, u64)>,
    /// Written back by [`Tables::keep_totals`].
    counted: Totals,
    /// The slots of data keys that this commit forgets.
    pub(super) forgotten: Vec<SlotHash>,
}

impl<'t> Tables<'t> {
    pub(super) fn open(within: &'t WriteTransaction) -> Result<Self, redb::Error> {
        let totals = within.open_table(TOTALS)?;
        let counted = totals.get(())?.map_or_else(Totals::default, |row| row.value().into());
        Ok(Self {
            totals,
            counted,
            limits: within.open_table(LIMITS)?,
            entitlements: within.open_table(ENTITLEMENTS)?,
            plans: within.open_table(PLANS)?,
            plan_entitlements: within.open_table(PLAN_ENTITLEMENTS)?,
            suspensions: within.open_table(SUSPENSIONS)?,
            credits: within.open_table(CREDITS)?,
            journal: within.open_table(journal::JOURNAL)?,
            outcomes: within.open_table(OUTCOMES)?,
            heads: within.open_table(HEADS)?,
            credentials: within.open_table(CREDENTIALS)?,
            data_keys: within.open_table(DATA_KEYS)?,
            key_heads: within.open_table(KEY_HEADS)?,
            forgotten: Vec::new(),
        })
    }

    /// The transaction of one tenant: the one that `scope` was verified for. `rules` judge its commands.
    pub(super) fn tenant<'a>(
        &'a mut self,
        scope: &'a TenantScope,
        rules: &'a Rules,
    ) -> Result<TenantTransaction<'a, 't>, redb::Error> {
        let tenant = scope.tenant().as_str();
        let head = self.heads.get(tenant)?.map_or_else(Head::default, |head| Head::from(head.value()));
        let keys = self.key_head(tenant)?;
        Ok(TenantTransaction { tables: self, tenant, rules, head, keys, seal: None })
    }

    /// Makes the totals part of the commit.
    pub(super) fn keep_totals(&mut self) -> Result<(), redb::Error> {
        let Totals { tenants, outcomes } = self.counted;
        self.totals.insert((), (tenants, outcomes))?;
        Ok(())
    }

    fn key_head(&self, tenant: &str) -> Result<KeyHead, redb::Error> {
        Ok(self.key_heads.get(tenant)?.map_or_else(KeyHead::default, |head| KeyHead::from(head.value())))
    }

    /// Records the slot of a data key, if it is still the one that is wanted: the current version, which has no key yet, or
    /// a new wrapping of the one in the slot `replaces`. The ledger does this by itself, and it shows nobody anything.
    pub(super) fn keep_key(
        &mut self,
        tenant: &TenantId,
        version: KeyVersion,
        slot: SlotHash,
        replaces: Option<SlotHash>,
    ) -> Result<bool, redb::Error> {
        let key = (tenant.as_str(), version.0);
        let kept = self.data_keys.get(key)?.map(|kept| kept.value());
        let wanted = kept == replaces && (replaces.is_some() || self.key_head(tenant.as_str())?.current == version);
        if wanted {
            self.data_keys.insert(key, slot)?;
        }
        // Whichever of the two is not recorded now is to be destroyed.
        self.forgotten.extend(if wanted { replaces } else { Some(slot) });
        Ok(wanted)
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

/// Where a tenant's data keys stand.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct KeyHead {
    /// What is sealed from now on is sealed under this version.
    pub(super) current: KeyVersion,
    /// Those before this version are erased.
    pub(super) first: KeyVersion,
}

impl From<(u32, u32)> for KeyHead {
    fn from((current, first): (u32, u32)) -> Self {
        Self { current: KeyVersion(current), first: KeyVersion(first) }
    }
}

/// One tenant's rows, to read and to write.
pub(super) struct TenantTransaction<'a, 't> {
    tables: &'a mut Tables<'t>,
    tenant: &'a str,
    rules: &'a Rules,
    /// Written back by [`TenantTransaction::keep_head`].
    pub(super) head: Head,
    keys: KeyHead,
    /// Whether the secret of the command in work opens where it stands; `None` if nothing was tried.
    pub(super) seal: Option<Result<(), NotOpened>>,
}

impl TenantTransaction<'_, '_> {
    pub(super) fn recorded(&self, message_id: &MessageId) -> Result<Option<Outcome>, redb::Error> {
        let row = self.tables.outcomes.get((self.tenant, message_id.as_str()))?;
        row.map(|row| decode(row.value())).transpose()
    }

    /// Makes a change of the command `message`, which is the tenant's number `version`.
    pub(super) fn make(&mut self, change: &Change, version: u64, message: &Message) -> Result<(), redb::Error> {
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
            Change::PostCredit { currency, amount_minor, balance_minor } => {
                let transaction = journal::credited(version, Some(&message.message_id), *currency, *amount_minor);
                journal::append(&mut self.tables.journal, self.tenant, &transaction)?;
                self.tables.credits.insert((self.tenant, currency.as_str()), balance_minor)?;
            }
            Change::ChangePlan { plan, entitlements } => {
                self.tables.plans.insert(self.tenant, plan.as_str())?;
                let (first, last) = ((self.tenant, ""), (self.tenant, "\u{7f}"));
                self.tables.plan_entitlements.retain_in(first..=last, |_, _| false)?;
                for entitlement in entitlements {
                    self.tables.plan_entitlements.insert((self.tenant, entitlement.as_str()), ())?;
                }
            }
            Change::Suspend { reason } => {
                let suspension = Suspension { reason: reason.clone(), version };
                self.tables.suspensions.insert(self.tenant, encode(&suspension).as_slice())?;
            }
            Change::Resume { .. } => {
                self.tables.suspensions.remove(self.tenant)?;
            }
            Change::StoreCredential { credential, .. } => {
                let sealed = message.action.sealed().expect("only what is sealed is stored").clone();
                let kept = KeptCredential { sealed, message_id: message.message_id.clone(), version };
                self.tables.credentials.insert((self.tenant, credential.as_str()), encode(&kept).as_slice())?;
            }
            Change::RotateDataKey { data_key } => self.set_keys(KeyHead { current: *data_key, ..self.keys })?,
            Change::EraseSecrets { data_keys_up_to } => {
                let next = data_keys_up_to.next();
                self.tables.credentials.retain_in((self.tenant, "")..=(self.tenant, "\u{7f}"), |_, _| false)?;
                for row in
                    self.tables.data_keys.extract_from_if((self.tenant, 0)..(self.tenant, next.0), |_, _| true)?
                {
                    self.tables.forgotten.push(row?.1.value());
                }
                self.set_keys(KeyHead { current: next, first: next })?;
            }
        }
        Ok(())
    }

    fn set_keys(&mut self, keys: KeyHead) -> Result<(), redb::Error> {
        self.keys = keys;
        self.tables.key_heads.insert(self.tenant, (keys.current.0, keys.first.0))?;
        Ok(())
    }

    pub(super) fn record(&mut self, message_id: &MessageId, outcome: &Outcome) -> Result<(), redb::Error> {
        let key = (self.tenant, message_id.as_str());
        let is_new = self.tables.outcomes.insert(key, encode(outcome).as_slice())?.is_none();
        self.tables.counted.outcomes += u64::from(is_new);
        Ok(())
    }
}

impl TenantTransaction<'_, '_> {
    /// Makes the head's changes part of the transaction.
    pub(super) fn keep_head(self) -> Result<(), redb::Error> {
        let Head { version, position: Position { epoch, sequence }, pause } = self.head;
        let is_new = self.tables.heads.insert(self.tenant, (version, epoch, sequence, pause.0))?.is_none();
        self.tables.counted.tenants += u64::from(is_new);
        Ok(())
    }
}

impl TenantView for TenantTransaction<'_, '_> {
    fn rules(&self) -> &Rules {
        self.rules
    }

    fn limit(&self, limit_type: &Name) -> Result<Option<Limit>, redb::Error> {
        let row = self.tables.limits.get((self.tenant, limit_type.as_str()))?;
        Ok(row.map(|row| row.value()).map(|(value, version)| Limit { value, version }))
    }

    fn is_granted(&self, entitlement: &Name) -> Result<bool, redb::Error> {
        Ok(self.tables.entitlements.get((self.tenant, entitlement.as_str()))?.is_some())
    }

    fn plan(&self) -> Result<Option<Name>, redb::Error> {
        self.tables.plans.get(self.tenant)?.map(|plan| read_id(Name::parse, plan.value())).transpose()
    }

    fn plan_carrying(&self, entitlement: &Name) -> Result<Option<Name>, redb::Error> {
        let carried = self.tables.plan_entitlements.get((self.tenant, entitlement.as_str()))?.is_some();
        if carried { self.plan() } else { Ok(None) }
    }

    fn suspension(&self) -> Result<Option<Suspension>, redb::Error> {
        self.tables.suspensions.get(self.tenant)?.map(|row| decode(row.value())).transpose()
    }

    fn credit(&self, currency: &Currency) -> Result<u64, redb::Error> {
        Ok(self.tables.credits.get((self.tenant, currency.as_str()))?.map_or(0, |balance| balance.value()))
    }

    fn data_key(&self) -> KeyVersion {
        self.keys.current
    }

    fn check_seal(&self, sealed: &Sealed) -> Result<(), Rejection> {
        if sealed.data_key < self.keys.first {
            let detail =
                format!("data key {} was erased, and with it all that it sealed; send it anew", sealed.data_key);
            return Err(Rejection::new("secret_erased", detail));
        }
        match self.seal {
            Some(Ok(())) => Ok(()),
            Some(Err(error)) => Err(Rejection::new("sealed_for_another", error.to_string())),
            None => {
                let detail = format!("the tenant has no data key {}", sealed.data_key);
                Err(Rejection::new("sealed_for_another", detail))
            }
        }
    }
}

/// The totals as they were counted, and as there are rows.
pub(super) fn totals(read: &ReadTransaction) -> Result<(Totals, Totals), redb::Error> {
    let counted = read.open_table(TOTALS)?.get(())?.map_or_else(Totals::default, |row| row.value().into());
    Ok((counted, Totals { tenants: read.open_table(HEADS)?.len()?, outcomes: read.open_table(OUTCOMES)?.len()? }))
}

/// The outcome of one command, as committed.
pub(super) fn outcome(
    read: &ReadTransaction,
    scope: &TenantScope,
    message_id: &MessageId,
) -> Result<Option<Outcome>, redb::Error> {
    let row = read.open_table(OUTCOMES)?.get((scope.tenant().as_str(), message_id.as_str()))?;
    row.map(|row| decode(row.value())).transpose()
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
    for row in read.open_table(PLANS)?.range(first.0..=last.0)? {
        let (tenant, plan) = row?;
        of(&mut states, tenant.value())?.plan = Some(read_id(Name::parse, plan.value())?);
    }
    for row in read.open_table(PLAN_ENTITLEMENTS)?.range(first..last)? {
        let (key, _) = row?;
        let (tenant, entitlement) = key.value();
        of(&mut states, tenant)?.plan_entitlements.insert(read_id(Name::parse, entitlement)?);
    }
    for row in read.open_table(SUSPENSIONS)?.range(first.0..=last.0)? {
        let (tenant, suspension) = row?;
        of(&mut states, tenant.value())?.suspension = Some(decode(suspension.value())?);
    }
    for row in read.open_table(CREDITS)?.range(first..last)? {
        let (key, balance) = row?;
        let (tenant, currency) = key.value();
        of(&mut states, tenant)?.credits.insert(currency.to_owned(), balance.value());
    }
    for row in read.open_table(CREDENTIALS)?.range(first..last)? {
        let (key, kept) = row?;
        let (tenant, credential) = key.value();
        let KeptCredential { sealed, message_id, version } = decode(kept.value())?;
        let (data_key, sealed_sha256) = (sealed.data_key, sealed.sha256());
        let shown = StoredCredential { data_key, message_id, version, sealed_sha256 };
        of(&mut states, tenant)?.credentials.insert(read_id(Name::parse, credential)?, shown);
    }
    for row in read.open_table(KEY_HEADS)?.range(first.0..=last.0)? {
        let (tenant, head) = row?;
        of(&mut states, tenant.value())?.data_key = KeyHead::from(head.value()).current;
    }
    Ok(states)
}

/// Every tenant's ciphertexts, by the messages that stored them.
pub(super) fn ciphertexts(read: &ReadTransaction) -> Result<BTreeMap<(TenantId, MessageId), Sealed>, redb::Error> {
    let row = |row: Result<_, redb::StorageError>| {
        let (key, kept): (redb::AccessGuard<'_, (&str, &str)>, redb::AccessGuard<'_, &[u8]>) = row?;
        let KeptCredential { sealed, message_id, .. } = decode(kept.value())?;
        Ok(((read_id(TenantId::parse, key.value().0)?, message_id), sealed))
    };
    read.open_table(CREDENTIALS)?.iter()?.map(row).collect()
}

fn of<'s>(states: &'s mut BTreeMap<TenantId, TenantState>, tenant: &str) -> Result<&'s mut TenantState, redb::Error> {
    Ok(states.entry(read_id(TenantId::parse, tenant)?).or_default())
}

/// Where one tenant's data keys stand, and the slots of those there are, newest first.
pub(super) fn data_keys(
    read: &ReadTransaction,
    scope: &TenantScope,
) -> Result<(KeyHead, Vec<(KeyVersion, SlotHash)>), redb::Error> {
    let tenant = scope.tenant().as_str();
    let head = read.open_table(KEY_HEADS)?.get(tenant)?.map_or_else(KeyHead::default, |head| head.value().into());
    let mut keys = Vec::new();
    for row in read.open_table(DATA_KEYS)?.range((tenant, 0)..=(tenant, u32::MAX))?.rev() {
        let (key, slot) = row?;
        keys.push((KeyVersion(key.value().1), slot.value()));
    }
    Ok((head, keys))
}

/// The slots of every tenant's data keys.
pub(super) fn every_data_key(
    read: &ReadTransaction,
) -> Result<BTreeMap<(TenantId, KeyVersion), SlotHash>, redb::Error> {
    let mut keys = BTreeMap::new();
    for row in read.open_table(DATA_KEYS)?.iter()? {
        let (key, slot) = row?;
        let (tenant, version) = key.value();
        keys.insert((read_id(TenantId::parse, tenant)?, KeyVersion(version)), slot.value());
    }
    Ok(keys)
}

/// One credential, as committed.
pub(super) fn credential(
    read: &ReadTransaction,
    scope: &TenantScope,
    credential: &Name,
) -> Result<Option<KeptCredential>, redb::Error> {
    let row = read.open_table(CREDENTIALS)?.get((scope.tenant().as_str(), credential.as_str()))?;
    row.map(|row| decode(row.value())).transpose()
}

/// Every outcome of every tenant, as committed.
pub(super) fn outcomes(read: &ReadTransaction) -> Result<BTreeMap<(TenantId, MessageId), Outcome>, redb::Error> {
    let mut outcomes = BTreeMap::new();
    for row in read.open_table(OUTCOMES)?.iter()? {
        let (key, value) = row?;
        let (tenant, message_id) = key.value();
        let key = (read_id(TenantId::parse, tenant)?, read_id(MessageId::parse, message_id)?);
        outcomes.insert(key, decode(value.value())?);
    }
    Ok(outcomes)
}

/// The first tenant behind `after` that has a row in any table that is reconciled.
pub(super) fn next_tenant(read: &ReadTransaction, after: &str) -> Result<Option<String>, redb::Error> {
    let mut next: Option<String> = None;
    let mut offer = |tenant: &str| {
        // Whatever stands behind its names, it is still the same tenant.
        let behind = tenant > after;
        if behind && next.as_deref().is_none_or(|next| tenant < next) {
            next = Some(tenant.to_owned());
        }
        behind
    };
    macro_rules! look {
        ($($table:expr, $from:expr, $tenant:expr;)*) => {$(
            for row in read.open_table($table)?.range($from..)? {
                if offer($tenant(row?.0.value())) {
                    break;
                }
            }
        )*};
    }
    fn first<'a>((tenant, _): (&'a str, &'a str)) -> &'a str {
        tenant
    }
    fn whole(tenant: &str) -> &str {
        tenant
    }
    fn journalled((tenant, ..): (&str, u64, u32)) -> &str {
        tenant
    }
    let named = (after, "\u{7f}");
    look! {
        HEADS, after, whole;
        PLANS, after, whole;
        SUSPENSIONS, after, whole;
        KEY_HEADS, after, whole;
        baseline::BROUGHT_IN, after, whole;
        LIMITS, named, first;
        ENTITLEMENTS, named, first;
        PLAN_ENTITLEMENTS, named, first;
        CREDITS, named, first;
        CREDENTIALS, named, first;
        OUTCOMES, named, first;
        journal::JOURNAL, (after, u64::MAX, u32::MAX), journalled;
    }
    Ok(next)
}

/// SHA-256 over all rows of one tenant, in two parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest {
    /// Over limits, plans, entitlements, credits with their journal, suspensions, credentials, keys and pauses: what commands are there to change.
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
    for row in read.open_table(journal::JOURNAL)?.iter()? {
        let (key, value) = row?;
        let (tenant, version, line) = key.value();
        of(&mut hashes, tenant, true, &encode(&("posting", version, line, value.value())));
    }
    for row in read.open_table(PLANS)?.iter()? {
        let (tenant, plan) = row?;
        of(&mut hashes, tenant.value(), true, &encode(&("plan", plan.value())));
    }
    for row in read.open_table(PLAN_ENTITLEMENTS)?.iter()? {
        let (key, _) = row?;
        let (tenant, name) = key.value();
        of(&mut hashes, tenant, true, &encode(&("plan entitlement", name)));
    }
    for row in read.open_table(SUSPENSIONS)?.iter()? {
        let (tenant, suspension) = row?;
        of(&mut hashes, tenant.value(), true, &encode(&("suspension", suspension.value())));
    }
    for row in read.open_table(CREDENTIALS)?.iter()? {
        let (key, kept) = row?;
        let (tenant, name) = key.value();
        of(&mut hashes, tenant, true, &encode(&("credential", name, kept.value())));
    }
    for row in read.open_table(DATA_KEYS)?.iter()? {
        let (key, _) = row?;
        let (tenant, version) = key.value();
        // Not in which slot: a key may be wrapped anew.
        of(&mut hashes, tenant, true, &encode(&("data key", version)));
    }
    for row in read.open_table(KEY_HEADS)?.iter()? {
        let (tenant, head) = row?;
        of(&mut hashes, tenant.value(), true, &encode(&("key head", head.value())));
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
pub(super) fn span(only: Option<&TenantId>) -> ((&str, &str), (&str, &str)) {
    only.map_or((("", ""), ("\u{7f}", "")), |tenant| ((tenant.as_str(), ""), (tenant.as_str(), "\u{7f}")))
}
