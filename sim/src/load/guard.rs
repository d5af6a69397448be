//! Nothing that a load started outlives it, however it ends.
//!
//! A destructor kills the roles after a panic or an ordinary end; after `kill -9` of the load itself nobody is left to do so. So
//! a shell waits at the end of a pipe for the last that the load has to say, and cleans up after it. It ignores the signals
//! that end the load from a terminal.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// `+ PID` was started, `- PID` is gone; at the end of the input all that are left are killed, and the folder is removed.
const SCRIPT: &str = r#"
trap '' INT TERM HUP
pids=' '
while read -r sign pid; do
    case $sign in
        +) pids="$pids$pid " ;;
        -) pids="${pids%% $pid *} ${pids#* $pid }" ;;
    esac
done
kill -9 $pids 2> /dev/null
rm -rf -- "$1"
"#;

/// A shell that outlives the load, and nothing else does.
pub(super) struct Guard(Child);

impl Guard {
    /// Guards `folder`, which is removed in the end.
    pub(super) fn new(folder: &Path) -> std::io::Result<Self> {
        let mut shell = Command::new("sh");
        shell.args(["-c", SCRIPT, "sh"]).arg(folder).process_group(0);
        Ok(Self(shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?))
    }

    /// `process` was started.
    pub(super) fn started(&mut self, process: &Child) -> std::io::Result<()> {
        self.tell('+', process)
    }

    /// `process` is gone.
    pub(super) fn gone(&mut self, process: &Child) -> std::io::Result<()> {
        self.tell('-', process)
    }

    fn tell(&mut self, sign: char, process: &Child) -> std::io::Result<()> {
        let pipe = self.0.stdin.as_mut().ok_or(std::io::ErrorKind::BrokenPipe)?;
        writeln!(pipe, "{sign} {}", process.id())?;
        pipe.flush()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // The end of its input.
        drop(self.0.stdin.take());
        // It has cleaned up, or can't.
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_gone_is_killed_in_the_end_and_the_folder_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("data");
        std::fs::create_dir(&inner).unwrap();
        let sleeper = || Command::new("sleep").arg("60").spawn().unwrap();
        let (mut gone, mut left, mut other) = (sleeper(), sleeper(), sleeper());
        let mut guard = Guard::new(&inner).unwrap();
        for process in [&gone, &left, &other] {
            guard.started(process).unwrap();
        }
        guard.gone(&gone).unwrap();
        drop(guard);
        assert!(!left.wait().unwrap().success() && !other.wait().unwrap().success());
        assert!(!inner.exists());
        assert!(gone.try_wait().unwrap().is_none(), "it was told to be somebody else's");
        gone.kill().unwrap();
        gone.wait().unwrap();
    }
}
