//! The ledger in redb: many commands share one physical commit, each decided before its first write.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use redb::{ReadTransaction, WriteTransaction};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::fence::{Fence, Unheeded};
use super::key_file::{KeyFile, SlotHash};
use super::keyspace::{self, Digest, Tables, TenantTransaction};
use super::{
    Applied, Baseline, DATA_KEYS_MAX, DataKeys, DryRun, Ledger, Outcome, PauseGeneration, Paused, Report, Run,
    TenantState, Transaction, Work, baseline, dry_run, journal, rulebook,
};
use crate::action::{self, Change, Declined, Rejection, SECRET_FIELD};
use crate::audit::outbox::{self, Outbox, Writing};
use crate::audit::{AuditEntry, Event, Outgoing, Step, StepKind};
use crate::auth::Verdict;
use crate::billing::Rules;
use crate::call::CallError;
use crate::capability::{Clock, Disk, Entropy, World};
use crate::grant::{TenantScope, VerifiedCommand, VerifiedDryRun, VerifiedPause, VerifiedRead, VerifiedSeal};
use crate::ids::{MessageId, Name, TenantId, UserId};
use crate::message::BodyHash;
use crate::monitor::{AppliedEnd, Label, Monitor, Outlet, SpanKind, Stage};
use crate::rights::Role;
use crate::secret::{
    ClearText, DataKey, KeyCache, KeyContext, KeyError, KeyProvider, KeyVersion, NotOpened, SealContext, Sealed,
    WrappedKey,
};
use crate::store::{Machine, Store};

/// The version that seals, the wrapped data keys that there are, newest first, and whether older ones are erased.
type WrappedKeys = (KeyVersion, Vec<(KeyVersion, WrappedKey)>, bool);

/// Why a command waits that could have been decided.
const BEHIND: &str = "it comes after one of its tenant's that waits for another decision";

/// What a ledger goes by beside its files.
pub struct Settings {
    /// The billing rules that judge commands.
    pub rules: Rules,
    /// What tenants were when they were brought in; taken over once.
    pub baseline: Option<Baseline>,
    /// The pause between two reconciliations of all tenants.
    pub reconcile_every: Duration,
    /// Told what each of them found, after people were.
    pub on_report: Arc<dyn Fn(&Report) + Send + Sync>,
}

impl Default for Settings {
    fn default() -> Self {
        let (rules, reconcile_every) = (Rules::default(), Duration::from_secs(300));
        Self { rules, baseline: None, reconcile_every, on_report: Arc::new(|_| {}) }
    }
}

/// The embedded, durable ledger.
pub struct EmbeddedLedger {
    store: Store<Books>,
    disk: Arc<dyn Disk>,
    entropy: Arc<dyn Entropy>,
    keys: KeyCache,
    reconcile_every: Duration,
    on_report: Arc<dyn Fn(&Report) + Send + Sync>,
    monitor: Monitor,
    /// Held while someone is answered what differs: each such question reads all of a tenant's outcomes.
    reconciling: tokio::sync::Mutex<()>,
    /// Held while a data key is made: whoever waits finds it made.
    making: tokio::sync::Mutex<()>,
}

/// A key that others made first, or that was erased while it was made, is made anew so often.
const MAKE_KEY_MAX: u32 = 3;

impl EmbeddedLedger {
    /// [`EmbeddedLedger::open_with`] the default settings.
    ///
    /// # Errors
    /// As there.
    pub async fn open(world: &World, provider: Arc<dyn KeyProvider>) -> io::Result<Self> {
        Self::open_with(world, provider, Settings::default()).await
    }

    /// Opens the ledger's database and its key file, and wraps data keys anew that `provider`'s current key did not wrap.
    ///
    /// # Errors
    /// When either can't be opened, or they don't belong together, or the baseline is not the one that was taken over.
    pub async fn open_with(world: &World, provider: Arc<dyn KeyProvider>, settings: Settings) -> io::Result<Self> {
        let Settings { rules, baseline, reconcile_every, on_report } = settings;
        let (clock, disk) = (world.clock.clone(), world.disk.clone());
        let key_file = Arc::new(KeyFile::open(&*disk)?);
        let load = {
            let (key_file, fresh, monitor) = (key_file.clone(), world.entropy.u64(), world.monitor.clone());
            move |within: &WriteTransaction| Books::load(within, clock, key_file, (fresh, monitor), rules, baseline)
        };
        let store = Store::open(world, Role::Ledger, "ledger.redb", load).await?;
        let recorded = store.read().and_then(|read| keyspace::every_data_key(&read)).map_err(io::Error::other)?;
        key_file.reconcile(&*disk, &recorded).await?;
        let keys = KeyCache::new(provider);
        let (reconciling, making) = (tokio::sync::Mutex::default(), tokio::sync::Mutex::default());
        let (entropy, monitor) = (world.entropy.clone(), world.monitor.clone());
        watched(&monitor, store.machine());
        outbox::watched(world, &store, &store.machine().outbox, Outlet::Store);
        let ledger = Self { store, disk, entropy, keys, reconcile_every, on_report, reconciling, monitor, making };
        ledger.check_provider(&recorded).await?;
        for ((tenant, version), slot) in recorded {
            let context = KeyContext { tenant, version };
            if let Err(error) = ledger.wrap_anew(&context, slot).await {
                // It is as good as it was, as long as the key that wrapped it is known.
                tracing::warn!(%error, tenant = %context.tenant, %version, "failed to wrap a data key anew");
            }
        }
        Ok(ledger)
    }

    /// Refuses a provider that can't open what is wrapped: other keys under the same names would fork what is sealed from
    /// here on from what was. One data key of each wrapping key is tried.
    async fn check_provider(&self, recorded: &BTreeMap<(TenantId, KeyVersion), SlotHash>) -> io::Result<()> {
        let mut tried = BTreeSet::new();
        for ((tenant, version), slot) in recorded {
            let Some(wrapped) = self.store.machine().key_file.get(slot) else { continue };
            if !tried.insert(wrapped.by.clone()) {
                continue;
            }
            let context = KeyContext { tenant: tenant.clone(), version: *version };
            match self.keys.unwrap(&wrapped, &context).await {
                Ok(_) => {}
                Err(error @ KeyError::Unavailable(_)) => tracing::warn!(%error, "the wrapping keys are not checked"),
                Err(error) => {
                    let what = format!("{error}; restore the wrapping keys that this ledger was used with");
                    return Err(io::Error::new(io::ErrorKind::InvalidData, what));
                }
            }
        }
        Ok(())
    }

    /// Opens a stored credential, for the platform's own code: there is no request that does this. The right is that of
    /// whoever may store one.
    ///
    /// # Errors
    /// When it can't be read or opened; never with anything of its content.
    pub async fn open_credential(
        &self,
        right: &VerifiedSeal,
        credential: &Name,
    ) -> Result<Option<ClearText>, CallError> {
        let read = self.store.read().map_err(CallError::failed)?;
        let kept = keyspace::credential(&read, right.scope(), credential).map_err(CallError::failed)?;
        let Some(kept) = kept else { return Ok(None) };
        match self.opened(right.scope(), "store_credential", &kept.message_id, &kept.sealed).await? {
            Some(opened) => opened.map(Some).map_err(CallError::failed),
            // Erased since the read.
            None => Ok(None),
        }
    }

    /// `sealed` opened where it stands; `None` if there is no such key.
    async fn opened(
        &self,
        scope: &TenantScope,
        action: &str,
        message_id: &MessageId,
        sealed: &Sealed,
    ) -> Result<Option<Result<ClearText, NotOpened>>, CallError> {
        let (tenant, version) = (scope.tenant(), sealed.data_key);
        let Some(wrapped) = self.wrapped_keys(scope)?.1.into_iter().find(|(kept, _)| *kept == version) else {
            return Ok(None);
        };
        let context = KeyContext { tenant: tenant.clone(), version };
        let key = self.keys.unwrap(&wrapped.1, &context).await.map_err(|error| {
            tracing::error!(%error, "a data key can't be had; what it sealed waits");
            CallError::failed(error)
        })?;
        let context = SealContext { tenant, action, message_id, field: SECRET_FIELD };
        Ok(Some(key.open(&context, sealed)))
    }

    /// Tries every seal of `run` where it stands. What is not there was sealed under no key that there is.
    ///
    /// Before the transaction and not in it, which waits for nobody's key provider: whether a seal opens never changes, and
    /// whether its key is erased is looked up within.
    async fn tried(&self, run: &Run) -> Result<Tried, CallError> {
        let mut tried = Tried::new();
        for Work { command, .. } in run.works() {
            let message = command.message();
            let Some(sealed) = message.action.sealed() else { continue };
            let opened = self.opened(command.scope(), message.action.name(), &message.message_id, sealed).await?;
            if let Some(opened) = opened {
                tried.insert(message.body_sha256(), opened.map(drop));
            }
        }
        Ok(tried)
    }

    /// The wrapped data keys of the tenant of `scope`, newest first, the version that seals, and whether some are erased.
    fn wrapped_keys(&self, scope: &TenantScope) -> Result<WrappedKeys, CallError> {
        let read = self.store.read().map_err(CallError::failed)?;
        let (head, slots) = keyspace::data_keys(&read, scope).map_err(CallError::failed)?;
        let file = &self.store.machine().key_file;
        let keys = slots.iter().filter_map(|(version, slot)| Some((*version, file.get(slot)?))).collect();
        Ok((head.current, keys, head.first > KeyVersion::default()))
    }

    /// Makes a data key.
    async fn make_key(&self, context: &KeyContext) -> Result<(), CallError> {
        let key = DataKey::generate(&*self.entropy);
        let wrapped = self.keys.wrap(&key, context).await.map_err(CallError::failed)?;
        self.keep_key(context, wrapped, None).await
    }

    /// Wraps a data key with the provider's current key, if another has wrapped it.
    async fn wrap_anew(&self, context: &KeyContext, slot: SlotHash) -> Result<(), CallError> {
        let wrapped = self.store.machine().key_file.get(&slot);
        let Some(wrapped) = wrapped.filter(|wrapped| wrapped.by != *self.keys.provider().current()) else {
            return Ok(());
        };
        let key = self.keys.unwrap(&wrapped, context).await.map_err(CallError::failed)?;
        let anew = self.keys.wrap(&key, context).await.map_err(CallError::failed)?;
        self.keep_key(context, anew, Some(slot)).await
    }

    /// Makes a wrapped key durable, first itself and then the record of it.
    async fn keep_key(
        &self,
        context: &KeyContext,
        wrapped: WrappedKey,
        replaces: Option<SlotHash>,
    ) -> Result<(), CallError> {
        let slot = self.store.machine().key_file.put(&*self.disk, context, wrapped).await;
        let slot = slot.map_err(|error| {
            tracing::error!(%error, "a data key can't be written");
            CallError::failed("a data key can't be written")
        })?;
        match self.store.execute(Command::KeepKey { context: context.clone(), slot, replaces }).await? {
            Answer::KeyKept => Ok(()),
            answer => unreachable!("asked to keep a key, answered {answer:?}"),
        }
    }

    /// Puts a step of the ledger's own on record, that no command has made.
    pub(super) async fn tell(
        &self,
        kind: StepKind,
        number: u64,
        tenant: Option<&TenantId>,
        detail: String,
    ) -> Result<(), CallError> {
        let at_unix_ms = self.store.machine().clock.now().as_millisecond();
        let step = Step::new(at_unix_ms, Role::Ledger, kind, number);
        let mut step = Step { tenant: tenant.cloned(), detail, ..step };
        step.cut();
        self.store.execute(Command::Tell(step.into())).await.map(drop)
    }

    /// Returns when the store has failed, with the reason.
    pub async fn failed(&self) -> String {
        self.store.failed().await
    }

    /// Every tenant's state as committed: for reconciliation and for checking isolation, not for serving.
    pub fn every_state(&self) -> Result<BTreeMap<TenantId, TenantState>, redb::Error> {
        keyspace::states(&*self.store.read()?, None)
    }

    /// Every outcome of every tenant as committed: for reconciliation, not for serving.
    pub fn every_outcome(&self) -> Result<BTreeMap<(TenantId, MessageId), Outcome>, redb::Error> {
        keyspace::outcomes(&*self.store.read()?)
    }

    /// The ciphertext of every stored credential, by the message that stored it: what a stolen disk gives away.
    pub(crate) fn every_ciphertext(&self) -> Result<BTreeMap<(TenantId, MessageId), Sealed>, redb::Error> {
        keyspace::ciphertexts(&*self.store.read()?)
    }

    /// The journal of every tenant as committed: for checking the books, not for serving.
    pub fn every_journal(&self) -> Result<BTreeMap<TenantId, Vec<Transaction>>, redb::Error> {
        journal::every(&*self.store.read()?)
    }

    /// The digest of every tenant's rows as committed: what tells that nothing at all was changed.
    pub fn every_digest(&self) -> Result<BTreeMap<TenantId, Digest>, redb::Error> {
        keyspace::digests(&*self.store.read()?)
    }

    /// What waits for the audit log.
    #[must_use]
    pub fn outgoing(&self) -> Outgoing {
        Outgoing::new(&self.store, &self.store.machine().outbox)
    }

    /// A view of what is durable.
    pub(super) fn snapshot(&self) -> Result<Arc<ReadTransaction>, redb::Error> {
        self.store.read()
    }

    pub(super) fn reconcile_every(&self) -> Duration {
        self.reconcile_every
    }

    /// All tenants were compared once more.
    pub(super) fn reconciled(&self, report: &Report) {
        self.monitor.metrics.discrepancies.set((), report.found() as f64);
        (self.on_report)(report);
    }

    /// What it knows of authority.
    pub(super) fn fence(&self) -> &Fence {
        &self.store.machine().fence
    }

    fn committed_outcome(&self, read: &VerifiedRead, message_id: &MessageId) -> Result<Option<Outcome>, CallError> {
        let kept = self.store.read().and_then(|kept| keyspace::outcome(&kept, read.scope(), message_id));
        kept.map_err(CallError::failed)
    }
}

#[async_trait]
impl Ledger for EmbeddedLedger {
    async fn apply(&self, run: &Run) -> Result<Vec<Applied>, CallError> {
        self.store.machine().outbox.has_room()?;
        let span = |work: &Work| {
            let mut span = self.monitor.tracer.start("ledger.apply", SpanKind::Server, work.command.envelope().trace);
            span.note("messaging.message.id", &work.command.message().message_id);
            span
        };
        let mut spans: Vec<_> = run.works().iter().map(span).collect();
        let tried = self.tried(run).await?;
        let begun = Instant::now();
        match self.store.execute(Command::Apply(run.clone(), tried)).await? {
            Answer::Applied(applied) => {
                let took = begun.elapsed().as_secs_f64();
                for (applied, span) in applied.iter().zip(&mut spans) {
                    span.note("tenantry.outcome", ended(applied).value());
                    self.monitor.metrics.stage.observe(Stage::ApplyCommit, took);
                }
                if applied.iter().any(erases) {
                    self.keys.forget(run.scope().tenant());
                }
                Ok(applied)
            }
            answer => unreachable!("asked to apply, answered {answer:?}"),
        }
    }

    async fn outcome(
        &self,
        read: &VerifiedRead,
        message_id: &MessageId,
        wait: Duration,
    ) -> Result<Option<Outcome>, CallError> {
        let give_up = Instant::now() + wait;
        // Registered before looking, so that no commit slips in between.
        let awaited = self.store.machine().awaited.entry(read.scope().tenant(), message_id);
        loop {
            let committed = awaited.changed.notified();
            if let Some(outcome) = self.committed_outcome(read, message_id)? {
                return Ok(Some(outcome));
            }
            if timeout_at(give_up, committed).await.is_err() {
                return Ok(None);
            }
        }
    }

    async fn dry_run(&self, right: &VerifiedDryRun) -> Result<DryRun, CallError> {
        let (books, message) = (self.store.machine(), right.message());
        let seen = || -> Result<DryRun, redb::Error> {
            // One snapshot, which nothing can be written to.
            let kept = self.store.read()?;
            let spent = keyspace::outcome(&kept, right.scope(), &message.message_id)?;
            let state = keyspace::state(&kept, right.scope().tenant())?;
            dry_run::decide(&state, &books.rules, books.rules_version, message, spent.map(|outcome| outcome.version))
        };
        seen().map_err(CallError::failed)
    }

    async fn state(&self, read: &VerifiedRead) -> Result<TenantState, CallError> {
        let kept = self.store.read().and_then(|kept| keyspace::state(&kept, read.scope().tenant()));
        kept.map_err(CallError::failed)
    }

    async fn journal(&self, read: &VerifiedRead, from: u64, max: usize) -> Result<Vec<Transaction>, CallError> {
        let kept = self.store.read().and_then(|kept| journal::page(&kept, read.scope(), from, max));
        kept.map_err(CallError::failed)
    }

    async fn reconcile(&self, read: &VerifiedRead) -> Result<Report, CallError> {
        let _alone = self.reconciling.lock().await;
        Ok(self.reconcile_tenant(read.scope().tenant()).await)
    }

    async fn pause(&self, right: &VerifiedPause, to: PauseGeneration) -> Result<Paused, CallError> {
        match self.store.execute(Command::Pause(right.scope().clone(), right.user().clone(), to)).await? {
            Answer::Paused(paused) => Ok(paused),
            answer => unreachable!("asked to pause, answered {answer:?}"),
        }
    }

    async fn data_keys(&self, right: &VerifiedSeal) -> Result<DataKeys, CallError> {
        let there = || -> Result<Result<DataKeys, KeyVersion>, CallError> {
            let (current, mut keys, erased) = self.wrapped_keys(right.scope())?;
            if keys.first().is_none_or(|(newest, _)| *newest != current) {
                return Ok(Err(current));
            }
            keys.truncate(DATA_KEYS_MAX);
            Ok(Ok(DataKeys { keys, erased }))
        };
        // One tenant's new key must not hold up another's that is there.
        if let Ok(keys) = there()? {
            return Ok(keys);
        }
        self.store.machine().outbox.has_room()?;
        let _alone = self.making.lock().await;
        for _ in 0..MAKE_KEY_MAX {
            let current = match there()? {
                Ok(keys) => return Ok(keys),
                Err(current) => current,
            };
            self.make_key(&KeyContext { tenant: right.scope().tenant().clone(), version: current }).await?;
        }
        Err(CallError::failed("the tenant's data key was rotated or erased each time one was made"))
    }
}

/// The state machine behind the store.
struct Books {
    clock: Arc<dyn Clock>,
    rules: Rules,
    /// What outcomes name the rules by.
    rules_version: u32,
    fence: Fence,
    outbox: Arc<Outbox>,
    awaited: Arc<Awaited>,
    key_file: Arc<KeyFile>,
    /// Data keys that the commit under way forgets: to be destroyed once it is durable.
    forgotten: Mutex<Vec<SlotHash>>,
    monitor: Monitor,
}

/// Whether a secret opens where it stands, by the hash of the body it stands in.
type Tried = BTreeMap<BodyHash, Result<(), NotOpened>>;

enum Command {
    Apply(Run, Tried),
    Pause(TenantScope, UserId, PauseGeneration),
    KeepKey {
        context: KeyContext,
        slot: SlotHash,
        replaces: Option<SlotHash>,
    },
    Tell(Box<Step>),
    /// Bends rows past everything that is checked: what reconciliation is tested with, under a ledger that runs.
    #[cfg(test)]
    Bend(fn(&WriteTransaction) -> Result<(), redb::Error>),
}

#[derive(Debug)]
enum Answer {
    Applied(Vec<Applied>),
    Paused(Paused),
    KeyKept,
    Told,
}

impl Books {
    fn load(
        within: &WriteTransaction,
        clock: Arc<dyn Clock>,
        key_file: Arc<KeyFile>,
        (fresh, monitor): (u64, Monitor),
        rules: Rules,
        baseline: Option<Baseline>,
    ) -> Result<Self, redb::Error> {
        Tables::open(within)?;
        baseline::open(within)?;
        baseline.map_or(Ok(()), |baseline| baseline.import(within))?;
        let rules_version = rulebook::version(within, &rules)?;
        let outbox = Outbox::load(within, Role::Ledger, fresh)?;
        let (fence, awaited, forgotten) = (Fence::default(), Arc::default(), Mutex::default());
        Ok(Self { clock, rules, rules_version, fence, outbox, awaited, key_file, forgotten, monitor })
    }

    /// A step of the ledger, now.
    fn step(&self, kind: StepKind, number: u64, tenant: &TenantId) -> Step {
        let at_unix_ms = self.clock.now().as_millisecond();
        Step { tenant: Some(tenant.clone()), ..Step::new(at_unix_ms, Role::Ledger, kind, number) }
    }

    /// Ends the commands of one run within the commit under way.
    fn apply(
        &self,
        tables: &mut Tables<'_>,
        outbox: &mut Writing<'_>,
        run: &Run,
        tried: &Tried,
    ) -> Result<Vec<Applied>, redb::Error> {
        let mut tenant = tables.tenant(run.scope(), &self.rules)?;
        let before = tenant.head.version;
        let mut applied: Vec<Applied> = Vec::with_capacity(run.works().len());
        for work in run.works() {
            // What waits comes again, and nothing behind it may take effect before it.
            let behind = match applied.last() {
                Some(Applied::Paused) => Some(Applied::Paused),
                Some(Applied::Undecided(_) | Applied::Forged) => Some(Applied::Undecided(BEHIND.into())),
                _ => None,
            };
            applied.push(behind.map_or_else(|| self.end(&mut tenant, outbox, work, tried), Ok)?);
        }
        if tenant.head.version > before {
            tenant.keep_head()?;
        }
        Ok(applied)
    }

    /// Ends one command.
    fn end(
        &self,
        tenant: &mut TenantTransaction<'_, '_>,
        outbox: &mut Writing<'_>,
        Work { command, decision, position }: &Work,
        tried: &Tried,
    ) -> Result<Applied, redb::Error> {
        let message = command.message();
        let body_hash = message.body_sha256();
        tenant.seal = tried.get(&body_hash).copied();
        if let Some(recorded) = tenant.recorded(&message.message_id)? {
            if recorded.body_sha256 != body_hash {
                return Ok(Applied::Conflict);
            }
            let step = self.step(StepKind::Duplicate, position.sequence, command.scope().tenant());
            outbox.push(&Event::Step(Step {
                user: Some(message.user_id.clone()),
                action: Some(message.action.name().into()),
                message_id: Some(message.message_id.clone()),
                body_sha256: Some(body_hash),
                ..step
            }))?;
            return Ok(Applied::Before(recorded));
        }
        // In the effect's own transaction: no pause can come between this look and the effect.
        if tenant.head.pause.is_paused() {
            return Ok(Applied::Paused);
        }
        if *position <= tenant.head.position {
            return Ok(Applied::Overtaken { by: tenant.head.position });
        }
        // In the effect's own transaction, too: no revocation that is known here can come between.
        let (scope, permission) = (command.scope(), message.action.permission());
        if let Err(unheeded) = self.fence.check(decision, command.actor(), scope.tenant(), permission) {
            return Ok(match unheeded {
                Unheeded::Forged => Applied::Forged,
                Unheeded::Closed | Unheeded::Stale { .. } => Applied::Undecided(unheeded.to_string()),
            });
        }
        if decision.approval.as_ref().is_some_and(|approval| approval.body_sha256 != body_hash) {
            // Genuine, but on another command.
            return Ok(Applied::Forged);
        }
        let (verdict, policies) = match &decision.verdict {
            Verdict::Permit { policies } => match message.action.decide(tenant) {
                Ok(changes) => (Ok(changes), policies.clone()),
                Err(Declined::Rejected(rejection)) => (Err(rejection), policies.clone()),
                Err(Declined::Unreadable(error)) => return Err(error),
            },
            Verdict::Deny { reason } => (Err(Rejection::new("forbidden", reason.clone())), Vec::new()),
        };
        let version = tenant.head.version + 1;
        for change in verdict.iter().flatten() {
            tenant.make(change, version, message)?;
        }
        (tenant.head.version, tenant.head.position) = (version, *position);
        let outcome = Outcome {
            body_sha256: body_hash,
            verdict,
            version,
            at_unix_ms: self.clock.now().as_millisecond(),
            authority_revision: decision.revision,
            rules_version: self.rules_version,
        };
        tenant.record(&message.message_id, &outcome)?;
        let approved_by = decision.approval.as_ref().and_then(|approval| approval.by.clone());
        outbox.push(&Event::Decided(entry(command, &outcome, policies, approved_by)))?;
        Ok(Applied::Now(outcome))
    }
}

impl Machine for Books {
    type Command = Command;
    type Answer = Answer;

    /// A run counts as many times as it has commands.
    fn weight(command: &Command) -> usize {
        match command {
            Command::Apply(run, _) => run.works().len(),
            _ => 1,
        }
    }

    fn execute(&self, within: &WriteTransaction, batch: Vec<Command>) -> Result<Vec<Answer>, redb::Error> {
        #[cfg(test)]
        for command in &batch {
            if let Command::Bend(drift) = command {
                drift(within)?;
            }
        }
        let mut tables = Tables::open(within)?;
        let mut outbox = self.outbox.open(within)?;
        let mut answers = Vec::with_capacity(batch.len());
        for command in &batch {
            answers.push(match command {
                Command::Apply(run, tried) => Answer::Applied(self.apply(&mut tables, &mut outbox, run, tried)?),
                Command::Pause(scope, user, to) => {
                    let mut tenant = tables.tenant(scope, &self.rules)?;
                    if *to == tenant.head.pause.next() {
                        tenant.head.pause = *to;
                        let kind = if to.is_paused() { StepKind::Paused } else { StepKind::Resumed };
                        let step = self.step(kind, to.0, scope.tenant());
                        outbox.push(&Event::Step(Step { user: Some(user.clone()), ..step }))?;
                    }
                    let paused = Paused { generation: tenant.head.pause, version: tenant.head.version };
                    tenant.keep_head()?;
                    Answer::Paused(paused)
                }
                Command::KeepKey { context, slot, replaces } => {
                    if tables.keep_key(&context.tenant, context.version, *slot, *replaces)? {
                        let kind = if replaces.is_some() { StepKind::DataKeyWrapped } else { StepKind::DataKeyMade };
                        outbox.push(&Event::Step(self.step(kind, context.version.0.into(), &context.tenant)))?;
                    }
                    Answer::KeyKept
                }
                Command::Tell(step) => {
                    outbox.push(&Event::Step(Step::clone(step)))?;
                    Answer::Told
                }
                #[cfg(test)]
                Command::Bend(_) => Answer::Told,
            });
        }
        outbox.finish()?;
        tables.keep_totals()?;
        *self.forgotten.lock().expect("no holder panics") = std::mem::take(&mut tables.forgotten);
        self.awaited.remember(&batch);
        Ok(answers)
    }

    fn is_unfinished(&self) -> bool {
        !self.forgotten.lock().expect("no holder panics").is_empty()
    }

    fn finish(&self) -> io::Result<()> {
        let forgotten = std::mem::take(&mut *self.forgotten.lock().expect("no holder panics"));
        self.key_file.destroy(&forgotten)
    }

    fn committed(&self, answers: &[Answer]) {
        for answer in answers {
            let Answer::Applied(applied) = answer else { continue };
            applied.iter().for_each(|applied| self.monitor.metrics.applied.inc(ended(applied)));
        }
        self.outbox.committed();
        self.awaited.tell();
    }
}

/// What is counted of an answer.
fn ended(applied: &Applied) -> AppliedEnd {
    match applied {
        Applied::Now(Outcome { verdict: Ok(_), .. }) => AppliedEnd::Applied,
        Applied::Now(Outcome { verdict: Err(_), .. }) => AppliedEnd::Rejected,
        Applied::Before(_) => AppliedEnd::Before,
        Applied::Conflict => AppliedEnd::Conflict,
        Applied::Overtaken { .. } => AppliedEnd::Overtaken,
        Applied::Paused => AppliedEnd::Paused,
        Applied::Undecided(_) => AppliedEnd::Undecided,
        Applied::Forged => AppliedEnd::Forged,
        Applied::Refused(_) => unreachable!("that is the service's answer, never the engine's"),
    }
}

/// What `monitor` asks of the ledger: where it stands with auth.
fn watched(monitor: &Monitor, books: &Arc<Books>) {
    let fenced = Arc::downgrade(books);
    monitor.health.needed("auth heard by the ledger", move || {
        let verdict = fenced.upgrade().map_or(Ok(()), |books| books.fence.open());
        std::future::ready(verdict.map_err(|closed| closed.to_string()))
    });
    let looked_at = Arc::downgrade(books);
    monitor.probe(move |metrics| {
        let Some(books) = looked_at.upgrade() else { return };
        metrics.authority_age.set((), books.fence.age().map_or(f64::INFINITY, |age| age.as_secs_f64()));
        metrics.authority_revision.set((), books.fence.revision() as f64);
    });
}

/// Whether a tenant's data keys are destroyed by now.
fn erases(applied: &Applied) -> bool {
    let (Applied::Now(Outcome { verdict, .. }) | Applied::Before(Outcome { verdict, .. })) = applied else {
        return false;
    };
    verdict.iter().flatten().any(|change| matches!(change, Change::EraseSecrets { .. }))
}

fn entry(
    command: &VerifiedCommand,
    outcome: &Outcome,
    policies: Vec<String>,
    approved_by: Option<UserId>,
) -> AuditEntry {
    let message = command.message();
    let (code, detail) = match &outcome.verdict {
        Ok(changes) => ("applied", action::words::told(changes)),
        Err(rejection) => (rejection.code.as_str(), rejection.detail.clone()),
    };
    AuditEntry {
        at_unix_ms: outcome.at_unix_ms,
        tenant_id: command.scope().tenant().clone(),
        user_id: message.user_id.clone(),
        replayed_by: command.replayed_by().cloned(),
        action: message.action.name().into(),
        message_id: message.message_id.clone(),
        body: message.body.clone(),
        outcome: code.into(),
        detail,
        authority_revision: outcome.authority_revision,
        policies,
        approved_by,
    }
}

/// Who waits for which command's outcome: only they are woken by its commit.
#[derive(Default)]
struct Awaited {
    waiters: Mutex<BTreeMap<(TenantId, MessageId), Arc<Notify>>>,
    committing: Mutex<Vec<(TenantId, MessageId)>>,
}

/// One wait; leaves the list with its last waiter.
struct Awaiting {
    key: (TenantId, MessageId),
    changed: Arc<Notify>,
    list: Arc<Awaited>,
}

impl Awaited {
    fn entry(self: &Arc<Self>, tenant: &TenantId, message_id: &MessageId) -> Awaiting {
        let key = (tenant.clone(), message_id.clone());
        let changed = self.waiters.lock().expect("no holder panics").entry(key.clone()).or_default().clone();
        Awaiting { key, changed, list: self.clone() }
    }

    /// Notes which commands the commit under way ends.
    fn remember(&self, batch: &[Command]) {
        let runs = batch.iter().filter_map(|command| match command {
            Command::Apply(run, _) => Some(run),
            _ => None,
        });
        let key =
            |Work { command, .. }: &Work| (command.scope().tenant().clone(), command.message().message_id.clone());
        *self.committing.lock().expect("no holder panics") = runs.flat_map(Run::works).map(key).collect();
    }

    fn tell(&self) {
        let waiters = self.waiters.lock().expect("no holder panics");
        for key in self.committing.lock().expect("no holder panics").drain(..) {
            if let Some(changed) = waiters.get(&key) {
                changed.notify_waiters();
            }
        }
    }
}

impl Drop for Awaiting {
    fn drop(&mut self) {
        let mut waiters = self.list.waiters.lock().expect("no holder panics");
        // Two: the list's and ours. Whoever else waits holds a third.
        if Arc::strong_count(&self.changed) <= 2 {
            waiters.remove(&self.key);
        }
    }
}

#[cfg(test)]
#[path = "dry_run_tests.rs"]
mod dry_run_tests;
#[cfg(test)]
#[path = "reconcile_tests.rs"]
mod reconcile_tests;
#[cfg(test)]
#[path = "secret_tests.rs"]
mod secret_tests;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bench, message_id};

    #[tokio::test]
    async fn the_same_command_twice_in_one_commit_is_applied_once() {
        let bench = Bench::new().await;
        let ledger = bench.ledger().await;
        let run = bench.run("acme", "m-1", 5, 1).await;
        let (first, second) = tokio::join!(ledger.apply(&run), ledger.apply(&run));
        let (first, second) = (first.unwrap().remove(0), second.unwrap().remove(0));
        assert!(matches!((&first, &second), (Applied::Now(_), Applied::Before(_))), "{first:?} {second:?}");
        assert_eq!(ledger.state(&bench.read("acme").await).await.unwrap().credits["EUR"], 5);
    }

    #[tokio::test]
    async fn nothing_that_follows_a_pause_in_its_own_commit_takes_effect() {
        let bench = Bench::new().await;
        let ledger = bench.ledger().await;
        let (before, right, after) =
            (bench.run("acme", "m-1", 5, 1).await, bench.pause("acme").await, bench.run("acme", "m-2", 5, 2).await);
        let (before, paused, after) =
            tokio::join!(ledger.apply(&before), ledger.pause(&right, PauseGeneration(1)), ledger.apply(&after));
        assert!(matches!(before.unwrap()[0], Applied::Now(_)));
        assert_eq!((paused.unwrap().version, after.unwrap()), (1, vec![Applied::Paused]));
    }

    #[tokio::test]
    async fn no_waiter_is_left_behind() {
        let bench = Bench::new().await;
        let ledger = bench.ledger().await;
        let waited = ledger.outcome(&bench.read("acme").await, &message_id("m-1"), Duration::from_millis(1)).await;
        assert_eq!(waited.unwrap(), None);
        assert!(ledger.store.machine().awaited.waiters.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn every_decision_pause_key_and_duplicate_is_written_with_what_it_tells_of() {
        let bench = Bench::new().await;
        let ledger = bench.ledger().await;
        let run = bench.run("acme", "m-1", 1, 1).await;
        ledger.apply(&run).await.unwrap();
        ledger.apply(&run).await.unwrap();
        let right = bench.pause("acme").await;
        for to in [1, 1, 2] {
            ledger.pause(&right, PauseGeneration(to)).await.unwrap();
        }
        for _ in 0..2 {
            ledger.data_keys(&bench.seal("acme", "m-2").await).await.unwrap();
        }
        let outgoing = ledger.outgoing();
        assert!(matches!(&outgoing.events()[0], Event::Decided(entry) if entry.message_id == message_id("m-1")));
        assert_eq!(outgoing.steps(), ["duplicate m-1 1", "paused acme 1", "resumed acme 2", "data_key_made acme 0"]);
        assert_eq!(outgoing.waiting(), 5);
    }

    #[tokio::test]
    async fn with_a_full_outbox_nothing_takes_effect_and_a_stop_still_comes_through() {
        let bench = Bench::new().await;
        let ledger = bench.ledger().await;
        ledger.store.machine().outbox.fill();
        let refused = ledger.apply(&bench.run("acme", "m-1", 1, 1).await).await.unwrap_err().to_string();
        assert!(refused.contains("overloaded"), "{refused}");
        assert!(ledger.every_outcome().unwrap().is_empty());
        assert!(ledger.pause(&bench.pause("acme").await, PauseGeneration(1)).await.unwrap().generation.is_paused());
    }
}
