//! The ledger and its tenants' secrets: what opens, what does not, what is left on the disk after an erasure.

use super::*;
use crate::action::Change;
use crate::broker::Position;
use crate::capability::OsEntropy;
use crate::ledger::key_file;
use crate::secret::{KeySet, replace_secret};
use crate::testing::{Bench, asking, message_id, tenant, write_file};

const SECRET: &str = "hunter2-hunter2";

pub(super) async fn open(bench: &Bench) -> EmbeddedLedger {
    let ledger = EmbeddedLedger::open(&bench.world, bench.keys()).await.unwrap();
    ledger.learn(bench.authority.in_force_now(), Instant::now());
    ledger
}

/// The committer ends with the ledger, and lets go of the files once it is polled.
pub(super) async fn close(ledger: EmbeddedLedger) {
    drop(ledger);
    let_go().await;
}

pub(super) async fn let_go() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

pub(super) async fn store(bench: &Bench, ledger: &EmbeddedLedger, name: &str, id: &str) -> String {
    sealed(bench, ledger, (name, id), (name, id)).await
}

/// A message of tenant and id `stands`, with the credential `stripe` sealed for tenant and id `made`.
async fn sealed(bench: &Bench, ledger: &EmbeddedLedger, made: (&str, &str), stands: (&str, &str)) -> String {
    let keys = ledger.data_keys(&bench.seal(made.0, made.1).await).await.unwrap();
    let (version, wrapped) = keys.keys[0].clone();
    let key = bench.keys().unwrap(&wrapped, &KeyContext { tenant: tenant(made.0), version }).await.unwrap();
    let (of, id) = (tenant(made.0), message_id(made.1));
    let context = SealContext { tenant: &of, action: "store_credential", message_id: &id, field: SECRET_FIELD };
    let sealed = key.seal(version, &context, &ClearText::new(SECRET.into()).unwrap());
    let body = asking(stands.0, stands.1, "store_credential", r#"{"credential":"stripe","secret":"x"}"#);
    String::from_utf8(replace_secret(body.as_bytes(), &sealed).unwrap().to_vec()).unwrap()
}

async fn run(bench: &Bench, name: &str, works: &[(&str, &str, String)], sequence: u64) -> Run {
    let mut run = Vec::new();
    for (sequence, (id, action, body)) in (sequence..).zip(works) {
        let command = bench.command(name, id, action, body.clone()).await;
        let permission = command.message().action.permission();
        let position = Position { epoch: 1, sequence };
        run.push(Work { command, decision: bench.permit(name, permission), position });
    }
    Run::new(run).unwrap()
}

/// Applies one command; how it ended.
async fn apply(bench: &Bench, ledger: &EmbeddedLedger, (id, action, body): (&str, &str, String), at: u64) -> String {
    let run = run(bench, "acme", &[(id, action, body)], at).await;
    told(ledger.apply(&run).await.unwrap().remove(0))
}

fn told(applied: Applied) -> String {
    match applied {
        Applied::Now(Outcome { verdict, .. }) => verdict.map_or_else(|rejection| rejection.code, |_| "applied".into()),
        other => panic!("{other:?}"),
    }
}

fn erase(id: &str) -> (&str, &str, String) {
    (id, "erase_tenant_secrets", asking("acme", id, "erase_tenant_secrets", "{}"))
}

fn rotate(id: &str) -> (&str, &str, String) {
    (id, "rotate_data_key", asking("acme", id, "rotate_data_key", "{}"))
}

async fn stripe(bench: &Bench, ledger: &EmbeddedLedger, name: &str) -> Option<String> {
    let opened = ledger.open_credential(&bench.seal(name, "m-0").await, &Name::parse("stripe").unwrap()).await;
    opened.unwrap().map(|clear| clear.expose().to_owned())
}

/// Every byte in the ledger's folder that can be looked at.
pub(super) fn folder(bench: &Bench) -> Vec<u8> {
    let mut bytes = Vec::new();
    for file in std::fs::read_dir(bench.folder()).unwrap() {
        bytes.extend(std::fs::read(file.unwrap().path()).unwrap());
    }
    bytes
}

fn holds(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

#[tokio::test]
async fn a_credential_is_stored_sealed_and_opens_for_its_own_tenant_also_after_a_restart() {
    let bench = Bench::new().await;
    let ledger = open(&bench).await;
    let body = store(&bench, &ledger, "acme", "m-1").await;
    assert_eq!(apply(&bench, &ledger, ("m-1", "store_credential", body.clone()), 1).await, "applied");
    assert_eq!(stripe(&bench, &ledger, "acme").await.as_deref(), Some(SECRET));
    assert_eq!(stripe(&bench, &ledger, "globex").await, None);
    close(ledger).await;
    let ledger = open(&bench).await;
    assert_eq!(stripe(&bench, &ledger, "acme").await.as_deref(), Some(SECRET));
    // The same command, sealed after the restart: the same bytes, so it is found.
    assert_eq!(store(&bench, &ledger, "acme", "m-1").await, body);
    let again = run(&bench, "acme", &[("m-1", "store_credential", body)], 2).await;
    assert!(matches!(ledger.apply(&again).await.unwrap()[0], Applied::Before(_)));
    let state = ledger.state(&bench.read("acme").await).await.unwrap();
    let shown = &state.credentials[&Name::parse("stripe").unwrap()];
    assert_eq!((shown.data_key, &shown.message_id, shown.version), (KeyVersion(0), &message_id("m-1"), 1));
    assert!(!holds(&folder(&bench), SECRET.as_bytes()));
}

#[tokio::test]
async fn a_ciphertext_that_was_moved_is_rejected_for_good_and_changes_nothing() {
    let bench = Bench::new().await;
    let ledger = open(&bench).await;
    // acme has a key of the same version, so that it is the seal itself that tells.
    let body = store(&bench, &ledger, "acme", "m-1").await;
    apply(&bench, &ledger, ("m-1", "store_credential", body), 1).await;
    let before = ledger.state(&bench.read("acme").await).await.unwrap();
    for (sequence, made) in (2..).zip([("globex", "m-2"), ("acme", "m-1"), ("acme", "m-9")]) {
        let id = format!("m-{sequence}");
        let moved = sealed(&bench, &ledger, made, ("acme", &id)).await;
        assert_eq!(
            apply(&bench, &ledger, (&id, "store_credential", moved), sequence).await,
            "sealed_for_another",
            "{made:?}"
        );
    }
    let after = ledger.state(&bench.read("acme").await).await.unwrap();
    assert_eq!(after.credentials, before.credentials);
    // A version that never was.
    let unknown = store(&bench, &ledger, "acme", "m-7").await.replace(r#""data_key":0"#, r#""data_key":7"#);
    assert_eq!(apply(&bench, &ledger, ("m-7", "store_credential", unknown), 7).await, "sealed_for_another");
}

#[tokio::test]
async fn after_a_rotation_new_seals_use_the_new_key_and_old_ones_open() {
    let bench = Bench::new().await;
    let ledger = open(&bench).await;
    let waiting = store(&bench, &ledger, "acme", "m-1").await;
    assert_eq!(apply(&bench, &ledger, rotate("m-2"), 1).await, "applied");
    let newer = store(&bench, &ledger, "acme", "m-3").await;
    assert!(waiting.contains(r#""data_key":0"#) && newer.contains(r#""data_key":1"#), "{waiting} {newer}");
    // No valid command is refused because the key was rotated while it waited.
    assert_eq!(apply(&bench, &ledger, ("m-1", "store_credential", waiting), 2).await, "applied");
    assert_eq!(stripe(&bench, &ledger, "acme").await.as_deref(), Some(SECRET));
    assert_eq!(apply(&bench, &ledger, ("m-3", "store_credential", newer), 3).await, "applied");
    let keys = ledger.data_keys(&bench.seal("acme", "m-4").await).await.unwrap();
    let versions: Vec<_> = keys.keys.iter().map(|(version, _)| version.0).collect();
    assert_eq!((versions, keys.erased), (vec![1, 0], false));
}

#[tokio::test]
async fn an_erasure_leaves_no_credential_no_key_and_not_a_byte_of_the_wrapped_ones() {
    let bench = Bench::new().await;
    let ledger = open(&bench).await;
    let first = store(&bench, &ledger, "acme", "m-1").await;
    apply(&bench, &ledger, ("m-1", "store_credential", first), 1).await;
    apply(&bench, &ledger, rotate("m-2"), 2).await;
    let waiting = store(&bench, &ledger, "acme", "m-3").await;
    let others = store(&bench, &ledger, "globex", "m-1").await;
    ledger.apply(&run(&bench, "globex", &[("m-1", "store_credential", others)], 1).await).await.unwrap();
    let keys = ledger.data_keys(&bench.seal("acme", "m-3").await).await.unwrap().keys;
    let globex = ledger.data_keys(&bench.seal("globex", "m-3").await).await.unwrap().keys;
    let there = folder(&bench);
    assert!(keys.iter().chain(&globex).all(|(_, wrapped)| holds(&there, &wrapped.bytes)), "the search finds nothing");

    // In one transaction with a command that waited, which comes too late.
    let late = store(&bench, &ledger, "acme", "m-5").await;
    let run = run(&bench, "acme", &[erase("m-4"), ("m-5", "store_credential", late)], 3).await;
    let applied: Vec<_> = ledger.apply(&run).await.unwrap().into_iter().map(told).collect();
    assert_eq!(applied, ["applied", "secret_erased"]);
    assert_eq!(apply(&bench, &ledger, ("m-3", "store_credential", waiting), 9).await, "secret_erased");
    assert_eq!(stripe(&bench, &ledger, "acme").await, None);
    assert!(ledger.state(&bench.read("acme").await).await.unwrap().credentials.is_empty());

    let left = folder(&bench);
    assert!(keys.iter().all(|(_, wrapped)| !holds(&left, &wrapped.bytes)), "a wrapped key is still there");
    // With the wrapping key in hand and every window of every file as long as a wrapped key: nothing opens.
    for version in [0, 1] {
        let context = KeyContext { tenant: tenant("acme"), version: KeyVersion(version) };
        let length = keys[0].1.bytes.len();
        let by = keys[0].1.by.clone();
        let key_file = std::fs::read(bench.folder().join(key_file::FILE)).unwrap();
        for window in key_file.windows(length) {
            let wrapped = WrappedKey { by: by.clone(), bytes: window.to_vec() };
            assert!(bench.keys().unwrap(&wrapped, &context).await.is_err(), "data key {version} is still there");
        }
    }
    assert_eq!(stripe(&bench, &ledger, "globex").await.as_deref(), Some(SECRET), "another tenant's went too");
    // What is stored from now on is sealed under a key of a later version.
    let anew = store(&bench, &ledger, "acme", "m-10").await;
    assert!(anew.contains(r#""data_key":2"#), "{anew}");
    assert_eq!(apply(&bench, &ledger, ("m-10", "store_credential", anew), 10).await, "applied");
    assert_eq!(stripe(&bench, &ledger, "acme").await.as_deref(), Some(SECRET));
}

#[tokio::test]
async fn what_a_crash_left_of_an_erasure_is_finished_at_the_next_start() {
    let bench = Bench::new().await;
    let ledger = open(&bench).await;
    let body = store(&bench, &ledger, "acme", "m-1").await;
    apply(&bench, &ledger, ("m-1", "store_credential", body), 1).await;
    let wrapped = ledger.data_keys(&bench.seal("acme", "m-1").await).await.unwrap().keys.remove(0).1;
    let path = bench.folder().join(key_file::FILE);
    let before = std::fs::read(&path).unwrap();
    apply(&bench, &ledger, erase("m-2"), 2).await;
    close(ledger).await;
    // The crash came after the commit and before the overwriting.
    write_file(&path, &before);
    assert!(holds(&folder(&bench), &wrapped.bytes));
    let ledger = open(&bench).await;
    assert!(!holds(&folder(&bench), &wrapped.bytes));
    assert_eq!(stripe(&bench, &ledger, "acme").await, None);
}

#[tokio::test]
async fn a_key_that_was_recorded_and_is_not_there_is_told_and_half_a_slot_is_overwritten() {
    let bench = Bench::new().await;
    let ledger = open(&bench).await;
    ledger.data_keys(&bench.seal("acme", "m-1").await).await.unwrap();
    close(ledger).await;
    let path = bench.folder().join(key_file::FILE);
    let sound = std::fs::read(&path).unwrap();
    // A second slot, torn by a power loss before anything was recorded of it.
    let torn = [&sound[..], &sound[..300]].concat();
    write_file(&path, torn);
    close(open(&bench).await).await;
    let mended = std::fs::read(&path).unwrap();
    assert_eq!((&mended[..512], &mended[512..]), (&sound[..], &[0; 512][..]));
    let mut rotten = sound.clone();
    rotten[100] ^= 1;
    for damaged in [rotten, Vec::new()] {
        write_file(&path, damaged);
        let_go().await;
        let error = EmbeddedLedger::open(&bench.world, bench.keys()).await.err().expect("opened").to_string();
        assert!(error.contains("data key 0 of tenant acme is missing in ledger.keys"), "{error}");
    }
}

#[tokio::test]
async fn at_the_next_start_keys_are_wrapped_with_the_current_key_and_the_old_wrapping_is_gone() {
    let bench = Bench::new().await;
    let ledger = open(&bench).await;
    let body = store(&bench, &ledger, "acme", "m-1").await;
    apply(&bench, &ledger, ("m-1", "store_credential", body), 1).await;
    let wrapped = ledger.data_keys(&bench.seal("acme", "m-1").await).await.unwrap().keys.remove(0).1;
    close(ledger).await;
    let next = KeySet::generate(Name::parse("test-2").unwrap(), &OsEntropy).to_text();
    let both = format!("{}{}", *next, *bench.key_set().to_text());
    let rotated: Arc<dyn KeyProvider> = Arc::new(KeySet::parse(&both, "both").unwrap());
    let ledger = EmbeddedLedger::open(&bench.world, rotated).await.unwrap();
    let anew = ledger.data_keys(&bench.seal("acme", "m-1").await).await.unwrap().keys.remove(0).1;
    assert_eq!((wrapped.by.as_str(), anew.by.as_str()), ("test-1", "test-2"));
    assert!(!holds(&folder(&bench), &wrapped.bytes), "the old wrapping is still there");
    close(ledger).await;
    // The old key can be taken away now.
    let alone: Arc<dyn KeyProvider> = Arc::new(KeySet::parse(&next, "next").unwrap());
    let ledger = EmbeddedLedger::open(&bench.world, alone).await.unwrap();
    assert_eq!(stripe(&bench, &ledger, "acme").await.as_deref(), Some(SECRET));
}

/// A provider that can't be reached.
struct Silent(Name);

#[async_trait::async_trait]
impl KeyProvider for Silent {
    async fn wrap(&self, _: &DataKey, _: &KeyContext) -> Result<WrappedKey, KeyError> {
        Err(KeyError::Unavailable("cut off".into()))
    }
    async fn unwrap(&self, _: &WrappedKey, _: &KeyContext) -> Result<DataKey, KeyError> {
        Err(KeyError::Unavailable("cut off".into()))
    }
    fn current(&self) -> &Name {
        &self.0
    }
}

#[tokio::test]
async fn a_ledger_does_not_start_with_other_wrapping_keys_than_it_was_used_with_whatever_their_names() {
    let bench = Bench::new().await;
    let ledger = open(&bench).await;
    let body = store(&bench, &ledger, "acme", "m-1").await;
    apply(&bench, &ledger, ("m-1", "store_credential", body), 1).await;
    close(ledger).await;
    for (name, told) in [("other", "is not among the keys known here"), ("test-1", "does not open with key test-1")] {
        let stranger: Arc<dyn KeyProvider> = Arc::new(KeySet::generate(Name::parse(name).unwrap(), &OsEntropy));
        let refused = EmbeddedLedger::open(&bench.world, stranger).await.err().expect(name).to_string();
        assert!(refused.contains(told) && refused.contains("restore the wrapping keys"), "{refused}");
        let_go().await;
    }
    assert_eq!(stripe(&bench, &open(&bench).await, "acme").await.as_deref(), Some(SECRET));
}

#[tokio::test]
async fn a_key_provider_without_an_answer_rejects_nothing() {
    let bench = Bench::new().await;
    let ledger = open(&bench).await;
    let body = store(&bench, &ledger, "acme", "m-1").await;
    close(ledger).await;
    let ledger = EmbeddedLedger::open(&bench.world, Arc::new(Silent(Name::parse("test-1").unwrap()))).await.unwrap();
    ledger.learn(bench.authority.in_force_now(), Instant::now());
    let run = run(&bench, "acme", &[("m-1", "store_credential", body)], 1).await;
    let waits = ledger.apply(&run).await.unwrap_err();
    assert!(matches!(&waits, CallError::Failed(why) if why.contains("the key provider has no answer")), "{waits}");
    close(ledger).await;
    assert!(matches!(open(&bench).await.apply(&run).await.unwrap()[0], Applied::Now(Outcome { verdict: Ok(_), .. })));
}

#[tokio::test]
async fn two_who_need_the_first_key_at_once_get_the_same() {
    let bench = Bench::new().await;
    let ledger = open(&bench).await;
    let right = bench.seal("acme", "m-1").await;
    let (one, other) = tokio::join!(ledger.data_keys(&right), ledger.data_keys(&right));
    assert_eq!(one, other);
    assert_eq!(std::fs::read(bench.folder().join(key_file::FILE)).unwrap().len(), 512);
}

#[tokio::test]
async fn a_secret_in_clear_is_refused_by_everyone_behind_the_producer() {
    let bench = Bench::new().await;
    let body = asking("acme", "m-1", "store_credential", r#"{"credential":"stripe","secret":"hunter2"}"#);
    let purpose = crate::grant::Purpose::Command {
        action: "store_credential".into(),
        message_id: message_id("m-1"),
        body_sha256: crate::message::body_sha256(body.as_bytes()),
    };
    let envelope = crate::grant::Envelope {
        grant: bench.grant("acme", purpose).await.unwrap(),
        body: body.clone().into(),
        trace: None,
    };
    let refused = bench.verifier.command(envelope).await.unwrap_err();
    assert!(!refused.is_transient());
    let told = refused.to_string();
    assert!(told.contains("payload.secret: is in clear") && !told.contains("hunter2"), "{told}");
    let submitted = crate::message::Message::parse_submitted(body.into()).unwrap();
    assert!(!format!("{submitted:?}").contains("hunter2"), "{submitted:?}");
}

#[tokio::test]
async fn a_right_to_read_or_to_a_command_is_none_to_data_keys() {
    let bench = Bench::new().await;
    let read = bench.grant("acme", crate::grant::Purpose::Read).await.unwrap();
    assert!(bench.verifier.seal(read).await.is_err());
    let seal = bench.seal("acme", "m-1").await.grant().clone();
    assert!(bench.verifier.read(seal.clone()).await.is_err());
    assert!(bench.verifier.pause(seal).await.is_err());
}

#[test]
fn a_change_shows_the_hash_of_what_was_stored_and_no_more() {
    let change = Change::StoreCredential {
        credential: Name::parse("stripe").unwrap(),
        data_key: KeyVersion(1),
        sealed_sha256: "ab".into(),
    };
    let told = serde_json::to_string(&change).unwrap();
    assert_eq!(told, r#"{"store_credential":{"credential":"stripe","data_key":1,"sealed_sha256":"ab"}}"#);
}
