//! What to do with a delivery: pure decisions, told apart from the calls they follow.
//!
//! Transient trouble means "again", and nothing is said about the command. A permanent refusal means a dead letter: there
//! is no verified scope, so there is no tenant in whose books an outcome could be written.

use crate::broker::{Delivery, Settlement};
use crate::call::CallError;
use crate::grant::{VerifiedCommand, VerifyError};
use crate::ledger::Applied;

/// The next step.
pub(super) enum Step<T> {
    Continue(T),
    Settle(Settlement),
}

/// After the grant was looked at.
pub(super) fn after_verify(
    verified: Result<VerifiedCommand, VerifyError>,
    delivery: &Delivery,
) -> Step<VerifiedCommand> {
    let command = match verified {
        Ok(command) => command,
        Err(error) if error.is_transient() => return Step::Settle(Settlement::Retry),
        Err(error) => return dead_letter(error.to_string()),
    };
    // The lane, the grant and the body must name one tenant: a misrouted message acts on nobody.
    let (lane, granted) = (&delivery.lease.tenant, command.scope().tenant());
    if lane != granted {
        return dead_letter(format!("it came through tenant {lane}'s lane, its grant is for {granted}"));
    }
    let (named, carried) = (&delivery.message_id, &command.message().message_id);
    if named != carried {
        return dead_letter(format!("it was published as {named}, its body says {carried}"));
    }
    Step::Continue(command)
}

/// After the ledger was asked to apply it.
pub(super) fn after_apply(applied: Result<Applied, CallError>) -> Settlement {
    match applied {
        Ok(Applied::Now(_) | Applied::Before(_)) => Settlement::Done,
        Ok(Applied::Conflict) => {
            Settlement::DeadLetter { reason: "another body already has an outcome under this message id".into() }
        }
        // Failed or unknown: applying it again is safe, and tells.
        Err(error) => {
            tracing::warn!(%error, "failed to apply; the command comes again");
            Settlement::Retry
        }
    }
}

fn dead_letter<T>(reason: String) -> Step<T> {
    Step::Settle(Settlement::DeadLetter { reason })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jws::JwsError;

    fn delivery() -> Delivery {
        let id = |text| crate::ids::TenantId::parse(text).unwrap();
        Delivery {
            lease: crate::broker::Lease { tenant: id("acme"), sequence: 1, token: 1 },
            message_id: crate::ids::MessageId::parse("msg-1").unwrap(),
            attempt: 1,
            envelope: crate::grant::Envelope { body: "".into(), grant: "".into() },
        }
    }

    #[test]
    fn a_refused_grant_is_a_dead_letter_and_an_unreachable_key_is_not() {
        let refused = after_verify(Err(VerifyError::Token(JwsError::BadSignature)), &delivery());
        assert!(matches!(refused, Step::Settle(Settlement::DeadLetter { reason }) if reason.contains("signature")));
        let unreachable = after_verify(Err(VerifyError::Unavailable(CallError::failed("auth is down"))), &delivery());
        assert!(matches!(unreachable, Step::Settle(Settlement::Retry)));
    }

    #[test]
    fn neither_failed_nor_unknown_ends_a_command() {
        assert_eq!(after_apply(Err(CallError::failed("x"))), Settlement::Retry);
        assert_eq!(after_apply(Err(CallError::unknown("x"))), Settlement::Retry);
        assert!(matches!(after_apply(Ok(Applied::Conflict)), Settlement::DeadLetter { .. }));
    }
}
