//! Break-glass, as it is asked for, approved, ended and listed.

use super::super::break_glass::{self, BreakGlass, BreakGlassRequest, OPEN_MAX};
use super::super::policy::Ask;
use super::{Change, Denied, EmbeddedAuthority};
use crate::audit::Claimed;
use crate::call::CallError;
use crate::ids::UserId;

impl EmbeddedAuthority {
    /// What whoever asks for `request` claims, for the record of a refusal.
    pub(super) fn claimed_emergency(&self, request: &BreakGlassRequest) -> Claimed {
        match request {
            BreakGlassRequest::Ask { tenant, .. } => Claimed::tenant(tenant),
            BreakGlassRequest::Approve { number } | BreakGlassRequest::End { number } => {
                let state = self.state();
                state.emergencies.0.get(number).map_or_else(Claimed::default, |open| Claimed::tenant(&open.tenant))
            }
            BreakGlassRequest::List => Claimed::default(),
        }
    }

    /// Does what `user` asks about emergencies. A refusal is of what they may not do.
    pub(super) async fn emergency(
        &self,
        user: UserId,
        request: BreakGlassRequest,
    ) -> Result<Result<Vec<BreakGlass>, Denied>, CallError> {
        let denied = |why: String| Ok(Err(Denied::Forbidden(why)));
        let (state, now) = (self.state(), self.clock.unix_seconds());
        let open = |number: u64| {
            let open = state.emergencies.0.get(&number).filter(|open| now < open.ends_at());
            open.cloned().ok_or_else(|| Denied::Forbidden(format!("no break-glass {number} waits or is in force")))
        };
        let (change, number) = match request {
            BreakGlassRequest::List => {
                let may_know = |open: &&BreakGlass| {
                    let asks = [Ask::ApproveBreakGlass(&open.requester), Ask::EndBreakGlass(&open.requester)];
                    asks.into_iter().any(|ask| self.check(&state, &user, &open.tenant, ask).is_ok())
                };
                let open = state.emergencies.0.values().filter(|open| now < open.ends_at());
                return Ok(Ok(open.filter(may_know).cloned().collect()));
            }
            BreakGlassRequest::Ask { tenant, reason, minutes } => {
                self.store.machine().outbox.has_room()?;
                if let Err(denied) = self.check(&state, &user, &tenant, Ask::AskBreakGlass) {
                    return Ok(Err(denied));
                }
                // The API has looked, but it is not the API that is believed here.
                if let Some((field, problem)) = break_glass::problem(&reason, minutes) {
                    return denied(format!("the {field} of a break-glass {problem}"));
                }
                let mut held = state.emergencies.0.values().filter(|open| now < open.ends_at());
                if let Some(held) = held.find(|open| open.requester == user && open.tenant == tenant) {
                    let number = held.number;
                    return denied(format!("break-glass {number} of {user} on tenant {tenant} is open: end it first"));
                }
                if state.emergencies.0.len() >= OPEN_MAX {
                    return denied(format!("{OPEN_MAX} emergencies are open; end some"));
                }
                let number = state.emergencies_last + 1;
                let asked = BreakGlass {
                    number,
                    tenant,
                    requester: user.clone(),
                    reason,
                    minutes,
                    asked_at: now,
                    approved: None,
                };
                (Change::Open(asked), number)
            }
            BreakGlassRequest::Approve { number } => {
                self.store.machine().outbox.has_room()?;
                let asked = match open(number) {
                    Ok(asked) => asked,
                    Err(denied) => return Ok(Err(denied)),
                };
                // Whatever the policies say: it takes two.
                if asked.requester == user {
                    return denied(format!(
                        "break-glass {number} was asked for by {user}: another person must approve it"
                    ));
                }
                if let Some((by, _)) = &asked.approved {
                    return denied(format!("break-glass {number} is approved by {by} already"));
                }
                if let Err(denied) = self.check(&state, &user, &asked.tenant, Ask::ApproveBreakGlass(&asked.requester))
                {
                    return Ok(Err(denied));
                }
                (Change::Open(BreakGlass { approved: Some((user.clone(), now)), ..asked }), number)
            }
            BreakGlassRequest::End { number } => {
                let asked = match open(number) {
                    Ok(asked) => asked,
                    Err(denied) => return Ok(Err(denied)),
                };
                if let Err(denied) = self.check(&state, &user, &asked.tenant, Ask::EndBreakGlass(&asked.requester)) {
                    return Ok(Err(denied));
                }
                (Change::End(vec![number], Some(user.clone())), number)
            }
        };
        let opened = match &change {
            Change::Open(opened) => Some(opened.clone()),
            _ => None,
        };
        let before = state.emergencies.0.get(&number).cloned();
        self.change(change).await?;
        let after = self.state().emergencies.0.get(&number).cloned();
        // Of two who ask at once for one thing, the second to be executed changes nothing.
        let told = if after == opened { opened.or(before) } else { None };
        let told = told.ok_or_else(|| CallError::failed(format!("break-glass {number} was changed meanwhile")))?;
        tracing::error!(number, operator = %user, tenant = %told.tenant, requester = %told.requester, reason = told.reason,
            minutes = told.minutes, approved = ?told.approved, ended = after.is_none(), "break-glass");
        Ok(Ok(vec![told]))
    }
}
