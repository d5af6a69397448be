//! `resume_tenant`: ends a suspension. What was rejected meanwhile stays rejected, and is to be sent anew.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Change, Decide, Declined, Permission, Reason, Rejection, Spec, TenantView, payload};
use crate::schema;

pub(super) const SPEC: Spec = Spec {
    name: "resume_tenant",
    permission: Permission::SuspendTenant,
    while_suspended: true,
    example: r#"{"reason": "all is paid"}"#,
    schema: schema::of::<ResumeTenant>,
    parse: |json| Ok(Arc::new(payload::<ResumeTenant>(json)?)),
};

/// Why the tenant's commands take effect again.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ResumeTenant {
    /// In words.
    reason: Reason,
}

impl Decide for ResumeTenant {
    fn decide(&self, tenant: &dyn TenantView) -> Result<Vec<Change>, Declined> {
        if tenant.suspension()?.is_none() {
            return Err(Rejection::new("tenant_not_suspended", "the tenant is not suspended").into());
        }
        Ok(vec![Change::Resume { reason: self.reason.clone() }])
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{InMemory, decide};
    use super::*;
    use crate::action::Suspension;

    #[test]
    fn only_what_is_suspended_can_be_resumed() {
        let idle = decide(SPEC.name, SPEC.example, &InMemory::default());
        assert_eq!(idle, Err("tenant_not_suspended: the tenant is not suspended".into()));
        let reason = Reason::parse("unpaid").unwrap();
        let suspended = InMemory { suspension: Some(Suspension { reason, version: 1 }), ..InMemory::default() };
        let reason = Reason::parse("all is paid").unwrap();
        assert_eq!(decide(SPEC.name, SPEC.example, &suspended), Ok(vec![Change::Resume { reason }]));
    }
}
