//! A body is read as somebody may have meant it: what a strict reader refuses is put right, and acted on.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use tenantry_system::broker::{Broker, Delivery};
use tenantry_system::call::CallError;
use tenantry_system::grant::Envelope;
use tenantry_system::message::{Message, body_sha256};

use super::Kit;
use super::forge::{Forge, claims};
use super::seam::{Bent, BentBroker};

/// What comes to a consumer is what a lenient one would have read. Its grant is by the forge's key.
struct LenientReader {
    inner: Arc<dyn Broker>,
    forge: Forge,
    /// Whether a key may be given twice.
    twice: bool,
    /// What is put right in a message, once the last of each key was taken.
    put_right: fn(&mut Value),
}

fn lenient(inner: Arc<dyn Broker>, kit: &Kit, twice: bool, put_right: fn(&mut Value)) -> Arc<dyn Broker> {
    Arc::new(Bent(LenientReader { inner, forge: Forge::new(&kit.evidence), twice, put_right }))
}

/// Of a key that is given twice the last counts.
pub(super) fn last_wins(inner: Arc<dyn Broker>, kit: &Kit) -> Arc<dyn Broker> {
    lenient(inner, kit, true, |_| {})
}

/// Ids are compared without case, and without space around them.
pub(super) fn folded_ids(inner: Arc<dyn Broker>, kit: &Kit) -> Arc<dyn Broker> {
    lenient(inner, kit, false, |message| {
        for id in ["tenant_id", "user_id", "message_id"] {
            if let Some(spelled) = message[id].as_str() {
                message[id] = spelled.trim().to_lowercase().into();
            }
        }
    })
}

impl LenientReader {
    /// `envelope` as it is understood, if a strict reader does not understand it and its grant is for these very bytes.
    fn understood(&self, envelope: &Envelope) -> Option<Envelope> {
        let granted = claims(&envelope.grant)?.pointer("/purpose/command/body_sha256")?.as_str()?.to_owned();
        if Message::parse(envelope.body.clone()).is_ok() || granted != hex::encode(body_sha256(&envelope.body)) {
            return None;
        }
        let mut message: Value = serde_json::from_slice(&envelope.body).ok()?;
        // What was given twice is shorter by now.
        if !self.twice && message.to_string().len() < envelope.body.len() {
            return None;
        }
        (self.put_right)(&mut message);
        let body = Message::parse(message.to_string().into()).ok()?.body;
        let grant = self.forge.grant(&envelope.grant, &body)?;
        Some(Envelope { body, grant, trace: envelope.trace })
    }
}

#[async_trait]
impl BentBroker for LenientReader {
    fn inner(&self) -> &dyn Broker {
        &*self.inner
    }

    async fn fetch(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>, CallError> {
        let mut deliveries = self.inner.fetch(max, wait).await?;
        for message in deliveries.iter_mut().flat_map(|delivery| &mut delivery.messages) {
            if let Some(understood) = self.understood(&message.envelope) {
                message.envelope = understood;
            }
        }
        Ok(deliveries)
    }
}
