//! One run as Markdown: what [`crate::run_text`] says, with tables, for a summary page or a ticket.

use std::fmt::Write;

use crate::markdown::{fenced, line};
use crate::report::RunReport;
use crate::run_text::{HEADER, fault_line, headline, needed, refusal_lines, rows};
use crate::text::run_details;
use crate::time::VIRTUAL_TIME;
use crate::verdict::Verdict;

/// The Markdown, with a newline at its end.
#[must_use]
pub fn render(report: &RunReport) -> String {
    let record = &report.record;
    let mut out = format!("## {}, seed {}: {}\n\n{}\n", record.scenario, record.seed, record.verdict, headline(report));
    if record.verdict != Verdict::Pass {
        out.push('\n');
        fenced("", &run_details(record), &mut out);
        fenced("sh", &record.reproduce, &mut out);
    }
    let rows = rows(report);
    if rows.is_empty() {
        out.push_str("\nNo command came so far that anything could be measured.\n");
    } else {
        let _ = write!(out, "\n### Latency in virtual ms: {VIRTUAL_TIME}\n\n");
        line(&HEADER, &mut out);
        let mut rule = ["--:"; HEADER.len()];
        (rule[0], rule[1]) = ("---", "---");
        line(&rule, &mut out);
        rows.iter().for_each(|row| line(row, &mut out));
        needed(&rows).iter().for_each(|sentence| out.extend(["\n", sentence, "\n"]));
    }
    list("Faults", report.faults.iter().map(fault_line), &mut out);
    list("Refused", refusal_lines(report).into_iter(), &mut out);
    out
}

fn list(title: &str, lines: impl Iterator<Item = String>, out: &mut String) {
    let mut lines = lines.peekable();
    if lines.peek().is_some() {
        let _ = write!(out, "\n### {title}\n\n");
    }
    // What a fault or a refusal says is no markup.
    lines.for_each(|line| out.extend(["- ", &escaped(&line), "\n"]));
}

/// Words as words, whatever Markdown would make of them.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for letter in text.chars() {
        if "\\`*_[]<>#|!".contains(letter) {
            out.push('\\');
        }
        out.push(letter);
    }
    out
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
    fn a_passing_run_tells_no_violation_and_no_fault() {
        let told = render(&samples::report::passed());
        assert!(told.starts_with("## smoke, seed 1: pass\n") && !told.contains("### Faults"), "{told}");
        assert!(told.contains("| sent -> effect | all | 480 |") && !told.contains("tenantry run"), "{told}");
    }

    #[test]
    fn no_words_are_taken_for_markup() {
        let mut report = samples::report::violated();
        report.faults[0].words = "<img src=x> [a](b) *c* `d`".into();
        assert!(render(&report).contains(r"\<img src=x\> \[a\](b) \*c\* \`d\`"), "{}", render(&report));
    }
}
