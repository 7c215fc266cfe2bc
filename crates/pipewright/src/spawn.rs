//! The parent's half of a start.
//!
//! There is one way to start a process here, whatever the options: `clone` with CLONE_VM and
//! CLONE_VFORK on a stack of its own. No page table is copied, so a start costs the same from a
//! process of 4 MiB and one of 4 GiB; no status pipe is needed, because the child reports through
//! the memory it still shares; and CLONE_PIDFD gives a handle that cannot be mistaken for another
//! process's. [`vfork`] is the child's half.

mod image;
mod orphans;
mod reap;
mod replace;
mod sigpipe;
mod stack;
mod vfork;
mod walk;

use std::os::fd::AsFd;
use std::sync::mpsc;
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

pub(crate) use orphans::adopt;
pub use reap::ResourceUsage;
pub(crate) use reap::{Reaped, reap, wait_for_end};
pub use sigpipe::write_without_sigpipe;

use crate::child::{Child, Origin};
use crate::command::Command;
use crate::error::{Error, Result, StartError, Step};
use image::Image;
use vfork::{Failure, Stage};

impl Command {
    /// Starts the program.
    ///
    /// When this returns, the program is executing, or nothing of it is left; and every descriptor
    /// that was given to the command is closed in this process.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when the command was put together wrongly; nothing was started.
    /// [`Error::Start`] names the step that the kernel refused; no process, zombie or descriptor is
    /// left of it.
    ///
    /// ```
    /// let child = pipewright::Command::new("sh").args(["-c", "exit 3"]).spawn()?;
    /// assert_eq!(child.wait()?.code(), Some(3));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # References
    ///
    /// [clone(2)](https://man7.org/linux/man-pages/man2/clone.2.html),
    /// [execve(2)](https://man7.org/linux/man-pages/man2/execve.2.html)
    pub fn spawn(self) -> Result<Child> {
        self.check()?;
        // Before the clone and after the exec only: between them the child shares this process's
        // memory, with whatever locks a subscriber takes.
        #[cfg(feature = "tracing")]
        let _start = tracing::debug_span!("start", program = %self.program.display()).entered();
        let result = self.start();
        #[cfg(feature = "tracing")]
        match &result {
            Ok(child) => tracing::debug!(pid = child.id(), "started"),
            Err(error) => tracing::debug!(%error, "not started"),
        }
        result
    }

    fn start(self) -> Result<Child> {
        if self.attributes.parent_death_signal.is_some() && !on_main_thread() {
            return on_lasting_thread(self);
        }
        start(self)
    }
}

/// Starts from this thread.
fn start(command: Command) -> Result<Child> {
    orphans::reap_ended();
    let image = Image::new(command)?;
    let mut pause = Duration::from_millis(1);
    let mut drained = false;
    loop {
        let failure = match clone_child(&image)? {
            Ok(child) => return Ok(child),
            Err(failure) => failure,
        };
        // ETXTBSY: the program was written just now, and a process that another thread is starting
        // holds a copy of the descriptor that it was written through, until it executes. Waiting
        // until every start under way is over is certain to help against our own; against a fork
        // from elsewhere only time helps.
        if failure.stage != Stage::Execute || failure.errno != libc::ETXTBSY {
            return Err(describe(&image, failure));
        }
        if !drained {
            drained = true;
            await_starts();
        } else if pause <= Duration::from_millis(64) {
            std::thread::sleep(pause);
            pause *= 2;
        } else {
            return Err(describe(&image, failure));
        }
    }
}

/// Returns when every start that is under way has executed its program, or failed.
pub(crate) fn await_starts() {
    drop(STARTS.write().unwrap_or_else(PoisonError::into_inner));
}

/// Held for reading across every start, and for writing by a start that must be alone.
///
/// Alone must be one that changes credentials. The kernel then marks the memory, which the child
/// shares with this process, as not dumpable; that is what keeps another process of the new user
/// from tracing the child and so reaching into this process. The mark is taken back when the child
/// has left the memory, and no other such child may be in it at that moment.
static STARTS: RwLock<()> = RwLock::new(());

/// One attempt. The outer error is of the parent's side, the inner one is the child's report.
fn clone_child(image: &Image) -> Result<Result<Child, Failure>> {
    let stack = stack::Loan::take().map_err(|errno| image.failed(Step::MapStack, errno))?;
    let started = Instant::now();
    let (pid, pidfd, failure) = if image.changes_credentials() {
        let _alone = STARTS.write().unwrap_or_else(PoisonError::into_inner);
        let dumpable = rustix::process::dumpable_behavior();
        let result = stack.clone_onto(image);
        if let Ok(behavior @ rustix::process::DumpableBehavior::Dumpable) = dumpable {
            // It cannot fail with a value that was in force before.
            let _ = rustix::process::set_dumpable_behavior(behavior);
        }
        result
    } else {
        let _together = STARTS.read().unwrap_or_else(PoisonError::into_inner);
        stack.clone_onto(image)
    }
    .map_err(|(step, errno)| image.failed(step, errno))?;

    match failure {
        None => {
            let origin = Origin {
                program: image.program().to_owned(),
                started,
                own_peak_memory: reap::own_peak_memory(),
                descent: image.descent.clone(),
                kill_on_drop: image.kill_on_drop,
            };
            Ok(Ok(Child::new(pid, pidfd, origin)))
        }
        Some(failure) => {
            // Its zombie, which is there in a moment. An error means that somebody else took it.
            let _ = wait_for_end(pidfd.as_fd()).map(|()| reap(pidfd.as_fd()));
            Ok(Err(failure))
        }
    }
}

fn describe(image: &Image, failure: Failure) -> Error {
    let step = match failure.stage {
        Stage::Signals => Step::Signals,
        Stage::PlaceDescriptor => Step::PlaceDescriptor(failure.detail),
        Stage::CloseDescriptors => Step::CloseDescriptors,
        Stage::NewSession => Step::NewSession,
        Stage::ProcessGroup => Step::ProcessGroup,
        Stage::ResourceLimit => Step::ResourceLimit(image.limited_resource(failure.detail)),
        Stage::Nice => Step::Nice,
        Stage::Groups => Step::Groups,
        Stage::GroupId => Step::GroupId,
        Stage::UserId => Step::UserId,
        Stage::ChangeDirectory => Step::ChangeDirectory(image.directory_path()),
        Stage::ParentDeathSignal => Step::ParentDeathSignal,
        Stage::Execute => Step::Execute(image.candidate(failure.detail)),
    };
    image.failed(step, failure.errno)
}

fn on_main_thread() -> bool {
    rustix::thread::gettid() == rustix::process::getpid()
}

/// Starts from a thread that lasts as long as the child.
///
/// A parent-death signal is sent when the *thread* that made the child ends, not the process. The
/// thread is made here and not kept for the next start, because the kernel holds credentials,
/// capabilities, seccomp filters, no_new_privs and namespaces by thread: a thread begins with its
/// maker's, so the child gets what a child of the calling thread would.
fn on_lasting_thread(command: Command) -> Result<Child> {
    let program = command.program_name();
    let (reply, answer) = mpsc::sync_channel(1);
    std::thread::Builder::new()
        .name("pipewright start".to_owned())
        .stack_size(256 * 1024)
        .spawn(move || {
            // Signals for the process are the other threads' business.
            let blocked = stack::AllSignalsBlocked::new();
            let result = start(command);
            let pid = result.as_ref().ok().map(Child::id);
            // The answer is awaited until it is there.
            let _ = reply.send(result);
            if let Some(pid) = pid {
                reap::await_end(pid);
            }
            drop(blocked);
        })
        .map_err(|error| StartError::new(program, Step::Thread, error))?;
    answer.recv().unwrap_or_else(|_| {
        Err(Error::System {
            operation: "start from a thread that lasts as long as the child",
            source: std::io::Error::from_raw_os_error(libc::EAGAIN),
        })
    })
}
