//! What every ledger must do, whatever engine stands behind the trait: one suite, run against each.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::{
    Account, Applied, Ledger, Outcome, PauseGeneration, Paused, Posting, Report, Run, TenantState, Transaction, Work,
};
use crate::action::{self, Permission};
use crate::auth::{DecisionKey, Verdict};
use crate::broker::Position;
use crate::ids::{Name, UserId};
use crate::testing::{Bench, OPERATOR, asking, credit, message_id, tenant};

/// A ledger that keeps nothing yet.
type Subject = Arc<dyn Ledger>;

async fn state(bench: &Bench, ledger: &Subject, name: &str) -> TenantState {
    ledger.state(&bench.read(name).await).await.unwrap()
}

async fn eur(bench: &Bench, ledger: &Subject, name: &str) -> Option<u64> {
    state(bench, ledger, name).await.credits.get("EUR").copied()
}

/// Applies one credit at a place of acme's order.
async fn apply(bench: &Bench, ledger: &Subject, id: &str, amount: u64, sequence: u64) -> Applied {
    ledger.apply(&bench.run("acme", id, amount, sequence).await).await.unwrap().remove(0)
}

/// Runs the whole suite; each part gets a ledger of its own.
async fn conforms(make: impl AsyncFn() -> (Bench, Subject)) {
    macro_rules! run {
        ($($part:ident)*) => {$({
            let (bench, ledger) = make().await;
            $part(bench, ledger).await;
        })*};
    }
    run!(
        a_command_that_is_applied_again_finds_its_outcome_and_changes_nothing
        a_run_takes_effect_in_its_order_and_what_it_repeats_only_once
        what_comes_from_behind_is_refused_and_changes_nothing
        a_broker_that_had_to_start_anew_is_not_taken_for_one_that_is_behind
        nothing_takes_effect_while_a_tenant_is_paused
        a_command_that_auth_denies_at_the_effect_is_rejected_on_record
        a_decision_that_is_not_auths_or_that_a_revocation_overtook_changes_nothing
        whoever_expects_an_old_version_of_a_limit_overwrites_nothing
        every_credit_stands_in_the_journal_and_the_books_balance
        a_plan_takes_along_what_it_brought_and_leaves_what_was_granted
        a_suspended_tenant_is_told_so_until_it_is_resumed_and_another_is_not
        whoever_waits_for_an_outcome_is_woken_by_it_and_only_sees_their_own_tenant
    );
}

async fn a_command_that_is_applied_again_finds_its_outcome_and_changes_nothing(bench: Bench, ledger: Subject) {
    let Applied::Now(outcome) = apply(&bench, &ledger, "m-1", 5, 1).await else { panic!("not applied") };
    assert_eq!((outcome.version, outcome.authority_revision), (1, bench.authority.in_force_now().revision));
    // At its own place, or, from a broker that took it in once more, at a later one.
    for sequence in [1, 9] {
        assert_eq!(apply(&bench, &ledger, "m-1", 5, sequence).await, Applied::Before(outcome.clone()));
        assert_eq!(apply(&bench, &ledger, "m-1", 6, sequence).await, Applied::Conflict);
    }
    assert_eq!(eur(&bench, &ledger, "acme").await, Some(5));
    // The same id of another tenant is another command, and touches only that tenant.
    ledger.apply(&bench.run("globex", "m-1", 9, 1).await).await.unwrap();
    assert_eq!((eur(&bench, &ledger, "acme").await, eur(&bench, &ledger, "globex").await), (Some(5), Some(9)));
}

async fn a_run_takes_effect_in_its_order_and_what_it_repeats_only_once(bench: Bench, ledger: Subject) {
    let mut works = Vec::new();
    for (index, (id, amount)) in [("m-1", 1), ("m-2", 2), ("m-1", 1), ("m-2", 3), ("m-3", 4)].into_iter().enumerate() {
        works.extend(bench.run("acme", id, amount, index as u64 + 1).await.works().to_vec());
    }
    let applied = ledger.apply(&Run::new(works).unwrap()).await.unwrap();
    let told: Vec<_> = applied
        .iter()
        .map(|applied| match applied {
            Applied::Now(Outcome { version, .. }) => format!("now {version}"),
            Applied::Before(Outcome { version, .. }) => format!("before {version}"),
            other => format!("{other:?}"),
        })
        .collect();
    assert_eq!(told, ["now 1", "now 2", "before 1", "Conflict", "now 3"]);
    assert_eq!(eur(&bench, &ledger, "acme").await, Some(7));
}

async fn what_comes_from_behind_is_refused_and_changes_nothing(bench: Bench, ledger: Subject) {
    apply(&bench, &ledger, "m-2", 5, 2).await;
    let before = state(&bench, &ledger, "acme").await;
    // A consumer that slept while its message was given up and the next one passed.
    let by = Position { epoch: 1, sequence: 2 };
    assert_eq!(apply(&bench, &ledger, "m-1", 7, 1).await, Applied::Overtaken { by });
    assert_eq!(state(&bench, &ledger, "acme").await, before);
    // Others' places are others'.
    let globex = ledger.apply(&bench.run("globex", "m-1", 7, 1).await).await.unwrap();
    assert!(matches!(globex[0], Applied::Now(_)), "{globex:?}");
}

async fn a_broker_that_had_to_start_anew_is_not_taken_for_one_that_is_behind(bench: Bench, ledger: Subject) {
    apply(&bench, &ledger, "m-9", 5, 9).await;
    let mut anew = bench.run("acme", "m-10", 1, 1).await.works().to_vec();
    anew[0].position.epoch = 2;
    let applied = ledger.apply(&Run::new(anew).unwrap()).await.unwrap();
    assert!(matches!(applied[0], Applied::Now(_)), "{applied:?}");
    let old = apply(&bench, &ledger, "m-11", 1, 10).await;
    assert!(matches!(old, Applied::Overtaken { .. }), "the old broker's consumer came through: {old:?}");
}

async fn nothing_takes_effect_while_a_tenant_is_paused(bench: Bench, ledger: Subject) {
    apply(&bench, &ledger, "m-1", 5, 1).await;
    let right = bench.pause("acme").await;
    let first = PauseGeneration::default().next();
    let answer = Paused { generation: first, version: 1 };
    // Asked again after an answer that was lost, it is the same answer.
    for _ in 0..2 {
        assert_eq!(ledger.pause(&right, first).await.unwrap(), answer);
    }
    assert_eq!(apply(&bench, &ledger, "m-2", 5, 2).await, Applied::Paused);
    // What has its outcome has it, pause or not.
    assert!(matches!(apply(&bench, &ledger, "m-1", 5, 1).await, Applied::Before(_)));
    let paused = state(&bench, &ledger, "acme").await;
    assert_eq!((paused.pause_generation, paused.version, paused.credits["EUR"]), (first, 1, 5));
    let globex = ledger.apply(&bench.run("globex", "m-1", 7, 3).await).await.unwrap();
    assert!(matches!(globex[0], Applied::Now(_)), "another tenant was paused as well: {globex:?}");
    let resumed = Paused { generation: first.next(), version: 1 };
    assert_eq!(ledger.pause(&right, first.next()).await.unwrap(), resumed);
    // The pause once more, held up on its way: it was overruled before it came.
    assert_eq!(ledger.pause(&right, first).await.unwrap(), resumed);
    assert!(matches!(apply(&bench, &ledger, "m-2", 5, 2).await, Applied::Now(_)));
}

async fn a_command_that_auth_denies_at_the_effect_is_rejected_on_record(bench: Bench, ledger: Subject) {
    let decision = bench.deny("acme", "the role was taken away");
    let revision = decision.revision;
    let position = Position { epoch: 1, sequence: 1 };
    let work = Work { command: bench.credit("acme", "m-1", 5).await, decision, position };
    let denied = ledger.apply(&Run::new(vec![work]).unwrap()).await.unwrap();
    let Applied::Now(Outcome { verdict: Err(rejection), authority_revision, .. }) = &denied[0] else {
        panic!("{denied:?}")
    };
    assert_eq!(*authority_revision, revision);
    assert_eq!(rejection.to_string(), "forbidden: the role was taken away");
    assert_eq!(eur(&bench, &ledger, "acme").await, None);
}

async fn a_decision_that_is_not_auths_or_that_a_revocation_overtook_changes_nothing(bench: Bench, ledger: Subject) {
    let standing = bench.authority.in_force_now();
    let (ana, permission) = (UserId::parse(OPERATOR).unwrap(), Permission::IssueCredit);
    let permit = || Verdict::Permit { policies: Vec::new() };
    let key = DecisionKey::generate(&*bench.world.entropy);
    let forged = key.decide(&ana, &tenant("acme"), permission, permit(), u64::MAX);
    let overtaken = standing.key.decide(&ana, &tenant("acme"), permission, permit(), standing.revision - 1);
    let others = bench.permit("globex", permission);
    let for_less = bench.permit("acme", Permission::Read);
    for (decision, stale) in [(forged, false), (overtaken.clone(), true), (others, false), (for_less, false)] {
        let position = Position { epoch: 1, sequence: 1 };
        let work = Work { command: bench.credit("acme", "m-1", 5).await, decision, position };
        let answer = ledger.apply(&Run::new(vec![work]).unwrap()).await.unwrap().remove(0);
        let right = if stale { matches!(answer, Applied::Undecided(_)) } else { answer == Applied::Forged };
        assert!(right, "{answer:?}");
    }
    let untouched = state(&bench, &ledger, "acme").await;
    assert_eq!((untouched.version, untouched.credits.len()), (0, 0));
    // Nothing behind it overtakes it, however well decided: it comes again, and must find its place.
    let mut run = Vec::new();
    for (id, decision, sequence) in [("m-1", overtaken, 1), ("m-2", bench.permit("acme", permission), 2)] {
        let position = Position { epoch: 1, sequence };
        run.push(Work { command: bench.credit("acme", id, 5).await, decision, position });
    }
    let answers = ledger.apply(&Run::new(run).unwrap()).await.unwrap();
    assert!(matches!(&answers[..], [Applied::Undecided(_), Applied::Undecided(_)]), "{answers:?}");
    assert!(matches!(apply(&bench, &ledger, "m-1", 5, 1).await, Applied::Now(_)), "another decision counts");
}

async fn whoever_expects_an_old_version_of_a_limit_overwrites_nothing(bench: Bench, ledger: Subject) {
    apply(&bench, &ledger, "m-0", 1, 1).await;
    let mut verdicts = Vec::new();
    for (index, expected) in [0, 0, 2].into_iter().enumerate() {
        let id = format!("m-{}", index + 1);
        let payload = format!(r#"{{"limit_type":"seats","new_limit":{},"expected_version":{expected}}}"#, index + 5);
        let body = credit("acme", &id, 0)
            .replace("issue_credit", "update_billing_limit")
            .replace(r#"{"amount_minor":0,"currency":"EUR"}"#, &payload);
        let command = bench.command("acme", &id, "update_billing_limit", body).await;
        let position = Position { epoch: 1, sequence: index as u64 + 2 };
        let work = Work { command, decision: bench.permit("acme", Permission::ManageLimits), position };
        let applied = ledger.apply(&Run::new(vec![work]).unwrap()).await.unwrap();
        let Applied::Now(outcome) = &applied[0] else { panic!("{applied:?}") };
        verdicts.push(outcome.verdict.as_ref().map_or_else(|rejection| rejection.code.clone(), |_| "applied".into()));
    }
    assert_eq!(verdicts, ["applied", "version_conflict", "applied"]);
    let state = state(&bench, &ledger, "acme").await;
    let limit = (*state.limits.values().next().unwrap(), *state.limit_versions.values().next().unwrap());
    assert_eq!((limit, state.version), ((7, 4), 4));
}

/// Has acme do `action` at its place `sequence`.
async fn ask(bench: &Bench, ledger: &Subject, sequence: u64, action: &str, payload: &str) -> Result<u64, String> {
    let id = format!("m-{sequence}");
    let work = Work {
        command: bench.command("acme", &id, action, asking("acme", &id, action, payload)).await,
        decision: bench.permit("acme", action::find(action).unwrap().permission),
        position: Position { epoch: 1, sequence },
    };
    let applied = ledger.apply(&Run::new(vec![work]).unwrap()).await.unwrap().remove(0);
    let Applied::Now(Outcome { verdict, version, .. }) = applied else { panic!("{action}: {applied:?}") };
    verdict.map(|_| version).map_err(|rejection| rejection.to_string())
}

async fn every_credit_stands_in_the_journal_and_the_books_balance(bench: Bench, ledger: Subject) {
    for (sequence, amount) in [(1, 5), (2, 7), (3, 9)] {
        apply(&bench, &ledger, &format!("m-{sequence}"), amount, sequence).await;
    }
    ledger.apply(&bench.run("globex", "m-1", 100, 1).await).await.unwrap();
    let read = bench.read("acme").await;
    let all = ledger.journal(&read, 0, 99).await.unwrap();
    let told = |transaction: &Transaction| {
        let line = |posting: &Posting| (posting.account, posting.amount_minor, posting.currency.to_string());
        (transaction.version, transaction.message_id.clone(), transaction.postings.iter().map(line).collect::<Vec<_>>())
    };
    let eur = |account, amount| (account, amount, "EUR".to_owned());
    let first = (1, Some(message_id("m-1")), vec![eur(Account::Credit, 5), eur(Account::Funding, -5)]);
    assert_eq!((all.len(), told(&all[0])), (3, first));
    let sum = |account| {
        let of = |transaction: &Transaction| {
            transaction
                .postings
                .iter()
                .filter(|posting| posting.account == account)
                .map(|posting| posting.amount_minor)
                .sum::<i64>()
        };
        all.iter().map(of).sum::<i64>()
    };
    assert_eq!((sum(Account::Credit), sum(Account::Funding)), (21, -21), "none of it is globex's");
    assert_eq!(ledger.journal(&read, 2, 1).await.unwrap(), all[1..2]);
    assert_eq!(ledger.journal(&read, 4, 99).await.unwrap(), []);
    let report = ledger.reconcile(&read).await.unwrap();
    assert_eq!((report.tenants, report.discrepancies), (1, vec![]));
    assert!(report.rows >= 3 + 6, "{} rows", report.rows);
}

async fn a_plan_takes_along_what_it_brought_and_leaves_what_was_granted(bench: Bench, ledger: Subject) {
    let names = |names: &[&str]| names.iter().map(|name| Name::parse(name).unwrap()).collect::<BTreeSet<_>>();
    ask(&bench, &ledger, 1, "grant_entitlement", r#"{"entitlement": "sso"}"#).await.unwrap();
    for (sequence, plan, carried) in [
        (2, "business", &["api", "audit-export", "sso"][..]),
        (3, "free", &["api"]),
        (4, "team", &["api", "audit-export"]),
    ] {
        let payload = format!(r#"{{"plan": "{plan}"}}"#);
        ask(&bench, &ledger, sequence, "change_plan", &payload).await.unwrap();
        let state = state(&bench, &ledger, "acme").await;
        assert_eq!((state.plan, state.plan_entitlements), (Some(Name::parse(plan).unwrap()), names(carried)));
        assert_eq!(state.entitlements, names(&["sso"]), "on {plan}");
    }
    assert_eq!(state(&bench, &ledger, "globex").await, TenantState::default());
}

async fn a_suspended_tenant_is_told_so_until_it_is_resumed_and_another_is_not(bench: Bench, ledger: Subject) {
    let credit = r#"{"amount_minor": 5, "currency": "EUR"}"#;
    assert_eq!(ask(&bench, &ledger, 1, "suspend_tenant", r#"{"reason": "unpaid"}"#).await, Ok(1));
    let told = "tenant_suspended: the tenant is suspended since version 1: unpaid";
    assert_eq!(ask(&bench, &ledger, 2, "issue_credit", credit).await, Err(told.into()));
    assert_eq!(ask(&bench, &ledger, 3, "erase_tenant_secrets", "{}").await, Ok(3));
    let globex = ledger.apply(&bench.run("globex", "m-1", 7, 3).await).await.unwrap();
    assert!(matches!(&globex[0], Applied::Now(Outcome { verdict: Ok(_), .. })), "{globex:?}");
    assert_eq!(ask(&bench, &ledger, 4, "resume_tenant", r#"{"reason": "paid"}"#).await, Ok(4));
    assert_eq!(ask(&bench, &ledger, 5, "issue_credit", credit).await, Ok(5));
    assert_eq!(eur(&bench, &ledger, "acme").await, Some(5));
}

async fn whoever_waits_for_an_outcome_is_woken_by_it_and_only_sees_their_own_tenant(bench: Bench, ledger: Subject) {
    let (acme, globex) = (bench.read("acme").await, bench.read("globex").await);
    let (id, run) = (message_id("m-1"), bench.run("acme", "m-1", 5, 1).await);
    let long = Duration::from_secs(20);
    let (seen, _) = tokio::join!(ledger.outcome(&acme, &id, long), ledger.apply(&run));
    assert!(seen.unwrap().is_some());
    assert_eq!(ledger.outcome(&globex, &id, Duration::ZERO).await.unwrap(), None);
}

mod implementations {
    use super::*;
    use crate::capability::{InMemory, Network};
    use async_trait::async_trait;

    use crate::audit::Reporter;
    use crate::call::CallError;
    use crate::grant::{VerifiedDryRun, VerifiedPause, VerifiedRead, VerifiedSeal, Verifier};
    use crate::ids::MessageId;
    use crate::ledger::{DataKeys, DryRun, LedgerService, RemoteLedger};
    use crate::rights::Role;
    use crate::rpc;

    async fn embedded() -> (Bench, Subject) {
        let bench = Bench::new().await;
        let ledger = bench.ledger().await;
        (bench, ledger)
    }

    #[tokio::test(start_paused = true)]
    async fn the_embedded_ledger_conforms() {
        conforms(embedded).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_ledger_across_the_network_conforms() {
        conforms(async || {
            let (bench, ledger) = embedded().await;
            let network: Arc<dyn Network> = Arc::new(InMemory::default());
            let listener = network.bind("ledger").await.unwrap();
            let verifier = Verifier::new(bench.authority.clone(), bench.world.clock.clone());
            tokio::spawn(rpc::serve(
                listener,
                Arc::new(LedgerService { ledger, verifier, reporter: Reporter::none() }),
                Default::default(),
            ));
            let client = |role| RemoteLedger::new(network.clone(), "ledger", role);
            (bench, Arc::new(Across { producer: client(Role::Producer), consumer: client(Role::Consumer) }) as Subject)
        })
        .await;
    }

    /// Both parts that call a ledger: neither may do the other's.
    struct Across {
        producer: RemoteLedger,
        consumer: RemoteLedger,
    }

    #[async_trait]
    impl Ledger for Across {
        async fn apply(&self, run: &Run) -> Result<Vec<Applied>, CallError> {
            self.consumer.apply(run).await
        }
        async fn outcome(
            &self,
            r: &VerifiedRead,
            id: &MessageId,
            wait: Duration,
        ) -> Result<Option<Outcome>, CallError> {
            self.producer.outcome(r, id, wait).await
        }
        async fn dry_run(&self, right: &VerifiedDryRun) -> Result<DryRun, CallError> {
            self.producer.dry_run(right).await
        }
        async fn state(&self, read: &VerifiedRead) -> Result<TenantState, CallError> {
            self.producer.state(read).await
        }
        async fn journal(&self, read: &VerifiedRead, from: u64, max: usize) -> Result<Vec<Transaction>, CallError> {
            self.producer.journal(read, from, max).await
        }
        async fn reconcile(&self, read: &VerifiedRead) -> Result<Report, CallError> {
            self.producer.reconcile(read).await
        }
        async fn pause(&self, right: &VerifiedPause, to: PauseGeneration) -> Result<Paused, CallError> {
            self.producer.pause(right, to).await
        }
        async fn data_keys(&self, right: &VerifiedSeal) -> Result<DataKeys, CallError> {
            self.producer.data_keys(right).await
        }
    }
}
