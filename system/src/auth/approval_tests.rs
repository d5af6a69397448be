//! Four eyes, from the wish to the effect: what holds, and everything that must not.

use super::*;
use crate::auth::Directory;
use crate::grant::Verifier;
use crate::message::body_sha256;
use crate::testing::{Bench, asking, tenant};

/// `ana` and `bob` administer acme, `dan` is a duty manager, `vic` a viewer.
const DIRECTORY: &str = r#"
    tenants = ["acme", "globex"]
    binding = [
        { user = "ana", tenant = "acme", role = "admin" },
        { user = "bob", tenant = "acme", role = "admin" },
        { user = "ana", tenant = "globex", role = "admin" },
        { user = "vic", tenant = "acme", role = "viewer" },
    ]
    team = [{ name = "duty-managers", members = ["dan"] }]
"#;

struct Rig {
    bench: Bench,
    auth: Arc<EmbeddedAuthority>,
}

fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

fn over(directory: Directory) -> Policies {
    Policies::default_over(directory)
}

fn erase(id: &str) -> String {
    asking("acme", id, "erase_tenant_secrets", "{}")
}

impl Rig {
    async fn new() -> Self {
        let bench = Bench::new().await;
        bench.authority.reload(over(Directory::parse(DIRECTORY).unwrap())).await.unwrap();
        let auth = bench.authority.clone();
        Self { bench, auth }
    }

    async fn act(&self, who: &str, request: ApprovalRequest) -> Result<Approval, Denied> {
        let answered = self.auth.approvals(&self.bench.token(who), request).await.unwrap();
        answered.map(|mut meant| meant.remove(0))
    }

    async fn ask(&self, body: &str) -> Approval {
        let (body, reason) = (body.to_owned().into(), "the customer has left".into());
        self.act("ana", ApprovalRequest::Ask { body, reason, minutes: 60 }).await.unwrap()
    }

    async fn approve(&self, who: &str, open: &Approval) -> Result<Approval, Denied> {
        let (number, body_sha256) = (open.number, open.body_sha256);
        self.act(who, ApprovalRequest::Approve { number, body_sha256 }).await
    }

    /// A grant for `body`, as ana.
    async fn grant(&self, body: &str) -> Result<GrantToken, Denied> {
        let message = crate::message::Message::parse(body.to_owned().into()).unwrap();
        let request = GrantRequest {
            token: self.bench.token("ana"),
            user: Some(user("ana")),
            tenant: message.tenant_id.clone(),
            purpose: Purpose::command(&message),
        };
        self.auth.grant(&request).await.unwrap()
    }

    async fn at_the_effect(&self, body: &str) -> Decision {
        let hash = body_sha256(body.as_bytes());
        self.auth.recheck(&user("ana"), &tenant("acme"), Permission::EraseSecrets, &hash).await.unwrap()
    }
}

fn permits(decision: &Decision) -> bool {
    matches!(decision.verdict, Verdict::Permit { .. })
}

fn waits(granted: &Result<GrantToken, Denied>) -> bool {
    matches!(granted, Err(Denied::ApprovalRequired(why)) if why.contains("erasing-secrets-takes-two"))
}

#[tokio::test]
async fn what_another_person_approved_is_granted_and_holds_at_the_effect_and_nothing_else_is() {
    let rig = Rig::new().await;
    let (body, other) = (erase("m-1"), erase("m-2"));
    assert!(waits(&rig.grant(&body).await));
    let open = rig.ask(&body).await;
    assert!(waits(&rig.grant(&body).await), "asked for is not approved");
    assert!(!permits(&rig.at_the_effect(&body).await));
    let given = rig.approve("bob", &open).await.unwrap();
    assert_eq!(given.approved.as_ref().map(|(by, _)| by.clone()), Some(user("bob")));
    assert!(rig.grant(&body).await.is_ok());
    let decision = rig.at_the_effect(&body).await;
    let approval = decision.approval.clone().unwrap();
    assert_eq!((permits(&decision), approval.by, approval.body_sha256), (true, Some(user("bob")), open.body_sha256));
    // Edited, to the last space, or under another id.
    for edited in [body.replace("{}", "{ }"), other] {
        assert!(waits(&rig.grant(&edited).await), "{edited}");
        assert!(!permits(&rig.at_the_effect(&edited).await), "{edited}");
    }
    let elsewhere = asking("globex", "m-1", "erase_tenant_secrets", "{}");
    assert!(waits(&rig.grant(&elsewhere).await));
}

#[tokio::test]
async fn nobody_approves_their_own_or_what_they_have_not_read_or_may_not() {
    let rig = Rig::new().await;
    let body = erase("m-1");
    let open = rig.ask(&body).await;
    for who in ["ana", "vic", "dan-2"] {
        assert!(rig.approve(who, &open).await.is_err(), "{who}");
    }
    let other = Approval { body_sha256: [7; 32], ..open.clone() };
    assert!(rig.approve("bob", &other).await.is_err(), "another message than the one that is open");
    assert!(waits(&rig.grant(&body).await));
    // Whatever the policies say: those that let everybody do everything still take two.
    let text = r#"@id("all") permit (principal, action, resource);
        @id("two") forbid (principal, action == Action::"erase_secrets", resource) unless { context has approval };"#;
    rig.auth.reload(Policies::new(text, Directory::parse(DIRECTORY).unwrap()).unwrap()).await.unwrap();
    assert!(rig.approve("ana", &open).await.is_err());
    assert!(rig.approve("vic", &open).await.is_ok());
    assert!(rig.grant(&body).await.is_ok());
}

#[tokio::test]
async fn an_approval_ends_when_it_is_withdrawn_and_when_either_of_the_two_loses_their_right() {
    let rig = Rig::new().await;
    let directory = Directory::parse(DIRECTORY).unwrap();
    let body = erase("m-1");
    let open = rig.ask(&body).await;
    rig.approve("bob", &open).await.unwrap();
    for gone in ["bob", "ana"] {
        rig.auth.reload(over(directory.without(&user(gone), &tenant("acme")))).await.unwrap();
        assert!(!permits(&rig.at_the_effect(&body).await), "without {gone}");
        assert!(rig.grant(&body).await.is_err(), "without {gone}");
        rig.auth.reload(over(directory.clone())).await.unwrap();
        assert!(permits(&rig.at_the_effect(&body).await), "{gone} is back");
    }
    let revision = rig.auth.in_force_now().revision;
    assert!(rig.act("vic", ApprovalRequest::Withdraw { number: open.number }).await.is_err());
    rig.act("bob", ApprovalRequest::Withdraw { number: open.number }).await.unwrap();
    assert_eq!(rig.auth.in_force_now().revision, revision + 1, "what rested on it counts no more");
    assert!(!permits(&rig.at_the_effect(&body).await) && waits(&rig.grant(&body).await));
}

#[tokio::test]
async fn asking_and_approving_again_is_the_same_approval_and_only_who_may_know_sees_it() {
    let rig = Rig::new().await;
    let open = rig.ask(&erase("m-1")).await;
    assert_eq!(rig.ask(&erase("m-1")).await, open.again());
    let given = rig.approve("bob", &open).await.unwrap();
    assert!(!given.duplicate);
    assert_eq!(rig.approve("bob", &open).await.unwrap(), given.again());
    assert_eq!(rig.approve("dan", &open).await.unwrap(), given.again(), "it stays bob's");
    let listed =
        async |who: &str| rig.auth.approvals(&rig.bench.token(who), ApprovalRequest::List).await.unwrap().unwrap();
    assert_eq!(listed("ana").await, [Approval { body: Default::default(), ..given.clone() }]);
    assert_eq!((listed("bob").await.len(), listed("dan").await.len(), listed("vic").await.len()), (1, 1, 0));
    let shown = rig.act("dan", ApprovalRequest::Show { number: 1 }).await.unwrap();
    assert_eq!(shown.body, erase("m-1"));
    let edited = erase("m-1").replace("{}", "{ }");
    let (body, reason) = (edited.into(), "the customer has left".into());
    let refused = rig.act("ana", ApprovalRequest::Ask { body, reason, minutes: 60 }).await.unwrap_err();
    assert!(refused.to_string().contains("withdraw that first"), "{refused}");
    for (who, minutes, reason) in
        [("bob", 60, "the customer has left"), ("ana", 0, "the customer has left"), ("ana", 60, "x")]
    {
        let (body, reason) = (erase("m-3").into(), reason.into());
        assert!(rig.act(who, ApprovalRequest::Ask { body, reason, minutes }).await.is_err(), "{who} {minutes}");
    }
}

#[tokio::test]
async fn many_who_ask_at_once_each_have_an_approval_of_their_own() {
    let rig = Rig::new().await;
    let bodies: Vec<_> = (0..8).map(|index| erase(&format!("m-{index}"))).collect();
    let asked = futures_util::future::join_all(bodies.iter().map(|body| rig.ask(body))).await;
    let numbers: std::collections::BTreeSet<_> = asked.iter().map(|open| open.number).collect();
    assert_eq!(numbers, (1..=8).collect());
    for (body, open) in bodies.iter().zip(&asked) {
        assert_eq!(open.body_sha256, body_sha256(body.as_bytes()));
    }
}

#[tokio::test]
async fn a_decision_on_one_approved_command_is_none_on_another() {
    let rig = Rig::new().await;
    let ledger = rig.bench.ledger().await;
    let (one, other) = (erase("m-1"), erase("m-2"));
    for body in [&one, &other] {
        let open = rig.ask(body).await;
        rig.approve("bob", &open).await.unwrap();
    }
    let verifier = Verifier::new(rig.auth.clone(), rig.bench.world.clock.clone());
    let decision = rig.at_the_effect(&one).await;
    ledger.learn(rig.auth.in_force_now(), tokio::time::Instant::now());
    let mut applied = Vec::new();
    for (sequence, body) in (1..).zip([&other, &one]) {
        let grant = rig.grant(body).await.unwrap();
        let envelope = crate::grant::Envelope { body: body.clone().into(), grant, trace: None };
        let command = verifier.command(envelope).await.unwrap();
        let position = crate::broker::Position { epoch: 1, sequence };
        let work = crate::ledger::Work { command, decision: decision.clone(), position };
        let run = crate::ledger::Run::new(vec![work]).unwrap();
        applied.extend(crate::ledger::Ledger::apply(&*ledger, &run).await.unwrap());
    }
    let [crate::ledger::Applied::Forged, crate::ledger::Applied::Now(outcome)] = &applied[..] else {
        panic!("{applied:?}")
    };
    assert!(outcome.verdict.is_ok());
}

#[tokio::test]
async fn an_approval_that_has_ended_grants_nothing_and_carries_no_command_that_waited_and_is_told_once() {
    let rig = Rig::new().await;
    let ledger = rig.bench.ledger().await;
    let body = erase("m-1");
    let open = rig.ask(&body).await;
    rig.approve("bob", &open).await.unwrap();
    // Granted, it waits in the queue; a decision on it is on its way.
    let envelope =
        crate::grant::Envelope { body: body.clone().into(), grant: rig.grant(&body).await.unwrap(), trace: None };
    let decision = rig.at_the_effect(&body).await;
    let known = rig.auth.in_force_now().revision;
    rig.bench.clock.by(3590);
    assert!(permits(&rig.at_the_effect(&body).await), "ten seconds are left");
    rig.bench.clock.by(11);
    assert!(!permits(&rig.at_the_effect(&body).await) && waits(&rig.grant(&body).await));
    assert!(rig.approve("bob", &open).await.is_err(), "it is over");
    // Whoever follows hears of it, each of them, and it is on record once.
    let follow = || rig.auth.in_force(known, Duration::ZERO);
    let (one, other) = tokio::join!(follow(), follow());
    assert_eq!((one.unwrap().revision, other.unwrap().revision), (known + 1, known + 1));
    let told = rig.auth.outgoing().steps();
    assert_eq!(told.iter().filter(|step| step.starts_with("approval_expired")).count(), 1, "{told:?}");
    ledger.learn(rig.auth.in_force_now(), tokio::time::Instant::now());
    let command = rig.bench.verifier.command(envelope).await.unwrap();
    let position = crate::broker::Position { epoch: 1, sequence: 1 };
    let run = crate::ledger::Run::new(vec![crate::ledger::Work { command, decision, position }]).unwrap();
    let applied = crate::ledger::Ledger::apply(&*ledger, &run).await.unwrap();
    assert!(matches!(applied[..], [crate::ledger::Applied::Undecided(_)]), "{applied:?}");
    // Asked anew it is another approval, and nobody has given that.
    let anew = rig.ask(&body).await;
    assert!(anew.number > open.number && anew.approved.is_none() && waits(&rig.grant(&body).await));
}

#[tokio::test]
async fn approvals_outlive_auth_and_those_that_ended_stay_ended() {
    let rig = Rig::new().await;
    let bodies = ["asked", "given", "withdrawn", "short"].map(erase);
    let [asked, given, withdrawn, short] = &bodies;
    rig.ask(asked).await;
    for body in [given, withdrawn] {
        let open = rig.ask(body).await;
        rig.approve("bob", &open).await.unwrap();
    }
    let (body, reason) = (short.clone().into(), "the customer has left".into());
    let open = rig.act("ana", ApprovalRequest::Ask { body, reason, minutes: 1 }).await.unwrap();
    rig.approve("bob", &open).await.unwrap();
    rig.act("ana", ApprovalRequest::Withdraw { number: 3 }).await.unwrap();
    let known = rig.auth.in_force_now().revision;

    let Rig { bench, auth } = rig;
    drop(auth);
    bench.clock.by(61);
    let bench = bench.restarted(over(Directory::parse(DIRECTORY).unwrap())).await;
    let rig = Rig { auth: bench.authority.clone(), bench };
    let permitted = [asked, given, withdrawn, short].map(|body| rig.at_the_effect(body));
    let permitted = futures_util::future::join_all(permitted).await;
    assert_eq!(permitted.iter().map(permits).collect::<Vec<_>>(), [false, true, false, false]);
    assert!(rig.grant(given).await.is_ok());
    assert_eq!(rig.auth.in_force(known, Duration::ZERO).await.unwrap().revision, known + 1, "one has ended meanwhile");
    // What was asked for before can be approved after, and no number comes again.
    let open = rig.act("bob", ApprovalRequest::Show { number: 1 }).await.unwrap();
    rig.approve("bob", &open).await.unwrap();
    assert!(permits(&rig.at_the_effect(asked).await));
    assert_eq!(rig.ask(withdrawn).await.number, 5);
}

#[tokio::test]
async fn an_approval_says_how_it_stands_from_the_wish_to_its_end_and_after() {
    let rig = Rig::new().await;
    let now = || rig.bench.world.clock.unix_seconds();
    let bodies = ["used", "withdrawn", "late"].map(erase);
    let mut open = Vec::new();
    for body in &bodies {
        open.push(rig.ask(body).await);
    }
    let states = async || {
        let listed = rig.auth.approvals(&rig.bench.token("ana"), ApprovalRequest::List).await.unwrap().unwrap();
        listed.iter().map(|known| known.state(now()).name()).collect::<Vec<_>>()
    };
    assert_eq!(states().await, ["pending", "pending", "pending"]);
    rig.approve("bob", &open[0]).await.unwrap();
    rig.approve("bob", &open[1]).await.unwrap();
    assert!(rig.grant(&bodies[0]).await.is_ok());
    assert_eq!(states().await, ["approved", "approved", "pending"], "what is granted has had no effect");
    let revision = rig.auth.in_force_now().revision;
    assert!(permits(&rig.at_the_effect(&bodies[0]).await));
    assert_eq!(states().await, ["used", "approved", "pending"]);
    let used_at = now();
    rig.bench.clock.by(5);
    assert!(permits(&rig.at_the_effect(&bodies[0]).await), "what comes again is let through again");
    let shown = rig.act("bob", ApprovalRequest::Show { number: open[0].number }).await.unwrap();
    assert_eq!(shown.used_at, Some(used_at), "the first time counts");
    assert_eq!(rig.auth.in_force_now().revision, revision, "nothing else has changed");
    let withdraw = ApprovalRequest::Withdraw { number: open[1].number };
    let withdrawn = rig.act("bob", withdraw.clone()).await.unwrap();
    assert!(!withdrawn.duplicate);
    assert_eq!(rig.act("ana", withdraw).await.unwrap(), withdrawn.again());
    let late = rig.approve("bob", &open[1]).await.unwrap_err().to_string();
    assert!(late.contains("was withdrawn by bob"), "{late}");
    rig.bench.clock.by(3600);
    assert_eq!(states().await, ["used", "withdrawn", "expired"]);
    let known = rig.auth.in_force_now().revision;
    rig.auth.in_force(known, Duration::ZERO).await.unwrap();
    assert_eq!(states().await, ["used", "withdrawn", "expired"], "and so they stay");
    let late = rig.approve("bob", &open[2]).await.unwrap_err().to_string();
    assert!(late.contains("is over"), "{late}");
    assert!(!permits(&rig.at_the_effect(&bodies[0]).await), "used, and over");
}

#[tokio::test]
async fn of_those_that_have_ended_the_latest_are_kept_and_open_ones_all() {
    use crate::auth::approval::{ApprovalEnd, Approvals, ENDED_MAX};

    let rig = Rig::new().await;
    let open = rig.ask(&erase("m-1")).await;
    let mut all = Approvals::default();
    all.0.insert(1, Arc::new(Approval { number: 1, ..open.clone() }));
    for number in 2..=ENDED_MAX as u64 + 1 {
        all.0.insert(number, Arc::new(Approval { number, ended: Some((ApprovalEnd::Expired, 0)), ..open.clone() }));
    }
    assert_eq!((all.to_forget(), all.count(&user("ana"))), (None, (1, 1)));
    let number = u64::MAX;
    all.0.insert(number, Arc::new(Approval { number, ended: Some((ApprovalEnd::Expired, 0)), ..open }));
    assert_eq!(all.to_forget(), Some(2));
}

#[tokio::test]
async fn that_it_takes_one_of_a_team_is_told_before_it_is_approved() {
    let rig = Rig::new().await;
    let text = |team: &str| {
        format!(
            r#"@id("all") permit (principal, action, resource);
            @id("two") forbid (principal, action == Action::"erase_secrets", resource)
            unless {{ context has approval && context.approval.by in Team::"{team}" }};"#
        )
    };
    let over = |team: &str| Policies::new(&text(team), Directory::parse(DIRECTORY).unwrap()).unwrap();
    rig.auth.reload(over("duty-managers")).await.unwrap();
    let body = erase("m-1");
    let refused = rig.grant(&body).await.unwrap_err();
    assert!(matches!(refused, Denied::ApprovalRequired(_)), "{refused:?}");
    let open = rig.ask(&body).await;
    rig.approve("bob", &open).await.unwrap();
    assert!(rig.grant(&body).await.is_err(), "bob is none of them");
    rig.auth.reload(over("nobody")).await.unwrap();
    assert!(matches!(rig.grant(&body).await, Err(Denied::Forbidden(_))), "whom nobody could approve waits for nobody");
}

#[tokio::test(start_paused = true)]
async fn who_misuses_an_approval_of_which_tenant_is_on_record() {
    use crate::audit::{EmbeddedAudit, Reporter};

    let rig = Rig::new().await;
    let [ana, vic, mallory] = ["ana", "vic", "mallory"].map(|who| rig.bench.token(who));
    let Approval { number, body_sha256, .. } = rig.ask(&erase("m-1")).await;
    let Rig { bench, auth } = rig;
    drop(auth);
    let (world, issuer, _folder) = bench.stopped();
    // The committer ends with auth, and lets go of the file once it is polled.
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    let audit = Arc::new(EmbeddedAudit::open(&world).await.unwrap());
    let reporter = Reporter::start(Role::Auth, &world, audit.clone()).await.unwrap();
    let policies = over(Directory::parse(DIRECTORY).unwrap());
    let auth = EmbeddedAuthority::open(&world, issuer, policies).await.unwrap().reporting(reporter.clone());
    for (token, request) in [
        (ana, ApprovalRequest::Approve { number, body_sha256 }),
        (vic, ApprovalRequest::Approve { number, body_sha256 }),
        (mallory, ApprovalRequest::Withdraw { number }),
    ] {
        assert!(auth.approvals(&token, request).await.unwrap().is_err());
    }
    reporter.flush(Duration::from_secs(10)).await;
    let told = audit.attempts().unwrap().into_iter().map(|(_, attempt)| {
        let claimed = attempt.claimed;
        (attempt.code, claimed.tenant.unwrap_or_default(), claimed.user.unwrap_or_default())
    });
    let of = |code, who: &str| (code, "acme".to_owned(), who.to_owned());
    let right = [of(Code::ApprovalMisused, "ana"), of(Code::Forbidden, "vic"), of(Code::Forbidden, "mallory")];
    assert_eq!(told.collect::<Vec<_>>(), right);
}
