//! The grant: how a consumer trusts a tenant and a user that it merely reads.
//!
//! The auth service signs a token for one command: subject, tenant, action, message id and the SHA-256 of the body.
//! Whoever holds the message can check it without trusting the broker in between. It may wait long, for a queue outlives an
//! ordinary token's minutes: that is why auth is asked again at the effect. A second kind allows reading one tenant for a
//! moment.
//!
//! A dead letter that is replayed has a grant of another person than its author: its subject is whoever replays it, and it
//! is their authority that counts from there on, at the effect too. The author stands in the body, which nobody changes, and
//! in the grant, so that it is for this letter alone.
//!
//! A [`TenantScope`] - the right to touch one tenant's data - is made here and nowhere else.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::audit::Code;
use crate::auth::Authority;
use crate::call::CallError;
use crate::capability::Clock;
use crate::ids::{MessageId, TenantId, UserId};
use crate::jws::{JwsError, Keyring, PrivateKey};
use crate::message::{BodyHash, Message, Refusal};
use crate::monitor::TraceContext;

/// A granted command must be published within this many seconds: the producer publishes at once, and asks for another
/// grant at every retry of the operator's.
pub const PUBLISH_WITHIN_SECONDS: i64 = 60;

/// A granted command must take effect within this many seconds, waiting in the queue included: a week.
pub const PROCESS_WITHIN_SECONDS: i64 = 7 * 24 * 3600;

/// A grant to read or to pause lives this many seconds: a long poll and its retries.
pub const READ_WITHIN_SECONDS: i64 = 120;

/// How far apart two honest clocks may be, in seconds.
pub const CLOCK_LEEWAY_SECONDS: i64 = 30;

const ISSUER: &str = "tenantry-auth";
const TYPE: &str = "tenantry-grant+jwt";

/// An unknown key makes a verifier ask auth for its keys, but not more often than this: a forger must not make it a
/// hammer.
const KEYS_REFRESH_MIN: Duration = Duration::from_millis(200);

/// A verifier that works asks for the keys this often: a new one is known before it signs, a withdrawn one is not known for
/// long. While auth can't be reached it goes on with those it has.
pub const KEYS_STALE_MAX: Duration = Duration::from_secs(5);

/// A signed grant, as text.
pub type GrantToken = Arc<str>;

/// What a grant is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// This one command.
    Command {
        /// The action's name.
        action: String,
        /// The command's identifier.
        message_id: MessageId,
        /// SHA-256 of the command's body.
        #[serde(with = "hex_hash")]
        body_sha256: BodyHash,
    },
    /// This one command of someone else's, which was put aside: whose grant this is answers for it.
    Replay {
        /// The action's name.
        action: String,
        /// The command's identifier.
        message_id: MessageId,
        /// SHA-256 of the command's body.
        #[serde(with = "hex_hash")]
        body_sha256: BodyHash,
        /// Whom the message says it is from.
        author: UserId,
    },
    /// Giving up this one dead letter for good.
    Discard {
        /// Its identifier.
        message_id: MessageId,
        /// SHA-256 of its body.
        #[serde(with = "hex_hash")]
        body_sha256: BodyHash,
    },
    /// Reading the tenant.
    Read,
    /// Pausing the tenant, or resuming it.
    Pause,
    /// Sealing the secret of this one command, before the command itself can be granted: having its tenant's data keys.
    Seal {
        /// The action's name.
        action: String,
        /// The command's identifier.
        message_id: MessageId,
    },
    /// Seeing what this one command would change, its secret left out of it.
    DryRun {
        /// The action's name.
        action: String,
        /// The command's identifier.
        message_id: MessageId,
        /// SHA-256 of the command's body without its secret.
        #[serde(with = "hex_hash")]
        body_sha256: BodyHash,
    },
}

/// What a grant rests on, for whoever is told so.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Basis {
    /// The policies that permit it; said of dry runs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<String>,
    /// The second person who approved the command, where it takes one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approved_by: Option<UserId>,
    /// Whether the command itself would wait for a second person's approval; said of dry runs and seals.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub awaits_approval: bool,
}

impl Basis {
    fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

impl Purpose {
    /// Exactly the command `message`.
    #[must_use]
    pub fn command(message: &Message) -> Self {
        let (action, message_id) = (message.action.name().into(), message.message_id.clone());
        Self::Command { action, message_id, body_sha256: message.body_sha256() }
    }

    /// Seeing what exactly `message` would change.
    #[must_use]
    pub fn dry_run(message: &Message) -> Self {
        let (action, message_id) = (message.action.name().into(), message.message_id.clone());
        Self::DryRun { action, message_id, body_sha256: message.body_sha256() }
    }

    /// Who may rely on a grant for this (RFC 7519, `aud`).
    fn audience(&self) -> &'static str {
        match self {
            Self::Command { .. } | Self::Replay { .. } => "tenantry-effects",
            Self::Discard { .. } => "tenantry-discards",
            Self::Read => "tenantry-reads",
            Self::Pause => "tenantry-pauses",
            Self::Seal { .. } => "tenantry-seals",
            Self::DryRun { .. } => "tenantry-dry-runs",
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Claims {
    iss: String,
    aud: String,
    sub: UserId,
    tenant: TenantId,
    purpose: Purpose,
    #[serde(default, skip_serializing_if = "Basis::is_none")]
    basis: Basis,
    iat: i64,
    publish_by: i64,
    process_by: i64,
}

/// Signs a grant. Only the auth service calls this: only it holds the key.
pub(crate) fn issue(
    key: &PrivateKey,
    subject: UserId,
    tenant: TenantId,
    purpose: Purpose,
    basis: Basis,
    now_seconds: i64,
) -> GrantToken {
    let within = match purpose {
        Purpose::Command { .. } | Purpose::Replay { .. } => PROCESS_WITHIN_SECONDS,
        Purpose::Read | Purpose::Pause | Purpose::Seal { .. } | Purpose::Discard { .. } | Purpose::DryRun { .. } => {
            READ_WITHIN_SECONDS
        }
    };
    let claims = Claims {
        iss: ISSUER.into(),
        aud: purpose.audience().into(),
        sub: subject,
        tenant,
        purpose,
        basis,
        iat: now_seconds,
        publish_by: now_seconds + PUBLISH_WITHIN_SECONDS,
        process_by: now_seconds + within,
    };
    key.sign(TYPE, &claims).into()
}

/// What crosses the broker: the body's untouched bytes, and beside them the grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// The message, as the operator sent it.
    pub body: Bytes,
    /// What allows it.
    pub grant: GrantToken,
    /// Its trace: a hint for whoever looks for it later, that no grant covers and nothing is decided by.
    pub trace: Option<TraceContext>,
}

/// The right to touch one tenant's data: proof that a grant was verified. It is handed on, but made nowhere else:
///
/// ```
/// use tenantry_system::grant::{TenantScope, VerifiedRead};
/// fn scope(read: &VerifiedRead) -> TenantScope {
///     read.scope().clone()
/// }
/// ```
///
/// ```compile_fail,E0451
/// use tenantry_system::{grant::TenantScope, ids::TenantId};
/// fn scope(tenant: TenantId) -> TenantScope {
///     TenantScope { tenant }
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantScope {
    tenant: TenantId,
}

impl TenantScope {
    /// The one tenant.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }
}

/// A command whose grant was verified: message, scope and the bytes that prove it to the next service. Only a [`Verifier`]
/// makes one:
///
/// ```
/// use tenantry_system::grant::{Envelope, VerifiedCommand, Verifier, VerifyError};
/// async fn command(envelope: Envelope, verifier: &Verifier) -> Result<VerifiedCommand, VerifyError> {
///     verifier.command(envelope).await
/// }
/// ```
///
/// ```compile_fail,E0451
/// use tenantry_system::grant::{Envelope, TenantScope, VerifiedCommand};
/// use tenantry_system::message::Message;
/// fn command(scope: TenantScope, message: Message, envelope: Envelope) -> VerifiedCommand {
///     VerifiedCommand { scope, message, envelope }
/// }
/// ```
#[derive(Debug, Clone)]
pub struct VerifiedCommand {
    scope: TenantScope,
    message: Message,
    envelope: Envelope,
    publish_by: i64,
    replayed_by: Option<UserId>,
}

impl VerifiedCommand {
    /// Whose authority it takes effect by: its author's, or that of whoever has replayed it.
    #[must_use]
    pub fn actor(&self) -> &UserId {
        self.replayed_by.as_ref().unwrap_or(&self.message.user_id)
    }

    /// Who has replayed it, if it was a dead letter.
    #[must_use]
    pub fn replayed_by(&self) -> Option<&UserId> {
        self.replayed_by.as_ref()
    }

    /// Until when it had to be published, in seconds since the Unix epoch: who took it from a broker compares that with
    /// the broker's word, for a body and its grant that lay in someone's drawer are no command.
    #[must_use]
    pub fn publish_by(&self) -> i64 {
        self.publish_by
    }

    /// The tenant it may touch.
    #[must_use]
    pub fn scope(&self) -> &TenantScope {
        &self.scope
    }

    /// The command.
    #[must_use]
    pub fn message(&self) -> &Message {
        &self.message
    }

    /// What another service verifies for itself.
    #[must_use]
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }
}

/// A verified right to read one tenant.
#[derive(Debug, Clone)]
pub struct VerifiedRead {
    scope: TenantScope,
    user: UserId,
    grant: GrantToken,
}

impl VerifiedRead {
    /// Who may.
    #[must_use]
    pub fn user(&self) -> &UserId {
        &self.user
    }

    /// The tenant it may read.
    #[must_use]
    pub fn scope(&self) -> &TenantScope {
        &self.scope
    }

    /// What another service verifies for itself.
    #[must_use]
    pub fn grant(&self) -> &GrantToken {
        &self.grant
    }
}

/// A verified right to pause one tenant, or to resume it.
#[derive(Debug, Clone)]
pub struct VerifiedPause {
    scope: TenantScope,
    user: UserId,
    grant: GrantToken,
}

impl VerifiedPause {
    /// Who may.
    #[must_use]
    pub fn user(&self) -> &UserId {
        &self.user
    }

    /// The tenant it may pause.
    #[must_use]
    pub fn scope(&self) -> &TenantScope {
        &self.scope
    }

    /// What another service verifies for itself.
    #[must_use]
    pub fn grant(&self) -> &GrantToken {
        &self.grant
    }
}

/// A verified right to one tenant's data keys, to seal or to open a secret of theirs.
#[derive(Debug, Clone)]
pub struct VerifiedSeal {
    scope: TenantScope,
    grant: GrantToken,
}

impl VerifiedSeal {
    /// The tenant whose keys it may have.
    #[must_use]
    pub fn scope(&self) -> &TenantScope {
        &self.scope
    }

    /// What another service verifies for itself.
    #[must_use]
    pub fn grant(&self) -> &GrantToken {
        &self.grant
    }
}

/// A verified right to give up one dead letter.
#[derive(Debug, Clone)]
pub struct VerifiedDiscard {
    scope: TenantScope,
    user: UserId,
    message_id: MessageId,
    body_sha256: BodyHash,
}

impl VerifiedDiscard {
    /// Who may.
    #[must_use]
    pub fn user(&self) -> &UserId {
        &self.user
    }

    /// The tenant whose letter it is.
    #[must_use]
    pub fn scope(&self) -> &TenantScope {
        &self.scope
    }

    /// Which letter.
    #[must_use]
    pub fn message_id(&self) -> &MessageId {
        &self.message_id
    }

    /// SHA-256 of its body.
    #[must_use]
    pub fn body_sha256(&self) -> BodyHash {
        self.body_sha256
    }
}

/// A verified right to see what one command would change: its message, any secret left out, and the scope to look in.
#[derive(Debug, Clone)]
pub struct VerifiedDryRun {
    scope: TenantScope,
    message: Message,
    grant: GrantToken,
    basis: Basis,
}

impl VerifiedDryRun {
    /// The tenant it may look at.
    #[must_use]
    pub fn scope(&self) -> &TenantScope {
        &self.scope
    }

    /// The command, without its secret.
    #[must_use]
    pub fn message(&self) -> &Message {
        &self.message
    }

    /// What another service verifies for itself, beside the message's body.
    #[must_use]
    pub fn grant(&self) -> &GrantToken {
        &self.grant
    }

    /// What permits the command now, and whether it would wait for an approval.
    #[must_use]
    pub fn basis(&self) -> &Basis {
        &self.basis
    }
}

/// Why something is not verified.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The body is no message.
    #[error("the message is refused: {0}")]
    Message(#[from] Refusal),
    /// The grant is not to be believed.
    #[error("the grant is refused: {0}")]
    Token(#[from] JwsError),
    /// The grant is genuine, but not for this.
    #[error("the grant is refused: {1}")]
    Mismatch(Code, String),
    /// The grant is genuine, and its time has not come by our clock.
    #[error("the grant is from {0} s in the future: this service's clock, or auth's, is wrong")]
    NotYet(i64),
    /// The keys could not be had: nothing is known yet, try again.
    #[error("the grant can't be checked now: {0}")]
    Unavailable(#[from] CallError),
}

impl VerifyError {
    /// Whether trying again may end otherwise.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::NotYet(_))
    }

    /// What kind of attempt it is; none where nothing is known yet.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Message(refusal) => Some(Code::of_body(refusal)),
            Self::Token(JwsError::WrongKind(_, right)) if right != "EdDSA" => Some(Code::WrongAudience),
            Self::Token(_) => Some(Code::ForgedGrant),
            Self::Mismatch(code, _) => Some(*code),
            Self::NotYet(_) | Self::Unavailable(_) => None,
        }
    }
}

/// Verifies grants with the auth service's public keys, which it keeps.
pub struct Verifier {
    authority: Arc<dyn Authority>,
    clock: Arc<dyn Clock>,
    ring: Mutex<Keyring>,
    /// When auth was last asked for the keys in `ring`. Held while asking, so that many who wait share one question.
    asked: tokio::sync::Mutex<Option<Instant>>,
}

impl Verifier {
    /// A verifier that trusts the keys of `authority`.
    #[must_use]
    pub fn new(authority: Arc<dyn Authority>, clock: Arc<dyn Clock>) -> Self {
        Self { authority, clock, ring: Mutex::default(), asked: tokio::sync::Mutex::default() }
    }

    /// Checks that `envelope` is a message and that its grant is for exactly this message.
    pub async fn command(&self, envelope: Envelope) -> Result<VerifiedCommand, VerifyError> {
        let message = Message::parse(envelope.body.clone())?;
        let claims = self.claims(&envelope.grant).await?;
        let (action, body_sha256) = (message.action.name().into(), message.body_sha256());
        let (message_id, author) = (message.message_id.clone(), message.user_id.clone());
        // In whose name the message is to be: the grant's own, or whose it was when it was put aside.
        let (in_name_of, replayed_by, granted) = match &claims.purpose {
            Purpose::Replay { author: of, .. } => {
                let granted = Purpose::Replay { action, message_id, body_sha256, author };
                (of, Some(claims.sub.clone()), granted)
            }
            _ => (&claims.sub, None, Purpose::Command { action, message_id, body_sha256 }),
        };
        Self::fits(&claims, &message, in_name_of, &granted)?;
        let (scope, publish_by) = (TenantScope { tenant: claims.tenant }, claims.publish_by);
        Ok(VerifiedCommand { scope, message, envelope, publish_by, replayed_by })
    }

    /// Checks that `grant` allows to see what the message `body`, its secret left out, would change.
    pub async fn dry_run(&self, body: Bytes, grant: GrantToken) -> Result<VerifiedDryRun, VerifyError> {
        let message = Message::parse_withheld(body)?;
        let claims = self.claims(&grant).await?;
        Self::fits(&claims, &message, &claims.sub, &Purpose::dry_run(&message))?;
        let (scope, basis) = (TenantScope { tenant: claims.tenant }, claims.basis);
        Ok(VerifiedDryRun { scope, message, grant, basis })
    }

    /// Whether `claims` are for `message`, in the name of `in_name_of`, and for exactly what would have to be `granted`.
    fn fits(claims: &Claims, message: &Message, in_name_of: &UserId, granted: &Purpose) -> Result<(), VerifyError> {
        let mismatch = |code, what: String| Err(VerifyError::Mismatch(code, what));
        if claims.tenant != message.tenant_id {
            return mismatch(
                Code::CrossTenant,
                format!("it is for tenant {}, the message for {}", claims.tenant, message.tenant_id),
            );
        }
        if *in_name_of != message.user_id {
            return mismatch(
                Code::Impersonation,
                format!("it is for user {in_name_of}, the message from {}", message.user_id),
            );
        }
        if claims.purpose != *granted {
            let code = match &claims.purpose {
                given if given.audience() != granted.audience() => Code::WrongAudience,
                Purpose::Command { message_id, .. }
                | Purpose::Replay { message_id, .. }
                | Purpose::DryRun { message_id, .. }
                    if *message_id != message.message_id =>
                {
                    Code::ReplayedGrant
                }
                _ => Code::SwappedBody,
            };
            return mismatch(code, "it is for another command or another body".into());
        }
        Ok(())
    }

    /// Checks that `grant` allows reading a tenant.
    pub async fn read(&self, grant: GrantToken) -> Result<VerifiedRead, VerifyError> {
        let claims = self.claims(&grant).await?;
        if claims.purpose != Purpose::Read {
            return Err(VerifyError::Mismatch(Code::WrongAudience, "it is for a command, not for reading".into()));
        }
        Ok(VerifiedRead { scope: TenantScope { tenant: claims.tenant }, user: claims.sub, grant })
    }

    /// Checks that `grant` allows pausing a tenant.
    pub async fn pause(&self, grant: GrantToken) -> Result<VerifiedPause, VerifyError> {
        let claims = self.claims(&grant).await?;
        if claims.purpose != Purpose::Pause {
            return Err(VerifyError::Mismatch(Code::WrongAudience, "it is not for pausing".into()));
        }
        Ok(VerifiedPause { scope: TenantScope { tenant: claims.tenant }, user: claims.sub, grant })
    }

    /// Checks that `grant` allows sealing for a tenant.
    pub async fn seal(&self, grant: GrantToken) -> Result<VerifiedSeal, VerifyError> {
        let claims = self.claims(&grant).await?;
        match claims.purpose {
            Purpose::Seal { .. } => Ok(VerifiedSeal { scope: TenantScope { tenant: claims.tenant }, grant }),
            _ => Err(VerifyError::Mismatch(Code::WrongAudience, "it is not for sealing".into())),
        }
    }

    /// Checks that `grant` allows giving up a dead letter.
    pub async fn discard(&self, grant: GrantToken) -> Result<VerifiedDiscard, VerifyError> {
        let claims = self.claims(&grant).await?;
        let (scope, user) = (TenantScope { tenant: claims.tenant }, claims.sub);
        match claims.purpose {
            Purpose::Discard { message_id, body_sha256 } => {
                Ok(VerifiedDiscard { scope, user, message_id, body_sha256 })
            }
            _ => Err(VerifyError::Mismatch(Code::WrongAudience, "it is not for discarding".into())),
        }
    }

    async fn claims(&self, grant: &str) -> Result<Claims, VerifyError> {
        self.keep_fresh().await;
        let claims: Claims = match self.verify(grant) {
            Err(JwsError::UnknownKey(kid)) => {
                self.refresh(&kid).await?;
                self.verify(grant)?
            }
            verified => verified?,
        };
        let now = self.clock.unix_seconds();
        let mismatch = |code, what: String| Err(VerifyError::Mismatch(code, what));
        let audience = claims.purpose.audience();
        if claims.iss != ISSUER || claims.aud != audience {
            let what = format!("it is from {} for {}, not for {audience}", claims.iss, claims.aud);
            return mismatch(Code::WrongAudience, what);
        }
        if now > claims.process_by.saturating_add(CLOCK_LEEWAY_SECONDS) {
            let late = now.saturating_sub(claims.process_by);
            return mismatch(Code::ExpiredGrant, format!("it expired {late} s ago"));
        }
        if now < claims.iat.saturating_sub(CLOCK_LEEWAY_SECONDS) {
            // It is our clock or auth's, and waiting cures it: no honest command may die of it.
            return Err(VerifyError::NotYet(claims.iat.saturating_sub(now)));
        }
        Ok(claims)
    }

    fn verify(&self, grant: &str) -> Result<Claims, JwsError> {
        self.ring.lock().expect("no holder panics").verify(grant, TYPE)
    }

    /// Asks auth for its keys, for a token of the unknown key `kid`. Only an answer to a question that was put after this
    /// began can say that there is no such key: until then it may just be new.
    async fn refresh(&self, kid: &str) -> Result<(), VerifyError> {
        let wanted = Instant::now();
        let mut asked = self.asked.lock().await;
        let known = self.ring.lock().expect("no holder panics").knows(kid);
        if known || asked.is_some_and(|asked| asked > wanted) {
            return Ok(());
        }
        let now = Instant::now();
        if asked.is_some_and(|asked| now < asked + KEYS_REFRESH_MIN) {
            let why = format!("key {kid:?} is not known, and auth was asked for its keys a moment ago");
            return Err(CallError::Failed(why).into());
        }
        self.ask(&mut asked, now).await?;
        Ok(())
    }

    /// Asks auth for its keys if those in the ring are old, and nobody else is asking.
    async fn keep_fresh(&self) {
        let now = Instant::now();
        let Ok(mut asked) = self.asked.try_lock() else { return };
        if asked.is_some_and(|asked| now >= asked + KEYS_STALE_MAX)
            && let Err(error) = self.ask(&mut asked, now).await
        {
            tracing::warn!(%error, "failed to refresh the keys for grants; those known go on to be used");
            // Not at every grant: auth is down. From before this began, lest it pass for an answer to whoever waits here.
            *asked = asked.map(|asked| asked.max(now - KEYS_STALE_MAX + KEYS_REFRESH_MIN));
        }
    }

    async fn ask(&self, asked: &mut Option<Instant>, now: Instant) -> Result<(), CallError> {
        let keys = self.authority.keys().await?;
        *self.ring.lock().expect("no holder panics") = Keyring::from(&keys);
        *asked = Some(now);
        Ok(())
    }
}

mod hex_hash {
    //! A hash as text, as people compare them.
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(hash: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(hash))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
        let mut hash = [0; 32];
        let text = String::deserialize(deserializer)?;
        hex::decode_to_slice(text, &mut hash).map_err(D::Error::custom)?;
        Ok(hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bench, credit};

    /// What the verifier says of `body` beside a genuine grant for ten EUR to `acme` under `m-1`.
    async fn refusal(bench: &Bench, body: String) -> String {
        let genuine = bench.envelope("acme", "m-1", credit("acme", "m-1", 10)).await;
        let swapped = Envelope { body: body.into(), ..genuine };
        bench.verifier.command(swapped).await.expect_err("a swapped body").to_string()
    }

    #[tokio::test]
    async fn a_grant_is_for_one_tenant_one_user_one_id_and_one_body() {
        let bench = Bench::new().await;
        assert_eq!(bench.credit("acme", "m-1", 10).await.scope().tenant().as_str(), "acme");
        let told = refusal(&bench, credit("globex", "m-1", 10)).await;
        assert!(told.contains("it is for tenant acme, the message for globex"), "{told}");
        let told = refusal(&bench, credit("acme", "m-1", 10).replace("ana", "bob")).await;
        assert!(told.contains("it is for user ana, the message from bob"), "{told}");
        for body in [credit("acme", "m-2", 10), credit("acme", "m-1", 11)] {
            let told = refusal(&bench, body).await;
            assert!(told.contains("another command or another body"), "{told}");
        }
    }

    fn replay(id: &str, body: &str, author: &str) -> Purpose {
        Purpose::Replay {
            action: "issue_credit".into(),
            message_id: MessageId::parse(id).unwrap(),
            body_sha256: crate::message::body_sha256(body.as_bytes()),
            author: UserId::parse(author).unwrap(),
        }
    }

    #[tokio::test]
    async fn a_replays_grant_is_of_whoever_replays_and_for_one_letter_of_one_author() {
        let bench = Bench::new().await;
        let eves = credit("acme", "m-1", 10).replace("ana", "eve");
        let grant = bench.grant("acme", replay("m-1", &eves, "eve")).await.unwrap();
        let beside = async |body: String| {
            let envelope = Envelope { body: body.into(), grant: grant.clone(), trace: None };
            bench.verifier.command(envelope).await
        };
        let command = beside(eves.clone()).await.unwrap();
        let ana = UserId::parse("ana").unwrap();
        assert_eq!((command.actor(), command.replayed_by()), (&ana, Some(&ana)));
        assert_eq!(command.message().user_id.as_str(), "eve");
        // A command of one's own is nobody's replay.
        let own = bench.credit("acme", "m-2", 10).await;
        assert_eq!((own.actor(), own.replayed_by()), (&ana, None));
        for (body, code) in [
            (eves.replace(":10,", ":11,"), Code::SwappedBody),
            (eves.replace("m-1", "m-2"), Code::ReplayedGrant),
            (eves.replace("eve", "ana"), Code::Impersonation),
            (eves.replace("eve", "bob"), Code::Impersonation),
            (eves.replace("acme", "globex"), Code::CrossTenant),
        ] {
            let refused = beside(body.clone()).await.unwrap_err();
            assert_eq!(refused.code(), Some(code), "{body}: {refused}");
        }
        assert_eq!(bench.verifier.read(grant.clone()).await.unwrap_err().code(), Some(Code::WrongAudience));
        assert_eq!(bench.verifier.discard(grant).await.unwrap_err().code(), Some(Code::WrongAudience));
    }

    #[tokio::test]
    async fn a_right_to_discard_is_for_one_letter_and_for_nothing_else() {
        let bench = Bench::new().await;
        let (message_id, body_sha256) = (MessageId::parse("m-1").unwrap(), [7; 32]);
        let grant = bench.grant("acme", Purpose::Discard { message_id, body_sha256 }).await.unwrap();
        let right = bench.verifier.discard(grant.clone()).await.unwrap();
        let told = (right.scope().tenant().as_str(), right.user().as_str(), right.message_id().as_str());
        assert_eq!((told, right.body_sha256()), (("acme", "ana", "m-1"), [7; 32]));
        let envelope = Envelope { body: credit("acme", "m-1", 10).into(), grant, trace: None };
        assert_eq!(bench.verifier.command(envelope).await.unwrap_err().code(), Some(Code::WrongAudience));
    }

    #[tokio::test]
    async fn a_read_grant_allows_no_command_and_a_commands_grant_no_reading() {
        let bench = Bench::new().await;
        let envelope = bench.envelope("acme", "m-1", credit("acme", "m-1", 10)).await;
        assert!(matches!(bench.verifier.read(envelope.grant.clone()).await, Err(VerifyError::Mismatch(..))));
        let reading = Envelope { grant: bench.grant("acme", Purpose::Read).await.unwrap(), ..envelope };
        assert!(matches!(bench.verifier.command(reading).await, Err(VerifyError::Mismatch(..))));
    }

    #[tokio::test(start_paused = true)]
    async fn commands_that_meet_an_empty_keyring_together_all_verify() {
        let bench = Bench::new().await;
        let (one, two) = (credit("acme", "m-1", 1), credit("acme", "m-2", 2));
        let (one, two) = (bench.envelope("acme", "m-1", one).await, bench.envelope("acme", "m-2", two).await);
        let (one, two) = tokio::join!(bench.verifier.command(one), bench.verifier.command(two));
        assert!(one.is_ok() && two.is_ok(), "{one:?}, {two:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_forged_key_is_refused_for_good_only_once_auth_was_asked_after_it_was_seen() {
        let bench = Bench::new().await;
        bench.credit("acme", "m-1", 10).await;
        let body = credit("acme", "m-1", 10);
        let claims = Claims {
            iss: ISSUER.into(),
            aud: Purpose::Read.audience().into(),
            sub: UserId::parse("ana").unwrap(),
            tenant: TenantId::parse("acme").unwrap(),
            purpose: Purpose::Read,
            basis: Basis::default(),
            iat: 0,
            publish_by: i64::MAX,
            process_by: i64::MAX - CLOCK_LEEWAY_SECONDS,
        };
        let forged = Envelope {
            grant: PrivateKey::from_seed(&[9; 32]).sign(TYPE, &claims).into(),
            body: body.into(),
            trace: None,
        };
        let soon = bench.verifier.command(forged.clone()).await.unwrap_err();
        assert!(soon.is_transient(), "{soon}");
        tokio::time::advance(KEYS_REFRESH_MIN).await;
        let later = bench.verifier.command(forged).await.unwrap_err();
        assert!(matches!(later, VerifyError::Token(JwsError::UnknownKey(_))), "{later}");
    }
}
