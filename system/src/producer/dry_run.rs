//! What a command would change, before it is sent.
//!
//! Nothing is changed by it, and nothing is published. Whoever may send the command may try it, and nobody else: it shows
//! what the tenant has. A secret goes no further than here, and no data key is made for it.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::api::{Caller, merge, read_body, unchanged};
use super::openapi::{Endpoint, count, flag, id, list, nullable, object, one_of, text};
use super::{Problem, Producer};
use crate::auth::GrantRequest;
use crate::grant::{Basis, Purpose};
use crate::ledger::DryRun;
use crate::message::Message;

/// The door, as it is called in the audit log.
const ENTRY: &str = "POST /v1/dry-runs";

/// What nobody should take it for.
const NOTE: &str = "nothing was changed; whatever changes before the command takes effect - the tenant, the rules, who may \
    do what - may make its outcome another";

pub(super) fn endpoints() -> Vec<Endpoint> {
    let common = || {
        json!({
            "tenant_id": id(), "message_id": id(), "action": text(), "version": count(), "rules_version": count(),
            "paused": flag(), "suspended": flag(),
            "suspension": nullable(object(json!({"reason": text(), "version": count()}))),
            "permitted_by": list(text()), "needs_approval": flag(), "approved_by": nullable(id()), "note": text(),
        })
    };
    let would = |word: &str, more: Value| {
        let mut all = common();
        all["would"] = one_of(&[word]);
        merge(&mut all, more);
        object(all)
    };
    let one_of_its_kind = || json!({"type": "object", "minProperties": 1, "maxProperties": 1});
    let apply = json!({"changes": list(one_of_its_kind()), "differences": list(one_of_its_kind())});
    let reject = json!({"reason": object(json!({"code": text(), "detail": text()}))});
    let tried = Endpoint::post("/v1/dry-runs", "tryCommand", dry_run)
        .about(
            "What a command would change",
            "The body is the command's. Nothing is changed and nothing is published; whoever may send the command may try it. \
             `differences` has what stands where before and after. `needs_approval` says whether a second person's approval \
             is still to be asked for, `approved_by` who has given it; of a command with a secret no approval is found \
             here, for what is approved is the message with its secret sealed. 409: a command of this id has its outcome.",
        )
        .tagged("Dry runs and approvals")
        .reads(json!({"$ref": "#/components/schemas/message"}))
        .answers(200, "What would be", json!({"oneOf": [would("apply", apply), would("reject", reject)]}))
        .refuses(&["forbidden", "message-id-reused"]);
    vec![tried]
}

async fn dry_run(
    State(producer): State<Arc<Producer>>,
    Caller { token }: Caller,
    request: Request,
) -> Result<Json<Value>, Problem> {
    let body = read_body(request.into_body()).await?;
    let message = producer.submitted(body, ENTRY).await?;
    let (Basis { policies, approved_by, awaits_approval }, seen) = tried(&producer, token, &message).await?;
    let mut answer = show(&message, seen);
    merge(
        &mut answer,
        json!({
            "permitted_by": policies, "needs_approval": awaits_approval, "approved_by": approved_by, "note": NOTE,
        }),
    );
    Ok(Json(answer))
}

/// What `message` would change now, its secret left out, and what permits it.
async fn tried(producer: &Producer, token: String, message: &Message) -> Result<(Basis, DryRun), Problem> {
    let message = message.withheld()?;
    let request = GrantRequest {
        token,
        user: Some(message.user_id.clone()),
        tenant: message.tenant_id.clone(),
        purpose: Purpose::dry_run(&message),
    };
    let grant = producer.grant(&request).await?;
    let right = producer.verifier.dry_run(message.body.clone(), grant).await?;
    let seen = producer.ledger.dry_run(&right).await.map_err(unchanged)?;
    match seen.spent {
        Some(version) => Err(spent(&message, version)),
        None => Ok((right.basis().clone(), seen)),
    }
}

/// Makes sure that no command has an outcome under the id of `message` yet: to approve it would be for nothing. Whoever may
/// send it may ask.
pub(super) async fn must_be_open(producer: &Producer, token: String, message: &Message) -> Result<(), Problem> {
    tried(producer, token, message).await.map(|_| ())
}

fn spent(Message { tenant_id, message_id, .. }: &Message, version: u64) -> Problem {
    let detail = format!(
        "tenant {tenant_id} has an outcome for a message {message_id} since its version {version}: sent again it changes \
         nothing; try a new command under a new message_id"
    );
    Problem::new(StatusCode::CONFLICT, "message-id-reused", "A command of this id has its outcome", detail)
}

fn show(Message { tenant_id, message_id, action, .. }: &Message, seen: DryRun) -> Value {
    let DryRun { version, rules_version, paused, suspension, verdict, spent: _ } = seen;
    let mut shown = json!({
        "tenant_id": tenant_id, "message_id": message_id, "action": action.name(),
        "would": if verdict.is_ok() { "apply" } else { "reject" },
        "version": version, "rules_version": rules_version, "paused": paused,
        "suspended": suspension.is_some(), "suspension": suspension,
    });
    let told = match verdict {
        Ok(announced) => json!({"changes": announced.changes, "differences": announced.differences}),
        Err(rejection) => json!({ "reason": rejection }),
    };
    merge(&mut shown, told);
    shown
}
