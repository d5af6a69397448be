//! `kill -9` of any role at any moment, under load: nothing confirmed is lost, and nothing takes effect twice.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tenantry_sim::engine::dice::Dice;
use tenantry_system::capability::{Entropy, OsEntropy};
use tenantry_tests::{Cluster, ROLES, eventually};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::load::{Load, OPERATORS, Operator, now_ms, operators_toml};
use crate::verdict::{outcomes, verdict};

/// The seed of a run, to make its choices again. Real processes keep no time, so what they meet is another story.
const SEED: &str = "TENANTRY_CHAOS_SEED";

/// Kills of each role; one of them has one more.
const KILLS: u64 = 4;

/// When all roles die, at least this many confirmed commands wait for their effect.
const WAITING: u64 = 20;

/// A role that died comes up, and something is confirmed again, within this time.
const UP_MAX: Duration = Duration::from_secs(30);

/// One `kill -9` and the start after it.
pub(crate) struct Kill {
    pub(crate) role: &'static str,
    pub(crate) at_ms: i64,
    pub(crate) restarted_at_ms: i64,
}

#[test]
fn zero_lost_zero_doubled_over_random_kills() {
    let seed = match std::env::var(SEED) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{SEED} is {text:?}; a number of 64 bits is expected")),
        Err(_) => OsEntropy.u64(),
    };
    eprintln!("the choices of this run again: {SEED}={seed}");
    let dice = Dice::new(seed);
    let mut cluster = Cluster::new(Some(&operators_toml()));
    for role in ROLES {
        cluster.start(role);
    }
    Runtime::new().unwrap().block_on(async {
        let load = Arc::new(Load::default());
        let (stop, stopped) = watch::channel(false);
        let mut operators = JoinSet::new();
        for (index, (user, _)) in OPERATORS.into_iter().enumerate() {
            let operator = Operator::new(index, cluster.panel(user).await, dice, load.clone());
            operators.spawn(operator.work(stopped.clone()));
        }
        let kills = kill_at_random(&mut cluster, dice, &load).await;
        stop.send_replace(true);
        let confirmed: Vec<_> = operators.join_all().await.into_iter().flatten().collect();
        let panel = cluster.panel(OPERATORS[0].0).await;
        let outcomes = outcomes(&panel, &confirmed).await;
        verdict(&panel, &confirmed, &outcomes, &kills, &load.tally).await;
    });
    cluster.stop();
}

/// Kills the roles of one round after the other, lets some time pass, and starts them again.
async fn kill_at_random(cluster: &mut Cluster, dice: Dice, load: &Load) -> Vec<Kill> {
    let confirmed = || load.tally.confirmed.load(Relaxed);
    let more_than = async |before| {
        eventually("a command is confirmed", UP_MAX, async || (confirmed() > before).then_some(())).await;
    };
    let mut kills: Vec<Kill> = Vec::new();
    for (number, roles) in (0..).zip(rounds(dice)) {
        // Half of the time what was killed last must have come back; else it may die again while it recovers.
        if dice.chance("come back", "", number, 0.5) {
            more_than(confirmed()).await;
        }
        sleep(Duration::from_millis(dice.range("up", "", number, 100..=800))).await;
        let earlier = kills.len();
        for role in &roles {
            // Most moments are idle ones. In this one much is on its way, between its sending and its effect.
            timeout(UP_MAX, load.burst.notified()).await.expect("operators send bursts all the time");
            sleep(Duration::from_millis(dice.range("way", role, number, 0..=5))).await;
            cluster.kill(role);
            kills.push(Kill { role, at_ms: now_ms(), restarted_at_ms: i64::MAX });
            if roles.len() == ROLES.len() && kills.len() == earlier + 1 {
                more_than(confirmed() + WAITING).await;
            }
        }
        sleep(Duration::from_millis(dice.range("down", "", number, 0..=600))).await;
        for kill in &mut kills[earlier..] {
            kill.restarted_at_ms = now_ms();
            cluster.start(kill.role);
        }
    }
    kills
}

/// Who dies together: one role, sometimes two, and once, at some time, the consumer and then all the others.
fn rounds(dice: Dice) -> Vec<Vec<&'static str>> {
    let draw = |stream, number, highest: usize| {
        usize::try_from(dice.range(stream, "", number, 0..=highest as u64)).expect("no more than the highest")
    };
    let mut deck: Vec<_> = (1..KILLS).flat_map(|_| ROLES).collect();
    deck.push(ROLES[draw("one more", 0, ROLES.len() - 1)]);
    let mut rounds: Vec<Vec<_>> = Vec::new();
    for number in 0.. {
        if deck.is_empty() {
            break;
        }
        let role = deck.swap_remove(draw("victim", number, deck.len() - 1));
        match rounds.last_mut() {
            Some(last) if *last != [role] && last.len() == 1 && dice.chance("together", "", number, 0.3) => {
                last.push(role);
            }
            _ => rounds.push(vec![role]),
        }
    }
    let mut all = ROLES.to_vec();
    all.sort_by_key(|role| *role != "consumer");
    rounds.insert(draw("all", 0, rounds.len()), all);
    rounds
}
