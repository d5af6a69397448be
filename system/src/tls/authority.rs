//! Issues certificates: a certificate authority of our own, Ed25519 throughout.
//!
//! Keys and serial numbers come from `Entropy`, times are given, and Ed25519 signatures follow from key and content: in a
//! simulation every certificate follows from the seed, to the byte.

use std::time::Duration;

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ED25519, SanType, SerialNumber, date_time_ymd,
};
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;
use zeroize::Zeroizing;

use super::TlsError;
use super::certificate::{role_host, role_uri};
use crate::capability::Entropy;
use crate::rights::Role;

/// A certificate is valid from so long before it was issued: another machine's clock may be behind.
const BACKDATED: Duration = Duration::from_secs(300);

/// PKCS #8 (RFC 5958, RFC 8410) of an Ed25519 key, up to its 32 bytes.
const PKCS8_ED25519: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

/// A certificate and its private key, as PEM texts.
pub struct Issued {
    /// The certificate.
    pub certificate: String,
    /// The private key. A secret.
    pub key: Zeroizing<String>,
}

/// A certificate authority: whoever trusts it trusts what it issues.
pub struct CertificateAuthority {
    issuer: Issuer<'static, KeyPair>,
}

impl CertificateAuthority {
    /// Makes a new one, valid for `lifetime` from `now` on; returned with what to keep of it.
    ///
    /// # Errors
    /// When `lifetime` ends after the year 9999.
    pub fn new(now: Timestamp, lifetime: Duration, entropy: &dyn Entropy) -> Result<(Self, Issued), TlsError> {
        let key = fresh_key(entropy)?;
        let mut params = params(now, lifetime, entropy)?;
        // Two authorities in one bundle must be told apart.
        params.distinguished_name = named(&format!("Tenantry CA {:08x}", entropy.u64() as u32));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let certificate = params.self_signed(&key).map_err(unissued)?.pem();
        let kept = Issued { certificate, key: key.serialize_pem().into() };
        Ok((Self { issuer: Issuer::new(params, key) }, kept))
    }

    /// One that was kept, from its certificate and key as PEM texts.
    ///
    /// # Errors
    /// When they can't be read, or are not a CA's.
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self, TlsError> {
        let key = KeyPair::from_pem(key).map_err(|error| TlsError::unreadable("the CA's private key", error))?;
        let bad = |error: rcgen::Error| TlsError::unreadable("the CA's certificate", error);
        let issuer = Issuer::from_ca_cert_pem(certificate, key).map_err(bad)?;
        if !issuer.key_usages().contains(&KeyUsagePurpose::KeyCertSign) {
            return Err(TlsError::unreadable("the CA's certificate", "it may not sign certificates"));
        }
        Ok(Self { issuer })
    }

    /// A certificate for `role`, which operators (if it is the producer) reach at `hosts` - DNS names or addresses - valid
    /// for `lifetime` from `now` on.
    ///
    /// # Errors
    /// When a host is no name, or `lifetime` ends after the year 9999.
    pub fn issue(
        &self,
        role: Role,
        hosts: &[String],
        now: Timestamp,
        lifetime: Duration,
        entropy: &dyn Entropy,
    ) -> Result<Issued, TlsError> {
        let key = fresh_key(entropy)?;
        let mut params = params(now, lifetime, entropy)?;
        params.distinguished_name = named(&format!("tenantry {role}"));
        params.subject_alt_names = vec![SanType::URI(role_uri(role).try_into().map_err(unissued)?)];
        let own_host = if role.serves() { vec![role_host(role)] } else { Vec::new() };
        for host in own_host.iter().chain(hosts) {
            params.subject_alt_names.push(match host.parse() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(host.as_str().try_into().map_err(unissued)?),
            });
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let usages =
            [(role.calls(), ExtendedKeyUsagePurpose::ClientAuth), (role.serves(), ExtendedKeyUsagePurpose::ServerAuth)];
        params.extended_key_usages = usages.into_iter().filter_map(|(may, usage)| may.then_some(usage)).collect();
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer).map_err(unissued)?.pem();
        Ok(Issued { certificate, key: key.serialize_pem().into() })
    }
}

fn unissued(error: rcgen::Error) -> TlsError {
    TlsError::Unissued(error.to_string())
}

fn named(name: &str) -> DistinguishedName {
    let mut named = DistinguishedName::new();
    named.push(DnType::CommonName, name);
    named
}

fn params(now: Timestamp, lifetime: Duration, entropy: &dyn Entropy) -> Result<CertificateParams, TlsError> {
    let too_long = || TlsError::Unissued(format!("a lifetime of {} s from {now} on is too long", lifetime.as_secs()));
    let since_epoch = u64::try_from(now.as_second()).map_err(|_| too_long())?;
    let until =
        since_epoch.checked_add(lifetime.as_secs()).filter(|until| *until < LAST_SECOND).ok_or_else(too_long)?;
    let at = |seconds| date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds);
    let mut params = CertificateParams::default();
    params.not_before = at(since_epoch.saturating_sub(BACKDATED.as_secs()));
    params.not_after = at(until);
    // Positive and of one length, whatever is drawn (RFC 5280, 4.1.2.2).
    let mut serial = [0; 16];
    entropy.fill(&mut serial);
    serial[0] = serial[0] & 0x3f | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(params)
}

/// The end of the year 9999: X.509 knows no later time.
const LAST_SECOND: u64 = 253_402_300_799;

fn fresh_key(entropy: &dyn Entropy) -> Result<KeyPair, TlsError> {
    let mut der = Zeroizing::new([0; 48]);
    der[..16].copy_from_slice(&PKCS8_ED25519);
    entropy.fill(&mut der[16..]);
    let der = PrivatePkcs8KeyDer::from(&der[..]);
    KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ED25519).map_err(unissued)
}
