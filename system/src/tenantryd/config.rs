//! The configuration: where data is kept, where each role listens, how often one may ask.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use serde::{Deserialize, Serialize};
use tenantry_system::alerting::{self, Engine, QUIET_DEFAULT_S, Secret, Watching, Webhook};
use tenantry_system::audit::{EmbeddedAudit, LOOK_EVERY, LogSettings};
use tenantry_system::billing::Rules;
use tenantry_system::capability::{SystemClock, Tcp, World, file_error};
use tenantry_system::ledger::{Baseline, Settings};
use tenantry_system::outside::{Client, Roots, Url};
use tenantry_system::rate_limit::RateLimits;
use tenantry_system::rights::Role;
use tenantry_system::role::Addresses;
use tenantry_system::secret::{KeyProvider, KeySet};

use crate::development;
use crate::identity::Identity;
use crate::monitoring::Monitoring;

/// What `serve` needs to know, and `up` may be told.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Each role keeps its files in a folder of its own below.
    pub(crate) data: PathBuf,
    /// A key that signs grants is replaced after this many days, at least 1.
    pub(crate) grant_key_days: NonZeroU32,
    /// Where each role listens.
    pub(crate) addresses: Addresses,
    /// How often one may ask: at the producer, and once more at the consumer.
    pub(crate) rate_limits: RateLimits,
    /// Whose tokens operators come with; without it the development identity's in the data folder.
    pub(crate) identity: Option<Identity>,
    /// What the ledger judges by, and how often it looks whether all is as it should be.
    pub(crate) ledger: LedgerTable,
    /// Where the keys are that wrap tenants' data keys.
    pub(crate) secrets: Secrets,
    /// The audit log's name, and how long it keeps records.
    pub(crate) audit: LogSettings,
    /// What the audit log is watched by.
    pub(crate) alerts: Alerts,
    /// Where keys and certificates are; without it nothing is encrypted, and nothing may leave this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls: Option<TlsFiles>,
    /// What each process tells of itself, and where.
    pub(crate) monitor: Monitoring,
}

/// `[tls]`: where keys and certificates are. Each role needs three files, called as `tenantryd keys init` calls them
/// unless a path is given.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TlsFiles {
    /// The folder.
    pub(crate) folder: PathBuf,
    /// The authorities that are trusted; in the folder `ca.pem`.
    pub(crate) ca: Option<PathBuf>,
    /// The role's certificate; in the folder `ROLE.pem`.
    pub(crate) certificate: Option<PathBuf>,
    /// Its private key; in the folder `ROLE.key`.
    pub(crate) key: Option<PathBuf>,
}

impl Default for TlsFiles {
    fn default() -> Self {
        Self { folder: "./tls".into(), ca: None, certificate: None, key: None }
    }
}

impl TlsFiles {
    /// The files of `role`: authorities, certificate, key.
    pub(crate) fn of(&self, role: Role) -> [PathBuf; 3] {
        let path = |given: &Option<PathBuf>, name: String| given.clone().unwrap_or_else(|| self.folder.join(name));
        [
            path(&self.ca, "ca.pem".into()),
            path(&self.certificate, format!("{role}.pem")),
            path(&self.key, format!("{role}.key")),
        ]
    }
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

/// `[ledger]`: what it judges by, and how often it looks whether all is as it should be.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LedgerTable {
    /// The billing rules: what limits may be set to, and which plans there are. Without it those of `tenantryd billing
    /// default`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) billing: Option<PathBuf>,
    /// What tenants were when they were brought in, as JSON; taken over at the first start that names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) baseline: Option<PathBuf>,
    /// The pause between two reconciliations of all tenants, in seconds, at least 1.
    pub(crate) reconcile_seconds: NonZeroU32,
}

impl Default for LedgerTable {
    fn default() -> Self {
        Self { billing: None, baseline: None, reconcile_seconds: NonZeroU32::new(300).expect("300 is not 0") }
    }
}

impl LedgerTable {
    /// The settings, with the files read.
    pub(crate) fn settings(&self) -> anyhow::Result<Settings> {
        let rules = self.billing.as_deref().map_or_else(|| Ok(Rules::default()), read_rules)?;
        let read = |path: &PathBuf| -> anyhow::Result<Baseline> {
            let json = std::fs::read(path).map_err(|error| file_error(&error, "read", path))?;
            Baseline::parse(&json, &rules).with_context(|| format!("failed to use {}", path.display()))
        };
        let baseline = self.baseline.as_ref().map(read).transpose()?;
        let reconcile_every = Duration::from_secs(self.reconcile_seconds.get().into());
        Ok(Settings { rules, baseline, reconcile_every, ..Settings::default() })
    }
}

/// `[alerts]`: what the audit log is watched by.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Alerts {
    /// A file of rules; without it those of `tenantryd alerts default`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rules: Option<PathBuf>,
    /// Where alerts are POSTed to: https, or http on this machine. Without it the process's own log and the API tell them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) webhook: Option<String>,
    /// A file with the secret that requests are signed with, as Standard Webhooks has it: `whsec_` and base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) webhook_secret_file: Option<PathBuf>,
}

impl Alerts {
    /// The receiver of alerts, if there is one.
    pub(crate) fn webhook(&self) -> anyhow::Result<Option<Webhook>> {
        let Some(url) = &self.webhook else {
            if self.webhook_secret_file.is_some() {
                bail!(
                    "alerts.webhook_secret_file is given, and no alerts.webhook; leave it out, or say where alerts go"
                );
            }
            return Ok(None);
        };
        let url = Url::parse(url).map_err(|why| anyhow!("failed to use alerts.webhook: {why}"))?;
        let secret = match &self.webhook_secret_file {
            None => None,
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(|error| file_error(&error, "read", path))?;
                Some(Secret::parse(&text).map_err(|why| anyhow!("failed to use {}: {why}", path.display()))?)
            }
        };
        let client = Client::new(Arc::new(Tcp), Arc::new(SystemClock), url, &Roots::public());
        let client = client.map_err(|why| anyhow!("failed to use alerts.webhook: {why}"))?;
        Ok(Some(Webhook::new(client, secret, QUIET_DEFAULT_S)))
    }

    /// Tells `audit`'s alerts to the receiver, and looks whether anything has waited too long; for ever.
    pub(crate) async fn attend(audit: &EmbeddedAudit, webhook: Option<Webhook>, world: &World) {
        let told = async {
            match &webhook {
                Some(webhook) => webhook.run(audit, world).await,
                None => std::future::pending().await,
            }
        };
        tokio::join!(audit.watch(LOOK_EVERY), told);
    }

    /// What watches, with the file read.
    pub(crate) fn watch(&self) -> anyhow::Result<Box<dyn Watching>> {
        let rules = self.rules.as_deref().map_or_else(|| Ok(alerting::Rules::default()), read_alert_rules)?;
        Ok(Box::new(Engine::new(&rules)))
    }
}

/// Reads a file of alert rules.
pub(crate) fn read_alert_rules(path: &Path) -> anyhow::Result<alerting::Rules> {
    let text = std::fs::read_to_string(path).map_err(|error| file_error(&error, "read", path))?;
    alerting::Rules::parse(&text).with_context(|| format!("failed to use {}", path.display()))
}

/// Reads a file of billing rules.
pub(crate) fn read_rules(path: &Path) -> anyhow::Result<Rules> {
    let text = std::fs::read_to_string(path).map_err(|error| file_error(&error, "read", path))?;
    Rules::parse(&text).with_context(|| format!("failed to use {}", path.display()))
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data: "./data".into(),
            addresses: Addresses::default(),
            grant_key_days: NonZeroU32::new(30).expect("30 is not 0"),
            rate_limits: RateLimits::default(),
            identity: None,
            ledger: LedgerTable::default(),
            secrets: Secrets::default(),
            audit: LogSettings::default(),
            alerts: Alerts::default(),
            tls: None,
            monitor: Monitoring::default(),
        }
    }
}

impl Config {
    /// Reads a configuration file.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|error| file_error(&error, "read", path))?;
        let config: Self = toml::from_str(&text).with_context(|| format!("failed to read {}", path.display()))?;
        let Addresses { producer, broker, auth, ledger, audit } = &config.addresses;
        for address in [producer, broker, auth, ledger, audit] {
            config.must_be_safe(address).with_context(|| format!("failed to use {}", path.display()))?;
        }
        config.monitor.check().with_context(|| format!("failed to use {}", path.display()))?;
        Ok(config)
    }

    /// The provider of operators' tokens.
    pub(crate) fn identity(&self) -> Identity {
        self.identity.clone().unwrap_or_else(|| development::table(&self.data))
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

    /// The file that `read` would read, with nothing left unsaid.
    pub(crate) fn to_toml(&self) -> anyhow::Result<String> {
        Ok(toml::to_string(&Self { identity: Some(self.identity()), ..self.clone() })?)
    }

    /// Refuses an address at which something would leave this machine that is not encrypted.
    pub(crate) fn must_be_safe(&self, address: &str) -> anyhow::Result<()> {
        let parsed = address.parse::<SocketAddr>();
        if self.tls.is_some() {
            let named = address.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && is_port(port));
            if parsed.is_err() && !named {
                bail!("{address:?} is no address; write one such as 10.0.0.7:7070 or broker.example.com:7071");
            }
            return Ok(());
        }
        let parsed = parsed.with_context(|| format!("{address:?} is no address; write one such as 127.0.0.1:7070"))?;
        if !parsed.ip().is_loopback() {
            bail!(
                "{address} is not a loopback address, and nothing may leave this machine that is not encrypted; \
                 `tenantryd keys init` makes certificates, and [tls] in the configuration uses them"
            );
        }
        Ok(())
    }
}

/// What may be given besides, of each table: it has no default that could be printed.
const OPTIONAL: [(&str, &str); 6] = [
    ("identity", "refresh_seconds = 300\nca_file = \"idp-ca.pem\""),
    ("ledger", "billing = \"billing.toml\"\nbaseline = \"baseline.json\""),
    ("secrets", "key_file = \"keys.txt\"\nkey_env = \"TENANTRY_KEYS\""),
    ("audit", "origin = \"example.com/tenantry\"\nkeep_days = 400\naccept_gaps = true"),
    (
        "alerts",
        "rules = \"alerts.toml\"\nwebhook = \"https://example.com/alerts\"\nwebhook_secret_file = \"webhook.secret\"",
    ),
    ("monitor", "otlp = \"http://127.0.0.1:4318\""),
];

/// What may be given besides, as a table of its own.
const OPTIONAL_TABLE: &str = r#"
# [tls]
# folder = "./tls"
# ca = "./tls/ca.pem"
# certificate = "./tls/ROLE.pem"
# key = "./tls/ROLE.key"
"#;

/// The text of a configuration, with what may be given besides as comments where it belongs.
pub(crate) fn explained(text: &str) -> String {
    let mut explained = String::from("# What is commented out is not set: an example of what it may be.\n\n");
    for line in text.lines() {
        explained += &format!("{line}\n");
        let table = line.strip_prefix('[').and_then(|line| line.strip_suffix(']'));
        let optional = OPTIONAL.iter().find(|(name, _)| Some(*name) == table);
        for example in optional.into_iter().flat_map(|(_, examples)| examples.lines()) {
            explained += &format!("# {example}\n");
        }
    }
    explained + OPTIONAL_TABLE
}

fn is_port(text: &str) -> bool {
    text.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_printed_configuration_can_be_read_and_so_can_each_of_its_examples() {
        let text = explained(&Config::default().to_toml().unwrap());
        assert!(toml::from_str::<Config>(&text).is_ok(), "{text}");
        let mut examples = 0;
        let given = text.lines().map(|line| match line.strip_prefix("# ") {
            Some(example) if example.starts_with('[') || example.contains(" = ") => {
                examples += 1;
                example
            }
            _ => line,
        });
        let given = given.collect::<Vec<_>>().join("\n");
        let config: Config = toml::from_str(&given).unwrap_or_else(|error| panic!("{error}\n{given}"));
        assert_eq!(examples, 18, "{text}");
        assert!(config.alerts.webhook.is_some() && config.tls.is_some() && config.monitor.otlp.is_some());
    }
}
