//! Who holds the keys that wrap data keys: a key management service, or for now a file or an environment variable.
//!
//! The trait is shaped like such a service: asynchronous, asked for one key at a time, with a context that the answer is
//! bound to, and keys known by name. Several may be known and one is current; the name of the one used is part of the
//! wrapped form, so that what an older one wrapped stays readable after a rotation.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{DataKey, KeyVersion, decrypt, encrypt, joined};
use crate::capability::{Entropy, file_error};
use crate::ids::{Name, TenantId};

const DOMAIN: &[u8] = b"tenantry data key v1";

/// A key file longer than this is none, in bytes.
const FILE_MAX_BYTES: u64 = 64 * 1024;

/// What a wrapped data key is bound to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyContext {
    /// Whose it is.
    pub tenant: TenantId,
    /// Which of theirs.
    pub version: KeyVersion,
}

/// A data key as it lies on a disk and crosses channels.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrappedKey {
    /// The name of the key that wrapped it.
    pub by: Name,
    /// What only that key opens.
    pub bytes: Vec<u8>,
}

impl fmt::Debug for WrappedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WrappedKey(by {})", self.by)
    }
}

/// Why there is no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A key that wraps others is missing here.
    #[error(
        "data key {version} of tenant {tenant} is wrapped by {by}, which is not among the keys known here ({known}); add it, after the current one"
    )]
    Unknown {
        /// Whose data key.
        tenant: TenantId,
        /// Which of theirs.
        version: KeyVersion,
        /// The missing key.
        by: Name,
        /// Those that are there.
        known: String,
    },
    /// What was given does not open: of another tenant or version, damaged, or a key that has another's name.
    #[error("data key {version} of tenant {tenant} does not open with key {by}: is it the same key everywhere?")]
    Refused {
        /// Whose data key.
        tenant: TenantId,
        /// Which of theirs.
        version: KeyVersion,
        /// The key that should have opened it.
        by: Name,
    },
    /// The provider could not be asked: try again.
    #[error("the key provider has no answer: {0}")]
    Unavailable(String),
}

/// Wraps data keys, and unwraps them.
#[async_trait]
pub trait KeyProvider: Send + Sync + 'static {
    /// Wraps `key` with the current key.
    async fn wrap(&self, key: &DataKey, context: &KeyContext) -> Result<WrappedKey, KeyError>;

    /// Unwraps a key with the key that wrapped it.
    async fn unwrap(&self, wrapped: &WrappedKey, context: &KeyContext) -> Result<DataKey, KeyError>;

    /// The name of the key that wraps from now on: what is wrapped by another is due for a new wrapping.
    fn current(&self) -> &Name;
}

/// Named keys of 256 bits, held in memory: from a file, an environment variable, or a simulation's seed.
#[derive(Clone)]
pub struct KeySet {
    current: Name,
    keys: BTreeMap<Name, Zeroizing<[u8; 32]>>,
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeySet(current {}, known {})", self.current, self.known())
    }
}

/// Why there are no keys to wrap with. Never says what a key is.
#[derive(Debug, thiserror::Error)]
pub enum KeySetError {
    /// The file can't be had; says which and what would be right.
    #[error(transparent)]
    File(#[from] io::Error),
    /// Not a list of keys; says where, counted from 1.
    #[error(
        "{place}: entry {entry} {problem}; write one key a line as NAME:64-HEXADECIMAL-DIGITS, the current one first"
    )]
    Entry {
        /// The file, or the variable.
        place: String,
        /// Which entry.
        entry: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// Nothing there.
    #[error("{0} holds no key; write one key a line as NAME:64-HEXADECIMAL-DIGITS, the current one first")]
    Empty(String),
}

impl KeySet {
    /// One new key under `name`.
    #[must_use]
    pub fn generate(name: Name, entropy: &dyn Entropy) -> Self {
        let mut key = Zeroizing::new([0; 32]);
        entropy.fill(&mut *key);
        Self { current: name.clone(), keys: BTreeMap::from([(name, key)]) }
    }

    /// Reads keys, one a line or separated by commas, the current one first; what follows a `#` is a remark. `place` is
    /// for errors.
    ///
    /// # Errors
    /// The first entry that is no key.
    pub fn parse(text: &str, place: &str) -> Result<Self, KeySetError> {
        let (mut current, mut keys) = (None, BTreeMap::new());
        let lines = text.lines().map(|line| line.split_once('#').map_or(line, |(line, _)| line));
        let entries = lines.flat_map(|line| line.split(',')).map(str::trim).filter(|entry| !entry.is_empty());
        for (index, entry) in entries.enumerate() {
            let wrong = |problem: String| KeySetError::Entry { place: place.into(), entry: index + 1, problem };
            let (name, digits) = entry.split_once(':').ok_or_else(|| wrong("has no colon".into()))?;
            let name = Name::parse(name.trim()).map_err(|error| wrong(format!("has a name that {error}")))?;
            let mut key = Zeroizing::new([0; 32]);
            // hex's own error would quote a digit.
            let decoded = hex::decode_to_slice(digits.trim(), &mut *key);
            decoded.map_err(|_| wrong(format!("({name}) is not 64 hexadecimal digits")))?;
            current.get_or_insert_with(|| name.clone());
            if keys.insert(name.clone(), key).is_some() {
                return Err(wrong(format!("({name}) is there twice")));
            }
        }
        Ok(Self { current: current.ok_or_else(|| KeySetError::Empty(place.into()))?, keys })
    }

    /// Reads the keys in the file at `path`, which must be readable by its owner alone.
    ///
    /// # Errors
    /// When it can't be read, others may read it, or it holds no keys.
    pub fn read_file(path: &Path) -> Result<Self, KeySetError> {
        let read = || -> io::Result<(u32, Zeroizing<String>)> {
            // Who else may read is asked of the very file that is read.
            let file = std::fs::File::open(path)?;
            let mut text = Zeroizing::new(String::new());
            let mode = file.metadata()?.permissions().mode();
            file.take(FILE_MAX_BYTES).read_to_string(&mut text)?;
            Ok((mode & 0o777, text))
        };
        let (mode, text) = read().map_err(|error| file_error(&error, "read the key file", path))?;
        if mode & 0o077 != 0 {
            let problem = format!("others than its owner may reach {} (mode {mode:03o})", path.display());
            let right = format!("{problem}; it holds keys: run chmod 600 on it");
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, right).into());
        }
        Self::parse(&text, &path.display().to_string())
    }

    /// Reads the keys in the environment variable `name`.
    ///
    /// # Errors
    /// When it is not set or holds no keys.
    pub fn read_env(name: &str) -> Result<Self, KeySetError> {
        let value = Zeroizing::new(std::env::var(name).unwrap_or_default());
        Self::parse(&value, &format!("the environment variable {name}"))
    }

    /// The file that [`KeySet::read_file`] would read.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let others = self.keys.iter().filter(|(name, _)| **name != self.current);
        let lines = self.keys.get_key_value(&self.current).into_iter().chain(others);
        let lines = lines.map(|(name, key)| format!("{name}:{}\n", hex::encode(**key)));
        Zeroizing::new(lines.collect())
    }

    fn known(&self) -> String {
        self.keys.keys().map(Name::as_str).collect::<Vec<_>>().join(", ")
    }
}

/// The name of the wrapping key is bound too: a wrapped key whose label was changed opens with neither.
fn bound(context: &KeyContext, by: &Name) -> Vec<u8> {
    joined(DOMAIN, &[context.tenant.as_str(), &context.version.to_string(), by.as_str()])
}

#[async_trait]
impl KeyProvider for KeySet {
    async fn wrap(&self, key: &DataKey, context: &KeyContext) -> Result<WrappedKey, KeyError> {
        let by = self.current.clone();
        let bytes = encrypt(&self.keys[&by], &bound(context, &by), &*key.0);
        Ok(WrappedKey { by, bytes })
    }

    async fn unwrap(&self, wrapped: &WrappedKey, context: &KeyContext) -> Result<DataKey, KeyError> {
        let (KeyContext { tenant, version }, by) = (context.clone(), wrapped.by.clone());
        let Some(key) = self.keys.get(&by) else {
            return Err(KeyError::Unknown { tenant, version, by, known: self.known() });
        };
        let opened = decrypt(key, &bound(context, &by), &wrapped.bytes);
        let clear = opened.ok().and_then(|clear| <[u8; 32]>::try_from(&clear[..]).ok());
        clear.map(|key| DataKey(Zeroizing::new(key))).ok_or(KeyError::Refused { tenant, version, by })
    }

    fn current(&self) -> &Name {
        &self.current
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::tenant;
    use crate::testing::write_file;

    fn set(text: &str) -> Result<KeySet, String> {
        KeySet::parse(text, "keys").map_err(|error| error.to_string())
    }

    fn line(name: &str, byte: &str) -> String {
        format!("{name}:{}\n", byte.repeat(32))
    }

    fn context(name: &str, version: u32) -> KeyContext {
        KeyContext { tenant: tenant(name), version: KeyVersion(version) }
    }

    #[tokio::test]
    async fn a_wrapped_key_opens_for_its_tenant_and_version_also_after_the_wrapping_key_was_followed_by_another() {
        let old = set(&line("old", "ab")).unwrap();
        let both = set(&format!("# rotated\n{}{}", line("new", "cd"), line("old", "ab"))).unwrap();
        let key = DataKey(Zeroizing::new([9; 32]));
        let wrapped = old.wrap(&key, &context("acme", 1)).await.unwrap();
        assert_eq!(both.unwrap(&wrapped, &context("acme", 1)).await.unwrap(), key);
        let by = both.wrap(&key, &context("acme", 1)).await.unwrap().by;
        assert_eq!(by.as_str(), "new");
        for elsewhere in [context("globex", 1), context("acme", 2)] {
            assert!(matches!(old.unwrap(&wrapped, &elsewhere).await, Err(KeyError::Refused { .. })));
        }
        let alone = set(&line("new", "cd")).unwrap();
        let missing = alone.unwrap(&wrapped, &context("acme", 1)).await.unwrap_err().to_string();
        assert!(missing.contains("wrapped by old, which is not among the keys known here (new)"), "{missing}");
        let namesake = set(&line("old", "cd")).unwrap();
        assert!(matches!(namesake.unwrap(&wrapped, &context("acme", 1)).await, Err(KeyError::Refused { .. })));
    }

    #[test]
    fn a_wrong_key_file_is_refused_with_its_entry_and_without_its_content() {
        for (text, told) in [
            ("", "keys holds no key"),
            ("# nothing\n", "keys holds no key"),
            (&format!("{}abcd", line("a", "ab")), "entry 2 has no colon"),
            ("a:abcdef", "entry 1 (a) is not 64 hexadecimal digits"),
            (&format!("A:{}", "ab".repeat(32)), "entry 1 has a name that has 'A'"),
            (&line("a", "ab").repeat(2), "entry 2 (a) is there twice"),
        ] {
            let error = set(text).unwrap_err();
            assert!(error.contains(told), "{error}");
            assert!(!error.contains("abab") && !error.contains("abcd"), "{error}");
        }
        let one = set(&line("a", "ab")).unwrap();
        assert_eq!(format!("{one:?}"), "KeySet(current a, known a)");
        let inline = format!("b:{},a:{}", "cd".repeat(32), "ab".repeat(32));
        assert_eq!(*set(&inline).unwrap().to_text(), line("b", "cd") + &line("a", "ab"));
    }

    #[test]
    fn a_key_file_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        write_file(&path, line("a", "ab"));
        for (mode, fine) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let read = KeySet::read_file(&path);
            assert_eq!(read.is_ok(), fine, "{mode:o}");
            if let Err(error) = read {
                assert!(error.to_string().contains("chmod 600"), "{error}");
            }
        }
        let missing = KeySet::read_file(&folder.path().join("none")).unwrap_err().to_string();
        assert!(missing.contains("failed to read the key file"), "{missing}");
    }
}
