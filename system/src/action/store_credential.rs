//! `store_credential`: keeps a secret of the tenant under a name, in the place of what was there. Only an operator's own
//! request has it in clear; from the producer on it is sealed, see [`crate::secret`].

use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Change, Decide, Declined, Permission, Rejection, Spec, TenantView, payload};
use crate::ids::Name;
use crate::message::Refusal;
use crate::schema;
use crate::secret::{CLEAR_MAX_BYTES, Secret};

pub(super) const SPEC: Spec = Spec {
    name: "store_credential",
    permission: Permission::ManageCredentials,
    while_suspended: false,
    example: r#"{"credential": "stripe", "secret": "an-example-and-no-secret"}"#,
    schema: schema::of::<Wire<'_>>,
    parse: |json| Ok(Arc::new(read(json)?)),
};

/// The field of the payload that is sealed.
pub(crate) const SECRET_FIELD: &str = "secret";

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "StoreCredential")]
struct Wire<'a> {
    credential: Name,
    #[serde(borrow)]
    #[schemars(schema_with = "in_clear")]
    secret: &'a RawValue,
}

#[derive(Debug)]
struct StoreCredential {
    credential: Name,
    secret: Secret,
}

/// What an operator writes. JSON Schema counts characters, the parser bytes: they agree where text is ASCII.
fn in_clear(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "minLength": 1, "maxLength": CLEAR_MAX_BYTES })
}

fn read(json: &RawValue) -> Result<StoreCredential, Refusal> {
    let wire: Wire<'_> = payload(json)?;
    Ok(StoreCredential { credential: wire.credential, secret: Secret::read(wire.secret, "payload.secret")? })
}

impl Decide for StoreCredential {
    fn decide(&self, tenant: &dyn TenantView) -> Result<Vec<Change>, Declined> {
        let (data_key, sealed_sha256) = match &self.secret {
            Secret::Clear(_) => return Err(Rejection::new("not_sealed", "a secret in clear is stored nowhere").into()),
            Secret::Sealed(sealed) => {
                tenant.check_seal(sealed)?;
                (sealed.data_key, sealed.sha256())
            }
            // A dry run: it would be sealed as everything is from now on, and nobody knows to what.
            Secret::Withheld => (tenant.data_key(), String::new()),
        };
        Ok(vec![Change::StoreCredential { credential: self.credential.clone(), data_key, sealed_sha256 }])
    }

    fn secret(&self) -> Option<&Secret> {
        Some(&self.secret)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{InMemory, decide};
    use super::*;
    use crate::secret::KeyVersion;

    #[test]
    fn only_a_seal_that_fits_is_stored_and_a_clear_secret_never() {
        let (fits, moved) = (InMemory { seals_fit: true, ..InMemory::default() }, InMemory::default());
        let sealed = r#"{"credential": "stripe", "secret": {"sealed": "AAAAAAAAAAAAAAAAAAAAAAAA", "data_key": 2}}"#;
        let changes = decide(SPEC.name, sealed, &fits).unwrap();
        let [Change::StoreCredential { credential, data_key: KeyVersion(2), .. }] = &changes[..] else {
            panic!("{changes:?}")
        };
        assert_eq!(credential.as_str(), "stripe");
        assert!(decide(SPEC.name, sealed, &moved).unwrap_err().starts_with("sealed_for_another"));
        let clear = decide(SPEC.name, r#"{"credential": "stripe", "secret": "hunter2"}"#, &fits).unwrap_err();
        assert!(clear.starts_with("not_sealed") && !clear.contains("hunter2"), "{clear}");
    }

    #[test]
    fn no_refusal_quotes_the_secret() {
        for payload in [
            r#"{"credential": "stripe", "secret": "hunter2", "secret": "hunter2"}"#,
            r#"{"credential": "stripe", "secret": "hunter2", "more": "hunter2"}"#,
            r#"{"credential": "stripe", "secret": ["hunter2"]}"#,
            r#"{"credential": 5, "secret": "hunter2"}"#,
            r#"{"secret": "hunter2"}"#,
            r#"["stripe", "hunter2"]"#,
        ] {
            let refused = decide(SPEC.name, payload, &InMemory::default()).unwrap_err();
            assert!(!refused.contains("hunter2"), "{refused}");
        }
    }
}
