//! Operators come from the company's identity provider: OpenID Connect tokens, checked against its published keys.
//!
//! [`TrustedIssuer`] is what auth needs to believe a provider: the rules of its tokens ([`Issuer`]) and where its keys are
//! ([`Jwks`]: a file, a URL, or a document at hand). [`IdentityProvider`] is a small provider, for development and for
//! simulations. It is no back door: auth trusts it only where it was configured to, and its tokens go the same way as any
//! other's.
//!
//! What holds, and for how long:
//!
//! - A token whose key was dropped is refused `refresh + deadline` later at the latest while the provider can be reached,
//!   and `stale_max` later at the latest while it can't: after that no token is believed, and callers are told that it
//!   can't be checked now (a [`CallError::Failed`]), not that it is bad.
//! - A token of a new key is believed as soon as the provider publishes the key: an unknown key makes us ask, but not more
//!   often than every `pause`.
//! - A token that was verified once is known by its SHA-256 from then on, for as long as the key set stays what it was; its
//!   times are looked at every time, by our own clock.

mod fetch;
mod issuer;
mod json;
mod key_set;
mod keys;
mod provider;
#[cfg(test)]
mod test_keys;
#[cfg(test)]
mod tests;
mod token;

use sha2::{Digest, Sha256};

use self::keys::{Held, Keys};
use self::token::{Claims, Refused};
use super::Denied;
use crate::call::CallError;
use crate::capability::World;
use crate::ids::UserId;

pub use issuer::{AUDIENCE, Freshness, Issuer};
pub use key_set::Algorithm;
pub use keys::Jwks;
pub use provider::IdentityProvider;

/// Verified tokens that are remembered: an operator's is verified once, not at each of their requests.
const BELIEVED_MAX: usize = 4096;

/// A provider whose tokens are believed.
#[derive(Debug, Clone)]
pub struct TrustedIssuer {
    issuer: Issuer,
    jwks: Jwks,
}

impl TrustedIssuer {
    /// Believes tokens that keep the rules of `issuer` and are signed with one of the keys of `jwks`.
    #[must_use]
    pub fn new(issuer: Issuer, jwks: Jwks) -> Self {
        Self { issuer, jwks }
    }
}

/// Authenticates operators by a trusted issuer's tokens.
pub(super) struct Authenticator {
    issuer: Issuer,
    keys: Keys,
}

impl Authenticator {
    /// Begins to read the provider's keys.
    ///
    /// # Errors
    /// In words, when they could never be read: that they can't be yet is no error.
    pub(super) fn start(trusted: TrustedIssuer, world: &World) -> Result<Self, String> {
        Ok(Self { issuer: trusted.issuer, keys: Keys::start(trusted.jwks, world)? })
    }

    /// The operator that `token` stands for at `now_seconds`.
    ///
    /// # Errors
    /// When it can't be said now: the provider's keys can't be had.
    pub(super) async fn authenticate(
        &self,
        token: &str,
        now_seconds: i64,
    ) -> Result<Result<UserId, Denied>, CallError> {
        let held = self.keys.current().await?;
        let claims = match self.claims(&held, token, now_seconds) {
            Err(Refused::UnknownKey(_)) => self.claims(&*self.keys.newer().await?, token, now_seconds),
            verified => verified,
        };
        Ok(claims.map(|claims| claims.user).map_err(|why| Denied::Unauthenticated(why.to_string())))
    }

    /// What `token` claims at `now`, by the keys in `held`.
    fn claims(&self, held: &Held, token: &str, now: i64) -> Result<Claims, Refused> {
        let hash = Sha256::digest(token).into();
        let known = held.believed.lock().expect("no holder panics").get(&hash).cloned();
        if let Some(claims) = known {
            claims.check_times(&self.issuer, now)?;
            return Ok(claims);
        }
        let claims = token::verify(&self.issuer, &held.keys, token, now)?;
        let mut believed = held.believed.lock().expect("no holder panics");
        // All at once, rather than the oldest: it costs a verification per operator every few thousand tokens.
        if believed.len() >= BELIEVED_MAX {
            believed.clear();
        }
        believed.insert(hash, claims.clone());
        Ok(claims)
    }
}
