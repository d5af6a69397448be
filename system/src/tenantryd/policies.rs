//! Operators and policies as files: `operators.toml` and `policies.cedar` in the data folder, watched while auth runs.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use tenantry_system::action::Permission;
use tenantry_system::auth::{Ask, DEFAULT_POLICIES, Directory, EmbeddedAuthority, Policies, Ruling};
use tenantry_system::capability::{Clock, SystemClock, file_error};
use tenantry_system::ids::{TenantId, UserId};
use tokio::time::sleep;

use crate::development::read_or_create;

const DIRECTORY_FILE: &str = "operators.toml";
const POLICIES_FILE: &str = "policies.cedar";

/// The files are looked at this often: a change is in force within it.
const LOOK: Duration = Duration::from_secs(1);

const FIRST_DIRECTORY: &str = r#"# Who is there. What roles and teams may do stands in policies.cedar beside this file. Both files are watched: a change is
# in force within a second, or refused with a line in the log while the old ones stay in force. Check a change before with
# `tenantryd policy check`.

# Tenants exist when a line names them: here, in a binding or in a segment.
tenants = ["acme", "globex"]

# A role of one operator on one tenant: viewer, billing or admin by the default policies.
[[binding]]
user = "dev-operator"
tenant = "acme"
role = "admin"

[[binding]]
user = "dev-operator"
tenant = "globex"
role = "viewer"

# Teams of operators, and segments of tenants, as the default policies know them.
[[team]]
name = "support"        # reads the tenants of segment "supported"
members = []

[[team]]
name = "on-call"        # pauses any tenant; may ask for break-glass
members = []

[[team]]
name = "duty-managers"  # approve the break-glass that another asked for
members = []

[[team]]
name = "suspended"      # may do nothing, whatever else is said of them
members = []

[[segment]]
name = "supported"
tenants = []

[[segment]]
name = "locked"         # only read, and paused
tenants = []
"#;

/// The text of both files, made at the first call.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Texts {
    directory: String,
    policies: String,
}

impl Texts {
    fn read(data: &Path) -> anyhow::Result<Self> {
        Ok(Self {
            directory: read_or_create(&data.join(DIRECTORY_FILE), || FIRST_DIRECTORY.into())?,
            policies: read_or_create(&data.join(POLICIES_FILE), || DEFAULT_POLICIES.into())?,
        })
    }

    /// Reads what is there already.
    fn existing(data: &Path) -> anyhow::Result<Self> {
        let read = |file: &str| {
            let path = data.join(file);
            std::fs::read_to_string(&path).map_err(|error| file_error(&error, "read", &path))
        };
        Ok(Self { directory: read(DIRECTORY_FILE)?, policies: read(POLICIES_FILE)? })
    }

    fn parse(&self, data: &Path) -> anyhow::Result<Policies> {
        let failed = |file: &str| format!("failed to use {}", data.join(file).display());
        let directory = Directory::parse(&self.directory).with_context(|| failed(DIRECTORY_FILE));
        let (directory, wrong) = match directory {
            Ok(directory) => (directory, None),
            // The policies are looked at all the same.
            Err(error) => (Directory::default(), Some(error)),
        };
        let policies = Policies::new(&self.policies, directory).with_context(|| failed(POLICIES_FILE));
        match (wrong, policies) {
            (None, policies) => policies,
            (Some(wrong), Ok(_)) => Err(wrong),
            (Some(wrong), Err(error)) => bail!("{wrong:#}\n{error:#}"),
        }
    }
}

/// The policies kept in `data`, made at the first call.
pub(crate) fn load(data: &Path) -> anyhow::Result<Policies> {
    Texts::read(data)?.parse(data)
}

/// Keeps `authority` at what the files in `data` say, and its key for grants younger than `key_days`. For ever.
pub(crate) async fn keep(authority: &EmbeddedAuthority, data: &Path, key_days: u32) {
    let key_seconds = i64::from(key_days) * 24 * 3600;
    let mut seen = None;
    loop {
        match Texts::existing(data) {
            // A reader may meet an editor in the middle of its writing: what is wrong is told once, and looked at again.
            Ok(texts) if seen.as_ref() != Some(&texts) => {
                match texts.parse(data) {
                    Ok(policies) => {
                        for doubt in policies.doubts() {
                            tracing::warn!("{doubt}: a name misspelt?");
                        }
                        match authority.reload(policies).await {
                            Ok(revision) => tracing::info!(revision, "operators.toml and policies.cedar are in force"),
                            Err(error) => {
                                tracing::error!(%error, "failed to bring the files into force; the old ones are")
                            }
                        }
                    }
                    Err(error) => tracing::error!("{error:#}; the old policies stay in force"),
                }
                seen = Some(texts);
            }
            Ok(_) => {}
            Err(error) => tracing::error!("{error:#}; the old policies stay in force"),
        }
        if SystemClock.unix_seconds() - authority.newest_key_from() > key_seconds {
            match authority.rotate().await {
                Ok(()) => tracing::info!("grants are signed by a new key soon"),
                Err(error) => tracing::error!(%error, "failed to make a new key for grants"),
            }
        }
        sleep(LOOK).await;
    }
}

/// Says whether the files in `data` can be used, and what is in them.
pub(crate) fn check(data: &Path) -> anyhow::Result<String> {
    let policies = Texts::existing(data)?.parse(data)?;
    let fingerprint = hex::encode(&policies.fingerprint()[..8]);
    let doubts: String =
        policies.doubts().iter().map(|doubt| format!("\nwarning: {doubt}: a name misspelt?")).collect();
    let data = data.display();
    Ok(format!("operators.toml and policies.cedar in {data} can be used; fingerprint {fingerprint}{doubts}"))
}

/// Says what the files in `data` permit `user` on `tenant`, of everything there is to be permitted or of one thing.
pub(crate) fn explain(data: &Path, user: &str, tenant: &str, only: Option<&str>) -> anyhow::Result<String> {
    let policies = Texts::existing(data)?.parse(data)?;
    let user = UserId::parse(user).with_context(|| format!("{user:?} is no user id"))?;
    let tenant = TenantId::parse(tenant).with_context(|| format!("{tenant:?} is no tenant id"))?;
    let known = || Permission::ALL.map(Permission::name).join(", ");
    let permissions = match only {
        None => Permission::ALL.to_vec(),
        Some(name) => {
            let found = Permission::ALL.into_iter().find(|permission| permission.name() == name);
            vec![found.ok_or_else(|| anyhow!("there is no permission {name:?}; there are {}", known()))?]
        }
    };
    let mut told = match policies.directory().has_tenant(&tenant) {
        true => String::new(),
        false => format!("{DIRECTORY_FILE} names no tenant {tenant}\n"),
    };
    for permission in permissions {
        let ruled = policies.rule(&user, &tenant, Ask::Permission(permission, None, None), SystemClock.now());
        told += &match ruled {
            Ruling::Permit(by) => format!("permit {:20} by {}\n", permission.name(), by.join(", ")),
            Ruling::Deny(why) => format!("deny   {:20} {why}\n", permission.name()),
        };
    }
    Ok(told)
}
