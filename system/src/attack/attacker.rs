//! The attacker: what they can ask of a system, and how what became of it is seen.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};

use super::runner::{Target, is_step};
use super::stage::{BYSTANDER, message_id, tenant_id, user_id};
use super::{Entry, arsenal};
use crate::action::Spec;
use crate::audit::{Attempt, Audit, Claimed, Code, EmbeddedAudit, Event};
use crate::auth::{Authority, GrantRequest};
use crate::broker::Broker;
use crate::call::CallError;
use crate::grant::{GrantToken, Purpose};
use crate::ids::TenantId;
use crate::jws::PublicKeys;
use crate::ledger::{Digest, EmbeddedLedger};
use crate::message::body_sha256;
use crate::rights::Role;
use crate::rpc::{Client, Service};
use crate::secret::replace_secret;

/// A call may take this long.
pub(super) const CALL_MAX: Duration = Duration::from_secs(2);

/// What has no answer is tried again after this long, so often: an unknown key is refused for good only once auth was asked.
pub(super) const AGAIN_AFTER: Duration = Duration::from_millis(20);
pub(super) const TRIES_MAX: usize = 750;

/// A token lives this long, in seconds.
pub(super) const TOKEN_SECONDS: i64 = 3600;

pub(super) struct Attacker<'a> {
    pub(super) target: &'a Target,
    pub(super) authority: Arc<dyn Authority>,
    pub(super) broker: Arc<dyn Broker>,
    pub(super) public: PublicKeys,
    /// The place of the last event that was looked at.
    pub(super) place: u64,
    pub(super) strays: Vec<(u64, Event)>,
}

impl<'a> Attacker<'a> {
    pub(super) fn invented(&self, service: Role) -> Attempt {
        let (claimed, detail) = (Claimed::tenant(BYSTANDER), "invented".to_owned());
        Attempt { at_unix_ms: 0, service, entry: "invented".into(), code: Code::NoRight, claimed, detail }
    }

    pub(super) fn client<S: Service>(&self, address: &str, role: Role) -> Client<S> {
        Client::new(self.target.world.network.clone(), address, role)
    }

    pub(super) fn body(&self, tenant: &str, user: &str, spec: &Spec, id: &str) -> String {
        // One instant for all: what comes again must be the same bytes.
        arsenal::body(tenant, user, spec, id, &self.instant())
    }

    pub(super) fn body_at(&self, entry: Entry, tenant: &str, user: &str, spec: &Spec, id: &str) -> String {
        arsenal::body_at(entry, tenant, user, spec, id, &self.instant())
    }

    /// The body of a decided message, as it came out of the queue.
    pub(super) async fn recorded(&self, id: &str) -> Result<Bytes, String> {
        persist(async || {
            let audit = self.target.observer.audit().ok_or_else(|| CallError::failed("the audit log is down"))?;
            let entries = audit.entries().map_err(CallError::failed)?;
            let found = entries.into_iter().find(|entry| entry.message_id.as_str() == id);
            let entry = found.ok_or_else(|| CallError::failed("not on record yet"))?;
            // Of a secret the record has only a hash; whoever stole the ledger's disk has the ciphertext.
            let ledger = self.target.observer.ledger().ok_or_else(|| CallError::failed("the ledger is down"))?;
            let sealed = ledger.every_ciphertext().map_err(CallError::failed)?;
            let sealed = sealed.get(&(entry.tenant_id, entry.message_id));
            Ok(sealed.and_then(|sealed| replace_secret(&entry.body, sealed)).unwrap_or(entry.body))
        })
        .await
    }

    pub(super) fn instant(&self) -> String {
        let hour = self.target.world.clock.unix_seconds() / 3600 * 3600;
        jiff::Timestamp::from_second(hour).unwrap_or_default().to_string()
    }

    pub(super) fn honest_id(&self, round: &str, spec: &Spec) -> String {
        format!("honest-{round}-{}", spec.name.replace('_', "-"))
    }

    pub(super) fn token(&self, user: &str) -> String {
        self.target.provider.token(&user_id(user), self.target.world.clock.unix_seconds(), TOKEN_SECONDS)
    }

    pub(super) async fn grant(
        &self,
        user: &str,
        tenant: &str,
        spec: &Spec,
        id: &str,
        body: &[u8],
    ) -> Result<GrantToken, String> {
        let (action, message_id) = (spec.name.into(), message_id(id));
        self.ask(user, tenant, Purpose::Command { action, message_id, body_sha256: body_sha256(body) }).await
    }

    pub(super) async fn ask(&self, user: &str, tenant: &str, purpose: Purpose) -> Result<GrantToken, String> {
        let (token, user) = (self.token(user), Some(user_id(user)));
        let request = GrantRequest { token, user, tenant: tenant_id(tenant), purpose };
        let granted = persist(async || self.authority.grant(&request).await).await?;
        granted.map_err(|denied| format!("auth denies what the stage allows: {denied}"))
    }

    pub(super) async fn post(&self, token: Option<String>, body: &[u8]) -> Result<(u16, String), String> {
        self.send("POST", "/v1/commands", token, body).await
    }

    /// Sends a request as it is: no client library would send some of them.
    pub(super) async fn send(
        &self,
        method: &str,
        path: &str,
        token: Option<String>,
        body: &[u8],
    ) -> Result<(u16, String), String> {
        let address = &self.target.at.producer;
        let authorization = token.map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{authorization}content-length: {}\r\n\r\n",
            body.len()
        );
        let exchange = async {
            let stream = self.target.world.network.connect(address, Role::Producer).await;
            let mut stream = stream.map_err(|error| error.to_string())?.stream;
            // A server that will not read it all may hang up before: what it said is read all the same.
            let _ = stream.write_all(&[head.as_bytes(), body].concat()).await;
            let mut said = Vec::new();
            let read = stream.read_to_end(&mut said).await;
            let text = String::from_utf8_lossy(&said).into_owned();
            let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
            let words = text.split_once("\r\n\r\n").map_or_else(String::new, |(_, body)| body.to_owned());
            status.map(|status| (status, words)).ok_or_else(|| format!("no answer: {read:?}"))
        };
        timeout(CALL_MAX, exchange).await.unwrap_or_else(|_| Err("no answer in time".into()))
    }

    pub(super) async fn ledger(&self) -> Result<Arc<EmbeddedLedger>, String> {
        persist(async || self.target.observer.ledger().ok_or_else(|| CallError::failed("the ledger is down"))).await
    }

    pub(super) async fn digests(&self) -> Result<BTreeMap<TenantId, Digest>, String> {
        self.ledger().await?.every_digest().map_err(|error| error.to_string())
    }

    pub(super) async fn audit(&self) -> Result<Arc<EmbeddedAudit>, String> {
        persist(async || self.target.observer.audit().ok_or_else(|| CallError::failed("the audit log is down"))).await
    }

    /// Events since the last look.
    pub(super) async fn news(&mut self) -> Result<Vec<(u64, Event)>, String> {
        let (audit, mut news) = (self.audit().await?, Vec::new());
        loop {
            let page = audit.events(self.place, usize::MAX).await.map_err(|error| error.to_string())?;
            let Some((last, _)) = page.last() else { return Ok(news) };
            self.place = *last;
            news.extend(page.into_iter().filter(|(_, event)| !is_step(event)));
        }
    }

    pub(super) async fn alerts_at(&self, place: u64) -> Result<usize, String> {
        let alerts = self.audit().await?.alerts(place - 1, 1).await.map_err(|error| error.to_string())?;
        Ok(alerts.iter().filter(|alert| alert.place == place).count())
    }
}

/// Asks until there is an answer.
pub(super) async fn persist<T>(mut ask: impl AsyncFnMut() -> Result<T, CallError>) -> Result<T, String> {
    let mut tries = 1;
    loop {
        match ask().await {
            Ok(answer) => return Ok(answer),
            Err(error) if tries >= TRIES_MAX => return Err(format!("after {tries} tries: {error}")),
            Err(_) => tries += 1,
        }
        sleep(AGAIN_AFTER).await;
    }
}

/// Asks what must be refused, until there is an answer; whether it was refused.
pub(super) async fn persist_refusal<S: Service>(client: &Client<S>, request: &S::Request) -> bool {
    let refused = persist(async || match client.call(request, CALL_MAX).await {
        Ok(_) => Ok(false),
        Err(CallError::Failed(why)) if !why.contains(" at ") => Ok(true),
        Err(error) => Err(error),
    });
    refused.await.unwrap_or(false)
}
