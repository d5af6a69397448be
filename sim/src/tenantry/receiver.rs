//! Who is told of alerts: a webhook's receiver. It takes only what is signed as it should be, is slow at times, and answers
//! an error now and then.

use std::convert::Infallible;
use std::error::Error;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, body::Incoming};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tenantry_system::alerting::{Secret, Webhook};
use tenantry_system::capability::{Network, World};
use tenantry_system::outside::{Client, Url};
use tokio::time::sleep;

use super::evidence::Evidence;
use super::marks;

/// The receiver's host.
pub const HOST: &str = "receiver";

/// What alerts are signed with.
const KEY: &[u8; 32] = b"what the receiver shares with us";

/// Of alerts that are alike one is told in this time, in seconds: ten minutes, on the scale of a run of seconds.
pub const QUIET_S: u32 = 2;

/// Of so many requests about one is answered with an error, and about one late.
const BAD_MOMENTS: u8 = 8;
const LATE: Duration = Duration::from_millis(300);

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Received {
    /// Under which id.
    pub id: String,
    /// What it says.
    pub body: Value,
    /// Whether its signature is right.
    pub signed: bool,
    /// Whether it was answered with a success.
    pub taken: bool,
}

/// The webhook of the audit log's host, which reaches the receiver over `network`.
///
/// # Panics
/// Never: its URL is one, and its secret, too.
#[must_use]
pub fn webhook(network: std::sync::Arc<dyn Network>) -> Webhook {
    let url = Url::parse_any(&format!("http://{HOST}:80/alerts")).expect("a URL");
    let secret = Secret::parse(&format!("whsec_{}", BASE64.encode(KEY))).expect("a secret");
    Webhook::new(Client::in_the_clear(network, url), Some(secret), QUIET_S)
}

/// Takes what is sent; what it has taken outlives its process.
pub async fn run(world: World, evidence: Evidence) -> Result<(), Box<dyn Error>> {
    let listener = world.network.bind(&format!("{HOST}:80")).await?;
    loop {
        let stream = listener.accept().await?.open().await?.stream;
        let (entropy, evidence) = (world.entropy.clone(), evidence.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            let mut drawn = [0; 2];
            entropy.fill(&mut drawn);
            let evidence = evidence.clone();
            async move { Ok::<_, Infallible>(take(request, drawn.map(|byte| byte % BAD_MOMENTS == 0), &evidence).await) }
        });
        let mut server = http1::Builder::new();
        let connection =
            server.auto_date_header(false).keep_alive(false).serve_connection(TokioIo::new(stream), service);
        // Its error is the client's to tell.
        tokio::spawn(async move { connection.await.ok() });
    }
}

async fn take(
    request: Request<Incoming>,
    [refuses, is_late]: [bool; 2],
    evidence: &Evidence,
) -> Response<Empty<Bytes>> {
    let header = |name: &str| {
        let value = request.headers().get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let (id, timestamp, signature) = (header("webhook-id"), header("webhook-timestamp"), header("webhook-signature"));
    let answer = |status| {
        let mut answer = Response::new(Empty::new());
        *answer.status_mut() = status;
        answer
    };
    // Half a request is none.
    let Ok(body) = request.into_body().collect().await else { return answer(StatusCode::BAD_REQUEST) };
    let body = body.to_bytes();
    let mut signing = format!("{id}.{timestamp}.").into_bytes();
    signing.extend_from_slice(&body);
    let signed = signature == format!("v1,{}", BASE64.encode(hmac(&signing)));
    if is_late {
        sleep(LATE).await;
    }
    let taken = signed && !refuses;
    evidence.mark(if taken { marks::WEBHOOK_TOLD } else { marks::WEBHOOK_REFUSED });
    evidence.record(HOST, "webhook", &format!("{id} signed {signed} taken {taken}"));
    let body = serde_json::from_slice(&body).unwrap_or_default();
    evidence.seen().received.push(Received { id, body, signed, taken });
    answer(if taken { StatusCode::NO_CONTENT } else { StatusCode::INTERNAL_SERVER_ERROR })
}

/// HMAC-SHA256 (RFC 2104), in a way of our own: nobody judges by what is judged.
fn hmac(text: &[u8]) -> [u8; 32] {
    let padded = |with: u8| {
        let mut block = [with; 64];
        block.iter_mut().zip(KEY).for_each(|(byte, key)| *byte ^= key);
        block
    };
    let inner = Sha256::new().chain_update(padded(0x36)).chain_update(text).finalize();
    Sha256::new().chain_update(padded(0x5c)).chain_update(inner).finalize().into()
}
