//! `suspend_tenant`: every other command of the tenant is rejected from now on, with the reason, until it is resumed.
//!
//! A decision about a customer: it has its place in the tenant's history, is on record with who made it and why, and
//! answers everyone who asks meanwhile. An operator's pause is none of that: it holds the queue still, rejects nothing, and
//! what waits takes effect once it ends.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Change, Decide, Declined, Permission, Reason, Spec, TenantView, payload};
use crate::schema;

pub(super) const SPEC: Spec = Spec {
    name: "suspend_tenant",
    permission: Permission::SuspendTenant,
    while_suspended: false,
    example: r#"{"reason": "invoices of March and April are unpaid"}"#,
    schema: schema::of::<SuspendTenant>,
    parse: |json| Ok(Arc::new(payload::<SuspendTenant>(json)?)),
};

/// Why nothing of the tenant's takes effect from now on.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SuspendTenant {
    /// In words; whoever asks for something meanwhile is told it.
    reason: Reason,
}

impl Decide for SuspendTenant {
    fn decide(&self, _: &dyn TenantView) -> Result<Vec<Change>, Declined> {
        Ok(vec![Change::Suspend { reason: self.reason.clone() }])
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{InMemory, decide};
    use super::super::{REGISTRY, Suspension};
    use super::*;

    #[test]
    fn while_a_tenant_is_suspended_only_resuming_and_erasing_do_anything() {
        let reason = Reason::parse("unpaid").unwrap();
        let suspended = InMemory { suspension: Some(Suspension { reason, version: 7 }), ..InMemory::default() };
        for spec in REGISTRY {
            let decided = decide(spec.name, spec.example, &suspended);
            if matches!(spec.name, "resume_tenant" | "erase_tenant_secrets") {
                assert!(decided.is_ok(), "{}: {decided:?}", spec.name);
            } else {
                let told = "tenant_suspended: the tenant is suspended since version 7: unpaid";
                assert_eq!(decided, Err(told.into()), "{}", spec.name);
            }
        }
    }

    #[test]
    fn a_reason_is_one_printable_line() {
        for reason in [r#""""#, r#""a\nb""#, r#""\u00e9""#, r#""\u001b[2J""#, "5", &format!("{:?}", "x".repeat(201))] {
            let refused = decide(SPEC.name, &format!(r#"{{"reason": {reason}}}"#), &InMemory::default());
            assert!(refused.unwrap_err().starts_with("payload.reason: must be "), "{reason}");
        }
    }
}
