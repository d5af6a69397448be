//! Quantiles and shifts of which the answer is known.

use super::*;

fn counts(steps: impl IntoIterator<Item = u64>) -> Counts {
    let mut all: Vec<u64> = steps.into_iter().collect();
    all.sort_unstable();
    all.chunk_by(|a, b| a == b).map(|steps| (steps[0], steps.len() as u64)).collect()
}

fn pair(base: Counts, new: Counts) -> Pair {
    Pair { base, new }
}

#[test]
fn a_quantile_lies_in_its_step_where_the_share_puts_it() {
    assert_eq!(of_counts(&[(10, 4), (20, 4)], 0.25), Some(10.5));
    assert_eq!(of_counts(&[(10, 4), (20, 4)], 0.5), Some(11.0));
    assert_eq!(of_counts(&[(10, 4), (20, 2), (20, 2)], 0.75), Some(20.5));
    assert_eq!(of_counts(&[(7, 1)], 0.5), Some(7.5));
    assert_eq!((of_counts(&[], 0.5), of_counts(&[(3, 0)], 0.5)), (None, None));
}

#[test]
fn a_shift_that_every_pair_has_is_told_as_it_is() {
    let pairs: Vec<Pair> = (0..8).map(|run| pair(counts(10 + run..110 + run), counts(13 + run..113 + run))).collect();
    for statistic in [Statistic::Pooled, Statistic::OfEach] {
        let told = shifts(&pairs, &[(0.5, 0.95), (0.9, 0.95)], statistic, 1);
        for shift in told {
            let shift = shift.unwrap();
            assert!((shift.by() - 3.0).abs() < 1e-9, "{statistic:?} {shift:?}");
            assert!((shift.low - 3.0).abs() < 0.2 && (shift.high - 3.0).abs() < 0.2, "{statistic:?} {shift:?}");
        }
    }
}

#[test]
fn the_same_seed_draws_the_same_and_a_surer_interval_is_wider() {
    let pairs: Vec<Pair> = (0..20).map(|run| pair(counts(10..90 + run), counts(12..80 + run * run))).collect();
    let told = |seed, sure| shifts(&pairs, &[(0.5, sure)], Statistic::Pooled, seed)[0].unwrap();
    assert_eq!(told(3, 0.95), told(3, 0.95));
    assert_ne!(told(3, 0.95), told(4, 0.95));
    assert!(told(3, 0.999).high > told(3, 0.95).high && told(3, 0.999).low < told(3, 0.95).low);
}

#[test]
fn what_so_few_runs_do_not_carry_is_not_told() {
    let few: Vec<Pair> = (0..4).map(|_| pair(counts(0..100), counts(0..100))).collect();
    assert_eq!(shifts(&few, &[(0.5, 0.95)], Statistic::Pooled, 1), [Err(Untold::FewPairs)]);
    let empty: Vec<Pair> = (0..9).map(|_| pair(counts(0..100), Vec::new())).collect();
    assert_eq!(shifts(&empty, &[(0.5, 0.95)], Statistic::Pooled, 1), [Err(Untold::Nothing)]);
    // Twenty runs, one of which has all that is slow.
    let run = |run: u64| counts((0..1_000).map(|sample| if run == 7 && sample < 500 { 4_000 } else { 10 }));
    let one: Vec<Pair> = (0..20).map(|number| pair(run(number), run(number))).collect();
    let told = shifts(&one, &[(0.5, 0.95), (0.99, 0.95)], Statistic::Pooled, 1);
    assert!(told[0].is_ok(), "{told:?}");
    assert!(matches!(told[1], Err(Untold::FewRuns(runs)) if runs < 1.5), "{told:?}");
}
