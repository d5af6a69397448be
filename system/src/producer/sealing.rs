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
use crate::ledger::DataKeys;
use crate::message::{BodyHash, Message};
use crate::monitor::TraceContext;
use crate::secret::{ClearText, KeyContext, KeyVersion, SealContext, WrappedKey, replace_secret};

/// Publishes `message` with its secret `clear` sealed, and says which hash it has then.
pub(super) async fn publish(
    producer: &Producer,
    token: String,
    message: &Message,
    clear: &ClearText,
    trace: Option<TraceContext>,
) -> Result<(Published, BodyHash), Problem> {
    let keys = data_keys(producer, token.clone(), message).await?;
    for (version, wrapped) in &keys.keys {
        let message = under(producer, message, clear, *version, wrapped).await?;
        match producer.publish(token.clone(), &message, trace).await? {
            Published::Conflict => {}
            published => return Ok((published, message.body_sha256())),
        }
    }
    if keys.erased { Err(undecidable(message)) } else { Ok((Published::Conflict, message.body_sha256())) }
}

/// `message` as it would be published, its secret `clear` sealed under the key that seals now.
pub(super) async fn sealed(
    producer: &Producer,
    token: String,
    message: &Message,
    clear: &ClearText,
) -> Result<Message, Problem> {
    let keys = data_keys(producer, token, message).await?;
    let (version, wrapped) = keys.keys.first().ok_or_else(|| CallError::failed("the tenant has no data key"))?;
    under(producer, message, clear, *version, wrapped).await
}

/// The data keys of the tenant of `message`, for whoever may send it.
async fn data_keys(producer: &Producer, token: String, message: &Message) -> Result<DataKeys, Problem> {
    let (tenant, message_id) = (message.tenant_id.clone(), message.message_id.clone());
    let request = GrantRequest {
        token,
        user: Some(message.user_id.clone()),
        tenant,
        purpose: Purpose::Seal { action: message.action.name().into(), message_id },
    };
    let right = producer.verifier.seal(producer.grant(&request).await?).await?;
    producer.limiter.command(&message.tenant_id, &message.user_id)?;
    // Whatever became of the question: the command itself was not sent yet.
    Ok(producer.ledger.data_keys(&right).await.map_err(CallError::failed)?)
}

/// `message` with its secret `clear` sealed under one data key.
async fn under(
    producer: &Producer,
    message: &Message,
    clear: &ClearText,
    version: KeyVersion,
    wrapped: &WrappedKey,
) -> Result<Message, Problem> {
    let (tenant, message_id, action) = (&message.tenant_id, &message.message_id, message.action.name());
    let context = KeyContext { tenant: tenant.clone(), version };
    let key = producer.keys.unwrap(wrapped, &context).await.map_err(|error| {
        tracing::error!(%error, "a data key can't be had; nothing can be sealed under it");
        CallError::failed("the tenant's data key can't be had")
    })?;
    let sealed = key.seal(version, &SealContext { tenant, action, message_id, field: SECRET_FIELD }, clear);
    let body = replace_secret(&message.body, &sealed).expect("it was read from there");
    Ok(Message::parse(body)?)
}

/// The id is taken, and what took it may have been sealed under a key that is no more.
fn undecidable(message: &Message) -> Problem {
    let (tenant, id) = (&message.tenant_id, &message.message_id);
    let detail = format!(
        "tenant {tenant} already has a message {id}; whether it is this one can't be told, for some of the tenant's secrets \
         were erased, and with them what could be compared: look at its status, or use a new message_id"
    );
    Problem::new(axum::http::StatusCode::CONFLICT, "message-id-spent", "This id is taken", detail)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::broker::{Broker, EmbeddedBroker, Limits, Position};
    use crate::ledger::{EmbeddedLedger, Ledger, Run, Work};
    use crate::rate_limit::RateLimits;
    use crate::secret::Secret;
    use crate::testing::{Bench, OPERATOR, asking};

    struct Rig {
        bench: Bench,
        broker: Arc<EmbeddedBroker>,
        ledger: Arc<EmbeddedLedger>,
    }

    impl Rig {
        async fn new() -> Self {
            let bench = Bench::new().await;
            let broker = Arc::new(EmbeddedBroker::open(&bench.world, Limits::default()).await.unwrap());
            let ledger = Arc::new(EmbeddedLedger::open(&bench.world, bench.keys()).await.unwrap());
            Self { bench, broker, ledger }
        }

        /// A producer that has just started.
        fn producer(&self) -> Producer {
            let (broker, ledger, clock) = (self.broker.clone(), self.ledger.clone(), self.bench.world.clock.clone());
            let (limits, keys) = (RateLimits::default(), self.bench.keys());
            Producer::new(broker, self.bench.authority.clone(), ledger, clock, &limits, keys)
        }

        /// Sends a secret through a producer that has just started.
        async fn send(&self, id: &str, secret: &str) -> Result<Published, Problem> {
            // Buckets begin empty.
            let producer = self.producer();
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            let payload = format!(r#"{{"credential": "stripe", "secret": "{secret}"}}"#);
            let body = asking("acme", id, "store_credential", &payload);
            let message = Message::parse_submitted(body.into()).unwrap();
            let Some(Secret::Clear(clear)) = message.action.secret() else { panic!("{message:?}") };
            let published = publish(&producer, self.bench.token(OPERATOR), &message, clear, None).await;
            published.map(|(published, _)| published)
        }

        async fn apply(&self, id: &str, action: &str, sequence: u64) {
            let command = self.bench.command("acme", id, action, asking("acme", id, action, "{}")).await;
            // The rig's senders let time pass.
            self.ledger.learn(self.bench.authority.in_force_now(), tokio::time::Instant::now());
            let decision = self.bench.permit("acme", command.message().action.permission());
            let work = Work { command, decision, position: Position { epoch: 1, sequence } };
            self.ledger.apply(&Run::new(vec![work]).unwrap()).await.unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_retry_is_the_same_command_also_after_rotations_and_a_restart_and_another_secret_is_not() {
        let rig = Rig::new().await;
        assert_eq!(rig.send("m-1", "hunter2").await, Ok(Published::Accepted { sequence: 1 }));
        assert_eq!(rig.send("m-1", "hunter2").await, Ok(Published::Duplicate { sequence: 1 }));
        for (id, sequence) in [("r-1", 1), ("r-2", 2), ("r-3", 3)] {
            rig.apply(id, "rotate_data_key", sequence).await;
            assert_eq!(rig.send("m-1", "hunter2").await, Ok(Published::Duplicate { sequence: 1 }), "after {id}");
        }
        assert_eq!(rig.send("m-1", "hunter3").await, Ok(Published::Conflict));
    }

    #[tokio::test(start_paused = true)]
    async fn after_an_erasure_nobody_can_tell_a_retry_and_it_is_said_so() {
        let rig = Rig::new().await;
        rig.send("m-1", "hunter2").await.unwrap();
        rig.apply("e-1", "erase_tenant_secrets", 1).await;
        let told = format!("{:?}", rig.send("m-1", "hunter2").await.unwrap_err());
        assert!(told.contains("message-id-spent") && !told.contains("hunter2"), "{told}");
        assert!(matches!(rig.send("m-2", "hunter2").await, Ok(Published::Accepted { .. })));
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_broker_gets_is_sealed_and_granted_as_it_is() {
        let rig = Rig::new().await;
        rig.send("m-1", "hunter2").await.unwrap();
        let delivery = rig.broker.fetch(1, std::time::Duration::ZERO).await.unwrap().remove(0);
        let envelope = delivery.messages[0].envelope.clone();
        assert!(!String::from_utf8(envelope.body.to_vec()).unwrap().contains("hunter2"));
        let command = rig.bench.verifier.command(envelope).await.unwrap();
        assert!(command.message().action.sealed().is_some());
        assert!(rig.send("m-2", "hunter2").await.is_ok());
        let sealed = asking(
            "acme",
            "m-3",
            "store_credential",
            r#"{"credential":"stripe","secret":{"sealed":"AAAAAAAAAAAAAAAAAAAAAAAA","data_key":0}}"#,
        );
        let refused = Message::parse_submitted(sealed.into()).unwrap_err();
        assert_eq!(refused.field, "payload.secret", "an operator may hand in a ciphertext");
    }
}
