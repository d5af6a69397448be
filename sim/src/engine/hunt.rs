//! Job after job, on a few threads at once, until there are no more or somebody has seen enough.
//!
//! As in [`super::suite`] each job has a thread that never ran another. But here whoever waits does not trust the job: one
//! that panics is a result, and one that does not end in time is another. Its thread can't be taken back and burns a core
//! until the process ends, so a hunt does well to end soon after.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread::Builder;
use std::time::{Duration, Instant};

use super::panics;
use super::suite::STACK;

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended<R> {
    /// By itself.
    Done(R),
    /// With a panic of its own, which said this.
    Panicked(String),
    /// Not within this time.
    Hung(Duration),
}

/// Runs `jobs` in their order, at most `threads` (at least one) at a time, and tells `each` of every job that has ended, in
/// the order in which they end; [`ControlFlow::Break`] starts no more. A job that has not ended after `hang_after` is told
/// as hung.
///
/// # Panics
/// When the operating system gives no thread.
pub fn hunt<J: Clone + Send + 'static, R: Send + 'static>(
    mut jobs: impl Iterator<Item = J>,
    threads: usize,
    hang_after: Duration,
    run: impl Fn(&J) -> R + Send + Sync + 'static,
    mut each: impl FnMut(J, Ended<R>) -> ControlFlow<()>,
) {
    let run = Arc::new(run);
    let (tell, told) = channel();
    let mut running: BTreeMap<u64, (J, Instant)> = BTreeMap::new();
    let (mut number, mut goes_on) = (0, true);
    loop {
        while goes_on && running.len() < threads.max(1) {
            let Some(job) = jobs.next() else {
                goes_on = false;
                break;
            };
            number += 1;
            running.insert(number, (job.clone(), now()));
            let (run, tell) = (run.clone(), tell.clone());
            let work = move || {
                let ended = match catch_unwind(AssertUnwindSafe(|| run(&job))) {
                    Ok(result) => Ended::Done(result),
                    Err(payload) => Ended::Panicked(panics::text(&*payload)),
                };
                // Nobody listens any more to one that was given up.
                let _ = tell.send((number, ended));
            };
            Builder::new().stack_size(STACK).spawn(work).expect("the system gives a thread for a job");
        }
        let Some((oldest, since)) =
            running.iter().map(|(number, (_, since))| (*number, *since)).min_by_key(|(_, at)| *at)
        else {
            return;
        };
        let (number, ended) = match told.recv_timeout((since + hang_after).saturating_duration_since(now())) {
            Ok(told) => told,
            Err(RecvTimeoutError::Timeout) => (oldest, Ended::Hung(hang_after)),
            Err(RecvTimeoutError::Disconnected) => unreachable!("we hold a sender ourselves"),
        };
        // One that was given up has ended after all: it was told of already.
        let Some((job, _)) = running.remove(&number) else { continue };
        if each(job, ended).is_break() {
            goes_on = false;
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a job that hangs does so in real time; nothing in the job sees it")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use std::panic::resume_unwind;
    use std::sync::{Condvar, Mutex};

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn every_job_is_told_of_and_after_enough_no_more_are_started() {
        let mut sum = 0;
        hunt(
            1..=100_u64,
            3,
            LONG,
            |job| job * 2,
            |job, ended| {
                assert_eq!(ended, Ended::Done(job * 2));
                sum += job;
                ControlFlow::Continue(())
            },
        );
        assert_eq!(sum, 5050);
        let mut told = 0;
        hunt(
            1..=u64::MAX,
            2,
            LONG,
            |job| *job,
            |job, _| {
                told += 1;
                if job >= 5 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            },
        );
        assert!((5..=7).contains(&told), "{told}: those under way when it was enough still end");
    }

    #[test]
    fn a_job_that_panics_is_a_result_and_the_others_go_on() {
        let mut panicked = Vec::new();
        let run = |job: &u32| if *job == 2 { resume_unwind(Box::new("job 2 broke")) } else { *job };
        hunt(1..=4, 2, LONG, run, |job, ended| {
            if let Ended::Panicked(why) = ended {
                panicked.push((job, why));
            }
            ControlFlow::Continue(())
        });
        assert_eq!(panicked, [(2, "job 2 broke".to_owned())]);
    }

    #[test]
    fn a_job_that_does_not_end_is_given_up_and_told_once() {
        static GATE: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());
        let hang = Duration::from_millis(200);
        let run = |job: &u32| {
            if *job == 1 {
                let open = GATE.0.lock().unwrap();
                drop(GATE.1.wait_while(open, |open| !*open).unwrap());
            }
            *job
        };
        let mut told = Vec::new();
        hunt(1..=3, 1, hang, run, |job, ended| {
            if job == 2 {
                // Now it ends after all, while another is under way.
                *GATE.0.lock().unwrap() = true;
                GATE.1.notify_all();
            }
            told.push((job, ended));
            ControlFlow::Continue(())
        });
        assert_eq!(told, [(1, Ended::Hung(hang)), (2, Ended::Done(2)), (3, Ended::Done(3))]);
    }
}
