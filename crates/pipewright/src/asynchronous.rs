//! Waiting and pipe ends for code that runs on tokio.

use std::io::{PipeReader, PipeWriter};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::process::ExitStatus;

use rustix::event::{PollFlags, epoll};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::unix::pipe::{Receiver, Sender};

use crate::child::Child;
use crate::error::{Error, Result};
use crate::pipeline::{PipelineStatus, RunningPipeline, Stage};

/// Any number of descriptors as one that tokio can wait for: an epoll instance, which is readable
/// when one of them is ready.
#[derive(Debug)]
pub(crate) struct Events(AsyncFd<OwnedFd>);

impl Events {
    #[allow(
        deprecated,
        reason = "its successor is unsafe for the sake of types that may give another descriptor \
                  later, which an OwnedFd cannot"
    )]
    pub(crate) fn new<'a>(
        watched: impl IntoIterator<Item = (BorrowedFd<'a>, PollFlags)>,
    ) -> Result<Self> {
        let instance = epoll::create(epoll::CreateFlags::CLOEXEC)
            .map_err(Error::system("make an epoll instance"))?;
        for (descriptor, flags) in watched {
            let flags = epoll::EventFlags::from_bits_truncate(flags.bits().into());
            let number = epoll::EventData::new_u64(descriptor.as_raw_fd() as u64);
            epoll::add(&instance, descriptor, number, flags)
                .map_err(Error::system("watch a descriptor"))?;
        }
        AsyncFd::with_interest(instance, Interest::READABLE)
            .map(Self)
            .map_err(refused)
    }

    /// Calls `look` whenever something may be ready, until it gives an answer. `look` must give none
    /// only if nothing is ready.
    pub(crate) async fn until<T>(&self, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
        loop {
            let mut ready = self.0.readable().await.map_err(refused)?;
            if let Some(answer) = look()? {
                return Ok(answer);
            }
            // What became ready since the line above is not forgotten by this.
            ready.clear_ready();
        }
    }
}

fn refused(source: std::io::Error) -> Error {
    Error::System {
        operation: "wait for a descriptor with tokio",
        source,
    }
}

impl Child {
    /// [`wait`](Child::wait) without blocking the thread. Needs the feature `tokio`.
    ///
    /// Dropping the future loses nothing: it can be waited for again. Any number of tasks may wait.
    ///
    /// # Errors
    ///
    /// As [`wait`](Child::wait).
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime, or in one without I/O.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pipewright::Result<()> {
    /// let child = pipewright::Command::new("sh").args(["-c", "exit 3"]).spawn()?;
    /// assert_eq!(child.wait_async().await?.code(), Some(3));
    /// # Ok(()) }
    /// ```
    pub async fn wait_async(&self) -> Result<ExitStatus> {
        // A look before anything is set up: it may be over.
        if let Some(status) = self.try_wait()? {
            return Ok(status);
        }
        let events = Events::new([(self.as_fd(), PollFlags::IN)])?;
        events.until(|| self.try_wait()).await
    }
}

impl RunningPipeline {
    /// [`wait`](RunningPipeline::wait) without blocking the thread: see [`Child::wait_async`].
    ///
    /// # Errors
    ///
    /// As [`wait`](RunningPipeline::wait).
    ///
    /// # Panics
    ///
    /// As [`Child::wait_async`].
    pub async fn wait_async(&self) -> Result<PipelineStatus> {
        let children = self.stages().iter().filter_map(Stage::child);
        let events = Events::new(children.map(|child| (child.as_fd(), PollFlags::IN)))?;
        if let Some(status) = self.try_wait()? {
            return Ok(status);
        }
        events.until(|| self.try_wait()).await
    }
}

/// Turns a pipe's end into tokio's. Needs the feature `tokio`.
///
/// The end becomes non-blocking: the open file itself, and so also what is shared with it by a
/// duplicate or another process. So it is for the end that stays in this process. A pipe's two ends
/// are two open files; the child's end stays blocking, as programs expect.
///
/// ```
/// use pipewright::{AsyncPipe, Command};
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (stdin, to) = pipewright::pipe()?;
/// let (from, stdout) = pipewright::pipe()?;
/// let child = Command::new("rev").stdin(stdin).stdout(stdout).spawn()?;
///
/// let (mut to, mut from) = (to.into_async()?, from.into_async()?);
/// to.write_all(b"!ALOH\n").await?;
/// drop(to);
/// let mut said = String::new();
/// from.read_to_string(&mut said).await?;
/// assert_eq!(said, "HOLA!\n");
/// assert!(child.wait_async().await?.success());
/// # Ok(()) }
/// ```
pub trait AsyncPipe {
    /// Tokio's type for this end.
    type End;

    /// The end for tokio.
    ///
    /// # Errors
    ///
    /// [`Error::System`] when the kernel refuses to watch it.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime, or in one without I/O.
    ///
    /// # References
    ///
    /// [epoll(7)](https://man7.org/linux/man-pages/man7/epoll.7.html)
    fn into_async(self) -> Result<Self::End>;
}

impl AsyncPipe for PipeReader {
    type End = Receiver;

    fn into_async(self) -> Result<Receiver> {
        Receiver::from_owned_fd(self.into()).map_err(refused)
    }
}

impl AsyncPipe for PipeWriter {
    type End = Sender;

    fn into_async(self) -> Result<Sender> {
        Sender::from_owned_fd(self.into()).map_err(refused)
    }
}
