//! The certificates of a simulated house: an authority, and what it issues to each host, all from the seed.
//!
//! They live for `LIFETIME` and are renewed every [`RENEWAL`], so that every encrypted run renews under its load and
//! its faults. A channel that is opened has at least the difference left, and two thirds of that until it retires: what is
//! under way then has longer than any call takes here.

use std::sync::Arc;
use std::time::Duration;

use tenantry_system::capability::{Clock, Entropy};
use tenantry_system::rights::Role;
use tenantry_system::tls::{CertificateAuthority, Credentials, Pem};

/// How long a host's certificate is valid, in virtual time.
const LIFETIME: Duration = Duration::from_secs(9);

/// How often it is renewed, in virtual time.
pub const RENEWAL: Duration = Duration::from_secs(2);

/// Outlives any run.
const AUTHORITY_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// An authority, and who trusts it.
pub struct Pki {
    authority: CertificateAuthority,
    ca: String,
    clock: Arc<dyn Clock>,
}

impl Pki {
    /// A new authority, by the time of `clock`.
    ///
    /// # Panics
    /// Never: what is asked for is what can be made.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, entropy: &dyn Entropy) -> Self {
        let made = CertificateAuthority::new(clock.now(), AUTHORITY_LIFETIME, entropy);
        let (authority, kept) = made.expect("an authority of a day");
        Self { authority, ca: kept.certificate, clock }
    }

    /// What `host` shows from now on, and whom it trusts.
    #[must_use]
    pub fn issue(&self, host: &str, entropy: &dyn Entropy) -> Credentials {
        self.issue_for(role_of(host), LIFETIME, entropy)
    }

    /// What someone certified as `role`, if any, shows for `lifetime` from now on, and whom they trust.
    ///
    /// # Panics
    /// Never: what is asked for is what can be made.
    #[must_use]
    pub fn issue_for(&self, role: Option<Role>, lifetime: Duration, entropy: &dyn Entropy) -> Credentials {
        let Some(role) = role else {
            return Credentials::of_operator(&self.ca, self.clock.clone()).expect("our own authority");
        };
        let issued = self.authority.issue(role, &[], self.clock.now(), lifetime, entropy).expect("a role of ours");
        let pem = Pem { ca: self.ca.clone(), certificate: issued.certificate, key: issued.key };
        Credentials::of_role(role, &pem, self.clock.clone()).expect("our own certificate")
    }
}

/// Whose certificate a host has. Operators have none; the adversary has stolen the producer's.
fn role_of(host: &str) -> Option<Role> {
    match host.split('-').next() {
        Some(super::adversary::HOST) => Some(Role::Producer),
        Some(role) => Role::parse(role),
        None => None,
    }
}
