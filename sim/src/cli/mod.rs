//! The subcommands, one file each.
//!
//! Exit codes are law: 0 pass, 1 invariant violated, 2 usage or scenario error, 3 threshold or regression, 4
//! inconclusive, 5 nondeterminism, 70 internal.

mod bugs;
mod find;
mod hunt;
mod list;
mod output;
mod run;
mod seeds;

use clap::{Parser, Subcommand};

const AFTER: &str = "Exit codes: 0 pass, 1 invariant violated, 2 usage or scenario error, 3 threshold or regression, \
                     4 inconclusive, 5 nondeterminism, 70 internal.";

/// Runs the whole of Tenantry in seeded simulations, breaks it on purpose, and checks that no tenant touches another.
#[derive(Parser)]
#[command(name = "tenantry", version, after_help = AFTER, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run scenarios over seeds and judge them by the promises.
    Run(run::Run),
    /// Run seed after seed until one does not pass, or the time is up.
    Hunt(hunt::Hunt),
    /// Hunt the planted bugs: each must be found by the promise that it breaks, and nothing without one.
    Bugs(bugs::Bugs),
    /// List the scenarios.
    List(list::List),
}

impl Cli {
    /// Does what was asked and returns the exit code.
    pub(crate) fn execute(self) -> u8 {
        match self.command {
            Command::Run(run) => run.execute(),
            Command::Hunt(hunt) => hunt.execute(),
            Command::Bugs(bugs) => bugs.execute(),
            Command::List(list) => list.execute(),
        }
    }
}
