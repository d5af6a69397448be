//! `[chaos]` of a scenario file: faults that nobody spelt out, drawn from the seed within a budget.
//!
//! They are drawn when a scenario expands to a plan, and stand in it as any other fault: whoever replays or shrinks a
//! plan need not know where a fault came from. Every draw is keyed by the entry's number, so that an entry more or less
//! leaves the others as they were.
//!
//! With a swarm (Groce et al., "Swarm Testing", ISSTA 2012) each seed first draws which kinds are on at all. Where all
//! kinds are always on they hide each other: a host that is down most of the time meets no full disk.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde::Deserialize;
use serde_spanned::Spanned;

use crate::engine::dice::Dice;
use crate::engine::fault::{Fault, FaultKind, KINDS};
use crate::engine::scenario::{MinMax, PHASE_MS_MAX, unwritten};
use crate::engine::scenario_error::{SectionError, one_of};

/// The most faults that one seed may draw.
const FAULTS_MAX: u64 = 1000;

/// A slow disk's commits take this long, in virtual milliseconds: from a busy disk to a dying one.
const SLOW_SYNC_MS: RangeInclusive<u64> = 20..=400;

/// Kinds that chaos does not draw unless the file names them: what rots does not heal.
const NAMED_ONLY: [&str; 1] = ["bit_rot"];

/// What is drawn for each seed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chaos {
    /// How many faults.
    pub faults: RangeInclusive<u64>,
    /// Of which kinds.
    pub kinds: Vec<&'static str>,
    /// On which hosts; a wire has at least one end at one of them.
    pub hosts: Vec<String>,
    /// How long each lasts, in virtual milliseconds.
    pub for_ms: RangeInclusive<u64>,
    /// Whether each seed draws which of the kinds are on.
    pub swarm: bool,
    /// All wires that it may act on, by their two hosts in the order of their names.
    wires: Vec<(String, String)>,
}

/// The section as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawChaos {
    faults: Spanned<MinMax>,
    kinds: Option<Spanned<Vec<Spanned<String>>>>,
    hosts: Option<Spanned<Vec<Spanned<String>>>>,
    #[serde(default = "for_ms")]
    for_ms: Spanned<MinMax>,
    #[serde(default = "swarm")]
    swarm: bool,
}

/// From less than a round trip's retry to longer than a silent connection is kept.
fn for_ms() -> Spanned<MinMax> {
    unwritten(MinMax { min: 20, max: 1200 })
}

fn swarm() -> bool {
    true
}

impl RawChaos {
    /// The section, if it makes sense among `hosts` and all that it draws is healed within `duration_ms`.
    pub(super) fn check(&self, hosts: &[String], duration_ms: u64) -> Result<Chaos, SectionError> {
        let all: Vec<&str> = KINDS.into_iter().filter(|kind| !NAMED_ONLY.contains(kind)).collect();
        let kinds = chosen(self.kinds.as_ref(), "kind", &KINDS, &all)?;
        let hosts_all: Vec<&str> = hosts.iter().map(String::as_str).collect();
        let chosen_hosts = chosen(self.hosts.as_ref(), "host", &hosts_all, &hosts_all)?;
        let mut wires = Vec::new();
        for (index, a) in hosts_all.iter().enumerate() {
            for b in &hosts_all[index + 1..] {
                if chosen_hosts.contains(a) || chosen_hosts.contains(b) {
                    let (a, b) = (a.min(b), a.max(b));
                    wires.push(((*a).to_owned(), (*b).to_owned()));
                }
            }
        }
        Ok(Chaos {
            faults: limited(&self.faults, "faults", 0, FAULTS_MAX)?,
            kinds: KINDS.into_iter().filter(|kind| kinds.contains(kind)).collect(),
            hosts: chosen_hosts.into_iter().map(String::from).collect(),
            // What is not written must still fit into a short scenario.
            for_ms: match limited(&self.for_ms, "for_ms", 1, duration_ms.min(PHASE_MS_MAX)) {
                Err(_) if self.for_ms.span().is_empty() => 1..=duration_ms,
                checked => checked?,
            },
            swarm: self.swarm,
            wires,
        })
    }
}

/// Those of `known` that are named; `silent` where nothing is.
fn chosen<'a>(
    named: Option<&Spanned<Vec<Spanned<String>>>>,
    what: &str,
    known: &[&'a str],
    silent: &[&'a str],
) -> Result<Vec<&'a str>, SectionError> {
    let Some(named) = named else { return Ok(silent.to_vec()) };
    if named.get_ref().is_empty() {
        let help = format!("name some, or leave the key out: then it is any {what}");
        return Err(SectionError::new(named.span(), format!("chaos on no {what}"), help));
    }
    let find = |name: &Spanned<String>| {
        let found = known.iter().find(|known| *known == name.get_ref()).copied();
        found.ok_or_else(|| {
            let message = format!("there is no {what} {:?}", name.get_ref());
            SectionError::new(name.span(), message, one_of(name.get_ref(), &format!("{what}s"), known))
        })
    };
    named.get_ref().iter().map(find).collect()
}

fn limited(value: &Spanned<MinMax>, name: &str, low: u64, high: u64) -> Result<RangeInclusive<u64>, SectionError> {
    let MinMax { min, max } = *value.get_ref();
    if low <= min && min <= max && max <= high {
        return Ok(min..=max);
    }
    let message = format!("{name} reaches from {min} to {max}");
    let help = format!("write {name} = {{ min = A, max = B }} with {low} <= A <= B <= {high}");
    Err(SectionError::new(value.span(), message, help))
}

impl Chaos {
    /// The faults of one seed, all healed within `duration_ms`. A wire is drawn among those whose hosts `talk`: to cut one
    /// that nobody uses shows nothing.
    pub fn draw(&self, dice: &Dice, duration_ms: u64, talk: impl Fn(&str, &str) -> bool) -> Vec<Fault> {
        let wires: Vec<_> = self.wires.iter().filter(|(a, b)| talk(a, b)).collect();
        let kinds = self.kinds_on(dice, !wires.is_empty());
        if kinds.is_empty() {
            return Vec::new();
        }
        let count = dice.range("chaos.faults", "", 0, self.faults.clone());
        let fault = |number: u64| {
            let drawn = Drawn { dice, entity: number.to_string() };
            let kind = drawn.one_of("chaos.kind", &kinds);
            let kind = self.kind(kind, &drawn, &wires);
            let for_ms = if kind.is_instant() { 0 } else { drawn.range("chaos.for", self.for_ms.clone()) };
            let at_ms = drawn.range("chaos.at", 0..=duration_ms - for_ms);
            Fault { at: Duration::from_millis(at_ms), for_: Duration::from_millis(for_ms), kind }
        };
        (0..count).map(fault).collect()
    }

    /// The kinds that this seed draws from: of a swarm those that are on, at least one.
    fn kinds_on(&self, dice: &Dice, wired: bool) -> Vec<&'static str> {
        let possible: Vec<_> =
            self.kinds.iter().copied().filter(|kind| wired || !FaultKind::is_of_wire(kind)).collect();
        if !self.swarm || possible.is_empty() {
            return possible;
        }
        let on: Vec<_> = possible.iter().copied().filter(|kind| dice.chance("chaos.swarm", kind, 0, 0.5)).collect();
        if on.is_empty() { vec![Drawn { dice, entity: String::new() }.one_of("chaos.swarm", &possible)] } else { on }
    }

    fn kind(&self, kind: &str, drawn: &Drawn<'_>, wires: &[&(String, String)]) -> FaultKind {
        let host = || drawn.one_of("chaos.host", &self.hosts.iter().collect::<Vec<_>>()).clone();
        let wire = || {
            let (a, b) = drawn.one_of("chaos.wire", wires).clone();
            if drawn.range("chaos.side", 0..=1) == 0 { (a, b) } else { (b, a) }
        };
        match kind {
            "partition" => {
                let (a, b) = wire();
                FaultKind::Partition { a, b }
            }
            "partition_oneway" => {
                let (from, to) = wire();
                FaultKind::PartitionOneway { from, to }
            }
            "hold" => {
                let (a, b) = wire();
                FaultKind::Hold { a, b }
            }
            "crash" => FaultKind::Crash { host: host() },
            "power_loss" => FaultKind::PowerLoss { host: host() },
            "bounce" => FaultKind::Bounce { host: host() },
            "disk_slow" => FaultKind::DiskSlow { host: host(), sync_ms: drawn.range("chaos.sync", SLOW_SYNC_MS) },
            "disk_full" => FaultKind::DiskFull { host: host() },
            "disk_error" => FaultKind::DiskError { host: host() },
            "bit_rot" => FaultKind::BitRot { host: host() },
            kind => unreachable!("{kind} is among the kinds and is not drawn"),
        }
    }
}

/// The draws of one entry.
struct Drawn<'a> {
    dice: &'a Dice,
    entity: String,
}

impl Drawn<'_> {
    fn range(&self, stream: &str, range: RangeInclusive<u64>) -> u64 {
        self.dice.range(stream, &self.entity, 0, range)
    }

    /// One of `choices`, of which there are some.
    fn one_of<T: Copy>(&self, stream: &str, choices: &[T]) -> T {
        choices[self.range(stream, 0..=choices.len() as u64 - 1) as usize]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const DURATION_MS: u64 = 3000;

    fn chaos(text: &str) -> Chaos {
        let hosts = ["a", "b", "c"].map(String::from);
        toml::from_str::<RawChaos>(text).unwrap().check(&hosts, DURATION_MS).unwrap()
    }

    fn drawn(chaos: &Chaos, seed: u64) -> Vec<Fault> {
        chaos.draw(&Dice::new(seed), DURATION_MS, |_, _| true)
    }

    fn kinds(faults: &[Fault]) -> BTreeSet<&'static str> {
        faults.iter().map(|fault| fault.kind.name()).collect()
    }

    #[test]
    fn what_is_drawn_keeps_within_the_budget_and_is_healed_in_time() {
        let chaos = chaos("faults = { min = 2, max = 7 }\nfor_ms = { min = 5, max = 2900 }\nswarm = false");
        let mut counts = BTreeSet::new();
        for seed in 0..200 {
            let faults = drawn(&chaos, seed);
            counts.insert(faults.len());
            for fault in faults {
                assert!(fault.ends() <= Duration::from_millis(DURATION_MS), "seed {seed}: {fault:?}");
                assert!(fault.kind.is_instant() || fault.for_ >= Duration::from_millis(5), "seed {seed}: {fault:?}");
            }
        }
        assert_eq!(counts, (2..=7).collect());
    }

    #[test]
    fn a_larger_budget_adds_faults_and_leaves_those_that_were_there() {
        let few = chaos("faults = { min = 3, max = 3 }");
        let many = chaos("faults = { min = 9, max = 9 }");
        for seed in 0..50 {
            assert_eq!(drawn(&many, seed)[..3], drawn(&few, seed), "seed {seed}");
        }
    }

    #[test]
    fn every_kind_that_heals_is_drawn_some_time_and_rot_only_where_it_is_named() {
        let all = chaos("faults = { min = 9, max = 9 }");
        let seen: BTreeSet<_> = (0..200).flat_map(|seed| kinds(&drawn(&all, seed))).collect();
        let expected: BTreeSet<_> = KINDS.into_iter().filter(|kind| !NAMED_ONLY.contains(kind)).collect();
        assert_eq!(seen, expected);
        let rot = chaos("faults = { min = 1, max = 1 }\nkinds = [\"bit_rot\"]");
        assert_eq!(kinds(&drawn(&rot, 1)), BTreeSet::from(["bit_rot"]));
    }

    #[test]
    fn a_swarm_has_seeds_without_a_kind_that_others_have_in_plenty() {
        let swarm = chaos("faults = { min = 40, max = 40 }");
        let crashes = |seed| drawn(&swarm, seed).iter().filter(|fault| fault.kind.name() == "crash").count();
        let (without, with): (Vec<_>, Vec<_>) = (0..100).map(crashes).partition(|count| *count == 0);
        assert!(without.len() > 25 && with.len() > 25, "{} seeds without a crash, {} with", without.len(), with.len());
        let plain = chaos("faults = { min = 40, max = 40 }\nswarm = false");
        assert!((0..100).all(|seed| kinds(&drawn(&plain, seed)).len() > 4));
    }

    #[test]
    fn only_wires_whose_hosts_talk_are_drawn_and_without_any_no_fault_of_wires() {
        let wired =
            chaos("faults = { min = 9, max = 9 }\nkinds = [\"partition\", \"partition_oneway\"]\nhosts = [\"c\"]");
        let drawn =
            |talk: fn(&str, &str) -> bool| (0..30).flat_map(move |seed| wired.draw(&Dice::new(seed), 9000, talk));
        let pairs: BTreeSet<_> = drawn(|a, _| a == "b").map(|fault| fault.kind.hosts().concat()).collect();
        assert_eq!(pairs, BTreeSet::from(["bc".into(), "cb".into()]));
    }

    #[test]
    fn chaos_on_hosts_that_talk_to_nobody_has_no_fault_of_wires() {
        let all = chaos("faults = { min = 9, max = 9 }");
        let none = |seed| all.draw(&Dice::new(seed), DURATION_MS, |_, _| false);
        assert!((0..50).flat_map(none).all(|fault| !FaultKind::is_of_wire(fault.kind.name())));
        let cut = chaos("faults = { min = 9, max = 9 }\nkinds = [\"hold\"]");
        assert_eq!(cut.draw(&Dice::new(1), DURATION_MS, |_, _| false), []);
    }
}
