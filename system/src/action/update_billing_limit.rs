//! `update_billing_limit`: sets one of the tenant's billing limits, within its guardrails.
//!
//! With `expected_version` it is compare-and-set: rejected unless the limit was last set at that version of the tenant.
//! Two operators who both looked and both change can't overwrite each other unseen.

use std::sync::Arc;

use serde::Deserialize;

use super::{Change, Decide, Declined, Permission, Rejection, Spec, TenantView, payload};
use crate::ids::Name;
use crate::message::{Refusal, given};

pub(super) const SPEC: Spec = Spec {
    name: "update_billing_limit",
    permission: Permission::ManageLimits,
    example: r#"{"limit_type":"api_requests","new_limit":10000}"#,
    parse: |json| Ok(Arc::new(read(json)?)),
};

/// What a limit may be set to, both ends included: the guardrail of R3. A typing slip of a few zeros must not become
/// "unlimited".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Guardrail {
    floor: u64,
    ceiling: u64,
}

/// Of limits that have no other.
const ANY: Guardrail = Guardrail { floor: 0, ceiling: 1_000_000_000_000 };

/// Limits with a guardrail of their own. No seats would lock every user of the tenant out.
const GUARDRAILS: &[(&str, Guardrail)] = &[("seats", Guardrail { floor: 1, ceiling: 1_000_000 })];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct UpdateBillingLimit {
    limit_type: Name,
    new_limit: u64,
    #[serde(default, deserialize_with = "given")]
    expected_version: Option<u64>,
}

fn read(json: &serde_json::value::RawValue) -> Result<UpdateBillingLimit, Refusal> {
    let read: UpdateBillingLimit = payload(json)?;
    let own = GUARDRAILS.iter().find(|(limit_type, _)| *limit_type == read.limit_type.as_str());
    let Guardrail { floor, ceiling } = own.map_or(ANY, |(_, guardrail)| *guardrail);
    if read.new_limit < floor || read.new_limit > ceiling {
        let problem = format!("is {}; {} must be {floor} to {ceiling}", read.new_limit, read.limit_type);
        return Err(Refusal::new("payload.new_limit", problem));
    }
    Ok(read)
}

impl Decide for UpdateBillingLimit {
    fn decide(&self, tenant: &dyn TenantView) -> Result<Vec<Change>, Declined> {
        if let Some(expected) = self.expected_version {
            let actual = tenant.limit_version(&self.limit_type)?;
            if actual != expected {
                let set = if actual == 0 { "was never set".into() } else { format!("was set at version {actual}") };
                let detail = format!("{} {set}, the command expects version {expected}", self.limit_type);
                return Err(Rejection::new("version_conflict", detail).into());
            }
        }
        Ok(vec![Change::SetLimit { limit_type: self.limit_type.clone(), value: self.new_limit }])
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{InMemory, decide};
    use super::*;

    fn set(limit_type: &str, limit: u64) -> Result<Vec<Change>, String> {
        let payload = format!(r#"{{"limit_type": "{limit_type}", "new_limit": {limit}}}"#);
        decide(SPEC.name, &payload, &InMemory::default())
    }

    #[test]
    fn sets_the_limit_between_floor_and_ceiling_and_no_further() {
        let expected = |limit_type, value| Change::SetLimit { limit_type: Name::parse(limit_type).unwrap(), value };
        assert_eq!(set("api_requests", ANY.ceiling), Ok(vec![expected("api_requests", ANY.ceiling)]));
        assert_eq!(
            set("api_requests", ANY.ceiling + 1),
            Err("payload.new_limit: is 1000000000001; api_requests must be 0 to 1000000000000".into())
        );
        assert_eq!(set("seats", 1), Ok(vec![expected("seats", 1)]));
        assert_eq!(set("seats", 0), Err("payload.new_limit: is 0; seats must be 1 to 1000000".into()));
    }

    #[test]
    fn whoever_expects_another_version_is_rejected_and_told_which_it_is() {
        let mut tenant = InMemory::default();
        let set = |tenant: &InMemory, expected: u64| {
            let payload = format!(r#"{{"limit_type": "seats", "new_limit": 5, "expected_version": {expected}}}"#);
            decide(SPEC.name, &payload, tenant)
        };
        assert!(set(&tenant, 0).is_ok());
        assert_eq!(
            set(&tenant, 3).unwrap_err(),
            "version_conflict: seats was never set, the command expects version 3"
        );
        tenant.limit_versions.insert(Name::parse("seats").unwrap(), 7);
        assert!(set(&tenant, 7).is_ok());
        let stale = set(&tenant, 3).unwrap_err();
        assert_eq!(stale, "version_conflict: seats was set at version 7, the command expects version 3");
    }
}
