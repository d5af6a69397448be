//! The percentile spectrum: how long all but one in ten, in a hundred, in a thousand waited.
//!
//! The axis is that of HdrHistogram: each step to the right has a tenth of the commands left, so the tail has the room that
//! an average denies it. It ends at the percentile that the samples still support: of 200 commands nobody knows the 99.9th.

use maud::{Markup, html};

use super::plot::{LEFT, RIGHT, TOP, Units, WIDTH, labelled_axis, svg};
use super::scale::{Scale, float, path, ticks, unit};
use crate::latency::samples_needed;
use crate::text::grouped;

const HEIGHT: f64 = 230.0;
const BOTTOM: f64 = 34.0;

/// Points of a line at most: one for each pixel of a phone's screen.
const POINTS_MAX: usize = 300;

/// Lines beside the first.
pub(super) const LINES_MAX: usize = 12;

/// One distribution, as a line.
#[derive(Debug, Clone)]
pub(super) struct Line {
    /// Whose it is, for the hover and the letter at its end.
    pub(super) name: String,
    /// Latencies in the unit of the chart, ascending, each with how often it was measured.
    pub(super) counts: Vec<(u64, u64)>,
}

/// Percentiles that the axis names, with the share that is above: one in so many.
const NAMED: [(&str, u64); 7] = [
    ("50", 2),
    ("90", 10),
    ("99", 100),
    ("99.9", 1_000),
    ("99.99", 10_000),
    ("99.999", 100_000),
    ("99.9999", 1_000_000),
];

impl Line {
    fn total(&self) -> u64 {
        self.counts.iter().map(|(_, times)| times).sum()
    }

    /// The steps of the line as (one in so many is above, ms): each latency from the share below it to the share up to it.
    fn steps(&self) -> Vec<(f64, u64)> {
        let total = float(self.total());
        let (mut below, mut steps) = (0_u64, Vec::new());
        for &(ms, times) in &self.counts {
            let one_in = |below: u64| total / (total - float(below)).max(1.0);
            steps.push((one_in(below), ms));
            below += times;
            steps.push((one_in(below), ms));
        }
        let group = steps.len().div_ceil(POINTS_MAX).max(1);
        let last = steps.len().saturating_sub(1);
        let kept = |(index, step): (usize, (f64, u64))| (index % group == 0 || index == last).then_some(step);
        steps.into_iter().enumerate().filter_map(kept).collect()
    }
}

/// The last percentile that so many samples support, by [`samples_needed`]; `None` if not even the median.
pub(super) fn supported(samples: u64) -> Option<&'static str> {
    let enough = |one_in: u64| samples >= samples_needed(1.0 - 1.0 / float(one_in));
    NAMED.iter().rev().find(|(_, one_in)| enough(*one_in)).map(|(name, _)| *name)
}

/// The chart; the first line is the one that matters.
pub(super) fn chart(id: &str, description: &str, lines: &[Line], units: &'static Units) -> Markup {
    let bottom = HEIGHT - BOTTOM;
    let most = lines.iter().map(Line::total).max().unwrap_or(0);
    let x = Scale::new(0.0, float(most.max(10)).log10(), LEFT, RIGHT);
    let slowest = lines.iter().filter_map(|line| line.counts.last()).map(|(ms, _)| *ms).max().unwrap_or(0);
    let values = ticks(slowest, 5);
    let y = Scale::new(0.0, float(values.last().copied().unwrap_or(1)), bottom, TOP);
    let drawn = |line: &Line| {
        let points: Vec<_> =
            line.steps().into_iter().map(|(one_in, ms)| (x.at(one_in.log10()), y.at(float(ms)))).collect();
        path(&points)
    };
    let inner = html! {
        (labelled_axis(&y, &values, &format!("latency at most, {}", units.latency), units.latency_label))
        line x1=(unit(LEFT)) y1=(unit(bottom)) x2=(unit(RIGHT)) y2=(unit(bottom)) stroke="currentColor" stroke-opacity="0.5" {}
        @for (name, one_in) in NAMED.iter().filter(|(_, one_in)| *one_in <= most) {
            @let at = x.at(float(*one_in).log10());
            line x1=(unit(at)) y1=(unit(TOP)) x2=(unit(at)) y2=(unit(bottom + 3.0)) stroke="currentColor" stroke-opacity="0.12" {}
            text x=(unit(at)) y=(unit(bottom + 14.0)) text-anchor=(if at > WIDTH - 40.0 { "end" } else { "middle" }) { (name) }
        }
        text x=(unit(RIGHT)) y=(unit(bottom + 28.0)) text-anchor="end" fill-opacity="0.75" {
            "% of " (grouped(most)) " commands; each step right leaves a tenth"
        }
        @for line in lines.iter().skip(1).take(LINES_MAX) {
            path d=(drawn(line)) fill="none" stroke="currentColor" stroke-opacity="0.35" stroke-width="1" {
                title { (line.name) ", " (grouped(line.total())) " commands" }
            }
        }
        @if let Some(line) = lines.first() {
            path d=(drawn(line)) fill="none" stroke="currentColor" stroke-width="1.8" stroke-linejoin="round" {
                title { (line.name) ", " (grouped(line.total())) " commands" }
            }
        }
    };
    svg(id, HEIGHT, "Percentile spectrum of the latency", description, &inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_needs_samples_above_it() {
        let told = [0, 5, 6, 30, 299, 300, 3_000].map(supported);
        assert_eq!(told, [None, None, Some("50"), Some("90"), Some("90"), Some("99"), Some("99.9")]);
    }

    #[test]
    fn a_line_climbs_at_the_share_of_commands_below_it() {
        let line = Line { name: "all".into(), counts: vec![(4, 90), (9, 9), (70, 1)] };
        let told: Vec<String> = line.steps().iter().map(|(one_in, ms)| format!("{one_in:.1} {ms}")).collect();
        assert_eq!(told, ["1.0 4", "10.0 4", "10.0 9", "100.0 9", "100.0 70", "100.0 70"]);
    }
}
