//! `grant_entitlement`: the tenant may use a feature from now on, whatever plan it is on. Rejected when it was granted
//! already; that the plan carries it as well is no reason not to, for plans change.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Change, Decide, Declined, Permission, Rejection, Spec, TenantView, payload};
use crate::ids::Name;
use crate::schema;

pub(super) const SPEC: Spec = Spec {
    name: "grant_entitlement",
    permission: Permission::ManageEntitlements,
    while_suspended: false,
    example: r#"{"entitlement": "sso"}"#,
    schema: schema::of::<GrantEntitlement>,
    parse: |json| Ok(Arc::new(payload::<GrantEntitlement>(json)?)),
};

/// A feature that the tenant may use from now on.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct GrantEntitlement {
    /// The feature.
    entitlement: Name,
}

impl Decide for GrantEntitlement {
    fn decide(&self, tenant: &dyn TenantView) -> Result<Vec<Change>, Declined> {
        if tenant.is_granted(&self.entitlement)? {
            let detail = format!("the tenant was already granted {}", self.entitlement);
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
        tenant.granted.insert(sso);
        let again = decide(SPEC.name, r#"{"entitlement": "sso"}"#, &tenant);
        assert_eq!(again, Err("entitlement_already_granted: the tenant was already granted sso".into()));
    }
}
