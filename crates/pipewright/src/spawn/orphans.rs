//! Children whose handle was dropped before they ended. Their zombies are taken at the next start.
//!
//! An epoll instance holds their pidfds, so that a look costs one system call whatever their number,
//! and no look is taken while there are none. Those that it has no room for are looked at one by one.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::event::epoll;
use rustix::io::Errno;
use rustix::process::{Pid, getpid};
use rustix::time::Timespec;

#[derive(Debug)]
pub(crate) struct Orphans {
    /// The process whose children they are.
    owner: Option<Pid>,
    epoll: Option<OwnedFd>,
    /// By number, which nobody else has before the status is taken.
    watched: BTreeMap<i32, OwnedFd>,
    /// Those that could not be put into the instance: no descriptor was left for it, or no memory.
    unwatched: BTreeMap<i32, OwnedFd>,
}

static ORPHANS: Mutex<Orphans> = Mutex::new(Orphans {
    owner: None,
    epoll: None,
    watched: BTreeMap::new(),
    unwatched: BTreeMap::new(),
});
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// Keeps everybody else from taking the status of an orphan while it is held.
pub(crate) fn reaping() -> MutexGuard<'static, Orphans> {
    let mut orphans = ORPHANS.lock().unwrap_or_else(PoisonError::into_inner);
    let this = Some(getpid());
    if orphans.owner != this {
        // A fork made this process, and it has copies of the other one's descriptors. It lets go of
        // them and touches nothing: what it took out of the instance would be gone for the other.
        orphans.epoll = None;
        orphans.watched.clear();
        orphans.unwatched.clear();
        orphans.owner = this;
    }
    orphans
}

/// Takes over a child that nobody will wait for. Neither blocks nor kills. One that is here already
/// is kept once.
pub(crate) fn adopt(pid: i32, pidfd: OwnedFd) {
    let mut orphans = reaping();
    if !is_over(&pidfd) {
        orphans.watch(pid, pidfd);
    }
    orphans.count();
}

/// Takes the zombies of those that have ended.
pub(super) fn reap_ended() {
    if COUNT.load(Ordering::Relaxed) > 0 {
        reap_dropped();
    }
}

/// Takes the zombies of children whose [`Child`](crate::Child) was dropped before they ended, and
/// returns how many it took. It does not block.
///
/// Each start does the same, so it is for programs that drop children and start no others.
///
/// ```
/// let (stdin, hold) = pipewright::pipe()?;
/// drop(pipewright::Command::new("cat").stdin(stdin).spawn()?); // it runs on
/// assert_eq!(pipewright::reap_dropped(), 0);
/// drop(hold);
/// while pipewright::reap_dropped() == 0 {
///     std::thread::yield_now();
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn reap_dropped() -> usize {
    let mut orphans = reaping();
    let before = orphans.watched.len() + orphans.unwatched.len();
    orphans.reap_watched();
    // What is left has another chance to be watched, or is looked at by itself.
    for (pid, pidfd) in std::mem::take(&mut orphans.unwatched) {
        if !is_over(&pidfd) {
            orphans.watch(pid, pidfd);
        }
    }
    before - orphans.count()
}

/// Takes the status if there is one. True, too, if somebody else has taken it.
fn is_over(pidfd: &OwnedFd) -> bool {
    matches!(super::reap(pidfd.as_fd()), Ok(Some(_)) | Err(Errno::CHILD))
}

impl Orphans {
    fn watch(&mut self, pid: i32, pidfd: OwnedFd) {
        // It runs, or is a zombie: what else had the number is over, or it is the same.
        self.forget(pid);
        if self.add(pid, &pidfd).is_ok() {
            self.watched.insert(pid, pidfd);
        } else {
            self.unwatched.insert(pid, pidfd);
        }
    }

    fn add(&mut self, pid: i32, pidfd: &OwnedFd) -> Result<(), Errno> {
        let epoll = match &mut self.epoll {
            Some(epoll) => epoll,
            none => none.insert(epoll::create(epoll::CreateFlags::CLOEXEC)?),
        };
        let data = epoll::EventData::new_u64(pid as u64);
        epoll::add(epoll, pidfd, data, epoll::EventFlags::IN)
    }

    fn forget(&mut self, pid: i32) {
        if let (Some(pidfd), Some(epoll)) = (self.watched.remove(&pid), &self.epoll) {
            // Closing it is not enough: a process that another thread forked just now may hold a
            // copy, and the instance would go on telling of a number that is in no map.
            let _ = epoll::delete(epoll, &pidfd);
        }
    }

    fn reap_watched(&mut self) {
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let mut events = Vec::with_capacity(64);
        while let Some(epoll) = &self.epoll {
            events.clear();
            let spare = rustix::buffer::spare_capacity(&mut events);
            if epoll::wait(epoll, spare, Some(&now)).is_err() {
                return;
            }
            let before = self.watched.len();
            for event in &events {
                let pid = event.data.u64() as i32;
                // One that is traced has ended, and its status is kept back.
                if self.watched.get(&pid).is_some_and(is_over) {
                    self.forget(pid);
                }
            }
            if self.watched.len() == before {
                return;
            }
        }
    }

    /// Tells how many there are, here and to those who ask without the lock.
    fn count(&self) -> usize {
        let count = self.watched.len() + self.unwatched.len();
        COUNT.store(count, Ordering::Relaxed);
        count
    }
}
