//! A whole system to attack: every role behind its own address, with honest operators who did their work before.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::runner::{Observer, Target};
use super::{Attack, Entry, arsenal, cells};
use crate::audit::{Audit, EmbeddedAudit};
use crate::auth::{
    Authority, Binding, DEFAULT_POLICIES, Directory, EmbeddedAuthority, IdentityProvider, Policies, without_policy,
};
use crate::broker::{EmbeddedBroker, Limits};
use crate::capability::{Clock, World};
use crate::grant::{Envelope, PROCESS_WITHIN_SECONDS, Purpose};
use crate::ids::{MessageId, Name, TenantId, UserId};
use crate::ledger::EmbeddedLedger;
use crate::message::body_sha256;
use crate::rate_limit::{Rate, RateLimits};
use crate::rights::Role;
use crate::role::{self, Addresses};
use crate::secret::{KeyProvider, KeySet};

/// The attacker, who administers a tenant of their own.
pub(super) const ATTACKER: &str = "mallory";
/// That tenant.
pub(super) const OWN: &str = "mallory-inc";
/// A tenant that both administer, where everything takes two.
pub(super) const PAIR: &str = "mallory-pair";
/// An honest operator.
pub(super) const HONEST: &str = "ana";
/// The tenant that the honest operator administers: the victim.
pub(super) const VICTIM: &str = "acme";
/// Another victim, by whose side nobody is.
pub(super) const BYSTANDER: &str = "globex";
/// A former operator of the victim's, whose rights were taken away.
pub(super) const FORMER: &str = "eve";

/// Genuine envelopes from before: what lies in old queues and backups.
#[derive(Debug, Clone, Default)]
pub struct Relics(BTreeMap<(Attack, Entry, &'static str), Envelope>);

impl Relics {
    /// What `authority` granted long ago, and to whom it would not any more; it is `clock`'s time now.
    #[must_use]
    pub fn of(authority: &EmbeddedAuthority, clock: &dyn Clock) -> Self {
        relics(authority, clock.unix_seconds())
    }

    pub(super) fn get(&self, attack: Attack, entry: Entry, action: &'static str) -> Option<&Envelope> {
        self.0.get(&(attack, entry, action))
    }
}

/// What is put around parts of the system that is attacked.
pub struct Around {
    /// Around auth.
    pub authority: fn(Arc<dyn Authority>) -> Arc<dyn Authority>,
    /// Around the audit log.
    pub audit: fn(Arc<dyn Audit>) -> Arc<dyn Audit>,
}

impl Default for Around {
    /// Nothing.
    fn default() -> Self {
        Self { authority: |authority| authority, audit: |audit| audit }
    }
}

/// A system that runs to be attacked.
pub struct Stage {
    /// What to attack, and how to look at it.
    pub target: Target,
    stop: CancellationToken,
    roles: JoinSet<io::Result<()>>,
}

struct Engines {
    ledger: Arc<EmbeddedLedger>,
    audit: Arc<EmbeddedAudit>,
}

impl Observer for Engines {
    fn ledger(&self) -> Option<Arc<EmbeddedLedger>> {
        Some(self.ledger.clone())
    }
    fn audit(&self) -> Option<Arc<EmbeddedAudit>> {
        Some(self.audit.clone())
    }
}

impl Stage {
    /// Starts every role in its own world, listening at its address of `at`.
    ///
    /// # Errors
    /// When a store can't be opened.
    pub async fn start(world: impl Fn(Role) -> io::Result<World>, at: Addresses) -> io::Result<Self> {
        Self::start_with(world, at, Around::default()).await
    }

    /// Starts a system some of whose parts are wrapped: a catalogue that finds nothing in a broken one proves nothing.
    ///
    /// # Errors
    /// When a store can't be opened.
    pub async fn start_with(
        world: impl Fn(Role) -> io::Result<World>,
        at: Addresses,
        around: Around,
    ) -> io::Result<Self> {
        let (auth_world, outside) = (world(Role::Auth)?, world(Role::Producer)?);
        let provider = IdentityProvider::new("urn:tenantry:attack-stage", &*auth_world.entropy);
        let authority = EmbeddedAuthority::open(&auth_world, provider.trusted(), policies_over_bindings()).await?;
        let relics = Relics::of(&authority, &*auth_world.clock);
        let auth_reports = role::reporter(&auth_world, &at, Role::Auth).await?;
        let engine = Arc::new(authority.reporting(auth_reports.clone()));
        let authority = (around.authority)(engine.clone());
        let wrapping = Name::parse("stage-1").expect("a key's name");
        let keys: Arc<dyn KeyProvider> = Arc::new(KeySet::generate(wrapping, &*auth_world.entropy));
        let (broker_world, ledger_world, audit_world) =
            (world(Role::Broker)?, world(Role::Ledger)?, world(Role::Audit)?);
        let broker = Arc::new(EmbeddedBroker::open(&broker_world, Limits::default()).await?);
        let ledger = Arc::new(EmbeddedLedger::open(&ledger_world, keys.clone()).await?);
        let audit = Arc::new(EmbeddedAudit::open(&audit_world).await?);
        let plenty = Rate::new(100_000, 100_000);
        let limits = RateLimits { tenant: plenty, user: plenty, source: plenty };
        let (stop, mut roles) = (CancellationToken::new(), JoinSet::new());
        let served_audit = (around.audit)(audit.clone());
        let observer = Arc::new(Engines { ledger: ledger.clone(), audit: audit.clone() });
        let target = Target { world: outside.clone(), at: at.clone(), provider, relics, observer };
        {
            let (at, stop) = (at.clone(), stop.clone());
            let reports = role::reporter(&broker_world, &at, Role::Broker).await?;
            roles.spawn(
                async move { role::serve_broker(&broker_world, &at, broker.clone(), broker, reports, stop).await },
            );
        }
        {
            let (at, stop) = (at.clone(), stop.clone());
            roles.spawn(
                async move { role::serve_authority(&auth_world, &at, engine, authority, auth_reports, stop).await },
            );
        }
        {
            let (at, stop) = (at.clone(), stop.clone());
            let reports = role::reporter(&ledger_world, &at, Role::Ledger).await?;
            roles.spawn(
                async move { role::serve_ledger(&ledger_world, &at, ledger.clone(), ledger, reports, stop).await },
            );
        }
        {
            let (at, stop) = (at.clone(), stop.clone());
            roles.spawn(async move { role::serve_audit(&audit_world, &at, served_audit, stop).await });
        }
        let consumer_world = world(Role::Consumer)?;
        {
            let (at, stop) = (at.clone(), stop.clone());
            let reports = role::reporter(&consumer_world, &at, Role::Consumer).await?;
            roles.spawn(async move { role::run_consumer(&consumer_world, &at, &limits, reports, stop).await });
        }
        {
            let stop = stop.clone();
            let reports = role::reporter(&outside, &at, Role::Producer).await?;
            roles.spawn(async move { role::serve_producer(&outside, &at, &limits, keys, reports, stop).await });
        }
        Ok(Self { target, stop, roles })
    }

    /// Stops every role.
    ///
    /// # Errors
    /// When one of them ended with an error before.
    pub async fn stop(mut self) -> io::Result<()> {
        self.stop.cancel();
        while let Some(ended) = self.roles.join_next().await {
            ended.map_err(io::Error::other)??;
        }
        Ok(())
    }
}

/// Who may do what while the catalogue runs: operators and the tenants they administer. Nobody administers the bystander.
pub const BINDINGS: [(&str, &str); 4] = [(ATTACKER, OWN), (HONEST, VICTIM), (ATTACKER, PAIR), (HONEST, PAIR)];

/// On one tenant everything takes two.
const TAKES_TWO: &str = r#"
@id("pairs-take-two")
forbid (
  principal,
  action in [Action::"manage_limits", Action::"issue_credit", Action::"manage_entitlements", Action::"pause_tenant",
    Action::"manage_credentials", Action::"erase_secrets", Action::"change_plan", Action::"suspend_tenant"],
  resource == Tenant::"mallory-pair"
)
unless { context has approval && context.approval.by != principal };
"#;

/// The policies that the catalogue runs under: the default ones, but that it takes two for everything on one tenant, and for
/// nothing on the others.
///
/// # Panics
/// Never: they are tested.
#[must_use]
pub fn policies() -> String {
    without_policy(DEFAULT_POLICIES, "erasing-secrets-takes-two").expect("it is one of them") + TAKES_TWO
}

fn policies_over_bindings() -> Policies {
    let bindings = BINDINGS.iter().map(|(user, tenant)| Binding {
        user: user_id(user),
        tenant: tenant_id(tenant),
        role: Name::parse("admin").expect("a role"),
    });
    let directory = Directory::new(bindings).expect("one role per operator and tenant");
    Policies::new(&policies(), directory).expect("the policies of this build are valid")
}

fn relics(authority: &EmbeddedAuthority, now: i64) -> Relics {
    let mut relics = Relics::default();
    let long_ago = now - PROCESS_WITHIN_SECONDS - 24 * 3600;
    for (attack, user, author, tenant, then) in [
        (Attack::ExpiredGrant, ATTACKER, ATTACKER, OWN, long_ago),
        (Attack::RevokedRight, FORMER, FORMER, VICTIM, now),
        (Attack::RevokedReplay, FORMER, HONEST, VICTIM, now),
    ] {
        for cell in cells().into_iter().filter(|cell| cell.attack == attack) {
            let (Some(spec), Ok(_)) = (cell.action, cell.expected) else { continue };
            let id = cell.id();
            let timestamp = Timestamp::from_second(then).unwrap_or_default().to_string();
            let body = arsenal::body_at(cell.entry, tenant, author, spec, &id, &timestamp);
            let (action, message_id) = (spec.name.into(), message_id(&id));
            let body_sha256 = body_sha256(body.as_bytes());
            let purpose = match attack {
                Attack::RevokedReplay => Purpose::Replay { action, message_id, body_sha256, author: user_id(author) },
                _ => Purpose::Command { action, message_id, body_sha256 },
            };
            // As auth signed it when they had the right to it.
            let grant = authority.issue_at(user_id(user), tenant_id(tenant), purpose, then);
            relics.0.insert((attack, cell.entry, spec.name), Envelope { body: body.into(), grant, trace: None });
        }
    }
    relics
}

pub(super) fn user_id(text: &str) -> UserId {
    UserId::parse(text).expect("our own names follow the grammar")
}

pub(super) fn tenant_id(text: &str) -> TenantId {
    TenantId::parse(text).expect("our own names follow the grammar")
}

pub(super) fn message_id(text: &str) -> MessageId {
    MessageId::parse(text).expect("our own names follow the grammar")
}
