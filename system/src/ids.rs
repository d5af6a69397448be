//! Identifiers, parsed once at the edge.
//!
//! One grammar for tenants, users and messages: lowercase ASCII letters, digits and `-`, 1 to 63 of them. It leaves no
//! room for Unicode look-alikes, letter case, NUL, path or SQL or key-prefix tricks: two identifiers are the same tenant
//! exactly when their bytes are equal. Past the edge a `String` is never a tenant.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest identifier, in bytes: that of a DNS label, which many of them end up as.
pub const MAX_ID_BYTES: usize = 63;

/// Why a text is no identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Nothing there, or more than [`MAX_ID_BYTES`].
    #[error("must be 1 to {MAX_ID_BYTES} characters long, not {0}")]
    Length(usize),
    /// A character outside the grammar, and its place, counted in characters from 1.
    #[error("has {found:?} as character {place}; allowed are {allowed}")]
    Character {
        /// The offending character.
        found: char,
        /// Its place, from 1.
        place: usize,
        /// What would be right, in words.
        allowed: &'static str,
    },
}

fn check(text: &str, also: &[char], allowed: &'static str) -> Result<(), IdError> {
    let right = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || also.contains(&c);
    if let Some((index, found)) = text.chars().enumerate().find(|(_, c)| !right(*c)) {
        return Err(IdError::Character { found, place: index + 1, allowed });
    }
    if text.is_empty() || text.len() > MAX_ID_BYTES {
        return Err(IdError::Length(text.len()));
    }
    Ok(())
}

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident, also $also:expr, $allowed:literal, $class:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes `text` if it follows the grammar; nothing is trimmed, folded or repaired.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                check(text, &$also, $allowed)?;
                Ok(Self(text.into()))
            }

            /// The identifier as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = Cow::<str>::deserialize(deserializer)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                let pattern = format!(concat!("^[", $class, "]{{1,{}}}$"), MAX_ID_BYTES);
                json_schema!({"type": "string", "minLength": 1, "maxLength": MAX_ID_BYTES, "pattern": pattern})
            }
        }
    };
}

identifier!(
    /// A customer of the platform. A newtype, never made from a message's claim alone: see `TenantScope`.
    TenantId, also ['-'], "lowercase ASCII letters, digits and '-'", "a-z0-9-"
);
identifier!(
    /// An operator of the panel.
    UserId, also ['-'], "lowercase ASCII letters, digits and '-'", "a-z0-9-"
);
identifier!(
    /// One command of one tenant; a retry reuses it. Unique within its tenant only.
    MessageId, also ['-'], "lowercase ASCII letters, digits and '-'", "a-z0-9-"
);
identifier!(
    /// The name of a limit or an entitlement, like `api_requests`.
    Name, also ['-', '_', '.'], "lowercase ASCII letters, digits, '-', '_' and '.'", "a-z0-9_.-"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_examples_are_identifiers() {
        for text in ["tenant-123", "user-456", "msg-789", "a", &"x".repeat(63)] {
            assert_eq!(TenantId::parse(text).unwrap().as_str(), text);
        }
        assert!(Name::parse("api_requests").is_ok());
    }

    #[test]
    fn hostile_ids_are_refused_and_the_place_is_named() {
        let hostile =
            ["", "Acme", "acme ", " acme", "ac\0me", "acme/..", "acme'--", "а", "acme\u{200b}", "a_b", &"x".repeat(64)];
        for text in hostile {
            assert!(TenantId::parse(text).is_err(), "{text:?} was accepted");
        }
        let error = TenantId::parse("acMe").unwrap_err().to_string();
        assert_eq!(error, "has 'M' as character 3; allowed are lowercase ASCII letters, digits and '-'");
    }
}
