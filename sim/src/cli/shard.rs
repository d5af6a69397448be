//! `--shard I/N`: which of the runs that were asked for are this machine's.
//!
//! All machines are called alike but for I, number the runs alike, and take each N of them apart the same way: each machine
//! one, in an order drawn anew for every N. Dealt out in turn instead, a machine could get the same few scenarios at every
//! seed, and have the long ones all to itself.

use std::str::FromStr;

use sha2::{Digest, Sha256};
use tenantry_reports::suite;
use tenantry_sim::engine::dice::Dice;

use super::find::Found;

/// The most machines that runs are shared out to.
const SHARDS_MAX: u32 = 1000;

/// One machine's part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shard {
    /// From 1.
    index: u32,
    of: u32,
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let right = "write I/N, such as 1/4 for the first of four machines";
        let (index, of) = text.split_once('/').ok_or(right)?;
        let number = |part: &str| part.parse::<u32>().map_err(|_| format!("{part:?} is no number; {right}"));
        let (index, of) = (number(index)?, number(of)?);
        if !(1..=SHARDS_MAX).contains(&of) {
            return Err(format!("{of} shards: there are 1 to {SHARDS_MAX}"));
        }
        if !(1..=of).contains(&index) {
            return Err(format!("there is no shard {index} of {of}: they count from 1 to {of}"));
        }
        Ok(Self { index, of })
    }
}

impl Shard {
    /// Whether the run with this number, from 0, is this machine's.
    pub(super) fn takes(self, number: u64) -> bool {
        let of = u64::from(self.of);
        let (block, place) = (number / of, number % of);
        let turn = Dice::new(0).range("shard", "", block, 0..=of - 1);
        (place + turn) % of == u64::from(self.index - 1)
    }

    /// Refuses fewer runs than machines: one of them would have nothing to say.
    pub(super) fn check(self, runs: u64) -> Result<(), miette::Report> {
        if runs >= u64::from(self.of) {
            return Ok(());
        }
        let help = "give more seeds, or fewer shards";
        Err(miette::miette!(help = help, "{runs} runs can't be shared out to {} shards", self.of))
    }

    /// What a report says of it.
    pub(super) fn note(self) -> String {
        let Self { index, of } = self;
        format!("Shard {index}/{of}: `tenantry merge` judges what must be reached sometimes, over all shards.")
    }

    /// What a record says of it. `what` is all that numbers the runs, beside the scenarios.
    pub(super) fn record<'a>(self, what: &str, scenarios: impl Iterator<Item = &'a Found>) -> suite::Shard {
        let mut hasher = Sha256::new();
        hasher.update(what);
        for found in scenarios {
            // Digests are all of one length, and a name is in its text.
            hasher.update(&found.source.digest);
        }
        let mut whole = hex::encode(hasher.finalize());
        whole.truncate(16);
        suite::Shard { index: self.index, of: self.of, whole }
    }
}

/// Keeps those of `runs` that are the shard's; all of them without one.
pub(super) fn share<T>(shard: Option<Shard>, runs: impl Iterator<Item = T>) -> impl Iterator<Item = T> {
    (0..).zip(runs).filter(move |(number, _)| shard.is_none_or(|shard| shard.takes(*number))).map(|(_, run)| run)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn each_run_is_one_machines_and_none_has_more_than_one_above_another() {
        for of in [1, 2, 3, 4, 7, 16] {
            for runs in [16_u64, 110, 528, 1001] {
                let mut taken = Vec::new();
                let mut sizes = Vec::new();
                for index in 1..=of {
                    let own: Vec<u64> = share(Some(Shard { index, of }), 0..runs).collect();
                    sizes.push(own.len());
                    taken.extend(own);
                }
                taken.sort_unstable();
                assert_eq!(taken, (0..runs).collect::<Vec<_>>(), "{runs} over {of}");
                assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1, "{runs} over {of}: {sizes:?}");
            }
        }
    }

    #[test]
    fn no_machine_has_a_scenario_to_itself() {
        // Four machines, 24 scenarios: numbers of one scenario lie a multiple of four apart.
        let mut seeds_of = BTreeMap::<(u64, u32), u64>::new();
        for index in 1..=4 {
            for number in share(Some(Shard { index, of: 4 }), 0..24 * 100) {
                *seeds_of.entry((number % 24, index)).or_default() += 1;
            }
        }
        assert_eq!(seeds_of.len(), 24 * 4);
        assert!(seeds_of.values().all(|seeds| (10..=40).contains(seeds)), "{seeds_of:?}");
    }

    #[test]
    fn without_a_shard_all_is_run() {
        assert_eq!(share(None, 5..9).collect::<Vec<_>>(), [5, 6, 7, 8]);
    }

    #[test]
    fn a_shard_is_written_i_of_n_and_nonsense_is_refused_with_what_would_be_right() {
        assert_eq!("2/4".parse(), Ok(Shard { index: 2, of: 4 }));
        assert_eq!("1/1".parse(), Ok(Shard { index: 1, of: 1 }));
        for (wrong, why) in [
            ("", "write I/N"),
            ("2", "write I/N"),
            ("a/4", "\"a\" is no number; write I/N"),
            ("1/-4", "\"-4\" is no number"),
            ("0/4", "there is no shard 0 of 4: they count from 1 to 4"),
            ("5/4", "there is no shard 5 of 4"),
            ("1/0", "0 shards: there are 1 to 1000"),
            ("1/1001", "1001 shards"),
            ("1/4/2", "is no number"),
        ] {
            let told = wrong.parse::<Shard>().unwrap_err();
            assert!(told.contains(why), "{wrong}: {told}");
        }
    }

    #[test]
    fn fewer_runs_than_shards_are_refused() {
        let shard = Shard { index: 1, of: 4 };
        assert!(shard.check(4).is_ok());
        assert_eq!(shard.check(3).unwrap_err().to_string(), "3 runs can't be shared out to 4 shards");
    }
}
