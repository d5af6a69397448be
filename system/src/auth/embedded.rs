//! The auth service of one machine: a directory, trusted issuers, and a signing key that outlives restarts.

use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use redb::{ReadableTable, TableDefinition, WriteTransaction};

use super::identity::Authenticator;
use super::{Authority, Decision, Denied, Directory, GrantRequest, TrustedIssuer};
use crate::action::{self, Permission};
use crate::audit::{Code, Reporter};
use crate::call::CallError;
use crate::capability::{Clock, World};
use crate::grant::{self, GrantToken, Purpose};
use crate::ids::{TenantId, UserId};
use crate::jws::{PrivateKey, PublicKeys};
use crate::store::{Machine, Store};

/// One row: the secret half of the key that signs grants.
const SIGNING_KEY: TableDefinition<(), [u8; 32]> = TableDefinition::new("signing_key");

/// The embedded auth service.
pub struct EmbeddedAuthority {
    key: PrivateKey,
    operators: Authenticator,
    directory: Directory,
    clock: Arc<dyn Clock>,
    reporter: Reporter,
}

impl EmbeddedAuthority {
    /// Opens the key store, making a key at the first start: grants that wait in the broker must verify after a restart.
    ///
    /// # Errors
    /// When the database can't be opened.
    pub async fn open(world: &World, issuer: TrustedIssuer, directory: Directory) -> io::Result<Self> {
        let fresh = PrivateKey::generate(&*world.entropy).seed();
        let load = move |within: &WriteTransaction| {
            let mut table = within.open_table(SIGNING_KEY)?;
            let kept = table.get(())?.map(|kept| kept.value());
            if kept.is_none() {
                table.insert((), fresh)?;
            }
            Ok(KeyStore { seed: kept.unwrap_or(fresh) })
        };
        let store = Store::open(world.disk.clone(), "auth.redb", load).await?;
        let key = PrivateKey::from_seed(&store.machine().seed);
        let (operators, clock) = (Authenticator::new(issuer), world.clock.clone());
        Ok(Self { key, operators, directory, clock, reporter: Reporter::none() })
    }

    /// Reports what it refuses to `reporter`.
    #[must_use]
    pub fn reporting(self, reporter: Reporter) -> Self {
        Self { reporter, ..self }
    }

    fn permission(purpose: &Purpose) -> Result<Permission, Denied> {
        match purpose {
            Purpose::Read => Ok(Permission::Read),
            Purpose::Pause => Ok(Permission::PauseTenant),
            Purpose::Command { action, .. } => action::find(action)
                .map(|spec| spec.permission)
                .ok_or_else(|| Denied::Forbidden(format!("nobody may do {action:?}: there is no such action"))),
        }
    }

    fn decide(&self, request: &GrantRequest) -> Result<GrantToken, (Code, Denied)> {
        let now = self.clock.unix_seconds();
        let authenticated = self.operators.authenticate(&request.token, now);
        let subject = authenticated.map_err(|denied| (Code::Unauthenticated, denied))?;
        if let Some(user) = request.user.as_ref().filter(|user| **user != subject) {
            let why = format!("the message says it is from {user}, the token is {subject}'s");
            return Err((Code::Impersonation, Denied::Forbidden(why)));
        }
        let foreign = self.directory.roles_of(&subject).all(|(tenant, _)| *tenant != request.tenant);
        let code = if foreign { Code::CrossTenant } else { Code::Forbidden };
        let permission = Self::permission(&request.purpose).map_err(|denied| (code, denied))?;
        let checked = self.directory.check(&subject, &request.tenant, permission);
        checked.map_err(|why| (code, Denied::Forbidden(why)))?;
        Ok(grant::issue(&self.key, subject, request.tenant.clone(), request.purpose.clone(), now))
    }
}

#[async_trait]
impl Authority for EmbeddedAuthority {
    async fn grant(&self, request: &GrantRequest) -> Result<Result<GrantToken, Denied>, CallError> {
        Ok(self.decide(request).map_err(|(code, denied)| {
            self.reporter.attempt(code, "grant", request.claimed(), &denied);
            denied
        }))
    }

    async fn recheck(&self, user: &UserId, tenant: &TenantId, permission: Permission) -> Result<Decision, CallError> {
        let revision = self.directory.revision();
        Ok(match self.directory.check(user, tenant, permission) {
            Ok(()) => Decision::Permit { revision },
            Err(reason) => Decision::Deny { revision, reason },
        })
    }

    async fn keys(&self) -> Result<PublicKeys, CallError> {
        Ok(self.key.public())
    }
}

/// Holds the key while the store is open; nothing is written after that.
struct KeyStore {
    seed: [u8; 32],
}

impl Machine for KeyStore {
    type Command = std::convert::Infallible;
    type Answer = std::convert::Infallible;

    fn execute(&self, _: &WriteTransaction, batch: Vec<Self::Command>) -> Result<Vec<Self::Answer>, redb::Error> {
        Ok(batch)
    }

    fn committed(&self, _: &[Self::Answer]) {}
}
