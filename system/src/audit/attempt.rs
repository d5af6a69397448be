//! What was tried and refused: a record of it, and whether it rings.
//!
//! | code | what was refused | rings |
//! |---|---|---|
//! | `cross_tenant` | an operator, a grant or a lane of one tenant beside a request for another | critical |
//! | `impersonation` | someone's token or grant in another one's name | critical |
//! | `forged_grant` | a grant that auth did not sign, or not like this | critical |
//! | `forged_decision` | a decision that auth did not make, brought to the ledger beside a genuine command | critical |
//! | `swapped_body` | a genuine grant beside another body or action | critical |
//! | `replayed_grant` | a genuine grant under another message id | critical |
//! | `wrong_audience` | a genuine token or grant that is for something else | critical |
//! | `misrouted` | a message published under another name than its own | critical |
//! | `no_right` | a role that asks what its part does not need | critical |
//! | `sealed_for_another` | a sealed secret in another place than it was sealed for: of another tenant, action or message | critical |
//! | `gap` | events whose numbers leave some out: the source lost them, or is not the source | critical |
//! | `expired_grant` | a grant whose time is over | warning |
//! | `hostile_body` | a body that two readers may read differently, that names an identifier which is none, or breaks a bound | warning |
//! | `unauthenticated` | no token, or one that is not believed | warning |
//! | `forbidden` | an operator asks for more than their role on the tenant allows | warning |
//! | `approval_misused` | an approval stretched: to another body under its message's id, by whoever asked for it, or of another message than the one that was read | warning |
//! | `approval_required` | a command that takes a second person's approval and has none: what a panel meets before it asks for one | no |
//! | `overtaken` | a command that came after its place in the order | warning |
//! | `malformed` | any other body that is no message: at the producer a typo, anywhere else someone went past the producer | warning, but not at the producer |
//! | `unchecked` | a token that could not be checked, for want of the identity provider's keys: whose it is stays open | no |
//! | `conflict` | another body under a known message id: a client's mistake before it is an attack; the first one stands. Behind the broker one that was confirmed dies of it | warning, but not before the broker |
//!
//! What rings is an attack, or can't be told from one. A command that is rejected, a duplicate and a rate limit are no
//! attempts at all: they are the system's ordinary answers.
//!
//! One attempt may be noticed twice: by the consumer and by the ledger behind it, or once more when its message comes
//! again. So the log takes an attempt that names a message and a body only once from each side of the broker: see
//! [`Attempt::identity`]. To ask for a message's approval is another attempt than to send it.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::message::{BodyHash, MAX_BODY_BYTES, Message, Refusal, body_sha256};
use crate::rights::Role;

/// The entry at which auth is asked about approvals.
pub const APPROVALS: &str = "approvals";

/// The longest claim that is kept, in bytes: an identifier has at most 63, and what is none must still be seen.
const CLAIM_BYTES_MAX: usize = 96;

/// The longest detail that is kept, in bytes.
const DETAIL_BYTES_MAX: usize = 512;

/// What kind of attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the table above says what each is")]
pub enum Code {
    CrossTenant,
    Impersonation,
    ForgedGrant,
    ForgedDecision,
    SwappedBody,
    SealedForAnother,
    ReplayedGrant,
    WrongAudience,
    Misrouted,
    NoRight,
    Gap,
    ExpiredGrant,
    HostileBody,
    Unauthenticated,
    Forbidden,
    ApprovalMisused,
    ApprovalRequired,
    Overtaken,
    Malformed,
    Unchecked,
    Conflict,
}

/// How loud an alert is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Someone should look today.
    Warning,
    /// Someone should look now: isolation or authority was attacked from inside.
    Critical,
}

impl Severity {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::Warning, Self::Critical];

    /// Its name, as everywhere.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

impl Code {
    /// All of them.
    pub const ALL: [Self; 21] = [
        Self::CrossTenant,
        Self::Impersonation,
        Self::ForgedGrant,
        Self::ForgedDecision,
        Self::SwappedBody,
        Self::SealedForAnother,
        Self::ReplayedGrant,
        Self::WrongAudience,
        Self::Misrouted,
        Self::NoRight,
        Self::Gap,
        Self::ExpiredGrant,
        Self::HostileBody,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::ApprovalMisused,
        Self::ApprovalRequired,
        Self::Overtaken,
        Self::Malformed,
        Self::Unchecked,
        Self::Conflict,
    ];

    /// Its stable name, for programs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::CrossTenant => "cross_tenant",
            Self::Impersonation => "impersonation",
            Self::ForgedGrant => "forged_grant",
            Self::ForgedDecision => "forged_decision",
            Self::SwappedBody => "swapped_body",
            Self::SealedForAnother => "sealed_for_another",
            Self::ReplayedGrant => "replayed_grant",
            Self::WrongAudience => "wrong_audience",
            Self::Misrouted => "misrouted",
            Self::NoRight => "no_right",
            Self::Gap => "gap",
            Self::ExpiredGrant => "expired_grant",
            Self::HostileBody => "hostile_body",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::ApprovalMisused => "approval_misused",
            Self::ApprovalRequired => "approval_required",
            Self::Overtaken => "overtaken",
            Self::Malformed => "malformed",
            Self::Unchecked => "unchecked",
            Self::Conflict => "conflict",
        }
    }

    /// Whether such an attempt rings when `service` refuses it, and how loud.
    #[must_use]
    pub fn rings(self, service: Role) -> Option<Severity> {
        match self {
            Self::CrossTenant
            | Self::Impersonation
            | Self::ForgedGrant
            | Self::ForgedDecision
            | Self::SwappedBody
            | Self::SealedForAnother
            | Self::ReplayedGrant
            | Self::WrongAudience
            | Self::Misrouted
            | Self::NoRight
            | Self::Gap => Some(Severity::Critical),
            Self::ExpiredGrant
            | Self::HostileBody
            | Self::Unauthenticated
            | Self::Forbidden
            | Self::ApprovalMisused
            | Self::Overtaken => Some(Severity::Warning),
            Self::Malformed => (service != Role::Producer).then_some(Severity::Warning),
            Self::Conflict => matches!(service, Role::Consumer | Role::Ledger).then_some(Severity::Warning),
            Self::Unchecked | Self::ApprovalRequired => None,
        }
    }

    /// What to think of a body that was refused with `refusal`: whether a panel's mistake may look like this.
    #[must_use]
    pub fn of_body(refusal: &Refusal) -> Self {
        let Refusal { field, problem } = refusal;
        let identifier = matches!(field.as_str(), "tenant_id" | "user_id" | "message_id")
            && (problem.contains("allowed are") || problem.contains("characters long"));
        // A number that is none of ours, where no string stands in its place.
        let number = ["without fraction", "must be the number"].iter().any(|sign| problem.contains(sign))
            && !problem.contains(", not ");
        let readers_differ = [
            "is given twice",
            "is unknown; known is",
            "unicode",
            "UTF-8",
            "trailing",
            "byte order mark",
            "surrogate",
            "is sealed already",
            "is withheld",
        ];
        let beyond = ["recursion limit", "the limit is"];
        let hostile = identifier || number || readers_differ.iter().chain(&beyond).any(|sign| problem.contains(sign));
        if hostile { Self::HostileBody } else { Self::Malformed }
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// What an attempt claimed to be. None of it is proven, and none of it need be an identifier.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claimed {
    /// The tenant it reached for: a lane's, where it came through one.
    pub tenant: Option<String>,
    /// In whose name.
    pub user: Option<String>,
    /// What for.
    pub action: Option<String>,
    /// Under which id.
    pub message_id: Option<String>,
    /// SHA-256 of its body; never the body itself, which may hold anything.
    #[serde(with = "super::text::hash")]
    pub body_sha256: Option<BodyHash>,
}

impl Claimed {
    /// That it reached for `tenant`.
    #[must_use]
    pub fn tenant(tenant: impl ToString) -> Self {
        Self { tenant: Some(tenant.to_string()), ..Self::default() }
    }

    /// What a readable message says of itself.
    #[must_use]
    pub fn of(message: &Message) -> Self {
        Self {
            tenant: Some(message.tenant_id.to_string()),
            user: Some(message.user_id.to_string()),
            action: Some(message.action.name().into()),
            message_id: Some(message.message_id.to_string()),
            body_sha256: Some(message.body_sha256()),
        }
    }

    /// What can be made out of a body that is no message. Where a field is given twice, the last.
    #[must_use]
    pub fn of_body(body: &[u8]) -> Self {
        let readable = if body.len() <= MAX_BODY_BYTES { body } else { &[] };
        let read: serde_json::Value = serde_json::from_slice(readable).unwrap_or_default();
        let text = |field: &str| read.get(field).and_then(|value| value.as_str()).map(str::to_owned);
        Self {
            tenant: text("tenant_id"),
            user: text("user_id"),
            action: text("action"),
            message_id: text("message_id"),
            body_sha256: Some(body_sha256(body)),
        }
    }
}

/// One attempt that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// When, in milliseconds since the Unix epoch, by the clock of who refused it.
    pub at_unix_ms: i64,
    /// Who refused it.
    pub service: Role,
    /// Which of its doors it came to, such as `POST /v1/commands` or `apply`.
    pub entry: String,
    /// What kind it is.
    pub code: Code,
    /// What it claimed.
    pub claimed: Claimed,
    /// Why it was refused, in words.
    pub detail: String,
}

impl Attempt {
    /// Cuts every text to its bound: what was refused may be as long as it likes.
    pub(crate) fn cut(&mut self) {
        let Claimed { tenant, user, action, message_id, .. } = &mut self.claimed;
        for text in [tenant, user, action, message_id].into_iter().flatten() {
            cut(text, CLAIM_BYTES_MAX);
        }
        cut(&mut self.entry, CLAIM_BYTES_MAX);
        cut_detail(&mut self.detail);
    }

    /// What makes it the same attempt as another: kind, tenant, user, message, body (or action, where none is named), and the
    /// side of the broker it was noticed on, or that it was about an approval. `None` where it names no message, and for a
    /// role without a right, whatever it names: then each is an attempt of its own.
    #[must_use]
    pub fn identity(&self) -> Option<[u8; 16]> {
        if self.code == Code::NoRight {
            return None;
        }
        let (message_id, body) = (self.claimed.message_id.as_ref()?, self.claimed.body_sha256.as_ref());
        // A right to seal is asked for before there is a body to name: then the action tells.
        let action = if body.is_none() { Some(self.claimed.action.as_ref()?) } else { None };
        let side: u8 = match self.service {
            // To be refused an approval is not yet to have sent anything, and to send in spite of that is not the same once more.
            Role::Auth if self.entry == APPROVALS => 3,
            Role::Producer | Role::Auth | Role::Broker => 0,
            Role::Consumer | Role::Ledger => 1,
            Role::Audit => 2,
        };
        let tenant = self.claimed.tenant.as_deref().unwrap_or_default();
        let user = self.claimed.user.as_deref().unwrap_or_default();
        let named = postcard::to_stdvec(&(side, self.code, tenant, user, message_id, action, body));
        let hash = Sha256::digest(named.expect("our own types become bytes"));
        Some(hash[..16].try_into().expect("a hash has 32 bytes"))
    }

    /// Whether it rings, and how loud.
    #[must_use]
    pub fn rings(&self) -> Option<Severity> {
        self.code.rings(self.service)
    }
}

/// Cuts the words of an event to their bound.
pub(super) fn cut_detail(text: &mut String) {
    cut(text, DETAIL_BYTES_MAX);
}

fn cut(text: &mut String, max: usize) {
    text.truncate(text.floor_char_boundary(max));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(body: &str) -> Code {
        Code::of_body(&Message::parse(body.to_owned().into()).expect_err(body))
    }

    #[test]
    fn every_code_rings_as_the_table_says() {
        let docs = include_str!("attempt.rs");
        for code in Code::ALL {
            let row = docs.lines().find(|line| line.starts_with(&format!("//! | `{code}` |")));
            let told = row.unwrap_or_else(|| panic!("{code} is not in the table")).rsplit('|').nth(1).unwrap().trim();
            let said = match [Role::Producer, Role::Broker, Role::Consumer].map(|service| code.rings(service)) {
                [Some(Severity::Critical), Some(Severity::Critical), Some(Severity::Critical)] => "critical",
                [Some(Severity::Warning), Some(Severity::Warning), Some(Severity::Warning)] => "warning",
                [None, Some(Severity::Warning), Some(Severity::Warning)] => "warning, but not at the producer",
                [None, None, Some(Severity::Warning)] => "warning, but not before the broker",
                [None, None, None] => "no",
                other => panic!("{code}: {other:?}"),
            };
            assert_eq!(told, said, "{code}");
            assert_eq!(serde_json::to_value(code).unwrap(), code.name());
        }
    }

    #[test]
    fn a_typo_is_malformed_and_what_two_readers_may_read_differently_is_hostile() {
        let sound = crate::testing::credit("acme", "m-1", 10);
        let typos = [
            ("issue_credit", "isue_credit"),
            (r#""EUR""#, r#""euro""#),
            ("10,", r#""10","#),
            ("{", ""),
            (r#""amount_minor":10,"#, ""),
        ];
        for (from, to) in typos {
            assert_eq!(refused(&sound.replacen(from, to, 1)), Code::Malformed, "{from} -> {to}");
        }
        let hostile = [
            (r#""acme""#, r#""Acme""#),
            (r#""acme""#, "\"acm\u{435}\""),
            (r#""acme""#, r#""acme\u0000""#),
            (r#""acme""#, r#""acme","tenant_id":"globex""#),
            (":10,", ":10.5,"),
            (r#""user_id""#, r#""admin":true,"user_id""#),
        ];
        for (from, to) in hostile {
            assert_eq!(refused(&sound.replacen(from, to, 1)), Code::HostileBody, "{from} -> {to}");
        }
        let deep = format!("{}{}", "[".repeat(300), "]".repeat(300));
        assert_eq!(
            refused(&sound.replacen(r#"{"amount_minor""#, &format!(r#"{{"x":{deep},"amount_minor""#), 1)),
            Code::HostileBody
        );
        assert_eq!(refused(&format!("{sound}{}", " ".repeat(MAX_BODY_BYTES))), Code::HostileBody);
    }

    #[test]
    fn to_send_what_one_may_not_even_have_approved_is_another_attempt_and_to_send_it_again_is_not() {
        let message = Message::parse(crate::testing::credit("acme", "m-1", 10).into()).expect("a message");
        let at = |service, entry: &str| Attempt {
            at_unix_ms: 0,
            service,
            entry: entry.into(),
            code: Code::CrossTenant,
            claimed: Claimed::of(&message),
            detail: String::new(),
        };
        let sent = at(Role::Auth, "grant").identity();
        assert!(sent.is_some());
        assert_eq!(sent, at(Role::Producer, "POST /v1/commands").identity());
        assert_ne!(sent, at(Role::Auth, APPROVALS).identity());
        assert_ne!(sent, at(Role::Consumer, "recheck").identity());
    }

    #[test]
    fn what_was_claimed_is_kept_within_bounds_and_the_body_is_not_kept_at_all() {
        let mut attempt = Attempt {
            at_unix_ms: 0,
            service: Role::Producer,
            entry: "POST /v1/commands".into(),
            code: Code::Malformed,
            claimed: Claimed::of_body(format!(r#"{{"tenant_id":"{}","secret":"s3cr3t"}}"#, "é".repeat(999)).as_bytes()),
            detail: "x".repeat(9999),
        };
        attempt.cut();
        assert!(attempt.claimed.tenant.as_ref().unwrap().len() <= CLAIM_BYTES_MAX);
        assert_eq!(attempt.detail.len(), DETAIL_BYTES_MAX);
        assert!(!format!("{attempt:?}").contains("s3cr3t"));
    }
}
