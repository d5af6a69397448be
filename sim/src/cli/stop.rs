//! SIGINT and SIGTERM: no further seed is started, those under way end, and all that was found until then is written.
//!
//! Whoever can't wait for that sends the signal once more.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Builder;

use tokio::signal::unix::{SignalKind, signal};

static ASKED: AtomicBool = AtomicBool::new(false);

/// What a shell says of a process that SIGINT ended.
const EXIT_INTERRUPTED: i32 = 130;

/// Whether someone asked to stop.
pub(super) fn asked() -> bool {
    ASKED.load(Ordering::Relaxed)
}

/// Listens from now on. Where the system lets nobody listen, a signal ends the process at once, as ever.
pub(super) fn listen() {
    let listening = || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_io().build() else { return };
        runtime.block_on(async {
            let (Ok(mut interrupt), Ok(mut terminate)) =
                (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
            else {
                return;
            };
            loop {
                tokio::select! {
                    biased;
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                if ASKED.swap(true, Ordering::Relaxed) {
                    std::process::exit(EXIT_INTERRUPTED);
                }
                // Nobody may be reading it.
                let _ =
                    writeln!(std::io::stderr(), "\nStopping: seeds under way end first. Once more to stop at once.");
            }
        });
    };
    // Without a thread it is as without a listener.
    let _ = Builder::new().name("signals".into()).spawn(listening);
}
