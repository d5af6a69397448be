//! Disks that refuse: a role whose files can't grow any more, and a data folder that may not be used. The process ends
//! and says what would be right, nobody is told that something happened which did not, and nothing confirmed is lost.

use std::collections::BTreeMap;
use std::fs::{Permissions, set_permissions};
use std::io::Seek;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tenantry_tests::{Cluster, Panel, Process, ROLES, binary, credit, eventually, up_by, write_file};
use tokio::runtime::Runtime;

/// Everything that is only a matter of time is done within this.
const SOON: Duration = Duration::from_secs(30);

/// The size that no file of the role under test can pass, in bytes. Its log is one of them.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// White space after each message: the disk is soon full, and the message is the same.
const PADDING_BYTES: usize = 16 * 1024;

#[test]
fn a_broker_whose_disk_is_full_ends_and_loses_nothing_that_it_confirmed() {
    // Without a consumer messages stay, and the file grows.
    meets_a_full_disk("broker", "consumer");
}

#[test]
fn a_ledger_whose_disk_is_full_ends_and_shows_no_effect_that_it_could_not_keep() {
    // Without an audit log its entries stay, bodies and all, and the file grows.
    meets_a_full_disk("ledger", "audit");
}

fn meets_a_full_disk(role: &'static str, absent: &'static str) {
    let mut cluster = Cluster::new(None);
    for other in ROLES.into_iter().filter(|other| ![role, absent].contains(other)) {
        cluster.start(other);
    }
    cluster.start_on_small_disk(role, FILE_BYTES_MAX);
    Runtime::new().unwrap().block_on(async {
        let panel = cluster.panel("dev-operator").await;
        let mut told = Told::default();
        let mut number = 0;
        let status = eventually("the disk is full and the process ends", SOON, async || {
            let ended = cluster.ended(role);
            if ended.is_none() {
                number += 1;
                told.send(&panel, number).await;
                told.look(&panel, number).await;
            }
            ended
        })
        .await;
        // Nobody is there to answer, and nobody answers for them.
        let after = number + 1;
        let accepted = told.send(&panel, after).await;
        assert!(!accepted || role != "broker", "a command was confirmed without a broker");
        assert!(!told.look(&panel, after).await, "an outcome was shown without the {role}");

        assert!(!status.success(), "{status}");
        let log = cluster.log(role);
        let last = log.lines().last().unwrap_or_default();
        let file = cluster.data().join(role).join(format!("{role}.redb"));
        let failed = format!("error: failed to serve the {role} role: the {role}'s store failed: ");
        assert!(last.starts_with(&failed), "{last}");
        for part in [file.to_str().unwrap(), "File too large", "ulimit -f", "start again"] {
            assert!(last.contains(part), "{part:?} is not in: {last}");
        }

        cluster.start(role);
        cluster.start(absent);
        told.came_true(&panel).await;
    });
    cluster.stop();
}

#[test]
fn a_data_folder_that_may_not_be_used_is_named_and_nothing_in_it_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let user = User::whom_modes_bind(folder.path());
    let data = user.folder(folder.path(), "data");
    let config = folder.path().join("tenantry.toml");
    write_file(&config, &format!("data = {data:?}\n"));
    let serve = ["serve", "ledger", "--config", config.to_str().unwrap()];
    let up = ["up", "--listen", "127.0.0.1:0", "--data", data.to_str().unwrap()];

    // Before there is anything: a folder in which nothing can be made.
    user.is_refused(&serve, &data, 0o500, "create the folder", &data.join("ledger"));
    user.is_refused(&up, &data, 0o500, "create the folder", &data);

    let runtime = Runtime::new().unwrap();
    let (process, panel) = up_by(user.tenantryd(), &data);
    let outcome = runtime.block_on(async {
        let confirmed = panel.post(credit("m-1", 7)).await.expect("an answer");
        assert_eq!(confirmed.status, 202, "{}", confirmed.body);
        panel.status("acme", "m-1", 10_000).await.expect("an answer").body
    });
    assert_eq!(outcome["status"], "applied", "{outcome}");
    assert!(process.stop(), "a graceful stop ends well");

    let ledger = data.join("ledger/ledger.redb");
    for (arguments, denied, mode, verb) in [
        (&serve[..], ledger.clone(), 0o400, "open"),
        (&serve, ledger.clone(), 0o000, "open"),
        (&up, ledger.clone(), 0o400, "open"),
        (&up, data.join("broker/broker.redb"), 0o200, "open"),
        (&up, data.join("operators.toml"), 0o000, "read"),
        (&up, data.join("policies.cedar"), 0o000, "read"),
        (&up, data.join("identity.key"), 0o000, "read"),
    ] {
        user.is_refused(arguments, &denied, mode, verb, &denied);
    }
    user.is_refused(&serve, &data.join("ledger"), 0o000, "open", &data.join("ledger/ledger.keys"));
    user.is_refused(&serve, &data.join("ledger"), 0o300, "sync the folder", &data.join("ledger"));
    user.is_refused(&up, &data, 0o000, "create the folder", &data);

    let (process, panel) = up_by(user.tenantryd(), &data);
    runtime.block_on(async {
        assert_eq!(panel.status("acme", "m-1", 0).await.expect("an answer").body, outcome);
        let again = panel.post(credit("m-1", 7)).await.expect("an answer");
        assert_eq!((again.status.as_u16(), &again.body["duplicate"]), (200, &json!(true)), "{}", again.body);
        let credits = panel.get("/v1/tenants/acme/credits").await.expect("an answer").body;
        assert_eq!((&credits["credits_minor"], &credits["version"]), (&json!({"EUR": 7}), &json!(1)));
    });
    assert!(process.stop(), "a graceful stop ends well");
}

/// A user whom file modes bind: ourselves, or somebody else if we are root, whom no mode binds.
struct User {
    uid: Option<u32>,
    tenantryd: PathBuf,
}

impl User {
    /// By convention nobody. Any number would do: it need not be known to the system.
    const NOBODY: u32 = 65_534;

    /// In `folder`, which is ours and which they may enter then.
    fn whom_modes_bind(folder: &Path) -> Self {
        let root = folder.metadata().unwrap().uid() == 0;
        set_mode(folder, 0o755);
        let mut user = Self { uid: root.then_some(Self::NOBODY), tenantryd: binary("tenantryd") };
        // It may lie in somebody's private home.
        if !user.tenantryd().arg("--version").output().is_ok_and(|output| output.status.success()) {
            let copy = folder.join("tenantryd");
            std::fs::copy(&user.tenantryd, &copy).unwrap();
            user.tenantryd = copy;
        }
        user
    }

    fn tenantryd(&self) -> Command {
        let mut command = Command::new(&self.tenantryd);
        if let Some(uid) = self.uid {
            command.uid(uid).gid(uid);
        }
        command
    }

    /// A new folder of theirs.
    fn folder(&self, within: &Path, name: &str) -> PathBuf {
        let folder = within.join(name);
        std::fs::create_dir(&folder).unwrap();
        chown(&folder, self.uid, self.uid).unwrap();
        folder
    }

    /// With `mode` on `denied`, a `tenantryd` ends soon and says what it could not do to `what`. Gives the mode back.
    fn is_refused(&self, arguments: &[&str], denied: &Path, mode: u32, verb: &str, what: &Path) {
        let before = denied.metadata().unwrap().permissions().mode();
        set_mode(denied, mode);
        let mut command = self.tenantryd();
        let mut stderr = tempfile::tempfile().unwrap();
        command.args(arguments).stderr(stderr.try_clone().unwrap());
        let mut process = Process::start(command);
        let ended = eventually("the process ends by itself", SOON, async || process.ended());
        let status = Runtime::new().unwrap().block_on(ended);
        set_mode(denied, before);
        stderr.rewind().unwrap();
        let stderr = std::io::read_to_string(stderr).unwrap();
        let story = format!("{arguments:?} with {mode:o} on {}: {status}\n{stderr}", denied.display());
        let error = stderr.lines().last().unwrap_or_default();
        assert!(!status.success() && error.starts_with("error: "), "{story}");
        for part in [&format!("failed to {verb} {}", what.display()), "Permission denied", "must own it"] {
            assert!(error.contains(part), "{part:?} is not said by {story}");
        }
    }
}

fn set_mode(path: &Path, mode: u32) {
    set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// What the operator was told.
#[derive(Default)]
struct Told {
    /// Every command sent, and whether it was confirmed.
    bodies: BTreeMap<u64, (String, bool)>,
    /// Outcomes seen.
    outcomes: BTreeMap<u64, Value>,
}

impl Told {
    fn id(number: u64) -> String {
        format!("m-{number}")
    }

    /// Sends a command once, and says whether it was confirmed. No answer and "it may have happened" are no confirmation.
    async fn send(&mut self, panel: &Panel, number: u64) -> bool {
        let fresh = || (format!("{}{}", credit(&Self::id(number), number), " ".repeat(PADDING_BYTES)), false);
        let (body, confirmed) = self.bodies.entry(number).or_insert_with(fresh);
        let answer = panel.post(&body).await.expect("the producer lives");
        assert!(!answer.body.to_string().contains(".redb"), "operators need no paths of ours: {}", answer.body);
        match answer.status.as_u16() {
            200 | 202 => *confirmed = true,
            503 | 504 => {}
            _ => panic!("{number}: {} {}", answer.status, answer.body),
        }
        *confirmed
    }

    /// Whether a command has an outcome; once seen it stays.
    async fn look(&mut self, panel: &Panel, number: u64) -> bool {
        let answer = panel.status("acme", &Self::id(number), 100).await.expect("the producer lives");
        match answer.status.as_u16() {
            200 if answer.body["status"] == "applied" => {
                let seen = self.outcomes.entry(number).or_insert_with(|| answer.body.clone());
                assert_eq!(*seen, answer.body);
                true
            }
            200 => {
                assert_eq!(answer.body["status"], "pending");
                false
            }
            503 => false,
            404 if !self.bodies[&number].1 => false,
            _ => panic!("{number}: {} {}", answer.status, answer.body),
        }
    }

    /// All of it takes effect, each command once, and what was seen before stands.
    async fn came_true(&mut self, panel: &Panel) {
        let confirmed = self.bodies.values().filter(|(_, confirmed)| *confirmed).count();
        assert!(confirmed > 0, "the disk was full before anything was confirmed");
        let numbers: Vec<_> = self.bodies.keys().copied().collect();
        for number in &numbers {
            eventually("a command takes effect", SOON, async || {
                let done = self.bodies[number].1 || self.send(panel, *number).await;
                (done && self.look(panel, *number).await).then_some(())
            })
            .await;
        }
        let credits = panel.get("/v1/tenants/acme/credits").await.expect("an answer").body;
        let sum: u64 = numbers.iter().sum();
        assert_eq!((&credits["credits_minor"], &credits["version"]), (&json!({"EUR": sum}), &json!(numbers.len())));
    }
}
