//! The project's scenarios, as tests read them.

use tenantry_sim::tenantry::section::{self, Scenario};

use crate::root;

/// The scenario `name`.
pub fn scenario(name: &str) -> Scenario {
    scenario_as(name, |text| text)
}

/// The scenario `name`, as `change` makes its text.
pub fn scenario_as(name: &str, change: impl FnOnce(String) -> String) -> Scenario {
    let path = root().join("scenarios").join(name).with_extension("toml");
    let text = std::fs::read_to_string(&path).expect("the scenario");
    Scenario::parse(&path.display().to_string(), &change(text), section::hosts).expect("a sound scenario")
}
