//! The rules that watch the audit log are wrong about when to ring.

use tenantry_system::alerting::{Engine, Raised, Rules, RulesError, Watching};
use tenantry_system::audit::Event;

/// Rules that know nothing of what was before the log's last start.
struct Forgetful(Engine);

pub(super) fn forgetful(rules: &str) -> Result<Box<dyn Watching>, RulesError> {
    Ok(Box::new(Forgetful(Engine::new(&Rules::parse(rules)?))))
}

impl Watching for Forgetful {
    fn look_back_ms(&self) -> i64 {
        self.0.look_back_ms()
    }

    fn recall(&mut self, _: u64, _: &Event) {}

    fn see(&mut self, place: u64, event: &Event) -> Vec<Raised> {
        self.0.see(place, event)
    }

    fn overdue(&self, now: i64) -> Vec<Raised> {
        self.0.overdue(now)
    }
}

/// Rules that fire one below their thresholds.
pub(super) fn lowered(rules: &str) -> Result<Box<dyn Watching>, RulesError> {
    let lower =
        |line: &str| match line.strip_prefix("threshold = ").and_then(|number| number.trim().parse::<u64>().ok()) {
            Some(threshold) => format!("threshold = {}\n", threshold.saturating_sub(1).max(2)),
            None => format!("{line}\n"),
        };
    let lowered: String = rules.lines().map(lower).collect();
    Ok(Box::new(Engine::new(&Rules::parse(&lowered)?)))
}

/// Rules of which every other alert is lost, the first one too.
struct Deaf {
    engine: Engine,
    raised: u64,
}

pub(super) fn deaf(rules: &str) -> Result<Box<dyn Watching>, RulesError> {
    Ok(Box::new(Deaf { engine: Engine::new(&Rules::parse(rules)?), raised: 0 }))
}

impl Watching for Deaf {
    fn look_back_ms(&self) -> i64 {
        self.engine.look_back_ms()
    }

    fn recall(&mut self, place: u64, event: &Event) {
        self.engine.recall(place, event);
    }

    fn see(&mut self, place: u64, event: &Event) -> Vec<Raised> {
        let mut raised = self.engine.see(place, event);
        raised.retain(|_| {
            self.raised += 1;
            self.raised.is_multiple_of(2)
        });
        raised
    }

    fn overdue(&self, now: i64) -> Vec<Raised> {
        self.engine.overdue(now)
    }
}
