//! The auth service of one machine: policies over a directory, trusted issuers, and keys that outlive restarts.
//!
//! What it decides by is held in memory; what must not go back - the revision of authority, the keys, emergency rights - is
//! in its store, and in force only once it is durable.

mod approvals;
mod emergencies;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use redb::{ReadableTable, TableDefinition, WriteTransaction};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::approval::{Approval, ApprovalRequest, Approvals};
use super::break_glass::{BreakGlass, BreakGlassRequest, Emergencies};
use super::decision::{Approved as ApprovedBody, Decision, DecisionKey, InForce, Verdict};
use super::oidc::Authenticator;
use super::policy::{Approved, Ask, Policies, Ruling};
use super::{Authority, Denied, GrantRequest, PlatformRight, TrustedIssuer};
use crate::action::{self, Permission};
use crate::audit::outbox::{self, Outbox, Writing};
use crate::audit::{self, Claimed, Code, Event, Outgoing, Reporter, Step, StepKind};
use crate::call::CallError;
use crate::capability::{Clock, Entropy, World};
use crate::grant::{self, Basis, GrantToken, KEYS_STALE_MAX, Purpose};
use crate::ids::{TenantId, UserId};
use crate::jws::{PrivateKey, PublicKeys};
use crate::message::BodyHash;
use crate::monitor::Outlet;
use crate::rights::Role;
use crate::store::{Machine, Store, decode, encode};

/// A new signing key is published this many seconds before it signs: longer than any verifier goes without asking.
pub const PUBLISHED_BEFORE_SECONDS: i64 = 3 * KEYS_STALE_MAX.as_secs() as i64;

/// A signing key that no longer signs is published this much longer, in seconds: until the last of its grants is too old.
const PUBLISHED_AFTER_SECONDS: i64 = grant::PROCESS_WITHIN_SECONDS + 2 * grant::CLOCK_LEEWAY_SECONDS;

/// When a key begins to sign, in seconds since the Unix epoch -> its secret half.
const SIGNING_KEYS: TableDefinition<i64, [u8; 32]> = TableDefinition::new("signing_keys");
/// One row: what decisions are tagged with.
const DECISION_KEY: TableDefinition<(), [u8; 32]> = TableDefinition::new("decision_key");
/// One row: the revision of authority, and the fingerprint of the policies in force.
const REVISION: TableDefinition<(), (u64, [u8; 32])> = TableDefinition::new("revision");
/// number -> [`BreakGlass`], of those that wait or are in force.
const EMERGENCIES: TableDefinition<u64, &[u8]> = TableDefinition::new("emergencies");
/// One row: the last number of [`EMERGENCIES`].
const EMERGENCIES_LAST: TableDefinition<(), u64> = TableDefinition::new("emergencies_last");
/// number -> [`Approval`], of those that are open, and of the latest that have ended.
const APPROVALS: TableDefinition<u64, &[u8]> = TableDefinition::new("approvals_kept");
/// One row: the last number of [`APPROVALS`].
const APPROVALS_LAST: TableDefinition<(), u64> = TableDefinition::new("approvals_last");

/// The embedded auth service.
pub struct EmbeddedAuthority {
    store: Store<Office>,
    operators: Authenticator,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    reporter: Reporter,
}

impl EmbeddedAuthority {
    /// Opens the store, making keys at the first start: grants that wait in the broker must verify after a restart. If
    /// `policies` are others than those in force at the end, authority has a new revision.
    ///
    /// # Errors
    /// When the database can't be opened, or the issuer's keys could never be read.
    pub async fn open(world: &World, issuer: TrustedIssuer, policies: Policies) -> io::Result<Self> {
        let operators = Authenticator::start(issuer, world).map_err(io::Error::other)?;
        let (signing, decision) = (PrivateKey::generate(&*world.entropy), DecisionKey::generate(&*world.entropy));
        let (load_clock, fresh) = (world.clock.clone(), world.entropy.u64());
        let load =
            move |within: &WriteTransaction| Office::load(within, policies, &signing, &decision, load_clock, fresh);
        let store = Store::open(world, Role::Auth, "auth.redb", load).await?;
        outbox::watched(world, &store, &store.machine().outbox, Outlet::Store);
        let (clock, entropy) = (world.clock.clone(), world.entropy.clone());
        Ok(Self { store, operators, clock, entropy, reporter: Reporter::none() })
    }

    /// Reports what it refuses to `reporter`.
    #[must_use]
    pub fn reporting(self, reporter: Reporter) -> Self {
        Self { reporter, ..self }
    }

    /// What waits for the audit log.
    #[must_use]
    pub fn outgoing(&self) -> Outgoing {
        Outgoing::new(&self.store, &self.store.machine().outbox)
    }

    /// Returns when the store has failed, with the reason.
    pub async fn failed(&self) -> String {
        self.store.failed().await
    }

    /// Brings `policies` into force, if they are others than those that are, and says at which revision of authority.
    ///
    /// From the answer on every grant and every decision is made by them. The ledger refuses decisions of an earlier
    /// revision as soon as it has heard of this one: at once where it can be reached, and nowhere later than
    /// [`crate::ledger::STALE_MAX`] after this.
    ///
    /// # Errors
    /// When that could not be made durable: the policies in force are then still the old ones.
    pub async fn reload(&self, policies: Policies) -> Result<u64, CallError> {
        self.change(Change::Reload(Box::new(policies))).await?;
        Ok(self.state().revision)
    }

    /// Makes a new key for grants. It is published at once, signs from [`PUBLISHED_BEFORE_SECONDS`] later on, and the one
    /// before it verifies until its last grant is too old.
    ///
    /// # Errors
    /// When it could not be made durable.
    pub async fn rotate(&self) -> Result<(), CallError> {
        let now = self.clock.unix_seconds();
        self.change(Change::Rotate {
            from: now + PUBLISHED_BEFORE_SECONDS,
            now,
            key: PrivateKey::generate(&*self.entropy),
        })
        .await
    }

    /// Since when the newest key signs, or will sign, in seconds since the Unix epoch.
    #[must_use]
    pub fn newest_key_from(&self) -> i64 {
        self.state().keys.last_key_value().map_or(0, |(from, _)| *from)
    }

    /// The policies in force.
    #[must_use]
    pub fn policies(&self) -> Arc<Policies> {
        self.state().policies.clone()
    }

    /// The key that checks decisions, and the revision they are made at now.
    #[must_use]
    pub fn in_force_now(&self) -> InForce {
        let state = self.state();
        InForce { revision: state.revision, key: state.decision_key.clone() }
    }

    fn state(&self) -> Arc<State> {
        self.store.machine().state.read().expect("no holder panics").clone()
    }

    async fn change(&self, change: Change) -> Result<(), CallError> {
        self.store.execute(change).await
    }

    /// A grant as it was signed at `then`, in seconds since the Unix epoch, whatever was in force: for the catalogue of
    /// attacks, which needs such from the past.
    pub(crate) fn issue_at(&self, subject: UserId, tenant: TenantId, purpose: Purpose, then: i64) -> GrantToken {
        grant::issue(self.state().signing_key(then), subject, tenant, purpose, Basis::default(), then)
    }

    /// All that it takes. To replay takes both: the right to do what the letter asks for, and the right to deal with letters.
    /// At the effect only the first is asked for again: whoever holds that may send the same as a command of their own.
    fn permissions(purpose: &Purpose) -> Result<Vec<Permission>, Denied> {
        match purpose {
            Purpose::Read => Ok(vec![Permission::Read]),
            Purpose::Pause => Ok(vec![Permission::PauseTenant]),
            Purpose::Discard { .. } => Ok(vec![Permission::ManageDeadLetters]),
            Purpose::Command { action, .. }
            | Purpose::Seal { action, .. }
            | Purpose::DryRun { action, .. }
            | Purpose::Replay { action, .. } => {
                let denied = |why| Denied::Forbidden(format!("nobody may do {action:?}: {why}"));
                let spec = action::find(action).ok_or_else(|| denied("there is no such action"))?;
                // Whoever may seal is shown the tenant's wrapped keys.
                match purpose {
                    Purpose::Seal { .. } if !spec.has_secret() => Err(denied("it has no secret to seal")),
                    Purpose::Replay { .. } => Ok(vec![spec.permission, Permission::ManageDeadLetters]),
                    _ => Ok(vec![spec.permission]),
                }
            }
        }
    }

    async fn authenticate(&self, token: &str) -> Result<Result<UserId, Denied>, CallError> {
        self.operators.authenticate(token, self.clock.unix_seconds()).await
    }

    /// What is in force says to `user`, with the emergency right they hold, if they hold one, and with `approved`.
    fn rule(
        &self,
        state: &State,
        user: &UserId,
        tenant: &TenantId,
        permission: Permission,
        approved: Option<&Approved>,
    ) -> Ruling {
        let now = self.clock.now();
        let emergency = state.emergencies.of(user, tenant, now.as_second());
        let ask = Ask::Permission(permission, emergency.as_ref(), approved);
        let ruled = state.policies.rule(user, tenant, ask, now);
        if let (Ruling::Permit(policies), Some(emergency)) = (&ruled, &emergency) {
            // Never silent, whatever else permits it.
            tracing::warn!(%user, %tenant, permission = permission.name(), ?policies, approved_by = %emergency.approved_by,
                "an operator acts while holding an emergency right");
        }
        ruled
    }

    fn decide(&self, request: &GrantRequest, subject: UserId) -> Result<GrantToken, (Code, Denied)> {
        if let Some(user) = request.user.as_ref().filter(|user| **user != subject) {
            let why = format!("the message says it is from {user}, the token is {subject}'s");
            return Err((Code::Impersonation, Denied::Forbidden(why)));
        }
        let (state, now) = (self.state(), self.clock.unix_seconds());
        let code = match state.policies.directory().has_role(&subject, &request.tenant) {
            true => Code::Forbidden,
            false => Code::CrossTenant,
        };
        let (tenant, purpose) = (request.tenant.clone(), request.purpose.clone());
        let body = match &purpose {
            // A dry run's is that of a command without a secret; with one it is of no body that anybody approved.
            Purpose::Command { body_sha256, .. }
            | Purpose::Replay { body_sha256, .. }
            | Purpose::DryRun { body_sha256, .. } => Some(body_sha256),
            _ => None,
        };
        let tells = |policies| if matches!(purpose, Purpose::DryRun { .. }) { policies } else { Vec::new() };
        let mut basis = Basis::default();
        for permission in Self::permissions(&purpose).map_err(|denied| (code, denied))? {
            let judged = self.judge(&state, &subject, &tenant, permission, body);
            let approved_by = judged.approved_by();
            match (judged.ruling, judged.with_approval) {
                (Ruling::Permit(policies), _) => {
                    basis.policies.extend(tells(policies));
                    basis.approved_by = basis.approved_by.or(approved_by);
                }
                (Ruling::Deny(why), Some(policies)) => match &purpose {
                    // Who replays has the letter approved by nobody: whoever wants it all the same sends it anew.
                    Purpose::Command { message_id, body_sha256, .. }
                    | Purpose::Replay { message_id, body_sha256, .. } => {
                        let code = match state.approvals.is_for_another(&tenant, message_id, body_sha256, now) {
                            true => Code::ApprovalMisused,
                            false => Code::ApprovalRequired,
                        };
                        return Err((code, Denied::ApprovalRequired(why)));
                    }
                    // What is only looked at, or sealed to be asked about, waits for nobody.
                    _ => {
                        basis.policies.extend(tells(policies));
                        basis.awaits_approval = true;
                    }
                },
                (Ruling::Deny(why), None) => return Err((code, Denied::Forbidden(why))),
            }
        }
        Ok(grant::issue(state.signing_key(now), subject, tenant, purpose, basis, now))
    }

    /// Whether `user` may `ask` about `tenant`.
    fn check(&self, state: &State, user: &UserId, tenant: &TenantId, ask: Ask<'_>) -> Result<(), Denied> {
        match state.policies.rule(user, tenant, ask, self.clock.now()) {
            Ruling::Permit(_) => Ok(()),
            Ruling::Deny(why) => Err(Denied::Forbidden(why)),
        }
    }
}

#[async_trait]
impl Authority for EmbeddedAuthority {
    async fn grant(&self, request: &GrantRequest) -> Result<Result<GrantToken, Denied>, CallError> {
        let subject = match self.authenticate(&request.token).await {
            Ok(subject) => subject,
            Err(error) => {
                // It may be an honest one of a key that is new, or anybody's: on record it is, whoever asks again.
                self.reporter.attempt(Code::Unchecked, "grant", request.claimed(), &error).await?;
                return Err(error);
            }
        };
        let known = subject.as_ref().ok().map(ToString::to_string);
        let subject = subject.map_err(|denied| (Code::Unauthenticated, denied));
        match subject.and_then(|subject| self.decide(request, subject)) {
            Ok(granted) => Ok(Ok(granted)),
            Err((code, denied)) => {
                // Who asks for a read does not say who they are; their token does.
                let claimed = request.claimed();
                let user = claimed.user.or(known);
                self.reporter.attempt(code, "grant", Claimed { user, ..claimed }, &denied).await?;
                Ok(Err(denied))
            }
        }
    }

    async fn recheck(
        &self,
        user: &UserId,
        tenant: &TenantId,
        permission: Permission,
        body: &BodyHash,
    ) -> Result<Decision, CallError> {
        let state = self.state();
        let judged = self.judge(&state, user, tenant, permission, Some(body));
        if let Some(approval) = &judged.approval {
            self.used(approval).await?;
        }
        let approved_by = judged.approved_by();
        let verdict = match judged.ruling {
            Ruling::Permit(policies) => Verdict::Permit { policies },
            Ruling::Deny(reason) => Verdict::Deny { reason },
        };
        // With an approval or for want of one: either way it is said of this one command.
        let approval = (approved_by.is_some() || judged.with_approval.is_some())
            .then_some(ApprovedBody { body_sha256: *body, by: approved_by });
        Ok(state.decision_key.decide_on(user, tenant, permission, verdict, approval, state.revision))
    }

    async fn keys(&self) -> Result<PublicKeys, CallError> {
        let state = self.state();
        Ok(state.keys.values().collect())
    }

    async fn in_force(&self, known: u64, wait: Duration) -> Result<InForce, CallError> {
        let give_up = Instant::now() + wait;
        let mut changed = self.store.machine().revision.subscribe();
        loop {
            // An emergency right that has ended takes its decisions with it.
            let (state, now) = (self.state(), self.clock.unix_seconds());
            let ended = state.emergencies.ended(now);
            if !ended.is_empty() {
                tracing::warn!(?ended, "break-glass has ended with its time");
                self.change(Change::End(ended, None)).await?;
                continue;
            }
            let ended = state.approvals.expired(now);
            if !ended.is_empty() {
                self.change(Change::Withdraw(ended, None)).await?;
                continue;
            }
            if state.revision != known || Instant::now() >= give_up {
                return Ok(self.in_force_now());
            }
            let next_end = state.emergencies.next_end().into_iter().chain(state.approvals.next_end()).min();
            let until_end = next_end.map(|end| Duration::from_secs(end.saturating_sub(now).max(1) as u64));
            let next = until_end.map_or(give_up, |wait| give_up.min(Instant::now() + wait));
            // Whether it changed or the time is over: look again.
            let _ = timeout_at(next, changed.changed()).await;
        }
    }

    async fn operator(&self, token: &str, right: Option<PlatformRight>) -> Result<Result<UserId, Denied>, CallError> {
        let (code, user, denied) = match self.authenticate(token).await? {
            Err(denied) => (Code::Unauthenticated, None, denied),
            Ok(user) => {
                let now = self.clock.now();
                match right.map(|right| self.state().policies.rule_on_platform(&user, right, now)) {
                    None | Some(Ruling::Permit(_)) => return Ok(Ok(user)),
                    Some(Ruling::Deny(why)) => (Code::Forbidden, Some(user.to_string()), Denied::Forbidden(why)),
                }
            }
        };
        let action = right.map(|right| right.name().to_owned());
        self.reporter.attempt(code, "operator", Claimed { user, action, ..Claimed::default() }, &denied).await?;
        Ok(Err(denied))
    }

    async fn break_glass(
        &self,
        token: &str,
        request: BreakGlassRequest,
    ) -> Result<Result<Vec<BreakGlass>, Denied>, CallError> {
        let claimed = self.claimed_emergency(&request);
        let (code, claimed, denied) = match self.authenticate(token).await? {
            Err(denied) => (Code::Unauthenticated, claimed, denied),
            Ok(user) => {
                let claimed = Claimed { user: Some(user.to_string()), ..claimed };
                match self.emergency(user, request).await? {
                    Err(denied) => (Code::Forbidden, claimed, denied),
                    Ok(meant) => return Ok(Ok(meant)),
                }
            }
        };
        self.reporter.attempt(code, "break_glass", claimed, &denied).await?;
        Ok(Err(denied))
    }

    async fn approvals(
        &self,
        token: &str,
        request: ApprovalRequest,
    ) -> Result<Result<Vec<Approval>, Denied>, CallError> {
        let claimed = self.claimed(&request);
        let (code, claimed, denied) = match self.authenticate(token).await? {
            Err(denied) => (Code::Unauthenticated, claimed, denied),
            Ok(user) => {
                // In whose name a message asks is what it says; who acts otherwise, their token does.
                let in_name_of = claimed.user.clone().unwrap_or_else(|| user.to_string());
                match self.four_eyes(user, request).await? {
                    Err((code, denied)) => (code, Claimed { user: Some(in_name_of), ..claimed }, denied),
                    Ok(meant) => return Ok(Ok(meant)),
                }
            }
        };
        self.reporter.attempt(code, audit::APPROVALS, claimed, &denied).await?;
        Ok(Err(denied))
    }
}

/// All that is in force.
#[derive(Debug, Clone)]
struct State {
    policies: Arc<Policies>,
    revision: u64,
    decision_key: DecisionKey,
    /// By when they begin to sign.
    keys: BTreeMap<i64, PrivateKey>,
    emergencies: Emergencies,
    emergencies_last: u64,
    approvals: Approvals,
    approvals_last: u64,
}

/// What the policies say to a command.
struct Judged {
    /// To it as it stands, with its approval if there is one.
    ruling: Ruling,
    /// The approval that it rests on, if it takes one.
    approval: Option<Arc<Approval>>,
    /// The policies that would permit it if it were approved, where only that is wanting.
    with_approval: Option<Vec<String>>,
}

impl Judged {
    /// The second person, if it takes one.
    fn approved_by(&self) -> Option<UserId> {
        let approved = self.approval.as_ref()?.approved.as_ref();
        approved.map(|(by, _)| by.clone())
    }
}

impl State {
    /// The key that signs at `now`: the newest that has begun to.
    fn signing_key(&self, now: i64) -> &PrivateKey {
        let begun = self.keys.range(..=now).next_back().or_else(|| self.keys.first_key_value());
        begun.expect("there is a key from the first start on").1
    }
}

/// The state machine behind the store.
struct Office {
    state: RwLock<Arc<State>>,
    /// What is in force once the commit under way is durable.
    next: Mutex<Option<Arc<State>>>,
    revision: watch::Sender<u64>,
    clock: Arc<dyn Clock>,
    outbox: Arc<Outbox>,
}

enum Change {
    Reload(Box<Policies>),
    Rotate {
        from: i64,
        now: i64,
        key: PrivateKey,
    },
    /// A new emergency, or one that is approved.
    Open(BreakGlass),
    /// Ended by someone, or by the clock.
    End(Vec<u64>, Option<UserId>),
    /// An approval that is asked for.
    AskApproval(Box<Approval>),
    /// One that is given.
    Approve {
        number: u64,
        by: UserId,
        at: i64,
    },
    /// Withdrawn by someone, or ended by the clock.
    Withdraw(Vec<u64>, Option<UserId>),
    /// One because of which a command was let through at its effect.
    UseApproval {
        number: u64,
        at: i64,
    },
}

impl Office {
    fn load(
        within: &WriteTransaction,
        policies: Policies,
        signing: &PrivateKey,
        decision: &DecisionKey,
        clock: Arc<dyn Clock>,
        fresh: u64,
    ) -> Result<Self, redb::Error> {
        let outbox = Outbox::load(within, Role::Auth, fresh)?;
        let mut steps = outbox.open(within)?;
        let mut keys = within.open_table(SIGNING_KEYS)?;
        if keys.first()?.is_none() {
            let from = clock.unix_seconds();
            keys.insert(from, signing.seed())?;
            steps.push(&Event::Step(key_made(&*clock, from)))?;
        }
        let keys = keys.iter()?.map(|row| row.map(|(from, seed)| (from.value(), PrivateKey::from_seed(&seed.value()))));
        let keys = keys.collect::<Result<_, _>>()?;
        let mut table = within.open_table(DECISION_KEY)?;
        let kept = table.get(())?.map(|kept| DecisionKey::from_bytes(kept.value()));
        let decision_key = kept.unwrap_or_else(|| decision.clone());
        table.insert((), decision_key.to_bytes())?;
        let mut table = within.open_table(REVISION)?;
        let (last, fingerprint) = table.get(())?.map(|kept| kept.value()).unwrap_or_default();
        let revision = if fingerprint == policies.fingerprint() { last } else { last + 1 };
        table.insert((), (revision, policies.fingerprint()))?;
        if revision > last {
            steps.push(&Event::Step(changed(&*clock, revision, &policies)))?;
        }
        steps.finish()?;
        let mut emergencies = BTreeMap::new();
        for row in within.open_table(EMERGENCIES)?.iter()? {
            let (number, open) = row?;
            emergencies.insert(number.value(), decode(open.value())?);
        }
        let emergencies_last = within.open_table(EMERGENCIES_LAST)?.get(())?.map_or(0, |last| last.value());
        let mut approvals = Approvals::default();
        for row in within.open_table(APPROVALS)?.iter()? {
            let (number, open) = row?;
            approvals.0.insert(number.value(), Arc::new(decode(open.value())?));
        }
        let approvals_last = within.open_table(APPROVALS_LAST)?.get(())?.map_or(0, |last| last.value());
        let (policies, emergencies) = (Arc::new(policies), Emergencies(emergencies));
        let state =
            State { policies, revision, decision_key, keys, emergencies, emergencies_last, approvals, approvals_last };
        let (state, next) = (RwLock::new(Arc::new(state)), Mutex::default());
        Ok(Self { state, next, revision: watch::Sender::new(revision), clock, outbox })
    }

    /// Puts on record that `kind` happened to `open`, by `user`.
    fn tell(
        &self,
        steps: &mut Writing<'_>,
        kind: StepKind,
        open: &BreakGlass,
        user: Option<&UserId>,
    ) -> Result<(), redb::Error> {
        let BreakGlass { number, tenant, requester, reason, minutes, .. } = open;
        let detail = format!("for {requester}, {minutes} minutes: {reason}");
        let (tenant, user) = (Some(tenant.clone()), user.cloned());
        let step = Step::new(self.clock.now().as_millisecond(), Role::Auth, kind, *number);
        steps.push(&Event::Step(Step { tenant, user, detail, ..step }))
    }
}

/// That grants have a new key, which signs `from` then on.
fn key_made(clock: &dyn Clock, from: i64) -> Step {
    let number = u64::try_from(from).unwrap_or(0);
    Step::new(clock.now().as_millisecond(), Role::Auth, StepKind::SigningKeyMade, number)
}

/// That `policies` are in force at `revision`. Who changed them is whoever may write auth's files: auth does not know.
fn changed(clock: &dyn Clock, revision: u64, policies: &Policies) -> Step {
    let detail = format!("fingerprint {}", hex::encode(policies.fingerprint()));
    let step = Step::new(clock.now().as_millisecond(), Role::Auth, StepKind::PoliciesChanged, revision);
    Step { detail, ..step }
}

impl Machine for Office {
    type Command = Change;
    type Answer = ();

    fn execute(&self, within: &WriteTransaction, batch: Vec<Change>) -> Result<Vec<()>, redb::Error> {
        let mut state = State::clone(&self.state.read().expect("no holder panics"));
        let mut emergencies = within.open_table(EMERGENCIES)?;
        let mut steps = self.outbox.open(within)?;
        let mut answers = Vec::with_capacity(batch.len());
        for change in batch {
            match change {
                Change::AskApproval(_) | Change::Approve { .. } | Change::Withdraw(..) | Change::UseApproval { .. } => {
                    self.change_approvals(within, &mut state, &mut steps, change)?;
                }
                Change::Reload(policies) if policies.fingerprint() == state.policies.fingerprint() => {}
                Change::Reload(policies) => {
                    state.policies = Arc::from(policies);
                    state.revision += 1;
                    steps.push(&Event::Step(changed(&*self.clock, state.revision, &state.policies)))?;
                }
                Change::Rotate { from, now, key } => {
                    let mut table = within.open_table(SIGNING_KEYS)?;
                    table.insert(from, key.seed())?;
                    state.keys.insert(from, key);
                    steps.push(&Event::Step(key_made(&*self.clock, from)))?;
                    // A key goes when the one after it has signed for as long as a grant lives.
                    while let Some(next) =
                        state.keys.keys().nth(1).filter(|next| **next + PUBLISHED_AFTER_SECONDS < now)
                    {
                        let (next, oldest) = (*next, *state.keys.keys().next().expect("there are two"));
                        tracing::info!(from = oldest, until = next, "a key for grants is forgotten");
                        table.remove(oldest)?;
                        state.keys.remove(&oldest);
                    }
                }
                Change::Open(open) => {
                    let kept = state.emergencies.0.get(&open.number);
                    // Decided on what was committed then: another may have been faster, and the second person suspended.
                    let fits = match (&open.approved, kept) {
                        (None, kept) => kept.is_none() && open.number == state.emergencies_last + 1,
                        (Some((by, at)), kept) => {
                            let (ask, at) = (Ask::ApproveBreakGlass(&open.requester), Timestamp::from_second(*at));
                            let ruled = at.map(|at| state.policies.rule(by, &open.tenant, ask, at));
                            let may = matches!(ruled, Ok(Ruling::Permit(_)));
                            may && kept.is_some_and(|kept| kept.approved.is_none())
                        }
                    };
                    if fits {
                        emergencies.insert(open.number, encode(&open).as_slice())?;
                        match &open.approved {
                            Some((by, _)) => self.tell(&mut steps, StepKind::BreakGlassApproved, &open, Some(by))?,
                            None => self.tell(&mut steps, StepKind::BreakGlassAsked, &open, Some(&open.requester))?,
                        }
                        state.emergencies_last = state.emergencies_last.max(open.number);
                        within.open_table(EMERGENCIES_LAST)?.insert((), state.emergencies_last)?;
                        state.emergencies.0.insert(open.number, open);
                    }
                }
                Change::End(numbers, by) => {
                    let kind = if by.is_some() { StepKind::BreakGlassEnded } else { StepKind::BreakGlassExpired };
                    for number in numbers {
                        emergencies.remove(number)?;
                        // Another may have been faster.
                        let Some(ended) = state.emergencies.0.remove(&number) else { continue };
                        self.tell(&mut steps, kind, &ended, by.as_ref())?;
                        // What it permitted must not be relied on any more.
                        state.revision += u64::from(ended.approved.is_some());
                    }
                }
            }
            answers.push(());
        }
        steps.finish()?;
        within.open_table(REVISION)?.insert((), (state.revision, state.policies.fingerprint()))?;
        *self.next.lock().expect("no holder panics") = Some(Arc::new(state));
        Ok(answers)
    }

    fn committed(&self, _: &[()]) {
        if let Some(next) = self.next.lock().expect("no holder panics").take() {
            let revision = next.revision;
            *self.state.write().expect("no holder panics") = next;
            self.revision.send_if_modified(|known| std::mem::replace(known, revision) != revision);
        }
        self.outbox.committed();
    }
}

#[cfg(test)]
#[path = "approval_tests.rs"]
mod approval_tests;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::break_glass::APPROVE_WITHIN_MINUTES;
    use crate::auth::{Binding, Directory};
    use crate::grant::{CLOCK_LEEWAY_SECONDS, Envelope, Verifier, VerifyError};
    use crate::ids::Name;
    use crate::testing::{Bench, OPERATOR, alone, credit, tenant};

    fn user(name: &str) -> UserId {
        UserId::parse(name).unwrap()
    }

    fn policies(text: &str) -> Policies {
        Policies::default_over(Directory::parse(text).unwrap())
    }

    const EMERGENCY: &str = r#"
        tenants = ["acme", "globex"]
        team = [{ name = "on-call", members = ["olaf"] }, { name = "duty-managers", members = ["dan", "olaf"] }]
    "#;

    fn ask(minutes: u64) -> BreakGlassRequest {
        BreakGlassRequest::Ask { tenant: tenant("acme"), reason: "the pager rang".into(), minutes }
    }

    #[tokio::test]
    async fn a_role_that_is_taken_away_is_gone_with_the_reload_and_stays_gone_after_a_restart() {
        let bench = Bench::new().await;
        let asked =
            async || bench.authority.recheck(&user(OPERATOR), &tenant("acme"), Permission::IssueCredit, &[0; 32]).await;
        let before = asked().await.unwrap();
        assert!(matches!(&before.verdict, Verdict::Permit { policies } if policies == &["admin-manages-everything"]));
        let same = bench.authority.reload(alone(bench.authority.policies().directory().clone())).await;
        assert_eq!(same, Ok(before.revision), "nothing has changed");
        let without = bench.authority.policies().directory().without(&user(OPERATOR), &tenant("acme"));
        assert_eq!(bench.authority.reload(alone(without)).await, Ok(before.revision + 1));
        let after = asked().await.unwrap();
        assert!(matches!(&after.verdict, Verdict::Deny { reason } if reason.contains("holds no role")), "{after:?}");
        assert_eq!(after.revision, before.revision + 1);
    }

    #[tokio::test]
    async fn the_revision_never_goes_back_and_grows_when_the_files_changed_while_auth_was_down() {
        let bench = Bench::new().await;
        let (first, later) = (
            bench.authority.in_force_now(),
            Directory::new([Binding {
                user: user("bob"),
                tenant: tenant("acme"),
                role: Name::parse("viewer").unwrap(),
            }]),
        );
        let (world, issuer, _folder) = bench.stopped();
        // The committer ends with auth, and lets go of the file once it is polled.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        let again = EmbeddedAuthority::open(&world, issuer, Policies::default_over(later.unwrap())).await.unwrap();
        let standing = again.in_force_now();
        assert_eq!((standing.revision, standing.key), (first.revision + 1, first.key));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_follows_hears_of_a_change_at_once_and_of_none_when_the_wait_is_over() {
        let bench = Bench::new().await;
        let known = bench.authority.in_force_now().revision;
        let begin = Instant::now();
        let wait = Duration::from_secs(2);
        assert_eq!(bench.authority.in_force(known, wait).await.unwrap().revision, known);
        assert_eq!(begin.elapsed(), wait);
        let (heard, _) =
            tokio::join!(bench.authority.in_force(known, wait), bench.authority.reload(policies(EMERGENCY)));
        assert_eq!(heard.unwrap().revision, known + 1);
        assert_eq!(begin.elapsed(), wait);
    }

    #[tokio::test]
    async fn break_glass_takes_two_ends_with_its_time_and_takes_its_decisions_along() {
        let bench = Bench::new().await;
        let auth = &bench.authority;
        auth.reload(policies(EMERGENCY)).await.unwrap();
        let act = async |who: &str, request| auth.break_glass(&bench.token(who), request).await.unwrap();
        let may =
            async || auth.recheck(&user("olaf"), &tenant("acme"), Permission::ManageLimits, &[0; 32]).await.unwrap();
        assert!(act("ana", ask(30)).await.is_err(), "ana is not on call");
        for (minutes, reason) in [(0, "a long enough reason"), (1 << 62, "a long enough reason"), (30, "short")] {
            let asked = BreakGlassRequest::Ask { tenant: tenant("acme"), reason: reason.into(), minutes };
            let told = act("olaf", asked).await.unwrap_err().to_string();
            assert!(told.contains("of a break-glass"), "{minutes} {reason}: {told}");
        }
        let asked = act("olaf", ask(30)).await.unwrap().remove(0);
        assert!(matches!(may().await.verdict, Verdict::Deny { .. }), "asked is not approved");
        let own = act("olaf", BreakGlassRequest::Approve { number: asked.number }).await.unwrap_err().to_string();
        assert!(own.contains("another person must approve it"), "olaf is a duty manager too: {own}");
        let approved = act("dan", BreakGlassRequest::Approve { number: asked.number }).await.unwrap().remove(0);
        assert_eq!(approved.approved.as_ref().map(|(by, _)| by.as_str()), Some("dan"));
        let held = may().await;
        assert!(matches!(&held.verdict, Verdict::Permit { policies } if policies == &["break-glass"]), "{held:?}");
        assert_eq!(act("dan", BreakGlassRequest::List).await.unwrap(), [approved]);
        assert_eq!(act("ana", BreakGlassRequest::List).await.unwrap(), []);
        act("dan", BreakGlassRequest::End { number: asked.number }).await.unwrap();
        let ended = may().await;
        assert!(matches!(ended.verdict, Verdict::Deny { .. }) && ended.revision == held.revision + 1, "{ended:?}");
        assert!(act("dan", BreakGlassRequest::Approve { number: asked.number }).await.is_err(), "it is over");
        let told = auth.outgoing().steps();
        assert_eq!(
            told[1..],
            [
                "policies_changed - 1",
                "policies_changed - 2",
                "break_glass_asked acme 1",
                "break_glass_approved acme 1",
                "break_glass_ended acme 1"
            ]
        );
        assert!(told[0].starts_with("signing_key_made"), "{told:?}");
    }

    #[tokio::test]
    async fn with_a_full_outbox_no_right_is_given_and_every_right_can_be_taken() {
        let bench = Bench::new().await;
        let auth = &bench.authority;
        auth.reload(policies(EMERGENCY)).await.unwrap();
        let act = async |who: &str, request| auth.break_glass(&bench.token(who), request).await;
        let number = act("olaf", ask(30)).await.unwrap().unwrap()[0].number;
        auth.store.machine().outbox.fill();
        assert!(act("dan", BreakGlassRequest::Approve { number }).await.is_err());
        assert!(act("dan", BreakGlassRequest::End { number }).await.unwrap().is_ok());
        let revision = auth.in_force_now().revision;
        assert_eq!(auth.reload(Policies::default_over(Directory::new([]).unwrap())).await, Ok(revision + 1));
    }

    #[tokio::test]
    async fn whoever_is_suspended_while_their_approval_waits_has_approved_nothing() {
        let bench = Bench::new().await;
        let auth = &bench.authority;
        auth.reload(policies(EMERGENCY)).await.unwrap();
        let asked = auth.break_glass(&bench.token("olaf"), ask(30)).await.unwrap().unwrap().remove(0);
        let now = bench.world.clock.unix_seconds();
        let approval = BreakGlass { approved: Some((user("dan"), now)), ..asked };
        // It was decided before, and comes to the store behind a reload.
        auth.reload(policies(&EMERGENCY.replace(r#""dan", "olaf""#, r#""olaf""#))).await.unwrap();
        auth.change(Change::Open(approval.clone())).await.unwrap();
        assert_eq!(auth.state().emergencies.0[&approval.number].approved, None);
        auth.reload(policies(EMERGENCY)).await.unwrap();
        auth.change(Change::Open(approval.clone())).await.unwrap();
        assert_eq!(auth.state().emergencies.0[&approval.number].approved, approval.approved);
    }

    #[tokio::test]
    async fn nobody_gets_keys_to_seal_for_an_action_without_a_secret() {
        let bench = Bench::new().await;
        let seal =
            |action: &str| Purpose::Seal { action: action.into(), message_id: crate::testing::message_id("m-1") };
        assert!(bench.grant("acme", seal("store_credential")).await.is_ok());
        let refused = bench.grant("acme", seal("issue_credit")).await.unwrap_err().to_string();
        assert!(refused.contains("it has no secret to seal"), "{refused}");
    }

    #[tokio::test]
    async fn to_replay_takes_the_actions_right_and_the_right_to_deal_with_letters() {
        let bench = Bench::new().await;
        let id = || crate::testing::message_id("m-1");
        let replay = |action: &str| Purpose::Replay {
            action: action.into(),
            message_id: id(),
            body_sha256: [7; 32],
            author: user("eve"),
        };
        let discard = || Purpose::Discard { message_id: id(), body_sha256: [7; 32] };
        let rules = |permits: &str| {
            let text = format!("@id(\"some\")\npermit (principal, action in [{permits}], resource);");
            Policies::new(&text, bench.authority.policies().directory().clone()).unwrap()
        };
        assert!(bench.grant("acme", replay("issue_credit")).await.is_ok());
        assert!(bench.grant("acme", discard()).await.is_ok());
        let refused = async |purpose| bench.grant("acme", purpose).await.unwrap_err().to_string();
        assert!(refused(replay("issue_credits")).await.contains("there is no such action"));
        bench.authority.reload(rules(r#"Action::"issue_credit""#)).await.unwrap();
        assert!(refused(replay("issue_credit")).await.contains("manage_dead_letters"));
        assert!(refused(discard()).await.contains("manage_dead_letters"));
        bench.authority.reload(rules(r#"Action::"manage_dead_letters""#)).await.unwrap();
        assert!(refused(replay("issue_credit")).await.contains("permits issue_credit"));
        assert!(bench.grant("acme", discard()).await.is_ok());
    }

    #[tokio::test]
    async fn a_new_key_is_known_before_it_signs_and_the_old_ones_grants_verify_on() {
        let bench = Bench::new().await;
        let old = bench.envelope("acme", "m-1", credit("acme", "m-1", 1)).await;
        bench.verifier.command(old.clone()).await.unwrap();
        bench.authority.rotate().await.unwrap();
        let state = bench.authority.state();
        let now = bench.world.clock.unix_seconds();
        assert_eq!(state.keys.len(), 2);
        let (before, after) = (state.signing_key(now), state.signing_key(now + PUBLISHED_BEFORE_SECONDS + 1));
        assert_ne!(before.seed(), after.seed());
        let keys = bench.authority.keys().await.unwrap();
        assert!(keys.knows(before.kid()) && keys.knows(after.kid()), "both are published");
        let later = grant::issue(after, user(OPERATOR), tenant("acme"), Purpose::Read, Basis::default(), now);
        let fresh = Verifier::new(bench.authority.clone(), bench.world.clock.clone());
        assert!(fresh.read(later).await.is_ok() && fresh.command(old).await.is_ok());
    }

    #[tokio::test]
    async fn keys_are_forgotten_only_when_no_grant_of_theirs_can_be_alive() {
        let bench = Bench::new().await;
        let now = bench.world.clock.unix_seconds();
        let rotate = async |now: i64| {
            let key = PrivateKey::generate(&*bench.world.entropy);
            bench.authority.change(Change::Rotate { from: now + PUBLISHED_BEFORE_SECONDS, now, key }).await.unwrap();
            bench.authority.state().keys.len()
        };
        assert_eq!(rotate(now).await, 2);
        let last_grant = now + PUBLISHED_BEFORE_SECONDS;
        let dies = last_grant + grant::PROCESS_WITHIN_SECONDS + CLOCK_LEEWAY_SECONDS;
        assert_eq!(rotate(dies).await, 3, "its last grant may still be believed");
        assert_eq!(rotate(dies + 2 * CLOCK_LEEWAY_SECONDS).await, 3, "the first is forgotten, a fourth is there");
    }

    #[tokio::test]
    async fn a_grant_for_a_tenant_that_nobody_named_is_refused() {
        let bench = Bench::new().await;
        let refused = bench.grant("initech", Purpose::Read).await.unwrap_err().to_string();
        assert!(refused.contains("holds no role on tenant initech"), "{refused}");
        let forged = Envelope { body: credit("initech", "m-1", 1).into(), grant: "a.b.c".into(), trace: None };
        assert!(matches!(bench.verifier.command(forged).await, Err(VerifyError::Token(_))));
    }

    #[test]
    fn an_emergency_waits_an_hour_at_most() {
        let asked = BreakGlass {
            number: 1,
            tenant: tenant("acme"),
            requester: user("olaf"),
            reason: String::new(),
            minutes: 240,
            asked_at: 0,
            approved: None,
        };
        assert_eq!(asked.ends_at(), APPROVE_WITHIN_MINUTES * 60);
        assert_eq!(BreakGlass { approved: Some((user("dan"), 60)), ..asked }.ends_at(), 60 + 240 * 60);
    }
}
