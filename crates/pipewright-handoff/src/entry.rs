//! Entry points of re-executed children, and the dispatch to them.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::fmt;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;

use crate::arrival;
use crate::error::{Error, Result};
use crate::link::ParentLink;

/// The first argument of a re-executed child; the number of the hand-off's descriptor follows.
///
/// An argument and not an environment variable: it does not reach the child's own children, and a
/// re-executed child starts its own re-executions with new ones.
pub(crate) const ARGUMENT: &str = "--pipewright-handoff=";

type Failure = Box<dyn StdError + Send + Sync>;
type Entry = Box<dyn FnOnce(&mut ParentLink) -> Result<(), Failure>>;

/// The entry points of this program's re-executed children, by name.
///
/// [`dispatch`](Self::dispatch) belongs first in `main`; see [`ReExec`](crate::ReExec) for an
/// example.
#[derive(Default)]
pub struct EntryPoints(BTreeMap<String, Entry>);

impl fmt::Debug for EntryPoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl EntryPoints {
    /// Registers none yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers an entry point. Of two with the same name the later one counts.
    ///
    /// When it returns `Ok`, the child ends with status 0. When it fails, the error travels to the
    /// parent, with the phase and the kernel's error number, and the child ends with status 1.
    ///
    /// ```
    /// use pipewright_handoff::{EntryPoints, ReExec};
    ///
    /// EntryPoints::new()
    ///     .entry("reads", |_| std::fs::read("/nope").map(|_| ()))
    ///     .dispatch();
    /// let mut child = ReExec::new("reads").spawn()?;
    /// let error = child.channel().receive::<()>().unwrap_err();
    /// assert_eq!(error.raw_os_error(), Some(2)); // ENOENT, from the child
    /// assert_eq!(child.into_child().wait()?.code(), Some(1));
    /// # Ok::<(), pipewright_handoff::Error>(())
    /// ```
    #[must_use = "without dispatch no entry point is ever run"]
    pub fn entry<F, E>(mut self, name: impl Into<String>, run: F) -> Self
    where
        F: FnOnce(&mut ParentLink) -> Result<(), E> + 'static,
        E: Into<Failure>,
    {
        let entry = move |parent: &mut ParentLink| run(parent).map_err(Into::into);
        self.0.insert(name.into(), Box::new(entry));
        self
    }

    /// Runs the entry point that this process was re-executed for, and ends the process. In a
    /// process that was started in any other way it returns and does nothing.
    ///
    /// Call it first thing in `main`: what comes before it runs in every child as well.
    ///
    /// In a program that is set-user-ID, set-group-ID or has file capabilities it refuses and ends
    /// the process with status 125, since whoever started it could have made up what was handed
    /// over. Such a program gives its children real ids that match, by
    /// [`ReExec::command`](crate::ReExec::command) and [`Command::uid`](pipewright::Command::uid).
    ///
    /// # Panics
    ///
    /// When it is called a second time in a process that was re-executed.
    pub fn dispatch(self) {
        let Some(number) = handover_number() else {
            return;
        };
        static DISPATCHED: AtomicBool = AtomicBool::new(false);
        assert!(
            !DISPATCHED.swap(true, Ordering::Relaxed),
            "what was handed over can be taken once: call dispatch first in main, and once"
        );
        std::process::exit(self.run(number));
    }

    fn run(mut self, number: &str) -> i32 {
        // No failure here may go on in `main`, which would take this process for the parent and
        // start the next child, which would do the same.
        let mut parent = match arrival::receive(number) {
            Ok(parent) => parent,
            Err(error) => {
                eprintln!("cannot take what was handed over: {error}");
                return 125;
            }
        };
        let result = match self.0.remove(parent.entry()) {
            Some(entry) => entry(&mut parent),
            None => {
                let registered: Vec<&String> = self.0.keys().collect();
                let entry = parent.entry();
                Err(format!("no entry point is named {entry:?}; there is {registered:?}").into())
            }
        };
        match result {
            Ok(()) => 0,
            Err(failure) => {
                report(&mut parent, failure.as_ref());
                1
            }
        }
    }
}

/// The text after [`ARGUMENT`], if this process was started with it.
fn handover_number() -> Option<&'static str> {
    static NUMBER: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    NUMBER
        .get_or_init(|| {
            let argument = std::env::args_os().nth(1)?.into_string().ok()?;
            Some(argument.strip_prefix(ARGUMENT)?.to_owned())
        })
        .as_deref()
}

/// Sends a failure to the parent, or writes it to stderr if nobody hears it.
fn report(parent: &mut ParentLink, failure: &(dyn StdError + Send + Sync + 'static)) {
    if parent.has_reported() {
        return;
    }
    let (phase, message, errno) = match failure.downcast_ref::<Error>() {
        // It came from the parent.
        Some(Error::Remote { .. }) if parent.channel().was_refused() => return,
        // It came from a further child, and keeps the phase in which that failed.
        Some(Error::Remote {
            phase,
            message,
            errno,
        }) => (phase.clone(), message.clone(), *errno),
        Some(error) => {
            let phase = error.phase().unwrap_or(parent.channel().phase()).to_owned();
            (phase, error.to_string(), error.raw_os_error())
        }
        None => {
            let phase = parent.channel().phase().to_owned();
            (phase, failure.to_string(), errno_behind(failure))
        }
    };
    if parent.channel().fail(&phase, &message, errno).is_err() {
        let error = Error::Remote {
            phase,
            message,
            errno,
        };
        // In one piece: several processes may have something to say at this moment.
        let line = format!("{error}\n");
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
}

/// Finds the kernel's error number in the chain of reasons.
fn errno_behind(failure: &(dyn StdError + 'static)) -> Option<i32> {
    let mut next = Some(failure);
    while let Some(error) = next {
        let of_io = error.downcast_ref().and_then(std::io::Error::raw_os_error);
        let of_start = error
            .downcast_ref()
            .and_then(pipewright::Error::raw_os_error);
        let of_kernel = error
            .downcast_ref()
            .map(|errno: &Errno| errno.raw_os_error());
        let found = of_io.or(of_start).or(of_kernel);
        if found.is_some() {
            return found;
        }
        next = error.source();
    }
    None
}
