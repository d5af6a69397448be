//! A record: an event as it stands in the log for ever. Its bytes are what is hashed, kept, exported and shown.
//!
//! JSON on one line, so that whoever reads an export needs nothing of ours. The message stands in it as it was, with two
//! exceptions, and then with the SHA-256 of what it was: of a sealed secret there is only the ciphertext's hash, for
//! nobody can take a log back; and a message that would make the record longer than [`ENTRY_BYTES_MAX`] stands without
//! spaces, or, should even that be too long, not at all.

use serde::{Deserialize, Serialize};

use super::{Event, text};
use crate::message::{BodyHash, body_sha256};
use crate::secret::without_ciphertext;
use crate::tlog::ENTRY_BYTES_MAX;

/// One entry of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Its place in the log, from 1.
    pub place: u64,
    /// Who told, and its number there.
    pub source: String,
    /// Counts a source's events without gaps.
    pub number: u64,
    /// SHA-256 of the message as it was, where it does not stand here byte for byte.
    #[serde(with = "text::hash", default, skip_serializing_if = "Option::is_none")]
    pub body_sha256: Option<BodyHash>,
    /// What happened.
    pub event: Event,
}

impl Record {
    /// The record of `event`, and its bytes.
    ///
    /// # Errors
    /// When it is too long even without its message.
    pub(super) fn new(place: u64, source: &str, number: u64, event: Event) -> Result<(Self, Vec<u8>), String> {
        let mut record = Self { place, source: source.into(), number, body_sha256: None, event };
        record.shorten(|body| without_ciphertext(body).map(Into::into));
        let mut bytes = record.to_bytes();
        let ways: [Way; 2] = [without_spaces, |_| Some(Vec::new())];
        for way in ways {
            if bytes.len() > ENTRY_BYTES_MAX {
                record.shorten(way);
                bytes = record.to_bytes();
            }
        }
        if bytes.len() > ENTRY_BYTES_MAX {
            let len = bytes.len();
            return Err(format!(
                "event {number} has {len} bytes without its message; at most {ENTRY_BYTES_MAX} are kept"
            ));
        }
        Ok((record, bytes))
    }

    /// A record from its bytes.
    ///
    /// # Errors
    /// When they are not one.
    pub fn parse(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    /// Has the message stand as `way` makes it, if there is one and `way` changes it.
    fn shorten(&mut self, way: impl FnOnce(&[u8]) -> Option<Vec<u8>>) {
        let Some(body) = self.event.body_mut() else { return };
        if let Some(shorter) = way(body) {
            self.body_sha256.get_or_insert_with(|| body_sha256(body));
            *body = shorter.into();
        }
    }

    fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("our own types become JSON")
    }
}

/// How a message that is too long stands instead, if it can.
type Way = fn(&[u8]) -> Option<Vec<u8>>;

fn without_spaces(body: &[u8]) -> Option<Vec<u8>> {
    let read: serde_json::Value = serde_json::from_slice(body).ok()?;
    serde_json::to_vec(&read).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::AuditEntry;
    use crate::ids::UserId;
    use crate::testing::{credit, message_id, tenant};

    fn decided(body: String, detail: String) -> Event {
        Event::Decided(AuditEntry {
            at_unix_ms: 7,
            tenant_id: tenant("acme"),
            user_id: UserId::parse("ana").unwrap(),
            replayed_by: None,
            action: "issue_credit".into(),
            message_id: message_id("m-1"),
            body: body.into(),
            outcome: "applied".into(),
            detail,
            authority_revision: 1,
            policies: Vec::new(),
            approved_by: None,
        })
    }

    fn recorded(body: &str) -> (Record, String) {
        let (record, bytes) = Record::new(3, "ledger", 2, decided(body.into(), String::new())).unwrap();
        assert_eq!(Record::parse(&bytes).unwrap(), record);
        assert_eq!(
            postcard::from_bytes::<Event>(&postcard::to_stdvec(&record.event).unwrap()).as_ref(),
            Ok(&record.event)
        );
        (record, String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn a_record_is_one_line_of_json_that_people_can_read_and_holds_the_message_byte_for_byte() {
        let body = format!("\n {} ", credit("acme", "m-1", 5));
        let (record, line) = recorded(&body);
        assert_eq!((record.body_sha256, record.event), (None, decided(body.clone(), String::new())));
        let start = r#"{"place":3,"source":"ledger","number":2,"event":{"Decided":{"at_unix_ms":7,"tenant_id":"acme","user_id":"ana","#;
        assert!(
            line.starts_with(start) && line.contains(r#""body":"\n {\"tenant_id\""#) && !line.contains('\n'),
            "{line}"
        );
        // What is no text survives too.
        let odd = Event::Decided(AuditEntry { body: vec![0xff, 0].into(), ..entry(decided(body, String::new())) });
        let (record, bytes) = Record::new(1, "ledger", 1, odd.clone()).unwrap();
        assert_eq!((Record::parse(&bytes).unwrap(), record.event.clone()), (record, odd));
    }

    fn entry(event: Event) -> AuditEntry {
        match event {
            Event::Decided(entry) => entry,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn of_a_sealed_secret_the_record_has_the_ciphertexts_hash_and_of_one_in_clear_nothing() {
        let sealed = r#"{"payload": {"secret": {"sealed":"____________________________","data_key":3}, "credential":"stripe"} }"#;
        let (record, line) = recorded(sealed);
        let hash = hex::encode(body_sha256(&[0xff; 21]));
        let shown = format!(
            r#"{{"payload": {{"secret": {{"sealed_sha256":"{hash}","data_key":3}}, "credential":"stripe"}} }}"#
        );
        assert_eq!(entry(record.event).body, shown);
        assert_eq!(record.body_sha256, Some(body_sha256(sealed.as_bytes())));
        assert!(!line.contains("______"), "{line}");
        let (record, line) = recorded(r#"{"payload":{"secret":"hunter2"}}"#);
        assert!(record.body_sha256.is_some() && !line.contains("hunter2"), "{line}");
    }

    #[test]
    fn no_record_is_longer_than_an_entry_may_be() {
        let spaced = credit("acme", "m-1", 5).replacen('{', &format!("{{{}", " ".repeat(ENTRY_BYTES_MAX)), 1);
        let (record, _) = recorded(&spaced);
        assert_eq!(entry(record.event).body, credit("acme", "m-1", 5));
        assert_eq!(record.body_sha256, Some(body_sha256(spaced.as_bytes())));
        let (record, _) = recorded(&"x".repeat(ENTRY_BYTES_MAX));
        assert_eq!((entry(record.event).body.len(), record.body_sha256.is_some()), (0, true));
        let refused = Record::new(1, "ledger", 9, decided(String::new(), "x".repeat(ENTRY_BYTES_MAX))).unwrap_err();
        assert!(refused.contains("event 9 has 65"), "{refused}");
    }
}
