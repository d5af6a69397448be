//! When faults were there in fact, and when each host's process lived.

use std::collections::BTreeMap;

use tenantry_reports::report::{EntryIs, FaultWindow, HostLife, PlanEntry};
use tenantry_reports::time::VirtualUs;

use crate::engine::injector::RESTART_PAUSE;
use crate::engine::trace::TraceEntry;

/// What the trace adds to a fault that met nothing.
const IDLE: &str = " (changes nothing)";

/// Kinds that end a process.
const KILLING: [&str; 4] = ["crash", "power_loss", "bounce", "restart_loop"];

/// Kinds that are over in an instant.
const INSTANT: [&str; 3] = ["bounce", "bit_rot", "connection_reset"];

/// Every fault of `trace`, of which each was felt as often as `felt` says, in the order in which they began.
pub(super) fn faults(trace: &[TraceEntry], felt: &[u64], plan: &[PlanEntry], end: VirtualUs) -> Vec<FaultWindow> {
    let mut windows: Vec<FaultWindow> = Vec::new();
    let mut open: Vec<usize> = Vec::new();
    let mut free: Vec<&PlanEntry> = plan.iter().filter(|entry| entry.is == EntryIs::Fault).collect();
    for event in trace {
        let at = VirtualUs(event.at_us);
        match event.kind {
            "fault.begin" => {
                let words = event.detail.strip_suffix(IDLE).unwrap_or(&event.detail).to_owned();
                let kind = words.split(' ').next().unwrap_or_default().to_owned();
                let own = free.iter().position(|entry| is_of(entry, &words));
                let entry = own.map(|place| free.remove(place));
                let is_instant = INSTANT.contains(&kind.as_str());
                if !is_instant {
                    open.push(windows.len());
                }
                windows.push(FaultWindow {
                    entry: entry.map(|entry| entry.number),
                    hosts: entry.map_or_else(|| vec![event.host.clone()], |entry| entry.hosts.clone()),
                    from_us: at,
                    to_us: if is_instant { at } else { end },
                    felt: felt.get(windows.len()).copied().unwrap_or(0),
                    kind,
                    words,
                });
            }
            "fault.end" => {
                if let Some(place) = open.iter().position(|place| windows[*place].words == event.detail) {
                    windows[open.remove(place)].to_us = at;
                }
            }
            _ => {}
        }
    }
    windows
}

/// Whether a fault of these words is that entry's: its sentence begins with them.
fn is_of(entry: &PlanEntry, words: &str) -> bool {
    let rest = entry.sentence.strip_prefix(words);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(" for ") || rest.starts_with(", "))
}

/// Every life of every process.
pub(super) fn lives(trace: &[TraceEntry]) -> Vec<HostLife> {
    let mut lives: BTreeMap<&str, Vec<HostLife>> = BTreeMap::new();
    for event in trace {
        let at = VirtualUs(event.at_us);
        let own = lives.entry(&event.host).or_default();
        let ends = match event.kind {
            "host.died" => Some(format!("died: {}", event.detail)),
            "fault.begin" if !event.detail.ends_with(IDLE) => {
                let kind = event.detail.split(' ').next().unwrap_or_default();
                KILLING.contains(&kind).then(|| kind.to_owned())
            }
            _ => None,
        };
        if let (Some(why), Some(last)) = (ends, own.last_mut())
            && last.to_us.is_none()
        {
            (last.to_us, last.ended_by) = (Some(at), Some(why));
        }
        if event.kind == "host.start" {
            if let Some(last) = own.last_mut().filter(|last| last.to_us.is_none()) {
                // A loop kills it again and again; only its starts are told of.
                let killed = at.0.saturating_sub(VirtualUs::of(RESTART_PAUSE).0).max(last.from_us.0);
                (last.to_us, last.ended_by) = (Some(VirtualUs(killed)), Some("restart_loop".to_owned()));
            }
            own.push(HostLife { host: event.host.clone(), from_us: at, to_us: None, ended_by: None });
        }
    }
    lives.into_values().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64, host: &str, kind: &'static str, detail: &str) -> TraceEntry {
        TraceEntry { at_us: ms * 1000, host: host.into(), kind, detail: detail.into() }
    }

    #[test]
    fn a_fault_lasts_until_its_end_or_the_runs() {
        let trace = [
            at(5, "a", "fault.begin", "hold a <-> b"),
            at(6, "a", "fault.begin", "hold a <-> c"),
            at(7, "b", "fault.begin", "bounce b"),
            at(9, "a", "fault.end", "hold a <-> b"),
        ];
        let told: Vec<_> = faults(&trace, &[3, 0], &[], VirtualUs(20_000)).into_iter().collect();
        let told: Vec<_> = told.iter().map(|f| (f.kind.as_str(), f.from_us.0, f.to_us.0, f.felt)).collect();
        assert_eq!(told, [("hold", 5_000, 9_000, 3), ("hold", 6_000, 20_000, 0), ("bounce", 7_000, 7_000, 0)]);
    }

    #[test]
    fn a_process_lives_from_its_start_to_what_ends_it() {
        let trace = [
            at(0, "a", "host.start", ""),
            at(0, "b", "host.start", ""),
            at(5, "a", "fault.begin", "power_loss a"),
            at(9, "a", "host.start", ""),
            at(700, "a", "host.start", ""),
            at(800, "b", "host.died", "disk full"),
        ];
        let told = lives(&trace);
        let told: Vec<_> =
            told.iter().map(|l| (&*l.host, l.from_us.0, l.to_us.map(|at| at.0), l.ended_by.as_deref())).collect();
        let expected = [
            ("a", 0, Some(5_000), Some("power_loss")),
            ("a", 9_000, Some(500_000), Some("restart_loop")),
            ("a", 700_000, None, None),
            ("b", 0, Some(800_000), Some("died: disk full")),
        ];
        assert_eq!(told, expected);
    }
}
