//! The development identity: an identity provider, kept in the data folder.
//!
//! It is an ordinary provider that auth is told to trust, not a way round it. Whoever can read the data folder can make
//! tokens with it, so its key is readable by its owner alone.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, anyhow, bail};
use tenantry_system::auth::IdentityProvider;
use tenantry_system::capability::{Clock, OsEntropy, SystemClock, file_error};
use tenantry_system::ids::{Name, UserId};
use tenantry_system::secret::KeySet;

/// The development operator.
pub(crate) const OPERATOR: &str = "dev-operator";
/// A tenant they administer.
pub(crate) const TENANT: &str = "acme";

const ISSUER: &str = "urn:tenantry:development";
const KEY_FILE: &str = "identity.key";
/// Keys that wrap tenants' data keys.
const WRAPPING_KEYS_FILE: &str = "wrapping.keys";

/// A token lives for a working day and some more.
const TOKEN_LIFETIME_SECONDS: i64 = 12 * 3600;

/// The provider kept in `data`, made at the first call.
pub(crate) fn identity(data: &Path) -> anyhow::Result<IdentityProvider> {
    let path = data.join(KEY_FILE);
    let kept = read_or_create(&path, || {
        let fresh = IdentityProvider::new(ISSUER, &OsEntropy);
        hex::encode(fresh.seed())
    })?;
    let seed = parse_hex(kept.trim()).ok_or_else(|| {
        anyhow!("{} does not hold 64 hexadecimal digits; remove it to have a new one made", path.display())
    })?;
    Ok(IdentityProvider::from_seed(ISSUER, &seed))
}

/// The keys that wrap data keys, kept in `data`, made at the first call.
pub(crate) fn keys(data: &Path) -> anyhow::Result<KeySet> {
    let path = data.join(WRAPPING_KEYS_FILE);
    let name = Name::parse("development-1")?;
    read_or_create(&path, || KeySet::generate(name, &OsEntropy).to_text().to_string())?;
    Ok(KeySet::read_file(&path)?)
}

/// A token for `user`.
pub(crate) fn token(data: &Path, user: &str) -> anyhow::Result<String> {
    let user = UserId::parse(user).with_context(|| format!("{user:?} is no user id"))?;
    Ok(identity(data)?.token(&user, SystemClock.unix_seconds(), TOKEN_LIFETIME_SECONDS))
}

/// A token for `user`, of an identity that is there already: one made now would be known to no running server.
pub(crate) fn existing_token(data: &Path, user: &str) -> anyhow::Result<String> {
    let path = data.join(KEY_FILE);
    if !path.exists() {
        bail!("{} does not exist; name the data folder of a system that was started once", path.display());
    }
    token(data, user)
}

/// The text of `path`; if there is none, that of `make`, written in full or not at all.
pub(crate) fn read_or_create(path: &Path, make: impl FnOnce() -> String) -> anyhow::Result<String> {
    match std::fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        read => return Ok(read.map_err(|error| file_error(&error, "read", path))?),
    }
    let text = make();
    let write = || -> std::io::Result<()> {
        let folder = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder)?;
        let draft = path.with_extension(format!("draft-{}", std::process::id()));
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        // A link fails where a rename would replace: of two processes that start together, one wins and both read it.
        let linked = std::fs::hard_link(&draft, path);
        std::fs::remove_file(&draft)?;
        File::open(folder)?.sync_all()?;
        match linked {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        }
    };
    write().map_err(|error| file_error(&error, "write", path))?;
    Ok(std::fs::read_to_string(path).map_err(|error| file_error(&error, "read", path))?)
}

fn parse_hex(text: &str) -> Option<[u8; 32]> {
    let mut seed = [0; 32];
    hex::decode_to_slice(text, &mut seed).ok()?;
    Some(seed)
}
