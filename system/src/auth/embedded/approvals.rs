//! Approvals, as they are asked for, given, withdrawn and looked at, and what they make of a policy's ruling.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use redb::WriteTransaction;

use super::super::approval::{self, Approval, ApprovalRequest, OPEN_MAX, OPEN_OF_ONE_MAX};
use super::super::policy::{Approved, Ask, Ruling};
use super::{APPROVALS, APPROVALS_LAST, Change, Denied, EmbeddedAuthority, Judged, Office, State};
use crate::action::Permission;
use crate::audit::outbox::Writing;
use crate::audit::{Code, Event, Step, StepKind};
use crate::call::CallError;
use crate::ids::{TenantId, UserId};
use crate::message::{BodyHash, Message};
use crate::rights::Role;
use crate::secret::without_ciphertext;
use crate::store::encode;

/// Why something is refused, and what kind of attempt it is.
type Refused = (Code, Denied);

fn forbidden(why: String) -> Refused {
    (Code::Forbidden, Denied::Forbidden(why))
}

impl EmbeddedAuthority {
    /// What the policies say to `user`, who asks for the command whose body has the hash `body`, or for none in particular.
    pub(super) fn judge(
        &self,
        state: &State,
        user: &UserId,
        tenant: &TenantId,
        permission: Permission,
        body: Option<&BodyHash>,
    ) -> Judged {
        let ruled = |approved: Option<&Approved>| self.rule(state, user, tenant, permission, approved);
        let alone = ruled(None);
        if matches!(alone, Ruling::Permit(_)) {
            return Judged { ruling: alone, approved_by: None, with_approval: None };
        }
        let now = self.clock.unix_seconds();
        let held = body.and_then(|body| state.approvals.of(user, tenant, body, now));
        if let Some(approved) = held.and_then(|open| self.stands(state, open))
            && let Ruling::Permit(policies) = ruled(Some(&approved))
        {
            let (ruling, approved_by) = (Ruling::Permit(policies), Some(approved.by));
            return Judged { ruling, approved_by, with_approval: None };
        }
        // Whoever it might be: only that it is another person can be known before.
        let somebody = ["somebody", "somebody-else"].into_iter().find(|name| *name != user.as_str());
        let somebody = somebody.and_then(|name| UserId::parse(name).ok());
        let approved = somebody.map(|by| Approved { by, at: self.clock.now() });
        let with_approval = approved.and_then(|approved| match ruled(Some(&approved)) {
            Ruling::Permit(policies) => Some(policies),
            Ruling::Deny(_) => None,
        });
        Judged { ruling: alone, approved_by: None, with_approval }
    }

    /// The approval of `open`, if it was given by another person who may still give it.
    fn stands(&self, state: &State, open: &Approval) -> Option<Approved> {
        let (by, at) = open.approved.as_ref()?;
        let may =
            *by != open.requester && self.check(state, by, &open.tenant, Ask::ApproveCommand(&open.requester)).is_ok();
        may.then(|| Approved { by: by.clone(), at: Timestamp::from_second(*at).unwrap_or_default() })
    }

    /// Does what is asked about approvals.
    pub(super) async fn four_eyes(
        &self,
        token: &str,
        request: ApprovalRequest,
    ) -> Result<Result<Vec<Approval>, Refused>, CallError> {
        let user = match self.authenticate(token).await? {
            Ok(user) => user,
            Err(refused) => return Ok(Err((Code::Unauthenticated, refused))),
        };
        let (state, now) = (self.state(), self.clock.unix_seconds());
        let may_approve =
            |open: &Approval| self.check(&state, &user, &open.tenant, Ask::ApproveCommand(&open.requester));
        let may_know = |open: &Approval| open.requester == user || may_approve(open).is_ok();
        let open = |number: u64| {
            let open = state.approvals.open(now).find(|open| open.number == number && may_know(open));
            // In the same words whether there is none or they may not know.
            open.cloned().ok_or_else(|| forbidden(format!("no approval {number} is open that {user} may know of")))
        };
        let (change, number) = match request {
            ApprovalRequest::List => {
                let known = state.approvals.open(now).filter(|open| may_know(open));
                return Ok(Ok(known.map(|open| Approval { body: Bytes::new(), ..Approval::clone(open) }).collect()));
            }
            ApprovalRequest::Show { number } => return Ok(open(number).map(|open| vec![Approval::clone(&open)])),
            ApprovalRequest::Ask { body, reason, minutes } => {
                self.store.machine().outbox.has_room()?;
                match self.asked(&state, &user, now, body, reason, minutes) {
                    Ok(Ok(asked)) => {
                        let (tenant, body_sha256) = (asked.tenant.clone(), asked.body_sha256);
                        self.change(Change::AskApproval(Box::new(asked))).await?;
                        // Its number is known once it is kept: many may ask at once.
                        let kept = self.state().approvals.of(&user, &tenant, &body_sha256, now).cloned();
                        let kept = kept
                            .ok_or_else(|| CallError::failed("another was asked for meanwhile; look, and ask again"));
                        return kept.map(|kept| Ok(vec![Approval::clone(&kept)]));
                    }
                    // Asked again: it is open already.
                    Ok(Err(open)) => return Ok(Ok(vec![Approval::clone(&open)])),
                    Err(refused) => return Ok(Err(refused)),
                }
            }
            ApprovalRequest::Approve { number, body_sha256 } => {
                self.store.machine().outbox.has_room()?;
                let open = match open(number) {
                    Ok(open) => open,
                    Err(refused) => return Ok(Err(refused)),
                };
                let misused = |why: String| Ok(Err((Code::ApprovalMisused, Denied::Forbidden(why))));
                // Whatever the policies say: it takes two.
                if open.requester == user {
                    return misused(format!("approval {number} was asked for by {user}: another person must give it"));
                }
                if open.body_sha256 != body_sha256 {
                    return misused(format!("approval {number} is of another message than the one that is named"));
                }
                if let Err(denied) = may_approve(&open) {
                    return Ok(Err((Code::Forbidden, denied)));
                }
                if open.approved.is_some() {
                    return Ok(Ok(vec![Approval::clone(&open)]));
                }
                (Change::Approve { number, by: user.clone(), at: now }, number)
            }
            ApprovalRequest::Withdraw { number } => match open(number) {
                Ok(_) => (Change::Withdraw(vec![number], Some(user.clone())), number),
                Err(refused) => return Ok(Err(refused)),
            },
        };
        let before = state.approvals.0.get(&number).cloned();
        self.change(change).await?;
        let after = self.state().approvals.0.get(&number).cloned();
        tracing::warn!(number, operator = %user, open = after.is_some(), "an approval was given or withdrawn");
        // Of two who ask at once, the second to be executed may have changed nothing.
        match after.or(before) {
            Some(meant) if meant.requester == user || may_know(&meant) => Ok(Ok(vec![Approval::clone(&meant)])),
            _ => Err(CallError::failed(format!("approval {number} was changed meanwhile"))),
        }
    }

    /// The approval that `user` asks for; or one of the same message, which is open already.
    fn asked(
        &self,
        state: &State,
        user: &UserId,
        now: i64,
        body: Bytes,
        reason: String,
        minutes: u64,
    ) -> Result<Result<Approval, Arc<Approval>>, Refused> {
        // The API has looked, but it is not the API that is believed here.
        if let Some((field, problem)) = approval::problem(&reason, minutes, &body) {
            return Err(forbidden(format!("the {field} of an approval {problem}")));
        }
        let message = Message::parse(body).map_err(|refusal| {
            (Code::of_body(&refusal), Denied::Forbidden(format!("what is to be approved is no message: {refusal}")))
        })?;
        let (tenant, body_sha256) = (&message.tenant_id, message.body_sha256());
        if message.user_id != *user {
            let why = format!("the message says it is from {}, the token is {user}'s", message.user_id);
            return Err((Code::Impersonation, Denied::Forbidden(why)));
        }
        let judged = self.judge(state, user, tenant, message.action.permission(), None);
        if let (Ruling::Deny(why), None) = (judged.ruling, judged.with_approval) {
            let code = match state.policies.directory().has_role(user, tenant) {
                true => Code::Forbidden,
                false => Code::CrossTenant,
            };
            return Err((code, Denied::Forbidden(why)));
        }
        if let Some(open) = state.approvals.of(user, tenant, &body_sha256, now) {
            return Ok(Err(open.clone()));
        }
        if state.approvals.is_for_another(tenant, &message.message_id, &body_sha256, now) {
            let id = &message.message_id;
            let why = format!("an approval is open for another message {id} of tenant {tenant}: withdraw that first");
            return Err((Code::Conflict, Denied::Forbidden(why)));
        }
        let of_one = state.approvals.0.values().filter(|open| open.requester == *user).count();
        if state.approvals.0.len() >= OPEN_MAX || of_one >= OPEN_OF_ONE_MAX {
            let most = format!("at most {OPEN_MAX} may be, and {OPEN_OF_ONE_MAX} of one operator; withdraw some");
            return Err(forbidden(format!("too many approvals are open: {most}")));
        }
        Ok(Ok(Approval {
            number: 0,
            tenant: tenant.clone(),
            requester: user.clone(),
            action: message.action.name().into(),
            message_id: message.message_id.clone(),
            body_sha256,
            body: without_ciphertext(&message.body).unwrap_or_else(|| message.body.clone()),
            reason,
            asked_at: now,
            expires_at: now + minutes as i64 * 60,
            approved: None,
        }))
    }
}

impl Office {
    /// Makes a change of approvals within the commit under way. It was decided on what was committed then: another may have
    /// been faster.
    pub(super) fn change_approvals(
        &self,
        within: &WriteTransaction,
        state: &mut State,
        steps: &mut Writing<'_>,
        change: Change,
    ) -> Result<(), redb::Error> {
        let mut table = within.open_table(APPROVALS)?;
        match change {
            Change::AskApproval(mut asked) => {
                asked.number = state.approvals_last + 1;
                let same = |open: &Arc<Approval>| open.tenant == asked.tenant && open.message_id == asked.message_id;
                let full = state.approvals.0.len() >= OPEN_MAX;
                if !full && !state.approvals.open(asked.asked_at).any(same) {
                    table.insert(asked.number, encode(&*asked).as_slice())?;
                    self.tell_approval(steps, StepKind::ApprovalAsked, &asked, Some(&asked.requester))?;
                    state.approvals_last = asked.number;
                    within.open_table(APPROVALS_LAST)?.insert((), state.approvals_last)?;
                    state.approvals.0.insert(asked.number, Arc::new(*asked));
                }
            }
            Change::Approve { number, by, at } => {
                let open =
                    state.approvals.0.get(&number).filter(|open| open.approved.is_none() && at < open.expires_at);
                let ask = |open: &Approval| {
                    let at = Timestamp::from_second(at).ok()?;
                    Some(state.policies.rule(&by, &open.tenant, Ask::ApproveCommand(&open.requester), at))
                };
                if let Some(open) = open.filter(|open| matches!(ask(open), Some(Ruling::Permit(_)))) {
                    let given = Approval { approved: Some((by.clone(), at)), ..Approval::clone(open) };
                    table.insert(number, encode(&given).as_slice())?;
                    self.tell_approval(steps, StepKind::Approved, &given, Some(&by))?;
                    state.approvals.0.insert(number, Arc::new(given));
                }
            }
            Change::Withdraw(numbers, by) => {
                let kind = if by.is_some() { StepKind::ApprovalWithdrawn } else { StepKind::ApprovalExpired };
                for number in numbers {
                    table.remove(number)?;
                    let Some(ended) = state.approvals.0.remove(&number) else { continue };
                    self.tell_approval(steps, kind, &ended, by.as_ref())?;
                    // What it permitted must not be relied on any more.
                    state.revision += u64::from(ended.approved.is_some());
                }
            }
            // The other changes are made where they are listed.
            Change::Reload(_) | Change::Rotate { .. } | Change::Open(_) | Change::End(..) => {}
        }
        Ok(())
    }

    /// Puts on record that `kind` happened to `open`, by `user`.
    fn tell_approval(
        &self,
        steps: &mut Writing<'_>,
        kind: StepKind,
        open: &Approval,
        user: Option<&UserId>,
    ) -> Result<(), redb::Error> {
        let Approval { number, tenant, requester, action, message_id, body_sha256, reason, expires_at, .. } = open;
        let step = Step::new(self.clock.now().as_millisecond(), Role::Auth, kind, *number);
        steps.push(&Event::Step(Step {
            tenant: Some(tenant.clone()),
            user: user.cloned(),
            action: Some(action.clone()),
            message_id: Some(message_id.clone()),
            body_sha256: Some(*body_sha256),
            detail: format!("for {requester}, until {expires_at}: {reason}"),
            ..step
        }))
    }
}
