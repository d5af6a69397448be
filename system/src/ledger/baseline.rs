//! The baseline: what tenants were when they were brought in, from a panel or a spreadsheet that came before. Taken over
//! once, into a ledger that has nothing yet of them; from there on it is what reconciliation begins from, so another file
//! is refused.
//!
//! ```json
//! {"acme": {"limits": {"seats": 25}, "plan": "team", "entitlements": ["sso"], "credits_minor": {"EUR": 5000}}}
//! ```
//!
//! Credit that a tenant brings along stands in the journal as a transaction of version 0.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::marker::PhantomData;

use redb::{ReadTransaction, ReadableTable, ReadableTableMetadata, TableDefinition, WriteTransaction};
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::journal::{self, Kept};
use super::keyspace::{CREDITS, ENTITLEMENTS, HEADS, LIMITS, PLAN_ENTITLEMENTS, PLANS};
use crate::billing::{Currency, Rules};
use crate::ids::{Name, TenantId};
use crate::message::strict_object;
use crate::store::{decode, encode};

/// The longest baseline file, in bytes: some hundred thousand tenants.
pub const BASELINE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// tenant -> [`BroughtIn`].
pub(super) const BROUGHT_IN: TableDefinition<&str, &[u8]> = TableDefinition::new("brought_in");
/// One row: SHA-256 of the file that was taken over, and how many tenants it had.
const BASELINE: TableDefinition<(), ([u8; 32], u64)> = TableDefinition::new("baseline");

/// What one tenant was.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct BroughtIn {
    /// Limit type to value.
    pub(super) limits: BTreeMap<Name, u64>,
    /// Granted, beside what the plan carries.
    pub(super) entitlements: BTreeSet<Name>,
    /// The plan.
    pub(super) plan: Option<Name>,
    /// What the plan carried then.
    pub(super) plan_entitlements: BTreeSet<Name>,
    /// Currency to balance, in minor units.
    pub(super) credits_minor: BTreeMap<Currency, u64>,
}

/// A tenant as the file has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    #[serde(default)]
    limits: Once<Name, u64>,
    #[serde(default)]
    entitlements: BTreeSet<Name>,
    #[serde(default)]
    plan: Option<Name>,
    #[serde(default)]
    credits_minor: Once<Currency, u64>,
}

/// A map that gives no key twice: two readers must not read two baselines in one file.
struct Once<K, V>(BTreeMap<K, V>);

impl<K, V> Default for Once<K, V> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<'de, K: Deserialize<'de> + Ord + fmt::Display, V: Deserialize<'de>> Deserialize<'de> for Once<K, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(OnceVisitor(PhantomData))
    }
}

struct OnceVisitor<K, V>(PhantomData<(K, V)>);

impl<'de, K: Deserialize<'de> + Ord + fmt::Display, V: Deserialize<'de>> Visitor<'de> for OnceVisitor<K, V> {
    type Value = Once<K, V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut once = BTreeMap::new();
        while let Some(key) = map.next_key::<K>()? {
            if once.contains_key(&key) {
                return Err(serde::de::Error::custom(format_args!("has {key} twice")));
            }
            once.insert(key, map.next_value()?);
        }
        Ok(Once(once))
    }
}

/// A baseline that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum BaselineError {
    /// More than [`BASELINE_BYTES_MAX`].
    #[error("the baseline has {0} bytes; at most {BASELINE_BYTES_MAX} are read")]
    TooLong(usize),
    /// No JSON, or not of this shape; says where.
    #[error("the baseline can't be read: {0}")]
    Unreadable(crate::message::Refusal),
    /// The billing rules forbid it.
    #[error("the baseline's tenant {tenant}: {problem}")]
    Forbidden {
        /// Which tenant.
        tenant: TenantId,
        /// What is wrong, and what would be right.
        problem: String,
    },
}

/// What every tenant was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Baseline {
    tenants: BTreeMap<TenantId, BroughtIn>,
    sha256: [u8; 32],
}

impl Baseline {
    /// Reads a baseline file, and judges it by `rules` as if each limit had been asked for.
    ///
    /// # Errors
    /// What is wrong first, and what would be right.
    pub fn parse(json: &[u8], rules: &Rules) -> Result<Self, BaselineError> {
        if json.len() > BASELINE_BYTES_MAX {
            return Err(BaselineError::TooLong(json.len()));
        }
        let Once(wires): Once<TenantId, Wire> = strict_object(json, "").map_err(BaselineError::Unreadable)?;
        let mut tenants = BTreeMap::new();
        for (tenant, Wire { limits: Once(limits), entitlements, plan, credits_minor: Once(credits_minor) }) in wires {
            let forbidden = |problem| BaselineError::Forbidden { tenant: tenant.clone(), problem };
            for (limit_type, value) in &limits {
                rules.guardrail(plan.as_ref(), limit_type).check(limit_type, *value).map_err(forbidden)?;
            }
            if let Some((currency, _)) = credits_minor.iter().find(|(_, minor)| **minor > CREDIT_MAX) {
                return Err(forbidden(format!("credit is at most {}", currency.show(CREDIT_MAX))));
            }
            let plan_entitlements = match &plan {
                None => BTreeSet::new(),
                Some(plan) => match rules.plan(plan) {
                    Some(plan) => plan.entitlements.clone(),
                    None => return Err(forbidden(format!("there is no plan {plan} in the billing rules"))),
                },
            };
            let brought_in = BroughtIn { limits, entitlements, plan, plan_entitlements, credits_minor };
            tenants.insert(tenant, brought_in);
        }
        Ok(Self { tenants, sha256: Sha256::digest(json).into() })
    }

    /// Takes it over, unless that was done before.
    ///
    /// # Errors
    /// When another one was, or when it comes too late: then nothing of it may be committed.
    pub(super) fn import(&self, within: &WriteTransaction) -> Result<(), redb::Error> {
        let mut kept = within.open_table(BASELINE)?;
        if let Some(before) = kept.get(())?.map(|kept| kept.value().0) {
            let another = "another baseline was taken over before, of SHA-256";
            let told = format!("{another} {}; give that file again, or none", hex::encode(before));
            return if before == self.sha256 { Ok(()) } else { Err(refused(told)) };
        }
        for (tenant, brought_in) in &self.tenants {
            if within.open_table(HEADS)?.get(tenant.as_str())?.is_some() {
                let told = "has outcomes already; a baseline is taken over before a tenant's first command";
                return Err(refused(format!("tenant {tenant} {told}")));
            }
            brought_in.import(within, tenant)?;
        }
        kept.insert((), (self.sha256, self.tenants.len() as u64))?;
        Ok(())
    }
}

/// How many tenants were brought in, and how many of them there are.
pub(super) fn counted(read: &ReadTransaction) -> Result<(u64, u64), redb::Error> {
    let counted = read.open_table(BASELINE)?.get(())?.map_or(0, |kept| kept.value().1);
    Ok((counted, read.open_table(BROUGHT_IN)?.len()?))
}

fn refused(problem: String) -> redb::Error {
    redb::Error::Io(io::Error::new(io::ErrorKind::InvalidInput, problem))
}

/// The most credit that a tenant brings along, in minor units: no more than commands could have given it.
const CREDIT_MAX: u64 = crate::action::MAX_BALANCE_MINOR;

impl BroughtIn {
    fn import(&self, within: &WriteTransaction, tenant: &TenantId) -> Result<(), redb::Error> {
        let tenant = tenant.as_str();
        for (limit_type, value) in &self.limits {
            within.open_table(LIMITS)?.insert((tenant, limit_type.as_str()), (*value, 0))?;
        }
        for entitlement in &self.entitlements {
            within.open_table(ENTITLEMENTS)?.insert((tenant, entitlement.as_str()), ())?;
        }
        if let Some(plan) = &self.plan {
            within.open_table(PLANS)?.insert(tenant, plan.as_str())?;
        }
        for entitlement in &self.plan_entitlements {
            within.open_table(PLAN_ENTITLEMENTS)?.insert((tenant, entitlement.as_str()), ())?;
        }
        for (currency, minor) in &self.credits_minor {
            within.open_table(CREDITS)?.insert((tenant, currency.as_str()), minor)?;
        }
        let mut rows = within.open_table(journal::JOURNAL)?;
        for (version, line, kept) in self.postings() {
            rows.insert((tenant, version, line), encode(&kept).as_slice())?;
        }
        within.open_table(BROUGHT_IN)?.insert(tenant, encode(self).as_slice())?;
        Ok(())
    }

    /// The lines of the journal that its credit takes, with their versions and numbers.
    pub(super) fn postings(&self) -> impl Iterator<Item = (u64, u32, Kept)> {
        let transactions =
            self.credits_minor.iter().map(|(currency, minor)| journal::credited(0, None, *currency, *minor));
        let postings = transactions.flat_map(|transaction| transaction.postings);
        (0..).zip(postings).map(|(line, posting)| (0, line, Kept { posting, message_id: None }))
    }
}

/// What `tenant` was brought in with.
pub(super) fn of(read: &ReadTransaction, tenant: &TenantId) -> Result<Option<BroughtIn>, redb::Error> {
    read.open_table(BROUGHT_IN)?.get(tenant.as_str())?.map(|row| decode(row.value())).transpose()
}

/// Makes the tables, for readers that come before any baseline.
pub(super) fn open(within: &WriteTransaction) -> Result<(), redb::Error> {
    within.open_table(BROUGHT_IN)?;
    within.open_table(BASELINE)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_rules_forbid_or_nobody_can_read_is_refused_by_name() {
        for (json, told) in [
            (r#"[]"#, "must be a JSON object"),
            (r#"{"Acme": {}}"#, "has 'A' as character 1"),
            (r#"{"acme": {"seats": 5}}"#, "acme.seats: is unknown"),
            (r#"{"acme": {"limits": {"seats": 0}}}"#, "tenant acme: seats is 0, and must be 1 to"),
            (r#"{"acme": {"plan": "free", "limits": {"seats": 6}}}"#, "tenant acme: seats is 6, and must be 1 to 5"),
            (r#"{"acme": {"plan": "team"}, "acme": {"plan": "free"}}"#, "has acme twice"),
            (r#"{"acme": {"limits": {"seats": 5, "seats": 6}}}"#, "acme.limits: has seats twice"),
            (r#"{"acme": {"plan": "gold"}}"#, "tenant acme: there is no plan gold"),
            (r#"{"acme": {"credits_minor": {"EUX": 5}}}"#, "is EUX, which is no currency"),
            (
                r#"{"acme": {"credits_minor": {"EUR": 1000000000001}}}"#,
                "tenant acme: credit is at most 10000000000.00 EUR",
            ),
        ] {
            let error = Baseline::parse(json.as_bytes(), &Rules::default()).expect_err(json).to_string();
            assert!(error.contains(told), "{json}: {error}");
        }
    }
}
