//! A comparison as plain text, for people at a terminal.
//!
//! The first lines are the verdict and what it rests on; then a table for each scenario, those that are worse first. A scenario in
//! which nothing differs is one line.

use std::fmt::Write;

use crate::suite::Build;
use crate::text::{count, grouped};

use super::judge::words;
use super::length::Length;
use super::{CompareVerdict, Comparison, Row, SURE_PERCENT, Says, ScenarioComparison, Shift, SideRecord};

/// Columns of the table of figures.
const HEADER: [&str; 7] = ["", "base", "new", "shift", "", "interval", "says"];

/// Pairs judged otherwise that are told one by one; the rest are counted.
pub(crate) const CHANGED_MAX: usize = 20;

/// The text, with a newline at its end.
#[must_use]
pub fn render<L: Length>(of: &Comparison<L>) -> String {
    let mut out = format!("{}\n", headline(of));
    if of.exit_code != 0 {
        let _ = writeln!(out, "Verdict: {} (exit code {}).", of.verdict, of.exit_code);
    }
    let _ = writeln!(out, "Base: {}.\nNew:  {}.", side(&of.base), side(&of.new));
    of.notes.iter().for_each(|note| out.extend([note.as_str(), "\n"]));
    let mut worst: Vec<&ScenarioComparison<L>> = of.scenarios.iter().collect();
    worst.sort_by_key(|scenario| std::cmp::Reverse(scenario.verdict));
    let mut told = false;
    for scenario in worst {
        let _ = writeln!(out, "\n{}: {}\n{}", scenario.scenario, scenario.verdict, scenario.reason);
        if scenario.verdict == CompareVerdict::Same {
            continue;
        }
        told = true;
        table(scenario, &mut out);
        changed(scenario, &mut out);
    }
    if told {
        let _ = writeln!(out, "\n{}", legend(of));
    }
    if let Some(bad) = of.scenarios.iter().flat_map(|scenario| &scenario.changed).find(|pair| pair.new > pair.base) {
        let _ = write!(out, "\nReproduce it with:\n{}\n", bad.reproduce);
    }
    out
}

/// What came of it, in a sentence.
pub(crate) fn headline<L: Length>(of: &Comparison<L>) -> String {
    let scenarios = count(of.scenarios.len() as u64, "scenario");
    let (all, pairs) = (of.scenarios.len(), count(of.scenarios.iter().map(|of| of.pairs).sum(), "pair"));
    let with = |verdict| of.scenarios.iter().filter(|scenario| scenario.verdict == verdict).count() as u64;
    let in_some =
        |number: u64| if all == 1 { String::new() } else { format!(" in {} of {scenarios}", grouped(number)) };
    let (gate, tolerance) = (of.method.gate, of.method.tolerance_percent);
    match of.verdict {
        CompareVerdict::Same => format!("The same: all {pairs} of {scenarios} are equal to the last event."),
        CompareVerdict::Pass => {
            format!("No regression: {gate} is not slower by {tolerance} % or more, over {pairs} of {scenarios}.")
        }
        CompareVerdict::Inconclusive => {
            format!(
                "Inconclusive: whether {gate} is slower by {tolerance} % can't be said{}.",
                in_some(with(of.verdict))
            )
        }
        CompareVerdict::Regression => {
            format!("Regression: {gate} is slower by {tolerance} % or more{}.", in_some(with(of.verdict)))
        }
        CompareVerdict::Violated => {
            format!("New violates an invariant where base did not{}.", in_some(with(of.verdict)))
        }
        CompareVerdict::Failed => format!("The harness failed where it did not before{}.", in_some(with(of.verdict))),
    }
}

/// A side in a few words.
pub(crate) fn side(of: &SideRecord) -> String {
    let Build { version, profile, target, commit } = &of.build;
    let commit = commit.as_ref().map(|commit| format!(" at {commit}")).unwrap_or_default();
    format!("{}, {version} {profile} for {target}{commit}, {}", of.files.join(", "), count(of.runs, "run"))
}

/// What the figures mean.
pub(crate) fn legend<L: Length>(of: &Comparison<L>) -> String {
    let gates = match of.scenarios.len() as u64 {
        1 => String::new(),
        more => format!(", those of all {} gates together (Bonferroni)", grouped(more)),
    };
    format!(
        "{} Intervals are {SURE_PERCENT} % sure, each for itself{gates}; by a block bootstrap over pairs of {}s, seed {}. Only the \
         gate (*) decides; of the others one in twenty is off by chance.",
        L::SAYS,
        L::RUN,
        of.method.seed
    )
}

fn table<L: Length>(scenario: &ScenarioComparison<L>, out: &mut String) {
    let (base, new) = (&scenario.commands_base, &scenario.commands_new);
    let told = |what: &str, base: u64, new: u64| {
        if base == new {
            format!("{what} {}", grouped(base))
        } else {
            format!("{what} {} -> {}", grouped(base), grouped(new))
        }
    };
    let ended = [
        told("accepted", base.accepted, new.accepted),
        told("applied", base.applied, new.applied),
        told("rejected", base.rejected, new.rejected),
        told("dead-lettered", base.dead_lettered, new.dead_lettered),
    ];
    let _ = writeln!(out, "Commands: {}.", ended.join(", "));
    let mut stage = "";
    let mut rows = vec![HEADER.map(str::to_owned)];
    rows[0][0] = L::UNIT.to_owned();
    for row in &scenario.latency {
        if row.stage != stage {
            stage = &row.stage;
            let mut head: [String; 7] = Default::default();
            head[0] = words(stage);
            rows.push(head);
        }
        rows.push(cells(row));
    }
    let widths: [usize; 6] = std::array::from_fn(|column| {
        // What names a part of the way may stand over the figures.
        let cells = rows.iter().filter(|row| column > 0 || !row[1].is_empty());
        cells.map(|row| row[column].chars().count()).max().unwrap_or_default()
    });
    for row in &rows {
        let [first, figures @ .., last] = row;
        let mut line = format!("{first:<0$}", widths[0]);
        for (figure, width) in figures.iter().zip(&widths[1..]) {
            let _ = write!(line, "  {figure:>width$}");
        }
        let _ = write!(line, "  {last}");
        out.extend(["  ", line.trim_end(), "\n"]);
    }
}

fn cells<L: Length>(row: &Row<L>) -> [String; 7] {
    let figure = |value: Option<L>| value.map_or_else(|| "-".to_owned(), |value| ms(value.ms()));
    let mark = if row.gate { "* " } else { "  " };
    let name = format!("{mark}{}", row.percentile);
    let shift = row.shift.as_ref();
    let by = shift.map(|shift| signed(shift.by_ms.ms())).unwrap_or_default();
    let share = shift.and_then(|shift| shift.by_percent).map(percent).unwrap_or_default();
    [name, figure(row.base_ms), figure(row.new_ms), by, share, shift.map(interval).unwrap_or_default(), says(row)]
}

/// What a figure says, in words.
pub(crate) fn says<L: Length>(row: &Row<L>) -> String {
    match (row.says, &row.shift) {
        (Says::Same, _) => "the same".to_owned(),
        (Says::Slower, _) => "slower".to_owned(),
        (Says::Faster, _) => "faster".to_owned(),
        (Says::NoDifference, Some(shift)) => {
            format!("no difference seen; would have seen {}", ms(shift.detectable_ms.ms()))
        }
        (Says::NoDifference | Says::Untold, _) => row.untold.clone().unwrap_or_default(),
    }
}

fn changed<L: Length>(scenario: &ScenarioComparison<L>, out: &mut String) {
    for pair in scenario.changed.iter().take(CHANGED_MAX) {
        let of = if pair.violated.is_empty() { String::new() } else { format!(", {}", pair.violated.join(", ")) };
        let _ = writeln!(out, "  {} {}: {} -> {}{of}", L::RUN, pair.seed, pair.base, pair.new);
    }
    let untold = scenario.changed.len().saturating_sub(CHANGED_MAX) as u64;
    if untold > 0 {
        let _ = writeln!(out, "  and {} more are judged otherwise", grouped(untold));
    }
}

/// `+4.2 virtual ms (+7.1 %)`.
pub(crate) fn shift<L: Length>(shift: &Shift<L>) -> String {
    let share = shift.by_percent.map(|by| format!(" ({})", percent(by))).unwrap_or_default();
    format!("{} {}{share}", signed(shift.by_ms.ms()), L::UNIT)
}

/// `+7.1 %`.
fn percent(value: f64) -> String {
    // What rounds to nothing has no sign of its own.
    let value = if value.abs() < 0.05 { 0.0 } else { value };
    format!("{value:+.1} %")
}

/// `+2.1 to +6.3`.
pub(crate) fn interval<L: Length>(shift: &Shift<L>) -> String {
    format!("{} to {}", signed(shift.low_ms.ms()), signed(shift.high_ms.ms()))
}

/// Milliseconds as people read them: three digits, or all before the point.
pub(crate) fn ms(value: f64) -> String {
    let digits = match value.abs() {
        large if large >= 99.95 => 0,
        large if large >= 9.995 => 1,
        _ => 2,
    };
    let text = format!("{:.digits$}", value.abs());
    let (whole, part) = text.split_once('.').map_or((text.as_str(), None), |(whole, part)| (whole, Some(part)));
    let whole = whole.parse().map_or_else(|_| whole.to_owned(), grouped);
    let sign = if value < 0.0 && text.bytes().any(|digit| (b'1'..=b'9').contains(&digit)) { "-" } else { "" };
    format!("{sign}{whole}{}", part.map(|part| format!(".{part}")).unwrap_or_default())
}

pub(crate) fn signed(value: f64) -> String {
    let text = ms(value);
    if text.starts_with('-') { text } else { format!("+{text}") }
}
