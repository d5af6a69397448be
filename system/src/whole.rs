//! Whole numbers within bounds, as messages carry them.
//!
//! JSON readers disagree on the rest: a fraction or an exponent may be a number or a rounding of it, and beyond 2^53 many
//! readers round without a word (RFC 7493, section 2.2). The bounds are part of the type, so that the parser and the
//! generated schema can't name two different ones.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// The largest whole number on which all JSON readers agree: 2^53 - 1.
pub const WHOLE_MAX: u64 = (1 << 53) - 1;

/// A whole number from `MIN` to `MAX`, written with digits alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Whole<const MIN: u64, const MAX: u64>(u64);

impl<const MIN: u64, const MAX: u64> Whole<MIN, MAX> {
    /// The number.
    #[must_use]
    pub fn get(self) -> u64 {
        const { assert!(MIN <= MAX && MAX <= WHOLE_MAX, "bounds on which not all JSON readers agree") };
        self.0
    }
}

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Whole<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_u64(Reader::<MIN, MAX>)
    }
}

struct Reader<const MIN: u64, const MAX: u64>;

impl<const MIN: u64, const MAX: u64> Visitor<'_> for Reader<MIN, MAX> {
    type Value = Whole<MIN, MAX>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match MIN == MAX {
            true => write!(f, "the number {MIN}"),
            false => write!(f, "a whole number from {MIN} to {MAX}, without fraction or exponent"),
        }
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        match (MIN..=MAX).contains(&number) {
            true => Ok(Whole(number)),
            false => Err(E::custom(format_args!("is {number}; must be {}", &self as &dyn serde::de::Expected))),
        }
    }
}

impl<const MIN: u64, const MAX: u64> JsonSchema for Whole<MIN, MAX> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Whole{MIN}To{MAX}").into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "integer", "minimum": MIN, "maximum": MAX})
    }
}
