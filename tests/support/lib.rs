//! What the whole-system tests share: the project's binaries, run as processes of their own.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

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
/// tests were built with: without it half of them would be compiled once more.
///
/// # Panics
/// When it can't be built.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    let mut build = Command::new(env!("CARGO"));
    build.current_dir(root()).args(["build", "--quiet", "--workspace", "--bin", name]);
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

/// Writes a file that a test hands to the project's binaries.
///
/// # Panics
/// When it can't be written.
#[expect(clippy::disallowed_methods, reason = "a test's own file; nothing of the system's goes round its `Disk`")]
pub fn write_file(path: &Path, text: &str) {
    std::fs::write(path, text).expect("a file in a folder of the test's");
}

/// A process that dies with its holder.
pub struct Process(Child);

impl Process {
    /// Starts `tenantryd` with `arguments`; what it says on stderr goes to the test's.
    ///
    /// # Panics
    /// When it can't be started.
    #[must_use]
    pub fn tenantryd(arguments: &[&str]) -> Self {
        let mut command = Command::new(binary("tenantryd"));
        command.args(arguments).stdout(Stdio::piped());
        Self(command.spawn().expect("tenantryd starts"))
    }

    /// Reads its stdout up to the line that `wanted` takes, and returns what it made of it.
    ///
    /// # Panics
    /// When stdout ends before, or was read already.
    pub fn await_line<T>(&mut self, mut wanted: impl FnMut(&str) -> Option<T>) -> T {
        let stdout = self.0.stdout.as_mut().expect("stdout is piped");
        // A byte at a time would do; a buffer would swallow what follows the wanted line.
        let mut line = String::new();
        let mut reader = BufReader::with_capacity(1, stdout);
        while reader.read_line(&mut line).expect("stdout can be read") > 0 {
            if let Some(found) = wanted(line.trim_end()) {
                return found;
            }
            line.clear();
        }
        panic!("the process ended without saying what was waited for");
    }

    /// `kill -9`, and waits until it is gone.
    ///
    /// # Panics
    /// When it had ended by itself.
    pub fn kill(mut self) {
        assert!(self.0.try_wait().expect("it can be waited for").is_none(), "it had ended by itself");
        self.0.kill().expect("it can be killed");
        self.0.wait().expect("it can be waited for");
    }

    /// SIGTERM, and waits until it has ended; whether it ended well.
    ///
    /// # Panics
    /// When it can't be signalled.
    #[must_use]
    pub fn stop(mut self) -> bool {
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs").success());
        self.0.wait().expect("it can be waited for").success()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have been waited for already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
