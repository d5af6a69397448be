//! The services' doors for what is no message: every role asks every request it has no right to, events are invented, and
//! another tenant is read.

use bytes::Bytes;

use super::attacker::{Attacker, persist, persist_refusal};
use super::sign::{Sign, Tried};
use super::stage::{ATTACKER, BYSTANDER, HONEST, OWN, VICTIM, message_id, tenant_id, user_id};
use super::{Attack, Entry, arsenal};
use crate::action::{Permission, REGISTRY};
use crate::audit::remote::Request as AuditRequest;
use crate::audit::{AlertQuery, AuditEntry, AuditService, Event, Query, Step, StepKind};
use crate::auth::remote::Request as AuthRequest;
use crate::auth::{ApprovalRequest, AuthorityService, BreakGlassRequest, GrantRequest};
use crate::broker::remote::Request as BrokerRequest;
use crate::broker::{BrokerService, Lease, Settlement, Triage};
use crate::call::CallError;
use crate::grant::{Envelope, GrantToken, Purpose};
use crate::ledger::remote::Request as LedgerRequest;
use crate::ledger::{LedgerService, PauseGeneration};
use crate::message::Message;
use crate::rights::Role;
use crate::rpc::Service;
use crate::tlog::Tile;

/// What auth says to whoever has no role on a tenant.
const NO_ROLE: &str = "holds no role on tenant";

impl Attacker<'_> {
    /// Every role asks everything of the service at `entry` that it has no right to.
    pub(super) async fn roles(&self, entry: Entry) -> Tried {
        let at = &self.target.at;
        match entry {
            Entry::Broker => self.ask_all::<BrokerService>(&at.broker, Role::Broker, broker_requests).await,
            Entry::Ledger => self.ask_all::<LedgerService>(&at.ledger, Role::Ledger, ledger_requests).await,
            Entry::Auth => self.ask_all::<AuthorityService>(&at.auth, Role::Auth, auth_requests).await,
            _ => self.ask_all::<AuditService>(&at.audit, Role::Audit, audit_requests).await,
        }
    }

    pub(super) async fn ask_all<S: Service>(
        &self,
        address: &str,
        service: Role,
        requests: fn() -> Vec<S::Request>,
    ) -> Tried {
        let mut tried = Tried::default();
        for role in Role::ALL {
            let client = self.client::<S>(address, role);
            for request in requests().into_iter().filter(|request| !S::may(role, request)) {
                let (entry, _) = S::claims(&request);
                match persist_refusal(&client, &request).await {
                    true => tried.signs.push(Sign::Door(service, entry, format!("the {role} role"))),
                    false => tried.breach = Some(format!("the {role} role asked {entry}, and was not refused")),
                }
            }
        }
        tried
    }

    pub(super) async fn forged_entries(&self) -> Result<Tried, String> {
        let mut tried = Tried::default();
        let attempt = self.invented(Role::Consumer);
        for (role, source, event) in [
            (Role::Consumer, "ledger", Event::Decided(invented_decision())),
            (Role::Consumer, "consumer/invented", Event::Decided(invented_decision())),
            (Role::Auth, "auth/invented", Event::Refused(attempt.clone())),
            (Role::Broker, "consumer/invented", Event::Refused(attempt)),
            (Role::Producer, "producer/invented", Event::Step(Step::new(0, Role::Broker, StepKind::Published, 1))),
            (Role::Consumer, "consumer/invented", Event::Step(Step::new(0, Role::Consumer, StepKind::Delivered, 1))),
        ] {
            let client = self.client::<AuditService>(&self.target.at.audit, role);
            let request = AuditRequest::Append { source: source.into(), first: 1, events: vec![event] };
            match persist_refusal(&client, &request).await {
                true => tried.signs.push(Sign::Door(Role::Audit, "append", format!("the {role} role"))),
                false => tried.breach = Some(format!("the {role} role appended to {source}, and was not refused")),
            }
        }
        Ok(tried)
    }

    pub(super) async fn gap(&self) -> Result<Tried, String> {
        let client = self.client::<AuditService>(&self.target.at.audit, Role::Producer);
        let events = vec![Event::Refused(self.invented(Role::Producer))];
        let request = AuditRequest::Append { source: "producer/gap".into(), first: 7, events };
        let breach = (!persist_refusal(&client, &request).await).then(|| "a gap was taken".to_owned());
        Ok(Tried { signs: vec![Sign::Door(Role::Audit, "append", "missing".into())], breach })
    }

    pub(super) async fn read_with_a_commands_grant(&self) -> Result<Tried, String> {
        let spec = &REGISTRY[0];
        let body = self.body(OWN, ATTACKER, spec, "x-read");
        let grant = self.grant(ATTACKER, OWN, spec, "x-read", body.as_bytes()).await?;
        Ok(self
            .ask_the_ledger([
                LedgerRequest::State { grant: grant.clone() },
                LedgerRequest::DryRun { body: body.clone().into(), grant: grant.clone() },
                LedgerRequest::Outcome { grant: grant.clone(), message_id: message_id("x-read"), wait_ms: 0 },
                LedgerRequest::Journal { grant: grant.clone(), from: 0, max: 1 },
                LedgerRequest::Reconcile { grant: grant.clone() },
                LedgerRequest::Pause { grant: grant.clone(), to: PauseGeneration(1) },
                LedgerRequest::DataKeys { grant },
            ])
            .await)
    }

    /// Whatever the API shows of a tenant, and its pause, with the attacker's own token.
    pub(super) async fn read_over_http(&self) -> Tried {
        let mut tried = Tried::default();
        let parts = [
            "limits",
            "entitlements",
            "plan",
            "credits",
            "credentials",
            "paused",
            "suspension",
            "journal",
            "reconciliation",
        ];
        let mut requests: Vec<_> =
            parts.iter().map(|part| ("GET", format!("/v1/tenants/{VICTIM}/{part}"), "")).collect();
        let command = self.honest_id("a", &REGISTRY[0]);
        requests.push(("GET", format!("/v1/audit/events?tenant={VICTIM}"), ""));
        requests.push(("GET", format!("/v1/alerts?tenant={VICTIM}"), ""));
        requests.push(("GET", format!("/v1/commands/{command}?tenant_id={VICTIM}"), ""));
        let letters = format!("/v1/tenants/{VICTIM}/dead-letters");
        requests.push(("GET", letters.clone(), ""));
        requests.push(("GET", format!("{letters}/{command}"), ""));
        for verb in ["replay", "discard"] {
            requests.push(("POST", format!("{letters}/{command}/{verb}"), r#"{"reason":"it is mine now"}"#));
        }
        requests.push(("PUT", format!("/v1/tenants/{VICTIM}/paused"), r#"{"paused":true}"#));
        for (method, path, body) in requests {
            let token = Some(self.token(ATTACKER));
            let answer = persist(async || match self.send(method, &path, token.clone(), body.as_bytes()).await {
                Ok((503 | 504, said)) | Err(said) => Err(CallError::failed(said)),
                Ok(answered) => Ok(answered),
            });
            match answer.await {
                Ok((403, _)) => tried.signs.push(Sign::Door(Role::Auth, "grant", NO_ROLE.into())),
                other => tried.breach = Some(format!("{method} {path} was answered {other:?}")),
            }
        }
        tried
    }

    /// The grants that a reader of the victim's would have.
    pub(super) async fn ask_to_read(&self) -> Result<Tried, String> {
        let mut tried = Tried::default();
        let body_sha256 = [0x66; 32];
        let replay = Purpose::Replay {
            action: REGISTRY[0].name.into(),
            message_id: message_id("x-replay"),
            body_sha256,
            author: user_id(HONEST),
        };
        let discard = Purpose::Discard { message_id: message_id("x-discard"), body_sha256 };
        let body = self.body(VICTIM, ATTACKER, &REGISTRY[0], "x-dry-run");
        for purpose in [Purpose::Read, Purpose::Pause, self.sealing(), replay, discard, dry_run_of(&body)?] {
            let request = GrantRequest { token: self.token(ATTACKER), user: None, tenant: tenant_id(VICTIM), purpose };
            match persist(async || self.authority.grant(&request).await).await? {
                Err(_) => tried.signs.push(Sign::Door(Role::Auth, "grant", NO_ROLE.into())),
                Ok(_) => tried.breach = Some("auth granted it".into()),
            }
        }
        Ok(tried)
    }

    /// The attacker's own grants to read and to pause, bent to the victim.
    pub(super) async fn read_with_a_forged_grant(&self) -> Result<Tried, String> {
        let bent = async |purpose| {
            let genuine = self.ask(ATTACKER, OWN, purpose).await?;
            let forged = arsenal::forge(&genuine, Attack::AlienSignature, &self.public, |claims| {
                claims["tenant"] = VICTIM.into();
            });
            Ok::<GrantToken, String>(forged.into())
        };
        let message_id = message_id(&self.honest_id("a", &REGISTRY[0]));
        let body = self.body(VICTIM, ATTACKER, &REGISTRY[0], "x-dry-run-forged");
        Ok(self
            .ask_the_ledger([
                LedgerRequest::State { grant: bent(Purpose::Read).await? },
                LedgerRequest::DryRun { grant: bent(dry_run_of(&body)?).await?, body: body.into() },
                LedgerRequest::Outcome { grant: bent(Purpose::Read).await?, message_id, wait_ms: 0 },
                LedgerRequest::Journal { grant: bent(Purpose::Read).await?, from: 0, max: 1 },
                LedgerRequest::Reconcile { grant: bent(Purpose::Read).await? },
                LedgerRequest::Pause { grant: bent(Purpose::Pause).await?, to: PauseGeneration(1) },
                LedgerRequest::DataKeys { grant: bent(self.sealing()).await? },
            ])
            .await)
    }

    /// The right to a tenant's data keys.
    pub(super) fn sealing(&self) -> Purpose {
        Purpose::Seal { action: "store_credential".into(), message_id: message_id("x-seal") }
    }

    /// Asks the ledger what it must refuse because of the grant.
    pub(super) async fn ask_the_ledger(&self, requests: [LedgerRequest; 7]) -> Tried {
        let client = self.client::<LedgerService>(&self.target.at.ledger, Role::Producer);
        let mut tried = Tried::default();
        for request in requests {
            let (entry, _) = LedgerService::claims(&request);
            match persist_refusal(&client, &request).await {
                true => tried.signs.push(Sign::Door(Role::Ledger, entry, String::new())),
                false => tried.breach = Some(format!("{entry} was answered")),
            }
        }
        tried
    }
}

/// Seeing what `body` would change.
fn dry_run_of(body: &str) -> Result<Purpose, String> {
    let message = Message::parse(body.to_owned().into()).map_err(|refusal| refusal.to_string())?;
    Ok(Purpose::dry_run(&message))
}

fn invented_decision() -> AuditEntry {
    AuditEntry {
        at_unix_ms: 0,
        tenant_id: tenant_id(BYSTANDER),
        user_id: user_id(HONEST),
        replayed_by: None,
        action: REGISTRY[0].name.into(),
        message_id: message_id("invented"),
        body: Bytes::new(),
        outcome: "applied".into(),
        detail: String::new(),
        authority_revision: 1,
        policies: Vec::new(),
        approved_by: None,
    }
}

// One of each; a test fails if one is left out.
pub(super) fn broker_requests() -> Vec<BrokerRequest> {
    let (tenant, message_id) = (tenant_id(BYSTANDER), message_id("x-role"));
    let envelope = Envelope { body: Bytes::new(), grant: "".into(), trace: None };
    let lease = Lease { tenant: tenant.clone(), token: 1 };
    let triage = Triage { by: user_id(HONEST), reason: String::new(), sequence: 1, body_sha256: [0; 32] };
    vec![
        BrokerRequest::Publish { tenant: tenant.clone(), message_id: message_id.clone(), envelope },
        BrokerRequest::Fetch { max: 1, wait_ms: 0 },
        BrokerRequest::Settle { lease, settlement: Settlement::again("") },
        BrokerRequest::Standing { tenant: tenant.clone(), message_id: message_id.clone() },
        BrokerRequest::Pause { tenant: tenant.clone(), generation: PauseGeneration(1) },
        BrokerRequest::DeadLetters { tenant: tenant.clone(), after: None, max: 1 },
        BrokerRequest::DeadLetter { tenant: tenant.clone(), message_id: message_id.clone() },
        BrokerRequest::Replay {
            tenant: tenant.clone(),
            message_id: message_id.clone(),
            triage: triage.clone(),
            grant: "".into(),
        },
        BrokerRequest::Discard { tenant, message_id, triage },
    ]
}

pub(super) fn ledger_requests() -> Vec<LedgerRequest> {
    vec![
        LedgerRequest::Apply { run: Vec::new() },
        LedgerRequest::Outcome { grant: "".into(), message_id: message_id("x-role"), wait_ms: 0 },
        LedgerRequest::DryRun { body: Bytes::new(), grant: "".into() },
        LedgerRequest::State { grant: "".into() },
        LedgerRequest::Journal { grant: "".into(), from: 0, max: 1 },
        LedgerRequest::Reconcile { grant: "".into() },
        LedgerRequest::Pause { grant: "".into(), to: PauseGeneration(1) },
        LedgerRequest::DataKeys { grant: "".into() },
    ]
}

pub(super) fn auth_requests() -> Vec<AuthRequest> {
    let (user, tenant) = (user_id(HONEST), tenant_id(BYSTANDER));
    let request = GrantRequest { token: String::new(), user: None, tenant: tenant.clone(), purpose: Purpose::Read };
    vec![
        AuthRequest::Grant(request),
        AuthRequest::Recheck { user, tenant, permission: Permission::Read, body: [0; 32] },
        AuthRequest::Keys,
        AuthRequest::InForce { known: 0, wait_ms: 0 },
        AuthRequest::BreakGlass { token: String::new(), request: BreakGlassRequest::List },
        AuthRequest::Approvals { token: String::new(), request: ApprovalRequest::List },
        AuthRequest::Operator { token: String::new(), right: None },
    ]
}

pub(super) fn audit_requests() -> Vec<AuditRequest> {
    let decided = Event::Decided(invented_decision());
    vec![
        AuditRequest::Append { source: "ledger".into(), first: 1, events: vec![decided] },
        AuditRequest::Events { after: 0, max: 1 },
        AuditRequest::Alerts { after: 0, max: 1 },
        AuditRequest::SearchAlerts(AlertQuery::default()),
        AuditRequest::Search(Query::default()),
        AuditRequest::Checkpoint,
        AuditRequest::Tile(Tile { level: 0, index: 0, width: 1 }),
    ]
}
