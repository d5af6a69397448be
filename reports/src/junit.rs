//! A suite as JUnit XML, for the test dashboards of continuous integration.
//!
//! A scenario is a test suite and a seed a test case: violated is a failure, a harness that failed an error, and what
//! proved nothing is skipped. A record that keeps only what did not pass, as a hunt's does, has the others in one more case
//! that counts them. What no single run shows - a mark that no seed reached, a leak - has a case of its own.

use std::io;

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};

use crate::record::RunRecord;
use crate::suite::{ScenarioSummary, SuiteRecord};
use crate::text::{count, grouped, missed, run_details};
use crate::verdict::{SuiteVerdict, Verdict};

/// The document, indented, with a newline at its end.
pub fn render(suite: &SuiteRecord) -> String {
    let mut xml = Writer::new_with_indent(Vec::new(), b' ', 2);
    write(suite, &mut xml).expect("memory can be written to");
    let mut document = String::from_utf8(xml.into_inner()).expect("text was written");
    document.push('\n');
    document
}

/// One test case.
struct Case {
    name: String,
    wall_ms: u64,
    /// How it ended; `None` if it passed.
    end: Option<End>,
}

/// How a test case ended that did not pass.
struct End {
    /// The element that says so: `failure`, `error` or `skipped`.
    element: &'static str,
    verdict: String,
    /// One line.
    message: String,
    details: String,
}

impl End {
    fn new(verdict: SuiteVerdict, details: String) -> Self {
        let element = match verdict {
            SuiteVerdict::Failed => "error",
            SuiteVerdict::Inconclusive => "skipped",
            _ => "failure",
        };
        let message = details.lines().next().unwrap_or_default().to_owned();
        Self { element, verdict: verdict.to_string(), message, details }
    }
}

fn write(suite: &SuiteRecord, xml: &mut Writer<Vec<u8>>) -> io::Result<()> {
    let mut suites: Vec<_> = suite
        .summary
        .iter()
        .map(|scenario| (scenario.scenario.as_str(), cases(suite, scenario), properties(scenario)))
        .collect();
    if !suite.reasons.is_empty() {
        let case = |reason: &String| Case {
            name: reason.clone(),
            wall_ms: 0,
            end: Some(End { element: "failure", ..End::new(suite.verdict, reason.clone()) }),
        };
        suites.push(("tenantry", suite.reasons.iter().map(case).collect(), Vec::new()));
    }
    let all: Vec<&Case> = suites.iter().flat_map(|(_, cases, _)| cases).collect();
    let totals = totals(&all);
    xml.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    let top = xml.create_element("testsuites").with_attribute(("name", "tenantry"));
    top.with_attributes(attributes(&totals)).write_inner_content(|xml| {
        suites.iter().try_for_each(|(name, cases, properties)| test_suite(xml, name, cases, properties))
    })?;
    Ok(())
}

/// The cases of one scenario.
fn cases(suite: &SuiteRecord, scenario: &ScenarioSummary) -> Vec<Case> {
    let runs = || suite.runs.iter().filter(|run| run.scenario == scenario.scenario);
    let mut cases: Vec<Case> = runs().map(case).collect();
    let counted = |name: String, end| Case { name, wall_ms: 0, end };
    let kept = |passed: bool| runs().filter(|run| (run.verdict == Verdict::Pass) == passed).count() as u64;
    let passed = scenario.passed - kept(true);
    if passed > 0 {
        cases.push(counted(format!("{} passed", count(passed, "seed")), None));
    }
    let bad = scenario.seeds - scenario.passed - kept(false);
    if bad > 0 {
        let name = format!("{} more did not pass", grouped(bad));
        cases.push(counted(name.clone(), Some(End::new(scenario.verdict.into(), name))));
    }
    if let Some(missed) = missed(scenario) {
        let end = End { element: "failure", ..End::new(SuiteVerdict::Inconclusive, missed) };
        cases.push(counted("sometimes".into(), Some(end)));
    }
    cases
}

fn case(run: &RunRecord) -> Case {
    let details = || format!("{}\nReproduce it with:\n{}\n", run_details(run), run.reproduce);
    let end = (run.verdict != Verdict::Pass).then(|| End::new(run.verdict.into(), details()));
    Case { name: format!("seed {}", run.seed), wall_ms: run.wall_ms, end }
}

/// What the whole scenario sums up to, whichever of its runs are kept.
fn properties(scenario: &ScenarioSummary) -> Vec<(&'static str, String)> {
    let mut properties = vec![
        ("verdict", scenario.verdict.to_string()),
        ("seeds", scenario.seeds.to_string()),
        ("passed", scenario.passed.to_string()),
        ("comparisons", scenario.compared.values().sum::<u64>().to_string()),
    ];
    properties.extend(scenario.source.as_ref().map(|source| ("file", source.file.clone())));
    properties
}

/// The counts of cases that both levels of suites carry, and their time in seconds.
fn totals(cases: &[&Case]) -> [(&'static str, String); 5] {
    let ended = |element: &str| {
        let is = |case: &&&Case| case.end.as_ref().is_some_and(|end| end.element == element);
        cases.iter().filter(is).count().to_string()
    };
    let wall_ms = cases.iter().map(|case| case.wall_ms).sum();
    let (failures, errors, skipped) = (ended("failure"), ended("error"), ended("skipped"));
    let tests = cases.len().to_string();
    [("tests", tests), ("failures", failures), ("errors", errors), ("skipped", skipped), ("time", seconds(wall_ms))]
}

fn attributes<'a>(pairs: &'a [(&'static str, String)]) -> impl Iterator<Item = (&'a str, &'a str)> {
    pairs.iter().map(|(name, value)| (*name, value.as_str()))
}

fn test_suite(
    xml: &mut Writer<Vec<u8>>,
    name: &str,
    cases: &[Case],
    properties: &[(&'static str, String)],
) -> io::Result<()> {
    let totals = totals(&cases.iter().collect::<Vec<_>>());
    let suite = xml.create_element("testsuite").with_attribute(("name", allowed(name).as_str()));
    suite.with_attributes(attributes(&totals)).write_inner_content(|xml| {
        if !properties.is_empty() {
            xml.create_element("properties").write_inner_content(|xml| {
                properties.iter().try_for_each(|(name, value)| {
                    let value = allowed(value);
                    let property = xml.create_element("property").with_attribute(("name", *name));
                    property.with_attribute(("value", value.as_str())).write_empty().map(drop)
                })
            })?;
        }
        cases.iter().try_for_each(|case| test_case(xml, name, case))
    })?;
    Ok(())
}

fn test_case(xml: &mut Writer<Vec<u8>>, suite: &str, case: &Case) -> io::Result<()> {
    let (class, name, time) = (allowed(suite), allowed(&case.name), seconds(case.wall_ms));
    let attributes = [("classname", class.as_str()), ("name", &name), ("time", &time)];
    let element = xml.create_element("testcase").with_attributes(attributes);
    let Some(end) = &case.end else { return element.write_empty().map(drop) };
    let (message, details) = (allowed(&end.message), allowed(&end.details));
    element.write_inner_content(|xml| {
        let mut element = xml.create_element(end.element).with_attribute(("message", message.as_str()));
        // The schemas that dashboards check against know no type of what was skipped.
        if end.element != "skipped" {
            element = element.with_attribute(("type", end.verdict.as_str()));
        }
        element.write_text_content(BytesText::new(&details)).map(drop)
    })?;
    Ok(())
}

/// Milliseconds as seconds, the unit of JUnit's times.
fn seconds(ms: u64) -> String {
    format!("{}.{:03}", ms / 1000, ms % 1000)
}

/// Text without the characters that XML 1.0 forbids even when they are escaped.
fn allowed(text: &str) -> String {
    let is_allowed =
        |c: char| !c.is_control() && !matches!(c, '\u{fffe}' | '\u{ffff}') || matches!(c, '\t' | '\n' | '\r');
    text.chars().map(|c| if is_allowed(c) { c } else { '\u{fffd}' }).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use roxmltree::{Document, Node};

    use super::*;
    use crate::samples;
    use crate::suite::{Keep, Summing};

    #[test]
    fn a_passing_suite_reads_like_this() {
        insta::assert_snapshot!(render(&samples::passing_suite()));
    }

    #[test]
    fn a_failing_suite_reads_like_this() {
        insta::assert_snapshot!(render(&samples::failing_suite()));
    }

    /// The element's counts as they stand in it, and as its cases come to.
    fn counted(element: Node<'_, '_>) -> (Vec<usize>, Vec<usize>) {
        let told =
            ["tests", "failures", "errors", "skipped"].map(|name| element.attribute(name).unwrap().parse().unwrap());
        let are = |name| element.descendants().filter(|node| node.has_tag_name(name)).count();
        (told.to_vec(), ["testcase", "failure", "error", "skipped"].map(are).to_vec())
    }

    #[test]
    fn the_counts_are_those_of_the_cases() {
        let mut suite = samples::failing_suite();
        suite.worsen(SuiteVerdict::Failed, "It leaks.");
        let xml = render(&suite);
        let document = Document::parse(&xml).unwrap();
        for element in document.descendants().filter(|node| node.tag_name().name().starts_with("testsuite")) {
            let (told, are) = counted(element);
            assert_eq!(told, are, "{xml}");
        }
        assert_eq!(counted(document.root_element()).0, [7, 3, 1, 1], "{xml}");
    }

    #[test]
    fn whatever_a_violation_says_the_document_can_be_read_and_says_it() {
        let mut run = samples::violated("calm", 1);
        let told = "<m-1> & \"acme\" said ']]>' \u{1b}[31m\u{0}\u{ffff} ü\nand more";
        run.record.invariants[0].violations[0] = told.into();
        run.record.reproduce = "tenantry run 'a&b <c>.toml' --seed 1".into();
        let xml = render(&SuiteRecord::new(samples::build(), vec![run], &BTreeMap::new()));
        let document = Document::parse(&xml).unwrap();
        let failure = document.descendants().find(|node| node.has_tag_name("failure")).unwrap();
        let text = failure.text().unwrap();
        assert!(text.contains("<m-1> & \"acme\" said ']]>' \u{fffd}[31m\u{fffd}\u{fffd} ü\nand more"), "{text}");
        assert!(text.contains("tenantry run 'a&b <c>.toml' --seed 1"), "{text}");
    }

    #[test]
    fn runs_that_a_hunt_did_not_keep_are_counted_in_one_case() {
        let mut summing = Summing::new(Keep::Bad(2));
        (1..=1200).for_each(|seed| summing.take(samples::passed("calm", seed)));
        (1201..=1205).for_each(|seed| summing.take(samples::violated("calm", seed)));
        let xml = render(&summing.finish(samples::build(), &BTreeMap::new()));
        let document = Document::parse(&xml).unwrap();
        let names = document
            .descendants()
            .filter(|node| node.has_tag_name("testcase"))
            .filter_map(|node| node.attribute("name"));
        let names: Vec<_> = names.collect();
        assert_eq!(names, ["seed 1201", "seed 1202", "1,200 seeds passed", "3 more did not pass"]);
    }
}
