//! `tenantry man`: manual pages, made from the very commands that are parsed.

use std::path::PathBuf;

use clap::CommandFactory;
use tenantry_reports::verdict::EXIT_USAGE;

use super::Cli;
use super::output::print_or_usage;

/// Where to.
#[derive(clap::Args)]
pub(super) struct Man {
    /// Write the pages of all subcommands into this folder, which must be there; without it the first page goes to stdout,
    /// for `tenantry man | man -l -`.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl Man {
    pub(super) fn execute(self) -> u8 {
        let command = Cli::command();
        let Some(folder) = self.out else {
            let mut page = Vec::new();
            clap_mangen::Man::new(command).render(&mut page).expect("memory can be written to");
            return print_or_usage(&String::from_utf8_lossy(&page));
        };
        match clap_mangen::generate_to(command, &folder) {
            Ok(()) => 0,
            Err(error) => {
                anstream::eprintln!("failed to write manual pages to the folder {}: {error}", folder.display());
                EXIT_USAGE
            }
        }
    }
}
