//! The audit log in redb: appended to, never changed.

use std::io;

use async_trait::async_trait;
use redb::{ReadableTable, ReadableTableMetadata, TableDefinition, WriteTransaction};

use super::{Audit, AuditEntry};
use crate::call::CallError;
use crate::capability::World;
use crate::store::{Machine, Store, decode, encode};

/// place in the log, from 1 -> [`AuditEntry`].
const ENTRIES: TableDefinition<u64, &[u8]> = TableDefinition::new("entries");
/// source -> the last of its numbers in the log.
const SOURCES: TableDefinition<&str, u64> = TableDefinition::new("sources");

/// The embedded, durable audit log.
pub struct EmbeddedAudit {
    store: Store<Log>,
}

impl EmbeddedAudit {
    /// Opens the log.
    ///
    /// # Errors
    /// When the database can't be opened.
    pub async fn open(world: &World) -> io::Result<Self> {
        Ok(Self { store: Store::open(world.disk.clone(), "audit.redb", Log::load).await? })
    }

    /// Returns when the store has failed, with the reason.
    pub async fn failed(&self) -> String {
        self.store.failed().await
    }

    /// How many entries there are.
    pub fn len(&self) -> Result<u64, redb::Error> {
        Ok(self.store.read()?.open_table(ENTRIES)?.len()?)
    }

    /// True when nothing was logged yet.
    pub fn is_empty(&self) -> Result<bool, redb::Error> {
        Ok(self.len()? == 0)
    }

    /// All entries, oldest first. Reads the whole log: for verification, not for serving.
    pub fn entries(&self) -> Result<Vec<AuditEntry>, redb::Error> {
        let read = self.store.read()?;
        let entries = read.open_table(ENTRIES)?;
        entries.iter()?.map(|entry| decode(entry?.1.value())).collect()
    }
}

#[async_trait]
impl Audit for EmbeddedAudit {
    async fn append(&self, source: &str, first: u64, entries: Vec<AuditEntry>) -> Result<u64, CallError> {
        let answer = self.store.execute(Append { source: source.into(), first, entries }).await?;
        answer.map_err(CallError::Failed)
    }
}

struct Log;

struct Append {
    source: String,
    first: u64,
    entries: Vec<AuditEntry>,
}

impl Log {
    fn load(within: &WriteTransaction) -> Result<Self, redb::Error> {
        within.open_table(ENTRIES)?;
        within.open_table(SOURCES)?;
        Ok(Self)
    }
}

impl Machine for Log {
    type Command = Append;
    type Answer = Result<u64, String>;

    fn execute(&self, within: &WriteTransaction, batch: Vec<Append>) -> Result<Vec<Self::Answer>, redb::Error> {
        let mut log = within.open_table(ENTRIES)?;
        let mut sources = within.open_table(SOURCES)?;
        let mut place = log.len()?;
        let mut answers = Vec::with_capacity(batch.len());
        for Append { source, first, entries } in batch {
            let had = sources.get(source.as_str())?.map_or(0, |last| last.value());
            if first > had + 1 {
                answers.push(Err(format!("{source}: entry {first} came after {had}: those between are missing")));
                continue;
            }
            let mut last = had;
            for (number, entry) in (first..).zip(&entries) {
                if number > had {
                    place += 1;
                    log.insert(place, encode(entry).as_slice())?;
                    last = number;
                }
            }
            sources.insert(source.as_str(), last)?;
            answers.push(Ok(last));
        }
        Ok(answers)
    }

    fn committed(&self, _answers: &[Self::Answer]) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::UserId;
    use crate::testing::{Bench, message_id, tenant};

    fn entry(id: &str) -> AuditEntry {
        AuditEntry {
            at_unix_ms: 0,
            tenant_id: tenant("acme"),
            user_id: UserId::parse("ana").unwrap(),
            action: "issue_credit".into(),
            message_id: message_id(id),
            body: "{}".into(),
            outcome: "applied".into(),
            detail: String::new(),
            authority_revision: 1,
            policies: Vec::new(),
        }
    }

    #[tokio::test]
    async fn entries_sent_again_stand_once_and_a_gap_is_refused() {
        let bench = Bench::new().await;
        let audit = EmbeddedAudit::open(&bench.world).await.unwrap();
        assert_eq!(audit.append("ledger", 1, vec![entry("m-1"), entry("m-2")]).await, Ok(2));
        assert_eq!(audit.append("ledger", 2, vec![entry("m-2"), entry("m-3")]).await, Ok(3));
        assert_eq!(audit.append("ledger", 1, vec![entry("m-1")]).await, Ok(3));
        let gap = audit.append("ledger", 5, vec![entry("m-5")]).await.unwrap_err();
        assert!(matches!(&gap, CallError::Failed(why) if why.contains("entry 5 came after 3")), "{gap}");
        // Another source has numbers of its own.
        assert_eq!(audit.append("auth", 1, vec![entry("m-1")]).await, Ok(1));
        let logged: Vec<_> = audit.entries().unwrap().into_iter().map(|entry| entry.message_id.to_string()).collect();
        assert_eq!(logged, ["m-1", "m-2", "m-3", "m-1"]);
    }
}
