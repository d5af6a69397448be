//! G7: who is to be told of alerts is told each, at least once, in the order of the log, and of nothing else.

use std::collections::BTreeSet;

use serde_json::json;
use tenantry_system::audit::{Alert, Event};

use super::{Case, Finding};
use crate::tenantry::receiver::QUIET_S;

pub(super) fn check(case: &Case<'_>) -> Finding {
    let mut finding = Finding::new("G7-webhook");
    let received = &case.seen.received;
    let expected = told(case);
    for request in received {
        finding.expect(request.signed, || format!("{} came with a signature that is not right", request.id));
        let place = request.body["data"]["place"].as_u64();
        let alert = expected.iter().find(|(alert, _)| Some(alert.place) == place);
        let right = alert.is_some_and(|(alert, held_back)| {
            let Alert { place, severity, code, tenant, user, line, .. } = alert;
            let data = json!({
                "id": request.id, "place": place, "severity": severity, "code": code, "tenant": tenant, "user": user,
                "line": line, "held_back": held_back,
            });
            request.body["data"] == data && request.id.ends_with(&format!("/{place}"))
        });
        finding.expect(right, || format!("{request:?} was sent, and what was to be told is {alert:?}"));
    }
    // First receptions, in their order.
    let mut known = BTreeSet::new();
    let taken =
        received.iter().filter(|request| request.taken).filter_map(|request| request.body["data"]["place"].as_u64());
    let taken: Vec<_> = taken.filter(|place| known.insert(*place)).collect();
    let places: Vec<_> = expected.iter().map(|(alert, _)| alert.place).collect();
    finding.compared += taken.len().max(places.len()) as u64;
    finding.forbid(taken != places, || format!("the receiver was to be told of {places:?}, and took {taken:?}"));
    finding
}

/// The alerts that are to be told, and how many like each were held back since the one before: found again from the log,
/// one by one. What a rule has raised is never held back.
fn told<'a>(case: &Case<'a>) -> Vec<(&'a Alert, u64)> {
    let by_rule = |alert: &Alert| {
        case.kept.events.iter().any(|(place, event)| *place == alert.place && matches!(event, Event::Raised(_)))
    };
    let like = |alert: &Alert| (alert.code.clone(), alert.tenant.clone(), alert.user.clone());
    let mut told: Vec<(&Alert, u64)> = Vec::new();
    for (index, alert) in case.kept.alerts.iter().enumerate() {
        let before = told.iter().rev().find(|(other, _)| !by_rule(alert) && like(other) == like(alert));
        let Some((before, _)) = before else {
            told.push((alert, 0));
            continue;
        };
        let apart = alert.at_unix_ms.abs_diff(before.at_unix_ms);
        if apart >= u64::from(QUIET_S) * 1000 {
            let between = case.kept.alerts[..index].iter().filter(|other| other.place > before.place);
            told.push((alert, between.filter(|other| like(other) == like(alert)).count() as u64));
        }
    }
    told
}
