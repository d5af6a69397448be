//! A provider for tests, with a key of every kind: it can sign whatever it is told, sound or not.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm as Library, EncodingKey};
use serde_json::{Value, json};

use super::Algorithm;
use crate::jws::PrivateKey;

const RSA: &[u8] = include_bytes!("test_only_keys/rsa_2048.pkcs1.der");
const RSA_OTHER: &[u8] = include_bytes!("test_only_keys/rsa_2048_other.pkcs1.der");
const RSA_WEAK: &[u8] = include_bytes!("test_only_keys/rsa_1024.pkcs1.der");
const P256: &[u8] = include_bytes!("test_only_keys/p256.pkcs8.der");
const P384: &[u8] = include_bytes!("test_only_keys/p384.pkcs8.der");

/// A private key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signer {
    Rsa,
    RsaOther,
    RsaWeak,
    P256,
    P384,
    Ed25519,
}

impl Signer {
    /// The one whose key is for `algorithm`.
    pub(super) fn of(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::ES256 => Self::P256,
            Algorithm::ES384 => Self::P384,
            Algorithm::EdDSA => Self::Ed25519,
            _ => Self::Rsa,
        }
    }

    fn encoding(self) -> EncodingKey {
        match self {
            Self::Rsa => EncodingKey::from_rsa_der(RSA),
            Self::RsaOther => EncodingKey::from_rsa_der(RSA_OTHER),
            Self::RsaWeak => EncodingKey::from_rsa_der(RSA_WEAK),
            Self::P256 => EncodingKey::from_ec_der(P256),
            Self::P384 => EncodingKey::from_ec_der(P384),
            Self::Ed25519 => unreachable!("our own"),
        }
    }

    /// Its public key under `kid`, for whatever its type allows.
    pub(super) fn jwk(self, kid: &str) -> Value {
        let mut jwk = match self {
            Self::Ed25519 => PrivateKey::from_seed(&[1; 32]).public_jwk(),
            _ => {
                let algorithm = match self {
                    Self::P256 => Library::ES256,
                    Self::P384 => Library::ES384,
                    _ => Library::RS256,
                };
                serde_json::to_value(Jwk::from_encoding_key(&self.encoding(), algorithm).unwrap()).unwrap()
            }
        };
        let members = jwk.as_object_mut().unwrap();
        members.remove("alg");
        members.insert("kid".into(), kid.into());
        jwk
    }

    /// A token with exactly this header and these claims, as texts, signed as `algorithm` says.
    pub(super) fn sign(self, algorithm: Algorithm, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", BASE64URL.encode(header), BASE64URL.encode(claims));
        let signature = match self {
            Self::Ed25519 => {
                use ed25519_dalek::{Signer as _, SigningKey};
                BASE64URL.encode(SigningKey::from_bytes(&[1; 32]).sign(signed.as_bytes()).to_bytes())
            }
            _ => {
                let library = algorithm.name().parse().unwrap();
                jsonwebtoken::crypto::sign(signed.as_bytes(), &self.encoding(), library).unwrap()
            }
        };
        format!("{signed}.{signature}")
    }
}

/// A token whose signature is an HMAC with `secret`.
pub(super) fn hmac(secret: &[u8], header: &Value, claims: &Value) -> String {
    let signed = format!("{}.{}", BASE64URL.encode(header.to_string()), BASE64URL.encode(claims.to_string()));
    let key = EncodingKey::from_secret(secret);
    format!("{signed}.{}", jsonwebtoken::crypto::sign(signed.as_bytes(), &key, Library::HS256).unwrap())
}

/// A set of one key of every kind, each under the name of its kind.
pub(super) fn every_kind() -> String {
    let keys: Vec<_> = KINDS.iter().map(|(kid, signer)| signer.jwk(kid)).collect();
    json!({ "keys": keys }).to_string()
}

/// The kid of `signer` in [`every_kind`].
pub(super) fn kid(signer: Signer) -> &'static str {
    KINDS.iter().find(|(_, kind)| *kind == signer).unwrap().0
}

const KINDS: [(&str, Signer); 4] =
    [("rsa", Signer::Rsa), ("p256", Signer::P256), ("p384", Signer::P384), ("ed25519", Signer::Ed25519)];
