//! The consumer: takes the runs that the broker leases, makes sure each command is allowed, and has the ledger apply them.
//!
//! It trusts nothing it reads. The grant is verified against the body, auth is asked again whether the operator may still
//! do this, and only then is the ledger called - which verifies the grant once more. What the ledger left unanswered is
//! asked again at once: applying twice is applying once, and the second answer tells what the first would have.

mod decide;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::{JoinSet, yield_now};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::action::Permission;
use crate::audit::{Claimed, Code, Reporter};
use crate::auth::{Authority, Decision};
use crate::broker::{Again, Broker, Delivered, Delivery, Ending, Position, RUN_MAX, Settlement};
use crate::call::CallError;
use crate::capability::Clock;
use crate::grant::{Envelope, VerifiedCommand, Verifier};
use crate::ids::UserId;
use crate::ledger::{Applied, Ledger, Run, Work};
use crate::monitor::{HandledEnd, Monitor, SpanKind, Stage, Started};
use crate::rate_limit::{Limiter, RateLimits};

use decide::{Looked, look, settlement};

/// Commands in work at once. While some wait for a commit, others are verified: many at once make few commits.
const IN_FLIGHT_MAX: usize = 512;

/// Verifications in a row before others have their turn: some 40 us each.
const VERIFY_BURST: usize = 8;

/// A run may be worked on this long; then it comes again. Shorter than a lease, so that there is still a word.
const PROCESS_MAX: Duration = Duration::from_secs(4);

/// A ledger that left a run unanswered is asked again this often, and this long after.
const ASK_AGAIN_MAX: usize = 3;
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(20);

/// A tenant or a user at the limit waits at least this long.
const THROTTLED_MIN: Duration = Duration::from_millis(100);

/// A fetch waits this long for something to do.
const FETCH_WAIT: Duration = Duration::from_secs(2);

/// The pause after a failed fetch doubles from the first to the second.
const BACKOFF_MIN: Duration = Duration::from_millis(20);
const BACKOFF_MAX: Duration = Duration::from_millis(500);

/// Messages in work; no longer counted when it is dropped, however that came.
struct Counted {
    count: usize,
    counter: Arc<AtomicUsize>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.counter.fetch_sub(self.count, Ordering::Relaxed);
    }
}

/// What a consumer works with.
pub struct Consumer {
    broker: Arc<dyn Broker>,
    authority: Arc<dyn Authority>,
    ledger: Arc<dyn Ledger>,
    verifier: Verifier,
    limiter: Limiter,
    clock: Arc<dyn Clock>,
    reporter: Reporter,
    monitor: Monitor,
}

/// What the consumer makes of a run.
struct Processed {
    settlement: Settlement,
    /// The messages it refuses, by their index in the run.
    refused: Vec<(usize, Code)>,
}

impl Consumer {
    /// A consumer between these services. It lets twice the producer's `limits` through, so that what piled up behind an
    /// outage drains while more comes; what others take counts for them.
    #[must_use]
    pub fn new(
        broker: Arc<dyn Broker>,
        authority: Arc<dyn Authority>,
        ledger: Arc<dyn Ledger>,
        clock: Arc<dyn Clock>,
        limits: &RateLimits,
    ) -> Self {
        let verifier = Verifier::new(authority.clone(), clock.clone());
        let limiter = Limiter::new(&limits.doubled());
        let (reporter, monitor) = (Reporter::none(), Monitor::default());
        Self { broker, authority, ledger, verifier, limiter, clock, reporter, monitor }
    }

    /// Reports what it refuses to `reporter`.
    #[must_use]
    pub fn reporting(self, reporter: Reporter) -> Self {
        Self { reporter, ..self }
    }

    /// Measures what it does in `monitor`.
    #[must_use]
    pub fn monitored(self, monitor: &Monitor) -> Self {
        Self { limiter: self.limiter.monitored(monitor), monitor: monitor.clone(), ..self }
    }

    /// Works until `stop` is cancelled, then ends what is in work and returns. A run whose handling panics is given up alone:
    /// its lease runs out.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut in_work = JoinSet::new();
        let (in_flight, mut backoff) = (Arc::new(AtomicUsize::new(0)), BACKOFF_MIN);
        while !stop.is_cancelled() {
            while in_work.try_join_next().is_some() {}
            // Room for a whole run, lest runs are cut small just when there is much to do.
            let room = IN_FLIGHT_MAX - in_flight.load(Ordering::Relaxed).min(IN_FLIGHT_MAX);
            if room < RUN_MAX {
                in_work.join_next().await;
                continue;
            }
            let fetched = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                fetched = self.broker.fetch(room, FETCH_WAIT) => fetched,
            };
            match fetched {
                Ok(deliveries) => {
                    backoff = BACKOFF_MIN;
                    for delivery in deliveries {
                        let (count, counter) = (delivery.messages.len(), in_flight.clone());
                        let handling = self.clone().handle(delivery);
                        counter.fetch_add(count, Ordering::Relaxed);
                        in_work.spawn(async move {
                            let _done = Counted { count, counter };
                            handling.await;
                        });
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "failed to fetch");
                    sleep(backoff).await;
                    backoff = (backoff * 2).min(BACKOFF_MAX);
                }
            }
        }
        while in_work.join_next().await.is_some() {}
    }

    /// Deals with one run.
    async fn handle(self: Arc<Self>, delivery: Delivery) {
        // What was cut off in the middle of the ledger's call is unknown: applying it again is safe, and tells.
        let processed = timeout(PROCESS_MAX, self.process(&delivery)).await;
        let too_long =
            |_| Processed { settlement: Settlement::again("it took the consumer too long"), refused: Vec::new() };
        let Processed { settlement, refused } = processed.unwrap_or_else(too_long);
        let tenant = &delivery.lease.tenant;
        for (ending, message) in settlement.ended.iter().zip(&delivery.messages) {
            if let Ending::DeadLetter { reason } = ending {
                tracing::warn!(%tenant, message_id = %message.message_id, reason, "dead letter");
            }
        }
        // First what is refused is on record, then it is put aside. Whoever has the message after us, because our lease has
        // ended or our word was lost, reports it too: the log takes one.
        if let Err(error) = self.report(&delivery, &settlement.ended, refused).await {
            tracing::warn!(%error, %tenant, "what is refused is not on record yet: the run comes again");
            return;
        }
        self.count(delivery.messages.len(), &settlement.ended);
        // Not settled is not lost: the lease runs out, the messages come again, and their outcomes are found.
        match self.broker.settle(&delivery.lease, settlement).await {
            Ok(true) => {}
            Ok(false) => tracing::warn!(%tenant, "the lease had ended: what was settled comes again"),
            Err(error) => tracing::warn!(%error, %tenant, "failed to settle"),
        }
    }

    /// Counts the messages of a run of `length`, of which the first have `ended`.
    fn count(&self, length: usize, ended: &[Ending]) {
        let handled = &self.monitor.metrics.handled;
        for ending in ended {
            handled.inc(match ending {
                Ending::Done => HandledEnd::Done,
                Ending::DeadLetter { .. } => HandledEnd::DeadLetter,
            });
        }
        handled.add(HandledEnd::Again, length.saturating_sub(ended.len()) as u64);
    }

    /// Begins the span of one delivered message, under which everything else is that is done with it.
    fn deciding(&self, message: &Delivered) -> Started {
        let mut span = self.monitor.tracer.start("consumer.decide", SpanKind::Consumer, message.envelope.trace);
        span.note("messaging.system", "tenantry");
        span.note("messaging.operation.type", "process");
        span.note("messaging.message.id", &message.message_id);
        span.note("tenantry.attempt", message.attempt);
        span
    }

    /// Everything between a delivery and its settlement.
    async fn process(&self, delivery: &Delivery) -> Processed {
        let mut codes = Vec::new();
        let (mut refused, mut works, mut again) = (Vec::new(), Vec::new(), Again::default());
        let (mut decisions, mut spans, begun) = (Vec::new(), Vec::new(), Instant::now());
        for (index, message) in delivery.messages.iter().enumerate() {
            if index % VERIFY_BURST == VERIFY_BURST - 1 {
                yield_now().await;
            }
            let span = self.deciding(message);
            let envelope = Envelope { trace: span.context, ..message.envelope.clone() };
            spans.push(span);
            let verified = self.verifier.command(envelope).await;
            match look(verified, &delivery.lease.tenant, message) {
                Looked::Refused(code, reason) => {
                    codes.push((index, code));
                    refused.push((message.position, Some(reason)));
                }
                Looked::NotNow(reason) => {
                    again.reason = reason;
                    break;
                }
                Looked::Command(command) => match self.admit(&command, &mut decisions).await {
                    Ok(decision) => {
                        refused.push((message.position, None));
                        works.push(Work { command: *command, decision, position: message.position });
                    }
                    Err(not_now) => {
                        again = not_now;
                        break;
                    }
                },
            }
        }
        let decided = begun.elapsed().as_secs_f64();
        spans.iter().for_each(|_| self.monitor.metrics.stage.observe(Stage::Decide, decided));
        let applied = if works.is_empty() { Ok(Vec::new()) } else { self.apply(works).await };
        let applied = applied.unwrap_or_else(|error| {
            tracing::warn!(%error, tenant = %delivery.lease.tenant, "failed to apply; the commands come again");
            again.reason = error.to_string();
            Vec::new()
        });
        let now_unix_ms = self.clock.now().as_millisecond();
        for ((index, position), applied) in unrefused(&refused).zip(&applied) {
            if matches!(applied, Applied::Now(_)) {
                let took_ms = now_unix_ms - delivery.messages[index].published_at_unix_ms;
                self.monitor.metrics.stage.observe(Stage::EndToEnd, took_ms as f64 / 1000.0);
            }
            codes.extend(applied.attempt(position).map(|(code, _)| (index, code)));
        }
        Processed { settlement: settlement(refused, applied, again), refused: codes }
    }

    /// Reports the messages of `delivery` that ended as dead letters because they were `refused`.
    async fn report(
        &self,
        Delivery { lease, messages }: &Delivery,
        ended: &[Ending],
        refused: Vec<(usize, Code)>,
    ) -> Result<(), CallError> {
        for (index, code) in refused {
            let (Some(Ending::DeadLetter { reason }), Some(message)) = (ended.get(index), messages.get(index)) else {
                continue;
            };
            // The lane and the name it came under count, whatever its body says.
            let (tenant, message_id) = (Some(lease.tenant.to_string()), Some(message.message_id.to_string()));
            let claimed = Claimed { tenant, message_id, ..Claimed::of_body(&message.envelope.body) };
            self.reporter.attempt(code, "delivery", claimed, reason).await?;
        }
        Ok(())
    }

    /// What auth says to `command` now, if it may be asked yet; once per user and permission of a run.
    async fn admit(
        &self,
        command: &VerifiedCommand,
        decisions: &mut Vec<(UserId, Permission, Decision)>,
    ) -> Result<Decision, Again> {
        let (message, tenant) = (command.message(), command.scope().tenant());
        // Whoever can publish past the producer is slowed down here.
        self.limiter.command(tenant, command.actor()).map_err(|limited| Again {
            // Long enough for several: a transaction for each one that is let through would cost more than it saves.
            after_ms: Some(limited.retry_after.max(THROTTLED_MIN).as_millis() as u64 + 1),
            reason: limited.to_string(),
        })?;
        // Of a replayed letter the replayer's, whatever its author may do by now.
        let (user, permission) = (command.actor(), message.action.permission());
        if let Some((.., known)) = decisions.iter().find(|(u, p, _)| (u, *p) == (user, permission)) {
            return Ok(known.clone());
        }
        match self.authority.recheck(user, tenant, permission, &message.body_sha256()).await {
            Ok(decision) => {
                // One that looks at an approval is on this command alone.
                if decision.approval.is_none() {
                    decisions.push((user.clone(), permission, decision.clone()));
                }
                Ok(decision)
            }
            // Closed: without an answer from auth nothing takes effect.
            Err(error) => {
                tracing::warn!(%error, %tenant, "failed to ask auth; the command waits");
                Err(Again { reason: error.to_string(), after_ms: None })
            }
        }
    }

    /// Has the ledger apply `works`; what it leaves open is asked again.
    async fn apply(&self, works: Vec<Work>) -> Result<Vec<Applied>, CallError> {
        let run = Run::new(works).map_err(CallError::failed)?;
        let mut asked = 1;
        loop {
            match self.ledger.apply(&run).await {
                Err(CallError::Unknown(why)) if asked <= ASK_AGAIN_MAX => {
                    tracing::debug!(why, asked, "the ledger's answer is unknown; asking again");
                    asked += 1;
                    sleep(ASK_AGAIN_AFTER).await;
                }
                answer => return answer,
            }
        }
    }
}

/// The messages of a run that were not refused before the ledger was asked, with their indices.
fn unrefused(refused: &[(Position, Option<String>)]) -> impl Iterator<Item = (usize, Position)> {
    let asked = refused.iter().enumerate().filter(|(_, (_, reason))| reason.is_none());
    asked.map(|(index, (position, _))| (index, *position))
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;

    use super::*;
    use crate::audit::EmbeddedAudit;
    use crate::auth::{
        Approval, ApprovalRequest, BreakGlass, BreakGlassRequest, Denied, GrantRequest, InForce, PlatformRight,
    };
    use crate::broker::{EmbeddedBroker, Limits, Published, Standing};
    use crate::grant::{Envelope, GrantToken, VerifiedDryRun, VerifiedPause, VerifiedRead, VerifiedSeal};
    use crate::ids::{MessageId, TenantId};
    use crate::jws::PublicKeys;
    use crate::ledger::{
        DataKeys, DryRun, EmbeddedLedger, Outcome, PauseGeneration, Paused, Report, TenantState, Transaction,
    };
    use crate::message::BodyHash;
    use crate::rate_limit::Rate;
    use crate::rights::Role;
    use crate::testing::{Bench, credit, message_id, tenant};

    /// Auth that gave grants, and at the effect answers something else.
    struct ChangedMind {
        inner: Arc<dyn Authority>,
        now: Result<Decision, CallError>,
    }

    #[async_trait]
    impl Authority for ChangedMind {
        async fn grant(&self, request: &GrantRequest) -> Result<Result<GrantToken, Denied>, CallError> {
            self.inner.grant(request).await
        }
        async fn recheck(&self, _: &UserId, _: &TenantId, _: Permission, _: &BodyHash) -> Result<Decision, CallError> {
            self.now.clone()
        }
        async fn keys(&self) -> Result<PublicKeys, CallError> {
            self.inner.keys().await
        }
        async fn in_force(&self, known: u64, wait: Duration) -> Result<InForce, CallError> {
            self.inner.in_force(known, wait).await
        }
        async fn operator(
            &self,
            token: &str,
            right: Option<PlatformRight>,
        ) -> Result<Result<UserId, Denied>, CallError> {
            self.inner.operator(token, right).await
        }
        async fn break_glass(
            &self,
            token: &str,
            request: BreakGlassRequest,
        ) -> Result<Result<Vec<BreakGlass>, Denied>, CallError> {
            self.inner.break_glass(token, request).await
        }
        async fn approvals(
            &self,
            token: &str,
            request: ApprovalRequest,
        ) -> Result<Result<Vec<Approval>, Denied>, CallError> {
            self.inner.approvals(token, request).await
        }
    }

    /// Publishes one credit, lets a consumer handle it whose auth now says `now`, and returns broker and ledger.
    async fn handled(bench: &Bench, now: Result<Decision, CallError>) -> (Arc<EmbeddedBroker>, Arc<EmbeddedLedger>) {
        let broker = Arc::new(EmbeddedBroker::open(&bench.world, Limits::default()).await.unwrap());
        let ledger = bench.ledger().await;
        let envelope = bench.envelope("acme", "m-1", credit("acme", "m-1", 5)).await;
        let published = broker.publish(&tenant("acme"), &message_id("m-1"), envelope).await;
        assert_eq!(published, Ok(Published::Accepted { sequence: 1 }));
        let authority = Arc::new(ChangedMind { inner: bench.authority.clone(), now });
        let (clock, limits) = (bench.world.clock.clone(), RateLimits::default());
        let consumer = Consumer::new(broker.clone(), authority, ledger.clone(), clock, &limits);
        // Buckets begin empty.
        sleep(Duration::from_secs(1)).await;
        let delivery = broker.fetch(1, Duration::ZERO).await.unwrap().remove(0);
        Arc::new(consumer).handle(delivery).await;
        (broker, ledger)
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_allowed_when_it_was_sent_is_asked_again_at_the_effect() {
        let bench = Bench::new().await;
        let deny = bench.deny("acme", "the role was taken away");
        let (broker, ledger) = handled(&bench, Ok(deny)).await;
        let state = ledger.state(&bench.read("acme").await).await.unwrap();
        assert_eq!((state.version, state.credits.len()), (1, 0), "an outcome, and no effect");
        let outcome = ledger.outcome(&bench.read("acme").await, &message_id("m-1"), Duration::ZERO).await.unwrap();
        assert_eq!(outcome.unwrap().verdict.unwrap_err().code, "forbidden");
        let standing = broker.standing(&tenant("acme"), &message_id("m-1")).await.unwrap();
        assert_eq!(standing.map(|known| known.standing), Some(Standing::Settled));
    }

    #[tokio::test(start_paused = true)]
    async fn a_replayed_letter_is_decided_by_the_authority_of_whoever_replayed_it() {
        let bench = Bench::new().await;
        let broker = Arc::new(EmbeddedBroker::open(&bench.world, Limits::default()).await.unwrap());
        let ledger = bench.ledger().await;
        // Eve wrote both, and may nothing. Ana replays one; the grant of the other is of bob, who may nothing by now.
        let eves = |id: &str| credit("acme", id, 5).replace("ana", "eve");
        let replay = |id: &str| crate::grant::Purpose::Replay {
            action: "issue_credit".into(),
            message_id: message_id(id),
            body_sha256: crate::message::body_sha256(eves(id).as_bytes()),
            author: UserId::parse("eve").unwrap(),
        };
        let now = bench.world.clock.unix_seconds();
        let bobs = bench.authority.issue_at(UserId::parse("bob").unwrap(), tenant("acme"), replay("m-2"), now);
        let grants = [("m-1", bench.grant("acme", replay("m-1")).await.unwrap()), ("m-2", bobs)];
        for (id, grant) in grants {
            let envelope = Envelope { body: eves(id).into(), grant, trace: None };
            broker.publish(&tenant("acme"), &message_id(id), envelope).await.unwrap();
        }
        let (clock, limits) = (bench.world.clock.clone(), RateLimits::default());
        let consumer = Consumer::new(broker.clone(), bench.authority.clone(), ledger.clone(), clock, &limits);
        sleep(Duration::from_secs(1)).await;
        let delivery = broker.fetch(9, Duration::ZERO).await.unwrap().remove(0);
        Arc::new(consumer).handle(delivery).await;
        let mut ended = Vec::new();
        for id in ["m-1", "m-2"] {
            let outcome = ledger.outcome(&bench.read("acme").await, &message_id(id), Duration::ZERO).await.unwrap();
            ended.push(outcome.unwrap().verdict.map(drop).map_err(|rejection| rejection.code));
        }
        assert_eq!(ended, [Ok(()), Err("forbidden".into())]);
        let audit = Arc::new(EmbeddedAudit::open(&bench.world).await.unwrap());
        let relaying = tokio::spawn(crate::audit::relay(ledger.outgoing(), audit.clone(), bench.world.clock.clone()));
        while audit.entries().unwrap().len() < 2 {
            yield_now().await;
        }
        relaying.abort();
        let told: Vec<_> = audit.entries().unwrap().into_iter().map(|e| (e.user_id, e.replayed_by.unwrap())).collect();
        let names: Vec<_> = told.iter().map(|(user, by)| (user.as_str(), by.as_str())).collect();
        assert_eq!(names, [("eve", "ana"), ("eve", "bob")]);
    }

    #[tokio::test(start_paused = true)]
    async fn without_an_answer_from_auth_nothing_takes_effect_and_the_command_waits() {
        let bench = Bench::new().await;
        let (broker, ledger) = handled(&bench, Err(CallError::unknown("auth is cut off"))).await;
        assert_eq!(ledger.state(&bench.read("acme").await).await.unwrap().version, 0);
        assert_eq!(broker.depth(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_permitted_command_is_applied_and_settled() {
        let bench = Bench::new().await;
        let (broker, ledger) = handled(&bench, Ok(bench.permit("acme", Permission::IssueCredit))).await;
        assert_eq!(ledger.state(&bench.read("acme").await).await.unwrap().credits["EUR"], 5);
        assert_eq!(broker.depth(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_can_not_be_put_on_record_is_not_put_aside_either() {
        let bench = Bench::new().await;
        let broker = Arc::new(EmbeddedBroker::open(&bench.world, Limits::default()).await.unwrap());
        let audit = Arc::new(EmbeddedAudit::open(&bench.world).await.unwrap());
        let reporter = Reporter::start(Role::Consumer, &bench.world, audit).await.unwrap();
        let (clock, limits) = (bench.world.clock.clone(), RateLimits::default());
        let consumer = Consumer::new(broker.clone(), bench.authority.clone(), bench.ledger().await, clock, &limits);
        let consumer = Arc::new(consumer.reporting(reporter.clone()));
        let forged = Envelope { body: credit("acme", "m-1", 5).into(), grant: "a.b.c".into(), trace: None };
        broker.publish(&tenant("acme"), &message_id("m-1"), forged).await.unwrap();
        let lease = Limits::default().lease + Limits::default().backoff_max * 2;
        let fetch = async || broker.fetch(1, lease).await.unwrap().remove(0);

        reporter.fill();
        consumer.clone().handle(fetch().await).await;
        assert_eq!((broker.depth(), broker.dead_letters_kept().unwrap()), (1, 0), "put aside without a word");
        // It comes again, and whoever can report it puts it aside.
        assert_eq!(fetch().await.messages[0].attempt, 2);
    }

    /// A ledger that does what it is asked and says that it does not know.
    struct Mumbling {
        inner: Arc<EmbeddedLedger>,
        mumbles: std::sync::atomic::AtomicUsize,
    }

    #[async_trait]
    impl Ledger for Mumbling {
        async fn apply(&self, run: &Run) -> Result<Vec<Applied>, CallError> {
            let applied = self.inner.apply(run).await;
            match self.mumbles.fetch_sub(1, std::sync::atomic::Ordering::Relaxed) {
                0 => applied,
                _ => Err(CallError::unknown("the answer was lost")),
            }
        }
        async fn outcome(
            &self,
            r: &VerifiedRead,
            id: &MessageId,
            wait: Duration,
        ) -> Result<Option<Outcome>, CallError> {
            self.inner.outcome(r, id, wait).await
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
        async fn pause(&self, right: &VerifiedPause, to: PauseGeneration) -> Result<Paused, CallError> {
            self.inner.pause(right, to).await
        }
        async fn data_keys(&self, right: &VerifiedSeal) -> Result<DataKeys, CallError> {
            self.inner.data_keys(right).await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_was_lost_is_asked_for_again_at_once_and_the_effect_stays_one() {
        let bench = Bench::new().await;
        let broker = Arc::new(EmbeddedBroker::open(&bench.world, Limits::default()).await.unwrap());
        let inner = bench.ledger().await;
        let ledger = Arc::new(Mumbling { inner, mumbles: 2.into() });
        let envelope = bench.envelope("acme", "m-1", credit("acme", "m-1", 5)).await;
        broker.publish(&tenant("acme"), &message_id("m-1"), envelope).await.unwrap();
        let (clock, limits) = (bench.world.clock.clone(), RateLimits::default());
        let consumer = Consumer::new(broker.clone(), bench.authority.clone(), ledger.clone(), clock, &limits);
        sleep(Duration::from_secs(1)).await;
        let delivery = broker.fetch(1, Duration::ZERO).await.unwrap().remove(0);
        Arc::new(consumer).handle(delivery).await;
        assert_eq!(broker.depth(), 0, "settled in the first delivery");
        assert_eq!(ledger.state(&bench.read("acme").await).await.unwrap().credits["EUR"], 5);
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_too_fast_waits_its_time_in_order_and_is_not_lost() {
        let bench = Bench::new().await;
        let broker = Arc::new(EmbeddedBroker::open(&bench.world, Limits::default()).await.unwrap());
        let ledger = bench.ledger().await;
        for index in 0..30 {
            let id = format!("m-{index}");
            let envelope = bench.envelope("acme", &id, credit("acme", &id, 1)).await;
            broker.publish(&tenant("acme"), &message_id(&id), envelope).await.unwrap();
        }
        let slow = RateLimits { tenant: Rate::new(5, 5), ..RateLimits::default() };
        let clock = bench.world.clock.clone();
        let consumer = Consumer::new(broker.clone(), bench.authority.clone(), ledger.clone(), clock, &slow);
        let stop = CancellationToken::new();
        let working = tokio::spawn(Arc::new(consumer).run(stop.clone()));
        sleep(Duration::from_millis(1_050)).await;
        let version = ledger.state(&bench.read("acme").await).await.unwrap().version;
        assert!((9..=11).contains(&version), "{version} in a second at ten a second, from an empty bucket");
        sleep(Duration::from_secs(3)).await;
        assert_eq!(ledger.state(&bench.read("acme").await).await.unwrap().version, 30);
        assert_eq!((broker.depth(), broker.dead_letters_kept().unwrap()), (0, 0));
        stop.cancel();
        working.await.unwrap();
    }

    /// Auth whose keys can't be had the first time they are asked for.
    struct SlowToWake {
        inner: Arc<dyn Authority>,
        asleep: std::sync::atomic::AtomicBool,
    }

    #[async_trait]
    impl Authority for SlowToWake {
        async fn grant(&self, request: &GrantRequest) -> Result<Result<GrantToken, Denied>, CallError> {
            self.inner.grant(request).await
        }
        async fn recheck(
            &self,
            user: &UserId,
            tenant: &TenantId,
            of: Permission,
            body: &BodyHash,
        ) -> Result<Decision, CallError> {
            self.inner.recheck(user, tenant, of, body).await
        }
        async fn keys(&self) -> Result<PublicKeys, CallError> {
            match self.asleep.swap(false, std::sync::atomic::Ordering::Relaxed) {
                true => Err(CallError::failed("not yet")),
                false => self.inner.keys().await,
            }
        }
        async fn in_force(&self, known: u64, wait: Duration) -> Result<InForce, CallError> {
            self.inner.in_force(known, wait).await
        }
        async fn operator(
            &self,
            token: &str,
            right: Option<PlatformRight>,
        ) -> Result<Result<UserId, Denied>, CallError> {
            self.inner.operator(token, right).await
        }
        async fn break_glass(
            &self,
            token: &str,
            request: BreakGlassRequest,
        ) -> Result<Result<Vec<BreakGlass>, Denied>, CallError> {
            self.inner.break_glass(token, request).await
        }
        async fn approvals(
            &self,
            token: &str,
            request: ApprovalRequest,
        ) -> Result<Result<Vec<Approval>, Denied>, CallError> {
            self.inner.approvals(token, request).await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_overtakes_a_command_that_must_wait() {
        let bench = Bench::new().await;
        let broker = Arc::new(EmbeddedBroker::open(&bench.world, Limits::default()).await.unwrap());
        let ledger = bench.ledger().await;
        let ids = ["m-1", "m-2"];
        for id in ids {
            let envelope = bench.envelope("acme", id, credit("acme", id, 1)).await;
            broker.publish(&tenant("acme"), &message_id(id), envelope).await.unwrap();
        }
        let authority = Arc::new(SlowToWake { inner: bench.authority.clone(), asleep: true.into() });
        let (clock, limits) = (bench.world.clock.clone(), RateLimits::default());
        let consumer = Arc::new(Consumer::new(broker.clone(), authority, ledger.clone(), clock, &limits));
        sleep(Duration::from_secs(1)).await;
        for waiting in [2, 0] {
            let delivery = broker.fetch(9, Duration::from_secs(1)).await.unwrap().remove(0);
            assert_eq!(delivery.messages.len(), 2);
            consumer.clone().handle(delivery).await;
            assert_eq!(broker.depth(), waiting);
        }
        for (id, version) in ids.into_iter().zip(1..) {
            let outcome = ledger.outcome(&bench.read("acme").await, &message_id(id), Duration::ZERO).await.unwrap();
            assert_eq!(outcome.unwrap().version, version, "{id}");
        }
    }
}
