//! Checkpoints (C2SP `tlog-checkpoint`): what a log had when, in a few lines that someone signed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::{Hash, LogKey, NoteError, Signer};

/// The size and the root of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name.
    pub origin: String,
    /// How many entries it had.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
    /// What the log wants to have signed with them, a line without its end; none where there is nothing to say.
    pub extension: Option<String>,
}

/// Why a checkpoint is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// Not a signed note, or not by this key.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// A signed note, of something else.
    #[error("it is no checkpoint: {0}")]
    Malformed(&'static str),
    /// A log's key signed another log's checkpoint.
    #[error("it is of the log {found}, not of {wanted}")]
    OtherOrigin {
        /// The name in the checkpoint.
        found: String,
        /// The key's.
        wanted: String,
    },
}

impl Checkpoint {
    /// The checkpoint that `key` has signed in `note`, of the log that has the key's name.
    ///
    /// # Errors
    /// When it has not.
    pub fn open(note: &str, key: &LogKey) -> Result<Self, CheckpointError> {
        let read = Self::parse(key.open(note)?).map_err(CheckpointError::Malformed)?;
        if read.origin == key.name() {
            Ok(read)
        } else {
            Err(CheckpointError::OtherOrigin { found: read.origin, wanted: key.name().into() })
        }
    }

    /// As a note, signed.
    #[must_use]
    pub fn sign(&self, signer: &Signer) -> String {
        let extension = self.extension.as_ref().map_or_else(String::new, |line| format!("{line}\n"));
        signer.sign(&format!("{}\n{}\n{}\n{extension}", self.origin, self.size, BASE64.encode(self.root)))
    }

    /// Lines after the fourth are allowed, and nothing to us.
    fn parse(text: &str) -> Result<Self, &'static str> {
        let mut lines = text.lines();
        let mut line = || lines.next().filter(|line| !line.is_empty());
        let (Some(origin), Some(size), Some(root)) = (line(), line(), line()) else {
            return Err("it must have an origin, a size and a root, a line each");
        };
        let size: u64 = match size.parse() {
            Ok(number) if format!("{number}") == size => number,
            _ => return Err("its second line must be a size"),
        };
        let root = BASE64.decode(root).ok().and_then(|root| root.try_into().ok());
        let root = root.ok_or("its third line must be a root: 32 bytes in base64")?;
        let extension = line().map(str::to_owned);
        Ok(Self { origin: origin.into(), size, root, extension })
    }
}
