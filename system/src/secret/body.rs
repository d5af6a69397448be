//! Puts a sealed secret into a message in the place of the clear one.
//!
//! The value's own bytes are replaced and no other: the message is not taken apart and written anew. So what an operator
//! signed off stays as it was to the last space, two readers of the body can't come to differ over it, and the same
//! command always becomes the same bytes.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Sealed, Secret, WITHHELD};

/// Only what leads to the secret; the message was read strictly before.
#[derive(Deserialize)]
struct Outer<'a> {
    #[serde(borrow)]
    payload: &'a RawValue,
}

#[derive(Deserialize)]
struct Inner<'a> {
    #[serde(borrow)]
    secret: &'a RawValue,
}

/// `body` with the value of `payload.secret` replaced by `sealed`; `None` if there is no such field.
pub(crate) fn replace_secret(body: &[u8], sealed: &Sealed) -> Option<Bytes> {
    with_secret(body, |_| sealed.to_json())
}

/// `body` as it may be kept for ever: of a sealed secret the ciphertext's hash, of anything else in its place nothing.
/// `None` if it has none.
pub(crate) fn without_ciphertext(body: &[u8]) -> Option<Bytes> {
    with_secret(body, |secret| match Secret::read(secret, "secret") {
        Ok(Secret::Sealed(sealed)) => {
            format!(r#"{{"sealed_sha256":"{}","data_key":{}}}"#, sealed.sha256(), sealed.data_key)
        }
        Ok(Secret::Clear(_) | Secret::Withheld) | Err(_) => WITHHELD.into(),
    })
}

/// `body` with nothing in the place of `payload.secret`; `None` if there is no such field.
pub(crate) fn withhold_secret(body: &[u8]) -> Option<Bytes> {
    with_secret(body, |_| WITHHELD.into())
}

fn with_secret(body: &[u8], becomes: impl FnOnce(&RawValue) -> String) -> Option<Bytes> {
    let outer: Outer<'_> = serde_json::from_slice(body).ok()?;
    let inner: Inner<'_> = serde_json::from_str(outer.payload.get()).ok()?;
    // Borrowed values are slices of `body`: where they stand is the difference of two addresses.
    let start = (inner.secret.get().as_ptr() as usize).checked_sub(body.as_ptr() as usize)?;
    let end = start.checked_add(inner.secret.get().len()).filter(|end| *end <= body.len())?;
    Some([&body[..start], becomes(inner.secret).as_bytes(), &body[end..]].concat().into())
}

#[cfg(test)]
mod tests {
    use super::super::KeyVersion;
    use super::*;

    #[test]
    fn nothing_but_the_secrets_value_changes() {
        let body = r#"{ "secret": "not this", "payload" : {"note":"\"secret\": 1", "secret":  "hun\"ter2" , "z":{"secret":1}}, "x": 1.50 }"#;
        let sealed = Sealed { data_key: KeyVersion(3), sealed: vec![0xff; 3] };
        let replaced = replace_secret(body.as_bytes(), &sealed).unwrap();
        assert_eq!(replaced, body.replace(r#""hun\"ter2""#, r#"{"sealed":"____","data_key":3}"#));
        assert_eq!(replace_secret(br#"{"payload":{}}"#, &sealed), None);
    }
}
