//! One process of the system's, which dies with its holder.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};

use crate::binary;

/// A process that dies with its holder.
pub struct Process(Child);

impl Process {
    /// Starts `command`; its stdout can be awaited.
    ///
    /// # Panics
    /// When it can't be started.
    #[must_use]
    pub fn start(mut command: Command) -> Self {
        Self(command.stdout(Stdio::piped()).spawn().expect("the process starts"))
    }

    /// Starts `tenantryd` with `arguments`; what it says on stderr goes to the test's.
    ///
    /// # Panics
    /// When it can't be started.
    #[must_use]
    pub fn tenantryd(arguments: &[&str]) -> Self {
        let mut command = Command::new(binary("tenantryd"));
        command.args(arguments);
        Self::start(command)
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

    /// How it ended, if it has.
    ///
    /// # Panics
    /// When the operating system can't say.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().expect("it can be waited for")
    }

    /// `kill -9`, and waits until it is gone.
    ///
    /// # Panics
    /// When it had ended by itself.
    pub fn kill(mut self) {
        assert!(self.ended().is_none(), "it had ended by itself");
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
