//! The configuration: where data is kept, where each role listens, how often one may ask.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use tenantry_system::capability::file_error;
use tenantry_system::rate_limit::RateLimits;
use tenantry_system::role::Addresses;

use crate::development;
use crate::identity::Identity;

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
    /// Whose tokens operators come with; without it the development identity's in the data folder.
    pub(crate) identity: Option<Identity>,
}

impl Default for Config {
    fn default() -> Self {
        let (addresses, rate_limits) = (Addresses::default(), RateLimits::default());
        Self { data: "./data".into(), addresses, rate_limits, identity: None }
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

    /// The provider of operators' tokens.
    pub(crate) fn identity(&self) -> Identity {
        self.identity.clone().unwrap_or_else(|| development::table(&self.data))
    }

    /// The file that `read` would read, with nothing left unsaid.
    pub(crate) fn to_toml(&self) -> anyhow::Result<String> {
        Ok(toml::to_string(&Self { identity: Some(self.identity()), ..self.clone() })?)
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
