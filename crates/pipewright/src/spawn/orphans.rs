//! Children whose handle was dropped before they ended. Their zombies are taken at the next start.
//!
//! An epoll instance holds their pidfds, so that a look costs one system call whatever their number,
//! and no look is taken while there are none. Those that it has no room for are looked at one by one.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
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
    watched: BTreeMap<u64, OwnedFd>,
    /// Those that could not be put into the instance: no descriptor was left for it, or no memory.
    unwatched: Vec<OwnedFd>,
}

static ORPHANS: Mutex<Orphans> = Mutex::new(Orphans {
    owner: None,
    epoll: None,
    watched: BTreeMap::new(),
    unwatched: Vec::new(),
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

/// Takes over a child that nobody will wait for. Neither blocks nor kills.
pub(crate) fn adopt(pidfd: OwnedFd) {
    let mut orphans = reaping();
    if !is_over(&pidfd) {
        orphans.watch(pidfd);
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
    for pidfd in std::mem::take(&mut orphans.unwatched) {
        if !is_over(&pidfd) {
            orphans.watch(pidfd);
        }
    }
    before - orphans.count()
}

/// Takes the status if there is one. True, too, if somebody else has taken it.
fn is_over(pidfd: &OwnedFd) -> bool {
    matches!(super::reap(pidfd.as_fd()), Ok(Some(_)) | Err(Errno::CHILD))
}

impl Orphans {
    fn watch(&mut self, pidfd: OwnedFd) {
        match self.add(&pidfd) {
            Ok(key) => drop(self.watched.insert(key, pidfd)),
            Err(_) => self.unwatched.push(pidfd),
        }
    }

    fn add(&mut self, pidfd: &OwnedFd) -> Result<u64, Errno> {
        let key = pidfd.as_raw_fd() as u64;
        let epoll = match &mut self.epoll {
            Some(epoll) => epoll,
            none => none.insert(epoll::create(epoll::CreateFlags::CLOEXEC)?),
        };
        let data = epoll::EventData::new_u64(key);
        epoll::add(epoll, pidfd, data, epoll::EventFlags::IN).map(|()| key)
    }

    fn reap_watched(&mut self) {
        let Some(epoll) = &self.epoll else { return };
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        loop {
            let mut events = Vec::with_capacity(64);
            let spare = rustix::buffer::spare_capacity(&mut events);
            if epoll::wait(epoll, spare, Some(&now)).is_err() || events.is_empty() {
                return;
            }
            let before = self.watched.len();
            for event in &events {
                let key = event.data.u64();
                // One that is traced has ended, and its status is kept back.
                if self.watched.get(&key).is_some_and(is_over)
                    && let Some(pidfd) = self.watched.remove(&key)
                {
                    // Closing it is not enough: a process that another thread forked just now may
                    // hold a copy, and the instance would go on telling of a key that is in no map.
                    let _ = epoll::delete(epoll, &pidfd);
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
