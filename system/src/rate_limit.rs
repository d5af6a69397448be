//! Rate limits: how often a tenant, a user and a source may ask. Abuse is slowed down before it costs others anything.
//!
//! Each key has a bucket (GCRA, by `governor`) that holds a burst and fills at a steady rate. Time is `tokio::time`, so a
//! simulation advances it. What was spent lives in memory and dies with the process, so a process begins with every bucket
//! empty and fills it at the bucket's own rate: however often it is restarted, nobody gets more than without the restart.

use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::ids::{TenantId, UserId};
use crate::monitor::{LimitKind, Monitor};

/// Keys that are full again are forgotten once in this many checks: what is kept is bounded by those who asked lately.
const FORGET_EVERY: u32 = 1 << 16;

/// One limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table such as { per_second = 40, burst = 20 }, both at least 1")]
pub struct Rate {
    /// Requests a second, in the long run.
    pub per_second: NonZeroU32,
    /// Requests at once after a pause.
    pub burst: NonZeroU32,
}

impl Rate {
    /// A rate.
    ///
    /// # Panics
    /// When one of them is zero.
    #[must_use]
    pub const fn new(per_second: u32, burst: u32) -> Self {
        let (Some(per_second), Some(burst)) = (NonZeroU32::new(per_second), NonZeroU32::new(burst)) else {
            panic!("a rate of nothing is no rate")
        };
        Self { per_second, burst }
    }
}

/// The limits of one service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RateLimits {
    /// Of the commands on one tenant.
    pub tenant: Rate,
    /// Of the commands of one user, on whatever tenant.
    pub user: Rate,
    /// Of the requests, of whatever sort, from one network address. Only the producer sees one.
    pub source: Rate,
}

impl Default for RateLimits {
    /// Far above what people do, and below what a runaway script does to a machine.
    fn default() -> Self {
        Self { tenant: Rate::new(1000, 2000), user: Rate::new(500, 1000), source: Rate::new(2000, 4000) }
    }
}

impl RateLimits {
    /// Twice as much of everything.
    #[must_use]
    pub fn doubled(&self) -> Self {
        let twice = |rate: Rate| Rate {
            per_second: rate.per_second.saturating_add(rate.per_second.get()),
            burst: rate.burst.saturating_add(rate.burst.get()),
        };
        Self { tenant: twice(self.tenant), user: twice(self.user), source: twice(self.source) }
    }
}

/// Who asked too often.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{who} asks too often: {} a second and bursts of {} are allowed", .rate.per_second, .rate.burst)]
pub struct Limited {
    /// The key, in words.
    pub who: String,
    /// Its limit.
    pub rate: Rate,
    /// When the next request will be let through.
    pub retry_after: Duration,
}

/// Limits tenants, users and sources.
pub struct Limiter {
    tenants: Buckets<TenantId>,
    users: Buckets<UserId>,
    sources: Buckets<String>,
    monitor: Monitor,
}

impl Limiter {
    /// A limiter whose buckets are empty now.
    #[must_use]
    pub fn new(limits: &RateLimits) -> Self {
        let start = Instant::now();
        Self {
            tenants: Buckets::new(limits.tenant, start),
            users: Buckets::new(limits.user, start),
            sources: Buckets::new(limits.source, start),
            monitor: Monitor::default(),
        }
    }

    /// Counts in `monitor` what it does not let through.
    #[must_use]
    pub fn monitored(self, monitor: &Monitor) -> Self {
        Self { monitor: monitor.clone(), ..self }
    }

    fn limited(&self, kind: LimitKind, refused: Refused, who: String) -> Limited {
        self.monitor.metrics.rate_limited.inc(kind);
        refused.of(who)
    }

    /// Lets one request from `source` through, or says who asks too often.
    ///
    /// # Errors
    /// When the source does.
    pub fn request(&self, source: &str) -> Result<(), Limited> {
        let checked = self.sources.check(&source.to_owned());
        checked.map_err(|refused| self.limited(LimitKind::Source, refused, format!("the address {source}")))
    }

    /// Lets one command of `user` on `tenant` through, or says who asks too often. The user is asked first: a script that
    /// is stopped there leaves the tenant's share to others.
    ///
    /// # Errors
    /// When one of them does.
    pub fn command(&self, tenant: &TenantId, user: &UserId) -> Result<(), Limited> {
        let checked = self.users.check(user);
        checked.map_err(|refused| self.limited(LimitKind::User, refused, format!("user {user}")))?;
        let checked = self.tenants.check(tenant);
        checked.map_err(|refused| self.limited(LimitKind::Tenant, refused, format!("tenant {tenant}")))
    }
}

struct Refused {
    rate: Rate,
    retry_after: Duration,
}

impl Refused {
    fn of(self, who: String) -> Limited {
        Limited { who, rate: self.rate, retry_after: self.retry_after }
    }
}

/// One bucket per key.
struct Buckets<K: Hash + Eq + Clone> {
    rate: Rate,
    start: Instant,
    limiter: RateLimiter<K, HashMapStateStore<K>, SinceStart, NoOpMiddleware<Nanos>>,
    /// Keys whose bucket was emptied, while buckets are still filling for the first time.
    emptied: std::sync::Mutex<Option<std::collections::BTreeSet<K>>>,
    checks: AtomicU32,
}

/// `tokio::time` since a process's start.
#[derive(Debug, Clone)]
struct SinceStart(Instant);

impl Clock for SinceStart {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.0.elapsed().into()
    }
}

impl<K: Hash + Eq + Ord + Clone> Buckets<K> {
    fn new(rate: Rate, start: Instant) -> Self {
        let quota = Quota::per_second(rate.per_second).allow_burst(rate.burst);
        let limiter = RateLimiter::new(quota, HashMapStateStore::default(), SinceStart(start));
        Self {
            rate,
            start,
            limiter,
            emptied: std::sync::Mutex::new(Some(Default::default())),
            checks: AtomicU32::new(0),
        }
    }

    fn check(&self, key: &K) -> Result<(), Refused> {
        if self.checks.fetch_add(1, Ordering::Relaxed) % FORGET_EVERY == FORGET_EVERY - 1 {
            self.limiter.retain_recent();
        }
        self.empty_at_start(key);
        self.limiter.check_key(key).map_err(|not_until| {
            let retry_after = not_until.wait_time_from(self.limiter.clock().now());
            Refused { rate: self.rate, retry_after }
        })
    }

    /// Takes out of a bucket what it can't hold yet: it was empty at the start, and has only filled since.
    fn empty_at_start(&self, key: &K) {
        let mut emptied = self.emptied.lock().expect("no holder panics");
        let Some(keys) = emptied.as_mut() else { return };
        let filled = u64::from(self.rate.per_second.get()) * self.start.elapsed().as_micros() as u64 / 1_000_000;
        let missing = u64::from(self.rate.burst.get()).saturating_sub(filled);
        match NonZeroU32::new(missing as u32) {
            None => *emptied = None,
            Some(missing) if keys.insert(key.clone()) => {
                // At most the burst, of a bucket nobody has touched: it can't be refused.
                let taken = self.limiter.check_key_n(key, missing);
                debug_assert!(matches!(taken, Ok(Ok(()))), "a fresh bucket holds its burst");
            }
            Some(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::time::advance;

    use super::*;

    fn limits(tenant: Rate) -> RateLimits {
        RateLimits { tenant, user: Rate::new(1_000_000, 1_000_000), source: Rate::new(1, 1) }
    }

    fn tenant(text: &str) -> TenantId {
        TenantId::parse(text).unwrap()
    }

    fn user(text: &str) -> UserId {
        UserId::parse(text).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_tenant_gets_its_burst_then_its_rate_and_another_does_not_feel_it() {
        let limiter = Limiter::new(&limits(Rate::new(10, 5)));
        advance(Duration::from_secs(10)).await;
        let ask = |name: &str| limiter.command(&tenant(name), &user("ana"));
        for _ in 0..5 {
            assert_eq!(ask("acme"), Ok(()));
        }
        let refused = ask("acme").unwrap_err();
        assert_eq!(refused.to_string(), "tenant acme asks too often: 10 a second and bursts of 5 are allowed");
        assert_eq!(refused.retry_after, Duration::from_millis(100));
        assert_eq!(ask("globex"), Ok(()));
        advance(refused.retry_after).await;
        assert_eq!(ask("acme"), Ok(()));
        assert!(ask("acme").is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_user_who_is_stopped_leaves_the_tenants_share_to_others() {
        let limits = RateLimits { tenant: Rate::new(1, 3), user: Rate::new(1, 2), source: Rate::new(1, 1) };
        let monitor = Monitor::default();
        let limiter = Limiter::new(&limits).monitored(&monitor);
        advance(Duration::from_secs(10)).await;
        let ask = |name: &str| limiter.command(&tenant("acme"), &user(name)).is_ok();
        assert_eq!([ask("script"), ask("script"), ask("script"), ask("script")], [true, true, false, false]);
        assert!(ask("ana"), "the script's refused requests took the tenant's share");
        assert!(!ask("bob"));
        let counted = [LimitKind::User, LimitKind::Tenant, LimitKind::Source];
        assert_eq!(counted.map(|kind| monitor.metrics.rate_limited.get(kind)), [2, 1, 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_restart_gives_nobody_more() {
        let rates = limits(Rate::new(10, 20));
        let mut passed = 0;
        // Restarted every 250 ms, asked as often as one can: at most the rate, and no burst at all.
        for _ in 0..40 {
            let limiter = Limiter::new(&rates);
            for _ in 0..250 {
                passed += u32::from(limiter.command(&tenant("acme"), &user("ana")).is_ok());
                advance(Duration::from_millis(1)).await;
            }
        }
        assert!(passed <= 100, "{passed} in 10 s at 10 a second");
        assert!(passed >= 50, "only {passed}: a restart must not shut everyone out");
    }

    /// The rule in the fewest words: since the start, in any span of time, no more than the burst and what the rate adds.
    /// Independent of GCRA: a bucket of millionths.
    struct Model {
        rate: u64,
        burst: u64,
        millionths: u64,
    }

    impl Model {
        fn passes(&mut self, after_us: u64) -> bool {
            self.millionths = (self.millionths + after_us * self.rate).min(self.burst * 1_000_000);
            let passes = self.millionths >= 1_000_000;
            self.millionths -= if passes { 1_000_000 } else { 0 };
            passes
        }
    }

    proptest! {
        #[test]
        fn as_many_as_an_independent_bucket_that_began_empty_or_one_fewer(
            burst in 1_u32..20,
            // Rates whose interval is a whole number of nanoseconds, so that both count the same.
            rate in proptest::sample::select(vec![1_u32, 2, 5, 10, 50, 100, 1000]),
            pauses in proptest::collection::vec(0_u64..400, 1..120),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            runtime.block_on(async {
                let limiter = Limiter::new(&limits(Rate::new(rate, burst)));
                let mut model = Model { rate: rate.into(), burst: burst.into(), millionths: 0 };
                let (mut passed, mut should) = (0, 0);
                for (index, pause) in pauses.into_iter().enumerate() {
                    advance(Duration::from_millis(pause)).await;
                    passed += u32::from(limiter.command(&tenant("acme"), &user("ana")).is_ok());
                    should += u32::from(model.passes(pause * 1000));
                    // One fewer: a bucket that is met while it first fills is taken to hold whole requests only.
                    prop_assert!(passed == should || passed + 1 == should, "{} of {} at request {}", passed, should, index);
                }
                Ok(())
            })?;
        }
    }
}
