//! Where a value stands on an axis, and which values an axis names.

use crate::text::grouped;

/// A straight piece of an axis: values from `from` to `to` stand between `start` and `end`, in the drawing's units.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    from: f64,
    to: f64,
    start: f64,
    end: f64,
}

impl Scale {
    /// An axis without extent would divide by zero: it gets one of 1.
    pub(super) fn new(from: f64, to: f64, start: f64, end: f64) -> Self {
        Self { from, to: if to > from { to } else { from + 1.0 }, start, end }
    }

    /// Where `value` stands; what lies outside stands at the nearer end.
    pub(super) fn at(&self, value: f64) -> f64 {
        let share = ((value - self.from) / (self.to - self.from)).clamp(0.0, 1.0);
        self.start + share * (self.end - self.start)
    }
}

/// Round numbers from 0 to the first that is not below `max`, about `wanted` of them: steps of 1, 2 or 5 times a power of ten.
pub(super) fn ticks(max: u64, wanted: u64) -> Vec<u64> {
    let mut step: u64 = 1;
    let mut factors = [2, 5, 10].into_iter().cycle();
    let mut decade: u64 = 1;
    while max.div_ceil(step) > wanted.max(1) {
        let factor = factors.next().unwrap_or(10);
        step = decade.saturating_mul(factor);
        if factor == 10 {
            decade = step;
        }
        if step >= u64::MAX / 10 {
            break;
        }
    }
    (0..=max.div_ceil(step).max(1)).map(|number| number.saturating_mul(step)).collect()
}

/// The `index`-th edge of classes that widen with the value, two for each doubling: 0 1 2 3 4 6 8 12 16 24 ...
/// All edges are whole, as virtual milliseconds are.
pub(super) fn edge(index: u32) -> u64 {
    match index {
        0..=2 => u64::from(index),
        _ => {
            let (octave, half) = ((index - 2) / 2, (index - 2) % 2);
            let base = 1_u64.checked_shl(octave + 1).unwrap_or(u64::MAX);
            base.saturating_add(if half == 1 { base / 2 } else { 0 })
        }
    }
}

/// The class that `value` falls into: the last whose [`edge`] is not above it.
pub(super) fn class(value: u64) -> u32 {
    (0..120).take_while(|index| edge(*index) <= value).last().unwrap_or(0)
}

/// A coordinate as short as it can be: a tenth of a unit is finer than any screen.
pub(super) fn unit(value: f64) -> String {
    let text = format!("{value:.1}");
    match text.strip_suffix(".0") {
        Some("-0") => "0".to_owned(),
        Some(whole) => whole.to_owned(),
        None => text,
    }
}

/// Points as the `d` of a path.
pub(super) fn path(points: &[(f64, f64)]) -> String {
    let mut out = String::new();
    for (index, (x, y)) in points.iter().enumerate() {
        out.push(if index == 0 { 'M' } else { 'L' });
        out.extend([unit(*x).as_str(), " ", &unit(*y)]);
    }
    out
}

/// A value under an axis.
pub(super) fn label(value: u64) -> String {
    grouped(value)
}

/// A count as a coordinate. Above 2^53 neighbours fall together, far below what is seen.
#[expect(clippy::cast_precision_loss, reason = "a drawing needs no more than 53 bits")]
pub(super) fn float(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_reach_the_greatest_value() {
        assert_eq!(ticks(0, 5), [0, 1]);
        assert_eq!(ticks(7, 4), [0, 2, 4, 6, 8]);
        assert_eq!(ticks(2_345, 5), [0, 500, 1_000, 1_500, 2_000, 2_500]);
        assert_eq!(ticks(100, 4), [0, 50, 100]);
        for max in [1, 9, 10, 11, 999, 123_456_789, 1_000_000_000_000_000] {
            let ticks = ticks(max, 5);
            assert!(ticks.len() <= 7 && ticks.len() >= 2, "{max}: {ticks:?}");
        }
    }

    #[test]
    fn classes_meet_at_their_edges() {
        let edges: Vec<_> = (0..12).map(edge).collect();
        assert_eq!(edges, [0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48]);
        assert_eq!([0, 1, 2, 3, 5, 6, 7, 47, 48].map(class), [0, 1, 2, 3, 4, 5, 5, 10, 11]);
        for value in [0, 1, 5, 100, 3_600_000] {
            let class = class(value);
            assert!(edge(class) <= value && value < edge(class + 1), "{value}");
        }
    }

    #[test]
    fn coordinates_are_short_and_stay_on_their_axis() {
        let scale = Scale::new(0.0, 10.0, 100.0, 0.0);
        assert_eq!([0.0, 2.5, 99.0, -1.0].map(|value| unit(scale.at(value))), ["100", "75", "0", "100"]);
        assert_eq!(unit(Scale::new(5.0, 5.0, 0.0, 9.0).at(5.0)), "0");
        assert_eq!([unit(-0.04), unit(1.26)], ["0".to_owned(), "1.3".to_owned()]);
    }
}
