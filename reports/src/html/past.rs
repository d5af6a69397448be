//! The causal past of a violation, cut down to what a person can take in.
//!
//! A run has up to half a million messages and events. In the past of a violation lie those from which a chain of messages
//! leads to it; of these the ones about its commands are drawn, the latest first to be kept, whatever was lost or died before
//! the rest. One pass over the messages finds the past; nothing is searched twice, however long the run was.

use std::collections::{BTreeMap, BTreeSet};

use super::diagram::{Arrow, Diagram, End, LANES_MAX, Row, Sign, Window};
use super::plot::key;
use crate::causal::{CausalTrace, Message};
use crate::report::{RunReport, Violation};
use crate::time::VirtualUs;

/// Rows that are drawn at most.
pub(super) const ROWS_MAX: usize = 56;
/// Of those, for messages that were lost: a long partition loses hundreds that say the same.
const LOST_MAX: usize = 8;
/// Windows of faults in one diagram.
const WINDOWS_MAX: usize = 6;

/// Events that stand in the report's own lists of faults and lives, from which they are drawn.
const TOLD_ELSEWHERE: [&str; 5] = ["fault.begin", "fault.end", "power.lost", "host.died", "host.start"];

/// What is drawn, and how much is not.
#[derive(Debug)]
pub(super) struct Past {
    pub(super) diagram: Diagram,
    /// Messages and events in the past about the same commands, which are not drawn.
    pub(super) left_out: u64,
    /// Messages and events about other commands, or from which no chain leads here.
    pub(super) elsewhere: u64,
}

/// A row before it has its number.
struct Point {
    at: VirtualUs,
    /// Of one instant: what arrives comes before what happens, and that before what is sent.
    order: u8,
    host: String,
    sign: Sign,
    text: String,
    /// Number of its message, if it is one's end.
    message: Option<(usize, bool)>,
}

/// Until when each host's doings lie in the past of the violation.
struct Horizon(BTreeMap<u32, VirtualUs>);

impl Horizon {
    fn of(trace: &CausalTrace, violation: &Violation) -> Self {
        let mut until: BTreeMap<u32, VirtualUs> = BTreeMap::new();
        let events = violation.events.iter().filter_map(|place| trace.events.get(*place as usize));
        for event in events {
            let own = until.entry(event.host).or_default();
            *own = event.at.max(*own);
        }
        if until.is_empty() {
            // It could only be seen at the end: everything lies before it.
            return Self((0..).take(trace.hosts.len()).map(|host| (host, violation.at_us)).collect());
        }
        let mut received: Vec<(VirtualUs, &Message)> =
            trace.messages.iter().filter_map(|message| Some((message.received_at?, message))).collect();
        received.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
        for (at, message) in received {
            if until.get(&message.to).is_some_and(|until| at <= *until) {
                let own = until.entry(message.from).or_default();
                *own = message.sent_at.max(*own);
            }
        }
        Self(until)
    }

    fn has(&self, host: u32, at: VirtualUs) -> bool {
        self.0.get(&host).is_some_and(|until| at <= *until)
    }
}

/// What led to `violation`.
pub(super) fn of(report: &RunReport, violation: &Violation) -> Past {
    let trace = &report.trace;
    let horizon = Horizon::of(trace, violation);
    let concerned: BTreeSet<u32> = {
        let named: BTreeSet<&str> = violation.commands.iter().map(String::as_str).collect();
        (0..).zip(&trace.commands).filter(|(_, id)| named.contains(id.as_str())).map(|(number, _)| number).collect()
    };
    let concerns =
        |commands: &[u32]| concerned.is_empty() || commands.iter().any(|command| concerned.contains(command));
    let conflict: BTreeSet<usize> = violation.events.iter().map(|place| *place as usize).collect();

    // How soon each is given up: rank first, then age.
    let mut events: Vec<(u8, VirtualUs, usize)> = Vec::new();
    for (place, event) in trace.events.iter().enumerate() {
        let kept = conflict.contains(&place);
        if kept
            || (concerns(&event.commands) && horizon.has(event.host, event.at) && !told_elsewhere(trace, event.kind))
        {
            events.push((if kept { 0 } else { 2 }, event.at, place));
        }
    }
    let mut messages: Vec<(u8, VirtualUs, usize)> = Vec::new();
    for (place, message) in trace.messages.iter().enumerate() {
        let arrived = message.received_at.is_some_and(|at| horizon.has(message.to, at));
        let lost = message.lost.is_some() && horizon.has(message.from, message.sent_at);
        if concerns(&message.commands) && (arrived || lost) {
            messages.push((if lost { 1 } else { 2 }, message.sent_at, place));
        }
    }
    let candidates = events.len() + messages.len();
    let mut lost_kept = 0;
    let mut ranked: Vec<(u8, VirtualUs, bool, usize)> =
        events.into_iter().map(|(rank, at, place)| (rank, at, false, place)).collect();
    ranked.extend(messages.into_iter().map(|(rank, at, place)| (rank, at, true, place)));
    ranked.sort_by_key(|(rank, at, _, _)| (*rank, std::cmp::Reverse(*at)));
    let (mut points, mut kept, mut not_kept) = (Vec::new(), 0, Vec::new());
    for (rank, at, is_message, place) in ranked {
        let (cost, too_many) = match (is_message, rank) {
            (true, 1) => (1, lost_kept >= LOST_MAX),
            (true, _) => (2, false),
            (false, _) => (1, false),
        };
        // Room for the faults' own rows is left.
        if too_many || points.len() + cost > ROWS_MAX - 2 * WINDOWS_MAX {
            not_kept.push(at);
            continue;
        }
        kept += 1;
        if is_message {
            lost_kept += usize::from(rank == 1);
            ends(trace, place, &mut points);
        } else {
            let event = &trace.events[place];
            let sign = if rank == 0 { Sign::Conflict } else { Sign::Event };
            let text = format!("{} {}", trace.word(event.kind), event.text);
            points.push(Point {
                at: event.at,
                order: 1,
                host: trace.host(event.host).to_owned(),
                sign,
                text,
                message: None,
            });
        }
    }
    let windows = disturbances(report, violation.at_us, &mut points);
    points.sort_by_key(|point| (point.at, point.order));
    let all = (trace.events.len() + trace.messages.len()) as u64;
    not_kept.sort_unstable();
    Past {
        diagram: drawn(report, points, &windows, &not_kept),
        left_out: (candidates - kept) as u64,
        elsewhere: all - candidates as u64,
    }
}

fn told_elsewhere(trace: &CausalTrace, kind: u32) -> bool {
    TOLD_ELSEWHERE.contains(&trace.word(kind))
}

/// Where a message was sent and, unless it was lost, where it arrived.
fn ends(trace: &CausalTrace, place: usize, points: &mut Vec<Point>) {
    let message = &trace.messages[place];
    let (from, to, carries) = (trace.host(message.from), trace.host(message.to), trace.word(message.carries));
    let about: Vec<&str> = message.commands.iter().take(3).map(|command| trace.command(*command)).collect();
    let about = if about.is_empty() { String::new() } else { format!(" of {}", about.join(", ")) };
    let mut end = |at, order, host: &str, text, sent| {
        let host = host.to_owned();
        points.push(Point { at, order, host, sign: Sign::Event, text, message: Some((place, sent)) });
    };
    match (message.lost, message.received_at) {
        (Some(why), _) => {
            end(message.sent_at, 2, from, format!("sends {carries}{about} to {to}: lost, {}", trace.word(why)), true);
        }
        (None, Some(received_at)) => {
            end(message.sent_at, 2, from, format!("sends {carries}{about} to {to}"), true);
            end(received_at, 0, to, format!("has {carries}{about} from {from}"), false);
        }
        (None, None) => {}
    }
}

/// Adds the begins and ends of faults and the deaths of hosts that lie among the points. The faults' places in the report.
fn disturbances(report: &RunReport, until: VirtualUs, points: &mut Vec<Point>) -> Vec<usize> {
    let Some(since) = points.iter().map(|point| point.at).min() else { return Vec::new() };
    let hosts: BTreeSet<String> = points.iter().map(|point| point.host.clone()).collect();
    let windows = report.faults.iter().enumerate().filter(|(_, fault)| {
        fault.from_us <= until && fault.to_us >= since && fault.hosts.iter().any(|host| hosts.contains(host))
    });
    // The latest are the likeliest to have mattered.
    let mut windows: Vec<usize> = windows.map(|(place, _)| place).collect();
    windows.drain(..windows.len().saturating_sub(WINDOWS_MAX));
    for place in &windows {
        let fault = &report.faults[*place];
        let Some(host) = fault.hosts.iter().find(|host| hosts.contains(*host)) else { continue };
        let mut mark = |at: VirtualUs, order, what: &str| {
            if at >= since && at <= until {
                let text = format!("{} {what}: {}", key(*place), fault.words);
                points.push(Point { at, order, host: host.clone(), sign: Sign::Fault, text, message: None });
            }
        };
        mark(fault.from_us, 0, "begins");
        if fault.to_us > fault.from_us {
            mark(fault.to_us, 3, "ends");
        }
    }
    let died = |life: &&crate::report::HostLife| {
        hosts.contains(&life.host) && life.to_us.is_some_and(|at| at >= since && at <= until)
    };
    let deaths: Vec<_> = report.lives.iter().filter(died).collect();
    for life in deaths.iter().rev().take(WINDOWS_MAX) {
        if let Some(at) = life.to_us {
            let text = format!("dies: {}", life.ended_by.as_deref().unwrap_or("nobody knows why"));
            points.push(Point { at, order: 1, host: life.host.clone(), sign: Sign::Crash, text, message: None });
        }
    }
    windows
}

/// The points as rows and arrows.
fn drawn(report: &RunReport, points: Vec<Point>, windows: &[usize], not_kept: &[VirtualUs]) -> Diagram {
    // In the order in which they come into it, which is mostly that of a command's way.
    let mut lanes: Vec<String> = Vec::new();
    for point in &points {
        if !lanes.contains(&point.host) && lanes.len() < LANES_MAX {
            lanes.push(point.host.clone());
        }
    }
    let lane = |host: &str| lanes.iter().position(|lane| lane == host);
    let mut arrows = Vec::new();
    let arrived = |place| points.iter().position(|point| point.message == Some((place, false)));
    for (row, point) in points.iter().enumerate() {
        let Some((place, true)) = point.message else { continue };
        let message = &report.trace.messages[place];
        let end = match arrived(place) {
            Some(row) => Some(End::Row(row)),
            None => lane(report.trace.host(message.to)).map(End::Lost),
        };
        arrows.extend(end.map(|end| Arrow { from: row, end, title: format!("{} {}", point.host, point.text) }));
    }
    let at = |from: VirtualUs, to: VirtualUs| {
        let first = points.iter().position(|point| point.at >= from)?;
        let last = points.iter().rposition(|point| point.at <= to)?;
        (first <= last).then_some((first, last))
    };
    let window = |place: &usize| {
        let fault = &report.faults[*place];
        let (from, to) = at(fault.from_us, fault.to_us)?;
        let lanes = fault.hosts.iter().filter_map(|host| lane(host)).collect();
        Some(Window { key: key(*place), lanes, from, to, title: fault.words.clone() })
    };
    let windows = windows.iter().filter_map(window).collect();
    let mut before = 0;
    let rows = points.iter().map(|point| {
        let passed = not_kept.partition_point(|at| *at < point.at);
        let left_out = (passed - before) as u64;
        before = passed;
        Row { at_ms: point.at.ms().0, lane: lane(&point.host), sign: point.sign, text: point.text.clone(), left_out }
    });
    let rows = rows.collect();
    Diagram { lanes, rows, arrows, windows }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::report::violated;

    #[test]
    fn what_is_drawn_leads_to_the_conflict_and_is_about_its_commands() {
        let report = violated();
        let past = of(&report, &report.violations[0]);
        let rows = &past.diagram.rows;
        assert!(rows.len() <= ROWS_MAX && past.elsewhere > 1_000, "{} rows, {} elsewhere", rows.len(), past.elsewhere);
        assert_eq!(rows.iter().filter(|row| row.sign == Sign::Conflict).count(), report.violations[0].events.len());
        assert_eq!(rows.last().map(|row| row.sign), Some(Sign::Conflict), "nothing comes after what it leads to");
        let of_others = |row: &&Row| row.text.contains("m-") && !row.text.contains("m-150");
        assert_eq!(rows.iter().filter(of_others).count(), 0);
        let lost = past.diagram.arrows.iter().filter(|arrow| matches!(arrow.end, End::Lost(_)));
        assert_eq!(lost.count(), 1, "the partition took one apply");
        let windows: Vec<_> = past.diagram.windows.iter().map(|window| window.title.as_str()).collect();
        assert_eq!(windows, ["partition consumer <-> ledger"], "the power loss comes later");
        assert_eq!(past.diagram.lanes[0], "operators");
    }

    #[test]
    fn a_message_that_arrived_too_late_to_matter_is_not_in_the_past() {
        let report = violated();
        let past = of(&report, &report.violations[0]);
        let settles = past.diagram.rows.iter().filter(|row| row.text.contains("settle")).count();
        assert_eq!(settles, 0, "the consumer settles after the effect");
    }

    #[test]
    fn a_violation_that_names_no_event_has_all_of_its_commands_past() {
        let mut report = violated();
        report.violations[0].events.clear();
        report.violations[0].at_us = VirtualUs(6_000_000);
        let past = of(&report, &report.violations[0]);
        assert!(past.diagram.rows.iter().any(|row| row.text.contains("settle")));
        report.violations[0].commands.clear();
        let past = of(&report, &report.violations[0]);
        assert!(past.diagram.rows.len() <= ROWS_MAX && past.left_out > 1_000, "{}", past.left_out);
    }
}
