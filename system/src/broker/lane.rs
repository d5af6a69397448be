//! Lanes: which message may go out now. Pure decisions over (state, now); no disk, no clock, no waiting.
//!
//! One lane per tenant, first in first out, at most one message of a lane out at a time. Between tenants it goes round:
//! after a tenant was served every other with something to deliver comes first.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::{Delivery, Lease};
use crate::grant::Envelope;
use crate::ids::{MessageId, TenantId};

/// What bounds a lane. The defaults say why.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How long a consumer may keep a message: longer than it allows itself to work on one.
    pub lease: Duration,
    /// The first pause before a retry; it doubles with each.
    pub backoff_min: Duration,
    /// The longest pause: a healed dependency is noticed within it.
    pub backoff_max: Duration,
    /// Deliveries in a row that ended without any word before the message is taken for poison. A consumer's "retry" is
    /// a word, and the count begins anew: an outage of the ledger must not fill the dead letters.
    pub silent_deliveries_max: u32,
    /// Messages of one tenant that may wait.
    pub depth_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(5),
            backoff_min: Duration::from_millis(50),
            backoff_max: Duration::from_secs(2),
            silent_deliveries_max: 20,
            depth_max: 10_000,
        }
    }
}

/// All tenants' lanes.
#[derive(Debug)]
pub struct Lanes {
    limits: Limits,
    lanes: BTreeMap<TenantId, Lane>,
    last_served: Option<TenantId>,
}

#[derive(Debug, Default)]
struct Lane {
    waiting: VecDeque<Queued>,
    /// The lease on the first of `waiting`.
    leased: Option<(u64, Instant)>,
}

#[derive(Debug)]
struct Queued {
    sequence: u64,
    message_id: MessageId,
    envelope: Envelope,
    attempts: u32,
    silent: u32,
    not_before: Option<Instant>,
}

/// A message that was delivered too often without any word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exhausted {
    /// A lease on it, so that it can be put aside.
    pub lease: Lease,
    /// How often it went out.
    pub attempts: u32,
}

impl Lanes {
    /// No messages yet.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, lanes: BTreeMap::new(), last_served: None }
    }

    /// Appends a message to its tenant's lane. Sequences of one tenant must grow.
    ///
    /// # Panics
    /// When they don't: the order would already be lost.
    pub fn push(&mut self, tenant: &TenantId, sequence: u64, message_id: MessageId, envelope: Envelope) {
        let lane = self.lanes.entry(tenant.clone()).or_default();
        if let Some(last) = lane.waiting.back() {
            assert!(last.sequence < sequence, "{tenant}: {sequence} came after {}", last.sequence);
        }
        lane.waiting.push_back(Queued { sequence, message_id, envelope, attempts: 0, silent: 0, not_before: None });
    }

    /// How many messages of `tenant` wait or are out.
    #[must_use]
    pub fn depth(&self, tenant: &TenantId) -> usize {
        self.lanes.get(tenant).map_or(0, |lane| lane.waiting.len())
    }

    /// How many messages of all tenants wait or are out.
    #[must_use]
    pub fn total(&self) -> usize {
        self.lanes.values().map(|lane| lane.waiting.len()).sum()
    }

    /// True when the tenant's lane takes no more, with `coming` messages already on their way into it.
    #[must_use]
    pub fn is_full(&self, tenant: &TenantId, coming: usize) -> bool {
        self.depth(tenant) + coming >= self.limits.depth_max
    }

    /// Leases up to `max` messages at `now`, naming each lease by `token`; and those that went out too often, also
    /// leased, to be put aside.
    pub fn lease(
        &mut self,
        max: usize,
        now: Instant,
        mut token: impl FnMut() -> u64,
    ) -> (Vec<Delivery>, Vec<Exhausted>) {
        let (mut deliveries, mut exhausted) = (Vec::new(), Vec::new());
        for tenant in self.round() {
            if deliveries.len() >= max {
                break;
            }
            let lane = self.lanes.get_mut(&tenant).expect("taken from the lanes");
            let Some((first, lease)) = lane.lease(&tenant, now, self.limits.lease, &mut token) else { continue };
            if first.silent >= self.limits.silent_deliveries_max {
                exhausted.push(Exhausted { lease, attempts: first.attempts });
                continue;
            }
            first.attempts += 1;
            let (message_id, envelope) = (first.message_id.clone(), first.envelope.clone());
            deliveries.push(Delivery { lease, message_id, attempt: first.attempts, envelope });
            self.last_served = Some(tenant);
        }
        (deliveries, exhausted)
    }

    /// The tenants in the order of their turn: from after the one served last.
    fn round(&self) -> Vec<TenantId> {
        let Some(last) = &self.last_served else { return self.lanes.keys().cloned().collect() };
        let after = (Bound::Excluded(last), Bound::Unbounded);
        let until = (Bound::Unbounded, Bound::Included(last));
        self.lanes.range(after).chain(self.lanes.range(until)).map(|(tenant, _)| tenant.clone()).collect()
    }

    /// When a message can next go out that can't now: a lease or a pause ends. `None`: nothing waits on time.
    #[must_use]
    pub fn next_change(&self) -> Option<Instant> {
        let wakes = |lane: &Lane| match (&lane.leased, lane.waiting.front()) {
            (Some((_, expires)), _) => Some(*expires),
            (None, Some(first)) => first.not_before,
            (None, None) => None,
        };
        self.lanes.values().filter_map(wakes).min()
    }

    /// Whether `lease` is the one that holds its message at `now`.
    #[must_use]
    pub fn holds(&self, lease: &Lease, now: Instant) -> bool {
        self.lanes.get(&lease.tenant).is_some_and(|lane| lane.holds(lease, now))
    }

    /// Takes the message of `lease` out for good. `false`: the lease no longer holds, nothing changed.
    pub fn remove(&mut self, lease: &Lease, now: Instant) -> bool {
        let holds = self.holds(lease, now);
        if holds {
            self.forget(lease);
        }
        holds
    }

    /// Takes the message that `lease` names out for good, whoever holds it now: it is gone from the disk already.
    pub fn forget(&mut self, lease: &Lease) {
        let Some(lane) = self.lanes.get_mut(&lease.tenant) else { return };
        if lane.waiting.front().is_some_and(|first| first.sequence == lease.sequence) {
            lane.waiting.pop_front();
            lane.leased = None;
        }
        if lane.waiting.is_empty() {
            self.lanes.remove(&lease.tenant);
        }
    }

    /// Gives the message of `lease` back, to go out again after a pause. `false`: the lease no longer holds.
    pub fn retry(&mut self, lease: &Lease, now: Instant) -> bool {
        let Some(lane) = self.lanes.get_mut(&lease.tenant) else { return false };
        if !lane.holds(lease, now) {
            return false;
        }
        let first = lane.waiting.front_mut().expect("a leased lane has a first message");
        let doublings = first.attempts.saturating_sub(1).min(16);
        let pause = self.limits.backoff_min.saturating_mul(1 << doublings).min(self.limits.backoff_max);
        first.not_before = Some(now + pause.mul_f64(1.0 + jitter(lease, first.attempts) / 2.0));
        // A word was heard of it.
        first.silent = 0;
        lane.leased = None;
        true
    }
}

/// 0 to 1, by the message and its attempt: it stretches a pause by up to a half, so that lanes which failed together do
/// not come back together. A hash rather than a random number: one retry more leaves every other as it was.
fn jitter(lease: &Lease, attempts: u32) -> f64 {
    let mut hash = Sha256::new();
    hash.update(lease.tenant.as_str());
    hash.update(lease.sequence.to_le_bytes());
    hash.update(attempts.to_le_bytes());
    let hash = hash.finalize();
    f64::from(u16::from_le_bytes([hash[0], hash[1]])) / f64::from(u16::MAX)
}

impl Lane {
    fn holds(&self, lease: &Lease, now: Instant) -> bool {
        let first = self.waiting.front().map(|first| first.sequence);
        first == Some(lease.sequence)
            && self.leased.is_some_and(|(token, expires)| token == lease.token && now < expires)
    }

    fn lease(
        &mut self,
        tenant: &TenantId,
        now: Instant,
        length: Duration,
        token: &mut impl FnMut() -> u64,
    ) -> Option<(&mut Queued, Lease)> {
        let first = self.waiting.front_mut()?;
        if let Some((_, expires)) = self.leased {
            if now < expires {
                return None;
            }
            first.silent += 1;
        }
        if first.not_before.is_some_and(|at| now < at) {
            return None;
        }
        let token = token();
        self.leased = Some((token, now + length));
        first.not_before = None;
        let lease = Lease { tenant: tenant.clone(), sequence: first.sequence, token };
        Some((first, lease))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct World {
        lanes: Lanes,
        now: Instant,
        tokens: u64,
    }

    impl World {
        fn new(limits: Limits) -> Self {
            Self { lanes: Lanes::new(limits), now: Instant::now(), tokens: 0 }
        }

        fn push(&mut self, tenant: &str, sequence: u64) {
            let envelope = Envelope { body: "body".into(), grant: "grant".into() };
            let id = MessageId::parse(&format!("msg-{sequence}")).unwrap();
            self.lanes.push(&TenantId::parse(tenant).unwrap(), sequence, id, envelope);
        }

        fn lease(&mut self, max: usize) -> Vec<Delivery> {
            let tokens = &mut self.tokens;
            let (deliveries, exhausted) = self.lanes.lease(max, self.now, || {
                *tokens += 1;
                *tokens
            });
            assert!(exhausted.is_empty(), "{exhausted:?}");
            deliveries
        }

        fn leased(&mut self, max: usize) -> Vec<String> {
            self.lease(max).iter().map(|d| format!("{}/{}", d.lease.tenant, d.lease.sequence)).collect()
        }
    }

    #[test]
    fn one_tenant_is_served_in_order_one_at_a_time() {
        let mut world = World::new(Limits::default());
        world.push("acme", 1);
        world.push("acme", 2);
        let first = world.lease(9);
        assert_eq!(first.len(), 1);
        assert_eq!(world.leased(9), Vec::<String>::new());
        assert!(world.lanes.remove(&first[0].lease, world.now));
        assert_eq!(world.leased(9), ["acme/2"]);
    }

    #[test]
    fn tenants_take_turns_whatever_their_backlog() {
        let mut world = World::new(Limits::default());
        for sequence in 1..=3 {
            world.push("flood", sequence);
        }
        world.push("quiet", 1);
        let first = world.lease(1);
        assert_eq!(first[0].lease.tenant.as_str(), "flood");
        assert!(world.lanes.remove(&first[0].lease, world.now));
        assert_eq!(world.leased(1), ["quiet/1"]);
        assert_eq!(world.leased(1), ["flood/2"]);
    }

    #[test]
    fn a_late_settlement_never_touches_anothers_lease() {
        let mut world = World::new(Limits::default());
        world.push("acme", 1);
        let early = world.lease(1).remove(0);
        world.now += Limits::default().lease;
        let late = world.lease(1).remove(0);
        assert_eq!(late.attempt, 2);
        assert!(!world.lanes.remove(&early.lease, world.now));
        assert!(!world.lanes.retry(&early.lease, world.now));
        assert!(world.lanes.remove(&late.lease, world.now));
    }

    #[test]
    fn retries_pause_longer_and_longer_up_to_a_bound() {
        let limits = Limits::default();
        let mut world = World::new(limits);
        world.push("acme", 1);
        for expected in [50, 100, 200, 400, 800, 1600, 2000, 2000] {
            let delivery = world.lease(1).remove(0);
            assert!(world.lanes.retry(&delivery.lease, world.now));
            let pause = world.lanes.next_change().expect("a pause") - world.now;
            let expected = Duration::from_millis(expected);
            assert!(pause >= expected && pause <= expected.mul_f64(1.5), "{pause:?} instead of {expected:?}");
            assert!(world.leased(1).is_empty());
            world.now += pause;
        }
    }

    #[test]
    fn a_message_that_only_ever_meets_silence_is_given_up_and_one_that_is_retried_is_not() {
        let limits = Limits { silent_deliveries_max: 2, ..Limits::default() };
        let mut world = World::new(limits);
        world.push("acme", 1);
        for _ in 0..5 {
            assert_eq!(world.lease(1).len(), 1);
            world.now += limits.lease;
            let delivery = world.lease(1).remove(0);
            assert!(world.lanes.retry(&delivery.lease, world.now));
            world.now += limits.backoff_max * 2;
        }
        for _ in 0..2 {
            assert_eq!(world.lease(1).len(), 1);
            world.now += limits.lease;
        }
        let (deliveries, exhausted) = world.lanes.lease(1, world.now, || 99);
        assert!(deliveries.is_empty());
        assert_eq!(exhausted[0].attempts, 12);
        assert!(world.lanes.remove(&exhausted[0].lease, world.now));
        assert_eq!(world.lanes.total(), 0);
    }
}
