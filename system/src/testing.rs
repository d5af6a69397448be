//! What the stores' tests share: a world in a folder, and verified commands to put into it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::action::Permission;
use crate::auth::{
    Authority, Binding, DEFAULT_POLICIES, Decision, Denied, Directory, EmbeddedAuthority, GrantRequest,
    IdentityProvider, Policies, Role, TrustedIssuer, Verdict, without_policy,
};
use crate::broker::Position;
use crate::capability::{Clock, Disk, DiskFile, Job, RealDisk, SystemClock, World};
use crate::grant::{
    Envelope, GrantToken, Purpose, VerifiedCommand, VerifiedPause, VerifiedRead, VerifiedSeal, Verifier,
};
use crate::ids::{MessageId, Name, TenantId, UserId};
use crate::ledger::{EmbeddedLedger, Run, Work};
use crate::message::body_sha256;
use crate::secret::{KeyProvider, KeySet};

pub(crate) const OPERATOR: &str = "ana";

/// Writes a file past every `Disk`, as a crash or a stranger may leave it.
#[expect(clippy::disallowed_methods, reason = "what a test leaves there is nobody's")]
pub(crate) fn write_file(path: &std::path::Path, content: impl AsRef<[u8]>) {
    std::fs::write(path, content).unwrap();
}

pub(crate) fn tenant(text: &str) -> TenantId {
    TenantId::parse(text).unwrap()
}

pub(crate) fn message_id(text: &str) -> MessageId {
    MessageId::parse(text).unwrap()
}

/// The default policies, but that one person may do everything: most tests are about something else.
pub(crate) fn alone(directory: Directory) -> Policies {
    Policies::new(&without_policy(DEFAULT_POLICIES, "erasing-secrets-takes-two").unwrap(), directory).unwrap()
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

/// The system's clock, but that a test may put it forward.
#[derive(Default)]
pub(crate) struct Forward(AtomicI64);

impl Forward {
    pub(crate) fn by(&self, seconds: i64) {
        self.0.fetch_add(seconds, Ordering::Relaxed);
    }
}

impl Clock for Forward {
    fn now(&self) -> Timestamp {
        SystemClock.now() + SignedDuration::from_secs(self.0.load(Ordering::Relaxed))
    }
}

/// Auth, with one operator who administers `acme` and `globex`, in a folder that is gone with it.
pub(crate) struct Bench {
    pub(crate) world: World,
    pub(crate) clock: Arc<Forward>,
    pub(crate) verifier: Verifier,
    pub(crate) authority: Arc<EmbeddedAuthority>,
    provider: IdentityProvider,
    keys: KeySet,
    folder: TempDir,
}

impl Bench {
    pub(crate) async fn new() -> Self {
        Self::with_tenants(&["acme", "globex"]).await
    }

    /// The same, for an administrator of `tenants`.
    pub(crate) async fn with_tenants(tenants: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        let disk = Arc::new(Inline(RealDisk::open(folder.path()).unwrap()));
        let clock = Arc::new(Forward::default());
        let world = World { disk, clock: clock.clone(), ..World::real(folder.path()).unwrap() };
        let provider = IdentityProvider::new("urn:test", &*world.entropy);
        let user = UserId::parse(OPERATOR).unwrap();
        let bindings = tenants.iter().map(|name| Binding {
            user: user.clone(),
            tenant: tenant(name),
            role: Role::parse("admin").unwrap(),
        });
        let policies = alone(Directory::new(bindings).unwrap());
        let authority = Arc::new(EmbeddedAuthority::open(&world, provider.trusted(), policies).await.unwrap());
        let verifier = Verifier::new(authority.clone(), world.clock.clone());
        let keys = KeySet::generate(Name::parse("test-1").unwrap(), &*world.entropy);
        Self { world, clock, verifier, authority, provider, keys, folder }
    }

    /// The same once auth has ended and begun again, by `policies`. Nobody else may hold it.
    pub(crate) async fn restarted(self, policies: Policies) -> Self {
        let Self { world, clock, verifier, authority, provider, keys, folder } = self;
        drop((verifier, authority));
        // The committer ends with auth, and lets go of the file once it is polled.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        let authority = Arc::new(EmbeddedAuthority::open(&world, provider.trusted(), policies).await.unwrap());
        let verifier = Verifier::new(authority.clone(), world.clock.clone());
        Self { world, clock, verifier, authority, provider, keys, folder }
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

    /// A token of `name`.
    pub(crate) fn token(&self, name: &str) -> String {
        self.provider.token(&UserId::parse(name).unwrap(), self.world.clock.unix_seconds(), 60)
    }

    /// A ledger that has just heard from auth.
    pub(crate) async fn ledger(&self) -> Arc<EmbeddedLedger> {
        let ledger = EmbeddedLedger::open(&self.world, self.keys()).await.unwrap();
        ledger.learn(self.authority.in_force_now(), Instant::now());
        Arc::new(ledger)
    }

    /// What auth says to the operator's asking for `permission` on `name`, if it says `verdict`.
    pub(crate) fn decision(&self, name: &str, permission: Permission, verdict: Verdict) -> Decision {
        let standing = self.authority.in_force_now();
        let user = UserId::parse(OPERATOR).unwrap();
        standing.key.decide(&user, &tenant(name), permission, verdict, standing.revision)
    }

    /// That they may.
    pub(crate) fn permit(&self, name: &str, permission: Permission) -> Decision {
        self.decision(name, permission, Verdict::Permit { policies: Vec::new() })
    }

    /// That they may not give it credit.
    pub(crate) fn deny(&self, name: &str, reason: &str) -> Decision {
        self.decision(name, Permission::IssueCredit, Verdict::Deny { reason: reason.into() })
    }

    /// The world without the auth that was in it.
    pub(crate) fn stopped(self) -> (World, TrustedIssuer, TempDir) {
        (self.world, self.provider.trusted(), self.folder)
    }

    /// Where its stores lie.
    pub(crate) fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    pub(crate) async fn grant(&self, name: &str, purpose: Purpose) -> Result<GrantToken, Denied> {
        let user = UserId::parse(OPERATOR).unwrap();
        let request = GrantRequest { token: self.token(OPERATOR), user: Some(user), tenant: tenant(name), purpose };
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
        Envelope { grant: self.grant(name, purpose).await.unwrap(), body: body.into(), trace: None }
    }

    pub(crate) async fn credit(&self, name: &str, id: &str, amount_minor: u64) -> VerifiedCommand {
        let envelope = self.envelope(name, id, credit(name, id, amount_minor)).await;
        self.verifier.command(envelope).await.unwrap()
    }

    /// A run of one command at place `sequence`, which auth permits.
    pub(crate) async fn run(&self, name: &str, id: &str, amount_minor: u64, sequence: u64) -> Run {
        let work = Work {
            command: self.credit(name, id, amount_minor).await,
            decision: self.permit(name, Permission::IssueCredit),
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
