//! `tenantry schema`: JSON Schema of scenario files, and of reports.

use tenantry_reports::report::RunReport;
use tenantry_sim::tenantry::section::Scenario;

use super::output::print;

/// Where an editor finds it.
#[derive(clap::Args)]
#[command(after_help = "Editors with Taplo (such as Even Better TOML) complete a scenario by it: \
                        `tenantry schema > scenarios/scenario.schema.json`, and `#:schema ./scenario.schema.json` as the \
                        first line of the file. It knows keys, kinds and marks; `tenantry list FILE` checks the rest.")]
pub(super) struct Schema {
    /// Print the schema of a run's report instead: of the files that `--report` writes into `runs`.
    #[arg(long)]
    report: bool,
}

impl Schema {
    pub(super) fn execute(self) -> Result<u8, miette::Report> {
        let schema = if self.report { RunReport::schema() } else { Scenario::schema() };
        let schema = serde_json::to_value(schema).expect("a schema is JSON");
        print(&format!("{schema:#}\n")).map(|()| 0)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use jsonschema::Validator;
    use serde_json::Value;

    use super::*;

    fn validator() -> Validator {
        jsonschema::draft202012::new(&serde_json::to_value(Scenario::schema()).unwrap()).unwrap()
    }

    fn read(toml: &str) -> Value {
        toml::from_str(toml).unwrap_or_else(|error| panic!("{error} in {toml}"))
    }

    /// Every scenario file below `folder`.
    fn scenarios(folder: &Path) -> Vec<(String, String)> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                found.extend(scenarios(&path));
            } else if path.extension().is_some_and(|extension| extension == "toml") {
                found.push((path.display().to_string(), std::fs::read_to_string(&path).unwrap()));
            }
        }
        found
    }

    #[test]
    fn every_scenario_of_the_project_is_valid() {
        let validator = validator();
        let found = scenarios(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios"));
        assert!(found.len() > 20, "only {} scenarios", found.len());
        for (file, text) in found {
            let errors: Vec<_> = validator.iter_errors(&read(&text)).map(|error| format!("{error}")).collect();
            assert!(errors.is_empty(), "{file}: {errors:?}");
        }
    }

    #[test]
    fn what_is_misspelt_is_not() {
        let validator = validator();
        let valid = "name = 'x'\ndescription = 'y'\nduration_ms = 1000\nsometimes = ['redelivered']\n\
                     [topology]\nconsumers = 2\ntenant_rate = { per_second = 4, burst = 2 }\n\
                     [network]\nlatency_ms = { min = 1, max = 4 }\n[workload]\ncommands = 5\n\
                     [[fault]]\nkind = 'crash'\nhost = 'broker'\nat_ms = 1\nfor_ms = 2\n\
                     [chaos]\nfaults = { min = 1, max = 2 }\nkinds = ['hold']\n";
        assert!(validator.is_valid(&read(valid)));
        for (right, wrong) in [
            ("duration_ms", "duration"),
            ("'redelivered'", "'redeliverd'"),
            ("consumers = 2", "consumer = 2"),
            ("consumers = 2", "consumers = 'two'"),
            ("burst", "bursts"),
            ("min = 1, max = 4", "min = 1"),
            ("commands = 5", "comands = 5"),
            ("commands = 5", "commands = 5.5"),
            ("kind = 'crash'", "kind = 'crush'"),
            ("at_ms = 1", "at = 1"),
            ("'hold'", "'held'"),
            ("[workload]\ncommands = 5\n", ""),
        ] {
            let text = valid.replacen(right, wrong, 1);
            assert!(text != valid && !validator.is_valid(&read(&text)), "{wrong:?} for {right:?} is valid");
        }
    }

    #[test]
    fn an_editor_is_told_what_a_key_is_for_and_what_it_is_when_it_is_silent() {
        let schema = serde_json::to_value(Scenario::schema()).unwrap();
        let told = schema.to_string();
        assert!(told.contains("Consumers, 1 to 8."), "{schema:#}");
        assert_eq!(schema["properties"]["drain_ms"]["default"], 10_000, "{schema:#}");
    }
}
