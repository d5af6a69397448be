//! `rotate_data_key`: what is sealed from now on is sealed under a new data key of the tenant. What older ones sealed
//! stays readable, until it is stored anew or the tenant's secrets are erased.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Change, Decide, Declined, Permission, Spec, TenantView, payload};
use crate::schema;

pub(super) const SPEC: Spec = Spec {
    name: "rotate_data_key",
    permission: Permission::ManageCredentials,
    while_suspended: false,
    example: "{}",
    schema: schema::of::<RotateDataKey>,
    parse: |json| Ok(Arc::new(payload::<RotateDataKey>(json)?)),
};

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RotateDataKey {}

impl Decide for RotateDataKey {
    fn decide(&self, tenant: &dyn TenantView) -> Result<Vec<Change>, Declined> {
        // The key itself is made when something is to be sealed under it: the transaction waits for no key provider.
        Ok(vec![Change::RotateDataKey { data_key: tenant.data_key().next() }])
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{InMemory, decide};
    use super::*;
    use crate::secret::KeyVersion;

    #[test]
    fn the_next_version_follows_the_present_one() {
        let rotated = decide(SPEC.name, "{}", &InMemory { data_key: KeyVersion(4), ..InMemory::default() });
        assert_eq!(rotated, Ok(vec![Change::RotateDataKey { data_key: KeyVersion(5) }]));
        assert!(decide(SPEC.name, r#"{"tenant": "globex"}"#, &InMemory::default()).is_err());
    }
}
