//! What is asked of an operator's token beyond its signature: who issued it, for whom, how, for how long.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::key_set::Algorithm;
use crate::grant::CLOCK_LEEWAY_SECONDS;

/// Whom operators' tokens must be meant for, unless configured otherwise.
pub const AUDIENCE: &str = "tenantry";

/// A token that lives longer than a day is no session of a person's.
const LIFETIME_SECONDS_MAX: i64 = 24 * 3600;

/// The rules of one provider's tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    /// `iss`, to the letter.
    pub issuer: String,
    /// `aud` must be one of these, or a list that has one of them. It is what tells a token for us from one of the same
    /// provider for somebody else, id tokens of other clients included.
    pub audiences: BTreeSet<String>,
    /// How tokens may be signed. The key must be for it too.
    pub algorithms: Vec<Algorithm>,
    /// The `typ`s that are taken, in lower case and without `application/`: `at+jwt` (RFC 9068), `jwt`. A token that
    /// has none counts as `jwt` (RFC 7519, 5.1).
    pub types: BTreeSet<String>,
    /// The claim that names the operator. It must be a user id as it is: nothing is trimmed or folded, or two of the
    /// provider's names could become one operator.
    pub user_claim: String,
    /// How far apart two honest clocks may be, in seconds.
    pub leeway_seconds: i64,
    /// The longest lifetime (`exp` less `iat`), in seconds.
    pub lifetime_seconds_max: i64,
}

impl Issuer {
    /// The rules for tokens of `issuer`: the audience `tenantry`, every algorithm, both types, the claim `sub`, 30
    /// seconds of leeway and a day's lifetime.
    #[must_use]
    pub fn new(issuer: impl Into<String>) -> Self {
        Self {
            issuer: issuer.into(),
            audiences: BTreeSet::from([AUDIENCE.into()]),
            algorithms: Algorithm::ALL.to_vec(),
            types: ["at+jwt", "jwt"].map(String::from).into(),
            user_claim: "sub".into(),
            leeway_seconds: CLOCK_LEEWAY_SECONDS,
            lifetime_seconds_max: LIFETIME_SECONDS_MAX,
        }
    }
}

/// How fresh a provider's keys must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freshness {
    /// Keys are read anew this long after the last reading began. A token whose key the provider has dropped is refused
    /// after this and `deadline` at the latest, while the provider can be reached.
    pub refresh: Duration,
    /// Readings begin at least this far apart, whatever is asked for: a forger of key ids makes no hammer of us, and a
    /// provider in trouble is not asked in a loop.
    pub pause: Duration,
    /// A reading may take this long.
    pub deadline: Duration,
    /// Keys serve for this long after their reading began while no newer ones can be had; after that no token can be
    /// checked, and nobody gets in. It is the longest that a dropped key may be believed.
    pub stale_max: Duration,
}

impl Freshness {
    /// For keys fetched from a provider: every 5 minutes, 5 seconds apart, 3 seconds each, good for an hour.
    pub const URL: Self = Self {
        refresh: Duration::from_secs(300),
        pause: Duration::from_secs(5),
        deadline: Duration::from_secs(3),
        stale_max: Duration::from_secs(3600),
    };

    /// For keys in a file: every second, for it costs next to nothing; good for an hour.
    pub const FILE: Self = Self { refresh: Duration::from_secs(1), pause: Duration::from_millis(200), ..Self::URL };
}
