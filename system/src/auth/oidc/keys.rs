//! The provider's keys as they are now: read by one task, used by all, never older than configured.
//!
//! As in the grants' [`Verifier`](crate::grant::Verifier), many who wait share one question, and only an answer to a
//! question that was put after a token came can say that there is no such key: until then it may just be new. Here a task
//! asks, for keys must also be renewed while all is known: the provider drops one, and nobody says so. And nobody's request
//! pays for a provider that is slow.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use super::fetch::Fetcher;
use super::issuer::Freshness;
use super::key_set::{KEY_SET_BYTES_MAX, KeySet};
use super::token::Claims;
use crate::call::CallError;
use crate::capability::World;
use crate::outside::{Roots, Url};

/// A request waits this long for a reading that it needs: less than the second its caller has.
const WAIT_MAX: Duration = Duration::from_millis(500);

const UNREAD: &str = "they could not be read; auth's log says why";

/// Where a provider's keys (a JWK Set, RFC 7517) come from.
#[derive(Debug, Clone)]
pub struct Jwks(pub(super) Source, pub(super) Freshness);

#[derive(Debug, Clone)]
pub(super) enum Source {
    Fixed(Bytes),
    File(PathBuf),
    Url(Url, Roots),
}

impl Jwks {
    /// This document, for ever.
    #[must_use]
    pub fn fixed(document: impl Into<Bytes>) -> Self {
        Self(Source::Fixed(document.into()), Freshness::URL)
    }

    /// What the file at `path` holds at the time. Replace it whole (write another, then rename): one that is half written
    /// is no key set, and the keys before it serve on.
    #[must_use]
    pub fn file(path: impl Into<PathBuf>, freshness: Freshness) -> Self {
        Self(Source::File(path.into()), freshness)
    }

    /// What `url` answers at the time, from a host that `roots` vouch for.
    #[must_use]
    pub fn url(url: Url, roots: Roots, freshness: Freshness) -> Self {
        Self(Source::Url(url, roots), freshness)
    }
}

/// The keys of one reading, and the tokens that they verified: these can't outlive those.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) keys: KeySet,
    pub(super) believed: Mutex<BTreeMap<[u8; 32], Claims>>,
    document_sha256: [u8; 32],
}

impl Held {
    fn read(document: &[u8]) -> Result<Self, String> {
        let (keys, left_out) = KeySet::parse(document)?;
        for why in left_out {
            tracing::warn!("a key of the identity provider is not used: {why}");
        }
        tracing::info!(keys = keys.len(), "read the identity provider's keys");
        Ok(Self { keys, believed: Mutex::default(), document_sha256: Sha256::digest(document).into() })
    }
}

/// What all readings have come to.
#[derive(Clone, Default)]
pub(super) struct State {
    held: Option<Arc<Held>>,
    /// When the reading began that `held` came from, or found it unchanged.
    read_at: Option<Instant>,
    /// Readings begun and ended, whichever way, counted from the start. One task reads, so they differ by one at most.
    begun: u64,
    ended: u64,
    /// The next reading begins no earlier.
    not_before: Option<Instant>,
    /// Why the last reading failed, if it did.
    error: Option<String>,
}

/// The keys, and the task that reads them.
pub(super) enum Keys {
    Fixed(Arc<Held>),
    Read { state: watch::Receiver<State>, wanted: Arc<Notify>, stale_max: Duration, _reader: AbortOnDropHandle<()> },
}

impl Keys {
    /// Begins to read `jwks`. That they can't be read yet is no error: a provider may come up later.
    ///
    /// # Errors
    /// When they never could be.
    pub(super) fn start(jwks: Jwks, world: &World) -> Result<Self, String> {
        let Jwks(source, freshness) = jwks;
        let reader = match source {
            Source::Fixed(document) => return Ok(Self::Fixed(Arc::new(Held::read(&document)?))),
            Source::File(path) => Reader::File(path),
            Source::Url(url, roots) => Reader::Url(Box::new(Fetcher::new(world, url, &roots)?)),
        };
        let (sender, state) = watch::channel(State::default());
        let wanted = Arc::new(Notify::new());
        let stale_max = freshness.stale_max;
        let task = tokio::spawn(read_for_ever(reader, freshness, sender, wanted.clone()));
        Ok(Self::Read { state, wanted, stale_max, _reader: AbortOnDropHandle::new(task) })
    }

    /// The keys to go by now. At the start they may have to be waited for.
    ///
    /// # Errors
    /// When there are none, or none that are new enough: then nobody can be let in, and nobody refused.
    pub(super) async fn current(&self) -> Result<Arc<Held>, CallError> {
        let Self::Read { state, stale_max, .. } = self else { return self.newer().await };
        let mut known = state.borrow().clone();
        if known.ended == 0 {
            known = self.read_after(0).await?;
        }
        fresh(&known, *stale_max)
    }

    /// Keys that were asked for after this began: of a token of an unknown key, they say whether there is such a key.
    ///
    /// # Errors
    /// When they can't be had at once.
    pub(super) async fn newer(&self) -> Result<Arc<Held>, CallError> {
        match self {
            Self::Fixed(held) => Ok(held.clone()),
            Self::Read { state, stale_max, .. } => {
                let begun = state.borrow().begun;
                let known = self.read_after(begun).await?;
                // A reading that failed can't say that there is no such key.
                if known.error.is_some() {
                    return Err(unavailable(UNREAD));
                }
                fresh(&known, *stale_max)
            }
        }
    }

    /// The state once a reading has ended that is not among the first `begun`.
    async fn read_after(&self, begun: u64) -> Result<State, CallError> {
        let Self::Read { state, wanted, .. } = self else { unreachable!("what is fixed is never read again") };
        let give_up = Instant::now() + WAIT_MAX;
        let (is_under_way, not_before) = {
            let known = state.borrow();
            (known.begun > begun, known.not_before)
        };
        if !is_under_way {
            // Also for those who will ask again: it begins as soon as it may.
            wanted.notify_one();
            if not_before.is_some_and(|not_before| not_before > give_up) {
                return Err(unavailable("they were asked for a moment ago"));
            }
        }
        let mut state = state.clone();
        let waited = timeout_at(give_up, state.wait_for(|known| known.ended > begun)).await;
        match waited {
            Ok(Ok(known)) => Ok(known.clone()),
            // The reader runs for as long as these keys are there.
            Ok(Err(_)) => Err(unavailable("the task that reads them has ended")),
            Err(_) => Err(unavailable("it has not answered yet")),
        }
    }
}

fn fresh(known: &State, stale_max: Duration) -> Result<Arc<Held>, CallError> {
    let (Some(held), Some(read_at)) = (&known.held, known.read_at) else { return Err(unavailable(UNREAD)) };
    let age = read_at.elapsed();
    if age > stale_max {
        return Err(unavailable(&format!("those of {} s ago are too old to go by", age.as_secs())));
    }
    Ok(held.clone())
}

/// The answer for whoever holds the token. Why a reading failed - a path, an address - is the log's.
fn unavailable(why: &str) -> CallError {
    CallError::Failed(format!("the token can't be checked now, for want of the identity provider's keys: {why}"))
}

enum Reader {
    File(PathBuf),
    Url(Box<Fetcher>),
}

impl Reader {
    async fn read(&self) -> Result<Bytes, String> {
        match self {
            // A few KiB, from memory mostly: nobody waits for it longer than for a lock.
            Self::File(path) => {
                let mut document = Vec::new();
                let opened = std::fs::File::open(path);
                let read = opened.and_then(|file| file.take(KEY_SET_BYTES_MAX as u64 + 1).read_to_end(&mut document));
                read.map_err(|error| format!("failed to read {}: {error}", path.display()))?;
                Ok(document.into())
            }
            Self::Url(fetcher) => fetcher.fetch().await,
        }
    }
}

/// Reads when it is time, and when someone wants it, but never more often than allowed.
async fn read_for_ever(reader: Reader, freshness: Freshness, state: watch::Sender<State>, wanted: Arc<Notify>) {
    loop {
        let began = Instant::now();
        state.send_modify(|state| {
            state.begun += 1;
            state.not_before = Some(began + freshness.pause);
        });
        let read = timeout(freshness.deadline, reader.read()).await;
        let read = read.unwrap_or_else(|_| Err(format!("no answer in {} ms", freshness.deadline.as_millis())));
        let known = state.borrow().held.clone();
        let is_known = |document: &Bytes| {
            known.as_ref().filter(|held| held.document_sha256 == <[u8; 32]>::from(Sha256::digest(document))).cloned()
        };
        // Keys that have not changed stay, and with them what they verified.
        let read = read.and_then(|document| match is_known(&document) {
            Some(held) => Ok(held),
            None => Held::read(&document).map(Arc::new),
        });
        let ok = read.is_ok();
        state.send_modify(|state| {
            state.ended += 1;
            match read {
                Ok(held) => {
                    if state.error.take().is_some() {
                        tracing::info!("the identity provider's keys can be read again");
                    }
                    (state.held, state.read_at) = (Some(held), Some(began));
                }
                Err(why) => {
                    if state.error.as_ref() != Some(&why) {
                        tracing::warn!(why, "failed to read the identity provider's keys");
                    }
                    state.error = Some(why);
                }
            }
        });
        sleep_until(began + freshness.pause).await;
        let next = began + if ok { freshness.refresh } else { freshness.pause };
        tokio::select! {
            biased;
            () = wanted.notified() => {}
            () = sleep_until(next) => {}
        }
    }
}
