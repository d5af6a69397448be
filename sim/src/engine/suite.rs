//! Many jobs on a few threads at once, each job on a thread that never ran another.
//!
//! A simulation keeps state in thread-locals (turmoil's world, tokio's context, our panic watch). A fresh thread per
//! job makes it impossible that one seed's leavings change the next. Starting a thread costs some tens of microseconds;
//! a seed costs tens of milliseconds.

use std::any::Any;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, scope};

/// Stack of a job's thread in bytes: a whole simulated system is polled on it, deep futures in debug builds included.
pub(super) const STACK: usize = 8 << 20;

/// What the supervising threads share.
struct Shared<R> {
    results: Vec<Option<R>>,
    done: usize,
    /// The payload of the first job that panicked.
    panicked: Option<Box<dyn Any + Send>>,
}

/// Runs every job, at most `threads` (at least one) at a time, and returns the results in the order of `jobs`.
/// `progress` is told after each, one call at a time: how many are done, of how many, and the result.
///
/// # Panics
/// With the payload of the first job that panicked, after those already running have ended; no further ones are started.
/// Also when the operating system gives no thread.
pub fn run_all<J: Send + Sync, R: Send>(
    jobs: &[J],
    threads: usize,
    run: impl Fn(&J) -> R + Sync,
    progress: impl Fn(usize, usize, &R) + Sync,
) -> Vec<R> {
    let shared = Mutex::new(Shared { results: jobs.iter().map(|_| None).collect(), done: 0, panicked: None });
    let lock = || -> MutexGuard<'_, Shared<R>> { shared.lock().unwrap_or_else(PoisonError::into_inner) };
    let (run, next) = (&run, AtomicUsize::new(0));
    // One supervisor per permitted thread: it starts a job's thread, waits for it, and takes the next job.
    let supervise = || {
        while lock().panicked.is_none() {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(job) = jobs.get(index) else { break };
            let ended = scope(|scope| {
                let thread = Builder::new().stack_size(STACK).spawn_scoped(scope, move || run(job));
                thread.expect("the system gives a thread for a job").join()
            });
            let mut shared = lock();
            match ended {
                Ok(result) => {
                    shared.done += 1;
                    progress(shared.done, jobs.len(), &result);
                    shared.results[index] = Some(result);
                }
                Err(payload) => drop(shared.panicked.get_or_insert(payload)),
            }
        }
    };
    scope(|scope| {
        for _ in 0..threads.clamp(1, jobs.len().max(1)) {
            scope.spawn(supervise);
        }
    });
    let shared = shared.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(payload) = shared.panicked {
        resume_unwind(payload);
    }
    shared.results.into_iter().map(|result| result.expect("every job ended")).collect()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;
    use crate::engine::panics;

    thread_local! {
        static LEFT_BEHIND: Cell<u32> = const { Cell::new(0) };
    }

    #[test]
    fn results_come_in_the_order_of_the_jobs_and_progress_counts_each() {
        let jobs: Vec<u64> = (0..50).collect();
        let told = Mutex::new(Vec::new());
        let results =
            run_all(&jobs, 4, |job| job * 2, |done, of, result| told.lock().unwrap().push((done, of, *result)));
        assert_eq!(results, jobs.iter().map(|job| job * 2).collect::<Vec<_>>());
        let told = told.into_inner().unwrap();
        assert_eq!(told.iter().map(|(done, ..)| *done).collect::<Vec<_>>(), (1..=50).collect::<Vec<_>>());
        assert!(told.iter().all(|(_, of, _)| *of == 50));
    }

    #[test]
    fn no_job_finds_what_another_left_in_a_thread_local() {
        let found = run_all(&[(); 20], 3, |()| LEFT_BEHIND.replace(1), |_, _, _| {});
        assert_eq!(found, [0; 20]);
    }

    #[test]
    fn at_most_so_many_jobs_run_at_once() {
        let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let run = |_: &u32| {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::yield_now();
            running.fetch_sub(1, Ordering::SeqCst);
        };
        run_all(&(0..100).collect::<Vec<_>>(), 2, run, |_, _, ()| {});
        let most = most.into_inner();
        assert!((1..=2).contains(&most), "{most} jobs at once");
    }

    #[test]
    fn a_panic_in_a_job_comes_out_with_its_payload() {
        let started = AtomicUsize::new(0);
        let run = |job: &u32| {
            started.fetch_add(1, Ordering::SeqCst);
            if *job == 2 {
                resume_unwind(Box::new("job 2 broke"));
            }
        };
        let payload = catch_unwind(AssertUnwindSafe(|| run_all(&[1, 2, 3], 1, run, |_, _, ()| {}))).unwrap_err();
        assert_eq!(panics::text(&*payload), "job 2 broke");
        assert_eq!(started.into_inner(), 2, "no job is started after one panicked");
    }

    #[test]
    fn no_jobs_give_no_results() {
        assert!(run_all(&[] as &[u8], 0, |job| *job, |_, _, _| {}).is_empty());
    }
}
