//! What a command would change: decided as it would be, over the tenant's state as it stands, and nothing done.
//!
//! What it is given is a state that was read, and no table: there is nothing here that could write. It says what an action
//! decides now; pauses, revocations and other commands may come between this and the effect.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{StoredCredential, TenantState};
use crate::action::{Change, Currency, Declined, Limit, Reason, Rejection, Suspension, TenantView};
use crate::billing::Rules;
use crate::ids::Name;
use crate::message::Message;
use crate::secret::{KeyVersion, Sealed};

/// What became of a dry run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DryRun {
    /// The tenant's version that was looked at: as long as it has this one, the command would still do the same.
    pub version: u64,
    /// The version of the billing rules that judged it.
    pub rules_version: u32,
    /// Whether the tenant is paused: then the command would wait.
    pub paused: bool,
    /// Why the tenant is suspended, if it is.
    pub suspension: Option<Suspension>,
    /// What would be done, or why it would be rejected.
    pub verdict: Result<Announced, Rejection>,
    /// The tenant's version at which a command of this id had its outcome, if one had: then no other will.
    pub spent: Option<u64>,
}

/// What a command would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announced {
    /// The changes its outcome would have. Of a credential the ciphertext's hash is empty: nothing was sealed.
    pub changes: Vec<Change>,
    /// What would stand where after them, sorted. Empty where everything stands so already.
    pub differences: Vec<Difference>,
}

/// Where an entitlement comes from: what holds one may lose it from one origin and keep it from the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// It was granted by itself.
    Grant,
    /// The plan carries it.
    Plan,
}

/// One thing of a tenant's as it stands and as it would stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Difference {
    /// A limit, in its own unit.
    Limit {
        /// Which.
        limit_type: Name,
        /// None: it was never set.
        before: Option<u64>,
        /// None never comes of a command.
        after: Option<u64>,
    },
    /// The plan.
    Plan {
        /// None: the tenant is on none.
        before: Option<Name>,
        /// None never comes of a command.
        after: Option<Name>,
    },
    /// An entitlement from one of its origins.
    Entitlement {
        /// Which.
        entitlement: Name,
        /// From where.
        origin: Origin,
        /// Whether it is held.
        before: bool,
        /// Whether it would be.
        after: bool,
    },
    /// A balance of credit.
    Credit {
        /// As ISO 4217 writes it.
        currency: String,
        /// In minor units.
        before_minor: u64,
        /// In minor units.
        after_minor: u64,
        /// What is added, or with a minus taken, in minor units.
        change_minor: i64,
    },
    /// The suspension.
    Suspension {
        /// Why, if it is suspended.
        before: Option<Reason>,
        /// Why, if it would be.
        after: Option<Reason>,
    },
    /// A credential. Two of the same key may still be different secrets.
    Credential {
        /// Which.
        credential: Name,
        /// The version of the data key that sealed it, if there is one.
        before: Option<KeyVersion>,
        /// The version that would seal it.
        after: Option<KeyVersion>,
    },
    /// What secrets are sealed under from then on.
    DataKey {
        /// Its version.
        before: KeyVersion,
        /// Its version.
        after: KeyVersion,
    },
}

/// What `message` would change in `state` by `rules`; `spent` is the version at which its id had an outcome.
///
/// # Errors
/// When the state could not be read.
pub(super) fn decide(
    state: &TenantState,
    rules: &Rules,
    rules_version: u32,
    message: &Message,
    spent: Option<u64>,
) -> Result<DryRun, redb::Error> {
    let verdict = match message.action.decide(&Seen { state, rules }) {
        Ok(changes) => {
            let differences = differences(state, &after(state, &changes, message));
            Ok(Announced { changes, differences })
        }
        Err(Declined::Rejected(rejection)) => Err(rejection),
        Err(Declined::Unreadable(error)) => return Err(error),
    };
    let (version, paused, suspension) = (state.version, state.pause_generation.is_paused(), state.suspension.clone());
    Ok(DryRun { version, rules_version, paused, suspension, verdict, spent })
}

/// A state that was read, as an action may see it.
struct Seen<'a> {
    state: &'a TenantState,
    rules: &'a Rules,
}

impl TenantView for Seen<'_> {
    fn rules(&self) -> &Rules {
        self.rules
    }

    fn limit(&self, limit_type: &Name) -> Result<Option<Limit>, redb::Error> {
        let version = self.state.limit_versions.get(limit_type).copied().unwrap_or_default();
        Ok(self.state.limits.get(limit_type).map(|value| Limit { value: *value, version }))
    }

    fn is_granted(&self, entitlement: &Name) -> Result<bool, redb::Error> {
        Ok(self.state.entitlements.contains(entitlement))
    }

    fn plan(&self) -> Result<Option<Name>, redb::Error> {
        Ok(self.state.plan.clone())
    }

    fn plan_carrying(&self, entitlement: &Name) -> Result<Option<Name>, redb::Error> {
        let carried = self.state.plan_entitlements.contains(entitlement);
        Ok(self.state.plan.clone().filter(|_| carried))
    }

    fn suspension(&self) -> Result<Option<Suspension>, redb::Error> {
        Ok(self.state.suspension.clone())
    }

    fn credit(&self, currency: &Currency) -> Result<u64, redb::Error> {
        Ok(self.state.credits.get(currency.as_str()).copied().unwrap_or(0))
    }

    fn data_key(&self) -> KeyVersion {
        self.state.data_key
    }

    /// The producer seals what it sends: its seal fits, and a dry run is shown none.
    fn check_seal(&self, _: &Sealed) -> Result<(), Rejection> {
        Ok(())
    }
}

/// `state` as it would stand after `changes` of `message`.
fn after(state: &TenantState, changes: &[Change], message: &Message) -> TenantState {
    let mut after = TenantState { version: state.version + 1, ..state.clone() };
    let version = after.version;
    for change in changes {
        match change.clone() {
            Change::SetLimit { limit_type, value } => {
                after.limits.insert(limit_type.clone(), value);
                after.limit_versions.insert(limit_type, version);
            }
            Change::GrantEntitlement { entitlement } => drop(after.entitlements.insert(entitlement)),
            Change::RevokeEntitlement { entitlement } => drop(after.entitlements.remove(&entitlement)),
            Change::PostCredit { currency, balance_minor, .. } => {
                after.credits.insert(currency.as_str().to_owned(), balance_minor);
            }
            Change::ChangePlan { plan, entitlements } => {
                (after.plan, after.plan_entitlements) = (Some(plan), entitlements);
            }
            Change::Suspend { reason } => after.suspension = Some(Suspension { reason, version }),
            Change::Resume { .. } => after.suspension = None,
            Change::StoreCredential { credential, data_key, sealed_sha256 } => {
                let message_id = message.message_id.clone();
                after.credentials.insert(credential, StoredCredential { data_key, message_id, version, sealed_sha256 });
            }
            Change::RotateDataKey { data_key } => after.data_key = data_key,
            Change::EraseSecrets { data_keys_up_to } => {
                after.credentials.clear();
                after.data_key = data_keys_up_to.next();
            }
        }
    }
    after
}

/// What stands differently in `after`.
pub(super) fn differences(before: &TenantState, after: &TenantState) -> Vec<Difference> {
    let mut all = Vec::new();
    for (limit_type, before, after) in changed(&before.limits, &after.limits) {
        all.push(Difference::Limit { limit_type, before: before.copied(), after: after.copied() });
    }
    if before.plan != after.plan {
        all.push(Difference::Plan { before: before.plan.clone(), after: after.plan.clone() });
    }
    for (origin, before, after) in [
        (Origin::Grant, &before.entitlements, &after.entitlements),
        (Origin::Plan, &before.plan_entitlements, &after.plan_entitlements),
    ] {
        for entitlement in before.symmetric_difference(after) {
            let (before, after) = (before.contains(entitlement), after.contains(entitlement));
            all.push(Difference::Entitlement { entitlement: entitlement.clone(), origin, before, after });
        }
    }
    for (currency, before, after) in changed(&before.credits, &after.credits) {
        let (before_minor, after_minor) = (before.copied().unwrap_or(0), after.copied().unwrap_or(0));
        // No balance is near the end of either type.
        let change_minor = after_minor.wrapping_sub(before_minor).cast_signed();
        all.push(Difference::Credit { currency, before_minor, after_minor, change_minor });
    }
    let reason = |state: &TenantState| state.suspension.as_ref().map(|suspension| suspension.reason.clone());
    if before.suspension != after.suspension {
        all.push(Difference::Suspension { before: reason(before), after: reason(after) });
    }
    for (credential, before, after) in changed(&before.credentials, &after.credentials) {
        let key = |kept: Option<&StoredCredential>| kept.map(|kept| kept.data_key);
        all.push(Difference::Credential { credential, before: key(before), after: key(after) });
    }
    if before.data_key != after.data_key {
        all.push(Difference::DataKey { before: before.data_key, after: after.data_key });
    }
    all
}

/// What the two have differently, by its key.
fn changed<'a, K: Clone + Ord, V: PartialEq>(
    before: &'a BTreeMap<K, V>,
    after: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = (K, Option<&'a V>, Option<&'a V>)> {
    let keys: BTreeSet<&K> = before.keys().chain(after.keys()).collect();
    let both = keys.into_iter().map(|key| (key.clone(), before.get(key), after.get(key)));
    both.filter(|(_, before, after)| before != after)
}
