//! Planted bugs: what such systems are known to do wrong, each a small decorator over one of the system's traits.
//!
//! A harness that never finds anything proves nothing. So each trap is built on purpose and put between an engine and
//! whoever talks to it; the production code is not touched and knows of none of them. `tenantry bugs` hunts them all and says
//! which promise each was found by; `--bug NAME` runs any scenario with one of them.
//!
//! A bug that falsifies what an engine does stands behind the harness's watch ([`crate::tenantry::watch`]), which sees what it
//! makes of the store; one that falsifies what clients are told stands before it. The stores themselves are always read
//! past it.

mod ack_before_commit;
mod answers_swapped;
mod approval_reused;
mod approvers_forgotten;
mod audit_loses;
mod audit_outage_open;
mod confirm_before_sync;
mod confirm_from_memory;
mod conflict_accepted;
mod dead_letter_lost;
mod dead_letter_off_by_one;
mod dedup_before_effect;
mod dedup_forgotten;
mod deputy;
mod dry_run_acts;
mod expected_version_ignored;
mod find;
mod float_amounts;
mod forge;
mod grant_expires_in_queue;
mod instant_retry;
mod kit;
mod lane_ignored;
mod late_ack;
mod lease_never_ends;
mod lenient_reader;
mod limiter_fails_open;
mod longest_queue_first;
mod misrouted_by_prefix;
mod moved_ciphertext;
mod nack_is_ack;
mod own_approval;
mod pause_too_early;
mod poison_blocks;
mod read_by_prefix;
mod redelivery_reorders;
mod relays_out_of_order;
mod relays_twice;
mod reports_in_memory;
mod rules_bent;
pub mod seam;
mod secret_in_log;
mod stale_allow_cached;
mod stale_decision;
mod stream_bent;
pub mod traps;
mod unbound_grant;
mod webhook_gives_up;
mod zombie_consumer;

use std::fmt;
use std::sync::Arc;

use tenantry_system::alerting::{RulesError, Watching};
use tenantry_system::audit::Audit;
use tenantry_system::auth::Authority;
use tenantry_system::broker::Broker;
use tenantry_system::capability::World;
use tenantry_system::ledger::Ledger;
use tenantry_system::rate_limit::RateLimits;

pub use find::{Hunted, Limits, hunt};
pub use kit::Kit;

/// Where a bug is put, and what puts it there around what was there before.
pub enum Seam {
    /// Around the broker's engine.
    Broker(fn(Arc<dyn Broker>, &Kit) -> Arc<dyn Broker>),
    /// Around the ledger's engine.
    Ledger(fn(Arc<dyn Ledger>, &Kit) -> Arc<dyn Ledger>),
    /// Between the watched ledger and its clients.
    LedgerAnswers(fn(Arc<dyn Ledger>, &Kit) -> Arc<dyn Ledger>),
    /// Around auth's engine.
    Authority(fn(Arc<dyn Authority>, &Kit) -> Arc<dyn Authority>),
    /// Around the audit log's engine.
    Audit(fn(Arc<dyn Audit>, &Kit) -> Arc<dyn Audit>),
    /// In the place of what watches the audit log, from the text of its rules.
    Watching(fn(&str) -> Result<Box<dyn Watching>, RulesError>),
    /// Around the world of the host of this name; of all hosts where it is `*`.
    World(&'static str, fn(World, &Kit) -> World),
    /// Over the producer's rate limits.
    Limits(fn(RateLimits) -> RateLimits),
}

impl Seam {
    /// What it is put around, in a word.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Broker(_) => "broker",
            Self::Ledger(_) => "ledger",
            Self::LedgerAnswers(_) => "ledger's answers",
            Self::Authority(_) => "auth",
            Self::Audit(_) => "audit log",
            Self::Watching(_) => "rules",
            Self::World(..) => "world",
            Self::Limits(_) => "rate limits",
        }
    }
}

/// One row of the table.
struct Planted {
    name: &'static str,
    /// The trap, as one sentence.
    trap: &'static str,
    /// The promise that it breaks: the name of the invariant that must find it.
    promise: &'static str,
    seams: &'static [Seam],
}

/// One that the standard chaos has nothing to show of.
struct Elsewhere {
    /// The scenario that finds it.
    scenario: &'static str,
    /// Why the standard chaos can't, as one sentence.
    why: &'static str,
    planted: Planted,
}

/// The scenario that finds all others: the standard chaos.
pub const CHAOS: &str = "chaos";

/// A bug that can be planted: a row of the table.
#[derive(Clone, Copy)]
pub struct Bug(&'static Planted);

impl Bug {
    /// All that the standard chaos must find, in the order of the promises that they break.
    pub fn all() -> impl Iterator<Item = Self> {
        BUGS.iter().map(Self)
    }

    /// Those that it can't find, for it has nothing that they would show in: scenarios of their own do.
    pub fn elsewhere() -> impl Iterator<Item = Self> {
        ELSEWHERE.iter().map(|elsewhere| Self(&elsewhere.planted))
    }

    /// The one of this name.
    #[must_use]
    pub fn find(name: &str) -> Option<Self> {
        Self::all().chain(Self::elsewhere()).find(|bug| bug.name() == name)
    }

    /// Its name, as the command line takes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.0.name
    }

    /// The trap, as one sentence.
    #[must_use]
    pub fn trap(self) -> &'static str {
        self.0.trap
    }

    /// The scenario that must find it.
    #[must_use]
    pub fn scenario(self) -> &'static str {
        self.row_elsewhere().map_or(CHAOS, |elsewhere| elsewhere.scenario)
    }

    /// Why the standard chaos can't find it, as one sentence; none if it must.
    #[must_use]
    pub fn why_not_chaos(self) -> Option<&'static str> {
        self.row_elsewhere().map(|elsewhere| elsewhere.why)
    }

    fn row_elsewhere(self) -> Option<&'static Elsewhere> {
        ELSEWHERE.iter().find(|elsewhere| elsewhere.planted.name == self.name())
    }

    /// The invariant that must find it.
    #[must_use]
    pub fn promise(self) -> &'static str {
        self.0.promise
    }

    /// Where it is put.
    #[must_use]
    pub fn seams(self) -> &'static [Seam] {
        self.0.seams
    }
}

impl fmt::Debug for Bug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl PartialEq for Bug {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Bug {}

const BUGS: &[Planted] = &[
    Planted {
        name: "misrouted-by-prefix",
        trap: "A tenant that is not known yet is looked up by the beginning of its name: t-1 gets what is for t-11.",
        promise: "G1-isolation",
        seams: &[Seam::Ledger(misrouted_by_prefix::plant)],
    },
    Planted {
        name: "read-by-prefix",
        trap: "Whoever reads one tenant is shown another, whose name it begins with.",
        promise: "G1-isolation",
        seams: &[Seam::LedgerAnswers(read_by_prefix::plant)],
    },
    Planted {
        name: "confused-deputy",
        trap: "What an operator may not do, the platform asks for in the name of someone who may.",
        promise: "G1-isolation",
        seams: &[Seam::Authority(deputy::commands)],
    },
    Planted {
        name: "grant-for-another-body",
        trap: "A genuine grant is believed beside another body than it was given for.",
        promise: "G1-isolation",
        seams: &[Seam::Broker(unbound_grant::body), Seam::Authority(unbound_grant::keys)],
    },
    Planted {
        name: "grant-of-another-tenant",
        trap: "A genuine grant of one tenant is believed beside a body for another.",
        promise: "G1-isolation",
        seams: &[Seam::Broker(unbound_grant::tenant), Seam::Authority(unbound_grant::keys)],
    },
    Planted {
        name: "signature-unchecked",
        trap: "A grant names a key of auth's, and nobody verifies that it was signed with it.",
        promise: "G1-isolation",
        seams: &[Seam::Broker(unbound_grant::signature), Seam::Authority(unbound_grant::keys)],
    },
    Planted {
        name: "audience-unchecked",
        trap: "A genuine grant counts for whatever it stands beside: one to read lets a command through.",
        promise: "G1-isolation",
        seams: &[Seam::Broker(unbound_grant::audience), Seam::Authority(unbound_grant::keys)],
    },
    Planted {
        name: "algorithm-believed",
        trap: "A grant says of itself how it is signed: not at all.",
        promise: "G1-isolation",
        seams: &[Seam::Broker(unbound_grant::algorithm), Seam::Authority(unbound_grant::keys)],
    },
    Planted {
        name: "duplicate-keys",
        trap: "Of a key that is given twice the last counts, whichever the others read.",
        promise: "G1-isolation",
        seams: &[Seam::Broker(lenient_reader::last_wins), Seam::Authority(unbound_grant::keys)],
    },
    Planted {
        name: "folded-ids",
        trap: "Ids that look alike are taken for the same.",
        promise: "G1-isolation",
        seams: &[Seam::Broker(lenient_reader::folded_ids), Seam::Authority(unbound_grant::keys)],
    },
    Planted {
        name: "lane-ignored",
        trap: "Lane and body disagree about the tenant, and the message acts all the same.",
        promise: "G1-isolation",
        seams: &[Seam::Broker(lane_ignored::plant)],
    },
    Planted {
        name: "dry-run-acts",
        trap: "Trying a command does it.",
        promise: "G1-isolation",
        seams: &[Seam::Ledger(dry_run_acts::plant)],
    },
    Planted {
        name: "stale-allow-cached",
        trap: "Auth remembers what it once allowed, and a revocation changes nothing.",
        promise: "G2-authority",
        seams: &[Seam::Authority(stale_allow_cached::plant)],
    },
    Planted {
        name: "stale-decision",
        trap: "A revocation races the effect: a decision that it has overtaken counts all the same.",
        promise: "G2-authority",
        seams: &[Seam::Ledger(stale_decision::plant)],
    },
    Planted {
        name: "pause-too-early",
        trap: "A pause is confirmed while commands that are in work still take effect.",
        promise: "G2-authority",
        seams: &[Seam::Ledger(pause_too_early::plant)],
    },
    Planted {
        name: "dedup-forgotten",
        trap: "Deduplication forgets too early: what comes again later takes effect again.",
        promise: "G3-one-outcome",
        seams: &[Seam::Ledger(dedup_forgotten::plant)],
    },
    Planted {
        name: "conflict-accepted",
        trap: "Another payload under a known message id is answered as accepted.",
        promise: "G3-one-outcome",
        seams: &[Seam::Broker(conflict_accepted::plant)],
    },
    Planted {
        name: "dead-letter-off-by-one",
        trap: "Of a run with a poison message, the one behind it is put aside.",
        promise: "G3-dead-letters",
        seams: &[Seam::Broker(dead_letter_off_by_one::plant)],
    },
    Planted {
        name: "grant-expires-in-queue",
        trap: "A grant lives as briefly as an ordinary token, and accepted commands outlive it in the queue.",
        promise: "G3-one-outcome",
        seams: &[Seam::Authority(grant_expires_in_queue::plant)],
    },
    Planted {
        name: "answers-swapped",
        trap: "The answer about one command reaches whoever asks about the next.",
        promise: "G3-one-outcome",
        seams: &[Seam::LedgerAnswers(answers_swapped::plant)],
    },
    Planted {
        name: "effect-without-audit",
        trap: "Effect and audit are not atomic: some decisions take effect and never come to the log.",
        promise: "G3-one-outcome",
        seams: &[Seam::Audit(audit_loses::decisions)],
    },
    Planted {
        name: "replay-unauthorized",
        trap: "A dead letter is replayed for someone who may not have it replayed.",
        promise: "G3-dead-letters",
        seams: &[Seam::Authority(deputy::replays)],
    },
    Planted {
        name: "ack-before-commit",
        trap: "A command is acknowledged before the ledger has committed it.",
        promise: "G4-nothing-lost",
        seams: &[Seam::LedgerAnswers(ack_before_commit::plant)],
    },
    Planted {
        name: "dedup-before-effect",
        trap: "Deduplication is claimed before the effect: what failed the first time counts as done the second.",
        promise: "G4-nothing-lost",
        seams: &[Seam::LedgerAnswers(dedup_before_effect::plant)],
    },
    Planted {
        name: "confirm-before-sync",
        trap: "The broker confirms before the disk has the message.",
        promise: "G4-nothing-lost",
        seams: &[Seam::World("broker", confirm_before_sync::plant)],
    },
    Planted {
        name: "ledger-confirms-before-sync",
        trap: "The ledger answers before the disk has the effect, and the acknowledged command is gone.",
        promise: "G4-nothing-lost",
        seams: &[Seam::World("ledger", confirm_before_sync::plant)],
    },
    Planted {
        name: "late-ack",
        trap: "A settlement that comes late settles what another has in work.",
        promise: "G4-nothing-lost",
        seams: &[Seam::Broker(late_ack::plant)],
    },
    Planted {
        name: "nack-is-ack",
        trap: "What a consumer gives back because it can't be done now is taken for done.",
        promise: "G4-nothing-lost",
        seams: &[Seam::Broker(nack_is_ack::plant)],
    },
    Planted {
        name: "dead-letter-lost",
        trap: "What is refused is forgotten, not put aside.",
        promise: "G4-nothing-lost",
        seams: &[Seam::Broker(dead_letter_lost::plant)],
    },
    Planted {
        name: "redelivery-reorders",
        trap: "What is delivered again comes in another order, and the last writer wins.",
        promise: "G5-order",
        seams: &[Seam::Broker(redelivery_reorders::plant)],
    },
    Planted {
        name: "confirm-from-memory",
        trap: "A publish is confirmed while it is still in memory.",
        promise: "G5-order",
        seams: &[Seam::Broker(confirm_from_memory::plant)],
    },
    Planted {
        name: "zombie-consumer",
        trap: "A consumer that slept through the end of its lease overwrites what came after it.",
        promise: "G6-billing",
        seams: &[Seam::Ledger(zombie_consumer::plant)],
    },
    Planted {
        name: "expected-version-ignored",
        trap: "A change that was to be made only if nobody had been faster is made anyway.",
        promise: "G6-billing",
        seams: &[Seam::Ledger(expected_version_ignored::plant)],
    },
    Planted {
        name: "float-amounts",
        trap: "Money is reckoned in floating point.",
        promise: "G6-billing",
        seams: &[Seam::Ledger(float_amounts::plant)],
    },
    Planted {
        name: "audit-gap",
        trap: "Some steps never come to the audit log, and its numbers show no gap.",
        promise: "G7-steps-on-record",
        seams: &[Seam::Audit(audit_loses::steps)],
    },
    Planted {
        name: "audit-outage-fails-open",
        trap: "While the audit log can't be reached, what should stand in it is dropped.",
        promise: "G7-steps-on-record",
        seams: &[Seam::World("*", audit_outage_open::plant), Seam::Audit(audit_loses::others)],
    },
    Planted {
        name: "unlogged-refusals",
        trap: "What was refused is on no record.",
        promise: "G7-attempts-on-record",
        seams: &[Seam::Audit(audit_loses::refusals)],
    },
    Planted {
        name: "reports-in-memory",
        trap: "What was refused is kept in memory until the log has it, and a crash forgets it.",
        promise: "G7-attempts-on-record",
        seams: &[Seam::World("*", reports_in_memory::plant)],
    },
    Planted {
        name: "relays-twice",
        trap: "The outbox is relayed twice, under new numbers.",
        promise: "G7-steps-on-record",
        seams: &[Seam::Audit(relays_twice::plant)],
    },
    Planted {
        name: "relays-out-of-order",
        trap: "The outbox is relayed newest first.",
        promise: "G7-steps-on-record",
        seams: &[Seam::Audit(relays_out_of_order::plant)],
    },
    Planted {
        name: "audit-forks",
        trap: "The log signs a checkpoint before the disk has what it is of, and goes on otherwise after a power loss.",
        promise: "G7-tamper-evident",
        seams: &[Seam::World("audit", confirm_before_sync::plant)],
    },
    Planted {
        name: "rules-forget",
        trap: "The rules begin anew with the log's process, and ring twice or not at all.",
        promise: "G7-alerts",
        seams: &[Seam::Watching(rules_bent::forgetful)],
    },
    Planted {
        name: "rules-fire-below",
        trap: "The rules fire one below their thresholds.",
        promise: "G7-alerts",
        seams: &[Seam::Watching(rules_bent::lowered)],
    },
    Planted {
        name: "alert-not-raised",
        trap: "A rule fires, and nobody is told.",
        promise: "G7-alerts",
        seams: &[Seam::Watching(rules_bent::deaf)],
    },
    Planted {
        name: "stream-of-everyone",
        trap: "A live stream forgets whose it is.",
        promise: "G7-stream",
        seams: &[Seam::Audit(stream_bent::everyones)],
    },
    Planted {
        name: "stream-skips",
        trap: "A live stream goes on one place too far.",
        promise: "G7-stream",
        seams: &[Seam::Audit(stream_bent::skipping)],
    },
    Planted {
        name: "limiter-fails-open",
        trap: "The rate limiter lets everything through.",
        promise: "G8-fair-share",
        seams: &[Seam::Limits(limiter_fails_open::plant)],
    },
    Planted {
        name: "secret-in-log",
        trap: "Requests are written into a log as they came, secrets included.",
        promise: "G9-confidentiality",
        seams: &[Seam::World("producer", secret_in_log::plant)],
    },
    Planted {
        name: "ciphertext-moved",
        trap: "A ciphertext opens wherever it stands, also for another tenant.",
        promise: "G9-confidentiality",
        seams: &[Seam::Ledger(moved_ciphertext::plant)],
    },
    Planted {
        name: "poison-blocks",
        trap: "A message that will never do is tried for ever, and its tenant waits behind it.",
        promise: "G10-liveness",
        seams: &[Seam::Broker(poison_blocks::plant)],
    },
    Planted {
        name: "lease-never-ends",
        trap: "A run whose consumer has died stays theirs for ever.",
        promise: "G10-liveness",
        seams: &[Seam::Broker(lease_never_ends::plant)],
    },
    Planted {
        name: "instant-retry",
        trap: "What can't be done now is tried again at once, without end.",
        promise: "G10-liveness",
        seams: &[Seam::Broker(instant_retry::plant)],
    },
];

const ELSEWHERE: &[Elsewhere] = &[
    Elsewhere {
        scenario: "four_eyes",
        why: "Nobody needs a second person in the standard chaos.",
        planted: Planted {
            name: "own-approval",
            trap: "Whoever asks for an approval may give it.",
            promise: "G2-four-eyes",
            seams: &[Seam::Authority(own_approval::plant)],
        },
    },
    Elsewhere {
        scenario: "four_eyes",
        why: "Nobody needs a second person in the standard chaos.",
        planted: Planted {
            name: "approvers-forgotten",
            trap: "What was granted once is permitted at its effect, though whoever approved it may no longer.",
            promise: "G2-four-eyes",
            seams: &[Seam::Authority(approvers_forgotten::plant)],
        },
    },
    Elsewhere {
        scenario: "four_eyes",
        why: "Nobody needs a second person in the standard chaos.",
        planted: Planted {
            name: "approval-reused",
            trap: "An approval counts for whatever is sent under the name of what was approved.",
            promise: "G2-four-eyes",
            seams: &[Seam::Authority(approval_reused::plant)],
        },
    },
    Elsewhere {
        scenario: "noisy_neighbour",
        why: "Within the standard chaos's rates no queue grows, and under its faults no delay is a neighbour's.",
        planted: Planted {
            name: "noisy-neighbour",
            trap: "Whoever has most waiting goes first, and a flood holds everybody else up.",
            promise: "G8-fair-share",
            seams: &[Seam::Broker(longest_queue_first::plant)],
        },
    },
    Elsewhere {
        scenario: "alerts",
        why: "Nobody outside is told of alerts in the standard chaos.",
        planted: Planted {
            name: "webhook-gives-up",
            trap: "Whoever is to be told of alerts is asked once, whatever they answer.",
            promise: "G7-webhook",
            seams: &[Seam::World("audit", webhook_gives_up::plant)],
        },
    },
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_bug_has_a_name_of_its_own_a_sentence_and_a_place() {
        let all = || Bug::all().chain(Bug::elsewhere());
        let names: BTreeSet<_> = all().map(Bug::name).collect();
        assert_eq!(names.len(), all().count());
        assert!(Bug::all().count() >= 30, "{}", names.len());
        for bug in all() {
            assert!(bug.trap().ends_with('.') && !bug.seams().is_empty(), "{bug:?}");
            assert_eq!(Bug::find(bug.name()), Some(bug));
        }
    }

    #[test]
    fn what_chaos_can_not_find_has_a_scenario_that_does_and_a_reason() {
        assert!(Bug::all().all(|bug| bug.scenario() == CHAOS && bug.why_not_chaos().is_none()));
        for bug in Bug::elsewhere() {
            assert!(bug.scenario() != CHAOS && bug.why_not_chaos().is_some_and(|why| why.ends_with('.')), "{bug:?}");
        }
    }
}
