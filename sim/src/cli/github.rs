//! What GitHub Actions shows of a job beside its log: annotations, and a page of Markdown.
//!
//! Both only where GitHub's own variables ask for them. Annotations go to stderr, which the runner reads as well: stdout
//! is the report's, and may be JSON.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use tenantry_reports::suite::SuiteRecord;
use tenantry_reports::{github, markdown};

/// Tells of `suite`. What can't be told is no failure of the run: stderr says so.
pub(super) fn tell(suite: &SuiteRecord) {
    if std::env::var_os("GITHUB_ACTIONS").as_deref() == Some(OsStr::new("true")) {
        // Nobody may be reading; the results are elsewhere.
        let _ = std::io::stderr().write_all(github::annotations(suite).as_bytes());
    }
    let Some(page) = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty()) else { return };
    let page = Path::new(&page);
    // Several steps of a job write to one page.
    let appended = OpenOptions::new().append(true).create(true).open(page);
    if let Err(error) = appended.and_then(|mut page| page.write_all(markdown::render(suite).as_bytes())) {
        anstream::eprintln!("failed to write the step's summary to {}: {error}", page.display());
    }
}
