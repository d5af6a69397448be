//! How far it is, on stderr: a counter that overwrites itself on a terminal, a line now and then elsewhere, and always what
//! did not pass.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use tenantry_reports::record::RunRecord;
use tenantry_reports::text::grouped;
use tenantry_reports::verdict::Verdict;

/// Where nobody watches a counter, a line is written this often.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// On a terminal the counter is written this often: a seed may take a few milliseconds.
const COUNT_EVERY: Duration = Duration::from_millis(100);

/// Overwrites the counter's line.
const CLEAR: &str = "\r\x1b[K";

/// What has ended so far.
pub(super) struct Progress {
    begun: Instant,
    told: Instant,
    on_terminal: bool,
    /// How many there are to end, if anyone knows.
    of: Option<u64>,
    runs: u64,
    bad: u64,
}

impl Progress {
    /// Nothing has ended yet.
    pub(super) fn new(of: Option<u64>) -> Self {
        let begun = now();
        Self { begun, told: begun, on_terminal: std::io::stderr().is_terminal(), of, runs: 0, bad: 0 }
    }

    /// `record` has ended.
    pub(super) fn ended(&mut self, record: &RunRecord) {
        self.runs += 1;
        let mut stderr = std::io::stderr().lock();
        // Nobody may be reading the progress; the results are elsewhere.
        let clear = if self.on_terminal { CLEAR } else { "" };
        if record.verdict != Verdict::Pass {
            self.bad += 1;
            let _ = writeln!(stderr, "{clear}{} seed {}: {}", record.scenario, record.seed, record.verdict);
        }
        let every = if self.on_terminal { COUNT_EVERY } else { LINE_EVERY };
        if self.told.elapsed() < every {
            return;
        }
        self.told = now();
        let line = self.line(record.seed);
        let _ = if self.on_terminal { write!(stderr, "{clear}{line}") } else { writeln!(stderr, "{line}") };
        let _ = stderr.flush();
    }

    /// Nothing more will end.
    pub(super) fn end(&self) {
        if self.on_terminal {
            let _ = write!(std::io::stderr(), "{CLEAR}");
        }
    }

    fn line(&self, seed: u64) -> String {
        let of = self.of.map(|of| format!("/{}", grouped(of))).unwrap_or_default();
        let rate = self.runs as f64 * 60.0 / self.begun.elapsed().as_secs_f64().max(0.001);
        let (runs, bad, rate) = (grouped(self.runs), grouped(self.bad), grouped(rate as u64));
        format!("{runs}{of} runs, {bad} bad, {rate} a minute, at seed {seed}")
    }
}

#[expect(clippy::disallowed_methods, reason = "a counter is for people's time; nothing in a run sees it")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_counts_what_has_ended_and_of_how_many_if_anyone_knows() {
        let run = Progress { runs: 1_200, bad: 2, ..Progress::new(Some(5_000)) };
        assert!(run.line(7).starts_with("1,200/5,000 runs, 2 bad, "), "{}", run.line(7));
        assert!(run.line(7).ends_with(" a minute, at seed 7"), "{}", run.line(7));
        let hunt = Progress { of: None, ..run };
        assert!(hunt.line(7).starts_with("1,200 runs, 2 bad, "), "{}", hunt.line(7));
    }
}
