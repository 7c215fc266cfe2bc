//! Which end of a pipe was closed first.
//!
//! A stage that SIGPIPE has ended was told that nobody reads on only if its reader was gone *before*
//! it ended. The order in which two processes end does not say so: a reader may close its stdin and
//! live on, hand it to a child of its own, or be seen to have ended late, when both have. But the
//! kernel queues an event when an open file is closed for the last time, whoever does it, and keeps
//! the events in their order until somebody looks.
//!
//! A pipe has two open files, a reading and a writing one, which its stages share with the processes
//! that they start. The event of the reading one comes before the reader counts as gone, and so
//! before any write fails for it; the event of the writing one comes when the last writer has ended.
//! So the reader was gone first exactly if its event comes first. What is opened anew through
//! `/proc/PID/fd`, as `/dev/stdin` or by somebody who looks at the pipe from outside, is told as
//! well, and counted.
//!
//! # References
//!
//! [inotify(7)](https://man7.org/linux/man-pages/man7/inotify.7.html)

use std::collections::HashMap;
use std::io::{IoSlice, PipeReader};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use rustix::process::{Pid, getpid};

/// Keeps track of how the two ends of one pipe are closed, for as long as it lives.
#[derive(Debug)]
pub(super) struct Closes {
    watch: i32,
    process: Pid,
    /// True once the writing stage was seen to have ended.
    ended: AtomicBool,
}

impl Closes {
    /// Begins before either end is given away. `None` where that cannot be: without `/proc`, or at
    /// the limit on inotify instances or watches.
    pub(super) fn watch(reader: &PipeReader) -> Option<Self> {
        let mut queue = queue();
        let process = getpid();
        // A process that was forked has a copy of its parent's queue, whose events are not its own.
        if queue.as_ref().is_some_and(|it| it.process != process) {
            *queue = None;
        }
        let instance = match &mut *queue {
            Some(instance) => instance,
            none => none.insert(Queue::new(process)?),
        };
        let path = format!("/proc/self/fd/{}", reader.as_raw_fd());
        let events = WatchFlags::OPEN | WatchFlags::CLOSE_NOWRITE | WatchFlags::CLOSE_WRITE;
        let Ok(watch) = inotify::add_watch(&instance.events, path, events) else {
            release_if_unused(queue);
            return None;
        };
        instance.logs.insert(watch, Log::default());
        Some(Self {
            watch,
            process,
            ended: AtomicBool::new(false),
        })
    }

    /// Notes that the writing stage was seen to have ended. If its reader is there now, it was there
    /// then. Only the first look counts. `holds_it` is asked where the events alone do not say: it
    /// tells whether the reading stage has the pipe for its stdin.
    pub(super) fn writer_ended(&self, holds_it: impl FnOnce() -> bool) {
        if !self.ended.swap(true, Ordering::Relaxed) {
            self.with_log(|log| {
                let unsure = || log.reading.lasting.is_none() && holds_it();
                log.alive_at_end = log.reading.first.is_none() || unsure();
            });
        }
    }

    /// Tells whether the reader was gone before the last writer was. `None` where that is unknown.
    ///
    /// Both stages have ended. It returns at once, except for one history that has two meanings:
    /// something was opened anew, a writing file was closed, then a reading one, and a file is left.
    /// Either two closes were told as one, or the stage's own writing file is for a moment still
    /// copied into a process that another thread is starting.
    pub(super) fn reader_was_first(&self) -> Option<bool> {
        for _ in 0..STRAGGLING {
            let answer =
                self.with_log(|log| (!log.may_lack_a_close()).then(|| log.reader_was_first()))?;
            match answer {
                Some(answer) => return answer,
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        }
        self.with_log(|log| log.reader_was_first())?
    }

    fn with_log<T>(&self, look: impl FnOnce(&mut Log) -> T) -> Option<T> {
        let mut queue = queue();
        let instance = queue.as_mut().filter(|it| it.process == self.process)?;
        instance.take_events();
        instance.logs.get_mut(&self.watch).map(look)
    }
}

impl Drop for Closes {
    fn drop(&mut self) {
        let mut queue = queue();
        if let Some(instance) = queue.as_mut().filter(|it| it.process == self.process) {
            instance.logs.remove(&self.watch);
            if instance.logs.is_empty() {
                // The watch goes with the instance.
                return release_if_unused(queue);
            }
            let _ = inotify::remove_watch(&instance.events, self.watch);
            // That it is removed is an event, too.
            instance.take_events();
        }
    }
}

/// The milliseconds that a process may take, once started, to lose a copy that it should not have.
const STRAGGLING: usize = 10;

/// Takes the events that have come so far. Somebody who looks at a pipe again and again makes many,
/// and equal ones are told apart only if they are not in the queue together.
pub fn note_closes() {
    if let Some(instance) = queue().as_mut().filter(|it| it.process == getpid()) {
        instance.take_events();
    }
}

/// The process's one queue of events; none while nothing is watched. There is one for all pipelines,
/// because a user may have few (`/proc/sys/fs/inotify/max_user_instances`).
static QUEUE: Mutex<Option<Queue>> = Mutex::new(None);

fn queue() -> MutexGuard<'static, Option<Queue>> {
    QUEUE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
struct Queue {
    events: OwnedFd,
    process: Pid,
    /// By watch descriptor. The kernel does not give a number to another watch soon again.
    logs: HashMap<i32, Log>,
}

impl Queue {
    fn new(process: Pid) -> Option<Self> {
        let events = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok()?;
        Some(Self {
            events,
            process,
            logs: HashMap::new(),
        })
    }

    fn take_events(&mut self) {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.events, &mut buffer);
        // An error is the end of the events: there is none left.
        while let Ok(event) = reader.next() {
            if event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
                self.logs.values_mut().for_each(|log| log.lost = true);
            } else if let Some(log) = self.logs.get_mut(&event.wd()) {
                log.note(event.events());
            }
        }
    }
}

fn release_if_unused(mut queue: MutexGuard<'static, Option<Queue>>) {
    if queue.as_ref().is_some_and(|it| it.logs.is_empty()) {
        let unused = queue.take();
        drop(queue);
        unused.into_iter().for_each(|it| release(it.events));
    }
}

/// Closes an inotify instance without waiting for it.
///
/// The kernel's own close waits until nothing in the kernel can see a watch any more, about 10 ms,
/// and the end of a process that has one open waits as long. So it is sent to a socket that is sent
/// to itself, and nobody else has: the kernel finds such a circle, and closes what is in it, in a
/// thread of its own.
fn release(instance: OwnedFd) {
    let flags = SocketFlags::CLOEXEC;
    let Ok((from, to)) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::DGRAM, flags, None)
    else {
        return;
    };
    let both = [instance.as_fd(), to.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut message = SendAncillaryBuffer::new(&mut space);
    message.push(SendAncillaryMessage::ScmRights(&both));
    let byte = [IoSlice::new(&[0])];
    // Refused: it is closed here, and that takes its time.
    let _ = rustix::net::sendmsg(&from, &byte, &mut message, SendFlags::DONTWAIT);
}

/// The events of one pipe so far.
///
/// A close right after an open is most likely of the file that was just opened, by somebody who looks
/// at the pipe from outside: it is *passing*, and counts for less. And two equal events in a row are
/// one in the queue, so a passing close may hide one that is not.
/// Where that leaves two histories, the likelier one is told: the reader was gone first.
#[derive(Debug, Default)]
struct Log {
    /// Opens of either kind: the kernel does not say which.
    opened: usize,
    /// Closes of either kind.
    closed: usize,
    /// True if the last event was an open.
    just_opened: bool,
    /// Of the files that are read from.
    reading: Side,
    /// Of those that are written to.
    writing: Side,
    /// Closes of files that are written to.
    closed_writing: usize,
    /// True if more of those were closed than had been opened anew, when the first one that is read
    /// from was: the stage's own was among them.
    writer_was_first: bool,
    /// True if the writing stage ended while its reader was still there.
    alive_at_end: bool,
    /// True if events were lost.
    lost: bool,
}

/// The closes of the files of one direction: when the last of each kind was, counted in closes.
#[derive(Debug, Default)]
struct Side {
    first: Option<usize>,
    lasting: Option<usize>,
    passing: Option<usize>,
}

impl Log {
    fn note(&mut self, event: ReadFlags) {
        let just_opened = std::mem::replace(&mut self.just_opened, event.contains(ReadFlags::OPEN));
        if event.contains(ReadFlags::OPEN) {
            self.opened += 1;
            return;
        }
        let side = if event.contains(ReadFlags::CLOSE_NOWRITE) {
            // A file that was opened right before this is open still, unless it is this one.
            let opened = self.opened - usize::from(just_opened);
            let is_first = self.reading.first.is_none();
            self.writer_was_first |= is_first && self.closed_writing > opened;
            &mut self.reading
        } else if event.contains(ReadFlags::CLOSE_WRITE) {
            self.closed_writing += 1;
            &mut self.writing
        } else {
            return;
        };
        self.closed += 1;
        side.first.get_or_insert(self.closed);
        if just_opened {
            side.passing = Some(self.closed);
        } else {
            side.lasting = Some(self.closed);
        }
    }

    /// Tells whether the last writing file may be one that is not closed yet.
    fn may_lack_a_close(&self) -> bool {
        let left = 2 + self.opened > self.closed;
        self.opened > 0 && left && !self.alive_at_end && self.reader_was_first() == Some(false)
    }

    fn reader_was_first(&self) -> Option<bool> {
        if self.lost {
            return None;
        }
        if self.alive_at_end || self.writer_was_first {
            return Some(false);
        }
        Some(match (self.reading.lasting, self.writing.lasting) {
            // A reader that was open at that moment was closed after it.
            (reader, Some(writer)) => {
                reader < Some(writer) && self.reading.first.is_some_and(|first| first < writer)
            }
            // The writer's close is hidden in a passing one, if it is not still to come.
            (Some(reader), None) => match self.writing.passing {
                Some(writer) => writer > reader,
                None => true,
            },
            (None, None) => {
                self.reading.passing < self.writing.passing && self.reading.passing.is_some()
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log of opens, closes of a reading (`r`) and of a writing file (`w`).
    fn verdict(events: &str) -> Option<bool> {
        let mut log = Log::default();
        for event in events.chars() {
            log.note(match event {
                'o' => ReadFlags::OPEN,
                'r' => ReadFlags::CLOSE_NOWRITE,
                _ => ReadFlags::CLOSE_WRITE,
            });
        }
        log.reader_was_first()
    }

    #[test]
    fn the_side_that_is_closed_last_was_there_to_the_end() {
        assert_eq!(verdict("rw"), Some(true));
        assert_eq!(verdict("wr"), Some(false));
        // Its last reader lives on, or its last writer does.
        assert_eq!(verdict("w"), Some(false));
        assert_eq!(verdict("r"), Some(true));
        assert_eq!(verdict(""), Some(false));
    }

    #[test]
    fn what_the_stages_open_anew_is_theirs() {
        // The reader opens /dev/stdin; its two closes may be one event.
        for early in ["orw", "orrw"] {
            assert_eq!(verdict(early), Some(true), "{early}");
        }
        for late in ["wor", "worr", "owr", "owrr", "orwr"] {
            assert_eq!(verdict(late), Some(false), "{late}");
        }
        // The writer opens /dev/stdout.
        for early in ["owrw", "orww", "orw"] {
            assert_eq!(verdict(early), Some(true), "{early}");
        }
        for late in ["owwr", "owr"] {
            assert_eq!(verdict(late), Some(false), "{late}");
        }
        // Both do.
        assert_eq!(verdict("owor"), Some(false));
    }

    #[test]
    fn what_others_open_to_look_at_the_pipe_tells_nothing() {
        for look in ["or", "ow", "orow"] {
            let looks = |middle: &str| format!("{look}{look}{middle}{look}{look}");
            assert_eq!(verdict(&looks("rw")), Some(true), "{look}");
            assert_eq!(verdict(&looks("wr")), Some(false), "{look}");
        }
        // A look begins between the two closes.
        for (closes, reader_first) in [("worw", false), ("orww", true)] {
            for looks in ["", "ow", "owow"] {
                let events = format!("{looks}{closes}");
                assert_eq!(verdict(&events), Some(reader_first), "{events}");
            }
        }
        // The reader's close hidden in a look.
        assert_eq!(verdict("ororwor"), Some(true));
    }

    #[test]
    fn a_reader_that_was_there_at_the_end_of_the_stage_was_not_first() {
        let log = Log {
            alive_at_end: true,
            ..Log::default()
        };
        assert_eq!(log.reader_was_first(), Some(false));
        let log = Log {
            lost: true,
            ..Log::default()
        };
        assert_eq!(log.reader_was_first(), None);
    }
}
