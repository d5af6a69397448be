//! Auth's word at the moment of effect, and how the ledger knows that it is auth's, and not too old.
//!
//! A decision goes from auth to the ledger through a consumer. It carries a tag that only auth can make and only the
//! ledger can check: a consumer that was taken over can withhold a decision, and not invent one. And it carries the
//! revision of authority that it was made at: the ledger follows that revision, and takes no decision of an earlier one.

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::action::Permission;
use crate::capability::Entropy;
use crate::ids::{TenantId, UserId};
use crate::message::BodyHash;

/// What was decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// They may.
    Permit {
        /// The policies that permit it.
        policies: Vec<String>,
    },
    /// They may not.
    Deny {
        /// Why not.
        reason: String,
    },
}

/// That a verdict is on one command alone, for it asks for a second person's approval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approved {
    /// The command: SHA-256 of its body.
    pub body_sha256: BodyHash,
    /// Who approved it, if anyone did.
    pub by: Option<UserId>,
}

/// A verdict on one operator, one tenant and one permission, at one revision of authority.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// What was decided.
    pub verdict: Verdict,
    /// None: it is the same for every command of the permission.
    pub approval: Option<Approved>,
    /// The revision of authority it was made at.
    pub revision: u64,
    tag: [u8; 32],
}

/// The secret that auth and the ledger share.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecisionKey([u8; 32]);

impl std::fmt::Debug for DecisionKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DecisionKey(withheld)")
    }
}

impl DecisionKey {
    /// A new key.
    pub fn generate(entropy: &dyn Entropy) -> Self {
        let mut key = [0; 32];
        entropy.fill(&mut key);
        Self(key)
    }

    /// The key kept as `bytes`.
    #[must_use]
    pub(super) fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes, to be kept.
    pub(super) fn to_bytes(&self) -> [u8; 32] {
        self.0
    }

    fn mac(
        &self,
        user: &UserId,
        tenant: &TenantId,
        permission: Permission,
        verdict: &Verdict,
        approval: &Option<Approved>,
        revision: u64,
    ) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes a key of any length");
        let signed = (user, tenant, permission, verdict, approval, revision);
        mac.update(&postcard::to_stdvec(&signed).expect("our own types become bytes"));
        mac
    }

    /// Makes a decision on every command of the permission.
    pub fn decide(
        &self,
        user: &UserId,
        tenant: &TenantId,
        permission: Permission,
        verdict: Verdict,
        revision: u64,
    ) -> Decision {
        self.decide_on(user, tenant, permission, verdict, None, revision)
    }

    /// Makes a decision, on one command alone if there is an `approval` to it.
    pub fn decide_on(
        &self,
        user: &UserId,
        tenant: &TenantId,
        permission: Permission,
        verdict: Verdict,
        approval: Option<Approved>,
        revision: u64,
    ) -> Decision {
        let tag = self.mac(user, tenant, permission, &verdict, &approval, revision).finalize().into_bytes().into();
        Decision { verdict, approval, revision, tag }
    }

    /// Whether `decision` is auth's, on this operator, tenant and permission. Takes as long whatever is wrong with it.
    #[must_use]
    pub fn verify(&self, decision: &Decision, user: &UserId, tenant: &TenantId, permission: Permission) -> bool {
        let mac = self.mac(user, tenant, permission, &decision.verdict, &decision.approval, decision.revision);
        mac.verify_slice(&decision.tag).is_ok()
    }
}

/// Where authority stands: what the ledger follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InForce {
    /// Grows with every change of policies, directory or emergency rights; never goes back.
    pub revision: u64,
    /// What decisions are checked with.
    pub key: DecisionKey,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_is_for_one_operator_one_tenant_one_permission_and_one_revision() {
        let (ana, bob) = (UserId::parse("ana").unwrap(), UserId::parse("bob").unwrap());
        let (acme, globex) = (TenantId::parse("acme").unwrap(), TenantId::parse("globex").unwrap());
        let key = DecisionKey([7; 32]);
        let deny = Verdict::Deny { reason: "no".into() };
        let decision = key.decide(&ana, &acme, Permission::Read, deny, 5);
        assert!(key.verify(&decision, &ana, &acme, Permission::Read));
        assert!(!key.verify(&decision, &bob, &acme, Permission::Read));
        assert!(!key.verify(&decision, &ana, &globex, Permission::Read));
        assert!(!key.verify(&decision, &ana, &acme, Permission::ManageLimits));
        assert!(!key.verify(&Decision { revision: 6, ..decision.clone() }, &ana, &acme, Permission::Read));
        let permit = Verdict::Permit { policies: Vec::new() };
        assert!(!key.verify(&Decision { verdict: permit, ..decision.clone() }, &ana, &acme, Permission::Read));
        let approval = Some(Approved { body_sha256: [1; 32], by: Some(bob) });
        assert!(!key.verify(&Decision { approval, ..decision.clone() }, &ana, &acme, Permission::Read));
        assert!(!DecisionKey([8; 32]).verify(&decision, &ana, &acme, Permission::Read));
    }
}
