//! The page of a comparison: the verdict, what decides it, who is judged otherwise, and every figure's shift.
//!
//! All times on a page are of one clock: `L` is the type of them all.

use maud::{Markup, html};

use super::figures;
use super::interval::{self, Interval};
use super::reproduced::build_rows;
use super::shell::{Cell, absent, command, figure, page, section, table, words};
use crate::compare::text::{headline, interval as told, legend, ms, says, shift, side};
use crate::compare::{
    Changed, CompareVerdict, Compared, Comparison, Length, Row, SURE_PERCENT, ScenarioComparison, stage_words,
};
use crate::text::{count, grouped};

/// Runs judged otherwise that are listed; the rest are counted.
const CHANGED_MAX: usize = 200;

/// The page.
pub fn render(compared: &Compared) -> String {
    match compared {
        Compared::Virtual(of) => rendered(of),
        Compared::Wall(of) => rendered(of),
    }
}

fn rendered<L: Length>(of: &Comparison<L>) -> String {
    let pairs: u64 = of.scenarios.iter().map(|scenario| scenario.pairs).sum();
    let same: u64 = of.scenarios.iter().map(|scenario| scenario.same).sum();
    let bad = of.scenarios.iter().flat_map(|scenario| &scenario.changed).find(|pair| pair.new > pair.base);
    let content = html! {
        header {
            p class="eyebrow" { "Tenantry \u{b7} comparison of " (count(of.scenarios.len() as u64, "scenario")) ", " (count(pairs, "pair")) " of " (L::RUN) "s" }
            h1 { (headline(of)) }
            @if of.scenarios.len() == 1 { @for scenario in &of.scenarios { p { (scenario.reason) } } }
            p { "Base: " (side(&of.base)) "." br; "New: " (side(&of.new)) "." }
            @for note in &of.notes { p { (note) } }
            @if let Some(pair) = bad {
                p { "See the first run that got worse again, to the last event, with" }
                (command(&pair.reproduce))
            }
            (figures(&[
                ("pairs compared", grouped(pairs)),
                ("the same to the last event", grouped(same)),
                ("judged otherwise", grouped(of.scenarios.iter().map(|scenario| scenario.changed.len() as u64).sum())),
                ("the gate", of.method.gate.to_string()),
                ("tolerance", format!("{} %", of.method.tolerance_percent)),
            ]))
        }
        main {
            (section("decides", "What decides", &decides(of)))
            (section("judged", "Runs judged otherwise", &judged(of)))
            (section("shifts", "What shifted", &shifted(of)))
            (section("commands", "How commands ended", &commands(of)))
            (section("build", "Builds and method", &builds(of)))
        }
    };
    page(&format!("Tenantry comparison: {}", of.verdict), &content)
}

fn is_bad(verdict: CompareVerdict) -> bool {
    verdict >= CompareVerdict::Regression
}

/// The gate of every scenario, in percent of its base.
fn decides<L: Length>(of: &Comparison<L>) -> Markup {
    let method = &of.method;
    let gate = |scenario: &'_ ScenarioComparison<L>| scenario.latency.iter().find(|row| row.gate).cloned();
    let drawn: Vec<Interval> = of
        .scenarios
        .iter()
        .filter(|scenario| scenario.verdict != CompareVerdict::Same)
        .map(|scenario| {
            let shift = gate(scenario).and_then(|row| row.shift);
            let at = shift.and_then(|shift| Some((shift.low_percent?, shift.by_percent?, shift.high_percent?)));
            Interval {
                name: scenario.scenario.clone(),
                at,
                bad: is_bad(scenario.verdict),
                told: scenario.reason.clone(),
            }
        })
        .collect();
    let rows: Vec<_> = of
        .scenarios
        .iter()
        .map(|scenario| {
            let row = gate(scenario);
            let figure = |value: Option<L>| value.map_or(Cell::None, |value| Cell::Figure(ms(value.ms())));
            let shifted = row.as_ref().and_then(|row| row.shift.as_ref());
            let verdict = match is_bad(scenario.verdict) {
                true => html! { span class="bad" { (scenario.verdict) } },
                false => html! { (scenario.verdict) },
            };
            vec![
                words(&scenario.scenario),
                Cell::Number(scenario.pairs),
                figure(row.as_ref().and_then(|row| row.base_ms)),
                figure(row.as_ref().and_then(|row| row.new_ms)),
                shifted.map_or(Cell::None, |of| Cell::Figure(shift::<L>(of))),
                shifted.map_or(Cell::None, |of| Cell::Figure(told(of))),
                Cell::Words(verdict),
                words(&scenario.reason),
            ]
        })
        .collect();
    let together = if of.scenarios.len() > 1 { ", all of them together" } else { "" };
    let caption = format!(
        "The {} of the whole way in each scenario: how far it shifted, in percent of the base's, and between what and what that \
         lies, {SURE_PERCENT} % sure{together}. Dashed: the tolerance of {} %.",
        method.gate, method.tolerance_percent
    );
    let head = ["scenario", "pairs", "base ms", "new ms", "shift", "interval", "verdict", "why"];
    let numbers = table("Gates", &head, &rows);
    html! {
        p { (L::SAYS) }
        @if drawn.is_empty() { p { "Nothing: every pair is the same." } }
        @else {
            @let drawing = interval::chart("gates", "Shift of the gates", "shift, % of base", &caption, &drawn, Some(method.tolerance_percent));
            (figure(&format!("Shift of {}", method.gate), &caption, &drawing, &numbers))
        }
    }
}

fn judged<L: Length>(of: &Comparison<L>) -> Markup {
    let all: Vec<(&str, &Changed)> = of
        .scenarios
        .iter()
        .flat_map(|scenario| scenario.changed.iter().map(|pair| (scenario.scenario.as_str(), pair)))
        .collect();
    if all.is_empty() {
        return html! { p { "None: every pair's runs are judged alike." } };
    }
    let rows: Vec<_> = all
        .iter()
        .take(CHANGED_MAX)
        .map(|(scenario, pair)| {
            let new = match pair.new > pair.base {
                true => html! { span class="bad" { (pair.new) } },
                false => html! { (pair.new) },
            };
            let run = html! { code { (pair.reproduce) } };
            let violated = pair.violated.join(", ");
            vec![
                words(scenario),
                Cell::Number(pair.seed),
                words(pair.base.to_string()),
                Cell::Words(new),
                words(violated),
                Cell::Words(run),
            ]
        })
        .collect();
    let untold = all.len().saturating_sub(CHANGED_MAX) as u64;
    html! {
        (table("Runs judged otherwise", &["scenario", L::RUN, "base", "new", "violated", "the new one again"], &rows))
        @if untold > 0 { p class="soft" { (grouped(untold)) " more are not listed." } }
    }
}

fn shifted<L: Length>(of: &Comparison<L>) -> Markup {
    let (same, mut others): (Vec<_>, Vec<_>) =
        of.scenarios.iter().partition(|scenario| scenario.verdict == CompareVerdict::Same);
    others.sort_by_key(|scenario| std::cmp::Reverse(scenario.verdict));
    html! {
        p { (legend(of)) }
        @if !others.is_empty() {
            div class="charts" { @for (index, scenario) in others.iter().enumerate() { (figures_of(scenario, index)) } }
        }
        @if !same.is_empty() {
            @let names: Vec<&str> = same.iter().map(|scenario| scenario.scenario.as_str()).collect();
            p { "The same to the last event: " (names.join(", ")) "." }
        }
    }
}

fn figures_of<L: Length>(scenario: &ScenarioComparison<L>, index: usize) -> Markup {
    let name = |row: &Row<L>| format!("{} {}", stage_words(&row.stage), row.percentile);
    let drawn: Vec<Interval> = scenario
        .latency
        .iter()
        .filter_map(|row| {
            let shift = row.shift.as_ref()?;
            let at = Some((shift.low_ms.ms(), shift.by_ms.ms(), shift.high_ms.ms()));
            Some(Interval {
                name: name(row),
                at,
                bad: row.gate && scenario.verdict == CompareVerdict::Regression,
                told: says(row),
            })
        })
        .collect();
    let rows: Vec<_> = scenario
        .latency
        .iter()
        .map(|row| {
            let figure = |value: Option<L>| value.map_or(Cell::None, |value| Cell::Figure(ms(value.ms())));
            let shift = row.shift.as_ref();
            vec![
                words(format!("{}{}", name(row), if row.gate { " *" } else { "" })),
                figure(row.base_ms),
                figure(row.new_ms),
                shift.map_or(Cell::None, |of| Cell::Figure(crate::compare::text::signed(of.by_ms.ms()))),
                shift.map_or(Cell::None, |of| Cell::Figure(told(of))),
                words(says(row)),
            ]
        })
        .collect();
    let numbers = table(&scenario.scenario, &["", "base", "new", "shift", "interval", "says"], &rows);
    if drawn.is_empty() {
        return html! {
            div {
                (absent(&scenario.scenario, &format!("{} No figure has an interval.", scenario.reason)))
                (numbers)
            }
        };
    }
    let axis = format!("shift, {}", L::UNIT);
    let drawing =
        interval::chart(&format!("shifts-{index}"), &scenario.scenario, &axis, &scenario.reason, &drawn, None);
    figure(&scenario.scenario, &scenario.reason, &drawing, &numbers)
}

fn commands<L: Length>(of: &Comparison<L>) -> Markup {
    let rows: Vec<_> = of
        .scenarios
        .iter()
        .map(|scenario| {
            let (base, new) = (&scenario.commands_base, &scenario.commands_new);
            let told = |base: u64, new: u64| match base == new {
                true => Cell::Number(base),
                false => Cell::Figure(format!("{} \u{2192} {}", grouped(base), grouped(new))),
            };
            vec![
                words(&scenario.scenario),
                told(base.accepted, new.accepted),
                told(base.applied, new.applied),
                told(base.rejected, new.rejected),
                told(base.dead_lettered, new.dead_lettered),
                told(base.attempts_refused, new.attempts_refused),
            ]
        })
        .collect();
    let head = ["scenario", "accepted", "applied", "rejected", "dead-lettered", "refused at the door"];
    html! {
        p class="soft" { "Over all pairs; where the sides differ, base and new. Chance and timing move some of these: what must hold is judged by the invariants." }
        (table("How commands ended", &head, &rows))
    }
}

fn builds<L: Length>(of: &Comparison<L>) -> Markup {
    let side = |side: &crate::compare::SideRecord| {
        let mut rows = vec![vec![words("records"), words(side.files.join(", "))]];
        rows.extend(build_rows(&side.build));
        rows
    };
    html! {
        div class="pair" {
            div { h3 { "Base" } (table("Base", &["", ""], &side(&of.base))) }
            div { h3 { "New" } (table("New", &["", ""], &side(&of.new))) }
        }
    }
}
