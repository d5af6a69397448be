//! Encrypted channels on which both sides prove who they are: TLS 1.3 around any [`Network`].
//!
//! Between services both show a certificate. It names the role ([`Certificate`]); a server takes the role of a caller from
//! there, and a client refuses a server that is not the role it wants. Operators show none: they bring tokens. Each
//! handshake uses the [`Credentials`] of its moment: [`Tls::renew`] puts others in their place without a restart.
//!
//! A channel ends when either side's certificate expires, and after [`AGE_MAX`]: a certificate or an authority that was
//! replaced is out of use by then. It retires before, so that what is under way ends ([`Expiry`]).
//!
//! What it does not do: no session is resumed, no data is sent before the handshake, and no certificate is revoked before it
//! expires - let them live briefly, or replace the authority.

mod authority;
mod certificate;
mod credentials;

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::timeout;
use tokio_rustls::rustls::{self, CommonState};
use tokio_rustls::{TlsAcceptor, TlsConnector};

pub use authority::{CertificateAuthority, Issued};
pub use certificate::Certificate;
pub use credentials::{Credentials, Pem};

use crate::capability::{BoxStream, Channel, Expiry, Incoming, Listener, Network};
use crate::rights::Role;

/// A channel lives no longer, whatever its certificates say.
pub const AGE_MAX: Duration = Duration::from_secs(3600);

/// A service's handshake may take this long, as long as a service may be silent.
const SERVICE_HANDSHAKE_MAX: Duration = Duration::from_secs(1);

/// Anyone's handshake may take this long: there may be a bad line between, which loses a packet or two.
const PUBLIC_HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// What is spoken between services (RFC 7301): an HTTP client that was led here is refused, and so is the reverse.
const SERVICES: &[u8] = b"tenantry/1";
const HTTP: &[u8] = b"http/1.1";

/// Why credentials can't be used, or made. Never holds anything of a private key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// A text is not what it should be.
    #[error("{what} can't be read: {why}")]
    Unreadable {
        /// Which.
        what: &'static str,
        /// Why.
        why: String,
    },
    /// The certificate is another's.
    #[error("the certificate is {}, the {wanted}'s is wanted", named.map_or("of no role".into(), |role| format!("the {role}'s")))]
    WrongRole {
        /// Whose it should be.
        wanted: Role,
        /// Whose it is.
        named: Option<Role>,
    },
    /// The private key is not the certificate's.
    #[error("the private key is not that of the certificate")]
    KeyMismatch,
    /// Others would refuse the certificate.
    #[error("the certificate would be refused: {0}")]
    Refused(String),
    /// A certificate can't be made.
    #[error("no certificate can be made: {0}")]
    Unissued(String),
}

impl TlsError {
    fn unreadable(what: &'static str, why: impl ToString) -> Self {
        Self::Unreadable { what, why: why.to_string() }
    }
}

/// TLS around another network.
pub struct Tls {
    inner: Arc<dyn Network>,
    current: Current,
}

/// The credentials of now, for listeners too.
type Current = Arc<Mutex<Arc<Credentials>>>;

impl Tls {
    /// TLS around `inner`, by `credentials` until they are renewed.
    #[must_use]
    pub fn new(inner: Arc<dyn Network>, credentials: Credentials) -> Self {
        Self { inner, current: Arc::new(Mutex::new(Arc::new(credentials))) }
    }

    /// From now on handshakes use `credentials`. Open channels go on as long as what they were opened with allows.
    pub fn renew(&self, credentials: Credentials) {
        *self.current.lock().expect("no holder panics") = Arc::new(credentials);
    }

    /// What handshakes use now.
    #[must_use]
    pub fn credentials(&self) -> Arc<Credentials> {
        now(&self.current)
    }

    fn listener(&self, inner: Box<dyn Listener>, public: bool) -> Box<dyn Listener> {
        Box::new(TlsListener { inner, current: self.current.clone(), public })
    }
}

fn now(current: &Current) -> Arc<Credentials> {
    current.lock().expect("no holder panics").clone()
}

#[async_trait]
impl Network for Tls {
    async fn bind(&self, address: &str) -> io::Result<Box<dyn Listener>> {
        Ok(self.listener(self.inner.bind(address).await?, false))
    }

    async fn bind_public(&self, address: &str) -> io::Result<Box<dyn Listener>> {
        Ok(self.listener(self.inner.bind_public(address).await?, true))
    }

    async fn connect(&self, address: &str, server: Role) -> io::Result<Channel> {
        let plain = self.inner.connect(address, server).await?;
        let credentials = self.credentials();
        let connector = TlsConnector::from(credentials.calling(server));
        let stream = connector.connect(credentials::server_name(server), plain.stream).await.map_err(refused)?;
        let protocol = if server == Role::Producer { HTTP } else { SERVICES };
        let peers = peer(stream.get_ref().1, protocol)?;
        if peers.role != Some(server) || !peers.serves {
            return Err(denied(format!("the certificate there is not that of a {server} that may serve")));
        }
        Ok(channel(stream, &credentials, Some(&peers)))
    }

    async fn connect_outside(&self, address: &str) -> io::Result<BoxStream> {
        self.inner.connect_outside(address).await
    }
}

struct TlsListener {
    inner: Box<dyn Listener>,
    current: Current,
    public: bool,
}

#[async_trait]
impl Listener for TlsListener {
    async fn accept(&self) -> io::Result<Incoming> {
        let incoming = self.inner.accept().await?;
        let (current, public) = (self.current.clone(), self.public);
        let limit = if public { PUBLIC_HANDSHAKE_MAX } else { SERVICE_HANDSHAKE_MAX };
        let peer = incoming.peer.clone();
        Ok(Incoming::new(peer, async move {
            let opening = timeout(limit, open(incoming, current, public)).await;
            opening.unwrap_or_else(|_| {
                let told = format!("no TLS handshake within {} ms", limit.as_millis());
                Err(io::Error::new(io::ErrorKind::TimedOut, told))
            })
        }))
    }

    fn local_address(&self) -> String {
        self.inner.local_address()
    }
}

/// The server's side of a handshake.
async fn open(incoming: Incoming, current: Current, public: bool) -> io::Result<Channel> {
    let plain = incoming.open().await?;
    let credentials = now(&current);
    let config = credentials.serving(public).ok_or_else(|| denied("there is no certificate to serve with".into()))?;
    let stream = TlsAcceptor::from(config).accept(plain.stream).await.map_err(refused)?;
    if public {
        return Ok(channel(stream, &credentials, None));
    }
    let peers = peer(stream.get_ref().1, SERVICES)?;
    if peers.role.is_none() || !peers.calls {
        return Err(denied("the certificate names no role that may call".into()));
    }
    Ok(channel(stream, &credentials, Some(&peers)))
}

/// The certificate of a peer that speaks `protocol`. The handshake has verified it.
fn peer(connection: &CommonState, protocol: &[u8]) -> io::Result<Certificate> {
    if connection.alpn_protocol() != Some(protocol) {
        return Err(denied(format!("the other side does not speak {}", String::from_utf8_lossy(protocol))));
    }
    let shown = connection.peer_certificates().and_then(<[_]>::first);
    let shown = shown.ok_or_else(|| denied("no certificate was shown".into()))?;
    Certificate::parse(shown).map_err(|error| denied(error.to_string()))
}

fn channel(
    stream: impl Into<tokio_rustls::TlsStream<BoxStream>>,
    own: &Credentials,
    peers: Option<&Certificate>,
) -> Channel {
    let expiry = Expiry::within(own.valid_for(peers).min(AGE_MAX));
    Channel { stream: Box::new(stream.into()), role: peers.and_then(|peers| peers.role), expiry }
}

/// A handshake that failed, in words.
fn refused(error: io::Error) -> io::Error {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(inner) => denied(credentials::told(inner)),
        None => error,
    }
}

fn denied(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, format!("TLS: {why}"))
}

#[cfg(test)]
mod tests;
