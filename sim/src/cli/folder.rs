//! `--report DIR`: a folder with all that is to be read of a suite, and with the runs of interest in full.
//!
//! ```text
//! DIR/index.html  record.json  summary.txt  summary.md  junit.xml     the suite
//! DIR/runs/<scenario>-<seed>.html  .json  .txt  .md  .hlog     a run, its latencies as text and for HdrHistogram's tools
//! ```
//!
//! Runs are kept without their events, for there may be thousands. One of interest is simply run again with them: it is the same
//! to the last event.

use std::path::{Path, PathBuf};

use tenantry_reports::record::RunRecord;
use tenantry_reports::report::RunReport;
use tenantry_reports::suite::SuiteRecord;
use tenantry_reports::verdict::Verdict;
use tenantry_reports::{hlog, html, json, junit, markdown, run_markdown, run_text, text};
use tenantry_sim::bugs::Bug;
use tenantry_sim::tenantry::report::{self, About};
use tenantry_sim::tenantry::run::{Ended, Setup};

use super::find::Found;
use super::output::{build, check_folder, reproduce, setup, write};

/// Runs that did not pass and are told in full; where all passed, one of each scenario is.
const BAD_RUNS_MAX: usize = 10;

/// Where reports go.
#[derive(clap::Args)]
pub(super) struct Folder {
    /// Write reports into this folder: the suite as JSON, text, Markdown and JUnit, and in full the first ten runs that did not
    /// pass, or one of each scenario.
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
}

impl Folder {
    /// Makes the folder, before the work of hours would be lost for want of it.
    pub(super) fn check(&self) -> Result<(), miette::Report> {
        let Some(folder) = &self.report else { return Ok(()) };
        check_folder(folder, "index.html")?;
        check_folder(&folder.join("runs"), "probe")
    }

    /// Writes `suite`, and its runs of interest in full.
    pub(super) fn write<'f>(
        &self,
        suite: &SuiteRecord,
        scenarios: impl Iterator<Item = &'f Found>,
        bug: Option<Bug>,
        to_the_end: bool,
    ) -> Result<(), miette::Report> {
        let Some(folder) = &self.report else { return Ok(()) };
        let scenarios: Vec<&Found> = scenarios.collect();
        let told = of_interest(suite);
        let page = |run: &RunRecord| {
            let own = told.iter().any(|(name, seed)| *name == run.scenario && *seed == run.seed);
            own.then(|| format!("runs/{}-{}.html", run.scenario, run.seed))
        };
        for (name, seed) in told.clone() {
            let Some(found) = scenarios.iter().find(|found| found.scenario.name == name) else { continue };
            let setup = setup(found, seed, bug, to_the_end);
            let mut ended = setup.run(true);
            ended.finished.record.reproduce = reproduce(found, seed, bug, to_the_end);
            write_run(folder, &of(found, &setup, &ended))?;
        }
        for (name, content) in [
            ("index.html", html::suite(suite, page)),
            ("record.json", json::render(suite)),
            ("summary.txt", text::render(suite)),
            ("summary.md", markdown::render(suite)),
            ("junit.xml", junit::render(suite)),
        ] {
            write(&folder.join(name), content.as_bytes())?;
        }
        Ok(())
    }

    /// The folder at `report`, if there is to be one.
    pub(super) fn at(report: Option<PathBuf>) -> Self {
        Self { report }
    }

    /// Runs `shrunk` again with its events and writes it in full, its plan beside the `original`'s that it was shrunk from.
    pub(super) fn write_shrunk(&self, found: &Found, original: &Setup, shrunk: &Setup) -> Result<(), miette::Report> {
        let Some(folder) = &self.report else { return Ok(()) };
        let mut ended = shrunk.run(true);
        ended.finished.record.reproduce = reproduce(found, shrunk.plan.seed, None, false);
        let mut report = of(found, shrunk, &ended);
        report.plan.original = Some(report::plan_entries(original));
        write_run(folder, &report)
    }

    /// Writes one run in full, which has ended with its events.
    pub(super) fn write_one(&self, found: &Found, setup: &Setup, ended: &Ended) -> Result<(), miette::Report> {
        let Some(folder) = &self.report else { return Ok(()) };
        write_run(folder, &of(found, setup, ended))
    }
}

fn of(found: &Found, setup: &Setup, ended: &Ended) -> RunReport {
    let description = found.scenario.description.clone();
    report::of(setup, ended, About { build: build(), description, source: Some(found.source.clone()) })
}

/// Scenarios and seeds of the runs that are told in full. One that hung or broke the harness has no digest, and would do so
/// again.
fn of_interest(suite: &SuiteRecord) -> Vec<(String, u64)> {
    let named = |name: &String, seed| (name.clone(), seed);
    let bad = suite.bad_runs().into_iter().filter(|run| !run.digest.is_empty());
    let bad: Vec<_> = bad.take(BAD_RUNS_MAX).map(|run| named(&run.scenario, run.seed)).collect();
    if !bad.is_empty() {
        return bad;
    }
    let passed = suite.summary.iter().filter(|scenario| scenario.verdicts.contains_key(&Verdict::Pass));
    passed.map(|scenario| named(&scenario.scenario, scenario.seed_min)).collect()
}

fn write_run(folder: &Path, report: &RunReport) -> Result<(), miette::Report> {
    let name = format!("{}-{}", report.record.scenario, report.record.seed);
    let path = |extension: &str| folder.join("runs").join(format!("{name}.{extension}"));
    let mut json = serde_json::to_vec(report).map_err(|error| miette::miette!("failed to write {name}: {error}"))?;
    json.push(b'\n');
    let log = hlog::render(report).map_err(|error| miette::miette!("failed to write {name}: {error}"))?;
    write(&path("json"), &json)?;
    write(&path("hlog"), log.as_bytes())?;
    write(&path("html"), html::run(report).as_bytes())?;
    write(&path("md"), run_markdown::render(report).as_bytes())?;
    write(&path("txt"), run_text::render(report).as_bytes())
}
