//! A comparison as Markdown, for the summary page of a continuous integration's job: what the text says, with tables.

use std::fmt::Write;

use crate::markdown::{fenced, line};

use super::judge::words;
use super::length::Length;
use super::text::{CHANGED_MAX, headline, interval, legend, ms, says, shift, side};
use super::{CompareVerdict, Comparison, Row, ScenarioComparison};

/// The Markdown, with a newline at its end.
#[must_use]
pub fn render<L: Length>(of: &Comparison<L>) -> String {
    let mut out = format!("## Tenantry: {}\n\n{}\n\n", of.verdict, headline(of));
    let _ = write!(out, "- Base: {}\n- New: {}\n", side(&of.base), side(&of.new));
    of.notes.iter().for_each(|note| out.extend(["- ", note, "\n"]));
    let mut worst: Vec<&ScenarioComparison<L>> = of.scenarios.iter().collect();
    worst.sort_by_key(|scenario| std::cmp::Reverse(scenario.verdict));
    for scenario in worst {
        let _ = write!(out, "\n### {}: {}\n\n{}\n", scenario.scenario, scenario.verdict, scenario.reason);
        if scenario.verdict == CompareVerdict::Same {
            continue;
        }
        out.push('\n');
        line(&["", &format!("base, {}", L::UNIT), "new", "shift", "interval", "says"], &mut out);
        line(&["---", "--:", "--:", "--:", "--:", "---"], &mut out);
        scenario.latency.iter().for_each(|row| line(&cells(row), &mut out));
        for pair in scenario.changed.iter().take(CHANGED_MAX) {
            let _ =
                write!(out, "\n{} {}: {} -> {} {}\n", L::RUN, pair.seed, pair.base, pair.new, pair.violated.join(", "));
            fenced("sh", &pair.reproduce, &mut out);
        }
    }
    let _ = write!(out, "\n{}\n", legend(of));
    out
}

fn cells<L: Length>(row: &Row<L>) -> [String; 6] {
    let figure = |value: Option<L>| value.map_or_else(|| "-".to_owned(), |value| ms(value.ms()));
    let name = format!("{} {}{}", words(&row.stage), row.percentile, if row.gate { " (gate)" } else { "" });
    let of = row.shift.as_ref();
    let (by, ends) = (of.map(shift::<L>).unwrap_or_default(), of.map(interval).unwrap_or_default());
    [name, figure(row.base_ms), figure(row.new_ms), by, ends, says(row)]
}
