//! Which alerts someone is told of. All are on record; but who is told of each of a thousand attempts soon reads none.
//!
//! Of alerts of one code, tenant and operator the first is told, and then none for a while; the next that is told says how
//! many were held back. What a rule has raised is told always: the rule has a quiet time of its own.

use std::collections::BTreeMap;

use crate::audit::Alert;

use super::rules::is_event;

/// How long none is told that is like one that was, in seconds.
pub const QUIET_DEFAULT_S: u32 = 600;

/// The most that is remembered; beyond it the one goes that was told longest ago.
const TOLD_MAX: usize = 10_000;

/// Code, tenant, operator.
type Like = (String, Option<String>, Option<String>);

/// What was told.
#[derive(Debug)]
pub struct Quiet {
    quiet_ms: i64,
    /// When, in milliseconds since the Unix epoch, and how many were held back since.
    told: BTreeMap<Like, (i64, u64)>,
    by_time: BTreeMap<(i64, Like), ()>,
}

impl Default for Quiet {
    fn default() -> Self {
        Self::new(QUIET_DEFAULT_S)
    }
}

impl Quiet {
    /// Nothing was told yet.
    #[must_use]
    pub fn new(quiet_s: u32) -> Self {
        let (told, by_time) = Default::default();
        Self { quiet_ms: i64::from(quiet_s) * 1000, told, by_time }
    }

    /// Whether `alert` is to be told, and then how many like it were held back before it.
    pub fn tell(&mut self, alert: &Alert) -> Option<u64> {
        if !is_event(&alert.code) {
            return Some(0);
        }
        let (like, at) = ((alert.code.clone(), alert.tenant.clone(), alert.user.clone()), alert.at_unix_ms);
        let mut held_back = 0;
        if let Some((told_at, held)) = self.told.get_mut(&like) {
            // One that comes late may lie before what was told.
            if at.abs_diff(*told_at) < self.quiet_ms.unsigned_abs() {
                *held += 1;
                return None;
            }
            held_back = *held;
            self.by_time.remove(&(*told_at, like.clone()));
        }
        self.told.insert(like.clone(), (at, 0));
        self.by_time.insert((at, like), ());
        if self.told.len() > TOLD_MAX
            && let Some(((_, oldest), ())) = self.by_time.pop_first()
        {
            self.told.remove(&oldest);
        }
        Some(held_back)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Severity;

    fn alert(seconds: i64, code: &str, tenant: &str, user: &str) -> Alert {
        Alert {
            place: 1,
            at_unix_ms: seconds * 1000,
            severity: Severity::Warning,
            code: code.into(),
            tenant: Some(tenant.into()),
            user: Some(user.into()),
            line: String::new(),
        }
    }

    #[test]
    fn the_first_is_told_and_the_next_after_a_while_says_how_many_were_held_back() {
        let mut quiet = Quiet::new(60);
        let mut tell = |at, user| quiet.tell(&alert(at, "forbidden", "acme", user));
        assert_eq!(tell(0, "ana"), Some(0));
        assert_eq!([tell(1, "ana"), tell(59, "ana"), tell(-59, "ana")], [None; 3]);
        assert_eq!(tell(1, "bob"), Some(0), "another is another");
        assert_eq!(tell(60, "ana"), Some(3));
        assert_eq!(tell(120, "ana"), Some(0));
        assert_eq!(tell(0, "ana"), Some(0), "an hour late it is news");
    }

    #[test]
    fn another_tenant_or_code_is_told_and_so_is_whatever_a_rule_raised() {
        let mut quiet = Quiet::new(60);
        for (code, tenant) in [("forbidden", "acme"), ("forbidden", "globex"), ("overtaken", "acme")] {
            assert_eq!(quiet.tell(&alert(0, code, tenant, "ana")), Some(0), "{code} {tenant}");
        }
        assert_eq!([0, 1].map(|at| quiet.tell(&alert(at, "burst", "acme", "ana"))), [Some(0); 2]);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_the_oldest_goes() {
        let mut quiet = Quiet::new(600);
        for number in 0..=TOLD_MAX {
            assert_eq!(quiet.tell(&alert(number as i64 / 1000, "forbidden", "acme", &format!("u-{number}"))), Some(0));
        }
        assert_eq!((quiet.told.len(), quiet.by_time.len()), (TOLD_MAX, TOLD_MAX));
        assert_eq!(quiet.tell(&alert(11, "forbidden", "acme", "u-0")), Some(0), "forgotten");
        assert_eq!(quiet.tell(&alert(11, "forbidden", "acme", "u-9999")), None);
    }
}
