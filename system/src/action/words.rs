//! Changes in words: what an audit record and a terminal say of them. Programs read them as JSON.

use std::fmt;

use super::Change;

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SetLimit { limit_type, value } => write!(f, "limit {limit_type} is {value}"),
            Self::GrantEntitlement { entitlement } => write!(f, "entitlement {entitlement} is granted"),
            Self::RevokeEntitlement { entitlement } => write!(f, "entitlement {entitlement} is revoked"),
            Self::PostCredit { currency, amount_minor, balance_minor } => {
                write!(f, "{amount_minor} {currency} of credit in minor units, {balance_minor} in all")
            }
            Self::StoreCredential { credential, data_key, .. } => {
                write!(f, "credential {credential} is stored, sealed under data key {data_key}")
            }
            Self::RotateDataKey { data_key } => write!(f, "secrets are sealed under data key {data_key} from now on"),
            Self::EraseSecrets { data_keys_up_to } => {
                write!(f, "all credentials are gone, and the data keys up to {data_keys_up_to}")
            }
            Self::ChangePlan { plan, entitlements } => {
                write!(f, "the plan is {plan}")?;
                let carried: Vec<_> = entitlements.iter().map(ToString::to_string).collect();
                if carried.is_empty() { Ok(()) } else { write!(f, ", with {}", carried.join(" and ")) }
            }
            Self::Suspend { reason } => write!(f, "suspended: {reason}"),
            Self::Resume { reason } => write!(f, "resumed: {reason}"),
        }
    }
}

/// All of `changes` in one line.
pub(crate) fn told(changes: &[Change]) -> String {
    changes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Name;
    use crate::secret::KeyVersion;

    #[test]
    fn changes_are_told_in_words() {
        let name = |text: &str| Name::parse(text).unwrap();
        let plan = Change::ChangePlan { plan: name("team"), entitlements: [name("api"), name("sso")].into() };
        let limit = Change::SetLimit { limit_type: name("seats"), value: 7 };
        assert_eq!(told(&[limit, plan]), "limit seats is 7; the plan is team, with api and sso");
        let stored = Change::StoreCredential {
            credential: name("stripe"),
            data_key: KeyVersion(2),
            sealed_sha256: "ab".repeat(32),
        };
        assert_eq!(told(&[stored]), "credential stripe is stored, sealed under data key 2");
        assert_eq!(told(&[]), "");
    }
}
