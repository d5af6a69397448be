//! Decorators around broker and ledger, on their own hosts: they see every call as the engine answers it, and change
//! nothing.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tenantry_system::broker::{
    Broker, DeadLetter, Delivered, Delivery, Ending, Lease, LetterSummary, MessageStatus, Published, Settlement,
    Triage, Triaged,
};
use tenantry_system::call::CallError;
use tenantry_system::grant::{Envelope, GrantToken, VerifiedDryRun, VerifiedPause, VerifiedRead, VerifiedSeal};
use tenantry_system::ids::{MessageId, TenantId};
use tenantry_system::ledger::{
    Applied, DataKeys, DryRun, EmbeddedLedger, Ledger, Outcome, PauseGeneration, Paused, Report, Run, TenantState,
    Transaction, Work,
};

use super::evidence::Evidence;
use super::marks;
use super::storm::Handed;
use super::witness::Calls;

/// A broker that is watched.
pub struct WatchedBroker {
    /// The engine, or what was put around it.
    pub inner: Arc<dyn Broker>,
    /// Where it is written down.
    pub evidence: Evidence,
    /// What is out.
    pub handed: Arc<Handed>,
}

impl WatchedBroker {
    /// A tap on the producer's line: what someone inside could move elsewhere.
    fn note_sealed(&self, tenant: &TenantId, envelope: &Envelope) {
        let mut seen = self.evidence.seen();
        if seen.canaries.is_none() {
            return;
        }
        let message: Option<serde_json::Value> = serde_json::from_slice(&envelope.body).ok();
        if let Some(secret) = message.as_ref().and_then(|message| message.pointer("/payload/secret")) {
            seen.sealed.push((tenant.clone(), secret.clone()));
        }
    }
}

#[async_trait]
impl Broker for WatchedBroker {
    async fn publish(
        &self,
        tenant: &TenantId,
        message_id: &MessageId,
        envelope: Envelope,
    ) -> Result<Published, CallError> {
        self.note_sealed(tenant, &envelope);
        self.evidence.seen().witness.publish(tenant, message_id).begun += 1;
        let published = self.inner.publish(tenant, message_id, envelope).await;
        self.evidence.record("broker", "broker.published", &format!("{tenant} {message_id} {published:?}"));
        if published.is_ok() {
            self.evidence.seen().witness.publish(tenant, message_id).answered += 1;
        }
        match published {
            Ok(Published::Duplicate { .. }) => {
                self.evidence.seen().witness.publish(tenant, message_id).repeated += 1;
                self.evidence.mark(marks::DUPLICATE_PUBLISH);
            }
            Ok(Published::Accepted { .. }) => {
                let now = super::world::now();
                self.evidence.seen().witness.publish(tenant, message_id).done += 1;
                self.evidence.seen().taken_in.entry(tenant.clone()).or_default().push((message_id.to_string(), now));
                self.evidence.watch_intake(tenant, message_id.as_str());
            }
            _ => {}
        }
        published
    }

    async fn fetch(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>, CallError> {
        let fetched = self.inner.fetch(max, wait).await;
        for Delivery { lease, messages } in fetched.iter().flatten() {
            self.handed.out(lease);
            self.evidence.seen().witness.leases.out(lease);
            for Delivered { message_id, attempt, .. } in messages {
                self.evidence.seen().witness.deliver(&lease.tenant, message_id, *attempt);
                self.evidence.record("broker", "broker.leased", &format!("{lease:?} {message_id} attempt {attempt}"));
                if *attempt > 1 {
                    self.evidence.mark(marks::REDELIVERED);
                }
            }
            if messages.len() > 1 {
                self.evidence.mark(marks::RUN_OF_SEVERAL);
            }
        }
        fetched
    }

    async fn settle(&self, lease: &Lease, settlement: Settlement) -> Result<bool, CallError> {
        let dead = settlement.ended.iter().filter(|ending| matches!(ending, Ending::DeadLetter { .. })).count();
        let (ended, again) = (settlement.ended.len(), settlement.again.reason.clone());
        self.handed.back(lease);
        let was_over = self.evidence.seen().witness.leases.is_over(lease);
        let settled = self.inner.settle(lease, settlement).await;
        if let Ok(counts) = settled {
            self.evidence.seen().witness.leases.settled(lease, was_over, counts);
            self.evidence.watch_settlement();
        }
        let told = format!("{lease:?} {ended} ended, {dead} of them dead letters; again: {again:?}; {settled:?}");
        self.evidence.record("broker", "broker.settled", &told);
        match settled {
            Ok(true) => {
                (0..dead).for_each(|_| self.evidence.mark(marks::DEAD_LETTERED));
                if !again.is_empty() {
                    self.evidence.mark(marks::RETRY);
                }
            }
            Ok(false) => self.evidence.mark(marks::LATE_SETTLEMENT),
            Err(_) => {}
        }
        settled
    }

    async fn standing(&self, tenant: &TenantId, message_id: &MessageId) -> Result<Option<MessageStatus>, CallError> {
        self.inner.standing(tenant, message_id).await
    }

    async fn pause(&self, tenant: &TenantId, generation: PauseGeneration) -> Result<PauseGeneration, CallError> {
        let answer = self.inner.pause(tenant, generation).await;
        self.evidence.record("broker", "broker.paused", &format!("{tenant} {generation:?} {answer:?}"));
        answer
    }

    async fn dead_letters(
        &self,
        tenant: &TenantId,
        after: Option<&MessageId>,
        max: usize,
    ) -> Result<Vec<LetterSummary>, CallError> {
        self.inner.dead_letters(tenant, after, max).await
    }

    async fn dead_letter(&self, tenant: &TenantId, message_id: &MessageId) -> Result<Option<DeadLetter>, CallError> {
        self.inner.dead_letter(tenant, message_id).await
    }

    async fn replay(
        &self,
        tenant: &TenantId,
        message_id: &MessageId,
        triage: &Triage,
        grant: GrantToken,
    ) -> Result<Triaged, CallError> {
        {
            let mut seen = self.evidence.seen();
            let of = seen.witness.triage(tenant, message_id);
            of.replay.begun += 1;
            of.replayers.insert(triage.by.clone());
        }
        let replayed = self.inner.replay(tenant, message_id, triage, grant).await;
        let told = format!("{tenant} {message_id} by {} {replayed:?}", triage.by);
        self.evidence.record("broker", "broker.replayed", &told);
        answered(&mut self.evidence.seen().witness.triage(tenant, message_id).replay, &replayed);
        replayed
    }

    async fn discard(&self, tenant: &TenantId, message_id: &MessageId, triage: &Triage) -> Result<Triaged, CallError> {
        self.evidence.seen().witness.triage(tenant, message_id).discard.begun += 1;
        let discarded = self.inner.discard(tenant, message_id, triage).await;
        let told = format!("{tenant} {message_id} by {} {discarded:?}", triage.by);
        self.evidence.record("broker", "broker.discarded", &told);
        answered(&mut self.evidence.seen().witness.triage(tenant, message_id).discard, &discarded);
        discarded
    }
}

/// Counts an answer about a dead letter.
fn answered(calls: &mut Calls, triaged: &Result<Triaged, CallError>) {
    calls.answered += u64::from(triaged.is_ok());
    match triaged {
        Ok(Triaged::Done { .. }) => calls.done += 1,
        Ok(Triaged::Stands(_)) => calls.repeated += 1,
        Ok(Triaged::Overloaded { .. }) | Err(_) => {}
    }
}

/// A ledger that is watched: around every effect, every tenant's state is compared.
pub struct WatchedLedger {
    /// The engine: what it keeps is looked at past whatever was put around it.
    pub engine: Arc<EmbeddedLedger>,
    /// The engine, or what was put around it.
    pub inner: Arc<dyn Ledger>,
    /// Where it is written down.
    pub evidence: Evidence,
}

impl WatchedLedger {
    /// Watches `inner` around `engine` from its start on.
    #[must_use]
    pub fn new(engine: Arc<EmbeddedLedger>, inner: Arc<dyn Ledger>, evidence: Evidence) -> Self {
        let states = engine.every_state().expect("a store that was just opened can be read");
        evidence.seen().pauses.look(&states);
        evidence.seen().isolation.restarted(states);
        Self { engine, inner, evidence }
    }

    /// A command that was brought at `at` has just had its `outcome`, from a ledger that knew of revision `known` of authority
    /// before. No earlier was it decided; what its clock says in the outcome may be off.
    fn decided(&self, work: &Work, outcome: &Outcome, known: u64, at: Duration) {
        let (user, tenant) = (work.command.actor(), work.command.scope().tenant());
        match &outcome.verdict {
            Ok(_) => {
                let seen = &mut *self.evidence.seen();
                let revision = outcome.authority_revision;
                seen.revocations.applied(user, tenant, at, revision, known);
                let message = work.command.message();
                let (key, body) = ((tenant, message.message_id.as_str()), message.body_sha256());
                seen.four_eyes.applied(&seen.revocations, key, body, at, revision);
            }
            Err(rejection) if rejection.code == "forbidden" => {
                if self.evidence.seen().four_eyes.given.contains_key(work.command.message().message_id.as_str()) {
                    self.evidence.mark(marks::APPROVER_GONE);
                }
                let replayed = work.command.replayed_by().is_some();
                self.evidence.mark(if replayed { marks::REPLAY_REVOKED } else { marks::REVOKED_IN_FLIGHT });
            }
            Err(_) => {}
        }
    }
}

#[async_trait]
impl Ledger for WatchedLedger {
    async fn apply(&self, run: &Run) -> Result<Vec<Applied>, CallError> {
        let (tenant, count, begun) = (run.scope().tenant(), run.works().len(), super::world::now());
        self.evidence.seen().isolation.begin(tenant, count);
        for work in run.works() {
            let (message_id, mut seen) = (&work.command.message().message_id, self.evidence.seen());
            seen.witness.apply(tenant, message_id).begun += 1;
            seen.witness.brought(tenant, message_id, begun);
        }
        let known = self.engine.authority_known();
        let applied = self.inner.apply(run).await;
        for (work, applied) in run.works().iter().zip(applied.iter().flatten()) {
            let message_id = &work.command.message().message_id;
            self.evidence.record("ledger", "ledger.applied", &format!("{tenant} {message_id} {applied:?}"));
            {
                let mut seen = self.evidence.seen();
                let calls = seen.witness.apply(tenant, message_id);
                calls.answered += 1;
                calls.done += u64::from(matches!(applied, Applied::Now(_)));
                calls.repeated += u64::from(matches!(applied, Applied::Before(_)));
                if matches!(applied, Applied::Now(_) | Applied::Before(_)) {
                    seen.witness.decided(tenant, message_id, super::world::now());
                }
            }
            match applied {
                Applied::Now(outcome) => {
                    match (work.command.message().action.name(), &outcome.verdict) {
                        ("rotate_data_key", Ok(_)) => self.evidence.mark(marks::KEY_ROTATED),
                        ("erase_tenant_secrets", Ok(_)) => self.evidence.mark(marks::ERASED),
                        ("change_plan", Ok(_)) => self.evidence.mark(marks::PLAN_CHANGED),
                        ("suspend_tenant", Ok(_)) => self.evidence.mark(marks::SUSPENDED),
                        (_, Err(rejection)) if rejection.code == "tenant_suspended" => {
                            self.evidence.mark(marks::REJECTED_AS_SUSPENDED);
                        }
                        (_, Err(rejection)) if rejection.code == "outside_guardrail" => {
                            self.evidence.mark(marks::OUTSIDE_GUARDRAIL);
                        }
                        _ => {}
                    }
                    let now = super::world::now();
                    self.evidence.seen().effects.entry(message_id.to_string()).or_default().push(now);
                    self.decided(work, outcome, known, begun);
                    self.evidence.watch_effect(work, outcome);
                }
                Applied::Before(_) => self.evidence.mark(marks::DUPLICATE_APPLY),
                Applied::Conflict => self.evidence.mark(marks::CONFLICT_AT_LEDGER),
                Applied::Overtaken { .. } => self.evidence.mark(marks::OVERTAKEN),
                Applied::Paused => self.evidence.mark(marks::PAUSED_AT_LEDGER),
                Applied::Undecided(why) if why.contains("heard") => self.evidence.mark(marks::CLOSED_AT_LEDGER),
                Applied::Undecided(_) => self.evidence.mark(marks::STALE_AT_LEDGER),
                Applied::Forged => self.evidence.mark(marks::FORGED_DECISION),
                // The service's verdict, not the engine's: it never comes from here.
                Applied::Refused(_) => {}
            }
        }
        if let Err(error) = &applied {
            self.evidence.record("ledger", "ledger.applied", &format!("{tenant} {count} commands: {error}"));
        }
        // A store that can't be read shows at the end, where it is an error of its own.
        if let Ok(states) = self.engine.every_state() {
            let first = run.works()[0].command.message().message_id.as_str();
            self.evidence.seen().pauses.look(&states);
            {
                let isolation = &mut self.evidence.seen().isolation;
                match &applied {
                    Err(CallError::Unknown(_)) => isolation.left_open(states, first),
                    _ => isolation.end(tenant, count, states, first),
                }
            }
            self.evidence.watch_states();
        }
        applied
    }

    async fn outcome(
        &self,
        read: &VerifiedRead,
        message_id: &MessageId,
        wait: Duration,
    ) -> Result<Option<Outcome>, CallError> {
        self.inner.outcome(read, message_id, wait).await
    }

    async fn dry_run(&self, right: &VerifiedDryRun) -> Result<DryRun, CallError> {
        self.inner.dry_run(right).await
    }

    async fn state(&self, read: &VerifiedRead) -> Result<TenantState, CallError> {
        self.inner.state(read).await
    }

    async fn journal(&self, read: &VerifiedRead, from: u64, max: usize) -> Result<Vec<Transaction>, CallError> {
        self.inner.journal(read, from, max).await
    }

    async fn reconcile(&self, read: &VerifiedRead) -> Result<Report, CallError> {
        self.inner.reconcile(read).await
    }

    async fn data_keys(&self, right: &VerifiedSeal) -> Result<DataKeys, CallError> {
        self.inner.data_keys(right).await
    }

    async fn pause(&self, right: &VerifiedPause, to: PauseGeneration) -> Result<Paused, CallError> {
        let tenant = right.scope().tenant();
        self.evidence.seen().isolation.pause(tenant);
        if !to.is_paused() {
            if let Ok(states) = self.engine.every_state() {
                self.evidence.seen().pauses.look(&states);
            }
            self.evidence.seen().pauses.end(tenant);
        }
        let answer = self.inner.pause(right, to).await;
        if let Ok(Paused { generation, version }) = answer
            && generation == to
            && to.is_paused()
        {
            self.evidence.seen().pauses.begin(tenant, version);
        }
        self.evidence.record("ledger", "ledger.paused", &format!("{tenant} {to:?} {answer:?}"));
        answer
    }
}
