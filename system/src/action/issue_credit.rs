//! `issue_credit`: adds to the tenant's credit. Additive on purpose: whatever applies a command twice shows here.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};

use super::{Change, Decide, Declined, Permission, Rejection, Spec, TenantView, payload};
use crate::message::Refusal;

pub(super) const SPEC: Spec = Spec {
    name: "issue_credit",
    permission: Permission::IssueCredit,
    example: r#"{"amount_minor":100,"currency":"EUR"}"#,
    parse: |json| Ok(Arc::new(read(json)?)),
};

/// The most credit one command may give, in minor units: ten million of a currency with cents.
const MAX_AMOUNT_MINOR: u64 = 1_000_000_000;

/// The highest balance, in minor units. Far below where sums over tenants could overflow 64 bits.
const MAX_BALANCE_MINOR: u64 = 1_000_000_000_000;

/// A currency code in the form of ISO 4217: three capital ASCII letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Currency(#[serde(serialize_with = "as_text")] [u8; 3]);

impl Currency {
    /// Takes a three-letter code.
    ///
    /// # Errors
    /// Says what would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        match <[u8; 3]>::try_from(text.as_bytes()) {
            Ok(code) if code.iter().all(u8::is_ascii_uppercase) => Ok(Self(code)),
            _ => Err(format!("must be an ISO 4217 code of three capital letters such as EUR, not {text:?}")),
        }
    }

    /// The code as text.
    ///
    /// # Panics
    /// Never: it holds capital ASCII letters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("capital ASCII letters")
    }
}

fn as_text<S: serde::Serializer>(code: &[u8; 3], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(Currency(*code).as_str())
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct IssueCredit {
    amount_minor: u64,
    currency: Currency,
}

fn read(json: &serde_json::value::RawValue) -> Result<IssueCredit, Refusal> {
    let read: IssueCredit = payload(json)?;
    if read.amount_minor == 0 || read.amount_minor > MAX_AMOUNT_MINOR {
        let problem = format!("is {}; must be 1 to {MAX_AMOUNT_MINOR} minor units", read.amount_minor);
        return Err(Refusal::new("payload.amount_minor", problem));
    }
    Ok(read)
}

impl Decide for IssueCredit {
    fn decide(&self, tenant: &dyn TenantView) -> Result<Vec<Change>, Declined> {
        let before = tenant.credit(&self.currency)?;
        let sum = before.checked_add(self.amount_minor).filter(|sum| *sum <= MAX_BALANCE_MINOR);
        let Some(balance_minor) = sum else {
            let detail = format!("{before} + {} exceeds {MAX_BALANCE_MINOR} {}", self.amount_minor, self.currency);
            return Err(Rejection::new("credit_ceiling", detail).into());
        };
        Ok(vec![Change::SetCredit { currency: self.currency, balance_minor }])
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
        assert_eq!(five, Ok(vec![Change::SetCredit { currency: eur, balance_minor: MAX_BALANCE_MINOR }]));
        let six = decide(SPEC.name, r#"{"amount_minor": 6, "currency": "EUR"}"#, &tenant);
        assert!(six.unwrap_err().starts_with("credit_ceiling: 999999999995 + 6 exceeds"));
    }

    #[test]
    fn nothing_too_much_and_unknown_currencies_are_refused() {
        for payload in [
            r#"{"amount_minor": 0, "currency": "EUR"}"#,
            r#"{"amount_minor": 1000000001, "currency": "EUR"}"#,
            r#"{"amount_minor": 1, "currency": "eur"}"#,
            r#"{"amount_minor": 1, "currency": "EURO"}"#,
        ] {
            assert!(decide(SPEC.name, payload, &InMemory::default()).is_err(), "{payload} was accepted");
        }
    }
}
