//! One run as plain text, for people at a terminal: what was slow, for whom, and during which fault.
//!
//! A percentile that its samples don't support is not printed: a line says how many it would take.

use std::fmt::Write;

use crate::latency::{VirtualPercentiles, samples_needed};
use crate::report::{FaultWindow, RefusedAt, RunReport, Stage, StageLatency};
use crate::text::{count, grouped, run_details, skipped};
use crate::time::{VIRTUAL_TIME, VirtualMs};
use crate::verdict::Verdict;

/// Columns of the table of latencies.
pub(crate) const HEADER: [&str; 9] = ["stage", "of", "count", "min", "p50", "p90", "p99", "p99.9", "max"];

/// The text, with a newline at its end. If the run did not pass, the last line is the command that runs it again.
#[must_use]
pub fn render(report: &RunReport) -> String {
    let record = &report.record;
    let mut out = format!("{}, seed {}: {}\n{}\n", record.scenario, record.seed, record.verdict, headline(report));
    if record.verdict != Verdict::Pass {
        run_details(record).lines().for_each(|line| out.extend(["  ", line, "\n"]));
    } else {
        record.invariants.iter().for_each(|invariant| out.push_str(&skipped(invariant)));
    }
    latencies(report, &mut out);
    faults(report, &mut out);
    refusals(report, &mut out);
    if record.verdict != Verdict::Pass {
        let _ = write!(out, "\nReproduce it with:\n{}\n", record.reproduce);
    }
    out
}

/// What it proves, and of how much time.
pub(crate) fn headline(report: &RunReport) -> String {
    let record = &report.record;
    let compared: u64 = record.invariants.iter().map(|invariant| invariant.compared).sum();
    let over = count(record.invariants.len() as u64, "invariant");
    format!("{} over {over}, in {} of virtual time.", count(compared, "comparison"), VirtualMs(record.virtual_ms))
}

/// Every stage over all, then by tenant, then by action: cells under [`HEADER`].
pub(crate) fn rows(report: &RunReport) -> Vec<[String; HEADER.len()]> {
    let of = |stage| report.stage(stage).into_iter().chain(report.tenants(stage)).chain(report.actions(stage));
    Stage::ALL.into_iter().flat_map(of).map(row).collect()
}

/// How many samples it would take, if some percentile has too few.
pub(crate) fn needed(rows: &[[String; HEADER.len()]]) -> Option<String> {
    let needed = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];
    let needed: Vec<_> = needed.iter().map(|(name, at)| format!("{name} {}", grouped(samples_needed(*at)))).collect();
    let some = rows.iter().any(|row| row.contains(&UNSUPPORTED.to_owned()));
    some.then(|| format!("{UNSUPPORTED} is what too few samples don't support; it would take {}.", needed.join(", ")))
}

fn latencies(report: &RunReport, out: &mut String) {
    let mut rows = rows(report);
    if rows.is_empty() {
        out.push_str("\nNo command came so far that anything could be measured.\n");
        return;
    }
    let needed = needed(&rows);
    rows.insert(0, HEADER.map(str::to_owned));
    let _ = writeln!(out, "\nLatency in virtual ms: {VIRTUAL_TIME}.");
    let widths: [usize; HEADER.len()] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default());
    for row in &rows {
        let mut line = format!("{:<2$}  {:<3$}", row[0], row[1], widths[0], widths[1]);
        for column in 2..HEADER.len() {
            let _ = write!(line, "  {:>1$}", row[column], widths[column]);
        }
        out.extend([line.trim_end(), "\n"]);
    }
    needed.iter().for_each(|sentence| out.extend([sentence, "\n"]));
}

/// Stands for a percentile that its samples don't support.
const UNSUPPORTED: &str = "-";

fn row(latency: &StageLatency) -> [String; HEADER.len()] {
    let VirtualPercentiles { count, min, p50, p90, p99, p999, max } = latency.summary_virtual_ms;
    let of = latency.tenant.as_ref().or(latency.action.as_ref());
    let ms = |value: Option<VirtualMs>| value.map_or_else(|| UNSUPPORTED.to_owned(), |ms| grouped(ms.0));
    let of = of.map_or("all", String::as_str).to_owned();
    [latency.stage.words().to_owned(), of, grouped(count), ms(min), ms(p50), ms(p90), ms(p99), ms(p999), ms(max)]
}

fn faults(report: &RunReport, out: &mut String) {
    if report.faults.is_empty() {
        out.push_str("\nNo faults.\n");
        return;
    }
    out.push_str("\nFaults:\n");
    report.faults.iter().for_each(|fault| out.extend(["  ", &fault_line(fault), "\n"]));
}

/// A fault's window in a line.
pub(crate) fn fault_line(fault: &FaultWindow) -> String {
    let felt =
        if fault.felt == 0 { "felt by nobody".to_owned() } else { format!("felt {}", count(fault.felt, "time")) };
    format!("{} to {}: {}, {felt}", fault.from_us, fault.to_us, fault.words)
}

fn refusals(report: &RunReport, out: &mut String) {
    if !report.refusals.is_empty() {
        out.push_str("\nRefused:\n");
    }
    refusal_lines(report).iter().for_each(|line| out.extend(["  ", line, "\n"]));
}

/// What was refused where, and which attacks were, in lines.
pub(crate) fn refusal_lines(report: &RunReport) -> Vec<String> {
    let refusals = report.refusals.iter().map(|refusal| {
        let at = match refusal.at {
            RefusedAt::Door => "at the door",
            RefusedAt::Ledger => "by the ledger",
            RefusedAt::DeadLetter => "as a dead letter",
        };
        format!("{at}, {}: {}", refusal.reason, grouped(refusal.count))
    });
    let attacks = report.attacks.iter().map(|attack| {
        let (tried, refused) = (grouped(attack.tried), grouped(attack.refused));
        format!("attack {}: {tried} tried, {refused} refused", attack.kind)
    });
    refusals.chain(attacks).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn a_failing_run_reads_like_this() {
        insta::assert_snapshot!(render(&samples::report::violated()));
    }

    #[test]
    fn a_percentile_without_its_samples_is_not_printed() {
        let text = render(&samples::report::passed());
        // 480 commands support a p99 over all and no p99.9; 80 of one tenant's support no p99.
        let all = text.lines().find(|line| line.starts_with("sent -> effect") && line.contains(" all ")).unwrap();
        assert_eq!(all.split_whitespace().filter(|word| *word == "-").count(), 1, "{text}");
        assert!(text.contains("p99 300, p99.9 3,000"), "{text}");
    }
}
