//! `tenantryd`: runs the system for real, in one process or one per role.

mod alerts;
mod approvals;
mod audit;
mod client;
mod command;
mod config;
mod development;
mod dlq;
mod dry_run;
mod evidence;
mod identity;
mod keys;
mod monitoring;
mod policies;
mod reconcile;
mod serve;
mod tenant;
mod up;
mod watch;

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Parser, Subcommand};
use tenantry_system::billing::DEFAULT_RULES;
use tenantry_system::rights::Role;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::config::Config;

/// 10 to 40 % of throughput over the system's allocator, measured.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The exit code after a second signal: 128 and the number of SIGINT, as shells have it.
const EXIT_STOPPED_AT_ONCE: i32 = 130;

/// The message-driven operations panel: no tenant can touch another.
#[derive(Parser)]
#[command(name = "tenantryd", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run every role in this process, and print how to send a first command.
    ///
    /// Data is kept in the data folder between starts; Ctrl-C or SIGTERM stops it gracefully.
    Up {
        /// A TOML file as `tenantryd config` prints it; of `addresses` only
        /// `producer` counts here.
        #[arg(long)]
        config: Option<PathBuf>,
        /// Where everything that lasts is kept [default: ./data].
        #[arg(long, env = "TENANTRY_DATA")]
        data: Option<PathBuf>,
        /// Where the HTTP API listens; without `[tls]` on a loopback address, for then it is not encrypted [default:
        /// 127.0.0.1:7070].
        #[arg(long)]
        listen: Option<String>,
    },
    /// Run one role in this process; the others are found at the configured addresses.
    Serve {
        /// The role to run.
        #[arg(value_parser = roles())]
        role: Role,
        /// A TOML file with `data`, `[addresses]`, `[rate_limits]`, `[identity]`, `[secrets]`, `[alerts]`, `[tls]` and `[monitor]`; without it the defaults of
        /// `tenantryd config`.
        #[arg(long)]
        config: Option<PathBuf>,
    },
    /// Print a token of the development identity, valid for 12 hours.
    Token {
        /// The data folder whose development identity signs it.
        #[arg(long, default_value = "./data", env = "TENANTRY_DATA")]
        data: PathBuf,
        /// The operator it is for; what they may do stands in operators.toml in the data folder.
        #[arg(long, default_value = development::OPERATOR)]
        user: String,
        /// Have a new key sign from now on. Tokens of the key before hold until the next rotation.
        #[arg(long)]
        rotate: bool,
    },
    /// Look at who may do what, as `operators.toml` and `policies.cedar` in the data folder say.
    #[command(subcommand)]
    Policy(Policy),
    /// Make, renew and show the keys and certificates of encrypted channels.
    #[command(subcommand)]
    Keys(keys::Command),
    /// Try every known attack against a system of its own, and write what became of each as a bundle for an audit.
    ///
    /// Nothing of a running installation is touched. Takes some seconds; exits with 1 if anything was breached.
    Evidence {
        /// The folder to write the bundle into.
        #[arg(long)]
        out: PathBuf,
    },
    /// Send commands to a running system, and follow what becomes of them.
    #[command(subcommand)]
    Command(command::Command),
    /// Look at a tenant of a running system; pause and resume it.
    #[command(subcommand)]
    Tenant(tenant::Command),
    /// Look at dead letters, replay or discard them.
    #[command(subcommand)]
    Dlq(dlq::Command),
    /// Have commands approved by a second person, where policy asks for one.
    #[command(subcommand)]
    Approvals(approvals::Command),
    /// Export, verify and search the audit log.
    #[command(subcommand)]
    Audit(audit::Command),
    /// See what rang, and check the rules by which it does.
    #[command(subcommand)]
    Alerts(alerts::Command),
    /// Look at the billing rules: what limits may be set to, and which plans there are.
    #[command(subcommand)]
    Billing(Billing),
    /// Compare what tenants have with what their outcomes made of it, in the files of a ledger that does not run.
    ///
    /// A running ledger does this by itself, and for one tenant at GET /v1/tenants/TENANT/reconciliation. Changes no
    /// tenant's rows; exits with 1 if anything differs, with 2 if that can not be told.
    Reconcile {
        /// Only this tenant.
        #[arg(long)]
        tenant: Option<String>,
        /// Print one JSON document instead of lines.
        #[arg(long)]
        json: bool,
        /// The configuration of the ledger; without it the defaults of `tenantryd config`.
        #[arg(long)]
        config: Option<PathBuf>,
        /// The data folder [default: ./data].
        #[arg(long, env = "TENANTRY_DATA")]
        data: Option<PathBuf>,
    },
    /// Print the default configuration of `serve` and `up`, with all that may be given besides as comments: billing rules,
    /// alert rules and the webhook they are told to, keys, TLS, traces.
    Config,
    /// Print the API's OpenAPI document, as GET /v1/openapi.json has it.
    Openapi,
}

#[derive(Subcommand)]
enum Billing {
    /// Print the rules that a new installation starts from.
    Default,
    /// Say whether a file of rules can be used, or what is wrong with it.
    Check {
        /// The file.
        file: PathBuf,
    },
}

#[derive(Subcommand)]
enum Policy {
    /// Say whether the files can be used, or everything that is wrong with them.
    Check {
        #[command(flatten)]
        data: Data,
    },
    /// Say what an operator may do on a tenant, and which policies decide it. An emergency right is not looked at.
    Explain {
        /// The operator.
        user: String,
        /// The tenant.
        tenant: String,
        /// Only this permission, such as manage_limits.
        permission: Option<String>,
        #[command(flatten)]
        data: Data,
    },
    /// Print the policies that a new installation starts from.
    Default,
    /// Print the Cedar schema that policies are checked against.
    Schema,
}

#[derive(clap::Args)]
struct Data {
    /// The data folder.
    #[arg(long, default_value = "./data", env = "TENANTRY_DATA")]
    data: PathBuf,
}

pub(crate) fn roles() -> impl TypedValueParser<Value = Role> {
    let values = Role::ALL.map(|role| PossibleValue::new(role.name()).help(role.about()));
    PossibleValuesParser::new(values).map(|name| Role::parse(&name).expect("one of the possible values"))
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // Hundreds of refused attempts are what the catalogue is there for: the bundle has them all.
    let usual = match cli.command {
        Command::Evidence { .. } => "off",
        _ => "warn,tenantryd=info,tenantry_system=info",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(usual));
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr).init();
    match run(cli.command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(command: Command) -> anyhow::Result<ExitCode> {
    let done = match command {
        Command::Audit(command) => return Ok(audit::run(command).await),
        Command::Command(command) => command::run(command).await,
        Command::Tenant(command) => tenant::run(command).await,
        Command::Openapi => client::print_json(&tenantry_system::producer::document()),
        Command::Dlq(command) => dlq::run(command).await,
        Command::Approvals(command) => approvals::run(command).await,
        Command::Alerts(command) => alerts::run(command).await,
        Command::Up { config, data, listen } => {
            let mut config = read_config(config.as_deref())?;
            config.data = data.unwrap_or(config.data);
            config.addresses.producer = listen.unwrap_or(config.addresses.producer);
            up::run(&config, stop_on_signal()?).await
        }
        Command::Serve { role, config } => {
            let config = read_config(config.as_deref())?;
            let served = serve::run(role, &config, stop_on_signal()?).await;
            served.with_context(|| format!("failed to serve the {role} role"))
        }
        Command::Token { data, user, rotate } => {
            if rotate {
                development::rotate(&data)?;
            }
            let token = development::existing_token(&data, &user)?;
            Ok(writeln!(std::io::stdout(), "{token}")?)
        }
        Command::Keys(command) => keys::run(command),
        Command::Policy(policy) => {
            let told = match policy {
                Policy::Check { data: Data { data } } => policies::check(&data)? + "\n",
                Policy::Explain { user, tenant, permission, data: Data { data } } => {
                    policies::explain(&data, &user, &tenant, permission.as_deref())?
                }
                Policy::Default => tenantry_system::auth::DEFAULT_POLICIES.into(),
                Policy::Schema => tenantry_system::auth::SCHEMA.into(),
            };
            Ok(write!(std::io::stdout(), "{told}")?)
        }
        Command::Evidence { out } => match evidence::run(&out).await? {
            true => Ok(()),
            false => Err(anyhow!("the catalogue was breached: see {}", out.join("catalogue.json").display())),
        },
        Command::Billing(billing) => {
            let told = match billing {
                Billing::Default => DEFAULT_RULES.into(),
                Billing::Check { file } => {
                    let rules = config::read_rules(&file)?;
                    let (limits, plans) = (rules.limits().count(), rules.plans().count());
                    format!("{} can be used: {limits} limits, {plans} plans\n", file.display())
                }
            };
            Ok(write!(std::io::stdout(), "{told}")?)
        }
        Command::Reconcile { tenant, json, config, data } => {
            let mut config = read_config(config.as_deref())?;
            config.data = data.unwrap_or(config.data);
            return Ok(reconcile::run(&config, tenant.as_deref(), json).await);
        }
        Command::Config => {
            let config = config::explained(&Config::default().to_toml()?);
            Ok(write!(std::io::stdout(), "{config}")?)
        }
    };
    done.map(|()| ExitCode::SUCCESS)
}

fn read_config(path: Option<&Path>) -> anyhow::Result<Config> {
    path.map_or_else(|| Ok(Config::default()), Config::read)
}

/// Why a process ends whose store takes no more: what was confirmed is durable, and only a new start reads what is.
fn store_failed(whose: &str, why: &str) -> anyhow::Error {
    anyhow!("the {whose}'s store failed: {why}; nothing confirmed is lost: mend the cause and start again")
}

/// Cancelled by Ctrl-C or SIGTERM.
fn stop_on_signal() -> anyhow::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let signalled = stop.clone();
    tokio::spawn(async move {
        let mut signal = async || {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        };
        signal().await;
        tracing::info!("stopping; a second signal stops at once");
        signalled.cancel();
        signal().await;
        // As after `kill -9`: what was confirmed is durable, what was under way comes again.
        std::process::exit(EXIT_STOPPED_AT_ONCE);
    });
    Ok(stop)
}
