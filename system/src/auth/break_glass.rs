//! Break-glass: an emergency right on one tenant, for a short time, which takes two people and is never silent.
//!
//! One operator asks and says why, another approves, and the clock ends it; either may end it before. Who may ask and who
//! may approve stands in the policies. That it takes two does not: no policy can permit what is refused here.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::policy::Emergency;
use crate::ids::{TenantId, UserId};

/// The longest emergency, in minutes.
pub const MINUTES_MAX: u64 = 240;

/// Nobody approves what was asked longer ago than this, in minutes: the emergency is another by then.
pub(super) const APPROVE_WITHIN_MINUTES: i64 = 60;

/// A reason has at least this many characters; less says nothing.
pub const REASON_MIN: usize = 10;

/// And at most this many.
pub const REASON_MAX: usize = 500;

/// Emergencies that may wait or be in force at once.
pub(super) const OPEN_MAX: usize = 1000;

/// One emergency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakGlass {
    /// By which it is approved and ended.
    pub number: u64,
    /// On which tenant.
    pub tenant: TenantId,
    /// Who asked, and holds the right.
    pub requester: UserId,
    /// Why.
    pub reason: String,
    /// For how long, from the approval.
    pub minutes: u64,
    /// When it was asked for, in seconds since the Unix epoch.
    pub asked_at: i64,
    /// The second person, and when they approved.
    pub approved: Option<(UserId, i64)>,
}

impl BreakGlass {
    /// When it ends, or when nobody can approve it any more, in seconds since the Unix epoch.
    #[must_use]
    pub fn ends_at(&self) -> i64 {
        match &self.approved {
            Some((_, at)) => at + self.minutes.min(MINUTES_MAX) as i64 * 60,
            None => self.asked_at + APPROVE_WITHIN_MINUTES * 60,
        }
    }
}

/// What can be asked about emergencies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum BreakGlassRequest {
    /// A right on a tenant, for so many minutes, because of this.
    Ask {
        /// On which tenant.
        tenant: TenantId,
        /// Why.
        reason: String,
        /// For how long.
        minutes: u64,
    },
    /// The second person's word.
    Approve {
        /// Which.
        number: u64,
    },
    /// The end before its time.
    End {
        /// Which.
        number: u64,
    },
    /// Those that wait or are in force, of which the asker may know.
    List,
}

/// What would be right, if `reason` says too little, or too much: of whatever people are to judge by later.
#[must_use]
pub fn reason_problem(reason: &str) -> Option<String> {
    let length = reason.chars().count();
    let wrong = !(REASON_MIN..=REASON_MAX).contains(&length) || reason.chars().any(char::is_control);
    let right = || format!("must be {REASON_MIN} to {REASON_MAX} characters on one line: it is what others judge by");
    wrong.then(right)
}

/// What is wrong with what is asked for, if anything: the field, and what would be right.
#[must_use]
pub fn problem(reason: &str, minutes: u64) -> Option<(&'static str, String)> {
    if let Some(right) = reason_problem(reason) {
        return Some(("reason", right));
    }
    let right = || format!("is {minutes}; must be 1 to {MINUTES_MAX}");
    (!(1..=MINUTES_MAX).contains(&minutes)).then(|| ("minutes", right()))
}

/// All that wait or are in force.
#[derive(Debug, Clone, Default)]
pub(super) struct Emergencies(pub(super) BTreeMap<u64, BreakGlass>);

impl Emergencies {
    /// What `user` holds on `tenant` at `now`.
    pub(super) fn of(&self, user: &UserId, tenant: &TenantId, now: i64) -> Option<Emergency> {
        let holds = |open: &&BreakGlass| open.requester == *user && open.tenant == *tenant && now < open.ends_at();
        let (open, (approved_by, _)) =
            self.0.values().filter(holds).find_map(|open| Some((open, open.approved.as_ref()?)))?;
        let until = Timestamp::from_second(open.ends_at()).ok()?;
        Some(Emergency { approved_by: approved_by.clone(), until })
    }

    /// When the next of them ends.
    pub(super) fn next_end(&self) -> Option<i64> {
        self.0.values().map(BreakGlass::ends_at).min()
    }

    /// Those that have ended by `now`.
    pub(super) fn ended(&self, now: i64) -> Vec<u64> {
        self.0.iter().filter(|(_, open)| open.ends_at() <= now).map(|(number, _)| *number).collect()
    }
}
