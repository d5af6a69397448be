//! A report as one HTML file that needs nothing else: no network, no script, no font.
//!
//! Two pages: [`suite()`] of all runs of one call, and of one run. Both begin with the verdict in one sentence, what
//! it proves, and the command that shows it again. Charts are SVG whose meaning stands in attributes: a page whose styles are
//! blocked says the same. Behind each chart stand its numbers as a table. What is empty says why, in place of an empty chart.
//!
//! All times are virtual: protocol delay in steps of one millisecond, never speed.

mod diagram;
mod heat;
mod plot;
mod ranges;
mod reproduced;
mod scale;
mod series;
mod shell;
mod spectrum;
mod suite;

use maud::{Markup, html};

pub use shell::POLICY;
pub use suite::render as suite;

use crate::latency::LatencySummary;
use shell::{Cell, words};

/// A few figures in a row, each with what it is.
fn figures(figures: &[(&str, String)]) -> Markup {
    html! {
        dl class="figures" {
            @for (name, figure) in figures { div { dt { (name) } dd { (figure) } } }
        }
    }
}

/// Columns of a table of latencies.
const LATENCY_HEAD: [&str; 7] = ["", "commands", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms", "max ms"];

/// A row of it. A percentile that too few samples support is not told.
fn latency_row(name: &str, figures: &LatencySummary) -> Vec<Cell> {
    let LatencySummary { count, p50, p90, p99, p999, max } = *figures;
    let known = |needed: u64, ms: u64| if count >= needed { Cell::Number(ms) } else { Cell::None };
    vec![
        words(name),
        Cell::Number(count),
        known(2, p50),
        known(10, p90),
        known(100, p99),
        known(1_000, p999),
        known(1, max),
    ]
}
