//! `change_plan`: the tenant is on another plan from now on. The entitlements that its plan carried go, those of the new
//! one come, and those that were granted one by one stay. Rejected while one of its limits lies outside the new plan's
//! guardrails: nobody's limit is changed without saying so.
//!
//! To the plan that the tenant is on it is no error: it takes over what the rules have made of the plan since.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Change, Decide, Declined, Permission, Rejection, Spec, TenantView, payload};
use crate::ids::Name;
use crate::schema;

pub(super) const SPEC: Spec = Spec {
    name: "change_plan",
    permission: Permission::ChangePlan,
    while_suspended: false,
    example: r#"{"plan": "business"}"#,
    schema: schema::of::<ChangePlan>,
    parse: |json| Ok(Arc::new(payload::<ChangePlan>(json)?)),
};

/// The plan that the tenant is on from now on.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ChangePlan {
    /// One of the billing rules' plans.
    plan: Name,
}

impl Decide for ChangePlan {
    fn decide(&self, tenant: &dyn TenantView) -> Result<Vec<Change>, Declined> {
        let rules = tenant.rules();
        let Some(plan) = rules.plan(&self.plan) else {
            let known: Vec<_> = rules.plans().map(Name::as_str).collect();
            let detail = format!("there is no plan {}; known are {}", self.plan, known.join(", "));
            return Err(Rejection::new("unknown_plan", detail).into());
        };
        // The general guardrail counts, too: a limit that was fine by the old plan may have none of its own in the new.
        for limit_type in rules.limits().chain(plan.limits.keys()) {
            let Some(limit) = tenant.limit(limit_type)? else { continue };
            if let Err(problem) = rules.guardrail(Some(&self.plan), limit_type).check(limit_type, limit.value) {
                let detail = format!("{problem} on plan {}; change the limit first", self.plan);
                return Err(Rejection::new("limit_outside_plan", detail).into());
            }
        }
        Ok(vec![Change::ChangePlan { plan: self.plan.clone(), entitlements: plan.entitlements.clone() }])
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{InMemory, decide};
    use super::*;
    use crate::action::Limit;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    #[test]
    fn a_plan_brings_its_entitlements_whatever_the_tenant_was_on() {
        for plan in [None, Some("free"), Some("business"), Some("gone")] {
            let tenant = InMemory { plan: plan.map(name), ..InMemory::default() };
            let entitlements = ["api", "audit-export", "sso"].map(name).into();
            let expected = Ok(vec![Change::ChangePlan { plan: name("business"), entitlements }]);
            assert_eq!(decide(SPEC.name, SPEC.example, &tenant), expected);
        }
    }

    #[test]
    fn a_plan_that_there_is_not_or_that_the_limits_do_not_fit_is_rejected() {
        let mut tenant = InMemory::default();
        let unknown = decide(SPEC.name, r#"{"plan": "gold"}"#, &tenant);
        assert_eq!(unknown, Err("unknown_plan: there is no plan gold; known are business, free, team".into()));
        tenant.limits.insert(name("seats"), Limit { value: 6, version: 1 });
        let told = "limit_outside_plan: seats is 6, and must be 1 to 5 on plan free; change the limit first";
        assert_eq!(decide(SPEC.name, r#"{"plan": "free"}"#, &tenant), Err(told.into()));
        assert!(decide(SPEC.name, r#"{"plan": "team"}"#, &tenant).is_ok());
    }
}
