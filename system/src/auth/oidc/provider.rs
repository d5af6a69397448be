//! A small identity provider, for development and simulation: it issues tokens, publishes its keys, and rotates them.

use serde::Serialize;
use serde_json::json;

use super::issuer::{AUDIENCE, Issuer};
use super::{Jwks, TrustedIssuer};
use crate::capability::Entropy;
use crate::ids::UserId;
use crate::jws::PrivateKey;

/// RFC 9068: the `typ` of a JWT access token.
const TYPE: &str = "at+jwt";

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: &'a UserId,
    iat: i64,
    exp: i64,
}

/// A provider with one key, or several during a rotation: the newest signs, all are published.
#[derive(Debug, Clone)]
pub struct IdentityProvider {
    issuer: String,
    current: PrivateKey,
    /// Newest first.
    former: Vec<PrivateKey>,
}

impl IdentityProvider {
    /// A provider with a new key.
    pub fn new(issuer: impl Into<String>, entropy: &dyn Entropy) -> Self {
        Self { issuer: issuer.into(), current: PrivateKey::generate(entropy), former: Vec::new() }
    }

    /// A provider with the key kept as `seed`.
    #[must_use]
    pub fn from_seed(issuer: impl Into<String>, seed: &[u8; 32]) -> Self {
        Self { issuer: issuer.into(), current: PrivateKey::from_seed(seed), former: Vec::new() }
    }

    /// The same with `former` keys besides, newest first.
    #[must_use]
    pub fn with_former(mut self, former: &[[u8; 32]]) -> Self {
        self.former = former.iter().map(PrivateKey::from_seed).collect();
        self
    }

    /// The secret keys, to be kept: the one that signs, then the former ones.
    #[must_use]
    pub fn seeds(&self) -> Vec<[u8; 32]> {
        self.keys().map(PrivateKey::seed).collect()
    }

    /// From here on a new key signs. The one before stays published: tokens that it signed hold until it is dropped.
    pub fn rotate(&mut self, entropy: &dyn Entropy) {
        let before = std::mem::replace(&mut self.current, PrivateKey::generate(entropy));
        self.former.insert(0, before);
    }

    /// Publishes at most `keep` former keys from here on. What the others signed holds no longer.
    pub fn drop_former(&mut self, keep: usize) {
        self.former.truncate(keep);
    }

    /// The key set to publish (RFC 7517).
    #[must_use]
    pub fn jwks(&self) -> String {
        json!({ "keys": self.keys().map(PrivateKey::public_jwk).collect::<Vec<_>>() }).to_string()
    }

    /// The rules of its tokens.
    #[must_use]
    pub fn issuer(&self) -> Issuer {
        Issuer::new(self.issuer.clone())
    }

    /// What auth needs to believe this provider as it is now.
    #[must_use]
    pub fn trusted(&self) -> TrustedIssuer {
        TrustedIssuer::new(self.issuer(), Jwks::fixed(self.jwks()))
    }

    /// A token of `user`, valid from `now_seconds` for `lifetime_seconds`.
    #[must_use]
    pub fn token(&self, user: &UserId, now_seconds: i64, lifetime_seconds: i64) -> String {
        let (iss, exp) = (&*self.issuer, now_seconds + lifetime_seconds);
        self.current.sign(TYPE, &Claims { iss, aud: AUDIENCE, sub: user, iat: now_seconds, exp })
    }

    fn keys(&self) -> impl Iterator<Item = &PrivateKey> {
        std::iter::once(&self.current).chain(&self.former)
    }
}
