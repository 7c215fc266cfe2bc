//! Looking at many things at once.

use std::panic::resume_unwind;
use std::thread::{self, Builder, available_parallelism};

/// Looks at each of `items`, on as many threads as there are cores. The answers come in the order of
/// the items.
///
/// For looks at many processes: almost all of the time is spent in the kernel, which takes no lock
/// that two processes share. The threads are gone when it returns. For a few items there are none,
/// and where no more can be started (RLIMIT_NPROC) the caller's does it all.
pub(crate) fn in_parallel<T: Sync, R: Send>(items: &[T], look: impl Fn(&T) -> R + Sync) -> Vec<R> {
    // Fewer are not worth a thread.
    const AT_LEAST: usize = 64;
    let cores = available_parallelism().map_or(1, usize::from);
    let share = items.len().div_ceil(cores).max(AT_LEAST);
    let mut shares = items.chunks(share);
    let mine = shares.next().unwrap_or_default();
    let look_at_all = |share: &[T]| share.iter().map(&look).collect::<Vec<R>>();
    thread::scope(|scope| {
        let others: Vec<_> = shares
            .map(|share| {
                let started = Builder::new().spawn_scoped(scope, move || look_at_all(share));
                started.map_err(|_| share)
            })
            .collect();
        let mut all = look_at_all(mine);
        for other in others {
            all.extend(match other {
                Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
                Err(share) => look_at_all(share),
            });
        }
        all
    })
}
