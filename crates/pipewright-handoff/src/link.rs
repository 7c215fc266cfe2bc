//! The two ends of a hand-over: the child as the parent holds it, and the parent as the child does.

use std::time::Duration;

use serde::de::DeserializeOwned;

use super::channel::Channel;
use super::descriptors::{Arrived, FromDescriptor};
use super::error::{Error, Result};
use super::manifest::{Contents, Manifest};
use super::peer::Peer;
use pipewright::Child;

/// A child that was started by [`ReExec`](super::ReExec) or [`Foreign`](super::Foreign), as its
/// parent holds it.
///
/// Dropping it closes the channel; the child is neither waited for nor killed.
///
/// ```
/// use pipewright_handoff::{EntryPoints, ParentLink, ReExec, Result};
///
/// fn worker(parent: &mut ParentLink) -> Result<()> {
///     while let Ok(number) = parent.channel().receive::<u32>() {
///         parent.channel().send(&(number + 1))?;
///     }
///     Ok(())
/// }
/// EntryPoints::new().entry("worker", worker).dispatch();
/// let mut child = ReExec::new("worker").spawn()?;
/// assert_eq!(child.child().program(), std::env::args().next().expect("a name"));
/// assert_eq!(child.channel().request::<u32, u32>(&1)?, 2);
/// child.child().kill()?;
/// assert!(!child.into_child().wait()?.success());
/// # Ok::<(), pipewright_handoff::Error>(())
/// ```
#[derive(Debug)]
pub struct ChildLink {
    channel: Channel,
}

impl ChildLink {
    pub(super) fn new(channel: Channel) -> Self {
        Self { channel }
    }

    /// The channel to the child.
    ///
    /// ```
    /// use pipewright_handoff::{EntryPoints, ReExec};
    ///
    /// EntryPoints::new().entry("worker", |parent| parent.channel().barrier("begin")).dispatch();
    /// let mut child = ReExec::new("worker").spawn()?;
    /// child.channel().serve_barrier("begin", || Ok::<(), String>(()))?;
    /// assert!(child.into_child().wait()?.success());
    /// # Ok::<(), pipewright_handoff::Error>(())
    /// ```
    pub fn channel(&mut self) -> &mut Channel {
        &mut self.channel
    }

    /// The running process.
    ///
    /// ```
    /// use pipewright_handoff::{EntryPoints, ReExec};
    ///
    /// EntryPoints::new()
    ///     .entry("tell", |parent| parent.channel().send(&std::process::id()))
    ///     .dispatch();
    /// let mut child = ReExec::new("tell").spawn()?;
    /// let told: u32 = child.channel().receive()?;
    /// assert_eq!(told, child.child().id());
    /// # child.into_child().wait()?;
    /// # Ok::<(), pipewright_handoff::Error>(())
    /// ```
    #[expect(clippy::unreachable, reason = "every constructor gives a child")]
    pub fn child(&self) -> &Child {
        match self.channel.peer() {
            Peer::Child(child) => child,
            Peer::Process(_) | Peer::Unseen => unreachable!("a child link holds a child"),
        }
    }

    /// Closes the channel and goes on with the process alone.
    ///
    /// ```
    /// use std::time::Duration;
    /// use pipewright_handoff::{EntryPoints, ReExec};
    ///
    /// EntryPoints::new()
    ///     .entry("worker", |parent| parent.wait_for_parent(Duration::from_secs(60)))
    ///     .dispatch();
    /// let child = ReExec::new("worker").spawn()?.into_child(); // the channel is closed
    /// assert!(child.wait()?.success());
    /// # Ok::<(), pipewright_handoff::Error>(())
    /// ```
    #[expect(clippy::unreachable, reason = "every constructor gives a child")]
    pub fn into_child(self) -> Child {
        match self.channel.into_peer() {
            Peer::Child(child) => child,
            Peer::Process(_) | Peer::Unseen => unreachable!("a child link holds a child"),
        }
    }
}

/// The parent of a re-executed child, as the child holds it: all that was handed over, and the
/// channel.
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
    /// Until the config was read.
    manifest: Option<Manifest>,
    descriptors: Arrived,
    reported: bool,
}

impl ParentLink {
    pub(super) fn new(
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
    ///
    /// ```
    /// use pipewright_handoff::{EntryPoints, ParentLink, ReExec, Result};
    ///
    /// fn either(parent: &mut ParentLink) -> Result<()> {
    ///     let name = parent.entry().to_owned();
    ///     parent.channel().send(&name)
    /// }
    /// EntryPoints::new().entry("one", either).entry("two", either).dispatch();
    /// let mut child = ReExec::new("two").spawn()?;
    /// assert_eq!(child.channel().receive::<String>()?, "two");
    /// # child.into_child().wait()?;
    /// # Ok::<(), pipewright_handoff::Error>(())
    /// ```
    pub fn entry(&self) -> &str {
        &self.contents.entry
    }

    /// Reads the config, once; the memory that it came in is closed then.
    ///
    /// # Errors
    ///
    /// [`Error::Protocol`] when none was given, it was read before, or is of another type.
    ///
    /// ```
    /// use pipewright_handoff::{EntryPoints, ParentLink, ReExec, Result};
    ///
    /// fn worker(parent: &mut ParentLink) -> Result<()> {
    ///     let sizes: Vec<u64> = parent.config()?;
    ///     let twice = parent.config::<Vec<u64>>().is_ok();
    ///     parent.channel().send(&(sizes, twice))
    /// }
    /// EntryPoints::new().entry("worker", worker).dispatch();
    /// let mut child = ReExec::new("worker").config(&vec![1_u64, 1 << 40])?.spawn()?;
    /// assert_eq!(child.channel().receive::<(Vec<u64>, bool)>()?, (vec![1, 1 << 40], false));
    /// # child.into_child().wait()?;
    /// # Ok::<(), pipewright_handoff::Error>(())
    /// ```
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

    /// Takes the descriptor of this name, as a pipe's end, a socket, a file, a terminal, or as
    /// whatever it is (`OwnedFd`). Each can be taken once. It is close-on-exec.
    ///
    /// # Errors
    ///
    /// [`Error::Descriptor`] when there is none of that name, it was taken, or is of another kind.
    ///
    /// ```
    /// use std::io::{PipeReader, PipeWriter, Write};
    /// use pipewright_handoff::{EntryPoints, ParentLink, ReExec, Result};
    ///
    /// fn worker(parent: &mut ParentLink) -> Result<()> {
    ///     assert!(parent.take::<PipeReader>("output").is_err()); // it is the other end
    ///     let mut output: PipeWriter = parent.take("output")?;
    ///     writeln!(output, "from the child").expect("the parent reads");
    ///     Ok(())
    /// }
    /// EntryPoints::new().entry("worker", worker).dispatch();
    /// let (reader, writer) = pipewright::pipe()?;
    /// let child = ReExec::new("worker").descriptor("output", writer).spawn()?;
    /// assert_eq!(std::io::read_to_string(reader)?, "from the child\n");
    /// # child.into_child().wait()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn take<T: FromDescriptor>(&mut self, name: &str) -> Result<T> {
        self.descriptors.take(name)
    }

    /// The channel to the parent.
    ///
    /// ```
    /// use pipewright_handoff::{EntryPoints, ReExec};
    ///
    /// EntryPoints::new().entry("negate", |parent| {
    ///     let number: i64 = parent.channel().receive()?;
    ///     parent.channel().send(&-number)
    /// }).dispatch();
    /// let mut child = ReExec::new("negate").spawn()?;
    /// assert_eq!(child.channel().request::<i64, i64>(&5)?, -5);
    /// # child.into_child().wait()?;
    /// # Ok::<(), pipewright_handoff::Error>(())
    /// ```
    pub fn channel(&mut self) -> &mut Channel {
        &mut self.channel
    }

    /// Waits until the parent closes the channel or dies, for a child that is to live no longer.
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

    pub(super) fn set_reported(&mut self) {
        self.reported = true;
    }

    pub(super) fn has_reported(&self) -> bool {
        self.reported
    }
}

impl From<ChildLink> for Child {
    fn from(link: ChildLink) -> Self {
        link.into_child()
    }
}
