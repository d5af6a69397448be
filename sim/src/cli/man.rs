//! `tenantry man`: manual pages, made from the very commands that are parsed.

use std::path::PathBuf;

use clap::CommandFactory;

use super::Cli;
use super::output::print;

/// Where to.
#[derive(clap::Args)]
pub(super) struct Man {
    /// Write the pages of all subcommands into this folder, which must be there; without it the first page goes to stdout,
    /// for `tenantry man | man -l -`.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl Man {
    pub(super) fn execute(self) -> Result<u8, miette::Report> {
        let command = Cli::command();
        let Some(folder) = self.out else {
            let mut page = Vec::new();
            clap_mangen::Man::new(command).render(&mut page).expect("memory can be written to");
            return print(&String::from_utf8_lossy(&page)).map(|()| 0);
        };
        clap_mangen::generate_to(command, &folder).map(|()| 0).map_err(|error| {
            miette::miette!("failed to write manual pages to the folder {}: {error}", folder.display())
        })
    }
}
