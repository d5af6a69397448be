//! What did not pass, as GitHub's workflow commands: annotations at the scenarios' files.
//!
//! The grammar: <https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands>.

use std::fmt::Write;

use crate::suite::SuiteRecord;
use crate::text::{missed, run_details};
use crate::verdict::Verdict;

/// GitHub shows so many errors of one step, and drops the rest without a word.
const ANNOTATIONS_MAX: usize = 10;

/// The commands, one a line; nothing if all is well.
pub fn annotations(suite: &SuiteRecord) -> String {
    let file = |scenario: &str| {
        let found = suite.summary.iter().find(|summary| summary.scenario == scenario);
        found.and_then(|summary| summary.source.as_ref()).map(|source| source.file.as_str())
    };
    let mut found: Vec<(String, Option<&str>, String)> = Vec::new();
    for reason in &suite.reasons {
        found.push((format!("tenantry: {}", suite.verdict), None, reason.clone()));
    }
    for run in suite.bad_runs() {
        let title = format!("{}, seed {}: {}", run.scenario, run.seed, run.verdict);
        found.push((title, file(&run.scenario), format!("{}{}", run_details(run), run.reproduce)));
    }
    for scenario in &suite.summary {
        let title = || format!("{}: {}", scenario.scenario, Verdict::Inconclusive);
        found.extend(missed(scenario).map(|missed| (title(), file(&scenario.scenario), missed)));
    }
    if found.len() > ANNOTATIONS_MAX {
        let untold = found.split_off(ANNOTATIONS_MAX - 1).len();
        found.push(("tenantry".into(), None, format!("{untold} more did not pass: the log has them.")));
    }
    let mut out = String::new();
    for (title, file, message) in found {
        let file = file.map(|file| format!(",file={}", property(file))).unwrap_or_default();
        let _ = writeln!(out, "::error title={}{file}::{}", property(&title), data(&message));
    }
    out
}

/// Text after the second `::`.
fn data(text: &str) -> String {
    text.trim_end().replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// Text as a property's value, which ends at a comma or a colon.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::samples;
    use crate::suite::{Source, SuiteRecord};

    #[test]
    fn a_failing_suite_reads_like_this() {
        let mut suite = samples::failing_suite();
        suite.summary[1].source =
            Some(Source { file: "scenarios/partition_consumer_ledger.toml".into(), digest: "0123".into() });
        insta::assert_snapshot!(annotations(&suite));
    }

    #[test]
    fn a_passing_suite_says_nothing() {
        assert_eq!(annotations(&samples::passing_suite()), "");
    }

    #[test]
    fn no_words_of_a_run_become_a_command_or_a_property() {
        let mut run = samples::failed("calm", 1);
        run.record.error = Some("100% lost:\r\n::warning title=x::y".into());
        let mut suite = SuiteRecord::new(samples::build(), vec![run], &BTreeMap::new());
        suite.summary[0].source = Some(Source { file: "a,b:c.toml".into(), digest: String::new() });
        let expected = "::error title=calm%2C seed 1%3A failed,file=a%2Cb%3Ac.toml::100%25 lost:%0D%0A::warning title=x::y\
                        %0Atenantry run calm --seed 1\n";
        assert_eq!(annotations(&suite), expected);
    }

    #[test]
    fn of_many_the_first_are_told_and_the_rest_counted() {
        let runs = (1..=40).map(|seed| samples::failed("storm", seed)).collect();
        let told = annotations(&SuiteRecord::new(samples::build(), runs, &BTreeMap::new()));
        assert_eq!(told.lines().count(), ANNOTATIONS_MAX, "{told}");
        assert!(told.ends_with("::31 more did not pass: the log has them.\n"), "{told}");
    }
}
