//! Alerts to a webhook: in the order of the log, at least once, whatever dies.
//!
//! One alert, one POST. How far they were taken stands in the log's own file, so a start goes on where the last one was; one
//! that was taken and not yet noted is sent again, under the same `webhook-id`. A receiver that is down holds up its own
//! notifications and nothing else: the log is read, never waited for.
//!
//! Requests are signed as Standard Webhooks has it (standardwebhooks.com): `webhook-signature` is `v1,` and the base64 of
//! HMAC-SHA256 over `id.timestamp.body`. The timestamp is that of the try, so that a receiver can refuse what is replayed.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use http_body_util::Full;
use hyper::header::CONTENT_TYPE;
use hyper::{Method, Request};
use jiff::Timestamp;
use serde_json::json;
use sha2::Sha256;
use tokio::time::{sleep, timeout};

use super::Quiet;
use crate::audit::{Alert, Audit, EmbeddedAudit};
use crate::capability::World;
use crate::monitor::WebhookEnd;
use crate::outside::Client;

/// A receiver answers within this time.
const DEADLINE: Duration = Duration::from_secs(10);

/// The pause after a try that failed; it doubles up to the longest.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
const AGAIN_AFTER_MAX: Duration = Duration::from_secs(300);

/// How often the log is looked at when there was nothing new.
const POLL: Duration = Duration::from_secs(1);

/// Alerts that are read at once.
const PAGE: usize = 64;

/// Alerts before the first that was not taken yet, by which a start knows again what to hold back.
const RECALLED: usize = 1024;

/// The most that is read of an answer: nobody reads it.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// What requests are signed with. Shown nowhere.
#[derive(Clone)]
pub struct Secret(Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Secret {
    /// Takes `whsec_` and the base64 of 24 to 64 bytes.
    ///
    /// # Errors
    /// In words that do not show it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bytes = text.trim().strip_prefix("whsec_").and_then(|text| BASE64.decode(text).ok());
        let right = bytes.filter(|bytes| (24..=64).contains(&bytes.len()));
        right.map(Self).ok_or_else(|| "it must be one line: whsec_ and the base64 of 24 to 64 random bytes".into())
    }

    fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes a key of any length");
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        format!("v1,{}", BASE64.encode(mac.finalize().into_bytes()))
    }
}

/// Where a time is, this says that there is none.
const NOTHING_WAITS: i64 = i64::MAX;

/// What it takes to tell alerts, and to show how that goes.
struct Telling<'w> {
    world: &'w World,
    /// The time of the alert that is to be taken next, in milliseconds since the Unix epoch.
    waiting: Arc<AtomicI64>,
}

impl Telling<'_> {
    /// Shows in each scrape how old that alert is then: between two tries minutes may pass.
    fn show(&self) {
        let (waiting, clock) = (self.waiting.clone(), self.world.clock.clone());
        self.world.monitor.probe(move |metrics| {
            let age_ms = clock.now().as_millisecond().saturating_sub(waiting.load(Relaxed)).max(0);
            metrics.webhook_age.set((), age_ms as f64 / 1000.0);
        });
    }
}

/// A receiver.
pub struct Webhook {
    client: Client,
    secret: Option<Secret>,
    quiet_s: u32,
}

impl Webhook {
    /// The receiver at `client`'s URL; requests are signed if there is a `secret`. Of alerts that are alike one is told in
    /// `quiet_s` seconds.
    #[must_use]
    pub fn new(client: Client, secret: Option<Secret>, quiet_s: u32) -> Self {
        Self { client, secret, quiet_s }
    }

    /// Tells the alerts of `audit` as they come; `world` has the clock, and the metrics in which it shows. Runs for ever.
    pub async fn run(&self, audit: &EmbeddedAudit, world: &World) {
        let telling = Telling { world, waiting: Arc::new(AtomicI64::new(NOTHING_WAITS)) };
        telling.show();
        loop {
            if let Err(why) = self.tell_all(audit, &telling).await {
                tracing::warn!(why, "alerts can't be read; they are told later");
            }
            sleep(POLL).await;
        }
    }

    async fn tell_all(&self, audit: &EmbeddedAudit, telling: &Telling<'_>) -> Result<(), String> {
        let in_words = |error: crate::call::CallError| error.to_string();
        let mut told = audit.told().map_err(|error| error.to_string())?;
        let mut quiet = Quiet::new(self.quiet_s);
        for alert in audit.alerts_up_to(told, RECALLED).map_err(|error| error.to_string())? {
            quiet.tell(&alert);
        }
        loop {
            let alerts = audit.alerts(told, PAGE).await.map_err(in_words)?;
            if alerts.is_empty() {
                sleep(POLL).await;
            }
            for alert in alerts {
                if let Some(held_back) = quiet.tell(&alert) {
                    telling.waiting.store(alert.at_unix_ms, Relaxed);
                    self.tell(audit, &alert, held_back, telling.world).await;
                    telling.waiting.store(NOTHING_WAITS, Relaxed);
                }
                told = alert.place;
                audit.note_told(told).await.map_err(in_words)?;
            }
        }
    }

    /// Until it is taken.
    async fn tell(&self, audit: &EmbeddedAudit, alert: &Alert, held_back: u64, world: &World) {
        let (id, body) = notification(audit.key().name(), alert, held_back);
        let mut again_after = AGAIN_AFTER;
        loop {
            let tried = timeout(DEADLINE, self.post(&id, &body, world.clock.unix_seconds())).await;
            let late = |_| Err((WebhookEnd::Unreachable, format!("no answer within {} s", DEADLINE.as_secs())));
            let ended = tried.unwrap_or_else(late);
            world.monitor.metrics.webhook.inc(ended.as_ref().err().map_or(WebhookEnd::Delivered, |(end, _)| *end));
            let Err((_, why)) = ended else { return };
            tracing::warn!(place = alert.place, why, ?again_after, "the webhook did not take an alert");
            sleep(again_after).await;
            again_after = (2 * again_after).min(AGAIN_AFTER_MAX);
        }
    }

    async fn post(&self, id: &str, body: &Bytes, timestamp: i64) -> Result<(), (WebhookEnd, String)> {
        let unreachable = |why: String| (WebhookEnd::Unreachable, why);
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(self.client.url().path())
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp);
        if let Some(secret) = &self.secret {
            request = request.header("webhook-signature", secret.sign(id, timestamp, body));
        }
        let request = request.body(Full::new(body.clone())).map_err(|error| unreachable(error.to_string()))?;
        let answer = self.client.send(request).await.map_err(unreachable)?;
        let status = answer.status();
        answer.whole(ANSWER_BYTES_MAX).await.ok();
        if status.is_success() { Ok(()) } else { Err((WebhookEnd::Refused, format!("it answered {status}"))) }
    }
}

/// The id of `alert` of the log `origin`, for ever, and what is told.
fn notification(origin: &str, alert: &Alert, held_back: u64) -> (String, Bytes) {
    let Alert { place, at_unix_ms, severity, code, tenant, user, line } = alert;
    let id = format!("{origin}/{place}");
    let at = Timestamp::from_millisecond(*at_unix_ms).ok().map(|at| at.to_string());
    let body = json!({
        "type": "alert",
        "timestamp": at,
        "data": {
            "id": id, "place": place, "severity": severity, "code": code, "tenant": tenant, "user": user, "line": line,
            "held_back": held_back,
        },
    });
    (id, body.to_string().into())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::AtomicU32;

    use axum::Router;
    use axum::extract::State;
    use axum::routing::post;
    use hyper::{HeaderMap, StatusCode};

    use super::*;
    use crate::audit::{Attempt, Claimed, Code, Event};
    use crate::capability::{InMemory, Network};
    use crate::outside::Url;
    use crate::rights::Role;
    use crate::testing::Bench;

    #[test]
    fn a_signature_is_that_of_the_standards_own_example() {
        let secret = Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").unwrap();
        let signed = secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert_eq!(format!("{secret:?}"), "Secret(..)");
    }

    #[test]
    fn what_is_no_secret_is_refused_and_not_shown() {
        for text in ["", "whsec_", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_c2hvcnQ=", "whsec_!!!!"] {
            let refused = Secret::parse(text).unwrap_err();
            assert!(refused.contains("24 to 64 random bytes") && !refused.contains("c2hvcnQ"), "{refused}");
        }
    }

    /// What was taken: ids, in order. The first two tries are refused.
    type Taken = Arc<Mutex<Vec<String>>>;

    async fn take(
        State((tries, taken)): State<(Arc<AtomicU32>, Taken)>,
        headers: HeaderMap,
        body: Bytes,
    ) -> StatusCode {
        let text = |name: &str| headers[name].to_str().unwrap().to_owned();
        let (id, timestamp) = (text("webhook-id"), text("webhook-timestamp").parse().unwrap());
        assert_eq!(text("webhook-signature"), secret().sign(&id, timestamp, &body));
        let told: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(told["data"]["id"], id);
        if tries.fetch_add(1, Relaxed) < 2 {
            return StatusCode::SERVICE_UNAVAILABLE;
        }
        taken.lock().unwrap().push(id.rsplit('/').next().unwrap().to_owned());
        StatusCode::NO_CONTENT
    }

    fn secret() -> Secret {
        Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap()
    }

    fn attack(tenant: &str) -> Event {
        let (service, entry, code) = (Role::Consumer, "decide".into(), Code::NoRight);
        let claimed = Claimed::tenant(tenant);
        Event::Refused(Attempt { at_unix_ms: 0, service, entry, code, claimed, detail: String::new() })
    }

    #[tokio::test(start_paused = true)]
    async fn every_alert_is_told_in_order_once_a_receiver_is_back_and_a_start_goes_on_behind_it() {
        let bench = Bench::new().await;
        let network: Arc<dyn Network> = Arc::new(InMemory::default());
        let (taken, tries) = (Taken::default(), Arc::new(AtomicU32::new(0)));
        let router = Router::new().route("/alerts", post(take)).with_state((tries, taken.clone()));
        tokio::spawn(crate::producer::serve(network.bind("hook:80").await.unwrap(), router, Default::default()));
        let audit = EmbeddedAudit::open(&bench.world).await.unwrap();
        let url = Url::parse_any("http://hook:80/alerts").unwrap();
        let run = async |places: &[&str]| {
            let webhook = Webhook::new(Client::in_the_clear(network.clone(), url.clone()), Some(secret()), 600);
            let all = async {
                while taken.lock().unwrap().len() < places.len() {
                    sleep(Duration::from_millis(100)).await;
                }
                // Noted too, or it is told again.
                sleep(POLL).await;
            };
            tokio::select! {
                () = webhook.run(&audit, &bench.world) => unreachable!("it tells for ever"),
                () = all => {}
            }
            assert_eq!(taken.lock().unwrap()[..], *places);
        };
        audit.append("consumer/1", 1, ["acme", "globex", "acme"].map(attack).into()).await.unwrap();
        run(&["1", "2"]).await;
        audit.append("consumer/1", 4, ["globex", "hooli"].map(attack).into()).await.unwrap();
        // One of globex was told already; the fifth attack is one too many for a rule, which is told of, too.
        run(&["1", "2", "5", "6"]).await;
    }
}
