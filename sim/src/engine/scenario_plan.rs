//! `[plan]` of a scenario file: what happens when, spelt out instead of drawn.
//!
//! It is how a failure is handed over: shrinking writes it, people may edit it, and it is run with its own seed for ever.
//! An entry is a fault, which has its times, or an act of the hosted half at its time.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::engine::chain::{Chain, NoChain};
use crate::engine::fault::Fault;
use crate::engine::fault_limits::{Senseless, check_numbers, check_when};
use crate::engine::plan::{Entry, Plan, What};
use crate::engine::scenario::Suits;
use crate::engine::scenario_error::{SectionError, one_of};
use crate::engine::scenario_fault::suited;
use crate::engine::spanned::Spanned;

/// A plan that is spelt out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spelt<A> {
    /// Every decision that the plan does not spell out.
    pub seed: u64,
    /// The invariant that it is there for: this one must compare something.
    pub guards: Option<String>,
    /// The digest of the run that violated it.
    pub digest: Option<String>,
    /// The digests of that run's beginnings.
    pub chain: Option<Chain>,
    /// What was planted in that run, to be found.
    pub planted: Option<String>,
    /// What goes wrong.
    pub faults: Vec<Fault>,
    /// What the hosted half does, with times in virtual milliseconds.
    pub acts: Vec<(u64, A)>,
}

/// A plan as written.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, bound = "A: DeserializeOwned")]
pub(super) struct RawPlan<A> {
    seed: u64,
    guards: Option<Spanned<String>>,
    digest: Option<String>,
    chain: Option<Spanned<String>>,
    planted: Option<Spanned<String>>,
    #[serde(default, rename = "entry")]
    entries: Vec<Spanned<RawEntry<A>>>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, bound = "A: DeserializeOwned")]
struct RawEntry<A> {
    at_ms: Option<Spanned<u64>>,
    fault: Option<Spanned<Fault>>,
    act: Option<Spanned<A>>,
}

impl<A: DeserializeOwned> RawPlan<A> {
    /// The plan it says, if its faults make sense in `world` and are healed within `duration_ms`, nothing is done after
    /// `deadline_ms`, and `check_act` says nothing against its acts: it is given the seed and an act, and gives what is wrong
    /// and what would be right. No two acts may bring what has the same name into the world, by `brings`.
    pub(super) fn check(
        self,
        world: World<'_>,
        names: &Names,
        (duration_ms, deadline_ms): (u64, u64),
        (check_act, brings): (impl Fn(u64, &A) -> Result<(), (String, String)>, impl Fn(&A) -> Option<&str>),
    ) -> Result<Spelt<A>, SectionError> {
        let Self { seed, guards, digest, chain, planted, entries } = self;
        let guards = known(guards, "invariant", &names.invariants)?;
        let planted = known(planted, "bug", &names.bugs)?;
        let parsed = |chain: Spanned<String>| {
            let wrong = |error: NoChain| {
                SectionError::new(chain.span(), error.to_string(), "leave it out, or keep what `tenantry shrink` wrote")
            };
            chain.get_ref().parse().map_err(wrong)
        };
        let chain = chain.map(parsed).transpose()?;
        let mut spelt = Spelt { seed, guards, digest, chain, planted, faults: Vec::new(), acts: Vec::new() };
        let mut brought = BTreeSet::new();
        for entry in entries {
            let span = entry.span();
            let RawEntry { at_ms, fault, act } = entry.into_inner();
            match (at_ms, fault, act) {
                (None, Some(fault), None) => {
                    check_fault(&fault, world, duration_ms)?;
                    spelt.faults.push(fault.into_inner());
                }
                (Some(at_ms), None, Some(act)) => {
                    let wrong = |(message, help)| SectionError::new(act.span(), message, help);
                    check_act(seed, act.get_ref()).map_err(wrong)?;
                    if *at_ms.get_ref() > deadline_ms {
                        let message = format!("this is done at {} ms, when the run is over", at_ms.get_ref());
                        let help = format!("at_ms is at most duration_ms + drain_ms = {deadline_ms}");
                        return Err(SectionError::new(at_ms.span(), message, help));
                    }
                    if let Some(name) = brings(act.get_ref())
                        && !brought.insert(name.to_owned())
                    {
                        let help = "give each a name of its own: the run is judged by it";
                        return Err(SectionError::new(act.span(), format!("{name:?} is in an entry before"), help));
                    }
                    spelt.acts.push((at_ms.into_inner(), act.into_inner()));
                }
                _ => {
                    let help = "write fault = { at_ms = .., for_ms = .., kind = .. }, or at_ms = .. and act = ..";
                    return Err(SectionError::new(span, "this entry is neither a fault nor an act", help));
                }
            }
        }
        Ok(spelt)
    }
}

/// What faults happen to: the hosts, what can happen to each, and the events that there are, where they are known.
#[derive(Clone, Copy)]
pub(super) struct World<'w> {
    pub(super) hosts: &'w [String],
    pub(super) suits: Suits,
    pub(super) events: Option<&'w [String]>,
}

/// What a plan may name. An empty list leaves it open.
#[derive(Debug, Clone, Default)]
pub struct Names {
    /// What it may guard.
    pub invariants: Vec<String>,
    /// What may be planted.
    pub bugs: Vec<String>,
}

fn known(name: Option<Spanned<String>>, sort: &str, names: &[String]) -> Result<Option<String>, SectionError> {
    match name {
        Some(name) if !names.is_empty() && !names.contains(name.get_ref()) => {
            let message = format!("there is no {sort} {:?}", name.get_ref());
            Err(SectionError::new(name.span(), message, one_of(name.get_ref(), &format!("{sort}s"), names)))
        }
        name => Ok(name.map(Spanned::into_inner)),
    }
}

fn check_fault(fault: &Spanned<Fault>, world: World<'_>, duration_ms: u64) -> Result<(), SectionError> {
    let World { hosts, suits, events } = world;
    let wrong = |message: String, help: String| Err(SectionError::new(fault.span(), message, help));
    let Fault { at, for_, kind, when } = fault.get_ref();
    let named = kind.hosts();
    if let Some(unknown) = named.iter().find(|host| !hosts.iter().any(|known| known == *host)) {
        return wrong(format!("there is no host {unknown:?}"), one_of(unknown, "hosts", hosts));
    }
    if let [one, other] = named[..]
        && one == other
    {
        return wrong(format!("both sides are {one:?}"), one_of("", "hosts", hosts));
    }
    if let [host] = named[..]
        && let Err((message, help)) = suited(kind.name(), host, hosts, suits)
    {
        return wrong(message, help);
    }
    if for_.is_zero() != kind.is_instant() {
        let right = if kind.is_instant() { "for_ms is 0: it is over in an instant" } else { "for_ms is at least 1" };
        return wrong(format!("a {} of {} ms", kind.name(), for_.as_millis()), right.to_owned());
    }
    let senseless = |Senseless { message, help, .. }: Senseless| SectionError::new(fault.span(), message, help);
    let for_ms = u64::try_from(for_.as_millis()).unwrap_or(u64::MAX);
    check_numbers(kind, for_ms).map_err(senseless)?;
    when.as_ref().map_or(Ok(()), |when| check_when(when, events, duration_ms)).map_err(senseless)?;
    let ends_ms = at.checked_add(*for_).map(|end| end.as_millis());
    if ends_ms.is_none_or(|end| end > u128::from(duration_ms)) {
        let message = format!("this fault is over after the scenario's {duration_ms} ms");
        let help = format!("at_ms + for_ms is at most duration_ms = {duration_ms}");
        return wrong(message, help);
    }
    Ok(())
}

/// `plan` as a `[plan]` that a scenario file reads, with what it guards, the digests of the run that violated it and of its
/// beginnings, and what was planted in it.
pub fn spell<A: Serialize>(
    plan: &Plan<A>,
    guards: &str,
    digest: &str,
    chain: Option<&str>,
    planted: Option<&str>,
) -> String {
    let text = |value: &str| inline(value);
    let seed = plan.seed;
    let mut spelt = format!("[plan]\nseed = {seed}\nguards = {}\ndigest = {}\n", text(guards), text(digest));
    for (key, value) in [("chain", chain), ("planted", planted)] {
        if let Some(value) = value {
            let _ = writeln!(spelt, "{key} = {}", text(value));
        }
    }
    for Entry { at_ms, what } in &plan.entries {
        let _ = match what {
            What::Fault(fault) => writeln!(spelt, "\n[[plan.entry]]\nfault = {}", inline(fault)),
            What::Act(act) => writeln!(spelt, "\n[[plan.entry]]\nat_ms = {at_ms}\nact = {}", inline(act)),
            What::Heal(_) => Ok(()),
        };
    }
    spelt
}

/// `value` as it stands behind an equals sign, in one line.
///
/// # Panics
/// When it is nothing that TOML has, such as a number above 2^63.
pub fn inline<V: Serialize + ?Sized>(value: &V) -> String {
    let mut written = String::new();
    value
        .serialize(toml::ser::ValueSerializer::new(&mut written))
        .expect("faults and acts have names and small numbers");
    written
}
