//! What travels on a connection: one kind byte, an id and a deadline where they belong, then the postcard body.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio_util::codec::LengthDelimitedCodec;

use crate::rights::Role;

/// The largest frame, in bytes: several of the largest bodies with their grants.
pub const MAX_FRAME_BYTES: usize = 1024 * 1024;

/// The largest request or reply, in bytes: a frame less its kind, id and deadline.
pub(super) const MAX_CONTENT_BYTES: usize = MAX_FRAME_BYTES - 13;

/// Changes with every change of a request's or reply's shape: postcard can't tell old from new.
const PROTOCOL_VERSION: u16 = 5;

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// The client's first frame: protocol version, who it is, and the service it expects.
    Hello {
        /// The sender's protocol version.
        version: u16,
        /// Who the client is; `None` if it is nobody this build knows.
        client: Option<Role>,
        /// The service it expects to talk to.
        service: String,
    },
    /// The server will not talk, and why. The last frame of a connection.
    Refused(String),
    /// "I am here."
    Heartbeat,
    /// A call.
    Request {
        /// Unique within the connection.
        id: u64,
        /// How long the caller still waits, in milliseconds.
        deadline_ms: u32,
        /// The request.
        body: Bytes,
    },
    /// A call's answer.
    Reply {
        /// The request's id.
        id: u64,
        /// The reply or the error.
        body: Bytes,
    },
}

/// A frame that can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a frame of {length} bytes and kind {kind:?} can't be read")]
pub struct FrameError {
    kind: Option<u8>,
    length: usize,
}

impl Frame {
    /// The greeting of a `client` of `service`.
    #[must_use]
    pub fn hello(client: Role, service: &str) -> Self {
        Self::Hello { version: PROTOCOL_VERSION, client: Some(client), service: service.into() }
    }

    /// What is wrong with a greeting of `version` for `wanted` at a server of `service`, if anything.
    #[must_use]
    pub fn refusal(version: u16, wanted: &str, service: &str) -> Option<String> {
        if version != PROTOCOL_VERSION {
            return Some(format!("this is protocol version {PROTOCOL_VERSION}, the caller speaks {version}"));
        }
        (wanted != service).then(|| format!("this is the {service} service, the caller wants {wanted}"))
    }

    /// The frame's bytes, without the length.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        match self {
            Self::Hello { version, client, service } => {
                out.put_u8(0);
                out.put_u16(*version);
                out.put_u8(client.map_or(u8::MAX, |client| client as u8));
                out.put_slice(service.as_bytes());
            }
            Self::Refused(reason) => {
                out.put_u8(1);
                out.put_slice(reason.as_bytes());
            }
            Self::Heartbeat => out.put_u8(2),
            Self::Request { id, deadline_ms, body } => {
                out.reserve(13 + body.len());
                out.put_u8(3);
                out.put_u64(*id);
                out.put_u32(*deadline_ms);
                out.put_slice(body);
            }
            Self::Reply { id, body } => {
                out.reserve(9 + body.len());
                out.put_u8(4);
                out.put_u64(*id);
                out.put_slice(body);
            }
        }
        out.freeze()
    }

    /// Reads a frame from its bytes.
    ///
    /// # Errors
    /// A kind that is not known, or fewer bytes than the kind needs.
    pub fn decode(mut bytes: Bytes) -> Result<Self, FrameError> {
        let error = FrameError { kind: bytes.first().copied(), length: bytes.len() };
        let text = |bytes: Bytes| String::from_utf8(bytes.into()).map_err(|_| error.clone());
        if bytes.is_empty() {
            return Err(error);
        }
        match bytes.get_u8() {
            // A client of another version may write the rest otherwise: its version is what it must be told about.
            0 if bytes.len() >= 3 => {
                let (version, client) = (bytes.get_u16(), usize::from(bytes.get_u8()));
                Ok(Self::Hello { version, client: Role::ALL.get(client).copied(), service: text(bytes)? })
            }
            1 => Ok(Self::Refused(text(bytes)?)),
            2 if bytes.is_empty() => Ok(Self::Heartbeat),
            3 if bytes.len() >= 12 => {
                Ok(Self::Request { id: bytes.get_u64(), deadline_ms: bytes.get_u32(), body: bytes })
            }
            4 if bytes.len() >= 8 => Ok(Self::Reply { id: bytes.get_u64(), body: bytes }),
            _ => Err(error),
        }
    }
}

/// The codec of both sides: a 32-bit big-endian length, at most [`MAX_FRAME_BYTES`].
pub(super) fn codec() -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder().max_frame_length(MAX_FRAME_BYTES).new_codec()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frames() -> impl Strategy<Value = Frame> {
        let body = || proptest::collection::vec(any::<u8>(), 0..64).prop_map(Bytes::from);
        prop_oneof![
            (any::<u16>(), proptest::option::of(proptest::sample::select(&Role::ALL[..])), ".{0,20}")
                .prop_map(|(version, client, service)| Frame::Hello { version, client, service }),
            ".{0,40}".prop_map(Frame::Refused),
            Just(Frame::Heartbeat),
            (any::<u64>(), any::<u32>(), body()).prop_map(|(id, deadline_ms, body)| Frame::Request {
                id,
                deadline_ms,
                body
            }),
            (any::<u64>(), body()).prop_map(|(id, body)| Frame::Reply { id, body }),
        ]
    }

    proptest! {
        #[test]
        fn every_frame_is_read_back(frame in frames()) {
            prop_assert_eq!(Frame::decode(frame.encode()), Ok(frame));
        }

        #[test]
        fn any_bytes_are_a_frame_or_an_error_and_never_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = Frame::decode(bytes.into());
        }
    }

    #[test]
    fn a_cut_request_is_no_frame() {
        let whole = Frame::Request { id: 7, deadline_ms: 9, body: Bytes::new() }.encode();
        for length in 0..whole.len() {
            assert!(Frame::decode(whole.slice(..length)).is_err(), "{length} bytes were read as a frame");
        }
    }
}
