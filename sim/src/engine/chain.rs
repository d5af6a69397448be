//! A chain of digests: that of a trace after every so many events, so that two runs of which only the chains were kept can be
//! told apart to within a few events.
//!
//! A digest says that two runs differ and not where; whole traces are too large to be kept. As each link is a digest of all
//! that came before it, two runs that agree on a link agree on every event up to there, and the first link on which they
//! do not bounds the first event that differs. A chain has few links, however long its trace: when it is full every
//! second one goes.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

/// Links of a chain at most; so a trace of ten thousand events is known to within some two hundred.
const LINKS_MAX: usize = 64;

/// Events between two links of a short trace.
const EVERY_MIN: u64 = 16;

/// The digests of a trace's beginnings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Events between two links: [`EVERY_MIN`], doubled so often that they fit.
    every: u64,
    /// The first 32 bits of each digest. One in four thousand millions agrees by chance; the whole digest tells then.
    links: Vec<u32>,
}

impl Default for Chain {
    fn default() -> Self {
        Self { every: EVERY_MIN, links: Vec::new() }
    }
}

impl Chain {
    /// A trace has so many `events` by now; `digest` is asked for the beginning of its digest if that makes a link.
    pub(super) fn take(&mut self, events: u64, digest: impl FnOnce() -> u32) {
        if !events.is_multiple_of(self.every) {
            return;
        }
        self.links.push(digest());
        if self.links.len() > LINKS_MAX {
            let mut index = 0;
            self.links.retain(|_| {
                index += 1;
                index % 2 == 0
            });
            self.every *= 2;
        }
    }

    /// Between which events the first that differs lies, if any of the links that both have tells: all before the range are
    /// the same. `None`: they agree as far as both go.
    #[must_use]
    pub fn parting(&self, other: &Self) -> Option<Range<u64>> {
        let step = self.every.max(other.every);
        let link = |chain: &Self, number: u64| {
            let index = usize::try_from(number * step / chain.every - 1).ok()?;
            chain.links.get(index).copied()
        };
        for number in 1.. {
            match (link(self, number), link(other, number)) {
                (Some(one), Some(another)) if one == another => {}
                (Some(_), Some(_)) => return Some((number - 1) * step..number * step),
                _ => return None,
            }
        }
        None
    }

    /// How many events are the same for sure where no link differs.
    #[must_use]
    pub fn shared(&self, other: &Self) -> u64 {
        let reach = |chain: &Self| chain.links.len() as u64 * chain.every;
        let step = self.every.max(other.every);
        reach(self).min(reach(other)) / step * step
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.every)?;
        self.links.iter().try_for_each(|link| write!(f, "{link:08x}"))
    }
}

/// What is no chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is no chain of digests: a number of events, a colon, and eight hexadecimal digits for each link")]
pub struct NoChain;

impl FromStr for Chain {
    type Err = NoChain;

    fn from_str(text: &str) -> Result<Self, NoChain> {
        let (every, links) = text.split_once(':').ok_or(NoChain)?;
        let every: u64 = every.parse().map_err(|_| NoChain)?;
        let bytes = hex::decode(links).map_err(|_| NoChain)?;
        let (links, rest) = bytes.as_chunks();
        let is_sound = every >= EVERY_MIN && (every / EVERY_MIN).is_power_of_two() && every.is_multiple_of(EVERY_MIN);
        if !is_sound || !rest.is_empty() || links.len() > LINKS_MAX {
            return Err(NoChain);
        }
        Ok(Self { every, links: links.iter().map(|link| u32::from_be_bytes(*link)).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The chain of `events` events, of which those from `differs` on are others than in another.
    fn chain(events: u64, differs: u64) -> Chain {
        let mut chain = Chain::default();
        for event in 1..=events {
            chain.take(event, || u32::try_from(event).unwrap() * if event > differs { 2 } else { 1 });
        }
        chain
    }

    #[test]
    fn the_first_event_that_differs_lies_within_the_range() {
        for (events, differs) in [(40, 20), (1_000, 0), (5_000, 4_321), (100_000, 77_777)] {
            let range = chain(events, u64::MAX).parting(&chain(events, differs)).unwrap();
            assert!(range.contains(&differs), "event {differs} of {events} in {range:?}");
            assert!(range.end - range.start <= (events / 16).max(EVERY_MIN), "{range:?} of {events}");
        }
    }

    #[test]
    fn traces_of_other_lengths_are_compared_as_far_as_both_go() {
        assert_eq!(chain(90_000, u64::MAX).parting(&chain(70, 40)), None, "the long one's links lie further apart");
        let range = chain(9_000, u64::MAX).parting(&chain(1_500, 1_100)).unwrap();
        assert!(range.contains(&1_100), "{range:?}");
        assert_eq!(chain(40, u64::MAX).parting(&chain(40, 39)), None, "behind the last link nothing is known");
        assert_eq!((chain(40, 39).shared(&chain(80, 39)), chain(10, 9).shared(&chain(10, 9))), (32, 0));
    }

    #[test]
    fn a_chain_is_short_and_survives_being_written_down() {
        for events in [0, 15, 16, 1_024, 1_040, 300_000] {
            let chain = chain(events, u64::MAX);
            assert!(chain.links.len() <= LINKS_MAX && chain.to_string().len() < 530, "{events}: {chain}");
            assert_eq!(chain.to_string().parse(), Ok(chain));
        }
        for wrong in ["", "16", "15:", "48:", "16:0", "16:xxxxxxxx", "0:"] {
            assert_eq!(wrong.parse::<Chain>(), Err(NoChain), "{wrong}");
        }
    }
}
