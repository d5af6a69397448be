//! The ledger across the network. What crosses it is the bytes that prove a scope, never the scope: the ledger verifies
//! the grant itself, and trusts no consumer to have done so.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    Applied, DataKeys, DryRun, Ledger, Outcome, PauseGeneration, Paused, Report, Run, TenantState, Transaction, Work,
};
use crate::audit::{Claimed, Reporter};
use crate::auth::Decision;
use crate::broker::Position;
use crate::call::CallError;
use crate::capability::Network;
use crate::grant::{
    Envelope, GrantToken, VerifiedDryRun, VerifiedPause, VerifiedRead, VerifiedSeal, Verifier, VerifyError,
};
use crate::ids::MessageId;
use crate::monitor::Monitor;
use crate::rights::Role;
use crate::rpc::{Client, Service};

/// What must be durable waits for one or two syncs; a busy disk takes milliseconds each.
const DURABLE_DEADLINE: Duration = Duration::from_secs(2);
/// Reading is memory, or a read.
const DEADLINE: Duration = Duration::from_secs(1);
/// A tenant of a million outcomes takes some seconds.
const RECONCILE_DEADLINE: Duration = Duration::from_secs(20);

/// What can be asked of a ledger: one variant per method of its trait.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    Apply { run: Vec<(Envelope, Decision, Position)> },
    Outcome { grant: GrantToken, message_id: MessageId, wait_ms: u32 },
    DryRun { body: Bytes, grant: GrantToken },
    State { grant: GrantToken },
    Journal { grant: GrantToken, from: u64, max: u32 },
    Reconcile { grant: GrantToken },
    Pause { grant: GrantToken, to: PauseGeneration },
    DataKeys { grant: GrantToken },
}

/// What it answers.
#[derive(Debug, Serialize, Deserialize)]
pub enum Reply {
    Applied(Vec<Applied>),
    Outcome(Option<Outcome>),
    DryRun(DryRun),
    State(TenantState),
    Journal(Vec<Transaction>),
    Reconciled(Report),
    Paused(Paused),
    DataKeys(DataKeys),
}

/// Offers any ledger to the network, behind a verification of its own.
pub struct LedgerService {
    /// The ledger.
    pub ledger: Arc<dyn Ledger>,
    /// Checks every grant anew.
    pub verifier: Verifier,
    /// Where it reports what it refuses.
    pub reporter: Reporter,
}

impl LedgerService {
    /// Reports what `entry` was refused for, if it is known for good, and returns the caller's answer.
    async fn refused(&self, entry: &str, claimed: Claimed, error: VerifyError) -> CallError {
        let told = match error.code() {
            Some(code) => self.reporter.attempt(code, entry, claimed, &error).await,
            None => Ok(()),
        };
        told.err().unwrap_or_else(|| CallError::failed(error))
    }

    /// The right to read that `grant` is, brought to `entry`.
    async fn reading(&self, entry: &str, claimed: Claimed, grant: GrantToken) -> Result<VerifiedRead, CallError> {
        match self.verifier.read(grant).await {
            Ok(read) => Ok(read),
            Err(error) => Err(self.refused(entry, claimed, error).await),
        }
    }

    /// Reports the commands of `run` that the ledger itself refused.
    async fn refused_of(&self, run: &Run, applied: &[Applied]) -> Result<(), CallError> {
        for (work, applied) in run.works().iter().zip(applied) {
            if let Some((code, why)) = applied.attempt(work.position) {
                self.reporter.attempt(code, "apply", Claimed::of(work.command.message()), why).await?;
            }
        }
        Ok(())
    }
}

impl Service for LedgerService {
    const ROLE: Role = Role::Ledger;
    type Request = Request;
    type Reply = Reply;

    fn may(client: Role, request: &Request) -> bool {
        match request {
            Request::Apply { .. } => client == Role::Consumer,
            Request::Outcome { .. }
            | Request::DryRun { .. }
            | Request::State { .. }
            | Request::Journal { .. }
            | Request::Reconcile { .. }
            | Request::Pause { .. }
            | Request::DataKeys { .. } => client == Role::Producer,
        }
    }

    async fn handle(&self, request: Request) -> Result<Reply, CallError> {
        match request {
            Request::Apply { run } => {
                let (mut works, mut refused) = (Vec::with_capacity(run.len()), Vec::with_capacity(run.len()));
                for (envelope, decision, position) in run {
                    match self.verifier.command(envelope.clone()).await {
                        Ok(command) => {
                            works.push(Work { command, decision, position });
                            refused.push(None);
                        }
                        Err(error) if error.is_transient() => return Err(CallError::failed(error)),
                        // One that will never do must not hold up the others.
                        Err(error) => {
                            let why = error.to_string();
                            if let Some(code) = error.code() {
                                self.reporter.attempt(code, "apply", Claimed::of_body(&envelope.body), &why).await?;
                            }
                            refused.push(Some(Applied::Refused(why)));
                        }
                    }
                }
                let applied = match works.is_empty() {
                    true => Vec::new(),
                    false => {
                        let run = Run::new(works).map_err(CallError::failed)?;
                        let applied = self.ledger.apply(&run).await?;
                        self.refused_of(&run, &applied).await?;
                        applied
                    }
                };
                let mut applied = applied.into_iter();
                let answers = refused.into_iter().map_while(|refused| refused.or_else(|| applied.next()));
                Ok(Reply::Applied(answers.collect()))
            }
            Request::Outcome { grant, message_id, wait_ms } => {
                let claimed = Claimed { message_id: Some(message_id.to_string()), ..Claimed::default() };
                let read = self.reading("outcome", claimed, grant).await?;
                let wait = Duration::from_millis(wait_ms.into());
                self.ledger.outcome(&read, &message_id, wait).await.map(Reply::Outcome)
            }
            Request::DryRun { body, grant } => match self.verifier.dry_run(body.clone(), grant).await {
                Ok(right) => self.ledger.dry_run(&right).await.map(Reply::DryRun),
                Err(error) => Err(self.refused("dry_run", Claimed::of_body(&body), error).await),
            },
            Request::State { grant } => {
                let read = self.reading("state", Claimed::default(), grant).await?;
                self.ledger.state(&read).await.map(Reply::State)
            }
            Request::Journal { grant, from, max } => {
                let read = self.reading("journal", Claimed::default(), grant).await?;
                self.ledger.journal(&read, from, max as usize).await.map(Reply::Journal)
            }
            Request::Reconcile { grant } => {
                let read = self.reading("reconcile", Claimed::default(), grant).await?;
                self.ledger.reconcile(&read).await.map(Reply::Reconciled)
            }
            Request::Pause { grant, to } => {
                let right = match self.verifier.pause(grant).await {
                    Ok(right) => right,
                    Err(error) => return Err(self.refused("pause", Claimed::default(), error).await),
                };
                self.ledger.pause(&right, to).await.map(Reply::Paused)
            }
            Request::DataKeys { grant } => {
                let right = match self.verifier.seal(grant).await {
                    Ok(right) => right,
                    Err(error) => return Err(self.refused("data_keys", Claimed::default(), error).await),
                };
                self.ledger.data_keys(&right).await.map(Reply::DataKeys)
            }
        }
    }

    fn reporter(&self) -> Reporter {
        self.reporter.clone()
    }

    fn claims(request: &Request) -> (&'static str, Claimed) {
        match request {
            Request::Apply { run } => {
                ("apply", run.first().map(|(envelope, ..)| Claimed::of_body(&envelope.body)).unwrap_or_default())
            }
            Request::Outcome { message_id, .. } => {
                ("outcome", Claimed { message_id: Some(message_id.to_string()), ..Claimed::default() })
            }
            Request::DryRun { body, .. } => ("dry_run", Claimed::of_body(body)),
            Request::State { .. } => ("state", Claimed::default()),
            Request::Journal { .. } => ("journal", Claimed::default()),
            Request::Reconcile { .. } => ("reconcile", Claimed::default()),
            Request::Pause { .. } => ("pause", Claimed::default()),
            Request::DataKeys { .. } => ("data_keys", Claimed::default()),
        }
    }
}

/// A ledger somewhere else.
pub struct RemoteLedger {
    client: Client<LedgerService>,
}

impl RemoteLedger {
    /// The ledger at `address`, for the part of `role`.
    #[must_use]
    pub fn new(network: Arc<dyn Network>, address: &str, role: Role) -> Self {
        Self { client: Client::new(network, address, role) }
    }

    /// Counts its calls in `monitor`, whose readiness needs the other side from then on.
    #[must_use]
    pub fn monitored(self, monitor: &Monitor) -> Self {
        Self { client: self.client.monitored(monitor) }
    }
}

#[async_trait]
impl Ledger for RemoteLedger {
    async fn apply(&self, run: &Run) -> Result<Vec<Applied>, CallError> {
        let work = |work: &Work| (work.command.envelope().clone(), work.decision.clone(), work.position);
        let request = Request::Apply { run: run.works().iter().map(work).collect() };
        match self.client.call(&request, DURABLE_DEADLINE).await? {
            // Fewer answers than questions: nobody knows which they are to.
            Reply::Applied(applied) if applied.len() == run.works().len() => Ok(applied),
            reply => Err(self.client.unexpected(&reply)),
        }
    }

    async fn outcome(
        &self,
        read: &VerifiedRead,
        message_id: &MessageId,
        wait: Duration,
    ) -> Result<Option<Outcome>, CallError> {
        let wait_ms = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX);
        let request = Request::Outcome { grant: read.grant().clone(), message_id: message_id.clone(), wait_ms };
        match self.client.call(&request, wait + DEADLINE).await? {
            Reply::Outcome(outcome) => Ok(outcome),
            reply => Err(self.client.unexpected(&reply)),
        }
    }

    async fn dry_run(&self, right: &VerifiedDryRun) -> Result<DryRun, CallError> {
        let request = Request::DryRun { body: right.message().body.clone(), grant: right.grant().clone() };
        match self.client.call(&request, DEADLINE).await? {
            Reply::DryRun(seen) => Ok(seen),
            reply => Err(self.client.unexpected(&reply)),
        }
    }

    async fn state(&self, read: &VerifiedRead) -> Result<TenantState, CallError> {
        match self.client.call(&Request::State { grant: read.grant().clone() }, DEADLINE).await? {
            Reply::State(state) => Ok(state),
            reply => Err(self.client.unexpected(&reply)),
        }
    }

    async fn journal(&self, read: &VerifiedRead, from: u64, max: usize) -> Result<Vec<Transaction>, CallError> {
        let max = u32::try_from(max).unwrap_or(u32::MAX);
        let request = Request::Journal { grant: read.grant().clone(), from, max };
        match self.client.call(&request, DEADLINE).await? {
            Reply::Journal(transactions) => Ok(transactions),
            reply => Err(self.client.unexpected(&reply)),
        }
    }

    async fn reconcile(&self, read: &VerifiedRead) -> Result<Report, CallError> {
        match self.client.call(&Request::Reconcile { grant: read.grant().clone() }, RECONCILE_DEADLINE).await? {
            Reply::Reconciled(report) => Ok(report),
            reply => Err(self.client.unexpected(&reply)),
        }
    }

    async fn pause(&self, right: &VerifiedPause, to: PauseGeneration) -> Result<Paused, CallError> {
        let request = Request::Pause { grant: right.grant().clone(), to };
        match self.client.call(&request, DURABLE_DEADLINE).await? {
            Reply::Paused(paused) => Ok(paused),
            reply => Err(self.client.unexpected(&reply)),
        }
    }

    async fn data_keys(&self, right: &VerifiedSeal) -> Result<DataKeys, CallError> {
        match self.client.call(&Request::DataKeys { grant: right.grant().clone() }, DURABLE_DEADLINE).await? {
            Reply::DataKeys(keys) => Ok(keys),
            reply => Err(self.client.unexpected(&reply)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::Permission;
    use crate::testing::{Bench, credit};

    #[tokio::test]
    async fn a_command_that_will_never_do_holds_up_no_other_of_its_run() {
        let bench = Bench::new().await;
        let ledger = bench.ledger().await;
        let verifier = Verifier::new(bench.authority.clone(), bench.world.clock.clone());
        let service = LedgerService { ledger: ledger.clone(), verifier, reporter: Reporter::none() };
        let mut run = Vec::new();
        for (sequence, id) in (1..).zip(["m-1", "m-2", "m-3"]) {
            let envelope = bench.envelope("acme", id, credit("acme", id, 5)).await;
            run.push((envelope, bench.permit("acme", Permission::IssueCredit), Position { epoch: 1, sequence }));
        }
        // Another body than the grant is for.
        run[1].0.body = credit("acme", "m-2", 500).into();
        let Reply::Applied(applied) = service.handle(Request::Apply { run }).await.unwrap() else { panic!() };
        assert!(matches!(&applied[..], [Applied::Now(_), Applied::Refused(_), Applied::Now(_)]), "{applied:?}");
        assert_eq!(ledger.state(&bench.read("acme").await).await.unwrap().credits["EUR"], 10);
    }
}
