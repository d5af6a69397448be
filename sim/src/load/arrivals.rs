//! When commands are meant to be sent: a pure function of shape, rate and seed.
//!
//! Random arrivals are a Poisson process: gaps are exponential, as those of many people who know nothing of each other. A rate
//! that changes is had by letting time run through its integral. Regular arrivals show a system at its best: nobody queues
//! behind anybody.

use std::time::Duration;

use crate::engine::dice::Dice;

/// Commands of one load at most: their bodies are made before it begins.
pub const COMMANDS_MAX: u64 = 200_000;

/// How arrivals are spread.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Shape {
    /// Always the same gap.
    Constant,
    /// Exponential gaps.
    Poisson,
    /// Exponential gaps around a rate that changes evenly from the first to this one.
    Ramp {
        /// Commands a second at the end.
        to: f64,
    },
    /// Exponential gaps, and again and again many at once.
    Bursts {
        /// How many.
        size: u64,
        /// How far apart; the first comes after one such time.
        every: Duration,
    },
}

/// When commands come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Arrivals {
    /// How they are spread.
    pub shape: Shape,
    /// Commands a second, without bursts; of a ramp, at its beginning.
    pub rate: f64,
    /// For how long.
    pub duration: Duration,
}

impl Arrivals {
    /// Commands a second, on average.
    #[must_use]
    pub fn rate_mean(&self) -> f64 {
        match self.shape {
            Shape::Constant | Shape::Poisson => self.rate,
            Shape::Ramp { to } => f64::midpoint(self.rate, to),
            Shape::Bursts { size, .. } => self.rate + size as f64 * self.bursts() as f64 / self.duration.as_secs_f64(),
        }
    }

    /// Commands that are to be expected.
    #[must_use]
    pub fn expected(&self) -> f64 {
        self.rate_mean() * self.duration.as_secs_f64()
    }

    /// The same with every rate, and every burst, `factor` times as great.
    #[must_use]
    pub fn scaled(self, factor: f64) -> Self {
        let shape = match self.shape {
            Shape::Ramp { to } => Shape::Ramp { to: to * factor },
            Shape::Bursts { size, every } => {
                Shape::Bursts { size: ((size as f64 * factor).round() as u64).max(1), every }
            }
            other => other,
        };
        Self { shape, rate: self.rate * factor, ..self }
    }

    fn bursts(&self) -> u64 {
        match self.shape {
            // One at the very end would be answered after it.
            Shape::Bursts { every, .. } => {
                let times = self.duration.as_secs_f64() / every.as_secs_f64();
                (times.ceil() as u64).saturating_sub(1)
            }
            _ => 0,
        }
    }

    /// The times, in order, since the load began; at most [`COMMANDS_MAX`].
    #[must_use]
    pub fn draw(&self, dice: &Dice) -> Vec<Duration> {
        let seconds = self.duration.as_secs_f64();
        let mut times = Vec::new();
        // How many commands are due by now: each comes when its number, or its sum of exponential gaps of mean 1, is reached.
        let mut due = 0.0;
        for counter in 0..COMMANDS_MAX {
            due += match self.shape {
                Shape::Constant if counter == 0 => 0.0,
                Shape::Constant => 1.0,
                _ => dice.exponential_ms("load.gap", "", counter, 1.0),
            };
            let at = self.reached(due);
            if at >= seconds {
                break;
            }
            times.push(Duration::from_secs_f64(at));
        }
        if let Shape::Bursts { size, every } = self.shape {
            for burst in 1..=self.bursts() {
                let at = every.mul_f64(burst as f64);
                times.extend((0..size).map(|_| at));
            }
            times.sort();
            times.truncate(COMMANDS_MAX as usize);
        }
        times
    }

    /// After how many seconds so many commands are due: the inverse of the rate's integral.
    fn reached(&self, due: f64) -> f64 {
        let Shape::Ramp { to } = self.shape else { return due / self.rate };
        let slope = (to - self.rate) / self.duration.as_secs_f64();
        if slope.abs() < 1e-9 {
            return due / self.rate;
        }
        // rate t + slope t^2 / 2 = due; of a falling ramp that ends before, never.
        let root = self.rate * self.rate + 2.0 * slope * due;
        if root < 0.0 { f64::INFINITY } else { (root.sqrt() - self.rate) / slope }
    }

    /// In words: `200 a second, Poisson`.
    #[must_use]
    pub fn words(&self) -> String {
        let rate = self.rate;
        match self.shape {
            Shape::Constant => format!("{rate} a second, evenly spaced"),
            Shape::Poisson => format!("{rate} a second, Poisson"),
            Shape::Ramp { to } => format!("from {rate} to {to} a second, Poisson"),
            Shape::Bursts { size, every } => {
                format!("{rate} a second, Poisson, and {size} at once every {} s", every.as_secs_f64())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(shape: Shape, rate: f64, seconds: u64, seed: u64) -> Vec<f64> {
        let times = Arrivals { shape, rate, duration: Duration::from_secs(seconds) }.draw(&Dice::new(seed));
        assert!(times.is_sorted(), "seed {seed}");
        times.iter().map(Duration::as_secs_f64).collect()
    }

    #[test]
    fn constant_arrivals_have_one_gap() {
        let times = drawn(Shape::Constant, 50.0, 4, 1);
        assert_eq!(times.len(), 200);
        assert!(times.windows(2).all(|two| (two[1] - two[0] - 0.02).abs() < 1e-6));
    }

    #[test]
    fn poisson_gaps_have_the_mean_and_the_spread_of_an_exponential() {
        let times = drawn(Shape::Poisson, 200.0, 100, 7);
        let count = times.len() as f64;
        // 20,000 are expected, with a standard deviation of their root, 141.
        assert!((count - 20_000.0).abs() < 4.0 * 141.5, "{count}");
        let gaps: Vec<f64> = times.windows(2).map(|two| two[1] - two[0]).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        // Of an exponential the standard deviation is the mean.
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.03, "{}", variance.sqrt() / mean);
        let long = gaps.iter().filter(|gap| **gap > 3.0 * mean).count() as f64 / gaps.len() as f64;
        assert!((long - (-3.0_f64).exp()).abs() < 0.006, "{long}");
    }

    #[test]
    fn a_ramp_sends_as_much_as_the_area_below_it() {
        let times = drawn(Shape::Ramp { to: 300.0 }, 100.0, 60, 3);
        let count = times.len() as f64;
        assert!((count - 12_000.0).abs() < 4.0 * 110.0, "{count}");
        // By half of the time 100 * 30 + 100 * 15 = 4,500 of them.
        let by_half = times.iter().filter(|at| **at < 30.0).count() as f64;
        assert!((by_half - 4_500.0).abs() < 4.0 * 68.0, "{by_half}");
        let falling = drawn(Shape::Ramp { to: 1.0 }, 100.0, 10, 3).len() as f64;
        assert!((falling - 505.0).abs() < 4.0 * 23.0, "{falling}");
    }

    #[test]
    fn bursts_come_on_time_and_in_full() {
        let every = Duration::from_secs(2);
        let times = drawn(Shape::Bursts { size: 40, every }, 10.0, 6, 1);
        for at in [2.0, 4.0] {
            assert_eq!(times.iter().filter(|time| **time == at).count(), 40, "at {at}");
        }
        assert!((100..180).contains(&times.len()), "{}", times.len());
    }

    #[test]
    fn one_seed_means_the_same_times_and_a_longer_load_only_adds_some() {
        let short = drawn(Shape::Poisson, 100.0, 5, 9);
        let long = drawn(Shape::Poisson, 100.0, 10, 9);
        assert_eq!(short, long[..short.len()]);
        assert_ne!(short, drawn(Shape::Poisson, 100.0, 5, 10));
    }

    #[test]
    fn what_is_drawn_is_bounded() {
        assert_eq!(drawn(Shape::Constant, 1e6, 10, 1).len() as u64, COMMANDS_MAX);
    }
}
