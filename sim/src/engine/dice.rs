//! Every random decision of a simulation, as a pure function of what is being decided.
//!
//! A shared generator hands out its next number, so taking one decision away shifts all that follow, and a shrunk
//! failure is another failure. Here a decision is `hash(seed, stream, entity, counter)`: which purpose, about whom, the
//! how-manieth. Decisions are independent of each other and of the order they are asked in.
//!
//! The numbers are the same on every machine: only integer arithmetic and the four exact floating point operations are
//! used, never the platform's mathematical library.

use std::ops::RangeInclusive;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use sha2::{Digest, Sha256};

/// The dice of one seed. Copying them is free, and a copy decides the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dice {
    seed: u64,
    /// Another seed, from a virtual time on.
    later: Option<(Duration, u64)>,
}

impl Dice {
    /// Dice which decide everything from `seed`.
    pub fn new(seed: u64) -> Self {
        Self { seed, later: None }
    }

    /// The same dice until the virtual time `from` of the simulation on this thread, and those of `seed` from then on: the
    /// same past with another future.
    #[must_use]
    pub fn redrawn(self, from: Duration, seed: u64) -> Self {
        Self { later: Some((from, seed)), ..self }
    }

    /// Dice of their own for one decision that takes many throws; others, from when on these are.
    #[must_use]
    pub fn of(&self, stream: &str, entity: &str, counter: u64) -> Self {
        let own = |seed| Self::new(seed).u64(stream, entity, counter);
        Self { seed: own(self.seed), later: self.later.map(|(from, seed)| (from, own(seed))) }
    }

    /// As they fall at the virtual time `now`: for what is decided between two steps, where no simulation's time runs.
    #[must_use]
    pub fn at(&self, now: Duration) -> Self {
        let later = self.later.filter(|(from, _)| now >= *from);
        Self::new(later.map_or(self.seed, |(_, seed)| seed))
    }

    /// From when on they are others, and which, if they are: for a generator that was made before.
    pub fn later(&self) -> Option<(Duration, Self)> {
        self.later.map(|(from, seed)| (from, Self::new(seed)))
    }

    /// The seed they were made from.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// A generator of its own for a decision that needs many numbers.
    pub fn rng(&self, stream: &str, entity: &str, counter: u64) -> ChaCha8Rng {
        ChaCha8Rng::from_seed(self.hash(stream, entity, counter))
    }

    /// A number of the whole range.
    pub fn u64(&self, stream: &str, entity: &str, counter: u64) -> u64 {
        let hash = self.hash(stream, entity, counter);
        u64::from_le_bytes(hash[..8].try_into().expect("a SHA-256 has 32 bytes"))
    }

    /// A number of `range`, both ends included, each as likely as another to one part in 2^64.
    ///
    /// # Panics
    /// When `range` is empty.
    pub fn range(&self, stream: &str, entity: &str, counter: u64, range: RangeInclusive<u64>) -> u64 {
        let (low, high) = (*range.start(), *range.end());
        assert!(low <= high, "the dice were asked for a number of the empty range {low}..={high}");
        let width = u128::from(high - low) + 1;
        let scaled = (u128::from(self.u64(stream, entity, counter)) * width) >> 64;
        low + u64::try_from(scaled).expect("less than a width that fits")
    }

    /// True with probability `p`: never at 0 or below, always at 1 or above.
    pub fn chance(&self, stream: &str, entity: &str, counter: u64, p: f64) -> bool {
        self.unit(stream, entity, counter) < p
    }

    /// A waiting time in milliseconds, exponentially distributed around `mean_ms`: the gaps of open-loop arrivals.
    pub fn exponential_ms(&self, stream: &str, entity: &str, counter: u64, mean_ms: f64) -> f64 {
        // `1 - unit` lies in (0, 1], so the logarithm is finite and never positive.
        -mean_ms * ln(1.0 - self.unit(stream, entity, counter))
    }

    /// A number of [0, 1), in steps of 2^-53.
    fn unit(&self, stream: &str, entity: &str, counter: u64) -> f64 {
        (self.u64(stream, entity, counter) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn hash(&self, stream: &str, entity: &str, counter: u64) -> [u8; 32] {
        let seed = match self.later {
            Some((from, seed)) if turmoil::sim_elapsed().is_some_and(|now| now >= from) => seed,
            _ => self.seed,
        };
        let mut hasher = Sha256::new();
        // Each part is preceded by its length: ("ab", "c") must not decide like ("a", "bc").
        for part in [&seed.to_le_bytes()[..], stream.as_bytes(), entity.as_bytes(), &counter.to_le_bytes()[..]] {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        hasher.finalize().into()
    }
}

/// Natural logarithm of a normal number above zero, by exact operations only: the platform's own `ln` may differ in the
/// last bit from machine to machine, and with it a digest.
fn ln(x: f64) -> f64 {
    let bits = x.to_bits();
    let exponent = ((bits >> 52) & 0x7ff) as i32 - 1023;
    let mantissa = f64::from_bits((bits & ((1 << 52) - 1)) | (1023 << 52));
    // ln m = 2 artanh((m - 1) / (m + 1)); the argument is at most 1/3, so 20 odd powers reach the last bit.
    let t = (mantissa - 1.0) / (mantissa + 1.0);
    let (mut power, mut sum) = (t, 0.0);
    for odd in (1_u32..40).step_by(2) {
        sum += power / f64::from(odd);
        power *= t * t;
    }
    f64::from(exponent) * std::f64::consts::LN_2 + 2.0 * sum
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand_chacha::rand_core::Rng;

    use super::*;

    #[test]
    fn the_dice_are_the_ones_every_recorded_seed_was_thrown_with() {
        // A change here changes what every seed means: regressions no longer reproduce. Do not adjust it lightly.
        let dice = Dice::new(42);
        assert_eq!(dice.u64("workload", "acme", 7), GOLDEN_U64);
        assert_eq!(dice.rng("workload", "acme", 7).next_u64(), GOLDEN_RNG);
        assert_eq!(dice.exponential_ms("workload", "acme", 7, 10.0).to_bits(), GOLDEN_EXPONENTIAL);
    }
    const GOLDEN_U64: u64 = 7464916887264000570;
    const GOLDEN_RNG: u64 = 9157694352393367700;
    const GOLDEN_EXPONENTIAL: u64 = 4617525453813118050;

    #[test]
    fn taking_one_draw_away_leaves_the_others_where_they_were() {
        let dice = Dice::new(1);
        let all: Vec<u64> = (0..10).map(|counter| dice.u64("fault", "broker", counter)).collect();
        let without_third: Vec<u64> =
            (0..10).filter(|&counter| counter != 3).map(|counter| dice.u64("fault", "broker", counter)).collect();
        assert_eq!(without_third[..3], all[..3]);
        assert_eq!(without_third[3..], all[4..]);
    }

    #[test]
    fn seed_stream_entity_and_counter_each_decide_anew() {
        let here = Dice::new(1).u64("a", "b", 0);
        assert_ne!(here, Dice::new(2).u64("a", "b", 0));
        assert_ne!(here, Dice::new(1).u64("c", "b", 0));
        assert_ne!(here, Dice::new(1).u64("a", "c", 0));
        assert_ne!(here, Dice::new(1).u64("a", "b", 1));
        assert_ne!(Dice::new(1).u64("ab", "c", 0), Dice::new(1).u64("a", "bc", 0));
    }

    #[test]
    fn what_is_decided_between_two_steps_is_drawn_anew_from_its_time_on() {
        let (ms, plain, other) = (Duration::from_millis, Dice::new(1), Dice::new(2));
        let redrawn = plain.redrawn(ms(400), 2);
        assert_eq!((redrawn.at(ms(399)), redrawn.at(ms(400))), (plain, other));
        let of = |dice: Dice| dice.of("disk", "broker", 3);
        assert_eq!((of(redrawn).at(ms(399)), of(redrawn).at(ms(400))), (of(plain), of(other)));
        assert_eq!(of(plain), Dice::new(plain.u64("disk", "broker", 3)));
        assert_eq!(plain.at(ms(400)), plain);
    }

    #[test]
    fn arrivals_keep_their_mean() {
        let dice = Dice::new(3);
        let sum: f64 = (0..20_000).map(|counter| dice.exponential_ms("arrival", "acme", counter, 5.0)).sum();
        let mean = sum / 20_000.0;
        assert!((4.8..5.2).contains(&mean), "mean {mean} ms instead of 5");
    }

    #[test]
    #[should_panic(expected = "empty range 5..=4")]
    fn an_empty_range_is_refused_with_its_bounds() {
        #[expect(clippy::reversed_empty_ranges, reason = "the point of this test")]
        Dice::new(0).range("a", "b", 0, 5..=4);
    }

    proptest! {
        #[test]
        fn a_number_of_a_range_lies_in_it(seed: u64, counter: u64, a: u64, b: u64) {
            let (low, high) = (a.min(b), a.max(b));
            let drawn = Dice::new(seed).range("range", "x", counter, low..=high);
            prop_assert!((low..=high).contains(&drawn));
        }

        #[test]
        fn chances_at_the_ends_are_certain(seed: u64, counter: u64) {
            prop_assert!(!Dice::new(seed).chance("chance", "x", counter, 0.0));
            prop_assert!(Dice::new(seed).chance("chance", "x", counter, 1.0));
        }

        #[test]
        fn our_logarithm_is_the_logarithm(x in 1e-16_f64..=1.0) {
            prop_assert!((ln(x) - x.ln()).abs() <= 1e-13 * (1.0 + x.ln().abs()), "ln {x}: {} and {}", ln(x), x.ln());
        }
    }
}
