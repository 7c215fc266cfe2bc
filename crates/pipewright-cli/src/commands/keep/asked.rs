//! The signals that ask a stage to end: its keeper outlives them, to say how it ended.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use pipewright::{Child, Signal};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::low_level::siginfo::{Cause, Origin};

use crate::inherited::was_ignored;

/// Tells whether the stage was asked to end.
#[derive(Debug, Default)]
pub(super) struct Asked {
    came: AtomicBool,
    child: Mutex<Option<Arc<Child>>>,
}

impl Asked {
    /// Catches the signals from here on. One that the stage has not got itself is passed on to it: a key
    /// goes to both, and so does what pipewright sends.
    pub(super) fn catch() -> std::io::Result<Arc<Self>> {
        let asked = Arc::new(Self::default());
        let wanted = [SIGINT, SIGTERM, SIGHUP, SIGQUIT];
        let wanted = wanted.into_iter().filter(|signal| !was_ignored(*signal));
        let mut signals = SignalsInfo::<WithOrigin>::new(wanted)?;
        let parent = rustix::process::getppid();
        let shared = Arc::clone(&asked);
        std::thread::spawn(move || {
            for origin in &mut signals {
                shared.came.store(true, Relaxed);
                let by_parent = |origin: &Origin| {
                    let sender = origin.process.as_ref().map(|sender| sender.pid);
                    sender == parent.map(|pid| pid.as_raw_nonzero().get())
                };
                if origin.cause == Cause::Kernel || by_parent(&origin) {
                    continue;
                }
                let child = shared.child.lock().unwrap_or_else(PoisonError::into_inner);
                if let (Some(child), Some(signal)) =
                    (&*child, Signal::from_named_raw(origin.signal))
                {
                    // It may have ended.
                    let _ = child.signal(signal);
                }
            }
        });
        Ok(asked)
    }

    /// Tells that this is the stage's process now.
    pub(super) fn follow(&self, child: &Arc<Child>) {
        let mut followed = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        *followed = Some(Arc::clone(child));
    }

    pub(super) fn to_end(&self) -> bool {
        self.came.load(Relaxed)
    }
}
