//! Starting this very program again as a child, with all that is handed over.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;

use pipewright::Command;
use rustix::process::PidfdFlags;
use serde::Serialize;

use crate::channel::{Channel, Peer};
use crate::entry::ARGUMENT;
use crate::error::{DescriptorFault, DescriptorKind, Error, Result};
use crate::executable::SelfExe;
use crate::frame::Format;
use crate::link::ChildLink;
#[cfg(feature = "log")]
use crate::log::LogSink;
use crate::manifest::{Draft, NamedDescriptor};
use crate::socket::PacketSocket;

/// Starts this program again as a child, with all that is to be handed over.
///
/// The child runs the entry point of that name, which [`EntryPoints`](crate::EntryPoints)
/// registered, and nothing of `main` after the dispatch. It has 0, 1, 2 and what was handed over.
///
/// ```
/// use pipewright_handoff::{EntryPoints, ParentLink, ReExec, Result};
///
/// fn double(parent: &mut ParentLink) -> Result<()> {
///     let numbers: Vec<u32> = parent.config()?;
///     let doubled: Vec<u32> = numbers.iter().map(|number| number * 2).collect();
///     parent.channel().send(&doubled)
/// }
///
/// fn main() -> Result<()> {
///     EntryPoints::new().entry("double", double).dispatch(); // never returns in a child
///
///     let mut child = ReExec::new("double").config(&vec![1_u32, 2, 3])?.spawn()?;
///     let doubled: Vec<u32> = child.channel().receive()?;
///     assert_eq!(doubled, [2, 4, 6]);
///     assert!(child.into_child().wait()?.success());
///     Ok(())
/// }
/// ```
#[derive(Debug)]
#[must_use = "nothing is started until it is spawned"]
pub struct ReExec {
    entry: String,
    executable: SelfExe,
    command: Command,
    draft: Option<Draft>,
    descriptors: Vec<(String, OwnedFd)>,
    #[cfg(feature = "log")]
    log: Option<LogSink>,
}

impl ReExec {
    /// Makes a child that runs the entry point `entry`.
    pub fn new(entry: impl Into<String>) -> Self {
        let entry = entry.into();
        let program = std::env::args_os().next().unwrap_or_else(|| "self".into());
        Self {
            command: Command::new(program),
            entry,
            executable: SelfExe::default(),
            draft: None,
            descriptors: Vec::new(),
            #[cfg(feature = "log")]
            log: None,
        }
    }

    /// Chooses which file is executed; [`SelfExe::Running`] unless it is set.
    pub fn executable(mut self, executable: SelfExe) -> Self {
        self.executable = executable;
        self
    }

    /// Gives the child its config: any value up to 1 GiB, encoded.
    ///
    /// It is written to memory at once and handed over at the start, so no write waits for the
    /// child, even if it reads late or never. The child reads it by
    /// [`ParentLink::config`](crate::ParentLink::config), as the very type given here.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`], or [`Error::System`] when there is no memory for it.
    ///
    /// # References
    ///
    /// [memfd_create(2)](https://man7.org/linux/man-pages/man2/memfd_create.2.html)
    pub fn config<T: Serialize>(mut self, config: &T) -> Result<Self> {
        let mut draft = Draft::new()?;
        draft.write_config(config)?;
        self.draft = Some(draft);
        Ok(self)
    }

    /// Gives the child a descriptor under a name, at a number that is free there. This process's
    /// copy is closed once the child has it.
    ///
    /// ```
    /// use std::io::{Read, Write};
    /// use std::os::unix::net::UnixStream;
    /// use pipewright_handoff::{EntryPoints, ParentLink, ReExec, Result};
    ///
    /// fn greet(parent: &mut ParentLink) -> Result<()> {
    ///     let mut socket: UnixStream = parent.take("socket")?;
    ///     socket.write_all(b"hello").expect("the parent reads");
    ///     Ok(())
    /// }
    /// EntryPoints::new().entry("greet", greet).dispatch();
    /// let (mut ours, theirs) = UnixStream::pair()?;
    /// let child = ReExec::new("greet").descriptor("socket", theirs).spawn()?;
    /// let mut said = String::new();
    /// ours.read_to_string(&mut said)?; // ends, since the other end is open only in the child
    /// assert_eq!(said, "hello");
    /// # child.into_child().wait()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn descriptor(mut self, name: impl Into<String>, descriptor: impl Into<OwnedFd>) -> Self {
        self.descriptors.push((name.into(), descriptor.into()));
        self
    }

    /// Gives the child a log, whose lines are forwarded to `sink` under the name of its entry
    /// point. The child takes it by [`ParentLink::log`](crate::ParentLink::log).
    #[cfg(feature = "log")]
    pub fn log(mut self, sink: &LogSink) -> Self {
        self.log = Some(sink.clone());
        self
    }

    /// Changes how the child is started: its environment, standard descriptors, session,
    /// credentials, parent-death signal.
    ///
    /// Leave the program as it is. Added arguments come after those of the hand-off, and
    /// descriptors that are handed over by name keep out of the way of those added at a number.
    pub fn command(mut self, change: impl FnOnce(Command) -> Command) -> Self {
        self.command = change(self.command);
        self
    }

    /// Starts the child.
    ///
    /// # Errors
    ///
    /// [`Error::Start`] when the process could not be started; [`Error::System`] when something
    /// could not be handed over, with a sentence that says so if `/proc` is missing;
    /// [`Error::Descriptor`] for a name that was given twice. Nothing is left of the attempt.
    ///
    /// # References
    ///
    /// AT_EMPTY_PATH in [execveat(2)](https://man7.org/linux/man-pages/man2/execveat.2.html)
    pub fn spawn(self) -> Result<ChildLink> {
        let Self {
            entry,
            executable,
            mut command,
            draft,
            descriptors,
            #[cfg(feature = "log")]
            log,
        } = self;
        let executable = executable.open()?;
        let draft = draft.map_or_else(Draft::new, Ok)?;
        let (ours, theirs) = PacketSocket::pair()?;
        let this = rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty())
            .map_err(Error::system("open a pidfd of this process"))?;
        #[cfg(feature = "log")]
        let mut descriptors = descriptors;
        #[cfg(feature = "log")]
        let log = match log {
            Some(sink) => {
                let (log, writer) = sink.pipe()?;
                descriptors.push((crate::log::NAME.to_owned(), writer));
                Some(log)
            }
            None => None,
        };

        let taken: BTreeSet<i32> = command.fd_numbers().collect();
        let mut free = (3..).filter(|number| !taken.contains(number));
        let mut next = || free.next().unwrap_or(i32::MAX);
        let (manifest_at, channel_at, parent_at) = (next(), next(), next());
        let mut named = Vec::new();
        let mut names = BTreeSet::new();
        for (name, descriptor) in descriptors {
            if !names.insert(name.clone()) {
                let fault = DescriptorFault::GivenTwice;
                return Err(Error::Descriptor { name, fault });
            }
            let (number, kind) = (next(), DescriptorKind::of(&descriptor)?);
            command = command.fd(number, descriptor);
            named.push(NamedDescriptor { name, number, kind });
        }
        let manifest = draft.finish(&entry, channel_at, parent_at, named)?;

        let child = command
            .executable(executable)
            .first_args([&format!("{ARGUMENT}{manifest_at}"), &entry])
            .fd(manifest_at, manifest)
            .fd(channel_at, theirs)
            .fd(parent_at, this)
            .spawn()?;
        #[cfg(feature = "log")]
        if let Some(log) = log {
            log.forward(&entry, &child)?;
        }
        let channel = Channel::over(ours, Peer::Child(child), Format::Postcard, &entry);
        Ok(ChildLink::new(channel))
    }
}
