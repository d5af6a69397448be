//! The promises, one file each, judged by what was seen and by what the stores hold at the end.
//!
//! Each says how much it compared: a check that compared nothing proves nothing, and makes the run inconclusive.

mod catalogue;
mod g10_liveness;
mod g1_isolation;
mod g2_authority;
mod g2_four_eyes;
mod g3_one_outcome;
mod g4_nothing_lost;
mod g5_order;
mod g6_billing;
mod g6_dry_run;
mod g7_alerts;
mod g7_attempts;
mod g7_steps;
mod g7_stream;
mod g7_tamper_evident;
mod g7_webhook;
pub(super) mod g8_fair_share;
mod g9_confidentiality;
mod letters;
mod r4_monitor;

use std::collections::BTreeMap;
use std::time::Duration;

use tenantry_system::ids::{MessageId, TenantId, UserId};
use tenantry_system::ledger::Outcome;
use tenantry_system::message::body_sha256;
use tenantry_system::rate_limit::RateLimits;

use super::cast::Cast;
use super::evidence::{Kept, Seen};
use super::model::Ask;
use super::workload::Command;

/// All there is to judge by.
pub struct Case<'a> {
    /// Who was there.
    pub cast: &'a Cast,
    /// What was seen.
    pub seen: &'a Seen,
    /// What the stores hold.
    pub kept: &'a Kept,
    /// How often one may ask.
    pub rate_limits: &'a RateLimits,
    /// The scenario's bound for the quiet tenants.
    pub quiet_p99_ms_max: Option<u64>,
    /// Whether everything came to rest before the deadline, and when the run ended.
    pub quiet_by_deadline: bool,
    /// What did not hold then of all that must hold in the end.
    pub unmet: &'a [&'static str],
    /// The deadline, in virtual time since the simulation began.
    pub deadline: Duration,
}

impl Case<'_> {
    /// What was asked for under `id`, whoever sent it.
    fn asked(&self, id: &str) -> Option<&Ask> {
        let seen = self.seen;
        let command = || seen.commands.get(id).or_else(|| self.forged(id)).map(|command| &command.ask);
        self.reused_first(id).or_else(command)
    }

    /// What was asked under `id`, if that was used for two bodies and the plan's first was not the one to come first.
    fn reused_first(&self, id: &str) -> Option<&Ask> {
        let came_first = |command: &&Command| {
            let decided = MessageId::parse(id).ok().and_then(|id| self.kept.decided.get(&(command.tenant.clone(), id)));
            decided == Some(&body_sha256(command.body().as_bytes()))
        };
        let unsure = || self.seen.reused_unsure.get(id).filter(came_first).map(|command| &command.ask);
        self.seen.reused_first.get(id).or_else(unsure)
    }

    /// Whether the broker still has this message: it waits, is out, or was put aside.
    fn is_kept(&self, tenant: &TenantId, id: &str) -> bool {
        let Ok(id) = MessageId::parse(id) else { return false };
        let key = (tenant.clone(), id);
        [&self.kept.waiting, &self.kept.letters_of, &self.kept.discarded].iter().any(|kept| kept.contains(&key))
    }

    /// What was forged under `id`; of a moved ciphertext nothing, for that is decided as it is.
    fn forged(&self, id: &str) -> Option<&Command> {
        self.seen.forged_bodies.get(id).filter(|_| !self.seen.moved.contains(id))
    }

    /// Whether a role that a command rests on, of its operator or its approver, was away at any time between `from` and
    /// `until`, or was about to be.
    fn was_away(&self, id: &str, operator: &UserId, tenant: &TenantId, from: Duration, until: Duration) -> bool {
        let mut users = [Some(operator), self.seen.four_eyes.approver(id)].into_iter().flatten();
        users.any(|user| self.seen.revocations.within(user, tenant, from, until))
    }

    /// Every outcome by its message id, with the tenant it stands at. One each, if all is well.
    fn outcomes_by_message(&self) -> BTreeMap<&str, Vec<(&TenantId, &Outcome)>> {
        let mut outcomes: BTreeMap<&str, Vec<_>> = BTreeMap::new();
        for ((tenant, message_id), outcome) in &self.kept.outcomes {
            outcomes.entry(message_id.as_str()).or_default().push((tenant, outcome));
        }
        outcomes
    }
}

/// What one invariant found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Begins with its promise, like `G1-isolation`.
    pub name: &'static str,
    /// How much was compared.
    pub compared: u64,
    /// What was violated, in words.
    pub violations: Vec<String>,
    /// What was to be compared and could not be, in words.
    pub skipped: Vec<String>,
}

impl Finding {
    fn new(name: &'static str) -> Self {
        Self { name, compared: 0, violations: Vec::new(), skipped: Vec::new() }
    }

    /// Says what must not be, where nothing is compared by that: the run that does nothing holds to it, too.
    fn forbid(&mut self, is: bool, otherwise: impl FnOnce() -> String) {
        if is {
            self.violations.push(otherwise());
        }
    }

    /// Compares what there is on two sides: as much as the larger has.
    fn expect_equal(&mut self, one: u64, other: u64, otherwise: impl FnOnce() -> String) {
        self.compared += one.max(other);
        self.forbid(one != other, otherwise);
    }

    /// Compares once.
    fn expect(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        self.compared += 1;
        if !holds {
            self.violations.push(otherwise());
        }
    }
}

/// Every invariant there is, by its name.
pub const NAMES: [&str; 20] = [
    "G1-attack-catalogue",
    "G1-isolation",
    "G10-liveness",
    "G2-authority",
    "G2-four-eyes",
    "G3-dead-letters",
    "G3-one-outcome",
    "G4-nothing-lost",
    "G5-order",
    "G6-billing",
    "G6-dry-run",
    "G7-alerts",
    "G7-attempts-on-record",
    "G7-steps-on-record",
    "G7-stream",
    "G7-tamper-evident",
    "G7-webhook",
    "G8-fair-share",
    "G9-confidentiality",
    "R4-monitor",
];

/// What was violated for all to see before the run ended, of a run whose stores can't be read: only violations count there,
/// for nothing else was compared.
#[must_use]
pub fn seen_broken(seen: &Seen) -> Vec<Finding> {
    let twice = seen.effects.iter().filter(|(_, effects)| effects.len() > 1);
    let twice = twice.map(|(id, effects)| format!("{id} took effect {} times", effects.len()));
    let leaks = seen.canaries.iter().flat_map(|canaries| canaries.found().leaks.clone());
    let broken = [
        ("G1-isolation", seen.isolation.violations.clone()),
        ("G2-authority", [&seen.pauses.violations[..], &seen.revocations.violations].concat()),
        ("G2-four-eyes", seen.four_eyes.violations.clone()),
        ("G3-one-outcome", twice.collect()),
        ("G4-nothing-lost", seen.witness.leases.violations.clone()),
        ("G6-billing", seen.reconciled.discrepancies.clone()),
        ("G9-confidentiality", leaks.map(|leak| format!("a secret in clear in {leak}")).collect()),
    ];
    let told = |(name, violations): (&'static str, Vec<String>)| {
        let compared = violations.len() as u64;
        (compared > 0).then(|| Finding { compared, violations, ..Finding::new(name) })
    };
    broken.into_iter().filter_map(told).collect()
}

/// Judges by every invariant there is.
#[must_use]
pub fn judge(case: &Case<'_>) -> Vec<Finding> {
    if case.seen.catalogue_planned {
        return vec![catalogue::check(case)];
    }
    let mut checks = vec![
        g1_isolation::check as fn(&Case<'_>) -> Finding,
        g2_authority::check,
        g3_one_outcome::check,
        g4_nothing_lost::check,
        g5_order::check,
        g6_billing::check,
        g7_alerts::check,
        g7_attempts::check,
        g7_steps::check,
        g7_tamper_evident::check,
        g8_fair_share::check,
        g10_liveness::check,
        r4_monitor::check,
    ];
    // Where nobody deals with dead letters there is nothing to be compared.
    if case.seen.triages > 0 {
        checks.push(letters::check);
    }
    if !case.seen.four_eyes.planned.is_empty() {
        checks.push(g2_four_eyes::check);
    }
    if case.seen.dry_runs_planned {
        checks.push(g6_dry_run::check);
    }
    // Where nobody sends a secret there is none to be found.
    if case.seen.canaries.is_some() {
        checks.push(g9_confidentiality::check);
    }
    if !case.seen.followed.is_empty() {
        checks.push(g7_stream::check);
    }
    if case.seen.webhook {
        checks.push(g7_webhook::check);
    }
    checks.iter().map(|check| check(case)).collect()
}

/// Judges a run that is not over, by what no future can mend.
#[must_use]
pub fn judge_beginning(case: &Case<'_>) -> Vec<Finding> {
    if case.seen.catalogue_planned {
        return Vec::new();
    }
    let checks = [
        g1_isolation::beginning as fn(&Case<'_>) -> Finding,
        g2_authority::beginning,
        g3_one_outcome::beginning,
        g4_nothing_lost::beginning,
        g5_order::beginning,
        g6_billing::beginning,
        g8_fair_share::beginning,
        g2_four_eyes::beginning,
        g9_confidentiality::beginning,
        // What someone who follows has seen stands, and so does the log before it.
        g7_stream::check,
    ];
    let findings = checks.iter().map(|check| check(case));
    findings.filter(|finding| finding.compared > 0 || !finding.violations.is_empty()).collect()
}

#[cfg(test)]
mod tests;
