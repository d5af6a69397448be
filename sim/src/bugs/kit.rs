//! What a planted bug may know and touch, and where hosts ask for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use tenantry_system::alerting::{Engine, Rules, RulesError, Watching};
use tenantry_system::audit::Audit;
use tenantry_system::auth::Authority;
use tenantry_system::broker::Broker;
use tenantry_system::capability::World;
use tenantry_system::ids::UserId;
use tenantry_system::ledger::Ledger;
use tenantry_system::rate_limit::RateLimits;
use tenantry_system::secret::KeySet;

use super::{Bug, Seam};
use crate::tenantry::evidence::Evidence;
use crate::tenantry::idp::Idp;

/// One run's bug, if it has one, with what it works with. Without one everything is as it is in production.
#[derive(Clone)]
pub struct Kit {
    /// Which.
    pub bug: Option<Bug>,
    /// The engines, and the trace: a bug never judges by what else was seen.
    pub evidence: Evidence,
    /// Whose tokens auth believes.
    pub provider: Idp,
    /// The keys that wrap tenants' data keys.
    pub keys: Arc<KeySet>,
    /// What outlives a process, as if it stood on its disk.
    notes: Arc<Mutex<BTreeMap<String, u64>>>,
}

impl Kit {
    /// A kit for one run.
    #[must_use]
    pub fn new(bug: Option<Bug>, evidence: Evidence, provider: Idp, keys: Arc<KeySet>) -> Self {
        Self { bug, evidence, provider, keys, notes: Arc::default() }
    }

    /// What outlives a process.
    ///
    /// # Panics
    /// When a holder panicked: then the run is over anyway.
    pub fn notes(&self) -> MutexGuard<'_, BTreeMap<String, u64>> {
        self.notes.lock().expect("no holder panics")
    }

    /// Everyone who sends a command.
    #[must_use]
    pub fn operators(&self) -> BTreeSet<UserId> {
        self.evidence.seen().commands.values().map(|command| command.operator.clone()).collect()
    }

    fn seams(&self) -> &'static [Seam] {
        self.bug.map_or(&[], Bug::seams)
    }

    /// What goes between the broker's engine and whoever watches it.
    #[must_use]
    pub fn broker(&self, engine: Arc<dyn Broker>) -> Arc<dyn Broker> {
        self.seams().iter().fold(engine, |inner, seam| match seam {
            Seam::Broker(plant) => plant(inner, self),
            _ => inner,
        })
    }

    /// What goes between the ledger's engine and whoever watches it.
    #[must_use]
    pub fn ledger(&self, engine: Arc<dyn Ledger>) -> Arc<dyn Ledger> {
        self.seams().iter().fold(engine, |inner, seam| match seam {
            Seam::Ledger(plant) => plant(inner, self),
            _ => inner,
        })
    }

    /// What goes between the watched ledger and its clients.
    #[must_use]
    pub fn ledger_answers(&self, watched: Arc<dyn Ledger>) -> Arc<dyn Ledger> {
        self.seams().iter().fold(watched, |inner, seam| match seam {
            Seam::LedgerAnswers(plant) => plant(inner, self),
            _ => inner,
        })
    }

    /// What goes between auth's engine and its clients.
    #[must_use]
    pub fn authority(&self, engine: Arc<dyn Authority>) -> Arc<dyn Authority> {
        self.seams().iter().fold(engine, |inner, seam| match seam {
            Seam::Authority(plant) => plant(inner, self),
            _ => inner,
        })
    }

    /// What goes between the audit log's engine and its clients.
    #[must_use]
    pub fn audit(&self, engine: Arc<dyn Audit>) -> Arc<dyn Audit> {
        self.seams().iter().fold(engine, |inner, seam| match seam {
            Seam::Audit(plant) => plant(inner, self),
            _ => inner,
        })
    }

    /// What watches the audit log by the rules in `text`.
    ///
    /// # Errors
    /// When they can't be used.
    pub fn watching(&self, text: &str) -> Result<Box<dyn Watching>, RulesError> {
        let planted = self.seams().iter().find_map(|seam| match seam {
            Seam::Watching(plant) => Some(plant(text)),
            _ => None,
        });
        planted.unwrap_or_else(|| Ok(Box::new(Engine::new(&Rules::parse(text)?))))
    }

    /// The world of `host`.
    #[must_use]
    pub fn world(&self, host: &str, world: World) -> World {
        self.seams().iter().fold(world, |world, seam| match seam {
            Seam::World(at, plant) if *at == host || *at == "*" => plant(world, self),
            _ => world,
        })
    }

    /// How often the producer lets anyone ask.
    #[must_use]
    pub fn limits(&self, limits: RateLimits) -> RateLimits {
        self.seams().iter().fold(limits, |limits, seam| match seam {
            Seam::Limits(plant) => plant(limits),
            _ => limits,
        })
    }
}
