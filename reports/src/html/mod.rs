//! A report as one HTML file that needs nothing else: no network, no script, no font.
//!
//! Four pages: [`suite()`] of all runs of one call, [`run()`] of one, [`compare()`] of two sides, and [`load()`] of a load against a
//! live system. Each begins with the verdict in one sentence, what it proves, and the command that shows it again. Charts are SVG
//! whose meaning stands in attributes: a page whose styles are blocked says the same. Behind each chart stand its numbers as a
//! table. What is empty says why, in place of an empty chart.
//!
//! All times of suites and runs are virtual: protocol delay in steps of one millisecond, never speed. Those of a load are of the
//! wall, and those of a comparison of one of the two, by type. No page has both.

mod compare;
mod diagram;
mod heat;
mod interval;
mod load;
mod past;
mod plan;
mod plot;
mod ranges;
mod reproduced;
mod run;
mod scale;
mod series;
mod shell;
mod spectrum;
mod suite;

use maud::{Markup, html};

pub use compare::render as compare;
pub use load::render as load;
pub use run::render as run;
pub use shell::POLICY;
pub use suite::render as suite;

use crate::latency::{LatencySummary, VirtualPercentiles, samples_needed};
use crate::time::VirtualMs;
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
fn latency_row(name: &str, figures: &VirtualPercentiles) -> Vec<Cell> {
    let VirtualPercentiles { count, p50, p90, p99, p999, max, .. } = *figures;
    let figures = [p50, p90, p99, p999, max].map(|ms| ms.map_or(Cell::None, |ms| Cell::Number(ms.0)));
    [words(name), Cell::Number(count)].into_iter().chain(figures).collect()
}

/// The figures of a summary, as far as so many samples support them.
fn supported(summary: &LatencySummary) -> VirtualPercentiles {
    let LatencySummary { count, p50, p90, p99, p999, max } = *summary;
    let known = |quantile, ms| (count > 0 && count >= samples_needed(quantile)).then_some(VirtualMs(ms));
    VirtualPercentiles {
        count,
        min: None,
        p50: known(0.5, p50),
        p90: known(0.9, p90),
        p99: known(0.99, p99),
        p999: known(0.999, p999),
        max: (count > 0).then_some(VirtualMs(max)),
    }
}
