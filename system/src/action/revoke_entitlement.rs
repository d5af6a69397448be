//! `revoke_entitlement`: takes back what was granted. Rejected when nothing was; what the plan carries goes with the plan.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Change, Decide, Declined, Permission, Rejection, Spec, TenantView, payload};
use crate::ids::Name;
use crate::schema;

pub(super) const SPEC: Spec = Spec {
    name: "revoke_entitlement",
    permission: Permission::ManageEntitlements,
    while_suspended: false,
    example: r#"{"entitlement": "sso"}"#,
    schema: schema::of::<RevokeEntitlement>,
    parse: |json| Ok(Arc::new(payload::<RevokeEntitlement>(json)?)),
};

/// A feature that the tenant may use no longer.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RevokeEntitlement {
    /// The feature.
    entitlement: Name,
}

impl Decide for RevokeEntitlement {
    fn decide(&self, tenant: &dyn TenantView) -> Result<Vec<Change>, Declined> {
        if !tenant.is_granted(&self.entitlement)? {
            let detail = match tenant.plan_carrying(&self.entitlement)? {
                Some(plan) => format!("{} comes with the plan {plan}; change the plan", self.entitlement),
                None => format!("the tenant was not granted {}", self.entitlement),
            };
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
        assert_eq!(absent, Err("entitlement_not_granted: the tenant was not granted sso".into()));
        tenant.granted.insert(sso.clone());
        tenant.plan = Some(Name::parse("business").unwrap());
        let held = decide(SPEC.name, r#"{"entitlement": "sso"}"#, &tenant);
        assert_eq!(held, Ok(vec![Change::RevokeEntitlement { entitlement: sso }]));
        let carried = decide(SPEC.name, r#"{"entitlement": "api"}"#, &tenant);
        assert_eq!(carried, Err("entitlement_not_granted: api comes with the plan business; change the plan".into()));
    }
}
