//! G7: rules fire at their thresholds and are silent below, once per quiet time, whatever died in between: what stands in
//! the log is what its events make of the rules, found again by looking at all of them for each.
//!
//! What waits too long is found by the clock, which is on no record: there it must have waited when it was raised, and what
//! waited much longer must have been.

use std::collections::{BTreeMap, BTreeSet};

use tenantry_system::alerting::Raised;
use tenantry_system::audit::{Alert, Event};
use toml::{Table, Value};

use super::{Case, Finding};

/// The log looks this often, and may be dead for some time: what waited no longer than this beyond its age need not have
/// been raised.
const UNSEEN_MS: i64 = 6000;

/// Outcomes that tell of an attempt: a role that is gone, or was never there, and a ciphertext that was moved.
const ATTEMPTS: [&str; 2] = ["forbidden", "sealed_for_another"];

/// What a rule looks at: its place, when it happened, whose it is, and what it is of.
#[derive(Debug, Clone)]
struct Seen {
    place: u64,
    at: i64,
    key: String,
    value: String,
}

struct Rule<'r> {
    table: &'r Table,
    raised: Vec<(u64, &'r Raised)>,
}

pub(super) fn check(case: &Case<'_>) -> Finding {
    let mut finding = judge(&case.seen.alert_rules, &case.kept.events, &case.kept.alerts);
    // Whoever is woken by one must find what it is of. Of attempts and steps it is judged elsewhere whether they ring; a
    // decision does where it tells of an attempt.
    let kept = case.kept;
    let mut of: BTreeSet<u64> = kept.attempts.iter().map(|(place, _)| *place).collect();
    of.extend(kept.steps.iter().map(|(place, _)| *place));
    let mut attempted = BTreeSet::new();
    for (place, event) in &kept.events {
        match event {
            Event::Decided(entry) if ATTEMPTS.contains(&entry.outcome.as_str()) => drop(attempted.insert(*place)),
            Event::Raised(_) => drop(of.insert(*place)),
            _ => {}
        }
    }
    for alert in &kept.alerts {
        let right = of.remove(&alert.place) || attempted.remove(&alert.place);
        finding.expect(right, || format!("{alert:?} rang for nothing on record, or once more"));
    }
    finding.forbid(!attempted.is_empty(), || format!("what was decided at {attempted:?} must have rung, and did not"));
    finding
}

fn judge(rules: &str, events: &[(u64, Event)], alerts: &[Alert]) -> Finding {
    let mut finding = Finding::new("G7-alerts");
    let rules: Table = match rules.parse() {
        Ok(rules) => rules,
        Err(error) => {
            finding.expect(false, || format!("the rules are no TOML: {error}"));
            return finding;
        }
    };
    let raised = events.iter().filter_map(|(place, event)| match event {
        Event::Raised(raised) => Some((*place, raised)),
        _ => None,
    });
    let mut raised: Vec<_> = raised.collect();
    for table in rules.get("rule").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_table) {
        let (of, others) = raised.into_iter().partition(|(_, raised)| text(table, "name") == raised.rule.as_str());
        raised = others;
        let rule = Rule { table, raised: of };
        match text(table, "kind") {
            "age" => rule.check_age(events, &mut finding),
            _ => rule.check(events, &mut finding),
        }
    }
    finding.forbid(!raised.is_empty(), || format!("raised by no rule that there is: {raised:?}"));
    for (place, event) in events {
        let Event::Raised(raised) = event else { continue };
        let rung = alerts.iter().find(|alert| alert.place == *place);
        let right = rung.is_some_and(|alert| alert.code == raised.rule.as_str() && alert.severity == raised.severity);
        finding.expect(right, || format!("{raised:?} at {place} rang as {rung:?}"));
    }
    finding
}

fn text<'t>(table: &'t Table, name: &str) -> &'t str {
    table.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn ms(table: &Table, name: &str) -> Option<i64> {
    table.get(name).and_then(Value::as_integer).map(|seconds| seconds * 1000)
}

/// Whether one of the names that `table` has under `field` is that of `event`.
fn is_named(table: &Table, field: &str, event: &Event) -> bool {
    let (role, names) = match event {
        Event::Decided(entry) => {
            let general = if entry.outcome == "applied" { "applied" } else { "rejected" };
            ("ledger", vec!["decided", general, entry.outcome.as_str()])
        }
        Event::Refused(attempt) => (attempt.service.name(), vec!["refused", attempt.code.name()]),
        Event::Step(step) => (step.service.name(), vec![step.kind.name()]),
        Event::Raised(_) => return false,
    };
    let wanted = table.get(field).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    wanted.into_iter().any(|wanted| match wanted.split_once('/') {
        Some((by, name)) => by == role && names.contains(&name),
        None => names.contains(&wanted),
    })
}

fn whose(what: &str, event: &Event) -> Option<String> {
    match what {
        "user" => event.user().map(str::to_owned),
        "tenant" => event.tenant().map(str::to_owned),
        "message" => event.message_id().map(str::to_owned),
        _ => Some(String::new()),
    }
}

fn key(raised: &Raised) -> String {
    raised.user.clone().or_else(|| raised.tenant.clone()).unwrap_or_default()
}

impl Rule<'_> {
    fn seen(&self, events: &[(u64, Event)]) -> Vec<Seen> {
        let of = |(place, event): &(u64, Event)| {
            if !is_named(self.table, "events", event) {
                return None;
            }
            let key = whose(text(self.table, "by"), event)?;
            let value = whose(text(self.table, "distinct"), event)?;
            Some(Seen { place: *place, at: event.at_unix_ms(), key, value })
        };
        events.iter().filter_map(of).collect()
    }

    /// Compares what must have been raised with what was, alert by alert.
    fn check(&self, events: &[(u64, Event)], finding: &mut Finding) {
        let name = text(self.table, "name");
        let (window, threshold) = (ms(self.table, "window_s").unwrap_or(0), self.threshold());
        let quiet = ms(self.table, "quiet_s").unwrap_or(window);
        let mut by_key: BTreeMap<String, Vec<Seen>> = BTreeMap::new();
        for seen in self.seen(events) {
            by_key.entry(seen.key.clone()).or_default().push(seen);
        }
        let mut expected = BTreeMap::new();
        for (key, seen) in by_key.iter().filter(|(_, seen)| seen.len() >= threshold) {
            let mut rang: Option<i64> = None;
            for (index, now) in seen.iter().enumerate() {
                if rang.is_some_and(|rang| now.at < rang + quiet) || !self.is_full(&seen[..=index], now, window) {
                    continue;
                }
                rang = rang.max(Some(now.at));
                expected.insert(now.place, (key.clone(), now.at));
            }
        }
        // The log is in order, and what is raised stands right behind what completed it.
        let mut found = BTreeMap::new();
        for (place, raised) in &self.raised {
            let before = events.iter().rev().skip_while(|(other, _)| other >= place);
            let cause =
                before.into_iter().find(|(_, event)| !matches!(event, Event::Raised(_))).map(|(place, _)| *place);
            let twice = cause.and_then(|cause| found.insert(cause, (key(raised), raised.at_unix_ms)));
            finding.expect(twice.is_none(), || format!("{name}: raised twice: {raised:?}"));
            finding.expect(cause.is_some_and(|cause| raised.evidence.contains(&cause)), || {
                format!("{name}: {raised:?} does not name {cause:?}, behind which it stands")
            });
        }
        // Silence over a log in which nothing stands is no silence of the rule's.
        finding.compared += events.len() as u64;
        finding.forbid(expected != found, || format!("{name} must have fired at {expected:?}, and did at {found:?}"));
    }

    fn threshold(&self) -> usize {
        self.table.get("threshold").and_then(Value::as_integer).map_or(1, |threshold| threshold as usize)
    }

    /// Whether any window that `now` is in has as many of `known` as it takes.
    fn is_full(&self, known: &[Seen], now: &Seen, window: i64) -> bool {
        let threshold = self.threshold();
        match text(self.table, "kind") {
            // Simulated time has no office hours but those of the epoch: nothing here tells them, so no scenario may.
            "each" | "outside_hours" => return true,
            _ => {}
        }
        let mut near: Vec<_> = known.iter().filter(|seen| (seen.at - now.at).abs() < window).collect();
        if near.len() < threshold {
            return false;
        }
        near.sort_by_key(|seen| seen.at);
        let mut reached = 0;
        near.iter().enumerate().take_while(|(_, seen)| seen.at <= now.at).any(|(begin, seen)| {
            let end = near.partition_point(|other| other.at < seen.at + window);
            // One that begins later and reaches no further has nothing that the one before it had not.
            if end <= std::mem::replace(&mut reached, end) {
                return false;
            }
            let within = &near[begin..end];
            match text(self.table, "kind") {
                "distinct" => within.iter().map(|seen| &seen.value).collect::<BTreeSet<_>>().len() >= threshold,
                _ => within.len() >= threshold,
            }
        })
    }

    fn check_age(&self, events: &[(u64, Event)], finding: &mut Finding) {
        let name = text(self.table, "name");
        let age = ms(self.table, "age_s").unwrap_or(0);
        let quiet = ms(self.table, "quiet_s").unwrap_or(age);
        let message = |event: &Event| Some((whose("tenant", event)?, whose("message", event)?));
        type When = (u64, i64);
        // Place and time of each that began, whose it is, and place and time of its end: a replay begins anew.
        let mut begun: Vec<(u64, i64, String, Option<When>)> = Vec::new();
        // Of each message the beginning that has no end yet, or the end that came first.
        let mut open: BTreeMap<_, usize> = BTreeMap::new();
        let mut early = BTreeMap::new();
        for (place, event) in events {
            let Some(of) = message(event) else { continue };
            let at = event.at_unix_ms();
            if is_named(self.table, "until", event) {
                match open.remove(&of) {
                    Some(index) => begun[index].3 = Some((*place, at)),
                    None => drop(early.insert(of, (*place, at))),
                }
            } else if is_named(self.table, "events", event) && !open.contains_key(&of) {
                let Some(whose) = whose(text(self.table, "by"), event) else { continue };
                let end = early.remove(&of);
                if end.is_none() {
                    open.insert(of, begun.len());
                }
                begun.push((*place, at, whose, end));
            }
        }
        for (place, raised) in &self.raised {
            let waits = |at_place: u64| {
                begun.iter().any(|(begin, at, whose, end)| {
                    *begin == at_place
                        && *whose == key(raised)
                        && begin < place
                        && raised.at_unix_ms - at >= age
                        && end.is_none_or(|(end, _)| end > *place)
                })
            };
            finding.expect(raised.evidence.iter().all(|place| waits(*place)) && !raised.evidence.is_empty(), || {
                format!("{name}: {raised:?} at {place}, and not all of that waited so long")
            });
        }
        for pair in self.raised.iter().flat_map(|one| self.raised.iter().map(move |other| (one, other))) {
            let ((one, before), (other, after)) = pair;
            let again = one < other && key(before) == key(after) && after.at_unix_ms < before.at_unix_ms + quiet;
            finding.expect(!again, || format!("{name} was raised at {one}, and again at {other}: it should be quiet"));
        }
        let last = events.iter().map(|(_, event)| event.at_unix_ms()).max().unwrap_or(0);
        for (place, at, whose, end) in &begun {
            let until = end.map_or(last, |(_, at)| at);
            let near = |raised: &Raised| (at + age - quiet..=until + UNSEEN_MS).contains(&raised.at_unix_ms);
            let raised = self.raised.iter().any(|(_, raised)| key(raised) == *whose && near(raised));
            finding.expect(until - at < age + UNSEEN_MS || raised, || {
                format!("{name}: what began at {place} waited {} ms, and nothing was raised", until - at)
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use tenantry_system::alerting::{Engine, Rules, Watching};
    use tenantry_system::audit::{Step, StepKind};
    use tenantry_system::ids::{MessageId, TenantId, UserId};
    use tenantry_system::rights::Role;

    use super::*;

    const RULES: &str = r#"
        [[rule]]
        name = "burst"
        about = "b"
        severity = "warning"
        kind = "count"
        events = ["published"]
        by = "user"
        threshold = 3
        window_s = 2

        [[rule]]
        name = "walk"
        about = "w"
        severity = "critical"
        kind = "distinct"
        distinct = "tenant"
        events = ["broker/published"]
        by = "user"
        threshold = 3
        window_s = 4

        [[rule]]
        name = "waits"
        about = "w"
        severity = "warning"
        kind = "age"
        events = ["published"]
        until = ["dead_lettered"]
        by = "tenant"
        age_s = 5
    "#;

    type Log = (Vec<(u64, Event)>, Vec<Alert>);

    /// Every 700 ms ana sends a command to the next of four tenants, none ends, and the clock looks each time. Every other
    /// time the log starts anew, if it does, and shows the rules what was, or not.
    fn log(rules: &str, restarts: bool, recalls: bool) -> Log {
        let (mut events, mut alerts): Log = Default::default();
        let mut watch = engine(rules);
        for index in 0..40_usize {
            if restarts && index % 2 == 1 {
                watch = engine(rules);
                events.iter().filter(|_| recalls).for_each(|(place, event)| watch.recall(*place, event));
            }
            let step = Step {
                tenant: TenantId::parse(&format!("t-{}", index % 4)).ok(),
                user: UserId::parse("ana").ok(),
                message_id: MessageId::parse(&format!("m-{index}")).ok(),
                ..Step::new(index as i64 * 700, Role::Broker, StepKind::Published, index as u64)
            };
            let mut append = |event: Event, watch: &mut Engine| {
                let place = events.len() as u64 + 1;
                let found = watch.see(place, &event);
                alerts.extend(event.alert(place));
                events.push((place, event));
                found
            };
            let mut found = append(Event::Step(step), &mut watch);
            found.extend(watch.overdue(index as i64 * 700));
            for raised in found {
                assert!(append(Event::Raised(raised), &mut watch).is_empty());
            }
        }
        (events, alerts)
    }

    fn engine(rules: &str) -> Engine {
        Engine::new(&Rules::parse(rules).unwrap())
    }

    fn sound() -> Log {
        log(RULES, false, false)
    }

    fn violated((events, alerts): &Log) -> bool {
        !judge(RULES, events, alerts).violations.is_empty()
    }

    #[test]
    fn what_the_rules_make_of_a_log_is_accepted_and_each_of_them_fires() {
        let (events, alerts) = sound();
        assert_eq!(judge(RULES, &events, &alerts).violations, [""; 0]);
        for rule in ["burst", "walk", "waits"] {
            assert!(alerts.iter().filter(|alert| alert.code == rule).count() > 1, "{rule}");
        }
    }

    #[test]
    fn an_alert_too_few_too_many_too_early_or_of_another_is_seen() {
        for rule in ["burst", "walk", "waits"] {
            let of = |event: &Event| matches!(event, Event::Raised(raised) if raised.rule.as_str() == rule);
            let mut lacks = sound();
            lacks.0.retain(|(_, event)| !of(event));
            assert!(violated(&lacks), "{rule} is silent");
            let mut twice = sound();
            let last = twice.0.len() as u64;
            let (_, again) = twice.0.iter().find(|(_, event)| of(event)).cloned().unwrap();
            twice.1.extend(again.alert(last + 1));
            twice.0.push((last + 1, again));
            assert!(violated(&twice), "{rule} rings twice");
            let mut other = sound();
            for (_, event) in &mut other.0 {
                if let Event::Raised(raised) = event
                    && raised.rule.as_str() == rule
                {
                    (raised.user, raised.tenant) = (Some("bob".into()), None);
                }
            }
            assert!(violated(&other), "{rule} accuses another");
        }
        let mut unrung = sound();
        unrung.1.clear();
        assert!(violated(&unrung));
    }

    #[test]
    fn rules_that_fire_below_their_thresholds_or_forget_what_was_are_seen() {
        for (from, to) in
            [("threshold = 3\n        window_s = 2", "threshold = 2\n        window_s = 2"), ("age_s = 5", "age_s = 4")]
        {
            assert!(violated(&log(&RULES.replacen(from, to, 1), false, false)), "{to}");
        }
        assert!(!violated(&log(RULES, true, true)), "a start that is shown the log knows what was");
        assert!(violated(&log(RULES, true, false)), "one that is not does not");
    }
}
