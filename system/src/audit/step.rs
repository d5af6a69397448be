//! What simply happened: the steps of a command's way on which nobody was refused and nothing was decided, and the acts
//! that change who may do what.
//!
//! | kind | what happened | told by | its number | rings |
//! |---|---|---|---|---|
//! | `published` | the broker has the message durably: this is what "accepted" means, whether its sender heard of it or not | broker | its place in the broker's order | no |
//! | `delivered` | it went out to a consumer; on record once that delivery has ended, with the time at which it began | broker | the attempt, from 1 | no |
//! | `came_back` | a delivery of it ended and settled nothing | broker | the attempt | no |
//! | `duplicate` | it came again and was recognised | broker, ledger | its place in the broker's order | no |
//! | `dead_lettered` | a consumer has put it aside: the refusal that it rests on stands beside it, and rings by its own table | broker | the last attempt | no |
//! | `given_up` | the broker has put it aside: it met nothing but silence, and nobody has refused it | broker | the last attempt | warning |
//! | `replayed` | an operator has had a dead letter wait again, and answers for it | broker | its new place in the broker's order | no |
//! | `discarded` | an operator has given a dead letter up for good | broker | the place that it had in the broker's order | no |
//! | `paused` | nothing of the tenant takes effect any more | ledger | the generation of the pause | no |
//! | `resumed` | it does again | ledger | the generation of the pause | no |
//! | `data_key_made` | the tenant has a new data key | ledger | the key's version | no |
//! | `data_key_wrapped` | a data key lies under another wrapping key | ledger | the key's version | no |
//! | `discrepancy` | what the tenant has is not what its outcomes made of it: once until it changes or the ledger starts anew | ledger | the rows that its reconciliation compared | critical |
//! | `policies_changed` | other policies, or another directory, are in force | auth | the revision of authority | no |
//! | `signing_key_made` | grants have a new key | auth | since when it signs, in seconds since the Unix epoch | no |
//! | `break_glass_asked` | someone asks for an emergency right | auth | the emergency's | warning |
//! | `break_glass_approved` | a second person gives it | auth | the emergency's | warning |
//! | `break_glass_ended` | someone takes it back | auth | the emergency's | no |
//! | `break_glass_expired` | it has ended with its time | auth | the emergency's | no |
//! | `approval_asked` | someone asks for a second person's approval of a command | auth | the approval's | no |
//! | `approved` | a second person approves exactly that command | auth | the approval's | no |
//! | `approval_withdrawn` | someone takes the wish or the approval back | auth | the approval's | no |
//! | `approval_expired` | it has ended with its time | auth | the approval's | no |
//! | `credentials_read` | what is known of a tenant's credentials was shown; never the secrets | producer | the tenant's version | no |
//!
//! Kind, tenant, message and number name one step, so that it can be told whether it stands once; but a `duplicate` is one
//! of as many as there were. At the broker user and action are what the body says: nobody has verified it there.

use serde::{Deserialize, Serialize};

use super::Severity;
use super::attempt::cut_detail;
use crate::ids::{MessageId, TenantId, UserId};
use crate::message::BodyHash;
use crate::rights::Role;

/// What kind of step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the table above says what each is")]
pub enum StepKind {
    Published,
    Delivered,
    CameBack,
    Duplicate,
    DeadLettered,
    GivenUp,
    Replayed,
    Discarded,
    Paused,
    Resumed,
    DataKeyMade,
    DataKeyWrapped,
    Discrepancy,
    PoliciesChanged,
    SigningKeyMade,
    BreakGlassAsked,
    BreakGlassApproved,
    BreakGlassEnded,
    BreakGlassExpired,
    ApprovalAsked,
    Approved,
    ApprovalWithdrawn,
    ApprovalExpired,
    CredentialsRead,
}

impl StepKind {
    /// All of them.
    pub const ALL: [Self; 24] = [
        Self::Published,
        Self::Delivered,
        Self::CameBack,
        Self::Duplicate,
        Self::DeadLettered,
        Self::GivenUp,
        Self::Replayed,
        Self::Discarded,
        Self::Paused,
        Self::Resumed,
        Self::DataKeyMade,
        Self::DataKeyWrapped,
        Self::Discrepancy,
        Self::PoliciesChanged,
        Self::SigningKeyMade,
        Self::BreakGlassAsked,
        Self::BreakGlassApproved,
        Self::BreakGlassEnded,
        Self::BreakGlassExpired,
        Self::ApprovalAsked,
        Self::Approved,
        Self::ApprovalWithdrawn,
        Self::ApprovalExpired,
        Self::CredentialsRead,
    ];

    /// Its stable name, for programs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::Delivered => "delivered",
            Self::CameBack => "came_back",
            Self::Duplicate => "duplicate",
            Self::DeadLettered => "dead_lettered",
            Self::GivenUp => "given_up",
            Self::Replayed => "replayed",
            Self::Discarded => "discarded",
            Self::Paused => "paused",
            Self::Resumed => "resumed",
            Self::DataKeyMade => "data_key_made",
            Self::DataKeyWrapped => "data_key_wrapped",
            Self::Discrepancy => "discrepancy",
            Self::PoliciesChanged => "policies_changed",
            Self::SigningKeyMade => "signing_key_made",
            Self::BreakGlassAsked => "break_glass_asked",
            Self::BreakGlassApproved => "break_glass_approved",
            Self::BreakGlassEnded => "break_glass_ended",
            Self::BreakGlassExpired => "break_glass_expired",
            Self::ApprovalAsked => "approval_asked",
            Self::Approved => "approved",
            Self::ApprovalWithdrawn => "approval_withdrawn",
            Self::ApprovalExpired => "approval_expired",
            Self::CredentialsRead => "credentials_read",
        }
    }

    /// Whose word counts for it.
    #[must_use]
    pub fn told_by(self) -> &'static [Role] {
        match self {
            Self::Published
            | Self::Delivered
            | Self::CameBack
            | Self::DeadLettered
            | Self::GivenUp
            | Self::Replayed
            | Self::Discarded => &[Role::Broker],
            Self::Duplicate => &[Role::Broker, Role::Ledger],
            Self::Paused | Self::Resumed | Self::DataKeyMade | Self::DataKeyWrapped | Self::Discrepancy => {
                &[Role::Ledger]
            }
            Self::PoliciesChanged
            | Self::SigningKeyMade
            | Self::BreakGlassAsked
            | Self::BreakGlassApproved
            | Self::BreakGlassEnded
            | Self::BreakGlassExpired
            | Self::ApprovalAsked
            | Self::Approved
            | Self::ApprovalWithdrawn
            | Self::ApprovalExpired => &[Role::Auth],
            Self::CredentialsRead => &[Role::Producer],
        }
    }

    /// Whether it rings, and how loud.
    #[must_use]
    pub fn rings(self) -> Option<Severity> {
        match self {
            Self::Discrepancy => Some(Severity::Critical),
            Self::GivenUp | Self::BreakGlassAsked | Self::BreakGlassApproved => Some(Severity::Warning),
            _ => None,
        }
    }
}

impl std::fmt::Display for StepKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// When, in milliseconds since the Unix epoch, by the clock of who tells it.
    pub at_unix_ms: i64,
    /// Who tells it.
    pub service: Role,
    /// What kind it is.
    pub kind: StepKind,
    /// Which of its kind: the table above says what the number is.
    pub number: u64,
    /// Whose tenant, where it is of one.
    pub tenant: Option<TenantId>,
    /// Who did it, or whose command it is.
    pub user: Option<UserId>,
    /// What the command asks for.
    pub action: Option<String>,
    /// Under which id.
    pub message_id: Option<MessageId>,
    /// SHA-256 of its body: the decision on it has the body itself.
    #[serde(with = "super::text::hash")]
    pub body_sha256: Option<BodyHash>,
    /// Whatever else is known, in words.
    pub detail: String,
}

impl Step {
    /// A step of nobody's tenant yet.
    #[must_use]
    pub fn new(at_unix_ms: i64, service: Role, kind: StepKind, number: u64) -> Self {
        let (tenant, user, action, message_id, body_sha256) = Default::default();
        let detail = String::new();
        Self { at_unix_ms, service, kind, number, tenant, user, action, message_id, body_sha256, detail }
    }

    /// Whether whoever tells it may: its kind is theirs.
    #[must_use]
    pub fn is_of(&self, role: Role) -> bool {
        self.service == role && self.kind.told_by().contains(&role)
    }

    /// One line for people.
    #[must_use]
    pub fn line(&self) -> String {
        let Self { service, kind, number, user, message_id, detail, .. } = self;
        let message = message_id.as_ref().map(|id| format!(" {id}")).unwrap_or_default();
        let user = user.as_ref().map(|user| format!(" of {user}")).unwrap_or_default();
        format!("{service}, {kind} {number}{message}{user}: {detail}")
    }

    /// Cuts every text to its bound.
    pub(crate) fn cut(&mut self) {
        cut_detail(&mut self.detail);
        self.action.iter_mut().for_each(cut_detail);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_told_and_rings_as_the_table_says() {
        let docs = include_str!("step.rs");
        for kind in StepKind::ALL {
            let row = docs.lines().find(|line| line.starts_with(&format!("//! | `{kind}` |")));
            let row: Vec<_> = row.unwrap_or_else(|| panic!("{kind} is not in the table")).split('|').collect();
            let by: Vec<_> = kind.told_by().iter().map(|role| role.name()).collect();
            assert_eq!(row[3].trim(), by.join(", "), "{kind}");
            let rings = match kind.rings() {
                Some(Severity::Critical) => "critical",
                Some(Severity::Warning) => "warning",
                None => "no",
            };
            assert_eq!(row[5].trim(), rings, "{kind}");
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
        let rows = docs.lines().filter(|line| line.starts_with("//! | `")).count();
        assert_eq!(rows, StepKind::ALL.len());
    }

    #[test]
    fn only_whose_kind_it_is_may_tell_it() {
        let published = Step::new(0, Role::Broker, StepKind::Published, 1);
        let tells = |step: &Step| Role::ALL.into_iter().filter(|role| step.is_of(*role)).collect::<Vec<_>>();
        assert_eq!(tells(&published), [Role::Broker]);
        assert_eq!(tells(&Step { service: Role::Consumer, ..published }), []);
    }
}
