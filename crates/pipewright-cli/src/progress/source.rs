//! Which stage's input is that of the whole pipeline: the last one that takes nothing from another.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use pipewright_observe::workspace::CommandLine;
use pipewright_observe::{Process, ProcessId};

use super::stage::OTHERWISE;
use super::words::Named;

/// Programs that read the files that they are given, one after the other, and leave their stdin alone then.
const READ_FILES: &[&str] = &[
    "b2sum",
    "base64",
    "bunzip2",
    "bzcat",
    "bzip2",
    "cat",
    "cksum",
    "gunzip",
    "gzip",
    "hexdump",
    "lz4",
    "lz4cat",
    "md5sum",
    "od",
    "pigz",
    "pv",
    "sha1sum",
    "sha224sum",
    "sha256sum",
    "sha384sum",
    "sha512sum",
    "unpigz",
    "unxz",
    "unzstd",
    "wc",
    "xxd",
    "xz",
    "xzcat",
    "zcat",
    "zstd",
    "zstdcat",
];

/// So many stages behind the first are looked at: that is done again and again.
const MOST: usize = 16;

/// Words that stand for the stdin.
const STDIN: &[&[u8]] = &[b"-", b"/dev/stdin", b"/dev/fd/0", b"/proc/self/fd/0"];

/// The last stage after this one that is proven to read files of its own and nothing else, and where they are named.
pub(super) fn after(stages: &[ProcessId], first: usize) -> Option<(usize, Named)> {
    let later = stages.iter().enumerate().skip(first + 1).take(MOST).rev();
    let mut proven = later.filter_map(|(index, stage)| {
        let process = Process::open_same(*stage).ok()?;
        Some((index, reads_files(&process)?))
    });
    proven.next()
}

/// Where it is named what a stage reads, if what the stages before it give goes nowhere: its process has a file as its
/// stdin, or is a program that does not read it. A shell may only wait for that process.
fn reads_files(root: &Process) -> Option<Named> {
    let line = root.command_line().ok()?;
    let mut children = Vec::new();
    root.children(&mut children).ok()?;
    if !OTHERWISE.contains(&line.program().as_str()) {
        return (children.is_empty() && takes_nothing(root, &line)).then_some(Named::ByArguments);
    }
    let words: Vec<_> = line.arguments().skip(1).collect();
    let ([b"-c", text], [child]) = (words.as_slice(), children.as_slice()) else {
        return None;
    };
    let waits = Named::of(std::str::from_utf8(text).ok()?) == Named::OneCommand;
    let child = Process::open(*child).ok()?;
    let line = child.command_line().ok()?;
    let mut others = Vec::new();
    child.children(&mut others).ok()?;
    let is_alone = others.is_empty() && !OTHERWISE.contains(&line.program().as_str());
    (waits && is_alone && takes_nothing(&child, &line)).then_some(Named::OneCommand)
}

fn takes_nothing(process: &Process, line: &CommandLine) -> bool {
    let redirected = process.file_position(0).ok().flatten();
    redirected.is_some_and(|it| !it.writable) || names_files_only(process, line)
}

fn names_files_only(process: &Process, line: &CommandLine) -> bool {
    let directory = PathBuf::from(format!("/proc/{}/cwd", process.id().pid));
    let is_file = |word: &[u8]| directory.join(OsStr::from_bytes(word)).is_file();
    let words = || line.arguments().skip(1);
    READ_FILES.contains(&line.program().as_str())
        && !words().any(|word| STDIN.contains(&word))
        // Options whose value is a file that is no input, or that names the inputs.
        && !words().any(|word| word.starts_with(b"--") && word.contains(&b'=') || word.starts_with(b"-D"))
        && words().any(is_file)
}
