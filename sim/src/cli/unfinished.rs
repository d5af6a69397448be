//! Runs that have no record of their own: the harness panicked, or they were given up.

use std::collections::BTreeMap;
use std::time::Duration;

use tenantry_reports::latency::VirtualLatency;
use tenantry_reports::record::{Commands, RunRecord};
use tenantry_reports::suite::FinishedRun;
use tenantry_reports::verdict::Verdict;

use super::find::Found;

/// One in which the harness itself panicked, and said `why`.
pub(super) fn panicked(found: &Found, seed: u64, reproduce: String, why: &str) -> FinishedRun {
    failed(found, seed, format!("the harness panicked: {why}"), reproduce)
}

/// One that had not ended `after` this time: the line that runs it again gives it up as soon.
pub(super) fn hung(found: &Found, seed: u64, reproduce: &str, after: Duration) -> FinishedRun {
    let seconds = after.as_secs();
    let reproduce = format!("{reproduce} --hang {seconds}s");
    failed(found, seed, format!("it hung: no end after {seconds} s"), reproduce)
}

fn failed(found: &Found, seed: u64, error: String, reproduce: String) -> FinishedRun {
    let latency = VirtualLatency::new();
    let record = RunRecord {
        scenario: found.scenario.name.clone(),
        seed,
        verdict: Verdict::Failed,
        digest: String::new(),
        virtual_ms: 0,
        wall_ms: 0,
        commands: Commands::default(),
        faults: BTreeMap::new(),
        fault_effects: BTreeMap::new(),
        marks: BTreeMap::new(),
        invariants: Vec::new(),
        latency_virtual_ms: latency.summary(),
        stages_virtual_ms_counts: BTreeMap::new(),
        error: Some(error),
        violated_at_ms: None,
        cut_short: false,
        digest_chain: None,
        reproduce,
    };
    FinishedRun { record, latency }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::Parser;

    use super::*;
    use crate::cli::output::reproduce;
    use crate::cli::{Cli, find};

    #[test]
    fn the_line_that_runs_a_hung_run_again_is_one_that_run_takes_and_gives_it_up_as_soon() {
        let found = find::read(Path::new("../scenarios/smoke.toml")).unwrap();
        let hung = hung(&found, 7, &reproduce(&found, 7, None, false), Duration::from_secs(90)).record;
        assert!(hung.reproduce.ends_with(" --seed 7 --hang 90s"), "{}", hung.reproduce);
        assert!(Cli::try_parse_from(hung.reproduce.split(' ')).is_ok(), "{}", hung.reproduce);
        assert_eq!((hung.verdict, hung.error.as_deref()), (Verdict::Failed, Some("it hung: no end after 90 s")));
    }
}
