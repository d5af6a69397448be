//! The adversary: someone inside, with an operator's token and a connection to the broker.
//!
//! They get a genuine grant for a tenant they do have a role on, and put messages into the broker that use it for what it
//! was not given for. Every one of them must end as a dead letter, and touch nobody.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use tenantry_system::auth::{Authority, GrantRequest};
use tenantry_system::broker::{Broker, Published};
use tenantry_system::capability::World;
use tenantry_system::grant::{Envelope, GrantToken, Purpose};
use tenantry_system::ids::{MessageId, TenantId};
use tenantry_system::jws::PrivateKey;
use tenantry_system::message::body_sha256;
use tenantry_system::rights::Role;
use tenantry_system::role::{Addresses, remote_authority, remote_broker};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::evidence::Evidence;
use super::idp::Idp;
use super::marks;
use super::workload::{Command, Forgery, Timed, Trick};

/// The adversary's host.
pub const HOST: &str = "adversary";

/// The pause after a failed attempt.
const AGAIN: Duration = Duration::from_millis(100);

/// Commits all `forgeries` at their times; none waits for another.
pub async fn run(world: World, at: Arc<Addresses>, provider: Idp, evidence: Evidence, forgeries: Timed<Forgery>) {
    let begin = Instant::now();
    // Inside, with what the producer proves itself by where a proof is asked for.
    let role = Role::Producer;
    let (authority, broker) = (remote_authority(&world, &at, role), remote_broker(&world, &at, role));
    let inside = Inside { authority, broker, evidence };
    let mut under_way = JoinSet::new();
    for (at_ms, forgery) in forgeries {
        sleep_until(begin + Duration::from_millis(at_ms)).await;
        let token = provider.token(&forgery.command.operator, world.clock.unix_seconds());
        under_way.spawn(inside.clone().commit(forgery, token));
    }
    while let Some(ended) = under_way.join_next().await {
        ended.expect("no forger panics");
    }
}

/// Whom an attacker inside can call.
#[derive(Clone)]
struct Inside {
    authority: Arc<dyn Authority>,
    broker: Arc<dyn Broker>,
    evidence: Evidence,
}

impl Inside {
    /// Commits one forgery.
    async fn commit(self, forgery: Forgery, token: String) {
        let evidence = &self.evidence;
        let Some(envelope) = envelope(&*self.authority, token, &forgery, evidence).await else {
            evidence.seen().forgeries -= 1;
            return;
        };
        let id = message_id(&forgery.command);
        let lane = forgery.lane();
        loop {
            let published = self.broker.publish(lane, &id, envelope.clone()).await;
            evidence.record(HOST, "forged", &format!("{id} {:?} {published:?}", forgery.trick));
            match published {
                Ok(Published::Accepted { .. } | Published::Duplicate { .. }) => break,
                Ok(other) => panic!("{id} is the only message of this name, but the broker said {other:?}"),
                Err(_) => sleep(AGAIN).await,
            }
        }
        if forgery.trick == Trick::MovedCiphertext {
            evidence.seen().moved.insert(id.to_string());
        }
        evidence.seen().forged.insert(id.to_string());
        evidence.mark(match forgery.trick {
            Trick::OthersGrant => marks::FORGED_OTHERS_GRANT,
            Trick::SwappedBody => marks::FORGED_SWAPPED_BODY,
            Trick::AlienSignature => marks::FORGED_ALIEN_SIGNATURE,
            Trick::WrongLane => marks::FORGED_WRONG_LANE,
            Trick::MovedCiphertext => marks::FORGED_MOVED_CIPHERTEXT,
            Trick::ReadGrant => marks::FORGED_READ_GRANT,
            Trick::NoAlgorithm => marks::FORGED_NO_ALGORITHM,
            Trick::DuplicateKey => marks::FORGED_DUPLICATE_KEY,
            Trick::LookAlike => marks::FORGED_LOOK_ALIKE,
        });
    }
}

/// What is published; nothing, where there is nothing to steal.
async fn envelope(
    authority: &dyn Authority,
    token: String,
    forgery: &Forgery,
    evidence: &Evidence,
) -> Option<Envelope> {
    let (published, victims) = (forgery.published(), &forgery.command);
    let own = Command { tenant: forgery.own_tenant.clone(), ..victims.clone() };
    let sent = |body: String, grant| Some(Envelope { body: body.into(), grant, trace: None });
    let body = match forgery.trick {
        Trick::AlienSignature | Trick::NoAlgorithm => {
            let genuine = grant_for(authority, token, &own, &own.body()).await;
            let forged = match forgery.trick {
                Trick::NoAlgorithm => unsigned(&genuine, victims),
                _ => alien(&genuine, victims),
            };
            return sent(victims.body(), forged.into());
        }
        Trick::OthersGrant | Trick::WrongLane | Trick::SwappedBody => {
            return sent(published.body(), grant_for(authority, token, &own, &own.body()).await);
        }
        Trick::ReadGrant => return sent(own.body(), granted(authority, token, &own, Purpose::Read).await),
        Trick::MovedCiphertext => own.body().replace(r#""-""#, &stolen(evidence, &own.tenant).await?.to_string()),
        // The first reader takes the one for it, the second the other.
        Trick::DuplicateKey => own.body().replacen('{', &format!(r#"{{"tenant_id":"{}","#, victims.tenant), 1),
        Trick::LookAlike => own.body().replacen(own.tenant.as_str(), &own.tenant.as_str().to_ascii_uppercase(), 1),
    };
    let grant = grant_for(authority, token, &own, &body).await;
    sent(body, grant)
}

/// A ciphertext that someone sent: another tenant's if there is one, else of another message of `own`. None where nobody
/// has sent one and nobody will.
async fn stolen(evidence: &Evidence, own: &TenantId) -> Option<serde_json::Value> {
    loop {
        {
            let seen = evidence.seen();
            let others = seen.sealed.iter().rev().find(|(tenant, _)| tenant != own);
            if let Some((_, secret)) = others.or(seen.sealed.last()) {
                return Some(secret.clone());
            }
            if seen.operators_done {
                return None;
            }
        }
        sleep(AGAIN).await;
    }
}

/// `genuine` with its claims changed to fit `command`, and a signature by a key of the attacker's.
fn alien(genuine: &str, command: &Command) -> String {
    let (header, claims) = changed(genuine, command);
    let signed = PrivateKey::from_seed(&[0x66; 32]).sign("tenantry-grant+jwt", &claims);
    let (_, rest) = signed.split_once('.').expect("a token has parts");
    format!("{header}.{rest}")
}

/// `genuine` with its claims changed to fit `command`, and a header that says that nobody has signed it.
fn unsigned(genuine: &str, command: &Command) -> String {
    let (header, claims) = changed(genuine, command);
    let header = BASE64URL.decode(header).expect("a grant's header is base64url");
    let mut header: serde_json::Value = serde_json::from_slice(&header).expect("a grant's header is JSON");
    header["alg"] = "none".into();
    format!("{}.{}.", BASE64URL.encode(header.to_string()), BASE64URL.encode(claims.to_string()))
}

/// The header of `genuine`, and its claims changed to fit `command`.
fn changed<'g>(genuine: &'g str, command: &Command) -> (&'g str, serde_json::Value) {
    let parts: Vec<_> = genuine.split('.').collect();
    let [header, claims, _] = parts[..] else { panic!("a grant has three parts: {genuine}") };
    let claims = BASE64URL.decode(claims).expect("a grant's claims are base64url");
    let mut claims: serde_json::Value = serde_json::from_slice(&claims).expect("a grant's claims are JSON");
    claims["tenant"] = command.tenant.as_str().into();
    claims["purpose"]["command"]["body_sha256"] = hex::encode(body_sha256(command.body().as_bytes())).into();
    (header, claims)
}

/// A genuine grant for `body`, a message of `command`'s tenant, action and id, which its operator may do.
async fn grant_for(authority: &dyn Authority, token: String, command: &Command, body: &str) -> GrantToken {
    let purpose = Purpose::Command {
        action: command.ask.wire().0.into(),
        message_id: message_id(command),
        body_sha256: body_sha256(body.as_bytes()),
    };
    granted(authority, token, command, purpose).await
}

/// A genuine grant of `command`'s operator on its tenant.
async fn granted(authority: &dyn Authority, token: String, command: &Command, purpose: Purpose) -> GrantToken {
    let user = Some(command.operator.clone());
    let request = GrantRequest { token, user, tenant: command.tenant.clone(), purpose };
    loop {
        match authority.grant(&request).await {
            Ok(Ok(grant)) => return grant,
            // The cast lets them do this: their role is gone for a while, or auth can't be reached.
            Ok(Err(_)) | Err(_) => sleep(AGAIN).await,
        }
    }
}

fn message_id(command: &Command) -> MessageId {
    MessageId::parse(&command.message_id).expect("our ids follow the grammar")
}
