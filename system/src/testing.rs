//! What the stores' tests share: a world in a folder, and verified commands to put into it.

use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use tempfile::TempDir;

use crate::auth::{
    Authority, Binding, Decision, Denied, Directory, EmbeddedAuthority, GrantRequest, IdentityProvider, Role,
};
use crate::broker::Position;
use crate::capability::{Disk, DiskFile, Job, RealDisk, World};
use crate::grant::{
    Envelope, GrantToken, Purpose, VerifiedCommand, VerifiedPause, VerifiedRead, VerifiedSeal, Verifier,
};
use crate::ids::{MessageId, Name, TenantId, UserId};
use crate::ledger::{Run, Work};
use crate::message::body_sha256;
use crate::secret::{KeyProvider, KeySet};

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

/// A message that does `action` with `payload`.
pub(crate) fn asking(tenant: &str, id: &str, action: &str, payload: &str) -> String {
    format!(
        r#"{{"tenant_id":"{tenant}","user_id":"{OPERATOR}","action":"{action}","payload":{payload},"message_id":"{id}","timestamp":"2026-01-01T00:00:00Z"}}"#
    )
}

/// Real files whose jobs run where they are asked for: no other thread, so that a test may pause tokio's time.
struct Inline(RealDisk);

#[async_trait]
impl Disk for Inline {
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        self.0.open(name)
    }

    async fn run(&self, job: Job) -> io::Result<()> {
        job();
        Ok(())
    }
}

/// Auth, with one operator who administers `acme` and `globex`, in a folder that is gone with it.
pub(crate) struct Bench {
    pub(crate) world: World,
    pub(crate) verifier: Verifier,
    pub(crate) authority: Arc<EmbeddedAuthority>,
    provider: IdentityProvider,
    keys: KeySet,
    folder: TempDir,
}

impl Bench {
    pub(crate) async fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let disk = Arc::new(Inline(RealDisk::open(folder.path()).unwrap()));
        let world = World { disk, ..World::real(folder.path()).unwrap() };
        let provider = IdentityProvider::new("urn:test", &*world.entropy);
        let user = UserId::parse(OPERATOR).unwrap();
        let bindings =
            ["acme", "globex"].map(|name| Binding { user: user.clone(), tenant: tenant(name), role: Role::Admin });
        let directory = Directory::new(1, bindings).unwrap();
        let authority = Arc::new(EmbeddedAuthority::open(&world, provider.trusted(), directory).await.unwrap());
        let verifier = Verifier::new(authority.clone(), world.clock.clone());
        let keys = KeySet::generate(Name::parse("test-1").unwrap(), &*world.entropy);
        Self { world, verifier, authority, provider, keys, folder }
    }

    /// The provider of the keys that wrap data keys.
    pub(crate) fn keys(&self) -> Arc<dyn KeyProvider> {
        Arc::new(self.keys.clone())
    }

    pub(crate) fn key_set(&self) -> &KeySet {
        &self.keys
    }

    /// The right to the data keys of `name`, for the command `id`.
    pub(crate) async fn seal(&self, name: &str, id: &str) -> VerifiedSeal {
        let purpose = Purpose::Seal { action: "store_credential".into(), message_id: message_id(id) };
        self.verifier.seal(self.grant(name, purpose).await.unwrap()).await.unwrap()
    }

    /// Where its stores lie.
    pub(crate) fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// The operator's token.
    pub(crate) fn token(&self) -> String {
        self.provider.token(&UserId::parse(OPERATOR).unwrap(), self.world.clock.unix_seconds(), 60)
    }

    pub(crate) async fn grant(&self, name: &str, purpose: Purpose) -> Result<GrantToken, Denied> {
        let user = UserId::parse(OPERATOR).unwrap();
        let request = GrantRequest { token: self.token(), user: Some(user), tenant: tenant(name), purpose };
        self.authority.grant(&request).await.unwrap()
    }

    /// A genuine grant for `body`, a credit of `name` under `id`.
    pub(crate) async fn envelope(&self, name: &str, id: &str, body: String) -> Envelope {
        self.granted(name, id, "issue_credit", body).await
    }

    /// A verified command.
    pub(crate) async fn command(&self, name: &str, id: &str, action: &str, body: String) -> VerifiedCommand {
        self.verifier.command(self.granted(name, id, action, body).await).await.unwrap()
    }

    async fn granted(&self, name: &str, id: &str, action: &str, body: String) -> Envelope {
        let purpose = Purpose::Command {
            action: action.into(),
            message_id: message_id(id),
            body_sha256: body_sha256(body.as_bytes()),
        };
        Envelope { grant: self.grant(name, purpose).await.unwrap(), body: body.into() }
    }

    pub(crate) async fn credit(&self, name: &str, id: &str, amount_minor: u64) -> VerifiedCommand {
        let envelope = self.envelope(name, id, credit(name, id, amount_minor)).await;
        self.verifier.command(envelope).await.unwrap()
    }

    /// A run of one command at place `sequence`, which auth permits.
    pub(crate) async fn run(&self, name: &str, id: &str, amount_minor: u64, sequence: u64) -> Run {
        let work = Work {
            command: self.credit(name, id, amount_minor).await,
            decision: Decision::Permit { revision: 7 },
            position: Position { epoch: 1, sequence },
        };
        Run::new(vec![work]).unwrap()
    }

    pub(crate) async fn pause(&self, name: &str) -> VerifiedPause {
        self.verifier.pause(self.grant(name, Purpose::Pause).await.unwrap()).await.unwrap()
    }

    pub(crate) async fn read(&self, name: &str) -> VerifiedRead {
        self.verifier.read(self.grant(name, Purpose::Read).await.unwrap()).await.unwrap()
    }
}
