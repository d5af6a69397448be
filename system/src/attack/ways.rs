//! The ways in for a message: what is sent in a cell, and how.

use bytes::Bytes;

use super::attacker::{Attacker, CALL_MAX, TOKEN_SECONDS, persist};
use super::sign::{Sign, Tried};
use super::stage::{ATTACKER, FORMER, HONEST, OWN, VICTIM, message_id, tenant_id, user_id};
use super::{Alias, Attack, Cell, Entry, Expected, Hostile, arsenal};
use crate::action::Permission;
use crate::auth::{Decision, DecisionKey, GrantRequest, Verdict as Ruled};
use crate::broker::{Position, Published, Standing};
use crate::call::CallError;
use crate::grant::{Envelope, GrantToken, Purpose};
use crate::ids::TenantId;
use crate::ledger::remote::{Reply as LedgerReply, Request as LedgerRequest};
use crate::ledger::{Applied, LedgerService};
use crate::message::{Message, body_sha256};
use crate::rights::Role;

/// What an attacker sends.
pub(super) struct Shot {
    pub(super) body: Bytes,
    pub(super) grant: GrantToken,
    pub(super) lane: TenantId,
    pub(super) name: String,
    /// `None`: no token at all.
    pub(super) token: Option<String>,
    /// For auth: in whose name, for which tenant.
    pub(super) user: &'static str,
    pub(super) tenant: String,
}

impl Attacker<'_> {
    /// Commits the attempts of `cell`.
    pub(super) async fn attempt(&self, cell: Cell) -> Result<Tried, String> {
        match (cell.attack, cell.entry) {
            (Attack::RoleWithoutRight, entry) => Ok(self.roles(entry).await),
            (Attack::ForgedAuditEntry, _) => self.forged_entries().await,
            (Attack::AuditGap, _) => self.gap().await,
            (Attack::CommandGrantToRead, _) => self.read_with_a_commands_grant().await,
            (Attack::ReplayedMessage, _) => self.replay(cell).await,
            (Attack::EditedAfterApproval | Attack::ApprovalForAnother | Attack::SelfApproval, _) => {
                self.four_eyes(cell).await
            }
            (Attack::ReadAnother, Entry::Http) => Ok(self.read_over_http().await),
            (Attack::ReadAnother, Entry::Auth) => self.ask_to_read().await,
            (Attack::ReadAnother, _) => self.read_with_a_forged_grant().await,
            (_, entry) => {
                let shot = self.shot(cell).await?;
                match entry {
                    Entry::Http => self.over_http(cell, &shot).await,
                    Entry::Broker => {
                        let mut tried = self.publish(&shot.lane, &shot.name, &shot).await?;
                        if cell.expected == Ok(Expected::Rejected) {
                            tried.signs = vec![Sign::Decided(shot.name.clone())];
                        }
                        Ok(tried)
                    }
                    Entry::DeadLetter => self.dead_letter(cell, &shot).await,
                    Entry::Ledger => self.at_the_ledger(cell, &shot).await,
                    Entry::Auth => self.at_auth(cell, &shot).await,
                    Entry::Audit => unreachable!("no command goes to the audit log"),
                }
            }
        }
    }

    /// What is sent in `cell`.
    pub(super) async fn shot(&self, cell: Cell) -> Result<Shot, String> {
        let (spec, id) = (cell.action.ok_or("a command has an action")?, cell.id());
        let own = self.body_at(cell.entry, OWN, ATTACKER, spec, &id);
        let http = matches!(cell.entry, Entry::Http | Entry::Auth);
        let mut shot = Shot {
            body: own.clone().into(),
            grant: "".into(),
            lane: tenant_id(VICTIM),
            name: id.clone(),
            token: Some(self.token(ATTACKER)),
            user: ATTACKER,
            tenant: VICTIM.into(),
        };
        let victims = self.body_at(cell.entry, VICTIM, HONEST, spec, &id);
        let own_grant = async || self.grant(ATTACKER, OWN, spec, &id, own.as_bytes()).await;
        match cell.attack {
            Attack::ForgedTenant => {
                shot.body = self.body_at(cell.entry, VICTIM, ATTACKER, spec, &id).into();
                shot.grant = own_grant().await?;
            }
            Attack::StolenGrant if http => (shot.body, shot.user) = (victims.into(), HONEST),
            Attack::StolenGrant => {
                shot.grant = self.grant(HONEST, VICTIM, spec, &id, victims.as_bytes()).await?;
                shot.body = self.body_at(cell.entry, VICTIM, ATTACKER, spec, &id).into();
            }
            Attack::SwappedBody => {
                shot.grant = own_grant().await?;
                shot.body = own.replacen('{', r#"{"schema_version":1,"#, 1).into();
                shot.lane = tenant_id(OWN);
            }
            Attack::ReplayGrant => {
                let letter = self.body_at(cell.entry, OWN, HONEST, spec, &id);
                let purpose = Purpose::Replay {
                    action: spec.name.into(),
                    message_id: message_id(&id),
                    body_sha256: body_sha256(letter.as_bytes()),
                    author: user_id(HONEST),
                };
                shot.grant = self.ask(ATTACKER, OWN, purpose).await?;
                shot.body = letter.replacen('{', r#"{"schema_version":1,"#, 1).into();
                shot.lane = tenant_id(OWN);
            }
            Attack::ReplayedGrant => {
                shot.grant = own_grant().await?;
                shot.name = format!("{id}-other");
                shot.body = self.body_at(cell.entry, OWN, ATTACKER, spec, &shot.name).into();
                shot.lane = tenant_id(OWN);
            }
            Attack::ExpiredGrant | Attack::RevokedRight if http => {
                let former = cell.attack == Attack::RevokedRight;
                let now = self.target.world.clock.unix_seconds();
                shot.user = if former { FORMER } else { ATTACKER };
                let since = if former { now } else { now - 2 * TOKEN_SECONDS };
                shot.token = Some(self.target.provider.token(&user_id(shot.user), since, TOKEN_SECONDS));
                shot.tenant = if former { VICTIM.into() } else { OWN.into() };
                shot.body = self.body_at(cell.entry, &shot.tenant, shot.user, spec, &id).into();
            }
            Attack::ExpiredGrant | Attack::RevokedRight | Attack::RevokedReplay => {
                let relic = self.target.relics.get(cell.attack, cell.entry, spec.name);
                let Envelope { body, grant, .. } = relic.ok_or("no such relic was kept")?.clone();
                let expired = cell.attack == Attack::ExpiredGrant;
                (shot.body, shot.grant, shot.lane) = (body, grant, tenant_id(if expired { OWN } else { VICTIM }));
            }
            Attack::WrongAudience if http => {
                (shot.token, shot.tenant) = (Some(own_grant().await?.to_string()), OWN.into());
            }
            Attack::WrongAudience => (shot.grant, shot.lane) = (self.token(ATTACKER).into(), tenant_id(OWN)),
            Attack::ReadGrant => {
                (shot.grant, shot.lane) = (self.ask(ATTACKER, OWN, Purpose::Read).await?, tenant_id(OWN))
            }
            Attack::AlienSignature | Attack::AlgorithmNone | Attack::AlgorithmHs256 | Attack::UnknownKey => {
                let (body, hash) = (victims, cell.attack);
                let sha256 = hex::encode(body_sha256(body.as_bytes()));
                let genuine = own_grant().await?;
                shot.grant = arsenal::forge(&genuine, hash, &self.public, |claims| {
                    (claims["tenant"], claims["sub"]) = (VICTIM.into(), HONEST.into());
                    claims["purpose"]["command"]["body_sha256"] = sha256.into();
                })
                .into();
                let token = self.token(ATTACKER);
                let forged = arsenal::forge(&token, cell.attack, &self.public, |claims| claims["sub"] = HONEST.into());
                (shot.token, shot.user, shot.body) = (Some(forged), HONEST, body.into());
            }
            Attack::ForgedDecision => {
                shot.grant = self.grant(HONEST, VICTIM, spec, &id, victims.as_bytes()).await?;
                (shot.body, shot.user) = (victims.into(), HONEST);
            }
            Attack::NoGrant => (shot.body, shot.token, shot.user) = (victims.into(), None, HONEST),
            Attack::GarbageGrant => {
                (shot.body, shot.grant, shot.user) = (victims.into(), "e30.e30.garbage".into(), HONEST);
                shot.token = Some("e30.e30.garbage".into());
            }
            Attack::Lookalike(alias) => {
                shot.tenant = alias.spell(VICTIM);
                shot.body = self.body_at(cell.entry, &shot.tenant, ATTACKER, spec, &id).into();
                shot.grant = own_grant().await?;
                shot.lane = tenant_id(if alias == Alias::Prefix { &shot.tenant } else { VICTIM });
            }
            Attack::WrongLane => shot.grant = own_grant().await?,
            Attack::WrongName => {
                (shot.grant, shot.lane, shot.name) = (own_grant().await?, tenant_id(OWN), format!("{id}-other"));
            }
            Attack::Hostile(hostile) => {
                shot.body = arsenal::spoil(&own, hostile, VICTIM);
                // Auth never sees a body: a grant for these very bytes is to be had.
                shot.grant = self.grant(ATTACKER, OWN, spec, &id, &shot.body).await?;
                shot.lane = tenant_id(OWN);
            }
            Attack::PositionPast => {
                shot.grant = self.grant(HONEST, VICTIM, spec, &id, victims.as_bytes()).await?;
                shot.body = victims.into();
            }
            Attack::PositionFuture => {
                let id = self.honest_id("a", spec);
                shot.body = self.recorded(&id).await?;
                shot.grant = self.grant(HONEST, VICTIM, spec, &id, &shot.body).await?;
            }
            Attack::MovedCiphertext => {
                let sent = self.honest_id("a", spec);
                let victims = Message::parse(self.recorded(&sent).await?).map_err(|refusal| refusal.to_string())?;
                let sealed = victims.action.sealed().ok_or("what the victim sent is not sealed")?;
                let moved = arsenal::with_secret(&self.body(OWN, ATTACKER, spec, &id), sealed);
                if !http {
                    shot.grant = self.grant(ATTACKER, OWN, spec, &id, moved.as_bytes()).await?;
                }
                (shot.body, shot.lane) = (moved.into(), tenant_id(OWN));
            }
            other => return Err(format!("{} has no shot", other.name())),
        }
        Ok(shot)
    }

    pub(super) async fn over_http(&self, cell: Cell, shot: &Shot) -> Result<Tried, String> {
        const COMMANDS: &str = "POST /v1/commands";
        let answer = self.post(shot.token.clone(), &shot.body).await;
        let breach = match answer {
            Ok((status @ 200..300, said)) => Some(format!("the API answered {status}: {said}")),
            // The server hung up on a body it would not read, or is down: the audit log tells.
            Ok(_) | Err(_) => None,
        };
        let sign = match cell.attack {
            Attack::NoGrant => Sign::Door(Role::Producer, COMMANDS, "Authorization".into()),
            Attack::Hostile(Hostile::Huge) => Sign::Door(Role::Producer, COMMANDS, "at most".into()),
            _ => Sign::Asked(body_sha256(&shot.body), cell.id()),
        };
        Ok(Tried { signs: vec![sign], breach })
    }

    pub(super) async fn publish(&self, lane: &TenantId, name: &str, shot: &Shot) -> Result<Tried, String> {
        let envelope = Envelope { body: shot.body.clone(), grant: shot.grant.clone(), trace: None };
        let id = message_id(name);
        persist(async || match self.broker.publish(lane, &id, envelope.clone()).await {
            Err(CallError::Failed(why)) if why.contains("are taken") => Ok(Published::Conflict),
            other => other,
        })
        .await?;
        Ok(Tried { signs: vec![Sign::Named(name.into())], breach: None })
    }

    /// Has the broker put it aside, and publishes the same envelope again.
    pub(super) async fn dead_letter(&self, cell: Cell, shot: &Shot) -> Result<Tried, String> {
        let mut tried = self.publish(&shot.lane, &shot.name, shot).await?;
        if cell.expected == Ok(Expected::Rejected) {
            return Ok(Tried { signs: vec![Sign::Decided(shot.name.clone())], ..tried });
        }
        let id = message_id(&shot.name);
        let dead = persist(async || match self.broker.standing(&shot.lane, &id).await?.map(|known| known.standing) {
            Some(Standing::DeadLettered { .. }) => Ok(true),
            Some(Standing::Settled) => Ok(false),
            standing => Err(CallError::failed(format!("it is {standing:?} still"))),
        });
        if !dead.await? {
            tried.breach = Some("it was dealt with, not put aside".into());
            return Ok(tried);
        }
        // Under its own name it is known, and nothing happens; so under another.
        let again = self.publish(&shot.lane, &shot.name, shot).await;
        again?;
        tried.signs.extend(self.publish(&shot.lane, &format!("{}-again", shot.name), shot).await?.signs);
        Ok(tried)
    }

    pub(super) async fn at_the_ledger(&self, cell: Cell, shot: &Shot) -> Result<Tried, String> {
        let position = match cell.attack {
            // No broker's: before everything that ever was.
            Attack::PositionPast => Position { epoch: 0, sequence: 1 },
            _ => Position { epoch: u64::MAX, sequence: u64::MAX },
        };
        let applied = self.apply(shot, position).await?;
        let recognised = cell.expected == Ok(Expected::Recognised);
        let breach = match &applied {
            Applied::Before(_) if recognised => None,
            Applied::Refused(_) | Applied::Overtaken { .. } if !recognised => None,
            Applied::Forged if cell.attack == Attack::ForgedDecision => None,
            other => Some(format!("the ledger answered {other:?}")),
        };
        let sign = Sign::Body(body_sha256(&shot.body), &[Role::Ledger]);
        Ok(Tried { signs: if recognised { Vec::new() } else { vec![sign] }, breach })
    }

    pub(super) async fn apply(&self, shot: &Shot, position: Position) -> Result<Applied, String> {
        let client = self.client::<LedgerService>(&self.target.at.ledger, Role::Consumer);
        persist(async || {
            let envelope = Envelope { body: shot.body.clone(), grant: shot.grant.clone(), trace: None };
            let run = vec![(envelope, self.invented_permit(shot), position)];
            match client.call(&LedgerRequest::Apply { run }, CALL_MAX).await? {
                LedgerReply::Applied(mut applied) if applied.len() == 1 => Ok(applied.remove(0)),
                other => Err(CallError::failed(format!("{other:?}"))),
            }
        })
        .await
    }

    /// A permit that auth never gave: of a revision beyond all others, under a key of the attacker's.
    pub(super) fn invented_permit(&self, shot: &Shot) -> Decision {
        let message = Message::parse(shot.body.clone());
        let permission = message.map_or(Permission::Read, |message| message.action.permission());
        let tenant = TenantId::parse(&shot.tenant).unwrap_or_else(|_| tenant_id(VICTIM));
        let key = DecisionKey::generate(&*self.target.world.entropy);
        let verdict = Ruled::Permit { policies: vec!["admin-manages-everything".into()] };
        key.decide(&user_id(shot.user), &tenant, permission, verdict, u64::MAX)
    }

    pub(super) async fn at_auth(&self, cell: Cell, shot: &Shot) -> Result<Tried, String> {
        let (spec, id) = (cell.action.ok_or("a command has an action")?, cell.id());
        let purpose = Purpose::Command {
            action: spec.name.into(),
            message_id: message_id(&id),
            body_sha256: body_sha256(&shot.body),
        };
        let (token, user) = (shot.token.clone().unwrap_or_default(), Some(user_id(shot.user)));
        let request = GrantRequest { token, user, tenant: tenant_id(&shot.tenant), purpose };
        let granted = persist(async || self.authority.grant(&request).await).await?;
        let breach = granted.is_ok().then(|| "auth granted it".to_owned());
        Ok(Tried { signs: vec![Sign::Granted(id)], breach })
    }

    /// What an honest operator sent comes again.
    pub(super) async fn replay(&self, cell: Cell) -> Result<Tried, String> {
        let spec = cell.action.ok_or("a command has an action")?;
        let id = self.honest_id("a", spec);
        let body = match cell.entry {
            Entry::Http => self.body(VICTIM, HONEST, spec, &id).into(),
            _ => self.recorded(&id).await?,
        };
        let (grant, lane) = (self.grant(HONEST, VICTIM, spec, &id, &body).await?, tenant_id(VICTIM));
        let envelope = Envelope { body: body.clone(), grant, trace: None };
        let breach = match cell.entry {
            Entry::Http => match self.post(Some(self.token(HONEST)), &body).await {
                Ok((200, _)) => None,
                other => Some(format!("a retry was answered {other:?}")),
            },
            Entry::Broker => {
                match persist(async || self.broker.publish(&lane, &message_id(&id), envelope.clone()).await).await? {
                    Published::Duplicate { .. } => None,
                    other => Some(format!("the broker took a duplicate as {other:?}")),
                }
            }
            _ => {
                let Envelope { body, grant, .. } = envelope;
                let (tenant, token) = (VICTIM.to_owned(), None);
                let shot = Shot { body, grant, lane, name: id, token, user: HONEST, tenant };
                match self.apply(&shot, Position { epoch: u64::MAX, sequence: u64::MAX - 1 }).await? {
                    Applied::Before(_) => None,
                    other => Some(format!("the ledger took a duplicate as {other:?}")),
                }
            }
        };
        Ok(Tried { signs: Vec::new(), breach })
    }
}
