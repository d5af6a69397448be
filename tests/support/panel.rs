//! An operator's side of the HTTP API.

use std::fmt::Display;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tenantry_sim::tenantry::http::{Answer, HttpClient};
use tenantry_system::capability::{Network, Tcp};

use crate::cluster::free_address;
use crate::{NO_RATE_LIMITS, Process, binary, write_file};

/// An answer takes at most this long; a status waits for its outcome.
const DEADLINE: Duration = Duration::from_secs(10);

/// A way to talk to the system as one operator.
pub struct Panel {
    client: HttpClient,
    address: String,
    /// The operator's.
    pub token: String,
}

impl Panel {
    /// The operator who has `token`, at the API that listens at `address`.
    #[must_use]
    pub fn new(address: impl Into<String>, token: String) -> Self {
        Self::over(Arc::new(Tcp), address, token)
    }

    /// The same, reached by `network`.
    #[must_use]
    pub fn over(network: Arc<dyn Network>, address: impl Into<String>, token: String) -> Self {
        let address = address.into();
        Self { client: HttpClient::new(network, address.clone()), address, token }
    }

    /// Where the API listens.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Sends a command.
    ///
    /// # Errors
    /// In words. Whether it was accepted is then unknown.
    pub async fn post(&self, body: impl Display) -> Result<Answer, String> {
        self.client.request("POST".parse().unwrap(), "/v1/commands", &self.token, body.to_string(), DEADLINE).await
    }

    /// Reads what is at `path`.
    ///
    /// # Errors
    /// In words.
    pub async fn get(&self, path: &str) -> Result<Answer, String> {
        self.client.request("GET".parse().unwrap(), path, &self.token, String::new(), DEADLINE).await
    }

    /// What became of a command, waiting up to `wait_ms` for its outcome.
    ///
    /// # Errors
    /// In words.
    pub async fn status(&self, tenant: &str, id: &str, wait_ms: u64) -> Result<Answer, String> {
        self.get(&format!("/v1/commands/{id}?tenant_id={tenant}&wait_ms={wait_ms}")).await
    }
}

/// `tenantryd up` over `data`, and the development operator's panel.
///
/// # Panics
/// When it does not come up.
#[must_use]
pub fn up(data: &Path) -> (Process, Panel) {
    up_by(Command::new(binary("tenantryd")), data)
}

/// The same, by a `tenantryd` that the caller has dressed.
///
/// # Panics
/// When it does not come up.
#[must_use]
pub fn up_by(mut tenantryd: Command, data: &Path) -> (Process, Panel) {
    let config = data.join("tenantry.toml");
    std::fs::create_dir_all(data).expect("a folder of the test's");
    let monitor = format!("[monitor.listen]\nproducer = \"{}\"\n", free_address());
    write_file(&config, &format!("{NO_RATE_LIMITS}{monitor}"));
    tenantryd.arg("up").arg("--config").arg(config).arg("--data").arg(data).args(["--listen", "127.0.0.1:0"]);
    let mut process = Process::start(tenantryd);
    let address =
        process.await_line(|line| Some(line.strip_prefix("Tenantry is up at http://")?.split_once(',')?.0.to_owned()));
    let token = process.await_line(|line| line.starts_with("eyJ").then(|| line.to_owned()));
    (process, Panel::new(address, token))
}

/// A command of the development operator's: credit for their tenant. Credit adds up, so a command that took effect twice
/// shows.
#[must_use]
pub fn credit(id: &str, amount_minor: u64) -> Value {
    json!({
        "tenant_id": "acme", "user_id": "dev-operator", "action": "issue_credit",
        "payload": {"amount_minor": amount_minor, "currency": "EUR"},
        "message_id": id, "timestamp": "2026-01-01T00:00:00Z",
    })
}
