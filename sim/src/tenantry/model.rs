//! The model: what Tenantry should do, in as few words as possible, sharing no logic with it.
//!
//! A tenant's state here is three maps, a command four cases, a right a table. Where the system has transactions, leases
//! and grants, this has none: it replays the commands in the order in which they took effect and says what must follow.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::cast::Part;

/// What an operator asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// Set a limit.
    UpdateLimit {
        /// Which.
        limit_type: String,
        /// To what.
        new_limit: u64,
        /// Only if it was last set by the tenant's outcome of this number; 0: only if it never was.
        expected_version: Option<u64>,
    },
    /// Give an entitlement.
    Grant {
        /// Which.
        entitlement: String,
    },
    /// Take an entitlement.
    Revoke {
        /// Which.
        entitlement: String,
    },
    /// Keep a secret.
    Store {
        /// Under which name.
        credential: String,
        /// The secret; begins with the run's canary.
        secret: String,
    },
    /// Seal under a new key from now on.
    Rotate,
    /// Destroy all secrets, and the keys that open them.
    Erase,
    /// Add credit.
    Credit {
        /// How much, in minor units.
        amount_minor: u64,
        /// Of what.
        currency: String,
    },
}

impl Ask {
    /// The action's name and its payload, as the message spells them.
    #[must_use]
    pub fn wire(&self) -> (&'static str, serde_json::Value) {
        use serde_json::json;
        match self {
            Self::UpdateLimit { limit_type, new_limit, expected_version } => {
                let mut payload = json!({"limit_type": limit_type, "new_limit": new_limit});
                if let Some(expected) = expected_version {
                    payload["expected_version"] = json!(expected);
                }
                ("update_billing_limit", payload)
            }
            Self::Grant { entitlement } => ("grant_entitlement", json!({ "entitlement": entitlement })),
            Self::Revoke { entitlement } => ("revoke_entitlement", json!({ "entitlement": entitlement })),
            Self::Credit { amount_minor, currency } => {
                ("issue_credit", json!({"amount_minor": amount_minor, "currency": currency}))
            }
            Self::Store { credential, secret } => {
                ("store_credential", json!({"credential": credential, "secret": secret}))
            }
            Self::Rotate => ("rotate_data_key", json!({})),
            Self::Erase => ("erase_tenant_secrets", json!({})),
        }
    }

    /// The same action with another payload.
    #[must_use]
    pub fn another(&self) -> Self {
        match self.clone() {
            Self::UpdateLimit { limit_type, new_limit, .. } => {
                Self::UpdateLimit { limit_type, new_limit: new_limit + 1, expected_version: None }
            }
            Self::Grant { entitlement } => Self::Grant { entitlement: format!("{entitlement}-2") },
            Self::Revoke { entitlement } => Self::Revoke { entitlement: format!("{entitlement}-2") },
            Self::Credit { amount_minor, currency } => Self::Credit { amount_minor: amount_minor + 1, currency },
            Self::Store { .. } | Self::Rotate | Self::Erase => Self::Credit { amount_minor: 1, currency: "EUR".into() },
        }
    }

    /// Whether someone who is `part` to the tenant may ask for it.
    #[must_use]
    pub fn allowed(&self, part: Option<Part>) -> bool {
        match self {
            Self::UpdateLimit { .. } | Self::Credit { .. } => matches!(part, Some(Part::Billing | Part::Admin)),
            Self::Grant { .. } | Self::Revoke { .. } | Self::Store { .. } | Self::Rotate | Self::Erase => {
                part == Some(Part::Admin)
            }
        }
    }
}

/// One tenant, as it should be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tenant {
    /// Limit type to value.
    pub limits: BTreeMap<String, u64>,
    /// Entitlements held.
    pub entitlements: BTreeSet<String>,
    /// Currency to minor units.
    pub credits: BTreeMap<String, u64>,
    /// Credential to the number of the key that sealed it.
    pub credentials: BTreeMap<String, u64>,
    /// The number of the key that seals.
    pub key: u64,
    /// Keys before this number are destroyed.
    destroyed: u64,
    /// How many commands had an outcome.
    outcomes: u64,
    /// Limit type to the number of the outcome that set it.
    set_by: BTreeMap<String, u64>,
}

impl Tenant {
    /// Something that changes nothing has its outcome.
    pub fn pass(&mut self) {
        self.outcomes += 1;
    }

    /// Does what is asked, a secret of which came sealed by the key of number `sealed_by`; `false` if it can't be done, and
    /// then nothing has changed.
    pub fn apply(&mut self, ask: &Ask, sealed_by: Option<u64>) -> bool {
        self.outcomes += 1;
        match ask {
            Ask::UpdateLimit { limit_type, new_limit, expected_version } => {
                let last = self.set_by.get(limit_type).copied().unwrap_or(0);
                if expected_version.is_some_and(|expected| expected != last) {
                    return false;
                }
                self.limits.insert(limit_type.clone(), *new_limit);
                self.set_by.insert(limit_type.clone(), self.outcomes);
                true
            }
            Ask::Grant { entitlement } => self.entitlements.insert(entitlement.clone()),
            Ask::Revoke { entitlement } => self.entitlements.remove(entitlement),
            Ask::Store { credential, .. } => match sealed_by {
                Some(key) if key >= self.destroyed && key <= self.key => {
                    self.credentials.insert(credential.clone(), key);
                    true
                }
                _ => false,
            },
            Ask::Rotate => {
                self.key += 1;
                true
            }
            Ask::Erase => {
                self.credentials.clear();
                self.key += 1;
                self.destroyed = self.key;
                true
            }
            Ask::Credit { amount_minor, currency } => {
                *self.credits.entry(currency.clone()).or_default() += amount_minor;
                true
            }
        }
    }
}
