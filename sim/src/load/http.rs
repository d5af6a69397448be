//! The system's HTTP API as a target: what an operator's panel would send, over connections that are kept.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hyper::Method;
use tenantry_system::capability::{Network, SystemClock, Tcp};
use tenantry_system::tls::{Credentials, Tls};

use super::drive::{Reply, Target, Told};
use super::shots::Shot;
use crate::tenantry::http::HttpClient;

/// One question for an outcome waits this long at the server; the API allows 30 s.
const POLL_MAX: Duration = Duration::from_secs(10);

/// An answer may come this much later than the server was asked to wait.
const ANSWER_MARGIN: Duration = Duration::from_secs(1);

/// The API, and who may use it.
pub struct Api {
    client: HttpClient,
    /// By operator.
    tokens: BTreeMap<String, String>,
}

impl Api {
    /// The API at `address`; encrypted, with a certificate that the authorities in `ca` (PEM) vouch for, where it is given.
    ///
    /// # Errors
    /// In words, when `ca` is no PEM.
    pub fn new(address: &str, ca: Option<&str>, tokens: BTreeMap<String, String>) -> Result<Self, String> {
        let network: Arc<dyn Network> = match ca {
            None => Arc::new(Tcp),
            Some(pem) => {
                let trusting =
                    Credentials::of_operator(pem, Arc::new(SystemClock)).map_err(|error| error.to_string())?;
                Arc::new(Tls::new(Arc::new(Tcp), trusting))
            }
        };
        Ok(Self { client: HttpClient::new(network, address), tokens })
    }

    /// Whether it answers that it is well, within `wait`.
    pub async fn is_up(&self, wait: Duration) -> bool {
        let answer = self.client.request(Method::GET, "/healthz", "", String::new(), wait).await;
        answer.is_ok_and(|answer| answer.status.is_success())
    }

    fn token(&self, shot: &Shot) -> &str {
        self.tokens.get(&*shot.operator).map_or("", String::as_str)
    }
}

#[async_trait]
impl Target for Api {
    async fn send(&self, shot: &Shot, wait: Duration) -> Reply {
        let sent = self.client.request(Method::POST, "/v1/commands", self.token(shot), shot.body.clone(), wait).await;
        match sent {
            Ok(answer) => match answer.status.as_u16() {
                // The second is for bytes that were accepted before: an earlier answer was lost.
                202 | 200 => Reply::Confirmed,
                502..=504 => Reply::Again,
                status => {
                    let name = answer.body["type"].as_str().and_then(|urn| urn.rsplit(':').next()).unwrap_or_default();
                    Reply::Refused(format!("{status} {name}").trim_end().to_owned())
                }
            },
            Err(_) => Reply::Again,
        }
    }

    async fn outcome(&self, shot: &Shot, wait: Duration) -> Told {
        let poll = wait.min(POLL_MAX);
        let path = format!("/v1/commands/{}?tenant_id={}&wait_ms={}", shot.message_id, shot.tenant, poll.as_millis());
        let asked =
            self.client.request(Method::GET, &path, self.token(shot), String::new(), poll + ANSWER_MARGIN).await;
        match asked.ok().as_ref().and_then(|answer| answer.body["status"].as_str()) {
            Some("applied") => Told::Applied,
            Some("rejected") => Told::Rejected,
            Some("dead_lettered" | "discarded") => Told::DeadLettered,
            _ => Told::Unknown,
        }
    }
}
