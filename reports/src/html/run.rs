//! The page of one run: what broke, what led to it, how long commands took meanwhile, for whom, and what was tried.

use maud::{Markup, html};

use super::diagram::Sign;
use super::heat::Heat;
use super::plot::{self, Band, key};
use super::ranges::shortened;
use super::series::{Step, bar};
use super::shell::{Cell, absent, command, figure, page, section, table, undrawn, words};
use super::{LATENCY_HEAD, figures, latency_row, past, plan, ranges, reproduced, series, spectrum};
use crate::latency::VirtualPercentiles;
use crate::report::{Interval, RefusedAt, RunReport, Stage, StageLatency, Violation};
use crate::text::{count, grouped};
use crate::verdict::Verdict;

/// Violations that are told with a diagram; the rest are told in words.
const DIAGRAMS_MAX: usize = 3;

/// What every chart of latencies says of itself.
const VIRTUAL: &str = "Protocol delay in virtual time, 1 ms steps: round trips, syncs and retries, not speed.";

/// The page.
pub fn render(report: &RunReport) -> String {
    let record = &report.record;
    let bands = bands(report);
    let whole = report.stage(Stage::SentToEffect).map(|of| of.summary_virtual_ms).unwrap_or_default();
    let told =
        |ms: Option<_>| ms.map_or_else(|| "too few to say".to_owned(), |ms: crate::time::VirtualMs| ms.to_string());
    let content = html! {
        header {
            p class="eyebrow" { "Tenantry \u{b7} " (record.scenario) " \u{b7} seed " (record.seed) }
            h1 { (verdict(report)) }
            (proof(report))
            p { "See it again, to the last event, with" }
            (command(&record.reproduce))
            (figures(&[
                ("commands accepted", grouped(record.commands.accepted)),
                ("half took effect within", told(whole.p50)),
                ("99 in 100 within", told(whole.p99)),
                ("facts compared", grouped(record.invariants.iter().map(|invariant| invariant.compared).sum())),
                ("virtual time", crate::time::VirtualMs(record.virtual_ms).to_string()),
            ]))
        }
        main {
            (section("violations", "What broke", &violations(report)))
            (section("plan", "What was planned", &plan::render(&report.plan)))
            (section("latency", "Latency", &latency(report, &bands)))
            (section("flow", "Throughput and queue", &flow(report, &bands)))
            (section("fairness", "Fairness between tenants", &fairness(report)))
            (section("refusals", "Refusals", &refusals(report)))
            (section("coverage", "What was tried", &coverage(report)))
            (section("environment", "Environment and build", &environment(report)))
        }
    };
    page(&format!("{}, seed {}: {}", record.scenario, record.seed, record.verdict), &content)
}

fn verdict(report: &RunReport) -> String {
    let record = &report.record;
    let broken: Vec<&str> = record
        .invariants
        .iter()
        .filter(|invariant| invariant.violations_total > 0)
        .map(|invariant| invariant.name.as_str())
        .collect();
    match record.verdict {
        Verdict::Pass => "The run passed: every invariant compared something, and all of it held.".to_owned(),
        Verdict::Violated => match broken.as_slice() {
            [] => "The run broke an invariant.".to_owned(),
            [one] => format!("The run broke {one}."),
            [first, second] => format!("The run broke {first} and {second}."),
            [first, rest @ ..] => format!("The run broke {first} and {} more invariants.", grouped(rest.len() as u64)),
        },
        Verdict::Inconclusive => "The run proves nothing: an invariant had nothing to compare.".to_owned(),
        Verdict::Failed => "The harness itself failed, so nothing the run says can be believed.".to_owned(),
    }
}

fn proof(report: &RunReport) -> Markup {
    let record = &report.record;
    let sentence = match record.verdict {
        Verdict::Pass => {
            "One seed shows that it can go well. How rare a failure is takes many: of N that pass, with 95 % confidence fewer \
             than 3 in N fail (rule of three)."
        }
        Verdict::Violated => {
            "One failure is a proof: with this scenario, seed and build it happens every time, on any machine."
        }
        Verdict::Inconclusive => {
            "A check that compared nothing is no pass: the scenario never came to where it could be broken."
        }
        Verdict::Failed => "The same scenario, seed and build fail in the same way on any machine.",
    };
    html! {
        @if !report.conditions.description.is_empty() { p { (report.conditions.description) } }
        @if let Some(error) = &record.error { div class="violation" { p { (error) } } }
        @if let Some(bug) = &report.conditions.bug { p { "A bug was planted for this run: " code { (bug) } "." } }
        p { (sentence) }
        @if record.cut_short {
            p { "It was over with that, " (crate::time::VirtualMs(record.virtual_ms).to_string()) " after it began: of what would have come later, and of what only \
                 a run's end can tell, it says nothing." }
        }
    }
}

/// The faults' windows, lettered as in the table of faults.
fn bands(report: &RunReport) -> Vec<Band> {
    let band = |(index, fault): (usize, &crate::report::FaultWindow)| {
        let (from, to) = (fault.from_us.ms().0, fault.to_us.ms().0);
        let title = format!("{}, {} to {}", fault.words, fault.from_us.ms(), fault.to_us.ms());
        Band { key: key(index), from, to, title }
    };
    report.faults.iter().enumerate().map(band).collect()
}

fn violations(report: &RunReport) -> Markup {
    if report.violations.is_empty() {
        let compared: Vec<_> = report
            .record
            .invariants
            .iter()
            .map(|invariant| {
                vec![words(&invariant.name), Cell::Number(invariant.compared), Cell::Words(held(invariant))]
            })
            .collect();
        return html! {
            @if report.record.verdict == Verdict::Pass { p { "Nothing. No conflict, so no causal past to draw; this is what was compared." } }
            @else { p { "The record tells of no conflict between events; this is what was compared." } }
            (table("Invariants", &["invariant", "facts compared", "and it"], &compared))
        };
    }
    let told = report.violations.len() as u64;
    let all: u64 = report.record.invariants.iter().map(|invariant| invariant.violations_total).sum();
    let rows: Vec<_> = report
        .record
        .invariants
        .iter()
        .map(|invariant| vec![words(&invariant.name), Cell::Number(invariant.compared), Cell::Words(held(invariant))])
        .collect();
    html! {
        @for (index, violation) in report.violations.iter().enumerate() {
            div class="violation" {
                h3 { (violation.invariant) }
                p { (violation.words) }
                (conflict(report, violation))
            }
            @if index < DIAGRAMS_MAX { (story(report, violation, index)) }
        }
        @if all > told { p { (grouped(all - told)) " more violations are counted and not told." } }
        (table("Invariants", &["invariant", "facts compared", "and it"], &rows))
    }
}

fn held(invariant: &crate::record::InvariantRecord) -> Markup {
    match (invariant.violations_total, invariant.compared) {
        (0, 0) => html! { span class="bad" { "compared nothing" } },
        (0, _) => html! { "held" },
        (times, _) => html! { span class="bad" { "was violated " (count(times, "time")) } },
    }
}

/// The events that do not go together.
fn conflict(report: &RunReport, violation: &Violation) -> Markup {
    const EVENTS_MAX: usize = 8;
    let trace = &report.trace;
    let events: Vec<_> = violation.events.iter().filter_map(|place| trace.events.get(*place as usize)).collect();
    html! {
        @if events.is_empty() {
            p class="soft" { "No single event shows it: it was seen when all was read back at the end." }
        } @else {
            ul {
                @for event in events.iter().take(EVENTS_MAX) {
                    li { (event.at) ", " (trace.host(event.host)) ": " (trace.word(event.kind)) " " (event.text) }
                }
                @if events.len() > EVENTS_MAX { li { "and " (grouped((events.len() - EVENTS_MAX) as u64)) " more" } }
            }
        }
    }
}

/// The space-time diagram beside the list of its rows.
fn story(report: &RunReport, violation: &Violation, index: usize) -> Markup {
    let past = past::of(report, violation);
    if past.diagram.rows.is_empty() {
        let why = match report.trace.events.len() + report.trace.messages.len() {
            0 => "The record holds no messages and events, so there is nothing to draw.",
            _ => "None of the messages and events that the record holds is about this violation's commands.",
        };
        return absent("What led to it", why);
    }
    let trace = &report.trace;
    let mut about = match violation.commands.as_slice() {
        [] => "all commands".to_owned(),
        ids => shortened(&ids.join(", "), 120),
    };
    about.insert_str(0, "about ");
    let caption = format!(
        "The causal past {about}, time going down, a row for each event. Arrows are messages, a cross ends a lost one, a heavy \
         cross is a crash, a ring a fact in conflict; bands are faults. Left out: {}{} that are about others or did not lead \
         here, and {}.{}",
        match past.left_out {
            0 => String::new(),
            some => format!(
                "{} about the same, ",
                count(some, "message or event").replace("message or events", "messages and events")
            ),
        },
        count(past.elsewhere, "message or event").replace("message or events", "messages and events"),
        count(trace.heartbeats, "heartbeat"),
        match trace.left_out {
            0 => String::new(),
            more => format!(" The record itself leaves out the last {}.", grouped(more)),
        }
    );
    let lane = |row: &super::diagram::Row| row.lane.map_or("", |lane| past.diagram.lanes[lane].as_str());
    html! {
        figure class="story" {
            figcaption { h3 { "What led to it" } (caption) }
            div class="both" {
                (past.diagram.draw(&format!("story-{index}"), &caption))
                ol {
                    @for row in &past.diagram.rows {
                        @let text = format!("{} {}", lane(row), row.text);
                        li class=[(row.sign != Sign::Event).then_some("bad")] title=(text) {
                            b { (grouped(row.at_ms)) " ms " (lane(row)) } " " (row.text)
                        }
                    }
                }
            }
        }
    }
}

fn latency(report: &RunReport, bands: &[Band]) -> Markup {
    let Some(whole) = report.stage(Stage::SentToEffect).filter(|of| of.summary_virtual_ms.count > 0) else {
        return html! { p { "No command took effect, so none has a latency." } };
    };
    html! {
        p { (VIRTUAL) }
        div class="charts" {
            (spectra(report, whole))
            (heat(report, bands))
            (stages(report))
            (actions(report))
        }
    }
}

fn spectra(report: &RunReport, whole: &StageLatency) -> Markup {
    let line = |name: &str, of: &StageLatency| spectrum::Line {
        name: name.to_owned(),
        counts: of.counts_virtual_ms.counts().map(|(ms, times)| (ms.0, times)).collect(),
    };
    let mut lines = vec![line("all tenants", whole)];
    let tenants: Vec<&StageLatency> = report.tenants(Stage::SentToEffect).collect();
    lines.extend(tenants.iter().map(|of| line(of.tenant.as_deref().unwrap_or_default(), of)));
    let samples = whole.summary_virtual_ms.count;
    let carries = match spectrum::supported(samples) {
        Some(percentile) => format!("{} carry it to the {percentile}th percentile.", count(samples, "command")),
        None => format!("{} carry no percentile.", count(samples, "command")),
    };
    let undrawn = match tenants.len().saturating_sub(spectrum::LINES_MAX) {
        0 => String::new(),
        more => format!(" {more} more tenants are not drawn."),
    };
    let caption = format!(
        "How long all but a few waited, from when a command was meant to be sent to its effect. Heavy: all; light: each tenant. \
         {carries}{undrawn}"
    );
    let mut rows = vec![latency_row("all tenants", &whole.summary_virtual_ms)];
    rows.extend(tenants.iter().map(|of| latency_row(of.tenant.as_deref().unwrap_or_default(), &of.summary_virtual_ms)));
    figure(
        "Percentile spectrum",
        &caption,
        &spectrum::chart("spectrum", &caption, &lines, &plot::VIRTUAL),
        &table("Percentiles", &LATENCY_HEAD, &rows),
    )
}

fn heat(report: &RunReport, bands: &[Band]) -> Markup {
    let (series, until) = (&report.series, report.record.virtual_ms);
    let latencies = series
        .intervals
        .iter()
        .flat_map(|interval| interval.latency_virtual_ms.counts().map(|(ms, times)| (interval.from_ms.0, ms.0, times)));
    let heat = Heat::of(until, series.interval_ms.0, latencies);
    if heat.is_empty() {
        return absent("Latency over time", "No interval has a latency: nothing took effect while it was measured.");
    }
    let caption = format!(
        "Commands by when they took effect and how long that took; the darker, the more. A column is {} ms. {}{}",
        grouped(heat.column_ms()),
        bands_told(bands),
        undrawn(bands)
    );
    let row = |interval: &Interval| {
        let from = interval.from_ms.0;
        latency_row(&grouped(from), &interval.latency_virtual_ms.percentiles())
    };
    let rows: Vec<_> =
        series.intervals.iter().filter(|interval| interval.latency_virtual_ms.count() > 0).map(row).collect();
    let mut head = LATENCY_HEAD;
    head[0] = "from ms";
    figure(
        "Latency over time",
        &caption,
        &heat.chart("heat", &caption, until, bands, &plot::VIRTUAL),
        &table("Latency by interval", &head, &rows),
    )
}

fn bands_told(bands: &[Band]) -> &'static str {
    match bands {
        [] => "There was no fault.",
        _ => "Bands are faults, lettered as below.",
    }
}

fn stages(report: &RunReport) -> Markup {
    let of = |stage: Stage| report.stage(stage).map(|of| (stage.words(), of.summary_virtual_ms));
    let rows: Vec<(&str, VirtualPercentiles)> = Stage::ALL.into_iter().filter_map(of).collect();
    let caption = "Each part of a command's way. Dot: half were faster. Line: to the 99th percentile, or the 90th if too few. Tick: the slowest.";
    breakdown("stages", "Where the time goes", caption, &rows)
}

fn actions(report: &RunReport) -> Markup {
    let rows: Vec<(&str, VirtualPercentiles)> = report
        .actions(Stage::SentToEffect)
        .map(|of| (of.action.as_deref().unwrap_or_default(), of.summary_virtual_ms))
        .collect();
    if rows.is_empty() {
        return absent("By action", "The record has no latencies by action.");
    }
    breakdown(
        "actions",
        "By action",
        "From when it was meant to be sent to its effect, for each kind of command.",
        &rows,
    )
}

fn breakdown(id: &str, title: &str, caption: &str, rows: &[(&str, VirtualPercentiles)]) -> Markup {
    let numbers: Vec<_> = rows.iter().map(|(name, figures)| latency_row(name, figures)).collect();
    figure(title, caption, &ranges::chart(id, title, caption, rows), &table(title, &LATENCY_HEAD, &numbers))
}

fn flow(report: &RunReport, bands: &[Band]) -> Markup {
    let (series, until) = (&report.series, report.record.virtual_ms);
    if series.intervals.is_empty() {
        return html! { p { "The record has no intervals, so there is no course to draw." } };
    }
    let length = series.interval_ms.0;
    let steps = |value: &dyn Fn(&Interval) -> u64| -> Vec<Step> {
        let step = |interval: &Interval| {
            let from = interval.from_ms.0;
            Step { from, to: (from + length).min(until), value: value(interval) }
        };
        series.intervals.iter().filter(|interval| interval.from_ms.0 < until).map(step).collect()
    };
    let ended = |interval: &Interval| interval.applied + interval.rejected + interval.dead_lettered;
    let rows: Vec<_> = series
        .intervals
        .iter()
        .map(|interval| {
            let Interval { from_ms, sent, confirmed, applied, rejected, dead_lettered, depth_max, .. } = interval;
            [from_ms.0, *sent, *confirmed, *applied, *rejected, *dead_lettered, *depth_max].map(Cell::Number).into()
        })
        .collect();
    let head = ["from ms", "sent", "confirmed", "applied", "rejected", "dead-lettered", "waiting at most"];
    let numbers = table("The run by interval", &head, &rows);
    let ended_caption = format!(
        "Commands that were applied, rejected or dead-lettered in each {} ms of virtual time. It follows what the scenario sends, \
         and says nothing of what a machine could bear. {}",
        grouped(length),
        bands_told(bands)
    );
    let depth_caption = format!(
        "Messages that waited at the broker or were out from it, at most, in each {} ms of virtual time.",
        grouped(length)
    );
    html! {
        div class="charts" {
            (figure("Commands ended", &ended_caption, &series::chart("ended", &format!("per {} ms", grouped(length)), &ended_caption, &steps(&ended), until, bands, &plot::VIRTUAL), &numbers))
            (figure("Queue depth", &depth_caption, &series::chart("depth", "messages", &depth_caption, &steps(&|interval| interval.depth_max), until, bands, &plot::VIRTUAL), &numbers))
        }
    }
}

fn fairness(report: &RunReport) -> Markup {
    let tenants = &report.fairness.tenants;
    match tenants.len() {
        0 => return html! { p { "The record has no figures by tenant." } },
        1 => return html! { p { "There is one tenant, so nobody to be fair to." } },
        _ => {}
    }
    let names: Vec<String> = tenants
        .iter()
        .map(|share| if share.noisy { format!("{} (floods)", share.tenant) } else { share.tenant.clone() })
        .collect();
    let figures: Vec<VirtualPercentiles> = tenants.iter().map(|share| share.latency_virtual_ms.percentiles()).collect();
    let rows: Vec<(&str, VirtualPercentiles)> = names.iter().map(String::as_str).zip(figures).collect();
    let undrawn = match rows.len().saturating_sub(ranges::ROWS_MAX) {
        0 => String::new(),
        more => format!(" {} more tenants stand in the table only.", grouped(more as u64)),
    };
    let bound = match report.fairness.quiet_p99_ms_max {
        Some(bound) => format!("The scenario grants tenants that do not flood a 99th percentile of at most {bound}."),
        None => "The scenario sets no bound.".to_owned(),
    };
    let caption = format!(
        "From when a command was meant to be sent to its effect. Dot: half were faster. Line: to the 99th percentile, or the 90th \
         if too few. Tick: the slowest. {bound}{undrawn}"
    );
    let shares: Vec<_> = tenants
        .iter()
        .zip(&names)
        .map(|(share, name)| {
            let numbers = [share.sent, share.confirmed, share.applied, share.rejected, share.refused].map(Cell::Number);
            std::iter::once(words(name)).chain(numbers).collect()
        })
        .collect();
    html! {
        div class="charts" {
            (breakdown("tenants", "Latency by tenant", &caption, &rows))
            div {
                h3 { "What each tenant had of it" }
                (table("Commands by tenant", &["tenant", "sent", "confirmed", "applied", "rejected", "refused"], &shares))
            }
        }
    }
}

fn refusals(report: &RunReport) -> Markup {
    if report.refusals.is_empty() {
        return html! { p { "Nothing was refused." } };
    }
    let place = |at: RefusedAt| match at {
        RefusedAt::Door => "at the door",
        RefusedAt::Ledger => "by the ledger",
        RefusedAt::DeadLetter => "put aside as a dead letter",
    };
    let most = report.refusals.iter().map(|refusal| refusal.count).max().unwrap_or(0);
    let rows: Vec<_> = report
        .refusals
        .iter()
        .map(|refusal| {
            let bar = bar(refusal.count, most, false);
            vec![words(&refusal.reason), words(place(refusal.at)), Cell::Number(refusal.count), Cell::Words(bar)]
        })
        .collect();
    table("Refusals", &["reason", "where", "times", ""], &rows)
}

fn coverage(report: &RunReport) -> Markup {
    html! {
        h3 { "Faults" }
        (faults(report))
        div class="charts" {
            div { h3 { "Attacks" } (attacks(report)) }
            div { h3 { "Marks" } (marks(report)) }
        }
    }
}

fn faults(report: &RunReport) -> Markup {
    if report.faults.is_empty() {
        return html! { p class="soft" { "None: this is how the system behaves undisturbed." } };
    }
    let rows: Vec<_> = report
        .faults
        .iter()
        .enumerate()
        .map(|(index, fault)| {
            let felt = match fault.felt {
                0 => Cell::Words(html! { "by nobody" }),
                times => Cell::Words(html! { (count(times, "time")) }),
            };
            vec![
                words(key(index)),
                words(&fault.words),
                Cell::Number(fault.from_us.ms().0),
                Cell::Number(fault.to_us.ms().0),
                felt,
            ]
        })
        .collect();
    table("Faults", &["", "fault", "from ms", "to ms", "felt"], &rows)
}

fn attacks(report: &RunReport) -> Markup {
    if report.attacks.is_empty() {
        return html! { p class="soft" { "None: the scenario has no adversary." } };
    }
    let rows: Vec<_> = report
        .attacks
        .iter()
        .map(|attack| {
            let through = attack.tried.saturating_sub(attack.refused);
            let outcome = match through {
                0 => html! { "all refused" },
                some => html! { span class="bad" { (grouped(some)) " came through" } },
            };
            vec![words(&attack.kind), Cell::Number(attack.tried), Cell::Words(outcome)]
        })
        .collect();
    table("Attacks", &["attack", "tried", "outcome"], &rows)
}

fn marks(report: &RunReport) -> Markup {
    let marks = &report.record.marks;
    if marks.is_empty() {
        return html! { p class="soft" { "None was reached." } };
    }
    let most = marks.values().max().copied().unwrap_or(0);
    let rows: Vec<_> = marks
        .iter()
        .map(|(mark, times)| vec![words(mark), Cell::Number(*times), Cell::Words(bar(*times, most, false))])
        .collect();
    table("Marks", &["state that was reached", "times", ""], &rows)
}

fn environment(report: &RunReport) -> Markup {
    let conditions = &report.conditions;
    let range = |least: crate::time::VirtualMs, most: crate::time::VirtualMs| match least == most {
        true => least.to_string(),
        false => format!("{} to {most}", grouped(least.0)),
    };
    let mut rows: Vec<Vec<Cell>> = [
        ("hosts", conditions.hosts.join(", ")),
        ("tenants", shortened(&conditions.tenants.join(", "), 400)),
        ("step of virtual time", conditions.tick_ms.to_string()),
        ("latency of a link, one way", range(conditions.link_ms_min, conditions.link_ms_max)),
        ("a commit takes", range(conditions.sync_ms_min, conditions.sync_ms_max)),
        ("channels", if conditions.tls { "mutual TLS" } else { "in clear" }.to_owned()),
        ("all faults healed at", conditions.healed_at.to_string()),
        ("then to end within", conditions.drain.to_string()),
        ("digest of the trace", report.record.digest.clone()),
    ]
    .map(|(name, value)| vec![words(name), words(value)])
    .into();
    if let Some(source) = &conditions.source {
        rows.push(vec![words("scenario"), words(format!("{}, digest {}", source.file, source.digest))]);
    }
    rows.extend(reproduced::build_rows(&report.build));
    table("Environment and build", &["", ""], &rows)
}
