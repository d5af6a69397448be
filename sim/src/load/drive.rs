//! Sends each command when it is meant to be sent, whatever became of those before it.
//!
//! Requests under way are bounded. A command that finds no free place waits for one in the order of arrival, and its wait
//! counts as schedule delay: nothing is left out, and nothing is sent later than was possible. A command without a final answer
//! is sent again, the same bytes, until its deadline; one that is given up counts with the time that it was waited for.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use async_trait::async_trait;
use tenantry_reports::wall::WallLatency;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinSet, yield_now};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::shots::Shot;

/// Pauses before a command is sent again: the first, doubled each time up to the last. Short, for they are the resolution with
/// which a recovery is seen.
const AGAIN_AFTER: Duration = Duration::from_millis(10);
const AGAIN_AFTER_MAX: Duration = Duration::from_millis(160);

/// After a stop, answers under way are waited for this long.
const STOP_MAX: Duration = Duration::from_secs(1);

/// Where commands are sent.
#[async_trait]
pub trait Target: Send + Sync {
    /// Sends a command once, and waits for an answer, at most so long.
    async fn send(&self, shot: &Shot, wait: Duration) -> Reply;

    /// Asks what became of a confirmed command, and waits for its outcome, at most so long.
    async fn outcome(&self, shot: &Shot, wait: Duration) -> Told;
}

/// The answer to a command that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// It is durable.
    Confirmed,
    /// It never will be; which status, and why.
    Refused(String),
    /// Not now, or nobody knows: the same bytes may be sent again.
    Again,
}

/// What became of a confirmed command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// It took effect.
    Applied,
    /// The ledger refused it.
    Rejected,
    /// It was given up.
    DeadLettered,
    /// Nobody knows yet, or nobody answered.
    Unknown,
}

/// How much at once, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Requests for a confirmation under way at once, and as many for outcomes.
    pub in_flight_max: usize,
    /// For a confirmation, from when a command is meant to be sent; and for its outcome, from the confirmation.
    pub deadline: Duration,
}

/// What became of one command. Times are since the load began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Which, in the order of arrivals.
    pub shot: usize,
    /// When it was sent first; `None` if it was given up before.
    pub sent: Option<Duration>,
    /// When it was confirmed, refused, or given up.
    pub ended: Duration,
    /// Which of them; [`Reply::Again`] if it was given up.
    pub end: Reply,
    /// How often it was sent once more.
    pub resent: u64,
    /// When its outcome was known, or given up, if it was followed.
    pub outcome: Option<(Duration, Told)>,
}

/// All that became of a load.
#[derive(Debug)]
pub struct Driven {
    /// In the order of arrivals.
    pub samples: Vec<Sample>,
    /// How late the generator woke for a command, where it did not wait for a free place.
    pub late: WallLatency,
    /// Commands that had to wait for a free place, or behind one that had.
    pub waited_for_slot: u64,
    /// Outcomes that were asked for later than they could have been, for want of a free place.
    pub followed_late: u64,
    /// Whether it was stopped before the last arrival.
    pub stopped: bool,
}

/// Figures of a load under way, for those who look on.
#[derive(Debug, Default)]
pub struct Live {
    /// Commands that were due.
    pub due: AtomicU64,
    /// Requests for a confirmation under way.
    pub in_flight: AtomicU64,
    /// Confirmed.
    pub confirmed: AtomicU64,
    /// Refused.
    pub refused: AtomicU64,
    /// Given up.
    pub unanswered: AtomicU64,
    /// Outcomes that were seen.
    pub outcomes: AtomicU64,
    /// Totals since someone last took them.
    pub recent: Mutex<WallLatency>,
}

/// Sends `shots`, which are in order, the first of them `begun` and its time, until `stop`.
///
/// # Panics
/// When a sender does.
pub async fn drive(
    target: Arc<dyn Target>,
    shots: Arc<[Shot]>,
    limits: Limits,
    begun: Instant,
    live: Arc<Live>,
    stop: CancellationToken,
) -> Driven {
    let slots = Arc::new(Semaphore::new(limits.in_flight_max));
    let followers = Arc::new(Semaphore::new(limits.in_flight_max));
    let followed_late = Arc::new(AtomicU64::new(0));
    let (mut late, mut waited_for_slot, mut held_up) = (WallLatency::new(), 0, false);
    let mut under_way = JoinSet::new();
    let mut samples = Vec::with_capacity(shots.len());
    let mut stopped = false;
    for (index, shot) in shots.iter().enumerate() {
        let due = begun + shot.intended;
        if Instant::now() < due {
            held_up = false;
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = sleep_until(due) => {}
            }
        } else {
            // Nobody else runs on this thread while commands are overdue, unless it is their turn now and then.
            yield_now().await;
        }
        let slot = match slots.clone().try_acquire_owned() {
            Ok(slot) if !held_up => {
                late.record(Instant::now().saturating_duration_since(due));
                slot
            }
            free => {
                (waited_for_slot, held_up) = (waited_for_slot + 1, true);
                match free {
                    Ok(slot) => slot,
                    Err(_) => tokio::select! {
                        biased;
                        () = stop.cancelled() => { stopped = true; break }
                        slot = slots.clone().acquire_owned() => slot.expect("it is never closed"),
                    },
                }
            }
        };
        if stop.is_cancelled() {
            stopped = true;
            break;
        }
        live.due.fetch_add(1, Relaxed);
        let sender = Sender {
            target: target.clone(),
            shots: shots.clone(),
            index,
            limits,
            begun,
            live: live.clone(),
            followers: followers.clone(),
            followed_late: followed_late.clone(),
        };
        under_way.spawn(sender.send(slot));
        while let Some(ended) = under_way.try_join_next() {
            samples.push(sample(ended));
        }
    }
    loop {
        let next = match stop.is_cancelled() {
            false => tokio::select! {
                biased;
                next = under_way.join_next() => next,
                () = stop.cancelled() => { stopped = true; continue }
            },
            true => match timeout(STOP_MAX, under_way.join_next()).await {
                Ok(next) => next,
                Err(_) => break,
            },
        };
        let Some(ended) = next else { break };
        samples.push(sample(ended));
    }
    samples.sort_by_key(|sample| sample.shot);
    Driven { samples, late, waited_for_slot, followed_late: followed_late.load(Relaxed), stopped }
}

fn sample(ended: Result<Sample, tokio::task::JoinError>) -> Sample {
    ended.unwrap_or_else(|error| match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(error) => unreachable!("no sender is aborted while it is waited for: {error}"),
    })
}

/// One command's sender.
struct Sender {
    target: Arc<dyn Target>,
    shots: Arc<[Shot]>,
    index: usize,
    limits: Limits,
    begun: Instant,
    live: Arc<Live>,
    followers: Arc<Semaphore>,
    followed_late: Arc<AtomicU64>,
}

impl Sender {
    async fn send(self, slot: OwnedSemaphorePermit) -> Sample {
        let shot = &self.shots[self.index];
        self.live.in_flight.fetch_add(1, Relaxed);
        let give_up = self.begun + shot.intended + self.limits.deadline;
        let sent = self.begun.elapsed();
        let (end, resent) = self.until_answered(shot, give_up).await;
        let ended = self.begun.elapsed();
        self.live.in_flight.fetch_sub(1, Relaxed);
        drop(slot);
        let count = match end {
            Reply::Confirmed => &self.live.confirmed,
            Reply::Refused(_) => &self.live.refused,
            Reply::Again => &self.live.unanswered,
        };
        count.fetch_add(1, Relaxed);
        if !matches!(end, Reply::Refused(_)) {
            // Whoever panicked while looking on has seen enough.
            let mut recent = self.live.recent.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            recent.record(ended.saturating_sub(shot.intended));
        }
        let outcome = match end == Reply::Confirmed && shot.followed {
            true => Some(self.follow(shot).await),
            false => None,
        };
        // A command whose time was over before there was a place was never sent.
        let sent = (resent.is_some()).then_some(sent);
        Sample { shot: self.index, sent, ended, end, resent: resent.unwrap_or(0), outcome }
    }

    /// The final answer, and how often it was asked for once more; `None` if never at all.
    async fn until_answered(&self, shot: &Shot, give_up: Instant) -> (Reply, Option<u64>) {
        let (mut resent, mut pause) = (None, AGAIN_AFTER);
        loop {
            let left = give_up.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return (Reply::Again, resent);
            }
            resent = Some(resent.map_or(0, |times| times + 1));
            match self.target.send(shot, left).await {
                Reply::Again => {}
                answer => return (answer, resent),
            }
            sleep(pause.min(give_up.saturating_duration_since(Instant::now()))).await;
            pause = (pause * 2).min(AGAIN_AFTER_MAX);
        }
    }

    /// What became of it, and when that was known.
    async fn follow(&self, shot: &Shot) -> (Duration, Told) {
        let give_up = Instant::now() + self.limits.deadline;
        let mut free = self.followers.clone().try_acquire_owned().ok();
        if free.is_none() {
            self.followed_late.fetch_add(1, Relaxed);
            free = timeout_at(give_up, self.followers.clone().acquire_owned()).await.ok().and_then(Result::ok);
        }
        let mut told = Told::Unknown;
        let mut pause = AGAIN_AFTER;
        while free.is_some() && told == Told::Unknown {
            let left = give_up.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            told = self.target.outcome(shot, left).await;
            if told == Told::Unknown {
                sleep(pause.min(give_up.saturating_duration_since(Instant::now()))).await;
                pause = (pause * 2).min(AGAIN_AFTER_MAX);
            }
        }
        if told != Told::Unknown {
            self.live.outcomes.fetch_add(1, Relaxed);
        }
        (self.begun.elapsed(), told)
    }
}

#[cfg(test)]
#[path = "drive_tests.rs"]
mod tests;
