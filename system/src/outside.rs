//! HTTP to whoever is no part of Tenantry: an identity provider, a collector, a webhook - and, for `tenantryd`'s own
//! commands, the API of a running system.
//!
//! One connection for each exchange, over any [`Network`] and, for `https`, TLS by our own clock. No redirect is followed:
//! where it leads would be the answer's choice, not the configuration's. Deadlines are the caller's; so is the bound of
//! what is read, for only the caller knows what an answer is worth.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderValue};
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::time_provider::TimeProvider;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_util::task::AbortOnDropHandle;

use crate::capability::{BoxStream, Clock, Network};

/// A URL of HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    uri: Uri,
    host: String,
    address: String,
    encrypted: bool,
}

impl Url {
    /// A `https` URL; or a `http` one of this very machine. What comes in the clear from another may be anybody's, and what
    /// goes there may be read by anybody.
    ///
    /// # Errors
    /// In words, with what would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        let url = Self::parse_any(text)?;
        let host = url.host.trim_matches(['[', ']']);
        let is_here = host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback());
        if !url.encrypted && !is_here {
            return Err(format!("{text:?} is not encrypted; write https://"));
        }
        Ok(url)
    }

    /// Any `https` or `http` URL, for a network on which nobody else can speak: that of a simulation.
    ///
    /// # Errors
    /// In words, with what would be right.
    pub fn parse_any(text: &str) -> Result<Self, String> {
        let right = "write one such as https://host.example.com/path";
        let uri: Uri = text.parse().map_err(|error| format!("{text:?} is no URL: {error}; {right}"))?;
        let (encrypted, port) = match uri.scheme_str() {
            Some("https") => (true, 443),
            Some("http") => (false, 80),
            _ => return Err(format!("{text:?} is no URL for HTTP; {right}")),
        };
        let Some(authority) = uri.authority().filter(|authority| !authority.as_str().contains('@')) else {
            // Not shown: what stands before an @ may be a password.
            return Err(format!("it names no host, or a user; {right}"));
        };
        let host = authority.host().to_owned();
        let address = format!("{host}:{}", authority.port_u16().unwrap_or(port));
        Ok(Self { uri, host, address, encrypted })
    }

    /// Whether it is a host and perhaps a port in the clear, and nothing else.
    pub(crate) fn is_plain_host(&self) -> bool {
        !self.encrypted && self.path() == "/"
    }

    /// The host and the port to connect to.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its path and query: what a request for it names.
    #[must_use]
    pub fn path(&self) -> &str {
        self.uri.path_and_query().map_or("/", |path| path.as_str())
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.uri.fmt(f)
    }
}

/// Whose word on a server's certificate is taken.
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

/// Speaks to the server of one URL.
pub struct Client {
    network: Arc<dyn Network>,
    url: Url,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Client {
    /// A client of the server of `url`, believed if `roots` vouch for it.
    ///
    /// # Errors
    /// When the URL names no host that a certificate could.
    pub fn new(network: Arc<dyn Network>, clock: Arc<dyn Clock>, url: Url, roots: &Roots) -> Result<Self, String> {
        let tls = url.encrypted.then(|| connector(clock, roots, &url)).transpose()?;
        Ok(Self { network, url, tls })
    }

    /// A client of the server of `url`, in the clear whatever its scheme.
    #[must_use]
    pub fn in_the_clear(network: Arc<dyn Network>, url: Url) -> Self {
        Self { network, url, tls: None }
    }

    /// The URL.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Sends `request`, whose URI is a path, on a connection of its own.
    ///
    /// # Errors
    /// In words: why there is no answer. The request may have been done all the same.
    pub async fn send(&self, mut request: Request<Full<Bytes>>) -> Result<Answer, String> {
        let told = |error: &dyn fmt::Display| error.to_string();
        let stream = self.network.connect_outside(&self.url.address).await.map_err(|error| told(&error))?;
        let stream: BoxStream = match &self.tls {
            None => stream,
            Some((connector, name)) => {
                Box::new(connector.connect(name.clone(), stream).await.map_err(|error| told(&error))?)
            }
        };
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| told(&error))?;
        // Ends with the answer, however it ends; its error shows in the request that met it.
        let connection = AbortOnDropHandle::new(tokio::spawn(async move {
            connection.await.ok();
        }));
        let host = self.url.uri.authority().map_or("", |authority| authority.as_str());
        request.headers_mut().insert(HOST, HeaderValue::from_str(host).map_err(|error| told(&error))?);
        let response = sender.send_request(request).await.map_err(|error| told(&error))?;
        let status = response.status();
        if status.is_redirection() {
            return Err(format!("it answered {status}; redirects are not followed: configure where it leads"));
        }
        Ok(Answer { response, _connection: connection })
    }
}

/// An answer whose head has come.
pub struct Answer {
    response: Response<Incoming>,
    _connection: AbortOnDropHandle<()>,
}

impl Answer {
    /// Its status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// The header called `name`, if it is there and text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    /// All of its body.
    ///
    /// # Errors
    /// In words: when it breaks off, or is over `max` bytes.
    pub async fn whole(self, max: usize) -> Result<Bytes, String> {
        let body = Limited::new(self.response.into_body(), max).collect().await;
        body.map(|body| body.to_bytes()).map_err(|error| match error.is::<LengthLimitError>() {
            true => format!("its answer is over {max} bytes"),
            false => format!("its answer broke off: {error}"),
        })
    }

    /// The next bytes of its body, as they come; none at its end.
    ///
    /// # Errors
    /// In words: when it breaks off.
    pub async fn next(&mut self) -> Result<Option<Bytes>, String> {
        while let Some(frame) = self.response.body_mut().frame().await {
            let frame = frame.map_err(|error| format!("its answer broke off: {error}"))?;
            if let Ok(data) = frame.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }
}

fn connector(clock: Arc<dyn Clock>, roots: &Roots, url: &Url) -> Result<(TlsConnector, ServerName<'static>), String> {
    let name = ServerName::try_from(url.host.trim_matches(['[', ']']).to_owned());
    let name = name.map_err(|error| format!("{url} names no host that a certificate could: {error}"))?;
    let config = ClientConfig::builder_with_details(ring::default_provider().into(), Arc::new(OurTime(clock)))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots.0.clone())
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
