//! Reads a provider's key set over HTTP: one GET, no redirect, a bounded body. The caller sets the deadline.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper::{Request, StatusCode, Uri, header};
use hyper_util::rt::TokioIo;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::time_provider::TimeProvider;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_util::task::AbortOnDropHandle;

use super::key_set::KEY_SET_BYTES_MAX;
use crate::capability::{BoxStream, Clock, Network, World};

/// Where a provider publishes its keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwksUrl {
    uri: Uri,
    host: String,
    address: String,
    encrypted: bool,
}

impl JwksUrl {
    /// A `https` URL; or a `http` one of this very machine. Keys that came in the clear from another may be anybody's.
    ///
    /// # Errors
    /// In words, with what would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        let url = Self::parse_any(text)?;
        let host = url.host.trim_matches(['[', ']']);
        let is_here = host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback());
        if !url.encrypted && !is_here {
            return Err(format!("{text:?} is not encrypted; write https://, or give a file"));
        }
        Ok(url)
    }

    /// Any `https` or `http` URL, for a network on which nobody else can speak: that of a simulation.
    ///
    /// # Errors
    /// In words, with what would be right.
    pub fn parse_any(text: &str) -> Result<Self, String> {
        let right = "write one such as https://login.example.com/jwks.json";
        let uri: Uri = text.parse().map_err(|error| format!("{text:?} is no URL: {error}; {right}"))?;
        let (encrypted, port) = match uri.scheme_str() {
            Some("https") => (true, 443),
            Some("http") => (false, 80),
            _ => return Err(format!("{text:?} is no URL for HTTP; {right}")),
        };
        let Some(authority) = uri.authority().filter(|authority| !authority.as_str().contains('@')) else {
            return Err(format!("{text:?} names no host, or a user; {right}"));
        };
        let host = authority.host().to_owned();
        let address = format!("{host}:{}", authority.port_u16().unwrap_or(port));
        Ok(Self { uri, host, address, encrypted })
    }
}

impl fmt::Display for JwksUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.uri.fmt(f)
    }
}

/// Whose word on a provider's certificate is taken.
#[derive(Debug, Clone)]
pub struct Roots(Arc<RootCertStore>);

impl Roots {
    /// Mozilla's authorities.
    #[must_use]
    pub fn public() -> Self {
        Self(Arc::new(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() }))
    }

    /// Those of `pem` alone: a company's own authority.
    ///
    /// # Errors
    /// In words: when it has no certificate, or one that is none.
    pub fn from_pem(pem: &[u8]) -> Result<Self, String> {
        let mut store = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| format!("it is no PEM: {error}"))?;
            store.add(certificate).map_err(|error| format!("it has a bad certificate: {error}"))?;
        }
        if store.is_empty() {
            return Err("it has no certificate; it must hold those of the authorities, as PEM".into());
        }
        Ok(Self(Arc::new(store)))
    }
}

/// Fetches one URL.
pub(super) struct Fetcher {
    network: Arc<dyn Network>,
    url: JwksUrl,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Fetcher {
    pub(super) fn new(world: &World, url: JwksUrl, roots: Roots) -> Result<Self, String> {
        let tls = url.encrypted.then(|| connector(world.clock.clone(), roots, &url)).transpose()?;
        Ok(Self { network: world.network.clone(), url, tls })
    }

    /// The document.
    pub(super) async fn fetch(&self) -> Result<Bytes, String> {
        let told = |error: &dyn fmt::Display| error.to_string();
        let stream = self.network.connect_outside(&self.url.address).await.map_err(|error| told(&error))?;
        let stream: BoxStream = match &self.tls {
            None => stream,
            Some((connector, name)) => {
                Box::new(connector.connect(name.clone(), stream).await.map_err(|error| told(&error))?)
            }
        };
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| told(&error))?;
        // Ends with this function, however it ends; its error shows in the request that met it.
        let _connection = AbortOnDropHandle::new(tokio::spawn(async move { connection.await.ok() }));
        let path = self.url.uri.path_and_query().map_or("/", |path| path.as_str());
        let host = self.url.uri.authority().map_or("", |authority| authority.as_str());
        let request = Request::get(path)
            .header(header::HOST, host)
            .header(header::ACCEPT, "application/jwk-set+json, application/json")
            .body(Empty::<Bytes>::new())
            .map_err(|error| told(&error))?;
        let response = sender.send_request(request).await.map_err(|error| told(&error))?;
        let status = response.status();
        if status.is_redirection() {
            // Where it leads is the answer's choice, not the configuration's.
            return Err(format!("it answered {status}; redirects are not followed: configure where it leads"));
        }
        if status != StatusCode::OK {
            return Err(format!("it answered {status}"));
        }
        let body = Limited::new(response.into_body(), KEY_SET_BYTES_MAX).collect().await;
        Ok(body
            .map_err(|error| format!("its answer broke off or is over {KEY_SET_BYTES_MAX} bytes: {error}"))?
            .to_bytes())
    }
}

fn connector(
    clock: Arc<dyn Clock>,
    roots: Roots,
    url: &JwksUrl,
) -> Result<(TlsConnector, ServerName<'static>), String> {
    let name = ServerName::try_from(url.host.trim_matches(['[', ']']).to_owned());
    let name = name.map_err(|error| format!("{url} names no host that a certificate could: {error}"))?;
    let config = ClientConfig::builder_with_details(ring::default_provider().into(), Arc::new(OurTime(clock)))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots.0)
        .with_no_client_auth();
    Ok((TlsConnector::from(Arc::new(config)), name))
}

/// Certificates run out by our clock, too.
struct OurTime(Arc<dyn Clock>);

impl fmt::Debug for OurTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OurTime")
    }
}

impl TimeProvider for OurTime {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from(self.0.unix_seconds()).ok()?;
        Some(UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds)))
    }
}
