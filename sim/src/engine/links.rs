//! What the open faults mean for every wire between two hosts.
//!
//! Faults overlap: healing one must not open a wire that another still holds cut. So nothing is healed by undoing it.
//! Instead the state of each wire is computed afresh from all faults that are open, and a wire is changed only where
//! the result differs from before. That keeps messages on their way where nothing changed: cutting a cut wire again, or
//! holding a held one, would touch them.

use std::collections::BTreeMap;

use crate::engine::fault::FaultKind;

/// One direction of a wire. The order is that of harm: where faults disagree, the greater wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Direction {
    /// Messages arrive after the wire's latency.
    #[default]
    Open,
    /// Messages wait until it is open again.
    Held,
    /// Messages are dropped.
    Cut,
}

/// A wire's two directions: from the host whose name sorts first to the other, and back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wire {
    /// From the first name to the second.
    pub there: Direction,
    /// From the second name to the first.
    pub back: Direction,
}

/// Every wire that is not open both ways, by its two hosts in the order of their names.
pub type Wires = Pairs<Wire>;

/// Something of wires, by their two hosts in the order of their names.
type Pairs<S> = BTreeMap<(String, String), S>;

/// The state of all wires among `hosts` while the faults `open` last.
pub fn wires<'a>(hosts: &[String], open: impl Iterator<Item = &'a FaultKind>) -> Wires {
    let mut wires = Wires::new();
    for kind in open {
        match kind {
            FaultKind::Partition { a, b } => both(&mut wires, a, b, Direction::Cut),
            FaultKind::PartitionOneway { from, to } => one(&mut wires, from, to, Direction::Cut),
            FaultKind::Hold { a, b } => both(&mut wires, a, b, Direction::Held),
            // A host without power hears and says nothing, its connections' ends included.
            FaultKind::PowerLoss { host } => {
                hosts.iter().filter(|other| *other != host).for_each(|other| {
                    both(&mut wires, host, other, Direction::Cut);
                });
            }
            // The others leave wires as they are.
            _ => {}
        }
    }
    wires
}

/// One-way latencies, in virtual milliseconds, of wires that are slow.
pub type Latencies = Pairs<u64>;

/// The latencies of all slow wires while the faults `open` last; where faults disagree, the longest.
pub fn latencies<'a>(open: impl Iterator<Item = &'a FaultKind>) -> Latencies {
    let mut latencies = Latencies::new();
    for kind in open {
        if let FaultKind::SlowLink { a, b, latency_ms } = kind {
            let name = if a < b { (a.clone(), b.clone()) } else { (b.clone(), a.clone()) };
            let slow = latencies.entry(name).or_default();
            *slow = (*slow).max(*latency_ms);
        }
    }
    latencies
}

/// Pairs whose state differs, with the state they must get, in the order of their names; `None` is that of a sound wire.
pub fn changes<S: Copy + PartialEq>(from: &Pairs<S>, to: &Pairs<S>) -> Vec<(String, String, Option<S>)> {
    let mut names: Vec<&(String, String)> = from.keys().chain(to.keys()).collect();
    names.sort();
    names.dedup();
    names
        .into_iter()
        .filter(|name| from.get(name) != to.get(name))
        .map(|name| (name.0.clone(), name.1.clone(), to.get(name).copied()))
        .collect()
}

fn both(wires: &mut Wires, a: &str, b: &str, direction: Direction) {
    one(wires, a, b, direction);
    one(wires, b, a, direction);
}

fn one(wires: &mut Wires, from: &str, to: &str, direction: Direction) {
    let forward = from < to;
    let name = if forward { (from.to_owned(), to.to_owned()) } else { (to.to_owned(), from.to_owned()) };
    let wire = wires.entry(name).or_default();
    let side = if forward { &mut wire.there } else { &mut wire.back };
    *side = direction.max(*side);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts() -> Vec<String> {
        ["a", "b", "c"].map(String::from).to_vec()
    }

    fn partition(a: &str, b: &str) -> FaultKind {
        FaultKind::Partition { a: a.into(), b: b.into() }
    }

    #[test]
    fn healing_one_of_two_partitions_of_a_wire_changes_nothing() {
        let (one, two) = (partition("a", "b"), partition("b", "a"));
        let both = wires(&hosts(), [&one, &two].into_iter());
        let still = wires(&hosts(), [&two].into_iter());
        assert_eq!(changes(&both, &still), []);
        let healed = changes(&still, &Wires::new());
        assert_eq!(healed, [("a".into(), "b".into(), None)]);
    }

    #[test]
    fn a_oneway_partition_cuts_the_direction_it_names() {
        let cut = wires(&hosts(), [&FaultKind::PartitionOneway { from: "b".into(), to: "a".into() }].into_iter());
        assert_eq!(cut[&("a".into(), "b".into())], Wire { there: Direction::Open, back: Direction::Cut });
    }

    #[test]
    fn a_cut_outranks_a_hold() {
        let hold = FaultKind::Hold { a: "a".into(), b: "b".into() };
        let cut = FaultKind::PartitionOneway { from: "a".into(), to: "b".into() };
        let wire = wires(&hosts(), [&cut, &hold].into_iter())[&("a".into(), "b".into())];
        assert_eq!(wire, Wire { there: Direction::Cut, back: Direction::Held });
    }

    #[test]
    fn of_two_slow_faults_of_a_wire_the_slower_counts_whichever_side_is_named_first() {
        let slow = |a: &str, b: &str, latency_ms| FaultKind::SlowLink { a: a.into(), b: b.into(), latency_ms };
        let (one, other) = (slow("a", "b", 40), slow("b", "a", 90));
        let both = latencies([&one, &other].into_iter());
        assert_eq!(both, BTreeMap::from([(("a".into(), "b".into()), 90)]));
        assert_eq!(changes(&both, &Latencies::new()), [("a".into(), "b".into(), None)]);
        assert_eq!(wires(&hosts(), [&one].into_iter()), Wires::new());
    }

    #[test]
    fn a_host_without_power_is_cut_from_all_others() {
        let dark = wires(&hosts(), [&FaultKind::PowerLoss { host: "b".into() }].into_iter());
        let names: Vec<_> = dark.keys().map(|(a, b)| format!("{a}{b}")).collect();
        assert_eq!(names, ["ab", "bc"]);
    }
}
