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

use schemars::JsonSchema;
use serde::Deserialize;

use crate::engine::dice::Dice;
use crate::engine::fault::{Fault, FaultKind, KINDS};
use crate::engine::scenario::{MinMax, PHASE_MS_MAX, Suits, unwritten};
use crate::engine::scenario_error::{SectionError, one_of};
use crate::engine::scenario_schema::KindName;
use crate::engine::spanned::Spanned;

/// The most faults that one seed may draw.
const FAULTS_MAX: u64 = 1000;

/// A slow disk's commits take this long, in virtual milliseconds: from a busy disk to a dying one.
const SLOW_SYNC_MS: RangeInclusive<u64> = 20..=400;

/// A slow link's one-way latency, in virtual milliseconds: from another continent's to a bad line's.
const SLOW_LATENCY_MS: RangeInclusive<u64> = 20..=300;

/// Of a hundred frames, how many are in trouble: from a nuisance to hardly a call that is answered.
const FRAMES_PERCENT: RangeInclusive<u64> = 5..=50;

/// A delayed frame's delay, in virtual milliseconds: less than a silent connection is kept.
const FRAME_DELAY_MS: RangeInclusive<u64> = 10..=400;

/// Of a hundred messages, how many kill whoever is handed them: from hardly one to hardly any work that gets done.
const POISON_PERCENT: RangeInclusive<u64> = 2..=20;

/// Commands that a runaway script sends while it lasts.
const BURST_COMMANDS: RangeInclusive<u64> = 5..=25;

/// A process in a restart loop is up for so long, in virtual milliseconds: from not even its first word to a few calls.
const UP_MS: RangeInclusive<u64> = 5..=300;

/// How far a clock is off at most, in milliseconds: what a host shows whose time service is broken, and not yet what a wrong
/// time zone does.
const OFFSET_MS: RangeInclusive<u64> = 10..=2000;

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
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawChaos {
    faults: Spanned<MinMax>,
    #[schemars(with = "Option<Vec<KindName>>")]
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
    pub(super) fn check(&self, hosts: &[String], suits: Suits, duration_ms: u64) -> Result<Chaos, SectionError> {
        let all: Vec<&str> = KINDS.into_iter().filter(|kind| !NAMED_ONLY.contains(kind)).collect();
        let kinds = chosen(self.kinds.as_ref(), "kind", &KINDS, &all)?;
        let hosts_all: Vec<&str> = hosts.iter().map(String::as_str).collect();
        let chosen_hosts = chosen(self.hosts.as_ref(), "host", &hosts_all, &hosts_all)?;
        for kind in self.kinds.iter().flat_map(Spanned::get_ref) {
            let suiting: Vec<_> = hosts_all.iter().copied().filter(|host| suits(kind.get_ref(), host)).collect();
            if !chosen_hosts.iter().any(|host| suiting.contains(host)) {
                let message = format!("a {} happens to none of these hosts", kind.get_ref());
                return Err(SectionError::new(kind.span(), message, one_of("", "hosts for it", &suiting)));
            }
        }
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
    /// that nobody uses shows nothing. A host is drawn among those that the kind `suits`.
    pub fn draw(&self, dice: &Dice, duration_ms: u64, talk: impl Fn(&str, &str) -> bool, suits: Suits) -> Vec<Fault> {
        let wires: Vec<_> = self.wires.iter().filter(|(a, b)| talk(a, b)).collect();
        let possible = |kind: &str| match FaultKind::is_of_wire(kind) {
            true => !wires.is_empty(),
            false => self.hosts.iter().any(|host| suits(kind, host)),
        };
        let kinds = self.kinds_on(dice, possible);
        if kinds.is_empty() {
            return Vec::new();
        }
        let count = dice.range("chaos.faults", "", 0, self.faults.clone());
        let fault = |number: u64| {
            let drawn = Drawn { dice, entity: number.to_string() };
            let kind = drawn.one_of("chaos.kind", &kinds);
            let for_ms = drawn.range("chaos.for", self.for_ms.clone());
            let kind = self.kind(kind, for_ms, &drawn, &wires, suits);
            let for_ms = if kind.is_instant() { 0 } else { for_ms };
            let at_ms = drawn.range("chaos.at", 0..=duration_ms - for_ms);
            Fault { at: Duration::from_millis(at_ms), for_: Duration::from_millis(for_ms), kind, when: None }
        };
        (0..count).map(fault).collect()
    }

    /// The kinds that this seed draws from: of a swarm those that are on, at least one.
    fn kinds_on(&self, dice: &Dice, possible: impl Fn(&str) -> bool) -> Vec<&'static str> {
        let possible: Vec<_> = self.kinds.iter().copied().filter(|kind| possible(kind)).collect();
        if !self.swarm || possible.is_empty() {
            return possible;
        }
        let on: Vec<_> = possible.iter().copied().filter(|kind| dice.chance("chaos.swarm", kind, 0, 0.5)).collect();
        if on.is_empty() { vec![Drawn { dice, entity: String::new() }.one_of("chaos.swarm", &possible)] } else { on }
    }

    fn kind(&self, kind: &str, for_ms: u64, drawn: &Drawn<'_>, wires: &[&(String, String)], suits: Suits) -> FaultKind {
        let hosts: Vec<_> = self.hosts.iter().filter(|host| suits(kind, host)).collect();
        let host = || drawn.one_of("chaos.host", &hosts).clone();
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
            "slow_link" => {
                let (a, b) = wire();
                FaultKind::SlowLink { a, b, latency_ms: drawn.range("chaos.latency", SLOW_LATENCY_MS) }
            }
            "connection_reset" => {
                let (a, b) = wire();
                FaultKind::ConnectionReset { a, b }
            }
            frames if frames.starts_with("frame_") => {
                let ((a, b), percent) = (wire(), drawn.range("chaos.percent", FRAMES_PERCENT));
                match frames {
                    "frame_drop" => FaultKind::FrameDrop { a, b, percent },
                    "frame_duplicate" => FaultKind::FrameDuplicate { a, b, percent },
                    "frame_delay" => {
                        FaultKind::FrameDelay { a, b, percent, delay_ms: drawn.range("chaos.delay", FRAME_DELAY_MS) }
                    }
                    "frame_reorder" => FaultKind::FrameReorder { a, b, percent },
                    _ => FaultKind::FrameCorrupt { a, b, percent },
                }
            }
            "crash" => FaultKind::Crash { host: host() },
            "power_loss" => FaultKind::PowerLoss { host: host() },
            "bounce" => FaultKind::Bounce { host: host() },
            "restart_loop" => FaultKind::RestartLoop { host: host(), up_ms: drawn.range("chaos.up", UP_MS) },
            "pause" => FaultKind::Pause { host: host() },
            "hang" => FaultKind::Hang { host: host() },
            "refuse" => FaultKind::Refuse { host: host() },
            "disk_slow" => FaultKind::DiskSlow { host: host(), sync_ms: drawn.range("chaos.sync", SLOW_SYNC_MS) },
            "disk_full" => FaultKind::DiskFull { host: host() },
            "disk_error" => FaultKind::DiskError { host: host() },
            "disk_torn_write" => FaultKind::DiskTornWrite { host: host() },
            "bit_rot" => FaultKind::BitRot { host: host() },
            "clock_skew" => {
                // Over so long a clock that never goes back can't be off by more than half of it.
                let most = (for_ms / 2).saturating_sub(1).clamp(1, *OFFSET_MS.end());
                FaultKind::ClockSkew { host: host(), offset_ms: drawn.offset(1..=most) }
            }
            "clock_jump" => FaultKind::ClockJump { host: host(), offset_ms: drawn.offset(OFFSET_MS) },
            "redelivery_storm" => FaultKind::RedeliveryStorm { host: host() },
            "poison" => FaultKind::Poison { host: host(), percent: drawn.range("chaos.poison", POISON_PERCENT) },
            "burst" => FaultKind::Burst { host: host(), commands: drawn.range("chaos.commands", BURST_COMMANDS) },
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

    /// So many milliseconds ahead or behind.
    fn offset(&self, range: RangeInclusive<u64>) -> i64 {
        let offset = i64::try_from(self.range("chaos.offset", range)).expect("a few seconds");
        if self.range("chaos.behind", 0..=1) == 0 { offset } else { -offset }
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

    /// A storm comes over one of the hosts only.
    fn suits(kind: &str, host: &str) -> bool {
        kind != "redelivery_storm" || host == "b"
    }

    fn chaos(text: &str) -> Chaos {
        let hosts = ["a", "b", "c"].map(String::from);
        toml::from_str::<RawChaos>(text).unwrap().check(&hosts, suits, DURATION_MS).unwrap()
    }

    fn drawn(chaos: &Chaos, seed: u64) -> Vec<Fault> {
        chaos.draw(&Dice::new(seed), DURATION_MS, |_, _| true, suits)
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
                if let FaultKind::ClockSkew { offset_ms, .. } = fault.kind {
                    let lasts = fault.for_.as_millis() as u64;
                    assert!(2 * offset_ms.unsigned_abs() <= lasts.max(2), "seed {seed}: {fault:?}");
                }
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
    fn a_kind_is_drawn_only_on_hosts_that_it_can_happen_to() {
        let storms = chaos("faults = { min = 9, max = 9 }\nkinds = [\"redelivery_storm\"]");
        let hosts = (0..30).flat_map(|seed| drawn(&storms, seed)).map(|fault| fault.kind.hosts().concat());
        assert_eq!(hosts.collect::<BTreeSet<_>>(), BTreeSet::from(["b".into()]));
        let elsewhere = chaos("faults = { min = 9, max = 9 }\nhosts = [\"a\"]");
        assert!((0..50).all(|seed| !kinds(&drawn(&elsewhere, seed)).contains("redelivery_storm")));
        let text = "faults = { min = 1, max = 1 }\nkinds = [\"redelivery_storm\"]\nhosts = [\"a\"]";
        let hosts = ["a", "b", "c"].map(String::from);
        let error = toml::from_str::<RawChaos>(text).unwrap().check(&hosts, suits, DURATION_MS).unwrap_err();
        assert_eq!(error.message, "a redelivery_storm happens to none of these hosts");
        assert_eq!(error.help, "did you mean \"b\"? known hosts for it: b");
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
        let drawn = |talk: fn(&str, &str) -> bool| {
            (0..30).flat_map(move |seed| wired.draw(&Dice::new(seed), 9000, talk, suits))
        };
        let pairs: BTreeSet<_> = drawn(|a, _| a == "b").map(|fault| fault.kind.hosts().concat()).collect();
        assert_eq!(pairs, BTreeSet::from(["bc".into(), "cb".into()]));
    }

    #[test]
    fn chaos_on_hosts_that_talk_to_nobody_has_no_fault_of_wires() {
        let all = chaos("faults = { min = 9, max = 9 }");
        let none = |seed| all.draw(&Dice::new(seed), DURATION_MS, |_, _| false, suits);
        assert!((0..50).flat_map(none).all(|fault| !FaultKind::is_of_wire(fault.kind.name())));
        let cut = chaos("faults = { min = 9, max = 9 }\nkinds = [\"hold\"]");
        assert_eq!(cut.draw(&Dice::new(1), DURATION_MS, |_, _| false, suits), []);
    }
}
