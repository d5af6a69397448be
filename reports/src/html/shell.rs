//! The page around the content, and its recurring parts.
//!
//! A page loads nothing and runs nothing, and says so to the browser: its own policy forbids all but the style sheet inside
//! it. Were a violation's words ever taken for markup, they could still do nothing.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::plot::{BANDS_MAX, Band};
use crate::text::grouped;

const STYLE: &str = include_str!("style.css");

/// What a page may load: nothing. Its style sheet stands inside it.
pub const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// A whole page.
pub(super) fn page(title: &str, content: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="referrer" content="no-referrer";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body { (content) }
        }
    };
    page.into_string() + "\n"
}

/// A chart: what it shows, the drawing, and its numbers as a table.
pub(super) fn figure(title: &str, caption: &str, drawing: &Markup, numbers: &Markup) -> Markup {
    html! {
        figure {
            figcaption { h3 { (title) } (caption) }
            (drawing)
            details { summary { "The numbers" } (numbers) }
        }
    }
}

/// A chart that has nothing to show says why, in place of itself.
pub(super) fn absent(title: &str, why: &str) -> Markup {
    html! { figure { figcaption { h3 { (title) } (why) } } }
}

/// A section with its heading.
pub(super) fn section(id: &str, title: &str, content: &Markup) -> Markup {
    html! { section id=(id) aria-labelledby={ (id) "-h" } { h2 id={ (id) "-h" } { (title) } (content) } }
}

/// A cell of a table.
pub(super) enum Cell {
    /// Words stand left.
    Words(Markup),
    /// Numbers stand right.
    Number(u64),
    /// A figure that is no whole number stands right as well.
    Figure(String),
    /// A number that nobody has: a percentile of nothing.
    None,
}

/// Words as a cell.
pub(super) fn words(text: impl AsRef<str>) -> Cell {
    Cell::Words(html! { (text.as_ref()) })
}

/// Rows that a table shows at most; more are counted. Half a megabyte of rows is no table.
pub(super) const ROWS_MAX: usize = 1_000;

/// A table that scrolls by itself where it is too wide for the page. The first cell of a row names it.
pub(super) fn table(name: &str, head: &[&str], rows: &[Vec<Cell>]) -> Markup {
    let left_out = rows.len().saturating_sub(ROWS_MAX);
    let worded = |column: usize| rows.iter().any(|row| matches!(row.get(column), Some(Cell::Words(_))));
    html! {
        div class="scroll" role="region" aria-label=(name) tabindex="0" {
            table {
                @if head.iter().any(|title| !title.is_empty()) {
                thead { tr {
                    @for (column, title) in head.iter().enumerate() {
                        th scope="col" align=(if worded(column) { "left" } else { "right" }) class=[worded(column).then_some("w")] { (title) }
                    }
                } }
                }
                tbody {
                    @for row in rows.iter().take(ROWS_MAX) { tr {
                        @for (column, cell) in row.iter().enumerate() { (shown(cell, column == 0)) }
                    } }
                }
            }
        }
        @if left_out > 0 { p class="soft" { (grouped(left_out as u64)) " more rows are left out." } }
    }
}

fn shown(cell: &Cell, heads: bool) -> Markup {
    match (cell, heads) {
        (Cell::Words(words), true) => html! { th scope="row" align="left" class="w" { (words) } },
        (Cell::Words(words), false) => html! { td class="w" { (words) } },
        (Cell::Number(number), true) => html! { th scope="row" align="right" { (grouped(*number)) } },
        (Cell::Number(number), false) => html! { td align="right" { (grouped(*number)) } },
        (Cell::Figure(figure), _) => html! { td align="right" { (figure) } },
        (Cell::None, _) => html! { td align="right" { "\u{2013}" } },
    }
}

/// A command to be copied.
pub(super) fn command(line: &str) -> Markup {
    html! { pre { code { (line) } } }
}

/// How many windows are not drawn, as the end of a caption.
pub(super) fn undrawn(bands: &[Band]) -> String {
    match bands.len().saturating_sub(BANDS_MAX) {
        0 => String::new(),
        more => format!(" The windows of {} more faults are not drawn.", grouped(more as u64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_words_stay_words() {
        let hostile = r#"</title><script>alert(1)</script>"'><img src=x onerror=alert(1)>"#;
        let cells = vec![vec![words(hostile), Cell::Number(1)]];
        let content = html! { (table(hostile, &[hostile], &cells)) (command(hostile)) (absent(hostile, hostile)) };
        let page = page(hostile, &content);
        assert!(!page.contains("<script") && !page.contains("<img"), "{page}");
        assert!(page.contains("&lt;script&gt;"), "{page}");
    }

    #[test]
    fn a_table_has_a_limit_and_says_so() {
        let rows: Vec<_> = (0..ROWS_MAX as u64 + 5).map(|number| vec![Cell::Number(number)]).collect();
        let table = table("numbers", &["number"], &rows).into_string();
        assert_eq!(table.matches("<tr>").count(), ROWS_MAX + 1);
        assert!(table.contains("5 more rows are left out."), "{table}");
    }
}
