//! Every mark there is: what it is called, what sort it is of, and what it means.
//!
//! Scenarios name them under `sometimes`, and code by their constants: whichever is misspelt is an error at its line, with
//! what it may have been meant to be. A new mark is one line here, and the place that reaches it.

use crate::engine::marks::Mark;

/// Declares each mark once: its constant, and its row in [`ALL`].
macro_rules! marks {
    ($($constant:ident = $sort:ident($($name:literal),+): $means:literal;)*) => {
        $(
            #[doc = $means]
            pub const $constant: Mark = $sort($($name),+, $means);
        )*

        /// All of them, in the order of their names.
        pub const ALL: &[Mark] = &[$($constant),*];
    };
}

const fn sometimes(name: &'static str, means: &'static str) -> Mark {
    Mark::sometimes(name, means)
}

/// What must hold before a run is over: else it never came to rest.
const fn eventually(name: &'static str, means: &'static str) -> Mark {
    Mark::eventually(name, "G10-liveness", means)
}

const fn always(name: &'static str, promise: &'static str, means: &'static str) -> Mark {
    Mark::always(name, promise, means)
}

marks! {
    ALERTS_TOLD = eventually("alerts_told"): "The webhook was told of every alert.";
    APPROVED = sometimes("approved"): "A command that takes two was sent with another's approval.";
    APPROVER_GONE = sometimes("approver_gone"):
        "An approved command was rejected: who sent or approved it had lost their role.";
    ATTACKS_TRIED = eventually("attacks_tried"): "The attack catalogue was tried to its end.";
    BROKER_RESTS = eventually("broker_rests"): "No message waits and none is out.";
    CLOSED_AT_LEDGER = sometimes("closed_at_ledger"):
        "The ledger had not heard of auth for too long, and decided nothing.";
    CONFLICT_AT_LEDGER = sometimes("conflict_at_ledger"): "The ledger met an id that it knows with another body.";
    DEAD_LETTERED = sometimes("dead_lettered"): "A message became a dead letter.";
    DISCARDED = sometimes("discarded"): "An operator discarded a dead letter.";
    DISK_REFUSED = sometimes("disk_refused"): "A disk refused an operation.";
    DISK_TORN = sometimes("disk_torn"): "A disk gave a sync up halfway.";
    DUPLICATE_APPLY = sometimes("duplicate_apply"): "A command that had its outcome came to the ledger once more.";
    DUPLICATE_PUBLISH = sometimes("duplicate_publish"): "A message that the broker has was published once more.";
    EFFECT_AUTHORISED = always("effect_authorised", "G2-authority"):
        "An effect rests on authority that nobody had taken away.";
    EFFECT_IN_ORDER = always("effect_in_order", "G5-order"):
        "An effect comes before those of whatever was sent after its command was confirmed.";
    EFFECT_NOT_PAUSED = always("effect_not_paused", "G2-authority"): "No tenant that is paused has changed.";
    EFFECT_OF_TWO = always("effect_of_two", "G2-four-eyes"): "An effect that takes two rests on two.";
    EFFECT_ON_ITS_TENANT = always("effect_on_its_tenant", "G1-isolation"):
        "A command took effect on the tenant it is for, by someone who may.";
    EFFECT_ONCE = always("effect_once", "G3-one-outcome"): "A command took effect that had not before.";
    EFFECT_WITHIN_BOUNDS = always("effect_within_bounds", "G6-billing"):
        "The ledger's verdict on a command is that of the model: no balance leaves its guardrails.";
    ERASED = sometimes("erased"): "A tenant's secrets were destroyed.";
    EVENTS_RELAYED = eventually("events_relayed"): "Every event of broker, ledger and auth has come to the audit log.";
    EVENTS_WAITED_AT_CRASH = sometimes("events_waited_at_crash"):
        "A process died with events that had not come to the audit log.";
    FORGED_ALIEN_SIGNATURE = sometimes("forged_alien_signature"):
        "The adversary got in a grant signed by a key of their own.";
    FORGED_DECISION = sometimes("forged_decision"): "The ledger was brought a decision that auth never made.";
    FORGED_DUPLICATE_KEY = sometimes("forged_duplicate_key"):
        "The adversary got in a body that names two tenants under one key.";
    FORGED_LOOK_ALIKE = sometimes("forged_look_alike"): "The adversary got in a body that spells its tenant otherwise.";
    FORGED_MOVED_CIPHERTEXT = sometimes("forged_moved_ciphertext"):
        "The adversary got in a ciphertext sealed for another tenant.";
    FORGED_NO_ALGORITHM = sometimes("forged_no_algorithm"):
        "The adversary got in a grant that says that it needs no signature.";
    FORGED_OTHERS_GRANT = sometimes("forged_others_grant"):
        "The adversary got in a message under a grant for another tenant.";
    FORGED_READ_GRANT = sometimes("forged_read_grant"):
        "The adversary got in a command under a grant to read.";
    FORGED_SWAPPED_BODY = sometimes("forged_swapped_body"): "The adversary got in a body under the grant of another.";
    FORGED_WRONG_LANE = sometimes("forged_wrong_lane"): "The adversary got a message into another tenant's queue.";
    FORGERIES_SENT = eventually("forgeries_sent"): "The adversary got in all that they had planned.";
    GRANT_KEY_ROTATED = sometimes("grant_key_rotated"): "Auth signs grants with a new key.";
    HOSTS_UP = eventually("hosts_up"):
        "Broker, ledger, audit log and auth are up, and every host tells of what it refuses.";
    HTTP_408 = sometimes("http_408"): "An operator was answered: your request did not come in time.";
    HTTP_429 = sometimes("http_429"): "An operator was answered: you ask too often.";
    HTTP_500 = sometimes("http_500"): "An operator was answered: something is wrong here.";
    HTTP_503 = sometimes("http_503"): "An operator was answered: not now.";
    HTTP_504 = sometimes("http_504"): "An operator was answered: what I asked did not answer in time.";
    HTTP_NO_ANSWER = sometimes("http_no_answer"): "An operator had no answer.";
    ID_SPENT = sometimes("id_spent"): "An operator learnt that an attempt without an answer had come in.";
    IDENTITY_KEY_DROPPED = sometimes("identity_key_dropped"): "The identity provider dropped a key.";
    IDENTITY_KEY_ROTATED = sometimes("identity_key_rotated"): "The identity provider signs with a new key.";
    KEY_ROTATED = sometimes("key_rotated"): "A tenant's secrets are sealed under a new key.";
    LATE_SETTLEMENT = sometimes("late_settlement"): "A lease was settled that had ended before.";
    NOT_APPROVED = sometimes("not_approved"):
        "A command that takes two was sent without a second person's approval of it.";
    NOT_REPLAYABLE = sometimes("not_replayable"): "A dead letter could not be replayed.";
    OPERATORS_ANSWERED = eventually("operators_answered"):
        "Every operator has their answers, and has read everything back.";
    OUTSIDE_GUARDRAIL = sometimes("outside_guardrail"): "A command was rejected as outside of its guardrails.";
    OVERTAKEN = sometimes("overtaken"): "The ledger met a command that a later one had overtaken.";
    PAUSED = sometimes("paused"): "A tenant was paused.";
    PAUSED_AT_LEDGER = sometimes("paused_at_ledger"): "A command came to the ledger while its tenant was paused.";
    PLAN_CHANGED = sometimes("plan_changed"): "A tenant was put on another plan.";
    PROCESS_DIED = sometimes("process_died"): "A process gave up, and was started again.";
    RATE_HELD = always("rate_held", "G8-fair-share"): "No tenant had more taken in than its rate allows.";
    READERS_CAUGHT_UP = eventually("readers_caught_up"):
        "Whoever follows a tenant has seen all of its records.";
    RECONCILED = sometimes("reconciled"): "The ledger compared its books while the system ran.";
    REDELIVERED = sometimes("redelivered"): "A message was delivered again.";
    REFUSALS_REPORTED = eventually("refusals_reported"): "Every refusal has come to the audit log.";
    REJECTED_AS_SUSPENDED = sometimes("rejected_as_suspended"):
        "A command was rejected because its tenant is suspended.";
    REPLAY_RECOGNISED = sometimes("replay_recognised"): "A replay of a dead letter was recognised as done before.";
    REPLAY_REVOKED = sometimes("replay_revoked"):
        "A replayed letter was rejected: whoever replayed it had lost their role.";
    REPLAYED = sometimes("replayed"): "An operator replayed a dead letter.";
    REPORTS_WAITED_AT_CRASH = sometimes("reports_waited_at_crash"):
        "A process died with refusals that had not come to the audit log.";
    RESEND_CAME_FIRST = sometimes("resend_came_first"): "A command that was sent again overtook itself.";
    RESEND_RECOGNISED = sometimes("resend_recognised"): "A command that was sent again was recognised.";
    RESEND_REFUSED = sometimes("resend_refused"): "A command that was sent again was refused.";
    RETRY = sometimes("retry"): "A consumer gave a message back, to be tried again.";
    REUSED_ID_CAME_FIRST = sometimes("reused_id_came_first"): "Of two commands under one id the later came first.";
    REUSED_ID_OTHERWISE_REFUSED = sometimes("reused_id_otherwise_refused"):
        "A command under an id that is taken was refused for something else.";
    REUSED_ID_REFUSED = sometimes("reused_id_refused"): "A command under an id that is taken was refused for that.";
    REVOKED = sometimes("revoked"): "Auth goes by other roles than before.";
    REVOKED_IN_FLIGHT = sometimes("revoked_in_flight"):
        "A command was rejected: its operator lost their role while it waited.";
    RULE_FIRED = sometimes("rule_fired"): "A rule over the audit log raised an alert.";
    RUN_OF_SEVERAL = sometimes("run_of_several"): "Several messages of a tenant went out at once.";
    RUN_SETTLED_BY_HOLDER = always("run_settled_by_holder", "G4-nothing-lost"):
        "Whoever settled a run held it.";
    SECRET_SEALED = always("secret_sealed", "G9-confidentiality"):
        "No wire, disk or log that was searched has a secret in clear.";
    STALE_AT_LEDGER = sometimes("stale_at_ledger"): "The ledger refused a decision as older than what it knows.";
    STREAM_ENDED = sometimes("stream_ended"): "A live stream told its reader that it ends.";
    STREAM_OF_ITS_TENANT = always("stream_of_its_tenant", "G7-stream"):
        "A live stream told its reader the next event of their own tenant.";
    STREAM_RESUMED = sometimes("stream_resumed"): "A reader came back to a live stream with the last id.";
    SUSPENDED = sometimes("suspended"): "A tenant was suspended.";
    TAKEN_BACK = sometimes("taken_back"): "The broker took back what it had handed out.";
    TENANTS_APART = always("tenants_apart", "G1-isolation"): "No tenant has changed that nobody acted on.";
    TRIAGE_REFUSED = sometimes("triage_refused"): "Someone who may not was refused a dead letter.";
    TRIAGED_TOO_LATE = sometimes("triaged_too_late"): "A dead letter was dealt with by someone else before.";
    UNSYNCED_BYTES_LOST = sometimes("unsynced_bytes_lost"): "A power loss took bytes that were not durable.";
    WEBHOOK_REFUSED = sometimes("webhook_refused"): "The webhook's receiver refused an alert.";
    WEBHOOK_TOLD = sometimes("webhook_told"): "The webhook's receiver took an alert.";
}

/// The mark for an HTTP status that an operator was answered with and asks again for; none if there is none.
#[must_use]
pub fn of_http(status: u16) -> Option<Mark> {
    [(408, HTTP_408), (429, HTTP_429), (500, HTTP_500), (503, HTTP_503), (504, HTTP_504)]
        .into_iter()
        .find_map(|(of, mark)| (of == status).then_some(mark))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::marks::Sort;

    #[test]
    fn names_are_in_order_and_each_is_there_once_with_a_sentence() {
        assert!(ALL.is_sorted_by(|a, b| a.name.replace('_', " ") < b.name.replace('_', " ")), "sort the marks by name");
        for Mark { name, means, .. } in ALL {
            assert!(name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'), "{name}");
            assert!(means.ends_with('.') && means.starts_with(char::is_uppercase), "{name}: {means}");
        }
    }

    #[test]
    fn what_must_hold_names_the_promise_that_it_is_part_of() {
        for Mark { name, sort, promise, .. } in ALL {
            let promised = promise.is_some_and(|promise| promise.starts_with('G'));
            assert_eq!(promised, *sort != Sort::Sometimes, "{name}");
        }
    }
}
