//! Approvals stretched: to an edited command, to another one, and to oneself.
//!
//! On one tenant every action takes two; the attacker administers it beside an honest operator, who approves what they read.

use serde_json::Value;

use super::attacker::{Attacker, persist};
use super::sign::{Sign, Tried};
use super::stage::{ATTACKER, HONEST, PAIR, message_id, tenant_id, user_id};
use super::{Attack, Cell, Entry};
use crate::action::{REGISTRY, Spec};
use crate::auth::{Denied, GrantRequest};
use crate::call::CallError;
use crate::grant::Purpose;
use crate::message::body_sha256;

/// Where approvals are asked for.
const ASK: &str = "/v1/approvals?reason=nothing%20to%20see%20here";

impl Attacker<'_> {
    /// Has the data key of the tenant made that everything takes two on: to seal what is asked about makes one, and no
    /// attempt may be blamed for it.
    pub(super) async fn pair(&self) -> Result<(), String> {
        for spec in REGISTRY.iter().filter(|spec| spec.has_secret()) {
            let body = self.body(PAIR, ATTACKER, spec, &self.honest_id("pair", spec));
            let (status, said) = self.answered("POST", ASK, ATTACKER, &body).await?;
            if status != 201 {
                return Err(format!("an honest wish for an approval was answered {status}: {said}"));
            }
        }
        Ok(())
    }

    /// Asks for one thing, has it approved or tries to approve it alone, and then asks for another.
    pub(super) async fn four_eyes(&self, cell: Cell) -> Result<Tried, String> {
        let (spec, id) = (cell.action.ok_or("a command has an action")?, cell.id());
        let asked = format!("{id}-asked");
        let of = if cell.attack == Attack::ApprovalForAnother { &asked } else { &id };
        let body = self.body(PAIR, ATTACKER, spec, of);
        let (status, open) = self.answered("POST", ASK, ATTACKER, &body).await?;
        let (Some(number), Some(hash)) = (open["number"].as_u64(), open["body_sha256"].as_str()) else {
            return Err(format!("an honest wish for an approval was answered {status}: {open}"));
        };
        let (path, read) = (format!("/v1/approvals/{number}/approve"), format!(r#"{{"body_sha256":"{hash}"}}"#));
        if cell.attack == Attack::SelfApproval {
            let sign = Sign::Door(
                crate::rights::Role::Auth,
                crate::audit::APPROVALS,
                format!("approval {number} was asked for by"),
            );
            let (status, said) = self.answered("POST", &path, ATTACKER, &read).await?;
            let breach = (status != 403).then(|| format!("approving alone was answered {status}: {said}"));
            return Ok(Tried { signs: vec![sign], breach });
        }
        let (status, said) = self.answered("POST", &path, HONEST, &read).await?;
        if status != 200 {
            return Err(format!("an honest approval was answered {status}: {said}"));
        }
        // One space more, or the same under another id.
        let sent = self.body(PAIR, ATTACKER, spec, &id) + if of == &id { " " } else { "" };
        let breach = match cell.entry {
            Entry::Auth => self.granted(spec, &id, &sent).await?.then(|| "auth granted it".to_owned()),
            _ => {
                let (status, said) = self.answered("POST", "/v1/commands", ATTACKER, &sent).await?;
                let refused = status == 403 && said["type"] == "urn:tenantry:problem:approval-required";
                (!refused).then(|| format!("it was answered {status}: {said}"))
            }
        };
        Ok(Tried { signs: vec![Sign::Granted(id)], breach })
    }

    /// Whether auth grants the attacker the command `body`.
    async fn granted(&self, spec: &Spec, id: &str, body: &str) -> Result<bool, String> {
        let (action, message_id, body_sha256) = (spec.name.into(), message_id(id), body_sha256(body.as_bytes()));
        let request = GrantRequest {
            token: self.token(ATTACKER),
            user: Some(user_id(ATTACKER)),
            tenant: tenant_id(PAIR),
            purpose: Purpose::Command { action, message_id, body_sha256 },
        };
        let granted = persist(async || self.authority.grant(&request).await).await?;
        Ok(!matches!(granted, Err(Denied::ApprovalRequired(_))))
    }

    /// Sends a request until there is an answer.
    async fn answered(&self, method: &str, path: &str, who: &str, body: &str) -> Result<(u16, Value), String> {
        let answer = persist(async || match self.send(method, path, Some(self.token(who)), body.as_bytes()).await {
            Ok((429 | 503 | 504, said)) | Err(said) => Err(CallError::failed(said)),
            Ok(answered) => Ok(answered),
        });
        let (status, said) = answer.await?;
        Ok((status, serde_json::from_str(&said).unwrap_or_default()))
    }
}
