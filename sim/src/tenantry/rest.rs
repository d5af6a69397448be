//! When a run is over: everything has come to rest. Each part of that is a mark that must hold in the end, so that a run that
//! hangs says by what.

use super::evidence::Seen;
use super::followers::Followed;
use super::marks;
use crate::engine::marks::Mark;

/// Whether it holds; none where there is nothing to wait for, or nobody to be asked.
type Holds = fn(&mut Seen) -> Option<bool>;

/// What must hold, the cheapest first: most of the time the first does not.
const REST: [(Mark, Holds); 8] = [
    (marks::OPERATORS_ANSWERED, |seen| Some(seen.operators_done)),
    (marks::FORGERIES_SENT, |seen| (seen.forgeries > 0).then_some(seen.forged.len() == seen.forgeries)),
    (marks::HOSTS_UP, |seen| {
        let engines = &seen.engines;
        let stores = engines.broker.is_some() && engines.ledger.is_some();
        let stores = stores && engines.audit.is_some() && engines.auth.is_some();
        Some(stores && engines.reporters.len() == seen.reporting)
    }),
    (marks::BROKER_RESTS, |seen| Some(seen.engines.broker.as_ref()?.is_at_rest())),
    (marks::EVENTS_RELAYED, |seen| {
        let engines = &seen.engines;
        let broker = engines.broker.as_ref()?.outgoing().waiting();
        let ledger = engines.ledger.as_ref()?.outgoing().waiting();
        Some(broker + ledger + engines.auth.as_ref()?.outgoing().waiting() == 0)
    }),
    (marks::REFUSALS_REPORTED, |seen| Some(seen.engines.reporters.values().all(|reporter| reporter.waiting() == 0))),
    (marks::ALERTS_TOLD, |seen| {
        let audit = seen.engines.audit.as_ref().filter(|_| seen.webhook)?;
        Some(audit.has_told_all().is_ok_and(|all| all))
    }),
    (marks::READERS_CAUGHT_UP, |seen| {
        let audit = seen.engines.audit.as_ref().filter(|_| !seen.followed.is_empty())?;
        let size = audit.len().ok();
        Some(size.is_some_and(|size| seen.streams_are_at(size)))
    }),
];

/// Where attacks are tried instead of commands sent, they are all there is to wait for.
const TRIED: [(Mark, Holds); 1] = [(marks::ATTACKS_TRIED, |seen| Some(seen.catalogue.is_some()))];

impl Seen {
    fn rest(&self) -> &'static [(Mark, Holds)] {
        if self.catalogue_planned { &TRIED } else { &REST }
    }

    /// True when nothing is on its way any more.
    #[must_use]
    pub fn is_quiet(&mut self) -> bool {
        self.rest().iter().all(|(_, holds)| holds(self) != Some(false))
    }

    /// What a run that is quiet waited for, and whether it holds.
    pub fn standing(&mut self) -> impl Iterator<Item = (Mark, bool)> {
        self.rest().iter().filter_map(|(mark, holds)| Some((*mark, holds(self)?)))
    }

    /// Whether whoever follows a tenant has seen its last record of a log of this size.
    fn streams_are_at(&mut self, size: u64) -> bool {
        if self.last_places.0 != size {
            let Some(Ok(events)) = self.engines.audit.as_ref().map(|audit| audit.every_event()) else { return false };
            let places = events.into_iter().filter_map(|(place, event)| Some((event.tenant()?.to_owned(), place)));
            self.last_places = (size, places.collect());
        }
        let has_all = |followed: &Followed| {
            let end = self.last_places.1.get(followed.tenant.as_str());
            followed.has_all(end.copied().unwrap_or_default())
        };
        self.followed.iter().all(has_all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_waits_for_what_its_plan_has_and_says_what_does_not_hold() {
        let mut seen = Seen { forgeries: 2, ..Seen::default() };
        seen.operators_done = true;
        seen.forged.insert("m-1".into());
        assert!(!seen.is_quiet());
        let unmet: Vec<_> = seen.standing().filter(|(_, holds)| !holds).map(|(mark, _)| mark.name).collect();
        assert_eq!(unmet, ["forgeries_sent", "hosts_up"], "the rest is not known while they are down");
        let mut seen = Seen { catalogue_planned: true, ..Seen::default() };
        assert_eq!(seen.standing().map(|(mark, _)| mark.name).collect::<Vec<_>>(), ["attacks_tried"]);
    }
}
