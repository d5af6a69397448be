//! The plan: what was to happen when. Of one that was shrunk, both sides: what there was, and what was enough.

use std::collections::{BTreeMap, BTreeSet};

use maud::{Markup, html};

use super::shell::{Cell, table};
use crate::report::{EntryIs, PlanEntry, PlanRecord};
use crate::text::{count, grouped};

/// Entries told one by one, of a plan; the rest are counted by kind.
const ENTRIES_MAX: usize = 60;
/// Of those, acts that nobody found to matter: the first few show what they are like.
const ACTS_MAX: usize = 12;

/// The plan, or both.
pub(super) fn render(plan: &PlanRecord) -> Markup {
    match &plan.original {
        Some(original) => pair(original, &plan.entries),
        None if plan.entries.is_empty() => html! { p { "The record holds no plan." } },
        None => html! {
            p { "It was not shrunk: " (sum(&plan.entries)) "." }
            (list(&plan.entries, &BTreeSet::new(), "The plan"))
        },
    }
}

fn pair(original: &[PlanEntry], shrunk: &[PlanEntry]) -> Markup {
    let enough: BTreeSet<String> = shrunk.iter().map(identity).collect();
    html! {
        p { "Of " (count(original.len() as u64, "entry").replace("entrys", "entries")) " these " (grouped(shrunk.len() as u64)) " are enough for the same violation." }
        div class="pair" {
            div {
                h3 { "As it was: " (sum(original)) }
                p class="soft" { "What was not needed is struck out." }
                (list(original, &enough, "The original plan"))
            }
            div {
                h3 { "What is enough: " (sum(shrunk)) }
                p class="soft" { "Without any one of these it does not happen." }
                (list(shrunk, &BTreeSet::new(), "The shrunk plan"))
            }
        }
    }
}

/// What makes two entries the same one: all but its number, which is its place in its own plan.
fn identity(entry: &PlanEntry) -> String {
    format!("{} {:?} {}", entry.at_ms.0, entry.for_ms, entry.sentence)
}

/// `3 faults and 480 acts`.
fn sum(entries: &[PlanEntry]) -> String {
    let faults = entries.iter().filter(|entry| entry.is == EntryIs::Fault).count() as u64;
    format!("{} and {}", count(faults, "fault"), count(entries.len() as u64 - faults, "act"))
}

/// Entries one by one: all that are `enough`, then faults, then the first acts; the rest by kind. If any is `enough`, the
/// others are struck out.
fn list(entries: &[PlanEntry], enough: &BTreeSet<String>, name: &str) -> Markup {
    let is_enough = |entry: &PlanEntry| enough.contains(&identity(entry));
    let mut ranked: Vec<(u8, usize)> = (0..entries.len())
        .map(|place| match (is_enough(&entries[place]), entries[place].is) {
            (true, _) => (0, place),
            (false, EntryIs::Fault) => (1, place),
            (false, EntryIs::Act) => (2, place),
        })
        .collect();
    ranked.sort_unstable();
    let matter = ranked.iter().filter(|(rank, _)| *rank < 2).count();
    // A shrunk plan is told whole as far as there is room.
    let acts = if entries.len() <= ENTRIES_MAX / 2 { ENTRIES_MAX } else { ACTS_MAX };
    let rest = ranked.split_off(ranked.len().min((matter + acts).min(ENTRIES_MAX)));
    let mut shown: Vec<usize> = ranked.into_iter().map(|(_, place)| place).collect();
    shown.sort_unstable();
    let mut kinds: BTreeMap<&str, u64> = BTreeMap::new();
    rest.iter().for_each(|(_, place)| *kinds.entry(&entries[*place].kind).or_default() += 1);
    let rows: Vec<_> = shown
        .into_iter()
        .map(|place| {
            let entry = &entries[place];
            let gone = !enough.is_empty() && !is_enough(entry);
            let sentence = html! {
                @if gone { s class="gone" { (entry.sentence) } } @else { (entry.sentence) }
                @if let Some(event) = &entry.waits_for { span class="soft" { ", when " (event) } }
            };
            let at = if entry.waits_for.is_some() { Cell::None } else { Cell::Number(entry.at_ms.0) };
            let lasts = entry.for_ms.map_or(Cell::None, |ms| Cell::Number(ms.0));
            vec![Cell::Number(u64::from(entry.number)), at, lasts, Cell::Words(sentence)]
        })
        .collect();
    let rest: Vec<String> = kinds.into_iter().map(|(kind, number)| format!("{} {kind}", grouped(number))).collect();
    html! {
        (table(name, &["no.", "at ms", "for ms", "what happens"], &rows))
        @if !rest.is_empty() { p class="soft" { "And, not listed: " (rest.join(", ")) "." } }
    }
}
