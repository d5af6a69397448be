//! The development identity: an identity provider, kept in the data folder.
//!
//! It is an ordinary provider that auth is told to trust by an ordinary `[identity]` table, not a way round it: what auth
//! sees of it is the key set that it publishes. Whoever can read the data folder can make tokens with it, so its keys are
//! readable by their owner alone.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use tenantry_system::auth::IdentityProvider;
use tenantry_system::capability::{Clock, OsEntropy, SystemClock, file_error};
use tenantry_system::ids::{Name, UserId};
use tenantry_system::secret::KeySet;

use crate::identity::Identity;

/// The development operator.
pub(crate) const OPERATOR: &str = "dev-operator";
/// A tenant they administer.
pub(crate) const TENANT: &str = "acme";

const ISSUER: &str = "urn:tenantry:development";
/// A secret key a line; the first signs. Those after it are former ones, whose tokens still hold.
const KEY_FILE: &str = "identity.key";
/// Keys that wrap tenants' data keys.
const WRAPPING_KEYS_FILE: &str = "wrapping.keys";
/// What it publishes: all that auth ever reads of it.
const JWKS_FILE: &str = "identity.jwks.json";

/// A token lives for a working day and some more.
const TOKEN_LIFETIME_SECONDS: i64 = 12 * 3600;

/// A rotation leaves this many former keys: tokens made before the last rotation hold on, those from before the one
/// before it don't.
const FORMER_KEYS: usize = 1;

/// The table that has auth trust the identity in `data`.
pub(crate) fn table(data: &Path) -> Identity {
    Identity::in_file(ISSUER, &data.join(JWKS_FILE))
}

/// Whether `identity` is the one in `data`. Only then are its keys made, and only then can we make tokens of it.
pub(crate) fn is_meant(identity: &Identity, data: &Path) -> bool {
    Path::new(&identity.jwks) == data.join(JWKS_FILE)
}

/// The provider kept in `data`, made at the first call; its key set is published.
pub(crate) fn provider(data: &Path) -> anyhow::Result<IdentityProvider> {
    let path = data.join(KEY_FILE);
    let kept = read_or_create(&path, || lines(&IdentityProvider::new(ISSUER, &OsEntropy)))?;
    let seeds: Option<Vec<_>> = kept.lines().map(|line| parse_hex(line.trim())).collect();
    let seeds = seeds.filter(|seeds| !seeds.is_empty()).ok_or_else(|| {
        let path = path.display();
        anyhow!("{path} does not hold a line of 64 hexadecimal digits a key; remove it to have a new one made")
    })?;
    let provider = IdentityProvider::from_seed(ISSUER, &seeds[0]).with_former(&seeds[1..]);
    publish(data, &provider)?;
    Ok(provider)
}

/// Has a new key sign from here on. The one before holds until the next rotation; auth follows by itself.
pub(crate) fn rotate(data: &Path) -> anyhow::Result<()> {
    must_exist(data)?;
    let mut provider = provider(data)?;
    provider.rotate(&OsEntropy);
    provider.drop_former(FORMER_KEYS);
    let path = data.join(KEY_FILE);
    replace(&path, &lines(&provider), 0o600).map_err(|error| file_error(&error, "write", &path))?;
    // Whoever signs with the new key meanwhile has published it first, as every reader of the keys does.
    publish(data, &provider)
}

/// Writes the provider's key set where auth reads it, if another is there.
fn publish(data: &Path, provider: &IdentityProvider) -> anyhow::Result<()> {
    let (path, jwks) = (data.join(JWKS_FILE), provider.jwks());
    if std::fs::read_to_string(&path).is_ok_and(|published| published == jwks) {
        return Ok(());
    }
    Ok(replace(&path, &jwks, 0o644).map_err(|error| file_error(&error, "write", &path))?)
}

/// The provider's secret keys as they are kept.
fn lines(provider: &IdentityProvider) -> String {
    provider.seeds().iter().map(|seed| hex::encode(seed) + "\n").collect()
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
    Ok(provider(data)?.token(&user, SystemClock.unix_seconds(), TOKEN_LIFETIME_SECONDS))
}

/// A token for `user`, of an identity that is there already: one made now would be known to no running server.
pub(crate) fn existing_token(data: &Path, user: &str) -> anyhow::Result<String> {
    must_exist(data)?;
    token(data, user)
}

fn must_exist(data: &Path) -> anyhow::Result<()> {
    let path = data.join(KEY_FILE);
    if !path.exists() {
        bail!("{} does not exist; name the data folder of a system that was started once", path.display());
    }
    Ok(())
}

/// The text of `path`; if there is none, that of `make`, written in full or not at all.
pub(crate) fn read_or_create(path: &Path, make: impl FnOnce() -> String) -> anyhow::Result<String> {
    match std::fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        read => return Ok(read.map_err(|error| file_error(&error, "read", path))?),
    }
    let text = make();
    let write = || -> std::io::Result<()> {
        let (folder, draft) = draft(path, &text, 0o600)?;
        // A link fails where a rename would replace: of two processes that start together, one wins and both read it.
        let linked = std::fs::hard_link(&draft, path);
        std::fs::remove_file(&draft)?;
        folder.sync_all()?;
        match linked {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        }
    };
    write().map_err(|error| file_error(&error, "write", path))?;
    Ok(std::fs::read_to_string(path).map_err(|error| file_error(&error, "read", path))?)
}

/// Puts `text` at `path` in one step: a reader sees what was there before, or all of this.
fn replace(path: &Path, text: &str, mode: u32) -> std::io::Result<()> {
    let (folder, draft) = draft(path, text, mode)?;
    std::fs::rename(&draft, path)?;
    folder.sync_all()
}

/// `text` in a file of this process's beside `path`, and the folder of both.
fn draft(path: &Path, text: &str, mode: u32) -> std::io::Result<(File, PathBuf)> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let draft = path.with_extension(format!("draft-{}", std::process::id()));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    Ok((File::open(folder)?, draft))
}

fn parse_hex(text: &str) -> Option<[u8; 32]> {
    let mut seed = [0; 32];
    hex::decode_to_slice(text, &mut seed).ok()?;
    Some(seed)
}
