//! What to do with a run: pure decisions, told apart from the calls they follow.
//!
//! Transient trouble means "again": nothing is said about the command, and nothing behind it may overtake it. A permanent
//! refusal means a dead letter: there is no verified scope, so there is no tenant in whose books an outcome could be
//! written.

use crate::audit::Code;
use crate::broker::{Again, Delivered, Ending, Position, Settlement};
use crate::grant::{CLOCK_LEEWAY_SECONDS, VerifiedCommand, VerifyError};
use crate::ids::TenantId;
use crate::ledger::Applied;

/// What a delivered message turned out to be.
pub(super) enum Looked {
    /// A command that its lane, its grant and its body agree on.
    Command(Box<VerifiedCommand>),
    /// Nothing that anyone may ever act on, because of this.
    Refused(Code, String),
    /// Not known yet, because of this.
    NotNow(String),
}

/// Judges a message by its verification.
pub(super) fn look(verified: Result<VerifiedCommand, VerifyError>, lane: &TenantId, delivered: &Delivered) -> Looked {
    let command = match verified {
        Ok(command) => command,
        Err(error) => {
            return match error.code() {
                Some(code) => Looked::Refused(code, error.to_string()),
                None => Looked::NotNow(error.to_string()),
            };
        }
    };
    // The lane, the grant and the body must name one tenant: a misrouted message acts on nobody.
    let granted = command.scope().tenant();
    if lane != granted {
        return Looked::Refused(
            Code::CrossTenant,
            format!("it came through tenant {lane}'s lane, its grant is for {granted}"),
        );
    }
    let (named, carried) = (&delivered.message_id, &command.message().message_id);
    if named != carried {
        return Looked::Refused(Code::Misrouted, format!("it was published as {named}, its body says {carried}"));
    }
    let late = delivered.published_at_unix_ms.div_euclid(1000) - command.publish_by();
    if late > CLOCK_LEEWAY_SECONDS {
        return Looked::Refused(Code::ExpiredGrant, format!("it was published {late} s after its grant allowed it"));
    }
    Looked::Command(Box::new(command))
}

/// How the run ends: `refused` has an entry per message that was looked at, its place and the reason where it was refused;
/// `applied` the ledger's answers to the others, in order; `again` says why the messages behind those come again.
pub(super) fn settlement(refused: Vec<(Position, Option<String>)>, applied: Vec<Applied>, again: Again) -> Settlement {
    let mut applied = applied.into_iter();
    let mut ended = Vec::with_capacity(refused.len());
    for (position, refused) in refused {
        let ending = match refused {
            Some(reason) => Ending::DeadLetter { reason },
            None => match applied.next() {
                Some(Applied::Now(_) | Applied::Before(_)) => Ending::Done,
                Some(Applied::Conflict) => {
                    let reason = "another body already has an outcome under this message id".into();
                    Ending::DeadLetter { reason }
                }
                Some(Applied::Refused(reason)) => Ending::DeadLetter { reason },
                // From an earlier broker than the ledger has seen: its clock went back, or a consumer of its predecessor woke
                // up, and then this settlement counts for nothing. Nobody's command may die of a clock.
                Some(Applied::Overtaken { by }) if by.epoch > position.epoch => {
                    let reason = format!("the ledger has seen a later broker than this one, at {by}, not {position}");
                    return Settlement { ended, again: Again { reason, after_ms: None } };
                }
                Some(Applied::Overtaken { by }) => {
                    let reason = format!("it came after its place in the order: the tenant's history has reached {by}");
                    Ending::DeadLetter { reason }
                }
                Some(Applied::Forged) => {
                    // Somewhere between auth and the ledger, which has rung: the command is not to blame.
                    let reason = "the ledger does not believe that the decision is auth's".into();
                    return Settlement { ended, again: Again { reason, after_ms: None } };
                }
                Some(Applied::Undecided(reason)) => {
                    return Settlement { ended, again: Again { reason, after_ms: None } };
                }
                Some(Applied::Paused) => {
                    return Settlement {
                        ended,
                        again: Again { reason: "the tenant is paused".into(), after_ms: None },
                    };
                }
                None => return Settlement { ended, again },
            },
        };
        ended.push(ending);
    }
    Settlement { ended, again }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::CallError;
    use crate::grant::Envelope;
    use crate::ids::MessageId;
    use crate::jws::JwsError;
    use crate::ledger::Outcome;

    fn looked(error: VerifyError) -> Looked {
        let delivered = Delivered {
            position: Position::default(),
            message_id: MessageId::parse("msg-1").unwrap(),
            attempt: 1,
            published_at_unix_ms: 0,
            envelope: Envelope { body: "".into(), grant: "".into(), trace: None },
        };
        look(Err(error), &TenantId::parse("acme").unwrap(), &delivered)
    }

    #[tokio::test]
    async fn what_was_published_after_its_grant_allowed_it_is_refused() {
        let bench = crate::testing::Bench::new().await;
        let command = bench.credit("acme", "m-1", 5).await;
        for (late, refused) in [(CLOCK_LEEWAY_SECONDS, false), (CLOCK_LEEWAY_SECONDS + 1, true)] {
            let delivered = Delivered {
                position: Position::default(),
                message_id: MessageId::parse("m-1").unwrap(),
                attempt: 1,
                published_at_unix_ms: (command.publish_by() + late) * 1000,
                envelope: command.envelope().clone(),
            };
            let looked = look(Ok(command.clone()), &TenantId::parse("acme").unwrap(), &delivered);
            assert_eq!(matches!(looked, Looked::Refused(Code::ExpiredGrant, _)), refused, "{late} s late");
        }
    }

    fn now() -> Applied {
        Applied::Now(Outcome {
            body_sha256: [0; 32],
            verdict: Ok(Vec::new()),
            version: 1,
            at_unix_ms: 0,
            authority_revision: 1,
            rules_version: 1,
        })
    }

    fn again(reason: &str) -> Again {
        Again { reason: reason.into(), after_ms: None }
    }

    #[test]
    fn a_refused_grant_is_a_dead_letter_and_an_unreachable_key_is_not() {
        let refused = looked(VerifyError::Token(JwsError::BadSignature));
        assert!(matches!(refused, Looked::Refused(Code::ForgedGrant, reason) if reason.contains("signature")));
        let unreachable = looked(VerifyError::Unavailable(CallError::failed("auth is down")));
        assert!(matches!(unreachable, Looked::NotNow(reason) if reason.contains("auth is down")));
    }

    #[test]
    fn answers_find_their_messages_around_those_that_were_refused() {
        let refused = vec![None, Some("bad".to_owned()), None];
        let settled = settlement(placed(refused), vec![now(), Applied::Conflict], Again::default());
        let [Ending::Done, Ending::DeadLetter { reason: bad }, Ending::DeadLetter { reason }] = &settled.ended[..]
        else {
            panic!("{settled:?}")
        };
        assert!(bad == "bad" && reason.contains("another body"), "{settled:?}");
    }

    fn placed(refused: Vec<Option<String>>) -> Vec<(Position, Option<String>)> {
        (1..).map(|sequence| Position { epoch: 5, sequence }).zip(refused).collect()
    }

    #[test]
    fn what_came_too_late_is_a_dead_letter_unless_the_broker_itself_is_behind() {
        let overtaken = |epoch| {
            let by = Position { epoch, sequence: 9 };
            settlement(placed(vec![None]), vec![Applied::Overtaken { by }], Again::default())
        };
        assert!(matches!(&overtaken(5).ended[..], [Ending::DeadLetter { .. }]));
        let behind = overtaken(6);
        assert!(behind.ended.is_empty() && behind.again.reason.contains("a later broker"), "{behind:?}");
    }

    #[test]
    fn nothing_behind_a_paused_or_unanswered_command_is_settled() {
        let refused = || placed(vec![None, None, Some("bad".to_owned())]);
        let paused = settlement(refused(), vec![now(), Applied::Paused], Again::default());
        assert_eq!((paused.ended, paused.again), (vec![Ending::Done], again("the tenant is paused")));
        let unanswered = settlement(refused(), Vec::new(), again("the ledger is down"));
        assert_eq!((unanswered.ended, unanswered.again), (Vec::new(), again("the ledger is down")));
        let undecided = settlement(refused(), vec![now(), Applied::Undecided("stale".into())], Again::default());
        assert_eq!((undecided.ended, undecided.again), (vec![Ending::Done], again("stale")));
    }
}
