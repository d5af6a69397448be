//! The operators: send the workload over the producer's HTTP API as people and scripts would, and read everything back.
//!
//! A command is sent at its time, whatever became of those before. Without a final answer it is sent again, the same
//! bytes under the same id, until there is one. When all are answered, every accepted command's outcome is waited for and
//! every tenant's state is read.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper::{Method, StatusCode};
use tenantry_system::capability::{Clock, World};
use tenantry_system::ids::{TenantId, UserId};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::burst::{self, Burst};
use super::cast::{Cast, Part};
use super::evidence::Evidence;
use super::http::{Answer, HttpClient};
use super::idp::Idp;
use super::marks;
use super::workload::{Act, Command, Pause, Timed};
use crate::engine::weather::Weather;

/// The operators' host.
pub const HOST: &str = "operators";

/// An answer takes at most this long, or the request is given up and sent again.
const DEADLINE: Duration = Duration::from_secs(3);

/// The pause before a command is sent again doubles from the first to the second.
const AGAIN_MIN: Duration = Duration::from_millis(50);
const AGAIN_MAX: Duration = Duration::from_secs(1);

/// One look at a command's status waits this long for its outcome, in milliseconds.
const STATUS_WAIT_MS: u64 = 2000;

/// What is read back at once.
const READ_AT_ONCE: usize = 32;

/// Where the provider's keys change, an operator has a new token after this long: before the key of the last is dropped.
const RENEW_AFTER: Duration = Duration::from_millis(500);

/// What the API shows of a tenant's state.
const PARTS: [&str; 4] = ["limits", "entitlements", "credits", "credentials"];

/// All operators of a run.
pub struct Operators {
    client: HttpClient,
    provider: Idp,
    clock: Arc<dyn Clock>,
    tokens: Mutex<BTreeMap<UserId, (Instant, String)>>,
    pub(super) evidence: Evidence,
    pausing: BTreeMap<TenantId, tokio::sync::Mutex<()>>,
    pub(super) weather: Weather,
}

impl Operators {
    /// The operators of `cast`, each with tokens of `provider`, at the producer's `address`.
    #[must_use]
    pub fn new(
        world: &World,
        address: &str,
        provider: &Idp,
        cast: &Cast,
        evidence: Evidence,
        weather: Weather,
    ) -> Self {
        let client = HttpClient::new(world.network.clone(), address);
        let pausing = cast.tenants.iter().map(|tenant| (tenant.clone(), tokio::sync::Mutex::default())).collect();
        let (provider, clock) = (provider.clone(), world.clock.clone());
        Self { client, provider, clock, tokens: Mutex::default(), evidence, pausing, weather }
    }

    /// Does all `acts` at their times, and sends `bursts` at theirs, then reads everything back.
    pub async fn run(self: Arc<Self>, acts: Timed<Act>, bursts: &[Burst], cast: Cast) {
        let begin = Instant::now();
        let mut commands = JoinSet::new();
        for (at_ms, act) in acts {
            let at = Duration::from_millis(at_ms);
            let operators = self.clone();
            commands.spawn(async move {
                sleep_until(begin + at).await;
                match act {
                    Act::Send(command) => operators.send(&command, at).await,
                    Act::TryAndSend(command) => {
                        operators.dry_run(&command).await;
                        // Counted from when they began to look: it may have been sent again meanwhile.
                        operators.send(&command, at).await;
                    }
                    Act::Pair(paired) => operators.in_pairs(&paired).await,
                    Act::Resend(command) => operators.resend(&command).await,
                    Act::ReuseId(command) => operators.reuse_id(&command).await,
                    Act::Pause(pause) => operators.pause(&pause).await,
                    Act::Triage(triage) => operators.triage(&triage).await,
                    Act::Forge(_) | Act::Rotate(_) | Act::Revoke(_) | Act::RotateKey => unreachable!("others do that"),
                }
            });
        }
        for burst in bursts {
            commands.spawn(self.clone().burst(burst.clone()));
        }
        while let Some(ended) = commands.join_next().await {
            ended.expect("no command panics");
        }
        self.read_back(&cast).await;
        self.evidence.seen().operators_done = true;
    }

    /// The operator's token: a new one where the last may soon hold no longer.
    fn token(&self, operator: &UserId) -> String {
        let mut tokens = self.tokens.lock().expect("no holder panics");
        let renewed = |made: &Instant| self.provider.is_hosted() && made.elapsed() >= RENEW_AFTER;
        match tokens.get(operator) {
            Some((made, token)) if !renewed(made) => token.clone(),
            _ => {
                let token = self.provider.token(operator, self.clock.unix_seconds());
                tokens.insert(operator.clone(), (Instant::now(), token.clone()));
                token
            }
        }
    }

    /// Sends a command until there is a final answer, and returns its status.
    async fn post(&self, command: &Command) -> u16 {
        let turn = {
            let mut seen = self.evidence.seen();
            let turns = seen.let_through.entry(command.message_id.clone()).or_default();
            turns.push(super::world::now());
            turns.len() - 1
        };
        // After an answer that leaves it open, an earlier attempt may be the one that comes through.
        let certain = Cell::new(true);
        let tell = move |answer: &Result<Answer, String>| {
            certain.set(
                certain.get() && answer.as_ref().is_ok_and(|answer| answer.status == StatusCode::TOO_MANY_REQUESTS),
            );
            if certain.get() {
                let turns = &mut self.evidence.seen().let_through;
                turns.get_mut(&command.message_id).expect("it has turns")[turn] = super::world::now();
            }
            let told = match answer {
                Ok(answer) => answer.status.as_u16().to_string(),
                Err(error) => error.clone(),
            };
            self.evidence.record(HOST, "api.answer", &format!("{} {told}", command.message_id));
            match answer {
                Ok(answer) if !is_passing(answer) => {}
                Ok(answer) => {
                    if answer.status == 429 && burst::is_of(&command.message_id) {
                        self.weather.felt("producer", &["burst"]);
                    }
                    marks::of_http(answer.status.as_u16()).into_iter().for_each(|mark| self.evidence.mark(mark));
                }
                Err(_) => self.evidence.mark(marks::HTTP_NO_ANSWER),
            }
        };
        let answer = self.request(Method::POST, "/v1/commands", &command.operator, &command.body(), tell).await;
        let kind = answer.body.get("type").and_then(|kind| kind.as_str());
        if kind == Some("urn:tenantry:problem:message-id-spent") {
            // It was sent before, by an attempt whose answer was lost, and nobody can compare it any more: it is in there.
            self.evidence.mark(marks::ID_SPENT);
            return 200;
        }
        answer.status.as_u16()
    }

    /// Sends a request, the same again and again, until its answer is final; `tell` is told of every answer.
    pub(super) async fn request(
        &self,
        method: Method,
        path: &str,
        operator: &UserId,
        body: &str,
        tell: impl Fn(&Result<Answer, String>),
    ) -> Answer {
        let mut pause = AGAIN_MIN;
        loop {
            let token = self.token(operator);
            let answer = self.client.request(method.clone(), path, &token, body.to_owned(), DEADLINE).await;
            tell(&answer);
            match answer {
                Ok(answer) if !is_passing(&answer) => return answer,
                Ok(_) | Err(_) => sleep(pause).await,
            }
            pause = (pause * 2).min(AGAIN_MAX);
        }
    }

    pub(super) async fn send(&self, command: &Command, at: Duration) {
        self.client_of(command, |client| client.sent_at = at);
        match self.post(command).await {
            200 | 202 => self.accepted(command),
            refused => {
                let now = super::world::now();
                self.client_of(command, |client| (client.refused, client.refused_at) = (Some(refused), Some(now)));
            }
        }
    }

    /// Asks what a command would change, and notes the answer.
    async fn dry_run(&self, command: &Command) {
        let answer = self.request(Method::POST, "/v1/dry-runs", &command.operator, &command.body(), |_| {}).await;
        self.evidence.record(HOST, "api.dry_run", &format!("{} {}", command.message_id, answer.body));
        if answer.status == 200 {
            self.evidence.seen().announced.insert(command.message_id.clone(), answer.body);
        }
    }

    async fn resend(&self, command: &Command) {
        let status = self.post(command).await;
        match status {
            200 => self.evidence.mark(marks::RESEND_RECOGNISED),
            // It overtook the first: then that one is the re-send.
            202 => self.evidence.mark(marks::RESEND_CAME_FIRST),
            _ => self.evidence.mark(marks::RESEND_REFUSED),
        }
        if matches!(status, 200 | 202) {
            self.accepted(command);
        }
    }

    async fn reuse_id(&self, command: &Command) {
        match self.post(command).await {
            409 => self.evidence.mark(marks::REUSED_ID_REFUSED),
            // It overtook the first, which then is the one refused; the model knows them apart by what was applied.
            200 | 202 => {
                self.evidence.mark(marks::REUSED_ID_CAME_FIRST);
                self.evidence.seen().reused_first.insert(command.message_id.clone(), command.ask.clone());
                self.accepted(command);
            }
            // An attempt whose answer was lost may be in there all the same: what was applied tells.
            _ => {
                self.evidence.mark(marks::REUSED_ID_OTHERWISE_REFUSED);
                self.evidence.seen().reused_unsure.insert(command.message_id.clone(), command.clone());
            }
        }
    }

    /// Pauses a tenant, waits, and resumes it; each until it is confirmed.
    async fn pause(&self, pause: &Pause) {
        // One at a time on a tenant: two operators who undo each other's pauses leave nothing to be judged.
        let _alone = self.pausing[&pause.tenant].lock().await;
        let path = format!("/v1/tenants/{}/paused", pause.tenant);
        for paused in [true, false] {
            let body = format!(r#"{{"paused": {paused}}}"#);
            let answer = self.request(Method::PUT, &path, &pause.operator, &body, |_| {}).await;
            self.evidence.record(HOST, "api.paused", &format!("{path} {paused} {}", answer.status));
            assert_eq!(answer.status, 200, "{}, an admin, may pause {}: {}", pause.operator, pause.tenant, answer.body);
            if paused {
                self.evidence.mark(marks::PAUSED);
                sleep(Duration::from_millis(pause.for_ms)).await;
            }
        }
    }

    fn accepted(&self, command: &Command) {
        let now = super::world::now();
        self.client_of(command, |client| client.accepted_at = Some(client.accepted_at.unwrap_or(now)));
    }

    fn client_of(&self, command: &Command, change: impl FnOnce(&mut super::evidence::Client)) {
        change(self.evidence.seen().clients.entry(command.message_id.clone()).or_default());
    }

    /// Waits for every accepted command's outcome, then reads every tenant.
    async fn read_back(self: &Arc<Self>, cast: &Cast) {
        let accepted: Vec<_> = {
            let seen = self.evidence.seen();
            let accepted = |id: &String| seen.clients[id].accepted_at.is_some();
            seen.commands.iter().filter(|(id, _)| accepted(id)).map(|(_, command)| command.clone()).collect()
        };
        let at_once = Arc::new(Semaphore::new(READ_AT_ONCE));
        let mut reading = JoinSet::new();
        for command in accepted {
            let (operators, at_once) = (self.clone(), at_once.clone());
            reading.spawn(async move {
                let _turn = at_once.acquire_owned().await.expect("never closed");
                let status = operators.status(&command.operator, &command.tenant, &command.message_id).await;
                operators.client_of(&command, |client| client.reported = Some(status));
            });
        }
        while let Some(ended) = reading.join_next().await {
            ended.expect("no reader panics");
        }
        for tenant in &cast.tenants {
            let admin = cast.operators.iter().find(|operator| cast.part(operator, tenant) == Some(Part::Admin));
            let Some(admin) = admin else { continue };
            for (index, part) in PARTS.into_iter().enumerate() {
                let (operators, admin, tenant) = (self.clone(), admin.clone(), tenant.clone());
                reading.spawn(async move {
                    let shown = operators.part(&admin, &tenant, part).await;
                    operators.evidence.seen().tenants_by_api.entry(tenant).or_default()[index] = shown;
                });
            }
        }
        while let Some(ended) = reading.join_next().await {
            ended.expect("no reader panics");
        }
    }

    /// One part of `tenant`'s state, as the API shows it to its admin.
    async fn part(&self, admin: &UserId, tenant: &TenantId, part: &str) -> serde_json::Value {
        let path = format!("/v1/tenants/{tenant}/{part}");
        let mut body = self.get(admin, &path).await;
        while body.get("status").is_some_and(|status| status == 403) {
            sleep(AGAIN_MAX).await;
            body = self.get(admin, &path).await;
        }
        if part == "credentials" {
            let mut seen = self.evidence.seen();
            *seen.witness.credentials_read.entry(tenant.clone()).or_default() += 1;
        }
        let key = if part == "credits" { "credits_minor" } else { part };
        body.get(key).map(without_hashes).unwrap_or_default()
    }

    /// The terminal status that the API reports of a message to `operator`.
    pub(super) async fn status(&self, operator: &UserId, tenant: &TenantId, id: &str) -> String {
        let path = format!("/v1/commands/{id}?tenant_id={tenant}&wait_ms={STATUS_WAIT_MS}");
        loop {
            let body = self.get(operator, &path).await;
            match body.get("status").and_then(|status| status.as_str()) {
                Some("pending") => {}
                Some(status) => return status.to_owned(),
                // Their role is gone for a while: they see nothing either.
                None if body.get("status").is_some_and(|status| status == 403) => sleep(AGAIN_MAX).await,
                None => return format!("no status: {body}"),
            }
        }
    }

    /// What `path` shows `operator`.
    async fn get(&self, operator: &UserId, path: &str) -> serde_json::Value {
        let answer = self.request(Method::GET, path, operator, "", |_| {}).await;
        self.evidence.record(HOST, "api.read", &format!("{path} {}", answer.body));
        answer.body
    }
}

/// Of a credential only the key that sealed it: what a ciphertext is, no model knows.
fn without_hashes(part: &serde_json::Value) -> serde_json::Value {
    let serde_json::Value::Object(part) = part else { return part.clone() };
    let known = |value: &serde_json::Value| value.get("data_key").unwrap_or(value).clone();
    part.iter().map(|(name, value)| (name.clone(), known(value))).collect()
}

/// Whether an answer says "not now": then the same request again may be answered otherwise.
fn is_passing(answer: &Answer) -> bool {
    matches!(answer.status.as_u16(), 408 | 429 | 500..)
}
