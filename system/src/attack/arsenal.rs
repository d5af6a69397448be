//! What attackers bring: bodies, tokens and grants, genuine and forged.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use bytes::Bytes;
use ed25519_dalek::{Signer, SigningKey};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;

use super::{Attack, Entry, Hostile};
use crate::action::Spec;
use crate::jws::{PrivateKey, PublicKeys};
use crate::message::MAX_BODY_BYTES;
use crate::secret::{KeyVersion, Sealed, replace_secret};

/// The secret half of a key that nobody trusts.
const ALIEN: [u8; 32] = [0x66; 32];

/// A message, as its bytes.
pub(super) fn body(tenant: &str, user: &str, spec: &Spec, id: &str, timestamp: &str) -> String {
    let (action, payload) = (spec.name, spec.example);
    format!(
        r#"{{"tenant_id":"{tenant}","user_id":"{user}","action":"{action}","payload":{payload},"message_id":"{id}","timestamp":"{timestamp}"}}"#
    )
}

/// A message as it is at `entry`: from the producer on, a secret is sealed. By nobody's key, in an attacker's case.
pub(super) fn body_at(entry: Entry, tenant: &str, user: &str, spec: &Spec, id: &str, timestamp: &str) -> String {
    let body = body(tenant, user, spec, id, timestamp);
    if matches!(entry, Entry::Http | Entry::Auth) || !spec.has_secret() {
        return body;
    }
    with_secret(&body, &Sealed { data_key: KeyVersion::default(), sealed: vec![0x66; 32] })
}

/// `body`, a message with a secret, with `sealed` in the secret's place.
pub(super) fn with_secret(body: &str, sealed: &Sealed) -> String {
    let sealed = replace_secret(body.as_bytes(), sealed).expect("the example has a secret");
    String::from_utf8(sealed.into()).expect("a body is text")
}

/// `sound`, a message, with `hostile` wrong about it; `other` is a tenant to be confused with.
pub(super) fn spoil(sound: &str, hostile: Hostile, other: &str) -> Bytes {
    let with = |field: String| sound.replacen('{', &format!("{{{field},"), 1).into();
    match hostile {
        Hostile::DuplicateKey => with(format!(r#""tenant_id":"{other}""#)),
        Hostile::UnknownField => with(r#""on_behalf_of":"everyone""#.into()),
        Hostile::Huge => format!("{sound}{}", " ".repeat(MAX_BODY_BYTES)).into(),
        Hostile::Deep => {
            let deep = format!(r#""payload":{{"deep":{}{},"#, "[".repeat(1000), "]".repeat(1000));
            let deep = sound.replacen(r#""payload":{"#, &deep, 1);
            // An empty payload leaves a comma before its end.
            deep.replacen("],}", "]}", 1).into()
        }
        Hostile::Float => with(r#""schema_version":1.0"#.into()),
        Hostile::BadUtf8 => {
            let mut bytes = sound.as_bytes().to_vec();
            let place = sound.find(r#","user_id""#).expect("a message has a user") - 2;
            bytes[place] = 0xff;
            bytes.into()
        }
    }
}

/// `genuine`, a token, with its claims changed by `change`, and signed as `attack` signs.
pub(super) fn forge(genuine: &str, attack: Attack, public: &PublicKeys, change: impl FnOnce(&mut Value)) -> String {
    let mut parts = genuine.split('.').map(|part| BASE64URL.decode(part).unwrap_or_default());
    let mut part = || parts.next().and_then(|json| serde_json::from_slice(&json).ok()).unwrap_or(Value::Null);
    let (mut header, mut claims) = (part(), part());
    change(&mut claims);
    let alien = SigningKey::from_bytes(&ALIEN);
    match attack {
        Attack::AlgorithmNone => header["alg"] = "none".into(),
        Attack::AlgorithmHs256 => header["alg"] = "HS256".into(),
        Attack::UnknownKey => {
            // As an honest signer would name it.
            let signed = PrivateKey::from_seed(&ALIEN).sign("any", &());
            let own = signed.split('.').next().and_then(|part| BASE64URL.decode(part).ok()).unwrap_or_default();
            let own: Value = serde_json::from_slice(&own).unwrap_or_default();
            header["kid"] = own["kid"].clone();
        }
        _ => {}
    }
    let signed = format!("{}.{}", BASE64URL.encode(header.to_string()), BASE64URL.encode(claims.to_string()));
    let signature = match attack {
        Attack::AlgorithmNone => Vec::new(),
        Attack::AlgorithmHs256 => {
            let secret = postcard::to_stdvec(public).expect("our own types become bytes");
            let mut mac = Hmac::<Sha256>::new_from_slice(&secret).expect("a key of any length");
            mac.update(signed.as_bytes());
            mac.finalize().into_bytes().to_vec()
        }
        _ => alien.sign(signed.as_bytes()).to_bytes().to_vec(),
    };
    format!("{signed}.{}", BASE64URL.encode(signature))
}
