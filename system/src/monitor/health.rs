//! Whether this process lives, and whether it can do its part now: asked when somebody asks, and never remembered.
//!
//! *Alive* is what only a new start can mend: its stores take commands. *Ready* is what may come and go: each role that it
//! depends on is there, says something, and takes it for who it is; its outboxes have room; and never before it has started, or after it was told to
//! stop. A check that a dependency merely was there some time
//! ago would be a guess, so a connection that is idle or gone is opened for it.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use serde::Serialize;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// A check that takes longer has failed: longer than connecting and a heartbeat may take.
const CHECK_MAX: Duration = Duration::from_secs(2);

/// Why something is not as it should be; or nothing.
pub type Verdict = Result<(), String>;

type Asking = Pin<Box<dyn Future<Output = Verdict> + Send>>;
type Ask = Arc<dyn Fn() -> Asking + Send + Sync>;

struct Check {
    name: String,
    weight: Weight,
    ask: Ask,
}

/// What it means that a check fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weight {
    /// Only a new start helps.
    Vital,
    /// It can't do its part now.
    Needed,
    /// It does its part, and someone should know.
    Noted,
}

/// The checks of one process. Cheap to clone.
#[derive(Clone, Default)]
pub struct Health {
    checks: Arc<Mutex<Vec<Check>>>,
    /// Until it offers its part; then until it is told to stop.
    serving: Arc<Mutex<Option<CancellationToken>>>,
}

/// How one check ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// What was looked at.
    pub check: String,
    /// Whether it is as it should be.
    pub ok: bool,
    /// Whether this process can't do its part without it.
    pub needed: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl Health {
    /// It offers its part from now on, until `stop`.
    pub fn started(&self, stop: &CancellationToken) {
        *self.serving.lock().expect("no holder panics") = Some(stop.clone());
    }

    fn serving(&self) -> Verdict {
        match &*self.serving.lock().expect("no holder panics") {
            None => Err("it has not started yet".into()),
            Some(stop) if stop.is_cancelled() => Err("it is stopping".into()),
            Some(_) => Ok(()),
        }
    }

    /// Adds a check without which this process does not live.
    pub fn vital(&self, name: impl Into<String>, ask: impl Fn() -> Verdict + Send + Sync + 'static) {
        self.add(name.into(), Weight::Vital, move || std::future::ready(ask()));
    }

    /// Adds a check without which this process can't do its part.
    pub fn needed<F>(&self, name: impl Into<String>, ask: impl Fn() -> F + Send + Sync + 'static)
    where
        F: Future<Output = Verdict> + Send + 'static,
    {
        self.add(name.into(), Weight::Needed, ask);
    }

    /// Adds a check without which it does its part all the same: it is told of, and counts for nothing.
    pub fn noted<F>(&self, name: impl Into<String>, ask: impl Fn() -> F + Send + Sync + 'static)
    where
        F: Future<Output = Verdict> + Send + 'static,
    {
        self.add(name.into(), Weight::Noted, ask);
    }

    /// A check of the same name takes the place of the one before it.
    fn add<F>(&self, name: String, weight: Weight, ask: impl Fn() -> F + Send + Sync + 'static)
    where
        F: Future<Output = Verdict> + Send + 'static,
    {
        let ask: Ask = Arc::new(move || Box::pin(ask()));
        let mut checks = self.checks.lock().expect("no holder panics");
        checks.retain(|check| check.name != name);
        checks.push(Check { name, weight, ask });
    }

    /// Asks what is vital, or everything.
    pub async fn look(&self, vital_only: bool) -> Vec<Checked> {
        let asked: Vec<_> = {
            let checks = self.checks.lock().expect("no holder panics");
            let wanted = checks.iter().filter(|check| check.weight == Weight::Vital || !vital_only);
            wanted.map(|check| (check.name.clone(), check.weight, check.ask.clone())).collect()
        };
        let answer = async |(check, weight, ask): (String, Weight, Ask)| {
            let verdict = timeout(CHECK_MAX, ask()).await;
            let verdict = verdict.unwrap_or_else(|_| Err(format!("no answer within {} s", CHECK_MAX.as_secs())));
            Checked { check, ok: verdict.is_ok(), needed: weight != Weight::Noted, why: verdict.err() }
        };
        let mut looked = join_all(asked.into_iter().map(answer)).await;
        if !vital_only {
            let verdict = self.serving();
            looked.push(Checked { check: "serving".into(), ok: verdict.is_ok(), needed: true, why: verdict.err() });
        }
        looked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_not_vital_counts_for_readiness_only_and_what_hangs_has_failed() {
        let health = Health::default();
        health.vital("store", || Ok(()));
        health.needed("broker", std::future::pending);
        health.noted("audit", || std::future::ready(Err("gone".into())));
        let alive = health.look(true).await;
        assert_eq!(alive, [Checked { check: "store".into(), ok: true, needed: true, why: None }]);
        let ready = health.look(false).await;
        let gone =
            |check: &str, needed, why: &str| Checked { check: check.into(), ok: false, needed, why: Some(why.into()) };
        assert_eq!(ready[1..3], [gone("broker", true, "no answer within 2 s"), gone("audit", false, "gone")]);
        assert_eq!(ready[3].why.as_deref(), Some("it has not started yet"));
        let stop = CancellationToken::new();
        health.started(&stop);
        assert!(health.look(false).await[3].ok);
        stop.cancel();
        assert_eq!(health.look(false).await[3].why.as_deref(), Some("it is stopping"));
    }
}
