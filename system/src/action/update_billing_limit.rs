//! `update_billing_limit`: sets one of the tenant's billing limits, within the guardrails of the billing rules and of the
//! tenant's plan.
//!
//! With `expected_version` it is compare-and-set: rejected unless the limit was last set at that version of the tenant.
//! Two operators who both looked and both change can't overwrite each other unseen.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Change, Currency, Decide, Declined, Permission, Rejection, Spec, TenantView, payload};
use crate::billing::LIMIT_MAX;
use crate::ids::Name;
use crate::message::given;
use crate::schema;
use crate::whole::{WHOLE_MAX, Whole};

pub(super) const SPEC: Spec = Spec {
    name: "update_billing_limit",
    permission: Permission::ManageLimits,
    while_suspended: false,
    example: r#"{"limit_type": "api_requests", "new_limit": 10000}"#,
    schema: schema::of::<UpdateBillingLimit>,
    parse: |json| Ok(Arc::new(payload::<UpdateBillingLimit>(json)?)),
};

/// A new value for one of the tenant's billing limits.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct UpdateBillingLimit {
    /// Which limit.
    limit_type: Name,
    /// Its new value, in the limit's own unit: minor units, where it is money. The billing rules may bound it further.
    new_limit: Whole<0, LIMIT_MAX>,
    /// The currency of a limit that is money, and of no other.
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "Currency")]
    currency: Option<Currency>,
    /// The tenant's version at which the limit was set last, 0 if it never was: rejected unless it still is. Absent: set
    /// whatever it is.
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "Whole<0, WHOLE_MAX>")]
    expected_version: Option<Whole<0, WHOLE_MAX>>,
}

impl Decide for UpdateBillingLimit {
    fn decide(&self, tenant: &dyn TenantView) -> Result<Vec<Change>, Declined> {
        let Self { limit_type, new_limit, currency, expected_version } = self;
        let guardrail = tenant.rules().guardrail(tenant.plan()?.as_ref(), limit_type);
        if *currency != guardrail.currency {
            let detail = match guardrail.currency {
                Some(right) => format!("{limit_type} counts minor units of {right}; say \"currency\": \"{right}\""),
                None => format!("{limit_type} is no money; leave currency out"),
            };
            return Err(Rejection::new("wrong_currency", detail).into());
        }
        if let Err(problem) = guardrail.check(limit_type, new_limit.get()) {
            return Err(Rejection::new("outside_guardrail", problem).into());
        }
        if let Some(expected) = expected_version.map(Whole::get) {
            let actual = tenant.limit(limit_type)?.map_or(0, |limit| limit.version);
            if actual != expected {
                let set = if actual == 0 { "was never set".into() } else { format!("was set at version {actual}") };
                let detail = format!("{limit_type} {set}, the command expects version {expected}");
                return Err(Rejection::new("version_conflict", detail).into());
            }
        }
        Ok(vec![Change::SetLimit { limit_type: limit_type.clone(), value: new_limit.get() }])
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{InMemory, decide};
    use super::*;
    use crate::action::Limit;

    fn set(payload: &str, tenant: &InMemory) -> Result<Vec<Change>, String> {
        decide(SPEC.name, payload, tenant)
    }

    fn made(limit_type: &str, value: u64) -> Result<Vec<Change>, String> {
        Ok(vec![Change::SetLimit { limit_type: Name::parse(limit_type).unwrap(), value }])
    }

    #[test]
    fn sets_the_limit_between_floor_and_ceiling_and_no_further() {
        let tenant = InMemory::default();
        let set = |limit_type, limit: u64| {
            set(&format!(r#"{{"limit_type": "{limit_type}", "new_limit": {limit}}}"#), &tenant)
        };
        assert_eq!(set("api_requests", LIMIT_MAX), made("api_requests", LIMIT_MAX));
        assert_eq!(
            set("api_requests", LIMIT_MAX + 1),
            Err("payload.new_limit: is 1000000000001; must be a whole number from 0 to 1000000000000, without fraction or exponent".into())
        );
        assert_eq!(set("seats", 1), made("seats", 1));
        assert_eq!(set("seats", 0), Err("outside_guardrail: seats is 0, and must be 1 to 1000000".into()));
    }

    #[test]
    fn the_tenants_plan_may_bound_a_limit_further() {
        let tenant = InMemory { plan: Some(Name::parse("free").unwrap()), ..InMemory::default() };
        assert_eq!(set(r#"{"limit_type": "seats", "new_limit": 5}"#, &tenant), made("seats", 5));
        let told = "outside_guardrail: seats is 6, and must be 1 to 5";
        assert_eq!(set(r#"{"limit_type": "seats", "new_limit": 6}"#, &tenant), Err(told.into()));
    }

    #[test]
    fn money_is_counted_in_a_currency_that_both_sides_name() {
        let tenant = InMemory::default();
        let spend = |more: &str| set(&format!(r#"{{"limit_type": "monthly_spend", "new_limit": 500{more}}}"#), &tenant);
        assert_eq!(spend(r#", "currency": "EUR""#), made("monthly_spend", 500));
        let right = "wrong_currency: monthly_spend counts minor units of EUR; say \"currency\": \"EUR\"";
        assert_eq!(spend(""), Err(right.into()));
        assert_eq!(spend(r#", "currency": "USD""#), Err(right.into()));
        let refused = spend(r#", "currency": "EUX""#).unwrap_err();
        assert!(refused.starts_with("payload.currency: is EUX"), "{refused}");
        let seats = set(r#"{"limit_type": "seats", "new_limit": 5, "currency": "EUR"}"#, &tenant);
        assert_eq!(seats, Err("wrong_currency: seats is no money; leave currency out".into()));
    }

    #[test]
    fn whoever_expects_another_version_is_rejected_and_told_which_it_is() {
        let mut tenant = InMemory::default();
        let set = |tenant: &InMemory, expected: u64| {
            set(&format!(r#"{{"limit_type": "seats", "new_limit": 5, "expected_version": {expected}}}"#), tenant)
        };
        assert!(set(&tenant, 0).is_ok());
        assert_eq!(
            set(&tenant, 3).unwrap_err(),
            "version_conflict: seats was never set, the command expects version 3"
        );
        tenant.limits.insert(Name::parse("seats").unwrap(), Limit { value: 5, version: 7 });
        assert!(set(&tenant, 7).is_ok());
        let stale = set(&tenant, 3).unwrap_err();
        assert_eq!(stale, "version_conflict: seats was set at version 7, the command expects version 3");
    }
}
