//! `grant_entitlement`: the tenant may use a feature from now on. Rejected when it already may.

use std::sync::Arc;

use serde::Deserialize;

use super::{Change, Decide, Declined, Permission, Rejection, Spec, TenantView, payload};
use crate::ids::Name;

pub(super) const SPEC: Spec = Spec {
    name: "grant_entitlement",
    permission: Permission::ManageEntitlements,
    example: r#"{"entitlement":"sso"}"#,
    parse: |json| Ok(Arc::new(payload::<GrantEntitlement>(json)?)),
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct GrantEntitlement {
    entitlement: Name,
}

impl Decide for GrantEntitlement {
    fn decide(&self, tenant: &dyn TenantView) -> Result<Vec<Change>, Declined> {
        if tenant.has_entitlement(&self.entitlement)? {
            let detail = format!("the tenant already holds {}", self.entitlement);
            return Err(Rejection::new("entitlement_already_granted", detail).into());
        }
        Ok(vec![Change::GrantEntitlement { entitlement: self.entitlement.clone() }])
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{InMemory, decide};
    use super::*;

    #[test]
    fn a_second_grant_is_rejected() {
        let mut tenant = InMemory::default();
        let sso = Name::parse("sso").unwrap();
        let granted = decide(SPEC.name, r#"{"entitlement": "sso"}"#, &tenant);
        assert_eq!(granted, Ok(vec![Change::GrantEntitlement { entitlement: sso.clone() }]));
        tenant.entitlements.insert(sso);
        let again = decide(SPEC.name, r#"{"entitlement": "sso"}"#, &tenant);
        assert_eq!(again, Err("entitlement_already_granted: the tenant already holds sso".into()));
    }
}
