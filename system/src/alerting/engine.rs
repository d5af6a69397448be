//! What rules find in the stream: pure, and bounded whatever comes.
//!
//! Time is what events say it is, and late ones count where they belong: a window is any stretch of its length, open at its
//! end, that holds the event at hand. So an outage, after which a backlog arrives at once, is no burst, and the same log
//! gives the same findings whenever it is read.
//!
//! What was raised is itself an event of the log, and only from there the engine knows that it must be quiet: so it knows
//! the same after a start, when it is shown the end of the log again and what it says is not listened to.
//!
//! Bounds: of each rule [`KEYS_MAX`] keys and [`SEEN_MAX`] events, of each key four times its threshold, or 64; where that is not
//! enough the key goes whose last event came longest ago, and the oldest event. Of what waits, [`OPEN_MAX`] messages.

use std::collections::{BTreeMap, BTreeSet};

use super::rules::{Kind, Rule, Rules};
use super::{Raised, Watching};
use crate::audit::Event;

/// The most keys that are remembered of a rule.
pub const KEYS_MAX: usize = 10_000;

/// The most events that are remembered of a rule.
const SEEN_MAX: usize = 200_000;

/// The most messages that wait, and the most ends whose beginnings have not come, that are remembered of a rule.
const OPEN_MAX: usize = 262_144;

/// The most places that a finding names.
pub const EVIDENCE_MAX: usize = 16;

/// Looks at every event of the log, in its order.
#[derive(Debug)]
pub struct Engine {
    watches: Vec<Watch>,
    look_back_ms: i64,
}

impl Engine {
    /// One that has seen nothing yet.
    #[must_use]
    pub fn new(rules: &Rules) -> Self {
        Self { watches: rules.iter().cloned().map(Watch::new).collect(), look_back_ms: rules.look_back_ms() }
    }
}

impl Watching for Engine {
    fn look_back_ms(&self) -> i64 {
        self.look_back_ms
    }

    fn recall(&mut self, place: u64, event: &Event) {
        // What is found again was raised then, and its record comes next.
        drop(self.see(place, event));
    }

    fn see(&mut self, place: u64, event: &Event) -> Vec<Raised> {
        if let Event::Raised(raised) = event {
            if let Some(watch) = self.watches.iter_mut().find(|watch| watch.rule.name == raised.rule) {
                watch.rang(place, raised);
            }
            return Vec::new();
        }
        self.watches.iter_mut().filter_map(|watch| watch.see(place, event)).collect()
    }

    fn overdue(&self, now: i64) -> Vec<Raised> {
        self.watches.iter().flat_map(|watch| watch.overdue(now)).collect()
    }
}

/// One event that counts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Seen {
    at: i64,
    place: u64,
    value: Option<String>,
}

/// One key of a rule.
#[derive(Debug, Default)]
struct Watched {
    /// In the order of time.
    seen: Vec<Seen>,
    /// The time of the latest alert.
    rang_at: Option<i64>,
    /// The place of the last event that was of it.
    last: u64,
}

/// One rule and what it knows.
#[derive(Debug)]
struct Watch {
    rule: Rule,
    keys: BTreeMap<String, Watched>,
    /// Keys by the place of their last event.
    by_last: BTreeMap<u64, String>,
    seen: usize,
    waiting: Waiting,
}

impl Watch {
    fn new(rule: Rule) -> Self {
        let (keys, by_last, waiting) = Default::default();
        Self { rule, keys, by_last, seen: 0, waiting }
    }

    fn see(&mut self, place: u64, event: &Event) -> Option<Raised> {
        if let Kind::Age { until, .. } = &self.rule.kind {
            // First its end: who takes the same for both waits for nothing.
            if until.has(event) {
                self.waiting.end(place, event);
            } else if self.rule.events.has(event)
                && let Some(key) = self.rule.by.key(event)
            {
                self.waiting.begin(key, place, event);
            }
            return None;
        }
        if !self.rule.events.has(event) {
            return None;
        }
        let at = event.at_unix_ms();
        if matches!(&self.rule.kind, Kind::OutsideHours(hours) if hours.has(at)) {
            return None;
        }
        let key = self.rule.by.key(event)?.to_owned();
        let value = match &self.rule.kind {
            Kind::Distinct { of, .. } => Some(of.value(event)?.to_owned()),
            _ => None,
        };
        self.touch(&key, place);
        let watched = self.keys.get_mut(&key)?;
        let (before, seen) = (watched.seen.len(), Seen { at, place, value });
        let found = watched.take(&self.rule.kind, seen);
        self.seen = self.seen + watched.seen.len() - before;
        let found = found.filter(|_| !watched.is_quiet(at, self.rule.quiet_ms));
        self.shrink();
        found.map(|found| found.raised(&self.rule, &key, at))
    }

    /// Has alerted of the key that `raised` is of.
    fn rang(&mut self, place: u64, raised: &Raised) {
        let key = raised.key(self.rule.by);
        self.touch(&key, place);
        if let Some(watched) = self.keys.get_mut(&key) {
            watched.rang_at = watched.rang_at.max(Some(raised.at_unix_ms));
        }
        self.shrink();
    }

    fn overdue(&self, now: i64) -> Vec<Raised> {
        let Kind::Age { age_ms, .. } = self.rule.kind else { return Vec::new() };
        let quiet = |key: &str| self.keys.get(key).is_some_and(|key| key.is_quiet(now, self.rule.quiet_ms));
        let too_old = now.saturating_sub(age_ms);
        let overdue = self.waiting.by_key.iter().filter_map(|(key, waiting)| {
            let places: Vec<_> = waiting.range(..=(too_old, u64::MAX)).map(|(_, place)| *place).collect();
            if places.is_empty() || quiet(key) {
                return None;
            }
            let (count, oldest) = (places.len(), places.into_iter().take(EVIDENCE_MAX).collect());
            Some(Found { count, evidence: oldest }.raised(&self.rule, key, now))
        });
        overdue.collect()
    }

    /// The event at `place` is of `key`.
    fn touch(&mut self, key: &str, place: u64) {
        let watched = self.keys.entry(key.to_owned()).or_default();
        self.by_last.remove(&watched.last);
        watched.last = place;
        self.by_last.insert(place, key.to_owned());
    }

    fn shrink(&mut self) {
        while self.keys.len() > KEYS_MAX || self.seen > SEEN_MAX {
            let Some(gone) = self.by_last.pop_first().and_then(|(_, key)| self.keys.remove(&key)) else { return };
            self.seen -= gone.seen.len();
        }
    }
}

/// What is found of one key.
struct Found {
    count: usize,
    evidence: Vec<u64>,
}

impl Found {
    fn of(seen: &[Seen]) -> Self {
        let newest = &seen[seen.len().saturating_sub(EVIDENCE_MAX)..];
        Self { count: seen.len(), evidence: newest.iter().map(|seen| seen.place).collect() }
    }

    fn raised(self, rule: &Rule, key: &str, at_unix_ms: i64) -> Raised {
        use super::rules::By;
        let Self { count, evidence } = self;
        let about = &rule.about;
        let seconds = |ms: i64| ms / 1000;
        let detail = match &rule.kind {
            Kind::Count { window_ms, .. } => format!("{about}: {count} within {} s", seconds(*window_ms)),
            Kind::Distinct { window_ms, .. } => {
                format!("{about}: {count} different ones within {} s", seconds(*window_ms))
            }
            Kind::Each => about.clone(),
            Kind::OutsideHours(hours) => format!("{about}: not within {hours}"),
            Kind::Age { age_ms, .. } => format!("{about}: {count} for {} s and longer", seconds(*age_ms)),
        };
        let of = |by| (rule.by == by).then(|| key.to_owned());
        let (rule, severity) = (rule.name.clone(), rule.severity);
        let (tenant, user) = (of(By::Tenant), of(By::User));
        Raised { at_unix_ms, rule, severity, tenant, user, count: count as u64, evidence, detail }
    }
}

impl Watched {
    fn is_quiet(&self, at: i64, quiet_ms: i64) -> bool {
        self.rang_at.is_some_and(|rang| at < rang.saturating_add(quiet_ms))
    }

    /// Takes in `seen`, and says whether that completes anything.
    fn take(&mut self, kind: &Kind, seen: Seen) -> Option<Found> {
        match *kind {
            Kind::Count { threshold, window_ms } => {
                let index = self.insert(seen);
                let found = self.full(index, threshold, window_ms);
                self.keep(4 * threshold.max(EVIDENCE_MAX));
                found
            }
            Kind::Distinct { threshold, window_ms, .. } => {
                let index = self.insert(seen);
                let found = self.different(index, threshold, window_ms);
                self.thin(index, window_ms);
                self.keep(4 * threshold.max(EVIDENCE_MAX));
                found
            }
            Kind::Each | Kind::OutsideHours(_) => Some(Found::of(&[seen])),
            Kind::Age { .. } => None,
        }
    }

    fn insert(&mut self, seen: Seen) -> usize {
        let index = self.seen.partition_point(|other| *other < seen);
        self.seen.insert(index, seen);
        index
    }

    /// The first window that holds what stands at `index`, and `threshold` of them.
    fn full(&self, index: usize, threshold: usize, window_ms: i64) -> Option<Found> {
        let last = threshold - 1;
        let first = (index.saturating_sub(last)..=index).find(|first| {
            let end = self.seen.get(first + last);
            end.is_some_and(|end| end.at - self.seen[*first].at < window_ms)
        })?;
        Some(Found::of(&self.seen[first..self.end(first, window_ms)]))
    }

    /// The first window that holds what stands at `index`, and `threshold` different values; one of each.
    fn different(&self, index: usize, threshold: usize, window_ms: i64) -> Option<Found> {
        let begin = self.seen.partition_point(|seen| self.seen[index].at - seen.at >= window_ms);
        (begin..=index).find_map(|first| {
            let mut newest: BTreeMap<_, &Seen> = BTreeMap::new();
            for seen in &self.seen[first..self.end(first, window_ms)] {
                newest.insert(&seen.value, seen);
            }
            let mut different: Vec<_> = newest.into_values().cloned().collect();
            different.sort_unstable();
            (different.len() >= threshold).then(|| Found::of(&different))
        })
    }

    /// Where the window ends that begins with what stands at `first`.
    fn end(&self, first: usize, window_ms: i64) -> usize {
        self.seen.partition_point(|seen| seen.at - self.seen[first].at < window_ms)
    }

    /// Forgets what no window needs around `index`: a value between two of its like that lie no further apart than a window
    /// is long, for one of these is in any window that it is in.
    fn thin(&mut self, index: usize, window_ms: i64) {
        let value = self.seen[index].value.clone();
        let alike: Vec<_> = (0..self.seen.len()).filter(|other| self.seen[*other].value == value).collect();
        let mut kept: Vec<usize> = Vec::new();
        let mut idle = BTreeSet::new();
        for (nth, other) in alike.iter().enumerate() {
            let between = kept.last().zip(alike.get(nth + 1));
            match between {
                Some((before, after)) if self.seen[*after].at - self.seen[*before].at <= window_ms => {
                    idle.insert(*other);
                }
                _ => kept.push(*other),
            }
        }
        let mut place = 0;
        self.seen.retain(|_| {
            place += 1;
            !idle.contains(&(place - 1))
        });
    }

    /// Keeps the newest `most`.
    fn keep(&mut self, most: usize) {
        let over = self.seen.len().saturating_sub(most);
        self.seen.drain(..over);
    }
}

/// A message of a tenant.
type Message = (String, String);

/// What has begun and not ended.
#[derive(Debug, Default)]
struct Waiting {
    open: BTreeMap<Message, (i64, u64, String)>,
    by_place: BTreeMap<u64, Message>,
    by_key: BTreeMap<String, BTreeSet<(i64, u64)>>,
    /// Ends that came before their beginnings: two services tell of them, each in its time.
    early: BTreeMap<Message, u64>,
    early_by_place: BTreeMap<u64, Message>,
}

fn message(event: &Event) -> Option<Message> {
    Some((event.tenant()?.to_owned(), event.message_id()?.to_owned()))
}

impl Waiting {
    fn begin(&mut self, key: &str, place: u64, event: &Event) {
        let Some(message) = message(event) else { return };
        if let Some(early) = self.early.remove(&message) {
            self.early_by_place.remove(&early);
            return;
        }
        if self.open.contains_key(&message) {
            return;
        }
        let at = event.at_unix_ms();
        self.by_key.entry(key.to_owned()).or_default().insert((at, place));
        self.by_place.insert(place, message.clone());
        self.open.insert(message, (at, place, key.to_owned()));
        if self.open.len() > OPEN_MAX
            && let Some((_, oldest)) = self.by_place.first_key_value()
        {
            self.close(&oldest.clone());
        }
    }

    fn end(&mut self, place: u64, event: &Event) {
        let Some(message) = message(event) else { return };
        if self.close(&message) {
            return;
        }
        if let Some(before) = self.early.insert(message.clone(), place) {
            self.early_by_place.remove(&before);
        }
        self.early_by_place.insert(place, message);
        if self.early.len() > OPEN_MAX
            && let Some((_, oldest)) = self.early_by_place.pop_first()
        {
            self.early.remove(&oldest);
        }
    }

    fn close(&mut self, message: &Message) -> bool {
        let Some((at, place, key)) = self.open.remove(message) else { return false };
        self.by_place.remove(&place);
        if let Some(waiting) = self.by_key.get_mut(&key) {
            waiting.remove(&(at, place));
            if waiting.is_empty() {
                self.by_key.remove(&key);
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::audit::{Step, StepKind};
    use crate::ids::UserId;
    use crate::rights::Role;
    use crate::testing::{message_id, tenant};

    fn rules(kind: &str) -> Rules {
        let head = "[[rule]]\nname = \"r\"\nabout = \"so it is\"\nseverity = \"warning\"\n";
        Rules::parse(&format!("{head}{kind}")).unwrap()
    }

    const PUBLISHED: &str = "events = [\"published\"]\n";

    fn count(threshold: usize, window_s: u64, quiet_s: u64) -> Rules {
        let numbers = format!("threshold = {threshold}\nwindow_s = {window_s}\nquiet_s = {quiet_s}\n");
        rules(&format!("kind = \"count\"\nby = \"user\"\n{PUBLISHED}{numbers}"))
    }

    fn distinct(threshold: usize, window_s: u64) -> Rules {
        let numbers = format!("threshold = {threshold}\nwindow_s = {window_s}\n");
        rules(&format!("kind = \"distinct\"\ndistinct = \"tenant\"\nby = \"user\"\n{PUBLISHED}{numbers}"))
    }

    fn age() -> Rules {
        let until = "until = [\"dead_lettered\"]\nage_s = 10\nquiet_s = 30\n";
        rules(&format!("kind = \"age\"\nby = \"tenant\"\n{PUBLISHED}{until}"))
    }

    fn step(kind: StepKind, seconds: i64, user: &str, of: &str, id: &str) -> Event {
        let told = Step::new(seconds * 1000, Role::Broker, kind, 1);
        let (user, tenant) = (UserId::parse(user).unwrap(), tenant(of));
        Event::Step(Step { user: Some(user), tenant: Some(tenant), message_id: Some(message_id(id)), ..told })
    }

    fn published(seconds: i64, user: &str, of: &str) -> Event {
        step(StepKind::Published, seconds, user, of, "m-1")
    }

    /// A log that is looked at as it grows.
    struct Log {
        engine: Engine,
        events: Vec<Event>,
    }

    impl Log {
        fn new(rules: &Rules) -> Self {
            Self { engine: Engine::new(rules), events: Vec::new() }
        }

        fn push(&mut self, event: Event) -> Vec<Raised> {
            self.events.push(event);
            let found = self.engine.see(self.events.len() as u64, self.events.last().unwrap());
            self.raise(&found);
            found
        }

        fn raise(&mut self, found: &[Raised]) {
            for raised in found {
                let none = self.push(Event::Raised(raised.clone()));
                assert!(none.is_empty(), "an alert is nothing that rules look at");
            }
        }

        fn tick(&mut self, seconds: i64) -> Vec<Raised> {
            let found = self.engine.overdue(seconds * 1000);
            self.raise(&found);
            found
        }

        /// Reads the log again, as a start does.
        fn restart(&mut self, rules: &Rules) {
            self.engine = Engine::new(rules);
            for (place, event) in (1..).zip(&self.events) {
                self.engine.recall(place, event);
            }
        }
    }

    #[test]
    fn it_fires_at_the_threshold_is_silent_below_and_then_quiet_for_that_key() {
        let mut log = Log::new(&count(3, 10, 20));
        let mut ana = |at| log.push(published(at, "ana", "acme"));
        assert_eq!([ana(0).len(), ana(5).len(), ana(10).len()], [0, 0, 0], "ten seconds end before the tenth");
        let found = ana(11);
        let [raised] = &found[..] else { panic!("{found:?}") };
        assert_eq!((raised.count, &raised.evidence[..], raised.at_unix_ms), (3, &[2, 3, 4][..], 11_000));
        assert_eq!((raised.user.as_deref(), raised.tenant.as_deref()), (Some("ana"), None));
        assert_eq!(raised.line(), "r of \"ana\": so it is: 3 within 10 s; see [2, 3, 4]");
        assert_eq!((12..31).map(|at| ana(at).len()).sum::<usize>(), 0, "quiet");
        assert_eq!(ana(31).len(), 1);
        assert!((0..2).all(|_| log.push(published(31, "bob", "acme")).is_empty()), "another's count is another's");
        assert_eq!(log.push(published(31, "bob", "acme")).len(), 1);
    }

    #[test]
    fn what_comes_late_counts_where_it_belongs() {
        let mut log = Log::new(&count(3, 10, 10));
        let mut ana = |at| log.push(published(at, "ana", "acme")).len();
        assert_eq!([ana(100), ana(108)], [0, 0]);
        assert_eq!([ana(0), ana(1)], [0, 0], "a backlog is no burst");
        assert_eq!(ana(104), 1, "and completes what it belongs to");
        assert_eq!(ana(2), 0, "what lies before the last alert says nothing more");
    }

    #[test]
    fn many_tenants_are_different_ones_and_a_busy_one_hides_no_others() {
        let mut log = Log::new(&distinct(3, 10));
        let mut ana = |at, of: &str| log.push(published(at, "ana", of));
        assert!(ana(0, "acme").is_empty());
        assert!((0..500).all(|_| ana(2, "globex").is_empty()), "one tenant, however often");
        let found = ana(9, "hooli");
        assert_eq!((found.len(), found[0].count), (1, 3));
        assert!(ana(19, "acme").is_empty() && ana(20, "globex").is_empty(), "the third has left the window");
    }

    #[test]
    fn what_has_waited_too_long_is_found_by_the_clock_again_after_a_while_and_not_once_it_has_ended() {
        let rules = age();
        let mut log = Log::new(&rules);
        for id in ["m-1", "m-2"] {
            assert!(log.push(step(StepKind::Published, 0, "ana", "acme", id)).is_empty());
        }
        log.push(step(StepKind::DeadLettered, 1, "ana", "acme", "m-1"));
        assert_eq!(log.tick(9), []);
        let found = log.tick(10);
        let [raised] = &found[..] else { panic!("{found:?}") };
        assert_eq!((raised.count, &raised.evidence[..], raised.tenant.as_deref()), (1, &[2][..], Some("acme")));
        log.restart(&rules);
        assert_eq!(log.tick(39), []);
        assert_eq!(log.tick(40).len(), 1);
        log.push(step(StepKind::DeadLettered, 41, "ana", "acme", "m-2"));
        assert_eq!(log.tick(1000), []);
        // The end may be told before the beginning.
        log.push(step(StepKind::DeadLettered, 1000, "ana", "acme", "m-3"));
        log.push(step(StepKind::Published, 999, "ana", "acme", "m-3"));
        assert_eq!(log.tick(2000), []);
    }

    #[test]
    fn more_keys_than_can_be_remembered_cost_the_one_that_was_silent_longest() {
        let mut log = Log::new(&count(2, 100, 100));
        let user = |number: usize| format!("u-{number}");
        for number in 0..=KEYS_MAX {
            log.push(published(0, &user(number), "acme"));
        }
        assert_eq!(log.engine.watches[0].keys.len(), KEYS_MAX);
        assert!(log.push(published(1, &user(0), "acme")).is_empty(), "forgotten");
        assert_eq!(log.push(published(1, &user(2), "acme")).len(), 1);
    }

    /// What must be found in `events`, each with its user, tenant and time, by looking at all of them every time.
    fn brute(events: &[(usize, usize, i64)], different: bool, threshold: usize, window_s: i64) -> Vec<usize> {
        let (mut found, mut rang): (Vec<usize>, BTreeMap<usize, i64>) = Default::default();
        for (index, (user, _, at)) in events.iter().enumerate() {
            let known = || events[..=index].iter().filter(|(other, ..)| other == user);
            let full = known().filter(|(.., from)| from <= at && *at < from + window_s).any(|(.., from)| {
                let within = known().filter(|(.., other)| (*from..from + window_s).contains(other));
                match different {
                    true => within.map(|(_, tenant, _)| tenant).collect::<BTreeSet<_>>().len() >= threshold,
                    false => within.count() >= threshold,
                }
            });
            if full && rang.get(user).is_none_or(|rang| *at >= rang + window_s) {
                rang.insert(*user, *at);
                found.push(index);
            }
        }
        found
    }

    proptest! {
        #[test]
        fn it_finds_what_brute_force_finds_late_events_and_restarts_included(
            events in prop::collection::vec((0..2_usize, 0..5_usize, 0..60_i64), 1..60),
            different in any::<bool>(),
            threshold in 2..5_usize,
            window_s in 1..20_i64,
            restarts in prop::collection::btree_set(0..60_usize, 0..4),
        ) {
            let rules = match different {
                true => distinct(threshold, window_s as u64),
                false => count(threshold, window_s as u64, window_s as u64),
            };
            // Late, but not by more than is remembered of a key.
            let late = |index: usize, at: i64| index as i64 / 2 + at % 8;
            let events: Vec<_> =
                events.into_iter().enumerate().map(|(index, (user, of, at))| (user, of, late(index, at))).collect();
            let (mut log, mut found) = (Log::new(&rules), Vec::new());
            for (index, (user, of, at)) in events.iter().enumerate() {
                if restarts.contains(&index) {
                    log.restart(&rules);
                }
                if !log.push(published(*at, &format!("u-{user}"), &format!("t-{of}"))).is_empty() {
                    found.push(index);
                }
            }
            prop_assert_eq!(found, brute(&events, different, threshold, window_s));
        }
    }
}
