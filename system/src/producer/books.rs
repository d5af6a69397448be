//! The books of a tenant, for whoever may read it: its journal of credits, and whether all it has is what its outcomes made
//! of it.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::Uri;
use serde_json::{Value, json};

use super::api::{Caller, unchanged};
use super::openapi::{Endpoint, count, id, list, nullable, number, object, one_of, query, signed, text};
use super::parameters::Parameters;
use super::{Problem, Producer};
use crate::ids::TenantId;
use crate::ledger::JOURNAL_PAGE_MAX;
use crate::message::Refusal;
use crate::whole::WHOLE_MAX;

pub(super) fn endpoints() -> Vec<Endpoint> {
    let posting =
        object(json!({"account": one_of(&["credit", "funding"]), "currency": text(), "amount_minor": signed()}));
    let transaction = object(json!({"version": count(), "message_id": nullable(id()), "postings": list(posting)}));
    let discrepancy = object(json!({
        "tenant": id(), "subject": {"description": "What differs, by its kind and name."},
        "expected": nullable(text()), "actual": nullable(text()),
    }));
    vec![
        Endpoint::get("/v1/tenants/{tenant_id}/journal", "readJournal", journal)
            .about(
                "A tenant's credits as transactions, oldest first",
                "Double entry: what the credit account gets, the funding account gives, in minor units; each transaction \
                 sums up to zero.",
            )
            .takes(query("from", count(), "The tenant's version of the first transaction; 0 without it."))
            .takes(query("max", number(1, JOURNAL_PAGE_MAX as u64), "Most transactions of a page; 256 without it."))
            .answers(
                200,
                "A page; `next` is the `from` of the next one, null on the last.",
                object(json!({"tenant_id": id(), "transactions": list(transaction), "next": nullable(count())})),
            ),
        Endpoint::get("/v1/tenants/{tenant_id}/reconciliation", "readReconciliation", reconciliation)
            .about("Whether what a tenant has is what its outcomes made of it", "")
            .answers(
                200,
                "What was compared and what differs; `untold` differences are not listed.",
                object(json!({
                    "tenant_id": id(), "rows": count(), "discrepancies": list(discrepancy), "untold": count(),
                })),
            ),
    ]
}

/// The query of a journal: from which version of the tenant, and how many transactions.
#[derive(Debug, PartialEq, Eq)]
struct JournalQuery {
    from: u64,
    max: usize,
}

impl JournalQuery {
    /// Reads the query of `uri`.
    fn parse(uri: &Uri) -> Result<Self, Refusal> {
        let mut given = Parameters::of(uri)?;
        let from = given.number("from", 0, WHOLE_MAX)?;
        let max = given.number("max", 1, JOURNAL_PAGE_MAX as u64)?;
        given.end()?;
        Ok(Self { from: from.unwrap_or(0), max: max.map_or(JOURNAL_PAGE_MAX, |max| max as usize) })
    }
}

async fn journal(
    State(producer): State<Arc<Producer>>,
    path: Result<Path<String>, PathRejection>,
    uri: Uri,
    Caller { token }: Caller,
) -> Result<Json<Value>, Problem> {
    let tenant = tenant(path)?;
    let JournalQuery { from, max } = JournalQuery::parse(&uri)?;
    let read = producer.read_scope(token, &tenant).await?;
    let transactions = producer.ledger.journal(&read, from, max).await.map_err(unchanged)?;
    // Where the next page begins; the last page may be a full one.
    let next = (transactions.len() == max).then(|| transactions.last().map(|last| last.version + 1)).flatten();
    Ok(Json(json!({"tenant_id": tenant, "transactions": transactions, "next": next})))
}

async fn reconciliation(
    State(producer): State<Arc<Producer>>,
    path: Result<Path<String>, PathRejection>,
    Caller { token }: Caller,
) -> Result<Json<Value>, Problem> {
    let tenant = tenant(path)?;
    let read = producer.read_scope(token, &tenant).await?;
    let report = producer.ledger.reconcile(&read).await.map_err(unchanged)?;
    let (rows, discrepancies, untold) = (report.rows, report.discrepancies, report.untold);
    Ok(Json(json!({"tenant_id": tenant, "rows": rows, "discrepancies": discrepancies, "untold": untold})))
}

pub(super) fn tenant(path: Result<Path<String>, PathRejection>) -> Result<TenantId, Problem> {
    let Path(tenant) = path.map_err(|error| Problem::invalid("tenant_id", error.body_text()))?;
    TenantId::parse(&tenant).map_err(|error| Problem::invalid("tenant_id", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_page_is_refused_with_the_parameter() {
        for (query, field, problem) in [
            ("?from=-1", "from", "must be a whole number from 0"),
            ("?from=%2B1", "from", "must be a whole number"),
            ("?max=0", "max", "from 1 to 256"),
            ("?max=257", "max", "not \"257\""),
            ("?max=", "max", "must be a whole number"),
            ("?from=1&from=1", "from", "is given twice"),
            ("?tenant_id=acme", "tenant_id", "is unknown"),
        ] {
            let refused = JournalQuery::parse(&format!("/{query}").try_into().unwrap()).expect_err(query);
            assert!(refused.field == field && refused.problem.contains(problem), "{query}: {refused}");
        }
        let whole = JournalQuery::parse(&Uri::from_static("/")).unwrap();
        assert_eq!(whole, JournalQuery { from: 0, max: JOURNAL_PAGE_MAX });
    }
}
