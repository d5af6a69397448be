//! The space-time diagram: a lane for each host, time going down, an arrow for each message.
//!
//! One row for each event, not for each millisecond: what matters lies close together or far apart in time, and what people
//! ask is what came before what. The time of each stands at its row; where time was skipped, a gap is drawn. Rows have the
//! height of the lines in the list beside it, so that on a desk each event and its words stand on one line.

use maud::{Markup, html};

use super::plot::{ACCENT, WIDTH, svg};
use super::ranges::shortened;
use super::scale::{float, unit};
use crate::text::grouped;

/// Height of a row, and of a line in the list beside it.
pub(super) const ROW: f64 = 24.0;
/// Above the first row stand the hosts.
pub(super) const HEAD: f64 = 72.0;
/// Left of the lanes stand the times.
const GUTTER: f64 = 58.0;
/// Lanes that are drawn; more would not fit on a phone.
pub(super) const LANES_MAX: usize = 12;

/// What a row shows on its lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    /// Something happened.
    Event,
    /// A fault began or ended.
    Fault,
    /// A host died.
    Crash,
    /// Two facts that do not go together: one of them.
    Conflict,
}

/// One event.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) at_ms: u64,
    /// Number of its lane; `None` for what concerns no single host.
    pub(super) lane: Option<usize>,
    pub(super) sign: Sign,
    pub(super) text: String,
    /// How many events between the row above and this one are left out.
    pub(super) left_out: u64,
}

/// Where a message ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// At this row.
    Row(usize),
    /// Nowhere: it was on its way to this lane.
    Lost(usize),
}

/// One message.
#[derive(Debug, Clone)]
pub(super) struct Arrow {
    /// Row in which it was sent.
    pub(super) from: usize,
    pub(super) end: End,
    /// What it was, for the hover.
    pub(super) title: String,
}

/// A fault's window: some lanes, from one row to another.
#[derive(Debug, Clone)]
pub(super) struct Window {
    pub(super) key: String,
    pub(super) lanes: Vec<usize>,
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) title: String,
}

/// All that is drawn.
#[derive(Debug, Clone, Default)]
pub(super) struct Diagram {
    pub(super) lanes: Vec<String>,
    pub(super) rows: Vec<Row>,
    pub(super) arrows: Vec<Arrow>,
    pub(super) windows: Vec<Window>,
}

impl Diagram {
    pub(super) fn draw(&self, id: &str, description: &str) -> Markup {
        let height = HEAD + ROW * float(self.rows.len() as u64) + 8.0;
        let lanes = || 0..self.lanes.len();
        let inner = html! {
            @for lane in lanes() {
                @let x = self.x(lane);
                line x1=(unit(x)) y1=(unit(HEAD - 6.0)) x2=(unit(x)) y2=(unit(height)) stroke="currentColor" stroke-opacity="0.3" {}
                text x=(unit(x)) y=(unit(HEAD - 12.0)) transform={ "rotate(-42 " (unit(x)) " " (unit(HEAD - 12.0)) ")" } {
                    title { (self.lanes[lane]) }
                    (shortened(&self.lanes[lane], 13))
                }
            }
            @for window in &self.windows { (self.window(window)) }
            @for (index, row) in self.rows.iter().enumerate() {
                @if row.left_out > 0 && index > 0 { (self.gap(index, row.left_out)) }
                @if index == 0 || self.rows[index - 1].at_ms != row.at_ms {
                    text x=(unit(GUTTER - 16.0)) y=(unit(y(index) + 3.5)) text-anchor="end" fill-opacity="0.75" { (grouped(row.at_ms)) }
                }
            }
            @for arrow in &self.arrows { (self.arrow(arrow)) }
            @for (index, row) in self.rows.iter().enumerate() { (self.sign(index, row)) }
            text x=(unit(GUTTER - 16.0)) y=(unit(HEAD - 12.0)) text-anchor="end" fill-opacity="0.75" { "ms" }
        };
        svg(id, height, "Space-time diagram", description, &inner)
    }

    fn x(&self, lane: usize) -> f64 {
        // The last lane's name leans to the right: room is left for it.
        let spacing = (WIDTH - GUTTER - 44.0) / float(self.lanes.len().saturating_sub(1).max(1) as u64);
        GUTTER + 6.0 + spacing.min(72.0) * float(lane as u64)
    }

    fn window(&self, window: &Window) -> Markup {
        let (top, bottom) = (y(window.from) - ROW * 0.4, y(window.to) + ROW * 0.4);
        html! {
            g class="band" fill=(ACCENT) {
                title { (window.key) ": " (window.title) }
                @for lane in &window.lanes {
                    rect x=(unit(self.x(*lane) - 9.0)) y=(unit(top)) width="18" height=(unit(bottom - top)) rx="2" fill-opacity="0.14" {}
                }
                @if let (Some(first), Some(last)) = (window.lanes.iter().min(), window.lanes.iter().max()) {
                    rect x=(unit(self.x(*first) - 9.0)) y=(unit(top)) width=(unit(self.x(*last) - self.x(*first) + 18.0)) height="2.5" fill-opacity="0.8" {}
                    text x=(unit(self.x(*first) - 12.0)) y=(unit(top + 8.0)) text-anchor="end" class="key" { (window.key) }
                }
            }
        }
    }

    /// A break across the lanes where events are left out.
    fn gap(&self, row: usize, left_out: u64) -> Markup {
        let at = y(row) - ROW / 2.0;
        let (from, to) = (self.x(0) - 4.0, self.x(self.lanes.len().saturating_sub(1)) + 4.0);
        html! {
            line x1=(unit(from)) y1=(unit(at)) x2=(unit(to)) y2=(unit(at)) stroke="currentColor" stroke-opacity="0.45" stroke-dasharray="1 4" {
                title { (grouped(left_out)) " events left out" }
            }
        }
    }

    fn arrow(&self, arrow: &Arrow) -> Markup {
        let Some(from_lane) = self.rows.get(arrow.from).and_then(|row| row.lane) else { return html! {} };
        let (x1, y1) = (self.x(from_lane), y(arrow.from));
        let (x2, y2, lost) = match arrow.end {
            End::Row(row) => match self.rows.get(row).and_then(|row| row.lane) {
                Some(lane) => (self.x(lane), y(row), false),
                None => return html! {},
            },
            // It ends on its way, most of it behind it.
            End::Lost(lane) => (x1 + (self.x(lane) - x1) * 0.7, y1 + ROW * 0.7, true),
        };
        let length = (x2 - x1).hypot(y2 - y1).max(1.0);
        let (dx, dy) = ((x2 - x1) / length, (y2 - y1) / length);
        // The head touches the sign it points at.
        let tip = |back: f64, side: f64| (x2 - dx * (back + 4.0) - dy * side, y2 - dy * (back + 4.0) + dx * side);
        let point = |(x, y): (f64, f64)| format!("{} {}", unit(x), unit(y));
        html! {
            g class=[lost.then_some("band")] stroke=(if lost { ACCENT } else { "currentColor" }) {
                title { (arrow.title) @if lost { " (lost)" } }
                line x1=(unit(x1)) y1=(unit(y1)) x2=(unit(x2)) y2=(unit(y2)) stroke-width="1.2" stroke-opacity=(if lost { "1" } else { "0.7" }) {}
                // Wider and unseen: so that a hand finds it.
                line x1=(unit(x1)) y1=(unit(y1)) x2=(unit(x2)) y2=(unit(y2)) stroke-width="9" stroke-opacity="0" {}
                @if lost {
                    path d={ "M" (point((x2 - 4.0, y2 - 4.0))) "L" (point((x2 + 4.0, y2 + 4.0))) "M" (point((x2 - 4.0, y2 + 4.0))) "L" (point((x2 + 4.0, y2 - 4.0))) }
                        stroke-width="1.8" {}
                } @else {
                    path d={ "M" (point(tip(0.0, 0.0))) "L" (point(tip(6.5, 3.0))) "L" (point(tip(6.5, -3.0))) "Z" } stroke="none" fill-opacity="0.8" {}
                }
            }
        }
    }

    fn sign(&self, index: usize, row: &Row) -> Markup {
        let y = y(index);
        let Some(lane) = row.lane else {
            let (from, to) = (self.x(0) - 6.0, self.x(self.lanes.len().saturating_sub(1)) + 6.0);
            let accent = row.sign != Sign::Event;
            return html! {
                line x1=(unit(from)) y1=(unit(y)) x2=(unit(to)) y2=(unit(y)) stroke=(if accent { ACCENT } else { "currentColor" })
                    class=[accent.then_some("band")] stroke-width="1" stroke-opacity="0.8" {
                    title { (row.text) }
                }
            };
        };
        let x = self.x(lane);
        html! {
            g {
                title { (grouped(row.at_ms)) " ms, " (self.lanes.get(lane).map_or("", String::as_str)) ": " (row.text) }
                @match row.sign {
                    Sign::Event => circle cx=(unit(x)) cy=(unit(y)) r="3.2" {},
                    Sign::Fault => rect class="band" fill=(ACCENT) x=(unit(x - 3.2)) y=(unit(y - 3.2)) width="6.4" height="6.4" {},
                    Sign::Crash => path class="band" d={ "M" (unit(x - 5.5)) " " (unit(y - 5.5)) "l11 11m0 -11l-11 11" } stroke=(ACCENT) stroke-width="2.8" fill="none" {},
                    Sign::Conflict => {
                        circle class="band" cx=(unit(x)) cy=(unit(y)) r="7.5" fill="none" stroke=(ACCENT) stroke-width="2" {}
                        circle class="band" cx=(unit(x)) cy=(unit(y)) r="3.6" fill=(ACCENT) {}
                    },
                }
            }
        }
    }
}

fn y(row: usize) -> f64 {
    HEAD + ROW * (float(row as u64) + 0.5)
}
