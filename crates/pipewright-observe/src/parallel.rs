//! Looking at many things at once.

use std::panic::resume_unwind;
use std::thread::{self, available_parallelism};

/// Looks at each of `items`, on as many threads as there are cores. The answers come in the order of
/// the items.
///
/// For looks at many processes: almost all of the time is spent in the kernel, which takes no lock
/// that two processes share. The threads are gone when it returns; few items get none.
pub(crate) fn in_parallel<T: Sync, R: Send>(items: &[T], look: impl Fn(&T) -> R + Sync) -> Vec<R> {
    // Fewer are not worth a thread.
    const AT_LEAST: usize = 64;
    let cores = available_parallelism().map_or(1, usize::from);
    let share = items.len().div_ceil(cores).max(AT_LEAST);
    let mut shares = items.chunks(share);
    let mine = shares.next().unwrap_or_default();
    thread::scope(|scope| {
        let others: Vec<_> = shares
            .map(|share| scope.spawn(|| share.iter().map(&look).collect::<Vec<R>>()))
            .collect();
        let mut all: Vec<R> = mine.iter().map(&look).collect();
        for other in others {
            all.extend(other.join().unwrap_or_else(|panic| resume_unwind(panic)));
        }
        all
    })
}
