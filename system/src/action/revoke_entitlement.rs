//! `revoke_entitlement`: the tenant may no longer use a feature. Rejected when it could not anyway.

use std::sync::Arc;

use serde::Deserialize;

use super::{Change, Decide, Declined, Permission, Rejection, Spec, TenantView, payload};
use crate::ids::Name;

pub(super) const SPEC: Spec = Spec {
    name: "revoke_entitlement",
    permission: Permission::ManageEntitlements,
    example: r#"{"entitlement":"sso"}"#,
    parse: |json| Ok(Arc::new(payload::<RevokeEntitlement>(json)?)),
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RevokeEntitlement {
    entitlement: Name,
}

impl Decide for RevokeEntitlement {
    fn decide(&self, tenant: &dyn TenantView) -> Result<Vec<Change>, Declined> {
        if !tenant.has_entitlement(&self.entitlement)? {
            let detail = format!("the tenant does not hold {}", self.entitlement);
            return Err(Rejection::new("entitlement_not_granted", detail).into());
        }
        Ok(vec![Change::RevokeEntitlement { entitlement: self.entitlement.clone() }])
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{InMemory, decide};
    use super::*;

    #[test]
    fn only_what_is_held_can_be_revoked() {
        let mut tenant = InMemory::default();
        let sso = Name::parse("sso").unwrap();
        let absent = decide(SPEC.name, r#"{"entitlement": "sso"}"#, &tenant);
        assert_eq!(absent, Err("entitlement_not_granted: the tenant does not hold sso".into()));
        tenant.entitlements.insert(sso.clone());
        let held = decide(SPEC.name, r#"{"entitlement": "sso"}"#, &tenant);
        assert_eq!(held, Ok(vec![Change::RevokeEntitlement { entitlement: sso }]));
    }
}
