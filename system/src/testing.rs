//! What the stores' tests share: a world in a folder, and verified commands to put into it.

use std::sync::Arc;

use tempfile::TempDir;

use crate::auth::{Authority, Binding, Denied, Directory, EmbeddedAuthority, GrantRequest, IdentityProvider, Role};
use crate::capability::World;
use crate::grant::{Envelope, GrantToken, Purpose, VerifiedCommand, VerifiedRead, Verifier};
use crate::ids::{MessageId, TenantId, UserId};
use crate::message::body_sha256;

pub(crate) const OPERATOR: &str = "ana";

pub(crate) fn tenant(text: &str) -> TenantId {
    TenantId::parse(text).unwrap()
}

pub(crate) fn message_id(text: &str) -> MessageId {
    MessageId::parse(text).unwrap()
}

/// A message that gives `amount_minor` of credit.
pub(crate) fn credit(tenant: &str, id: &str, amount_minor: u64) -> String {
    format!(
        r#"{{"tenant_id":"{tenant}","user_id":"{OPERATOR}","action":"issue_credit","payload":{{"amount_minor":{amount_minor},"currency":"EUR"}},"message_id":"{id}","timestamp":"2026-01-01T00:00:00Z"}}"#
    )
}

/// Auth, with one operator who administers `acme` and `globex`, in a folder that is gone with it.
pub(crate) struct Bench {
    pub(crate) world: World,
    pub(crate) verifier: Verifier,
    pub(crate) authority: Arc<EmbeddedAuthority>,
    provider: IdentityProvider,
    _folder: TempDir,
}

impl Bench {
    pub(crate) async fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let world = World::real(folder.path()).unwrap();
        let provider = IdentityProvider::new("urn:test", &*world.entropy);
        let user = UserId::parse(OPERATOR).unwrap();
        let bindings =
            ["acme", "globex"].map(|name| Binding { user: user.clone(), tenant: tenant(name), role: Role::Admin });
        let directory = Directory::new(1, bindings).unwrap();
        let authority = Arc::new(EmbeddedAuthority::open(&world, provider.trusted(), directory).await.unwrap());
        let verifier = Verifier::new(authority.clone(), world.clock.clone());
        Self { world, verifier, authority, provider, _folder: folder }
    }

    pub(crate) async fn grant(&self, name: &str, purpose: Purpose) -> Result<GrantToken, Denied> {
        let user = UserId::parse(OPERATOR).unwrap();
        let token = self.provider.token(&user, self.world.clock.unix_seconds(), 60);
        let request = GrantRequest { token, user: Some(user), tenant: tenant(name), purpose };
        self.authority.grant(&request).await.unwrap()
    }

    /// A genuine grant for `body`, a credit of `name` under `id`.
    pub(crate) async fn envelope(&self, name: &str, id: &str, body: String) -> Envelope {
        let purpose = Purpose::Command {
            action: "issue_credit".into(),
            message_id: message_id(id),
            body_sha256: body_sha256(body.as_bytes()),
        };
        Envelope { grant: self.grant(name, purpose).await.unwrap(), body: body.into() }
    }

    pub(crate) async fn credit(&self, name: &str, id: &str, amount_minor: u64) -> VerifiedCommand {
        let envelope = self.envelope(name, id, credit(name, id, amount_minor)).await;
        self.verifier.command(envelope).await.unwrap()
    }

    pub(crate) async fn read(&self, name: &str) -> VerifiedRead {
        self.verifier.read(self.grant(name, Purpose::Read).await.unwrap()).await.unwrap()
    }
}
