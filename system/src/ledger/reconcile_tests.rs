//! Planted drift: one row of every table bent, lost and added, past the ledger; each is found within one cycle, named
//! exactly, and nothing else is. And what rules and baselines leave behind.

use redb::{Database, ReadableTable};
use tokio::sync::mpsc;

use super::super::baseline::BROUGHT_IN;
use super::super::journal::{Account, JOURNAL, Kept, Posting};
use super::super::keyspace::{
    CREDENTIALS, CREDITS, ENTITLEMENTS, HEADS, KEY_HEADS, LIMITS, OUTCOMES, PLAN_ENTITLEMENTS, PLANS, SUSPENSIONS,
};
use super::super::reconcile;
use super::secret_tests::{close, let_go, open, store};
use super::*;
use crate::action::{self, Currency, Reason, Suspension};
use crate::billing::DEFAULT_RULES;
use crate::broker::Position;
use crate::store::{decode, encode};
use crate::testing::{Bench, asking, message_id, write_file};

/// Has `tenant` do `action` at `sequence`, as message `m-SEQUENCE`.
async fn ask(
    bench: &Bench,
    ledger: &EmbeddedLedger,
    (tenant, sequence): (&str, u64),
    action: &str,
    body: String,
) -> Outcome {
    let id = format!("m-{sequence}");
    let command = bench.command(tenant, &id, action, body).await;
    let decision = bench.permit(tenant, action::find(action).unwrap().permission);
    let work = Work { command, decision, position: Position { epoch: 1, sequence } };
    match ledger.apply(&Run::new(vec![work]).unwrap()).await.unwrap().remove(0) {
        Applied::Now(outcome) => outcome,
        other => panic!("{action}: {other:?}"),
    }
}

/// Something of everything: acme's outcomes 2 and 9 are rejections.
async fn history(bench: &Bench, ledger: &EmbeddedLedger) {
    let asks = [
        ("update_billing_limit", r#"{"limit_type": "seats", "new_limit": 5}"#),
        ("update_billing_limit", r#"{"limit_type": "seats", "new_limit": 0}"#),
        ("grant_entitlement", r#"{"entitlement": "sso"}"#),
        ("change_plan", r#"{"plan": "team"}"#),
        ("issue_credit", r#"{"amount_minor": 500, "currency": "EUR"}"#),
        ("rotate_data_key", "{}"),
        ("store_credential", ""),
        ("suspend_tenant", r#"{"reason": "unpaid"}"#),
        ("issue_credit", r#"{"amount_minor": 1, "currency": "EUR"}"#),
    ];
    for (sequence, (action, payload)) in (1..).zip(asks) {
        let id = format!("m-{sequence}");
        let body = match action {
            "store_credential" => store(bench, ledger, "acme", &id).await,
            _ => asking("acme", &id, action, payload),
        };
        let outcome = ask(bench, ledger, ("acme", sequence), action, body).await;
        assert_eq!(outcome.verdict.is_err(), [2, 9].contains(&sequence), "{action}: {outcome:?}");
    }
    let credit = asking("globex", "m-1", "issue_credit", r#"{"amount_minor": 3, "currency": "USD"}"#);
    ask(bench, ledger, ("globex", 1), "issue_credit", credit).await;
}

/// Bends the file of a ledger that is closed.
fn bend(bench: &Bench, drift: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>) {
    let database = Database::open(bench.folder().join("ledger.redb")).unwrap();
    let within = database.begin_write().unwrap();
    drift(&within).unwrap();
    within.commit().unwrap();
}

/// What the first cycle of a ledger that has just started finds.
async fn first_cycle(bench: &Bench) -> Report {
    let (told, mut reports) = mpsc::unbounded_channel();
    let on_report: Arc<dyn Fn(&Report) + Send + Sync> = Arc::new(move |report| told.send(report.clone()).unwrap());
    let settings = Settings { on_report, ..Settings::default() };
    let ledger = Arc::new(EmbeddedLedger::open_with(&bench.world, bench.keys(), settings).await.unwrap());
    let on_record = || ledger.outgoing().steps().iter().filter(|step| step.starts_with("discrepancy ")).count();
    let before = on_record();
    let cycles = tokio::spawn(reconcile(ledger.clone()));
    let report: Report = reports.recv().await.unwrap();
    assert_eq!(on_record() - before, report.discrepancies.len(), "each is on record, and rings");
    cycles.abort();
    let _ = cycles.await;
    drop(ledger);
    let_go().await;
    report
}

fn posting(account: Account, currency: &str, amount_minor: i64) -> Vec<u8> {
    let posting = Posting { account, currency: Currency::parse(currency).unwrap(), amount_minor };
    encode(&Kept { posting, message_id: Some(message_id("m-5")) })
}

type Drift = fn(&WriteTransaction) -> Result<(), redb::Error>;

const SEATS: (&str, &str) = ("acme", "seats");

/// Every table in both directions, and what must be told of it, word for word.
const DRIFTS: &[(Drift, &[&str])] = &[
    (
        |w| w.open_table(LIMITS)?.insert(SEATS, (6, 1)).map(drop).map_err(Into::into),
        &["acme: limit seats is 6 since version 1, and should be 5 since version 1"],
    ),
    (
        |w| w.open_table(LIMITS)?.insert(SEATS, (5, 2)).map(drop).map_err(Into::into),
        &["acme: limit seats is 5 since version 2, and should be 5 since version 1"],
    ),
    (
        |w| w.open_table(LIMITS)?.remove(SEATS).map(drop).map_err(Into::into),
        &["acme: limit seats is missing, and should be 5 since version 1"],
    ),
    (
        |w| w.open_table(LIMITS)?.insert(("acme", "x"), (1, 1)).map(drop).map_err(Into::into),
        &["acme: limit x is 1 since version 1, and should not be there"],
    ),
    (
        |w| w.open_table(LIMITS)?.insert(("initech", "x"), (1, 1)).map(drop).map_err(Into::into),
        &["initech: limit x is 1 since version 1, and should not be there"],
    ),
    (
        |w| w.open_table(ENTITLEMENTS)?.remove(("acme", "sso")).map(drop).map_err(Into::into),
        &["acme: entitlement sso is missing, and should be granted"],
    ),
    (
        |w| w.open_table(ENTITLEMENTS)?.insert(("acme", "x"), ()).map(drop).map_err(Into::into),
        &["acme: entitlement x is granted, and should not be there"],
    ),
    (
        |w| w.open_table(PLANS)?.insert("acme", "free").map(drop).map_err(Into::into),
        &["acme: plan is free, and should be team"],
    ),
    (
        |w| w.open_table(PLANS)?.remove("acme").map(drop).map_err(Into::into),
        &["acme: plan is missing, and should be team"],
    ),
    (
        |w| w.open_table(PLANS)?.insert("globex", "team").map(drop).map_err(Into::into),
        &["globex: plan is team, and should not be there"],
    ),
    (
        |w| w.open_table(PLAN_ENTITLEMENTS)?.remove(("acme", "api")).map(drop).map_err(Into::into),
        &["acme: entitlement api of the plan is missing, and should be carried"],
    ),
    (
        |w| w.open_table(PLAN_ENTITLEMENTS)?.insert(("globex", "api"), ()).map(drop).map_err(Into::into),
        &["globex: entitlement api of the plan is carried, and should not be there"],
    ),
    (
        |w| w.open_table(CREDITS)?.insert(("acme", "EUR"), 501).map(drop).map_err(Into::into),
        &["acme: credit in EUR is 501, and should be 500"],
    ),
    (
        |w| w.open_table(CREDITS)?.remove(("acme", "EUR")).map(drop).map_err(Into::into),
        &["acme: credit in EUR is missing, and should be 500"],
    ),
    (
        |w| w.open_table(CREDITS)?.insert(("acme", "CHF"), 1).map(drop).map_err(Into::into),
        &["acme: credit in CHF is 1, and should not be there"],
    ),
    (
        |w| {
            let bent = posting(Account::Credit, "EUR", 501);
            w.open_table(JOURNAL)?.insert(("acme", 5, 0), bent.as_slice()).map(drop).map_err(Into::into)
        },
        &[
            "acme: posting of version 5, line 0 is 501 EUR for credit by m-5, and should be 500 EUR for credit by m-5",
            "acme: sum of all postings in EUR is 1, and should be 0",
        ],
    ),
    (
        |w| w.open_table(JOURNAL)?.remove(("acme", 5, 1)).map(drop).map_err(Into::into),
        &[
            "acme: posting of version 5, line 1 is missing, and should be -500 EUR for funding by m-5",
            "acme: sum of all postings in EUR is 500, and should be 0",
        ],
    ),
    (
        |w| {
            let (more, less) = (posting(Account::Credit, "EUR", 7), posting(Account::Funding, "EUR", -7));
            w.open_table(JOURNAL)?.insert(("acme", 6, 0), more.as_slice())?;
            w.open_table(JOURNAL)?.insert(("acme", 6, 1), less.as_slice()).map(drop).map_err(Into::into)
        },
        &[
            "acme: posting of version 6, line 0 is 7 EUR for credit by m-5, and should not be there",
            "acme: posting of version 6, line 1 is -7 EUR for funding by m-5, and should not be there",
        ],
    ),
    (
        |w| w.open_table(SUSPENSIONS)?.remove("acme").map(drop).map_err(Into::into),
        &["acme: suspension is missing, and should be since version 8: unpaid"],
    ),
    (
        |w| suspend(w, "acme", 7),
        &["acme: suspension is since version 7: planted, and should be since version 8: unpaid"],
    ),
    (|w| suspend(w, "globex", 1), &["globex: suspension is since version 1: planted, and should not be there"]),
    (
        |w| w.open_table(KEY_HEADS)?.insert("acme", (2, 0)).map(drop).map_err(Into::into),
        &["acme: data key is 2, and should be 1"],
    ),
    (
        |w| w.open_table(KEY_HEADS)?.remove("acme").map(drop).map_err(Into::into),
        &["acme: data key is 0, and should be 1"],
    ),
    (
        |w| w.open_table(HEADS)?.insert("acme", (10, 1, 9, 0)).map(drop).map_err(Into::into),
        &["acme: version is 10, and should be 9"],
    ),
    (
        |w| w.open_table(HEADS)?.remove("globex").map(drop).map_err(Into::into),
        &["globex: version is 0, and should be 1", "all tenants: number of tenants is 1, and should be 2"],
    ),
    (
        |w| w.open_table(OUTCOMES)?.remove(("acme", "m-2")).map(drop).map_err(Into::into),
        &[
            "acme: outcome of version 2 is missing, and should be there",
            "all tenants: number of outcomes is 9, and should be 10",
        ],
    ),
    (
        |w| w.open_table(OUTCOMES)?.remove(("acme", "m-9")).map(drop).map_err(Into::into),
        &["acme: version is 9, and should be 8", "all tenants: number of outcomes is 9, and should be 10"],
    ),
    (
        |w| {
            let mut outcomes = w.open_table(OUTCOMES)?;
            let copied = outcomes.get(("acme", "m-2"))?.map(|row| row.value().to_vec()).unwrap();
            outcomes.insert(("acme", "m-99"), copied.as_slice()).map(drop).map_err(Into::into)
        },
        &[
            "acme: outcome of version 2 is there more than once, and should be one",
            "all tenants: number of outcomes is 11, and should be 10",
        ],
    ),
    (
        |w| lose(w, "globex"),
        &[
            "all tenants: number of tenants is 1, and should be 2",
            "all tenants: number of outcomes is 9, and should be 10",
        ],
    ),
];

/// Removes everything that the ledger has of `tenant`.
fn lose(within: &WriteTransaction, tenant: &str) -> Result<(), redb::Error> {
    let (first, last) = ((tenant, ""), (tenant, "\u{7f}"));
    within.open_table(HEADS)?.remove(tenant)?;
    within.open_table(OUTCOMES)?.retain_in(first..=last, |_, _| false)?;
    within.open_table(CREDITS)?.retain_in(first..=last, |_, _| false)?;
    within.open_table(JOURNAL)?.retain_in((tenant, 0, 0)..=(tenant, u64::MAX, u32::MAX), |_, _| false)?;
    Ok(())
}

fn suspend(within: &WriteTransaction, tenant: &str, version: u64) -> Result<(), redb::Error> {
    let suspension = Suspension { reason: Reason::parse("planted").unwrap(), version };
    within.open_table(SUSPENSIONS)?.insert(tenant, encode(&suspension).as_slice())?;
    Ok(())
}

#[tokio::test]
async fn planted_drift_of_every_kind_is_found_within_one_cycle_and_nothing_else() {
    let bench = Bench::new().await;
    let ledger = open(&bench).await;
    history(&bench, &ledger).await;
    close(ledger).await;
    let clean = first_cycle(&bench).await;
    assert_eq!((clean.tenants, clean.discrepancies), (2, Vec::new()));
    assert!(clean.rows >= 10 + 12 + 3, "{} rows", clean.rows);
    let file = bench.folder().join("ledger.redb");
    let sound = std::fs::read(&file).unwrap();
    for (drift, told) in DRIFTS {
        bend(&bench, drift);
        let found = first_cycle(&bench).await.discrepancies;
        let found: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert_eq!(found, *told);
        write_file(&file, &sound);
    }
}

#[tokio::test]
async fn drift_under_a_ledger_that_runs_is_found_in_the_next_cycle_and_told_once() {
    let bench = Bench::new().await;
    let (told, mut reports) = mpsc::unbounded_channel();
    let on_report: Arc<dyn Fn(&Report) + Send + Sync> = Arc::new(move |report| drop(told.send(report.clone())));
    let settings = Settings { on_report, reconcile_every: Duration::from_millis(20), ..Settings::default() };
    let ledger = Arc::new(EmbeddedLedger::open_with(&bench.world, bench.keys(), settings).await.unwrap());
    ledger.learn(bench.authority.in_force_now(), Instant::now());
    history(&bench, &ledger).await;
    let cycles = tokio::spawn(reconcile(ledger.clone()));
    let drifts: [(Drift, &[&str]); 3] = [
        (DRIFTS[0].0, DRIFTS[0].1),
        (DRIFTS[16].0, DRIFTS[16].1),
        (
            |w| lose(w, "globex"),
            &[
                "all tenants: number of tenants is 1, and should be 2",
                "all tenants: number of outcomes is 9, and should be 49",
            ],
        ),
    ];
    let (mut standing, mut sequence) = (Vec::<&str>::new(), 1);
    for (drift, words) in drifts {
        // Commands take effect all the while, and none of them is taken for drift.
        for _ in 0..13 {
            sequence += 1;
            let credit = r#"{"amount_minor": 1, "currency": "USD"}"#;
            let body = asking("globex", &format!("m-{sequence}"), "issue_credit", credit);
            ask(&bench, &ledger, ("globex", sequence), "issue_credit", body).await;
        }
        assert!(matches!(ledger.store.execute(Command::Bend(drift)).await, Ok(Answer::Told)));
        standing.extend(words);
        // A cycle that was under way may have passed the place; the one after it has not.
        while reports.try_recv().is_ok() {}
        let mut found = Vec::new();
        for _ in 0..2 {
            found = reports.recv().await.unwrap().discrepancies;
        }
        let found: std::collections::BTreeSet<_> = found.iter().map(ToString::to_string).collect();
        assert_eq!(found, standing.iter().map(ToString::to_string).collect());
    }
    let steps = ledger.outgoing().steps();
    let told = steps.iter().filter(|step| step.starts_with("discrepancy ")).count();
    assert_eq!(told, standing.len(), "each once: {steps:?}");
    cycles.abort();
}

#[tokio::test]
async fn a_credential_that_is_gone_or_another_or_one_too_many_is_found() {
    let bench = Bench::new().await;
    let ledger = open(&bench).await;
    history(&bench, &ledger).await;
    close(ledger).await;
    let file = bench.folder().join("ledger.redb");
    let sound = std::fs::read(&file).unwrap();
    let name = Name::parse("stripe").unwrap();
    let drifts: [(Drift, Option<bool>); 3] = [
        (|w| w.open_table(CREDENTIALS)?.remove(("acme", "stripe")).map(drop).map_err(Into::into), Some(false)),
        (|w| copy_credential(w, "extra", |_| {}), None),
        (|w| copy_credential(w, "stripe", |kept| kept.version = 6), Some(true)),
    ];
    for (drift, stands) in drifts {
        bend(&bench, drift);
        let found = first_cycle(&bench).await.discrepancies;
        let [only] = &found[..] else { panic!("{found:?}") };
        let expected = stands.map_or_else(|| Name::parse("extra").unwrap(), |_| name.clone());
        assert_eq!(only.subject, super::super::Subject::Credential(expected));
        assert_eq!((only.expected.is_some(), only.actual.is_some()), (stands.is_some(), stands != Some(false)));
        write_file(&file, &sound);
    }
}

/// Keeps acme's credential once more as `name`.
fn copy_credential(
    within: &WriteTransaction,
    name: &str,
    change: fn(&mut keyspace::KeptCredential),
) -> Result<(), redb::Error> {
    let mut rows = within.open_table(CREDENTIALS)?;
    let copied = rows.get(("acme", "stripe"))?.map(|row| row.value().to_vec()).unwrap();
    let mut kept = decode(&copied)?;
    change(&mut kept);
    rows.insert(("acme", name), encode(&kept).as_slice())?;
    Ok(())
}

#[tokio::test]
async fn rows_that_can_not_be_read_are_told_and_hide_no_other_tenant() {
    let bench = Bench::new().await;
    let ledger = open(&bench).await;
    history(&bench, &ledger).await;
    close(ledger).await;
    bend(&bench, |w| {
        w.open_table(SUSPENSIONS)?.insert("acme", &[0xff; 3][..])?;
        w.open_table(CREDITS)?.insert(("globex", "USD"), 4)?;
        Ok(())
    });
    let found = first_cycle(&bench).await.discrepancies;
    let [acme, globex] = &found[..] else { panic!("{found:?}") };
    assert_eq!(acme.subject, super::super::Subject::Unreadable);
    assert_eq!(globex.to_string(), "globex: credit in USD is 4, and should be 3");
}

#[tokio::test]
async fn tenants_are_brought_in_once_with_credit_that_the_journal_explains() {
    let bench = Bench::new().await;
    let rules = Rules::default();
    let json = r#"{"acme": {"limits": {"seats": 25}, "plan": "team", "entitlements": ["sso"], "credits_minor": {"EUR": 50, "JPY": 9}}}"#;
    let with = async |json: &str| {
        let baseline = Some(Baseline::parse(json.as_bytes(), &rules).unwrap());
        let settings = Settings { baseline, ..Settings::default() };
        let ledger = EmbeddedLedger::open_with(&bench.world, bench.keys(), settings).await?;
        ledger.learn(bench.authority.in_force_now(), Instant::now());
        io::Result::Ok(ledger)
    };
    let ledger = with(json).await.unwrap();
    let credit = |id| asking("acme", id, "issue_credit", r#"{"amount_minor": 5, "currency": "EUR"}"#);
    ask(&bench, &ledger, ("acme", 1), "issue_credit", credit("m-1")).await;
    let set = asking("acme", "m-2", "update_billing_limit", r#"{"limit_type": "seats", "new_limit": 30}"#);
    ask(&bench, &ledger, ("acme", 2), "update_billing_limit", set).await;
    let read = bench.read("acme").await;
    let state = ledger.state(&read).await.unwrap();
    assert_eq!((state.credits["EUR"], state.credits["JPY"], state.version), (55, 9, 2));
    assert_eq!(state.plan_entitlements.len(), 2);
    let opening = &ledger.journal(&read, 0, 1).await.unwrap()[0];
    assert_eq!((opening.version, &opening.message_id, opening.postings.len()), (0, &None, 4));
    assert_eq!(ledger.reconcile_all().await.discrepancies, []);
    close(ledger).await;
    close(with(json).await.unwrap()).await;
    let another = with(r#"{"acme": {}}"#).await.err().unwrap().to_string();
    assert!(another.contains("another baseline was taken over before"), "{another}");
    let_go().await;
    bend(&bench, |w| w.open_table(BROUGHT_IN)?.remove("acme").map(drop).map_err(Into::into));
    let lost = first_cycle(&bench).await.discrepancies;
    // Whatever came with it is explained by nothing now; the limit was set since.
    assert!(
        lost.iter().any(|drift| drift.to_string() == "acme: credit in JPY is 9, and should not be there"),
        "{lost:?}"
    );
    assert!(!lost.iter().any(|drift| drift.to_string().contains("seats")), "{lost:?}");
    let gone = "all tenants: number of tenants brought in is 0, and should be 1";
    assert_eq!(lost.last().unwrap().to_string(), gone);
}

#[tokio::test]
async fn a_baseline_that_comes_after_a_tenants_first_command_is_refused_and_nothing_of_it_stays() {
    let bench = Bench::new().await;
    let ledger = open(&bench).await;
    history(&bench, &ledger).await;
    close(ledger).await;
    let json = r#"{"aaa": {"limits": {"seats": 1}}, "acme": {}}"#;
    let baseline = Some(Baseline::parse(json.as_bytes(), &Rules::default()).unwrap());
    let settings = Settings { baseline, ..Settings::default() };
    let late = EmbeddedLedger::open_with(&bench.world, bench.keys(), settings).await.err().unwrap().to_string();
    assert!(late.contains("tenant acme has outcomes already"), "{late}");
    let_go().await;
    let after = first_cycle(&bench).await;
    assert_eq!((after.tenants, after.discrepancies), (2, Vec::new()));
}

#[tokio::test]
async fn an_outcome_names_the_rules_that_judged_it_and_their_text_is_kept() {
    let bench = Bench::new().await;
    let stricter = "[limits.api_requests]\nceiling = 10";
    let mut judged = Vec::new();
    for (sequence, rules) in (1..).zip([DEFAULT_RULES, DEFAULT_RULES, stricter, DEFAULT_RULES]) {
        let settings = Settings { rules: Rules::parse(rules).unwrap(), ..Settings::default() };
        let ledger = EmbeddedLedger::open_with(&bench.world, bench.keys(), settings).await.unwrap();
        ledger.learn(bench.authority.in_force_now(), Instant::now());
        let payload = r#"{"limit_type": "api_requests", "new_limit": 11}"#;
        let body = asking("acme", &format!("m-{sequence}"), "update_billing_limit", payload);
        let outcome = ask(&bench, &ledger, ("acme", sequence), "update_billing_limit", body).await;
        assert_eq!(ledger.rules_text(outcome.rules_version).unwrap().as_deref(), Some(rules));
        judged.push((outcome.rules_version, outcome.verdict.is_ok()));
        close(ledger).await;
    }
    assert_eq!(judged, [(1, true), (1, true), (2, false), (3, true)]);
}
