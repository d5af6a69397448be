//! Identity: tokens of operators, from a provider outside of Tenantry.
//!
//! [`TrustedIssuer`] is what auth needs to believe a provider; [`IdentityProvider`] is a small one, for development and
//! for simulations. It is no back door: its tokens go the same way as any other's, and auth trusts it only where it was
//! configured to.

use std::collections::BTreeMap;
use std::sync::Mutex;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Denied;
use crate::capability::Entropy;
use crate::grant::CLOCK_LEEWAY_SECONDS;
use crate::ids::UserId;
use crate::jws::{Keyring, PrivateKey, PublicKeys};

/// RFC 9068: the `typ` of a JWT access token.
const TYPE: &str = "at+jwt";
/// Whom operators' tokens must be meant for.
const AUDIENCE: &str = "tenantry";

/// Verified tokens that are remembered: an operator's is verified once, not at each of their requests.
const BELIEVED_MAX: usize = 4096;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: UserId,
    iat: i64,
    exp: i64,
}

/// A provider whose tokens are believed.
#[derive(Debug, Clone)]
pub struct TrustedIssuer {
    issuer: String,
    keys: Keyring,
}

impl TrustedIssuer {
    /// Believes tokens of `issuer` signed with one of `keys`.
    #[must_use]
    pub fn new(issuer: impl Into<String>, keys: &PublicKeys) -> Self {
        Self { issuer: issuer.into(), keys: keys.into() }
    }

    /// What `token` claims, if it is this issuer's and meant for us. That it holds now is another question.
    fn verify(&self, token: &str) -> Result<Claims, Denied> {
        let refused = |why: String| Err(Denied::Unauthenticated(why));
        let claims: Claims = match self.keys.verify(token, TYPE) {
            Ok(claims) => claims,
            Err(error) => return refused(error.to_string()),
        };
        if claims.iss != self.issuer {
            return refused(format!("the token is issued by {:?}, not by {:?}", claims.iss, self.issuer));
        }
        if claims.aud != AUDIENCE {
            return refused(format!("the token is meant for {:?}, not for {AUDIENCE:?}", claims.aud));
        }
        Ok(claims)
    }
}

/// Authenticates operators by a trusted issuer's tokens. A token that was verified once is known by its SHA-256 from then on;
/// its times are looked at every time.
#[derive(Debug)]
pub(super) struct Authenticator {
    issuer: TrustedIssuer,
    believed: Mutex<BTreeMap<[u8; 32], Claims>>,
}

impl Authenticator {
    pub(super) fn new(issuer: TrustedIssuer) -> Self {
        Self { issuer, believed: Mutex::default() }
    }

    /// The operator that `token` stands for at `now_seconds`.
    pub(super) fn authenticate(&self, token: &str, now_seconds: i64) -> Result<UserId, Denied> {
        let refused = |why: String| Err(Denied::Unauthenticated(why));
        let hash = Sha256::digest(token).into();
        let known = self.believed.lock().expect("no holder panics").get(&hash).cloned();
        let claims = match known {
            Some(claims) => claims,
            None => {
                let claims = self.issuer.verify(token)?;
                let mut believed = self.believed.lock().expect("no holder panics");
                // All at once, rather than the oldest: it costs a verification per operator every few thousand tokens.
                if believed.len() >= BELIEVED_MAX {
                    believed.clear();
                }
                believed.insert(hash, claims.clone());
                claims
            }
        };
        if now_seconds > claims.exp.saturating_add(CLOCK_LEEWAY_SECONDS) {
            return refused(format!("the token expired {} s ago", now_seconds.saturating_sub(claims.exp)));
        }
        if now_seconds < claims.iat.saturating_sub(CLOCK_LEEWAY_SECONDS) {
            return refused(format!("the token is from {} s in the future", claims.iat.saturating_sub(now_seconds)));
        }
        Ok(claims.sub)
    }
}

/// A small identity provider for development and simulation.
#[derive(Debug, Clone)]
pub struct IdentityProvider {
    issuer: String,
    key: PrivateKey,
}

impl IdentityProvider {
    /// A provider with a new key.
    pub fn new(issuer: impl Into<String>, entropy: &dyn Entropy) -> Self {
        Self { issuer: issuer.into(), key: PrivateKey::generate(entropy) }
    }

    /// A provider with the key kept as `seed`.
    #[must_use]
    pub fn from_seed(issuer: impl Into<String>, seed: &[u8; 32]) -> Self {
        Self { issuer: issuer.into(), key: PrivateKey::from_seed(seed) }
    }

    /// The secret key, to be kept.
    #[must_use]
    pub fn seed(&self) -> [u8; 32] {
        self.key.seed()
    }

    /// What auth needs to believe this provider.
    #[must_use]
    pub fn trusted(&self) -> TrustedIssuer {
        TrustedIssuer::new(self.issuer.clone(), &self.key.public())
    }

    /// A token of `user`, valid from `now_seconds` for `lifetime_seconds`.
    #[must_use]
    pub fn token(&self, user: &UserId, now_seconds: i64, lifetime_seconds: i64) -> String {
        let claims = Claims {
            iss: self.issuer.clone(),
            aud: AUDIENCE.into(),
            sub: user.clone(),
            iat: now_seconds,
            exp: now_seconds + lifetime_seconds,
        };
        self.key.sign(TYPE, &claims)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_fresh_token_of_the_trusted_issuer_is_believed() {
        let provider = IdentityProvider::from_seed("https://id.example", &[1; 32]);
        let ana = UserId::parse("ana").unwrap();
        let token = provider.token(&ana, 1000, 60);
        let trusted = Authenticator::new(provider.trusted());
        let at = |now| trusted.authenticate(&token, now);
        assert_eq!(at(1000), Ok(ana.clone()));
        // Known by now, and still not believed for longer than it says.
        assert_eq!(at(1060 + CLOCK_LEEWAY_SECONDS), Ok(ana));
        assert_eq!(at(1091), Err(Denied::Unauthenticated("the token expired 31 s ago".into())));
        assert_eq!(at(969), Err(Denied::Unauthenticated("the token is from 31 s in the future".into())));
        let by = |issuer, seed| Authenticator::new(IdentityProvider::from_seed(issuer, seed).trusted());
        let other = by("https://evil.example", &[1; 32]);
        assert!(
            matches!(other.authenticate(&token, 1000), Err(Denied::Unauthenticated(why)) if why.contains("issued by"))
        );
        let foreign = by("https://id.example", &[2; 32]);
        assert!(matches!(foreign.authenticate(&token, 1000), Err(Denied::Unauthenticated(why)) if why.contains("key")));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_never_a_token_that_was_not_verified() {
        let provider = IdentityProvider::from_seed("https://id.example", &[1; 32]);
        let trusted = Authenticator::new(provider.trusted());
        let remembered = || trusted.believed.lock().unwrap().len();
        let ana = UserId::parse("ana").unwrap();
        let mut token = provider.token(&ana, 1000, 60);
        token.pop();
        for _ in 0..2 {
            assert!(trusted.authenticate(&token, 1000).is_err());
        }
        assert_eq!(remembered(), 0);
        for lifetime in 0..=BELIEVED_MAX as i64 {
            assert!(trusted.authenticate(&provider.token(&ana, 1000, lifetime), 1000).is_ok());
        }
        assert_eq!(remembered(), 1);
    }
}
