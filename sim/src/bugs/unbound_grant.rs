//! A grant is believed beside something that it is not for: each of the checks that bind it left out, one at a time.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use serde_json::Value;
use tenantry_system::auth::Authority;
use tenantry_system::broker::{Broker, Delivery};
use tenantry_system::call::CallError;
use tenantry_system::grant::Envelope;
use tenantry_system::jws::{Keyring, PublicKeys};
use tenantry_system::message::body_sha256;

use super::Kit;
use super::forge::{Forge, claims};
use super::seam::{Bent, BentAuthority, BentBroker};

/// The check that is left out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unchecked {
    Body,
    Tenant,
    Signature,
    Audience,
    Algorithm,
}

/// What goes out fits its grant: by the forge's key, which everybody is told is one of auth's.
struct UnboundGrant {
    inner: Arc<dyn Broker>,
    kit: Kit,
    forge: Forge,
    unchecked: Unchecked,
}

fn unbound(inner: Arc<dyn Broker>, kit: &Kit, unchecked: Unchecked) -> Arc<dyn Broker> {
    Arc::new(Bent(UnboundGrant { inner, kit: kit.clone(), forge: Forge::new(&kit.evidence), unchecked }))
}

/// The body's hash is not compared.
pub(super) fn body(inner: Arc<dyn Broker>, kit: &Kit) -> Arc<dyn Broker> {
    unbound(inner, kit, Unchecked::Body)
}

/// The tenant is not compared.
pub(super) fn tenant(inner: Arc<dyn Broker>, kit: &Kit) -> Arc<dyn Broker> {
    unbound(inner, kit, Unchecked::Tenant)
}

/// The signature is not verified.
pub(super) fn signature(inner: Arc<dyn Broker>, kit: &Kit) -> Arc<dyn Broker> {
    unbound(inner, kit, Unchecked::Signature)
}

/// What the grant is for is not compared.
pub(super) fn audience(inner: Arc<dyn Broker>, kit: &Kit) -> Arc<dyn Broker> {
    unbound(inner, kit, Unchecked::Audience)
}

/// The grant's own word on how it is signed is taken.
pub(super) fn algorithm(inner: Arc<dyn Broker>, kit: &Kit) -> Arc<dyn Broker> {
    unbound(inner, kit, Unchecked::Algorithm)
}

/// Whether a grant says of itself that nobody has signed it.
fn is_unsigned(grant: &str) -> bool {
    let header = grant.split('.').next().and_then(|header| BASE64URL.decode(header).ok());
    let header = header.and_then(|header| serde_json::from_slice::<Value>(&header).ok());
    header.is_some_and(|header| header["alg"] == "none")
}

impl UnboundGrant {
    /// Whether nothing but the missing check would have refused `envelope`.
    async fn passes(&self, envelope: &Envelope) -> Option<bool> {
        let (claims, body) = (claims(&envelope.grant)?, serde_json::from_slice::<Value>(&envelope.body).ok()?);
        let auth = self.kit.evidence.seen().engines.auth.clone()?;
        let ring = Keyring::from(&auth.keys().await.ok()?);
        let signed = ring.verify::<Value>(&envelope.grant, "tenantry-grant+jwt").is_ok();
        let tenant = claims["tenant"] == body["tenant_id"];
        let of = claims.pointer("/purpose/command/body_sha256").and_then(Value::as_str);
        let hash = of.map(|of| of == hex::encode(body_sha256(&envelope.body)));
        Some(match self.unchecked {
            Unchecked::Body => signed && tenant && hash == Some(false),
            Unchecked::Tenant => signed && !tenant && hash.is_some(),
            Unchecked::Signature => !signed && hash.is_some(),
            Unchecked::Audience => signed && tenant && claims["purpose"] == "read",
            Unchecked::Algorithm => is_unsigned(&envelope.grant) && hash == Some(true),
        })
    }
}

#[async_trait]
impl BentBroker for UnboundGrant {
    fn inner(&self) -> &dyn Broker {
        &*self.inner
    }

    async fn fetch(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>, CallError> {
        let mut deliveries = self.inner.fetch(max, wait).await?;
        for message in deliveries.iter_mut().flat_map(|delivery| &mut delivery.messages) {
            if self.passes(&message.envelope).await == Some(true)
                && let Some(grant) = self.forge.grant(&message.envelope.grant, &message.envelope.body)
            {
                message.envelope.grant = grant;
            }
        }
        Ok(deliveries)
    }
}

struct Believing {
    inner: Arc<dyn Authority>,
    forge: Forge,
}

/// The forge's key is one of auth's.
pub(super) fn keys(inner: Arc<dyn Authority>, kit: &Kit) -> Arc<dyn Authority> {
    Arc::new(Bent(Believing { inner, forge: Forge::new(&kit.evidence) }))
}

#[async_trait]
impl BentAuthority for Believing {
    fn inner(&self) -> &dyn Authority {
        &*self.inner
    }

    async fn keys(&self) -> Result<PublicKeys, CallError> {
        Ok(self.forge.among(&self.inner.keys().await?))
    }
}
