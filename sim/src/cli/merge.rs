//! `tenantry merge`: one record of several machines' shards, judged as a whole.

use std::path::PathBuf;

use tenantry_reports::merge::{Part, merge};

use super::output::Outputs;

/// What to merge.
#[derive(clap::Args)]
pub(super) struct Merge {
    /// Records as `--json FILE` wrote them: the shards of one call, or calls over different seeds, of one build.
    #[arg(required = true, value_name = "RECORD")]
    records: Vec<PathBuf>,
    #[command(flatten)]
    outputs: Outputs,
}

impl Merge {
    pub(super) fn execute(self) -> Result<u8, miette::Report> {
        self.outputs.check()?;
        let parts = self.records.iter().map(|path| read(path.clone())).collect::<Result<Vec<_>, _>>()?;
        let help = "merge the records of one build: the shards of one call, or calls over seeds that lie apart";
        let suite = merge(parts).map_err(|error| miette::miette!(help = help, "failed to merge: {error}"))?;
        self.outputs.report(&suite)?;
        Ok(suite.exit_code)
    }
}

fn read(path: PathBuf) -> Result<Part, miette::Report> {
    let file = path.display().to_string();
    let text = std::fs::read(&path).map_err(|error| miette::miette!("failed to read {file}: {error}"))?;
    let help = "name files that `tenantry run` or `tenantry hunt` wrote with --json";
    let record = serde_json::from_slice(&text)
        .map_err(|error| miette::miette!(help = help, "{file} is no record of runs: {error}"))?;
    Ok(Part { file, record })
}
