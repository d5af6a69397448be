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
    use std::time::Duration;

    use axum::Router;
    use axum::body::Body;
    use axum::extract::Request;
    use http_body_util::BodyExt;
    use hyper::service::Service;
    use hyper_util::service::TowerToHyperService;

    use super::super::http::Source;
    use super::*;
    use crate::audit::{Attempt, Audit, Claimed, Code, EmbeddedAudit, Event};
    use crate::auth::{Directory, Policies};
    use crate::broker::{EmbeddedBroker, Limits};
    use crate::rate_limit::RateLimits;
    use crate::rights::Role;
    use crate::testing::{Bench, OPERATOR};

    /// Ana administers acme, and olaf is on call.
    const DIRECTORY: &str = r#"
        tenants = ["acme", "globex"]
        team = [{ name = "on-call", members = ["olaf"] }]
        binding = [{ user = "ana", tenant = "acme", role = "admin" }]
    "#;

    /// The API of a log in which acme was attacked twice, globex once, and an attempt of nobody's rang less loud.
    async fn api() -> (Bench, Router) {
        let bench = Bench::new().await;
        bench.authority.reload(Policies::default_over(Directory::parse(DIRECTORY).unwrap())).await.unwrap();
        let audit = Arc::new(EmbeddedAudit::open(&bench.world).await.unwrap());
        let attempt = |at_unix_ms, code, tenant: Option<&str>| {
            let (service, entry, detail) = (Role::Consumer, "decide".into(), String::new());
            let claimed = tenant.map_or_else(Claimed::default, Claimed::tenant);
            Event::Refused(Attempt { at_unix_ms, service, entry, code, claimed, detail })
        };
        let attempts = vec![
            attempt(1000, Code::NoRight, Some("acme")),
            attempt(2000, Code::NoRight, Some("globex")),
            attempt(3000, Code::HostileBody, None),
            attempt(4000, Code::NoRight, Some("acme")),
        ];
        audit.append("consumer", 1, attempts).await.unwrap();
        let broker = Arc::new(EmbeddedBroker::open(&bench.world, Limits::default()).await.unwrap());
        let (auth, clock) = (bench.authority.clone(), bench.world.clock.clone());
        let producer = Producer::new(broker, auth, bench.ledger().await, clock, &RateLimits::default(), bench.keys());
        let router = super::super::router(Arc::new(producer.auditing(audit)));
        // Buckets begin empty.
        tokio::time::sleep(Duration::from_secs(5)).await;
        (bench, router)
    }

    async fn ask(bench: &Bench, router: &Router, who: &str, query: &str) -> (u16, Value) {
        let request = Request::get(format!("/v1/alerts{query}"));
        let request = request.header("authorization", format!("Bearer {}", bench.token(who)));
        let mut request = request.body(Body::empty()).unwrap();
        request.extensions_mut().insert(Source("here".into()));
        let answer = TowerToHyperService::new(router.clone()).call(request).await.unwrap();
        let (status, body) = (answer.status().as_u16(), answer.into_body().collect().await.unwrap().to_bytes());
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    fn places(answer: &Value) -> Vec<u64> {
        answer["alerts"].as_array().unwrap().iter().map(|alert| alert["place"].as_u64().unwrap()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_on_call_sees_all_that_rang_page_by_page() {
        let (bench, router) = api().await;
        let (status, all) = ask(&bench, &router, "olaf", "").await;
        assert_eq!((status, places(&all), &all["next"]), (200, vec![1, 2, 3, 4], &Value::Null), "{all}");
        let first = json!({
            "place": 1, "at": "1970-01-01T00:00:01Z", "severity": "critical", "code": "no_right", "tenant": "acme",
            "user": null, "line": all["alerts"][0]["line"],
        });
        assert_eq!(all["alerts"][0], first);
        let (_, page) = ask(&bench, &router, "olaf", "?limit=3").await;
        assert_eq!((places(&page), &page["next"]), (vec![1, 2, 3], &json!(3)));
        let (_, rest) = ask(&bench, &router, "olaf", "?limit=3&after=3").await;
        assert_eq!((places(&rest), &rest["next"]), (vec![4], &Value::Null));
        let (_, loud) = ask(&bench, &router, "olaf", "?severity=critical").await;
        assert_eq!(places(&loud), [1, 2, 4]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_administers_a_tenant_sees_its_alerts_and_no_others() {
        let (bench, router) = api().await;
        let (status, own) = ask(&bench, &router, OPERATOR, "?tenant=acme").await;
        assert_eq!((status, places(&own)), (200, vec![1, 4]), "{own}");
        for query in ["", "?severity=critical", "?tenant=globex"] {
            let (status, refused) = ask(&bench, &router, OPERATOR, query).await;
            assert!(status == 403 && refused.to_string().contains("forbidden"), "{query}: {refused}");
        }
    }

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
