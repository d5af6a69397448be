//! What a scenario says of Tenantry: its topology and its workload.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use tenantry_system::alerting::{DEFAULT_RULES, Rules};
use tenantry_system::attack::BINDINGS;
use tenantry_system::rate_limit::{Rate, RateLimits};

use super::cast::{Cast, Part};
use super::invariant::NAMES;
use super::marks;
use super::needs::{brings, fits};
use super::shrink::HARNESS;
use super::workload::Act;
use crate::bugs::Bug;
use crate::engine::dice::Dice;
use crate::engine::marks::Sort;
use crate::engine::scenario::{Section, Work};
use crate::engine::scenario_error::SectionError;
use crate::engine::scenario_plan::Names;
use crate::engine::spanned::Spanned;

/// A scenario of Tenantry.
pub type Scenario = crate::engine::scenario::Scenario<Topology, Workload>;

/// How many hosts of each role; those not named here are one each.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Topology {
    /// Consumers, 1 to 8. One is called `consumer`, several `consumer-1`, `consumer-2`, ...
    pub consumers: Spanned<u64>,
    /// Whether channels are encrypted and prove who is at their ends; certificates are renewed every two seconds.
    pub tls: bool,
    /// How often one tenant may be acted on; the system's default when the file is silent.
    #[schemars(with = "Option<RateShape>")]
    pub tenant_rate: Option<Spanned<Rate>>,
    /// How often one user may ask; the system's default when the file is silent.
    #[schemars(with = "Option<RateShape>")]
    pub user_rate: Option<Spanned<Rate>>,
    /// What the audit log is watched by, as a file of rules; the system's default when the file is silent.
    pub alert_rules: Option<Spanned<String>>,
    /// Whether a webhook is told of alerts: its receiver has a host, `receiver`.
    pub webhook: bool,
}

/// A [`Rate`] as editors are told of it.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its shape is used")]
struct RateShape {
    /// Requests a second, in the long run.
    per_second: std::num::NonZeroU32,
    /// Requests at once after a pause.
    burst: std::num::NonZeroU32,
}

impl Default for Topology {
    fn default() -> Self {
        Self {
            consumers: Spanned::new(0..0, 1),
            tls: false,
            tenant_rate: None,
            user_rate: None,
            alert_rules: None,
            webhook: false,
        }
    }
}

/// Who asks for how much. Times are drawn over the scenario's whole duration: an open loop, that never waits for the
/// system.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    /// Tenants that are acted on, 1 to 40; one more is there that nobody has a role on.
    #[serde(default = "four")]
    pub tenants: Spanned<u64>,
    /// Operators, 2 to 40.
    #[serde(default = "three")]
    pub operators: Spanned<u64>,
    /// Commands that operators send, 1 to 100,000; none beside the catalogue.
    #[serde(default = "none")]
    pub commands: Spanned<u64>,
    /// Instead of commands, the whole attack catalogue. Without faults each attempt must be on record and ring exactly once;
    /// with them, it must change nothing.
    #[serde(default)]
    pub catalogue: bool,
    /// Share of the commands that ask for a tenant on which the operator may not do that, 0 to 1.
    #[serde(default = "zero")]
    pub cross_tenant: Spanned<f64>,
    /// Share of the commands that are sent once more some time later, the same bytes, 0 to 1.
    #[serde(default = "zero")]
    pub resend: Spanned<f64>,
    /// Share of the commands that their operators try before they send them, if they may, 0 to 1.
    #[serde(default = "zero")]
    pub dry_runs: Spanned<f64>,
    /// Where it is not 0, to give credit takes two; the share of those commands that another operator then approves, 0 to 1.
    /// The others are sent without, or otherwise than they were approved. Not together with `reuse_id` or `forged`.
    #[serde(default = "zero")]
    pub approvals: Spanned<f64>,
    /// Share of the commands whose id is used once more for another body, 0 to 1.
    #[serde(default = "zero")]
    pub reuse_id: Spanned<f64>,
    /// Messages put straight into the broker, past the producer, with grants that are not theirs, 0 to 1,000.
    #[serde(default = "none")]
    pub forged: Spanned<u64>,
    /// Share of the dead letters that `forged` leaves that operators replay or discard, 0 to 1.
    #[serde(default = "zero")]
    pub triage: Spanned<f64>,
    /// How many times the share of any other the first tenant gets of the commands, 1 to 1,000.
    #[serde(default = "one")]
    pub noisy: Spanned<f64>,
    /// How often an operator pauses a tenant for a while, 0 to 100.
    #[serde(default = "none")]
    pub pauses: Spanned<u64>,
    /// How often someone takes a role away from an operator for a while, 0 to 100; never from whoever is to
    /// resume a pause.
    #[serde(default = "none")]
    pub revocations: Spanned<u64>,
    /// How often auth makes a new key for grants, 0 to 20; it signs 15 s later.
    #[serde(default = "none")]
    pub key_rotations: Spanned<u64>,
    /// Operators who follow their tenant's live stream all the while, 0 to 16.
    #[serde(default = "none")]
    pub followers: Spanned<u64>,
    /// Share of the commands that store credentials, rotate their keys or erase them, 0 to 1.
    #[serde(default = "zero")]
    pub credentials: Spanned<f64>,
    /// Share of the commands that change plans, suspend and resume, or try the edges of guardrails, 0 to 1; of those that
    /// `credentials` leaves.
    #[serde(default = "zero")]
    pub billing: Spanned<f64>,
    /// How often the identity provider's key is rotated, 0 to 20. If at all, the provider has a host, `idp`, and auth
    /// fetches its keys from there.
    #[serde(default = "none")]
    pub identity_rotations: Spanned<u64>,
    /// The bound on what the first tenant's noise may cost the others: of their commands 99 in 100 take effect within this
    /// many virtual milliseconds of being sent.
    pub quiet_p99_ms_max: Option<Spanned<u64>>,
}

/// Quiet commands below which a scenario can't state a bound for their 99th percentile: enough that hardly a seed draws
/// fewer than the hundred it takes.
const QUIET_MIN: u64 = 130;

fn four() -> Spanned<u64> {
    Spanned::new(0..0, 4)
}

fn three() -> Spanned<u64> {
    Spanned::new(0..0, 3)
}

fn none() -> Spanned<u64> {
    Spanned::new(0..0, 0)
}

fn one() -> Spanned<f64> {
    Spanned::new(0..0, 1.0)
}

fn zero() -> Spanned<f64> {
    Spanned::new(0..0, 0.0)
}

fn within<T: PartialOrd + std::fmt::Display + Copy>(
    name: &str,
    value: &Spanned<T>,
    low: T,
    high: T,
) -> Result<(), SectionError> {
    let given = *value.get_ref();
    if (low..=high).contains(&given) {
        return Ok(());
    }
    Err(SectionError::new(value.span(), format!("{name} is {given}"), format!("give {low} to {high}")))
}

impl Section for Topology {
    fn check(&self) -> Result<(), SectionError> {
        within("consumers", &self.consumers, 1, 8)?;
        let Some(rules) = &self.alert_rules else { return Ok(()) };
        let help = "give what `tenantryd alerts check` takes";
        Rules::parse(rules.get_ref()).map(drop).map_err(|error| {
            SectionError::new(rules.span(), format!("these rules can't be used: {error}"), help.to_owned())
        })
    }
}

impl Section for Workload {
    fn known_marks() -> Option<Vec<String>> {
        let sometimes = marks::ALL.iter().filter(|mark| mark.sort == Sort::Sometimes);
        Some(sometimes.map(|mark| mark.name.to_owned()).collect())
    }

    fn known_events() -> Option<Vec<String>> {
        Some(super::evidence::EVENTS.iter().map(|event| (*event).to_owned()).collect())
    }

    fn check(&self) -> Result<(), SectionError> {
        within("tenants", &self.tenants, 1, 40)?;
        within("operators", &self.operators, 2, 40)?;
        let fewest = u64::from(!self.catalogue);
        within("commands", &self.commands, fewest, if self.catalogue { 0 } else { 100_000 })?;
        within("forged", &self.forged, 0, 1000)?;
        within("triage", &self.triage, 0.0, 1.0)?;
        within("cross_tenant", &self.cross_tenant, 0.0, 1.0)?;
        within("resend", &self.resend, 0.0, 1.0)?;
        within("credentials", &self.credentials, 0.0, 1.0)?;
        within("billing", &self.billing, 0.0, 1.0)?;
        within("dry_runs", &self.dry_runs, 0.0, 1.0)?;
        within("reuse_id", &self.reuse_id, 0.0, 1.0)?;
        within("noisy", &self.noisy, 1.0, 1000.0)?;
        within("pauses", &self.pauses, 0, 100)?;
        within("revocations", &self.revocations, 0, 100)?;
        within("key_rotations", &self.key_rotations, 0, 20)?;
        within("followers", &self.followers, 0, 16)?;
        within("approvals", &self.approvals, 0.0, 1.0)?;
        if *self.approvals.get_ref() > 0.0 && (*self.reuse_id.get_ref() > 0.0 || *self.forged.get_ref() > 0) {
            let message = "nobody approves what is sent under a used id or past the producer";
            return Err(SectionError::new(self.approvals.span(), message, "leave out reuse_id and forged"));
        }
        within("identity_rotations", &self.identity_rotations, 0, 20)?;
        let Some(bound) = &self.quiet_p99_ms_max else { return Ok(()) };
        within("quiet_p99_ms_max", bound, 1, 60_000)?;
        let quiet = self.quiet_commands();
        if quiet < QUIET_MIN {
            let message = format!("the quiet tenants would send some {quiet} commands that may take effect");
            let help = format!("a 99th percentile needs {QUIET_MIN}: give more commands, or a smaller noisy");
            return Err(SectionError::new(bound.span(), message, help));
        }
        Ok(())
    }
}

impl Work for Workload {
    type Act = Act;

    fn suits(kind: &str, host: &str) -> bool {
        match kind {
            // Those that are called by others, in frames.
            "hang" | "refuse" => ["broker", "auth", "ledger", "audit"].contains(&host),
            "redelivery_storm" => host == "broker",
            "poison" => host.starts_with("consumer"),
            "burst" => host == "producer",
            _ => true,
        }
    }

    fn known_names() -> Names {
        let invariants = NAMES.into_iter().chain([HARNESS]).map(str::to_owned).collect();
        Names { invariants, bugs: Bug::all().chain(Bug::elsewhere()).map(|bug| bug.name().to_owned()).collect() }
    }

    fn check_beside_plan(&self) -> Result<(), SectionError> {
        // What it draws is not drawn. What else it says is what it says elsewhere, where it must have commands.
        let one = Spanned::new(0..0, u64::from(!self.catalogue));
        Self { commands: one, quiet_p99_ms_max: None, ..self.clone() }.check()
    }

    fn check_act(&self, seed: u64, act: &Act) -> Result<(), (String, String)> {
        fits(&self.cast(&Dice::new(seed)), act)
    }

    fn brings(act: &Act) -> Option<&str> {
        brings(act)
    }
}

impl Workload {
    /// Who is there.
    #[must_use]
    pub fn cast(&self, dice: &Dice) -> Cast {
        match self.catalogue {
            true => Cast::of(&BINDINGS.map(|(operator, tenant)| (operator, tenant, Part::Admin))),
            false => Cast::draw(dice, *self.tenants.get_ref(), *self.operators.get_ref()),
        }
    }

    /// Whether the identity provider has a host, and rotates its key.
    #[must_use]
    pub fn rotates_identity(&self) -> bool {
        *self.identity_rotations.get_ref() > 0
    }

    /// How many commands of quiet tenants may be expected to take effect.
    fn quiet_commands(&self) -> u64 {
        let (noisy, others) = (*self.noisy.get_ref(), *self.tenants.get_ref() as f64 - 1.0);
        let quiet = others / (noisy + others) * (1.0 - self.cross_tenant.get_ref());
        (*self.commands.get_ref() as f64 * quiet) as u64
    }
}

impl Topology {
    /// How often one may ask. All operators ask from one address, so there is no limit worth having on it.
    #[must_use]
    pub fn rate_limits(&self) -> RateLimits {
        let default = RateLimits::default();
        let given = |rate: &Option<Spanned<Rate>>| rate.as_ref().map(|rate| *rate.get_ref());
        RateLimits {
            tenant: given(&self.tenant_rate).unwrap_or(default.tenant),
            user: given(&self.user_rate).unwrap_or(default.user),
            source: Rate::new(100_000, 100_000),
        }
    }

    /// What the audit log is watched by.
    #[must_use]
    pub fn alert_rules(&self) -> Arc<str> {
        self.alert_rules.as_ref().map_or(DEFAULT_RULES, |rules| rules.get_ref().as_str()).into()
    }

    /// The names of the consumers' hosts.
    #[must_use]
    pub fn consumer_hosts(&self) -> Vec<String> {
        match *self.consumers.get_ref() {
            1 => vec!["consumer".into()],
            many => (1..=many).map(|index| format!("consumer-{index}")).collect(),
        }
    }
}

/// The hosts that faults can name. Operators and the adversary can be cut off, but are never killed by a scenario's
/// mistake: what they know is what the run is judged by.
#[must_use]
pub fn hosts(topology: &Topology, workload: &Workload) -> Vec<String> {
    let mut hosts: Vec<String> = ["producer", "broker", "auth", "ledger", "audit"].map(String::from).to_vec();
    hosts.extend(topology.consumer_hosts());
    if workload.rotates_identity() {
        hosts.push(super::idp::HOST.into());
    }
    if topology.webhook {
        hosts.push(super::receiver::HOST.into());
    }
    hosts
}

/// Whether two hosts that faults can name have anything to say to each other: a wire without traffic is nothing to cut.
#[must_use]
pub fn talk(a: &str, b: &str) -> bool {
    let outside = [super::idp::HOST, super::receiver::HOST];
    let calls = |caller: &str, called: &str| match called {
        "audit" => !outside.contains(&caller),
        "auth" => !outside.contains(&caller) && caller != "audit" && caller != "broker",
        "broker" | "ledger" => caller == "producer" || caller.starts_with("consumer"),
        super::idp::HOST => caller == "auth",
        super::receiver::HOST => caller == "audit",
        _ => false,
    };
    calls(a, b) || calls(b, a)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;
    use crate::engine::fault::KINDS;

    /// Every scenario of the project that is no regression.
    fn scenarios() -> Vec<Scenario> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let read = |path: std::path::PathBuf| {
            let (name, text) = (path.display().to_string(), std::fs::read_to_string(&path).unwrap());
            Scenario::parse(&name, &text, hosts).unwrap_or_else(|error| panic!("{name}: {error}"))
        };
        files.filter(|path| path.extension().is_some_and(|extension| extension == "toml")).map(read).collect()
    }

    #[test]
    fn every_kind_of_fault_has_a_scenario_that_names_it() {
        let scenarios = scenarios();
        let named: BTreeSet<_> =
            scenarios.iter().flat_map(|scenario| &scenario.faults).map(|fault| fault.kind.name()).collect();
        let missing: Vec<_> = KINDS.into_iter().filter(|kind| !named.contains(kind)).collect();
        // Rot ends a run: a store that refuses its file is tried where stores are.
        assert_eq!(missing, ["bit_rot"], "a kind that no scenario names is proven by none");
        let waits = |scenario: &&Scenario| scenario.faults.iter().any(|fault| fault.when.is_some());
        assert!(scenarios.iter().filter(waits).count() > 1, "some faults wait for events");
    }

    #[test]
    fn every_kind_happens_to_some_host_and_what_is_drawn_happens_to_its_host() {
        let chaos = scenarios().into_iter().find(|scenario| scenario.name == "chaos").expect("the standard chaos");
        let all = hosts(&chaos.topology, &chaos.workload);
        assert!(KINDS.into_iter().all(|kind| all.iter().any(|host| Workload::suits(kind, host))));
        let drawn: Vec<_> = (0..400).flat_map(|seed| chaos.faults(&Dice::new(seed), talk)).collect();
        let kinds: BTreeSet<_> = drawn.iter().map(|fault| fault.kind.name()).collect();
        assert_eq!(kinds.len(), KINDS.len() - 1, "all but rot: {kinds:?}");
        for fault in drawn {
            let hosts = fault.kind.hosts();
            assert!(hosts.len() > 1 || Workload::suits(fault.kind.name(), hosts[0]), "{fault:?}");
        }
    }
}
