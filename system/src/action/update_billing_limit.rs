//! `update_billing_limit`: sets one of the tenant's billing limits.

use std::sync::Arc;

use serde::Deserialize;

use super::{Change, Decide, Declined, Permission, Spec, TenantView, payload};
use crate::ids::Name;
use crate::message::Refusal;

pub(super) const SPEC: Spec = Spec {
    name: "update_billing_limit",
    permission: Permission::ManageLimits,
    parse: |json| Ok(Arc::new(read(json)?)),
};

/// The highest limit that can be set. A typing slip of a few zeros must not become "unlimited": the guardrail of R3.
pub(super) const MAX_LIMIT: u64 = 1_000_000_000_000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct UpdateBillingLimit {
    limit_type: Name,
    new_limit: u64,
}

fn read(json: &serde_json::value::RawValue) -> Result<UpdateBillingLimit, Refusal> {
    let read: UpdateBillingLimit = payload(json)?;
    if read.new_limit > MAX_LIMIT {
        return Err(Refusal::new("payload.new_limit", format!("is {}; at most {MAX_LIMIT}", read.new_limit)));
    }
    Ok(read)
}

impl Decide for UpdateBillingLimit {
    fn decide(&self, _tenant: &dyn TenantView) -> Result<Vec<Change>, Declined> {
        Ok(vec![Change::SetLimit { limit_type: self.limit_type.clone(), value: self.new_limit }])
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{InMemory, decide};
    use super::*;

    #[test]
    fn sets_the_limit_up_to_the_ceiling_and_no_further() {
        let set = |limit: u64| {
            decide(SPEC.name, &format!(r#"{{"limit_type": "seats", "new_limit": {limit}}}"#), &InMemory::default())
        };
        let expected = Change::SetLimit { limit_type: Name::parse("seats").unwrap(), value: MAX_LIMIT };
        assert_eq!(set(MAX_LIMIT), Ok(vec![expected]));
        assert_eq!(set(MAX_LIMIT + 1), Err("payload.new_limit: is 1000000000001; at most 1000000000000".into()));
    }
}
