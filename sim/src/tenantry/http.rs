//! A small HTTP client over any network: pooled connections, a deadline on every request.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use tenantry_system::capability::Network;
use tenantry_system::rights::Role;
use tokio::time::timeout;

/// Connecting may take this long.
const CONNECT_MAX: Duration = Duration::from_millis(500);

/// Talks to one server.
pub struct HttpClient {
    network: Arc<dyn Network>,
    address: String,
    idle: Mutex<Vec<SendRequest<Full<Bytes>>>>,
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: StatusCode,
    /// The body, as JSON; null if it is none.
    pub body: serde_json::Value,
}

impl HttpClient {
    /// A client of the server at `address`. Nothing is opened yet.
    #[must_use]
    pub fn new(network: Arc<dyn Network>, address: impl Into<String>) -> Self {
        Self { network, address: address.into(), idle: Mutex::default() }
    }

    /// Sends one request and waits up to `deadline` for the whole answer.
    ///
    /// # Errors
    /// In words. Whether the server has acted is then unknown.
    pub async fn request(
        &self,
        method: Method,
        path: &str,
        token: &str,
        body: String,
        deadline: Duration,
    ) -> Result<Answer, String> {
        let exchange = async {
            let mut connection = self.connection().await?;
            let request = Request::builder()
                .method(method)
                .uri(path)
                .header(header::HOST, &self.address)
                .header(header::AUTHORIZATION, format!("Bearer {token}"))
                .body(Full::new(Bytes::from(body)))
                .map_err(|error| error.to_string())?;
            let response = connection.send_request(request).await.map_err(|error| error.to_string())?;
            let status = response.status();
            let body = response.into_body().collect().await.map_err(|error| error.to_string())?.to_bytes();
            // Only a connection whose answer was read whole can carry another.
            self.idle.lock().expect("no holder panics").push(connection);
            Ok(Answer { status, body: serde_json::from_slice(&body).unwrap_or_default() })
        };
        timeout(deadline, exchange).await.unwrap_or_else(|_| Err(format!("no answer in {} ms", deadline.as_millis())))
    }

    async fn connection(&self) -> Result<SendRequest<Full<Bytes>>, String> {
        loop {
            let idle = self.idle.lock().expect("no holder panics").pop();
            let Some(mut connection) = idle else { break };
            if connection.ready().await.is_ok() {
                return Ok(connection);
            }
        }
        let connecting = timeout(CONNECT_MAX, self.network.connect(&self.address, Role::Producer));
        let channel = connecting.await.map_err(|_| "no connection in time")?.map_err(|error| error.to_string())?;
        let (sender, connection) = handshake(TokioIo::new(channel.stream)).await.map_err(|error| error.to_string())?;
        // Ends with the connection; its error shows in the request that met it.
        tokio::spawn(async move { connection.await.ok() });
        Ok(sender)
    }
}
