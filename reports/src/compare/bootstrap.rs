//! How far a quantile shifted between two sides, and how sure that is: a seeded bootstrap over pairs of runs.
//!
//! Latencies of one run depend on each other - they wait for the same queue, the same fault - so a run is a block and is resampled
//! whole, together with the run of the other side that it is paired with: what both had in common, a seed's faults or a
//! machine's slow minute, cancels out.
//!
//! The interval is the wider of two that are known to fail in different places: Student's, with the bootstrap's standard error
//! (too narrow for skewed tails), and the bootstrap's own percentiles, expanded for few blocks (Hesterberg, "What teachers
//! should know about the bootstrap", 2014; too narrow for very few). Both allow for so few runs that a plain bootstrap of five would
//! cry wolf at every tenth comparison of like with like. The tests measure it.
//!
//! What is measured in steps is compared in parts of a step: a quantile lies in its step where the share of the samples puts it,
//! as in every histogram of classes. Otherwise a shift would show as nothing until it were a whole step.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use statrs::distribution::{ContinuousCDF, Normal, StudentsT};

/// How often pairs are drawn anew.
pub(super) const RESAMPLES: usize = 2_000;

/// Fewer pairs than these carry no interval.
pub const PAIRS_MIN: usize = 5;

/// A quantile of pooled runs is told only if so many runs at least, by their weight, have samples above it: if two seeds have all
/// the slow commands, other seeds may have other ones.
const TAIL_RUNS_MIN: f64 = 3.0;

/// How often a shift is to be seen for which a comparison is said to be able to see it.
const POWER: f64 = 0.8;

/// Steps of latency, ascending, each with how many samples lay in it.
pub(super) type Counts = Vec<(u64, u64)>;

/// The two runs that have all in common but the side that they are of.
#[derive(Debug, Clone)]
pub(super) struct Pair {
    pub(super) base: Counts,
    pub(super) new: Counts,
}

/// What stands for a side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Statistic {
    /// The quantile of all its runs' samples together, for runs that are too short to have quantiles of their own.
    Pooled,
    /// The mean of its runs' own quantiles.
    OfEach,
}

/// A shift, in steps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Shift {
    pub(super) base: f64,
    pub(super) new: f64,
    pub(super) low: f64,
    pub(super) high: f64,
    /// The smallest shift that so many pairs would have shown in four cases of five.
    pub(super) detectable: f64,
}

impl Shift {
    pub(super) fn by(&self) -> f64 {
        self.new - self.base
    }
}

/// The share of the pairs' samples below which `quantile` of them lie, of each side; `None` for one without samples.
pub(super) fn quantiles(pairs: &[Pair], quantile: f64, statistic: Statistic) -> Option<(f64, f64)> {
    let [base, new] = [|pair: &Pair| pair.base.clone(), |pair: &Pair| pair.new.clone()].map(|side| {
        let runs: Vec<Counts> = pairs.iter().map(side).collect();
        match statistic {
            Statistic::OfEach => {
                let own: Option<Vec<f64>> = runs.iter().map(|counts| of_counts(counts, quantile)).collect();
                own.filter(|own| !own.is_empty()).map(|own| mean(&own))
            }
            Statistic::Pooled => {
                let mut all: Counts = runs.into_iter().flatten().collect();
                all.sort_unstable();
                of_counts(&all, quantile)
            }
        }
    });
    Some((base?, new?))
}

/// Where `quantile` of the samples lie below, in parts of a step. `counts` are ascending.
fn of_counts(counts: &[(u64, u64)], quantile: f64) -> Option<f64> {
    let total: u64 = counts.iter().map(|(_, times)| times).sum();
    let wanted = quantile * float(total);
    let mut below = 0.0;
    let mut at = None;
    // Steps may repeat: those of one value are one step.
    for chunk in counts.chunk_by(|a, b| a.0 == b.0).filter(|_| total > 0) {
        let times = float(chunk.iter().map(|(_, times)| times).sum());
        at = Some(float(chunk[0].0) + ((wanted - below) / times.max(1.0)).clamp(0.0, 1.0));
        below += times;
        if below >= wanted {
            break;
        }
    }
    at
}

/// How many runs the samples from the pooled quantile's step on come from, by their weight; the lower of the two sides.
fn tail_runs(pairs: &[Pair], (base, new): (f64, f64)) -> f64 {
    let of = |at: f64, side: &dyn Fn(&Pair) -> Counts| {
        let above = pairs.iter().map(|pair| {
            let counts = side(pair).into_iter().filter(|(step, _)| float(*step) >= at.floor());
            float(counts.map(|(_, times)| times).sum())
        });
        let above: Vec<f64> = above.collect();
        let (sum, squares) = (above.iter().sum::<f64>(), above.iter().map(|of| of * of).sum::<f64>());
        if squares > 0.0 { sum * sum / squares } else { 0.0 }
    };
    of(base, &|pair| pair.base.clone()).min(of(new, &|pair| pair.new.clone()))
}

/// Why a quantile's shift is not told.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Untold {
    /// A side has no samples.
    Nothing,
    /// There are fewer than [`PAIRS_MIN`].
    FewPairs,
    /// All that is above it comes from too few runs: from so many, by their weight.
    FewRuns(f64),
}

/// The shift of each of `wanted` - a quantile, and how sure its interval is to be, such as 0.95 - over `pairs`. All are of the same
/// draws, which `seed` decides.
pub(super) fn shifts(
    pairs: &[Pair],
    wanted: &[(f64, f64)],
    statistic: Statistic,
    seed: u64,
) -> Vec<Result<Shift, Untold>> {
    let sides: Vec<_> = wanted.iter().map(|(quantile, _)| quantiles(pairs, *quantile, statistic)).collect();
    let draws = if pairs.len() < PAIRS_MIN { Vec::new() } else { draw(pairs, wanted, statistic, seed) };
    let told = |index: usize| {
        let (base, new) = sides[index].ok_or(Untold::Nothing)?;
        if pairs.len() < PAIRS_MIN {
            return Err(Untold::FewPairs);
        }
        let runs = tail_runs(pairs, (base, new));
        if statistic == Statistic::Pooled && runs < TAIL_RUNS_MIN {
            return Err(Untold::FewRuns(runs));
        }
        let drawn = draws.iter().map(|draw| draw[index]).collect();
        Ok(interval(base, new, drawn, pairs.len(), wanted[index].1))
    };
    (0..wanted.len()).map(told).collect()
}

/// The shifts of every draw.
fn draw(pairs: &[Pair], wanted: &[(f64, f64)], statistic: Statistic, seed: u64) -> Vec<Vec<f64>> {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    // By rejection there would be no bias at all; by remainder it is one in 10^16.
    let mut drawn =
        || -> Vec<usize> { (0..pairs.len()).map(|_| (generator.next_u64() % pairs.len() as u64) as usize).collect() };
    match statistic {
        Statistic::OfEach => {
            let own = |counts: &Counts, quantile| of_counts(counts, quantile).unwrap_or_default();
            let apart = |quantile: f64| -> Vec<f64> {
                pairs.iter().map(|pair| own(&pair.new, quantile) - own(&pair.base, quantile)).collect()
            };
            let apart: Vec<Vec<f64>> = wanted.iter().map(|(quantile, _)| apart(*quantile)).collect();
            let shifts = |drawn: &[usize]| {
                apart.iter().map(|own| mean(&drawn.iter().map(|run| own[*run]).collect::<Vec<_>>())).collect()
            };
            (0..RESAMPLES).map(|_| shifts(&drawn())).collect()
        }
        Statistic::Pooled => {
            let mut pools = [Pool::new(pairs, |pair| &pair.base), Pool::new(pairs, |pair| &pair.new)];
            let mut shifts = |drawn: &[usize]| {
                pools.iter_mut().for_each(|pool| pool.fill(drawn));
                let of = |(quantile, _): &(f64, f64)| pools[1].quantile(*quantile) - pools[0].quantile(*quantile);
                wanted.iter().map(of).collect()
            };
            (0..RESAMPLES).map(|_| shifts(&drawn())).collect()
        }
    }
}

/// One side's samples, poured together anew for each draw.
struct Pool {
    /// Every step that any run has, ascending.
    steps: Vec<u64>,
    /// Each run's samples, as places in `steps`.
    runs: Vec<Vec<(usize, u64)>>,
    counts: Vec<(u64, u64)>,
}

impl Pool {
    fn new(pairs: &[Pair], side: impl Fn(&Pair) -> &Counts) -> Self {
        let mut steps: Vec<u64> = pairs.iter().flat_map(|pair| side(pair).iter().map(|(step, _)| *step)).collect();
        steps.sort_unstable();
        steps.dedup();
        let place = |step: &u64| steps.partition_point(|known| known < step);
        let run = |pair| side(pair).iter().map(|(step, times)| (place(step), *times)).collect();
        let runs = pairs.iter().map(run).collect();
        Self { runs, counts: Vec::new(), steps }
    }

    fn fill(&mut self, drawn: &[usize]) {
        self.counts.clear();
        self.counts.extend(self.steps.iter().map(|step| (*step, 0)));
        for run in drawn {
            self.runs[*run].iter().for_each(|(place, times)| self.counts[*place].1 += times);
        }
        self.counts.retain(|(_, times)| *times > 0);
    }

    fn quantile(&self, quantile: f64) -> f64 {
        of_counts(&self.counts, quantile).unwrap_or_default()
    }
}

fn interval(base: f64, new: f64, mut drawn: Vec<f64>, pairs: usize, sure: f64) -> Shift {
    let by = new - base;
    let (n, tail) = (float(pairs as u64), (1.0 - sure) / 2.0);
    let few = (n / (n - 1.0)).sqrt();
    let middle = mean(&drawn);
    let squares: Vec<f64> = drawn.iter().map(|shift| (shift - middle).powi(2)).collect();
    let error = mean(&squares).sqrt() * few;
    let (Ok(student), Ok(normal)) = (StudentsT::new(0.0, 1.0, n - 1.0), Normal::new(0.0, 1.0)) else {
        return Shift { base, new, low: f64::NEG_INFINITY, high: f64::INFINITY, detectable: f64::INFINITY };
    };
    let t = student.inverse_cdf(1.0 - tail);
    drawn.sort_unstable_by(f64::total_cmp);
    let last = float(drawn.len().saturating_sub(1) as u64);
    let expanded = normal.cdf(-few * t);
    let at = |share: f64| drawn.get((share * last).round() as usize).copied().unwrap_or(by);
    let low = (by - t * error).min(at(expanded)).min(by);
    let high = (by + t * error).max(at(1.0 - expanded)).max(by);
    // As wide as it is, half of it is the shift that would just have been seen by half of such comparisons.
    let detectable = (high - low) / 2.0 + student.inverse_cdf(POWER) * error;
    Shift { base, new, low, high, detectable }
}

fn mean(of: &[f64]) -> f64 {
    of.iter().sum::<f64>() / float(of.len() as u64).max(1.0)
}

#[expect(clippy::cast_precision_loss, reason = "counts of samples stay far below 2^53")]
fn float(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
#[path = "bootstrap_tests.rs"]
mod tests;
