//! `tenantryd command dry-run`: what a command would change, as a signed difference.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use serde_json::Value;

use crate::client::{Access, print_json};
use crate::command::read_message;

/// Asks and prints.
pub(crate) async fn run(file: &Path, access: &Access) -> anyhow::Result<()> {
    let seen = access.api()?.post("/v1/dry-runs", read_message(file)?).await?;
    match access.json {
        true => print_json(&seen),
        false => Ok(write!(std::io::stdout(), "{}", told(&seen))?),
    }
}

/// The answer for people: a headline, then a line each of what goes and what comes, as `diff` has it.
fn told(seen: &Value) -> String {
    let text = |name: &str| seen[name].as_str().unwrap_or_default();
    let mut told = format!("{} of {} on {}: ", text("action"), text("message_id"), text("tenant_id"));
    let mut line = |text: &str| writeln!(told, "{text}").expect("a string grows");
    let standing = format!("as the tenant stands at version {}", seen["version"]);
    if text("would") == "reject" {
        let [code, detail] = ["code", "detail"].map(|name| seen["reason"][name].as_str().unwrap_or_default());
        line(&format!("would be rejected, {standing}: {code}: {detail}"));
    } else {
        line(&format!("would apply, {standing}"));
        let differences = seen["differences"].as_array().map(Vec::as_slice).unwrap_or_default();
        for (what, before, after) in differences.iter().filter_map(signed) {
            before.iter().for_each(|before| line(&format!("- {what}{before}")));
            after.iter().for_each(|after| line(&format!("+ {what}{after}")));
        }
        if differences.is_empty() {
            line("  everything stands so already");
        }
    }
    if seen["paused"] == true {
        line("  the tenant is paused: the command would wait");
    }
    if seen["needs_approval"] == true {
        line("  it takes a second person's approval: tenantryd approvals ask");
    }
    if let Some(by) = seen["approved_by"].as_str() {
        line(&format!("  {by} has approved it: it can be sent"));
    }
    let permitted = seen["permitted_by"].as_array().map(Vec::as_slice).unwrap_or_default();
    let policies: Vec<_> = permitted.iter().filter_map(Value::as_str).collect();
    line(&format!("  by rules {}, permitted by {}", seen["rules_version"], policies.join(", ")));
    line(&format!("  {}", text("note")));
    told
}

/// What differs, and how it stands before and after; none where there is nothing.
fn signed(difference: &Value) -> Option<(String, Option<String>, Option<String>)> {
    let (kind, of) = difference.as_object()?.iter().next()?;
    let word = |name: &str| of[name].as_str().unwrap_or_default();
    let value = |name: &str| match &of[name] {
        Value::Null => None,
        Value::String(text) => Some(format!(": {text}")),
        other => Some(format!(": {other}")),
    };
    let (before, after) = (value("before"), value("after"));
    Some(match kind.as_str() {
        "limit" => (format!("limit {}", word("limit_type")), before, after),
        "plan" => ("plan".into(), before, after),
        "entitlement" => {
            let held = |side: &str| (of[side] == true).then(String::new);
            let origin = if word("origin") == "plan" { " (of the plan)" } else { "" };
            (format!("entitlement {}{origin}", word("entitlement")), held("before"), held("after"))
        }
        "credit" => {
            let change = of["change_minor"].as_i64().unwrap_or_default();
            let minor = |side: &str, more: String| Some(format!(": {}{more}", of[side]));
            let (before, after) =
                (minor("before_minor", String::new()), minor("after_minor", format!(" ({change:+})")));
            (format!("credit {} in minor units", word("currency")), before, after)
        }
        "suspension" => ("suspended".into(), before, after),
        "credential" => {
            let sealed =
                |version: Option<String>| version.map(|version| format!(", sealed under data key{}", &version[1..]));
            (format!("credential {}", word("credential")), sealed(before), sealed(after))
        }
        "data_key" => ("data key".into(), before, after),
        other => (other.to_owned(), None, Some(format!(": {of}"))),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_goes_and_what_comes_stand_on_a_line_each() {
        let seen = json!({
            "tenant_id": "acme", "message_id": "m-1", "action": "change_plan", "would": "apply", "version": 7,
            "rules_version": 2, "paused": true, "permitted_by": ["admin-manages-everything"], "note": "nothing was changed",
            "differences": [
                {"limit": {"limit_type": "api_requests", "before": 5000, "after": 10000}},
                {"plan": {"before": null, "after": "team"}},
                {"entitlement": {"entitlement": "api", "origin": "plan", "before": true, "after": false}},
                {"entitlement": {"entitlement": "sso", "origin": "grant", "before": false, "after": true}},
                {"credit": {"currency": "EUR", "before_minor": 1000, "after_minor": 3500, "change_minor": 2500}},
                {"credential": {"credential": "stripe", "before": 0, "after": null}},
                {"data_key": {"before": 0, "after": 1}},
            ],
        });
        let right = "\
change_plan of m-1 on acme: would apply, as the tenant stands at version 7
- limit api_requests: 5000
+ limit api_requests: 10000
+ plan: team
- entitlement api (of the plan)
+ entitlement sso
- credit EUR in minor units: 1000
+ credit EUR in minor units: 3500 (+2500)
- credential stripe, sealed under data key 0
- data key: 0
+ data key: 1
  the tenant is paused: the command would wait
  by rules 2, permitted by admin-manages-everything
  nothing was changed
";
        assert_eq!(told(&seen), right);
    }

    #[test]
    fn a_rejection_says_why() {
        let seen = json!({"tenant_id": "acme", "message_id": "m-1", "action": "resume_tenant", "would": "reject",
            "version": 1, "reason": {"code": "not_suspended", "detail": "it is not"}});
        let first = "resume_tenant of m-1 on acme: would be rejected, as the tenant stands at version 1: not_suspended: it is not\n";
        assert!(told(&seen).starts_with(first), "{}", told(&seen));
    }
}
