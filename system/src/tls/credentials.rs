//! What one process shows of itself and whom it trusts, checked before it is used.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio_rustls::rustls::client::danger::ServerCertVerifier as _;
use tokio_rustls::rustls::client::{Resumption, WebPkiServerVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use tokio_rustls::rustls::time_provider::TimeProvider;
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{self, ClientConfig, ConfigBuilder, RootCertStore, ServerConfig, WantsVerifier};
use zeroize::Zeroizing;

use super::certificate::{Certificate, role_host};
use super::{HTTP, SERVICES, TlsError};
use crate::capability::Clock;
use crate::rights::Role;

/// The texts that credentials are made from, in PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Pem {
    /// Every certificate authority that is trusted: while one follows another, both.
    pub ca: String,
    /// The own certificate, and those between it and the authority if there are any.
    pub certificate: String,
    /// Its private key. A secret.
    pub key: Zeroizing<String>,
}

/// What one process shows of itself and whom it trusts. Never changed: new ones take its place.
pub struct Credentials {
    /// What is shown; nothing, for an operator.
    own: Option<Own>,
    to_services: Arc<ClientConfig>,
    to_api: Arc<ClientConfig>,
    clock: Arc<dyn Clock>,
}

struct Own {
    certificate: Certificate,
    for_services: Arc<ServerConfig>,
    for_anyone: Arc<ServerConfig>,
}

impl Credentials {
    /// Those of `role`. They are refused here if another role would refuse them now: a process must not find that out
    /// from its peers.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn of_role(role: Role, pem: &Pem, clock: Arc<dyn Clock>) -> Result<Self, TlsError> {
        let trust = Trust::new(&pem.ca, &clock)?;
        let chain = certificates("the certificate", &pem.certificate)?;
        let key = || {
            let key = PrivateKeyDer::from_pem_slice(pem.key.as_bytes());
            key.map_err(|error| TlsError::unreadable("the private key", error))
        };
        let certificate = Certificate::parse(&chain[0])?;
        if certificate.role != Some(role) {
            return Err(TlsError::WrongRole { wanted: role, named: certificate.role });
        }
        for (must, may, what) in
            [(role.calls(), certificate.calls, "client"), (role.serves(), certificate.serves, "server")]
        {
            if must && !may {
                return Err(TlsError::Refused(format!("it does not allow its {role} to act as a {what}")));
            }
        }
        trust.check(role, &chain, unix_time(&*clock))?;
        let mismatched = |error: rustls::Error| match error {
            rustls::Error::InconsistentKeys(_) => TlsError::KeyMismatch,
            other => TlsError::unreadable("the private key", other),
        };
        let client = || trust.client().with_client_auth_cert(chain.clone(), key()?).map_err(mismatched);
        let for_services = trust.server().with_client_cert_verifier(trust.clients.clone());
        let for_services = for_services.with_single_cert(chain.clone(), key()?).map_err(mismatched)?;
        let for_anyone = trust.server().with_no_client_auth().with_single_cert(chain.clone(), key()?);
        Ok(Self {
            to_services: calling(client()?, SERVICES),
            to_api: calling(client()?, HTTP),
            own: Some(Own {
                certificate,
                for_services: serving(for_services, SERVICES),
                for_anyone: serving(for_anyone.map_err(mismatched)?, HTTP),
            }),
            clock,
        })
    }

    /// Those of someone who shows nothing of themselves, such as an operator, and trusts `ca`.
    ///
    /// # Errors
    /// When `ca` can't be read.
    pub fn of_operator(ca: &str, clock: Arc<dyn Clock>) -> Result<Self, TlsError> {
        let trust = Trust::new(ca, &clock)?;
        Ok(Self {
            own: None,
            to_services: calling(trust.client().with_no_client_auth(), SERVICES),
            to_api: calling(trust.client().with_no_client_auth(), HTTP),
            clock,
        })
    }

    /// The own certificate, if there is one.
    #[must_use]
    pub fn certificate(&self) -> Option<&Certificate> {
        self.own.as_ref().map(|own| &own.certificate)
    }

    /// How calls to `server` are made.
    pub(super) fn calling(&self, server: Role) -> Arc<ClientConfig> {
        if server == Role::Producer { self.to_api.clone() } else { self.to_services.clone() }
    }

    /// How services, or if `public` anyone, are answered.
    pub(super) fn serving(&self, public: bool) -> Option<Arc<ServerConfig>> {
        let own = self.own.as_ref()?;
        Some(if public { own.for_anyone.clone() } else { own.for_services.clone() })
    }

    /// How long `peers`, if it is one, and the own certificate are valid from now on.
    pub(super) fn valid_for(&self, peers: Option<&Certificate>) -> Duration {
        let ends = self.certificate().into_iter().chain(peers).map(|certificate| certificate.not_after);
        let ends = ends.min().unwrap_or(Timestamp::MAX);
        Duration::try_from(ends.duration_since(self.clock.now())).unwrap_or_default()
    }
}

/// The name that `server`'s certificate must have.
pub(super) fn server_name(server: Role) -> ServerName<'static> {
    ServerName::try_from(role_host(server)).expect("every role's name is a DNS name")
}

/// Authorities that are trusted, and what follows from that for both sides.
struct Trust {
    clients: Arc<dyn ClientCertVerifier>,
    servers: Arc<WebPkiServerVerifier>,
    provider: Arc<CryptoProvider>,
    time: Arc<Time>,
}

impl Trust {
    fn new(ca: &str, clock: &Arc<dyn Clock>) -> Result<Self, TlsError> {
        let bad = |error: &dyn fmt::Display| TlsError::unreadable("the CA bundle", error);
        let mut roots = RootCertStore::empty();
        for authority in certificates("the CA bundle", ca)? {
            // Else a role that holds a certificate and its key could be trusted to certify others.
            if !Certificate::parse(&authority)?.is_ca {
                return Err(bad(&"a certificate in it is not an authority's"));
            }
            roots.add(authority).map_err(|error| bad(&error))?;
        }
        let (roots, provider) = (Arc::new(roots), Arc::new(ring::default_provider()));
        let clients = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone()).build();
        let servers = WebPkiServerVerifier::builder_with_provider(roots, provider.clone()).build();
        Ok(Self {
            clients: clients.map_err(|error| bad(&error))?,
            servers: servers.map_err(|error| bad(&error))?,
            provider,
            time: Arc::new(Time(clock.clone())),
        })
    }

    /// Whether others who trust the same authorities would take `chain` for `role`'s.
    fn check(&self, role: Role, chain: &[CertificateDer<'static>], now: UnixTime) -> Result<(), TlsError> {
        let refused = |error: rustls::Error| TlsError::Refused(told(&error));
        let (leaf, between) = (&chain[0], &chain[1..]);
        if role.serves() {
            self.servers.verify_server_cert(leaf, between, &server_name(role), &[], now).map_err(refused)?;
        }
        if role.calls() {
            self.clients.verify_client_cert(leaf, between, now).map_err(refused)?;
        }
        Ok(())
    }

    fn client(&self) -> ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
        let builder = ClientConfig::builder_with_details(self.provider.clone(), self.time.clone());
        tls13(builder).with_webpki_verifier(self.servers.clone())
    }

    fn server(&self) -> ConfigBuilder<ServerConfig, WantsVerifier> {
        tls13(ServerConfig::builder_with_details(self.provider.clone(), self.time.clone()))
    }
}

fn tls13<S: rustls::ConfigSide>(builder: ConfigBuilder<S, rustls::WantsVersions>) -> ConfigBuilder<S, WantsVerifier> {
    builder.with_protocol_versions(&[&TLS13]).expect("ring has ciphers for TLS 1.3")
}

/// No resumption: each connection proves anew who it is, by the certificates of now.
fn calling(mut config: ClientConfig, protocol: &[u8]) -> Arc<ClientConfig> {
    config.alpn_protocols = vec![protocol.to_vec()];
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

fn serving(mut config: ServerConfig, protocol: &[u8]) -> Arc<ServerConfig> {
    config.alpn_protocols = vec![protocol.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Arc::new(config)
}

/// Every certificate of a PEM text, of which there must be one.
pub(super) fn certificates(what: &'static str, pem: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let read = read.map_err(|error| TlsError::unreadable(what, error))?;
    if read.is_empty() {
        return Err(TlsError::unreadable(what, "there is no certificate in it"));
    }
    Ok(read)
}

/// A refusal in words. The library counts seconds since 1970 where people want a date.
pub(super) fn told(error: &rustls::Error) -> String {
    use rustls::{CertificateError, Error, InvalidMessage};
    let date = |at: &UnixTime| {
        let at = i64::try_from(at.as_secs()).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
        at.map_or_else(|| "an unknown time".to_owned(), |at| at.to_string())
    };
    match error {
        Error::InvalidCertificate(CertificateError::ExpiredContext { time, not_after }) => {
            format!("the certificate expired at {}, now it is {}", date(not_after), date(time))
        }
        Error::InvalidCertificate(CertificateError::NotValidYetContext { time, not_before }) => {
            format!("the certificate is valid from {} on, now it is {}", date(not_before), date(time))
        }
        Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            "the certificate is of no authority that is trusted here".into()
        }
        Error::NoCertificatesPresented => "no certificate was shown".into(),
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => "the other side does not speak TLS".into(),
        other => other.to_string(),
    }
}

/// Our clock, as the library wants it.
struct Time(Arc<dyn Clock>);

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Time")
    }
}

impl TimeProvider for Time {
    fn current_time(&self) -> Option<UnixTime> {
        Some(unix_time(&*self.0))
    }
}

fn unix_time(clock: &dyn Clock) -> UnixTime {
    // A clock before 1970 makes every certificate one that is not valid yet, as it should.
    UnixTime::since_unix_epoch(Duration::from_secs(clock.unix_seconds().try_into().unwrap_or(0)))
}
