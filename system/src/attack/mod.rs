//! The attack catalogue: every attack we know, by every way in, with every action, tried against a running system.
//!
//! It is code that a security audit runs, not a list that people keep: [`cells`] multiplies [`Attack::ALL`] by
//! [`Entry::ALL`] by the registry of actions, and a cell that makes no sense says why. An action without an example of its
//! payload does not compile, so none can be added without being attacked. [`run`] tries each cell and then looks: not a
//! byte of any tenant may have changed, and the audit log has exactly one event more for it, and one alert. Anything else is
//! a [`Verdict::Breach`].
//!
//! [`Stage`] is a whole system to run it against: every role behind its own address.

mod arsenal;
mod attacker;
mod doors;
mod four_eyes;
mod runner;
mod sign;
mod stage;
mod table;
mod ways;

use serde::Serialize;

use crate::action::{self, Spec};

pub use runner::{Checks, Observer, Target, run, run_some};
pub use stage::{Around, BINDINGS, Relics, Stage, policies};
pub use table::Table;

/// Spellings that someone may take for another tenant's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is spelled out by `spell`")]
pub enum Alias {
    Case,
    Homoglyph,
    Nul,
    TrailingSpace,
    Prefix,
    PercentEncoded,
}

impl Alias {
    /// `tenant`, spelled this way.
    #[must_use]
    pub fn spell(self, tenant: &str) -> String {
        match self {
            Self::Case => tenant.to_uppercase(),
            // CYRILLIC SMALL LETTER IE and A, which look like e and a.
            Self::Homoglyph => tenant.replace('e', "\u{435}").replace('a', "\u{430}"),
            Self::Nul => format!("{tenant}\\u0000"),
            Self::TrailingSpace => format!("{tenant} "),
            Self::Prefix => tenant[..tenant.len() - 1].to_owned(),
            Self::PercentEncoded => tenant.replace('a', "%61"),
        }
    }
}

/// What is wrong with a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is spelled out by `Attack::about`")]
pub enum Hostile {
    DuplicateKey,
    UnknownField,
    Huge,
    Deep,
    Float,
    BadUtf8,
}

/// One way to reach for what one has no right to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is spelled out by `Attack::about`")]
pub enum Attack {
    ForgedTenant,
    StolenGrant,
    SwappedBody,
    ReplayedGrant,
    ReplayedMessage,
    ExpiredGrant,
    WrongAudience,
    ReadGrant,
    CommandGrantToRead,
    AlienSignature,
    AlgorithmNone,
    AlgorithmHs256,
    UnknownKey,
    NoGrant,
    GarbageGrant,
    Lookalike(Alias),
    WrongLane,
    WrongName,
    Hostile(Hostile),
    RevokedRight,
    ReplayGrant,
    RevokedReplay,
    ForgedDecision,
    PositionPast,
    PositionFuture,
    RoleWithoutRight,
    ForgedAuditEntry,
    AuditGap,
    MovedCiphertext,
    ReadAnother,
    EditedAfterApproval,
    ApprovalForAnother,
    SelfApproval,
}

/// A way into the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    /// The API, as anyone on the network.
    Http,
    /// A publish straight into the broker, past the producer.
    Broker,
    /// The envelope of a dead letter, published once more.
    DeadLetter,
    /// A call of the ledger, past broker and consumer.
    Ledger,
    /// A call of auth.
    Auth,
    /// A call of the audit log.
    Audit,
}

impl Entry {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Http, Self::Broker, Self::DeadLetter, Self::Ledger, Self::Auth, Self::Audit];

    /// Its name in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "HTTP",
            Self::Broker => "broker",
            Self::DeadLetter => "dead letter",
            Self::Ledger => "ledger",
            Self::Auth => "auth",
            Self::Audit => "audit",
        }
    }
}

/// What must become of an attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Refused: nothing changes, one attempt on record, one alert.
    Refused,
    /// Recognised as what was dealt with before: nothing changes, and nothing is to be told.
    Recognised,
    /// Decided and rejected: an outcome with its audit entry and its alert, and no effect.
    Rejected,
}

impl Attack {
    /// All of them.
    pub const ALL: [Self; 43] = [
        Self::ForgedTenant,
        Self::StolenGrant,
        Self::SwappedBody,
        Self::ReplayedGrant,
        Self::ReplayedMessage,
        Self::ExpiredGrant,
        Self::WrongAudience,
        Self::ReadGrant,
        Self::CommandGrantToRead,
        Self::AlienSignature,
        Self::AlgorithmNone,
        Self::AlgorithmHs256,
        Self::UnknownKey,
        Self::NoGrant,
        Self::GarbageGrant,
        Self::Lookalike(Alias::Case),
        Self::Lookalike(Alias::Homoglyph),
        Self::Lookalike(Alias::Nul),
        Self::Lookalike(Alias::TrailingSpace),
        Self::Lookalike(Alias::Prefix),
        Self::Lookalike(Alias::PercentEncoded),
        Self::WrongLane,
        Self::WrongName,
        Self::Hostile(Hostile::DuplicateKey),
        Self::Hostile(Hostile::UnknownField),
        Self::Hostile(Hostile::Huge),
        Self::Hostile(Hostile::Deep),
        Self::Hostile(Hostile::Float),
        Self::Hostile(Hostile::BadUtf8),
        Self::RevokedRight,
        Self::ReplayGrant,
        Self::RevokedReplay,
        Self::ForgedDecision,
        Self::PositionPast,
        Self::PositionFuture,
        Self::RoleWithoutRight,
        Self::ForgedAuditEntry,
        Self::AuditGap,
        Self::MovedCiphertext,
        Self::ReadAnother,
        Self::EditedAfterApproval,
        Self::ApprovalForAnother,
        Self::SelfApproval,
    ];

    /// Its stable name.
    #[must_use]
    pub fn name(self) -> String {
        let text = match serde_json::to_value(self) {
            Ok(serde_json::Value::String(name)) => name,
            Ok(serde_json::Value::Object(of)) => {
                let (kind, which) = of.into_iter().next().expect("a variant has a name");
                format!("{kind}: {}", which.as_str().unwrap_or_default())
            }
            other => unreachable!("an attack's name is {other:?}"),
        };
        text.replace('_', " ")
    }

    /// What is done, in a sentence, and the promise it attacks.
    #[must_use]
    pub fn about(self) -> (&'static str, &'static str) {
        match self {
            Self::ForgedTenant => ("the body names a tenant that the token or grant is not for", "G1"),
            Self::StolenGrant => ("someone uses what was given to another user", "G1"),
            Self::SwappedBody => ("a genuine grant beside another body of the same command", "G2"),
            Self::ReplayedGrant => ("a genuine grant beside a command with another message id", "G3"),
            Self::ReplayedMessage => ("a command that has its outcome comes again, byte for byte", "G3"),
            Self::ExpiredGrant => ("a genuine token or grant whose time is over", "G2"),
            Self::WrongAudience => ("an operator's token as a grant, a grant as an operator's token", "G2"),
            Self::ReadGrant => ("a grant for reading beside a command", "G2"),
            Self::CommandGrantToRead => ("a command's grant to read a tenant", "G1"),
            Self::AlienSignature => ("genuine header and claims, signed with another key", "G2"),
            Self::AlgorithmNone => ("the algorithm `none` and no signature", "G2"),
            Self::AlgorithmHs256 => ("HS256 with the public key for a secret", "G2"),
            Self::UnknownKey => ("well signed, by a key that nobody trusts", "G2"),
            Self::NoGrant => ("no token or grant at all", "G2"),
            Self::GarbageGrant => ("bytes that are no token", "G2"),
            Self::Lookalike(_) => ("another spelling of a victim's name", "G1"),
            Self::WrongLane => ("a genuine command of one's own tenant in the victim's lane", "G1"),
            Self::WrongName => ("a genuine command published under another message id", "G3"),
            Self::Hostile(Hostile::DuplicateKey) => ("tenant_id twice: two readers may read two tenants", "G1"),
            Self::Hostile(Hostile::UnknownField) => ("a field that only some readers know", "G1"),
            Self::Hostile(Hostile::Huge) => ("a body beyond the limit", "G10"),
            Self::Hostile(Hostile::Deep) => ("a payload nested a thousand deep", "G10"),
            Self::Hostile(Hostile::Float) => ("a float where an integer belongs", "G6"),
            Self::Hostile(Hostile::BadUtf8) => ("bytes that are no UTF-8", "G1"),
            Self::RevokedRight => ("a command that was allowed when it was sent, after the right was taken away", "G2"),
            Self::ReplayGrant => ("the grant of a dead letter's replay beside another body", "G2"),
            Self::RevokedReplay => {
                ("a dead letter of someone who may, replayed by one whose right was taken away", "G2")
            }
            Self::ForgedDecision => ("a permit that auth never gave, sent to the ledger", "G2"),
            Self::PositionPast => ("a genuine command at a place before the tenant's history", "G5"),
            Self::PositionFuture => ("a command that has its outcome, at a place far ahead", "G5"),
            Self::RoleWithoutRight => ("a role asks what its part does not need", "G2"),
            Self::ForgedAuditEntry => ("an audit entry in the name of another source", "G7"),
            Self::AuditGap => ("audit events whose numbers leave some out", "G7"),
            Self::MovedCiphertext => ("one tenant's sealed secret in another's command", "G9"),
            Self::EditedAfterApproval => ("a command that was edited after a second person approved it", "G2"),
            Self::ApprovalForAnother => ("a command on the strength of another one's approval", "G2"),
            Self::SelfApproval => ("who asked for an approval gives it", "G2"),
            Self::ReadAnother => {
                ("another tenant's limits, credits, outcomes, dead letters: all that is read or dealt with", "G1")
            }
        }
    }

    /// Whether it is tried with every action, or has none.
    #[must_use]
    pub fn has_action(self) -> bool {
        use Attack::{AuditGap, CommandGrantToRead, ForgedAuditEntry, ReadAnother, RoleWithoutRight};
        !matches!(self, RoleWithoutRight | ForgedAuditEntry | AuditGap | CommandGrantToRead | ReadAnother)
    }

    /// Why it makes no sense with an action.
    fn but(self, spec: &Spec) -> Option<&'static str> {
        (self == Self::MovedCiphertext && !spec.has_secret()).then_some("the action has no secret")
    }

    /// What must become of it at `entry`, or why it is not tried there.
    ///
    /// # Errors
    /// Why it makes no sense there.
    pub fn at(self, entry: Entry) -> Result<Expected, &'static str> {
        const NO_COMMANDS: &str = "the audit log takes events, not commands";
        const OWN_GRANT: &str = "the producer asks auth for a grant of its own: nobody brings one";
        const TYPED: &str = "auth is asked with parsed identifiers and no body: nothing of the kind reaches it";
        use Entry::{Audit, Auth, Broker, DeadLetter, Http, Ledger};
        use Expected::{Recognised, Refused, Rejected};
        match (self, entry) {
            (Self::MovedCiphertext, Http) => Ok(Refused),
            (Self::MovedCiphertext, Broker) => Ok(Rejected),
            (Self::MovedCiphertext, DeadLetter) => Err("it is decided, and never a dead letter"),
            (Self::MovedCiphertext, Ledger) => Err("it needs a genuine place in the order: see broker"),
            (Self::MovedCiphertext, Auth) => Err("auth grants it to whoever may: what it sees is a hash"),
            (Self::EditedAfterApproval | Self::ApprovalForAnother, Http | Auth) | (Self::SelfApproval, Http) => {
                Ok(Refused)
            }
            (Self::SelfApproval, Auth) => Err("the producer hands it on as it is: see HTTP"),
            (
                Self::EditedAfterApproval | Self::ApprovalForAnother | Self::SelfApproval,
                Broker | DeadLetter | Ledger,
            ) => Err(
                "approvals are auth's: what goes past its grant is told by that, see swapped body and replayed grant",
            ),
            (Self::ReadAnother, Http | Auth | Ledger) => Ok(Refused),
            (Self::ReadAnother, Broker | DeadLetter) => Err("the broker is read by roles: see role without right"),
            (Self::ForgedDecision, Ledger) => Ok(Refused),
            (Self::ForgedDecision, _) => Err("only the ledger is shown decisions"),
            (Self::RoleWithoutRight, Http) => Err("operators have no role; what they may is auth's to say"),
            (Self::RoleWithoutRight, DeadLetter) => Err("a message carries no role"),
            (Self::RoleWithoutRight, _) => Ok(Refused),
            (Self::ForgedAuditEntry | Self::AuditGap, Audit) => Ok(Refused),
            (Self::ForgedAuditEntry | Self::AuditGap, _) => Err("only the audit log takes events"),
            (_, Audit) => Err(NO_COMMANDS),
            (Self::PositionPast, Ledger) => Ok(Refused),
            (Self::PositionFuture, Ledger) => Ok(Recognised),
            (Self::PositionPast | Self::PositionFuture, _) => Err("the broker gives places, nobody can name one"),
            (Self::CommandGrantToRead, Ledger) => Ok(Refused),
            (Self::CommandGrantToRead, _) => Err("only the ledger is read with a grant"),
            (Self::ReplayedMessage, Http | Broker | Ledger) => Ok(Recognised),
            (Self::ReplayedMessage, DeadLetter) => Err("what has its outcome is no dead letter"),
            (Self::ReplayedMessage, Auth) => {
                Err("auth keeps no messages; a second grant for the same command is the same")
            }
            (Self::RevokedRight, DeadLetter) => Ok(Rejected),
            (Self::RevokedRight, Http | Auth) => Ok(Refused),
            (Self::RevokedRight, Broker) => Err("it is the recorded envelope that comes again: see dead letter"),
            (Self::RevokedRight, Ledger) => Err("the consumer's decision tells: see forged decision"),
            (Self::RevokedReplay, DeadLetter) => Ok(Rejected),
            (Self::RevokedReplay, Http | Auth) => Err("who holds nothing is granted nothing: see revoked right"),
            (Self::RevokedReplay, Broker) => Err("it is a dead letter that is replayed: see dead letter"),
            (Self::RevokedReplay, Ledger) => Err("the consumer's decision tells: see forged decision"),
            (Self::WrongLane | Self::WrongName, Broker | DeadLetter) => Ok(Refused),
            (Self::WrongLane | Self::WrongName, _) => Err("only the broker has lanes, and names beside the body's"),
            (Self::SwappedBody | Self::ReplayedGrant | Self::ReadGrant | Self::ReplayGrant, Http | Auth) => {
                Err(OWN_GRANT)
            }
            (Self::Lookalike(Alias::Prefix), _) => Ok(Refused),
            (Self::Lookalike(_) | Self::Hostile(_), Auth) => Err(TYPED),
            (Self::Hostile(Hostile::Huge), DeadLetter) => Err("the broker keeps none that is beyond the limit"),
            _ => Ok(Refused),
        }
    }
}

/// One thing to try.
#[derive(Debug, Clone, Copy)]
pub struct Cell {
    /// How.
    pub attack: Attack,
    /// Where.
    pub entry: Entry,
    /// With which action, if it is done with one.
    pub action: Option<&'static Spec>,
    /// What must become of it, or why it is not tried.
    pub expected: Result<Expected, &'static str>,
}

impl Cell {
    /// The message id that the cell works with: its own, and the same in every run.
    pub(crate) fn id(&self) -> String {
        let place = |found: Option<usize>| found.unwrap_or_default();
        let attack = place(Attack::ALL.iter().position(|attack| *attack == self.attack));
        let entry = place(Entry::ALL.iter().position(|entry| *entry == self.entry));
        let named = |spec: &Spec| Some(spec.name) == self.action.map(|action| action.name);
        format!("x-{attack}-{entry}-{}", place(action::REGISTRY.iter().position(named)))
    }
}

/// Every cell there is: attack x entry x action.
#[must_use]
pub fn cells() -> Vec<Cell> {
    let mut cells = Vec::new();
    for attack in Attack::ALL {
        for entry in Entry::ALL {
            let expected = attack.at(entry);
            let with = |spec| {
                let expected = expected.and_then(|expected| attack.but(spec).map_or(Ok(expected), Err));
                Cell { attack, entry, action: Some(spec), expected }
            };
            match attack.has_action() {
                true => cells.extend(action::REGISTRY.iter().map(with)),
                false => cells.push(Cell { attack, entry, action: None, expected }),
            }
        }
    }
    cells
}

/// How a cell ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Refused, on record once, rung once.
    Refused {
        /// Who refused it.
        by: String,
        /// Under which code.
        code: String,
        /// In which words.
        words: String,
    },
    /// Recognised as done before: nothing changed, nothing told.
    Recognised,
    /// Not tried, because of this.
    NotApplicable(&'static str),
    /// It had an effect, or was not told of as it must be.
    Breach(String),
}

/// One cell that was tried, or not.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// The attack's name.
    pub attack: String,
    /// The promise it attacks.
    pub promise: &'static str,
    /// Where it was tried.
    pub entry: Entry,
    /// With which action.
    pub action: Option<&'static str>,
    /// How many things were tried in this cell: a role without right tries every request.
    pub tries: usize,
    /// The places in the audit log of the events that tell of it: those of its alerts.
    pub places: Vec<u64>,
    /// How it ended.
    pub verdict: Verdict,
}

#[cfg(test)]
mod tests;
