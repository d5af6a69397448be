//! `issue_credit`: adds to the tenant's credit, as a transaction of the journal. Additive on purpose: whatever applies a
//! command twice shows here.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Change, Currency, Decide, Declined, Permission, Rejection, Spec, TenantView, payload};
use crate::schema;
use crate::whole::Whole;

pub(super) const SPEC: Spec = Spec {
    name: "issue_credit",
    permission: Permission::IssueCredit,
    while_suspended: false,
    example: r#"{"amount_minor": 500, "currency": "EUR"}"#,
    schema: schema::of::<IssueCredit>,
    parse: |json| Ok(Arc::new(payload::<IssueCredit>(json)?)),
};

/// The most credit one command may give, in minor units: ten million of a currency with cents.
const MAX_AMOUNT_MINOR: u64 = 1_000_000_000;

/// The highest balance, in minor units. Far below where sums over tenants could overflow 64 bits.
pub(crate) const MAX_BALANCE_MINOR: u64 = 1_000_000_000_000;

/// Credit for the tenant, on top of what it has.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct IssueCredit {
    /// How much, in the currency's smallest unit: cents, for EUR.
    amount_minor: Whole<1, MAX_AMOUNT_MINOR>,
    /// The currency, as ISO 4217 writes it.
    currency: Currency,
}

impl Decide for IssueCredit {
    fn decide(&self, tenant: &dyn TenantView) -> Result<Vec<Change>, Declined> {
        let before = tenant.credit(&self.currency)?;
        let amount = self.amount_minor.get();
        let sum = before.checked_add(amount).filter(|sum| *sum <= MAX_BALANCE_MINOR);
        let Some(balance_minor) = sum else {
            let [before, amount, most] = [before, amount, MAX_BALANCE_MINOR].map(|minor| self.currency.show(minor));
            let detail = format!("{before} and {amount} exceed {most}");
            return Err(Rejection::new("credit_ceiling", detail).into());
        };
        Ok(vec![Change::PostCredit { currency: self.currency, amount_minor: amount, balance_minor }])
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{InMemory, decide};
    use super::*;

    #[test]
    fn credit_adds_up_to_a_ceiling() {
        let mut tenant = InMemory::default();
        let eur = Currency::parse("EUR").unwrap();
        tenant.credits.insert(eur, MAX_BALANCE_MINOR - 5);
        let five = decide(SPEC.name, r#"{"amount_minor": 5, "currency": "EUR"}"#, &tenant);
        assert_eq!(
            five,
            Ok(vec![Change::PostCredit { currency: eur, amount_minor: 5, balance_minor: MAX_BALANCE_MINOR }])
        );
        let six = decide(SPEC.name, r#"{"amount_minor": 6, "currency": "EUR"}"#, &tenant);
        assert_eq!(six, Err("credit_ceiling: 9999999999.95 EUR and 0.06 EUR exceed 10000000000.00 EUR".into()));
    }

    #[test]
    fn nothing_too_much_and_unknown_currencies_are_refused() {
        for payload in [
            r#"{"amount_minor": 0, "currency": "EUR"}"#,
            r#"{"amount_minor": 1000000001, "currency": "EUR"}"#,
            r#"{"amount_minor": 1, "currency": "eur"}"#,
            r#"{"amount_minor": 1, "currency": "EURO"}"#,
            r#"{"amount_minor": 1, "currency": "XXX"}"#,
        ] {
            assert!(decide(SPEC.name, payload, &InMemory::default()).is_err(), "{payload} was accepted");
        }
    }
}
