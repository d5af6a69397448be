//! What rang, over HTTP.
//!
//! With `tenant` those of a tenant that the operator may read. Without it all of them, also those that are of no tenant - one
//! operator on many tenants - for whom the policies permit `watch_alerts` on the platform.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::api::{Caller, unchanged};
use super::openapi::{Endpoint, count, id, instant, list, nullable, number, object, one_of, query, text};
use super::parameters::Parameters;
use super::{Problem, Producer};
use crate::audit::{Alert, AlertQuery, PAGE_MAX, Severity};
use crate::auth::{Denied, PlatformRight};
use crate::ids::TenantId;
use crate::message::{Refusal, quoted};
use crate::whole::WHOLE_MAX;

/// Alerts in an answer, unless the request says otherwise.
const LIMIT: u32 = 50;

pub(super) fn endpoints() -> Vec<Endpoint> {
    let alert = object(json!({
        "place": count(), "at": nullable(instant()), "severity": severities(), "code": text(),
        "tenant": nullable(text()), "user": nullable(text()), "line": text(),
    }));
    let listed = Endpoint::get("/v1/alerts", "listAlerts", alerts)
        .about(
            "What rang, oldest first",
            "With `tenant` the alerts of a tenant that the operator may read; without it all of them, for whom the policies \
             permit `watch_alerts` on the platform.",
        )
        .tagged("Audit")
        .takes(query("tenant", id(), "Only alerts of this tenant."))
        .takes(query("severity", severities(), "Only alerts this loud."))
        .takes(query("after", count(), "After this place in the audit log."))
        .takes(query("limit", number(1, PAGE_MAX as u64), "Most alerts of a page; 50 without it."))
        .answers(
            200,
            "A page; `next` is the `after` of the next one, null on the last.",
            object(json!({"alerts": list(alert), "next": nullable(count())})),
        )
        .refuses(&["forbidden"]);
    vec![listed]
}

fn severities() -> Value {
    one_of(&["warning", "critical"])
}

async fn alerts(
    State(producer): State<Arc<Producer>>,
    uri: Uri,
    Caller { token }: Caller,
) -> Result<Json<Value>, Problem> {
    let (tenant, query) = parse(&uri)?;
    let tenant = match tenant {
        // What is searched is what was verified.
        Some(tenant) => Some(producer.read_scope(token, &tenant).await?.scope().tenant().to_string()),
        None => {
            let right = Some(PlatformRight::WatchAlerts);
            let known = producer.authority.operator(&token, right).await.map_err(unchanged)?;
            known.map_err(|denied| match denied {
                Denied::Forbidden(why) => Denied::Forbidden(format!(
                    "{why}; these are the alerts of all tenants: name one with `tenant` to see its own alone"
                )),
                denied => denied,
            })?;
            None
        }
    };
    let found = producer.audit()?.search_alerts(&AlertQuery { tenant, ..query }).await.map_err(unchanged)?;
    let alerts: Vec<_> = found.alerts.iter().map(show).collect();
    Ok(Json(json!({ "alerts": alerts, "next": found.next })))
}

fn show(alert: &Alert) -> Value {
    let Alert { place, at_unix_ms, severity, code, tenant, user, line } = alert;
    let at = Timestamp::from_millisecond(*at_unix_ms).ok().map(|at| at.to_string());
    json!({
        "place": place, "at": at, "severity": severity, "code": code, "tenant": tenant, "user": user, "line": line,
    })
}

/// Reads the query of `uri`.
fn parse(uri: &Uri) -> Result<(Option<TenantId>, AlertQuery), Refusal> {
    let mut given = Parameters::of(uri)?;
    let tenant = given.take("tenant", TenantId::parse)?;
    let query = AlertQuery {
        tenant: None,
        severity: given.take("severity", severity)?,
        after: given.number("after", 0, WHOLE_MAX)?.unwrap_or(0),
        max: given.number("limit", 1, PAGE_MAX as u64)?.map_or(LIMIT, |limit| limit as u32),
    };
    given.end()?;
    Ok((tenant, query))
}

fn severity(text: &str) -> Result<Severity, String> {
    match text {
        "warning" => Ok(Severity::Warning),
        "critical" => Ok(Severity::Critical),
        _ => Err(format!("must be warning or critical, not {}", quoted(text))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_query_is_refused_with_the_parameter() {
        for (query, field, problem) in [
            ("?tenant=Acme", "tenant", "'A' as character 1"),
            ("?severity=loud", "severity", "must be warning or critical, not \"loud\""),
            ("?after=-1", "after", "must be a whole number from 0"),
            ("?limit=257", "limit", "from 1 to 256"),
            ("?after=1&after=1", "after", "is given twice"),
            ("?user=ana", "user", "is unknown; known are `tenant`"),
        ] {
            let refused = parse(&format!("/{query}").try_into().unwrap()).expect_err(query);
            assert!(refused.field == field && refused.problem.contains(problem), "{query}: {refused}");
        }
        let (tenant, all) = parse(&Uri::from_static("/")).unwrap();
        assert_eq!((tenant, all), (None, AlertQuery { max: LIMIT, ..AlertQuery::default() }));
        let (tenant, query) = parse(&Uri::from_static("/?tenant=acme&severity=critical&after=3&limit=9")).unwrap();
        assert_eq!(tenant.unwrap().as_str(), "acme");
        assert_eq!(query, AlertQuery { severity: Some(Severity::Critical), after: 3, max: 9, tenant: None });
    }
}
