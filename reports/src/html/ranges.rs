//! Distributions one below the other on one axis: a dot at the median, a line to the 99th percentile, a tick at the greatest.

use maud::{Markup, html};

use super::plot::{FONT, RIGHT, WIDTH, svg};
use super::scale::{Scale, float, label, ticks, unit};
use crate::latency::VirtualPercentiles;
use crate::text::count;
use crate::time::VirtualMs;

const ROW: f64 = 20.0;
const HEAD: f64 = 20.0;
const FOOT: f64 = 36.0;
/// Where the axis begins: left of it stand the names.
const FIELD: f64 = 132.0;
/// Letters of a name that fit before it.
const NAME_MAX: usize = 21;

/// Rows that are drawn; the table has all.
pub(super) const ROWS_MAX: usize = 40;

/// The chart of `rows`: a name and its figures. Those without a sample have a row and no dot.
pub(super) fn chart(id: &str, title: &str, description: &str, rows: &[(&str, VirtualPercentiles)]) -> Markup {
    let rows = &rows[..rows.len().min(ROWS_MAX)];
    let bottom = HEAD + ROW * float(rows.len() as u64);
    let most = rows.iter().filter_map(|(_, figures)| figures.max).max().map_or(0, |max| max.0);
    let values = ticks(most, 4);
    let x = Scale::new(0.0, float(values.last().copied().unwrap_or(1)), FIELD, RIGHT - 4.0);
    let inner = html! {
        @for value in &values {
            @let at = x.at(float(*value));
            line x1=(unit(at)) y1=(unit(HEAD - 6.0)) x2=(unit(at)) y2=(unit(bottom)) stroke="currentColor" stroke-opacity="0.12" {}
            text x=(unit(at)) y=(unit(bottom + 14.0)) text-anchor=(if at > WIDTH - 30.0 { "end" } else { "middle" }) { (label(*value)) }
        }
        text x=(unit(RIGHT)) y=(unit(bottom + 28.0)) text-anchor="end" fill-opacity="0.75" { "latency, virtual ms" }
        @for (index, (name, figures)) in rows.iter().enumerate() {
            @let y = HEAD + ROW * (float(index as u64) + 0.5);
            g {
                title { (name) ": " (told(figures)) }
                text x=(unit(FIELD - 10.0)) y=(unit(y + 3.5)) text-anchor="end" font-size=(FONT) { (shortened(&name.replace("->", "\u{2192}"), NAME_MAX)) }
                @let at = |ms: Option<VirtualMs>| ms.map(|ms| x.at(float(ms.0)));
                @if let (Some(low), Some(max)) = (at(figures.p50.or(figures.min)), at(figures.max)) {
                    @let high = at(figures.p99.or(figures.p90)).unwrap_or(low);
                    line x1=(unit(low)) y1=(unit(y)) x2=(unit(high)) y2=(unit(y)) stroke="currentColor" stroke-width="1.6" stroke-opacity="0.6" {}
                    line x1=(unit(high)) y1=(unit(y)) x2=(unit(max)) y2=(unit(y)) stroke="currentColor" stroke-opacity="0.45" stroke-dasharray="1.5 2.5" {}
                    line x1=(unit(max)) y1=(unit(y - 4.0)) x2=(unit(max)) y2=(unit(y + 4.0)) stroke="currentColor" stroke-opacity="0.75" {}
                }
                @if let Some(p50) = at(figures.p50) { circle cx=(unit(p50)) cy=(unit(y)) r="3.2" {} }
            }
        }
    };
    svg(id, bottom + FOOT, title, description, &inner)
}

fn told(figures: &VirtualPercentiles) -> String {
    let mut told = count(figures.count, "command");
    let known = [
        ("half within", figures.p50),
        ("9 in 10 within", figures.p90),
        ("99 in 100 within", figures.p99),
        ("the slowest", figures.max),
    ];
    for (what, ms) in known {
        if let Some(ms) = ms {
            told.push_str(&format!(", {what} {ms}"));
        }
    }
    told
}

/// `text` with at most `most` letters; what is cut is marked.
pub(super) fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(most.saturating_sub(1)).collect();
    short.push('\u{2026}');
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_cut_between_letters() {
        assert_eq!(shortened("acme", 4), "acme");
        assert_eq!(shortened("grüße-an-alle", 5), "grüß\u{2026}");
    }
}
