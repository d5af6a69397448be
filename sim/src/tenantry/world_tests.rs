//! A real store on the simulated disk: what slow, failing and rotting disks do to it. The audit log stands for all stores,
//! for they share everything below their tables.

use tenantry_system::audit::{Audit, AuditEntry, EmbeddedAudit, Event};
use tenantry_system::broker::{Broker, Delivery, EmbeddedBroker, Ending, Limits, Published, Settlement};
use tenantry_system::call::CallError;
use tenantry_system::grant::Envelope;
use tenantry_system::ids::{MessageId, TenantId, UserId};

use super::*;
use crate::engine::fault::FaultKind;

const HOST: &str = "audit";
const FILE: &str = "audit.redb";

/// Entries in a commit.
const BATCH: u64 = 5;
/// Commits: enough for a tree with branches, few enough for thousands of openings.
const COMMITS: u64 = 40;
/// Bytes of redb's header: the part of the file that checksums cover least.
const HEADER_BYTES: usize = 320;

/// Runs one process's life, of which no time passes but what it sleeps.
fn live<T>(life: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(life)
}

fn worlds() -> Worlds {
    Worlds::new(Dice::new(1), Trace::new(false), 1..=1, false)
}

/// The bytes of the host's file.
fn bytes(worlds: &Worlds) -> Vec<u8> {
    let hosts = worlds.lock();
    let image = hosts[HOST].image.lock().unwrap();
    let mut bytes = vec![0; image.len(FILE).unwrap() as usize];
    image.read(FILE, 0, &mut bytes).unwrap();
    bytes
}

/// A host whose file has `bytes`.
fn with_bytes(bytes: &[u8]) -> Worlds {
    let worlds = worlds();
    let mut image = DiskImage::new();
    image.create(FILE).unwrap();
    image.write(FILE, 0, bytes).unwrap();
    *worlds.hosted(&mut worlds.lock(), HOST).image.lock().unwrap() = image;
    worlds
}

fn entry(number: u64) -> AuditEntry {
    AuditEntry {
        at_unix_ms: 1_767_225_600_000,
        tenant_id: TenantId::parse("acme").unwrap(),
        user_id: UserId::parse("ana").unwrap(),
        replayed_by: None,
        action: "issue_credit".into(),
        message_id: MessageId::parse(&format!("m-{number}")).unwrap(),
        body: format!("{number:0100}").into(),
        outcome: "applied".into(),
        detail: String::new(),
        authority_revision: 1,
        policies: Vec::new(),
        approved_by: None,
    }
}

/// Everything that the log has.
type Content = (u64, Vec<AuditEntry>);

async fn content(audit: &EmbeddedAudit) -> Result<Content, String> {
    // An append of nothing answers with the last number, from the other table.
    let last = audit.append("ledger", 1, Vec::new()).await.map_err(|error| error.to_string())?;
    Ok((last, audit.entries().map_err(|error| error.to_string())?))
}

async fn fill(audit: &EmbeddedAudit, commits: u64) {
    for first in (1..=commits * BATCH).step_by(BATCH as usize) {
        audit.append("ledger", first, (first..first + BATCH).map(entry).map(Event::Decided).collect()).await.unwrap();
    }
}

/// What a log has after so many commits.
fn written(commits: u64) -> Content {
    (commits * BATCH, (1..=commits * BATCH).map(entry).collect())
}

/// The bytes of a log of so many commits, closed cleanly or killed after the last of them.
fn log(commits: u64, closed: bool) -> Vec<u8> {
    let mut worlds = worlds();
    live(async {
        let audit = EmbeddedAudit::open(&worlds.start(HOST)).await.unwrap();
        fill(&audit, commits).await;
        if !closed {
            worlds.before_crash(HOST);
        }
        drop(audit);
        // The committer lets go of the file a moment after the store is dropped.
        tokio::time::sleep(Duration::from_secs(1)).await;
    });
    let bytes = bytes(&worlds);
    assert_eq!(bytes[9] & 2 == 0, closed, "redb's flag for a file that was not closed");
    bytes
}

/// What a fresh process finds in `bytes` of which one bit, counted from the first byte's lowest, has turned over.
fn reopened(bytes: &[u8], bit: usize) -> Result<Content, String> {
    let mut rotten = bytes.to_vec();
    rotten[bit / 8] ^= 1 << (bit % 8);
    let worlds = with_bytes(&rotten);
    live(async {
        let audit = EmbeddedAudit::open(&worlds.start(HOST)).await.map_err(|error| error.to_string())?;
        content(&audit).await
    })
}

/// Every bit of redb's header, and some of the whole file.
fn bits(bytes: &[u8]) -> impl Iterator<Item = usize> {
    let (dice, last) = (Dice::new(7), bytes.len() as u64 * 8 - 1);
    (0..HEADER_BYTES * 8).chain((0..300).map(move |draw| dice.range("test.rot", "", draw, 0..=last) as usize))
}

#[test]
fn a_bit_that_rotted_in_a_closed_store_changes_nothing_or_the_file_is_refused_with_advice() {
    let (bytes, before) = (log(COMMITS, true), written(COMMITS));
    let (mut same, mut refused) = (0, 0);
    for bit in bits(&bytes) {
        match reopened(&bytes, bit) {
            Ok(content) => {
                assert_eq!(content, before, "bit {bit} turned over, and other content was read without an error");
                same += 1;
            }
            Err(error) => {
                let says = error.contains("failed to open audit.redb") && error.contains("restore it from a copy");
                assert!(says, "bit {bit}: {error}");
                refused += 1;
            }
        }
    }
    assert!(same > 100 && refused > 100, "{same} flips changed nothing and {refused} were refused");
}

/// A limit of ours that should be known to be one: this test fails when it is gone, and the documents must follow.
#[test]
fn rot_in_the_last_commit_before_a_kill_goes_back_by_that_commit_and_nobody_is_told() {
    let bytes = log(COMMITS, false);
    let (mut same, mut back, mut refused) = (0, 0, 0);
    for bit in bits(&bytes) {
        match reopened(&bytes, bit) {
            Ok(content) if content == written(COMMITS) => same += 1,
            Ok(content) if content == written(COMMITS - 1) => back += 1,
            Ok((last, entries)) => panic!("bit {bit}: {} entries up to {last}", entries.len()),
            Err(_) => refused += 1,
        }
    }
    assert!(same > 100 && back > 100 && refused > 100, "{same} same, {back} back, {refused} refused");
}

#[test]
fn rot_under_a_running_process_is_seen_when_it_starts_anew() {
    let mut refused = 0;
    for seed in 0..30 {
        let mut worlds = Worlds::new(Dice::new(seed), Trace::new(false), 1..=1, false);
        let flips = live(async {
            let audit = EmbeddedAudit::open(&worlds.start(HOST)).await.unwrap();
            fill(&audit, COMMITS).await;
            let flips = worlds.rot(HOST, Duration::ZERO);
            let running = content(&audit).await.unwrap();
            assert_eq!(running, written(COMMITS), "seed {seed}: the pages are in the process's own cache");
            worlds.before_crash(HOST);
            flips
        });
        assert!(!flips.is_empty(), "seed {seed}");
        let found: Result<Content, String> = live(async {
            let audit = EmbeddedAudit::open(&worlds.start(HOST)).await.map_err(|error| error.to_string())?;
            content(&audit).await
        });
        match found {
            Ok(found) => assert_eq!(found, written(COMMITS), "seed {seed}: {flips:?}"),
            Err(_) => refused += 1,
        }
    }
    assert!((1..30).contains(&refused), "refused in {refused} of 30 seeds");
}

#[test]
fn a_slow_disk_takes_its_time_for_every_commit_while_it_is_slow() {
    let mut worlds = worlds();
    let times = live(async {
        let audit = EmbeddedAudit::open(&worlds.start(HOST)).await.unwrap();
        let mut times = Vec::new();
        for sync_ms in [None, Some(250), None] {
            worlds.set_disk(HOST, DiskState { sync_ms, ..DiskState::default() });
            let begin = tokio::time::Instant::now();
            audit.append("ledger", 1, Vec::new()).await.unwrap();
            times.push(begin.elapsed().as_millis());
        }
        times
    });
    assert_eq!(times, [1, 250, 1]);
}

#[test]
fn a_store_whose_disk_fails_during_a_commit_confirms_nothing_and_opens_again_once_the_disk_works() {
    let mut worlds = worlds();
    let broken = DiskState { failing: true, ..DiskState::default() };
    live(async {
        let audit = EmbeddedAudit::open(&worlds.start(HOST)).await.unwrap();
        fill(&audit, 1).await;
        worlds.set_disk(HOST, broken);
        let next = audit.append("ledger", BATCH + 1, vec![Event::Decided(entry(BATCH + 1))]).await.unwrap_err();
        assert!(matches!(next, CallError::Unknown(_)), "{next}");
        assert!(audit.failed().await.contains("input/output error"));
        worlds.before_crash(HOST);
        drop(audit);
        assert!(EmbeddedAudit::open(&worlds.start(HOST)).await.is_err(), "the disk still fails");
        worlds.before_crash(HOST);
        worlds.set_disk(HOST, DiskState::default());
        let audit = EmbeddedAudit::open(&worlds.start(HOST)).await.unwrap();
        assert_eq!(content(&audit).await.unwrap(), written(1));
    });
    assert!(worlds.disk_refused() >= 2);
}

#[test]
fn power_that_fails_in_the_middle_of_a_compaction_loses_nothing() {
    const BROKER: &str = "broker";
    let limits = Limits { compact_from: 256 << 10, ..Limits::default() };
    let (tenant, waiting) = (TenantId::parse("acme").unwrap(), 10);
    let id = |index: usize| MessageId::parse(&format!("m-{index}")).unwrap();
    let (mut in_the_middle, mut shrunk) = (0, 0);
    for seed in 0..60 {
        let mut worlds = Worlds::new(Dice::new(seed), Trace::new(false), 10..=10, false);
        let length = |worlds: &Worlds| worlds.lock()[BROKER].image.lock().unwrap().len("broker.redb").unwrap();
        live(async {
            let broker = EmbeddedBroker::open(&worlds.start(BROKER), limits).await.unwrap();
            for index in 0..100 {
                let envelope = Envelope { body: vec![b'x'; 5_000].into(), grant: "grant".into(), trace: None };
                broker.publish(&tenant, &id(index), envelope).await.unwrap();
            }
            while broker.depth() > waiting {
                let max = (broker.depth() - waiting).min(64);
                for Delivery { lease, messages } in broker.fetch(max, Duration::ZERO).await.unwrap() {
                    let ended = vec![Ending::Done; messages.len()];
                    assert!(broker.settle(&lease, Settlement { ended, ..Settlement::default() }).await.unwrap());
                }
            }
            // There may have been a compaction while the file was young: longer than the pause to the next.
            tokio::time::sleep(Duration::from_secs(11)).await;
            let before = length(&worlds);
            broker.flush().await.unwrap();
            // The commit is confirmed; the compaction that follows it has run, and its syncs are under way.
            tokio::time::sleep(Duration::from_millis(5)).await;
            in_the_middle += u32::from(length(&worlds) < before);
            worlds.before_crash(BROKER);
            worlds.power_loss(BROKER, Duration::ZERO);
            shrunk += u32::from(length(&worlds) < before);
        });
        live(async {
            let broker = EmbeddedBroker::open(&worlds.start(BROKER), limits).await.unwrap();
            assert_eq!(broker.depth(), waiting, "seed {seed}");
            let runs = broker.fetch(64, Duration::ZERO).await.unwrap();
            let ids: Vec<_> = runs[0].messages.iter().map(|message| message.message_id.clone()).collect();
            assert_eq!(ids, (90..100).map(id).collect::<Vec<_>>(), "seed {seed}");
            let again = broker
                .publish(&tenant, &id(0), Envelope { body: "other".into(), grant: "grant".into(), trace: None })
                .await;
            assert_eq!(again, Ok(Published::Conflict), "seed {seed}: what was settled is no longer known");
        });
    }
    assert_eq!(in_the_middle, 60, "some power losses did not meet a compaction");
    assert!(
        (1..60).contains(&shrunk),
        "of 60 power losses {shrunk} came after the file had shrunk, none before or none after"
    );
}

#[test]
fn a_stopped_process_gets_nothing_done_and_goes_on_as_soon_as_it_may() {
    let weather = Weather::default();
    let mut worlds = worlds().under(&weather, &[]);
    let at = Duration::ZERO;
    let pause = Fault { at, for_: Duration::from_secs(1), kind: FaultKind::Pause { host: HOST.into() }, when: None };
    live(async {
        let disk = worlds.start(HOST).disk;
        weather.begin(&pause, at);
        let mut job = tokio::spawn(async move { disk.run(Box::new(|| {})).await });
        let stopped = tokio::time::timeout(Duration::from_millis(500), &mut job).await;
        assert!(stopped.is_err(), "it went on while it was stopped: {stopped:?}");
        weather.end(&pause);
        worlds.resume(HOST);
        let done = tokio::time::timeout(Duration::from_millis(500), job).await;
        assert!(matches!(done, Ok(Ok(Ok(())))), "it did not go on: {done:?}");
    });
    assert_eq!(weather.effects()["pause"], 1);
}

#[test]
fn what_a_power_loss_and_rot_leave_is_drawn_anew_with_the_future() {
    let ms = Duration::from_millis;
    let left = |dice: Dice, at_ms: u64| {
        let mut worlds = Worlds::new(dice, Trace::new(false), 1..=1, false);
        let mut image = DiskImage::new();
        image.create(FILE).unwrap();
        image.write(FILE, 0, &[7; 100_000]).unwrap();
        *worlds.hosted(&mut worlds.lock(), HOST).image.lock().unwrap() = image;
        let flips = worlds.rot(HOST, ms(at_ms));
        (flips, worlds.power_loss(HOST, ms(at_ms)))
    };
    let (past, plain) = (Dice::new(1), left(Dice::new(1), 400));
    assert_eq!(left(past.redrawn(ms(401), 2), 400), plain, "the past stays");
    let other = left(past.redrawn(ms(400), 2), 400);
    assert!(other.0 != plain.0 && other.1 != plain.1, "{other:?} and {plain:?}");
    assert_eq!(other, left(Dice::new(2), 400));
}
