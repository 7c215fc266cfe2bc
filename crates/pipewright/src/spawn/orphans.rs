//! Children whose handle was dropped before they ended. Their zombies are taken at the next start.
//!
//! An epoll instance holds their pidfds, so that a look costs one system call whatever their number,
//! and no look is taken while there are none.

use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use rustix::event::epoll;
use rustix::time::Timespec;

struct Orphans {
    epoll: OwnedFd,
    running: HashMap<u64, OwnedFd>,
}

static ORPHANS: OnceLock<Option<Mutex<Orphans>>> = OnceLock::new();
static COUNT: AtomicUsize = AtomicUsize::new(0);

fn orphans() -> Option<&'static Mutex<Orphans>> {
    let made = ORPHANS.get_or_init(|| {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).ok()?;
        let running = HashMap::new();
        Some(Mutex::new(Orphans { epoll, running }))
    });
    made.as_ref()
}

/// Takes over a child that nobody will wait for. Neither blocks nor kills.
pub(crate) fn adopt(pidfd: OwnedFd) {
    if matches!(
        super::reap(pidfd.as_fd()),
        Ok(Some(_)) | Err(rustix::io::Errno::CHILD)
    ) {
        return; // ended, or taken by somebody else
    }
    // With no descriptor left for an epoll instance the zombie stays until this process ends.
    let Some(orphans) = orphans() else { return };
    let mut orphans = orphans.lock().unwrap_or_else(PoisonError::into_inner);
    let key = pidfd.as_raw_fd() as u64;
    let added = epoll::add(
        &orphans.epoll,
        &pidfd,
        epoll::EventData::new_u64(key),
        epoll::EventFlags::IN,
    );
    if added.is_ok() {
        orphans.running.insert(key, pidfd);
        COUNT.store(orphans.running.len(), Ordering::Relaxed);
    }
}

/// Takes the zombies of those that have ended.
pub(super) fn reap_ended() {
    if COUNT.load(Ordering::Relaxed) == 0 {
        return;
    }
    let Some(orphans) = orphans() else { return };
    let mut orphans = orphans.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let mut events = Vec::with_capacity(64);
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let spare = rustix::buffer::spare_capacity(&mut events);
        if epoll::wait(&orphans.epoll, spare, Some(&now)).is_err() || events.is_empty() {
            break;
        }
        for event in &events {
            if let Some(pidfd) = orphans.running.remove(&event.data.u64()) {
                let _ = super::reap(pidfd.as_fd());
                // Closing it is not enough: a process that another thread forked just now may hold
                // a copy, and the instance would go on telling of a key that is in no map.
                let _ = epoll::delete(&orphans.epoll, &pidfd);
            }
        }
    }
    COUNT.store(orphans.running.len(), Ordering::Relaxed);
}
