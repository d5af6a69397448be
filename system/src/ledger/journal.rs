//! The journal of credits: double entry, append-only.
//!
//! A credit is a transaction of postings that sum up to zero: what the tenant's credit account gets, the platform's funding
//! account for that tenant gives. So money is never made: over all postings of a tenant and currency the sum is zero,
//! whatever happened. Postings are added and never changed or removed; the balances in `credits` are what they sum up to,
//! kept so that nobody has to add them up, and reconciled with them.

use std::collections::BTreeMap;

use redb::{ReadTransaction, ReadableTable, Table, TableDefinition};
use serde::{Deserialize, Serialize};

use crate::action::Currency;
use crate::grant::TenantScope;
use crate::ids::{MessageId, TenantId};
use crate::store::{decode, encode, read_id};

/// The most transactions that one question is answered with.
pub const JOURNAL_PAGE_MAX: usize = 256;

/// (tenant, the tenant's version, line) -> [`Kept`].
pub(super) const JOURNAL: TableDefinition<(&str, u64, u32), &[u8]> = TableDefinition::new("journal");

/// The journal, open for one commit.
pub(super) type Rows<'t> = Table<'t, (&'static str, u64, u32), &'static [u8]>;

/// One side of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Account {
    /// What the tenant has.
    Credit,
    /// Where it comes from: what the platform has given this tenant, as a negative balance.
    Funding,
}

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Posting {
    /// Which account.
    pub account: Account,
    /// In which currency.
    pub currency: Currency,
    /// What the account gets, in minor units; negative if it gives.
    pub amount_minor: i64,
}

/// What one command booked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transaction {
    /// The tenant's version, which is the command's place in its history; 0 for what the tenant was brought in with.
    pub version: u64,
    /// The command; none for what the tenant was brought in with.
    pub message_id: Option<MessageId>,
    /// Its lines; they sum up to zero in each currency.
    pub postings: Vec<Posting>,
}

/// A line as it is kept.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) posting: Posting,
    pub(super) message_id: Option<MessageId>,
}

/// The transaction that gives a tenant `amount_minor`, which is below 2^53.
pub(super) fn credited(
    version: u64,
    message_id: Option<&MessageId>,
    currency: Currency,
    amount_minor: u64,
) -> Transaction {
    let amount_minor = i64::try_from(amount_minor).expect("an amount is below 2^53");
    let postings = vec![
        Posting { account: Account::Credit, currency, amount_minor },
        Posting { account: Account::Funding, currency, amount_minor: -amount_minor },
    ];
    Transaction { version, message_id: message_id.cloned(), postings }
}

/// Adds a transaction, in the place of nothing.
pub(super) fn append(rows: &mut Rows<'_>, tenant: &str, transaction: &Transaction) -> Result<(), redb::Error> {
    let Transaction { version, message_id, postings } = transaction;
    for (line, posting) in (0..).zip(postings) {
        let kept = Kept { posting: posting.clone(), message_id: message_id.clone() };
        if rows.insert((tenant, *version, line), encode(&kept).as_slice())?.is_some() {
            let what = format!("tenant {tenant} has a posting at version {version}, line {line} already");
            return Err(redb::Error::Corrupted(what));
        }
    }
    Ok(())
}

/// The journal of every tenant, as committed.
pub(super) fn every(read: &ReadTransaction) -> Result<BTreeMap<TenantId, Vec<Transaction>>, redb::Error> {
    let mut journals: BTreeMap<TenantId, Vec<Transaction>> = BTreeMap::new();
    for row in read.open_table(JOURNAL)?.iter()? {
        let (key, value) = row?;
        let (tenant, version, _) = key.value();
        let Kept { posting, message_id } = decode(value.value())?;
        let journal = journals.entry(read_id(TenantId::parse, tenant)?).or_default();
        match journal.last_mut() {
            Some(last) if last.version == version => last.postings.push(posting),
            _ => journal.push(Transaction { version, message_id, postings: vec![posting] }),
        }
    }
    Ok(journals)
}

/// A page of one tenant's journal, as committed.
pub(super) fn page(
    read: &ReadTransaction,
    scope: &TenantScope,
    from: u64,
    max: usize,
) -> Result<Vec<Transaction>, redb::Error> {
    let (tenant, max) = (scope.tenant().as_str(), max.min(JOURNAL_PAGE_MAX));
    let mut transactions: Vec<Transaction> = Vec::new();
    for row in read.open_table(JOURNAL)?.range((tenant, from, 0)..=(tenant, u64::MAX, u32::MAX))? {
        let (key, value) = row?;
        let ((_, version, _), Kept { posting, message_id }) = (key.value(), decode(value.value())?);
        let full = transactions.len() == max;
        match transactions.last_mut() {
            Some(last) if last.version == version => last.postings.push(posting),
            _ if full => break,
            _ => transactions.push(Transaction { version, message_id, postings: vec![posting] }),
        }
    }
    Ok(transactions)
}
