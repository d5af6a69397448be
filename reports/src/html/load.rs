//! The page of a load: was it good enough, what was slow, when, for whom, and how long a kill was felt. All in wall time.

use maud::{Markup, html};

use super::figures;
use super::heat::Heat;
use super::plot::{Band, WALL, key};
use super::series::{self, Step};
use super::shell::{Cell, absent, command, figure, page, section, table, undrawn, words};
use super::spectrum;
use crate::load::{LoadReport, WallInterval, WallStage, WallStageLatency};
use crate::load_text::{fault, found, unsupported, woke};
use crate::text::{count, grouped};
use crate::verdict::SuiteVerdict;
use crate::wall::{WallLatency, WallMs, WallUs, in_ms};

/// What every chart of latencies says of itself.
const SAYS: &str = "Wall time, from when a command was meant to be sent: speed, on this machine and under this load.";

/// Columns of a table of latencies.
const HEAD: [&str; 7] = ["", "commands", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms", "max ms"];

/// The page.
pub fn render(report: &LoadReport) -> String {
    let bands = bands(report);
    let total = report.stage(WallStage::Total).map(|of| of.summary_wall_us).unwrap_or_default();
    let told = |us: Option<WallUs>| us.map_or_else(|| "too few to say".to_owned(), |us| us.to_string());
    let content = html! {
        header {
            p class="eyebrow" { "Tenantry \u{b7} load \u{b7} " (report.scenario) " \u{b7} seed " (report.seed) }
            h1 { (verdict(report)) }
            @if let Some(found) = found(report) { p { (found) } }
            @if let Some(bottleneck) = &report.generator.bottleneck {
                div class="violation" { p {
                    "The generator itself was the bottleneck: " (bottleneck) ". The figures say more of it than of the system."
                } }
            }
            @for note in &report.notes { p { (note) } }
            p { "Load it again with" }
            (command(&report.reproduce))
            (figures(&[
                ("commands confirmed", grouped(report.commands.accepted)),
                ("half within", told(total.p50)),
                ("99 in 100 within", told(total.p99)),
                ("given up", grouped(report.sending.unanswered)),
                ("a second, meant", format!("{:.0}", report.plan.rate)),
            ]))
        }
        main {
            (section("thresholds", "What was demanded", &thresholds(report)))
            @if report.search.is_some() { (section("search", "The highest rate", &search(report))) }
            (section("latency", "Latency", &latency(report, &bands)))
            (section("flow", "Throughput", &flow(report, &bands)))
            (section("faults", "Kills and recovery", &faults(report)))
            (section("tenants", "For whom", &shares(report)))
            (section("refusals", "Refusals", &refusals(report)))
            (section("environment", "Generator, environment and build", &environment(report)))
        }
    };
    page(&format!("load of {}, seed {}: {}", report.scenario, report.seed, report.verdict), &content)
}

fn verdict(report: &LoadReport) -> String {
    let missed = report.thresholds.iter().filter(|threshold| threshold.met == Some(false)).count() as u64;
    match report.verdict {
        SuiteVerdict::Pass if report.thresholds.is_empty() => {
            "The load ran to its end; nothing was demanded of it.".into()
        }
        SuiteVerdict::Pass => format!("The load met {}.", count(report.thresholds.len() as u64, "threshold")),
        SuiteVerdict::Threshold => format!("The load missed {}.", count(missed.max(1), "threshold")),
        SuiteVerdict::Inconclusive => "The load proves nothing.".into(),
        SuiteVerdict::Violated => "A command that nobody may send was confirmed.".into(),
        SuiteVerdict::Nondeterministic | SuiteVerdict::Failed => "The system under load failed.".into(),
    }
}

/// The kills, lettered as in their table.
fn bands(report: &LoadReport) -> Vec<Band> {
    let band = |(index, killed): (usize, &crate::load::Killed)| Band {
        key: key(index),
        from: killed.from_ms.0,
        to: killed.to_ms.0,
        title: fault(killed),
    };
    report.faults.iter().enumerate().map(band).collect()
}

fn bands_told(bands: &[Band]) -> &'static str {
    match bands {
        [] => "Nothing was killed.",
        _ => "Bands are the times in which a role was gone, lettered as below.",
    }
}

fn thresholds(report: &LoadReport) -> Markup {
    if report.thresholds.is_empty() {
        return html! { p { "Nothing. With " code { "--threshold 'p99<50ms'" } " a load fails if it is slower." } };
    }
    let met = |met| match met {
        Some(true) => html! { "met" },
        Some(false) => html! { span class="bad" { "missed" } },
        None => html! { span class="bad" { "can't be told" } },
    };
    let rows: Vec<_> = report
        .thresholds
        .iter()
        .map(|of| vec![words(&of.demanded), words(&of.measured), Cell::Words(met(of.met))])
        .collect();
    table("Thresholds", &["demanded", "measured", "and it is"], &rows)
}

fn search(report: &LoadReport) -> Markup {
    let steps = report.search.iter().flat_map(|search| &search.steps);
    let met = |met| match met {
        Some(true) => "met",
        Some(false) => "missed",
        None => "can't be told",
    };
    let rows: Vec<_> = steps
        .map(|step| {
            let figures = &step.total_wall_us;
            let name = format!("{} a second", step.rate);
            let own = step.bottleneck.as_deref().unwrap_or("no");
            let [p50, p99, max] = [figures.p50, figures.p99, figures.max].map(ms);
            vec![words(name), words(met(step.met)), Cell::Number(figures.count), p50, p99, max, words(own)]
        })
        .collect();
    html! {
        p { (found(report).unwrap_or_default()) " All else on this page is of the last rate that was tried." }
        (table("Rates", &["rate", "thresholds", "commands", "p50 ms", "p99 ms", "max ms", "was the generator the bottleneck?"], &rows))
    }
}

fn ms(us: Option<WallUs>) -> Cell {
    us.map_or(Cell::None, |us| Cell::Figure(in_ms(us)))
}

fn row(name: &str, latency: &WallStageLatency) -> Vec<Cell> {
    let figures = &latency.summary_wall_us;
    let lengths = [figures.p50, figures.p90, figures.p99, figures.p999, figures.max].map(ms);
    [words(name), Cell::Number(figures.count)].into_iter().chain(lengths).collect()
}

fn latency(report: &LoadReport, bands: &[Band]) -> Markup {
    let Some(total) = report.stage(WallStage::Total) else {
        return html! { p { "No command came so far that anything could be measured." } };
    };
    let stages: Vec<_> =
        WallStage::ALL.into_iter().filter_map(|stage| Some(row(stage.words(), report.stage(stage)?))).collect();
    html! {
        p { (SAYS) }
        (table("Latency by stage", &HEAD, &stages))
        @for line in unsupported(report) { p class="soft" { (line) } }
        div class="charts" {
            (spectra(report, total))
            (heat(
                report, bands, "heat", "Confirmations over time",
                "Commands by when they were meant to be sent and how long it took until they were confirmed, or given up; the darker, the more.",
                |interval| &interval.total_wall_us,
            ))
            (heat(
                report, bands, "heat-outcomes", "Outcomes over time",
                "The same until their operator, who waited, knew the outcome.",
                |interval| &interval.outcome_wall_us,
            ))
        }
    }
}

fn spectra(report: &LoadReport, total: &WallStageLatency) -> Markup {
    let line = |name: &str, of: &WallStageLatency| spectrum::Line {
        name: name.to_owned(),
        counts: of.counts_wall_us.counts().map(|(us, times)| (us.0, times)).collect(),
    };
    let others = [WallStage::ServiceTime, WallStage::ScheduleDelay, WallStage::Outcome];
    let others: Vec<_> = others.into_iter().filter_map(|stage| Some((stage, report.stage(stage)?))).collect();
    let mut lines = vec![line(WallStage::Total.words(), total)];
    lines.extend(others.iter().map(|(stage, of)| line(stage.words(), of)));
    let samples = total.summary_wall_us.count;
    let carries = match spectrum::supported(samples) {
        Some(percentile) => format!("{} carry it to the {percentile}th percentile.", count(samples, "command")),
        None => format!("{} carry no percentile.", count(samples, "command")),
    };
    let caption = format!(
        "How long all but a few took. Heavy: from when it was meant to be sent until it was confirmed; light: each other stage, \
         named where the pointer rests. {carries}"
    );
    let mut rows = vec![row(WallStage::Total.words(), total)];
    rows.extend(others.iter().map(|(stage, of)| row(stage.words(), of)));
    figure(
        "Percentile spectrum",
        &caption,
        &spectrum::chart("spectrum", &caption, &lines, &WALL),
        &table("Percentiles", &HEAD, &rows),
    )
}

fn heat(
    report: &LoadReport,
    bands: &[Band],
    id: &str,
    title: &str,
    what: &str,
    latency: impl Fn(&WallInterval) -> &WallLatency,
) -> Markup {
    let (series, until) = (&report.series, report.series.until().0);
    let latencies = series
        .intervals
        .iter()
        .flat_map(|interval| latency(interval).counts().map(|(us, times)| (interval.from_ms.0, us.0, times)));
    let heat = Heat::of(until, series.interval_ms.0, latencies);
    if heat.is_empty() {
        return absent(title, "No interval has a latency.");
    }
    let caption = format!("{what} A column is {}. {}{}", WallMs(heat.column_ms()), bands_told(bands), undrawn(bands));
    let rows: Vec<_> = series
        .intervals
        .iter()
        .map(|interval| {
            let figures = latency(interval).percentiles();
            let lengths = [figures.p50, figures.p90, figures.p99, figures.p999, figures.max].map(ms);
            [Cell::Number(interval.from_ms.0), Cell::Number(figures.count)].into_iter().chain(lengths).collect()
        })
        .collect();
    let mut head = HEAD;
    head[0] = "from ms";
    figure(title, &caption, &heat.chart(id, &caption, until, bands, &WALL), &table(title, &head, &rows))
}

fn flow(report: &LoadReport, bands: &[Band]) -> Markup {
    let (series, until) = (&report.series, report.series.until().0);
    if series.intervals.is_empty() {
        return html! { p { "The record has no intervals, so there is no course to draw." } };
    }
    let length = series.interval_ms.0;
    let steps = |value: &dyn Fn(&WallInterval) -> u64| -> Vec<Step> {
        let step = |interval: &WallInterval| {
            let from = interval.from_ms.0;
            Step { from, to: from + length, value: value(interval) }
        };
        series.intervals.iter().map(step).collect()
    };
    let rows: Vec<_> = series
        .intervals
        .iter()
        .map(|interval| {
            let WallInterval { from_ms, intended, confirmed, outcomes, unanswered, in_flight_max, .. } = interval;
            [from_ms.0, *intended, *confirmed, *outcomes, *unanswered, *in_flight_max].map(Cell::Number).into()
        })
        .collect();
    let head = ["from ms", "meant to be sent", "confirmed", "outcome known", "given up", "under way at most"];
    let numbers = table("The load by interval", &head, &rows);
    let per = format!("per {}", WallMs(length));
    let told = bands_told(bands);
    type Value<'v> = &'v dyn Fn(&WallInterval) -> u64;
    let charts: [(&str, &str, &str, Value<'_>); 3] = [
        (
            "intended",
            "Meant to be sent",
            "Commands by when they were meant to be sent: it depends on nothing that the system does.",
            &|of| of.intended,
        ),
        (
            "confirmed",
            "Confirmed",
            "Commands by when they were confirmed. After an outage those come that waited.",
            &|of| of.confirmed,
        ),
        ("in-flight", "Requests under way", "For a confirmation, at most, in each interval.", &|of| of.in_flight_max),
    ];
    html! {
        div class="charts" {
            @for (id, title, what, value) in charts {
                @let caption = format!("{what} {told}");
                @let name = if id == "in-flight" { "requests" } else { per.as_str() };
                (figure(title, &caption, &series::chart(id, name, &caption, &steps(value), until, bands, &WALL), &numbers))
            }
        }
    }
}

fn faults(report: &LoadReport) -> Markup {
    if report.faults.is_empty() {
        return html! { p { "Nothing was killed." } };
    }
    let rows: Vec<_> =
        report.faults.iter().enumerate().map(|(index, killed)| vec![words(key(index)), words(fault(killed))]).collect();
    html! {
        p {
            "As fast as before: of no later quarter of a second was one command in ten given up, or slower than twice the 90th \
             percentile from before the first kill."
        }
        (table("Kills", &["", "what, and until when it was felt"], &rows))
    }
}

fn shares(report: &LoadReport) -> Markup {
    let named = |of: &WallStageLatency| of.tenant.clone().or_else(|| of.action.clone()).unwrap_or_default();
    let tenants: Vec<_> = report.tenants(WallStage::Total).map(|of| row(&named(of), of)).collect();
    let actions: Vec<_> = report.actions(WallStage::Total).map(|of| row(&named(of), of)).collect();
    if tenants.is_empty() {
        return html! { p { "The record has no figures by tenant." } };
    }
    html! {
        p { "From when a command was meant to be sent until it was confirmed." }
        h3 { "By tenant" }
        (table("Latency by tenant", &HEAD, &tenants))
        h3 { "By action" }
        (table("Latency by action", &HEAD, &actions))
    }
}

fn refusals(report: &LoadReport) -> Markup {
    let rightly = report.sending.refused_rightly;
    let rows: Vec<_> =
        report.refusals.iter().map(|refusal| vec![words(&refusal.reason), Cell::Number(refusal.count)]).collect();
    html! {
        p { (count(rightly, "command")) " that nobody may send, refused with 403 as it must be. Refusals are in no latency." }
        @if rows.is_empty() { p { "Nothing that was allowed was refused." } }
        @else { (table("Refusals", &["of what was allowed", "times"], &rows)) }
    }
}

fn environment(report: &LoadReport) -> Markup {
    let (plan, generator, build) = (&report.plan, &report.generator, &report.build);
    let share = generator
        .processor_share
        .map_or_else(|| "unknown".to_owned(), |share| format!("{:.0} % of one", share * 100.0));
    let rows = [
        ("target", report.target.words.clone()),
        ("arrivals", plan.arrivals.clone()),
        ("duration", format!("{}, the first {} to warm up", plan.duration_ms, plan.warm_up_ms)),
        ("given up after", plan.deadline_ms.to_string()),
        ("outcomes followed", format!("{:.0} % of the confirmed, by a question that waits", plan.followed * 100.0)),
        ("requests under way", format!("at most {} of {}", generator.in_flight_max, plan.in_flight_max)),
        ("waited for a free place", grouped(generator.waited_for_slot)),
        ("the generator woke", woke(&generator.late_wall_us)),
        ("the generator's processor", share),
        ("processors", report.target.cores.to_string()),
        ("began", format!("{} ms after 1970", grouped(report.began_unix_ms))),
        ("build", format!("{} {} {}", build.version, build.profile, build.target)),
    ];
    let rows: Vec<_> = rows.iter().map(|(name, value)| vec![words(name), words(value)]).collect();
    table("Environment", &["", ""], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::load::{load, searched};

    #[test]
    fn a_page_of_wall_time_has_no_word_of_virtual_time() {
        for report in [load(), searched()] {
            let page = render(&report);
            let body = page.split_once("<body>").unwrap().1;
            assert!(!body.contains("virtual"), "one axis, or one sentence, is of the other time");
            assert!(body.contains("wall time, s") && body.contains("latency, wall ms"));
        }
    }

    #[test]
    fn kills_are_bands_and_their_recovery_is_told() {
        let page = render(&load());
        let told = "broker was killed at 14 s and started again at 15 s: confirmations as fast as before 1.25 s after the kill";
        assert!(page.contains(told), "{page}");
        assert!(page.matches("class=\"band\"").count() >= 10, "five charts, two kills each");
    }

    #[test]
    fn a_bottleneck_stands_at_the_top() {
        let page = render(&searched());
        let (top, _) = page.split_once("<main>").unwrap();
        assert!(top.contains("The generator itself was the bottleneck: 310 of 2,014 commands waited"));
        assert!(top.contains("400 commands a second meet it, 800 do not."));
    }
}
