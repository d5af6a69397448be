//! Who is there: operators and the roles they hold, teams of operators, tenants and segments of tenants. A file, because
//! operations teams keep it under review. What a role or a team may do stands in the policies.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::ids::{Name, TenantId, UserId};

/// What an operator is to a tenant: a name that policies give a meaning.
pub type Role = Name;

/// One operator's role on one tenant. They may hold several.
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

/// Operators who are alike to the policies, such as `support`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Team {
    /// Its name.
    pub name: Name,
    /// Who is in it.
    #[serde(default)]
    pub members: BTreeSet<UserId>,
}

/// Tenants that are alike to the policies, such as `supported`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Segment {
    /// Its name.
    pub name: Name,
    /// Which are in it.
    #[serde(default)]
    pub tenants: BTreeSet<TenantId>,
}

/// All of it. A tenant that is not named here does not exist to auth.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Directory {
    pub(super) roles: BTreeMap<UserId, BTreeMap<TenantId, BTreeSet<Role>>>,
    pub(super) tenants: BTreeMap<TenantId, BTreeSet<Name>>,
    pub(super) teams: BTreeMap<UserId, BTreeSet<Name>>,
    /// Also those that nobody is in.
    pub(super) named_teams: BTreeSet<Name>,
    /// Also those without a tenant.
    pub(super) named_segments: BTreeSet<Name>,
}

/// A directory file that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// Not TOML, or not of this shape; says where.
    #[error(transparent)]
    Unreadable(#[from] toml::de::Error),
    /// The same line twice: taking one of the two away would not take the role away.
    #[error("user {0} is bound to tenant {1} as {2} twice; keep one of the two")]
    BoundTwice(UserId, TenantId, Role),
    /// A file that an editor has emptied, and not yet written.
    #[error("it names no tenant: nobody could do anything; name them as tenants = [\"acme\"]")]
    Empty,
    /// Two lists of one name: which one counts must not depend on the order of lines.
    #[error("there are two of the {0} {1}; make one of them")]
    NamedTwice(&'static str, Name),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// Written by people until revisions were counted by auth; means nothing any more.
    #[serde(default, rename = "revision")]
    _revision: Option<u64>,
    #[serde(default)]
    tenants: BTreeSet<TenantId>,
    #[serde(default)]
    binding: Vec<Binding>,
    #[serde(default)]
    team: Vec<Team>,
    #[serde(default)]
    segment: Vec<Segment>,
}

impl Directory {
    /// A directory of `bindings`, without teams and segments.
    ///
    /// # Errors
    /// When a binding is there twice.
    pub fn new(bindings: impl IntoIterator<Item = Binding>) -> Result<Self, DirectoryError> {
        let mut directory = Self::default();
        for Binding { user, tenant, role } in bindings {
            directory.tenants.entry(tenant.clone()).or_default();
            let roles = directory.roles.entry(user.clone()).or_default().entry(tenant.clone()).or_default();
            if !roles.insert(role.clone()) {
                return Err(DirectoryError::BoundTwice(user, tenant, role));
            }
        }
        Ok(directory)
    }

    /// Reads a directory file.
    ///
    /// # Errors
    /// Where it is no directory, with line and column.
    pub fn parse(text: &str) -> Result<Self, DirectoryError> {
        let File { _revision, tenants, binding, team, segment } = toml::from_str(text)?;
        let mut directory = Self::new(binding)?;
        for tenant in tenants {
            directory.tenants.entry(tenant).or_default();
        }
        for Team { name, members } in team {
            if !directory.named_teams.insert(name.clone()) {
                return Err(DirectoryError::NamedTwice("team", name));
            }
            for member in members {
                directory.teams.entry(member).or_default().insert(name.clone());
            }
        }
        for Segment { name, tenants } in segment {
            if !directory.named_segments.insert(name.clone()) {
                return Err(DirectoryError::NamedTwice("segment", name));
            }
            for tenant in tenants {
                directory.tenants.entry(tenant).or_default().insert(name.clone());
            }
        }
        if directory.tenants.is_empty() {
            return Err(DirectoryError::Empty);
        }
        Ok(directory)
    }

    /// The same directory, in which `user` holds no role on `tenant`.
    #[must_use]
    pub fn without(&self, user: &UserId, tenant: &TenantId) -> Self {
        let mut directory = self.clone();
        if let Some(roles) = directory.roles.get_mut(user) {
            roles.remove(tenant);
        }
        directory
    }

    /// What `user` is to whom.
    pub fn roles_of(&self, user: &UserId) -> impl Iterator<Item = (&TenantId, &BTreeSet<Role>)> {
        self.roles.get(user).into_iter().flatten()
    }

    /// Whether `tenant` is named at all.
    #[must_use]
    pub fn has_tenant(&self, tenant: &TenantId) -> bool {
        self.tenants.contains_key(tenant)
    }

    /// Whether `user` holds any role on `tenant`.
    #[must_use]
    pub fn has_role(&self, user: &UserId, tenant: &TenantId) -> bool {
        self.roles.get(user).and_then(|roles| roles.get(tenant)).is_some_and(|roles| !roles.is_empty())
    }

    /// One operator of each kind but `user`: of those whose teams and whose roles on `tenant` are the same, the first. Policies
    /// can tell them apart by name alone.
    pub(super) fn kinds(&self, user: &UserId, tenant: &TenantId) -> Vec<&UserId> {
        let named: BTreeSet<_> = self.teams.keys().chain(self.roles.keys()).filter(|named| *named != user).collect();
        let kind = |named: &UserId| (self.teams.get(named), self.roles.get(named).and_then(|roles| roles.get(tenant)));
        let mut seen = BTreeSet::new();
        named.into_iter().filter(|named| kind(named) != (None, None) && seen.insert(kind(named))).collect()
    }

    /// What `user` is to `tenant`, in words.
    pub(super) fn standing(&self, user: &UserId, tenant: &TenantId) -> String {
        let joined = |names: &BTreeSet<Name>| names.iter().map(Name::as_str).collect::<Vec<_>>().join(" and ");
        let roles = self.roles.get(user).and_then(|roles| roles.get(tenant)).filter(|roles| !roles.is_empty());
        let holds = match roles {
            Some(roles) => format!("is {} on tenant {tenant}", joined(roles)),
            None => format!("holds no role on tenant {tenant}"),
        };
        match self.teams.get(user) {
            Some(teams) => format!("operator {user} of team {} {holds}", joined(teams)),
            None => format!("operator {user} {holds}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        Directory::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn a_role_or_a_team_given_twice_is_an_error_whatever_the_order() {
        let binding = "[[binding]]\nuser = \"ana\"\ntenant = \"acme\"\nrole = \"admin\"\n";
        assert!(Directory::parse(binding).is_ok());
        assert_eq!(error(&binding.repeat(2)), "user ana is bound to tenant acme as admin twice; keep one of the two");
        assert_eq!(
            error(&"[[team]]\nname = \"support\"\n".repeat(2)),
            "there are two of the team support; make one of them"
        );
        assert_eq!(
            error(&"[[segment]]\nname = \"eu\"\n".repeat(2)),
            "there are two of the segment eu; make one of them"
        );
    }

    #[test]
    fn a_wrong_line_is_pointed_at() {
        let told = error("tenants = [\"acme\"]\n[[binding]]\nuser = \"Ana\"\ntenant = \"acme\"\nrole = \"admin\"\n");
        assert!(told.contains("line 3") && told.contains("has 'A' as character 1"), "{told}");
        assert!(error("").contains("it names no tenant"), "an editor may have emptied it");
        assert!(error("[[bindings]]\n").contains("unknown field `bindings`"));
    }
}
