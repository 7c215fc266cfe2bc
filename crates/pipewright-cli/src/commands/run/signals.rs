//! The signals that ask pipewright to end: they are the stages' business first.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use pipewright::Signal;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP};
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::low_level::siginfo::{Cause, Origin};

/// Catches SIGINT, SIGTERM, SIGHUP and SIGQUIT for as long as the stages run.
pub(super) struct Signals {
    delivery: SignalDelivery<UnixStream, WithOrigin>,
    first: Option<i32>,
    stop: bool,
}

impl Signals {
    /// Signals that are ignored already, as `nohup` leaves SIGHUP, stay ignored.
    pub(super) fn catch() -> std::io::Result<Self> {
        let ignored = ignored();
        let wanted = [SIGINT, SIGTERM, SIGHUP, SIGQUIT];
        let caught = wanted
            .into_iter()
            .filter(|signal| ignored & (1 << (signal - 1)) == 0);
        let (read, write) = UnixStream::pair()?;
        let delivery = SignalDelivery::with_pipe(read, write, WithOrigin::default(), caught)?;
        Ok(Self {
            delivery,
            first: None,
            stop: false,
        })
    }

    /// Catches Ctrl-Z too, so that something can be tidied up before this process stops.
    pub(super) fn catch_stop(&mut self) -> std::io::Result<()> {
        if ignored() & (1 << (SIGTSTP - 1)) == 0 {
            self.delivery.handle().add_signal(SIGTSTP)?;
        }
        Ok(())
    }

    /// What has come while the stages were being started. Some of them may have it from the
    /// terminal already, those that started later have not; twice is better than never.
    pub(super) fn take_all(&mut self) -> Vec<Signal> {
        self.take(|_| true)
    }

    /// What has come and the stages have not got by themselves.
    ///
    /// What a terminal sends, on Ctrl-C, comes from the kernel, and goes to its whole foreground
    /// group: the stages have it already. Only the hangup of a terminal goes to the leader of its
    /// session alone.
    pub(super) fn take_undelivered(&mut self) -> Vec<Signal> {
        self.take(|origin| {
            origin.cause != Cause::Kernel || origin.signal == SIGHUP && is_session_leader()
        })
    }

    fn take(&mut self, is_undelivered: impl Fn(&Origin) -> bool) -> Vec<Signal> {
        let mut signals = Vec::new();
        for origin in self.delivery.pending() {
            if origin.signal == SIGTSTP {
                self.stop = true;
                continue;
            }
            self.first.get_or_insert(origin.signal);
            if is_undelivered(&origin) {
                signals.extend(Signal::from_named_raw(origin.signal));
            }
        }
        signals
    }

    /// Becomes readable when a signal has come.
    pub(super) fn readable(&self) -> BorrowedFd<'_> {
        self.delivery.get_read().as_fd()
    }

    /// Whether this process was asked to stop since the last call.
    pub(super) fn take_stop(&mut self) -> bool {
        std::mem::take(&mut self.stop)
    }

    /// Stops this process, as Ctrl-Z would have done without us. Returns when it goes on.
    pub(super) fn stop(&self) {
        let _ = signal_hook::low_level::emulate_default_handler(SIGTSTP);
    }

    /// The first signal that came.
    pub(super) fn first(&self) -> Option<i32> {
        self.first
    }

    /// Ends this process as the signal would have done without us.
    pub(super) fn die_of(&self, signal: i32) {
        // It returns only when the default is not to end, which is so for none of the four.
        let _ = signal_hook::low_level::emulate_default_handler(signal);
    }
}

fn is_session_leader() -> bool {
    rustix::process::getsid(None) == Ok(rustix::process::getpid())
}

/// The signals that this process ignores, as the kernel shows them: bit n-1 for signal n.
fn ignored() -> u64 {
    // In one piece: a file of /proc has no size that a buffer could be made to, and is 1.5 KiB long.
    let mut status = [0; 8192];
    let length = File::open("/proc/self/status")
        .and_then(|mut file| file.read(&mut status))
        .unwrap_or(0);
    let status = String::from_utf8_lossy(&status[..length]);
    let set = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok())
        .unwrap_or(0)
}
