//! Approvals, as they are asked for, given, withdrawn and looked at, and what they make of a policy's ruling.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use redb::WriteTransaction;

use super::super::approval::{self, Approval, ApprovalEnd, ApprovalRequest, OPEN_MAX, OPEN_OF_ONE_MAX};
use super::super::policy::{Approved, Ask, Ruling};
use super::{APPROVALS, APPROVALS_LAST, Change, Denied, EmbeddedAuthority, Judged, Office, State};
use crate::action::Permission;
use crate::audit::outbox::Writing;
use crate::audit::{Claimed, Code, Event, Step, StepKind};
use crate::call::CallError;
use crate::ids::{TenantId, UserId};
use crate::message::{BodyHash, Message};
use crate::rights::Role;
use crate::secret::without_ciphertext;
use crate::store::encode;

/// So many kinds of operators are thought of as a second person before it is said that no approval helps: a request that is
/// refused must stay cheap.
const KINDS_MAX: usize = 32;

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
            return Judged { ruling: alone, approval: None, with_approval: None };
        }
        let now = self.clock.unix_seconds();
        let held = body.and_then(|body| state.approvals.of(user, tenant, body, now));
        if let Some((open, approved)) = held.and_then(|open| Some((open, self.stands(state, open)?)))
            && let Ruling::Permit(policies) = ruled(Some(&approved))
        {
            return Judged { ruling: Ruling::Permit(policies), approval: Some(open.clone()), with_approval: None };
        }
        // Whoever it might be: that it is another person can be known before, and of what kinds there are.
        let somebody = ["somebody", "somebody-else"].into_iter().find(|name| *name != user.as_str());
        let somebody = somebody.and_then(|name| UserId::parse(name).ok());
        let at = self.clock.now();
        let if_approved = |by: UserId| match ruled(Some(&Approved { by, at })) {
            Ruling::Permit(policies) => Some(policies),
            Ruling::Deny(_) => None,
        };
        let of_a_kind = |by: &UserId| {
            let policies = if_approved(by.clone())?;
            self.check(state, by, tenant, Ask::ApproveCommand(user)).is_ok().then_some(policies)
        };
        let kinds = || state.policies.directory().kinds(user, tenant).into_iter().take(KINDS_MAX);
        let with_approval = somebody.and_then(if_approved).or_else(|| kinds().find_map(of_a_kind));
        Judged { ruling: alone, approval: None, with_approval }
    }

    /// Puts on record that the command of `approval` was let through at its effect because of it.
    pub(super) async fn used(&self, approval: &Approval) -> Result<(), CallError> {
        if approval.used_at.is_some() {
            return Ok(());
        }
        self.change(Change::UseApproval { number: approval.number, at: self.clock.unix_seconds() }).await
    }

    /// What whoever asks for `request` claims, for the record of a refusal: whose approval it is about, too.
    pub(super) fn claimed(&self, request: &ApprovalRequest) -> Claimed {
        let state = self.state();
        let about = |number: &u64| match state.approvals.0.get(number) {
            Some(open) => Claimed { action: Some(open.action.clone()), ..Claimed::tenant(&open.tenant) },
            None => Claimed::default(),
        };
        match request {
            ApprovalRequest::Ask { body, .. } => Claimed::of_body(body),
            ApprovalRequest::Approve { number, body_sha256 } => {
                Claimed { body_sha256: Some(*body_sha256), ..about(number) }
            }
            ApprovalRequest::Withdraw { number } | ApprovalRequest::Show { number } => about(number),
            ApprovalRequest::List => Claimed::default(),
        }
    }

    /// The approval of `open`, if it was given by another person who may still give it.
    fn stands(&self, state: &State, open: &Approval) -> Option<Approved> {
        let (by, at) = open.approved.as_ref()?;
        let may =
            *by != open.requester && self.check(state, by, &open.tenant, Ask::ApproveCommand(&open.requester)).is_ok();
        may.then(|| Approved { by: by.clone(), at: Timestamp::from_second(*at).unwrap_or_default() })
    }

    /// Does what `user` asks about approvals.
    pub(super) async fn four_eyes(
        &self,
        user: UserId,
        request: ApprovalRequest,
    ) -> Result<Result<Vec<Approval>, Refused>, CallError> {
        let (state, now) = (self.state(), self.clock.unix_seconds());
        let may_approve =
            |open: &Approval| self.check(&state, &user, &open.tenant, Ask::ApproveCommand(&open.requester));
        let may_know = |open: &Approval| open.requester == user || may_approve(open).is_ok();
        let known = |number: u64| {
            let known = state.approvals.0.get(&number).filter(|known| may_know(known));
            // In the same words whether there is none or they may not know.
            known.cloned().ok_or_else(|| forbidden(format!("there is no approval {number} that {user} may know of")))
        };
        let (change, number) = match request {
            ApprovalRequest::List => {
                let known = state.approvals.0.values().filter(|known| may_know(known));
                return Ok(Ok(known.map(|open| Approval { body: Bytes::new(), ..Approval::clone(open) }).collect()));
            }
            ApprovalRequest::Show { number } => return Ok(known(number).map(|known| vec![Approval::clone(&known)])),
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
                    Ok(Err(open)) => return Ok(Ok(vec![open.again()])),
                    Err(refused) => return Ok(Err(refused)),
                }
            }
            ApprovalRequest::Approve { number, body_sha256 } => {
                self.store.machine().outbox.has_room()?;
                let open = match known(number) {
                    Ok(open) => open,
                    Err(refused) => return Ok(Err(refused)),
                };
                if let Some(over) = open.over(now) {
                    return Ok(Err((Code::Conflict, Denied::Forbidden(over))));
                }
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
                    return Ok(Ok(vec![open.again()]));
                }
                (Change::Approve { number, by: user.clone(), at: now }, number)
            }
            ApprovalRequest::Withdraw { number } => match known(number) {
                Ok(over) if !over.is_open(now) => return Ok(Ok(vec![over.again()])),
                Ok(_) => (Change::Withdraw(vec![number], Some(user.clone())), number),
                Err(refused) => return Ok(Err(refused)),
            },
        };
        let approving = matches!(change, Change::Approve { .. });
        self.change(change).await?;
        let after = self.state().approvals.0.get(&number).cloned();
        // Of two who ask at once, the second to be executed may have changed nothing.
        let done = |meant: &Arc<Approval>| if approving { meant.approved.is_some() } else { meant.ended.is_some() };
        let meant =
            after.filter(done).ok_or_else(|| CallError::failed(format!("approval {number} was changed meanwhile")))?;
        let state = meant.state(now).name();
        tracing::warn!(number, operator = %user, state, "an approval was given or withdrawn");
        Ok(Ok(vec![Approval::clone(&meant)]))
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
        let (all, of_one) = state.approvals.count(user);
        if all >= OPEN_MAX || of_one >= OPEN_OF_ONE_MAX {
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
            used_at: None,
            ended: None,
            duplicate: false,
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
                let full = state.approvals.count(&asked.requester).0 >= OPEN_MAX;
                if !full && !state.approvals.open(asked.asked_at).any(same) {
                    table.insert(asked.number, encode(&*asked).as_slice())?;
                    self.tell_approval(steps, StepKind::ApprovalAsked, &asked, Some(&asked.requester))?;
                    state.approvals_last = asked.number;
                    within.open_table(APPROVALS_LAST)?.insert((), state.approvals_last)?;
                    state.approvals.0.insert(asked.number, Arc::new(*asked));
                }
            }
            Change::Approve { number, by, at } => {
                let open = state.approvals.0.get(&number).filter(|open| open.approved.is_none() && open.is_open(at));
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
                let (end, at) =
                    (by.clone().map_or(ApprovalEnd::Expired, ApprovalEnd::Withdrawn), self.clock.unix_seconds());
                for number in numbers {
                    let open = state.approvals.0.get(&number).filter(|open| open.ended.is_none());
                    let Some(open) = open else { continue };
                    let ended = Approval { ended: Some((end.clone(), at)), ..Approval::clone(open) };
                    table.insert(number, encode(&ended).as_slice())?;
                    self.tell_approval(steps, kind, &ended, by.as_ref())?;
                    // What it permitted must not be relied on any more.
                    state.revision += u64::from(ended.approved.is_some());
                    state.approvals.0.insert(number, Arc::new(ended));
                    if let Some(oldest) = state.approvals.to_forget() {
                        table.remove(oldest)?;
                        state.approvals.0.remove(&oldest);
                    }
                }
            }
            Change::UseApproval { number, at } => {
                let open = state.approvals.0.get(&number).filter(|open| open.used_at.is_none());
                if let Some(open) = open {
                    let used = Approval { used_at: Some(at), ..Approval::clone(open) };
                    table.insert(number, encode(&used).as_slice())?;
                    state.approvals.0.insert(number, Arc::new(used));
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
