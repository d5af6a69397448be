//! Rules over the audit stream: what no single event shows.
//!
//! Where the log is kept the stream is in one order and complete, so rules look at it there, in the very transaction that
//! appends: what they find stands right behind what they found it in, once, whatever dies. After a start the engine knows
//! what it knew from the log alone.
//!
//! | file | what |
//! |---|---|
//! | `rules.rs` | rules, read from a file and checked |
//! | `engine.rs` | what they find: pure, bounded |
//! | `quiet.rs` | which alerts someone is told of, and how many were held back: pure, bounded |
//! | `webhook.rs` | telling it: signed, in order, at least once |

mod engine;
mod quiet;
mod rules;
mod webhook;

use serde::{Deserialize, Serialize};

use crate::audit::{Event, Severity};
use crate::ids::Name;

pub use engine::{EVIDENCE_MAX, Engine, KEYS_MAX};
pub use quiet::{QUIET_DEFAULT_S, Quiet};
pub use rules::{By, DEFAULT_RULES, Hours, Kind, Of, Rule, Rules, RulesError};
pub use webhook::{Secret, Webhook};

/// Watches a log as it grows.
pub trait Watching: Send {
    /// How far back it must be shown the log after a start, in milliseconds.
    fn look_back_ms(&self) -> i64;

    /// Takes in the event at `place`, which is on record already, with all that was raised then.
    fn recall(&mut self, place: u64, event: &Event);

    /// Takes in the new event at `place`, and says what is found with it. That it was raised it learns when it sees it.
    fn see(&mut self, place: u64, event: &Event) -> Vec<Raised>;

    /// What has waited too long at `now`, in milliseconds since the Unix epoch.
    fn overdue(&self, now: i64) -> Vec<Raised>;
}

/// What a rule has found: an event of its own in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Raised {
    /// When, in milliseconds since the Unix epoch: the time of the event that completed it, or, of what was too long in
    /// coming, the log's own.
    pub at_unix_ms: i64,
    /// Which rule.
    pub rule: Name,
    /// How urgent it is.
    pub severity: Severity,
    /// The tenant, of a rule that looks at each alone. As it was claimed.
    pub tenant: Option<String>,
    /// The operator, of a rule that looks at each alone. As it was claimed.
    pub user: Option<String>,
    /// How many there were.
    pub count: u64,
    /// The places in the log of the newest of them; of what waits, of the oldest. At most [`EVIDENCE_MAX`].
    pub evidence: Vec<u64>,
    /// What it means, in words.
    pub detail: String,
}

impl Raised {
    /// One line for people.
    #[must_use]
    pub fn line(&self) -> String {
        let Self { rule, detail, evidence, .. } = self;
        let user = self.user.as_ref().map(|user| format!(" of {user:?}")).unwrap_or_default();
        format!("{rule}{user}: {detail}; see {evidence:?}")
    }

    /// What it was found of, of what `by` sets apart.
    fn key(&self, by: By) -> String {
        let key = match by {
            By::User => &self.user,
            By::Tenant => &self.tenant,
            By::Nobody => &None,
        };
        key.clone().unwrap_or_default()
    }
}
