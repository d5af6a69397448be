//! A ledger with a defect.

use std::time::Duration;

use async_trait::async_trait;
use tenantry_system::call::CallError;
use tenantry_system::grant::{VerifiedDryRun, VerifiedPause, VerifiedRead, VerifiedSeal};
use tenantry_system::ids::MessageId;
use tenantry_system::ledger::{
    Applied, DataKeys, DryRun, Ledger, Outcome, PauseGeneration, Paused, Report, Run, TenantState, Transaction,
};

use super::Bent;

/// As [`Ledger`]; what is not said otherwise the one behind it answers.
#[async_trait]
pub trait BentLedger: Send + Sync + 'static {
    /// The one behind it.
    fn inner(&self) -> &dyn Ledger;

    /// See [`Ledger::apply`].
    async fn apply(&self, run: &Run) -> Result<Vec<Applied>, CallError> {
        self.inner().apply(run).await
    }

    /// See [`Ledger::outcome`].
    async fn outcome(
        &self,
        read: &VerifiedRead,
        message_id: &MessageId,
        wait: Duration,
    ) -> Result<Option<Outcome>, CallError> {
        self.inner().outcome(read, message_id, wait).await
    }

    /// See [`Ledger::dry_run`].
    async fn dry_run(&self, right: &VerifiedDryRun) -> Result<DryRun, CallError> {
        self.inner().dry_run(right).await
    }

    /// See [`Ledger::state`].
    async fn state(&self, read: &VerifiedRead) -> Result<TenantState, CallError> {
        self.inner().state(read).await
    }

    /// See [`Ledger::pause`].
    async fn pause(&self, right: &VerifiedPause, to: PauseGeneration) -> Result<Paused, CallError> {
        self.inner().pause(right, to).await
    }
}

#[async_trait]
impl<T: BentLedger> Ledger for Bent<T> {
    async fn apply(&self, run: &Run) -> Result<Vec<Applied>, CallError> {
        self.0.apply(run).await
    }

    async fn outcome(
        &self,
        read: &VerifiedRead,
        message_id: &MessageId,
        wait: Duration,
    ) -> Result<Option<Outcome>, CallError> {
        self.0.outcome(read, message_id, wait).await
    }

    async fn dry_run(&self, right: &VerifiedDryRun) -> Result<DryRun, CallError> {
        self.0.dry_run(right).await
    }

    async fn state(&self, read: &VerifiedRead) -> Result<TenantState, CallError> {
        self.0.state(read).await
    }

    async fn pause(&self, right: &VerifiedPause, to: PauseGeneration) -> Result<Paused, CallError> {
        self.0.pause(right, to).await
    }

    async fn journal(&self, read: &VerifiedRead, from: u64, max: usize) -> Result<Vec<Transaction>, CallError> {
        self.0.inner().journal(read, from, max).await
    }

    async fn reconcile(&self, read: &VerifiedRead) -> Result<Report, CallError> {
        self.0.inner().reconcile(read).await
    }

    async fn data_keys(&self, right: &VerifiedSeal) -> Result<DataKeys, CallError> {
        self.0.inner().data_keys(right).await
    }
}
