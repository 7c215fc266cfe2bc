//! The processes of one stage, and the files that they have open.

use pipewright_observe::Process;
use pipewright_observe::workspace::FilePosition;

/// Programs that choose what they read, or run others: their arguments name a part of the input.
pub(super) const OTHERWISE: &[&str] = &[
    "bash", "busybox", "dash", "docker", "env", "find", "fish", "head", "ksh", "make", "parallel",
    "sh", "ssh", "sudo", "xargs", "zsh",
];

/// So many processes of a stage are looked at.
const MOST: usize = 32;

/// Brings the list of the stage's processes up to date: descendants of the root, the root first.
pub(super) fn members(root: &Process, known: &mut Vec<Process>) {
    let mut numbers = vec![root.id().pid];
    let mut next = 0;
    while next < numbers.len() && numbers.len() < MOST {
        let process = known.iter().find(|it| it.id().pid == numbers[next]);
        let mut children = Vec::new();
        let listed = match process {
            Some(process) => process.children(&mut children),
            None => Process::open(numbers[next]).and_then(|it| it.children(&mut children)),
        };
        if listed.is_ok() {
            numbers.extend(children);
        }
        next += 1;
    }
    known.retain(|it| numbers.contains(&it.id().pid) && it.stat().is_ok());
    for number in numbers {
        if !known.iter().any(|it| it.id().pid == number) {
            known.extend(Process::open(number));
        }
    }
}

/// The regular files that a process has open, besides its standard output and error.
pub(super) fn open_files(process: &Process) -> impl Iterator<Item = FilePosition> {
    let at = |descriptor| process.file_position(descriptor).ok().flatten();
    std::iter::once(0).chain(3..10).filter_map(at)
}
