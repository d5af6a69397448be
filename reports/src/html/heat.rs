//! Latency over time as a heat map: what an average hides - two modes, a few that waited out a fault - shows.
//!
//! A cell's ink grows with the logarithm of its count, so that one slow command is seen beside a thousand fast ones.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::plot::{Band, LEFT, Plot, RIGHT, TOP, Units, svg};
use super::scale::{Scale, class, edge, float, label, unit};
use crate::text::count;

const HEIGHT: f64 = 210.0;

/// Columns at most.
const COLUMNS_MAX: u64 = 60;

/// Latencies counted by time and size.
#[derive(Debug, Default)]
pub(super) struct Heat {
    column_ms: u64,
    /// By column and class.
    cells: BTreeMap<(u64, u32), u64>,
}

impl Heat {
    /// Of commands that ended `at` so many milliseconds after the start, each after `latency`, so many `times`.
    /// They were counted in intervals of `interval_ms`, of which a column holds one or, of many, several.
    pub(super) fn of(until: u64, interval_ms: u64, latencies: impl Iterator<Item = (u64, u64, u64)>) -> Self {
        let interval_ms = interval_ms.max(1);
        let several = until.div_ceil(interval_ms).div_ceil(COLUMNS_MAX).max(1);
        let mut heat = Self { column_ms: interval_ms * several, cells: BTreeMap::new() };
        for (at, latency, times) in latencies.filter(|(_, _, times)| *times > 0) {
            *heat.cells.entry((at / heat.column_ms, class(latency))).or_default() += times;
        }
        heat
    }

    pub(super) fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// How wide a column is, in milliseconds.
    pub(super) fn column_ms(&self) -> u64 {
        self.column_ms
    }

    pub(super) fn chart(
        &self,
        id: &str,
        description: &str,
        until: u64,
        bands: &[Band],
        units: &'static Units,
    ) -> Markup {
        let plot = Plot::over(until, HEIGHT, units);
        let latency = |class| (units.latency_label)(edge(class));
        let classes = || self.cells.keys().map(|(_, class)| *class);
        let (low, high) = (classes().min().unwrap_or(0), classes().max().unwrap_or(0) + 1);
        let y = Scale::new(f64::from(low), f64::from(high), plot.bottom, TOP);
        let most = self.cells.values().max().copied().unwrap_or(1);
        let ink = |times: u64| 0.16 + 0.84 * if most > 1 { float(times).ln() / float(most).ln() } else { 1.0 };
        // Every second edge is a doubling.
        let every = ((high - low) / 6).next_multiple_of(2).max(2);
        let inner = html! {
            (plot.bands(bands))
            @for edge_index in (low..=high).filter(|index| index.is_multiple_of(every)) {
                @let at = y.at(f64::from(edge_index));
                line x1=(unit(LEFT - 3.0)) y1=(unit(at)) x2=(unit(RIGHT)) y2=(unit(at)) stroke="currentColor" stroke-opacity="0.12" {}
                text x=(unit(LEFT - 6.0)) y=(unit(at + 3.5)) text-anchor="end" { (latency(edge_index)) }
            }
            text x="0" y="10" fill-opacity="0.75" { "latency, " (units.latency) }
            @for (&(column, class), &times) in &self.cells {
                @let from = plot.x.at(float(column * self.column_ms));
                @let to = plot.x.at(float((column + 1) * self.column_ms));
                @let (top, bottom) = (y.at(f64::from(class + 1)), y.at(f64::from(class)));
                rect x=(unit(from)) y=(unit(top)) width=(unit((to - from - 0.4).max(0.6))) height=(unit((bottom - top - 0.4).max(0.6)))
                    fill-opacity=(format!("{:.2}", ink(times))) {
                    title {
                        (count(times, "command")) ", " (latency(class)) " to " (latency(class + 1)) " ms, " (units.counted) " "
                        (label(column * self.column_ms)) " to " (label((column + 1) * self.column_ms)) " ms"
                    }
                }
            }
            (plot.time_axis())
        };
        svg(id, HEIGHT, units.latency_over, description, &inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_falls_together_is_counted_in_one_cell() {
        let heat = Heat::of(6_000, 100, [(0, 14, 2), (99, 15, 1), (100, 15, 1), (5_999, 0, 1), (7, 9, 0)].into_iter());
        assert_eq!(heat.column_ms(), 100);
        let cells: Vec<_> = heat.cells.into_iter().collect();
        assert_eq!(cells, [((0, class(12)), 3), ((1, class(12)), 1), ((59, 0), 1)]);
    }

    #[test]
    fn a_million_commands_are_as_many_cells_as_a_screen_has() {
        let heat = Heat::of(30_000, 1, (0..1_000_000).map(|number| (number % 30_000, number % 5_000, 1)));
        assert!(heat.cells.len() <= 60 * 30, "{}", heat.cells.len());
        let drawn = heat.chart("heat", "", 30_000, &[], &super::super::plot::VIRTUAL).into_string();
        assert!(drawn.len() < 500_000, "{} bytes", drawn.len());
    }
}
