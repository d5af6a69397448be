//! Whoever keeps auth's files: takes roles away and gives them back, and has keys for grants made, at the plan's times.
//!
//! What auth goes by follows from the time alone, as from files that someone edits whether auth is up or not.

use std::collections::BTreeSet;
use std::sync::LazyLock;
use std::time::Duration;

use tenantry_system::attack;
use tenantry_system::auth::{Directory, EmbeddedAuthority, Policies};
use tenantry_system::ids::{TenantId, UserId};
use tokio::time::sleep;

use super::approvers::TAKES_TWO;
use super::evidence::Evidence;
use super::marks;
use super::workload::{Act, Timed};

/// Auth's host, as the trace names it.
const HOST: &str = "auth";

/// What auth goes by, over nobody yet; read once, for that takes as long as a whole run's decisions. The operators of a
/// scenario act alone, on their own tenants.
static ALONE: LazyLock<Policies> = LazyLock::new(|| over_nobody(&attack::policies()));

/// The same where it takes two to give credit.
static BY_TWO: LazyLock<Policies> = LazyLock::new(|| over_nobody(&(attack::policies() + TAKES_TWO)));

fn over_nobody(policies: &str) -> Policies {
    let nobody = Directory::new([]).expect("nobody has two roles");
    Policies::new(policies, nobody).expect("the policies of this build are valid")
}

/// What changes, and when.
pub struct Office {
    directory: Directory,
    /// Roles that are gone from the first until the second time.
    gone: Vec<(Duration, Duration, (UserId, TenantId))>,
    rotations: Vec<Duration>,
    policies: &'static Policies,
}

impl Office {
    /// The office that begins with `directory` and does `acts`; whether it `takes_two` to give credit.
    #[must_use]
    pub fn new(directory: Directory, acts: &Timed<Act>, takes_two: bool) -> Self {
        let ms = Duration::from_millis;
        let (mut gone, mut rotations) = (Vec::new(), Vec::new());
        for (at, act) in acts {
            match act {
                Act::Revoke(role) => {
                    gone.push((ms(*at), ms(at + role.for_ms), (role.operator.clone(), role.tenant.clone())));
                }
                Act::RotateKey => rotations.push(ms(*at)),
                _ => unreachable!("others' acts"),
            }
        }
        rotations.sort_unstable();
        let policies = if takes_two { &*BY_TWO } else { &*ALONE };
        Self { directory, gone, rotations, policies }
    }

    /// The roles that are gone at `now`.
    #[must_use]
    pub fn gone(&self, now: Duration) -> BTreeSet<(UserId, TenantId)> {
        let gone = self.gone.iter().filter(|(from, until, _)| (*from..*until).contains(&now));
        gone.map(|(.., pair)| pair.clone()).collect()
    }

    /// The policies over the directory without the roles that are gone.
    #[must_use]
    pub fn policies(&self, gone: &BTreeSet<(UserId, TenantId)>) -> Policies {
        let without = |directory: Directory, (user, tenant): &(UserId, TenantId)| directory.without(user, tenant);
        let directory = gone.iter().fold(self.directory.clone(), without);
        self.policies.over(directory).expect("a directory of the cast's")
    }

    /// Has `auth`, which goes by it as it was at `since`, go by it for ever. What changed while auth was opened counts too: on a
    /// slow disk, or stopped meanwhile, that takes a while.
    pub async fn work(&self, since: Duration, auth: &EmbeddedAuthority, evidence: &Evidence) {
        let mut last = since;
        loop {
            let now = super::world::now();
            let gone = self.gone(now);
            if gone != self.gone(last) {
                evidence.seen().revocations.begin(&gone);
                // A store that fails ends the process; it starts anew by the files as they are then.
                if let Ok(revision) = auth.reload(self.policies(&gone)).await {
                    evidence.seen().revocations.in_force(&gone, revision);
                    evidence.record(HOST, "auth.reloaded", &format!("revision {revision} without {gone:?}"));
                    evidence.mark(marks::REVOKED);
                }
            }
            for _ in self.rotations.iter().filter(|at| (last..now).contains(*at)) {
                if auth.rotate().await.is_ok() {
                    evidence.record(HOST, "auth.rotated", "");
                    evidence.mark(marks::GRANT_KEY_ROTATED);
                }
            }
            last = now;
            let changes = self.gone.iter().flat_map(|(from, until, _)| [*from, *until]).chain(self.rotations.clone());
            let next = changes.filter(|at| *at > now).min();
            match next {
                // A moment later, so that a rotation at its very time lies behind.
                Some(next) => sleep(next + Duration::from_millis(1) - now).await,
                None => std::future::pending().await,
            }
        }
    }
}
