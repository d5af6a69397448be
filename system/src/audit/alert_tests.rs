//! Rules over the log as it is kept: what they find stands right behind what they found it in, once, whatever comes.

use super::*;
use crate::alerting::{Engine, Rules};
use crate::capability::World;
use crate::testing::{Bench, message_id, tenant};

const RULES: &str = r#"
[[rule]]
name = "refused-often"
about = "one operator is refused again and again"
severity = "warning"
kind = "count"
events = ["malformed"]
by = "user"
threshold = 3
window_s = 60

[[rule]]
name = "waits"
about = "commands wait for their end"
severity = "critical"
kind = "age"
events = ["published"]
until = ["decided"]
by = "tenant"
age_s = 1
"#;

async fn opened(world: &World) -> EmbeddedAudit {
    let engine = Engine::new(&Rules::parse(RULES).unwrap());
    EmbeddedAudit::open_watched(world, LogSettings::default(), Box::new(engine)).await.unwrap()
}

fn malformed(seconds: i64) -> Event {
    let claimed = Claimed { user: Some("ana".into()), ..Claimed::tenant("acme") };
    let (service, entry, code) = (Role::Producer, "POST /v1/commands".into(), Code::Malformed);
    Event::Refused(Attempt { at_unix_ms: seconds * 1000, service, entry, code, claimed, detail: String::new() })
}

/// Opens the log anew, once nobody holds the old one.
async fn restarted(bench: &Bench, audit: EmbeddedAudit) -> EmbeddedAudit {
    drop(audit);
    loop {
        let engine = Box::new(Engine::new(&Rules::parse(RULES).unwrap()));
        match EmbeddedAudit::open_watched(&bench.world, LogSettings::default(), engine).await {
            Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => tokio::task::yield_now().await,
            opened => return opened.unwrap(),
        }
    }
}

#[tokio::test]
async fn what_a_rule_finds_stands_right_behind_it_once_also_after_a_restart() {
    let bench = Bench::new().await;
    let now = bench.world.clock.unix_seconds();
    let audit = opened(&bench.world).await;
    audit.append("producer/1", 1, vec![malformed(now), malformed(now + 1)]).await.unwrap();
    let audit = restarted(&bench, audit).await;
    audit.append("producer/1", 3, vec![malformed(now + 2), malformed(now + 3)]).await.unwrap();
    let raised = |event: &Event| matches!(event, Event::Raised(_));
    let events = audit.every_event().unwrap();
    let places: Vec<_> = events.iter().filter(|(_, event)| raised(event)).map(|(place, _)| *place).collect();
    assert_eq!(places, [4], "behind the third, which completed it: {events:?}");
    let alerts = audit.search_alerts(&AlertQuery { max: 9, ..AlertQuery::default() }).await.unwrap().alerts;
    let [alert] = &alerts[..] else { panic!("{alerts:?}") };
    assert_eq!((alert.place, alert.code.as_str(), alert.severity), (4, "refused-often", Severity::Warning));
    assert_eq!(
        alert.line,
        "refused-often of \"ana\": one operator is refused again and again: 3 within 60 s; see [1, 2, 3]"
    );
    let audit = restarted(&bench, audit).await;
    audit.append("producer/1", 5, vec![malformed(now + 4), malformed(now + 61), malformed(now + 62)]).await.unwrap();
    assert_eq!(audit.counts().unwrap().raised, 2, "quiet for its window, then again: {:?}", audit.every_event());
    // What was relayed twice counts once.
    audit.append("producer/1", 5, vec![malformed(now + 4), malformed(now + 61), malformed(now + 62)]).await.unwrap();
    assert_eq!(audit.counts().unwrap(), Counts { refused: 7, raised: 2, alerts: 2, ..Counts::default() });
}

#[tokio::test]
async fn what_waits_too_long_is_raised_by_the_clock_and_found_by_its_tenant() {
    let bench = Bench::new().await;
    let at = bench.world.clock.now().as_millisecond() - 5000;
    let published = |name: &str, number| {
        let step = Step::new(at, Role::Broker, StepKind::Published, number);
        Event::Step(Step { tenant: Some(tenant(name)), message_id: Some(message_id("m-1")), ..step })
    };
    let audit = opened(&bench.world).await;
    audit.append("broker", 1, vec![published("acme", 1), published("globex", 2)]).await.unwrap();
    let watched = audit.watch(std::time::Duration::from_millis(1));
    let rung = async {
        while audit.counts().unwrap().raised < 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = watched => unreachable!("it looks for ever"),
        () = rung => {}
    }
    let of = async |name: &str, severity| {
        let query = AlertQuery { tenant: Some(name.into()), severity, max: 9, after: 0 };
        let found = audit.search_alerts(&query).await.unwrap();
        found.alerts.into_iter().map(|alert| (alert.code, alert.tenant.unwrap())).collect::<Vec<_>>()
    };
    assert_eq!(of("acme", None).await, [("waits".to_owned(), "acme".to_owned())]);
    assert_eq!(of("globex", Some(Severity::Critical)).await.len(), 1);
    assert_eq!(of("globex", Some(Severity::Warning)).await, []);
    assert_eq!(of("hooli", None).await, []);
}
