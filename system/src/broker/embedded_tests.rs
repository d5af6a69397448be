//! What the embedded broker promises beyond the trait: what outlives a restart, what a commit takes along.

use super::*;
use crate::broker::{Again, AttemptEnd};
use crate::testing::{Bench, message_id, tenant};

const NO_WAIT: Duration = Duration::ZERO;

fn envelope(body: &'static str) -> Envelope {
    Envelope { body: body.into(), grant: "grant".into(), trace: None }
}

async fn open(bench: &Bench) -> EmbeddedBroker {
    // The store's committer lets go of the file a moment after a broker is dropped.
    loop {
        match EmbeddedBroker::open(&bench.world, Limits::default()).await {
            Ok(broker) => return broker,
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    }
}

async fn publish(broker: &EmbeddedBroker, name: &str, id: &str, body: &'static str) -> Published {
    broker.publish(&tenant(name), &message_id(id), envelope(body)).await.unwrap()
}

fn done(count: usize) -> Settlement {
    Settlement { ended: vec![Ending::Done; count], ..Settlement::default() }
}

fn ids(deliveries: &[Delivery]) -> Vec<String> {
    let messages = deliveries.iter().flat_map(|delivery| &delivery.messages);
    messages.map(|message| format!("{} #{}", message.message_id, message.attempt)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_restart_brings_back_what_was_not_settled_and_knows_what_was() {
    let bench = Bench::new().await;
    let broker = open(&bench).await;
    for id in ["m-1", "m-2", "m-3"] {
        publish(&broker, "acme", id, "body").await;
    }
    let run = broker.fetch(9, NO_WAIT).await.unwrap().remove(0);
    let position = run.messages[1].position;
    let again = Again { reason: "down".into(), after_ms: None };
    let settlement = Settlement { ended: vec![Ending::Done], again };
    assert!(broker.settle(&run.lease, settlement.clone()).await.unwrap());
    broker.flush().await.unwrap();
    drop(broker);

    let broker = open(&bench).await;
    let run_again = broker.fetch(9, NO_WAIT).await.unwrap();
    assert_eq!(ids(&run_again), ["m-2 #2", "m-3 #2"], "the attempts outlive a restart too");
    let again = run_again[0].messages[0].position;
    assert!(again.sequence == position.sequence && again.epoch > position.epoch, "{again} after {position}");
    assert!(!broker.settle(&run.lease, settlement).await.unwrap(), "a lease does not outlive the broker");
    assert!(matches!(publish(&broker, "acme", "m-1", "body").await, Published::Duplicate { .. }));
    assert_eq!(publish(&broker, "acme", "m-1", "other").await, Published::Conflict);
    let acme = tenant("acme");
    let known = |body: &str, standing| Some(MessageStatus { body_sha256: body_sha256(body.as_bytes()), standing });
    assert_eq!(broker.standing(&acme, &message_id("m-1")).await.unwrap(), known("body", Standing::Settled));
    assert_eq!(broker.standing(&acme, &message_id("m-3")).await.unwrap(), known("body", Standing::Pending));
    assert_eq!(broker.standing(&acme, &message_id("m-4")).await.unwrap(), None);
    let Published::Accepted { sequence } = publish(&broker, "acme", "m-4", "body").await else { panic!() };
    assert_eq!(sequence, 4, "the order goes on where it was");
}

#[tokio::test(start_paused = true)]
async fn acks_that_a_crash_forgot_bring_their_messages_again() {
    let bench = Bench::new().await;
    let broker = open(&bench).await;
    publish(&broker, "acme", "m-1", "body").await;
    let run = broker.fetch(9, NO_WAIT).await.unwrap().remove(0);
    assert!(broker.settle(&run.lease, done(1)).await.unwrap());
    assert_eq!(broker.depth(), 0);
    // Not flushed: as after a crash.
    drop(broker);
    let broker = open(&bench).await;
    assert_eq!(ids(&broker.fetch(9, NO_WAIT).await.unwrap()), ["m-1 #1"]);
}

#[tokio::test(start_paused = true)]
async fn what_waits_or_is_out_is_listed_and_what_was_settled_is_not_though_its_row_is_there() {
    let bench = Bench::new().await;
    let broker = open(&bench).await;
    for (name, id) in [("acme", "m-1"), ("acme", "m-2"), ("globex", "m-1")] {
        publish(&broker, name, id, "body").await;
    }
    let run = broker.fetch(1, NO_WAIT).await.unwrap().remove(0);
    assert_eq!(broker.every_waiting().unwrap().len(), 3, "what is out has not ended");
    assert!(broker.settle(&run.lease, done(1)).await.unwrap());
    let mut kept = vec![(tenant("acme"), message_id("m-1")), (tenant("acme"), message_id("m-2"))];
    kept.push((tenant("globex"), message_id("m-1")));
    kept.retain(|(of, id)| (of, id) != (&run.lease.tenant, &run.messages[0].message_id));
    assert_eq!(broker.every_waiting().unwrap(), kept);
}

#[tokio::test(start_paused = true)]
async fn acks_ride_the_next_commit_or_make_one_soon() {
    let bench = Bench::new().await;
    let broker = open(&bench).await;
    publish(&broker, "acme", "m-1", "body").await;
    let run = broker.fetch(9, NO_WAIT).await.unwrap().remove(0);
    let waits = |broker: &EmbeddedBroker| broker.store.read().unwrap().open_table(MESSAGES).unwrap().len().unwrap();
    assert!(broker.settle(&run.lease, done(1)).await.unwrap());
    assert_eq!(waits(&broker), 1, "an ack had a commit of its own");
    sleep(SETTLED_FLUSH * 2).await;
    assert_eq!(waits(&broker), 0);
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_outlives_a_restart_with_its_reason_and_every_attempt() {
    let bench = Bench::new().await;
    let broker = open(&bench).await;
    publish(&broker, "acme", "m-1", "poison").await;
    let run = broker.fetch(1, NO_WAIT).await.unwrap().remove(0);
    assert!(broker.settle(&run.lease, Settlement::again("the ledger is down")).await.unwrap());
    sleep(Duration::from_secs(1)).await;
    assert_eq!(ids(&broker.fetch(1, NO_WAIT).await.unwrap()), ["m-1 #2"]);
    sleep(Limits::default().lease + Limits::default().backoff_max * 2).await;
    let run = broker.fetch(1, NO_WAIT).await.unwrap().remove(0);
    let reason = "unreadable".to_owned();
    let settlement = Settlement { ended: vec![Ending::DeadLetter { reason: reason.clone() }], ..Settlement::default() };
    assert!(broker.settle(&run.lease, settlement).await.unwrap());
    drop(broker);

    let broker = open(&bench).await;
    assert_eq!((broker.depth(), broker.dead_letters_kept().unwrap()), (0, 1));
    let letter = broker.kept_letter(&tenant("acme"), &message_id("m-1")).unwrap().unwrap();
    assert_eq!((letter.reason, letter.envelope), (reason, envelope("poison")));
    let ends: Vec<_> = letter.attempts.into_iter().map(|attempt| attempt.end).collect();
    assert_eq!(ends, [AttemptEnd::Again("the ledger is down".into()), AttemptEnd::Silent]);
    assert!(matches!(publish(&broker, "acme", "m-1", "poison").await, Published::Duplicate { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_message_that_kills_every_consumer_ends_as_a_dead_letter_and_those_behind_it_live() {
    let bench = Bench::new().await;
    let broker = open(&bench).await;
    publish(&broker, "acme", "m-1", "poison").await;
    publish(&broker, "acme", "m-2", "body").await;
    for _ in 0..Limits::default().silent_deliveries_max {
        assert_eq!(broker.fetch(9, NO_WAIT).await.unwrap().len(), 1);
        sleep(Limits::default().lease + Limits::default().backoff_max * 2).await;
    }
    assert_eq!(ids(&broker.fetch(9, Duration::from_secs(1)).await.unwrap()), ["m-2 #2"]);
    let known = broker.standing(&tenant("acme"), &message_id("m-1")).await.unwrap().unwrap();
    assert!(matches!(&known.standing, Standing::DeadLettered { reason } if reason.contains("20 times")), "{known:?}");
    assert_eq!(known.body_sha256, body_sha256(b"poison"));
}

#[tokio::test(start_paused = true)]
async fn a_pause_outlives_a_restart() {
    let bench = Bench::new().await;
    let broker = open(&bench).await;
    publish(&broker, "acme", "m-1", "body").await;
    broker.pause(&tenant("acme"), PauseGeneration(1)).await.unwrap();
    drop(broker);
    let broker = open(&bench).await;
    assert!(broker.fetch(9, NO_WAIT).await.unwrap().is_empty());
    broker.pause(&tenant("acme"), PauseGeneration(2)).await.unwrap();
    assert_eq!(ids(&broker.fetch(9, NO_WAIT).await.unwrap()), ["m-1 #1"]);
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_could_never_be_overruled_is_not_taken() {
    let bench = Bench::new().await;
    let (broker, acme) = (open(&bench).await, tenant("acme"));
    for far in [PAUSES_AHEAD_MAX + 1, u64::MAX] {
        assert_eq!(broker.pause(&acme, PauseGeneration(far)).await.unwrap(), PauseGeneration(0));
    }
    let ahead = PauseGeneration(PAUSES_AHEAD_MAX);
    assert_eq!(broker.pause(&acme, ahead).await.unwrap(), ahead, "it had started from nothing");
}

#[tokio::test(start_paused = true)]
async fn a_pause_in_the_very_commit_of_a_dead_letter_loses_nothing() {
    let bench = Bench::new().await;
    let broker = open(&bench).await;
    publish(&broker, "acme", "m-1", "poison").await;
    publish(&broker, "acme", "m-2", "body").await;
    let run = broker.fetch(1, NO_WAIT).await.unwrap().remove(0);
    let letter = Settlement { ended: vec![Ending::DeadLetter { reason: "bad".into() }], ..Settlement::default() };
    let acme = tenant("acme");
    let (settled, paused, resumed) = tokio::join!(
        broker.settle(&run.lease, letter),
        broker.pause(&acme, PauseGeneration(1)),
        broker.pause(&acme, PauseGeneration(2))
    );
    assert!(settled.unwrap() && paused.is_ok() && resumed.is_ok());
    assert_eq!((broker.depth(), broker.dead_letters_kept().unwrap()), (1, 1));
    assert_eq!(ids(&broker.fetch(9, NO_WAIT).await.unwrap()), ["m-2 #1"]);
}

#[tokio::test(start_paused = true)]
async fn what_no_frame_could_carry_together_with_others_is_refused_and_did_not_happen() {
    let bench = Bench::new().await;
    let broker = open(&bench).await;
    let huge = Envelope { body: vec![b'x'; MAX_BODY_BYTES + 1].into(), grant: "grant".into(), trace: None };
    let refused = broker.publish(&tenant("acme"), &message_id("m-1"), huge).await;
    assert!(matches!(refused, Err(CallError::Failed(_))), "{refused:?}");
    assert_eq!(broker.standing(&tenant("acme"), &message_id("m-1")).await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn a_full_lane_pushes_back_and_other_tenants_do_not_feel_it() {
    let bench = Bench::new().await;
    let limits = Limits { depth_max: 2, ..Limits::default() };
    let broker = EmbeddedBroker::open(&bench.world, limits).await.unwrap();
    // Together, in one commit: what is only on its way counts as well.
    let (acme, ids) = (tenant("acme"), ["m-1", "m-2", "m-3"].map(message_id));
    let publishes = ids.iter().map(|id| broker.publish(&acme, id, envelope("body")));
    let answers = futures_util::future::join_all(publishes).await;
    let full = Published::Overloaded { retry_after_ms: OVERLOAD_RETRY_MS };
    assert_eq!(answers[2], Ok(full));
    assert!(matches!(publish(&broker, "acme", "m-1", "body").await, Published::Duplicate { .. }));
    assert!(matches!(publish(&broker, "globex", "m-1", "body").await, Published::Accepted { .. }));
}

#[tokio::test(start_paused = true)]
async fn the_file_is_bounded_by_what_waits_however_much_has_passed() {
    let bench = Bench::new().await;
    let limits = Limits { compact_from: 1 << 20, bytes_max: usize::MAX, ..Limits::default() };
    let broker = EmbeddedBroker::open(&bench.world, limits).await.unwrap();
    let size = || bench.folder().join("broker.redb").metadata().unwrap().len();
    let mut sizes = Vec::new();
    for round in 0..3 {
        for index in 0..400 {
            let body = Envelope { body: vec![b'x'; 10_000].into(), grant: "grant".into(), trace: None };
            let id = message_id(&format!("m-{round}-{index}"));
            broker.publish(&tenant("acme"), &id, body).await.unwrap();
        }
        let full = size();
        while broker.depth() > 0 {
            for delivery in broker.fetch(64, NO_WAIT).await.unwrap() {
                assert!(broker.settle(&delivery.lease, done(delivery.messages.len())).await.unwrap());
            }
        }
        // The acks' own commit, and one that finds the file worth it.
        sleep(COMPACTED_BY).await;
        broker.flush().await.unwrap();
        broker.flush().await.unwrap();
        sizes.push((full, size()));
    }
    assert!(sizes.iter().all(|(full, empty)| *full > 4 << 20 && *empty <= 1 << 20), "{sizes:?}");
    assert_eq!(broker.compactions(), 3);
    // Still the same broker.
    let again = broker.publish(&tenant("acme"), &message_id("m-0-0"), envelope("other")).await.unwrap();
    assert_eq!(again, Published::Conflict);
}

/// Longer than the pause between two compactions.
const COMPACTED_BY: Duration = Duration::from_secs(11);

#[tokio::test(start_paused = true)]
async fn every_step_is_on_record_once_whatever_a_crash_forgets() {
    let bench = Bench::new().await;
    let broker = open(&bench).await;
    publish(&broker, "acme", "m-1", "body").await;
    publish(&broker, "acme", "m-2", "body").await;
    publish(&broker, "acme", "m-1", "body").await;
    let mut on_record = vec!["published m-1 1", "published m-2 2", "duplicate m-1 1"];
    assert_eq!(broker.outgoing().steps(), on_record);
    broker.fetch(9, NO_WAIT).await.unwrap();
    broker.flush().await.unwrap();
    assert_eq!(broker.outgoing().steps(), on_record, "a delivery is told of once it has ended");
    // As by a crash with the run out: it comes again under the same numbers.
    drop(broker);

    let broker = open(&bench).await;
    let run = broker.fetch(9, NO_WAIT).await.unwrap().remove(0);
    let settlement = Settlement { ended: vec![Ending::Done], again: Again { reason: "down".into(), after_ms: None } };
    assert!(broker.settle(&run.lease, settlement.clone()).await.unwrap());
    assert_eq!(broker.outgoing().steps(), on_record, "an ack had a commit of its own");
    // And with the settlement not durable: both are forgotten together.
    drop(broker);

    let broker = open(&bench).await;
    let run = broker.fetch(9, NO_WAIT).await.unwrap().remove(0);
    assert!(broker.settle(&run.lease, settlement).await.unwrap());
    broker.flush().await.unwrap();
    on_record.extend(["delivered m-1 1", "delivered m-2 1", "came_back m-2 1"]);
    assert_eq!(broker.outgoing().steps(), on_record);
    drop(broker);

    let broker = open(&bench).await;
    let run = broker.fetch(9, NO_WAIT).await.unwrap().remove(0);
    let ended = vec![Ending::DeadLetter { reason: "unreadable".into() }];
    assert!(broker.settle(&run.lease, Settlement { ended, ..Settlement::default() }).await.unwrap());
    on_record.extend(["delivered m-2 2", "dead_lettered m-2 2"]);
    assert_eq!(broker.outgoing().steps(), on_record);
    assert_eq!(broker.every_dead_letter().unwrap(), [(tenant("acme"), message_id("m-2"))]);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_a_pause_ends_tells_of_each_delivery_once_also_of_one_that_is_being_settled() {
    let bench = Bench::new().await;
    let broker = open(&bench).await;
    for id in ["m-1", "m-2", "m-3"] {
        publish(&broker, "acme", id, "body").await;
    }
    let run = broker.fetch(9, NO_WAIT).await.unwrap().remove(0);
    let ended = vec![Ending::DeadLetter { reason: "unreadable".into() }];
    let acme = tenant("acme");
    let (settled, paused) = tokio::join!(
        broker.settle(&run.lease, Settlement { ended, ..Settlement::default() }),
        broker.pause(&acme, PauseGeneration(1)),
    );
    assert_eq!((settled, paused), (Ok(true), Ok(PauseGeneration(1))));
    broker.flush().await.unwrap();
    let told = broker.outgoing().steps();
    let expected = ["m-1", "m-2", "m-3"].map(|id| format!("delivered {id} 1"));
    assert!(expected.iter().all(|step| told.iter().filter(|told| *told == step).count() == 1), "{told:?}");
    assert_eq!(told.iter().filter(|told| told.starts_with("came_back")).count(), 2, "{told:?}");
    broker.pause(&acme, PauseGeneration(2)).await.unwrap();
    assert_eq!(ids(&broker.fetch(9, NO_WAIT).await.unwrap()), ["m-2 #2", "m-3 #2"]);
}

#[tokio::test(start_paused = true)]
async fn what_nobody_ever_says_a_word_about_is_given_up_and_rings_and_was_delivered_each_time() {
    let bench = Bench::new().await;
    let broker = open(&bench).await;
    publish(&broker, "acme", "m-1", r#"{"user_id":"ana","action":"issue_credit"}"#).await;
    while broker.depth() > 0 {
        broker.fetch(9, Duration::from_secs(2)).await.unwrap();
    }
    broker.flush().await.unwrap();
    let told = broker.outgoing().steps();
    let times = Limits::default().silent_deliveries_max;
    let of = |kind: &str| told.iter().filter(|told| told.starts_with(kind)).cloned().collect::<Vec<_>>();
    assert_eq!(of("delivered"), (1..=times).map(|attempt| format!("delivered m-1 {attempt}")).collect::<Vec<_>>());
    assert_eq!(of("came_back"), (1..=times).map(|attempt| format!("came_back m-1 {attempt}")).collect::<Vec<_>>());
    let Some(Event::Step(last)) = broker.outgoing().events().pop() else { panic!("{told:?}") };
    assert_eq!((last.kind, last.number), (StepKind::GivenUp, times as u64));
    assert_eq!(
        (last.user.as_ref().map(|user| user.as_str()), last.action.as_deref()),
        (Some("ana"), Some("issue_credit"))
    );
    assert!(Event::Step(last).alert(1).unwrap().line.contains("m-1 of ana"));
}

#[tokio::test(start_paused = true)]
async fn with_a_full_outbox_nothing_new_is_taken_or_goes_out_and_what_is_out_may_end() {
    let bench = Bench::new().await;
    let broker = open(&bench).await;
    publish(&broker, "acme", "m-1", "body").await;
    publish(&broker, "globex", "m-2", "body").await;
    let run = broker.fetch(1, NO_WAIT).await.unwrap().remove(0);
    broker.store.machine().outbox.fill();
    assert!(matches!(publish(&broker, "acme", "m-3", "body").await, Published::Overloaded { .. }));
    assert_eq!(broker.fetch(9, NO_WAIT).await.unwrap(), []);
    assert!(broker.settle(&run.lease, done(1)).await.unwrap());
    assert_eq!(broker.depth(), 1);
}

/// Has `m-1` of acme put aside, and returns what someone who looked at it decides.
async fn put_aside(broker: &EmbeddedBroker, name: &str) -> Triage {
    publish(broker, name, "m-1", "poison").await;
    // Twice in silence first: what counts against a letter must not count against its replay.
    for attempt in 1..=3 {
        let run = broker.fetch(1, NO_WAIT).await.unwrap().remove(0);
        if attempt < 3 {
            sleep(Limits::default().lease + Limits::default().backoff_max * 2).await;
            continue;
        }
        let ended = vec![Ending::DeadLetter { reason: "unreadable".into() }];
        assert!(broker.settle(&run.lease, Settlement { ended, ..Settlement::default() }).await.unwrap());
    }
    let letter = broker.kept_letter(&tenant(name), &message_id("m-1")).unwrap().unwrap();
    let (by, reason) = (crate::ids::UserId::parse("bob").unwrap(), "it was an outage".to_owned());
    Triage { by, reason, sequence: letter.position.sequence, body_sha256: body_sha256(b"poison") }
}

#[tokio::test(start_paused = true)]
async fn a_replay_and_a_discard_outlive_a_restart_and_leave_no_letter_behind() {
    let bench = Bench::new().await;
    let broker = open(&bench).await;
    let (acme, globex, id) = (tenant("acme"), tenant("globex"), message_id("m-1"));
    let (replayed, discarded) = (put_aside(&broker, "acme").await, put_aside(&broker, "globex").await);
    assert_eq!(broker.replay(&acme, &id, &replayed, "bobs".into()).await.unwrap(), Triaged::Done { sequence: 3 });
    assert_eq!(broker.discard(&globex, &id, &discarded).await.unwrap(), Triaged::Done { sequence: 2 });
    // Not flushed: as after a crash.
    drop(broker);

    let broker = open(&bench).await;
    assert_eq!((broker.depth(), broker.dead_letters_kept().unwrap()), (1, 0));
    assert_eq!(broker.every_discarded().unwrap(), [(globex.clone(), id.clone())]);
    let known = broker.standing(&globex, &id).await.unwrap().unwrap();
    assert_eq!(known.standing, Standing::Discarded { reason: "it was an outage".into() });
    assert_eq!(known.body_sha256, body_sha256(b"poison"));
    assert_eq!(publish(&broker, "globex", "m-1", "other").await, Published::Conflict);
    assert_eq!(publish(&broker, "globex", "m-1", "poison").await, Published::Duplicate { sequence: 2 });
    let delivery = broker.fetch(9, NO_WAIT).await.unwrap().remove(0);
    let message = &delivery.messages[0];
    assert_eq!((message.position.sequence, message.attempt, &*message.envelope.grant), (3, 4, "bobs"));
    assert!(broker.settle(&delivery.lease, done(1)).await.unwrap());
    assert!(broker.fetch(9, NO_WAIT).await.unwrap().is_empty(), "the letter came back");
    let attempts = broker.store.read().unwrap().open_table(ATTEMPTS).unwrap().len().unwrap();
    broker.flush().await.unwrap();
    let after = broker.store.read().unwrap().open_table(ATTEMPTS).unwrap().len().unwrap();
    assert_eq!((attempts, after), (1, 0), "rows of attempts that nobody needs");
}

#[tokio::test(start_paused = true)]
async fn of_replays_and_discards_that_share_a_commit_one_is_done() {
    let bench = Bench::new().await;
    let broker = open(&bench).await;
    let (acme, id) = (tenant("acme"), message_id("m-1"));
    let triage = put_aside(&broker, "acme").await;
    let replay = || broker.replay(&acme, &id, &triage, "bobs".into());
    let answers = tokio::join!(replay(), replay(), broker.discard(&acme, &id, &triage));
    let pending = Triaged::Stands(Some(Standing::Pending));
    let all = [answers.0.unwrap(), answers.1.unwrap(), answers.2.unwrap()];
    assert_eq!(all, [Triaged::Done { sequence: 2 }, pending.clone(), pending]);
    assert_eq!(ids(&broker.fetch(9, NO_WAIT).await.unwrap()), ["m-1 #4"]);
}

#[tokio::test(start_paused = true)]
async fn who_replays_and_who_discards_is_on_record_with_the_reason() {
    let bench = Bench::new().await;
    let broker = Arc::new(open(&bench).await);
    let audit = Arc::new(crate::audit::EmbeddedAudit::open(&bench.world).await.unwrap());
    let (acme, id) = (tenant("acme"), message_id("m-1"));
    let triage = put_aside(&broker, "acme").await;
    broker.replay(&acme, &id, &triage, "bobs".into()).await.unwrap();
    let again = put_aside_again(&broker, &triage).await;
    broker.discard(&acme, &id, &again).await.unwrap();
    let relaying = tokio::spawn(crate::audit::relay(broker.outgoing(), audit.clone(), bench.world.clock.clone()));
    let told = |kind| {
        let steps = audit.steps().unwrap().into_iter().map(|(_, step)| step);
        steps.filter(|step| step.kind == kind).collect::<Vec<_>>()
    };
    while told(StepKind::Discarded).is_empty() {
        tokio::task::yield_now().await;
    }
    relaying.abort();
    let line = |kind| told(kind).iter().map(Step::line).collect::<Vec<_>>();
    assert_eq!(line(StepKind::Replayed), ["broker, replayed 2 m-1 of bob: it was an outage"]);
    assert_eq!(line(StepKind::Discarded), ["broker, discarded 2 m-1 of bob: it was an outage"]);
    let attempts: Vec<_> = told(StepKind::Delivered).iter().map(|step| step.number).collect();
    assert_eq!(attempts, [1, 2, 3, 4], "each delivery has a number of its own");
}

/// Puts the replayed letter aside once more.
async fn put_aside_again(broker: &EmbeddedBroker, triage: &Triage) -> Triage {
    let run = broker.fetch(1, NO_WAIT).await.unwrap().remove(0);
    let ended = vec![Ending::DeadLetter { reason: "unreadable".into() }];
    assert!(broker.settle(&run.lease, Settlement { ended, ..Settlement::default() }).await.unwrap());
    let letter = broker.kept_letter(&run.lease.tenant, &run.messages[0].message_id).unwrap().unwrap();
    assert!(letter.attempts.is_empty(), "the silences before the replay count: {:?}", letter.attempts);
    Triage { sequence: letter.position.sequence, ..triage.clone() }
}

#[tokio::test(start_paused = true)]
async fn a_full_lane_takes_no_replay_and_the_letter_stays() {
    let bench = Bench::new().await;
    let limits = Limits { depth_max: 2, ..Limits::default() };
    let broker = EmbeddedBroker::open(&bench.world, limits).await.unwrap();
    let (acme, id) = (tenant("acme"), message_id("m-1"));
    let triage = put_aside(&broker, "acme").await;
    publish(&broker, "acme", "m-2", "body").await;
    publish(&broker, "acme", "m-3", "body").await;
    let refused = broker.replay(&acme, &id, &triage, "bobs".into()).await.unwrap();
    assert!(matches!(refused, Triaged::Overloaded { .. }), "{refused:?}");
    assert_eq!(broker.dead_letters_kept().unwrap(), 1);
    // What takes no room is done all the same.
    assert!(matches!(broker.discard(&acme, &id, &triage).await.unwrap(), Triaged::Done { .. }));
}
