//! A figure per interval of time, as steps over a pale area.

use maud::{Markup, html};

use super::plot::{Band, LEFT, Plot, TOP, Units, svg, value_axis};
use super::scale::{Scale, float, path, ticks, unit};

const HEIGHT: f64 = 150.0;

/// Steps drawn at most; more are put together, the greatest of each group standing for it. A phone has no more pixels.
const STEPS_MAX: usize = 320;

/// A figure that an interval has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    /// Begin of the interval, in milliseconds.
    pub(super) from: u64,
    /// Its end.
    pub(super) to: u64,
    pub(super) value: u64,
}

/// The chart. `steps` are in order and do not overlap; where there is none, nothing was measured.
pub(super) fn chart(
    id: &str,
    name: &str,
    description: &str,
    steps: &[Step],
    until: u64,
    bands: &[Band],
    units: &'static Units,
) -> Markup {
    let steps = fewer(steps);
    let plot = Plot::over(until, HEIGHT, units);
    let values = ticks(steps.iter().map(|step| step.value).max().unwrap_or(0), 3);
    let y = Scale::new(0.0, float(values.last().copied().unwrap_or(1)), plot.bottom, TOP);
    let mut line = Vec::new();
    for step in &steps {
        let height = y.at(float(step.value));
        line.extend([(plot.x.at(float(step.from)), height), (plot.x.at(float(step.to)), height)]);
    }
    let (first, last) = (line.first().map_or(LEFT, |(x, _)| *x), line.last().map_or(LEFT, |(x, _)| *x));
    let mut area = vec![(first, plot.bottom)];
    area.extend(&line);
    area.push((last, plot.bottom));
    let inner = html! {
        (plot.bands(bands))
        (value_axis(&y, &values, name))
        path d=(path(&area)) fill-opacity="0.12" {}
        path d=(path(&line)) fill="none" stroke="currentColor" stroke-width="1.2" stroke-linejoin="round" {}
        (plot.time_axis())
    };
    svg(id, HEIGHT, name, description, &inner)
}

/// Neighbours put together until there are few enough to draw.
fn fewer(steps: &[Step]) -> Vec<Step> {
    let group = steps.len().div_ceil(STEPS_MAX).max(1);
    let together = |steps: &[Step]| {
        let (first, last) = (steps.first()?, steps.last()?);
        Some(Step { from: first.from, to: last.to, value: steps.iter().map(|step| step.value).max()? })
    };
    steps.chunks(group).filter_map(together).collect()
}

/// A row of small bars, one per entry, no axis: the numbers stand beside them.
pub(super) fn bar(value: u64, max: u64, accent: bool) -> Markup {
    let width = Scale::new(0.0, float(max.max(1)), 0.0, 120.0).at(float(value));
    // What is not zero shows.
    let width = if value > 0 { width.max(1.0) } else { 0.0 };
    html! {
        svg width="120" height="10" viewBox="0 0 120 10" aria-hidden="true" fill=(if accent { super::plot::ACCENT } else { "currentColor" })
            class=[accent.then_some("accent")] {
            rect x="0" y="1" width=(unit(width)) height="8" fill-opacity=(if accent { "1" } else { "0.55" }) {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_steps_become_few_and_no_peak_is_lost() {
        let steps: Vec<_> =
            (0..10_000).map(|at| Step { from: at, to: at + 1, value: u64::from(at == 5_003) * 9 }).collect();
        let drawn = fewer(&steps);
        assert!(drawn.len() <= STEPS_MAX, "{}", drawn.len());
        assert_eq!(drawn.iter().map(|step| step.value).max(), Some(9));
        assert_eq!((drawn[0].from, drawn[drawn.len() - 1].to), (0, 10_000));
        assert_eq!(fewer(&[]), []);
    }
}
