//! Every version of the billing rules that ever judged a command, so that an outcome, which names its version, can be
//! judged anew by the very same.

use redb::{ReadTransaction, ReadableTable, TableDefinition, WriteTransaction};

use super::embedded::EmbeddedLedger;
use crate::billing::Rules;

/// version, from 1 -> the rules' text.
const RULES: TableDefinition<u32, &str> = TableDefinition::new("rules");

/// The version of `rules`: the latest, if their text is the latest one's, or a new one.
pub(super) fn version(within: &WriteTransaction, rules: &Rules) -> Result<u32, redb::Error> {
    let mut table = within.open_table(RULES)?;
    let latest = table.last()?.map(|(version, text)| (version.value(), text.value() == rules.text()));
    let version = match latest {
        Some((version, true)) => return Ok(version),
        Some((version, false)) => version + 1,
        None => 1,
    };
    table.insert(version, rules.text())?;
    Ok(version)
}

fn text(read: &ReadTransaction, version: u32) -> Result<Option<String>, redb::Error> {
    Ok(read.open_table(RULES)?.get(version)?.map(|text| text.value().to_owned()))
}

impl EmbeddedLedger {
    /// The text of the billing rules of `version`.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn rules_text(&self, version: u32) -> Result<Option<String>, redb::Error> {
        text(&*self.snapshot()?, version)
    }
}
