//! A panic on any simulated host, as a value: which host, what it said, and where.
//!
//! turmoil ends a step with a panic of its own when a task panicked, and that one says nothing of the cause. The cause
//! is seen only by the process's panic hook. So the hook is replaced once, by one that keeps the first message for a
//! thread which asked for it and passes every other thread's panic on unchanged. Kept panics print nothing: a hunt over
//! a thousand seeds would drown its own report.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook, take_hook};
use std::sync::Once;

use tokio::runtime::{Handle, Id};

/// What a caught panic said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caught {
    /// The host on whose runtime it happened, if its runtime was named.
    pub host: Option<String>,
    /// The payload's text, and the file and line it came from.
    pub message: String,
}

/// What this thread knows while it runs something that may panic.
#[derive(Default)]
struct Watch {
    depth: usize,
    first: Option<Caught>,
    /// Each host's runtime. A restarted host has a new one; the old entries stay, for their tasks are dropped later.
    runtimes: Vec<(Id, String)>,
}

thread_local! {
    static WATCH: RefCell<Watch> = RefCell::default();
}

static HOOK: Once = Once::new();

/// Says that the runtime this is called on belongs to `host`. Without a runtime it does nothing.
pub fn name_runtime(host: &str) {
    if let Ok(handle) = Handle::try_current() {
        WATCH.with_borrow_mut(|watch| watch.runtimes.push((handle.id(), host.to_owned())));
    }
}

/// Forgets the runtimes this thread named so far: a new simulation begins.
pub fn forget_runtimes() {
    WATCH.with_borrow_mut(|watch| watch.runtimes.clear());
}

/// Runs `work`; a panic in it, on this thread, becomes an error with the text of the first panic that happened.
pub fn catch<R>(work: impl FnOnce() -> R) -> Result<R, Caught> {
    HOOK.call_once(|| {
        let previous = take_hook();
        set_hook(Box::new(move |info| {
            if !keep(info) {
                previous(info);
            }
        }));
    });
    WATCH.with_borrow_mut(|watch| watch.depth += 1);
    // Whoever holds something `work` left half-done must drop it after an error, and the runner does.
    let result = catch_unwind(AssertUnwindSafe(work));
    let first = WATCH.with_borrow_mut(|watch| {
        watch.depth -= 1;
        watch.first.take()
    });
    result.map_err(|payload| first.unwrap_or_else(|| Caught { host: None, message: text(&*payload) }))
}

/// Keeps the panic if this thread wants it. A panic while the watch is borrowed is left to the previous hook.
fn keep(info: &PanicHookInfo<'_>) -> bool {
    WATCH.try_with(|watch| watch.try_borrow_mut().is_ok_and(|mut watch| watch.keep(info))).unwrap_or(false)
}

impl Watch {
    fn keep(&mut self, info: &PanicHookInfo<'_>) -> bool {
        if self.depth == 0 {
            return false;
        }
        if self.first.is_none() {
            let here = Handle::try_current().ok().map(|handle| handle.id());
            let host = self.runtimes.iter().find(|(id, _)| Some(*id) == here).map(|(_, host)| host.clone());
            let place = info.location().map(|place| format!(" at {}:{}", place.file(), place.line()));
            self.first =
                Some(Caught { host, message: format!("{}{}", text(info.payload()), place.unwrap_or_default()) });
        }
        true
    }
}

/// A panic payload's text, or a statement that it has none.
pub fn text(payload: &(dyn std::any::Any + Send)) -> String {
    payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without text".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_panic_is_the_one_that_is_told() {
        let caught = catch(|| {
            let inner = catch_unwind(|| panic!("the cause, number {}", 7));
            assert!(inner.is_err(), "the first panic was expected");
            panic!("a mere consequence");
        })
        .unwrap_err();
        assert!(caught.message.starts_with("the cause, number 7 at "), "{}", caught.message);
        assert!(caught.message.contains("panics.rs:"), "{}", caught.message);
        assert_eq!(caught.host, None);
    }

    #[test]
    fn a_panic_that_was_survived_is_not_told_later() {
        assert_eq!(catch(|| drop(catch_unwind(|| panic!("survived")))), Ok(()));
        assert!(catch(|| panic!("told")).unwrap_err().message.starts_with("told"));
    }

    #[test]
    fn the_host_is_the_one_whose_runtime_it_was() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let caught = catch(|| {
            runtime.block_on(async {
                name_runtime("ledger");
                panic!("out of credit");
            })
        });
        assert_eq!(caught.unwrap_err().host.as_deref(), Some("ledger"));
    }
}
