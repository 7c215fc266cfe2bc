//! The parent's half of a start.
//!
//! There is one way to start a process here, whatever the options: `clone` with CLONE_VM and
//! CLONE_VFORK on a stack of its own. No page table is copied, so a start costs the same from a
//! process of 4 MiB and one of 4 GiB; no status pipe is needed, because the child reports through
//! the memory it still shares; and CLONE_PIDFD gives a handle that cannot be mistaken for another
//! process's. [`vfork`] is the child's half.

mod image;
mod in_child;
mod mask;
mod missing;
mod orphans;
mod raw;
mod reap;
mod replace;
mod signal;
mod sigpipe;
mod stack;
mod stop;
mod twin;
mod under_way;
mod vfork;
mod walk;

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::io::Errno;

pub(crate) use missing::missing;
pub use orphans::reap_dropped;
pub(crate) use orphans::{adopt, reaping};
pub use reap::ResourceUsage;
pub(crate) use reap::{Reaped, has_ended, is_unreaped, own_peak_memory, reap, wait_for_end};
pub(crate) use signal::{is_sigchld_ignored, lost_status, signal_group};
pub use sigpipe::write_without_sigpipe;
pub(crate) use twin::{close_standard_streams, twin};
pub(crate) use under_way::Earlier;

use crate::child::{Child, Origin};
use crate::command::Command;
use crate::descent::{Descent, new_marker, variable};
use crate::error::{Error, Result, StartError, Step};
use image::Image;
use under_way::UnderWay;
use vfork::{Failure, at};

impl Command {
    /// Starts the program.
    ///
    /// When this returns, the program is executing, or nothing of it is left; and every descriptor
    /// that was given to the command is closed in this process.
    ///
    /// A program on a file system that does not answer blocks this call, as it would any exec; no other
    /// start waits for it. A start that the kernel refuses for the moment is tried again for half a
    /// second: when the limit on processes is reached, or when the program is still open for writing.
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
fn start(mut command: Command) -> Result<Child> {
    orphans::reap_ended();
    let program = command.program_name();
    let on_drop = command.on_drop;
    let descent = mark_descendants(&mut command)?;
    let image = Image::new(command)?;
    let mut earlier = None;
    let mut pauses = pauses();
    loop {
        let started = Instant::now();
        let failure = match clone_child(&image) {
            Ok((pid, pidfd)) => {
                let origin = Origin {
                    program,
                    started,
                    own_peak_memory: own_peak_memory(),
                    descent,
                    on_drop,
                };
                return Ok(Child::new(pid, pidfd, origin));
            }
            Err(failure) => failure,
        };
        let pause = match (failure.step, failure.errno) {
            // The program was written just now, and a process that another thread is starting holds a
            // copy of the descriptor that it was written through, until it executes. Waiting for the
            // starts under way is certain to help against our own, unless one is stuck; against a fork
            // from elsewhere only time helps.
            (Step::Execute(_), libc::ETXTBSY) if earlier.is_none() => {
                earlier.insert(Earlier::now()).wait();
                Some(Duration::ZERO)
            }
            (Step::Execute(_), libc::ETXTBSY) => pauses.next(),
            // The limit on processes: some may be just ending.
            (Step::Clone, libc::EAGAIN) => pauses.next(),
            _ => None,
        };
        let Some(pause) = pause else {
            return Err(describe(program, &image, failure));
        };
        std::thread::sleep(pause);
        orphans::reap_ended();
    }
}

/// When a start is tried again that the kernel refuses for the moment: after 1, 2, 4, … 256
/// milliseconds, half a second in all. A shell tries for 15 seconds; but a caller of a library may do
/// something better meanwhile, and can try again itself.
fn pauses() -> impl Iterator<Item = Duration> {
    (0..9).map(|doubled| Duration::from_millis(1 << doubled))
}

/// Gives the child what its descendants will be known by.
fn mark_descendants(command: &mut Command) -> Result<Descent> {
    let attributes = &command.attributes;
    let mut descent = Descent {
        marker: None,
        leads_group: attributes.session || attributes.process_group == Some(0),
    };
    if command.own_tree {
        let failed = |errno: Errno| command.failed(Step::Subreaper, errno.into());
        let marker = new_marker().map_err(failed)?;
        let (name, value) = variable(&marker);
        command.environment.changes.insert(name, Some(value));
        descent.marker = Some(marker);
    }
    Ok(descent)
}

/// One attempt.
fn clone_child(image: &Image) -> Result<(i32, OwnedFd), Failure> {
    let stack = stack::Loan::take(image.parent).map_err(at(&Step::MapStack))?;
    let under_way = UnderWay::new(image.parent, image.changes_credentials());
    let (pid, pidfd, failure) = stack.clone_onto(image)?;
    drop(under_way);
    let Some(failure) = failure else {
        return Ok((pid, pidfd));
    };
    // Its zombie, which is there in a moment. An error means that somebody else took it.
    let _ = wait_for_end(pidfd.as_fd()).map(|()| reap(pidfd.as_fd()));
    Err(failure)
}

/// The error that tells of a failure, with what the step names.
fn describe(program: String, image: &Image, failure: Failure) -> Error {
    let step = match failure.step {
        Step::PlaceDescriptor(_) => Step::PlaceDescriptor(failure.detail),
        Step::ResourceLimit(_) => {
            Step::ResourceLimit(image.attributes.limits[failure.detail as usize].0)
        }
        Step::ControllingTerminal(_) => Step::ControllingTerminal(failure.detail),
        Step::Foreground(_) => Step::Foreground(failure.detail),
        Step::ChangeRoot(_) => Step::ChangeRoot(image.root_path()),
        Step::ChangeDirectory(_) => Step::ChangeDirectory(image.directory_path()),
        Step::Execute(_) => {
            let candidate = image.candidate(failure.detail);
            Step::Execute(candidate.unwrap_or_else(|| PathBuf::from(&program)))
        }
        step => step.clone(),
    };
    let source = std::io::Error::from_raw_os_error(failure.errno);
    // In another root, the same path is another file.
    let directory = image.root.is_none().then(|| image.directory_path());
    StartError::told(program, step, source, directory.as_deref()).into()
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
    let mut pauses = pauses();
    let (give, answer) = loop {
        let error = match lasting_thread() {
            Ok(channels) => break channels,
            Err(error) => error,
        };
        let passes = error.raw_os_error() == Some(libc::EAGAIN);
        let Some(pause) = pauses.next().filter(|_| passes) else {
            return Err(command.failed(Step::Thread, error));
        };
        std::thread::sleep(pause);
        orphans::reap_ended();
    };
    // It waits for the command, and answers whatever becomes of it.
    let _ = give.send(command);
    answer.recv().unwrap_or_else(|_| {
        Err(Error::System {
            operation: "start from a thread that lasts as long as the child",
            source: std::io::Error::from_raw_os_error(libc::EAGAIN),
        })
    })
}

type Answer = mpsc::Receiver<Result<Child>>;

/// Makes a thread that starts one command and stays until its child has ended.
fn lasting_thread() -> std::io::Result<(mpsc::SyncSender<Command>, Answer)> {
    let (give, commands) = mpsc::sync_channel::<Command>(1);
    let (reply, answer) = mpsc::sync_channel(1);
    std::thread::Builder::new()
        .name("pipewright start".to_owned())
        .stack_size(256 * 1024)
        .spawn(move || {
            let Ok(command) = commands.recv() else { return };
            // Signals for the process are the other threads' business.
            let blocked = mask::AllSignalsBlocked::new();
            let result = start(command);
            let pid = result.as_ref().ok().map(Child::id);
            // The answer is awaited until it is there.
            let _ = reply.send(result);
            if let Some(pid) = pid {
                reap::await_end(pid);
            }
            drop(blocked);
        })?;
    Ok((give, answer))
}
