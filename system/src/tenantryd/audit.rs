//! `tenantryd audit`: what people do with the audit log where it is kept, and with an export anywhere else.
//!
//! `export`, `search` and `key` open the log's file: the role must be stopped, or the folder be a copy. `verify` needs the
//! export alone.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, anyhow, bail};
use clap::Subcommand;
use jiff::Timestamp;
use tenantry_system::audit::{Audit, EmbeddedAudit, Exported, Folder, LogSettings, PAGE_MAX, Query, Verified, verify};
use tenantry_system::capability::{World, file_error};
use tenantry_system::rights::Role;
use tenantry_system::tlog::LogKey;

use crate::Data;

/// The exit code when nothing could be found out: as clap has it for a command that it can't read.
const EXIT_USAGE: u8 = 2;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Write every record, the tree's hashes and the newest checkpoint into a new folder.
    ///
    /// From a stopped log, or from a copy of its folder.
    #[command(after_help = "Example:\n  tenantryd audit export --data ./data --out ./audit-2026-01-31")]
    Export {
        #[command(flatten)]
        data: Data,
        /// The folder to make.
        #[arg(long)]
        out: PathBuf,
    },
    /// Verify an export, offline: exits with 0 if all is as it was signed, with 1 if not, with 2 if that can't be told.
    #[command(after_help = "Examples:\n  \
        tenantryd audit verify --export ./audit-2026-01-31 --key example.com/tenantry+1a2b3c4d+AbCd...\n  \
        tenantryd audit verify --export ./audit-2026-01-31 --key \"$VKEY\" --since ./audit-2025-12-31/checkpoint\n\n\
        Keep the key, which `tenantryd audit key` prints, and old checkpoints elsewhere than the log: whoever can \
        write all three can write another history.")]
    Verify {
        /// The folder that `tenantryd audit export` wrote.
        #[arg(long)]
        export: PathBuf,
        /// The log's public key, as `tenantryd audit key` prints it.
        #[arg(long)]
        key: String,
        /// A file with a checkpoint from an earlier day: the log must have grown from it.
        #[arg(long)]
        since: Option<PathBuf>,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Print records, a line of JSON each, oldest first. From a stopped log, or from a copy of its folder.
    #[command(after_help = "Example:\n  \
        tenantryd audit search --tenant acme --user ana --from 2026-01-01T00:00:00Z | jq .event")]
    Search {
        #[command(flatten)]
        data: Data,
        /// Only of this tenant.
        #[arg(long)]
        tenant: Option<String>,
        /// Only of this user.
        #[arg(long)]
        user: Option<String>,
        /// Only of this action.
        #[arg(long)]
        action: Option<String>,
        /// Only of this message.
        #[arg(long)]
        message: Option<String>,
        /// Not before this instant.
        #[arg(long)]
        from: Option<Timestamp>,
        /// Before this instant.
        #[arg(long)]
        to: Option<Timestamp>,
        /// At most so many.
        #[arg(long, default_value_t = 1000)]
        limit: usize,
    },
    /// Print the public key that checkpoints are signed with. From a stopped log, or from a copy of its folder.
    Key {
        #[command(flatten)]
        data: Data,
    },
}

/// Does `command`.
pub(crate) async fn run(command: Command) -> ExitCode {
    match answer(command).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(EXIT_USAGE)
        }
    }
}

/// Whether all is well.
async fn answer(command: Command) -> anyhow::Result<bool> {
    let mut stdout = io::stdout().lock();
    match command {
        Command::Export { data: Data { data }, out } => {
            let audit = open(&data).await?;
            DirBuilder::new()
                .mode(0o700)
                .create(&out)
                .map_err(|error| file_error(&error, "create the folder", &out))?;
            let Exported { size, records } = audit.export(&mut OnDisk(out.clone()))?;
            let (out, key) = (out.display(), audit.key());
            writeln!(
                stdout,
                "exported {records} records of {size} to {out}\n\ntenantryd audit verify --export {out} --key {key}"
            )?;
        }
        Command::Verify { export, key, since, json } => {
            let key = LogKey::parse(key.trim()).map_err(|why| anyhow!("--key is no log's key: {why}"))?;
            if !export.is_dir() {
                bail!("{} is no folder; give the one that `tenantryd audit export` wrote", export.display());
            }
            let since =
                since.map(|path| std::fs::read_to_string(&path).map_err(|error| file_error(&error, "read", &path)));
            let verified = verify(&OnDisk(export), &key, since.transpose()?.as_deref())?;
            match json {
                true => writeln!(stdout, "{}", serde_json::to_string(&verified)?)?,
                false => write!(stdout, "{}", told(&verified))?,
            }
            return Ok(verified.is_sound());
        }
        Command::Search { data: Data { data }, tenant, user, action, message, from, to, limit } => {
            let (audit, mut left) = (open(&data).await?, limit);
            let (from, to) = (from.map(Timestamp::as_millisecond), to.map(Timestamp::as_millisecond));
            let asked = Query { tenant, user, action, message, ..Query::default() };
            let mut query = Query { from_unix_ms: from, to_unix_ms: to, ..asked };
            while left > 0 {
                query.max = left.min(PAGE_MAX) as u32;
                let found = audit.search(&query).await.context("failed to search the audit log")?;
                left -= found.records.len();
                for record in &found.records {
                    stdout.write_all(&record.record)?;
                    writeln!(stdout)?;
                }
                let Some(next) = found.next else { break };
                query.after = next;
            }
        }
        Command::Key { data: Data { data } } => writeln!(stdout, "{}", open(&data).await?.key())?,
    }
    Ok(true)
}

/// The log below `data`, as it is: nothing is begun, and nothing is too old.
async fn open(data: &Path) -> anyhow::Result<EmbeddedAudit> {
    let folder = data.join(Role::Audit.name());
    if !folder.join("audit.redb").exists() {
        bail!("there is no audit log in {}; give the data folder with --data", folder.display());
    }
    Ok(EmbeddedAudit::open_with(&World::real(&folder)?, LogSettings::default()).await?)
}

/// What people read of a verification.
fn told(verified: &Verified) -> String {
    let Verified { origin, size, root, records, hash_only, since, violations, violations_total } = verified;
    let mut told = String::new();
    for violation in violations {
        let kind = serde_json::to_value(violation.kind).unwrap_or_default();
        let kind = kind.as_str().unwrap_or_default().replace('_', " ");
        told += &format!("VIOLATED {kind}, {}: {}\n", violation.file, violation.detail);
    }
    if *violations_total > 0 {
        return told + &format!("{violations_total} violations, {} of them listed\n", violations.len());
    }
    let since = since.map_or_else(String::new, |since| format!(", grown from the old checkpoint's {since}"));
    format!(
        "OK {origin}: {size} entries{since}, {records} with their records, {hash_only} by their hashes only; root {root}\n"
    )
}

/// A folder on this machine, read and written past the capabilities: an export is nobody's store.
struct OnDisk(PathBuf);

impl Folder for OnDisk {
    fn create(&mut self, path: &str) -> io::Result<Box<dyn Write + '_>> {
        let path = self.0.join(path);
        let folder = path.parent().unwrap_or(&self.0);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|error| file_error(&error, "create the folder", folder))?;
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        Ok(Box::new(BufWriter::new(file.map_err(|error| file_error(&error, "create", &path))?)))
    }

    fn open(&self, path: &str) -> io::Result<Option<Box<dyn BufRead + '_>>> {
        let path = self.0.join(path);
        match File::open(&path) {
            Ok(file) => Ok(Some(Box::new(BufReader::new(file)))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(file_error(&error, "read", &path)),
        }
    }
}
