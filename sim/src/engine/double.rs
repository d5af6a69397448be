//! The same seed a second time: whether a run is a function of what it was given, and if not, where it is not.
//!
//! Digests are compared first, for they cost nothing to keep. Only where they differ are both runs repeated with all their
//! events, to name the first that differs.

use std::fmt;

use super::trace::{TraceEntry, first_difference};

/// Where two traces part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parting {
    /// The index of the first event that differs.
    pub event: usize,
    /// That event of one and of the other; `None` where a trace has ended.
    pub sides: [Option<TraceEntry>; 2],
}

impl Parting {
    /// Where `a` and `b` part, if they do.
    pub fn of(a: &[TraceEntry], b: &[TraceEntry]) -> Option<Self> {
        let event = first_difference(a, b)?;
        Some(Self { event, sides: [a.get(event).cloned(), b.get(event).cloned()] })
    }
}

impl fmt::Display for Parting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = |side: &Option<TraceEntry>| side.as_ref().map_or("the end".to_owned(), ToString::to_string);
        let [one, other] = &self.sides;
        write!(f, "event {}: {:?} against {:?}", self.event, told(one), told(other))
    }
}

/// Runs what had `digest` once more, and says how it was otherwise if it was: `run` gives digest and, if asked to keep them,
/// events.
pub fn differs(digest: &str, run: impl Fn(bool) -> (String, Vec<TraceEntry>)) -> Option<String> {
    let (again, _) = run(false);
    if again == digest {
        return None;
    }
    let ([first, second], digests) = ([run(true).1, run(true).1], format!("the digest was {digest}, and then {again}"));
    Some(match Parting::of(&first, &second) {
        Some(parting) => format!("{digests}; two more runs part at {parting}"),
        None => format!("{digests}; two more runs that keep their events agree"),
    })
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use super::*;
    use crate::engine::trace::Trace;

    fn run(detail: &str, keep: bool) -> (String, Vec<TraceEntry>) {
        let trace = Trace::new(keep);
        trace.record(Duration::from_millis(1), "broker", "published", "m-1");
        trace.record(Duration::from_micros(2500), "consumer", "applied", detail);
        (trace.digest(), trace.entries())
    }

    #[test]
    fn an_honest_run_agrees_with_itself() {
        assert_eq!(differs(&run("m-1", false).0, |keep| run("m-1", keep)), None);
    }

    #[test]
    fn a_run_that_counts_on_is_told_with_its_first_differing_event() {
        let count = Cell::new(0);
        let counting = |keep| run(&format!("m-{}", count.replace(count.get() + 1)), keep);
        let told = differs(&counting(false).0, counting).unwrap();
        let parting = "event 1: \"2.500 ms consumer applied m-2\" against \"2.500 ms consumer applied m-3\"";
        assert!(told.ends_with(parting), "{told}");
    }

    #[test]
    fn a_trace_that_ends_sooner_parts_there() {
        let events = run("m-1", true).1;
        let parting = Parting::of(&events, &events[..1]).unwrap();
        assert_eq!(parting.to_string(), "event 1: \"2.500 ms consumer applied m-1\" against \"the end\"");
        assert_eq!(Parting::of(&events, &events), None);
    }
}
