//! The company's identity provider: it issues operators' tokens, publishes its keys over HTTP, and rotates them.
//!
//! Where a scenario rotates no identity keys there is no such host, and auth is given the keys once: a run is cheaper so.

use std::convert::Infallible;
use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, body::Incoming};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tenantry_system::auth::oidc::{Freshness, Jwks};
use tenantry_system::auth::{IdentityProvider, TrustedIssuer};
use tenantry_system::capability::{Entropy, World};
use tenantry_system::ids::UserId;
use tenantry_system::outside::{Roots, Url};
use tokio::time::sleep;

use super::evidence::Evidence;
use super::marks;
use super::workload::Timed;
use super::world::now;

/// The provider's host.
pub const HOST: &str = "idp";

/// The issuer of operators' tokens in simulations.
const ISSUER: &str = "urn:tenantry:simulation";

/// Tokens outlive any run, but for their key.
const TOKEN_SECONDS: i64 = 24 * 3600;

/// What auth is configured with: minutes, on the scale of a run of seconds.
pub const FRESHNESS: Freshness = Freshness {
    refresh: Duration::from_millis(400),
    pause: Duration::from_millis(100),
    deadline: Duration::from_millis(300),
    stale_max: Duration::from_millis(2500),
};

/// A rotation of the provider's key: a new one signs, and the one before is dropped later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotation {
    /// How much later, in virtual milliseconds.
    pub drop_after_ms: u64,
}

/// The provider. What it keeps outlives its process.
#[derive(Clone)]
pub struct Idp {
    kept: Arc<Mutex<Kept>>,
    entropy: Arc<dyn Entropy>,
    is_hosted: bool,
}

struct Kept {
    provider: IdentityProvider,
    /// Rotations begun, of all that the plan has, and when the last of them was.
    rotated: usize,
    rotated_at: Duration,
}

impl Idp {
    /// A provider with a new key, on a host of its own if `is_hosted`.
    #[must_use]
    pub fn new(entropy: Arc<dyn Entropy>, is_hosted: bool) -> Self {
        let provider = IdentityProvider::new(ISSUER, &*entropy);
        Self {
            kept: Arc::new(Mutex::new(Kept { provider, rotated: 0, rotated_at: Duration::ZERO })),
            entropy,
            is_hosted,
        }
    }

    /// Whether it has a host, and its keys change.
    #[must_use]
    pub fn is_hosted(&self) -> bool {
        self.is_hosted
    }

    /// What auth needs to believe it.
    ///
    /// # Panics
    /// Never: its URL is one.
    #[must_use]
    pub fn trusted(&self) -> TrustedIssuer {
        let provider = &self.kept().provider;
        if !self.is_hosted {
            return provider.trusted();
        }
        let url = Url::parse_any(&format!("http://{HOST}/jwks.json")).expect("a URL");
        TrustedIssuer::new(provider.issuer(), Jwks::url(url, Roots::public(), FRESHNESS))
    }

    /// A token of `user` from `now_seconds` on.
    #[must_use]
    pub fn token(&self, user: &UserId, now_seconds: i64) -> String {
        self.kept().provider.token(user, now_seconds, TOKEN_SECONDS)
    }

    /// The provider as it is now.
    #[must_use]
    pub fn provider(&self) -> IdentityProvider {
        self.kept().provider.clone()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().expect("no holder panics")
    }

    /// Publishes its keys, and does `rotations` at their times; those that came while it was down, at its start.
    pub async fn run(self, world: World, rotations: Timed<Rotation>, evidence: Evidence) -> Result<(), Box<dyn Error>> {
        let listener = world.network.bind(&format!("{HOST}:80")).await?;
        let rotating = self.clone().rotate(rotations, evidence);
        tokio::spawn(rotating);
        loop {
            let stream = listener.accept().await?.open().await?.stream;
            let idp = self.clone();
            let service = service_fn(move |_: Request<Incoming>| {
                let jwks = Full::new(Bytes::from(idp.kept().provider.jwks()));
                async move { Ok::<_, Infallible>(Response::new(jwks)) }
            });
            let mut server = http1::Builder::new();
            let connection =
                server.auto_date_header(false).keep_alive(false).serve_connection(TokioIo::new(stream), service);
            // Its error is the client's to tell.
            tokio::spawn(async move { connection.await.ok() });
        }
    }

    /// One rotation after another: a key is dropped so much later than the next one really came, which may be late.
    async fn rotate(self, rotations: Timed<Rotation>, evidence: Evidence) {
        for (index, (at_ms, rotation)) in rotations.into_iter().enumerate() {
            let rotated = self.kept().rotated;
            if index >= rotated {
                sleep(Duration::from_millis(at_ms).saturating_sub(now())).await;
                let mut kept = self.kept();
                (kept.rotated, kept.rotated_at) = (index + 1, now());
                kept.provider.rotate(&*self.entropy);
                evidence.mark(marks::IDENTITY_KEY_ROTATED);
                evidence.record(HOST, "idp.rotated", "");
            }
            if index + 1 >= rotated {
                let dropped_at = self.kept().rotated_at + Duration::from_millis(rotation.drop_after_ms);
                sleep(dropped_at.saturating_sub(now())).await;
                self.kept().provider.drop_former(0);
                evidence.mark(marks::IDENTITY_KEY_DROPPED);
                evidence.record(HOST, "idp.dropped", "");
            }
        }
    }
}
