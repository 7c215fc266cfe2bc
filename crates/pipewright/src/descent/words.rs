//! The words that mark a tree, read from the environments of processes.
//!
//! The kernel reads an environment under the lock of the process's memory, which the process itself
//! can keep for as long as it likes: one thread waits for a page that nobody delivers, another one
//! maps memory. So the reading is done by threads of its own, and whoever asks waits for them only
//! as long as it wants to.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::marker::VARIABLE;
use super::proc::{Key, Proc};
use crate::poll::Deadline;

/// What the environment of a process says.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The words of the trees that it is in.
    Words(Vec<Vec<u8>>),
    /// There is no environment: it was started without one, has ended, or is a thread of the kernel.
    Empty,
    /// It may not be read: a process of another user.
    Hidden,
}

/// How long one process is waited for before another thread goes on with the next.
const PATIENCE: Duration = Duration::from_millis(20);

/// How many threads may be stuck at a time.
const MOST_READERS: usize = 32;

/// After so long a process counts as stuck for others that ask, and is not read by another thread.
const STUCK: Duration = Duration::from_millis(500);

/// How long a process may take from one program to the next.
const EXEC: Duration = Duration::from_secs(2);

/// The processes whose environment a thread is reading, of all that ask, and since when.
static READING: Mutex<Vec<(Key, Instant)>> = Mutex::new(Vec::new());

type Queue = Mutex<VecDeque<Key>>;

/// Asks for the words of processes and hands each answer on as it comes. Returns the processes that
/// have not answered by the deadline, or that keep a thread waiting since before.
pub(crate) fn ask(
    proc: &Arc<Proc>,
    keys: &[Key],
    deadline: Deadline,
    mut answered: impl FnMut(Key, Answer),
) -> BTreeSet<Key> {
    let mut missing: BTreeSet<Key> = keys.iter().copied().collect();
    let mut stuck: BTreeSet<Key> = {
        let reading = lock(&READING);
        let stuck = reading.iter().filter(|(_, since)| since.elapsed() >= STUCK);
        stuck
            .map(|(key, _)| *key)
            .filter(|key| missing.contains(key))
            .collect()
    };
    missing.retain(|key| !stuck.contains(key));
    let queue: Arc<Queue> = Arc::new(Mutex::new(missing.iter().copied().collect()));
    let (answer, arrived) = channel();
    let mut first = true;
    while !missing.is_empty() && (first || !deadline.has_passed()) {
        // The readers that there are have been silent for a while, so one more goes on for them.
        let waiting = !lock(&queue).is_empty();
        if waiting && !start_reader(proc, &queue, &answer) && first {
            break;
        }
        first = false;
        while !missing.is_empty() {
            let left = deadline.left().unwrap_or(Duration::MAX);
            let patience = if lock(&queue).is_empty() {
                left
            } else {
                left.min(PATIENCE)
            };
            let Ok((key, answer)) = arrived.recv_timeout(patience) else {
                break;
            };
            missing.remove(&key);
            answered(key, answer);
        }
    }
    // Readers that come back later find nothing more to do.
    lock(&queue).clear();
    stuck.append(&mut missing);
    stuck
}

fn start_reader(proc: &Arc<Proc>, queue: &Arc<Queue>, answer: &Sender<(Key, Answer)>) -> bool {
    if lock(&READING).len() >= MOST_READERS {
        return false;
    }
    let (proc, queue, answer) = (Arc::clone(proc), Arc::clone(queue), answer.clone());
    let thread = std::thread::Builder::new().name("pipewright words".to_owned());
    let read = move || {
        while let Some(key) = next(&queue) {
            let words = words_of(&proc, key.0);
            let mut reading = lock(&READING);
            if let Some(place) = reading.iter().position(|(read, _)| *read == key) {
                reading.swap_remove(place);
            }
            drop(reading);
            // Nobody waits for it any more.
            let _ = answer.send((key, words));
        }
    };
    thread.spawn(read).is_ok()
}

fn next(queue: &Queue) -> Option<Key> {
    let mut queue = lock(queue);
    let key = queue.pop_front()?;
    lock(&READING).push((key, Instant::now()));
    Some(key)
}

fn words_of(proc: &Proc, pid: i32) -> Answer {
    let begin = Instant::now();
    // How often it was seen with arguments, but without an environment. Once is not enough: its next
    // program may have come between the two looks.
    let mut without = 0;
    loop {
        return match proc.environment(pid) {
            Ok(environment) if environment.is_empty() => {
                if !proc.is_between_programs(pid) {
                    without += 1;
                }
                if without < 5 && begin.elapsed() < EXEC && !proc.has_ended(pid) {
                    std::thread::sleep(Duration::from_millis(1));
                    continue;
                }
                Answer::Empty
            }
            Ok(environment) => Answer::Words(words(&environment)),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Answer::Hidden,
            // It is gone.
            Err(_) => Answer::Empty,
        };
    }
}

fn words(environment: &[u8]) -> Vec<Vec<u8>> {
    environment
        .split(|&byte| byte == 0)
        .filter_map(|entry| entry.strip_prefix(VARIABLE.as_bytes())?.strip_prefix(b"="))
        .flat_map(|value| value.split(|&byte| byte == b' '))
        .map(<[u8]>::to_vec)
        .collect()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_a_whole_word_of_its_variable() {
        let found = words(b"A=1\0PIPEWRIGHT_TREE=5-cd-2 7-ab-1\0B=2\0");
        assert_eq!(found, [b"5-cd-2", b"7-ab-1"]);
        assert!(words(b"OTHER_PIPEWRIGHT_TREE=7-ab-1\0X=7-ab-1\0").is_empty());
        assert!(words(b"").is_empty());
    }

    #[test]
    fn every_process_asked_for_answers() {
        let proc = Arc::new(Proc::own().unwrap());
        let own = proc.process(std::process::id() as i32).unwrap().key();
        let keys = [own, (i32::MAX, 0)];
        let mut answers = Vec::new();
        let stuck = ask(&proc, &keys, Deadline::NEVER, |key, answer| {
            answers.push((key == own, answer));
        });
        assert!(stuck.is_empty());
        let words = |it: &(bool, Answer)| matches!(it, (true, Answer::Words(_)));
        let empty = |it: &(bool, Answer)| matches!(it, (false, Answer::Empty));
        assert!(answers.iter().any(words) && answers.iter().any(empty) && answers.len() == 2);
    }
}
