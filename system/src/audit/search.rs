//! Search: records by tenant, user, action, message and time, each with the proof that it stands in the log.
//!
//! A row of the index has a tenant, a value and a place, and tells when: a question about a tenant reads the rows of its
//! rarest word, and opens only entries that can be what is asked for. The rows are written with the entries.
//!
//! A question that finds nothing may wait for something to be found: [`follow`] asks again after each commit, and not
//! before.

use std::time::Duration;

use bytes::Bytes;
use redb::{ReadTransaction, Table, TableDefinition};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::embedded::{ALERTS, ENTRIES, HASHES, PAGE_BYTES, checkpoint_of, hash_of, unreadable};
use super::{Alert, Event, PAGE_MAX, Record, Severity};
use crate::call::CallError;
use crate::store::decode;
use crate::tlog::{Hash, inclusion_proof};

/// (what the value is, tenant, value, place) -> when it happened, in milliseconds since the Unix epoch.
pub(super) const INDEX: TableDefinition<(u8, &str, &str, u64), i64> = TableDefinition::new("index");

/// What a value of the index is.
const TENANT: u8 = 0;
const USER: u8 = 1;
const ACTION: u8 = 2;
const MESSAGE: u8 = 3;

/// Rows that one question reads. Who wants more asks again from where it stopped: no question holds up others.
const ROWS_MAX: usize = 8192;

/// No question waits longer for something to be found, in milliseconds, whatever it says.
pub const SEARCH_WAIT_MAX_MS: u32 = 30_000;

/// What is searched for: records of which all that is given is true.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Query {
    /// The tenant; without it the whole log is read, entry by entry.
    pub tenant: Option<String>,
    /// Who acted.
    pub user: Option<String>,
    /// What for.
    pub action: Option<String>,
    /// Of which message.
    pub message: Option<String>,
    /// Not before this, in milliseconds since the Unix epoch.
    pub from_unix_ms: Option<i64>,
    /// Before this.
    pub to_unix_ms: Option<i64>,
    /// After this place.
    pub after: u64,
    /// At most so many, at most [`PAGE_MAX`].
    pub max: u32,
    /// Without proofs: for who looks on, and checks nothing.
    pub bare: bool,
    /// Where nothing is found, how long to wait for something, in milliseconds; at most [`SEARCH_WAIT_MAX_MS`].
    pub wait_ms: u32,
}

/// What alerts are searched for: those of which all that is given is true.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertQuery {
    /// The tenant; without it all alerts are read, those of no tenant included.
    pub tenant: Option<String>,
    /// How urgent they are.
    pub severity: Option<Severity>,
    /// After this place.
    pub after: u64,
    /// At most so many, at most [`PAGE_MAX`].
    pub max: u32,
}

/// Alerts that were found, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundAlerts {
    /// The alerts.
    pub alerts: Vec<Alert>,
    /// Where to go on: the `after` of the next question. `None`: there is no more.
    pub next: Option<u64>,
}

/// One record, as it stands in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundRecord {
    /// Its place.
    pub place: u64,
    /// Its bytes, which were hashed.
    pub record: Bytes,
    /// What proves that it stands in the log of the checkpoint, at `place - 1` counted from 0 (RFC 9162, 2.1.3).
    pub proof: Vec<Hash>,
}

/// What was found, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// The signed checkpoint that the proofs lead to.
    pub checkpoint: String,
    /// How many entries it is over: the last place that was looked at, where nothing is left to go on with.
    pub size: u64,
    /// The records.
    pub records: Vec<FoundRecord>,
    /// Where to go on: the `after` of the next question. `None`: there is no more.
    pub next: Option<u64>,
}

/// Writes the rows of `event` at `place`.
pub(super) fn insert(
    index: &mut Table<'_, (u8, &'static str, &'static str, u64), i64>,
    place: u64,
    event: &Event,
) -> Result<(), redb::Error> {
    for (kind, tenant, value) in rows(event) {
        index.insert((kind, tenant, value, place), event.at_unix_ms())?;
    }
    Ok(())
}

/// Removes what [`insert`] wrote.
pub(super) fn remove(
    index: &mut Table<'_, (u8, &'static str, &'static str, u64), i64>,
    place: u64,
    event: &Event,
) -> Result<(), redb::Error> {
    for (kind, tenant, value) in rows(event) {
        index.remove((kind, tenant, value, place))?;
    }
    Ok(())
}

fn rows(event: &Event) -> impl Iterator<Item = (u8, &str, &str)> {
    let values = [(TENANT, Some("")), (USER, event.user()), (ACTION, event.action()), (MESSAGE, event.message_id())];
    let row = |(kind, value): (u8, Option<_>)| Some((kind, event.tenant()?, value?));
    values.into_iter().filter_map(row)
}

/// Answers `query` from one snapshot.
pub(super) fn search(read: &ReadTransaction, query: &Query) -> Result<Found, redb::Error> {
    let (entries, hashes) = (read.open_table(ENTRIES)?, read.open_table(HASHES)?);
    let (checkpoint, size) = checkpoint_of(read)?;
    let mut found = Found { checkpoint, size, ..Found::default() };
    let (mut rows, mut bytes) = (0, 0);
    let max = (query.max as usize).min(PAGE_MAX);
    for row in places(read, query)? {
        let (place, at) = row?;
        if found.records.len() >= max || rows >= ROWS_MAX || bytes >= PAGE_BYTES {
            return Ok(found);
        }
        (rows, found.next) = (rows + 1, Some(place));
        if at.is_some_and(|at| !query.is_when(at)) {
            continue;
        }
        let Some(entry) = entries.get(place)? else { continue };
        let record = Record::parse(entry.value()).map_err(unreadable)?;
        if query.is_about(&record.event) {
            let proof = match query.bare {
                true => Vec::new(),
                false => inclusion_proof(place - 1, size, &|level, index| hash_of(&hashes, level, index))?,
            };
            bytes += entry.value().len() + proof.len() * size_of::<Hash>();
            found.records.push(FoundRecord { place, record: Bytes::copy_from_slice(entry.value()), proof });
        }
    }
    found.next = None;
    Ok(found)
}

/// Answers `query` by `look`, again after each time that the log has `grown`, until something is found or its time is over.
pub(super) async fn follow(
    query: &Query,
    mut grown: watch::Receiver<()>,
    look: impl Fn() -> Result<Found, CallError>,
) -> Result<Found, CallError> {
    let give_up = Instant::now() + Duration::from_millis(query.wait_ms.min(SEARCH_WAIT_MAX_MS).into());
    loop {
        // Before the look: what is committed during it wakes the wait after it.
        grown.mark_unchanged();
        let found = look()?;
        if !found.records.is_empty() || found.next.is_some() || Instant::now() >= give_up {
            return Ok(found);
        }
        if let Ok(Err(_)) = timeout_at(give_up, grown.changed()).await {
            return Err(CallError::failed("the audit log is closed"));
        }
    }
}

/// Answers `query` from one snapshot.
pub(super) fn search_alerts(read: &ReadTransaction, query: &AlertQuery) -> Result<FoundAlerts, redb::Error> {
    let (mut found, mut rows) = (FoundAlerts::default(), 0);
    let max = (query.max as usize).min(PAGE_MAX);
    for row in read.open_table(ALERTS)?.range(query.after.saturating_add(1)..)? {
        if found.alerts.len() >= max || rows >= ROWS_MAX {
            return Ok(found);
        }
        let alert: Alert = decode(row?.1.value())?;
        (rows, found.next) = (rows + 1, Some(alert.place));
        let is_of = query.tenant.is_none() || query.tenant == alert.tenant;
        if is_of && query.severity.is_none_or(|severity| severity == alert.severity) {
            found.alerts.push(alert);
        }
    }
    found.next = None;
    Ok(found)
}

/// A place, and when its event happened where the index tells.
type Places<'a> = Box<dyn Iterator<Item = Result<(u64, Option<i64>), redb::Error>> + 'a>;

/// Where to look, in the order of places.
fn places<'a>(read: &ReadTransaction, query: &'a Query) -> Result<Places<'a>, redb::Error> {
    let first = query.after.saturating_add(1);
    let Some(tenant) = query.tenant.as_deref() else {
        let rows = read.open_table(ENTRIES)?.range(first..)?;
        return Ok(Box::new(rows.map(|row| Ok((row?.0.value(), None)))));
    };
    let words = [(MESSAGE, &query.message), (USER, &query.user), (ACTION, &query.action)];
    let rarest = words.into_iter().find_map(|(kind, value)| Some((kind, value.as_deref()?)));
    let (kind, value) = rarest.unwrap_or((TENANT, ""));
    let rows = read.open_table(INDEX)?.range((kind, tenant, value, first)..=(kind, tenant, value, u64::MAX))?;
    Ok(Box::new(rows.map(|row| {
        let (key, at) = row?;
        Ok((key.value().3, Some(at.value())))
    })))
}

impl Query {
    fn is_when(&self, at: i64) -> bool {
        self.from_unix_ms.is_none_or(|from| at >= from) && self.to_unix_ms.is_none_or(|to| at < to)
    }

    fn is_about(&self, event: &Event) -> bool {
        let is = |wanted: &Option<String>, found: Option<&str>| wanted.is_none() || wanted.as_deref() == found;
        is(&self.tenant, event.tenant())
            && is(&self.user, event.user())
            && is(&self.action, event.action())
            && is(&self.message, event.message_id())
            && self.is_when(event.at_unix_ms())
    }
}
