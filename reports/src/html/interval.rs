//! Shifts and their intervals one below the other: a dot where a shift is, a line as far as it may be, nothing in the middle.
//!
//! What lies right of nothing is slower, left of it faster; a line that crosses it may be either.

use maud::{Markup, html};

use super::plot::{ACCENT, FONT, RIGHT, svg};
use super::ranges::shortened;
use super::scale::{Scale, float, ticks, unit};
use crate::compare::text::{ms, signed};

const ROW: f64 = 22.0;
const HEAD: f64 = 30.0;
const FOOT: f64 = 36.0;
const FIELD: f64 = 132.0;
const NAME_MAX: usize = 21;

/// Rows that are drawn; the table has all.
pub(super) const ROWS_MAX: usize = 40;

/// One shift.
#[derive(Debug, Clone)]
pub(super) struct Interval {
    pub(super) name: String,
    /// Lower end, shift, upper end; absent where it can't be told.
    pub(super) at: Option<(f64, f64, f64)>,
    /// Whether it is what made the verdict worse.
    pub(super) bad: bool,
    /// For the hover.
    pub(super) told: String,
}

/// The chart; `tolerance` is a bound to be drawn. Values are of one unit, which `axis` names.
pub(super) fn chart(
    id: &str,
    title: &str,
    axis: &str,
    description: &str,
    rows: &[Interval],
    tolerance: Option<f64>,
) -> Markup {
    let rows = &rows[..rows.len().min(ROWS_MAX)];
    let bottom = HEAD + ROW * float(rows.len() as u64);
    let ends = || rows.iter().filter_map(|row| row.at).flat_map(|(low, _, high)| [low, high]).chain(tolerance);
    let (low, high) = (ends().fold(0.0, f64::min), ends().fold(0.0, f64::max));
    let values = around(low, high);
    let (first, last) = (values.first().copied().unwrap_or(-1.0), values.last().copied().unwrap_or(1.0));
    let x = Scale::new(first, last, FIELD, RIGHT - 8.0);
    let nothing = x.at(0.0);
    let inner = html! {
        text x=(unit(nothing - 6.0)) y="12" text-anchor="end" fill-opacity="0.75" { "\u{2190} faster" }
        text x=(unit(nothing + 6.0)) y="12" fill-opacity="0.75" { "slower \u{2192}" }
        @for value in &values {
            @let at = x.at(*value);
            line x1=(unit(at)) y1=(unit(HEAD - 10.0)) x2=(unit(at)) y2=(unit(bottom)) stroke="currentColor" stroke-opacity=(if *value == 0.0 { "0.6" } else { "0.12" }) {}
            text x=(unit(at)) y=(unit(bottom + 14.0)) text-anchor="middle" { (if *value == 0.0 { "0".to_owned() } else { tick(*value) }) }
        }
        @if let Some(bound) = tolerance {
            g class="band" stroke=(ACCENT) {
                title { "The tolerance: " (signed(bound)) " " (axis) }
                line x1=(unit(x.at(bound))) y1=(unit(HEAD - 10.0)) x2=(unit(x.at(bound))) y2=(unit(bottom)) stroke-width="1.2" stroke-dasharray="4 3" {}
            }
        }
        text x=(unit(RIGHT)) y=(unit(bottom + 28.0)) text-anchor="end" fill-opacity="0.75" { (axis) }
        @for (index, row) in rows.iter().enumerate() {
            @let y = HEAD + ROW * (float(index as u64) + 0.5);
            g class=[row.bad.then_some("band")] fill=(if row.bad { ACCENT } else { "currentColor" }) stroke=(if row.bad { ACCENT } else { "currentColor" }) {
                title { (row.name) ": " (row.told) }
                text x=(unit(FIELD - 10.0)) y=(unit(y + 3.5)) text-anchor="end" font-size=(FONT) stroke="none" { (shortened(&row.name.replace("->", "\u{2192}"), NAME_MAX)) }
                @match row.at {
                    Some((low, by, high)) => {
                        line x1=(unit(x.at(low))) y1=(unit(y)) x2=(unit(x.at(high))) y2=(unit(y)) stroke-width="1.8" {}
                        @for end in [low, high] { line x1=(unit(x.at(end))) y1=(unit(y - 4.0)) x2=(unit(x.at(end))) y2=(unit(y + 4.0)) {} }
                        circle cx=(unit(x.at(by))) cy=(unit(y)) r="3.2" stroke="none" {}
                    }
                    None => text x=(unit(nothing + 6.0)) y=(unit(y + 3.5)) fill-opacity="0.75" stroke="none" font-style="italic" { "not told" }
                }
            }
        }
    };
    svg(id, bottom + FOOT, title, description, &inner)
}

/// Round numbers from below `low` to above `high`, nothing among them.
fn around(low: f64, high: f64) -> Vec<f64> {
    /// Parts of a unit that an axis still tells apart.
    const PARTS: f64 = 1_000.0;
    let parts = |value: f64| (value.abs() * PARTS).ceil() as u64;
    let steps = ticks(parts(low).max(parts(high)), 4);
    let step = steps.get(1).copied().unwrap_or(1).max(1);
    let (below, above) = (parts(low).div_ceil(step), parts(high).div_ceil(step).max(1));
    let at = |number: u64| float(number * step) / PARTS;
    (1..=below).rev().map(|number| -at(number)).chain((0..=above).map(at)).collect()
}

/// A value under the axis: no more digits than it needs.
fn tick(value: f64) -> String {
    let text = signed(value);
    match text.split_once('.') {
        Some((whole, part)) if part.bytes().all(|digit| digit == b'0') => whole.to_owned(),
        // Two digits that stand for a thousandth would be a lie.
        Some(_) if value.abs() < 0.1 => format!("{value:+.3}"),
        _ if value.abs() >= 100.0 => format!("{}{}", if value < 0.0 { "-" } else { "+" }, ms(value.abs())),
        _ => text.trim_end_matches('0').to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_has_nothing_on_it_and_both_ends() {
        assert_eq!(around(0.0, 0.0), [0.0, 0.001]);
        assert_eq!(around(-3.0, 7.0), [-4.0, -2.0, 0.0, 2.0, 4.0, 6.0, 8.0]);
        assert_eq!(around(-0.2, 0.0), [-0.2, -0.15, -0.1, -0.05, 0.0, 0.05]);
        assert_eq!(around(0.0, 1_234.0).last(), Some(&1_500.0));
    }

    #[test]
    fn a_tick_says_no_more_than_it_is() {
        assert_eq!(
            [2.0, -0.5, 0.25, 0.005, 10.0, 1_500.0, -200.0].map(tick),
            ["+2", "-0.5", "+0.25", "+0.005", "+10", "+1,500", "-200"]
        );
    }
}
