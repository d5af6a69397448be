//! Billing rules: what limits may be set to, and which plans there are. Data, because those who sell change them more often
//! than those who program: a TOML file that the ledger reads at its start.
//!
//! A typing slip of a few zeros must not become "unlimited": each limit has a guardrail - floor, ceiling, step - and a limit
//! that is money a currency. Rules judge in the ledger, at the moment of the effect, and every outcome names the version of
//! the rules that judged it; the ledger keeps the text of each version, so that a replay decides alike.

mod currency;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use serde::Deserialize;
use toml::Spanned;

use crate::ids::Name;

pub use currency::Currency;

/// The ceiling of limits that have no other, and of all that have.
pub const LIMIT_MAX: u64 = 1_000_000_000_000;

/// The longest rules, in bytes: each version is kept for ever.
pub const RULES_BYTES_MAX: usize = 256 * 1024;

/// The rules that a new installation starts from.
pub const DEFAULT_RULES: &str = include_str!("../../policies/billing.toml");

/// What a limit may be set to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guardrail {
    /// The least, included.
    pub floor: u64,
    /// The most, included.
    pub ceiling: u64,
    /// Every value is a whole multiple of this.
    pub step: u64,
    /// What a limit that is money counts minor units of.
    pub currency: Option<Currency>,
}

impl Default for Guardrail {
    fn default() -> Self {
        Self { floor: 0, ceiling: LIMIT_MAX, step: 1, currency: None }
    }
}

impl Guardrail {
    /// Whether `limit_type` may be `value`.
    ///
    /// # Errors
    /// Says what would be right.
    pub fn check(&self, limit_type: &Name, value: u64) -> Result<(), String> {
        let Self { floor, ceiling, step, currency } = *self;
        if (floor..=ceiling).contains(&value) && value.is_multiple_of(step) {
            return Ok(());
        }
        let shown = |value| currency.map_or_else(|| format!("{value}"), |currency| currency.show(value));
        let steps = if step > 1 { format!(" in steps of {}", shown(step)) } else { String::new() };
        Err(format!("{limit_type} is {}, and must be {} to {}{steps}", shown(value), shown(floor), shown(ceiling)))
    }
}

/// What a tenant on it gets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Entitlements held as long as the tenant is on the plan.
    pub entitlements: BTreeSet<Name>,
    /// Guardrails in the place of the general ones.
    pub limits: BTreeMap<Name, Guardrail>,
}

/// Billing rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    limits: BTreeMap<Name, Guardrail>,
    plans: BTreeMap<Name, Plan>,
    text: Arc<str>,
}

impl Default for Rules {
    /// [`DEFAULT_RULES`].
    fn default() -> Self {
        Self::parse(DEFAULT_RULES).expect("the default rules are right")
    }
}

/// Rules that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    /// Not TOML, or not of this shape; says where.
    #[error(transparent)]
    Unreadable(#[from] toml::de::Error),
    /// Not what rules can be.
    #[error("line {line}, {table}: {problem}")]
    Wrong {
        /// From 1.
        line: usize,
        /// The table, such as `limits.seats`.
        table: String,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// More than [`RULES_BYTES_MAX`].
    #[error("has {0} bytes; rules have at most {RULES_BYTES_MAX}")]
    TooLong(usize),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    limits: BTreeMap<Name, Spanned<LimitTable>>,
    #[serde(default)]
    plans: BTreeMap<Name, Spanned<PlanTable>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitTable {
    floor: Option<Spanned<u64>>,
    ceiling: Option<Spanned<u64>>,
    step: Option<Spanned<u64>>,
    /// For people who read the file.
    unit: Option<Spanned<String>>,
    currency: Option<Spanned<Currency>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlanTable {
    #[serde(default)]
    entitlements: BTreeSet<Name>,
    #[serde(default)]
    limits: BTreeMap<Name, Spanned<LimitTable>>,
}

/// What is wrong, and where in the text.
type Fault = (Range<usize>, String);

impl LimitTable {
    /// The guardrail that this makes of `base`; what is not said stays.
    fn over(&self, base: Guardrail, span: Range<usize>) -> Result<Guardrail, Fault> {
        let given = |value: &Option<Spanned<u64>>, base| value.as_ref().map_or(base, |value| *value.get_ref());
        let at = |value: &Option<Spanned<u64>>| value.as_ref().map_or(span.clone(), Spanned::span);
        let (floor, ceiling) = (given(&self.floor, base.floor), given(&self.ceiling, base.ceiling));
        let step = given(&self.step, base.step);
        let currency = self.currency.as_ref().map(|currency| *currency.get_ref()).or(base.currency);
        if step == 0 {
            return Err((at(&self.step), "step is 0; give 1 where every whole number will do".into()));
        }
        if ceiling > LIMIT_MAX {
            return Err((at(&self.ceiling), format!("ceiling is {ceiling}; the highest is {LIMIT_MAX}")));
        }
        if floor > ceiling {
            let place = if self.floor.is_some() { &self.floor } else { &self.ceiling };
            return Err((at(place), format!("floor {floor} lies above ceiling {ceiling}; give a lower floor")));
        }
        for (name, end, place) in [("floor", floor, &self.floor), ("ceiling", ceiling, &self.ceiling)] {
            if !end.is_multiple_of(step) {
                let problem = format!("{name} {end} is no multiple of step {step}; nothing could be set to it");
                return Err((if place.is_some() { at(place) } else { at(&self.step) }, problem));
            }
        }
        if let (Some(unit), Some(currency)) = (&self.unit, currency) {
            return Err((unit.span(), format!("counts minor units of {currency}; leave unit or currency out")));
        }
        Ok(Guardrail { floor, ceiling, step, currency })
    }
}

impl Rules {
    /// Reads rules.
    ///
    /// # Errors
    /// What is wrong first, with its line, and what would be right.
    pub fn parse(text: &str) -> Result<Self, RulesError> {
        if text.len() > RULES_BYTES_MAX {
            return Err(RulesError::TooLong(text.len()));
        }
        let File { limits: limit_tables, plans: plan_tables } = toml::from_str(text)?;
        let told = |table: String, (span, problem): Fault| RulesError::Wrong {
            line: 1 + text[..span.start].matches('\n').count(),
            table,
            problem,
        };
        let mut limits = BTreeMap::new();
        for (name, table) in limit_tables {
            let guardrail = table.get_ref().over(Guardrail::default(), table.span());
            let guardrail = guardrail.map_err(|fault| told(format!("limits.{name}"), fault))?;
            limits.insert(name, guardrail);
        }
        let mut plans = BTreeMap::new();
        for (name, table) in plan_tables {
            let PlanTable { entitlements, limits: own } = table.into_inner();
            let mut plan = Plan { entitlements, limits: BTreeMap::new() };
            for (limit_type, table) in own {
                let whole = format!("plans.{name}.limits.{limit_type}");
                if let Some(currency) = &table.get_ref().currency {
                    // One limit in two currencies: a tenant that changes its plan would keep the number and not the money.
                    let problem = "a plan changes no currency; give it under [limits]".to_owned();
                    return Err(told(whole, (currency.span(), problem)));
                }
                let base = limits.get(&limit_type).copied().unwrap_or_default();
                let guardrail = table.get_ref().over(base, table.span()).map_err(|fault| told(whole, fault))?;
                plan.limits.insert(limit_type, guardrail);
            }
            plans.insert(name, plan);
        }
        Ok(Self { limits, plans, text: text.into() })
    }

    /// What a tenant on `plan` may set `limit_type` to.
    #[must_use]
    pub fn guardrail(&self, plan: Option<&Name>, limit_type: &Name) -> Guardrail {
        let of_plan = plan.and_then(|plan| self.plans.get(plan)).and_then(|plan| plan.limits.get(limit_type));
        of_plan.or_else(|| self.limits.get(limit_type)).copied().unwrap_or_default()
    }

    /// The plan called `name`.
    #[must_use]
    pub fn plan(&self, name: &Name) -> Option<&Plan> {
        self.plans.get(name)
    }

    /// The names of all plans.
    pub fn plans(&self) -> impl Iterator<Item = &Name> {
        self.plans.keys()
    }

    /// The limits that have a guardrail.
    pub fn limits(&self) -> impl Iterator<Item = &Name> {
        self.limits.keys()
    }

    /// What they were read from.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    #[test]
    fn a_limit_is_judged_by_its_plan_then_by_itself_then_by_what_holds_for_all() {
        let rules = Rules::default();
        let judge = |plan: Option<&str>, limit: &str, value| {
            let limit = name(limit);
            rules.guardrail(plan.map(name).as_ref(), &limit).check(&limit, value)
        };
        assert_eq!(judge(None, "seats", 0), Err("seats is 0, and must be 1 to 1000000".into()));
        assert_eq!(judge(Some("free"), "seats", 6), Err("seats is 6, and must be 1 to 5".into()));
        assert_eq!(judge(Some("business"), "seats", 1_000_000), Ok(()));
        assert_eq!(judge(Some("free"), "api_requests", LIMIT_MAX), Ok(()));
        assert_eq!(judge(None, "monthly_spend", 12_300), Ok(()));
        let cents = "monthly_spend is 123.45 EUR, and must be 0.00 EUR to 10000000.00 EUR in steps of 1.00 EUR";
        assert_eq!(judge(None, "monthly_spend", 12_345), Err(cents.into()));
    }

    #[test]
    fn what_rules_can_not_be_is_refused_with_its_line_and_what_would_be_right() {
        for (text, told) in [
            ("[limits.a]\nfloor = 9\nceiling = 3", "line 2, limits.a: floor 9 lies above ceiling 3"),
            ("\n[limits.a]\nstep = 0", "line 3, limits.a: step is 0; give 1"),
            ("[limits.a]\nceiling = 1_000_000_000_001", "line 2, limits.a: ceiling is 1000000000001; the highest is"),
            ("[limits.a]\nfloor = 5\nstep = 2", "line 2, limits.a: floor 5 is no multiple of step 2"),
            ("[limits.a]\nceiling = 9\nstep = 2", "line 2, limits.a: ceiling 9 is no multiple of step 2"),
            ("[limits.a]\nunit = \"cents\"\ncurrency = \"EUR\"", "line 2, limits.a: counts minor units of EUR"),
            ("[limits.a]\ncurrency = \"EUX\"", "is EUX, which is no currency of ISO 4217"),
            ("[limits.a]\nmaximum = 5", "unknown field `maximum`"),
            ("[limits.A]\nfloor = 5", "has 'A' as character 1"),
            ("[limits.a]\nfloor = -5", "line 2"),
            ("[plans.p.limits.a]\ncurrency = \"EUR\"", "line 2, plans.p.limits.a: a plan changes no currency"),
            ("[limits.a]\nfloor = 9\n[plans.p.limits.a]\nceiling = 5", "line 4, plans.p.limits.a: floor 9 lies above"),
            ("[plans.p]\nentitlements = [\"S\"]", "has 'S' as character 1"),
        ] {
            let error = Rules::parse(text).expect_err(text).to_string();
            assert!(error.contains(told), "{text}: {error}");
        }
        assert!(matches!(Rules::parse(&" ".repeat(RULES_BYTES_MAX + 1)), Err(RulesError::TooLong(_))));
    }
}
