//! The configuration of `serve`: where data is kept and where each role listens.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use tenantry_system::capability::file_error;
use tenantry_system::role::Addresses;

/// A role that runs as a process of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// The HTTP API.
    Producer,
    /// Keeps commands until they are dealt with.
    Broker,
    /// Verifies and applies commands.
    Consumer,
    /// Authenticates, authorizes, signs grants.
    Auth,
    /// Keeps limits, entitlements, credits and outcomes.
    Ledger,
    /// Keeps the audit log.
    Audit,
}

impl Role {
    /// The role's folder below the data folder.
    pub(crate) fn folder(self) -> &'static str {
        match self {
            Self::Producer => "producer",
            Self::Broker => "broker",
            Self::Consumer => "consumer",
            Self::Auth => "auth",
            Self::Ledger => "ledger",
            Self::Audit => "audit",
        }
    }
}

/// What `serve` needs to know.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Each role keeps its files in a folder of its own below.
    pub(crate) data: PathBuf,
    /// Where each role listens.
    pub(crate) addresses: Addresses,
}

impl Default for Config {
    fn default() -> Self {
        Self { data: "./data".into(), addresses: Addresses::default() }
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
