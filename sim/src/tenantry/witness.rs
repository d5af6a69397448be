//! What was seen of every command's way from outside, call by call: what the audit log's steps are compared with.
//!
//! Counted by the decorators around broker and ledger, as the engines answered. A call whose caller went away, or whose
//! process died, has no answer and may have done its work all the same: so calls are counted beside answers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tenantry_system::broker::Lease;
use tenantry_system::ids::{MessageId, TenantId, UserId};

/// No pause before a retry is as short as this.
const HURRY: Duration = Duration::from_millis(30);

/// A message, as the broker and the ledger know it.
pub type Message = (TenantId, MessageId);

/// Calls about one message, and those of them that were answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Calls {
    /// Begun.
    pub begun: u64,
    /// Answered, whatever the answer.
    pub answered: u64,
    /// Answered "that is new, and done".
    pub done: u64,
    /// Answered "that had been done before".
    pub repeated: u64,
}

impl Calls {
    /// How many have no answer.
    #[must_use]
    pub fn open(&self) -> u64 {
        self.begun - self.answered
    }
}

/// What operators had done to one dead letter, at the broker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Triages {
    /// Replays.
    pub replay: Calls,
    /// In whose names the broker was asked to replay it.
    pub replayers: BTreeSet<UserId>,
    /// Discards.
    pub discard: Calls,
}

/// Who holds each tenant's run: whoever was given the latest, and nobody else.
#[derive(Debug, Default)]
pub struct Leases {
    latest: BTreeMap<TenantId, u64>,
    /// Settlements compared.
    pub compared: u64,
    /// Settlements that counted, of runs that others had by then.
    pub violations: Vec<String>,
}

impl Leases {
    /// A run goes out.
    pub fn out(&mut self, lease: &Lease) {
        self.latest.insert(lease.tenant.clone(), lease.token);
    }

    /// Whether a later run of the tenant has gone out: then `lease` settles nothing any more.
    #[must_use]
    pub fn is_over(&self, lease: &Lease) -> bool {
        self.latest.get(&lease.tenant).is_some_and(|latest| *latest != lease.token)
    }

    /// A settlement of `lease`, which `was_over` when it began, was answered with whether it counts.
    pub fn settled(&mut self, lease: &Lease, was_over: bool, counts: bool) {
        self.compared += 1;
        if was_over && counts {
            let Lease { tenant, token } = lease;
            self.violations.push(format!("{tenant}: lease {token} settled a run that had gone out to another since"));
        }
    }
}

/// All that was seen.
#[derive(Debug, Default)]
pub struct Witness {
    /// Publishes, at the broker.
    pub published: BTreeMap<Message, Calls>,
    /// The attempts under which each message was seen to go out.
    pub delivered: BTreeMap<Message, BTreeSet<u64>>,
    /// When each message went out last, and how often that was sooner after the time before than any pause is long.
    pub hurried: BTreeMap<Message, (Duration, u64)>,
    /// When a storm took back each tenant's run last: what comes again at once for that is no hurry of the broker's.
    pub taken_back: BTreeMap<TenantId, Duration>,
    /// Commands brought to the ledger.
    pub applied: BTreeMap<Message, Calls>,
    /// When each command was brought to the ledger first, and when it was first seen to have its outcome.
    pub decided: BTreeMap<Message, (Duration, Option<Duration>)>,
    /// Who holds each tenant's run.
    pub leases: Leases,
    /// What was done to dead letters, at the broker.
    pub triaged: BTreeMap<Message, Triages>,
    /// How often an operator was shown a tenant's credentials.
    pub credentials_read: BTreeMap<TenantId, u64>,
}

impl Witness {
    /// A publish of a message begins.
    pub fn publish(&mut self, tenant: &TenantId, message_id: &MessageId) -> &mut Calls {
        self.published.entry((tenant.clone(), message_id.clone())).or_default()
    }

    /// Something is done to a dead letter.
    pub fn triage(&mut self, tenant: &TenantId, message_id: &MessageId) -> &mut Triages {
        self.triaged.entry((tenant.clone(), message_id.clone())).or_default()
    }

    /// A command is brought to the ledger.
    pub fn apply(&mut self, tenant: &TenantId, message_id: &MessageId) -> &mut Calls {
        self.applied.entry((tenant.clone(), message_id.clone())).or_default()
    }

    /// A command is brought to the ledger `now`.
    pub fn brought(&mut self, tenant: &TenantId, message_id: &MessageId, now: Duration) {
        self.decided.entry((tenant.clone(), message_id.clone())).or_insert((now, None));
    }

    /// A command is seen `now` to have its outcome.
    pub fn decided(&mut self, tenant: &TenantId, message_id: &MessageId, now: Duration) {
        let (_, until) = self.decided.entry((tenant.clone(), message_id.clone())).or_insert((now, None));
        until.get_or_insert(now);
    }

    /// Between which times a command had its outcome, by the simulation's own clock, whatever any host's says.
    #[must_use]
    pub fn effect(&self, tenant: &TenantId, message_id: &MessageId) -> (Duration, Duration) {
        let known = self.decided.get(&(tenant.clone(), message_id.clone()));
        known.map_or((Duration::ZERO, Duration::MAX), |(from, until)| (*from, until.unwrap_or(Duration::MAX)))
    }

    /// A message went out.
    pub fn deliver(&mut self, tenant: &TenantId, message_id: &MessageId, attempt: u32) {
        let (message, now) = ((tenant.clone(), message_id.clone()), super::world::now());
        let (last, hurried) = self.hurried.entry(message.clone()).or_insert((now, 0));
        let by_storm = self.taken_back.get(tenant).is_some_and(|at| at >= last);
        *hurried += u64::from(attempt > 1 && now < *last + HURRY && !by_storm);
        *last = now;
        self.delivered.entry(message).or_default().insert(attempt.into());
    }
}
