//! Compact JWS (RFC 7515) with Ed25519 (RFC 8037), and nothing else.
//!
//! One algorithm, so there is none to confuse; the key is found by `kid` among the keys the reader already trusts, never
//! taken from the token; `typ` keeps tokens of different purposes apart. Keys are kept parsed: a library that rebuilds
//! them per call costs twice the time on the hottest path. Times are not looked at here: the reader has a `Clock`.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::capability::Entropy;
use crate::message::strict_json;

/// The longest token that is looked at, in bytes: a few identifiers, a hash and a signature need about 700.
pub const MAX_TOKEN_BYTES: usize = 4096;

/// Why a token is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JwsError {
    /// Not three base64url parts of readable JSON.
    #[error("the token is malformed: {0}")]
    Malformed(String),
    /// Another algorithm than EdDSA, or another type of token than asked for.
    #[error("the token is {0}, not {1}")]
    WrongKind(String, String),
    /// Signed by a key the reader does not trust, or no longer.
    #[error("the token's key {0:?} is not known")]
    UnknownKey(String),
    /// The signature does not fit.
    #[error("the token's signature does not verify")]
    BadSignature,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    typ: String,
    kid: String,
}

/// A private key with its identifier.
#[derive(Clone)]
pub struct PrivateKey {
    kid: String,
    key: SigningKey,
}

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PrivateKey({}, secret withheld)", self.kid)
    }
}

impl PrivateKey {
    /// A new key.
    pub fn generate(entropy: &dyn Entropy) -> Self {
        let mut seed = [0; 32];
        entropy.fill(&mut seed);
        Self::from_seed(&seed)
    }

    /// The key that follows from 32 secret bytes. Its `kid` is the start of its public half's SHA-256.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let key = SigningKey::from_bytes(seed);
        let kid = hex::encode(&Sha256::digest(key.verifying_key().as_bytes())[..8]);
        Self { kid, key }
    }

    /// The secret bytes, to be kept.
    #[must_use]
    pub fn seed(&self) -> [u8; 32] {
        self.key.to_bytes()
    }

    /// Its identifier.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The public half, as a set of one.
    #[must_use]
    pub fn public(&self) -> PublicKeys {
        [self].into_iter().collect()
    }

    /// The public half as others publish theirs: a JWK (RFC 7517, RFC 8037).
    #[must_use]
    pub fn public_jwk(&self) -> serde_json::Value {
        let x = BASE64URL.encode(self.key.verifying_key().as_bytes());
        serde_json::json!({ "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": self.kid, "x": x })
    }

    /// Signs `claims` as a token of type `typ`.
    ///
    /// # Panics
    /// When the claims are no JSON: they are our own types.
    pub fn sign(&self, typ: &str, claims: &impl Serialize) -> String {
        let header = Header { alg: "EdDSA".into(), typ: typ.into(), kid: self.kid.clone() };
        let mut token = encode(&header);
        token.push('.');
        token.push_str(&encode(claims));
        let signature = self.key.sign(token.as_bytes());
        token.push('.');
        BASE64URL.encode_string(signature.to_bytes(), &mut token);
        token
    }
}

fn encode(part: &impl Serialize) -> String {
    BASE64URL.encode(serde_json::to_vec(part).expect("our own types become JSON"))
}

/// Public keys by `kid`, as they travel.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicKeys {
    keys: BTreeMap<String, [u8; 32]>,
}

impl PublicKeys {
    /// Whether it has the key `kid`.
    #[must_use]
    pub fn knows(&self, kid: &str) -> bool {
        self.keys.contains_key(kid)
    }
}

impl<'a> FromIterator<&'a PrivateKey> for PublicKeys {
    /// The public halves.
    fn from_iter<I: IntoIterator<Item = &'a PrivateKey>>(keys: I) -> Self {
        let public = |private: &PrivateKey| (private.kid.clone(), private.key.verifying_key().to_bytes());
        Self { keys: keys.into_iter().map(public).collect() }
    }
}

/// Public keys, parsed once and ready to verify.
#[derive(Debug, Clone, Default)]
pub struct Keyring {
    keys: BTreeMap<String, VerifyingKey>,
}

impl From<&PublicKeys> for Keyring {
    /// A key that is no point of the curve is left out: its tokens are then of an unknown key.
    fn from(public: &PublicKeys) -> Self {
        let parsed = |(kid, bytes): (&String, &[u8; 32])| Some((kid.clone(), VerifyingKey::from_bytes(bytes).ok()?));
        Self { keys: public.keys.iter().filter_map(parsed).collect() }
    }
}

impl Keyring {
    /// Whether it has the key `kid`.
    #[must_use]
    pub fn knows(&self, kid: &str) -> bool {
        self.keys.contains_key(kid)
    }

    /// The claims of `token`, if a trusted key signed it as a token of type `typ`.
    pub fn verify<C: DeserializeOwned>(&self, token: &str, typ: &str) -> Result<C, JwsError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(JwsError::Malformed(format!("{} bytes long; the limit is {MAX_TOKEN_BYTES}", token.len())));
        }
        let malformed = |what: &str| JwsError::Malformed(what.into());
        let (signed, signature) = token.rsplit_once('.').ok_or_else(|| malformed("no signature"))?;
        let (header, claims) = signed.split_once('.').ok_or_else(|| malformed("no claims"))?;
        let header: Header = decode(header)?;
        if header.alg != "EdDSA" {
            return Err(JwsError::WrongKind(format!("signed by {:?}", header.alg), "EdDSA".into()));
        }
        if header.typ != typ {
            return Err(JwsError::WrongKind(format!("a {:?}", header.typ), format!("a {typ:?}")));
        }
        let key = self.keys.get(&header.kid).ok_or(JwsError::UnknownKey(header.kid))?;
        let signature = BASE64URL.decode(signature).map_err(|_| malformed("the signature is no base64url"))?;
        let signature = Signature::from_slice(&signature).map_err(|_| malformed("the signature's length"))?;
        // Strict: no small-order keys, no second encoding of one signature.
        key.verify_strict(signed.as_bytes(), &signature).map_err(|_| JwsError::BadSignature)?;
        decode(claims)
    }
}

fn decode<T: DeserializeOwned>(part: &str) -> Result<T, JwsError> {
    let json = BASE64URL.decode(part).map_err(|error| JwsError::Malformed(error.to_string()))?;
    strict_json(&json, "").map_err(|refusal| JwsError::Malformed(refusal.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> PrivateKey {
        PrivateKey::from_seed(&[seed; 32])
    }

    #[test]
    fn what_is_signed_is_read_back() {
        let token = key(1).sign("grant+jwt", &("claims", 7));
        let read: (String, u8) = Keyring::from(&key(1).public()).verify(&token, "grant+jwt").unwrap();
        assert_eq!(read, ("claims".into(), 7));
    }

    #[test]
    fn another_type_another_key_and_any_changed_character_are_refused() {
        let ring = Keyring::from(&key(1).public());
        let token = key(1).sign("grant+jwt", &7);
        assert!(matches!(ring.verify::<u8>(&token, "at+jwt"), Err(JwsError::WrongKind(..))));
        assert!(matches!(ring.verify::<u8>(&key(2).sign("grant+jwt", &7), "grant+jwt"), Err(JwsError::UnknownKey(_))));
        for place in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert!(ring.verify::<u8>(&changed, "grant+jwt").is_err(), "a change at {place} was believed");
        }
    }

    #[test]
    fn no_other_algorithm_is_looked_at() {
        let ring = Keyring::from(&key(1).public());
        for alg in ["none", "HS256", "eddsa"] {
            let header = Header { alg: alg.into(), typ: "grant+jwt".into(), kid: key(1).kid };
            let token = format!("{}.{}.", encode(&header), encode(&7));
            assert!(matches!(ring.verify::<u8>(&token, "grant+jwt"), Err(JwsError::WrongKind(..))), "{alg}");
        }
    }
}
