//! What the ledger knows of authority: which decisions count, in the effect's own transaction.
//!
//! The ledger follows auth's revision by a question that waits: a change is known here one way across the network after it
//! is in force. A decision of an earlier revision is refused from then on, however long it was under way. What the ledger
//! can't hear it can't know; so when its last answered question was put longer than [`STALE_MAX`] ago, it takes no decision
//! at all. That is the bound: no effect commits on a decision that a revocation overtook, if the revocation came into
//! force more than [`STALE_MAX`] before the commit began - on the ledger's own clock, whatever any other says.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::EmbeddedLedger;
use crate::action::Permission;
use crate::auth::{Authority, Decision, InForce};
use crate::ids::{TenantId, UserId};

/// How old the ledger's knowledge of authority may be.
pub const STALE_MAX: Duration = Duration::from_secs(5);

/// A question waits this long for a change: several must fit within [`STALE_MAX`].
const WAIT: Duration = Duration::from_secs(1);

/// The pause after a question that had no answer.
const AGAIN: Duration = Duration::from_millis(100);

/// At first it is asked sooner: where all start at once, auth is there a moment later, and until then every command waits.
const AGAIN_MIN: Duration = Duration::from_millis(5);

/// An auth that is behind needs a person: it is asked no more often than this.
const AGAIN_BEHIND: Duration = Duration::from_secs(2);

/// What was heard from auth last.
#[derive(Default)]
pub(super) struct Fence(Mutex<Option<Known>>);

struct Known {
    in_force: InForce,
    /// When the question was put: what auth knew then is in the answer.
    asked: Instant,
}

impl Fence {
    /// Takes auth's answer to a question that was put at `asked`.
    /// Whether it is taken: not from an auth that is behind.
    fn learn(&self, in_force: InForce, asked: Instant) -> bool {
        let mut known = self.0.lock().expect("no holder panics");
        if let Some(last) = known.as_ref().filter(|last| in_force.revision < last.in_force.revision) {
            tracing::error!(
                known = last.in_force.revision,
                heard = in_force.revision,
                "auth is behind what the ledger has seen of it: was its folder replaced? Nothing takes effect until both are \
                 of one history; start the ledger again if auth is right"
            );
            return false;
        }
        *known = Some(Known { in_force, asked });
        true
    }

    /// How long ago the last answered question was put; none if there was none.
    pub(super) fn age(&self) -> Option<Duration> {
        self.0.lock().expect("no holder panics").as_ref().map(|known| known.asked.elapsed())
    }

    /// Whether any decision counts now.
    pub(super) fn open(&self) -> Result<(), Unheeded> {
        self.age().filter(|age| *age <= STALE_MAX).map(drop).ok_or(Unheeded::Closed)
    }

    pub(super) fn revision(&self) -> u64 {
        self.0.lock().expect("no holder panics").as_ref().map_or(0, |known| known.in_force.revision)
    }

    /// Whether `decision` on this operator, tenant and permission counts now.
    ///
    /// # Errors
    /// Why not. Another decision may: auth is to be asked again.
    pub(super) fn check(
        &self,
        decision: &Decision,
        user: &UserId,
        tenant: &TenantId,
        permission: Permission,
    ) -> Result<(), Unheeded> {
        let known = self.0.lock().expect("no holder panics");
        let Some(Known { in_force, .. }) = known.as_ref().filter(|known| known.asked.elapsed() <= STALE_MAX) else {
            return Err(Unheeded::Closed);
        };
        if !in_force.key.verify(decision, user, tenant, permission) {
            return Err(Unheeded::Forged);
        }
        if decision.revision < in_force.revision {
            return Err(Unheeded::Stale { made_at: decision.revision, now: in_force.revision });
        }
        Ok(())
    }
}

/// Why a decision does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unheeded {
    #[error("the ledger has not heard from auth for {} s, and takes no effect until it has", STALE_MAX.as_secs())]
    Closed,
    #[error("the decision was not made by auth for this operator, tenant and permission")]
    Forged,
    #[error("the decision was made at revision {made_at} of authority, which is at {now}")]
    Stale { made_at: u64, now: u64 },
}

impl EmbeddedLedger {
    /// Takes auth's word on where authority stands, the answer to a question that was put at `asked`. Whether it was taken:
    /// it is not when auth is behind what is known.
    pub fn learn(&self, in_force: InForce, asked: Instant) -> bool {
        self.fence().learn(in_force, asked)
    }

    /// The latest revision of authority that it knows; 0 before it has heard of any.
    #[must_use]
    pub fn authority_known(&self) -> u64 {
        self.fence().revision()
    }
}

/// Follows `authority` for ever. Until its first answer, and while there is none, nothing takes effect.
pub async fn follow(ledger: Arc<EmbeddedLedger>, authority: Arc<dyn Authority>) {
    let mut again = AGAIN_MIN;
    loop {
        let asked = Instant::now();
        match authority.in_force(ledger.authority_known(), WAIT).await {
            // An auth that is behind answers at once, and would be asked without end.
            Ok(in_force) => {
                again = AGAIN_MIN;
                if !ledger.learn(in_force, asked) {
                    sleep(AGAIN_BEHIND).await;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "failed to ask auth where authority stands");
                sleep(again).await;
                again = (again * 2).min(AGAIN);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Verdict;
    use crate::testing::{Bench, OPERATOR, tenant};

    #[tokio::test(start_paused = true)]
    async fn a_decision_counts_only_if_it_is_auths_own_and_of_no_earlier_revision_and_auth_is_heard() {
        let bench = Bench::new().await;
        let (ana, acme) = (UserId::parse(OPERATOR).unwrap(), tenant("acme"));
        let decision = bench.authority.recheck(&ana, &acme, Permission::IssueCredit, &[0; 32]).await.unwrap();
        let fence = Fence::default();
        let check = |decision: &Decision| fence.check(decision, &ana, &acme, Permission::IssueCredit);
        assert_eq!(check(&decision), Err(Unheeded::Closed), "nothing is known yet");
        let in_force = bench.authority.in_force_now();
        fence.learn(in_force.clone(), Instant::now());
        assert_eq!(check(&decision), Ok(()));
        let mut forged = decision.clone();
        forged.verdict = Verdict::Permit { policies: vec!["mine".into()] };
        assert_eq!(check(&forged), Err(Unheeded::Forged));
        assert_eq!(fence.check(&decision, &ana, &tenant("globex"), Permission::IssueCredit), Err(Unheeded::Forged));
        let revision = in_force.revision + 1;
        fence.learn(InForce { revision, ..in_force.clone() }, Instant::now());
        assert_eq!(check(&decision), Err(Unheeded::Stale { made_at: in_force.revision, now: revision }));
        fence.learn(in_force, Instant::now());
        assert!(check(&decision).is_err(), "what was known once is not forgotten");
        tokio::time::advance(STALE_MAX + Duration::from_millis(1)).await;
        assert_eq!(check(&decision), Err(Unheeded::Closed));
    }
}
