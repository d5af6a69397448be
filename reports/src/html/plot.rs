//! What all charts share: their size, their frame, an axis of virtual or of wall time, and the faults' windows behind it.
//!
//! Every drawing is 368 units wide, which a phone shows as they are and a desk a little larger. Meaning is carried by attributes
//! alone, so that a page whose styles are blocked says the same; ink is the text's own colour, in light and dark. There is one
//! colour, and it means that something was made to go wrong, or did.

use maud::{Markup, html};

use super::scale::{Scale, float, label, ticks, unit};
use crate::wall::{WallUs, in_ms};

/// Width of every drawing.
pub(super) const WIDTH: f64 = 368.0;
/// Where the plotted field begins: left of it stand the numbers.
pub(super) const LEFT: f64 = 46.0;
/// Where it ends.
pub(super) const RIGHT: f64 = WIDTH - 12.0;
/// Above it stand the name of the numbers and the letters of the faults.
pub(super) const TOP: f64 = 32.0;
/// Below it stand the numbers and the axis' name.
const BOTTOM: f64 = 34.0;
/// Of the letters in drawings.
pub(super) const FONT: &str = "10.5";
/// The one colour: readable on white and on black. The style sheet has a better one for each.
pub(super) const ACCENT: &str = "#d14b28";
/// Windows that are drawn; the rest stand in the table of faults only.
pub(super) const BANDS_MAX: usize = 60;

/// Which time a chart is of: no chart has both.
pub(super) struct Units {
    /// Names the axis of time, whose values are milliseconds.
    time: &'static str,
    /// How it shows a value.
    time_label: fn(u64) -> String,
    /// Names the axis of latencies.
    pub(super) latency: &'static str,
    /// How it shows a value.
    pub(super) latency_label: fn(u64) -> String,
    /// Names a heat map of them.
    pub(super) latency_over: &'static str,
    /// By which of a command's times it stands in its column.
    pub(super) counted: &'static str,
}

/// Virtual time: latencies are whole milliseconds.
pub(super) const VIRTUAL: Units = Units {
    time: "virtual time, ms",
    time_label: label,
    latency: "virtual ms",
    latency_label: label,
    latency_over: "Latency over virtual time",
    counted: "ended at",
};

/// Wall time: latencies are microseconds, shown as milliseconds.
pub(super) const WALL: Units = Units {
    time: "wall time, s",
    time_label: |ms| {
        if ms.is_multiple_of(1000) { label(ms / 1000) } else { format!("{}.{}", ms / 1000, ms % 1000 / 100) }
    },
    latency: "wall ms",
    latency_label: |us| match us {
        0 => "0".to_owned(),
        us if us.is_multiple_of(1000) => label(us / 1000),
        us => in_ms(WallUs(us)),
    },
    latency_over: "Latency over wall time",
    counted: "meant to be sent at",
};

/// When a fault was on, in milliseconds of the chart's time.
#[derive(Debug, Clone)]
pub(super) struct Band {
    /// The letter under which the table of faults has it.
    pub(super) key: String,
    pub(super) from: u64,
    pub(super) to: u64,
    /// What it was, for the hover.
    pub(super) title: String,
}

/// The name under which the `index`-th fault stands in drawings and tables: A to Z, then AA and so on.
pub(super) fn key(index: usize) -> String {
    let letter = |number: usize| char::from(b'A' + u8::try_from(number % 26).unwrap_or(0));
    match index / 26 {
        0 => letter(index).to_string(),
        round => format!("{}{}", key(round - 1), letter(index)),
    }
}

/// A drawing that a screen reader names and describes.
pub(super) fn svg(id: &str, height: f64, title: &str, description: &str, inner: &Markup) -> Markup {
    let (title_id, description_id) = (format!("{id}-title"), format!("{id}-desc"));
    html! {
        svg xmlns="http://www.w3.org/2000/svg" viewBox={ "0 0 " (unit(WIDTH)) " " (unit(height)) } width=(unit(WIDTH)) height=(unit(height))
            role="img" aria-labelledby={ (title_id) " " (description_id) } fill="currentColor" font-family="sans-serif" font-size=(FONT) {
            title id=(title_id) { (title) }
            desc id=(description_id) { (description) }
            (inner)
        }
    }
}

/// The field of a chart over time.
pub(super) struct Plot {
    pub(super) x: Scale,
    pub(super) bottom: f64,
    x_ticks: Vec<u64>,
    until: u64,
    units: &'static Units,
}

impl Plot {
    /// A chart of this `height` over so many milliseconds of the time of `units`.
    pub(super) fn over(ms: u64, height: f64, units: &'static Units) -> Self {
        let until = ms.max(1);
        let x = Scale::new(0.0, float(until), LEFT, RIGHT);
        let x_ticks = ticks(until, 5).into_iter().filter(|tick| *tick <= until).collect();
        Self { x, bottom: height - BOTTOM, x_ticks, until, units }
    }

    /// The time axis, with its name.
    pub(super) fn time_axis(&self) -> Markup {
        let y = self.bottom;
        html! {
            line x1=(unit(LEFT)) y1=(unit(y)) x2=(unit(RIGHT)) y2=(unit(y)) stroke="currentColor" stroke-opacity="0.5" {}
            @for tick in &self.x_ticks {
                @let x = self.x.at(float(*tick));
                line x1=(unit(x)) y1=(unit(y)) x2=(unit(x)) y2=(unit(y + 3.0)) stroke="currentColor" stroke-opacity="0.5" {}
                text x=(unit(x)) y=(unit(y + 14.0)) text-anchor=(anchor(x)) { ((self.units.time_label)(*tick)) }
            }
            text x=(unit(RIGHT)) y=(unit(y + 28.0)) text-anchor="end" fill-opacity="0.75" { (self.units.time) }
        }
    }

    /// The faults' windows, to be drawn first: the rest lies over them.
    pub(super) fn bands(&self, bands: &[Band]) -> Markup {
        let mut free = f64::MIN;
        // Of letters that would cover each other the first is drawn; all have their hover.
        let keyed = bands.iter().take(BANDS_MAX).map(|band| {
            let (from, to) = (self.x.at(float(band.from)), self.x.at(float(band.to.min(self.until))));
            let shown = from >= free;
            if shown {
                free = from + 4.0 + 7.0 * float(band.key.len() as u64);
            }
            (band, from, (to - from).max(1.0), shown)
        });
        html! {
            @for (band, from, width, shown) in keyed {
                g class="band" fill=(ACCENT) {
                    title { (band.key) ": " (band.title) }
                    rect x=(unit(from)) y=(unit(TOP)) width=(unit(width)) height=(unit(self.bottom - TOP)) fill-opacity="0.14" {}
                    rect x=(unit(from)) y=(unit(TOP - 3.0)) width=(unit(width)) height="3" fill-opacity="0.8" {}
                    @if shown { text x=(unit(from)) y=(unit(TOP - 7.0)) class="key" { (band.key) } }
                }
            }
        }
    }
}

/// Numbers left of the field, with hairlines through it.
pub(super) fn value_axis(y: &Scale, values: &[u64], name: &str) -> Markup {
    labelled_axis(y, values, name, label)
}

/// The same, each number shown by `label`.
pub(super) fn labelled_axis(y: &Scale, values: &[u64], name: &str, label: fn(u64) -> String) -> Markup {
    html! {
        @for value in values {
            @let at = y.at(float(*value));
            line x1=(unit(LEFT)) y1=(unit(at)) x2=(unit(RIGHT)) y2=(unit(at)) stroke="currentColor" stroke-opacity="0.12" {}
            text x=(unit(LEFT - 6.0)) y=(unit(at + 3.5)) text-anchor="end" { (label(*value)) }
        }
        text x="0" y="10" fill-opacity="0.75" { (name) }
    }
}

/// A label at the drawing's right border would be cut if it stood in the middle.
fn anchor(x: f64) -> &'static str {
    if x > RIGHT - 14.0 { "end" } else { "middle" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_have_letters_without_end() {
        assert_eq!([0, 1, 25, 26, 27, 52, 701, 702].map(key), ["A", "B", "Z", "AA", "AB", "BA", "ZZ", "AAA"]);
    }
}
