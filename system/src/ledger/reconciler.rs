//! Reconciliation, done: reads one tenant after another in one snapshot each, while the ledger goes on, and tells what it
//! found.
//!
//! A snapshot is exact however many commits come meanwhile. It is read in slices with a pause after each, so that whoever
//! applies commands is not kept waiting; a tenant's snapshot keeps the pages of rows that are removed meanwhile, for as long
//! as it takes to read that tenant. A cycle sees each drift; what stood in the last one as it stands now is not told again.

use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use redb::ReadTransaction;
use tokio::time::sleep;

use super::embedded::EmbeddedLedger;
use super::journal::{JOURNAL, Kept};
use super::keyspace;
use super::reconcile::{self, Discrepancy, Expected, Report, Rows, Standing, Subject};
use super::{Outcome, baseline};
use crate::audit::StepKind;
use crate::ids::{MessageId, TenantId};
use crate::store::{decode, read_id};

/// Rows that are read at once: some milliseconds.
const SLICE_ROWS: usize = 1024;

/// The pause after a slice. With it a cycle takes no more than a part of one core, however much there is to read.
const SLICE_PAUSE: Duration = Duration::from_millis(2);

/// Reconciles all tenants again and again, for ever; the first time at once.
pub async fn reconcile(ledger: Arc<EmbeddedLedger>) {
    let mut standing = Standing::default();
    loop {
        let report = cycle(&ledger, &mut standing).await;
        ledger.reconciled(&report);
        sleep(ledger.reconcile_every()).await;
    }
}

/// Reconciles all tenants once, and tells what was not told before.
async fn cycle(ledger: &EmbeddedLedger, standing: &mut Standing) -> Report {
    let (mut report, mut after) = (Report::default(), String::new());
    loop {
        let tenant = match ledger.snapshot().and_then(|read| keyspace::next_tenant(&read, &after)) {
            Ok(Some(tenant)) => tenant,
            Ok(None) => break,
            Err(error) => {
                tracing::error!(%error, after, "failed to find the next tenant: this cycle ends here");
                break;
            }
        };
        after = tenant;
        let tenant = match TenantId::parse(&after) {
            Ok(tenant) => tenant,
            Err(error) => {
                tracing::error!(tenant = ?after, %error, "rows stand under a name that is no tenant's");
                continue;
            }
        };
        let found = ledger.reconcile_tenant(&tenant).await;
        for news in standing.news(Some(&tenant), &found.discrepancies) {
            announce(ledger, &news, found.rows).await;
        }
        report.add(found);
    }
    match ledger.snapshot().and_then(|read| totals(&read)) {
        Ok(found) => {
            for news in standing.news(None, &found.discrepancies) {
                announce(ledger, &news, found.rows).await;
            }
            report.add(found);
        }
        Err(error) => tracing::error!(%error, "failed to count tenants and outcomes"),
    }
    let (tenants, rows) = (report.tenants, report.rows);
    tracing::info!(tenants, rows, discrepancies = report.found(), "reconciled");
    report
}

/// Tells people and the audit log, where it rings, of a discrepancy that was not there before.
async fn announce(ledger: &EmbeddedLedger, discrepancy: &Discrepancy, rows: u64) {
    let Discrepancy { tenant, subject, expected, actual } = discrepancy;
    let words = |text: &Option<String>| text.clone().unwrap_or_else(|| "nothing".into());
    let (expected, actual) = (words(expected), words(actual));
    let tenant = tenant.as_ref();
    tracing::error!(tenant = tenant.map(TenantId::as_str), %subject, expected, actual, "what a tenant has is not what its outcomes made of it");
    let detail = format!("{subject}: expected {expected}, there is {actual}");
    if let Err(error) = ledger.tell(StepKind::Discrepancy, rows, tenant, detail).await {
        tracing::error!(%error, "a discrepancy could not be put on record");
    }
}

impl EmbeddedLedger {
    /// Compares one tenant's rows with its outcomes. What can't be read is a discrepancy of its own.
    pub async fn reconcile_tenant(&self, tenant: &TenantId) -> Report {
        let compared = match self.snapshot() {
            Ok(read) => compare(&read, tenant).await,
            Err(error) => Err(error),
        };
        compared.unwrap_or_else(|error| {
            let (tenant, actual) = (Some(tenant.clone()), Some(format!("unreadable: {error}")));
            let unreadable = Discrepancy { tenant, subject: Subject::Unreadable, expected: None, actual };
            Report { tenants: 1, rows: 0, discrepancies: vec![unreadable], untold: 0 }
        })
    }

    /// Compares every tenant's rows with its outcomes, once.
    pub async fn reconcile_all(&self) -> Report {
        cycle(self, &mut Standing::default()).await
    }
}

async fn compare(read: &ReadTransaction, tenant: &TenantId) -> Result<Report, redb::Error> {
    let mut expected = Expected::of(baseline::of(read, tenant)?.as_ref());
    let mut after = None;
    loop {
        let slice = outcomes(read, tenant, after.as_ref())?;
        slice.iter().for_each(|(message_id, outcome)| expected.take(message_id, outcome));
        let Some((last, _)) = slice.into_iter().last() else { break };
        after = Some(last);
        sleep(SLICE_PAUSE).await;
    }
    let mut actual = Rows::of(&keyspace::state(read, tenant)?);
    let mut from = (0, 0);
    loop {
        let slice = postings(read, tenant, from)?;
        slice.iter().for_each(|(version, line, kept)| actual.post(*version, *line, kept));
        let Some((version, line, _)) = slice.last() else { break };
        let Some(next) = line.checked_add(1) else { break };
        from = (*version, next);
        sleep(SLICE_PAUSE).await;
    }
    Ok(expected.compare(tenant, actual))
}

/// Compares what is counted of all tenants together, in one snapshot.
fn totals(read: &ReadTransaction) -> Result<Report, redb::Error> {
    let (counted, there) = keyspace::totals(read)?;
    Ok(reconcile::totals([
        (Subject::Tenants, (counted.tenants, there.tenants)),
        (Subject::AllOutcomes, (counted.outcomes, there.outcomes)),
        (Subject::BroughtIn, baseline::counted(read)?),
    ]))
}

/// The tenant's next outcomes by message id.
fn outcomes(
    read: &ReadTransaction,
    tenant: &TenantId,
    after: Option<&MessageId>,
) -> Result<Vec<(MessageId, Outcome)>, redb::Error> {
    let tenant = tenant.as_str();
    let first = after.map_or(Bound::Included((tenant, "")), |after| Bound::Excluded((tenant, after.as_str())));
    let rows = read.open_table(keyspace::OUTCOMES)?.range((first, Bound::Excluded((tenant, "\u{7f}"))))?;
    let read = rows.take(SLICE_ROWS).map(|row| {
        let (key, value) = row?;
        Ok((read_id(MessageId::parse, key.value().1)?, decode(value.value())?))
    });
    read.collect()
}

/// The tenant's next lines of the journal.
fn postings(
    read: &ReadTransaction,
    tenant: &TenantId,
    (version, line): (u64, u32),
) -> Result<Vec<(u64, u32, Kept)>, redb::Error> {
    let tenant = tenant.as_str();
    let rows = read.open_table(JOURNAL)?.range((tenant, version, line)..=(tenant, u64::MAX, u32::MAX))?;
    let read = rows.take(SLICE_ROWS).map(|row| {
        let (key, value) = row?;
        let (_, version, line) = key.value();
        Ok((version, line, decode(value.value())?))
    });
    read.collect()
}
