//! The model: what Tenantry should do, in as few words as possible, sharing no logic with it.
//!
//! A tenant's state here is a handful of maps, a command a case, a right, a plan and a guardrail a table. Where the system has transactions, leases
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
    /// Set the limit that is money.
    Spend {
        /// To what, in minor units.
        new_limit: u64,
        /// Of what.
        currency: String,
    },
    /// Put the tenant on a plan.
    ChangePlan {
        /// Which.
        plan: String,
    },
    /// Reject everything else from now on.
    Suspend,
    /// Let everything else take effect again.
    Resume,
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
            Self::Spend { new_limit, currency } => (
                "update_billing_limit",
                json!({"limit_type": "monthly_spend", "new_limit": new_limit, "currency": currency}),
            ),
            Self::ChangePlan { plan } => ("change_plan", json!({ "plan": plan })),
            Self::Suspend => ("suspend_tenant", json!({"reason": "unpaid"})),
            Self::Resume => ("resume_tenant", json!({"reason": "paid"})),
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
            Self::Spend { new_limit, currency } => Self::Spend { new_limit: new_limit + 100, currency },
            Self::ChangePlan { plan } => Self::ChangePlan { plan: format!("{plan}-2") },
            Self::Suspend => Self::Resume,
            Self::Resume => Self::Suspend,
            Self::Store { .. } | Self::Rotate | Self::Erase => Self::Credit { amount_minor: 1, currency: "EUR".into() },
        }
    }

    /// Whether someone who is `part` to the tenant may ask for it.
    #[must_use]
    pub fn allowed(&self, part: Option<Part>) -> bool {
        match self {
            Self::UpdateLimit { .. } | Self::Spend { .. } | Self::Credit { .. } => {
                matches!(part, Some(Part::Billing | Part::Admin))
            }
            Self::Grant { .. } | Self::Revoke { .. } | Self::Store { .. } | Self::Rotate | Self::Erase => {
                part == Some(Part::Admin)
            }
            Self::ChangePlan { .. } | Self::Suspend | Self::Resume => part == Some(Part::Admin),
        }
    }
}

/// What each plan carries.
const PLANS: [(&str, &[&str]); 3] =
    [("free", &["api"]), ("team", &["api", "audit-export"]), ("business", &["api", "audit-export", "sso"])];

/// Whether a tenant on `plan` may have `limit_type` at `value`.
fn may_be(plan: Option<&str>, limit_type: &str, value: u64) -> bool {
    match (limit_type, plan) {
        ("seats", Some("free")) => (1..=5).contains(&value),
        ("seats", Some("team")) => (1..=500).contains(&value),
        ("seats", _) => (1..=1_000_000).contains(&value),
        // Whole euros, up to ten millions of them.
        ("monthly_spend", _) => value <= 1_000_000_000 && value.is_multiple_of(100),
        _ => value <= 1_000_000_000_000,
    }
}

/// One tenant, as it should be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tenant {
    /// Limit type to value.
    pub limits: BTreeMap<String, u64>,
    /// Entitlements that were granted.
    pub entitlements: BTreeSet<String>,
    /// The plan.
    pub plan: Option<String>,
    /// Whether everything but its end is rejected, and secrets' erasure.
    pub suspended: bool,
    /// Each credit: by the outcome of which number, how much, of what.
    pub given: Vec<(u64, u64, String)>,
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
    /// Entitlements that its plan carries.
    #[must_use]
    pub fn carried(&self) -> BTreeSet<String> {
        let plan = PLANS.iter().find(|(plan, _)| self.plan.as_deref() == Some(plan));
        plan.into_iter().flat_map(|(_, carried)| carried.iter()).map(|name| (*name).to_owned()).collect()
    }

    /// All entitlements it has.
    #[must_use]
    pub fn held(&self) -> BTreeSet<String> {
        self.entitlements.union(&self.carried()).cloned().collect()
    }

    /// Sets a limit, if it may be that.
    fn set(&mut self, limit_type: &str, value: u64) -> bool {
        let may = may_be(self.plan.as_deref(), limit_type, value);
        if may {
            self.limits.insert(limit_type.to_owned(), value);
            self.set_by.insert(limit_type.to_owned(), self.outcomes);
        }
        may
    }

    /// Something that changes nothing has its outcome.
    pub fn pass(&mut self) {
        self.outcomes += 1;
    }

    /// Does what is asked, a secret of which came sealed by the key of number `sealed_by`; `false` if it can't be done, and
    /// then nothing has changed.
    pub fn apply(&mut self, ask: &Ask, sealed_by: Option<u64>) -> bool {
        self.outcomes += 1;
        if self.suspended && !matches!(ask, Ask::Resume | Ask::Erase) {
            return false;
        }
        match ask {
            Ask::UpdateLimit { limit_type, new_limit, expected_version } => {
                let last = self.set_by.get(limit_type).copied().unwrap_or(0);
                if expected_version.is_some_and(|expected| expected != last) {
                    return false;
                }
                self.set(limit_type, *new_limit)
            }
            Ask::Spend { new_limit, currency } => currency == "EUR" && self.set("monthly_spend", *new_limit),
            Ask::ChangePlan { plan } => {
                let known = PLANS.iter().any(|(name, _)| name == plan);
                let fits = self.limits.iter().all(|(limit_type, value)| may_be(Some(plan), limit_type, *value));
                if known && fits {
                    self.plan = Some(plan.clone());
                }
                known && fits
            }
            Ask::Suspend => {
                self.suspended = true;
                true
            }
            Ask::Resume => std::mem::replace(&mut self.suspended, false),
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
                self.given.push((self.outcomes, *amount_minor, currency.clone()));
                true
            }
        }
    }
}
