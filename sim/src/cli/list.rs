//! `tenantry list`: which scenarios there are, and what each shows.

use tenantry_reports::verdict::EXIT_USAGE;

use super::find::{Found, find};

/// What to list.
#[derive(clap::Args)]
pub(super) struct List {
    /// Scenario names, files or folders; all in `scenarios/` without any.
    scenarios: Vec<String>,
}

impl List {
    pub(super) fn execute(self) -> u8 {
        match find(&self.scenarios) {
            Ok(scenarios) => {
                let width = scenarios.iter().map(|found| found.scenario.name.len()).max().unwrap_or(0);
                for Found { scenario, .. } in scenarios {
                    anstream::println!("{:width$}  {}", scenario.name, scenario.description);
                }
                0
            }
            Err(report) => {
                anstream::eprintln!("{report:?}");
                EXIT_USAGE
            }
        }
    }
}
