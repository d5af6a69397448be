//! What the whole-system tests share: the project's binaries, run as processes of their own, and a way to talk to them.

mod cluster;
mod panel;
mod process;
mod scenario;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

pub use cluster::{Cluster, ROLES, free_address};
pub use panel::{Panel, credit, up, up_by};
pub use process::Process;
pub use scenario::{scenario, scenario_as};

/// The workspace's folder. Asked for when a test runs, not when it is built: two clones may share a target folder.
///
/// # Panics
/// When the test is not run by cargo.
#[must_use]
pub fn root() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo runs the tests").into()
}

/// The binary `name`, built in the profile of the test that asks. Cargo gives a test only its own package's binaries;
/// building it here makes sure that it is never an old one. `--workspace` keeps the features of all dependencies as the
/// tests were built with: without it half of them would be compiled once more. Built once per test process: a test that
/// restarts processes must not wait for cargo each time.
///
/// # Panics
/// When it can't be built.
#[must_use]
pub fn binary(name: &'static str) -> PathBuf {
    static BUILT: Mutex<BTreeMap<&str, PathBuf>> = Mutex::new(BTreeMap::new());
    // Whoever panicked while holding it could not build: then this one says so too.
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    built.entry(name).or_insert_with(|| build(name)).clone()
}

fn build(name: &str) -> PathBuf {
    let mut build = Command::new(env!("CARGO"));
    build.current_dir(root()).args(["build", "--quiet", "--workspace", "--bin", name]);
    // What cargo tells a test of its package would be news to build scripts that look at it (ring's does): they would run
    // again, and all that stands on them would be compiled once more, at every turn.
    for (name, _) in std::env::vars_os() {
        if ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|told| name.to_string_lossy().starts_with(told)) {
            build.env_remove(name);
        }
    }
    let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
    if profile == "release" {
        build.arg("--release");
    }
    assert!(build.status().expect("cargo runs").success(), "{name} does not build");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    target.join(profile).join(name)
}

/// Runs `tenantry` with `arguments` in the workspace's folder.
///
/// # Panics
/// When it can't be started.
#[must_use]
pub fn tenantry(arguments: &[&str]) -> Output {
    let mut command = Command::new(binary("tenantry"));
    command.current_dir(root()).args(arguments).output().expect("tenantry runs")
}

/// Runs `tenantryd` with `arguments` to its end.
///
/// # Panics
/// When it can't be started.
#[must_use]
pub fn tenantryd(arguments: &[&str]) -> Output {
    Command::new(binary("tenantryd")).args(arguments).output().expect("tenantryd runs")
}

/// `[rate_limits]` that no test's load comes near. Buckets are empty at a start, so the rate is high; and a bucket tells
/// time to within burst / rate, so the burst is a second's worth: a request whose thread sleeps between reading the clock
/// and taking its share finds one filled after its own time.
pub(crate) const NO_RATE_LIMITS: &str = "[rate_limits]\n\
    tenant = { per_second = 100000000, burst = 100000000 }\n\
    user = { per_second = 100000000, burst = 100000000 }\n\
    source = { per_second = 100000000, burst = 100000000 }\n";

/// Writes a file that a test hands to the project's binaries.
///
/// # Panics
/// When it can't be written.
#[expect(clippy::disallowed_methods, reason = "a test's own file; nothing of the system's goes round its `Disk`")]
pub fn write_file(path: &Path, text: &str) {
    std::fs::write(path, text).expect("a file in a folder of the test's");
}

/// Asks again and again, until there is an answer.
///
/// # Panics
/// When there is none within `bound`.
pub async fn eventually<T>(what: &str, bound: Duration, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let give_up = Instant::now() + bound;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < give_up, "waited {} s in vain: {what}", bound.as_secs());
        sleep(Duration::from_millis(20)).await;
    }
}
