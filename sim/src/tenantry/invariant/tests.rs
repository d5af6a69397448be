//! One small story that every invariant accepts, and for each a way to spoil it that it must see.

use std::sync::Arc;

use tenantry_system::action::Rejection;
use tenantry_system::audit::{Attempt, AuditEntry, Claimed, Code, Event, Step, StepKind};
use tenantry_system::billing::Currency;
use tenantry_system::broker::Lease;
use tenantry_system::ids::MessageId;
use tenantry_system::ledger::{Account, PauseGeneration, Posting, TenantState, Transaction};
use tenantry_system::message::body_sha256;
use tenantry_system::monitor::{Answer, AppliedEnd, PublishEnd, Route};
use tenantry_system::rate_limit::Rate;
use tenantry_system::rights::Role;

use super::*;
use crate::tenantry::approvers::{Paired, Way};
use crate::tenantry::cast::Part;
use crate::tenantry::evidence::{Client, LogCheck};
use crate::tenantry::followers::Followed;
use crate::tenantry::measured::Measured;
use crate::tenantry::triage::Told;
use crate::tenantry::workload::{Triage, Verb};

struct Story {
    cast: Cast,
    seen: Seen,
    kept: Kept,
    quiet: bool,
    quiet_p99_ms_max: Option<u64>,
    user_rate: Rate,
    source_rate: Rate,
}

fn id(text: &str) -> MessageId {
    MessageId::parse(text).unwrap()
}

fn tenant(text: &str) -> TenantId {
    TenantId::parse(text).unwrap()
}

/// ana gives acme 5 EUR and, once that is accepted, 7 more; bob, who has no role there, is refused.
fn story() -> Story {
    let cast = Cast::of(&[("ana", "acme", Part::Admin), ("bob", "globex", Part::Admin)]);
    let (mut seen, mut kept) = (Seen::default(), Kept::default());
    let acme = tenant("acme");
    for (index, (name, operator, amount_minor)) in [("m-1", 0, 5), ("m-2", 0, 7), ("m-3", 1, 9)].into_iter().enumerate()
    {
        let ask = Ask::Credit { amount_minor, currency: "EUR".into() };
        let operator = cast.operators[operator].clone();
        let allowed = operator.as_str() == "ana";
        let command = Command { message_id: name.into(), operator, tenant: acme.clone(), ask, allowed };
        let at = |ms: usize| Duration::from_millis(ms as u64 + 100 * index as u64);
        let client = Client {
            sent_at: at(0),
            accepted_at: allowed.then(|| at(10)),
            refused: (!allowed).then_some(403),
            refused_at: (!allowed).then(|| at(10)),
            reported: allowed.then(|| "applied".into()),
        };
        if allowed {
            let version = index as u64 + 1;
            let outcome = Outcome {
                body_sha256: [0; 32],
                verdict: Ok(Vec::new()),
                version,
                at_unix_ms: 0,
                authority_revision: 1,
                rules_version: 1,
            };
            kept.decided.insert((acme.clone(), id(name)), body_sha256(command.body().as_bytes()));
            kept.audit.push(AuditEntry {
                at_unix_ms: 0,
                tenant_id: acme.clone(),
                user_id: command.operator.clone(),
                replayed_by: None,
                action: "issue_credit".into(),
                message_id: id(name),
                body: command.body().into(),
                outcome: "applied".into(),
                detail: String::new(),
                authority_revision: 1,
                policies: Vec::new(),
                approved_by: None,
            });
            kept.outcomes.insert((acme.clone(), id(name)), outcome);
            for kind in [StepKind::Published, StepKind::Delivered] {
                let place = 10 + kept.steps.len() as u64;
                let number = if kind == StepKind::Published { index as u64 + 1 } else { 1 };
                let step = Step {
                    tenant: Some(acme.clone()),
                    user: Some(command.operator.clone()),
                    action: Some("issue_credit".into()),
                    message_id: Some(id(name)),
                    body_sha256: Some(body_sha256(command.body().as_bytes())),
                    ..Step::new(0, Role::Broker, kind, number)
                };
                kept.steps.push((place, step));
            }
            let calls = seen.witness.publish(&acme, &id(name));
            (calls.begun, calls.answered, calls.done) = (1, 1, 1);
            seen.witness.deliver(&acme, &id(name), 1);
        } else {
            let claimed = Claimed { message_id: Some(name.into()), ..Claimed::tenant(&acme) };
            let (service, entry, code) = (Role::Auth, "grant".to_owned(), Code::CrossTenant);
            let attempt = Attempt { at_unix_ms: 0, service, entry, code, claimed, detail: String::new() };
            kept.alerts.extend(Event::Refused(attempt.clone()).alert(3));
            kept.attempts.push((3, attempt));
        }
        seen.clients.insert(name.into(), client);
        seen.commands.insert(name.into(), command);
    }
    kept.steps.push((20, Step::new(0, Role::Auth, StepKind::PoliciesChanged, 1)));
    measure(&mut kept.measured);
    let credits = BTreeMap::from([("EUR".to_owned(), 12)]);
    kept.states.insert(acme.clone(), TenantState { version: 2, credits, ..TenantState::default() });
    let eur = Currency::parse("EUR").unwrap();
    let given = [(1, 5), (2, 7)].map(|(version, amount)| {
        let posting = |account, amount_minor| Posting { account, currency: eur, amount_minor };
        let postings = vec![posting(Account::Credit, amount), posting(Account::Funding, -amount)];
        Transaction { version, message_id: Some(id(&format!("m-{version}"))), postings }
    });
    kept.journals.insert(acme.clone(), given.to_vec());
    let api = [serde_json::json!({}), serde_json::json!([]), serde_json::json!({"EUR": 12}), serde_json::json!({})];
    seen.tenants_by_api.insert(acme, api);
    let taken_in = [("m-1", 5), ("m-2", 105)].map(|(id, ms)| (id.to_owned(), Duration::from_millis(ms)));
    seen.let_through = taken_in.iter().map(|(id, at)| (id.clone(), vec![*at])).collect();
    seen.taken_in.insert(tenant("acme"), taken_in.into());
    for (operator, at) in [("ana", 5), ("ana", 105)] {
        let operator = UserId::parse(operator).unwrap();
        seen.revocations.applied(&operator, &tenant("acme"), Duration::from_millis(at), 1, 1);
    }
    seen.alert_rules = tenantry_system::alerting::DEFAULT_RULES.into();
    kept.log = LogCheck { compared: 3, violations: Vec::new() };
    let RateLimits { user: user_rate, source: source_rate, .. } = RateLimits::default();
    Story { cast, seen, kept, quiet: true, quiet_p99_ms_max: None, user_rate, source_rate }
}

/// What the hosts would have counted of it, and one trace for each effect.
fn measure(measured: &mut Measured) {
    for host in ["producer", "broker", "ledger", "auth"] {
        measured.lives.insert(host.into(), vec![Arc::default()]);
    }
    let of = |host: &str| measured.lives[host][0].clone();
    of("producer").http_requests.add((Route::Submit, Answer::Accepted), 2);
    of("broker").publishes.add(PublishEnd::Accepted, 2);
    of("ledger").applied.add(AppliedEnd::Applied, 2);
    of("auth").refusals.inc((Role::Auth, Code::CrossTenant));
    for (trace, id) in [(1, "m-1"), (2, "m-2")] {
        for name in ["queue.wait", "consumer.decide", "ledger.apply"] {
            measured.traces.insert((id.into(), name), [trace].into());
        }
    }
}

fn findings(story: &Story) -> Vec<Finding> {
    let Story { cast, seen, kept, quiet, quiet_p99_ms_max, user_rate, source_rate } = story;
    let rate_limits = &RateLimits { tenant: Rate::new(10, 20), user: *user_rate, source: *source_rate };
    let (quiet_by_deadline, deadline, quiet_p99_ms_max) = (*quiet, Duration::from_secs(1), *quiet_p99_ms_max);
    judge(&Case { cast, seen, kept, rate_limits, quiet_p99_ms_max, quiet_by_deadline, unmet: &[], deadline })
}

/// The names of the invariants that are violated.
fn violated(story: &Story) -> Vec<&'static str> {
    findings(story).iter().filter(|finding| !finding.violations.is_empty()).map(|finding| finding.name).collect()
}

#[test]
fn a_sound_story_violates_nothing() {
    assert_eq!(violated(&story()), Vec::<&str>::new());
    assert!(findings(&story()).iter().all(|finding| finding.compared > 0));
}

#[test]
fn g1_sees_an_outcome_at_another_tenant_an_accepted_attempt_and_a_change_of_an_untouched_tenant() {
    let mut misrouted = story();
    let outcome = misrouted.kept.outcomes.remove(&(tenant("acme"), id("m-2"))).unwrap();
    misrouted.kept.outcomes.insert((tenant("globex"), id("m-2")), outcome);
    assert!(violated(&misrouted).contains(&"G1-isolation"));

    let mut let_in = story();
    let_in.seen.clients.get_mut("m-3").unwrap().accepted_at = Some(Duration::ZERO);
    assert!(violated(&let_in).contains(&"G1-isolation"));

    let mut changed = story();
    let state = |version, amount| {
        let credits = BTreeMap::from([("EUR".to_owned(), amount)]);
        BTreeMap::from([(tenant("globex"), TenantState { version, credits, ..TenantState::default() })])
    };
    changed.seen.isolation.begin(&tenant("globex"), 1);
    changed.seen.isolation.end(&tenant("globex"), 1, state(1, 5), "m-0");
    assert_eq!(violated(&changed), Vec::<&str>::new());
    changed.seen.isolation.begin(&tenant("acme"), 1);
    changed.seen.isolation.end(&tenant("acme"), 1, state(1, 6), "m-1");
    assert_eq!(violated(&changed), ["G1-isolation"]);
}

#[test]
fn g1_sees_that_an_allowed_command_was_refused_for_no_reason() {
    let refused = |status: u16, explain: &dyn Fn(&mut Story)| {
        let mut refused = story();
        let client = refused.seen.clients.get_mut("m-2").unwrap();
        (client.accepted_at, client.reported) = (None, None);
        (client.refused, client.refused_at) = (Some(status), Some(client.sent_at + Duration::from_millis(10)));
        explain(&mut refused);
        let violations = said(&refused, "G1-isolation").violations;
        assert!(violations.iter().all(|told| told.contains("m-2") && told.contains(&status.to_string())));
        !violations.is_empty()
    };
    let nothing = |_: &mut Story| {};
    for status in [400, 401, 403, 404, 409, 413] {
        assert!(refused(status, &nothing), "{status}");
    }
    let gone = |story: &mut Story| {
        let gone = [(story.cast.operators[0].clone(), tenant("acme"))].into();
        story.seen.revocations.begin(&gone);
    };
    assert!(!refused(403, &gone) && refused(409, &gone));
    let reused = |story: &mut Story| {
        let ask = Ask::Credit { amount_minor: 1, currency: "EUR".into() };
        story.seen.reused_first.insert("m-2".into(), ask);
    };
    assert!(!refused(409, &reused) && refused(403, &reused));
}

#[test]
fn of_an_id_used_for_two_bodies_what_was_applied_tells_which_came_first() {
    let mut reused = story();
    let other = reused.seen.commands["m-2"].clone();
    reused.seen.commands.get_mut("m-2").unwrap().ask = Ask::Credit { amount_minor: 8, currency: "EUR".into() };
    assert!(violated(&reused).contains(&"G3-one-outcome"));
    // It was refused in the end, and an attempt before that had no answer.
    reused.seen.reused_unsure.insert("m-2".into(), other.clone());
    assert!(!violated(&reused).contains(&"G3-one-outcome"));
    let neither = Command { ask: Ask::Credit { amount_minor: 9, currency: "EUR".into() }, ..other };
    reused.seen.reused_unsure.insert("m-2".into(), neither.clone());
    assert!(violated(&reused).contains(&"G3-one-outcome"));
    let mut planned = story();
    planned.seen.reused_unsure.insert("m-2".into(), neither);
    assert!(!violated(&planned).contains(&"G3-one-outcome"), "the plan's own was first");
}

#[test]
fn g1_sees_that_whoever_read_one_tenant_was_shown_another() {
    let mut shown = story();
    let credits = BTreeMap::from([("EUR".to_owned(), 700)]);
    shown.kept.states.insert(tenant("globex"), TenantState { credits, ..TenantState::default() });
    assert!(!violated(&shown).contains(&"G1-isolation"));
    shown.seen.tenants_by_api.get_mut(&tenant("acme")).unwrap()[2] = serde_json::json!({"EUR": 700});
    assert!(violated(&shown).contains(&"G1-isolation"));
    // Wrong, and nobody's: that is no breach of isolation.
    shown.seen.tenants_by_api.get_mut(&tenant("acme")).unwrap()[2] = serde_json::json!({"EUR": 701});
    assert!(!violated(&shown).contains(&"G1-isolation"));
}

#[test]
fn g2_sees_an_effect_on_a_paused_tenant_and_none_before_the_pause_or_after_its_end() {
    let states = |version| BTreeMap::from([(tenant("acme"), TenantState { version, ..TenantState::default() })]);
    let mut paused = story();
    paused.seen.pauses.begin(&tenant("acme"), 2);
    paused.seen.pauses.look(&states(2));
    paused.seen.pauses.end(&tenant("acme"));
    paused.seen.pauses.look(&states(3));
    assert_eq!(violated(&paused), Vec::<&str>::new());
    assert!(findings(&paused).iter().any(|finding| finding.name == "G2-authority" && finding.compared == 3));
    paused.seen.pauses.begin(&tenant("acme"), 3);
    paused.seen.pauses.look(&states(4));
    assert_eq!(violated(&paused), ["G2-authority"]);
}

#[test]
fn g2_goes_by_the_simulations_time_whatever_the_ledgers_clock_says() {
    let ms = Duration::from_millis;
    let (acme, ana) = (tenant("acme"), UserId::parse("ana").unwrap());
    // ana's role is gone from the start until now, as far as a role that is given back can still be felt.
    let rejected = |brought: Duration, clock_ms: i64| {
        let mut story = story();
        let gone = [(ana.clone(), acme.clone())].into();
        story.seen.revocations.begin(&gone);
        story.seen.revocations.in_force(&gone, 2);
        story.seen.revocations.in_force(&[].into(), 3);
        story.seen.witness.brought(&acme, &id("m-2"), brought);
        story.seen.witness.decided(&acme, &id("m-2"), brought + ms(20));
        let outcome = story.kept.outcomes.get_mut(&(acme.clone(), id("m-2"))).unwrap();
        outcome.verdict = Err(Rejection::new("forbidden", "gone"));
        outcome.at_unix_ms += clock_ms;
        violated(&story).contains(&"G2-authority")
    };
    for clock_ms in [-3_600_000, -1, 0, 3_600_000] {
        assert!(!rejected(ms(100), clock_ms), "a clock that is {clock_ms} ms off rings");
        assert!(rejected(ms(60_000), clock_ms), "a clock that is {clock_ms} ms off silences");
    }
}

/// The same where credit takes two: bob has approved ana's first, and her second ended without an effect.
fn paired() -> Story {
    let mut paired = story();
    let bob = paired.cast.operators[1].clone();
    let (command, at) = (paired.seen.commands["m-1"].clone(), Duration::from_millis(20));
    let body = body_sha256(command.body().as_bytes());
    let [first, unasked] = [("m-1", Way::Approved), ("m-3", Way::Unasked)].map(|(name, way)| {
        let (command, approver) = (paired.seen.commands[name].clone(), Some(bob.clone()));
        Paired { command, way, approver, read_ms: 1, send_after_ms: 1 }
    });
    let eyes = &mut paired.seen.four_eyes;
    eyes.planned.extend([("m-1".into(), first), ("m-3".into(), unasked)]);
    eyes.given.insert("m-1".into(), (body, Duration::from_millis(5)));
    for sent in ["m-1", "m-3"] {
        eyes.sent.insert(sent.into(), (Duration::from_millis(6), Duration::from_millis(10)));
    }
    eyes.applied(&paired.seen.revocations, (&tenant("acme"), "m-1"), body, at, 1);
    paired.kept.audit[0].approved_by = Some(bob);
    paired
}

#[test]
fn g2_sees_an_effect_without_a_second_person_or_after_they_are_gone_and_a_refusal_in_spite_of_one() {
    assert_eq!(violated(&paired()), Vec::<&str>::new());
    let compared = |finding: &Finding| finding.name == "G2-four-eyes" && finding.compared == 4;
    assert!(findings(&paired()).iter().any(compared));
    let spoil = |spoil: &dyn Fn(&mut Story)| {
        let mut spoilt = paired();
        spoil(&mut spoilt);
        violated(&spoilt).contains(&"G2-four-eyes")
    };
    let ways = [Way::Unasked, Way::Unanswered, Way::Edited, Way::Alone, Way::Withdrawn];
    for way in ways {
        assert!(spoil(&|story| story.seen.four_eyes.planned.get_mut("m-1").unwrap().way = way), "{way:?}");
    }
    assert!(spoil(&|story| story.seen.four_eyes.given.clear()));
    assert!(spoil(&|story| story.seen.four_eyes.given.get_mut("m-1").unwrap().0 = [7; 32]));
    assert!(spoil(&|story| story.seen.four_eyes.given.get_mut("m-1").unwrap().1 = Duration::from_millis(21)));
    assert!(spoil(&|story| {
        let paired = story.seen.four_eyes.planned.get_mut("m-1").unwrap();
        paired.approver = Some(paired.command.operator.clone());
    }));
    assert!(spoil(&|story| story.kept.audit[0].approved_by = None));
    let gone = |story: &mut Story| {
        let gone = [(story.cast.operators[1].clone(), tenant("acme"))].into();
        story.seen.revocations.begin(&gone);
        story.seen.revocations.in_force(&gone, 2);
    };
    let refused = |story: &mut Story| {
        story.seen.four_eyes.effects.clear();
        story.seen.clients.get_mut("m-1").unwrap().refused = Some(403);
    };
    assert!(spoil(&refused));
    assert!(!spoil(&|story| {
        gone(story);
        refused(story);
    }));
    for (at, revision, late) in [(20, 1, false), (20, 2, true), (5001, 1, true)] {
        let applied = |story: &mut Story| {
            gone(story);
            let (body, at) = (story.seen.four_eyes.given["m-1"].0, Duration::from_millis(at));
            let Seen { four_eyes, revocations, .. } = &mut story.seen;
            four_eyes.applied(revocations, (&tenant("acme"), "m-1"), body, at, revision);
        };
        assert_eq!(spoil(&applied), late, "at {at}, on a decision of {revision}");
    }
}

#[test]
fn g8_sees_a_tenant_that_got_more_than_its_rate_and_quiet_ones_that_had_to_wait() {
    let mut flood = story();
    flood.kept.measured.lives["broker"][0].publishes.add(PublishEnd::Accepted, 25);
    // Ten a second and twenty at once: the first twenty in an instant, then one in a hundred milliseconds.
    let mut taken = |held_up_ms: u64, count: u64| {
        let ms = Duration::from_millis;
        let sent = (0..count).map(|index| (format!("f-{index}"), ms(1000 + index.saturating_sub(19) * 100)));
        flood.seen.let_through = sent.clone().map(|(id, at)| (id, vec![at - ms(held_up_ms)])).collect();
        flood.seen.taken_in.insert(tenant("acme"), sent.map(|(id, at)| (id, at + ms(1))).collect());
        violated(&flood)
    };
    assert_eq!(taken(0, 24), Vec::<&str>::new());
    let at_once = |flood: &mut Story, last: &str| {
        flood.seen.let_through.insert(last.into(), vec![Duration::from_millis(1000)]);
        let taken_in = flood.seen.taken_in.get_mut(&tenant("acme")).unwrap();
        taken_in.iter_mut().filter(|(id, _)| id == last).for_each(|(_, at)| *at = Duration::from_millis(1001));
    };
    // Whoever waited for auth or for the broker may come with all others at once.
    assert_eq!(taken(900, 24), Vec::<&str>::new());
    assert_eq!(taken(0, 24), Vec::<&str>::new());
    at_once(&mut flood, "f-23");
    assert_eq!(violated(&flood), ["G8-fair-share"]);

    // The same flood, under a limit of its sender, or of the address it came from.
    let (ids, of_tenant): (Vec<_>, _) = {
        let taken_in = &flood.seen.taken_in[&tenant("acme")];
        (taken_in.iter().map(|(id, _)| id.clone()).collect(), taken_in.len())
    };
    let mut limited = |user_rate: Rate, source_rate: Rate| {
        for id in &ids {
            let command = Command { message_id: id.clone(), ..flood.seen.commands["m-1"].clone() };
            flood.seen.commands.insert(id.clone(), command);
        }
        // Over three tenants, of which each has little.
        let spread = flood.seen.taken_in.remove(&tenant("acme")).unwrap_or_default();
        for (index, taken) in spread.into_iter().enumerate() {
            flood.seen.taken_in.entry(tenant(&format!("t-{}", index % 3))).or_default().push(taken);
        }
        (flood.user_rate, flood.source_rate) = (user_rate, source_rate);
        !said(&flood, "G8-fair-share").violations.is_empty()
    };
    assert_eq!(of_tenant, 24);
    let (loose, tight) = (Rate::new(1000, 1000), Rate::new(10, 20));
    assert_eq!([limited(loose, loose), limited(tight, loose), limited(loose, tight)], [false, true, true]);

    let delayed = |slow: u64| {
        let mut delayed = story();
        delayed.cast = Cast::of(&[("bob", "globex", Part::Admin), ("ana", "acme", Part::Admin)]);
        delayed.quiet_p99_ms_max = Some(50);
        for index in 0..200 {
            let id = format!("q-{index}");
            let command = Command { message_id: id.clone(), ..delayed.seen.commands["m-1"].clone() };
            let sent_at = Duration::from_millis(10);
            let effect = sent_at + Duration::from_millis(if index < slow { 51 } else { 20 });
            delayed.seen.effects.insert(id.clone(), vec![effect]);
            delayed.seen.clients.insert(id.clone(), Client { sent_at, ..Client::default() });
            delayed.seen.commands.insert(id, command);
        }
        violated(&delayed).contains(&"G8-fair-share")
    };
    assert_eq!([delayed(1), delayed(2)], [false, true]);

    let few = Story { quiet_p99_ms_max: Some(50), ..story() };
    assert_eq!(said(&few, "G8-fair-share").skipped.len(), 1, "what was not looked at is said");
    assert_eq!(said(&story(), "G8-fair-share").skipped, [""; 0]);
}

#[test]
fn a_run_in_which_nothing_happens_compares_nothing_and_whatever_is_checked_only_where_it_is_planned_does_neither() {
    let mut nothing = story();
    let rules = nothing.seen.alert_rules.clone();
    (nothing.seen, nothing.kept) = Default::default();
    nothing.seen.alert_rules = rules;
    let plan: [&dyn Fn(&mut Story); 2] = [&|_| {}, &|story| {
        (story.seen.triages, story.seen.dry_runs_planned, story.seen.webhook) = (1, true, true);
        story.seen.canaries = Some(crate::tenantry::canary::Canaries::new(&crate::engine::dice::Dice::new(1)));
        story.seen.followed = followed().seen.followed;
        story.seen.followed[0].events.clear();
        // Neither was sent.
        story.seen.four_eyes.planned = paired().seen.four_eyes.planned;
    }];
    for plan in plan {
        plan(&mut nothing);
        // Those that were planned and did not happen are missed, not compared.
        let compared =
            |finding: &Finding| (finding.compared > 0 && finding.violations.is_empty()).then_some(finding.name);
        assert_eq!(findings(&nothing).iter().filter_map(compared).collect::<Vec<_>>(), [""; 0]);
    }
    nothing.seen.catalogue_planned = true;
    assert_eq!(findings(&nothing)[0].compared, 0);
}

#[test]
fn g3_sees_a_missing_outcome_a_witness_that_disagrees_and_an_audit_entry_that_lies() {
    let mut missing = story();
    missing.kept.outcomes.remove(&(tenant("acme"), id("m-1")));
    assert!(violated(&missing).contains(&"G3-one-outcome"));

    let mut disagrees = story();
    disagrees.seen.clients.get_mut("m-1").unwrap().reported = Some("rejected".into());
    assert_eq!(violated(&disagrees), ["G3-one-outcome"]);

    let mut lies = story();
    lies.kept.audit[0].user_id = lies.cast.operators[1].clone();
    assert_eq!(violated(&lies), ["G3-one-outcome"]);

    let mut doubled = story();
    doubled.kept.audit.push(doubled.kept.audit[0].clone());
    assert!(violated(&doubled).contains(&"G3-one-outcome"));

    let mut gap = story();
    gap.kept.outcomes.get_mut(&(tenant("acme"), id("m-2"))).unwrap().version = 3;
    assert_eq!(violated(&gap), ["G3-one-outcome"]);
}

#[test]
fn g4_sees_a_confirmed_command_that_is_nowhere() {
    let mut lost = story();
    lost.kept.outcomes.remove(&(tenant("acme"), id("m-2")));
    assert!(violated(&lost).contains(&"G4-nothing-lost"));

    let mut forgotten = story();
    forgotten.seen.forged.insert("f-1".into());
    assert!(violated(&forgotten).contains(&"G4-nothing-lost"));
    forgotten.kept.letters_of.insert((tenant("acme"), id("f-1")));
    assert!(!violated(&forgotten).contains(&"G4-nothing-lost"));
}

#[test]
fn g4_excuses_what_waits_and_nothing_beside_it() {
    let mut waits = story();
    waits.kept.outcomes.remove(&(tenant("acme"), id("m-2")));
    waits.seen.forged.insert("f-1".into());
    let lost = |story: &Story| said(story, "G4-nothing-lost").violations.len();
    assert_eq!(lost(&waits), 2);
    // What the API says of it is no proof.
    waits.seen.clients.get_mut("m-2").unwrap().reported = Some("dead_lettered".into());
    assert_eq!(lost(&waits), 2);
    waits.kept.waiting.insert((tenant("globex"), id("m-2")));
    assert_eq!(lost(&waits), 2, "in another's lane it is lost");
    waits.kept.waiting.insert((tenant("acme"), id("m-2")));
    assert_eq!(lost(&waits), 1);
    waits.kept.waiting.insert((tenant("acme"), id("f-1")));
    assert_eq!(lost(&waits), 0);
}

#[test]
fn g4_sees_a_run_that_is_settled_by_a_lease_that_is_over() {
    let lease = |token| Lease { tenant: tenant("acme"), token };
    let mut handed_on = story();
    let leases = &mut handed_on.seen.witness.leases;
    leases.out(&lease(1));
    assert!(!leases.is_over(&lease(1)));
    leases.settled(&lease(1), false, true);
    leases.out(&lease(2));
    assert!(leases.is_over(&lease(1)) && !leases.is_over(&lease(2)));
    leases.settled(&lease(1), true, false);
    assert_eq!(violated(&handed_on), Vec::<&str>::new());
    handed_on.seen.witness.leases.settled(&lease(1), true, true);
    assert_eq!(violated(&handed_on), ["G4-nothing-lost"]);
}

#[test]
fn g5_sees_a_command_that_overtook_one_confirmed_before_it_was_sent() {
    let mut overtaken = story();
    for (name, version) in [("m-1", 2), ("m-2", 1)] {
        overtaken.kept.outcomes.get_mut(&(tenant("acme"), id(name))).unwrap().version = version;
    }
    // The books are kept in the order in which things happened.
    let journal = overtaken.kept.journals.get_mut(&tenant("acme")).unwrap();
    journal.swap(0, 1);
    journal.iter_mut().zip([1, 2]).for_each(|(transaction, version)| transaction.version = version);
    assert_eq!(violated(&overtaken), ["G5-order"]);
    // Sent before the other was confirmed: then either may be first.
    overtaken.seen.clients.get_mut("m-2").unwrap().sent_at = Duration::ZERO;
    assert_eq!(violated(&overtaken), Vec::<&str>::new());
}

#[test]
fn g6_sees_a_doubled_effect_a_wrong_rejection_and_an_api_that_says_otherwise() {
    let mut doubled = story();
    doubled.kept.states.get_mut(&tenant("acme")).unwrap().credits.insert("EUR".into(), 17);
    assert_eq!(violated(&doubled), ["G6-billing"]);

    let mut rejected = story();
    let rejection = tenantry_system::action::Rejection::new("credit_ceiling", "");
    rejected.kept.outcomes.get_mut(&(tenant("acme"), id("m-1"))).unwrap().verdict = Err(rejection);
    assert!(violated(&rejected).contains(&"G6-billing"));

    let mut unbalanced = story();
    unbalanced.kept.journals.get_mut(&tenant("acme")).unwrap()[1].postings[1].amount_minor = -8;
    assert_eq!(violated(&unbalanced), ["G6-billing"]);

    let mut unwritten = story();
    unwritten.kept.journals.get_mut(&tenant("acme")).unwrap().pop();
    assert_eq!(violated(&unwritten), ["G6-billing"]);

    let mut planned = story();
    let plan = Some(tenantry_system::ids::Name::parse("free").unwrap());
    planned.kept.states.get_mut(&tenant("acme")).unwrap().plan = plan;
    assert_eq!(violated(&planned), ["G6-billing"]);

    let mut alarmed = story();
    alarmed.seen.reconciled.discrepancies.push("acme: credit in EUR is 13, and should be 12".into());
    assert_eq!(violated(&alarmed), ["G6-billing"]);

    let mut api = story();
    api.seen.tenants_by_api.get_mut(&tenant("acme")).unwrap()[2] = serde_json::json!({"EUR": 5});
    assert_eq!(violated(&api), ["G6-billing"]);
}

#[test]
fn g7_sees_an_attempt_that_is_not_on_record_or_twice_or_rings_not_and_an_honest_command_that_is_accused() {
    let mut forgotten = story();
    (forgotten.kept.attempts, forgotten.kept.alerts) = Default::default();
    assert_eq!(violated(&forgotten), ["G7-attempts-on-record"]);
    // Whoever was told is on record, also if who told them died of it.
    forgotten.seen.killed.insert("auth".into());
    assert_eq!(violated(&forgotten), ["G7-attempts-on-record"]);

    let mut twice = story();
    twice.kept.attempts.push((4, twice.kept.attempts[0].1.clone()));
    twice.kept.alerts.push(tenantry_system::audit::Alert { place: 4, ..twice.kept.alerts[0].clone() });
    twice.seen.killed.insert("auth".into());
    assert_eq!(violated(&twice), ["G7-attempts-on-record", "R4-monitor"]);

    let mut silent = story();
    silent.kept.alerts.clear();
    assert_eq!(violated(&silent), ["G7-attempts-on-record"]);

    let mut unforged = story();
    unforged.seen.forged.insert("f-1".into());
    assert!(violated(&unforged).contains(&"G7-attempts-on-record"));

    // Nothing of that place stands in the log, or it rang before.
    for place in [7, 3] {
        let mut of_nothing = story();
        of_nothing.kept.alerts.push(tenantry_system::audit::Alert { place, ..of_nothing.kept.alerts[0].clone() });
        assert!(violated(&of_nothing).contains(&"G7-alerts"), "{place}");
    }

    // A decision that says "you may not" rings, and one that does not is not silent.
    let mut decided = story();
    let entry = AuditEntry { outcome: "forbidden".into(), ..decided.kept.audit[0].clone() };
    decided.kept.events.push((7, Event::Decided(entry)));
    assert!(said(&decided, "G7-alerts").violations[0].contains("{7}"));
    decided.kept.alerts.push(tenantry_system::audit::Alert { place: 7, ..decided.kept.alerts[0].clone() });
    assert_eq!(said(&decided, "G7-alerts").violations, [""; 0]);

    // It rang, and nobody did anything of the sort; unless their role was away.
    let mut causeless = story();
    let ana = causeless.cast.operators[0].clone();
    let claimed = Claimed { user: Some(ana.to_string()), ..Claimed::tenant(tenant("acme")) };
    let attempt = Attempt { claimed, ..causeless.kept.attempts[0].1.clone() };
    causeless.kept.alerts.extend(Event::Refused(attempt.clone()).alert(4));
    causeless.kept.attempts.push((4, attempt));
    assert_eq!(said(&causeless, "G7-attempts-on-record").violations.len(), 1);
    causeless.seen.revocations.begin(&[(ana, tenant("acme"))].into());
    assert_eq!(said(&causeless, "G7-attempts-on-record").violations, [""; 0]);

    let mut accused = story();
    accused.kept.attempts[0].1.claimed.message_id = Some("m-1".into());
    accused.seen.killed.insert("auth".into());
    assert_eq!(violated(&accused), ["G7-attempts-on-record"]);
}

#[test]
fn g7_sees_a_step_that_is_missing_or_doubled_or_late_or_says_something_else() {
    const STEPS: [&str; 1] = ["G7-steps-on-record"];
    for index in 0..story().kept.steps.len() {
        let mut missing = story();
        let (_, step) = missing.kept.steps.remove(index);
        assert_eq!(violated(&missing), STEPS, "without {step:?}");
        let mut doubled = story();
        let (place, step) = doubled.kept.steps[index].clone();
        doubled.kept.steps.push((place + 100, step.clone()));
        assert_eq!(violated(&doubled), STEPS, "twice {step:?}");
    }
    let spoilt = |spoil: fn(&mut Story)| {
        let mut story = story();
        spoil(&mut story);
        violated(&story)
    };
    let untouched = |_: &mut Story| {};
    assert_eq!(spoilt(untouched), Vec::<&str>::new());
    let spoils: [fn(&mut Story); 8] = [
        // Delivered before it was published.
        |story| story.kept.steps[0].0 = 19,
        // A hole in the attempts, and an attempt that nobody saw.
        |story| story.kept.steps[1].1.number = 2,
        |story| story.kept.steps.insert(2, (12, Step { number: 2, ..story.kept.steps[1].1.clone() })),
        // Another's body, and another's name.
        |story| story.kept.steps[0].1.body_sha256 = Some([7; 32]),
        |story| story.kept.steps[0].1.user = Some(story.cast.operators[1].clone()),
        // A duplicate that nobody sent, a dead letter that is none, a pause that is not on record.
        |story| story.kept.steps.push((30, Step { kind: StepKind::Duplicate, ..story.kept.steps[0].1.clone() })),
        |story| story.kept.steps.push((30, Step { kind: StepKind::DeadLettered, ..story.kept.steps[1].1.clone() })),
        |story| story.kept.states.get_mut(&tenant("acme")).unwrap().pause_generation = PauseGeneration(1),
    ];
    for (index, spoil) in spoils.into_iter().enumerate() {
        assert_eq!(spoilt(spoil), STEPS, "spoil {index}");
    }
    // A call without an answer may have done its work, or not.
    let mut open = story();
    let calls = open.seen.witness.publish(&tenant("acme"), &id("m-1"));
    calls.begun += 1;
    assert_eq!(violated(&open), Vec::<&str>::new());
    let (_, again) = open.kept.steps[0].clone();
    open.kept.steps.push((30, Step { kind: StepKind::Duplicate, ..again }));
    assert_eq!(violated(&open), Vec::<&str>::new());
}

#[test]
fn g7_sees_a_log_that_does_not_verify() {
    let mut forked = story();
    forked.kept.log.violations.push("entry 2 is not what was logged".into());
    assert_eq!(violated(&forked), ["G7-tamper-evident"]);
}

#[test]
fn r4_sees_a_count_that_is_wrong_an_attempt_that_is_not_counted_and_a_command_in_two_traces() {
    let ledger = |story: &Story| story.kept.measured.lives["ledger"][0].clone();
    let doubled = story();
    ledger(&doubled).applied.inc(AppliedEnd::Applied);
    assert_eq!(violated(&doubled), ["R4-monitor"]);
    // A life more may have forgotten, but can't have made up.
    let mut reborn = story();
    reborn.kept.measured.lives.insert("ledger".into(), vec![Arc::default(), Arc::default()]);
    assert_eq!(violated(&reborn), Vec::<&str>::new());
    reborn.kept.measured.lives["ledger"][1].applied.add(AppliedEnd::Applied, 3);
    assert_eq!(violated(&reborn), ["R4-monitor"]);

    for host in ["ledger", "broker", "producer", "auth"] {
        let mut uncounted = story();
        uncounted.kept.measured.lives.insert(host.into(), vec![Arc::default()]);
        assert_eq!(violated(&uncounted), ["R4-monitor"], "{host}");
    }

    let mut two = story();
    two.kept.measured.traces.insert(("m-1".into(), "ledger.apply"), [1, 7].into());
    assert_eq!(violated(&two), ["R4-monitor"]);
    let mut none = story();
    none.kept.measured.traces.remove(&("m-2".into(), "consumer.decide"));
    assert_eq!(violated(&none), ["R4-monitor"]);
}

#[test]
fn g6_sees_an_announcement_that_was_not_kept_and_passes_over_one_that_something_came_before() {
    let announced = |version: u64, changes: serde_json::Value| {
        let mut story = story();
        let outcome = &story.kept.outcomes[&(tenant("acme"), id("m-2"))];
        let rules = outcome.rules_version;
        let changes =
            if changes.is_null() { serde_json::to_value(outcome.verdict.as_ref().unwrap()) } else { Ok(changes) };
        let told = serde_json::json!({"tenant_id": "acme", "would": "apply", "version": version,
            "rules_version": rules, "changes": changes.unwrap()});
        story.seen.announced.insert("m-2".into(), told);
        story.seen.dry_runs_planned = true;
        story
    };
    let kept = announced(1, serde_json::Value::Null);
    assert_eq!(violated(&kept), Vec::<&str>::new());
    assert!(findings(&kept).iter().any(|finding| finding.name == "G6-dry-run" && finding.compared == 2));
    assert_eq!(violated(&announced(1, serde_json::json!(["another"]))), ["G6-dry-run"]);
    let overtaken = announced(0, serde_json::json!(["another"]));
    assert_eq!(violated(&overtaken), Vec::<&str>::new());
    assert!(findings(&overtaken).iter().any(|finding| finding.name == "G6-dry-run" && finding.compared == 1));
}

#[test]
fn g10_sees_an_unanswered_operator_a_queue_that_waits_and_a_run_that_never_rests() {
    let mut unanswered = story();
    unanswered.seen.clients.get_mut("m-3").unwrap().refused = None;
    assert_eq!(violated(&unanswered), ["G10-liveness"]);
    let mut waiting = story();
    waiting.kept.waiting.insert((tenant("acme"), id("m-9")));
    assert_eq!(violated(&waiting), ["G10-liveness"]);
    let mut restless = story();
    restless.quiet = false;
    assert_eq!(violated(&restless), ["G10-liveness"]);
    let mut hammered = story();
    (2..=6).for_each(|attempt| hammered.seen.witness.deliver(&tenant("acme"), &id("m-1"), attempt));
    assert!(!violated(&hammered).contains(&"G10-liveness"));
    hammered.seen.witness.deliver(&tenant("acme"), &id("m-1"), 7);
    assert!(violated(&hammered).contains(&"G10-liveness"));
}

#[test]
fn what_was_seen_to_break_is_told_though_the_stores_can_not_be_read() {
    assert_eq!(seen_broken(&story().seen), Vec::new());
    let told = |spoil: &dyn Fn(&mut Seen)| {
        let mut spoilt = story();
        spoil(&mut spoilt.seen);
        let [Finding { name, compared: 1, violations, .. }] = &seen_broken(&spoilt.seen)[..] else { panic!("one") };
        assert_eq!(violations.len(), 1);
        *name
    };
    let what = || "what happened".to_owned();
    assert_eq!(told(&|seen| seen.isolation.violations.push(what())), "G1-isolation");
    assert_eq!(told(&|seen| seen.pauses.violations.push(what())), "G2-authority");
    assert_eq!(told(&|seen| seen.revocations.violations.push(what())), "G2-authority");
    assert_eq!(told(&|seen| seen.four_eyes.violations.push(what())), "G2-four-eyes");
    assert_eq!(told(&|seen| drop(seen.effects.insert("m-1".into(), vec![Duration::ZERO; 2]))), "G3-one-outcome");
    assert_eq!(told(&|seen| seen.witness.leases.violations.push(what())), "G4-nothing-lost");
    assert_eq!(told(&|seen| seen.reconciled.discrepancies.push(what())), "G6-billing");
}

/// What one invariant says of a story; it must be one that is checked.
fn said(story: &Story, name: &str) -> Finding {
    findings(story).into_iter().find(|finding| finding.name == name).expect(name)
}

/// The same, where bob has forged a command for acme and another: ana replayed the first, which was then decided, and gave the
/// second up.
fn lettered() -> Story {
    let mut lettered = story();
    let (acme, ana, bob) = (tenant("acme"), lettered.cast.operators[0].clone(), lettered.cast.operators[1].clone());
    lettered.seen.triages = 2;
    for (name, verb, told) in [("f-1", Verb::Replay, Told::Replayed), ("f-2", Verb::Discard, Told::Discarded)] {
        let command =
            Command { message_id: name.into(), operator: bob.clone(), ..lettered.seen.commands["m-1"].clone() };
        lettered.seen.forged.insert(name.into());
        lettered.seen.forged_bodies.insert(name.into(), command);
        let message_id = name.into();
        let triage = Triage { operator: ana.clone(), tenant: acme.clone(), message_id, verb, allowed: true };
        lettered.seen.triaged.push((triage, told, Duration::ZERO, Duration::ZERO));
    }
    lettered.seen.witness.triage(&acme, &id("f-1")).replayers.insert(ana.clone());
    let kept = &mut lettered.kept;
    kept.outcomes.insert((acme.clone(), id("f-1")), kept.outcomes[&(acme.clone(), id("m-1"))].clone());
    let entry = AuditEntry { message_id: id("f-1"), user_id: bob, replayed_by: Some(ana), ..kept.audit[0].clone() };
    kept.audit.push(entry);
    kept.discarded.insert((acme, id("f-2")));
    lettered
}

#[test]
fn g3_sees_a_letter_with_two_ends_or_none_and_one_that_was_decided_by_whoever_may_not() {
    let sound = said(&lettered(), "G3-dead-letters");
    assert_eq!((sound.compared, sound.violations), (12, Vec::new()));
    let first = || (tenant("acme"), id("f-1"));
    let second = || (tenant("acme"), id("f-2"));
    let spoils: [&dyn Fn(&mut Story); 11] = [
        // It lies there still, though it was decided or given up.
        &|story| assert!(story.kept.letters_of.insert(first())),
        &|story| assert!(story.kept.letters_of.insert(second())),
        // It was given up and decided.
        &|story| assert!(story.kept.discarded.insert(first())),
        // What an operator was told is not so.
        &|story| drop(story.kept.outcomes.remove(&first())),
        &|story| assert!(story.kept.discarded.remove(&second())),
        // Whoever may was refused, and whoever may not was not.
        &|story| story.seen.triaged[0].1 = Told::Refused,
        &|story| story.seen.triaged[0].0.allowed = false,
        // By nobody's authority, by someone's who did not replay it, by someone's who may not.
        &|story| story.kept.audit[2].replayed_by = None,
        &|story| story.seen.witness.triage(&tenant("acme"), &id("f-1")).replayers.clear(),
        &|story| {
            let bob = story.cast.operators[1].clone();
            story.kept.audit[2].replayed_by = Some(bob.clone());
            story.seen.witness.triage(&tenant("acme"), &id("f-1")).replayers.insert(bob);
        },
        // Its author is forgotten.
        &|story| story.kept.audit[2].user_id = story.cast.operators[0].clone(),
    ];
    for (index, spoil) in spoils.into_iter().enumerate() {
        let mut spoilt = lettered();
        spoil(&mut spoilt);
        assert!(!said(&spoilt, "G3-dead-letters").violations.is_empty(), "spoil {index}");
    }
    let mut honest = lettered();
    honest.kept.audit[0].replayed_by = Some(honest.cast.operators[0].clone());
    assert!(!said(&honest, "G3-dead-letters").violations.is_empty(), "what never was a letter was replayed");
}

/// The same, where ana follows acme from before its first entry on; between its entries stands one of globex.
fn followed() -> Story {
    let mut followed = story();
    let entries = followed.kept.audit.clone();
    let of_globex = AuditEntry { tenant_id: tenant("globex"), ..entries[0].clone() };
    let log = [entries[0].clone(), of_globex, entries[1].clone()].map(Event::Decided);
    followed.kept.events = (30..).zip(log).collect();
    let operator = followed.cast.operators[0].clone();
    let events = vec![(30, "acme".to_owned()), (32, "acme".to_owned())];
    followed.seen.followed = vec![Followed {
        operator,
        tenant: tenant("acme"),
        begin: Some(29),
        events,
        broken: Vec::new(),
        refused: false,
    }];
    followed
}

#[test]
fn g7_sees_a_stream_that_skips_repeats_shows_anothers_or_says_what_is_no_event() {
    let sound = said(&followed(), "G7-stream");
    assert_eq!((sound.compared, sound.violations), (3, Vec::new()));
    let spoils: [fn(&mut Followed); 6] = [
        |followed| drop(followed.events.remove(0)),
        |followed| followed.events.insert(1, (30, "acme".into())),
        |followed| followed.events.reverse(),
        |followed| followed.events.insert(1, (31, "globex".into())),
        |followed| followed.events.insert(1, (31, "acme".into())),
        |followed| followed.broken.push("data: half".into()),
    ];
    for (index, spoil) in spoils.into_iter().enumerate() {
        let mut spoilt = followed();
        spoil(&mut spoilt.seen.followed[0]);
        assert!(!said(&spoilt, "G7-stream").violations.is_empty(), "spoil {index}");
    }
}

#[test]
fn g7_knows_that_the_end_of_what_two_permitted_is_a_revision_of_authority_and_sees_one_that_is_not_on_record() {
    let told = |kind, number| Step::new(0, Role::Auth, kind, number);
    let story = |steps: &[Step]| {
        let mut story = story();
        story.kept.steps.extend((21..).zip(steps.iter().cloned()));
        said(&story, "G7-steps-on-record").violations
    };
    let changed = |number| told(StepKind::PoliciesChanged, number);
    let approved = [told(StepKind::Approved, 4), told(StepKind::ApprovalWithdrawn, 4)];
    assert_eq!(story(&[approved[0].clone(), approved[1].clone(), changed(3)]), Vec::<String>::new());
    assert!(!story(&[changed(3)]).is_empty(), "revision 2 is not on record");
    assert!(
        !story(&[approved[1].clone(), changed(3)]).is_empty(),
        "what nobody had approved changes nothing by its end"
    );
    let emergency = [told(StepKind::BreakGlassApproved, 4), told(StepKind::ApprovalWithdrawn, 4)];
    assert!(
        !story(&[emergency[0].clone(), emergency[1].clone(), changed(3)]).is_empty(),
        "another thing of that number"
    );
}
