//! One run as plain text, for people at a terminal: what was slow, for whom, and during which fault.
//!
//! A percentile that its samples don't support is not printed: a line says how many it would take.

use std::fmt::Write;

use crate::latency::{VirtualPercentiles, samples_needed};
use crate::report::{RefusedAt, RunReport, Stage, StageLatency};
use crate::text::{count, grouped, run_details, skipped};
use crate::time::{VIRTUAL_TIME, VirtualMs};
use crate::verdict::Verdict;

/// Columns of the table of latencies.
const HEADER: [&str; 9] = ["stage", "of", "count", "min", "p50", "p90", "p99", "p99.9", "max"];

/// The text, with a newline at its end. If the run did not pass, the last line is the command that runs it again.
#[must_use]
pub fn render(report: &RunReport) -> String {
    let record = &report.record;
    let mut out = format!("{}, seed {}: {}\n", record.scenario, record.seed, record.verdict);
    let compared: u64 = record.invariants.iter().map(|invariant| invariant.compared).sum();
    let over = count(record.invariants.len() as u64, "invariant");
    let _ = writeln!(
        out,
        "{} over {over}, in {} of virtual time.",
        count(compared, "comparison"),
        VirtualMs(record.virtual_ms)
    );
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

fn latencies(report: &RunReport, out: &mut String) {
    let mut rows = vec![HEADER.map(str::to_owned)];
    for stage in Stage::ALL {
        let of_stage = report.stage(stage).into_iter().chain(report.tenants(stage)).chain(report.actions(stage));
        rows.extend(of_stage.map(row));
    }
    if rows.len() == 1 {
        out.push_str("\nNo command came so far that anything could be measured.\n");
        return;
    }
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
    let needed = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];
    let needed: Vec<_> = needed.iter().map(|(name, at)| format!("{name} {}", grouped(samples_needed(*at)))).collect();
    if rows.iter().any(|row| row.contains(&UNSUPPORTED.to_owned())) {
        let _ =
            writeln!(out, "{UNSUPPORTED} is what too few samples don't support; it would take {}.", needed.join(", "));
    }
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
    for fault in &report.faults {
        let felt =
            if fault.felt == 0 { "felt by nobody".to_owned() } else { format!("felt {}", count(fault.felt, "time")) };
        let _ = writeln!(out, "  {} to {}: {}, {felt}", fault.from_us, fault.to_us, fault.words);
    }
}

fn refusals(report: &RunReport, out: &mut String) {
    if !report.refusals.is_empty() {
        out.push_str("\nRefused:\n");
    }
    for refusal in &report.refusals {
        let at = match refusal.at {
            RefusedAt::Door => "at the door",
            RefusedAt::Ledger => "by the ledger",
            RefusedAt::DeadLetter => "as a dead letter",
        };
        let _ = writeln!(out, "  {at}, {}: {}", refusal.reason, grouped(refusal.count));
    }
    for attack in &report.attacks {
        let (tried, refused) = (grouped(attack.tried), grouped(attack.refused));
        let _ = writeln!(out, "  attack {}: {tried} tried, {refused} refused", attack.kind);
    }
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
