//! Signed notes (C2SP `signed-note`): a text, and below it lines with signatures. Ed25519, and nothing else.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};

/// The longest note that is looked at, in bytes: a checkpoint has some 200.
const NOTE_BYTES_MAX: usize = 64 * 1024;

/// Signatures that are looked at: a log's own, and those of witnesses.
const SIGNATURES_MAX: usize = 100;

/// The kind of key and signature: Ed25519.
const ALGORITHM: u8 = 1;

/// What a line with a signature begins with.
const DASH: &str = "\u{2014} ";

/// Why a note is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Not a text with signatures below it.
    #[error("it is no signed note: {0}")]
    Malformed(&'static str),
    /// Nobody signed it, or others.
    #[error("it is not signed by {wanted}, but by {signers}")]
    OtherKey {
        /// Name and id of the key that was asked for.
        wanted: String,
        /// Of those that signed.
        signers: String,
    },
    /// Signed in the key's name, by someone else.
    #[error("the signature of {0} does not verify")]
    BadSignature(String),
}

/// A log's public key and its name: a `vkey`, `NAME+ID+KEY`.
#[derive(Clone, PartialEq, Eq)]
pub struct LogKey {
    name: String,
    id: [u8; 4],
    key: VerifyingKey,
}

impl LogKey {
    fn new(name: &str, key: VerifyingKey) -> Self {
        let hash = Sha256::new().chain_update(name).chain_update([b'\n', ALGORITHM]).chain_update(key.as_bytes());
        let [a, b, c, d, ..] = <[u8; 32]>::from(hash.finalize());
        Self { name: name.into(), id: [a, b, c, d], key }
    }

    /// Reads `NAME+ID+KEY`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err("a key is written NAME+ID+KEY");
        };
        if !is_name(name) {
            return Err("its name must have a letter, no space and no plus sign");
        }
        let bytes = BASE64.decode(key).map_err(|_| "its last part must be base64")?;
        let Some((&ALGORITHM, bytes)) = bytes.split_first() else { return Err("it must be an Ed25519 key") };
        let bytes = bytes.try_into().map_err(|_| "an Ed25519 key has 32 bytes")?;
        let key = Self::new(name, VerifyingKey::from_bytes(bytes).map_err(|_| "it is no point of the curve")?);
        if hex::encode(key.id) == id {
            Ok(key)
        } else {
            Err("its id is not that of its name and key: a part was changed")
        }
    }

    /// The name that it signs in.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The text of `note`, which this key has signed.
    ///
    /// # Errors
    /// When it has not.
    pub fn open<'a>(&self, note: &'a str) -> Result<&'a str, NoteError> {
        let (text, signatures) = split(note)?;
        let mut signers = Vec::new();
        for line in signatures.lines() {
            let malformed = NoteError::Malformed("a signature's line must be a dash, a name, and base64");
            let (name, signature) =
                line.strip_prefix(DASH).and_then(|line| line.split_once(' ')).ok_or_else(|| malformed.clone())?;
            let bytes = BASE64.decode(signature).map_err(|_| malformed.clone())?;
            let Some((id, signature)) = bytes.split_first_chunk().filter(|_| is_name(name)) else {
                return Err(malformed);
            };
            if name == self.name && *id == self.id {
                let verified = Signature::from_slice(signature)
                    .and_then(|signature| self.key.verify_strict(text.as_bytes(), &signature));
                return verified.map(|()| text).map_err(|_| NoteError::BadSignature(self.short()));
            }
            signers.push(format!("{name}+{}", hex::encode(id)));
        }
        Err(NoteError::OtherKey { wanted: self.short(), signers: signers.join(", ") })
    }

    /// Name and id.
    fn short(&self) -> String {
        format!("{}+{}", self.name, hex::encode(self.id))
    }
}

impl fmt::Display for LogKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = [&[ALGORITHM], &self.key.as_bytes()[..]].concat();
        write!(f, "{}+{}", self.short(), BASE64.encode(key))
    }
}

impl fmt::Debug for LogKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LogKey({self})")
    }
}

/// A log's private key and its name.
pub struct Signer {
    key: SigningKey,
    public: LogKey,
}

impl Signer {
    /// The key that follows from 32 secret bytes, under `name`; `None` if that can't be a name.
    #[must_use]
    pub fn from_seed(name: &str, seed: &[u8; 32]) -> Option<Self> {
        let key = SigningKey::from_bytes(seed);
        let public = LogKey::new(name, key.verifying_key());
        is_name(name).then_some(Self { key, public })
    }

    /// Its public half.
    #[must_use]
    pub fn public(&self) -> &LogKey {
        &self.public
    }

    /// `text`, which ends with a newline, with a signature below it.
    #[must_use]
    pub fn sign(&self, text: &str) -> String {
        let signature = self.key.sign(text.as_bytes()).to_bytes();
        let line = BASE64.encode([&self.public.id[..], &signature].concat());
        format!("{text}\n{DASH}{} {line}\n", self.public.name)
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|letter: char| letter.is_whitespace() || letter.is_control() || letter == '+')
}

/// A note's text, and its lines with signatures.
fn split(note: &str) -> Result<(&str, &str), NoteError> {
    if note.len() > NOTE_BYTES_MAX {
        return Err(NoteError::Malformed("it is longer than 64 KiB"));
    }
    if note.contains(|letter: char| letter < ' ' && letter != '\n') {
        return Err(NoteError::Malformed("it has control characters"));
    }
    let blank = note.rfind("\n\n").ok_or(NoteError::Malformed("no blank line parts text and signatures"))?;
    let (text, signatures) = (&note[..=blank], &note[blank + 2..]);
    if !signatures.ends_with('\n') || signatures.lines().count() > SIGNATURES_MAX {
        return Err(NoteError::Malformed("it must end with 1 to 100 lines of signatures"));
    }
    Ok((text, signatures))
}
