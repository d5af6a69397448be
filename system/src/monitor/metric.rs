//! Counters, gauges and histograms whose labels are enums: what a series may be called is known when it is compiled.
//!
//! No label takes a string, so no tenant, operator or message can become one, and the number of series is a constant. All
//! series of a counter or histogram are there from the start, at zero: a rate over the first event is then right, too. A
//! gauge that nobody has set is left out: nothing is said of what this process does not have.
//!
//! The text is Prometheus' exposition format 0.0.4.

use std::fmt::Write;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A label with all the values it can have.
pub trait Label: Copy + 'static {
    /// The label's name.
    const NAME: &'static str;
    /// All values, in the order of their indices.
    const ALL: &'static [Self];

    /// What the value is called.
    fn value(self) -> &'static str;

    /// Its place in [`Label::ALL`].
    fn index(self) -> usize;
}

/// The labels of a family: none, one or two.
pub trait Labels: Copy + 'static {
    /// How many combinations there are.
    const COUNT: usize;

    /// The place of this combination.
    fn place(self) -> usize;

    /// Each combination as `name="value",...`, in the order of their places.
    fn all() -> Vec<String>;
}

impl Labels for () {
    const COUNT: usize = 1;

    fn place(self) -> usize {
        0
    }

    fn all() -> Vec<String> {
        vec![String::new()]
    }
}

impl<L: Label> Labels for L {
    const COUNT: usize = L::ALL.len();

    fn place(self) -> usize {
        self.index()
    }

    fn all() -> Vec<String> {
        L::ALL.iter().map(|label| format!("{}=\"{}\"", L::NAME, label.value())).collect()
    }
}

impl<A: Label, B: Label> Labels for (A, B) {
    const COUNT: usize = A::ALL.len() * B::ALL.len();

    fn place(self) -> usize {
        self.0.index() * B::ALL.len() + self.1.index()
    }

    fn all() -> Vec<String> {
        let (first, second) = (<A as Labels>::all(), <B as Labels>::all());
        first.iter().flat_map(|a| second.iter().map(move |b| format!("{a},{b}"))).collect()
    }
}

/// Defines an enum that is a label.
macro_rules! label {
    ($(#[$doc:meta])* $name:ident = $label:literal { $($variant:ident = $value:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $(#[doc = concat!("`", $value, "`")] $variant),+ }

        impl $crate::monitor::metric::Label for $name {
            const NAME: &'static str = $label;
            const ALL: &'static [Self] = &[$(Self::$variant),+];

            fn value(self) -> &'static str {
                match self { $(Self::$variant => $value),+ }
            }

            fn index(self) -> usize {
                self as usize
            }
        }
    };
}
pub(super) use label;

/// All series under one name.
pub trait Family: Send + Sync {
    /// Its name, with unit and suffix.
    fn name(&self) -> &'static str;

    /// What it says, in one line.
    fn help(&self) -> &'static str;

    /// As the exposition format names it.
    fn kind(&self) -> &'static str;

    /// The most lines that it is ever exposed in.
    fn series_max(&self) -> usize;

    /// Every combination of its labels, as `name="value",...`.
    fn labels(&self) -> Vec<String>;

    /// Writes its samples.
    fn write(&self, out: &mut String);
}

/// `name{labels}`, without braces where there are none.
fn series(name: &str, suffix: &str, labels: &[&str]) -> String {
    let labels: Vec<_> = labels.iter().copied().filter(|label| !label.is_empty()).collect();
    match labels.is_empty() {
        true => format!("{name}{suffix}"),
        false => format!("{name}{suffix}{{{}}}", labels.join(",")),
    }
}

fn cells(count: usize, initial: u64) -> Box<[AtomicU64]> {
    (0..count).map(|_| AtomicU64::new(initial)).collect()
}

/// Counts events.
#[derive(Debug)]
pub struct Counter<L> {
    name: &'static str,
    help: &'static str,
    counts: Box<[AtomicU64]>,
    labels: PhantomData<fn(L)>,
}

impl<L: Labels> Counter<L> {
    pub(super) fn new(name: &'static str, help: &'static str) -> Self {
        Self { name, help, counts: cells(L::COUNT, 0), labels: PhantomData }
    }

    /// One more.
    pub fn inc(&self, labels: L) {
        self.add(labels, 1);
    }

    /// `count` more.
    pub fn add(&self, labels: L, count: u64) {
        self.counts[labels.place()].fetch_add(count, Relaxed);
    }

    /// How many there were.
    #[must_use]
    pub fn get(&self, labels: L) -> u64 {
        self.counts[labels.place()].load(Relaxed)
    }
}

impl<L: Labels> Family for Counter<L> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn help(&self) -> &'static str {
        self.help
    }

    fn kind(&self) -> &'static str {
        "counter"
    }

    fn series_max(&self) -> usize {
        L::COUNT
    }

    fn labels(&self) -> Vec<String> {
        L::all()
    }

    fn write(&self, out: &mut String) {
        for (labels, count) in L::all().iter().zip(&self.counts) {
            let _ = writeln!(out, "{} {}", series(self.name, "", &[labels]), count.load(Relaxed));
        }
    }
}

/// A value as it is now.
#[derive(Debug)]
pub struct Gauge<L> {
    name: &'static str,
    help: &'static str,
    /// As bits; not a number is one that nobody has set.
    values: Box<[AtomicU64]>,
    labels: PhantomData<fn(L)>,
}

impl<L: Labels> Gauge<L> {
    pub(super) fn new(name: &'static str, help: &'static str) -> Self {
        Self { name, help, values: cells(L::COUNT, f64::NAN.to_bits()), labels: PhantomData }
    }

    /// It is `value` now.
    pub fn set(&self, labels: L, value: f64) {
        self.values[labels.place()].store(value.to_bits(), Relaxed);
    }

    /// What it was set to last; none if it never was.
    #[must_use]
    pub fn get(&self, labels: L) -> Option<f64> {
        let value = f64::from_bits(self.values[labels.place()].load(Relaxed));
        (!value.is_nan()).then_some(value)
    }
}

impl<L: Labels> Family for Gauge<L> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn help(&self) -> &'static str {
        self.help
    }

    fn kind(&self) -> &'static str {
        "gauge"
    }

    fn series_max(&self) -> usize {
        L::COUNT
    }

    fn labels(&self) -> Vec<String> {
        L::all()
    }

    fn write(&self, out: &mut String) {
        for (labels, value) in L::all().iter().zip(&self.values) {
            let value = f64::from_bits(value.load(Relaxed));
            if !value.is_nan() {
                let _ = writeln!(out, "{} {}", series(self.name, "", &[labels]), number(value));
            }
        }
    }
}

/// As the exposition format writes a number.
fn number(value: f64) -> String {
    if value == f64::INFINITY { "+Inf".into() } else { value.to_string() }
}

/// Where a histogram's buckets end.
pub trait Buckets: Send + Sync + 'static {
    /// Their upper bounds, growing; beyond the last is one more.
    const BOUNDS: &'static [f64];
}

/// Seconds, from a commit without a sync to what an operator waits for at most. Every bound that the system promises - a
/// second of silence, two of a durable call, five of a lease and of the ledger's fence, thirty of a long poll - is one of
/// them, so that an alert at it needs no interpolation; in between they double or so, which keeps a quantile's error below
/// half of it.
#[derive(Debug)]
pub struct Seconds;

impl Buckets for Seconds {
    const BOUNDS: &'static [f64] =
        &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0];
}

/// Things at once, up to the most that a commit holds.
#[derive(Debug)]
pub struct Things;

impl Buckets for Things {
    const BOUNDS: &'static [f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];
}

/// How often what was how large.
#[derive(Debug)]
pub struct Histogram<L, B> {
    name: &'static str,
    help: &'static str,
    /// Of each combination of labels: the buckets, not cumulative, and the one beyond.
    buckets: Box<[AtomicU64]>,
    /// Of each combination: in billionths, so that it adds up to the same in any order.
    sums: Box<[AtomicU64]>,
    labels: PhantomData<fn(L, B)>,
}

/// How long something took.
pub type Durations<L> = Histogram<L, Seconds>;

/// How many things there were at once.
pub type Sizes<L> = Histogram<L, Things>;

const BILLIONTHS: f64 = 1e9;

impl<L: Labels, B: Buckets> Histogram<L, B> {
    const WIDTH: usize = B::BOUNDS.len() + 1;

    pub(super) fn new(name: &'static str, help: &'static str) -> Self {
        let (buckets, sums) = (cells(L::COUNT * Self::WIDTH, 0), cells(L::COUNT, 0));
        Self { name, help, buckets, sums, labels: PhantomData }
    }

    /// One more, as large as `value`; what is negative counts as nothing.
    pub fn observe(&self, labels: L, value: f64) {
        let (place, value) = (labels.place(), value.max(0.0));
        let bucket = B::BOUNDS.partition_point(|bound| *bound < value);
        self.buckets[place * Self::WIDTH + bucket].fetch_add(1, Relaxed);
        self.sums[place].fetch_add((value * BILLIONTHS) as u64, Relaxed);
    }

    /// How many there were.
    #[must_use]
    pub fn count(&self, labels: L) -> u64 {
        let begin = labels.place() * Self::WIDTH;
        self.buckets[begin..begin + Self::WIDTH].iter().map(|bucket| bucket.load(Relaxed)).sum()
    }
}

impl<L: Labels, B: Buckets> Family for Histogram<L, B> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn help(&self) -> &'static str {
        self.help
    }

    fn kind(&self) -> &'static str {
        "histogram"
    }

    /// Buckets, the sum and the count.
    fn series_max(&self) -> usize {
        L::COUNT * (Self::WIDTH + 2)
    }

    fn labels(&self) -> Vec<String> {
        L::all()
    }

    fn write(&self, out: &mut String) {
        for (place, labels) in L::all().iter().enumerate() {
            let mut count = 0;
            let bounds = B::BOUNDS.iter().copied().chain([f64::INFINITY]);
            for (bound, bucket) in bounds.zip(&self.buckets[place * Self::WIDTH..]) {
                count += bucket.load(Relaxed);
                let le = format!("le=\"{}\"", number(bound));
                let _ = writeln!(out, "{} {count}", series(self.name, "_bucket", &[labels, &le]));
            }
            let sum = self.sums[place].load(Relaxed) as f64 / BILLIONTHS;
            let _ = writeln!(out, "{} {sum}", series(self.name, "_sum", &[labels]));
            let _ = writeln!(out, "{} {count}", series(self.name, "_count", &[labels]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::DeadReason;

    fn written(family: &dyn Family) -> String {
        let mut out = String::new();
        family.write(&mut out);
        out
    }

    #[test]
    fn every_series_of_a_counter_is_there_from_the_start_and_an_unset_gauge_is_not() {
        let dead = Counter::<DeadReason>::new("dead_total", "Dead.");
        dead.add(DeadReason::Silent, 2);
        assert_eq!(written(&dead), "dead_total{reason=\"refused\"} 0\ndead_total{reason=\"silent\"} 2\n");
        let kept = Gauge::<DeadReason>::new("kept", "Kept.");
        kept.set(DeadReason::Refused, f64::INFINITY);
        assert_eq!(written(&kept), "kept{reason=\"refused\"} +Inf\n");
    }

    #[test]
    fn a_value_counts_in_its_own_bucket_and_in_all_above() {
        let took = Durations::<()>::new("took_seconds", "Took.");
        for value in [-1.0, 0.0005, 0.0006, 5.0, 61.0] {
            took.observe((), value);
        }
        let written = written(&took);
        for line in [
            "took_seconds_bucket{le=\"0.0005\"} 2",
            "took_seconds_bucket{le=\"0.001\"} 3",
            "took_seconds_bucket{le=\"2\"} 3",
            "took_seconds_bucket{le=\"5\"} 4",
            "took_seconds_bucket{le=\"60\"} 4",
            "took_seconds_bucket{le=\"+Inf\"} 5",
            "took_seconds_sum 66.0011",
            "took_seconds_count 5",
        ] {
            assert!(written.lines().any(|written| written == line), "{line} is not in\n{written}");
        }
    }

    #[test]
    fn two_labels_have_a_place_for_each_pair() {
        let pairs = <(DeadReason, DeadReason)>::all();
        let places: Vec<_> =
            DeadReason::ALL.iter().flat_map(|a| DeadReason::ALL.iter().map(|b| (*a, *b).place())).collect();
        assert_eq!(places, [0, 1, 2, 3]);
        assert_eq!(pairs[1], "reason=\"refused\",reason=\"silent\"");
    }
}
