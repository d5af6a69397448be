//! What a certificate says: which role it names and what that role may do.
//!
//! | field | content | read by |
//! |---|---|---|
//! | URI name | `urn:tenantry:role:consumer`, exactly one | us: a certificate without it is nobody's |
//! | DNS names | `broker.tenantry.internal`; the producer's also what operators call it | clients: is this the right server? |
//! | extended key usage | client, server or both | both sides: may it call, may it serve? |
//!
//! `.internal` is reserved for private use (ICANN, 2024): no public authority may certify such a name.

use std::fmt;

use jiff::Timestamp;
use sha2::{Digest, Sha256};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::TlsError;
use crate::rights::Role;

const ROLE_URI: &str = "urn:tenantry:role:";

/// What stands in one certificate. Whether it is genuine, this does not say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The role it names; `None` if it names none, more than one, or one this build does not know.
    pub role: Option<Role>,
    /// It may prove who a client is.
    pub calls: bool,
    /// It may prove who a server is.
    pub serves: bool,
    /// It may sign other certificates.
    pub is_ca: bool,
    /// The common name.
    pub subject: String,
    /// The DNS names and addresses under which a server of it may be reached.
    pub hosts: Vec<String>,
    /// Valid from then on.
    pub not_before: Timestamp,
    /// Valid until then.
    pub not_after: Timestamp,
    /// SHA-256 of the certificate.
    pub fingerprint: [u8; 32],
}

impl Certificate {
    /// Reads every certificate of a PEM text, of which there must be one.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn read(pem: &str) -> Result<Vec<Self>, TlsError> {
        super::credentials::certificates("the certificate", pem)?.iter().map(|der| Self::parse(der)).collect()
    }

    /// Reads a certificate from its DER bytes.
    ///
    /// # Errors
    /// When they are none.
    pub fn parse(der: &[u8]) -> Result<Self, TlsError> {
        let bad = |error: &dyn fmt::Display| TlsError::unreadable("the certificate", error);
        let (_, parsed) = X509Certificate::from_der(der).map_err(|error| bad(&error))?;
        let names = parsed.subject_alternative_name().map_err(|error| bad(&error))?;
        let usage = parsed.extended_key_usage().map_err(|error| bad(&error))?;
        let (mut roles, mut hosts) = (Vec::new(), Vec::new());
        for name in names.iter().flat_map(|names| &names.value.general_names) {
            match name {
                GeneralName::URI(uri) => roles.extend(uri.strip_prefix(ROLE_URI).map(Role::parse)),
                GeneralName::DNSName(name) => hosts.push((*name).to_owned()),
                GeneralName::IPAddress(bytes) => hosts.extend(address(bytes)),
                _ => {}
            }
        }
        let at = |seconds: i64| Timestamp::from_second(seconds).map_err(|error| bad(&error));
        Ok(Self {
            role: if let [role] = roles[..] { role } else { None },
            calls: usage.as_ref().is_some_and(|usage| usage.value.client_auth),
            serves: usage.as_ref().is_some_and(|usage| usage.value.server_auth),
            is_ca: parsed.is_ca(),
            subject: parsed.subject().iter_common_name().filter_map(|name| name.as_str().ok()).collect(),
            hosts,
            not_before: at(parsed.validity().not_before.timestamp())?,
            not_after: at(parsed.validity().not_after.timestamp())?,
            fingerprint: Sha256::digest(der).into(),
        })
    }
}

impl Certificate {
    /// Its hosts without the role's own name: what operators call it.
    #[must_use]
    pub fn public_hosts(&self) -> Vec<String> {
        let own = self.role.map(role_host);
        self.hosts.iter().filter(|host| Some(*host) != own.as_ref()).cloned().collect()
    }
}

/// The URI that names `role`.
pub(super) fn role_uri(role: Role) -> String {
    format!("{ROLE_URI}{role}")
}

/// The DNS name by which a client checks that it has reached `role`, wherever that runs.
pub(super) fn role_host(role: Role) -> String {
    format!("{role}.tenantry.internal")
}

fn address(bytes: &[u8]) -> Option<String> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(std::net::Ipv4Addr::from(v4).to_string());
    }
    Some(std::net::Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).to_string())
}
