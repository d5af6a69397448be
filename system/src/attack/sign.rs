//! How the one event of an attempt is known among all others.

use crate::audit::Event;
use crate::message::BodyHash;
use crate::rights::Role;

/// How the one event of an attempt is known among others.
#[derive(Debug)]
pub(super) enum Sign {
    /// A message that came under this name.
    Named(String),
    /// A body, refused at one of these.
    Body(BodyHash, &'static [Role]),
    /// A body, refused by the producer, or a grant for it or for its sealing, by auth.
    Asked(BodyHash, String),
    /// A grant asked for a message of this id.
    Granted(String),
    /// A door of a service, and words of the refusal.
    Door(Role, &'static str, String),
    /// A decision on the message of this id.
    Decided(String),
}

impl Sign {
    pub(super) fn fits(&self, event: &Event) -> bool {
        match (self, event) {
            (Self::Decided(id), Event::Decided(entry)) => entry.message_id.as_str() == id,
            (Self::Decided(_), _) | (_, Event::Decided(_) | Event::Step(_) | Event::Raised(_)) => false,
            (Self::Named(name), Event::Refused(attempt)) => {
                let inside = matches!(attempt.service, Role::Consumer | Role::Broker);
                inside && attempt.claimed.message_id.as_ref() == Some(name)
            }
            (Self::Body(hash, by), Event::Refused(attempt)) => {
                by.contains(&attempt.service) && attempt.claimed.body_sha256 == Some(*hash)
            }
            (Self::Asked(hash, id), Event::Refused(attempt)) => match attempt.service {
                Role::Producer => attempt.claimed.body_sha256 == Some(*hash),
                Role::Auth => attempt.claimed.message_id.as_ref() == Some(id),
                _ => false,
            },
            (Self::Granted(id), Event::Refused(attempt)) => {
                attempt.service == Role::Auth && attempt.claimed.message_id.as_ref() == Some(id)
            }
            (Self::Door(service, entry, words), Event::Refused(attempt)) => {
                attempt.service == *service && attempt.entry == *entry && attempt.detail.contains(words)
            }
        }
    }
}

/// What was done in a cell: what must be seen of it, and what was seen at once that must not be.
#[derive(Debug, Default)]
pub(super) struct Tried {
    pub(super) signs: Vec<Sign>,
    pub(super) breach: Option<String>,
}
