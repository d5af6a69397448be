//! A suite as Markdown, for the summary page of a continuous integration's job.
//!
//! It says what the text says, with the scenarios as a table. What runs say stands in fenced blocks, so that none of their
//! words is taken for markup.

use std::fmt::Write;

use crate::suite::SuiteRecord;
use crate::text::{DETAILED_RUNS, HEADER, headline, marks, missed, row, run_details, untold_runs};

/// The Markdown, with a newline at its end.
pub fn render(suite: &SuiteRecord) -> String {
    let mut out = format!("## Tenantry: {}\n\n", suite.verdict);
    headline(suite, &mut out);
    if !suite.summary.is_empty() {
        out.push('\n');
        line(&HEADER, &mut out);
        // The first and the last column are words, those between are numbers.
        let mut rule = ["--:"; HEADER.len()];
        (rule[0], rule[HEADER.len() - 1]) = ("---", "---");
        line(&rule, &mut out);
        for scenario in &suite.summary {
            line(&row(scenario), &mut out);
        }
        out.push_str("\nLatencies are virtual: protocol delay from sending to effect, not speed.\n");
    }
    suite.summary.iter().filter_map(missed).for_each(|sentence| out.extend(["\n", &sentence, "\n"]));
    if let Some(told) = marks(suite) {
        out.push('\n');
        fenced("", &told, &mut out);
    }
    for run in suite.bad_runs().into_iter().take(DETAILED_RUNS) {
        let _ = write!(out, "\n### {}, seed {}: {}\n\n", run.scenario, run.seed, run.verdict);
        fenced("", &run_details(run), &mut out);
        fenced("sh", &run.reproduce, &mut out);
    }
    if let Some(untold) = untold_runs(suite) {
        out.extend(["\n", &untold, "\n"]);
    }
    out
}

pub(crate) fn line(cells: &[impl AsRef<str>], out: &mut String) {
    let cells: Vec<String> = cells.iter().map(|cell| cell.as_ref().replace('|', r"\|")).collect();
    let _ = writeln!(out, "| {} |", cells.join(" | "));
}

/// A block of `text` as it is. Its fence is longer than any run of backticks in it.
pub(crate) fn fenced(language: &str, text: &str, out: &mut String) {
    let mut fence = "```".to_owned();
    while text.contains(&fence) {
        fence.push('`');
    }
    let _ = write!(out, "{fence}{language}\n{}\n{fence}\n", text.trim_end());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn a_passing_suite_reads_like_this() {
        insta::assert_snapshot!(render(&samples::passing_suite()));
    }

    #[test]
    fn a_failing_suite_reads_like_this() {
        insta::assert_snapshot!(render(&samples::failing_suite()));
    }

    #[test]
    fn no_words_end_their_block_or_their_cell() {
        let mut out = String::new();
        fenced("", "a\n````\nb", &mut out);
        line(&["x|y"], &mut out);
        assert_eq!(out, "`````\na\n````\nb\n`````\n| x\\|y |\n");
    }
}
