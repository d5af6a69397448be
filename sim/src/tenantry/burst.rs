//! A burst: a script that has run away sends one tenant's commands one after another, and heeds no answer before the next.
//!
//! What it sends is drawn from the seed by the fault's own times, so that another fault more or less leaves it as it was, and
//! stands in no plan by itself: the fault is the entry, and with it all its commands go. They are commands as any other:
//! whoever is told "too many" comes again later, and all that is accepted takes effect once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;

use super::cast::Cast;
use super::model::Ask;
use super::operators::Operators;
use super::workload::Command;
use super::world::now;
use crate::engine::dice::Dice;
use crate::engine::fault::{Fault, FaultKind};

/// What the ids of all its commands begin with.
const PREFIX: &str = "burst-";

/// Whether the fault has begun is looked for this often: a fault lasts a step at least.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// One burst.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Burst {
    fault: Fault,
    /// When it has begun, if it ever does.
    until: Duration,
    commands: Vec<Command>,
}

/// Whether a command is of a burst.
#[must_use]
pub fn is_of(message_id: &str) -> bool {
    message_id.starts_with(PREFIX)
}

/// The bursts among `faults`, which are healed by `heal_by`: each by one operator, on the first tenant, which is the noisy one
/// where there is one.
#[must_use]
pub fn draw(dice: &Dice, cast: &Cast, faults: &[Fault], heal_by: Duration) -> Vec<Burst> {
    let mut alike: BTreeMap<String, u64> = BTreeMap::new();
    let mut bursts = Vec::new();
    for fault in faults {
        let FaultKind::Burst { commands, .. } = fault.kind else { continue };
        let waits = fault.when.as_ref().map_or(String::new(), |when| format!("-{}-{}", when.nth, when.after_ms));
        let name = format!("{PREFIX}{}-{}{waits}", fault.at.as_millis(), fault.for_.as_millis());
        let number = alike.entry(name.clone()).or_default();
        *number += 1;
        let name = format!("{name}-{number}");
        let ask = |index: u64| Ask::UpdateLimit {
            limit_type: "api_requests".into(),
            new_limit: dice.range("burst.limit", &name, index, 1..=999_999),
            expected_version: None,
        };
        let tenant = &cast.tenants[0];
        let may: Vec<_> = cast.operators.iter().filter(|user| ask(0).allowed(cast.part(user, tenant))).collect();
        let Some(last) = (may.len() as u64).checked_sub(1) else { continue };
        let operator = may[dice.range("burst.operator", &name, 0, 0..=last) as usize];
        let command = |index| {
            let (message_id, ask) = (format!("{name}-{index}"), ask(index));
            Command { message_id, operator: operator.clone(), tenant: tenant.clone(), ask, allowed: true }
        };
        let until = if fault.when.is_some() { heal_by } else { fault.ends() };
        bursts.push(Burst { fault: fault.clone(), until, commands: (0..commands).map(command).collect() });
    }
    bursts
}

impl Operators {
    /// Sends a burst once its fault has begun.
    pub(super) async fn burst(self: Arc<Self>, burst: Burst) {
        sleep(burst.fault.at.saturating_sub(now())).await;
        while !self.weather.is_open(&burst.fault) {
            if now() > burst.until {
                return;
            }
            sleep(LOOK_EVERY).await;
        }
        let (begun, count) = (now(), burst.commands.len() as u32);
        let mut sending = JoinSet::new();
        for (index, command) in (0..).zip(burst.commands) {
            let (operators, at) = (self.clone(), begun + burst.fault.for_ * index / count);
            sending.spawn(async move {
                sleep(at.saturating_sub(now())).await;
                operators.evidence.seen().commands.insert(command.message_id.clone(), command.clone());
                operators.send(&command, at).await;
            });
        }
        while let Some(ended) = sending.join_next().await {
            ended.expect("no command panics");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(at: u64, commands: u64) -> Fault {
        let kind = FaultKind::Burst { host: "producer".into(), commands };
        Fault { at: Duration::from_millis(at), for_: Duration::from_millis(50), kind, when: None }
    }

    #[test]
    fn another_burst_more_or_less_leaves_each_as_it_was_and_no_two_share_an_id() {
        for seed in 0..20 {
            let dice = Dice::new(seed);
            let cast = Cast::draw(&dice, 4, 3);
            let draw = |faults: &[Fault]| draw(&dice, &cast, faults, Duration::from_secs(9));
            let all = draw(&[fault(100, 9), fault(300, 5), fault(100, 9)]);
            assert_eq!(draw(&[fault(300, 5)])[..], all[1..2], "seed {seed}");
            let ids: std::collections::BTreeSet<_> =
                all.iter().flat_map(|burst| &burst.commands).map(|command| &command.message_id).collect();
            assert_eq!(ids.len(), 23);
            let allowed = |command: &Command| command.ask.allowed(cast.part(&command.operator, &command.tenant));
            assert!(all.iter().flat_map(|burst| &burst.commands).all(allowed));
        }
    }
}
