//! The adversary: someone inside, with an operator's token and a connection to the broker.
//!
//! They get a genuine grant for a tenant they do have a role on, and put messages into the broker that use it for what it
//! was not given for. Every one of them must end as a dead letter, and touch nobody.

use std::sync::Arc;
use std::time::Duration;

use tenantry_system::auth::{Authority, GrantRequest, IdentityProvider};
use tenantry_system::broker::Published;
use tenantry_system::capability::World;
use tenantry_system::grant::{Envelope, GrantToken, Purpose};
use tenantry_system::ids::MessageId;
use tenantry_system::message::body_sha256;
use tenantry_system::role::{Addresses, remote_authority, remote_broker};
use tokio::time::{Instant, sleep, sleep_until};

use super::evidence::Evidence;
use super::model::Ask;
use super::workload::{Command, Forgery, Timed, Trick};

/// The adversary's host.
pub const HOST: &str = "adversary";

/// The pause after a failed attempt.
const AGAIN: Duration = Duration::from_millis(100);

/// Tokens outlive any run.
const TOKEN_SECONDS: i64 = 24 * 3600;

/// Commits all `forgeries` at their times.
pub async fn run(
    world: World,
    at: Arc<Addresses>,
    provider: IdentityProvider,
    evidence: Evidence,
    forgeries: Timed<Forgery>,
) {
    let begin = Instant::now();
    let (authority, broker) = (remote_authority(&world, &at), remote_broker(&world, &at));
    for (at_ms, forgery) in forgeries {
        sleep_until(begin + Duration::from_millis(at_ms)).await;
        let token = provider.token(&forgery.command.operator, world.clock.unix_seconds(), TOKEN_SECONDS);
        let envelope = envelope(&*authority, token, &forgery).await;
        let (victim, id) = (&forgery.command.tenant, message_id(&forgery.command));
        loop {
            let published = broker.publish(victim, &id, envelope.clone()).await;
            evidence.record(HOST, "forged", &format!("{id} {:?} {published:?}", forgery.trick));
            match published {
                Ok(Published::Accepted { .. } | Published::Duplicate { .. }) => break,
                Ok(other) => panic!("{id} is the only message of this name, but the broker said {other:?}"),
                Err(_) => sleep(AGAIN).await,
            }
        }
        evidence.seen().forged.insert(id.to_string());
        evidence.mark(match forgery.trick {
            Trick::OthersGrant => "forged_others_grant",
            Trick::SwappedBody => "forged_swapped_body",
            Trick::NoGrant => "forged_no_grant",
            Trick::WrongLane => "forged_wrong_lane",
        });
    }
}

/// What is put into the victim's lane.
async fn envelope(authority: &dyn Authority, token: String, forgery: &Forgery) -> Envelope {
    let victims = &forgery.command;
    let own = Command { tenant: forgery.own_tenant.clone(), ..victims.clone() };
    let (body, granted) = match forgery.trick {
        Trick::NoGrant => return Envelope { body: victims.body().into(), grant: "not.a.grant".into() },
        Trick::OthersGrant => (victims.body(), own),
        Trick::WrongLane => (own.body(), own),
        Trick::SwappedBody => {
            let greedy = Ask::Credit { amount_minor: 1_000_000_000, currency: "EUR".into() };
            (Command { ask: greedy, ..own.clone() }.body(), own)
        }
    };
    Envelope { body: body.into(), grant: grant(authority, token, &granted).await }
}

/// A genuine grant for `command`, which its operator may do.
async fn grant(authority: &dyn Authority, token: String, command: &Command) -> GrantToken {
    let purpose = Purpose::Command {
        action: command.ask.wire().0.into(),
        message_id: message_id(command),
        body_sha256: body_sha256(command.body().as_bytes()),
    };
    let user = Some(command.operator.clone());
    let request = GrantRequest { token, user, tenant: command.tenant.clone(), purpose };
    loop {
        match authority.grant(&request).await {
            Ok(Ok(grant)) => return grant,
            Ok(Err(denied)) => panic!("the cast lets {} do this, but auth says {denied}", command.operator),
            Err(_) => sleep(AGAIN).await,
        }
    }
}

fn message_id(command: &Command) -> MessageId {
    MessageId::parse(&command.message_id).expect("our ids follow the grammar")
}
