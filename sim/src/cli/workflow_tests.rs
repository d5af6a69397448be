//! The workflow file is checked by what it is made of: YAML, and command lines of ours.

use std::collections::BTreeSet;
use std::path::Path;

use clap::{CommandFactory, Parser};
use serde_json::Value;

use super::Cli;

/// The steps of every job.
fn steps() -> Vec<Value> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.github/workflows/tenantry.yml");
    let workflow: Value = serde_yaml_ng::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let jobs = workflow["jobs"].as_object().unwrap();
    let needed = jobs.values().filter_map(|job| job.get("needs")).flat_map(|needs| match needs {
        Value::Array(needs) => needs.clone(),
        need => vec![need.clone()],
    });
    for need in needed {
        assert!(jobs.contains_key(need.as_str().unwrap()), "no job {need}");
    }
    jobs.values().flat_map(|job| job["steps"].as_array().unwrap().clone()).collect()
}

/// A line with every `${{ expression }}` as 1.
fn filled_in(line: &str) -> String {
    let mut parts = line.split("${{");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |line, part| line + "1" + part.split_once("}}").expect("the expression ends").1)
}

#[test]
fn our_parser_accepts_every_command_line_of_the_workflow() {
    let mut subcommands = BTreeSet::new();
    for step in steps() {
        let Some(run) = step.get("run").and_then(Value::as_str) else { continue };
        for line in run.lines().filter(|line| line.starts_with("./tenantry ")) {
            let line = filled_in(line);
            let words: Vec<&str> = line.split_whitespace().collect();
            subcommands.insert(words[1].to_owned());
            if let Err(error) = Cli::try_parse_from(&words) {
                panic!("{line}\n{error}");
            }
        }
    }
    assert_eq!(subcommands, ["hunt", "merge", "run"].map(String::from).into());
}

#[test]
fn each_shard_of_the_matrix_is_one_of_those_that_are_called() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.github/workflows/tenantry.yml");
    let text = std::fs::read_to_string(file).unwrap();
    let workflow: Value = serde_yaml_ng::from_str(&text).unwrap();
    let shards = workflow["jobs"]["hunt"]["strategy"]["matrix"]["shard"].as_array().unwrap();
    let indices: Vec<u64> = shards.iter().map(|shard| shard.as_u64().unwrap()).collect();
    assert_eq!(indices, (1..=shards.len() as u64).collect::<Vec<_>>());
    assert!(text.contains(&format!("--shard ${{{{ matrix.shard }}}}/{}", shards.len())), "{shards:?}");
}

#[test]
fn the_command_line_makes_sense_to_clap() {
    Cli::command().debug_assert();
}
