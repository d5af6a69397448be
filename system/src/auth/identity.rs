//! Identity: tokens of operators, from a provider outside of Tenantry.
//!
//! [`TrustedIssuer`] is what auth needs to believe a provider; [`IdentityProvider`] is a small one, for development and
//! for simulations. It is no back door: its tokens go the same way as any other's, and auth trusts it only where it was
//! configured to.

use serde::{Deserialize, Serialize};

use super::Denied;
use crate::capability::Entropy;
use crate::grant::CLOCK_LEEWAY_SECONDS;
use crate::ids::UserId;
use crate::jws::{Keyring, PrivateKey, PublicKeys};

/// RFC 9068: the `typ` of a JWT access token.
const TYPE: &str = "at+jwt";
/// Whom operators' tokens must be meant for.
const AUDIENCE: &str = "tenantry";

#[derive(Serialize, Deserialize)]
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

    /// The operator that `token` stands for at `now_seconds`.
    pub(super) fn authenticate(&self, token: &str, now_seconds: i64) -> Result<UserId, Denied> {
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
        if now_seconds > claims.exp + CLOCK_LEEWAY_SECONDS {
            return refused(format!("the token expired {} s ago", now_seconds - claims.exp));
        }
        if now_seconds < claims.iat - CLOCK_LEEWAY_SECONDS {
            return refused(format!("the token is from {} s in the future", claims.iat - now_seconds));
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
        let at = |now| provider.trusted().authenticate(&token, now);
        assert_eq!(at(1000), Ok(ana.clone()));
        assert_eq!(at(1060 + CLOCK_LEEWAY_SECONDS), Ok(ana));
        assert_eq!(at(1091), Err(Denied::Unauthenticated("the token expired 31 s ago".into())));
        assert_eq!(at(969), Err(Denied::Unauthenticated("the token is from 31 s in the future".into())));
        let other = IdentityProvider::from_seed("https://evil.example", &[1; 32]).trusted();
        assert!(
            matches!(other.authenticate(&token, 1000), Err(Denied::Unauthenticated(why)) if why.contains("issued by"))
        );
        let foreign = IdentityProvider::from_seed("https://id.example", &[2; 32]).trusted();
        assert!(matches!(foreign.authenticate(&token, 1000), Err(Denied::Unauthenticated(why)) if why.contains("key")));
    }
}
