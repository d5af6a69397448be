//! Relays the ledger's outbox to the audit log: in order, again and again until each entry is confirmed.
//!
//! An entry leaves the outbox only after the log has confirmed it, and the log passes over what it already has: an
//! outage of either side delays entries, and neither loses nor doubles one.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::embedded::{EmbeddedLedger, Waiting};
use crate::audit::{Audit, Event};

/// The name under which the audit log numbers the ledger's entries.
const SOURCE: &str = "ledger";

/// Bytes of bodies in one append, the last entry's excepted: with it, and all the entries' other fields, it fits a frame.
const BATCH_BYTES: usize = 256 * 1024;

/// The pause after a failed append doubles from the first to the second.
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// Relays for ever.
pub async fn relay(ledger: Arc<EmbeddedLedger>, audit: Arc<dyn Audit>) {
    let mut backoff = BACKOFF_MIN;
    loop {
        let waiting = match ledger.outbox(BATCH_BYTES) {
            Ok(waiting) => waiting,
            Err(error) => {
                tracing::error!(%error, "failed to read the outbox");
                sleep(BACKOFF_MAX).await;
                continue;
            }
        };
        let Some(Waiting { first, entries, newest }) = waiting else {
            ledger.outbox_grew().await;
            continue;
        };
        let decided = entries.into_iter().map(Event::Decided).collect();
        match audit.append(SOURCE, first, decided).await {
            Ok(last) if last <= newest => {
                ledger.relayed(last);
                backoff = BACKOFF_MIN;
            }
            Ok(last) => {
                tracing::error!(
                    last,
                    newest,
                    "the audit log has entries of a later ledger than this one: was the ledger's folder replaced? Nothing \
                     is relayed until both are of one history"
                );
                sleep(BACKOFF_MAX).await;
            }
            Err(error) => {
                tracing::warn!(%error, first, "failed to append to the audit log; the entries stay in the outbox");
                sleep(backoff).await;
                backoff = (backoff * 2).min(BACKOFF_MAX);
            }
        }
    }
}
