//! Operators who send commands whether or not the system keeps up, each until it has a final answer, and write down all
//! that they were told.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use serde_json::{Value, json};
use tenantry_sim::engine::dice::Dice;
use tenantry_sim::tenantry::cast::Part;
use tenantry_sim::tenantry::http::Answer;
use tenantry_sim::tenantry::model::Ask;
use tenantry_system::capability::{Clock, SystemClock};
use tenantry_tests::Panel;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Each is a lane of its own: commands of one tenant wait for each other.
pub(crate) const TENANTS: [&str; 8] =
    ["acme", "acme-2", "globex", "hooli", "initech", "stark-industries", "umbrella", "wayne"];

/// What an operator is to each tenant, by its place in [`TENANTS`].
type Parts = fn(usize) -> Option<Part>;

/// What operators are to tenants: an admin, one without entitlements, and one who has business with half of them.
pub(crate) const OPERATORS: [(&str, Parts); 3] = [
    ("ana", |_| Some(Part::Admin)),
    ("bo", |_| Some(Part::Billing)),
    ("cy", |tenant| tenant.is_multiple_of(2).then_some(Part::Admin)),
];

/// Between two commands of one operator, on average. All of them together stay below what a slow disk commits.
const GAP_MS_MEAN: f64 = 25.0;

/// Sometimes an operator sends many commands at once: there are moments with much on its way.
const BURST: u64 = 16;

/// After this many an operator sends at a quarter of the pace: on a machine on which the killing takes long, what waits at
/// its end must not take longer to drain.
const BRISK_COMMANDS: u64 = 1_500;

/// An operator sends no more than this; the load is bounded even if nobody ends it.
const COMMANDS_MAX: u64 = 10_000;

/// Some 90 s of a system that never answers.
const ATTEMPTS_MAX: u64 = 900;

/// The directory's file that says the same as [`OPERATORS`].
pub(crate) fn operators_toml() -> String {
    let mut text = "revision = 1\n".to_owned();
    for (user, part) in OPERATORS {
        for (index, tenant) in TENANTS.into_iter().enumerate() {
            let role = match part(index) {
                Some(Part::Admin) => "admin",
                Some(Part::Billing) => "billing",
                Some(Part::Viewer) => "viewer",
                None => continue,
            };
            text += &format!("[[binding]]\nuser = \"{user}\"\ntenant = \"{tenant}\"\nrole = \"{role}\"\n");
        }
    }
    text
}

/// Milliseconds since the Unix epoch, by the clock that the ledger has too.
pub(crate) fn now_ms() -> i64 {
    SystemClock.now().as_millisecond()
}

/// One confirmed command, and all that its operator was told about it.
pub(crate) struct Confirmed {
    pub(crate) tenant: &'static str,
    pub(crate) id: String,
    pub(crate) ask: Ask,
    pub(crate) sent_at_ms: i64,
    pub(crate) confirmed_at_ms: i64,
    /// An outcome that was seen while roles died: it must never be another.
    pub(crate) seen: Option<Value>,
}

/// How often which answer was given.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// 202, or 200 after an answer was lost.
    pub(crate) confirmed: AtomicU64,
    /// 503: nothing happened.
    pub(crate) failed: AtomicU64,
    /// 504: it may have happened.
    pub(crate) unknown: AtomicU64,
    /// No connection, or one that broke.
    pub(crate) cut: AtomicU64,
    /// Confirmed commands whose first confirmation was lost.
    pub(crate) found_again: AtomicU64,
    /// 200 for the same bytes after their confirmation.
    pub(crate) duplicates: AtomicU64,
    /// 409.
    pub(crate) conflicts: AtomicU64,
    /// 403.
    pub(crate) forbidden: AtomicU64,
    /// Outcomes read while roles died.
    pub(crate) seen: AtomicU64,
}

/// What all operators share.
#[derive(Default)]
pub(crate) struct Load {
    pub(crate) tally: Tally,
    /// Told when a burst begins.
    pub(crate) burst: Notify,
}

/// One operator.
pub(crate) struct Operator {
    index: usize,
    panel: Panel,
    dice: Dice,
    load: Arc<Load>,
}

impl Operator {
    pub(crate) fn new(index: usize, panel: Panel, dice: Dice, load: Arc<Load>) -> Self {
        Self { index, panel, dice, load }
    }

    /// Sends commands until `stop`, then waits for the last answers; returns what was confirmed.
    pub(crate) async fn work(self, mut stop: watch::Receiver<bool>) -> Vec<Confirmed> {
        let this = Arc::new(self);
        let mut under_way = JoinSet::new();
        let mut burst_left = 0;
        for number in 0..COMMANDS_MAX {
            under_way.spawn(this.clone().command(number));
            if burst_left > 0 {
                burst_left -= 1;
                continue;
            }
            let mean_ms = if number < BRISK_COMMANDS { GAP_MS_MEAN } else { GAP_MS_MEAN * 4.0 };
            let gap_ms = this.dice.exponential_ms("gap", OPERATORS[this.index].0, number, mean_ms);
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break,
                () = sleep(Duration::from_secs_f64(gap_ms / 1000.0)) => {}
            }
            if this.dice.chance("burst", OPERATORS[this.index].0, number, 0.05) {
                burst_left = BURST;
                this.load.burst.notify_waiters();
            }
        }
        under_way.join_all().await.into_iter().flatten().collect()
    }

    /// One command's whole life, as far as its operator sees it.
    async fn command(self: Arc<Self>, number: u64) -> Option<Confirmed> {
        let (user, part) = OPERATORS[self.index];
        let place = usize::try_from(self.dice.range("tenant", user, number, 0..=TENANTS.len() as u64 - 1)).unwrap();
        let (tenant, id, ask) = (TENANTS[place], format!("{user}-{number}"), self.ask(number));
        let body = body(user, tenant, &id, &ask);
        let sent_at_ms = now_ms();
        let first = self.send(&id, &body, false).await;
        let confirmed_at_ms = now_ms();
        if !ask.allowed(part(place)) {
            assert_eq!(first.status, 403, "{id}, which {user} has no right to: {}", first.body);
            self.load.tally.forbidden.fetch_add(1, Relaxed);
            return None;
        }
        assert!(matches!(first.status.as_u16(), 200 | 202), "{id}: {} {}", first.status, first.body);
        self.load.tally.confirmed.fetch_add(1, Relaxed);
        if self.dice.chance("resend", user, number, 0.15) {
            let again = self.send(&id, &body, true).await;
            let told = (again.status.as_u16(), &again.body["duplicate"], &again.body["sequence"]);
            assert_eq!(told, (200, &json!(true), &first.body["sequence"]), "{id} sent again");
            self.load.tally.duplicates.fetch_add(1, Relaxed);
        }
        if self.dice.chance("reuse", user, number, 0.1) {
            let other = self.send(&id, &self::body(user, tenant, &id, &ask.another()), true).await;
            assert_eq!(other.status, 409, "another body under {id}: {}", other.body);
            self.load.tally.conflicts.fetch_add(1, Relaxed);
        }
        let look = self.dice.chance("look", user, number, 0.3);
        let seen = if look { self.look(tenant, &id).await } else { None };
        Some(Confirmed { tenant, id, ask, sent_at_ms, confirmed_at_ms, seen })
    }

    fn ask(&self, number: u64) -> Ask {
        let user = OPERATORS[self.index].0;
        let draw = |stream: &str, highest: u64| self.dice.range(stream, user, number, 0..=highest);
        let entitlement = ["sso", "audit-export", "beta"][usize::try_from(draw("entitlement", 2)).unwrap()].to_owned();
        let limit_type = ["seats", "api_requests"][usize::try_from(draw("limit", 1)).unwrap()].to_owned();
        // No two commands of an operator give the same amount, no sum of two is a third's: what is doubled or lost shows.
        match draw("action", 99) {
            0..50 => Ask::Credit { amount_minor: 1_000_001 + number, currency: "EUR".into() },
            50..70 => Ask::UpdateLimit { limit_type, new_limit: number + 1, expected_version: None },
            70..85 => Ask::Grant { entitlement },
            _ => Ask::Revoke { entitlement },
        }
    }

    /// Sends `body`, always the same bytes, until the answer is final.
    async fn send(&self, id: &str, body: &Value, confirmed_before: bool) -> Answer {
        let mut may_have_happened = confirmed_before;
        for attempt in 0..ATTEMPTS_MAX {
            match self.panel.post(body).await {
                Ok(answer) if answer.status == 503 => drop(self.load.tally.failed.fetch_add(1, Relaxed)),
                Ok(answer) if answer.status == 504 => {
                    self.load.tally.unknown.fetch_add(1, Relaxed);
                    may_have_happened = true;
                }
                Ok(answer) => {
                    if answer.status == 200 {
                        assert!(may_have_happened, "{id} was accepted by a request of which we were told otherwise");
                        self.load.tally.found_again.fetch_add(u64::from(!confirmed_before), Relaxed);
                    }
                    assert!(answer.status != 202 || !confirmed_before, "{id} was accepted twice");
                    return answer;
                }
                Err(_) => {
                    self.load.tally.cut.fetch_add(1, Relaxed);
                    may_have_happened = true;
                }
            }
            sleep(Duration::from_millis(self.dice.range("pause", id, attempt, 20..=180))).await;
        }
        panic!("{id} had no final answer in {ATTEMPTS_MAX} attempts");
    }

    /// Asks once what became of a confirmed command.
    async fn look(&self, tenant: &str, id: &str) -> Option<Value> {
        let answer = self.panel.status(tenant, id, 500).await.ok()?;
        match answer.status.as_u16() {
            503 => None,
            200 if answer.body["status"] == "pending" => None,
            200 => {
                self.load.tally.seen.fetch_add(1, Relaxed);
                Some(answer.body)
            }
            _ => panic!("{id}, which is confirmed: {} {}", answer.status, answer.body),
        }
    }
}

fn body(user: &str, tenant: &str, id: &str, ask: &Ask) -> Value {
    let (action, payload) = ask.wire();
    json!({
        "tenant_id": tenant, "user_id": user, "action": action, "payload": payload,
        "message_id": id, "timestamp": "2024-10-27T10:00:00Z",
    })
}
