//! The search for the highest rate that meets all thresholds: which rate to try next, as a function of those that were tried.
//!
//! First the lowest, then the highest, then the geometric mean of the highest that met and the lowest that missed, until the two
//! are close. What can't be told counts as missed: no rate is recommended on too few samples.

use tenantry_reports::load::{Search, SearchStep};

/// Rates closer than this are as good as one: a step of a few seconds does not tell them apart.
const CLOSE: f64 = 1.05;

/// Rates that are tried, at most.
pub const STEPS_MAX: u32 = 16;

/// The rate to try after `steps`, of those from `low` to `high`; `None` when there is no more to learn, or after `max` steps.
#[must_use]
pub fn next(steps: &[SearchStep], low: f64, high: f64, max: u32) -> Option<f64> {
    if steps.len() >= max as usize {
        return None;
    }
    let found = summed(steps.to_vec());
    match (found.highest_met, found.lowest_missed) {
        (None, None) => Some(low),
        // Nothing lower was asked for, or nothing higher.
        (None, Some(_)) => None,
        (Some(met), None) => (met < high).then_some(high),
        (Some(met), Some(missed)) => (missed / met > CLOSE).then(|| (met * missed).sqrt().round()),
    }
}

/// What `steps` say.
#[must_use]
pub fn summed(steps: Vec<SearchStep>) -> Search {
    let rates = |met: bool| steps.iter().filter(move |step| (step.met == Some(true)) == met).map(|step| step.rate);
    let lowest_missed = rates(false).min_by(f64::total_cmp);
    // One that met above one that did not had luck.
    let honest = |rate: &f64| lowest_missed.is_none_or(|missed| *rate < missed);
    let highest_met = rates(true).filter(honest).max_by(f64::total_cmp);
    Search { highest_met, lowest_missed, steps }
}

#[cfg(test)]
mod tests {
    use tenantry_reports::wall::WallPercentiles;

    use super::*;

    fn searched(bears: f64, low: f64, high: f64, max: u32) -> Search {
        let mut steps = Vec::new();
        while let Some(rate) = next(&steps, low, high, max) {
            let met = Some(rate <= bears);
            steps.push(SearchStep { rate, met, total_wall_us: WallPercentiles::default(), bottleneck: None });
        }
        summed(steps)
    }

    #[test]
    fn the_highest_rate_is_found_to_a_twentieth_in_few_steps() {
        for bears in [101.0, 150.0, 377.0, 999.0, 1_500.0, 3_999.0] {
            let found = searched(bears, 100.0, 4_000.0, STEPS_MAX);
            let (met, missed) = (found.highest_met.unwrap(), found.lowest_missed.unwrap());
            assert!(met <= bears && bears < missed && missed / met < CLOSE + 0.02, "{bears}: {met} to {missed}");
            assert!(found.steps.len() <= 9, "{} steps", found.steps.len());
        }
    }

    #[test]
    fn it_ends_where_nothing_else_was_asked_for() {
        assert_eq!(searched(50.0, 100.0, 4_000.0, STEPS_MAX).steps.len(), 1);
        let all = searched(5_000.0, 100.0, 4_000.0, STEPS_MAX);
        assert_eq!((all.steps.len(), all.highest_met, all.lowest_missed), (2, Some(4_000.0), None));
        assert_eq!(searched(777.0, 100.0, 4_000.0, 4).steps.len(), 4);
    }

    #[test]
    fn what_can_not_be_told_is_not_met() {
        let step = |rate, met| SearchStep { rate, met, total_wall_us: WallPercentiles::default(), bottleneck: None };
        let found = summed(vec![step(100.0, Some(true)), step(400.0, None), step(500.0, Some(true))]);
        assert_eq!((found.highest_met, found.lowest_missed), (Some(100.0), Some(400.0)));
    }
}
