//! The subcommands, one file each.
//!
//! Exit codes are law: 0 pass, 1 invariant violated, 2 usage or scenario error, 3 threshold or regression, 4
//! inconclusive, 5 nondeterminism, 70 internal.

mod bugs;
mod compare;
mod completions;
mod find;
mod folder;
mod github;
mod hunt;
mod list;
mod live;
mod load;
mod man;
mod merge;
mod named;
mod output;
mod processor;
mod progress;
mod replay;
mod run;
mod schema;
mod seeds;
mod shard;
mod shrink;
mod stop;
mod unfinished;

use clap::{Parser, Subcommand};
use tenantry_reports::verdict::EXIT_USAGE;

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
    /// Merge the records of several machines, and judge them as one.
    Merge(merge::Merge),
    /// Compare two records: what shifted, how far, and how sure that is.
    Compare(compare::Compare),
    /// Make a violation small: the fewest faults and acts that still break the same invariant.
    Shrink(shrink::Shrink),
    /// Run a violation again, tell its story, and say whether it is the same.
    Replay(replay::Replay),
    /// Hunt the planted bugs: each must be found by the promise that it breaks, and nothing without one.
    Bugs(bugs::Bugs),
    /// Load a live system with a scenario's commands, in wall time, and judge how fast it is.
    Load(load::Load),
    /// List the scenarios.
    List(list::List),
    /// Print the JSON Schema of scenario files.
    Schema(schema::Schema),
    /// Print completions for a shell.
    Completions(completions::Completions),
    /// Print or write manual pages.
    Man(man::Man),
}

impl Cli {
    /// Does what was asked and returns the exit code.
    pub(crate) fn execute(self) -> u8 {
        let ended = match self.command {
            Command::Run(run) => run.execute(),
            Command::Hunt(hunt) => hunt.execute(),
            Command::Merge(merge) => merge.execute(),
            Command::Compare(compare) => compare.execute(),
            Command::Shrink(shrink) => shrink.execute(),
            Command::Replay(replay) => replay.execute(),
            Command::Bugs(bugs) => bugs.execute(),
            Command::Load(load) => load.execute(),
            Command::List(list) => list.execute(),
            Command::Schema(schema) => schema.execute(),
            Command::Completions(completions) => completions.execute(),
            Command::Man(man) => man.execute(),
        };
        // Whatever ran has told of itself; an error is of what was asked for.
        ended.unwrap_or_else(|report| {
            anstream::eprintln!("{report:?}");
            EXIT_USAGE
        })
    }
}

#[cfg(test)]
mod workflow_tests;
