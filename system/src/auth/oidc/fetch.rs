//! Reads a provider's key set: one GET, a bounded body. The caller sets the deadline.

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, StatusCode, header};

use super::key_set::KEY_SET_BYTES_MAX;
use crate::capability::World;
use crate::outside::{Client, Roots, Url};

/// Fetches one URL.
pub(super) struct Fetcher(Client);

impl Fetcher {
    pub(super) fn new(world: &World, url: Url, roots: &Roots) -> Result<Self, String> {
        Client::new(world.network.clone(), world.clock.clone(), url, roots).map(Self)
    }

    /// The document.
    pub(super) async fn fetch(&self) -> Result<Bytes, String> {
        let request = Request::get(self.0.url().path())
            .header(header::ACCEPT, "application/jwk-set+json, application/json")
            .body(Full::default())
            .map_err(|error| error.to_string())?;
        let answer = self.0.send(request).await?;
        match answer.status() {
            StatusCode::OK => answer.whole(KEY_SET_BYTES_MAX).await,
            status => Err(format!("it answered {status}")),
        }
    }
}
