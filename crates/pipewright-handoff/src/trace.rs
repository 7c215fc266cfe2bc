//! What an observer of a channel sees.

use std::fmt;
use std::time::Duration;

/// Which way a packet went.
///
/// ```
/// use pipewright_handoff::{Direction, EntryPoints, ReExec};
///
/// EntryPoints::new().entry("echo", |parent| {
///     let word: String = parent.channel().receive()?;
///     parent.channel().send(&word)
/// }).dispatch();
/// let mut child = ReExec::new("echo").spawn()?;
/// let (tell, told) = std::sync::mpsc::channel();
/// child.channel().on_event(move |event| tell.send(event.direction).unwrap_or(()));
/// child.channel().request::<_, String>(&"word".to_owned())?;
/// child.into_child().wait()?;
/// assert_eq!(told.iter().collect::<Vec<_>>(), [Direction::Sent, Direction::Received]);
/// # Ok::<(), pipewright_handoff::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From this process.
    Sent,
    /// To this process.
    Received,
}

/// Something that went over a channel.
///
/// ```
/// use std::time::Duration;
/// use pipewright_handoff::{EntryPoints, ReExec};
///
/// EntryPoints::new().entry("init", |parent| parent.channel().enter("set up")).dispatch();
/// let mut child = ReExec::new("init").spawn()?;
/// let (tell, told) = std::sync::mpsc::channel();
/// child.channel().on_event(move |event| {
///     let _ = tell.send((event.what.to_owned(), event.at));
/// });
/// child.wait_exec(Duration::from_secs(10)).expect_err("it executes nothing");
/// let (what, at) = told.recv().expect("one event");
/// assert!(what.contains("set up") && at > Duration::ZERO);
/// # Ok::<(), pipewright_handoff::Error>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Event<'a> {
    /// Which way.
    pub direction: Direction,
    /// What it was, in words: `the barrier "map my ids"`.
    pub what: &'a str,
    /// When, on the clock that counts from the machine's start and that all processes share.
    pub at: Duration,
}

type Observer = Box<dyn FnMut(&Event<'_>) + Send>;

/// The observer of a channel, if there is one.
#[derive(Default)]
pub(super) struct Trace(Option<Observer>);

impl Trace {
    pub(super) fn set(&mut self, observer: impl FnMut(&Event<'_>) + Send + 'static) {
        self.0 = Some(Box::new(observer));
    }

    /// The time of something that begins now, where anybody wants to know.
    pub(super) fn now(&self) -> Option<Duration> {
        self.0.as_ref()?;
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let nanoseconds = u32::try_from(now.tv_nsec).unwrap_or(0);
        Some(Duration::new(
            u64::try_from(now.tv_sec).unwrap_or(0),
            nanoseconds,
        ))
    }

    /// Tells what happened at a time that [`now`](Self::now) gave.
    pub(super) fn tell(
        &mut self,
        at: Option<Duration>,
        direction: Direction,
        what: impl FnOnce() -> String,
    ) {
        if let (Some(observer), Some(at)) = (&mut self.0, at) {
            let what = &what();
            observer(&Event {
                direction,
                what,
                at,
            });
        }
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Trace").field(&self.0.is_some()).finish()
    }
}
