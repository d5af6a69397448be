//! The early watch: what breaks a promise is said when it happens, not when the run is over.
//!
//! With every effect that the ledger confirms a handful of conditions is passed, each a lookup: an effect on another tenant
//! than the command is for, a second one of one command, one without authority, one behind a later one, one that the model
//! would not have. What does not hold only rings. The promise's own check, asked of all that is there by then, has to say
//! the same: so no run ends early for anything that it would not be judged by at its end. Only what no future can mend is
//! asked; what needs the drain, such as that everything ends, says nothing of a run that was cut short.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tenantry_system::ids::TenantId;
use tenantry_system::ledger::{Outcome, Work};
use tenantry_system::rate_limit::Rate;

use super::evidence::{Evidence, Kept};
use super::invariant::Finding;
use super::invariant::g8_fair_share::{allowed, let_through_since};
use super::marks;
use super::model::{Ask, Tenant};
use crate::engine::marks::Broken;

/// How far a run goes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Until {
    /// To its end, whatever is seen before.
    #[default]
    End,
    /// To the first violation.
    AnyViolation,
    /// To the first violation of the invariant of this name.
    Violation(String),
}

impl Until {
    fn heeds(&self, broken: &Broken) -> bool {
        match self {
            Self::End => false,
            Self::AnyViolation => true,
            Self::Violation(invariant) => broken.mark.promise == Some(invariant),
        }
    }
}

/// What is kept of effects, to know the next by.
#[derive(Debug, Default)]
pub struct Effects {
    /// Messages that nobody but the adversary sends, and that no tenant may have an outcome of unless someone replays them.
    pub forged: BTreeSet<String>,
    /// Of each tenant's commands that took effect, the one that was sent last.
    last_sent: BTreeMap<TenantId, (Duration, String)>,
    /// How often a tenant may ask.
    pub rate: Option<Rate>,
    /// Since when each tenant's messages that were taken in may have been let through, in order.
    let_through: BTreeMap<TenantId, Vec<Duration>>,
    /// Each tenant as it should be after its outcome of this number, as far as that is known.
    models: BTreeMap<TenantId, Option<(u64, Tenant)>>,
}

impl Evidence {
    /// A command has just had its `outcome`: passes all that must hold then.
    pub fn watch_effect(&self, work: &Work, outcome: &Outcome) {
        let now = super::world::now();
        let always = |mark, holds, why: &dyn Fn() -> String| self.marks.always(mark, now, holds, why);
        let message = work.command.message();
        let (tenant, id) = (work.command.scope().tenant(), message.message_id.as_str());
        let mut seen = self.seen();
        let seen = &mut *seen;
        let first = |violations: &[String]| violations.first().cloned().unwrap_or_default();
        let times = seen.effects.get(id).map_or(0, Vec::len);
        always(marks::EFFECT_ONCE, times <= 1, &|| format!("{id} took effect {times} times"));
        let lacking = &seen.revocations.violations;
        always(marks::EFFECT_AUTHORISED, lacking.is_empty(), &|| first(lacking));
        if !seen.four_eyes.planned.is_empty() {
            let lacking = &seen.four_eyes.violations;
            always(marks::EFFECT_OF_TWO, lacking.is_empty(), &|| first(lacking));
        }
        let Some(command) = seen.commands.get(id) else {
            // Of what was forged, or moved, the model knows nothing; the end does.
            seen.early.models.insert(tenant.clone(), None);
            if seen.early.forged.contains(id) {
                let replayed = seen.witness.triaged.contains_key(&(tenant.clone(), message.message_id.clone()));
                always(marks::EFFECT_ON_ITS_TENANT, replayed, &|| {
                    format!("{id} is forged and has an outcome at {tenant}")
                });
            }
            return;
        };
        let right = command.tenant == *tenant && command.allowed;
        always(marks::EFFECT_ON_ITS_TENANT, right, &|| {
            format!("{id} of {} has an outcome at {tenant}", command.tenant)
        });
        if let Some(client) = seen.clients.get(id) {
            let last = seen.early.last_sent.entry(tenant.clone()).or_default();
            let behind = client.accepted_at.is_some_and(|accepted| accepted < last.0);
            always(marks::EFFECT_IN_ORDER, !behind, &|| format!("{id} took effect after {}, sent later", last.1));
            if client.sent_at > last.0 {
                *last = (client.sent_at, id.to_owned());
            }
        }
        let body: serde_json::Value = serde_json::from_slice(&message.body).unwrap_or_default();
        let is_asked = asks(&command.ask, &body);
        let model = seen.early.models.entry(tenant.clone()).or_insert_with(|| Some(Default::default()));
        let known = model.take().filter(|(version, _)| is_asked && version + 1 == outcome.version);
        *model = known.map(|(version, mut modelled)| {
            let forbidden = outcome.verdict.as_ref().is_err_and(|rejection| rejection.code == "forbidden");
            if forbidden {
                modelled.pass();
            } else {
                let key = body.pointer("/payload/secret/data_key").and_then(serde_json::Value::as_u64);
                let should = modelled.apply(&command.ask, key);
                let agrees = should == outcome.verdict.is_ok();
                always(marks::EFFECT_WITHIN_BOUNDS, agrees, &|| format!("{id}: the ledger has {:?}", outcome.verdict));
            }
            (version + 1, modelled)
        });
    }

    /// The broker has taken a message in that it had not: passes what the tenant's rate allows of those until now.
    pub fn watch_intake(&self, tenant: &TenantId, message_id: &str) {
        let (now, mut seen) = (super::world::now(), self.seen());
        let (Some(rate), Some(since)) = (seen.early.rate, let_through_since(&seen, message_id)) else { return };
        let times = seen.early.let_through.entry(tenant.clone()).or_default();
        times.insert(times.partition_point(|time| *time <= since), since);
        let over = (1..)
            .zip(times.iter().rev())
            .find(|(messages, from)| f64::from(*messages) > allowed(rate, now.saturating_sub(**from)));
        self.marks.always(marks::RATE_HELD, now, over.is_none(), || format!("{tenant}: too many until {message_id}"));
    }

    /// Someone has settled a run: passes what must hold then.
    pub fn watch_settlement(&self) {
        let (now, seen) = (super::world::now(), self.seen());
        let leases = &seen.witness.leases.violations;
        let told = || leases.first().cloned().unwrap_or_default();
        self.marks.always(marks::RUN_SETTLED_BY_HOLDER, now, leases.is_empty(), told);
    }

    /// Around an effect every tenant was compared with what it was before: passes what must hold then.
    pub fn watch_states(&self) {
        let (now, seen) = (super::world::now(), self.seen());
        let first = |violations: &[String]| violations.first().cloned().unwrap_or_default();
        let changed = &seen.isolation.violations;
        self.marks.always(marks::TENANTS_APART, now, changed.is_empty(), || first(changed));
        let changed = &seen.pauses.violations;
        self.marks.always(marks::EFFECT_NOT_PAUSED, now, changed.is_empty(), || first(changed));
    }

    /// A step is over: passes what wires, disks and logs were searched for.
    fn watch_secrets(&self, now: Duration) {
        let canaries = self.seen().canaries.clone();
        if let Some(canaries) = canaries {
            let found = canaries.found();
            let told = || found.leaks.first().cloned().unwrap_or_default();
            self.marks.always(marks::SECRET_SEALED, now, found.leaks.is_empty(), told);
        }
    }
}

/// Whether a message asks what is known to be asked under its id: of two bodies under one id nobody knows yet which counts.
/// A secret is sealed by now.
fn asks(ask: &Ask, body: &serde_json::Value) -> bool {
    let (action, payload) = ask.wire();
    let same = match ask {
        Ask::Store { .. } => body["payload"]["credential"] == payload["credential"],
        _ => body["payload"] == payload,
    };
    same && body["action"] == action
}

/// A run that was cut short by a violation.
pub struct Cut {
    /// What the promises say of what had happened by then.
    pub findings: Vec<Finding>,
    /// What the stores held.
    pub kept: Kept,
}

/// What rang in a run, and whether it was right.
pub struct Alarm {
    until: Until,
    rung: Vec<Broken>,
    /// Whether what rang has yet to be judged.
    is_open: bool,
    /// The violation by which the run is over.
    pub cut: Option<Cut>,
}

impl Alarm {
    /// Nothing has rung; a run is cut short as `until` says.
    #[must_use]
    pub fn new(until: Until) -> Self {
        Self { until, rung: Vec::new(), is_open: false, cut: None }
    }

    /// A step is over: whether the run is, by a violation. `judge` is asked when something rang that counts; where a host is
    /// down its store can't be read, and what rang is judged when it is up again.
    pub fn is_over(
        &mut self,
        now: Duration,
        evidence: &Evidence,
        may_retry: bool,
        judge: impl FnOnce(&Evidence) -> Option<Cut>,
    ) -> bool {
        evidence.watch_secrets(now);
        let news = evidence.marks.news();
        let heeded = news.iter().any(|broken| self.until.heeds(broken));
        self.rung.extend(news);
        self.is_open |= heeded;
        let is_asked = heeded || (self.is_open && may_retry);
        if !is_asked {
            return false;
        }
        let Some(cut) = judge(evidence) else { return false };
        self.is_open = false;
        let heeded = self.rung.iter().filter(|broken| self.until.heeds(broken));
        let confirmed =
            heeded.filter_map(|broken| broken.mark.promise).any(|promise| is_broken(&cut.findings, promise));
        self.cut = confirmed.then_some(cut);
        confirmed
    }

    /// When the first of what `findings` say was seen while the run went on.
    #[must_use]
    pub fn seen_at(&self, findings: &[Finding]) -> Option<Duration> {
        let true_ = |broken: &&Broken| broken.mark.promise.is_some_and(|promise| is_broken(findings, promise));
        self.rung.iter().filter(true_).map(|broken| broken.at).min()
    }
}

fn is_broken(findings: &[Finding], promise: &str) -> bool {
    findings.iter().any(|finding| finding.name == promise && !finding.violations.is_empty())
}

#[cfg(test)]
#[path = "early_tests.rs"]
mod tests;
