//! Least privilege between the services: each says who it is when it connects, and may ask only what its part needs.
//!
//! | asked of | what | by |
//! |---|---|---|
//! | broker | publish, standing, pause, dead letters: list, show, replay, discard | producer |
//! | broker | fetch, settle | consumer |
//! | ledger | apply | consumer |
//! | ledger | outcome, dry run, state, journal, reconcile, pause, data keys | producer |
//! | audit | append, to sources of its own, what it refused itself | every role |
//! | audit | append decisions | ledger |
//! | audit | append steps, of its own kinds only (`audit/step.rs`) | producer, broker, auth, ledger |
//! | audit | append what rules find | nobody: the log itself |
//! | audit | search, of records and of alerts, checkpoint, tiles | producer |
//! | audit | all events, all alerts | nobody |
//! | auth | grant, break-glass, approvals, who an operator is | producer |
//! | auth | recheck | consumer |
//! | auth | what is in force | ledger |
//! | auth | keys | producer, consumer, ledger |
//!
//! Who a client is, its certificate proves where channels are encrypted (see [`crate::tls`]): a greeting that says otherwise
//! is refused, and so is a server whose certificate is not of the role that is wanted there. On plain channels a client is
//! what it says, which is why those must not leave the machine: there the rights hold against a service that goes wrong,
//! not against one that lies.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A role of the system, in its own process or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The HTTP API.
    Producer,
    /// Keeps commands until they are dealt with.
    Broker,
    /// Verifies and applies commands.
    Consumer,
    /// Authenticates, authorizes, signs grants.
    Auth,
    /// Keeps limits, entitlements, credits and outcomes.
    Ledger,
    /// Keeps the audit log.
    Audit,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Producer, Self::Broker, Self::Consumer, Self::Auth, Self::Ledger, Self::Audit];

    /// Its name on command lines, in folders and in errors.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Producer => "producer",
            Self::Broker => "broker",
            Self::Consumer => "consumer",
            Self::Auth => "auth",
            Self::Ledger => "ledger",
            Self::Audit => "audit",
        }
    }

    /// What it does, in a few words.
    #[must_use]
    pub fn about(self) -> &'static str {
        match self {
            Self::Producer => "The HTTP API",
            Self::Broker => "Keeps commands until they are dealt with",
            Self::Consumer => "Verifies and applies commands",
            Self::Auth => "Authenticates, authorizes, signs grants",
            Self::Ledger => "Keeps limits, entitlements, credits and outcomes",
            Self::Audit => "Keeps the audit log",
        }
    }

    /// Whether it offers something to others.
    #[must_use]
    pub fn serves(self) -> bool {
        self != Self::Consumer
    }

    /// Whether it asks something of others.
    #[must_use]
    pub fn calls(self) -> bool {
        // Whoever refuses something or takes a step tells the audit log.
        self != Self::Audit
    }

    /// The role called `name`.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    //! Every request of every service by every role: exactly what the table above says.

    use super::*;
    use crate::action::Permission;
    use crate::audit::{Attempt, AuditEntry, AuditService, Claimed, Code, Event, Reporter, Step, StepKind};
    use crate::auth::{ApprovalRequest, Authority, AuthorityService, BreakGlassRequest, GrantRequest};
    use crate::broker::{BrokerService, Lease, Settlement, Triage};
    use crate::grant::{Envelope, Purpose};
    use crate::ids::UserId;
    use crate::ledger::{LedgerService, PauseGeneration};
    use crate::rpc::Service;
    use crate::testing::{message_id, tenant};

    fn who<S: Service>(request: &S::Request) -> Vec<Role> {
        Role::ALL.into_iter().filter(|role| S::may(*role, request)).collect()
    }

    #[test]
    fn every_role_may_ask_what_its_part_needs_and_nothing_else() {
        use crate::auth::remote::Request as Auth;
        use crate::broker::remote::Request as Broker;
        use crate::ledger::remote::Request as Ledger;
        use Role::{Consumer, Ledger as LedgerRole, Producer};

        let (acme, id) = (tenant("acme"), message_id("m-1"));
        let (user, generation) = (UserId::parse("ana").unwrap(), PauseGeneration(1));
        let envelope = Envelope { body: "".into(), grant: "".into(), trace: None };
        let lease = Lease { tenant: acme.clone(), token: 1 };
        let broker = |request: &Broker| who::<BrokerService>(request);
        assert_eq!(broker(&Broker::Publish { tenant: acme.clone(), message_id: id.clone(), envelope }), [Producer]);
        assert_eq!(broker(&Broker::Standing { tenant: acme.clone(), message_id: id.clone() }), [Producer]);
        assert_eq!(broker(&Broker::Pause { tenant: acme.clone(), generation }), [Producer]);
        let triage = Triage { by: user.clone(), reason: String::new(), sequence: 1, body_sha256: [0; 32] };
        let letter = || (acme.clone(), id.clone(), triage.clone());
        assert_eq!(broker(&Broker::DeadLetters { tenant: acme.clone(), after: None, max: 1 }), [Producer]);
        assert_eq!(broker(&Broker::DeadLetter { tenant: acme.clone(), message_id: id.clone() }), [Producer]);
        let (of, named, how) = letter();
        let replay = Broker::Replay { tenant: of, message_id: named, triage: how, grant: "".into() };
        assert_eq!(broker(&replay), [Producer]);
        let (of, named, how) = letter();
        assert_eq!(broker(&Broker::Discard { tenant: of, message_id: named, triage: how }), [Producer]);
        assert_eq!(broker(&Broker::Fetch { max: 1, wait_ms: 0 }), [Consumer]);
        assert_eq!(broker(&Broker::Settle { lease, settlement: Settlement::again("") }), [Consumer]);

        let ledger = |request: &Ledger| who::<LedgerService>(request);
        assert_eq!(ledger(&Ledger::Apply { run: Vec::new() }), [Consumer]);
        assert_eq!(ledger(&Ledger::Outcome { grant: "".into(), message_id: id, wait_ms: 0 }), [Producer]);
        assert_eq!(ledger(&Ledger::DryRun { body: "".into(), grant: "".into() }), [Producer]);
        assert_eq!(ledger(&Ledger::State { grant: "".into() }), [Producer]);
        assert_eq!(ledger(&Ledger::Journal { grant: "".into(), from: 0, max: 1 }), [Producer]);
        assert_eq!(ledger(&Ledger::Reconcile { grant: "".into() }), [Producer]);
        assert_eq!(ledger(&Ledger::Pause { grant: "".into(), to: generation }), [Producer]);
        assert_eq!(ledger(&Ledger::DataKeys { grant: "".into() }), [Producer]);

        let auth = |request: &Auth| who::<AuthorityService>(request);
        let grant = GrantRequest { token: String::new(), user: None, tenant: acme.clone(), purpose: Purpose::Read };
        assert_eq!(auth(&Auth::Grant(grant)), [Producer]);
        assert_eq!(
            auth(&Auth::Recheck { user, tenant: acme, permission: Permission::Read, body: [0; 32] }),
            [Consumer]
        );
        assert_eq!(auth(&Auth::InForce { known: 0, wait_ms: 0 }), [LedgerRole]);
        let listed = Auth::BreakGlass { token: String::new(), request: BreakGlassRequest::List };
        assert_eq!(auth(&listed), [Producer]);
        let listed = Auth::Approvals { token: String::new(), request: ApprovalRequest::List };
        assert_eq!(auth(&listed), [Producer]);
        assert_eq!(auth(&Auth::Operator { token: String::new(), right: None }), [Producer]);
        assert_eq!(auth(&Auth::Keys), [Producer, Consumer, LedgerRole]);

        use crate::audit::remote::Request as Audit;
        let audit = |request: &Audit| who::<AuditService>(request);
        let append = |source: &str, events| Audit::Append { source: source.into(), first: 1, events };
        for role in Role::ALL {
            let own = Attempt {
                at_unix_ms: 0,
                service: role,
                entry: String::new(),
                code: Code::NoRight,
                claimed: Claimed::default(),
                detail: String::new(),
            };
            let refused = vec![Event::Refused(own)];
            assert_eq!(audit(&append(&format!("{role}/1"), refused.clone())), [role]);
            for other in Role::ALL.into_iter().filter(|other| *other != role) {
                assert_eq!(
                    audit(&append(&format!("{other}/1"), refused.clone())),
                    [],
                    "{other} said what {role} refused"
                );
            }
            assert_eq!(audit(&append(&format!("{role}s/1"), Vec::new())), []);
        }
        let decided = Event::Decided(AuditEntry {
            at_unix_ms: 0,
            tenant_id: tenant("acme"),
            user_id: UserId::parse("ana").unwrap(),
            replayed_by: None,
            action: String::new(),
            message_id: message_id("m-1"),
            body: "".into(),
            outcome: String::new(),
            detail: String::new(),
            authority_revision: 1,
            policies: Vec::new(),
            approved_by: None,
        });
        assert_eq!(audit(&append("ledger", vec![decided.clone()])), [LedgerRole]);
        assert_eq!(audit(&append("consumer/1", vec![decided])), []);
        for kind in StepKind::ALL {
            for role in Role::ALL {
                let step = Event::Step(Step::new(0, role, kind, 1));
                let may: &[Role] = if kind.told_by().contains(&role) { &[role] } else { &[] };
                assert_eq!(audit(&append(&format!("{role}/1"), vec![step])), may, "{kind} of the {role}");
            }
            let others = Event::Step(Step::new(0, kind.told_by()[0], kind, 1));
            assert_eq!(audit(&append("consumer/1", vec![others])), [], "the consumer said that {kind}");
        }
        let raised = crate::alerting::Raised {
            at_unix_ms: 0,
            rule: crate::ids::Name::parse("burst").unwrap(),
            severity: crate::audit::Severity::Warning,
            tenant: None,
            user: None,
            count: 1,
            evidence: Vec::new(),
            detail: String::new(),
        };
        for source in Role::ALL.map(|role| format!("{role}/1")).into_iter().chain(["rules".into()]) {
            assert_eq!(
                audit(&append(&source, vec![Event::Raised(raised.clone())])),
                [],
                "{source} said what rules find"
            );
        }
        assert_eq!(audit(&Audit::Events { after: 0, max: 1 }), []);
        assert_eq!(audit(&Audit::Alerts { after: 0, max: 1 }), []);
        assert_eq!(audit(&Audit::Search(crate::audit::Query::default())), [Producer]);
        assert_eq!(audit(&Audit::SearchAlerts(crate::audit::AlertQuery::default())), [Producer]);
        assert_eq!(audit(&Audit::Checkpoint), [Producer]);
        assert_eq!(audit(&Audit::Tile(crate::tlog::Tile { level: 0, index: 0, width: 1 })), [Producer]);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_asks_for_more_is_told_so_and_nothing_happens() {
        use crate::capability::{InMemory, Network};
        use std::sync::Arc;
        let bench = crate::testing::Bench::new().await;
        let network: Arc<dyn Network> = Arc::new(InMemory::default());
        let listener = network.bind("auth").await.unwrap();
        let service = Arc::new(AuthorityService { authority: bench.authority.clone(), reporter: Reporter::none() });
        tokio::spawn(crate::rpc::serve(listener, service, Default::default()));
        let audit = crate::auth::RemoteAuthority::new(network.clone(), "auth", Role::Audit);
        let refused = audit.keys().await.unwrap_err();
        assert_eq!(refused.to_string(), "failed: auth: the audit role has no right to ask this");
        assert!(crate::auth::RemoteAuthority::new(network, "auth", Role::Ledger).keys().await.is_ok());
    }
}
