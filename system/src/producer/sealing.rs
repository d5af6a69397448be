//! Seals the secret of a command before anyone else sees it: the grant is already for the sealed body.
//!
//! A retry must become the same bytes, also when the tenant's data key was rotated in between. So where the broker knows
//! the id with another body, the command is sealed once more under each of the earlier keys that are still there: if one
//! of them gives the bytes that the broker has, it is the same command.

use super::{Problem, Producer};
use crate::action::SECRET_FIELD;
use crate::auth::GrantRequest;
use crate::broker::Published;
use crate::call::CallError;
use crate::grant::Purpose;
use crate::message::Message;
use crate::secret::{ClearText, KeyContext, SealContext, replace_secret};

/// Publishes `message` with its secret `clear` sealed.
pub(super) async fn publish(
    producer: &Producer,
    token: String,
    message: &Message,
    clear: &ClearText,
) -> Result<Published, Problem> {
    let (tenant, message_id, action) = (&message.tenant_id, &message.message_id, message.action.name());
    let request = GrantRequest {
        token: token.clone(),
        user: Some(message.user_id.clone()),
        tenant: tenant.clone(),
        purpose: Purpose::Seal { action: action.into(), message_id: message_id.clone() },
    };
    let right = producer.verifier.seal(producer.grant(&request).await?).await?;
    producer.limiter.command(tenant, &message.user_id)?;
    // Whatever became of the question: the command itself was not sent yet.
    let keys = producer.ledger.data_keys(&right).await.map_err(CallError::failed)?;
    for (version, wrapped) in &keys.keys {
        let context = KeyContext { tenant: tenant.clone(), version: *version };
        let key = producer.keys.unwrap(wrapped, &context).await.map_err(|error| {
            tracing::error!(%error, "a data key can't be had; nothing can be sealed under it");
            CallError::failed("the tenant's data key can't be had")
        })?;
        let sealed = key.seal(*version, &SealContext { tenant, action, message_id, field: SECRET_FIELD }, clear);
        let body = replace_secret(&message.body, &sealed).expect("it was read from there");
        let message = Message::parse(body)?;
        match producer.publish(token.clone(), &message).await? {
            Published::Conflict => {}
            published => return Ok(published),
        }
    }
    if keys.erased { Err(undecidable(message)) } else { Ok(Published::Conflict) }
}

/// The id is taken, and what took it may have been sealed under a key that is no more.
fn undecidable(message: &Message) -> Problem {
    let (tenant, id) = (&message.tenant_id, &message.message_id);
    let detail = format!(
        "tenant {tenant} already has a message {id}; if it is this one, it was sealed before the tenant's secrets were \
         erased, and nobody can compare them any more: look at its status, or use a new message_id"
    );
    Problem::new(axum::http::StatusCode::CONFLICT, "message-id-spent", "This id was used before an erasure", detail)
}
