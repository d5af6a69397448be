//! `tenantry completions`: what a shell needs to complete our command line.

use clap::CommandFactory;
use clap_complete::Shell;

use super::Cli;
use super::output::print;

/// Which shell's.
#[derive(clap::Args)]
pub(super) struct Completions {
    /// The shell, such as bash: `source <(tenantry completions bash)`.
    shell: Shell,
}

impl Completions {
    pub(super) fn execute(self) -> Result<u8, miette::Report> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "tenantry", &mut script);
        print(&String::from_utf8_lossy(&script)).map(|()| 0)
    }
}
