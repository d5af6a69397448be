//! How long a kill was felt.
//!
//! Usual is what commands took before the first kill, after the warm-up. Slow is what took more than twice the 90th percentile
//! of that, or was given up. Time after a kill is looked at in slots; in a slow one more than one command in ten is slow, which
//! among usual ones is rare. The kill was felt until the end of the last slow slot, before the load ended or the next kill came.

use std::time::Duration;

use tenantry_reports::load::Recovery;
use tenantry_reports::wall::{WallLatency, WallMs};

/// A slot. Short enough to see a quick recovery, long enough to have some commands.
const SLOT: Duration = Duration::from_millis(250);

/// What is usual is at least this much: a millisecond more or less is the timer's.
const USUAL_MIN: Duration = Duration::from_millis(5);

/// One command: when it was meant to be sent, and how long after that it ended; `None` if it was given up.
pub type Point = (Duration, Option<Duration>);

/// What was felt of a kill at `from`, of the commands in `points`, up to `until`. Usual are those from `warm_up` to
/// `first_kill`.
#[must_use]
pub fn judge(points: &[Point], warm_up: Duration, first_kill: Duration, from: Duration, until: Duration) -> Recovery {
    let mut usual = WallLatency::new();
    // Those that the first kill could have touched are not usual.
    let before = points.iter().filter(|(at, took)| *at >= warm_up && took.is_some_and(|took| *at + took < first_kill));
    before.for_each(|(_, took)| usual.record(took.unwrap_or_default()));
    let Some(p90) = usual.at(0.9) else { return Recovery::Unknown };
    let bound = (Duration::from_micros(p90.0) * 2).max(USUAL_MIN);
    let slots = until.saturating_sub(from).as_millis().div_ceil(SLOT.as_millis()) as usize;
    let mut counts = vec![(0_u64, 0_u64); slots];
    for (at, took) in points.iter().filter(|(at, _)| *at >= from && *at < until) {
        let (all, slow) = &mut counts[((*at - from).as_millis() / SLOT.as_millis()) as usize];
        *all += 1;
        *slow += u64::from(took.is_none_or(|took| took > bound));
    }
    let is_slow = |(all, slow): &(u64, u64)| *slow * 10 > *all;
    match counts.iter().rposition(is_slow) {
        None => Recovery::NotFelt,
        Some(last) if last + 1 == slots => Recovery::Never,
        Some(last) => Recovery::After(WallMs::of(SLOT * (last as u32 + 1))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// A command each 10 ms that takes 3 ms; those meant for the time of the outage wait for its end.
    fn points(outage: std::ops::Range<u64>) -> Vec<Point> {
        let took = |at: u64| if outage.contains(&at) { outage.end - at + 3 } else { 3 };
        (0..1_000).map(|index| (ms(index * 10), Some(ms(took(index * 10))))).collect()
    }

    fn judged(points: &[Point], until: u64) -> Recovery {
        judge(points, ms(1_000), ms(4_000), ms(4_000), ms(until))
    }

    #[test]
    fn it_was_felt_until_commands_are_as_fast_as_before() {
        assert_eq!(judged(&points(4_000..5_400), 10_000), Recovery::After(WallMs(1_500)));
        assert_eq!(judged(&points(0..0), 10_000), Recovery::NotFelt);
        assert_eq!(judged(&points(4_000..10_000), 10_000), Recovery::Never);
        // Up to the next kill only.
        assert_eq!(judged(&points(4_000..5_400), 5_000), Recovery::Never);
    }

    #[test]
    fn what_was_given_up_was_felt_and_one_slow_command_is_none() {
        let mut given_up = points(0..0);
        (400..440).for_each(|index| given_up[index].1 = None);
        assert_eq!(judged(&given_up, 10_000), Recovery::After(WallMs(500)));
        let mut one = points(0..0);
        one[700].1 = Some(ms(80));
        assert_eq!(judged(&one, 10_000), Recovery::NotFelt);
    }

    #[test]
    fn without_anything_before_it_nobody_can_tell() {
        assert_eq!(judge(&points(0..0), ms(3_900), ms(4_000), ms(4_000), ms(9_000)), Recovery::Unknown);
    }
}
