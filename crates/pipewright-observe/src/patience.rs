//! Questions that may never be answered, asked by threads that can be left behind.
//!
//! To show a command line, the kernel takes the lock of that process's memory. A process can hold
//! that lock itself for as long as it likes, and whoever reads its command line waits until then. No
//! timeout ends such a read, only the death of the thread that makes it. So a helper thread asks, and
//! is left behind when the answer does not come. Only a few may be left behind: after that nothing
//! is asked any more until one of them has returned.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

/// The time that an answer may take. The kernel needs microseconds; the rest is for a machine with more
/// to do than it has cores.
pub(crate) const PATIENCE: Duration = Duration::from_millis(500);

/// As many threads may wait for ever.
const MOST_LEFT_BEHIND: usize = 8;

static LEFT_BEHIND: AtomicUsize = AtomicUsize::new(0);

/// Asks about one item; `None` if no answer comes within [`PATIENCE`].
pub(crate) fn ask<R: Send + 'static>(question: impl FnOnce() -> R + Send + 'static) -> Option<R> {
    ask_each(vec![question], |question| question()).pop()?
}

/// Asks about each item, and gives the answers in the order of the items; `None` for each that does
/// not come within [`PATIENCE`].
pub(crate) fn ask_each<T, R>(items: Vec<T>, answer: fn(T) -> R) -> Vec<Option<R>>
where
    T: Send + 'static,
    R: Send + 'static,
{
    // Fewer are not worth another thread.
    const FOR_ONE_THREAD: usize = 64;
    let count = items.len();
    let threads = available_parallelism()
        .map_or(1, usize::from)
        .min(count.div_ceil(FOR_ONE_THREAD));
    let round = Arc::new(Round {
        progress: Mutex::new(Progress {
            waiting: items.into_iter().enumerate(),
            answers: (0..count).map(|_| None).collect(),
            helpers: Vec::new(),
        }),
        changed: Condvar::new(),
    });
    for _ in 0..threads {
        round.add_helper(answer);
    }
    let mut progress = round.progress();
    while progress.asking() > 0 {
        let patience = progress.patience_left();
        (progress, _) = round
            .changed
            .wait_timeout(progress, patience)
            .unwrap_or_else(PoisonError::into_inner);
        let late = progress.leave_late_ones_behind();
        let unasked = progress.waiting.len() > 0;
        if late > 0 && unasked {
            drop(progress);
            // Where one hangs others may: two in its place, so that the time of all adds up to little.
            for _ in 0..2 * late {
                round.add_helper(answer);
            }
            progress = round.progress();
        }
    }
    std::mem::take(&mut progress.answers)
}

/// The items of one call, shared with its helpers.
struct Round<T, R> {
    progress: Mutex<Progress<T, R>>,
    changed: Condvar,
}

struct Progress<T, R> {
    waiting: std::iter::Enumerate<std::vec::IntoIter<T>>,
    answers: Vec<Option<R>>,
    helpers: Vec<Helper>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Helper {
    /// Since then it waits for an answer.
    Asking(Instant),
    LeftBehind,
    Done,
}

impl<T, R> Progress<T, R> {
    fn asking(&self) -> usize {
        let asking = |helper: &&Helper| matches!(helper, Helper::Asking(_));
        self.helpers.iter().filter(asking).count()
    }

    /// Until the helper that has waited longest is late.
    fn patience_left(&self) -> Duration {
        let asking = self.helpers.iter().filter_map(|helper| match helper {
            Helper::Asking(since) => Some(PATIENCE.saturating_sub(since.elapsed())),
            Helper::LeftBehind | Helper::Done => None,
        });
        asking.min().unwrap_or(PATIENCE)
    }

    fn leave_late_ones_behind(&mut self) -> usize {
        let mut late = 0;
        for helper in &mut self.helpers {
            if matches!(helper, Helper::Asking(since) if since.elapsed() >= PATIENCE) {
                *helper = Helper::LeftBehind;
                LEFT_BEHIND.fetch_add(1, Ordering::Relaxed);
                late += 1;
            }
        }
        late
    }
}

impl<T: Send + 'static, R: Send + 'static> Round<T, R> {
    fn progress(&self) -> MutexGuard<'_, Progress<T, R>> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Without a thread for it, and with too many left behind already, no answer comes.
    fn add_helper(self: &Arc<Self>, answer: fn(T) -> R) {
        let mut progress = self.progress();
        // Those that ask now may be left behind, too.
        if LEFT_BEHIND.load(Ordering::Relaxed) + progress.asking() >= MOST_LEFT_BEHIND {
            return;
        }
        let number = progress.helpers.len();
        progress.helpers.push(Helper::Asking(Instant::now()));
        drop(progress);
        let round = Arc::clone(self);
        let started = std::thread::Builder::new()
            .name("pipewright-ask".into())
            .stack_size(128 * 1024)
            .spawn(move || round.help(number, answer));
        if started.is_err() {
            self.progress().helpers[number] = Helper::Done;
        }
    }

    fn help(&self, number: usize, answer: fn(T) -> R) {
        let mut progress = self.progress();
        while let Some((index, item)) = progress.waiting.next() {
            progress.helpers[number] = Helper::Asking(Instant::now());
            drop(progress);
            let answered = answer(item);
            progress = self.progress();
            if progress.helpers[number] == Helper::LeftBehind {
                LEFT_BEHIND.fetch_sub(1, Ordering::Relaxed);
                return;
            }
            progress.answers[index] = Some(answered);
        }
        progress.helpers[number] = Helper::Done;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, channel};

    #[test]
    fn answers_come_in_the_order_of_the_items() {
        let answers = ask_each((0..1000).collect(), |n: u32| n * 2);
        assert!(answers.into_iter().eq((0..1000).map(|n| Some(n * 2))));
        assert_eq!(ask_each(Vec::<u32>::new(), |n| n), []);
    }

    #[test]
    fn what_is_never_answered_is_left_behind_and_the_rest_is_asked_all_the_same() {
        /// Blocks for the receivers whose sender lives and is silent.
        fn wait(until: Receiver<()>) -> bool {
            until.recv().is_err()
        }
        let (silent, forever) = channel();
        let mut items = vec![forever];
        for _ in 0..100 {
            items.push(channel().1);
        }
        let answers = ask_each(items, wait);
        assert_eq!(answers[0], None);
        assert!(answers[1..].iter().all(|answer| *answer == Some(true)));
        drop(silent);

        // However many hang, a few threads are left behind, and then no more is asked.
        let (silent, forever): (Vec<_>, Vec<_>) = (0..100).map(|_| channel()).unzip();
        assert!(ask_each(forever, wait).iter().all(Option::is_none));
        assert_eq!(LEFT_BEHIND.load(Ordering::Relaxed), MOST_LEFT_BEHIND);
        assert_eq!(ask(|| 1), None);
        drop(silent);
        while LEFT_BEHIND.load(Ordering::Relaxed) > 0 {
            std::thread::yield_now();
        }
        assert_eq!(ask(|| 1), Some(1));
    }
}
