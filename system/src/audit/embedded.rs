//! The audit log in redb: appended to, never changed.

use std::io;

use async_trait::async_trait;
use redb::{ReadableTable, ReadableTableMetadata, TableDefinition, WriteTransaction};

use super::{Alert, Attempt, Audit, AuditEntry, Event, PAGE_MAX};
use crate::call::CallError;
use crate::capability::World;
use crate::rights::Role;
use crate::store::{Machine, Store, decode, encode};

/// place in the log, from 1 -> [`Event`].
const EVENTS: TableDefinition<u64, &[u8]> = TableDefinition::new("events");
/// place of the event that rang -> [`Alert`].
const ALERTS: TableDefinition<u64, &[u8]> = TableDefinition::new("alerts");
/// [`Attempt::identity`] -> its place: another service may notice the same one.
const ATTEMPTS: TableDefinition<[u8; 16], u64> = TableDefinition::new("attempts");
/// source -> the last of its numbers in the log.
const SOURCES: TableDefinition<&str, u64> = TableDefinition::new("sources");
/// One row: decided, refused.
const COUNTS: TableDefinition<(), (u64, u64)> = TableDefinition::new("counts");

/// A page ends with the event that reaches this many bytes: with it, it fits a frame.
const PAGE_BYTES: usize = 256 * 1024;

/// The embedded, durable audit log.
pub struct EmbeddedAudit {
    store: Store<Log>,
}

/// How many events of each kind there are, and alerts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Decisions of the ledger.
    pub decided: u64,
    /// Refused attempts.
    pub refused: u64,
    /// Alerts.
    pub alerts: u64,
}

impl EmbeddedAudit {
    /// Opens the log.
    ///
    /// # Errors
    /// When the database can't be opened.
    pub async fn open(world: &World) -> io::Result<Self> {
        Ok(Self { store: Store::open(world, Role::Audit, "audit.redb", Log::load).await? })
    }

    /// Returns when the store has failed, with the reason.
    pub async fn failed(&self) -> String {
        self.store.failed().await
    }

    /// How many events there are.
    pub fn len(&self) -> Result<u64, redb::Error> {
        Ok(self.store.read()?.open_table(EVENTS)?.len()?)
    }

    /// True when nothing was logged yet.
    pub fn is_empty(&self) -> Result<bool, redb::Error> {
        Ok(self.len()? == 0)
    }

    /// How many events and alerts there are.
    pub fn counts(&self) -> Result<Counts, redb::Error> {
        let read = self.store.read()?;
        let (decided, refused) = read.open_table(COUNTS)?.get(())?.map(|row| row.value()).unwrap_or_default();
        Ok(Counts { decided, refused, alerts: read.open_table(ALERTS)?.len()? })
    }

    /// All decisions, oldest first. Reads the whole log: for verification, not for serving.
    pub fn entries(&self) -> Result<Vec<AuditEntry>, redb::Error> {
        let decided = |(_, event)| match event {
            Event::Decided(entry) => Some(entry),
            Event::Refused(_) => None,
        };
        Ok(self.all()?.into_iter().filter_map(decided).collect())
    }

    /// All refused attempts with their places, oldest first. Reads the whole log: for verification, not for serving.
    pub fn attempts(&self) -> Result<Vec<(u64, Attempt)>, redb::Error> {
        let refused = |(place, event)| match event {
            Event::Decided(_) => None,
            Event::Refused(attempt) => Some((place, attempt)),
        };
        Ok(self.all()?.into_iter().filter_map(refused).collect())
    }

    /// All alerts, oldest first. Reads them all: for verification, not for serving.
    pub fn every_alert(&self) -> Result<Vec<Alert>, redb::Error> {
        let read = self.store.read()?;
        read.open_table(ALERTS)?.iter()?.map(|row| decode(row?.1.value())).collect()
    }

    fn all(&self) -> Result<Vec<(u64, Event)>, redb::Error> {
        let events = self.store.read()?.open_table(EVENTS)?;
        let row = |row: Result<_, redb::StorageError>| {
            let (place, event): (redb::AccessGuard<'_, u64>, redb::AccessGuard<'_, &[u8]>) = row?;
            Ok((place.value(), decode(event.value())?))
        };
        events.iter()?.map(row).collect()
    }

    fn page(&self, after: u64, max: usize) -> Result<Vec<(u64, Event)>, redb::Error> {
        let (mut page, mut bytes) = (Vec::new(), 0);
        for row in self.store.read()?.open_table(EVENTS)?.range(after.saturating_add(1)..)? {
            if page.len() >= max.min(PAGE_MAX) || bytes >= PAGE_BYTES {
                break;
            }
            let (place, event) = row?;
            bytes += event.value().len();
            page.push((place.value(), decode(event.value())?));
        }
        Ok(page)
    }

    fn alert_page(&self, after: u64, max: usize) -> Result<Vec<Alert>, redb::Error> {
        let read = self.store.read()?;
        let alerts = read.open_table(ALERTS)?.range(after.saturating_add(1)..)?;
        alerts.take(max.min(PAGE_MAX)).map(|row| decode(row?.1.value())).collect()
    }
}

#[async_trait]
impl Audit for EmbeddedAudit {
    async fn append(&self, source: &str, first: u64, events: Vec<Event>) -> Result<u64, CallError> {
        let answer = self.store.execute(Append { source: source.into(), first, events }).await?;
        answer.map(|Appended { last, .. }| last).map_err(CallError::Failed)
    }

    async fn events(&self, after: u64, max: usize) -> Result<Vec<(u64, Event)>, CallError> {
        self.page(after, max).map_err(CallError::failed)
    }

    async fn alerts(&self, after: u64, max: usize) -> Result<Vec<Alert>, CallError> {
        self.alert_page(after, max).map_err(CallError::failed)
    }
}

struct Log;

struct Append {
    source: String,
    first: u64,
    events: Vec<Event>,
}

/// What an append has brought.
struct Appended {
    /// The last number of its source.
    last: u64,
    /// What rang.
    alerts: Vec<Alert>,
}

impl Log {
    fn load(within: &WriteTransaction) -> Result<Self, redb::Error> {
        within.open_table(EVENTS)?;
        within.open_table(ALERTS)?;
        within.open_table(ATTEMPTS)?;
        within.open_table(SOURCES)?;
        within.open_table(COUNTS)?;
        Ok(Self)
    }
}

impl Machine for Log {
    type Command = Append;
    type Answer = Result<Appended, String>;

    fn weight(command: &Append) -> usize {
        command.events.len()
    }

    fn execute(&self, within: &WriteTransaction, batch: Vec<Append>) -> Result<Vec<Self::Answer>, redb::Error> {
        let (mut log, mut rung) = (within.open_table(EVENTS)?, within.open_table(ALERTS)?);
        let (mut attempts, mut sources) = (within.open_table(ATTEMPTS)?, within.open_table(SOURCES)?);
        let mut counts = within.open_table(COUNTS)?;
        let (mut decided, mut refused) = counts.get(())?.map(|row| row.value()).unwrap_or_default();
        let mut answers = Vec::with_capacity(batch.len());
        for Append { source, first, events } in batch {
            let had = sources.get(source.as_str())?.map_or(0, |last| last.value());
            if first > had + 1 {
                answers.push(Err(format!("{source}: event {first} came after {had}: those between are missing")));
                continue;
            }
            let (mut last, mut alerts) = (had, Vec::new());
            for (number, event) in (first..).zip(&events) {
                if number <= had {
                    continue;
                }
                last = number;
                let place = decided + refused + 1;
                match event {
                    Event::Decided(_) => decided += 1,
                    Event::Refused(attempt) => {
                        if let Some(identity) = attempt.identity() {
                            if attempts.get(identity)?.is_some() {
                                continue;
                            }
                            attempts.insert(identity, place)?;
                        }
                        refused += 1;
                    }
                }
                log.insert(place, encode(event).as_slice())?;
                if let Some(alert) = event.alert(place) {
                    rung.insert(place, encode(&alert).as_slice())?;
                    alerts.push(alert);
                }
            }
            sources.insert(source.as_str(), last)?;
            answers.push(Ok(Appended { last, alerts }));
        }
        counts.insert((), (decided, refused))?;
        Ok(answers)
    }

    fn committed(&self, answers: &[Self::Answer]) {
        for alert in answers.iter().flatten().flat_map(|appended| &appended.alerts) {
            let Alert { place, severity, code, tenant, line, .. } = alert;
            tracing::error!(place, ?severity, %code, tenant = ?tenant.as_deref().unwrap_or("-"), line, "alert");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{Claimed, Code, Severity};
    use crate::ids::UserId;
    use crate::testing::{Bench, message_id, tenant};

    fn entry(id: &str, outcome: &str) -> Event {
        Event::Decided(AuditEntry {
            at_unix_ms: 0,
            tenant_id: tenant("acme"),
            user_id: UserId::parse("ana").unwrap(),
            action: "issue_credit".into(),
            message_id: message_id(id),
            body: "{}".into(),
            outcome: outcome.into(),
            detail: String::new(),
            authority_revision: 1,
            policies: Vec::new(),
        })
    }

    fn attempt(service: Role, code: Code, id: &str) -> Event {
        let claimed = Claimed { message_id: Some(id.into()), body_sha256: Some([7; 32]), ..Claimed::tenant("acme") };
        let (entry, detail) = ("apply".into(), "no".into());
        Event::Refused(Attempt { at_unix_ms: 1, service, entry, code, claimed, detail })
    }

    #[tokio::test]
    async fn entries_sent_again_stand_once_and_a_gap_is_refused() {
        let bench = Bench::new().await;
        let audit = EmbeddedAudit::open(&bench.world).await.unwrap();
        let entry = |id| entry(id, "applied");
        assert_eq!(audit.append("ledger", 1, vec![entry("m-1"), entry("m-2")]).await, Ok(2));
        assert_eq!(audit.append("ledger", 2, vec![entry("m-2"), entry("m-3")]).await, Ok(3));
        assert_eq!(audit.append("ledger", 1, vec![entry("m-1")]).await, Ok(3));
        let gap = audit.append("ledger", 5, vec![entry("m-5")]).await.unwrap_err();
        assert!(matches!(&gap, CallError::Failed(why) if why.contains("event 5 came after 3")), "{gap}");
        // Another source has numbers of its own.
        assert_eq!(audit.append("auth", 1, vec![entry("m-1")]).await, Ok(1));
        let logged: Vec<_> = audit.entries().unwrap().into_iter().map(|entry| entry.message_id.to_string()).collect();
        assert_eq!(logged, ["m-1", "m-2", "m-3", "m-1"]);
    }

    #[tokio::test]
    async fn what_rings_has_one_alert_at_its_place_and_what_does_not_has_none() {
        let bench = Bench::new().await;
        let audit = EmbeddedAudit::open(&bench.world).await.unwrap();
        let events = vec![
            entry("m-1", "applied"),
            attempt(Role::Ledger, Code::SwappedBody, "m-2"),
            attempt(Role::Producer, Code::Malformed, "m-3"),
            entry("m-4", "forbidden"),
        ];
        audit.append("ledger", 1, events.clone()).await.unwrap();
        let alerts = audit.alerts(0, 9).await.unwrap();
        let told: Vec<_> = alerts.iter().map(|alert| (alert.place, alert.severity, alert.code)).collect();
        assert_eq!(told, [(2, Severity::Critical, Code::SwappedBody), (4, Severity::Warning, Code::Forbidden)]);
        assert_eq!(alerts[0].tenant.as_deref(), Some("acme"));
        assert_eq!(audit.counts().unwrap(), Counts { decided: 2, refused: 2, alerts: 2 });
        let page = audit.events(1, 2).await.unwrap();
        assert_eq!(page, [(2, events[1].clone()), (3, events[2].clone())]);
        assert_eq!(audit.alerts(2, 9).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn an_attempt_that_several_notice_stands_once_and_rings_once() {
        let bench = Bench::new().await;
        let audit = EmbeddedAudit::open(&bench.world).await.unwrap();
        let noticed = |service| vec![attempt(service, Code::Overtaken, "m-1")];
        assert_eq!(audit.append("ledger/1", 1, noticed(Role::Ledger)).await, Ok(1));
        assert_eq!(audit.append("consumer/1", 1, noticed(Role::Consumer)).await, Ok(1));
        assert_eq!(audit.append("consumer/2", 1, noticed(Role::Consumer)).await, Ok(1));
        assert_eq!(audit.counts().unwrap(), Counts { decided: 0, refused: 1, alerts: 1 });
        // On the other side of the broker it is another attempt, and so is another message.
        assert_eq!(audit.append("auth/1", 1, noticed(Role::Auth)).await, Ok(1));
        audit.append("ledger/1", 2, vec![attempt(Role::Ledger, Code::Overtaken, "m-2")]).await.unwrap();
        assert_eq!(audit.counts().unwrap(), Counts { decided: 0, refused: 3, alerts: 3 });
    }
}
