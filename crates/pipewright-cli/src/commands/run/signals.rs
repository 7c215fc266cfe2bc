//! The signals that ask pipewright to end: they are the stages' business first.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pipewright::{PipelineStatus, Signal, StageEnd};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP};
use signal_hook::flag::register_conditional_default;
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::low_level::siginfo::{Cause, Origin};

use crate::inherited::was_ignored;

/// Catches SIGINT, SIGTERM, SIGHUP and SIGQUIT for as long as the stages run.
pub(super) struct Signals {
    /// True: each signal has its default action again.
    released: Arc<AtomicBool>,
    delivery: SignalDelivery<UnixStream, WithOrigin>,
    /// All that came, in their order.
    came: Vec<i32>,
    stop: bool,
    child: bool,
}

/// A signal that reached pipewright.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Arrival {
    pub(super) signal: Signal,
    /// It is the terminal's: its whole foreground group has it, and so have the stages.
    pub(super) by_terminal: bool,
}

impl Signals {
    /// Signals that the caller ignores, as `nohup` leaves SIGHUP, stay ignored. `paints`: Ctrl-Z is
    /// caught too, so that the terminal can be tidied up before this process stops.
    pub(super) fn catch(paints: bool) -> std::io::Result<Self> {
        // SIGCHLD tells of orphans that this process adopts: no handle is held of those.
        let mut wanted = vec![SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGCHLD];
        if paints {
            wanted.push(SIGTSTP);
        }
        wanted.retain(|&signal| signal == SIGCHLD || !was_ignored(signal));
        let released = Arc::new(AtomicBool::new(false));
        for &signal in wanted.iter().filter(|&&signal| signal != SIGCHLD) {
            register_conditional_default(signal, Arc::clone(&released))?;
        }
        let (read, write) = UnixStream::pair()?;
        let delivery = SignalDelivery::with_pipe(read, write, WithOrigin::default(), wanted)?;
        Ok(Self {
            released,
            delivery,
            came: Vec::new(),
            stop: false,
            child: false,
        })
    }

    /// Takes what has come since the last call.
    pub(super) fn take(&mut self) -> Vec<Arrival> {
        let mut arrivals = Vec::new();
        for origin in self.delivery.pending() {
            match origin.signal {
                SIGTSTP => self.stop = true,
                SIGCHLD => self.child = true,
                number => {
                    self.came.push(number);
                    arrivals.extend(Signal::from_named_raw(number).map(|signal| Arrival {
                        signal,
                        by_terminal: is_by_terminal(&origin),
                    }));
                }
            }
        }
        arrivals
    }

    /// The first that has come at all.
    pub(super) fn first(&mut self) -> Option<i32> {
        self.take();
        self.came.first().copied()
    }

    /// Becomes readable when a signal has come.
    pub(super) fn readable(&self) -> BorrowedFd<'_> {
        self.delivery.get_read().as_fd()
    }

    /// Tells whether this process was asked to stop since the last call.
    pub(super) fn take_stop(&mut self) -> bool {
        std::mem::take(&mut self.stop)
    }

    /// Tells whether the state of a child has changed since the last call.
    pub(super) fn take_child(&mut self) -> bool {
        std::mem::take(&mut self.child)
    }

    /// Lets signals end this process at once, now that there is nobody to pass them on to: somebody
    /// may still have to be waited for who takes a recording slowly, or never.
    pub(super) fn release(&self) {
        self.released.store(true, Ordering::Relaxed);
    }

    /// The signal that this process is to die of, now that the stages have ended.
    ///
    /// SIGTERM and SIGHUP are meant for it. SIGINT and SIGQUIT are keys, and programs use them: the
    /// one that reads a search in `less` has not asked for the pipeline's end. So these two count if
    /// a stage died of it, as bash has it ("wait and cooperative exit").
    ///
    /// # References
    ///
    /// <https://www.cons.org/cracauer/sigint.html>
    pub(super) fn to_die_of(&self, status: &PipelineStatus) -> Option<i32> {
        let died_of = |wanted: i32| {
            let mut ends = status.stages().iter().map(|stage| &stage.end);
            ends.any(|end| matches!(end, StageEnd::Signaled { signal, .. } if *signal == wanted))
        };
        let mut came = self.came.iter().copied();
        came.find(|&signal| match signal {
            SIGINT | SIGQUIT => died_of(signal),
            _ => true,
        })
    }
}

/// What a key sends, as Ctrl-C does, comes from the kernel and goes to the whole foreground group.
/// Only the hangup of a terminal goes to the leader of its session alone.
fn is_by_terminal(origin: &Origin) -> bool {
    origin.cause == Cause::Kernel && !(origin.signal == SIGHUP && is_session_leader())
}

fn is_session_leader() -> bool {
    rustix::process::getsid(None) == Ok(rustix::process::getpid())
}
