//! `kill -9` of roles while the load goes on, and their return.

use std::str::FromStr;
use std::time::Duration;

use tenantry_system::rights::Role;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::cluster::{Cluster, ClusterError};

/// A role is gone this long unless the plan says otherwise.
const DOWN: Duration = Duration::from_secs(1);

/// Kills of one load at most.
pub const KILLS_MAX: usize = 20;

/// One kill: `broker@5+1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kill {
    /// Of which role.
    pub role: Role,
    /// When, since the load began.
    pub at: Duration,
    /// After which time it is started again.
    pub down: Duration,
}

impl FromStr for Kill {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let right = || format!("write ROLE@SECONDS or ROLE@SECONDS+DOWN, such as broker@5+0.5, not {text:?}");
        let (role, times) = text.split_once('@').ok_or_else(right)?;
        let (at, down) = times.split_once('+').map_or((times, None), |(at, down)| (at, Some(down)));
        let known = Role::ALL.map(Role::name).join(", ");
        let role = Role::parse(role).ok_or_else(|| format!("{role:?} is no role; the roles are {known}"))?;
        let at = seconds(at).ok_or_else(right)?;
        let down = down.map_or(Some(DOWN), seconds).ok_or_else(right)?;
        Ok(Self { role, at, down })
    }
}

/// Seconds, perhaps with a fraction; at most a day.
#[must_use]
pub fn seconds(text: &str) -> Option<Duration> {
    let seconds: f64 = text.strip_suffix('s').unwrap_or(text).parse().ok()?;
    (0.0..=86_400.0).contains(&seconds).then(|| Duration::from_secs_f64(seconds))
}

/// Refuses kills that can't happen as they are asked for.
///
/// # Errors
/// In words.
pub fn check(kills: &[Kill], duration: Duration) -> Result<(), String> {
    if kills.len() > KILLS_MAX {
        return Err(format!("{} kills are more than {KILLS_MAX}", kills.len()));
    }
    for (index, one) in kills.iter().enumerate() {
        if one.at + one.down > duration {
            let (role, s) = (one.role, duration.as_secs_f64());
            return Err(format!(
                "{role} would come back after the load's end, at {s} s: kill it earlier, or load for longer"
            ));
        }
        let overlaps =
            |other: &&Kill| other.role == one.role && other.at <= one.at + one.down && one.at <= other.at + other.down;
        if kills[index + 1..].iter().any(|other| overlaps(&other)) {
            return Err(format!("{} would be killed while it is gone", one.role));
        }
    }
    Ok(())
}

/// When a role was gone, since the load began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gone {
    /// Which.
    pub role: Role,
    /// From when on.
    pub from: Duration,
    /// When it was started again.
    pub to: Duration,
}

/// Does it, `begun` being the load's begin; ends early after `stop`.
///
/// # Errors
/// When a role can't be killed or started, or has ended by itself.
pub async fn run(
    cluster: &mut Cluster,
    kills: &[Kill],
    begun: Instant,
    stop: &CancellationToken,
) -> Result<Vec<Gone>, ClusterError> {
    // Returns first, should two things fall together.
    let turns = kills.iter().flat_map(|kill| [(kill.at, true, kill), (kill.at + kill.down, false, kill)]);
    let mut turns: Vec<_> = turns.collect();
    turns.sort_by_key(|(at, kills, _)| (*at, *kills));
    let mut gone: Vec<Gone> = Vec::new();
    for (at, kills, kill) in turns {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            () = sleep_until(begun + at) => {}
        }
        let role = kill.role;
        if kills {
            cluster.kill(role)?;
            gone.push(Gone { role, from: begun.elapsed(), to: Duration::MAX });
        } else {
            cluster.restart(role)?;
            let back = begun.elapsed();
            gone.iter_mut()
                .filter(|gone| gone.role == role && gone.to == Duration::MAX)
                .for_each(|gone| gone.to = back);
        }
    }
    Ok(gone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kill_is_read_or_refused_with_what_would_be_right() {
        let kill: Kill = "broker@5+0.5".parse().unwrap();
        assert_eq!((kill.role, kill.at.as_millis(), kill.down.as_millis()), (Role::Broker, 5_000, 500));
        assert_eq!("auth@2".parse::<Kill>().unwrap().down, DOWN);
        for wrong in ["broker", "broker@", "broker@x", "broker@5+", "broker@-1", "broker@NaN"] {
            let told = wrong.parse::<Kill>().unwrap_err();
            assert!(told.contains("such as broker@5+0.5"), "{wrong}: {told}");
        }
        assert!("brokr@5".parse::<Kill>().unwrap_err().contains("broker, "));
    }

    #[test]
    fn a_role_is_not_killed_while_it_is_gone_nor_left_so() {
        let kills = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<Kill>>();
        let ten = Duration::from_secs(10);
        assert_eq!(check(&kills(&["broker@2", "broker@4", "auth@2.5"]), ten), Ok(()));
        assert!(check(&kills(&["broker@2+3", "auth@1", "broker@4"]), ten).unwrap_err().contains("broker"));
        assert!(check(&kills(&["broker@9.5"]), ten).is_err());
    }
}
