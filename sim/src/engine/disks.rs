//! What the open faults mean for every host's disk.
//!
//! As with wires, nothing is healed by undoing it: the state of each disk is computed afresh from all faults that are
//! open, so of two that overlap the one that heals last ends the state. Rot is no state: it happens once and stays.

use std::collections::BTreeMap;

use crate::engine::fault::FaultKind;

/// How a disk is. By default it is sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DiskState {
    /// What every commit takes, in virtual milliseconds, instead of its drawn time; where faults disagree, the longest.
    pub sync_ms: Option<u64>,
    /// No file can grow.
    pub full: bool,
    /// Nothing can be written or synced.
    pub failing: bool,
    /// The next commit is torn, and no other.
    pub tearing: bool,
}

/// Every disk that is not sound, by its host.
pub type Disks = BTreeMap<String, DiskState>;

/// The state of all disks while the faults `open` last.
pub fn disks<'a>(open: impl Iterator<Item = &'a FaultKind>) -> Disks {
    let mut disks = Disks::new();
    for kind in open {
        match kind {
            FaultKind::DiskSlow { host, sync_ms } => {
                let slow = &mut disks.entry(host.clone()).or_default().sync_ms;
                *slow = (*slow).max(Some(*sync_ms));
            }
            FaultKind::DiskFull { host } => disks.entry(host.clone()).or_default().full = true,
            FaultKind::DiskError { host } => disks.entry(host.clone()).or_default().failing = true,
            FaultKind::DiskTornWrite { host } => disks.entry(host.clone()).or_default().tearing = true,
            // The others leave disks as they are.
            _ => {}
        }
    }
    disks
}

/// Disks whose state differs, with the state they must get, in the order of their hosts' names.
pub fn changes(from: &Disks, to: &Disks) -> Vec<(String, DiskState)> {
    let mut hosts: Vec<&String> = from.keys().chain(to.keys()).collect();
    hosts.sort();
    hosts.dedup();
    let state = |disks: &Disks, host: &str| disks.get(host).copied().unwrap_or_default();
    hosts
        .into_iter()
        .filter(|host| state(from, host) != state(to, host))
        .map(|host| (host.clone(), state(to, host)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slow(host: &str, sync_ms: u64) -> FaultKind {
        FaultKind::DiskSlow { host: host.into(), sync_ms }
    }

    fn full(host: &str) -> FaultKind {
        FaultKind::DiskFull { host: host.into() }
    }

    #[test]
    fn the_slowest_of_two_slow_faults_counts_whichever_came_first() {
        let (one, other) = (slow("a", 50), slow("a", 200));
        for open in [[&one, &other], [&other, &one]] {
            assert_eq!(disks(open.into_iter())["a"].sync_ms, Some(200));
        }
        assert_eq!(disks([&one].into_iter())["a"].sync_ms, Some(50));
    }

    #[test]
    fn healing_one_of_two_faults_of_a_kind_changes_nothing_and_healing_the_last_makes_the_disk_sound() {
        let (one, other) = (full("a"), full("a"));
        let (both, still) = (disks([&one, &other].into_iter()), disks([&other].into_iter()));
        assert_eq!(changes(&both, &still), []);
        assert_eq!(changes(&still, &Disks::new()), [("a".into(), DiskState::default())]);
    }

    #[test]
    fn a_disk_can_be_slow_full_and_failing_at_once_and_its_neighbour_sound() {
        let failing = FaultKind::DiskError { host: "a".into() };
        let disks = disks([&slow("a", 9), &full("a"), &failing].into_iter());
        assert_eq!(disks["a"], DiskState { sync_ms: Some(9), full: true, failing: true, tearing: false });
        assert_eq!(disks.len(), 1);
    }
}
