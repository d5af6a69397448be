//! Reconciliation, decided: what a tenant's rows must be by what it was brought in with and by its outcomes, and where they
//! are not.
//!
//! Every effect has an outcome, and an outcome says what it changed; so the rows follow from the outcomes, and whoever
//! bends a row - or loses one, or adds one - leaves a difference. Both sides are laid out as rows under the same names and
//! compared in both directions. Outcomes may come in any order: what a later version says outweighs an earlier one, so
//! that they can be read a slice at a time, by message id, as they lie.
//!
//! Not compared: pauses, which are no command's effect; and whether an outcome was right to begin with, which is decided
//! once and for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::baseline::BroughtIn;
use super::journal::{self, Account, Kept, Posting};
use super::{Outcome, StoredCredential, TenantState};
use crate::action::{Change, Currency, Limit, Suspension};
use crate::ids::{MessageId, Name, TenantId};
use crate::secret::KeyVersion;

/// Discrepancies of one tenant that are told one by one: a tenant of which all is gone needs no more to be noticed.
pub const TOLD_MAX: usize = 256;

/// What is compared: a row, or what several rows sum up to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// How many outcomes the tenant's head counts.
    Version,
    /// The outcomes of these versions, both included.
    Outcomes(u64, u64),
    /// A limit, with the version that set it.
    Limit(Name),
    /// An entitlement that was granted.
    Entitlement(Name),
    /// The plan.
    Plan,
    /// An entitlement that the plan carries.
    PlanEntitlement(Name),
    /// A balance.
    Credit(String),
    /// A line of the journal, by version and number.
    Posting(u64, u32),
    /// The sum of all postings in a currency.
    JournalSum(String),
    /// Whether and why the tenant is suspended.
    Suspension,
    /// What may be known of a credential.
    Credential(Name),
    /// The version of the data key that seals.
    DataKey,
    /// Rows that can't be read.
    Unreadable,
    /// How many tenants had an outcome or a pause, of all tenants.
    Tenants,
    /// How many outcomes there are, of all tenants.
    AllOutcomes,
    /// How many tenants there are that the baseline brought in.
    BroughtIn,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version => f.write_str("version"),
            Self::Outcomes(first, last) if first == last => write!(f, "outcome of version {first}"),
            Self::Outcomes(first, last) => write!(f, "outcomes of versions {first} to {last}"),
            Self::Limit(name) => write!(f, "limit {name}"),
            Self::Entitlement(name) => write!(f, "entitlement {name}"),
            Self::Plan => f.write_str("plan"),
            Self::PlanEntitlement(name) => write!(f, "entitlement {name} of the plan"),
            Self::Credit(currency) => write!(f, "credit in {currency}"),
            Self::Posting(version, line) => write!(f, "posting of version {version}, line {line}"),
            Self::JournalSum(currency) => write!(f, "sum of all postings in {currency}"),
            Self::Suspension => f.write_str("suspension"),
            Self::Credential(name) => write!(f, "credential {name}"),
            Self::DataKey => f.write_str("data key"),
            Self::Unreadable => f.write_str("rows"),
            Self::Tenants => f.write_str("number of tenants"),
            Self::AllOutcomes => f.write_str("number of outcomes"),
            Self::BroughtIn => f.write_str("number of tenants brought in"),
        }
    }
}

/// One difference between what is and what follows from the outcomes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Discrepancy {
    /// Whose; none: it is of all tenants together.
    pub tenant: Option<TenantId>,
    /// Of what.
    pub subject: Subject,
    /// What follows from the outcomes; none: it should not be there.
    pub expected: Option<String>,
    /// What is; none: it is missing.
    pub actual: Option<String>,
}

impl fmt::Display for Discrepancy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tenant, subject, expected, actual } = self;
        let tenant = tenant.as_ref().map_or("all tenants", TenantId::as_str);
        match (expected, actual) {
            (Some(expected), Some(actual)) => write!(f, "{tenant}: {subject} is {actual}, and should be {expected}"),
            (Some(expected), None) => write!(f, "{tenant}: {subject} is missing, and should be {expected}"),
            (None, Some(actual)) => write!(f, "{tenant}: {subject} is {actual}, and should not be there"),
            (None, None) => write!(f, "{tenant}: {subject}"),
        }
    }
}

/// What a reconciliation found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Tenants looked at.
    pub tenants: u64,
    /// Rows and outcomes compared.
    pub rows: u64,
    /// Every difference, at most [`TOLD_MAX`] a tenant.
    pub discrepancies: Vec<Discrepancy>,
    /// Differences beyond that.
    pub untold: u64,
}

impl Report {
    /// How many differences there are.
    #[must_use]
    pub fn found(&self) -> u64 {
        self.discrepancies.len() as u64 + self.untold
    }

    /// Adds what was found of another tenant.
    pub(super) fn add(&mut self, other: Self) {
        self.tenants += other.tenants;
        self.rows += other.rows;
        self.discrepancies.extend(other.discrepancies);
        self.untold += other.untold;
    }
}

/// A tenant's rows, each under its name and in words.
#[derive(Debug, Default)]
pub(super) struct Rows {
    rows: BTreeMap<Subject, String>,
    sums: BTreeMap<Currency, i128>,
}

impl Rows {
    /// The rows of `state`, the journal's excepted.
    pub(super) fn of(state: &TenantState) -> Self {
        let mut rows = Self::default();
        rows.put(Subject::Version, state.version);
        for (name, value) in &state.limits {
            let version = state.limit_versions.get(name).copied().unwrap_or(0);
            rows.put(Subject::Limit(name.clone()), limit(&Limit { value: *value, version }));
        }
        rows.held(&state.entitlements, state.plan.as_ref(), &state.plan_entitlements);
        for (currency, balance) in &state.credits {
            rows.put(Subject::Credit(currency.clone()), balance);
        }
        if let Some(suspended) = &state.suspension {
            rows.put(Subject::Suspension, suspension(suspended));
        }
        for (name, stored) in &state.credentials {
            rows.put(Subject::Credential(name.clone()), credential(stored));
        }
        rows.put(Subject::DataKey, state.data_key);
        rows
    }

    /// Adds a line of the journal.
    pub(super) fn post(&mut self, version: u64, line: u32, Kept { posting, message_id }: &Kept) {
        let Posting { account, currency, amount_minor } = posting;
        let account = match account {
            Account::Credit => "credit",
            Account::Funding => "funding",
        };
        let by = message_id.as_ref().map_or("the baseline", MessageId::as_str);
        self.put(Subject::Posting(version, line), format!("{amount_minor} {currency} for {account} by {by}"));
        *self.sums.entry(*currency).or_default() += i128::from(*amount_minor);
    }

    fn put(&mut self, subject: Subject, value: impl fmt::Display) {
        self.rows.insert(subject, value.to_string());
    }

    fn held(&mut self, granted: &BTreeSet<Name>, plan: Option<&Name>, carried: &BTreeSet<Name>) {
        for name in granted {
            self.put(Subject::Entitlement(name.clone()), "granted");
        }
        if let Some(plan) = plan {
            self.put(Subject::Plan, plan);
        }
        for name in carried {
            self.put(Subject::PlanEntitlement(name.clone()), "carried");
        }
    }

    /// All of them, with the sums.
    fn complete(mut self) -> BTreeMap<Subject, String> {
        for (currency, sum) in std::mem::take(&mut self.sums) {
            self.put(Subject::JournalSum(currency.to_string()), sum);
        }
        self.rows
    }
}

fn limit(Limit { value, version }: &Limit) -> String {
    format!("{value} since version {version}")
}

fn suspension(Suspension { reason, version }: &Suspension) -> String {
    format!("since version {version}: {reason}")
}

fn credential(StoredCredential { data_key, message_id, version, sealed_sha256 }: &StoredCredential) -> String {
    format!("{sealed_sha256} under data key {data_key} by {message_id} at version {version}")
}

/// What was said last, and at which version.
type Last<T> = (u64, T);

/// Keeps what is said at `version`, if nothing later was.
fn say<K: Ord, T>(map: &mut BTreeMap<K, Last<T>>, key: K, version: u64, value: T) {
    if map.get(&key).is_none_or(|(last, _)| *last <= version) {
        map.insert(key, (version, value));
    }
}

/// What a tenant's rows must be by the outcomes taken so far. Needs memory in proportion to the tenant's credits and
/// outcomes, of which it keeps the versions only.
#[derive(Debug, Default)]
pub(super) struct Expected {
    versions: Vec<u64>,
    limits: BTreeMap<Name, Last<u64>>,
    granted: BTreeMap<Name, Last<bool>>,
    plan: BTreeMap<(), Last<(Name, BTreeSet<Name>)>>,
    balances: BTreeMap<Currency, u128>,
    journal: Rows,
    suspension: BTreeMap<(), Last<Option<Suspension>>>,
    credentials: BTreeMap<Name, Last<StoredCredential>>,
    /// What was stored before this version is gone.
    erased_at: u64,
    data_key: BTreeMap<(), Last<KeyVersion>>,
}

impl Expected {
    /// Of a tenant without outcomes that was brought in like this.
    pub(super) fn of(brought_in: Option<&BroughtIn>) -> Self {
        let mut expected = Self::default();
        let Some(brought_in) = brought_in else { return expected };
        let BroughtIn { limits, entitlements, plan, plan_entitlements, credits_minor } = brought_in;
        expected.limits = limits.iter().map(|(name, value)| (name.clone(), (0, *value))).collect();
        expected.granted = entitlements.iter().map(|name| (name.clone(), (0, true))).collect();
        if let Some(plan) = plan {
            say(&mut expected.plan, (), 0, (plan.clone(), plan_entitlements.clone()));
        }
        for (version, line, kept) in brought_in.postings() {
            expected.journal.post(version, line, &kept);
        }
        expected.balances = credits_minor.iter().map(|(currency, minor)| (*currency, (*minor).into())).collect();
        expected
    }

    /// Takes the outcome of `message_id`.
    pub(super) fn take(&mut self, message_id: &MessageId, outcome: &Outcome) {
        let version = outcome.version;
        self.versions.push(version);
        for change in outcome.verdict.iter().flatten() {
            match change.clone() {
                Change::SetLimit { limit_type, value } => say(&mut self.limits, limit_type, version, value),
                Change::GrantEntitlement { entitlement } => say(&mut self.granted, entitlement, version, true),
                Change::RevokeEntitlement { entitlement } => say(&mut self.granted, entitlement, version, false),
                Change::ChangePlan { plan, entitlements } => say(&mut self.plan, (), version, (plan, entitlements)),
                Change::Suspend { reason } => {
                    say(&mut self.suspension, (), version, Some(Suspension { reason, version }));
                }
                Change::Resume { .. } => say(&mut self.suspension, (), version, None),
                Change::PostCredit { currency, amount_minor, .. } => {
                    *self.balances.entry(currency).or_default() += u128::from(amount_minor);
                    let transaction = journal::credited(version, Some(message_id), currency, amount_minor);
                    for (line, posting) in (0..).zip(transaction.postings) {
                        self.journal.post(version, line, &Kept { posting, message_id: Some(message_id.clone()) });
                    }
                }
                Change::StoreCredential { credential, data_key, sealed_sha256 } => {
                    let stored = StoredCredential { data_key, message_id: message_id.clone(), version, sealed_sha256 };
                    say(&mut self.credentials, credential, version, stored);
                }
                Change::RotateDataKey { data_key } => say(&mut self.data_key, (), version, data_key),
                Change::EraseSecrets { data_keys_up_to } => {
                    say(&mut self.data_key, (), version, data_keys_up_to.next());
                    self.erased_at = self.erased_at.max(version);
                }
            }
        }
    }

    /// The rows that follow, and versions that no outcome or more than one has.
    fn complete(mut self, tenant: &TenantId) -> (BTreeMap<Subject, String>, Vec<Discrepancy>) {
        let mut rows = self.journal;
        // Whatever was posted, its sum is zero.
        rows.sums.values_mut().for_each(|sum| *sum = 0);
        self.versions.sort_unstable();
        rows.put(Subject::Version, self.versions.last().copied().unwrap_or(0));
        for (name, (version, value)) in self.limits {
            rows.put(Subject::Limit(name), limit(&Limit { value, version }));
        }
        let granted = self.granted.into_iter().filter(|(_, (_, granted))| *granted).map(|(name, _)| name).collect();
        let plan = self.plan.remove(&()).map(|(_, plan)| plan);
        let carried = plan.as_ref().map(|(_, carried)| carried.clone()).unwrap_or_default();
        rows.held(&granted, plan.as_ref().map(|(plan, _)| plan), &carried);
        for (currency, balance) in self.balances {
            rows.put(Subject::Credit(currency.to_string()), balance);
        }
        if let Some((_, Some(suspended))) = self.suspension.get(&()) {
            rows.put(Subject::Suspension, suspension(suspended));
        }
        for (name, (version, stored)) in self.credentials {
            if version > self.erased_at {
                rows.put(Subject::Credential(name), credential(&stored));
            }
        }
        rows.put(Subject::DataKey, self.data_key.get(&()).map(|(_, key)| *key).unwrap_or_default());
        (rows.complete(), gaps(tenant, &self.versions))
    }

    /// Compares `actual` with what must be.
    pub(super) fn compare(self, tenant: &TenantId, actual: Rows) -> Report {
        let outcomes = self.versions.len() as u64;
        let (mut expected, mut discrepancies) = self.complete(tenant);
        let mut rows = outcomes + expected.len() as u64;
        for (subject, actual) in actual.complete() {
            let expected = expected.remove(&subject);
            rows += u64::from(expected.is_none());
            if expected.as_ref() != Some(&actual) {
                discrepancies.push(Discrepancy {
                    tenant: Some(tenant.clone()),
                    subject,
                    expected,
                    actual: Some(actual),
                });
            }
        }
        let missing = |(subject, expected)| {
            let (tenant, expected) = (Some(tenant.clone()), Some(expected));
            Discrepancy { tenant, subject, expected, actual: None }
        };
        discrepancies.extend(expected.into_iter().map(missing));
        discrepancies.sort_by(|one, other| one.subject.cmp(&other.subject));
        let untold = discrepancies.len().saturating_sub(TOLD_MAX) as u64;
        discrepancies.truncate(TOLD_MAX);
        Report { tenants: 1, rows, discrepancies, untold }
    }
}

/// What is not there as often as it was counted: a tenant of whom every row is gone is told by nothing else.
pub(super) fn totals(compared: [(Subject, (u64, u64)); 3]) -> Report {
    let differ = compared.into_iter().filter(|(_, (counted, there))| counted != there);
    let told = |(subject, (counted, there)): (_, (u64, u64))| {
        let (expected, actual) = (Some(counted.to_string()), Some(there.to_string()));
        Discrepancy { tenant: None, subject, expected, actual }
    };
    Report { rows: 3, discrepancies: differ.map(told).collect(), ..Report::default() }
}

/// Versions count outcomes: from 1, each once.
fn gaps(tenant: &TenantId, sorted: &[u64]) -> Vec<Discrepancy> {
    let (mut found, mut last) = (Vec::new(), 0);
    let told = |subject, expected: &str, actual: Option<&str>| {
        let (tenant, expected) = (Some(tenant.clone()), Some(expected.to_owned()));
        Discrepancy { tenant, subject, expected, actual: actual.map(str::to_owned) }
    };
    for version in sorted.iter().copied() {
        if version == last {
            found.push(told(Subject::Outcomes(version, version), "one", Some("there more than once")));
        } else if version - last > 1 {
            found.push(told(Subject::Outcomes(last + 1, version - 1), "there", None));
        }
        last = version;
    }
    found
}

/// What stood already when the rows were compared the last time: a drift is told once, and again when it has changed.
#[derive(Debug, Default)]
pub(super) struct Standing(BTreeMap<Option<TenantId>, Vec<Discrepancy>>);

impl Standing {
    /// Which of `found`, all there is of `tenant`, did not stand before.
    pub(super) fn news(&mut self, tenant: Option<&TenantId>, found: &[Discrepancy]) -> Vec<Discrepancy> {
        let tenant = tenant.cloned();
        let before = self.0.remove(&tenant).unwrap_or_default();
        if !found.is_empty() {
            self.0.insert(tenant, found.to_vec());
        }
        found.iter().filter(|discrepancy| !before.contains(discrepancy)).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{message_id, tenant};

    #[test]
    fn what_stands_is_told_once_and_again_when_it_has_changed_or_come_back() {
        let (acme, globex) = (tenant("acme"), tenant("globex"));
        let drift = |actual: &str| {
            let (expected, actual) = (Some("1".to_owned()), Some(actual.to_owned()));
            Discrepancy { tenant: Some(tenant("acme")), subject: Subject::Version, expected, actual }
        };
        let mut standing = Standing::default();
        assert_eq!(standing.news(Some(&acme), &[drift("2")]), [drift("2")]);
        assert_eq!(standing.news(Some(&acme), &[drift("2")]), []);
        assert_eq!(standing.news(Some(&acme), &[drift("3")]), [drift("3")]);
        assert_eq!(standing.news(Some(&acme), &[]), []);
        assert_eq!(standing.news(Some(&acme), &[drift("3")]), [drift("3")]);
        assert_eq!(standing.news(Some(&globex), &[]), []);
    }

    #[test]
    fn the_order_in_which_outcomes_are_read_makes_no_difference() {
        let name = |text: &str| Name::parse(text).unwrap();
        let limit = |value| Change::SetLimit { limit_type: name("seats"), value };
        let (granted, revoked) = (
            Change::GrantEntitlement { entitlement: name("sso") },
            Change::RevokeEntitlement { entitlement: name("sso") },
        );
        let outcomes: Vec<_> = [limit(5), granted, limit(7), revoked]
            .into_iter()
            .zip(1..)
            .map(|(change, version)| {
                let verdict = Ok(vec![change]);
                Outcome {
                    body_sha256: [0; 32],
                    verdict,
                    version,
                    at_unix_ms: 0,
                    authority_revision: 1,
                    rules_version: 1,
                }
            })
            .collect();
        let state = TenantState {
            version: 4,
            limits: [(name("seats"), 7)].into(),
            limit_versions: [(name("seats"), 3)].into(),
            ..TenantState::default()
        };
        for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]] {
            let mut expected = Expected::of(None);
            order.iter().for_each(|index| expected.take(&message_id("m-1"), &outcomes[*index]));
            let report = expected.compare(&tenant("acme"), Rows::of(&state));
            assert_eq!((report.discrepancies, report.rows), (Vec::new(), 7), "{order:?}");
        }
    }

    #[test]
    fn an_outcome_that_is_missing_or_there_twice_is_told() {
        let told = |versions: &[u64]| {
            let found = gaps(&tenant("acme"), versions);
            found.into_iter().map(|discrepancy| discrepancy.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(told(&[1, 2, 3]), Vec::<String>::new());
        assert_eq!(told(&[2]), ["acme: outcome of version 1 is missing, and should be there"]);
        assert_eq!(told(&[1, 5]), ["acme: outcomes of versions 2 to 4 is missing, and should be there"]);
        assert_eq!(told(&[1, 1]), ["acme: outcome of version 1 is there more than once, and should be one"]);
    }
}
