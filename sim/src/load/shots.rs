//! What is sent when: the scenario's commands, each at its arrival.

use std::sync::Arc;
use std::time::Duration;

use crate::engine::dice::Dice;
use crate::engine::spanned::Spanned;
use crate::tenantry::cast::Cast;
use crate::tenantry::section::Workload;
use crate::tenantry::workload::{self, Act};

/// One command with its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shot {
    /// When it is meant to be sent, since the load began.
    pub intended: Duration,
    /// Unique over all loads.
    pub message_id: String,
    /// Who sends it.
    pub operator: Arc<str>,
    /// To which tenant.
    pub tenant: Arc<str>,
    /// The action.
    pub action: &'static str,
    /// The message's bytes.
    pub body: String,
    /// Whether its operator may send it.
    pub allowed: bool,
    /// Whether it is followed to its outcome, if it is confirmed.
    pub followed: bool,
}

/// The commands of `workload`, as many as there are `times`, by those who are in `cast`. Ids begin with `load`, the name of this
/// load among all. A share of `followed` is followed to its outcome.
///
/// Of a workload only the commands are sent, each once: no attack, no pause, no rotation of keys. Those would need what a
/// client of the API does not have, or would be measured as slowness.
#[must_use]
pub fn draw(dice: &Dice, workload: &Workload, cast: &Cast, times: &[Duration], load: &str, followed: f64) -> Vec<Shot> {
    let none = || Spanned::new(0..0, 0_u64);
    let no = || Spanned::new(0..0, 0.0_f64);
    let commands = Workload {
        commands: Spanned::new(0..0, times.len() as u64),
        tenants: Spanned::new(0..0, cast.tenants.len() as u64 - 1),
        resend: no(),
        reuse_id: no(),
        approvals: no(),
        dry_runs: no(),
        triage: no(),
        forged: none(),
        pauses: none(),
        revocations: none(),
        key_rotations: none(),
        identity_rotations: none(),
        ..workload.clone()
    };
    let drawn = workload::draw(dice, &commands, cast, 0).into_iter().filter_map(|(_, act)| match act {
        Act::Send(command) => Some(command),
        _ => None,
    });
    let shot = |((index, intended), mut command): ((usize, &Duration), workload::Command)| {
        command.message_id = format!("{load}-{index}");
        Shot {
            intended: *intended,
            operator: command.operator.as_str().into(),
            tenant: command.tenant.as_str().into(),
            action: command.ask.wire().0,
            body: command.body(),
            allowed: command.allowed,
            followed: dice.chance("load.follow", "", index as u64, followed),
            message_id: command.message_id,
        }
    };
    times.iter().enumerate().zip(drawn).map(shot).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_arrival_has_one_command_of_the_scenario_under_an_id_of_this_load() {
        let workload: Workload = toml::from_str("commands = 3\ncross_tenant = 0.2\nresend = 1.0\nforged = 9").unwrap();
        let dice = Dice::new(4);
        let cast = Cast::draw(&dice, 4, 3);
        let times: Vec<_> = (0..500).map(Duration::from_millis).collect();
        let shots = draw(&dice, &workload, &cast, &times, "load-a", 0.25);
        assert_eq!(shots.len(), 500);
        assert!(shots.iter().zip(&times).all(|(shot, at)| shot.intended == *at));
        assert!(shots.iter().all(|shot| shot.body.contains(&format!("{:?}", shot.message_id))));
        let share = |which: fn(&Shot) -> bool| shots.iter().filter(|shot| which(shot)).count();
        assert!((60..140).contains(&share(|shot| !shot.allowed)), "{}", share(|shot| !shot.allowed));
        assert!((85..165).contains(&share(|shot| shot.followed)), "{}", share(|shot| shot.followed));
        let other = draw(&dice, &workload, &cast, &times[..10], "load-b", 0.25);
        assert_ne!(other[0].message_id, shots[0].message_id);
        assert_eq!(other[0].operator, shots[0].operator);
    }
}
