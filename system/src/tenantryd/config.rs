//! The configuration: where data is kept, where each role listens, how often one may ask.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use tenantry_system::capability::file_error;
use tenantry_system::rate_limit::RateLimits;
use tenantry_system::role::Addresses;
use tenantry_system::secret::{KeyProvider, KeySet};

use crate::development;

/// What `serve` needs to know, and `up` may be told.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Each role keeps its files in a folder of its own below.
    pub(crate) data: PathBuf,
    /// Where each role listens.
    pub(crate) addresses: Addresses,
    /// How often one may ask: at the producer, and once more at the consumer.
    pub(crate) rate_limits: RateLimits,
    /// Where the keys are that wrap tenants' data keys.
    pub(crate) secrets: Secrets,
}

/// The keys that wrap tenants' data keys: producer and ledger need the same. At most one of the two is given; without
/// either, a key is kept in the data folder and made at the first start, as it suits one machine.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Secrets {
    /// A file of its owner alone, with one key a line as NAME:64-HEXADECIMAL-DIGITS, the current one first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key_file: Option<PathBuf>,
    /// The name of an environment variable that holds the same, its lines or commas apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key_env: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        let (addresses, rate_limits) = (Addresses::default(), RateLimits::default());
        Self { data: "./data".into(), addresses, rate_limits, secrets: Secrets::default() }
    }
}

impl Config {
    /// Reads a configuration file.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|error| file_error(&error, "read", path))?;
        let config: Self = toml::from_str(&text).with_context(|| format!("failed to read {}", path.display()))?;
        let Addresses { producer, broker, auth, ledger, audit } = &config.addresses;
        for address in [producer, broker, auth, ledger, audit] {
            must_be_loopback(address).with_context(|| format!("failed to use {}", path.display()))?;
        }
        Ok(config)
    }

    /// The keys that wrap tenants' data keys.
    pub(crate) fn keys(&self) -> anyhow::Result<Arc<dyn KeyProvider>> {
        let keys = match (&self.secrets.key_file, &self.secrets.key_env) {
            (Some(_), Some(_)) => bail!("both key_file and key_env are given under [secrets]; keep one of the two"),
            (Some(file), None) => KeySet::read_file(file)?,
            (None, Some(variable)) => KeySet::read_env(variable)?,
            (None, None) => development::keys(&self.data)?,
        };
        Ok(Arc::new(keys))
    }

    /// The file that `read` would read.
    pub(crate) fn to_toml(&self) -> anyhow::Result<String> {
        Ok(toml::to_string(self)?)
    }
}

/// Channels are not encrypted yet: what crosses them must not leave the machine.
pub(crate) fn must_be_loopback(address: &str) -> anyhow::Result<()> {
    let parsed: SocketAddr =
        address.parse().with_context(|| format!("{address:?} is no address; write one such as 127.0.0.1:7070"))?;
    if !parsed.ip().is_loopback() {
        bail!("{address} is not a loopback address; channels are not encrypted, so nothing may leave this machine");
    }
    Ok(())
}
