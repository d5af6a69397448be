//! A dry run tells exactly what the command then does, and leaves no trace.

use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;

use super::super::dry_run::{Announced, Difference, Origin, differences};
use super::secret_tests::{folder, open, store};
use super::*;
use crate::action::REGISTRY;
use crate::broker::Position;
use crate::grant::Purpose;
use crate::message::Message;
use crate::testing::{Bench, asking};

/// What a tenant's history is made of, beside the examples of the registry: what is rejected now and then, too.
const MORE: [(&str, &str); 12] = [
    ("update_billing_limit", r#"{"limit_type":"seats","new_limit":7}"#),
    ("update_billing_limit", r#"{"limit_type":"seats","new_limit":9,"expected_version":1}"#),
    ("update_billing_limit", r#"{"limit_type":"seats","new_limit":0}"#),
    ("grant_entitlement", r#"{"entitlement":"sso"}"#),
    ("revoke_entitlement", r#"{"entitlement":"sso"}"#),
    ("revoke_entitlement", r#"{"entitlement":"api"}"#),
    ("change_plan", r#"{"plan":"team"}"#),
    ("change_plan", r#"{"plan":"no-such"}"#),
    ("issue_credit", r#"{"amount_minor":999999999,"currency":"JPY"}"#),
    ("suspend_tenant", r#"{"reason":"unpaid"}"#),
    ("resume_tenant", r#"{"reason":"paid"}"#),
    ("erase_tenant_secrets", "{}"),
];

fn pool() -> Vec<(&'static str, &'static str)> {
    REGISTRY.iter().map(|spec| (spec.name, spec.example)).chain(MORE).collect()
}

async fn tried(bench: &Bench, ledger: &EmbeddedLedger, body: &str) -> DryRun {
    let message = Message::parse_submitted(body.to_owned().into()).unwrap().withheld().unwrap();
    let grant = bench.grant(message.tenant_id.as_str(), Purpose::dry_run(&message)).await.unwrap();
    let right = bench.verifier.dry_run(message.body.clone(), grant).await.unwrap();
    assert_eq!(right.basis().policies, ["admin-manages-everything"]);
    ledger.dry_run(&right).await.unwrap()
}

/// Everything there is of the ledger: every tenant's rows, what waits for the audit log, every byte on the disk.
fn everything(bench: &Bench, ledger: &EmbeddedLedger) -> impl PartialEq + std::fmt::Debug + use<> {
    (ledger.every_digest().unwrap(), ledger.outgoing().waiting(), crate::message::body_sha256(&folder(bench)))
}

async fn state(bench: &Bench, ledger: &EmbeddedLedger) -> TenantState {
    ledger.state(&bench.read("acme").await).await.unwrap()
}

/// The same without what nobody knows before it is sealed.
fn unsealed(mut changes: Vec<Change>) -> Vec<Change> {
    for change in &mut changes {
        if let Change::StoreCredential { sealed_sha256, .. } = change {
            sealed_sha256.clear();
        }
    }
    changes
}

/// Tries a command, looks that nothing came of it, does it, and compares.
async fn compare(bench: &Bench, ledger: &EmbeddedLedger, at: u64, (action, payload): (&str, &str)) -> TestCaseResult {
    let id = format!("m-{at}");
    let (asked, before) = (asking("acme", &id, action, payload), state(bench, ledger).await);
    let untouched = everything(bench, ledger);
    let seen = tried(bench, ledger, &asked).await;
    prop_assert_eq!(everything(bench, ledger), untouched, "{} left a trace", action);
    prop_assert_eq!((seen.version, seen.paused, seen.spent), (at - 1, false, None));
    prop_assert_eq!(&seen.suspension, &before.suspension);
    let body = match action {
        "store_credential" => store(bench, ledger, "acme", &id).await,
        _ => asked.clone(),
    };
    let command = bench.command("acme", &id, action, body).await;
    let decision = bench.permit("acme", command.message().action.permission());
    let work = Work { command, decision, position: Position { epoch: 1, sequence: at } };
    let Applied::Now(outcome) = ledger.apply(&Run::new(vec![work]).unwrap()).await.unwrap().remove(0) else {
        return Err(TestCaseError::fail(format!("{action} had no outcome")));
    };
    prop_assert_eq!(outcome.rules_version, seen.rules_version);
    let stands = state(bench, ledger).await;
    prop_assert_eq!(tried(bench, ledger, &asked).await.spent, Some(at));
    match (outcome.verdict, seen.verdict) {
        (Ok(changes), Ok(announced)) => {
            let told = differences(&before, &stands);
            prop_assert_eq!(announced, Announced { changes: unsealed(changes), differences: told });
        }
        (done, seen) => {
            prop_assert_eq!(done.map(|_| ()), seen.map(|_| ()), "{} {}", action, payload);
            prop_assert_eq!(differences(&before, &stands), []);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_announced_is_what_happens_in_any_state_and_the_announcement_leaves_no_trace(
        history in proptest::collection::vec(0..pool().len(), 0..24),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let bench = Bench::new().await;
            let ledger = open(&bench).await;
            let each = REGISTRY.iter().map(|spec| (spec.name, spec.example));
            let asks = history.iter().map(|index| pool()[*index]).chain(each);
            for (at, ask) in (1..).zip(asks) {
                ledger.learn(bench.authority.in_force_now(), Instant::now());
                compare(&bench, &ledger, at, ask).await?;
            }
            Ok::<_, TestCaseError>(())
        })?;
    }
}

#[tokio::test]
async fn each_difference_says_what_stands_and_what_would() {
    let (bench, name) = (Bench::new().await, |text: &str| Name::parse(text).unwrap());
    let ledger = open(&bench).await;
    for (at, ask) in (1..).zip([
        ("update_billing_limit", r#"{"limit_type":"api_requests","new_limit":5000}"#),
        ("issue_credit", r#"{"amount_minor":1000,"currency":"EUR"}"#),
        ("grant_entitlement", r#"{"entitlement":"sso"}"#),
    ]) {
        compare(&bench, &ledger, at, ask).await.unwrap();
    }
    let seen = async |action: &str, payload: &str| {
        let seen = tried(&bench, &ledger, &asking("acme", "m-9", action, payload)).await;
        seen.verdict.map(|announced| announced.differences).map_err(|rejection| rejection.code)
    };
    let limit = |before, after| Difference::Limit { limit_type: name("api_requests"), before, after };
    assert_eq!(
        seen("update_billing_limit", r#"{"limit_type":"api_requests","new_limit":10000}"#).await,
        Ok(vec![limit(Some(5000), Some(10000))])
    );
    let more = seen("issue_credit", r#"{"amount_minor":2500,"currency":"EUR"}"#).await;
    let credit =
        Difference::Credit { currency: "EUR".into(), before_minor: 1000, after_minor: 3500, change_minor: 2500 };
    assert_eq!(more, Ok(vec![credit]));
    let sso = Difference::Entitlement { entitlement: name("sso"), origin: Origin::Grant, before: true, after: false };
    assert_eq!(seen("revoke_entitlement", r#"{"entitlement":"sso"}"#).await, Ok(vec![sso]));
    assert_eq!(
        seen("update_billing_limit", r#"{"limit_type":"api_requests","new_limit":5000}"#).await,
        Ok(Vec::new()),
        "it stands so already"
    );
    let secret = seen("store_credential", r#"{"credential":"stripe","secret":"hunter2"}"#).await;
    let stored =
        Difference::Credential { credential: name("stripe"), before: None, after: Some(KeyVersion::default()) };
    assert_eq!(secret, Ok(vec![stored]));
    let keys = ledger.wrapped_keys(bench.read("acme").await.scope()).unwrap().1;
    assert!(keys.is_empty(), "a data key was made for a dry run");
}

#[tokio::test]
async fn a_pause_is_said_and_a_grant_for_another_body_message_or_purpose_opens_nothing() {
    let bench = Bench::new().await;
    let ledger = open(&bench).await;
    ledger.pause(&bench.pause("acme").await, PauseGeneration(1)).await.unwrap();
    let body = asking("acme", "m-1", "issue_credit", r#"{"amount_minor":5,"currency":"EUR"}"#);
    assert!(tried(&bench, &ledger, &body).await.paused);

    let message = Message::parse(body.clone().into()).unwrap();
    let grant = bench.grant("acme", Purpose::dry_run(&message)).await.unwrap();
    for other in [body.replace(":5,", ":6,"), body.replace("m-1", "m-2"), body.replace("acme", "globex")] {
        assert!(bench.verifier.dry_run(other.clone().into(), grant.clone()).await.is_err(), "{other}");
    }
    let envelope = crate::grant::Envelope { body: body.clone().into(), grant: grant.clone(), trace: None };
    assert!(bench.verifier.command(envelope).await.is_err(), "a dry run's grant is none for the command");
    assert!(bench.verifier.read(grant).await.is_err());
    for purpose in [Purpose::command(&message), Purpose::Read, Purpose::Pause] {
        let grant = bench.grant("acme", purpose).await.unwrap();
        assert!(bench.verifier.dry_run(body.clone().into(), grant).await.is_err());
    }
}
