//! Arguments that name one of what there is: errors say what may have been meant, and shells complete them.

use std::ffi::OsStr;

use clap::builder::{PossibleValue, TypedValueParser};
use clap::{Arg, Command, Error};
use tenantry_sim::engine::scenario_error::one_of;

/// Reads a name of some sort.
#[derive(Clone)]
pub(super) struct Named<T> {
    /// Of what.
    pub(super) sort: &'static str,
    /// All there are.
    pub(super) names: Vec<&'static str>,
    /// Whose name it is.
    pub(super) find: fn(&str) -> Option<T>,
}

impl<T: Clone + Send + Sync + 'static> TypedValueParser for Named<T> {
    type Value = T;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<T, Error> {
        let Self { sort, names, find } = self.clone();
        let known = format!("{sort}s");
        let parse = move |name: &str| {
            find(name).ok_or_else(|| format!("there is no such {sort}; {}", one_of(name, &known, &names)))
        };
        parse.parse_ref(command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(self.names.iter().map(|name| PossibleValue::new(*name))))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::cli::Cli;

    #[test]
    fn a_bug_is_taken_by_its_name_and_one_that_is_not_there_is_refused_with_what_was_meant() {
        let parse = |name: &str| Cli::try_parse_from(["tenantry", "run", "--bug", name]).map(drop);
        assert!(parse("ack-before-commit").is_ok());
        let told = parse("ack-before-comit").unwrap_err().to_string();
        assert!(told.contains("there is no such bug; did you mean \"ack-before-commit\"?"), "{told}");
        let told = Cli::try_parse_from(["tenantry", "replay", "x", "--invariant", "G4"]).map(drop).unwrap_err();
        assert!(told.to_string().contains("there is no such invariant; known invariants: "), "{told}");
    }

    #[test]
    fn shells_are_told_the_names() {
        let mut script = Vec::new();
        let mut command = <Cli as clap::CommandFactory>::command();
        clap_complete::generate(clap_complete::Shell::Bash, &mut command, "tenantry", &mut script);
        let script = String::from_utf8(script).unwrap();
        assert!(script.contains("ack-before-commit") && script.contains("G4-nothing-lost"));
    }
}
