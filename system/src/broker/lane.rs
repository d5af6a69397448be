//! Lanes: which messages may go out now. Pure decisions over (state, now); no disk, no waiting.
//!
//! One lane per tenant, first in first out; what goes out is a run of its oldest messages, and at most one run of a lane is
//! out at a time. Between tenants it is deficit round robin (Shreedhar and Varghese, 1995): lanes take turns, and each turn
//! is worth the same, whether it is spent on few large messages or on many small ones. A turn costs the same however many
//! lanes there are.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::time::Duration;

use serde::Deserialize;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::recent::Key;
use super::{Again, Attempt, AttemptEnd, DeadLetter, Delivered, Delivery, Lease, Position, RUN_MAX, Settlement};
use crate::action;
use crate::audit::{Step, StepKind};
use crate::grant::Envelope;
use crate::ids::{MessageId, TenantId, UserId};
use crate::jws::MAX_TOKEN_BYTES;
use crate::message::{BodyHash, MAX_BODY_BYTES};
use crate::monitor::{Label, LaneClass};
use crate::rights::Role;

/// What a message costs beside its bytes: it has a signature to be verified and rows to be written, however small it is.
const MESSAGE_COST: usize = 1024;

/// What a turn is worth: one message of the largest size always fits, so that no turn is in vain.
const QUANTUM: usize = MAX_BODY_BYTES + MAX_TOKEN_BYTES + MESSAGE_COST;

/// Bytes of messages in one fetch: with all that goes with them they fit a frame.
const FETCH_BYTES_MAX: usize = 512 * 1024;

/// Attempts of a message that are kept: the latest.
const ATTEMPTS_KEPT: usize = 32;

/// What is put on record of a delivery that nobody ended.
const SILENCE: &str = "without a word from the consumer";
const PAUSED: &str = "the tenant was paused";

/// No consumer may make a lane wait longer.
const AGAIN_AFTER_MAX: Duration = Duration::from_secs(60);

/// What bounds a lane. The defaults say why.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How long a consumer may keep a run: longer than it allows itself to work on one.
    pub lease: Duration,
    /// The first pause before a retry; it doubles with each.
    pub backoff_min: Duration,
    /// The longest pause: a healed dependency is noticed within it.
    pub backoff_max: Duration,
    /// Deliveries in a row that ended without any word before the message is taken for poison; less than the attempts that
    /// are kept. A consumer's "again" is a word, and the count begins anew: an outage of the ledger must not fill the dead
    /// letters.
    pub silent_deliveries_max: usize,
    /// Messages of one tenant that may wait.
    pub depth_max: usize,
    /// Bytes of one tenant's messages that may wait.
    pub bytes_max: usize,
    /// Bytes of all tenants' messages that may wait. They are kept in memory.
    pub total_bytes_max: usize,
    /// Messages of one tenant that may wait even so: others' floods must not keep a quiet tenant out.
    pub depth_reserved: usize,
    /// The file is not compacted below this length, in bytes: what is free in it will soon be used again.
    pub compact_from: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(5),
            backoff_min: Duration::from_millis(50),
            backoff_max: Duration::from_secs(2),
            silent_deliveries_max: 20,
            depth_max: 10_000,
            bytes_max: 16 << 20,
            total_bytes_max: 1 << 30,
            depth_reserved: 16,
            compact_from: 64 << 20,
        }
    }
}

/// A message that waits.
#[derive(Debug, Clone)]
pub struct Queued {
    /// Its place in the order.
    pub sequence: u64,
    /// Its id.
    pub message_id: MessageId,
    /// When it was published, in milliseconds since the Unix epoch.
    pub(super) published_at_unix_ms: i64,
    /// What was published.
    pub envelope: Envelope,
    /// How publishes of it are recognised.
    pub(super) key: Key,
    pub(super) body_hash: BodyHash,
    /// In whose name and what for, as its body says.
    user: Option<UserId>,
    action: Option<&'static str>,
    /// How often it went out.
    pub(super) deliveries: u32,
    /// How it came back, the latest times.
    pub(super) attempts: VecDeque<Attempt>,
}

impl Queued {
    /// A message that has no place yet.
    pub(super) fn new(
        key: Key,
        body_hash: BodyHash,
        message_id: MessageId,
        published_at_unix_ms: i64,
        envelope: Envelope,
    ) -> Self {
        let (user, action) = Self::named(&envelope.body);
        Self {
            sequence: 0,
            message_id,
            published_at_unix_ms,
            envelope,
            key,
            body_hash,
            user,
            action,
            deliveries: 0,
            attempts: VecDeque::new(),
        }
    }

    /// In whose name and what for, as `body` says. One that is no message is the consumer's to refuse.
    pub(super) fn named(body: &[u8]) -> (Option<UserId>, Option<&'static str>) {
        let named: Named<'_> = serde_json::from_slice(body).unwrap_or_default();
        let user = named.user_id.and_then(|user| UserId::parse(&user).ok());
        (user, named.action.and_then(|name| action::find(&name)).map(|spec| spec.name))
    }

    /// What it asks for, as its body says.
    pub(super) fn action(&self) -> Option<&'static str> {
        self.action
    }

    /// Gives it the deliveries of a former life.
    pub(super) fn restore(&mut self, (deliveries, attempts): (u32, Vec<Attempt>)) {
        self.deliveries = deliveries;
        self.attempts = attempts.into();
    }

    /// A step of it; who puts it on record knows the time.
    pub(super) fn step(&self, tenant: &TenantId, kind: StepKind, number: u64) -> Step {
        Step {
            tenant: Some(tenant.clone()),
            user: self.user.clone(),
            action: self.action.map(str::to_owned),
            message_id: Some(self.message_id.clone()),
            body_sha256: Some(self.body_hash),
            ..Step::new(0, Role::Broker, kind, number)
        }
    }

    /// What it is put aside as.
    pub(super) fn dead_letter(&self, epoch: u64, reason: &str, at_unix_ms: i64) -> DeadLetter {
        DeadLetter {
            position: Position { epoch, sequence: self.sequence },
            envelope: self.envelope.clone(),
            reason: reason.to_owned(),
            at_unix_ms,
            deliveries: self.deliveries,
            attempts: self.attempts.iter().cloned().collect(),
        }
    }

    /// What it takes of memory and of a frame, roughly.
    pub(super) fn bytes(&self) -> usize {
        self.envelope.body.len() + self.envelope.grant.len()
    }

    fn cost(&self) -> usize {
        MESSAGE_COST + self.bytes()
    }

    /// How many of its latest deliveries ended without a word.
    fn silent(&self) -> usize {
        self.attempts.iter().rev().take_while(|attempt| attempt.end == AttemptEnd::Silent).count()
    }

    /// That its latest delivery settled nothing, because of `reason`.
    fn returned(&self, tenant: &TenantId, reason: &str) -> Step {
        Step { detail: reason.to_owned(), ..self.step(tenant, StepKind::CameBack, self.deliveries.into()) }
    }

    fn came_back(&mut self, leased_at_unix_ms: i64, end: AttemptEnd) {
        if self.attempts.len() == ATTEMPTS_KEPT {
            self.attempts.pop_front();
        }
        self.attempts.push_back(Attempt { leased_at_unix_ms, end });
    }
}

/// What a body says of itself; another field is none of the broker's business.
#[derive(Default, Deserialize)]
struct Named<'b> {
    #[serde(borrow)]
    user_id: Option<Cow<'b, str>>,
    #[serde(borrow)]
    action: Option<Cow<'b, str>>,
}

/// All tenants' lanes.
#[derive(Debug)]
pub struct Lanes {
    limits: Limits,
    epoch: u64,
    lanes: BTreeMap<TenantId, Lane>,
    /// Lanes whose stage is [`Stage::Ready`], in the order of their turns.
    ready: VecDeque<TenantId>,
    /// When lanes become ready by themselves.
    wakes: BTreeSet<(Instant, TenantId)>,
    paused: BTreeSet<TenantId>,
    total: usize,
    total_bytes: usize,
    /// Messages with a delivery more than is on record.
    came_back: Vec<(TenantId, u64)>,
    /// What happened that is not on record. A delivery is put there once it has ended, together with what ended it: one that
    /// a crash forgets comes again under its number, and stands there once.
    happened: Vec<Step>,
}

#[derive(Debug)]
struct Lane {
    /// Never empty.
    waiting: VecDeque<Queued>,
    bytes: usize,
    stage: Stage,
    /// What is left of its turns.
    deficit: usize,
}

#[derive(Debug)]
enum Stage {
    /// It waits for its turn.
    Ready,
    /// Its first messages are out.
    Out(Run),
    /// It pauses after an "again" until then.
    Resting(Instant),
    /// Its tenant is paused.
    Paused,
}

#[derive(Debug)]
struct Run {
    token: u64,
    length: usize,
    leased_at_unix_ms: i64,
    /// How many of its first messages are no deliveries that still have to be put on record.
    told: usize,
    /// `None` while its settlement is being made durable: it can no longer run out.
    expires: Option<Instant>,
}

/// A message that was delivered too often without any word: leased, so that it can be put aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exhausted {
    /// The right to settle it.
    pub lease: Lease,
    /// How often it went out.
    pub deliveries: u32,
}

/// What there is in the lanes of one class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counted {
    /// How many lanes.
    pub lanes: usize,
    /// How many messages in them.
    pub messages: usize,
    /// When the oldest was published.
    pub oldest_unix_ms: Option<i64>,
}

impl Lanes {
    /// No messages yet, in a store of this epoch.
    #[must_use]
    pub fn new(limits: Limits, epoch: u64) -> Self {
        Self {
            limits,
            epoch,
            lanes: BTreeMap::new(),
            ready: VecDeque::new(),
            wakes: BTreeSet::new(),
            paused: BTreeSet::new(),
            total: 0,
            total_bytes: 0,
            came_back: Vec::new(),
            happened: Vec::new(),
        }
    }

    /// Appends a message to its tenant's lane. Sequences of one tenant must grow.
    ///
    /// # Panics
    /// When they don't: the order would already be lost.
    pub fn push(&mut self, tenant: &TenantId, message: Queued) {
        self.total += 1;
        self.total_bytes += message.bytes();
        if let Some(lane) = self.lanes.get_mut(tenant) {
            let last = lane.waiting.back().map_or(0, |last| last.sequence);
            assert!(last < message.sequence, "{tenant}: {} came after {last}", message.sequence);
            lane.bytes += message.bytes();
            lane.waiting.push_back(message);
            return;
        }
        let stage = if self.paused.contains(tenant) { Stage::Paused } else { Stage::Ready };
        if matches!(stage, Stage::Ready) {
            self.ready.push_back(tenant.clone());
        }
        let lane = Lane { bytes: message.bytes(), waiting: VecDeque::from([message]), stage, deficit: 0 };
        self.lanes.insert(tenant.clone(), lane);
    }

    /// How many messages of all tenants wait or are out.
    #[must_use]
    pub fn total(&self) -> usize {
        self.total
    }

    /// Bytes of messages of all tenants that wait or are out.
    #[must_use]
    pub fn total_bytes(&self) -> usize {
        self.total_bytes
    }

    /// What there is in lanes of each [`LaneClass`].
    #[must_use]
    pub fn census(&self) -> [Counted; LaneClass::ALL.len()] {
        let mut census = [Counted::default(); LaneClass::ALL.len()];
        for lane in self.lanes.values() {
            let class = match lane.stage {
                Stage::Ready => LaneClass::Ready,
                Stage::Out(_) => LaneClass::Out,
                Stage::Resting(_) => LaneClass::Resting,
                Stage::Paused => LaneClass::Paused,
            };
            let (counted, first) = (&mut census[class.index()], lane.waiting[0].published_at_unix_ms);
            counted.lanes += 1;
            counted.messages += lane.waiting.len();
            counted.oldest_unix_ms = Some(counted.oldest_unix_ms.map_or(first, |oldest| oldest.min(first)));
        }
        census
    }

    /// Whether the message waits or is out.
    #[must_use]
    pub fn contains(&self, tenant: &TenantId, sequence: u64) -> bool {
        let found = |lane: &Lane| lane.waiting.binary_search_by_key(&sequence, |message| message.sequence).is_ok();
        self.lanes.get(tenant).is_some_and(found)
    }

    /// True when the tenant's lane takes no more, with `coming` messages of `bytes` already on their way into it.
    #[must_use]
    pub fn is_full(&self, tenant: &TenantId, coming: usize, bytes: usize) -> bool {
        let (depth, kept) = self.lanes.get(tenant).map_or((0, 0), |lane| (lane.waiting.len(), lane.bytes));
        let crowded = self.total_bytes >= self.limits.total_bytes_max && depth + coming >= self.limits.depth_reserved;
        depth + coming >= self.limits.depth_max || kept + bytes >= self.limits.bytes_max || crowded
    }

    /// Leases runs of up to `max` messages at `now`, naming each lease by `token`; and messages that went out too often,
    /// also leased, to be put aside.
    pub fn lease(
        &mut self,
        max: usize,
        now: Instant,
        unix_ms: i64,
        mut token: impl FnMut() -> u64,
    ) -> (Vec<Delivery>, Vec<Exhausted>) {
        self.wake(now);
        let (mut deliveries, mut exhausted) = (Vec::new(), Vec::new());
        let (mut room, mut bytes) = (max, FETCH_BYTES_MAX);
        let mut suspects = VecDeque::new();
        while room > 0 && bytes >= MAX_BODY_BYTES + MAX_TOKEN_BYTES {
            let Some(tenant) = self.ready.pop_front() else { break };
            let lane = self.lanes.get_mut(&tenant).expect("what is ready has a lane");
            let expires = now + self.limits.lease;
            let lease = Lease { tenant, token: token() };
            let first = lane.waiting.front().expect("a lane is never empty");
            let (deliveries_before, silent) = (first.deliveries, first.silent());
            // What may have killed a consumer goes out in a fetch of its own: no other tenant's messages die with it.
            if silent > 0 && !deliveries.is_empty() {
                suspects.push_back(lease.tenant);
                continue;
            }
            let poison = silent >= self.limits.silent_deliveries_max;
            let length = if poison { 1 } else { lane.turn(room.min(RUN_MAX), bytes) };
            // Poison is leased to be put aside, and delivered to nobody.
            let told = if poison { length } else { 0 };
            let run = Run { token: lease.token, length, leased_at_unix_ms: unix_ms, told, expires: Some(expires) };
            lane.stage = Stage::Out(run);
            self.wakes.insert((expires, lease.tenant.clone()));
            if poison {
                exhausted.push(Exhausted { deliveries: deliveries_before, lease });
                continue;
            }
            let epoch = self.epoch;
            let deliver = |message: &mut Queued| {
                message.deliveries += 1;
                Delivered {
                    position: Position { epoch, sequence: message.sequence },
                    message_id: message.message_id.clone(),
                    attempt: message.deliveries,
                    published_at_unix_ms: message.published_at_unix_ms,
                    envelope: message.envelope.clone(),
                }
            };
            let messages: Vec<_> = lane.waiting.iter_mut().take(length).map(deliver).collect();
            room -= length;
            bytes -= messages.iter().map(|m| m.envelope.body.len() + m.envelope.grant.len()).sum::<usize>();
            deliveries.push(Delivery { lease, messages });
            if silent > 0 {
                break;
            }
        }
        // Their turn stays theirs.
        while let Some(tenant) = suspects.pop_back() {
            self.ready.push_front(tenant);
        }
        (deliveries, exhausted)
    }

    /// Makes ready whatever came due by `now`: leases that ran out, pauses that ended.
    fn wake(&mut self, now: Instant) {
        while let Some((at, _)) = self.wakes.first()
            && *at <= now
        {
            let (at, tenant) = self.wakes.pop_first().expect("there is a first");
            let lane = self.lanes.get_mut(&tenant).expect("what wakes has a lane");
            if let Stage::Out(run) = &lane.stage {
                let (length, leased_at, told) = (run.length, run.leased_at_unix_ms, run.told);
                lane.delivered(&tenant, told..length, leased_at, &mut self.happened);
                for (index, message) in lane.waiting.iter_mut().take(length).enumerate() {
                    message.came_back(leased_at, AttemptEnd::Silent);
                    self.came_back.push((tenant.clone(), message.sequence));
                    if index >= told {
                        self.happened.push(message.returned(&tenant, SILENCE));
                    }
                }
            }
            // Whoever was silent rests before the next try: what killed their consumer must not go out together with the same
            // others again. Whoever had rested is ready.
            let rests = match &lane.stage {
                Stage::Out(_) => Some(self.limits.pause(&tenant, &Again::default(), &lane.waiting[0])),
                _ => None,
            };
            match rests {
                Some(pause) => {
                    lane.stage = Stage::Resting(at + pause);
                    self.wakes.insert((at + pause, tenant));
                }
                None => {
                    lane.stage = Stage::Ready;
                    self.ready.push_back(tenant);
                }
            }
        }
    }

    /// When a message can next go out that can't now: a lease or a pause ends. `None`: nothing waits on time.
    #[must_use]
    pub fn next_change(&self) -> Option<Instant> {
        self.wakes.first().map(|(at, _)| *at)
    }

    /// Whether `lease` holds at `now`: it has not run out, and nothing is being made durable under it already.
    fn holds(&self, lease: &Lease, now: Instant) -> bool {
        self.run(lease).is_some_and(|run| run.expires.is_some_and(|expires| now < expires))
    }

    fn run(&self, lease: &Lease) -> Option<&Run> {
        match &self.lanes.get(&lease.tenant)?.stage {
            Stage::Out(run) if run.token == lease.token => Some(run),
            _ => None,
        }
    }

    /// The first `count` messages of the run that `lease` is for, if it holds at `now`. It can no longer run out then:
    /// [`Lanes::settle`] follows once what it says of them is durable.
    pub fn hold(&mut self, lease: &Lease, count: usize, now: Instant) -> Option<Vec<Queued>> {
        if !self.holds(lease, now) {
            return None;
        }
        let lane = self.lanes.get_mut(&lease.tenant)?;
        let Stage::Out(run) = &mut lane.stage else { return None };
        if let Some(expires) = run.expires.take() {
            self.wakes.remove(&(expires, lease.tenant.clone()));
        }
        // What ends with the settlement is put on record with it.
        let (told, length, leased_at) = (run.told, count.min(run.length), run.leased_at_unix_ms);
        run.told = told.max(length);
        lane.delivered(&lease.tenant, told..length, leased_at, &mut self.happened);
        let Stage::Out(run) = &lane.stage else { return None };
        Some(lane.waiting.iter().take(count.min(run.length)).cloned().collect())
    }

    /// Ends the run of `lease` at `now`: takes the messages that ended out for good and returns them; the rest of the run
    /// rests. `None`: the lease no longer holds, and nothing changed.
    pub fn settle(&mut self, lease: &Lease, settlement: &Settlement, now: Instant) -> Option<Vec<Queued>> {
        if !self.holds(lease, now) {
            return None;
        }
        self.end(lease, settlement, now)
    }

    /// Ends the run that is out under `lease`, whether it has run out or not.
    fn end(&mut self, lease: &Lease, settlement: &Settlement, now: Instant) -> Option<Vec<Queued>> {
        self.run(lease)?;
        let lane = self.lanes.get_mut(&lease.tenant)?;
        let Stage::Out(run) = &lane.stage else { return None };
        let (length, leased_at, told) = (run.length, run.leased_at_unix_ms, run.told);
        if let Some(expires) = run.expires {
            self.wakes.remove(&(expires, lease.tenant.clone()));
        }
        lane.delivered(&lease.tenant, told..length, leased_at, &mut self.happened);
        let ended: Vec<_> = lane.waiting.drain(..settlement.ended.len().min(length)).collect();
        let bytes: usize = ended.iter().map(Queued::bytes).sum();
        lane.bytes -= bytes;
        self.total -= ended.len();
        self.total_bytes -= bytes;
        let rest = length - ended.len();
        // The first is the one that can't be dealt with yet; those behind it only wait for it.
        if rest > 0 {
            lane.waiting[0].came_back(leased_at, AttemptEnd::Again(settlement.again.reason.clone()));
            self.happened.push(lane.waiting[0].returned(&lease.tenant, &settlement.again.reason));
            let behind = lane.waiting.iter().take(rest).map(|message| (lease.tenant.clone(), message.sequence));
            self.came_back.extend(behind);
        }
        if lane.waiting.is_empty() {
            self.lanes.remove(&lease.tenant);
        } else if rest == 0 {
            lane.stage = Stage::Ready;
            self.ready.push_back(lease.tenant.clone());
        } else {
            let pause = self.limits.pause(&lease.tenant, &settlement.again, &lane.waiting[0]);
            lane.stage = Stage::Resting(now + pause);
            self.wakes.insert((now + pause, lease.tenant.clone()));
        }
        Some(ended)
    }

    /// Pauses a tenant: nothing of it goes out, and no lease on anything of it holds. Or resumes it.
    pub fn pause(&mut self, tenant: &TenantId, paused: bool) {
        let changed = if paused { self.paused.insert(tenant.clone()) } else { self.paused.remove(tenant) };
        let Some(lane) = self.lanes.get_mut(tenant).filter(|_| changed) else { return };
        match &lane.stage {
            Stage::Ready => self.ready.retain(|ready| ready != tenant),
            Stage::Out(Run { expires: Some(at), .. }) | Stage::Resting(at) => {
                self.wakes.remove(&(*at, tenant.clone()));
            }
            Stage::Out(Run { expires: None, .. }) | Stage::Paused => {}
        }
        if let Stage::Out(Run { told, length, leased_at_unix_ms, .. }) = lane.stage {
            lane.delivered(tenant, told..length, leased_at_unix_ms, &mut self.happened);
            for message in lane.waiting.iter().take(length).skip(told) {
                self.came_back.push((tenant.clone(), message.sequence));
                self.happened.push(message.returned(tenant, PAUSED));
            }
        }
        lane.stage = if paused { Stage::Paused } else { Stage::Ready };
        if !paused {
            self.ready.push_back(tenant.clone());
        }
    }

    /// Ends a held run, of which `ended` is gone from the disk. Its tenant may have been paused meanwhile, which ended the
    /// lease; they are gone all the same.
    pub fn finish(&mut self, lease: &Lease, settlement: &Settlement, ended: &[Queued], now: Instant) {
        if self.end(lease, settlement, now).is_none() {
            let sequences: Vec<_> = ended.iter().map(|message| message.sequence).collect();
            self.forget(&lease.tenant, &sequences);
        }
    }

    fn forget(&mut self, tenant: &TenantId, sequences: &[u64]) {
        let Some(lane) = self.lanes.get_mut(tenant) else { return };
        assert!(matches!(lane.stage, Stage::Paused), "{tenant}: forgotten under a {:?}", lane.stage);
        while let Some(first) = lane.waiting.front()
            && sequences.contains(&first.sequence)
        {
            lane.bytes -= first.bytes();
            self.total -= 1;
            self.total_bytes -= first.bytes();
            lane.waiting.pop_front();
        }
        if lane.waiting.is_empty() {
            self.lanes.remove(tenant);
        }
    }

    /// Whether there is anything that is not on record yet.
    #[must_use]
    pub fn has_news(&self) -> bool {
        !self.came_back.is_empty() || !self.happened.is_empty()
    }

    /// How many deliveries of the messages that came back since the last call and still wait have ended, and how they did.
    pub fn take_news(&mut self) -> Vec<(u64, (u32, Vec<Attempt>))> {
        let deliveries = |(tenant, sequence): (TenantId, u64)| {
            let lane = self.lanes.get(&tenant)?;
            let index = lane.waiting.binary_search_by_key(&sequence, |message| message.sequence).ok()?;
            let message = &lane.waiting[index];
            // It may be out again already. That delivery is not on record: if a crash forgets it, it comes again under its number.
            let out = matches!(&lane.stage, Stage::Out(run) if (run.told..run.length).contains(&index));
            let deliveries = message.deliveries - u32::from(out);
            Some((sequence, (deliveries, message.attempts.iter().cloned().collect())))
        };
        std::mem::take(&mut self.came_back).into_iter().filter_map(deliveries).collect()
    }

    /// What happened since the last call, at `unix_ms` where it has no time of its own.
    pub fn take_happened(&mut self, unix_ms: i64) -> Vec<Step> {
        let mut happened = std::mem::take(&mut self.happened);
        happened.iter_mut().filter(|step| step.at_unix_ms == 0).for_each(|step| step.at_unix_ms = unix_ms);
        happened
    }
}

impl Limits {
    fn pause(&self, tenant: &TenantId, again: &Again, first: &Queued) -> Duration {
        if let Some(after_ms) = again.after_ms {
            return Duration::from_millis(after_ms).min(AGAIN_AFTER_MAX);
        }
        let doublings = first.attempts.len().saturating_sub(1).min(16) as u32;
        let pause = self.backoff_min.saturating_mul(1 << doublings).min(self.backoff_max);
        pause.mul_f64(1.0 + jitter(tenant, first) / 2.0)
    }
}

/// 0 to 1, by the message and its attempt: it stretches a pause by up to a half, so that lanes which failed together do
/// not come back together. A hash rather than a random number: one retry more leaves every other as it was.
fn jitter(tenant: &TenantId, message: &Queued) -> f64 {
    let mut hash = Sha256::new();
    hash.update(tenant.as_str());
    hash.update(message.sequence.to_le_bytes());
    hash.update(message.deliveries.to_le_bytes());
    let hash = hash.finalize();
    f64::from(u16::from_le_bytes([hash[0], hash[1]])) / f64::from(u16::MAX)
}

impl Lane {
    /// Puts it into `happened` that those of its messages that are in `range` were delivered at `leased_at`.
    fn delivered(&self, tenant: &TenantId, range: Range<usize>, leased_at: i64, happened: &mut Vec<Step>) {
        for message in self.waiting.iter().take(range.end).skip(range.start) {
            let step = message.step(tenant, StepKind::Delivered, message.deliveries.into());
            happened.push(Step { at_unix_ms: leased_at, ..step });
        }
    }

    /// Has its turn: how many messages go out, of at most `max`, at least one, and of at most `bytes` in all. One that
    /// came back without a word goes alone: if it is what kills its consumers, no other suffers with it.
    fn turn(&mut self, max: usize, bytes: usize) -> usize {
        // What a turn left over counts for the next, but does not pile up.
        self.deficit = (self.deficit + QUANTUM).min(2 * QUANTUM);
        let max = if self.waiting[0].silent() > 0 { 1 } else { max };
        let (mut length, mut size) = (0, 0);
        for message in self.waiting.iter().take(max) {
            if message.cost() > self.deficit || size + message.bytes() > bytes {
                break;
            }
            self.deficit -= message.cost();
            size += message.bytes();
            length += 1;
        }
        if length == self.waiting.len() {
            self.deficit = 0;
        }
        length
    }
}

#[cfg(test)]
#[path = "lane_tests.rs"]
mod tests;
