//! Sensitive fields: clear text only between an operator and the producer, sealed everywhere else.
//!
//! A sealed field is AES-256-GCM-SIV (RFC 8452) under a data key of its tenant, bound by its associated data to that
//! tenant, the action, the message id and the field: moved anywhere else it does not open. Sealing is deterministic. A
//! retry of a command is the same bytes, so deduplication works on what is sealed as on what is not, and no restart can
//! reuse a nonce for something else: the nonce follows from what the text is bound to. What equal bytes tell is that one
//! message was sent twice, which its id tells anyway. The length of a secret is not hidden.
//!
//! Data keys lie wrapped by a [`KeyProvider`]; whoever destroys the wrapped key destroys everything sealed under it.

mod body;
mod cache;
mod provider;

use std::fmt;

use aes_gcm_siv::aead::{Aead, Payload};
use aes_gcm_siv::{Aes256GcmSiv, KeyInit, Nonce};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::capability::Entropy;
use crate::ids::{MessageId, TenantId};
use crate::message::{Refusal, strict_object};

pub(crate) use body::{replace_secret, withhold_secret, without_ciphertext};
pub(crate) use cache::KeyCache;
pub use provider::{KeyContext, KeyError, KeyProvider, KeySet, KeySetError, WrappedKey};

/// The longest secret, in bytes: a private key of RSA with 8192 bits fits; sealed it fits a message many times over.
pub const CLEAR_MAX_BYTES: usize = 4096;

/// What AES-GCM-SIV adds, in bytes.
const TAG_BYTES: usize = 16;

/// Begins everything that a sealed field is bound to: another use of the same keys begins otherwise.
const DOMAIN: &[u8] = b"tenantry sealed field v1";

/// The version of a tenant's data key, from 0. Versions only grow; after an erasure they go on where they were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyVersion(pub u32);

impl KeyVersion {
    /// The one that follows.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for KeyVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A secret as people know it. It shows itself to nobody by accident, and is wiped when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct ClearText(Zeroizing<String>);

impl ClearText {
    /// Takes 1 to [`CLEAR_MAX_BYTES`] bytes.
    ///
    /// # Errors
    /// Its length, and never its content.
    pub fn new(text: String) -> Result<Self, String> {
        let clear = Self(Zeroizing::new(text));
        match clear.0.len() {
            1..=CLEAR_MAX_BYTES => Ok(clear),
            len => Err(format!("is {len} bytes long; must be 1 to {CLEAR_MAX_BYTES}")),
        }
    }

    /// The secret itself: the one way to it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ClearText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClearText(..)")
    }
}

/// A secret that only its tenant's data key opens.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// The version of the data key.
    pub data_key: KeyVersion,
    /// Ciphertext and tag.
    pub sealed: Vec<u8>,
}

impl Sealed {
    /// SHA-256 of the ciphertext, in hexadecimal: tells two apart without showing either.
    #[must_use]
    pub fn sha256(&self) -> String {
        hex::encode(Sha256::digest(&self.sealed))
    }

    /// As it stands in a message.
    fn to_json(&self) -> String {
        format!(r#"{{"sealed":"{}","data_key":{}}}"#, BASE64URL.encode(&self.sealed), self.data_key)
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed(data key {}, sha256 {})", self.data_key, self.sha256())
    }
}

/// A sensitive field of a payload: what an operator sends, or what everybody else sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Secret {
    /// As an operator sends it.
    Clear(ClearText),
    /// As it travels and is kept.
    Sealed(Sealed),
    /// Left out, where only what it stands in is looked at: nothing that has it can be published.
    Withheld,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SealedWire<'a> {
    #[serde(borrow)]
    sealed: std::borrow::Cow<'a, str>,
    data_key: KeyVersion,
}

/// What stands in the place of a secret that is left out: exactly this, so that there are no two ways to write it.
const WITHHELD: &str = r#"{"withheld":true}"#;

impl Secret {
    /// Reads the field `field` of a payload.
    ///
    /// # Errors
    /// Says what would be right, and never what was there: serde's own words would quote it.
    pub(crate) fn read(json: &RawValue, field: &str) -> Result<Self, Refusal> {
        let wrong = || Refusal::new(field, format!("must be a string of 1 to {CLEAR_MAX_BYTES} bytes"));
        let text = json.get();
        if text.starts_with('"') {
            let clear = serde_json::from_str(text).map_err(|_| wrong())?;
            return Ok(Self::Clear(ClearText::new(clear).map_err(|problem| Refusal::new(field, problem))?));
        }
        if text == WITHHELD {
            return Ok(Self::Withheld);
        }
        let wire: SealedWire<'_> = strict_object(text.as_bytes(), field).map_err(|_| wrong())?;
        let sealed = BASE64URL.decode(wire.sealed.as_bytes()).map_err(|_| wrong())?;
        if sealed.len() <= TAG_BYTES || sealed.len() > CLEAR_MAX_BYTES + TAG_BYTES {
            return Err(wrong());
        }
        Ok(Self::Sealed(Sealed { data_key: wire.data_key, sealed }))
    }
}

/// What a sealed field is bound to: where it may be opened.
#[derive(Debug, Clone, Copy)]
pub struct SealContext<'a> {
    /// Whose it is.
    pub tenant: &'a TenantId,
    /// Which action's payload it stands in.
    pub action: &'a str,
    /// In which message.
    pub message_id: &'a MessageId,
    /// In which field of the payload.
    pub field: &'a str,
}

impl SealContext<'_> {
    /// Unambiguous: each part is preceded by its length, so that no two contexts have the same bytes.
    fn bytes(&self) -> Vec<u8> {
        joined(DOMAIN, &[self.tenant.as_str(), self.action, self.message_id.as_str(), self.field])
    }
}

/// `domain` and `parts`, each preceded by its length.
fn joined(domain: &[u8], parts: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::from(domain);
    for part in parts {
        bytes.extend((part.len() as u64).to_be_bytes());
        bytes.extend(part.as_bytes());
    }
    bytes
}

/// One version of a tenant's data key, in the clear: 256 bits, wiped when dropped, and shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct DataKey(Zeroizing<[u8; 32]>);

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataKey(..)")
    }
}

/// What was sealed does not open: for another tenant, action, message or field, under another key, or damaged. Which of
/// them, nobody can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it was sealed for another tenant, action or message, or under another key")]
pub struct NotOpened;

impl DataKey {
    /// A new one.
    #[must_use]
    pub fn generate(entropy: &dyn Entropy) -> Self {
        let mut key = Zeroizing::new([0; 32]);
        entropy.fill(&mut *key);
        Self(key)
    }

    /// Seals `clear` for `context`, as this tenant's key number `version`: always to the same bytes.
    ///
    /// # Panics
    /// Never: what is sealed is far shorter than AES-GCM-SIV's limit.
    #[must_use]
    pub fn seal(&self, version: KeyVersion, context: &SealContext<'_>, clear: &ClearText) -> Sealed {
        Sealed { data_key: version, sealed: encrypt(&self.0, &context.bytes(), clear.0.as_bytes()) }
    }

    /// Opens `sealed` where it belongs.
    ///
    /// # Errors
    /// When it does not belong there, or to this key.
    pub fn open(&self, context: &SealContext<'_>, sealed: &Sealed) -> Result<ClearText, NotOpened> {
        let mut clear = decrypt(&self.0, &context.bytes(), &sealed.sealed)?;
        let text = String::from_utf8(std::mem::take(&mut *clear)).map_err(|_| NotOpened)?;
        ClearText::new(text).map_err(|_| NotOpened)
    }
}

/// The nonce follows from the context, so that each context's text is encrypted under keys of its own.
fn nonce(context: &[u8]) -> Nonce {
    let hash = Sha256::digest(context);
    Nonce::try_from(&hash[..12]).expect("12 of 32 bytes")
}

fn encrypt(key: &[u8; 32], context: &[u8], clear: &[u8]) -> Vec<u8> {
    let payload = Payload { msg: clear, aad: context };
    Aes256GcmSiv::new(key.into()).encrypt(&nonce(context), payload).expect("far shorter than the limit of 64 GiB")
}

fn decrypt(key: &[u8; 32], context: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, NotOpened> {
    let payload = Payload { msg: sealed, aad: context };
    let clear = Aes256GcmSiv::new(key.into()).decrypt(&nonce(context), payload);
    clear.map(Zeroizing::new).map_err(|_| NotOpened)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{message_id, tenant};

    fn clear(text: &str) -> ClearText {
        ClearText::new(text.into()).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_for_its_own_tenant_action_message_and_field_only() {
        let (acme, globex, one, two) = (tenant("acme"), tenant("globex"), message_id("m-1"), message_id("m-2"));
        let own = SealContext { tenant: &acme, action: "store_credential", message_id: &one, field: "secret" };
        let (key, other) = (DataKey(Zeroizing::new([7; 32])), DataKey(Zeroizing::new([8; 32])));
        let sealed = key.seal(KeyVersion(1), &own, &clear("hunter2"));
        assert_eq!(key.open(&own, &sealed).unwrap().expose(), "hunter2");
        assert_eq!(other.open(&own, &sealed), Err(NotOpened));
        for elsewhere in [
            SealContext { tenant: &globex, ..own },
            SealContext { action: "rotate_data_key", ..own },
            SealContext { message_id: &two, ..own },
            SealContext { field: "note", ..own },
        ] {
            assert_eq!(key.open(&elsewhere, &sealed), Err(NotOpened), "{elsewhere:?}");
        }
        let mut flipped = sealed.clone();
        flipped.sealed[0] ^= 1;
        assert_eq!(key.open(&own, &flipped), Err(NotOpened));
    }

    #[test]
    fn no_two_contexts_have_the_same_bytes() {
        let (a, ab) = (tenant("a"), tenant("ab"));
        let id = message_id("m");
        let one = SealContext { tenant: &a, action: "bc", message_id: &id, field: "d" };
        let other = SealContext { tenant: &ab, action: "c", message_id: &id, field: "d" };
        assert_ne!(one.bytes(), other.bytes());
    }

    #[test]
    fn only_the_same_command_gives_the_same_bytes() {
        let (acme, one, two) = (tenant("acme"), message_id("m-1"), message_id("m-2"));
        let own = SealContext { tenant: &acme, action: "store_credential", message_id: &one, field: "secret" };
        let key = DataKey(Zeroizing::new([7; 32]));
        let sealed = key.seal(KeyVersion(1), &own, &clear("hunter2"));
        // Nothing in between but the key itself: a restart changes nothing.
        assert_eq!(DataKey(Zeroizing::new([7; 32])).seal(KeyVersion(1), &own, &clear("hunter2")), sealed);
        let others = [
            key.seal(KeyVersion(1), &own, &clear("hunter3")),
            key.seal(KeyVersion(1), &SealContext { message_id: &two, ..own }, &clear("hunter2")),
            DataKey(Zeroizing::new([8; 32])).seal(KeyVersion(1), &own, &clear("hunter2")),
        ];
        for other in &others {
            // Not a single block in common, and no keystream that two texts would share.
            assert_ne!(other.sealed[..7], sealed.sealed[..7]);
        }
    }

    #[test]
    fn no_debug_form_and_no_refusal_shows_a_secret() {
        let read = |json: &str| Secret::read(&RawValue::from_string(json.into()).unwrap(), "payload.secret");
        let told = format!("{:?} {:?}", read(r#""hunter2""#).unwrap(), DataKey(Zeroizing::new([0x41; 32])));
        assert_eq!(told, "Clear(ClearText(..)) DataKey(..)");
        let long = format!("\"hunter2{}\"", "x".repeat(CLEAR_MAX_BYTES));
        for json in [
            "\"\"",
            &long,
            "4711",
            "[\"hunter2\"]",
            "null",
            r#"{"sealed": "hunter2", "data_key": "hunter2"}"#,
            r#"{"sealed": "hunter2!", "data_key": 1}"#,
            r#"{"hunter2": 4711}"#,
            r#""hunter2 \ud800""#,
        ] {
            let refused = read(json).expect_err(json);
            assert_eq!(refused.field, "payload.secret");
            assert!(!refused.problem.contains("hunter2") && !refused.problem.contains("4711"), "{refused}");
            assert!(refused.problem.contains("1 to 4096"), "{refused}");
        }
    }
}
