//! A system of the load's own: every role a process, as it is deployed, on loopback ports, over a folder that is thrown away.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, OpenOptions};
use std::net::TcpListener;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tenantry_system::rights::Role;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::guard::Guard;
use super::http::Api;
use crate::tenantry::cast::{Cast, Part};

/// Where listeners go: below the ports that outgoing connections take, or a role's port could be gone when it starts again.
const PORTS: std::ops::Range<u16> = 20_000..30_000;

/// All roles come up within this time, on however busy a machine.
const UP_MAX: Duration = Duration::from_secs(30);

/// Between two looks whether something is up.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Rate limits would be measured, and not the system.
const NO_RATE_LIMITS: &str = "[rate_limits]\n\
    tenant = { per_second = 100000000, burst = 100000000 }\n\
    user = { per_second = 100000000, burst = 100000000 }\n\
    source = { per_second = 100000000, burst = 100000000 }\n";

/// Why there is no system.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The operating system refused something.
    #[error("failed to {what}: {error}")]
    System {
        /// What.
        what: String,
        /// Why.
        error: std::io::Error,
    },
    /// No address to listen at.
    #[error("no port of 127.0.0.1 from {} to {} is free", PORTS.start, PORTS.end)]
    NoPort,
    /// It did not come up.
    #[error("{role} did not come up within {} s; it said: {said}", UP_MAX.as_secs())]
    NotUp {
        /// Which role was waited for.
        role: Role,
        /// The end of its log.
        said: String,
    },
    /// A role ended by itself.
    #[error("{role} ended by itself: {how}; it said: {said}")]
    Ended {
        /// Which.
        role: Role,
        /// How.
        how: String,
        /// The end of its log.
        said: String,
    },
    /// Someone asked to stop.
    #[error("it was stopped while it came up")]
    Stopped,
}

/// Six processes, and what they keep. All of it goes with its holder.
pub struct Cluster {
    folder: PathBuf,
    tenantryd: PathBuf,
    address: String,
    running: BTreeMap<Role, Child>,
    guard: Guard,
}

impl Cluster {
    /// Writes the configuration for `cast`, and starts every role of `tenantryd`.
    ///
    /// # Errors
    /// When a process or a file can't be made, or there is no free port.
    pub fn start(tenantryd: &Path, cast: &Cast) -> Result<Self, ClusterError> {
        let failed = |what: &str| {
            let what = what.to_owned();
            move |error| ClusterError::System { what, error }
        };
        let folder = new_folder().map_err(failed("make a folder of its own"))?;
        let guard = Guard::new(&folder).map_err(failed("start sh"))?;
        let data = folder.join("data");
        let addresses = addresses(11)?;
        let (listen, monitor) = addresses.split_at(5);
        let mut config = format!("data = {data:?}\n[addresses]\n");
        let listening = [Role::Producer, Role::Broker, Role::Auth, Role::Ledger, Role::Audit];
        listening.iter().zip(listen).for_each(|(role, at)| config += &format!("{role} = \"{at}\"\n"));
        config += NO_RATE_LIMITS;
        config += "[monitor.listen]\n";
        Role::ALL.iter().zip(monitor).for_each(|(role, at)| config += &format!("{role} = \"{at}\"\n"));
        std::fs::create_dir(&data).map_err(failed("make the data folder"))?;
        write(&folder.join("tenantry.toml"), &config).map_err(failed("write the configuration"))?;
        write(&data.join("operators.toml"), &directory(cast)).map_err(failed("write the directory"))?;
        let (tenantryd, address) = (tenantryd.to_owned(), listen[0].clone());
        let mut cluster = Self { folder, tenantryd, address, running: BTreeMap::new(), guard };
        Role::ALL.into_iter().try_for_each(|role| cluster.run(role))?;
        Ok(cluster)
    }

    /// Waits until it answers, and returns its API with a token for each operator of `cast`.
    ///
    /// # Errors
    /// When it does not come up in time, when a role ends, or after `stop`.
    pub async fn api(&mut self, cast: &Cast, stop: &CancellationToken) -> Result<Api, ClusterError> {
        let give_up = Instant::now() + UP_MAX;
        let mut tokens = BTreeMap::new();
        for operator in &cast.operators {
            let token = loop {
                if let Some(token) = self.token(operator.as_str())? {
                    break token;
                }
                self.pause(Role::Auth, give_up, stop).await?;
            };
            tokens.insert(operator.as_str().to_owned(), token);
        }
        let unusable = |why| ClusterError::System { what: "use its API".into(), error: std::io::Error::other(why) };
        let api = Api::new(&self.address, None, tokens).map_err(unusable)?;
        while !api.is_up(Duration::from_secs(1)).await {
            self.pause(Role::Producer, give_up, stop).await?;
        }
        Ok(api)
    }

    async fn pause(&mut self, role: Role, give_up: Instant, stop: &CancellationToken) -> Result<(), ClusterError> {
        self.check()?;
        if stop.is_cancelled() {
            return Err(ClusterError::Stopped);
        }
        if Instant::now() > give_up {
            return Err(ClusterError::NotUp { role, said: self.said(role) });
        }
        sleep(LOOK_EVERY).await;
        Ok(())
    }

    /// A token for `operator`; `None` while auth has made no identity.
    fn token(&self, operator: &str) -> Result<Option<String>, ClusterError> {
        let mut tenantryd = Command::new(&self.tenantryd);
        tenantryd.args(["token", "--user", operator, "--data"]).arg(self.folder.join("data"));
        let asked = tenantryd.stdin(Stdio::null()).output();
        let asked = asked.map_err(|error| ClusterError::System { what: "run tenantryd token".into(), error })?;
        Ok(asked.status.success().then(|| String::from_utf8_lossy(&asked.stdout).trim().to_owned()))
    }

    fn run(&mut self, role: Role) -> Result<(), ClusterError> {
        let failed =
            |error| ClusterError::System { what: format!("start {} as {role}", self.tenantryd.display()), error };
        let log = OpenOptions::new().create(true).append(true).open(self.log(role)).map_err(failed)?;
        let mut command = Command::new(&self.tenantryd);
        command.args(["serve", role.name(), "--config"]).arg(self.folder.join("tenantry.toml"));
        // In a group of its own: a Ctrl-C is for the load, which then sees to its roles.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).process_group(0);
        let child = command.spawn().map_err(failed)?;
        let told = self.guard.started(&child);
        self.running.insert(role, child);
        told.map_err(|error| ClusterError::System { what: "tell the guard of it".into(), error })
    }

    /// Starts `role` again.
    ///
    /// # Errors
    /// When the process can't be made.
    pub fn restart(&mut self, role: Role) -> Result<(), ClusterError> {
        if self.running.contains_key(&role) { Ok(()) } else { self.run(role) }
    }

    /// `kill -9`.
    ///
    /// # Errors
    /// When it had ended by itself.
    pub fn kill(&mut self, role: Role) -> Result<(), ClusterError> {
        self.check()?;
        let Some(mut child) = self.running.remove(&role) else { return Ok(()) };
        let killed = child.kill().and_then(|()| child.wait()).and_then(|_| self.guard.gone(&child));
        killed.map_err(|error| ClusterError::System { what: format!("kill {role}"), error })
    }

    /// Whether all that were started still run.
    ///
    /// # Errors
    /// When one of them does not.
    pub fn check(&mut self) -> Result<(), ClusterError> {
        let ended = self.running.iter_mut().find_map(|(role, child)| Some((*role, child.try_wait().ok()??)));
        match ended {
            Some((role, how)) => Err(ClusterError::Ended { role, how: how.to_string(), said: self.said(role) }),
            None => Ok(()),
        }
    }

    fn log(&self, role: Role) -> PathBuf {
        self.folder.join(format!("{role}.log"))
    }

    /// The last line of a role's log.
    fn said(&self, role: Role) -> String {
        let log = std::fs::read_to_string(self.log(role)).unwrap_or_default();
        log.lines().last().unwrap_or("nothing").to_owned()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for child in self.running.values_mut() {
            // It may have ended; the guard comes after.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A folder of this process's alone.
fn new_folder() -> std::io::Result<PathBuf> {
    let mut number = 0;
    loop {
        let folder = std::env::temp_dir().join(format!("tenantry-load-{}-{number}", std::process::id()));
        match DirBuilder::new().mode(0o700).create(&folder) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && number < 1_000 => number += 1,
            made => return made.map(|()| folder),
        }
    }
}

/// Loopback addresses that nobody listens at.
fn addresses(count: usize) -> Result<Vec<String>, ClusterError> {
    let width = PORTS.end - PORTS.start;
    // Other loads on this machine begin elsewhere.
    let begin = u16::try_from(std::process::id() * 61 % u32::from(width)).expect("less than a width that fits");
    let all = (0..width).map(|offset| format!("127.0.0.1:{}", PORTS.start + (begin + offset) % width));
    let free: Vec<_> = all.filter(|address| TcpListener::bind(address).is_ok()).take(count).collect();
    if free.len() < count { Err(ClusterError::NoPort) } else { Ok(free) }
}

/// The directory's file for `cast`.
fn directory(cast: &Cast) -> String {
    let mut text = "revision = 1\n".to_owned();
    for (user, parts) in &cast.roles {
        for (tenant, part) in parts {
            let role = match part {
                Part::Viewer => "viewer",
                Part::Billing => "billing",
                Part::Admin => "admin",
            };
            text += &format!("[[binding]]\nuser = \"{user}\"\ntenant = \"{tenant}\"\nrole = \"{role}\"\n");
        }
    }
    text
}

#[expect(clippy::disallowed_methods, reason = "the configuration of a system that is thrown away")]
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    std::fs::write(path, text)
}
