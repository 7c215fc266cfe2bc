//! The two ends of a hand-over: the child as the parent holds it, and the parent as the child does.

use std::time::Duration;

use serde::de::DeserializeOwned;

use super::channel::Channel;
use super::descriptors::{Arrived, FromDescriptor};
use super::error::{Error, Result};
use super::log::Log;
use super::manifest::{Contents, Manifest};
use super::peer::Peer;
use super::reexec::LOG;
use crate::child::Child;

/// A child that was started by [`ReExec`](super::ReExec) or [`Foreign`](super::Foreign), as its
/// parent holds it.
///
/// Dropping it closes the channel; the child is neither waited for nor killed.
#[derive(Debug)]
pub struct ChildLink {
    channel: Channel,
}

impl ChildLink {
    pub(super) fn new(channel: Channel) -> Self {
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
            Peer::Process(_) | Peer::Unseen => unreachable!("a child link holds a child"),
        }
    }

    /// Closes the channel and goes on with the process alone.
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
    pub fn entry(&self) -> &str {
        &self.contents.entry
    }

    /// Reads the config, once; the memory that it came in is closed then.
    ///
    /// # Errors
    ///
    /// [`Error::Protocol`] when none was given, it was read before, or is of another type.
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
    pub fn take<T: FromDescriptor>(&mut self, name: &str) -> Result<T> {
        self.descriptors.take(name)
    }

    /// Takes the log that the parent gave by [`ReExec::log`](super::ReExec::log).
    ///
    /// # Errors
    ///
    /// As [`take`](Self::take).
    pub fn log(&mut self) -> Result<Log> {
        self.take(LOG).map(Log::new)
    }

    /// The channel to the parent.
    pub fn channel(&mut self) -> &mut Channel {
        &mut self.channel
    }

    /// Waits until the parent closes the channel or dies, for a child that is to live no longer.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`]; [`Error::Protocol`] when the parent sends something instead.
    pub fn wait_for_parent(&mut self, timeout: Duration) -> Result<()> {
        self.channel.wait_for_end(timeout)
    }

    pub(super) fn set_reported(&mut self) {
        self.reported = true;
    }

    pub(super) fn has_reported(&self) -> bool {
        self.reported
    }

    /// Replaces the channel: from here on somebody else is the peer.
    pub(super) fn replace_channel(&mut self, channel: Channel) {
        self.channel = channel;
    }
}

impl From<ChildLink> for Child {
    fn from(link: ChildLink) -> Self {
        link.into_child()
    }
}
