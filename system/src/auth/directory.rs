//! Who holds which role on which tenant. A file, because operations teams keep it under review.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::action::Permission;
use crate::ids::{TenantId, UserId};

/// What an operator is to a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Looks.
    Viewer,
    /// Looks, and changes limits and credit.
    Billing,
    /// Everything.
    Admin,
}

impl Role {
    /// The role as the directory's file spells it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Billing => "billing",
            Self::Admin => "admin",
        }
    }

    /// What the role allows.
    #[must_use]
    pub fn permissions(self) -> &'static [Permission] {
        use Permission::{
            EraseSecrets, IssueCredit, ManageCredentials, ManageEntitlements, ManageLimits, PauseTenant, Read,
        };
        match self {
            Self::Viewer => &[Read],
            Self::Billing => &[Read, ManageLimits, IssueCredit],
            Self::Admin => {
                &[Read, ManageLimits, ManageEntitlements, IssueCredit, PauseTenant, ManageCredentials, EraseSecrets]
            }
        }
    }
}

/// One operator's role on one tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Binding {
    /// The operator.
    pub user: UserId,
    /// The tenant.
    pub tenant: TenantId,
    /// The role.
    pub role: Role,
}

/// All bindings. What is not bound is forbidden.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Directory {
    revision: u64,
    roles: BTreeMap<UserId, BTreeMap<TenantId, Role>>,
}

/// A directory file that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// Not TOML, or not of this shape; says where.
    #[error("{0}")]
    Unreadable(#[from] toml::de::Error),
    /// Two roles for one operator on one tenant: which one counts must not depend on the order of lines.
    #[error("user {user} is bound to tenant {tenant} twice; keep one of the two")]
    BoundTwice {
        /// The operator.
        user: UserId,
        /// The tenant.
        tenant: TenantId,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    revision: u64,
    #[serde(default)]
    binding: Vec<Binding>,
}

impl Directory {
    /// A directory of `bindings`, as its revision number `revision`.
    ///
    /// # Errors
    /// When an operator is bound to a tenant twice.
    pub fn new(revision: u64, bindings: impl IntoIterator<Item = Binding>) -> Result<Self, DirectoryError> {
        let mut roles: BTreeMap<UserId, BTreeMap<TenantId, Role>> = BTreeMap::new();
        for Binding { user, tenant, role } in bindings {
            if roles.entry(user.clone()).or_default().insert(tenant.clone(), role).is_some() {
                return Err(DirectoryError::BoundTwice { user, tenant });
            }
        }
        Ok(Self { revision, roles })
    }

    /// Reads a directory file.
    ///
    /// # Errors
    /// Where it is no directory, with line and column.
    pub fn parse(text: &str) -> Result<Self, DirectoryError> {
        let File { revision, binding } = toml::from_str(text)?;
        Self::new(revision, binding)
    }

    /// Grows with every change.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// What `user` is to whom.
    pub fn roles_of(&self, user: &UserId) -> impl Iterator<Item = (&TenantId, Role)> {
        self.roles.get(user).into_iter().flatten().map(|(tenant, role)| (tenant, *role))
    }

    /// Whether `user` holds `permission` on `tenant`.
    ///
    /// # Errors
    /// Why not, in words for the operator.
    pub fn check(&self, user: &UserId, tenant: &TenantId, permission: Permission) -> Result<(), String> {
        match self.roles.get(user).and_then(|roles| roles.get(tenant)) {
            None => Err(format!("operator {user} holds no role on tenant {tenant}")),
            Some(role) if role.permissions().contains(&permission) => Ok(()),
            Some(role) => {
                let (role, permission) = (role.name(), permission.name());
                Err(format!("operator {user} is {role} on tenant {tenant}, which does not include {permission}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory() -> Directory {
        Directory::parse(
            r#"
            revision = 7
            [[binding]]
            user = "ana"
            tenant = "acme"
            role = "billing"
            "#,
        )
        .unwrap()
    }

    fn check(user: &str, tenant: &str, permission: Permission) -> Result<(), String> {
        directory().check(&UserId::parse(user).unwrap(), &TenantId::parse(tenant).unwrap(), permission)
    }

    #[test]
    fn what_is_not_bound_is_forbidden_and_says_why() {
        assert_eq!(check("ana", "acme", Permission::ManageLimits), Ok(()));
        assert_eq!(
            check("ana", "acme", Permission::ManageEntitlements).unwrap_err(),
            "operator ana is billing on tenant acme, which does not include manage_entitlements"
        );
        assert_eq!(
            check("ana", "acme-2", Permission::Read).unwrap_err(),
            "operator ana holds no role on tenant acme-2"
        );
        assert!(check("bob", "acme", Permission::Read).is_err());
    }

    #[test]
    fn a_role_given_twice_is_an_error_whatever_the_order() {
        let binding =
            |role| Binding { user: UserId::parse("ana").unwrap(), tenant: TenantId::parse("acme").unwrap(), role };
        let error = Directory::new(1, [binding(Role::Admin), binding(Role::Viewer)]).unwrap_err();
        assert_eq!(error.to_string(), "user ana is bound to tenant acme twice; keep one of the two");
    }
}
