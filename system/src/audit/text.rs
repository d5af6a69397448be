//! How bytes stand in a record that people read: a message as text, a hash in hexadecimal. On wires they stay bytes.

/// A message's body: text, as it is one; anything else byte by byte.
pub(super) mod body {
    use bytes::Bytes;
    use serde::de::{SeqAccess, Visitor};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(in crate::audit) fn serialize<S: Serializer>(body: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(body) {
            Ok(text) if serializer.is_human_readable() => serializer.serialize_str(text),
            _ => body.serialize(serializer),
        }
    }

    pub(in crate::audit) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        if deserializer.is_human_readable() {
            deserializer.deserialize_any(Either)
        } else {
            Bytes::deserialize(deserializer)
        }
    }

    struct Either;

    impl<'de> Visitor<'de> for Either {
        type Value = Bytes;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a text, or bytes")
        }

        fn visit_str<E>(self, text: &str) -> Result<Bytes, E> {
            Ok(Bytes::copy_from_slice(text.as_bytes()))
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut bytes: A) -> Result<Bytes, A::Error> {
            let mut read = Vec::new();
            while let Some(byte) = bytes.next_element()? {
                read.push(byte);
            }
            Ok(read.into())
        }
    }
}

/// A hash that may be missing.
pub(super) mod hash {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::message::BodyHash;

    pub(in crate::audit) fn serialize<S: Serializer>(
        hash: &Option<BodyHash>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            hash.map(hex::encode).serialize(serializer)
        } else {
            hash.serialize(serializer)
        }
    }

    pub(in crate::audit) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<BodyHash>, D::Error> {
        if !deserializer.is_human_readable() {
            return Option::deserialize(deserializer);
        }
        let read = |text: String| {
            let mut hash = BodyHash::default();
            hex::decode_to_slice(text, &mut hash).map_err(D::Error::custom)?;
            Ok(hash)
        };
        Option::<String>::deserialize(deserializer)?.map(read).transpose()
    }
}
