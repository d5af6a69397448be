//! `erase_tenant_secrets`: all the tenant's credentials go, and the data keys under which any secret of theirs was ever
//! sealed are destroyed. What is sealed and lies elsewhere - queues, dead letters, the audit log, copies - opens for
//! nobody from then on, and the log still verifies. A key of a later version is made when a secret is stored again.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Change, Decide, Declined, Permission, Spec, TenantView, payload};
use crate::schema;

pub(super) const SPEC: Spec = Spec {
    name: "erase_tenant_secrets",
    permission: Permission::EraseSecrets,
    while_suspended: true,
    example: "{}",
    schema: schema::of::<EraseTenantSecrets>,
    parse: |json| Ok(Arc::new(payload::<EraseTenantSecrets>(json)?)),
};

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct EraseTenantSecrets {}

impl Decide for EraseTenantSecrets {
    fn decide(&self, tenant: &dyn TenantView) -> Result<Vec<Change>, Declined> {
        Ok(vec![Change::EraseSecrets { data_keys_up_to: tenant.data_key() }])
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{InMemory, decide};
    use super::*;
    use crate::secret::KeyVersion;

    #[test]
    fn every_key_there_ever_was_is_named() {
        let erased = decide(SPEC.name, "{}", &InMemory { data_key: KeyVersion(4), ..InMemory::default() });
        assert_eq!(erased, Ok(vec![Change::EraseSecrets { data_keys_up_to: KeyVersion(4) }]));
    }
}
