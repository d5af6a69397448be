//! Unwrapped data keys, kept for a moment: a key management service answers in milliseconds, and not for nothing.
//!
//! What is kept is bounded in number and in time, and wiped when it goes. A key whose tenant's secrets are erased may stay
//! in a process that used it for as long as that: nothing sealed under it is taken from then on, for the ledger refuses it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};

use super::{DataKey, KeyContext, KeyError, KeyProvider, WrappedKey};
use crate::ids::TenantId;

/// How long an unwrapped key is kept: an erased one is in no process's memory after this.
const KEEP: Duration = Duration::from_secs(60);

/// How many are kept; the one kept longest goes first.
const KEYS_MAX: usize = 256;

/// A provider that takes longer has no answer.
const DEADLINE: Duration = Duration::from_secs(1);

/// A provider, and what it unwrapped lately.
pub(crate) struct KeyCache {
    provider: Arc<dyn KeyProvider>,
    kept: Arc<Mutex<BTreeMap<KeyContext, Kept>>>,
}

struct Kept {
    wrapped: WrappedKey,
    key: DataKey,
    until: Instant,
}

impl KeyCache {
    pub(crate) fn new(provider: Arc<dyn KeyProvider>) -> Self {
        Self { provider, kept: Arc::default() }
    }

    pub(crate) fn provider(&self) -> &Arc<dyn KeyProvider> {
        &self.provider
    }

    /// Wraps a new key.
    pub(crate) async fn wrap(&self, key: &DataKey, context: &KeyContext) -> Result<WrappedKey, KeyError> {
        timeout(DEADLINE, self.provider.wrap(key, context)).await.unwrap_or_else(|_| Err(late()))
    }

    /// Unwraps a key, if it was not unwrapped a moment ago.
    pub(crate) async fn unwrap(&self, wrapped: &WrappedKey, context: &KeyContext) -> Result<DataKey, KeyError> {
        let now = Instant::now();
        {
            let mut kept = self.kept.lock().expect("no holder panics");
            kept.retain(|_, kept| now < kept.until);
            if let Some(known) = kept.get(context).filter(|known| known.wrapped == *wrapped) {
                return Ok(known.key.clone());
            }
        }
        let until = now + KEEP;
        let key = timeout(DEADLINE, self.provider.unwrap(wrapped, context)).await.unwrap_or_else(|_| Err(late()))?;
        let mut kept = self.kept.lock().expect("no holder panics");
        if kept.len() >= KEYS_MAX
            && let Some(oldest) = kept.iter().min_by_key(|(_, kept)| kept.until).map(|(context, _)| context.clone())
        {
            kept.remove(&oldest);
        }
        kept.insert(context.clone(), Kept { wrapped: wrapped.clone(), key: key.clone(), until });
        // It goes at its time, whether or not anyone asks for a key again.
        let there = Arc::downgrade(&self.kept);
        tokio::spawn(async move {
            sleep_until(until).await;
            if let Some(kept) = there.upgrade() {
                kept.lock().expect("no holder panics").retain(|_, kept| until < kept.until);
            }
        });
        Ok(key)
    }

    /// Wipes what is kept of `tenant`.
    pub(crate) fn forget(&self, tenant: &TenantId) {
        self.kept.lock().expect("no holder panics").retain(|context, _| context.tenant != *tenant);
    }
}

fn late() -> KeyError {
    KeyError::Unavailable(format!("it took longer than {} ms", DEADLINE.as_millis()))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;

    use super::*;
    use crate::capability::OsEntropy;
    use crate::ids::Name;
    use crate::secret::{KeySet, KeyVersion};
    use crate::testing::tenant;

    struct Counting(KeySet, AtomicUsize);

    #[async_trait]
    impl KeyProvider for Counting {
        async fn wrap(&self, key: &DataKey, context: &KeyContext) -> Result<WrappedKey, KeyError> {
            self.0.wrap(key, context).await
        }
        async fn unwrap(&self, wrapped: &WrappedKey, context: &KeyContext) -> Result<DataKey, KeyError> {
            self.1.fetch_add(1, Ordering::Relaxed);
            self.0.unwrap(wrapped, context).await
        }
        fn current(&self) -> &Name {
            self.0.current()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_is_gone_after_a_minute_though_nobody_asks_again() {
        let cache = KeyCache::new(Arc::new(KeySet::generate(Name::parse("a").unwrap(), &OsEntropy)));
        let context = KeyContext { tenant: tenant("acme"), version: KeyVersion(0) };
        let wrapped = cache.wrap(&DataKey::generate(&OsEntropy), &context).await.unwrap();
        cache.unwrap(&wrapped, &context).await.unwrap();
        tokio::time::sleep(KEEP - Duration::from_millis(1)).await;
        assert_eq!(cache.kept.lock().unwrap().len(), 1);
        tokio::time::sleep(Duration::from_millis(2)).await;
        assert_eq!(cache.kept.lock().unwrap().len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_is_asked_for_once_a_minute_and_again_once_it_is_forgotten() {
        let set = KeySet::generate(Name::parse("a").unwrap(), &OsEntropy);
        let provider = Arc::new(Counting(set, AtomicUsize::new(0)));
        let cache = KeyCache::new(provider.clone());
        let context = |version| KeyContext { tenant: tenant("acme"), version: KeyVersion(version) };
        let key = DataKey::generate(&OsEntropy);
        let wrapped = cache.wrap(&key, &context(0)).await.unwrap();
        let mut asked = Vec::new();
        for pause in [0, 59, 2] {
            tokio::time::advance(Duration::from_secs(pause)).await;
            assert!(cache.unwrap(&wrapped, &context(0)).await.unwrap() == key);
            asked.push(provider.1.load(Ordering::Relaxed));
        }
        cache.forget(&tenant("acme"));
        assert!(cache.unwrap(&wrapped, &context(0)).await.unwrap() == key);
        asked.push(provider.1.load(Ordering::Relaxed));
        assert_eq!(asked, [1, 1, 2, 3]);
        for version in 1..=KEYS_MAX as u32 + 5 {
            let wrapped = cache.wrap(&key, &context(version)).await.unwrap();
            cache.unwrap(&wrapped, &context(version)).await.unwrap();
        }
        assert_eq!(cache.kept.lock().unwrap().len(), KEYS_MAX);
    }
}
