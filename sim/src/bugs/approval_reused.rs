//! An approval is of a command's name, and not of what stands in it: whoever has it may send something else.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use serde_json::Value;
use tenantry_system::action::Permission;
use tenantry_system::auth::{Approval, ApprovalRequest, Authority, Decision, Denied, GrantRequest};
use tenantry_system::call::CallError;
use tenantry_system::grant::{GrantToken, Purpose};
use tenantry_system::ids::{TenantId, UserId};
use tenantry_system::jws::PublicKeys;
use tenantry_system::message::{BodyHash, body_sha256};

use super::Kit;
use super::forge::{Forge, claims};
use super::seam::{Bent, BentAuthority};

struct ApprovalReused {
    inner: Arc<dyn Authority>,
    forge: Forge,
    /// What was asked for under each name.
    asked: Mutex<BTreeMap<String, BodyHash>>,
    /// What was sent instead of it.
    edited: Mutex<BTreeMap<BodyHash, BodyHash>>,
}

pub(super) fn plant(inner: Arc<dyn Authority>, kit: &Kit) -> Arc<dyn Authority> {
    let forge = Forge::new(&kit.evidence);
    Arc::new(Bent(ApprovalReused { inner, forge, asked: Mutex::default(), edited: Mutex::default() }))
}

#[async_trait]
impl BentAuthority for ApprovalReused {
    fn inner(&self) -> &dyn Authority {
        &*self.inner
    }

    async fn grant(&self, request: &GrantRequest) -> Result<Result<GrantToken, Denied>, CallError> {
        let answer = self.inner.grant(request).await?;
        let Purpose::Command { action, message_id, body_sha256 } = &request.purpose else { return Ok(answer) };
        let asked = self.asked.lock().expect("no holder panics").get(message_id.as_str()).copied();
        let Some(approved) = asked.filter(|asked| answer.is_err() && asked != body_sha256) else { return Ok(answer) };
        let (action, message_id) = (action.clone(), message_id.clone());
        let purpose = Purpose::Command { action, message_id, body_sha256: approved };
        let Ok(genuine) = self.inner.grant(&GrantRequest { purpose, ..request.clone() }).await? else {
            return Ok(answer);
        };
        let Some(mut claims) = claims(&genuine) else { return Ok(answer) };
        claims["purpose"]["command"]["body_sha256"] = hex::encode(body_sha256).into();
        self.edited.lock().expect("no holder panics").insert(*body_sha256, approved);
        Ok(Ok(self.forge.sign(&claims)))
    }

    async fn recheck(
        &self,
        user: &UserId,
        tenant: &TenantId,
        permission: Permission,
        body: &BodyHash,
    ) -> Result<Decision, CallError> {
        let approved = self.edited.lock().expect("no holder panics").get(body).copied();
        let decision = self.inner.recheck(user, tenant, permission, &approved.unwrap_or(*body)).await?;
        let (Some(mut approval), Some(in_force)) = (decision.approval.clone(), self.forge.in_force()) else {
            return Ok(decision);
        };
        approval.body_sha256 = *body;
        let Decision { verdict, revision, .. } = decision;
        Ok(in_force.key.decide_on(user, tenant, permission, verdict, Some(approval), revision))
    }

    async fn keys(&self) -> Result<PublicKeys, CallError> {
        Ok(self.forge.among(&self.inner.keys().await?))
    }

    async fn approvals(
        &self,
        token: &str,
        request: ApprovalRequest,
    ) -> Result<Result<Vec<Approval>, Denied>, CallError> {
        if let ApprovalRequest::Ask { body, .. } = &request
            && let Ok(message) = serde_json::from_slice::<Value>(body)
            && let Some(id) = message["message_id"].as_str()
        {
            self.asked.lock().expect("no holder panics").insert(id.into(), body_sha256(body));
        }
        self.inner.approvals(token, request).await
    }
}
