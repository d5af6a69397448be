//! Who is there: tenants, operators and their roles. Made from names and dice, without asking the system.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tenantry_system::auth::{Binding, Directory};
use tenantry_system::ids::{Name, TenantId, UserId};

use crate::engine::dice::Dice;

/// Tenants, operators, and who is what to whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cast {
    /// Tenants, those that nobody may act on included.
    pub tenants: Vec<TenantId>,
    /// Operators.
    pub operators: Vec<UserId>,
    /// Operator to tenant to role. What is not here is forbidden.
    pub roles: BTreeMap<UserId, BTreeMap<TenantId, Part>>,
}

/// What an operator is to a tenant, in the model's own words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Looks.
    Viewer,
    /// Looks, and changes limits and credit.
    Billing,
    /// Everything.
    Admin,
}

impl Cast {
    /// A cast by hand: each binding names an operator, a tenant and a part.
    ///
    /// # Panics
    /// When a name is no identifier: this is for tests, which choose their names.
    #[must_use]
    pub fn of(bindings: &[(&str, &str, Part)]) -> Self {
        let mut cast = Self { tenants: Vec::new(), operators: Vec::new(), roles: BTreeMap::new() };
        for (user, tenant, part) in bindings {
            let user = UserId::parse(user).expect("an operator's name");
            let tenant = TenantId::parse(tenant).expect("a tenant's name");
            if !cast.tenants.contains(&tenant) {
                cast.tenants.push(tenant.clone());
            }
            if !cast.operators.contains(&user) {
                cast.operators.push(user.clone());
            }
            cast.roles.entry(user).or_default().insert(tenant, *part);
        }
        cast
    }

    /// A cast of `tenants` tenants and `operators` operators, and one tenant more that nobody has a role on. Every other
    /// has at least one admin. Names are each other's prefixes on purpose.
    ///
    /// # Panics
    /// Never: the names follow the grammar.
    #[must_use]
    pub fn draw(dice: &Dice, tenants: u64, operators: u64) -> Self {
        let tenant =
            |index| TenantId::parse(&format!("t-{}", "1".repeat(index as usize + 1))).expect("a tenant's name");
        let operator = |index| UserId::parse(&format!("op-{}", index + 1)).expect("an operator's name");
        let mut roles: BTreeMap<UserId, BTreeMap<TenantId, Part>> = BTreeMap::new();
        for t in 0..tenants {
            for o in 0..operators {
                let drawn = match dice.range("cast.role", &format!("{o}|{t}"), 0, 0..=5) {
                    0 => Some(Part::Viewer),
                    1 => Some(Part::Billing),
                    2 => Some(Part::Admin),
                    _ => None,
                };
                let part = if t % operators == o { Some(Part::Admin) } else { drawn };
                if let Some(part) = part {
                    roles.entry(operator(o)).or_default().insert(tenant(t), part);
                }
            }
        }
        Self { tenants: (0..=tenants).map(tenant).collect(), operators: (0..operators).map(operator).collect(), roles }
    }

    /// What `operator` is to `tenant`.
    #[must_use]
    pub fn part(&self, operator: &UserId, tenant: &TenantId) -> Option<Part> {
        self.roles.get(operator)?.get(tenant).copied()
    }

    /// The directory that auth is given.
    ///
    /// # Panics
    /// Never: a map holds one part per operator and tenant.
    #[must_use]
    pub fn directory(&self) -> Directory {
        let role = |part: &Part| {
            let name = match part {
                Part::Viewer => "viewer",
                Part::Billing => "billing",
                Part::Admin => "admin",
            };
            Name::parse(name).expect("a role's name")
        };
        let bindings = self.roles.iter().flat_map(|(user, parts)| {
            parts.iter().map(move |(tenant, part)| Binding {
                user: user.clone(),
                tenant: tenant.clone(),
                role: role(part),
            })
        });
        Directory::new(bindings).expect("one part per operator and tenant")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tenant_but_the_last_has_an_admin_and_the_last_has_nobody() {
        for seed in 0..50 {
            let cast = Cast::draw(&Dice::new(seed), 4, 3);
            let (last, others) = cast.tenants.split_last().unwrap();
            assert_eq!(others.len(), 4);
            for tenant in others {
                assert!(cast.operators.iter().any(|op| cast.part(op, tenant) == Some(Part::Admin)), "seed {seed}");
            }
            assert!(cast.operators.iter().all(|operator| cast.part(operator, last).is_none()), "seed {seed}");
        }
    }
}
