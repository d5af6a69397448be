//! Hunts one bug: seed after seed of a scenario, until the promise that it breaks is violated.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::time::Duration;

use tenantry_reports::verdict::Verdict;

use super::Bug;
use crate::engine::hunt::{Ended, hunt as each_seed};
use crate::tenantry::early::Until;
use crate::tenantry::run::Setup;
use crate::tenantry::section::Scenario;

/// How far a hunt goes.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The first seed.
    pub from: u64,
    /// How many at most.
    pub seeds: u64,
    /// A run that takes longer, in real time, is given up.
    pub hang: Duration,
}

/// What became of a hunt.
#[derive(Debug, Clone)]
pub struct Hunted {
    /// Which bug was hunted.
    pub bug: Bug,
    /// How many seeds it took, and the run that found it; none if it survived all of them.
    pub found: Option<(u64, Setup)>,
    /// What was violated in that run; if there is none, in any.
    pub violated: BTreeSet<String>,
    /// What the promise's invariant said of it first; if it was not found, what else went wrong.
    pub story: Option<String>,
}

/// Hunts `bug` in `scenario`, one seed at a time, each on a thread of its own.
#[must_use]
pub fn hunt(bug: Bug, scenario: &Scenario, limits: &Limits) -> Hunted {
    let mut hunted = Hunted { bug, found: None, violated: BTreeSet::new(), story: None };
    let setup = |seed: u64| {
        let mut setup = Setup::expand(scenario, seed);
        setup.bug = Some(bug);
        // Its own promise is looked for: another that is broken before ends nothing.
        setup.until = Until::Violation(bug.promise().into());
        setup
    };
    let jobs =
        (limits.from..).take(usize::try_from(limits.seeds).unwrap_or(usize::MAX)).map(|seed| (seed, setup(seed)));
    let run = |(_, setup): &(u64, Setup)| setup.run(false).finished.record;
    each_seed(jobs, 1, limits.hang, run, |(seed, setup), ended| {
        let record = match ended {
            Ended::Done(record) => record,
            Ended::Panicked(why) => {
                hunted.story.get_or_insert(format!("seed {seed}: the harness panicked: {why}"));
                return ControlFlow::Continue(());
            }
            Ended::Hung(_) => {
                hunted.story.get_or_insert(format!("seed {seed}: it hung"));
                return ControlFlow::Continue(());
            }
        };
        if record.verdict == Verdict::Failed {
            hunted.story.get_or_insert(format!("seed {seed}: {}", record.error.unwrap_or_default()));
            return ControlFlow::Continue(());
        }
        let violated = record.invariants.iter().filter(|invariant| invariant.violations_total > 0);
        let names: BTreeSet<_> = violated.clone().map(|invariant| invariant.name.clone()).collect();
        let Some(by) = violated.clone().find(|invariant| invariant.name == bug.promise()) else {
            hunted.violated.extend(names);
            return ControlFlow::Continue(());
        };
        let taken = seed - limits.from + 1;
        hunted.story = by.violations.first().cloned();
        (hunted.found, hunted.violated) = (Some((taken, setup)), names);
        ControlFlow::Break(())
    });
    hunted
}
