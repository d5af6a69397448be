//! What operators can ask for. A new action is one new file and one line in the registry below.
//!
//! An action decides; it does not act. [`Decide::decide`] looks at one tenant's state and returns the changes to make or
//! a rejection, and the ledger makes the changes. So an action can be tried without effect (dry run, shadow mode), and
//! cannot name a tenant: it is only ever shown one.

mod change_plan;
mod erase_tenant_secrets;
mod grant_entitlement;
mod issue_credit;
mod reason;
mod resume_tenant;
mod revoke_entitlement;
mod rotate_data_key;
mod store_credential;
mod suspend_tenant;
mod update_billing_limit;
pub(crate) mod words;

use std::collections::BTreeSet;
use std::fmt::{self, Debug};
use std::sync::Arc;

use schemars::{Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::billing::Rules;
use crate::ids::Name;
use crate::message::{MAX_PAYLOAD_DEPTH, Refusal, depth, quoted, strict_object};
use crate::secret::{KeyVersion, Sealed, Secret};

pub use crate::billing::Currency;
pub(crate) use issue_credit::MAX_BALANCE_MINOR;
pub use reason::Reason;
pub(crate) use store_credential::SECRET_FIELD;

/// Every action there is: the registry.
pub const REGISTRY: &[Spec] = &[
    update_billing_limit::SPEC,
    grant_entitlement::SPEC,
    revoke_entitlement::SPEC,
    issue_credit::SPEC,
    store_credential::SPEC,
    rotate_data_key::SPEC,
    erase_tenant_secrets::SPEC,
    change_plan::SPEC,
    suspend_tenant::SPEC,
    resume_tenant::SPEC,
];

/// One action as the registry knows it.
#[derive(Clone, Copy)]
pub struct Spec {
    /// The `action` of a message.
    pub name: &'static str,
    /// What an operator must hold on the tenant.
    pub permission: Permission,
    /// Whether it may take effect while the tenant is suspended: what ends the suspension, and what protects the tenant
    /// and can't wait for it.
    pub while_suspended: bool,
    /// A payload that is right, as JSON: for people, and for tests that need one of every action.
    pub example: &'static str,
    /// The payload's JSON Schema, from the type it is read into: [`crate::schema::of`].
    pub schema: fn() -> Schema,
    parse: fn(&RawValue) -> Result<Arc<dyn Decide>, Refusal>,
}

impl Spec {
    /// Whether its payload has a sensitive field: its example says.
    #[must_use]
    pub fn has_secret(&self) -> bool {
        let example = RawValue::from_string(self.example.into()).expect("an example is JSON");
        (self.parse)(&example).is_ok_and(|payload| payload.secret().is_some())
    }
}

impl fmt::Debug for Spec {
    /// The name stands for the rest: where a function lies in memory differs from run to run.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// What an operator may hold on a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Permission {
    /// See limits, entitlements, credits and what became of commands.
    Read,
    /// Change billing limits.
    ManageLimits,
    /// Grant and revoke entitlements.
    ManageEntitlements,
    /// Give credit.
    IssueCredit,
    /// Stop all effects on the tenant, and let them go on.
    PauseTenant,
    /// Store credentials, and change the key that they are sealed with.
    ManageCredentials,
    /// Erase all of the tenant's secrets for good.
    EraseSecrets,
    /// Put the tenant on another plan.
    ChangePlan,
    /// Suspend the tenant, and resume it.
    SuspendTenant,
    /// Replay dead letters, together with the permission that each asks for, and discard them.
    ManageDeadLetters,
}

impl Permission {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Read,
        Self::ManageLimits,
        Self::ManageEntitlements,
        Self::IssueCredit,
        Self::PauseTenant,
        Self::ManageCredentials,
        Self::EraseSecrets,
        Self::ChangePlan,
        Self::SuspendTenant,
        Self::ManageDeadLetters,
    ];

    /// The permission as people and policies spell it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::ManageLimits => "manage_limits",
            Self::ManageEntitlements => "manage_entitlements",
            Self::IssueCredit => "issue_credit",
            Self::PauseTenant => "pause_tenant",
            Self::ManageCredentials => "manage_credentials",
            Self::EraseSecrets => "erase_secrets",
            Self::ChangePlan => "change_plan",
            Self::SuspendTenant => "suspend_tenant",
            Self::ManageDeadLetters => "manage_dead_letters",
        }
    }
}

/// A parsed action: its registry entry and its payload.
#[derive(Debug, Clone)]
pub struct Action {
    spec: &'static Spec,
    payload: Arc<dyn Decide>,
}

impl Action {
    /// The name a message gives it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.spec.name
    }

    /// What an operator must hold to ask for it.
    #[must_use]
    pub fn permission(&self) -> Permission {
        self.spec.permission
    }

    /// Its sensitive field, if it has one.
    #[must_use]
    pub fn secret(&self) -> Option<&Secret> {
        self.payload.secret()
    }

    /// Its sensitive field, if it has one that is sealed.
    #[must_use]
    pub fn sealed(&self) -> Option<&Sealed> {
        match self.secret() {
            Some(Secret::Sealed(sealed)) => Some(sealed),
            Some(Secret::Clear(_) | Secret::Withheld) | None => None,
        }
    }

    /// What it would change in `tenant`, or why it is rejected. Reads only.
    pub fn decide(&self, tenant: &dyn TenantView) -> Result<Vec<Change>, Declined> {
        if !self.spec.while_suspended
            && let Some(Suspension { reason, version }) = tenant.suspension()?
        {
            let detail = format!("the tenant is suspended since version {version}: {reason}");
            return Err(Rejection::new("tenant_suspended", detail).into());
        }
        self.payload.decide(tenant)
    }
}

/// A payload that can decide.
pub trait Decide: Debug + Send + Sync {
    /// See [`Action::decide`].
    fn decide(&self, tenant: &dyn TenantView) -> Result<Vec<Change>, Declined>;

    /// See [`Action::secret`].
    fn secret(&self) -> Option<&Secret> {
        None
    }
}

/// One tenant's state, as an action may see it. The tenant is not named: there is no other to ask for.
pub trait TenantView {
    /// The billing rules that judge it.
    fn rules(&self) -> &Rules;
    /// A limit, if it was ever set.
    fn limit(&self, limit_type: &Name) -> Result<Option<Limit>, redb::Error>;
    /// Whether the tenant was granted an entitlement, beside what its plan carries.
    fn is_granted(&self, entitlement: &Name) -> Result<bool, redb::Error>;
    /// The plan the tenant is on.
    fn plan(&self) -> Result<Option<Name>, redb::Error>;
    /// The plan the tenant is on, if it carried `entitlement` when the tenant was put on it.
    fn plan_carrying(&self, entitlement: &Name) -> Result<Option<Name>, redb::Error>;
    /// Why the tenant is suspended, if it is.
    fn suspension(&self) -> Result<Option<Suspension>, redb::Error>;
    /// Credit in minor units of `currency`.
    fn credit(&self, currency: &Currency) -> Result<u64, redb::Error>;
    /// The version of the data key that seals from now on.
    fn data_key(&self) -> KeyVersion;
    /// Whether the secret of the command in work was sealed for it, under a key that is not erased.
    fn check_seal(&self, sealed: &Sealed) -> Result<(), Rejection>;
}

/// A limit as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// In the limit's own unit.
    pub value: u64,
    /// The tenant's version at which it was set; 0 if the tenant was brought in with it.
    pub version: u64,
}

/// Why a tenant is suspended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspension {
    /// In the words of whoever suspended it.
    pub reason: Reason,
    /// The tenant's version since when.
    pub version: u64,
}

/// One change of one tenant's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// A limit takes a new value.
    SetLimit {
        /// Which limit.
        limit_type: Name,
        /// Its new value, in the limit's own unit.
        value: u64,
    },
    /// An entitlement is granted, beside what the plan carries.
    GrantEntitlement {
        /// Which.
        entitlement: Name,
    },
    /// An entitlement is no longer granted.
    RevokeEntitlement {
        /// Which.
        entitlement: Name,
    },
    /// Credit is given: a transaction of the journal.
    PostCredit {
        /// In which currency.
        currency: Currency,
        /// How much, in minor units.
        amount_minor: u64,
        /// The balance after the change, in minor units.
        balance_minor: u64,
    },
    /// A credential takes a new value, which no change shows.
    StoreCredential {
        /// Which.
        credential: Name,
        /// The version of the data key that sealed it.
        data_key: KeyVersion,
        /// SHA-256 of the ciphertext, in hexadecimal.
        sealed_sha256: String,
    },
    /// Secrets are sealed under a new data key.
    RotateDataKey {
        /// Its version.
        data_key: KeyVersion,
    },
    /// All credentials are gone, and all data keys are destroyed.
    EraseSecrets {
        /// The latest version that is destroyed.
        data_keys_up_to: KeyVersion,
    },
    /// The tenant is on another plan.
    ChangePlan {
        /// Which.
        plan: Name,
        /// What it carries, in the place of what the last one carried.
        entitlements: BTreeSet<Name>,
    },
    /// Commands of the tenant are rejected from now on.
    Suspend {
        /// Why.
        reason: Reason,
    },
    /// Commands of the tenant take effect again.
    Resume {
        /// Why.
        reason: Reason,
    },
}

/// Why an action changes nothing.
#[derive(Debug, thiserror::Error)]
pub enum Declined {
    /// The state forbids it: a final answer, recorded as the command's outcome.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The state could not be read: nothing is decided.
    #[error("failed to read the tenant's state: {0}")]
    Unreadable(#[from] redb::Error),
}

/// A final "no" to a command, as a code for programs and words for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct Rejection {
    /// Stable, `snake_case`.
    pub code: String,
    /// Which rule, and the values involved.
    pub detail: String,
}

impl Rejection {
    /// A rejection under `code`.
    pub fn new(code: &str, detail: impl Into<String>) -> Self {
        Self { code: code.into(), detail: detail.into() }
    }
}

/// Finds an action by its name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Spec> {
    REGISTRY.iter().find(|spec| spec.name == name)
}

/// Reads the payload of the action called `name`.
///
/// # Errors
/// An unknown action, or the payload's first wrong field.
pub fn parse(name: &str, payload: &RawValue) -> Result<Action, Refusal> {
    let spec = find(name).ok_or_else(|| {
        let known: Vec<_> = REGISTRY.iter().map(|spec| spec.name).collect();
        Refusal::new("action", format!("{} is unknown; known are {}", quoted(name), known.join(", ")))
    })?;
    Ok(Action { spec, payload: (spec.parse)(payload)? })
}

/// How each action's file reads its payload: strictly, then by its own checks.
fn payload<'a, P: Deserialize<'a>>(json: &'a RawValue) -> Result<P, Refusal> {
    let depth = depth(json.get());
    if depth > MAX_PAYLOAD_DEPTH {
        return Err(Refusal::new("payload", format!("nests {depth} levels deep; the limit is {MAX_PAYLOAD_DEPTH}")));
    }
    strict_object(json.get().as_bytes(), "payload")
}

/// The schema of a message's `action`: one of the registry's names.
pub(crate) fn names_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "enum": REGISTRY.iter().map(|spec| spec.name).collect::<Vec<_>>()})
}

/// Adds to a message's schema what each action's payload must be.
pub(crate) fn describe_payloads(message: &mut Schema) {
    let (mut rules, mut definitions) = (Vec::new(), serde_json::Map::new());
    for spec in REGISTRY {
        let mut payload = (spec.schema)();
        payload.remove("$schema");
        definitions.insert(spec.name.into(), payload.into());
        rules.push(json!({
            "if": {"properties": {"action": {"const": spec.name}}, "required": ["action"]},
            "then": {"properties": {"payload": {"$ref": format!("#/$defs/{}", spec.name)}}},
        }));
    }
    message.insert("allOf".into(), Value::Array(rules));
    message.insert("$defs".into(), definitions.into());
}

/// A tenant's state in memory, for the actions' tests.
#[cfg(test)]
pub(crate) mod testing {
    use std::collections::BTreeMap;

    use super::*;

    #[derive(Default)]
    pub(crate) struct InMemory {
        pub(crate) rules: Rules,
        pub(crate) limits: BTreeMap<Name, Limit>,
        pub(crate) granted: BTreeSet<Name>,
        pub(crate) plan: Option<Name>,
        pub(crate) suspension: Option<Suspension>,
        pub(crate) credits: BTreeMap<Currency, u64>,
        pub(crate) data_key: KeyVersion,
        pub(crate) seals_fit: bool,
    }

    impl TenantView for InMemory {
        fn rules(&self) -> &Rules {
            &self.rules
        }
        fn limit(&self, limit_type: &Name) -> Result<Option<Limit>, redb::Error> {
            Ok(self.limits.get(limit_type).copied())
        }
        fn is_granted(&self, entitlement: &Name) -> Result<bool, redb::Error> {
            Ok(self.granted.contains(entitlement))
        }
        fn plan(&self) -> Result<Option<Name>, redb::Error> {
            Ok(self.plan.clone())
        }
        fn plan_carrying(&self, entitlement: &Name) -> Result<Option<Name>, redb::Error> {
            let carries =
                |plan: &Name| self.rules.plan(plan).is_some_and(|plan| plan.entitlements.contains(entitlement));
            Ok(self.plan.clone().filter(carries))
        }
        fn suspension(&self) -> Result<Option<Suspension>, redb::Error> {
            Ok(self.suspension.clone())
        }
        fn credit(&self, currency: &Currency) -> Result<u64, redb::Error> {
            Ok(self.credits.get(currency).copied().unwrap_or(0))
        }
        fn data_key(&self) -> KeyVersion {
            self.data_key
        }
        fn check_seal(&self, _: &Sealed) -> Result<(), Rejection> {
            if self.seals_fit { Ok(()) } else { Err(Rejection::new("sealed_for_another", "")) }
        }
    }

    pub(crate) fn decide(action: &str, payload: &str, tenant: &InMemory) -> Result<Vec<Change>, String> {
        let raw = RawValue::from_string(payload.into()).unwrap();
        let action = parse(action, &raw).map_err(|refusal| refusal.to_string())?;
        action.decide(tenant).map_err(|declined| declined.to_string())
    }
}
