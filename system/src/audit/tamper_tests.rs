//! A sound log, every way to spoil its export that we could think of, and what the verification says of each.

use std::sync::Arc;

use super::*;
use crate::ids::UserId;
use crate::testing::{Bench, credit, message_id, tenant};
use crate::tlog::{Checkpoint, LogKey, Signer};

const SIZE: u64 = 600;

fn decided(number: u64) -> Event {
    let id = format!("m-{number}");
    Event::Decided(AuditEntry {
        at_unix_ms: number as i64 * 1000,
        tenant_id: tenant("acme"),
        user_id: UserId::parse("ana").unwrap(),
        replayed_by: None,
        action: "issue_credit".into(),
        message_id: message_id(&id),
        body: credit("acme", &id, 5).into(),
        outcome: "applied".into(),
        detail: String::new(),
        authority_revision: 1,
        policies: Vec::new(),
        approved_by: None,
    })
}

struct Exhibit {
    export: Files,
    key: LogKey,
    /// Checkpoints of 0, 100, 350 and all entries.
    old: Vec<String>,
}

impl Exhibit {
    async fn new() -> Self {
        let bench = Bench::new().await;
        let audit = EmbeddedAudit::open(&bench.world).await.unwrap();
        let mut old = vec![audit.checkpoint().await.unwrap()];
        for (first, last) in [(1, 100), (101, 350), (351, SIZE)] {
            audit.append("ledger", first, (first..=last).map(decided).collect()).await.unwrap();
            old.push(audit.checkpoint().await.unwrap());
        }
        let mut export = Files::default();
        assert_eq!(audit.export(&mut export).unwrap(), Exported { size: SIZE, records: SIZE });
        Self { export, key: audit.key().clone(), old }
    }

    fn verify(&self, since: Option<&str>) -> Verified {
        verify(&self.export, &self.key, since).unwrap()
    }

    /// Kind, file and place of the first violation once `spoil` had its way, and how many there are.
    fn spoilt(&self, spoil: impl FnOnce(&mut Files)) -> (Kind, String, Option<u64>, u64) {
        let mut export = self.export.clone();
        spoil(&mut export);
        assert_ne!(export, self.export, "nothing was spoilt");
        let verified = verify(&export, &self.key, Some(&self.old[2])).unwrap();
        let first = verified.violations.first().unwrap_or_else(|| panic!("nothing was found: {verified:?}"));
        (first.kind, first.file.clone(), first.place, verified.violations_total)
    }

    /// The same for the lines.
    fn with_lines(&self, spoil: impl FnOnce(&mut Vec<String>)) -> (Kind, Option<u64>, u64) {
        let (kind, file, place, total) = self.spoilt(|files| edit_lines(files, spoil));
        assert_eq!(file, "entries.jsonl");
        (kind, place, total)
    }
}

fn edit_lines(files: &mut Files, edit: impl FnOnce(&mut Vec<String>)) {
    let text = String::from_utf8(files.0["entries.jsonl"].clone()).unwrap();
    let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
    edit(&mut lines);
    files.0.insert("entries.jsonl".into(), (lines.join("\n") + "\n").into_bytes());
}

#[tokio::test]
async fn a_sound_export_verifies_against_every_checkpoint_there_ever_was() {
    let exhibit = Exhibit::new().await;
    let paths: Vec<_> = exhibit.export.0.keys().map(String::as_str).collect();
    assert_eq!(paths, ["checkpoint", "entries.jsonl", "tile/0/000", "tile/0/001", "tile/0/002.p/88", "tile/1/000.p/2"]);
    for (old, size) in exhibit.old.iter().zip([0, 100, 350, SIZE]) {
        let verified = exhibit.verify(Some(old));
        assert!(verified.is_sound(), "{verified:?}");
        assert_eq!((verified.size, verified.records, verified.hash_only, verified.since), (SIZE, SIZE, 0, Some(size)));
    }
}

#[tokio::test]
async fn a_flipped_bit_in_any_field_of_any_file_is_found_and_its_file_named() {
    let exhibit = Exhibit::new().await;
    for (path, bytes) in &exhibit.export.0 {
        // Every byte of what is short, and of the first record; some of the last, and of the rest.
        let record = exhibit.export.0["entries.jsonl"].iter().position(|byte| *byte == b'\n').unwrap() + 1;
        let (len, step) = (bytes.len(), if path.starts_with("tile") { 997 } else { 49_999 });
        let is_tried = |at: &usize| {
            len < 300
                || (*at < record && !path.starts_with("tile"))
                || (len - at < record && at.is_multiple_of(7))
                || at.is_multiple_of(step)
        };
        for at in (0..bytes.len()).filter(is_tried) {
            let (kind, file, place, _) = exhibit.spoilt(|files| files.0.get_mut(path).unwrap()[at] ^= 1 << (at % 8));
            assert_eq!(&file, path, "byte {at}");
            if path == "checkpoint" {
                assert!(matches!(kind, Kind::BadSignature | Kind::OtherKey | Kind::Malformed), "byte {at}: {kind:?}");
            } else if path == "entries.jsonl" {
                let line = bytes[..at].iter().filter(|byte| **byte == b'\n').count() as u64 + 1;
                let ends = [b'\n', b'\n' ^ 1 << (at % 8)];
                let is_end = ends.contains(&bytes[at]);
                assert!(is_end || (kind, place) == (Kind::FlippedBit, Some(line)), "byte {at}: {kind:?} {place:?}");
            } else {
                let leaf = path.starts_with("tile/0/").then(|| {
                    at / 32 + 1 + 256 * usize::from(path.contains("001")) + 512 * usize::from(path.contains("002"))
                });
                assert_eq!((kind, place), (Kind::FlippedBit, leaf.map(|leaf| leaf as u64)), "{path}, byte {at}");
            }
        }
    }
}

#[tokio::test]
async fn a_cut_tail_a_gap_a_reorder_a_double_and_an_addition_are_called_what_they_are() {
    let exhibit = Exhibit::new().await;
    assert_eq!(exhibit.with_lines(|lines| lines.truncate(590)), (Kind::CutTail, Some(591), 1));
    assert_eq!(exhibit.with_lines(|lines| drop(lines.drain(9..12))), (Kind::Gap, Some(10), 1));
    assert_eq!(exhibit.with_lines(|lines| drop(lines.drain(..2))), (Kind::Gap, Some(1), 1));
    assert_eq!(exhibit.with_lines(|lines| lines.swap(41, 42)), (Kind::Reorder, Some(42), 1));
    assert_eq!(exhibit.with_lines(|lines| lines.swap(41, 99)).0, Kind::Reorder);
    assert_eq!(exhibit.with_lines(|lines| lines.insert(7, lines[6].clone())), (Kind::Duplicate, Some(7), 1));
    assert_eq!(exhibit.with_lines(|lines| lines.insert(7, "{}".into())), (Kind::Added, Some(8), 1));
    assert_eq!(exhibit.with_lines(|lines| lines.push("{}".into())), (Kind::Added, Some(601), 1));
    assert_eq!(exhibit.with_lines(|lines| lines[0] = "{}".into()), (Kind::FlippedBit, Some(1), 1));
}

#[tokio::test]
async fn tiles_that_were_swapped_cut_or_taken_away_are_named() {
    let exhibit = Exhibit::new().await;
    let swapped = exhibit.spoilt(|files| {
        let (first, second) = (files.0["tile/0/000"].clone(), files.0["tile/0/001"].clone());
        files.0.insert("tile/0/000".into(), second);
        files.0.insert("tile/0/001".into(), first);
    });
    assert_eq!(swapped, (Kind::Reorder, "tile/0/000".into(), Some(1), 2));
    let cut = exhibit.spoilt(|files| files.0.get_mut("tile/0/001").unwrap().truncate(8191));
    assert_eq!(cut, (Kind::Malformed, "tile/0/001".into(), Some(257), 1));
    for path in ["tile/0/002.p/88", "tile/1/000.p/2", "entries.jsonl", "checkpoint"] {
        let (kind, file, _, _) = exhibit.spoilt(|files| drop(files.0.remove(path)));
        assert_eq!((kind, file.as_str()), (Kind::MissingFile, path));
    }
}

/// The export of a log whose entry 50 says something else, by the same key or another.
fn rewritten(exhibit: &Exhibit, signer: Option<&Signer>) -> Files {
    let mut files = exhibit.export.clone();
    edit_lines(&mut files, |lines| lines[49] = lines[49].replace("ana", "bob"));
    let text = String::from_utf8(files.0["entries.jsonl"].clone()).unwrap();
    let (mut edge, mut tiles) = (crate::tlog::Frontier::default(), std::collections::BTreeMap::new());
    for line in text.lines() {
        let kept = |level: u8, index: u64, hash: crate::tlog::Hash| {
            tiles.insert((level, index), hash);
            Ok::<_, std::convert::Infallible>(())
        };
        edge.append(crate::tlog::leaf_hash(line.as_bytes()), kept).unwrap();
    }
    for tile in Tile::all(SIZE) {
        let hashes = tiles.range((tile.level, tile.first())..(tile.level, tile.first() + u64::from(tile.width)));
        let hashes: Vec<_> = hashes.map(|(_, hash)| *hash).collect();
        files.0.insert(tile.to_string(), hashes.concat());
    }
    if let Some(signer) = signer {
        let forked =
            Checkpoint { origin: signer.public().name().into(), size: SIZE, root: edge.root(), extension: None };
        files.0.insert("checkpoint".into(), forked.sign(signer).into_bytes());
    }
    files
}

#[tokio::test]
async fn a_history_that_was_rewritten_whole_is_a_fork_for_whoever_has_the_key_and_an_old_checkpoint() {
    let mut exhibit = Exhibit::new().await;
    // Without the log's key: the checkpoint is of another root.
    let (kind, file, _, total) = exhibit.spoilt(|files| *files = rewritten(&exhibit, None));
    assert_eq!((kind, file.as_str(), total), (Kind::Fork, "checkpoint", 1));
    // With the log's own key: what is there is sound in itself, but the past is another.
    let (signer, name) = (|seed| Signer::from_seed("fork.example/log", &[seed; 32]).unwrap(), "fork.example/log");
    exhibit.key = signer(1).public().clone();
    exhibit.old[1] =
        Checkpoint { origin: name.into(), size: 600, root: hex_root(&exhibit), extension: None }.sign(&signer(1));
    exhibit.export = rewritten(&exhibit, Some(&signer(1)));
    assert!(exhibit.verify(None).is_sound());
    let verified = exhibit.verify(Some(&exhibit.old[1]));
    assert_eq!((verified.violations_total, verified.violations[0].kind), (1, Kind::Fork));
    let later = Checkpoint { origin: name.into(), size: 601, root: [0; 32], extension: None }.sign(&signer(1));
    let verified = exhibit.verify(Some(&later));
    assert_eq!((verified.violations[0].kind, verified.violations[0].place), (Kind::CutTail, Some(601)));
    // By another key, and of another log.
    exhibit.export = rewritten(&exhibit, Some(&signer(2)));
    assert_eq!(exhibit.verify(None).violations[0].kind, Kind::OtherKey);
    let foreign =
        Checkpoint { origin: "else.example/log".into(), size: SIZE, root: [0; 32], extension: None }.sign(&signer(1));
    exhibit.export.0.insert("checkpoint".into(), foreign.into_bytes());
    assert_eq!(exhibit.verify(None).violations[0].kind, Kind::OtherOrigin);
}

/// The root that the exhibit's own key signed.
fn hex_root(exhibit: &Exhibit) -> crate::tlog::Hash {
    let note = String::from_utf8(exhibit.export.0["checkpoint"].clone()).unwrap();
    let line = note.lines().nth(2).unwrap();
    base64::Engine::decode(&base64::engine::general_purpose::STANDARD, line).unwrap().try_into().unwrap()
}

#[tokio::test]
async fn what_is_too_old_loses_its_bytes_and_everything_else_still_verifies() {
    let bench = Bench::new().await;
    let now = bench.world.clock.now().as_millisecond();
    let keep_days = std::num::NonZeroU32::new(30);
    let at = |days: i64, number| match decided(number) {
        Event::Decided(entry) => Event::Decided(AuditEntry { at_unix_ms: now - days * 24 * 3600 * 1000, ..entry }),
        other => other,
    };
    let kept = EmbeddedAudit::open(&bench.world).await.unwrap();
    kept.append("ledger", 1, (1..=300).map(|number| at(40, number)).collect()).await.unwrap();
    kept.append("ledger", 301, (301..=310).map(|number| at(20, number)).collect()).await.unwrap();
    let old = kept.checkpoint().await.unwrap();
    let audit = reopened(kept, &bench, LogSettings { keep_days, ..LogSettings::default() }).await.unwrap();
    assert_eq!((audit.len().unwrap(), audit.events(0, 1).await.unwrap()[0].0), (310, 301));
    let query = Query { tenant: Some("acme".into()), max: 9, ..Query::default() };
    let found = audit.search(&query).await.unwrap();
    assert_eq!(found.records.iter().map(|record| record.place).collect::<Vec<_>>(), (301..=309).collect::<Vec<_>>());
    audit.append("ledger", 311, vec![at(0, 311)]).await.unwrap();
    let mut export = Files::default();
    assert_eq!(audit.export(&mut export).unwrap(), Exported { size: 311, records: 11 });
    let verified = verify(&export, audit.key(), Some(&old)).unwrap();
    assert!(verified.is_sound(), "{verified:?}");
    assert_eq!((verified.records, verified.hash_only), (11, 300));
    let mut spoilt = export.clone();
    edit_lines(&mut spoilt, |lines| lines[3] = lines[3].replace("ana", "bob"));
    let verified = verify(&spoilt, audit.key(), None).unwrap();
    assert_eq!((verified.violations[0].kind, verified.violations[0].place), (Kind::FlippedBit, Some(304)));
    // What someone deleted beyond what retention took is missing.
    spoilt = export.clone();
    edit_lines(&mut spoilt, |lines| drop(lines.remove(0)));
    let verified = verify(&spoilt, audit.key(), None).unwrap();
    assert_eq!((verified.violations[0].kind, verified.violations[0].place), (Kind::Gap, Some(301)));
    spoilt = export;
    spoilt.0.get_mut("tile/0/000").unwrap()[0] ^= 1;
    assert!(!verify(&spoilt, audit.key(), None).unwrap().is_sound());
}

/// The log once more, as a new start finds it.
async fn reopened(audit: EmbeddedAudit, bench: &Bench, settings: LogSettings) -> std::io::Result<EmbeddedAudit> {
    drop(audit);
    loop {
        // The store's committer lets go of the file a moment after the store is dropped.
        match EmbeddedAudit::open_with(&bench.world, settings.clone()).await {
            Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => tokio::task::yield_now().await,
            opened => return opened,
        }
    }
}

#[tokio::test]
async fn a_log_keeps_its_key_and_its_name_and_refuses_another() {
    let bench = Bench::new().await;
    let settings = LogSettings { origin: Some("example.com/tenantry".into()), ..LogSettings::default() };
    let audit = EmbeddedAudit::open_with(&bench.world, settings.clone()).await.unwrap();
    audit.append("ledger", 1, vec![decided(1)]).await.unwrap();
    let (key, checkpoint) = (audit.key().clone(), audit.checkpoint().await.unwrap());
    let audit = reopened(audit, &bench, LogSettings::default()).await.unwrap();
    assert_eq!((audit.key(), audit.checkpoint().await.unwrap()), (&key, checkpoint));
    assert_eq!(key.name(), "example.com/tenantry");
    let other = LogSettings { origin: Some("example.com/other".into()), ..settings };
    let Err(refused) = reopened(audit, &bench, other).await else { panic!("a log was renamed") };
    assert!(refused.to_string().contains("a log keeps the origin that it was begun with"), "{refused}");
}

#[tokio::test]
async fn a_log_that_contradicts_its_newest_checkpoint_does_not_open() {
    use redb::{Database, ReadableDatabase, TableDefinition};
    const ENTRIES: TableDefinition<u64, &[u8]> = TableDefinition::new("entries");
    const HASHES: TableDefinition<(u8, u64), [u8; 32]> = TableDefinition::new("hashes");
    const EDGE: TableDefinition<(), &[u8]> = TableDefinition::new("edge");
    type Spoil = fn(&redb::WriteTransaction);
    let spoils: [(Spoil, &str); 6] = [
        (
            |within| drop(within.open_table(ENTRIES).unwrap().insert(300, &b"{}"[..]).unwrap()),
            "entry 300 is missing, or another",
        ),
        (|within| drop(within.open_table(ENTRIES).unwrap().remove(310).unwrap()), "entry 310 is missing"),
        (|within| drop(within.open_table(ENTRIES).unwrap().remove(20).unwrap()), "it has 309 entries from 1 on"),
        (|within| drop(within.open_table(ENTRIES).unwrap().remove(1).unwrap()), "it has 309 entries from 2 on"),
        (|within| drop(within.open_table(HASHES).unwrap().insert((0, 300), [0; 32]).unwrap()), "do not make the root"),
        (|within| drop(within.open_table(EDGE).unwrap().insert((), &[0; 8][..]).unwrap()), "contradicts the 0 here"),
    ];
    for (spoil, why) in spoils {
        let bench = Bench::new().await;
        let audit = EmbeddedAudit::open(&bench.world).await.unwrap();
        audit.append("ledger", 1, (1..=310).map(decided).collect()).await.unwrap();
        drop(reopened(audit, &bench, LogSettings::default()).await.unwrap());
        let path = bench.folder().join("audit.redb");
        let database = loop {
            match Database::open(&path) {
                Ok(database) => break database,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        assert!(database.begin_read().unwrap().list_tables().unwrap().count() > 5);
        let within = database.begin_write().unwrap();
        spoil(&within);
        within.commit().unwrap();
        drop(database);
        let Err(refused) = EmbeddedAudit::open(&bench.world).await else { panic!("opened, though {why}") };
        assert!(refused.to_string().contains(why), "{refused}");
    }
}

#[tokio::test]
async fn two_sources_at_once_make_one_tree_that_verifies() {
    let bench = Bench::new().await;
    let audit = Arc::new(EmbeddedAudit::open(&bench.world).await.unwrap());
    for number in 1..=40 {
        let (ledger, other) = tokio::join!(
            audit.append("ledger", number, vec![decided(number)]),
            audit.append("auth/1", number, vec![decided(number)])
        );
        assert_eq!((ledger, other), (Ok(number), Ok(number)));
        // What was told already is passed over.
        assert_eq!(audit.append("ledger", number, vec![decided(number)]).await, Ok(number));
    }
    let mut export = Files::default();
    audit.export(&mut export).unwrap();
    let verified = verify(&export, audit.key(), None).unwrap();
    assert!(verified.is_sound() && verified.records == 80, "{verified:?}");
}
