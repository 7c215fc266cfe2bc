//! The two ends of a hand-off: the child as its parent holds it, and the parent as the child does.

use std::time::Duration;

use pipewright::Child;
use serde::de::DeserializeOwned;

use crate::channel::{Channel, Peer};
use crate::descriptors::{Arrived, FromDescriptor};
use crate::error::{Error, Result};
use crate::manifest::{Contents, Manifest};

/// A child that was started by [`ReExec`](crate::ReExec) or [`Foreign`](crate::Foreign), as its
/// parent holds it.
///
/// Dropping it closes the channel; the child is neither waited for nor killed.
#[derive(Debug)]
pub struct ChildLink {
    channel: Channel,
}

impl ChildLink {
    pub(crate) fn new(channel: Channel) -> Self {
        Self { channel }
    }

    /// The channel to the child.
    pub fn channel(&mut self) -> &mut Channel {
        &mut self.channel
    }

    /// The running process.
    #[expect(clippy::unreachable, reason = "every constructor gives a child")]
    pub fn child(&self) -> &Child {
        match self.channel.peer() {
            Peer::Child(child) => child,
            _ => unreachable!("a child link holds a child"),
        }
    }

    /// Closes the channel and returns the running process.
    #[expect(clippy::unreachable, reason = "every constructor gives a child")]
    pub fn into_child(self) -> Child {
        match self.channel.into_peer() {
            Peer::Child(child) => child,
            _ => unreachable!("a child link holds a child"),
        }
    }
}

/// The parent of a re-executed child, as the child holds it: all that was handed over, and the
/// channel. It can move to another thread.
///
/// ```
/// use std::io::{PipeReader, read_to_string};
/// use pipewright_handoff::{EntryPoints, ParentLink, ReExec, Result};
///
/// fn count(parent: &mut ParentLink) -> Result<()> {
///     let word: String = parent.config()?;
///     let text = read_to_string(parent.take::<PipeReader>("text")?).expect("text");
///     parent.channel().send(&text.matches(&word).count())
/// }
/// EntryPoints::new().entry("count", count).dispatch();
/// let (reader, writer) = pipewright::pipe()?;
/// let child = ReExec::new("count").config(&"tick".to_owned())?.descriptor("text", reader);
/// let mut child = child.spawn()?;
/// std::io::Write::write_all(&mut { writer }, b"tick tock tick").expect("it reads");
/// assert_eq!(child.channel().receive::<usize>()?, 2);
/// # child.into_child().wait()?;
/// # Ok::<(), pipewright_handoff::Error>(())
/// ```
#[derive(Debug)]
pub struct ParentLink {
    channel: Channel,
    contents: Contents,
    /// Kept until the config is read.
    manifest: Option<Manifest>,
    descriptors: Arrived,
    reported: bool,
}

impl ParentLink {
    pub(crate) fn new(
        channel: Channel,
        contents: Contents,
        manifest: Manifest,
        descriptors: Arrived,
    ) -> Self {
        let manifest = contents.config.is_some().then_some(manifest);
        Self {
            channel,
            contents,
            manifest,
            descriptors,
            reported: false,
        }
    }

    /// The name of the entry point that runs.
    pub fn entry(&self) -> &str {
        &self.contents.entry
    }

    /// Reads the config, once; the memory that it came in is given back then.
    ///
    /// # Errors
    ///
    /// [`Error::Protocol`] when none was given, when it was read before, or when it has another
    /// type.
    pub fn config<T: DeserializeOwned>(&mut self) -> Result<T> {
        let wanted = || format!("a config of type {}", std::any::type_name::<T>());
        let Some(place) = &self.contents.config else {
            return Err(Error::protocol(wanted(), "none: the parent gave none"));
        };
        match self.manifest.take() {
            Some(manifest) => manifest.config(place),
            None => Err(Error::protocol(wanted(), "none: it was read before")),
        }
    }

    /// Takes the descriptor of this name, as a pipe's end, a socket, a file, a terminal, or
    /// whatever it is (`OwnedFd`). Each can be taken once. It is close-on-exec.
    ///
    /// # Errors
    ///
    /// [`Error::Descriptor`] when there is none of that name, when it was taken before, or when it
    /// is of another kind.
    pub fn take<T: FromDescriptor>(&mut self, name: &str) -> Result<T> {
        self.descriptors.take(name)
    }

    /// The channel to the parent.
    pub fn channel(&mut self) -> &mut Channel {
        &mut self.channel
    }

    /// Waits until the parent closes the channel or dies, for a child that must not live longer.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`]; [`Error::Protocol`] when the parent sends something instead.
    ///
    /// ```
    /// use std::time::Duration;
    /// use pipewright_handoff::{EntryPoints, ParentLink, ReExec, Result};
    ///
    /// fn resident(parent: &mut ParentLink) -> Result<()> {
    ///     parent.channel().send(&"ready".to_owned())?;
    ///     parent.wait_for_parent(Duration::MAX)
    /// }
    /// EntryPoints::new().entry("resident", resident).dispatch();
    /// let mut child = ReExec::new("resident").spawn()?;
    /// child.channel().receive::<String>()?;
    /// assert_eq!(child.child().try_wait()?, None); // it stays while the channel is open
    /// assert!(child.into_child().wait()?.success());
    /// # Ok::<(), pipewright_handoff::Error>(())
    /// ```
    pub fn wait_for_parent(&mut self, timeout: Duration) -> Result<()> {
        self.channel.wait_for_end(timeout)
    }

    pub(crate) fn set_reported(&mut self) {
        self.reported = true;
    }

    pub(crate) fn has_reported(&self) -> bool {
        self.reported
    }
}

impl From<ChildLink> for Child {
    fn from(link: ChildLink) -> Self {
        link.into_child()
    }
}
