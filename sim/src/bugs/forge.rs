//! Rights that nobody granted, for bugs behind a door that only verified rights open: what a ledger that makes a mistake
//! would do, it can be made to do only like this. That is what the types are for.

use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use serde_json::{Value, json};
use tenantry_system::auth::{Authority, Decision, InForce, Verdict};
use tenantry_system::broker::Position;
use tenantry_system::call::CallError;
use tenantry_system::grant::{Envelope, GrantToken, VerifiedCommand, VerifiedRead, VerifiedSeal, Verifier};
use tenantry_system::ids::TenantId;
use tenantry_system::jws::{PrivateKey, PublicKeys};
use tenantry_system::ledger::{Applied, Ledger, Run, Work};
use tenantry_system::message::body_sha256;

use super::seam::{Bent, BentAuthority};
use crate::tenantry::evidence::Evidence;
use crate::tenantry::world::SimClock;

const TYPE: &str = "tenantry-grant+jwt";

/// Others may come in between so often.
const FORCE_MAX: usize = 8;

/// What stands in a grant, whoever signed it.
#[must_use]
pub(super) fn claims(grant: &str) -> Option<Value> {
    serde_json::from_slice(&BASE64URL.decode(grant.split('.').nth(1)?).ok()?).ok()
}

/// Makes grants with a key of its own, and believes them.
pub(super) struct Forge {
    key: PrivateKey,
    verifier: Verifier,
    evidence: Evidence,
}

/// Auth, as far as a verifier asks it.
struct Keys(PrivateKey);

#[async_trait]
impl BentAuthority for Keys {
    fn inner(&self) -> &dyn Authority {
        unreachable!("a verifier asks for keys alone")
    }

    async fn keys(&self) -> Result<PublicKeys, CallError> {
        Ok(self.0.public())
    }
}

impl Forge {
    /// A forge that asks the engines in `evidence` where authority stands.
    #[must_use]
    pub(super) fn new(evidence: &Evidence) -> Self {
        let key = PrivateKey::from_seed(&[0x77; 32]);
        let verifier = Verifier::new(Arc::new(Bent(Keys(key.clone()))), Arc::new(SimClock::right()));
        Self { key, verifier, evidence: evidence.clone() }
    }

    /// `known` and the forge's own key.
    ///
    /// # Panics
    /// Never: keys are a map of names.
    #[must_use]
    pub(super) fn among(&self, known: &PublicKeys) -> PublicKeys {
        let maps =
            [known, &self.key.public()].map(|keys| serde_json::to_value(keys).expect("our own types become JSON"));
        let [mut all, own] = maps;
        let own = own["keys"].as_object().expect("a map of keys").clone();
        all["keys"].as_object_mut().expect("a map of keys").extend(own);
        serde_json::from_value(all).expect("keys as they were")
    }

    /// A grant as `genuine`, for exactly the command that `body` is, in the name that stands in it. None if one of the two is
    /// not to be read.
    #[must_use]
    pub(super) fn grant(&self, genuine: &str, body: &[u8]) -> Option<GrantToken> {
        let (mut claims, message) = (claims(genuine)?, serde_json::from_slice::<Value>(body).ok()?);
        let (action, message_id) = (message["action"].clone(), message["message_id"].clone());
        let mut purpose =
            json!({"action": action, "message_id": message_id, "body_sha256": hex::encode(body_sha256(body))});
        claims["tenant"] = message["tenant_id"].clone();
        claims["aud"] = "tenantry-effects".into();
        claims["purpose"] = match claims.pointer("/purpose/replay/author") {
            Some(author) => {
                purpose["author"] = author.clone();
                json!({ "replay": purpose })
            }
            None => {
                claims["sub"] = message["user_id"].clone();
                json!({ "command": purpose })
            }
        };
        Some(self.sign(&claims))
    }

    /// A grant with these claims.
    #[must_use]
    pub(super) fn sign(&self, claims: &Value) -> GrantToken {
        self.key.sign(TYPE, claims).into()
    }

    /// What `envelope` holds, with a grant for it whatever its own is for.
    pub(super) async fn verified(&self, envelope: &Envelope) -> Option<VerifiedCommand> {
        let grant = self.grant(&envelope.grant, &envelope.body)?;
        self.verifier.command(Envelope { grant, ..envelope.clone() }).await.ok()
    }

    /// The right to read, of another tenant.
    pub(super) async fn read(&self, genuine: &VerifiedRead, tenant: &TenantId) -> Option<VerifiedRead> {
        let mut claims = claims(genuine.grant())?;
        claims["tenant"] = tenant.as_str().into();
        self.verifier.read(self.sign(&claims)).await.ok()
    }

    /// The right to the data keys of the tenant that `genuine` is for.
    pub(super) async fn seal(&self, genuine: &str) -> Option<VerifiedSeal> {
        let mut claims = claims(genuine)?;
        claims["aud"] = "tenantry-seals".into();
        claims["purpose"] = json!({"seal": {"action": "store_credential", "message_id": "planted"}});
        self.verifier.seal(self.sign(&claims)).await.ok()
    }

    /// Where authority stands; none while auth is down.
    #[must_use]
    pub(super) fn in_force(&self) -> Option<InForce> {
        self.evidence.seen().engines.auth.as_ref().map(|auth| auth.in_force_now())
    }

    /// Auth's "yes" to `command`, as of now; none while auth is down.
    #[must_use]
    pub(super) fn permit(&self, command: &VerifiedCommand) -> Option<Decision> {
        let InForce { revision, key } = self.in_force()?;
        let (user, tenant) = (command.actor(), command.scope().tenant());
        let verdict = Verdict::Permit { policies: vec!["planted".into()] };
        Some(key.decide(user, tenant, command.message().action.permission(), verdict, revision))
    }

    /// `work` with its message changed; of another tenant's with a "yes" that auth never said.
    pub(super) async fn work(&self, work: &Work, change: impl FnOnce(&mut Value) + Send) -> Option<Work> {
        let envelope = work.command.envelope();
        let mut message: Value = serde_json::from_slice(&envelope.body).ok()?;
        change(&mut message);
        let command = self.verified(&Envelope { body: message.to_string().into(), ..envelope.clone() }).await?;
        let own = command.scope() == work.command.scope();
        let decision = if own { work.decision.clone() } else { self.permit(&command)? };
        Some(Work { command, decision, position: work.position })
    }

    /// Has `ledger` apply `command`, which has no place in its tenant's order, behind all that it has applied.
    pub(super) async fn force(&self, ledger: &dyn Ledger, command: VerifiedCommand) -> Option<Applied> {
        let mut position = Position { epoch: 0, sequence: 1 };
        let decision = self.permit(&command)?;
        for _ in 0..FORCE_MAX {
            let work = Work { command: command.clone(), decision: decision.clone(), position };
            match ledger.apply(&Run::new(vec![work]).ok()?).await.ok()?.pop()? {
                Applied::Overtaken { by } => position = Position { sequence: by.sequence + 1, ..by },
                applied => return Some(applied),
            }
        }
        None
    }

    /// `run` with the payloads of its commands of this `action` changed, of those where `change` says that it has.
    pub(super) async fn run(&self, run: &Run, action: &str, change: impl Fn(&mut Value) -> bool + Sync) -> Run {
        let mut works = Vec::new();
        for work in run.works() {
            let mut has_changed = false;
            let change = |message: &mut Value| has_changed = change(&mut message["payload"]);
            let changed = match work.command.message().action.name() == action {
                true => self.work(work, change).await.filter(|_| has_changed),
                false => None,
            };
            works.push(changed.unwrap_or_else(|| work.clone()));
        }
        Run::new(works).expect("as many, of one tenant, in their order")
    }
}
