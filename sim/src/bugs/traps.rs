//! The traps that systems like this one are known to fall into, and the planted bug that stands for each; or why there is none.
//!
//! Nothing is planted where there is nothing to plant it in: a decorator over a trait can only do wrong what goes through
//! that trait.

/// What stands for a trap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// These bugs, by their names.
    Planted(&'static [&'static str]),
    /// None, because of this; and what proves it instead, if anything does.
    Not(&'static str),
}

use Answer::{Not, Planted};

/// What a shadow, a second path or a rollback would need.
const NO_ROLLOUT: &str = "There is no rollout yet: nothing runs in the shadow, and there is one path.";

/// What sessions and row security would need.
const NO_POSTGRESQL: &str =
    "There is no PostgreSQL yet: the ledger is embedded, and its tables are opened with a scope.";

/// Every trap of the requirements' list, in its order.
pub const TRAPS: &[(&str, Answer)] = &[
    ("ack before commit", Planted(&["ack-before-commit"])),
    ("dedup claimed before the effect", Planted(&["dedup-before-effect"])),
    ("dedup forgotten too early", Planted(&["dedup-forgotten"])),
    (
        "dedup key without tenant",
        Not(
            "In a simulation ids are of the whole run, so that every witness can name a message by its id alone: no two tenants \
             share one. The conformance suites of broker and ledger send one id to two tenants.",
        ),
    ),
    ("same id with another payload", Planted(&["conflict-accepted"])),
    ("effect and audit not atomic", Planted(&["effect-without-audit"])),
    ("confirm before sync", Planted(&["confirm-before-sync", "ledger-confirms-before-sync", "confirm-from-memory"])),
    ("late ack settles another's lease", Planted(&["late-ack"])),
    ("zombie consumer", Planted(&["zombie-consumer"])),
    ("redelivery reorders last-writer-wins", Planted(&["redelivery-reorders"])),
    ("instant endless retry", Planted(&["instant-retry"])),
    ("dead letter lost", Planted(&["dead-letter-lost", "dead-letter-off-by-one", "nack-is-ack"])),
    ("poison message blocks a tenant", Planted(&["poison-blocks", "lease-never-ends"])),
    ("noisy neighbour", Planted(&["noisy-neighbour"])),
    ("dead-letter replay skips authorization", Planted(&["replay-unauthorized"])),
    ("grant replayed", Planted(&["grant-for-another-body"])),
    ("grant expires in the queue", Planted(&["grant-expires-in-queue"])),
    ("revocation races the effect", Planted(&["stale-decision"])),
    ("stale allow cached", Planted(&["stale-allow-cached"])),
    ("confused deputy", Planted(&["confused-deputy"])),
    ("wrong audience", Planted(&["audience-unchecked"])),
    ("algorithm or key-id confusion", Planted(&["algorithm-believed", "signature-unchecked"])),
    ("header, body and topic disagree", Planted(&["lane-ignored", "grant-of-another-tenant"])),
    ("duplicate JSON keys", Planted(&["duplicate-keys"])),
    ("floats and huge integers", Planted(&["float-amounts"])),
    ("look-alike, case, NUL, space in ids", Planted(&["folded-ids"])),
    ("prefix ids (t-1, t-10)", Planted(&["misrouted-by-prefix", "read-by-prefix"])),
    ("session variable leaks over a pooled connection", Not(NO_POSTGRESQL)),
    ("row security bypassed by the owner", Not(NO_POSTGRESQL)),
    (
        "clock skew and future timestamps",
        Not(
            "Clocks that are off are a fault, of which chaos draws two kinds, and no bug. A timestamp is judged inside the \
             producer, behind no trait, and decides nothing; a test of the producer's sends one of the future.",
        ),
    ),
    ("audit gap, cut or fork", Planted(&["audit-gap", "audit-forks"])),
    ("unlogged refusals", Planted(&["unlogged-refusals", "reports-in-memory"])),
    ("shadow has an effect", Not(NO_ROLLOUT)),
    ("old and new both apply", Not(NO_ROLLOUT)),
    ("rollback drops work in flight", Not(NO_ROLLOUT)),
    ("ciphertext moved between tenants", Planted(&["ciphertext-moved"])),
    (
        "nonce reused after restart",
        Not(
            "There is no nonce to be drawn or counted: it follows from what a text is bound to, and a cipher is used that such \
             a nonce does not break. Tests of the seals say so.",
        ),
    ),
    ("secret in a log or error", Planted(&["secret-in-log"])),
    ("limiter fails open", Planted(&["limiter-fails-open"])),
    ("approval reused for an edited payload", Planted(&["approval-reused", "own-approval", "approvers-forgotten"])),
    ("pause ignored in flight", Planted(&["pause-too-early"])),
    ("outbox relays twice or out of order", Planted(&["relays-twice", "relays-out-of-order"])),
    (
        "auth or audit outage fails open",
        // Of the audit log. Of auth's: consumer and ledger would both have to, for each is closed without the other.
        Planted(&["audit-outage-fails-open"]),
    ),
    (
        "reconciliation blind to missing rows",
        Not(
            "The engine reconciles itself, through no trait, and the system loses no rows by itself: what is planted in the \
             tables is found by the reconciliation's own tests, in both directions.",
        ),
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bugs::Bug;

    #[test]
    fn every_bug_that_stands_for_a_trap_is_planted_and_every_other_trap_has_a_reason() {
        for (trap, answer) in TRAPS {
            match answer {
                Planted(names) => {
                    assert!(!names.is_empty(), "{trap}");
                    names.iter().for_each(|name| assert!(Bug::find(name).is_some(), "{trap}: {name} is not planted"));
                }
                Not(why) => assert!(why.ends_with('.'), "{trap}: {why}"),
            }
        }
    }
}
