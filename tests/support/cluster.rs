//! The whole system as it is deployed: every role a process of its own, on loopback ports of its own.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use tenantry_system::capability::{Network, SystemClock, Tcp};
use tenantry_system::tls::{Credentials, Tls};

use crate::{NO_RATE_LIMITS, Panel, Process, binary, eventually, tenantryd, write_file};

/// Every role, as `tenantryd serve` names it.
pub const ROLES: [&str; 6] = ["auth", "broker", "ledger", "audit", "consumer", "producer"];

/// Where listeners go. Below the ports that outgoing connections take: a port given to one of those while its role was
/// down would not be had again, and a client that tries an unused one long enough ends up connected to itself.
const PORTS: std::ops::Range<u16> = 20_000..30_000;

/// A role comes up within this time, on however busy a machine.
const UP_MAX: Duration = Duration::from_secs(30);

/// Lines of each role's stderr that a failed test shows.
const LINES_SHOWN: usize = 12;

/// Six roles on one folder. All of them die with their holder.
pub struct Cluster {
    folder: TempDir,
    /// Where each role but the consumer listens.
    addresses: BTreeMap<&'static str, String>,
    /// Where each role answers for itself.
    monitors: BTreeMap<&'static str, String>,
    /// Whether channels are encrypted.
    tls: bool,
    running: BTreeMap<&'static str, Process>,
}

impl Cluster {
    /// Writes the configuration, and `operators` as the directory if it is given. Nothing runs yet.
    ///
    /// # Panics
    /// When there is no folder or no port to be had.
    #[must_use]
    pub fn new(operators: Option<&str>) -> Self {
        let folder = tempfile::tempdir().expect("a folder of the test's");
        let data = folder.path().join("data");
        let listening = ["producer", "broker", "auth", "ledger", "audit"];
        let addresses = BTreeMap::from(listening.map(|role| (role, free_address())));
        let mut config = format!("data = {data:?}\n[addresses]\n");
        for (role, address) in &addresses {
            config += &format!("{role} = \"{address}\"\n");
        }
        let monitors = BTreeMap::from(ROLES.map(|role| (role, free_address())));
        config += "[monitor.listen]\n";
        for (role, address) in &monitors {
            config += &format!("{role} = \"{address}\"\n");
        }
        config += NO_RATE_LIMITS;
        write_file(&folder.path().join("tenantry.toml"), &config);
        std::fs::create_dir(&data).expect("a folder in the test's");
        if let Some(operators) = operators {
            write_file(&data.join("operators.toml"), operators);
        }
        Self { folder, addresses, monitors, tls: false, running: BTreeMap::new() }
    }

    /// The same, with every trace sampled and sent to the collector at `otlp`.
    ///
    /// # Panics
    /// When there is no folder or no port to be had.
    #[must_use]
    pub fn traced(otlp: &str) -> Self {
        let cluster = Self::new(None);
        let config = cluster.folder.path().join("tenantry.toml");
        let text = std::fs::read_to_string(&config).expect("it was just written");
        write_file(&config, &format!("{text}[monitor]\notlp = {otlp:?}\nsampled = 1.0\n"));
        cluster
    }

    /// Where `role` answers for itself.
    #[must_use]
    pub fn monitor(&self, role: &str) -> &str {
        &self.monitors[role]
    }

    /// The same, with keys and certificates made by `tenantryd keys init`: every channel is encrypted.
    ///
    /// # Panics
    /// When there is no folder or no port to be had, or no keys can be made.
    #[must_use]
    pub fn encrypted() -> Self {
        let mut cluster = Self::new(None);
        cluster.tls = true;
        cluster.configure(&format!("[tls]\nfolder = {:?}\n", cluster.keys()));
        assert!(tenantryd(&["keys", "init", "--out", &cluster.keys()]).status.success());
        cluster
    }

    /// Adds `tables` to the configuration.
    ///
    /// # Panics
    /// When it can't be written.
    pub fn configure(&self, tables: &str) {
        let config = self.folder.path().join("tenantry.toml");
        let text = std::fs::read_to_string(&config).expect("it was just written");
        write_file(&config, &(text + tables));
    }

    /// The folder of keys and certificates.
    #[must_use]
    pub fn keys(&self) -> String {
        self.folder.path().join("tls").display().to_string()
    }

    /// Where `role` listens.
    #[must_use]
    pub fn address(&self, role: &str) -> &str {
        &self.addresses[role]
    }

    /// The data folder.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Starts `role`.
    ///
    /// # Panics
    /// When it runs already, or can't be started.
    pub fn start(&mut self, role: &'static str) {
        self.run(role, Command::new(binary("tenantryd")));
    }

    /// Starts `role` on what is to it a small disk: no file can grow past `bytes`. Needs no privileges; a write beyond
    /// fails with EFBIG, where on a full disk it would be ENOSPC.
    ///
    /// # Panics
    /// When it runs already, or can't be started.
    pub fn start_on_small_disk(&mut self, role: &'static str, bytes: u64) {
        // POSIX: blocks of 512 bytes. The signal that would end the process at the first such write is ignored, and
        // stays so across exec.
        let script = format!("trap '' XFSZ; ulimit -f {}; exec \"$0\" \"$@\"", bytes / 512);
        let mut shell = Command::new("sh");
        shell.args(["-c", &script]).arg(binary("tenantryd"));
        self.run(role, shell);
    }

    fn run(&mut self, role: &'static str, mut command: Command) {
        command.args(["serve", role, "--config"]).arg(self.folder.path().join("tenantry.toml"));
        let log = OpenOptions::new().create(true).append(true).open(self.log_path(role));
        command.stderr(log.expect("a file in the test's folder"));
        assert!(self.running.insert(role, Process::start(command)).is_none(), "{role} runs twice");
    }

    /// `kill -9`.
    ///
    /// # Panics
    /// When it does not run, or had ended by itself.
    pub fn kill(&mut self, role: &str) {
        self.running.remove(role).unwrap_or_else(|| panic!("{role} does not run")).kill();
    }

    /// How `role` ended, if it has by itself; then it can be started again.
    pub fn ended(&mut self, role: &str) -> Option<ExitStatus> {
        let ended = self.running.get_mut(role)?.ended()?;
        self.running.remove(role);
        Some(ended)
    }

    /// Stops all of them gracefully.
    ///
    /// # Panics
    /// When one of them ends badly.
    pub fn stop(mut self) {
        while let Some((role, process)) = self.running.pop_first() {
            assert!(process.stop(), "{role} did not end well");
        }
    }

    /// What `role` has said on stderr, in all its lives.
    #[must_use]
    pub fn log(&self, role: &str) -> String {
        std::fs::read_to_string(self.log_path(role)).unwrap_or_default()
    }

    fn log_path(&self, role: &str) -> PathBuf {
        self.folder.path().join(format!("{role}.log"))
    }

    /// `user`'s panel, once auth has made the identity that signs tokens and the API listens.
    ///
    /// # Panics
    /// When one of the two does not come up.
    pub async fn panel(&self, user: &str) -> Panel {
        let token = eventually("auth makes an identity", UP_MAX, async || {
            let mut tenantryd = Command::new(binary("tenantryd"));
            let asked = tenantryd.args(["token", "--user", user, "--data"]).arg(self.data()).output();
            let printed = asked.expect("tenantryd runs");
            let token = || String::from_utf8(printed.stdout).expect("text").trim().to_owned();
            printed.status.success().then(token)
        });
        let network: Arc<dyn Network> = if self.tls {
            let ca =
                std::fs::read_to_string(self.folder.path().join("tls/ca.pem")).expect("the authority's certificate");
            let trusting = Credentials::of_operator(&ca, Arc::new(SystemClock)).expect("a CA");
            Arc::new(Tls::new(Arc::new(Tcp), trusting))
        } else {
            Arc::new(Tcp)
        };
        let panel = Panel::over(network, self.address("producer"), token.await);
        eventually("the API listens", UP_MAX, async || panel.get("/healthz").await.ok()).await;
        panel
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for role in ROLES {
                let log = self.log(role);
                let lines: Vec<_> = log.lines().collect();
                eprintln!("--- {role}\n{}", lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n"));
            }
            // Data and logs are what the failure can be understood from.
            self.folder.disable_cleanup(true);
            eprintln!("--- kept: {}", self.folder.path().display());
        }
    }
}

/// A loopback address that nobody listens at. It is asked for by number, each number by one caller only: whoever binds
/// port 0 and lets go may be given the same port as another test.
///
/// # Panics
/// When all are taken.
#[must_use]
pub fn free_address() -> String {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let width = PORTS.end - PORTS.start;
    // Other test processes on this machine begin elsewhere.
    let begin = u16::try_from(std::process::id() * 61 % u32::from(width)).expect("less than a width that fits");
    for _ in 0..width {
        let offset = (begin + NEXT.fetch_add(1, Ordering::Relaxed) % width) % width;
        let address = format!("127.0.0.1:{}", PORTS.start + offset);
        if TcpListener::bind(&address).is_ok() {
            return address;
        }
    }
    panic!("no free port in {PORTS:?}");
}
