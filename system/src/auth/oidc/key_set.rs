//! A provider's published keys (RFC 7517): which of them can verify which algorithm's signatures.
//!
//! A key is judged once, when the set is read. What it may not be used for it is never asked for: its type, its curve, and
//! its own `alg`, `use` and `key_ops` decide, never a token. One bad key is left out with a warning that names it, and the
//! others serve.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use ed25519_dalek::{Signature, VerifyingKey};
use jsonwebtoken::DecodingKey;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::json::strict_map;

/// The longest key set that is read, in bytes: a company's, with certificates beside its keys, has some 20 KiB.
pub(super) const KEY_SET_BYTES_MAX: usize = 256 * 1024;

/// Keys in one set. Each is parsed at every change.
const KEYS_MAX: usize = 100;

/// RFC 7518, 3.3: a smaller modulus must not be used.
const RSA_BITS_MIN: usize = 2048;
/// What the library takes at most: a verification's cost grows with the square of it.
const RSA_BITS_MAX: usize = 4096;

/// How a token may be signed. There is no `none` here and no HMAC: a public key can never become a shared secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    RS256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    RS384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    RS512,
    /// RSASSA-PSS with SHA-256.
    PS256,
    /// RSASSA-PSS with SHA-384.
    PS384,
    /// RSASSA-PSS with SHA-512.
    PS512,
    /// ECDSA on P-256 with SHA-256.
    ES256,
    /// ECDSA on P-384 with SHA-384.
    ES384,
    /// Ed25519.
    EdDSA,
}

impl Algorithm {
    /// All that can be verified.
    pub const ALL: [Self; 9] = [
        Self::RS256,
        Self::RS384,
        Self::RS512,
        Self::PS256,
        Self::PS384,
        Self::PS512,
        Self::ES256,
        Self::ES384,
        Self::EdDSA,
    ];

    const RSA: [Self; 6] = [Self::RS256, Self::RS384, Self::RS512, Self::PS256, Self::PS384, Self::PS512];

    /// Its registered name (RFC 7518, RFC 8037).
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::RS512 => "RS512",
            Self::PS256 => "PS256",
            Self::PS384 => "PS384",
            Self::PS512 => "PS512",
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::EdDSA => "EdDSA",
        }
    }

    /// The algorithm of exactly this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    /// The library's name for it; it has none for ours with Ed25519, which it does not verify strictly.
    fn library(self) -> jsonwebtoken::Algorithm {
        use jsonwebtoken::Algorithm as Library;
        match self {
            Self::RS256 => Library::RS256,
            Self::RS384 => Library::RS384,
            Self::RS512 => Library::RS512,
            Self::PS256 => Library::PS256,
            Self::PS384 => Library::PS384,
            Self::PS512 => Library::PS512,
            Self::ES256 => Library::ES256,
            Self::ES384 => Library::ES384,
            Self::EdDSA => Library::EdDSA,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One key that can verify signatures.
#[derive(Debug, Clone)]
pub(super) struct Key {
    kid: Option<String>,
    algorithms: Vec<Algorithm>,
    public: Public,
}

#[derive(Debug, Clone)]
enum Public {
    /// Kept parsed, and verified strictly: no small-order keys, no second encoding of one signature.
    Ed25519(Box<VerifyingKey>),
    /// RSA and ECDSA.
    Library(DecodingKey),
}

impl Key {
    /// Whether it may verify signatures by `algorithm`.
    pub(super) fn fits(&self, algorithm: Algorithm) -> bool {
        self.algorithms.contains(&algorithm)
    }

    /// Which algorithms it may verify, in words.
    pub(super) fn purpose(&self) -> String {
        names(&self.algorithms)
    }

    /// Whether `signature`, in base64url, is this key's over `signed`.
    pub(super) fn verifies(&self, algorithm: Algorithm, signed: &str, signature: &str) -> bool {
        debug_assert!(self.fits(algorithm));
        match &self.public {
            Public::Ed25519(key) => {
                let decoded = BASE64URL.decode(signature).ok();
                let signature = decoded.and_then(|signature| Signature::from_slice(&signature).ok());
                signature.is_some_and(|signature| key.verify_strict(signed.as_bytes(), &signature).is_ok())
            }
            Public::Library(key) => {
                let verified = jsonwebtoken::crypto::verify(signature, signed.as_bytes(), key, algorithm.library());
                verified.unwrap_or(false)
            }
        }
    }
}

/// The keys of one reading that can be used.
#[derive(Debug, Clone, Default)]
pub(super) struct KeySet {
    keys: Vec<Key>,
}

#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow)]
    keys: Vec<&'a RawValue>,
}

impl KeySet {
    /// Reads a JWK Set, and tells of each key that is left out, and why. A set in which nothing can be used is one: then
    /// no token is believed.
    ///
    /// # Errors
    /// When the document as a whole is no JWK Set, or a huge one.
    pub(super) fn parse(document: &[u8]) -> Result<(Self, Vec<String>), String> {
        if document.len() > KEY_SET_BYTES_MAX {
            return Err(format!("it is {} bytes long; the limit is {KEY_SET_BYTES_MAX}", document.len()));
        }
        let read: Document<'_> =
            serde_json::from_slice(document).map_err(|error| format!("it is no JWK Set (RFC 7517): {error}"))?;
        if read.keys.len() > KEYS_MAX {
            return Err(format!("it has {} keys; the limit is {KEYS_MAX}", read.keys.len()));
        }
        let (mut keys, mut left_out): (Vec<Key>, Vec<String>) = Default::default();
        for (index, jwk) in read.keys.iter().enumerate() {
            match parse(jwk) {
                Ok(key) => keys.push(key),
                Err((Some(kid), why)) => left_out.push(format!("key {kid:?} {why}")),
                Err((None, why)) => left_out.push(format!("key number {} {why}", index + 1)),
            }
        }
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        keys.iter().filter_map(|key| key.kid.clone()).for_each(|kid| *seen.entry(kid).or_default() += 1);
        seen.retain(|_, times| *times > 1);
        // Which of them is meant nobody can say; neither is guessed.
        keys.retain(|key| key.kid.as_ref().is_none_or(|kid| !seen.contains_key(kid)));
        left_out.extend(seen.iter().map(|(kid, times)| format!("key {kid:?} stands there {times} times")));
        Ok((Self { keys }, left_out))
    }

    /// The key called `kid`.
    pub(super) fn find(&self, kid: &str) -> Option<&Key> {
        self.keys.iter().find(|key| key.kid.as_deref() == Some(kid))
    }

    /// Every key that may verify signatures by `algorithm`.
    pub(super) fn fitting(&self, algorithm: Algorithm) -> impl Iterator<Item = &Key> {
        self.keys.iter().filter(move |key| key.fits(algorithm))
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }
}

/// `algorithms`, separated by commas.
pub(super) fn names(algorithms: &[Algorithm]) -> String {
    algorithms.iter().map(|algorithm| algorithm.name()).collect::<Vec<_>>().join(", ")
}

/// One key, or its name, if it has one, and why it can't be used.
fn parse(jwk: &RawValue) -> Result<Key, (Option<String>, String)> {
    let jwk = strict_map(jwk.get().as_bytes()).map_err(|why| (None, format!("can't be read: {why}")))?;
    let kid = match jwk.get("kid") {
        None => None,
        Some(Value::String(kid)) => Some(kid.clone()),
        Some(other) => return Err((None, format!("has the kid {other}, which is no text"))),
    };
    match judge(&jwk) {
        Ok((algorithms, public)) => Ok(Key { kid, algorithms, public }),
        Err(why) => Err((kid, why)),
    }
}

/// What a key may be used for, and its public half.
fn judge(jwk: &Map<String, Value>) -> Result<(Vec<Algorithm>, Public), String> {
    // Of OKP, EC and RSA the private part; of a shared secret all of it. Whoever can read the set could sign.
    if jwk.contains_key("d") || jwk.contains_key("k") {
        return Err("is not only public: its secret stands in the set".into());
    }
    if let Some(found) = jwk.get("use").filter(|found| *found != "sig") {
        return Err(format!("is for the use {found}, not for \"sig\""));
    }
    let may_verify = |operations: &Value| operations.as_array().is_some_and(|list| list.contains(&"verify".into()));
    if let Some(found) = jwk.get("key_ops").filter(|found| !may_verify(found)) {
        return Err(format!("is for the operations {found}, not for \"verify\""));
    }
    let (possible, public) = match (text(jwk, "kty")?, jwk.get("crv").and_then(Value::as_str)) {
        ("RSA", _) => (Algorithm::RSA.to_vec(), rsa(jwk)?),
        ("EC", Some("P-256")) => (vec![Algorithm::ES256], elliptic(jwk, Algorithm::ES256, 32)?),
        ("EC", Some("P-384")) => (vec![Algorithm::ES384], elliptic(jwk, Algorithm::ES384, 48)?),
        ("OKP", Some("Ed25519")) => (vec![Algorithm::EdDSA], ed25519(jwk)?),
        (kty, crv) => {
            return Err(format!("is of type {kty:?} and curve {crv:?}; known are RSA, P-256, P-384 and Ed25519"));
        }
    };
    let algorithms = match jwk.get("alg") {
        None => possible,
        Some(alg) => {
            let own = alg.as_str().and_then(Algorithm::parse).filter(|own| possible.contains(own));
            vec![own.ok_or_else(|| format!("is for {alg}; a key of its type can be for {}", names(&possible)))?]
        }
    };
    Ok((algorithms, public))
}

fn text<'a>(jwk: &'a Map<String, Value>, name: &str) -> Result<&'a str, String> {
    jwk.get(name).and_then(Value::as_str).ok_or_else(|| format!("has no {name:?}"))
}

fn number(jwk: &Map<String, Value>, name: &str) -> Result<Vec<u8>, String> {
    BASE64URL.decode(text(jwk, name)?).map_err(|error| format!("has a {name:?} that is no base64url: {error}"))
}

fn rsa(jwk: &Map<String, Value>) -> Result<Public, String> {
    let (modulus, exponent) = (number(jwk, "n")?, number(jwk, "e")?);
    let significant = |bytes: &[u8]| {
        let leading = bytes.iter().take_while(|byte| **byte == 0).count();
        bytes.get(leading).map_or(0, |first| (bytes.len() - leading) * 8 - first.leading_zeros() as usize)
    };
    let is_odd = |bytes: &[u8]| bytes.last().is_some_and(|last| last % 2 == 1);
    let bits = significant(&modulus);
    if !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) {
        return Err(format!("has {bits} bits; an RSA key needs {RSA_BITS_MIN} to {RSA_BITS_MAX}"));
    }
    // An exponent of 1 verifies anything; one of 34 bits and more the library refuses.
    if !is_odd(&modulus) || !is_odd(&exponent) || !(2..=33).contains(&significant(&exponent)) {
        return Err("is no RSA key: modulus and exponent must be odd, the exponent 3 to 2^33".into());
    }
    Ok(Public::Library(DecodingKey::from_rsa_raw_components(&modulus, &exponent)))
}

fn elliptic(jwk: &Map<String, Value>, algorithm: Algorithm, bytes: usize) -> Result<Public, String> {
    if number(jwk, "x")?.len() != bytes || number(jwk, "y")?.len() != bytes {
        return Err(format!("has coordinates that are not {bytes} bytes long"));
    }
    let off_curve = |_| "is no point of its curve".to_owned();
    let key = DecodingKey::from_ec_components(text(jwk, "x")?, text(jwk, "y")?).map_err(off_curve)?;
    // The library looks whether it is a point when it verifies; whatever it says of this signature, it has looked.
    jsonwebtoken::crypto::verify("", b"", &key, algorithm.library()).map_err(off_curve)?;
    Ok(Public::Library(key))
}

fn ed25519(jwk: &Map<String, Value>) -> Result<Public, String> {
    let bytes = <[u8; 32]>::try_from(number(jwk, "x")?).map_err(|_| "has an \"x\" that is not 32 bytes long")?;
    let key = VerifyingKey::from_bytes(&bytes).ok().filter(|key| !key.is_weak());
    Ok(Public::Ed25519(Box::new(key.ok_or("is no point of its curve, or a weak one")?)))
}
